//! Objects in a bucket behind S3's interface.
//!
//! A put is atomic there: an object is whole or absent, and durable when the put is answered. Every request is tried a few times within
//! a bounded time; what then still fails may pass, and names the object and the cause. Calls block: the requests are
//! made by threads of this file's own, so that any thread may call, one of an async runtime too.

use std::{future::Future, io, sync::Arc, thread, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use object_store::{
    BackoffConfig, Error, ObjectStore as _, ObjectStoreExt as _, RetryConfig, aws::AmazonS3, path::Path,
};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::rustls::crypto::ring;

use super::{
    super::StoreError,
    location::S3,
    objects::{Found, Listed, Objects},
};

/// Objects of one call that are on their way at once.
const AT_ONCE: usize = 8;
/// Threads that make the requests.
const THREADS: usize = 2;
/// No request is tried again after so long. One try lasts 30 s at most, 5 s of them until it is connected.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Tries of a request after the first.
const RETRIES_MAX: usize = 2;
/// Pauses between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Characters of a cause that are shown.
const CAUSE_CHARS_MAX: usize = 500;

/// A place in a bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    client: Arc<AmazonS3>,
    at: S3,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl Bucket {
    /// Makes ready to call a bucket, and calls nobody.
    pub(super) fn open(at: &S3) -> Result<Self, StoreError> {
        // The client takes the process' provider. Where there is one already, it is the same.
        let _ = ring::default_provider().install_default();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: PAUSE_MIN,
                max_backoff: PAUSE_MAX,
                base: 2.0,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_MAX,
        };
        let client = at.builder().with_retry(retry).with_allow_http(at.is_plain_text());
        let client = client
            .build()
            .map_err(|error| object_error(at.to_string(), &error))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("artifacts")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| StoreError::Io {
            path: at.to_string().into(),
            source,
        })?;
        Ok(Self {
            client: Arc::new(client),
            at: at.clone(),
            runtime: Some(runtime),
        })
    }

    fn path(&self, name: &str) -> Path {
        Path::from_iter(self.at.prefix.split('/').chain([name]))
    }

    /// Waits for requests on a thread that is in no runtime.
    fn wait<T: Send>(
        &self,
        requests: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let io_error = |source| StoreError::Io {
            path: self.at.to_string().into(),
            source,
        };
        thread::scope(|scope| {
            let waiting = thread::Builder::new().spawn_scoped(scope, || runtime.block_on(requests));
            let panicked = |_| io_error(io::Error::other("a request ended in a panic"));
            waiting.map_err(io_error)?.join().map_err(panicked)?
        })
    }

    fn error(&self, name: &str, error: &Error) -> StoreError {
        if cause(error).contains("<Code>NoSuchBucket</Code>") {
            return StoreError::NoBucket {
                location: self.at.to_string(),
            };
        }
        object_error(self.location(name), error)
    }
}

impl Objects for Bucket {
    fn put(&self, objects: &[(String, &[u8])]) -> Result<(), StoreError> {
        let put = |(name, bytes): &(String, &[u8])| {
            let (client, path) = (Arc::clone(&self.client), self.path(name));
            let (name, bytes) = (name.clone(), bytes.to_vec());
            async move {
                let answer = client.put(&path, bytes.into()).await;
                answer.map(drop).map_err(|error| self.error(&name, &error))
            }
        };
        // Bytes are copied when their turn comes.
        let uploads = stream::iter(objects.iter().map(put)).buffer_unordered(AT_ONCE);
        self.wait(uploads.try_for_each(|()| future::ready(Ok(()))))
    }

    fn read(&self, name: &str, bytes: u64) -> Result<Found, StoreError> {
        let path = self.path(name);
        self.wait(async {
            let found = match self.client.get(&path).await {
                Ok(found) => found,
                Err(error @ Error::NotFound { .. }) => {
                    return match self.error(name, &error) {
                        missing @ StoreError::NoBucket { .. } => Err(missing),
                        _ => Ok(Found::Missing),
                    };
                }
                Err(error) => return Err(self.error(name, &error)),
            };
            if found.meta.size != bytes {
                return Ok(Found::Changed);
            }
            let read = found.bytes().await.map_err(|error| self.error(name, &error))?;
            Ok(Found::Bytes(read.into()))
        })
    }

    fn list(&self, show: &mut (dyn FnMut(Listed) + Send)) -> Result<(), StoreError> {
        let prefix = (!self.at.prefix.is_empty()).then(|| Path::from(self.at.prefix.as_str()));
        let now = unix_s();
        self.wait(async {
            let objects = self.client.list(prefix.as_ref());
            let shown = objects.try_for_each(|object| {
                let name = object.location.filename().unwrap_or_default().to_owned();
                // Those of folders below are somebody else's.
                if object.location == self.path(&name) {
                    let put = object.last_modified.timestamp().unsigned_abs();
                    show(Listed {
                        name,
                        bytes: object.size,
                        age: Duration::from_secs(now.saturating_sub(put)),
                    });
                }
                future::ready(Ok(()))
            });
            shown.await.map_err(|error| self.error("", &error))
        })
    }

    fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let first = names.first().map(String::as_str).unwrap_or_default();
        self.wait(async {
            let deleted = self.client.delete_stream(stream::iter(paths).boxed());
            let gone = |deleted: Result<Path, Error>| match deleted {
                Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.error(first, &error)),
            };
            deleted.map(gone).try_for_each(|()| future::ready(Ok(()))).await
        })
    }

    fn location(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Wherever this happens: nothing is under way, since every call waits.
            runtime.shutdown_background();
        }
    }
}

fn unix_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn object_error(object: String, error: &Error) -> StoreError {
    StoreError::Object {
        object,
        cause: cause(error),
    }
}

/// The chain of causes, in one line.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    proto::one_line(&text, CAUSE_CHARS_MAX)
}
