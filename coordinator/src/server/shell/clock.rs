//! Two clocks: one for how long things take, one for what time it is.

use std::{
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::core::id::UnixMs;

/// The core's time, which never goes back or jumps while the process runs whatever becomes of the system's, and the system's, by
/// which batches' times are judged: others know no other.
pub(crate) struct Clock {
    started: Instant,
    unix_ms: u64,
    system: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clock {
    /// Begins with the system's time.
    pub(crate) fn start() -> Self {
        Self::with(SystemTime::now)
    }

    /// The same, where `system` tells the system's time.
    pub(crate) fn with(system: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let unix = since_epoch(system()).as_millis();
        Self {
            started: Instant::now(),
            unix_ms: u64::try_from(unix).unwrap_or(u64::MAX),
            system: Box::new(system),
        }
    }

    /// Milliseconds since the Unix epoch that never go back while the process runs.
    pub(crate) fn now(&self) -> UnixMs {
        UnixMs(self.unix_ms).after(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The system's time, Unix seconds.
    pub(crate) fn system_unix_s(&self) -> u64 {
        since_epoch((self.system)()).as_secs()
    }
}

fn since_epoch(time: SystemTime) -> std::time::Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_step_of_the_systems_clock_moves_the_time_of_day_and_no_deadline() {
        let system = Arc::new(AtomicU64::new(1_800_000_000));
        let read = Arc::clone(&system);
        let clock = Clock::with(move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst)));
        let mut before = clock.now();
        assert_eq!(before.0 / 1_000, 1_800_000_000);
        for stepped in [1_800_000_000 + DAY, 1_800_000_000, 1_800_000_000 - DAY, 0] {
            system.store(stepped, Ordering::SeqCst);
            assert_eq!(clock.system_unix_s(), stepped);
            let now = clock.now();
            assert!(
                before <= now && before.until(now) < DAY,
                "{before:?}, then {now:?}"
            );
            before = now;
        }
    }

    #[test]
    fn a_time_before_the_epoch_is_the_epoch() {
        let clock = Clock::with(|| UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(clock.system_unix_s(), 0);
    }
}
