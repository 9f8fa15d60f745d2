//! What every device refuses before it does anything: arguments that do not fit each other. Each check stands once, so that
//! all devices refuse the same calls in the same words.

use crate::{DeviceError, Program};
use halo2curves::bn256::Fr;
use std::ops::Range;

pub(crate) fn invalid(operation: &'static str, reason: String) -> DeviceError {
    DeviceError::Invalid { operation, reason }
}

/// The range of `count` elements from `at` on, if a vector of `len` elements has it.
pub(crate) fn range(
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

/// Sums of multiples: vectors of these lengths on so many bases.
pub(crate) fn msm(mut lengths: impl Iterator<Item = usize>, bases: usize) -> Result<(), DeviceError> {
    let mut at = 0;
    let long = lengths.find(|length| {
        at += 1;
        *length > bases
    });
    match long {
        None => Ok(()),
        Some(found) => {
            let reason = format!("vector {} has {found} scalars for {bases} bases", at - 1);
            Err(invalid("msm", reason))
        }
    }
}

/// Transforms of vectors of these lengths, of at most `2^k_max` elements.
pub(crate) fn ntt(lengths: impl Iterator<Item = usize>, k_max: u32) -> Result<(), DeviceError> {
    for (at, n) in lengths.enumerate() {
        if !is_transformable(n, k_max) {
            let reason = format!("vector {at} has {n} elements, not 2^k with k <= {k_max}");
            return Err(invalid("ntt", reason));
        }
    }
    Ok(())
}

/// Transforms of vectors on a coset. Returns the length that all have; none where there are no vectors.
pub(crate) fn coset_ntt(
    inputs: impl ExactSizeIterator<Item = usize>,
    outputs: impl ExactSizeIterator<Item = usize>,
    k_max: u32,
) -> Result<Option<usize>, DeviceError> {
    const OPERATION: &str = "coset_ntt";
    if inputs.len() != outputs.len() {
        let reason = format!("{} inputs for {} outputs", inputs.len(), outputs.len());
        return Err(invalid(OPERATION, reason));
    }
    let n = common_length(OPERATION, inputs.chain(outputs))?;
    match n {
        Some(n) if !is_transformable(n, k_max) => {
            let reason = format!("vectors of {n} elements, not 2^k with k <= {k_max}");
            Err(invalid(OPERATION, reason))
        }
        n => Ok(n),
    }
}

/// A program on vectors of these lengths and so many constants. Returns the length that all vectors have; none where there
/// are none.
pub(crate) fn run(
    program: &Program,
    inputs: impl ExactSizeIterator<Item = usize>,
    constants: usize,
    outputs: impl ExactSizeIterator<Item = usize>,
) -> Result<Option<usize>, DeviceError> {
    let fits = inputs.len() >= program.inputs()
        && constants >= program.constants()
        && outputs.len() == program.outputs().len();
    if !fits {
        let reason = format!(
            "{} inputs, {constants} constants and {} outputs given for {}, {} and {}",
            inputs.len(),
            outputs.len(),
            program.inputs(),
            program.constants(),
            program.outputs().len()
        );
        return Err(invalid("run", reason));
    }
    common_length("run", inputs.chain(outputs))
}

/// A point for each polynomial.
pub(crate) fn points(operation: &'static str, polynomials: usize, points: usize) -> Result<(), DeviceError> {
    if polynomials == points {
        return Ok(());
    }
    let reason = format!("{polynomials} polynomials at {points} points");
    Err(invalid(operation, reason))
}

/// A sum of quotients of polynomials of these lengths, each of which must be `n`, with a factor and a set of points for each.
pub(crate) fn quotients(
    mut lengths: impl ExactSizeIterator<Item = usize>,
    factors: usize,
    sets: &[&[Fr]],
    n: usize,
) -> Result<(), DeviceError> {
    let refused = |reason: String| Err(invalid("quotients", reason));
    let polynomials = lengths.len();
    if polynomials != factors || polynomials != sets.len() {
        return refused(format!(
            "{polynomials} polynomials with {factors} factors and {} sets of points",
            sets.len()
        ));
    }
    if let Some(length) = lengths.find(|length| *length != n) {
        return refused(format!("a polynomial of {length} coefficients for {n}"));
    }
    for (at, points) in sets.iter().enumerate() {
        let twice = (1..points.len()).any(|later| points[..later].contains(&points[later]));
        if points.is_empty() || twice {
            return refused(format!("set {at} is empty or has a point twice"));
        }
    }
    Ok(())
}

/// A sum of `n` elements of vectors of these lengths, each with a factor.
pub(crate) fn combine(
    mut lengths: impl ExactSizeIterator<Item = usize>,
    factors: usize,
    n: usize,
) -> Result<(), DeviceError> {
    let refused = |reason: String| Err(invalid("combine", reason));
    if lengths.len() != factors {
        return refused(format!("{} vectors with {factors} factors", lengths.len()));
    }
    match lengths.find(|length| *length > n) {
        None => Ok(()),
        Some(length) => refused(format!("a vector of {length} elements for {n}")),
    }
}

fn is_transformable(n: usize, k_max: u32) -> bool {
    n.is_power_of_two() && n.ilog2() <= k_max
}

fn common_length(
    operation: &'static str,
    mut lengths: impl Iterator<Item = usize>,
) -> Result<Option<usize>, DeviceError> {
    let Some(n) = lengths.next() else {
        return Ok(None);
    };
    match lengths.find(|other| *other != n) {
        None => Ok(Some(n)),
        Some(other) => Err(invalid(operation, format!("vectors of {n} and {other} elements"))),
    }
}
