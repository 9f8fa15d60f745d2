//! The workspace's own prover, on any device.

use std::sync::Arc;

use accel::Device;
use circuits::aggregation::AggregationInput;
use circuits::plonk::{ProofWriter, Transcript};
use circuits::recursion::prover_circuit;
use engine::{EngineOptions, Srs, Witness, lagrange_basis};
use halo2_proofs::plonk::ProvingKey;
use halo2_proofs::poly::commitment::ParamsProver;
use halo2_proofs::poly::kzg::commitment::ParamsKZG;
use halo2curves::bn256::{Bn256, G1Affine};
use keys::KeyStore;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rules::Fr;
use rules::statement::ROOT_INSTANCES;
use rules::statement::SHARD_INSTANCES;
use rules::witness::ShardInput;

use super::{
    Engine, EngineError, KEEP_KEYS_FROM_BYTES, Phase, Pipeline, Prepare, Proof, RootProof, Task, guarded,
    shard_circuit,
};

/// Of the device's memory one in so many bytes may hold cosets of a key, where it does not hold both circuits: 768 MiB of 24
/// GiB. The recursion circuit's take 512 MiB at 2^19 rows, and save half of the quotient's transforms.
const COSETS_SHARE: u64 = 32;

/// How an [`OwnEngine`] works.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnOptions {
    /// Device memory that it may use, in bytes; none: what is free on the device when a circuit is loaded.
    pub memory_bytes: Option<u64>,
    /// Of that, what multiples of the bases may take, in bytes.
    pub table_bytes_max: u64,
    /// Keep both circuits on the device, and the cosets of their keys as far as its memory goes; none: where there are 64 GiB.
    /// Otherwise cosets take a thirty-second part of the memory at most.
    pub keep_both: Option<bool>,
    /// Name the gate, lookup or cells that a witness breaks. Slow.
    pub debug: bool,
}

/// The engine of the `engine` crate on a device, for both circuits.
///
/// Unless it is told to keep both, it holds one circuit on the device at a time.
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
            self.shard = Some(self.load(&srs, &pk, SHARD_INSTANCES)?);
            self.keys.release_shard();
            self.shard.as_ref().map_or(Ok(()), engine::Engine::reserve)?;
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
            self.aggregation = Some(self.load(&srs, &pk, ROOT_INSTANCES.len())?);
            self.keys.release_aggregation();
            self.aggregation
                .as_ref()
                .map_or(Ok(()), engine::Engine::reserve)?;
        }
        Ok(())
    }

    fn keeps_both(&self) -> Result<bool, EngineError> {
        if let Some(keep) = self.options.keep_both {
            return Ok(keep);
        }
        Ok(self.memory_bytes()? >= KEEP_KEYS_FROM_BYTES)
    }

    /// Memory that there is for both circuits.
    fn memory_bytes(&self) -> Result<u64, EngineError> {
        match self.options.memory_bytes {
            Some(bytes) => Ok(bytes),
            None => Ok(self.device.memory().map_err(engine::EngineError::from)?.total),
        }
    }

    /// Puts a circuit on the device; the host's copy of its key may go once this returns.
    fn load(
        &self,
        srs: &ParamsKZG<Bn256>,
        pk: &ProvingKey<G1Affine>,
        instances: usize,
    ) -> Result<engine::Engine<D>, EngineError> {
        let free = self.device.memory().map_err(engine::EngineError::from)?.free;
        let options = EngineOptions {
            memory_bytes_max: Some(self.options.memory_bytes.map_or(free, |bytes| bytes.min(free))),
            table_bytes_max: self.options.table_bytes_max,
            cosets_bytes_max: match self.keeps_both()? {
                true => u64::MAX,
                false => self.memory_bytes()? / COSETS_SHARE,
            },
            instances: Some(instances),
            debug: self.options.debug,
        };
        let lagrange = lagrange_basis(srs);
        let srs = Srs {
            powers: srs.get_g(),
            lagrange: &lagrange,
        };
        Ok(engine::Engine::new(self.device.clone(), srs, pk, options)?)
    }

    /// The second stage of either circuit: the proof, not yet verified.
    fn write(
        &self,
        circuit: &Option<engine::Engine<D>>,
        instances: &[Fr],
        witness: Witness,
        transcript: Transcript,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Vec<u8>, EngineError> {
        let engine = circuit.as_ref().expect("the circuit was loaded");
        let mut proof = ProofWriter::new(transcript);
        // Blinding factors: from the system's entropy.
        let mut rng = StdRng::from_entropy();
        engine.prove(witness, &[instances], &mut rng, &mut proof, &mut |phase| {
            progress(Phase::Proving(phase));
        })?;
        Ok(proof.finish())
    }

    fn shard(
        &mut self,
        instances: &[Fr],
        witness: Witness,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Proof, EngineError> {
        progress(Phase::LoadKeys);
        self.load_shard()?;
        let bytes = self.write(&self.shard, instances, witness, Transcript::Poseidon, progress)?;
        progress(Phase::Verify);
        let verified = self.keys.verifying_keys().verify_shard(instances, &bytes);
        verified.map_err(|error| EngineError::ProofInvalid(error.into()))?;
        Ok(Proof {
            bytes,
            accumulator: None,
        })
    }

    fn aggregation(
        &mut self,
        instances: &[Fr],
        witness: Witness,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Proof, EngineError> {
        progress(Phase::LoadKeys);
        self.load_aggregation()?;
        let bytes = self.write(&self.aggregation, instances, witness, Transcript::Evm, progress)?;
        progress(Phase::Verify);
        let verified = self.keys.verifying_keys().verify_root(instances, &bytes);
        verified.map_err(EngineError::ProofInvalid)?;
        Ok(Proof {
            bytes,
            accumulator: Some(std::array::from_fn(|limb| instances[limb])),
        })
    }
}

/// Computes witnesses.
#[derive(Clone)]
pub struct OwnPreparer {
    keys: Arc<KeyStore>,
}

/// A witness and its instances.
#[derive(Debug)]
pub struct Prepared {
    kind: Kind,
    instances: Vec<Fr>,
    witness: Witness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shard,
    Aggregation,
}

impl OwnPreparer {
    fn shard(&self, input: &ShardInput, progress: &mut dyn FnMut(Phase)) -> Result<Prepared, EngineError> {
        progress(Phase::Witness);
        let instances = input.instances();
        let circuit = shard_circuit(self.keys.preset(), input)?;
        progress(Phase::Proving(engine::Phase::Witness));
        Ok(Prepared {
            kind: Kind::Shard,
            witness: Witness::from_columns(circuit.into_columns().into()),
            instances,
        })
    }

    fn aggregation(
        &self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Prepared, EngineError> {
        progress(Phase::Witness);
        let circuit = prover_circuit(self.keys.preset(), self.keys.verifying_keys().shard(), input)
            .map_err(EngineError::Aggregation)?;
        let instances = circuit.instances().to_vec();
        progress(Phase::Proving(engine::Phase::Witness));
        Ok(Prepared {
            kind: Kind::Aggregation,
            witness: Witness::from_columns(vec![circuit.into_column(self.keys.preset().aggregation_k)]),
            instances,
        })
    }
}

impl Prepare for OwnPreparer {
    type Prepared = Prepared;

    fn prepare(&self, task: &Task, progress: &mut dyn FnMut(Phase)) -> Result<Prepared, EngineError> {
        guarded(|| match task {
            Task::Shard(input) => self.shard(input, progress),
            Task::Aggregation(input) => self.aggregation(input, progress),
        })
    }
}

impl<D: Device + 'static> Pipeline for OwnEngine<D> {
    type Preparer = OwnPreparer;

    fn preparer(&self) -> OwnPreparer {
        OwnPreparer {
            keys: self.keys.clone(),
        }
    }

    fn prove(&mut self, prepared: Prepared, progress: &mut dyn FnMut(Phase)) -> Result<Proof, EngineError> {
        guarded(|| match prepared.kind {
            Kind::Shard => self.shard(&prepared.instances, prepared.witness, progress),
            Kind::Aggregation => self.aggregation(&prepared.instances, prepared.witness, progress),
        })
    }

    fn rest(&mut self) {
        if !self.keeps_both().unwrap_or(false) {
            (self.shard, self.aggregation) = (None, None);
        }
        self.device.release_unused();
    }
}

impl<D: Device + 'static> Engine for OwnEngine<D> {
    fn prove_shard(
        &mut self,
        input: &ShardInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Vec<u8>, EngineError> {
        let prepared = guarded(|| self.preparer().shard(input, progress))?;
        Ok(self.prove(prepared, progress)?.bytes)
    }

    fn prove_aggregation(
        &mut self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<RootProof, EngineError> {
        let prepared = guarded(|| self.preparer().aggregation(input, progress))?;
        let proof = self.prove(prepared, progress)?;
        Ok(RootProof {
            proof: proof.bytes,
            accumulator: proof.accumulator.expect("an aggregation's proof has it"),
        })
    }
}
