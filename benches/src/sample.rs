//! Seeded values to compute on: made on all cores, the same on any number of them.

use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use halo2curves::group::{Curve, Group};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

/// Elements that are drawn from one stream of random numbers.
const CHUNK: usize = 1 << 12;

/// `n` random scalars.
pub fn scalars(n: usize, seed: u64) -> Vec<Fr> {
    chunks(n, seed, |rng, chunk: &mut [Fr]| {
        chunk.fill_with(|| Fr::random(&mut *rng));
    })
}

/// `n` scalars as a witness has them: half zeros, a quarter small numbers, the others of 64 to 88 bits, a few random.
pub fn witness(n: usize, seed: u64) -> Vec<Fr> {
    let shift = Fr::from(1 << 24);
    let draw = |rng: &mut ChaCha8Rng| match rng.next_u32() % 16 {
        0..8 => Fr::ZERO,
        8..12 => Fr::from(u64::from(rng.next_u32() % 1000)),
        12..14 => Fr::from(rng.next_u64()),
        14 => Fr::from(rng.next_u64()) * shift,
        _ => Fr::random(rng),
    };
    chunks(n, seed, |rng, chunk: &mut [Fr]| chunk.fill_with(|| draw(rng)))
}

/// `n` points that are not the identity and, but for a negligible chance, all different.
pub fn points(n: usize, seed: u64) -> Vec<G1Affine> {
    chunks(n, seed, |rng, chunk: &mut [G1Affine]| {
        let step = G1::generator() * Fr::random(rng);
        let multiples = std::iter::successors(Some(step), |point| Some(point.double() + step));
        let multiples: Vec<G1> = multiples.take(chunk.len()).collect();
        G1::batch_normalize(&multiples, chunk);
    })
}

fn chunks<T: Clone + Default + Send>(
    n: usize,
    seed: u64,
    fill: impl Fn(&mut ChaCha8Rng, &mut [T]) + Sync,
) -> Vec<T> {
    let mut values = vec![T::default(); n];
    let chunks = values.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(stream, chunk)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        fill(&mut rng, chunk);
    });
    values
}
