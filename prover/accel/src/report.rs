//! What a device is and how fast it is: facts for people and for scripts.

use crate::{CpuDevice, Device, DeviceError, Direction};
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use halo2curves::group::Curve;
use halo2curves::msm::msm_best;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Times that an operation is timed.
const REPEATS: usize = 3;
/// Log2 of the elements of the CPU's self-check.
const CHECK_K: u32 = 12;

/// A device that passed its self-check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Such as `cpu (AVX-512 IFMA)` or `icicle CUDA:0`.
    pub name: String,
    /// Devices of its type.
    pub count: u32,
    /// Bytes of memory in all; absent where it cannot be told.
    pub memory_total: Option<u64>,
    /// Bytes of memory that are free.
    pub memory_free: Option<u64>,
    /// Multiplications of resident scalars with resident bases.
    pub msm: Vec<Rate>,
    /// Transforms of resident vectors.
    pub ntt: Vec<Rate>,
}

/// The speed of an operation of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The operation had `2^k` elements.
    pub k: u32,
    /// Seconds that it took, the best of three; absent if it failed.
    pub seconds: Option<f64>,
    /// Why it failed, or that it computed wrongly.
    pub error: Option<String>,
}

impl DeviceReport {
    /// Measures MSM and NTT of `2^k` elements for each `k`, on one of `count` devices, and compares what they give with
    /// what the CPU gives. The device should have passed its self-check.
    pub fn new(device: &impl Device, count: u32, sizes: &[u32]) -> Self {
        Self::beside(device, &CpuDevice::new(), count, sizes)
    }

    fn beside(device: &impl Device, reference: &CpuDevice, count: u32, sizes: &[u32]) -> Self {
        let memory = device.memory().ok();
        let rate = |k: u32, result: Result<f64, DeviceError>| {
            let (seconds, error) = match result {
                Ok(seconds) => (Some(seconds), None),
                Err(error) => (None, Some(error.to_string())),
            };
            Rate { k, seconds, error }
        };
        Self {
            name: device.name(),
            count,
            memory_total: memory.map(|memory| memory.total),
            memory_free: memory.map(|memory| memory.free),
            msm: sizes
                .iter()
                .map(|k| rate(*k, msm_seconds(device, reference, *k)))
                .collect(),
            ntt: sizes
                .iter()
                .map(|k| rate(*k, ntt_seconds(device, reference, *k)))
                .collect(),
        }
    }

    /// The CPU, if one MSM and one transform on it equal halo2curves' own. What is timed is compared with the portable
    /// kernels.
    ///
    /// # Errors
    /// What differs.
    pub fn of_cpu(sizes: &[u32]) -> Result<Self, String> {
        let device = CpuDevice::new();
        let n = 1 << CHECK_K;
        let (values, points) = (values(n), points(n));
        let differs = |operation: &str| Err(format!("{operation} of {n} elements differs from halo2curves'"));
        let on_device = || -> Result<(Vec<G1>, Vec<Fr>), DeviceError> {
            let bases = device.bases(&points, 0)?;
            let mut vector = device.upload(&values)?;
            let sums = device.msm(&bases, &[&vector])?;
            device.ntt(&mut [&mut vector], Direction::Forward)?;
            Ok((sums, device.download(&vector)?))
        };
        let (sums, transformed) = on_device().map_err(|error| error.to_string())?;
        if sums != [msm_best(&values, &points)] {
            return differs("msm");
        }
        let omega = (CHECK_K..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        let mut expected = values;
        best_fft(&mut expected, omega, CHECK_K);
        if transformed != expected {
            return differs("ntt");
        }
        Ok(Self::beside(&device, &CpuDevice::portable(), 1, sizes))
    }
}

/// Values without a pattern: powers of a number of full size.
pub(crate) fn values(n: usize) -> Vec<Fr> {
    let base = Fr::from(0x9e37_79b9_7f4a_7c15).pow_vartime([5]);
    std::iter::successors(Some(base), |value| Some(*value * base))
        .take(n)
        .collect()
}

/// The first `n` multiples of an arbitrary point.
pub(crate) fn points(n: usize) -> Vec<G1Affine> {
    let step = G1::generator() * values(1)[0];
    let multiples = std::iter::successors(Some(step), |point| Some(*point + step)).take(n);
    let mut points = vec![G1Affine::default(); n];
    G1::batch_normalize(&multiples.collect::<Vec<G1>>(), &mut points);
    points
}

/// The best of some, after one that does not count.
fn best(mut run: impl FnMut() -> Result<(), DeviceError>) -> Result<f64, DeviceError> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn msm_seconds(device: &impl Device, reference: &CpuDevice, k: u32) -> Result<f64, DeviceError> {
    let n = 1usize << k.min(28);
    let (points, values) = (points(n), values(n));
    let bases = device.bases(&points, 0)?;
    let scalars = device.upload(&values)?;
    let mut sums = Vec::new();
    let seconds = best(|| {
        sums = device.msm(&bases, &[&scalars])?;
        Ok(())
    })?;
    let expected = reference.msm(&reference.bases(&points, 0)?, &[&reference.upload(&values)?])?;
    agrees("msm", sums == expected, seconds)
}

fn ntt_seconds(device: &impl Device, reference: &CpuDevice, k: u32) -> Result<f64, DeviceError> {
    let values = values(1usize << k.min(28));
    let mut vector = device.upload(&values)?;
    let seconds = best(|| device.ntt(&mut [&mut vector], Direction::Forward))?;
    let mut expected = reference.upload(&values)?;
    for _ in 0..=REPEATS {
        reference.ntt(&mut [&mut expected], Direction::Forward)?;
    }
    let same = device.download(&vector)? == reference.download(&expected)?;
    agrees("ntt", same, seconds)
}

fn agrees(operation: &'static str, same: bool, seconds: f64) -> Result<f64, DeviceError> {
    if same {
        return Ok(seconds);
    }
    Err(DeviceError::Failed {
        operation,
        reason: "the result differs from the CPU's".to_string(),
    })
}

/// A result in a report: what was found as it is, or an object with its `error`.
pub mod outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form<T> {
        Error { error: String },
        Found(T),
    }

    impl<T> From<Form<T>> for Result<T, String> {
        fn from(form: Form<T>) -> Self {
            match form {
                Form::Error { error } => Err(error),
                Form::Found(found) => Ok(found),
            }
        }
    }

    fn form<T>(result: &Result<T, String>) -> Form<&T> {
        match result {
            Ok(found) => Form::Found(found),
            Err(error) => Form::Error { error: error.clone() },
        }
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer>(
        result: &Result<T, String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        form(result).serialize(serializer)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<T, String>, D::Error> {
        Form::deserialize(deserializer).map(Form::into)
    }

    /// The same for what may not have been looked for: null then.
    pub mod option {
        use super::{Form, form};
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// The serializer's.
        pub fn serialize<T: Serialize, S: Serializer>(
            result: &Option<Result<T, String>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            result.as_ref().map(form).serialize(serializer)
        }

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// The deserializer's.
        pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Result<T, String>>, D::Error> {
            Ok(Option::<Form<T>>::deserialize(deserializer)?.map(Form::into))
        }
    }
}
