//! Artifacts as files, each of which is whole or absent.
//!
//! Files are no truth of their own: the database says which exist and what is in them. One that it does not list is the
//! rest of a commit that never happened, or of a removal, and is swept away at the next opening.

use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use keys::whole_file;

use super::StoreError;
use crate::core::record::ArtifactKey;

/// A folder of artifacts.
#[derive(Debug)]
pub(super) struct ArtifactFolder {
    path: PathBuf,
}

/// The file name of an artifact.
pub(super) fn file_name(key: ArtifactKey) -> String {
    match key {
        ArtifactKey::Statement(batch) => format!("{batch}-statement"),
        ArtifactKey::Undo(batch) => format!("{batch}-undo"),
        ArtifactKey::ShardInput(batch, index) => format!("{batch}-s{index}-input"),
        ArtifactKey::ShardProof(batch, index) => format!("{batch}-s{index}-proof"),
        ArtifactKey::RootProof(batch) => format!("{batch}-root-proof"),
    }
}

impl ArtifactFolder {
    /// Opens the folder, making it if need be.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&path).map_err(io_error(&path))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes artifacts; when this returns, they survive a loss of power.
    pub(super) fn write<'a>(
        &self,
        artifacts: impl Iterator<Item = (ArtifactKey, &'a [u8])>,
    ) -> Result<(), StoreError> {
        let mut any = false;
        for (key, bytes) in artifacts {
            let path = self.path.join(file_name(key));
            whole_file::place(&path, |file| file.write_all(bytes)).map_err(io_error(&path))?;
            any = true;
        }
        if any { sync_folder(&self.path) } else { Ok(()) }
    }

    /// Reads an artifact; none if there is no file.
    pub(super) fn read(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path.join(file_name(key));
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if is_the_files_own(&error) => Err(StoreError::Artifact {
                path,
                found: format!("unreadable ({error})"),
            }),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        let mut entries = fs::read_dir(&self.path).map_err(io_error(&self.path))?;
        Ok(entries.next().is_none())
    }

    /// The bytes of an artifact's file; none if there is no file.
    pub(super) fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path.join(name);
        match fs::metadata(&path) {
            Ok(file) => Ok(Some(file.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    /// An artifact that is not what was written, or not there.
    pub(super) fn damaged(&self, name: &str, is_there: bool) -> StoreError {
        StoreError::Artifact {
            path: self.path.join(name),
            found: if is_there { "changed" } else { "missing" }.into(),
        }
    }

    /// Removes an artifact if it is there.
    pub(super) fn remove(&self, key: ArtifactKey) -> Result<(), StoreError> {
        remove_file(&self.path.join(file_name(key)))
    }

    /// Removes every file that is not listed.
    pub(super) fn sweep(&self, listed: &HashSet<String>) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.path).map_err(io_error(&self.path))? {
            let entry = entry.map_err(io_error(&self.path))?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| listed.contains(name))
            {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Makes what was renamed or removed in a folder survive a loss of power.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    whole_file::sync_folder(path).map_err(io_error(path))
}

/// Whether an error of a read is about that file, and not for want of descriptors or memory.
fn is_the_files_own(error: &io::Error) -> bool {
    /// `EIO`: a bad block.
    const BAD_BLOCK: i32 = 5;
    let kinds = [
        ErrorKind::PermissionDenied,
        ErrorKind::IsADirectory,
        ErrorKind::NotADirectory,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(BAD_BLOCK)
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // None of ours, and in nobody's way.
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            tracing::warn!(path = %path.display(), "a folder among the artifacts is left");
            Ok(())
        }
        removed => removed.map_err(io_error(path)),
    }
}

/// Names the path in an error.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}
