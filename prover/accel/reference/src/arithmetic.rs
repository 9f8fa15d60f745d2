//! MSM, NTT and vector operations: what `libicicle_field_bn254` and `libicicle_curve_bn254` export.

use crate::devices::{Kind, current, drain, state, submit};
use crate::layout::{DomainConfig, MsmConfig, NttConfig, VectorConfig};
use crate::{code, code_of};
use core::ffi::c_int;
use halo2curves::CurveAffine;
use halo2curves::bn256::{Fq, Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use halo2curves::group::prime::PrimeCurveAffine;
use halo2curves::group::{Curve, Group};
use halo2curves::msm::msm_best;

type Bytes = [u8; 32];

/// Bits of a scalar.
const SCALAR_BITS: c_int = 254;

/// Reads `n` numbers of the field, canonical little endian.
///
/// # Safety
/// Host memory is valid for `32 n` bytes of reads; device memory is checked here.
unsafe fn read<F: PrimeField<Repr: From<Bytes>>>(
    from: *const Bytes,
    n: usize,
    on_device: bool,
) -> Result<Vec<F>, c_int> {
    state().check(from.cast(), n * 32, on_device)?;
    // SAFETY: the bytes are readable by the check or the caller's promise, and any bytes are `Bytes`.
    let numbers = unsafe { core::slice::from_raw_parts(from, n) };
    let numbers = numbers.iter().map(|bytes| {
        let number: Option<F> = F::from_repr((*bytes).into()).into();
        number.ok_or(code::INVALID_ARGUMENT)
    });
    numbers.collect()
}

/// Writes numbers of the field, canonical little endian.
///
/// # Safety
/// Host memory is valid for `32 n` bytes of writes; device memory is checked here.
unsafe fn write<F: PrimeField<Repr: AsRef<[u8]>>>(
    to: *mut Bytes,
    numbers: &[F],
    on_device: bool,
) -> Result<(), c_int> {
    state().check(to.cast(), numbers.len() * 32, on_device)?;
    for (i, number) in numbers.iter().enumerate() {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(number.to_repr().as_ref());
        // SAFETY: `i` is below the length that was checked or promised.
        unsafe { to.add(i).write(bytes) };
    }
    Ok(())
}

fn size(n: c_int) -> Result<usize, c_int> {
    usize::try_from(n).map_err(|_| code::INVALID_ARGUMENT)
}

fn only(condition: bool) -> Result<(), c_int> {
    if condition {
        Ok(())
    } else {
        Err(code::NOT_IMPLEMENTED)
    }
}

fn valid(condition: bool) -> Result<(), c_int> {
    if condition {
        Ok(())
    } else {
        Err(code::INVALID_ARGUMENT)
    }
}

/// `2^256`, the factor of Montgomery forms.
fn radix<F: PrimeField>() -> F {
    F::from(2).pow_vartime([256])
}

fn converted<F: PrimeField>(numbers: Vec<F>, into: bool) -> Vec<F> {
    let factor = if into {
        radix::<F>()
    } else {
        radix::<F>().invert().unwrap_or(F::ZERO)
    };
    numbers.into_iter().map(|number| number * factor).collect()
}

/// Points of two canonical coordinates; `(0, 0)` is the identity.
fn points(coordinates: &[Fq]) -> Result<Vec<G1Affine>, c_int> {
    let points = coordinates.chunks_exact(2).map(|point| {
        if bool::from(point[0].is_zero() & point[1].is_zero()) {
            return Ok(G1Affine::identity());
        }
        let point: Option<G1Affine> = G1Affine::from_xy(point[0], point[1]).into();
        point.ok_or(code::INVALID_ARGUMENT)
    });
    points.collect()
}

/// Bits by which each precomputed multiple of a base is ahead of the one before.
fn shift(config: &MsmConfig) -> Result<u32, c_int> {
    let (c, factor) = (config.c, config.precompute_factor);
    // Without an explicit window the original picks one by size: not the same for both calls.
    valid((1..=24).contains(&c) && (1..=64).contains(&factor))?;
    let windows = (SCALAR_BITS - 1) / c + 1;
    Ok((c * ((windows - 1) / factor + 1)) as u32)
}

fn sum(bases: &[G1Affine], scalars: &[Fr]) -> G1 {
    let pairs = bases.iter().zip(scalars);
    // `msm_best` asserts that no point is the identity.
    let (bases, scalars): (Vec<G1Affine>, Vec<Fr>) = pairs
        .filter(|(base, scalar)| !bool::from(base.is_identity()) && !bool::from(scalar.is_zero()))
        .unzip();
    if scalars.is_empty() {
        return G1::identity();
    }
    msm_best(&scalars, &bases)
}

/// Bits `[from, from + count)` of a scalar.
fn bits(scalar: &Fr, from: u32, count: u32) -> Fr {
    let bytes = scalar.to_repr();
    let bytes: &[u8] = bytes.as_ref();
    let bit = |at: u32| bytes.get(at as usize / 8).map_or(0, |byte| byte >> (at % 8) & 1);
    let bits = (from..from + count).rev();
    bits.fold(Fr::ZERO, |number, at| {
        number.double() + Fr::from(u64::from(bit(at)))
    })
}

/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_msm(
    scalars: *const Bytes,
    bases: *const Bytes,
    n: c_int,
    config: *const MsmConfig,
    results: *mut Bytes,
) -> c_int {
    // SAFETY: the caller's promise.
    code_of(unsafe { msm(scalars, bases, n, &*config, results) })
}

/// # Safety
/// As for `bn254_msm`.
unsafe fn msm(
    scalars: *const Bytes,
    bases: *const Bytes,
    n: c_int,
    config: &MsmConfig,
    results: *mut Bytes,
) -> Result<(), c_int> {
    let (n, batch, factor) = (
        size(n)?,
        size(config.batch_size)?,
        size(config.precompute_factor)?,
    );
    valid(n > 0 && batch > 0 && factor > 0)?;
    only(config.points_shared == 1 && config.results_on_device == 0 && config.bitsize == 0)?;
    drain()?;
    let device = current()?;
    device.fault(n)?;
    // SAFETY: the caller's promise.
    let coordinates: Vec<Fq> = unsafe { read(bases, 2 * n * factor, config.points_on_device == 1)? };
    // SAFETY: the caller's promise.
    let mut numbers: Vec<Fr> = unsafe { read(scalars, n * batch, config.scalars_on_device == 1)? };
    if config.scalars_montgomery == 1 {
        numbers = converted(numbers, false);
    }
    let bases = points(&coordinates)?;
    let mut sums = Vec::with_capacity(3 * batch);
    for scalars in numbers.chunks_exact(n) {
        let mut sum = if factor == 1 {
            sum(&bases, scalars)
        } else {
            let shift = shift(config)?;
            let pieces = scalars
                .iter()
                .flat_map(|scalar| (0..factor as u32).map(move |piece| bits(scalar, piece * shift, shift)));
            sum(&bases, &pieces.collect::<Vec<Fr>>())
        };
        if device.errs(Kind::WrongMsm, n) {
            sum += G1::generator();
        }
        sums.extend(homogeneous(sum));
    }
    // SAFETY: the caller's promise.
    unsafe { write(results, &sums, false) }
}

/// Coordinates with `x = X / Z`, by an arbitrary `Z`; `(0, 1, 0)` for the identity.
fn homogeneous(point: G1) -> [Fq; 3] {
    if bool::from(point.is_identity()) {
        return [Fq::ZERO, Fq::ONE, Fq::ZERO];
    }
    let affine = point.to_affine();
    // Not 1, so that a caller that forgets to divide is noticed.
    let z = Fq::from(5);
    [affine.x * z, affine.y * z, z]
}

/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_msm_precompute_bases(
    input: *const Bytes,
    n: c_int,
    config: *const MsmConfig,
    output: *mut Bytes,
) -> c_int {
    // SAFETY: the caller's promise.
    let config = unsafe { &*config };
    let run = || {
        let (n, shift) = (size(n)?, shift(config)?);
        drain()?;
        // SAFETY: the caller's promise.
        let coordinates: Vec<Fq> = unsafe { read(input, 2 * n, config.points_on_device == 1)? };
        let mut table = Vec::with_capacity(n * config.precompute_factor as usize);
        for base in points(&coordinates)? {
            let mut multiple = base.to_curve();
            table.push(multiple);
            for _ in 1..config.precompute_factor {
                multiple = (0..shift).fold(multiple, |point, _| point.double());
                table.push(multiple);
            }
        }
        let mut affine = vec![G1Affine::identity(); table.len()];
        G1::batch_normalize(&table, &mut affine);
        let coordinates: Vec<Fq> = affine.iter().flat_map(|point| [point.x, point.y]).collect();
        // SAFETY: the caller's promise.
        unsafe { write(output, &coordinates, config.results_on_device == 1) }
    };
    code_of(run())
}

/// Keeps the first domain of a device and takes no other, as the original does.
///
/// # Safety
/// `root` is valid for reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_ntt_init_domain(root: *const Bytes, _config: *const DomainConfig) -> c_int {
    let run = || {
        // SAFETY: the caller's promise.
        let root: Vec<Fr> = unsafe { read(root, 1, false)? };
        let device = current()?;
        let mut power = root[0];
        let mut k = 0;
        while power != Fr::ONE {
            power = power.square();
            k += 1;
            valid(k <= Fr::S)?;
        }
        state().domains.entry(device).or_insert((k, root[0]));
        Ok(())
    };
    code_of(run())
}

#[unsafe(no_mangle)]
extern "C" fn bn254_ntt_release_domain() -> c_int {
    code_of(current().map(|device| {
        state().domains.remove(&device);
    }))
}

/// Ends the process for a size that is no power of two or beyond the domain, as the original does.
///
/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_ntt(
    input: *const Bytes,
    n: c_int,
    direction: c_int,
    config: *const NttConfig,
    output: *mut Bytes,
) -> c_int {
    // SAFETY: the caller's promise.
    code_of(unsafe { ntt(input, n, direction, &*config, output) })
}

/// # Safety
/// As for `bn254_ntt`.
unsafe fn ntt(
    input: *const Bytes,
    n: c_int,
    direction: c_int,
    config: &NttConfig,
    output: *mut Bytes,
) -> Result<(), c_int> {
    let (n, batch) = (size(n)?, size(config.batch_size)?);
    let mut one = [0; 32];
    one[0] = 1;
    only(config.coset_generator == one && config.ordering == 0 && config.columns_batch == 0)?;
    valid(batch > 0 && (0..=1).contains(&direction))?;
    let device = current()?;
    let domain = state().domains.get(&device).copied();
    let (k_max, root) = match domain {
        Some((k_max, root)) if n.is_power_of_two() && n.ilog2() <= k_max => (k_max, root),
        _ => std::process::abort(),
    };
    device.fault(n)?;
    let on_device = (config.inputs_on_device == 1, config.outputs_on_device == 1);
    let is_async = config.is_async == 1;
    // What happens later does not find what the host had.
    valid(!is_async || on_device == (true, true))?;
    let places = (input as usize, output as usize);
    submit(is_async, move || {
        let (input, output) = (places.0 as *const Bytes, places.1 as *mut Bytes);
        // SAFETY: the caller's promise; device memory is checked when it is used.
        unsafe { transform((input, output), (n, batch), direction, (k_max, root), on_device) }
    })
}

/// # Safety
/// As for `bn254_ntt`.
unsafe fn transform(
    (input, output): (*const Bytes, *mut Bytes),
    (n, batch): (usize, usize),
    direction: c_int,
    (k_max, root): (u32, Fr),
    on_device: (bool, bool),
) -> Result<(), c_int> {
    let device = current()?;
    let k = n.ilog2();
    let mut omega = (k..k_max).fold(root, |omega, _| omega.square());
    if direction == 1 {
        omega = omega.invert().unwrap_or(Fr::ZERO);
    }
    let scale = Fr::TWO_INV.pow_vartime([u64::from(k)]);
    // SAFETY: the caller's promise.
    let mut values: Vec<Fr> = unsafe { read(input, n * batch, on_device.0)? };
    for values in values.chunks_exact_mut(n) {
        best_fft(values, omega, k);
        if direction == 1 {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        if device.errs(Kind::WrongNtt, n) {
            values.rotate_left(1);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { write(output, &values, on_device.1) }
}

/// # Safety
/// The pointers are valid for what the configuration says.
unsafe fn element_wise(
    a: (*const Bytes, usize),
    b: Option<(*const Bytes, usize)>,
    n: u64,
    config: *const VectorConfig,
    output: *mut Bytes,
    apply: impl Fn(Fr, Fr) -> Fr + Send + 'static,
) -> c_int {
    let run = || {
        // SAFETY: the caller's promise.
        let config = unsafe { &*config };
        valid(config.batch_size == 1 && n > 0)?;
        let on_device =
            [config.a_on_device, config.b_on_device, config.result_on_device].map(|flag| flag == 1);
        // What happens later does not find what the host had.
        valid(config.is_async == 0 || on_device == [true; 3])?;
        let (a, b) = ((a.0 as usize, a.1), b.map(|b| (b.0 as usize, b.1)));
        let output = output as usize;
        submit(config.is_async == 1, move || {
            // SAFETY: the caller's promise; device memory is checked when it is used.
            let a: Vec<Fr> = unsafe { read(a.0 as *const Bytes, a.1, on_device[0])? };
            let b: Vec<Fr> = match b {
                // SAFETY: as above.
                Some(b) => unsafe { read(b.0 as *const Bytes, b.1, on_device[1])? },
                None => vec![Fr::ZERO],
            };
            // A single number stands for all elements.
            let pairs = a.iter().cycle().zip(b.iter().cycle()).take(n as usize);
            let values: Vec<Fr> = pairs.map(|(a, b)| apply(*a, *b)).collect();
            // SAFETY: as above.
            unsafe { write(output as *mut Bytes, &values, on_device[2]) }
        })
    };
    code_of(run())
}

macro_rules! vector_by_vector {
    ($($name:ident: $apply:expr;)*) => {$(
        /// # Safety
        /// The pointers are valid for what the configuration says.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            a: *const Bytes,
            b: *const Bytes,
            n: u64,
            config: *const VectorConfig,
            output: *mut Bytes,
        ) -> c_int {
            // SAFETY: the caller's promise.
            unsafe { element_wise((a, n as usize), Some((b, n as usize)), n, config, output, $apply) }
        }
    )*};
}

vector_by_vector! {
    bn254_vector_add: |a, b| a + b;
    bn254_vector_sub: |a, b| a - b;
    bn254_vector_mul: |a, b| a * b;
}

macro_rules! scalar_by_vector {
    ($($name:ident: $apply:expr;)*) => {$(
        /// # Safety
        /// The pointers are valid for what the configuration says.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            scalar: *const Bytes,
            vector: *const Bytes,
            n: u64,
            config: *const VectorConfig,
            output: *mut Bytes,
        ) -> c_int {
            // SAFETY: the caller's promise.
            unsafe { element_wise((scalar, 1), Some((vector, n as usize)), n, config, output, $apply) }
        }
    )*};
}

scalar_by_vector! {
    bn254_scalar_add_vec: |a, b| a + b;
    bn254_scalar_sub_vec: |a, b| a - b;
    bn254_scalar_mul_vec: |a, b| a * b;
}

/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_vector_inv(
    a: *const Bytes,
    n: u64,
    config: *const VectorConfig,
    output: *mut Bytes,
) -> c_int {
    let inverse = |a: Fr, _| a.invert().unwrap_or(Fr::ZERO);
    // SAFETY: the caller's promise.
    unsafe { element_wise((a, n as usize), None, n, config, output, inverse) }
}

/// # Safety
/// The pointers are valid for what the configuration says.
unsafe fn convert<F: PrimeField<Repr: From<Bytes> + AsRef<[u8]>> + 'static>(
    input: *const Bytes,
    numbers: usize,
    into: bool,
    config: *const VectorConfig,
    output: *mut Bytes,
) -> c_int {
    let run = || {
        // SAFETY: the caller's promise.
        let config = unsafe { &*config };
        let on_device = (config.a_on_device == 1, config.result_on_device == 1);
        valid(config.is_async == 0 || on_device == (true, true))?;
        let (input, output) = (input as usize, output as usize);
        submit(config.is_async == 1, move || {
            // SAFETY: the caller's promise; device memory is checked when it is used.
            let values: Vec<F> = unsafe { read(input as *const Bytes, numbers, on_device.0)? };
            // SAFETY: as above.
            unsafe { write(output as *mut Bytes, &converted(values, into), on_device.1) }
        })
    };
    code_of(run())
}

/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_scalar_convert_montgomery(
    input: *const Bytes,
    n: u64,
    into: bool,
    config: *const VectorConfig,
    output: *mut Bytes,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { convert::<Fr>(input, n as usize, into, config, output) }
}

/// # Safety
/// The pointers are valid for what the configuration says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bn254_affine_convert_montgomery(
    input: *const Bytes,
    n: usize,
    into: bool,
    config: *const VectorConfig,
    output: *mut Bytes,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { convert::<Fq>(input, 2 * n, into, config, output) }
}
