//! The development SRS: powers of a published number, made in parallel. Whoever reads this file can forge proofs for it.

use halo2curves::{
    bn256::{Fq, Fr, G1, G1Affine},
    ff::{Field, PrimeField},
    group::{Curve, Group, prime::PrimeCurveAffine},
};
use rayon::prelude::*;

use crate::{
    error::SrsError,
    parameters::{Srs, SrsId, params_from_parts},
    secret::{development_key, secret},
};

/// Bits of a scalar that one table lookup covers.
const WINDOW_BITS: usize = 13;
const WINDOWS: usize = 256_usize.div_ceil(WINDOW_BITS);
/// Points that share one field inversion.
const BATCH: usize = 1 << 12;

/// The development SRS of size `2^k`. `progress` is told the fraction done, from several threads.
///
/// # Errors
/// [`SrsError::Insecure`] unless `allow_insecure` is set.
pub fn development(k: u32, allow_insecure: bool, progress: &(dyn Fn(f32) + Sync)) -> Result<Srs, SrsError> {
    let id = development_id(allow_insecure)?;
    let n = 1_usize << k;
    let table = Table::new();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let points = |scalars: Vec<Fr>| -> Vec<G1Affine> {
        scalars
            .par_chunks(BATCH)
            .flat_map_iter(|chunk| {
                let points = table.multiply(chunk);
                let done = done.fetch_add(chunk.len(), std::sync::atomic::Ordering::Relaxed) + chunk.len();
                progress(done as f32 / (2 * n) as f32);
                points
            })
            .collect()
    };
    let g = points(powers(secret(), n));
    let g_lagrange = points(lagrange_at(secret(), k));
    let key = development_key();
    Ok(Srs {
        params: params_from_parts(k, g, g_lagrange, key.g2, key.s_g2),
        id,
    })
}

/// Which SRS [`development`] makes.
///
/// # Errors
/// [`SrsError::Insecure`] unless `allow_insecure` is set.
pub fn development_id(allow_insecure: bool) -> Result<SrsId, SrsError> {
    if !allow_insecure {
        return Err(SrsError::Insecure);
    }
    Ok(SrsId::new(&development_key()))
}

/// `1, s, …, s^(n-1)`.
fn powers(s: Fr, n: usize) -> Vec<Fr> {
    let mut scalars = vec![Fr::ZERO; n];
    scalars
        .par_chunks_mut(BATCH)
        .enumerate()
        .for_each(|(chunk, scalars)| {
            let mut power = s.pow_vartime([(chunk * BATCH) as u64]);
            for scalar in scalars {
                *scalar = power;
                power *= s;
            }
        });
    scalars
}

/// The Lagrange polynomials of the `2^k`-th roots of unity, at `s`: `L_i(s) = ω^i (s^n - 1) / (n (s - ω^i))`.
fn lagrange_at(s: Fr, k: u32) -> Vec<Fr> {
    let n = 1_u64 << k;
    let omega = (k..Fr::S).fold(Fr::ROOT_OF_UNITY, |root, _| root.square());
    let numerator =
        (s.pow_vartime([n]) - Fr::ONE) * Fr::from(n).invert().expect("n is a power of two below r");
    let mut scalars = powers(omega, n as usize);
    scalars.par_chunks_mut(BATCH).for_each(|scalars| {
        let mut denominators: Vec<Fr> = scalars.iter().map(|root| s - root).collect();
        invert_all(&mut denominators);
        for (scalar, inverse) in scalars.iter_mut().zip(denominators) {
            *scalar *= numerator * inverse;
        }
    });
    scalars
}

/// Multiples of the generator: `windows[w][d - 1] = d · 2^(w · WINDOW_BITS) · G`.
struct Table {
    windows: Vec<Vec<G1Affine>>,
}

impl Table {
    fn new() -> Self {
        let mut bases = vec![G1::generator()];
        for _ in 1..WINDOWS {
            let last = bases[bases.len() - 1];
            bases.push((0..WINDOW_BITS).fold(last, |base, _| base.double()));
        }
        let windows = bases
            .into_par_iter()
            .map(|base| {
                let multiples: Vec<G1> = std::iter::successors(Some(base), |last| Some(last + base))
                    .take((1 << WINDOW_BITS) - 1)
                    .collect();
                let mut affine = vec![G1Affine::identity(); multiples.len()];
                G1::batch_normalize(&multiples, &mut affine);
                affine
            })
            .collect();
        Self { windows }
    }

    /// The generator times each scalar. Affine additions share their inversions over the batch.
    fn multiply(&self, scalars: &[Fr]) -> Vec<G1Affine> {
        let digits: Vec<[u8; 32]> = scalars.iter().map(|scalar| scalar.to_repr()).collect();
        let mut sums = vec![G1Affine::identity(); scalars.len()];
        for (window, multiples) in self.windows.iter().enumerate() {
            let addends: Vec<Option<G1Affine>> = digits
                .iter()
                .map(|digits| {
                    digit(digits, window * WINDOW_BITS)
                        .checked_sub(1)
                        .map(|at| multiples[at])
                })
                .collect();
            add_all(&mut sums, &addends);
        }
        sums
    }
}

/// The `WINDOW_BITS` bits of a little-endian integer from bit `from` on.
fn digit(bytes: &[u8; 32], from: usize) -> usize {
    let low = from / 8;
    let word = (0..4).fold(0_usize, |word, i| {
        word | (usize::from(bytes.get(low + i).copied().unwrap_or(0)) << (8 * i))
    });
    (word >> (from % 8)) & ((1 << WINDOW_BITS) - 1)
}

/// Adds each addend to its sum. Only where both are proper points with different `x` the chord formula is used.
fn add_all(sums: &mut [G1Affine], addends: &[Option<G1Affine>]) {
    let is_chord = |sum: &G1Affine, addend: &G1Affine| !bool::from(sum.is_identity()) && sum.x != addend.x;
    let mut inverses: Vec<Fq> = sums
        .iter()
        .zip(addends)
        .map(|(sum, addend)| match addend {
            Some(addend) if is_chord(sum, addend) => addend.x - sum.x,
            _ => Fq::ONE,
        })
        .collect();
    invert_all(&mut inverses);
    for ((sum, addend), inverse) in sums.iter_mut().zip(addends).zip(inverses) {
        let Some(addend) = addend else { continue };
        *sum = if is_chord(sum, addend) {
            let slope = (addend.y - sum.y) * inverse;
            let x = slope.square() - sum.x - addend.x;
            G1Affine {
                x,
                y: slope * (sum.x - x) - sum.y,
            }
        } else {
            (*sum + *addend).to_affine()
        };
    }
}

/// Inverts every element, none of which is zero, with one inversion.
fn invert_all<F: Field>(elements: &mut [F]) {
    let mut product = F::ONE;
    let prefixes: Vec<F> = elements
        .iter()
        .map(|element| {
            let prefix = product;
            product *= element;
            prefix
        })
        .collect();
    let mut inverse = product.invert().expect("the caller passes no zero");
    for (element, prefix) in elements.iter_mut().zip(prefixes).rev() {
        let next = inverse * *element;
        *element = inverse * prefix;
        inverse = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check_lagrange, check_powers};
    use halo2_proofs::poly::{commitment::Params as _, commitment::ParamsProver};
    use halo2_proofs::{SerdeFormat, poly::kzg::commitment::ParamsKZG};
    use halo2curves::bn256::Bn256;

    #[test]
    fn the_table_multiplies_as_the_curve_does() {
        let scalars = [
            Fr::ZERO,
            Fr::ONE,
            -Fr::ONE,
            Fr::from(1 << WINDOW_BITS),
            Fr::from(8192 * 5 + 7),
            secret(),
        ];
        let points = Table::new().multiply(&scalars);
        for (scalar, point) in scalars.iter().zip(points) {
            assert_eq!(point, (G1Affine::generator() * scalar).to_affine(), "{scalar:?}");
        }
    }

    #[test]
    fn a_sum_of_equal_or_opposite_points_is_right() {
        let g = G1Affine::generator();
        let mut sums = [g, g, G1Affine::identity()];
        add_all(&mut sums, &[Some(g), Some(-g), None]);
        assert_eq!(
            sums,
            [(g + g).to_affine(), G1Affine::identity(), G1Affine::identity()]
        );
    }

    #[test]
    fn the_development_srs_passes_the_checks_of_a_ceremony() {
        let srs = development(7, true, &|_| ()).unwrap();
        check_powers(srs.params.get_g(), &srs.opening_key()).unwrap();
        assert_eq!(srs.id, development_id(true).unwrap());
        assert!(srs.id.insecure);
    }

    #[test]
    fn the_lagrange_basis_is_halo2s_own() {
        let srs = development(6, true, &|_| ()).unwrap();
        let by_fft: ParamsKZG<Bn256> = srs.params.from_parts(
            6,
            srs.params.get_g().to_vec(),
            None,
            srs.params.g2(),
            srs.params.s_g2(),
        );
        let bytes = |params: &ParamsKZG<Bn256>| {
            let mut bytes = vec![];
            params.write_custom(&mut bytes, SerdeFormat::RawBytes).unwrap();
            bytes
        };
        assert_eq!(bytes(&srs.params), bytes(&by_fft));
        assert_eq!(srs.params.k(), 6);
        let g: Vec<G1Affine> = srs.params.get_g().to_vec();
        assert!(matches!(check_lagrange(6, &g, &g), Err(SrsError::Lagrange)));
    }

    #[test]
    fn it_is_refused_unless_named_insecure() {
        assert!(matches!(development(4, false, &|_| ()), Err(SrsError::Insecure)));
        assert!(matches!(development_id(false), Err(SrsError::Insecure)));
    }
}
