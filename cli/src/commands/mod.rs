//! The subcommands other than the demo.

pub mod batch;
pub mod contracts;
pub mod derive;
pub mod doctor;
pub mod health;
pub mod keys;
pub mod operator;
pub mod replay;
pub mod roles;
pub mod rollback;
pub mod rollups;
pub mod settle;
pub mod store;
pub mod token;
pub mod top;
pub mod wallet;
