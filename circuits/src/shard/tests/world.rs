//! A state whose operations need not be valid: it updates its tree with whatever it is told, so that a forged
//! witness is consistent in all but the rule under test.

use crate::preset::ShardParams;
use crate::shard::lay_out;
use crate::shard::raw::{RawFloat, RawStep, RawUpdate};
use crate::shard::sheet::Sheet;
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::account::{Account, AccountIndex, TokenId};
use rules::eddsa::{PrivateKey, Signature};
use rules::operation::{RollupId, dummy_account, dummy_key};
use rules::poseidon;
use rules::statement::AFTER;
use rules::tree::Tree;
use std::collections::BTreeMap;

/// The smallest circuit.
pub const PARAMS: ShardParams = ShardParams { k: 15, capacity: 5 };
pub const TIME: u64 = 1_800_000_000;
pub const ALICE: u64 = (1 << 16) + 5;
pub const BOB: u64 = (1 << 16) + 6;
/// Far from the others, in the tree's last subtree.
pub const CAROL: u64 = (1 << 33) - 1;
/// Holds token 2.
pub const DORA: u64 = 1 << 20;

/// Fields of an account: `token, nonce, balance, Ax, Ay, l1_address`.
pub type Fields = [Fr; 6];
pub const NONCE: usize = 1;
pub const BALANCE: usize = 2;

pub fn rollup() -> RollupId {
    RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    }
}

fn fields(account: &Account) -> Fields {
    let inputs = account.leaf_inputs();
    std::array::from_fn(|i| inputs[i])
}

fn leaf(fields: &Fields) -> Fr {
    let mut inputs = [Fr::ZERO; 8];
    inputs[..6].copy_from_slice(fields);
    inputs[7] = poseidon::tag_leaf();
    poseidon::hash8(&inputs)
}

/// A transfer that may be wrong. `Default` moves 1,000 from Alice to Bob for a fee of 10.
#[derive(Clone)]
pub struct Plan {
    pub indices: [u64; 3],
    pub amount: (Fr, u8),
    pub fee: (Fr, u8),
    pub expiry: Fr,
    pub is_op: bool,
    /// What the signer believes the nonce, token and rollup to be, if not what the tree says.
    pub signed: [Option<Fr>; 3],
    /// Changes made to the fields after, by update.
    pub after: Vec<(usize, usize, Fr)>,
    /// Changes made to the fields before, by update.
    pub before: Vec<(usize, usize, Fr)>,
    /// Replaces the signature that the sender's key makes.
    pub signature: Option<Signature>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            indices: [ALICE, BOB, 1],
            amount: (Fr::from(1_000), 0),
            fee: (Fr::from(10), 0),
            expiry: Fr::from(TIME),
            is_op: true,
            signed: [None; 3],
            after: Vec::new(),
            before: Vec::new(),
            signature: None,
        }
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
        for (i, (index, token)) in [(1, 1), (2, 2), (ALICE, 1), (BOB, 1), (CAROL, 1), (DORA, 2)]
            .into_iter()
            .enumerate()
        {
            let key = PrivateKey::from_bytes(&[i as u8 + 1; 32]);
            let account = Account {
                token: TokenId(token),
                nonce: 3,
                balance: 1_000_000,
                owner: key.public(),
                l1_address: [i as u8; 20],
            };
            world.keys.insert(index, key);
            world.set(index, fields(&account));
        }
        world
    }

    pub fn set(&mut self, index: u64, fields: Fields) {
        self.tree
            .set(AccountIndex::new(index).expect("in range"), leaf(&fields));
        self.accounts.insert(index, fields);
    }

    fn update(&mut self, is_op: bool, index: u64, before: Fields, after: Fields) -> RawUpdate {
        let at = AccountIndex::new(index % (1 << 33)).expect("reduced");
        let path = self.tree.path(at);
        if is_op {
            self.tree.set(at, leaf(&after));
            self.accounts.insert(index, after);
        }
        RawUpdate {
            index,
            before,
            after,
            path,
        }
    }

    fn account(&self, plan: &Plan, update: usize) -> Fields {
        let mut fields = match self.accounts.get(&plan.indices[update]) {
            Some(fields) if plan.is_op => *fields,
            _ => fields(&dummy_account()),
        };
        for (_, field, value) in plan.before.iter().filter(|(u, ..)| *u == update) {
            fields[*field] = *value;
        }
        fields
    }

    /// Executes a plan without asking whether it is valid.
    pub fn step(&mut self, plan: &Plan) -> RawStep {
        let power = |(mantissa, exponent): (Fr, u8)| mantissa * Fr::from(10).pow([u64::from(exponent)]);
        let (amount, fee) = (power(plan.amount), power(plan.fee));
        let sender = self.account(plan, 0);
        let [nonce, token, rollup_id] = plan.signed;
        let word = word(plan);
        let message = poseidon::hash8(&[
            rollup_id.unwrap_or(rollup().to_fr()),
            word,
            nonce.unwrap_or(sender[NONCE]),
            plan.expiry,
            token.unwrap_or(sender[0]),
            Fr::ZERO,
            Fr::ZERO,
            poseidon::tag_transfer(),
        ]);
        let key = match self.keys.get(&plan.indices[0]) {
            Some(key) if plan.is_op => key.clone(),
            _ => dummy_key().clone(),
        };
        let signature = plan.signature.unwrap_or_else(|| key.sign(&message));
        let deltas: [[Fr; 2]; 3] = [[Fr::ONE, -amount - fee], [Fr::ZERO, amount], [Fr::ZERO, fee]];
        let updates = [0, 1, 2].map(|u| {
            let before = self.account(plan, u);
            let mut after = before;
            after[NONCE] += deltas[u][0];
            after[BALANCE] += deltas[u][1];
            for (_, field, value) in plan.after.iter().filter(|(update, ..)| *update == u) {
                after[*field] = *value;
            }
            self.update(plan.is_op, plan.indices[u], before, after)
        });
        RawStep {
            is_op: plan.is_op,
            amount: RawFloat {
                mantissa: plan.amount.0,
                exponent: plan.amount.1,
            },
            fee: RawFloat {
                mantissa: plan.fee.0,
                exponent: plan.fee.1,
            },
            expiry: plan.expiry,
            r8: signature.r8,
            s: signature.s,
            updates,
        }
    }

    /// A no-op.
    pub fn noop(&mut self) -> RawStep {
        self.step(&noop_plan())
    }
}

pub fn noop_plan() -> Plan {
    Plan {
        indices: [0; 3],
        amount: (Fr::ZERO, 0),
        fee: (Fr::ZERO, 0),
        expiry: Fr::from((1 << 40) - 1),
        is_op: false,
        ..Plan::default()
    }
}

fn word(plan: &Plan) -> Fr {
    let at = |shift: u64| Fr::from(2).pow([shift]);
    Fr::from(plan.indices[0])
        + plan.amount.0 * at(33)
        + Fr::from(u64::from(plan.amount.1)) * at(52)
        + plan.fee.0 * at(57)
        + Fr::from(u64::from(plan.fee.1)) * at(61)
        + Fr::from(plan.indices[1]) * at(66)
}

/// Lays out steps that begin at `root`, padded by no-ops, with the instances that the cells themselves give.
pub fn sheet_of(root: Fr, mut steps: Vec<RawStep>, world: &mut World) -> (Sheet, Vec<Fr>) {
    while steps.len() < PARAMS.capacity {
        steps.push(world.noop());
    }
    sheet_with(PARAMS, root, &steps)
}

/// The same for as many steps as a circuit of any size has.
pub fn sheet_with(params: ShardParams, root: Fr, steps: &[RawStep]) -> (Sheet, Vec<Fr>) {
    let x = Fr::from(987_654_321).square().square();
    let mut instances = vec![rollup().to_fr(), Fr::from(TIME), x, root];
    instances.extend([11, 12, 13, 14, 15, 16].map(Fr::from));
    let sheet = lay_out(params, &instances, steps).expect("fits");
    for i in AFTER..rules::statement::SHARD_INSTANCES {
        let end = sheet
            .copies
            .iter()
            .find(|(_, b, _)| b.place == crate::shard::sheet::Place::Instance && b.row == i);
        let (cell, ..) = end.expect("every instance is copied");
        let crate::shard::sheet::Place::Advice(column) = cell.place else {
            unreachable!("advice meets instances")
        };
        instances.push(sheet.advice[column][cell.row]);
    }
    (sheet, instances)
}
