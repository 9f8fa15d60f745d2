//! Whose turn it is at the workers.
//!
//! Each rollup is charged for what its tasks take of workers, divided by its weight, and the one that was charged least is served next:
//! start-time fair queueing. At a grant the charge is what such tasks took of late, and it is set right when the attempt ends, so that
//! what fails or takes long is paid for by whose it is. A rollup that comes back after it had nothing to do begins where those are that
//! were served meanwhile: what it did not use is not kept for it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap, btree_set},
    iter::Peekable,
};

use super::{
    Core, Place,
    id::{KeyId, RollupNumber, TaskId, TaskKind, UnixMs},
    lease::Work,
    tally::Outcome,
};

/// What a task is charged at least, milliseconds: none is for nothing.
const CHARGE_MS_MIN: f64 = 1.0;

/// The tasks that one rollup has ready.
struct Turn<'a> {
    served: f64,
    rollup: RollupNumber,
    weight: f64,
    /// By kind, aggregations first.
    ready: Vec<Peekable<btree_set::Range<'a, Place>>>,
}

/// The rollup that was served least is the greatest, and of several the first.
impl Ord for Turn<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .served
            .total_cmp(&self.served)
            .then(other.rollup.cmp(&self.rollup))
    }
}

impl PartialOrd for Turn<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn<'_> {}

/// Ready tasks in the order in which they would be given out.
struct Turns<'a> {
    turns: BinaryHeap<Turn<'a>>,
    costs: BTreeMap<TaskKind, f64>,
}

impl Iterator for Turns<'_> {
    type Item = TaskId;

    fn next(&mut self) -> Option<TaskId> {
        loop {
            let mut turn = self.turns.pop()?;
            let next = turn.ready.iter_mut().find_map(Iterator::next);
            // A rollup that has no more leaves.
            let Some((.., task)) = next else { continue };
            turn.served += self.costs[&task.kind] / turn.weight;
            self.turns.push(turn);
            return Some(*task);
        }
    }
}

impl Core {
    /// The ready tasks of these circuits and kinds, in the order in which they would be given out one after the other.
    pub(super) fn in_turn(&self, keys: KeyId, kinds: &[TaskKind]) -> impl Iterator<Item = TaskId> {
        let mut best_first = [TaskKind::Aggregation, TaskKind::Shard].to_vec();
        best_first.retain(|kind| kinds.contains(kind));
        let rollups = self.rollups.values().filter(|rollup| rollup.at_hand > 0);
        let turns = rollups.filter(|rollup| !rollup.record.paused).map(|rollup| {
            let number = rollup.record.number;
            let of_kind = |kind: &TaskKind| self.ready.range(Self::places(keys, number, *kind)).peekable();
            Turn {
                served: rollup.served,
                rollup: number,
                weight: f64::from(rollup.record.weight),
                ready: best_first.iter().map(of_kind).collect(),
            }
        });
        let cost = |kind| (kind, self.tally.cost_ms(kind).max(CHARGE_MS_MIN));
        Turns {
            turns: turns.collect(),
            costs: TaskKind::ALL.map(cost).into(),
        }
    }

    /// One more task of a rollup is ready or leased.
    pub(super) fn came_to_hand(&mut self, id: TaskId) {
        let served = self.served;
        if let Some(rollup) = self.rollup_of_task(id) {
            if rollup.at_hand == 0 {
                rollup.served = rollup.served.max(served);
            }
            rollup.at_hand += 1;
        }
    }

    /// One task of a rollup less is.
    pub(super) fn left_hand(&mut self, id: TaskId) {
        if let Some(rollup) = self.rollup_of_task(id) {
            rollup.at_hand -= 1;
        }
    }

    fn rollup_of_task(&mut self, id: TaskId) -> Option<&mut super::Rollup> {
        let batch = self.batches.get(&id.batch)?;
        self.rollups.get_mut(&batch.rollup)
    }

    /// A worker has a task: its rollup is charged.
    pub(super) fn charge(&mut self, now: UnixMs, id: TaskId, order: u64) {
        let cost = self.tally.cost_ms(id.kind).max(CHARGE_MS_MIN);
        let task = self.tasks.get_mut(&id).expect("a task that is granted");
        task.work = Work::begin(order, now);
        task.charged_ms = cost;
        let Some(rollup) = self.rollup_of_task(id) else {
            return;
        };
        let began = rollup.served;
        rollup.served += cost / f64::from(rollup.record.weight);
        self.served = self.served.max(began);
        self.came_to_hand(id);
    }

    /// The attempt at a task ends, `why` in words; nothing happens where that was told before. Its rollup has paid what it took.
    pub(super) fn ended(&mut self, id: TaskId, outcome: Outcome, why: &str, now: UnixMs) {
        let Some(device_ms) = self.tally.ended(id, outcome, why, now) else {
            return;
        };
        let charged = self
            .tasks
            .get_mut(&id)
            .map_or(0.0, |task| std::mem::take(&mut task.charged_ms));
        let owed = (device_ms as f64).max(CHARGE_MS_MIN) - charged;
        if let Some(rollup) = self.rollup_of_task(id) {
            // One whose weight was changed meanwhile pays the rest by the new one.
            rollup.served += owed / f64::from(rollup.record.weight);
        }
        self.left_hand(id);
    }
}
