//! Sessions: one a worker, and what those that do nothing keep from others.

use super::*;

impl World {
    fn instance(&mut self, worker: &str, instance: u64) -> Result<SessionId, SessionRefused> {
        let all = BTreeSet::from([TaskKind::Shard, TaskKind::Aggregation]);
        let instance = NonZeroU64::new(instance).map(Instance);
        let (id, output) = self
            .core
            .open_session(self.now, nobody(worker), instance, all, KEYS)?;
        self.sessions.insert(id, nobody(worker));
        self.apply(output);
        Ok(id)
    }
}

#[test]
fn a_second_worker_of_a_name_is_refused_for_as_long_as_the_first_is_connected() {
    let (mut world, _, first) = world_with_batch(1);
    let (task, fence) = world.lease(first).expect("a shard is ready");
    let taken = Err(SessionRefused::NameTaken {
        worker: nobody("w0"),
        session: first,
    });
    for instance in [0, 2] {
        assert_eq!(world.instance("w0", instance), taken);
    }
    assert_eq!(
        world.core.renew(world.now, first, task, fence),
        Ok(()),
        "it is left alone"
    );
    world.join_as(of("another", "w0"));
    world.disconnect(first);
    let second = world.instance("w0", 2).expect("the name is free");
    let unknown = Err(SessionRefused::NameTaken {
        worker: nobody("w0"),
        session: second,
    });
    assert_eq!(world.instance("w0", 1), unknown);
}

#[test]
fn a_worker_that_comes_again_takes_the_place_of_its_half_open_session() {
    let (mut world, _, first) = world_with_batch(2);
    let (task, fence) = world.lease(first).expect("a shard is ready");
    world.request(first);
    let again = world.instance("w0", 1).expect("it is the same");
    assert!(!world.sessions.contains_key(&first), "it is told to end");
    assert_eq!(world.core.session_count(), 1);
    assert_eq!(world.core.renew(world.now, again, task, fence), Ok(()));
    // The earlier session's end, noticed later, changes nothing.
    let output = world.core.close_session(world.now, first);
    assert_eq!(output, Output::default());
    world.pass(limits().reconnect_grace_ms + 1);
    assert_eq!(world.core.renew(world.now, again, task, fence), Ok(()));
    let stale = world.core.renew(world.now, first, task, fence);
    assert_eq!(stale, Err(LeaseLost::Over));
    world.check();
}

#[test]
fn a_worker_that_never_asks_delays_no_retry() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    for silent in 0..3 {
        world.join(&format!("silent {silent}"));
    }
    world.fails(id, task, fence, FailureClass::Resource);
    assert_eq!(world.lease(id), None);
    world.pass(limits().retry_ms_min);
    assert_eq!(
        world.newest[&task],
        Fence(2),
        "after the wait, and not after the time of avoidance"
    );
}

#[test]
fn a_worker_that_has_not_asked_for_long_keeps_no_task_from_those_that_ask_ahead() {
    let (mut world, _, busy) = world_with_batch(2);
    world.join("silent");
    assert!(world.lease(busy).is_some());
    assert_eq!(world.lease(busy), None, "one that has just come may ask");
    world.now = world.now.after(limits().idle_ms);
    assert!(world.lease(busy).is_some(), "it has not");
}

#[test]
fn assignment_looks_at_each_waiting_session_a_few_times_however_many_wait() {
    let sessions = 2_000;
    let mut world = World::new(0);
    world.faults = false;
    let limits = Limits {
        sessions_max: sessions,
        ..limits()
    };
    world.core = Core::restore(limits, beginning(START), world.now);
    for at in 0..sessions {
        let id = world.join(&format!("w{at}"));
        world.request(id);
    }
    world.submit_shards(3);
    assert_eq!(world.grants.len(), 3);
    // Each of the three fails its own, and none may have it again for a while.
    let (failed, before) = (world.grants.clone(), world.core.steps.get());
    for (task, fence, worker) in failed {
        let holder = world.sessions.iter().find(|(_, known)| **known == worker);
        let id = *holder.expect("it is connected").0;
        world.fails(id, task, fence, FailureClass::Resource);
        world.request(id);
    }
    world.pass(super::limits().retry_ms_min);
    assert_eq!(world.grants.len(), 6, "others have them");
    let steps = world.core.steps.get() - before;
    assert!(steps < 3 * sessions as u64, "{steps} steps to give three tasks");
}
