//! What a machine has for proving through ICICLE, and how fast it is: facts for people and for scripts.

use super::library::Library;
use super::{CUDA, IcicleConfig, IcicleDevice, Installed, check, driver};
use crate::{Device, DeviceError, Direction};
use serde::Serialize;
use std::time::Instant;

/// What was found. Nothing in it is an error of the report: what fails is told in its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Directory that was looked into for ICICLE.
    pub directory: String,
    /// Whether all functions of ICICLE v4 that are used were found there. ICICLE does not say its version.
    pub has_icicle_v4: bool,
    /// Types of devices that ICICLE has, after the backend of the asked one was loaded where that could be.
    pub kinds: Vec<String>,
    /// The NVIDIA driver, or why there is none; not looked at for other types than CUDA.
    pub driver: Option<Result<CudaDriver, String>>,
    /// The device, or why it cannot be used.
    pub device: Result<DeviceReport, String>,
}

/// The NVIDIA driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaDriver {
    /// The newest CUDA version that it supports, as `13.0`.
    pub cuda_version: String,
    /// GPUs that it sees.
    pub devices: u32,
}

/// A device that passed its self-check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// ICICLE's type and the index.
    pub name: String,
    /// Devices of that type.
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// The operation had `2^k` elements.
    pub k: u32,
    /// Seconds that it took, the best of three; absent if it failed.
    pub seconds: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Looks at the machine, opens the device (which checks it), and measures MSM and NTT of `2^k` elements for each `k`.
pub fn doctor(config: &IcicleConfig, sizes: &[u32]) -> Report {
    let driver = (config.kind == CUDA).then(|| match driver::preflight(&config.driver) {
        Ok(found) => Ok(CudaDriver {
            cuda_version: format!("{}.{}", found.cuda_version / 1000, found.cuda_version % 1000 / 10),
            devices: found.devices,
        }),
        Err(error) => Err(error.to_string()),
    });
    let installed = Installed::load(config);
    let library = Library::load(&config.directory);
    let kinds = library.as_ref().ok().and_then(|library| {
        let kind = config.kind.clone();
        Installed { library, kind }.kinds().ok()
    });
    let opened = installed.and_then(|installed| Ok((installed.count()?, IcicleDevice::open(config)?)));
    Report {
        directory: config.directory.display().to_string(),
        has_icicle_v4: library.is_ok(),
        kinds: kinds
            .unwrap_or_default()
            .split(',')
            .filter(|kind| !kind.is_empty())
            .map(str::to_string)
            .collect(),
        driver,
        device: opened
            .map(|(count, device)| measured(&device, count, sizes))
            .map_err(|error| error.to_string()),
    }
}

fn measured(device: &IcicleDevice, count: u32, sizes: &[u32]) -> DeviceReport {
    let memory = device.memory().ok();
    let rate = |k: u32, result: Result<f64, DeviceError>| {
        let (seconds, error) = match result {
            Ok(seconds) => (Some(seconds), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Rate { k, seconds, error }
    };
    DeviceReport {
        name: device.name(),
        count,
        memory_total: memory.map(|memory| memory.total),
        memory_free: memory.map(|memory| memory.free),
        msm: sizes.iter().map(|k| rate(*k, msm_seconds(device, *k))).collect(),
        ntt: sizes.iter().map(|k| rate(*k, ntt_seconds(device, *k))).collect(),
    }
}

/// The best of three, after one that does not count.
fn best(mut run: impl FnMut() -> Result<(), DeviceError>) -> Result<f64, DeviceError> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn msm_seconds(device: &IcicleDevice, k: u32) -> Result<f64, DeviceError> {
    let n = 1usize << k.min(28);
    let bases = device.bases(&check::points(n), 0)?;
    let scalars = device.upload(&check::values(n))?;
    best(|| device.msm(&bases, &[&scalars]).map(drop))
}

fn ntt_seconds(device: &IcicleDevice, k: u32) -> Result<f64, DeviceError> {
    let mut vector = device.upload(&check::values(1usize << k.min(28)))?;
    best(|| device.ntt(&mut [&mut vector], Direction::Forward))
}
