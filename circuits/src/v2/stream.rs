//! The two streams through a group (P2-6.2 to P2-6.5), in the order of P2-6.7.

use super::record::RecordCells;
use crate::shard::hash::Block9;
use crate::shard::sheet::{ONE, Sheet, Var};
use crate::shard::stream::Running;
use crate::shard::word::Word;

/// What both streams need of the point `x`.
#[derive(Clone, Copy)]
pub(super) struct Powers {
    pub x: Var,
    pub x2: Var,
    pub x4_less_one: Var,
}

/// What a group leaves.
pub(super) struct Group {
    /// The state's root after it.
    pub root: Var,
    /// `q_g`, where there is room for an operation of the queue.
    pub flag: Option<Var>,
    pub words: Vec<Word>,
    /// Of the room, and of all places but the last.
    pub records: Vec<RecordCells>,
    /// The last place's message, whose lane 1 absorbs the group.
    pub block: Block9,
}

/// Streams A and B.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    pub a: Running,
    pub b: Running,
}

impl Sheet {
    /// The cells of `x`, `x²` and `x⁴ - 1`.
    pub(super) fn powers(&mut self, x: Var) -> Powers {
        let x2 = self.mul(x, x);
        let x4 = self.mul(x2, x2);
        let x4_less_one = self.sub(x4, ONE);
        Powers { x, x2, x4_less_one }
    }

    /// Takes a group into both streams.
    pub(super) fn streams(&mut self, powers: &Powers, group: &Group, streams: Streams) -> Streams {
        let absorb = |a, record| self.absorb(powers, record, a);
        let a = group.records.iter().fold(streams.a, absorb);
        let b = self.stream_b(
            [powers.x, powers.x2],
            &group.words,
            group.flag,
            &group.block,
            streams.b,
        );
        Streams { a, b }
    }
}
