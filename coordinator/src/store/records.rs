//! Where a store's records are: bytes under bytes in the order of the keys, changed together or not at all.
//!
//! A key is a byte for the kind, then what names the record, in big endian; a value is postcard.

use std::{fmt, ops::RangeInclusive};

use rules::account::{AccountIndex, Hashed};
use serde::{Serialize, de::DeserializeOwned};

use super::{StoreError, artifacts};
use crate::core::{
    id::{TaskId, TaskKind},
    record::{ArtifactKey, Write},
};

pub(super) const IDENTITY: u8 = 0;
pub(super) const EPOCH: u8 = 1;
pub(super) const BATCH: u8 = 2;
pub(super) const TASK: u8 = 3;
pub(super) const ACCOUNT: u8 = 4;
pub(super) const ARTIFACT: u8 = 5;
pub(super) const PAUSED: u8 = 6;
pub(super) const START_DIGEST: u8 = 7;
pub(super) const STORE_ID: u8 = 8;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// One change of a commit.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Insert or replace.
    Insert(Vec<u8>, Vec<u8>),
    /// Remove, if it is there.
    Remove(Vec<u8>),
}

/// Records that this process may change.
pub(super) trait Records: fmt::Debug + Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows all entries of these kinds, in the order of their keys.
    fn each(&self, kinds: RangeInclusive<u8>, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// Makes all changes or none, in their order. When it returns, they survive a loss of power. Where it fails, it is not known
    /// whether they were made.
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Whether nobody else can have written since this process did.
    fn is_current(&self) -> bool;

    /// Makes ready again what has failed by an error that may pass.
    fn recover(&self) -> Result<(), StoreError>;
}

/// A place for records that has none yet.
pub(super) trait Room: fmt::Debug + Send {
    /// Makes the first records, all or none.
    fn fill(self: Box<Self>, first: &mut dyn Iterator<Item = Change>)
    -> Result<Box<dyn Records>, StoreError>;
}

impl dyn Records + '_ {
    /// All entries whose key begins with `kind`, in the order of their keys.
    pub(super) fn scan(&self, kind: u8) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        self.each(kind..=kind, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()))
        })?;
        Ok(entries)
    }

    /// Whether there is an entry whose key begins with `kind`.
    pub(super) fn has(&self, kind: u8) -> Result<bool, StoreError> {
        let mut has = false;
        self.each(kind..=kind, &mut |_, _| has = true)?;
        Ok(has)
    }
}

/// What a write changes. An artifact takes the next of the entries.
pub(super) fn changes<'a>(
    write: &Write,
    entries: &mut impl Iterator<Item = &'a artifacts::Entry>,
) -> Vec<Change> {
    match write {
        Write::Batch(record) => vec![Change::Insert(
            key(BATCH, &record.id.0.to_be_bytes()),
            encode(record),
        )],
        Write::Task(record) => vec![Change::Insert(task_key(record.id), encode(record))],
        Write::RemoveTask(id) => vec![Change::Remove(task_key(*id))],
        Write::Artifact(name, _) => {
            let entry = entries.next().expect("each artifact was put");
            vec![Change::Insert(artifact_key(*name), encode(entry))]
        }
        Write::RemoveArtifact(name) => vec![Change::Remove(artifact_key(*name))],
        Write::Paused(true) => vec![Change::Insert(vec![PAUSED], vec![])],
        Write::Paused(false) => vec![Change::Remove(vec![PAUSED])],
        Write::Accounts(accounts) => accounts
            .iter()
            .map(|(index, hashed)| match hashed {
                Some(hashed) => Change::Insert(account_key(*index), encode(hashed)),
                None => Change::Remove(account_key(*index)),
            })
            .collect(),
    }
}

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}

fn task_key(id: TaskId) -> Vec<u8> {
    let kind = match id.kind {
        TaskKind::Shard => 0,
        TaskKind::Aggregation => 1,
    };
    [
        &[TASK],
        &id.batch.0.to_be_bytes()[..],
        &[kind],
        &id.index.to_be_bytes(),
    ]
    .concat()
}

pub(super) fn account_key(index: AccountIndex) -> Vec<u8> {
    key(ACCOUNT, &index.get().to_be_bytes())
}

/// The account that an entry is.
pub(super) fn account_entry(key: &[u8], value: &[u8]) -> Result<(AccountIndex, Hashed), StoreError> {
    let index = key[1..].try_into().map(u64::from_be_bytes).ok();
    let index = index.and_then(|index| AccountIndex::new(index).ok());
    let index = index.ok_or_else(|| corrupt("an account's index is out of range"))?;
    Ok((index, decode("an account", value)?))
}

pub(super) fn artifact_key(name: ArtifactKey) -> Vec<u8> {
    key(ARTIFACT, name.to_string().as_bytes())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data encodes")
}

pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| corrupt(&format!("{what}: {error}")))
}

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { what: what.into() }
}
