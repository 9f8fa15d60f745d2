//! What a process shows of itself: numbers for Prometheus, and a listener that serves them and nothing else.
//!
//! A metric is described before there is a number of it ([`Metric`]): its name, its unit, and every value that its labels can have, so
//! that no batch, no task and no word of a peer becomes a series. A [`Page`] holds the numbers of one moment. Who makes pages and how
//! often is its maker's concern; a [`Listener`] only hands out what is there.

pub mod listener;
mod metric;
mod page;
pub mod process;
pub mod traces;

pub use listener::{Answer, ListenError, Listener};
pub use metric::{Histogram, Kind, Label, Metric, SECONDS};
pub use page::Page;

/// Phases of a task that are told apart; what a worker calls by another name is [`OTHER_PHASE`].
pub const PHASES: [&str; 12] = [
    "waiting",
    "load keys",
    "witness",
    "prove",
    "commitments",
    "lookups",
    "permutation",
    "quotient",
    "evaluations",
    "opening",
    "verify",
    OTHER_PHASE,
];

/// From when a worker has a task until it reports a phase.
pub const WAITING_PHASE: &str = PHASES[0];
/// Every phase that is none of the others.
pub const OTHER_PHASE: &str = "other";

/// The phase of that name among [`PHASES`].
pub fn known_phase(name: &str) -> &'static str {
    let known = PHASES.iter().find(|phase| **phase == name);
    known.copied().unwrap_or(OTHER_PHASE)
}
