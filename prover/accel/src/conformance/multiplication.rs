//! Multi-scalar multiplications.

use super::sample::KnownBases;
use super::{Case, Extent, Failure, Sampler, sizes};
use crate::Device;
use halo2curves::bn256::{Fr, G1};
use halo2curves::ff::Field;
use halo2curves::group::Group;

/// Budgets for precomputed multiples: none, one multiple's worth, plenty.
const TABLES: [u64; 3] = [0, 64 << 10, 64 << 20];

pub(super) fn check<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    let mut sampler = Sampler::new(extent.seed);
    for n in sizes(extent.k_max) {
        let bases = match n % 2 {
            0 => KnownBases::new(&mut sampler, n),
            _ => KnownBases::progression(&mut sampler, n),
        };
        let table = TABLES[sampler.below(TABLES.len())];
        let case = Case::new(device, format!("multiplication of {n}, {table} bytes of table"));
        let scalars = [sampler.scalars(n), kinds(&mut sampler, n)];
        compare(&case, &bases, table, &scalars)?;
    }
    for table in TABLES {
        scalar_kinds(device, &mut sampler, table)?;
        degenerate_bases(device, &mut sampler, table)?;
    }
    shorter_vectors(device, &mut sampler, extent.k_max)?;
    alike(device, &mut sampler, 7 << extent.k_max)?;
    refusals(device, &mut sampler)
}

/// Multiplies all vectors in one call and compares with the sum of logarithms.
fn compare<D: Device>(
    case: &Case<D>,
    bases: &KnownBases,
    table_bytes_max: u64,
    scalars: &[Vec<Fr>],
) -> Result<(), Failure> {
    let vectors = scalars.iter().map(|scalars| case.upload(scalars));
    let vectors: Vec<D::Vector> = vectors.collect::<Result<_, _>>()?;
    let all: Vec<&D::Vector> = vectors.iter().collect();
    let on_device = case.call(case.device.bases(&bases.points, table_bytes_max))?;
    let found = case.call(case.device.msm(&on_device, &all))?;
    let expected: Vec<G1> = scalars.iter().map(|scalars| bases.sum(scalars)).collect();
    case.equal(&found, &expected)?;
    for (vector, scalars) in vectors.iter().zip(scalars) {
        case.holds(vector, scalars)?;
    }
    Ok(())
}

/// Scalars as witnesses have them: mostly zeros, ones and small values.
fn kinds(sampler: &mut Sampler, n: usize) -> Vec<Fr> {
    let value = |sampler: &mut Sampler| match sampler.below(8) {
        0..=2 => Fr::ZERO,
        3 => Fr::ONE,
        4 => -Fr::ONE,
        5 => sampler.small(16),
        6 => sampler.small(88),
        _ => sampler.scalar(),
    };
    (0..n).map(|_| value(sampler)).collect()
}

/// Whole vectors of one kind, in one batch.
fn scalar_kinds<D: Device>(device: &D, sampler: &mut Sampler, table: u64) -> Result<(), Failure> {
    for n in [33, 700] {
        let case = Case::new(device, format!("kinds of {n} scalars, {table} bytes of table"));
        let bases = KnownBases::new(sampler, n);
        let repeated = sampler.scalar();
        let mut scalars: Vec<Vec<Fr>> = vec![
            vec![Fr::ZERO; n],
            vec![Fr::ONE; n],
            vec![-Fr::ONE; n],
            vec![repeated; n],
            (0..n as u64).map(Fr::from).collect(),
            (0..n as u64).map(|i| -Fr::from(i)).collect(),
        ];
        for bits in [1, 8, 64, 88, 128] {
            scalars.push((0..n).map(|_| sampler.small(bits)).collect());
        }
        // Powers of two set one bit of one window each, on either side of every window's border.
        scalars.push(
            (0..n as u64)
                .map(|i| Fr::from(2).pow_vartime([i % 254]))
                .collect(),
        );
        scalars.push(
            (0..n as u64)
                .map(|i| -Fr::from(2).pow_vartime([i % 254]))
                .collect(),
        );
        let mut single = vec![Fr::ZERO; n];
        single[n / 2] = sampler.scalar();
        scalars.push(single);
        compare(&case, &bases, table, &scalars)?;
    }
    let case = Case::new(device, "multiplication of no vectors".to_string());
    compare(&case, &KnownBases::new(sampler, 3), table, &[])
}

/// Logarithm of the base at an index, where a pattern sets one.
type Pattern<'a> = &'a dyn Fn(usize) -> Option<Fr>;

/// Many scalars of few values, so that few buckets take all points.
fn alike<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let bases = KnownBases::new(sampler, n);
    let mut two = vec![sampler.scalar(); n];
    let other = sampler.scalar();
    two.iter_mut().step_by(3).for_each(|value| *value = other);
    let scalars = [vec![Fr::ONE; n], two];
    for table in TABLES {
        let case = Case::new(device, format!("{n} scalars alike, {table} bytes of table"));
        compare(&case, &bases, table, &scalars)?;
    }
    Ok(())
}

/// Identities, equal points and opposite points, where affine addition has no slope.
fn degenerate_bases<D: Device>(device: &D, sampler: &mut Sampler, table: u64) -> Result<(), Failure> {
    let one = sampler.scalar();
    let patterns: [(&str, Pattern); 7] = [
        ("all identities", &|_| Some(Fr::ZERO)),
        ("every other base the identity", &|i| {
            (i % 2 == 0).then_some(Fr::ZERO)
        }),
        ("all bases equal", &|_| Some(one)),
        ("bases equal in pairs", &|i| Some(one + Fr::from(i as u64 / 2))),
        ("bases opposite in pairs", &|i| {
            let base = one + Fr::from(i as u64 / 2);
            Some(if i % 2 == 0 { base } else { -base })
        }),
        ("small multiples of one base", &|i| {
            Some(one * Fr::from(i as u64 % 5))
        }),
        ("bases that double each other", &|i| {
            Some(one * Fr::from(2).pow_vartime([i as u64 % 64]))
        }),
    ];
    for (pattern, logarithm) in patterns {
        for n in [1, 2, 3, 64, 300] {
            let case = Case::new(device, format!("{pattern}: {n}, {table} bytes of table"));
            let mut bases = KnownBases::new(sampler, n);
            for at in 0..n {
                if let Some(logarithm) = logarithm(at) {
                    bases.set(at, logarithm);
                }
            }
            let scalars = [
                sampler.scalars(n),
                vec![Fr::ONE; n],
                vec![sampler.scalar(); n],
                kinds(sampler, n),
            ];
            compare(&case, &bases, table, &scalars)?;
        }
    }
    Ok(())
}

/// One call with vectors of every length up to the number of bases.
fn shorter_vectors<D: Device>(device: &D, sampler: &mut Sampler, k_max: u32) -> Result<(), Failure> {
    let case = Case::new(device, "vectors shorter than the bases".to_string());
    let bases = KnownBases::new(sampler, (1 << k_max) + 1);
    let scalars: Vec<Vec<Fr>> = sizes(k_max).into_iter().map(|n| sampler.scalars(n)).collect();
    compare(&case, &bases, 0, &scalars)
}

fn refusals<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    let case = Case::new(device, "more scalars than bases".to_string());
    let bases = KnownBases::new(sampler, 8);
    let on_device = case.call(device.bases(&bases.points, 0))?;
    let (fits, long) = (
        case.upload(&sampler.scalars(8))?,
        case.upload(&sampler.scalars(9))?,
    );
    case.refused(device.msm(&on_device, &[&fits, &long]))?;
    let none = case.call(device.bases(&[], 0))?;
    case.refused(device.msm(&none, &[&fits]))?;
    let empty = case.upload(&[])?;
    case.equal(&case.call(device.msm(&none, &[&empty]))?, &[G1::identity()])
}
