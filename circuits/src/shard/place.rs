//! A place: a transfer valid by P-4.4, a withdrawal by P-4.7, a creation by P-4.9, with their effects, or a no-op (P-4.6).

use super::access::Access;
use super::context::{BALANCE_PARTS, Context};
use super::float::Float;
use super::hash::Block9;
use super::raw::RawPlace;
use super::record::{
    ADDRESS_PARTS, AMOUNT_SHIFT, INDEX_SHIFT, RecordCells, TOKEN_SHIFT, U_SHIFT, V_SHIFT, power,
};
use super::sheet::{Cell, ONE, Sheet, Term, Var, ZERO};
use super::word::Word;
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::amount::{Amount, Fee};
use rules::operation::TIME_BITS;
use rules::poseidon;
use rules::record::{Kind, U_LOW_BITS, V_LOW_BITS};

/// Bits of the indices that no creation may have: P-4.9, rule 1.
const RESERVED_PARTS: usize = 8;
/// Pairs of bits of an index that a creation may have.
const CREATED_PARTS: usize = 16;

/// What a place leaves for the streams.
pub(super) struct PlaceCells {
    /// The state's root after it.
    pub root: Var,
    pub word: Word,
    /// Its record, where it may have one (P-6.3).
    pub record: Option<RecordCells>,
    /// The message's block, whose lane 1 is free.
    pub block: Block9,
}

/// The operation's kind, one-hot, and sums of it. A no-op has none.
struct Kinds {
    transfer: Var,
    withdrawal: Var,
    creation: Var,
    /// Transfer or withdrawal.
    pays: Var,
    is_op: Var,
}

/// The three accesses.
struct Accesses {
    sender: Access,
    receiver: Access,
    collector: Access,
}

/// What is moved.
struct Moved {
    /// From the sender, and to a transfer's receiver.
    amount: Var,
    /// The amount of a withdrawal; 0 of anything else.
    exact: Var,
    fee: Var,
}

impl Sheet {
    /// Lays out a place from `root`. `takes_record` says whether a record may stand there: not at the places `5g + 4`.
    pub(super) fn place(
        &mut self,
        context: Context,
        root: Cell,
        raw: &RawPlace,
        takes_record: bool,
    ) -> PlaceCells {
        let kinds = self.kinds(raw, takes_record);
        self.label("P-4.2: amount");
        let amount = self.float(raw.amount, Amount::MANTISSA_BITS, Amount::MANTISSA_MIN);
        self.label("P-4.2: fee");
        let fee = self.float(raw.fee, Fee::MANTISSA_BITS, Fee::MANTISSA_MIN);
        let accesses = self.accesses(&kinds, root, raw);
        let moved = self.moved(&kinds, &amount, &fee, raw.exact);
        self.place_effects(&kinds, &accesses, &moved);

        self.label("P-4.4.6: not expired");
        let expiry = self.witness(raw.expiry);
        self.range(expiry, TIME_BITS as usize / 2);
        let left = self.sub(expiry, context.time);
        self.range(left, TIME_BITS as usize / 2);

        let word = self.place_word(&kinds, &accesses, &amount, &fee);
        let block = self.message(context, &kinds, &accesses, &moved, expiry, word.whole);
        self.signature(accesses.sender.owner[0], block.out(self, 0), &raw.r8, &raw.s);
        self.label("P-10.12: an L1 address has 160 bits");
        self.range(accesses.sender.l1_address, ADDRESS_PARTS);
        let record = takes_record.then(|| self.place_record(&kinds, &accesses.sender, &moved, raw, block));
        PlaceCells {
            root: accesses.collector.root[1],
            word,
            record,
            block,
        }
    }

    fn kinds(&mut self, raw: &RawPlace, takes_record: bool) -> Kinds {
        self.label("P-4.3: one kind or none");
        let [transfer, withdrawal, creation] = raw.kind.map(|bit| self.boolean(bit));
        let pays = self.add(transfer, withdrawal);
        let is_op = self.add(pays, creation);
        self.require_boolean(is_op);
        if !takes_record {
            self.label("P-6.3: no record at a group's last place");
            self.equal_constant(withdrawal, Fr::ZERO);
            self.equal_constant(creation, Fr::ZERO);
        }
        Kinds {
            transfer,
            withdrawal,
            creation,
            pays,
            is_op,
        }
    }

    /// P-10.1, P-10.2: which leaves are there before and after follows from the kind, and an access that is not used has
    /// index 0. (A no-op's first has it by its word.)
    fn accesses(&mut self, kinds: &Kinds, root: Cell, raw: &RawPlace) -> Accesses {
        let (before, after) = (kinds.pays, kinds.is_op);
        let sender = self.access([before, after], &raw.updates[0]);
        let receiver = self.access([kinds.transfer; 2], &raw.updates[1]);
        let collector = self.access([kinds.is_op; 2], &raw.updates[2]);
        for access in [&sender, &receiver, &collector] {
            self.owner_stays(access);
        }
        self.label("P-4.5: updates in sequence");
        self.copy(sender.root[0].cell, root);
        self.equal(receiver.root[0], sender.root[1]);
        self.equal(collector.root[0], receiver.root[1]);
        self.label("P-10.2: an access that is not used has index 0");
        self.zero_unless(receiver.index, kinds.transfer);
        self.zero_unless(collector.index, kinds.is_op);
        self.label("P-10.13: who is not there has nothing");
        self.zero_unless(sender.nonce[0], kinds.pays);
        self.zero_unless(sender.balance[0], kinds.pays);
        self.zero_unless(receiver.balance[0], kinds.transfer);
        Accesses {
            sender,
            receiver,
            collector,
        }
    }

    /// A transfer moves its float, a withdrawal an exact amount, and they alone pay a fee (P-4.3).
    fn moved(&mut self, kinds: &Kinds, amount: &Float, fee: &Float, exact: Fr) -> Moved {
        self.label("P-4.3: amounts by kind");
        self.zero_unless(amount.value, kinds.transfer);
        self.zero_unless(fee.value, kinds.pays);
        let sum = amount.value.value + exact;
        let [_, _, exact, sum] =
            self.arith([amount.value.into(), ONE, Term::Witness(exact), Term::Witness(sum)]);
        self.arith([ZERO, kinds.withdrawal.into(), sum.into(), exact.into()]);
        Moved {
            amount: sum,
            exact,
            fee: fee.value,
        }
    }

    /// P-4.4 rules 3, 7 and 9, P-4.5, P-4.7, P-4.8 and P-4.10.
    fn place_effects(&mut self, kinds: &Kinds, accesses: &Accesses, moved: &Moved) {
        let Accesses {
            sender,
            receiver,
            collector,
        } = accesses;
        self.label("P-4.4.3: one token");
        self.equal(receiver.token, sender.token);
        self.equal(collector.token, sender.token);
        self.label("P-3.5: the fee account's index is its token");
        self.equal(collector.index, sender.token);
        self.label("P-4.5: nonces");
        self.arith([
            sender.nonce[0].into(),
            ONE,
            kinds.pays.into(),
            sender.nonce[1].into(),
        ]);
        self.equal(receiver.nonce[0], receiver.nonce[1]);
        self.equal(collector.nonce[0], collector.nonce[1]);
        self.label("P-4.5: balances");
        let debit = self.add(moved.amount, moved.fee);
        let sums = [
            [sender.balance[1], debit, sender.balance[0]],
            [receiver.balance[0], moved.amount, receiver.balance[1]],
            [collector.balance[0], moved.fee, collector.balance[1]],
        ];
        for [less, difference, more] in sums {
            self.arith([less.into(), ONE, difference.into(), more.into()]);
        }
        self.label("P-4.4.7: the sender's balance after");
        self.range(sender.balance[1], BALANCE_PARTS);
        // P-10.3: of a withdrawal it is the amount.
        self.label("P-4.4.9: the receiver's balance after");
        self.range(receiver.balance[1], BALANCE_PARTS);
        self.label("P-4.4.9: the fee account's balance after");
        self.range(collector.balance[1], BALANCE_PARTS);
    }

    /// P-4.3: of the sender's access, `from` has the index of who pays, `to` that of a creation.
    fn place_word(&mut self, kinds: &Kinds, accesses: &Accesses, amount: &Float, fee: &Float) -> Word {
        self.label("P-4.3: word");
        let index = accesses.sender.index;
        let created = self.mul(kinds.creation, index);
        let from = self.sub(index, created);
        let to = self.add(accesses.receiver.index, created);
        let word = self.word(from, to, amount, fee);
        self.label("P-4.6: a no-op's word is 0");
        self.zero_unless(word.whole, kinds.is_op);
        self.label("P-4.9.1: a creation's index");
        let above = self.range(created, CREATED_PARTS)[RESERVED_PARTS];
        let room = self.sub(above, kinds.creation);
        self.range(room, CREATED_PARTS - RESERVED_PARTS);
        word
    }

    /// P-5.2, P-5.5, P-5.6: the message by the kind; a no-op's is a transfer's.
    fn message(
        &mut self,
        context: Context,
        kinds: &Kinds,
        accesses: &Accesses,
        moved: &Moved,
        expiry: Var,
        word: Var,
    ) -> Block9 {
        let Accesses { sender, receiver, .. } = accesses;
        let [owner_x, owner_y] = sender.owner[0];
        self.label("P-5.2: message");
        let or_created = |sheet: &mut Self, other: Var, created: Var| {
            let change = sheet.sub(created, other);
            sheet.mul_add(other, kinds.creation, change)
        };
        let first = or_created(self, word, sender.token);
        // The nonce of a creation is 0 (P-10.13).
        let second = self.mul_add(sender.nonce[0], kinds.creation, owner_x);
        let third = or_created(self, expiry, owner_y);
        let fourth = or_created(self, sender.token, sender.l1_address);
        let fifth = self.mul_add(moved.exact, kinds.transfer, receiver.owner[0][1]);
        let withdrawn_to = self.mul(kinds.withdrawal, sender.l1_address);
        let sixth = self.mul_add(withdrawn_to, kinds.transfer, receiver.l1_address);
        let transfer = poseidon::tag_transfer();
        let [to_withdraw, to_create] =
            [poseidon::tag_withdraw(), poseidon::tag_create()].map(|tag| Term::Constant(tag - transfer));
        let tag = self.mul_add(Term::Constant(transfer), kinds.withdrawal, to_withdraw);
        let tag = self.mul_add(tag, kinds.creation, to_create);
        let message = [context.rollup_id, first, second, third, fourth, fifth, sixth, tag];
        let block = self.block9([message.map(|input| input.value), [Fr::ZERO; 8]]);
        for (i, input) in message.into_iter().enumerate() {
            self.equal(block.input(self, 0, i), input);
        }
        block
    }

    /// P-6.6, kinds 5 and 6.
    fn place_record(
        &mut self,
        kinds: &Kinds,
        sender: &Access,
        moved: &Moved,
        raw: &RawPlace,
        block: Block9,
    ) -> RecordCells {
        self.label("P-6.6: key");
        let [x, y] = sender.owner[0];
        let u = self.coordinate(Some(x), &raw.posted[0], U_LOW_BITS);
        let v = self.coordinate(Some(y), &raw.posted[1], V_LOW_BITS);
        self.label("P-6.6: record");
        let number = |kind: Kind| Term::Constant(Fr::from(u64::from(kind.number())));
        let counts = self.add(kinds.withdrawal, kinds.creation);
        let kind = self.mul(kinds.withdrawal, number(Kind::Withdrawal));
        let kind = self.mul_add(kind, kinds.creation, number(Kind::Creation));
        let first = self.pack(
            kind,
            &[
                (sender.token, TOKEN_SHIFT),
                (sender.index, INDEX_SHIFT),
                (moved.exact, AMOUNT_SHIFT),
            ],
        );
        // A withdrawal's record has no key.
        let u_low = self.mul(kinds.creation, u.low);
        let second = self.pack(sender.l1_address, &[(u_low, U_SHIFT)]);
        let middle = self.mul_add(u.high, v.low, Term::Constant(power(V_SHIFT)));
        let third = self.mul(kinds.creation, middle);
        let fourth = self.mul(kinds.creation, v.high);
        RecordCells {
            counts,
            elements: [first, second, third, fourth],
            block,
        }
    }
}
