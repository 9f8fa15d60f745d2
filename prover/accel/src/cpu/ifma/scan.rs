//! Inversion, running products, evaluation and linear combination, eight elements at a time.
//!
//! Values have halo2curves' Montgomery form throughout; fixed factors have ours. The callers of all functions have checked
//! that the kernels are available.

use super::super::memory::words;
use super::Available;
use super::field::*;
use halo2curves::bn256::Fr;
use halo2curves::ff::{BatchInvert, Field};
use std::arch::x86_64::*;

/// Vectors that are handled together, to hide the latency of products.
const CHAINS: usize = 4;

/// Elements of the vectors that are handled together.
pub(in crate::cpu) const WIDTH: usize = 8 * CHAINS;

/// Vectors of eight that are asked for before they are read.
const AHEAD: usize = 16;

/// A product of two values in halo2curves' form, tidy.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn product(a: &Lanes, b: &Lanes) -> Lanes {
    let scaled = columns(a, b).map(|column| _mm512_slli_epi64::<4>(column));
    tidy(&montgomery::<Scalar>(scaled))
}

/// The same scalar in all lanes, in our form.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn fixed(factor: &Fr) -> Lanes {
    broadcast(&split(own_form(factor)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn read(values: &[Fr; 8]) -> Lanes {
    // SAFETY: eight scalars are 32 words.
    unpack(&unsafe { load(values.as_ptr().cast()) })
}

/// Writes tidy elements.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn write(values: &mut [Fr; 8], lanes: &Lanes) {
    // SAFETY: eight scalars are 32 words, and canonical ones are scalars.
    unsafe { store(values.as_mut_ptr().cast(), &pack(&canonical::<Scalar>(lanes))) };
}

/// Replaces every value by its inverse, 0 by 0. There are a multiple of [`WIDTH`] of them.
pub(in crate::cpu) fn invert(_: Available, values: &mut [Fr]) {
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows.
    unsafe { invert_vectors(values.as_chunks_mut::<8>().0) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn invert_vectors(vectors: &mut [[Fr; 8]]) {
    let one = broadcast(&split(words(&Fr::ONE)));
    let mut running = [one; CHAINS];
    let mut products = buffer(vectors.len());
    // Zeros count as ones.
    let nonzero = |values: &[Fr; 8]| {
        let lanes = read(values);
        let any = lanes
            .0
            .iter()
            .fold(_mm512_setzero_si512(), |any, limb| _mm512_or_si512(any, *limb));
        let zero = _mm512_testn_epi64_mask(any, any);
        let limbs = std::array::from_fn(|limb| _mm512_mask_mov_epi64(lanes.0[limb], zero, one.0[limb]));
        (Lanes(limbs), zero)
    };
    for (vectors, products) in vectors.chunks(CHAINS).zip(products.chunks_mut(CHAINS)) {
        for ((vector, before), running) in vectors.iter().zip(products).zip(&mut running) {
            *before = *running;
            *running = product(running, &nonzero(vector).0);
        }
    }
    let mut totals = [[Fr::ONE; 8]; CHAINS];
    for (total, running) in totals.iter_mut().zip(&running) {
        write(total, running);
    }
    totals.as_flattened_mut().batch_invert();
    for (total, running) in totals.iter().zip(&mut running) {
        *running = read(total);
    }
    for (vectors, products) in vectors.chunks_mut(CHAINS).zip(products.chunks(CHAINS)).rev() {
        for ((vector, before), running) in vectors.iter_mut().zip(products).zip(&mut running) {
            let (value, zero) = nonzero(vector);
            let inverse = product(running, before);
            *running = product(running, &value);
            let inverse = inverse
                .0
                .map(|limb| _mm512_mask_mov_epi64(limb, zero, _mm512_setzero_si512()));
            write(vector, &Lanes(inverse));
        }
    }
}

/// The products of [`WIDTH`] segments of equal length, in order.
pub(in crate::cpu) fn segment_products(_: Available, values: &[Fr]) -> [Fr; WIDTH] {
    assert!(values.len().is_multiple_of(WIDTH));
    let mut totals = [[Fr::ONE; 8]; CHAINS];
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows, and the segments are within the values.
    unsafe { multiply_segments(values.as_ptr(), values.len() / WIDTH, &mut totals) };
    flatten(totals)
}

/// Replaces the values of [`WIDTH`] segments of equal length by exclusive running products from the segments' `starts` on.
pub(in crate::cpu) fn segment_running_products(_: Available, values: &mut [Fr], starts: &[Fr; WIDTH]) {
    assert!(values.len().is_multiple_of(WIDTH));
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows, and the segments are within the values.
    unsafe { run_segments(values.as_mut_ptr(), values.len() / WIDTH, starts) };
}

fn flatten(vectors: [[Fr; 8]; CHAINS]) -> [Fr; WIDTH] {
    std::array::from_fn(|at| vectors[at / 8][at % 8])
}

/// Element `at` of eight segments of `len` elements each, the first of which is segment `first`.
///
/// # Safety
/// All of them are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) unsafe fn read_across(values: *const Fr, len: usize, first: usize, at: usize) -> Lanes {
    let one = |segment: usize| {
        let value = values.wrapping_add((first + segment) * len + at);
        // SAFETY: the caller vouches for the element, which has four words.
        unsafe { _mm256_loadu_si256(value.cast()) }
    };
    let pair = |at: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(one(2 * at)), one(2 * at + 1));
    unpack(&interleave([pair(0), pair(1), pair(2), pair(3)]))
}

/// Writes a tidy element to each of eight segments, as [`read_across`] reads them.
///
/// # Safety
/// All of them are writable.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) unsafe fn write_across(values: *mut Fr, len: usize, first: usize, at: usize, lanes: &Lanes) {
    let pairs = deinterleave(&pack(&canonical::<Scalar>(lanes)));
    for (pair, both) in pairs.into_iter().enumerate() {
        let halves = [_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64::<1>(both)];
        for (half, value) in halves.into_iter().enumerate() {
            let to = values.wrapping_add((first + 2 * pair + half) * len + at);
            // SAFETY: the caller vouches for the element, which has four words, and canonical ones are scalars.
            unsafe { _mm256_storeu_si256(to.cast(), value) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn multiply_segments(values: *const Fr, len: usize, totals: &mut [[Fr; 8]; CHAINS]) {
    let mut running = [broadcast(&split(words(&Fr::ONE))); CHAINS];
    for at in 0..len {
        for (chain, running) in running.iter_mut().enumerate() {
            // SAFETY: the caller vouches for all segments.
            *running = product(running, &unsafe { read_across(values, len, 8 * chain, at) });
        }
    }
    for (total, running) in totals.iter_mut().zip(&running) {
        write(total, running);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn run_segments(values: *mut Fr, len: usize, starts: &[Fr; WIDTH]) {
    let starts = starts.as_chunks::<8>().0;
    let mut running: [Lanes; CHAINS] = std::array::from_fn(|chain| read(&starts[chain]));
    for at in 0..len {
        for (chain, running) in running.iter_mut().enumerate() {
            // SAFETY: the caller vouches for all segments.
            let value = unsafe { read_across(values, len, 8 * chain, at) };
            // SAFETY: as above.
            unsafe { write_across(values, len, 8 * chain, at, running) };
            *running = product(running, &value);
        }
    }
}

/// `Σ coefficients[i] · point^i` for a multiple of [`WIDTH`] coefficients; `power` is `point^WIDTH`.
pub(in crate::cpu) fn evaluate(_: Available, coefficients: &[Fr], point: Fr, power: &Fr) -> Fr {
    let mut sums = [[Fr::ZERO; 8]; CHAINS];
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows.
    unsafe { evaluate_vectors(coefficients.as_chunks::<8>().0, power, &mut sums) };
    flatten(sums)
        .iter()
        .rev()
        .fold(Fr::ZERO, |value, sum| value * point + sum)
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn evaluate_vectors(vectors: &[[Fr; 8]], power: &Fr, sums: &mut [[Fr; 8]; CHAINS]) {
    let power = fixed(power);
    let mut running = [broadcast(&[0; 5]); CHAINS];
    let first = vectors.as_ptr();
    for (at, group) in vectors.chunks_exact(CHAINS).enumerate().rev() {
        for (chain, (running, vector)) in running.iter_mut().zip(group).enumerate() {
            prefetch(first.wrapping_add(CHAINS * at + chain).wrapping_sub(AHEAD).cast());
            *running = tidy(&add(&mul::<Scalar>(running, &power), &read(vector)));
        }
    }
    for (sum, running) in sums.iter_mut().zip(&running) {
        write(sum, running);
    }
}

/// Terms of a sum whose columns do not overflow, nine times `2^52` each, and whose value is below `84 p`.
pub(in crate::cpu) const TERMS_MAX: usize = 192;

/// Factors as [`combine`] takes them.
pub(in crate::cpu) fn factors(factors: &[Fr]) -> Vec<[u64; 5]> {
    factors.iter().map(|factor| split(own_form(factor))).collect()
}

/// Sets every element to `Σ factors[j] · vectors[j]` of it, for at most [`TERMS_MAX`] vectors of the sum's length, which is a
/// multiple of eight.
pub(in crate::cpu) fn combine(_: Available, sum: &mut [Fr], vectors: &[&[Fr]], factors: &[[u64; 5]]) {
    assert!(vectors.iter().all(|vector| vector.len() == sum.len()) && vectors.len() <= TERMS_MAX);
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows.
    unsafe { combine_vectors(sum, vectors, factors) };
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn combine_vectors(sum: &mut [Fr], vectors: &[&[Fr]], factors: &[[u64; 5]]) {
    for (at, sum) in sum.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut total = no_columns();
        for (vector, factor) in vectors.iter().zip(factors) {
            prefetch(vector.as_ptr().wrapping_add(8 * (at + AHEAD)).cast());
            let value = read(&vector.as_chunks::<8>().0[at]);
            multiply_add(&mut total, &value, &broadcast(factor));
        }
        write(sum, &tidy(&montgomery::<Scalar>(total)));
    }
}
