//! Sums of quotients of polynomials by the polynomials that vanish on sets of points.

#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::memory::Scalars;
use super::{Kernels, scan};
use crate::DeviceError;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rayon::prelude::*;

/// One quotient: of `factor` times the polynomial, by what vanishes on the points.
pub(super) struct Term<'a> {
    pub(super) polynomial: &'a [Fr],
    pub(super) factor: Fr,
    pub(super) points: &'a [Fr],
}

/// Adds the quotients' coefficients to `sum`, which is as long as each of the polynomials.
///
/// # Errors
/// Out of memory.
pub(super) fn add(kernels: Kernels, terms: &[Term<'_>], sum: &mut [Fr]) -> Result<(), DeviceError> {
    for term in terms {
        #[cfg(target_arch = "x86_64")]
        if let Kernels::Ifma(available) = kernels
            && let Some(division) = Division::new(term, sum.len())
        {
            division.add(available, term.polynomial, sum);
            continue;
        }
        add_root_by_root(kernels, term, sum)?;
    }
    Ok(())
}

/// Divides by one root after the other. What the first ones leave has no part in what the last ones give.
fn add_root_by_root(kernels: Kernels, term: &Term<'_>, sum: &mut [Fr]) -> Result<(), DeviceError> {
    let mut quotient = Scalars::copied("quotients", term.polynomial)?;
    for point in term.points {
        scan::divide(kernels, &mut quotient, *point);
    }
    scan::add_multiple(sum, &quotient, term.factor);
    Ok(())
}

/// Division by a polynomial of some degree `d`, in segments whose carries are found first.
///
/// With `Z = X^d + Σ_{j<d} z_j X^j`, the quotient's coefficients are `g_{k+d}` for
/// `g_i = f_i - Σ_{j=1..d} z_{d-j} g_{i+j}`, from the highest down. A segment needs the `d` values of `g` above it, its
/// state. It is linear in that: what the segment gives without any, and the state moved down by the segment's length, that is,
/// the recurrence's characteristic polynomial being `Z`, times `X^len` modulo `Z`.
#[cfg(target_arch = "x86_64")]
struct Division {
    factor: Fr,
    /// `z_0 … z_{d-1}`.
    divisor: Vec<Fr>,
    /// Elements of a segment.
    len: usize,
}

#[cfg(target_arch = "x86_64")]
impl Division {
    /// Elements that a segment has at most where there are enough for several tasks.
    const SEGMENT: usize = 1 << 12;

    /// None where the polynomial cannot be cut into segments that the kernel takes.
    fn new(term: &Term<'_>, n: usize) -> Option<Self> {
        let segments = match n % (8 * Self::SEGMENT) {
            0 => n / Self::SEGMENT,
            _ => 8,
        };
        let (degree, len) = (term.points.len(), n / segments.max(1));
        let fits = n > 0 && n.is_multiple_of(segments) && (1..=len).contains(&degree);
        (fits && degree < ifma::scan::TERMS_MAX).then(|| Self {
            factor: term.factor,
            divisor: vanishing(term.points),
            len,
        })
    }

    fn add(&self, available: ifma::Available, polynomial: &[Fr], sum: &mut [Fr]) {
        let kernel = ifma::quotients::Kernel::new(available, self.factor, &self.divisor, self.len);
        let tasks = polynomial.par_chunks(8 * self.len);
        let without: Vec<Vec<[Fr; 8]>> = tasks.map(|segments| kernel.states(segments)).collect();
        let states = self.carry(&without);
        let tasks = polynomial
            .par_chunks(8 * self.len)
            .zip(sum.par_chunks_mut(8 * self.len));
        tasks
            .zip(states)
            .for_each(|((segments, sum), states)| kernel.add(segments, &states, sum));
    }

    /// The state above each segment, by task, element and segment, from what each gives without one.
    fn carry(&self, without: &[Vec<[Fr; 8]>]) -> Vec<Vec<[Fr; 8]>> {
        let degree = self.divisor.len();
        let moves = self.moves();
        let mut states = vec![vec![[Fr::ZERO; 8]; degree]; without.len()];
        let mut state = vec![Fr::ZERO; degree];
        for (states, without) in states.iter_mut().zip(without).rev() {
            for segment in (0..8).rev() {
                for (slot, value) in states.iter_mut().zip(&state) {
                    slot[segment] = *value;
                }
                let moved = |row: &Vec<Fr>| row.iter().zip(&state).map(|(a, b)| a * b).sum::<Fr>();
                let below = moves.iter().map(moved).zip(without);
                state = below.map(|(moved, own)| moved + own[segment]).collect();
            }
        }
        states
    }

    /// The matrix that moves a state down by a segment's length.
    fn moves(&self) -> Vec<Vec<Fr>> {
        let degree = self.divisor.len();
        let weights = self.power_of_x();
        let mut rows = vec![vec![Fr::ZERO; degree]; degree];
        for column in 0..degree {
            let mut state = vec![Fr::ZERO; degree];
            state[column] = Fr::ONE;
            for weight in &weights {
                for (row, value) in rows.iter_mut().zip(&state) {
                    row[column] += *weight * value;
                }
                let next = state.iter().zip(self.divisor.iter().rev());
                let next = -next.map(|(a, b)| a * b).sum::<Fr>();
                state.rotate_right(1);
                state[0] = next;
            }
        }
        rows
    }

    /// `X^len` modulo the divisor.
    fn power_of_x(&self) -> Vec<Fr> {
        let degree = self.divisor.len();
        let reduce = |mut polynomial: Vec<Fr>| {
            while polynomial.len() > degree {
                let top = polynomial.pop().unwrap_or_default();
                let from = polynomial.len() - degree;
                for (slot, z) in polynomial[from..].iter_mut().zip(&self.divisor) {
                    *slot -= top * z;
                }
            }
            polynomial.resize(degree, Fr::ZERO);
            polynomial
        };
        let mut power = reduce(vec![Fr::ONE]);
        for bit in (0..usize::BITS - self.len.leading_zeros()).rev() {
            let mut square = vec![Fr::ZERO; 2 * degree];
            for (i, a) in power.iter().enumerate() {
                for (j, b) in power.iter().enumerate() {
                    square[i + j] += *a * b;
                }
            }
            if self.len >> bit & 1 == 1 {
                square.insert(0, Fr::ZERO);
            }
            power = reduce(square);
        }
        power
    }
}

/// The coefficients of `Π (X - point)` below the highest, which is 1.
#[cfg(target_arch = "x86_64")]
fn vanishing(points: &[Fr]) -> Vec<Fr> {
    let mut coefficients = vec![Fr::ONE];
    for point in points {
        coefficients.insert(0, Fr::ZERO);
        for at in 0..coefficients.len() - 1 {
            let above = coefficients[at + 1];
            coefficients[at] -= above * point;
        }
    }
    coefficients.pop();
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample::Sampler;

    fn multiply(a: &[Fr], b: &[Fr]) -> Vec<Fr> {
        let mut product = vec![Fr::ZERO; a.len() + b.len() - 1];
        for (i, a) in a.iter().enumerate() {
            for (j, b) in b.iter().enumerate() {
                product[i + j] += *a * b;
            }
        }
        product
    }

    /// `quotient · Z + remainder` must give the quotient back, whatever the remainder, where the kernel cuts the polynomial into
    /// one task or several, and where it does not take it.
    #[test]
    fn a_product_and_a_remainder_give_the_quotient() {
        let mut sampler = Sampler::new(11);
        #[cfg(target_arch = "x86_64")]
        let best = ifma::Available::detect().map_or(Kernels::Portable, Kernels::Ifma);
        #[cfg(not(target_arch = "x86_64"))]
        let best = Kernels::Portable;
        for (n, degree) in [
            (1, 1),
            (64, 1),
            (64, 8),
            (64, 9),
            (72, 3),
            (100, 31),
            (1 << 12, 31),
            (1 << 16, 1),
            (1 << 16, 31),
            (1 << 12, 191),
            (1 << 12, 192),
        ] {
            let points = sampler.scalars(degree);
            let divisor = points
                .iter()
                .fold(vec![Fr::ONE], |z, point| multiply(&z, &[-point, Fr::ONE]));
            let quotient = sampler.mixed(n - degree.min(n));
            let mut polynomial = match quotient.is_empty() {
                true => vec![Fr::ZERO; n],
                false => multiply(&quotient, &divisor),
            };
            for (slot, value) in polynomial.iter_mut().zip(sampler.mixed(degree)) {
                *slot += value;
            }
            let (factor, before) = (sampler.scalar(), sampler.mixed(n));
            let mut expected = before.clone();
            for (slot, value) in expected.iter_mut().zip(&quotient) {
                *slot += factor * value;
            }
            for kernels in [Kernels::Portable, best] {
                let mut sum = before.clone();
                let term = Term {
                    polynomial: &polynomial,
                    factor,
                    points: &points,
                };
                add(kernels, &[term], &mut sum).expect("memory");
                assert!(sum == expected, "{n} coefficients, {degree} points, {kernels:?}");
            }
        }
    }
}
