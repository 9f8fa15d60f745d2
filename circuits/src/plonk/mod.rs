//! Verification of halo2 proofs (SHPLONK, KZG on BN254), written once: read with plain values it is a verifier, read
//! with a circuit's cells it is a circuit.
//!
//! | file | what |
//! |---|---|
//! | `arithmetic` | the scalar arithmetic that the equation is written in; a transcript's sponge |
//! | `program` | a key's polynomials as one list of operations |
//! | `shape` | what a key fixes: a proof's order, its polynomials, its openings |
//! | `proof` | a proof's bytes, checked and taken apart |
//! | `transcript` | how challenges are drawn; the writing of a proof |
//! | `equation` | the verification of a proof as sums of points, and the fold of proofs |
//! | `native` | the equation with plain values, held to stock verification by its tests |
//! | `key`, `encoding` | a verifying key, and its file |
//!
//! The constraint systems are ours: one phase, one instance column.

pub(crate) mod arithmetic;
mod encoding;
pub(crate) mod equation;
mod key;
pub(crate) mod native;
mod program;
pub(crate) mod proof;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod transcript;

pub use encoding::{KEY_BYTES_MAX, KeyError};
pub use key::VerifyingKey;
pub use native::{Degenerate, accumulate, accumulate_with};
pub use program::{Node, Program, Query, Root};
pub use proof::{Proof, ProofError, Transcript};
pub use shape::{Base, Lookup, OpeningSet, PermutationSet, Points, Shape, Value};
pub use transcript::{Challenge, ProofWriter};
