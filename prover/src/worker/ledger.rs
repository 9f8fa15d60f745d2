//! What a worker holds and owes, through any number of sessions: the rules of its side of the protocol.
//!
//! No I/O and no clock: each call says what happened and returns the messages to send.

use proto::v1::session_request::Message;
use proto::v1::{
    Complete, Completed, Drain, Fail, LeaseLost, LeaseRequest, Progress, Renew, Task, TaskChunk, TaskKind,
    Verdict,
};
use proto::{FAILURE_CHARS_MAX, PAYLOAD_BYTES_MAX, PROOF_BYTES_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::FailureClass;

/// A task with its whole payload, ready to be proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) lease: LeaseId,
    /// None when the coordinator names a kind that this worker does not know.
    pub(super) kind: Option<JobKind>,
    pub(super) batch_id: String,
    pub(super) index: u32,
    pub(super) payload: Vec<u8>,
}

/// What a job proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JobKind {
    Shard,
    Aggregation,
}

impl JobKind {
    /// A word for logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            JobKind::Shard => "shard",
            JobKind::Aggregation => "aggregation",
        }
    }
}

/// Names a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct LeaseId {
    pub(super) task_id: String,
    pub(super) fence: u64,
}

/// How proving ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// A proof that this worker has verified.
    Proven {
        proof: Vec<u8>,
        accumulator: Vec<[u8; 32]>,
        prove_ms: u64,
    },
    /// No proof.
    Failed { class: FailureClass, message: String },
    /// The proof was not wanted any more.
    Abandoned,
}

/// A task that is being prepared or proven.
#[derive(Debug)]
struct Held {
    lease: LeaseId,
    /// The last phase reported, and the part that was done when it began.
    phase: Option<(String, f64)>,
    /// Its proof is not wanted any more, and the work on it is being ended.
    abandoned: bool,
}

/// What the worker has to do.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Tasks to hold beside the one that is proven, so that they can be prepared meanwhile.
    ahead: usize,
    /// Whether the session is open, that is, whether messages can be sent.
    open: bool,
    draining: bool,
    /// A lease was asked for in this session and none has come.
    asked: bool,
    /// A task whose payload is still arriving.
    arriving: Option<(Task, Vec<u8>)>,
    /// The tasks that are being prepared or proven, oldest first.
    held: Vec<Held>,
    /// The proofs that the coordinator has not judged yet.
    unjudged: Vec<Complete>,
    /// Failures that could not be told yet.
    untold: Vec<Fail>,
}

/// Why a session must be given up: the coordinator does not keep to the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    #[error("a task came that was not asked for")]
    TaskNotAsked,
    #[error("a task's payload has {0} bytes, more than {PAYLOAD_BYTES_MAX}")]
    PayloadTooLong(u64),
    #[error("a chunk came that belongs to no task")]
    ChunkWithoutTask,
    #[error("a task's payload is longer than was said")]
    ChunkTooLong,
}

impl Held {
    fn progress(&self) -> Option<Message> {
        let (phase, fraction) = self.phase.clone()?;
        Some(Message::Progress(Progress {
            task_id: self.lease.task_id.clone(),
            fence: self.lease.fence,
            phase,
            fraction,
        }))
    }
}

impl Ledger {
    /// A ledger that holds up to `ahead` tasks beside the one that is proven.
    pub(super) fn new(ahead: usize) -> Self {
        Self {
            ahead,
            ..Self::default()
        }
    }

    /// The session is open: says again what the coordinator must know, and asks for work.
    pub(super) fn opened(&mut self) -> Vec<Message> {
        self.open = true;
        let mut messages = self.renew();
        messages.extend(self.wanted().filter_map(Held::progress));
        messages.extend(self.remind());
        messages.extend(self.untold.drain(..).map(Message::Fail));
        if self.draining {
            messages.push(Message::Drain(Drain {}));
        }
        messages.extend(self.ask());
        messages
    }

    /// The session ended. A payload that was arriving is lost; the coordinator leases the task again.
    pub(super) fn closed(&mut self) {
        self.open = false;
        self.asked = false;
        self.arriving = None;
    }

    /// Takes no more tasks from now on.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        self.draining = true;
        if self.open {
            vec![Message::Drain(Drain {})]
        } else {
            Vec::new()
        }
    }

    /// Nothing that is held will be proven: gives it back.
    pub(super) fn give_up(&mut self, reason: &str) -> Vec<Message> {
        let mut held = std::mem::take(&mut self.held);
        held.retain(|held| !held.abandoned);
        let fail = |held: Held| self.fail(&held.lease, FailureClass::Returned, reason.to_string());
        held.into_iter().flat_map(fail).collect()
    }

    /// Whether nothing is held and nothing is owed.
    pub(super) fn is_idle(&self) -> bool {
        self.in_hand() == 0
    }

    fn in_hand(&self) -> usize {
        self.held.len() + self.unjudged.len() + self.untold.len() + usize::from(self.arriving.is_some())
    }

    /// Renewals of all that is held. A proof's lease is kept until the proof is judged.
    pub(super) fn renew(&self) -> Vec<Message> {
        let proving = self.wanted().map(|held| held.lease.clone());
        let unjudged = self.unjudged.iter().map(|complete| LeaseId {
            task_id: complete.task_id.clone(),
            fence: complete.fence,
        });
        let arriving = self.arriving.iter().map(|(task, _)| LeaseId {
            task_id: task.task_id.clone(),
            fence: task.fence,
        });
        let leases = proving.chain(unjudged).chain(arriving);
        let renew = |lease: LeaseId| {
            Message::Renew(Renew {
                task_id: lease.task_id,
                fence: lease.fence,
            })
        };
        leases.map(renew).collect()
    }

    /// The proofs that were not judged, again: the coordinator may have lost the first ones.
    pub(super) fn remind(&self) -> Vec<Message> {
        self.unjudged.iter().cloned().map(Message::Complete).collect()
    }

    /// A lease was given. Returns the job when it is complete, which one without payload already is.
    pub(super) fn task(&mut self, task: Task) -> Result<(Option<Job>, Vec<Message>), Breach> {
        if !self.asked || self.arriving.is_some() {
            return Err(Breach::TaskNotAsked);
        }
        self.asked = false;
        if task.payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Breach::PayloadTooLong(task.payload_bytes));
        }
        self.arriving = Some((task, Vec::new()));
        self.complete_arrival()
    }

    /// A part of the payload came. Returns the job when that was the last.
    pub(super) fn chunk(&mut self, chunk: TaskChunk) -> Result<(Option<Job>, Vec<Message>), Breach> {
        let (task, payload) = self.arriving.as_mut().ok_or(Breach::ChunkWithoutTask)?;
        if chunk.task_id != task.task_id {
            return Err(Breach::ChunkWithoutTask);
        }
        if payload.len() as u64 + chunk.data.len() as u64 > task.payload_bytes {
            return Err(Breach::ChunkTooLong);
        }
        payload.extend_from_slice(&chunk.data);
        self.complete_arrival()
    }

    fn complete_arrival(&mut self) -> Result<(Option<Job>, Vec<Message>), Breach> {
        let complete = |(task, payload): &mut (Task, Vec<u8>)| payload.len() as u64 == task.payload_bytes;
        let Some((task, payload)) = self.arriving.take_if(complete) else {
            return Ok((None, Vec::new()));
        };
        let lease = LeaseId {
            task_id: task.task_id.clone(),
            fence: task.fence,
        };
        if self.draining {
            let message = "the worker is stopping".to_string();
            return Ok((None, self.fail(&lease, FailureClass::Returned, message)));
        }
        if Sha256::digest(&payload).as_slice() != task.payload_sha256.as_ref() {
            let message = "the payload does not have the digest that was announced".to_string();
            let mut messages = self.fail(&lease, FailureClass::Infrastructure, message);
            messages.extend(self.ask());
            return Ok((None, messages));
        }
        self.held.push(Held {
            lease: lease.clone(),
            phase: None,
            abandoned: false,
        });
        let kind = match task.kind() {
            TaskKind::Shard => Some(JobKind::Shard),
            TaskKind::Aggregation => Some(JobKind::Aggregation),
            TaskKind::Unspecified => None,
        };
        let job = Job {
            lease,
            kind,
            batch_id: task.batch_id,
            index: task.index,
            payload,
        };
        Ok((Some(job), self.ask().into_iter().collect()))
    }

    /// The work on a task reached a phase.
    pub(super) fn progress(&mut self, lease: &LeaseId, phase: String, fraction: f64) -> Option<Message> {
        let held = self.held.iter_mut().find(|held| held.lease == *lease)?;
        held.phase = Some((phase, fraction));
        held.progress().filter(|_| self.open && !held.abandoned)
    }

    /// Proving ended.
    pub(super) fn proven(&mut self, lease: LeaseId, outcome: Outcome) -> Vec<Message> {
        self.held.retain(|held| held.lease != lease);
        let (proof, accumulator, prove_ms) = match outcome {
            Outcome::Proven { proof, .. } if proof.len() > PROOF_BYTES_MAX => {
                let message = format!("the proof has {} bytes, more than {PROOF_BYTES_MAX}", proof.len());
                let mut messages = self.fail(&lease, FailureClass::Internal, message);
                messages.extend(self.ask());
                return messages;
            }
            Outcome::Proven {
                proof,
                accumulator,
                prove_ms,
            } => (proof, accumulator, prove_ms),
            Outcome::Abandoned => return self.ask().into_iter().collect(),
            Outcome::Failed { class, message } => {
                let mut messages = self.fail(&lease, class, message);
                messages.extend(self.ask());
                return messages;
            }
        };
        let complete = Complete {
            task_id: lease.task_id,
            fence: lease.fence,
            proof: proof.into(),
            accumulator: accumulator.iter().map(|limb| limb.to_vec().into()).collect(),
            prove_ms,
        };
        self.unjudged.push(complete.clone());
        if self.open {
            vec![Message::Complete(complete)]
        } else {
            Vec::new()
        }
    }

    /// The coordinator judged a proof. Whatever it said, the proof's work here is over.
    pub(super) fn completed(&mut self, completed: &Completed) -> Vec<Message> {
        let ours =
            |complete: &Complete| complete.task_id == completed.task_id && complete.fence == completed.fence;
        let Some(at) = self.unjudged.iter().position(ours) else {
            return Vec::new();
        };
        self.unjudged.remove(at);
        let (task, fence, reason) = (&completed.task_id, completed.fence, &completed.reason);
        match completed.verdict() {
            Verdict::Accepted => tracing::info!(%task, fence, "proof accepted"),
            Verdict::NotNeeded => {
                tracing::info!(%task, fence, %reason, "proof not needed")
            }
            Verdict::Rejected | Verdict::Unspecified => {
                tracing::error!(%task, fence, %reason, "proof rejected");
            }
        }
        self.ask().into_iter().collect()
    }

    /// A lease is lost. Where a proof may still be wanted, proving goes on, since the first valid one counts whoever holds the
    /// lease. Where none is, returns the lease whose work is to be ended.
    pub(super) fn lease_lost(&mut self, lost: &LeaseLost) -> (Option<LeaseId>, Vec<Message>) {
        let (task, fence, reason) = (&lost.task_id, lost.fence, &lost.reason);
        if !lost.unneeded {
            let ours = |id: &str, of: u64| id == task && of == fence;
            let held = self
                .held
                .iter()
                .any(|held| ours(&held.lease.task_id, held.lease.fence));
            if held
                || self
                    .unjudged
                    .iter()
                    .any(|proof| ours(&proof.task_id, proof.fence))
            {
                tracing::warn!(%task, fence, %reason, "lease lost; the proof is still offered");
            } else {
                // A renewal crossed the judgement of the proof.
                tracing::debug!(%task, fence, %reason, "the lease of a task that is over is lost");
            }
            return (None, Vec::new());
        }
        tracing::info!(%task, fence, %reason, "the task is not needed any more");
        let ours = |held: &&mut Held| held.lease.task_id == *task && held.lease.fence == fence;
        if let Some(held) = self.held.iter_mut().find(ours) {
            let again = std::mem::replace(&mut held.abandoned, true);
            return ((!again).then(|| held.lease.clone()), Vec::new());
        }
        let is_unjudged = |complete: &Complete| complete.task_id == *task && complete.fence == fence;
        if self.unjudged.iter().any(is_unjudged) {
            return (None, Vec::new());
        }
        // It was over before it could be sent, and the request that it answered with it.
        self.asked = false;
        (None, self.ask().into_iter().collect())
    }

    /// The tasks in work whose proofs are wanted.
    fn wanted(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| !held.abandoned)
    }

    /// A failure, told now or when the session is open again.
    fn fail(&mut self, lease: &LeaseId, class: FailureClass, message: String) -> Vec<Message> {
        let message = message.chars().take(FAILURE_CHARS_MAX).collect();
        let fail = Fail {
            task_id: lease.task_id.clone(),
            fence: lease.fence,
            class: proto::v1::FailureClass::from(class).into(),
            message,
        };
        if self.open {
            return vec![Message::Fail(fail)];
        }
        self.untold.push(fail);
        Vec::new()
    }

    /// Asks for a task when there is room for one. A proof that waits to be judged takes up room too.
    fn ask(&mut self) -> Option<Message> {
        if !self.open || self.draining || self.asked || self.in_hand() > self.ahead {
            return None;
        }
        self.asked = true;
        Some(Message::LeaseRequest(LeaseRequest { kinds: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use fuzzer::Target;
    use prost::Message as _;
    use proto::v1::SessionResponse;
    use proto::v1::session_response::Message as FromCoordinator;

    use super::*;

    fn task(task_id: &str, fence: u64, payload: &[u8]) -> Task {
        Task {
            task_id: task_id.into(),
            fence,
            kind: TaskKind::Shard.into(),
            payload_bytes: payload.len() as u64,
            payload_sha256: Sha256::digest(payload).to_vec().into(),
            ..Task::default()
        }
    }

    fn chunk(task_id: &str, data: &[u8]) -> TaskChunk {
        TaskChunk {
            task_id: task_id.into(),
            data: data.to_vec().into(),
        }
    }

    fn lease(task_id: &str, fence: u64) -> LeaseId {
        LeaseId {
            task_id: task_id.into(),
            fence,
        }
    }

    fn proof() -> Outcome {
        Outcome::Proven {
            proof: vec![9; 4],
            accumulator: Vec::new(),
            prove_ms: 1,
        }
    }

    fn judged(task_id: &str, fence: u64) -> Completed {
        let verdict = Verdict::Accepted.into();
        Completed {
            task_id: task_id.into(),
            fence,
            verdict,
            ..Completed::default()
        }
    }

    /// The kinds of messages, in order.
    fn kinds(messages: &[Message]) -> Vec<&'static str> {
        let kind = |message: &Message| match message {
            Message::Hello(_) => "hello",
            Message::LeaseRequest(_) => "ask",
            Message::Renew(_) => "renew",
            Message::Progress(_) => "progress",
            Message::Complete(_) => "complete",
            Message::Fail(_) => "fail",
            Message::Drain(_) => "drain",
        };
        messages.iter().map(kind).collect()
    }

    /// A ledger that proves task "t" under fence 1 in an open session.
    fn at_work() -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(kinds(&ledger.opened()), ["ask"]);
        assert_eq!(ledger.task(task("t", 1, b"abc")), Ok((None, Vec::new())));
        assert_eq!(ledger.chunk(chunk("t", b"ab")), Ok((None, Vec::new())));
        let (job, messages) = ledger.chunk(chunk("t", b"c")).unwrap();
        assert_eq!(job.unwrap().payload, b"abc");
        assert_eq!(messages, []);
        ledger
    }

    #[test]
    fn a_task_is_taken_proven_and_followed_by_the_next() {
        let mut ledger = at_work();
        assert_eq!(kinds(&ledger.renew()), ["renew"]);
        assert!(ledger.progress(&lease("t", 1), "prove".into(), 0.5).is_some());
        assert_eq!(kinds(&ledger.proven(lease("t", 1), proof())), ["complete"]);
        assert_eq!(ledger.progress(&lease("t", 1), "prove".into(), 0.5), None);
        assert_eq!(
            kinds(&ledger.renew()),
            ["renew"],
            "the lease is kept until the proof is judged"
        );
        assert_eq!(kinds(&ledger.completed(&judged("t", 1))), ["ask"]);
        assert!(ledger.is_idle());
        assert_eq!(kinds(&ledger.renew()), [""; 0]);
    }

    fn unneeded(task_id: &str, fence: u64) -> LeaseLost {
        LeaseLost {
            task_id: task_id.into(),
            fence,
            unneeded: true,
            ..LeaseLost::default()
        }
    }

    #[test]
    fn a_task_that_nobody_needs_is_given_up_in_silence_and_another_asked_for() {
        let mut ledger = at_work();
        let lost = LeaseLost {
            unneeded: false,
            ..unneeded("t", 1)
        };
        assert_eq!(
            ledger.lease_lost(&lost),
            (None, vec![]),
            "a proof may still be wanted"
        );
        assert_eq!(kinds(&ledger.renew()), ["renew"]);
        let abandoned = (Some(lease("t", 1)), vec![]);
        assert_eq!(ledger.lease_lost(&unneeded("t", 1)), abandoned);
        assert_eq!(ledger.lease_lost(&unneeded("t", 1)), (None, vec![]), "once");
        assert_eq!(kinds(&ledger.renew()), [""; 0]);
        assert_eq!(ledger.progress(&lease("t", 1), "prove".into(), 0.5), None);
        ledger.closed();
        assert_eq!(kinds(&ledger.opened()), [""; 0], "it is still at work on it");
        assert_eq!(kinds(&ledger.proven(lease("t", 1), Outcome::Abandoned)), ["ask"]);
        // One that was over before it was sent: the request is open again.
        let (none, messages) = ledger.lease_lost(&unneeded("u", 1));
        assert_eq!((none, kinds(&messages)), (None, vec!["ask"]));
    }

    #[test]
    fn a_proof_is_reported_until_it_is_judged() {
        let mut ledger = at_work();
        ledger.closed();
        assert_eq!(
            kinds(&ledger.proven(lease("t", 1), proof())),
            [""; 0],
            "nobody to tell"
        );
        assert_eq!(
            kinds(&ledger.opened()),
            ["renew", "complete"],
            "and no new task beside it"
        );
        ledger.closed();
        assert_eq!(kinds(&ledger.opened()), ["renew", "complete"]);
        assert_eq!(kinds(&ledger.remind()), ["complete"]);
        assert_eq!(
            kinds(&ledger.completed(&judged("t", 7))),
            [""; 0],
            "another lease's judgement"
        );
        assert_eq!(kinds(&ledger.completed(&judged("t", 1))), ["ask"]);
        assert_eq!(ledger.remind(), []);
    }

    #[test]
    fn proving_goes_on_without_a_session_and_after_the_lease_is_lost() {
        let mut ledger = at_work();
        ledger.closed();
        assert!(!ledger.is_idle());
        assert_eq!(
            kinds(&ledger.opened()),
            ["renew"],
            "no second task beside the first"
        );
        ledger.lease_lost(&LeaseLost {
            task_id: "t".into(),
            fence: 1,
            reason: String::new(),
            unneeded: false,
        });
        assert_eq!(kinds(&ledger.proven(lease("t", 1), proof())), ["complete"]);
    }

    #[test]
    fn a_failure_without_a_session_is_told_on_the_next() {
        let mut ledger = at_work();
        ledger.closed();
        let failed = Outcome::Failed {
            class: FailureClass::Internal,
            message: "x".repeat(5000),
        };
        assert_eq!(kinds(&ledger.proven(lease("t", 1), failed)), [""; 0]);
        let messages = ledger.opened();
        assert_eq!(kinds(&messages), ["fail", "ask"]);
        let Message::Fail(fail) = &messages[0] else {
            unreachable!("just compared")
        };
        assert_eq!(fail.message.len(), FAILURE_CHARS_MAX);
        ledger.closed();
        assert_eq!(kinds(&ledger.opened()), ["ask"], "once is enough");
    }

    #[test]
    fn draining_finishes_what_is_held_and_takes_nothing() {
        let mut ledger = at_work();
        assert_eq!(kinds(&ledger.drain()), ["drain"]);
        assert_eq!(kinds(&ledger.proven(lease("t", 1), proof())), ["complete"]);
        assert!(!ledger.is_idle());
        assert_eq!(kinds(&ledger.completed(&judged("t", 1))), [""; 0]);
        assert!(ledger.is_idle());

        let mut ledger = Ledger::default();
        ledger.opened();
        ledger.drain();
        let (job, messages) = ledger.task(task("late", 3, b"")).unwrap();
        assert_eq!(job, None);
        let [Message::Fail(fail)] = messages.as_slice() else {
            panic!("given back: {messages:?}")
        };
        assert_eq!(fail.class(), proto::v1::FailureClass::Returned);
        assert!(ledger.is_idle());
    }

    #[test]
    fn a_corrupted_payload_is_given_back() {
        let mut ledger = Ledger::default();
        ledger.opened();
        ledger.task(task("t", 1, b"abc")).unwrap();
        let (job, messages) = ledger.chunk(chunk("t", b"abd")).unwrap();
        assert_eq!(job, None);
        assert_eq!(kinds(&messages), ["fail", "ask"]);
    }

    #[test]
    fn a_coordinator_that_breaks_the_protocol_is_left() {
        let mut ledger = Ledger::default();
        assert_eq!(
            ledger.task(task("t", 1, b"")),
            Err(Breach::TaskNotAsked),
            "before the session is open"
        );
        ledger.opened();
        assert_eq!(ledger.chunk(chunk("t", b"a")), Err(Breach::ChunkWithoutTask));
        let huge = Task {
            payload_bytes: PAYLOAD_BYTES_MAX + 1,
            ..task("t", 1, b"")
        };
        assert_eq!(
            ledger.task(huge),
            Err(Breach::PayloadTooLong(PAYLOAD_BYTES_MAX + 1))
        );
        ledger.closed();

        ledger.opened();
        ledger.task(task("t", 1, b"abc")).unwrap();
        assert_eq!(ledger.task(task("u", 1, b"abc")), Err(Breach::TaskNotAsked));
        assert_eq!(ledger.chunk(chunk("u", b"a")), Err(Breach::ChunkWithoutTask));
        assert_eq!(ledger.chunk(chunk("t", b"abcd")), Err(Breach::ChunkTooLong));
        ledger.closed();
        assert_eq!(
            kinds(&ledger.opened()),
            ["ask"],
            "what was arriving is lost, and asked for anew"
        );
    }

    #[test]
    fn a_proof_too_long_to_send_is_a_failure() {
        let mut ledger = at_work();
        let long = Outcome::Proven {
            proof: vec![0; PROOF_BYTES_MAX + 1],
            accumulator: Vec::new(),
            prove_ms: 1,
        };
        assert_eq!(kinds(&ledger.proven(lease("t", 1), long)), ["fail", "ask"]);
    }

    #[test]
    fn as_many_tasks_are_taken_ahead_as_was_said() {
        const AHEAD: usize = 3;
        let mut ledger = Ledger::new(AHEAD);
        assert_eq!(kinds(&ledger.opened()), ["ask"]);
        for (held, id) in ["t", "u", "v", "w"].into_iter().enumerate() {
            let (job, messages) = ledger.task(task(id, 1, b"")).unwrap();
            assert!(job.is_some());
            assert_eq!(
                messages.len(),
                usize::from(held < AHEAD),
                "with {held} tasks before it"
            );
        }
        assert_eq!(kinds(&ledger.proven(lease("t", 1), proof())), ["complete"]);
        assert_eq!(kinds(&ledger.completed(&judged("t", 1))), ["ask"]);
    }

    #[test]
    fn a_second_task_is_taken_to_be_prepared_and_not_a_third() {
        let mut ledger = Ledger::new(1);
        assert_eq!(kinds(&ledger.opened()), ["ask"]);
        let (job, messages) = ledger.task(task("t", 1, b"")).unwrap();
        assert!(job.is_some());
        assert_eq!(kinds(&messages), ["ask"], "the next is asked for at once");
        let (job, messages) = ledger.task(task("u", 1, b"")).unwrap();
        assert!(job.is_some());
        assert_eq!(kinds(&messages), [""; 0]);
        assert_eq!(kinds(&ledger.renew()), ["renew", "renew"]);

        ledger.progress(&lease("u", 1), "witness".into(), 0.1);
        assert_eq!(kinds(&ledger.proven(lease("t", 1), proof())), ["complete"]);
        assert_eq!(kinds(&ledger.renew()), ["renew", "renew"]);
        ledger.closed();
        assert_eq!(
            kinds(&ledger.opened()),
            ["renew", "renew", "progress", "complete"]
        );
        assert_eq!(kinds(&ledger.completed(&judged("t", 1))), ["ask"]);

        let failed = Outcome::Failed {
            class: FailureClass::Resource,
            message: String::new(),
        };
        ledger.closed();
        assert_eq!(kinds(&ledger.proven(lease("u", 1), failed)), [""; 0]);
        assert_eq!(kinds(&ledger.opened()), ["fail", "ask"]);
        assert!(ledger.is_idle());
    }

    #[test]
    fn what_is_held_without_a_device_is_given_back() {
        let mut ledger = Ledger::new(1);
        ledger.opened();
        ledger.task(task("t", 1, b"")).unwrap();
        ledger.task(task("u", 1, b"")).unwrap();
        assert_eq!(kinds(&ledger.give_up("no device")), ["fail", "fail"]);
        assert!(ledger.is_idle());
        assert_eq!(
            kinds(&ledger.proven(lease("u", 1), proof())),
            ["complete"],
            "late is well"
        );
    }

    #[test]
    fn fuzz_what_a_coordinator_says() {
        let payload = vec![7; 40];
        let task = Task {
            task_id: "b1-s0".into(),
            fence: 1,
            kind: TaskKind::Shard.into(),
            batch_id: "b1".into(),
            payload_bytes: 40,
            payload_sha256: Sha256::digest(&payload).to_vec().into(),
            ..Task::default()
        };
        let chunk = TaskChunk {
            task_id: "b1-s0".into(),
            data: payload.into(),
        };
        let lost = LeaseLost {
            task_id: "b1-s0".into(),
            fence: 1,
            reason: "another has it".into(),
            ..LeaseLost::default()
        };
        let completed = Completed {
            task_id: "b1-s0".into(),
            fence: 1,
            ..Completed::default()
        };
        let mut said = Vec::new();
        for message in [
            FromCoordinator::Task(task),
            FromCoordinator::TaskChunk(chunk),
            FromCoordinator::LeaseLost(lost),
            FromCoordinator::Completed(completed),
        ] {
            let message = Some(message);
            said.extend(SessionResponse { message }.encode_length_delimited_to_vec());
        }
        Target::new(env!("CARGO_MANIFEST_DIR"), "session-response")
            .seed("a-task", said)
            .run(|mut bytes| {
                let mut ledger = Ledger::new(1);
                ledger.opened();
                let mut jobs = 0;
                while !bytes.is_empty() {
                    let response = SessionResponse::decode_length_delimited(&mut bytes);
                    let response = response.map_err(|error| error.to_string())?;
                    let taken = match response.message {
                        Some(FromCoordinator::Task(task)) => ledger.task(task),
                        Some(FromCoordinator::TaskChunk(chunk)) => ledger.chunk(chunk),
                        Some(FromCoordinator::LeaseLost(lost)) => {
                            ledger.lease_lost(&lost);
                            continue;
                        }
                        Some(FromCoordinator::Completed(completed)) => {
                            ledger.completed(&completed);
                            continue;
                        }
                        Some(_) | None => continue,
                    };
                    let (job, _) = taken.map_err(|breach| breach.to_string())?;
                    jobs += usize::from(job.is_some());
                }
                assert!(jobs <= 2, "one that is proven and one ahead");
                Ok(())
            });
    }
}
