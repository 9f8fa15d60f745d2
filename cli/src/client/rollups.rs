//! The calls about rollups.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use proto::v1::create_rollup_request::Part;
use proto::v1::{
    CreateRollupHeader, CreateRollupRequest, DeleteRollupRequest, ListRollupsRequest, RollupInfo,
    UpdateRollupRequest,
};
use sha2::{Digest, Sha256};

use super::{Client, timed};

impl Client {
    /// The rollups, in the order in which they were created.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn rollups(&self) -> Result<Vec<RollupInfo>> {
        let response = self
            .patiently(|mut service| async move { service.list_rollups(timed(ListRollupsRequest {})).await })
            .await?;
        Ok(response.rollups)
    }

    /// Creates a rollup, which begins with the snapshot of that file, if one is named. `sent` sees how many bytes of it are on their
    /// way.
    ///
    /// # Errors
    /// As [`Client::info`]; or the file cannot be read.
    pub async fn create_rollup(
        &self,
        header: CreateRollupHeader,
        snapshot: Option<&Path>,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<RollupInfo> {
        let failed = Arc::new(Mutex::new(None::<anyhow::Error>));
        let created = self
            .operate(|mut operator| {
                let first = std::iter::once(Part::Header(header.clone()));
                let (sent, failed) = (sent.clone(), Arc::clone(&failed));
                let chunks = snapshot.map(Chunks::of).into_iter().flatten();
                // What cannot be read ends the stream, and the coordinator refuses a snapshot that is cut.
                let chunks = chunks.map_while(move |chunk| match chunk {
                    Ok((chunk, total)) => {
                        sent(total);
                        Some(Part::Chunk(chunk.into()))
                    }
                    Err(error) => {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        None
                    }
                });
                let parts = first.chain(chunks);
                let messages = parts.map(|part| CreateRollupRequest { part: Some(part) });
                let stream = tonic::Request::new(futures::stream::iter(messages));
                async move { operator.create_rollup(stream).await }
            })
            .await;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let created = created?.rollup;
        created.context("the coordinator created the rollup without saying so")
    }

    /// Changes a rollup.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn update_rollup(
        &self,
        name: &str,
        weight: Option<u32>,
        tenant: Option<String>,
    ) -> Result<RollupInfo> {
        let request = UpdateRollupRequest {
            name: name.into(),
            weight,
            tenant,
        };
        let response = self
            .operate(|mut operator| {
                let request = timed(request.clone());
                async move { operator.update_rollup(request).await }
            })
            .await?;
        response
            .rollup
            .context("the coordinator changed the rollup without saying so")
    }

    /// Deletes a rollup whose next batch has that number.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn delete_rollup(&self, name: &str, next_batch_number: u64) -> Result<()> {
        let request = DeleteRollupRequest {
            name: name.into(),
            next_batch_number,
        };
        self.operate(|mut operator| {
            let request = timed(request.clone());
            async move { operator.delete_rollup(request).await }
        })
        .await
        .map(drop)
    }
}

/// A file in chunks, each with the bytes up to its end.
struct Chunks {
    path: PathBuf,
    file: Option<File>,
    total: u64,
    ended: bool,
}

impl Chunks {
    fn of(path: &Path) -> Self {
        Self {
            path: path.into(),
            file: None,
            total: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let mut chunk = Vec::with_capacity(proto::CHUNK_BYTES_MAX);
        file.take(proto::CHUNK_BYTES_MAX as u64).read_to_end(&mut chunk)?;
        Ok(chunk)
    }
}

impl Iterator for Chunks {
    type Item = Result<(Vec<u8>, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self
            .read()
            .with_context(|| format!("cannot read {}", self.path.display()));
        match chunk {
            Ok(chunk) if chunk.is_empty() => {
                self.ended = true;
                None
            }
            Ok(chunk) => {
                self.total += chunk.len() as u64;
                Some(Ok((chunk, self.total)))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Length and SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn measure(path: &Path) -> Result<(u64, [u8; 32])> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let is_file = file.metadata().with_context(context)?.is_file();
    anyhow::ensure!(
        is_file,
        "{} is no file; it is read twice, which a pipe or a device does not bear",
        path.display()
    );
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; proto::CHUNK_BYTES_MAX];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => return Ok((bytes, digest.finalize().into())),
            read => {
                bytes += read as u64;
                digest.update(&buffer[..read]);
            }
        }
    }
}
