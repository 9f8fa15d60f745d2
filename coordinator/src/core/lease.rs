//! Leases: which worker gets which task for how long, and what counts when it reports.
//!
//! A lease is a task, a fence and a deadline. Only the newest fence can renew, report progress or fail; every fence that was
//! ever given can complete, since the proof speaks for itself.
//!
//! What counts against a task is evidence about it. A connected worker that falls silent has died on it. One whose connection
//! is lost may have been stopped by anybody, and counts only where many different ones were lost in the same phase. One that
//! gives a task back because it stops says nothing. A word that a task is impossible needs a second worker's. When the
//! coordinator itself stood still, nobody was silent.

use std::collections::{BTreeMap, BTreeSet};

pub use proto::FailureClass;

use super::{
    Core, Effect, Output, Session,
    id::{Fence, SessionId, TaskId, TaskKind, UnixMs, WorkerId},
    record::{BatchStatus, TaskStatus},
};

/// Most characters kept of a phase.
const PHASE_CHARS_MAX: usize = 64;
/// Most characters kept of a failure's message.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// Too many sessions, or the coordinator is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// The limit is reached.
    #[error("{0} sessions are connected, the limit")]
    TooMany(usize),
    /// The coordinator is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
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
    /// Opens a worker's session.
    ///
    /// # Errors
    /// See [`SessionRefused`].
    pub fn open_session(
        &mut self,
        worker: WorkerId,
        capabilities: BTreeSet<TaskKind>,
    ) -> Result<SessionId, SessionRefused> {
        if self.stopping {
            return Err(SessionRefused::Stopping);
        }
        if self.sessions.len() >= self.limits.sessions_max {
            return Err(SessionRefused::TooMany(self.sessions.len()));
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let session = Session {
            worker,
            capabilities,
            request: None,
            draining: false,
            leases: BTreeSet::new(),
        };
        self.sessions.insert(id, session);
        Ok(id)
    }

    /// A worker asks for one task of `kinds`, or of any that it can do if `kinds` is empty. An open request is replaced
    /// and keeps its place in the queue.
    pub fn request_lease(&mut self, now: UnixMs, id: SessionId, kinds: BTreeSet<TaskKind>) -> Output {
        let mut output = Output::default();
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.draining) {
            let kinds = if kinds.is_empty() {
                session.capabilities.clone()
            } else {
                &kinds & &session.capabilities
            };
            let place = session
                .request
                .as_ref()
                .map_or(self.next_request, |(place, _)| *place);
            self.next_request = self.next_request.max(place + 1);
            session.request = Some((place, kinds));
            self.waiting.insert(place, id);
            self.assign(now, &mut output);
        }
        output
    }

    /// A worker takes no more tasks.
    pub fn drain(&mut self, now: UnixMs, id: SessionId) -> Output {
        let mut output = Output::default();
        self.stop_asking(id);
        // What was reserved for this worker may be another's.
        self.assign(now, &mut output);
        output
    }

    /// Marks a session as one that takes no more tasks.
    pub(super) fn stop_asking(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.draining = true;
            if let Some((place, _)) = session.request.take() {
                self.waiting.remove(&place);
            }
        }
    }

    /// A session's stream ended. Its leases have the grace time to be renewed in another one.
    pub fn close_session(&mut self, now: UnixMs, id: SessionId) -> Output {
        let mut output = Output::default();
        let Some(session) = self.sessions.remove(&id) else {
            return output;
        };
        if let Some((place, _)) = session.request {
            self.waiting.remove(&place);
        }
        let grace = now.after(self.limits.reconnect_grace_ms);
        for task_id in session.leases {
            let Some(task) = self.tasks.get_mut(&task_id) else {
                continue;
            };
            self.timers.remove(&(task.deadline, task_id));
            // A deadline that has passed was not looked at in time, which is not the worker's doing.
            task.deadline = if task.deadline < now {
                grace
            } else {
                task.deadline.min(grace)
            };
            self.timers.insert((task.deadline, task_id));
        }
        // With this worker gone, a task may be free for one that was to avoid it.
        self.assign(now, &mut output);
        output
    }

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
        self.timers.remove(&(task.deadline, task_id));
        task.deadline = now.after(self.limits.lease_ms);
        self.timers.insert((task.deadline, task_id));
        Ok(())
    }

    /// Notes how far a task is.
    ///
    /// # Errors
    /// The lease is over.
    pub fn progress(
        &mut self,
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
        if let Some(session) = self.sessions.get_mut(&id) {
            session.leases.remove(&task_id);
            task.record.worker = Some(session.worker.clone());
        }
        self.task_done(now, task_id, proof, &mut output);
        self.assign(now, &mut output);
        (true, output)
    }

    /// A proof did not verify. If its lease is the task's newest, the attempt has failed.
    pub fn reject(&mut self, now: UnixMs, id: SessionId, task_id: TaskId, fence: Fence, why: &str) -> Output {
        let mut output = Output::default();
        if self.held(id, task_id, fence).is_ok() {
            let message = format!("the proof does not verify: {why}");
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

    /// Gives every lease its whole time again: while the coordinator stood still, no worker could renew.
    fn stood_still(&mut self, now: UnixMs) {
        let deadline = now.after(self.limits.lease_ms);
        let leased = self.tasks.iter_mut();
        for (id, task) in leased.filter(|(_, task)| task.record.status == TaskStatus::Leased) {
            self.timers.remove(&(task.deadline, *id));
            task.deadline = task.deadline.max(deadline);
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
    pub(super) fn end_lease(&mut self, task_id: TaskId, reason: &'static str, output: &mut Output) {
        let Some(task) = self.tasks.get_mut(&task_id) else {
            return;
        };
        if task.record.status != TaskStatus::Leased {
            return;
        }
        self.timers.remove(&(task.deadline, task_id));
        if let Some(id) = task.session.take()
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.leases.remove(&task_id);
            let fence = task.record.fence;
            output.effects.push(Effect::LeaseLost {
                session: id,
                task: task_id,
                fence,
                reason,
            });
        }
    }

    /// The lease's time is over. Its worker is silent, or its connection lost; or it never had the chance to renew since a
    /// restart.
    fn expire(&mut self, now: UnixMs, task_id: TaskId, output: &mut Output) {
        let task = &self.tasks[&task_id];
        let session = task.session;
        let connected = session.is_some_and(|id| self.sessions.contains_key(&id));
        self.end_lease(task_id, "the lease was not renewed in time", output);
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
                true => format!("worker {name} fell silent"),
                false => format!("the connection of worker {name} was lost"),
            });
        }
        let quarantined = if connected {
            record.deaths += 1;
            let deaths = record.deaths;
            (deaths >= self.limits.deaths_max).then(|| format!("quarantined after {deaths} silent workers"))
        } else if session.is_some() && !phase.is_empty() {
            let lost = task.losses.entry(phase.clone()).or_default();
            lost.extend(worker);
            let lost = lost.len();
            (lost >= self.limits.losses_max)
                .then(|| format!("quarantined after {lost} workers were lost in phase {phase}"))
        } else {
            None
        };
        if let Some(reason) = quarantined {
            task.record.status = TaskStatus::Quarantined;
            self.save_task(task_id, output);
            self.fail_batch(now, task_id, &reason, output);
        } else {
            self.save_task(task_id, output);
            self.refresh(task_id, now);
            self.touch(task_id.batch, output);
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
        let task = self.tasks.get_mut(&task_id).expect("the caller found the task");
        if let Some(session) = task.session.take().and_then(|id| self.sessions.get_mut(&id)) {
            session.leases.remove(&task_id);
        }
        task.phase.clear();
        task.fraction = 0.0;
        self.timers.remove(&(task.deadline, task_id));
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let record = &mut task.record;
        let wait = self
            .limits
            .retry_ms_min
            .checked_shl(record.failures)
            .unwrap_or(u64::MAX);
        record.last_failure = Some(message.clone());
        record.status = TaskStatus::Ready;
        record.avoid_until = now.after(self.limits.avoid_ms);
        record.not_before = now.after(match class {
            FailureClass::Returned => 0,
            _ => wait.min(self.limits.retry_ms_max),
        });
        if class != FailureClass::Returned {
            record.failures = record.failures.saturating_add(1);
        }
        if is_impossible(class) {
            task.refusals.extend(record.worker.clone());
        }
        let impossible = task.refusals.len() >= self.limits.refusals_max;
        if impossible || record.failures >= self.limits.failures_max {
            record.status = TaskStatus::Failed;
            self.save_task(task_id, output);
            self.fail_batch(now, task_id, &format!("{class:?}: {message}"), output);
        } else {
            self.save_task(task_id, output);
            self.refresh(task_id, now);
            self.touch(task_id.batch, output);
        }
    }

    /// Gives ready tasks to the sessions that wait: to those with the fewest leases first, then in the order of asking.
    ///
    /// A session that holds a lease asks ahead, to prepare a task while it proves another. For every other session that
    /// holds as few leases, or fewer, the best task is left: else one would wait for a busy worker while another stands
    /// idle.
    pub(super) fn assign(&mut self, now: UnixMs, output: &mut Output) {
        if self.stopping || self.paused || self.ready.is_empty() {
            return;
        }
        let mut waiting: Vec<(usize, SessionId)> = Vec::new();
        for id in self.waiting.values() {
            waiting.push((self.sessions[id].leases.len(), *id));
        }
        // Stable, so that the order of asking stays among equals.
        waiting.sort_by_key(|(leases, _)| *leases);
        // What must be left, by what the asking sessions hold and want; none where nothing was over.
        let mut left: BTreeMap<(usize, BTreeSet<TaskKind>), Option<usize>> = BTreeMap::new();
        for (leases, id) in waiting {
            if self.ready.is_empty() {
                return;
            }
            let Some((_, kinds)) = &self.sessions[&id].request else {
                continue;
            };
            let key = (leases, kinds.clone());
            let known = left.get(&key).copied();
            let reserved = match known.unwrap_or_else(|| Some(self.rivals(id, leases, kinds))) {
                Some(reserved) => reserved,
                None => continue,
            };
            let task = self.choose(now, id, reserved);
            // A session without leases may only be kept from a task that it failed, which says nothing of the others.
            left.insert(key, (task.is_some() || leases == 0).then_some(reserved));
            if let Some(task) = task {
                self.grant(now, id, task, output);
            }
        }
    }

    /// Sessions besides `id` that take tasks of one of `kinds` and hold at most `leases`; none for one that holds none.
    fn rivals(&self, id: SessionId, leases: usize, kinds: &BTreeSet<TaskKind>) -> usize {
        if leases == 0 {
            return 0;
        }
        let rival = |(other, session): &(&SessionId, &Session)| {
            **other != id
                && !session.draining
                && session.leases.len() <= leases
                && !session.capabilities.is_disjoint(kinds)
        };
        self.sessions.iter().filter(rival).count()
    }

    /// The first ready task that a waiting session may have, after those that are `reserved` for others.
    fn choose(&self, now: UnixMs, id: SessionId, reserved: usize) -> Option<TaskId> {
        let session = self.sessions.get(&id)?;
        let (_, kinds) = session.request.as_ref()?;
        if session.leases.len() >= self.limits.session_leases_max {
            return None;
        }
        let best_first = [TaskKind::Aggregation, TaskKind::Shard]
            .into_iter()
            .filter(|kind| kinds.contains(kind));
        best_first
            .flat_map(|kind| self.ready.range(Self::places(kind)))
            .map(|(_, task)| *task)
            .skip(reserved)
            .find(|task| {
                let record = &self.tasks[task].record;
                let avoided = record.avoid_until > now && record.worker.as_ref() == Some(&session.worker);
                !avoided || !self.another_can(task.kind, &session.worker)
            })
    }

    /// Whether a worker other than `worker` is connected that proves `kind`.
    fn another_can(&self, kind: TaskKind, worker: &WorkerId) -> bool {
        self.sessions
            .values()
            .any(|s| s.worker != *worker && !s.draining && s.capabilities.contains(&kind))
    }

    fn grant(&mut self, now: UnixMs, id: SessionId, task_id: TaskId, output: &mut Output) {
        let session = self.sessions.get_mut(&id).expect("the caller found the session");
        let task = self.tasks.get_mut(&task_id).expect("a ready task exists");
        if let Some((place, _)) = session.request.take() {
            self.waiting.remove(&place);
        }
        session.leases.insert(task_id);
        task.record.fence.0 += 1;
        task.record.status = TaskStatus::Leased;
        task.record.worker = Some(session.worker.clone());
        task.session = Some(id);
        task.deadline = now.after(self.limits.lease_ms);
        self.timers.insert((task.deadline, task_id));
        let fence = task.record.fence;
        self.save_task(task_id, output);
        self.refresh(task_id, now);
        let batch = self.batches.get_mut(&task_id.batch).expect("a task has a batch");
        if batch.started.is_none() {
            batch.started = Some(now);
            batch.status = BatchStatus::Proving;
            self.save_batch(task_id.batch, output);
        } else {
            self.touch(task_id.batch, output);
        }
        output.effects.push(Effect::Grant {
            session: id,
            task: task_id,
            fence,
        });
    }
}

/// Whether no attempt can end better, if it is true.
fn is_impossible(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Input | FailureClass::Execution | FailureClass::Internal
    )
}
