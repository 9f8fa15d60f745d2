//! Rollback: the end of the chain is taken back, proven batches included, because L1 will not accept it.
//!
//! Whether L1 has accepted a batch is not known here: who rolls back answers for that.

use rules::account::{AccountIndex, Hashed};

use super::{
    Core, Output,
    id::{BatchId, UnixMs},
    record::{ArtifactKey, BatchRecord, BatchStatus, Write},
};

/// Why nothing is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No such batch.
    #[error("no batch {0}")]
    Unknown(BatchId),
    /// The caller does not know the end of the chain.
    #[error("batch {given} is not the newest of the chain; that is {newest}")]
    NotNewest {
        /// What the caller took for the newest.
        given: BatchId,
        /// The newest.
        newest: BatchId,
    },
    /// There is no batch in the chain to roll back.
    #[error("the chain has no batch that can be rolled back")]
    Empty,
    /// What it takes is not kept any more.
    #[error("batch number {number} cannot be rolled back any more; the oldest that can has number {oldest}")]
    Past {
        /// What the caller gave.
        number: u64,
        /// The oldest batch's that can be.
        oldest: u64,
    },
    /// The chain begins later.
    #[error("there is no batch number {number} in the chain; its first has number {first}")]
    BeforeStart {
        /// What the caller gave.
        number: u64,
        /// The first batch's.
        first: u64,
    },
    /// The chain does not reach so far.
    #[error("there is no batch number {number} in the chain; its newest has number {newest}")]
    Number {
        /// What the caller gave.
        number: u64,
        /// The newest batch's.
        newest: u64,
    },
}

impl Core {
    /// The batches that a rollback of all from `number` on takes back, newest first. `newest` is the batch that the caller
    /// takes for the newest of its chain, retired or not, so that none goes that the caller has not seen. None where it was done
    /// before.
    ///
    /// # Errors
    /// See [`RollbackError`].
    pub fn tail(&self, newest: &BatchRecord, number: u64) -> Result<Vec<BatchId>, RollbackError> {
        let rollup = self.rollups.get(&newest.rollup);
        let rollup = rollup.ok_or(RollbackError::Unknown(newest.id))?;
        if newest.status == BatchStatus::RolledBack && self.head(newest.rollup).next_number == number {
            return Ok(Vec::new());
        }
        let (&last, &id) = rollup.chain.last_key_value().ok_or(RollbackError::Empty)?;
        if id != newest.id {
            return Err(RollbackError::NotNewest {
                given: newest.id,
                newest: id,
            });
        }
        let (first, oldest) = (rollup.record.start.next_number, rollup.record.floor.next_number);
        if number < first {
            return Err(RollbackError::BeforeStart { number, first });
        }
        if number < oldest {
            return Err(RollbackError::Past { number, oldest });
        }
        if number > last {
            return Err(RollbackError::Number { number, newest: last });
        }
        Ok(rollup.chain.range(number..).rev().map(|(_, id)| *id).collect())
    }

    /// Takes back all batches from `number` on, newest first; returns them. `accounts` are those that they changed, as they
    /// were before the oldest. Idempotent.
    ///
    /// # Errors
    /// See [`RollbackError`]; then nothing changes.
    pub fn roll_back(
        &mut self,
        now: UnixMs,
        newest: &BatchRecord,
        number: u64,
        accounts: Vec<(AccountIndex, Option<Hashed>)>,
    ) -> Result<(Vec<BatchId>, Output), RollbackError> {
        let tail = self.tail(newest, number)?;
        let mut output = Output::default();
        if tail.is_empty() {
            return Ok((tail, output));
        }
        output.writes.push(Write::Accounts(newest.rollup, accounts));
        for &id in &tail {
            self.take_out(id, &mut output);
            if self.batches[&id].is_final() {
                output
                    .writes
                    .push(Write::RemoveArtifact(ArtifactKey::RootProof(id)));
                let batch = self.batches.get_mut(&id).expect("just found");
                (batch.status, batch.finished) = (BatchStatus::RolledBack, Some(now));
                self.tally.finished(batch);
                self.save_batch(id, &mut output);
                self.retire(id, &mut output);
            } else {
                self.finish(now, id, BatchStatus::RolledBack, &mut output);
            }
        }
        self.assign(now, &mut output);
        Ok((tail, output))
    }
}
