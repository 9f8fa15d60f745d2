//! The equation with plain values: children's bytes to an accumulator.

use halo2_proofs::arithmetic::best_multiexp;
use halo2curves::{
    CurveAffine,
    bn256::{Fq, Fr, G1, G1Affine},
    ff::PrimeField,
    group::Curve,
};
use num_bigint::BigUint;

use super::{
    arithmetic::Native,
    equation::{ChildScalars, Folded, fold, terms},
    shape::Shape,
};
use crate::{
    aggregation::ChildProof,
    field,
    verify::{ShardVerifier, VerifyError},
};

/// Why children have no accumulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EquationError {
    /// A child's bytes are no proof.
    #[error("child {child}: {source}")]
    Child {
        /// The child's place.
        child: usize,
        /// What is wrong with it.
        source: VerifyError,
    },
    /// A challenge meets a point at which the equation divides by 0; no transcript known does that.
    #[error("a challenge lies on the evaluation domain")]
    Degenerate,
}

/// The equation of proofs under one key.
#[derive(Clone, Debug)]
pub struct Equation {
    pub(super) shape: Shape,
}

/// A child taken apart: its points, and everything as scalars.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub points: Vec<G1Affine>,
    pub scalars: ChildScalars<Fr>,
}

impl Equation {
    /// The equation of a shard verifier's key.
    pub fn new(shard: &ShardVerifier) -> Self {
        Self {
            shape: Shape::new(shard.vk(), shard.instances()),
        }
    }

    /// The accumulator `[lhs, rhs]` of children: they all verify if its pairing holds.
    ///
    /// # Errors
    /// [`EquationError`].
    pub fn accumulate(&self, children: &[ChildProof]) -> Result<[G1Affine; 2], EquationError> {
        let mut native = Native::default();
        let mut points = vec![];
        let mut read = vec![];
        for (place, child) in children.iter().enumerate() {
            let child = Child::read(&self.shape, child)
                .map_err(|source| EquationError::Child { child: place, source })?;
            read.push(terms(&self.shape, &mut native, &child.scalars));
            points.push(child.points);
        }
        let folded = fold(&mut native, read);
        if native.inverted_zero {
            return Err(EquationError::Degenerate);
        }
        Ok(multiply(&self.shape, &folded, &points))
    }
}

/// The two sums of a folded equation.
fn multiply(shape: &Shape, folded: &Folded<Fr>, points: &[Vec<G1Affine>]) -> [G1Affine; 2] {
    let key = shape.commitments.iter().copied().chain([G1Affine::generator()]);
    let bases: Vec<G1Affine> = key.chain(points.iter().flatten().copied()).collect();
    let scalars: Vec<Fr> = folded
        .key
        .iter()
        .chain(folded.proofs.iter().flatten())
        .copied()
        .collect();
    let last = |points: &Vec<G1Affine>| points[points.len() - 1];
    let rhs = points[1..].iter().map(last).zip(&folded.weights);
    let rhs = rhs.fold(G1::from(last(&points[0])), |sum, (point, weight)| {
        sum + point * weight
    });
    [best_multiexp(&scalars, &bases), rhs].map(|sum| sum.to_affine())
}

impl Child {
    /// Takes a proof's bytes apart.
    pub fn read(shape: &Shape, child: &ChildProof) -> Result<Self, VerifyError> {
        let found = child.instances.len();
        if found != shape.instances {
            return Err(VerifyError::InstanceCount {
                found,
                expected: shape.instances,
            });
        }
        let opening = shape.points.total() - shape.points.opening;
        let elements = crate::verify::read_shard_proof(&child.proof, opening, shape.scalars)?;
        let scalars = ChildScalars {
            instances: child.instances.clone(),
            points: elements.0.iter().map(coordinates).collect(),
            scalars: elements.1,
        };
        Ok(Self {
            points: elements.0,
            scalars,
        })
    }
}

/// A point's coordinates as integers, modulo r.
pub(super) fn coordinates(point: &G1Affine) -> [Fr; 2] {
    let coordinates = point.coordinates().expect("no point of a proof is the identity");
    [coordinates.x(), coordinates.y()].map(base_to_scalar)
}

fn base_to_scalar(value: &Fq) -> Fr {
    field::reduce(&BigUint::from_bytes_le(&value.to_repr()))
}
