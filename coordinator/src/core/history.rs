//! The attempts at the tasks of the newest batches, with their phases, and the newest failures: for those who look. Nothing is decided by
//! it, and nothing of it is kept over a restart.

use std::collections::{BTreeMap, VecDeque};

use super::{
    id::{BatchId, TaskId, UnixMs, WorkerId},
    tally::Outcome,
};

/// Batches whose attempts are remembered.
pub const BATCHES_MAX: usize = 128;
/// Attempts of a batch that are remembered, the newest. A batch without failures has one for each shard and one more.
pub const ATTEMPTS_MAX: usize = 64;
/// Phases of an attempt that are remembered, the first.
pub const PHASES_MAX: usize = 16;
/// Failures that are remembered.
pub const FAILURES_MAX: usize = 64;
/// Most characters of a failure's words that are remembered.
pub const WHY_CHARS_MAX: usize = 256;

/// An attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// Who made it; none where it was under way when the coordinator started.
    pub worker: Option<WorkerId>,
    /// When the worker got the task.
    pub began: UnixMs,
    /// When and how it ended.
    pub ended: Option<(UnixMs, &'static str)>,
    /// The time of the worker's device that it took, milliseconds.
    pub device_ms: u64,
    /// When which phase began.
    pub phases: Vec<(UnixMs, &'static str)>,
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: UnixMs,
    /// The task.
    pub task: TaskId,
    /// Whose attempt it was.
    pub worker: Option<WorkerId>,
    /// How it ended.
    pub outcome: &'static str,
    /// In words, the worker's where it said any.
    pub why: String,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct History {
    batches: BTreeMap<BatchId, VecDeque<Attempt>>,
    failures: VecDeque<Failure>,
}

impl History {
    /// The attempts at a batch's tasks that are remembered, in the order of their beginning.
    pub fn attempts(&self, batch: BatchId) -> impl Iterator<Item = &Attempt> {
        self.batches.get(&batch).into_iter().flatten()
    }

    /// The failures that are remembered, newest first.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().rev()
    }

    /// What a batch has taken of devices so far, milliseconds; none where nothing is remembered of it.
    pub fn device_ms(&self, batch: BatchId) -> Option<u64> {
        let attempts = self.batches.get(&batch)?;
        Some(attempts.iter().map(|attempt| attempt.device_ms).sum())
    }

    pub(super) fn began(&mut self, task: TaskId, worker: Option<WorkerId>, now: UnixMs) {
        let attempts = self.batches.entry(task.batch).or_default();
        if attempts.len() == ATTEMPTS_MAX {
            attempts.pop_front();
        }
        attempts.push_back(Attempt {
            task,
            worker,
            began: now,
            ended: None,
            device_ms: 0,
            phases: Vec::new(),
        });
        if self.batches.len() > BATCHES_MAX {
            self.batches.pop_first();
        }
    }

    pub(super) fn phase(&mut self, task: TaskId, phase: &'static str, now: UnixMs) {
        if let Some(attempt) = self.under_way(task)
            && attempt.phases.len() < PHASES_MAX
        {
            attempt.phases.push((now, phase));
        }
    }

    pub(super) fn ended(&mut self, task: TaskId, outcome: Outcome, why: &str, device_ms: u64, now: UnixMs) {
        let name = outcome.name();
        let worker = self.under_way(task).and_then(|attempt| {
            attempt.ended = Some((now, name));
            attempt.device_ms = device_ms;
            attempt.worker.clone()
        });
        if matches!(outcome, Outcome::Proven | Outcome::ProvenLate | Outcome::Unneeded) {
            return;
        }
        if self.failures.len() == FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(Failure {
            at: now,
            task,
            worker,
            outcome: name,
            why: why.chars().take(WHY_CHARS_MAX).collect(),
        });
    }

    fn under_way(&mut self, task: TaskId) -> Option<&mut Attempt> {
        let attempts = self.batches.get_mut(&task.batch)?;
        let mut newest_first = attempts.iter_mut().rev();
        newest_first.find(|attempt| attempt.task == task && attempt.ended.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{id::Principal, lease::FailureClass};
    use super::*;

    fn worker() -> Option<WorkerId> {
        Some(WorkerId {
            principal: Principal::default(),
            name: "w".into(),
        })
    }

    #[test]
    fn an_attempt_is_remembered_with_its_phases_and_its_end() {
        let mut history = History::default();
        let task = TaskId::shard(BatchId(1), 0);
        history.began(task, worker(), UnixMs(1));
        history.phase(task, "witness", UnixMs(2));
        let failed = Outcome::Failed(FailureClass::Resource);
        history.ended(task, failed, &"\u{e4}".repeat(1_000), 3, UnixMs(4));
        history.began(task, worker(), UnixMs(5));
        history.ended(task, Outcome::Proven, "", 5, UnixMs(10));
        let attempts: Vec<_> = history.attempts(BatchId(1)).collect();
        assert_eq!(attempts[0].phases, [(UnixMs(2), "witness")]);
        assert_eq!(attempts[0].ended, Some((UnixMs(4), "resource")));
        assert_eq!(attempts[1].ended, Some((UnixMs(10), "proven")));
        assert_eq!(history.device_ms(BatchId(1)), Some(8));
        assert_eq!(history.device_ms(BatchId(2)), None);
        let failures: Vec<_> = history.failures().collect();
        assert_eq!(failures.len(), 1, "a proof is no failure");
        assert_eq!(failures[0].why.chars().count(), WHY_CHARS_MAX);
    }

    #[test]
    fn no_more_is_remembered_than_is_said() {
        let mut history = History::default();
        for number in 0..BATCHES_MAX as u64 + 5 {
            let task = TaskId::shard(BatchId(number), 0);
            for _ in 0..ATTEMPTS_MAX + 5 {
                history.began(task, worker(), UnixMs(0));
                (0..PHASES_MAX + 5).for_each(|_| history.phase(task, "other", UnixMs(0)));
                history.ended(task, Outcome::Lost, "", 0, UnixMs(0));
            }
        }
        assert_eq!(history.batches.len(), BATCHES_MAX);
        assert_eq!(
            history.attempts(BatchId(4)).count(),
            0,
            "the oldest are forgotten"
        );
        assert_eq!(history.attempts(BatchId(5)).count(), ATTEMPTS_MAX);
        assert!(
            history
                .attempts(BatchId(5))
                .all(|attempt| attempt.phases.len() == PHASES_MAX)
        );
        assert_eq!(history.failures().count(), FAILURES_MAX);
    }
}
