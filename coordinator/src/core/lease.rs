//! Leases: which worker gets which task for how long, and what counts when it reports.
//!
//! A lease is a task, a fence and a deadline. Only the newest fence can renew, report progress or fail; every fence that was
//! ever given can complete, since the proof speaks for itself.
//!
//! What counts against a task is evidence about it. A connected worker that falls silent has died on it. One whose connection
//! is lost may have been stopped by anybody, and counts only where many different ones were lost in the same phase. One that
//! gives a task back because it stops says nothing. A word that a task is impossible needs a second worker's. One that renews and
//! shows no progress for too long is as good as silent. When the coordinator itself stood still, nobody was silent. Where
//! workers prove identities, those of one identity are one: nothing that a single identity does fails a batch (`evidence`).

use std::collections::BTreeSet;

pub use proto::FailureClass;

use super::{
    Core, Effect, HEARTBEAT_MS, LeaseEnd, Output, STALL_MS,
    chain::Remedy,
    id::{Fence, SessionId, TaskId, UnixMs},
    record::TaskStatus,
    tally::Outcome,
};

/// Most characters kept of a phase.
const PHASE_CHARS_MAX: usize = 64;
/// Phases of a lease whose beginning counts as progress; an engine has a dozen.
const PHASES_MAX: usize = 32;
/// By how much the part that is done must grow to count as progress, so that a lease shows it a hundred times at most.
const FRACTION_MIN: f64 = 0.01;
/// Most characters kept of a failure's message.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// What a lease has shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// Leases are numbered as they are given: a worker proves its oldest one first.
    order: u64,
    /// When it was given or renewed last.
    renewed: UnixMs,
    /// When it showed progress last, or the task that the worker proves before it did.
    moved: UnixMs,
    /// Phases that it has been in.
    phases: BTreeSet<String>,
    /// The greatest part that was done.
    reached: f64,
}

impl Work {
    /// Of a new lease.
    pub(super) fn begin(order: u64, now: UnixMs) -> Self {
        Self {
            order,
            renewed: now,
            moved: now,
            ..Self::default()
        }
    }

    /// Notes a report; whether it shows progress. It counts only what a lease can show so many times.
    fn note(&mut self, phase: &str, fraction: f64) -> bool {
        let further = fraction >= self.reached + FRACTION_MIN;
        if further {
            self.reached = fraction;
        }
        let known = phase.is_empty() || self.phases.contains(phase) || self.phases.len() >= PHASES_MAX;
        if !known {
            self.phases.insert(phase.to_owned());
        }
        further || !known
    }
}

/// A report about a lease that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// No such task, or its batch is final.
    #[error("the task is not needed")]
    NotNeeded,
    /// The lease has ended, or another has begun.
    #[error("the lease is over")]
    Over,
}

/// What to do with a proof that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Verify it, then call [`Core::accept`] or [`Core::reject`].
    Verify,
    /// Drop it: the task is done, or its batch final.
    NotNeeded,
    /// No such lease was ever given.
    Unknown,
}

impl Core {
    /// Extends a lease by a full lease's time, and takes it over into this session.
    ///
    /// # Errors
    /// The lease is over.
    pub fn renew(
        &mut self,
        now: UnixMs,
        id: SessionId,
        task_id: TaskId,
        fence: Fence,
    ) -> Result<(), LeaseLost> {
        self.held(id, task_id, fence)?;
        let task = self.tasks.get_mut(&task_id).expect("just found");
        self.sessions
            .get_mut(&id)
            .expect("just found")
            .leases
            .insert(task_id);
        if let Some(before) = task.session.replace(id).filter(|before| *before != id)
            && let Some(session) = self.sessions.get_mut(&before)
        {
            session.leases.remove(&task_id);
        }
        task.work.renewed = now;
        self.tally.renewed(task_id, id);
        self.set_deadline(task_id);
        Ok(())
    }

    /// Sets when a lease ends: its time after the last renewal, but no later than it may be without progress.
    pub(super) fn set_deadline(&mut self, task_id: TaskId) {
        let Some(task) = self.tasks.get_mut(&task_id) else {
            return;
        };
        self.timers.remove(&(task.deadline, task_id));
        let still_max = task.work.moved.after(self.limits.progress_ms_max);
        task.deadline = task.work.renewed.after(self.limits.lease_ms).min(still_max);
        self.timers.insert((task.deadline, task_id));
    }

    /// A session's worker has shown progress on the lease of that number. Those that it got later wait for that one, and have
    /// their whole time again.
    fn moved(&mut self, now: UnixMs, id: SessionId, order: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        for task_id in session.leases.clone() {
            let task = self.tasks.get_mut(&task_id).expect("a lease is of a task");
            if task.work.order >= order {
                task.work.moved = now;
                self.set_deadline(task_id);
            }
        }
    }

    /// Notes how far a task is.
    ///
    /// # Errors
    /// The lease is over.
    pub fn progress(
        &mut self,
        now: UnixMs,
        id: SessionId,
        task_id: TaskId,
        fence: Fence,
        phase: &str,
        fraction: f64,
    ) -> Result<Output, LeaseLost> {
        self.held(id, task_id, fence)?;
        let task = self.tasks.get_mut(&task_id).expect("just found");
        task.phase = phase.chars().take(PHASE_CHARS_MAX).collect();
        task.fraction = if fraction.is_finite() {
            fraction.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let evidence = task.work.note(&task.phase, task.fraction);
        self.tally.phase(task_id, &task.phase, now);
        // Before the lease was taken over into this session it ends with the grace of the other.
        if evidence && task.session == Some(id) {
            let order = task.work.order;
            self.moved(now, id, order);
        }
        let mut output = Output::default();
        self.touch(task_id.batch, &mut output);
        Ok(output)
    }

    /// A worker gives a task up.
    ///
    /// # Errors
    /// The lease is over.
    pub fn fail(
        &mut self,
        now: UnixMs,
        id: SessionId,
        task_id: TaskId,
        fence: Fence,
        class: FailureClass,
        message: &str,
    ) -> Result<Output, LeaseLost> {
        self.held(id, task_id, fence)?;
        let mut output = Output::default();
        self.attempt_failed(now, task_id, class, message, &mut output);
        self.assign(now, &mut output);
        Ok(output)
    }

    /// A proof came in: is it wanted?
    pub fn claim(&self, task_id: TaskId, fence: Fence) -> Claim {
        match (self.tasks.get(&task_id), self.batches.get(&task_id.batch)) {
            (Some(task), _) if task.record.status == TaskStatus::Done => Claim::NotNeeded,
            (Some(task), _) if fence.0 >= 1 && fence <= task.record.fence => Claim::Verify,
            (None, Some(batch)) if batch.is_final() => Claim::NotNeeded,
            // It is retired, or its rollup was deleted.
            (None, None) if fence.0 >= 1 && self.was_accepted(task_id.batch) => Claim::NotNeeded,
            _ => Claim::Unknown,
        }
    }

    /// A proof was verified. The first one of a task wins; the flag says whether this is it.
    pub fn accept(&mut self, now: UnixMs, id: SessionId, task_id: TaskId, proof: Vec<u8>) -> (bool, Output) {
        let mut output = Output::default();
        let Some(task) = self
            .tasks
            .get_mut(&task_id)
            .filter(|task| task.record.status != TaskStatus::Done)
        else {
            return (false, output);
        };
        // The worker that holds the lease is told if it is another one than that whose proof this is.
        if task.session == Some(id) {
            task.session = None;
        }
        let worker = self.sessions.get(&id).map(|session| &session.worker);
        let order = task.work.order;
        if task.record.status == TaskStatus::Leased && task.record.worker.as_ref() == worker {
            self.ended(task_id, Outcome::Proven, "", now);
        } else {
            self.tally.proven_late(task_id.kind);
        }
        let task = self.tasks.get_mut(&task_id).expect("just found");
        if let Some(session) = self.sessions.get_mut(&id) {
            session.leases.remove(&task_id);
            task.record.worker = Some(session.worker.clone());
        }
        self.moved(now, id, order);
        self.task_done(now, task_id, proof, &mut output);
        self.assign(now, &mut output);
        (true, output)
    }

    /// A proof did not verify. If its lease is the task's newest, the attempt has failed.
    pub fn reject(&mut self, now: UnixMs, id: SessionId, task_id: TaskId, fence: Fence, why: &str) -> Output {
        let mut output = Output::default();
        if self.held(id, task_id, fence).is_ok() {
            let message = format!("the proof does not verify: {why}");
            self.ended(task_id, Outcome::Rejected, &message, now);
            self.attempt_failed(now, task_id, FailureClass::Infrastructure, &message, &mut output);
            self.assign(now, &mut output);
        }
        output
    }

    /// Ends leases whose time is over and gives out what may be given out.
    pub fn tick(&mut self, now: UnixMs) -> Output {
        let mut output = Output::default();
        let late = self.timers.first().map_or(0, |(at, _)| at.until(now));
        if late > self.limits.pause_ms {
            self.stood_still(now);
        }
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(task) = self.tasks.get(&id) else { continue };
            if task.record.status == TaskStatus::Leased && task.deadline <= now {
                self.expire(now, id, &mut output);
            }
            self.refresh(id, now);
        }
        self.assign(now, &mut output);
        output
    }

    /// [`Core::tick`], at least every [`HEARTBEAT_MS`]; `alive` is when it was done last. What comes too late says that the
    /// coordinator stood still, or its store did, for shorter than a lease's timer tells.
    pub fn heartbeat(&mut self, alive: UnixMs, now: UnixMs) -> Output {
        if alive.until(now) > HEARTBEAT_MS + STALL_MS {
            self.stood_still(now);
        }
        self.tick(now)
    }

    /// Gives every lease its whole time again: while the coordinator stood still, no worker could renew.
    fn stood_still(&mut self, now: UnixMs) {
        let deadline = now.after(self.limits.lease_ms);
        let leased = self.tasks.iter_mut();
        for (id, task) in leased.filter(|(_, task)| task.record.status == TaskStatus::Leased) {
            self.timers.remove(&(task.deadline, *id));
            task.deadline = task.deadline.max(deadline);
            (task.work.renewed, task.work.moved) = (now, now);
            self.timers.insert((task.deadline, *id));
        }
    }

    /// Whether this session's worker holds the task's newest lease.
    fn held(&self, id: SessionId, task_id: TaskId, fence: Fence) -> Result<(), LeaseLost> {
        let task = self.tasks.get(&task_id).ok_or(LeaseLost::NotNeeded)?;
        let leased = task.record.status == TaskStatus::Leased && task.record.fence == fence;
        // By identity and name, and not by session: the lease may be from before a restart or a reconnection.
        let session = self.sessions.get(&id).ok_or(LeaseLost::Over)?;
        if leased && task.record.worker.as_ref() == Some(&session.worker) {
            Ok(())
        } else {
            Err(LeaseLost::Over)
        }
    }

    /// Takes a task out of the hands of the session that holds it, and tells the worker.
    pub(super) fn end_lease(&mut self, now: UnixMs, task_id: TaskId, end: LeaseEnd, output: &mut Output) {
        let Some(task) = self.tasks.get(&task_id) else {
            return;
        };
        if task.record.status != TaskStatus::Leased {
            return;
        }
        self.timers.remove(&(task.deadline, task_id));
        self.ended(task_id, Outcome::Unneeded, "", now);
        let task = self.tasks.get_mut(&task_id).expect("just found");
        if let Some(id) = task.session.take()
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.leases.remove(&task_id);
            let fence = task.record.fence;
            output.effects.push(Effect::LeaseLost {
                session: id,
                task: task_id,
                fence,
                end,
            });
        }
    }

    /// The lease's time is over. Its worker is silent, or its connection lost; or it never had the chance to renew since a
    /// restart.
    fn expire(&mut self, now: UnixMs, task_id: TaskId, output: &mut Output) {
        let task = &self.tasks[&task_id];
        let session = task.session;
        let connected = session.is_some_and(|id| self.sessions.contains_key(&id));
        let still = task.work.moved.until(now);
        let is_stuck = still >= self.limits.progress_ms_max;
        let outcome = match connected {
            true if is_stuck => Outcome::Stuck,
            true => Outcome::Silent,
            false => Outcome::Lost,
        };
        self.ended(task_id, outcome, outcome.in_words(), now);
        self.end_lease(now, task_id, LeaseEnd::Over, output);
        let task = self.tasks.get_mut(&task_id).expect("just found");
        let phase = std::mem::take(&mut task.phase);
        task.fraction = 0.0;
        let record = &mut task.record;
        let worker = record.worker.clone();
        let name = worker.as_ref().map(ToString::to_string).unwrap_or_default();
        record.status = TaskStatus::Ready;
        record.not_before = now;
        if session.is_some() {
            record.avoid_until = now.after(self.limits.avoid_ms);
            record.last_failure = Some(match connected {
                true if is_stuck => {
                    format!("worker {name} made no progress for {} s", still / 1_000)
                }
                true => format!("worker {name} fell silent"),
                false => format!("the connection of worker {name} was lost"),
            });
        }
        let witness = worker
            .filter(|_| session.is_some())
            .map(|worker| worker.witness());
        let quarantined = match witness {
            Some(witness) if connected => {
                record.deaths += u32::from(task.evidence.silent(witness));
                task.evidence.quarantine_of_silent(&self.limits)
            }
            Some(witness) if !phase.is_empty() => task.evidence.lost(witness, phase, &self.limits),
            _ => None,
        };
        if let Some(reason) = quarantined {
            task.record.status = TaskStatus::Quarantined;
            self.save_task(task_id, output);
            self.fail_batch(now, task_id, &reason, Remedy::Retry, output);
        } else {
            self.save_task(task_id, output);
            self.refresh(task_id, now);
            self.save_batch(task_id.batch, output);
        }
    }

    fn attempt_failed(
        &mut self,
        now: UnixMs,
        task_id: TaskId,
        class: FailureClass,
        message: &str,
        output: &mut Output,
    ) {
        // The worker itself ended the lease, so it need not be told.
        self.ended(task_id, Outcome::Failed(class), message, now);
        let task = self.tasks.get_mut(&task_id).expect("the caller found the task");
        let order = task.work.order;
        if let Some(id) = task.session.take() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.leases.remove(&task_id);
            }
            self.moved(now, id, order);
        }
        let task = self.tasks.get_mut(&task_id).expect("just found");
        task.phase.clear();
        task.fraction = 0.0;
        self.timers.remove(&(task.deadline, task_id));
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let record = &mut task.record;
        let wait = self.limits.retry_ms(record.failures);
        record.last_failure = Some(message.clone());
        record.status = TaskStatus::Ready;
        record.avoid_until = now.after(self.limits.avoid_ms);
        record.not_before = now.after(match class {
            FailureClass::Returned => 0,
            _ => wait,
        });
        let mut for_good = false;
        if class == FailureClass::Returned {
            let worker = record.worker.clone().expect("a lease has a worker");
            task.evidence.returned(worker, now, &self.limits);
        } else {
            record.failures = record.failures.saturating_add(1);
            let witness = record.worker.as_ref().expect("a lease has a worker").witness();
            for_good = task
                .evidence
                .failed(witness, is_impossible(class), record.failures, &self.limits);
        }
        if for_good {
            record.status = TaskStatus::Failed;
            self.save_task(task_id, output);
            let reason = format!("{class:?}: {message}");
            self.fail_batch(now, task_id, &reason, Remedy::Retry, output);
        } else {
            self.save_task(task_id, output);
            self.refresh(task_id, now);
            self.save_batch(task_id.batch, output);
        }
    }
}

/// Whether no attempt can end better, if it is true.
fn is_impossible(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Input | FailureClass::Execution | FailureClass::Internal
    )
}
