//! Ranges: digits of 17 bits, looked up in a table (P-8.8).
//!
//! A chain is a value, the value without its lowest digit, and so on; from a cell to the chain's next are [`CHAIN`]
//! rows, so that ten chains run side by side and the ten values themselves lie in consecutive cells, where a gate reads
//! them. Each cell less `2^17` times its next is in the table, and so is the last.

use halo2curves::bn256::Fr;

use super::{
    config::CHAIN,
    modulus::{DIGIT_BITS, QUOTIENT_DIGITS},
    sheet::{Sheet, Var},
};
use rules::field;

impl Sheet {
    /// Requires the ten cells that were laid out last to have `digits` digits. `None` leaves a chain's cells blank.
    pub fn chains(&mut self, heads: [Option<Var>; CHAIN], digits: usize) {
        let first = self.row() - CHAIN;
        for digit in 0..digits {
            for (lane, head) in heads.iter().enumerate() {
                let row = first + CHAIN * digit + lane;
                if digit > 0 {
                    let value = head.map_or(Fr::zero(), |head| shifted(&head.value, digit * DIGIT_BITS));
                    self.witness(value);
                }
                if head.is_some() {
                    self.digits.push((row, digit + 1 < digits));
                }
            }
        }
    }

    /// Requires a cell to hold a single digit.
    pub fn require_digit(&mut self, var: &Var) {
        self.digits.push((var.row, false));
    }

    /// Requires a quotient's cell to have its digits, in a block of ten that is laid out when it is full.
    pub fn require_quotient(&mut self, var: Var) {
        self.waiting.push(var);
    }

    /// Lays out the quotients' chains that wait; the last block may have blank lanes.
    pub fn flush_quotients(&mut self, all: bool) {
        while self.waiting.len() >= CHAIN || (all && !self.waiting.is_empty()) {
            let rest = self.waiting.split_off(CHAIN.min(self.waiting.len()));
            let block = std::mem::replace(&mut self.waiting, rest);
            let heads = std::array::from_fn(|lane| match block.get(lane) {
                Some(var) => Some(self.copy(var)),
                None => {
                    self.skip(1);
                    None
                }
            });
            self.chains(heads, QUOTIENT_DIGITS);
        }
    }
}

/// The canonical integer of `value`, shifted right.
fn shifted(value: &Fr, bits: usize) -> Fr {
    field::reduce(&(field::to_integer(value) >> bits))
}
