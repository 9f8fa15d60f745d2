//! The curve BabyJubJub (P-1.3).

pub(crate) mod pair;

use crate::encoding;
use halo2curves::bn256::Fr;
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Coefficient `a` of the curve.
pub const A: u64 = 168_700;
/// Coefficient `d` of the curve.
pub const D: u64 = 168_696;
/// The order `l` of the prime subgroup, four 64-bit limbs, least significant first.
pub const SUBORDER: [u64; 4] = [
    0x677297dc392126f1,
    0xab3eedb83920ee0a,
    0x370a08b6d0302b0b,
    0x060c89ce5c263405,
];
/// circomlib's `Base8`, a generator of the subgroup of order `l`.
pub const BASE8: Point = Point {
    x: Fr::from_raw([
        0x2893f3f6bb957051,
        0x2ab8d8010534e0b6,
        0x4eacb2e09d6277c1,
        0x0bb77a6ad63e739b,
    ]),
    y: Fr::from_raw([
        0x4b3c257a872d7d8b,
        0xfce0051fb9e13377,
        0x25572e1cd16bf9ed,
        0x25797203f7a0b249,
    ]),
};

/// A pair of coordinates. It need not be on the curve: [`Point::is_on_curve`] says.
///
/// In JSON it is `{"x": "0x…", "y": "0x…"}`, in postcard and as bytes 32 big-endian bytes of `x`, then `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// First coordinate.
    #[serde(with = "encoding::field_element")]
    pub x: Fr,
    /// Second coordinate.
    #[serde(with = "encoding::field_element")]
    pub y: Fr,
}

impl Point {
    /// The neutral element `(0, 1)`.
    pub const IDENTITY: Self = Self {
        x: Fr::zero(),
        y: Fr::one(),
    };

    /// Whether `a x² + y² = 1 + d x² y²`.
    pub fn is_on_curve(&self) -> bool {
        let (xx, yy) = (self.x.square(), self.y.square());
        Fr::from(A) * xx + yy == Fr::one() + Fr::from(D) * xx * yy
    }

    /// The sum of two points of the curve.
    ///
    /// # Panics
    /// This and the other operations may panic on points that are not on the curve.
    pub fn add(&self, other: &Self) -> Self {
        Projective::from(self).add(&Projective::from(other)).to_affine()
    }

    /// Twice a point of the curve.
    pub fn double(&self) -> Self {
        Projective::from(self).double().to_affine()
    }

    /// The inverse `(-x, y)`.
    pub fn negate(&self) -> Self {
        Self {
            x: -self.x,
            y: self.y,
        }
    }

    /// `scalar` times a point of the curve. Variable time.
    pub fn mul(&self, scalar: &BigUint) -> Self {
        let point = Projective::from(self);
        let mut product = Projective::from(&Self::IDENTITY);
        for bit in (0..scalar.bits()).rev() {
            product = product.double();
            if scalar.bit(bit) {
                product = product.add(&point);
            }
        }
        product.to_affine()
    }

    /// Eight times a point of the curve: the identity exactly for points of small order.
    pub fn mul_by_cofactor(&self) -> Self {
        Projective::from(self).double().double().double().to_affine()
    }
}

/// The order `l` of the prime subgroup.
pub fn suborder() -> &'static BigUint {
    static ORDER: OnceLock<BigUint> = OnceLock::new();
    ORDER.get_or_init(|| {
        SUBORDER.iter().rev().fold(BigUint::ZERO, |value, limb| {
            (value << 64u8) + BigUint::from(*limb)
        })
    })
}

/// Projective coordinates `(X : Y : Z)`, `x = X/Z`, `y = Y/Z`.
///
/// Formulas: `add-2008-bbjlp` and `dbl-2008-bbjlp` of the Explicit-Formulas Database. On this curve, where `a` is a
/// square and `d` is not, they hold for every pair of points.
#[derive(Debug, Clone, Copy)]
struct Projective {
    x: Fr,
    y: Fr,
    z: Fr,
}

impl From<&Point> for Projective {
    fn from(point: &Point) -> Self {
        Self {
            x: point.x,
            y: point.y,
            z: Fr::one(),
        }
    }
}

impl Projective {
    fn add(&self, other: &Self) -> Self {
        let a = self.z * other.z;
        let b = a.square();
        let c = self.x * other.x;
        let d = self.y * other.y;
        let e = Fr::from(D) * c * d;
        let f = b - e;
        let g = b + e;
        let cross = (self.x + self.y) * (other.x + other.y) - c - d;
        Self {
            x: a * f * cross,
            y: a * g * (d - Fr::from(A) * c),
            z: f * g,
        }
    }

    fn double(&self) -> Self {
        let b = (self.x + self.y).square();
        let c = self.x.square();
        let d = self.y.square();
        let e = Fr::from(A) * c;
        let f = e + d;
        let j = f - self.z.square().double();
        Self {
            x: (b - c - d) * j,
            y: f * (e - d),
            z: f * j,
        }
    }

    fn to_affine(self) -> Point {
        let inverse = Option::<Fr>::from(self.z.invert()).expect("points of the curve have Z != 0");
        Point {
            x: self.x * inverse,
            y: self.y * inverse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field;

    #[test]
    fn constants_are_those_of_the_protocol() {
        let order = "2736030358979909402780800718157159386076813972158567259200215660948447373041";
        assert_eq!(suborder().to_string(), order);
        let x = "5299619240641551281634865583518297030282874472190772894086521144482721001553";
        let y = "16950150798460657717958625567821834550301663161624707787222815936182638968203";
        assert_eq!(
            BASE8,
            Point {
                x: field::from_hex(x).unwrap(),
                y: field::from_hex(y).unwrap()
            }
        );
        assert!(BASE8.is_on_curve());
        assert_eq!(BASE8.mul(suborder()), Point::IDENTITY);
        assert_ne!(BASE8.mul_by_cofactor(), Point::IDENTITY);
    }

    #[test]
    fn the_group_law_holds() {
        let (two, three) = (BASE8.double(), BASE8.add(&BASE8.double()));
        assert_eq!(BASE8.add(&BASE8), two);
        assert_eq!(BASE8.mul(&BigUint::from(3u8)), three);
        assert_eq!(three.add(&two), BASE8.mul(&BigUint::from(5u8)));
        assert_eq!(three.add(&three.negate()), Point::IDENTITY);
        assert_eq!(three.add(&Point::IDENTITY), three);
        assert_eq!(BASE8.mul(&BigUint::ZERO), Point::IDENTITY);
        let order_two = Point {
            x: Fr::zero(),
            y: -Fr::one(),
        };
        assert!(order_two.is_on_curve());
        assert_eq!(order_two.double(), Point::IDENTITY);
        assert!(
            !Point {
                x: Fr::one(),
                y: Fr::one()
            }
            .is_on_curve()
        );
    }
}
