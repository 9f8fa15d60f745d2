//! Inversion, running products, evaluation and linear combination.

use halo2curves::bn256::Fr;
use halo2curves::ff::{BatchInvert, Field};
use rayon::prelude::*;

/// Elements that one task handles.
pub(super) const CHUNK: usize = 1 << 13;

/// Replaces every value by its inverse, 0 by 0.
pub(super) fn invert(values: &mut [Fr]) {
    values.par_chunks_mut(CHUNK).for_each(|chunk| {
        chunk.batch_invert();
    });
}

/// Exclusive running product from `first` on.
pub(super) fn running_product(values: &mut [Fr], first: Fr) {
    let totals: Vec<Fr> = values
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().product())
        .collect();
    let starts: Vec<Fr> = totals
        .iter()
        .scan(first, |product, total| {
            let start = *product;
            *product *= total;
            Some(start)
        })
        .collect();
    let chunks = values.par_chunks_mut(CHUNK).zip(starts);
    chunks.for_each(|(chunk, mut product)| {
        for value in chunk {
            let next = product * *value;
            *value = product;
            product = next;
        }
    });
}

/// The polynomial's value: `Σ coefficients[i] · point^i`.
pub(super) fn evaluate(coefficients: &[Fr], point: Fr) -> Fr {
    let chunks = coefficients.par_chunks(CHUNK).enumerate();
    chunks
        .map(|(at, chunk)| {
            let value = chunk.iter().rev().fold(Fr::ZERO, |value, c| value * point + c);
            value * point.pow_vartime([(at * CHUNK) as u64])
        })
        .reduce(|| Fr::ZERO, |a, b| a + b)
}

/// Adds `factors[j] · vectors[j][start..]` to `sum`.
pub(super) fn combine(sum: &mut [Fr], start: usize, vectors: &[&[Fr]], factors: &[Fr]) {
    for (vector, factor) in vectors.iter().zip(factors) {
        let from = start.min(vector.len());
        for (sum, value) in sum.iter_mut().zip(&vector[from..]) {
            *sum += *value * factor;
        }
    }
}
