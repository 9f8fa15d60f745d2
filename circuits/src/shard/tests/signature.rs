//! Forged signatures: the check alone, apart from any operation.

use super::checker::Checker;
use super::forged::SIGNATURE;
use crate::shard::config::{Gate, STEP_ROWS, Z, step};
use crate::shard::sheet::Sheet;
use num_bigint::BigUint;
use rules::Fr;
use rules::babyjub::{self, BASE8, Point};
use rules::eddsa::{self, PublicKey, Signature};
use rules::field;
use rules::poseidon;

/// A signature check alone: what fails for a key point, a message and a claimed signature.
fn signature_failures(
    key: Point,
    message: Fr,
    r8: Point,
    s: &BigUint,
    integer: fn(&Fr) -> [u8; 32],
) -> Vec<String> {
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let mut sheet = Sheet::new(8_192);
    let key = [key.x, key.y].map(|value| sheet.witness(value));
    let message = sheet.witness(message);
    sheet.signature_with(key, message, &r8, &be, integer);
    Checker::new().failures(&sheet, &[]).into_iter().collect()
}

/// The secret scalar, the key, and a nonce's scalar and point.
struct Signer {
    secret: BigUint,
    key: Point,
    nonce: BigUint,
    r8: Point,
}

fn signer() -> Signer {
    let (secret, nonce) = (
        BigUint::from(123_456_789_u64).pow(5),
        BigUint::from(987_654_321_u64).pow(6),
    );
    Signer {
        key: BASE8.mul(&secret),
        r8: BASE8.mul(&nonce),
        secret,
        nonce,
    }
}

fn challenge(r8: &Point, key: &Point, message: Fr) -> BigUint {
    field::to_integer(&poseidon::hash5(&[r8.x, r8.y, key.x, key.y, message]))
}

impl Signer {
    /// `S` for a challenge: `nonce + 8 h secret`.
    fn s(&self, h: &BigUint) -> BigUint {
        (&self.nonce + BigUint::from(8u32) * h * &self.secret) % babyjub::suborder()
    }
}

#[test]
fn a_signature_alone() {
    let signer = signer();
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &signer.key, message));
    assert!(signature_failures(signer.key, message, signer.r8, &s, field::to_be).is_empty());
    let found = signature_failures(signer.key, message, signer.r8, &(s + 1u32), field::to_be);
    assert_eq!(found, [SIGNATURE]);
}

#[test]
fn s_is_below_the_order() {
    let signer = signer();
    let limit = (BigUint::from(1u32) << 251) - babyjub::suborder();
    // A message whose S leaves room for the order within 251 bits, and one whose S does not.
    for fits in [true, false] {
        let (message, s) = (0u64..)
            .map(|m| {
                (
                    Fr::from(m),
                    signer.s(&challenge(&signer.r8, &signer.key, Fr::from(m))),
                )
            })
            .find(|(_, s)| (*s < limit) == fits)
            .expect("one in three");
        let found = signature_failures(
            signer.key,
            message,
            signer.r8,
            &(s + babyjub::suborder()),
            field::to_be,
        );
        assert_eq!(found, ["copy @ P-5.4: S is below the subgroup's order"]);
    }
}

#[test]
fn a_challenge_is_its_canonical_integer() {
    // The challenge plus the modulus is another integer for the same element, with its own valid S.
    fn aliased(h: &Fr) -> [u8; 32] {
        let bytes = (field::to_integer(h) + field::modulus()).to_bytes_be();
        bytes.try_into().expect("32 bytes")
    }
    let signer = signer();
    let (message, h) = (0u64..)
        .map(|m| (Fr::from(m), challenge(&signer.r8, &signer.key, Fr::from(m))))
        .find(|(_, h)| h + field::modulus() < BigUint::from(1u32) << 254)
        .expect("one in three");
    let s = signer.s(&(h + field::modulus()));
    let found = signature_failures(signer.key, message, signer.r8, &s, aliased);
    assert_eq!(
        found,
        ["copy @ P-5.3: the challenge's bits are its canonical integer"]
    );
}

#[test]
fn small_order_and_off_curve_points() {
    let signer = signer();
    let message = Fr::from(42);
    // The identity and the point of order two as key: S·B = R8 for anyone's R8.
    for y in [Fr::one(), -Fr::one()] {
        let found = signature_failures(
            Point { x: Fr::zero(), y },
            message,
            signer.r8,
            &signer.nonce,
            field::to_be,
        );
        assert_eq!(
            found,
            ["arith: a + b c = d @ P-5.1: the key is on the curve and not of small order"]
        );
    }
    // R8 the identity, with the S that its holder can make.
    let h = challenge(&Point::IDENTITY, &signer.key, message);
    let s = BigUint::from(8u32) * h * &signer.secret % babyjub::suborder();
    let found = signature_failures(signer.key, message, Point::IDENTITY, &s, field::to_be);
    assert_eq!(
        found,
        ["arith: a + b c = d @ P-5.4: the sum is R8, and R8.x is not 0"]
    );
    // Off the curve.
    let off = Point {
        x: signer.key.x,
        y: signer.key.y + Fr::one(),
    };
    let s = signer.s(&challenge(&signer.r8, &off, message));
    let found = signature_failures(off, message, signer.r8, &s, field::to_be);
    let curve = "arith: a + b c = d @ P-5.1: the key is on the curve and not of small order".to_string();
    assert!(found.contains(&curve), "{found:?}");
    let off = Point {
        x: signer.r8.x,
        y: signer.r8.y + Fr::one(),
    };
    let s = signer.s(&challenge(&off, &signer.key, message));
    assert_eq!(
        signature_failures(signer.key, message, off, &s, field::to_be),
        [SIGNATURE]
    );
}

#[test]
fn the_carried_points_stay() {
    let signer = signer();
    let message = Fr::from(42);
    let h = challenge(&signer.r8, &signer.key, message);
    let s = signer.s(&h);
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let mut sheet = Sheet::new(8_192);
    let key = [signer.key.x, signer.key.y].map(|value| sheet.witness(value));
    let message = sheet.witness(message);
    sheet.signature_with(key, message, &signer.r8, &be, field::to_be);
    let checker = Checker::new();
    let steps = [Gate::StepT, Gate::StepU].map(|gate| sheet.on[gate as usize].clone());
    assert_eq!(steps.each_ref().map(Vec::len), [127, 127]);
    // A step whose point neither it nor the next takes, since their bits of the challenge are 0.
    let idle = |at: usize| !h.bit(253 - at as u64) && !h.bit(252 - at as u64);
    for parity in [0, 1] {
        let at = (10..200)
            .find(|at| at % 2 == parity && idle(*at))
            .expect("one step in four");
        let row = steps[parity][at / 2];
        for offset in [step::TABLE, step::TABLE + 1] {
            let mut forged = sheet.clone();
            forged.advice[Z][row + offset] += Fr::one();
            let found: Vec<String> = checker.failures(&forged, &[]).into_iter().collect();
            assert_eq!(
                found,
                ["step: the table stays @ P-5.4: double-scalar multiplication"]
            );
        }
        // The other point of the table in the place of the one that the bits say, sums and all after it as they follow.
        let taken = (10..200)
            .find(|at| at % 2 == parity && h.bit(253 - *at as u64))
            .expect("one step in two");
        let row = steps[parity][taken / 2];
        let mut forged = sheet.clone();
        for i in [0, 1] {
            let other = forged.advice[Z][row - STEP_ROWS + step::TABLE + i];
            let own = forged.advice[Z][row + step::TABLE + i];
            let cell = &mut forged.advice[Z][row + step::ADDEND + i];
            *cell = if *cell == own { other } else { own };
        }
        let found = checker.failures(&forged, &[]);
        for name in ["x of the addend", "y of the addend"] {
            let name = format!("step: {name} @ P-5.4: double-scalar multiplication");
            assert!(found.contains(&name), "{found:?}");
        }
    }
}

#[test]
fn key_and_nonce_point_do_not_swap() {
    let signer = signer();
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &signer.key, message));
    assert_eq!(
        signature_failures(signer.r8, message, signer.key, &s, field::to_be),
        [SIGNATURE]
    );
}

#[test]
fn native_and_circuit_agree_on_torsion() {
    // A key with a component of order two: 8·A has none of it, so both accept (P-5.4).
    let signer = signer();
    let order_two = Point {
        x: Fr::zero(),
        y: -Fr::one(),
    };
    let key = signer.key.add(&order_two);
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &key, message));
    assert!(signature_failures(key, message, signer.r8, &s, field::to_be).is_empty());
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let signature = Signature { r8: signer.r8, s: be };
    assert_eq!(eddsa::verify(&PublicKey(key), &message, &signature), Ok(()));
}
