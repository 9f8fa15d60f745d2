//! Arithmetic modulo q, the base field's modulus, with limbs below `2^51` and two checks (P-8.8, P-8.9, P-10.9).
//!
//! An element is five limbs, `x = Σ x_i 2^{51 i}`; it need not be reduced. A product is taken as `Σ_s D_s B_s`, with
//! `D_s = Σ_{i+j=s} x_i y_j` and `B_s = 2^{51 s} mod q`: an integer of only about 361 bits that is congruent to it. So an
//! identity `V ≡ 0 (mod q)` between products and elements is `V = k q` with a short quotient `k`, and is checked as
//!
//! 1. `V - k q = 0` modulo r, the circuit's own modulus, and
//! 2. `V' - k (q mod m) = l m` for `m = 2^128` and a short quotient `l`, where `V'` is `V` with every constant reduced modulo
//!    m. It is checked modulo r, and both sides together are below r, so it holds as integers: `V - k q` is 0 modulo m.
//!
//! Since `|V - k q| < r m` and r is odd, `V = k q`. A limb costs three digits of 17 bits, a quotient seven; quotients are
//! signed, so what is range-checked is `k + 2^118` and `l + 2^118`. [`Bound::require_identity`] asserts all of this for every
//! identity that is laid out.

use std::sync::OnceLock;

use halo2curves::{
    bn256::{Fq, Fr},
    ff::PrimeField,
};
use num_bigint::{BigInt, BigUint, Sign};

use rules::field;

/// Limbs of an element.
pub(super) const LIMBS: usize = 5;
/// Bits of a limb.
pub(super) const LIMB_BITS: usize = 51;
/// Bits of a digit: the range table's.
pub(super) const DIGIT_BITS: usize = 17;
/// Digits of a limb.
pub(super) const LIMB_DIGITS: usize = 3;
/// Digits of a quotient.
pub(super) const QUOTIENT_DIGITS: usize = 7;
/// Sums of products of limbs.
pub(super) const PRODUCTS: usize = 2 * LIMBS - 1;
/// Bits of m.
const M_BITS: usize = 128;
/// A quotient's offset: half its range.
const OFFSET_BITS: usize = QUOTIENT_DIGITS * DIGIT_BITS - 1;

/// The constants as integers, and modulo r.
struct Constants {
    q: [BigUint; 2],
    powers: [Vec<BigUint>; 2],
    products: Bound,
    scalars: [Vec<Fr>; 2],
}

fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let q = base_modulus();
        let m = BigUint::from(1u8) << M_BITS;
        let powers: Vec<BigUint> = (0..PRODUCTS)
            .map(|s| (BigUint::from(1u8) << (LIMB_BITS * s)) % &q)
            .collect();
        let reduced: Vec<BigUint> = powers.iter().map(|power| power % &m).collect();
        let limb = (BigUint::from(1u8) << LIMB_BITS) - 1u8;
        let products = |powers: &[BigUint]| -> BigUint {
            let counted = powers.iter().enumerate();
            counted
                .map(|(s, power)| power * &limb * &limb * (LIMBS - s.abs_diff(LIMBS - 1)))
                .sum()
        };
        let scalars = [&powers, &reduced].map(|powers| powers.iter().map(field::reduce).collect());
        Constants {
            q: [q.clone(), q % m],
            products: Bound([products(&powers), products(&reduced)]),
            powers: [powers, reduced],
            scalars,
        }
    })
}

/// `q`.
pub(super) fn base_modulus() -> BigUint {
    BigUint::from_bytes_le(&(-Fq::one()).to_repr()) + 1u8
}

/// `B_s` modulo r (side 0), or `B_s mod m` (side 1).
pub(super) fn powers(side: usize) -> Vec<Fr> {
    constants().scalars[side].clone()
}

/// `q` modulo r (side 0), or `q mod m` (side 1).
pub(super) fn q(side: usize) -> Fr {
    field::reduce(&constants().q[side])
}

/// `m`.
pub(super) fn m() -> Fr {
    field::reduce(&(BigUint::from(1u8) << M_BITS))
}

/// What is added to a quotient before its range is checked.
pub(super) fn quotient_offset() -> Fr {
    field::reduce(&(BigUint::from(1u8) << OFFSET_BITS))
}

/// An upper bound of `|V|` and of `|V'|`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound(pub [BigUint; 2]);

impl Bound {
    /// Of a product of an element and a difference of elements.
    pub fn product() -> Self {
        constants().products.clone()
    }

    /// Of an element.
    pub fn element() -> Self {
        let limb = (BigUint::from(1u8) << LIMB_BITS) - 1u8;
        let of = |powers: &[BigUint]| powers[..LIMBS].iter().map(|power| power * &limb).sum();
        Self([0, 1].map(|side| of(&constants().powers[side])))
    }

    /// Of a constant integer.
    pub fn constant(value: u64) -> Self {
        Self([value.into(), value.into()])
    }

    /// Of a sum or a difference.
    pub fn plus(&self, other: &Self) -> Self {
        Self([0, 1].map(|side| &self.0[side] + &other.0[side]))
    }

    /// Whichever is larger.
    pub fn max(&self, other: &Self) -> Self {
        Self([0, 1].map(|side| self.0[side].clone().max(other.0[side].clone())))
    }

    /// Whether a sum of two such values and a product makes an identity that can be checked with room to spare.
    pub fn is_small(&self) -> bool {
        let [q, m] = [constants().q[0].clone(), BigUint::from(1u8) << M_BITS];
        self.0[0] < q << (OFFSET_BITS - 2) && self.0[1] < m << (OFFSET_BITS - 2)
    }

    /// Asserts that an identity `V ≡ 0 (mod q)` with these bounds is enforced by its two checks, and that its quotients
    /// have room.
    pub fn require_identity(&self) {
        let Constants { q: [q, q_m], .. } = constants();
        let [v, v_m] = &self.0;
        let one = BigUint::from(1u8);
        let (m, offset, r) = (&one << M_BITS, &one << OFFSET_BITS, field::modulus());
        // Sound: whatever quotients a prover takes from their range.
        assert!(v + &offset * q < &r * &m, "V - k q wraps modulo r m");
        assert!(
            v_m + &offset * q_m + &offset * &m < r,
            "the check modulo m wraps modulo r"
        );
        // Complete: the quotients of an honest prover.
        let k = v / q + &one;
        assert!(k < offset, "the quotient by q has no room");
        assert!(
            (v_m + &k * q_m) / &m + &one < offset,
            "the quotient by m has no room"
        );
    }
}

/// An integer `V` and its image `V'`, both exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exact(pub [BigInt; 2]);

impl Exact {
    pub fn constant(value: u64) -> Self {
        Self([value.into(), value.into()])
    }

    /// `Σ_s D_s B_s` of a product.
    pub fn product(left: &[i64; LIMBS], right: &[i64; LIMBS]) -> Self {
        let mut sums = [0i128; PRODUCTS];
        for (i, left) in left.iter().enumerate() {
            for (j, right) in right.iter().enumerate() {
                sums[i + j] += i128::from(*left) * i128::from(*right);
            }
        }
        let of = |powers: &[BigUint]| {
            let terms = powers.iter().zip(sums);
            terms.map(|(power, sum)| BigInt::from(power.clone()) * sum).sum()
        };
        Self([0, 1].map(|side| of(&constants().powers[side])))
    }

    /// `Σ_i x_i B_i` of an element.
    pub fn element(limbs: &[i64; LIMBS]) -> Self {
        Self::product(limbs, &[1, 0, 0, 0, 0])
    }

    pub fn plus(&self, other: &Self) -> Self {
        Self([0, 1].map(|side| &self.0[side] + &other.0[side]))
    }

    pub fn minus(&self, other: &Self) -> Self {
        Self([0, 1].map(|side| &self.0[side] - &other.0[side]))
    }

    /// The quotients of an identity, offset added. What is not divisible gives quotients that no check accepts.
    pub fn quotients(&self) -> [Fr; 2] {
        let Constants { q: [q, q_m], .. } = constants();
        let k: BigInt = &self.0[0] / BigInt::from(q.clone());
        let l: BigInt = (&self.0[1] - &k * BigInt::from(q_m.clone())) >> M_BITS;
        [k, l].map(|quotient| to_scalar(&(quotient + (BigInt::from(1u8) << OFFSET_BITS))))
    }

    /// The pair of cells: modulo r.
    pub fn scalars(&self) -> [Fr; 2] {
        [0, 1].map(|side| to_scalar(&self.0[side]))
    }

    /// The element that it is congruent to.
    pub fn to_base(&self) -> Fq {
        let q = BigInt::from(base_modulus());
        let value = ((&self.0[0] % &q) + &q) % &q;
        base_from_integer(&value.to_biguint().expect("a remainder that was made positive"))
    }
}

/// `value` modulo r.
fn to_scalar(value: &BigInt) -> Fr {
    let magnitude = field::reduce(value.magnitude());
    match value.sign() {
        Sign::Minus => -magnitude,
        _ => magnitude,
    }
}

/// An element from its canonical integer.
pub(super) fn base_from_integer(value: &BigUint) -> Fq {
    let mut bytes = [0; 32];
    let little = value.to_bytes_le();
    bytes[..little.len()].copy_from_slice(&little);
    Option::from(Fq::from_repr(bytes)).expect("an integer below q")
}

/// The limbs of an element's canonical integer.
pub(super) fn limbs(value: &Fq) -> [i64; LIMBS] {
    let integer = BigUint::from_bytes_le(&value.to_repr());
    let mask = (BigUint::from(1u8) << LIMB_BITS) - 1u8;
    std::array::from_fn(|i| {
        let limb: BigUint = (&integer >> (LIMB_BITS * i)) & &mask;
        i64::try_from(limb).expect("a limb has 51 bits")
    })
}
