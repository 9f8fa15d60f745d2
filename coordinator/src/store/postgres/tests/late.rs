//! Commits that wait for the row that says who leads, and go on when another coordinator does: whatever they are of, they change nothing.

use std::{
    collections::BTreeSet,
    thread::{self, Scope},
    time::{Duration, Instant},
};

use pgserver::PgServer;

use super::{
    super::{super::Store as _, *},
    RECORD, expire, opening, shared, won,
};
use crate::{
    core::{
        id::{BatchId, RollupNumber, TaskId},
        record::{ArtifactKey, BatchRecord, BatchStatus, TaskRecord, Write},
        rollup::RollupRecord,
    },
    store::conformance::{a_batch, artifacts, candidate, first, first_state, identity},
};

/// Another coordinator takes the lead in a transaction that ends only once a commit waits for the row.
const OVERTAKE: &str = "\
DO $$ BEGIN
    UPDATE zkrollup_prover.leadership SET term = term + 1, holder = 'another', url = 'http://127.0.0.1:2',
        until = clock_timestamp() + interval '1 hour';
    FOR i IN 1 .. 1000 LOOP
        PERFORM pg_sleep(0.01);
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH mine AS%') THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'no commit waits';
END $$";
const HOLDS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO $$%' AND wait_event = 'PgSleep'";
const ROW_MAX: Duration = Duration::from_secs(20);

/// Has the commit that comes next wait until another coordinator leads.
pub(super) fn overtake<'scope>(scope: &'scope Scope<'scope, '_>, server: &'scope PgServer) {
    scope.spawn(|| server.sql("test0", OVERTAKE));
    let began = Instant::now();
    while server.sql("test0", HOLDS) == "0" {
        assert!(began.elapsed() < ROW_MAX, "the row is not held");
    }
}

/// A digest of all records.
pub(super) fn records(server: &PgServer) -> String {
    let all =
        "SELECT md5(string_agg(key::text || value::text, ',' ORDER BY key)) FROM zkrollup_prover.records";
    server.sql("test0", all)
}

/// Asserts that whoever made a commit was told who leads since `term` has ended.
pub(super) fn assert_deposed<T: std::fmt::Debug>(what: &str, late: Result<T, StoreError>, term: i64) {
    let is_told = matches!(
        &late,
        Err(StoreError::Deposed { leader, leader_term, .. })
            if leader == "http://127.0.0.1:2" && *leader_term == term + 1
    );
    assert!(is_told, "{what}: {late:?}");
}

const KINDS: usize = 10;

/// A number of each kind of write, below [`KINDS`].
fn kind(write: &Write) -> usize {
    match write {
        Write::Rollup(_) => 0,
        Write::Batch(_) => 1,
        Write::Retire(_) => 2,
        Write::RemoveRetired(_) => 3,
        Write::Task(_) => 4,
        Write::RemoveTask(_) => 5,
        Write::Artifact(..) => 6,
        Write::RemoveArtifact(_) => 7,
        Write::Accounts(..) => 8,
        Write::Paused(_) => 9,
    }
}

const MAIN: RollupNumber = RollupNumber(0);
const BATCH: BatchId = BatchId(1);

/// Writes of every kind, each of which changes something where those before it were made.
fn every_kind() -> Vec<Write> {
    let batch = |status| {
        let batch = a_batch(BATCH);
        Box::new(BatchRecord { status, ..batch })
    };
    let input = ArtifactKey::ShardInput(BATCH, 0);
    let (index, hashed) = first_state().hashed().next().expect("it has some");
    let (rollup, _) = first().expect("it is one");
    let writes = vec![
        Write::Rollup(Box::new(RollupRecord {
            weight: rollup.weight + 1,
            ..rollup
        })),
        Write::Batch(batch(BatchStatus::Proving)),
        Write::Batch(batch(BatchStatus::Proven)),
        Write::Task(TaskRecord::new(TaskId::shard(BATCH, 0))),
        Write::RemoveTask(TaskId::shard(BATCH, 0)),
        Write::Artifact(input, vec![7; 100]),
        Write::Artifact(input, vec![8; 100]),
        Write::RemoveArtifact(input),
        Write::Accounts(MAIN, vec![(index, None)]),
        Write::Accounts(MAIN, vec![(index, Some(hashed))]),
        Write::Paused(true),
        Write::Paused(false),
        Write::Retire(batch(BatchStatus::Proven)),
        Write::RemoveRetired(batch(BatchStatus::Proven)),
    ];
    let kinds: BTreeSet<usize> = writes.iter().map(kind).collect();
    assert_eq!(kinds, (0..KINDS).collect());
    writes
}

#[test]
fn a_late_commit_of_any_kind_changes_nothing() {
    let server = PgServer::start();
    let url = server.database();
    let folder = tempfile::tempdir().expect("a folder");
    for write in every_kind() {
        let leadership = won(&candidate(&url));
        let term = leadership.term();
        let former = opening(leadership, &folder);
        let before = records(&server);
        let late = thread::scope(|scope| {
            overtake(scope, &server);
            former.commit(std::slice::from_ref(&write))
        });
        assert_deposed(&format!("{write:?}"), late, term);
        assert_eq!(records(&server), before, "{write:?}");
        // Nor does the same again, which is how it is made sure of.
        let again = former.commit(std::slice::from_ref(&write));
        assert_deposed(&format!("{write:?}"), again, term);
        assert_eq!(records(&server), before, "{write:?}");
        // By one that leads it does change something.
        expire(&server);
        let leader = opening(won(&candidate(&url)), &folder);
        let before = records(&server);
        leader.commit(&[write]).expect("it leads");
        assert_ne!(records(&server), before);
    }
}

#[test]
fn a_late_opening_changes_nothing() {
    let server = PgServer::start();
    let url = server.database();
    let folder = tempfile::tempdir().expect("a folder");
    drop(opening(won(&candidate(&url)), &folder));
    let leadership = won(&candidate(&url));
    let (term, before) = (leadership.term(), records(&server));
    let opening = Opening::lead(leadership, artifacts(folder.path())).expect("it begins");
    let late = thread::scope(|scope| {
        overtake(scope, &server);
        opening.complete(&identity(), &[], first)
    });
    assert_deposed("an opening", late, term);
    assert_eq!(records(&server), before);
}

/// The commits by which a store is made.
#[derive(Debug, Clone, Copy)]
enum Filling {
    /// Removes what an interrupted start has left.
    Removal,
    /// Of records that fill one.
    Records,
    /// Of what is left of them.
    Rest,
    Identity,
}

#[test]
fn a_late_filling_makes_no_store() {
    for which in [
        Filling::Removal,
        Filling::Records,
        Filling::Rest,
        Filling::Identity,
    ] {
        let server = PgServer::start();
        let url = server.database();
        let record = |at: usize| Change::Insert([RECORD, &at.to_be_bytes()].concat(), vec![1]);
        if let Filling::Removal = which {
            let interrupted = shared(won(&candidate(&url)));
            interrupted.commit(vec![record(0)]).expect("it leads");
        }
        let leadership = won(&candidate(&url));
        let term = leadership.term();
        let room = Box::new(Empty(shared(leadership)));
        let late = thread::scope(|scope| {
            let now = |at| {
                if at {
                    overtake(scope, &server);
                }
            };
            now(matches!(which, Filling::Removal));
            let identity = Change::Insert(vec![IDENTITY], vec![1]);
            let full = (1..FILL_CHANGES).map(record);
            // Asked for when what fills a commit has been taken, and when that is made.
            let last_of_it = std::iter::once_with(|| {
                now(matches!(which, Filling::Records));
                record(FILL_CHANGES)
            });
            let beyond = std::iter::once_with(|| {
                now(matches!(which, Filling::Rest | Filling::Identity));
                matches!(which, Filling::Rest).then(|| record(FILL_CHANGES + 1))
            });
            let mut all = std::iter::once(identity)
                .chain(full)
                .chain(last_of_it)
                .chain(beyond.flatten());
            room.fill(&mut all).map(drop)
        });
        assert_deposed(&format!("{which:?}"), late, term);
        let found = server.sql("test0", "SELECT count(*) FROM zkrollup_prover.records");
        let expected = match which {
            Filling::Removal => 1,
            Filling::Records => 0,
            Filling::Rest | Filling::Identity => FILL_CHANGES,
        };
        assert_eq!(found, expected.to_string(), "{which:?}");
        // Whoever leads next makes one of its own.
        expire(&server);
        let folder = tempfile::tempdir().expect("a folder");
        let store = opening(won(&candidate(&url)), &folder);
        let states = store.states().expect("readable");
        assert_eq!(states[&MAIN].root(), first_state().root(), "{which:?}");
        assert_eq!(
            store
                .records
                .get(&[RECORD, &1usize.to_be_bytes()].concat())
                .expect("readable"),
            None
        );
    }
}
