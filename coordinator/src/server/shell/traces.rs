//! What is told of batches as spans: one trace for each batch, from its submission to its proof.
//!
//! The names of a trace and of its spans follow from the batch's record, so that every run of a coordinator, and every coordinator that
//! leads, tell the same trace without keeping anything. Workers go on from the span of their lease, which they are told with the task.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use telemetry::traces::{Context, Span, SpanId, TraceId, Traces, now_ns};

use super::Shell;
use crate::core::{
    Core,
    id::{BatchId, Fence, TaskId, UnixMs},
    load::status_name,
    record::{BatchRecord, BatchStatus},
    traced::{EndedAttempt, Traced},
};

/// Submissions whose beginnings are remembered. Where there are more, batches of the earlier ones are told from their acceptance.
const SUBMITTED_MAX: usize = 4_096;

/// Where spans go, and what is remembered for them.
#[derive(Debug, Default)]
pub(super) struct Telling {
    traces: OnceLock<Traces>,
    /// When the submissions of the batches that are open began, as far as this run has seen them.
    submitted_ns: Mutex<HashMap<BatchId, u64>>,
}

/// The moments of a submission, nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Submitted {
    pub began: u64,
    pub executing: u64,
    pub executed: u64,
    pub committing: u64,
}

impl Telling {
    fn on(&self) -> Option<&Traces> {
        self.traces.get().filter(|traces| traces.is_on())
    }
}

impl Shell {
    /// Tells from now on what comes to pass.
    pub(in crate::server) fn tell_to(&self, traces: Traces) {
        let is_first = self.telling.traces.set(traces).is_ok();
        debug_assert!(is_first, "it is said once");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow_core(&mut inner.core);
    }

    /// Has a core note what there is to tell.
    pub(super) fn follow_core(&self, core: &mut Core) {
        if self.telling.on().is_some() {
            core.trace();
        }
    }

    /// What there is to tell of what ended in a step.
    pub(super) fn spans_of_ended(&self, core: &mut Core) -> Vec<Span> {
        if self.telling.on().is_none() {
            return Vec::new();
        }
        let Traced { attempts, batches } = core.take_traced();
        let mut spans = Vec::new();
        for attempt in attempts {
            let id = attempt.task.batch;
            // One that has just become final is the store's alone.
            let ended = batches.iter().find(|batch| batch.id == id);
            if let Some(batch) = core.batch(id).or(ended) {
                spans.push(attempt_of(batch, &attempt));
            }
        }
        for batch in &batches {
            let began = self.submitted().remove(&batch.id);
            spans.extend(spans_of(batch, began));
        }
        spans
    }

    /// Tells spans.
    pub(super) fn tell(&self, spans: Vec<Span>) {
        if let Some(traces) = self.telling.on() {
            spans.into_iter().for_each(|span| traces.tell(span));
        }
    }

    /// Tells a submission that was accepted.
    pub(super) fn tell_submission(&self, id: BatchId, at: Submitted) {
        let Some(traces) = self.telling.on() else { return };
        // Within the look, so that none is remembered whose batch is final.
        let open = self.peek(|core, _| {
            let whole = root(core.batch(id)?);
            let mut submitted = self.submitted();
            if submitted.len() >= SUBMITTED_MAX {
                submitted.clear();
            }
            submitted.insert(id, at.began);
            Some(whole)
        });
        let Some(whole) = open else { return };
        let ended = now_ns();
        let mut submit = Span::part_of(whole, "submit", at.began, ended).with("batch", id);
        submit.context.span = span_id(whole.trace, "submit");
        let within = submit.context;
        traces.tell(submit);
        traces.tell(Span::part_of(within, "execute", at.executing, at.executed));
        traces.tell(Span::part_of(within, "commit", at.committing, ended));
    }

    /// Tells that a proof was judged.
    pub(super) fn tell_verification(&self, task: TaskId, fence: Fence, began: u64, refused: Option<&String>) {
        let Some(traces) = self.telling.on() else { return };
        let Some(whole) = self.lease(task, fence) else {
            return;
        };
        let span = Span::part_of(whole, "verify", began, now_ns())
            .with("task", task)
            .with("attempt", fence.0);
        traces.tell(match refused {
            Some(why) => span.failed(why),
            None => span,
        });
    }

    /// The span of a lease, in the form in which workers are told of it; empty where nobody is told anything.
    pub(in crate::server) fn traceparent(&self, task: TaskId, fence: Fence) -> String {
        match self.telling.on() {
            Some(_) => self
                .lease(task, fence)
                .map_or_else(String::new, |lease| lease.to_string()),
            None => String::new(),
        }
    }

    fn lease(&self, task: TaskId, fence: Fence) -> Option<Context> {
        self.peek(|core, _| Some(lease(core.batch(task.batch)?, task, fence)))
    }

    fn submitted(&self) -> MutexGuard<'_, HashMap<BatchId, u64>> {
        let submitted = &self.telling.submitted_ns;
        submitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trace of a batch.
fn trace_id(batch: &BatchRecord) -> TraceId {
    let digest = Sha256::new()
        .chain_update("rollup-prover trace of a batch")
        .chain_update(batch.sha256)
        .chain_update(batch.id.0.to_be_bytes())
        .chain_update(batch.accepted.0.to_be_bytes())
        .finalize();
    TraceId(digest[..16].try_into().expect("sixteen bytes"))
}

/// A span of a trace that there is one of by that name.
fn span_id(trace: TraceId, name: &str) -> SpanId {
    let digest = Sha256::new().chain_update(trace.0).chain_update(name).finalize();
    SpanId(digest[..8].try_into().expect("eight bytes"))
}

/// A batch's first span, of which all others are parts.
fn root(batch: &BatchRecord) -> Context {
    let trace = trace_id(batch);
    let span = span_id(trace, "batch");
    Context { trace, span }
}

/// The span of a lease.
fn lease(batch: &BatchRecord, task: TaskId, fence: Fence) -> Context {
    let trace = trace_id(batch);
    let span = span_id(trace, &format!("{task} {}", fence.0));
    Context { trace, span }
}

fn attempt_of(batch: &BatchRecord, attempt: &EndedAttempt) -> Span {
    let whole = root(batch);
    let span = Span {
        context: lease(batch, attempt.task, attempt.fence),
        ..Span::part_of(whole, "attempt", ns(attempt.began), ns(attempt.ended))
    };
    let worker = attempt.worker.as_ref().map_or("", |worker| &worker.name);
    let span = span
        .with("batch", batch.id)
        .with("task", attempt.task)
        .with("attempt", attempt.fence.0)
        .with("circuit", attempt.task.kind.name())
        .with("worker", worker)
        .with("outcome", attempt.outcome);
    match &attempt.why {
        Some(why) => span.failed(why),
        None => span,
    }
}

/// A batch that became final, and what it went through.
fn spans_of(batch: &BatchRecord, submitted_ns: Option<u64>) -> Vec<Span> {
    let whole = root(batch);
    let ended = batch.finished.unwrap_or(batch.accepted);
    let began = submitted_ns.unwrap_or_else(|| ns(batch.accepted));
    let span = Span {
        context: whole,
        parent: None,
        ..Span::part_of(whole, "batch", began, ns(ended))
    };
    let span = span
        .with("batch", batch.id)
        .with("number", batch.number)
        .with("operations", batch.operations.total())
        .with("shards", batch.shards)
        .with("status", status_name(batch.status));
    let mut spans = vec![match batch.status {
        BatchStatus::Proven => span,
        other => span.failed(&format!("the batch was {other}")),
    }];
    let stages = [
        ("queued", Some(batch.accepted), batch.started),
        ("shards", batch.started, batch.shards_done_at),
        ("aggregation", batch.shards_done_at, batch.finished),
    ];
    for (name, from, to) in stages {
        if let (Some(from), Some(to)) = (from, to) {
            spans.push(Span::part_of(whole, name, ns(from), ns(to)).with("batch", batch.id));
        }
    }
    spans
}

fn ns(at: UnixMs) -> u64 {
    at.0.saturating_mul(1_000_000)
}
