//! `s·B - h·A` of the base point and another one, as a signature's verification needs it: [`Point::mul`] says what it is, and
//! tests hold it to that. Variable time.
//!
//! It is computed on the curve `-x² + y² = 1 + d' x² y²` with `d' = -d / a`, onto which `(x, y) ↦ (√-a · x, y)` is an isomorphism: `a`
//! and -1 are squares, so that `-a` is one, and `d'` is none since `d` is none. There an addition takes eight multiplications, and
//! the formulas hold for every pair of points (Hisil, Wong, Carter and Dawson, eprint 2008/522, sections 3.1 and 3.3).

use super::{A, BASE8, D, Point};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use num_bigint::BigUint;
use std::sync::OnceLock;

/// Width of the digits of `s`, whose odd multiples of `B` are there beforehand.
const BASE_WIDTH: u32 = 8;
/// Width of the digits of `h`.
const POINT_WIDTH: u32 = 5;
/// Digits of a scalar of 254 bits, and the carry's.
const DIGITS: usize = 255;

/// A point in projective coordinates of the second curve.
#[derive(Clone, Copy)]
pub(crate) struct Projective {
    x: Fr,
    y: Fr,
    z: Fr,
}

/// A point of the second curve in extended coordinates, `t = x y / z`.
#[derive(Clone, Copy)]
struct Extended {
    x: Fr,
    y: Fr,
    z: Fr,
    t: Fr,
}

/// What an addition or a doubling leaves: the point `(e / g, h / f)`.
#[derive(Clone, Copy)]
struct Done {
    e: Fr,
    f: Fr,
    g: Fr,
    h: Fr,
}

/// A point as the second member of an addition.
#[derive(Clone, Copy)]
struct Addend {
    less: Fr,
    more: Fr,
    double_z: Fr,
    scaled_t: Fr,
}

struct Constants {
    /// `√-a`.
    scale: Fr,
    /// `2 d'`.
    double_d: Fr,
    /// `B`, `3 B`, `5 B`, …
    base: Vec<Addend>,
}

fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let a = Fr::from(A);
        let scale = Option::<Fr>::from((-a).sqrt()).expect("a and -1 are squares");
        let inverse = Option::<Fr>::from(a.invert()).expect("a is not 0");
        let double_d = -(Fr::from(D) * inverse).double();
        // Points that are there for good have z = 1.
        let base = Extended::new(&BASE8, &scale).odd_multiples(BASE_WIDTH, &double_d);
        let base = base.into_iter().map(|point| point.normalized().addend(&double_d));
        Constants {
            scale,
            double_d,
            base: base.collect(),
        }
    })
}

/// Eight times a point of the curve.
pub(crate) fn eightfold(point: &Point) -> Projective {
    let point = Projective::new(point, &constants().scale);
    point
        .double()
        .projective()
        .double()
        .projective()
        .double()
        .projective()
}

/// `s·B - h·(8A)`, where `cleared` is `8A`, for scalars below `2^254`.
pub(crate) fn difference(s: &BigUint, h: &BigUint, cleared: &Projective) -> Projective {
    let constants = constants();
    let multiples: Vec<Addend> = cleared
        .extended()
        .odd_multiples(POINT_WIDTH, &constants.double_d)
        .iter()
        .map(|point| point.addend(&constants.double_d))
        .collect();
    let (s, h) = (digits(s, BASE_WIDTH), digits(h, POINT_WIDTH));
    let mut sum = Projective::IDENTITY;
    let zeros = s.iter().zip(&h).rev().take_while(|digits| *digits == (&0, &0));
    for place in (0..DIGITS - zeros.count()).rev() {
        let mut done = sum.double();
        if s[place] != 0 {
            done = done.extended().add(&digit(&constants.base, s[place]));
        }
        if h[place] != 0 {
            done = done.extended().add(&digit(&multiples, -h[place]));
        }
        sum = done.projective();
    }
    sum
}

/// An odd digit's multiple.
fn digit(odd_multiples: &[Addend], digit: i8) -> Addend {
    let multiple = odd_multiples[usize::from(digit.unsigned_abs() / 2)];
    if digit < 0 { multiple.negated() } else { multiple }
}

/// A scalar as a sum of odd digits times powers of two, least first: digits are below `2^(width - 1)` in size, and of `width` in
/// a row one at most is not 0.
fn digits(scalar: &BigUint, width: u32) -> [i8; DIGITS] {
    let mut words = [0u64; 5];
    for (word, found) in words.iter_mut().zip(scalar.iter_u64_digits()) {
        *word = found;
    }
    let (window, mask) = (u64::from(width), (1u64 << width) - 1);
    let mut digits = [0; DIGITS];
    let (mut place, mut carry) = (0, 0);
    while place < DIGITS {
        let (word, bit) = (place / 64, place % 64);
        let mut bits = words[word] >> bit;
        if bit as u64 + window > 64 {
            bits |= words[word + 1] << (64 - bit);
        }
        let value = carry + (bits & mask);
        if value & 1 == 0 {
            place += 1;
            continue;
        }
        carry = u64::from(value > mask / 2);
        digits[place] = (value as i64 - ((carry << width) as i64)) as i8;
        place += width as usize;
    }
    digits
}

impl Projective {
    const IDENTITY: Self = Self {
        x: Fr::zero(),
        y: Fr::one(),
        z: Fr::one(),
    };

    fn new(point: &Point, scale: &Fr) -> Self {
        Self {
            x: point.x * scale,
            y: point.y,
            z: Fr::one(),
        }
    }

    /// Whether it is a point of the first curve.
    pub(crate) fn equals(&self, point: &Point) -> bool {
        self.x == point.x * constants().scale * self.z && self.y == point.y * self.z
    }

    fn double(&self) -> Done {
        let (xx, yy) = (self.x.square(), self.y.square());
        let sum = xx + yy;
        let g = yy - xx;
        Done {
            e: (self.x + self.y).square() - sum,
            f: g - self.z.square().double(),
            g,
            h: -sum,
        }
    }

    fn extended(&self) -> Extended {
        // (x z : y z : z² : x y)
        Extended {
            x: self.x * self.z,
            y: self.y * self.z,
            z: self.z.square(),
            t: self.x * self.y,
        }
    }
}

impl Extended {
    fn new(point: &Point, scale: &Fr) -> Self {
        Projective::new(point, scale).extended()
    }

    /// The same point with `z = 1`.
    fn normalized(&self) -> Self {
        let inverse = Option::<Fr>::from(self.z.invert()).expect("points of the curve have Z != 0");
        let (x, y) = (self.x * inverse, self.y * inverse);
        Self {
            x,
            y,
            z: Fr::one(),
            t: x * y,
        }
    }

    fn addend(&self, double_d: &Fr) -> Addend {
        Addend {
            less: self.y - self.x,
            more: self.y + self.x,
            double_z: self.z.double(),
            scaled_t: self.t * double_d,
        }
    }

    /// The point times 1, 3, 5, …, all odd numbers below `2^(width - 1)`.
    fn odd_multiples(&self, width: u32, double_d: &Fr) -> Vec<Self> {
        let Self { x, y, z, .. } = *self;
        let twice = Projective { x, y, z }.double().extended().addend(double_d);
        let next = |point: &Self| Some(point.add(&twice).extended());
        let multiples = std::iter::successors(Some(*self), next);
        multiples.take(1 << (width - 2)).collect()
    }

    fn add(&self, other: &Addend) -> Done {
        let a = (self.y - self.x) * other.less;
        let b = (self.y + self.x) * other.more;
        let c = self.t * other.scaled_t;
        let d = self.z * other.double_z;
        Done {
            e: b - a,
            f: d - c,
            g: d + c,
            h: b + a,
        }
    }
}

impl Done {
    fn projective(&self) -> Projective {
        Projective {
            x: self.e * self.f,
            y: self.g * self.h,
            z: self.f * self.g,
        }
    }

    fn extended(&self) -> Extended {
        Extended {
            x: self.e * self.f,
            y: self.g * self.h,
            z: self.f * self.g,
            t: self.e * self.h,
        }
    }
}

impl Addend {
    fn negated(&self) -> Self {
        Self {
            less: self.more,
            more: self.less,
            double_z: self.double_z,
            scaled_t: -self.scaled_t,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suborder;
    use super::*;
    use rand::{RngCore, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    /// Any integer below `2^254`.
    fn any(rng: &mut ChaCha20Rng) -> BigUint {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        BigUint::from_bytes_be(&bytes) >> 2u8
    }

    /// Points of every order that the curve has: those of small order, and their sums with ones of the subgroup's.
    fn points() -> Vec<Point> {
        // The point of order eight that has the least y, and its multiples.
        let torsion = (2u64..).find_map(|y| {
            let yy = Fr::from(y).square();
            let xx = (yy - Fr::one()) * (Fr::from(D) * yy - Fr::from(A)).invert().unwrap_or(Fr::zero());
            let x = Option::<Fr>::from(xx.sqrt())?;
            let point = Point { x, y: Fr::from(y) };
            let small = point.is_on_curve().then(|| point.mul(suborder()))?;
            let fourfold = small.double().double();
            (fourfold != Point::IDENTITY).then_some(small)
        });
        let torsion = torsion.expect("an eighth of the points have it");
        let small: Vec<Point> = (0u8..8).map(|times| torsion.mul(&BigUint::from(times))).collect();
        let other = BASE8.mul(&BigUint::from(0x1234_5678_9abc_def1_u64));
        let shifted = small.iter().map(|point| point.add(&other));
        let shifted: Vec<Point> = shifted.collect();
        [small, shifted, vec![BASE8, BASE8.negate()]].concat()
    }

    fn scalars(rng: &mut ChaCha20Rng) -> Vec<BigUint> {
        let small = (0u8..4).map(BigUint::from);
        let edges = [suborder() - 1u8, (BigUint::from(1u8) << 254u8) - 1u8];
        // Runs of ones, whose carries go on.
        let runs = [64u8, 128, 250].map(|bits| (BigUint::from(1u8) << bits) - 1u8);
        small
            .chain(edges)
            .chain(runs)
            .chain((0..6).map(|_| any(rng)))
            .collect()
    }

    #[test]
    fn digits_add_up_to_their_scalar_and_are_far_between() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        for scalar in scalars(&mut rng) {
            for width in [BASE_WIDTH, POINT_WIDTH] {
                let digits = digits(&scalar, width);
                let (mut positive, mut negative) = (BigUint::ZERO, BigUint::ZERO);
                for (place, digit) in digits.iter().enumerate() {
                    let part = BigUint::from(digit.unsigned_abs()) << place;
                    let sum = if *digit < 0 { &mut negative } else { &mut positive };
                    *sum += part;
                    assert!(
                        *digit == 0 || digit % 2 != 0 && u32::from(digit.unsigned_abs()) < 1 << (width - 1)
                    );
                }
                assert_eq!(positive - negative, scalar, "width {width}");
                let window = |digits: &[i8]| digits.iter().filter(|digit| **digit != 0).count();
                assert!(digits.windows(width as usize).all(|digits| window(digits) <= 1));
            }
        }
    }

    #[test]
    fn differences_of_multiples_are_those_of_the_plain_curve() {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        for (at, point) in points().into_iter().enumerate() {
            assert!(point.is_on_curve());
            let cleared = eightfold(&point);
            let eight = point.mul_by_cofactor();
            assert!(cleared.equals(&eight), "point {at}");
            assert_eq!(cleared.equals(&Point::IDENTITY), at < 8, "point {at}");
            let plain = Projective::new(&point, &constants().scale);
            for (s, h) in scalars(&mut rng).iter().zip(scalars(&mut rng).iter().rev()) {
                let expected = BASE8.mul(s).add(&eight.mul(h).negate());
                let found = difference(s, h, &cleared);
                assert!(found.equals(&expected), "point {at}: {s} B - {h} A");
                assert!(!found.equals(&expected.add(&BASE8)), "point {at}: {s} B - {h} A");
                // Of a point that is not cleared too, whose order the formulas do not ask.
                let expected = BASE8.mul(s).add(&point.mul(h).negate());
                assert!(
                    difference(s, h, &plain).equals(&expected),
                    "point {at}: {s} B - {h} A"
                );
            }
        }
    }
}
