//! The cells of a recursion before they meet halo2: values, switched-on gates, looked-up digits, and equalities.
//!
//! Everything is laid out here in plain Rust, at absolute rows, so that the layout depends on the children's number and key
//! alone and a test can change any cell of a valid witness before it is proven or checked.

use std::collections::{BTreeMap, HashMap};

use halo2curves::{bn256::Fr, ff::Field};

use super::config::{GATES, Gate};
use crate::field;

/// Constants that a sheet has room for.
const CONSTANTS: usize = 1 << 12;
/// Cells of a constant: see [`Sheet::constant`].
const CONSTANT_CELLS: usize = 3;

/// A column that takes part in equalities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Advice,
    Instance,
}

/// A cell by column and absolute row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub place: Place,
    pub row: usize,
}

/// A cell with the value that the prover means it to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Var {
    pub cell: Cell,
    pub value: Fr,
    /// Whether it is one of the circuit's constants.
    pub is_constant: bool,
}

/// All cells of one recursion.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    /// Values of `a`.
    pub advice: Vec<Fr>,
    /// Values of `c` that are not 0.
    pub added: BTreeMap<usize, Fr>,
    /// Rows at which each gate is on, by [`Gate`].
    pub on: [Vec<usize>; GATES.len()],
    /// Rows whose digit is looked up, and whether the chain goes on.
    pub digits: Vec<(usize, bool)>,
    /// Pairs of cells that must be equal, and the part of the statement that says so.
    pub copies: Vec<(Cell, Cell, &'static str)>,
    /// First row of each named part of the statement, in order.
    pub labels: Vec<(usize, &'static str)>,
    constants: HashMap<[u8; 32], Var>,
    /// Quotients whose ranges are not laid out yet: see [`super::range`].
    pub(super) waiting: Vec<Var>,
}

impl Default for Sheet {
    /// A sheet with the constant 0: four equal cells `z` with `z + z z = z`.
    fn default() -> Self {
        let mut sheet = Self {
            advice: vec![Fr::ZERO; CONSTANT_CELLS * CONSTANTS + 1],
            added: BTreeMap::new(),
            on: Default::default(),
            digits: vec![],
            copies: vec![],
            labels: vec![(0, "constants")],
            constants: HashMap::new(),
            waiting: vec![],
        };
        sheet.enable(Gate::Arith, 0);
        let cells = [0, 1, 2, 3].map(|row| sheet.fixed(row, Fr::ZERO));
        cells[..3].iter().for_each(|cell| sheet.equal(cell, &cells[3]));
        sheet.constants.insert(field::to_be(&Fr::ZERO), cells[3]);
        sheet
    }
}

impl Sheet {
    /// The next free row.
    pub fn row(&self) -> usize {
        self.advice.len()
    }

    /// Switches a gate on at a row.
    pub fn enable(&mut self, gate: Gate, row: usize) {
        self.on[gate as usize].push(row);
    }

    /// Names what follows, for reports of a constraint that fails.
    pub fn label(&mut self, name: &'static str) {
        self.labels.push((self.row(), name));
    }

    /// A new cell that nothing constrains yet: the caller must.
    pub fn witness(&mut self, value: Fr) -> Var {
        let cell = Cell {
            place: Place::Advice,
            row: self.row(),
        };
        self.advice.push(value);
        Var {
            cell,
            value,
            is_constant: false,
        }
    }

    /// Cells that nothing reads.
    pub fn skip(&mut self, count: usize) {
        self.advice.resize(self.row() + count, Fr::ZERO);
    }

    /// A new cell equal to another.
    pub fn copy(&mut self, from: &Var) -> Var {
        let var = self.witness(from.value);
        self.equal(&var, from);
        var
    }

    /// Requires two cells to be equal.
    pub fn equal(&mut self, a: &Var, b: &Var) {
        let label = self.labels.last().map_or("", |(_, name)| name);
        self.copies.push((a.cell, b.cell, label));
    }

    /// Requires a cell to equal an instance.
    pub fn equal_instance(&mut self, a: &Var, row: usize) {
        let instance = Var {
            cell: Cell {
                place: Place::Instance,
                row,
            },
            ..*a
        };
        self.equal(a, &instance);
    }

    /// A constant of the circuit: the constant before it, plus `0·0`, plus what [`Gate::Arith`] adds at its row.
    pub fn constant(&mut self, value: Fr) -> Var {
        if let Some(known) = self.constants.get(&field::to_be(&value)) {
            return *known;
        }
        let count = self.constants.len();
        assert!(count < CONSTANTS, "more constants than rows kept for them");
        let row = CONSTANT_CELLS * count;
        self.enable(Gate::Arith, row);
        let before = self.advice[row];
        self.set_added(row, value - before);
        let zero = self.constants[&field::to_be(&Fr::ZERO)];
        for factor in [row + 1, row + 2] {
            let factor = self.fixed(factor, Fr::ZERO);
            self.copies.push((factor.cell, zero.cell, "constants"));
        }
        let var = self.fixed(row + CONSTANT_CELLS, value);
        self.constants.insert(field::to_be(&value), var);
        var
    }

    /// Sets a cell among the constants.
    fn fixed(&mut self, row: usize, value: Fr) -> Var {
        self.advice[row] = value;
        Var {
            cell: Cell {
                place: Place::Advice,
                row,
            },
            value,
            is_constant: true,
        }
    }

    /// What a gate adds at a row.
    pub fn set_added(&mut self, row: usize, value: Fr) {
        if value != Fr::ZERO {
            self.added.insert(row, value);
        }
    }

    /// The cell `a + b c`. When `a` is the cell laid out last, it is the gate's first cell itself.
    pub fn mul_add(&mut self, a: &Var, b: &Var, c: &Var) -> Var {
        let value = a.value + b.value * c.value;
        let last = Cell {
            place: Place::Advice,
            row: self.row().wrapping_sub(1),
        };
        if a.cell != last {
            self.copy(a);
        }
        self.enable(Gate::Arith, self.row() - 1);
        self.copy(b);
        self.copy(c);
        self.witness(value)
    }

    /// The cell `Σ coefficients · terms`.
    pub fn combine(&mut self, terms: &[Var], coefficients: &[Fr]) -> Var {
        let mut sum = self.constant(Fr::ZERO);
        for (term, coefficient) in terms.iter().zip(coefficients) {
            if *coefficient == Fr::ONE && sum.is_constant && sum.value == Fr::ZERO {
                sum = *term;
                continue;
            }
            let coefficient = self.constant(*coefficient);
            sum = self.mul_add(&sum, term, &coefficient);
        }
        sum
    }
}
