//! What a store takes and refuses: steps that are committed together, a full disk, a damaged store.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ScopedJoinHandle, sleep},
    time::{Duration, Instant},
};

use rules::{PROTOCOL_VERSION, account::AccountIndex, field, state::State};

use super::{
    super::{
        shell::{CancelFailure, Clock, Shell, SubmitFailure, Unread},
        status::Unavailable,
    },
    MAIN, PATIENCE, PRESET, ROLLUP, TIME, batch_of, keyring, manifest, origin, sample, store,
};
use crate::{
    core::{
        Core, Head, Limits, Output, Snapshot,
        id::{BatchId, Principal, RollupNumber, SessionId, StateRoot, TaskKind, Tenant, UnixMs, WorkerId},
        record::{ArtifactKey, BatchRecord, Write},
        rollup::RollupRecord,
        simulation::some_rollup,
    },
    store::{Identity, KeptStore, SCHEMA, Store, StoreError},
};

/// What is done with writes before they are committed. An error is the commit's.
type BeforeCommit = Box<dyn Fn(&[Write]) -> Result<(), StoreError> + Send + Sync>;

/// A store whose commits something comes before.
struct HookedStore {
    store: KeptStore,
    before_commit: BeforeCommit,
}

impl Store for HookedStore {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot()
    }

    fn states(&self) -> Result<BTreeMap<RollupNumber, State>, StoreError> {
        self.store.states()
    }

    fn accounts_of(&self, rollup: RollupNumber, limit: usize) -> Result<Vec<AccountIndex>, StoreError> {
        self.store.accounts_of(rollup, limit)
    }

    fn retired(&self, id: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        self.store.retired(id)
    }

    fn retired_before(&self, before: BatchId, limit: usize) -> Result<Vec<BatchRecord>, StoreError> {
        self.store.retired_before(before, limit)
    }

    fn requested(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
    ) -> Result<Option<BatchRecord>, StoreError> {
        self.store.requested(rollup, tenant, request_id)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        (self.before_commit)(writes)?;
        self.store.commit(writes)
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.store.recover()
    }

    fn is_current(&self) -> bool {
        self.store.is_current()
    }

    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.artifact(key)
    }

    fn put(&self, artifacts: &[&[u8]]) -> Result<(), StoreError> {
        self.store.put(artifacts)
    }

    fn collect(&self) -> Result<(), StoreError> {
        self.store.collect()
    }

    fn location(&self, key: ArtifactKey) -> Result<Option<String>, StoreError> {
        self.store.location(key)
    }
}

/// What the first batch of every rollup follows.
fn beginning() -> Head {
    Head {
        root: StateRoot(field::to_be(&State::default().root())),
        next_number: 0,
        time: 0,
        queue_head: 0,
    }
}

/// The rollup of a store here.
pub(in crate::server) fn first_rollup() -> RollupRecord {
    RollupRecord {
        chain_id: ROLLUP.chain_id,
        contract: ROLLUP.contract,
        ..some_rollup(0, beginning())
    }
}

/// A shell over a store in `folder` that takes `commits` commits, and what says how many more it takes.
pub(super) fn shell_over(
    folder: &Path,
    ledger: &State,
    commits: usize,
    damaged: bool,
) -> (Shell, Arc<AtomicUsize>) {
    let commits = Arc::new(AtomicUsize::new(commits));
    let left = Arc::clone(&commits);
    let before_commit = move |_: &[Write]| {
        if left.load(Ordering::Relaxed) == 0 {
            return Err(if damaged { damage() } else { full() });
        }
        left.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    };
    (shell_with(folder, ledger, Box::new(before_commit)), commits)
}

fn damage() -> StoreError {
    let what = "the disk".into();
    StoreError::Corrupt { what }
}

fn full() -> StoreError {
    let source = std::io::ErrorKind::StorageFull.into();
    let path = "disk".into();
    StoreError::Io { path, source }
}

/// What the store of these tests' coordinators is for.
pub(super) fn identity() -> Identity {
    Identity {
        schema: SCHEMA,
        protocol_version: PROTOCOL_VERSION,
        preset: PRESET.name.into(),
        srs_digest: manifest().srs_digest.0,
        shard_vk_digest: manifest().shard_vk_digest.0,
        aggregation_vk_digest: manifest().aggregation_vk_digest.0,
    }
}

/// A shell over a store in `folder`.
fn shell_with(folder: &Path, ledger: &State, before_commit: BeforeCommit) -> Shell {
    let first = || Some((first_rollup(), State::default()));
    let store = KeptStore::open(folder, &identity(), first).expect("it opens");
    let store = HookedStore { store, before_commit };
    let snapshot = store.snapshot().expect("readable");
    let limits = Limits {
        // The samples' time is fixed.
        time_age_s_max: u64::MAX,
        ..Limits::default()
    };
    let core = Core::restore(limits, snapshot, UnixMs(0));
    Shell::new(
        core,
        BTreeMap::from([(MAIN, ledger.clone())]),
        Arc::new(store),
        Arc::new(keyring(manifest())),
        Clock::start(),
    )
}

#[test]
fn a_damaged_store_stops_the_coordinator_before_anything_is_acknowledged() {
    let folder = store();
    let mut sample = sample();
    let ledger = sample.state().clone();
    let batches = [batch_of(&mut sample, TIME, 1), batch_of(&mut sample, TIME, 1)];
    let (shell, _) = shell_over(folder.path(), &ledger, 1, true);
    assert!(matches!(
        shell.submit(MAIN, &batches[0], origin("a", [1; 32])),
        Ok((_, false))
    ));
    let refused = shell.submit(MAIN, &batches[1], origin("b", [2; 32]));
    let stopping = matches!(refused, Err(SubmitFailure::Unavailable(Unavailable::Stopping)));
    assert!(stopping, "{refused:?}");
    assert!(shell.stopping().is_cancelled());
    assert!(
        shell.read(|core| core.open_batches()).is_err(),
        "a core ahead of its store answers nothing"
    );
    assert!(matches!(shell.take_failure(), Some(StoreError::Corrupt { .. })));
    drop(shell);
    let (shell, _) = shell_over(folder.path(), &ledger, 0, true);
    assert_eq!(shell.read(|core| core.open_batches()).expect("it reads"), 1);
}

#[test]
fn a_full_disk_suspends_the_coordinator_and_loses_nothing() {
    let folder = store();
    let mut sample = sample();
    let ledger = sample.state().clone();
    let batches = [batch_of(&mut sample, TIME, 1), batch_of(&mut sample, TIME, 1)];
    let (shell, commits) = shell_over(folder.path(), &ledger, 0, false);
    let waits = |result: Result<(BatchId, bool), SubmitFailure>| {
        assert!(
            matches!(result, Err(SubmitFailure::Unavailable(Unavailable::Store))),
            "{result:?}"
        );
    };
    waits(shell.submit(MAIN, &batches[0], origin("a", [1; 32])));
    assert!(*shell.suspensions().borrow(), "health follows this");
    assert!(!shell.stopping().is_cancelled());
    assert!(!shell.resume(false), "the disk is still full");
    // Refused before it is executed: the ledger stays where the core is.
    waits(shell.submit(MAIN, &batches[1], origin("b", [2; 32])));
    assert!(
        shell.read(|core| core.open_batches()).is_err(),
        "a core ahead of its store answers nothing"
    );
    commits.store(usize::MAX, Ordering::Relaxed);
    assert!(shell.resume(false));
    assert!(!*shell.suspensions().borrow());
    // What was written is acknowledged to who asks again, and the chain goes on.
    let first = shell
        .submit(MAIN, &batches[0], origin("a", [1; 32]))
        .expect("it is there");
    assert!(first.1, "it was there already");
    let second = shell
        .submit(MAIN, &batches[1], origin("b", [2; 32]))
        .expect("it is taken");
    assert!(!second.1);
    // The same of a batch that is taken back.
    commits.store(0, Ordering::Relaxed);
    let cancelled = shell.cancel(second.0);
    assert!(
        matches!(
            cancelled,
            Err(CancelFailure::Unread(Unread::Unavailable(Unavailable::Store)))
        ),
        "{cancelled:?}"
    );
    commits.store(usize::MAX, Ordering::Relaxed);
    assert!(shell.resume(false));
    let again = shell
        .submit(MAIN, &batches[1], origin("c", [2; 32]))
        .expect("the ledger went back with the chain");
    assert!(!again.1);
    drop(shell);
    let (shell, _) = shell_over(folder.path(), &ledger, 0, false);
    assert_eq!(shell.read(|core| core.open_batches()).expect("it reads"), 2);
}

/// Opens a session for a worker that takes tasks of either kind.
fn join(shell: &Shell, name: &str) -> (SessionId, impl Sized) {
    let worker = WorkerId {
        principal: Principal::default(),
        name: name.into(),
    };
    let circuits = keyring(manifest()).current.id();
    let opened = shell.open_session(worker, None, TaskKind::ALL.into(), circuits);
    let (id, _, messages) = opened.expect("it leads").expect("the name is free");
    (id, messages)
}

fn ask(shell: &Shell, id: SessionId) {
    shell
        .step(|core, now| ((), core.request_lease(now, id, BTreeSet::new())))
        .expect("the store takes it");
}

/// Tasks that a session holds.
fn held(shell: &Shell, id: SessionId) -> usize {
    shell.peek(|core, _| {
        let mut workers = core.workers_after(SessionId(id.0 - 1));
        workers.next().expect("it is open").leases.len()
    })
}

#[test]
fn what_sessions_that_ended_meanwhile_leave_is_given_to_others_once_the_store_takes_writes() {
    for refuses_again in [false, true] {
        let folder = store();
        let mut sample = sample();
        let ledger = sample.state().clone();
        let (shell, commits) = shell_over(folder.path(), &ledger, usize::MAX, false);
        let shell = Arc::new(shell);
        shell
            .submit(MAIN, &batch_of(&mut sample, TIME, 7), origin("a", [1; 32]))
            .expect("it is taken");
        let ((idle, _messages), (busy, _others)) = (join(&shell, "idle"), join(&shell, "busy"));
        ask(&shell, busy);
        // The other shard is left to the one that has none.
        ask(&shell, busy);
        assert_eq!((held(&shell, busy), held(&shell, idle)), (1, 0));

        commits.store(0, Ordering::Relaxed);
        let refused = shell.step(|_, _| {
            let (writes, effects) = (vec![write(1)], Vec::new());
            ((), Output { writes, effects })
        });
        assert_eq!(refused, Err(Unavailable::Store));
        shell.close_session(idle);
        assert_eq!(held(&shell, busy), 1, "nothing is done meanwhile");

        // What was refused is taken; then comes what the end of the session leads to.
        commits.store(if refuses_again { 1 } else { usize::MAX }, Ordering::Relaxed);
        let resuming = Arc::clone(&shell);
        let resumed = thread::spawn(move || resuming.resume(false));
        wait_until("it goes on", || resumed.is_finished());
        assert!(resumed.join().expect("no panic"));
        assert_eq!(held(&shell, busy), 2);
        assert_eq!(
            *shell.suspensions().borrow(),
            refuses_again,
            "what is said last is so"
        );
        commits.store(usize::MAX, Ordering::Relaxed);
        assert!(shell.resume(false));
        assert!(!*shell.suspensions().borrow());
        assert_eq!(shell.read(|core| core.open_batches()), Ok(1));
    }
}

/// What a gate does with the commits that come.
#[derive(Default)]
struct Gate {
    /// The writes of each commit that came.
    came: Vec<String>,
    /// How many of them may go on.
    through: usize,
    /// What becomes of those that go on; nothing is wrong with those that are not named.
    fates: BTreeMap<usize, Fate>,
}

#[derive(Clone, Copy)]
enum Fate {
    Full,
    Damaged,
    Panic,
}

/// A shell whose commits wait at a gate.
struct Gated {
    shell: Shell,
    gate: Arc<Mutex<Gate>>,
}

impl Gated {
    fn new(folder: &Path, ledger: &State, fates: &[(usize, Fate)]) -> Self {
        let gate = Arc::new(Mutex::new(Gate {
            fates: fates.iter().copied().collect(),
            ..Gate::default()
        }));
        let at = Arc::clone(&gate);
        let before_commit = move |writes: &[Write]| {
            let number = {
                let mut gate = at.lock().unwrap_or_else(PoisonError::into_inner);
                gate.came.push(format!("{writes:?}"));
                gate.came.len() - 1
            };
            wait_until("the gate is opened", || {
                at.lock().unwrap_or_else(PoisonError::into_inner).through > number
            });
            let fate = at
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .fates
                .get(&number)
                .copied();
            match fate {
                None => Ok(()),
                Some(Fate::Full) => Err(full()),
                Some(Fate::Damaged) => Err(damage()),
                Some(Fate::Panic) => panic!("the store has a defect"),
            }
        };
        let shell = shell_with(folder, ledger, Box::new(before_commit));
        Self { shell, gate }
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until as many commits have come.
    fn comes(&self, commits: usize) {
        wait_until("a commit comes", || self.gate().came.len() >= commits);
    }

    /// Lets as many commits go on, those before it included.
    fn let_through(&self, commits: usize) {
        self.gate().through = commits;
    }

    fn came(&self) -> Vec<String> {
        self.gate().came.clone()
    }

    /// Makes a step that writes one artifact, `number`.
    fn step(&self, number: u8) -> Result<u8, Unavailable> {
        self.shell.step(|_, _| {
            let effects = Vec::new();
            (
                number,
                Output {
                    writes: vec![write(number)],
                    effects,
                },
            )
        })
    }

    /// Makes such a step in a thread, and returns once it is made, stored or not.
    fn step_in<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope thread::Scope<'scope, 'env>,
        number: u8,
    ) -> ScopedJoinHandle<'scope, Result<u8, Unavailable>> {
        let made = Arc::new(AtomicUsize::new(0));
        let is_made = Arc::clone(&made);
        let step = scope.spawn(move || {
            self.shell.step(|_, _| {
                is_made.store(1, Ordering::Release);
                let effects = Vec::new();
                (
                    number,
                    Output {
                        writes: vec![write(number)],
                        effects,
                    },
                )
            })
        });
        wait_until("the step is made", || made.load(Ordering::Acquire) == 1);
        // The core's lock is held from there until the step has joined its group.
        self.shell.peek(|_, _| ());
        step
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(1));
    }
}

fn write(number: u8) -> Write {
    Write::Artifact(ArtifactKey::Statement(BatchId(number.into())), vec![number; 4])
}

/// The text of a commit of these steps' writes.
fn commit_of(numbers: &[u8]) -> String {
    format!("{:?}", numbers.iter().copied().map(write).collect::<Vec<_>>())
}

#[test]
fn steps_that_come_while_the_store_is_busy_are_committed_together_and_in_order() {
    let folder = store();
    let gated = Gated::new(folder.path(), &State::default(), &[]);
    thread::scope(|scope| {
        let first = gated.step_in(scope, 1);
        gated.comes(1);
        let others: Vec<_> = (2..10).map(|number| gated.step_in(scope, number)).collect();
        gated.let_through(1);
        gated.comes(2);
        assert_eq!(first.join().expect("it ends"), Ok(1));
        assert!(others.iter().all(|step| !step.is_finished()), "none is stored");
        gated.let_through(2);
        for (number, step) in (2..10).zip(others) {
            assert_eq!(step.join().expect("it ends"), Ok(number));
        }
    });
    assert_eq!(
        gated.came(),
        [commit_of(&[1]), commit_of(&[2, 3, 4, 5, 6, 7, 8, 9])]
    );
    drop(gated);
    let store = Gated::new(folder.path(), &State::default(), &[]).shell;
    for number in 1..10 {
        let location = store
            .location(ArtifactKey::Statement(BatchId(number)))
            .expect("it reads");
        assert!(location.is_some(), "{number} is stored");
    }
}

#[test]
fn nobody_is_told_what_is_not_stored() {
    let folder = store();
    let mut sample = sample();
    let ledger = sample.state().clone();
    let batch = batch_of(&mut sample, TIME, 1);
    let gated = Gated::new(folder.path(), &ledger, &[]);
    thread::scope(|scope| {
        let submitted = scope.spawn(|| gated.shell.submit(MAIN, &batch, origin("a", [1; 32])));
        gated.comes(1);
        // The core has it, and whoever is not told can see that.
        assert_eq!(gated.shell.peek(|core, _| core.open_batches()), 1);
        let mut woken = gated.shell.watch(BatchId(1)).expect("it is watched");
        woken.mark_unchanged();
        let read = scope.spawn(|| gated.shell.read(|core| core.open_batches()));
        // A step that writes nothing, but may say what follows from the other.
        let step = scope.spawn(|| {
            gated
                .shell
                .step(|core, _| (core.open_batches(), Output::default()))
        });
        sleep(Duration::from_millis(50));
        assert!(!submitted.is_finished() && !read.is_finished() && !step.is_finished());
        assert!(!woken.has_changed().expect("it is watched on"), "an effect");
        gated.let_through(1);
        assert!(matches!(
            submitted.join().expect("it ends"),
            Ok((BatchId(1), false))
        ));
        assert_eq!(read.join().expect("it ends"), Ok(1));
        assert_eq!(step.join().expect("it ends"), Ok(1));
        assert!(woken.has_changed().expect("it is watched on"), "the effect");
    });
    assert_eq!(gated.came().len(), 1, "what writes nothing is no commit");
    assert_eq!(
        gated.shell.read(|core| core.open_batches()),
        Ok(1),
        "nothing is waited for"
    );
}

#[test]
fn what_is_refused_is_written_again_as_it_was_and_alone_before_what_came_after() {
    let folder = store();
    let gated = Gated::new(
        folder.path(),
        &State::default(),
        &[(1, Fate::Full), (2, Fate::Full), (4, Fate::Full)],
    );
    let waits = |step: ScopedJoinHandle<'_, Result<u8, Unavailable>>| {
        assert_eq!(step.join().expect("it ends"), Err(Unavailable::Store));
    };
    thread::scope(|scope| {
        let first = gated.step_in(scope, 1);
        gated.comes(1);
        let second = [2, 3].map(|number| gated.step_in(scope, number));
        gated.let_through(1);
        gated.comes(2);
        assert_eq!(first.join().expect("it ends"), Ok(1));
        let third = [4, 5].map(|number| gated.step_in(scope, number));
        let read = scope.spawn(|| gated.shell.read(|core| core.open_batches()));
        gated.let_through(2);
        second.into_iter().chain(third).for_each(waits);
        assert_eq!(read.join().expect("it ends"), Err(Unavailable::Store));
    });
    assert_eq!(gated.step(6), Err(Unavailable::Store), "nothing new is begun");
    gated.let_through(usize::MAX);
    assert!(!gated.shell.resume(false), "the first is refused again");
    assert!(
        !gated.shell.resume(false),
        "the first is taken, the second refused"
    );
    assert_eq!(gated.step(6), Err(Unavailable::Store));
    assert!(gated.shell.resume(false));
    assert_eq!(gated.step(7), Ok(7));
    let (first, second) = (commit_of(&[2, 3]), commit_of(&[4, 5]));
    let expected = [
        commit_of(&[1]),
        first.clone(),
        first.clone(),
        first,
        second.clone(),
        second,
        commit_of(&[7]),
    ];
    assert_eq!(gated.came(), expected);
    assert!(!gated.shell.stopping().is_cancelled());
}

#[test]
fn after_a_commit_of_which_nothing_is_known_nothing_is_committed() {
    for fate in [Fate::Damaged, Fate::Panic] {
        let folder = store();
        let gated = Gated::new(folder.path(), &State::default(), &[(0, fate)]);
        thread::scope(|scope| {
            let first = gated.step_in(scope, 1);
            gated.comes(1);
            let second = [2, 3].map(|number| gated.step_in(scope, number));
            let read = scope.spawn(|| gated.shell.read(|core| core.open_batches()));
            sleep(Duration::from_millis(20));
            gated.let_through(usize::MAX);
            let first = first.join();
            match fate {
                Fate::Panic => drop(first.expect_err("it has panicked")),
                _ => assert_eq!(first.expect("it ends"), Err(Unavailable::Stopping)),
            }
            for step in second {
                assert_eq!(step.join().expect("it ends"), Err(Unavailable::Stopping));
            }
            assert_eq!(read.join().expect("it ends"), Err(Unavailable::Stopping));
        });
        assert_eq!(gated.step(4), Err(Unavailable::Stopping));
        assert_eq!(gated.came(), [commit_of(&[1])]);
        assert!(gated.shell.stopping().is_cancelled());
    }
}
