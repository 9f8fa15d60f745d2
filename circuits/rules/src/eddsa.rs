//! EdDSA over BabyJubJub with Poseidon (section 5), compatible with circomlibjs and @zk-kit/eddsa-poseidon.

use crate::babyjub::{self, BASE8, Point, pair};
use crate::field::{self, NonCanonical};
use crate::{encoding, poseidon};
use blake_hash::{Blake512, Digest};
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The check of P-5.4 that a signature failed, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The public key's point is not on the curve (P-5.1).
    #[error("the public key is not on the curve")]
    KeyOffCurve,
    /// Eight times the public key is the identity (P-5.1).
    #[error("the public key has small order")]
    KeySmallOrder,
    /// `R8` is not on the curve.
    #[error("R8 is not on the curve")]
    NonceOffCurve,
    /// `R8.x` is zero: `R8` is the identity or the point of order two.
    #[error("R8.x is zero")]
    NonceZeroX,
    /// `S` is at or above the subgroup's order.
    #[error("S is not below the subgroup's order")]
    ScalarRange,
    /// `S·B` differs from `R8 + (8h)·A`.
    #[error("S·B differs from R8 + (8h)·A")]
    Equation,
}

/// A public key `A`. It need not be valid: [`PublicKey::validate`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(pub Point);

impl PublicKey {
    /// Checks P-5.1.
    ///
    /// # Errors
    /// [`SignatureError::KeyOffCurve`] or [`SignatureError::KeySmallOrder`].
    pub fn validate(&self) -> Result<(), SignatureError> {
        self.cleared().map(drop)
    }

    /// `8A` of a valid key.
    fn cleared(&self) -> Result<pair::Projective, SignatureError> {
        if !self.0.is_on_curve() {
            return Err(SignatureError::KeyOffCurve);
        }
        let cleared = pair::eightfold(&self.0);
        if cleared.equals(&Point::IDENTITY) {
            return Err(SignatureError::KeySmallOrder);
        }
        Ok(cleared)
    }

    /// `A.x` then `A.y`, 32 big-endian bytes each.
    pub fn to_bytes(&self) -> [u8; 64] {
        pack_point(&self.0)
    }

    /// Reads [`PublicKey::to_bytes`].
    ///
    /// # Errors
    /// A coordinate that is not canonical.
    pub fn from_bytes(bytes: &[u8; 64]) -> Result<Self, NonCanonical> {
        Ok(Self(unpack_point(bytes)?))
    }
}

/// A signature `(R8, S)`. It need not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The nonce's point.
    pub r8: Point,
    /// The scalar `S`, 32 bytes, big endian. A valid one is below `l`.
    #[serde(with = "encoding::word")]
    pub s: [u8; 32],
}

impl Signature {
    /// `R8.x`, `R8.y`, `S`, 32 big-endian bytes each.
    pub fn to_bytes(&self) -> [u8; 96] {
        let mut bytes = [0; 96];
        bytes[..64].copy_from_slice(&pack_point(&self.r8));
        bytes[64..].copy_from_slice(&self.s);
        bytes
    }

    /// Reads [`Signature::to_bytes`].
    ///
    /// # Errors
    /// A coordinate that is not canonical.
    pub fn from_bytes(bytes: &[u8; 96]) -> Result<Self, NonCanonical> {
        let mut point = [0; 64];
        point.copy_from_slice(&bytes[..64]);
        let mut s = [0; 32];
        s.copy_from_slice(&bytes[64..]);
        Ok(Self {
            r8: unpack_point(&point)?,
            s,
        })
    }

    /// The integer `S`.
    pub fn s_integer(&self) -> BigUint {
        BigUint::from_bytes_be(&self.s)
    }
}

/// A private key: any 32 bytes, as in circomlibjs.
#[derive(Clone)]
pub struct PrivateKey {
    /// The pruned secret scalar `s`, a multiple of 8; the key pair's scalar is `s / 8`.
    scalar: BigUint,
    /// The second half of the key's hash, which nonces are derived from.
    prefix: [u8; 32],
    public: PublicKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Derives the key pair: `BLAKE-512` of the bytes, pruned as in RFC 8032.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let hash = Blake512::digest(bytes);
        let mut low = [0; 32];
        low.copy_from_slice(&hash[..32]);
        low[0] &= 0xf8;
        low[31] = low[31] & 0x7f | 0x40;
        let mut prefix = [0; 32];
        prefix.copy_from_slice(&hash[32..]);
        let scalar = BigUint::from_bytes_le(&low);
        let public = PublicKey(BASE8.mul(&(&scalar >> 3u8)));
        Self {
            scalar,
            prefix,
            public,
        }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` with the deterministic nonce of circomlibjs's `signPoseidon`. Variable time.
    pub fn sign(&self, message: &Fr) -> Signature {
        let order = babyjub::suborder();
        let hash = Blake512::new()
            .chain(self.prefix)
            .chain(message.to_repr())
            .finalize();
        let nonce = BigUint::from_bytes_le(&hash) % order;
        let r8 = BASE8.mul(&nonce);
        let challenge = field::to_integer(&challenge(&r8, &self.public, message));
        let s = (nonce + challenge * &self.scalar) % order;
        Signature { r8, s: be_word(&s) }
    }
}

/// The challenge `h` of P-5.3.
pub fn challenge(r8: &Point, key: &PublicKey, message: &Fr) -> Fr {
    poseidon::hash5(&challenge_inputs(r8, key, message))
}

/// The inputs of the challenge's hash, in order (P-5.3).
pub(crate) fn challenge_inputs(r8: &Point, key: &PublicKey, message: &Fr) -> [Fr; 5] {
    [r8.x, r8.y, key.0.x, key.0.y, *message]
}

/// Verifies a signature by P-5.4.
///
/// # Errors
/// The first check that fails.
pub fn verify(key: &PublicKey, message: &Fr, signature: &Signature) -> Result<(), SignatureError> {
    verify_challenge(key, signature, || challenge(&signature.r8, key, message))
}

/// The same with the challenge, which is asked for when the checks before the equation hold.
pub(crate) fn verify_challenge(
    key: &PublicKey,
    signature: &Signature,
    challenge: impl FnOnce() -> Fr,
) -> Result<(), SignatureError> {
    let cleared = key.cleared()?;
    let r8 = &signature.r8;
    if !r8.is_on_curve() {
        return Err(SignatureError::NonceOffCurve);
    }
    if r8.x.is_zero_vartime() {
        return Err(SignatureError::NonceZeroX);
    }
    let s = signature.s_integer();
    if &s >= babyjub::suborder() {
        return Err(SignatureError::ScalarRange);
    }
    // (8h)·A = h·(8A), and 8A has order l: S·B - h·(8A) is one double-scalar multiplication of 251 bits.
    let h = field::to_integer(&challenge()) % babyjub::suborder();
    if pair::difference(&s, &h, &cleared).equals(r8) {
        Ok(())
    } else {
        Err(SignatureError::Equation)
    }
}

fn pack_point(point: &Point) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&field::to_be(&point.x));
    bytes[32..].copy_from_slice(&field::to_be(&point.y));
    bytes
}

fn unpack_point(bytes: &[u8; 64]) -> Result<Point, NonCanonical> {
    let (mut x, mut y) = ([0; 32], [0; 32]);
    x.copy_from_slice(&bytes[..32]);
    y.copy_from_slice(&bytes[32..]);
    Ok(Point {
        x: field::from_be(&x)?,
        y: field::from_be(&y)?,
    })
}

fn be_word(value: &BigUint) -> [u8; 32] {
    let bytes = value.to_bytes_be();
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(&bytes);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-5.4 by the curve's plain operations.
    fn verify_plainly(key: &PublicKey, message: &Fr, signature: &Signature) -> Result<(), SignatureError> {
        let Signature { r8, .. } = signature;
        let (s, h) = (signature.s_integer(), challenge(&signature.r8, key, message));
        let checks = [
            (key.0.is_on_curve(), SignatureError::KeyOffCurve),
            (r8.is_on_curve(), SignatureError::NonceOffCurve),
            (r8.x != Fr::zero(), SignatureError::NonceZeroX),
            (&s < babyjub::suborder(), SignatureError::ScalarRange),
        ];
        if let (false, error) = checks[0] {
            return Err(error);
        }
        if key.0.mul_by_cofactor() == Point::IDENTITY {
            return Err(SignatureError::KeySmallOrder);
        }
        if let Some((_, error)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(error);
        }
        let right = r8.add(&key.0.mul(&(field::to_integer(&h) * 8u8)));
        match BASE8.mul(&s) == right {
            true => Ok(()),
            false => Err(SignatureError::Equation),
        }
    }

    #[test]
    fn verification_is_that_of_the_plain_curve() {
        let mut verdicts = std::collections::HashSet::new();
        let order_two = Point {
            x: Fr::zero(),
            y: -Fr::one(),
        };
        let off = Point {
            x: Fr::one(),
            y: Fr::one(),
        };
        for seed in 0..12u8 {
            let key = PrivateKey::from_bytes(&[seed; 32]);
            let message = Fr::from(u64::from(seed)) - Fr::one();
            let valid = key.sign(&message);
            let above = be_word(&(valid.s_integer() + babyjub::suborder()));
            let nonces = [
                valid.r8,
                valid.r8.add(&order_two),
                valid.r8.negate(),
                order_two,
                off,
            ];
            let keys = [key.public().0, key.public().0.add(&order_two), order_two, off];
            for (key, r8, s, message) in keys
                .iter()
                .flat_map(|key| {
                    let scalars = [valid.s, above, [0; 32], be_word(&(babyjub::suborder() - 1u8))];
                    nonces.iter().flat_map(move |r8| {
                        scalars.map(|s| [message, message + Fr::one()].map(|message| (*key, *r8, s, message)))
                    })
                })
                .flatten()
            {
                let (key, signature) = (PublicKey(key), Signature { r8, s });
                let verdict = verify(&key, &message, &signature);
                assert_eq!(verdict, verify_plainly(&key, &message, &signature), "seed {seed}");
                verdicts.insert(format!("{verdict:?}"));
            }
        }
        assert_eq!(verdicts.len(), 7, "{verdicts:?}");
    }

    #[test]
    fn a_signature_verifies_and_only_for_its_key_and_message() {
        let (key, other) = (PrivateKey::from_bytes(&[1; 32]), PrivateKey::from_bytes(&[2; 32]));
        let message = Fr::from(42);
        let signature = key.sign(&message);
        assert_eq!(verify(&key.public(), &message, &signature), Ok(()));
        assert_eq!(
            verify(&other.public(), &message, &signature),
            Err(SignatureError::Equation)
        );
        assert_eq!(
            verify(&key.public(), &Fr::from(43), &signature),
            Err(SignatureError::Equation)
        );
        assert_eq!(Signature::from_bytes(&signature.to_bytes()), Ok(signature));
        assert_eq!(PublicKey::from_bytes(&key.public().to_bytes()), Ok(key.public()));
    }
}
