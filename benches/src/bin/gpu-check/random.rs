//! Random multiplications and transforms, compared with the CPU's.
//!
//! Each round is drawn from a seed of its own, so that `--seed S --rounds 1 --only msm` repeats one alone. The CPU device's
//! own answers are held to halo2curves' in one round of sixteen.

use crate::step::tell;
use accel::{CpuDevice, Device, DeviceError, Direction};
use anyhow::{Context, Result, ensure};
use benches::sample;
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use halo2curves::group::Group;
use halo2curves::msm::msm_serial;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Multiplications.
    Msm,
    /// Transforms, inverse transforms and transforms on cosets.
    Ntt,
}

/// How much to compute.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: u64,
    /// Seed of the first round; the next ones count on from it.
    pub seed: u64,
    /// Most rounds have up to `2^k_max` elements.
    pub k_max: u32,
    /// Some have up to `2^k_large`.
    pub k_large: u32,
}

/// One round in as many is large.
const LARGE_EVERY: u32 = 50;
/// One round in as many checks the CPU device too.
const CHECKED_EVERY: u32 = 16;
/// Mismatches that are listed one by one.
const LISTED: usize = 20;
/// Vectors of up to this many elements come in batches.
const BATCHED_MAX: usize = 1 << 14;
/// Seed of the points that bases are taken from: the same for all rounds.
const POINTS_SEED: u64 = 0x0062_6173_6573;

/// Computes every round on the device and on the CPU.
///
/// # Errors
/// A call failed, which ends the step, or answers differ, which does not. What was done until then has been told.
pub fn check<D: Device>(device: &D, operation: Operation, plan: Plan) -> Result<()> {
    let points = match operation {
        Operation::Msm => sample::points(1 << plan.k_large, POINTS_SEED),
        Operation::Ntt => Vec::new(),
    };
    let cpu = CpuDevice::new();
    let (mut tally, mut said) = (Tally::default(), Instant::now());
    for at in 0..plan.rounds {
        let seed = plan.seed.wrapping_add(at);
        let round = Round::new(seed, plan);
        let context = || format!("the round of seed {seed}");
        // Told before it runs: should the process end, this is where.
        tell(json!({ "under_way": { "seed": seed, "k": round.k } }));
        let differing = match operation {
            Operation::Msm => multiply(device, &cpu, &points, round, &mut tally),
            Operation::Ntt => transform(device, &cpu, round, &mut tally),
        };
        tally.add(
            seed,
            differing
                .inspect_err(|_| tell(tally.json()))
                .with_context(context)?,
        );
        if said.elapsed() > Duration::from_secs(2) {
            said = Instant::now();
            eprintln!(
                "  {} of {} rounds, {} mismatches",
                at + 1,
                plan.rounds,
                tally.mismatches
            );
            tell(tally.json());
        }
    }
    tell(tally.json());
    tell(json!({ "under_way": null }));
    ensure!(
        tally.mismatches == 0,
        "{} of {} rounds differ from the CPU's",
        tally.mismatches,
        plan.rounds
    );
    Ok(())
}

/// What was computed so far.
#[derive(Default)]
struct Tally {
    rounds: u64,
    vectors: u64,
    elements: u64,
    largest: usize,
    checked: u64,
    device_s: f64,
    cpu_s: f64,
    mismatches: u64,
    listed: Vec<Value>,
}

impl Tally {
    fn add(&mut self, seed: u64, differing: Option<Value>) {
        self.rounds += 1;
        let Some(mut differing) = differing else {
            return;
        };
        self.mismatches += 1;
        differing["seed"] = json!(seed);
        eprintln!("  mismatch: {differing}");
        if self.listed.len() < LISTED {
            self.listed.push(differing);
        }
    }

    fn count(&mut self, lengths: impl Iterator<Item = usize>) {
        for length in lengths {
            self.vectors += 1;
            self.elements += length as u64;
            self.largest = self.largest.max(length);
        }
    }

    fn json(&self) -> Value {
        json!({
            "rounds_done": self.rounds,
            "vectors": self.vectors,
            "elements": self.elements,
            "largest": self.largest,
            "rounds_checked_by_halo2curves": self.checked,
            "device_s": self.device_s,
            "cpu_s": self.cpu_s,
            "mismatches": self.mismatches,
            "first_mismatches": self.listed,
        })
    }
}

/// What one seed draws.
struct Round {
    rng: ChaCha8Rng,
    /// About the logarithm of its size.
    k: u32,
    /// Whether halo2curves computes it too.
    is_checked: bool,
}

impl Round {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let is_large = rng.next_u32() % LARGE_EVERY == 0;
        let k_max = if is_large { plan.k_large } else { plan.k_max };
        let k = rng.next_u32() % (k_max + 1);
        let is_checked = rng.next_u32() % CHECKED_EVERY == 0;
        Self { rng, k, is_checked }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    fn batch(&mut self, n: usize) -> usize {
        if n > BATCHED_MAX {
            return 1;
        }
        1 + self.below(4)
    }

    /// Scalars, all of one kind or of several.
    fn scalars(&mut self, n: usize) -> Vec<Fr> {
        let seed = self.rng.next_u64();
        match self.below(7) {
            0 => vec![Fr::ZERO; n],
            1 => vec![-Fr::ONE; n],
            2 => (0..n as u64).map(|i| Fr::from(i % 1000)).collect(),
            3 => vec![Fr::random(&mut self.rng); n],
            4 => sample::witness(n, seed),
            5 => {
                let edges = [
                    Fr::ZERO,
                    Fr::ONE,
                    -Fr::ONE,
                    Fr::from(u64::MAX),
                    -Fr::from(u64::MAX),
                ];
                let mut scalars = sample::scalars(n, seed);
                scalars
                    .iter_mut()
                    .step_by(3)
                    .enumerate()
                    .for_each(|(i, scalar)| *scalar = edges[i % 5]);
                scalars
            }
            _ => sample::scalars(n, seed),
        }
    }

    /// Bases from the pool, some of them made the identity, a copy of another, or its negation.
    fn bases(&mut self, n: usize, pool: &[G1Affine]) -> Vec<G1Affine> {
        let from = self.below(pool.len() - n + 1);
        let mut bases = pool[from..from + n].to_vec();
        let edits = match self.below(4) {
            0 => 0,
            1 => n.min(8),
            2 => n / 4,
            _ => n,
        };
        for _ in 0..edits {
            let (to, from) = (self.below(n), self.below(n));
            bases[to] = match self.below(3) {
                0 => G1Affine::default(),
                1 => bases[from],
                _ => -bases[from],
            };
        }
        bases
    }
}

fn timed<T>(sum: &mut f64, run: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    let start = Instant::now();
    let result = run();
    *sum += start.elapsed().as_secs_f64();
    result
}

/// One call for a batch of vectors, of which all but the first may be shorter than the bases.
fn multiply<D: Device>(
    device: &D,
    cpu: &CpuDevice,
    pool: &[G1Affine],
    mut round: Round,
    tally: &mut Tally,
) -> Result<Option<Value>> {
    let n = ((1 << round.k) + round.below(1 << round.k)).min(pool.len());
    let bases = round.bases(n, pool);
    let batch = round.batch(n);
    let lengths: Vec<usize> = (0..batch)
        .map(|at| if at == 0 { n } else { round.below(n + 1) })
        .collect();
    let scalars: Vec<Vec<Fr>> = lengths.iter().map(|n| round.scalars(*n)).collect();
    let table_bytes_max = match round.below(4) {
        0 => 3 * (size_of::<G1Affine>() * n) as u64,
        _ => 0,
    };
    tally.count(lengths.iter().copied());
    let found = timed(&mut tally.device_s, || {
        sums(device, &bases, table_bytes_max, &scalars)
    })?;
    let expected = timed(&mut tally.cpu_s, || sums(cpu, &bases, 0, &scalars))?;
    if round.is_checked {
        tally.checked += 1;
        let sums: Vec<G1> = scalars
            .iter()
            .map(|scalars| reference_sum(scalars, &bases))
            .collect();
        ensure!(sums == expected, "the CPU device differs from halo2curves");
    }
    Ok((found != expected).then(|| {
        json!({ "operation": "msm", "bases": n, "lengths": lengths, "table_bytes_max": table_bytes_max, "wrong": unequal(&found, &expected) })
    }))
}

fn sums<D: Device>(
    device: &D,
    bases: &[G1Affine],
    table_bytes_max: u64,
    scalars: &[Vec<Fr>],
) -> Result<Vec<G1>, DeviceError> {
    let bases = device.bases(bases, table_bytes_max)?;
    let vectors = scalars.iter().map(|scalars| device.upload(scalars));
    let vectors: Vec<D::Vector> = vectors.collect::<Result<_, _>>()?;
    device.msm(&bases, &vectors.iter().collect::<Vec<_>>())
}

/// The sum by halo2curves: in serial parts, since its parallel form takes neither identities nor repeated points.
fn reference_sum(scalars: &[Fr], bases: &[G1Affine]) -> G1 {
    const PART: usize = 1 << 12;
    let parts = scalars.par_chunks(PART).zip(bases.par_chunks(PART));
    let sums = parts.map(|(scalars, bases)| {
        let mut sum = G1::identity();
        msm_serial(scalars, &bases[..scalars.len()], &mut sum);
        sum
    });
    sums.sum()
}

/// Which transform.
#[derive(Clone, Copy)]
enum Transform {
    Forward,
    Inverse,
    Coset(Fr),
}

/// One call for a batch of vectors of one size.
fn transform<D: Device>(
    device: &D,
    cpu: &CpuDevice,
    mut round: Round,
    tally: &mut Tally,
) -> Result<Option<Value>> {
    let n = 1 << round.k;
    let (transform, name) = match round.below(4) {
        0 => (Transform::Forward, "ntt"),
        1 => (Transform::Inverse, "inverse ntt"),
        2 => (Transform::Coset(Fr::MULTIPLICATIVE_GENERATOR), "coset ntt"),
        _ => (Transform::Coset(Fr::random(&mut round.rng)), "coset ntt"),
    };
    let batch = round.batch(n);
    let inputs: Vec<Vec<Fr>> = (0..batch).map(|_| round.scalars(n)).collect();
    tally.count(inputs.iter().map(Vec::len));
    let found = timed(&mut tally.device_s, || transforms(device, transform, &inputs))?;
    let expected = timed(&mut tally.cpu_s, || transforms(cpu, transform, &inputs))?;
    if round.is_checked {
        tally.checked += 1;
        let values: Vec<Vec<Fr>> = inputs
            .iter()
            .map(|input| reference_transform(transform, input, round.k))
            .collect();
        ensure!(values == expected, "the CPU device differs from halo2curves");
    }
    Ok((found != expected).then(
        || json!({ "operation": name, "elements": n, "batch": batch, "wrong": unequal(&found, &expected) }),
    ))
}

fn transforms<D: Device>(
    device: &D,
    transform: Transform,
    inputs: &[Vec<Fr>],
) -> Result<Vec<Vec<Fr>>, DeviceError> {
    let vectors = inputs.iter().map(|input| device.upload(input));
    let mut vectors: Vec<D::Vector> = vectors.collect::<Result<_, _>>()?;
    match transform {
        Transform::Forward => device.ntt(&mut vectors.iter_mut().collect::<Vec<_>>(), Direction::Forward)?,
        Transform::Inverse => device.ntt(&mut vectors.iter_mut().collect::<Vec<_>>(), Direction::Inverse)?,
        Transform::Coset(shift) => {
            let outputs = inputs.iter().map(|input| device.zeros(input.len()));
            let mut outputs: Vec<D::Vector> = outputs.collect::<Result<_, _>>()?;
            let from: Vec<&D::Vector> = vectors.iter().collect();
            device.coset_ntt(&from, shift, &mut outputs.iter_mut().collect::<Vec<_>>())?;
            vectors = outputs;
        }
    }
    vectors.iter().map(|vector| device.download(vector)).collect()
}

/// The transform by halo2curves.
fn reference_transform(transform: Transform, input: &[Fr], k: u32) -> Vec<Fr> {
    let mut values = input.to_vec();
    let root = match transform {
        Transform::Inverse => Fr::ROOT_OF_UNITY_INV,
        Transform::Forward | Transform::Coset(_) => Fr::ROOT_OF_UNITY,
    };
    if let Transform::Coset(shift) = transform {
        let mut power = Fr::ONE;
        for value in &mut values {
            *value *= power;
            power *= shift;
        }
    }
    best_fft(&mut values, (k..Fr::S).fold(root, |root, _| root.square()), k);
    if let Transform::Inverse = transform {
        let scale = Fr::TWO_INV.pow_vartime([u64::from(k)]);
        values.iter_mut().for_each(|value| *value *= scale);
    }
    values
}

/// Which of the answers differ.
fn unequal<T: PartialEq>(found: &[T], expected: &[T]) -> Vec<usize> {
    let pairs = found.iter().zip(expected).enumerate();
    pairs
        .filter(|(_, (found, expected))| found != expected)
        .map(|(at, _)| at)
        .collect()
}
