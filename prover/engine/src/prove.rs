//! The protocol, in the order of its transcript.

use accel::{Device, Direction, Op, Operand, Program};
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use halo2curves::group::Curve;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use std::collections::HashMap;

use crate::Engine;
use crate::channel::Channel;
use crate::clock::{Clock, Phase};
use crate::error::EngineError;
use crate::graph::{Compiled, Poly};
use crate::lookup;
use crate::system::Challenges;

/// A proof under way.
pub(crate) struct Proof<'a, 'c, D: Device> {
    pub engine: &'a Engine<D>,
    rng: &'a mut dyn RngCore,
    channel: &'a mut dyn Channel,
    clock: &'a mut Clock<'c>,
    pub challenges: Challenges,
    /// This proof's polynomials: values on the domain until the quotient, coefficients from then on.
    pub polys: HashMap<Poly, D::Vector>,
}

/// The two bases of the reference string.
#[derive(Clone, Copy)]
pub(crate) enum Basis {
    /// For coefficients.
    Powers,
    /// For values on the domain.
    Lagrange,
}

impl<'a, 'c, D: Device> Proof<'a, 'c, D> {
    /// Begins a proof: takes in the key's digest and the instances.
    pub fn new(
        engine: &'a Engine<D>,
        instances: &[&[Fr]],
        rng: &'a mut dyn RngCore,
        channel: &'a mut dyn Channel,
        clock: &'a mut Clock<'c>,
    ) -> Result<Self, EngineError> {
        let system = &engine.system;
        let expected = system.cs.num_instance_columns();
        if instances.len() != expected {
            let reason = format!("{} columns, the circuit has {expected}", instances.len());
            return Err(EngineError::Instances { reason });
        }
        channel.common_scalar(system.transcript_repr)?;
        let mut polys = HashMap::new();
        for (column, values) in instances.iter().enumerate() {
            let (found, rows) = (values.len(), system.usable_rows());
            let expected = engine.options.instances;
            if found > rows || expected.is_some_and(|expected| found != expected) {
                let takes = match expected {
                    Some(expected) => format!("takes {expected}"),
                    None => format!("has {rows} rows"),
                };
                let reason = format!("column {column} has {found} values, the circuit {takes}");
                return Err(EngineError::Instances { reason });
            }
            for value in *values {
                channel.common_scalar(*value)?;
            }
            let mut padded = engine.device.zeros(system.domain.n)?;
            engine.device.write(&mut padded, 0, values)?;
            polys.insert(Poly::Instance(column), padded);
        }
        let challenges = Challenges {
            phases: vec![Fr::ZERO; system.cs.num_challenges()],
            ..Challenges::default()
        };
        Ok(Self {
            engine,
            rng,
            channel,
            clock,
            challenges,
            polys,
        })
    }

    pub fn enter(&mut self, phase: Phase) {
        self.clock.enter(phase);
    }

    /// Blinds and commits the advice columns of a phase; gives the challenges that follow, with their indices.
    pub fn end_phase(
        &mut self,
        phase: usize,
        mut columns: Vec<Vec<Fr>>,
    ) -> Result<Vec<(usize, Fr)>, EngineError> {
        self.enter(Phase::Commitments);
        let system = &self.engine.system;
        let phase = &system.phases[phase];
        for column in &mut columns {
            for cell in &mut column[system.usable_rows()..] {
                *cell = Fr::random(&mut *self.rng);
            }
        }
        self.skip_blinds(columns.len());
        let mut vectors = Vec::with_capacity(columns.len());
        for column in columns {
            vectors.push(self.engine.device.upload(&column)?);
        }
        self.commit(Basis::Lagrange, &vectors.iter().collect::<Vec<_>>())?;
        self.polys
            .extend(phase.advice.iter().map(|index| Poly::Advice(*index)).zip(vectors));
        let mut challenges = Vec::with_capacity(phase.challenges.len());
        for index in &phase.challenges {
            let challenge = self.channel.challenge();
            self.challenges.phases[*index] = challenge;
            challenges.push((*index, challenge));
        }
        Ok(challenges)
    }

    /// All that follows the last phase of advice.
    pub fn finish(mut self) -> Result<(), EngineError> {
        if self.engine.options.debug {
            self.diagnose()?;
        }
        self.enter(Phase::Lookups);
        self.challenges.theta = self.channel.challenge();
        self.permute_lookups()?;
        self.challenges.beta = self.channel.challenge();
        self.challenges.gamma = self.channel.challenge();
        self.enter(Phase::Permutation);
        self.permutation_products()?;
        self.lookup_products()?;
        self.enter(Phase::Commitments);
        self.random_polynomial()?;
        self.challenges.y = self.channel.challenge();
        self.enter(Phase::Quotient);
        self.interpolate()?;
        let pieces = self.quotient()?;
        self.skip_blinds(pieces.len());
        self.commit(Basis::Powers, &pieces.iter().collect::<Vec<_>>())?;
        self.enter(Phase::Evaluations);
        let x = self.channel.challenge();
        self.join(pieces, x)?;
        let evaluations = self.evaluate(x)?;
        self.check(x, &evaluations)?;
        self.enter(Phase::Opening);
        self.open(x)
    }

    /// Commits to vectors and writes the commitments in their order.
    pub fn commit(&mut self, basis: Basis, vectors: &[&D::Vector]) -> Result<(), EngineError> {
        let key = &self.engine.key;
        let bases = match basis {
            Basis::Powers => &key.powers,
            Basis::Lagrange => &key.lagrange,
        };
        let points = self.engine.device.msm(bases, vectors)?;
        let mut affine = vec![G1Affine::default(); points.len()];
        G1::batch_normalize(&points, &mut affine);
        for point in affine {
            self.channel.write_point(point)?;
        }
        Ok(())
    }

    pub fn challenge(&mut self) -> Fr {
        self.channel.challenge()
    }

    /// halo2 draws a blinding factor for every commitment, which KZG leaves out. Drawing them here too means that both
    /// provers make the same commitments from the same generator, which tests rely on.
    fn skip_blinds(&mut self, count: usize) {
        for _ in 0..count {
            let _ = Fr::random(&mut *self.rng);
        }
    }

    fn random_elements(&mut self, count: usize) -> Vec<Fr> {
        (0..count).map(|_| Fr::random(&mut *self.rng)).collect()
    }

    /// Runs a program on values of the domain.
    pub fn run_on_domain(&self, compiled: &Compiled, outputs: &mut [D::Vector]) -> Result<(), EngineError> {
        let values = &self.engine.key.values;
        let inputs = compiled.inputs.iter();
        let inputs: Vec<&D::Vector> = inputs
            .map(|poly| self.polys.get(poly).unwrap_or_else(|| &values[poly]))
            .collect();
        let constants = self.challenges.constants(&compiled.scalars, Fr::ONE);
        let mut outputs: Vec<&mut D::Vector> = outputs.iter_mut().collect();
        let device = &self.engine.device;
        Ok(device.run(&compiled.program, &inputs, &constants, &mut outputs)?)
    }

    /// Two vectors to be written to.
    fn pair(&self) -> Result<[D::Vector; 2], EngineError> {
        let (device, n) = (&self.engine.device, self.engine.system.domain.n);
        Ok([device.zeros(n)?, device.zeros(n)?])
    }

    /// Compresses, permutes and commits the lookups' inputs and tables.
    fn permute_lookups(&mut self) -> Result<(), EngineError> {
        let system = &self.engine.system;
        let (device, usable) = (&*self.engine.device, system.usable_rows());
        let mut committed = Vec::new();
        for (index, compiled) in system.compress.iter().enumerate() {
            let mut compressed = self.pair()?;
            self.run_on_domain(compiled, &mut compressed)?;
            let mut input = device.read(&compressed[0], 0, usable)?;
            let made;
            let table = match self.engine.key.tables.get(&index) {
                Some(table) => table,
                None => {
                    made = lookup::Table::new(&device.read(&compressed[1], 0, usable)?);
                    &made
                }
            };
            let table = lookup::permute(&mut input, table).map_err(|row| EngineError::Lookup {
                name: system.cs.lookups()[index].name().to_owned(),
                row,
            })?;
            for (poly, values) in [
                (Poly::LookupInput(index), input),
                (Poly::LookupTable(index), table),
            ] {
                let blinding = self.random_elements(system.blinding + 1);
                let mut vector = device.zeros(system.domain.n)?;
                device.write(&mut vector, 0, &values)?;
                device.write(&mut vector, usable, &blinding)?;
                self.polys.insert(poly, vector);
                committed.push(poly);
            }
            self.skip_blinds(2);
            let [input, table] = compressed;
            self.polys.insert(Poly::CompressedInput(index), input);
            self.polys.insert(Poly::CompressedTable(index), table);
        }
        self.commit_polys(&committed)
    }

    fn commit_polys(&mut self, polys: &[Poly]) -> Result<(), EngineError> {
        let vectors: HashMap<Poly, D::Vector> = polys
            .iter()
            .filter_map(|poly| self.polys.remove_entry(poly))
            .collect();
        let ordered: Vec<&D::Vector> = polys.iter().map(|poly| &vectors[poly]).collect();
        self.commit(Basis::Lagrange, &ordered)?;
        self.polys.extend(vectors);
        Ok(())
    }

    fn permutation_products(&mut self) -> Result<(), EngineError> {
        let system = &self.engine.system;
        let mut fraction = self.pair()?;
        let mut first = Fr::ONE;
        let mut committed = Vec::new();
        for (index, compiled) in system.permutation.iter().enumerate() {
            let (z, last) = self.running_product(compiled, first, &mut fraction)?;
            first = last;
            self.polys.insert(Poly::PermutationProduct(index), z);
            committed.push(Poly::PermutationProduct(index));
        }
        drop(fraction);
        if first != Fr::ONE {
            let what = "copy constraints";
            return Err(EngineError::Unsatisfied { what });
        }
        self.commit_polys(&committed)
    }

    fn lookup_products(&mut self) -> Result<(), EngineError> {
        let system = &self.engine.system;
        let mut fraction = self.pair()?;
        let mut committed = Vec::new();
        for (index, compiled) in system.lookup.iter().enumerate() {
            let (z, _) = self.running_product(compiled, Fr::ONE, &mut fraction)?;
            self.polys.remove(&Poly::CompressedInput(index));
            self.polys.remove(&Poly::CompressedTable(index));
            self.polys.insert(Poly::LookupProduct(index), z);
            committed.push(Poly::LookupProduct(index));
        }
        drop(fraction);
        self.commit_polys(&committed)
    }

    /// The running product of a program's numerators over its denominators, blinded, and its value in the last row that
    /// is not. `fraction` is overwritten.
    fn running_product(
        &mut self,
        compiled: &Compiled,
        first: Fr,
        fraction: &mut [D::Vector; 2],
    ) -> Result<(D::Vector, Fr), EngineError> {
        let system = &self.engine.system;
        let (device, usable) = (&*self.engine.device, system.usable_rows());
        self.run_on_domain(compiled, fraction)?;
        let [denominator, numerator] = fraction;
        device.invert(denominator)?;
        let mut product = device.zeros(system.domain.n)?;
        let [a, b] = [0, 1].map(|column| Operand::Input { column, rotation: 0 });
        let factors = Program::new(vec![Op::Mul(a, b)], vec![Operand::Result(0)]).expect("one instruction");
        device.run(&factors, &[denominator, numerator], &[], &mut [&mut product])?;
        device.running_product(&mut product, first)?;
        let last = device.read(&product, usable, 1)?[0];
        let blinding = self.random_elements(system.blinding);
        device.write(&mut product, usable + 1, &blinding)?;
        self.skip_blinds(1);
        Ok((product, last))
    }

    /// Draws and commits the polynomial that blinds the quotient. Each chunk of coefficients has a generator of its own,
    /// seeded by the proof's.
    fn random_polynomial(&mut self) -> Result<(), EngineError> {
        const CHUNK: usize = 1 << 12;
        /// Chunks that are drawn before they are written.
        const BLOCK: usize = 1 << 6;
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let (device, n) = (&*self.engine.device, self.engine.system.domain.n);
        let mut random = device.zeros(n)?;
        for at in (0..n).step_by(CHUNK * BLOCK) {
            let mut coefficients = vec![Fr::ZERO; (CHUNK * BLOCK).min(n - at)];
            let chunks = coefficients.par_chunks_mut(CHUNK).enumerate();
            chunks.for_each(|(chunk, coefficients)| {
                let mut rng = ChaCha20Rng::from_seed(seed);
                rng.set_stream((at / CHUNK + chunk) as u64);
                coefficients.fill_with(|| Fr::random(&mut rng));
            });
            device.write(&mut random, at, &coefficients)?;
        }
        self.skip_blinds(1);
        self.commit(Basis::Powers, &[&random])?;
        self.polys.insert(Poly::Random, random);
        Ok(())
    }

    /// Turns all polynomials that are in values on the domain into coefficients.
    fn interpolate(&mut self) -> Result<(), EngineError> {
        let polys = self.polys.iter_mut().filter(|(poly, _)| **poly != Poly::Random);
        let mut vectors: Vec<&mut D::Vector> = polys.map(|(_, vector)| vector).collect();
        self.engine.device.ntt(&mut vectors, Direction::Inverse)?;
        Ok(())
    }

    /// Joins the quotient's pieces at `x`: `Σ x^{n i} h_i(X)`.
    fn join(&mut self, pieces: Vec<D::Vector>, x: Fr) -> Result<(), EngineError> {
        let n = self.engine.system.domain.n;
        let xn = x.pow_vartime([n as u64]);
        let factors: Vec<Fr> = std::iter::successors(Some(Fr::ONE), |power| Some(power * xn))
            .take(pieces.len())
            .collect();
        let pieces: Vec<&D::Vector> = pieces.iter().collect();
        let quotient = self.engine.device.combine(&pieces, &factors, n)?;
        self.polys.insert(Poly::Quotient, quotient);
        Ok(())
    }

    /// A polynomial in coefficients, of this proof or the key.
    pub fn coefficients(&self, poly: Poly) -> &D::Vector {
        self.polys
            .get(&poly)
            .unwrap_or_else(|| &self.engine.key.coefficients[&poly])
    }

    /// Evaluates what the verifier reads, and the quotient; writes what the proof holds.
    fn evaluate(&mut self, x: Fr) -> Result<HashMap<(Poly, i32), Fr>, EngineError> {
        let system = &self.engine.system;
        let queries = system.evaluations();
        let mut polys: Vec<&D::Vector> = queries
            .iter()
            .map(|query| self.coefficients(query.poly))
            .collect();
        let mut points: Vec<Fr> = queries
            .iter()
            .map(|query| system.domain.rotate(x, query.rotation))
            .collect();
        polys.push(&self.polys[&Poly::Quotient]);
        points.push(x);
        for (column, rotation) in system.cs.instance_queries() {
            polys.push(&self.polys[&Poly::Instance(column.index())]);
            points.push(system.domain.rotate(x, rotation.0));
        }
        let values = self.engine.device.evaluate(&polys, &points)?;
        for value in &values[..queries.len()] {
            self.channel.write_scalar(*value)?;
        }
        let keys = queries.iter().map(|query| (query.poly, query.rotation));
        let instances = system.cs.instance_queries().iter();
        let instances = instances.map(|(column, rotation)| (Poly::Instance(column.index()), rotation.0));
        Ok(keys
            .chain([(Poly::Quotient, 0)])
            .chain(instances)
            .zip(values)
            .collect())
    }
}
