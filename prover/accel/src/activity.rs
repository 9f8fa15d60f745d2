//! A device's book: what it was asked, how long that took, and what went to it and back.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a device has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Seconds in which at least one call into the device's library was under way.
    pub busy_s: f64,
    /// Bytes copied from the host's memory.
    pub bytes_to_device: u64,
    /// Bytes copied to the host's memory.
    pub bytes_to_host: u64,
    /// Calls into the library by the operation of [`Device`](crate::Device) that they were made for.
    pub operations: BTreeMap<Cow<'static, str>, Calls>,
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// How many.
    pub calls: u64,
    /// Seconds that they took, added up over threads.
    pub seconds: f64,
}

impl Activity {
    /// What was done after `earlier`, which the same device gave.
    pub fn since(&self, earlier: &Self) -> Self {
        let operations = self.operations.iter().map(|(name, calls)| {
            let before = earlier.operations.get(name).copied().unwrap_or_default();
            let calls = Calls {
                calls: calls.calls - before.calls,
                seconds: calls.seconds - before.seconds,
            };
            (name.clone(), calls)
        });
        Self {
            busy_s: self.busy_s - earlier.busy_s,
            bytes_to_device: self.bytes_to_device - earlier.bytes_to_device,
            bytes_to_host: self.bytes_to_host - earlier.bytes_to_host,
            operations: operations.filter(|(_, calls)| calls.calls > 0).collect(),
        }
    }
}

/// Keeps the book.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    activity: Activity,
    under_way: u32,
    /// When the first of the calls under way began.
    busy_since: Option<Instant>,
}

/// A call under way.
pub(crate) struct Metered<'a> {
    meter: &'a Meter,
    operation: &'static str,
    since: Instant,
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it ends when what is given back is dropped.
    pub(crate) fn begin(&self, operation: &'static str) -> Metered<'_> {
        let since = Instant::now();
        let mut state = self.state();
        state.under_way += 1;
        state.busy_since.get_or_insert(since);
        Metered {
            meter: self,
            operation,
            since,
        }
    }

    pub(crate) fn to_device(&self, bytes: usize) {
        self.state().activity.bytes_to_device += bytes as u64;
    }

    pub(crate) fn to_host(&self, bytes: usize) {
        self.state().activity.bytes_to_host += bytes as u64;
    }

    pub(crate) fn activity(&self) -> Activity {
        self.state().activity.clone()
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        let mut state = self.meter.state();
        let end = Instant::now();
        state.under_way -= 1;
        if state.under_way == 0
            && let Some(since) = state.busy_since.take()
        {
            state.activity.busy_s += end.saturating_duration_since(since).as_secs_f64();
        }
        let calls = state
            .activity
            .operations
            .entry(Cow::Borrowed(self.operation))
            .or_default();
        calls.calls += 1;
        calls.seconds += end.saturating_duration_since(self.since).as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_overlap_count_once_as_busy_and_each_by_operation() {
        let meter = Meter::default();
        let outer = meter.begin("msm");
        drop(meter.begin("ntt"));
        drop(outer);
        meter.to_device(3);
        let first = meter.activity();
        let (msm, ntt) = (first.operations["msm"], first.operations["ntt"]);
        assert_eq!((msm.calls, ntt.calls, first.bytes_to_device), (1, 1, 3));
        assert!(first.busy_s >= msm.seconds && msm.seconds >= ntt.seconds);
        assert!(first.busy_s <= msm.seconds + ntt.seconds);
        drop(meter.begin("ntt"));
        meter.to_host(5);
        let later = meter.activity().since(&first);
        assert_eq!(later.operations.keys().collect::<Vec<_>>(), ["ntt"]);
        assert_eq!((later.bytes_to_device, later.bytes_to_host), (0, 5));
        assert!(later.busy_s + 1e-9 >= later.operations["ntt"].seconds);
    }
}
