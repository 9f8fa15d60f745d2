//! What ended in a step, for whoever tells it as spans of a trace. Nothing is noted where nobody takes it after each step.

use super::{
    Core,
    id::{Fence, TaskId, UnixMs, WorkerId},
    record::BatchRecord,
};

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// The task.
    pub task: TaskId,
    /// Of its lease: the attempt's number.
    pub fence: Fence,
    /// Who made it.
    pub worker: Option<WorkerId>,
    /// When the worker got the task.
    pub began: UnixMs,
    /// When it ended.
    pub ended: UnixMs,
    /// How.
    pub outcome: &'static str,
    /// Why, where it came to nothing.
    pub why: Option<String>,
}

/// What ended in a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traced {
    /// Attempts.
    pub attempts: Vec<EndedAttempt>,
    /// Batches that became final.
    pub batches: Vec<BatchRecord>,
}

impl Core {
    /// Notes from now on what ends; to be taken after each step.
    pub fn trace(&mut self) {
        self.tally.traced.get_or_insert_default();
    }

    /// What has ended since it was taken last.
    pub fn take_traced(&mut self) -> Traced {
        self.tally.traced.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
