//! The file of a backup: sections, each with the digest of all that stands before its end.
//!
//! After a first line come sections: a byte for the kind, the length (8 bytes, big endian), that many bytes, and the SHA-256 of the
//! digest before, kind, length and bytes. So what was changed, left out, moved or cut off is seen at the place where that is.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::BackupError;

/// The first line of every backup of this form.
const MAGIC: &[u8] = b"rollup-prover backup 1\n";
/// Bytes of a section beside its own.
const AROUND: u64 = 1 + 8 + 32;
/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The kind of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Some records, in the order of their keys.
    Records = 1,
    /// The next of the objects that the records name.
    Object = 2,
    /// That the next object is not here, since it was damaged.
    LeftOut = 3,
    /// How much there is of all; the last.
    End = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let kinds = [Self::Records, Self::Object, Self::LeftOut, Self::End];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A backup that is being written.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    digest: [u8; 32],
}

impl Writer {
    /// Makes a file that is not there yet.
    pub(super) fn create(path: &Path) -> Result<Self, BackupError> {
        let file = File::create_new(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists { path: path.into() },
            _ => BackupError::io(path)(source),
        })?;
        let mut writer = Self {
            path: path.into(),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            digest: Sha256::digest(MAGIC).into(),
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    pub(super) fn section(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), BackupError> {
        let head = head(kind as u8, bytes.len() as u64);
        self.digest = next(self.digest, &head, bytes);
        let digest = self.digest;
        self.write(&head)?;
        self.write(bytes)?;
        self.write(&digest)
    }

    /// When this returns, all of it survives a loss of power.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        let failed = BackupError::io(&self.path);
        let file = self.file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).map_err(failed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.file.write_all(bytes).map_err(BackupError::io(&self.path))
    }
}

/// A backup that is being read.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of the whole file, and those that are not read yet.
    pub(super) bytes: u64,
    pub(super) left: u64,
    pub(super) digest: [u8; 32],
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = || BackupError::io(path);
        let bytes = fs::metadata(path).map_err(failed())?.len();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed())?);
        let mut magic = Vec::new();
        let limit = MAGIC.len() as u64;
        file.by_ref()
            .take(limit)
            .read_to_end(&mut magic)
            .map_err(failed())?;
        if magic != MAGIC {
            return Err(BackupError::NoBackup { path: path.into() });
        }
        Ok(Self {
            path: path.into(),
            file,
            bytes,
            left: bytes.saturating_sub(limit),
            digest: Sha256::digest(MAGIC).into(),
        })
    }

    /// The next section. `what` is expected there, in words.
    pub(super) fn section(&mut self, what: impl Fn() -> String) -> Result<(Kind, Vec<u8>), BackupError> {
        let mut head = [0; 9];
        if self.left < AROUND {
            return Err(self.cut(&what));
        }
        self.read(&mut head)?;
        let length = u64::from_be_bytes(head[1..].try_into().expect("eight bytes"));
        if length > self.left - AROUND {
            return Err(self.cut(&what));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| self.cut(&what))?];
        self.read(&mut bytes)?;
        let mut digest = [0; 32];
        self.read(&mut digest)?;
        self.left -= AROUND + length;
        self.digest = next(self.digest, &head, &bytes);
        match Kind::of(head[0]) {
            Some(kind) if digest == self.digest => Ok((kind, bytes)),
            _ => Err(self.damaged(what())),
        }
    }

    pub(super) fn damaged(&self, what: String) -> BackupError {
        BackupError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    fn cut(&self, what: impl Fn() -> String) -> BackupError {
        BackupError::Cut {
            path: self.path.clone(),
            what: what(),
            bytes: self.bytes,
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.file.read_exact(bytes).map_err(BackupError::io(&self.path))
    }
}

fn head(kind: u8, length: u64) -> [u8; 9] {
    let mut head = [kind; 9];
    head[1..].copy_from_slice(&length.to_be_bytes());
    head
}

/// The digest after a section.
fn next(before: [u8; 32], head: &[u8], bytes: &[u8]) -> [u8; 32] {
    let digest = Sha256::new().chain_update(before).chain_update(head);
    digest.chain_update(bytes).finalize().into()
}
