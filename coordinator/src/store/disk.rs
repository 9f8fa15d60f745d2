//! The store in one folder: a database for records, files for artifacts.
//!
//! All records are in one table, so that one commit is one atomic change: a byte for the kind, then the key in big endian,
//! then postcard. A new database is made beside its place and renamed into it, so that an interrupted first start leaves
//! nothing that counts. After a failed write the database refuses all others until it is opened anew ([`Store::recover`]).

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use rules::{
    account::{AccountIndex, Hashed},
    state::{State, StateBuilder},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    Identity, Store, StoreError,
    artifacts::{ArtifactFolder, file_name, io_error, sync_folder},
    database::{Change, Database, Entry, is_damage},
};
use crate::core::{
    Head, Snapshot,
    id::{KeyId, TaskId, TaskKind},
    record::{ArtifactKey, BatchRecord, TaskRecord, Write},
};

/// The database in the store's folder.
const DATABASE: &str = "database.redb";
/// The artifacts' folder.
const ARTIFACTS: &str = "artifacts";
/// Where a database is made before it is one.
const NEW_DATABASE: &str = "database.redb.new";
/// The database's folder in stores of schemas 1 to 3, which were kept by sled.
const SLED_DATABASE: &str = "database";

const IDENTITY: u8 = 0;
const EPOCH: u8 = 1;
const BATCH: u8 = 2;
const TASK: u8 = 3;
const ACCOUNT: u8 = 4;
const ARTIFACT: u8 = 5;
const PAUSED: u8 = 6;
const START_DIGEST: u8 = 7;

/// What the database knows of an artifact.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ArtifactEntry {
    bytes: u64,
    sha256: [u8; 32],
}

/// A store in a folder.
#[derive(Debug)]
pub struct DiskStore {
    path: PathBuf,
    /// None while it is being opened anew, and after that has failed.
    database: RwLock<Option<Database>>,
    artifacts: ArtifactFolder,
    epoch: u32,
    /// Held for as long as the store is open.
    _lock: File,
}

/// What a store begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStart {
    /// What its first batch follows.
    pub start: Head,
    /// SHA-256 of the snapshot that it was opened with last; none where there was none.
    pub digest: Option<[u8; 32]>,
}

/// A store's folder that is this process's, before it is known what is asked of it.
#[derive(Debug)]
pub struct Opening {
    path: PathBuf,
    /// None where the store is yet to be made.
    database: Option<Database>,
    artifacts: ArtifactFolder,
    lock: File,
}

impl Opening {
    /// Takes the folder `path`, making it if need be.
    ///
    /// # Errors
    /// [`StoreError::InUse`], and what keeps a store from being read.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        let lock = lock(path)?;
        let artifacts = ArtifactFolder::open(path.join(ARTIFACTS))?;
        let file = path.join(DATABASE);
        let database = match file.exists() {
            true => {
                let database = Database::open(&file).map_err(database_error(&file))?;
                check_schema(path, &database)?;
                Some(database)
            }
            false => {
                refuse_sled(path)?;
                refuse_orphans(&file, &artifacts)?;
                None
            }
        };
        Ok(Self {
            path: path.into(),
            database,
            artifacts,
            lock,
        })
    }

    /// What the store begins with; none where it is yet to be made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn start(&self) -> Result<Option<KnownStart>, StoreError> {
        let Some(database) = &self.database else {
            return Ok(None);
        };
        let stored = database.get(&[START_DIGEST]).map_err(self.fail())?;
        let digest = stored
            .map(|stored| decode("the snapshot's digest", &stored))
            .transpose()?;
        let start = self.identity(database)?.start;
        Ok(Some(KnownStart { start, digest }))
    }

    /// Opens the store for an identity, or for one that follows those among `previous`, whose keys are served on. One that is not there
    /// yet is made, with the accounts of `first`. `digest` is that of their snapshot.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if it was made for another identity; [`StoreError::KeysNeeded`] if open batches need keys that are none of
    /// these; and the others.
    pub fn complete(
        mut self,
        identity: &Identity,
        previous: &[Identity],
        first: impl FnOnce() -> State,
        digest: Option<[u8; 32]>,
    ) -> Result<DiskStore, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                create(&self.path, identity, &first())?;
                Database::open(&self.path.join(DATABASE)).map_err(self.fail())?
            }
        };
        // The artifacts' folder must be there as surely as what is in it.
        sync_folder(&self.path)?;
        let stored = self.identity(&database)?;
        let differs = stored
            .difference(identity)
            .filter(|_| !previous.contains(&stored));
        if let Some((field, stored, found)) = differs {
            return Err(StoreError::Mismatch {
                path: self.path,
                field,
                stored,
                found,
            });
        }
        let epoch = database.get(&[EPOCH]).map_err(self.fail())?;
        let epoch = epoch.ok_or_else(|| corrupt("the epoch is missing"))?;
        let epoch = decode::<u32>("the epoch", &epoch)? + 1;
        let served: Vec<KeyId> = std::iter::once(identity)
            .chain(previous)
            .map(Identity::keys)
            .collect();
        check_open_batches(&self.path, &database, &served)?;
        let opened = [
            Change::Insert(vec![IDENTITY], encode(identity)),
            Change::Insert(vec![EPOCH], encode(&epoch)),
            match digest {
                Some(digest) => Change::Insert(vec![START_DIGEST], encode(&digest)),
                None => Change::Remove(vec![START_DIGEST]),
            },
        ];
        database.commit(opened).map_err(self.fail())?;
        let store = DiskStore {
            artifacts: self.artifacts,
            path: self.path,
            database: RwLock::new(Some(database)),
            epoch,
            _lock: self.lock,
        };
        let listed = store.listed_artifacts()?;
        store.artifacts.sweep(&listed)?;
        Ok(store)
    }

    fn identity(&self, database: &Database) -> Result<Identity, StoreError> {
        let stored = database.get(&[IDENTITY]).map_err(self.fail())?;
        let stored = stored.ok_or_else(|| corrupt("the identity is missing"))?;
        decode("the identity", &stored)
    }

    fn fail(&self) -> impl Fn(redb::Error) -> StoreError + use<> {
        database_error(&self.path.join(DATABASE))
    }
}

impl DiskStore {
    /// Opens the store in `path`. A folder without a store becomes one, with the accounts of `first`.
    ///
    /// # Errors
    /// As [`Opening::begin`] and [`Opening::complete`].
    pub fn open(path: &Path, identity: &Identity, first: impl FnOnce() -> State) -> Result<Self, StoreError> {
        Opening::begin(path)?.complete(identity, &[], first, None)
    }

    /// Calls the database, unless it is closed.
    fn with<T>(&self, call: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || io::Error::other("it could not be opened again yet").into();
        let result = database.as_ref().ok_or_else(closed).and_then(call);
        result.map_err(database_error(&self.path.join(DATABASE)))
    }

    /// What is stored under keys that begin with a byte.
    fn scan(&self, kind: u8) -> Result<Vec<Entry>, StoreError> {
        self.with(|database| database.scan(kind))
    }

    /// The names of the artifacts that should be there. One that is not is told, and its batch's concern when it is needed; none
    /// at all is the sign of a folder that was lost. What is in them is compared when they are read.
    fn listed_artifacts(&self) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        let mut missing = 0;
        for (key, entry) in self.scan(ARTIFACT)? {
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
            let folder = self.path.join(ARTIFACTS);
            return Err(corrupt(&format!(
                "{} holds none of its {missing} artifacts; restore the store from a backup",
                folder.display()
            )));
        }
        Ok(names)
    }

    fn all<T: DeserializeOwned>(&self, kind: u8, what: &'static str) -> Result<Vec<T>, StoreError> {
        let entries = self.scan(kind)?;
        entries.iter().map(|(_, value)| decode(what, value)).collect()
    }
}

/// Refuses a store with open batches whose keys are not served.
fn check_open_batches(path: &Path, database: &Database, served: &[KeyId]) -> Result<(), StoreError> {
    let entries = database
        .scan(BATCH)
        .map_err(database_error(&path.join(DATABASE)))?;
    let mut unserved = Vec::new();
    for (_, value) in entries {
        let batch: BatchRecord = decode("a batch", &value)?;
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

/// Makes a folder, if need be with those above it, so that it survives a loss of power.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_folder(above)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io_error(path)(error)),
        _ => {}
    }
    sync_folder(above.unwrap_or(Path::new(".")))
}

/// Refuses a database of another version, before anything else of it is read: its identity begins with its schema.
fn check_schema(path: &Path, database: &Database) -> Result<(), StoreError> {
    let identity = database
        .get(&[IDENTITY])
        .map_err(database_error(&path.join(DATABASE)))?;
    let identity = identity.ok_or_else(|| corrupt("the identity is missing"))?;
    match postcard::take_from_bytes::<u32>(&identity) {
        Ok((super::SCHEMA, _)) => Ok(()),
        Ok((stored, _)) => Err(StoreError::Schema {
            path: path.into(),
            stored: stored.to_string(),
        }),
        Err(_) => Err(corrupt("the identity does not decode")),
    }
}

/// Refuses the database of an earlier version, beside which a new one would begin anew.
fn refuse_sled(path: &Path) -> Result<(), StoreError> {
    if !path.join(SLED_DATABASE).exists() {
        return Ok(());
    }
    Err(StoreError::Schema {
        path: path.into(),
        stored: "3 or below".into(),
    })
}

/// Refuses to begin anew beside the artifacts of a database that is gone: they would be swept away.
fn refuse_orphans(file: &Path, artifacts: &ArtifactFolder) -> Result<(), StoreError> {
    if artifacts.is_empty()? {
        return Ok(());
    }
    Err(corrupt(&format!(
        "{} is missing, but artifacts are there; restore the store from a backup, or move its whole folder away to begin anew",
        file.display()
    )))
}

/// Makes a database for an identity, whole or not at all.
fn create(path: &Path, identity: &Identity, first: &State) -> Result<(), StoreError> {
    let (new, file) = (path.join(NEW_DATABASE), path.join(DATABASE));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(&new)(error)),
        _ => {}
    }
    let about = [
        Change::Insert(vec![IDENTITY], encode(identity)),
        Change::Insert(vec![EPOCH], encode(&0u32)),
    ];
    let accounts = first.hashed();
    let accounts = accounts.map(|(index, hashed)| Change::Insert(account_key(index), encode(&hashed)));
    let entries = about.into_iter().chain(accounts);
    Database::create(&new, entries).map_err(database_error(&new))?;
    fs::rename(&new, &file).map_err(io_error(&file))
}

/// An error of the database in `file`.
fn database_error(file: &Path) -> impl Fn(redb::Error) -> StoreError + use<> {
    let path = file.to_owned();
    move |source| {
        let path = path.clone();
        match source {
            source if is_damage(&source) => StoreError::DatabaseDamaged {
                path,
                source: Box::new(source),
            },
            redb::Error::Io(source) => StoreError::Io { path, source },
            source => StoreError::Database {
                path,
                source: Box::new(source),
            },
        }
    }
}

impl Store for DiskStore {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            epoch: self.epoch,
            batches: self.all::<BatchRecord>(BATCH, "a batch")?,
            tasks: self.all::<TaskRecord>(TASK, "a task")?,
            paused: self.with(|database| database.get(&[PAUSED]))?.is_some(),
        })
    }

    fn state(&self) -> Result<State, StoreError> {
        let mut state = StateBuilder::default();
        let mut damage = None;
        self.with(|database| {
            database.each(ACCOUNT, |key, value| match account_entry(key, value) {
                Ok((index, hashed)) => drop(state.add(index, hashed)),
                Err(error) => damage = damage.take().or(Some(error)),
            })
        })?;
        match damage {
            Some(error) => Err(error),
            None => Ok(state.build()),
        }
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
        self.with(|database| database.commit(writes.iter().flat_map(changes)))?;
        for write in writes {
            if let Write::RemoveArtifact(key) = write {
                self.artifacts.remove(*key)?;
            }
        }
        Ok(())
    }

    fn recover(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the file's lock until it is gone.
        drop(database.take());
        let file = self.path.join(DATABASE);
        *database = Some(Database::open(&file).map_err(database_error(&file))?);
        Ok(())
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        let entry = || self.with(|database| database.get(&artifact_key(key)));
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

/// What a write changes in the database.
fn changes(write: &Write) -> Vec<Change> {
    match write {
        Write::Batch(record) => vec![Change::Insert(
            key(BATCH, &record.id.0.to_be_bytes()),
            encode(record),
        )],
        Write::Task(record) => vec![Change::Insert(task_key(record.id), encode(record))],
        Write::RemoveTask(id) => vec![Change::Remove(task_key(*id))],
        Write::Artifact(name, bytes) => {
            vec![Change::Insert(
                artifact_key(*name),
                encode(&ArtifactEntry::of(bytes)),
            )]
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

fn account_key(index: AccountIndex) -> Vec<u8> {
    key(ACCOUNT, &index.get().to_be_bytes())
}

/// The account that an entry of the database is.
fn account_entry(key: &[u8], value: &[u8]) -> Result<(AccountIndex, Hashed), StoreError> {
    let index = key[1..].try_into().map(u64::from_be_bytes).ok();
    let index = index.and_then(|index| AccountIndex::new(index).ok());
    let index = index.ok_or_else(|| corrupt("an account's index is out of range"))?;
    Ok((index, decode("an account", value)?))
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
    use crate::core::id::{BatchId, StateRoot};
    use rules::account::hashed;
    use rules::operation::RollupId;
    use rules::sample::{Draw, Mix, Sample, SampleConfig};
    use rules::witness::Shape;

    fn identity() -> Identity {
        Identity {
            schema: super::super::SCHEMA,
            protocol_version: 2,
            preset: "test".into(),
            srs_digest: [1; 32],
            shard_vk_digest: [2; 32],
            aggregation_vk_digest: [3; 32],
            chain_id: 4,
            contract: [5; 20],
            start: START,
        }
    }

    const START: Head = Head {
        root: StateRoot([6; 32]),
        next_number: 7,
        time: 8,
        queue_head: 9,
    };

    fn first() -> State {
        let config = SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        };
        let mut sample = Sample::new(config);
        let draw = Draw {
            shape: Shape { places: 25, rooms: 5 },
            queued: 3,
            signed: 0,
            mix: Mix::All,
        };
        let rollup_id = RollupId {
            chain_id: 4,
            contract: [5; 20],
        };
        sample.batch(rollup_id, 1, draw);
        sample.state().clone()
    }

    fn accounts() -> Vec<(AccountIndex, Hashed)> {
        first().hashed().collect()
    }

    fn stored(store: &DiskStore) -> Vec<(AccountIndex, Hashed)> {
        let state = store.state().expect("readable");
        let rebuilt = State::from_accounts(state.accounts().map(|(index, account)| (index, *account)));
        assert_eq!(state.root(), rebuilt.root());
        state.hashed().collect()
    }

    fn open(path: &Path) -> DiskStore {
        DiskStore::open(path, &identity(), first).expect("it opens")
    }

    const INPUT: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 0);

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        assert_eq!(stored(&store), accounts());
        let (index, mut account) = (accounts()[0].0, accounts()[0].1.account);
        account.nonce += 1;
        let made = AccountIndex::new((1 << 32) + 100).expect("in range");
        let changed = hashed(&[(index, Some(account)), (made, Some(account))]);
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        let gone = TaskRecord::new(TaskId::shard(BatchId(1), 3));
        let writes = [
            Write::Task(task.clone()),
            Write::Task(gone.clone()),
            Write::Artifact(INPUT, vec![9; 100_000]),
            Write::Artifact(ArtifactKey::Undo(BatchId(1)), vec![]),
            Write::Accounts(changed),
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
        let state = store.state().expect("readable");
        assert_eq!(state.accounts().len(), accounts().len() + 1);
        assert_eq!(state.get(index), Some(&account));
        assert_eq!(state.get(made), Some(&account));
        // What was made can be taken back.
        let before = Write::Accounts(vec![(made, None), (index, Some(accounts()[0].1))]);
        store.commit(&[before]).expect("it commits");
        assert_eq!(stored(&store), accounts());
    }

    #[test]
    fn what_an_interrupted_start_leaves_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let new = folder.path().join(NEW_DATABASE);
        fs::write(&new, "half").expect("written");
        assert_eq!(stored(&open(folder.path())), accounts());
        assert!(!new.exists());
    }

    #[test]
    fn a_database_of_an_earlier_version_is_refused_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let earlier = folder.path().join(SLED_DATABASE);
        fs::create_dir(&earlier).expect("made");
        match DiskStore::open(folder.path(), &identity(), first) {
            Err(StoreError::Schema { stored, .. }) => assert_eq!(stored, "3 or below"),
            other => panic!("{other:?}"),
        }
        assert!(earlier.exists() && !folder.path().join(DATABASE).exists());
    }

    /// What schema 5 had for an identity: a genesis' root at its end, which does not read as what is there now.
    #[test]
    fn a_store_of_another_schema_is_refused_before_anything_of_it_is_read() {
        for schema in [5, super::super::SCHEMA + 1] {
            let folder = tempfile::tempdir().expect("a folder");
            drop(open(folder.path()));
            let file = folder.path().join(DATABASE);
            let other = (schema, 1u32, "test", [1u8; 32], [2u8; 32]);
            let database = Database::open(&file).expect("it opens");
            let write = [Change::Insert(vec![IDENTITY], encode(&other))];
            database.commit(write).expect("it commits");
            drop(database);
            let refused = DiskStore::open(folder.path(), &identity(), first).map(drop);
            let Err(StoreError::Schema { stored, .. }) = &refused else {
                panic!("{refused:?}");
            };
            assert_eq!(*stored, schema.to_string());
            let text = refused.expect_err("it is refused").to_string();
            assert!(
                text.contains("this version has 6") && text.contains("--snapshot"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_store_knows_what_it_began_with_and_the_digest_of_its_snapshot() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = || Opening::begin(folder.path()).expect("it is free");
        assert_eq!(begin().start().expect("nothing is there"), None);
        for digest in [Some([3; 32]), None, Some([4; 32])] {
            let opened = begin().complete(&identity(), &[], first, digest);
            drop(opened.expect("it opens"));
            let known = KnownStart { start: START, digest };
            assert_eq!(begin().start().expect("readable"), Some(known));
        }
    }

    #[test]
    fn artifacts_without_their_database_are_left_and_the_start_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let input = Write::Artifact(INPUT, vec![9; 100]);
        store.commit(&[input]).expect("it commits");
        drop(store);
        fs::remove_file(folder.path().join(DATABASE)).expect("removed");
        let opened = DiskStore::open(folder.path(), &identity(), first);
        let text = opened.map(drop).expect_err("it is gone").to_string();
        assert!(text.contains(DATABASE) && text.contains("backup"), "{text}");
        let input = folder.path().join("artifacts").join(file_name(INPUT));
        assert_eq!(fs::read(input).expect("it is left"), [9; 100]);
    }

    #[test]
    fn a_store_opens_without_some_artifacts_and_not_without_all() {
        const OTHER: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 1);
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let writes = [INPUT, OTHER].map(|key| Write::Artifact(key, vec![9; 100]));
        store.commit(&writes).expect("it commits");
        drop(store);
        let file = |key| folder.path().join(ARTIFACTS).join(file_name(key));
        let damaged = |store: &DiskStore, state: &str| {
            let text = store.artifact(INPUT).expect_err(state).to_string();
            let named = text.contains(&file(INPUT).display().to_string());
            assert!(named && text.contains(state), "{text}");
            assert_eq!(store.artifact(OTHER).expect("readable"), Some(vec![9; 100]));
        };
        fs::write(file(INPUT), [9; 99]).expect("written");
        damaged(&open(folder.path()), "changed");
        fs::remove_file(file(INPUT)).expect("removed");
        damaged(&open(folder.path()), "missing");
        fs::create_dir(file(INPUT)).expect("made");
        let store = open(folder.path());
        damaged(&store, "unreadable");
        store.commit(&[Write::RemoveArtifact(INPUT)]).expect("it is left");
        assert_eq!(store.artifact(INPUT).expect("readable"), None);
        let again = Write::Artifact(INPUT, vec![9; 100]);
        let error = store.commit(&[again]).expect_err("a folder is in the way");
        assert!(
            error.may_pass() && error.to_string().contains("s0-input"),
            "{error}"
        );
        drop(store);
        drop(open(folder.path()));
        fs::remove_dir(file(INPUT)).expect("removed");
        let store = open(folder.path());
        store
            .commit(&[Write::Artifact(INPUT, vec![9; 100])])
            .expect("it commits");
        drop(store);
        fs::remove_file(file(INPUT)).expect("removed");
        fs::remove_file(file(OTHER)).expect("removed");
        let refused = DiskStore::open(folder.path(), &identity(), first);
        let text = refused.map(drop).expect_err("all are gone").to_string();
        assert!(text.contains(ARTIFACTS) && text.contains("backup"), "{text}");
        fs::write(file(INPUT), [9; 100]).expect("written");
        assert_eq!(
            open(folder.path()).artifact(INPUT).expect("readable"),
            Some(vec![9; 100])
        );
    }

    #[test]
    fn a_damaged_database_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let file = folder.path().join(DATABASE);
        let whole = fs::read(&file).expect("readable");
        let damaged = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).expect("written");
            let opened = DiskStore::open(folder.path(), &identity(), first);
            let error = opened.map(drop).expect_err(what);
            assert!(!error.may_pass(), "{what}: {error}");
            let text = error.to_string();
            let named = text.contains(&file.display().to_string()) && text.contains("backup");
            assert!(named, "{what}: {text}");
        };
        damaged(b"", "empty");
        damaged(b"no database", "another file");
        damaged(&whole[..whole.len() / 2], "cut short");
        // Where the accounts lie: their digest is noticed, not their form.
        let key = encode(&accounts()[0].1);
        let at = whole.windows(key.len()).position(|window| window == key);
        let mut flipped = whole.clone();
        flipped[at.expect("it is stored") + 1] ^= 1;
        damaged(&flipped, "a changed account");
        fs::write(&file, &whole).expect("written");
        assert_eq!(stored(&open(folder.path())), accounts());
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
        let second = DiskStore::open(folder.path(), &identity(), first);
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
                "first state's root",
                Identity {
                    start: Head {
                        root: StateRoot([99; 32]),
                        ..START
                    },
                    ..same.clone()
                },
            ),
            (
                "first batch number",
                Identity {
                    start: Head {
                        next_number: 99,
                        ..START
                    },
                    ..same.clone()
                },
            ),
            (
                "time before its first batch",
                Identity {
                    start: Head { time: 99, ..START },
                    ..same.clone()
                },
            ),
            (
                "queue head before its first batch",
                Identity {
                    start: Head {
                        queue_head: 99,
                        ..START
                    },
                    ..same.clone()
                },
            ),
        ];
        for (name, other) in others {
            match DiskStore::open(folder.path(), &other, first) {
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
            matches!(&found, Err(StoreError::Artifact { found, .. }) if found == "changed"),
            "{found:?}"
        );
        fs::remove_file(&path).expect("removed");
        let found = store.artifact(INPUT);
        assert!(
            matches!(&found, Err(StoreError::Artifact { found, .. }) if found == "missing"),
            "{found:?}"
        );
    }
}
