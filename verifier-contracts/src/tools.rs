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
    /// anvil and forge are not published for this machine.
    #[error("anvil and forge are not published for {os} on {arch}")]
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
        /// The end of what npm said.
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
    platform: String,
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
        let dir = root.join(&digest()[..16]);
        let tools = Self {
            dir,
            platform: platform()?,
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
        self.foundry(&self.dir, "anvil")
    }

    /// forge's executable.
    pub fn forge(&self) -> PathBuf {
        self.foundry(&self.dir, "forge")
    }

    /// An executable that speaks the compiler's standard JSON, as `forge --use` takes it.
    pub fn solc(&self) -> PathBuf {
        self.dir.join("solc.js")
    }

    fn foundry(&self, dir: &Path, tool: &str) -> PathBuf {
        dir.join(format!(
            "node_modules/@foundry-rs/{tool}-{}/bin/{tool}",
            self.platform
        ))
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
                stderr: tail(&output.stderr),
            });
        }
        run_once("anvil", &self.foundry(&partial, "anvil"))?;
        run_once("forge", &self.foundry(&partial, "forge"))?;
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

/// Names one state of everything that is fetched or written.
fn digest() -> String {
    let mut hasher = Sha256::new();
    for part in [PACKAGE, LOCK, SOLC] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// The suffix of foundry's packages for this machine.
fn platform() -> Result<String, ToolsError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let unsupported = || ToolsError::Platform { os, arch };
    let system = match os {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return Err(unsupported()),
    };
    let processor = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return Err(unsupported()),
    };
    Ok(format!("{system}-{processor}"))
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
        Err(broken(tail(&output.stderr)))
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

/// The last part of a program's output, short enough for an error message.
pub(crate) fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    let start = text.char_indices().rev().nth(1_999).map_or(0, |(index, _)| index);
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_no_registry() {
        assert!(!LOCK.contains("\"resolved\""));
    }

    #[test]
    fn tail_keeps_the_end_of_long_output() {
        let long = "é".repeat(3_000) + "end";
        assert_eq!(tail(long.as_bytes()).chars().count(), 2_000);
        assert!(tail(long.as_bytes()).ends_with("end"));
        assert_eq!(tail(b" short \n"), "short");
    }
}
