//! The contract's events (P-17.3) as plain values.

use alloy::{
    primitives::{Address, B256, Log, U256},
    sol_types::SolEventInterface,
};
use halo2curves::bn256::Fr;
use rules::{
    account::TokenId,
    derive::Accepted,
    digest::Digest,
    outbox::Owed,
    record::{RECORD_BYTES, RECORD_ELEMENTS, Record, RecordError},
    stream::ELEMENT_BYTES,
};
use thiserror::Error;

use crate::rollup::{IRollup, from_u256};

/// What happened at the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch was proven and the state root moved; the event behind it has its data.
    BatchAccepted(BatchAccepted),
    /// The posted bytes of the batch.
    BatchData(BatchData),
    /// A record entered the queue.
    Queued(Entry),
    /// A token has an id.
    TokenAdded {
        /// The id.
        id: TokenId,
        /// The token; zero for ETH.
        token: Address,
    },
    /// A withdrawal was paid.
    Claimed(Owed),
    /// The rollup is frozen for ever.
    Frozen {
        /// How many batches it took.
        batches: u64,
        /// The last state root.
        root: Fr,
        /// The queue's head.
        head: u64,
    },
    /// An account left the frozen rollup.
    Exited(Exited),
    /// A deposit that a frozen rollup never consumed was paid back.
    Refunded(Refunded),
    /// Who has a role named who is to follow.
    RoleTransferStarted {
        /// The role.
        role: Role,
        /// Who has it.
        from: Address,
        /// Who was named; zero takes it back.
        to: Address,
    },
    /// A role is another's, or nobody's.
    RoleTransferred {
        /// The role.
        role: Role,
        /// Who had it; zero before the first.
        from: Address,
        /// Who has it; zero is nobody.
        to: Address,
    },
    /// A verifier was registered.
    VerifierAdded(VerifierAdded),
    /// A verifier is in force no more from a second on.
    VerifierRetired {
        /// Its number.
        id: u8,
        /// The second.
        retired_at: u64,
    },
    /// A verifier is in force no more, for good.
    VerifierDisabled {
        /// Its number.
        id: u8,
    },
    /// Deposits are refused before a second.
    DepositsPaused {
        /// The second.
        until: u64,
    },
}

impl Event {
    /// The name that the contract's interface gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BatchAccepted(_) => "BatchAccepted",
            Self::BatchData(_) => "BatchData",
            Self::Queued(_) => "Queued",
            Self::TokenAdded { .. } => "TokenAdded",
            Self::Claimed(_) => "Claimed",
            Self::Frozen { .. } => "Frozen",
            Self::Exited(_) => "Exited",
            Self::Refunded(_) => "Refunded",
            Self::RoleTransferStarted { .. } => "a role's TransferStarted",
            Self::RoleTransferred { .. } => "a role's Transferred",
            Self::VerifierAdded(_) => "VerifierAdded",
            Self::VerifierRetired { .. } => "VerifierRetired",
            Self::VerifierDisabled { .. } => "VerifierDisabled",
            Self::DepositsPaused { .. } => "DepositsPaused",
        }
    }
}

/// What [`Event::BatchAccepted`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAccepted {
    /// The batch's number.
    pub number: u64,
    /// Its time `T`.
    pub time: u64,
    /// State root before.
    pub old_root: Fr,
    /// State root after.
    pub new_root: Fr,
    /// Commitment to stream A.
    pub commitment_a: Fr,
    /// Commitment to stream B.
    pub commitment_b: Fr,
    /// The queue's head after it.
    pub head: u64,
    /// Root of the tree of its withdrawals; none where it has none.
    pub withdrawals_root: Option<Digest>,
    /// Its withdrawals.
    pub withdrawals: u32,
    /// The verifier that accepted.
    pub verifier: u8,
    /// Who submitted it.
    pub submitter: Address,
}

/// What [`Event::BatchData`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchData {
    /// The batch's number.
    pub number: u64,
    /// Posted bytes of stream A.
    pub data_a: Vec<u8>,
    /// Posted bytes of stream B.
    pub data_b: Vec<u8>,
}

/// An entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 0.
    pub number: u64,
    /// Whose call entered it; for the first, who deployed the contract.
    pub sender: Address,
    /// Its record: code 0, and a forced exit without amount.
    pub record: Record,
}

/// What [`Event::Exited`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// The account's index.
    pub index: u64,
    /// Its token.
    pub token: TokenId,
    /// Its balance.
    pub amount: u128,
    /// Whom it was paid to.
    pub recipient: Address,
}

/// What [`Event::Refunded`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// The entry's number.
    pub entry: u64,
    /// The token.
    pub token: TokenId,
    /// What was paid back.
    pub amount: u128,
    /// Whom to.
    pub recipient: Address,
}

/// What [`Event::VerifierAdded`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierAdded {
    /// Its number.
    pub id: u8,
    /// Its address.
    pub address: Address,
    /// Hash of its code.
    pub code_hash: B256,
    /// Digest of its key.
    pub vk_digest: B256,
    /// Gas that it is called with.
    pub gas_cap: u32,
    /// Second from which it is in force.
    pub active_from: u64,
}

/// Section 14's roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// May submit at any time.
    Operator,
    /// Adds and retires verifiers.
    Governor,
    /// Disables verifiers and pauses deposits.
    Guardian,
}

/// A log that the contract cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// It has no event's form.
    #[error("a log is no event of the contract's: {0}")]
    Form(String),
    /// A value is no field element.
    #[error("{event}, {field}: expected a value below the field's modulus, found {found:#x}")]
    Element {
        /// The event.
        event: &'static str,
        /// Its parameter.
        field: &'static str,
        /// The value.
        found: U256,
    },
    /// The elements of an entry are no record.
    #[error("Queued, entry {entry}: {reason}")]
    Record {
        /// The entry's number.
        entry: u64,
        /// What is wrong with them.
        reason: RecordError,
    },
    /// An element of an entry has more bits than are posted.
    #[error("Queued, entry {entry}, a_{element}: expected a value below 2^248, found {found:#x}")]
    Bits {
        /// The entry's number.
        entry: u64,
        /// The element's place.
        element: usize,
        /// The value.
        found: U256,
    },
}

impl Event {
    /// Reads a log of the contract's.
    ///
    /// # Errors
    /// [`EventError`] for a log that the contract does not write.
    pub fn decode(log: &Log) -> Result<Self, EventError> {
        use IRollup::IRollupEvents as E;
        let event = E::decode_log(log).map_err(|error| EventError::Form(error.to_string()))?;
        let event = match event.data {
            E::BatchAccepted(event) => Self::BatchAccepted(accepted(&event)?),
            E::BatchData(event) => Self::BatchData(BatchData {
                number: event.number,
                data_a: event.dataA.into(),
                data_b: event.dataB.into(),
            }),
            E::Queued(event) => Self::Queued(Entry::of(&event)?),
            E::TokenAdded(event) => Self::TokenAdded {
                id: TokenId(event.id),
                token: event.token,
            },
            E::Claimed(event) => Self::Claimed(Owed {
                batch: event.batch,
                position: event.position,
                token: TokenId(event.token),
                amount: event.amount,
                recipient: event.recipient.into_array(),
            }),
            E::Frozen(event) => Self::Frozen {
                batches: event.batches,
                root: element("Frozen", "root", event.root)?,
                head: event.head.to(),
            },
            E::Exited(event) => Self::Exited(Exited {
                index: event.index,
                token: TokenId(event.token),
                amount: event.amount,
                recipient: event.recipient,
            }),
            E::Refunded(event) => Self::Refunded(Refunded {
                entry: event.entry.to(),
                token: TokenId(event.token),
                amount: event.amount,
                recipient: event.recipient,
            }),
            E::OperatorTransferStarted(event) => started(Role::Operator, event.from, event.to),
            E::GovernorTransferStarted(event) => started(Role::Governor, event.from, event.to),
            E::GuardianTransferStarted(event) => started(Role::Guardian, event.from, event.to),
            E::OperatorTransferred(event) => transferred(Role::Operator, event.from, event.to),
            E::GovernorTransferred(event) => transferred(Role::Governor, event.from, event.to),
            E::GuardianTransferred(event) => transferred(Role::Guardian, event.from, event.to),
            E::VerifierAdded(event) => Self::VerifierAdded(VerifierAdded {
                id: event.id,
                address: event.addr,
                code_hash: event.codeHash,
                vk_digest: event.vkDigest,
                gas_cap: event.gasCap,
                active_from: event.activeFrom,
            }),
            E::VerifierRetired(event) => Self::VerifierRetired {
                id: event.id,
                retired_at: event.retiredAt,
            },
            E::VerifierDisabled(event) => Self::VerifierDisabled { id: event.id },
            E::DepositsPaused(event) => Self::DepositsPaused { until: event.until },
        };
        Ok(event)
    }
}

impl BatchAccepted {
    /// What the state follows from, with the event that has the data.
    pub fn with(&self, data: BatchData) -> Accepted {
        Accepted {
            number: self.number,
            old_root: self.old_root,
            new_root: self.new_root,
            head: self.head,
            withdrawals_root: self.withdrawals_root,
            withdrawals: self.withdrawals,
            data_a: data.data_a,
            data_b: data.data_b,
        }
    }
}

impl Entry {
    pub(crate) fn of(event: &IRollup::Queued) -> Result<Self, EventError> {
        let entry = event.entry.to();
        let mut posted = [0; RECORD_BYTES];
        let elements: [U256; RECORD_ELEMENTS] = [event.a0, event.a1, event.a2, event.a3];
        for (element, (chunk, found)) in posted.chunks_exact_mut(ELEMENT_BYTES).zip(elements).enumerate() {
            let word = found.to_be_bytes::<32>();
            if word[0] != 0 {
                return Err(EventError::Bits {
                    entry,
                    element,
                    found,
                });
            }
            chunk.copy_from_slice(&word[1..]);
        }
        let record = Record::from_bytes(&posted).map_err(|reason| EventError::Record { entry, reason })?;
        Ok(Self {
            number: entry,
            sender: event.sender,
            record,
        })
    }
}

fn accepted(event: &IRollup::BatchAccepted) -> Result<BatchAccepted, EventError> {
    let element = |field, value| element("BatchAccepted", field, value);
    Ok(BatchAccepted {
        number: event.number,
        time: event.time,
        old_root: element("oldRoot", event.oldRoot)?,
        new_root: element("newRoot", event.newRoot)?,
        commitment_a: element("commitmentA", event.commitmentA)?,
        commitment_b: element("commitmentB", event.commitmentB)?,
        head: event.head.to(),
        withdrawals_root: digest(event.withdrawalsRoot),
        withdrawals: event.withdrawals,
        verifier: event.verifier,
        submitter: event.submitter,
    })
}

/// A root as the contract keeps it, where zero is none.
pub(crate) fn digest(root: B256) -> Option<Digest> {
    (!root.is_zero()).then_some(Digest(root.0))
}

fn element(event: &'static str, field: &'static str, found: U256) -> Result<Fr, EventError> {
    from_u256(&found).ok_or(EventError::Element { event, field, found })
}

fn started(role: Role, from: Address, to: Address) -> Event {
    Event::RoleTransferStarted { role, from, to }
}

fn transferred(role: Role, from: Address, to: Address) -> Event {
    Event::RoleTransferred { role, from, to }
}
