//! Files that appear whole or not at all, and survive a loss of power once they are there.
//!
//! A file is written beside its place under a name that nothing else has, synced, and renamed; then its folder is synced. What
//! fails on the way leaves the old file and nothing else. Only a process that is killed leaves its temporary file: names that
//! begin with a dot and end in `.tmp`, which [`remove_leftovers`] knows.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// How often a name is drawn. A name that is taken is one in 2^64, unless somebody makes names of that form.
const NAMES_MAX: usize = 8;

/// Writes a file of these bytes.
///
/// # Errors
/// The cause; the old file, if any, is as it was, unless only the last sync failed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, |file| file.write_all(bytes))?;
    sync_folder(folder(path))
}

/// Puts a file in its place and leaves it to the caller to [`sync_folder`]: for several in one folder, or none at all.
///
/// A path that leads through a link, writes the file that the link names. One that is no file (a pipe, `/dev/stdout`) is
/// written to, since there is nothing to put in its place.
///
/// # Errors
/// The cause, that of `fill` included; the old file, if any, is as it was.
pub fn place(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let (path, old) = match fs::metadata(path) {
        Ok(old) if old.is_file() => (fs::canonicalize(path)?, Some(old)),
        Ok(old) if old.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(_) => return fill(&mut File::options().write(true).open(path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => (path.to_path_buf(), None),
        Err(error) => return Err(error),
    };
    let mut temporary = Temporary::beside(&path)?;
    fill(&mut temporary.file)?;
    if let Some(old) = old {
        temporary.file.set_permissions(old.permissions())?;
    }
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, &path)?;
    temporary.is_placed = true;
    Ok(())
}

/// Makes what was renamed or removed in a folder survive a loss of power.
///
/// # Errors
/// The cause. A file system that knows no such thing is none.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// Removes what writers of this file left that were killed. Only for whoever is its only writer, by a lock for example.
///
/// # Errors
/// The cause.
pub fn remove_leftovers(path: &Path) -> io::Result<()> {
    let prefix = prefix(path);
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let is_leftover = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(SUFFIX))
            .is_some_and(|drawn| drawn.len() == 16 && drawn.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_leftover {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A folder that is there as long as something is in it: what was made of it, and of the folders around it, goes again with
/// this value if nothing came in.
#[derive(Debug)]
pub struct Folder {
    /// Outermost first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes the folder and those around it, as far as they are missing.
    ///
    /// # Errors
    /// The cause; what was made until then is gone again.
    pub fn make(path: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
            .collect();
        let mut folder = Self { made: Vec::new() };
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => folder.made.push(path.to_path_buf()),
                // Another process was faster, so it is that one's.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // Refused for one that is not empty, which therefore stays.
            if fs::remove_dir(path).is_err() {
                return;
            }
        }
    }
}

const SUFFIX: &str = ".tmp";

/// A file beside its place, removed unless it gets there.
struct Temporary {
    file: File,
    path: PathBuf,
    is_placed: bool,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let prefix = prefix(path);
        let mut drawn = 0;
        loop {
            let name = format!("{prefix}{:016x}{SUFFIX}", rand::random::<u64>());
            let path = folder(path).join(name);
            drawn += 1;
            // Never one that is there already, whoever made it.
            match File::create_new(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        is_placed: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && drawn < NAMES_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed {
            // The error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folder that a file lies in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// How the names of a file's temporaries begin: with its own, as far as a name has room for more.
fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(40).collect();
    format!(".{name}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_and_is_replaced_with_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn no_neighbour_is_touched_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let neighbours = ["a.tmp", "proof.tmp", "proof.json.tmp", ".proof.json.tmp", "proof"];
        for name in neighbours {
            fs::write(dir.path().join(name), name).unwrap();
        }
        write(&dir.path().join("proof.json"), b"proof").unwrap();
        write(&dir.path().join("a"), b"a").unwrap();
        for name in neighbours {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
        }
        assert_eq!(names(dir.path()).len(), neighbours.len() + 2);
    }

    #[test]
    fn what_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let fail = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::Error::other("full"))
        };
        place(&path, fail).unwrap_err();
        assert!(names(dir.path()).is_empty());
        write(&path, b"old").unwrap();
        place(&path, fail).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a"]);
        let panicked = std::panic::catch_unwind(|| place(&path, |_| panic!("while it is written")));
        assert!(panicked.is_err());
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(
            write(dir.path(), b"no file").unwrap_err().kind(),
            ErrorKind::IsADirectory
        );
        let absent = write(&dir.path().join("none/a"), b"").unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_link_leads_to_the_file_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_written_to_and_stays_what_it_is() {
        let null = Path::new("/dev/null");
        place(null, |file| file.write_all(b"nothing")).unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
    }

    #[test]
    fn leftovers_of_a_file_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let gone = ".a.0123456789abcdef.tmp";
        let mut others = [
            "a",
            ".a.tmp",
            ".a.0123.tmp",
            ".a.0123456789abcdeg.tmp",
            ".b.0123456789abcdef.tmp",
        ];
        for name in others.into_iter().chain([gone]) {
            fs::write(dir.path().join(name), name).unwrap();
        }
        remove_leftovers(&dir.path().join("a")).unwrap();
        others.sort_unstable();
        assert_eq!(names(dir.path()), others);
    }

    #[test]
    fn a_temporary_of_a_killed_writer_is_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", &"long".repeat(60), "\u{e9}\u{e8}"] {
            let path = dir.path().join(name);
            let mut temporary = Temporary::beside(&path).unwrap();
            // As if it were never dropped.
            temporary.is_placed = true;
            drop(temporary);
            assert_eq!(names(dir.path()).len(), 1);
            remove_leftovers(&path).unwrap();
            assert!(names(dir.path()).is_empty());
        }
    }

    #[test]
    fn a_folder_goes_again_when_nothing_came_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        drop(Folder::make(&path).unwrap());
        assert!(names(dir.path()).is_empty());

        let folder = Folder::make(&path).unwrap();
        write(&dir.path().join("a/kept"), b"").unwrap();
        drop(folder);
        assert_eq!(names(&dir.path().join("a")), ["kept"]);

        // One that was there is nobody's to remove.
        drop(Folder::make(&dir.path().join("a")).unwrap());
        fs::create_dir(dir.path().join("empty")).unwrap();
        drop(Folder::make(&dir.path().join("empty")).unwrap());
        assert_eq!(names(dir.path()), ["a", "empty"]);

        let error = Folder::make(&dir.path().join("new/x/\0")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(names(dir.path()), ["a", "empty"]);
    }
}
