//! Names of batches, tasks, callers, sessions and moments.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A rollup, numbered in the order of creation from 0 and never again: below [`RollupNumber::MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RollupNumber(pub u32);

/// A batch, numbered in the order of acceptance from 1 and never again. Written `b17`.
///
/// It is not the batch's number in the rollup: a cancelled batch's number is given again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// What a task proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskKind {
    /// One shard.
    Shard,
    /// The aggregation of a batch's shards.
    Aggregation,
}

impl TaskKind {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Shard, Self::Aggregation];
    /// Their names.
    pub const NAMES: [&str; 2] = ["shard", "aggregation"];

    /// A word for it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A task. Written `b17-s3` for a shard, `b17-a` for the aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// Its batch.
    pub batch: BatchId,
    /// What it proves.
    pub kind: TaskKind,
    /// Place of the shard in the batch, from 0. 0 for the aggregation.
    pub index: u32,
}

/// A worker's session, numbered from 1 within one run of the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Number of a lease of a task, from 1; each lease of a task has a greater one than those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixMs(pub u64);

/// A state root: a field element, 32 bytes, big endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRoot(pub [u8; 32]);

/// An identity that a caller has proven, by its name. Nobody's where callers prove none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Principal(pub String);

/// Whose batches are one's own: one or several principals. Without a name where callers prove no identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tenant(pub String);

/// A worker: the name that it gives itself, within the identity that it has proven. Written as its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId {
    /// The identity.
    pub principal: Principal,
    /// The name.
    pub name: String,
}

/// Whose word counts once, under however many names: an identity; or a name, where callers prove no identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// Who has proven to be it.
    Identity(Principal),
    /// What somebody says to be called.
    Name(String),
}

/// A set of circuits, by the digests of their verifying keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// Of the shard circuit.
    pub shard_vk: [u8; 32],
    /// Of the aggregation circuit.
    pub aggregation_vk: [u8; 32],
}

/// A run of a worker's program, by a number that it draws at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance(pub std::num::NonZeroU64);

/// A text that names no batch or task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this service")]
pub struct UnknownId;

impl RollupNumber {
    /// One more than the greatest: a number has 24 bits.
    pub const MAX: u32 = 1 << 24;
}

impl UnixMs {
    /// This moment and `ms` milliseconds.
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `self` until `later`; 0 if that is past.
    pub fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

impl TaskId {
    /// The task of shard `index`.
    pub fn shard(batch: BatchId, index: u32) -> Self {
        Self {
            batch,
            kind: TaskKind::Shard,
            index,
        }
    }

    /// The aggregation of `batch`.
    pub fn aggregation(batch: BatchId) -> Self {
        Self {
            batch,
            kind: TaskKind::Aggregation,
            index: 0,
        }
    }
}

impl WorkerId {
    /// Whose word this worker's is.
    pub fn witness(&self) -> Witness {
        match self.principal.0.is_empty() {
            true => Witness::Name(self.name.clone()),
            false => Witness::Identity(self.principal.clone()),
        }
    }
}

impl Witness {
    /// Whether it has been proven who it is.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity(_))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "anybody" } else { &self.0 })
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, aggregation) = (hex::encode(self.shard_vk), hex::encode(self.aggregation_vk));
        write!(f, "0x{shard} (shard) and 0x{aggregation} (aggregation)")
    }
}

impl fmt::Display for StateRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Display for RollupNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TaskKind::Shard => write!(f, "{}-s{}", self.batch, self.index),
            TaskKind::Aggregation => write!(f, "{}-a", self.batch),
        }
    }
}

/// Decimal digits without a leading zero or sign, so that an id has one spelling.
fn number<N: FromStr + fmt::Display>(text: &str) -> Result<N, UnknownId> {
    let number = text.parse::<N>().map_err(|_| UnknownId)?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(UnknownId)
    }
}

impl FromStr for BatchId {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        text.strip_prefix('b').ok_or(UnknownId).and_then(number).map(Self)
    }
}

impl FromStr for TaskId {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        let (batch, task) = text.split_once('-').ok_or(UnknownId)?;
        let batch = batch.parse()?;
        match task.strip_prefix('s') {
            Some(index) => Ok(Self::shard(batch, number(index)?)),
            None if task == "a" => Ok(Self::aggregation(batch)),
            None => Err(UnknownId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [
            TaskId::shard(BatchId(17), 0),
            TaskId::shard(BatchId(1), 31),
            TaskId::aggregation(BatchId(2)),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.batch.to_string().parse(), Ok(id.batch));
        }
        for bad in [
            "", "b", "b-", "b1", "b01-a", "b1-s", "b1-s+1", "b1-s01", "b1-b", "1-a", "b1-a ",
        ] {
            assert_eq!(bad.parse::<TaskId>(), Err(UnknownId), "{bad}");
        }
    }
}
