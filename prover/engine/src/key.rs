//! What stays on the device from proof to proof: bases, and the key's polynomials in the forms that proofs read.

use accel::Device;
use halo2_proofs::plonk::{ProvingKey, VerifyingKey};
use halo2curves::bn256::{Fr, G1Affine};
use halo2curves::ff::Field;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

use crate::error::EngineError;
use crate::graph::Poly;
use crate::lookup::Table;
use crate::opening::rotation_sets;
use crate::system::System;

/// Bytes of a scalar on a device.
const SCALAR_BYTES: u64 = 32;
/// Bytes of an affine point.
const POINT_BYTES: u64 = 64;
/// Bytes of a base on a device: the point, and a scalar that some devices keep beside it.
const BASE_BYTES: u64 = POINT_BYTES + SCALAR_BYTES;

/// Device memory that a circuit takes, in bytes. Known from its key alone, before anything is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// What stays between proofs: bases and the key's polynomials.
    pub resident: u64,
    /// What a proof adds at its widest point.
    pub proof: u64,
    /// What keeping all the key's cosets adds. Without them each proof transforms them anew.
    pub cosets: u64,
}

impl MemoryNeed {
    /// What the circuit of a verifying key takes.
    ///
    /// # Errors
    /// The key's domain does not hold the circuit's degree.
    pub fn of(vk: &VerifyingKey<G1Affine>) -> Result<Self, EngineError> {
        Ok(Self::new(&System::new(vk)?))
    }

    /// What a device must have at least.
    pub fn least(&self) -> u64 {
        self.resident + self.proof
    }
}

/// The reference string in both bases.
#[derive(Clone, Copy, Debug)]
pub struct Srs<'a> {
    /// Powers of the secret, at least `2^k`.
    pub powers: &'a [G1Affine],
    /// Lagrange polynomials of the domain of size `2^k` at the secret: exactly `2^k`.
    pub lagrange: &'a [G1Affine],
}

/// Which of the key's polynomials are needed, and in which form.
struct Plan {
    /// In coefficients, for evaluations, openings and cosets.
    coefficients: Vec<Poly>,
    /// In values on the domain, for lookups and running products.
    values: Vec<Poly>,
    /// On the quotient's cosets.
    cosets: Vec<Poly>,
}

impl Plan {
    fn new(system: &System) -> Self {
        let is_key = |poly: &&Poly| matches!(poly, Poly::Fixed(_) | Poly::Sigma(_));
        let fixed = (0..system.cs.num_fixed_columns()).map(Poly::Fixed);
        let sigma = (0..system.permuted.len()).map(Poly::Sigma);
        let programs = system.permutation.iter().chain(&system.compress);
        let mut seen = HashSet::new();
        let values = programs.flat_map(|program| &program.inputs).filter(is_key);
        Self {
            coefficients: fixed.chain(sigma).collect(),
            values: values.copied().filter(|poly| seen.insert(*poly)).collect(),
            cosets: system.quotient.inputs.iter().filter(is_key).copied().collect(),
        }
    }
}

impl MemoryNeed {
    pub(crate) fn new(system: &System) -> Self {
        let plan = Plan::new(system);
        let vector = SCALAR_BYTES * system.domain.n as u64;
        let pieces = system.domain.pieces;
        // The identity belongs to the values.
        let resident = plan.coefficients.len() + plan.values.len() + 1;
        // At the opening, where the device divides by one point after the other: a sum for each rotation set and each point.
        let queries = system.openings();
        let rotations: HashSet<i32> = queries.iter().map(|query| query.rotation).collect();
        let sets = rotation_sets(&queries, system.domain.n).len();
        let proof = vectors_of_a_proof(system, 0).max(sets + rotations.len() + 1);
        Self {
            resident: vector * resident as u64 + 2 * BASE_BYTES * system.domain.n as u64,
            proof: vector * proof as u64,
            cosets: vector * (pieces * plan.cosets.len()) as u64,
        }
    }
}

/// Vectors that a proof holds at its widest point beside what stays, where so many cosets of the key are kept and the device
/// needs none of its own.
pub(crate) fn vectors_of_a_proof(system: &System, cosets: usize) -> usize {
    let (products, lookups) = (system.permutation.len(), system.lookup.len());
    let (advice, instance) = (system.cs.num_advice_columns(), system.cs.num_instance_columns());
    let committed = advice + instance + products + 3 * lookups;
    // At the lookups and running products: compressed columns, denominators and numerators.
    let products_peak = committed + 2 * lookups + 2;
    // At the quotient: the random polynomial, a coset of every input, and the parts.
    let quotient_peak = committed + system.quotient.inputs.len() - cosets + system.domain.pieces + 1;
    // At the opening: a sum for each rotation set, and the joined quotient.
    let sets = rotation_sets(&system.openings(), system.domain.n).len();
    let opening_peak = committed + 2 + sets;
    products_peak.max(quotient_peak).max(opening_peak)
}

/// Bases and key on the device.
pub(crate) struct Key<D: Device> {
    pub powers: D::Bases,
    pub lagrange: D::Bases,
    pub coefficients: HashMap<Poly, D::Vector>,
    pub values: HashMap<Poly, D::Vector>,
    /// The cosets that are kept, by part.
    pub cosets: HashMap<Poly, Vec<D::Vector>>,
    /// Tables of lookups that are a column of the key, whatever the challenges. In the host's memory.
    pub tables: HashMap<usize, Table>,
}

impl<D: Device> Key<D> {
    /// Uploads the key and keeps cosets of as many of its polynomials as `cosets_bytes_max` holds.
    pub fn new(
        device: &D,
        system: &System,
        srs: Srs<'_>,
        pk: &ProvingKey<G1Affine>,
        table_bytes_max: u64,
        cosets_bytes_max: u64,
    ) -> Result<Self, EngineError> {
        let n = system.domain.n;
        let too_small = |basis, found| EngineError::SrsTooSmall {
            basis,
            found,
            expected: n,
        };
        let powers = srs.powers.get(..n).ok_or(too_small("powers", srs.powers.len()))?;
        if srs.lagrange.len() != n {
            return Err(too_small("Lagrange basis", srs.lagrange.len()));
        }
        let plan = Plan::new(system);
        let mut coefficients = HashMap::new();
        for poly in &plan.coefficients {
            let host = match *poly {
                Poly::Fixed(index) => pk.fixed_polys()[index].values(),
                Poly::Sigma(index) => pk.permutation().polys()[index].values(),
                _ => unreachable!("the key's polynomials are fixed columns and the permutation"),
            };
            coefficients.insert(*poly, device.upload(host)?);
        }
        let mut values = HashMap::new();
        for poly in &plan.values {
            let host = match *poly {
                Poly::Fixed(index) => pk.fixed_values()[index].values(),
                Poly::Sigma(index) => pk.permutation().permutations()[index].values(),
                _ => unreachable!("the key's polynomials are fixed columns and the permutation"),
            };
            values.insert(*poly, device.upload(host)?);
        }
        values.insert(Poly::Identity, device.upload(&powers_of(system.domain.omega, n))?);
        let mut key = Self {
            powers: device.bases(powers, table_bytes_max / 2)?,
            lagrange: device.bases(srs.lagrange, table_bytes_max / 2)?,
            coefficients,
            values,
            cosets: HashMap::new(),
            tables: HashMap::new(),
        };
        for (index, column) in system.fixed_tables() {
            let rows = &pk.fixed_values()[column].values()[..system.usable_rows()];
            key.tables.insert(index, Table::new(rows));
        }
        key.keep_cosets(device, system, &plan, cosets_bytes_max)?;
        Ok(key)
    }

    fn keep_cosets(
        &mut self,
        device: &D,
        system: &System,
        plan: &Plan,
        bytes_max: u64,
    ) -> Result<(), EngineError> {
        let (n, pieces) = (system.domain.n, system.domain.pieces);
        let kept = bytes_max / (SCALAR_BYTES * (n * pieces) as u64);
        let kept: Vec<Poly> = plan.cosets.iter().copied().take(kept as usize).collect();
        let sources: Vec<&D::Vector> = kept.iter().map(|poly| &self.coefficients[poly]).collect();
        for part in 0..pieces {
            let mut cosets = zeros(device, n, kept.len())?;
            let mut outputs: Vec<&mut D::Vector> = cosets.iter_mut().collect();
            device.coset_ntt(&sources, system.domain.coset(part), &mut outputs)?;
            for (poly, coset) in kept.iter().zip(cosets) {
                self.cosets.entry(*poly).or_default().push(coset);
            }
        }
        Ok(())
    }
}

/// Vectors to be written to.
pub(crate) fn zeros<D: Device>(device: &D, n: usize, count: usize) -> Result<Vec<D::Vector>, EngineError> {
    (0..count).map(|_| Ok(device.zeros(n)?)).collect()
}

/// `1, base, base², ...`
fn powers_of(base: Fr, n: usize) -> Vec<Fr> {
    const CHUNK: usize = 1 << 12;
    let mut powers = vec![Fr::ONE; n];
    powers
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, powers)| {
            let mut power = base.pow_vartime([(chunk * CHUNK) as u64]);
            for slot in powers {
                *slot = power;
                power *= base;
            }
        });
    powers
}

/// The Lagrange basis of parameters, which halo2 gives out only when it writes them.
///
/// # Panics
/// Never: writing to memory does not fail, and what halo2 wrote has the length that its `k` says.
pub fn lagrange_basis(
    params: &halo2_proofs::poly::kzg::commitment::ParamsKZG<halo2curves::bn256::Bn256>,
) -> Vec<G1Affine> {
    use halo2_proofs::SerdeFormat;
    use halo2_proofs::poly::commitment::Params;
    use halo2curves::serde::SerdeObject;
    const K_BYTES: usize = 4;
    let point_bytes = POINT_BYTES as usize;
    let n = params.n() as usize;
    let mut bytes = Vec::with_capacity(K_BYTES + 2 * n * point_bytes + 256);
    params
        .write_custom(&mut bytes, SerdeFormat::RawBytesUnchecked)
        .expect("writing to memory does not fail");
    bytes[K_BYTES + n * point_bytes..K_BYTES + 2 * n * point_bytes]
        .par_chunks(point_bytes)
        .map(G1Affine::from_raw_bytes_unchecked)
        .collect()
}
