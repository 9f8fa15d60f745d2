//! halo2-axiom's own prover on the CPU: what benchmarks and tests compare with. Workers do not have it.

use std::sync::Arc;

use circuits::aggregation::AggregationInput;
use circuits::plonk::{Challenge, ProofWriter, Transcript};
use circuits::recursion::prover_circuit;
use halo2_proofs::plonk::{Circuit, ProvingKey, create_proof};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::ProverSHPLONK;
use halo2curves::bn256::{Bn256, G1Affine};
use keys::KeyStore;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rules::Fr;
use rules::statement::ACCUMULATOR_LIMBS;
use rules::witness::ShardInput;

use super::{Engine, EngineError, KEEP_KEYS_FROM_BYTES, Phase, RootProof, guarded, shard_circuit};
use crate::memory;

/// The stock prover, under the transcripts and verifying keys of [`OwnEngine`](super::OwnEngine).
///
/// On a machine with less than 64 GiB it holds one circuit's keys at a time: the aggregation key, of gigabytes, is
/// read when an aggregation comes and dropped after it.
pub struct StockEngine {
    keys: Arc<KeyStore>,
    keep_keys: bool,
}

impl StockEngine {
    /// An engine that may use `memory_bytes` of host memory (none: what the machine and the control group allow).
    pub fn new(keys: Arc<KeyStore>, memory_bytes: Option<u64>) -> Self {
        let memory_bytes = memory_bytes.or_else(memory::limit_bytes).unwrap_or(0);
        Self {
            keys,
            keep_keys: memory_bytes >= KEEP_KEYS_FROM_BYTES,
        }
    }

    fn shard(&self, input: &ShardInput, progress: &mut dyn FnMut(Phase)) -> Result<Vec<u8>, EngineError> {
        progress(Phase::LoadKeys);
        let srs = self.keys.shard_srs().map_err(EngineError::Keys)?;
        let pk = self.keys.shard_pk().map_err(EngineError::Keys)?;
        progress(Phase::Witness);
        let instances = input.instances();
        let circuit = shard_circuit(self.keys.preset(), input)?;
        progress(Phase::Prove);
        let proof = create(&srs, &pk, circuit, &instances, Transcript::Poseidon)?;
        progress(Phase::Verify);
        let verified = self.keys.verifying_keys().verify_shard(&instances, &proof);
        verified.map_err(|error| EngineError::ProofInvalid(error.into()))?;
        Ok(proof)
    }

    fn aggregation(
        &self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<RootProof, EngineError> {
        progress(Phase::LoadKeys);
        let srs = self.keys.aggregation_srs().map_err(EngineError::Keys)?;
        let pk = self.keys.aggregation_pk().map_err(EngineError::Keys)?;
        progress(Phase::Witness);
        let circuit = prover_circuit(self.keys.preset(), self.keys.verifying_keys().shard(), input)
            .map_err(EngineError::Aggregation)?;
        let instances = circuit.instances().to_vec();
        progress(Phase::Prove);
        let proof = create(&srs, &pk, circuit, &instances, Transcript::Evm)?;
        progress(Phase::Verify);
        let verified = self.keys.verifying_keys().verify_root(&instances, &proof);
        verified.map_err(EngineError::ProofInvalid)?;
        let accumulator: [Fr; ACCUMULATOR_LIMBS] = std::array::from_fn(|limb| instances[limb]);
        Ok(RootProof { proof, accumulator })
    }
}

impl Engine for StockEngine {
    fn prove_shard(
        &mut self,
        input: &ShardInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Vec<u8>, EngineError> {
        guarded(|| self.shard(input, progress))
    }

    fn prove_aggregation(
        &mut self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<RootProof, EngineError> {
        if !self.keep_keys {
            self.keys.release_shard();
        }
        let root = guarded(|| self.aggregation(input, progress));
        if !self.keep_keys {
            self.keys.release_aggregation();
        }
        root
    }
}

/// halo2's prover for one circuit with one column of instances.
fn create<C: Circuit<Fr>>(
    srs: &ParamsKZG<Bn256>,
    pk: &ProvingKey<G1Affine>,
    circuit: C,
    instances: &[Fr],
    transcript: Transcript,
) -> Result<Vec<u8>, EngineError> {
    let mut proof = ProofWriter::new(transcript);
    // Blinding factors: from the system's entropy.
    let rng = StdRng::from_entropy();
    create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, Challenge, _, ProofWriter, C>(
        srs,
        pk,
        &[circuit],
        &[&[instances]],
        rng,
        &mut proof,
    )
    .map_err(|error| EngineError::Halo2 {
        reason: error.to_string(),
    })?;
    Ok(proof.finish())
}
