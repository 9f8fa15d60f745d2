//! Affine additions, doublings and the cutting of scalars, eight at a time.
//!
//! Coordinates have the Montgomery form of radix `2^260`. Those of sums are below `2 p`, those of bases and their multiples
//! below `p`.

use super::super::memory::{coordinate, coordinate_words};
use super::super::msm::{NEGATIVE, Pairs, Point, Windows};
use super::Available;
use super::field::*;
use super::ntt::transpose;
use halo2curves::bn256::{Fq, Fr};
use halo2curves::ff::{Field, PrimeField};
use std::arch::x86_64::*;
use std::ops::Range;

/// Independent chains of products, which hide the latency of one.
const CHAINS: usize = 4;

/// Additions must come in multiples of this.
pub(in crate::cpu) const PAIRS_MULTIPLE: usize = 8 * CHAINS;

/// Vectors of eight additions that share an inversion. Their points, differences and products stay in the second-level
/// cache.
const BATCH: usize = 256;

/// One in our form: `2^260 mod p`.
const ONE: [u64; 5] = {
    // `2^260 = 84 p + …` for both primes, and the remainder is below `p`.
    let mut limbs = [0; 5];
    let multiple = times(Base::LIMBS, 84);
    let mut borrow = 0;
    let mut limb = 0;
    while limb < 5 {
        let less = (0i64 - multiple[limb] as i64) + borrow;
        limbs[limb] = less as u64 & MASK;
        borrow = less >> 52;
        limb += 1;
    }
    limbs
};

/// The coordinate with these words in our form, below `2 p`.
pub(in crate::cpu) fn coordinate_from_own_form(words: [u64; 4]) -> Fq {
    let mut less = [0; 4];
    let mut borrow = false;
    for ((less, word), of) in less.iter_mut().zip(words).zip(Base::WORDS) {
        let (once, first) = word.overflowing_sub(of);
        let (twice, second) = once.overflowing_sub(u64::from(borrow));
        (*less, borrow) = (twice, first || second);
    }
    let sixteenth = Fq::TWO_INV.square().square();
    coordinate(if borrow { words } else { less }) * sixteenth
}

/// What a batch keeps between finding its inverse and using it.
pub(in crate::cpu) struct Additions {
    _available: Available,
    differences: Vec<Lanes>,
    products: Vec<Lanes>,
    steps: [Step; CHAINS],
    /// Which members are subtracted.
    negative: Vec<[u8; 2]>,
}

/// Eight additions under way.
#[derive(Clone, Copy)]
struct Step {
    inverse: Lanes,
    x_a: Lanes,
    y_a: Lanes,
    both: Lanes,
    /// The chord's rise, then its slope.
    rise: Lanes,
    run: Lanes,
    x: Lanes,
}

/// Additions of a batch.
#[derive(Clone, Copy)]
struct Batch<'a> {
    a: &'a [u32],
    b: &'a [u32],
    to: &'a [u32],
    /// Which of `a` and `b` are subtracted: a bit for each of eight pairs.
    negative: &'a [[u8; 2]],
}

impl<'a> Batch<'a> {
    fn new(pairs: &'a Pairs, negative: &'a [[u8; 2]], range: Range<usize>) -> Self {
        Self {
            a: &pairs.a[range.clone()],
            b: &pairs.b[range.clone()],
            negative: &negative[range.start / 8..range.end / 8],
            to: &pairs.to[range],
        }
    }

    /// Members, places and signs of a vector.
    fn vector(&self, at: usize) -> (&'a [u32], &'a [u32], &'a [u32], [u8; 2]) {
        let range = 8 * at..8 * at + 8;
        let negative = self.negative.get(at).copied().unwrap_or_default();
        (
            &self.a[range.clone()],
            &self.b[range.clone()],
            &self.to[range],
            negative,
        )
    }
}

impl Additions {
    pub(in crate::cpu) fn new(available: Available) -> Self {
        let none = buffer(1)[0];
        let step = Step {
            inverse: none,
            x_a: none,
            y_a: none,
            both: none,
            rise: none,
            run: none,
            x: none,
        };
        Self {
            _available: available,
            differences: buffer(BATCH),
            products: buffer(BATCH),
            steps: [step; CHAINS],
            negative: Vec::new(),
        }
    }

    /// Adds pairs of points by the chord rule, a multiple of [`PAIRS_MULTIPLE`] of them. False if a pair has no chord.
    pub(in crate::cpu) fn add(&mut self, points: &[Point], pairs: &mut Pairs, sums: &mut [Point]) -> bool {
        let len = pairs.to.len();
        assert!(pairs.a.len() == len && pairs.b.len() == len && len.is_multiple_of(PAIRS_MULTIPLE));
        let mut negative = std::mem::take(&mut self.negative);
        negative.resize(len / 8, [0; 2]);
        // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows.
        let [a, b, to] = unsafe {
            [
                take_marks(&mut pairs.a, &mut negative, 0),
                take_marks(&mut pairs.b, &mut negative, 1),
                largest(&pairs.to),
            ]
        };
        assert!(a.max(b) < points.len(), "a member is no point");
        assert!(to < sums.len(), "a sum has no place");
        let batch = |start: usize| Batch::new(pairs, &negative, start..len.min(start + 8 * BATCH));
        let all = (0..len).step_by(8 * BATCH).all(|start| {
            let following = batch(len.min(start + 8 * BATCH));
            // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows, and the members and places are checked above.
            unsafe { self.batch(points.as_ptr(), batch(start), following, sums.as_mut_ptr()) }
        });
        self.negative = negative;
        all
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    unsafe fn batch(
        &mut self,
        points: *const Point,
        batch: Batch,
        following: Batch,
        sums: *mut Point,
    ) -> bool {
        let vectors = batch.a.len() / 8;
        let two_p = broadcast(&times(Base::LIMBS, 2));
        let mut running = [broadcast(&ONE); CHAINS];
        for first in (0..vectors).step_by(CHAINS) {
            for (chain, running) in running.iter_mut().enumerate() {
                let at = first + chain;
                let (a, b, _, _) = batch.vector(at);
                // SAFETY: the caller vouches for the members.
                let (a, b) = unsafe { (load_half::<0>(points, a), load_half::<0>(points, b)) };
                let difference = tidy(&add(&sub(&b, &a), &two_p));
                self.products[at] = *running;
                self.differences[at] = difference;
                *running = tidy(&mul::<Base>(running, &difference));
            }
        }
        let Some(mut inverses) = invert_chains(&running) else {
            return false;
        };
        for first in (0..vectors).step_by(CHAINS).rev() {
            // SAFETY: the caller vouches for the members and places.
            unsafe { self.chords(points, batch, following, first, &mut inverses, sums) };
        }
        true
    }

    /// Adds the pairs of `CHAINS` vectors from the vector `first` on, and takes their differences out of `inverses`.
    ///
    /// A vector's products depend on one another, and there are too many instructions between those of two vectors for the
    /// processor to find the independent ones; so every step is done for all vectors before the next.
    ///
    /// # Safety
    /// `points` has all members and `sums` all places of the batch.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    unsafe fn chords(
        &mut self,
        points: *const Point,
        batch: Batch,
        following: Batch,
        first: usize,
        inverses: &mut [Lanes; CHAINS],
        sums: *mut Point,
    ) {
        let (two_p, six_p) = (
            broadcast(&times(Base::LIMBS, 2)),
            broadcast(&times(Base::LIMBS, 6)),
        );
        for (chain, (step, inverse)) in self.steps.iter_mut().zip(inverses).enumerate() {
            let at = first + chain;
            if 8 * at < following.a.len() {
                let (a, b, _, _) = following.vector(at);
                prefetch(points, a);
                prefetch(points, b);
            }
            let difference = &self.differences[at];
            step.inverse = tidy(&mul::<Base>(inverse, &self.products[at]));
            *inverse = tidy(&mul::<Base>(inverse, difference));
            let (a, b, _, [negative_a, negative_b]) = batch.vector(at);
            // SAFETY: the caller vouches for the members.
            unsafe {
                (step.x_a, step.y_a) = load_point(points, a, negative_a);
                let y_b = negate_where(&load_half::<1>(points, b), negative_b);
                step.rise = tidy(&add(&sub(&y_b, &step.y_a), &two_p));
            }
            // `x_a + x_b + 2 p`, as the difference has `2 p` more than it says.
            step.both = add(&add(&step.x_a, &step.x_a), difference);
        }
        for step in &mut self.steps {
            step.rise = tidy(&mul::<Base>(&step.rise, &step.inverse));
        }
        for step in &mut self.steps {
            let x = sub(&square::<Base>(&step.rise), &step.both);
            step.x = below_2p::<Base>(&tidy(&add(&x, &six_p)));
            step.run = tidy(&add(&sub(&step.x_a, &step.x), &two_p));
        }
        for (chain, step) in self.steps.iter().enumerate() {
            let y = sub(&mul::<Base>(&step.rise, &step.run), &step.y_a);
            let y = below_2p::<Base>(&tidy(&add(&y, &two_p)));
            let (_, _, to, _) = batch.vector(first + chain);
            // SAFETY: the caller vouches for the places.
            unsafe { store_points(sums, to, &step.x, &y) };
        }
    }
}

/// The inverses of every chain's product; none if a lane's is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn invert_chains(chains: &[Lanes; CHAINS]) -> Option<[Lanes; CHAINS]> {
    let product = |a: &Lanes, b: &Lanes| tidy(&mul::<Base>(a, b));
    let [a, b, c, d] = chains;
    let (ab, cd) = (product(a, b), product(c, d));
    let all = invert(&product(&ab, &cd))?;
    let (ab_inverse, cd_inverse) = (product(&all, &cd), product(&all, &ab));
    Some([
        product(&ab_inverse, b),
        product(&ab_inverse, a),
        product(&cd_inverse, d),
        product(&cd_inverse, c),
    ])
}

/// The inverses of eight elements; none if one is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn invert(values: &Lanes) -> Option<Lanes> {
    let registers = pack(&canonical::<Base>(values));
    let mut words = [[0u64; 8]; 4];
    for (words, register) in words.iter_mut().zip(registers) {
        // SAFETY: eight words are as long as a register.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) };
    }
    // Words of `v 2^260` read as halo2curves' form are `16 v`; the inverse is `v' / 16`, and we want `16 v'`.
    let values: [Fq; 8] = std::array::from_fn(|lane| coordinate(words.map(|words| words[lane])));
    let mut products = [Fq::ONE; 8];
    for lane in 1..8 {
        products[lane] = products[lane - 1] * values[lane - 1];
    }
    let mut inverse = Option::<Fq>::from((products[7] * values[7]).invert())? * Fq::from(256);
    for lane in (0..8).rev() {
        let own = coordinate_words(&(inverse * products[lane]));
        inverse *= values[lane];
        for (words, word) in words.iter_mut().zip(own) {
            words[lane] = word;
        }
    }
    // SAFETY: as above.
    Some(unpack(
        &words.map(|words| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }),
    ))
}

/// The largest number; 0 if there is none.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn largest(numbers: &[u32]) -> usize {
    numbers.iter().fold(0, |largest, number| largest.max(*number)) as usize
}

/// Moves the marks of negative members to bits, a byte at place `side` for eight of them. Gives the largest index.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn take_marks(members: &mut [u32], negative: &mut [[u8; 2]], side: usize) -> usize {
    let mut largest = _mm512_setzero_si512();
    for (eight, negative) in members.as_chunks_mut::<8>().0.iter_mut().zip(negative) {
        // SAFETY: eight members are half as long as a register.
        let wide = _mm512_cvtepi32_epi64(unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) });
        negative[side] = _mm512_movepi64_mask(wide);
        let index = _mm512_and_si512(wide, _mm512_set1_epi64(i64::from(!NEGATIVE)));
        largest = _mm512_max_epu64(largest, index);
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(index)) };
    }
    _mm512_reduce_max_epu64(largest) as usize
}

/// Asks for the lines of eight points.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn prefetch(points: *const Point, members: &[u32]) {
    for member in members {
        _mm_prefetch::<_MM_HINT_T1>(points.wrapping_add(*member as usize).cast());
    }
}

/// The `x` (`HALF` 0) or `y` (1) coordinates of eight points.
///
/// # Safety
/// `points` has all eight members.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn load_half<const HALF: usize>(points: *const Point, members: &[u32]) -> Lanes {
    // `interleave` permutes lanes by `LANE_ORDER`, which is its own inverse.
    let half = |lane: usize| {
        let point = points.wrapping_add(members[LANE_ORDER[lane]] as usize);
        // SAFETY: the caller vouches for the member; a point is aligned and has two halves.
        unsafe { _mm256_load_si256(point.cast::<__m256i>().add(HALF)) }
    };
    let pair = |at: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(2 * at)), half(2 * at + 1));
    unpack(&interleave([pair(0), pair(1), pair(2), pair(3)]))
}

/// Eight points, with `y` negated and untidy where a bit of `negative` is set.
///
/// # Safety
/// `points` has all eight members.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn load_point(points: *const Point, members: &[u32], negative: __mmask8) -> (Lanes, Lanes) {
    let line = |lane: usize| {
        let point = points.wrapping_add(members[lane] as usize);
        // SAFETY: the caller vouches for the member; a point is aligned and has eight words.
        unsafe { _mm512_load_si512(point.cast()) }
    };
    let [x0, x1, x2, x3, y0, y1, y2, y3] = transpose(std::array::from_fn(line));
    let y = negate_where(&unpack(&[y0, y1, y2, y3]), negative);
    (unpack(&[x0, x1, x2, x3]), y)
}

/// `p - value`, untidy, where a bit of `negative` is set.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn negate_where(value: &Lanes, negative: __mmask8) -> Lanes {
    let p = broadcast(&Base::LIMBS);
    Lanes(std::array::from_fn(|limb| {
        _mm512_mask_sub_epi64(value.0[limb], negative, p.0[limb], value.0[limb])
    }))
}

/// Stores eight points.
///
/// # Safety
/// `points` has all eight places.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn store_points(points: *mut Point, places: &[u32], x: &Lanes, y: &Lanes) {
    let ([x0, x1, x2, x3], [y0, y1, y2, y3]) = (pack(x), pack(y));
    let lines = transpose([x0, x1, x2, x3, y0, y1, y2, y3]);
    for (line, place) in lines.into_iter().zip(places) {
        // SAFETY: the caller vouches for the place; a point is aligned and has eight words.
        unsafe { _mm512_store_si512(points.wrapping_add(*place as usize).cast(), line) };
    }
}

/// Doubles points `times` times; coordinates are below `p` before and after.
pub(in crate::cpu) fn double(_: Available, points: &[Point], times: u32, doubled: &mut [Point]) {
    assert_eq!(points.len(), doubled.len());
    let mut padded = points.to_vec();
    padded.resize(points.len().next_multiple_of(8), Point::NONE);
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows.
    unsafe { double_padded(&mut padded, times) };
    doubled.copy_from_slice(&padded[..points.len()]);
}

/// A point as `(x / z², y / z³)`.
#[derive(Clone, Copy)]
struct Jacobian {
    x: Lanes,
    y: Lanes,
    z: Lanes,
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn double_padded(points: &mut [Point], times: u32) {
    const ORDER: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    let product = |a: &Lanes, b: &Lanes| tidy(&mul::<Base>(a, b));
    let one = broadcast(&ONE);
    let mut running = one;
    let mut doubled: Vec<(Jacobian, Lanes, __mmask8)> = Vec::with_capacity(points.len() / 8);
    for eight in points.chunks_exact(8) {
        // SAFETY: the members are the chunk's eight points.
        let (x, y) = unsafe { load_point(eight.as_ptr(), &ORDER, 0) };
        let any =
            y.0.iter()
                .fold(_mm512_setzero_si512(), |any, limb| _mm512_or_si512(any, *limb));
        // No point of the curve has a `y` of zero, as the group's order is odd.
        let identity = _mm512_testn_epi64_mask(any, any);
        let mut point = Jacobian { x, y, z: one };
        for _ in 0..times {
            point = double_once(&point);
        }
        let z = point.z.0.iter().zip(one.0);
        let mut limbs = point.z.0;
        for (limb, (own, one)) in limbs.iter_mut().zip(z) {
            *limb = _mm512_mask_mov_epi64(*own, identity, one);
        }
        point.z = Lanes(limbs);
        doubled.push((point, running, identity));
        running = product(&running, &point.z);
    }
    let Some(mut inverse) = invert(&running) else {
        unreachable!("a point of odd order does not double to the identity");
    };
    for (eight, (point, before, identity)) in points.chunks_exact_mut(8).zip(doubled).rev() {
        let own = product(&inverse, &before);
        inverse = product(&inverse, &point.z);
        let own_squared = product(&own, &own);
        let x = product(&point.x, &own_squared);
        let y = product(&point.y, &product(&own, &own_squared));
        let clear = |value: &Lanes| {
            let value = canonical::<Base>(value);
            Lanes(
                value
                    .0
                    .map(|limb| _mm512_mask_mov_epi64(limb, identity, _mm512_setzero_si512())),
            )
        };
        // SAFETY: the places are the chunk's eight points.
        unsafe { store_points(eight.as_mut_ptr(), &ORDER, &clear(&x), &clear(&y)) };
    }
}

/// `2 point` ("dbl-2009-l" of the Explicit-Formulas Database, with `D = 4 X B`): `x` and `y` below `2 p` and `z` below `5 p`,
/// before and after; all tidy.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn double_once(point: &Jacobian) -> Jacobian {
    let multiple = |factor: u64| broadcast(&times(Base::LIMBS, factor));
    let twice = |value: &Lanes| add(value, value);
    let a = square::<Base>(&point.x);
    let b = tidy(&square::<Base>(&point.y));
    let c = square::<Base>(&b);
    let d = twice(&twice(&mul::<Base>(&point.x, &b)));
    let e = tidy(&add(&twice(&a), &a));
    let x = add(&sub(&square::<Base>(&e), &twice(&d)), &multiple(20));
    let x = below_2p::<Base>(&tidy(&x));
    let run = tidy(&add(&sub(&d, &x), &multiple(2)));
    let y = sub(&mul::<Base>(&e, &run), &twice(&twice(&twice(&c))));
    let y = below_2p::<Base>(&tidy(&add(&y, &multiple(20))));
    let z = tidy(&twice(&mul::<Base>(&point.y, &point.z)));
    Jacobian { x, y, z }
}

/// Writes the digits of scalars, whose number is a multiple of eight: those of window `w` from `w · stride` on.
pub(in crate::cpu) fn recode(
    _: Available,
    windows: &Windows,
    scalars: &[Fr],
    stride: usize,
    digits: &mut [i32],
) {
    assert!(scalars.len().is_multiple_of(8) && scalars.len() <= stride);
    assert!(digits.len() >= windows.all.len() * stride);
    for (at, eight) in scalars.chunks_exact(8).enumerate() {
        // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows; each window has room for `stride` digits, and eight scalars are 32 words.
        unsafe {
            recode_eight(
                windows,
                eight.as_ptr().cast(),
                stride,
                digits[8 * at..].as_mut_ptr(),
            )
        };
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn recode_eight(windows: &Windows, scalars: *const u64, stride: usize, digits: *mut i32) {
    const HALF: [u64; 5] = half(Scalar::LIMBS);
    let order = _mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7);
    // SAFETY: the caller vouches for 32 words.
    let words = unsafe { load(scalars) }.map(|word| _mm512_permutexvar_epi64(order, word));
    // `v 2^256 · 16 / 2^260 = v`.
    let sixteen = broadcast(&[16, 0, 0, 0, 0]);
    let plain = canonical::<Scalar>(&tidy(&mul::<Scalar>(&unpack(&words), &sixteen)));
    let opposite = tidy(&sub(&broadcast(&Scalar::LIMBS), &plain));
    let negative = _mm512_movepi64_mask(tidy(&sub(&broadcast(&HALF), &plain)).0[4]);
    let magnitude = Lanes(std::array::from_fn(|limb| {
        _mm512_mask_mov_epi64(plain.0[limb], negative, opposite.0[limb])
    }));
    let biased = tidy(&add(&magnitude, &broadcast(&split(windows.bias)))).0;
    let zero = _mm512_setzero_si512();
    for (number, window) in windows.all.iter().enumerate() {
        let (limb, shift) = (window.position as usize / 52, u64::from(window.position % 52));
        let count = |shift: u64| _mm_cvtsi64_si128(shift as i64);
        let low = _mm512_srl_epi64(biased[limb], count(shift));
        let high = if limb < 4 { biased[limb + 1] } else { zero };
        let bits = _mm512_or_si512(low, _mm512_sll_epi64(high, count(52 - shift)));
        let digit = _mm512_and_si512(bits, _mm512_set1_epi64((1 << window.width) - 1));
        let digit = _mm512_sub_epi64(digit, _mm512_set1_epi64(1 << (window.width - 1)));
        let digit = _mm512_mask_sub_epi64(digit, negative, zero, digit);
        // SAFETY: the caller vouches for eight digits of each window.
        unsafe { _mm256_storeu_si256(digits.add(number * stride).cast(), _mm512_cvtepi64_epi32(digit)) };
    }
}

/// `⌊n / 2⌋`.
const fn half(n: [u64; 5]) -> [u64; 5] {
    let mut result = [0; 5];
    let mut limb = 0;
    while limb < 5 {
        let above = if limb == 4 { 0 } else { n[limb + 1] & 1 };
        result[limb] = (n[limb] >> 1) | (above << 51);
        limb += 1;
    }
    result
}
