//! Tests of the shard circuit on its cells: forged witnesses, cells changed one by one.

pub(crate) mod checker;
mod forged;
mod gates;
mod groups;
mod native;
pub(crate) mod sweep;
mod world;
