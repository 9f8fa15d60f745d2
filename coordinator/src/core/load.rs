//! What there is to do now, in numbers.

use std::collections::BTreeMap;

use super::{
    Core, Task,
    id::{TaskKind, UnixMs},
    record::{BatchStatus, TaskStatus},
    tally::Tally,
};

/// Where a task is, as far as numbers go.
pub const TASK_STATES: [&str; 6] = ["ready", "waiting", "leased", "done", "failed", "quarantined"];
/// What a worker does.
pub const WORKER_STATES: [&str; 4] = ["busy", "asking", "idle", "draining"];

/// What there is to do at one moment.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Batches that are not final, by status.
    pub(crate) batches: BTreeMap<&'static str, u64>,
    /// Since when the oldest of them is there, milliseconds.
    pub(crate) oldest_batch_ms: u64,
    /// Tasks of these batches, by kind and one of [`TASK_STATES`].
    pub(crate) tasks: BTreeMap<(TaskKind, &'static str), u64>,
    /// What is still to be proven of them, milliseconds of a device, by kind.
    pub(crate) outstanding_ms: BTreeMap<TaskKind, f64>,
    /// For how long the oldest lease goes on, milliseconds, by kind.
    pub(crate) oldest_lease_ms: BTreeMap<TaskKind, u64>,
    /// Workers, by one of [`WORKER_STATES`].
    pub(crate) workers: BTreeMap<&'static str, u64>,
    /// Whether no tasks are handed out.
    pub(crate) paused: bool,
}

impl Core {
    /// What has come to pass since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What there is to do now. It takes as long as there are open batches, their tasks, and sessions, all of which are bounded.
    pub fn load(&self, now: UnixMs) -> Load {
        let mut load = Load {
            paused: self.paused,
            ..Load::default()
        };
        for kind in TaskKind::ALL {
            let oldest = self.tally.oldest_lease_ms(kind, now);
            load.oldest_lease_ms.insert(kind, oldest);
        }
        for batch in self.unproven() {
            *load.batches.entry(status_name(batch.status)).or_default() += 1;
            load.oldest_batch_ms = load.oldest_batch_ms.max(batch.accepted.until(now));
            let mut aggregations = 1.0;
            for task in self.tasks_of(batch.id) {
                let kind = task.record.id.kind;
                *load.tasks.entry((kind, task_state(task, now))).or_default() += 1;
                match kind {
                    TaskKind::Shard => {
                        *load.outstanding_ms.entry(kind).or_default() +=
                            left_of(task) * self.tally.cost_ms(kind);
                    }
                    TaskKind::Aggregation => aggregations = left_of(task),
                }
            }
            if batch.status == BatchStatus::Failed {
                // Nothing of it is proven until somebody says so.
                aggregations = 0.0;
            }
            let kind = TaskKind::Aggregation;
            *load.outstanding_ms.entry(kind).or_default() += aggregations * self.tally.cost_ms(kind);
        }
        for session in self.sessions.values() {
            let state = worker_state(
                session.draining,
                !session.leases.is_empty(),
                session.request.is_some(),
            );
            *load.workers.entry(state).or_default() += 1;
        }
        load
    }
}

/// The part of a task that is still to be proven.
fn left_of(task: &Task) -> f64 {
    match task.record.status {
        TaskStatus::Ready => 1.0,
        TaskStatus::Leased => 1.0 - task.fraction,
        TaskStatus::Done | TaskStatus::Failed | TaskStatus::Quarantined => 0.0,
    }
}

/// One of [`WORKER_STATES`].
pub fn worker_state(draining: bool, busy: bool, asking: bool) -> &'static str {
    match (draining, busy, asking) {
        (true, ..) => "draining",
        (_, true, _) => "busy",
        (_, _, true) => "asking",
        _ => "idle",
    }
}

/// One of [`TASK_STATES`].
pub fn task_state(task: &Task, now: UnixMs) -> &'static str {
    match task.record.status {
        TaskStatus::Ready if task.record.not_before > now => "waiting",
        TaskStatus::Ready => "ready",
        TaskStatus::Leased => "leased",
        TaskStatus::Done => "done",
        TaskStatus::Failed => "failed",
        TaskStatus::Quarantined => "quarantined",
    }
}

/// A word for a status, without spaces.
pub fn status_name(status: BatchStatus) -> &'static str {
    match status {
        BatchStatus::Queued => "queued",
        BatchStatus::Proving => "proving",
        BatchStatus::Aggregating => "aggregating",
        BatchStatus::Proven => "proven",
        BatchStatus::Failed => "failed",
        BatchStatus::Cancelled => "cancelled",
        BatchStatus::RolledBack => "rolled_back",
    }
}
