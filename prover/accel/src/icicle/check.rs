//! The comparison with the CPU that every device passes before it is given work.

use super::{IcicleDevice, OpenError};
use crate::report::{points, values};
use crate::{CpuDevice, Device, DeviceError, Direction};
use halo2curves::bn256::{Fr, G1, G1Affine};

/// Elements of the check's multiplication and transforms, unless the domain is smaller.
const K: u32 = 10;

/// One MSM and one transform in each direction.
pub(super) fn check(device: &IcicleDevice) -> Result<(), OpenError> {
    let n = 1 << K.min(device.context.domain_k());
    let (values, points) = (values(n), points(n));
    let cpu = CpuDevice::new();
    let sums = (
        multiply(&cpu, &points, &values)?,
        multiply(device, &points, &values)?,
    );
    if sums.0 != sums.1 {
        return Err(OpenError::SelfCheck {
            operation: "msm",
            elements: n,
        });
    }
    for direction in [Direction::Forward, Direction::Inverse] {
        if transform(&cpu, &values, direction)? != transform(device, &values, direction)? {
            return Err(OpenError::SelfCheck {
                operation: "ntt",
                elements: n,
            });
        }
    }
    Ok(())
}

fn multiply<D: Device>(device: &D, points: &[G1Affine], values: &[Fr]) -> Result<Vec<G1>, DeviceError> {
    let bases = device.bases(points, 0)?;
    device.msm(&bases, &[&device.upload(values)?])
}

fn transform<D: Device>(device: &D, values: &[Fr], direction: Direction) -> Result<Vec<Fr>, DeviceError> {
    let mut vector = device.upload(values)?;
    device.ntt(&mut [&mut vector], direction)?;
    device.download(&vector)
}
