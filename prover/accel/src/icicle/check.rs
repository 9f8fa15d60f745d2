//! The comparison with the CPU that every device passes before it is given work.

use super::{IcicleDevice, OpenError};
use crate::{CpuDevice, Device, DeviceError, Direction};
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use halo2curves::group::Curve;

/// Elements of the check's multiplication and transforms, unless the domain is smaller.
const K: u32 = 10;

/// Values without a pattern: powers of a number of full size.
pub(super) fn values(n: usize) -> Vec<Fr> {
    let base = Fr::from(0x9e37_79b9_7f4a_7c15).pow_vartime([5]);
    std::iter::successors(Some(base), |value| Some(*value * base))
        .take(n)
        .collect()
}

/// The first `n` multiples of an arbitrary point.
pub(super) fn points(n: usize) -> Vec<G1Affine> {
    let step = G1::generator() * values(1)[0];
    let multiples = std::iter::successors(Some(step), |point| Some(*point + step)).take(n);
    let mut points = vec![G1Affine::default(); n];
    G1::batch_normalize(&multiples.collect::<Vec<G1>>(), &mut points);
    points
}

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
