//! Log lines that a peer can cause as often as it likes: one a minute for each cause, with how often it was meanwhile.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines of one cause.
const EVERY: Duration = Duration::from_secs(60);
/// Causes that are told apart unless more are meant. More come only where a peer makes them up.
const CAUSES_MAX: usize = 32;
/// Bytes of a cause by which it is known.
const CAUSE_BYTES_MAX: usize = 128;

/// What was told, and what not.
#[derive(Debug)]
pub(crate) struct Told {
    causes_max: usize,
    causes: Mutex<HashMap<String, Cause>>,
}

#[derive(Debug)]
struct Cause {
    told: Instant,
    untold: u64,
}

impl Default for Told {
    fn default() -> Self {
        Self::of(CAUSES_MAX)
    }
}

impl Told {
    /// That tells so many causes apart.
    pub(crate) fn of(causes_max: usize) -> Self {
        Self {
            causes_max,
            causes: Mutex::default(),
        }
    }

    /// Notes that something happened. How often the same did since the last line, if now is the time for another.
    pub(crate) fn note(&self, cause: &str, now: Instant) -> Option<u64> {
        let end = cause.floor_char_boundary(CAUSE_BYTES_MAX);
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get_mut(&cause[..end]) {
            if now.saturating_duration_since(known.told) < EVERY {
                known.untold += 1;
                return None;
            }
            known.told = now;
            return Some(std::mem::take(&mut known.untold));
        }
        if causes.len() >= self.causes_max {
            causes.retain(|_, cause| cause.untold > 0 || now.saturating_duration_since(cause.told) < EVERY);
        }
        // Those that are too many share one line.
        let key = if causes.len() < self.causes_max {
            &cause[..end]
        } else {
            ""
        };
        match causes.get_mut(key) {
            Some(others) if now.saturating_duration_since(others.told) < EVERY => {
                others.untold += 1;
                None
            }
            Some(others) => {
                others.told = now;
                Some(std::mem::take(&mut others.untold))
            }
            None => {
                causes.insert(key.to_owned(), Cause { told: now, untold: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_a_line_a_minute_and_a_count() {
        let (told, now) = (Told::default(), Instant::now());
        assert_eq!(told.note("a", now), Some(0));
        assert_eq!(told.note("b", now), Some(0), "another cause");
        for second in 0..59 {
            assert_eq!(told.note("a", now + Duration::from_secs(second)), None);
        }
        assert_eq!(told.note("a", now + EVERY), Some(59));
        assert_eq!(told.note("a", now + EVERY), None);
        assert_eq!(told.note("b", now + EVERY), Some(0), "it was once");
    }

    #[test]
    fn as_many_causes_are_told_apart_as_are_meant() {
        let (told, now) = (Told::of(2), Instant::now());
        let lines = (0..10).filter(|cause| told.note(&format!("worker {cause}"), now).is_some());
        assert_eq!(lines.count(), 3, "two, and one for all others");
    }

    #[test]
    fn causes_that_are_made_up_are_neither_lines_nor_memory_without_end() {
        let (told, now) = (Told::default(), Instant::now());
        let lines = (0..10_000).filter(|cause| told.note(&format!("cause {cause}"), now).is_some());
        assert_eq!(lines.count(), CAUSES_MAX + 1);
        assert_eq!(told.causes.lock().unwrap().len(), CAUSES_MAX + 1);
        let long = "\u{e4}".repeat(1 << 20);
        told.note(&long, now);
        assert!(
            told.causes
                .lock()
                .unwrap()
                .keys()
                .all(|cause| cause.len() <= CAUSE_BYTES_MAX)
        );
        let later = (0..10_000).filter_map(|cause| told.note(&format!("later {cause}"), now + EVERY));
        assert!(
            later.sum::<u64>() >= 10_000 - CAUSES_MAX as u64,
            "what was not told is counted"
        );
    }
}
