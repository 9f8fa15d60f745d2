//! What is proven, and whether a proof is right: payloads and statements from the store, proofs for it.

use circuits::{
    aggregation::{ACCUMULATOR_LIMBS, AggregationInput, ChildProof},
    field,
};
use proto::v1;

use super::Shell;
use crate::{
    core::{
        id::{BatchId, Fence, SessionId, TaskId, TaskKind},
        lease::Claim,
        record::ArtifactKey,
    },
    execution::{ArtifactError, RootProof, Statement, encode},
    keyring::Circuits,
    server::status::Unavailable,
    store::StoreError,
};

impl Shell {
    /// The payload of a task; none if the task is not needed any more.
    pub(in crate::server) fn payload(&self, task: TaskId) -> Result<Option<Vec<u8>>, Unavailable> {
        if task.kind == TaskKind::Shard {
            let key = ArtifactKey::ShardInput(task.batch, task.index);
            return self.store.artifact(key).map_err(|error| self.store_failed(error));
        }
        let Some(statement) = self.statement(task.batch)? else {
            return Ok(None);
        };
        let mut children = Vec::with_capacity(statement.shards.len());
        for index in (0..).take(statement.shards.len()) {
            let key = ArtifactKey::ShardProof(task.batch, index);
            let Some(proof) = self.artifact(key, |bytes| Ok(bytes.to_vec()))? else {
                return Ok(None);
            };
            let instances = statement
                .shard(index)
                .map_err(|error| self.statement_failed(task.batch, &error))?;
            children.push(ChildProof { instances, proof });
        }
        Ok(Some(AggregationInput { children }.to_bytes()))
    }

    /// What a batch's proofs state; none if it was cancelled.
    pub(in crate::server) fn statement(&self, batch: BatchId) -> Result<Option<Statement>, Unavailable> {
        self.artifact(ArtifactKey::Statement(batch), Statement::decode)
    }

    /// A proven batch's proof.
    pub(in crate::server) fn root_proof(&self, batch: BatchId) -> Result<Option<RootProof>, Unavailable> {
        self.artifact(ArtifactKey::RootProof(batch), RootProof::decode)
    }

    pub(in crate::server) fn statement_failed(&self, batch: BatchId, error: &ArtifactError) -> Unavailable {
        self.store_failed(StoreError::Corrupt {
            what: format!("the statement of {batch}: {error}"),
        })
    }

    /// Judges a proof and, if it is right and wanted, stores it.
    pub(in crate::server) fn complete(
        &self,
        session: SessionId,
        task: TaskId,
        complete: v1::Complete,
    ) -> Result<(v1::Verdict, String), Unavailable> {
        let fence = Fence(complete.fence);
        match self.read(|core| core.claim(task, fence))? {
            Claim::NotNeeded => return Ok((v1::Verdict::NotNeeded, "the task is done".into())),
            Claim::Unknown => return Ok((v1::Verdict::Rejected, "no such lease was given".into())),
            Claim::Verify => {}
        }
        let Some(statement) = self.statement(task.batch)? else {
            return Ok((v1::Verdict::NotNeeded, "the batch is cancelled".into()));
        };
        let keys = self.read(|core| core.batch(task.batch).map(|batch| batch.keys))?;
        let proof = match keys.and_then(|keys| self.keyring.get(keys)) {
            // A start sees to it that the keys of open batches are served.
            None => Err("the keys of the task's batch are not served".into()),
            Some(circuits) => match task.kind {
                TaskKind::Shard => self.judge_shard(circuits, &statement, task, complete)?,
                TaskKind::Aggregation => self.judge_root(circuits, &statement, task, complete)?,
            },
        };
        match proof {
            Ok(proof) => {
                let won = self.step(|core, now| core.accept(now, session, task, proof))?;
                if won {
                    tracing::info!(%task, fence = fence.0, "proof accepted");
                    return Ok((v1::Verdict::Accepted, String::new()));
                }
                Ok((v1::Verdict::NotNeeded, "the task is done".into()))
            }
            Err(reason) => {
                tracing::warn!(%task, fence = fence.0, reason, "proof rejected");
                self.step(|core, now| ((), core.reject(now, session, task, fence, &reason)))?;
                Ok((v1::Verdict::Rejected, reason))
            }
        }
    }

    fn judge_shard(
        &self,
        circuits: &Circuits,
        statement: &Statement,
        task: TaskId,
        complete: v1::Complete,
    ) -> Result<Result<Vec<u8>, String>, Unavailable> {
        let instances = statement
            .shard(task.index)
            .map_err(|error| self.statement_failed(task.batch, &error))?;
        Ok(circuits
            .verifier
            .shard(&instances, &complete.proof)
            .map(|()| complete.proof.into()))
    }

    fn judge_root(
        &self,
        circuits: &Circuits,
        statement: &Statement,
        task: TaskId,
        complete: v1::Complete,
    ) -> Result<Result<Vec<u8>, String>, Unavailable> {
        let stated = statement
            .root()
            .map_err(|error| self.statement_failed(task.batch, &error))?;
        let limbs: Result<Vec<_>, String> = complete
            .accumulator
            .iter()
            .map(|limb| {
                let bytes = limb[..]
                    .try_into()
                    .map_err(|_| format!("a limb of {} bytes", limb.len()))?;
                field::from_be(&bytes).map_err(|error| error.to_string())
            })
            .collect();
        let mut instances = match limbs {
            Ok(limbs) if limbs.len() == ACCUMULATOR_LIMBS => limbs,
            Ok(limbs) => {
                return Ok(Err(format!(
                    "{} limbs, expected {ACCUMULATOR_LIMBS}",
                    limbs.len()
                )));
            }
            Err(reason) => return Ok(Err(reason)),
        };
        instances.extend(stated.to_instances());
        Ok(circuits.verifier.root(&instances, &complete.proof).map(|()| {
            let instances = instances.iter().map(field::to_be).collect();
            encode(&RootProof {
                instances,
                proof: complete.proof.into(),
            })
        }))
    }
}
