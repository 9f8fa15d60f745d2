//! Words (P-4.3) and their cut (P-6.2).

use super::float::{CUT_PARTS, Float};
use super::sheet::{Sheet, Term, Var};
use halo2_proofs::arithmetic::Field;
use rules::Fr;

/// What an operation leaves for the data stream: its word (P-4.3), and the word in two parts cut at bit 49 (P-6.2).
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub whole: Var,
    parts: [Var; 6],
    mantissa_high: Var,
}

impl Sheet {
    /// P-4.3: the word.
    pub(super) fn word(&mut self, from: Var, to: Var, amount: &Float, fee: &Float) -> Word {
        let whole = self.pack(
            from,
            &[
                (amount.mantissa, 33),
                (amount.exponent, 52),
                (fee.mantissa, 57),
                (fee.exponent, 61),
                (to, 66),
            ],
        );
        let parts = [
            from,
            amount.mantissa,
            amount.exponent,
            fee.mantissa,
            fee.exponent,
            to,
        ];
        let mantissa_high = amount
            .mantissa_high
            .expect("an amount's mantissa is longer than the cut");
        Word {
            whole,
            parts,
            mantissa_high,
        }
    }

    /// P-6.2: the word's low 49 and high 50 bits.
    pub fn cut(&mut self, word: &Word) -> [Var; 2] {
        let [from, mantissa, exponent, fee_mantissa, fee_exponent, to] = word.parts;
        let shift = Fr::from(2).pow([2 * CUT_PARTS as u64]);
        let raised = self.mul(word.mantissa_high, Term::Constant(shift));
        let mantissa_low = self.sub(mantissa, raised);
        let low = self.pack(from, &[(mantissa_low, 33)]);
        let high = self.pack(
            word.mantissa_high,
            &[(exponent, 3), (fee_mantissa, 8), (fee_exponent, 12), (to, 17)],
        );
        [low, high]
    }
}
