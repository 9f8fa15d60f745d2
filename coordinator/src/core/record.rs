//! What is kept of batches and tasks.

use std::{collections::BTreeMap, fmt};

use rules::{
    account::{AccountIndex, Hashed, TokenId},
    gas::Posted,
};
use serde::{Deserialize, Serialize};

use super::{
    id::{BatchId, Fence, KeyId, RollupNumber, StateRoot, TaskId, Tenant, UnixMs, WorkerId},
    rollup::RollupRecord,
};

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchStatus {
    /// Accepted; no worker has begun.
    Queued,
    /// Shards are being proven.
    Proving,
    /// Every shard is proven; the aggregation waits or runs.
    Aggregating,
    /// The root proof is there. Final.
    Proven,
    /// A task failed for good. The batch stays in the chain, since it is valid.
    Failed,
    /// Taken back before it was proven. Final.
    Cancelled,
    /// Taken back by an operator, with all that followed it. Final.
    RolledBack,
}

impl fmt::Display for BatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Proving => "proving",
            Self::Aggregating => "aggregating",
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled back",
        })
    }
}

impl BatchStatus {
    /// Whether the batch is no part of the chain any more.
    pub fn is_taken_back(self) -> bool {
        matches!(self, Self::Cancelled | Self::RolledBack)
    }
}

/// The operations of a batch, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Transfers.
    pub transfers: u32,
    /// Withdrawals.
    pub withdrawals: u32,
    /// Creations.
    pub creations: u32,
    /// Operations of the queue.
    pub queued: u32,
    /// Those among them whose code is not 0.
    pub queued_without_effect: u32,
    /// No-ops of the batch's own.
    pub no_ops: u32,
}

impl Operations {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.transfers + self.withdrawals + self.creations + self.queued + self.no_ops
    }
}

/// What a batch earns, and what its cost on L1 follows from. Its execution tells, once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billing {
    /// What its operations pay to fee accounts, by token, in the token's smallest unit; tokens of which nothing is paid are not in it.
    /// As many as operations at most.
    pub fees: BTreeMap<TokenId, u128>,
    /// What it posts.
    pub posted: Posted,
}

/// What its submitter says of how urgent a batch is, and by what names it is to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Of the batches of a rollup, those of a higher priority are proven first.
    pub priority: u32,
    /// Among these, those that are needed sooner.
    pub deadline: Option<UnixMs>,
    /// Words that lists can be asked for.
    pub labels: Vec<String>,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Its name.
    pub id: BatchId,
    /// The rollup that it is of.
    pub rollup: RollupNumber,
    /// Who submitted it.
    pub tenant: Tenant,
    /// The id that it was submitted under, the tenant's own.
    pub request_id: String,
    /// How urgent it is, and its labels.
    pub wishes: Wishes,
    /// SHA-256 of its encoding.
    pub sha256: [u8; 32],
    /// Its number in the rollup.
    pub number: u64,
    /// The circuits that prove it: those that were current when it was accepted.
    pub keys: KeyId,
    /// T, Unix seconds.
    pub time: u64,
    /// State root before.
    pub old_root: StateRoot,
    /// State root after.
    pub new_root: StateRoot,
    /// Operations in it.
    pub operations: Operations,
    /// Entries of L1's queue that are consumed after it.
    pub queue_head: u64,
    /// Shards, padding included.
    pub shards: u32,
    /// Shards whose proof is stored.
    pub shards_done: u32,
    /// Where it is.
    pub status: BatchStatus,
    /// Grows with every change.
    pub revision: u64,
    /// When it was accepted.
    pub accepted: UnixMs,
    /// When a worker first got a task of it.
    pub started: Option<UnixMs>,
    /// When the last shard was done.
    pub shards_done_at: Option<UnixMs>,
    /// When it became final.
    pub finished: Option<UnixMs>,
    /// Why it failed.
    pub failure: Option<String>,
    /// None where it was accepted up to schema 8, which did not count it.
    pub billing: Option<Billing>,
}

impl BatchRecord {
    /// Whether nothing happens to it any more.
    pub fn is_final(&self) -> bool {
        self.status == BatchStatus::Proven || self.status.is_taken_back()
    }
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// Waits for a worker.
    Ready,
    /// A worker holds it.
    Leased,
    /// Its proof is stored.
    Done,
    /// Failed for good.
    Failed,
    /// Set aside: too many workers died on it.
    Quarantined,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its name.
    pub id: TaskId,
    /// Where it is.
    pub status: TaskStatus,
    /// Fence of its newest lease; 0 before the first.
    pub fence: Fence,
    /// The worker that holds it, did it, or had it last.
    pub worker: Option<WorkerId>,
    /// Failures reported.
    pub failures: u32,
    /// Different workers that fell silent while they held it.
    pub deaths: u32,
    /// Not leased before this moment.
    pub not_before: UnixMs,
    /// `worker` gets it before this moment only if there is no other.
    pub avoid_until: UnixMs,
    /// The last failure's message.
    pub last_failure: Option<String>,
}

impl TaskRecord {
    /// A task that nobody has tried.
    pub fn new(id: TaskId) -> Self {
        Self {
            id,
            status: TaskStatus::Ready,
            fence: Fence(0),
            worker: None,
            failures: 0,
            deaths: 0,
            not_before: UnixMs(0),
            avoid_until: UnixMs(0),
            last_failure: None,
        }
    }
}

/// Name of a stored byte string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArtifactKey {
    /// What the batch's proofs state, and what L1 needs beside the root proof. Kept.
    Statement(BatchId),
    /// The accounts that the batch changed, as they were before it. Until [`super::Limits::rollback_max`] batches follow it,
    /// and it is proven.
    Undo(BatchId),
    /// Input of a shard's task. Until the batch is final: what is made from it can be made again.
    ShardInput(BatchId, u32),
    /// A shard's proof. Until the batch is final.
    ShardProof(BatchId, u32),
    /// The root proof with its accumulator. Kept.
    RootProof(BatchId),
}

/// The name under which it is stored, and told.
impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(batch) => write!(f, "{batch}-statement"),
            Self::Undo(batch) => write!(f, "{batch}-undo"),
            Self::ShardInput(batch, index) => write!(f, "{batch}-s{index}-input"),
            Self::ShardProof(batch, index) => write!(f, "{batch}-s{index}-proof"),
            Self::RootProof(batch) => write!(f, "{batch}-root-proof"),
        }
    }
}

impl ArtifactKey {
    /// Whose it is.
    pub fn batch(self) -> BatchId {
        match self {
            Self::Statement(batch)
            | Self::Undo(batch)
            | Self::ShardInput(batch, _)
            | Self::ShardProof(batch, _)
            | Self::RootProof(batch) => batch,
        }
    }
}

/// One change of the store. The changes of one step are made together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Insert or replace.
    Rollup(Box<RollupRecord>),
    /// Insert or replace, among the batches that the core knows.
    Batch(Box<BatchRecord>),
    /// Insert or replace, among those that it does not look at any more; it is none of the others from now on.
    Retire(Box<BatchRecord>),
    /// Remove one of those.
    RemoveRetired(Box<BatchRecord>),
    /// Insert or replace.
    Task(TaskRecord),
    /// Remove.
    RemoveTask(TaskId),
    /// Insert or replace.
    Artifact(ArtifactKey, Vec<u8>),
    /// Remove, if it is there.
    RemoveArtifact(ArtifactKey),
    /// Insert, replace or remove accounts of a rollup's state.
    Accounts(RollupNumber, Vec<(AccountIndex, Option<Hashed>)>),
    /// Whether no tasks are handed out.
    Paused(bool),
}
