//! Tests of the recursion: the circuit on its cells.

mod checker;
mod circuit;
mod curve;
mod forged;
mod ranges;
mod shards;
mod stack;
mod sweep;
mod table;
mod unique;
