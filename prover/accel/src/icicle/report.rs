//! What a machine has for proving through ICICLE, and how fast it is: facts for people and for scripts.

use super::library::Library;
use super::{CUDA, IcicleConfig, IcicleDevice, Installed, driver};
use crate::report::{DeviceReport, outcome};
use serde::{Deserialize, Serialize};

/// What was found. Nothing in it is an error of the report: what fails is told in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Directory that was looked into for ICICLE.
    pub directory: String,
    /// Whether all functions of ICICLE v4 that are used were found there. ICICLE does not say its version.
    pub has_icicle_v4: bool,
    /// Types of devices that ICICLE has, after the backend of the asked one was loaded where that could be.
    pub kinds: Vec<String>,
    /// The NVIDIA driver, or why there is none; not looked at for other types than CUDA.
    #[serde(with = "outcome::option")]
    pub driver: Option<Result<CudaDriver, String>>,
    /// The device, or why it cannot be used.
    #[serde(with = "outcome")]
    pub device: Result<DeviceReport, String>,
}

/// The NVIDIA driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDriver {
    /// The newest CUDA version that it supports, as `13.0`.
    pub cuda_version: String,
    /// GPUs that it sees.
    pub devices: u32,
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
            .map(|(count, device)| DeviceReport::new(&device, count, sizes))
            .map_err(|error| error.to_string()),
    }
}
