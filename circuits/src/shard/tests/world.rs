//! A state whose operations need not be valid: it updates its tree with whatever it is told, so that a forged
//! witness is consistent in all but the rule under test.

use crate::preset;
use crate::shard::ShardParams;
use crate::shard::layout::lay_out;
use crate::shard::raw::{
    AX, AY, BALANCE, Fields, L1_ADDRESS, NO_ACCOUNT, NONCE, RawFloat, RawGroup, RawPlace, RawRoom, RawUpdate,
    TOKEN, fields, no_op_signature, no_op_signer,
};
use crate::shard::sheet::{Place, Sheet};
use halo2_proofs::arithmetic::Field;
use num_bigint::BigUint;
use rules::Fr;
use rules::account::{Account, AccountIndex, TokenId};
use rules::eddsa::PrivateKey;
use rules::field;
use rules::operation::RollupId;
use rules::poseidon;
use rules::statement::{AFTER, SHARD_INSTANCES};
use rules::tree::Tree;
use rules::witness::Shape;
use std::collections::BTreeMap;

/// The smallest circuit.
pub const TINY: ShardParams = preset::TINY.shard;
/// Two groups with room and two without.
pub const MIXED: ShardParams = ShardParams {
    k: 17,
    shape: Shape { places: 20, rooms: 2 },
};
pub const TIME: u64 = 1_800_000_000;
pub const ALICE: u64 = (1 << 16) + 5;
pub const BOB: u64 = (1 << 16) + 6;
/// Made by a deposit.
pub const CAROL: u64 = 1 << 32;
/// Holds token 2.
pub const DORA: u64 = 1 << 20;
/// Indices where nobody is, for creations and deposits.
pub const FREE: u64 = (1 << 16) + 9;
pub const NEXT: u64 = (1 << 32) + 1;

pub const TRANSFER: [bool; 3] = [true, false, false];
pub const WITHDRAWAL: [bool; 3] = [false, true, false];
pub const CREATION: [bool; 3] = [false, false, true];
pub const NO_OP: [bool; 3] = [false; 3];

pub fn rollup() -> Fr {
    RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    }
    .to_fr()
}

fn leaf(fields: &Fields) -> Fr {
    let mut inputs = [Fr::ZERO; 8];
    inputs[..6].copy_from_slice(fields);
    inputs[7] = poseidon::tag_leaf();
    poseidon::hash8(&inputs)
}

/// An operation in a place, which may be wrong. `Default` moves 1,000 from Alice to Bob for a fee of 10.
#[derive(Clone)]
pub struct Plan {
    pub kind: [bool; 3],
    pub indices: [u64; 3],
    pub amount: (u64, u8),
    pub exact: Fr,
    pub fee: (u64, u8),
    pub expiry: u64,
    /// A creation's account, and who signs it.
    pub account: (Fields, PrivateKey),
    /// What the signer signs otherwise.
    pub signed: Vec<(usize, Fr)>,
    /// Changes made to the fields before and after, by update.
    pub before: Vec<(usize, usize, Fr)>,
    pub after: Vec<(usize, usize, Fr)>,
}

pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[seed; 32])
}

pub fn account(token: u16, seed: u8) -> Fields {
    fields(&Account {
        token: TokenId(token),
        nonce: 3,
        balance: 1_000_000,
        owner: key(seed).public(),
        l1_address: [seed; 20],
    })
}

pub fn fresh(token: u16, seed: u8) -> Fields {
    let mut fields = account(token, seed);
    (fields[NONCE], fields[BALANCE]) = (Fr::ZERO, Fr::ZERO);
    fields
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            kind: TRANSFER,
            indices: [ALICE, BOB, 1],
            amount: (1_000, 0),
            exact: Fr::ZERO,
            fee: (10, 0),
            expiry: TIME,
            account: (fresh(1, 9), key(9)),
            signed: vec![],
            before: vec![],
            after: vec![],
        }
    }
}

pub fn withdrawal() -> Plan {
    Plan {
        kind: WITHDRAWAL,
        indices: [ALICE, 0, 1],
        amount: (0, 0),
        exact: Fr::from(700_001),
        ..Plan::default()
    }
}

pub fn creation() -> Plan {
    Plan {
        kind: CREATION,
        indices: [FREE, 0, 1],
        amount: (0, 0),
        fee: (0, 0),
        ..Plan::default()
    }
}

pub fn no_op() -> Plan {
    Plan {
        kind: NO_OP,
        indices: [0; 3],
        amount: (0, 0),
        fee: (0, 0),
        expiry: (1 << 40) - 1,
        ..Plan::default()
    }
}

/// An operation of the queue, which may be wrong. `kind` is `1 … 4`, or 0 for an idle room.
#[derive(Clone)]
pub struct Entry {
    pub kind: usize,
    pub token: u64,
    pub index: u64,
    pub amount: Fr,
    pub address: Fr,
    pub u: BigUint,
    pub v: BigUint,
    /// What the prover says of the account before, if not the truth.
    pub occupied: Option<bool>,
    pub equal: Option<[bool; 3]>,
    pub before: Vec<(usize, Fr)>,
    pub after: Vec<(usize, Fr)>,
}

impl Entry {
    pub fn idle() -> Self {
        Self {
            kind: 0,
            token: 0,
            index: 0,
            amount: Fr::ZERO,
            address: Fr::ZERO,
            u: BigUint::ZERO,
            v: BigUint::ZERO,
            occupied: None,
            equal: None,
            before: vec![],
            after: vec![],
        }
    }

    pub fn deposit_new() -> Self {
        let made = fresh(1, 8);
        Self {
            kind: 1,
            token: 1,
            index: NEXT,
            amount: Fr::from(5_000),
            address: made[L1_ADDRESS],
            u: field::to_integer(&made[AX]),
            v: field::to_integer(&made[AY]),
            ..Self::idle()
        }
    }

    /// Of a stranger, to Bob.
    pub fn deposit_existing() -> Self {
        let bob = account(1, 4);
        Self {
            kind: 2,
            token: 1,
            index: BOB,
            amount: Fr::from(5_000),
            address: Fr::from(77),
            u: field::to_integer(&bob[L1_ADDRESS]),
            v: field::to_integer(&bob[AY]),
            ..Self::idle()
        }
    }

    /// Bob's; the amount is that of a state in which nothing happened.
    pub fn forced_exit() -> Self {
        Self {
            kind: 3,
            token: 1,
            index: BOB,
            amount: Fr::from(1_000_000),
            address: account(1, 4)[L1_ADDRESS],
            ..Self::idle()
        }
    }

    pub fn key_change() -> Self {
        let other = account(1, 7);
        Self {
            kind: 4,
            index: BOB,
            address: account(1, 4)[L1_ADDRESS],
            u: field::to_integer(&other[AX]),
            v: field::to_integer(&other[AY]),
            ..Self::idle()
        }
    }

    pub fn all() -> [Self; 4] {
        [
            Self::deposit_new(),
            Self::deposit_existing(),
            Self::forced_exit(),
            Self::key_change(),
        ]
    }
}

pub struct World {
    pub tree: Tree,
    pub accounts: BTreeMap<u64, Fields>,
    pub keys: BTreeMap<u64, PrivateKey>,
}

impl World {
    /// Alice, Bob and Carol with token 1, Dora with token 2, fee accounts for both.
    pub fn new() -> Self {
        let mut world = Self {
            tree: Tree::new(),
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        let all = [(1, 1), (2, 2), (ALICE, 1), (BOB, 1), (CAROL, 1), (DORA, 2)];
        for (seed, (index, token)) in (1..).zip(all) {
            world.keys.insert(index, key(seed));
            world.set(index, account(token, seed));
        }
        world
    }

    pub fn set(&mut self, index: u64, fields: Fields) {
        let at = AccountIndex::new(index % (1 << 33)).expect("reduced");
        self.tree.set(at, leaf(&fields));
        self.accounts.insert(index, fields);
    }

    fn update(&mut self, writes: bool, index: u64, before: Fields, after: Fields) -> RawUpdate {
        let at = AccountIndex::new(index % (1 << 33)).expect("reduced");
        let path = self.tree.path(at);
        if writes {
            self.set(index, after);
        }
        RawUpdate {
            index,
            before,
            after,
            path,
        }
    }

    /// Executes a plan without asking whether it is valid.
    pub fn place(&mut self, plan: &Plan) -> RawPlace {
        let [transfer, withdraws, creates] = plan.kind;
        let (pays, is_op) = (transfer || withdraws, transfer || withdraws || creates);
        let value =
            |(mantissa, exponent): (u64, u8)| Fr::from(mantissa) * Fr::from(10).pow([u64::from(exponent)]);
        let (amount, fee) = (value(plan.amount) + plan.exact, value(plan.fee));
        let there = |world: &Self, at: usize| world.accounts.get(&plan.indices[at]).copied();
        let changed = |mut fields: Fields, changes: &[(usize, usize, Fr)], update: usize| {
            for (_, field, value) in changes.iter().filter(|(u, ..)| *u == update) {
                fields[*field] = *value;
            }
            fields
        };
        let mut before = match (pays, creates) {
            (true, _) => there(self, 0).unwrap_or(NO_ACCOUNT),
            (_, true) => plan.account.0,
            _ => no_op_signer(),
        };
        before = changed(before, &plan.before, 0);
        let receiver = there(self, 1).filter(|_| transfer).unwrap_or(NO_ACCOUNT);
        let message = self.message(plan, &before, &changed(receiver, &plan.before, 1));
        let signature = match (pays, creates) {
            (true, _) => self.keys.get(&plan.indices[0]).unwrap_or(&key(99)).sign(&message),
            (_, true) => plan.account.1.sign(&message),
            _ => no_op_signature(rollup()),
        };
        let nonce = if pays { Fr::ONE } else { Fr::ZERO };
        let deltas = [[nonce, -amount - fee], [Fr::ZERO, amount], [Fr::ZERO, fee]];
        let writes = [is_op, transfer, is_op];
        let mut token = before[TOKEN];
        let updates = [0, 1, 2].map(|at| {
            let start = match (at, writes[at]) {
                (0, _) => before,
                (_, true) => there(self, at).unwrap_or(NO_ACCOUNT),
                (_, false) => {
                    let mut idle = NO_ACCOUNT;
                    idle[TOKEN] = token;
                    idle
                }
            };
            let start = changed(start, &plan.before, at);
            if at == 0 {
                token = start[TOKEN];
            }
            let mut end = start;
            end[NONCE] += deltas[at][0];
            end[BALANCE] += deltas[at][1];
            let end = changed(end, &plan.after, at);
            self.update(writes[at], plan.indices[at], start, end)
        });
        let float = |(mantissa, exponent): (u64, u8)| RawFloat {
            mantissa: Fr::from(mantissa),
            exponent,
        };
        RawPlace {
            kind: plan.kind,
            amount: float(plan.amount),
            exact: plan.exact,
            fee: float(plan.fee),
            expiry: Fr::from(plan.expiry),
            r8: signature.r8,
            s: signature.s,
            posted: [AX, AY].map(|i| field::to_be(&updates[0].before[i])),
            updates,
        }
    }

    fn message(&self, plan: &Plan, sender: &Fields, receiver: &Fields) -> Fr {
        let head = [
            rollup(),
            word(plan),
            sender[NONCE],
            Fr::from(plan.expiry),
            sender[TOKEN],
        ];
        let mut message = [Fr::ZERO; 8];
        message[..5].copy_from_slice(&head);
        let [transfer, withdraws, _] = plan.kind;
        let rest = if transfer {
            [receiver[AY], receiver[L1_ADDRESS], poseidon::tag_transfer()]
        } else if withdraws {
            [plan.exact, sender[L1_ADDRESS], poseidon::tag_withdraw()]
        } else {
            message[1..5].copy_from_slice(&[sender[TOKEN], sender[AX], sender[AY], sender[L1_ADDRESS]]);
            [Fr::ZERO, Fr::ZERO, poseidon::tag_create()]
        };
        message[5..].copy_from_slice(&rest);
        for (at, value) in &plan.signed {
            message[*at] = *value;
        }
        poseidon::hash8(&message)
    }

    /// Executes an operation of the queue as the prover's claims say.
    pub fn room(&mut self, entry: &Entry) -> RawRoom {
        let mut kind = [false; 4];
        if entry.kind > 0 {
            kind[entry.kind - 1] = true;
        }
        let there = self.accounts.get(&entry.index).copied();
        let occupied = entry.occupied.unwrap_or(there.is_some());
        let (u, v) = (field::reduce(&entry.u), field::reduce(&entry.v));
        let made = [Fr::from(entry.token), Fr::ZERO, Fr::ZERO, u, v, entry.address];
        let mut before = match (occupied, entry.kind) {
            (true, _) => there.unwrap_or(NO_ACCOUNT),
            (false, 1) => made,
            _ => NO_ACCOUNT,
        };
        for (field, value) in &entry.before {
            before[*field] = *value;
        }
        let bytes = |integer: &BigUint| {
            let (digits, mut be) = (integer.to_bytes_be(), [0; 32]);
            be[32 - digits.len()..].copy_from_slice(&digits);
            be
        };
        let mut raw = RawRoom {
            kind,
            token: Fr::from(entry.token),
            amount: entry.amount,
            address: entry.address,
            u: bytes(&entry.u),
            v: bytes(&entry.v),
            occupied,
            equal: [false; 3],
            update: RawUpdate {
                index: entry.index,
                before,
                after: before,
                path: [[Fr::ZERO; 7]; rules::tree::DEPTH],
            },
        };
        raw.equal = entry.equal.unwrap_or(raw.equalities());
        let [token, l1_address, key] = raw.equal;
        let mut after = before;
        match entry.kind {
            1 if !occupied => after[BALANCE] = entry.amount,
            2 if occupied && token && l1_address && key => after[BALANCE] += entry.amount,
            3 if occupied && token && l1_address => after[BALANCE] = Fr::ZERO,
            4 if occupied && l1_address => (after[AX], after[AY]) = (u, v),
            _ => {}
        }
        for (field, value) in &entry.after {
            after[*field] = *value;
        }
        raw.update = self.update(occupied || entry.kind == 1, entry.index, before, after);
        raw
    }

    /// A group; it is padded by no-ops.
    pub fn group(&mut self, entry: Option<&Entry>, plans: &[Plan]) -> RawGroup {
        let room = entry.map(|entry| self.room(entry));
        let places = std::array::from_fn(|at| self.place(plans.get(at).unwrap_or(&no_op())));
        RawGroup { room, places }
    }
}

pub fn word(plan: &Plan) -> Fr {
    let at = |shift: u64| Fr::from(2).pow([shift]);
    let created = plan.kind == CREATION;
    let [from, to] = match created {
        true => [0, plan.indices[0]],
        false => [plan.indices[0], plan.indices[1]],
    };
    Fr::from(from)
        + Fr::from(plan.amount.0) * at(33)
        + Fr::from(u64::from(plan.amount.1)) * at(52)
        + Fr::from(plan.fee.0) * at(57)
        + Fr::from(u64::from(plan.fee.1)) * at(61)
        + Fr::from(to) * at(66)
}

/// Lays out groups that begin at `root`, with the instances that the cells themselves give.
pub fn sheet_with(params: ShardParams, root: Fr, groups: &[RawGroup]) -> (Sheet, Vec<Fr>) {
    let x = Fr::from(987_654_321).square().square();
    let mut instances = vec![rollup(), Fr::from(TIME), x, root];
    instances.extend([11, 12, 13, 14, 15, 16].map(Fr::from));
    let sheet = lay_out(params, &instances, groups).expect("fits");
    for i in AFTER..SHARD_INSTANCES {
        let end = sheet
            .copies
            .iter()
            .find(|(_, b, _)| b.place == Place::Instance && b.row == i);
        let (cell, ..) = end.expect("every instance is copied");
        let Place::Advice(column) = cell.place else {
            unreachable!("advice meets instances")
        };
        instances.push(sheet.advice[column][cell.row]);
    }
    (sheet, instances)
}
