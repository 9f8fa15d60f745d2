//! What the operations of a shard have in common.

use super::sheet::Var;

/// Pairs of bits in a balance (P-3.1).
pub(super) const BALANCE_PARTS: usize = 64;

/// The cells of the batch that every operation uses.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub rollup_id: Var,
    pub time: Var,
}
