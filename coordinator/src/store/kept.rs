//! The store over records and artifacts, wherever these are.

use std::collections::HashSet;

use rules::state::{State, StateBuilder};

use super::{
    Identity, SCHEMA, Store, StoreError,
    artifacts::{ArtifactFolder, file_name},
    records::{
        ACCOUNT, ARTIFACT, ArtifactEntry, BATCH, Change, EPOCH, IDENTITY, PAUSED, Records, Room,
        START_DIGEST, TASK, account_entry, account_key, artifact_key, changes, corrupt, decode, encode,
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
    pub(super) artifacts: ArtifactFolder,
    pub(super) epoch: u32,
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
    pub(super) artifacts: ArtifactFolder,
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
        records.commit(vec![
            Change::Insert(vec![IDENTITY], encode(identity)),
            Change::Insert(vec![EPOCH], encode(&epoch)),
            match digest {
                Some(digest) => Change::Insert(vec![START_DIGEST], encode(&digest)),
                None => Change::Remove(vec![START_DIGEST]),
            },
        ])?;
        let store = KeptStore {
            name: self.name,
            records,
            artifacts: self.artifacts,
            epoch,
        };
        let listed = store.listed_artifacts()?;
        store.artifacts.sweep(&listed)?;
        Ok(store)
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

    /// The names of the artifacts that should be there. One that is not is told, and its batch's concern when it is needed; none
    /// at all is the sign of a folder that was lost. What is in them is compared when they are read.
    fn listed_artifacts(&self) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        let mut missing = 0;
        for (key, entry) in self.records.scan(ARTIFACT)? {
            let name =
                String::from_utf8(key[1..].to_vec()).map_err(|_| corrupt("an artifact's name is no text"))?;
            let entry: ArtifactEntry = decode("an artifact's entry", &entry)?;
            let found = self.artifacts.length(&name)?;
            if found != Some(entry.bytes) {
                let error = self.artifacts.damaged(&name, found.is_some());
                tracing::error!(%error, "what was stored of a batch is damaged");
                missing += usize::from(found.is_none());
            }
            names.insert(name);
        }
        if missing > 1 && missing == names.len() {
            return Err(corrupt(&format!(
                "{} holds none of its {missing} artifacts; restore the store from a backup",
                self.artifacts.path().display()
            )));
        }
        Ok(names)
    }
}

/// Refuses records of another version, before anything else of them is read: their identity begins with its schema.
pub(super) fn check_schema(store: &str, records: &dyn Records) -> Result<(), StoreError> {
    let identity = records.get(&[IDENTITY])?;
    let identity = identity.ok_or_else(|| corrupt("the identity is missing"))?;
    match postcard::take_from_bytes::<u32>(&identity) {
        Ok((SCHEMA, _)) => Ok(()),
        Ok((stored, _)) => Err(StoreError::Schema {
            store: store.into(),
            stored: stored.to_string(),
        }),
        Err(_) => Err(corrupt("the identity does not decode")),
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
        // Artifacts first: the records never list one that is not there.
        self.artifacts
            .write(writes.iter().filter_map(|write| match write {
                Write::Artifact(key, bytes) => Some((*key, bytes.as_slice())),
                _ => None,
            }))?;
        self.records.commit(writes.iter().flat_map(changes).collect())?;
        let mut seen = HashSet::new();
        for write in writes.iter().rev() {
            match write {
                Write::Artifact(key, _) => drop(seen.insert(*key)),
                Write::RemoveArtifact(key) if seen.insert(*key) => self.artifacts.remove(*key)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.records.recover()
    }

    fn is_current(&self) -> bool {
        self.records.is_current()
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        let entry = || self.records.get(&artifact_key(key));
        let mut listed = entry()?;
        loop {
            let Some(found) = listed else {
                return Ok(None);
            };
            let expected: ArtifactEntry = decode("an artifact's entry", &found)?;
            let file = self.artifacts.read(key)?;
            match file {
                Some(bytes) if ArtifactEntry::of(&bytes) == expected => return Ok(Some(bytes)),
                file => {
                    // It may have been removed or replaced between the two reads.
                    listed = entry()?;
                    if listed.as_ref() == Some(&found) {
                        return Err(self.artifacts.damaged(&file_name(key), file.is_some()));
                    }
                }
            }
        }
    }
}
