//! Notices proving that stands still.
//!
//! Heartbeats have a thread of their own, so they would go on for ever beside a prover that hangs. The watchdog looks at the
//! work itself: a phase reported, or processor time used by the process that proves, is progress; a deadlock shows neither. A
//! thread that waits for a GPU spins, so that a phase has a longest time as well.

use std::time::{Duration, Instant};

/// Below this much processor time since it was last seen busy, the process does nothing but its heartbeats.
const BUSY_TICKS_MIN: u64 = 5;

/// Watches the tasks in hand, as one.
#[derive(Debug)]
pub(super) struct Watchdog {
    stall_max: Duration,
    phase_max: Duration,
    tasks: usize,
    /// When a task last began, ended or reported a phase.
    phase_at: Instant,
    /// The same, or later when processor time was used.
    progress_at: Instant,
    cpu_ticks: Option<u64>,
}

impl Watchdog {
    /// A watchdog that allows no standstill longer than `stall_max`, and no phase longer than `phase_max`.
    pub(super) fn new(stall_max: Duration, phase_max: Duration) -> Self {
        let now = Instant::now();
        Self {
            stall_max,
            phase_max,
            tasks: 0,
            phase_at: now,
            progress_at: now,
            cpu_ticks: None,
        }
    }

    /// A task began.
    pub(super) fn begin(&mut self, now: Instant) {
        self.tasks += 1;
        self.progress(now);
    }

    /// A task reported a phase.
    pub(super) fn progress(&mut self, now: Instant) {
        (self.phase_at, self.progress_at) = (now, now);
    }

    /// A task is over.
    pub(super) fn end(&mut self, now: Instant) {
        self.tasks = self.tasks.saturating_sub(1);
        self.progress(now);
    }

    /// Looks at the processor time used so far (`cpu_ticks`, none where it cannot be read); returns for how long the tasks
    /// have stood still when that is too long.
    pub(super) fn stalled(&mut self, now: Instant, cpu_ticks: Option<u64>) -> Option<Duration> {
        let busy = match (self.cpu_ticks, cpu_ticks) {
            (Some(before), Some(ticks)) => ticks.abs_diff(before) >= BUSY_TICKS_MIN,
            // The first look has nothing to compare with, and a system that does not tell cannot accuse.
            _ => true,
        };
        if busy {
            self.progress_at = now;
            self.cpu_ticks = cpu_ticks;
        }
        let still = now.duration_since(self.progress_at);
        let phase = now.duration_since(self.phase_at);
        let too_long = [(still, self.stall_max), (phase, self.phase_max)];
        let found = too_long.into_iter().find(|(time, longest)| time > longest);
        found.map(|(time, _)| time).filter(|_| self.tasks > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_still_is_noticed_and_work_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Duration::from_secs(60), Duration::from_secs(500));
        let mut looks = |seconds, ticks| dog.stalled(at(seconds), Some(ticks)).map(|time| time.as_secs());
        assert_eq!(looks(900, 0), None);
        assert_eq!(looks(1000, 0), None, "nothing runs");

        dog.begin(at(1000));
        let mut looks = |seconds, ticks| dog.stalled(at(seconds), Some(ticks)).map(|time| time.as_secs());
        assert_eq!(looks(1010, 100), None);
        assert_eq!(looks(1100, 200), None, "busy");
        assert_eq!(looks(1150, 201), None, "still, but not yet for long");
        assert_eq!(looks(1161, 202), Some(61), "heartbeats alone are no progress");

        dog.progress(at(1170));
        assert_eq!(dog.stalled(at(1171), Some(202)), None, "a phase is progress");
        assert_eq!(dog.stalled(at(1300), Some(3)), None, "another process at work");
        dog.begin(at(1310));
        dog.end(at(1320));
        let still = dog.stalled(at(1400), Some(3));
        assert_eq!(still, Some(Duration::from_secs(80)), "one of two tasks is left");
        dog.end(at(1401));
        assert_eq!(dog.stalled(at(9999), Some(3)), None);
    }

    #[test]
    fn a_phase_ends_in_time_however_busy() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Duration::from_secs(60), Duration::from_secs(500));
        dog.begin(at(0));
        assert_eq!(dog.stalled(at(400), Some(4_000)), None);
        dog.progress(at(450));
        assert_eq!(dog.stalled(at(900), Some(9_000)), None);
        assert_eq!(dog.stalled(at(951), Some(9_500)), Some(Duration::from_secs(501)));
    }

    #[test]
    fn a_system_that_does_not_tell_accuses_nobody() {
        let start = Instant::now();
        let mut dog = Watchdog::new(Duration::from_secs(1), Duration::from_secs(3600));
        dog.begin(start);
        assert_eq!(dog.stalled(start + Duration::from_secs(100), None), None);
    }
}
