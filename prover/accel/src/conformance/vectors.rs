//! Transfers, inversion, running products, evaluation and combination.

use super::{Case, Extent, Failure, Sampler, sizes};
use crate::Device;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

pub(super) fn check<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    let mut sampler = Sampler::new(extent.seed);
    for n in sizes(extent.k_max) {
        transfers(device, &mut sampler, n)?;
        inversion(device, &mut sampler, n)?;
        running_product(device, &mut sampler, n)?;
    }
    evaluation(device, &mut sampler, &sizes(extent.k_max))?;
    division(device, &mut sampler, &sizes(extent.k_max))?;
    for n in sizes(extent.k_max.min(6)).into_iter().chain([1 << extent.k_max]) {
        quotients(device, &mut sampler, n)?;
    }
    combination(device, &mut sampler, &sizes(extent.k_max))
}

fn transfers<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("transfer of {n}"));
    let values = sampler.mixed(n);
    let vector = case.upload(&values)?;
    case.holds(&vector, &values)?;
    let mut copy = case.call(device.duplicate(&vector))?;
    case.call(device.invert(&mut copy))?;
    case.holds(&vector, &values)?;
    case.holds(&case.call(device.zeros(n))?, &vec![Fr::ZERO; n])?;
    parts(&case, sampler, vector, values)
}

/// Reads and writes parts of a vector, at its ends and within; refuses what is not in it.
fn parts<D: Device>(
    case: &Case<'_, D>,
    sampler: &mut Sampler,
    mut vector: D::Vector,
    mut values: Vec<Fr>,
) -> Result<(), Failure> {
    let (device, n) = (case.device, values.len());
    for (at, count) in [
        (0, n),
        (0, 0),
        (n, 0),
        (n / 2, n - n / 2),
        (0, n / 2),
        (n / 3, n / 2 - n / 3),
    ] {
        let found = case.call(device.read(&vector, at, count))?;
        case.equal(&found, &values[at..at + count])?;
        let part = sampler.mixed(count);
        case.call(device.write(&mut vector, at, &part))?;
        values[at..at + count].copy_from_slice(&part);
        case.holds(&vector, &values)?;
    }
    for (at, count) in [(0, n + 1), (n, 1), (n + 1, 0), (usize::MAX, 1)] {
        case.refused(device.read(&vector, at, count))?;
        let part = vec![Fr::ONE; count];
        case.refused(device.write(&mut vector, at, &part))?;
    }
    case.holds(&vector, &values)
}

fn inversion<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("inversion of {n}"));
    for values in [sampler.mixed(n), vec![Fr::ZERO; n]] {
        let mut vector = case.upload(&values)?;
        case.call(device.invert(&mut vector))?;
        // Checked by its property, since inverting every element alone would be slow: v · v' = 1, and 0 stays.
        let found = case.call(device.download(&vector))?;
        let products: Vec<Fr> = found.iter().zip(&values).map(|(a, b)| *a * b).collect();
        let expected: Vec<Fr> = values
            .iter()
            .map(|value| {
                if bool::from(value.is_zero()) {
                    Fr::ZERO
                } else {
                    Fr::ONE
                }
            })
            .collect();
        case.equal(&products, &expected)?;
        let zeros = |values: &[Fr]| values.iter().map(|value| bool::from(value.is_zero())).collect();
        let (found, expected): (Vec<bool>, Vec<bool>) = (zeros(&found), zeros(&values));
        case.equal(&found, &expected)?;
    }
    Ok(())
}

fn running_product<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("running product of {n}"));
    let mut with_zero = sampler.scalars(n);
    if n > 0 {
        with_zero[n / 2] = Fr::ZERO;
    }
    for (values, first) in [
        (sampler.scalars(n), Fr::ONE),
        (with_zero, sampler.scalar()),
        (sampler.scalars(n), Fr::ZERO),
    ] {
        let mut product = first;
        let mut expected = Vec::with_capacity(n);
        for value in &values {
            expected.push(product);
            product *= value;
        }
        let mut vector = case.upload(&values)?;
        case.call(device.running_product(&mut vector, first))?;
        case.holds(&vector, &expected)?;
    }
    Ok(())
}

fn evaluation<D: Device>(device: &D, sampler: &mut Sampler, sizes: &[usize]) -> Result<(), Failure> {
    let case = Case::new(device, "evaluation".to_string());
    let polynomials: Vec<Vec<Fr>> = sizes.iter().map(|n| sampler.mixed(*n)).collect();
    let on_device = polynomials.iter().map(|polynomial| case.upload(polynomial));
    let on_device: Vec<D::Vector> = on_device.collect::<Result<_, _>>()?;
    let vectors: Vec<&D::Vector> = on_device.iter().collect();
    for point in [sampler.scalar(), Fr::ZERO, Fr::ONE, -Fr::ONE] {
        let points: Vec<Fr> = (0..polynomials.len() as u64)
            .map(|i| point + Fr::from(i / 2))
            .collect();
        let expected = polynomials.iter().zip(&points);
        let expected: Vec<Fr> = expected
            .map(|(polynomial, point)| {
                polynomial
                    .iter()
                    .rev()
                    .fold(Fr::ZERO, |value, c| value * point + c)
            })
            .collect();
        case.equal(&case.call(device.evaluate(&vectors, &points))?, &expected)?;
    }
    case.equal(&case.call(device.evaluate(&[], &[]))?, &[])?;
    case.refused(device.evaluate(&vectors, &[Fr::ONE]))
}

fn division<D: Device>(device: &D, sampler: &mut Sampler, sizes: &[usize]) -> Result<(), Failure> {
    let case = Case::new(device, "division".to_string());
    for point in [sampler.scalar(), Fr::ZERO, Fr::ONE, -Fr::ONE] {
        let polynomials: Vec<Vec<Fr>> = sizes.iter().map(|n| sampler.mixed(*n)).collect();
        let points: Vec<Fr> = (0..polynomials.len() as u64)
            .map(|i| point + Fr::from(i / 2))
            .collect();
        let on_device = polynomials.iter().map(|polynomial| case.upload(polynomial));
        let mut on_device: Vec<D::Vector> = on_device.collect::<Result<_, _>>()?;
        let mut vectors: Vec<&mut D::Vector> = on_device.iter_mut().collect();
        case.call(device.divide(&mut vectors, &points))?;
        for ((polynomial, point), quotient) in polynomials.iter().zip(&points).zip(&on_device) {
            let mut value = Fr::ZERO;
            let mut expected: Vec<Fr> = polynomial
                .iter()
                .rev()
                .map(|c| {
                    let above = value;
                    value = value * point + c;
                    above
                })
                .collect();
            expected.reverse();
            case.holds(quotient, &expected)?;
        }
    }
    case.call(device.divide(&mut [], &[]))?;
    let mut vector = case.upload(&[Fr::ONE])?;
    case.refused(device.divide(&mut [&mut vector], &[]))
}

/// Polynomials whose quotients are known, at one point, at several and, where they are short, at more than they have
/// coefficients.
fn quotients<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("quotients of {n}"));
    let sets: Vec<Vec<Fr>> = [1, 2, 5, 31]
        .map(|count| sampler.scalars(count))
        .into_iter()
        .chain([vec![Fr::ZERO], vec![Fr::ONE, Fr::ZERO, -Fr::ONE]])
        .collect();
    let factors = sampler.mixed(sets.len());
    let (mut expected, mut on_device) = (vec![Fr::ZERO; n], Vec::new());
    for (set, factor) in sets.iter().zip(&factors) {
        let quotient = sampler.mixed(n.saturating_sub(set.len()));
        let mut polynomial = quotient.clone();
        polynomial.resize(n, Fr::ZERO);
        if !quotient.is_empty() {
            for point in set {
                // Times `X - point`.
                for at in (0..n).rev() {
                    let below = if at > 0 { polynomial[at - 1] } else { Fr::ZERO };
                    polynomial[at] = below - polynomial[at] * point;
                }
            }
        }
        let remainder = sampler.mixed(set.len().min(n));
        let sums = polynomial.iter_mut().zip(&remainder);
        sums.for_each(|(slot, value)| *slot += value);
        let sums = expected.iter_mut().zip(&quotient);
        sums.for_each(|(slot, value)| *slot += *factor * value);
        on_device.push(case.upload(&polynomial)?);
    }
    let vectors: Vec<&D::Vector> = on_device.iter().collect();
    let sets: Vec<&[Fr]> = sets.iter().map(|set| &set[..]).collect();
    case.holds(
        &case.call(device.quotients(&vectors, &factors, &sets, n))?,
        &expected,
    )?;
    case.holds(
        &case.call(device.quotients(&[], &[], &[], n))?,
        &vec![Fr::ZERO; n],
    )?;
    let repeated = [Fr::ONE, Fr::ZERO, Fr::ONE];
    for set in [&repeated[..], &[]] {
        case.refused(
            device
                .quotients(&vectors[..1], &factors[..1], &[set], n)
                .map(drop),
        )?;
    }
    case.refused(device.quotients(&vectors, &factors, &sets, n + 1).map(drop))?;
    case.refused(device.quotients(&vectors, &factors[1..], &sets, n).map(drop))?;
    case.refused(device.quotients(&vectors, &factors, &sets[1..], n).map(drop))
}

fn combination<D: Device>(device: &D, sampler: &mut Sampler, sizes: &[usize]) -> Result<(), Failure> {
    let case = Case::new(device, "combination".to_string());
    let vectors: Vec<Vec<Fr>> = sizes.iter().map(|n| sampler.mixed(*n)).collect();
    let on_device = vectors.iter().map(|vector| case.upload(vector));
    let on_device: Vec<D::Vector> = on_device.collect::<Result<_, _>>()?;
    let factors = sampler.mixed(vectors.len());
    for (count, n) in sizes.iter().enumerate() {
        let taken: Vec<&D::Vector> = on_device[..=count].iter().collect();
        let mut expected = vec![Fr::ZERO; *n];
        for (vector, factor) in vectors[..=count].iter().zip(&factors) {
            for (sum, value) in expected.iter_mut().zip(vector) {
                *sum += *value * factor;
            }
        }
        case.holds(
            &case.call(device.combine(&taken, &factors[..=count], *n))?,
            &expected,
        )?;
    }
    case.holds(&case.call(device.combine(&[], &[], 5))?, &[Fr::ZERO; 5])?;
    many_terms(&case, sampler)?;
    let all: Vec<&D::Vector> = on_device.iter().collect();
    let longest = sizes.iter().max().copied().unwrap_or(0);
    case.refused(device.combine(&all, &factors, longest - 1).map(drop))?;
    case.refused(device.combine(&all, &factors[1..], longest).map(drop))
}

/// More vectors than a lazy reduction can add up at once, of values with the largest residues.
fn many_terms<D: Device>(case: &Case<D>, sampler: &mut Sampler) -> Result<(), Failure> {
    const TERMS: usize = 500;
    let values: Vec<Fr> = [256u64, 260]
        .map(|radix| -Fr::from(2).pow_vartime([radix]).invert().unwrap_or(Fr::ONE))
        .into_iter()
        .chain(sampler.mixed(15))
        .collect();
    let vector = case.upload(&values)?;
    for factor in &values[..3] {
        let vectors = [&vector; TERMS];
        let found = case.call(case.device.combine(&vectors, &[*factor; TERMS], values.len()))?;
        let total = *factor * Fr::from(TERMS as u64);
        let expected: Vec<Fr> = values.iter().map(|value| *value * total).collect();
        case.holds(&found, &expected)?;
    }
    Ok(())
}
