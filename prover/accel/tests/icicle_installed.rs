//! The conformance suite over the ICICLE that is installed on the machine (`ICICLE_BACKEND_INSTALL_DIR`, else
//! `/opt/icicle`). Each test is behind the feature of its device, and fails where ICICLE or the device is missing.
#![cfg(any(feature = "icicle-cpu", feature = "icicle-cuda"))]

use accel::conformance::{Extent, run};
use accel::{IcicleConfig, IcicleDevice};

fn conforms(kind: &str) {
    let config = IcicleConfig {
        domain_k: Extent::default().k_max + 1,
        ..IcicleConfig::new(None, kind, 0)
    };
    let device = IcicleDevice::open(&config).unwrap_or_else(|error| panic!("{error}"));
    run(&device, Extent::default()).unwrap_or_else(|failure| panic!("{failure}"));
}

#[cfg(feature = "icicle-cpu")]
#[test]
fn the_installed_cpu_backend_conforms() {
    conforms("CPU");
}

#[cfg(feature = "icicle-cuda")]
#[test]
fn the_installed_cuda_backend_conforms() {
    conforms("CUDA");
}
