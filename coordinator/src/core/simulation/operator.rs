//! What operators do, and what they are told.

use super::*;
use crate::core::explain::Reason;

impl World {
    /// Pauses, and goes on soon.
    pub(super) fn pause_for_some_steps(&mut self) {
        self.pause(true);
        self.saw("paused");
        for _ in 0..self.rng.gen_range(0..4) {
            self.step();
            self.check();
        }
        self.pause(false);
    }

    fn reasons(&self, batch: BatchId) -> Vec<Reason> {
        let reasons = self.core.explain(self.now, batch).expect("it exists");
        assert!(!reasons.is_empty());
        reasons
    }

    fn pause(&mut self, paused: bool) {
        let output = self.core.set_paused(self.now, paused);
        self.apply(output);
    }
}

#[test]
fn a_paused_coordinator_hands_nothing_out_until_it_resumes_over_restarts_too() {
    let (mut world, batch, id) = world_with_batch(2);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.pause(true);
    assert_eq!(world.core.leased().collect::<Vec<_>>(), [task]);
    assert!(world.core.renew(world.now, id, task, fence).is_ok());
    assert!(world.prove(id, task), "what is in hand is finished");
    assert_eq!(world.lease(id), None);
    assert_eq!(world.reasons(batch)[0], Reason::Paused);
    world.restart();
    assert!(world.core.is_paused());
    let id = world.join("w0");
    assert_eq!(world.lease(id), None);
    world.submit_shards(1);
    let writes = world.core.set_paused(world.now, true).writes;
    assert_eq!(writes, [], "idempotent");
    world.pause(false);
    assert_eq!(
        world.grants.last().map(|(task, _, _)| *task),
        Some(TaskId::shard(batch, 1)),
        "the open request is answered"
    );
    world.restart();
    assert!(!world.core.is_paused());
}

#[test]
fn a_worker_that_is_drained_finishes_and_gets_no_more() {
    let (mut world, _, id) = world_with_batch(3);
    let other = world.join("w1");
    let (task, _) = world.lease(id).expect("a shard is ready");
    assert!(world.lease(id).is_some(), "one ahead");
    let (held, output) = world.core.drain_workers(world.now, |worker| worker.name == "w0");
    assert!(output.effects.contains(&Effect::Drain(id)), "it is told");
    world.apply(output);
    assert_eq!(held.map(|held| held.len()), Some(2));
    assert!(world.prove(id, task));
    world.core.request_lease(world.now, id, BTreeSet::new());
    assert_eq!(world.grants.len(), 2);
    assert!(world.lease(other).is_some(), "what was left is another's");
    let (none, output) = world.core.drain_workers(world.now, |_| false);
    assert_eq!((none, output), (None, Output::default()));
}

#[test]
fn workers_are_listed_in_the_order_of_their_sessions() {
    let (mut world, _, first) = world_with_batch(1);
    let second = world.join("w1");
    let (task, _) = world.lease(first).expect("a shard is ready");
    world.lease(second);
    let listed: Vec<_> = world.core.workers_after(SessionId(0)).collect();
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[0].session, listed[0].worker), (first, &nobody("w0")));
    assert!(listed[0].leases.contains(&task) && !listed[0].asking);
    assert!(listed[1].leases.is_empty() && listed[1].asking);
    assert_eq!(world.core.workers_after(first).count(), 1);
    assert_eq!(world.core.workers_after(SessionId(u64::MAX)).count(), 0);
}

#[test]
fn each_thing_that_a_batch_waits_for_is_told() {
    let mut world = World::new(0);
    world.faults = false;
    assert_eq!(world.core.explain(world.now, BatchId(1)), None);
    let batch = world.submit_shards(1);
    let task = TaskId::shard(batch, 0);
    let no_worker = |draining| Reason::NoWorker {
        kind: TaskKind::Shard,
        tasks: 1,
        draining,
        others: 0,
    };
    assert_eq!(world.reasons(batch), [no_worker(0)]);
    let id = world.join("w0");
    let busy = |before| Reason::AllBusy {
        kind: TaskKind::Shard,
        tasks: 1,
        workers: 1,
        before,
    };
    assert_eq!(world.reasons(batch), [busy(0)], "it has not asked yet");
    let (_, fence) = world.lease(id).expect("a shard is ready");
    let output = world.core.progress(world.now, id, task, fence, "quotient", 0.5);
    world.apply(output.expect("held"));
    let at_work = Reason::AtWork {
        task,
        worker: nobody("w0"),
        phase: "quotient".into(),
        fraction: 0.5,
    };
    assert_eq!(world.reasons(batch), [at_work]);
    let next = world.submit_shards(1);
    assert_eq!(world.reasons(next), [busy(0)]);
    world.fails(id, task, fence, FailureClass::Resource);
    let backoff = Reason::Backoff {
        task,
        ms: limits().retry_ms_min,
        failures: 1,
        failure: "as told".into(),
    };
    assert_eq!(world.reasons(batch), [backoff]);
    let other = world.join("w1");
    let (_, second) = world.lease(other).expect("the next batch's");
    assert_eq!(world.lease(id), None);
    world.pass(limits().retry_ms_min);
    let avoided = &world.reasons(batch)[0];
    assert!(
        matches!(avoided, Reason::Avoided { worker, .. } if worker.name == "w0"),
        "{avoided:?}"
    );
    world.disconnect(other);
    let lost = &world.reasons(next)[0];
    assert!(
        matches!(lost, Reason::WorkerLost { worker, .. } if worker.name == "w1"),
        "{lost:?}"
    );
    assert_eq!(second, Fence(1));
    for id in world.sessions.keys().copied().collect::<Vec<_>>() {
        let (_, output) = world.core.drain_workers(world.now, |worker| worker.name == "w0");
        world.apply(output);
        world.asking.remove(&id);
    }
    world.pass(limits().lease_ms + limits().avoid_ms);
    assert_eq!(world.reasons(next), [no_worker(1)]);
}

#[test]
fn a_failed_batch_names_the_remedy_wherever_it_is_told() {
    let (mut world, batch, _) = world_with_batch(1);
    for at in 0..limits().deaths_max {
        let id = world.join(&format!("victim {at}"));
        world.lease(id).expect("the task is ready");
        world.pass(limits().lease_ms);
    }
    let failure = world.core.batch(batch).and_then(|batch| batch.failure.clone());
    let failure = failure.expect("it has failed");
    for part in ["b1-s0", "quarantined", "retry b1", "rollback --to 0"] {
        assert!(failure.contains(part), "{failure}");
    }
    let quarantined = Reason::Failed {
        task: TaskId::shard(batch, 0),
        quarantined: true,
        failure,
    };
    assert_eq!(world.reasons(batch), [quarantined]);
    let output = world.core.retry(world.now, batch).expect("it has failed");
    world.apply(output);
    assert!(!matches!(world.reasons(batch)[0], Reason::Failed { .. }));
}
