//! The CPU device against the suite that every device passes, with each of its arithmetics.

use accel::CpuDevice;
use accel::conformance::{Extent, run};

/// Far enough to meet every border between tasks.
const EXTENT: Extent = Extent {
    k_max: 14,
    seed: 1,
    threads: 4,
};

#[test]
fn the_portable_arithmetic_conforms() {
    let device = CpuDevice::portable();
    run(&device, EXTENT).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Where the machine has AVX-512 IFMA this is another path; elsewhere it is the portable one again.
#[test]
fn the_fastest_arithmetic_conforms() {
    let device = CpuDevice::new();
    println!("{}", accel::Device::name(&device));
    run(&device, EXTENT).unwrap_or_else(|failure| panic!("{failure}"));
}
