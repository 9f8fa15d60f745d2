//! Why a reference string is refused.

use std::{
    io,
    path::{Path, PathBuf},
};

use rules::digest::Digest;

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

impl SrsError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
