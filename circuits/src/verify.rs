//! Verifies root proofs: the proof, and the accumulator among its instances. Nothing that a stranger sends can panic here:
//! instances and proof bytes are taken apart and checked one by one.

use halo2curves::bn256::{Fq, Fr, G1Affine};

use crate::plonk::{
    ProofError, VerifyingKey,
    native::pairs,
    proof::{field_from_be, field_from_le, proper_point},
};
use rules::field;
use rules::statement::{ACCUMULATOR_LIMBS, InstanceCount, LOW_BITS, RootStatement};
use srs::OpeningKey;

/// Bytes of a scalar.
const SCALAR_BYTES: usize = 32;

/// Why a root proof was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The proof, apart from the accumulator.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// An instance is not a canonical field element (P-1.2).
    #[error("instance {index} is not below r")]
    Instance {
        /// Its place.
        index: usize,
    },
    /// The low part of a coordinate of the accumulator has more than 153 bits.
    #[error("accumulator limb {index} has more than {LOW_BITS} bits")]
    Limb {
        /// Its instance.
        index: usize,
    },
    /// The limbs of a coordinate make an integer that is not below the base field's modulus.
    #[error("the accumulator's coordinate at instance {index} is not below the base field's modulus")]
    Coordinate {
        /// Its first instance.
        index: usize,
    },
    /// A point of the accumulator is not on the curve, or the identity.
    #[error("the accumulator's point at instance {index} is not a point of the curve")]
    AccumulatorPoint {
        /// Its first instance.
        index: usize,
    },
    /// The proof verifies, but its accumulator does not: a child's proof is wrong.
    #[error("the accumulator's pairing does not hold")]
    Accumulator,
}

/// Verifies a root proof under an aggregation circuit's key and decides its accumulator; what it states. `instances` are
/// the 17 of P-8.4.
///
/// # Errors
/// [`VerifyError`] says what is wrong; it does not panic on any bytes.
pub fn verify_root(key: &VerifyingKey, instances: &[Fr], proof: &[u8]) -> Result<RootStatement, VerifyError> {
    let statement = statement(instances)?;
    let accumulator = accumulator(instances)?;
    key.verify(instances, proof)?;
    decide(&key.opening_key(), &accumulator)?;
    Ok(statement)
}

/// Decides the accumulator that root instances hold, apart from any proof (P-8.5).
///
/// # Errors
/// [`VerifyError`]: the instances hold no accumulator, or one whose pairing fails.
pub fn decide_accumulator(opening: &OpeningKey, instances: &[Fr]) -> Result<(), VerifyError> {
    statement(instances)?;
    decide(opening, &accumulator(instances)?)
}

/// Instances from their encoding (P-1.2): 32 bytes each, big endian.
///
/// # Errors
/// [`ProofError::InstanceCount`] when the bytes are no whole number of elements (`found` is rounded up), and
/// [`VerifyError::Instance`] for one that is not below r.
pub fn instances_from_be(bytes: &[u8], expected: usize) -> Result<Vec<Fr>, VerifyError> {
    if bytes.len() != expected * SCALAR_BYTES {
        return Err(ProofError::InstanceCount {
            found: bytes.len().div_ceil(SCALAR_BYTES),
            expected,
        }
        .into());
    }
    bytes
        .chunks_exact(SCALAR_BYTES)
        .enumerate()
        .map(|(index, chunk)| field_from_be::<Fr>(chunk).ok_or(VerifyError::Instance { index }))
        .collect()
}

fn statement(instances: &[Fr]) -> Result<RootStatement, ProofError> {
    RootStatement::from_instances(instances)
        .map_err(|InstanceCount { found, expected }| ProofError::InstanceCount { found, expected })
}

/// Decides an accumulator: `e(lhs, g2) = e(rhs, s·g2)`.
pub(crate) fn decide(opening: &OpeningKey, accumulator: &[G1Affine; 2]) -> Result<(), VerifyError> {
    if pairs(opening, accumulator) {
        Ok(())
    } else {
        Err(VerifyError::Accumulator)
    }
}

/// The accumulator's two points from the first 8 instances. The encoding is unique: a low part below `2^153`, every
/// coordinate below the modulus, both points on the curve and none the identity.
fn accumulator(instances: &[Fr]) -> Result<[G1Affine; 2], VerifyError> {
    let coordinate = |index: usize| -> Result<Fq, VerifyError> {
        let [low, high] = [index, index + 1].map(|at| field::to_integer(&instances[at]));
        if low.bits() > LOW_BITS as u64 {
            return Err(VerifyError::Limb { index });
        }
        let bytes = (low + (high << LOW_BITS)).to_bytes_le();
        if bytes.len() > SCALAR_BYTES {
            return Err(VerifyError::Coordinate { index });
        }
        let mut repr = [0; SCALAR_BYTES];
        repr[..bytes.len()].copy_from_slice(&bytes);
        field_from_le(&repr).ok_or(VerifyError::Coordinate { index })
    };
    let point = |index| {
        proper_point(coordinate(index)?, coordinate(index + 2)?)
            .ok_or(VerifyError::AccumulatorPoint { index })
    };
    Ok([point(0)?, point(ACCUMULATOR_LIMBS / 2)?])
}

#[cfg(test)]
mod tests;
