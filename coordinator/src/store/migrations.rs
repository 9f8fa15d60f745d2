//! Stores of earlier schemas are brought to this version's at their opening, from one schema to a later one.
//!
//! Until the last commit of a migration, which writes the later schema, the store is as the earlier version left it: that
//! version may still open it, and a migration that was killed begins again. What only the earlier version needed goes after
//! that.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rules::operation::RollupId;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    Identity, SCHEMA, StoreError,
    artifacts::{Artifacts, Entry, StoreId, io_error, sync_folder},
    records::{
        ARTIFACT, BATCH, Change, IDENTITY, RETIRED, Records, START_DIGEST, STORE_ID, changes, corrupt,
        decode, encode,
    },
};
use crate::core::{
    Head, Limits,
    id::{BatchId, KeyId, RollupNumber, StateRoot, Tenant, UnixMs},
    record::{BatchRecord, BatchStatus, Billing, Operations, Wishes, Write},
    rollup::{NewRollup, RollupRecord, RollupStatus, after},
};

/// The artifacts' folder up to schema 6.
pub(super) const EARLIER_ARTIFACTS: &str = "artifacts";
/// Artifacts that are moved at once: as many are in memory.
const MOVED_AT_ONCE: usize = 16;
/// The epoch under which artifacts of before are put: that of no opening.
const EARLIER_EPOCH: u32 = 0;

/// A store that is brought to a later schema.
struct Migrating<'a> {
    records: &'a dyn Records,
    artifacts: &'a Artifacts,
    /// Where artifacts were up to schema 6, if there are such stores.
    earlier: Option<&'a Path>,
}

type Migration = fn(&Migrating<'_>) -> Result<(), StoreError>;

/// The migration from each schema to a later one.
const MIGRATIONS: [(u32, Migration); 3] = [
    (6, |store| store.objects_by_content()),
    (7, |store| store.one_rollup_of_several()),
    (8, |store| store.billing_of_each_batch()),
];
const _: () = assert!(MIGRATIONS[MIGRATIONS.len() - 1].0 + 1 == SCHEMA);

/// Brings a store to this version's schema. Nothing else of it is read before: its identity begins with its schema. `earlier` is where
/// its artifacts were up to schema 6, where there are such stores.
///
/// # Errors
/// [`StoreError::Schema`] where it is of a schema that none leads from, and what keeps a migration from going on.
pub(super) fn run(
    name: &str,
    records: &dyn Records,
    artifacts: &Artifacts,
    earlier: Option<&Path>,
) -> Result<(), StoreError> {
    let store = Migrating {
        records,
        artifacts,
        earlier,
    };
    let (mut found, _) = schema(records)?;
    while found != SCHEMA {
        let leads_on = MIGRATIONS.iter().find(|(from, _)| *from == found);
        let (from, migrate) = leads_on.ok_or_else(|| StoreError::Schema {
            store: name.into(),
            stored: found.to_string(),
        })?;
        migrate(&store)?;
        (found, _) = schema(records)?;
        assert!(found > *from, "a migration leads to a later schema");
        tracing::info!(from, to = found, "the store was brought to a later schema");
    }
    store.remove_earlier_artifacts();
    Ok(())
}

/// Refuses records of another schema, where none leads from it.
///
/// # Errors
/// [`StoreError::Schema`], and those of reading.
pub(super) fn check_schema(name: &str, records: &dyn Records) -> Result<(), StoreError> {
    match schema(records)? {
        (SCHEMA, _) => Ok(()),
        (found, _) => Err(StoreError::Schema {
            store: name.into(),
            stored: found.to_string(),
        }),
    }
}

/// The schema, and what follows it in the identity.
fn schema(records: &dyn Records) -> Result<(u32, Vec<u8>), StoreError> {
    let identity = records.get(&[IDENTITY])?;
    let identity = identity.ok_or_else(|| corrupt("the identity is missing"))?;
    match postcard::take_from_bytes::<u32>(&identity) {
        Ok((schema, rest)) => Ok((schema, rest.to_vec())),
        Err(_) => Err(corrupt("the identity does not decode")),
    }
}

impl Migrating<'_> {
    /// 6 to 7: artifacts were files named by batch and kind, in a folder of their own. They become objects that are named by their
    /// content, where the store is told to keep them.
    fn objects_by_content(&self) -> Result<(), StoreError> {
        let owner = self.owner()?;
        let Some(earlier) = self.earlier else {
            return Err(corrupt("it is of schema 6, which only folders have"));
        };
        // Nothing of it counts before it is named.
        self.artifacts.claim(owner, false)?;
        let mut changes = Vec::new();
        let entries = self.records.scan(ARTIFACT)?;
        for some in entries.chunks(MOVED_AT_ONCE) {
            let mut whole = Vec::new();
            for (key, entry) in some {
                let entry: EarlierEntry = decode("an artifact's entry", entry)?;
                let name =
                    std::str::from_utf8(&key[1..]).map_err(|_| corrupt("an artifact's name is no text"))?;
                whole.extend(entry.read(&earlier.join(name))?);
                changes.push(Change::Insert(key.clone(), encode(&entry.named())));
            }
            let whole: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
            self.artifacts.put(EARLIER_EPOCH, &whole)?.committed();
        }
        let (_, rest) = schema(self.records)?;
        let identity = [encode(&7u32), rest].concat();
        changes.push(Change::Insert(vec![IDENTITY], identity));
        self.records.commit(changes)
    }

    /// Whose the artifacts are, drawn and stored if need be.
    fn owner(&self) -> Result<StoreId, StoreError> {
        let stored = self.records.get(&[STORE_ID])?;
        if let Some(stored) = stored {
            return decode("the store's id", &stored);
        }
        let owner = StoreId::draw();
        let draw = [Change::Insert(vec![STORE_ID], encode(&owner))];
        self.records.commit(draw.into())?;
        Ok(owner)
    }

    /// Removes the files of schema 6, of which the store has copies. What cannot be removed is in nobody's way, and tried again at the
    /// next opening.
    fn remove_earlier_artifacts(&self) {
        let Some(folder) = self.earlier else { return };
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the earlier version's artifacts are left");
            }
            Ok(()) => {
                if let Err(error) = sync_folder(folder.parent().unwrap_or(Path::new("."))) {
                    tracing::warn!(%error, "the earlier version's artifacts may come back after a loss of power");
                }
            }
        }
    }
}

/// What the one rollup of a store of before is called.
const EARLIER_ROLLUP: &str = "main";

impl Migrating<'_> {
    /// 7 to 9, since what is written here is as this version has it: a store was of one rollup, and batches that nothing can happen to any more were among the others.
    fn one_rollup_of_several(&self) -> Result<(), StoreError> {
        let stored = self.records.get(&[IDENTITY])?.unwrap_or_default();
        let earlier: EarlierIdentity = decode("the identity", &stored)?;
        let digest = self.records.get(&[START_DIGEST])?;
        let digest = digest
            .map(|digest| decode("the snapshot's digest", &digest))
            .transpose()?;
        let number = RollupNumber(0);
        let batches = self.records.scan(BATCH)?;
        let batches = batches
            .iter()
            .map(|(_, batch)| Ok(decode::<EarlierBatch>("a batch", batch)?.of(number)));
        let batches = batches.collect::<Result<Vec<BatchRecord>, StoreError>>()?;
        let new = NewRollup {
            name: EARLIER_ROLLUP.into(),
            rollup_id: RollupId {
                chain_id: earlier.chain_id,
                contract: earlier.contract,
            },
            tenant: Tenant::default(),
            weight: 1,
            start: earlier.start,
            digest,
        };
        let created = batches.first().map_or(UnixMs(0), |batch| batch.accepted);
        let mut rollup = RollupRecord::new(number, new, created, RollupStatus::Live);
        let retired = retired(&batches, &mut rollup);
        let writes = batches
            .into_iter()
            .map(|batch| match retired.contains(&batch.id) {
                true => Write::Retire(Box::new(batch)),
                false => Write::Batch(Box::new(batch)),
            });
        let writes = writes.chain([Write::Rollup(Box::new(rollup))]);
        let mut all: Vec<Change> = writes
            .flat_map(|write| changes(&write, &mut std::iter::empty()))
            .collect();
        all.push(Change::Remove(vec![START_DIGEST]));
        let identity = Identity {
            schema: 9,
            ..earlier.identity
        };
        all.push(Change::Insert(vec![IDENTITY], encode(&identity)));
        self.records.commit(all)
    }
}

impl Migrating<'_> {
    /// 8 to 9: what a batch earns and posts was not counted, and stands at its record's end now.
    fn billing_of_each_batch(&self) -> Result<(), StoreError> {
        let unknown = encode(&None::<Billing>);
        let mut all = Vec::new();
        let mut add = |key: &[u8], batch: &[u8]| {
            all.push(Change::Insert(key.to_vec(), [batch, &unknown].concat()));
        };
        for kind in [BATCH, RETIRED] {
            self.records.each(kind..=kind, &mut add)?;
        }
        let (_, rest) = schema(self.records)?;
        let identity = [encode(&9u32), rest].concat();
        all.push(Change::Insert(vec![IDENTITY], identity));
        self.records.commit(all)
    }
}

/// The batches that nothing can happen to any more; what follows on those of the chain is the rollup's floor.
fn retired(batches: &[BatchRecord], rollup: &mut RollupRecord) -> BTreeSet<BatchId> {
    let (taken_back, chain): (Vec<_>, Vec<_>) =
        batches.iter().partition(|batch| batch.status.is_taken_back());
    let mut chain = chain;
    chain.sort_by_key(|batch| batch.number);
    let newest = chain.last().map_or(0, |batch| batch.number);
    let kept = Limits::default().rollback_max;
    let is_past = |batch: &&&BatchRecord| batch.is_final() && batch.number.saturating_add(kept) <= newest;
    let past: Vec<_> = chain.iter().take_while(is_past).collect();
    if let Some(last) = past.last() {
        rollup.floor = after(last);
    }
    let past = past.into_iter().map(|batch| batch.id);
    taken_back.into_iter().map(|batch| batch.id).chain(past).collect()
}

/// What a store of schema 7 was for.
#[derive(Debug, Deserialize)]
struct EarlierIdentity {
    identity: Identity,
    chain_id: u64,
    contract: [u8; 20],
    start: Head,
}

/// A batch at schema 7.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct EarlierBatch {
    id: BatchId,
    tenant: Tenant,
    request_id: String,
    sha256: [u8; 32],
    number: u64,
    keys: KeyId,
    time: u64,
    old_root: StateRoot,
    new_root: StateRoot,
    operations: Operations,
    queue_head: u64,
    shards: u32,
    shards_done: u32,
    status: BatchStatus,
    revision: u64,
    accepted: UnixMs,
    started: Option<UnixMs>,
    shards_done_at: Option<UnixMs>,
    finished: Option<UnixMs>,
    failure: Option<String>,
}

#[cfg(test)]
impl EarlierBatch {
    /// What schema 7 knew of a batch.
    pub(super) fn from(batch: BatchRecord) -> Self {
        Self {
            id: batch.id,
            tenant: batch.tenant,
            request_id: batch.request_id,
            sha256: batch.sha256,
            number: batch.number,
            keys: batch.keys,
            time: batch.time,
            old_root: batch.old_root,
            new_root: batch.new_root,
            operations: batch.operations,
            queue_head: batch.queue_head,
            shards: batch.shards,
            shards_done: batch.shards_done,
            status: batch.status,
            revision: batch.revision,
            accepted: batch.accepted,
            started: batch.started,
            shards_done_at: batch.shards_done_at,
            finished: batch.finished,
            failure: batch.failure,
        }
    }
}

impl EarlierBatch {
    /// As a batch of a rollup, of which nobody wished anything.
    fn of(self, rollup: RollupNumber) -> BatchRecord {
        BatchRecord {
            id: self.id,
            rollup,
            tenant: self.tenant,
            request_id: self.request_id,
            wishes: Wishes::default(),
            sha256: self.sha256,
            number: self.number,
            keys: self.keys,
            time: self.time,
            old_root: self.old_root,
            new_root: self.new_root,
            operations: self.operations,
            queue_head: self.queue_head,
            shards: self.shards,
            shards_done: self.shards_done,
            status: self.status,
            revision: self.revision,
            accepted: self.accepted,
            started: self.started,
            shards_done_at: self.shards_done_at,
            finished: self.finished,
            failure: self.failure,
            billing: None,
        }
    }
}

/// What the database knew of an artifact at schema 6.
#[derive(Debug, Deserialize)]
struct EarlierEntry {
    bytes: u64,
    sha256: [u8; 32],
}

impl EarlierEntry {
    /// The artifact's bytes; none, and a line in the log, where they are not there or not what was written. Its batch alone has to
    /// do with that, once it needs them.
    fn read(&self, path: &PathBuf) -> Result<Option<Vec<u8>>, StoreError> {
        let damaged = |found: String| {
            let now = self.named();
            tracing::error!(path = %path.display(), found, object = %now.object, "an artifact is damaged; restored, it is that object");
            Ok(None)
        };
        match fs::read(path) {
            Ok(bytes) if <[u8; 32]>::from(Sha256::digest(&bytes)) == self.sha256 => Ok(Some(bytes)),
            Ok(_) => damaged("changed".into()),
            Err(error) if error.kind() == ErrorKind::NotFound => damaged("missing".into()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::IsADirectory
                ) =>
            {
                damaged(format!("unreadable ({error})"))
            }
            Err(error) => Err(io_error(path)(error)),
        }
    }

    fn named(&self) -> Entry {
        Entry::named(self.bytes, self.sha256, EARLIER_EPOCH)
    }
}
