//! Tests of the recursion: the equation against stock verification.

mod children;
mod equation;
