//! What a proof is doing, and how long it did it.

use std::time::Instant;

/// Parts of making a proof. A proof may return to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The circuit is synthesized into advice columns.
    Witness,
    /// Advice columns and the random polynomial are committed to.
    Commitments,
    /// Lookups are permuted and committed to.
    Lookups,
    /// Running products are made and committed to, those of lookups too.
    Permutation,
    /// The quotient is computed, and its pieces committed to.
    Quotient,
    /// Polynomials are evaluated at the challenge.
    Evaluations,
    /// The evaluations are proven.
    Opening,
}

impl Phase {
    /// All of them, in the order of a proof.
    pub const ALL: [Phase; 7] = [
        Phase::Witness,
        Phase::Commitments,
        Phase::Lookups,
        Phase::Permutation,
        Phase::Quotient,
        Phase::Evaluations,
        Phase::Opening,
    ];

    /// A word for people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Witness => "witness",
            Phase::Commitments => "commitments",
            Phase::Lookups => "lookups",
            Phase::Permutation => "permutation",
            Phase::Quotient => "quotient",
            Phase::Evaluations => "evaluations",
            Phase::Opening => "opening",
        }
    }
}

/// Seconds that a proof spent in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    seconds: [f64; Phase::ALL.len()],
}

impl Timings {
    /// Seconds in a phase.
    pub fn seconds(&self, phase: Phase) -> f64 {
        self.seconds[phase as usize]
    }

    /// Seconds in all.
    pub fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }
}

/// Tells the caller of each phase as it begins, and times it.
pub(crate) struct Clock<'a> {
    progress: &'a mut dyn FnMut(Phase),
    current: Option<(Phase, Instant)>,
    timings: Timings,
}

impl<'a> Clock<'a> {
    pub fn new(progress: &'a mut dyn FnMut(Phase)) -> Self {
        Self {
            progress,
            current: None,
            timings: Timings::default(),
        }
    }

    pub fn enter(&mut self, phase: Phase) {
        self.leave();
        (self.progress)(phase);
        self.current = Some((phase, Instant::now()));
    }

    fn leave(&mut self) {
        if let Some((phase, since)) = self.current.take() {
            self.timings.seconds[phase as usize] += since.elapsed().as_secs_f64();
        }
    }

    pub fn finish(mut self) -> Timings {
        self.leave();
        self.timings
    }
}
