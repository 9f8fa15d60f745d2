//! Workers' sessions: who is connected, who asks for a task.
//!
//! A worker has one session. An instance of a worker's program that comes again takes the place of its own earlier session,
//! whose connection may be half open; another instance under the same identity and name is refused for as long as the first is
//! connected.

use std::collections::BTreeSet;

use super::{
    Core, Effect, Output, Session,
    id::{Instance, KeyId, SessionId, TaskKind, UnixMs, WorkerId},
};

/// Why no session is opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// The limit is reached.
    #[error("{0} sessions are connected, the limit")]
    TooMany(usize),
    /// Another instance is connected.
    #[error("another worker of the name {worker} is connected, in session {}", .session.0)]
    NameTaken {
        /// The worker.
        worker: WorkerId,
        /// Its session.
        session: SessionId,
    },
    /// The coordinator is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
}

impl Core {
    /// Opens a worker's session, and closes an earlier one of the same instance. Without an instance, an earlier one is
    /// always another's.
    ///
    /// # Errors
    /// See [`SessionRefused`].
    pub fn open_session(
        &mut self,
        now: UnixMs,
        worker: WorkerId,
        instance: Option<Instance>,
        capabilities: BTreeSet<TaskKind>,
        keys: KeyId,
    ) -> Result<(SessionId, Output), SessionRefused> {
        if self.stopping {
            return Err(SessionRefused::Stopping);
        }
        let mut output = Output::default();
        if let Some(&session) = self.workers.get(&worker) {
            if instance.is_none() || self.sessions[&session].instance != instance {
                return Err(SessionRefused::NameTaken { worker, session });
            }
            output = self.close_session(now, session);
            output.effects.push(Effect::Close(session));
        }
        if self.sessions.len() >= self.limits.sessions_max {
            return Err(SessionRefused::TooMany(self.sessions.len()));
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.workers.insert(worker.clone(), id);
        let session = Session {
            worker,
            instance,
            capabilities,
            keys,
            request: None,
            active: now,
            draining: false,
            leases: BTreeSet::new(),
        };
        self.sessions.insert(id, session);
        Ok((id, output))
    }

    /// Whether a session is open.
    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
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
            session.active = now;
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
        self.workers.remove(&session.worker);
        self.tally.left(id);
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
}
