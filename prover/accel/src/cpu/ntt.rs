//! Number-theoretic transforms, natural order in and out.

use super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::ifma;
use crate::{DeviceError, Direction};
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest size, `2^28`: the field has no larger power-of-two subgroup.
pub(super) const K_MAX: u32 = Fr::S;

/// Vectors of scratch space that are kept between transforms: one for each that is under way on two threads.
pub(super) const SCRATCH_MAX: usize = 2;

/// Plans made so far, and what transforms share.
pub(super) struct Plans {
    kernels: Kernels,
    made: Mutex<HashMap<(u32, bool), Arc<Plan>>>,
    #[cfg(target_arch = "x86_64")]
    scratch: ifma::ntt::Scratch,
}

/// What a transform of one size and direction needs beside its input.
enum Plan {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::ntt::Plan),
}

impl Plans {
    pub(super) fn new(kernels: Kernels) -> Self {
        Self {
            kernels,
            made: Mutex::default(),
            #[cfg(target_arch = "x86_64")]
            scratch: ifma::ntt::Scratch::default(),
        }
    }

    /// Transforms `2^k` values in place, for `k <= K_MAX`.
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn transform(&self, values: &mut [Fr], direction: Direction) -> Result<(), DeviceError> {
        match &*self.plan(values.len().ilog2(), direction) {
            Plan::Portable(plan) => {
                plan.transform(values);
                Ok(())
            }
            #[cfg(target_arch = "x86_64")]
            Plan::Ifma(plan) => plan.transform(values, &self.scratch),
        }
    }

    /// What forward transforms of `2^k` values on a coset share, for `k <= K_MAX`.
    pub(super) fn coset(&self, k: u32, shift: Fr) -> Coset<'_> {
        let plan = self.plan(k, Direction::Forward);
        Coset {
            plans: self,
            #[cfg(target_arch = "x86_64")]
            powers: match &*plan {
                Plan::Portable(_) => None,
                Plan::Ifma(plan) => Some(plan.powers(shift)),
            },
            plan,
            shift,
        }
    }

    /// The plan for `2^k` elements, made on first use.
    fn plan(&self, k: u32, direction: Direction) -> Arc<Plan> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let inverse = direction == Direction::Inverse;
        let plan = made
            .entry((k, inverse))
            .or_insert_with(|| Arc::new(self.make(k, inverse)));
        plan.clone()
    }

    fn make(&self, k: u32, inverse: bool) -> Plan {
        let root = if inverse {
            Fr::ROOT_OF_UNITY_INV
        } else {
            Fr::ROOT_OF_UNITY
        };
        let omega = (k..K_MAX).fold(root, |omega, _| omega.square());
        let scale = if inverse {
            Fr::TWO_INV.pow_vartime([u64::from(k)])
        } else {
            Fr::ONE
        };
        match self.kernels {
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(available) if k >= ifma::ntt::K_MIN => {
                Plan::Ifma(ifma::ntt::Plan::new(available, k, omega, scale))
            }
            _ => Plan::Portable(Portable::new(k, omega, scale)),
        }
    }
}

/// Forward transforms on a coset.
pub(super) struct Coset<'a> {
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only kernels need scratch space")
    )]
    plans: &'a Plans,
    plan: Arc<Plan>,
    shift: Fr,
    #[cfg(target_arch = "x86_64")]
    powers: Option<ifma::ntt::Powers>,
}

impl Coset<'_> {
    /// Writes the values on the coset of a polynomial of the same length.
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn transform(&self, coefficients: &[Fr], values: &mut [Fr]) -> Result<(), DeviceError> {
        const CHUNK: usize = 4096;
        #[cfg(target_arch = "x86_64")]
        if let (Plan::Ifma(plan), Some(powers)) = (&*self.plan, &self.powers) {
            return plan.transform_on_coset(powers, coefficients, values, &self.plans.scratch);
        }
        let chunks = values.par_chunks_mut(CHUNK).zip(coefficients.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(at, (values, coefficients))| {
            let mut power = self.shift.pow_vartime([(at * CHUNK) as u64]);
            for (value, coefficient) in values.iter_mut().zip(coefficients) {
                *value = *coefficient * power;
                power *= self.shift;
            }
        });
        self.plans.transform(values, Direction::Forward)
    }
}

/// A plan in halo2curves' arithmetic.
struct Portable {
    /// `ω^i` for `i < n / 2`.
    twiddles: Vec<Fr>,
    /// `1`, or `1 / n` for the inverse direction.
    scale: Fr,
}

impl Portable {
    fn new(k: u32, omega: Fr, scale: Fr) -> Self {
        const CHUNK: usize = 4096;
        let mut twiddles = vec![Fr::ONE; (1usize << k) / 2];
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
        Self { twiddles, scale }
    }

    fn transform(&self, values: &mut [Fr]) {
        let k = values.len().ilog2();
        for i in 0..values.len() {
            let j = i.reverse_bits().checked_shr(usize::BITS - k).unwrap_or(0);
            if i < j {
                values.swap(i, j);
            }
        }
        butterflies(values, &self.twiddles, 1);
        if self.scale != Fr::ONE {
            let values = values.par_iter_mut().with_min_len(1024);
            values.for_each(|value| *value *= self.scale);
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
        let pairs = low.iter_mut().zip(high).enumerate();
        pairs.for_each(|(i, (low, high))| butterfly(low, high, &twiddles[i * stride]));
        return;
    }
    rayon::join(
        || butterflies(low, twiddles, 2 * stride),
        || butterflies(high, twiddles, 2 * stride),
    );
    let pairs = low.par_iter_mut().zip(high).with_min_len(SERIAL_MAX).enumerate();
    pairs.for_each(|(i, (low, high))| butterfly(low, high, &twiddles[i * stride]));
}

fn butterfly(low: &mut Fr, high: &mut Fr, twiddle: &Fr) {
    let turned = *high * twiddle;
    *high = *low - turned;
    *low += turned;
}
