//! The coordinator: takes executed batches, hands out the work of proving them, and keeps what must not be lost.
//!
//! - [`core`]: the rules, as a pure state machine.
//! - [`store`]: what survives a crash.
//! - [`convert`]: batches between the wire and the state machine's types.
//! - [`Coordinator`]: the gRPC server around them.

// They panic where the stream cannot be written; `tracing` tells.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod config;
pub mod convert;
pub mod core;
mod execution;
mod keyring;
mod server;
mod snapshot;
pub mod store;
mod verifier;

pub use config::{BATCH_BYTES_MAX, Config, ConfigError, Postgres, Quotas, TlsFiles};
pub use keyring::{Keys, KeysError};
pub use server::{Coordinator, Error, metrics::METRICS, run, run_with_verifier};
pub use snapshot::SnapshotError;
pub use verifier::Verifier;
