//! A shard's witness as field elements and integers, without the ranges that the native types enforce, so that the
//! layout can be given values that no native type would hold.

use halo2_proofs::arithmetic::Field;
use halo2curves::ff::PrimeField;
use rules::Fr;
use rules::account::{Account, TokenId};
use rules::amount::{Amount, Fee};
use rules::babyjub::Point;
use rules::eddsa::{PrivateKey, Signature};
use rules::field;
use rules::operation::{Expiry, Signed};
use rules::poseidon;
use rules::record::{Kind, Record};
use rules::stream::GROUP_WORDS;
use rules::tree::Path;
use rules::witness::{Access, FEE, GroupWitness, PlaceWitness, RECEIVER, RoomWitness, SENDER};
use std::sync::OnceLock;

/// `token, nonce, balance, Ax, Ay, l1_address`.
pub(super) type Fields = [Fr; 6];
/// Nobody's.
pub(super) const NO_ACCOUNT: Fields = [Fr::zero(); 6];

pub(super) const TOKEN: usize = 0;
pub(super) const NONCE: usize = 1;
pub(super) const BALANCE: usize = 2;
pub(super) const AX: usize = 3;
pub(super) const AY: usize = 4;
pub(super) const L1_ADDRESS: usize = 5;

/// One update of one leaf.
#[derive(Clone, Debug)]
pub(super) struct RawUpdate {
    pub index: u64,
    pub before: Fields,
    pub after: Fields,
    pub path: Path,
}

/// A float's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawFloat {
    pub mantissa: Fr,
    pub exponent: u8,
}

/// What stands in a place.
#[derive(Clone, Debug)]
pub(super) struct RawPlace {
    /// Transfer, withdrawal, creation.
    pub kind: [bool; 3],
    /// A transfer's amount.
    pub amount: RawFloat,
    /// A withdrawal's amount.
    pub exact: Fr,
    pub fee: RawFloat,
    pub expiry: Fr,
    pub r8: Point,
    /// Big endian.
    pub s: [u8; 32],
    /// The integers, big endian, that a creation's record has for the key's coordinates.
    pub posted: [[u8; 32]; 2],
    /// Sender, receiver, fee account.
    pub updates: [RawUpdate; 3],
}

/// The room for an operation of the queue.
#[derive(Clone, Debug)]
pub(super) struct RawRoom {
    /// Deposit to a new account, to an existing one, forced exit, key change.
    pub kind: [bool; 4],
    pub token: Fr,
    pub amount: Fr,
    pub address: Fr,
    /// Big endian.
    pub u: [u8; 32],
    /// Big endian.
    pub v: [u8; 32],
    /// Whether the index is occupied before.
    pub occupied: bool,
    /// Whether the account's token, L1 address and key are those that the record asks for.
    pub equal: [bool; 3],
    pub update: RawUpdate,
}

/// A group and what stands before it.
#[derive(Clone, Debug)]
pub(super) struct RawGroup {
    pub room: Option<RawRoom>,
    pub places: [RawPlace; GROUP_WORDS],
}

/// The published key that signs no-ops. It owns nothing: index 0 is never occupied (P-3.5).
fn dummy_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::from_bytes(b"zk-rollup-prover/no-op/dummy-key"))
}

/// Whoever signs a no-op: an account of the published key, whose leaf counts as empty.
pub(super) fn no_op_signer() -> Fields {
    fields(&Account {
        token: TokenId(0),
        nonce: 0,
        balance: 0,
        owner: dummy_key().public(),
        l1_address: [0; 20],
    })
}

/// The signature of a no-op: over the message of a transfer whose parts are 0, by a published key.
pub(super) fn no_op_signature(rollup_id: Fr) -> Signature {
    let expiry = Fr::from(Expiry::NEVER.get());
    let mut message = [Fr::ZERO; 8];
    (message[0], message[3], message[7]) = (rollup_id, expiry, poseidon::tag_transfer());
    dummy_key().sign(&poseidon::hash8(&message))
}

/// The fields of an account.
pub(super) fn fields(account: &Account) -> Fields {
    let inputs = account.leaf_inputs();
    std::array::from_fn(|i| inputs[i])
}

/// `S` of a signature, big endian.
fn s_bytes(signature: &Signature) -> [u8; 32] {
    let mut s = [0; 32];
    let integer = signature.s_integer().to_bytes_be();
    s[32 - integer.len()..].copy_from_slice(&integer);
    s
}

fn fields_or_none(account: Option<&Account>) -> Fields {
    account.map_or(NO_ACCOUNT, fields)
}

fn update(access: &Access, before: Fields, after: Fields) -> RawUpdate {
    RawUpdate {
        index: access.index.get(),
        before,
        after,
        path: access.path,
    }
}

/// The fields of an access as they are; of an account that is made, those before are what its leaf would be without
/// balance, since the circuit lets nothing but a balance come about.
fn update_of(access: &Access) -> RawUpdate {
    let after = fields_or_none(access.after.as_ref());
    let before = match &access.before {
        Some(before) => fields(before),
        None => without_balance(after),
    };
    update(access, before, after)
}

fn without_balance(mut fields: Fields) -> Fields {
    (fields[NONCE], fields[BALANCE]) = (Fr::ZERO, Fr::ZERO);
    fields
}

impl RawPlace {
    /// A place; `no_op` is [`no_op_signature`].
    pub fn new(place: &PlaceWitness, no_op: &Signature) -> Self {
        let accesses = &place.accesses;
        let mut updates = accesses.each_ref().map(update_of);
        let (mut amount, mut exact, mut fee, mut expiry) = (Amount::ZERO, 0, Fee::ZERO, Expiry::NEVER);
        let (kind, signature) = match &place.operation {
            Signed::NoOp => {
                let signer = no_op_signer();
                updates[SENDER] = update(&accesses[SENDER], signer, signer);
                ([false; 3], no_op)
            }
            Signed::Transfer(signed) => {
                let transfer = &signed.transfer;
                (amount, fee, expiry) = (transfer.amount, transfer.fee, transfer.expiry);
                ([true, false, false], &signed.signature)
            }
            Signed::Withdrawal(signed) => {
                let withdrawal = &signed.withdrawal;
                (exact, fee, expiry) = (withdrawal.amount, withdrawal.fee, withdrawal.expiry);
                ([false, true, false], &signed.signature)
            }
            Signed::Creation(signed) => ([false, false, true], &signed.signature),
        };
        if !kind[0] {
            // Who is not there has the sender's token, and a balance after that shows the amount's range.
            let mut idle = NO_ACCOUNT;
            idle[TOKEN] = updates[SENDER].before[TOKEN];
            let mut after = idle;
            after[BALANCE] = Fr::from_u128(exact);
            updates[RECEIVER] = update(&accesses[RECEIVER], idle, after);
        }
        debug_assert_eq!(updates.len(), FEE + 1);
        Self {
            kind,
            amount: RawFloat {
                mantissa: Fr::from(u64::from(amount.mantissa())),
                exponent: amount.exponent(),
            },
            exact: Fr::from_u128(exact),
            fee: RawFloat {
                mantissa: Fr::from(u64::from(fee.mantissa())),
                exponent: fee.exponent(),
            },
            expiry: Fr::from(expiry.get()),
            r8: signature.r8,
            s: s_bytes(signature),
            posted: [AX, AY].map(|i| field::to_be(&updates[SENDER].before[i])),
            updates,
        }
    }
}

impl RawRoom {
    /// What a record and an account before say of each other: the three equalities of P-4.11.
    pub fn equalities(&self) -> [bool; 3] {
        let [u, v] = [&self.u, &self.v].map(|be| field::reduce(&num_bigint::BigUint::from_bytes_be(be)));
        let asked = if self.kind[1] { u } else { self.address };
        let account = &self.update.before;
        [
            account[TOKEN] == self.token,
            account[L1_ADDRESS] == asked,
            account[AY] == v,
        ]
    }
}

impl From<&RoomWitness> for RawRoom {
    fn from(room: &RoomWitness) -> Self {
        let access = &room.access;
        let kinds = [
            Kind::DepositNew,
            Kind::DepositExisting,
            Kind::ForcedExit,
            Kind::KeyChange,
        ];
        let record = room.record.as_ref();
        let of = |read: fn(&Record) -> Fr| record.map_or(Fr::ZERO, read);
        let mut raw = Self {
            kind: kinds.map(|kind| record.is_some_and(|record| record.kind == kind)),
            token: of(|record| Fr::from(u64::from(record.token.0))),
            amount: of(|record| Fr::from_u128(record.amount)),
            address: of(Record::address_fr),
            u: record.map_or([0; 32], |record| record.u.to_bytes()),
            v: record.map_or([0; 32], |record| record.v.to_bytes()),
            occupied: access.before.is_some(),
            equal: [false; 3],
            update: update_of(access),
        };
        raw.equal = raw.equalities();
        raw
    }
}

impl RawGroup {
    /// A group; `no_op` is [`no_op_signature`].
    pub fn new(group: &GroupWitness, no_op: &Signature) -> Self {
        Self {
            room: group.room.as_ref().map(RawRoom::from),
            places: group.places.each_ref().map(|place| RawPlace::new(place, no_op)),
        }
    }
}
