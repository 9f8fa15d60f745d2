//! Steps that are committed together.
//!
//! A step moves the core at once. What it writes joins the group that gathers while the store takes the one before it, and whoever began a
//! group commits it when its turn comes. Nobody is told anything before all that it may follow from is stored: a step waits for its
//! group, and so do the effects; whoever reads waits for the last group that there was when it looked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use telemetry::traces::Span;

use super::{Inner, Shell, Work};
use crate::{
    core::{Effect, record::Write},
    server::status::Unavailable,
    store::StoreError,
};

/// What is done once a group is stored, in this order.
#[derive(Debug, Default)]
pub(super) struct After {
    pub effects: Vec<Effect>,
    /// Of what ended.
    pub spans: Vec<Span>,
}

/// What steps write, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub writes: Vec<Write>,
    pub after: After,
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored, and its effects are performed.
    Stored,
    /// The store has refused it, and takes it before anything else.
    Suspended,
    /// It is not known whether it is stored, and nothing else will be.
    Stopped,
}

/// Where those wait who may not go on before a group is settled.
#[derive(Debug, Default)]
struct Settlement {
    outcome: Mutex<Option<Outcome>>,
    is_settled: Condvar,
}

/// The groups that are not settled.
#[derive(Debug, Default)]
pub(super) struct Groups {
    gathering: Option<(Group, Arc<Settlement>)>,
    committing: Option<Arc<Settlement>>,
    /// Whether it is not known of one if it is stored. Then none follows it.
    pub is_lost: bool,
}

/// A group that the caller has begun, and is to commit. If it does not come to that, the process stops.
struct Begun<'a> {
    shell: &'a Shell,
    settlement: Arc<Settlement>,
    outcome: Outcome,
}

impl Settlement {
    fn settle(&self, outcome: Outcome) {
        let mut settled = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *settled = Some(outcome);
        self.is_settled.notify_all();
    }

    fn wait(&self) -> Outcome {
        let mut settled = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *settled {
                Some(outcome) => return outcome,
                None => {
                    settled = self
                        .is_settled
                        .wait(settled)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Groups {
    /// The last group that is not settled.
    fn last(&self) -> Option<&Arc<Settlement>> {
        let gathering = self.gathering.as_ref().map(|(_, settlement)| settlement);
        gathering.or(self.committing.as_ref())
    }

    /// Adds a step to the group that gathers. `true` where the group begins with it.
    fn join(&mut self, step: Group) -> (Arc<Settlement>, bool) {
        if let Some((group, settlement)) = &mut self.gathering {
            group.writes.extend(step.writes);
            group.after.effects.extend(step.after.effects);
            group.after.spans.extend(step.after.spans);
            return (Arc::clone(settlement), false);
        }
        let settlement = Arc::<Settlement>::default();
        self.gathering = Some((step, Arc::clone(&settlement)));
        (settlement, true)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.outcome == Outcome::Stopped {
            let mut inner = self.shell.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.groups.is_lost = true;
            drop(inner);
            self.shell.stopping.cancel();
        }
        self.settlement.settle(self.outcome);
    }
}

impl Shell {
    /// Waits until all that `inner` shows is stored.
    pub(super) fn settled(inner: MutexGuard<'_, Inner>) -> Result<(), Unavailable> {
        let last = inner.groups.last().cloned();
        drop(inner);
        match last.map_or(Outcome::Stored, |last| last.wait()) {
            Outcome::Stored => Ok(()),
            Outcome::Suspended => Err(Unavailable::Store),
            Outcome::Stopped => Err(Unavailable::Stopping),
        }
    }

    /// Has the store take what a step writes, together with what others write meanwhile, and does what comes after.
    pub(super) fn settle(&self, mut inner: MutexGuard<'_, Inner>, step: Group) -> Outcome {
        // Most steps write nothing, and wait for nobody where nothing is under way.
        if step.writes.is_empty() && inner.groups.last().is_none() {
            self.perform(&mut inner, step.after);
            return Outcome::Stored;
        }
        let (settlement, begins) = inner.groups.join(step);
        drop(inner);
        match begins {
            true => self.commit_group(settlement),
            false => settlement.wait(),
        }
    }

    /// Commits the group that gathers when its turn comes.
    fn commit_group(&self, settlement: Arc<Settlement>) -> Outcome {
        let _turn = self.turn();
        // Whatever comes of it is known before the turn is another's.
        let mut begun = Begun {
            shell: self,
            settlement,
            outcome: Outcome::Stopped,
        };
        let Some(group) = self.take_group() else {
            return begun.outcome;
        };
        let Group { writes, after } = group;
        let committed = match self.is_suspended() {
            true => None,
            false => Some(self.commit(&writes)),
        };
        let Ok(mut inner) = self.inner.lock() else {
            return begun.outcome;
        };
        inner.groups.committing = None;
        begun.outcome = match committed {
            Some(Ok(())) => {
                self.perform(&mut inner, after);
                Outcome::Stored
            }
            Some(Err(error)) if !error.may_pass() => {
                self.stop_for(&mut inner, error);
                Outcome::Stopped
            }
            refused => {
                if let Some(Err(error)) = refused {
                    self.suspend(&mut inner, error);
                }
                match &mut inner.suspended {
                    Some(suspended) => {
                        suspended.refused(writes, after);
                        Outcome::Suspended
                    }
                    // The process has ended meanwhile.
                    None => Outcome::Stopped,
                }
            }
        };
        begun.outcome
    }

    /// The group that gathers, whose commit begins; none where the process stops.
    fn take_group(&self) -> Option<Group> {
        let mut inner = self.inner.lock().ok()?;
        let (group, settlement) = inner.groups.gathering.take()?;
        inner.groups.committing = Some(settlement);
        (inner.failure.is_none() && !inner.groups.is_lost).then_some(group)
    }

    fn is_suspended(&self) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.suspended.is_some()
    }

    /// Held by whoever has the store take something: one after the other, as the store wants it.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the store take writes.
    pub(super) fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        match writes {
            [] => Ok(()),
            writes => self.meters.time(Work::Commit, || self.store().commit(writes)),
        }
    }

    /// Does what comes after a group that is stored.
    pub(super) fn perform(&self, inner: &mut Inner, after: After) {
        for effect in after.effects {
            inner.perform(effect);
        }
        self.tell(after.spans);
    }
}
