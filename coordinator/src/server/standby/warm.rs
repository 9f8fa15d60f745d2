//! The states of a coordinator that stands by, near those that are stored, so that it need not load them when it comes to lead.
//!
//! A batch's undo names the accounts that the batch changed: these are read again when it joins the chain, and when it leaves it. What is
//! read may be newer than the batch; then a later look reads it once more. Of what was there before the states were loaded no undo is
//! read: where that is taken back they are loaded again. Nothing of this is relied on: a state counts only where its root is that with
//! which its rollup's chain ends, and whatever does not is loaded.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rules::{account::AccountIndex, field, state::State};

use crate::{
    core::{
        Core,
        id::{BatchId, RollupNumber, StateRoot},
        record::ArtifactKey,
    },
    execution::decode_undo,
    store::{KeptStore, Store, StoreError},
};

/// Batches that are seen in one go.
const SEEN_AT_ONCE: usize = 16;

/// Between two loads of all states.
const LOAD_EVERY: Duration = Duration::from_secs(60);

/// What states are held to: the ends of the chains, and the batches in them that are not retired.
#[derive(Debug, Default)]
pub(super) struct Chains {
    heads: BTreeMap<RollupNumber, StateRoot>,
    batches: BTreeMap<BatchId, RollupNumber>,
}

/// The states.
#[derive(Debug, Default)]
pub(super) struct Warm {
    states: BTreeMap<RollupNumber, State>,
    /// The batches of the chains that were seen, and the accounts that they changed after the states were loaded.
    seen: BTreeMap<BatchId, (RollupNumber, Vec<AccountIndex>)>,
    /// Accounts that changed since they were read.
    changed: BTreeMap<RollupNumber, BTreeSet<AccountIndex>>,
    loaded: Option<Instant>,
    /// How often all were loaded.
    loads: u64,
}

impl Chains {
    /// Those of a core's live rollups.
    pub(super) fn of(core: &Core) -> Self {
        let live = core.rollups().filter(|rollup| rollup.is_live());
        let heads: BTreeMap<_, _> = live
            .map(|rollup| (rollup.number, core.head(rollup.number).root))
            .collect();
        let batches = core.batches_before(BatchId(u64::MAX)).filter(|batch| {
            // What was taken back is as if it had never been.
            heads.contains_key(&batch.rollup) && !batch.status.is_taken_back()
        });
        let batches = batches.map(|batch| (batch.id, batch.rollup)).collect();
        Self { heads, batches }
    }
}

impl Warm {
    /// Whether the states are those with which the chains end.
    pub(super) fn are_current(&self, chains: &Chains) -> bool {
        chains.heads.iter().all(|(rollup, root)| {
            let state = self.states.get(rollup);
            state.is_some_and(|state| StateRoot(field::to_be(&state.root())) == *root)
        })
    }

    /// Looks at some of the batches that have come, and says whether there are more. What has been looked at is not looked at again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn see(&mut self, chains: &Chains, store: &KeptStore) -> Result<bool, StoreError> {
        let mut come = chains
            .batches
            .iter()
            .filter(|(id, _)| !self.seen.contains_key(id));
        let some: Vec<_> = come.by_ref().take(SEEN_AT_ONCE).collect();
        let are_more = come.next().is_some();
        for (id, rollup) in some {
            let accounts = accounts_of(*id, store)?;
            self.note(*rollup, &accounts);
            self.seen.insert(*id, (*rollup, accounts));
        }
        Ok(are_more)
    }

    /// Reads again what the batches have changed that have come or gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn follow(&mut self, chains: &Chains, store: &KeptStore) -> Result<(), StoreError> {
        for rollup in chains.heads.keys() {
            // One that was created since the others were loaded.
            if self.is_loaded() && !self.states.contains_key(rollup) {
                self.states.insert(*rollup, store.state(*rollup)?);
            }
        }
        while self.see(chains, store)? {}
        // Of those that have gone, the ones that were taken back have left accounts as they were before.
        let is_gone = |id: &BatchId, _: &mut _| !chains.batches.contains_key(id);
        let gone: Vec<_> = self.seen.extract_if(.., is_gone).collect();
        for (_, (rollup, accounts)) in gone {
            self.note(rollup, &accounts);
        }
        self.states.retain(|rollup, _| chains.heads.contains_key(rollup));
        while let Some((rollup, accounts)) = self.changed.first_key_value() {
            let rollup = *rollup;
            if let Some(state) = self.states.get_mut(&rollup) {
                let accounts: Vec<_> = accounts.iter().copied().collect();
                state.set(&store.accounts(rollup, &accounts)?);
            }
            // Only now: what fails before is read at the next look.
            self.changed.remove(&rollup);
        }
        Ok(())
    }

    fn note(&mut self, rollup: RollupNumber, accounts: &[AccountIndex]) {
        let changed = self.changed.entry(rollup).or_default();
        changed.extend(accounts.iter().copied());
    }

    /// Whether the states are loaded.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// Loads all states, unless that was done just now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn load(&mut self, chains: &Chains, store: &KeptStore) -> Result<(), StoreError> {
        if self.loaded.is_some_and(|loaded| loaded.elapsed() < LOAD_EVERY) {
            return Ok(());
        }
        // Not both in memory.
        self.states.clear();
        self.loaded = None;
        self.states = store.states()?;
        let batches = chains.batches.iter();
        self.seen = batches.map(|(id, rollup)| (*id, (*rollup, Vec::new()))).collect();
        self.changed.clear();
        for rollup in chains.heads.keys() {
            // One without accounts.
            self.states.entry(*rollup).or_default();
        }
        self.loaded = Some(Instant::now());
        self.loads += 1;
        Ok(())
    }

    /// Gives up the states, if they are those with which all chains end, for a coordinator that begins to lead.
    pub(super) fn take(
        &mut self,
        chains: &Chains,
        store: &KeptStore,
    ) -> Option<BTreeMap<RollupNumber, State>> {
        if self.states.is_empty() {
            return None;
        }
        match self.see(chains, store) {
            Ok(false) => {}
            // To load them takes less than to look at so many.
            Ok(true) => return None,
            Err(error) => return unread(&error),
        }
        if let Err(error) = self.follow(chains, store) {
            return unread(&error);
        }
        let is_current = self.are_current(chains);
        is_current.then(|| std::mem::take(&mut self.states))
    }

    /// How often all were loaded.
    #[cfg(test)]
    pub(super) fn loads(&self) -> u64 {
        self.loads
    }
}

/// No states, and why.
fn unread<T>(error: &StoreError) -> Option<T> {
    tracing::warn!(%error, "the states are loaded, since what changed is not read");
    None
}

/// The accounts that a batch has changed; none where that is not kept, or damaged.
fn accounts_of(batch: BatchId, store: &KeptStore) -> Result<Vec<AccountIndex>, StoreError> {
    let undo = match store.artifact(ArtifactKey::Undo(batch)) {
        Ok(Some(undo)) => decode_undo(&undo).unwrap_or_default(),
        Ok(None) | Err(StoreError::Artifact { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(undo.into_iter().map(|(index, _)| index).collect())
}
