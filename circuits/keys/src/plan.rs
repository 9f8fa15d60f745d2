//! One set of keys on disk: which files it is, whether they are there, and how they are made.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use halo2_proofs::{
    SerdeFormat,
    plonk::{self, Circuit, ProvingKey},
    poly::kzg::commitment::ParamsKZG,
};
use halo2curves::{
    bn256::{Bn256, Fr, G1Affine},
    serde::SerdeObject,
};

use circuits::{
    fingerprint::{fingerprint, vk_digest},
    plonk::{Shape, Transcript, VerifyingKey},
    preset::Preset,
    recursion::{RecursionCircuit, keygen_circuit},
    shard::ShardCircuit,
};
use rules::statement::{ROOT_INSTANCES, SHARD_INSTANCES};
use rules::{PROTOCOL_VERSION, digest::Digest};
use srs::{OpeningKey, Srs, SrsError, SrsId};

use crate::{
    config::{COMPRESS_SELECTORS, KeyConfig, KeyError, KeyPhase, Progress},
    file::{self, FileError, Kind},
    generate::{generate, read_srs, write_srs},
    lock::Lock,
    manifest::Manifest,
    verifying::VerifyingKeys,
};

/// What is to be opened, and all that the keys follow from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: KeyConfig,
    srs: SrsId,
    shard_circuit: Digest,
    identity: Digest,
}

/// The aggregation circuit of a shard key, laid out for key generation.
struct AggregationCircuit {
    circuit: RecursionCircuit,
    digest: Digest,
}

/// halo2's verifying keys, which proving needs too.
pub(super) struct Halo2Keys {
    pub(super) opening: OpeningKey,
    pub(super) shard: plonk::VerifyingKey<G1Affine>,
    pub(super) aggregation: plonk::VerifyingKey<G1Affine>,
    aggregation_circuit: Digest,
}

impl Plan {
    pub(super) fn new(config: KeyConfig) -> Result<Self, KeyError> {
        let Preset {
            shard,
            children,
            aggregation_k,
            ..
        } = config.preset;
        let srs = config.srs.id(config.allow_insecure)?;
        if let Some(expected) = config.srs_digest {
            expect_srs(expected, srs)?;
        }
        let shard_circuit =
            fingerprint(shard.k, &ShardCircuit::new(shard, None)?).map_err(|error| KeyError::Keygen {
                circuit: "shard",
                reason: error.to_string(),
            })?;
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/keys/v3");
        hasher.update(&srs.digest.0);
        hasher.update(&shard_circuit.0);
        for number in [
            u64::from(PROTOCOL_VERSION),
            u64::from(COMPRESS_SELECTORS),
            u64::from(shard.k),
            shard.shape.places as u64,
            shard.shape.rooms as u64,
            children as u64,
            u64::from(aggregation_k),
        ] {
            hasher.update(&number.to_le_bytes());
        }
        let identity = Digest(*hasher.finalize().as_bytes());
        Ok(Self {
            config,
            srs,
            shard_circuit,
            identity,
        })
    }

    /// Refuses a reference string that is too small for either circuit, before anything is made.
    pub(super) fn check_size(&self) -> Result<(), KeyError> {
        let Preset {
            shard, aggregation_k, ..
        } = self.config.preset;
        let (found, expected) = (self.config.srs.k()?, shard.k.max(aggregation_k));
        if found < expected {
            return Err(SrsError::TooSmall { found, expected }.into());
        }
        Ok(())
    }

    /// Takes the cache's lock and makes the keys' folder.
    pub(super) fn lock(&self, progress: Progress<'_>) -> Result<Lock, KeyError> {
        Ok(Lock::take(&self.config.dir, &self.folder(), progress)?)
    }

    /// The keys, if they are cached whole. Proving keys are checked by header and length here, and by digest when
    /// they are read.
    pub(super) fn load(&self) -> Result<Option<Halo2Keys>, KeyError> {
        let Some((opening, shard)) = self.cached(self.load_shard())? else {
            return Ok(None);
        };
        let circuit = self.aggregation_circuit(&Shape::new(&shard, SHARD_INSTANCES))?;
        let Some(aggregation) = self.cached(self.load_aggregation(circuit.digest))? else {
            return Ok(None);
        };
        Ok(Some(Halo2Keys {
            opening,
            shard,
            aggregation,
            aggregation_circuit: circuit.digest,
        }))
    }

    /// Makes what is not cached.
    pub(super) fn make(&self, progress: Progress<'_>) -> Result<Halo2Keys, KeyError> {
        let (opening, shard) = match self.cached(self.load_shard())? {
            Some(keys) => keys,
            None => self.make_shard(progress)?,
        };
        let circuit = self.aggregation_circuit(&Shape::new(&shard, SHARD_INSTANCES))?;
        let aggregation_circuit = circuit.digest;
        let aggregation = match self.cached(self.load_aggregation(aggregation_circuit))? {
            Some(key) => key,
            None => self.make_aggregation(circuit, progress)?,
        };
        Ok(Halo2Keys {
            opening,
            shard,
            aggregation,
            aggregation_circuit,
        })
    }

    /// What verifies proofs under these keys.
    pub(super) fn verifying(&self, keys: &Halo2Keys) -> VerifyingKeys {
        let Halo2Keys {
            opening,
            shard,
            aggregation,
            ..
        } = keys;
        let shard = VerifyingKey::new(shard, SHARD_INSTANCES, Transcript::Poseidon, opening);
        let aggregation = VerifyingKey::new(aggregation, ROOT_INSTANCES.len(), Transcript::Evm, opening);
        let manifest = self.manifest(keys, [&shard, &aggregation]);
        VerifyingKeys::new(manifest, shard, aggregation)
    }

    /// The verifying keys, if all keys are cached. Proving keys are checked by header and length.
    pub(super) fn load_verifying(&self) -> Result<Option<VerifyingKeys>, KeyError> {
        let keys = match VerifyingKeys::open(&self.folder()) {
            Ok(keys) => keys,
            Err(error) => {
                if !error.is_absent() {
                    tracing::info!(%error, "key cache: the verifying keys are to be written again");
                }
                return Ok(None);
            }
        };
        let Manifest {
            srs_digest,
            shard_circuit_digest,
            aggregation_circuit_digest,
            ..
        } = *keys.manifest();
        if (srs_digest, shard_circuit_digest) != (self.srs.digest, self.shard_circuit)
            || aggregation_circuit_digest != self.aggregation_circuit(&keys.shard().shape)?.digest
        {
            return Ok(None);
        }
        for (kind, owner) in [
            (Kind::ShardPk, self.shard_owner()),
            (
                Kind::AggregationPk,
                self.aggregation_owner(aggregation_circuit_digest),
            ),
        ] {
            let checked = file::check_header(&self.path(kind), kind, owner);
            if self.cached(checked)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(keys))
    }

    /// Writes the verifying keys, unless they are there. A folder that cannot be written serves as it is.
    pub(super) fn keep(&self, keys: &VerifyingKeys) {
        let folder = self.folder();
        if VerifyingKeys::open(&folder).is_ok_and(|kept| kept == *keys) {
            return;
        }
        if let Err(error) = keys.write(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot write the verifying keys");
        }
    }

    fn manifest(&self, keys: &Halo2Keys, [shard_key, aggregation_key]: [&VerifyingKey; 2]) -> Manifest {
        let Preset {
            name,
            shard,
            children,
            aggregation_k,
        } = self.config.preset;
        Manifest {
            protocol_version: PROTOCOL_VERSION,
            preset: name.to_owned(),
            shard_k: shard.k,
            shard_places: shard.shape.places,
            shard_rooms: shard.shape.rooms,
            children,
            insecure_srs: self.srs.insecure,
            srs_digest: self.srs.digest,
            shard_circuit_digest: self.shard_circuit,
            shard_vk_digest: vk_digest(&keys.shard),
            aggregation_k,
            aggregation_circuit_digest: keys.aggregation_circuit,
            aggregation_vk_digest: vk_digest(&keys.aggregation),
            shard_verifying_key_digest: shard_key.digest(),
            aggregation_verifying_key_digest: aggregation_key.digest(),
        }
    }

    pub(super) fn read_srs(&self, k: u32) -> Result<ParamsKZG<Bn256>, KeyError> {
        Ok(read_srs(&self.path(Kind::Srs { k }), k, self.srs)?.params)
    }

    /// Reads a proving key. halo2's reader panics on bytes that are no key, but the digest says that these are ours.
    pub(super) fn read_pk<C: Circuit<Fr, Params = ()>>(
        &self,
        kind: Kind,
        owner: Digest,
    ) -> Result<ProvingKey<G1Affine>, KeyError> {
        let path = self.path(kind);
        let mut reader = file::open(&path, kind, owner)?;
        ProvingKey::read::<_, C>(&mut reader, SerdeFormat::RawBytesUnchecked, ())
            .map_err(|source| FileError::io(&path)(source).into())
    }

    /// What the shard keys' files belong to.
    pub(super) fn shard_owner(&self) -> Digest {
        self.identity
    }

    /// What the files of an aggregation circuit's keys belong to.
    pub(super) fn aggregation_owner(&self, circuit: Digest) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/aggregation-keys/v1");
        hasher.update(&self.identity.0);
        hasher.update(&circuit.0);
        Digest(*hasher.finalize().as_bytes())
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.config.dir.join(format!(
            "{}-{}",
            self.config.preset.name,
            &self.identity.to_hex()[..16]
        ))
    }

    /// Reference strings are shared between presets.
    fn path(&self, kind: Kind) -> PathBuf {
        let name = match kind {
            Kind::Srs { k } => {
                return self
                    .config
                    .dir
                    .join(format!("{}-k{k}.srs", &self.srs.digest.to_hex()[..16]));
            }
            Kind::ShardPk => "shard.pk",
            Kind::ShardVk => "shard.vk",
            Kind::AggregationPk => "aggregation.pk",
            Kind::AggregationVk => "aggregation.vk",
        };
        self.folder().join(name)
    }

    /// Nothing for a file that is absent or damaged: it is to be made again.
    fn cached<T>(&self, result: Result<T, FileError>) -> Result<Option<T>, KeyError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error @ FileError::Corrupt { .. }) => {
                tracing::warn!(%error, "key cache");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn load_shard(&self) -> Result<(OpeningKey, plonk::VerifyingKey<G1Affine>), FileError> {
        let owner = self.shard_owner();
        file::check_header(&self.path(Kind::ShardPk), Kind::ShardPk, owner)?;
        self.read_vk(Kind::ShardVk, owner, |reader| {
            let opening = OpeningKey {
                g1: SerdeObject::read_raw(reader)?,
                g2: SerdeObject::read_raw(reader)?,
                s_g2: SerdeObject::read_raw(reader)?,
            };
            Ok((
                opening,
                plonk::VerifyingKey::read::<_, ShardCircuit>(reader, SerdeFormat::RawBytes, ())?,
            ))
        })
    }

    fn load_aggregation(&self, circuit: Digest) -> Result<plonk::VerifyingKey<G1Affine>, FileError> {
        let owner = self.aggregation_owner(circuit);
        file::check_header(&self.path(Kind::AggregationPk), Kind::AggregationPk, owner)?;
        self.read_vk(Kind::AggregationVk, owner, |reader| {
            plonk::VerifyingKey::read::<_, RecursionCircuit>(reader, SerdeFormat::RawBytes, ())
        })
    }

    fn read_vk<T>(
        &self,
        kind: Kind,
        owner: Digest,
        read: impl FnOnce(&mut io::BufReader<File>) -> io::Result<T>,
    ) -> Result<T, FileError> {
        let path = self.path(kind);
        let mut reader = file::open(&path, kind, owner)?;
        read(&mut reader).map_err(FileError::io(&path))
    }

    /// Which aggregation circuit belongs to a shard key.
    fn aggregation_circuit(&self, shard: &Shape) -> Result<AggregationCircuit, KeyError> {
        let circuit = keygen_circuit(&self.config.preset, shard);
        let digest =
            fingerprint(self.config.preset.aggregation_k, &circuit).map_err(|error| KeyError::Keygen {
                circuit: "aggregation",
                reason: error.to_string(),
            })?;
        Ok(AggregationCircuit { circuit, digest })
    }

    fn make_shard(
        &self,
        progress: Progress<'_>,
    ) -> Result<(OpeningKey, plonk::VerifyingKey<G1Affine>), KeyError> {
        let size = self.config.preset.shard;
        let srs = self.srs(size.k, progress)?;
        progress(KeyPhase::ShardKeys, 0.0);
        let circuit = ShardCircuit::new(size, None)?;
        let pk = generate(&srs.params, &circuit, "shard", COMPRESS_SELECTORS)?;
        let opening = srs.opening_key();
        self.write_pk(Kind::ShardPk, self.shard_owner(), &pk)?;
        file::write(
            &self.path(Kind::ShardVk),
            Kind::ShardVk,
            self.shard_owner(),
            |mut out: &mut dyn Write| {
                opening.g1.write_raw(&mut out)?;
                opening.g2.write_raw(&mut out)?;
                opening.s_g2.write_raw(&mut out)?;
                pk.get_vk().write(&mut out, SerdeFormat::RawBytes)
            },
        )?;
        progress(KeyPhase::ShardKeys, 1.0);
        Ok((opening, pk.get_vk().clone()))
    }

    fn make_aggregation(
        &self,
        AggregationCircuit { circuit, digest }: AggregationCircuit,
        progress: Progress<'_>,
    ) -> Result<plonk::VerifyingKey<G1Affine>, KeyError> {
        let srs = self.srs(self.config.preset.aggregation_k, progress)?;
        progress(KeyPhase::AggregationKeys, 0.0);
        let pk = generate(&srs.params, &circuit, "aggregation", COMPRESS_SELECTORS)?;
        drop((circuit, srs));
        let owner = self.aggregation_owner(digest);
        self.write_pk(Kind::AggregationPk, owner, &pk)?;
        file::write(
            &self.path(Kind::AggregationVk),
            Kind::AggregationVk,
            owner,
            |mut out: &mut dyn Write| pk.get_vk().write(&mut out, SerdeFormat::RawBytes),
        )?;
        progress(KeyPhase::AggregationKeys, 1.0);
        Ok(pk.get_vk().clone())
    }

    fn write_pk(&self, kind: Kind, owner: Digest, pk: &ProvingKey<G1Affine>) -> Result<(), FileError> {
        file::write(&self.path(kind), kind, owner, |mut out: &mut dyn Write| {
            pk.write(&mut out, SerdeFormat::RawBytesUnchecked)
        })
    }

    fn srs(&self, k: u32, progress: Progress<'_>) -> Result<Srs, KeyError> {
        let path = self.path(Kind::Srs { k });
        if let Some(srs) = self.cached(read_srs(&path, k, self.srs))? {
            return Ok(srs);
        }
        progress(KeyPhase::Srs { k }, 0.0);
        let config = &self.config;
        let made = config.srs.read(k, config.allow_insecure, &|fraction| {
            progress(KeyPhase::Srs { k }, fraction)
        })?;
        // The file may be another by now than the one that the plan was made for.
        expect_srs(self.srs.digest, made.id)?;
        write_srs(&path, &made)?;
        progress(KeyPhase::Srs { k }, 1.0);
        Ok(made)
    }
}

fn expect_srs(expected: Digest, found: SrsId) -> Result<(), SrsError> {
    if found.digest != expected {
        return Err(SrsError::Digest {
            expected,
            found: found.digest,
        });
    }
    Ok(())
}
