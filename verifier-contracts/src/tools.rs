//! The L1 tools that are not Rust: anvil, forge and the Solidity compiler, as npm packages pinned by the lock file.
//!
//! They are fetched once into `tools/<digest of the lock file>` under cargo's target directory. A file lock makes
//! concurrent callers wait for the one that fetches, and an interrupted fetch leaves nothing that looks complete.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use thiserror::Error;

const PACKAGE: &str = include_str!("../package.json");
const LOCK: &str = include_str!("../package-lock.json");
const SOLC: &str = include_str!("../tools/solc.js");

/// Why the tools are not there.
#[derive(Debug, Error)]
pub enum ToolsError {
    /// A program that must be installed is not.
    #[error(
        "`{program}` is not installed: the L1 tools are npm packages; install Node.js 18 or later with npm"
    )]
    Missing {
        /// `node` or `npm`.
        program: &'static str,
    },
    /// The pinned anvil and forge are programs of another platform.
    #[error("anvil and forge are pinned for linux on x86_64, this is {os} on {arch}: change package.json")]
    Platform {
        /// Operating system, as Rust names it.
        os: &'static str,
        /// Processor, as Rust names it.
        arch: &'static str,
    },
    /// `npm ci` failed, for example because no registry can be reached.
    #[error("`npm ci` could not fetch anvil, forge and solc ({status}): {stderr}")]
    Fetch {
        /// npm's exit status.
        status: String,
        /// The beginning of what npm said.
        stderr: String,
    },
    /// A fetched tool is absent or does not run.
    #[error("the fetched `{tool}` at {path} does not run: {reason}")]
    Broken {
        /// Name of the tool.
        tool: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What happened when it was run.
        reason: String,
    },
    /// The tools' directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The fetched tools.
#[derive(Clone, Debug)]
pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The tools under [`default_dir`], fetched when they are missing. `progress` gets a line before anything slow.
    ///
    /// # Errors
    /// [`ToolsError`] names what is missing.
    pub fn ensure(progress: &mut dyn FnMut(&str)) -> Result<Self, ToolsError> {
        Self::ensure_in(&default_dir(), progress)
    }

    /// As [`Tools::ensure`], under a directory of the caller's choice.
    ///
    /// # Errors
    /// [`ToolsError`] names what is missing.
    pub fn ensure_in(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self, ToolsError> {
        check_platform()?;
        let tools = Self {
            dir: root.join(&digest()[..16]),
        };
        require("node")?;
        fs::create_dir_all(root).map_err(at(root))?;
        let lock_path = root.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        if !tools.dir.is_dir() {
            progress("fetching anvil, forge and solc with npm");
            tools.fetch()?;
        }
        Ok(tools)
    }

    /// anvil's executable.
    pub fn anvil(&self) -> PathBuf {
        foundry(&self.dir, "anvil")
    }

    /// forge's executable.
    pub fn forge(&self) -> PathBuf {
        foundry(&self.dir, "forge")
    }

    /// An executable that speaks the compiler's standard JSON, as `forge --use` takes it.
    pub fn solc(&self) -> PathBuf {
        self.dir.join("solc.js")
    }

    /// Installs beside the final directory and renames, so that the final directory is always complete.
    fn fetch(&self) -> Result<(), ToolsError> {
        require("npm")?;
        let partial = self.dir.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(at(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        for (name, content) in [
            ("package.json", PACKAGE),
            ("package-lock.json", LOCK),
            ("solc.js", SOLC),
        ] {
            let path = partial.join(name);
            fs::write(&path, content).map_err(at(&path))?;
        }
        make_executable(&partial.join("solc.js"))?;
        let output = Command::new("npm")
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(&partial)
            .output()
            .map_err(|_| ToolsError::Missing { program: "npm" })?;
        if !output.status.success() {
            return Err(ToolsError::Fetch {
                status: output.status.to_string(),
                stderr: excerpt(&output.stderr),
            });
        }
        run_once("anvil", &foundry(&partial, "anvil"))?;
        run_once("forge", &foundry(&partial, "forge"))?;
        run_once("solc", &partial.join("solc.js"))?;
        fs::rename(&partial, &self.dir).map_err(at(&self.dir))
    }
}

/// `tools/` under the cargo target directory that the running program lies in, or `target/tools` under the working
/// directory for a program that was installed elsewhere.
pub fn default_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(Path::new("target")).join("tools")
}

fn foundry(dir: &Path, tool: &str) -> PathBuf {
    dir.join(format!("node_modules/@foundry-rs/{tool}-linux-amd64/bin/{tool}"))
}

/// Names one state of everything that is fetched or written.
fn digest() -> String {
    let mut hasher = Sha256::new();
    for part in [PACKAGE, LOCK, SOLC] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// The packages of anvil and forge are programs of one platform, and those of [`PACKAGE`] are this one's.
fn check_platform() -> Result<(), ToolsError> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(()),
        (os, arch) => Err(ToolsError::Platform { os, arch }),
    }
}

fn require(program: &'static str) -> Result<(), ToolsError> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(ToolsError::Missing { program }),
    }
}

fn run_once(tool: &'static str, path: &Path) -> Result<(), ToolsError> {
    let broken = |reason: String| ToolsError::Broken {
        tool,
        path: path.to_owned(),
        reason,
    };
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|error| broken(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(broken(excerpt(&output.stderr)))
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), ToolsError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(at(path))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<(), ToolsError> {
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ToolsError {
    let path = path.to_owned();
    move |source| ToolsError::Io { path, source }
}

/// The beginning of a program's output, short enough for an error message.
pub(crate) fn excerpt(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    let end = text
        .char_indices()
        .nth(1_000)
        .map_or(text.len(), |(index, _)| index);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_no_registry() {
        assert!(!LOCK.contains("\"resolved\""));
    }

    #[test]
    fn an_excerpt_is_the_beginning_of_long_output() {
        let long = "start".to_owned() + &"é".repeat(3_000);
        assert_eq!(excerpt(long.as_bytes()).chars().count(), 1_000);
        assert!(excerpt(long.as_bytes()).starts_with("start"));
        assert_eq!(excerpt(b" short \n"), "short");
    }
}
