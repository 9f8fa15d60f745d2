//! The thread that proves: one task at a time, apart from the thread that keeps the leases.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use circuits::aggregation::AggregationInput;
use circuits::field;
use circuits::witness::ShardInput;
use proto::v1::TaskKind;
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::{Job, LeaseId, Outcome};
use crate::engine::{Engine, EngineError, Phase, guarded};

/// An engine that had no task for this long gives back what memory it can. Reading a shard's keys again takes less.
const REST_AFTER: Duration = Duration::from_secs(5);

/// What the proving thread tells.
#[derive(Debug)]
pub(super) enum Event {
    /// The task at hand reached a phase.
    Phase(Phase),
    /// The task is over.
    Over(LeaseId, Outcome),
}

/// Starts the thread. It ends when the sender of jobs is dropped, after the task at hand.
pub(super) fn start(
    mut engine: Box<dyn Engine>,
    jobs: mpsc::Receiver<Job>,
    events: UnboundedSender<Event>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("proving".into()).spawn(move || {
        loop {
            let job = match jobs.recv_timeout(REST_AFTER) {
                Ok(job) => job,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    engine.rest();
                    continue;
                }
            };
            let lease = job.lease.clone();
            let outcome = prove(engine.as_mut(), &job, &events);
            // Without a receiver the worker is gone, and with it everyone whom this could be told.
            if events.send(Event::Over(lease, outcome)).is_err() {
                return;
            }
        }
    })
}

/// Proves one task. Whatever goes wrong in it, a panic included, is this task's failure.
fn prove(engine: &mut dyn Engine, job: &Job, events: &UnboundedSender<Event>) -> Outcome {
    let started = Instant::now();
    tracing::info!(task = %job.lease.task_id, batch = %job.batch_id, kind = job.kind.as_str_name(), index = job.index, "proving");
    let mut progress = |phase: Phase| {
        tracing::debug!(task = %job.lease.task_id, phase = phase.name(), "phase");
        // As above: nobody is left to be told.
        let _ = events.send(Event::Phase(phase));
    };
    let result = guarded(|| match job.kind {
        TaskKind::Shard => {
            let input = ShardInput::from_bytes(&job.payload).map_err(|error| EngineError::Payload {
                reason: error.to_string(),
            })?;
            Ok((engine.prove_shard(&input, &mut progress)?, Vec::new()))
        }
        TaskKind::Aggregation => {
            let input = AggregationInput::from_bytes(&job.payload).map_err(|error| EngineError::Payload {
                reason: error.to_string(),
            })?;
            let root = engine.prove_aggregation(&input, &mut progress)?;
            Ok((root.proof, root.accumulator.iter().map(field::to_be).collect()))
        }
        TaskKind::Unspecified => Err(EngineError::Payload {
            reason: "the task has no known kind".into(),
        }),
    });
    let prove_ms = started.elapsed().as_millis() as u64;
    match result {
        Ok((proof, accumulator)) => {
            tracing::info!(task = %job.lease.task_id, prove_ms, bytes = proof.len(), "proven");
            Outcome::Proven {
                proof,
                accumulator,
                prove_ms,
            }
        }
        Err(error) => {
            let message = error.with_causes();
            tracing::error!(task = %job.lease.task_id, prove_ms, error = %message, "the task failed");
            Outcome::Failed {
                class: error.class().into(),
                message,
            }
        }
    }
}
