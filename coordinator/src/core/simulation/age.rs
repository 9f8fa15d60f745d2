//! Batches that become too old for L1 before they are proven.

use super::*;

/// Oldest that L1 takes, seconds.
const AGE: u64 = 100;

fn world() -> World {
    let mut world = World::new(0);
    world.faults = false;
    let limits = Limits {
        time_age_s_max: AGE,
        ..limits()
    };
    world.core = Core::restore(limits, beginning(START), world.now);
    world
}

impl World {
    /// A batch of so many shards whose time is `age` seconds ago.
    fn submit_aged(&mut self, age: u64, shards: usize) -> BatchId {
        let submission = Submission {
            time: self.now.0 / 1_000 - age,
            shard_inputs: vec![vec![1]; shards],
            ..self.submission()
        };
        let (id, _, output) = self.core.submit(self.now, submission).expect("it is next");
        self.apply(output);
        id
    }

    fn failure(&self, id: BatchId) -> Option<String> {
        let batch = self.batch(id).expect("it exists");
        assert_eq!(batch.failure.is_some(), batch.status == BatchStatus::Failed);
        batch.failure.clone()
    }
}

#[test]
fn a_batch_that_l1_would_not_take_any_more_is_not_handed_out_nor_are_those_after_it() {
    let mut world = world();
    let old = world.submit_aged(AGE - 1, 2);
    let next = world.submit_aged(0, 1);
    let id = world.join("w0");
    let (task, _) = world.lease(id).expect("it is young enough");
    assert!(world.prove(id, task));
    world.pass(2_000);
    assert_eq!(world.lease(id), None);
    let oldest = world.now.0 / 1_000 - AGE;
    let failure = world.failure(old).expect("it has failed");
    for part in [
        format!("its time {}", oldest - 1),
        format!("none before {oldest} now"),
        "rollback --to 0".into(),
    ] {
        assert!(failure.contains(&part), "{failure}");
    }
    assert!(!failure.contains("retry"), "{failure}");
    let failure = world.failure(next).expect("it has failed");
    assert!(
        failure.contains("batch number 0 before it") && failure.contains("rollback --to 0"),
        "{failure}"
    );
    world.check();
    // Another try changes nothing, and the remedy helps.
    let output = world.core.retry(world.now, old).expect("it has failed");
    world.apply(output);
    assert!(world.failure(old).is_some());
    let (taken, output) = world.taken_back(next, 0).expect("it is the newest");
    world.apply(output);
    world.rolled_back.extend(taken);
    let fresh = world.submit_aged(0, 1);
    assert_eq!(world.failure(fresh), None);
    assert_eq!(world.grants.last().map(|(task, _, _)| task.batch), Some(fresh));
    world.check();
}

#[test]
fn a_proven_batch_and_one_in_time_are_left_alone() {
    let mut world = world();
    let old = world.submit_aged(AGE, 1);
    let young = world.submit_aged(AGE - 10, 2);
    let id = world.join("w0");
    let (task, _) = world.lease(id).expect("just in time");
    assert!(world.prove(id, task));
    let (task, _) = world.lease(id).expect("the aggregation");
    assert!(world.prove(id, task));
    world.pass(5_000);
    let (task, fence) = world.lease(id).expect("it is in time");
    assert_eq!(task.batch, young);
    assert_eq!(
        world.core.batch(old).map(|batch| batch.status),
        Some(BatchStatus::Proven)
    );
    // Once something would be handed out and is too old, what a worker holds of it is in vain too.
    world.core.renew(world.now, id, task, fence).expect("held");
    world.now = world.now.after(6_000);
    assert_eq!(world.lease(id), None);
    assert!(world.failure(young).is_some());
    let renewed = world.core.renew(world.now, id, task, fence);
    assert_eq!(renewed, Err(LeaseLost::Over));
    world.check();
}

#[test]
fn a_clock_that_was_ahead_at_the_start_makes_no_batch_too_old() {
    let mut world = world();
    // The core's time is a day ahead of what the system's clock shows since it was put right, and callers too.
    let day = 86_400;
    let system = world.now.0 / 1_000;
    world.now = world.now.after(day * 1_000);
    let batch = world.submit_aged(day, 2);
    let id = world.join("w0");
    world.core.heed_system_clock(world.now, system);
    let (task, _) = world.lease(id).expect("it is young");
    assert!(world.prove(id, task));
    // A system's clock that is ahead says nothing: the core's time decides.
    world.core.heed_system_clock(UnixMs(system * 1_000), system + day);
    world.now = UnixMs(system * 1_000);
    assert!(world.lease(id).is_some());
    assert_eq!(world.failure(batch), None);
    world.now = world.now.after((AGE + 1) * 1_000);
    world.core.tick(world.now);
    let other = world.join("w1");
    assert_eq!(world.lease(other), None);
}
