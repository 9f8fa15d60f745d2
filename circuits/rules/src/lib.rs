//! The rollup's rules in plain Rust: accounts, their tree, operations, signatures, batches, data streams, and how
//! the state follows from what L1 has.
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
pub mod derive;
pub mod digest;
pub mod eddsa;
mod encoding;
pub mod field;
pub mod follow;
pub mod format;
pub mod gas;
pub mod layout;
pub mod ledger;
pub mod operation;
pub mod outbox;
pub mod poseidon;
pub mod record;
mod runs;
pub mod sample;
pub mod shards;
pub mod snapshot;
pub mod state;
pub mod statement;
pub mod stream;
mod terms;
mod threads;
mod transition;
pub mod tree;
pub mod violation;
pub mod witness;
mod word;

pub use transition::{Change, code};

/// The field of every value of the protocol (P-1.1).
pub use halo2curves::bn256::Fr;

/// Version of the protocol (PROTOCOL.md) that these rules are.
pub const PROTOCOL_VERSION: u32 = 2;
