//! The device's operations that take several of ICICLE's calls.

use super::IcicleVector;
use super::abi;
use super::context::{Arithmetic, Context};
use super::memory::Span;
use crate::arguments::invalid;
use crate::{DeviceError, Direction};
use halo2curves::bn256::Fr;
use halo2curves::ff::{BatchInvert, Field};
use std::ops::Range;
use std::sync::Arc;

/// Sizes in elements that ICICLE's 32-bit integers hold, with room for a batch.
pub(super) const ELEMENTS_MAX: usize = 1 << 28;

/// Coefficients from which on a polynomial is not worth the device's calls any more.
const HOST_COEFFICIENTS: usize = 1024;

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

/// A range of a vector as the host has scalars.
pub(super) fn download(
    context: &Arc<Context>,
    operation: &'static str,
    vector: &IcicleVector,
    range: Range<usize>,
) -> Result<Vec<Fr>, DeviceError> {
    let mut values = Vec::new();
    if range.is_empty() {
        return Ok(values);
    }
    let (n, bytes) = (range.len(), range.len() * abi::SCALAR_BYTES);
    values
        .try_reserve_exact(n)
        .map_err(|_| DeviceError::OutOfMemory {
            operation,
            bytes: bytes as u64,
        })?;
    let scratch = context.allocate(operation, bytes)?;
    let from = vector.memory().span(range.start, n);
    context.convert(operation, from, scratch.span(0, n), true)?;
    context.download(operation, scratch.span(0, n), &mut values)?;
    Ok(values)
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
        let constants = context.constants(OPERATION, &[first])?;
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
        let first = constants.span(0, 1);
        context.copy(OPERATION, first, other.span(0, 1))?;
        let (from, to) = (products.span(0, n - 1), other.span(1, n - 1));
        context.scalar(OPERATION, Arithmetic::Mul, first, from, to)?;
        context.finish(OPERATION)
    };
    let result = run();
    vector.buffer = Some(other);
    result
}

/// `1, base, base², …`: the first of them from the host, the rest by doubling.
pub(super) fn powers(
    context: &Arc<Context>,
    operation: &'static str,
    base: Fr,
    n: usize,
) -> Result<IcicleVector, DeviceError> {
    let powers = IcicleVector::new(context, operation, n)?;
    let Some(buffer) = &powers.buffer else {
        return Ok(powers);
    };
    let mut known = n.min(HOST_COEFFICIENTS);
    let first: Vec<Fr> = successive(base, known);
    context.upload(operation, &first, buffer.span(0, known))?;
    let steps = std::iter::successors(Some(base.pow_vartime([known as u64])), |step| Some(step.square()));
    let steps: Vec<Fr> = steps.take(n.div_ceil(known).ilog2() as usize + 1).collect();
    let steps = context.constants(operation, &steps)?;
    let mut at = 0;
    while known < n {
        let more = known.min(n - known);
        let (from, to) = (buffer.span(0, more), buffer.span(known, more));
        context.scalar(operation, Arithmetic::Mul, steps.span(at, 1), from, to)?;
        known += more;
        at += 1;
    }
    Ok(powers)
}

/// The first `n` powers of a number, computed here.
fn successive(base: Fr, n: usize) -> Vec<Fr> {
    std::iter::successors(Some(Fr::ONE), |power| Some(power * base))
        .take(n)
        .collect()
}

/// Transforms on the coset of `shift`: vectors that are not empty, as many as outputs, all of one length that the domain has.
pub(super) fn coset_ntt(
    context: &Arc<Context>,
    inputs: &[&IcicleVector],
    shift: Fr,
    outputs: &[&IcicleVector],
) -> Result<(), DeviceError> {
    const OPERATION: &str = "coset_ntt";
    let Some(n) = inputs.first().map(|input| input.len) else {
        return Ok(());
    };
    let powers = powers(context, OPERATION, shift, n)?;
    for (input, output) in inputs.iter().zip(outputs) {
        let to = output.memory().span(0, n);
        let (from, powers) = (input.memory().span(0, n), powers.memory().span(0, n));
        context.vector(OPERATION, Arithmetic::Mul, from, powers, to)?;
        // One element is its own transform.
        if n > 1 {
            context.ntt(to, Direction::Forward)?;
        }
    }
    context.finish(OPERATION)
}

/// Inverts by a tree of products: three multiplications for an element, where ICICLE's own inversion of every element by
/// itself takes as long as a hundred. Where an element is zero, or memory for the tree is missing, ICICLE's own.
pub(super) fn invert(context: &Arc<Context>, vector: &IcicleVector) -> Result<(), DeviceError> {
    const OPERATION: &str = "invert";
    let Some(buffer) = &vector.buffer else {
        return Ok(());
    };
    let inverted = match vector.len > HOST_COEFFICIENTS {
        true => invert_by_tree(context, OPERATION, vector),
        false => Ok(false),
    };
    match inverted {
        Ok(true) => {}
        Ok(false) | Err(DeviceError::OutOfMemory { .. }) => {
            context.invert(OPERATION, buffer.span(0, vector.len))?;
        }
        Err(error) => return Err(error),
    }
    context.finish(OPERATION)
}

/// Level by level, the upper half of a vector times its lower half; the products that are left are inverted here; then back.
/// False, with the vector as it was, where an element is zero.
fn invert_by_tree(
    context: &Arc<Context>,
    operation: &'static str,
    vector: &IcicleVector,
) -> Result<bool, DeviceError> {
    let mut levels: Vec<IcicleVector> = Vec::new();
    let mut below = vector;
    while below.len > HOST_COEFFICIENTS {
        let half = below.len.div_ceil(2);
        let upper = below.len - half;
        let products = IcicleVector::new(context, operation, half)?;
        let (from, to) = (below.memory(), products.memory());
        let (a, b) = (from.span(0, upper), from.span(half, upper));
        context.vector(operation, Arithmetic::Mul, a, b, to.span(0, upper))?;
        let single = half - upper;
        context.copy(operation, from.span(upper, single), to.span(upper, single))?;
        levels.push(products);
        below = levels.last().expect("pushed");
    }
    let scratch = IcicleVector::new(context, operation, vector.len.div_ceil(2))?;
    let top = levels
        .last()
        .expect("a vector that is longer than what is inverted here");
    let mut values = download(context, operation, top, 0..top.len)?;
    if values.contains(&Fr::ZERO) {
        return Ok(false);
    }
    values.iter_mut().batch_invert();
    context.upload(operation, &values, top.memory().span(0, top.len))?;
    for at in (0..levels.len()).rev() {
        let (inverses, below) = (&levels[at], if at == 0 { vector } else { &levels[at - 1] });
        let half = inverses.len;
        let upper = below.len - half;
        let (lower_place, upper_place) = (below.memory().span(0, upper), below.memory().span(half, upper));
        let (inverse, spare) = (inverses.memory().span(0, upper), scratch.memory().span(0, upper));
        context.vector(operation, Arithmetic::Mul, inverse, lower_place, spare)?;
        context.vector(operation, Arithmetic::Mul, inverse, upper_place, lower_place)?;
        context.copy(operation, spare, upper_place)?;
        let single = half - upper;
        let from = inverses.memory().span(upper, single);
        context.copy(operation, from, below.memory().span(upper, single))?;
    }
    Ok(true)
}

/// `Σ coefficients[i] · points[j]^i` for each polynomial `j`: the upper half is added to the lower until little is left, and
/// that comes from all polynomials together.
pub(super) fn evaluate(
    context: &Arc<Context>,
    polynomials: &[&IcicleVector],
    points: &[Fr],
) -> Result<Vec<Fr>, DeviceError> {
    const OPERATION: &str = "evaluate";
    let longest = polynomials.iter().map(|polynomial| polynomial.len).max();
    let Some(longest) = longest.filter(|longest| *longest > 0) else {
        return Ok(vec![Fr::ZERO; polynomials.len()]);
    };
    // `point^(2^i)` for each point, once for points that are alike.
    let levels = longest.next_power_of_two().ilog2() as usize + 1;
    let mut distinct: Vec<Fr> = Vec::new();
    let mut places: Vec<usize> = Vec::with_capacity(points.len());
    for point in points {
        let known = distinct.iter().position(|other| other == point);
        places.push(known.unwrap_or(distinct.len()));
        if known.is_none() {
            distinct.push(*point);
        }
    }
    let squares = distinct
        .iter()
        .flat_map(|point| std::iter::successors(Some(*point), |power| Some(power.square())).take(levels));
    let constants = context.constants(OPERATION, &squares.collect::<Vec<Fr>>())?;
    let ends = IcicleVector::new(context, OPERATION, polynomials.len() * HOST_COEFFICIENTS)?;
    context.clear(OPERATION, ends.memory().span(0, ends.len))?;
    let folded = IcicleVector::new(context, OPERATION, longest.next_power_of_two().div_ceil(2))?;
    let mut left = Vec::with_capacity(polynomials.len());
    for (at, (polynomial, place)) in polynomials.iter().zip(&places).enumerate() {
        let power = |half: usize| constants.span(place * levels + half.ilog2() as usize, 1);
        let end = ends.memory().span(at * HOST_COEFFICIENTS, HOST_COEFFICIENTS);
        left.push(fold(context, OPERATION, polynomial, &power, &folded, end)?);
    }
    let ends = download(context, OPERATION, &ends, 0..ends.len)?;
    let ends = ends.chunks_exact(HOST_COEFFICIENTS).zip(left).zip(points);
    Ok(ends
        .map(|((end, left), point)| horner(&end[..left], *point))
        .collect())
}

/// Adds the upper half of a polynomial to its lower half, times the power of the point that lies between, until at most
/// `end.len` coefficients are left, and copies those to `end`; how many they are. `power` gives the point's power of a power of
/// two, `room` is overwritten.
fn fold<'a>(
    context: &Arc<Context>,
    operation: &'static str,
    polynomial: &IcicleVector,
    power: &impl Fn(usize) -> Span<'a>,
    room: &IcicleVector,
    end: Span,
) -> Result<usize, DeviceError> {
    let mut n = polynomial.len;
    if n == 0 {
        return Ok(0);
    }
    let mut from = polynomial.memory();
    let to = room.memory();
    while n > end.len {
        let half = n.next_power_of_two() / 2;
        let upper = n - half;
        // In place but for the first time, when the polynomial stays as it is.
        let (low, high) = (from.span(0, upper), from.span(half, upper));
        let moved = if std::ptr::eq(from, to) {
            high
        } else {
            to.span(0, upper)
        };
        context.scalar(operation, Arithmetic::Mul, power(half), high, moved)?;
        context.vector(operation, Arithmetic::Add, low, moved, to.span(0, upper))?;
        if !std::ptr::eq(from, to) {
            let (rest, place) = (from.span(upper, half - upper), to.span(upper, half - upper));
            context.copy(operation, rest, place)?;
        }
        from = to;
        n = half;
    }
    context.copy(operation, from.span(0, n), end.first(n))?;
    Ok(n)
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
    let constants = context.constants(OPERATION, factors)?;
    for (at, vector) in vectors.iter().enumerate().filter(|(_, vector)| vector.len > 0) {
        let n = vector.len;
        let (product, sum) = (scratch.memory().span(0, n), sum.memory().span(0, n));
        let (factor, values) = (constants.span(at, 1), vector.memory().span(0, n));
        context.scalar(OPERATION, Arithmetic::Mul, factor, values, product)?;
        context.vector(OPERATION, Arithmetic::Add, sum, product, sum)?;
    }
    context.finish(OPERATION)
}

/// Turns coefficients of `p` into those of `(p - p(point)) / (X - point)`: coefficient `i` is `Σ p_j · point^(j-i-1)` over
/// the `j > i`, so sums over the ends of `p_j · point^j`, by doubling, times powers of the point's inverse.
pub(super) fn divide(
    context: &Arc<Context>,
    polynomial: &mut IcicleVector,
    point: Fr,
) -> Result<(), DeviceError> {
    const OPERATION: &str = "divide";
    let n = polynomial.len;
    if n == 0 {
        return Ok(());
    }
    let other = IcicleVector::new(context, OPERATION, n)?;
    let Some(inverse) = Option::<Fr>::from(point.invert()) else {
        // By `X`: every coefficient moves down.
        let (from, to) = (polynomial.memory(), other.memory());
        context.copy(OPERATION, from.span(1, n - 1), to.span(0, n - 1))?;
        context.clear(OPERATION, to.span(n - 1, 1))?;
        *polynomial = other;
        return context.finish(OPERATION);
    };
    let (mut sums, mut spare) = (polynomial.memory(), other.memory());
    let powers = powers(context, OPERATION, point, n)?;
    let terms = sums.span(0, n);
    context.vector(
        OPERATION,
        Arithmetic::Mul,
        terms,
        powers.memory().span(0, n),
        terms,
    )?;
    let mut moved = 1;
    while moved < n {
        let kept = n - moved;
        let (lower, upper) = (sums.span(0, kept), sums.span(moved, kept));
        context.vector(OPERATION, Arithmetic::Add, lower, upper, spare.span(0, kept))?;
        context.copy(OPERATION, sums.span(kept, moved), spare.span(kept, moved))?;
        std::mem::swap(&mut sums, &mut spare);
        moved *= 2;
    }
    let inverses = self::powers(context, OPERATION, inverse, n)?;
    let inverses = inverses.memory().span(1, n - 1);
    context.vector(
        OPERATION,
        Arithmetic::Mul,
        sums.span(1, n - 1),
        inverses,
        spare.span(0, n - 1),
    )?;
    context.clear(OPERATION, spare.span(n - 1, 1))?;
    let elsewhere = std::ptr::eq(spare, other.memory());
    if elsewhere {
        *polynomial = other;
    }
    context.finish(OPERATION)
}
