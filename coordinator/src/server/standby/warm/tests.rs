use std::path::Path;

use rules::{PROTOCOL_VERSION, account::hashed, batch::Batch, sample::Sample};
use tempfile::TempDir;

use super::*;
use crate::{
    core::{Head, Limits, Output, id::UnixMs, record::Write, rollup::RollupRecord, simulation::some_rollup},
    execution::{Undo, prepare},
    server::tests::{MAIN, PRESET, TIME, batch_of, commits::first_rollup, keyring, manifest, origin, sample},
    store::{Identity, SCHEMA},
};

/// What the leader does.
struct Leader {
    folder: TempDir,
    store: KeptStore,
    core: Core,
    ledger: State,
    sample: Sample,
}

impl Leader {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity {
            schema: SCHEMA,
            protocol_version: PROTOCOL_VERSION,
            preset: PRESET.name.into(),
            srs_digest: [0; 32],
            shard_vk_digest: manifest().shard_vk_digest.0,
            aggregation_vk_digest: manifest().aggregation_vk_digest.0,
        };
        let first = || Some((first_rollup(), State::default()));
        let store = KeptStore::open(folder.path(), &identity, first).expect("it opens");
        let core = Core::restore(Limits::default(), store.snapshot().expect("readable"), UnixMs(0));
        Self {
            folder,
            store,
            core,
            ledger: State::default(),
            sample: sample(),
        }
    }

    fn batch(&mut self) -> Batch {
        batch_of(&mut self.sample, TIME, 2)
    }

    fn commit(&self, output: &Output) {
        self.store.commit(&output.writes).expect("it commits");
    }

    /// Takes a batch; with what it changed as it was before.
    fn submit(&mut self, batch: &Batch) -> (BatchId, Undo) {
        let request = format!("r{}", self.core.batches_before(BatchId(u64::MAX)).count());
        let keys = keyring(manifest()).current.id();
        let origin = origin(&request, [1; 32]);
        let submission = prepare(&mut self.ledger, &PRESET, batch, MAIN, keys, origin).expect("it executes");
        let undo = decode_undo(&submission.undo).expect("it was encoded");
        let (id, _, output) = self.core.submit(UnixMs(1), submission).expect("it is taken");
        self.commit(&output);
        (id, undo)
    }

    fn cancel(&mut self, (id, undo): &(BatchId, Undo)) {
        let output = self
            .core
            .cancel(UnixMs(2), *id, hashed(undo))
            .expect("it is cancelled");
        self.commit(&output);
        self.ledger.set(undo);
    }

    fn chains(&self) -> Chains {
        Chains::of(&self.core)
    }
}

/// Follows, and is near then without a load.
fn follows(warm: &mut Warm, leader: &Leader) {
    let chains = leader.chains();
    warm.follow(&chains, &leader.store).expect("readable");
    assert!(warm.are_current(&chains));
    assert_eq!(warm.loads(), 1);
}

/// Which is warm.
fn warmed(leader: &Leader) -> Warm {
    let mut warm = Warm::default();
    assert!(!warm.is_loaded() && !warm.are_current(&leader.chains()));
    warm.load(&leader.chains(), &leader.store).expect("readable");
    assert!(warm.is_loaded());
    follows(&mut warm, leader);
    warm
}

fn damage(path: &Path) {
    for entry in std::fs::read_dir(path).expect("readable").flatten() {
        if entry.file_name() != "store" {
            std::fs::write(entry.path(), b"damaged").expect("writable");
        }
    }
}

#[test]
fn states_follow_batches_that_come_and_go_without_a_load() {
    let mut leader = Leader::new();
    let batches = [leader.batch(), leader.batch(), leader.batch()];
    let mut warm = warmed(&leader);
    leader.submit(&batches[0]);
    assert!(!warm.are_current(&leader.chains()));
    follows(&mut warm, &leader);
    let second = leader.submit(&batches[1]);
    follows(&mut warm, &leader);
    // Taken back after it was seen, and before.
    leader.cancel(&second);
    assert!(!warm.are_current(&leader.chains()));
    follows(&mut warm, &leader);
    let second = leader.submit(&batches[1]);
    leader.cancel(&second);
    follows(&mut warm, &leader);
    // In the place of one that is gone.
    let second = leader.submit(&batches[1]);
    follows(&mut warm, &leader);
    leader.cancel(&second);
    leader.submit(&batches[1]);
    leader.submit(&batches[2]);
    follows(&mut warm, &leader);
    let states = warm.take(&leader.chains(), &leader.store).expect("it is warm");
    assert_eq!(states[&MAIN].root(), leader.ledger.root());
    assert!(states[&MAIN].accounts().eq(leader.ledger.accounts()));
}

#[test]
fn accounts_that_are_newer_than_what_is_known_of_the_chain_are_read_again() {
    let mut leader = Leader::new();
    let batches = [leader.batch(), leader.batch(), leader.batch()];
    leader.submit(&batches[0]);
    let mut warm = warmed(&leader);
    let second = leader.submit(&batches[1]);
    let known = leader.chains();
    let third = leader.submit(&batches[2]);
    warm.follow(&known, &leader.store).expect("readable");
    assert!(!warm.are_current(&known), "what both changed is of the third");
    follows(&mut warm, &leader);
    leader.cancel(&third);
    let known = leader.chains();
    leader.cancel(&second);
    warm.follow(&known, &leader.store).expect("readable");
    follows(&mut warm, &leader);
    let states = warm.take(&leader.chains(), &leader.store).expect("it is warm");
    assert_eq!(states[&MAIN].root(), leader.ledger.root());
}

#[test]
fn what_cannot_be_followed_is_not_taken_for_the_state() {
    let mut leader = Leader::new();
    let batches = [leader.batch(), leader.batch()];
    leader.submit(&batches[0]);
    assert!(Warm::default().take(&leader.chains(), &leader.store).is_none());
    let mut warm = warmed(&leader);
    leader.submit(&batches[1]);
    damage(&leader.folder.path().join("objects"));
    let chains = leader.chains();
    warm.follow(&chains, &leader.store)
        .expect("it is known what is damaged");
    assert!(!warm.are_current(&chains));
    warm.load(&chains, &leader.store).expect("readable");
    assert_eq!(warm.loads(), 1, "not at every look");
    assert!(warm.take(&chains, &leader.store).is_none());
}

#[test]
fn no_undo_is_read_of_what_was_there_before_a_load_and_each_once_of_what_comes_after() {
    let mut leader = Leader::new();
    let batches: Vec<_> = (0..SEEN_AT_ONCE + 4).map(|_| leader.batch()).collect();
    let before = leader.submit(&batches[0]);
    let objects = leader.folder.path().join("objects");
    let aside = leader.folder.path().join("aside");
    std::fs::rename(&objects, &aside).expect("it is there");
    let mut warm = Warm::default();
    warm.load(&leader.chains(), &leader.store)
        .expect("it reads no object");
    follows(&mut warm, &leader);
    std::fs::rename(&aside, &objects).expect("it is there");

    let mut later: Vec<_> = batches[1..].iter().map(|batch| leader.submit(batch)).collect();
    assert!(
        warm.take(&leader.chains(), &leader.store).is_none(),
        "they are too many to be followed by one that begins to lead"
    );
    // Those are seen, and whatever becomes of their undos.
    let more = warm.see(&leader.chains(), &leader.store).expect("readable");
    assert!(!more, "{SEEN_AT_ONCE} were seen before");
    damage(&objects);
    follows(&mut warm, &leader);

    // One from before the load that is taken back is loaded again.
    while let Some(batch) = later.pop() {
        leader.cancel(&batch);
    }
    follows(&mut warm, &leader);
    leader.cancel(&before);
    let chains = leader.chains();
    warm.follow(&chains, &leader.store).expect("readable");
    assert!(!warm.are_current(&chains));
    assert!(warm.take(&chains, &leader.store).is_none());
}

#[test]
fn a_rollup_that_is_created_joins_the_states_that_are_warm() {
    let mut leader = Leader::new();
    let batches = [leader.batch(), leader.batch(), leader.batch()];
    leader.submit(&batches[0]);
    leader.submit(&batches[1]);
    let mut warm = warmed(&leader);
    // With the accounts of the other, as from a snapshot.
    let start = Head {
        root: StateRoot(field::to_be(&leader.ledger.root())),
        ..first_rollup().start
    };
    let second = RollupRecord {
        contract: [8; 20],
        ..some_rollup(1, start)
    };
    let accounts = leader.ledger.accounts();
    let accounts: Vec<_> = accounts.map(|(index, account)| (index, Some(*account))).collect();
    assert!(accounts.len() > 1);
    let number = second.number;
    let accounts = Write::Accounts(number, hashed(&accounts));
    leader.commit(&Output {
        writes: vec![Write::Rollup(Box::new(second)), accounts],
        effects: Vec::new(),
    });
    let snapshot = leader.store.snapshot().expect("readable");
    leader.core = Core::restore(Limits::default(), snapshot, UnixMs(3));
    assert!(!warm.are_current(&leader.chains()));
    follows(&mut warm, &leader);
    // The other goes on, and is followed as before.
    leader.submit(&batches[2]);
    follows(&mut warm, &leader);
    let states = warm.take(&leader.chains(), &leader.store).expect("it is warm");
    assert_eq!(StateRoot(field::to_be(&states[&number].root())), start.root);
    assert_eq!(states[&MAIN].root(), leader.ledger.root());
    for at_once in [1, 2, 3, 1_000] {
        for rollup in [MAIN, number] {
            let state = leader.store.state_by(rollup, at_once).expect("readable");
            let same = state.accounts().eq(states[&rollup].accounts());
            assert!(same, "{rollup:?} by {at_once}");
        }
    }
}
