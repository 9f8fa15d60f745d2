//! One operation: a transfer valid by P-4.4 with its effect (P-4.5), or a no-op (P-4.6).

use super::access::Access;
use super::hash::Block9;
use super::raw::{RawFloat, RawStep};
use super::sheet::{Cell, ONE, Sheet, Term, Var, ZERO};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::amount::{Amount, EXPONENT_BITS, Fee};
use rules::operation::TIME_BITS;
use rules::poseidon;

/// Chunks of two bits in a balance (P-3.1).
const BALANCE_PARTS: usize = 64;
/// Mantissa bits of an amount below the cut of P-6.2: 16.
const CUT_PARTS: usize = 8;

/// A decimal float (P-4.2).
#[derive(Clone, Copy)]
struct Float {
    mantissa: Var,
    /// The mantissa's bits from 16 on.
    mantissa_high: Option<Var>,
    exponent: Var,
    value: Var,
}

/// The cells of the batch that every operation uses.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub rollup_id: Var,
    pub time: Var,
}

/// What an operation leaves for the data stream: its word (P-4.3), and the word in two parts cut at bit 49 (P-6.2).
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub whole: Var,
    parts: [Var; 6],
    mantissa_high: Var,
}

impl Sheet {
    /// Lays out one operation from `root`. Returns the root after, the word, and the message's block, whose lane 1 is
    /// free for another hash.
    pub fn operation(&mut self, context: Context, root: Cell, step: &RawStep) -> (Var, Word, Block9) {
        self.label("P-4.6: a no-op or not");
        let is_op = self.boolean(step.is_op);
        self.label("P-4.2: amount");
        let amount = self.float(step.amount, Amount::MANTISSA_BITS, Amount::MANTISSA_MIN);
        self.label("P-4.2: fee");
        let fee = self.float(step.fee, Fee::MANTISSA_BITS, Fee::MANTISSA_MIN);
        let [sender, receiver, collector] = [0, 1, 2].map(|i| self.access([is_op; 2], &step.updates[i]));
        for access in [&sender, &receiver, &collector] {
            self.owner_stays(access);
        }
        self.label("P-4.5: three updates in sequence");
        self.copy(sender.root[0].cell, root);
        self.equal(receiver.root[0], sender.root[1]);
        self.equal(collector.root[0], receiver.root[1]);
        self.effects([&sender, &receiver, &collector], amount.value, fee.value);

        self.label("P-4.4.6: not expired");
        let expiry = self.witness(step.expiry);
        self.range(expiry, TIME_BITS as usize / 2);
        let left = self.sub(expiry, context.time);
        self.range(left, TIME_BITS as usize / 2);

        self.label("P-4.3: word");
        let word = self.word(&sender, &receiver, &amount, &fee);
        self.label("P-4.6: a no-op's word is 0");
        self.arith([ZERO, word.whole.into(), is_op.into(), word.whole.into()]);

        self.label("P-5.2: message");
        let message = [
            context.rollup_id.value,
            word.whole.value,
            sender.nonce[0].value,
            expiry.value,
            sender.token.value,
        ];
        let mut inputs = [Fr::ZERO; 8];
        inputs[..5].copy_from_slice(&message);
        inputs[7] = poseidon::tag_transfer();
        let block = self.block9([inputs, [Fr::ZERO; 8]]);
        let signed = [
            context.rollup_id,
            word.whole,
            sender.nonce[0],
            expiry,
            sender.token,
        ];
        for (i, var) in signed.into_iter().enumerate() {
            self.equal(block.input(self, 0, i), var);
        }
        for i in [5, 6, 7] {
            self.equal_constant(block.input(self, 0, i), inputs[i]);
        }
        self.signature(sender.owner[0], block.out(self, 0), &step.r8, &step.s);
        (collector.root[1], word, block)
    }

    /// P-4.4.3, P-4.4.7, P-4.4.9 and P-4.5.
    fn effects(&mut self, [sender, receiver, collector]: [&Access; 3], amount: Var, fee: Var) {
        self.label("P-4.4.3: one token");
        self.equal(receiver.token, sender.token);
        self.equal(collector.token, sender.token);
        self.label("P-3.5: the fee account's index is its token");
        self.equal(collector.index, sender.token);
        self.label("P-4.5: nonces");
        self.arith([sender.nonce[0].into(), ONE, ONE, sender.nonce[1].into()]);
        self.equal(receiver.nonce[0], receiver.nonce[1]);
        self.equal(collector.nonce[0], collector.nonce[1]);
        self.label("P-4.5: balances");
        let debit = self.add(amount, fee);
        self.arith([
            sender.balance[1].into(),
            ONE,
            debit.into(),
            sender.balance[0].into(),
        ]);
        self.arith([
            receiver.balance[0].into(),
            ONE,
            amount.into(),
            receiver.balance[1].into(),
        ]);
        self.arith([
            collector.balance[0].into(),
            ONE,
            fee.into(),
            collector.balance[1].into(),
        ]);
        self.label("P-4.4.7: the sender's balance after");
        self.range(sender.balance[1], BALANCE_PARTS);
        self.label("P-4.4.9: the receiver's balance after");
        self.range(receiver.balance[1], BALANCE_PARTS);
        self.label("P-4.4.9: the fee account's balance after");
        self.range(collector.balance[1], BALANCE_PARTS);
    }

    /// P-4.2: a canonical float with a mantissa of `bits` bits, at least `least` where the exponent is not 0.
    fn float(&mut self, raw: RawFloat, bits: u32, least: u32) -> Float {
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

    fn word(&mut self, sender: &Access, receiver: &Access, amount: &Float, fee: &Float) -> Word {
        let whole = self.pack(
            sender.index,
            &[
                (amount.mantissa, 33),
                (amount.exponent, 52),
                (fee.mantissa, 57),
                (fee.exponent, 61),
                (receiver.index, 66),
            ],
        );
        let parts = [
            sender.index,
            amount.mantissa,
            amount.exponent,
            fee.mantissa,
            fee.exponent,
            receiver.index,
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
