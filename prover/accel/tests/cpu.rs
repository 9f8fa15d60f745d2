//! The CPU device against the suite that every device passes.

use accel::CpuDevice;
use accel::conformance::{Extent, run};

#[test]
fn the_cpu_conforms() {
    let device = CpuDevice::new();
    run(&device, Extent::default()).unwrap_or_else(|failure| panic!("{failure}"));
}
