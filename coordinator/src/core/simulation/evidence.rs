//! What speaks against a task where workers prove identities: what one of them does fails no batch.

use super::*;
use crate::core::explain::Reason;

/// Rounds in which one identity does its worst, far more than any limit, and than a wait can double.
const ROUNDS: usize = 80;

fn status(world: &World, batch: BatchId) -> Option<BatchStatus> {
    world.core.batch(batch).map(|batch| batch.status)
}

/// A lease of the batch's task under that identity and name, after whatever wait.
fn lease_as(world: &mut World, principal: &str, name: &str) -> (SessionId, TaskId, Fence) {
    let id = world.join_as(of(principal, name));
    world.pass(limits().avoid_ms.max(limits().retry_ms_max));
    let (task, fence) = world.lease(id).expect("the task is ready");
    (id, task, fence)
}

fn word(world: &World, batch: BatchId) -> Option<String> {
    let reasons = world.core.explain(world.now, batch).expect("it exists");
    reasons.into_iter().find_map(|reason| match &reason {
        Reason::OneWord { identity, .. } => {
            assert_eq!(identity.0, "pool");
            Some(reason.to_string())
        }
        _ => None,
    })
}

#[test]
fn one_identity_under_many_names_makes_no_task_impossible() {
    let (mut world, batch, id) = world_with_batch(1);
    world.disconnect(id);
    assert_eq!(word(&world, batch), None);
    let mut waits = Vec::new();
    for at in 0..ROUNDS {
        let (id, task, fence) = lease_as(&mut world, "pool", &format!("w{at}"));
        let class = [
            FailureClass::Internal,
            FailureClass::Input,
            FailureClass::Execution,
        ][at % 3];
        world.fails(id, task, fence, class);
        waits.push(world.now.until(world.disk.tasks[&task].not_before));
        world.disconnect(id);
    }
    assert_eq!(status(&world, batch), Some(BatchStatus::Proving));
    assert!(waits.is_sorted(), "the waits grow: {waits:?}");
    assert_eq!(
        (waits[0], waits[ROUNDS - 1]),
        (limits().retry_ms_min, limits().retry_ms_max)
    );
    let text = word(&world, batch).expect("it is said");
    for part in [
        "identity pool",
        "another identity",
        "cancel b1",
        "rollback --to 0",
        "as told",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // The word of another one decides.
    let (id, task, fence) = lease_as(&mut world, "other", "w0");
    world.fails(id, task, fence, FailureClass::Execution);
    assert_eq!(status(&world, batch), Some(BatchStatus::Failed));
    assert_eq!(word(&world, batch), None, "the failure says it now");
    // Tried again, what was said before counts no more.
    let output = world.core.retry(world.now, batch).expect("it has failed");
    world.apply(output);
    world.disconnect(id);
    let (id, task, fence) = lease_as(&mut world, "other", "w1");
    world.fails(id, task, fence, FailureClass::Execution);
    assert_eq!(status(&world, batch), Some(BatchStatus::Proving));
    world.check();
}

#[test]
fn a_task_that_one_identity_cannot_prove_is_proven_by_another() {
    let (mut world, batch, id) = world_with_batch(1);
    world.disconnect(id);
    let (id, task, fence) = lease_as(&mut world, "pool", "w0");
    world.fails(id, task, fence, FailureClass::Internal);
    world.disconnect(id);
    let (id, task, _) = lease_as(&mut world, "other", "w0");
    assert!(world.prove(id, task));
    assert_eq!(word(&world, batch), None);
    assert_eq!(status(&world, batch), Some(BatchStatus::Aggregating));
}

#[test]
fn failures_of_one_identity_count_for_half_of_what_fails_a_task() {
    let (mut world, batch, id) = world_with_batch(1);
    world.disconnect(id);
    let fail = |world: &mut World, principal: &str| {
        let (id, task, fence) = lease_as(world, principal, "w");
        world.fails(id, task, fence, FailureClass::Infrastructure);
        world.disconnect(id);
    };
    for _ in 0..ROUNDS {
        fail(&mut world, "pool");
    }
    assert!(word(&world, batch).is_some());
    let half = limits().failures_max / 2;
    for _ in 1..half {
        fail(&mut world, "other");
    }
    assert_eq!(status(&world, batch), Some(BatchStatus::Proving));
    fail(&mut world, "other");
    assert_eq!(status(&world, batch), Some(BatchStatus::Failed));
}

#[test]
fn without_identities_names_count() {
    let (mut world, batch, id) = world_with_batch(1);
    world.disconnect(id);
    for at in 0..limits().failures_max {
        assert_eq!(
            status(&world, batch).map(|status| status == BatchStatus::Failed),
            Some(false)
        );
        let (id, task, fence) = lease_as(&mut world, "", &format!("w{at}"));
        world.fails(id, task, fence, FailureClass::Infrastructure);
        world.disconnect(id);
    }
    assert_eq!(status(&world, batch), Some(BatchStatus::Failed));
}

#[test]
fn one_identity_that_is_silent_or_lost_sets_no_task_aside() {
    let (mut world, batch, id) = world_with_batch(1);
    world.disconnect(id);
    let silent = |world: &mut World, principal: &str, name: &str| {
        let (id, ..) = lease_as(world, principal, name);
        world.pass(limits().lease_ms);
        world.disconnect(id);
    };
    let lost = |world: &mut World, principal: &str, name: &str| {
        let (id, task, fence) = lease_as(world, principal, name);
        let told = world.core.progress(world.now, id, task, fence, "quotient", 0.5);
        world.apply(told.expect("held"));
        world.disconnect(id);
        world.pass(limits().reconnect_grace_ms);
    };
    for at in 0..ROUNDS {
        silent(&mut world, "pool", &format!("w{at}"));
        lost(&mut world, "pool", &format!("w{at}"));
    }
    let task = TaskId::shard(batch, 0);
    let record = &world.disk.tasks[&task];
    assert_eq!((record.status, record.deaths), (TaskStatus::Ready, 1));
    assert!(word(&world, batch).is_some());
    for at in 1..limits().deaths_max {
        assert_eq!(world.disk.tasks[&task].status, TaskStatus::Ready);
        silent(&mut world, &format!("other {at}"), "w");
    }
    assert_eq!(world.disk.tasks[&task].status, TaskStatus::Quarantined);
    let output = world.core.retry(world.now, batch).expect("it has failed");
    world.apply(output);
    for at in 0..limits().losses_max {
        assert_eq!(world.disk.tasks[&task].status, TaskStatus::Ready);
        lost(&mut world, &format!("other {at}"), "w");
    }
    assert_eq!(world.disk.tasks[&task].status, TaskStatus::Quarantined);
}

#[test]
fn a_stuck_worker_that_is_silent_on_several_leases_counts_once() {
    let (mut world, batch, id) = world_with_batch(1);
    for _ in 0..3 * limits().deaths_max {
        world.lease(id).expect("nobody else would take it");
        world.pass(limits().lease_ms);
    }
    let record = &world.disk.tasks[&TaskId::shard(batch, 0)];
    assert_eq!((record.status, record.deaths), (TaskStatus::Ready, 1));
}

#[test]
fn a_task_that_one_worker_gives_back_again_and_again_comes_to_it_after_growing_pauses() {
    let (mut world, batch, id) = world_with_batch(1);
    let mut pauses = Vec::new();
    for _ in 0..ROUNDS {
        let asked = world.now;
        let before = world.grants.len();
        world.request(id);
        while world.grants.len() == before {
            world.pass(1);
            assert!(
                asked.until(world.now) <= limits().retry_ms_max,
                "it comes in the end"
            );
        }
        pauses.push(asked.until(world.now));
        let (task, fence, _) = world.grants[before].clone();
        world.fails(id, task, fence, FailureClass::Returned);
    }
    assert_eq!(
        pauses[..3],
        [0, 0, 0],
        "a worker that was started again does not notice"
    );
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses[ROUNDS - 1], limits().retry_ms_max);
    // Nobody else waits for that.
    let other = world.join("other");
    assert!(world.lease(other).is_some());
    assert_eq!(status(&world, batch), Some(BatchStatus::Proving));
}
