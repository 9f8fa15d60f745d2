//! The rollup's rules in plain Rust: accounts, their tree, transfers, signatures, batches, data streams.
//!
//! PROTOCOL.md is the specification; clauses are cited as `P-3.2`. This is its plain reading, the oracle that the circuits
//! are tested against, and what wallets, sequencers and indexers need. It is built for browsers too: no thread (but for the feature
//! `threads`), no file, no clock.

// They panic where the stream cannot be written; whoever calls is told by an error.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod account;
pub mod amount;
pub mod babyjub;
pub mod batch;
pub mod digest;
pub mod eddsa;
mod encoding;
pub mod field;
pub mod format;
pub mod genesis;
pub mod operation;
pub mod poseidon;
mod runs;
pub mod sample;
pub mod state;
pub mod statement;
pub mod stream;
mod threads;
mod transition;
pub mod tree;
pub mod v2;
pub mod witness;

/// The field of every value of the protocol (P-1.1).
pub use halo2curves::bn256::Fr;

/// Version of the protocol (PROTOCOL.md) that these rules are.
pub const PROTOCOL_VERSION: u32 = 1;
