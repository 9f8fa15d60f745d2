//! Notices proving that stands still.
//!
//! Heartbeats have a thread of their own, so they would go on for ever beside a prover that hangs. The watchdog
//! looks at the work itself: a phase reported, or processor time used, is progress. The stock prover reports
//! nothing inside `create_proof`, which keeps every core busy; a deadlock there uses none.

use std::fs;
use std::time::{Duration, Instant};

/// Below this much processor time between two looks, the process does nothing but its heartbeats.
const BUSY_TICKS_MIN: u64 = 5;

/// Watches one task at a time.
#[derive(Debug)]
pub(super) struct Watchdog {
    stall_max: Duration,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    progress_at: Instant,
    cpu_ticks: Option<u64>,
}

impl Watchdog {
    /// A watchdog that allows no standstill longer than `stall_max`.
    pub(super) fn new(stall_max: Duration) -> Self {
        Self {
            stall_max,
            watched: None,
        }
    }

    /// A task began, or reported a phase.
    pub(super) fn progress(&mut self, now: Instant) {
        let cpu_ticks = self.watched.take().and_then(|watched| watched.cpu_ticks);
        self.watched = Some(Watched {
            progress_at: now,
            cpu_ticks,
        });
    }

    /// No task runs any more.
    pub(super) fn rest(&mut self) {
        self.watched = None;
    }

    /// Looks at the processor time used so far (`cpu_ticks`, none where it cannot be read); true when the task
    /// has stood still for too long.
    pub(super) fn stalled(&mut self, now: Instant, cpu_ticks: Option<u64>) -> bool {
        let Some(watched) = &mut self.watched else {
            return false;
        };
        let busy = match (watched.cpu_ticks, cpu_ticks) {
            (Some(before), Some(ticks)) => ticks.saturating_sub(before) >= BUSY_TICKS_MIN,
            // The first look has nothing to compare with, and a system that does not tell cannot accuse.
            _ => true,
        };
        if busy {
            *watched = Watched {
                progress_at: now,
                cpu_ticks,
            };
        }
        now.duration_since(watched.progress_at) > self.stall_max
    }
}

/// Processor time that this process has used, in clock ticks (usually 10 ms).
pub(super) fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name, in parentheses, may hold spaces; utime and stime are fields 14 and 15 of the line.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_still_is_noticed_and_work_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Duration::from_secs(60));
        assert!(!dog.stalled(at(1000), Some(0)), "nothing runs");

        dog.progress(at(1000));
        assert!(!dog.stalled(at(1010), Some(100)));
        assert!(!dog.stalled(at(1100), Some(200)), "busy");
        assert!(!dog.stalled(at(1150), Some(201)), "still, but not yet for long");
        assert!(
            dog.stalled(at(1161), Some(202)),
            "heartbeats alone are no progress"
        );

        dog.progress(at(1170));
        assert!(!dog.stalled(at(1171), Some(202)), "a phase is progress");
        dog.rest();
        assert!(!dog.stalled(at(9999), Some(202)));
    }

    #[test]
    fn a_system_that_does_not_tell_accuses_nobody() {
        let start = Instant::now();
        let mut dog = Watchdog::new(Duration::from_secs(1));
        dog.progress(start);
        assert!(!dog.stalled(start + Duration::from_secs(100), None));
    }

    #[test]
    fn this_process_uses_processor_time() {
        assert!(cpu_ticks().is_some());
    }
}
