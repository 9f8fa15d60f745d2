//! The circuits that prove the rollup's rules, and the verification of what they prove.
//!
//! PROTOCOL.md is the specification; clauses are cited as `P-3.2`. The crate `rules` is its plain reading, and the oracle that
//! the circuits are tested against.

// They panic where the stream cannot be written; whoever calls is told by an error.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod aggregation;
pub mod fingerprint;
pub mod plonk;
pub mod preset;
pub mod recursion;
pub mod shard;
#[cfg(test)]
mod stand_in;
pub mod verify;
