//! The reference library, laid out like an installation of ICICLE.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An installation of its own for one test, with room for other files.
pub struct Installation(TempDir);

impl Installation {
    /// All three libraries, as links to one file, in the folder `lib`.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let lib = directory.path().join("lib");
        std::fs::create_dir(&lib).expect("lib");
        for name in ["device", "field_bn254", "curve_bn254"] {
            symlink(library(), lib.join(format!("libicicle_{name}.so"))).expect("a link");
        }
        Self(directory)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The reference library. Cargo builds it beside the tests, whose dependency it is.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let library = test.with_file_name("libicicle_reference.so");
    assert!(library.is_file(), "{}", library.display());
    library
}
