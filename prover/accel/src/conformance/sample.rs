//! Seeded values and bases whose discrete logarithms are known.

use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::{Field, FromUniformBytes};
use halo2curves::group::{Curve, Group};

/// A generator of test values (SplitMix64).
pub(crate) struct Sampler {
    state: u64,
}

impl Sampler {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    pub(crate) fn scalar(&mut self) -> Fr {
        let mut bytes = [0; 64];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes());
        }
        Fr::from_uniform_bytes(&bytes)
    }

    /// A value of at most `bits` bits, which are 128 at most.
    pub(crate) fn small(&mut self, bits: u32) -> Fr {
        let drawn = (u128::from(self.word()) << 64) | u128::from(self.word());
        let kept = drawn.checked_shr(128 - bits).unwrap_or(0);
        Fr::from((kept >> 64) as u64) * Fr::from(2).pow_vartime([64]) + Fr::from(kept as u64)
    }

    pub(crate) fn scalars(&mut self, n: usize) -> Vec<Fr> {
        (0..n).map(|_| self.scalar()).collect()
    }

    /// Random values with edge values strewn in.
    pub(crate) fn mixed(&mut self, n: usize) -> Vec<Fr> {
        let edges = edges();
        let value = |sampler: &mut Self| match sampler.below(3) {
            0 => edges[sampler.below(edges.len())],
            _ => sampler.scalar(),
        };
        (0..n).map(|_| value(self)).collect()
    }
}

/// Values where carries, borrows and reductions turn.
pub(crate) fn edges() -> Vec<Fr> {
    let mut edges = vec![
        Fr::ZERO,
        Fr::ONE,
        -Fr::ONE,
        Fr::from(2),
        -Fr::from(2),
        Fr::from(u64::MAX),
    ];
    // Powers of two and their neighbours, in the values and in their Montgomery forms for the radices 2^256 and 2^260.
    for exponent in [51u64, 52, 104, 127, 128, 208, 253] {
        let power = Fr::from(2).pow_vartime([exponent]);
        for radix in [0u64, 256, 260] {
            let unit = Fr::from(2).pow_vartime([radix]).invert().unwrap_or(Fr::ONE);
            edges.extend([power * unit, (power - Fr::ONE) * unit, -(power * unit)]);
        }
    }
    edges
}

/// Points with known logarithms to the generator, so that sums of multiples have a one-line answer.
pub(crate) struct KnownBases {
    pub(crate) points: Vec<G1Affine>,
    pub(crate) logarithms: Vec<Fr>,
}

impl KnownBases {
    /// `n` points whose sums meet each other no more than those of random points do.
    pub(crate) fn new(sampler: &mut Sampler, n: usize) -> Self {
        Self::steps(sampler, n, true)
    }

    /// `n` points from an arithmetic progression of logarithms, so that many pairs have the same sum.
    pub(crate) fn progression(sampler: &mut Sampler, n: usize) -> Self {
        Self::steps(sampler, n, false)
    }

    fn steps(sampler: &mut Sampler, n: usize, double: bool) -> Self {
        let (first, step) = (sampler.scalar(), sampler.scalar());
        let (mut point, difference) = (G1::generator() * first, G1::generator() * step);
        let mut logarithm = first;
        let mut projective = Vec::with_capacity(n);
        let mut logarithms = Vec::with_capacity(n);
        for _ in 0..n {
            projective.push(point);
            logarithms.push(logarithm);
            if double {
                point = point.double();
                logarithm = logarithm.double();
            }
            point += difference;
            logarithm += step;
        }
        let mut points = vec![G1Affine::default(); n];
        G1::batch_normalize(&projective, &mut points);
        Self { points, logarithms }
    }

    /// Puts a multiple of the generator at an index; zero makes it the identity.
    pub(crate) fn set(&mut self, at: usize, logarithm: Fr) {
        self.points[at] = (G1::generator() * logarithm).to_affine();
        self.logarithms[at] = logarithm;
    }

    /// `Σ scalars[i] · points[i]`.
    pub(crate) fn sum(&self, scalars: &[Fr]) -> G1 {
        let pairs = scalars.iter().zip(&self.logarithms);
        G1::generator() * pairs.map(|(scalar, logarithm)| *scalar * logarithm).sum::<Fr>()
    }
}
