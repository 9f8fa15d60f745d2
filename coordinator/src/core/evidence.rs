//! What speaks against a task, and when it is enough to fail or set aside.
//!
//! A worker counts once, however often it comes. Where workers prove an identity, all that have the same are one: names cost
//! nothing. So one identity alone never fails a batch; where there is no other, its tasks are tried again for as long as nobody
//! decides ([`Evidence::undecided`]).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Limits,
    id::{Principal, UnixMs, Witness, WorkerId},
};

/// Phases in which workers were lost that are told apart; an engine has a dozen.
const PHASES_MAX: usize = 32;
/// Times that a worker may give a task back and get it again at once.
const RETURNS_FREE: u32 = 2;
/// Longest pause after that: machines that are evicted again and again do work in between.
const RETURN_PAUSE_MS_MAX: u64 = 5_000;
/// Workers that are remembered for giving a task back.
const RETURNERS_MAX: usize = 64;

/// Evidence against one task.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// Who, connected, fell silent on it, and how often.
    silent: BTreeMap<Witness, u32>,
    /// Whose connection was lost on it, by the phase that they had told.
    lost: BTreeMap<String, BTreeSet<Witness>>,
    /// Who called it impossible.
    refused: BTreeSet<Witness>,
    /// Failures of identities.
    failures: BTreeMap<Principal, u32>,
    /// Who gave it back unproven, how often, and until when it is not given to that one.
    returned: BTreeMap<WorkerId, (u32, UnixMs)>,
}

impl Evidence {
    /// Notes one that fell silent; whether it is another one.
    pub(super) fn silent(&mut self, witness: Witness) -> bool {
        let times = self.silent.entry(witness).or_default();
        *times = times.saturating_add(1);
        *times == 1
    }

    /// Why the task is set aside because of those that fell silent, if it is.
    pub(super) fn quarantine_of_silent(&self, limits: &Limits) -> Option<String> {
        enough(self.silent.keys(), limits.deaths_max as usize).then(|| {
            format!(
                "quarantined after {} workers fell silent on it",
                self.silent.len()
            )
        })
    }

    /// Notes one whose connection was lost in a phase; why the task is set aside, if it is.
    pub(super) fn lost(&mut self, witness: Witness, phase: String, limits: &Limits) -> Option<String> {
        if self.lost.len() >= PHASES_MAX && !self.lost.contains_key(&phase) {
            return None;
        }
        let lost = self.lost.entry(phase.clone()).or_default();
        lost.insert(witness);
        enough(lost.iter(), limits.losses_max).then(|| {
            format!(
                "quarantined after {} workers were lost in phase {phase}",
                lost.len()
            )
        })
    }

    /// Notes a failure, after which there are `failures` in all; whether the task has failed for good.
    pub(super) fn failed(
        &mut self,
        witness: Witness,
        impossible: bool,
        failures: u32,
        limits: &Limits,
    ) -> bool {
        let too_many = match &witness {
            Witness::Name(_) => failures >= limits.failures_max,
            Witness::Identity(principal) => {
                let of_it = self.failures.entry(principal.clone()).or_default();
                *of_it = of_it.saturating_add(1);
                let half = limits.failures_max.div_ceil(2);
                let counted = self.failures.values().map(|failures| *failures.min(&half));
                self.failures.len() >= 2 && counted.sum::<u32>() >= limits.failures_max
            }
        };
        if impossible {
            self.refused.insert(witness);
        }
        too_many || enough(self.refused.iter(), limits.refusals_max)
    }

    /// Notes that a worker gave the task back, which counts against nobody. One that does so again and again gets it after growing
    /// pauses, or it would be leased and given back without end; a worker that is stopped and started again does not notice.
    pub(super) fn returned(&mut self, worker: WorkerId, now: UnixMs, limits: &Limits) {
        if self.returned.len() >= RETURNERS_MAX {
            self.returned.retain(|_, (_, until)| *until > now);
        }
        if self.returned.len() >= RETURNERS_MAX && !self.returned.contains_key(&worker) {
            return;
        }
        let (times, until) = self.returned.entry(worker).or_default();
        *times = times.saturating_add(1);
        let doublings = times.checked_sub(RETURNS_FREE + 1);
        let pause = doublings.map_or(0, |doublings| limits.retry_ms(doublings).min(RETURN_PAUSE_MS_MAX));
        *until = now.after(pause);
    }

    /// Whether the task is not given to a worker yet, since it gave it back so often.
    pub(super) fn is_kept_from(&self, worker: &WorkerId, now: UnixMs) -> bool {
        self.returned.get(worker).is_some_and(|(_, until)| *until > now)
    }

    /// The identity that has said or shown as much against the task as would fail it, were it several.
    pub(super) fn undecided(&self, limits: &Limits) -> Option<&Principal> {
        let silent = self
            .silent
            .iter()
            .filter(|(_, times)| **times >= limits.deaths_max);
        let mut words = self.refused.iter().chain(silent.map(|(witness, _)| witness));
        let word = words.find_map(|witness| match witness {
            Witness::Identity(principal) => Some(principal),
            Witness::Name(_) => None,
        });
        let mut failures = self.failures.iter();
        let failed = failures.find(|(_, failures)| **failures >= limits.failures_max);
        word.or(failed.map(|(principal, _)| principal))
    }
}

/// Whether so many are enough: of identities, two at least.
fn enough<'a>(witnesses: impl ExactSizeIterator<Item = &'a Witness>, max: usize) -> bool {
    let count = witnesses.len();
    let least = if witnesses.into_iter().any(Witness::is_identity) {
        2
    } else {
        1
    };
    count >= max.max(least)
}
