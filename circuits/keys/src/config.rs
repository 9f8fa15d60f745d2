//! Which keys to open, from where, and why they cannot be had.

use std::{fmt, path::PathBuf};

use circuits::{preset::Preset, shard::ShardCircuitError};
use rules::digest::Digest;
use srs::{SrsError, SrsSource};

use crate::file::FileError;

/// Selectors that exclude each other share fixed columns: whoever verifies a proof pays for each of them.
pub const COMPRESS_SELECTORS: bool = true;

/// Environment variable that names the key folder.
pub const KEYS_VARIABLE: &str = "ROLLUP_PROVER_KEYS";

/// Told which phase is under way and what fraction of it is done; may be called from several threads.
pub type Progress<'a> = &'a (dyn Fn(KeyPhase, f32) + Sync);

/// What takes time when keys are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPhase {
    /// Waiting for another process that makes the same keys.
    Wait,
    /// Making, or reading and checking, the reference string of size `2^k`.
    Srs {
        /// Log2 of its size.
        k: u32,
    },
    /// The shard circuit's keys.
    ShardKeys,
    /// The aggregation circuit's keys.
    AggregationKeys,
}

/// Which keys to open, and from where.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Folder of the cache; it is made if need be.
    pub dir: PathBuf,
    /// Sizes.
    pub preset: Preset,
    /// Reference string.
    pub srs: SrsSource,
    /// Must be true for [`SrsSource::Development`], and for a file that holds the same SRS.
    pub allow_insecure: bool,
    /// The digest that the reference string must have ([`srs::SrsId`]); any if none is given.
    pub srs_digest: Option<Digest>,
}

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The reference string was refused.
    #[error("reference string: {0}")]
    Srs(#[from] SrsError),
    /// A file of the cache cannot be used.
    #[error("key cache: {0}")]
    File(#[from] FileError),
    /// The preset's shard circuit does not exist.
    #[error("shard circuit: {0}")]
    Shard(#[from] ShardCircuitError),
    /// halo2 refused the circuit.
    #[error("keys of the {circuit} circuit: {reason}")]
    Keygen {
        /// Which circuit.
        circuit: &'static str,
        /// halo2's reason.
        reason: String,
    },
    /// There are no such keys, and none were to be made.
    #[error("no keys of preset {preset} in {dir}; make them with `keygen`")]
    Absent {
        /// The folder that was searched.
        dir: PathBuf,
        /// The preset's name.
        preset: &'static str,
    },
}

/// The default key folder: `$ROLLUP_PROVER_KEYS`; else `target/keys` of the workspace when cargo runs the program; else
/// the user's cache folder.
pub fn default_dir() -> PathBuf {
    if let Some(dir) = variable(KEYS_VARIABLE) {
        return dir;
    }
    if let Some(package) = variable("CARGO_MANIFEST_DIR") {
        let workspace = package
            .ancestors()
            .filter(|dir| dir.join("Cargo.lock").is_file())
            .last();
        return workspace.unwrap_or(&package).join("target/keys");
    }
    user_cache().join("keys")
}

/// The folder of what is kept for a user: `rollup-prover` in `$XDG_CACHE_HOME`, else in `~/.cache`.
pub fn user_cache() -> PathBuf {
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("rollup-prover")
}

/// A folder that a variable of the environment names; an empty one names none.
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

impl fmt::Display for KeyPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => write!(f, "waiting for another process that makes keys"),
            Self::Srs { k } => write!(f, "reference string, 2^{k} points"),
            Self::ShardKeys => write!(f, "shard keys"),
            Self::AggregationKeys => write!(f, "aggregation keys"),
        }
    }
}
