//! The time, for the core.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::id::UnixMs;

/// Milliseconds since the Unix epoch that never go back while the process runs.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    unix_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: Instant::now(),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn now(&self) -> UnixMs {
        UnixMs(self.unix_ms).after(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
