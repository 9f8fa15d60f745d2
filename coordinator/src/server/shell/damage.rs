//! Artifacts of a batch, and what becomes of it when one cannot be read.
//!
//! What they were made from is mostly still there: a shard is proven again, a statement follows from the shards' inputs, and an
//! undo from the inputs, or from what the batch posts. Where nothing is left to make it from, the batch alone fails, or its proof is not given out; all
//! else goes on.

use std::collections::BTreeMap;

use rules::{
    account::{Account, AccountIndex},
    field,
    state::State,
    witness::ShardInput,
};

use super::{Shell, Work};
use crate::{
    core::{
        Output,
        id::{BatchId, StateRoot, TaskId},
        record::{ArtifactKey, Write},
    },
    execution::{
        ArtifactError, Statement, Undo, decode_undo, encode, sharded, take_back::take_back, undo_of,
    },
    server::status::Unavailable,
    store::StoreError,
};

/// Why something of a batch is not read.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::server) enum Unread {
    /// The coordinator is stopping, or its store refuses.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It is damaged, and is being made again.
    #[error("{damage}; it is made again")]
    MadeAgain {
        /// The artifact, and what it is.
        damage: String,
    },
    /// It is damaged for good.
    #[error("{damage}; {remedy}")]
    Lost {
        /// The batch.
        batch: BatchId,
        /// The artifact, and what it is.
        damage: String,
        /// What helps.
        remedy: String,
    },
}

/// Why an artifact is not read.
pub(super) enum Failure {
    Unavailable(Unavailable),
    /// The artifact, and what it is.
    Damaged(String),
}

impl Shell {
    /// An artifact's bytes; none where none is kept.
    pub(super) fn bytes(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, Failure> {
        let read = self.meters.time(Work::Read, || self.store().artifact(key));
        read.map_err(|error| match error {
            StoreError::Artifact { .. } => Failure::Damaged(error.to_string()),
            error => Failure::Unavailable(self.store_failed(error, Vec::new())),
        })
    }

    /// The same, decoded.
    pub(super) fn artifact<T>(
        &self,
        key: ArtifactKey,
        decode: impl FnOnce(&[u8]) -> Result<T, ArtifactError>,
    ) -> Result<Option<T>, Failure> {
        let bytes = self.bytes(key)?;
        let damaged = |error| Failure::Damaged(format!("artifact {key:?} does not decode ({error})"));
        bytes.map(|bytes| decode(&bytes).map_err(damaged)).transpose()
    }

    /// Something is lost for good that a batch's proofs are made from, or its proof is.
    pub(in crate::server) fn lost(&self, batch: BatchId, damage: String) -> Unread {
        tracing::error!(%batch, damage, "what was stored of a batch is lost");
        let failed = self.step(|core, now| ((), core.fail_damaged(now, batch, &damage)));
        let number = match failed.and_then(|()| self.batch(batch)) {
            Ok(batch) => batch.map_or(0, |batch| batch.number),
            Err(error) => return error.into(),
        };
        let remedy = format!(
            "restore it from a backup, or, unless L1 has accepted the batch, take it back with all that follow (`rollup-prover rollback --to {number}`) and submit them again"
        );
        Unread::Lost {
            batch,
            damage,
            remedy,
        }
    }

    /// A shard's proof is lost. It is proven again if its input is still there.
    pub(super) fn shard_proof_lost(&self, shard: TaskId, damage: String) -> Unread {
        match self.bytes(ArtifactKey::ShardInput(shard.batch, shard.index)) {
            Ok(Some(_)) => {}
            Ok(None) | Err(Failure::Damaged(_)) => return self.lost(shard.batch, damage),
            Err(Failure::Unavailable(error)) => return error.into(),
        }
        tracing::error!(%shard, damage, "a shard's proof is lost; it is proven again");
        match self.step(|core, now| ((), core.prove_again(now, shard, &damage))) {
            Ok(()) => Unread::MadeAgain { damage },
            Err(error) => error.into(),
        }
    }

    /// What a batch's proofs state; none if it was taken back.
    pub(in crate::server) fn statement(&self, batch: BatchId) -> Result<Option<Statement>, Unread> {
        let decode = |bytes: &[u8]| {
            let statement = Statement::decode(bytes)?;
            statement.root().map(|_| statement)
        };
        match self.artifact(ArtifactKey::Statement(batch), decode) {
            Ok(statement) => Ok(statement),
            Err(Failure::Unavailable(error)) => Err(error.into()),
            Err(Failure::Damaged(damage)) => match self.statement_again(batch)? {
                Some(statement) => {
                    tracing::error!(%batch, damage, "a batch's statement is made again from its shards");
                    Ok(Some(statement))
                }
                None => Err(self.lost(batch, damage)),
            },
        }
    }

    /// Makes the statement of a batch again, from the inputs of its shards, which are kept until it is final.
    fn statement_again(&self, id: BatchId) -> Result<Option<Statement>, Unavailable> {
        let Some(inputs) = self.inputs(id)? else {
            return Ok(None);
        };
        let Some(statement) = Statement::of(&sharded(inputs)) else {
            return Ok(None);
        };
        let again = Write::Artifact(ArtifactKey::Statement(id), encode(&statement));
        self.step(|core, _| {
            // One that became final meanwhile may have none any more.
            let open = core.batch(id).is_some_and(|batch| !batch.is_final());
            let writes = open.then_some(again).into_iter().collect();
            (
                (),
                Output {
                    writes,
                    effects: Vec::new(),
                },
            )
        })?;
        Ok(Some(statement))
    }

    /// The inputs of all shards of a batch; none where one of them is not there, or damaged.
    fn inputs(&self, id: BatchId) -> Result<Option<Vec<ShardInput>>, Unavailable> {
        let shards = self.read(|core| core.batch(id).map_or(0, |batch| batch.shards))?;
        let mut inputs = Vec::new();
        for index in 0..shards {
            let decode = |bytes: &[u8]| ShardInput::from_bytes(bytes).map_err(ArtifactError::from);
            match self.artifact(ArtifactKey::ShardInput(id, index), decode) {
                Ok(Some(input)) => inputs.push(input),
                Ok(None) | Err(Failure::Damaged(_)) => return Ok(None),
                Err(Failure::Unavailable(error)) => return Err(error),
            }
        }
        Ok(Some(inputs))
    }

    /// The accounts that a batch changed, as they were before it; none where that is not kept any more. `later` are those that the
    /// batches after it changed, as they were before these: with them the ledger is the state after the batch.
    pub(super) fn undo(
        &self,
        id: BatchId,
        ledger: &State,
        later: &BTreeMap<AccountIndex, Option<Account>>,
    ) -> Result<Option<Undo>, Unread> {
        let damage = match self.artifact(ArtifactKey::Undo(id), decode_undo) {
            Ok(undo) => return Ok(undo),
            Err(Failure::Unavailable(error)) => return Err(error.into()),
            Err(Failure::Damaged(damage)) => damage,
        };
        let old_root = self.batch(id)?.map(|batch| batch.old_root);
        let before = match self.inputs(id)? {
            Some(inputs) => Some(undo_of(&inputs)),
            None => match self.statement(id) {
                Ok(Some(statement)) => take_back(ledger, later, &statement.posted_a, &statement.posted_b),
                Ok(None) => None,
                Err(Unread::Unavailable(error)) => return Err(error.into()),
                Err(_) => None,
            },
        };
        // The accounts of later batches that this one has not touched are as they were before these.
        let root = |before: &Undo| {
            let mut accounts = later.clone();
            accounts.extend(before.iter().copied());
            let accounts: Vec<_> = accounts.into_iter().collect();
            StateRoot(field::to_be(&ledger.root_with(&accounts)))
        };
        match before.filter(|before| Some(root(before)) == old_root) {
            Some(before) => {
                tracing::error!(batch = %id, damage, "the accounts before a batch are found anew from what else is kept of it");
                Ok(Some(before))
            }
            None => Err(Unread::Lost {
                batch: id,
                damage,
                remedy: "restore it from a backup".into(),
            }),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}
