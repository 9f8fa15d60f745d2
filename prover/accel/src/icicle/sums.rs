//! Sums of multiples of bases.
//!
//! ICICLE's CUDA backend gathers points by the digits of their scalars. Buckets that hold far more points than the average
//! it treats on a stream of their own, which reads memory of another stream without waiting for it (compute-sanitizer says
//! so): on an H100 with driver 580 a call ended with an illegal address, or with success and a wrong sum, unless every
//! launch was waited for. Sums of bits, of equal scalars, and with windows whose highest has few values, have such buckets.
//! So on that backend there are none: a random vector is added to the scalars, whose own sum is taken off again, and
//! windows have one of a few widths ([`Windows::Even`]).

use super::abi::{self, PROJECTIVE_BYTES};
use super::context::{Arithmetic, Context, Table, lock};
use super::operations::{ELEMENTS_MAX, bytes, powers};
use super::{IcicleBases, IcicleVector};
use crate::DeviceError;
use halo2curves::CurveExt;
use halo2curves::bn256::{Fq, Fr, G1, G1Affine};
use halo2curves::ff::{Field, FromUniformBytes, PrimeField};
use halo2curves::group::Group;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex};

/// Points per base at most: more than this saves little, since windows are few by then.
const FACTOR_MAX: u64 = 8;

/// How the width of a sum's windows is chosen, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// By ICICLE, and up to 16 bits where there is a table.
    Any,
    /// Wide enough that ICICLE sees less than one point for an average bucket, and then treats none apart; or, for large sums,
    /// one of those that leave the highest window of 254 bits about as many values as the others: 15 (14 bits), 16 (14) and 17
    /// (16).
    Even,
}

impl Windows {
    /// For a sum of `n` scalars with `factor` points for each base; 0 lets ICICLE choose.
    fn width(self, n: usize, factor: usize) -> u32 {
        // Sixteen points for a bucket.
        let even = (n * factor).max(1).ilog2().saturating_sub(4);
        match self {
            Self::Any if factor > 1 => even.clamp(4, 16),
            Self::Any => 0,
            Self::Even if n < 1 << 13 => 13,
            Self::Even if n < 1 << 17 => 17,
            Self::Even => even.clamp(15, 17),
        }
    }
}

/// What is added to scalars so that no bucket is larger than others: powers of a random number, and their sums over the first
/// `n` bases.
pub(super) struct Mask {
    powers: IcicleVector,
    sums: Mutex<HashMap<usize, G1>>,
}

impl Mask {
    fn new(context: &Arc<Context>, n: usize) -> Result<Self, DeviceError> {
        let random = RandomState::new();
        let mut bytes = [0; 64];
        for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
            let mut hasher = random.build_hasher();
            hasher.write_usize(at);
            word.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        // Nobody who makes scalars knows it, so that nobody makes some that undo it.
        let base = Fr::from_uniform_bytes(&bytes);
        let powers = powers(context, "bases", base, n)?;
        // Instead of 1, which is the same for everybody.
        let first = context.constants("bases", &[base.square() + Fr::ONE])?;
        context.copy("bases", first.span(0, 1), powers.memory().span(0, 1))?;
        context.finish("bases")?;
        Ok(Self {
            powers,
            sums: Mutex::default(),
        })
    }
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
        mask: None,
    };
    if n == 0 {
        return Ok(bases);
    }
    if context.windows == Windows::Even {
        bases.mask = Some(Box::new(Mask::new(context, n)?));
    }
    let single = context.allocate(OPERATION, bytes)?;
    context.upload_points(OPERATION, points, &single)?;
    let factor = (table_bytes_max / bytes as u64)
        .saturating_add(1)
        .min(FACTOR_MAX)
        .min((ELEMENTS_MAX / n) as u64) as u32;
    if factor < 2 {
        bases.buffer = Some(single);
        return Ok(bases);
    }
    // ICICLE picks a window by the size of each call, but the multiples fit one window only: it is settled here.
    let window = context.windows.width(n, factor as usize);
    bases.table = Table { factor, window };
    let multiples = context.allocate(OPERATION, bytes * factor as usize)?;
    context.precompute(&single, n, bases.table, &multiples)?;
    context.finish(OPERATION)?;
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
        let batch = alike.min((context.batch_scalars_max / n.max(1)).max(1));
        let (group, after) = rest.split_at(batch);
        rest = after;
        if n == 0 {
            sums.extend(group.iter().map(|_| G1::identity()));
            continue;
        }
        context.make_room("msm", n * batch)?;
        match &bases.mask {
            Some(mask) => sums.extend(masked(context, bases, group, n, mask)?),
            None => sums.extend(plain(context, bases, group, n)?),
        }
    }
    Ok(sums)
}

/// Sums for vectors of `n > 0` scalars.
fn plain(
    context: &Arc<Context>,
    bases: &IcicleBases,
    group: &[&IcicleVector],
    n: usize,
) -> Result<Vec<G1>, DeviceError> {
    if let [single] = group {
        return bases.sums(single, n);
    }
    let all = IcicleVector::new(context, "msm", n * group.len())?;
    for (at, vector) in group.iter().enumerate() {
        let to = all.memory().span(at * n, n);
        context.copy("msm", vector.memory().span(0, n), to)?;
    }
    bases.sums(&all, n)
}

/// The same, of scalars with the mask added to each.
fn masked(
    context: &Arc<Context>,
    bases: &IcicleBases,
    group: &[&IcicleVector],
    n: usize,
    mask: &Mask,
) -> Result<Vec<G1>, DeviceError> {
    let known = lock(&mask.sums).get(&n).copied();
    let mask_sum = match known {
        Some(sum) => sum,
        None => {
            let first = IcicleVector::new(context, "msm", n)?;
            let (from, to) = (mask.powers.memory().span(0, n), first.memory().span(0, n));
            context.copy("msm", from, to)?;
            let sum = bases.sums(&first, n)?[0];
            lock(&mask.sums).insert(n, sum);
            sum
        }
    };
    let all = IcicleVector::new(context, "msm", n * group.len())?;
    for (at, vector) in group.iter().enumerate() {
        let (values, mask) = (vector.memory().span(0, n), mask.powers.memory().span(0, n));
        let to = all.memory().span(at * n, n);
        context.vector("msm", Arithmetic::Add, values, mask, to)?;
    }
    let sums = bases.sums(&all, n)?;
    Ok(sums.into_iter().map(|sum| sum - mask_sum).collect())
}

impl IcicleBases {
    /// One sum for each run of `n > 0` scalars.
    fn sums(&self, scalars: &IcicleVector, n: usize) -> Result<Vec<G1>, DeviceError> {
        let buffer = self.buffer.as_ref().expect("there are bases for scalars");
        let mut table = self.table;
        if table.factor == 1 {
            table.window = self.context.windows.width(n, 1);
        }
        let scalars = scalars.memory().span(0, scalars.len);
        let found = self.context.msm(buffer, table, scalars, n)?;
        found.iter().map(point).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// ICICLE treats a bucket apart that holds ten times the points of an average one, unless that is none.
    #[test]
    fn no_bucket_of_random_scalars_is_treated_apart() {
        const BITS: u32 = 254;
        // The modulus as a part of 2^254.
        const MODULUS: f64 = 0.756;
        for k in 0..=24 {
            for (n, factor) in [(1usize << k, 1), (1 << k, FACTOR_MAX as usize), ((2 << k) - 1, 1)] {
                let window = Windows::Even.width(n, factor);
                let threshold = (10 * (n >> window) * factor) as f64;
                if threshold == 0.0 {
                    continue;
                }
                let windows = BITS.div_ceil(window);
                let sets = windows.div_ceil(factor as u32);
                let values = f64::from(1 << window);
                let highest = MODULUS * f64::from(1 << (BITS - (windows - 1) * window));
                // The highest window shares its buckets with others of its set.
                let shared = (windows - 1) / sets;
                let load = n as f64 / highest + f64::from(shared) * n as f64 / values;
                assert!(load < threshold, "{n}, {factor}: {load} points");
                // Chernoff's bound on a Poisson tail, for all buckets.
                let exponent = load - threshold + threshold * (threshold / load).ln();
                let chance = f64::from(sets) * values * (-exponent).exp();
                assert!(chance < 1e-4, "{n}, {factor}: {chance}");
            }
        }
    }
}
