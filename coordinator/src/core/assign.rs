//! Which waiting session gets which ready task.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Core, Effect, Output, Session,
    id::{KeyId, SessionId, TaskId, TaskKind, UnixMs},
    record::{BatchStatus, TaskStatus},
};

/// Sessions that take tasks of a kind, as far as each is to be reckoned with.
#[derive(Debug, Default)]
struct Able {
    /// How many ask or are at work, by circuits and kind, and which is the only one if there is one.
    at_work: BTreeMap<(KeyId, TaskKind), (usize, Option<SessionId>)>,
}

impl Core {
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
        let able = self.able();
        // What must be left, by what the asking sessions hold and want; none where nothing was over.
        let mut left: BTreeMap<(KeyId, usize, BTreeSet<TaskKind>), Option<usize>> = BTreeMap::new();
        for (leases, id) in waiting {
            if self.ready.is_empty() {
                return;
            }
            let session = &self.sessions[&id];
            let Some((_, kinds)) = &session.request else {
                continue;
            };
            let key = (session.keys, leases, kinds.clone());
            let known = left.get(&key).copied();
            let reserved = match known.unwrap_or_else(|| Some(self.rivals(now, id, leases, kinds))) {
                Some(reserved) => reserved,
                None => continue,
            };
            let task = self.choose_in_time(now, id, reserved, &able, output);
            // A session without leases may only be kept from a task that it failed, which says nothing of the others.
            left.insert(key, (task.is_some() || leases == 0).then_some(reserved));
            if let Some(task) = task {
                self.grant(now, id, task, output);
            }
        }
    }

    /// The sessions that ask for tasks or are at work, counted once for all that is decided in one step.
    fn able(&self) -> Able {
        let mut able = Able::default();
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.is_at_work()) {
            self.step_made();
            for kind in &session.capabilities {
                let (count, only) = able.at_work.entry((session.keys, *kind)).or_default();
                *count += 1;
                *only = (*count == 1).then_some(*id);
            }
        }
        able
    }

    /// Sessions besides `id` that take tasks of one of `kinds` and hold at most `leases`; none for one that holds none. One
    /// that neither asks nor has asked lately is not waited for.
    fn rivals(&self, now: UnixMs, id: SessionId, leases: usize, kinds: &BTreeSet<TaskKind>) -> usize {
        if leases == 0 {
            return 0;
        }
        let keys = self.sessions[&id].keys;
        let rival = |(other, session): &(&SessionId, &Session)| {
            self.step_made();
            **other != id
                && session.keys == keys
                && !session.draining
                && session.leases.len() <= leases
                && !session.capabilities.is_disjoint(kinds)
                && (session.is_at_work() || session.active.after(self.limits.idle_ms) > now)
        };
        self.sessions.iter().filter(rival).count()
    }

    /// The task that a session gets. Batches that L1 would not take any more are not worth proving: they fail here.
    fn choose_in_time(
        &mut self,
        now: UnixMs,
        id: SessionId,
        reserved: usize,
        able: &Able,
        output: &mut Output,
    ) -> Option<TaskId> {
        loop {
            let task = self.choose(now, id, reserved, able)?;
            if !self.fail_too_old(now, task.batch, output) {
                return Some(task);
            }
        }
    }

    /// The first ready task that a waiting session may have, after those that are `reserved` for others.
    fn choose(&self, now: UnixMs, id: SessionId, reserved: usize, able: &Able) -> Option<TaskId> {
        let session = self.sessions.get(&id)?;
        let (_, kinds) = session.request.as_ref()?;
        if session.leases.len() >= self.limits.session_leases_max {
            return None;
        }
        let kinds: Vec<TaskKind> = kinds.iter().copied().collect();
        self.in_turn(session.keys, &kinds).skip(reserved).find(|task| {
            self.step_made();
            let (record, evidence) = (&self.tasks[task].record, &self.tasks[task].evidence);
            if evidence.is_kept_from(&session.worker, now) {
                return false;
            }
            let avoided = record.avoid_until > now && record.worker.as_ref() == Some(&session.worker);
            !avoided || !able.another_can(session.keys, task.kind, id)
        })
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
        self.leases_given += 1;
        let (worker, fence) = (task.record.worker.clone(), task.record.fence);
        self.tally.began(task_id, fence, Some(id), worker, now);
        self.charge(now, task_id, self.leases_given);
        self.set_deadline(task_id);
        let fence = self.tasks[&task_id].record.fence;
        self.save_task(task_id, output);
        self.refresh(task_id, now);
        let batch = self.batches.get_mut(&task_id.batch).expect("a task has a batch");
        if batch.started.is_none() {
            batch.started = Some(now);
            batch.status = BatchStatus::Proving;
        }
        self.save_batch(task_id.batch, output);
        output.effects.push(Effect::Grant {
            session: id,
            task: task_id,
            fence,
        });
    }

    /// Counts what a decision looked at; only tests ask for that.
    fn step_made(&self) {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
    }
}

impl Able {
    /// Whether a session other than `id` asks for tasks of this kind or is at work. One that is connected and never asks takes
    /// no task, so none is kept for it.
    fn another_can(&self, keys: KeyId, kind: TaskKind, id: SessionId) -> bool {
        self.at_work
            .get(&(keys, kind))
            .is_some_and(|(count, only)| *count > 1 || only.is_some_and(|only| only != id))
    }
}

impl Session {
    /// Whether it asks for a task or holds one, and takes more.
    fn is_at_work(&self) -> bool {
        !self.draining && (self.request.is_some() || !self.leases.is_empty())
    }
}
