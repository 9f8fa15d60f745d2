//! Scalars in signed odd digits, and entries of tables by them (P-8.11).

use halo2curves::{bn256::Fr, ff::Field};
use num_bigint::{BigInt, Sign};

use super::{
    config::{Gate, digit, select},
    sheet::{Sheet, Var},
};
use rules::field;

/// Windows of a scalar, of [`WINDOW_BITS`] each.
pub(super) const WINDOWS: usize = 64;
/// Windows of a weight (P-8.5).
pub(super) const SHORT_WINDOWS: usize = 32;
/// Bits of a window.
pub(super) const WINDOW_BITS: usize = 4;
/// Entries of a table, one for each odd digit of a window but for its sign: `1, 3, …, 15` times a point.
pub(super) const ENTRIES: usize = 1 << (WINDOW_BITS - 1);

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
    /// What this digit and those before it are together.
    pub prefix: Var,
    pub value: Digit,
}

/// The digits of an odd integer of less than `4 windows` bits, most significant first: `Σ digit_j 16^j`.
///
/// An odd integer is 16 more than a multiple of 32, plus a digit between -15 and 15, which is odd; so what is left, divided by
/// 16, is odd again.
pub(super) fn digits(mut odd: BigInt, windows: usize) -> Vec<Digit> {
    let mut digits = Vec::with_capacity(windows);
    for window in 0..windows {
        let digit = if window + 1 < windows {
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

/// The digits of a scalar: it is odd as an integer, or it is when r is taken away. Panics when they are more than `windows`.
pub(super) fn digits_of(scalar: &Fr, windows: usize) -> Vec<Digit> {
    let integer = BigInt::from_biguint(Sign::Plus, field::to_integer(scalar));
    let is_odd = integer.bit(0);
    let odd = if is_odd {
        integer
    } else {
        integer - BigInt::from_biguint(Sign::Plus, field::modulus())
    };
    digits(odd, windows)
}

impl Sheet {
    /// A scalar's digits, most significant first. Another representation of it modulo r has the same multiples, so none is
    /// excluded.
    pub fn digits_of(&mut self, scalar: &Var, windows: usize) -> Vec<DigitCells> {
        let cells = self.digits(&scalar.value, windows);
        self.equal(&cells[windows - 1].prefix, scalar);
        cells
    }

    /// The digits of a scalar's share of `2^bits`, most significant first: together and `2^bits` times they are the scalar.
    pub fn shifted_digits_of(&mut self, scalar: &Var, windows: usize, bits: usize) -> Vec<DigitCells> {
        if bits == 0 {
            return self.digits_of(scalar, windows);
        }
        let [zero, power] = [0, 1 << bits].map(|value| self.constant(Fr::from(value)));
        let inverse = power.value.invert().expect("a power of 2 is not 0");
        let cells = self.digits(&(scalar.value * inverse), windows);
        let product = self.mul_add(&zero, &cells[windows - 1].prefix, &power);
        self.equal(&product, scalar);
        cells
    }

    /// The weight that a challenge is (P-8.5): what its lowest digits are together.
    pub fn weight_of(&mut self, challenge: &Var) -> Var {
        let digits = self.digits_of(challenge, WINDOWS);
        // The highest digit of an integer below r is no more than 3, which leaves a challenge two forms at most.
        let zero = self.constant(Fr::zero());
        digits[0].bits[1..].iter().for_each(|bit| self.equal(bit, &zero));
        let above = digits[WINDOWS - SHORT_WINDOWS - 1].prefix;
        let power = Fr::from(2).pow_vartime([(WINDOW_BITS * SHORT_WINDOWS) as u64]);
        let power = self.constant(-power);
        self.mul_add(challenge, &above, &power)
    }

    /// Digits, and what they are together.
    fn digits(&mut self, scalar: &Fr, windows: usize) -> Vec<DigitCells> {
        let zero = self.constant(Fr::zero());
        let mut prefix = self.copy(&zero);
        let mut cells = Vec::with_capacity(windows);
        for value in digits_of(scalar, windows) {
            let row = prefix.row;
            self.enable(Gate::Digit, row);
            let bit = |of: usize| Fr::from((value.entry >> of & 1) as u64);
            let sign = self.witness(Fr::from(u64::from(value.positive)));
            let bits = [0, 1, 2].map(|of| self.witness(bit(of)));
            let size = Fr::from(2 * value.entry as u64 + 1);
            let digit = if value.positive { size } else { -size };
            prefix = self.witness(prefix.value * Fr::from(16) + digit);
            debug_assert_eq!(prefix.row, row + digit::NEXT);
            cells.push(DigitCells {
                sign,
                bits,
                prefix,
                value,
            });
        }
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
