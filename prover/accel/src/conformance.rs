//! What every device must do, as checks that any [`Device`] can be put through: sizes around powers of two, edge values,
//! identity bases, batches, repeated and concurrent use, and calls that must be refused.
//!
//! The expected answers come from halo2curves' field arithmetic and from the definitions, never from another device.

mod arithmetic;
mod multiplication;
pub(crate) mod sample;
mod transform;
mod vectors;

use crate::{Device, DeviceError};
use halo2curves::bn256::Fr;
use sample::Sampler;
use thiserror::Error;

/// A check that a device did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A call failed that must succeed.
    #[error("{case}: {error}")]
    Call {
        /// The check, with its sizes.
        case: String,
        /// What the device said.
        error: DeviceError,
    },
    /// A call gave another answer than the definition.
    #[error("{case}: wrong at {at}")]
    Answer {
        /// The check, with its sizes.
        case: String,
        /// First element that differs; the number of elements where lengths do.
        at: usize,
    },
    /// A call that is wrong in itself was not refused as [`DeviceError::Invalid`], or changed its vectors.
    #[error("{case}: not refused: {found}")]
    Accepted {
        /// The check, with its sizes.
        case: String,
        /// What the device did.
        found: String,
    },
}

/// How much to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Sizes go up to `2^k_max + 1`.
    pub k_max: u32,
    /// Seed of all random values.
    pub seed: u64,
    /// Threads that use the device at once in the concurrent check.
    pub threads: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self {
            k_max: 12,
            seed: 1,
            threads: 4,
        }
    }
}

/// Puts a device through every check.
///
/// # Errors
/// The first check that it does not pass.
pub fn run<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    checks(device, extent)?;
    // Once more on the same device: what it kept of the first time must not show.
    checks(device, extent)?;
    concurrently(device, extent)
}

fn checks<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    vectors::check(device, extent)?;
    transform::check(device, extent)?;
    arithmetic::check(device, extent)?;
    multiplication::check(device, extent)
}

fn concurrently<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..extent.threads as u64)
            .map(|thread| {
                let extent = Extent {
                    k_max: extent.k_max.min(9),
                    seed: extent.seed + 1 + thread,
                    ..extent
                };
                scope.spawn(move || checks(device, extent))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// One check: its name for reports, and what it runs on.
struct Case<'a, D> {
    device: &'a D,
    name: String,
}

impl<'a, D: Device> Case<'a, D> {
    fn new(device: &'a D, name: String) -> Self {
        Self { device, name }
    }

    /// The value of a call that must succeed.
    fn call<T>(&self, result: Result<T, DeviceError>) -> Result<T, Failure> {
        result.map_err(|error| Failure::Call {
            case: self.name.clone(),
            error,
        })
    }

    fn upload(&self, values: &[Fr]) -> Result<D::Vector, Failure> {
        self.call(self.device.upload(values))
    }

    /// Compares an answer element by element.
    fn equal<T: PartialEq>(&self, found: &[T], expected: &[T]) -> Result<(), Failure> {
        let shorter = found.len().min(expected.len());
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        match at.or((found.len() != expected.len()).then_some(shorter)) {
            None => Ok(()),
            Some(at) => Err(Failure::Answer {
                case: self.name.clone(),
                at,
            }),
        }
    }

    /// Compares a vector on the device.
    fn holds(&self, vector: &D::Vector, expected: &[Fr]) -> Result<(), Failure> {
        if self.device.len(vector) != expected.len() {
            return self.equal(&[self.device.len(vector)], &[expected.len()]);
        }
        self.equal(&self.call(self.device.download(vector))?, expected)
    }

    /// Demands that a call was refused as invalid.
    fn refused<T>(&self, result: Result<T, DeviceError>) -> Result<(), Failure> {
        let found = match result {
            Err(DeviceError::Invalid { .. }) => return Ok(()),
            Ok(_) => "it succeeded".to_string(),
            Err(error) => error.to_string(),
        };
        Err(Failure::Accepted {
            case: self.name.clone(),
            found,
        })
    }
}

/// `0`, `1`, `2` and, for every `k`, `2^k - 1`, `2^k` and `2^k + 1`.
fn sizes(k_max: u32) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=k_max)
        .flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1])
        .collect();
    sizes.extend([0, 1, 2]);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}
