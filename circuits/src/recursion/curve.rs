//! Points (P-8.10), tables of their odd multiples (P-8.11), and sums of multiples (P-8.12).
//!
//! # No exceptional addition (P-10.10)
//!
//! [`Gate::Add`](super::config::Gate::Add) adds points with different x. For equal points it would leave the slope free, so that a prover could choose the
//! sum; for inverse points it has no solution, which only stops a prover. Equal points are excluded for every addition laid
//! out here, by one of two reasons:
//!
//! - A point is `w·H + K`, with its **weight** `w` a constant of the layout. `H` comes from a challenge that is drawn after the
//!   points and scalars of all children are fixed. If two points of different weights were equal, their difference would
//!   write `H`, a random point, as a combination of points that were fixed before it, with known factors, whatever digits
//!   and representations a prover takes: a discrete logarithm. [`Sheet::add`] asserts that the weights differ.
//! - Odd multiples of a point: `(2i-1)P` and `2P` differ, since a point that is not the identity has the prime order r, and
//!   neither the identity nor a point off the curve has coordinates that [`Sheet::point`] accepts.
//!
//! There is no doubling gate: a sum S that begins with H is doubled as `(S + Q) + S`, with Q an odd multiple of a point, so that its two
//! points differ by Q. This takes up Q on the way, and doubles the weight, which stays a power of 2. Where no Q is due, or the weight
//! `w` is the largest that there is room for, it is `(S - (2w - 1) H) + S`, of weight 1. At the end the weight is taken away.

use halo2curves::{
    CurveAffine,
    bn256::{Fq, Fr, G1Affine},
    ff::{Field, PrimeField},
    group::Curve,
};
use num_bigint::BigUint;

use super::{
    foreign::{Element, Lazy, Operands, Slope},
    modulus,
    scalar::{ENTRIES, SHORT_WINDOWS, WINDOW_BITS, WINDOWS},
    sheet::{Sheet, Var},
};
use rules::field;

/// Multiples of the helper point. A sum's weight is below 2 to this power.
const HELPERS: usize = 12;

/// A point that is not the identity, with its weight (see the module's text).
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub x: Element,
    pub y: Lazy,
    pub weight: Fr,
}

/// Odd multiples of a point.
pub(super) type Table = [Point; ENTRIES];

/// The helper point H, and `3 H, 7 H, …, (2^i - 1) H`.
pub(super) type Helper = [Point; HELPERS];

/// A scalar and the odd multiples of a point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term<'a> {
    table: &'a Table,
    scalar: Var,
    windows: usize,
}

impl<'a> Term<'a> {
    /// Of any scalar.
    pub fn whole(table: &'a Table, scalar: Var) -> Self {
        let windows = WINDOWS;
        Self {
            table,
            scalar,
            windows,
        }
    }

    /// Of a weight.
    pub fn short(table: &'a Table, scalar: Var) -> Self {
        let windows = SHORT_WINDOWS;
        Self {
            table,
            scalar,
            windows,
        }
    }
}

/// A multiple of a point for one window, by a sign and an entry.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub point: Point,
    pub sign: Var,
}

#[cfg(test)]
impl Point {
    /// The point itself, as the prover means it.
    pub fn value(&self) -> G1Affine {
        Option::from(G1Affine::from_xy(self.x.value, self.y.exact.to_base())).unwrap_or_default()
    }
}

impl Sheet {
    /// A new point of the curve, and its coordinates.
    pub fn point(&mut self, value: &G1Affine) -> (Point, [Element; 2]) {
        let [x, y] = self.element_pair(coordinates(value));
        self.require_on_curve(&x, &y);
        let lazy = self.lazy(&y);
        let point = Point {
            x,
            y: lazy,
            weight: Fr::ZERO,
        };
        (point, [x, y])
    }

    /// A constant point.
    pub fn constant_point(&mut self, value: &G1Affine) -> Point {
        let [x, y] = coordinates(value).map(|coordinate| self.constant_element(coordinate));
        let exact = modulus::Exact::element(&y.integers);
        let cells = exact.scalars().map(|value| self.constant(value));
        Point {
            x,
            y: Lazy {
                cells,
                exact,
                bound: modulus::Bound::element(),
            },
            weight: Fr::ZERO,
        }
    }

    /// `left ± right`, for points of different weights.
    pub fn add(&mut self, left: &Point, right: &Chosen) -> Point {
        let signed = match right.sign.value == Fr::ZERO {
            true => -right.point.weight,
            false => right.point.weight,
        };
        assert_ne!(left.weight, signed, "an addition of points that may be equal");
        self.add_distinct(left, right)
    }

    /// `left ± right`, for points that the caller knows to be different.
    pub fn add_distinct(&mut self, left: &Point, right: &Chosen) -> Point {
        let Chosen { point: right, sign } = right;
        let (weight, y2) = match sign.value == Fr::ZERO {
            true => (left.weight - right.weight, -right.y.exact.to_base()),
            false => (left.weight + right.weight, right.y.exact.to_base()),
        };
        let [x, x2, y] = [left.x.value, right.x.value, left.y.exact.to_base()];
        // A prover without a solution lays out something else, which no constraint accepts.
        let slope = (y2 - y) * (x2 - x).invert().unwrap_or(Fq::ZERO);
        let third = self.add_gate(&Operands {
            x: &left.x,
            y: &left.y,
            x2: &right.x,
            y2: &right.y,
            sign: *sign,
            slope: Slope::New(slope),
            x3: slope.square() - x - x2,
        });
        let y = if third.y3.bound.is_small() {
            third.y3
        } else {
            self.reduce(&third.y3).1
        };
        Point {
            x: third.x3,
            y,
            weight,
        }
    }

    fn with_sign(&mut self, point: &Point, positive: bool) -> Chosen {
        Chosen {
            point: point.clone(),
            sign: self.constant(Fr::from(u64::from(positive))),
        }
    }

    /// `left + right`.
    pub fn plus(&mut self, left: &Point, right: &Point) -> Point {
        let right = self.with_sign(right, true);
        self.add(left, &right)
    }

    /// The odd multiples of a point; `helper` is a point of another weight.
    pub fn table(&mut self, point: &Point, helper: &Point) -> Table {
        let [plus, minus] = [true, false].map(|positive| self.with_sign(helper, positive));
        let above = self.add(point, &plus);
        let below = self.add(point, &minus);
        // The two differ by twice the helper, which is not the identity.
        let below = self.with_sign(&below, true);
        let double = self.add_distinct(&above, &below);
        let double = self.with_sign(&double, true);
        let mut entries = vec![point.clone()];
        while entries.len() < ENTRIES {
            let next = self.add_distinct(&entries[entries.len() - 1], &double);
            entries.push(next);
        }
        entries.try_into().expect("as many entries as were made")
    }

    /// The odd multiples of a constant point.
    pub fn constant_table(&mut self, point: &G1Affine) -> Table {
        let multiples: Vec<G1Affine> = (0..ENTRIES)
            .map(|entry| (point * Fr::from(2 * entry as u64 + 1)).to_affine())
            .collect();
        std::array::from_fn(|entry| self.constant_point(&multiples[entry]))
    }

    /// A point that nobody could choose: its x is the challenge `seed`, or the next number above it that is one of a
    /// point. A prover has a choice of `2^17` numbers, three representations and two signs, no more.
    pub fn hash_to_curve(&mut self, seed: &Var) -> Point {
        let (skipped, x, y) = (0u64..)
            .find_map(|skipped| {
                let integer = field::to_integer(&(seed.value + Fr::from(skipped)));
                let x = modulus::base_from_integer(&integer);
                let y: Option<Fq> = (x.square() * x + Fq::from(3)).sqrt().into();
                y.map(|y| (skipped, x, y))
            })
            .expect("half of all numbers are an x of a point");
        let y = if bool::from(y.is_odd()) { -y } else { y };
        let [x, y] = self.element_pair([x, y]);
        self.require_on_curve(&x, &y);
        let skipped = self.witness(Fr::from(skipped));
        self.require_digit(&skipped);
        let one = self.constant(Fr::ONE);
        let sum = self.mul_add(seed, &skipped, &one);
        let native = self.scalar_of(&x);
        self.equal(&native, &sum);
        Point {
            x,
            y: self.lazy(&y),
            weight: Fr::ONE,
        }
    }

    /// The helper point of a seed, and its multiples.
    pub fn helper(&mut self, seed: &Var) -> Helper {
        let first = self.hash_to_curve(seed);
        let other = self.constant_point(&G1Affine::generator());
        let above = self.plus(&first, &other);
        let other = self.with_sign(&other, false);
        let below = self.add(&first, &other);
        // The two differ by twice the generator, which is not the identity.
        let above = self.with_sign(&above, true);
        let double = self.add_distinct(&below, &above);
        let third = self.plus(&double, &first);
        let mut helpers = vec![first, third];
        while helpers.len() < HELPERS {
            let last = helpers[helpers.len() - 1].clone();
            let next = self.plus(&last, &helpers[0]);
            helpers.push(self.plus(&next, &last));
        }
        self.flush_quotients(false);
        helpers.try_into().expect("as many as were made")
    }

    /// `Σ scalars · tables + Σ once`. Windows of whole scalars end at different bits, so that every doubling has one to take up.
    pub fn sum(&mut self, terms: &[Term<'_>], once: &[Point], helper: &Helper) -> Point {
        let mut due: Vec<Vec<Chosen>> = vec![];
        for (i, term) in terms.iter().enumerate() {
            // What is short is not short any more when it is halved.
            let shift = if term.windows == WINDOWS {
                i % WINDOW_BITS
            } else {
                0
            };
            for (window, chosen) in self.choose(term, shift).into_iter().rev().enumerate() {
                let bit = WINDOW_BITS * window + shift;
                due.resize_with(due.len().max(bit + 1), Vec::new);
                due[bit].push(chosen);
            }
        }
        let mut sum = helper[0].clone();
        // The sum's weight is 2 to this power.
        let mut level = 0;
        for (i, due) in due.into_iter().rev().enumerate() {
            let mut due = due.into_iter();
            if i > 0 {
                sum = self.double(&sum, &mut due, helper, &mut level);
            }
            for chosen in due {
                sum = self.add(&sum, &chosen);
            }
        }
        for point in once {
            sum = self.plus(&sum, point);
        }
        // `2^level = (2^level - 1) + 1`.
        for of in [level.checked_sub(1), Some(0)].into_iter().flatten() {
            let taken = self.with_sign(&helper[of], false);
            sum = self.add(&sum, &taken);
        }
        assert_eq!(sum.weight, Fr::ZERO, "what the sum began with is taken away");
        self.flush_quotients(false);
        sum
    }

    /// Twice a sum, and what is due if it is taken up.
    fn double(
        &mut self,
        sum: &Point,
        due: &mut impl Iterator<Item = Chosen>,
        helper: &Helper,
        level: &mut usize,
    ) -> Point {
        let has_room = *level + 1 < HELPERS;
        let taken_up = has_room.then(|| due.next()).flatten();
        let (other, next) = match taken_up {
            Some(chosen) => (chosen, *level + 1),
            None => (self.with_sign(&helper[*level], false), 0),
        };
        let through = self.add(sum, &other);
        *level = next;
        let sum = self.with_sign(sum, true);
        // They differ by `other`, which is not the identity.
        self.add_distinct(&through, &sum)
    }

    /// A point's multiples for every window of a scalar's share of `2^shift`, most significant first.
    fn choose(&mut self, term: &Term<'_>, shift: usize) -> Vec<Chosen> {
        let Term {
            table,
            scalar,
            windows,
        } = term;
        let digits = self.shifted_digits_of(scalar, *windows, shift);
        let mut points = vec![vec![]; *windows];
        let integers: Vec<usize> = digits.iter().map(|digit| digit.value.entry).collect();
        for value in 0..modulus::LIMBS + 2 {
            let entries: [Var; ENTRIES] = std::array::from_fn(|entry| {
                let Point { x, y, .. } = &table[entry];
                match value.checked_sub(modulus::LIMBS) {
                    None => x.limbs[value],
                    Some(side) => y.cells[side],
                }
            });
            let chosen = self.select(&entries, &digits);
            points
                .iter_mut()
                .zip(chosen)
                .for_each(|(point, value)| point.push(value));
        }
        let bound = table.iter().map(|point| point.y.bound.clone());
        let bound = bound.reduce(|a, b| a.max(&b)).expect("a table has entries");
        let weight = table[0].weight;
        points
            .into_iter()
            .zip(integers)
            .zip(&digits)
            .map(|((cells, entry), digit)| {
                let Point { x, y, .. } = &table[entry];
                let mut x = *x;
                x.limbs.copy_from_slice(&cells[..modulus::LIMBS]);
                let y = Lazy {
                    cells: [cells[modulus::LIMBS], cells[modulus::LIMBS + 1]],
                    exact: y.exact.clone(),
                    bound: bound.clone(),
                };
                Chosen {
                    point: Point { x, y, weight },
                    sign: digit.sign,
                }
            })
            .collect()
    }
}

fn coordinates(point: &G1Affine) -> [Fq; 2] {
    let coordinates = point.coordinates().expect("the identity has no coordinates");
    [*coordinates.x(), *coordinates.y()]
}

/// A limb's worth of coordinates for an instance: `x_0 + 2^51 x_1 + 2^102 x_2`, and the rest.
pub(super) const INSTANCE_LIMBS: [usize; 2] = [3, 2];

impl Sheet {
    /// A coordinate in two scalars: its low 153 bits and the others.
    pub fn instance_limbs(&mut self, element: &Element) -> [Var; 2] {
        let (low, high) = element.limbs.split_at(INSTANCE_LIMBS[0]);
        let powers: Vec<Fr> = (0..INSTANCE_LIMBS[0])
            .map(|limb| field::reduce(&(BigUint::from(1u8) << (modulus::LIMB_BITS * limb))))
            .collect();
        [low, high].map(|limbs| self.combine(limbs, &powers))
    }
}
