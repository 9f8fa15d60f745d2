//! Why L1 would not take a batch.

use alloy::primitives::{Address, B256};
use halo2curves::bn256::Fr;
use rules::{field, record::QueueHash};
use thiserror::Error;

use super::{
    super::{FailReason, L1Error},
    AGE_MARGIN_S,
};
use crate::rollup::Rejection;

/// Why L1 would not take a batch. Nothing was sent, but where [`Obstacle::L1`] says that it was.
#[derive(Debug, Error)]
pub enum Obstacle {
    /// The endpoint is of another chain.
    #[error("the batch was proven for chain {found}, the L1 endpoint is of chain {expected}")]
    Chain {
        /// The endpoint's.
        expected: u64,
        /// The batch's.
        found: u64,
    },
    /// The batch is of another rollup.
    #[error("the batch was proven for the rollup contract {found}, it would be submitted to {expected}")]
    Contract {
        /// Where it would go.
        expected: Address,
        /// The batch's.
        found: Address,
    },
    /// L1 has another batch under the number.
    #[error(
        "L1 has another batch {number}: it led to the state root {}, the one here leads to {}",
        field::to_hex(.expected), field::to_hex(.found)
    )]
    Other {
        /// The number.
        number: u64,
        /// State root after the batch on L1.
        expected: Fr,
        /// State root after the batch here.
        found: Fr,
    },
    /// Batches before it are missing.
    #[error("batch {number} is ahead: the next one on L1 is batch {next} (P-9.2)")]
    Ahead {
        /// The batch's.
        number: u64,
        /// The next on L1.
        next: u64,
    },
    /// It is the next, and begins elsewhere.
    #[error(
        "batch {number} starts from the state root {}, L1 has {} (P-9.2)",
        field::to_hex(.found), field::to_hex(.expected)
    )]
    OldRoot {
        /// The batch's number.
        number: u64,
        /// L1's.
        expected: Fr,
        /// The batch's.
        found: Fr,
    },
    /// No batch is taken any more.
    #[error("the rollup is frozen: L1 takes no batch any more (P-13.4)")]
    Frozen,
    /// Only the operator submits now.
    #[error(
        "the L1 account {account} is not the operator, who is {operator}; others may submit when no batch was accepted until the second {from}, or an entry of the queue is overdue (P-9.9)"
    )]
    NotOperator {
        /// Who would submit.
        account: Address,
        /// Who may.
        operator: Address,
        /// Anybody may from then on, if nothing happens before.
        from: u64,
    },
    /// Others than the operator must serve the queue.
    #[error(
        "the L1 account {account} is not the operator, and the batch consumes no entry of the queue, as another's must (P-9.9)"
    )]
    ConsumesNothing {
        /// Who would submit.
        account: Address,
    },
    /// It is older than the batch before it.
    #[error("the batch's time is {found}, before that of the last batch on L1, {last} (P-9.4)")]
    BeforeLast {
        /// The last batch's.
        last: u64,
        /// The batch's.
        found: u64,
    },
    /// It is too old, or will be when its transaction is mined.
    #[error(
        "the batch's time is {age_s} s before L1's last block; L1 takes {age_max_s} s at most (P-9.4), of which {AGE_MARGIN_S} s are left for the transaction"
    )]
    TooOld {
        /// Its age, seconds.
        age_s: u64,
        /// The contract's limit, seconds.
        age_max_s: u64,
    },
    /// No verifier of the contract's can check it.
    #[error(
        "the proof is for the key {key_digest}, of which the contract has no verifier in force: of {registered} that were registered, those made from it are {made:?}"
    )]
    NoVerifier {
        /// The key's digest.
        key_digest: B256,
        /// Verifiers that were registered.
        registered: usize,
        /// Those of them that are made from the key, and not in force.
        made: Vec<u8>,
    },
    /// The stream of records is none.
    #[error("posted_a: {0} (P-9.8, P-9.10)")]
    DataA(String),
    /// No proof is so long.
    #[error("the proof has {found} bytes, L1 takes {most} at most")]
    ProofTooLong {
        /// Bytes at most.
        most: usize,
        /// Its bytes.
        found: usize,
    },
    /// Nodes relay no such transaction.
    #[error("the submission has {found} bytes of calldata, nodes relay {most} at most")]
    TooLarge {
        /// Bytes at most.
        most: usize,
        /// Its bytes.
        found: usize,
    },
    /// The chain's blocks are too small.
    #[error("a submission is given {needed} gas, a block of this chain has {found}")]
    BlockGas {
        /// A submission's.
        needed: u64,
        /// A block's.
        found: u64,
    },
    /// It consumes more than waits.
    #[error("the batch consumes {consumed} entries of the queue, {pending} are waiting on L1 (P-9.10)")]
    BeyondTail {
        /// How many it consumes.
        consumed: u64,
        /// How many wait.
        pending: u64,
    },
    /// It consumes something else than what waits.
    #[error(
        "the batch's record of entry {entry} is not the one that waits on L1: the queue's hash there is {expected}, by the batch's records it is {found} (P-9.10)"
    )]
    Entry {
        /// The first entry that differs.
        entry: u64,
        /// The contract's hash with it.
        expected: QueueHash,
        /// By the batch's records.
        found: QueueHash,
    },
    /// The account's transactions have nonces one after the other, and one of those before may be this very batch.
    #[error(
        "{waiting} transactions of the L1 account {account} are not mined yet; the batch is looked at again when they are"
    )]
    Waiting {
        /// Who would submit.
        account: Address,
        /// Its transactions in the endpoint's pool.
        waiting: u64,
    },
    /// L1, or the transaction.
    #[error(transparent)]
    L1(#[from] L1Error),
}

impl Obstacle {
    /// Whether it can be otherwise later without anything being done about it: the endpoint fails or is behind, gas is too dear, the next
    /// block has not come. After a transaction it says that what became of it is to be looked for.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Waiting { .. } => true,
            Self::L1(L1Error::Rejected(rejection)) => passes(rejection),
            Self::L1(L1Error::Failed { reason, .. }) => {
                matches!(&**reason, FailReason::Rejected(rejection) if passes(rejection))
            }
            Self::L1(error) => matches!(
                error,
                L1Error::Endpoint(_)
                    | L1Error::Refused(_)
                    | L1Error::FeesAboveCap { .. }
                    | L1Error::Displaced { .. }
                    | L1Error::Unconfirmed { .. }
            ),
            _ => false,
        }
    }

    /// Whether the batch can never be accepted as it is: what was proven has to be made anew.
    pub fn is_for_ever(&self) -> bool {
        match self {
            Self::OldRoot { .. }
            | Self::Other { .. }
            | Self::BeforeLast { .. }
            | Self::TooOld { .. }
            | Self::BeyondTail { .. }
            | Self::Entry { .. }
            | Self::TooLarge { .. } => true,
            Self::L1(L1Error::Rejected(rejection)) => matches!(
                rejection,
                Rejection::BatchTooOld { .. }
                    | Rejection::EntryDue { .. }
                    | Rejection::QueueMismatch { .. }
                    | Rejection::BeyondTail { .. }
                    | Rejection::TimeBeforeLastBatch { .. }
            ),
            _ => false,
        }
    }
}

/// Of a batch that had passed just before: between two questions a block came, or another node answered.
fn passes(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::TimeInFuture { .. } | Rejection::WrongBatchNumber { .. } | Rejection::WrongOldRoot { .. }
    )
}
