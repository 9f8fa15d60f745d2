//! Keys of a preset: made once, cached on disk, loaded when they are needed.
//!
//! The cache is keyed by what the keys follow from (reference string, circuits, sizes), so code and keys cannot
//! disagree. Files are written whole under a lock and checked by digest when they are read.

mod file;
mod fingerprint;
mod generate;
mod lock;
mod plan;
mod verifying;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use halo2_proofs::{
    plonk::{ProvingKey, VerifyingKey},
    poly::{EvaluationDomain, kzg::commitment::ParamsKZG},
};
use halo2curves::{
    bn256::{Bn256, G1Affine},
    ff::PrimeField,
};

pub use file::FileError;
pub use fingerprint::fingerprint;
pub use generate::generate;
pub use verifying::{AGGREGATION_KEY_FILE, MANIFEST_FILE, SHARD_KEY_FILE, VerifyingKeys, VerifyingKeysError};

use crate::{
    manifest::Manifest,
    preset::Preset,
    recursion::RecursionCircuit,
    shard::{ShardCircuit, ShardCircuitError},
    srs::{SrsError, SrsSource},
};
use file::Kind;
use plan::{Halo2Keys, Plan};
use rules::digest::Digest;

/// Selectors that exclude each other share fixed columns: whoever verifies a proof pays for each of them.
pub const COMPRESS_SELECTORS: bool = true;

/// Environment variable that names the key folder.
pub const KEYS_VARIABLE: &str = "ROLLUP_PROVER_KEYS";

/// Told which phase is under way and what fraction of it is done; may be called from several threads.
pub type Progress<'a> = &'a (dyn Fn(KeyPhase, f32) + Sync);

/// What takes time when keys are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPhase {
    /// Waiting for another process that makes the same keys.
    Wait,
    /// Making, or reading and checking, the reference string of size `2^k`.
    Srs {
        /// Log2 of its size.
        k: u32,
    },
    /// The shard circuit's keys.
    ShardKeys,
    /// The aggregation circuit's keys.
    AggregationKeys,
}

/// Which keys to open, and from where.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Folder of the cache; it is made if need be.
    pub dir: PathBuf,
    /// Sizes.
    pub preset: Preset,
    /// Reference string.
    pub srs: SrsSource,
    /// Must be true for [`SrsSource::Development`], and for a file that holds the same SRS.
    pub allow_insecure: bool,
    /// The digest that the reference string must have ([`crate::srs::SrsId`]); any if none is given.
    pub srs_digest: Option<Digest>,
}

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The reference string was refused.
    #[error("reference string: {0}")]
    Srs(#[from] SrsError),
    /// A file of the cache cannot be used.
    #[error("key cache: {0}")]
    File(#[from] FileError),
    /// The preset's shard circuit does not exist.
    #[error("shard circuit: {0}")]
    Shard(#[from] ShardCircuitError),
    /// halo2 refused the circuit.
    #[error("keys of the {circuit} circuit: {reason}")]
    Keygen {
        /// Which circuit.
        circuit: &'static str,
        /// halo2's reason.
        reason: String,
    },
    /// There are no such keys, and none were to be made.
    #[error("no keys of preset {preset} in {dir}; make them with `keygen`")]
    Absent {
        /// The folder that was searched.
        dir: PathBuf,
        /// The preset's name.
        preset: &'static str,
    },
}

/// The keys of one preset. Verifying keys are in memory; proving keys and reference strings are read on first use.
#[derive(Debug)]
pub struct KeyStore {
    plan: Plan,
    verifying: Arc<VerifyingKeys>,
    shard: VerifyingKey<G1Affine>,
    aggregation: VerifyingKey<G1Affine>,
    loaded: Loaded,
}

#[derive(Debug, Default)]
struct Loaded {
    shard_srs: Slot<ParamsKZG<Bn256>>,
    shard_pk: Slot<ProvingKey<G1Affine>>,
    aggregation_srs: Slot<ParamsKZG<Bn256>>,
    aggregation_pk: Slot<ProvingKey<G1Affine>>,
}

type Slot<T> = Mutex<Option<Arc<T>>>;

/// The default key folder: `$ROLLUP_PROVER_KEYS`; else `target/keys` of the workspace when cargo runs the program; else
/// the user's cache folder.
pub fn default_dir() -> PathBuf {
    if let Some(dir) = variable(KEYS_VARIABLE) {
        return dir;
    }
    if let Some(package) = variable("CARGO_MANIFEST_DIR") {
        let workspace = package
            .ancestors()
            .filter(|dir| dir.join("Cargo.lock").is_file())
            .last();
        return workspace.unwrap_or(&package).join("target/keys");
    }
    user_cache().join("keys")
}

/// The folder of what is kept for a user: `rollup-prover` in `$XDG_CACHE_HOME`, else in `~/.cache`.
pub fn user_cache() -> PathBuf {
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("rollup-prover")
}

/// A folder that a variable of the environment names; an empty one names none.
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The digest of a verifying key: the value that halo2 puts first into every transcript under it, 32 bytes big endian.
/// It is a hash of the gates, the columns and all commitments of the key.
pub fn vk_digest(vk: &VerifyingKey<G1Affine>) -> Digest {
    let mut bytes = vk.transcript_repr().to_repr();
    bytes.reverse();
    Digest(bytes)
}

/// The key without what only proving reads: the tables of the FFT, which take hundreds of megabytes, and the
/// selectors, which the fixed commitments already cover. Digest and transcript stay the same.
fn without_tables(vk: &VerifyingKey<G1Affine>) -> VerifyingKey<G1Affine> {
    let full = vk.get_domain();
    let domain = EvaluationDomain {
        n: full.n,
        k: full.k,
        extended_k: full.extended_k,
        omega: full.omega,
        omega_inv: full.omega_inv,
        extended_omega: full.extended_omega,
        extended_omega_inv: full.extended_omega_inv,
        g_coset: full.g_coset,
        g_coset_inv: full.g_coset_inv,
        quotient_poly_degree: full.quotient_poly_degree,
        ifft_divisor: full.ifft_divisor,
        extended_ifft_divisor: full.extended_ifft_divisor,
        t_evaluations: full.t_evaluations.clone(),
        barycentric_weight: full.barycentric_weight,
        fft_data: HashMap::new(),
    };
    VerifyingKey::from_parts(
        domain,
        vk.fixed_commitments().clone(),
        vk.permutation().clone(),
        vk.cs().clone(),
        Vec::new(),
        vk.compress_selectors(),
    )
}

impl KeyStore {
    /// Opens the keys, making what is missing or damaged. Minutes when nothing is cached, about a second otherwise.
    /// Processes may race: one makes the keys, the others wait for it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(config: KeyConfig, progress: Progress<'_>) -> Result<Self, KeyError> {
        Self::open_plan(Plan::new(config)?, progress)
    }

    /// Sees to it that all keys are there, as [`Self::open`] does, and reads only what verifies: megabytes, and a
    /// fraction of a second where nothing is to be made.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn ensure(config: KeyConfig, progress: Progress<'_>) -> Result<Arc<VerifyingKeys>, KeyError> {
        let plan = Plan::new(config)?;
        match plan.load_verifying()? {
            Some(keys) => Ok(Arc::new(keys)),
            None => Ok(Self::open_plan(plan, progress)?.verifying),
        }
    }

    fn open_plan(plan: Plan, progress: Progress<'_>) -> Result<Self, KeyError> {
        if let Some(keys) = plan.load()? {
            return Ok(Self::new(plan, keys));
        }
        plan.check_size()?;
        let lock = plan.lock(progress)?;
        let keys = match plan.load()? {
            Some(keys) => keys,
            None => plan.make(progress)?,
        };
        let keys = Self::new(plan, keys);
        drop(lock);
        Ok(keys)
    }

    /// Opens keys that are cached, and makes none.
    ///
    /// # Errors
    /// [`KeyError::Absent`] when there are none, or another [`KeyError`].
    pub fn load(config: KeyConfig) -> Result<Self, KeyError> {
        let plan = Plan::new(config)?;
        match plan.load()? {
            Some(keys) => Ok(Self::new(plan, keys)),
            None => Err(KeyError::Absent {
                dir: plan.config.dir.clone(),
                preset: plan.config.preset.name,
            }),
        }
    }

    fn new(plan: Plan, keys: Halo2Keys) -> Self {
        let verifying = plan.verifying(&keys);
        plan.keep(&verifying);
        Self {
            plan,
            verifying: Arc::new(verifying),
            shard: without_tables(&keys.shard),
            aggregation: without_tables(&keys.aggregation),
            loaded: Loaded::default(),
        }
    }

    /// What verifies proofs under these keys.
    pub fn verifying_keys(&self) -> &Arc<VerifyingKeys> {
        &self.verifying
    }

    /// The sizes.
    pub fn preset(&self) -> &Preset {
        &self.plan.config.preset
    }

    /// Where the keys and their `manifest.json` lie.
    pub fn folder(&self) -> PathBuf {
        self.plan.folder()
    }

    /// Digests and sizes of these keys.
    pub fn manifest(&self) -> &Manifest {
        self.verifying.manifest()
    }

    /// halo2's verifying key of the shard circuit, which witnesses are laid out by.
    pub fn shard_vk(&self) -> &VerifyingKey<G1Affine> {
        &self.shard
    }

    /// halo2's verifying key of the aggregation circuit likewise.
    pub fn aggregation_vk(&self) -> &VerifyingKey<G1Affine> {
        &self.aggregation
    }

    /// The reference string of the shard circuit's size. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn shard_srs(&self) -> Result<Arc<ParamsKZG<Bn256>>, KeyError> {
        fill(&self.loaded.shard_srs, || {
            self.plan.read_srs(self.plan.config.preset.shard.k)
        })
    }

    /// The reference string of the aggregation circuit's size. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn aggregation_srs(&self) -> Result<Arc<ParamsKZG<Bn256>>, KeyError> {
        fill(&self.loaded.aggregation_srs, || {
            self.plan.read_srs(self.plan.config.preset.aggregation_k)
        })
    }

    /// The shard circuit's proving key. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn shard_pk(&self) -> Result<Arc<ProvingKey<G1Affine>>, KeyError> {
        fill(&self.loaded.shard_pk, || {
            self.plan
                .read_pk::<ShardCircuit>(Kind::ShardPk, self.plan.shard_owner())
        })
    }

    /// The aggregation circuit's proving key. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn aggregation_pk(&self) -> Result<Arc<ProvingKey<G1Affine>>, KeyError> {
        let owner = self
            .plan
            .aggregation_owner(self.manifest().aggregation_circuit_digest);
        fill(&self.loaded.aggregation_pk, || {
            self.plan.read_pk::<RecursionCircuit>(Kind::AggregationPk, owner)
        })
    }

    /// Forgets the shard proving key and reference string, so that their memory is free once nobody uses them.
    pub fn release_shard(&self) {
        clear(&self.loaded.shard_pk);
        clear(&self.loaded.shard_srs);
    }

    /// Forgets the aggregation proving key and reference string likewise.
    pub fn release_aggregation(&self) {
        clear(&self.loaded.aggregation_pk);
        clear(&self.loaded.aggregation_srs);
    }
}

fn fill<T>(slot: &Slot<T>, read: impl FnOnce() -> Result<T, KeyError>) -> Result<Arc<T>, KeyError> {
    // A slot is set last, so a panic of another thread leaves it as it was.
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = &*slot {
        return Ok(value.clone());
    }
    Ok(slot.insert(Arc::new(read()?)).clone())
}

fn clear<T>(slot: &Slot<T>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl fmt::Display for KeyPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => write!(f, "waiting for another process that makes keys"),
            Self::Srs { k } => write!(f, "reference string, 2^{k} points"),
            Self::ShardKeys => write!(f, "shard keys"),
            Self::AggregationKeys => write!(f, "aggregation keys"),
        }
    }
}
