//! A store as the version of schema 7 wrote it, brought to this one's.

use std::thread;

use pgserver::PgServer;
use rules::operation::RollupId;
use tempfile::TempDir;

use super::{
    super::{super::Store as _, *},
    expire,
    late::{assert_deposed, overtake, records},
    shared, won,
};
use crate::{
    core::{
        Head, Snapshot,
        id::{BatchId, Fence, KeyId, Principal, RollupNumber, StateRoot, TaskId, Tenant, UnixMs, WorkerId},
        record::{ArtifactKey, BatchRecord, BatchStatus, Operations, TaskRecord, TaskStatus, Wishes},
        rollup::{NewRollup, RollupRecord, RollupStatus},
    },
    store::{
        conformance::{START, artifacts, candidate, first_state, identity},
        records::{BATCH, RETIRED, START_DIGEST, STORE_ID, decode},
    },
};

/// The records of a store of commit ecbb7bf, the last of schema 7: a key and its value in each line, as that version stored them.
const SCHEMA_7: &str = include_str!("schema-7.txt");
/// Of the batches there, the one that is open.
const OPEN: BatchId = BatchId(4);
const MAIN: RollupNumber = RollupNumber(0);

/// What that store has of artifacts, and the epoch that put them.
const ARTIFACTS: [(ArtifactKey, [u8; 100]); 2] = [
    (ArtifactKey::ShardInput(OPEN, 0), [1; 100]),
    (ArtifactKey::RootProof(BatchId(1)), [2; 100]),
];
const EPOCH: u32 = 1;

fn entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |text| hex::decode(text).expect("hexadecimal");
    let lines = SCHEMA_7.lines();
    let entries = lines.map(|line| line.split_once(':').expect("a key and a value"));
    entries.map(|(key, value)| (bytes(key), bytes(value))).collect()
}

/// A server with that store, and its artifacts.
fn earlier() -> (PgServer, String, TempDir) {
    let server = PgServer::start();
    let url = server.database();
    let entries = entries();
    let records = shared(won(&candidate(&url)));
    let inserts = entries.iter().cloned();
    let inserts = inserts.map(|(key, value)| Change::Insert(key, value));
    records.commit(inserts.collect()).expect("it leads");
    let folder = tempfile::tempdir().expect("a folder");
    let objects = artifacts(folder.path());
    let owner = entries.iter().find(|(key, _)| *key == [STORE_ID]);
    let (_, owner) = owner.expect("it has an id");
    let owner = decode("the store's id", owner).expect("it decodes");
    objects.claim(owner, false).expect("it is nobody's");
    let put = objects.put(EPOCH, &ARTIFACTS.each_ref().map(|(_, bytes)| &bytes[..]));
    put.expect("it puts").committed();
    (server, url, folder)
}

fn open(url: &str, folder: &TempDir) -> KeptStore {
    let opening = Opening::lead(won(&candidate(url)), artifacts(folder.path())).expect("it begins");
    opening.complete(&identity(), &[], || None).expect("it opens")
}

/// A batch of that store, as it is now.
fn batch(id: u64, number: u64, status: BatchStatus) -> BatchRecord {
    let byte = id as u8;
    BatchRecord {
        id: BatchId(id),
        rollup: MAIN,
        tenant: Tenant("tenant".into()),
        request_id: format!("r{id}"),
        wishes: Wishes::default(),
        sha256: [byte; 32],
        number,
        keys: KeyId {
            shard_vk: [2; 32],
            aggregation_vk: [3; 32],
        },
        time: 1_000 + id,
        old_root: StateRoot([10 + byte; 32]),
        new_root: StateRoot([11 + byte; 32]),
        operations: Operations {
            transfers: 1,
            withdrawals: 2,
            creations: 3,
            queued: 4,
            queued_without_effect: 5,
            no_ops: 6,
        },
        queue_head: 100 + id,
        shards: 2,
        shards_done: 1,
        status,
        revision: 20 + id,
        accepted: UnixMs(1_000_000 + id),
        started: Some(UnixMs(2_000_000 + id)),
        shards_done_at: Some(UnixMs(3_000_000 + id)),
        finished: Some(UnixMs(4_000_000 + id)),
        failure: Some(format!("failure of {id}")),
        billing: None,
    }
}

/// What that store had, as this version has it.
fn expected(epoch: u32) -> (Snapshot, Vec<BatchRecord>) {
    let proven = BatchStatus::Proven;
    // Two were taken back, and two are past; one that is open keeps the next.
    let retired = vec![
        batch(6, 11, BatchStatus::RolledBack),
        batch(3, 9, BatchStatus::Cancelled),
        batch(2, 8, proven),
        batch(1, 7, proven),
    ];
    let new = NewRollup {
        name: "main".into(),
        rollup_id: RollupId {
            chain_id: 4,
            contract: [5; 20],
        },
        tenant: Tenant::default(),
        weight: 1,
        start: START,
        digest: Some([9; 32]),
    };
    let rollup = RollupRecord {
        floor: Head {
            root: StateRoot([13; 32]),
            next_number: 9,
            time: 1_002,
            queue_head: 102,
        },
        ..RollupRecord::new(MAIN, new, UnixMs(1_000_001), RollupStatus::Live)
    };
    let leased = TaskRecord {
        status: TaskStatus::Leased,
        fence: Fence(5),
        worker: Some(WorkerId {
            principal: Principal("p".into()),
            name: "w".into(),
        }),
        failures: 6,
        deaths: 7,
        not_before: UnixMs(8),
        avoid_until: UnixMs(9),
        last_failure: Some("it failed".into()),
        ..TaskRecord::new(TaskId::shard(OPEN, 1))
    };
    let snapshot = Snapshot {
        epoch,
        rollups: vec![rollup],
        last_retired: BatchId(6),
        batches: vec![
            batch(4, 9, BatchStatus::Proving),
            batch(5, 10, proven),
            batch(7, 1_034, proven),
        ],
        tasks: vec![leased, TaskRecord::new(TaskId::aggregation(OPEN))],
        paused: true,
    };
    (snapshot, retired)
}

#[test]
fn a_store_of_schema_7_is_brought_to_this_one_and_keeps_everything() {
    let (server, url, folder) = earlier();
    // Nobody reads it by this version before.
    let mirror = KeptStore::mirror(&candidate(&url), artifacts(folder.path())).map(drop);
    assert!(
        matches!(&mirror, Err(StoreError::Schema { stored, .. }) if stored == "7"),
        "{mirror:?}"
    );
    for opened in [EPOCH + 1, EPOCH + 2] {
        let store = open(&url, &folder);
        let (snapshot, retired) = expected(opened);
        assert_eq!(store.snapshot().expect("readable"), snapshot);
        assert_eq!(
            store.retired_before(BatchId(u64::MAX), 9).expect("readable"),
            retired
        );
        for (request, found) in [("r1", Some(BatchId(1))), ("r3", None), ("r4", None)] {
            let batch = store.requested(MAIN, &Tenant("tenant".into()), request);
            let batch = batch.expect("readable").map(|batch| batch.id);
            assert_eq!(batch, found, "{request}");
        }
        let states = store.states().expect("readable");
        let states: Vec<_> = states
            .into_iter()
            .map(|(rollup, state)| (rollup, state.root()))
            .collect();
        assert_eq!(states, [(MAIN, first_state().root())]);
        for (key, bytes) in ARTIFACTS {
            assert_eq!(
                store.artifact(key).expect("readable"),
                Some(bytes.to_vec()),
                "{key}"
            );
        }
    }
    // Nothing is left of what only schema 7 had.
    let earlier = format!("SELECT count(*) FROM zkrollup_prover.records WHERE key = '\\x{START_DIGEST:02x}'");
    assert_eq!(server.sql("test0", &earlier), "0");
    let mirror = KeptStore::mirror(&candidate(&url), artifacts(folder.path()));
    assert!(mirror.expect("readable").is_some());
}

#[test]
fn a_store_of_schema_8_is_brought_to_this_one_and_keeps_everything() {
    let (_server, url, folder) = earlier();
    drop(open(&url, &folder));
    // It had batches that end before what is not known of these, and all else as it is now.
    let records = shared(won(&candidate(&url)));
    let mut changes = Vec::new();
    let mut shorten = |key: &[u8], value: &[u8]| match key[0] {
        BATCH | RETIRED => {
            let (none, batch) = value.split_last().expect("a batch");
            assert_eq!(*none, 0);
            changes.push(Change::Insert(key.to_vec(), batch.to_vec()));
        }
        IDENTITY => changes.push(Change::Insert(key.to_vec(), [&[8], &value[1..]].concat())),
        _ => {}
    };
    records.each(IDENTITY..=RETIRED, &mut shorten).expect("readable");
    assert_eq!(changes.len(), 1 + 3 + 4);
    records.commit(changes).expect("it leads");
    drop(records);
    for opened in [EPOCH + 2, EPOCH + 3] {
        let store = open(&url, &folder);
        let (snapshot, retired) = expected(opened);
        assert_eq!(store.snapshot().expect("readable"), snapshot);
        let found = store.retired_before(BatchId(u64::MAX), 9).expect("readable");
        assert_eq!(found, retired);
    }
}

#[test]
fn a_migration_that_another_leader_overtakes_leaves_the_store_as_it_was() {
    let (server, url, folder) = earlier();
    let (leadership, before) = (won(&candidate(&url)), records(&server));
    let term = leadership.term();
    let late = thread::scope(|scope| {
        overtake(scope, &server);
        Opening::lead(leadership, artifacts(folder.path())).map(drop)
    });
    assert_deposed("a migration", late, term);
    assert_eq!(records(&server), before);
    expire(&server);
    assert_eq!(
        open(&url, &folder).snapshot().expect("readable"),
        expected(EPOCH + 1).0
    );
}

#[test]
fn a_store_of_another_schema_is_refused_and_left() {
    let (server, url, folder) = earlier();
    let identity = entries().into_iter().find(|(key, _)| *key == [IDENTITY]);
    let (_, identity) = identity.expect("it has one");
    assert_eq!(identity[0], 7);
    for (schema, expected) in [
        (6, "only folders have"),
        (5, "has schema 5"),
        (10, "has schema 10"),
    ] {
        let other = [&[schema], &identity[1..]].concat();
        let records_of_it = shared(won(&candidate(&url)));
        let change = Change::Insert(vec![IDENTITY], other);
        records_of_it.commit(vec![change]).expect("it leads");
        drop(records_of_it);
        let before = records(&server);
        let refused = Opening::lead(won(&candidate(&url)), artifacts(folder.path())).map(drop);
        let refused = refused.expect_err("it is of another schema");
        assert!(refused.to_string().contains(expected), "{schema}: {refused}");
        assert_eq!(records(&server), before, "{schema}");
    }
}
