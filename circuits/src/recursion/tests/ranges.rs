//! What the bounds of P-8.9 suppose of every addition of a whole circuit: each limb and quotient has its digits, each sign is one.
//!
//! Neither the sweep nor the propagation sees a range that is missing: a changed cell breaks its identity all the same.

use std::collections::{BTreeMap, BTreeSet};

use halo2curves::bn256::Fr;

use super::{
    circuit::{two, whole},
    unique::Classes,
};
use crate::recursion::{
    config::{CHAIN, Gate, add, digit, select},
    modulus::{LIMB_BITS, LIMB_DIGITS, LIMBS, QUOTIENT_DIGITS},
    sheet::Sheet,
};
use rules::field;

/// What a class of equal cells is known to be.
struct Ranges {
    classes: Classes,
    /// Classes whose cells are below `2^17` to that power.
    digits: BTreeMap<usize, usize>,
    /// Constants, with their values.
    constants: BTreeMap<usize, Fr>,
    /// Classes of a scalar's signs.
    signs: BTreeSet<usize>,
}

impl Ranges {
    fn of(sheet: &Sheet) -> Self {
        let classes = Classes::new(sheet);
        let looked_up: BTreeMap<usize, bool> = sheet.digits.iter().copied().collect();
        let mut digits: BTreeMap<usize, usize> = BTreeMap::new();
        for head in looked_up.keys() {
            let Some(length) = chain(&looked_up, *head) else {
                continue;
            };
            let known = digits.entry(classes.of(*head)).or_insert(length);
            *known = length.min(*known);
        }
        // Every cell behind the instances and before the first child is a constant, and `a_constant_is_no_choice`.
        let first = sheet.instances.len();
        let (end, _) = sheet
            .labels
            .iter()
            .find(|(row, _)| *row > first)
            .expect("a child");
        let constants = (first..*end)
            .map(|row| (classes.of(row), sheet.advice[row]))
            .collect();
        let signs = sheet.on[Gate::Digit as usize]
            .iter()
            .map(|row| classes.of(row + digit::SIGN))
            .collect();
        let mut ranges = Self {
            classes,
            digits,
            constants,
            signs,
        };
        ranges.choose(sheet);
        ranges
    }

    /// A chosen entry has the range that all entries have. Bits are bits by the gate that they are a scalar's in.
    fn choose(&mut self, sheet: &Sheet) {
        for row in &sheet.on[Gate::Select as usize] {
            let entries = (*row..row + select::ENTRIES).all(|entry| self.is_limb(entry));
            if entries {
                for chosen in row + select::OUT..row + select::CELLS {
                    self.digits.insert(self.classes.of(chosen), LIMB_DIGITS);
                }
            }
        }
    }

    fn has(&self, row: usize, digits: usize) -> bool {
        self.digits
            .get(&self.classes.of(row))
            .is_some_and(|known| *known <= digits)
    }

    fn is_limb(&self, row: usize) -> bool {
        let constant = self.constants.get(&self.classes.of(row));
        let is_short = |value: &Fr| field::to_integer(value).bits() <= LIMB_BITS as u64;
        constant.is_some_and(is_short) || self.has(row, LIMB_DIGITS)
    }

    fn is_sign(&self, row: usize) -> bool {
        let class = self.classes.of(row);
        let constant = self.constants.get(&class);
        let is_bit = |value: &Fr| [Fr::zero(), Fr::one()].contains(value);
        constant.is_some_and(is_bit) || self.signs.contains(&class)
    }
}

/// The digits of the chain that begins at a row, if it has an end.
fn chain(looked_up: &BTreeMap<usize, bool>, head: usize) -> Option<usize> {
    let mut row = head;
    for length in 1.. {
        match looked_up.get(&row) {
            Some(true) => row += CHAIN,
            Some(false) => return Some(length),
            None => return None,
        }
    }
    None
}

/// What is wrong with a circuit's additions: the first row of each, and the cell.
fn unbounded(sheet: &Sheet) -> Vec<(usize, &'static str)> {
    let ranges = Ranges::of(sheet);
    let mut wrong = vec![];
    for row in &sheet.on[Gate::Add as usize] {
        for (what, first) in [
            ("x", row - add::X_BEFORE),
            ("x2", row + add::X2),
            ("slope", row + add::SLOPE),
            ("x3", row + add::X3),
        ] {
            if !(first..first + LIMBS).all(|limb| ranges.is_limb(limb)) {
                wrong.push((*row, what));
            }
        }
        let quotients = row + add::QUOTIENTS;
        if !(quotients..quotients + 4).all(|quotient| ranges.has(quotient, QUOTIENT_DIGITS)) {
            wrong.push((*row, "quotients"));
        }
        if !ranges.is_sign(row + add::SIGN) {
            wrong.push((*row, "sign"));
        }
    }
    wrong
}

#[test]
fn every_limb_and_quotient_of_every_addition_has_its_range() {
    for circuit in [whole(), two()] {
        let sheet = &circuit.sheet;
        assert!(sheet.waiting.is_empty());
        assert_eq!(unbounded(sheet), []);
        println!("{} additions", sheet.on[Gate::Add as usize].len());
    }
}

#[test]
fn a_range_that_is_missing_is_found() {
    let circuit = whole();
    let row = circuit.sheet.on[Gate::Add as usize][100];
    let found = |change: &dyn Fn(&mut Sheet)| -> BTreeSet<&'static str> {
        let mut sheet = circuit.sheet.clone();
        change(&mut sheet);
        let wrong = unbounded(&sheet).into_iter();
        wrong.filter(|(at, _)| *at == row).map(|(_, what)| what).collect()
    };
    let without = |lost: usize| found(&|sheet: &mut Sheet| sheet.digits.retain(|(row, _)| *row != lost));
    for digit in 0..LIMB_DIGITS {
        assert_eq!(without(row + add::SLOPE + CHAIN * digit), ["slope"].into());
        assert_eq!(without(row + add::X3 + 4 + CHAIN * digit), ["x3"].into());
    }
    // A quotient's digits are those of the cell that it is copied to; a sign is one by its copy.
    for (cell, what) in [
        (add::QUOTIENTS, "quotients"),
        (add::QUOTIENTS + 3, "quotients"),
        (add::SIGN, "sign"),
    ] {
        let uncopied = found(&|sheet: &mut Sheet| {
            sheet.copies.retain(|(a, b, _)| ![*a, *b].contains(&(row + cell)));
        });
        assert_eq!(uncopied, [what].into());
    }
}
