//! The cells of a recursion before they meet halo2: values, switched-on gates, looked-up digits, and equalities.
//!
//! Everything is laid out here in plain Rust, at absolute rows, so that the layout depends on the children's number and key
//! alone and a test can change any cell of a valid witness before it is proven or checked.

use std::collections::{BTreeMap, HashMap};

use halo2curves::{bn256::Fr, ff::Field};

use super::config::{GATES, Gate};
use rules::field;

/// Constants that a sheet has room for where nobody counted them.
pub(super) const CONSTANTS: usize = 1 << 12;
/// Cells of 0 before the constants, which the first ones read: see [`Sheet::constant`].
const ZEROS: usize = 3;

/// A cell, by its row, with the value that the prover means it to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Var {
    pub row: usize,
    pub value: Fr,
    /// Whether it is one of the circuit's constants.
    pub is_constant: bool,
}

/// All cells of one recursion.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    /// Values of `a`. The first rows are the instances'.
    pub advice: Vec<Fr>,
    pub instances: Vec<Fr>,
    /// Values of `c` that are not 0.
    pub added: BTreeMap<usize, Fr>,
    /// Rows at which each gate is on, by [`Gate`].
    pub on: [Vec<usize>; GATES.len()],
    /// Rows whose digit is looked up, and whether the chain goes on.
    pub digits: Vec<(usize, bool)>,
    /// Pairs of rows whose cells must be equal, and the part of the statement that says so.
    pub copies: Vec<(usize, usize, &'static str)>,
    /// First row of each named part of the statement, in order.
    pub labels: Vec<(usize, &'static str)>,
    constants: HashMap<[u8; 32], Var>,
    /// Constants that there is room for.
    room: usize,
    /// Quotients whose ranges are not laid out yet: see [`super::range`].
    pub(super) waiting: Vec<Var>,
}

impl Default for Sheet {
    fn default() -> Self {
        Self::with_room(0, CONSTANTS)
    }
}

impl Sheet {
    /// A sheet for so many instances and constants, with the constant 0: four equal cells `z` with `z + z z = z`.
    pub fn with_room(instances: usize, room: usize) -> Self {
        let mut sheet = Self {
            advice: vec![Fr::ZERO; instances + ZEROS + room],
            instances: vec![Fr::ZERO; instances],
            added: BTreeMap::new(),
            on: Default::default(),
            digits: vec![],
            copies: vec![],
            labels: vec![(0, "P-8.4: root instances"), (instances, "constants")],
            constants: HashMap::new(),
            room,
            waiting: vec![],
        };
        (0..instances).for_each(|row| sheet.enable(Gate::Instance, row));
        sheet.enable(Gate::Arith, instances);
        let cells = [0, 1, 2, 3].map(|row| sheet.fixed(instances + row, Fr::ZERO));
        cells[..ZEROS]
            .iter()
            .for_each(|cell| sheet.equal(cell, &cells[3]));
        sheet.constants.insert(field::to_be(&Fr::ZERO), cells[ZEROS]);
        sheet
    }

    /// Moves what is laid out up to the last constant, so that no room for constants is left.
    pub fn close_room(&mut self) {
        let begin = self.instances.len() + ZEROS + self.room;
        let gap = self.room - self.constants.len();
        self.room -= gap;
        self.advice.drain(begin - gap..begin);
        let moved = |row: usize| if row < begin { row } else { row - gap };
        let added = std::mem::take(&mut self.added);
        self.added = added
            .into_iter()
            .map(|(row, value)| (moved(row), value))
            .collect();
        let gates = self.on.iter_mut().flatten();
        let digits = self.digits.iter_mut().map(|(row, _)| row);
        let copies = self.copies.iter_mut().flat_map(|(a, b, _)| [a, b]);
        let labels = self.labels.iter_mut().map(|(row, _)| row);
        for row in gates.chain(digits).chain(copies).chain(labels) {
            *row = moved(*row);
        }
        self.waiting.iter_mut().for_each(|var| var.row = moved(var.row));
    }

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
        let row = self.row();
        self.advice.push(value);
        Var {
            row,
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
        self.copies.push((a.row, b.row, label));
    }

    /// Requires a cell to equal an instance.
    pub fn equal_instance(&mut self, a: &Var, row: usize) {
        self.instances[row] = a.value;
        let instance = self.fixed(row, a.value);
        self.equal(a, &instance);
    }

    /// A constant of the circuit: `a + b c` of the three cells before it, which are constants, plus what [`Gate::Arith`] adds.
    pub fn constant(&mut self, value: Fr) -> Var {
        if let Some(known) = self.constants.get(&field::to_be(&value)) {
            return *known;
        }
        let count = self.constants.len();
        assert!(count < self.room, "more constants than rows kept for them");
        let row = self.instances.len() + count;
        let before: [Fr; ZEROS] = std::array::from_fn(|i| self.advice[row + i]);
        self.enable(Gate::Arith, row);
        self.set_added(row, value - (before[0] + before[1] * before[2]));
        let var = self.fixed(row + ZEROS, value);
        self.constants.insert(field::to_be(&value), var);
        var
    }

    /// Sets a cell among the first ones.
    fn fixed(&mut self, row: usize, value: Fr) -> Var {
        self.advice[row] = value;
        Var {
            row,
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
        if a.row + 1 != self.row() {
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
