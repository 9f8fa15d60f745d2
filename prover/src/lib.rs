//! Proving: the engine that makes proofs, and the worker process around it.

pub mod device;
pub mod engine;
pub mod fixtures;
pub mod memory;
pub mod worker;
