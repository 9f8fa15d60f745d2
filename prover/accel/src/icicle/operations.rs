//! The device's operations that take several of ICICLE's calls.

use super::abi::{self, PROJECTIVE_BYTES};
use super::context::{Arithmetic, Context, Table};
use super::{IcicleBases, IcicleVector};
use crate::{DeviceError, Program};
use halo2curves::CurveExt;
use halo2curves::bn256::{Fq, Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::group::Group;
use std::ops::Range;
use std::sync::Arc;

/// Points per base at most: more than this saves little, since windows are few by then.
const FACTOR_MAX: u64 = 8;

/// Scalars that one batch of multiplications copies together at most.
const BATCH_SCALARS_MAX: usize = 1 << 22;

/// Sizes in elements that ICICLE's 32-bit integers hold, with room for a batch.
const ELEMENTS_MAX: usize = 1 << 28;

/// Coefficients from which on a polynomial is not worth the device's calls any more.
const HOST_COEFFICIENTS: usize = 1024;

pub(super) fn invalid(operation: &'static str, reason: String) -> DeviceError {
    DeviceError::Invalid { operation, reason }
}

/// Bytes of `n` elements.
pub(super) fn bytes(operation: &'static str, n: usize, each: usize) -> Result<usize, DeviceError> {
    if n > ELEMENTS_MAX {
        return Err(invalid(
            operation,
            format!("{n} elements, more than {ELEMENTS_MAX}"),
        ));
    }
    Ok(n * each)
}

/// The range of `count` elements from `at` on, if a vector of `len` elements has it.
pub(super) fn range(
    operation: &'static str,
    at: usize,
    count: usize,
    len: usize,
) -> Result<Range<usize>, DeviceError> {
    match at.checked_add(count) {
        Some(end) if end <= len => Ok(at..end),
        _ => Err(invalid(
            operation,
            format!("{count} elements from {at} on, of {len}"),
        )),
    }
}

/// A range of a vector as the host has scalars.
pub(super) fn download(
    context: &Arc<Context>,
    vector: &IcicleVector,
    range: Range<usize>,
) -> Result<Vec<Fr>, DeviceError> {
    const OPERATION: &str = "download";
    let mut values = Vec::new();
    if range.is_empty() {
        return Ok(values);
    }
    let (n, bytes) = (range.len(), range.len() * abi::SCALAR_BYTES);
    values
        .try_reserve_exact(n)
        .map_err(|_| DeviceError::OutOfMemory {
            operation: OPERATION,
            bytes: bytes as u64,
        })?;
    let scratch = context.allocate(OPERATION, bytes)?;
    let from = vector.memory().span(range.start, n);
    context.convert(OPERATION, from, scratch.span(0, n), true)?;
    context.download(OPERATION, scratch.span(0, n), &mut values)?;
    Ok(values)
}

pub(super) fn bases(
    context: &Arc<Context>,
    points: &[G1Affine],
    table_bytes_max: u64,
) -> Result<IcicleBases, DeviceError> {
    const OPERATION: &str = "bases";
    let n = points.len();
    let bytes = bytes(OPERATION, n, abi::AFFINE_BYTES)?;
    let mut bases = IcicleBases {
        context: context.clone(),
        buffer: None,
        len: n,
        table: Table { factor: 1, window: 0 },
    };
    if n == 0 {
        return Ok(bases);
    }
    let single = context.allocate(OPERATION, bytes)?;
    context.upload_points(OPERATION, points, &single)?;
    let factor = (table_bytes_max / bytes as u64 + 1)
        .min(FACTOR_MAX)
        .min((ELEMENTS_MAX / n) as u64) as u32;
    if factor < 2 {
        bases.buffer = Some(single);
        return Ok(bases);
    }
    // ICICLE picks a window by the size of each call, but the multiples fit one window only: it is settled here.
    let window = (n * factor as usize).ilog2().saturating_sub(4).clamp(4, 16);
    bases.table = Table { factor, window };
    let multiples = context.allocate(OPERATION, bytes * factor as usize)?;
    context.precompute(&single, n, bases.table, &multiples)?;
    bases.buffer = Some(multiples);
    Ok(bases)
}

/// Sums for vectors that are not longer than the bases; neighbours of one length go to the device together.
pub(super) fn msm(
    context: &Arc<Context>,
    bases: &IcicleBases,
    scalars: &[&IcicleVector],
) -> Result<Vec<G1>, DeviceError> {
    let mut sums = Vec::with_capacity(scalars.len());
    let mut rest = scalars;
    while let Some(first) = rest.first() {
        let n = first.len;
        let alike = rest.iter().take_while(|vector| vector.len == n).count();
        let batch = alike.min((BATCH_SCALARS_MAX / n.max(1)).max(1));
        let (group, after) = rest.split_at(batch);
        rest = after;
        let Some(buffer) = bases.buffer.as_ref().filter(|_| n > 0) else {
            sums.extend(group.iter().map(|_| G1::identity()));
            continue;
        };
        context.make_room("msm", n * batch)?;
        let found = if batch == 1 {
            context.msm(buffer, bases.table, first.memory().span(0, n), n)?
        } else {
            let all = context.allocate("msm", n * batch * abi::SCALAR_BYTES)?;
            for (at, vector) in group.iter().enumerate() {
                context.copy("msm", vector.memory().span(0, n), all.span(at * n, n))?;
            }
            context.msm(buffer, bases.table, all.span(0, n * batch), n)?
        };
        for sum in found {
            sums.push(point(&sum)?);
        }
    }
    Ok(sums)
}

/// A point from canonical homogeneous coordinates, as both ICICLE and halo2curves have them.
fn point(bytes: &[u8; PROJECTIVE_BYTES]) -> Result<G1, DeviceError> {
    let wrong = |reason: &str| DeviceError::Failed {
        operation: "msm",
        reason: reason.to_string(),
    };
    let coordinate = |at: usize| {
        let mut repr = [0; 32];
        repr.copy_from_slice(&bytes[at * 32..(at + 1) * 32]);
        let coordinate: Option<Fq> = Fq::from_repr(repr).into();
        coordinate.ok_or_else(|| wrong("a coordinate of the result is not below the modulus"))
    };
    let (x, y, z) = (coordinate(0)?, coordinate(1)?, coordinate(2)?);
    if bool::from(z.is_zero()) {
        return Ok(G1::identity());
    }
    let point = G1 { x, y, z };
    if bool::from(point.is_on_curve()) {
        Ok(point)
    } else {
        Err(wrong("the result is not on the curve"))
    }
}

/// Refuses vectors and constants that a program does not fit.
pub(super) fn check_program(
    program: &Program,
    inputs: &[&IcicleVector],
    constants: &[Fr],
    outputs: &[&IcicleVector],
) -> Result<(), DeviceError> {
    let fits = inputs.len() >= program.inputs()
        && constants.len() >= program.constants()
        && outputs.len() == program.outputs().len();
    if !fits {
        let reason = format!(
            "{} inputs, {} constants and {} outputs given for {}, {} and {}",
            inputs.len(),
            constants.len(),
            outputs.len(),
            program.inputs(),
            program.constants(),
            program.outputs().len()
        );
        return Err(invalid("run", reason));
    }
    let mut lengths = inputs.iter().chain(outputs).map(|vector| vector.len);
    let first = lengths.next();
    match lengths.find(|other| Some(*other) != first) {
        None => Ok(()),
        Some(other) => {
            let n = first.unwrap_or_default();
            Err(invalid("run", format!("vectors of {n} and {other} elements")))
        }
    }
}

/// Exclusive running product by doubling: after step `s`, element `i` is the product of the `2^s` elements up to it.
pub(super) fn running_product(
    context: &Arc<Context>,
    vector: &mut IcicleVector,
    first: Fr,
) -> Result<(), DeviceError> {
    const OPERATION: &str = "running_product";
    let n = vector.len;
    let Some(mut products) = vector.buffer.take() else {
        return Ok(());
    };
    let mut other = match context.allocate(OPERATION, n * abi::SCALAR_BYTES) {
        Ok(other) => other,
        Err(error) => {
            vector.buffer = Some(products);
            return Err(error);
        }
    };
    let mut run = || {
        let mut moved = 1;
        while moved < n {
            let (from, to) = (&products, &other);
            context.copy(OPERATION, from.span(0, moved), to.span(0, moved))?;
            let (upper, lower) = (from.span(moved, n - moved), from.span(0, n - moved));
            context.vector(
                OPERATION,
                Arithmetic::Mul,
                upper,
                lower,
                to.span(moved, n - moved),
            )?;
            std::mem::swap(&mut products, &mut other);
            moved *= 2;
        }
        context.upload(OPERATION, &[first], other.span(0, 1))?;
        let (from, to) = (products.span(0, n - 1), other.span(1, n - 1));
        context.scalar(OPERATION, Arithmetic::Mul, first, from, to)
    };
    let result = run();
    vector.buffer = Some(other);
    result
}

/// `Σ coefficients[i] · point^i`.
pub(super) fn evaluate(
    context: &Arc<Context>,
    polynomial: &IcicleVector,
    point: Fr,
) -> Result<Fr, DeviceError> {
    const OPERATION: &str = "evaluate";
    let mut n = polynomial.len;
    if n <= HOST_COEFFICIENTS {
        return Ok(horner(&download(context, polynomial, 0..n)?, point));
    }
    // The first half is taken to memory of its own, since the polynomial stays.
    let mut half = n.next_power_of_two() / 2;
    let folded = IcicleVector::new(context, OPERATION, half)?;
    let (from, to) = (polynomial.memory(), folded.memory());
    let upper = n - half;
    let power = point.pow_vartime([half as u64]);
    let sum = to.span(0, upper);
    context.scalar(OPERATION, Arithmetic::Mul, power, from.span(half, upper), sum)?;
    context.vector(OPERATION, Arithmetic::Add, from.span(0, upper), sum, sum)?;
    context.copy(
        OPERATION,
        from.span(upper, half - upper),
        to.span(upper, half - upper),
    )?;
    n = half;
    while n > HOST_COEFFICIENTS {
        half = n / 2;
        let power = point.pow_vartime([half as u64]);
        let (lower, upper) = (to.span(0, half), to.span(half, half));
        context.scalar(OPERATION, Arithmetic::Mul, power, upper, upper)?;
        context.vector(OPERATION, Arithmetic::Add, lower, upper, lower)?;
        n = half;
    }
    Ok(horner(&download(context, &folded, 0..n)?, point))
}

fn horner(coefficients: &[Fr], point: Fr) -> Fr {
    let coefficients = coefficients.iter().rev();
    coefficients.fold(Fr::ZERO, |value, coefficient| value * point + coefficient)
}

/// Adds `factors[j] · vectors[j]` to `sum`, which is at least as long as each.
pub(super) fn combine(
    context: &Arc<Context>,
    vectors: &[&IcicleVector],
    factors: &[Fr],
    sum: &IcicleVector,
) -> Result<(), DeviceError> {
    const OPERATION: &str = "combine";
    let longest = vectors.iter().map(|vector| vector.len).max().unwrap_or(0);
    let scratch = IcicleVector::new(context, OPERATION, longest)?;
    for (vector, factor) in vectors.iter().zip(factors).filter(|(vector, _)| vector.len > 0) {
        let n = vector.len;
        let (product, sum) = (scratch.memory().span(0, n), sum.memory().span(0, n));
        let values = vector.memory().span(0, n);
        context.scalar(OPERATION, Arithmetic::Mul, *factor, values, product)?;
        context.vector(OPERATION, Arithmetic::Add, sum, product, sum)?;
    }
    Ok(())
}
