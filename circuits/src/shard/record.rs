//! Records of stream A (P-6.4 to P-6.6).

use super::hash::Block9;
use super::sheet::{Sheet, Term, Var};
use super::stream::Powers;
use super::stream::Running;
use halo2_proofs::arithmetic::Field;
use num_bigint::BigUint;
use rules::Fr;
use rules::field;
use rules::poseidon;
use rules::record::{COORDINATE_BITS, RECORD_ELEMENTS};

/// The bits of each part of `a_0` that stand below it.
pub(super) const CODE_SHIFT: u32 = 3;
pub(super) const TOKEN_SHIFT: u32 = 6;
pub(super) const INDEX_SHIFT: u32 = 22;
pub(super) const AMOUNT_SHIFT: u32 = 55;
/// The bits of `a_1` below `u`.
pub(super) const U_SHIFT: u32 = 160;
/// The bits of `a_2` below `v`.
pub(super) const V_SHIFT: u32 = 166;
/// Pairs of bits in an L1 address.
pub(super) const ADDRESS_PARTS: usize = 80;

/// A record that counts or not, and the block whose lane 1 absorbs it.
#[derive(Clone, Copy)]
pub(super) struct RecordCells {
    /// 1 if there is a record, else 0.
    pub counts: Var,
    pub elements: [Var; RECORD_ELEMENTS],
    pub block: Block9,
}

/// `u` or `v`: an integer below `2^254`, cut where the elements cut it.
#[derive(Clone, Copy)]
pub(super) struct Coordinate {
    pub low: Var,
    pub high: Var,
    /// Its residue.
    pub whole: Var,
}

/// `2^bits`.
pub(super) fn power(bits: u32) -> Fr {
    Fr::from(2).pow([u64::from(bits)])
}

impl Sheet {
    /// P-6.6: an integer below `2^254` whose residue is `whole`, or a new cell; `integer`, big endian, is what the prover
    /// says that it is. Below `2^254` an element can be two integers; which of them is posted is the prover's choice
    /// (P-10.5).
    pub(super) fn coordinate(&mut self, whole: Option<Var>, integer: &[u8; 32], low_bits: u32) -> Coordinate {
        let integer = BigUint::from_bytes_be(integer);
        let high = &integer >> low_bits;
        let low = &integer - (&high << low_bits);
        let whole = whole.map_or(Term::Witness(field::reduce(&integer)), Term::Copy);
        let [low, _, high, whole] = self.arith([
            Term::Witness(field::reduce(&low)),
            Term::Constant(power(low_bits)),
            Term::Witness(field::reduce(&high)),
            whole,
        ]);
        self.range(low, low_bits as usize / 2);
        self.range(high, (COORDINATE_BITS - low_bits) as usize / 2);
        Coordinate { low, high, whole }
    }

    /// Takes a record into stream A if it counts. The commitment is hashed in lane 1 of the record's block.
    pub(super) fn absorb(&mut self, powers: &Powers, record: &RecordCells, running: Running) -> Running {
        self.label("P-6.4: commitment to stream A");
        let mut inputs = [Fr::ZERO; 8];
        inputs[0] = running.c.value;
        for (input, element) in inputs[1..].iter_mut().zip(record.elements) {
            *input = element.value;
        }
        inputs[7] = poseidon::tag_stream_a();
        let block = &record.block;
        self.refill(block, 1, &inputs);
        self.equal(block.input(self, 1, 0), running.c);
        for (i, element) in record.elements.into_iter().enumerate() {
            self.equal(block.input(self, 1, 1 + i), element);
        }
        for (i, value) in inputs.into_iter().enumerate().skip(1 + RECORD_ELEMENTS) {
            self.equal_constant(block.input(self, 1, i), value);
        }
        let change = self.sub(block.out(self, 1), running.c);
        let c = self.mul_add(running.c, record.counts, change);

        self.label("P-6.5: evaluation of stream A");
        let [first, middle @ .., last] = record.elements;
        let mut sum = last;
        for element in middle.into_iter().rev().chain([first]) {
            sum = self.mul_add(element, sum, powers.x);
        }
        let weight = self.mul(record.counts, running.p);
        let y = self.mul_add(running.y, weight, sum);
        let p = self.mul_add(running.p, weight, powers.x4_less_one);
        Running { c, y, p }
    }
}
