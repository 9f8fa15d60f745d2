//! What is proven, and whether a proof is right: payloads and statements from the store, proofs for it.

use circuits::aggregation::{AggregationInput, ChildProof};
use proto::v1;
use rules::statement::ACCUMULATOR_LIMBS;
use rules::{Fr, field};
use telemetry::traces::now_ns;

use super::{Shell, Unread, Work, damage::Failure};
use crate::{
    core::{
        id::{BatchId, Fence, SessionId, TaskId, TaskKind},
        lease::Claim,
        record::ArtifactKey,
    },
    execution::{ArtifactError, RootProof, Statement, encode},
    keyring::Circuits,
    server::status::Unavailable,
};

impl Shell {
    /// The payload of a task; none if the task is not needed any more.
    pub(in crate::server) fn payload(&self, task: TaskId) -> Result<Option<Vec<u8>>, Unread> {
        if task.kind == TaskKind::Shard {
            return match self.bytes(ArtifactKey::ShardInput(task.batch, task.index)) {
                Ok(input) => Ok(input),
                Err(Failure::Damaged(damage)) => Err(self.lost(task.batch, damage)),
                Err(Failure::Unavailable(error)) => Err(error.into()),
            };
        }
        let Some(statement) = self.statement(task.batch)? else {
            return Ok(None);
        };
        let mut children = Vec::with_capacity(statement.shards.len());
        for index in (0..).take(statement.shards.len()) {
            let proof = match self.bytes(ArtifactKey::ShardProof(task.batch, index)) {
                Ok(Some(proof)) => proof,
                Ok(None) => return Ok(None),
                Err(Failure::Damaged(damage)) => {
                    return Err(self.shard_proof_lost(TaskId::shard(task.batch, index), damage));
                }
                Err(Failure::Unavailable(error)) => return Err(error.into()),
            };
            let instances = self.instances(&statement, TaskId::shard(task.batch, index))?;
            children.push(ChildProof { instances, proof });
        }
        Ok(Some(AggregationInput { children }.to_bytes()))
    }

    /// What a shard's proof states.
    fn instances(&self, statement: &Statement, shard: TaskId) -> Result<Vec<Fr>, Unread> {
        statement
            .shard(shard.index)
            .map_err(|error| self.statement_failed(shard.batch, &error))
    }

    /// A proven batch's proof.
    pub(in crate::server) fn root_proof(&self, batch: BatchId) -> Result<Option<RootProof>, Unread> {
        match self.artifact(ArtifactKey::RootProof(batch), RootProof::decode) {
            Ok(proof) => Ok(proof),
            Err(Failure::Damaged(damage)) => Err(self.lost(batch, damage)),
            Err(Failure::Unavailable(error)) => Err(error.into()),
        }
    }

    pub(in crate::server) fn statement_failed(&self, batch: BatchId, error: &ArtifactError) -> Unread {
        self.lost(
            batch,
            format!("the statement of {batch} does not decode ({error})"),
        )
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
        let statement = match self.statement(task.batch) {
            Ok(Some(statement)) => statement,
            Ok(None) => return Ok((v1::Verdict::NotNeeded, "the batch is cancelled".into())),
            Err(Unread::Unavailable(error)) => return Err(error),
            Err(lost) => return Ok((v1::Verdict::NotNeeded, lost.to_string())),
        };
        let keys = self.read(|core| core.batch(task.batch).map(|batch| batch.keys))?;
        let began = now_ns();
        let proof = match keys.and_then(|keys| self.keyring.get(keys)) {
            // A start sees to it that the keys of open batches are served.
            None => Err("the keys of the task's batch are not served".into()),
            Some(circuits) => self.meters.time(Work::Verification, || match task.kind {
                TaskKind::Shard => judge_shard(circuits, &statement, task, complete),
                TaskKind::Aggregation => judge_root(circuits, &statement, complete),
            }),
        };
        self.tell_verification(task, fence, began, proof.as_ref().err());
        match proof {
            Ok(proof) => {
                self.put(&[&proof])?;
                let won = self.step(|core, now| core.accept(now, session, task, proof))?;
                if won {
                    tracing::info!(%task, fence = fence.0, "proof accepted");
                    return Ok((v1::Verdict::Accepted, String::new()));
                }
                Ok((v1::Verdict::NotNeeded, "the task is done".into()))
            }
            Err(reason) => {
                if let Some(more) = self.told(&format!("rejected {session:?} {task}")) {
                    tracing::warn!(%task, fence = fence.0, reason, more, "proof rejected");
                }
                self.step(|core, now| ((), core.reject(now, session, task, fence, &reason)))?;
                Ok((v1::Verdict::Rejected, reason))
            }
        }
    }
}

fn judge_shard(
    circuits: &Circuits,
    statement: &Statement,
    task: TaskId,
    complete: v1::Complete,
) -> Result<Vec<u8>, String> {
    let instances = statement.shard(task.index).map_err(|error| error.to_string())?;
    circuits
        .verifier
        .shard(&instances, &complete.proof)
        .map(|()| complete.proof.into())
}

fn judge_root(circuits: &Circuits, statement: &Statement, complete: v1::Complete) -> Result<Vec<u8>, String> {
    let stated = statement.root().map_err(|error| error.to_string())?;
    let mut instances = Vec::with_capacity(ACCUMULATOR_LIMBS);
    for limb in &complete.accumulator {
        let bytes = limb[..]
            .try_into()
            .map_err(|_| format!("a limb of {} bytes", limb.len()))?;
        instances.push(field::from_be(&bytes).map_err(|error| error.to_string())?);
    }
    if instances.len() != ACCUMULATOR_LIMBS {
        return Err(format!("{} limbs, expected {ACCUMULATOR_LIMBS}", instances.len()));
    }
    instances.extend(stated.to_instances());
    circuits.verifier.root(&instances, &complete.proof)?;
    Ok(encode(&RootProof {
        instances: instances.iter().map(field::to_be).collect(),
        proof: complete.proof.into(),
    }))
}
