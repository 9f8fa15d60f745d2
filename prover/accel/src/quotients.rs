//! Sums of quotients with what every device can do.

use crate::{Device, DeviceError};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

/// `Σ factors[j] · (p_j - r_j) / Z_j`, as [`Device::quotients`], of arguments that were checked.
///
/// `1 / Z_j = Σ_s a_{j,s} / (X - s)`, so the sum is `Σ_s (F_s - F_s(s)) / (X - s)` with `F_s = Σ_j factors[j] a_{j,s} p_j`: one
/// division by a linear polynomial for each distinct point, whatever the number of sets.
pub(crate) fn by_partial_fractions<D: Device + ?Sized>(
    device: &D,
    polynomials: &[&D::Vector],
    factors: &[Fr],
    sets: &[&[Fr]],
    n: usize,
) -> Result<D::Vector, DeviceError> {
    let mut points: Vec<Fr> = Vec::new();
    for point in sets.iter().copied().flatten() {
        if !points.contains(point) {
            points.push(*point);
        }
    }
    let mut numerators = Vec::with_capacity(points.len());
    for point in &points {
        let (mut vectors, mut weights) = (Vec::new(), Vec::new());
        for ((set, vector), factor) in sets.iter().zip(polynomials).zip(factors) {
            if set.contains(point) {
                let others = set.iter().filter(|other| *other != point);
                let weight = others.map(|other| *point - other).product::<Fr>();
                vectors.push(*vector);
                weights.push(weight.invert().expect("the points of a set differ") * factor);
            }
        }
        numerators.push(device.combine(&vectors, &weights, n)?);
    }
    let mut vectors: Vec<&mut D::Vector> = numerators.iter_mut().collect();
    device.divide(&mut vectors, &points)?;
    let vectors: Vec<&D::Vector> = vectors.into_iter().map(|vector| &*vector).collect();
    device.combine(&vectors, &vec![Fr::ONE; points.len()], n)
}
