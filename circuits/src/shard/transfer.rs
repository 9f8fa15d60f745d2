//! One operation: a transfer valid by P-4.4 with its effect (P-4.5), or a no-op (P-4.6).

use super::access::Access;
use super::context::{BALANCE_PARTS, Context};
use super::hash::Block9;
use super::raw::RawStep;
use super::sheet::{Cell, ONE, Sheet, Var};
use super::word::Word;
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::amount::{Amount, Fee};
use rules::operation::TIME_BITS;
use rules::poseidon;

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
        let word = self.word(sender.index, receiver.index, &amount, &fee);
        self.label("P-4.6: a no-op's word is 0");
        self.zero_unless(word.whole, is_op);

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
}
