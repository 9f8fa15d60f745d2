//! What every store must do, tried on each: the folder's, PostgreSQL's, and the simulation's, which is held to the same.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use pgserver::PgServer;
use rand::{Rng, SeedableRng, seq::IteratorRandom};
use rand_chacha::ChaCha20Rng;
use rules::{
    account::{Account, AccountIndex, TokenId, hashed},
    gas::Posted,
    operation::RollupId,
    sample::{Draw, Mix, Sample, SampleConfig},
    state::State,
    witness::Shape,
};

use super::{
    ArtifactOptions, Artifacts, Identity, KeptStore, Opening, SCHEMA, Store, StoreError,
    postgres::{Campaign, Candidate},
};
use crate::core::{
    Head, Snapshot,
    id::{BatchId, Fence, KeyId, RollupNumber, StateRoot, TaskId, Tenant, UnixMs},
    record::{
        ArtifactKey, BatchRecord, BatchStatus, Billing, Operations, TaskRecord, TaskStatus, Wishes, Write,
    },
    rollup::RollupRecord,
    simulation::{Disk, some_rollup},
};

/// Rounds of random commits.
const ROUNDS: u64 = 200;

/// A place where a store can be opened time and again, one at a time.
trait Place {
    /// Opens the store; a new one has `first`.
    fn open(&mut self, first: &State) -> Box<dyn Store>;
}

/// What a store here is for.
pub(super) fn identity() -> Identity {
    Identity {
        schema: SCHEMA,
        protocol_version: 2,
        preset: "test".into(),
        srs_digest: [1; 32],
        shard_vk_digest: [2; 32],
        aggregation_vk_digest: [3; 32],
    }
}

pub(super) const START: Head = Head {
    root: StateRoot([6; 32]),
    next_number: 7,
    time: 8,
    queue_head: 9,
};

/// The rollup that a store here begins with.
pub(super) fn first() -> Option<(RollupRecord, State)> {
    Some((some_rollup(0, START), first_state()))
}

pub(super) fn first_state() -> State {
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

struct Folder(tempfile::TempDir);

impl Place for Folder {
    fn open(&mut self, first: &State) -> Box<dyn Store> {
        let first = (some_rollup(0, START), first.clone());
        Box::new(KeptStore::open(self.0.path(), &identity(), || Some(first)).expect("it opens"))
    }
}

struct Postgres {
    url: String,
    artifacts: tempfile::TempDir,
}

impl Place for Postgres {
    fn open(&mut self, first: &State) -> Box<dyn Store> {
        let candidate = candidate(&self.url);
        let Campaign::Won(leadership) = candidate.campaign().expect("it answers") else {
            panic!("nobody leads");
        };
        let opening = Opening::lead(leadership, artifacts(self.artifacts.path())).expect("it opens");
        let first = (some_rollup(0, START), first.clone());
        Box::new(
            opening
                .complete(&identity(), &[], || Some(first))
                .expect("it opens"),
        )
    }
}

/// Artifacts in a folder that several coordinators see.
pub(super) fn artifacts(folder: &Path) -> Arc<Artifacts> {
    Arc::new(Artifacts::open(&ArtifactOptions::default(), folder).expect("it opens"))
}

/// A coordinator that shares the database of `url`.
pub(super) fn candidate(url: &str) -> Candidate {
    let lease = Duration::from_secs(2);
    Candidate::new(url, "test".into(), "http://127.0.0.1:1".into(), lease).expect("it answers")
}

#[derive(Default)]
struct Simulated(Arc<Mutex<Disk>>);

impl Place for Simulated {
    fn open(&mut self, first: &State) -> Box<dyn Store> {
        let mut disk = self.0.lock().expect("not poisoned");
        if disk.epoch == 0 {
            let accounts = first.hashed();
            disk.accounts = accounts.map(|(index, hashed)| ((MAIN, index), hashed)).collect();
            disk.rollups.insert(MAIN, some_rollup(MAIN.0, START));
        }
        disk.epoch += 1;
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl Store for Simulated {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(self.0.lock().expect("not poisoned").snapshot())
    }

    fn states(&self) -> Result<BTreeMap<RollupNumber, State>, StoreError> {
        let disk = self.0.lock().expect("not poisoned");
        let mut states = BTreeMap::<RollupNumber, Vec<_>>::new();
        for ((rollup, index), hashed) in &disk.accounts {
            states.entry(*rollup).or_default().push((*index, hashed.account));
        }
        let built = states
            .into_iter()
            .map(|(rollup, accounts)| (rollup, State::from_accounts(accounts)));
        Ok(built.collect())
    }

    fn accounts_of(&self, rollup: RollupNumber, limit: usize) -> Result<Vec<AccountIndex>, StoreError> {
        let disk = self.0.lock().expect("not poisoned");
        let its = disk.accounts.keys().rev().filter(|(of, _)| *of == rollup);
        Ok(its.map(|(_, index)| *index).take(limit).collect())
    }

    fn retired(&self, id: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        Ok(self.0.lock().expect("not poisoned").retired.get(&id).cloned())
    }

    fn retired_before(&self, before: BatchId, limit: usize) -> Result<Vec<BatchRecord>, StoreError> {
        let disk = self.0.lock().expect("not poisoned");
        let found = disk.retired.range(..before).rev().take(limit);
        Ok(found.map(|(_, batch)| batch.clone()).collect())
    }

    fn requested(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
    ) -> Result<Option<BatchRecord>, StoreError> {
        let disk = self.0.lock().expect("not poisoned");
        Ok(disk.requested(rollup, tenant, request_id).cloned())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.0.lock().expect("not poisoned").commit(writes.to_vec());
        Ok(())
    }

    fn recover(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_current(&self) -> bool {
        true
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().expect("not poisoned").artifacts.get(&key).cloned())
    }

    fn put(&self, _: &[&[u8]]) -> Result<(), StoreError> {
        Ok(())
    }

    fn collect(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn location(&self, key: ArtifactKey) -> Result<Option<String>, StoreError> {
        Ok(self.artifact(key)?.map(|_| key.to_string()))
    }
}

/// What a store should have.
#[derive(Debug, Default)]
struct Model {
    epoch: u32,
    rollups: BTreeMap<RollupNumber, RollupRecord>,
    batches: BTreeMap<BatchId, BatchRecord>,
    retired: BTreeMap<BatchId, BatchRecord>,
    tasks: BTreeMap<TaskId, TaskRecord>,
    artifacts: BTreeMap<ArtifactKey, Vec<u8>>,
    accounts: BTreeMap<RollupNumber, BTreeMap<AccountIndex, Account>>,
    paused: bool,
}

/// The rollups that random commits are about: the first and the last that there can be, beside one between.
const ROLLUPS: [RollupNumber; 3] = [MAIN, RollupNumber(3), RollupNumber(RollupNumber::MAX - 1)];
const MAIN: RollupNumber = RollupNumber(0);

impl Model {
    fn apply(&mut self, write: &Write) {
        match write.clone() {
            Write::Rollup(rollup) => drop(self.rollups.insert(rollup.number, *rollup)),
            Write::Batch(batch) => drop(self.batches.insert(batch.id, *batch)),
            Write::Retire(batch) => {
                self.batches.remove(&batch.id);
                self.retired.insert(batch.id, *batch);
            }
            Write::RemoveRetired(batch) => drop(self.retired.remove(&batch.id)),
            Write::Task(task) => drop(self.tasks.insert(task.id, task)),
            Write::RemoveTask(id) => drop(self.tasks.remove(&id)),
            Write::Artifact(key, bytes) => drop(self.artifacts.insert(key, bytes)),
            Write::RemoveArtifact(key) => drop(self.artifacts.remove(&key)),
            Write::Paused(paused) => self.paused = paused,
            Write::Accounts(rollup, changes) => {
                let accounts = self.accounts.entry(rollup).or_default();
                for (index, account) in changes {
                    match account {
                        Some(hashed) => accounts.insert(index, hashed.account),
                        None => accounts.remove(&index),
                    };
                }
            }
        }
    }

    fn check(&self, store: &dyn Store) {
        let expected = Snapshot {
            epoch: self.epoch,
            rollups: self.rollups.values().cloned().collect(),
            last_retired: self.retired.keys().next_back().copied().unwrap_or_default(),
            batches: self.batches.values().cloned().collect(),
            tasks: self.tasks.values().cloned().collect(),
            paused: self.paused,
        };
        assert_eq!(store.snapshot().expect("readable"), expected);
        let states = store.states().expect("readable");
        for rollup in ROLLUPS {
            let expected = self.accounts.get(&rollup).cloned().unwrap_or_default();
            let state = states.get(&rollup).cloned().unwrap_or_default();
            let accounts = state.accounts().map(|(index, account)| (index, *account));
            assert_eq!(accounts.collect::<BTreeMap<_, _>>(), expected);
            assert_eq!(state.root(), State::from_accounts(expected.clone()).root());
            for limit in [1, 2, usize::MAX >> 1] {
                let found = store.accounts_of(rollup, limit).expect("readable");
                let last: Vec<_> = expected.keys().rev().take(limit).copied().collect();
                assert_eq!(found, last, "{rollup}");
            }
        }
        self.check_retired(store);
        for key in (0..BATCHES).map(BatchId).flat_map(artifacts_of) {
            let found = store.artifact(key).expect("readable");
            assert_eq!(found.as_ref(), self.artifacts.get(&key), "{key:?}");
        }
    }
}

impl Model {
    fn check_retired(&self, store: &dyn Store) {
        for id in (0..BATCHES).map(BatchId) {
            let found = store.retired(id).expect("readable");
            assert_eq!(found.as_ref(), self.retired.get(&id));
            for limit in [0, 1, 9] {
                let found = store.retired_before(id, limit).expect("readable");
                let expected = self.retired.range(..id).rev().take(limit);
                assert_eq!(
                    found,
                    expected.map(|(_, batch)| batch.clone()).collect::<Vec<_>>()
                );
            }
            // Names that begin alike, and end so that tenant and id could be taken for one another's.
            for tenant in ["", "tenant", "tenant\0"] {
                for rollup in ROLLUPS {
                    let request_id = request_of(id);
                    let found = store.requested(rollup, &Tenant(tenant.into()), &request_id);
                    let named = |batch: &&BatchRecord| {
                        batch.id == id
                            && batch.tenant.0 == tenant
                            && batch.rollup == rollup
                            && batch.status == BatchStatus::Proven
                    };
                    let expected = self.retired.get(&id).filter(named).cloned();
                    assert_eq!(found.expect("readable"), expected, "{id} {tenant:?} {rollup}");
                }
            }
        }
    }
}

fn request_of(id: BatchId) -> String {
    format!("\0 and \u{1f980}{id}")
}

/// Batches that random commits are about.
const BATCHES: u64 = 9;

fn artifacts_of(batch: BatchId) -> [ArtifactKey; 5] {
    [
        ArtifactKey::Statement(batch),
        ArtifactKey::Undo(batch),
        ArtifactKey::ShardInput(batch, 0),
        ArtifactKey::ShardProof(batch, u32::MAX),
        ArtifactKey::RootProof(batch),
    ]
}

/// A batch of a store's first rollup.
pub(super) fn a_batch(id: BatchId) -> BatchRecord {
    BatchRecord {
        rollup: MAIN,
        wishes: Wishes::default(),
        ..some_batch(&mut ChaCha20Rng::seed_from_u64(id.0), id)
    }
}

fn some_batch(rng: &mut ChaCha20Rng, id: BatchId) -> BatchRecord {
    BatchRecord {
        id,
        // What names a batch never changes.
        rollup: ROLLUPS[id.0 as usize % ROLLUPS.len()],
        tenant: Tenant(["", "tenant", "tenant\0"][id.0 as usize / 2 % 3].into()),
        request_id: request_of(id),
        wishes: Wishes {
            priority: rng.r#gen(),
            deadline: rng.r#gen::<bool>().then_some(UnixMs(rng.r#gen())),
            labels: vec!["a=b".into(); rng.gen_range(0..3)],
        },
        sha256: rng.r#gen(),
        number: rng.r#gen(),
        keys: KeyId {
            shard_vk: identity().shard_vk_digest,
            aggregation_vk: identity().aggregation_vk_digest,
        },
        time: rng.r#gen(),
        old_root: StateRoot(rng.r#gen()),
        new_root: StateRoot(rng.r#gen()),
        operations: Operations::default(),
        queue_head: rng.r#gen(),
        shards: rng.r#gen(),
        shards_done: rng.r#gen(),
        status: [BatchStatus::Proving, BatchStatus::Proven, BatchStatus::Cancelled][id.0 as usize % 3],
        revision: rng.r#gen(),
        accepted: UnixMs(rng.r#gen()),
        started: rng.r#gen::<bool>().then_some(UnixMs(1)),
        shards_done_at: None,
        finished: None,
        failure: None,
        billing: rng.r#gen::<bool>().then(|| some_billing(rng)),
    }
}

fn some_billing(rng: &mut ChaCha20Rng) -> Billing {
    let fees = (0..rng.gen_range(0..4)).map(|_| (TokenId(rng.r#gen()), rng.r#gen()));
    Billing {
        fees: fees.collect(),
        posted: Posted {
            bytes: rng.r#gen(),
            zero_bytes: rng.r#gen(),
            records: rng.r#gen(),
            entries: rng.r#gen(),
            payments: rng.r#gen(),
        },
    }
}

fn some_write(rng: &mut ChaCha20Rng, first: &[(AccountIndex, Account)]) -> Write {
    let batch = BatchId(rng.gen_range(0..BATCHES));
    let task = match rng.gen_range(0..3) {
        0 => TaskId::aggregation(batch),
        index => TaskId::shard(batch, index * 255),
    };
    let artifact = artifacts_of(batch)[rng.gen_range(0..5)];
    match rng.gen_range(0..10) {
        7 => Write::Retire(Box::new(some_batch(rng, batch))),
        8 => Write::RemoveRetired(Box::new(some_batch(rng, batch))),
        9 => {
            let number = ROLLUPS[rng.gen_range(0..ROLLUPS.len())];
            Write::Rollup(Box::new(RollupRecord {
                weight: rng.r#gen(),
                paused: rng.r#gen(),
                ..some_rollup(number.0, START)
            }))
        }
        0 => Write::Batch(Box::new(some_batch(rng, batch))),
        1 => Write::Task(TaskRecord {
            status: TaskStatus::Leased,
            fence: Fence(rng.r#gen()),
            ..TaskRecord::new(task)
        }),
        2 => Write::RemoveTask(task),
        3 => {
            let length = [0, 1, 100_000][rng.gen_range(0..3)];
            Write::Artifact(artifact, (0..length).map(|_| rng.r#gen()).collect())
        }
        4 => Write::RemoveArtifact(artifact),
        5 => {
            let (index, account) = *first.iter().choose(rng).expect("there are some");
            let made = AccountIndex::new((1 << 32) + rng.gen_range(100..200)).expect("in range");
            let changed = Account {
                nonce: rng.r#gen(),
                ..account
            };
            let made_or_gone = rng.r#gen::<bool>().then_some(changed);
            let rollup = ROLLUPS[rng.gen_range(0..ROLLUPS.len())];
            Write::Accounts(rollup, hashed(&[(index, Some(changed)), (made, made_or_gone)]))
        }
        _ => Write::Paused(rng.r#gen()),
    }
}

fn conforms(place: &mut dyn Place) {
    let first = first_state();
    let accounts: Vec<_> = first
        .accounts()
        .map(|(index, account)| (index, *account))
        .collect();
    let mut model = Model {
        epoch: 1,
        accounts: BTreeMap::from([(MAIN, accounts.iter().copied().collect())]),
        rollups: BTreeMap::from([(MAIN, some_rollup(MAIN.0, START))]),
        ..Model::default()
    };
    let mut store = place.open(&first);
    model.check(&*store);
    // All of them, since no batch is without its rollup.
    let rollups = ROLLUPS.map(|number| Write::Rollup(Box::new(some_rollup(number.0, START))));
    rollups.iter().for_each(|write| model.apply(write));
    store.commit(&rollups).expect("it commits");
    store.commit(&[]).expect("nothing is a commit");
    for round in 0..ROUNDS {
        let mut rng = ChaCha20Rng::seed_from_u64(round);
        let writes: Vec<Write> = (0..rng.gen_range(1..12))
            .map(|_| some_write(&mut rng, &accounts))
            .collect();
        writes.iter().for_each(|write| model.apply(write));
        store
            .commit(&writes)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        match rng.gen_range(0..20) {
            // The answer may have been lost: the same again changes nothing.
            0 | 1 => {
                store.recover().expect("it is well");
                store.commit(&writes).expect("it commits");
            }
            2 => {
                drop(store);
                // What a new store would begin with is not looked at again.
                store = place.open(&State::default());
                model.epoch += 1;
            }
            _ => {}
        }
        if round % 10 == 0 || round + 1 == ROUNDS {
            model.check(&*store);
        }
    }
    many(place, store, &accounts);
}

/// A commit of more than fits a page or a statement of any store.
fn many(place: &mut dyn Place, store: Box<dyn Store>, accounts: &[(AccountIndex, Account)]) {
    let index = |at: u64| AccountIndex::new((1 << 32) + 1_000 + at).expect("in range");
    let all: Vec<_> = (0..40_000).map(|at| (index(at), Some(accounts[0].1))).collect();
    let state = |store: &dyn Store| store.states().expect("readable").remove(&MAIN);
    let before = state(&*store).expect("it has some").accounts().len();
    store
        .commit(&[Write::Accounts(MAIN, hashed(&all))])
        .expect("it commits");
    drop(store);
    let store = place.open(&State::default());
    let state = state(&*store).expect("it has some");
    assert_eq!(state.accounts().len(), before + all.len());
    assert!(
        all.iter()
            .all(|(index, account)| state.get(*index) == account.as_ref())
    );
}

#[test]
fn the_simulation_conforms() {
    conforms(&mut Simulated::default());
}

#[test]
fn a_folder_conforms() {
    conforms(&mut Folder(tempfile::tempdir().expect("a folder")));
}

#[test]
fn postgres_conforms() {
    let server = PgServer::start();
    conforms(&mut Postgres {
        url: server.database(),
        artifacts: tempfile::tempdir().expect("a folder"),
    });
}
