//! From a batch to a submission: executes it on the ledger, cuts it into shards, and keeps what its proofs state.

use std::collections::HashMap;

use circuits::preset::Preset;
use rules::statement::{ChainError, RootStatement, root_statement};
use rules::{
    Fr,
    account::{Account, AccountIndex, Hashed},
    batch::{Batch, BatchError, Executed, ShardsError, execute, shards},
    field::{self, NonCanonical},
    format::{FormatError, exact},
    state::State,
    stream::posted_bytes,
    witness::ShardInput,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::core::{
    chain::Submission,
    id::{KeyId, StateRoot, Tenant},
};

/// Who submits a batch, and as what.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The tenant.
    pub tenant: Tenant,
    /// The tenant's id.
    pub request_id: String,
    /// SHA-256 of the encoded batch.
    pub sha256: [u8; 32],
}

/// What a batch's proofs state, and the data that L1 gets with them. A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// T, Unix seconds.
    pub time: u64,
    /// The 17 instances of each shard, 32 bytes each, big endian.
    pub shards: Vec<Vec<[u8; 32]>>,
    /// Stream A as posted.
    pub posted_a: Vec<u8>,
    /// Stream B as posted.
    pub posted_b: Vec<u8>,
}

/// A verified root proof. A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootProof {
    /// The 17 instances, 32 bytes each, big endian.
    pub instances: Vec<[u8; 32]>,
    /// The proof.
    pub proof: Vec<u8>,
}

/// Why a batch is not executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecutionError {
    /// It breaks a rule.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// It does not fit the preset.
    #[error(transparent)]
    Shards(#[from] ShardsError),
}

/// A stored artifact that does not read as it was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// Not the encoding.
    #[error("malformed artifact: {0}")]
    Malformed(String),
    /// A value that is no field element.
    #[error("{0}")]
    Element(#[from] NonCanonical),
    /// The shards do not chain.
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// A shard's input.
    #[error("{0}")]
    Input(#[from] FormatError),
}

/// Executes a batch on the ledger, which is left after it. On an error the ledger is as it was.
///
/// `origin` goes into the submission.
pub(crate) fn prepare(
    ledger: &mut State,
    preset: &Preset,
    batch: &Batch,
    keys: KeyId,
    origin: Origin,
) -> Result<Submission, ExecutionError> {
    // Sizes first: after the execution there is no way back without the undo.
    let needed = batch.operations.len().div_ceil(preset.shard.capacity);
    if needed > preset.children {
        return Err(ShardsError::TooManyShards {
            needed,
            children: preset.children,
        }
        .into());
    }
    let before = touched_accounts(ledger, batch);
    let executed = execute(ledger, batch)?;
    let touched = executed.touched.iter();
    let undo: Undo = touched
        .map(|(index, _)| (*index, before.get(index).copied()))
        .collect();
    let shards = match shards(batch, &executed, preset.shard.capacity, preset.children) {
        Ok(shards) => shards,
        Err(error) => {
            ledger.set(&undo);
            return Err(error.into());
        }
    };
    let accounts = executed.touched.iter().map(|(index, account)| {
        let (account, leaf) = (*account, ledger.tree().get(*index));
        (*index, Some(Hashed { account, leaf }))
    });
    let accounts = accounts.collect();
    Ok(submission(
        batch,
        &executed,
        &shards,
        &undo,
        accounts,
        (keys, origin),
    ))
}

fn submission(
    batch: &Batch,
    executed: &Executed,
    shards: &[ShardInput],
    undo: &Undo,
    accounts: Vec<(AccountIndex, Option<Hashed>)>,
    (keys, origin): (KeyId, Origin),
) -> Submission {
    let statement = Statement::of(shards).expect("a batch has a shard");
    Submission {
        keys,
        tenant: origin.tenant,
        request_id: origin.request_id,
        sha256: origin.sha256,
        number: batch.number,
        time: batch.time,
        old_root: StateRoot(field::to_be(&executed.old_root)),
        new_root: StateRoot(field::to_be(&executed.new_root)),
        operations: u32::try_from(batch.operations.len()).expect("a batch has at most 2^16 operations"),
        shard_inputs: shards.iter().map(ShardInput::to_bytes).collect(),
        statement: encode(&statement),
        undo: encode(undo),
        accounts,
    }
}

/// The accounts that a batch can change, as they are now: no operation creates one.
fn touched_accounts(ledger: &State, batch: &Batch) -> HashMap<AccountIndex, Account> {
    let indices = batch.operations.iter().flat_map(|signed| {
        let transfer = &signed.transfer;
        [
            transfer.from,
            transfer.to,
            AccountIndex::fee_account(transfer.token),
        ]
    });
    indices
        .filter_map(|index| Some((index, *ledger.get(index)?)))
        .collect()
}

impl Statement {
    /// What the proofs of a batch of these shards state; none of no shards.
    pub(crate) fn of(shards: &[ShardInput]) -> Option<Self> {
        let steps = shards.iter().flat_map(|shard| &shard.steps);
        let words: Vec<u128> = steps
            .filter(|step| step.is_op)
            .map(|step| step.operation.word())
            .collect();
        Some(Self {
            time: shards.first()?.time,
            shards: shards
                .iter()
                .map(|shard| shard.instances().iter().map(field::to_be).collect())
                .collect(),
            posted_a: Vec::new(),
            posted_b: posted_bytes(&words),
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        decode(bytes)
    }

    /// The instances of a shard's proof.
    pub(crate) fn shard(&self, index: u32) -> Result<Vec<Fr>, ArtifactError> {
        let shard = self
            .shards
            .get(index as usize)
            .ok_or_else(|| ArtifactError::Malformed(format!("no shard {index}")))?;
        Ok(shard.iter().map(field::from_be).collect::<Result<_, _>>()?)
    }

    /// The root instances after the accumulator.
    pub(crate) fn root(&self) -> Result<RootStatement, ArtifactError> {
        let shards = (0..).take(self.shards.len()).map(|index| self.shard(index));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        let shards: Vec<&[Fr]> = shards.iter().map(Vec::as_slice).collect();
        Ok(root_statement(&shards, shards.len())?)
    }
}

impl RootProof {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        decode(bytes)
    }
}

/// Accounts that a batch changed, as they were before it; none where it made one. A stored artifact.
pub(crate) type Undo = Vec<(AccountIndex, Option<Account>)>;

/// The accounts of an undo artifact.
pub(crate) fn decode_undo(bytes: &[u8]) -> Result<Undo, ArtifactError> {
    decode(bytes)
}

/// Reads an artifact that ends where the bytes end.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ArtifactError> {
    exact(bytes).map_err(ArtifactError::Malformed)
}

/// Encodes an artifact.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data encodes")
}

#[cfg(test)]
mod tests {
    use circuits::preset::TINY;
    use fuzzer::{Target, Verdict};
    use rules::{
        operation::RollupId,
        sample::{Sample, SampleConfig},
    };

    use super::*;

    /// serde sets 1 MiB aside for a sequence whose length is claimed, and artifacts hold one in another.
    const CLAIMED: u64 = 2 << 20;

    fn target(name: &'static str) -> Target {
        Target::new(env!("CARGO_MANIFEST_DIR"), name).memory(CLAIMED, 64)
    }

    fn submitted() -> Submission {
        let mut sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        let rollup_id = RollupId {
            chain_id: 31_337,
            contract: [7; 20],
        };
        let mut ledger = sample.state().clone();
        let batch = sample.batch(rollup_id, 1_700_000_000, 3);
        let origin = Origin {
            tenant: Tenant::default(),
            request_id: "r".into(),
            sha256: [0; 32],
        };
        let keys = KeyId {
            shard_vk: [1; 32],
            aggregation_vk: [2; 32],
        };
        prepare(&mut ledger, &TINY, &batch, keys, origin).expect("the sample holds")
    }

    /// What is read is written and read again as the same; with a byte more it is refused.
    fn again<T: PartialEq + std::fmt::Debug + Serialize>(
        value: &T,
        read: impl Fn(&[u8]) -> Result<T, ArtifactError>,
    ) {
        let mut bytes = encode(value);
        assert_eq!(read(&bytes).as_ref().ok(), Some(value));
        bytes.push(0);
        assert!(read(&bytes).is_err(), "nothing may follow an artifact");
    }

    #[test]
    fn fuzz_statements() {
        target("statement")
            .seed("three-transfers", submitted().statement)
            .run(|bytes| -> Verdict {
                let statement = Statement::decode(bytes).map_err(|error| error.to_string())?;
                again(&statement, Statement::decode);
                let root = statement.root();
                root.map(drop).map_err(|error| error.to_string())
            });
    }

    #[test]
    fn fuzz_undos() {
        target("undo")
            .seed("three-transfers", submitted().undo)
            .run(|bytes| {
                let undo = decode_undo(bytes).map_err(|error| error.to_string())?;
                again(&undo, decode_undo);
                Ok(())
            });
    }

    #[test]
    fn fuzz_root_proofs() {
        let proof = RootProof {
            instances: vec![[1; 32]; 17],
            proof: vec![2; 64],
        };
        target("root-proof").seed("short", encode(&proof)).run(|bytes| {
            let proof = RootProof::decode(bytes).map_err(|error| error.to_string())?;
            again(&proof, RootProof::decode);
            Ok(())
        });
    }
}
