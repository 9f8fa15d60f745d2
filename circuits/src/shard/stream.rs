//! Stream B: groups of five words become two elements, committed to and evaluated (P-6.2 to P-6.4).

use super::hash::Block9;
use super::sheet::{Sheet, Term, Var, ZERO};
use super::word::Word;
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::poseidon;

/// Operations in a group.
pub(crate) const GROUP: usize = 5;
/// The bit of a group's first element that no words use.
const FLAG_SHIFT: u32 = 247;

/// A running stream: commitment, evaluation, next power.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    pub c: Var,
    pub y: Var,
    pub p: Var,
}

/// What a group of operations leaves.
pub(crate) struct Group {
    /// The state's root after it.
    pub root: Var,
    pub words: Vec<Word>,
    /// The last operation's message, whose lane 1 is free.
    pub block: Block9,
}

impl Sheet {
    /// Takes one group into the stream; `x` and its square are given. The commitment is hashed in lane 1 of the group's block.
    pub fn group(&mut self, [x, xx]: [Var; 2], group: &Group, running: Running) -> Running {
        self.stream_b([x, xx], &group.words, None, &group.block, running)
    }

    /// Takes the words of a group into the stream, and the flag that says whether an operation of the queue stands before
    /// it, where there may be one. The commitment is hashed in lane 1 of `block`.
    pub fn stream_b(
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
            first = self.pack(first, &[(flag, FLAG_SHIFT)]);
        }
        let second = self.pack(high, &[(w3.whole, 50), (w4.whole, 149)]);

        self.label("P-6.3: commitment");
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

        self.label("P-6.4: evaluation");
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
