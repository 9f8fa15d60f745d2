//! Notices proving that stands still.
//!
//! Heartbeats have a thread of their own, so they would go on for ever beside a prover that hangs. The watchdog looks at the
//! work itself: a phase reported, or processor time used by the process that proves, is progress. A thread that waits for a
//! GPU spins, so that it uses processor time; a deadlock uses none.

use std::fs;
use std::time::{Duration, Instant};

/// Below this much processor time between two looks, the process does nothing but its heartbeats.
const BUSY_TICKS_MIN: u64 = 5;

/// Watches the tasks in hand, as one.
#[derive(Debug)]
pub(super) struct Watchdog {
    stall_max: Duration,
    tasks: usize,
    progress_at: Instant,
    cpu_ticks: Option<u64>,
}

impl Watchdog {
    /// A watchdog that allows no standstill longer than `stall_max`.
    pub(super) fn new(stall_max: Duration) -> Self {
        Self {
            stall_max,
            tasks: 0,
            progress_at: Instant::now(),
            cpu_ticks: None,
        }
    }

    /// A task began.
    pub(super) fn begin(&mut self, now: Instant) {
        self.tasks += 1;
        self.progress_at = now;
    }

    /// A task reported a phase.
    pub(super) fn progress(&mut self, now: Instant) {
        self.progress_at = now;
    }

    /// A task is over.
    pub(super) fn end(&mut self, now: Instant) {
        self.tasks = self.tasks.saturating_sub(1);
        self.progress_at = now;
    }

    /// Looks at the processor time used so far (`cpu_ticks`, none where it cannot be read); true when the tasks have stood
    /// still for too long.
    pub(super) fn stalled(&mut self, now: Instant, cpu_ticks: Option<u64>) -> bool {
        let busy = match (self.cpu_ticks, cpu_ticks) {
            (Some(before), Some(ticks)) => ticks.abs_diff(before) >= BUSY_TICKS_MIN,
            // The first look has nothing to compare with, and a system that does not tell cannot accuse.
            _ => true,
        };
        if busy {
            self.progress_at = now;
            self.cpu_ticks = cpu_ticks;
        }
        self.tasks > 0 && now.duration_since(self.progress_at) > self.stall_max
    }
}

/// Processor time that a process has used, in clock ticks (usually 10 ms).
pub(super) fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
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
        assert!(!dog.stalled(at(900), Some(0)));
        assert!(!dog.stalled(at(1000), Some(0)), "nothing runs");

        dog.begin(at(1000));
        assert!(!dog.stalled(at(1010), Some(100)));
        assert!(!dog.stalled(at(1100), Some(200)), "busy");
        assert!(!dog.stalled(at(1150), Some(201)), "still, but not yet for long");
        assert!(
            dog.stalled(at(1161), Some(202)),
            "heartbeats alone are no progress"
        );

        dog.progress(at(1170));
        assert!(!dog.stalled(at(1171), Some(202)), "a phase is progress");
        assert!(!dog.stalled(at(1300), Some(3)), "another process at work");
        dog.begin(at(1310));
        dog.end(at(1320));
        assert!(dog.stalled(at(1400), Some(3)), "one of two tasks is left");
        dog.end(at(1401));
        assert!(!dog.stalled(at(9999), Some(3)));
    }

    #[test]
    fn a_system_that_does_not_tell_accuses_nobody() {
        let start = Instant::now();
        let mut dog = Watchdog::new(Duration::from_secs(1));
        dog.begin(start);
        assert!(!dog.stalled(start + Duration::from_secs(100), None));
    }

    #[test]
    fn this_process_uses_processor_time() {
        assert!(cpu_ticks(std::process::id()).is_some());
        assert_eq!(cpu_ticks(0), None, "there is no such process");
    }
}
