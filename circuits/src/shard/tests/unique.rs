//! Uniqueness (AUDIT.md 14): fixed are the words of the witness; every other cell that anything reads must follow by the constraints.
//!
//! A cell follows from a constraint in which it alone is unknown, and to the first power; from an equal cell; from the cell before it
//! in a chain of digits, which are unique. Words that the lanes hold are known beforehand. Of column `z` the first cell that does not
//! follow is taken for a word, and so on to the last; how many there are in each part of the statement is what is expected of it.

use super::checker::Checker;
use super::gates::valid;
use super::world::{Entry, Plan, TINY, World, creation, no_op, sheet_with, withdrawal};
use crate::shard::config::{
    BLOCK_9, DIGIT_BITS, DOUBLE_ROUND_ROWS, Gate, INDEX_ABOVE, INDEX_HERE, OUT_6, STEP_ROWS, U, X, Z, step,
};
use crate::shard::sheet::{CONSTANT_ROWS, Cell, Place, Sheet};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::statement::{AFTER, SHARD_INSTANCES};
use std::collections::{BTreeMap, BTreeSet};

/// Fields of an account.
const FIELDS: usize = 6;
const COLUMNS: usize = 5;

/// Cells of the advice columns, then the constants, then the instances, by number; those that copies make equal are one.
struct Classes {
    rows: usize,
    of: Vec<u32>,
    /// Cells of each class.
    members: Vec<Vec<u32>>,
}

impl Classes {
    fn new(sheet: &Sheet) -> Self {
        let rows = sheet.advice[0].len();
        let all = COLUMNS * rows + CONSTANT_ROWS + SHARD_INSTANCES;
        let mut parents: Vec<u32> = (0..all as u32).collect();
        fn root(parents: &[u32], mut at: u32) -> u32 {
            while parents[at as usize] != at {
                at = parents[at as usize];
            }
            at
        }
        for (a, b, _) in &sheet.copies {
            let [a, b] = [a, b].map(|cell| root(&parents, number(rows, cell) as u32));
            parents[a.max(b) as usize] = a.min(b);
        }
        let of: Vec<u32> = (0..all as u32).map(|at| root(&parents, at)).collect();
        let mut members = vec![Vec::new(); all];
        for (cell, class) in of.iter().enumerate() {
            members[*class as usize].push(cell as u32);
        }
        Self { rows, of, members }
    }

    fn advice(&self, column: usize, row: usize) -> usize {
        self.of[column * self.rows + row] as usize
    }

    fn instance(&self, row: usize) -> usize {
        self.of[COLUMNS * self.rows + CONSTANT_ROWS + row] as usize
    }
}

fn number(rows: usize, cell: &Cell) -> usize {
    match cell.place {
        Place::Advice(column) => column * rows + cell.row,
        Place::Constant => COLUMNS * rows + cell.row,
        Place::Instance => COLUMNS * rows + CONSTANT_ROWS + cell.row,
    }
}

struct Resolver<'a> {
    sheet: &'a Sheet,
    /// Where the words lie: rows of each gate in a sheet that lacks nothing.
    layout: &'a [Vec<usize>],
    scratch: Sheet,
    checker: Checker,
    classes: Classes,
    known: Vec<bool>,
    /// Where constraints read a class: which, and the gate's row.
    readers: Vec<Vec<(u32, u32)>>,
    /// Rows at which each gate is on.
    on: Vec<BTreeSet<usize>>,
    /// Classes that became known and were not followed yet.
    fresh: Vec<usize>,
    /// How many words there are, by what they are.
    words: BTreeMap<&'static str, usize>,
}

impl<'a> Resolver<'a> {
    fn new(sheet: &'a Sheet, layout: &'a [Vec<usize>]) -> Self {
        let (checker, classes) = (Checker::new(), Classes::new(sheet));
        let mut readers = vec![Vec::new(); classes.of.len()];
        for (at, constraint) in checker.constraints.iter().enumerate() {
            for row in &sheet.on[constraint.gate as usize] {
                for (column, rotation) in constraint.reads() {
                    let class = classes.advice(*column, row_of(*row, *rotation));
                    readers[class].push((at as u32, *row as u32));
                }
            }
        }
        Self {
            scratch: sheet.clone(),
            checker,
            known: vec![false; classes.of.len()],
            classes,
            readers,
            on: sheet
                .on
                .iter()
                .map(|rows| rows.iter().copied().collect())
                .collect(),
            fresh: Vec::new(),
            words: BTreeMap::new(),
            layout,
            sheet,
        }
    }

    fn is_on(&self, gate: Gate, row: usize) -> bool {
        self.on[gate as usize].contains(&row)
    }

    fn know(&mut self, class: usize) {
        if !std::mem::replace(&mut self.known[class], true) {
            self.fresh.push(class);
        }
    }

    fn word(&mut self, what: &'static str, column: usize, row: usize) {
        *self.words.entry(what).or_default() += 1;
        self.know(self.classes.advice(column, row));
    }

    /// The class that a constraint forces at a row: the only one that is unknown, of degree 1.
    fn forced(&mut self, constraint: usize, row: usize) -> Option<usize> {
        let constraint = &self.checker.constraints[constraint];
        let cells: Vec<(usize, usize)> = constraint
            .reads()
            .iter()
            .map(|(column, rotation)| (*column, row_of(row, *rotation)))
            .collect();
        let is_known = |cell: &(usize, usize)| self.known[self.classes.advice(cell.0, cell.1)];
        // A factor of a known zero does not count.
        let is_idle = |cell: &(usize, usize)| {
            constraint.gate == Gate::Arith
                && [(1, 2), (2, 1)].iter().any(|(factor, other)| {
                    let other = (Z, row + other);
                    *cell == (Z, row + factor)
                        && is_known(&other)
                        && self.sheet.advice[Z][other.1] == Fr::ZERO
                })
        };
        let unknown: Vec<(usize, usize)> = cells
            .into_iter()
            .filter(|cell| !is_known(cell) && !is_idle(cell))
            .collect();
        let class = self.classes.advice(unknown.first()?.0, unknown[0].1);
        if unknown
            .iter()
            .any(|cell| self.classes.advice(cell.0, cell.1) != class)
        {
            return None;
        }
        let [next, second, third] = [1u64, 2, 3].map(|delta| {
            for (column, row) in &unknown {
                self.scratch.advice[*column][*row] = self.sheet.advice[*column][*row] + Fr::from(delta);
            }
            constraint.value(&self.scratch, row)
        });
        for (column, row) in &unknown {
            self.scratch.advice[*column][*row] = self.sheet.advice[*column][*row];
        }
        let is_linear = next != Fr::ZERO && second == next.double() && third == second + next;
        is_linear.then_some(class)
    }

    /// Digits of a known integer: the cells further down in its chain. (Each chain ends in a constant: `chains_end`.)
    fn digits(&mut self, cell: usize) {
        let (column, row) = (cell / self.classes.rows, cell % self.classes.rows);
        if column == Z {
            if self.is_on(Gate::Range, row) {
                self.know(self.classes.advice(Z, row + 1));
            }
            for offset in [step::S, step::H] {
                let begin = row.wrapping_sub(offset);
                if self.is_on(Gate::StepT, begin) || self.is_on(Gate::StepU, begin) {
                    self.know(self.classes.advice(Z, row - STEP_ROWS));
                }
            }
        }
        let base = row.wrapping_sub(INDEX_HERE);
        if column == U[1] && self.is_on(Gate::Path, base) {
            self.know(self.classes.advice(U[1], base + INDEX_ABOVE));
            for bit in DIGIT_BITS {
                self.know(self.classes.advice(U[0], base + bit));
            }
        }
    }

    fn resolve(&mut self) {
        while let Some(class) = self.fresh.pop() {
            for cell in self.classes.members[class].clone() {
                if (cell as usize) < COLUMNS * self.classes.rows {
                    self.digits(cell as usize);
                }
            }
            for (constraint, row) in self.readers[class].clone() {
                if let Some(class) = self.forced(constraint as usize, row as usize) {
                    self.know(class);
                }
            }
        }
    }

    /// What is known beforehand, and the words in the lanes.
    fn begin(&mut self) {
        for row in 0..CONSTANT_ROWS {
            self.know(self.classes.of[COLUMNS * self.classes.rows + row] as usize);
        }
        for row in 0..AFTER {
            self.know(self.classes.instance(row));
        }
        let layout = self.layout;
        for mask in &layout[Gate::Mask as usize] {
            let leaf = mask - BLOCK_9;
            for field in 0..FIELDS {
                self.word("accounts before", X[0], leaf + 1 + field);
            }
            self.word("indices", U[1], mask + 1 + INDEX_HERE);
        }
        for path in &layout[Gate::Path as usize] {
            let set = |bit: usize| self.sheet.advice[U[0]][path + DIGIT_BITS[bit]] == Fr::ONE;
            let digit = (0..3).map(|bit| usize::from(set(bit)) << bit).sum::<usize>();
            for sibling in (0..8).filter(|i| *i != digit) {
                self.word("siblings", X[0], path + 1 + sibling);
            }
        }
        for init in &layout[Gate::Init6 as usize] {
            let challenge = init - 3 * 6;
            self.word("R8", X[0], challenge + 1);
            self.word("R8", X[0], challenge + 2);
            for row in 0..OUT_6 {
                self.word("lane 1 beside a challenge", X[1], challenge + row);
            }
        }
        for base in self.hashes_of_nothing() {
            for input in 0..8 {
                self.word("lane 0 beside a room's record", X[0], base + 1 + input);
            }
        }
        let steps: BTreeSet<usize> = [Gate::StepT, Gate::StepU]
            .iter()
            .flat_map(|gate| layout[*gate as usize].iter().copied())
            .collect();
        for last in steps.iter().filter(|row| !steps.contains(&(**row + STEP_ROWS))) {
            self.word("S", Z, last + step::S);
        }
        self.resolve();
    }

    /// Blocks that are no leaf, no node and no message: nothing is copied into lane 0.
    fn hashes_of_nothing(&self) -> Vec<usize> {
        let is_on = |gate: Gate, row: usize| self.layout[gate as usize].contains(&row);
        let is_first = |row: usize| is_on(Gate::Init9, row + DOUBLE_ROUND_ROWS);
        let is_other = |row: usize| !is_on(Gate::Path, row) && !is_on(Gate::Mask, row + BLOCK_9);
        let is_alone = |row: usize| self.classes.members[self.classes.advice(X[0], row + 1)].len() == 1;
        let blocks = self.layout[Gate::Next9 as usize].iter().copied();
        blocks
            .filter(|row| is_first(*row) && is_other(*row) && is_alone(*row))
            .collect()
    }

    fn is_read(&self, column: usize, row: usize) -> bool {
        let class = self.classes.advice(column, row);
        self.classes.members[class].len() > 1 || !self.readers[class].is_empty()
    }

    /// Takes what does not follow in column `z` for words. Returns the cells of other columns that do not follow.
    fn finish(&mut self) -> Vec<(usize, usize)> {
        self.begin();
        for row in 0..self.sheet.z_row {
            if !self.known[self.classes.advice(Z, row)] && self.is_read(Z, row) {
                let next = self.sheet.labels.partition_point(|(start, _)| *start <= row);
                self.word(self.sheet.labels[next - 1].1, Z, row);
                self.resolve();
            }
        }
        let cells = (0..Z).flat_map(|column| (0..self.sheet.lane_row).map(move |row| (column, row)));
        cells
            .filter(|(column, row)| {
                !self.known[self.classes.advice(*column, *row)] && self.is_read(*column, *row)
            })
            .collect()
    }
}

fn row_of(row: usize, rotation: i32) -> usize {
    (row as i32 + rotation) as usize
}

/// Words of a shard of one group: an operation of the queue, then a transfer, a withdrawal, a creation and two no-ops, without exponents.
fn expected(entry: &Entry) -> BTreeMap<&'static str, usize> {
    let (places, rooms, withdrawals, records, no_ops) = (5, 1, 1, 4, 2);
    let accesses = 3 * places + rooms;
    let mut words = BTreeMap::from([
        ("accounts before", FIELDS * accesses),
        ("indices", accesses),
        ("siblings", 11 * 7 * accesses),
        ("R8", 2 * places),
        ("S", places),
        ("lane 1 beside a challenge", OUT_6 * places),
        ("lane 0 beside a room's record", 8 * rooms),
        // Of the bits of kinds, some follow from an index or a balance that is not 0: one of four here; of three bits of a transfer
        // all, of a withdrawal two, of a creation one. A group's last place has one bit.
        ("P-6.6: one kind of the queue or none", 3 * rooms),
        ("P-4.3: one kind or none", 1 + 2 + 3 + 1),
        // Token, amount, address; both parts of two coordinates.
        ("P-6.6: fields", 7 * rooms),
        // Mantissa, five bits, and whether the exponent asks for a mantissa, which means nothing where it is 0. Of a no-op, whose word
        // is 0, a bit follows from the others.
        ("P-4.2: amount", 7 * places),
        ("P-4.2: fee", 7 * places - no_ops),
        ("P-4.3: amounts by kind", withdrawals),
        ("P-4.4.6: not expired", places),
        // The borrow, of which both values may fit; it means nothing else.
        ("P-5.3: the challenge's bits are its canonical integer", places),
        // Which integer a coordinate is posted as.
        ("P-6.6: key", 2 * records),
    ]);
    match entry.kind {
        1 => drop(words.insert("P-4.11: occupied", rooms)),
        // Elsewhere there is somebody, who has something; an exit that takes something is by the account's address.
        3 => drop(words.insert("P-6.6: fields", 6 * rooms)),
        _ => {}
    }
    words
}

fn sheet_of(entry: &Entry, plans: &[Plan]) -> Sheet {
    let mut world = World::new();
    let root = world.tree.root();
    let group = world.group(Some(entry), plans);
    sheet_with(TINY, root, &[group]).0
}

#[test]
fn every_cell_follows_from_the_words_of_the_witness() {
    let plans = [Plan::default(), withdrawal(), creation(), no_op()];
    for entry in Entry::all() {
        let sheet = sheet_of(&entry, &plans);
        let mut resolver = Resolver::new(&sheet, &sheet.on);
        let loose = resolver.finish();
        assert!(
            loose.is_empty(),
            "{} cells do not follow, first {:?}",
            loose.len(),
            &loose[..loose.len().min(9)]
        );
        assert_eq!(resolver.words, expected(&entry), "kind {}", entry.kind);
        for row in 0..SHARD_INSTANCES {
            assert!(resolver.known[resolver.classes.instance(row)], "instance {row}");
        }
    }
}

/// A chain of digits tells what they are by its end: the constant 0 or a bit.
#[test]
fn chains_end() {
    let (sheet, _) = valid();
    let classes = Classes::new(&sheet);
    let constant = |value: Fr| {
        let row = (0..CONSTANT_ROWS).find(|row| sheet.fixed[0][*row] == value);
        classes.of[COLUMNS * classes.rows + row.expect("a constant of the circuit")]
    };
    let zero = constant(Fr::ZERO) as usize;
    let ranges: BTreeSet<usize> = sheet.on[Gate::Range as usize].iter().copied().collect();
    let ends = ranges.iter().filter(|row| !ranges.contains(&(**row + 1)));
    let is_bit = |row: usize| {
        let class = classes.advice(Z, row);
        let mut bits = sheet.on[Gate::Arith as usize].iter().filter(|at| {
            let of = |offset: usize| classes.advice(Z, **at + offset);
            of(0) == zero && [1, 2, 3].iter().all(|offset| of(*offset) == class)
        });
        bits.next().is_some()
    };
    let (whole, odd): (Vec<usize>, Vec<usize>) = ends
        .map(|row| row + 1)
        .partition(|row| classes.advice(Z, *row) == zero);
    assert!(odd.iter().all(|row| is_bit(*row)));
    assert_eq!(odd.len(), 5, "the mantissas of amounts");
    assert!(whole.len() > odd.len());
    let paths = &sheet.on[Gate::Path as usize];
    let lasts = paths.iter().skip(10).step_by(11);
    assert!(
        lasts.clone().count() == 16
            && lasts
                .clone()
                .all(|row| classes.advice(U[1], row + INDEX_ABOVE) == zero)
    );
    for pair in paths.windows(2).filter(|pair| pair[0] + BLOCK_9 == pair[1]) {
        let [above, here] = [pair[0] + INDEX_ABOVE, pair[1] + INDEX_HERE];
        assert_eq!(classes.advice(U[1], above), classes.advice(U[1], here));
    }
}

#[test]
fn a_constraint_that_is_missing_leaves_cells_that_do_not_follow() {
    let (sheet, _) = valid();
    let changed = |other: &Sheet| {
        let mut resolver = Resolver::new(other, &sheet.on);
        !resolver.finish().is_empty() || resolver.words != expected(&Entry::deposit_new())
    };
    assert!(!changed(&sheet));
    for gate in [
        Gate::Quart,
        Gate::Next9,
        Gate::Recur9,
        Gate::Full6,
        Gate::Mask,
        Gate::Path,
        Gate::Arith,
        Gate::Range,
        Gate::StepT,
        Gate::StepU,
    ] {
        let mut other = sheet.clone();
        let rows = &mut other.on[gate as usize];
        rows.remove(rows.len() / 2);
        assert!(changed(&other), "{gate:?}");
    }
    let mut other = sheet.clone();
    let copies = other.copies.len();
    other.copies.remove(copies / 2);
    assert!(changed(&other));
}
