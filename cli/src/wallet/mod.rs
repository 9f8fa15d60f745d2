//! What a user's program has to get right before it signs or shows anything: keys, amounts, and which account is meant.
//!
//! Nothing here speaks with L1 or writes to a terminal: the commands do.

pub mod amounts;
pub mod intent;
pub mod keys;
pub mod meant;
