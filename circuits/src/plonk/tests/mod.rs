//! Tests of the verification: the equation against stock verification.

mod equation;
pub(crate) mod example;
