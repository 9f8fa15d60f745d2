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
use crate::graph::{Compiled, Graph, Poly, Scalar};
use crate::key::zeros;
use crate::prove::Proof;
use crate::system::Domain;

/// Vectors that every part writes anew.
struct Workspace<V> {
    /// Inputs on the coset, of those that the key does not keep.
    cosets: Vec<V>,
    /// `l_0` on the coset.
    first_row: V,
}

impl<D: Device> Proof<'_, '_, D> {
    /// The pieces `h_0, h_1, ...` in coefficients.
    pub fn quotient(&self) -> Result<Vec<D::Vector>, EngineError> {
        let (device, domain) = (&*self.engine.device, self.engine.system.domain);
        let transformed = self.transformed();
        let mut workspace = Workspace {
            cosets: zeros(device, domain.n, transformed.len())?,
            first_row: device.zeros(domain.n)?,
        };
        let mut parts = Vec::with_capacity(domain.pieces);
        for part in 0..domain.pieces {
            parts.push(self.part(part, &transformed, &mut workspace)?);
        }
        let mut parts: Vec<&mut D::Vector> = parts.iter_mut().collect();
        device.ntt(&mut parts, Direction::Inverse)?;
        let parts: Vec<&D::Vector> = parts.into_iter().map(|part| &*part).collect();
        self.assemble(&parts, workspace.cosets)
    }

    /// Inputs of the quotient that are transformed in every part.
    fn transformed(&self) -> Vec<Poly> {
        let inputs = self.engine.system.quotient.inputs.iter().copied();
        let kept = &self.engine.key.cosets;
        inputs
            .filter(|poly| !matches!(poly, Poly::FirstRow | Poly::Identity) && !kept.contains_key(poly))
            .collect()
    }

    /// The values of the constraints on a coset.
    fn part(
        &self,
        part: usize,
        transformed: &[Poly],
        workspace: &mut Workspace<D::Vector>,
    ) -> Result<D::Vector, EngineError> {
        let (device, system, key) = (&*self.engine.device, &self.engine.system, &self.engine.key);
        let shift = system.domain.coset(part);
        let sources: Vec<&D::Vector> = transformed.iter().map(|poly| self.coefficients(*poly)).collect();
        let mut targets: Vec<&mut D::Vector> = workspace.cosets.iter_mut().collect();
        device.coset_ntt(&sources, shift, &mut targets)?;
        self.first_row(shift, &mut workspace.first_row)?;
        let places: HashMap<Poly, usize> = transformed.iter().copied().zip(0..).collect();
        let input = |poly: &Poly| match poly {
            Poly::FirstRow => &workspace.first_row,
            Poly::Identity => &key.values[&Poly::Identity],
            poly => match places.get(poly) {
                Some(place) => &workspace.cosets[*place],
                None => &key.cosets[poly][part],
            },
        };
        let inputs: Vec<&D::Vector> = system.quotient.inputs.iter().map(input).collect();
        let constants = self.challenges.constants(&system.quotient.scalars, shift);
        let mut values = device.zeros(system.domain.n)?;
        device.run(&system.quotient.program, &inputs, &constants, &mut [&mut values])?;
        Ok(values)
    }

    /// `l_0 = (X^n - 1) / (n (X - 1))` on the coset.
    fn first_row(&self, shift: Fr, row: &mut D::Vector) -> Result<(), EngineError> {
        let (device, n) = (&*self.engine.device, self.engine.system.domain.n);
        let scale = Fr::from(n as u64) * vanishing(shift, n).invert().expect("a coset lies off the domain");
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
        device.run(&program, &[identity], &[scale * shift, scale], &mut [row])?;
        Ok(device.invert(row)?)
    }

    /// Solves for the pieces, given the parts' values as polynomials of degree below `n` in the coset's own variable.
    /// `room` is overwritten.
    fn assemble(
        &self,
        parts: &[&D::Vector],
        mut room: Vec<D::Vector>,
    ) -> Result<Vec<D::Vector>, EngineError> {
        let (device, domain) = (&*self.engine.device, self.engine.system.domain);
        let mut vector = || room.pop().map_or_else(|| device.zeros(domain.n), Ok);
        let (mut shifts, mut steps) = (vector()?, vector()?);
        self.powers(domain.coset(0), &mut shifts)?;
        self.powers(domain.coset_step(), &mut steps)?;
        let mut pieces = parts.iter().map(|_| vector()).collect::<Result<Vec<_>, _>>()?;
        let assembly = assembly(&domain);
        let inputs = |poly: &Poly| match poly {
            Poly::Part(part) => parts[*part],
            Poly::Shifts => &shifts,
            Poly::Steps => &steps,
            _ => unreachable!("these are the assembly's inputs"),
        };
        let inputs: Vec<&D::Vector> = assembly.inputs.iter().map(inputs).collect();
        let constants = self.challenges.constants(&assembly.scalars, Fr::ONE);
        let mut outputs: Vec<&mut D::Vector> = pieces.iter_mut().collect();
        device.run(&assembly.program, &inputs, &constants, &mut outputs)?;
        Ok(pieces)
    }

    /// The powers of the inverse of `base`.
    fn powers(&self, base: Fr, into: &mut D::Vector) -> Result<(), EngineError> {
        let device = &*self.engine.device;
        let any = Operand::Input {
            column: 0,
            rotation: 0,
        };
        let program = Program::new(
            vec![
                Op::Sub(any, any),
                Op::Add(Operand::Result(0), Operand::Constant(0)),
            ],
            vec![Operand::Result(1)],
        )
        .expect("in order");
        let inverse = base.invert().expect("a coset's shift is not zero");
        let any = &self.engine.key.values[&Poly::Identity];
        device.run(&program, &[any], &[inverse], &mut [&mut *into])?;
        Ok(device.running_product(into, Fr::ONE)?)
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

/// From the parts `Σ_m c^{n m} h_m(cX)` (divided by `c^n - 1` here) to the pieces `h_m(X)`, coefficient by coefficient.
/// The shift of part `j` is that of part 0 times the `j`-th power of a step, so that two vectors of powers take all parts
/// out of their cosets.
fn assembly(domain: &Domain) -> Compiled {
    let mut graph = Graph::default();
    let (shifts, steps) = (graph.input(Poly::Shifts, 0), graph.input(Poly::Steps, 0));
    let mut step = graph.value(Fr::ONE);
    let mut parts = Vec::with_capacity(domain.pieces);
    for part in 0..domain.pieces {
        let input = graph.input(Poly::Part(part), 0);
        parts.push(graph.mul(input, step));
        step = graph.mul(step, steps);
    }
    let mut pieces = Vec::with_capacity(domain.pieces);
    for weights in interpolation(domain) {
        let mut sum = graph.value(Fr::ZERO);
        for (part, weight) in parts.iter().zip(weights) {
            let weight = graph.scalar(Scalar::Value(weight));
            let term = graph.mul(*part, weight);
            sum = graph.add(sum, term);
        }
        pieces.push(graph.mul(sum, shifts));
    }
    graph.compile(&pieces)
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
