//! The keys of a preset as far as verification needs them: two files of some kilobytes, and the manifest beside them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use halo2curves::bn256::Fr;
use sha2::{Digest as _, Sha256};

use circuits::{
    plonk::{self, KEY_BYTES_MAX, ProofError, Transcript, VerifyingKey},
    verify::{VerifyError, verify_root},
};
use rules::digest::Digest;
use rules::statement::{ROOT_INSTANCES, RootStatement, SHARD_INSTANCES};
use srs::SrsId;

use crate::{manifest::Manifest, whole_file};

/// The file of the shard circuit's verifying key.
pub const SHARD_KEY_FILE: &str = "shard.verifying-key";
/// The file of the aggregation circuit's verifying key.
pub const AGGREGATION_KEY_FILE: &str = "aggregation.verifying-key";
/// The file of the manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Verifies the proofs of one set of keys. It needs neither their proving keys nor the code of their circuits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKeys {
    manifest: Manifest,
    shard: VerifyingKey,
    aggregation: VerifyingKey,
}

/// Why a folder is no set of verifying keys.
#[derive(Debug, thiserror::Error)]
pub enum VerifyingKeysError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}; `export-keys` writes a folder of verifying keys")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{path} has more than {most} bytes")]
    Large {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
    /// The manifest does not read, as one of before there were files of verifying keys does not.
    #[error("{path} is no manifest of verifying keys: {reason}; `export-keys` writes one")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key does not read.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: plonk::KeyError,
    },
    /// A key is another than the manifest says, or than its place asks for.
    #[error("{path}: {what} is {found}, expected {expected}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What was compared.
        what: &'static str,
        /// What it is.
        found: String,
        /// What the manifest or the protocol asks for.
        expected: String,
    },
}

impl VerifyingKeysError {
    /// True when a file is missing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl VerifyingKeys {
    pub(super) fn new(manifest: Manifest, shard: VerifyingKey, aggregation: VerifyingKey) -> Self {
        Self {
            manifest,
            shard,
            aggregation,
        }
    }

    /// Reads a folder of verifying keys, or one of all keys. Milliseconds.
    ///
    /// # Errors
    /// [`VerifyingKeysError`]: a file is missing, is no key, or another one than the manifest lists.
    pub fn open(folder: &Path) -> Result<Self, VerifyingKeysError> {
        let path = folder.join(MANIFEST_FILE);
        let json = read(&path, MANIFEST_BYTES_MAX)?;
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| {
            let reason = error.to_string();
            VerifyingKeysError::Manifest { path, reason }
        })?;
        let shard = Listed {
            path: folder.join(SHARD_KEY_FILE),
            file_digest: manifest.shard_verifying_key_digest,
            vk_digest: manifest.shard_vk_digest,
            transcript: Transcript::Poseidon,
            instances: SHARD_INSTANCES,
        };
        let aggregation = Listed {
            path: folder.join(AGGREGATION_KEY_FILE),
            file_digest: manifest.aggregation_verifying_key_digest,
            vk_digest: manifest.aggregation_vk_digest,
            transcript: Transcript::Evm,
            instances: ROOT_INSTANCES.len(),
        };
        let (shard, aggregation) = (shard.read(&manifest)?, aggregation.read(&manifest)?);
        Ok(Self::new(manifest, shard, aggregation))
    }

    /// Writes the folder that [`Self::open`] reads. The folder is there; the manifest comes last.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let manifest = serde_json::to_vec_pretty(&self.manifest).expect("a manifest is plain data");
        for (name, bytes) in [
            (SHARD_KEY_FILE, self.shard.to_bytes()),
            (AGGREGATION_KEY_FILE, self.aggregation.to_bytes()),
            (MANIFEST_FILE, manifest),
        ] {
            whole_file::write(&folder.join(name), &bytes)?;
        }
        Ok(())
    }

    /// What the keys are.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The shard circuit's key.
    pub fn shard(&self) -> &VerifyingKey {
        &self.shard
    }

    /// The aggregation circuit's key.
    pub fn aggregation(&self) -> &VerifyingKey {
        &self.aggregation
    }

    /// Verifies a shard proof. `instances` are the 17 of P-7.3.
    ///
    /// # Errors
    /// [`ProofError`] says what is wrong; it does not panic on any bytes.
    pub fn verify_shard(&self, instances: &[Fr], proof: &[u8]) -> Result<(), ProofError> {
        self.shard.verify(instances, proof)
    }

    /// Verifies a root proof and decides its accumulator; what it states. `instances` are those of P-8.4.
    ///
    /// # Errors
    /// [`VerifyError`] says what is wrong; it does not panic on any bytes.
    pub fn verify_root(&self, instances: &[Fr], proof: &[u8]) -> Result<RootStatement, VerifyError> {
        verify_root(&self.aggregation, instances, proof)
    }
}

/// A key as the manifest lists it.
struct Listed {
    path: PathBuf,
    file_digest: Digest,
    vk_digest: Digest,
    transcript: Transcript,
    instances: usize,
}

impl Listed {
    fn read(&self, manifest: &Manifest) -> Result<VerifyingKey, VerifyingKeysError> {
        let bytes = read(&self.path, KEY_BYTES_MAX)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        self.same("its SHA-256", digest, self.file_digest)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|source| VerifyingKeysError::Key {
            path: self.path.clone(),
            source,
        })?;
        self.same("the key's digest", key.transcript_digest(), self.vk_digest)?;
        self.same("the number of instances", key.shape.instances, self.instances)?;
        let name = |transcript| match transcript {
            Transcript::Poseidon => "Poseidon's",
            Transcript::Evm => "L1's",
        };
        self.same("the transcript", name(key.transcript), name(self.transcript))?;
        let srs = SrsId::new(&key.opening_key());
        self.same("the reference string", srs.digest, manifest.srs_digest)?;
        self.same(
            "whether the reference string is insecure",
            srs.insecure,
            manifest.insecure_srs,
        )?;
        Ok(key)
    }

    fn same<T: PartialEq + ToString>(
        &self,
        what: &'static str,
        found: T,
        expected: T,
    ) -> Result<(), VerifyingKeysError> {
        if found == expected {
            return Ok(());
        }
        Err(VerifyingKeysError::Mismatch {
            path: self.path.clone(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        })
    }
}

/// The bytes of a regular file, if they are not too many.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, VerifyingKeysError> {
    let read = || {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        let mut bytes = vec![];
        File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| VerifyingKeysError::Io {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() > most {
        let path = path.to_owned();
        return Err(VerifyingKeysError::Large { path, most });
    }
    Ok(bytes)
}
