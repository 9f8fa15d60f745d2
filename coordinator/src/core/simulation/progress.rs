//! Leases that are renewed, with and without progress.

use super::*;

impl World {
    /// Renews a lease again and again for `ms`; whether it is still held.
    fn renews_for(&mut self, id: SessionId, task: TaskId, fence: Fence, ms: u64) -> bool {
        let until = self.now.after(ms);
        while self.now < until {
            if self.core.renew(self.now, id, task, fence).is_err() {
                return false;
            }
            self.pass(limits().lease_ms / 2);
        }
        self.core.renew(self.now, id, task, fence).is_ok()
    }

    fn reports(&mut self, id: SessionId, task: TaskId, fence: Fence, phase: &str, fraction: f64) {
        let output = self.core.progress(self.now, id, task, fence, phase, fraction);
        self.apply(output.expect("held"));
    }
}

const NEARLY: u64 = 4_000;

#[test]
fn renewing_without_progress_does_not_hold_a_task() {
    let (mut world, batch, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    assert!(world.renews_for(id, task, fence, NEARLY));
    assert!(!world.renews_for(id, task, fence, NEARLY));
    let record = &world.disk.tasks[&task];
    assert_eq!(
        (record.status, record.deaths),
        (TaskStatus::Ready, 1),
        "as if it were silent"
    );
    let failure = record.last_failure.clone().expect("it failed");
    assert!(failure.contains("w0 made no progress for 5 s"), "{failure}");
    // The same of several workers sets the task aside.
    for at in 1..limits().deaths_max {
        let id = world.join(&format!("still {at}"));
        let (task, fence) = world.lease(id).expect("the task is ready");
        world.renews_for(id, task, fence, 2 * NEARLY);
    }
    assert_eq!(
        world.core.batch(batch).map(|batch| batch.status),
        Some(BatchStatus::Failed)
    );
    world.check();
}

#[test]
fn progress_holds_a_task_for_as_long_as_it_goes_on() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    for phase in ["witness", "commitments", "quotient"] {
        assert!(world.renews_for(id, task, fence, NEARLY));
        world.reports(id, task, fence, phase, 0.0);
    }
    for step in 1..4 {
        assert!(world.renews_for(id, task, fence, NEARLY));
        world.reports(id, task, fence, "quotient", f64::from(step) / 10.0);
    }
    assert!(world.renews_for(id, task, fence, NEARLY));
}

#[test]
fn reports_that_say_nothing_new_are_no_progress() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.reports(id, task, fence, "quotient", 0.5);
    world.reports(id, task, fence, "witness", 0.1);
    for said in 0..3 {
        world.renews_for(id, task, fence, 1_000);
        // There and back, and by hairs.
        for (phase, fraction) in [("quotient", 0.5), ("witness", 0.1), ("", 0.501), ("", f64::NAN)] {
            world.reports(id, task, fence, phase, fraction + f64::from(said) / 1_000.0);
        }
    }
    assert!(!world.renews_for(id, task, fence, 3_000));
    // Nor do ever new names go on for ever.
    let id = world.join("inventive");
    let (task, fence) = world.lease(id).expect("the task is ready");
    let mut told = 0;
    while world.renews_for(id, task, fence, 1_000) {
        told += 1;
        assert!(told < 100, "it is held for ever");
        world.reports(id, task, fence, &format!("phase {told}"), 0.0);
    }
}

#[test]
fn a_task_that_waits_behind_another_of_its_worker_has_its_time_when_that_is_over() {
    let (mut world, _, id) = world_with_batch(2);
    let (first, fence) = world.lease(id).expect("a shard is ready");
    let (second, ahead) = world.lease(id).expect("nobody else would take it");
    let renew_both = |world: &mut World, ms| {
        let until = world.now.after(ms);
        while world.now < until {
            let _ = world.core.renew(world.now, id, first, fence);
            assert_eq!(world.core.renew(world.now, id, second, ahead), Ok(()));
            world.pass(limits().lease_ms / 2);
        }
    };
    for phase in ["witness", "quotient"] {
        renew_both(&mut world, NEARLY);
        world.reports(id, first, fence, phase, 0.0);
    }
    renew_both(&mut world, NEARLY);
    assert!(world.prove(id, first));
    renew_both(&mut world, NEARLY);
    assert!(!world.renews_for(id, second, ahead, NEARLY));
    // The later one's progress says nothing of the earlier.
    let (mut world, _, id) = world_with_batch(2);
    let (first, fence) = world.lease(id).expect("a shard is ready");
    let (second, ahead) = world.lease(id).expect("nobody else would take it");
    for phase in ["witness", "quotient", "opening"] {
        for _ in 0..6 {
            let _ = world.core.renew(world.now, id, first, fence);
            assert_eq!(world.core.renew(world.now, id, second, ahead), Ok(()));
            world.pass(limits().lease_ms / 2);
        }
        world.reports(id, second, ahead, phase, 0.0);
    }
    assert_eq!(
        world.core.renew(world.now, id, first, fence),
        Err(LeaseLost::Over)
    );
}

#[test]
fn nobody_stood_still_while_the_coordinator_did() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    assert!(world.renews_for(id, task, fence, NEARLY));
    world.pass(limits().lease_ms + limits().pause_ms + 1);
    assert!(world.renews_for(id, task, fence, NEARLY), "its time began anew");
    world.restart();
    let id = world.join("w0");
    assert!(world.renews_for(id, task, fence, NEARLY), "after a restart too");
    assert_eq!(world.disk.tasks[&task].deaths, 0);
}
