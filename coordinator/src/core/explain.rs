//! What a batch waits for, in words.

use std::fmt;

use super::{
    Core, Task,
    id::{BatchId, Principal, TaskId, TaskKind, UnixMs, WorkerId},
    record::{BatchStatus, TaskStatus},
};

/// One thing that a batch waits for, or that is being done for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It waits for nothing.
    Final {
        /// The batch.
        batch: BatchId,
        /// How it ended.
        status: BatchStatus,
    },
    /// A task failed for good, or was set aside.
    Failed {
        /// The task.
        task: TaskId,
        /// Whether it was set aside because workers died on it.
        quarantined: bool,
        /// What the batch says of it, the remedy included.
        failure: String,
    },
    /// No tasks are handed out.
    Paused,
    /// None of its rollup are.
    RollupPaused {
        /// The rollup's name.
        rollup: String,
    },
    /// A worker is at work.
    AtWork {
        /// The task.
        task: TaskId,
        /// Its worker.
        worker: WorkerId,
        /// As the worker told last; empty before.
        phase: String,
        /// As the worker told last.
        fraction: f64,
    },
    /// The worker that holds a task is not connected.
    WorkerLost {
        /// The task.
        task: TaskId,
        /// Its worker.
        worker: WorkerId,
        /// Until the lease ends.
        ms: u64,
    },
    /// Tasks are ready, and no connected worker takes such.
    NoWorker {
        /// What they prove.
        kind: TaskKind,
        /// How many.
        tasks: usize,
        /// Workers that would, but drain.
        draining: usize,
        /// Workers that take such of other circuits.
        others: usize,
    },
    /// Tasks are ready, and every worker that takes such is busy.
    AllBusy {
        /// What they prove.
        kind: TaskKind,
        /// How many.
        tasks: usize,
        /// The workers.
        workers: usize,
        /// Ready tasks that go before these.
        before: usize,
    },
    /// One identity has said or shown that a task cannot be proven, which alone fails no batch.
    OneWord {
        /// The task.
        task: TaskId,
        /// The identity.
        identity: Principal,
        /// Number of the batch.
        number: u64,
        /// Why the last attempt failed.
        failure: String,
    },
    /// A task failed and is tried again later.
    Backoff {
        /// The task.
        task: TaskId,
        /// Until then.
        ms: u64,
        /// Attempts that failed.
        failures: u32,
        /// Why the last one failed.
        failure: String,
    },
    /// A task is kept for another worker than that which failed it.
    Avoided {
        /// The task.
        task: TaskId,
        /// That worker.
        worker: WorkerId,
        /// Until it may have the task again.
        ms: u64,
        /// Why it failed.
        failure: String,
    },
}

impl Core {
    /// What a batch waits for, the most telling first. At least one reason; none for a batch that never was.
    pub fn explain(&self, now: UnixMs, id: BatchId) -> Option<Vec<Reason>> {
        let batch = self.batches.get(&id)?;
        if batch.is_final() {
            return Some(vec![Reason::Final {
                batch: id,
                status: batch.status,
            }]);
        }
        let tasks: Vec<&Task> = self.tasks_of(id).collect();
        let failure = batch.failure.clone().unwrap_or_default();
        let mut reasons: Vec<Reason> = tasks.iter().filter_map(|task| failed(task, &failure)).collect();
        let runs = reasons.is_empty();
        let waits = runs && tasks.iter().any(|task| task.record.status == TaskStatus::Ready);
        if waits && self.paused {
            reasons.push(Reason::Paused);
        }
        let rollup = self.rollup(batch.rollup).filter(|rollup| rollup.paused);
        reasons.extend(rollup.filter(|_| waits).map(|rollup| Reason::RollupPaused {
            rollup: rollup.name.clone(),
        }));
        reasons.extend(tasks.iter().filter_map(|task| self.one_word(task, batch.number)));
        reasons.extend(tasks.iter().filter_map(|task| self.at_work(now, task)));
        if runs {
            reasons.extend(tasks.iter().filter_map(|task| self.kept_back(now, task)));
            reasons.extend(
                [TaskKind::Aggregation, TaskKind::Shard]
                    .map(|kind| self.unserved(id, kind))
                    .into_iter()
                    .flatten(),
            );
        }
        Some(reasons)
    }

    /// Whose word alone is against a task that is tried again.
    fn one_word(&self, task: &Task, number: u64) -> Option<Reason> {
        let open = matches!(task.record.status, TaskStatus::Ready | TaskStatus::Leased);
        let identity = task.evidence.undecided(&self.limits).filter(|_| open)?;
        Some(Reason::OneWord {
            task: task.record.id,
            identity: identity.clone(),
            number,
            failure: task.record.last_failure.clone().unwrap_or_default(),
        })
    }

    /// Who holds a task.
    fn at_work(&self, now: UnixMs, task: &Task) -> Option<Reason> {
        let record = &task.record;
        let worker = record
            .worker
            .clone()
            .filter(|_| record.status == TaskStatus::Leased)?;
        let connected = task.session.is_some_and(|id| self.sessions.contains_key(&id));
        Some(match connected {
            true => Reason::AtWork {
                task: record.id,
                worker,
                phase: task.phase.clone(),
                fraction: task.fraction,
            },
            false => Reason::WorkerLost {
                task: record.id,
                worker,
                ms: now.until(task.deadline),
            },
        })
    }

    /// Why a task that waits is not for everybody yet.
    fn kept_back(&self, now: UnixMs, task: &Task) -> Option<Reason> {
        let record = &task.record;
        if record.status != TaskStatus::Ready {
            return None;
        }
        let failure = record.last_failure.clone().unwrap_or_default();
        if record.not_before > now {
            return Some(Reason::Backoff {
                task: record.id,
                ms: now.until(record.not_before),
                failures: record.failures,
                failure,
            });
        }
        let worker = record.worker.clone().filter(|_| record.avoid_until > now)?;
        let asks = self.waiting.values().any(|id| self.sessions[id].worker == worker);
        asks.then(|| Reason::Avoided {
            task: record.id,
            worker,
            ms: now.until(record.avoid_until),
            failure,
        })
    }

    /// Why a batch's ready tasks of a kind are not given out.
    fn unserved(&self, id: BatchId, kind: TaskKind) -> Option<Reason> {
        let at = |index| TaskId {
            batch: id,
            kind,
            index,
        };
        let (first, last) = (self.place(at(0)), self.place(at(u32::MAX)));
        let keys = first.0;
        let tasks = self.ready.range(first..=last).count();
        if tasks == 0 {
            return None;
        }
        let able = self
            .sessions
            .values()
            .filter(|session| session.capabilities.contains(&kind));
        let (able, others): (Vec<_>, Vec<_>) = able.partition(|session| session.keys == keys);
        let (draining, able): (Vec<_>, Vec<_>) = able.into_iter().partition(|session| session.draining);
        if able.is_empty() {
            return Some(Reason::NoWorker {
                kind,
                tasks,
                draining: draining.len(),
                others: others.len(),
            });
        }
        Some(Reason::AllBusy {
            kind,
            tasks,
            workers: able.len(),
            before: self
                .in_turn(keys, &TaskKind::ALL)
                .take_while(|task| (task.batch, task.kind) != (id, kind))
                .count(),
        })
    }
}

fn failed(task: &Task, failure: &str) -> Option<Reason> {
    let quarantined = match task.record.status {
        TaskStatus::Failed => false,
        TaskStatus::Quarantined => true,
        _ => return None,
    };
    Some(Reason::Failed {
        task: task.record.id,
        quarantined,
        failure: failure.to_owned(),
    })
}

/// "1 shard", "2 aggregations".
fn count(tasks: usize, kind: TaskKind) -> String {
    let name = match kind {
        TaskKind::Shard => "shard",
        TaskKind::Aggregation => "aggregation",
    };
    format!("{tasks} {name}{}", if tasks == 1 { "" } else { "s" })
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final { batch, status } => match status {
                BatchStatus::Proven => write!(
                    f,
                    "it is proven; `rollup-prover proof {batch} --out FILE` fetches the proof"
                ),
                BatchStatus::RolledBack => write!(f, "an operator rolled it back"),
                _ => write!(f, "it was cancelled"),
            },
            Self::Failed { failure, .. } => write!(f, "{failure}"),
            Self::Paused => write!(
                f,
                "the service is paused, so no task is handed out; `rollup-prover resume` ends that"
            ),
            Self::RollupPaused { rollup } => write!(
                f,
                "rollup {rollup} is paused, so no task of it is handed out; `rollup-prover resume --rollup {rollup}` ends that"
            ),
            Self::AtWork {
                task,
                worker,
                phase,
                fraction,
            } => {
                let phase = if phase.is_empty() { "beginning" } else { phase };
                write!(
                    f,
                    "worker {worker} is at work on {task}: {phase}, {:.0} %",
                    100.0 * fraction
                )
            }
            Self::WorkerLost { task, worker, ms } => write!(
                f,
                "worker {worker}, which holds {task}, is not connected; unless it comes back, the task is handed out again in {}",
                seconds(*ms)
            ),
            Self::NoWorker { .. } | Self::AllBusy { .. } => self.fmt_unserved(f),
            Self::OneWord {
                task,
                identity,
                number,
                failure,
            } => write!(
                f,
                "workers of identity {identity} say or show that {task} cannot be proven, and one identity's word fails no batch: it is \
                 tried again until it is proven or workers of another identity fail at it too (its last attempt: {failure}); start such a worker, or \
                 take the batch back: `rollup-prover cancel {}` if it is the newest, else `rollup-prover rollback --to {number}`",
                task.batch
            ),
            Self::Backoff {
                task,
                ms,
                failures,
                failure,
            } => write!(
                f,
                "{task} is tried again in {} after {failures} failed attempts, the last because: {failure}",
                seconds(*ms)
            ),
            Self::Avoided {
                task,
                worker,
                ms,
                failure,
            } => write!(
                f,
                "{task} failed on worker {worker} and is kept for another one for {}: {failure}",
                seconds(*ms)
            ),
        }
    }
}

impl Reason {
    /// Why ready tasks are not given out.
    fn fmt_unserved(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorker {
                kind,
                tasks,
                draining,
                others,
            } => {
                let tasks = count(*tasks, *kind);
                write!(f, "{tasks} to prove, and no worker is connected that proves such")?;
                match (draining, others) {
                    (0, 0) => write!(f, "; start one"),
                    (0, _) => write!(
                        f,
                        " under the keys of this batch ({others} have others); start one that has them"
                    ),
                    _ => write!(f, " and is not draining ({draining} are); start another"),
                }
            }
            Self::AllBusy {
                kind,
                tasks,
                workers,
                before,
            } => {
                let tasks = count(*tasks, *kind);
                write!(
                    f,
                    "{tasks} to prove, and all workers that prove such ({workers}) are busy"
                )?;
                match before {
                    0 => write!(f, "; it is next"),
                    _ => write!(f, "; {before} ready tasks of other batches or kinds go before"),
                }
            }
            _ => Ok(()),
        }
    }
}
