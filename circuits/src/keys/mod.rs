//! Keys of a preset: made once, cached on disk, loaded when they are needed.
//!
//! The cache is keyed by what the keys follow from (reference string, circuits, sizes), so code and keys cannot
//! disagree. Files are written whole under a lock and checked by digest when they are read.

mod file;
mod fingerprint;
mod generate;

use std::{
    fmt,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use halo2_proofs::{
    SerdeFormat,
    plonk::{Circuit, ProvingKey, VerifyingKey},
    poly::kzg::commitment::ParamsKZG,
};
use halo2curves::{
    bn256::{Bn256, Fr, G1Affine},
    ff::PrimeField,
};
use snark_verifier_sdk::halo2::aggregation::AggregationCircuit;

pub use file::FileError;
pub use fingerprint::fingerprint;
pub use generate::generate;

use crate::{
    aggregation::{config_params, keygen_circuit, shape},
    manifest::{AggregationShape, Digest, Manifest, PROTOCOL_VERSION},
    preset::Preset,
    shard::{ShardCircuit, ShardCircuitError},
    srs::{Srs, SrsError, SrsId, SrsSource},
    verify::{RootVerifier, ShardVerifier},
};
use file::Kind;
use generate::{make_srs, read_srs, srs_id, write_srs};

/// Raised by hand when the aggregation circuit changes while its inputs (shard key, `N`, sizes) stay: it keys the cache.
/// The test `the_aggregation_circuit_is_pinned` fails until it is.
pub const AGGREGATION_REVISION: u32 = 1;

/// The aggregation pays about 140,000 cells for each of a child's fixed columns, so the shard's selectors are compressed.
/// Those of the aggregation are all on in the same rows: nothing to gain.
pub const COMPRESS_SHARD_SELECTORS: bool = true;

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
    /// Must be true for [`SrsSource::Development`].
    pub allow_insecure: bool,
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
    /// The manifest cannot be read, or does not belong to the keys beside it.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
    config: KeyConfig,
    srs: SrsId,
    folder: Folder,
    manifest: Manifest,
    shard: ShardVerifier,
    root: RootVerifier,
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
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
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
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache
        .unwrap_or_else(std::env::temp_dir)
        .join("rollup-prover/keys")
}

/// The digest of a verifying key: the value that halo2 puts first into every transcript under it, 32 bytes big endian.
/// It is a hash of the gates, the columns and all commitments of the key.
pub fn vk_digest(vk: &VerifyingKey<G1Affine>) -> Digest {
    let mut bytes = vk.transcript_repr().to_repr();
    bytes.reverse();
    Digest(bytes)
}

impl KeyStore {
    /// Opens the keys, making what is missing. Minutes when nothing is cached, about a second otherwise. Processes may
    /// race: one makes the keys, the others wait for it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(config: KeyConfig, progress: Progress<'_>) -> Result<Self, KeyError> {
        let plan = Plan::new(config)?;
        if let Some(store) = plan.load()? {
            return Ok(store);
        }
        let _lock = plan.lock(progress)?;
        if let Some(store) = plan.load()? {
            return Ok(store);
        }
        plan.generate(progress)?;
        let Plan { config, folder, .. } = &plan;
        plan.load()?.ok_or_else(|| KeyError::Absent {
            dir: folder.path.clone(),
            preset: config.preset.name,
        })
    }

    /// Opens keys that are cached, and makes none.
    ///
    /// # Errors
    /// [`KeyError::Absent`] when there are none, or another [`KeyError`].
    pub fn load(config: KeyConfig) -> Result<Self, KeyError> {
        let plan = Plan::new(config)?;
        let Plan { config, .. } = &plan;
        plan.load()?.ok_or_else(|| KeyError::Absent {
            dir: config.dir.clone(),
            preset: config.preset.name,
        })
    }

    /// The sizes.
    pub fn preset(&self) -> &Preset {
        &self.config.preset
    }

    /// Digests and sizes of these keys.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The shard circuit's verifying key.
    pub fn shard_vk(&self) -> &VerifyingKey<G1Affine> {
        self.shard.vk()
    }

    /// The aggregation circuit's verifying key.
    pub fn aggregation_vk(&self) -> &VerifyingKey<G1Affine> {
        self.root.vk()
    }

    /// Verifies shard proofs.
    pub fn shard_verifier(&self) -> &ShardVerifier {
        &self.shard
    }

    /// Verifies root proofs, and renders their Solidity verifier.
    pub fn root_verifier(&self) -> &RootVerifier {
        &self.root
    }

    /// The shape of the aggregation circuit, for [`crate::aggregation::prover_circuit`].
    pub fn aggregation_shape(&self) -> &AggregationShape {
        &self.manifest.aggregation
    }

    /// The reference string of the shard circuit's size. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn shard_srs(&self) -> Result<Arc<ParamsKZG<Bn256>>, KeyError> {
        fill(&self.loaded.shard_srs, || {
            self.read_srs(self.config.preset.shard.k)
        })
    }

    /// The reference string of the aggregation circuit's size. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn aggregation_srs(&self) -> Result<Arc<ParamsKZG<Bn256>>, KeyError> {
        fill(&self.loaded.aggregation_srs, || {
            self.read_srs(self.config.preset.aggregation_k)
        })
    }

    /// The shard circuit's proving key. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn shard_pk(&self) -> Result<Arc<ProvingKey<G1Affine>>, KeyError> {
        fill(&self.loaded.shard_pk, || {
            self.folder
                .read_pk::<ShardCircuit>(Kind::ShardPk, self.folder.shard_owner(), ())
        })
    }

    /// The aggregation circuit's proving key: gigabytes. Read on first use, then shared.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn aggregation_pk(&self) -> Result<Arc<ProvingKey<G1Affine>>, KeyError> {
        fill(&self.loaded.aggregation_pk, || {
            let shape = &self.manifest.aggregation;
            let owner = self.folder.aggregation_owner(shape);
            self.folder
                .read_pk::<AggregationCircuit>(Kind::AggregationPk, owner, config_params(shape))
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

    fn read_srs(&self, k: u32) -> Result<ParamsKZG<Bn256>, KeyError> {
        Ok(read_srs(&srs_path(&self.config.dir, self.srs, k), k, self.srs)?.params)
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

fn srs_path(dir: &Path, id: SrsId, k: u32) -> PathBuf {
    dir.join(format!("{}-k{k}.srs", &id.digest.to_hex()[..16]))
}

/// The folder of one set of keys.
#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    identity: Digest,
}

impl Folder {
    fn file(&self, kind: Kind) -> PathBuf {
        self.path.join(match kind {
            Kind::Srs => "srs",
            Kind::ShardPk => "shard.pk",
            Kind::ShardVk => "shard.vk",
            Kind::AggregationPk => "aggregation.pk",
            Kind::AggregationVk => "aggregation.vk",
        })
    }

    fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    fn shard_owner(&self) -> Digest {
        self.identity
    }

    /// Binds the aggregation's files to the shape in the manifest.
    fn aggregation_owner(&self, shape: &AggregationShape) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/aggregation-keys/v1");
        hasher.update(&self.identity.0);
        hasher.update(&postcard::to_stdvec(shape).expect("a shape encodes"));
        Digest(*hasher.finalize().as_bytes())
    }

    fn write_keys(
        &self,
        kinds: [Kind; 2],
        owner: Digest,
        pk: &ProvingKey<G1Affine>,
    ) -> Result<(), FileError> {
        file::write(
            &self.file(kinds[0]),
            kinds[0],
            owner,
            |mut out: &mut dyn Write| pk.write(&mut out, SerdeFormat::RawBytesUnchecked),
        )?;
        file::write(
            &self.file(kinds[1]),
            kinds[1],
            owner,
            |mut out: &mut dyn Write| pk.get_vk().write(&mut out, SerdeFormat::RawBytesUnchecked),
        )
    }

    fn read_vk<C: Circuit<Fr>>(
        &self,
        kind: Kind,
        owner: Digest,
        params: C::Params,
    ) -> Result<VerifyingKey<G1Affine>, FileError> {
        let path = self.file(kind);
        let mut reader = file::open(&path, kind, owner)?;
        VerifyingKey::read::<_, C>(&mut reader, SerdeFormat::RawBytesUnchecked, params)
            .map_err(|source| FileError::Io { path, source })
    }

    /// The digest was checked, so the payload is what this code wrote and halo2's reader, which panics on other bytes, may take it.
    fn read_pk<C: Circuit<Fr>>(
        &self,
        kind: Kind,
        owner: Digest,
        params: C::Params,
    ) -> Result<ProvingKey<G1Affine>, KeyError> {
        let path = self.file(kind);
        let mut reader = file::open(&path, kind, owner)?;
        ProvingKey::read::<_, C>(&mut reader, SerdeFormat::RawBytesUnchecked, params)
            .map_err(|source| FileError::Io { path, source }.into())
    }
}

/// What is to be opened: all that the keys follow from.
struct Plan {
    config: KeyConfig,
    srs: SrsId,
    shard_circuit: Digest,
    folder: Folder,
}

impl Plan {
    fn new(config: KeyConfig) -> Result<Self, KeyError> {
        let Preset {
            name,
            shard,
            children,
            aggregation_k,
            lookup_bits,
        } = config.preset;
        let srs = srs_id(&config.srs, config.allow_insecure)?;
        let shard_circuit =
            fingerprint(shard.k, &ShardCircuit::new(shard, None)?).map_err(|error| KeyError::Keygen {
                circuit: "shard",
                reason: error.to_string(),
            })?;
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/keys/v1");
        hasher.update(&srs.digest.0);
        hasher.update(&shard_circuit.0);
        for number in [
            u64::from(PROTOCOL_VERSION),
            u64::from(AGGREGATION_REVISION),
            u64::from(COMPRESS_SHARD_SELECTORS),
            u64::from(shard.k),
            shard.capacity as u64,
            children as u64,
            u64::from(aggregation_k),
            lookup_bits as u64,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        let identity = Digest(*hasher.finalize().as_bytes());
        let path = config.dir.join(format!("{name}-{}", &identity.to_hex()[..16]));
        Ok(Self {
            config,
            srs,
            shard_circuit,
            folder: Folder { path, identity },
        })
    }

    /// Holds the folder's lock until the file is dropped.
    fn lock(&self, progress: Progress<'_>) -> Result<File, KeyError> {
        fs::create_dir_all(&self.folder.path).map_err(|source| FileError::Io {
            path: self.folder.path.clone(),
            source,
        })?;
        let path = self.config.dir.join("lock");
        let io = |source| FileError::Io {
            path: path.clone(),
            source,
        };
        let file = File::create(&path).map_err(io)?;
        if file.try_lock().is_err() {
            progress(KeyPhase::Wait, 0.0);
            file.lock().map_err(io)?;
            progress(KeyPhase::Wait, 1.0);
        }
        Ok(file)
    }

    /// The keys, if they are cached and nothing that can be seen at once is wrong with them. Files that are damaged
    /// count as absent, so [`KeyStore::open`] makes them again.
    fn load(&self) -> Result<Option<KeyStore>, KeyError> {
        match self.try_load() {
            Ok(store) => Ok(Some(store)),
            Err(KeyError::File(FileError::Corrupt { path, found })) => {
                tracing::warn!(path = %path.display(), found, "a cached key file is corrupt");
                Ok(None)
            }
            Err(KeyError::Manifest { path, reason }) => {
                tracing::warn!(path = %path.display(), reason, "a key manifest is unusable");
                Ok(None)
            }
            Err(KeyError::File(error)) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_load(&self) -> Result<KeyStore, KeyError> {
        let Self {
            config, srs, folder, ..
        } = self;
        let path = folder.manifest();
        let text = fs::read(&path).map_err(|source| FileError::Io {
            path: path.clone(),
            source,
        })?;
        let unusable = |reason: String| KeyError::Manifest {
            path: path.clone(),
            reason,
        };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        let opening = {
            // The smallest file that holds the opening key is the shard's reference string: it is read at proving anyway.
            let k = config.preset.shard.k;
            read_srs(&srs_path(&config.dir, *srs, k), k, *srs)?.opening_key()
        };
        let shard_vk = folder.read_vk::<ShardCircuit>(Kind::ShardVk, folder.shard_owner(), ())?;
        let owner = folder.aggregation_owner(&manifest.aggregation);
        let aggregation_params = config_params(&manifest.aggregation);
        let root_vk = folder.read_vk::<AggregationCircuit>(Kind::AggregationVk, owner, aggregation_params)?;
        file::check_header(&folder.file(Kind::ShardPk), Kind::ShardPk, folder.shard_owner())?;
        file::check_header(&folder.file(Kind::AggregationPk), Kind::AggregationPk, owner)?;
        let expected = self.manifest(&shard_vk, &root_vk, manifest.aggregation.clone());
        if manifest != expected {
            return Err(unusable("it does not describe the keys beside it".to_owned()));
        }
        Ok(KeyStore {
            config: config.clone(),
            srs: *srs,
            folder: folder.clone(),
            manifest,
            shard: ShardVerifier::new(shard_vk, &opening),
            root: RootVerifier::new(root_vk, &opening),
            loaded: Loaded::default(),
        })
    }

    fn manifest(
        &self,
        shard_vk: &VerifyingKey<G1Affine>,
        aggregation_vk: &VerifyingKey<G1Affine>,
        aggregation: AggregationShape,
    ) -> Manifest {
        let Preset {
            name,
            shard,
            children,
            ..
        } = self.config.preset;
        Manifest {
            protocol_version: PROTOCOL_VERSION,
            preset: name.to_owned(),
            shard_k: shard.k,
            shard_capacity: shard.capacity,
            children,
            insecure_srs: self.srs.insecure,
            srs_digest: self.srs.digest,
            shard_circuit_digest: self.shard_circuit,
            shard_vk_digest: vk_digest(shard_vk),
            aggregation_vk_digest: vk_digest(aggregation_vk),
            aggregation,
        }
    }

    /// Makes reference strings and keys. The manifest is written last: without it there are no keys.
    fn generate(&self, progress: Progress<'_>) -> Result<(), KeyError> {
        let Self { config, folder, .. } = self;
        let preset = &config.preset;
        let srs = self.srs(preset.shard.k, progress)?;
        progress(KeyPhase::ShardKeys, 0.0);
        let pk = generate(&srs.params, &ShardCircuit::new(preset.shard, None)?, "shard", COMPRESS_SHARD_SELECTORS)?;
        folder.write_keys([Kind::ShardPk, Kind::ShardVk], folder.shard_owner(), &pk)?;
        progress(KeyPhase::ShardKeys, 1.0);
        let shard = ShardVerifier::new(pk.get_vk().clone(), &srs.opening_key());
        drop((pk, srs));

        let srs = self.srs(preset.aggregation_k, progress)?;
        progress(KeyPhase::AggregationKeys, 0.0);
        let circuit = keygen_circuit(preset, &shard);
        let pk = generate(&srs.params, &circuit, "aggregation", false)?;
        let shape = shape(&circuit);
        folder.write_keys(
            [Kind::AggregationPk, Kind::AggregationVk],
            folder.aggregation_owner(&shape),
            &pk,
        )?;
        progress(KeyPhase::AggregationKeys, 1.0);
        self.write_manifest(&self.manifest(shard.vk(), pk.get_vk(), shape))
    }

    fn srs(&self, k: u32, progress: Progress<'_>) -> Result<Srs, KeyError> {
        let Self { config, srs, .. } = self;
        let path = srs_path(&config.dir, *srs, k);
        match read_srs(&path, k, *srs) {
            Ok(srs) => return Ok(srs),
            Err(FileError::Corrupt { path, found }) => {
                tracing::warn!(path = %path.display(), found, "a cached reference string is corrupt");
            }
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
        progress(KeyPhase::Srs { k }, 0.0);
        let made = make_srs(&config.srs, k, config.allow_insecure, progress)?;
        write_srs(&path, &made)?;
        progress(KeyPhase::Srs { k }, 1.0);
        Ok(made)
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), KeyError> {
        let path = self.folder.manifest();
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let json = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
        fs::write(&temporary, json)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| FileError::Io { path, source }.into())
    }
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
