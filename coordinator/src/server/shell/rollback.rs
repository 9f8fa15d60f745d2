//! Batches that are rolled back, and the ledger with them.

use std::collections::BTreeMap;

use super::Shell;
use crate::{
    core::{Output, id::BatchId, record::ArtifactKey, rollback::RollbackError},
    execution::decode_undo,
    server::status::Unavailable,
};

/// Why nothing was rolled back.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum RollbackFailure {
    /// By the chain.
    #[error(transparent)]
    Chain(#[from] RollbackError),
    /// What the batch changed is not known any more.
    #[error("the accounts as they were before batch {0} are not kept any more")]
    NotKept(BatchId),
    /// The coordinator is stopping, or its store refuses.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Shell {
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
            let undo = self.artifact(ArtifactKey::Undo(batch), decode_undo)?;
            // Newest first, so that what stays of an account is how it was before the oldest.
            before.extend(undo.ok_or(RollbackFailure::NotKept(batch))?);
        }
        let before: Vec<_> = before.into_iter().collect();
        let accounts = before.clone();
        let (rolled_back, stored) =
            self.advance(|core, now| match core.roll_back(now, newest, number, accounts) {
                Ok((batches, output)) => (Ok(batches), output),
                Err(error) => (Err(error), Output::default()),
            })?;
        let batches = rolled_back?;
        ledger.overwrite(&before);
        match stored {
            true => Ok(batches),
            false => Err(Unavailable::Store.into()),
        }
    }
}
