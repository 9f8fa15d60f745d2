//! The status page: a page, its style and its script, and two answers of JSON that it is made from. Everything is read-only.
//!
//! The page asks for the state every two seconds. That is made once a second, whoever asks; a batch's own answer reads the core as
//! `GetBatch` does. Names and messages are others' words: they leave here as JSON, and the script sets them as text.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use telemetry::{Answer, listener::Asked};

use super::{
    observed::{Looks, Observed},
    prover_service::About,
    shell::Shell,
};
use crate::core::{
    Core, Task,
    history::Attempt,
    id::{BatchId, SessionId, UnixMs, WorkerId},
    load::{status_name, task_state, worker_state},
    record::{BatchRecord, Billing, Operations, TaskStatus},
    rollup::{RollupRecord, RollupStatus},
};

/// Batches of the state, the newest.
const BATCHES_MAX: usize = 100;
/// Workers of the state.
const WORKERS_MAX: usize = 256;
/// Tokens whose fees the state has of a batch; a batch's own answer has all.
const FEES_MAX: usize = 2;
/// Failures of the state, the newest.
const FAILURES_SHOWN: usize = 32;

const PAGE: &str = include_str!("status_page/page.html");
const STYLE: &str = include_str!("status_page/page.css");
const SCRIPT: &str = include_str!("status_page/page.js");
/// What a browser may load of this page: what lies beside it, and nothing of anybody else's. Nothing inline runs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is served to those who look.
pub(super) async fn answer(shell: Arc<Shell>, about: Arc<About>, looks: Looks, asked: Asked) -> Answer {
    match asked.path.as_str() {
        "/" => Answer::html(PAGE, POLICY.to_owned()),
        "/status.css" => Answer::new("text/css; charset=utf-8", STYLE),
        "/status.js" => Answer::new("text/javascript; charset=utf-8", SCRIPT),
        "/api/state" => {
            let observed: Option<Arc<Observed>> = looks.borrow().clone();
            let Some(observed) = observed else {
                return Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "the coordinator is starting");
            };
            json_answer(&with_service(&observed, &about))
        }
        "/api/batch" => batch(&shell, &asked.query).await,
        _ => Answer::not_found("here are /, /api/state and /api/batch?id=BATCH"),
    }
}

async fn batch(shell: &Arc<Shell>, query: &str) -> Answer {
    let Some(id) = query
        .strip_prefix("id=")
        .and_then(|id| id.parse::<BatchId>().ok())
    else {
        return Answer::refusal(StatusCode::BAD_REQUEST, "id: expected a batch's id, such as b17");
    };
    match shell
        .run(move |shell| {
            let known = shell.peek(|core, now| Some(detail(core, core.batch(id)?, now)));
            // One that is retired is in the store.
            known.or_else(|| {
                let batch = shell.batch(id).ok()??;
                Some(shell.peek(|core, now| detail(core, &batch, now)))
            })
        })
        .await
    {
        Ok(Some(found)) => json_answer(&found),
        Ok(None) => Answer::not_found(&format!("no batch {id}")),
        Err(status) => Answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, status.message()),
    }
}

fn json_answer(value: &Value) -> Answer {
    Answer::new("application/json", value.to_string())
}

/// The state with what does not change, and what is known beside the core.
fn with_service(observed: &Observed, about: &About) -> Value {
    let numbers = &observed.numbers;
    let device_ms: u64 = numbers.attempts.values().map(|ended| ended.device_ms).sum();
    let of_state = |state: &str| {
        let tasks = observed.load.tasks.iter();
        let counts = tasks
            .filter(|((_, found), _)| *found == state)
            .map(|(_, count)| count);
        counts.sum::<u64>()
    };
    let mut state = json!({
        "service": {
            "preset": about.preset.name,
            "insecure_srs": about.manifest.insecure_srs,
            "batches_open_max": about.batches_open_max,
        },
        "leader": observed.leader,
        "age_ms": super::shell::age_ms(observed.at),
        "suspended": observed.suspended,
        "paused": observed.load.paused,
        "accounts": observed.accounts,
        "batches_open": observed.load.batches.values().sum::<u64>(),
        "oldest_batch_ms": observed.load.oldest_batch_ms,
        "outstanding_device_ms": observed.load.outstanding_ms.values().sum::<f64>().abs(),
        "tasks": { "ready": of_state("ready") + of_state("waiting"), "leased": of_state("leased") },
        "operations_proven": numbers.operations_proven,
        "device_ms": device_ms,
    });
    if let (Value::Object(state), Value::Object(lists)) = (&mut state, &*observed.lists) {
        state.extend(lists.clone());
    }
    state
}

/// The batches, workers and failures of the state. It is made under the core's lock, once a second.
pub(super) fn lists(core: &Core, now: UnixMs, devices: impl Fn(SessionId) -> String) -> Value {
    let batches = core.batches_before(BatchId(u64::MAX)).take(BATCHES_MAX);
    let workers = core.workers_after(SessionId(0)).take(WORKERS_MAX);
    let failures = core.tally().history.failures().take(FAILURES_SHOWN);
    json!({
        "now_ms": now.0,
        "rollups": core.rollups().map(|rollup| rollup_of(core, rollup)).collect::<Vec<_>>(),
        "batches": batches.map(|batch| summary(core, batch, FEES_MAX)).collect::<Vec<_>>(),
        "workers": workers.map(|worker| json!({
            "worker": worker.worker.name,
            "identity": worker.worker.principal.0,
            "devices": devices(worker.session),
            "state": worker_state(worker.draining, !worker.leases.is_empty(), worker.asking),
            "proves": worker.capabilities.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "tasks": worker.leases.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "failures": failures.map(|failure| json!({
            "at_ms": failure.at.0,
            "task": failure.task.to_string(),
            "worker": name(failure.worker.as_ref()),
            "outcome": failure.outcome,
            "why": failure.why,
        })).collect::<Vec<_>>(),
    })
}

/// How many operations there are of each kind that there are some of, in words.
fn kinds(operations: Operations) -> String {
    let kinds = [
        (operations.transfers, "transfers"),
        (operations.withdrawals, "withdrawals"),
        (operations.creations, "creations"),
        (operations.queued, "of the queue"),
        (operations.queued_without_effect, "of these without effect"),
        (operations.no_ops, "no-ops"),
    ];
    let some = kinds.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = some.map(|(count, kind)| format!("{count} {kind}")).collect();
    words.join(", ")
}

fn rollup_of(core: &Core, rollup: &RollupRecord) -> Value {
    json!({
        "name": rollup.name,
        "chain_id": rollup.chain_id.to_string(),
        "contract": format!("0x{}", hex::encode(rollup.contract)),
        "state": match rollup.status {
            RollupStatus::Making => "making",
            RollupStatus::Live if rollup.paused => "paused",
            RollupStatus::Live => "live",
            RollupStatus::Leaving | RollupStatus::Gone => "leaving",
        },
        "weight": rollup.weight,
        "next_number": core.head(rollup.number).next_number,
        "batches_open": core.open_batches_of(rollup.number),
    })
}

fn summary(core: &Core, batch: &BatchRecord, fees_max: usize) -> Value {
    json!({
        "batch": batch.id.to_string(),
        "rollup": core.rollup(batch.rollup).map_or("", |rollup| rollup.name.as_str()),
        "number": batch.number,
        "status": status_name(batch.status),
        "operations": batch.operations.total(),
        "kinds": kinds(batch.operations),
        "shards": batch.shards,
        "shards_done": batch.shards_done,
        "accepted_ms": batch.accepted.0,
        "started_ms": batch.started.map(|at| at.0),
        "finished_ms": batch.finished.map(|at| at.0),
        "failure": batch.failure.as_deref().unwrap_or_default(),
        "device_ms": core.tally().history.device_ms(batch.id),
        "billing": batch.billing.as_ref().map(|billing| billing_of(billing, fees_max)),
    })
}

/// What a batch earns and costs on L1. Amounts are text: they may be wider than a number of JSON.
fn billing_of(billing: &Billing, fees_max: usize) -> Value {
    let fees = billing.fees.iter().take(fees_max);
    json!({
        "l1_gas": billing.posted.gas(),
        "posted_bytes": billing.posted.bytes,
        "fee_tokens": billing.fees.len(),
        "fees": fees.map(|(token, amount)| json!({
            "token": token.0,
            "amount": amount.to_string(),
        })).collect::<Vec<_>>(),
    })
}

/// A batch with its tasks and the attempts at them.
fn detail(core: &Core, batch: &BatchRecord, now: UnixMs) -> Value {
    let id = batch.id;
    let attempts = core.tally().history.attempts(id);
    json!({
        "now_ms": now.0,
        "batch": summary(core, batch, usize::MAX),
        "tasks": core.tasks_of(id).map(|task| task_of(task, now)).collect::<Vec<_>>(),
        "attempts": attempts.map(attempt_of).collect::<Vec<_>>(),
    })
}

fn task_of(task: &Task, now: UnixMs) -> Value {
    let record = &task.record;
    json!({
        "task": record.id.to_string(),
        "state": task_state(task, now),
        "worker": name(record.worker.as_ref()),
        "phase": task.phase,
        // A proof of before a restart is there as a whole.
        "fraction": if record.status == TaskStatus::Done { 1.0 } else { task.fraction },
        "attempts": record.fence.0,
        "last_failure": record.last_failure.as_deref().unwrap_or_default(),
    })
}

fn attempt_of(attempt: &Attempt) -> Value {
    json!({
        "task": attempt.task.to_string(),
        "worker": name(attempt.worker.as_ref()),
        "began_ms": attempt.began.0,
        "ended_ms": attempt.ended.map(|(at, _)| at.0),
        "outcome": attempt.ended.map(|(_, outcome)| outcome),
        "device_ms": attempt.device_ms,
        "phases": attempt.phases.iter().map(|(at, phase)| json!({ "at_ms": at.0, "phase": phase })).collect::<Vec<_>>(),
    })
}

fn name(worker: Option<&WorkerId>) -> &str {
    worker.map_or("", |worker| &worker.name)
}
