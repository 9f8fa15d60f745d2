//! The workspace's own prover, on any device.

use std::sync::Arc;

use accel::Device;
use circuits::Fr;
use circuits::aggregation::{ACCUMULATOR_LIMBS, AggregationInput, prover_circuit};
use circuits::keys::KeyStore;
use circuits::shard::ShardCircuit;
use circuits::witness::ShardInput;
use engine::{EngineOptions, Srs, lagrange_basis};
use halo2_proofs::plonk::{Circuit, ProvingKey};
use halo2_proofs::poly::commitment::ParamsProver;
use halo2_proofs::poly::kzg::commitment::ParamsKZG;
use halo2_proofs::transcript::{EncodedChallenge, TranscriptWrite, TranscriptWriterBuffer};
use halo2curves::bn256::{Bn256, G1Affine};
use rand::SeedableRng;
use rand::rngs::StdRng;
use snark_verifier_sdk::NativeLoader;
use snark_verifier_sdk::halo2::{POSEIDON_SPEC, PoseidonTranscript};
use snark_verifier_sdk::snark_verifier::system::halo2::transcript::evm::EvmTranscript;

use super::{Engine, EngineError, KEEP_KEYS_FROM_BYTES, Phase, RootProof, guarded};

/// How an [`OwnEngine`] works.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnOptions {
    /// Device memory that it may use, in bytes; none: what is free on the device when a circuit is loaded.
    pub memory_bytes: Option<u64>,
    /// Of that, what multiples of the bases may take, in bytes.
    pub table_bytes_max: u64,
    /// Name the gate, lookup or cells that a witness breaks. Slow.
    pub debug: bool,
}

/// The engine of the `engine` crate on a device, for both circuits. Transcripts are those of
/// [`StockEngine`](super::StockEngine), and so are the verifiers.
///
/// With less than 64 GiB it holds one circuit on the device at a time.
pub struct OwnEngine<D: Device> {
    keys: Arc<KeyStore>,
    device: Arc<D>,
    options: OwnOptions,
    shard: Option<engine::Engine<D>>,
    aggregation: Option<engine::Engine<D>>,
}

impl<D: Device> OwnEngine<D> {
    /// An engine on that device. Keys are loaded when the first task of their circuit comes.
    pub fn new(keys: Arc<KeyStore>, device: Arc<D>, options: OwnOptions) -> Self {
        Self {
            keys,
            device,
            options,
            shard: None,
            aggregation: None,
        }
    }

    fn load_shard(&mut self) -> Result<(), EngineError> {
        if self.shard.is_none() {
            if !self.keeps_both()? {
                self.aggregation = None;
            }
            let srs = self.keys.shard_srs().map_err(EngineError::Keys)?;
            let pk = self.keys.shard_pk().map_err(EngineError::Keys)?;
            self.shard = Some(self.load(&srs, &pk)?);
            self.keys.release_shard();
        }
        Ok(())
    }

    fn load_aggregation(&mut self) -> Result<(), EngineError> {
        if self.aggregation.is_none() {
            if !self.keeps_both()? {
                self.shard = None;
            }
            let srs = self.keys.aggregation_srs().map_err(EngineError::Keys)?;
            let pk = self.keys.aggregation_pk().map_err(EngineError::Keys)?;
            self.aggregation = Some(self.load(&srs, &pk)?);
            self.keys.release_aggregation();
        }
        Ok(())
    }

    fn keeps_both(&self) -> Result<bool, EngineError> {
        let total = match self.options.memory_bytes {
            Some(bytes) => bytes,
            None => self.device.memory().map_err(engine::EngineError::from)?.total,
        };
        Ok(total >= KEEP_KEYS_FROM_BYTES)
    }

    /// Puts a circuit on the device; the host's copy of its key may go once this returns.
    fn load(
        &self,
        srs: &ParamsKZG<Bn256>,
        pk: &ProvingKey<G1Affine>,
    ) -> Result<engine::Engine<D>, EngineError> {
        let free = self.device.memory().map_err(engine::EngineError::from)?.free;
        let options = EngineOptions {
            memory_bytes_max: Some(self.options.memory_bytes.map_or(free, |bytes| bytes.min(free))),
            table_bytes_max: self.options.table_bytes_max,
            keep_cosets: self.keeps_both()?,
            debug: self.options.debug,
        };
        let lagrange = lagrange_basis(srs);
        let srs = Srs {
            powers: srs.get_g(),
            lagrange: &lagrange,
        };
        Ok(engine::Engine::new(self.device.clone(), srs, pk, options)?)
    }

    fn shard(&mut self, input: &ShardInput, progress: &mut dyn FnMut(Phase)) -> Result<Vec<u8>, EngineError> {
        let preset = *self.keys.preset();
        let expected = preset.shard.capacity;
        if input.steps.len() != expected {
            return Err(EngineError::ShardSize {
                found: input.steps.len(),
                expected,
            });
        }
        progress(Phase::LoadKeys);
        self.load_shard()?;
        progress(Phase::Witness);
        let instances = input.instances();
        let circuit =
            ShardCircuit::new(preset.shard, Some(input)).map_err(|error| EngineError::ShardInput {
                reason: error.to_string(),
            })?;
        let mut transcript =
            PoseidonTranscript::<NativeLoader, Vec<u8>>::from_spec(Vec::new(), POSEIDON_SPEC.clone());
        create(&self.shard, &circuit, &instances, &mut transcript, progress)?;
        let proof = transcript.finalize();
        progress(Phase::Verify);
        self.keys
            .shard_verifier()
            .verify(&instances, &proof)
            .map_err(EngineError::ProofInvalid)?;
        Ok(proof)
    }

    fn aggregation(
        &mut self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<RootProof, EngineError> {
        progress(Phase::LoadKeys);
        self.load_aggregation()?;
        progress(Phase::Witness);
        let (verifier, shape) = (self.keys.shard_verifier(), self.keys.aggregation_shape());
        let (circuit, instances) =
            prover_circuit(self.keys.preset(), verifier, shape, input).map_err(EngineError::Aggregation)?;
        let mut transcript = EvmTranscript::<G1Affine, NativeLoader, Vec<u8>, Vec<u8>>::init(Vec::new());
        create(&self.aggregation, &circuit, &instances, &mut transcript, progress)?;
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

impl<D: Device> Engine for OwnEngine<D> {
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
        guarded(|| self.aggregation(input, progress))
    }

    fn rest(&mut self) {
        if !self.keeps_both().unwrap_or(false) {
            (self.shard, self.aggregation) = (None, None);
        }
    }
}

/// Writes the proof of one circuit with one column of instances.
fn create<D, C, E, T>(
    engine: &Option<engine::Engine<D>>,
    circuit: &C,
    instances: &[Fr],
    transcript: &mut T,
    progress: &mut dyn FnMut(Phase),
) -> Result<(), EngineError>
where
    D: Device,
    C: Circuit<Fr>,
    E: EncodedChallenge<G1Affine>,
    T: TranscriptWrite<G1Affine, E>,
{
    let engine = engine.as_ref().expect("the circuit was loaded");
    // Blinding factors: from the system's entropy.
    let mut rng = StdRng::from_entropy();
    engine.prove_circuit(circuit, &[instances], &mut rng, transcript, &mut |phase| {
        progress(Phase::Proving(phase));
    })?;
    Ok(())
}
