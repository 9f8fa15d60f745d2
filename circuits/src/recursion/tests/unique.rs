//! Uniqueness (AUDIT.md 14): fixed are the children's words, and what is free by design; every other cell that anything
//! reads must follow by the constraints.
//!
//! A cell follows from a constraint in which it alone is unknown, and to the first power; from an equal cell; from the cell
//! above it in a chain, since digits are unique. What an identity modulo q gives follows as an element: its limbs are
//! free as far as x and x + q are. Those are counted, with all that is free by design.

use std::collections::{BTreeMap, BTreeSet};

use halo2curves::{bn256::Fr, ff::Field};

use super::{
    checker::{Checker, Constraint, Incidence, at},
    circuit::whole,
};
use crate::{
    plonk::tests::example::shape,
    recursion::{
        config::{CHAIN, GATES, Gate, add, digit},
        modulus::{Exact, LIMBS},
        scalar::{SHORT_WINDOWS, WINDOWS},
        sheet::Sheet,
    },
};

/// Elements of the helper point.
const HELPER: usize = 2;

/// Cells by class: those that copies make equal are one.
pub struct Classes(Vec<usize>);

impl Classes {
    pub fn new(sheet: &Sheet) -> Self {
        let mut classes = Self((0..sheet.row()).collect());
        for (a, b, _) in &sheet.copies {
            let (a, b) = (classes.of(*a), classes.of(*b));
            classes.0[a.max(b)] = a.min(b);
        }
        for row in 0..sheet.row() {
            classes.0[row] = classes.of(row);
        }
        classes
    }

    pub fn of(&self, mut row: usize) -> usize {
        while self.0[row] != row {
            row = self.0[row];
        }
        row
    }
}

struct Resolver<'a> {
    sheet: &'a Sheet,
    scratch: Sheet,
    checker: Checker,
    classes: Classes,
    known: Vec<bool>,
    /// Gates by row, in order.
    gates: Vec<(usize, Gate)>,
    /// Rows whose digit is looked up, and whether the chain goes on.
    digits: BTreeMap<usize, bool>,
    /// A cell of the constant 0.
    zero: usize,
    /// First cells of elements that no addition makes, in order: points, the helper's, reduced ones.
    bare: Vec<usize>,
    /// How many things are free, by the reason.
    free: BTreeMap<&'static str, usize>,
}

impl<'a> Resolver<'a> {
    fn new(sheet: &'a Sheet) -> Self {
        let of = |gate: Gate| sheet.on[gate as usize].iter().map(move |row| (*row, gate));
        // What comes out may not be known beforehand.
        let inner = GATES.into_iter().filter(|gate| *gate != Gate::Instance);
        let mut gates: Vec<(usize, Gate)> = inner.flat_map(of).collect();
        gates.sort_unstable_by_key(|(row, gate)| (*row, *gate as usize));
        let digits: BTreeMap<usize, bool> = sheet.digits.iter().copied().collect();
        let made: BTreeSet<usize> = sheet.on[Gate::Add as usize]
            .iter()
            .flat_map(|row| [row + add::SLOPE, row + add::X3])
            .collect();
        let goes_on = |row: usize| digits.get(&row) == Some(&true);
        let is_limb = |row: usize| {
            let begins = goes_on(row) && !row.checked_sub(CHAIN).is_some_and(goes_on);
            begins && goes_on(row + CHAIN) && digits.get(&(row + 2 * CHAIN)) == Some(&false)
        };
        let mut bare = vec![];
        let mut row = 0;
        while row < sheet.row() {
            let is_element = (row..row + LIMBS).all(is_limb);
            if is_element && !made.contains(&row) {
                bare.push(row);
            }
            row += if is_element { LIMBS } else { 1 };
        }
        let classes = Classes::new(sheet);
        Self {
            scratch: sheet.clone(),
            checker: Checker::new(),
            zero: classes.0[sheet.instances.len()],
            classes,
            known: vec![false; sheet.row()],
            gates,
            digits,
            bare,
            free: BTreeMap::new(),
            sheet,
        }
    }

    fn knows(&self, row: usize) -> bool {
        self.known[self.classes.0[row]]
    }

    fn know(&mut self, row: usize) -> bool {
        let class = self.classes.0[row];
        !std::mem::replace(&mut self.known[class], true)
    }

    fn knows_all(&self, from: usize, count: usize) -> bool {
        (from..from + count).all(|row| self.knows(row))
    }

    fn know_all(&mut self, from: usize, count: usize) {
        (from..from + count).for_each(|row| {
            self.know(row);
        });
    }

    fn count(&mut self, reason: &'static str) {
        *self.free.entry(reason).or_default() += 1;
    }

    /// The cell that a constraint forces at a row: the only unknown, of degree 1.
    fn forced(&mut self, constraint: usize, row: usize) -> Option<usize> {
        let constraint: &Constraint = &self.checker.constraints[constraint];
        let mut unknown = constraint.reads.iter().map(|read| at(row, *read)).filter(|row| {
            let class = self.classes.0[*row];
            !self.known[class]
        });
        let cell = unknown.next()?;
        let class = self.classes.0[cell];
        let mut same = vec![cell];
        for other in unknown {
            if self.classes.0[other] != class {
                return None;
            }
            same.push(other);
        }
        let kept = self.sheet.advice[cell];
        let values = [0u64, 1, 2].map(|delta| {
            for cell in &same {
                self.scratch.advice[*cell] = kept + Fr::from(delta);
            }
            constraint.value(&self.scratch, row)
        });
        same.iter().for_each(|cell| self.scratch.advice[*cell] = kept);
        let [at, next, last] = values;
        assert_eq!(at, Fr::ZERO, "a valid sheet");
        let is_linear = next != Fr::ZERO && last == next.double();
        is_linear.then_some(cell)
    }

    fn is_zero_constant(&self, from: usize) -> bool {
        (from..from + LIMBS).all(|row| self.classes.0[row] == self.zero)
    }

    fn element(&self, from: usize) -> halo2curves::bn256::Fq {
        let limb = |i: usize| rules::field::to_integer(&self.sheet.advice[from + i]);
        Exact::element(&std::array::from_fn(|i| i64::try_from(limb(i)).expect("a limb"))).to_base()
    }

    /// What an addition makes of known operands.
    fn addition(&mut self, row: usize) -> bool {
        let first = [(row - add::X_BEFORE, LIMBS), (row - add::Y_BEFORE, 2)];
        let second = [(row + add::X2, LIMBS), (row + add::Y2, 2), (row + add::SIGN, 1)];
        if !first
            .iter()
            .chain(&second)
            .all(|(from, count)| self.knows_all(*from, *count))
        {
            return false;
        }
        let mut moved = false;
        if !self.knows_all(row + add::SLOPE, LIMBS) {
            let points = [row - add::X_BEFORE, row + add::X2];
            if self.element(points[0]) == self.element(points[1]) {
                let zeros = points.map(|x| self.is_zero_constant(x));
                assert_eq!(
                    zeros, [true; 2],
                    "only where a reduction is meant is the slope free"
                );
                self.count("slopes of reductions");
            } else {
                self.count("elements that an addition makes: x or x + q");
            }
            self.know_all(row + add::SLOPE, LIMBS);
            moved = true;
        }
        if !self.knows_all(row + add::X3, LIMBS) {
            self.count("elements that an addition makes: x or x + q");
            self.know_all(row + add::X3, LIMBS);
            moved = true;
        }
        moved
    }

    /// A reduction: the element before it has the value of a known integer.
    fn reduction(&mut self) -> bool {
        let waits = |row: &&usize| {
            let zeros = [**row - add::X_BEFORE, **row + add::X2].map(|x| self.is_zero_constant(x));
            let y = **row - add::Y_BEFORE;
            zeros == [true; 2] && self.knows_all(y, 2) && !self.knows_all(**row + add::Y2, 2)
        };
        let Some(row) = self.sheet.on[Gate::Add as usize].iter().find(waits).copied() else {
            return false;
        };
        let element = self.bare.iter().rev().find(|element| **element < row);
        let element = *element.expect("a reduction follows its element");
        assert!(!self.knows_all(element, LIMBS), "an element of its own");
        self.know_all(element, LIMBS);
        self.count("reduced elements: x or x + q");
        self.resolve();
        assert!(
            self.knows_all(row + add::Y2, 2),
            "the reduction is of that element"
        );
        true
    }

    /// The digits of known scalars.
    fn scalars(&mut self) -> bool {
        let mut moved = false;
        for digits in scalars(self.sheet) {
            let (first, last) = (digits[0], digits[digits.len() - 1]);
            assert_eq!(
                self.classes.0[first], self.zero,
                "a prefix begins with the constant 0"
            );
            if !self.knows(last + digit::NEXT) || self.knows_all(first + digit::SIGN, 4) {
                continue;
            }
            digits.iter().for_each(|row| self.know_all(row + digit::SIGN, 4));
            self.count("scalars, in digits");
            moved = true;
        }
        moved
    }

    fn resolve(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.gates.len() {
                let (row, gate) = self.gates[at];
                if gate == Gate::Add {
                    moved |= self.addition(row);
                }
                for constraint in 0..self.checker.constraints.len() {
                    if self.checker.constraints[constraint].gate == gate
                        && let Some(cell) = self.forced(constraint, row)
                    {
                        moved |= self.know(cell);
                    }
                }
            }
            for (row, goes_on) in self.digits.clone() {
                if goes_on && self.knows(row) {
                    moved |= self.know(row + CHAIN);
                }
            }
            moved |= self.scalars();
            if !moved {
                return;
            }
        }
    }
}

/// The rows of each scalar's windows.
fn scalars(sheet: &Sheet) -> Vec<&[usize]> {
    let rows = &sheet.on[Gate::Digit as usize];
    rows.chunk_by(|row, next| *next == row + digit::NEXT).collect()
}

/// Resolves a circuit of one child. Returns the cells that are read and do not follow.
fn loose(resolver: &mut Resolver<'_>) -> Vec<usize> {
    let (sheet, shape) = (resolver.sheet, shape());
    // The constant 0, the only number with `z + z z = z`.
    resolver.know(sheet.instances.len());
    // The child: two elements for each point, then its instances and scalars.
    let of = |name: &str| sheet.labels.iter().position(|(_, label)| *label == name).unwrap();
    let end = sheet.labels[of("P-8.10: a child's points") + 1].0;
    let words = shape.instances + shape.scalars;
    resolver.know_all(end - words, words);
    // The helper: one of some points above its seed, with either sign.
    let start = sheet.labels[of("P-8.12: the helper point")].0;
    let given = 2 * shape.points.total() + HELPER;
    for place in 0..given {
        let element = resolver.bare[place];
        assert_eq!(element < end, place + HELPER < given);
        assert_eq!(element >= start, place + HELPER >= given);
        resolver.know_all(element, LIMBS);
    }
    resolver.resolve();
    while resolver.reduction() {}
    let incidence = Incidence::new(&resolver.checker, sheet);
    let unknown = (0..sheet.row()).filter(|row| !resolver.knows(*row));
    unknown.filter(|row| incidence.reads(*row)).collect()
}

#[test]
fn every_cell_follows_from_the_children_or_is_free_by_design() {
    let circuit = whole();
    let mut resolver = Resolver::new(&circuit.sheet);
    let loose = loose(&mut resolver);
    assert!(
        loose.is_empty(),
        "{} cells do not follow, first {:?}",
        loose.len(),
        &loose[..loose.len().min(9)]
    );
    for (reason, count) in &resolver.free {
        println!("{count:>6} {reason}");
    }
    let reduced = resolver.bare.len() - 2 * shape().points.total() - HELPER;
    assert_eq!(resolver.free["reduced elements: x or x + q"], reduced);
    assert_eq!(resolver.free["slopes of reductions"], reduced);
    let scalars = scalars(&circuit.sheet);
    assert!(
        scalars
            .iter()
            .all(|digits| [WINDOWS, SHORT_WINDOWS].contains(&digits.len()))
    );
    assert_eq!(resolver.free["scalars, in digits"], scalars.len());
    assert_eq!(resolver.free.len(), 4, "nothing else is free");
}

#[test]
fn a_constraint_that_is_missing_leaves_cells_that_do_not_follow() {
    let circuit = whole();
    for gate in [Gate::Select, Gate::Arith, Gate::Full, Gate::Partial] {
        let mut sheet = circuit.sheet.clone();
        let rows = &mut sheet.on[gate as usize];
        rows.remove(rows.len() / 2);
        assert!(!loose(&mut Resolver::new(&sheet)).is_empty(), "{gate:?}");
    }
    let mut sheet = circuit.sheet.clone();
    let copies = sheet.copies.len();
    sheet.copies.remove(copies / 2);
    assert!(!loose(&mut Resolver::new(&sheet)).is_empty());
}
