//! Installations of the reference library, whole and damaged.

use accel::IcicleConfig;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The files of an installation.
pub const LIBRARIES: [&str; 3] = [
    "libicicle_device.so",
    "libicicle_field_bn254.so",
    "libicicle_curve_bn254.so",
];

/// An installation of its own for one test: what is open or loaded in others does not show in it.
pub struct Installation {
    directory: TempDir,
}

impl Installation {
    /// All three libraries and the driver, as links to one file.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let installation = Self { directory };
        std::fs::create_dir(installation.lib()).expect("lib");
        std::fs::write(installation.file(), reference()).expect("the library");
        for name in LIBRARIES {
            let link = installation.lib().join(name);
            std::os::unix::fs::symlink(installation.file(), link).expect("a link");
        }
        installation
    }

    /// The same with what looks like a CUDA backend.
    pub fn with_cuda() -> Self {
        let installation = Self::new();
        let backend = installation.lib().join("backend/cuda");
        std::fs::create_dir_all(&backend).expect("a directory");
        std::fs::write(backend.join("libicicle_backend_cuda_device.so"), "").expect("a file");
        installation
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn lib(&self) -> PathBuf {
        self.path().join("lib")
    }

    /// The file that is all libraries, and the driver.
    pub fn file(&self) -> PathBuf {
        self.path().join("libicicle_reference.so")
    }

    /// Writes a file in which bytes are replaced by as many others.
    pub fn damaged(&self, name: &str, from: &[u8], to: &[u8]) -> PathBuf {
        assert_eq!(from.len(), to.len());
        let mut bytes = reference();
        let found: Vec<usize> = bytes
            .windows(from.len())
            .enumerate()
            .filter_map(|(at, window)| (window == from).then_some(at))
            .collect();
        assert!(
            !found.is_empty(),
            "the library has no {}",
            String::from_utf8_lossy(from)
        );
        for at in found {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        let path = self.path().join(name);
        std::fs::remove_file(&path).ok();
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// A device of the installation, small and without a reserve.
    pub fn config(&self, kind: &str, index: u32) -> IcicleConfig {
        IcicleConfig {
            domain_k: 13,
            reserve_bytes: 0,
            driver: self.file(),
            ..IcicleConfig::new(Some(self.path()), kind, index)
        }
    }
}

/// The reference library's bytes. Cargo builds it beside the tests, whose dependency it is.
fn reference() -> Vec<u8> {
    let test = std::env::current_exe().expect("the test's own path");
    let directory = test.parent().expect("tests are in a directory");
    let path = directory.join("libicicle_reference.so");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
