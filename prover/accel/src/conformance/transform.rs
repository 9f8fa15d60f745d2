//! Number-theoretic transforms.

use super::{Case, Extent, Failure, Sampler};
use crate::{Device, Direction};
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;

pub(super) fn check<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    let mut sampler = Sampler::new(extent.seed);
    definition(device, &mut sampler)?;
    for k in 0..=extent.k_max {
        let batch = 1 + sampler.below(3);
        transform(device, &mut sampler, k, batch)?;
    }
    for k in 0..=extent.k_max {
        coset(device, &mut sampler, k)?;
    }
    mixed_batch(device, &mut sampler, extent.k_max)?;
    refusals(device, &mut sampler, extent.k_max)
}

/// halo2's generator of the subgroup of `2^k` elements.
fn omega(k: u32) -> Fr {
    (k..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square())
}

fn expected(values: &[Fr]) -> Vec<Fr> {
    let mut values = values.to_vec();
    let k = values.len().ilog2();
    best_fft(&mut values, omega(k), k);
    values
}

/// Small transforms against `Σ a_j ω^(ij)` itself.
fn definition<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    for k in 0..=5 {
        let case = Case::new(device, format!("definition of the transform of 2^{k}"));
        let values = sampler.mixed(1 << k);
        let points = (0..1u64 << k).map(|i| omega(k).pow_vartime([i]));
        let expected: Vec<Fr> = points
            .map(|point| values.iter().rev().fold(Fr::ZERO, |value, c| value * point + c))
            .collect();
        let mut vector = case.upload(&values)?;
        case.call(device.ntt(&mut [&mut vector], Direction::Forward))?;
        case.holds(&vector, &expected)?;
    }
    Ok(())
}

fn transform<D: Device>(device: &D, sampler: &mut Sampler, k: u32, batch: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("{batch} transforms of 2^{k}"));
    let mut batch: Vec<Vec<Fr>> = (0..batch).map(|_| sampler.mixed(1 << k)).collect();
    // The largest sums that a lazy reduction can meet.
    batch.push(vec![-Fr::ONE; 1 << k]);
    let vectors = batch.iter().map(|values| case.upload(values));
    let mut vectors: Vec<D::Vector> = vectors.collect::<Result<_, _>>()?;
    let mut all: Vec<&mut D::Vector> = vectors.iter_mut().collect();
    case.call(device.ntt(&mut all, Direction::Forward))?;
    for (vector, values) in vectors.iter().zip(&batch) {
        case.holds(vector, &expected(values))?;
    }
    let mut all: Vec<&mut D::Vector> = vectors.iter_mut().collect();
    case.call(device.ntt(&mut all, Direction::Inverse))?;
    for (vector, values) in vectors.iter().zip(&batch) {
        case.holds(vector, values)?;
    }
    Ok(())
}

fn coset<D: Device>(device: &D, sampler: &mut Sampler, k: u32) -> Result<(), Failure> {
    let case = Case::new(device, format!("transforms of 2^{k} on a coset"));
    let polynomials = [sampler.mixed(1 << k), vec![-Fr::ONE; 1 << k]];
    let inputs = polynomials.each_ref().map(|polynomial| case.upload(polynomial));
    let inputs: Vec<D::Vector> = inputs.into_iter().collect::<Result<_, _>>()?;
    let all: Vec<&D::Vector> = inputs.iter().collect();
    for shift in [sampler.scalar(), Fr::ONE, -Fr::ONE, Fr::ZERO] {
        let outputs = all.iter().map(|_| case.call(device.zeros(1 << k)));
        let mut outputs: Vec<D::Vector> = outputs.collect::<Result<_, _>>()?;
        let mut places: Vec<&mut D::Vector> = outputs.iter_mut().collect();
        case.call(device.coset_ntt(&all, shift, &mut places))?;
        for ((input, output), polynomial) in inputs.iter().zip(&outputs).zip(&polynomials) {
            let powers = std::iter::successors(Some(Fr::ONE), |power| Some(*power * shift));
            let scaled: Vec<Fr> = polynomial.iter().zip(powers).map(|(a, b)| *a * b).collect();
            case.holds(output, &expected(&scaled))?;
            case.holds(input, polynomial)?;
        }
    }
    Ok(())
}

fn mixed_batch<D: Device>(device: &D, sampler: &mut Sampler, k_max: u32) -> Result<(), Failure> {
    let case = Case::new(device, "transforms of different sizes in one call".to_string());
    let batch: Vec<Vec<Fr>> = (0..=k_max).rev().map(|k| sampler.mixed(1 << k)).collect();
    let vectors = batch.iter().map(|values| case.upload(values));
    let mut vectors: Vec<D::Vector> = vectors.collect::<Result<_, _>>()?;
    let mut all: Vec<&mut D::Vector> = vectors.iter_mut().collect();
    case.call(device.ntt(&mut all, Direction::Forward))?;
    for (vector, values) in vectors.iter().zip(&batch) {
        case.holds(vector, &expected(values))?;
    }
    case.call(device.ntt(&mut [], Direction::Forward))
}

fn refusals<D: Device>(device: &D, sampler: &mut Sampler, k_max: u32) -> Result<(), Failure> {
    for n in [0, 3, (1 << k_max) - 1, (1 << k_max) + 1] {
        let case = Case::new(device, format!("transform of {n}"));
        let (good, bad) = (sampler.scalars(4), sampler.scalars(n));
        let (mut first, mut second) = (case.upload(&good)?, case.upload(&bad)?);
        for direction in [Direction::Forward, Direction::Inverse] {
            case.refused(device.ntt(&mut [&mut first, &mut second], direction))?;
            case.holds(&first, &good)?;
            case.holds(&second, &bad)?;
        }
    }
    let case = Case::new(device, "transforms on a coset that do not fit".to_string());
    let (four, three) = (
        case.upload(&sampler.scalars(4))?,
        case.upload(&sampler.scalars(3))?,
    );
    let (mut room, mut less) = (case.call(device.zeros(4))?, case.call(device.zeros(3))?);
    case.refused(device.coset_ntt(&[&four], Fr::ONE, &mut []))?;
    case.refused(device.coset_ntt(&[&four], Fr::ONE, &mut [&mut less]))?;
    case.refused(device.coset_ntt(&[&three], Fr::ONE, &mut [&mut room]))?;
    case.refused(device.coset_ntt(&[&three], Fr::ONE, &mut [&mut less]))?;
    case.call(device.coset_ntt(&[], Fr::ONE, &mut []))
}
