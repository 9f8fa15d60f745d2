//! The structured reference string (SRS): powers of a secret in BN254, in both bases that a prover needs.
//!
//! Three sources: a ceremony's `.ptau` ([`read_ptau`]), halo2's raw parameters ([`read_halo2`]), and, for
//! development only, powers of a published number ([`development()`]), which anyone can forge proofs for.
//! What comes from outside is checked point by point and by pairing before it is used.

// They panic where the stream cannot be written; whoever calls is told by an error.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod check;
mod development;
mod error;
mod halo2;
mod opening;
mod parameters;
mod ptau;
mod secret;
mod source;

pub use check::{G1_BYTES, G2_BYTES};
pub use development::{development, development_id};
pub use error::SrsError;
pub use halo2::{halo2_id, halo2_k, read_halo2};
pub use opening::OpeningKey;
pub use parameters::{K_MAX, Srs, SrsId, params_from_parts};
pub use ptau::{ptau_id, ptau_k, read_ptau};
pub use secret::DEVELOPMENT_SEED;
pub use source::SrsSource;
