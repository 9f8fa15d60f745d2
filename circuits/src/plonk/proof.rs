//! A proof's bytes, checked and taken apart.
//!
//! A proof is its commitments, its evaluations, then the two points of SHPLONK. Every element has one encoding, and no point
//! is the identity.

use halo2curves::{
    CurveAffine,
    bn256::{Fq, Fr, G1Affine},
    ff::PrimeField,
    group::{Curve, GroupEncoding, prime::PrimeCurveAffine},
};
use num_bigint::BigUint;

use super::shape::Shape;
use rules::field;

/// Points that close a SHPLONK proof, after the evaluations.
const OPENING_POINTS: usize = 2;
/// Bytes of a scalar, and of a point's coordinate.
const SCALAR_BYTES: usize = 32;

/// Why bytes are no proof, or not one of these instances.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Too few or too many instances.
    #[error("{found} instances, expected {expected}")]
    InstanceCount {
        /// Instances given.
        found: usize,
        /// Instances of the circuit.
        expected: usize,
    },
    /// The proof is too short or too long.
    #[error("the proof has {found} bytes, expected {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of any proof under this key.
        expected: usize,
    },
    /// A point is not canonical, not on the curve, or the identity.
    #[error("the point at byte {offset} of the proof is not a canonical point of the curve")]
    Point {
        /// Where it begins.
        offset: usize,
    },
    /// A scalar is not below r.
    #[error("the scalar at byte {offset} of the proof is not below r")]
    Scalar {
        /// Where it begins.
        offset: usize,
    },
    /// The equation does not hold.
    #[error("the proof does not verify")]
    Refused,
}

/// How a proof is written and hashed; [`super::ProofWriter`] does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transcript {
    /// Points compressed, elements little endian, hashed with Poseidon: what another circuit verifies.
    Poseidon,
    /// Points as x and y, elements big endian, hashed with Keccak-256: what L1 verifies.
    Evm,
}

/// How many elements a proof has: `points` commitments, `scalars` evaluations, then [`OPENING_POINTS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub points: usize,
    pub scalars: usize,
}

/// A proof taken apart: its points, and everything as scalars.
#[derive(Clone, Debug)]
pub struct Proof {
    pub(crate) points: Vec<G1Affine>,
    pub(crate) scalars: ProofScalars<Fr>,
}

/// A proof as scalars: instances, the coordinates of its points (as integers, modulo r), its evaluations.
#[derive(Clone, Debug)]
pub(crate) struct ProofScalars<S> {
    pub instances: Vec<S>,
    pub points: Vec<[S; 2]>,
    pub scalars: Vec<S>,
}

impl Transcript {
    fn point_bytes(self) -> usize {
        match self {
            Self::Poseidon => 32,
            Self::Evm => 64,
        }
    }

    fn point(self, bytes: &[u8]) -> Option<G1Affine> {
        match self {
            Self::Poseidon => compressed_point(bytes),
            Self::Evm => {
                let (x, y) = bytes.split_at(SCALAR_BYTES);
                proper_point(field_from_be(x)?, field_from_be(y)?)
            }
        }
    }

    fn scalar(self, bytes: &[u8]) -> Option<Fr> {
        match self {
            Self::Poseidon => field_from_le(bytes),
            Self::Evm => field_from_be(bytes),
        }
    }

    pub(crate) fn write_point(self, to: &mut Vec<u8>, point: &G1Affine) {
        match self {
            Self::Poseidon => to.extend_from_slice(point.to_bytes().as_ref()),
            Self::Evm => {
                for coordinate in [point.x, point.y] {
                    to.extend(coordinate.to_repr().into_iter().rev());
                }
            }
        }
    }

    pub(crate) fn write_scalar(self, to: &mut Vec<u8>, scalar: &Fr) {
        match self {
            Self::Poseidon => to.extend_from_slice(&scalar.to_repr()),
            Self::Evm => to.extend(scalar.to_repr().into_iter().rev()),
        }
    }
}

impl Layout {
    /// The layout of proofs of that shape.
    pub fn of(shape: &Shape) -> Self {
        Self {
            points: shape.points.total() - OPENING_POINTS,
            scalars: shape.scalars,
        }
    }

    /// Bytes of every proof.
    pub fn bytes(&self, transcript: Transcript) -> usize {
        (self.points + OPENING_POINTS) * transcript.point_bytes() + self.scalars * SCALAR_BYTES
    }

    /// Something of a proof's form: distinct points and scalars that prove nothing.
    pub fn placeholder(&self, transcript: Transcript) -> Vec<u8> {
        let point = |at: usize| (G1Affine::generator() * Fr::from(at as u64 + 2)).to_affine();
        let scalars = (1..=self.scalars as u64).map(Fr::from);
        let mut proof = Vec::with_capacity(self.bytes(transcript));
        (0..self.points).for_each(|at| transcript.write_point(&mut proof, &point(at)));
        scalars.for_each(|scalar| transcript.write_scalar(&mut proof, &scalar));
        let opening = self.points..self.points + OPENING_POINTS;
        opening.for_each(|at| transcript.write_point(&mut proof, &point(at)));
        proof
    }

    /// A proof's points and scalars; its length and every element are checked.
    pub fn read(&self, transcript: Transcript, proof: &[u8]) -> Result<(Vec<G1Affine>, Vec<Fr>), ProofError> {
        let (found, expected) = (proof.len(), self.bytes(transcript));
        if found != expected {
            return Err(ProofError::Length { found, expected });
        }
        let point_bytes = transcript.point_bytes();
        let scalars_at = self.points * point_bytes;
        let opening_at = scalars_at + self.scalars * SCALAR_BYTES;
        let points = (0..scalars_at)
            .step_by(point_bytes)
            .chain((opening_at..expected).step_by(point_bytes))
            .map(|offset| {
                let point = transcript.point(&proof[offset..offset + point_bytes]);
                point.ok_or(ProofError::Point { offset })
            })
            .collect::<Result<_, _>>()?;
        let scalars = (scalars_at..opening_at)
            .step_by(SCALAR_BYTES)
            .map(|offset| {
                let scalar = transcript.scalar(&proof[offset..offset + SCALAR_BYTES]);
                scalar.ok_or(ProofError::Scalar { offset })
            })
            .collect::<Result<_, _>>()?;
        Ok((points, scalars))
    }
}

impl Shape {
    /// Something of a proof's form that proves nothing: a witness' stand-in for key generation.
    pub fn placeholder(&self, transcript: Transcript) -> Vec<u8> {
        Layout::of(self).placeholder(transcript)
    }

    /// Bytes of every proof.
    pub fn proof_bytes(&self, transcript: Transcript) -> usize {
        Layout::of(self).bytes(transcript)
    }
}

impl Proof {
    /// Takes a proof's bytes apart.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn read(
        shape: &Shape,
        transcript: Transcript,
        instances: &[Fr],
        proof: &[u8],
    ) -> Result<Self, ProofError> {
        let (found, expected) = (instances.len(), shape.instances);
        if found != expected {
            return Err(ProofError::InstanceCount { found, expected });
        }
        let (points, scalars) = Layout::of(shape).read(transcript, proof)?;
        let scalars = ProofScalars {
            instances: instances.to_vec(),
            points: points.iter().map(coordinates).collect(),
            scalars,
        };
        Ok(Self { points, scalars })
    }
}

/// A point's coordinates as integers, modulo r.
fn coordinates(point: &G1Affine) -> [Fr; 2] {
    let coordinates = point.coordinates().expect("no point of a proof is the identity");
    [coordinates.x(), coordinates.y()].map(base_to_scalar)
}

pub(crate) fn base_to_scalar(value: &Fq) -> Fr {
    field::reduce(&BigUint::from_bytes_le(&value.to_repr()))
}

/// A point of the curve that is not the identity.
pub(crate) fn proper_point(x: Fq, y: Fq) -> Option<G1Affine> {
    Option::from(G1Affine::from_xy(x, y)).filter(|point: &G1Affine| !bool::from(point.is_identity()))
}

fn compressed_point(bytes: &[u8]) -> Option<G1Affine> {
    let mut repr = <G1Affine as GroupEncoding>::Repr::default();
    repr.as_mut().copy_from_slice(bytes);
    let point = Option::<G1Affine>::from(G1Affine::from_bytes(&repr))?;
    let is_canonical = !bool::from(point.is_identity()) && point.to_bytes().as_ref() == bytes;
    is_canonical.then_some(point)
}

/// An element from 32 bytes, big endian, below the modulus.
pub(crate) fn field_from_be<F: PrimeField<Repr = [u8; 32]>>(bytes: &[u8]) -> Option<F> {
    let mut repr: [u8; 32] = bytes.try_into().ok()?;
    repr.reverse();
    F::from_repr(repr).into()
}

/// An element from 32 bytes, little endian, below the modulus.
pub(crate) fn field_from_le<F: PrimeField<Repr = [u8; 32]>>(bytes: &[u8]) -> Option<F> {
    F::from_repr(bytes.try_into().ok()?).into()
}
