//! The store over records and artifacts, wherever these are.

use std::sync::Arc;

use rules::state::{State, StateBuilder};

use super::{
    Identity, Store, StoreError,
    artifacts::{Artifacts, Collected, Entry, ReadError, StoreId},
    records::{
        ACCOUNT, ARTIFACT, BATCH, Change, EPOCH, IDENTITY, PAUSED, Records, Room, START_DIGEST, STORE_ID,
        TASK, account_entry, account_key, artifact_key, changes, corrupt, decode, encode,
    },
};
use crate::core::{
    Head, Snapshot,
    id::KeyId,
    record::{ArtifactKey, BatchRecord, Write},
};

/// A store that is open.
#[derive(Debug)]
pub struct KeptStore {
    /// Its name in errors.
    pub(super) name: String,
    pub(super) records: Box<dyn Records>,
    pub(super) artifacts: Arc<Artifacts>,
    /// Whose these are.
    pub(super) owner: StoreId,
    pub(super) epoch: u32,
    /// Whether it is this process that writes.
    pub(super) writes: bool,
}

/// What a store begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStart {
    /// What its first batch follows.
    pub start: Head,
    /// SHA-256 of the snapshot that it was opened with last; none where there was none.
    pub digest: Option<[u8; 32]>,
}

/// A store that is this process's, before it is known what is asked of it.
#[derive(Debug)]
pub struct Opening {
    /// Its name in errors.
    pub(super) name: String,
    pub(super) records: Found,
    pub(super) artifacts: Arc<Artifacts>,
}

/// What is there of a store.
#[derive(Debug)]
pub(super) enum Found {
    /// Its records.
    Records(Box<dyn Records>),
    /// Nothing yet.
    Room(Box<dyn Room>),
}

impl Opening {
    /// What the store begins with; none where it is yet to be made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn start(&self) -> Result<Option<KnownStart>, StoreError> {
        let Found::Records(records) = &self.records else {
            return Ok(None);
        };
        known_start(&**records).map(Some)
    }

    /// Opens the store for an identity, or for one that follows those among `previous`, whose keys are served on. One that is not there
    /// yet is made, with the accounts of `first`. `digest` is that of their snapshot.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if it was made for another identity; [`StoreError::KeysNeeded`] if open batches need keys that are none of
    /// these; and the others.
    pub fn complete(
        self,
        identity: &Identity,
        previous: &[Identity],
        first: impl FnOnce() -> State,
        digest: Option<[u8; 32]>,
    ) -> Result<KeptStore, StoreError> {
        let records = match self.records {
            Found::Records(records) => records,
            Found::Room(room) => fill(room, identity, &first())?,
        };
        check_identity(&self.name, &*records, identity, previous)?;
        let epoch = epoch(&*records)? + 1;
        let served: Vec<KeyId> = std::iter::once(identity)
            .chain(previous)
            .map(Identity::keys)
            .collect();
        check_open_batches(&self.name, &*records, &served)?;
        let owner = owner(&*records)?;
        self.artifacts.claim(owner, records.has(ARTIFACT)?)?;
        records.commit(vec![
            Change::Insert(vec![IDENTITY], encode(identity)),
            Change::Insert(vec![EPOCH], encode(&epoch)),
            match digest {
                Some(digest) => Change::Insert(vec![START_DIGEST], encode(&digest)),
                None => Change::Remove(vec![START_DIGEST]),
            },
        ])?;
        Ok(KeptStore {
            name: self.name,
            records,
            artifacts: self.artifacts,
            owner,
            epoch,
            writes: true,
        })
    }
}

/// What a store begins with, whose identity is there.
pub(super) fn known_start(records: &dyn Records) -> Result<KnownStart, StoreError> {
    let stored = records.get(&[START_DIGEST])?;
    let digest = stored
        .map(|stored| decode("the snapshot's digest", &stored))
        .transpose()?;
    let start = identity(records)?.start;
    Ok(KnownStart { start, digest })
}

/// Refuses a store of another identity than these.
pub(super) fn check_identity(
    store: &str,
    records: &dyn Records,
    expected: &Identity,
    previous: &[Identity],
) -> Result<(), StoreError> {
    let stored = identity(records)?;
    let differs = stored
        .difference(expected)
        .filter(|_| !previous.contains(&stored));
    match differs {
        None => Ok(()),
        Some((field, stored, found)) => Err(StoreError::Mismatch {
            store: store.into(),
            field,
            stored,
            found,
        }),
    }
}

/// Whose the store's artifacts are.
pub(super) fn owner(records: &dyn Records) -> Result<StoreId, StoreError> {
    let owner = records.get(&[STORE_ID])?;
    let owner = owner.ok_or_else(|| corrupt("the store's id is missing"))?;
    decode("the store's id", &owner)
}

/// How often the store was opened.
pub(super) fn epoch(records: &dyn Records) -> Result<u32, StoreError> {
    let epoch = records.get(&[EPOCH])?;
    let epoch = epoch.ok_or_else(|| corrupt("the epoch is missing"))?;
    decode("the epoch", &epoch)
}

impl KeptStore {
    /// What its first batch follows.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn start(&self) -> Result<Head, StoreError> {
        Ok(identity(&*self.records)?.start)
    }

    /// Refuses a store of another identity than these.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`], and the others.
    pub fn check(&self, expected: &Identity, previous: &[Identity]) -> Result<(), StoreError> {
        check_identity(&self.name, &*self.records, expected, previous)
    }

    /// Refuses where another coordinator writes: only that one may name objects of its epoch, or collect them.
    fn check_writes(&self) -> Result<(), StoreError> {
        match self.writes {
            true => Ok(()),
            false => Err(StoreError::StandsBy {
                store: self.name.clone(),
            }),
        }
    }

    /// The entry of an artifact.
    fn entry(&self, key: ArtifactKey) -> Result<Option<Entry>, StoreError> {
        let found = self.records.get(&artifact_key(key))?;
        found
            .map(|found| decode("an artifact's entry", &found))
            .transpose()
    }
}

fn identity(records: &dyn Records) -> Result<Identity, StoreError> {
    let stored = records.get(&[IDENTITY])?;
    let stored = stored.ok_or_else(|| corrupt("the identity is missing"))?;
    decode("the identity", &stored)
}

/// Makes the records of a new store.
fn fill(room: Box<dyn Room>, identity: &Identity, first: &State) -> Result<Box<dyn Records>, StoreError> {
    let about = [
        Change::Insert(vec![IDENTITY], encode(identity)),
        Change::Insert(vec![EPOCH], encode(&0u32)),
        Change::Insert(vec![STORE_ID], encode(&StoreId::draw())),
    ];
    let accounts = first.hashed();
    let accounts = accounts.map(|(index, hashed)| Change::Insert(account_key(index), encode(&hashed)));
    room.fill(&mut about.into_iter().chain(accounts))
}

/// Refuses a store with open batches whose keys are not served.
fn check_open_batches(store: &str, records: &dyn Records, served: &[KeyId]) -> Result<(), StoreError> {
    let mut unserved = Vec::new();
    for (_, value) in records.scan(BATCH)? {
        let batch: BatchRecord = decode("a batch", &value)?;
        if !batch.is_final() && !served.contains(&batch.keys) {
            unserved.push(batch.keys);
        }
    }
    match unserved.first() {
        None => Ok(()),
        Some(keys) => Err(StoreError::KeysNeeded {
            store: store.into(),
            batches: unserved.len(),
            keys: *keys,
        }),
    }
}

impl Store for KeptStore {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let paused = self.records.get(&[PAUSED])?.is_some();
        let mut snapshot = Snapshot {
            epoch: self.epoch,
            paused,
            ..Snapshot::default()
        };
        let mut damage = None;
        // Together, so that no task is seen without its batch where another process writes.
        self.records.each(BATCH..=TASK, &mut |key, value| {
            let read = match key[0] {
                BATCH => decode("a batch", value).map(|batch| snapshot.batches.push(batch)),
                _ => decode("a task", value).map(|task| snapshot.tasks.push(task)),
            };
            damage = damage.take().or(read.err());
        })?;
        damage.map_or(Ok(snapshot), Err)
    }

    fn state(&self) -> Result<State, StoreError> {
        let mut state = StateBuilder::default();
        let mut damage = None;
        let mut add = |key: &[u8], value: &[u8]| match account_entry(key, value) {
            Ok((index, hashed)) => drop(state.add(index, hashed)),
            Err(error) => damage = damage.take().or(Some(error)),
        };
        self.records.each(ACCOUNT..=ACCOUNT, &mut add)?;
        match damage {
            Some(error) => Err(error),
            None => Ok(state.build()),
        }
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let artifacts: Vec<&[u8]> = writes
            .iter()
            .filter_map(|write| match write {
                Write::Artifact(_, bytes) => Some(bytes.as_slice()),
                _ => None,
            })
            .collect();
        self.check_writes()?;
        // Objects first: the records never name one that is not there.
        let put = self.artifacts.put(self.epoch, &artifacts)?;
        let mut entries = put.entries().iter();
        let changes = writes.iter().flat_map(|write| changes(write, &mut entries));
        self.records.commit(changes.collect())?;
        put.committed();
        Ok(())
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.records.recover()?;
        self.artifacts.check(self.owner)
    }

    fn is_current(&self) -> bool {
        self.records.is_current()
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        let mut listed = self.entry(key)?;
        loop {
            let Some(entry) = listed else {
                return Ok(None);
            };
            match self.artifacts.read(self.owner, &entry) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(ReadError::Store(error)) => return Err(error),
                Err(ReadError::Damaged { object, found }) => {
                    // It may have been removed or replaced, and collected, since the entry was read.
                    listed = self.entry(key)?;
                    if listed == Some(entry) {
                        return Err(StoreError::Artifact {
                            artifact: key,
                            object,
                            found,
                        });
                    }
                }
            }
        }
    }

    fn put(&self, artifacts: &[&[u8]]) -> Result<(), StoreError> {
        if artifacts.is_empty() {
            return Ok(());
        }
        self.check_writes()?;
        self.artifacts.put(self.epoch, artifacts).map(drop)
    }

    fn collect(&self) -> Result<(), StoreError> {
        self.check_writes()?;
        let named = || {
            let entries = self.records.scan(ARTIFACT)?;
            let entries = entries.iter();
            entries
                .map(|(_, entry)| decode::<Entry>("an artifact's entry", entry))
                .collect()
        };
        let collected = self.artifacts.collect(self.owner, self.epoch, named)?;
        if collected != Collected::default() {
            tracing::info!(?collected, "artifacts that nothing needs were looked for");
        }
        Ok(())
    }

    fn location(&self, key: ArtifactKey) -> Result<Option<String>, StoreError> {
        let entry = self.entry(key)?;
        Ok(entry.map(|entry| self.artifacts.location(&entry)))
    }
}
