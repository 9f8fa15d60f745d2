//! Where a reference string comes from.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    development::{development, development_id},
    error::SrsError,
    halo2::{halo2_id, halo2_k, read_halo2},
    parameters::{K_MAX, Srs, SrsId},
    ptau::{PTAU_MAGIC, ptau_id, ptau_k, read_ptau},
};

/// Where a structured reference string comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SrsSource {
    /// Powers of a published number. INSECURE: refused unless the caller allows it by name.
    Development,
    /// A snarkjs `.ptau` file.
    Ptau(PathBuf),
    /// A file of halo2's `ParamsKZG` in raw format.
    Halo2(PathBuf),
}

impl SrsSource {
    /// The source that a file is, judged by its first bytes: those of a `.ptau`, or else halo2's parameters, which begin
    /// with nothing but their size.
    ///
    /// # Errors
    /// [`SrsError::Io`] when the file cannot be read, [`SrsError::Length`] when it is shorter than either begins, and
    /// [`SrsError::Format`] when it begins as neither.
    pub fn of_file(path: &Path) -> Result<Self, SrsError> {
        let io = SrsError::io(path);
        let mut start = Vec::with_capacity(4);
        let file = File::open(path).map_err(io)?;
        file.take(4).read_to_end(&mut start).map_err(io)?;
        let start: [u8; 4] = start.try_into().map_err(|start: Vec<u8>| SrsError::Length {
            part: "file",
            found: start.len() as u64,
            expected: 4,
        })?;
        if start == PTAU_MAGIC {
            return Ok(Self::Ptau(path.to_owned()));
        }
        if u32::from_le_bytes(start) > K_MAX {
            return Err(SrsError::Format {
                format: "ptau or raw halo2 parameters",
                found: format!("it begins with 0x{}", hex::encode(start)),
            });
        }
        Ok(Self::Halo2(path.to_owned()))
    }

    /// Log2 of the powers that the source holds.
    ///
    /// # Errors
    /// [`SrsError`] when the file cannot be read or is not what it should be.
    pub fn k(&self) -> Result<u32, SrsError> {
        match self {
            Self::Development => Ok(K_MAX),
            Self::Ptau(path) => ptau_k(path),
            Self::Halo2(path) => halo2_k(path),
        }
    }

    /// Which SRS the source holds.
    ///
    /// # Errors
    /// [`SrsError`] when the file cannot be read or is not what it should be, or the SRS is the development SRS and that is not
    /// allowed.
    pub fn id(&self, allow_insecure: bool) -> Result<SrsId, SrsError> {
        let (path, id) = match self {
            Self::Development => return development_id(allow_insecure),
            Self::Ptau(path) => (path, ptau_id(path)?),
            Self::Halo2(path) => (path, halo2_id(path)?),
        };
        if id.insecure && !allow_insecure {
            return Err(SrsError::InsecureFile { path: path.clone() });
        }
        Ok(id)
    }

    /// The SRS of size `2^k` from this source. Of a file the caller has asked [`Self::id`].
    ///
    /// # Errors
    /// [`SrsError`] naming the first thing that is wrong.
    pub fn read(
        &self,
        k: u32,
        allow_insecure: bool,
        progress: &(dyn Fn(f32) + Sync),
    ) -> Result<Srs, SrsError> {
        match self {
            Self::Development => development(k, allow_insecure, progress),
            Self::Ptau(path) => read_ptau(path, k),
            Self::Halo2(path) => read_halo2(path, k),
        }
    }
}
