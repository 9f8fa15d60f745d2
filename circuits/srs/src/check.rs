//! Checks on points that come from outside: canonical, on the curve, not the identity, and powers of one secret.

use halo2_proofs::{
    arithmetic::best_multiexp,
    poly::{EvaluationDomain, Polynomial},
};
use halo2curves::{
    CurveAffine,
    bn256::{Bn256, Fq, Fq2, Fr, G1Affine, G2Affine},
    ff::Field,
    group::{Curve, Group, cofactor::CofactorGroup, prime::PrimeCurveAffine},
    pairing::{MillerLoopResult, MultiMillerLoop},
    serde::SerdeObject,
};
use rand::rngs::OsRng;
use rayon::prelude::*;

use crate::{error::SrsError, opening::OpeningKey};

/// Bytes of an uncompressed point of G1: x, y, each in Montgomery form, little endian.
pub const G1_BYTES: usize = 64;
/// Bytes of an uncompressed point of G2.
pub const G2_BYTES: usize = 128;

/// Points of G1 from Montgomery little-endian coordinates, each checked. `bytes` is a whole number of points.
pub(crate) fn parse_g1(part: &'static str, bytes: &[u8]) -> Result<Vec<G1Affine>, SrsError> {
    debug_assert_eq!(bytes.len() % G1_BYTES, 0);
    bytes
        .par_chunks_exact(G1_BYTES)
        .enumerate()
        .map(|(index, raw)| {
            let x = Fq::from_raw_bytes(&raw[..32]).ok_or(SrsError::NonCanonical { part, index })?;
            let y = Fq::from_raw_bytes(&raw[32..]).ok_or(SrsError::NonCanonical { part, index })?;
            check_g1(part, index, &G1Affine { x, y })
        })
        .collect()
}

/// Points of G2, likewise; they are also checked to be in the subgroup of order r, which in G1 is the whole curve.
pub(crate) fn parse_g2(part: &'static str, bytes: &[u8]) -> Result<Vec<G2Affine>, SrsError> {
    debug_assert_eq!(bytes.len() % G2_BYTES, 0);
    bytes
        .par_chunks_exact(G2_BYTES)
        .enumerate()
        .map(|(index, raw)| {
            let coordinate = |at: usize| {
                Fq::from_raw_bytes(&raw[at..at + 32]).ok_or(SrsError::NonCanonical { part, index })
            };
            let x = Fq2 {
                c0: coordinate(0)?,
                c1: coordinate(32)?,
            };
            let y = Fq2 {
                c0: coordinate(64)?,
                c1: coordinate(96)?,
            };
            check_g2(part, index, &G2Affine { x, y })
        })
        .collect()
}

fn check_g1(part: &'static str, index: usize, point: &G1Affine) -> Result<G1Affine, SrsError> {
    if bool::from(point.is_identity()) {
        return Err(SrsError::Identity { part, index });
    }
    if !bool::from(point.is_on_curve()) {
        return Err(SrsError::OffCurve { part, index });
    }
    Ok(*point)
}

fn check_g2(part: &'static str, index: usize, point: &G2Affine) -> Result<G2Affine, SrsError> {
    if bool::from(point.is_identity()) {
        return Err(SrsError::Identity { part, index });
    }
    if !bool::from(point.is_on_curve()) {
        return Err(SrsError::OffCurve { part, index });
    }
    if !bool::from(point.to_curve().is_torsion_free()) {
        return Err(SrsError::Subgroup { part, index });
    }
    Ok(*point)
}

/// Checks that `g` is `1, s, s², …` times the generator, for the `s` of `s_g2`.
///
/// With random `r_i`, `e(Σ r_i g_{i+1}, g2) = e(Σ r_i g_i, s·g2)` holds for other points with probability below `2^-250`.
pub(crate) fn check_powers(g: &[G1Affine], key: &OpeningKey) -> Result<(), SrsError> {
    if g.first() != Some(&G1Affine::generator()) {
        return Err(SrsError::Generator { part: "g1" });
    }
    if key.g2 != G2Affine::generator() {
        return Err(SrsError::Generator { part: "g2" });
    }
    if key.s_g2 == key.g2 {
        return Err(SrsError::Degenerate);
    }
    let scalars = random_scalars(g.len() - 1);
    let shifted = best_multiexp(&scalars, &g[1..]).to_affine();
    let base = best_multiexp(&scalars, &g[..g.len() - 1]).to_affine();
    let terms = [(&shifted, &key.g2.into()), (&base, &(-key.s_g2).into())];
    if !bool::from(
        Bn256::multi_miller_loop(&terms)
            .final_exponentiation()
            .is_identity(),
    ) {
        return Err(SrsError::Powers);
    }
    Ok(())
}

/// Checks a Lagrange basis against the powers `g` (of the same length, `2^k`): both commit alike to a random polynomial.
pub(crate) fn check_lagrange(k: u32, g: &[G1Affine], g_lagrange: &[G1Affine]) -> Result<(), SrsError> {
    let values = random_scalars(g.len());
    let by_values = best_multiexp(&values, g_lagrange);
    let coefficients = EvaluationDomain::<Fr>::new(2, k).lagrange_to_coeff(Polynomial::new(values));
    if best_multiexp(&coefficients, g) != by_values {
        return Err(SrsError::Lagrange);
    }
    Ok(())
}

fn random_scalars(count: usize) -> Vec<Fr> {
    (0..count).map(|_| Fr::random(OsRng)).collect()
}
