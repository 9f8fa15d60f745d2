//! Number-theoretic transforms, natural order in and out.

use crate::Direction;
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest size, `2^28`: the field has no larger power-of-two subgroup.
pub(super) const K_MAX: u32 = Fr::S;

/// What a transform of one size and direction needs beside its input.
pub(super) struct Plan {
    /// `ω^i` for `i < n / 2`.
    twiddles: Vec<Fr>,
    /// `1 / n` for the inverse direction.
    scale: Option<Fr>,
}

/// Plans made so far.
#[derive(Default)]
pub(super) struct Plans {
    made: Mutex<HashMap<(u32, bool), Arc<Plan>>>,
}

impl Plans {
    /// The plan for `2^k` elements, made on first use.
    pub(super) fn plan(&self, k: u32, direction: Direction) -> Arc<Plan> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let inverse = direction == Direction::Inverse;
        made.entry((k, inverse))
            .or_insert_with(|| Arc::new(Plan::new(k, inverse)))
            .clone()
    }
}

impl Plan {
    fn new(k: u32, inverse: bool) -> Self {
        let root = if inverse {
            Fr::ROOT_OF_UNITY_INV
        } else {
            Fr::ROOT_OF_UNITY
        };
        let omega = (k..K_MAX).fold(root, |omega, _| omega.square());
        let half = (1usize << k) / 2;
        let mut twiddles = vec![Fr::ONE; half];
        const CHUNK: usize = 4096;
        twiddles
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(at, chunk)| {
                let mut power = omega.pow_vartime([(at * CHUNK) as u64]);
                for twiddle in chunk {
                    *twiddle = power;
                    power *= omega;
                }
            });
        Self {
            twiddles,
            scale: inverse.then(|| Fr::TWO_INV.pow_vartime([u64::from(k)])),
        }
    }

    /// Transforms `2^k` values of this plan's size in place.
    pub(super) fn transform(&self, values: &mut [Fr]) {
        let k = values.len().ilog2();
        for i in 0..values.len() {
            let j = i.reverse_bits() >> (usize::BITS - k).min(usize::BITS - 1);
            if k > 0 && i < j {
                values.swap(i, j);
            }
        }
        butterflies(values, &self.twiddles, 1);
        if let Some(scale) = self.scale {
            values
                .par_iter_mut()
                .with_min_len(1024)
                .for_each(|value| *value *= scale);
        }
    }
}

/// Transforms bit-reversed values; every `stride`-th twiddle belongs to this size.
fn butterflies(values: &mut [Fr], twiddles: &[Fr], stride: usize) {
    const SERIAL_MAX: usize = 1024;
    let n = values.len();
    if n < 2 {
        return;
    }
    let (low, high) = values.split_at_mut(n / 2);
    if n <= SERIAL_MAX {
        butterflies(low, twiddles, 2 * stride);
        butterflies(high, twiddles, 2 * stride);
    } else {
        rayon::join(
            || butterflies(low, twiddles, 2 * stride),
            || butterflies(high, twiddles, 2 * stride),
        );
    }
    let pairs = low.par_iter_mut().zip(high).with_min_len(SERIAL_MAX).enumerate();
    pairs.for_each(|(i, (low, high))| {
        let turned = *high * twiddles[i * stride];
        *high = *low - turned;
        *low += turned;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::fft::best_fft;

    #[test]
    fn transforms_equal_halo2curves() {
        let plans = Plans::default();
        for k in 0..13 {
            let values: Vec<Fr> = (1..=1u64 << k).map(|i| Fr::from(i).square()).collect();
            let omega = (k..K_MAX).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
            let mut expected = values.clone();
            best_fft(&mut expected, omega, k);
            let mut found = values.clone();
            plans.plan(k, Direction::Forward).transform(&mut found);
            assert_eq!(found, expected, "k = {k}");
            plans.plan(k, Direction::Inverse).transform(&mut found);
            assert_eq!(found, values, "k = {k}");
        }
    }
}
