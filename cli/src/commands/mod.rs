//! The subcommands other than the demo.

pub mod batch;
pub mod doctor;
pub mod keys;
pub mod roles;
