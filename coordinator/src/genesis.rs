//! The state before batch 0, and how a start finds out that it is the one that the store was made from.
//!
//! A file of millions of accounts takes minutes to read and check. So the store keeps the digest of the file that it was opened with: the
//! same file again is not read but digested.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use rules::{
    field,
    genesis::{Genesis, GenesisError},
    state::State,
};
use sha2::{Digest, Sha256};

use crate::store::KnownGenesis;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Where the state before batch 0 is said.
#[derive(Debug, Clone)]
pub enum GenesisSource {
    /// Here.
    Accounts(Genesis),
    /// In a genesis file.
    File(PathBuf),
}

impl From<Genesis> for GenesisSource {
    fn from(genesis: Genesis) -> Self {
        Self::Accounts(genesis)
    }
}

impl From<PathBuf> for GenesisSource {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

/// A genesis that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum GenesisSourceError {
    /// The accounts break a rule.
    #[error("genesis: {0}")]
    Accounts(#[from] GenesisError),
    /// The file's accounts break a rule, or it is no such file.
    #[error("{path} is no genesis file: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: GenesisError,
    },
    /// The file is not there, or not readable.
    #[error("cannot read {path}: {source}")]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a start knows of the state before batch 0.
pub(crate) struct Founding {
    /// Its root.
    pub root: [u8; 32],
    /// The state, unless the file was known.
    pub state: Option<State>,
    /// SHA-256 of its file.
    pub digest: Option<[u8; 32]>,
}

impl GenesisSource {
    /// Reads and checks the genesis, unless it is a file whose digest is `known` beside its root.
    pub(crate) fn found(&self, known: Option<KnownGenesis>) -> Result<Founding, GenesisSourceError> {
        let path = match self {
            Self::Accounts(genesis) => return Ok(Founding::of(genesis.build()?, None)),
            Self::File(path) => path,
        };
        let unread = |source| GenesisSourceError::Unread {
            path: path.clone(),
            source,
        };
        // Of a pipe there is but one reading.
        if let Some(KnownGenesis { digest, root }) = known
            && fs::metadata(path).map_err(unread)?.is_file()
            && digest_of(path).map_err(unread)? == digest
        {
            tracing::debug!("the genesis file is the one that is known");
            return Ok(Founding {
                root,
                state: None,
                digest: Some(digest),
            });
        }
        let mut file = Digesting {
            file: File::open(path).map_err(unread)?,
            digest: Sha256::new(),
        };
        let state = Genesis::read(BufReader::with_capacity(BUFFER_BYTES, &mut file));
        let state = state.map_err(|reason| GenesisSourceError::File {
            path: path.clone(),
            reason,
        })?;
        Ok(Founding::of(state, Some(file.digest.finalize().into())))
    }
}

impl Founding {
    fn of(state: State, digest: Option<[u8; 32]>) -> Self {
        Self {
            root: field::to_be(&state.root()),
            state: Some(state),
            digest,
        }
    }
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// A file, and the digest of what was read of it.
struct Digesting {
    file: File,
    digest: Sha256,
}

impl Read for Digesting {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.digest.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use rules::sample::{Sample, SampleConfig};

    use super::*;

    fn known(digest: [u8; 32], root: [u8; 32]) -> Option<KnownGenesis> {
        Some(KnownGenesis { digest, root })
    }

    #[test]
    fn a_known_file_is_digested_and_another_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("genesis.json");
        let sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        let text = sample.genesis().to_json();
        fs::write(&path, &text).expect("written");
        let source = GenesisSource::from(path.clone());
        let first = source.found(None).expect("it reads");
        let digest = digest_of(&path).expect("readable");
        assert_eq!(first.digest, Some(digest), "all of it was digested");
        assert_eq!(first.root, field::to_be(&sample.state().root()));
        assert!(first.state.is_some());
        let again = source.found(known(digest, [7; 32])).expect("it is known");
        assert!(again.state.is_none() && again.root == [7; 32] && again.digest == Some(digest));
        // The same accounts in another file, and other accounts.
        fs::write(&path, text.clone() + "\n").expect("written");
        let other = source.found(known(digest, [7; 32])).expect("it reads");
        assert!(other.root == first.root && other.digest != Some(digest));
        fs::write(&path, text.replacen("1000000000000", "5", 1)).expect("written");
        let other = source.found(known(digest, first.root)).expect("it reads");
        assert!(other.root != first.root && other.state.is_some());
        fs::write(&path, &text[1..]).expect("written");
        let refused = source
            .found(known(digest, first.root))
            .map(drop)
            .expect_err("it is none");
        let expected = format!("{} is no genesis file: malformed", path.display());
        assert!(refused.to_string().starts_with(&expected), "{refused}");
        fs::remove_file(&path).expect("removed");
        let refused = source
            .found(known(digest, first.root))
            .map(drop)
            .expect_err("it is gone");
        assert!(matches!(refused, GenesisSourceError::Unread { .. }), "{refused}");
    }
}
