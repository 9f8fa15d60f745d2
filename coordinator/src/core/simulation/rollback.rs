//! Batches that are taken back from the end of the chain, proven or not.

use super::*;
use crate::core::rollback::RollbackError;

impl World {
    /// Rolls back what an operator might, unless what it takes is not kept any more.
    pub(super) fn roll_back(&mut self) {
        let chain = &self.core.rollups[&self.rollup].chain;
        let Some((&last, &newest)) = chain.last_key_value() else {
            return;
        };
        // To the newest proven batch rather than anywhere.
        let proven = chain.iter().rev();
        let proven = proven
            .filter(|(_, id)| self.core.batches[id].status == BatchStatus::Proven)
            .map(|(number, _)| *number)
            .next();
        let number = proven
            .filter(|_| self.rng.gen_bool(0.7))
            .unwrap_or_else(|| last.saturating_sub(self.rng.gen_range(0..5)));
        let given = self.core.batches[&newest].clone();
        let tail = match self.core.tail(&given, number) {
            Ok(tail) => tail,
            Err(RollbackError::Past { .. }) => return self.saw("too deep to be rolled back"),
            Err(error) => panic!("{error}"),
        };
        let kept = |id: &BatchId| self.disk.artifacts.contains_key(&ArtifactKey::Undo(*id));
        assert!(tail.iter().all(kept), "what can be rolled back is kept");
        let proven = tail
            .iter()
            .any(|id| self.disk.batches[id].status == BatchStatus::Proven);
        let (rolled_back, output) = self.taken_back(newest, number).expect("it is the tail");
        assert_eq!(rolled_back, tail);
        if self.rng.gen_bool(0.1) {
            self.saw("killed before a commit");
            return self.restart();
        }
        self.apply(output);
        self.saw("rolled back");
        if proven {
            self.saw("rolled back though proven");
        }
        self.rolled_back.extend(tail);
        let again = self.taken_back(newest, number);
        assert_eq!(again, Ok((vec![], Output::default())), "idempotent");
    }

    /// Whether a proven batch can be rolled back for certain: the chain was never so long that it could not.
    pub(super) fn is_undo_kept(&self, rollup: RollupNumber, number: u64) -> bool {
        let its = self.core.batches.values().filter(|batch| batch.rollup == rollup);
        let longest = its.map(|batch| batch.number).max();
        longest.is_none_or(|longest| number + limits().rollback_max > longest)
    }

    /// Proves all that is open.
    fn prove_all(&mut self, id: SessionId) {
        loop {
            let held = self.core.leased().next();
            match held {
                Some(task) => assert!(self.prove(id, task)),
                None if self.lease(id).is_none() => return,
                None => {}
            }
        }
    }
}

#[test]
fn proven_and_unproven_batches_are_taken_back_and_the_chain_goes_on_from_there() {
    let (mut world, first, id) = world_with_batch(1);
    let after_first = world.head();
    let second = world.submit_shards(2);
    world.prove_all(id);
    let third = world.submit_shards(1);
    let status = |world: &World, id| world.status(id);
    assert_eq!(status(&world, second), Some(BatchStatus::Proven));
    let proof = ArtifactKey::RootProof(second);
    assert!(world.disk.artifacts.contains_key(&proof));

    let (taken, output) = world.taken_back(third, 1).expect("it is the newest");
    assert_eq!(taken, [third, second], "newest first");
    world.apply(output);
    world.rolled_back.extend(taken);
    world.check();
    for id in [second, third] {
        assert_eq!(status(&world, id), Some(BatchStatus::RolledBack));
    }
    assert_eq!(status(&world, first), Some(BatchStatus::Proven), "it stays");
    assert_eq!(world.head(), after_first);
    assert_eq!(world.core.open_batches(), 0);
    assert!(
        !world.disk.artifacts.contains_key(&proof),
        "no proof of it is given out"
    );
    world.restart();
    assert_eq!(world.head(), after_first, "and that is on disk");
    let id = world.join("w0");
    let again = world.submit_shards(1);
    assert_eq!(world.core.batch(again).map(|batch| batch.number), Some(1));
    world.prove_all(id);
    assert_eq!(status(&world, again), Some(BatchStatus::Proven));
}

#[test]
fn a_chain_that_began_with_a_snapshot_is_rolled_back_to_there_and_no_further() {
    let mut world = World::new(0);
    world.faults = false;
    let start = Head {
        next_number: 4,
        time: 9,
        ..START
    };
    world.core = Core::restore(limits(), beginning(start), world.now);
    assert_eq!(world.head(), start);
    let first = world.submit_shards(1);
    assert_eq!(world.core.batch(first).map(|batch| batch.number), Some(4));
    let refused = world.taken_back(first, 3).map(drop);
    let expected = RollbackError::BeforeStart { number: 3, first: 4 };
    assert_eq!(refused, Err(expected));
    let taken = world.taken_back(first, 4);
    assert_eq!(taken.expect("it is the newest").0, [first]);
    assert_eq!(world.head(), start);
}

#[test]
fn nothing_but_the_end_of_the_chain_is_rolled_back() {
    let mut world = World::new(0);
    world.faults = false;
    let refused = |world: &mut World, newest, number| {
        let refused = world.taken_back(newest, number);
        world.check();
        refused.map(drop)
    };
    let unknown = RollbackError::Unknown(BatchId(1));
    assert_eq!(refused(&mut world, BatchId(1), 0), Err(unknown));
    let (first, second) = (world.submit_shards(1), world.submit_shards(1));
    let not_newest = RollbackError::NotNewest {
        given: first,
        newest: second,
    };
    assert_eq!(refused(&mut world, first, 0), Err(not_newest));
    let number = RollbackError::Number { number: 2, newest: 1 };
    assert_eq!(refused(&mut world, second, 2), Err(number));
    let (taken, output) = world.taken_back(second, 0).expect("all of it");
    world.apply(output);
    world.rolled_back.extend(taken);
    assert_eq!(refused(&mut world, second, 0), Ok(()), "it was done");
    assert_eq!(refused(&mut world, second, 1), Err(RollbackError::Empty));
    let third = world.submit_shards(1);
    let not_newest = RollbackError::NotNewest {
        given: second,
        newest: third,
    };
    assert_eq!(
        refused(&mut world, second, 0),
        Err(not_newest),
        "the new batch was not meant"
    );
}

#[test]
fn a_proof_that_comes_after_the_rollback_is_not_needed() {
    let (mut world, batch, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    let (taken, output) = world.taken_back(batch, 0).expect("it is the newest");
    world.apply(output);
    world.rolled_back.extend(taken);
    assert_eq!(world.core.claim(task, fence), Claim::NotNeeded);
    assert!(!world.prove(id, task));
    let renewed = world.core.renew(world.now, id, task, fence);
    assert_eq!(renewed, Err(LeaseLost::NotNeeded));
    world.check();
}

#[test]
fn what_a_rollback_takes_is_kept_for_the_newest_batches_alone() {
    let (mut world, _, id) = world_with_batch(1);
    let deep = limits().rollback_max;
    let mut batches = vec![BatchId(1)];
    for _ in 0..deep {
        world.prove_all(id);
        batches.push(world.submit_shards(1));
    }
    let kept = |world: &World, id: &BatchId| world.disk.artifacts.contains_key(&ArtifactKey::Undo(*id));
    assert!(
        !kept(&world, &batches[0]),
        "as many follow it as can be rolled back"
    );
    assert!(batches[1..].iter().all(|id| kept(&world, id)));
    // One that is not proven may still be cancelled, however many follow it.
    world.prove_all(id);
    let slow = world.submit_shards(1);
    let (task, _, _) = world
        .grants
        .last()
        .cloned()
        .expect("the open request is answered");
    assert_eq!(task.batch, slow);
    for _ in 0..deep {
        world.submit_shards(1);
    }
    assert!(kept(&world, &slow));
    assert!(world.prove(id, task));
    world.prove_all(id);
    assert!(!kept(&world, &slow));
    world.check();
}
