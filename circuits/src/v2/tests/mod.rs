//! Tests of the shard circuit on its cells: forged witnesses, cells changed one by one.

mod forged;
mod gates;
mod native;
mod sweep;
mod world;
