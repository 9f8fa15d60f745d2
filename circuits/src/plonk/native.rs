//! The equation with plain values: proofs to an accumulator, and its pairing.

use halo2_proofs::arithmetic::best_multiexp;
use halo2curves::{
    bn256::{Bn256, Fr, G1, G1Affine},
    group::{Curve, Group},
    pairing::{MillerLoopResult, MultiMillerLoop},
};

use super::{
    arithmetic::Native,
    equation::{Absorb, Folded, Terms, challenges, fold, terms, terms_at},
    proof::Proof,
    shape::Shape,
    transcript::Keccak,
};
use srs::OpeningKey;

/// A challenge meets a point at which the equation divides by 0; no transcript known does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a challenge lies on the evaluation domain")]
pub struct Degenerate;

/// The accumulator `[lhs, rhs]` of proofs under one key, whose transcript is hashed with Poseidon: they all verify if its
/// pairing holds. Panics without a proof.
///
/// # Errors
/// [`Degenerate`].
pub fn accumulate(shape: &Shape, proofs: &[Proof]) -> Result<[G1Affine; 2], Degenerate> {
    accumulate_with(shape, proofs, &[])
}

/// The same, with accumulators folded in that the proofs have among their instances: if the pairing holds, theirs do too.
///
/// # Errors
/// [`Degenerate`].
pub fn accumulate_with(
    shape: &Shape,
    proofs: &[Proof],
    accumulators: &[[G1Affine; 2]],
) -> Result<[G1Affine; 2], Degenerate> {
    accumulate_terms(shape, proofs, accumulators, |native, proof| {
        terms(shape, native, &proof.scalars)
    })
}

/// The accumulator of one proof, whose transcript is L1's.
pub(crate) fn accumulate_evm(shape: &Shape, proof: &Proof) -> Result<[G1Affine; 2], Degenerate> {
    accumulate_terms(shape, std::slice::from_ref(proof), &[], |native, proof| {
        let challenges = challenges(shape, Hashed::new(proof));
        terms_at(shape, native, &proof.scalars, challenges)
    })
}

fn accumulate_terms(
    shape: &Shape,
    proofs: &[Proof],
    accumulators: &[[G1Affine; 2]],
    mut terms: impl FnMut(&mut Native, &Proof) -> Terms<Fr>,
) -> Result<[G1Affine; 2], Degenerate> {
    let mut native = Native::default();
    let read = proofs.iter().map(|proof| terms(&mut native, proof)).collect();
    let folded = fold(&mut native, read, accumulators.len());
    if native.inverted_zero {
        return Err(Degenerate);
    }
    let mut sums = multiply(shape, &folded, proofs);
    for (accumulator, weight) in accumulators.iter().zip(&folded.accumulators) {
        for (sum, point) in sums.iter_mut().zip(accumulator) {
            *sum += point * weight;
        }
    }
    Ok(sums.map(|sum| sum.to_affine()))
}

/// Whether `e(lhs, g₂) = e(rhs, s·g₂)`.
pub(crate) fn pairs(opening: &OpeningKey, [lhs, rhs]: &[G1Affine; 2]) -> bool {
    let terms = [(lhs, &opening.g2.into()), (rhs, &(-opening.s_g2).into())];
    Bn256::multi_miller_loop(&terms)
        .final_exponentiation()
        .is_identity()
        .into()
}

/// The two sums of a folded equation.
fn multiply(shape: &Shape, folded: &Folded<Fr>, proofs: &[Proof]) -> [G1; 2] {
    let key = shape.commitments.iter().copied().chain([G1Affine::generator()]);
    let points = proofs.iter().flat_map(|proof| &proof.points);
    let bases: Vec<G1Affine> = key.chain(points.copied()).collect();
    let scalars: Vec<Fr> = folded
        .key
        .iter()
        .chain(folded.proofs.iter().flatten())
        .copied()
        .collect();
    let last = |proof: &Proof| proof.points[proof.points.len() - 1];
    let rhs = proofs[1..].iter().map(last).zip(&folded.weights);
    let rhs = rhs.fold(G1::from(last(&proofs[0])), |sum, (point, weight)| {
        sum + point * weight
    });
    [best_multiexp(&scalars, &bases), rhs]
}

/// L1's transcript of a proof.
struct Hashed<'a> {
    proof: &'a Proof,
    points: std::slice::Iter<'a, G1Affine>,
    keccak: Keccak,
}

impl<'a> Hashed<'a> {
    fn new(proof: &'a Proof) -> Self {
        Self {
            proof,
            points: proof.points.iter(),
            keccak: Keccak::default(),
        }
    }

    fn absorb(&mut self, values: &[Fr]) {
        values.iter().for_each(|value| self.keccak.absorb(value));
    }
}

impl Absorb for Hashed<'_> {
    type Scalar = Fr;

    fn key(&mut self, digest: Fr) {
        self.keccak.absorb(&digest);
    }

    fn instances(&mut self) {
        self.absorb(&self.proof.scalars.instances);
    }

    fn points(&mut self, count: usize) {
        for _ in 0..count {
            let point = self.points.next().expect("a proof has the points of its shape");
            self.keccak.absorb(&point.x);
            self.keccak.absorb(&point.y);
        }
    }

    fn scalars(&mut self) {
        self.absorb(&self.proof.scalars.scalars);
    }

    fn squeeze(&mut self) -> Fr {
        self.keccak.squeeze()
    }
}
