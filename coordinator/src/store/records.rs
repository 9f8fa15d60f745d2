//! Where a store's records are: bytes under bytes in the order of the keys, changed together or not at all.
//!
//! A key is a byte for the kind, then what names the record, in big endian; a value is postcard.

use std::{fmt, ops::RangeInclusive};

use rules::account::{AccountIndex, Hashed};
use serde::{Serialize, de::DeserializeOwned};

use super::{StoreError, artifacts};
use crate::core::{
    id::{BatchId, RollupNumber, TaskId, TaskKind, Tenant},
    record::{ArtifactKey, BatchRecord, BatchStatus, Write},
};

pub(super) const IDENTITY: u8 = 0;
pub(super) const EPOCH: u8 = 1;
pub(super) const BATCH: u8 = 2;
pub(super) const TASK: u8 = 3;
pub(super) const ACCOUNT: u8 = 4;
pub(super) const ARTIFACT: u8 = 5;
pub(super) const PAUSED: u8 = 6;
/// Up to schema 7: the digest of the one rollup's snapshot.
pub(super) const START_DIGEST: u8 = 7;
pub(super) const STORE_ID: u8 = 8;
pub(super) const RETIRED: u8 = 9;
pub(super) const REQUEST: u8 = 10;
pub(super) const ROLLUP: u8 = 11;

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

    /// Shows the entries that there are of these keys.
    fn some(&self, keys: &[Vec<u8>], show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for key in keys {
            if let Some(value) = self.get(key)? {
                show(key, &value);
            }
        }
        Ok(())
    }

    /// Shows all entries of these kinds, in the order of their keys.
    fn each(&self, kinds: RangeInclusive<u8>, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// The last entries of a kind whose key is below `before`, the last first; at most `limit`.
    fn last(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;

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
        Write::Rollup(record) => vec![Change::Insert(rollup_key(record.number), encode(record))],
        Write::Batch(record) => vec![Change::Insert(batch_key(BATCH, record.id), encode(record))],
        Write::Retire(record) => {
            let mut changes = vec![
                Change::Remove(batch_key(BATCH, record.id)),
                Change::Insert(batch_key(RETIRED, record.id), encode(record)),
            ];
            changes.extend(request_of(record).map(|request| Change::Insert(request, encode(&record.id))));
            changes
        }
        Write::RemoveRetired(record) => {
            let mut changes = vec![Change::Remove(batch_key(RETIRED, record.id))];
            changes.extend(request_of(record).map(Change::Remove));
            changes
        }
        Write::Task(record) => vec![Change::Insert(task_key(record.id), encode(record))],
        Write::RemoveTask(id) => vec![Change::Remove(task_key(*id))],
        Write::Artifact(name, _) => {
            let entry = entries.next().expect("each artifact was put");
            vec![Change::Insert(artifact_key(*name), encode(entry))]
        }
        Write::RemoveArtifact(name) => vec![Change::Remove(artifact_key(*name))],
        Write::Paused(true) => vec![Change::Insert(vec![PAUSED], vec![])],
        Write::Paused(false) => vec![Change::Remove(vec![PAUSED])],
        Write::Accounts(rollup, accounts) => accounts
            .iter()
            .map(|(index, hashed)| match hashed {
                Some(hashed) => Change::Insert(account_key(*rollup, *index), encode(hashed)),
                None => Change::Remove(account_key(*rollup, *index)),
            })
            .collect(),
    }
}

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}

pub(super) fn rollup_key(number: RollupNumber) -> Vec<u8> {
    key(ROLLUP, &number.0.to_be_bytes())
}

/// The key of a batch among those of a kind.
pub(super) fn batch_key(kind: u8, id: BatchId) -> Vec<u8> {
    key(kind, &id.0.to_be_bytes())
}

/// The key of a request id. Each tenant of a rollup has its own.
pub(super) fn request_key(rollup: RollupNumber, tenant: &Tenant, request_id: &str) -> Vec<u8> {
    let tenant = tenant.0.as_bytes();
    // Nothing follows the request id, so that its length need not be told.
    let length = u32::try_from(tenant.len()).expect("an access file is shorter");
    let parts = [
        &[REQUEST],
        &rollup.0.to_be_bytes()[..],
        &length.to_be_bytes(),
        tenant,
        request_id.as_bytes(),
    ];
    parts.concat()
}

/// The key of the request id of a retired batch, if it names that one for good: one that was taken back has none.
fn request_of(record: &BatchRecord) -> Option<Vec<u8>> {
    let names = record.status == BatchStatus::Proven;
    names.then(|| request_key(record.rollup, &record.tenant, &record.request_id))
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

/// Bits of an account's key below those of its rollup.
const INDEX_BITS: u32 = 40;

/// A number of 64 bits: above the rollup's, below the account's, so that the accounts of a rollup follow each other.
pub(super) fn account_key(rollup: RollupNumber, index: AccountIndex) -> Vec<u8> {
    let number = u64::from(rollup.0) << INDEX_BITS | index.get();
    key(ACCOUNT, &number.to_be_bytes())
}

/// The account that an entry is, and its rollup.
pub(super) fn account_entry(
    key: &[u8],
    value: &[u8],
) -> Result<(RollupNumber, AccountIndex, Hashed), StoreError> {
    let number = key[1..].try_into().map(u64::from_be_bytes).ok();
    let parts = number.and_then(|number| {
        let rollup = RollupNumber((number >> INDEX_BITS) as u32);
        let index = AccountIndex::new(number & ((1 << INDEX_BITS) - 1)).ok()?;
        Some((rollup, index))
    });
    let (rollup, index) = parts.ok_or_else(|| corrupt("an account's index is out of range"))?;
    Ok((rollup, index, decode("an account", value)?))
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
