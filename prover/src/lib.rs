//! Proving: the engine that makes proofs, and the worker process around it.

// They panic where the stream cannot be written; `tracing` tells.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod device;
pub mod engine;
pub mod fixtures;
pub mod hashing;
pub mod memory;
pub mod worker;
