//! A worker's metrics: what its proofs take, and whether it can be given work.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accel::machine::{Process, ProcessMemory};
use telemetry::{Histogram, Kind, Label, Metric, PHASES, Page, SECONDS, WAITING_PHASE, known_phase, process};

use super::ledger::{JobKind, LeaseId, Outcome};
use crate::engine::FailureClass;

/// Clock ticks of a second, as Linux tells them to programs on every machine that this one is built for.
const TICKS_PER_SECOND: f64 = 100.0;

const CIRCUIT: Label = Label {
    name: "circuit",
    values: &["shard", "aggregation", "unknown"],
};
const OUTCOMES: [&str; 8] = [
    "proven",
    "input",
    "execution",
    "resource",
    "infrastructure",
    "internal",
    "returned",
    "abandoned",
];

macro_rules! metrics {
    ($($id:ident: $kind:expr, $name:literal, $unit:literal, $labels:expr, $help:literal;)*) => {
        $(static $id: Metric = Metric {
            name: concat!("rollup_prover_worker_", $name),
            kind: $kind,
            unit: $unit,
            labels: $labels,
            help: $help,
        };)*
        /// Those of the worker alone, in the order of the page.
        static OWN: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    CONNECTED: Kind::Gauge, "connected", "",
        &[], "1 while a session with the coordinator is open";
    SESSIONS: Kind::Counter, "sessions", "sessions",
        &[], "Sessions with the coordinator that were opened";
    HELD: Kind::Gauge, "tasks", "tasks",
        &[], "Tasks in hand";
    ENDED: Kind::Counter, "tasks_ended", "tasks",
        &[CIRCUIT, Label { name: "outcome", values: &OUTCOMES }], "Tasks that ended, by how";
    TASK_SECONDS: Kind::Histogram(SECONDS), "task_seconds", "seconds",
        &[CIRCUIT], "Time from a task's receipt to its proof";
    PHASE_SECONDS: Kind::Histogram(SECONDS), "phase_seconds", "seconds",
        &[CIRCUIT, Label { name: "phase", values: &PHASES }], "Time of the phases of tasks that were proven";
    BUSY_SECONDS: Kind::Counter, "busy_seconds", "seconds",
        &[], "Time with a task in hand: the device's";
    PROVER_SECONDS: Kind::Counter, "prover_cpu_seconds", "seconds",
        &[], "Processor time of the prover process, which begins anew with each";
    PROVER_MEMORY: Kind::Gauge, "prover_resident_memory_bytes", "bytes",
        &[], "Memory of the prover process that is in use";
}

/// All metrics of a worker.
pub static METRICS: LazyLock<Vec<&'static Metric>> =
    LazyLock::new(|| OWN.iter().copied().chain(process::METRICS).collect());

/// What a worker has done so far. Clones are of one.
#[derive(Debug, Clone, Default)]
pub struct Meters(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    connected: bool,
    sessions: u64,
    /// By lease: as many as the worker holds.
    held: HashMap<LeaseId, Held>,
    ended: HashMap<(&'static str, &'static str), u64>,
    tasks: HashMap<&'static str, Histogram>,
    phases: HashMap<(&'static str, &'static str), Histogram>,
    /// Time with a task in hand, until the last that ended.
    busy: Duration,
    /// Since when there is one.
    busy_since: Option<Instant>,
    prover: Option<u32>,
}

#[derive(Debug)]
struct Held {
    circuit: &'static str,
    phase: &'static str,
    since: Instant,
    /// Phases that are over; they count when the task is proven.
    over: Vec<(&'static str, Duration)>,
}

impl Meters {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connected(&self, connected: bool) {
        let mut counts = self.lock();
        counts.connected = connected;
        counts.sessions += u64::from(connected);
    }

    /// The process that proves.
    pub(super) fn prover(&self, pid: u32) {
        self.lock().prover = Some(pid);
    }

    pub(super) fn began(&self, lease: &LeaseId, kind: Option<JobKind>, now: Instant) {
        let mut counts = self.lock();
        let held = Held {
            circuit: kind.map_or("unknown", JobKind::name),
            phase: WAITING_PHASE,
            since: now,
            over: Vec::new(),
        };
        counts.held.insert(lease.clone(), held);
        counts.busy_since.get_or_insert(now);
    }

    pub(super) fn phase(&self, lease: &LeaseId, name: &str, now: Instant) {
        let mut counts = self.lock();
        let Some(held) = counts.held.get_mut(lease) else {
            return;
        };
        held.enter(known_phase(name), now);
    }

    pub(super) fn ended(&self, lease: &LeaseId, outcome: &Outcome, now: Instant) {
        let mut counts = self.lock();
        let Some(mut held) = counts.held.remove(lease) else {
            return;
        };
        if counts.held.is_empty()
            && let Some(since) = counts.busy_since.take()
        {
            counts.busy += now.duration_since(since);
        }
        *counts.ended.entry((held.circuit, name(outcome))).or_default() += 1;
        if let Outcome::Proven { prove_ms, .. } = outcome {
            held.enter(WAITING_PHASE, now);
            counts
                .tasks
                .entry(held.circuit)
                .or_default()
                .observe_ms(*prove_ms);
            for (phase, time) in held.over {
                let times = counts.phases.entry((held.circuit, phase)).or_default();
                times.observe(time.as_secs_f64());
            }
        }
    }

    /// All tasks in hand were given back.
    pub(super) fn gave_up(&self, now: Instant) {
        let held: Vec<LeaseId> = self.lock().held.keys().cloned().collect();
        let outcome = Outcome::Failed {
            class: FailureClass::Infrastructure,
            message: String::new(),
        };
        held.iter().for_each(|lease| self.ended(lease, &outcome, now));
    }

    /// Adds the numbers of now to a page.
    pub fn add_to(&self, page: &mut Page) {
        let counts = self.lock();
        page.number(&CONNECTED, &[], f64::from(counts.connected));
        page.number(&SESSIONS, &[], counts.sessions as f64);
        page.number(&HELD, &[], counts.held.len() as f64);
        for circuit in CIRCUIT.values {
            for outcome in OUTCOMES {
                let ended = counts.ended.get(&(*circuit, outcome)).copied().unwrap_or(0);
                page.number(&ENDED, &[circuit, outcome], ended as f64);
            }
            let times = counts.tasks.get(circuit).cloned().unwrap_or_default();
            page.histogram(&TASK_SECONDS, &[circuit], &times);
            for phase in PHASES {
                let times = counts.phases.get(&(*circuit, phase)).cloned();
                page.histogram(&PHASE_SECONDS, &[circuit, phase], &times.unwrap_or_default());
            }
        }
        let going_on = counts.busy_since.map_or(Duration::ZERO, |since| since.elapsed());
        page.number(&BUSY_SECONDS, &[], (counts.busy + going_on).as_secs_f64());
        if let Some(process) = counts.prover.and_then(Process::of) {
            page.number(&PROVER_SECONDS, &[], process.cpu_ticks as f64 / TICKS_PER_SECOND);
        }
        if let Some(memory) = counts.prover.and_then(ProcessMemory::of) {
            page.number(&PROVER_MEMORY, &[], memory.now_bytes as f64);
        }
    }
}

impl Held {
    fn enter(&mut self, phase: &'static str, now: Instant) {
        let time = now.duration_since(self.since);
        match self.over.iter_mut().find(|(over, _)| *over == self.phase) {
            // An engine enters some of its phases more than once.
            Some((_, before)) => *before += time,
            None => self.over.push((self.phase, time)),
        }
        (self.phase, self.since) = (phase, now);
    }
}

/// A word for it.
pub(super) fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Proven { .. } => "proven",
        Outcome::Abandoned => "abandoned",
        Outcome::Failed { class, .. } => match class {
            FailureClass::Input => "input",
            FailureClass::Execution => "execution",
            FailureClass::Resource => "resource",
            FailureClass::Infrastructure => "infrastructure",
            FailureClass::Internal => "internal",
            FailureClass::Returned => "returned",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Phase;

    fn lease(fence: u64) -> LeaseId {
        LeaseId {
            task_id: "b1-s0".into(),
            fence,
        }
    }

    fn text(meters: &Meters) -> String {
        let mut page = Page::default();
        meters.add_to(&mut page);
        page.to_text()
    }

    #[track_caller]
    fn shows(meters: &Meters, line: &str) {
        let text = text(meters);
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }

    #[test]
    fn every_phase_of_an_engine_is_known() {
        let engine = engine::Phase::ALL.map(Phase::Proving);
        let others = [Phase::LoadKeys, Phase::Witness, Phase::Prove, Phase::Verify];
        for phase in engine.into_iter().chain(others) {
            assert_eq!(known_phase(phase.name()), phase.name());
        }
    }

    #[test]
    fn tasks_count_when_they_end_and_their_time_once() {
        let meters = Meters::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        meters.began(&lease(1), Some(JobKind::Shard), at(0));
        meters.began(&lease(2), Some(JobKind::Shard), at(1));
        for (second, phase) in [(1, "witness"), (2, "commitments"), (3, "witness"), (5, "made up")] {
            meters.phase(&lease(1), phase, at(second));
        }
        let proven = Outcome::Proven {
            proof: vec![],
            accumulator: vec![],
            prove_ms: 6_000,
        };
        meters.ended(&lease(1), &proven, at(6));
        shows(&meters, "rollup_prover_worker_tasks 1.0");
        meters.ended(&lease(2), &Outcome::Abandoned, at(8));
        meters.ended(&lease(2), &Outcome::Abandoned, at(9));
        meters.phase(&lease(3), "witness", at(9));
        shows(&meters, "rollup_prover_worker_tasks 0.0");
        shows(&meters, "rollup_prover_worker_busy_seconds_total 8.0");
        for (circuit, outcome, count) in [
            ("shard", "proven", "1.0"),
            ("shard", "abandoned", "1.0"),
            ("aggregation", "proven", "0.0"),
        ] {
            let labels = format!("circuit=\"{circuit}\",outcome=\"{outcome}\"");
            shows(
                &meters,
                &format!("rollup_prover_worker_tasks_ended_total{{{labels}}} {count}"),
            );
        }
        for (phase, sum) in [
            ("waiting", "1.0"),
            ("witness", "3.0"),
            ("commitments", "1.0"),
            ("other", "1.0"),
        ] {
            let labels = format!("circuit=\"shard\",phase=\"{phase}\"");
            shows(
                &meters,
                &format!("rollup_prover_worker_phase_seconds_sum{{{labels}}} {sum}"),
            );
        }
    }

    #[test]
    fn what_is_given_back_is_in_hand_no_more() {
        let meters = Meters::default();
        meters.began(&lease(1), None, Instant::now());
        meters.connected(true);
        meters.gave_up(Instant::now());
        shows(&meters, "rollup_prover_worker_tasks 0.0");
        shows(
            &meters,
            "rollup_prover_worker_tasks_ended_total{circuit=\"unknown\",outcome=\"infrastructure\"} 1.0",
        );
        shows(&meters, "rollup_prover_worker_connected 1.0");
        meters.connected(false);
        shows(&meters, "rollup_prover_worker_connected 0.0");
        shows(&meters, "rollup_prover_worker_sessions_total 1.0");
    }
}
