//! Artifacts that cannot be read when they are needed.

use super::*;

impl World {
    /// Something that was stored of an open batch cannot be read any more.
    pub(super) fn damage(&mut self) {
        let open = self.core.batches.values().filter(|batch| !batch.is_final());
        let open: Vec<BatchId> = open.map(|batch| batch.id).collect();
        let Some(&batch) = open.choose(&mut self.rng) else {
            return;
        };
        let shards = self.core.tasks_of(batch).map(|task| &task.record);
        let done: Vec<TaskId> = shards
            .filter(|record| record.status == TaskStatus::Done)
            .map(|record| record.id)
            .collect();
        let shard = done.choose(&mut self.rng).copied();
        let output = match shard.filter(|_| self.rng.gen_bool(0.8)) {
            Some(shard) => {
                self.saw("proven again");
                self.accepted.remove(&shard);
                self.core.prove_again(self.now, shard, "damaged")
            }
            None => {
                self.saw("failed by damage");
                self.core.fail_damaged(self.now, batch, "damaged")
            }
        };
        self.apply(output);
    }
}

#[test]
fn a_batch_that_is_damaged_fails_alone_and_is_tried_again() {
    let (mut world, first, id) = world_with_batch(2);
    let second = world.submit_shards(1);
    let (task, fence) = world.lease(id).expect("a shard");
    let output = world.core.fail_damaged(world.now, first, "the file is gone");
    assert!(output.effects.contains(&Effect::LeaseLost {
        session: id,
        task,
        fence,
        end: LeaseEnd::Damaged,
    }));
    world.apply(output);
    world.check();
    let failure = world.core.batches[&first].failure.clone().expect("it failed");
    for part in [
        "the file is gone",
        "backup",
        "`rollup-prover retry b1`",
        "rollback --to 0",
    ] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    let again = world.core.fail_damaged(world.now, first, "another");
    assert_eq!(again, Output::default(), "it has failed already");
    let (task, _) = world.lease(id).expect("the other batch goes on");
    assert_eq!(task.batch, second);
    assert!(world.prove(id, task));
    world.restart();
    let id = world.join("w0");
    world.retry();
    let status = |world: &World, id: BatchId| world.status(id).expect("it exists");
    while status(&world, first) != BatchStatus::Proven || status(&world, second) != BatchStatus::Proven {
        let (task, _) = world.lease(id).expect("a task");
        assert!(world.prove(id, task));
        world.check();
    }
    let after = world.core.fail_damaged(world.now, first, "too late");
    assert_eq!(after, Output::default(), "a final batch stays as it is");
}

#[test]
fn an_aggregation_waits_for_a_shard_that_is_proven_again() {
    let (mut world, batch, id) = world_with_batch(2);
    let shards: Vec<TaskId> = (0..2).map(|index| TaskId::shard(batch, index)).collect();
    for shard in &shards {
        assert_eq!(
            world.core.prove_again(world.now, *shard, "early"),
            Output::default()
        );
        let (task, _) = world.lease(id).expect("a shard");
        assert!(world.prove(id, task));
    }
    let (aggregation, fence) = world.lease(id).expect("all shards are proven");
    let output = world.core.prove_again(world.now, shards[1], "damaged");
    world.accepted.remove(&shards[1]);
    world.apply(output);
    world.check();
    assert_eq!(
        world.core.claim(aggregation, fence),
        Claim::Verify,
        "its proof is right all the same"
    );
    world.restart();
    world.check();
    let id = world.join("w0");
    let (again, fence) = world.lease(id).expect("the shard");
    assert_eq!((again, fence), (shards[1], Fence(2)));
    assert!(world.lease(id).is_none(), "nothing else to prove");
    assert!(world.prove(id, again));
    let granted = world.grants.last().expect("the open request is answered").clone();
    assert_eq!((granted.0, granted.1), (aggregation, Fence(2)));
    assert!(world.prove(id, aggregation));
    assert_eq!(world.core.batches[&batch].status, BatchStatus::Proven);
    world.check();
}
