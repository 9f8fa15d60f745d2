//! Columns and gates of the shard circuit. Every gate is of degree 5 at most, selector included.
//!
//! ```text
//!         lane 0            lane 1                          fixed
//!   row   x0      u0        x1      u1        z         rc      rc_mid
//!   i     x       (x+rc)^4  x       (x+rc)^4  anything  c       c of the next round
//! ```
//!
//! A lane holds one Poseidon permutation at a time: `x` is an S-box input before its round constant, `u` its fourth
//! power after it, so the S-box output is `u (x + rc)`. The two lanes run side by side (a tree node before and after an
//! update) under the same constants and selectors. Column `z` carries everything else: arithmetic,
//! ranges, and the signature's scalar multiplication.

use halo2_proofs::arithmetic::Field;
use halo2_proofs::plonk::{
    Advice, Column, ConstraintSystem, Constraints, Expression, Fixed, Instance, Selector, VirtualCells,
};
use halo2_proofs::poly::Rotation;
use rules::Fr;
use rules::babyjub;
use rules::poseidon::partial::{PartialRounds, Window};
use rules::poseidon::{self, Spec};

/// Rows of a double full round of width 9: nine of state, five that hold the nine squares of the second round's inputs.
pub(super) const DOUBLE_ROUND_ROWS: usize = 14;
/// Partial rounds of width 9.
pub(super) const PARTIAL_ROWS_9: usize = 63;
/// Row of the hash in a width-9 block.
pub(super) const OUT_9: usize = 4 * DOUBLE_ROUND_ROWS + PARTIAL_ROWS_9;
/// Rows of a width-9 block.
pub(super) const BLOCK_9: usize = OUT_9 + 1;
/// Partial rounds of width 6.
pub(super) const PARTIAL_ROWS_6: usize = 60;
/// Row of the hash in a width-6 block.
pub(super) const OUT_6: usize = 8 * 6 + PARTIAL_ROWS_6;
/// Rows of a width-6 block.
pub(super) const BLOCK_6: usize = OUT_6 + 1;

/// Spare cells of a width-9 block that the path gate uses: rows of `u0` with the three bits of the digit, least significant first.
pub(super) const DIGIT_BITS: [usize; 3] = [13, 27, 104];
/// Row of `u1` with the part of the index at and above this level.
pub(super) const INDEX_HERE: usize = 13;
/// Row of `u1` with the part of the index above this level.
pub(super) const INDEX_ABOVE: usize = 27;

/// Rows of one step of the double-scalar multiplication.
pub(super) const STEP_ROWS: usize = 11;

/// Cells of a step, by row offset.
pub(super) mod step {
    pub const S: usize = 0;
    pub const H: usize = 1;
    pub const DOUBLE: usize = 2;
    pub const ADDEND: usize = 4;
    pub const TAU: usize = 6;
    pub const SUM: usize = 7;
    pub const TABLE: usize = 9;
}

/// What a selector switches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    /// `u = (x + rc)^4` in both lanes.
    Quart,
    /// Width 9: a double full round that ends in a state.
    Next9,
    /// Width 9: a double full round that ends in the first nine partial inputs.
    Init9,
    /// Width 9: a double full round that ends in the hash.
    Out9,
    /// Width 9: the partial rounds' recurrence.
    Recur9,
    /// Width 9: from the partial rounds to a state.
    Last9,
    /// Width 6, lane 0: a full round that ends in a state.
    Full6,
    /// Width 6, lane 0: a full round that ends in the first six partial inputs.
    Init6,
    /// Width 6, lane 0: the partial rounds' recurrence.
    Recur6,
    /// Width 6, lane 0: from the partial rounds to a state.
    Last6,
    /// Width 6, lane 0: a full round that ends in the hash.
    Out6,
    /// The own child in both lanes' node, and the digit.
    Path,
    /// A leaf counts as empty where its bit says so.
    Mask,
    /// `z0 + z1 z2 = z3`.
    Arith,
    /// `z0 - 4 z1` is in 0 … 3.
    Range,
    /// One step of the double-scalar multiplication that carries `T`; the one before carries `U`.
    StepT,
    /// One step of the double-scalar multiplication that carries `U`; the one before carries `T`.
    StepU,
}

/// All gates, in the order of their selectors.
pub(super) const GATES: [Gate; 17] = [
    Gate::Quart,
    Gate::Next9,
    Gate::Init9,
    Gate::Out9,
    Gate::Recur9,
    Gate::Last9,
    Gate::Full6,
    Gate::Init6,
    Gate::Recur6,
    Gate::Last6,
    Gate::Out6,
    Gate::Path,
    Gate::Mask,
    Gate::Arith,
    Gate::Range,
    Gate::StepT,
    Gate::StepU,
];

/// Columns and selectors of the shard circuit.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// `x0, u0, x1, u1, z`.
    pub(super) advice: [Column<Advice>; 5],
    /// `rc, rc_mid`.
    pub(super) fixed: [Column<Fixed>; 2],
    pub(super) instance: Column<Instance>,
    pub(super) selectors: [Selector; 17],
}

/// Index of a column in [`ShardConfig::advice`].
pub(super) const X: [usize; 2] = [0, 2];
pub(super) const U: [usize; 2] = [1, 3];
pub(super) const Z: usize = 4;

type E = Expression<Fr>;
type Named = (&'static str, E);

/// Expressions of one lane around the row of a gate.
struct Lane<'a, 'b> {
    cells: &'a mut VirtualCells<'b, Fr>,
    x: Column<Advice>,
    u: Column<Advice>,
    rc: [Column<Fixed>; 2],
}

impl Lane<'_, '_> {
    fn x(&mut self, row: usize) -> E {
        self.cells.query_advice(self.x, Rotation(row as i32))
    }

    fn u(&mut self, row: usize) -> E {
        self.cells.query_advice(self.u, Rotation(row as i32))
    }

    fn rc(&mut self, column: usize, row: usize) -> E {
        self.cells.query_fixed(self.rc[column], Rotation(row as i32))
    }

    /// The S-box output of a row: `u (x + rc)`.
    fn y(&mut self, row: usize) -> E {
        self.u(row) * (self.x(row) + self.rc(0, row))
    }

    /// The inputs of a double round's second S-box layer, constants added, and the cells of their squares.
    fn middle(&mut self, mds: &[[Fr; 9]; 9]) -> (Vec<E>, Vec<E>) {
        let y: Vec<E> = (0..9).map(|i| self.y(i)).collect();
        let inputs = (0..9).map(|i| linear(&mds[i], &y) + self.rc(1, i)).collect();
        let squares = (0..9)
            .map(|i| if i < 5 { self.x(9 + i) } else { self.u(4 + i) })
            .collect();
        (inputs, squares)
    }

    /// The outputs of a double round's second S-box layer.
    fn double_round(&mut self, mds: &[[Fr; 9]; 9]) -> Vec<E> {
        let (inputs, squares) = self.middle(mds);
        inputs
            .into_iter()
            .zip(squares)
            .map(|(x, w)| w.clone() * w * x)
            .collect()
    }

    /// `form` over the partial rounds that begin at `row`, with `before` as its `x` part if that is not the rows' own.
    fn window(&mut self, form: &Window, before: Option<&[E]>, row: usize) -> E {
        let x = match before {
            Some(before) => linear(&form.x, before),
            None => {
                let x: Vec<E> = (0..form.x.len()).map(|i| self.x(row + i)).collect();
                linear(&form.x, &x)
            }
        };
        let y: Vec<E> = (0..form.y.len()).map(|i| self.y(row + i)).collect();
        x + linear(&form.y, &y)
    }
}

fn linear(coefficients: &[Fr], terms: &[E]) -> E {
    coefficients
        .iter()
        .zip(terms)
        .filter(|(c, _)| **c != Fr::ZERO)
        .map(|(c, t)| t.clone() * *c)
        .reduce(|a, b| a + b)
        .unwrap_or(Expression::Constant(Fr::ZERO))
}

fn constant(value: u64) -> E {
    Expression::Constant(Fr::from(value))
}

/// The coordinates of `s B + h T`, of two bits and `U = B + T`.
fn select([s, h]: [&E; 2], t: &[E; 2], u: &[E; 2]) -> [E; 2] {
    let not = |bit: &E| constant(1) - bit.clone();
    let (only_s, only_h) = (s.clone() * not(h), not(s) * h.clone());
    let (both, none) = (s.clone() * h.clone(), not(s) * not(h));
    let base = babyjub::BASE8;
    let coordinate = |i: usize, of_base: Fr| {
        only_s.clone() * of_base + only_h.clone() * t[i].clone() + both.clone() * u[i].clone()
    };
    [coordinate(0, base.x), none + coordinate(1, base.y)]
}

impl ShardConfig {
    /// Allocates the columns and creates every gate.
    pub(super) fn configure(meta: &mut ConstraintSystem<Fr>) -> Self {
        let advice = std::array::from_fn(|_| meta.advice_column());
        let fixed = [meta.fixed_column(), meta.fixed_column()];
        let instance = meta.instance_column();
        for column in [X[0], X[1], U[1], Z] {
            meta.enable_equality(advice[column]);
        }
        meta.enable_equality(fixed[0]);
        meta.enable_equality(instance);
        // The ends of a double round share constraints, and so do the two steps: their selectors stand in sums.
        let selectors = GATES.map(|gate| match gate {
            Gate::Next9 | Gate::Init9 | Gate::Out9 | Gate::StepT | Gate::StepU => meta.complex_selector(),
            _ => meta.selector(),
        });
        let config = Self {
            advice,
            fixed,
            instance,
            selectors,
        };
        config.quart(meta);
        let spec = poseidon::spec9();
        for lane in 0..2 {
            config.width9(meta, lane, spec, &PartialRounds::new(spec));
        }
        let spec = poseidon::spec6();
        config.width6(meta, spec, &PartialRounds::new(spec));
        config.path(meta);
        config.mask(meta);
        config.arith(meta);
        config.range(meta);
        config.step(meta);
        config
    }

    pub(super) fn selector(&self, gate: Gate) -> Selector {
        self.selectors[gate as usize]
    }

    fn lane<'a, 'b>(&self, cells: &'a mut VirtualCells<'b, Fr>, lane: usize) -> Lane<'a, 'b> {
        Lane {
            cells,
            x: self.advice[X[lane]],
            u: self.advice[U[lane]],
            rc: self.fixed,
        }
    }

    /// P-2.1: the S-box, with the fourth power in a cell.
    fn quart(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("quart", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Quart));
            let constraints = [("u0 = (x0 + rc)^4", 0), ("u1 = (x1 + rc)^4", 1)].map(|(name, lane)| {
                let mut lane = self.lane(cells, lane);
                let input = lane.x(0) + lane.rc(0, 0);
                (name, lane.u(0) - input.square().square())
            });
            Constraints::with_selector(selector, constraints)
        });
    }

    /// P-2.1 at width 9: full rounds by twos, partial rounds as a recurrence.
    fn width9(
        &self,
        meta: &mut ConstraintSystem<Fr>,
        lane: usize,
        spec: &Spec<9>,
        partial: &PartialRounds<9>,
    ) {
        let names = |of: [&'static str; 2]| of[lane];
        meta.create_gate(names(["square9/0", "square9/1"]), |cells| {
            let selector = [Gate::Next9, Gate::Init9, Gate::Out9]
                .map(|gate| cells.query_selector(self.selector(gate)))
                .into_iter()
                .reduce(|a, b| a + b)
                .expect("three selectors");
            let (inputs, squares) = self.lane(cells, lane).middle(&spec.mds);
            let constraints = inputs.into_iter().zip(squares);
            let constraints = constraints.map(|(x, w)| ("w = (second round's input)^2", w - x.square()));
            Constraints::with_selector(selector, constraints.collect::<Vec<_>>())
        });
        meta.create_gate(names(["next9/0", "next9/1"]), |cells| {
            let selector = cells.query_selector(self.selector(Gate::Next9));
            let mut lane = self.lane(cells, lane);
            let y = lane.double_round(&spec.mds);
            let next = (0..9).map(|i| {
                (
                    "state after a double round",
                    lane.x(DOUBLE_ROUND_ROWS + i) - linear(&spec.mds[i], &y),
                )
            });
            Constraints::with_selector(selector, next.collect::<Vec<_>>())
        });
        meta.create_gate(names(["init9/0", "init9/1"]), |cells| {
            let selector = cells.query_selector(self.selector(Gate::Init9));
            let mut lane = self.lane(cells, lane);
            let y = lane.double_round(&spec.mds);
            let first = (0..9).map(|r| {
                let form = lane.window(&partial.init[r], Some(&y), DOUBLE_ROUND_ROWS);
                ("first partial inputs", lane.x(DOUBLE_ROUND_ROWS + r) - form)
            });
            Constraints::with_selector(selector, first.collect::<Vec<_>>())
        });
        meta.create_gate(names(["out9/0", "out9/1"]), |cells| {
            let selector = cells.query_selector(self.selector(Gate::Out9));
            let mut lane = self.lane(cells, lane);
            let y = lane.double_round(&spec.mds);
            let out = lane.x(DOUBLE_ROUND_ROWS) - linear(&spec.mds[0], &y);
            Constraints::with_selector(selector, [("hash", out)])
        });
        self.partial(
            meta,
            lane,
            [Gate::Recur9, Gate::Last9],
            names(["partial9/0", "partial9/1"]),
            partial,
        );
    }

    /// P-2.1 at width 6 in lane 0: the challenge of a signature, once an operation, so rounds one by one.
    fn width6(&self, meta: &mut ConstraintSystem<Fr>, spec: &Spec<6>, partial: &PartialRounds<6>) {
        meta.create_gate("full6", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Full6));
            let mut lane = self.lane(cells, 0);
            let y: Vec<E> = (0..6).map(|i| lane.y(i)).collect();
            let next = (0..6).map(|i| {
                (
                    "state after a full round",
                    lane.x(6 + i) - linear(&spec.mds[i], &y),
                )
            });
            Constraints::with_selector(selector, next.collect::<Vec<_>>())
        });
        meta.create_gate("init6", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Init6));
            let mut lane = self.lane(cells, 0);
            let y: Vec<E> = (0..6).map(|i| lane.y(i)).collect();
            let first = (0..6).map(|r| {
                let form = lane.window(&partial.init[r], Some(&y), 6);
                ("first partial inputs", lane.x(6 + r) - form)
            });
            Constraints::with_selector(selector, first.collect::<Vec<_>>())
        });
        meta.create_gate("out6", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Out6));
            let mut lane = self.lane(cells, 0);
            let y: Vec<E> = (0..6).map(|i| lane.y(i)).collect();
            Constraints::with_selector(selector, [("hash", lane.x(6) - linear(&spec.mds[0], &y))])
        });
        self.partial(meta, 0, [Gate::Recur6, Gate::Last6], "partial6", partial);
    }

    fn partial<const T: usize>(
        &self,
        meta: &mut ConstraintSystem<Fr>,
        lane: usize,
        [recur, last]: [Gate; 2],
        name: &'static str,
        partial: &PartialRounds<T>,
    ) {
        meta.create_gate(format!("{name} recurrence"), |cells| {
            let selector = cells.query_selector(self.selector(recur));
            let mut lane = self.lane(cells, lane);
            let form = lane.window(&partial.step, None, 0);
            Constraints::with_selector(selector, [("next partial input", lane.x(T) - form)])
        });
        meta.create_gate(format!("{name} end"), |cells| {
            let selector = cells.query_selector(self.selector(last));
            let mut lane = self.lane(cells, lane);
            let state = (0..T).map(|i| {
                let form = lane.window(&partial.last[i], None, 0);
                ("state after the partial rounds", lane.x(T + i) - form)
            });
            Constraints::with_selector(selector, state.collect::<Vec<_>>())
        });
    }

    /// P-3.4: the row before holds both lanes' child; it stands at the digit's place among the inputs of
    /// both nodes, which agree everywhere else.
    fn path(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("path", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Path));
            let mut advice = |column: usize, row: i32| cells.query_advice(self.advice[column], Rotation(row));
            let bits = DIGIT_BITS.map(|row| advice(U[0], row as i32));
            let child = X.map(|column| advice(column, -1));
            let inputs = X.map(|column| (1..9).map(|row| advice(column, row)).collect::<Vec<_>>());
            let (here, above) = (advice(U[1], INDEX_HERE as i32), advice(U[1], INDEX_ABOVE as i32));

            let mut constraints: Vec<Named> = Vec::new();
            for bit in &bits {
                constraints.push((
                    "a digit's bit is 0 or 1",
                    bit.clone() * (constant(1) - bit.clone()),
                ));
            }
            let digit = bits[0].clone() + bits[1].clone() * Fr::from(2) + bits[2].clone() * Fr::from(4);
            constraints.push(("index = digit + 8 above", here - digit - above * Fr::from(8)));
            // One-hot of the digit, as a product of three bits.
            let at = |place: usize| {
                (0..3)
                    .map(|b| {
                        if place >> b & 1 == 1 {
                            bits[b].clone()
                        } else {
                            constant(1) - bits[b].clone()
                        }
                    })
                    .reduce(|a, b| a * b)
                    .expect("three bits")
            };
            let own = (0..8)
                .map(|i| at(i) * inputs[0][i].clone())
                .reduce(|a, b| a + b)
                .expect("eight children");
            constraints.push(("the node holds the child at its digit", own - child[0].clone()));
            for (i, (before, after)) in inputs[0].iter().zip(&inputs[1]).enumerate() {
                let moved = before.clone() - after.clone();
                let own = at(i) * (child[0].clone() - child[1].clone());
                constraints.push(("only the child moves", moved - own));
            }
            Constraints::with_selector(selector, constraints)
        });
    }

    /// P-10.1: the leaf that a path opens is *occupied before* times the hash in the row before, the one that it writes
    /// *occupied after* times that. The two bits stand in `u1`, beside the hashes and beside the leaves.
    fn mask(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("mask", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Mask));
            let sides = [
                ("old leaf", X[0], Rotation::prev()),
                ("new leaf", X[1], Rotation::cur()),
            ];
            let constraints = sides.map(|(name, column, bit)| {
                let occupied = cells.query_advice(self.advice[U[1]], bit);
                let hash = cells.query_advice(self.advice[column], Rotation::prev());
                let leaf = cells.query_advice(self.advice[column], Rotation::cur());
                (name, leaf - occupied * hash)
            });
            Constraints::with_selector(selector, constraints)
        });
    }

    fn arith(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("arith", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Arith));
            let z: [E; 4] = std::array::from_fn(|row| self.z(cells, row as i32));
            let [a, b, c, d] = z;
            Constraints::with_selector(selector, [("a + b c = d", a + b * c - d)])
        });
    }

    fn range(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("range", |cells| {
            let selector = cells.query_selector(self.selector(Gate::Range));
            let part = self.z(cells, 0) - self.z(cells, 1) * Fr::from(4);
            let product = (1..4)
                .map(|v| part.clone() - constant(v))
                .fold(part.clone(), |a, b| a * b);
            Constraints::with_selector(selector, [("two bits", product)])
        });
    }

    /// P-5.4, bit by bit from the most significant: `sum' = 2 sum + s B + h T`. The addend is O, B, T or `U = B + T`; of the
    /// two points that are no constants, a step carries one and the step before it the other, so that each is there
    /// every other step.
    ///
    /// ```text
    ///   row  z
    ///   0    S: prefix of the scalar s          1   H: prefix of the scalar h
    ///   2 3  double of the last sum             4 5 addend: O, B, T or U
    ///   6    product of these four coordinates  7 8 sum
    ///   9 10 T or U, by turns
    /// ```
    fn step(&self, meta: &mut ConstraintSystem<Fr>) {
        meta.create_gate("step", |cells| {
            let selectors = [Gate::StepT, Gate::StepU].map(|gate| cells.query_selector(self.selector(gate)));
            let at = |cells: &mut VirtualCells<Fr>, row: usize, steps: usize| {
                self.z(cells, row as i32 - (steps * STEP_ROWS) as i32)
            };
            let (a, d) = (Fr::from(babyjub::A), Fr::from(babyjub::D));
            let one = || constant(1);

            let s = at(cells, step::S, 0) - at(cells, step::S, 1) * Fr::from(2);
            let h = at(cells, step::H, 0) - at(cells, step::H, 1) * Fr::from(2);
            let (px, py) = (at(cells, step::SUM, 1), at(cells, step::SUM + 1, 1));
            let (dx, dy) = (at(cells, step::DOUBLE, 0), at(cells, step::DOUBLE + 1, 0));
            let q: [E; 2] = std::array::from_fn(|i| at(cells, step::ADDEND + i, 0));
            let tau = at(cells, step::TAU, 0);
            let (x, y) = (at(cells, step::SUM, 0), at(cells, step::SUM + 1, 0));
            let [carried, other, last] =
                [0, 1, 2].map(|steps| [0, 1].map(|i| at(cells, step::TABLE + i, steps)));

            let (px2, py2) = (px.clone().square(), py.clone().square());
            let [qx, qy] = q.clone();
            let product = dx.clone() * dy.clone() * qx.clone() * qy.clone();
            let mut both: Vec<Named> = vec![
                ("a bit of s", s.clone() * (one() - s.clone())),
                ("a bit of h", h.clone() * (one() - h.clone())),
                (
                    "x of the double",
                    dx.clone() * (px2.clone() * a + py2.clone()) - px * py * Fr::from(2),
                ),
                (
                    "y of the double",
                    dy.clone() * (constant(2) - px2.clone() * a - py2.clone()) - (py2 - px2 * a),
                ),
                ("product of the coordinates", tau.clone() - product),
                (
                    "x of the sum",
                    x * (one() + tau.clone() * d) - dx.clone() * qy.clone() - dy.clone() * qx.clone(),
                ),
                ("y of the sum", y * (one() - tau * d) - dy * qy + dx * qx * a),
            ];
            for (here, last) in carried.clone().into_iter().zip(last) {
                both.push(("the table stays", here - last));
            }
            let selector = selectors[0].clone() + selectors[1].clone();
            let mut constraints: Vec<Named> = both
                .into_iter()
                .map(|(name, poly)| (name, selector.clone() * poly))
                .collect();
            let tables = [[&carried, &other], [&other, &carried]];
            for (selector, [t, u]) in selectors.into_iter().zip(tables) {
                let [select_x, select_y] = select([&s, &h], t, u);
                constraints.push(("x of the addend", selector.clone() * (q[0].clone() - select_x)));
                constraints.push(("y of the addend", selector * (q[1].clone() - select_y)));
            }
            constraints
        });
    }

    fn z(&self, cells: &mut VirtualCells<Fr>, row: i32) -> E {
        cells.query_advice(self.advice[Z], Rotation(row))
    }
}
