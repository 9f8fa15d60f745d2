//! The structured reference string (SRS): powers of a secret in BN254, in both bases that a prover needs.
//!
//! Three sources: a ceremony's `.ptau` ([`crate::ptau`]), halo2's raw parameters ([`read_halo2`]), and, for
//! development only, powers of a published number ([`development`]), which anyone can forge proofs for.
//! What comes from outside is checked point by point and by pairing before it is used.

mod check;
mod development;
mod halo2;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use halo2_proofs::{
    halo2curves::{
        bn256::{Bn256, G1Affine, G2Affine},
        group::GroupEncoding,
    },
    poly::{commitment::ParamsProver, kzg::commitment::ParamsKZG},
};
use serde::{Deserialize, Serialize};

use crate::ptau::{PTAU_MAGIC, ptau_k};
use rules::digest::Digest;

pub(crate) use check::{G1_BYTES, G2_BYTES, check_lagrange, check_powers, parse_g1, parse_g2};
pub use development::{DEVELOPMENT_SEED, development, development_id};
pub use halo2::{halo2_id, halo2_k, read_halo2};

/// Largest `k` that is ever read: what the largest published ceremonies hold.
pub const K_MAX: u32 = 28;

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

/// Which SRS it is, whatever its size: the digest covers the generators and the secret's image in G2, which fix all powers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrsId {
    /// BLAKE3 of a domain, the insecure flag, and the compressed `g`, `g2`, `s·g2`.
    pub digest: Digest,
    /// True when the secret is published: that of [`development`] is, in a file too.
    pub insecure: bool,
}

/// An SRS that has been checked, or made here.
#[derive(Clone, Debug)]
pub struct Srs {
    /// The powers, `2^k` of them, and the Lagrange basis.
    pub params: ParamsKZG<Bn256>,
    /// Which SRS it is.
    pub id: SrsId,
}

/// The part of an SRS that a verifier needs. A few hundred bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningKey {
    /// Generator of G1.
    pub g1: G1Affine,
    /// Generator of G2.
    pub g2: G2Affine,
    /// The secret times `g2`.
    pub s_g2: G2Affine,
}

/// Why an SRS was refused.
#[derive(Debug, thiserror::Error)]
pub enum SrsError {
    /// The development SRS was asked for without saying so.
    #[error(
        "the development SRS is insecure (its secret is published) and was not allowed; pass allow_insecure"
    )]
    Insecure,
    /// A file holds the development SRS, and that was not allowed.
    #[error(
        "{path} holds the development SRS, which is insecure (its secret is published) and was not allowed; pass allow_insecure"
    )]
    InsecureFile {
        /// The file.
        path: PathBuf,
    },
    /// It is another SRS than the one that was asked for.
    #[error("the reference string has the digest {found}, expected {expected}")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the SRS that is there.
        found: Digest,
    },
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file does not begin as its format does.
    #[error("not a {format} file: {found}")]
    Format {
        /// The expected format.
        format: &'static str,
        /// What was found instead.
        found: String,
    },
    /// The file ends too early, or is longer than its header says.
    #[error("{part} has {found} bytes, expected {expected}")]
    Length {
        /// The part of the file.
        part: &'static str,
        /// Bytes there.
        found: u64,
        /// Bytes that its header promises.
        expected: u64,
    },
    /// A section that is needed is not there, or is there twice.
    #[error("section {section} is there {found} times, expected once")]
    Section {
        /// The section's number.
        section: u32,
        /// How often it was found.
        found: usize,
    },
    /// The file is for another curve.
    #[error("the base field's modulus is {found}, expected BN254's")]
    Curve {
        /// The modulus found, hexadecimal.
        found: String,
    },
    /// The file holds fewer powers than are needed.
    #[error("the file holds 2^{found} powers, 2^{expected} are needed")]
    TooSmall {
        /// Log2 of the powers found.
        found: u32,
        /// Log2 of the powers needed.
        expected: u32,
    },
    /// A coordinate is not below the base field's modulus.
    #[error("{part}[{index}] has a coordinate at or above the base field's modulus")]
    NonCanonical {
        /// The list of points.
        part: &'static str,
        /// The point's place in it.
        index: usize,
    },
    /// A point is not on the curve.
    #[error("{part}[{index}] is not on the curve")]
    OffCurve {
        /// The list of points.
        part: &'static str,
        /// The point's place in it.
        index: usize,
    },
    /// A point is the identity.
    #[error("{part}[{index}] is the identity")]
    Identity {
        /// The list of points.
        part: &'static str,
        /// The point's place in it.
        index: usize,
    },
    /// A point of G2 is not in the subgroup of order r.
    #[error("{part}[{index}] is not in the prime-order subgroup")]
    Subgroup {
        /// The list of points.
        part: &'static str,
        /// The point's place in it.
        index: usize,
    },
    /// The list does not begin with the group's generator.
    #[error("{part} does not begin with the generator")]
    Generator {
        /// The list of points.
        part: &'static str,
    },
    /// The secret is 1, so the powers say nothing.
    #[error("the secret is one")]
    Degenerate,
    /// The points in G1 are not the powers of the secret that G2 holds.
    #[error("the points are not successive powers of one secret (pairing check)")]
    Powers,
    /// The Lagrange basis does not belong to the powers.
    #[error("the Lagrange basis does not belong to the powers")]
    Lagrange,
}

impl Srs {
    /// The verifier's part.
    pub fn opening_key(&self) -> OpeningKey {
        OpeningKey {
            g1: self.params.get_g()[0],
            g2: self.params.g2(),
            s_g2: self.params.s_g2(),
        }
    }
}

impl SrsError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
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
}

impl SrsId {
    /// The identity of the SRS with these elements. It is insecure when it is the development SRS, wherever it comes
    /// from.
    pub fn new(key: &OpeningKey) -> Self {
        let insecure = key.s_g2 == development::development_key().s_g2;
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/srs/v1");
        hasher.update(&[insecure as u8]);
        hasher.update(key.g1.to_bytes().as_ref());
        hasher.update(key.g2.to_bytes().as_ref());
        hasher.update(key.s_g2.to_bytes().as_ref());
        Self {
            digest: Digest(*hasher.finalize().as_bytes()),
            insecure,
        }
    }
}

impl OpeningKey {
    /// The key of the generators and the secret's image in G2.
    pub fn of_secret(s_g2: G2Affine) -> Self {
        Self {
            g1: G1Affine::generator(),
            g2: G2Affine::generator(),
            s_g2,
        }
    }

    /// Parameters of size `k` that can verify, but neither commit nor prove: for stock verification.
    #[cfg(test)]
    pub(crate) fn verifier_params(&self, k: u32) -> ParamsKZG<Bn256> {
        params_from_parts(k, vec![self.g1], vec![self.g1], self.g2, self.s_g2)
    }
}

/// `ParamsKZG` of these parts. halo2's constructor asks for an instance, which it does not read.
pub(crate) fn params_from_parts(
    k: u32,
    g: Vec<G1Affine>,
    g_lagrange: Vec<G1Affine>,
    g2: G2Affine,
    s_g2: G2Affine,
) -> ParamsKZG<Bn256> {
    let unread = ParamsKZG::<Bn256>::setup(0, rand::rngs::mock::StepRng::new(1, 1));
    unread.from_parts(k, g, Some(g_lagrange), g2, s_g2)
}
