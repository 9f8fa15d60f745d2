//! Eight elements of a 254-bit prime field side by side, each in five limbs of 52 bits.
//!
//! A [`Lanes`] holds limb `i` of eight elements in its `i`-th register. Limbs are signed 64-bit numbers; an element is
//! `Σ limb_i · 2^(52 i)`, and it is *tidy* when its limbs are below `2^52`. Values are reduced lazily: comments give their
//! bounds as multiples of the modulus `p`, and a tidy element may be as large as `84 p < 2^260`.
//!
//! Montgomery's radix is `2^260` here and `2^256` in halo2curves. A product of one factor in each form has halo2curves'
//! form, so constants and twiddles are kept in ours; products of two variables are multiplied by 16.

use super::super::memory::words;
use halo2curves::bn256::Fr;
use std::arch::x86_64::*;

/// The low 52 bits.
pub(in crate::cpu) const MASK: u64 = (1 << 52) - 1;

/// A 254-bit prime.
pub(in crate::cpu) trait Modulus {
    /// The prime in 64-bit limbs, least significant first.
    const WORDS: [u64; 4];

    /// The prime in 52-bit limbs.
    const LIMBS: [u64; 5] = split(Self::WORDS);
    /// `-1 / p mod 2^52`.
    const NEGATIVE_INVERSE: u64 = negative_inverse(Self::WORDS[0]) & MASK;
    /// `(k p + 1) / 2^52` for `k` = [`Self::NEGATIVE_INVERSE`]; it is below `p`.
    const STEP: [u64; 5] = step(Self::LIMBS, Self::NEGATIVE_INVERSE);
    /// `⌊2^260 / (p + 2^208)⌋`, with which a top limb gives a quotient.
    const QUOTIENT: u64 = (1 << 52) / (Self::LIMBS[4] + 1);
}

/// The scalar field of BN254.
pub(in crate::cpu) struct Scalar;

/// The base field of BN254.
pub(in crate::cpu) struct Base;

impl Modulus for Scalar {
    const WORDS: [u64; 4] = [
        0x43e1_f593_f000_0001,
        0x2833_e848_79b9_7091,
        0xb850_45b6_8181_585d,
        0x3064_4e72_e131_a029,
    ];
}

impl Modulus for Base {
    const WORDS: [u64; 4] = [
        0x3c20_8c16_d87c_fd47,
        0x9781_6a91_6871_ca8d,
        0xb850_45b6_8181_585d,
        0x3064_4e72_e131_a029,
    ];
}

/// A number below `2^256` in 52-bit limbs.
pub(in crate::cpu) const fn split(words: [u64; 4]) -> [u64; 5] {
    [
        words[0] & MASK,
        ((words[0] >> 52) | (words[1] << 12)) & MASK,
        ((words[1] >> 40) | (words[2] << 24)) & MASK,
        ((words[2] >> 28) | (words[3] << 36)) & MASK,
        words[3] >> 16,
    ]
}

/// `-1 / n mod 2^64` by Newton's iteration.
const fn negative_inverse(n: u64) -> u64 {
    let mut inverse = 1u64;
    let mut round = 0;
    while round < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(inverse)));
        round += 1;
    }
    inverse.wrapping_neg()
}

/// `(k p + 1) / 2^52`, where the division leaves no remainder.
const fn step(p: [u64; 5], k: u64) -> [u64; 5] {
    let mut carry = (p[0] as u128 * k as u128 + 1) >> 52;
    let mut result = [0; 5];
    let mut limb = 1;
    while limb < 5 {
        carry += p[limb] as u128 * k as u128;
        result[limb - 1] = carry as u64 & MASK;
        carry >>= 52;
        limb += 1;
    }
    result[4] = carry as u64;
    result
}

/// Multiplies limbs by a small factor, keeping them tidy.
pub(in crate::cpu) const fn times(limbs: [u64; 5], factor: u64) -> [u64; 5] {
    let mut result = [0; 5];
    let mut carry = 0u128;
    let mut limb = 0;
    while limb < 5 {
        carry += limbs[limb] as u128 * factor as u128;
        result[limb] = if limb == 4 {
            carry as u64
        } else {
            carry as u64 & MASK
        };
        carry >>= 52;
        limb += 1;
    }
    result
}

/// A scalar in the form of radix `2^260`, in words.
pub(in crate::cpu) fn own_form(scalar: &Fr) -> [u64; 4] {
    words(&scalar.double().double().double().double())
}

/// Eight elements.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Lanes(pub [__m512i; 5]);

/// `len` times eight zeros.
pub(in crate::cpu) fn buffer(len: usize) -> Vec<Lanes> {
    // SAFETY: all-zero bits are a value of every register type.
    vec![Lanes([unsafe { std::mem::zeroed() }; 5]); len]
}

/// The same element in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn broadcast(limbs: &[u64; 5]) -> Lanes {
    Lanes(limbs.map(|limb| _mm512_set1_epi64(limb as i64)))
}

/// `a + b`, untidy.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn add(a: &Lanes, b: &Lanes) -> Lanes {
    Lanes(std::array::from_fn(|i| _mm512_add_epi64(a.0[i], b.0[i])))
}

/// `a - b`, untidy and negative where `b` is larger.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn sub(a: &Lanes, b: &Lanes) -> Lanes {
    Lanes(std::array::from_fn(|i| _mm512_sub_epi64(a.0[i], b.0[i])))
}

/// Carries between limbs. A value from 0 to `2^260 - 1` becomes tidy; a negative one has a negative top limb.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn tidy(a: &Lanes) -> Lanes {
    let mask = _mm512_set1_epi64(MASK as i64);
    let mut limbs = a.0;
    for i in 0..4 {
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], _mm512_srai_epi64::<52>(limbs[i]));
        limbs[i] = _mm512_and_si512(limbs[i], mask);
    }
    Lanes(limbs)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn low(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_madd52lo_epu64(sum, a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
fn high(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_madd52hi_epu64(sum, a, b)
}

/// Ten columns of zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn no_columns() -> [__m512i; 10] {
    [_mm512_setzero_si512(); 10]
}

/// Adds `a · b` to ten columns, for tidy factors: at most nine times `2^52` to each.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn multiply_add(columns: &mut [__m512i; 10], a: &Lanes, b: &Lanes) {
    for i in 0..5 {
        for j in 0..5 {
            columns[i + j] = low(columns[i + j], a.0[i], b.0[j]);
            columns[i + j + 1] = high(columns[i + j + 1], a.0[i], b.0[j]);
        }
    }
}

/// The ten columns of `a · b` for tidy factors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn columns(a: &Lanes, b: &Lanes) -> [__m512i; 10] {
    let mut columns = no_columns();
    multiply_add(&mut columns, a, b);
    columns
}

/// `T / 2^260` modulo `p` for a `T` in ten columns: below `T / 2^260 + 2 p`, untidy.
///
/// Four rounds clear a limb `t` by adding `t (k p)`, where `k p = 2^52 STEP - 1`: no multiplication finds `t`, and none
/// clears the limb. These rounds add less than `2^208 k p < 2^260 p`. The fifth clears its limb with `p` itself, as one
/// more round of the other kind would add up to `2^52 p`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn montgomery<M: Modulus>(mut t: [__m512i; 10]) -> Lanes {
    let step = broadcast(&M::STEP).0;
    for i in 0..4 {
        t[i + 1] = _mm512_add_epi64(t[i + 1], _mm512_srli_epi64::<52>(t[i]));
        for j in 0..5 {
            t[i + j + 1] = low(t[i + j + 1], t[i], step[j]);
            t[i + j + 2] = high(t[i + j + 2], t[i], step[j]);
        }
    }
    let p = broadcast(&M::LIMBS).0;
    let factor = _mm512_set1_epi64(M::NEGATIVE_INVERSE as i64);
    let m = low(_mm512_setzero_si512(), t[4], factor);
    for j in 0..5 {
        t[j + 4] = low(t[j + 4], m, p[j]);
        t[j + 5] = high(t[j + 5], m, p[j]);
    }
    t[5] = _mm512_add_epi64(t[5], _mm512_srli_epi64::<52>(t[4]));
    Lanes([t[5], t[6], t[7], t[8], t[9]])
}

/// `a b / 2^260` for tidy `a < A p` and `b < B p`: below `(A B / 84 + 2) p`, untidy with limbs below `2^58`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn mul<M: Modulus>(a: &Lanes, b: &Lanes) -> Lanes {
    montgomery::<M>(columns(a, b))
}

/// The ten columns of `a²` for a tidy `a`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn square_columns(a: &Lanes) -> [__m512i; 10] {
    let mut columns = [_mm512_setzero_si512(); 10];
    for i in 0..5 {
        for j in i + 1..5 {
            columns[i + j] = low(columns[i + j], a.0[i], a.0[j]);
            columns[i + j + 1] = high(columns[i + j + 1], a.0[i], a.0[j]);
        }
    }
    let mut columns = columns.map(|column| _mm512_add_epi64(column, column));
    for i in 0..5 {
        columns[2 * i] = low(columns[2 * i], a.0[i], a.0[i]);
        columns[2 * i + 1] = high(columns[2 * i + 1], a.0[i], a.0[i]);
    }
    columns
}

/// `a² / 2^260`, as [`mul`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn square<M: Modulus>(a: &Lanes) -> Lanes {
    montgomery::<M>(square_columns(a))
}

/// The same element below `2 p`, tidy, for a tidy one.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn below_2p<M: Modulus>(a: &Lanes) -> Lanes {
    let zero = _mm512_setzero_si512();
    let quotient = high(zero, a.0[4], _mm512_set1_epi64(M::QUOTIENT as i64));
    // `q p` in columns; the quotient has 7 bits, so that the columns have at most 60.
    let p = broadcast(&M::LIMBS).0;
    let mut limbs = a.0;
    let mut product = p.map(|limb| low(zero, quotient, limb));
    for i in 0..4 {
        product[i + 1] = high(product[i + 1], quotient, p[i]);
    }
    for i in 0..5 {
        limbs[i] = _mm512_sub_epi64(limbs[i], product[i]);
    }
    tidy(&Lanes(limbs))
}

/// `a - c p` where that is not negative, else `a`; tidy for a tidy `a`. `multiple` is `c p`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn subtract_once(a: &Lanes, multiple: &[u64; 5]) -> Lanes {
    let less = tidy(&sub(a, &broadcast(multiple)));
    let negative = _mm512_movepi64_mask(less.0[4]);
    Lanes(std::array::from_fn(|i| {
        _mm512_mask_mov_epi64(less.0[i], negative, a.0[i])
    }))
}

/// The canonical form of a tidy element.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn canonical<M: Modulus>(a: &Lanes) -> Lanes {
    subtract_once(&below_2p::<M>(a), &M::LIMBS)
}

/// Eight elements in four words each: word `i` of all of them in the `i`-th register.
pub(in crate::cpu) type Words = [__m512i; 4];

/// Splits 64-bit words into limbs; tidy.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn unpack(w: &Words) -> Lanes {
    let mask = _mm512_set1_epi64(MASK as i64);
    Lanes([
        _mm512_and_si512(w[0], mask),
        _mm512_and_si512(_mm512_shrdi_epi64::<52>(w[0], w[1]), mask),
        _mm512_and_si512(_mm512_shrdi_epi64::<40>(w[1], w[2]), mask),
        _mm512_and_si512(_mm512_shrdi_epi64::<28>(w[2], w[3]), mask),
        _mm512_srli_epi64::<16>(w[3]),
    ])
}

/// Joins tidy limbs of elements below `2^256` into words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn pack(a: &Lanes) -> Words {
    let l = &a.0;
    [
        _mm512_or_si512(l[0], _mm512_slli_epi64::<52>(l[1])),
        _mm512_or_si512(_mm512_srli_epi64::<12>(l[1]), _mm512_slli_epi64::<40>(l[2])),
        _mm512_or_si512(_mm512_srli_epi64::<24>(l[2]), _mm512_slli_epi64::<28>(l[3])),
        _mm512_or_si512(_mm512_srli_epi64::<36>(l[3]), _mm512_slli_epi64::<16>(l[4])),
    ]
}

/// Asks for eight consecutive elements, which will be loaded soon; the address may be any. Processors foresee few streams, and
/// none but ascending or descending ones.
#[inline]
pub(in crate::cpu) fn prefetch(from: *const u64) {
    for line in 0..4 {
        // SAFETY: every x86-64 has SSE, and a prefetch reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(8 * line).cast()) };
    }
}

/// Loads eight consecutive elements. Lane `i` holds element `LANE_ORDER[i]`; [`store`] puts them back.
///
/// # Safety
/// `from` points to 32 readable words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) unsafe fn load(from: *const u64) -> Words {
    // SAFETY: the caller vouches for 32 words, and loads need no alignment.
    let pair = |at: usize| unsafe { _mm512_loadu_si512(from.add(8 * at).cast()) };
    interleave([pair(0), pair(1), pair(2), pair(3)])
}

/// The order in which [`load`] and [`interleave`] put elements into lanes.
pub(in crate::cpu) const LANE_ORDER: [usize; 8] = [0, 2, 1, 3, 4, 6, 5, 7];

/// Words of eight elements from four registers of two elements each, in [`LANE_ORDER`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn interleave(pairs: [__m512i; 4]) -> Words {
    let [a, b, c, d] = pairs;
    let (low_ab, high_ab) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let (low_cd, high_cd) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(high_ab, high_cd),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(high_ab, high_cd),
    ]
}

/// The inverse of [`interleave`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) fn deinterleave(w: &Words) -> [__m512i; 4] {
    let (low01, high01) = (
        _mm512_unpacklo_epi64(w[0], w[1]),
        _mm512_unpackhi_epi64(w[0], w[1]),
    );
    let (low23, high23) = (
        _mm512_unpacklo_epi64(w[2], w[3]),
        _mm512_unpackhi_epi64(w[2], w[3]),
    );
    let first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    [
        _mm512_permutex2var_epi64(low01, first, low23),
        _mm512_permutex2var_epi64(high01, first, high23),
        _mm512_permutex2var_epi64(low01, second, low23),
        _mm512_permutex2var_epi64(high01, second, high23),
    ]
}

/// Stores eight consecutive elements from lanes in [`LANE_ORDER`].
///
/// # Safety
/// `to` points to 32 writable words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
pub(in crate::cpu) unsafe fn store(to: *mut u64, w: &Words) {
    for (at, pair) in deinterleave(w).into_iter().enumerate() {
        // SAFETY: the caller vouches for 32 words, and stores need no alignment.
        unsafe { _mm512_storeu_si512(to.add(8 * at).cast(), pair) };
    }
}
