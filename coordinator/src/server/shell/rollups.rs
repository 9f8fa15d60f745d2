//! Rollups that are made and removed while others are proven. Neither fits one commit: both go on in parts, after a restart too.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rules::state::State;

use super::Shell;
use crate::{
    core::{
        Core, Output,
        id::{BatchId, RollupNumber},
        record::{BatchRecord, Write},
        rollup::{
            CreateError, DeleteError, NewRollup, ROLLUP_NAME_CHARS_MAX, RollupChange, RollupRecord,
            RollupStatus,
        },
    },
    server::status::Unavailable,
};

/// Accounts of one commit.
const ACCOUNTS_AT_ONCE: usize = 1 << 13;
/// Batches of one commit, and those of one look.
const BATCHES_AT_ONCE: usize = 256;
/// Between two looks for what is to be removed.
const REMOVE_EVERY: Duration = Duration::from_secs(2);

/// Why a rollup is not created, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum RollupFailure {
    /// There is none of that name.
    #[error("no rollup {0:?}")]
    Unknown(String),
    /// It cannot be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It cannot be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// Nothing can be done now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl RollupFailure {
    /// There is none of a name, which may be of any length.
    pub(in crate::server) fn unknown(name: &str) -> Self {
        Self::Unknown(name.chars().take(ROLLUP_NAME_CHARS_MAX).collect())
    }
}

impl Shell {
    /// Creates a rollup that begins with `state`; or answers the one that is there, if it is just that.
    pub(in crate::server) fn create_rollup(
        &self,
        new: NewRollup,
        state: State,
    ) -> Result<RollupRecord, RollupFailure> {
        // One at a time: what is abandoned is told from what is being made.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.step(|core, now| match core.create_rollup(now, new) {
            Ok((number, output)) => (Ok(number), output),
            Err(error) => (Err(error), Output::default()),
        })??;
        let was_there = self.read(|core| core.rollup(number).filter(|rollup| rollup.is_live()).cloned())?;
        if let Some(rollup) = was_there {
            return Ok(rollup);
        }
        let made = self.fill_rollup(number, &state).and_then(|()| {
            let ledger = Arc::new(Mutex::new(state));
            let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
            ledgers.insert(number, ledger);
            drop(ledgers);
            self.step(|core, _| ((), core.made_rollup(number)))
        });
        if let Err(error) = made {
            // What is left of it is removed when the store takes that.
            let _ = self.step(|core, _| ((), core.abandon_rollup(number)));
            return Err(error.into());
        }
        let made = self.read(|core| core.rollup(number).cloned())?;
        made.ok_or_else(|| RollupFailure::Unknown(String::new()))
    }

    fn fill_rollup(&self, number: RollupNumber, state: &State) -> Result<(), Unavailable> {
        let mut accounts = state.hashed().map(|(index, hashed)| (index, Some(hashed)));
        loop {
            let some: Vec<_> = accounts.by_ref().take(ACCOUNTS_AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.write(vec![Write::Accounts(number, some)])?;
        }
    }

    /// Writes what changes nothing of the core.
    fn write(&self, writes: Vec<Write>) -> Result<(), Unavailable> {
        self.step(|_, _| {
            let effects = Vec::new();
            ((), Output { writes, effects })
        })
    }

    /// Changes a live rollup.
    pub(in crate::server) fn change_rollup(
        &self,
        name: &str,
        change: RollupChange,
    ) -> Result<RollupRecord, RollupFailure> {
        let changed = self.step(|core, now| match core.rollup_named(name).map(|it| it.number) {
            Some(number) => {
                let output = core.change_rollup(now, number, change);
                (core.rollup(number).cloned(), output)
            }
            None => (None, Output::default()),
        })?;
        changed.ok_or_else(|| RollupFailure::unknown(name))
    }

    /// Deletes a rollup. What is stored of it is removed in the background.
    pub(in crate::server) fn delete_rollup(&self, name: &str, next_number: u64) -> Result<(), RollupFailure> {
        let unknown = || RollupFailure::unknown(name);
        let found = self.read(|core| core.rollup_named(name).map(|it| it.number))?;
        let number = found.ok_or_else(unknown)?;
        let ledger = self.ledger(number).ok_or_else(unknown)?;
        // No batch is appended meanwhile.
        let _ledger = self.lock_ledger(&ledger)?;
        self.step(|core, _| match core.delete_rollup(number, next_number) {
            Ok(output) => (Ok(()), output),
            Err(error) => (Err(error), Output::default()),
        })??;
        Ok(())
    }

    /// Removes what is stored of rollups that were deleted, or never made to the end, until the coordinator stops.
    pub(in crate::server) async fn keep_rollups(self: Arc<Self>) {
        loop {
            // What the store does not take now, it takes later.
            let _ = self.run(Self::remove_rollups).await;
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(REMOVE_EVERY) => {}
            }
        }
    }

    fn remove_rollups(&self) -> Result<(), Unavailable> {
        let with = |status| {
            move |core: &Core| {
                let found = core.rollups().filter(|rollup| rollup.status == status);
                found.map(|rollup| rollup.number).collect::<BTreeSet<_>>()
            }
        };
        if !self.standing.leads() {
            return Ok(());
        }
        if let Ok(_making) = self.making.try_lock() {
            for number in self.read(with(RollupStatus::Making))? {
                self.step(|core, _| ((), core.abandon_rollup(number)))?;
            }
        }
        for number in self.read(with(RollupStatus::Leaving))? {
            self.remove_rollup(number)?;
        }
        Ok(())
    }

    fn remove_rollup(&self, number: RollupNumber) -> Result<(), Unavailable> {
        let mut before = BatchId(u64::MAX);
        loop {
            let some = self.store().retired_before(before, BATCHES_AT_ONCE);
            let some = some.map_err(|error| self.store_failed(error, Vec::new()))?;
            let Some(last) = some.last() else { break };
            before = last.id;
            let its = some.into_iter().filter(|batch| batch.rollup == number);
            let writes: Vec<Write> = its.flat_map(Core::remove_retired).collect();
            if !writes.is_empty() {
                self.write(writes)?;
            }
            if self.stopping.is_cancelled() {
                return Err(Unavailable::Stopping);
            }
        }
        loop {
            let some = self.store().accounts_of(number, ACCOUNTS_AT_ONCE);
            let some = some.map_err(|error| self.store_failed(error, Vec::new()))?;
            if some.is_empty() {
                break;
            }
            let gone = some.into_iter().map(|index| (index, None)).collect();
            self.write(vec![Write::Accounts(number, gone)])?;
            if self.stopping.is_cancelled() {
                return Err(Unavailable::Stopping);
            }
        }
        self.step(|core, _| ((), core.removed_rollup(number)))?;
        let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        ledgers.remove(&number);
        tracing::info!(rollup = %number, "what was stored of a deleted rollup is removed");
        Ok(())
    }

    /// The batches that are meant among those with an id below `before`, newest first: at most `size`, of at most `looked` that are
    /// looked at. With the batch after which the next page begins; none on the last one.
    pub(in crate::server) fn page(
        &self,
        before: BatchId,
        size: usize,
        looked: usize,
        meant: impl Fn(&BatchRecord) -> bool,
    ) -> Result<(Vec<BatchRecord>, Option<BatchId>), Unavailable> {
        let mut found = Vec::new();
        let mut before = before;
        let mut left = looked;
        // Those of a rollup that was deleted are nobody's any more.
        let live = |core: &Core| {
            let live = core.rollups().filter(|rollup| rollup.is_live());
            live.map(|rollup| rollup.number).collect::<BTreeSet<_>>()
        };
        let live = self.read(live)?;
        loop {
            let some = self.batches_before(before, BATCHES_AT_ONCE.min(left.max(1)))?;
            let Some(last) = some.last().map(|batch| batch.id) else {
                return Ok((found, None));
            };
            left = left.saturating_sub(some.len());
            for batch in some {
                if found.len() == size {
                    // There is one more, meant or not.
                    return Ok((found, Some(before)));
                }
                before = batch.id;
                if live.contains(&batch.rollup) && meant(&batch) {
                    found.push(batch);
                }
            }
            before = last;
            if left == 0 {
                let more = !self.batches_before(before, 1)?.is_empty();
                return Ok((found, more.then_some(before)));
            }
        }
    }

    /// The batches with an id below `before`, retired or not, newest first; at most `limit`.
    fn batches_before(&self, before: BatchId, limit: usize) -> Result<Vec<BatchRecord>, Unavailable> {
        let mut some: Vec<BatchRecord> =
            self.read(|core| core.batches_before(before).take(limit).cloned().collect())?;
        // One that was retired between the two looks is in both.
        let retired = self.store().retired_before(before, limit);
        some.extend(retired.map_err(|error| self.store_failed(error, Vec::new()))?);
        some.sort_by_key(|batch| std::cmp::Reverse(batch.id));
        some.dedup_by_key(|batch| batch.id);
        some.truncate(limit);
        Ok(some)
    }
}
