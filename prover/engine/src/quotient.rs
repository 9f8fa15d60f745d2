//! The quotient of all constraints by the polynomial that vanishes on the domain.
//!
//! Its degree is below `pieces · n`, so its values on `pieces` cosets of the domain determine it. On the coset of shift
//! `c`, `X^n = c^n` is a constant: the vanishing polynomial is `c^n - 1`, and with `h = Σ X^{n m} h_m` the coset's values
//! are those of `Σ c^{n m} h_m`, a polynomial of degree below `n`. One inverse transform per coset and a Vandermonde
//! system in the `c^n` give the pieces.

use accel::{Device, Direction, Op, Operand, Program};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use std::collections::HashMap;

use crate::error::EngineError;
use crate::graph::Poly;
use crate::key::{powers_of, to_coset, zeros};
use crate::prove::Proof;
use crate::system::Domain;

impl<D: Device> Proof<'_, '_, D> {
    /// The pieces `h_0, h_1, ...` in coefficients.
    pub fn quotient(&self) -> Result<Vec<D::Vector>, EngineError> {
        let (device, domain) = (&*self.engine.device, self.engine.system.domain);
        let mut parts = Vec::with_capacity(domain.pieces);
        let mut workspace = self.workspace()?;
        for part in 0..domain.pieces {
            parts.push(self.part(part, &mut workspace)?);
        }
        drop(workspace);
        let parts: Vec<&D::Vector> = parts.iter().collect();
        let weights = interpolation(&domain);
        let pieces = weights
            .iter()
            .map(|weights| Ok(device.combine(&parts, weights, domain.n)?));
        pieces.collect()
    }

    /// Room for the inputs on one coset that the key does not keep.
    fn workspace(&self) -> Result<Vec<D::Vector>, EngineError> {
        let count = self.transformed().count();
        zeros(&*self.engine.device, self.engine.system.domain.n, count)
    }

    /// Inputs of the quotient that are transformed in every part.
    fn transformed(&self) -> impl Iterator<Item = Poly> {
        let inputs = self.engine.system.quotient.inputs.iter().copied();
        inputs.filter(|poly| {
            !matches!(poly, Poly::FirstRow | Poly::Identity) && !self.engine.key.cosets.contains_key(poly)
        })
    }

    /// The values of the constraints on a coset, as the coefficients of the polynomial of degree below `n` that has
    /// them.
    fn part(&self, part: usize, workspace: &mut [D::Vector]) -> Result<D::Vector, EngineError> {
        let (device, system, key) = (&*self.engine.device, &self.engine.system, &self.engine.key);
        let (n, shift) = (system.domain.n, system.domain.coset(part));
        let transformed: Vec<Poly> = self.transformed().collect();
        let sources: Vec<&D::Vector> = transformed.iter().map(|poly| self.coefficients(*poly)).collect();
        let powers = device.upload(&powers_of(shift, n))?;
        to_coset(device, &sources, &powers, workspace)?;
        drop(powers);
        let places: HashMap<Poly, usize> = transformed.into_iter().zip(0..).collect();
        let first_row = self.first_row(shift)?;
        let input = |poly: &Poly| match poly {
            Poly::FirstRow => &first_row,
            Poly::Identity => &key.values[&Poly::Identity],
            poly => match places.get(poly) {
                Some(place) => &workspace[*place],
                None => &key.cosets[poly][part],
            },
        };
        let inputs: Vec<&D::Vector> = system.quotient.inputs.iter().map(input).collect();
        let constants = self.challenges.constants(&system.quotient.scalars, shift);
        let mut values = device.zeros(n)?;
        device.run(&system.quotient.program, &inputs, &constants, &mut [&mut values])?;
        drop(first_row);
        device.ntt(&mut [&mut values], Direction::Inverse)?;
        let inverse = shift.invert().expect("a coset's shift is not zero");
        let powers = device.upload(&powers_of(inverse, n))?;
        let mut coefficients = device.zeros(n)?;
        let input = |column| Operand::Input { column, rotation: 0 };
        let program = Program::new(vec![Op::Mul(input(0), input(1))], vec![Operand::Result(0)])
            .expect("one instruction");
        device.run(&program, &[&values, &powers], &[], &mut [&mut coefficients])?;
        Ok(coefficients)
    }

    /// `l_0 = (X^n - 1) / (n (X - 1))` on the coset.
    fn first_row(&self, shift: Fr) -> Result<D::Vector, EngineError> {
        let (device, n) = (&*self.engine.device, self.engine.system.domain.n);
        let scale = Fr::from(n as u64) * vanishing(shift, n).invert().expect("a coset lies off the domain");
        let mut row = device.zeros(n)?;
        let identity = Operand::Input {
            column: 0,
            rotation: 0,
        };
        let program = Program::new(
            vec![
                Op::Mul(identity, Operand::Constant(0)),
                Op::Sub(Operand::Result(0), Operand::Constant(1)),
            ],
            vec![Operand::Result(1)],
        )
        .expect("in order");
        let identity = &self.engine.key.values[&Poly::Identity];
        device.run(&program, &[identity], &[scale * shift, scale], &mut [&mut row])?;
        device.invert(&mut row)?;
        Ok(row)
    }

    /// Checks what the verifier will check at `x`: that the quotient is the quotient of the constraints.
    pub fn check(&self, x: Fr, evaluations: &HashMap<(Poly, i32), Fr>) -> Result<(), EngineError> {
        let system = &self.engine.system;
        let n = system.domain.n;
        let vanishing = vanishing(x, n);
        if vanishing == Fr::ZERO {
            return Err(EngineError::Challenge);
        }
        let constants = self.challenges.constants(&system.quotient.scalars, x);
        let first_row = |rotation: i32| {
            let denominator = Fr::from(n as u64) * (system.domain.rotate(x, rotation) - Fr::ONE);
            vanishing * denominator.invert().expect("x lies off the domain")
        };
        let input = |poly: Poly, rotation: i32| match poly {
            Poly::FirstRow => first_row(rotation),
            Poly::Identity => Fr::ONE,
            poly => evaluations[&(poly, rotation)],
        };
        let constraints = system.quotient.evaluate(&constants, &input)[0];
        if constraints == evaluations[&(Poly::Quotient, 0)] * vanishing {
            Ok(())
        } else {
            Err(EngineError::Unsatisfied { what: "gates" })
        }
    }
}

/// `x^n - 1`.
fn vanishing(x: Fr, n: usize) -> Fr {
    x.pow_vartime([n as u64]) - Fr::ONE
}

/// Row `m` holds the weights with which the parts make piece `m`: the inverse of the Vandermonde matrix of the `c^n`,
/// each column divided by its coset's `c^n - 1`.
fn interpolation(domain: &Domain) -> Vec<Vec<Fr>> {
    let nodes: Vec<Fr> = (0..domain.pieces)
        .map(|part| domain.coset(part).pow_vartime([domain.n as u64]))
        .collect();
    let mut weights = vec![vec![Fr::ZERO; nodes.len()]; nodes.len()];
    for (part, node) in nodes.iter().enumerate() {
        // The Lagrange polynomial of this node, lowest coefficient first.
        let mut polynomial = vec![Fr::ONE];
        let mut scale = node - Fr::ONE;
        for other in nodes.iter().filter(|other| *other != node) {
            polynomial.push(Fr::ZERO);
            for at in (0..polynomial.len()).rev() {
                let below = if at > 0 { polynomial[at - 1] } else { Fr::ZERO };
                polynomial[at] = below - polynomial[at] * other;
            }
            scale *= node - other;
        }
        let scale = scale.invert().expect("cosets differ and lie off the domain");
        for (piece, coefficient) in polynomial.into_iter().enumerate() {
            weights[piece][part] = coefficient * scale;
        }
    }
    weights
}
