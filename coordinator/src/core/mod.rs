//! The coordinator's rules as a state machine: no input or output, no clock, no randomness.
//!
//! Every step takes the time and returns its answer with a [`Output`]: first the writes, which the shell commits together
//! before anything else, then the effects, which it performs in order. A shell that cannot commit stops: its core is
//! ahead of its store from then on. [`Core::restore`] makes the core of a store again.
//!
//! - [`rollup`]: whose batches are taken, each in a chain of its own; `share` says whose turn it is at the workers.
//! - [`chain`]: which batch may come next, be cancelled, be tried again; what becomes of one when its tasks are done.
//! - [`damage`]: what becomes of a batch of which something that was stored cannot be read.
//! - [`rollback`]: how proven batches that L1 has not accepted are taken back.
//! - [`session`]: which workers are connected, and ask.
//! - [`lease`]: for how long a worker has a task, and what counts when it reports; `assign` chooses which one gets which, and
//!   `evidence` judges what speaks against a task.
//! - [`operator`] and [`explain`]: what an operator does, and is told of a batch.
//! - [`tally`], [`history`] and [`load`]: what has come to pass and what there is to do. Nothing is decided by them.

mod assign;
pub mod chain;
pub mod damage;
mod evidence;
pub mod explain;
pub mod history;
pub mod id;
pub mod lease;
pub mod load;
pub mod operator;
pub mod record;
pub mod rollback;
pub mod rollup;
pub mod session;
mod share;
#[cfg(test)]
pub(crate) mod simulation;
pub mod tally;
pub mod traced;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
};

use evidence::Evidence;
use id::{
    BatchId, Fence, Instance, KeyId, RollupNumber, SessionId, StateRoot, TaskId, TaskKind, Tenant, UnixMs,
    WorkerId,
};
use lease::Work;
use record::{BatchRecord, BatchStatus, TaskRecord, TaskStatus, Write};
use rollup::{Rollup, RollupRecord};
use serde::{Deserialize, Serialize};
use tally::Tally;

/// Longest time between two heartbeats.
pub const HEARTBEAT_MS: u64 = 1_000;
/// A heartbeat that comes so much too late says that the coordinator stood still.
const STALL_MS: u64 = 1_000;

/// Limits and times of the core.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Batches of a rollup that may be accepted and not final at once.
    pub batches_open_max: usize,
    /// The same of one tenant. Callers without an identity may have all.
    pub tenant_batches_open_max: usize,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Leases that a session may hold when it asks for another.
    pub session_leases_max: usize,
    /// Time of a lease, counted from the last renewal.
    pub lease_ms: u64,
    /// Longest time that a lease goes on without progress, however often it is renewed. Above the longest time of a phase that
    /// workers allow themselves.
    pub progress_ms_max: u64,
    /// How long leases outlive the session they were given in.
    pub reconnect_grace_ms: u64,
    /// How long leases of before a restart have to be renewed. At most the time of a lease.
    pub restart_grace_ms: u64,
    /// Wait after a task's first failure; doubles with each.
    pub retry_ms_min: u64,
    /// Longest wait after a failure.
    pub retry_ms_max: u64,
    /// How long a task that failed is kept from the worker that failed, while there are others.
    pub avoid_ms: u64,
    /// Failures of a retried class after which a task has failed for good. One identity's count for half of them at most.
    pub failures_max: u32,
    /// Different workers, connected, that fell silent on a task after which it is quarantined. Here and in what follows, the
    /// workers of one identity are one, and one identity's word is never enough.
    pub deaths_max: u32,
    /// Different workers whose connection was lost in the same phase of a task after which it is quarantined.
    pub losses_max: usize,
    /// Different workers that call a task impossible after which it has failed for good.
    pub refusals_max: usize,
    /// The newest batches of the chain that can be rolled back: for so many is kept what that takes.
    pub rollback_max: u64,
    /// How long a session counts as one that may ask soon after it last did, or was opened.
    pub idle_ms: u64,
    /// How old a batch's time may be when a task of it is handed out, seconds (P-9.4).
    pub time_age_s_max: u64,
    /// A timer that comes so much too late says that the coordinator itself stood still.
    pub pause_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batches_open_max: 64,
            tenant_batches_open_max: 32,
            sessions_max: 1_024,
            session_leases_max: 8,
            lease_ms: 60_000,
            progress_ms_max: 3_600_000,
            reconnect_grace_ms: 3_000,
            restart_grace_ms: 15_000,
            retry_ms_min: 500,
            retry_ms_max: 60_000,
            avoid_ms: 120_000,
            failures_max: 8,
            deaths_max: 4,
            losses_max: 8,
            refusals_max: 2,
            rollback_max: 1_024,
            idle_ms: 5_000,
            time_age_s_max: 86_400,
            pause_ms: 5_000,
        }
    }
}

impl Limits {
    /// The wait after a failure that followed on so many.
    pub(crate) fn retry_ms(&self, before: u32) -> u64 {
        let factor = 1u64.checked_shl(before).unwrap_or(u64::MAX);
        self.retry_ms_min.saturating_mul(factor).min(self.retry_ms_max)
    }
}

/// The result of a step: what to commit, then what to do.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// To be committed together before the effects are performed or the answer is given.
    pub writes: Vec<Write>,
    /// To be performed in order.
    pub effects: Vec<Effect>,
}

/// Something that the shell does.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Sends a task to the worker of a session.
    Grant {
        /// To whom.
        session: SessionId,
        /// The task.
        task: TaskId,
        /// Of the lease.
        fence: Fence,
    },
    /// Tells a worker that a lease is over.
    LeaseLost {
        /// Whom.
        session: SessionId,
        /// The task.
        task: TaskId,
        /// Of the lease.
        fence: Fence,
        /// Why.
        end: LeaseEnd,
    },
    /// Ends a session's stream: another of the same worker has taken its place.
    Close(SessionId),
    /// Tells a worker to finish what it holds and to end.
    Drain(SessionId),
    /// Wakes those that watch a batch.
    Changed(BatchId),
}

/// Why a lease ends before its worker has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseEnd {
    /// Another proof of the task was taken.
    #[error("the task is done")]
    Done,
    /// The batch is proven or was taken back.
    #[error("the batch is final")]
    BatchFinal,
    /// L1 would not take the batch any more.
    #[error("L1 would not take the batch any more")]
    BatchTooOld,
    /// What the task is made from cannot be had.
    #[error("what the task is made from is damaged")]
    Damaged,
    /// Its time is over.
    #[error("the lease was not renewed in time, or showed no progress for too long")]
    Over,
}

impl LeaseEnd {
    /// Whether no proof of the task is wanted any more.
    pub fn is_unneeded(self) -> bool {
        self != Self::Over
    }
}

/// What a store gives back at its opening.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// How often the store was opened, this time included.
    pub epoch: u32,
    /// All rollups, those that are gone too.
    pub rollups: Vec<RollupRecord>,
    /// The batches that are not retired.
    pub batches: Vec<BatchRecord>,
    /// The last batch that is.
    pub last_retired: BatchId,
    /// All tasks.
    pub tasks: Vec<TaskRecord>,
    /// Whether no tasks are handed out.
    pub paused: bool,
}

/// The end of the chain of accepted batches, or what its first follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Root that the next batch starts from.
    pub root: StateRoot,
    /// Number of the next batch.
    pub next_number: u64,
    /// Time of the last batch, Unix seconds; 0 without one.
    pub time: u64,
    /// Entries of L1's queue that are consumed.
    pub queue_head: u64,
}

/// A task and what is not kept of it.
#[derive(Debug, Clone)]
pub struct Task {
    /// What is kept.
    pub record: TaskRecord,
    /// Of the worker's last report.
    pub phase: String,
    /// Of the worker's last report, 0 to 1.
    pub fraction: f64,
    /// When the lease ends. Meaningful while leased.
    deadline: UnixMs,
    /// What the lease has shown. Meaningful while leased.
    work: Work,
    /// The time of a worker that its rollup was charged for the lease, milliseconds.
    charged_ms: f64,
    /// Session that renewed it last; none when the lease is from before a restart.
    session: Option<SessionId>,
    /// What speaks against it, of this run of the coordinator.
    evidence: Evidence,
}

impl Task {
    fn new(record: TaskRecord) -> Self {
        Self {
            record,
            phase: String::new(),
            fraction: 0.0,
            deadline: UnixMs(0),
            work: Work::default(),
            charged_ms: 0.0,
            session: None,
            evidence: Evidence::default(),
        }
    }
}

/// A worker's session.
#[derive(Debug, Clone)]
struct Session {
    worker: WorkerId,
    instance: Option<Instance>,
    capabilities: BTreeSet<TaskKind>,
    /// The circuits that it proves.
    keys: KeyId,
    /// An open lease request: its place in the queue, and the kinds wanted.
    request: Option<(u64, BTreeSet<TaskKind>)>,
    /// When it asked last, or was opened.
    active: UnixMs,
    draining: bool,
    leases: BTreeSet<TaskId>,
}

/// Place of a task among the ready ones: with those of the same circuits and rollup, aggregations first, then by the batch's priority,
/// its deadline, and its age.
type Place = (KeyId, RollupNumber, u8, Reverse<u32>, UnixMs, TaskId);

fn rank(kind: TaskKind) -> u8 {
    match kind {
        TaskKind::Aggregation => 0,
        TaskKind::Shard => 1,
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    /// Revisions of this run start here, above all of the runs before.
    revision_min: u64,
    /// All that ever were.
    rollups: BTreeMap<RollupNumber, Rollup>,
    /// How much rollups that are always served have been served, in the measure of [`Rollup::served`].
    served: f64,
    /// The batches that something may happen to: the newest of each chain, and all that are not final.
    batches: BTreeMap<BatchId, BatchRecord>,
    /// The last batch that was ever accepted.
    last_batch: BatchId,
    /// Those of these batches that are in a chain, by their tenant's request id.
    requests: HashMap<(RollupNumber, Tenant, String), BatchId>,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks that may be leased now.
    ready: BTreeSet<Place>,
    /// Moments at which a task wants to be looked at. Stale ones do no harm.
    timers: BTreeSet<(UnixMs, TaskId)>,
    sessions: BTreeMap<SessionId, Session>,
    /// The session of each worker that is connected.
    workers: HashMap<WorkerId, SessionId>,
    /// Sessions with an open request, in the order of asking.
    waiting: BTreeMap<u64, SessionId>,
    next_session: u64,
    next_request: u64,
    leases_given: u64,
    paused: bool,
    /// How far the system's clock is behind the core's time, seconds.
    system_behind_s: u64,
    stopping: bool,
    tally: Tally,
    /// What decisions have looked at, in all.
    #[cfg(test)]
    steps: std::cell::Cell<u64>,
}

impl Core {
    /// The core as it was when `snapshot` was written. Leases of before get the restart's grace from `now`.
    pub fn restore(limits: Limits, snapshot: Snapshot, now: UnixMs) -> Self {
        let mut core = Self {
            limits,
            revision_min: u64::from(snapshot.epoch) << 32,
            rollups: BTreeMap::new(),
            served: 0.0,
            batches: BTreeMap::new(),
            last_batch: snapshot.last_retired,
            requests: HashMap::new(),
            tasks: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            sessions: BTreeMap::new(),
            workers: HashMap::new(),
            waiting: BTreeMap::new(),
            next_session: 1,
            next_request: 1,
            leases_given: 0,
            paused: snapshot.paused,
            system_behind_s: 0,
            stopping: false,
            tally: Tally::default(),
            #[cfg(test)]
            steps: std::cell::Cell::new(0),
        };
        for record in snapshot.rollups {
            core.last_batch = core.last_batch.max(record.last_batch);
            core.rollups.insert(record.number, Rollup::new(record));
        }
        for mut batch in snapshot.batches {
            core.last_batch = core.last_batch.max(batch.id);
            let rollup = core.rollups.get_mut(&batch.rollup);
            let rollup = rollup.expect("a store has the rollups of its batches");
            rollup.chain.insert(batch.number, batch.id);
            let request = (batch.rollup, batch.tenant.clone(), batch.request_id.clone());
            core.requests.insert(request, batch.id);
            if !batch.is_final() {
                rollup.unproven.insert(batch.number);
                // Revisions given to watchers for unsaved progress may lie above the saved one.
                batch.revision = batch.revision.max(core.revision_min);
                *rollup.open.entry(batch.tenant.clone()).or_default() += 1;
            }
            core.batches.insert(batch.id, batch);
        }
        for mut record in snapshot.tasks {
            // No wait is longer than it can be, though the clock was set back since it began.
            record.not_before = record.not_before.min(now.after(core.limits.retry_ms_max));
            record.avoid_until = record.avoid_until.min(now.after(core.limits.avoid_ms));
            let mut task = Task::new(record);
            let id = task.record.id;
            if task.record.status == TaskStatus::Leased {
                task.work = Work::begin(0, now);
                task.deadline = now.after(core.limits.restart_grace_ms.min(core.limits.lease_ms));
                core.timers.insert((task.deadline, id));
                let (worker, fence) = (task.record.worker.clone(), task.record.fence);
                core.tally.began(id, fence, None, worker, now);
                core.came_to_hand(id);
            }
            core.tasks.insert(id, task);
            core.refresh(id, now);
        }
        core
    }

    /// Says what the system's clock shows, Unix seconds. Batches' times are judged by it where it is behind the core's time: a
    /// clock that was ahead at the start, or is for a moment, makes no batch too old.
    pub fn heed_system_clock(&mut self, now: UnixMs, system_s: u64) {
        self.system_behind_s = (now.0 / 1_000).saturating_sub(system_s);
    }

    /// The end of a rollup's chain.
    ///
    /// # Panics
    /// If there was never such a rollup.
    pub fn head(&self, rollup: RollupNumber) -> Head {
        let rollup = &self.rollups[&rollup];
        let newest = rollup.chain.last_key_value();
        newest.map_or(rollup.record.floor, |(_, id)| rollup::after(&self.batches[id]))
    }

    /// A batch that is not retired.
    pub fn batch(&self, id: BatchId) -> Option<&BatchRecord> {
        self.batches.get(&id)
    }

    /// Whether there was ever a batch of that id.
    pub fn was_accepted(&self, id: BatchId) -> bool {
        id <= self.last_batch
    }

    /// The batches with an id below `before` that are not retired, newest first.
    pub fn batches_before(&self, before: BatchId) -> impl Iterator<Item = &BatchRecord> {
        self.batches.range(..before).rev().map(|(_, batch)| batch)
    }

    /// A batch's tasks, shards first. Empty once the batch is final.
    pub fn tasks_of(&self, batch: BatchId) -> impl Iterator<Item = &Task> {
        self.tasks
            .range(TaskId::shard(batch, 0)..=TaskId::aggregation(batch))
            .map(|(_, task)| task)
    }

    /// Batches accepted and not final.
    pub fn open_batches(&self) -> usize {
        self.rollups.values().map(Rollup::open_batches).sum()
    }

    /// Sessions connected.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When [`Core::tick`] has something to do next.
    pub fn next_timer(&self) -> Option<UnixMs> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Where a task of a batch is among the ready ones.
    fn place(&self, id: TaskId) -> Place {
        let batch = &self.batches[&id.batch];
        let wishes = &batch.wishes;
        let deadline = wishes.deadline.unwrap_or(UnixMs(u64::MAX));
        (
            batch.keys,
            batch.rollup,
            rank(id.kind),
            Reverse(wishes.priority),
            deadline,
            id,
        )
    }

    /// The places of all tasks of a kind, of the same circuits and rollup.
    fn places(keys: KeyId, rollup: RollupNumber, kind: TaskKind) -> RangeInclusive<Place> {
        let bound = |priority, deadline, batch, index| {
            let id = TaskId {
                batch: BatchId(batch),
                kind,
                index,
            };
            (keys, rollup, rank(kind), Reverse(priority), UnixMs(deadline), id)
        };
        bound(u32::MAX, 0, 0, 0)..=bound(0, u64::MAX, u64::MAX, u32::MAX)
    }

    /// Puts a task among the ready ones if it may be leased now, takes it out if not, and sets the timer for later.
    fn refresh(&mut self, id: TaskId, now: UnixMs) {
        let place = self.place(id);
        let may_run = self.batches.get(&id.batch).is_some_and(|batch| {
            let waits = id.kind == TaskKind::Aggregation && batch.shards_done < batch.shards;
            batch.status != BatchStatus::Failed && !batch.is_final() && !waits
        });
        let record = self.tasks.get(&id).map(|task| &task.record);
        let was_ready = self.ready.contains(&place);
        let is_ready = match record.filter(|record| may_run && record.status == TaskStatus::Ready) {
            Some(record) if record.not_before <= now => {
                if record.avoid_until > now {
                    self.timers.insert((record.avoid_until, id));
                }
                true
            }
            Some(record) => {
                self.timers.insert((record.not_before, id));
                false
            }
            None => false,
        };
        if is_ready && !was_ready {
            self.ready.insert(place);
            self.came_to_hand(id);
        } else if was_ready && !is_ready {
            self.ready.remove(&place);
            self.left_hand(id);
        }
    }

    /// Counts a change of a batch.
    fn touch(&mut self, id: BatchId, output: &mut Output) {
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.revision = (batch.revision + 1).max(self.revision_min);
            output.effects.push(Effect::Changed(id));
        }
    }

    /// Counts a change of a batch and writes it.
    fn save_batch(&mut self, id: BatchId, output: &mut Output) {
        self.touch(id, output);
        if let Some(batch) = self.batches.get(&id) {
            output.writes.push(Write::Batch(Box::new(batch.clone())));
        }
    }

    /// Writes a task. Its batch goes with it in the same step, so that a revision that is stored is of the tasks that are.
    fn save_task(&self, id: TaskId, output: &mut Output) {
        if let Some(task) = self.tasks.get(&id) {
            output.writes.push(Write::Task(task.record.clone()));
        }
    }
}
