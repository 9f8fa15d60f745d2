//! Files of the key cache: a header with a digest, then the payload. Written whole or not at all, never read unchecked.
//!
//! Header: magic, kind, what the payload belongs to, its length, its BLAKE3 digest, and a digest over all of these.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::whole_file;
use rules::digest::Digest;

const MAGIC: &[u8; 8] = b"ZKRPKEY1";
const HEADER_BYTES: usize = 8 + 4 + 32 + 8 + 32 + 32;
/// Bytes read or written at a time: enough for BLAKE3 to use all cores.
const CHUNK_BYTES: usize = 8 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A reference string of `2^k` points.
    Srs {
        k: u32,
    },
    ShardPk,
    ShardVk,
    AggregationPk,
    AggregationVk,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Self::Srs { k } => k,
            Self::ShardPk => 0x100,
            Self::ShardVk => 0x101,
            Self::AggregationPk => 0x102,
            Self::AggregationVk => 0x103,
        }
    }
}

/// Why a cached file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not what was written there.
    #[error("{path} is corrupt ({found}); delete it to have it made again")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: &'static str,
    },
}

impl FileError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn corrupt(path: &Path) -> impl Fn(&'static str) -> Self + Copy {
        move |found| Self::Corrupt {
            path: path.to_owned(),
            found,
        }
    }

    /// True when there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes a file, for whoever holds the cache's lock: what a process left that was killed while it wrote the same goes.
pub(crate) fn write(
    path: &Path,
    kind: Kind,
    owner: Digest,
    payload: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let write = || {
        whole_file::remove_leftovers(path)?;
        whole_file::place(path, |file| fill(file, kind, owner, payload))?;
        whole_file::sync_folder(path.parent().unwrap_or(path))
    };
    write().map_err(FileError::io(path))
}

fn fill(
    file: &mut File,
    kind: Kind,
    owner: Digest,
    payload: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    file.write_all(&[0; HEADER_BYTES])?;
    let hashing = Hashing {
        file,
        hasher: blake3::Hasher::new(),
        length: 0,
        failure: None,
    };
    let mut buffered = BufWriter::with_capacity(CHUNK_BYTES, hashing);
    payload(&mut buffered)?;
    let Hashing {
        file,
        hasher,
        length,
        failure,
    } = buffered.into_inner().map_err(|error| error.into_error())?;
    if let Some(error) = failure {
        return Err(error);
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(kind, owner, length, *hasher.finalize().as_bytes()))
}

fn header(kind: Kind, owner: Digest, length: u64, digest: [u8; 32]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&kind.code().to_le_bytes());
    header.extend_from_slice(&owner.0);
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(&digest);
    let checksum = blake3::hash(&header);
    header.extend_from_slice(checksum.as_bytes());
    header
}

/// Opens a file, checks its header and its payload's digest, and stands at the payload.
pub(crate) fn open(path: &Path, kind: Kind, owner: Digest) -> Result<BufReader<File>, FileError> {
    let io = FileError::io(path);
    let corrupt = FileError::corrupt(path);
    let (mut file, digest) = open_header(path, kind, owner)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(io)?;
        if read == 0 {
            break;
        }
        hasher.update_rayon(&chunk[..read]);
    }
    if *hasher.finalize().as_bytes() != digest {
        return Err(corrupt("its digest differs"));
    }
    file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(io)?;
    Ok(BufReader::with_capacity(CHUNK_BYTES, file))
}

/// Checks a file's header and length only, which is cheap for any size.
pub(crate) fn check_header(path: &Path, kind: Kind, owner: Digest) -> Result<(), FileError> {
    open_header(path, kind, owner).map(|_| ())
}

fn open_header(path: &Path, kind: Kind, owner: Digest) -> Result<(File, [u8; 32]), FileError> {
    let io = FileError::io(path);
    let corrupt = FileError::corrupt(path);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let Some(payload_length) = length.checked_sub(HEADER_BYTES as u64) else {
        return Err(corrupt("it is shorter than a header"));
    };
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found).map_err(io)?;
    let digest: [u8; 32] = found[52..84].try_into().expect("32 bytes of the header");
    if found[..8] != *MAGIC {
        return Err(corrupt("it is no key file of this version"));
    }
    if found[12..44] != owner.0 {
        return Err(corrupt("it belongs to other keys"));
    }
    if found[44..52] != payload_length.to_le_bytes() {
        return Err(corrupt("its length differs"));
    }
    if found[..] != header(kind, owner, payload_length, digest) {
        return Err(corrupt("its header differs"));
    }
    Ok((file, digest))
}

/// Hashes what passes on its way to the file. What fails is kept for the end, and what comes after it dropped: halo2 panics where a
/// write fails.
struct Hashing<'a> {
    file: &'a mut File,
    hasher: blake3::Hasher,
    length: u64,
    failure: Option<io::Error>,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            match self.file.write_all(bytes) {
                Ok(()) => {
                    self.hasher.update_rayon(bytes);
                    self.length += bytes.len() as u64;
                }
                Err(error) => self.failure = Some(error),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OWNER: Digest = Digest([7; 32]);

    fn corrupt(error: FileError) -> &'static str {
        match error {
            FileError::Corrupt { found, .. } => found,
            error => panic!("not corrupt: {error}"),
        }
    }

    #[test]
    fn a_payload_that_finds_no_room_is_an_error_though_its_writer_sees_none() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let mut hashing = Hashing {
            file: &mut full,
            hasher: blake3::Hasher::new(),
            length: 0,
            failure: None,
        };
        for _ in 0..2 {
            hashing.write_all(b"payload").unwrap();
        }
        assert_eq!(hashing.length, 0);
        assert_eq!(hashing.failure.unwrap().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pk");
        write(&path, Kind::ShardPk, OWNER, |out| out.write_all(b"payload")).unwrap();
        let mut payload = vec![];
        open(&path, Kind::ShardPk, OWNER)
            .unwrap()
            .read_to_end(&mut payload)
            .unwrap();
        assert_eq!(payload, b"payload");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn an_absent_file_is_said_to_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            open(&dir.path().join("none"), Kind::Srs { k: 4 }, OWNER)
                .unwrap_err()
                .is_absent()
        );
    }

    #[test]
    fn another_kind_or_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pk");
        write(&path, Kind::ShardPk, OWNER, |out| out.write_all(b"payload")).unwrap();
        assert_eq!(
            corrupt(open(&path, Kind::AggregationPk, OWNER).unwrap_err()),
            "its header differs"
        );
        assert_eq!(
            corrupt(open(&path, Kind::ShardPk, Digest([8; 32])).unwrap_err()),
            "it belongs to other keys"
        );
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.srs");
        write(&path, Kind::Srs { k: 4 }, OWNER, |out| out.write_all(b"payload")).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            corrupt(open(&path, Kind::Srs { k: 4 }, OWNER).unwrap_err());
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            corrupt(open(&path, Kind::Srs { k: 4 }, OWNER).unwrap_err());
        }
        fs::write(&path, [&good[..], &[0]].concat()).unwrap();
        corrupt(open(&path, Kind::Srs { k: 4 }, OWNER).unwrap_err());
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pk");
        fs::write(dir.path().join(".a.pk.0123456789abcdef.tmp"), "half").unwrap();
        write(&path, Kind::ShardPk, OWNER, |out| out.write_all(b"payload")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.srs");
        write(&path, Kind::Srs { k: 4 }, OWNER, |out| out.write_all(b"old")).unwrap();
        let error = write(&path, Kind::Srs { k: 4 }, OWNER, |_| {
            Err(io::Error::other("full"))
        })
        .unwrap_err();
        assert!(matches!(error, FileError::Io { .. }));
        assert!(open(&path, Kind::Srs { k: 4 }, OWNER).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn fuzz_key_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pk");
        write(&path, Kind::ShardPk, OWNER, |out| out.write_all(b"payload")).unwrap();
        let good = fs::read(&path).unwrap();
        fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "key-file")
            .seed("payload", &good[..])
            .runs(1_000)
            // A chunk to be hashed and one to read with, whatever the file's length.
            .memory(3 * CHUNK_BYTES as u64, 64)
            .run(|bytes| {
                fs::write(&path, bytes).unwrap();
                let opened = open(&path, Kind::ShardPk, OWNER);
                assert_eq!(opened.is_ok(), bytes == good);
                opened.map(drop).map_err(|error| corrupt(error).to_string())
            });
    }
}
