//! Batches that are taken back, and the ledger with them.

use std::collections::BTreeMap;

use rules::account::hashed;

use super::{Shell, Unread, split};
use crate::{
    core::{
        Output,
        chain::{CancelError, RetryError},
        id::BatchId,
        record::{BatchRecord, BatchStatus},
        rollback::RollbackError,
    },
    server::status::Unavailable,
};

/// Why a batch was not cancelled.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum CancelFailure {
    /// By the chain.
    #[error(transparent)]
    Chain(#[from] CancelError),
    /// What it takes cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
}

/// Why a batch was not tried again.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum RetryFailure {
    /// By the chain.
    #[error(transparent)]
    Chain(#[from] RetryError),
    /// Nothing can be done now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why nothing was rolled back.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum RollbackFailure {
    /// By the chain.
    #[error(transparent)]
    Chain(#[from] RollbackError),
    /// What the batch changed is not known any more.
    #[error("the accounts as they were before batch {0} are not kept any more")]
    NotKept(BatchId),
    /// What it takes cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
}

impl From<Unavailable> for CancelFailure {
    fn from(error: Unavailable) -> Self {
        Self::Unread(error.into())
    }
}

impl From<Unavailable> for RollbackFailure {
    fn from(error: Unavailable) -> Self {
        Self::Unread(error.into())
    }
}

impl Shell {
    /// Takes the last batch of the chain back, and the ledger with it.
    pub(in crate::server) fn cancel(&self, id: BatchId) -> Result<(), CancelFailure> {
        let Some(batch) = self.batch(id)? else {
            return Err(CancelError::Unknown(id).into());
        };
        let ledger = self.ledger(batch.rollup).ok_or(CancelError::Unknown(id))?;
        let mut ledger = self.lock_ledger(&ledger)?;
        // It may have been retired while the ledger was waited for.
        match self.batch(id)? {
            Some(batch) if batch.status.is_taken_back() => return Ok(()),
            Some(batch) if batch.status == BatchStatus::Proven => return Err(CancelError::Proven(id).into()),
            Some(_) => drop(self.read(|core| core.cancellable(id).map(drop))??),
            None => return Err(CancelError::Unknown(id).into()),
        }
        // It may have been proven since; the step below decides.
        let undo = self.undo(id, &ledger, &BTreeMap::new())?.unwrap_or_default();
        let accounts = hashed(&undo);
        let (cancelled, stored) = self.advance(|core, now| split(core.cancel(now, id, accounts)))?;
        cancelled?;
        ledger.set(&undo);
        match stored {
            true => Ok(()),
            false => Err(Unavailable::Store.into()),
        }
    }

    /// Queues the tasks of a failed batch again.
    pub(in crate::server) fn retry(&self, batch: BatchId) -> Result<(), RetryFailure> {
        match self.step(|core, now| split(core.retry(now, batch)))? {
            // One that is retired is final.
            Err(RetryError::Unknown(_)) => Err(match self.batch(batch)? {
                Some(BatchRecord { status, .. }) => RetryError::NotFailed { batch, status }.into(),
                None => RetryError::Unknown(batch).into(),
            }),
            done => Ok(done?),
        }
    }

    /// Takes back all batches from `number` on, of which `newest` is the newest, and the ledger with them. Returns them, newest
    /// first; none where it was done before.
    pub(in crate::server) fn roll_back(
        &self,
        newest: BatchId,
        number: u64,
    ) -> Result<Vec<BatchId>, RollbackFailure> {
        let unknown = RollbackError::Unknown(newest);
        let rollup = self.batch(newest)?.ok_or(unknown)?.rollup;
        let ledger = self.ledger(rollup).ok_or(unknown)?;
        // While it is held, the chain neither grows nor shrinks.
        let mut ledger = self.lock_ledger(&ledger)?;
        let newest = self.batch(newest)?.ok_or(unknown)?;
        let mut before = BTreeMap::new();
        for batch in self.read(|core| core.tail(&newest, number))?? {
            let undo = self.undo(batch, &ledger, &before)?;
            // Newest first, so that what stays of an account is how it was before the oldest.
            before.extend(undo.ok_or(RollbackFailure::NotKept(batch))?);
        }
        let before: Vec<_> = before.into_iter().collect();
        let accounts = hashed(&before);
        let (rolled_back, stored) =
            self.advance(|core, now| match core.roll_back(now, &newest, number, accounts) {
                Ok((batches, output)) => (Ok(batches), output),
                Err(error) => (Err(error), Output::default()),
            })?;
        let batches = rolled_back?;
        ledger.set(&before);
        match stored {
            true => Ok(batches),
            false => Err(Unavailable::Store.into()),
        }
    }
}
