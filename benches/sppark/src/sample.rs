//! Points and scalars whose sum is known without a sum of points: the points' logarithms are.

use crate::device::{Element, Jacobian, Point};
use halo2curves::bn256::{Fq, Fr, G1, G1Affine};
use halo2curves::ff::Field;
use halo2curves::group::{Curve, Group};
use halo2curves::serde::SerdeObject;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Elements that are drawn from one stream of random numbers.
const CHUNK: usize = 1 << 12;

/// What sums are made of, in sppark's form, and as many logarithms of the points to the generator's base.
pub struct Sample {
    pub points: Vec<Point>,
    pub scalars: Vec<Element>,
    logarithms: Vec<Fr>,
    factors: Vec<Fr>,
}

impl Sample {
    /// `n` random scalars, and `n` points that are not the identity and, but for a negligible chance, all different.
    pub fn new(n: usize, seed: u64) -> Self {
        let chunks: Vec<_> = (0..n.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(chunk as u64);
                fill(CHUNK.min(n - chunk * CHUNK), &mut rng)
            })
            .collect();
        let mut sample = Self {
            points: Vec::with_capacity(n),
            scalars: Vec::with_capacity(n),
            logarithms: Vec::with_capacity(n),
            factors: Vec::with_capacity(n),
        };
        for mut chunk in chunks {
            sample.points.append(&mut chunk.points);
            sample.scalars.append(&mut chunk.scalars);
            sample.logarithms.append(&mut chunk.logarithms);
            sample.factors.append(&mut chunk.factors);
        }
        sample
    }

    /// The sum of the first `n` points, each times its scalar.
    pub fn sum(&self, n: usize) -> G1Affine {
        let pairs = self.logarithms[..n].par_iter().zip(&self.factors[..n]);
        let logarithm: Fr = pairs.map(|(logarithm, factor)| logarithm * factor).sum();
        (G1::generator() * logarithm).to_affine()
    }
}

fn fill(n: usize, rng: &mut ChaCha8Rng) -> Sample {
    let factors: Vec<Fr> = (0..n).map(|_| Fr::random(&mut *rng)).collect();
    let first = Fr::random(rng);
    let step = G1::generator() * first;
    let multiples = std::iter::successors(Some(step), |point| Some(point.double() + step));
    let logarithms = std::iter::successors(Some(first), |logarithm| Some(logarithm.double() + first));
    let mut points = vec![G1Affine::default(); n];
    G1::batch_normalize(&multiples.take(n).collect::<Vec<G1>>(), &mut points);
    Sample {
        points: points
            .iter()
            .map(|point| [limbs(&point.x), limbs(&point.y)])
            .collect(),
        scalars: factors.iter().map(limbs).collect(),
        logarithms: logarithms.take(n).collect(),
        factors,
    }
}

/// The element as it lies in memory, in Montgomery form.
fn limbs(element: &impl SerdeObject) -> Element {
    let bytes = element.to_raw_bytes();
    let mut limbs = Element::default();
    for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
        *limb = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    limbs
}

/// The point, if the coordinates are below the modulus.
pub fn affine(point: &Jacobian) -> Option<G1Affine> {
    let [x, y, z] = point.map(|limbs| Fq::from_raw_bytes(&limbs.map(u64::to_le_bytes).concat()));
    let (x, y) = (x?, y?);
    let Some(inverse) = Option::<Fq>::from(z?.invert()) else {
        return Some(G1Affine::default());
    };
    let square = inverse.square();
    Some(G1Affine {
        x: x * square,
        y: y * square * inverse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::msm::msm_best;

    fn point(point: &Point) -> G1Affine {
        affine(&[point[0], point[1], limbs(&Fq::ONE)]).expect("coordinates below the modulus")
    }

    #[test]
    fn the_known_sum_is_that_of_the_points() {
        let sample = Sample::new(CHUNK + 5, 1);
        let points: Vec<G1Affine> = sample.points.iter().map(point).collect();
        for n in [1, 31, CHUNK, CHUNK + 5] {
            let sum = msm_best(&sample.factors[..n], &points[..n]).to_affine();
            assert_eq!(sample.sum(n), sum, "{n}");
            // One point more is another sum.
            assert_ne!(sample.sum(n - 1), sum, "{n}");
        }
    }

    #[test]
    fn a_point_is_found_again_whatever_its_z_is() {
        let sample = Sample::new(1, 2);
        let expected = sample.points[0];
        let (z, affine_point) = (Fq::from(7), point(&expected));
        let scaled = [affine_point.x * z.square(), affine_point.y * z.square() * z, z];
        assert_eq!(affine(&scaled.map(|element| limbs(&element))), Some(affine_point));
        assert_ne!(
            affine(&[limbs(&scaled[0]), limbs(&scaled[1]), limbs(&Fq::ONE)]),
            Some(affine_point)
        );
        let zero = limbs(&Fq::ZERO);
        assert_eq!(
            affine(&[expected[0], expected[1], zero]),
            Some(G1Affine::default())
        );
        assert_eq!(affine(&[[u64::MAX; 4], expected[1], expected[0]]), None);
    }
}
