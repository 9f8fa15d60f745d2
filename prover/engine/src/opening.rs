//! SHPLONK (Boneh, Drake, Fisch, Gabizon: eprint 2020/081): one proof for all evaluations.
//!
//! For a set `i` of polynomials opened at the same points `S_i`, let `f_i` be their combination by powers of `y`, and
//! `r_i` the polynomial of its values on `S_i`. The first commitment is to `Q = Σ v^i (f_i - r_i) / Z_i`, with `Z_i` the
//! polynomial that vanishes on `S_i`; a division finds the quotient without `r_i`. The second commitment is to the quotient by
//! `X - u` of a combination of the `f_i` and `Q`.

use accel::Device;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

use crate::error::EngineError;
use crate::graph::Poly;
use crate::prove::{Basis, Proof};
use crate::system::Query;

/// Polynomials that are opened at the same points.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RotationSet {
    rotations: Vec<i32>,
    polys: Vec<Poly>,
}

impl<D: Device> Proof<'_, '_, D> {
    /// Proves the evaluations at `x` and its rotations.
    pub fn open(&mut self, x: Fr) -> Result<(), EngineError> {
        let (engine, y) = (self.engine, self.challenge());
        let (device, domain) = (&*engine.device, engine.system.domain);
        let sets = rotation_sets(&engine.system.openings(), domain.n);
        let mut combined = Vec::with_capacity(sets.len());
        for set in &sets {
            let polys: Vec<&D::Vector> = set.polys.iter().map(|poly| self.coefficients(*poly)).collect();
            combined.push(device.combine(&polys, &powers(y, polys.len()), domain.n)?);
        }
        self.polys.clear();
        let combined: Vec<&D::Vector> = combined.iter().collect();
        let v = powers(self.challenge(), sets.len());
        let points = |set: &RotationSet| -> Vec<Fr> {
            set.rotations
                .iter()
                .map(|rotation| domain.rotate(x, *rotation))
                .collect()
        };
        let sets: Vec<Vec<Fr>> = sets.iter().map(points).collect();
        let points: Vec<&[Fr]> = sets.iter().map(|set| &set[..]).collect();
        let quotient = device.quotients(&combined, &v, &points, domain.n)?;
        self.commit(Basis::Powers, &[&quotient])?;

        let u = self.challenge();
        let all = distinct(&sets);
        let outside = |set: &Vec<Fr>| vanishing_at(all.iter().filter(|point| !set.contains(point)), u);
        let differences: Vec<Fr> = sets.iter().map(outside).collect();
        let scale = Option::<Fr>::from(differences[0].invert()).ok_or(EngineError::Challenge)?;
        let mut factors: Vec<Fr> = v
            .iter()
            .zip(&differences)
            .map(|(v, difference)| v * difference * scale)
            .collect();
        factors.push(-vanishing_at(all.iter(), u) * scale);
        let vectors: Vec<&D::Vector> = combined.iter().copied().chain([&quotient]).collect();
        let linear = device.combine(&vectors, &factors, domain.n)?;
        let opening = device.quotients(&[&linear], &[Fr::ONE], &[&[u]], domain.n)?;
        self.commit(Basis::Powers, &[&opening])
    }
}

/// Groups polynomials by the points they are opened at: sets in the order in which their first polynomial is first
/// opened, polynomials likewise. Rotations that meet on a small domain are one point.
pub(crate) fn rotation_sets(queries: &[Query], n: usize) -> Vec<RotationSet> {
    let mut opened: Vec<(Poly, Vec<i32>)> = Vec::new();
    for query in queries {
        let rotation = query.rotation.rem_euclid(n as i32);
        match opened.iter_mut().find(|(poly, _)| *poly == query.poly) {
            Some((_, rotations)) if rotations.contains(&rotation) => {}
            Some((_, rotations)) => rotations.push(rotation),
            None => opened.push((query.poly, vec![rotation])),
        }
    }
    let mut sets: Vec<RotationSet> = Vec::new();
    for (poly, mut rotations) in opened {
        rotations.sort_unstable();
        match sets.iter_mut().find(|set| set.rotations == rotations) {
            Some(set) => set.polys.push(poly),
            None => sets.push(RotationSet {
                rotations,
                polys: vec![poly],
            }),
        }
    }
    sets
}

/// The points of all sets, each once.
fn distinct(sets: &[Vec<Fr>]) -> Vec<Fr> {
    let mut points: Vec<Fr> = Vec::new();
    for point in sets.iter().flatten() {
        if !points.contains(point) {
            points.push(*point);
        }
    }
    points
}

/// `Π (at - point)`.
fn vanishing_at<'a>(points: impl Iterator<Item = &'a Fr>, at: Fr) -> Fr {
    points.map(|point| at - point).product()
}

fn powers(base: Fr, count: usize) -> Vec<Fr> {
    std::iter::successors(Some(Fr::ONE), |power| Some(power * base))
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_with_equal_points_form_a_set() {
        let query = |poly, rotation| Query { poly, rotation };
        let (a, b, c) = (Poly::Advice(0), Poly::Advice(1), Poly::Fixed(0));
        let queries = [
            query(a, 0),
            query(b, 1),
            query(a, 1),
            query(c, 0),
            query(b, 0),
            query(c, -15),
        ];
        let sets = rotation_sets(&queries, 16);
        assert_eq!(sets.len(), 1, "-15 and 1 are the same rotation of 16 rows");
        assert_eq!(sets[0].polys, [a, b, c]);
    }
}
