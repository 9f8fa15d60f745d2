//! What has come to pass since the coordinator's start, in numbers: attempts, how they ended and what time of a device they took, phases,
//! batches. Nothing here decides anything, and nothing of it is kept over a restart.
//!
//! A worker has one device, which proves its oldest task first: an attempt takes the device from when its worker got it, or ended the
//! one before it, until it ends. So what overlaps is counted once, by the coordinator's clock and nobody's word.

use std::collections::BTreeMap;

use telemetry::{Histogram, WAITING_PHASE, known_phase};

use super::{
    history::History,
    id::{Fence, SessionId, TaskId, TaskKind, UnixMs, WorkerId},
    lease::FailureClass,
    record::{BatchRecord, BatchStatus},
    traced::{EndedAttempt, Traced},
};

/// Of an average, how much the newest value makes.
const NEWEST_PART: f64 = 0.2;
/// What a task is taken to cost of a device before one of its kind was proven, milliseconds.
pub const ASSUMED_DEVICE_MS: f64 = 60_000.0;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its proof is stored.
    Proven,
    /// A proof that came after the attempt had ended in another way, and counted all the same. It takes no time beyond that.
    ProvenLate,
    /// Its worker gave it up.
    Failed(FailureClass),
    /// Its proof does not verify.
    Rejected,
    /// Its worker was connected and did not renew it.
    Silent,
    /// Its worker renewed it and showed no progress.
    Stuck,
    /// The connection of its worker was lost.
    Lost,
    /// Nobody wants its proof any more.
    Unneeded,
}

impl Outcome {
    /// The names of all.
    pub const NAMES: [&str; 13] = [
        "proven",
        "proven_late",
        "input",
        "execution",
        "resource",
        "infrastructure",
        "internal",
        "returned",
        "rejected",
        "silent",
        "stuck",
        "lost",
        "unneeded",
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::ProvenLate => "proven_late",
            Self::Failed(FailureClass::Input) => "input",
            Self::Failed(FailureClass::Execution) => "execution",
            Self::Failed(FailureClass::Resource) => "resource",
            Self::Failed(FailureClass::Infrastructure) => "infrastructure",
            Self::Failed(FailureClass::Internal) => "internal",
            Self::Failed(FailureClass::Returned) => "returned",
            Self::Rejected => "rejected",
            Self::Silent => "silent",
            Self::Stuck => "stuck",
            Self::Lost => "lost",
            Self::Unneeded => "unneeded",
        }
    }
}

impl Outcome {
    /// What is to be said where no worker says anything.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Silent => "the worker fell silent",
            Self::Stuck => "the worker made no progress for too long",
            Self::Lost => "the connection of the worker was lost",
            _ => "",
        }
    }
}

/// Stages of a batch that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From its acceptance until a worker got a task of it.
    Queued,
    /// From then until all shards were proven.
    Shards,
    /// From then until the root proof.
    Aggregation,
    /// From its acceptance until the root proof.
    Whole,
}

impl Stage {
    /// The names of all.
    pub const NAMES: [&str; 4] = ["queued", "shards", "aggregation", "whole"];

    /// A word for it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// An attempt under way.
#[derive(Debug, Clone)]
struct Open {
    session: Option<SessionId>,
    fence: Fence,
    worker: Option<WorkerId>,
    began: UnixMs,
    phase: &'static str,
    phase_began: UnixMs,
}

/// Attempts that ended alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// The time of devices that they took, milliseconds.
    pub device_ms: u64,
}

/// Everything counted, and what it is counted from.
#[derive(Debug, Default)]
pub struct Tally {
    /// By task: as many as there are leases.
    open: BTreeMap<TaskId, Open>,
    /// When a session's device was last free for the next task.
    freed: BTreeMap<SessionId, UnixMs>,
    /// What an attempt that is proven takes of a device, milliseconds, the newest counting most.
    costs: BTreeMap<TaskKind, f64>,
    pub(crate) numbers: Numbers,
    /// The newest attempts, one by one.
    pub(crate) history: History,
    /// What ended in this step; none where nobody takes it.
    pub(super) traced: Option<Traced>,
}

/// What was counted since the start. Of the same size whatever was.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// By kind and the outcome's name.
    pub(crate) attempts: BTreeMap<(TaskKind, &'static str), Ended>,
    /// Times of phases that were left, by kind and phase.
    pub(crate) phases: BTreeMap<(TaskKind, &'static str), Histogram>,
    pub(crate) batches_accepted: u64,
    pub(crate) batches_proven: u64,
    pub(crate) batches_cancelled: u64,
    pub(crate) batches_rolled_back: u64,
    /// Of the batches that were proven.
    pub(crate) operations_proven: u64,
    /// Gas that their submissions to L1 are estimated to take; of those of which it is not known, none.
    pub(crate) l1_gas_proven: u64,
    /// Times of batches that were proven, by stage.
    pub(crate) stages: BTreeMap<Stage, Histogram>,
}

impl Tally {
    /// A worker has a task.
    pub(super) fn began(
        &mut self,
        task: TaskId,
        fence: Fence,
        session: Option<SessionId>,
        worker: Option<WorkerId>,
        now: UnixMs,
    ) {
        let open = Open {
            session,
            fence,
            worker: worker.clone(),
            began: now,
            phase: WAITING_PHASE,
            phase_began: now,
        };
        self.open.insert(task, open);
        self.history.began(task, worker, now);
    }

    /// A worker says which phase it is in.
    pub(super) fn phase(&mut self, task: TaskId, phase: &str, now: UnixMs) {
        let Some(open) = self.open.get_mut(&task) else {
            return;
        };
        let phase = known_phase(phase);
        if open.phase != phase {
            let left = std::mem::replace(&mut open.phase, phase);
            let since = std::mem::replace(&mut open.phase_began, now);
            self.left_phase(task.kind, left, since.until(now));
            self.history.phase(task, phase, now);
        }
    }

    fn left_phase(&mut self, kind: TaskKind, phase: &'static str, ms: u64) {
        self.numbers
            .phases
            .entry((kind, phase))
            .or_default()
            .observe_ms(ms);
    }

    /// The attempt at a task ends, `why` in words; nothing happens where that was told before. The time of a device that it took,
    /// milliseconds.
    pub(super) fn ended(&mut self, task: TaskId, outcome: Outcome, why: &str, now: UnixMs) -> Option<u64> {
        let open = self.open.remove(&task)?;
        let freed = open.session.and_then(|session| self.freed.insert(session, now));
        let device_ms = freed.map_or(open.began, |freed| freed.max(open.began)).until(now);
        self.history.ended(task, outcome, why, device_ms, now);
        if let Some(traced) = &mut self.traced {
            let came_to_something = matches!(outcome, Outcome::Proven | Outcome::Unneeded);
            traced.attempts.push(EndedAttempt {
                task,
                fence: open.fence,
                worker: open.worker.clone(),
                began: open.began,
                ended: now,
                outcome: outcome.name(),
                why: (!came_to_something).then(|| why.to_owned()),
            });
        }
        let ended = self
            .numbers
            .attempts
            .entry((task.kind, outcome.name()))
            .or_default();
        ended.count += 1;
        ended.device_ms += device_ms;
        if outcome == Outcome::Proven {
            self.left_phase(task.kind, open.phase, open.phase_began.until(now));
            let cost = self.costs.entry(task.kind).or_insert(device_ms as f64);
            *cost += NEWEST_PART * (device_ms as f64 - *cost);
        }
        Some(device_ms)
    }

    /// A proof counts whose attempt had ended before.
    pub(super) fn proven_late(&mut self, kind: TaskKind) {
        let name = Outcome::ProvenLate.name();
        self.numbers.attempts.entry((kind, name)).or_default().count += 1;
    }

    /// A lease goes on in another session.
    pub(super) fn renewed(&mut self, task: TaskId, session: SessionId) {
        if let Some(open) = self.open.get_mut(&task) {
            open.session = Some(session);
        }
    }

    /// A session is over.
    pub(super) fn left(&mut self, session: SessionId) {
        self.freed.remove(&session);
        let held = self
            .open
            .values_mut()
            .filter(|open| open.session == Some(session));
        held.for_each(|open| open.session = None);
    }

    /// The tasks with an attempt under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> Vec<TaskId> {
        self.open.keys().copied().collect()
    }

    /// A batch became final.
    pub(super) fn finished(&mut self, batch: &BatchRecord) {
        if let Some(traced) = &mut self.traced {
            traced.batches.push(batch.clone());
        }
        match batch.status {
            BatchStatus::Proven => self.proven(batch),
            BatchStatus::Cancelled => self.numbers.batches_cancelled += 1,
            BatchStatus::RolledBack => self.numbers.batches_rolled_back += 1,
            BatchStatus::Queued | BatchStatus::Proving | BatchStatus::Aggregating | BatchStatus::Failed => {}
        }
    }

    fn proven(&mut self, batch: &BatchRecord) {
        self.numbers.batches_proven += 1;
        self.numbers.operations_proven += u64::from(batch.operations.total());
        let gas = batch.billing.as_ref().map(|billing| billing.posted.gas());
        self.numbers.l1_gas_proven += gas.unwrap_or_default();
        let moments = [
            Some(batch.accepted),
            batch.started,
            batch.shards_done_at,
            batch.finished,
        ];
        let spans = [
            (Stage::Queued, 0, 1),
            (Stage::Shards, 1, 2),
            (Stage::Aggregation, 2, 3),
            (Stage::Whole, 0, 3),
        ];
        for (stage, from, to) in spans {
            // The clock may have been set between two runs of the coordinator.
            if let (Some(from), Some(to)) = (moments[from], moments[to]) {
                self.numbers
                    .stages
                    .entry(stage)
                    .or_default()
                    .observe_ms(from.until(to));
            }
        }
    }

    /// What a task takes of a device, milliseconds, as far as is known.
    pub(super) fn cost_ms(&self, kind: TaskKind) -> f64 {
        self.costs.get(&kind).copied().unwrap_or(ASSUMED_DEVICE_MS)
    }

    /// For how long the oldest lease of a kind goes on, milliseconds.
    pub(super) fn oldest_lease_ms(&self, kind: TaskKind, now: UnixMs) -> u64 {
        let leases = self.open.iter().filter(|(task, _)| task.kind == kind);
        leases.map(|(_, open)| open.began.until(now)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::BatchId;
    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn shard(index: u32) -> TaskId {
        TaskId::shard(BatchId(1), index)
    }

    fn of(tally: &Tally, outcome: Outcome) -> Ended {
        let found = tally.numbers.attempts.get(&(TaskKind::Shard, outcome.name()));
        found.copied().unwrap_or_default()
    }

    #[test]
    fn time_of_a_device_is_counted_once_where_leases_overlap() {
        let mut tally = Tally::default();
        tally.began(shard(0), Fence(1), Some(SESSION), None, UnixMs(1_000));
        tally.began(shard(1), Fence(1), Some(SESSION), None, UnixMs(2_000));
        tally.ended(shard(0), Outcome::Proven, "", UnixMs(5_000));
        tally.ended(shard(1), Outcome::Proven, "", UnixMs(8_000));
        assert_eq!(
            of(&tally, Outcome::Proven),
            Ended {
                count: 2,
                device_ms: 7_000
            }
        );
        // A device that stood idle meanwhile costs nothing.
        tally.began(shard(2), Fence(1), Some(SESSION), None, UnixMs(20_000));
        tally.ended(shard(2), Outcome::Silent, "", UnixMs(21_000));
        assert_eq!(of(&tally, Outcome::Silent).device_ms, 1_000);
        // Another worker's device is another.
        tally.began(shard(3), Fence(1), Some(SessionId(2)), None, UnixMs(20_000));
        tally.ended(shard(3), Outcome::Lost, "", UnixMs(22_000));
        assert_eq!(of(&tally, Outcome::Lost).device_ms, 2_000);
    }

    #[test]
    fn an_attempt_ends_once() {
        let mut tally = Tally::default();
        tally.began(shard(0), Fence(1), Some(SESSION), None, UnixMs(0));
        tally.ended(shard(0), Outcome::Proven, "", UnixMs(10));
        tally.ended(shard(0), Outcome::Unneeded, "", UnixMs(20));
        tally.ended(shard(9), Outcome::Lost, "", UnixMs(20));
        assert_eq!(of(&tally, Outcome::Proven).count, 1);
        assert_eq!(of(&tally, Outcome::Unneeded).count, 0);
        assert_eq!(of(&tally, Outcome::Lost).count, 0, "nobody had it");
    }

    #[test]
    fn a_phase_that_nobody_knows_is_another() {
        let mut tally = Tally::default();
        tally.began(shard(0), Fence(1), Some(SESSION), None, UnixMs(0));
        for (at, phase) in [
            (1_000, "witness"),
            (1_500, "witness"),
            (2_000, "<script>"),
            (4_000, "x{}"),
        ] {
            tally.phase(shard(0), phase, UnixMs(at));
        }
        tally.ended(shard(0), Outcome::Proven, "", UnixMs(9_000));
        let phases: Vec<_> = tally
            .numbers
            .phases
            .iter()
            .map(|((_, phase), times)| (*phase, times.sum()))
            .collect();
        assert_eq!(phases, [("other", 7.0), ("waiting", 1.0), ("witness", 1.0)]);
    }

    #[test]
    fn a_cost_is_assumed_until_one_was_seen() {
        let mut tally = Tally::default();
        assert_eq!(tally.cost_ms(TaskKind::Shard), ASSUMED_DEVICE_MS);
        tally.began(shard(0), Fence(1), None, None, UnixMs(0));
        tally.ended(shard(0), Outcome::Failed(FailureClass::Resource), "", UnixMs(10));
        assert_eq!(
            tally.cost_ms(TaskKind::Shard),
            ASSUMED_DEVICE_MS,
            "it was not proven"
        );
        tally.began(shard(0), Fence(1), None, None, UnixMs(0));
        tally.ended(shard(0), Outcome::Proven, "", UnixMs(100));
        assert_eq!(tally.cost_ms(TaskKind::Shard), 100.0);
        tally.began(shard(1), Fence(1), None, None, UnixMs(0));
        tally.ended(shard(1), Outcome::Proven, "", UnixMs(200));
        assert!((tally.cost_ms(TaskKind::Shard) - 120.0).abs() < 1e-6);
        assert_eq!(tally.cost_ms(TaskKind::Aggregation), ASSUMED_DEVICE_MS);
    }

    #[test]
    fn every_outcome_has_a_name_of_its_own() {
        use FailureClass::{Execution, Infrastructure, Input, Internal, Resource, Returned};
        let classes = [Input, Execution, Resource, Infrastructure, Internal, Returned];
        let mut names = vec![Outcome::Proven.name(), Outcome::ProvenLate.name()];
        names.extend(classes.map(|class| Outcome::Failed(class).name()));
        let others = [
            Outcome::Rejected,
            Outcome::Silent,
            Outcome::Stuck,
            Outcome::Lost,
            Outcome::Unneeded,
        ];
        names.extend(others.map(Outcome::name));
        assert_eq!(names, Outcome::NAMES);
    }

    #[test]
    fn what_ends_is_noted_for_whoever_takes_it() {
        let mut tally = Tally::default();
        tally.began(shard(0), Fence(1), None, None, UnixMs(1));
        tally.ended(shard(0), Outcome::Lost, "its connection was lost", UnixMs(2));
        assert_eq!(tally.traced, None, "nobody takes it");
        tally.traced = Some(Traced::default());
        tally.began(shard(0), Fence(2), None, None, UnixMs(3));
        tally.ended(shard(0), Outcome::Silent, "it fell silent", UnixMs(4));
        tally.began(shard(0), Fence(3), None, None, UnixMs(5));
        tally.ended(shard(0), Outcome::Proven, "", UnixMs(6));
        let attempts = tally.traced.expect("they are noted").attempts;
        let told = |attempt: &EndedAttempt| (attempt.fence.0, attempt.outcome, attempt.why.clone());
        let expected = [
            (2, "silent", Some("it fell silent".to_owned())),
            (3, "proven", None),
        ];
        assert_eq!(attempts.iter().map(told).collect::<Vec<_>>(), expected);
    }
}
