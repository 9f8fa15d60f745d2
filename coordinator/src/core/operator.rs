//! What an operator does: pause, drain workers, and look at them.

use std::collections::BTreeSet;

use super::{
    Core, Effect, Output,
    id::{SessionId, TaskId, TaskKind, UnixMs, WorkerId},
    record::{TaskStatus, Write},
};

/// A worker that is connected.
#[derive(Debug, Clone, Copy)]
pub struct WorkerView<'a> {
    /// Its session.
    pub session: SessionId,
    /// Who it is.
    pub worker: &'a WorkerId,
    /// What it proves.
    pub capabilities: &'a BTreeSet<TaskKind>,
    /// What it holds.
    pub leases: &'a BTreeSet<TaskId>,
    /// Whether it waits for a task.
    pub asking: bool,
    /// Whether it takes no more.
    pub draining: bool,
}

impl Core {
    /// Whether no tasks are handed out.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Hands out no more tasks, or tasks again. Idempotent.
    pub fn set_paused(&mut self, now: UnixMs, paused: bool) -> Output {
        let mut output = Output::default();
        if self.paused != paused {
            self.paused = paused;
            output.writes.push(Write::Paused(paused));
            self.assign(now, &mut output);
        }
        output
    }

    /// The tasks that workers hold.
    pub fn leased(&self) -> impl Iterator<Item = TaskId> {
        let tasks = self.tasks.iter();
        tasks
            .filter(|(_, task)| task.record.status == TaskStatus::Leased)
            .map(|(id, _)| *id)
    }

    /// The workers that are connected, by session, from the one after `after` on.
    pub fn workers_after(&self, after: SessionId) -> impl Iterator<Item = WorkerView<'_>> {
        let first = SessionId(after.0.saturating_add(1));
        self.sessions.range(first..).map(|(id, session)| WorkerView {
            session: *id,
            worker: &session.worker,
            capabilities: &session.capabilities,
            leases: &session.leases,
            asking: session.request.is_some(),
            draining: session.draining,
        })
    }

    /// Tells the workers that are meant to finish what they hold and to take no more. What they hold; none when no such worker
    /// is connected.
    pub fn drain_workers(
        &mut self,
        now: UnixMs,
        meant: impl Fn(&WorkerId) -> bool,
    ) -> (Option<Vec<TaskId>>, Output) {
        let meant = self.sessions.iter().filter(|(_, session)| meant(&session.worker));
        let sessions: Vec<SessionId> = meant.map(|(id, _)| *id).collect();
        let mut output = Output::default();
        let mut held = Vec::new();
        for &session in &sessions {
            held.extend(&self.sessions[&session].leases);
            output.effects.push(Effect::Drain(session));
            self.stop_asking(session);
        }
        // What was reserved for this worker may be another's.
        self.assign(now, &mut output);
        ((!sessions.is_empty()).then_some(held), output)
    }
}
