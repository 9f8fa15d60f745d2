//! The lock of a key cache: a file that is there only while somebody holds it or waits for it.
//!
//! Its holder removes it before letting go. Whoever waited has then locked a file that nobody else finds any more, sees that, and
//! begins anew. What a killed holder leaves is locked by nobody, and does no harm.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    config::{KeyPhase, Progress},
    file::FileError,
    whole_file::Folder,
};

/// How often a folder may go between two looks at it before that is an error.
const GONE_MAX: u32 = 10_000;

/// A cache's lock and a folder in the cache, of which nothing stays that was not there before and holds no key. Dropped in this
/// order.
pub(super) struct Lock {
    _folder: Folder,
    _name: Name,
    _cache: Folder,
    _file: File,
}

/// The lock's file, removed with this value.
struct Name(PathBuf);

impl Lock {
    /// Takes the lock of the cache in `cache`, and makes the folder in it.
    pub(super) fn take(cache: &Path, folder: &Path, progress: Progress<'_>) -> Result<Self, FileError> {
        let path = cache.join("lock");
        let io = FileError::io(&path);
        let (mut waits, mut gone) = (false, 0);
        loop {
            let made = match Folder::make(cache) {
                Ok(made) => made,
                Err(error) if may_have_gone(&error, &mut gone) => continue,
                Err(error) => return Err(FileError::io(cache)(error)),
            };
            let file = match File::create(&path) {
                Ok(file) => file,
                Err(error) if may_have_gone(&error, &mut gone) => continue,
                Err(error) => return Err(io(error)),
            };
            if file.try_lock().is_err() {
                if !std::mem::replace(&mut waits, true) {
                    progress(KeyPhase::Wait, 0.0);
                }
                file.lock().map_err(io)?;
            }
            if !is_at(&file, &path).map_err(io)? {
                continue;
            }
            if waits {
                progress(KeyPhase::Wait, 1.0);
            }
            let name = Name(path);
            return Ok(Self {
                _folder: Folder::make(folder).map_err(FileError::io(folder))?,
                _name: name,
                _cache: made,
                _file: file,
            });
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // One that stays does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether an error may come of a folder that went again when another process let go.
fn may_have_gone(error: &io::Error, times: &mut u32) -> bool {
    *times += 1;
    *times < GONE_MAX && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
}

/// Whether the file is still the one at its path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    fn take(cache: &Path) -> Lock {
        Lock::take(cache, &cache.join("keys"), &|_, _| {}).unwrap()
    }

    #[test]
    fn nothing_stays_of_a_lock_under_which_nothing_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("above/cache");
        let lock = take(&cache);
        assert!(cache.join("keys").is_dir() && cache.join("lock").is_file());
        drop(lock);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let lock = take(&cache);
        fs::write(cache.join("keys/key"), "").unwrap();
        drop(lock);
        let names: Vec<_> = fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["keys"]);
        // Of a process that was killed.
        fs::write(cache.join("lock"), "").unwrap();
        drop(take(&cache));
        assert!(!cache.join("lock").exists());
    }

    #[test]
    fn one_holds_it_at_a_time_though_its_file_goes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let holders = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lock = take(&cache);
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        assert!(cache.join("keys").is_dir());
                        thread::yield_now();
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                        drop(lock);
                    }
                });
            }
        });
        // Nobody removes a folder that another process came into meanwhile.
        let left = fs::read_dir(&cache).map_or(0, Iterator::count);
        assert_eq!(left, 0);
    }
}
