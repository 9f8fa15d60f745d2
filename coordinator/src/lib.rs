//! The coordinator.
pub mod core;
pub mod store;
