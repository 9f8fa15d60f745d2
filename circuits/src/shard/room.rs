//! The room for an operation of the queue before a group (P-4.11): one access, one record, no signature.

use super::access::Access;
use super::context::BALANCE_PARTS;
use super::raw::RawRoom;
use super::record::{
    ADDRESS_PARTS, AMOUNT_SHIFT, CODE_SHIFT, Coordinate, INDEX_SHIFT, RecordCells, TOKEN_SHIFT, U_SHIFT,
    V_SHIFT,
};
use super::sheet::{Cell, ONE, Sheet, Term, Var, ZERO};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::record::{U_LOW_BITS, V_LOW_BITS};

/// Pairs of bits in a token's id.
const TOKEN_PARTS: usize = 8;

/// The operation's kind, one-hot, and sums of it. A room that is not used has none.
struct Kinds {
    new: Var,
    existing: Var,
    exit: Var,
    change: Var,
    /// All but the first: they are of an account that is there.
    rest: Var,
    /// `q_g`.
    any: Var,
}

/// The record's fields.
struct Fields {
    token: Var,
    amount: Var,
    address: Var,
    u: Coordinate,
    v: Coordinate,
}

/// Whether two cells are equal.
#[derive(Clone, Copy)]
struct Equality {
    difference: Var,
    holds: Var,
}

/// The record's code (P-4.11), and which effect there is: one bit for each kind, all 0 with another code than 0.
struct Outcome {
    code: Var,
    new: Var,
    existing: Var,
    exit: Var,
    change: Var,
}

impl Sheet {
    /// Lays out the room from `root`. Returns the root after, and the record, which counts if there is an operation.
    pub(super) fn room(&mut self, root: Cell, raw: &RawRoom) -> (Var, RecordCells) {
        let kinds = self.queued_kinds(raw);
        let fields = self.record_fields(raw);
        self.label("P-4.11: occupied");
        let before = self.boolean(raw.occupied);
        self.zero_unless(before, kinds.any);
        let was_there = self.mul(kinds.new, before);
        let made = self.sub(kinds.new, was_there);
        let after = self.add(before, made);
        let access = self.access([before, after], &raw.update);
        self.label("P-6.7: before the group's places");
        self.copy(access.root[0].cell, root);
        self.label("P-10.2: a room that is not used has index 0");
        self.zero_unless(access.index, kinds.any);

        let outcome = self.outcome(&kinds, &fields, &access, [before, was_there, made], raw.equal);
        self.queued_effects(&kinds, &fields, &access, before, &outcome);

        self.label("P-6.6: record");
        let constant = |number: u64| Term::Constant(Fr::from(number));
        let mut kind = kinds.new;
        for (bit, number) in [(kinds.existing, 2), (kinds.exit, 3), (kinds.change, 4)] {
            kind = self.mul_add(kind, bit, constant(number));
        }
        let first = self.pack(
            kind,
            &[
                (outcome.code, CODE_SHIFT),
                (fields.token, TOKEN_SHIFT),
                (access.index, INDEX_SHIFT),
                (fields.amount, AMOUNT_SHIFT),
            ],
        );
        let second = self.pack(fields.address, &[(fields.u.low, U_SHIFT)]);
        let third = self.pack(fields.u.high, &[(fields.v.low, V_SHIFT)]);
        let block = self.block9([[Fr::ZERO; 8]; 2]);
        let record = RecordCells {
            counts: kinds.any,
            elements: [first, second, third, fields.v.high],
            block,
        };
        (access.root[1], record)
    }

    fn queued_kinds(&mut self, raw: &RawRoom) -> Kinds {
        self.label("P-6.6: one kind of the queue or none");
        let [new, existing, exit, change] = raw.kind.map(|bit| self.boolean(bit));
        let rest = self.add(existing, exit);
        let rest = self.add(rest, change);
        let any = self.add(rest, new);
        self.require_boolean(any);
        Kinds {
            new,
            existing,
            exit,
            change,
            rest,
            any,
        }
    }

    /// P-6.6: every field has its width. The index has it by its path.
    fn record_fields(&mut self, raw: &RawRoom) -> Fields {
        self.label("P-6.6: fields");
        let [token, amount, address] = [raw.token, raw.amount, raw.address].map(|field| self.witness(field));
        self.range(token, TOKEN_PARTS);
        self.range(amount, BALANCE_PARTS);
        self.range(address, ADDRESS_PARTS);
        Fields {
            token,
            amount,
            address,
            u: self.coordinate(None, &raw.u, U_LOW_BITS),
            v: self.coordinate(None, &raw.v, V_LOW_BITS),
        }
    }

    /// P-4.11: of the kinds after the first, `1 + p_1 + p_2 + p_3 - 4 p_4`, where `p_i` says that none of the first `i`
    /// conditions holds; of the first kind, whether the index was occupied. `new` says whether it was, and whether an
    /// account is made.
    fn outcome(
        &mut self,
        kinds: &Kinds,
        fields: &Fields,
        access: &Access,
        [before, was_there, made]: [Var; 3],
        equal: [bool; 3],
    ) -> Outcome {
        self.label("P-4.11: whether the account is the one asked for");
        let token = self.equality(access.token, fields.token, equal[0]);
        let other = self.sub(fields.u.whole, fields.address);
        let asked = self.mul_add(fields.address, kinds.existing, other);
        let l1_address = self.equality(access.l1_address, asked, equal[1]);
        let key = self.equality(access.owner[0][1], fields.v.whole, equal[2]);

        self.label("P-4.11: code");
        // A key change does not ask for a token, and a deposit alone for a key.
        let other_token = self.sub(ONE, token.holds);
        let token_fits = self.mul_add(token.holds, kinds.change, other_token);
        let other_key = self.sub(ONE, key.holds);
        let key_fits_value = Fr::ONE - kinds.existing.value * other_key.value;
        let key_fits = self.arith([
            Term::Witness(key_fits_value),
            kinds.existing.into(),
            other_key.into(),
            ONE,
        ])[0];
        let second = self.mul(before, token_fits);
        let third = self.mul(second, l1_address.holds);
        let fourth = self.mul(third, key_fits);
        let sum = self.add(before, second);
        let sum = self.add(sum, third);
        let sum = self.add(sum, ONE);
        let code_value = sum.value - fourth.value * Fr::from(4);
        let of_rest = self.arith([
            Term::Witness(code_value),
            Term::Constant(Fr::from(4)),
            fourth.into(),
            sum.into(),
        ])[0];
        let code = self.mul_add(was_there, kinds.rest, of_rest);
        let [existing, exit, change] =
            [kinds.existing, kinds.exit, kinds.change].map(|kind| self.mul(kind, fourth));

        self.label("P-4.11: an account that is made");
        self.arith([ZERO, made.into(), token.difference.into(), ZERO]);
        self.arith([ZERO, made.into(), l1_address.difference.into(), ZERO]);
        Outcome {
            code,
            new: made,
            existing,
            exit,
            change,
        }
    }

    /// P-4.11's effects.
    fn queued_effects(
        &mut self,
        kinds: &Kinds,
        fields: &Fields,
        access: &Access,
        before: Var,
        outcome: &Outcome,
    ) {
        self.label("P-10.13: who is not there has nothing");
        self.zero_unless(access.nonce[0], before);
        self.zero_unless(access.balance[0], before);
        self.label("P-4.11: nonce");
        self.equal(access.nonce[0], access.nonce[1]);
        self.label("P-4.11: balance");
        let credited = self.add(outcome.new, outcome.existing);
        let with = self.mul_add(access.balance[0], credited, fields.amount);
        self.arith([
            access.balance[1].into(),
            outcome.exit.into(),
            access.balance[0].into(),
            with.into(),
        ]);
        self.range(access.balance[1], BALANCE_PARTS);
        self.label("P-4.11: a forced exit's amount");
        let leaves = self.mul(outcome.exit, access.balance[0]);
        let difference = self.sub(fields.amount, leaves);
        self.arith([ZERO, kinds.exit.into(), difference.into(), ZERO]);
        self.label("P-4.11: owner");
        let given = self.add(outcome.new, outcome.change);
        for (i, coordinate) in [fields.u, fields.v].into_iter().enumerate() {
            let [old, new] = [access.owner[0][i], access.owner[1][i]];
            let change = self.sub(coordinate.whole, old);
            self.arith([old.into(), given.into(), change.into(), new.into()]);
        }
    }

    /// Whether `a = b`; `claimed` is what the prover says. Where it holds, the inverse is 0, so that nothing is free.
    fn equality(&mut self, a: Var, b: Var, claimed: bool) -> Equality {
        let difference = self.sub(a, b);
        let (holds, inverse) = match claimed {
            true => (Fr::ONE, Fr::ZERO),
            false => (Fr::ZERO, difference.value.invert().unwrap_or(Fr::ZERO)),
        };
        let [holds, _, inverse, _] = self.arith([
            Term::Witness(holds),
            difference.into(),
            Term::Witness(inverse),
            ONE,
        ]);
        self.arith([ZERO, difference.into(), holds.into(), ZERO]);
        self.arith([ZERO, holds.into(), inverse.into(), ZERO]);
        Equality { difference, holds }
    }
}
