//! The rules of protocol version 2, which docs/protocol-2.md specifies: clauses are cited as `P2-3.2`. What version 1 has unchanged
//! (fields, curve, signatures, hashes, floats, accounts, tree) is used from there.

pub mod batch;
pub mod derive;
pub mod follow;
pub mod layout;
pub mod ledger;
pub mod operation;
pub mod outbox;
pub mod record;
pub mod sample;
pub mod shards;
pub mod stream;
mod transition;
pub mod violation;
pub mod witness;
mod word;

pub use transition::{Change, code};

/// Version of the protocol (docs/protocol-2.md) that these rules are.
pub const PROTOCOL_VERSION: u32 = 2;
