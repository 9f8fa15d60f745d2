//! What calls of the artifacts' back end take, and how many fail.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use telemetry::Histogram;

use super::super::StoreError;

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// The objects of one commit are put.
    Put,
    /// One is read.
    Read,
    /// All are listed.
    List,
    /// Some are deleted.
    Delete,
}

/// The names of all calls.
pub(crate) const CALLS: [&str; 4] = ["put", "read", "list", "delete"];
/// What objects are counted by.
pub(crate) const OBJECTS: [&str; 2] = ["kept", "waiting"];

/// What was measured until now.
#[derive(Debug, Clone, Default)]
pub(crate) struct ArtifactNumbers {
    /// Time of the calls, in the order of [`CALLS`].
    pub times: [Histogram; CALLS.len()],
    /// Calls that failed.
    pub failures: [u64; CALLS.len()],
    /// Bytes of the objects at the last look, in the order of [`OBJECTS`]: those that the database names, and those that wait to be
    /// collected.
    pub bytes: [u64; OBJECTS.len()],
}

/// Counts for whoever looks.
#[derive(Debug, Default)]
pub struct ArtifactMeters(Mutex<ArtifactNumbers>);

impl ArtifactMeters {
    pub(super) fn time<T>(
        &self,
        call: Call,
        calling: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let called = calling();
        let mut numbers = self.lock();
        numbers.times[call as usize].observe(started.elapsed().as_secs_f64());
        numbers.failures[call as usize] += u64::from(called.is_err());
        called
    }

    pub(super) fn looked(&self, kept_bytes: u64, waiting_bytes: u64) {
        self.lock().bytes = [kept_bytes, waiting_bytes];
    }

    /// The numbers so far.
    pub(crate) fn numbers(&self) -> ArtifactNumbers {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ArtifactNumbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
