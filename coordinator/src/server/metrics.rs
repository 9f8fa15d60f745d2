//! The coordinator's metrics: what they are, and a page of them.

use std::sync::{Arc, LazyLock};

use telemetry::{Kind, Label, Metric, PHASES, Page, SECONDS, listener::Asked, process, process::Process};

use super::{
    observed::{Looks, Observed},
    shell::Work,
};
use crate::{
    core::{
        id::TaskKind,
        load::{TASK_STATES, WORKER_STATES},
        tally::{Outcome, Stage},
    },
    store::{ArtifactNumbers, CALLS, OBJECTS},
};

const CIRCUIT: Label = Label {
    name: "circuit",
    values: &TaskKind::NAMES,
};
const OUTCOME: Label = Label {
    name: "outcome",
    values: &Outcome::NAMES,
};
const CALL: Label = Label {
    name: "call",
    values: &CALLS,
};
const OPEN: [&str; 4] = ["queued", "proving", "aggregating", "failed"];
const FINAL: [&str; 3] = ["proven", "cancelled", "rolled_back"];

macro_rules! metrics {
    ($($id:ident: $kind:expr, $name:literal, $unit:literal, $labels:expr, $help:literal;)*) => {
        $(static $id: Metric = Metric {
            name: concat!("rollup_prover_", $name),
            kind: $kind,
            unit: $unit,
            labels: $labels,
            help: $help,
        };)*
        /// Those of the coordinator alone, in the order of the page.
        static OWN: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BATCHES: Kind::Gauge, "batches", "batches",
        &[Label { name: "status", values: &OPEN }], "Batches that are accepted and not final";
    BATCH_AGE: Kind::Gauge, "batch_age_seconds", "seconds",
        &[], "Age of the oldest batch that is not final; 0 without one";
    ACCEPTED: Kind::Counter, "batches_accepted", "batches",
        &[], "Batches accepted";
    FINISHED: Kind::Counter, "batches_finished", "batches",
        &[Label { name: "status", values: &FINAL }], "Batches that became final";
    OPERATIONS: Kind::Counter, "operations_proven", "operations",
        &[], "Operations of the batches that were proven";
    L1_GAS: Kind::Counter, "l1_gas_estimated", "gas",
        &[], "Gas that the submissions of the batches that were proven are estimated to take on L1";
    BATCH_SECONDS: Kind::Histogram(SECONDS), "batch_seconds", "seconds",
        &[Label { name: "stage", values: &Stage::NAMES }], "Time of batches that were proven, by stage";
    TASKS: Kind::Gauge, "tasks", "tasks",
        &[CIRCUIT, Label { name: "state", values: &TASK_STATES }], "Tasks of the batches that are not final; ready ones are the queue";
    OUTSTANDING: Kind::Gauge, "outstanding_device_seconds", "seconds",
        &[CIRCUIT], "Time of a device that open batches still take, by what such tasks took of late";
    LEASE_AGE: Kind::Gauge, "lease_age_seconds", "seconds",
        &[CIRCUIT], "Age of the oldest lease; 0 without one";
    ATTEMPTS: Kind::Counter, "attempts", "attempts",
        &[CIRCUIT, OUTCOME], "Attempts at tasks that ended, by how";
    DEVICE_SECONDS: Kind::Counter, "device_seconds", "seconds",
        &[CIRCUIT, OUTCOME], "Time of workers' devices that attempts took";
    PHASE_SECONDS: Kind::Histogram(SECONDS), "phase_seconds", "seconds",
        &[CIRCUIT, Label { name: "phase", values: &PHASES }], "Time of workers' phases, as they came to be known here";
    WORKERS: Kind::Gauge, "workers", "workers",
        &[Label { name: "state", values: &WORKER_STATES }], "Workers that are connected";
    LEADS: Kind::Gauge, "leads", "",
        &[], "1 where the coordinator leads, as one that is alone does; what the service does is on the leader's page alone";
    PAUSED: Kind::Gauge, "paused", "",
        &[], "1 while an operator has paused the service";
    SUSPENDED: Kind::Gauge, "store_suspended", "",
        &[], "1 while the store takes no writes and is waited for";
    OWN_SECONDS: Kind::Histogram(SECONDS), "own_seconds", "seconds",
        &[Label { name: "work", values: &Work::NAMES }], "Time of the coordinator's own work: its share; commits, reads and puts are the store's latency";
    ARTIFACT_SECONDS: Kind::Histogram(SECONDS), "artifact_seconds", "seconds",
        &[CALL], "Time of calls of the place where artifacts are kept: those that failed too";
    ARTIFACT_FAILURES: Kind::Counter, "artifact_failures", "calls",
        &[CALL], "Those calls that failed, all tries of them";
    ARTIFACT_BYTES: Kind::Gauge, "artifact_bytes", "bytes",
        &[Label { name: "objects", values: &OBJECTS }], "Bytes of artifacts at the last look: those that are kept, and those that wait to be deleted";
    ACCOUNTS: Kind::Gauge, "accounts", "accounts",
        &[], "Accounts of all rollups after their last batches";
    SNAPSHOT_AGE: Kind::Gauge, "snapshot_age_seconds", "seconds",
        &[], "Age of what this page shows; above some seconds the core is held up";
}

/// All metrics of a coordinator.
pub static METRICS: LazyLock<Vec<&'static Metric>> =
    LazyLock::new(|| OWN.iter().copied().chain(process::METRICS).collect());

/// What `/metrics` answers, and nothing else.
pub(super) fn answer(looks: &Looks, process: Process, asked: &Asked) -> telemetry::Answer {
    if asked.path != "/metrics" {
        return telemetry::Answer::not_found("only /metrics is here");
    }
    let observed: Option<Arc<Observed>> = looks.borrow().clone();
    let mut page = Page::default();
    if let Some(observed) = observed {
        add(&observed, &mut page);
    }
    process.add_to(&mut page);
    telemetry::Answer::metrics(page.to_text())
}

/// Adds what was seen to a page. Series that have no value yet are 0, so that a rate has something to begin from.
fn add(observed: &Observed, page: &mut Page) {
    // What one that stands by mirrors would count twice, and it has no workers.
    let leads = observed.leader.is_none();
    if leads {
        add_batches(observed, page);
        add_tasks(observed, page);
        add_workers(observed, page);
    }
    page.number(&LEADS, &[], f64::from(leads));
    if leads {
        page.number(&PAUSED, &[], f64::from(observed.load.paused));
    }
    page.number(&SUSPENDED, &[], f64::from(observed.suspended));
    for (work, times) in &observed.own {
        page.histogram(&OWN_SECONDS, &[work], times);
    }
    add_calls(&observed.artifacts, page);
    if leads {
        for (objects, bytes) in OBJECTS.into_iter().zip(observed.artifacts.bytes) {
            page.number(&ARTIFACT_BYTES, &[objects], bytes as f64);
        }
        if let Some(accounts) = observed.accounts {
            page.number(&ACCOUNTS, &[], accounts as f64);
        }
    }
    page.number(&SNAPSHOT_AGE, &[], observed.at.elapsed().as_secs_f64());
}

fn add_workers(Observed { load, .. }: &Observed, page: &mut Page) {
    for state in WORKER_STATES {
        let count = load.workers.get(state).copied().unwrap_or(0);
        page.number(&WORKERS, &[state], count as f64);
    }
}

fn add_calls(numbers: &ArtifactNumbers, page: &mut Page) {
    for (index, call) in CALLS.into_iter().enumerate() {
        page.histogram(&ARTIFACT_SECONDS, &[call], &numbers.times[index]);
        page.number(&ARTIFACT_FAILURES, &[call], numbers.failures[index] as f64);
    }
}

fn add_batches(
    Observed {
        numbers: tally, load, ..
    }: &Observed,
    page: &mut Page,
) {
    for status in OPEN {
        let count = load.batches.get(status).copied().unwrap_or(0);
        page.number(&BATCHES, &[status], count as f64);
    }
    page.number(&BATCH_AGE, &[], seconds(load.oldest_batch_ms));
    page.number(&ACCEPTED, &[], tally.batches_accepted as f64);
    let finished = [
        tally.batches_proven,
        tally.batches_cancelled,
        tally.batches_rolled_back,
    ];
    for (status, count) in FINAL.into_iter().zip(finished) {
        page.number(&FINISHED, &[status], count as f64);
    }
    page.number(&OPERATIONS, &[], tally.operations_proven as f64);
    page.number(&L1_GAS, &[], tally.l1_gas_proven as f64);
    for stage in [Stage::Queued, Stage::Shards, Stage::Aggregation, Stage::Whole] {
        let times = tally.stages.get(&stage).cloned().unwrap_or_default();
        page.histogram(&BATCH_SECONDS, &[stage.name()], &times);
    }
}

fn add_tasks(
    Observed {
        numbers: tally, load, ..
    }: &Observed,
    page: &mut Page,
) {
    for kind in TaskKind::ALL {
        let circuit = kind.name();
        for state in TASK_STATES {
            let count = load.tasks.get(&(kind, state)).copied().unwrap_or(0);
            page.number(&TASKS, &[circuit, state], count as f64);
        }
        let outstanding = load.outstanding_ms.get(&kind).copied().unwrap_or(0.0);
        page.number(&OUTSTANDING, &[circuit], outstanding / 1_000.0);
        let oldest = load.oldest_lease_ms.get(&kind).copied().unwrap_or(0);
        page.number(&LEASE_AGE, &[circuit], seconds(oldest));
        for outcome in Outcome::NAMES {
            let ended = tally.attempts.get(&(kind, outcome)).copied().unwrap_or_default();
            page.number(&ATTEMPTS, &[circuit, outcome], ended.count as f64);
            page.number(&DEVICE_SECONDS, &[circuit, outcome], seconds(ended.device_ms));
        }
        for phase in PHASES {
            let times = tally.phases.get(&(kind, phase)).cloned().unwrap_or_default();
            page.histogram(&PHASE_SECONDS, &[circuit, phase], &times);
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
