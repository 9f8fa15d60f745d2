//! halo2-axiom's own prover on the CPU.

use std::sync::Arc;

use circuits::Fr;
use circuits::aggregation::{ACCUMULATOR_LIMBS, AggregationInput};
use circuits::keys::KeyStore;
use circuits::recursion::prover_circuit;
use circuits::shard::ShardCircuit;
use circuits::witness::ShardInput;
use halo2_proofs::plonk::{Circuit, ProvingKey, create_proof};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::ProverSHPLONK;
use halo2_proofs::transcript::{EncodedChallenge, TranscriptWrite, TranscriptWriterBuffer};
use halo2curves::bn256::{Bn256, G1Affine};
use rand::SeedableRng;
use rand::rngs::StdRng;
use snark_verifier_sdk::NativeLoader;
use snark_verifier_sdk::halo2::{POSEIDON_SPEC, PoseidonTranscript};
use snark_verifier_sdk::snark_verifier::system::halo2::transcript::evm::EvmTranscript;

use super::{Engine, EngineError, KEEP_KEYS_FROM_BYTES, Phase, RootProof, guarded};
use crate::memory;

/// The stock prover. Shard proofs have snark-verifier's Poseidon transcript, which the aggregation circuit reads;
/// the root proof has the EVM's Keccak one. Both open by SHPLONK.
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
        let expected = self.keys.preset().shard.capacity;
        if input.steps.len() != expected {
            return Err(EngineError::ShardSize {
                found: input.steps.len(),
                expected,
            });
        }
        progress(Phase::LoadKeys);
        let srs = self.keys.shard_srs().map_err(EngineError::Keys)?;
        let pk = self.keys.shard_pk().map_err(EngineError::Keys)?;
        progress(Phase::Witness);
        let instances = input.instances();
        let circuit = ShardCircuit::new(self.keys.preset().shard, Some(input)).map_err(|error| {
            EngineError::ShardInput {
                reason: error.to_string(),
            }
        })?;
        progress(Phase::Prove);
        let mut transcript =
            PoseidonTranscript::<NativeLoader, Vec<u8>>::from_spec(Vec::new(), POSEIDON_SPEC.clone());
        create(&srs, &pk, circuit, &instances, &mut transcript)?;
        let proof = transcript.finalize();
        progress(Phase::Verify);
        self.keys
            .shard_verifier()
            .verify(&instances, &proof)
            .map_err(EngineError::ProofInvalid)?;
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
        let circuit = prover_circuit(self.keys.preset(), self.keys.shard_verifier(), input)
            .map_err(EngineError::Aggregation)?;
        let instances = circuit.instances().to_vec();
        progress(Phase::Prove);
        let mut transcript = EvmTranscript::<G1Affine, NativeLoader, Vec<u8>, Vec<u8>>::init(Vec::new());
        create(&srs, &pk, circuit, &instances, &mut transcript)?;
        let proof = transcript.finalize();
        progress(Phase::Verify);
        self.keys
            .root_verifier()
            .verify(&instances, &proof)
            .map_err(EngineError::ProofInvalid)?;
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
fn create<C, E, T>(
    srs: &ParamsKZG<Bn256>,
    pk: &ProvingKey<G1Affine>,
    circuit: C,
    instances: &[Fr],
    transcript: &mut T,
) -> Result<(), EngineError>
where
    C: Circuit<Fr>,
    E: EncodedChallenge<G1Affine>,
    T: TranscriptWrite<G1Affine, E>,
{
    // Blinding factors: from the system's entropy.
    let rng = StdRng::from_entropy();
    create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, E, _, T, C>(
        srs,
        pk,
        &[circuit],
        &[&[instances]],
        rng,
        transcript,
    )
    .map_err(|error| EngineError::Halo2 {
        reason: error.to_string(),
    })
}
