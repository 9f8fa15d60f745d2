//! Affine points in the form that additions take.

use super::super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::super::ifma;
use super::super::memory::{Zero, coordinate, coordinate_words};
use halo2curves::bn256::{Fq, G1, G1Affine};
use halo2curves::group::{Curve, Group};
use rayon::prelude::*;

/// An affine point in one cache line: `x`, then `y`, each below the modulus when it comes from [`Point::new`].
///
/// Coordinates have halo2curves' Montgomery form for portable arithmetic and that of radix `2^260` for IFMA. All zeros is
/// no point of the curve, and stands for the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(in crate::cpu) struct Point(pub(in crate::cpu) [u64; 8]);

// SAFETY: all zeros are [`Point::NONE`].
unsafe impl Zero for Point {}

impl Point {
    /// The identity, or nothing yet.
    pub(in crate::cpu) const NONE: Self = Self([0; 8]);

    pub(super) fn is_none(&self) -> bool {
        self.0.iter().fold(0, |any, word| any | word) == 0
    }

    pub(super) fn new(kernels: Kernels, point: &G1Affine) -> Self {
        let form = |coordinate: &Fq| match kernels {
            Kernels::Portable => coordinate_words(coordinate),
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(_) => coordinate_words(&coordinate.double().double().double().double()),
        };
        let mut words = [0; 8];
        words[..4].copy_from_slice(&form(&point.x));
        words[4..].copy_from_slice(&form(&point.y));
        Self(words)
    }

    /// The coordinates as halo2curves has them.
    pub(super) fn affine(&self, kernels: Kernels) -> G1Affine {
        let form = |words: &[u64]| match kernels {
            Kernels::Portable => coordinate([words[0], words[1], words[2], words[3]]),
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(_) => {
                ifma::curve::coordinate_from_own_form([words[0], words[1], words[2], words[3]])
            }
        };
        G1Affine {
            x: form(&self.0[..4]),
            y: form(&self.0[4..]),
        }
    }

    pub(super) fn projective(&self, kernels: Kernels) -> G1 {
        self.affine(kernels).into()
    }
}

/// Doubles points `times` times.
pub(super) fn double(kernels: Kernels, points: &[Point], times: u32, doubled: &mut [Point]) {
    const CHUNK: usize = 1 << 10;
    let chunks = points.par_chunks(CHUNK).zip(doubled.par_chunks_mut(CHUNK));
    chunks.for_each(|(points, doubled)| match kernels {
        Kernels::Portable => {
            let power = |point: &Point| (0..times).fold(point.projective(kernels), |sum, _| sum.double());
            let sums: Vec<G1> = points.iter().map(power).collect();
            let mut affine = vec![G1Affine::default(); sums.len()];
            G1::batch_normalize(&sums, &mut affine);
            for (point, affine) in doubled.iter_mut().zip(&affine) {
                *point = Point::new(kernels, affine);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Kernels::Ifma(available) => ifma::curve::double(available, points, times, doubled),
    });
}

/// `-point`, for one whose coordinates are below the modulus.
pub(super) fn negated(point: &Point, modulus: &[u64; 4]) -> Point {
    let mut words = point.0;
    let mut borrow = false;
    for (word, of) in words[4..].iter_mut().zip(modulus) {
        let (less, first) = of.overflowing_sub(*word);
        let (less, second) = less.overflowing_sub(u64::from(borrow));
        (*word, borrow) = (less, first || second);
    }
    Point(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::group::prime::PrimeCurveAffine;

    fn kernels() -> Vec<Kernels> {
        #[cfg(target_arch = "x86_64")]
        if let Some(available) = ifma::Available::detect() {
            return vec![Kernels::Portable, Kernels::Ifma(available)];
        }
        vec![Kernels::Portable]
    }

    #[test]
    fn points_keep_their_coordinates() {
        for kernels in kernels() {
            let point = (G1::generator() * halo2curves::bn256::Fr::from(77)).to_affine();
            assert_eq!(Point::new(kernels, &point).affine(kernels), point);
            let identity = G1Affine::identity();
            assert_eq!(Point::new(kernels, &identity), Point::NONE);
            assert_eq!(Point::NONE.affine(kernels), identity);
        }
    }

    #[test]
    fn doubling_doubles() {
        for kernels in kernels() {
            let points: Vec<G1Affine> = (0..37u64)
                .map(|i| (G1::generator() * halo2curves::bn256::Fr::from(i % 36)).to_affine())
                .collect();
            let prepared: Vec<Point> = points.iter().map(|point| Point::new(kernels, point)).collect();
            for times in [0, 1, 2, 21] {
                let mut doubled = vec![Point::NONE; points.len()];
                double(kernels, &prepared, times, &mut doubled);
                for (point, doubled) in points.iter().zip(&doubled) {
                    let expected = (0..times).fold(G1::from(*point), |sum, _| sum.double());
                    assert_eq!(doubled.affine(kernels), expected.to_affine());
                }
            }
        }
    }
}
