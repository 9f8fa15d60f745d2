//! Certificates, keys and the access file, read again when they change.
//!
//! A change that does not read is told, and what was in force stays. The access file counts at each call and for the streams
//! that are open; certificates count at each new connection, and those that clients have shown are looked at again then, and
//! once in a while, since their time may be over.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use proto::pem::{FileError, read};
use sha2::{Digest, Sha256};
use tokio::{sync::watch, task};
use tokio_util::sync::CancellationToken;

use super::{
    access::{Access, Policy, file::AccessFile},
    transport::{
        listener::Tls,
        tls::{self, in_force},
        vouched::Vouched,
    },
};
use crate::config::{Config, TlsFiles};

/// How often the certificates of open connections are looked at, though nothing has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What of the configuration is in files that may change.
#[derive(Debug)]
pub(crate) struct Files {
    tls: Option<(TlsFiles, watch::Sender<Arc<tls::InForce>>)>,
    vouched: Arc<Vouched>,
    access: Option<(PathBuf, Arc<Access>)>,
    every: Duration,
}

/// What is in force at the start.
pub(crate) struct InForce {
    pub tls: Option<Tls>,
    pub access: Arc<Access>,
    pub files: Files,
}

impl InForce {
    /// Reads the files.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(crate) fn read(config: &Config) -> Result<Self, FileError> {
        let tls = match &config.tls {
            Some(files) => Some((files.clone(), watch::Sender::new(in_force(files)?))),
            None => None,
        };
        let policy = match (&config.access, &config.tls) {
            (Some(path), tls) => Policy::File(access_file(path, tls.as_ref())?),
            (
                None,
                Some(TlsFiles {
                    client_ca: Some(_), ..
                }),
            ) => Policy::Authorities,
            (None, _) => Policy::Open,
        };
        let access = Arc::new(Access::new(policy));
        let vouched = Arc::<Vouched>::default();
        Ok(Self {
            tls: tls.as_ref().map(|(_, sender)| Tls {
                in_force: sender.subscribe(),
                vouched: Arc::clone(&vouched),
            }),
            access: Arc::clone(&access),
            files: Files {
                tls,
                vouched,
                access: config.access.clone().map(|path| (path, access)),
                every: Duration::from_millis(config.reload_ms),
            },
        })
    }
}

fn access_file(path: &Path, tls: Option<&TlsFiles>) -> Result<AccessFile, FileError> {
    let file = AccessFile::read(path, &read("the access file", path)?)?;
    let vouched = tls.is_some_and(|tls| tls.client_ca.is_some());
    if file.names_certificates() && !vouched {
        return Err(FileError::Content {
            what: "the access file",
            path: path.into(),
            problem: "it names certificates, which nobody shows without a client CA".into(),
        });
    }
    Ok(file)
}

/// A digest of files, as far as they read.
fn digest<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for path in paths {
        match read("a file", path) {
            Ok(bytes) => hasher.update(Sha256::digest(bytes)),
            Err(error) => hasher.update(format!("{error:?}")),
        }
    }
    hasher.finalize().into()
}

impl Files {
    fn tls_digest(&self) -> Option<[u8; 32]> {
        let (files, _) = self.tls.as_ref()?;
        Some(digest(
            [&files.certificate, &files.key]
                .into_iter()
                .chain(&files.client_ca)
                .chain(&files.client_crl),
        ))
    }

    fn access_digest(&self) -> Option<[u8; 32]> {
        self.access.as_ref().map(|(path, _)| digest([path]))
    }

    /// Puts in force what has changed, as it changes, until the coordinator stops.
    pub(crate) async fn keep(self, stopping: CancellationToken) {
        if self.tls.is_none() && self.access.is_none() {
            return;
        }
        let files = Arc::new(self);
        let mut known = None;
        loop {
            let (reader, before) = (Arc::clone(&files), known);
            let looked = task::spawn_blocking(move || reader.look(before)).await;
            known = looked.ok().or(known);
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(files.every) => {}
            }
        }
    }

    /// Looks at the files again; what they were before is none at the first look.
    fn look(&self, before: Option<Digests>) -> Digests {
        let mut now = Digests {
            tls: self.tls_digest(),
            access: self.access_digest(),
            looked_again: before.map_or_else(Instant::now, |before| before.looked_again),
        };
        // They may have changed between the start and the first look, which then only repeats the start.
        if before.is_none_or(|before| before.tls != now.tls)
            && let Some((files, sender)) = &self.tls
        {
            match in_force(files) {
                Ok(in_force) => {
                    // In force first: whoever comes in after the look is judged by it.
                    sender.send_replace(Arc::clone(&in_force));
                    self.vouched.look_again(&in_force);
                    if before.is_some() {
                        tracing::info!(certificate = %files.certificate.display(), "certificates in force");
                    }
                }
                Err(error) => told(&error),
            }
        }
        if now.looked_again.elapsed() >= LOOK_AGAIN
            && let Some((_, sender)) = &self.tls
        {
            now.looked_again = Instant::now();
            let in_force = Arc::clone(&sender.borrow());
            self.vouched.look_again(&in_force);
        }
        if before.is_none_or(|before| before.access != now.access)
            && let Some((path, access)) = &self.access
        {
            match access_file(path, self.tls.as_ref().map(|(files, _)| files)) {
                Ok(file) => {
                    access.replace(Policy::File(file));
                    if before.is_some() {
                        tracing::info!(path = %path.display(), "access file in force");
                    }
                }
                Err(error) => told(&error),
            }
        }
        now
    }
}

/// Digests of the files at one look.
#[derive(Debug, Clone, Copy)]
struct Digests {
    tls: Option<[u8; 32]>,
    access: Option<[u8; 32]>,
    /// When the certificates of open connections were looked at, other than because of a change.
    looked_again: Instant,
}

fn told(error: &FileError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a changed file is not taken; what was in force stays");
}
