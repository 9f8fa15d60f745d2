//! What the shell's own work takes of time: the coordinator's share of a batch.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use telemetry::Histogram;

/// What the coordinator does itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Work {
    /// A batch is executed and cut into shards.
    Execution,
    /// A proof is verified.
    Verification,
    /// A step is committed.
    Commit,
    /// An artifact is read.
    Read,
    /// The artifacts of a step that comes are put.
    Put,
}

impl Work {
    /// The names of all.
    pub(in crate::server) const NAMES: [&'static str; 5] =
        ["execution", "verification", "commit", "read", "put"];
}

/// Times of the shell's work, by [`Work`].
#[derive(Debug, Default)]
pub(in crate::server) struct Meters(Mutex<[Histogram; Work::NAMES.len()]>);

impl Meters {
    /// Does something and notes how long it took.
    pub(super) fn time<T>(&self, work: Work, doing: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = doing();
        self.note(work, started.elapsed());
        done
    }

    fn note(&self, work: Work, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times[work as usize].observe(took.as_secs_f64());
    }

    /// The times so far, with their names.
    pub(in crate::server) fn times(&self) -> Vec<(&'static str, Histogram)> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Work::NAMES.into_iter().zip(times.iter().cloned()).collect()
    }
}
