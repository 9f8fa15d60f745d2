//! Keys of a preset: made once, cached on disk, loaded when they are needed.
//!
//! The cache is keyed by what the keys follow from (reference string, circuits, sizes), so code and keys cannot
//! disagree. Files are written whole under a lock and checked by digest when they are read.

// They panic where the stream cannot be written; whoever calls is told by an error or `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod config;
mod file;
mod generate;
mod lock;
pub mod manifest;
mod plan;
mod store;
mod verifying;
pub mod whole_file;

pub use config::{
    COMPRESS_SELECTORS, KEYS_VARIABLE, KeyConfig, KeyError, KeyPhase, Progress, default_dir, user_cache,
};
pub use file::FileError;
pub use generate::generate;
pub use store::KeyStore;
pub use verifying::{AGGREGATION_KEY_FILE, MANIFEST_FILE, SHARD_KEY_FILE, VerifyingKeys, VerifyingKeysError};
