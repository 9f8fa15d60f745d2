//! Operations: their signed messages and file form (P-4.1 … P-4.12, section 5).

use crate::account::{Account, AccountIndex, TokenId, address_to_fr};
use crate::amount::{Amount, Fee};
use crate::eddsa::{PrivateKey, PublicKey, Signature};
use crate::record::{Coordinate, Kind, Record};
use crate::{encoding, poseidon};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use crate::terms::{Expiry, ExpiryRange, RollupId, TIME_BITS};
pub use crate::word::{Effect, WORD_BITS, Word, WordError};

/// A transfer (P-4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The sender.
    pub from: AccountIndex,
    /// The receiver.
    pub to: AccountIndex,
    /// What the receiver gets, in smallest units of the token.
    pub amount: Amount,
    /// What the token's fee account gets on top, in smallest units of the token.
    pub fee: Fee,
    /// The sender's nonce before the transfer.
    #[serde(with = "encoding::decimal")]
    pub nonce: u64,
    /// The last batch time at which the transfer is valid.
    pub expiry: Expiry,
    /// The token of both accounts.
    pub token: TokenId,
}

impl Transfer {
    /// The part of the transfer that its word says.
    pub fn effect(&self) -> Effect {
        Effect {
            from: self.from,
            to: self.to,
            amount: self.amount,
            fee: self.fee,
        }
    }

    /// The inputs of the signed message's hash, in order (P-5.2). `receiver` is the account at `to` as the sender means it: its
    /// `A.y` and L1 address are signed.
    pub fn message_inputs(&self, rollup_id: &RollupId, receiver: &Account) -> [Fr; 8] {
        [
            rollup_id.to_fr(),
            Fr::from_u128(self.effect().word()),
            Fr::from(self.nonce),
            Fr::from(self.expiry.get()),
            Fr::from(u64::from(self.token.0)),
            receiver.owner.0.y,
            receiver.l1_address_fr(),
            poseidon::tag_transfer(),
        ]
    }

    /// The signed message `M` (P-5.2).
    pub fn message(&self, rollup_id: &RollupId, receiver: &Account) -> Fr {
        poseidon::hash8(&self.message_inputs(rollup_id, receiver))
    }

    /// Signs the transfer to `receiver` for one rollup.
    pub fn sign(self, key: &PrivateKey, rollup_id: &RollupId, receiver: &Account) -> SignedTransfer {
        SignedTransfer {
            transfer: self,
            signature: key.sign(&self.message(rollup_id, receiver)),
        }
    }
}

/// A withdrawal: L1 then owes the amount to the account's L1 address (P-4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The account that pays.
    pub from: AccountIndex,
    /// What L1 will owe, in smallest units of the token: any integer.
    #[serde(with = "encoding::decimal")]
    pub amount: u128,
    /// What the token's fee account gets on top, in smallest units of the token.
    pub fee: Fee,
    /// The account's nonce before the withdrawal.
    #[serde(with = "encoding::decimal")]
    pub nonce: u64,
    /// The last batch time at which the withdrawal is valid.
    pub expiry: Expiry,
    /// The account's token.
    pub token: TokenId,
}

impl Withdrawal {
    /// The part of the withdrawal that its word says.
    pub fn word(&self) -> Word {
        Word::Withdrawal {
            from: self.from,
            fee: self.fee,
        }
    }

    /// The inputs of the signed message's hash, in order (P-5.5). `l1_address` is the account's.
    pub fn message_inputs(&self, rollup_id: &RollupId, l1_address: &[u8; 20]) -> [Fr; 8] {
        [
            rollup_id.to_fr(),
            Fr::from_u128(self.word().to_integer()),
            Fr::from(self.nonce),
            Fr::from(self.expiry.get()),
            Fr::from(u64::from(self.token.0)),
            Fr::from_u128(self.amount),
            address_to_fr(l1_address),
            poseidon::tag_withdraw(),
        ]
    }

    /// The signed message `M` (P-5.5).
    pub fn message(&self, rollup_id: &RollupId, l1_address: &[u8; 20]) -> Fr {
        poseidon::hash8(&self.message_inputs(rollup_id, l1_address))
    }

    /// Signs the withdrawal to the account's L1 address for one rollup.
    pub fn sign(self, key: &PrivateKey, rollup_id: &RollupId, l1_address: &[u8; 20]) -> SignedWithdrawal {
        SignedWithdrawal {
            withdrawal: self,
            signature: key.sign(&self.message(rollup_id, l1_address)),
        }
    }

    /// Its record (P-6.6). `account` is the one that pays.
    pub fn record(&self, account: &Account) -> Record {
        Record {
            token: self.token,
            address: account.l1_address,
            ..Record::withdrawal(self.from, self.amount)
        }
    }
}

/// A creation of an account without balance (P-4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creation {
    /// Where, as whoever makes the batch chooses: the signature does not say it.
    pub index: AccountIndex,
    /// The token held.
    pub token: TokenId,
    /// The key that signs for the account, and signs this.
    pub owner: PublicKey,
    /// The owner's address on L1.
    #[serde(with = "encoding::address")]
    pub l1_address: [u8; 20],
}

impl Creation {
    /// The part of the creation that its word says.
    pub fn word(&self) -> Word {
        Word::Creation { to: self.index }
    }

    /// The account that it makes (P-4.10).
    pub fn account(&self) -> Account {
        Account {
            token: self.token,
            nonce: 0,
            balance: 0,
            owner: self.owner,
            l1_address: self.l1_address,
        }
    }

    /// The inputs of the signed message's hash, in order (P-5.6).
    pub fn message_inputs(&self, rollup_id: &RollupId) -> [Fr; 8] {
        [
            rollup_id.to_fr(),
            Fr::from(u64::from(self.token.0)),
            self.owner.0.x,
            self.owner.0.y,
            address_to_fr(&self.l1_address),
            Fr::zero(),
            Fr::zero(),
            poseidon::tag_create(),
        ]
    }

    /// The signed message `M` (P-5.6).
    pub fn message(&self, rollup_id: &RollupId) -> Fr {
        poseidon::hash8(&self.message_inputs(rollup_id))
    }

    /// Signs the creation for one rollup, with the key that [`Creation::owner`] is of.
    pub fn sign(self, key: &PrivateKey, rollup_id: &RollupId) -> SignedCreation {
        SignedCreation {
            creation: self,
            signature: key.sign(&self.message(rollup_id)),
        }
    }

    /// Its record (P-6.6).
    pub fn record(&self) -> Record {
        Record {
            kind: Kind::Creation,
            code: 0,
            token: self.token,
            index: self.index,
            amount: 0,
            address: self.l1_address,
            u: self.owner.0.x.into(),
            v: self.owner.0.y.into(),
        }
    }
}

/// A transfer and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTransfer {
    /// What is signed.
    pub transfer: Transfer,
    /// By the sender's owner, over [`Transfer::message`].
    pub signature: Signature,
}

/// A withdrawal and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedWithdrawal {
    /// What is signed.
    pub withdrawal: Withdrawal,
    /// By the account's owner, over [`Withdrawal::message`].
    pub signature: Signature,
}

/// A creation and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCreation {
    /// What is signed, and the index.
    pub creation: Creation,
    /// By the new owner, over [`Creation::message`].
    pub signature: Signature,
}

/// What stands in a place: an operation that an owner signed, or none (P-6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signed {
    /// No operation.
    NoOp,
    /// A transfer.
    Transfer(SignedTransfer),
    /// A withdrawal.
    Withdrawal(SignedWithdrawal),
    /// A creation.
    Creation(SignedCreation),
}

impl Signed {
    /// What its word says.
    pub fn word(&self) -> Word {
        match self {
            Self::NoOp => Word::NoOp,
            Self::Transfer(signed) => Word::Transfer(signed.transfer.effect()),
            Self::Withdrawal(signed) => signed.withdrawal.word(),
            Self::Creation(signed) => signed.creation.word(),
        }
    }

    /// Whether it has a record, and so stands at none of the places `5g + 4` (P-6.3).
    pub fn has_record(&self) -> bool {
        matches!(self, Self::Withdrawal(_) | Self::Creation(_))
    }
}

/// A field of a record that is not as L1's queue has it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} of a {kind} in the queue: expected {expected}, found {found}")]
pub struct QueuedError {
    /// The record's kind.
    pub kind: Kind,
    /// The field.
    pub field: &'static str,
    /// What the queue has there.
    pub expected: &'static str,
    /// What the record has.
    pub found: String,
}

/// An operation of the queue (P-4.11): a record as it is in the queue, without what executing it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Entry", into = "Entry")]
pub struct Queued(Record);

/// The fields of a [`Queued`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: Kind,
    token: TokenId,
    index: AccountIndex,
    #[serde(with = "encoding::decimal")]
    amount: u128,
    #[serde(with = "encoding::address")]
    address: [u8; 20],
    u: Coordinate,
    v: Coordinate,
}

impl Queued {
    /// Checks that a record is as the queue can have it (P-6.6, P-9.10).
    ///
    /// # Errors
    /// [`QueuedError`] for the first field that no entry has so.
    pub fn new(record: Record) -> Result<Self, QueuedError> {
        let kind = record.kind;
        let refuse = |field, expected, found| {
            Err(QueuedError {
                kind,
                field,
                expected,
                found,
            })
        };
        if !kind.is_queued() {
            return refuse("kind", "1 to 4", kind.number().to_string());
        }
        let (exit, change) = (kind == Kind::ForcedExit, kind == Kind::KeyChange);
        let zero = |value: Coordinate| value == Coordinate::ZERO;
        let text = |value: Coordinate| format!("0x{}", hex::encode(value.to_bytes()));
        if record.code != 0 {
            return refuse("code", "0", record.code.to_string());
        }
        if change && record.token.0 != 0 {
            return refuse("token", "0", record.token.to_string());
        }
        if (exit || change) && record.amount != 0 {
            return refuse("amount", "0", record.amount.to_string());
        }
        if exit && !zero(record.u) {
            return refuse("u", "0", text(record.u));
        }
        if exit && !zero(record.v) {
            return refuse("v", "0", text(record.v));
        }
        Ok(Self(record))
    }

    /// The record as it is in the queue.
    pub fn record(&self) -> &Record {
        &self.0
    }
}

impl TryFrom<Entry> for Queued {
    type Error = QueuedError;

    fn try_from(entry: Entry) -> Result<Self, QueuedError> {
        Self::new(Record {
            kind: entry.kind,
            code: 0,
            token: entry.token,
            index: entry.index,
            amount: entry.amount,
            address: entry.address,
            u: entry.u,
            v: entry.v,
        })
    }
}

impl From<Queued> for Entry {
    fn from(Queued(record): Queued) -> Self {
        Self {
            kind: record.kind,
            token: record.token,
            index: record.index,
            amount: record.amount,
            address: record.address,
            u: record.u,
            v: record.v,
        }
    }
}

/// An operation of a batch. Its binary forms have the numbers of P-4.12 for the kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum Operation {
    /// No operation, in a place of its own.
    NoOp,
    /// A transfer.
    Transfer(SignedTransfer),
    /// A withdrawal.
    Withdrawal(SignedWithdrawal),
    /// A creation.
    Creation(SignedCreation),
    /// An operation of the queue.
    Queued(Queued),
}

impl Operation {
    /// What stands in a place for it; none for an operation of the queue.
    pub fn signed(&self) -> Option<Signed> {
        match *self {
            Self::NoOp => Some(Signed::NoOp),
            Self::Transfer(signed) => Some(Signed::Transfer(signed)),
            Self::Withdrawal(signed) => Some(Signed::Withdrawal(signed)),
            Self::Creation(signed) => Some(Signed::Creation(signed)),
            Self::Queued(_) => None,
        }
    }
}

impl From<Queued> for Operation {
    fn from(queued: Queued) -> Self {
        Self::Queued(queued)
    }
}

impl From<Signed> for Operation {
    fn from(signed: Signed) -> Self {
        match signed {
            Signed::NoOp => Self::NoOp,
            Signed::Transfer(signed) => Self::Transfer(signed),
            Signed::Withdrawal(signed) => Self::Withdrawal(signed),
            Signed::Creation(signed) => Self::Creation(signed),
        }
    }
}

/// The file form of an [`Operation`] (P-4.12): one of the keys, beside the signature where there is one.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    no_op: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<Transfer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawal: Option<Withdrawal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation: Option<Creation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<Queued>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

/// `{}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl From<&Operation> for File {
    fn from(operation: &Operation) -> Self {
        let mut file = Self::default();
        match *operation {
            Operation::NoOp => file.no_op = Some(Nothing {}),
            Operation::Transfer(signed) => {
                (file.transfer, file.signature) = (Some(signed.transfer), Some(signed.signature));
            }
            Operation::Withdrawal(signed) => {
                (file.withdrawal, file.signature) = (Some(signed.withdrawal), Some(signed.signature));
            }
            Operation::Creation(signed) => {
                (file.creation, file.signature) = (Some(signed.creation), Some(signed.signature));
            }
            Operation::Queued(queued) => file.queued = Some(queued),
        }
        file
    }
}

impl TryFrom<File> for Operation {
    type Error = &'static str;

    fn try_from(file: File) -> Result<Self, &'static str> {
        let kinds = [file.no_op.map(|_| Self::NoOp), file.queued.map(Self::Queued)];
        let signature = file.signature;
        let signed = |signature: Signature| {
            let transfer = |transfer| SignedTransfer { transfer, signature };
            let withdrawal = |withdrawal| SignedWithdrawal {
                withdrawal,
                signature,
            };
            let creation = |creation| SignedCreation { creation, signature };
            [
                file.transfer.map(|it| Self::Transfer(transfer(it))),
                file.withdrawal.map(|it| Self::Withdrawal(withdrawal(it))),
                file.creation.map(|it| Self::Creation(creation(it))),
            ]
        };
        let asks = file.transfer.is_some() || file.withdrawal.is_some() || file.creation.is_some();
        if asks && signature.is_none() {
            return Err("expected a signature beside the operation, found none");
        }
        if !asks && signature.is_some() {
            return Err("expected a signature beside a transfer, withdrawal or creation only");
        }
        let signed = signature.map_or([None; 3], signed);
        let mut found = kinds.into_iter().chain(signed).flatten();
        match (found.next(), found.next()) {
            (Some(operation), None) => Ok(operation),
            (None, _) => {
                Err("expected one of the keys transfer, withdrawal, creation, queued, no_op, found none")
            }
            (Some(_), Some(_)) => {
                Err("expected one of the keys transfer, withdrawal, creation, queued, no_op, found several")
            }
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => File::from(self).serialize(serializer),
            false => Self::serialize(self, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => File::deserialize(deserializer)?
                .try_into()
                .map_err(serde::de::Error::custom),
            false => Self::deserialize(deserializer),
        }
    }
}
