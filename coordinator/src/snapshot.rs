//! The state that the chain here begins with, and how a start finds out that it is the one that the store was made with.
//!
//! It is the empty state, with which every rollup begins (P-3.6), or that of a snapshot, which says what L1 has come to (P-15.4). A
//! snapshot of millions of accounts takes minutes to read and check. So the store keeps the digest of the file that it was opened with:
//! the same file again is not read but digested. Where none is named, a store goes on with what it was made with.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use rules::{
    field,
    operation::RollupId,
    snapshot::{self, Header},
    state::State,
};
use sha2::{Digest, Sha256};

use crate::core::{Head, id::StateRoot};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A snapshot that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file's accounts break a rule, or it is no such file.
    #[error("{path} is no snapshot: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: snapshot::SnapshotError,
    },
    /// It is another rollup's.
    #[error("{path} is a snapshot of another rollup: expected {expected}, found {found}")]
    Rollup {
        /// The file.
        path: PathBuf,
        /// The rollup that is proven here.
        expected: String,
        /// The snapshot's.
        found: String,
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

/// What is stored of how a rollup began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownStart {
    /// What its first batch follows.
    pub start: Head,
    /// SHA-256 of the snapshot that it was named with last; none where there was none.
    pub digest: Option<[u8; 32]>,
}

/// What a start knows of the state that the chain begins with.
pub(crate) struct Beginning {
    /// What the first batch here follows.
    pub start: Head,
    /// The state, unless the store has it.
    pub state: Option<State>,
    /// SHA-256 of the snapshot; none of the empty state.
    pub digest: Option<[u8; 32]>,
}

/// Finds the beginning: what the store was made with where no snapshot is named, or one whose digest is known; else that of the
/// snapshot, which is read and checked to be of the rollup, or the empty state.
pub(crate) fn begin(
    file: Option<&Path>,
    rollup_id: &RollupId,
    known: Option<KnownStart>,
) -> Result<Beginning, SnapshotError> {
    let stored = |KnownStart { start, digest }| Beginning {
        start,
        state: None,
        digest,
    };
    let path = match (file, known) {
        (None, Some(known)) => return Ok(stored(known)),
        (None, None) => return Ok(Beginning::empty()),
        (Some(path), _) => path,
    };
    let unread = |source| SnapshotError::Unread {
        path: path.into(),
        source,
    };
    // Of a pipe there is but one reading.
    if let Some(known) = known
        && let Some(digest) = known.digest
        && fs::metadata(path).map_err(unread)?.is_file()
        && digest_of(path).map_err(unread)? == digest
    {
        tracing::debug!("the snapshot is the one that is known");
        return Ok(stored(known));
    }
    let mut file = Digesting {
        file: File::open(path).map_err(unread)?,
        digest: Sha256::new(),
    };
    let read = snapshot::read(BufReader::with_capacity(BUFFER_BYTES, &mut file));
    let (header, state) = read.map_err(|reason| SnapshotError::File {
        path: path.into(),
        reason,
    })?;
    if header.rollup_id != *rollup_id {
        return Err(SnapshotError::Rollup {
            path: path.into(),
            expected: in_words(rollup_id),
            found: in_words(&header.rollup_id),
        });
    }
    Ok(Beginning {
        start: start(&header),
        state: Some(state),
        digest: Some(file.digest.finalize().into()),
    })
}

impl Beginning {
    /// That of the empty state.
    pub(crate) fn empty() -> Self {
        let state = State::default();
        Self {
            start: Head {
                root: StateRoot(field::to_be(&state.root())),
                next_number: 0,
                time: 0,
                queue_head: 0,
            },
            state: Some(state),
            digest: None,
        }
    }
}

fn start(header: &Header) -> Head {
    Head {
        root: StateRoot(field::to_be(&header.root)),
        next_number: header.batches,
        time: header.time,
        queue_head: header.head,
    }
}

pub(crate) fn in_words(rollup_id: &RollupId) -> String {
    let contract = hex::encode(rollup_id.contract);
    format!("contract 0x{contract} on chain {}", rollup_id.chain_id)
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
    use rules::{
        digest::Digest as BlockHash,
        follow::Block,
        sample::{Draw, Mix, Sample, SampleConfig},
        witness::Shape,
    };

    use super::*;

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };

    /// A state after two batches, and what is said of it.
    fn sample() -> (Header, State) {
        let mut sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        for _ in 0..2 {
            let draw = Draw {
                shape: Shape { places: 25, rooms: 5 },
                queued: 3,
                signed: 5,
                mix: Mix::Transfers,
            };
            sample.batch(ROLLUP, 1_700_000_000, draw);
        }
        let header = Header {
            rollup_id: ROLLUP,
            batches: 2,
            time: 1_700_000_000,
            head: 6,
            block: Block {
                number: 9,
                hash: BlockHash([1; 32]),
            },
            root: sample.state().root(),
        };
        (header, sample.state().clone())
    }

    fn text(header: &Header, state: &State) -> String {
        let mut bytes = Vec::new();
        snapshot::write(header, state, &mut bytes).expect("memory takes all");
        String::from_utf8(bytes).expect("JSON")
    }

    fn refused(file: &Path, known: Option<KnownStart>) -> SnapshotError {
        begin(Some(file), &ROLLUP, known).map(drop).expect_err("refused")
    }

    #[test]
    fn without_a_snapshot_a_rollup_begins_with_the_empty_state_and_a_store_goes_on() {
        let empty = begin(None, &ROLLUP, None).expect("nothing is read");
        let root = "113546cad171002bd1b8f16603b113e11df1e25b1185ae23b092a7804737d912";
        assert_eq!(hex::encode(empty.start.root.0), root, "P-3.6");
        let Head {
            next_number,
            time,
            queue_head,
            ..
        } = empty.start;
        assert_eq!((next_number, time, queue_head), (0, 0, 0));
        assert_eq!(empty.state.expect("made").accounts().len(), 0);
        let known = KnownStart {
            start: Head {
                next_number: 5,
                ..empty.start
            },
            digest: Some([3; 32]),
        };
        let again = begin(None, &ROLLUP, Some(known)).expect("nothing is read");
        assert!(again.state.is_none());
        assert_eq!((again.start, again.digest), (known.start, known.digest));
    }

    #[test]
    fn a_known_file_is_digested_and_another_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("snapshot.json");
        let (header, state) = sample();
        let whole = text(&header, &state);
        fs::write(&path, &whole).expect("written");
        let read = |known| begin(Some(&path), &ROLLUP, known).expect("it reads");
        let first = read(None);
        let digest = digest_of(&path).expect("readable");
        assert_eq!(first.digest, Some(digest), "all of it was digested");
        assert_eq!(first.start.root.0, field::to_be(&state.root()));
        let Head {
            next_number,
            time,
            queue_head,
            ..
        } = first.start;
        assert_eq!((next_number, time, queue_head), (2, 1_700_000_000, 6));
        assert!(first.state.is_some_and(|read| read.root() == state.root()));
        let other_start = Head {
            next_number: 77,
            ..first.start
        };
        let known = KnownStart {
            start: other_start,
            digest: Some(digest),
        };
        let again = read(Some(known));
        assert!(again.state.is_none() && again.start == other_start && again.digest == Some(digest));
        // A store that was made without a file, and the same accounts in another file.
        let unknown = KnownStart {
            digest: None,
            ..known
        };
        assert!(read(Some(unknown)).state.is_some());
        fs::write(&path, whole.clone() + "\n").expect("written");
        let other = read(Some(known));
        assert!(other.start == first.start && other.digest != Some(digest));
    }

    #[test]
    fn what_is_no_snapshot_of_this_rollup_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("snapshot.json");
        let (header, state) = sample();
        let whole = text(&header, &state);
        fs::write(&path, &whole[1..]).expect("written");
        let error = refused(&path, None).to_string();
        let expected = format!("{} is no snapshot: malformed", path.display());
        assert!(error.starts_with(&expected), "{error}");
        // Accounts of another root than it says.
        let root = field::to_hex(&header.root);
        assert_eq!(whole.matches(&root).count(), 1);
        let zero = format!("0x{}", "0".repeat(64));
        fs::write(&path, whole.replace(&root, &zero)).expect("written");
        let error = refused(&path, None);
        let reason = snapshot::SnapshotError::Root {
            expected: rules::Fr::zero(),
            found: header.root,
        };
        assert!(
            matches!(&error, SnapshotError::File { reason: found, .. } if *found == reason),
            "{error}"
        );
        let elsewhere = Header {
            rollup_id: RollupId {
                chain_id: 1,
                ..ROLLUP
            },
            ..header
        };
        fs::write(&path, text(&elsewhere, &state)).expect("written");
        let error = refused(&path, None).to_string();
        let named = error.contains("on chain 31337, found") && error.ends_with("on chain 1");
        assert!(named, "{error}");
        fs::remove_file(&path).expect("removed");
        let error = refused(&path, None);
        assert!(matches!(error, SnapshotError::Unread { .. }), "{error}");
    }
}
