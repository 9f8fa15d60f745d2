//! The cells of a shard before they meet halo2: values, switched-on gates, and equalities between cells.
//!
//! Everything is laid out here in plain Rust, at absolute rows, so that the layout depends on the shape alone
//! and a test can change any cell of a valid witness before it is proven or checked.

use super::config::{GATES, Gate, Z};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use std::collections::HashMap;

/// Rows at the top of `rc` that hold the circuit's constants; lanes begin below.
pub(super) const CONSTANT_ROWS: usize = 96;

/// A column that takes part in equalities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    Advice(usize),
    /// Column `rc`, which holds the constants.
    Constant,
    Instance,
}

/// A cell by column and absolute row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Cell {
    pub place: Place,
    pub row: usize,
}

/// A cell with the value that the prover means it to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Var {
    pub cell: Cell,
    pub value: Fr,
}

/// An operand of the arithmetic gate.
#[derive(Clone, Copy)]
pub(super) enum Term {
    /// Equal to an existing cell.
    Copy(Var),
    /// Equal to a constant of the circuit.
    Constant(Fr),
    /// A new cell that only the gate constrains.
    Witness(Fr),
}

impl From<Var> for Term {
    fn from(var: Var) -> Self {
        Self::Copy(var)
    }
}

impl Term {
    fn value(&self) -> Fr {
        match self {
            Self::Copy(var) => var.value,
            Self::Constant(value) | Self::Witness(value) => *value,
        }
    }
}

/// The constant `1` as an operand.
pub(super) const ONE: Term = Term::Constant(Fr::one());
/// The constant `0` as an operand.
pub(super) const ZERO: Term = Term::Constant(Fr::zero());

/// All cells of one shard.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    /// Values of `x0, u0, x1, u1, z`, `usable_rows` each.
    pub advice: [Vec<Fr>; 5],
    /// Values of `rc, rc_mid`.
    pub fixed: [Vec<Fr>; 2],
    /// Rows at which each gate is on, by [`Gate`].
    pub on: Vec<Vec<usize>>,
    /// Pairs of cells that must be equal, and the part of the statement that says so.
    pub copies: Vec<(Cell, Cell, &'static str)>,
    /// First row of `z` of each named part of the statement, in order.
    pub labels: Vec<(usize, &'static str)>,
    /// Next free row of the lanes.
    pub lane_row: usize,
    /// Next free row of `z`.
    pub z_row: usize,
    constants: HashMap<[u8; 32], usize>,
    /// Absolute row of the first value kept of each advice column; not 0 in a part of a sheet.
    starts: [usize; 5],
}

impl Sheet {
    /// An empty sheet of `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self {
            advice: std::array::from_fn(|_| vec![Fr::ZERO; rows]),
            fixed: std::array::from_fn(|_| vec![Fr::ZERO; rows]),
            on: vec![Vec::new(); GATES.len()],
            copies: Vec::new(),
            labels: Vec::new(),
            lane_row: CONSTANT_ROWS,
            z_row: 0,
            constants: HashMap::new(),
            starts: [0; 5],
        }
    }

    /// A part of this sheet, of `rows` rows from these of the lanes and of `z` on, to be laid out apart and then
    /// [appended](Self::append). It has the constants that this sheet has so far, and may have no others.
    pub fn part(&self, lane_row: usize, z_row: usize, rows: usize) -> Self {
        let mut starts = [lane_row; 5];
        starts[Z] = z_row;
        Self {
            constants: self.constants.clone(),
            lane_row,
            z_row,
            starts,
            ..Self::new(rows)
        }
    }

    /// Takes in a part that begins where this sheet ends.
    pub fn append(&mut self, part: Self) {
        let begin = (part.starts[0], part.starts[Z]);
        assert_eq!(
            (self.lane_row, self.z_row),
            begin,
            "a part of a sheet follows what is before it"
        );
        assert_eq!(
            self.constants, part.constants,
            "a part of a sheet has the sheet's constants"
        );
        let lanes = part.lane_row - begin.0;
        for (column, values) in part.advice.iter().enumerate() {
            let (from, rows) = match column {
                Z => (begin.1, part.z_row - begin.1),
                _ => (begin.0, lanes),
            };
            self.advice[column][from..from + rows].copy_from_slice(&values[..rows]);
        }
        for (column, values) in part.fixed.iter().enumerate() {
            self.fixed[column][begin.0..begin.0 + lanes].copy_from_slice(&values[..lanes]);
        }
        for (rows, more) in self.on.iter_mut().zip(part.on) {
            rows.extend(more);
        }
        self.copies.extend(part.copies);
        self.labels.extend(part.labels);
        (self.lane_row, self.z_row) = (part.lane_row, part.z_row);
    }

    /// An assigned advice cell as a variable.
    pub fn var(&self, column: usize, row: usize) -> Var {
        Var {
            cell: Cell {
                place: Place::Advice(column),
                row,
            },
            value: self.advice[column][row - self.starts[column]],
        }
    }

    /// The values of the fixed columns at a row of the lanes.
    pub fn fixed_at(&mut self, row: usize) -> [&mut Fr; 2] {
        let at = row - self.starts[0];
        self.fixed.each_mut().map(|column| &mut column[at])
    }

    /// Switches a gate on at a row.
    pub fn enable(&mut self, gate: Gate, row: usize) {
        self.on[gate as usize].push(row);
    }

    /// Names what follows, for reports of a constraint that fails.
    pub fn label(&mut self, name: &'static str) {
        self.labels.push((self.z_row, name));
    }

    /// Requires two cells to be equal.
    pub fn copy(&mut self, a: Cell, b: Cell) {
        let label = self.labels.last().map_or("", |(_, name)| name);
        self.copies.push((a, b, label));
    }

    /// Sets an advice cell. What constrains it is up to the gates at its row.
    pub fn set(&mut self, column: usize, row: usize, value: Fr) -> Var {
        self.advice[column][row - self.starts[column]] = value;
        self.var(column, row)
    }

    /// Requires two cells to be equal.
    pub fn equal(&mut self, a: Var, b: Var) {
        self.copy(a.cell, b.cell);
    }

    /// Requires a cell to equal a constant.
    pub fn equal_constant(&mut self, a: Var, value: Fr) {
        let constant = self.constant(value);
        self.equal(a, constant);
    }

    /// Requires a cell to equal an instance.
    pub fn equal_instance(&mut self, a: Var, row: usize) {
        self.copy(
            a.cell,
            Cell {
                place: Place::Instance,
                row,
            },
        );
    }

    fn constant(&mut self, value: Fr) -> Var {
        let next = self.constants.len();
        let row = *self.constants.entry(rules::field::to_be(&value)).or_insert(next);
        assert!(
            row < CONSTANT_ROWS,
            "the shard circuit has more constants than rows kept for them"
        );
        // Where a part begins, the sheet has set its constants.
        if self.starts[0] == 0 {
            self.fixed[0][row] = value;
        }
        Var {
            cell: Cell {
                place: Place::Constant,
                row,
            },
            value,
        }
    }

    /// A new cell of `z` that nothing constrains yet: the caller must.
    pub fn witness(&mut self, value: Fr) -> Var {
        let var = self.set(Z, self.z_row, value);
        self.z_row += 1;
        var
    }

    /// A new cell of `z` as `term` says.
    pub fn put(&mut self, term: Term) -> Var {
        let var = self.witness(term.value());
        match term {
            Term::Copy(from) => self.equal(var, from),
            Term::Constant(value) => self.equal_constant(var, value),
            Term::Witness(_) => {}
        }
        var
    }

    /// Requires `a + b c = d`; returns the four cells.
    pub fn arith(&mut self, terms: [Term; 4]) -> [Var; 4] {
        self.enable(Gate::Arith, self.z_row);
        terms.map(|term| self.put(term))
    }

    /// The cell `a + b c`.
    pub fn mul_add(&mut self, a: impl Into<Term>, b: impl Into<Term>, c: impl Into<Term>) -> Var {
        let (a, b, c) = (a.into(), b.into(), c.into());
        let d = a.value() + b.value() * c.value();
        self.arith([a, b, c, Term::Witness(d)])[3]
    }

    /// The cell `a b`.
    pub fn mul(&mut self, a: impl Into<Term>, b: impl Into<Term>) -> Var {
        self.mul_add(ZERO, a, b)
    }

    /// The cell `a + b`.
    pub fn add(&mut self, a: impl Into<Term>, b: impl Into<Term>) -> Var {
        self.mul_add(a, ONE, b)
    }

    /// The cell `a - b`.
    pub fn sub(&mut self, a: impl Into<Term>, b: impl Into<Term>) -> Var {
        let (a, b) = (a.into(), b.into());
        let difference = a.value() - b.value();
        self.arith([Term::Witness(difference), ONE, b, a])[0]
    }

    /// The cell `Σ 2^{shift} part`, the first part unshifted.
    pub fn pack(&mut self, first: Var, parts: &[(Var, u32)]) -> Var {
        parts.iter().fold(first, |sum, &(part, shift)| {
            self.mul_add(sum, part, Term::Constant(Fr::from(2).pow([u64::from(shift)])))
        })
    }

    /// A new cell that holds 0 or 1.
    pub fn boolean(&mut self, value: bool) -> Var {
        let bit = self.witness(Fr::from(u64::from(value)));
        self.require_boolean(bit);
        bit
    }

    /// Requires a cell to hold 0 or 1.
    pub fn require_boolean(&mut self, bit: Var) {
        self.arith([ZERO, bit.into(), bit.into(), bit.into()]);
    }

    /// Requires a cell to be 0 where a bit is 0.
    pub fn zero_unless(&mut self, a: Var, bit: Var) {
        self.arith([ZERO, a.into(), bit.into(), a.into()]);
    }

    /// Requires a cell not to be 0, by its inverse.
    pub fn require_nonzero(&mut self, a: Var) {
        let inverse = a.value.invert().unwrap_or(Fr::ZERO);
        self.arith([ZERO, a.into(), Term::Witness(inverse), ONE]);
    }

    /// Requires `a < 4^parts`. Returns `a, a >> 2, a >> 4, …`, ending before the last, which is the constant 0.
    pub fn range(&mut self, a: Var, parts: usize) -> Vec<Var> {
        let chain = self.shifted(a, parts);
        self.equal_constant(chain[parts], Fr::ZERO);
        chain
    }

    /// Requires `a < 2 · 4^parts`: like [`Self::range`], but what is left at the end is a bit.
    pub fn range_odd(&mut self, a: Var, parts: usize) -> Vec<Var> {
        let chain = self.shifted(a, parts);
        self.require_boolean(chain[parts]);
        chain
    }

    fn shifted(&mut self, a: Var, parts: usize) -> Vec<Var> {
        let mut rest = rules::field::to_be(&a.value);
        rest.reverse();
        let mut chain = vec![self.put(a.into())];
        for _ in 0..parts {
            self.enable(Gate::Range, self.z_row - 1);
            for i in 0..32 {
                rest[i] = rest[i] >> 2 | rest.get(i + 1).map_or(0, |next| next << 6);
            }
            let mut be = rest;
            be.reverse();
            let value = rules::field::from_be(&be).expect("a shifted canonical integer is canonical");
            chain.push(self.witness(value));
        }
        chain
    }
}
