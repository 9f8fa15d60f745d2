//! Transforms of `2^k` elements as `R` rows of `C` columns, eight columns or rows side by side.
//!
//! With `j = C j1 + j2` and `i = i1 + R i2`,
//! `X[i] = Σ_j2 ω_C^(j2 i2) · ω_n^(j2 i1) · Σ_j1 ω_R^(j1 i1) a[j]`.
//! The first pass transforms columns into a scratch array, turned; the second transforms its rows into place. A lane is a
//! column in the first and a row in the second, so that no butterfly mixes lanes and every twiddle is one for all of them.
//! Eight columns or rows at a time stay in the second-level cache.

use super::super::memory::Scalars;
use super::super::ntt::SCRATCH_MAX;
use super::Available;
use super::field::*;
use crate::DeviceError;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::sync::{Mutex, PoisonError};

/// The smallest size, `2^6`: eight rows of eight columns.
pub(in crate::cpu) const K_MIN: u32 = 6;

/// Rows that are transformed together before the next are touched; they fit the first-level cache.
const HOT_ROWS: usize = 64;

/// Groups of four inputs that are asked for before they are read, in bit-reversed order.
const AHEAD: usize = 8;

/// What transforms of one size and direction need.
pub(in crate::cpu) struct Plan {
    _available: Available,
    rows_log2: u32,
    columns_log2: u32,
    /// Twiddles of a transform of rows or columns, whichever are more: `ω_(2h)^i` for `i < h` at `h + i`, for `h = 1, 2,
    /// 4, …`, in our form.
    twiddles: Vec<[u64; 5]>,
    /// `ω_n^j` for every column `j`, in our form but in words.
    columns: Vec<[u64; 4]>,
    /// `1`, or `1 / n` for the inverse, in our form.
    scale: [u64; 5],
}

/// Powers of a coset's shift, in our form: `j = C j1 + j2` takes that of row `j1` and that of column `j2`.
pub(in crate::cpu) struct Powers {
    rows: Vec<[u64; 5]>,
    /// In words.
    columns: Vec<[u64; 4]>,
}

/// Eight rows' worth of one column of the scratch array, by words; rows are in their order.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Turned([[u64; 8]; 4]);

/// Scratch arrays that are kept between transforms, since the system takes long to hand out fresh memory.
#[derive(Default)]
pub(in crate::cpu) struct Scratch {
    free: Mutex<Vec<Scalars>>,
}

impl Scratch {
    /// An array of `n` scalars, of any content.
    fn take(&self, n: usize) -> Result<Scalars, DeviceError> {
        let kept = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let at = free.iter().position(|array| array.len() == n);
            at.map(|at| free.swap_remove(at))
        };
        // Without the lock: a thread that waits for others' part of some work takes up other work meanwhile, such as another
        // transform, which would wait for the lock for ever.
        kept.map_or_else(|| Scalars::of_any("ntt", n), Ok)
    }

    fn give(&self, array: Scalars) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (free.len() >= SCRATCH_MAX).then(|| free.remove(0));
        free.push(array);
        drop(free);
        drop(oldest);
    }
}

/// A pointer that tasks share; each says which part is its own.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: a `Shared` is only dereferenced under the rules that its users state, and hands its parts to other threads.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

impl Plan {
    /// A plan for `2^k` elements, `k >= K_MIN`, with a root of unity of that order; `scale` multiplies the results.
    pub(in crate::cpu) fn new(available: Available, k: u32, omega: Fr, scale: Fr) -> Self {
        let (rows_log2, columns_log2) = (k / 2, k - k / 2);
        let longest = (0..rows_log2).fold(omega, |omega, _| omega.square());
        let mut twiddles = vec![[0; 5]];
        for h_log2 in 0..columns_log2 {
            let step = (h_log2 + 1..columns_log2).fold(longest, |step, _| step.square());
            let powers = std::iter::successors(Some(Fr::ONE), |power| Some(*power * step));
            twiddles.extend(powers.take(1 << h_log2).map(|power| split(own_form(&power))));
        }
        let powers = std::iter::successors(Some(Fr::ONE), |power| Some(*power * omega));
        Self {
            _available: available,
            rows_log2,
            columns_log2,
            twiddles,
            columns: powers
                .take(1 << columns_log2)
                .map(|power| own_form(&power))
                .collect(),
            scale: split(own_form(&scale)),
        }
    }

    /// The powers that transforms on the coset of `shift` take, apart from the plan.
    pub(in crate::cpu) fn powers(&self, shift: Fr) -> Powers {
        let row = (0..self.columns_log2).fold(shift, |power, _| power.square());
        let rows = std::iter::successors(Some(Fr::ONE), |power| Some(*power * row));
        let columns = std::iter::successors(Some(Fr::ONE), |power| Some(*power * shift));
        Powers {
            rows: rows
                .take(1 << self.rows_log2)
                .map(|power| split(own_form(&power)))
                .collect(),
            columns: columns
                .take(1 << self.columns_log2)
                .map(|power| own_form(&power))
                .collect(),
        }
    }

    /// Transforms `2^k` values in place.
    ///
    /// # Errors
    /// Out of memory; the values are left as they were.
    pub(in crate::cpu) fn transform(&self, values: &mut [Fr], scratch: &Scratch) -> Result<(), DeviceError> {
        let (from, n) = (Shared(values.as_mut_ptr().cast()), values.len());
        self.passes(None, from, n, from, scratch)
    }

    /// Writes the transform of `coefficients[i] · shift^i`, as [`Self::transform`]. The powers are this plan's of the shift; the
    /// plan is a forward one.
    ///
    /// # Errors
    /// Out of memory; the values are left as they were.
    pub(in crate::cpu) fn transform_on_coset(
        &self,
        powers: &Powers,
        coefficients: &[Fr],
        values: &mut [Fr],
        scratch: &Scratch,
    ) -> Result<(), DeviceError> {
        assert_eq!(coefficients.len(), values.len(), "a transform has as many values");
        assert!(powers.rows.len() == 1 << self.rows_log2 && powers.columns.len() == 1 << self.columns_log2);
        // The first pass only reads.
        let from = Shared(coefficients.as_ptr().cast_mut().cast());
        let to = Shared(values.as_mut_ptr().cast());
        self.passes(Some(powers), from, values.len(), to, scratch)
    }

    /// Both passes over `n` values, which `from` and `to` have room for.
    fn passes(
        &self,
        powers: Option<&Powers>,
        from: Shared<u64>,
        n: usize,
        to: Shared<u64>,
        scratch: &Scratch,
    ) -> Result<(), DeviceError> {
        let (rows, columns) = (1 << self.rows_log2, 1 << self.columns_log2);
        assert_eq!(n, rows * columns, "the plan is of another size");
        let mut array = scratch.take(n)?;
        let turned: Shared<Turned> = Shared(array.as_mut_ptr().cast());
        (0..columns / 8).into_par_iter().for_each_init(
            || buffer(rows),
            // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows. The passes stay within `n` values of `from`, `turned` and `to`, of which
            // `turned` is aligned; this one reads `from`, and every task writes its own columns of `turned`.
            |buffer, block| unsafe { self.columns_pass(block, powers, from.get(), turned.get(), buffer) },
        );
        (0..rows / 8).into_par_iter().for_each_init(
            || buffer(columns),
            // SAFETY: as above; this pass reads `turned`, and every task writes the elements of its own rows.
            |buffer, group| unsafe { self.rows_pass(group, turned.get(), to.get(), buffer) },
        );
        scratch.give(array);
        Ok(())
    }

    /// Transforms columns `8 block..8 block + 8`, multiplies by `scale · ω_n^(j2 i1)`, and stores them turned.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    unsafe fn columns_pass(
        &self,
        block: usize,
        coset: Option<&Powers>,
        from: *const u64,
        to: *mut Turned,
        buffer: &mut [Lanes],
    ) {
        let (rows, columns) = (1usize << self.rows_log2, 1usize << self.columns_log2);
        // SAFETY: row `row` has 4 `columns` words and the block 32 of them; the caller vouches for all rows.
        let input = |row: usize| unpack(&unsafe { load(from.add(4 * (row * columns + 8 * block))) });
        let ask = |row: usize| prefetch(from.wrapping_add(4 * (row * columns + 8 * block)));
        match coset {
            None => self.butterflies(rows, input, ask, buffer),
            Some(coset) => {
                let input = |row| tidy(&mul::<Scalar>(&input(row), &broadcast(&coset.rows[row])));
                self.butterflies(rows, input, ask, buffer);
            }
        }
        // SAFETY: the table has a power for each column.
        let powers = unpack(&unsafe { load(self.columns.as_ptr().add(8 * block).cast()) });
        // Row `i1` takes the factor `scale · powers^i1`, on a coset with the column's power of the shift for `scale`. Eight
        // chains of them hide the latency of a product.
        let first = match coset {
            None => broadcast(&self.scale),
            // SAFETY: the table has a power for each column.
            Some(coset) => unpack(&unsafe { load(coset.columns.as_ptr().add(8 * block).cast()) }),
        };
        let mut factors = [first; 8];
        let mut power = powers;
        for i in 1..8 {
            factors[i] = tidy(&mul::<Scalar>(&factors[i - 1], &powers));
            power = tidy(&mul::<Scalar>(&power, &powers));
        }
        for group in 0..rows / 8 {
            let mut outputs = [[_mm512_setzero_si512(); 4]; 8];
            for i in 0..8 {
                let value = tidy(&buffer[8 * group + i]);
                outputs[i] = pack(&tidy(&mul::<Scalar>(&value, &factors[i])));
                factors[i] = tidy(&mul::<Scalar>(&factors[i], &power));
            }
            // SAFETY: there are `columns` entries per group of rows, of which this task owns eight.
            unsafe { store_turned(to.add(group * columns + 8 * block), &outputs) };
        }
    }

    /// Transforms rows `8 group..8 group + 8` and stores them as columns of the result.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    unsafe fn rows_pass(&self, group: usize, from: *const Turned, to: *mut u64, buffer: &mut [Lanes]) {
        let (rows, columns) = (1usize << self.rows_log2, 1usize << self.columns_log2);
        let input = |column: usize| {
            // SAFETY: there are `columns` entries per group of rows.
            let entry = unsafe { from.add(group * columns + column) }.cast::<__m512i>();
            // SAFETY: an entry is four registers long and aligned as they are.
            unpack(&unsafe { [0, 1, 2, 3].map(|word| _mm512_load_si512(entry.add(word))) })
        };
        let ask = |column: usize| prefetch(from.wrapping_add(group * columns + column).cast());
        self.butterflies(columns, input, ask, buffer);
        for (i2, value) in buffer.iter().enumerate().take(columns) {
            let value = pack(&canonical::<Scalar>(&tidy(value)));
            // SAFETY: element `i1 + rows · i2`, for eight consecutive `i1 < rows`.
            unsafe { store_ordered(to.add(4 * (8 * group + rows * i2)), &value) };
        }
    }

    /// Transforms `n` vectors of lanes from `input`, which are below `3 p` and tidy, into the buffer, natural order in and
    /// out, by decimation in time; `ask` is told an input before it is read. Results are below `12 p + 3 p log2 n`, untidy.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn butterflies(
        &self,
        n: usize,
        input: impl Fn(usize) -> Lanes,
        ask: impl Fn(usize),
        buffer: &mut [Lanes],
    ) {
        let buffer = &mut buffer[..n];
        self.first_two_stages(n, input, ask, buffer);
        let mut hot = HOT_ROWS.min(n);
        for block in buffer.chunks_exact_mut(hot) {
            let mut h = 4;
            while h < hot {
                self.stage(h, block);
                h *= 2;
            }
        }
        while hot < n {
            self.stage(hot, buffer);
            hot *= 2;
        }
    }

    /// Loads in bit-reversed order and does the stages whose twiddles are 1 and a square root of -1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn first_two_stages(
        &self,
        n: usize,
        input: impl Fn(usize) -> Lanes,
        ask: impl Fn(usize),
        buffer: &mut [Lanes],
    ) {
        let (three_p, six_p) = (
            broadcast(&times(Scalar::LIMBS, 3)),
            broadcast(&times(Scalar::LIMBS, 6)),
        );
        let fourth_root = broadcast(&self.twiddles[3]);
        let shift = usize::BITS - n.ilog2();
        for (block, four) in buffer.chunks_exact_mut(4).enumerate() {
            for i in 0..4 {
                let at = 4 * (block + AHEAD) + i;
                if at < n {
                    ask(at.reverse_bits() >> shift);
                }
            }
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| input((4 * block + i).reverse_bits() >> shift));
            let (sum_ab, sum_cd) = (add(&a, &b), add(&c, &d));
            let less_ab = add(&sub(&a, &b), &three_p);
            let less_cd = tidy(&add(&sub(&c, &d), &three_p));
            let turned = mul::<Scalar>(&less_cd, &fourth_root);
            four[0] = add(&sum_ab, &sum_cd);
            four[1] = add(&less_ab, &turned);
            four[2] = add(&sub(&sum_ab, &sum_cd), &six_p);
            four[3] = add(&sub(&less_ab, &turned), &three_p);
        }
    }

    /// One stage with butterflies between elements `h` apart. It adds at most `3 p`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn stage(&self, h: usize, buffer: &mut [Lanes]) {
        let three_p = broadcast(&times(Scalar::LIMBS, 3));
        let twiddles = &self.twiddles[h..2 * h];
        for block in buffer.chunks_exact_mut(2 * h) {
            let (left, right) = block.split_at_mut(h);
            for ((a, b), twiddle) in left.iter_mut().zip(right).zip(twiddles) {
                let turned = mul::<Scalar>(&tidy(b), &broadcast(twiddle));
                *b = add(&sub(a, &turned), &three_p);
                *a = add(a, &turned);
            }
        }
    }
}

/// Turns eight rows (`rows[i]`, lanes being columns in [`LANE_ORDER`]) into eight entries of the scratch array.
///
/// # Safety
/// `to` points to eight writable entries.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn store_turned(to: *mut Turned, rows: &[Words; 8]) {
    let turned = [0, 1, 2, 3].map(|word| transpose(rows.map(|row| row[word])));
    for (word, turned) in turned.into_iter().enumerate() {
        for (lane, values) in turned.into_iter().enumerate() {
            // SAFETY: the caller vouches for eight entries of four registers each.
            unsafe { _mm512_store_si512(to.add(LANE_ORDER[lane]).cast::<__m512i>().add(word), values) };
        }
    }
}

/// Transposes eight rows of eight words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
    }
    // `pairs[2 i + b]` has column `2 l + b` of rows `2 i` and `2 i + 1` in its 128-bit part `l`.
    let mut columns = rows;
    for b in 0..2 {
        let low = _mm512_shuffle_i64x2::<0b10_00_10_00>(pairs[b], pairs[2 + b]);
        let high = _mm512_shuffle_i64x2::<0b10_00_10_00>(pairs[4 + b], pairs[6 + b]);
        columns[b] = _mm512_shuffle_i64x2::<0b10_00_10_00>(low, high);
        columns[4 + b] = _mm512_shuffle_i64x2::<0b11_01_11_01>(low, high);
        let low = _mm512_shuffle_i64x2::<0b11_01_11_01>(pairs[b], pairs[2 + b]);
        let high = _mm512_shuffle_i64x2::<0b11_01_11_01>(pairs[4 + b], pairs[6 + b]);
        columns[2 + b] = _mm512_shuffle_i64x2::<0b10_00_10_00>(low, high);
        columns[6 + b] = _mm512_shuffle_i64x2::<0b11_01_11_01>(low, high);
    }
    columns
}

/// Stores eight consecutive elements from lanes in natural order.
///
/// # Safety
/// `to` points to 32 writable words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn store_ordered(to: *mut u64, w: &Words) {
    let (low01, high01) = (
        _mm512_unpacklo_epi64(w[0], w[1]),
        _mm512_unpackhi_epi64(w[0], w[1]),
    );
    let (low23, high23) = (
        _mm512_unpacklo_epi64(w[2], w[3]),
        _mm512_unpackhi_epi64(w[2], w[3]),
    );
    // Part `l` of the low registers belongs to element `2 l`, of the high ones to element `2 l + 1`.
    let even = |at: usize, low: __m512i, high: __m512i| {
        let index = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        let next = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_permutex2var_epi64(low, if at == 0 { index } else { next }, high)
    };
    for half in 0..2 {
        let (evens, odds) = (even(half, low01, low23), even(half, high01, high23));
        let first = _mm512_shuffle_i64x2::<0b01_00_01_00>(evens, odds);
        let second = _mm512_shuffle_i64x2::<0b11_10_11_10>(evens, odds);
        // SAFETY: the caller vouches for 32 words.
        unsafe {
            _mm512_storeu_si512(to.add(16 * half).cast(), first);
            _mm512_storeu_si512(to.add(16 * half + 8).cast(), second);
        }
    }
}
