//! Objects on their way into the database, and out of the store: so that none is deleted that a commit is about to name.

use std::{
    collections::{HashMap, HashSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::ObjectId;

/// For so long it counts that an object is there which was put and then not named: a commit that was refused is tried again.
const THERE_MAX: Duration = Duration::from_secs(900);
/// Objects that are remembered so. Of more, none is: they are put again.
const THERE_COUNT_MAX: usize = 1 << 14;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    state: Mutex<State>,
    /// Told when something is deleted.
    deleted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many commits are putting each.
    putting: HashMap<ObjectId, usize>,
    /// Put and not named, and when.
    there: HashMap<ObjectId, Instant>,
    /// All that was in one of these since a look began. None without a look.
    touched: Option<HashSet<ObjectId>>,
    deleting: HashSet<ObjectId>,
}

/// Objects that a commit puts and then names.
#[derive(Debug)]
pub(super) struct Putting<'a> {
    under_way: &'a UnderWay,
    objects: Vec<ObjectId>,
    /// Those among them that were there already.
    there: HashSet<ObjectId>,
    is_done: bool,
    is_named: bool,
}

/// A look at all objects, whose end is its drop.
#[derive(Debug)]
pub(super) struct Look<'a>(&'a UnderWay);

/// Objects that are being deleted until this is dropped: whoever wants to put one waits.
#[derive(Debug)]
pub(super) struct Deleting<'a> {
    under_way: &'a UnderWay,
    objects: HashSet<ObjectId>,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to put objects. Waits while one of them is being deleted.
    pub(super) fn begin(&self, objects: impl Iterator<Item = ObjectId>) -> Putting<'_> {
        let objects: Vec<ObjectId> = objects.collect();
        let mut state = self.lock();
        while objects.iter().any(|object| state.deleting.contains(object)) {
            state = self.deleted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.there.retain(|_, put| put.elapsed() < THERE_MAX);
        for object in &objects {
            *state.putting.entry(*object).or_default() += 1;
        }
        if let Some(touched) = &mut state.touched {
            touched.extend(&objects);
        }
        let is_there = |object: &&ObjectId| state.there.contains_key(object);
        let there = objects.iter().filter(is_there).copied().collect();
        Putting {
            under_way: self,
            objects,
            there,
            is_done: false,
            is_named: false,
        }
    }

    /// Begins a look. What is under way now, or will be before it ends, it does not delete.
    pub(super) fn look(&self) -> Look<'_> {
        let mut state = self.lock();
        state.there.retain(|_, put| put.elapsed() < THERE_MAX);
        let touched = state.putting.keys().chain(state.there.keys()).copied().collect();
        state.touched = Some(touched);
        Look(self)
    }
}

impl Putting<'_> {
    /// Whether an object was put before and is still there.
    pub(super) fn is_there(&self, object: ObjectId) -> bool {
        self.there.contains(&object)
    }

    /// All are put.
    pub(super) fn done(&mut self) {
        self.is_done = true;
    }

    /// All are named.
    pub(super) fn named(mut self) {
        self.is_named = true;
    }
}

impl Drop for Putting<'_> {
    fn drop(&mut self) {
        let mut state = self.under_way.lock();
        if state.there.len() > THERE_COUNT_MAX {
            state.there.clear();
        }
        for object in &self.objects {
            if let Some(count) = state.putting.get_mut(object) {
                *count -= 1;
                if *count == 0 {
                    state.putting.remove(object);
                }
            }
            match (self.is_done, self.is_named) {
                (_, true) => drop(state.there.remove(object)),
                (true, false) => drop(state.there.insert(*object, Instant::now())),
                (false, false) => {}
            }
        }
    }
}

impl Look<'_> {
    /// Begins to delete those objects that nobody has begun to put since the look began.
    pub(super) fn delete(&self, objects: impl Iterator<Item = ObjectId>) -> Deleting<'_> {
        let mut state = self.0.lock();
        let touched = state.touched.take().unwrap_or_default();
        let objects: HashSet<ObjectId> = objects.filter(|object| !touched.contains(object)).collect();
        state.touched = Some(touched);
        state.deleting.extend(&objects);
        Deleting {
            under_way: self.0,
            objects,
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.lock().touched = None;
    }
}

impl Deleting<'_> {
    /// Whether an object is among them.
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.objects.contains(&object)
    }
}

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        let mut state = self.under_way.lock();
        for object in &self.objects {
            state.deleting.remove(object);
        }
        self.under_way.deleted.notify_all();
    }
}
