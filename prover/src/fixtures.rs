//! A real root proof, made once and kept: for the tests of every crate that needs one.
//!
//! Proving takes minutes on two cores, so the proof lies in the key cache, under the digest of its keys' manifest:
//! other keys make another. Processes may race: one proves, the others wait for it. The keys' reference string is
//! the insecure development one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use circuits::aggregation::{AggregationInput, ChildProof};
use circuits::preset::Preset;
use keys::whole_file;
use keys::{KeyConfig, KeyError, KeyStore, VerifyingKeys, default_dir};
use rules::Fr;
use rules::batch::{Batch, execute};
use rules::format::Format;
use rules::operation::RollupId;
use rules::shards::shards;
use rules::state::State;
use rules::statement::{ACCUMULATOR_LIMBS, root_statement};
use rules::witness::ShardInput;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use srs::SrsSource;

use crate::engine::{CpuDevice, Engine, EngineError, OwnEngine, OwnOptions};

mod batch;

pub use batch::{DEPOSITOR, FEE_ADDRESS, STRANGER, batch, entries, fee_key};

/// The rollup of the fixture: the contract that a fresh anvil (chain 31337) makes with the second transaction of its
/// first account.
pub const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [
        0xe7, 0xf1, 0x72, 0x5e, 0x77, 0x34, 0xce, 0x28, 0x8f, 0x83, 0x67, 0xe1, 0xbb, 0x14, 0x3e, 0x90, 0xbb,
        0x3f, 0x05, 0x12,
    ],
};
/// The time of the fixture's batch, Unix seconds: in November 2023. A chain whose contract takes it has the time of then.
pub const TIME: u64 = 1_700_000_000;
/// Of the proofs that are kept. The version is raised when what is kept changes: its form, or the batch.
const FORMAT: Format = Format {
    name: "fixture",
    version: 2,
    bytes_max: 16 << 20,
};

/// A batch, its shards' proofs and its root proof.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The batch: number 0 of [`ROLLUP_ID`], from the empty state.
    pub batch: Batch,
    /// What each shard proof was made from, padding included; `N` of the preset.
    pub shard_inputs: Vec<ShardInput>,
    /// The shard proofs, in order.
    pub shard_proofs: Vec<ChildProof>,
    /// The 17 instances of the root proof (P-8.4).
    pub instances: Vec<Fr>,
    /// The root proof.
    pub proof: Vec<u8>,
    /// Posted bytes of stream A (P-6.8).
    pub posted_a: Vec<u8>,
    /// Posted bytes of stream B.
    pub posted_b: Vec<u8>,
}

/// Why there is no fixture.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// There are no keys.
    #[error("the fixture's keys")]
    Keys(#[from] KeyError),
    /// A proof could not be made.
    #[error("the fixture's proof")]
    Engine(#[from] EngineError),
    /// The sample batch breaks a rule of the protocol.
    #[error("the fixture's batch: {0}")]
    Batch(String),
    /// A file of the cache cannot be used.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What takes long to make.
#[derive(Serialize, Deserialize)]
struct Proofs {
    shards: Vec<Vec<u8>>,
    accumulator: Vec<[u8; 32]>,
    root: Vec<u8>,
}

/// The keys of a preset from the default key folder, over the development SRS; made if need be.
///
/// # Errors
/// [`KeyError`].
pub fn keys(preset: Preset) -> Result<Arc<KeyStore>, KeyError> {
    let config = KeyConfig {
        dir: default_dir(),
        preset,
        srs: SrsSource::Development,
        allow_insecure: true,
        srs_digest: None,
    };
    KeyStore::open(config, &|_, _| {}).map(Arc::new)
}

/// The fixture of a preset, from the default key folder; made if need be.
///
/// # Errors
/// [`FixtureError`].
pub fn root_proof(preset: Preset) -> Result<Fixture, FixtureError> {
    let keys = keys(preset)?;
    let mut fixture = statement(preset)?;
    let path = path(&default_dir(), &keys);
    let lock_path = path.with_extension("lock");
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| FixtureError::Io { path, source }
    };
    let lock = File::create(&lock_path).map_err(io(&lock_path))?;
    lock.lock().map_err(io(&lock_path))?;
    let cached = match fs::read(&path) {
        Ok(bytes) => FORMAT
            .decode(&bytes)
            .ok()
            .filter(|proofs| fixture.fill(keys.verifying_keys(), proofs)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(&path)(error)),
    };
    if cached.is_none() {
        let proofs = prove(&keys, &fixture)?;
        whole_file::write(&path, &FORMAT.encode(&proofs, 0)).map_err(io(&path))?;
        assert!(
            fixture.fill(keys.verifying_keys(), &proofs),
            "the engine verifies the proofs that it makes"
        );
    }
    Ok(fixture)
}

/// The batch and what its proofs state, without proofs.
fn statement(preset: Preset) -> Result<Fixture, FixtureError> {
    let broken = |error: &dyn std::fmt::Display| FixtureError::Batch(error.to_string());
    let batch = batch(&preset).map_err(|error| broken(&error))?;
    let executed = execute(&mut State::default(), &batch).map_err(|error| broken(&error))?;
    let sharded =
        shards(&batch, &executed, preset.shard.shape, preset.children).map_err(|error| broken(&error))?;
    Ok(Fixture {
        batch,
        shard_inputs: sharded.shards,
        shard_proofs: Vec::new(),
        instances: Vec::new(),
        proof: Vec::new(),
        posted_a: sharded.posted_a,
        posted_b: sharded.posted_b,
    })
}

/// Makes the proofs of a fixture.
fn prove(keys: &Arc<KeyStore>, fixture: &Fixture) -> Result<Proofs, FixtureError> {
    let mut engine = OwnEngine::new(keys.clone(), Arc::new(CpuDevice::new()), OwnOptions::default());
    let mut children = Vec::new();
    for input in &fixture.shard_inputs {
        let proof = engine.prove_shard(input, &mut |_| {})?;
        children.push(ChildProof {
            instances: input.instances(),
            proof,
        });
    }
    let shards = children.iter().map(|child| child.proof.clone()).collect();
    let root = engine.prove_aggregation(&AggregationInput { children }, &mut |_| {})?;
    let accumulator = root.accumulator.iter().map(rules::field::to_be).collect();
    Ok(Proofs {
        shards,
        accumulator,
        root: root.proof,
    })
}

impl Fixture {
    /// Takes the proofs in if they prove this fixture's statement; says whether they do. The cache is only a file.
    fn fill(&mut self, keys: &VerifyingKeys, proofs: &Proofs) -> bool {
        if proofs.shards.len() != self.shard_inputs.len() || proofs.accumulator.len() != ACCUMULATOR_LIMBS {
            return false;
        }
        let statements: Vec<Vec<Fr>> = self.shard_inputs.iter().map(ShardInput::instances).collect();
        let verifies = |(instances, proof): (&Vec<Fr>, &Vec<u8>)| keys.verify_shard(instances, proof).is_ok();
        let references: Vec<&[Fr]> = statements.iter().map(Vec::as_slice).collect();
        let Ok(statement) = root_statement(&references, keys.manifest().children) else {
            return false;
        };
        let limbs = proofs
            .accumulator
            .iter()
            .map(rules::field::from_be)
            .collect::<Result<Vec<Fr>, _>>();
        let Ok(mut instances) = limbs else { return false };
        instances.extend(statement.to_instances());
        if !statements.iter().zip(&proofs.shards).all(verifies)
            || keys.verify_root(&instances, &proofs.root).is_err()
        {
            return false;
        }
        let child = |(instances, proof): (Vec<Fr>, &Vec<u8>)| ChildProof {
            instances,
            proof: proof.clone(),
        };
        self.shard_proofs = statements.into_iter().zip(&proofs.shards).map(child).collect();
        self.instances = instances;
        self.proof = proofs.root.clone();
        true
    }
}

/// Where the proofs of these keys lie.
fn path(dir: &Path, keys: &KeyStore) -> PathBuf {
    let manifest = serde_json::to_vec(keys.manifest()).expect("a manifest is plain data");
    let digest = Sha256::digest(manifest);
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    dir.join(format!("{}-{hex}.fixture", keys.preset().name))
}
