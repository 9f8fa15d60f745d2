//! Tests of the recursion: the equation against stock verification, the circuit on its cells.

mod checker;
mod children;
mod circuit;
mod curve;
mod equation;
mod forged;
mod shards;
