//! Starts after which the clock is a day ahead or behind.

use super::*;

pub(super) const DAY_MS: u64 = 86_400_000;

impl World {
    /// The process is killed and started again on a machine whose clock was set back by a day.
    fn restart_a_day_before(&mut self) {
        self.now = UnixMs(self.now.0 - DAY_MS);
        self.restart();
    }
}

#[test]
fn a_clock_that_was_set_back_by_a_day_delays_no_task() {
    let mut world = World::new(0);
    world.faults = false;
    world.now = UnixMs(10 * DAY_MS);
    world.submit_shards(2);
    let id = world.join("w0");
    // One task has failed and waits, one is held.
    let (failed, fence) = world.lease(id).expect("a shard is ready");
    let (held, _) = world.lease(id).expect("another is ready");
    let output = world
        .core
        .fail(world.now, id, failed, fence, FailureClass::Infrastructure, "")
        .expect("held");
    world.apply(output);
    world.restart_a_day_before();
    let id = world.join("w0");
    world.pass(limits().restart_grace_ms.max(limits().retry_ms_max));
    let again = [world.lease(id), world.lease(id)].map(|lease| lease.map(|(task, _)| task));
    let again: BTreeSet<TaskId> = again.into_iter().flatten().collect();
    assert_eq!(again, BTreeSet::from([failed, held]));
}

#[test]
fn a_clock_that_was_set_ahead_by_a_day_ends_no_lease() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.now = world.now.after(DAY_MS);
    world.restart();
    let id = world.join("w0");
    assert_eq!(world.core.renew(world.now, id, task, fence), Ok(()));
    world.pass(limits().lease_ms - 1);
    assert_eq!(world.core.renew(world.now, id, task, fence), Ok(()));
}
