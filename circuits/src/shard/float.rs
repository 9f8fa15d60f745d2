//! Decimal floats (P-4.2).

use super::raw::RawFloat;
use super::sheet::{ONE, Sheet, Term, Var, ZERO};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::amount::EXPONENT_BITS;

/// Pairs of mantissa bits of an amount below the cut of P-6.2: of 16 bits.
pub(super) const CUT_PARTS: usize = 8;

/// A decimal float (P-4.2).
#[derive(Clone, Copy)]
pub(super) struct Float {
    pub mantissa: Var,
    /// The mantissa's bits from 16 on.
    pub mantissa_high: Option<Var>,
    pub exponent: Var,
    pub value: Var,
}

impl Sheet {
    /// P-4.2: a canonical float with a mantissa of `bits` bits, at least `least` where the exponent is not 0.
    pub(super) fn float(&mut self, raw: RawFloat, bits: u32, least: u32) -> Float {
        let mantissa = self.witness(raw.mantissa);
        let parts = bits as usize / 2;
        let chain = if bits % 2 == 1 {
            self.range_odd(mantissa, parts)
        } else {
            self.range(mantissa, parts)
        };

        let digits: Vec<Var> = (0..EXPONENT_BITS)
            .map(|i| self.boolean(raw.exponent >> i & 1 == 1))
            .collect();
        let shifted: Vec<(Var, u32)> = digits[1..].iter().copied().zip(1..).collect();
        let exponent = self.pack(digits[0], &shifted);
        let mut value = mantissa;
        for (i, digit) in digits.into_iter().enumerate() {
            let power = Fr::from(10).pow([1 << i]);
            let factor = self.mul_add(ONE, Term::Constant(power - Fr::ONE), digit);
            value = self.mul(value, factor);
        }

        let scaled = self.boolean(raw.exponent != 0);
        self.arith([ZERO, exponent.into(), scaled.into(), exponent.into()]);
        let required = self.mul(scaled, Term::Constant(Fr::from(u64::from(least))));
        let room = self.sub(mantissa, required);
        self.range(room, bits.div_ceil(2) as usize);
        Float {
            mantissa,
            mantissa_high: chain.get(CUT_PARTS).copied(),
            exponent,
            value,
        }
    }
}
