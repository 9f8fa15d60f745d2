//! Columns and gates of the recursion circuit: one advice column `a`, so that its verifier reads few commitments. Every
//! gate has degree 5 at most, selector included.
//!
//! | column | what |
//! |---|---|
//! | `a` | every witness |
//! | `added` | what `arith` adds: the circuit's constants; Poseidon's round constants |
//! | `digit`, `next` | the range lookup's coefficients: `digit·a(0) + next·a(10)` is in the table |
//! | `table` | `0 … 2^17 - 1` |
//! | `switches` | which gate is on: see [`Gate::switches`] |

use halo2_proofs::{
    plonk::{
        Advice, Column, ConstraintSystem, Constraints, Expression, Fixed, Instance, TableColumn, VirtualCells,
    },
    poly::Rotation,
};
use halo2curves::{bn256::Fr, ff::Field};

use super::modulus::{self, LIMBS, PRODUCTS};
use crate::plonk::arithmetic::WIDTH;
use rules::poseidon;

/// Cells from a chain's cell to its next: see [`super::range`].
pub(super) const CHAIN: usize = 10;

/// Cells of an addition, by offset from its row. The first point lies before it, where an addition writes its third, so that
/// additions in a row need no copies.
pub(super) mod add {
    use super::{CHAIN, LIMBS};
    use crate::recursion::modulus::LIMB_DIGITS;

    pub const X2: usize = 0;
    pub const Y2: usize = 5;
    pub const SIGN: usize = 7;
    /// Quotients of the slope: by q, by m; then those of x.
    pub const QUOTIENTS: usize = 8;
    pub const Y3: usize = 12;
    pub const SLOPE: usize = 14;
    pub const X3: usize = 19;
    /// All, with the digits of slope and x3.
    pub const CELLS: usize = X3 + LIMBS + CHAIN * (LIMB_DIGITS - 1);
    /// Rows from the first point's x, and from its y, to the addition's.
    pub const X_BEFORE: usize = CELLS - X3;
    pub const Y_BEFORE: usize = CELLS - Y3;
}

/// Cells of a selection, by offset: 8 entries, the bits of 4 windows, 4 entries chosen.
pub(super) mod select {
    pub const WINDOWS: usize = 4;
    pub const ENTRIES: usize = 8;
    pub const BITS: usize = 8;
    pub const OUT: usize = 20;
    pub const CELLS: usize = 24;
}

/// Cells of a scalar's window, by offset: the scalar's prefix, a sign, three bits. The next prefix is at [`digit::NEXT`].
pub(super) mod digit {
    pub const SIGN: usize = 1;
    pub const BITS: usize = 2;
    pub const NEXT: usize = 5;
}

/// Partial rounds that one gate makes. They are 57 in all.
pub(super) const PARTIAL: usize = 3;
/// Cells that a gate of partial rounds reads.
pub(super) const PARTIAL_CELLS: usize = WIDTH + 2 * PARTIAL - 1 + WIDTH;

/// What is switched on at a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    /// Three identities modulo q, of which an addition of points is one use.
    Add,
    /// Entries of a table by three bits.
    Select,
    /// A scalar's next signed odd digit.
    Digit,
    /// `a0 + a1 a2 + added = a3`.
    Arith,
    /// Poseidon: a full round.
    Full,
    /// Poseidon: [`PARTIAL`] partial rounds.
    Partial,
    /// A cell is the instance of its row.
    Instance,
}

/// Columns that say which gate is on.
pub(super) const SWITCHES: usize = 3;

impl Gate {
    /// What the switches hold where the gate is on. Where none is, they hold 0.
    pub fn switches(self) -> [u64; SWITCHES] {
        match self {
            Self::Add => [1, 0, 0],
            Self::Digit => [2, 0, 0],
            Self::Arith => [3, 0, 0],
            Self::Full => [0, 1, 0],
            Self::Partial => [0, 2, 0],
            Self::Select => [0, 0, 1],
            Self::Instance => [1, 1, 0],
        }
    }

    /// What is not 0 where the gate is on, and 0 where none is or another; its degree and the gate's are 5 at most together.
    pub fn selector(self, switches: [E; SWITCHES]) -> E {
        let [a, b, c] = switches;
        let less = |value: u64, of: &E| constant(value) - of.clone();
        match self {
            Self::Add => a.clone() * (less(2, &a) - b) * less(3, &a),
            Self::Digit => a.clone() * less(1, &a) * less(3, &a),
            Self::Arith => a.clone() * less(1, &a) * less(2, &a),
            Self::Full => b.clone() * (less(2, &b) - a),
            Self::Partial => b.clone() * less(1, &b),
            Self::Select => c,
            Self::Instance => a * b,
        }
    }
}

/// All gates, in the order in which they are made.
pub(super) const GATES: [Gate; 7] = [
    Gate::Add,
    Gate::Select,
    Gate::Digit,
    Gate::Arith,
    Gate::Full,
    Gate::Partial,
    Gate::Instance,
];

/// Columns.
#[derive(Clone, Debug)]
pub struct RecursionConfig {
    pub(super) a: Column<Advice>,
    pub(super) added: Column<Fixed>,
    pub(super) digit: Column<Fixed>,
    pub(super) next: Column<Fixed>,
    pub(super) table: TableColumn,
    pub(super) instance: Column<Instance>,
    pub(super) switches: [Column<Fixed>; SWITCHES],
}

type E = Expression<Fr>;

fn constant(value: u64) -> E {
    Expression::Constant(Fr::from(value))
}

/// `Σ coefficients · terms`.
fn linear(coefficients: &[Fr], terms: &[E]) -> E {
    coefficients
        .iter()
        .zip(terms)
        .filter(|(coefficient, _)| **coefficient != Fr::ZERO)
        .map(|(coefficient, term)| term.clone() * *coefficient)
        .reduce(|sum, term| sum + term)
        .unwrap_or(Expression::Constant(Fr::ZERO))
}

/// The nine sums `Σ_{i+j=s} left_i right_j`.
fn convolution(left: &[E], right: &[E]) -> Vec<E> {
    (0..PRODUCTS)
        .map(|s| {
            (0..LIMBS)
                .filter(|i| (0..LIMBS).contains(&(s.wrapping_sub(*i))))
                .map(|i| left[i].clone() * right[s - i].clone())
                .reduce(|sum, product| sum + product)
                .expect("each sum has a product")
        })
        .collect()
}

/// [`convolution`] with itself, each pair of different limbs once.
fn square(of: &[E]) -> Vec<E> {
    (0..PRODUCTS)
        .map(|s| {
            (0..LIMBS)
                .filter(|i| 2 * i <= s && s - i < LIMBS)
                .map(|i| match 2 * i == s {
                    true => of[i].clone().square(),
                    false => of[i].clone() * of[s - i].clone() * Fr::from(2),
                })
                .reduce(|sum, product| sum + product)
                .expect("each sum has a product")
        })
        .collect()
}

impl RecursionConfig {
    /// Allocates the columns and creates every gate.
    pub(super) fn configure(meta: &mut ConstraintSystem<Fr>) -> Self {
        let config = Self {
            a: meta.advice_column(),
            added: meta.fixed_column(),
            digit: meta.fixed_column(),
            next: meta.fixed_column(),
            table: meta.lookup_table_column(),
            instance: meta.instance_column(),
            switches: [0; SWITCHES].map(|_| meta.fixed_column()),
        };
        meta.enable_equality(config.a);
        meta.lookup("digit", |cells| {
            let [digit, next] =
                [config.digit, config.next].map(|column| cells.query_fixed(column, Rotation::cur()));
            let here = config.a(cells, 0);
            let chained = config.a(cells, CHAIN);
            vec![(digit * here + next * chained, config.table)]
        });
        config.add(meta);
        config.select(meta);
        config.digit(meta);
        meta.create_gate("arith", |cells| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| config.a(cells, row));
            let added = cells.query_fixed(config.added, Rotation::cur());
            let selector = config.on(cells, Gate::Arith);
            Constraints::with_selector(selector, [("a + b c + added = d", a + b * c + added - d)])
        });
        config.full(meta);
        config.partial(meta);
        meta.create_gate("instance", |cells| {
            let a = config.a(cells, 0);
            let instance = cells.query_instance(config.instance, Rotation::cur());
            let selector = config.on(cells, Gate::Instance);
            Constraints::with_selector(selector, [("the cell is the instance", a - instance)])
        });
        config
    }

    fn on(&self, cells: &mut VirtualCells<Fr>, gate: Gate) -> E {
        gate.selector(
            self.switches
                .map(|column| cells.query_fixed(column, Rotation::cur())),
        )
    }

    fn a(&self, cells: &mut VirtualCells<Fr>, row: usize) -> E {
        cells.query_advice(self.a, Rotation(row as i32))
    }

    fn before(&self, cells: &mut VirtualCells<Fr>, rows: usize) -> E {
        cells.query_advice(self.a, Rotation(-(rows as i32)))
    }

    /// `λ (x2 - x) + y - s y2 ≡ 0`, `λ² - x - x2 - x3 ≡ 0` (mod q) and `y3 = λ (x - x3) - y`, with `s` the sign.
    ///
    /// ```text
    /// -32 -31  y: modulo r, modulo m    -25…-21  x
    ///   0…4   x2          5 6   y2                        7     sign: 1 is +, 0 is -
    ///   8 9   quotients of the first   10 11  of the second
    ///  12 13  y3         14…18  λ      19…23  x3    24…43  digits of λ and x3
    /// ```
    ///
    /// Each identity holds modulo r and modulo m (`modulus` says why that is enough); `y3` is not reduced.
    fn add(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("add", |cells| {
            let selector = self.on(cells, Gate::Add);
            let mut at = |from: usize, count: usize| -> Vec<E> {
                (from..from + count).map(|row| self.a(cells, row)).collect()
            };
            let (x2, x3) = (at(add::X2, LIMBS), at(add::X3, LIMBS));
            let (y2, y3) = (at(add::Y2, 2), at(add::Y3, 2));
            let slope = at(add::SLOPE, LIMBS);
            let sign = at(add::SIGN, 1)[0].clone() * Fr::from(2) - constant(1);
            let quotients = at(add::QUOTIENTS, 4);
            let mut before = |rows: usize, count: usize| -> Vec<E> {
                (0..count).map(|i| self.before(cells, rows - i)).collect()
            };
            let (x, y) = (before(add::X_BEFORE, LIMBS), before(add::Y_BEFORE, 2));
            let offset = Expression::Constant(modulus::quotient_offset());
            let quotients: Vec<E> = quotients.into_iter().map(|of| of - offset.clone()).collect();
            let minus = |a: &[E], b: &[E]| -> Vec<E> {
                a.iter().zip(b).map(|(a, b)| a.clone() - b.clone()).collect()
            };
            let chord = convolution(&slope, &minus(&x2, &x));
            let square = square(&slope);
            let third = convolution(&slope, &minus(&x, &x3));
            let mut constraints = vec![];
            for (side, names) in [
                ["slope modulo r", "x modulo r", "y modulo r"],
                ["slope modulo m", "x modulo m", "y modulo m"],
            ]
            .into_iter()
            .enumerate()
            {
                let powers = modulus::powers(side);
                let multiple = |quotients: &[E]| match side {
                    0 => quotients[0].clone() * modulus::q(0),
                    _ => quotients[0].clone() * modulus::q(1) + quotients[1].clone() * modulus::m(),
                };
                let [slope_name, x_name, y_name] = names;
                let (y, y2, y3) = (y[side].clone(), y2[side].clone(), y3[side].clone());
                let chord = linear(&powers, &chord) + y.clone() - sign.clone() * y2;
                let sum: Vec<E> = (0..LIMBS)
                    .map(|i| x[i].clone() + x2[i].clone() + x3[i].clone())
                    .collect();
                let square = linear(&powers, &square) - linear(&powers, &sum);
                constraints.push((slope_name, chord - multiple(&quotients[..2])));
                constraints.push((x_name, square - multiple(&quotients[2..])));
                constraints.push((y_name, linear(&powers, &third) - y - y3));
            }
            Constraints::with_selector(selector, constraints)
        });
    }

    /// Each window's entry is the one that its bits name, least significant first.
    fn select(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("select", |cells| {
            let selector = self.on(cells, Gate::Select);
            let mut at = |from: usize, count: usize| -> Vec<E> {
                (from..from + count).map(|row| self.a(cells, row)).collect()
            };
            let entries = at(0, select::ENTRIES);
            let bits = at(select::BITS, 3 * select::WINDOWS);
            let chosen = at(select::OUT, select::WINDOWS);
            let constraints = chosen.into_iter().zip(bits.chunks(3)).map(|(chosen, bits)| {
                // Halves the entries bit by bit: seven products a window, and the first differences are shared.
                let named = bits.iter().fold(entries.clone(), |entries, bit| {
                    let pairs = entries.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]);
                    pairs
                        .map(|[even, odd]| even.clone() + bit.clone() * (odd - even))
                        .collect()
                });
                ("the chosen entry", chosen - named[0].clone())
            });
            Constraints::with_selector(selector, constraints.collect::<Vec<_>>())
        });
    }

    /// `next = 16 prefix ± (1 + 2 b0 + 4 b1 + 8 b2)`.
    fn digit(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("digit", |cells| {
            let selector = self.on(cells, Gate::Digit);
            let [prefix, sign, b0, b1, b2, next] =
                [0, digit::SIGN, digit::BITS, 3, 4, digit::NEXT].map(|row| self.a(cells, row));
            let mut constraints: Vec<(&'static str, E)> = [&sign, &b0, &b1, &b2]
                .map(|bit| ("a bit is 0 or 1", bit.clone() * (constant(1) - bit.clone())))
                .to_vec();
            let size = constant(1) + b0 * Fr::from(2) + b1 * Fr::from(4) + b2 * Fr::from(8);
            let digit = (sign * Fr::from(2) - constant(1)) * size;
            constraints.push(("the scalar's prefix", prefix * Fr::from(16) + digit - next));
            Constraints::with_selector(selector, constraints)
        });
    }

    /// A full round of Poseidon of width 3 (P-2.1 with `t = 3`, 57 partial rounds).
    ///
    /// ```text
    ///   0…2  the round's inputs x, constants added       3…5  u = x²: an S-box's output is u² x
    ///   6…8  the next round's inputs, constants added    added 0…2  their constants
    /// ```
    fn full(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("full", |cells| {
            let selector = self.on(cells, Gate::Full);
            let mut constraints: Vec<(&'static str, E)> = vec![];
            let outputs: Vec<E> = (0..WIDTH)
                .map(|i| {
                    let [input, square] = [i, WIDTH + i].map(|row| self.a(cells, row));
                    power(input, square, &mut constraints)
                })
                .collect();
            for (i, row) in poseidon::spec3().mds.iter().enumerate() {
                let next = self.a(cells, 2 * WIDTH + i);
                let added = cells.query_fixed(self.added, Rotation(i as i32));
                constraints.push(("the next input", next - linear(row, &outputs) - added));
            }
            Constraints::with_selector(selector, constraints)
        });
    }

    /// Partial rounds, [`PARTIAL`] of them: element 0 alone passes an S-box, behind which its constant is added.
    ///
    /// ```text
    ///   0…2  the first round's inputs    3  u = x²    4 5, 6 7  x and u of the others
    ///   8…10 the next round's inputs     added 0…2  the constants
    /// ```
    fn partial(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("partial", |cells| {
            let selector = self.on(cells, Gate::Partial);
            let mut constraints: Vec<(&'static str, E)> = vec![];
            let mut state: Vec<E> = (0..WIDTH).map(|row| self.a(cells, row)).collect();
            for round in 0..PARTIAL {
                let square = self.a(cells, WIDTH + 2 * round);
                let added = cells.query_fixed(self.added, Rotation(round as i32));
                state[0] = power(state[0].clone(), square, &mut constraints) + added;
                let mixed = poseidon::spec3().mds.iter().map(|row| linear(row, &state));
                state = mixed.collect();
                // The others stay expressions until the last round.
                let held = if round + 1 < PARTIAL { 1 } else { WIDTH };
                for (i, value) in state.iter_mut().enumerate().take(held) {
                    let next = self.a(cells, WIDTH + 2 * round + 1 + i);
                    constraints.push(("the next input", next.clone() - value.clone()));
                    *value = next;
                }
            }
            Constraints::with_selector(selector, constraints)
        });
    }
}

/// `x⁵` by the cell `u = x²`.
fn power(x: E, square: E, constraints: &mut Vec<(&'static str, E)>) -> E {
    constraints.push(("u = x²", x.clone().square() - square.clone()));
    square.clone() * square * x
}
