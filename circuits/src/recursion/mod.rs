//! Recursion of our own (in the making, not wired in): shard proofs verified in a circuit that is made for it.
//!
//! | file | what |
//! |---|---|
//! | `arithmetic` | the scalar arithmetic that the equation is written in; a transcript's sponge |
//! | `program` | a key's polynomials as one list of operations |
//! | `shape` | what a key fixes: a proof's order, its polynomials, its openings |
//! | `equation` | the verification of a child as sums of points, and the fold of children |
//! | `native` | the equation with plain values: the circuit's oracle, held to stock verification by its tests |

mod arithmetic;
mod equation;
mod native;
mod program;
mod shape;
#[cfg(test)]
mod tests;

pub use native::{Equation, EquationError};
