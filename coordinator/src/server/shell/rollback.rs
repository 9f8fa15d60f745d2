//! Batches that are taken back, and the ledger with them.

use std::collections::BTreeMap;

use rules::account::hashed;

use super::{Shell, Unread, split};
use crate::{
    core::{Output, chain::CancelError, id::BatchId, rollback::RollbackError},
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
        let mut ledger = self.lock_ledger()?;
        if self.read(|core| core.cancellable(id).map(|batch| batch.status.is_taken_back()))?? {
            return Ok(());
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

    /// Takes back all batches from `number` on, of which `newest` is the newest, and the ledger with them. Returns them, newest
    /// first; none where it was done before.
    pub(in crate::server) fn roll_back(
        &self,
        newest: BatchId,
        number: u64,
    ) -> Result<Vec<BatchId>, RollbackFailure> {
        // While it is held, the chain neither grows nor shrinks.
        let mut ledger = self.lock_ledger()?;
        let mut before = BTreeMap::new();
        for batch in self.read(|core| core.tail(newest, number))?? {
            let undo = self.undo(batch, &ledger, &before)?;
            // Newest first, so that what stays of an account is how it was before the oldest.
            before.extend(undo.ok_or(RollbackFailure::NotKept(batch))?);
        }
        let before: Vec<_> = before.into_iter().collect();
        let accounts = hashed(&before);
        let (rolled_back, stored) =
            self.advance(|core, now| match core.roll_back(now, newest, number, accounts) {
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
