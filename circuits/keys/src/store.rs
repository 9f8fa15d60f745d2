//! The keys of a preset, opened.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use circuits::{preset::Preset, recursion::RecursionCircuit, shard::ShardCircuit};
use halo2_proofs::{
    plonk::{ProvingKey, VerifyingKey},
    poly::{EvaluationDomain, kzg::commitment::ParamsKZG},
};
use halo2curves::bn256::{Bn256, G1Affine};

use crate::{
    config::{KeyConfig, KeyError, Progress},
    file::Kind,
    manifest::Manifest,
    plan::{Halo2Keys, Plan},
    verifying::VerifyingKeys,
};

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
