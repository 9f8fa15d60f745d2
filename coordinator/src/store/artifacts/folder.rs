//! Objects as files of one folder, each of which is whole or absent.
//!
//! `object_store` has a back end for folders too; it does not sync what it writes, so that a loss of power takes what was
//! acknowledged. Here a file is synced, renamed into its place, and its folder synced.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use keys::whole_file;

use super::{
    super::StoreError,
    objects::{Found, Listed, Objects},
};

/// A folder of objects.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, making it if need be.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        make_folder(&path)?;
        // An earlier start may have been killed before it was synced.
        sync_folder(above(&path))?;
        Ok(Self(path))
    }
}

impl Objects for Folder {
    fn put(&self, objects: &[(String, &[u8])]) -> Result<(), StoreError> {
        for (name, bytes) in objects {
            let path = self.0.join(name);
            whole_file::place(&path, |file| file.write_all(bytes)).map_err(io_error(&path))?;
        }
        match objects {
            [] => Ok(()),
            _ => sync_folder(&self.0),
        }
    }

    fn read(&self, name: &str, bytes: u64) -> Result<Found, StoreError> {
        let path = self.0.join(name);
        let read = || match fs::metadata(&path)?.len() {
            length if length == bytes => fs::read(&path).map(Found::Bytes),
            _ if path.is_dir() => Err(ErrorKind::IsADirectory.into()),
            _ => Ok(Found::Changed),
        };
        match read() {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Missing),
            Err(error) if is_the_files_own(&error) => Ok(Found::Unreadable(error.to_string())),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    fn list(&self, show: &mut (dyn FnMut(Listed) + Send)) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.0).map_err(io_error(&self.0))? {
            let entry = entry.map_err(io_error(&self.0))?;
            let about = entry.metadata().and_then(|about| Ok((about.modified()?, about)));
            let (modified, about) = match about {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                about => about.map_err(io_error(&entry.path()))?,
            };
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                let age = SystemTime::now().duration_since(modified).unwrap_or_default();
                show(Listed {
                    name,
                    bytes: about.len(),
                    age,
                });
            }
        }
        Ok(())
    }

    fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            let path = self.0.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn location(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
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

/// Makes a folder, if need be with those above it, so that it survives a loss of power.
pub(in crate::store) fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    make_folder(above(path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io_error(path)(error)),
        _ => {}
    }
    sync_folder(above(path))
}

/// The folder that a path lies in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

/// Makes what was renamed or removed in a folder survive a loss of power.
pub(in crate::store) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    whole_file::sync_folder(path).map_err(io_error(path))
}

/// Names the path in an error.
pub(in crate::store) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}
