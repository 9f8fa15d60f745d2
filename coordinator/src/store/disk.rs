//! The store in one folder: a database for records, and objects for artifacts, there or elsewhere.
//!
//! A new database is made beside its place and renamed into it, so that an interrupted first start leaves nothing that counts. After a
//! failed write the database refuses all others until it is opened anew ([`Records::recover`]).

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rules::state::State;

use super::{
    Identity, StoreError,
    artifacts::{ArtifactOptions, Artifacts, OWN_FOLDER, io_error, make_folder, sync_folder},
    database::{Database, is_damage},
    kept::{Found, KeptStore, Opening},
    migrations::{self, EARLIER_ARTIFACTS},
    records::{Change, Entry, Records, Room, corrupt},
};
use crate::core::rollup::RollupRecord;

/// The database in the store's folder.
const DATABASE: &str = "database.redb";
/// Where a database is made before it is one.
const NEW_DATABASE: &str = "database.redb.new";
/// The database's folder in stores of schemas 1 to 3, which were kept by sled.
const SLED_DATABASE: &str = "database";

/// A database in a folder that is this process's.
#[derive(Debug)]
struct Embedded {
    path: PathBuf,
    /// None while it is being opened anew, and after that has failed.
    database: RwLock<Option<Database>>,
    /// Held for as long as the store is open.
    _lock: Arc<File>,
}

/// A folder of this process's where no database is yet.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    lock: Arc<File>,
}

impl Opening {
    /// Takes the folder `path`, making it if need be. A store of an earlier schema is brought to this one's.
    ///
    /// # Errors
    /// [`StoreError::InUse`], and what keeps a store from being read.
    pub fn begin(path: &Path, artifacts: &ArtifactOptions) -> Result<Self, StoreError> {
        make_folder(path)?;
        let lock = Arc::new(lock(path)?);
        let name = path.display().to_string();
        let is_there = path.join(DATABASE).exists();
        if !is_there {
            refuse_sled(path)?;
            refuse_orphans(path)?;
        }
        let artifacts = Arc::new(Artifacts::open(artifacts, path)?);
        let records = match is_there {
            true => {
                let embedded = Embedded::open(path, lock)?;
                migrations::run(&name, &embedded, &artifacts, Some(&path.join(EARLIER_ARTIFACTS)))?;
                // What was renamed into the folder, or made in it, by a start that was killed.
                sync_folder(path)?;
                Found::Records(Box::new(embedded))
            }
            false => {
                let path = path.into();
                Found::Room(Box::new(Folder { path, lock }))
            }
        };
        Ok(Self {
            name,
            records,
            artifacts,
        })
    }
}

impl KeptStore {
    /// Opens the store in `path`. A folder without a store becomes one, with `first`, if there is one.
    ///
    /// # Errors
    /// As [`Opening::begin`] and [`Opening::complete`].
    pub fn open(
        path: &Path,
        identity: &Identity,
        first: impl FnOnce() -> Option<(RollupRecord, State)>,
    ) -> Result<Self, StoreError> {
        Opening::begin(path, &ArtifactOptions::default())?.complete(identity, &[], first)
    }
}

/// The records of the store in a folder, which no process uses; none where there is no store.
pub(super) fn records(path: &Path) -> Result<Option<Box<dyn Records>>, StoreError> {
    if !path.join(DATABASE).exists() {
        return Ok(None);
    }
    let embedded = Embedded::open(path, Arc::new(lock(path)?))?;
    Ok(Some(Box::new(embedded)))
}

/// A folder for the records of a backup, made if need be; none where there is a store.
pub(super) fn room(path: &Path) -> Result<Option<Box<dyn Room>>, StoreError> {
    make_folder(path)?;
    let lock = Arc::new(lock(path)?);
    if path.join(DATABASE).exists() || path.join(SLED_DATABASE).exists() {
        return Ok(None);
    }
    let path = path.into();
    Ok(Some(Box::new(Folder { path, lock })))
}

impl Embedded {
    fn open(path: &Path, lock: Arc<File>) -> Result<Self, StoreError> {
        let file = path.join(DATABASE);
        let database = Database::open(&file).map_err(database_error(&file))?;
        Ok(Self {
            path: path.into(),
            database: RwLock::new(Some(database)),
            _lock: lock,
        })
    }

    /// Calls the database, unless it is closed.
    fn with<T>(&self, call: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || io::Error::other("it could not be opened again yet").into();
        let result = database.as_ref().ok_or_else(closed).and_then(call);
        result.map_err(database_error(&self.path.join(DATABASE)))
    }
}

impl Records for Embedded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|database| database.get(key))
    }

    fn each(&self, kinds: RangeInclusive<u8>, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.with(|database| database.each(kinds, show))
    }

    fn last(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.with(|database| database.last(kind, before, limit))
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.with(|database| database.commit(changes))
    }

    fn is_current(&self) -> bool {
        true
    }

    fn recover(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the file's lock until it is gone.
        drop(database.take());
        let file = self.path.join(DATABASE);
        *database = Some(Database::open(&file).map_err(database_error(&file))?);
        Ok(())
    }
}

impl Room for Folder {
    fn fill(
        self: Box<Self>,
        first: &mut dyn Iterator<Item = Change>,
    ) -> Result<Box<dyn Records>, StoreError> {
        let (new, file) = (self.path.join(NEW_DATABASE), self.path.join(DATABASE));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(&new)(error)),
            _ => {}
        }
        Database::create(&new, first).map_err(database_error(&new))?;
        fs::rename(&new, &file).map_err(io_error(&file))?;
        let records = Embedded::open(&self.path, self.lock)?;
        sync_folder(&self.path)?;
        Ok(Box::new(records))
    }
}

/// Refuses the database of an earlier version, beside which a new one would begin anew.
fn refuse_sled(path: &Path) -> Result<(), StoreError> {
    if !path.join(SLED_DATABASE).exists() {
        return Ok(());
    }
    Err(StoreError::Schema {
        store: path.display().to_string(),
        stored: "3 or below".into(),
    })
}

/// Refuses to begin anew beside the artifacts of a database that is gone: they would be collected.
fn refuse_orphans(path: &Path) -> Result<(), StoreError> {
    for folder in [OWN_FOLDER, EARLIER_ARTIFACTS] {
        let folder = path.join(folder);
        let is_empty = match fs::read_dir(&folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(io_error(&folder)(error)),
        };
        if !is_empty {
            return Err(corrupt(&format!(
                "{} is missing, but artifacts are there; restore the store from a backup, or move its whole folder away to begin anew",
                path.join(DATABASE).display()
            )));
        }
    }
    Ok(())
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

fn lock(path: &Path) -> Result<File, StoreError> {
    let file_path: PathBuf = path.join("lock");
    let file = File::create(&file_path).map_err(io_error(&file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(io_error(&file_path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::{slice, time::Duration};

    use super::super::{
        Location, SCHEMA, Store as _,
        conformance::{START, a_batch, first, first_state, identity},
        migrations::EarlierBatch,
        records::{
            ARTIFACT, BATCH, IDENTITY, RETIRED, ROLLUP, START_DIGEST, STORE_ID, batch_key, decode, encode,
        },
    };
    use super::*;
    use crate::core::{
        Limits, Snapshot,
        id::{BatchId, RollupNumber, TaskId, Tenant, UnixMs},
        record::{ArtifactKey, BatchRecord, BatchStatus, Billing, TaskRecord, Write},
        rollup::after,
        simulation::some_rollup,
    };
    use rules::{
        account::{AccountIndex, Hashed, TokenId, hashed},
        gas::Posted,
    };

    fn accounts() -> Vec<(AccountIndex, Hashed)> {
        first_state().hashed().collect()
    }

    fn the_state(store: &KeptStore) -> State {
        let mut states = store.states().expect("readable");
        assert_eq!(states.len(), 1);
        states.remove(&MAIN).expect("the first rollup's")
    }

    fn stored(store: &KeptStore) -> Vec<(AccountIndex, Hashed)> {
        let state = the_state(store);
        let rebuilt = State::from_accounts(state.accounts().map(|(index, account)| (index, *account)));
        assert_eq!(state.root(), rebuilt.root());
        state.hashed().collect()
    }

    fn open(path: &Path) -> KeptStore {
        KeptStore::open(path, &identity(), first).expect("it opens")
    }

    const MAIN: RollupNumber = RollupNumber(0);
    const INPUT: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 0);

    /// The file of an artifact.
    fn file(store: &KeptStore, key: ArtifactKey) -> PathBuf {
        store
            .location(key)
            .expect("readable")
            .expect("it is listed")
            .into()
    }

    /// A store whose artifacts go at once when nothing names them.
    fn open_hasty(path: &Path) -> KeptStore {
        let options = ArtifactOptions {
            retention: Duration::ZERO,
            ..ArtifactOptions::default()
        };
        let opening = Opening::begin(path, &options).expect("it begins");
        opening.complete(&identity(), &[], first).expect("it opens")
    }

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
            Write::Accounts(MAIN, changed),
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
                rollups: vec![some_rollup(0, START)],
                last_retired: BatchId(0),
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
        let state = the_state(&store);
        assert_eq!(state.accounts().len(), accounts().len() + 1);
        assert_eq!(state.get(index), Some(&account));
        assert_eq!(state.get(made), Some(&account));
        // What was made can be taken back.
        let before = Write::Accounts(MAIN, vec![(made, None), (index, Some(accounts()[0].1))]);
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
        match KeptStore::open(folder.path(), &identity(), first) {
            Err(StoreError::Schema { stored, .. }) => assert_eq!(stored, "3 or below"),
            other => panic!("{other:?}"),
        }
        assert!(earlier.exists() && !folder.path().join(DATABASE).exists());
    }

    /// What schema 5 had for an identity: a genesis' root at its end, which does not read as what is there now.
    #[test]
    fn a_store_of_another_schema_is_refused_before_anything_of_it_is_read() {
        for schema in [5, SCHEMA + 1] {
            let folder = tempfile::tempdir().expect("a folder");
            drop(open(folder.path()));
            let file = folder.path().join(DATABASE);
            let other = (schema, 1u32, "test", [1u8; 32], [2u8; 32]);
            let database = Database::open(&file).expect("it opens");
            let write = [Change::Insert(vec![IDENTITY], encode(&other))];
            database.commit(write).expect("it commits");
            drop(database);
            let refused = KeptStore::open(folder.path(), &identity(), first).map(drop);
            let Err(StoreError::Schema { stored, .. }) = &refused else {
                panic!("{refused:?}");
            };
            assert_eq!(*stored, schema.to_string());
            let text = refused.expect_err("it is refused").to_string();
            assert!(
                text.contains("this version has 9") && text.contains("--snapshot"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_store_knows_its_rollups_before_it_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = || Opening::begin(folder.path(), &ArtifactOptions::default()).expect("it is free");
        assert_eq!(begin().rollups().expect("nothing is there"), None);
        // It may begin with none.
        let opened = begin().complete(&identity(), &[], || None);
        let store = opened.expect("it opens");
        assert!(store.states().expect("readable").is_empty());
        assert_eq!(store.snapshot().expect("readable").rollups, []);
        let made = [some_rollup(0, START), some_rollup(1, START)];
        let writes = made.clone().map(|rollup| Write::Rollup(Box::new(rollup)));
        store.commit(&writes).expect("it commits");
        drop(store);
        assert_eq!(begin().rollups().expect("readable"), Some(made.to_vec()));
    }

    #[test]
    fn a_batch_without_its_rollup_is_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let batch = BatchRecord {
            rollup: RollupNumber(9),
            ..a_batch(BatchId(1))
        };
        let write = [Write::Batch(Box::new(batch))];
        store.commit(&write).expect("it commits");
        let text = store.snapshot().expect_err("there is no such rollup").to_string();
        assert!(text.contains("rollup of batch b1 is missing"), "{text}");
    }

    #[test]
    fn artifacts_without_their_database_are_left_and_the_start_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let input = Write::Artifact(INPUT, vec![9; 100]);
        store.commit(&[input]).expect("it commits");
        let input = file(&store, INPUT);
        drop(store);
        fs::remove_file(folder.path().join(DATABASE)).expect("removed");
        let opened = KeptStore::open(folder.path(), &identity(), first);
        let text = opened.map(drop).expect_err("it is gone").to_string();
        assert!(text.contains(DATABASE) && text.contains("backup"), "{text}");
        assert_eq!(fs::read(input).expect("it is left"), [9; 100]);
    }

    #[test]
    fn a_store_opens_without_some_artifacts_and_not_without_all() {
        const OTHER: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 1);
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let writes = [(INPUT, 9), (OTHER, 8)].map(|(key, byte)| Write::Artifact(key, vec![byte; 100]));
        store.commit(&writes).expect("it commits");
        let (input, other) = (file(&store, INPUT), file(&store, OTHER));
        drop(store);
        let damaged = |store: &KeptStore, state: &str| {
            let text = store.artifact(INPUT).expect_err(state).to_string();
            let named = text.contains(&input.display().to_string()) && text.contains("b1-s0-input");
            assert!(named && text.contains(state), "{text}");
            assert_eq!(store.artifact(OTHER).expect("readable"), Some(vec![8; 100]));
        };
        fs::write(&input, [9; 99]).expect("written");
        damaged(&open(folder.path()), "changed");
        fs::remove_file(&input).expect("removed");
        damaged(&open(folder.path()), "missing");
        fs::create_dir(&input).expect("made");
        let store = open_hasty(folder.path());
        damaged(&store, "unreadable");
        store.commit(&[Write::RemoveArtifact(INPUT)]).expect("it commits");
        assert_eq!(store.artifact(INPUT).expect("readable"), None);
        store.collect().expect("a folder is none of its objects");
        assert!(input.is_dir());
        // What is put in this opening has another name.
        store
            .commit(&[Write::Artifact(INPUT, vec![9; 100])])
            .expect("it commits");
        assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![9; 100]));
        let again = file(&store, INPUT);
        fs::remove_file(&again).expect("removed");
        fs::create_dir(&again).expect("made");
        let error = store
            .commit(&[Write::Artifact(INPUT, vec![9; 100])])
            .expect_err("a folder is in the way");
        let text = error.to_string();
        assert!(
            error.may_pass() && text.contains(&again.display().to_string()),
            "{text}"
        );
        drop(store);
        fs::remove_dir(&input).expect("removed");
        fs::rename(folder.path().join(OWN_FOLDER), folder.path().join("elsewhere")).expect("moved");
        let refused = KeptStore::open(folder.path(), &identity(), first);
        let text = refused.map(drop).expect_err("all are gone").to_string();
        assert!(text.contains(OWN_FOLDER) && text.contains("backup"), "{text}");
        fs::remove_dir(folder.path().join(OWN_FOLDER)).expect("it is empty");
        fs::rename(folder.path().join("elsewhere"), folder.path().join(OWN_FOLDER)).expect("moved back");
        assert_eq!(
            open(folder.path()).artifact(OTHER).expect("readable"),
            Some(vec![8; 100])
        );
        assert!(other.exists());
    }

    #[test]
    fn a_damaged_database_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let file = folder.path().join(DATABASE);
        let whole = fs::read(&file).expect("readable");
        let damaged = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).expect("written");
            let opened = KeptStore::open(folder.path(), &identity(), first);
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
    fn a_database_that_was_closed_is_ready_again_after_recovery() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let lock = Arc::new(lock(folder.path()).expect("it is free"));
        let records = Embedded::open(folder.path(), lock).expect("it opens");
        let insert = || vec![Change::Insert(vec![99], vec![1])];
        records.commit(insert()).expect("it commits");
        drop(records.database.write().expect("not poisoned").take());
        let error = records
            .commit(vec![Change::Remove(vec![99])])
            .expect_err("it is closed");
        assert!(error.may_pass(), "{error}");
        records.recover().expect("it opens");
        records.recover().expect("it opens though it is open");
        assert_eq!(records.get(&[99]).expect("readable"), Some(vec![1]));
    }

    #[test]
    fn a_second_opening_is_refused_while_the_first_lasts() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let second = KeptStore::open(folder.path(), &identity(), first);
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
        ];
        for (name, other) in others {
            match KeptStore::open(folder.path(), &other, first) {
                Err(StoreError::Mismatch { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        open(folder.path());
    }

    #[test]
    fn objects_of_a_commit_that_never_happened_are_collected() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open_hasty(folder.path());
        store
            .commit(&[Write::Artifact(INPUT, vec![1])])
            .expect("it commits");
        store.put(&[&[2], &[3]]).expect("it puts");
        drop(store);
        let objects = folder.path().join(OWN_FOLDER);
        let count = || fs::read_dir(&objects).expect("readable").count();
        assert_eq!(count(), 4, "and whose they are");
        open(folder.path()).collect().expect("it collects");
        assert_eq!(count(), 4, "they are young");
        let store = open_hasty(folder.path());
        store.collect().expect("it collects");
        assert_eq!(count(), 2);
        assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![1]));
    }

    #[test]
    fn what_removed_artifacts_take_does_not_grow_without_bound() {
        const BYTES: usize = 100_000;
        let folder = tempfile::tempdir().expect("a folder");
        let store = open_hasty(folder.path());
        let used = || -> u64 {
            let files = fs::read_dir(folder.path().join(OWN_FOLDER)).expect("readable");
            files
                .map(|file| file.and_then(|file| file.metadata()).expect("readable").len())
                .sum()
        };
        for batch in 1..=30u64 {
            let input = ArtifactKey::ShardInput(BatchId(batch), 0);
            let bytes = vec![batch as u8; BYTES];
            store
                .commit(&[Write::Artifact(input, bytes)])
                .expect("it commits");
            store.commit(&[Write::RemoveArtifact(input)]).expect("it commits");
            store.collect().expect("it collects");
            assert!(used() < BYTES as u64, "after batch {batch}: {}", used());
        }
    }

    #[test]
    fn an_artifact_that_changed_or_vanished_is_not_given_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        store
            .commit(&[Write::Artifact(INPUT, vec![1, 2, 3])])
            .expect("it commits");
        let path = file(&store, INPUT);
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

    /// What schemas 6 and 7 had of rollups: one, in the identity.
    fn to_one_rollup(database: &Database, schema: u32) {
        let identity = Identity { schema, ..identity() };
        let rollup = some_rollup(0, START);
        let identity = encode(&(identity, rollup.chain_id, rollup.contract, START));
        let mut changes = vec![
            Change::Insert(vec![IDENTITY], identity),
            Change::Insert(vec![START_DIGEST], encode(&[3u8; 32])),
        ];
        let mut show = |key: &[u8], value: &[u8]| {
            if key[0] == ROLLUP {
                return changes.push(Change::Remove(key.to_vec()));
            }
            let batch: BatchRecord = decode("a batch", value).expect("it decodes");
            changes.push(Change::Remove(key.to_vec()));
            let key = batch_key(BATCH, batch.id);
            changes.push(Change::Insert(key, encode(&EarlierBatch::from(batch))));
        };
        for kind in [BATCH, RETIRED, ROLLUP] {
            database.each(kind..=kind, &mut show).expect("readable");
        }
        database.commit(changes).expect("it commits");
    }

    #[test]
    fn a_store_of_schema_7_has_one_rollup_and_lets_go_of_what_is_past() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let kept = Limits::default().rollback_max;
        // A chain of which two batches are past, one that is not proven keeps a third, and two were taken back.
        let of = |id: u64, number: u64, status: BatchStatus| BatchRecord {
            number,
            status,
            request_id: format!("r{id}"),
            ..a_batch(BatchId(id))
        };
        let proven = BatchStatus::Proven;
        let batches = [
            of(1, 7, proven),
            of(2, 8, proven),
            of(3, 9, BatchStatus::Cancelled),
            of(4, 9, BatchStatus::Proving),
            of(5, 10, proven),
            of(6, 11, BatchStatus::RolledBack),
            of(7, 10 + kept, proven),
        ];
        let writes = batches.clone().map(|batch| Write::Batch(Box::new(batch)));
        store.commit(&writes).expect("it commits");
        drop(store);
        let database = Database::open(&folder.path().join(DATABASE)).expect("it opens");
        to_one_rollup(&database, 7);
        drop(database);
        for _ in 0..2 {
            let store = open(folder.path());
            let snapshot = store.snapshot().expect("readable");
            let ids: Vec<u64> = snapshot.batches.iter().map(|batch| batch.id.0).collect();
            assert_eq!(ids, [4, 5, 7]);
            assert_eq!(snapshot.last_retired, BatchId(6));
            let [rollup] = snapshot.rollups.as_slice() else {
                panic!("{:?}", snapshot.rollups);
            };
            let expected = RollupRecord {
                name: "main".into(),
                digest: Some([3; 32]),
                floor: after(&batches[1]),
                created: UnixMs(0),
                ..some_rollup(0, START)
            };
            let found = RollupRecord {
                created: UnixMs(0),
                ..rollup.clone()
            };
            assert_eq!(found, expected);
            let retired = store.retired_before(BatchId(u64::MAX), 9).expect("readable");
            let ids: Vec<u64> = retired.iter().map(|batch| batch.id.0).collect();
            assert_eq!(ids, [6, 3, 2, 1]);
            let first = BatchRecord {
                billing: None,
                ..batches[0].clone()
            };
            assert_eq!(retired[3], first);
            for (request, batch) in [("r1", Some(BatchId(1))), ("r3", None), ("r4", None)] {
                let tenant = Tenant(batches[0].tenant.0.clone());
                let found = store.requested(MAIN, &tenant, request).expect("readable");
                assert_eq!(found.map(|found| found.id), batch, "{request}");
            }
            assert_eq!(stored(&store), accounts());
        }
    }

    /// Brings a store to what schema 8 had: batches that end before their billing.
    fn to_schema_8(database: &Database) {
        let identity = Identity {
            schema: 8,
            ..identity()
        };
        let mut changes = vec![Change::Insert(vec![IDENTITY], encode(&identity))];
        let mut show = |key: &[u8], value: &[u8]| {
            let batch: BatchRecord = decode("a batch", value).expect("it decodes");
            let none = BatchRecord {
                billing: None,
                ..batch
            };
            let mut earlier = encode(&none);
            assert_eq!(earlier.pop(), Some(0));
            changes.push(Change::Insert(key.to_vec(), earlier));
        };
        for kind in [BATCH, RETIRED] {
            database.each(kind..=kind, &mut show).expect("readable");
        }
        database.commit(changes).expect("it commits");
    }

    #[test]
    fn a_store_of_schema_8_keeps_everything_and_does_not_know_what_its_batches_earn() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let batches = [1, 2, 3, 4].map(|id| BatchRecord {
            billing: Some(Billing {
                fees: [(TokenId(1), 7)].into(),
                posted: Posted::default(),
            }),
            ..a_batch(BatchId(id))
        });
        let [open_ones @ .., retired] = batches.clone().map(Box::new);
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        let mut writes: Vec<Write> = open_ones.into_iter().map(Write::Batch).collect();
        writes.extend([Write::Retire(retired), Write::Task(task.clone())]);
        store.commit(&writes).expect("it commits");
        let before = store.snapshot().expect("readable");
        assert_eq!(before.batches, batches[..3]);
        drop(store);
        let database = Database::open(&folder.path().join(DATABASE)).expect("it opens");
        to_schema_8(&database);
        drop(database);
        let unknown = batches.map(|batch| BatchRecord {
            billing: None,
            ..batch
        });
        for _ in 0..2 {
            let store = open(folder.path());
            let snapshot = store.snapshot().expect("readable");
            assert_eq!(snapshot.batches, unknown[..3]);
            assert_eq!(snapshot.rollups, before.rollups);
            assert_eq!(snapshot.tasks, slice::from_ref(&task));
            let retired = store.retired(BatchId(4)).expect("readable");
            assert_eq!(retired.as_ref(), Some(&unknown[3]));
            assert_eq!(stored(&store), accounts());
        }
        // What is accepted from now on is counted.
        let store = open(folder.path());
        let known = BatchRecord {
            billing: Some(Billing::default()),
            ..a_batch(BatchId(5))
        };
        let write = Write::Batch(Box::new(known.clone()));
        store.commit(&[write]).expect("it commits");
        drop(store);
        let batches = open(folder.path()).snapshot().expect("readable").batches;
        assert_eq!(batches.last(), Some(&known));
    }

    /// What schema 6 knew of an artifact: its bytes and their digest, and no object.
    fn to_schema_6(path: &Path) -> Vec<PathBuf> {
        let earlier = path.join(EARLIER_ARTIFACTS);
        fs::create_dir_all(&earlier).expect("made");
        let database = Database::open(&path.join(DATABASE)).expect("it opens");
        let mut changes = vec![Change::Remove(vec![STORE_ID])];
        let mut files = Vec::new();
        let mut show = |key: &[u8], value: &[u8]| {
            let (bytes, sha256, epoch): (u64, [u8; 32], u32) = decode("an entry", value).expect("it decodes");
            changes.push(Change::Insert(key.to_vec(), encode(&(bytes, sha256))));
            let file = earlier.join(std::str::from_utf8(&key[1..]).expect("a name"));
            let object = path
                .join(OWN_FOLDER)
                .join(format!("{}-{epoch}", hex::encode(sha256)));
            fs::copy(object, &file).expect("it was there");
            files.push(file);
        };
        database.each(ARTIFACT..=ARTIFACT, &mut show).expect("readable");
        database.commit(changes).expect("it commits");
        to_one_rollup(&database, 6);
        fs::remove_dir_all(path.join(OWN_FOLDER)).expect("removed");
        files
    }

    #[test]
    fn a_store_of_schema_6_is_brought_to_this_one_and_keeps_everything() {
        const OTHER: ArtifactKey = ArtifactKey::RootProof(BatchId(1));
        const THIRD: ArtifactKey = ArtifactKey::Statement(BatchId(1));
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let task = TaskRecord::new(TaskId::aggregation(BatchId(1)));
        // Two of the same content.
        let keys = [(INPUT, 9), (OTHER, 8), (THIRD, 9)];
        let writes = keys.map(|(key, byte)| Write::Artifact(key, vec![byte; 1_000]));
        store.commit(&writes).expect("it commits");
        store.commit(&[Write::Task(task.clone())]).expect("it commits");
        drop(store);
        let files = to_schema_6(folder.path());
        assert_eq!(files.len(), 3);
        // A start that was broken off had drawn whose the artifacts are, and put some of them.
        let database = Database::open(&folder.path().join(DATABASE)).expect("it opens");
        let owner = [7u8; 16];
        let drawn = [Change::Insert(vec![STORE_ID], encode(&owner))];
        database.commit(drawn).expect("it commits");
        drop(database);
        let artifacts = Artifacts::open(&ArtifactOptions::default(), folder.path());
        let artifacts = artifacts.expect("it opens");
        artifacts
            .claim(decode("an id", &encode(&owner)).expect("it is one"), false)
            .expect("it is nobody's");
        drop(artifacts.put(0, &[&[9; 1_000]]).expect("it puts"));
        drop(artifacts);
        let store = open(folder.path());
        for (key, byte) in keys {
            assert_eq!(store.artifact(key).expect("readable"), Some(vec![byte; 1_000]));
        }
        assert_eq!(store.snapshot().expect("readable").tasks, [task]);
        assert_eq!(stored(&store), accounts());
        assert!(!folder.path().join(EARLIER_ARTIFACTS).exists());
        // Nothing of it is garbage but what is removed.
        store.commit(&[Write::RemoveArtifact(OTHER)]).expect("it commits");
        drop(store);
        let store = open_hasty(folder.path());
        store.collect().expect("it collects");
        assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![9; 1_000]));
        let objects = fs::read_dir(folder.path().join(OWN_FOLDER)).expect("readable");
        assert_eq!(objects.count(), 2, "one object of two artifacts, and whose it is");
    }

    #[test]
    fn a_damaged_artifact_of_schema_6_is_its_batchs_concern_alone() {
        const OTHER: ArtifactKey = ArtifactKey::RootProof(BatchId(1));
        for damage in [
            |file: &Path| fs::write(file, [9; 99]).expect("written"),
            |file: &Path| fs::remove_file(file).expect("removed"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let store = open(folder.path());
            let writes = [(INPUT, 9), (OTHER, 8)].map(|(key, byte)| Write::Artifact(key, vec![byte; 100]));
            store.commit(&writes).expect("it commits");
            drop(store);
            to_schema_6(folder.path());
            damage(&folder.path().join(EARLIER_ARTIFACTS).join("b1-s0-input"));
            let store = open(folder.path());
            let error = store.artifact(INPUT).expect_err("it is damaged");
            assert!(matches!(error, StoreError::Artifact { .. }), "{error}");
            assert_eq!(store.artifact(OTHER).expect("readable"), Some(vec![8; 100]));
            // Restored, it is read.
            fs::write(file(&store, INPUT), [9; 100]).expect("written");
            assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![9; 100]));
        }
    }

    #[test]
    fn a_store_of_schema_6_beside_anothers_artifacts_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let input = Write::Artifact(INPUT, vec![9; 100]);
        store.commit(&[input]).expect("it commits");
        drop(store);
        let files = to_schema_6(folder.path());
        let other = tempfile::tempdir().expect("a folder");
        drop(open(other.path()));
        let options = ArtifactOptions {
            location: Location::Folder(other.path().join(OWN_FOLDER)),
            ..ArtifactOptions::default()
        };
        let refused = Opening::begin(folder.path(), &options).map(drop);
        assert!(
            matches!(refused, Err(StoreError::OthersArtifacts { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(&files[0]).expect("it is left"), [9; 100]);
        assert_eq!(
            open(folder.path()).artifact(INPUT).expect("readable"),
            Some(vec![9; 100])
        );
    }
}
