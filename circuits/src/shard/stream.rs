//! The two streams through a group (P-6.2 to P-6.5), in the order of P-6.7.

use super::hash::Block9;
use super::record::RecordCells;
use super::sheet::{ONE, Sheet, Term, Var, ZERO};
use super::word::Word;
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::poseidon;
use rules::stream::FLAG_BIT;

/// A running stream: commitment, evaluation, next power.
#[derive(Clone, Copy)]
pub(super) struct Running {
    pub c: Var,
    pub y: Var,
    pub p: Var,
}

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

    /// Takes the words of a group into the stream, and the flag that says whether an operation of the queue stands before
    /// it, where there may be one. The commitment is hashed in lane 1 of `block`.
    fn stream_b(
        &mut self,
        [x, xx]: [Var; 2],
        words: &[Word],
        flag: Option<Var>,
        block: &Block9,
        running: Running,
    ) -> Running {
        let [w0, w1, w2, w3, w4] = words else {
            unreachable!("a group has five words")
        };
        self.label("P-6.2: elements");
        let [low, high] = self.cut(w2);
        let mut first = self.pack(w0.whole, &[(w1.whole, 99), (low, 198)]);
        if let Some(flag) = flag {
            first = self.pack(first, &[(flag, FLAG_BIT)]);
        }
        let second = self.pack(high, &[(w3.whole, 50), (w4.whole, 149)]);

        self.label("P-6.4: commitment to stream B");
        let tag = poseidon::tag_stream_b();
        let mut inputs = [Fr::ZERO; 8];
        inputs[..3].copy_from_slice(&[running.c.value, first.value, second.value]);
        inputs[7] = tag;
        self.refill(block, 1, &inputs);
        for (i, var) in [running.c, first, second].into_iter().enumerate() {
            self.equal(block.input(self, 1, i), var);
        }
        for (i, value) in inputs.into_iter().enumerate().skip(3) {
            self.equal_constant(block.input(self, 1, i), value);
        }
        let c = block.out(self, 1);

        self.label("P-6.5: evaluation of stream B");
        let pair = self.mul_add(first, x, second);
        let y = self.mul_add(running.y, running.p, pair);
        let p = self.arith([
            ZERO,
            running.p.into(),
            xx.into(),
            Term::Witness(running.p.value * xx.value),
        ])[3];
        Running { c, y, p }
    }
}
