//! Multi-scalar multiplication.

use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use halo2curves::group::Group;
use halo2curves::group::prime::PrimeCurveAffine;
use halo2curves::msm::msm_best;

/// `Σ scalars[i] · points[i]`; there are at least as many points as scalars.
pub(super) fn msm(points: &[G1Affine], scalars: &[Fr]) -> G1 {
    let pairs = points.iter().zip(scalars);
    // `msm_best` asserts that no point is the identity.
    let (points, scalars): (Vec<G1Affine>, Vec<Fr>) = pairs
        .filter(|(point, scalar)| !bool::from(point.is_identity()) && !bool::from(scalar.is_zero()))
        .unzip();
    if scalars.is_empty() {
        return G1::identity();
    }
    msm_best(&scalars, &points)
}
