//! The threads that prove: one prepares tasks, the other proves them, apart from the thread that keeps the leases.
//!
//! So the witness of the next task is computed while a device is busy with the one before it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use circuits::aggregation::AggregationInput;
use rules::field;
use rules::witness::ShardInput;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::{Job, JobKind, LeaseId, Outcome};
use crate::engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task, abandon, guarded};

/// An engine that had no task for this long gives back what memory it can. Reading a shard's keys again takes less.
const REST_AFTER: Duration = Duration::from_secs(5);

/// Leases that are remembered as abandoned at most: a worker holds fewer, and one that is over already is remembered in vain.
const ABANDONED_MAX: usize = 16;

/// Leases whose proofs are not wanted any more. Their work ends before its next phase.
#[derive(Debug, Clone, Default)]
pub(super) struct Abandoned(Arc<Mutex<VecDeque<LeaseId>>>);

impl Abandoned {
    pub(super) fn add(&self, lease: LeaseId) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.push_back(lease);
        if leases.len() > ABANDONED_MAX {
            leases.pop_front();
        }
    }

    fn has(&self, lease: &LeaseId) -> bool {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.contains(lease)
    }
}

/// What is told of the tasks in hand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Of a task.
    Task(TaskEvent),
    /// Nothing can be proven here any more. What is still held will not be told of.
    OutOfService { reason: String },
}

/// What is told of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum TaskEvent {
    /// It reached a phase.
    Phase {
        lease: LeaseId,
        name: String,
        fraction: f64,
    },
    /// It is over.
    Over {
        lease: LeaseId,
        outcome: Outcome,
        /// The device failed or was full, and should be opened anew.
        device_fault: bool,
    },
}

/// A job whose first stage is done, one way or the other.
struct Staged<P> {
    job: Job,
    received: Instant,
    prepared: Result<P, EngineError>,
}

/// Starts both threads. They end when the sender of jobs is dropped, after the tasks at hand.
pub(super) fn start<P: Pipeline>(
    pipeline: P,
    jobs: Receiver<Job>,
    abandoned: &Abandoned,
    events: UnboundedSender<Event>,
) -> std::io::Result<()> {
    let [preparing_abandoned, proving_abandoned] = [abandoned.clone(), abandoned.clone()];
    let (staged, queue) = mpsc::channel();
    let preparer = pipeline.preparer();
    let preparing_events = events.clone();
    // Tasks between their receipt and the end of their first stage.
    let preparing = Arc::new(AtomicUsize::new(0));
    let still_preparing = preparing.clone();
    thread::Builder::new().name("preparing".into()).spawn(move || {
        let told = Told {
            events: &preparing_events,
            abandoned: &preparing_abandoned,
        };
        prepare_all(&preparer, &jobs, &staged, &preparing, told);
    })?;
    thread::Builder::new().name("proving".into()).spawn(move || {
        let told = Told {
            events: &events,
            abandoned: &proving_abandoned,
        };
        prove_all(pipeline, &queue, &still_preparing, told);
    })?;
    Ok(())
}

fn prepare_all<P: Prepare>(
    preparer: &P,
    jobs: &Receiver<Job>,
    staged: &mpsc::Sender<Staged<P::Prepared>>,
    preparing: &AtomicUsize,
    told: Told<'_>,
) {
    while let Ok(job) = jobs.recv() {
        let received = Instant::now();
        preparing.fetch_add(1, Ordering::Relaxed);
        let prepared = guarded(|| {
            told.unless_abandoned(&job);
            preparer.prepare(&task(&job)?, &mut told.of(&job))
        });
        let job = Staged {
            job,
            received,
            prepared,
        };
        // The other thread ends only when nobody is left to be told of a proof.
        if staged.send(job).is_err() {
            return;
        }
        preparing.fetch_sub(1, Ordering::Relaxed);
    }
}

fn prove_all<P: Pipeline>(
    mut pipeline: P,
    queue: &Receiver<Staged<<P::Preparer as Prepare>::Prepared>>,
    preparing: &AtomicUsize,
    told: Told<'_>,
) {
    loop {
        let staged = match queue.recv_timeout(REST_AFTER) {
            Ok(staged) => staged,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                // What a task that is being prepared will need is kept.
                if preparing.load(Ordering::Relaxed) == 0
                    && let Err(error) = guarded(|| {
                        pipeline.rest();
                        Ok(())
                    })
                {
                    tracing::error!(%error, "giving memory back failed");
                }
                continue;
            }
        };
        let job = staged.job;
        tracing::info!(task = %job.lease.task_id, fence = job.lease.fence, batch = %job.batch_id, kind = job.kind.map_or("unknown", JobKind::name), index = job.index, "proving");
        let result = guarded(|| {
            told.unless_abandoned(&job);
            pipeline.prove(staged.prepared?, &mut told.of(&job))
        });
        if told.events.send(over(&job, staged.received, result)).is_err() {
            // Without a receiver the worker is gone, and with it everyone whom this could be told.
            return;
        }
    }
}

/// Decodes a job's payload.
fn task(job: &Job) -> Result<Task, EngineError> {
    let unreadable = |reason: String| EngineError::Payload { reason };
    match job.kind {
        Some(JobKind::Shard) => ShardInput::from_bytes(&job.payload)
            .map(|input| Task::Shard(Box::new(input)))
            .map_err(|error| unreadable(error.to_string())),
        Some(JobKind::Aggregation) => AggregationInput::from_bytes(&job.payload)
            .map(Task::Aggregation)
            .map_err(|error| unreadable(error.to_string())),
        None => Err(unreadable("the task has no known kind".into())),
    }
}

/// What is told of tasks, and to them.
#[derive(Clone, Copy)]
struct Told<'a> {
    events: &'a UnboundedSender<Event>,
    abandoned: &'a Abandoned,
}

impl Told<'_> {
    /// Tells of a job's phases, and ends it before its next one when its proof is not wanted any more.
    fn of(self, job: &Job) -> impl FnMut(Phase) {
        move |phase: Phase| {
            self.unless_abandoned(job);
            tracing::debug!(task = %job.lease.task_id, fence = job.lease.fence, phase = phase.name(), "phase");
            let event = TaskEvent::Phase {
                lease: job.lease.clone(),
                name: phase.name().to_string(),
                fraction: phase.fraction(),
            };
            // Without a receiver nobody is left to be told.
            let _ = self.events.send(Event::Task(event));
        }
    }

    /// Goes on only with a job whose proof is wanted; within [`guarded`].
    fn unless_abandoned(self, job: &Job) {
        if self.abandoned.has(&job.lease) {
            abandon();
        }
    }
}

fn over(job: &Job, received: Instant, result: Result<Proof, EngineError>) -> Event {
    let prove_ms = received.elapsed().as_millis() as u64;
    let (task, fence) = (&job.lease.task_id, job.lease.fence);
    let device_fault = result.as_ref().is_err_and(EngineError::is_device_fault);
    let outcome = match result {
        Ok(proof) => {
            tracing::info!(%task, fence, prove_ms, bytes = proof.bytes.len(), "proven");
            let accumulator = proof.accumulator.iter().flatten();
            Outcome::Proven {
                accumulator: accumulator.map(field::to_be).collect(),
                proof: proof.bytes,
                prove_ms,
            }
        }
        Err(EngineError::Abandoned) => {
            tracing::info!(%task, fence, prove_ms, "the task was given up: nobody wants its proof any more");
            Outcome::Abandoned
        }
        Err(error) => {
            let message = error.with_causes();
            tracing::error!(%task, fence, prove_ms, error = %message, "the task failed");
            Outcome::Failed {
                class: error.class(),
                message,
            }
        }
    };
    Event::Task(TaskEvent::Over {
        lease: job.lease.clone(),
        outcome,
        device_fault,
    })
}
