//! Inversion, running products, evaluation and linear combination.

use super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::ifma;
use halo2curves::bn256::Fr;
use halo2curves::ff::{BatchInvert, Field};
use rayon::prelude::*;

/// Elements that one task handles.
const CHUNK: usize = 1 << 13;

/// Replaces every value by its inverse, 0 by 0.
pub(super) fn invert(kernels: Kernels, values: &mut [Fr]) {
    // Half a chunk, whose products then stay in the second-level cache.
    values.par_chunks_mut(CHUNK / 2).for_each(|chunk| {
        let rest = match kernels {
            Kernels::Portable => chunk,
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(available) => {
                let (whole, rest) = chunk.split_at_mut(whole(chunk.len(), ifma::scan::WIDTH));
                ifma::scan::invert(available, whole);
                rest
            }
        };
        rest.batch_invert();
    });
}

/// The largest multiple of `width` up to `len`.
#[cfg(target_arch = "x86_64")]
fn whole(len: usize, width: usize) -> usize {
    len / width * width
}

/// Exclusive running product from `first` on.
pub(super) fn running_product(kernels: Kernels, values: &mut [Fr], first: Fr) {
    #[cfg(target_arch = "x86_64")]
    if let Kernels::Ifma(available) = kernels {
        return running_product_by_segments(available, values, first);
    }
    let _ = kernels;
    let totals: Vec<Fr> = values
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().product())
        .collect();
    let starts = exclusive(totals.iter(), first);
    let chunks = values.par_chunks_mut(CHUNK).zip(starts);
    chunks.for_each(|(chunk, start)| run(chunk, start));
}

/// Replaces values by exclusive running products one by one.
fn run(values: &mut [Fr], mut product: Fr) {
    for value in values {
        let next = product * *value;
        *value = product;
        product = next;
    }
}

fn exclusive<'a>(factors: impl Iterator<Item = &'a Fr>, first: Fr) -> Vec<Fr> {
    let starts = factors.scan(first, |product, factor| {
        let start = *product;
        *product *= factor;
        Some(start)
    });
    starts.collect()
}

#[cfg(target_arch = "x86_64")]
fn running_product_by_segments(available: ifma::Available, values: &mut [Fr], first: Fr) {
    use ifma::scan::{WIDTH, segment_products, segment_running_products};
    let (whole, rest) = values.split_at_mut(whole(values.len(), WIDTH));
    // The last chunk may be shorter; it is a multiple of the width too.
    let totals: Vec<[Fr; WIDTH]> = whole
        .par_chunks(CHUNK)
        .map(|chunk| segment_products(available, chunk))
        .collect();
    let starts = exclusive(totals.as_flattened().iter(), first);
    let last = totals
        .as_flattened()
        .iter()
        .fold(first, |product, total| product * total);
    let chunks = whole.par_chunks_mut(CHUNK).zip(starts.as_chunks::<WIDTH>().0);
    chunks.for_each(|(chunk, starts)| segment_running_products(available, chunk, starts));
    run(rest, last);
}

/// The polynomial's value: `Σ coefficients[i] · point^i`.
pub(super) fn evaluate(kernels: Kernels, coefficients: &[Fr], point: Fr) -> Fr {
    let power = segment_power(point);
    let chunks = coefficients.par_chunks(CHUNK).enumerate();
    chunks
        .map(|(at, chunk)| {
            evaluate_chunk(kernels, chunk, point, &power) * point.pow_vartime([(at * CHUNK) as u64])
        })
        .reduce(|| Fr::ZERO, |a, b| a + b)
}

/// The power of the point that [`evaluate_chunk`] takes.
fn segment_power(point: Fr) -> Fr {
    #[cfg(target_arch = "x86_64")]
    return point.pow_vartime([ifma::scan::WIDTH as u64]);
    #[cfg(not(target_arch = "x86_64"))]
    point
}

/// The value of the polynomial whose coefficients one task has.
fn evaluate_chunk(kernels: Kernels, chunk: &[Fr], point: Fr, power: &Fr) -> Fr {
    match kernels {
        Kernels::Portable => horner(chunk, point),
        #[cfg(target_arch = "x86_64")]
        Kernels::Ifma(available) => {
            let whole = whole(chunk.len(), ifma::scan::WIDTH);
            let rest = horner(&chunk[whole..], point) * point.pow_vartime([whole as u64]);
            ifma::scan::evaluate(available, &chunk[..whole], point, power) + rest
        }
    }
}

/// Turns the coefficients of `p` into those of `(p - p(point)) / (X - point)`, by synthetic division: every chunk's value first,
/// which says what each is carried into from those above it.
pub(super) fn divide(kernels: Kernels, coefficients: &mut [Fr], point: Fr) {
    let power = segment_power(point);
    let values: Vec<Fr> = coefficients
        .par_chunks(CHUNK)
        .map(|chunk| evaluate_chunk(kernels, chunk, point, &power))
        .collect();
    let step = point.pow_vartime([CHUNK as u64]);
    // From the highest chunk down. The highest, which may be shorter, is carried nothing into.
    let mut carry = Fr::ZERO;
    let mut carries = vec![Fr::ZERO; values.len()];
    for (slot, value) in carries.iter_mut().zip(values).rev() {
        *slot = carry;
        carry = carry * step + value;
    }
    let chunks = coefficients.par_chunks_mut(CHUNK).zip(carries);
    chunks.for_each(|(chunk, mut carry)| {
        for coefficient in chunk.iter_mut().rev() {
            let next = carry * point + *coefficient;
            *coefficient = std::mem::replace(&mut carry, next);
        }
    });
}

fn horner(coefficients: &[Fr], point: Fr) -> Fr {
    coefficients
        .iter()
        .rev()
        .fold(Fr::ZERO, |value, coefficient| value * point + coefficient)
}

/// Writes `Σ factors[j] · vectors[j]` to zeros; shorter vectors count as padded with zeros.
pub(super) fn combine(kernels: Kernels, sum: &mut [Fr], vectors: &[&[Fr]], factors: &[Fr]) {
    #[cfg(target_arch = "x86_64")]
    let limbs = ifma::scan::factors(factors);
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(at, sum)| {
        let start = at * CHUNK;
        #[cfg(target_arch = "x86_64")]
        if let Kernels::Ifma(available) = kernels {
            return combine_chunk(available, sum, start, vectors, factors, &limbs);
        }
        let _ = kernels;
        for (vector, factor) in vectors.iter().zip(factors) {
            add_chunk(sum, &vector[start.min(vector.len())..], *factor);
        }
    });
}

/// Adds `factor` times the values to the sums that are there, with all threads.
pub(super) fn add_multiple(sums: &mut [Fr], values: &[Fr], factor: Fr) {
    let chunks = sums.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
    chunks.for_each(|(sums, values)| add_chunk(sums, values, factor));
}

/// Adds `factor` times the values to the sums that are there.
fn add_chunk(sum: &mut [Fr], values: &[Fr], factor: Fr) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += *value * factor;
    }
}

/// One chunk: vectors that cover it by the kernel, parts of vectors that end in it one by one.
#[cfg(target_arch = "x86_64")]
fn combine_chunk(
    available: ifma::Available,
    sum: &mut [Fr],
    start: usize,
    vectors: &[&[Fr]],
    factors: &[Fr],
    limbs: &[[u64; 5]],
) {
    let whole = whole(sum.len(), 8);
    let covers = |vector: &[Fr]| vector.len() >= start + whole;
    let covering = vectors.iter().zip(limbs).filter(|(vector, _)| covers(vector));
    let (parts, limbs): (Vec<&[Fr]>, Vec<[u64; 5]>) = covering
        .map(|(vector, limbs)| (&vector[start..start + whole], *limbs))
        .unzip();
    let terms = parts
        .chunks(ifma::scan::TERMS_MAX)
        .zip(limbs.chunks(ifma::scan::TERMS_MAX));
    let mut more = Vec::new();
    for (at, (parts, limbs)) in terms.enumerate() {
        if at == 0 {
            ifma::scan::combine(available, &mut sum[..whole], parts, limbs);
            continue;
        }
        more.resize(whole, Fr::ZERO);
        ifma::scan::combine(available, &mut more, parts, limbs);
        add_chunk(sum, &more, Fr::ONE);
    }
    for (vector, factor) in vectors.iter().zip(factors) {
        let from = if covers(vector) { whole } else { 0 };
        add_chunk(
            &mut sum[from..],
            &vector[(start + from).min(vector.len())..],
            *factor,
        );
    }
}
