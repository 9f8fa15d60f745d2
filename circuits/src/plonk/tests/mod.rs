//! Tests of the verification: equation and verifying keys against stock verification.

mod equation;
pub(crate) mod example;
mod key;
