//! The L1 tools that are not Rust: anvil, forge and the Solidity compiler, and the contracts of others that ours use, as npm packages
//! pinned by the lock file.
//!
//! They are fetched once, into a folder named by the lock file's digest (see [`default_dir`]). A lock makes concurrent callers
//! wait for the one that fetches; a fetch that fails leaves nothing, an interrupted one nothing that looks complete.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use keys::{user_cache, whole_file::Folder};
use sha2::{Digest, Sha256};
use thiserror::Error;

const PACKAGE: &str = include_str!("../package.json");
const LOCK: &str = include_str!("../package-lock.json");
const SOLC: &str = include_str!("../tools/solc.js");

/// Environment variable that names the tools' folder.
pub const TOOLS_VARIABLE: &str = "ROLLUP_PROVER_TOOLS";

/// Why the tools are not there.
#[derive(Debug, Error)]
pub enum ToolsError {
    /// What the tools run on is not installed.
    #[error("`node` is not installed: the Solidity compiler runs on it; install Node.js 18 or later")]
    NodeMissing,
    /// The tools were never fetched, and cannot be.
    #[error(
        "there are no L1 tools in {directory}, and `npm`, which fetches them, is not installed: install Node.js 18 or later \
         with npm, or name a folder that has them with {TOOLS_VARIABLE}"
    )]
    NpmMissing {
        /// Where they should be.
        directory: PathBuf,
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
        if !runs("node") {
            return Err(ToolsError::NodeMissing);
        }
        // What was fetched is whole, and may lie where nothing can be written.
        if tools.dir.is_dir() {
            return Ok(tools);
        }
        if !runs("npm") {
            return Err(ToolsError::NpmMissing {
                directory: root.to_owned(),
            });
        }
        let _folder = Folder::make(root).map_err(at(root))?;
        let lock = File::open(root).map_err(at(root))?;
        lock.lock().map_err(at(root))?;
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

    /// The folder of OpenZeppelin's contracts, which sources import as `@openzeppelin/contracts/`.
    pub fn openzeppelin(&self) -> PathBuf {
        self.dir.join("node_modules/@openzeppelin/contracts")
    }

    /// forge, to be run in that Foundry project with the pinned compiler and contracts.
    pub fn forge_in(&self, project: &Path) -> Command {
        let mut forge = Command::new(self.forge());
        let openzeppelin = self.openzeppelin().display().to_string();
        // forge reads the compiler's path from the environment too, which unlike `--use` suits every subcommand.
        forge
            .current_dir(project)
            .env("FOUNDRY_SOLC", self.solc())
            .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
            .env(
                "FOUNDRY_REMAPPINGS",
                format!("@openzeppelin/contracts/={openzeppelin}/"),
            )
            .env("FOUNDRY_ALLOW_PATHS", format!("[{openzeppelin:?}]"));
        forge
    }

    /// Installs beside the final directory and renames, so that the final directory is always complete.
    fn fetch(&self) -> Result<(), ToolsError> {
        let partial = self.dir.with_extension("partial");
        let remove = || match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&partial)(error)),
            _ => Ok(()),
        };
        remove()?;
        let fetched =
            fetch_into(&partial).and_then(|()| fs::rename(&partial, &self.dir).map_err(at(&self.dir)));
        if fetched.is_err() {
            // The first error is the one to report.
            let _ = remove();
        }
        fetched
    }
}

fn fetch_into(folder: &Path) -> Result<(), ToolsError> {
    fs::create_dir(folder).map_err(at(folder))?;
    for (name, content) in [
        ("package.json", PACKAGE),
        ("package-lock.json", LOCK),
        ("solc.js", SOLC),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    make_executable(&folder.join("solc.js"))?;
    let output = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .current_dir(folder)
        .output()
        .map_err(at(Path::new("npm")))?;
    if !output.status.success() {
        return Err(ToolsError::Fetch {
            status: output.status.to_string(),
            stderr: excerpt(&output.stderr),
        });
    }
    run_once("anvil", &foundry(folder, "anvil"))?;
    run_once("forge", &foundry(folder, "forge"))?;
    run_once("solc", &folder.join("solc.js"))
}

/// The folder that `ROLLUP_PROVER_TOOLS` names; else `tools` in cargo's target directory, for a program that lies in it; else
/// `rollup-prover/tools` in the user's cache.
pub fn default_dir() -> PathBuf {
    let named = env::var_os(TOOLS_VARIABLE).filter(|value| !value.is_empty());
    match named {
        Some(named) => PathBuf::from(named),
        None => dir_of(&env::current_exe().unwrap_or_default()),
    }
}

fn dir_of(program: &Path) -> PathBuf {
    let mut ancestors = program.ancestors();
    let target = ancestors.find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.map_or_else(user_cache, Path::to_path_buf).join("tools")
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

fn runs(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
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
    fn a_program_of_cargos_has_its_tools_in_the_target_directory_and_another_in_the_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("release/deps/program");
        assert_eq!(dir_of(&program), user_cache().join("tools"));
        fs::write(folder.path().join("CACHEDIR.TAG"), "").expect("a file");
        assert_eq!(dir_of(&program), folder.path().join("tools"));
    }

    #[test]
    fn tools_that_are_there_are_used_without_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(&digest()[..16])).expect("a folder");
        let tools = Tools::ensure_in(folder.path(), &mut |line| panic!("{line}")).expect("they are there");
        assert!(tools.anvil().starts_with(folder.path()));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

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
