//! The store in one folder: sled for records, files for artifacts.
//!
//! All records are in one tree, so that one sled batch is one atomic change: a byte for the kind, then the key in big
//! endian, then postcard. sled acknowledges before it syncs, so each commit ends with a flush, which does.
//!
//! A new database is made beside its place and renamed into it, so that an interrupted first start leaves nothing that
//! counts. sled leaves the file of an interrupted snapshot (`snap.*.generating`) and takes it for a snapshot at the next
//! opening: it only repeats what the log has, and is removed before. After a failed write sled refuses all others until it
//! is opened anew ([`Store::recover`]).

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use circuits::account::{Account, AccountIndex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    Identity, Store, StoreError,
    artifacts::{ArtifactFolder, file_name, io_error, sync_folder},
};
use crate::core::{
    Snapshot,
    id::{KeyId, TaskId, TaskKind},
    record::{ArtifactKey, BatchRecord, TaskRecord, Write},
};

/// Memory that sled may use for its cache, bytes.
const CACHE_BYTES: u64 = 64 << 20;

/// In sled's error where its own lock is held. The store's lock is held then: it is an earlier database of this process,
/// whose last thread lets go some time after it was dropped.
const LOCKED: &str = "could not acquire lock";
/// How long that is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The database's folder in the store's.
const DATABASE: &str = "database";
/// Where a database is made before it is one.
const NEW_DATABASE: &str = "database.new";

const IDENTITY: u8 = 0;
const EPOCH: u8 = 1;
const BATCH: u8 = 2;
const TASK: u8 = 3;
const ACCOUNT: u8 = 4;
const ARTIFACT: u8 = 5;
const PAUSED: u8 = 6;

/// What the database knows of an artifact.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ArtifactEntry {
    bytes: u64,
    sha256: [u8; 32],
}

/// A store in a folder.
#[derive(Debug)]
pub struct SledStore {
    path: PathBuf,
    /// None while it is being opened anew, and after that has failed.
    database: RwLock<Option<sled::Db>>,
    artifacts: ArtifactFolder,
    epoch: u32,
    /// Held for as long as the store is open.
    _lock: File,
}

impl SledStore {
    /// Opens the store in `path`. A folder without a store becomes one, with the accounts of `genesis`.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Mismatch`] if it was made for another identity, and the others.
    pub fn open(
        path: &Path,
        identity: &Identity,
        genesis: impl Fn() -> Vec<(AccountIndex, Account)>,
    ) -> Result<Self, StoreError> {
        Self::open_after(path, identity, &[], genesis)
    }

    /// The same of a store that may have been for an identity among `previous`, whose keys are served on. It is for `identity` then.
    ///
    /// # Errors
    /// As [`SledStore::open`]; [`StoreError::KeysNeeded`] if open batches need keys that are none of these.
    pub fn open_after(
        path: &Path,
        identity: &Identity,
        previous: &[Identity],
        genesis: impl Fn() -> Vec<(AccountIndex, Account)>,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(io_error(path))?;
        let lock = lock(path)?;
        let folder = path.join(DATABASE);
        if !folder.exists() {
            create(path, identity, genesis())?;
        }
        let fail = database_error(&folder);
        let mut database = open_database(&folder)?;
        if database.is_empty() {
            // Of a first start that was interrupted before databases were made beside their place.
            drop(database);
            fs::remove_dir_all(&folder).map_err(io_error(&folder))?;
            create(path, identity, genesis())?;
            database = open_database(&folder)?;
        }
        let stored = database.get([IDENTITY]).map_err(&fail)?;
        let stored = stored.ok_or_else(|| corrupt("the identity is missing"))?;
        let stored: Identity = decode("the identity", &stored)?;
        let differs = stored
            .difference(identity)
            .filter(|_| !previous.contains(&stored));
        if let Some((field, stored, found)) = differs {
            return Err(StoreError::Mismatch {
                path: path.into(),
                field,
                stored,
                found,
            });
        }
        let epoch = database.get([EPOCH]).map_err(&fail)?;
        let epoch = epoch.ok_or_else(|| corrupt("the epoch is missing"))?;
        let epoch = decode::<u32>("the epoch", &epoch)? + 1;
        let served: Vec<KeyId> = std::iter::once(identity)
            .chain(previous)
            .map(Identity::keys)
            .collect();
        check_open_batches(path, &database, &served)?;
        database.insert([IDENTITY], encode(identity)).map_err(&fail)?;
        database.insert([EPOCH], encode(&epoch)).map_err(&fail)?;
        database.flush().map_err(&fail)?;
        let store = Self {
            artifacts: ArtifactFolder::open(path.join("artifacts"))?,
            path: path.into(),
            database: RwLock::new(Some(database)),
            epoch,
            _lock: lock,
        };
        store.artifacts.sweep(&store.listed_artifacts()?)?;
        Ok(store)
    }

    /// Calls the database, unless it is closed.
    fn with<T>(&self, call: impl FnOnce(&sled::Db) -> Result<T, sled::Error>) -> Result<T, StoreError> {
        let folder = self.path.join(DATABASE);
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || sled::Error::Io(io::Error::other("it could not be opened again yet"));
        let result = database.as_ref().ok_or_else(closed).and_then(call);
        result.map_err(database_error(&folder))
    }

    /// What is stored under keys that begin with a byte.
    fn scan(&self, kind: u8) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
        self.with(|database| database.scan_prefix([kind]).collect())
    }

    fn listed_artifacts(&self) -> Result<HashSet<String>, StoreError> {
        let entries = self.scan(ARTIFACT)?.into_iter();
        entries
            .map(|(key, _)| {
                String::from_utf8(key[1..].to_vec()).map_err(|_| corrupt("an artifact's name is no text"))
            })
            .collect()
    }

    fn all<T: DeserializeOwned>(&self, kind: u8, what: &'static str) -> Result<Vec<T>, StoreError> {
        let entries = self.scan(kind)?;
        entries.iter().map(|(_, value)| decode(what, value)).collect()
    }
}

/// Refuses a store with open batches whose keys are not served.
fn check_open_batches(path: &Path, database: &sled::Db, served: &[KeyId]) -> Result<(), StoreError> {
    let folder = path.join(DATABASE);
    let fail = database_error(&folder);
    let mut unserved = Vec::new();
    for entry in database.scan_prefix([BATCH]) {
        let batch: BatchRecord = decode("a batch", &entry.map_err(&fail)?.1)?;
        if !batch.is_final() && !served.contains(&batch.keys) {
            unserved.push(batch.keys);
        }
    }
    match unserved.first() {
        None => Ok(()),
        Some(keys) => Err(StoreError::KeysNeeded {
            path: path.into(),
            batches: unserved.len(),
            keys: *keys,
        }),
    }
}

/// Makes a database for an identity, whole or not at all.
fn create(path: &Path, identity: &Identity, genesis: Vec<(AccountIndex, Account)>) -> Result<(), StoreError> {
    let (new, folder) = (path.join(NEW_DATABASE), path.join(DATABASE));
    if new.exists() {
        fs::remove_dir_all(&new).map_err(io_error(&new))?;
    }
    let fail = database_error(&new);
    let database = open_database(&new)?;
    let mut batch = sled::Batch::default();
    batch.insert(&[IDENTITY], encode(identity));
    batch.insert(&[EPOCH], encode(&0u32));
    for (index, account) in genesis {
        batch.insert(account_key(index), encode(&account));
    }
    database.apply_batch(batch).map_err(&fail)?;
    database.flush().map_err(&fail)?;
    drop(database);
    sync_folder(&new)?;
    fs::rename(&new, &folder).map_err(io_error(&folder))?;
    sync_folder(path)
}

fn open_database(folder: &Path) -> Result<sled::Db, StoreError> {
    remove_leftovers(folder)?;
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        // Every commit flushes by itself.
        .flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains(LOCKED) && Instant::now() < deadline =>
            {
                thread::sleep(LOCK_RETRY);
            }
            opened => return opened.map_err(database_error(folder)),
        }
    }
}

/// Removes snapshots whose writing was interrupted.
fn remove_leftovers(folder: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(io_error(folder))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::info!(file = %path.display(), "removing a snapshot that was never finished");
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}

/// An error of the database in `folder`.
fn database_error(folder: &Path) -> impl Fn(sled::Error) -> StoreError {
    let path = folder.to_owned();
    move |source| match source {
        sled::Error::Corruption { .. } | sled::Error::Unsupported(_) => StoreError::DatabaseDamaged {
            path: path.clone(),
            source,
        },
        _ => StoreError::Database {
            path: path.clone(),
            source,
        },
    }
}

impl Store for SledStore {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            epoch: self.epoch,
            batches: self.all::<BatchRecord>(BATCH, "a batch")?,
            tasks: self.all::<TaskRecord>(TASK, "a task")?,
            paused: self.with(|database| database.contains_key([PAUSED]))?,
        })
    }

    fn accounts(&self) -> Result<Vec<(AccountIndex, Account)>, StoreError> {
        let entries = self.scan(ACCOUNT)?.into_iter();
        entries
            .map(|(key, value)| {
                let index = key[1..].try_into().map(u64::from_be_bytes).ok();
                let index = index.and_then(|index| AccountIndex::new(index).ok());
                let index = index.ok_or_else(|| corrupt("an account's index is out of range"))?;
                Ok((index, decode("an account", &value)?))
            })
            .collect()
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        // Files first: the database never lists one that is not there.
        self.artifacts
            .write(writes.iter().filter_map(|write| match write {
                Write::Artifact(key, bytes) => Some((*key, bytes.as_slice())),
                _ => None,
            }))?;
        let mut batch = sled::Batch::default();
        for write in writes {
            add(&mut batch, write);
        }
        self.with(|database| {
            database.apply_batch(batch)?;
            database.flush()
        })?;
        for write in writes {
            if let Write::RemoveArtifact(key) = write {
                self.artifacts.remove(*key)?;
            }
        }
        Ok(())
    }

    fn recover(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the files' lock until it is gone.
        drop(database.take());
        *database = Some(open_database(&self.path.join(DATABASE))?);
        Ok(())
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        let entry = || self.with(|database| database.get(artifact_key(key)));
        let Some(found) = entry()? else {
            return Ok(None);
        };
        let listed: ArtifactEntry = decode("an artifact's entry", &found)?;
        match self.artifacts.read(key)? {
            Some(bytes) if ArtifactEntry::of(&bytes) == listed => Ok(Some(bytes)),
            // Its removal may have come between the two reads.
            None if entry()?.is_none() => Ok(None),
            found => {
                let state = if found.is_some() { "changed" } else { "missing" };
                Err(corrupt(&format!("artifact {} is {state}", file_name(key))))
            }
        }
    }
}

impl ArtifactEntry {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
        }
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file_path: PathBuf = path.join("lock");
    let file = File::create(&file_path).map_err(io_error(&file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(io_error(&file_path)(source)),
    }
}

fn add(batch: &mut sled::Batch, write: &Write) {
    match write {
        Write::Batch(record) => batch.insert(key(BATCH, &record.id.0.to_be_bytes()), encode(record)),
        Write::Task(record) => batch.insert(task_key(record.id), encode(record)),
        Write::RemoveTask(id) => batch.remove(task_key(*id)),
        Write::Artifact(name, bytes) => batch.insert(artifact_key(*name), encode(&ArtifactEntry::of(bytes))),
        Write::RemoveArtifact(name) => batch.remove(artifact_key(*name)),
        Write::Paused(true) => batch.insert(&[PAUSED], &[]),
        Write::Paused(false) => batch.remove(&[PAUSED]),
        Write::Accounts(accounts) => {
            for (index, account) in accounts {
                batch.insert(account_key(*index), encode(account));
            }
        }
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

fn account_key(index: AccountIndex) -> Vec<u8> {
    key(ACCOUNT, &index.get().to_be_bytes())
}

fn artifact_key(name: ArtifactKey) -> Vec<u8> {
    key(ARTIFACT, file_name(name).as_bytes())
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data encodes")
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| corrupt(&format!("{what}: {error}")))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::BatchId;
    use circuits::sample::{Sample, SampleConfig};

    fn identity() -> Identity {
        Identity {
            schema: super::super::SCHEMA,
            protocol_version: 1,
            preset: "test".into(),
            srs_digest: [1; 32],
            shard_vk_digest: [2; 32],
            aggregation_vk_digest: [3; 32],
            chain_id: 4,
            contract: [5; 20],
            genesis_root: [6; 32],
        }
    }

    fn accounts() -> Vec<(AccountIndex, Account)> {
        let sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        sample
            .state()
            .accounts()
            .map(|(index, account)| (index, *account))
            .collect()
    }

    fn open(path: &Path) -> SledStore {
        SledStore::open(path, &identity(), accounts).expect("it opens")
    }

    const INPUT: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 0);

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        assert_eq!(store.accounts().expect("readable"), accounts());
        let mut changed = accounts()[0];
        changed.1.nonce += 1;
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        let gone = TaskRecord::new(TaskId::shard(BatchId(1), 3));
        let writes = [
            Write::Task(task.clone()),
            Write::Task(gone.clone()),
            Write::Artifact(INPUT, vec![9; 100_000]),
            Write::Artifact(ArtifactKey::Undo(BatchId(1)), vec![]),
            Write::Accounts(vec![changed]),
            Write::Paused(true),
        ];
        store.commit(&writes).expect("it commits");
        store
            .commit(&[
                Write::RemoveTask(gone.id),
                Write::RemoveArtifact(ArtifactKey::Undo(BatchId(1))),
            ])
            .expect("it commits");
        drop(store);
        let store = open(folder.path());
        let snapshot = store.snapshot().expect("readable");
        assert_eq!(
            snapshot,
            Snapshot {
                epoch: 2,
                batches: vec![],
                tasks: vec![task],
                paused: true,
            }
        );
        assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![9; 100_000]));
        assert_eq!(
            store.artifact(ArtifactKey::Undo(BatchId(1))).expect("readable"),
            None
        );
        let accounts = store.accounts().expect("readable");
        assert!(accounts.contains(&changed) && accounts.len() == self::accounts().len());
    }

    #[test]
    fn what_an_interrupted_start_leaves_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        // A database that was being made when the process ended.
        fs::create_dir_all(folder.path().join(NEW_DATABASE)).expect("made");
        fs::write(folder.path().join(NEW_DATABASE).join("conf"), "half").expect("written");
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        open(folder.path())
            .commit(&[Write::Task(task.clone())])
            .expect("it commits");
        // Snapshots whose writing was interrupted: empty, and cut short.
        for (name, bytes) in [
            ("snap.000000000000228E.generating", &b""[..]),
            ("snap.FFFFFFFFFFFFFFFF.generating", &[1; 40]),
        ] {
            fs::write(folder.path().join(DATABASE).join(name), bytes).expect("written");
        }
        let store = open(folder.path());
        assert_eq!(store.snapshot().expect("readable").tasks, [task]);
        let names = fs::read_dir(folder.path().join(DATABASE)).expect("readable");
        let mut names = names.map(|entry| entry.expect("readable").file_name());
        assert!(!names.any(|name| name.to_string_lossy().ends_with(".generating")));
        assert!(!folder.path().join(NEW_DATABASE).exists());
    }

    #[test]
    fn an_empty_database_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open_database(&folder.path().join(DATABASE)).expect("it opens"));
        assert_eq!(open(folder.path()).accounts().expect("readable"), accounts());
    }

    #[test]
    fn a_damaged_database_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let database = folder.path().join(DATABASE);
        let entries = fs::read_dir(&database).expect("readable");
        let snapshots = entries.map(|entry| entry.expect("readable").path());
        let snapshot = snapshots
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("snap."))
            })
            .max()
            .expect("sled keeps a snapshot");
        fs::write(&snapshot, "no snapshot").expect("written");
        let error = SledStore::open(folder.path(), &identity(), accounts).expect_err("it is damaged");
        assert!(!error.may_pass());
        let text = error.to_string();
        assert!(
            text.contains(&database.display().to_string()) && text.contains("backup"),
            "{text}"
        );
    }

    #[test]
    fn a_store_that_was_closed_is_ready_again_after_recovery() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        store.commit(&[Write::Task(task.clone())]).expect("it commits");
        drop(store.database.write().expect("not poisoned").take());
        let error = store
            .commit(&[Write::RemoveTask(task.id)])
            .expect_err("it is closed");
        assert!(error.may_pass(), "{error}");
        store.recover().expect("it opens");
        store.recover().expect("it opens though it is open");
        assert_eq!(store.snapshot().expect("readable").tasks, [task]);
    }

    #[test]
    fn a_second_opening_is_refused_while_the_first_lasts() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let second = SledStore::open(folder.path(), &identity(), accounts);
        assert!(matches!(second, Err(StoreError::InUse { path }) if path == folder.path()));
        drop(store);
        open(folder.path());
    }

    #[test]
    fn another_identity_is_refused_by_the_field_that_differs() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let same = identity();
        let others = [
            (
                "schema",
                Identity {
                    schema: 99,
                    ..same.clone()
                },
            ),
            (
                "protocol version",
                Identity {
                    protocol_version: 99,
                    ..same.clone()
                },
            ),
            (
                "preset",
                Identity {
                    preset: "other".into(),
                    ..same.clone()
                },
            ),
            (
                "reference string",
                Identity {
                    srs_digest: [99; 32],
                    ..same.clone()
                },
            ),
            (
                "shard verifying key",
                Identity {
                    shard_vk_digest: [99; 32],
                    ..same.clone()
                },
            ),
            (
                "aggregation verifying key",
                Identity {
                    aggregation_vk_digest: [99; 32],
                    ..same.clone()
                },
            ),
            (
                "chain id",
                Identity {
                    chain_id: 99,
                    ..same.clone()
                },
            ),
            (
                "contract",
                Identity {
                    contract: [99; 20],
                    ..same.clone()
                },
            ),
            (
                "genesis root",
                Identity {
                    genesis_root: [99; 32],
                    ..same.clone()
                },
            ),
        ];
        for (name, other) in others {
            match SledStore::open(folder.path(), &other, accounts) {
                Err(StoreError::Mismatch { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        open(folder.path());
    }

    #[test]
    fn files_of_a_commit_that_never_happened_are_swept_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        store
            .commit(&[Write::Artifact(INPUT, vec![1])])
            .expect("it commits");
        drop(store);
        let artifacts = folder.path().join("artifacts");
        fs::write(artifacts.join("b2-s0-input"), [2]).expect("written");
        fs::write(artifacts.join("b2-s0-input.tmp"), [2]).expect("written");
        let store = open(folder.path());
        assert_eq!(fs::read_dir(&artifacts).expect("readable").count(), 1);
        assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![1]));
    }

    #[test]
    fn an_artifact_that_changed_or_vanished_is_not_given_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        store
            .commit(&[Write::Artifact(INPUT, vec![1, 2, 3])])
            .expect("it commits");
        let path = folder.path().join("artifacts").join(file_name(INPUT));
        fs::write(&path, [1, 2, 4]).expect("written");
        let found = store.artifact(INPUT);
        assert!(
            matches!(&found, Err(StoreError::Corrupt { what }) if what.contains("changed")),
            "{found:?}"
        );
        fs::remove_file(&path).expect("removed");
        let found = store.artifact(INPUT);
        assert!(
            matches!(&found, Err(StoreError::Corrupt { what }) if what.contains("missing")),
            "{found:?}"
        );
    }
}
