//! Scalars in signed odd digits, and entries of tables by them (P-8.11).

use halo2curves::bn256::Fr;
use num_bigint::{BigInt, Sign};

use super::{
    config::{Gate, digit, select},
    curve::ENTRIES,
    sheet::{Sheet, Var},
};
use crate::field;

/// Windows of a scalar, of four bits each.
pub(super) const WINDOWS: usize = 64;

/// A digit: `±(2 entry + 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    pub positive: bool,
    pub entry: usize,
}

/// A digit's cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct DigitCells {
    pub sign: Var,
    pub bits: [Var; 3],
    pub value: Digit,
}

/// The digits of an odd integer of less than 254 bits, most significant first: `Σ digit_j 16^j`.
///
/// An odd integer is 16 more than a multiple of 32, plus a digit between -15 and 15, which is odd; so what is left, divided by
/// 16, is odd again.
fn digits(mut odd: BigInt) -> Vec<Digit> {
    let mut digits = Vec::with_capacity(WINDOWS);
    for window in 0..WINDOWS {
        let digit = if window + 1 < WINDOWS {
            let residue: BigInt = ((&odd % 32) + 32) % 32;
            i64::try_from(residue).expect("a remainder of 32") - 16
        } else {
            i64::try_from(&odd).expect("what is left of a short integer is a digit")
        };
        assert!(digit % 2 != 0 && digit.abs() < 16, "an odd digit");
        odd = (odd - digit) / 16;
        digits.push(Digit {
            positive: digit > 0,
            entry: (digit.unsigned_abs() as usize - 1) / 2,
        });
    }
    digits.reverse();
    digits
}

/// The digits of a scalar: it is odd as an integer, or it is when r is taken away.
pub(super) fn digits_of(scalar: &Fr) -> Vec<Digit> {
    let integer = BigInt::from_biguint(Sign::Plus, field::to_integer(scalar));
    let is_odd = integer.bit(0);
    let odd = if is_odd {
        integer
    } else {
        integer - BigInt::from_biguint(Sign::Plus, field::modulus())
    };
    digits(odd)
}

impl Sheet {
    /// A scalar's digits, most significant first. Another representation of it modulo r has the same multiples, so none is
    /// excluded.
    pub fn digits_of(&mut self, scalar: &Var) -> Vec<DigitCells> {
        let zero = self.constant(Fr::zero());
        let mut prefix = self.copy(&zero);
        let mut cells = Vec::with_capacity(WINDOWS);
        for value in digits_of(&scalar.value) {
            let row = prefix.cell.row;
            self.enable(Gate::Digit, row);
            let bit = |of: usize| Fr::from((value.entry >> of & 1) as u64);
            let sign = self.witness(Fr::from(u64::from(value.positive)));
            let bits = [0, 1, 2].map(|of| self.witness(bit(of)));
            let size = Fr::from(2 * value.entry as u64 + 1);
            let digit = if value.positive { size } else { -size };
            prefix = self.witness(prefix.value * Fr::from(16) + digit);
            debug_assert_eq!(prefix.cell.row, row + digit::NEXT);
            cells.push(DigitCells { sign, bits, value });
        }
        self.equal(&prefix, scalar);
        cells
    }

    /// The entry that each digit names, of one coordinate's part of a table.
    pub fn select(&mut self, entries: &[Var; ENTRIES], digits: &[DigitCells]) -> Vec<Var> {
        let mut chosen = Vec::with_capacity(digits.len());
        for windows in digits.chunks(select::WINDOWS) {
            let row = self.row();
            self.enable(Gate::Select, row);
            entries.iter().for_each(|entry| {
                self.copy(entry);
            });
            windows.iter().flat_map(|digit| digit.bits).for_each(|bit| {
                self.copy(&bit);
            });
            chosen.extend(
                windows
                    .iter()
                    .map(|digit| self.witness(entries[digit.value.entry].value)),
            );
            debug_assert_eq!(self.row(), row + select::CELLS);
        }
        chosen
    }
}
