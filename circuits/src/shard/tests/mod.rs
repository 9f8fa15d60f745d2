//! Tests of the shard circuit on its cells: forged witnesses, cells changed one by one.

mod checker;
mod forged;
mod gates;
mod groups;
mod native;
mod signature;
mod sweep;
mod unique;
mod world;
