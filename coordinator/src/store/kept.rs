//! The store over records and artifacts, wherever these are.

use std::{collections::BTreeMap, sync::Arc};

use rules::{
    account::{Account, AccountIndex},
    state::{State, StateBuilder},
};

use super::{
    Identity, Store, StoreError,
    artifacts::{Artifacts, Collected, Entry, ReadError, StoreId},
    records::{
        ACCOUNT, ARTIFACT, BATCH, Change, EPOCH, Entry as Record, IDENTITY, PAUSED, RETIRED, ROLLUP, Records,
        Room, STORE_ID, TASK, account_entry, account_key, artifact_key, batch_key, changes, corrupt, decode,
        encode, request_key, rollup_key,
    },
};
use crate::core::{
    Snapshot,
    id::{BatchId, KeyId, RollupNumber, Tenant},
    record::{ArtifactKey, BatchRecord, Write},
    rollup::RollupRecord,
};

/// Accounts of one rollup that are read in one go.
const ACCOUNTS_AT_ONCE: usize = 10_000;

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
    /// Its name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rollups that the store has, those that are gone too; none where it is yet to be made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rollups(&self) -> Result<Option<Vec<RollupRecord>>, StoreError> {
        let Found::Records(records) = &self.records else {
            return Ok(None);
        };
        rollups(&**records).map(Some)
    }

    /// Opens the store for an identity, or for one that follows those among `previous`, whose keys are served on. One that is not there
    /// yet is made, with `first`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if it was made for another identity; [`StoreError::KeysNeeded`] if open batches need keys that are none of
    /// these; and the others.
    pub fn complete(
        self,
        identity: &Identity,
        previous: &[Identity],
        first: impl FnOnce() -> Option<(RollupRecord, State)>,
    ) -> Result<KeptStore, StoreError> {
        let records = match self.records {
            Found::Records(records) => records,
            Found::Room(room) => fill(room, identity, first())?,
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

/// The rollups that there are, and were.
fn rollups(records: &dyn Records) -> Result<Vec<RollupRecord>, StoreError> {
    let rollups = records.scan(ROLLUP)?;
    let rollups = rollups.iter().map(|(_, rollup)| decode("a rollup", rollup));
    rollups.collect()
}

/// The key that follows the last account of a rollup.
fn after_accounts(rollup: RollupNumber) -> Vec<u8> {
    match rollup.0 + 1 {
        RollupNumber::MAX => vec![ACCOUNT + 1],
        next => account_key(RollupNumber(next), AccountIndex::NONE),
    }
}

fn batch((_, value): &Record) -> Result<BatchRecord, StoreError> {
    decode("a batch", value)
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
    /// Its name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state of one rollup, after the last batch of its chain.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn state(&self, rollup: RollupNumber) -> Result<State, StoreError> {
        self.state_by(rollup, ACCOUNTS_AT_ONCE)
    }

    /// The same, so many accounts at once.
    pub(crate) fn state_by(&self, rollup: RollupNumber, at_once: usize) -> Result<State, StoreError> {
        let (mut before, mut accounts) = (after_accounts(rollup), Vec::new());
        loop {
            let found = self.records.last(ACCOUNT, &before, at_once)?;
            for (key, value) in &found {
                let (of, index, hashed) = account_entry(key, value)?;
                if of == rollup {
                    accounts.push((index, hashed));
                }
            }
            match found.into_iter().next_back() {
                Some((key, value)) if account_entry(&key, &value)?.0 == rollup => before = key,
                _ => break,
            }
        }
        let mut state = StateBuilder::default();
        for (index, hashed) in accounts.into_iter().rev() {
            state.add(index, hashed);
        }
        Ok(state.build())
    }

    /// What is stored of these accounts of a rollup.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn accounts(
        &self,
        rollup: RollupNumber,
        indices: &[AccountIndex],
    ) -> Result<Vec<(AccountIndex, Option<Account>)>, StoreError> {
        let keys: Vec<_> = indices.iter().map(|index| account_key(rollup, *index)).collect();
        let mut found = BTreeMap::new();
        let mut damage = None;
        self.records
            .some(&keys, &mut |key, value| match account_entry(key, value) {
                Ok((_, index, hashed)) => drop(found.insert(index, hashed.account)),
                Err(error) => damage = damage.take().or(Some(error)),
            })?;
        let accounts = indices.iter().map(|index| (*index, found.remove(index)));
        damage.map_or_else(|| Ok(accounts.collect()), Err)
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
fn fill(
    room: Box<dyn Room>,
    identity: &Identity,
    first: Option<(RollupRecord, State)>,
) -> Result<Box<dyn Records>, StoreError> {
    let about = [
        Change::Insert(vec![IDENTITY], encode(identity)),
        Change::Insert(vec![EPOCH], encode(&0u32)),
        Change::Insert(vec![STORE_ID], encode(&StoreId::draw())),
    ];
    let rollup = first.iter().map(|(rollup, _)| rollup);
    let rollup = rollup.map(|rollup| Change::Insert(rollup_key(rollup.number), encode(rollup)));
    let accounts = first.iter().flat_map(|(rollup, state)| {
        let accounts = state.hashed();
        accounts.map(|(index, hashed)| Change::Insert(account_key(rollup.number, index), encode(&hashed)))
    });
    room.fill(&mut about.into_iter().chain(rollup).chain(accounts))
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
        if let Some(damage) = damage {
            return Err(damage);
        }
        // After the batches: rollups never go, so that no batch is seen without its own.
        snapshot.rollups = rollups(&*self.records)?;
        let is_there = |batch: &BatchRecord| {
            let mut rollups = snapshot.rollups.iter();
            rollups.any(|rollup| rollup.number == batch.rollup)
        };
        if let Some(batch) = snapshot.batches.iter().find(|batch| !is_there(batch)) {
            let what = format!("the rollup of batch {} is missing", batch.id);
            return Err(corrupt(&what));
        }
        let last = self.records.last(RETIRED, &[RETIRED + 1], 1)?;
        snapshot.last_retired = last.first().map_or(Ok(BatchId(0)), |last| Ok(batch(last)?.id))?;
        Ok(snapshot)
    }

    fn states(&self) -> Result<BTreeMap<RollupNumber, State>, StoreError> {
        let mut states = BTreeMap::new();
        // They come rollup by rollup.
        let mut building: Option<(RollupNumber, StateBuilder)> = None;
        let mut damage = None;
        let mut add = |key: &[u8], value: &[u8]| match account_entry(key, value) {
            Ok((rollup, index, hashed)) => {
                if let Some((before, state)) = building.take_if(|(before, _)| *before != rollup) {
                    states.insert(before, state.build());
                }
                let (_, state) = building.get_or_insert_with(|| (rollup, StateBuilder::default()));
                state.add(index, hashed);
            }
            Err(error) => damage = damage.take().or(Some(error)),
        };
        self.records.each(ACCOUNT..=ACCOUNT, &mut add)?;
        if let Some((rollup, state)) = building {
            states.insert(rollup, state.build());
        }
        damage.map_or(Ok(states), Err)
    }

    fn accounts_of(&self, rollup: RollupNumber, limit: usize) -> Result<Vec<AccountIndex>, StoreError> {
        let found = self.records.last(ACCOUNT, &after_accounts(rollup), limit)?;
        let mut accounts = Vec::with_capacity(found.len());
        for (key, value) in &found {
            let (of, index, _) = account_entry(key, value)?;
            if of != rollup {
                break;
            }
            accounts.push(index);
        }
        Ok(accounts)
    }

    fn retired(&self, id: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        let found = self.records.get(&batch_key(RETIRED, id))?;
        found.map(|found| decode("a batch", &found)).transpose()
    }

    fn retired_before(&self, before: BatchId, limit: usize) -> Result<Vec<BatchRecord>, StoreError> {
        let found = self.records.last(RETIRED, &batch_key(RETIRED, before), limit)?;
        found.iter().map(batch).collect()
    }

    fn requested(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
    ) -> Result<Option<BatchRecord>, StoreError> {
        let found = self.records.get(&request_key(rollup, tenant, request_id))?;
        let id = found
            .map(|found| decode("a request's batch", &found))
            .transpose()?;
        id.map_or(Ok(None), |id| self.retired(id))
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
