//! Several rollups that share workers.

use super::*;
use crate::core::{
    explain::Reason,
    rollup::{CreateError, DeleteError, Difference, RollupChange},
};

const OTHER: RollupNumber = RollupNumber(1);

/// Rollups of these weights, without batches.
fn world_of(weights: &[u32]) -> World {
    let mut disk = Disk::default();
    for (number, &weight) in (0..).zip(weights) {
        let rollup = RollupRecord {
            weight,
            ..some_rollup(number, START)
        };
        disk.rollups.insert(rollup.number, rollup);
    }
    let mut world = World::with(0, disk);
    world.faults = false;
    world
}

impl World {
    fn submit_to(&mut self, rollup: RollupNumber, shards: usize) -> BatchId {
        self.rollup = rollup;
        self.submit_shards(shards)
    }

    fn submit_with(&mut self, wishes: Wishes) -> BatchId {
        let submission = Submission {
            wishes,
            shard_inputs: vec![vec![1]],
            ..self.submission()
        };
        let submitted = self.core.submit(self.now, submission);
        let (batch, _, output) = submitted.expect("it is the next batch");
        self.apply(output);
        batch
    }

    fn change(&mut self, rollup: RollupNumber, change: RollupChange) {
        let output = self.core.change_rollup(self.now, rollup, change);
        self.apply(output);
    }

    fn pause_one(&mut self, rollup: RollupNumber, paused: bool) {
        let change = RollupChange {
            paused: Some(paused),
            ..RollupChange::default()
        };
        self.change(rollup, change);
    }

    /// Leases a task, which takes that long, and proves it; whose it was.
    fn work(&mut self, id: SessionId, ms: u64) -> Option<(RollupNumber, TaskId)> {
        let (task, fence) = self.lease(id)?;
        let rollup = self.core.batches[&task.batch].rollup;
        for _ in 0..ms / 500 {
            self.pass(500);
            self.core.renew(self.now, id, task, fence).expect("held");
        }
        assert!(self.prove(id, task));
        Some((rollup, task))
    }

    /// How many of the next tasks are whose, where all rollups always have some ready. `ms` is what one takes.
    fn served(&mut self, id: SessionId, tasks: usize, ms: impl Fn(RollupNumber) -> u64) -> Vec<usize> {
        let mut counts = vec![0; self.disk.rollups.len()];
        for _ in 0..tasks {
            for number in 0..counts.len() {
                self.rollup = RollupNumber(u32::try_from(number).expect("few"));
                while self.core.rollups[&self.rollup].at_hand < 4 {
                    self.submit_shards(3);
                }
            }
            let next = self.core.in_turn(KEYS, &TaskKind::ALL).next();
            let next = next.expect("some are ready");
            let rollup = self.core.batches[&next.batch].rollup;
            let worked = self.work(id, ms(rollup));
            assert_eq!(worked, Some((rollup, next)), "the turn decides");
            counts[rollup.0 as usize] += 1;
            self.check();
        }
        counts
    }
}

#[test]
fn rollups_share_workers_by_their_weights() {
    let mut world = world_of(&[1, 3]);
    let id = world.join("w0");
    let counts = world.served(id, 400, |_| 1_000);
    assert_eq!(counts.iter().sum::<usize>(), 400);
    assert!((97..=103).contains(&counts[0]), "a quarter: {counts:?}");
    let equal = RollupChange {
        weight: Some(3),
        ..RollupChange::default()
    };
    world.change(MAIN, equal);
    let counts = world.served(id, 400, |_| 1_000);
    assert!((195..=205).contains(&counts[0]), "a half: {counts:?}");
}

#[test]
fn time_is_shared_and_not_tasks() {
    let mut world = world_of(&[1, 1]);
    let id = world.join("w0");
    // Those of the first take three times as long.
    let ms = |rollup| if rollup == MAIN { 3_000 } else { 1_000 };
    world.served(id, 20, ms);
    let counts = world.served(id, 400, ms);
    assert!((92..=108).contains(&counts[0]), "a quarter: {counts:?}");
}

#[test]
fn failures_are_paid_for_by_whose_they_are() {
    let mut world = world_of(&[1, 1]);
    let id = world.join("w0");
    let (mut failed, mut proven) = (0, 0);
    for _ in 0..200 {
        for rollup in [MAIN, OTHER] {
            if world.core.rollups[&rollup].at_hand < 4 && world.core.open_batches_of(rollup) < 2 {
                world.submit_to(rollup, 3);
            }
        }
        let Some((task, fence)) = world.lease(id) else {
            world.pass(limits().retry_ms_min);
            continue;
        };
        world.pass(500);
        match world.core.batches[&task.batch].rollup {
            MAIN => {
                world.fails(id, task, fence, FailureClass::Infrastructure);
                failed += 1;
                world.retry();
            }
            _ => {
                assert!(world.prove(id, task));
                proven += 1;
            }
        }
        world.check();
    }
    assert!(proven >= failed, "{failed} failed, {proven} were proven");
    assert!(proven > 60, "{failed} failed, {proven} were proven");
}

#[test]
fn what_a_rollup_did_not_use_is_not_kept_for_it() {
    let mut world = world_of(&[1, 1]);
    let id = world.join("w0");
    for _ in 0..10 {
        let batch = world.submit_to(MAIN, 3);
        for _ in 0..4 {
            assert!(world.work(id, 1_000).is_some());
        }
        assert_eq!(world.status(batch), Some(BatchStatus::Proven));
    }
    // One that was idle all the while has its half from now on, and no more.
    let counts = world.served(id, 100, |_| 1_000);
    assert!((48..=52).contains(&counts[1]), "{counts:?}");
}

#[test]
fn a_paused_rollup_gets_no_workers_and_takes_none_from_others() {
    let mut world = world_of(&[1, 1]);
    let paused = world.submit_to(MAIN, 2);
    world.pause_one(MAIN, true);
    let other = world.submit_to(OTHER, 2);
    let id = world.join("w0");
    for _ in 0..3 {
        let (rollup, _) = world.work(id, 500).expect("the other's are ready");
        assert_eq!(rollup, OTHER);
    }
    assert_eq!(world.status(other), Some(BatchStatus::Proven));
    assert_eq!(world.lease(id), None);
    let reasons = world.core.explain(world.now, paused).expect("it exists");
    let reason = Reason::RollupPaused { rollup: "r0".into() };
    assert!(reasons.contains(&reason), "{reasons:?}");
    assert!(reason.to_string().contains("resume --rollup r0"), "{reason}");
    world.restart();
    let id = world.join("w0");
    assert_eq!(world.lease(id), None, "over a restart too");
    let before = world.grants.len();
    world.pause_one(MAIN, false);
    assert_eq!(world.grants.len(), before + 1, "the open request is answered");
    world.check();
}

#[test]
fn priority_then_deadline_then_age_within_a_rollup_and_aggregations_before_all() {
    let mut world = World::new(0);
    world.faults = false;
    let wishes = |priority, deadline: Option<u64>| Wishes {
        priority,
        deadline: deadline.map(UnixMs),
        labels: vec![],
    };
    let first = world.submit_shards(1);
    let id = world.join("w0");
    let (task, _) = world.lease(id).expect("the only one");
    let late = world.submit_with(wishes(0, Some(9_000)));
    let soon = world.submit_with(wishes(0, Some(5_000)));
    let urgent = world.submit_with(wishes(7, None));
    let plain = world.submit_with(wishes(0, None));
    assert!(world.prove(id, task));
    let shard = |batch| TaskId::shard(batch, 0);
    let order: Vec<TaskId> = world.core.in_turn(KEYS, &TaskKind::ALL).collect();
    let expected = [
        TaskId::aggregation(first),
        shard(urgent),
        shard(soon),
        shard(late),
        shard(plain),
    ];
    assert_eq!(order, expected);
    world.restart();
    let again: Vec<TaskId> = world.core.in_turn(KEYS, &TaskKind::ALL).collect();
    assert_eq!(again, expected, "over a restart too");
    // A batch of another rollup does not wait for urgent ones.
    let id = world.join("w0");
    assert_eq!(world.lease(id).map(|(task, _)| task), Some(expected[0]));
}

#[test]
fn a_chain_is_a_rollups_own() {
    let mut world = world_of(&[1, 1]);
    let [first, other] = [MAIN, OTHER].map(|rollup| world.submit_to(rollup, 1));
    let numbers = [first, other].map(|id| world.core.batches[&id].number);
    assert_eq!(numbers, [0, 0]);
    // The ids of requests and the limits too.
    let submission = Submission {
        request_id: "same".into(),
        tenant: Tenant("t".into()),
        ..world.submission()
    };
    for rollup in [MAIN, OTHER] {
        world.rollup = rollup;
        let submission = Submission {
            rollup,
            ..submission.clone()
        };
        let head = world.head();
        let submission = Submission {
            old_root: head.root,
            ..submission
        };
        let (_, existed, output) = world.core.submit(world.now, submission).expect("it is next");
        assert!(!existed);
        world.apply(output);
    }
    for _ in 2..limits().batches_open_max {
        world.submit_with(Wishes::default());
    }
    let full = world.submission();
    let open = limits().batches_open_max;
    assert_eq!(
        world.core.submit(world.now, full),
        Err(SubmitError::QueueFull { open })
    );
    world.submit_to(MAIN, 1);
    world.check();
    let (taken, output) = world.taken_back(first, 0).err().map_or_else(
        || panic!("it is not the newest"),
        |_| {
            let newest = *world.core.rollups[&OTHER].chain.last_key_value().expect("some").1;
            world.taken_back(newest, 0).expect("it is the newest")
        },
    );
    world.apply(output);
    world.rolled_back.extend(&taken);
    assert!(taken.contains(&other) && !taken.contains(&first));
    assert_eq!(world.core.head(OTHER), START);
    assert_eq!(world.core.head(MAIN).next_number, 3);
    world.check();
}

fn difference(field: &'static str, expected: &str, found: &str) -> Difference {
    Difference {
        field,
        expected: expected.into(),
        found: found.into(),
    }
}

fn new_rollup(name: &str, contract: u8) -> NewRollup {
    NewRollup {
        name: name.into(),
        rollup_id: RollupId {
            chain_id: 1,
            contract: [contract; 20],
        },
        tenant: Tenant("t".into()),
        weight: 2,
        start: START,
        digest: None,
    }
}

#[test]
fn a_rollup_is_created_deleted_and_created_again() {
    let mut world = World::new(0);
    world.faults = false;
    for (new, refused) in [
        (new_rollup("", 1), CreateError::Name(String::new())),
        (new_rollup("Big", 1), CreateError::Name("Big".into())),
        (new_rollup("0", 1), CreateError::Name("0".into())),
        (new_rollup("a/b", 1), CreateError::Name("a/b".into())),
        (
            new_rollup("r0", 1),
            CreateError::NameTaken {
                name: "r0".into(),
                difference: difference("chain_id", "31337", "1"),
            },
        ),
        (new_rollup("zero", 0), CreateError::NoContract),
        (
            NewRollup {
                weight: 0,
                ..new_rollup("light", 1)
            },
            CreateError::Weight(0),
        ),
        (
            NewRollup {
                rollup_id: some_rollup(0, START).id(),
                ..new_rollup("same", 1)
            },
            CreateError::IsHere {
                name: "r0".into(),
                difference: difference("name", "\"r0\"", "\"same\""),
            },
        ),
    ] {
        let output = world.core.create_rollup(world.now, new);
        assert_eq!(output.map(drop), Err(refused));
    }
    let (number, output) = world
        .core
        .create_rollup(world.now, new_rollup("two", 2))
        .expect("it is none of the others");
    world.apply(output);
    assert_eq!(number, OTHER);
    assert!(world.core.rollup_named("two").is_none(), "it is being made");
    let again = world.core.create_rollup(world.now, new_rollup("two", 3));
    assert_eq!(again.map(drop), Err(CreateError::Unfinished("two".into())));
    let again = world.core.create_rollup(world.now, new_rollup("three", 2));
    assert_eq!(again.map(drop), Err(CreateError::Unfinished("two".into())));
    let output = world.core.made_rollup(number);
    world.apply(output);
    // Whoever did not hear of it asks again.
    let again = world.core.create_rollup(world.now, new_rollup("two", 2));
    assert_eq!(again, Ok((number, Output::default())));
    for (asked, expected) in [
        (
            new_rollup("three", 2),
            CreateError::IsHere {
                name: "two".into(),
                difference: difference("name", "\"two\"", "\"three\""),
            },
        ),
        (
            new_rollup("two", 3),
            CreateError::NameTaken {
                name: "two".into(),
                difference: difference("contract", &"02".repeat(20), &"03".repeat(20)),
            },
        ),
    ] {
        let refused = world.core.create_rollup(world.now, asked);
        assert_eq!(refused, Err(expected));
    }
    let batch = world.submit_to(number, 1);
    let id = world.join("w0");
    // Only one that is paused, has nothing to prove, and whose end is known.
    let deleted = |world: &mut World, next| world.core.delete_rollup(number, next).map(drop);
    let name = || "two".to_owned();
    assert_eq!(deleted(&mut world, 1), Err(DeleteError::NotPaused(name())));
    world.pause_one(number, true);
    let open = DeleteError::Open {
        name: name(),
        open: 1,
    };
    assert_eq!(deleted(&mut world, 1), Err(open));
    world.pause_one(number, false);
    while world.work(id, 0).is_some() {}
    world.pause_one(number, true);
    let wrong = DeleteError::Number {
        name: name(),
        expected: 1,
        found: 0,
    };
    assert_eq!(deleted(&mut world, 0), Err(wrong));
    let output = world.core.delete_rollup(number, 1).expect("all is well");
    world.apply(output);
    assert!(world.core.rollup_named("two").is_none());
    world.rollup = number;
    let late = world.submission();
    let refused = world.core.submit(world.now, late);
    assert_eq!(refused.map(drop), Err(SubmitError::NoRollup));
    // Its batch is retired, and removed with what is stored of it.
    let retired = world.disk.retired[&batch].clone();
    world.disk.commit(Core::remove_retired(retired));
    assert!(world.disk.artifacts.keys().all(|key| key.batch() != batch));
    let output = world.core.removed_rollup(number);
    world.apply(output);
    assert_eq!(world.core.rollups().count(), 1);
    // Neither its number nor its batches' ids are given again, over a restart too.
    world.restart();
    let (third, output) = world
        .core
        .create_rollup(world.now, new_rollup("two", 2))
        .expect("it is none any more");
    world.apply(output);
    assert_eq!(third, RollupNumber(2));
    let output = world.core.made_rollup(third);
    world.apply(output);
    assert!(world.submit_to(third, 1) > batch);
    let task = TaskId::shard(batch, 0);
    assert_eq!(world.core.claim(task, Fence(1)), Claim::NotNeeded, "it is gone");
}

#[test]
fn a_rollup_that_was_not_made_to_the_end_goes() {
    let mut world = World::new(0);
    world.faults = false;
    let made = world.core.create_rollup(world.now, new_rollup("half", 2));
    let (number, output) = made.expect("it is none of the others");
    world.apply(output);
    world.restart();
    let status = |world: &World| world.core.rollup(number).map(|rollup| rollup.status);
    assert_eq!(status(&world), Some(RollupStatus::Making));
    let output = world.core.abandon_rollup(number);
    world.apply(output);
    assert_eq!(status(&world), Some(RollupStatus::Leaving));
    assert_eq!(
        world.core.made_rollup(number),
        Output::default(),
        "it is too late"
    );
    // Its name is free at once.
    let again = world.core.create_rollup(world.now, new_rollup("half", 2));
    assert_eq!(again.expect("it is free").0, RollupNumber(2));
}
