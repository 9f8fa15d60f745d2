//! The proven statement: the rollup's state machine, and the circuits that prove it.
//!
//! PROTOCOL.md is the specification; clauses are cited as `P-3.2`. The native modules below are its plain reading,
//! and the oracle that the circuits are tested against.

// They panic where the stream cannot be written; whoever calls is told by an error or `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod account;
pub mod aggregation;
pub mod amount;
pub mod babyjub;
pub mod batch;
pub mod eddsa;
mod encoding;
pub mod field;
pub mod genesis;
pub mod keys;
pub mod manifest;
pub mod operation;
pub mod plonk;
pub mod poseidon;
pub mod preset;
pub mod ptau;
pub mod recursion;
pub mod sample;
pub mod shard;
pub mod srs;
pub mod state;
pub mod stream;
mod transition;
pub mod tree;
pub mod verify;
pub mod whole_file;
pub mod witness;

/// The field of every value of the protocol (P-1.1).
pub use halo2curves::bn256::Fr;
