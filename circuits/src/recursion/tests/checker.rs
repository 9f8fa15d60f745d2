//! Evaluates every gate, lookup and copy of a sheet, and names what fails. `agrees_with_mock_prover` holds it to halo2's own check.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use halo2_proofs::plonk::{ConstraintSystem, Expression};
use halo2curves::{bn256::Fr, ff::Field};
use rayon::prelude::*;

use crate::recursion::{
    circuit::lookup_coefficients,
    config::{CHAIN, GATES, Gate, RecursionConfig, add},
    modulus::DIGIT_BITS,
    sheet::Sheet,
};
use rules::field;

/// One polynomial of one gate.
pub struct Constraint {
    pub name: String,
    pub gate: Gate,
    poly: Expression<Fr>,
    /// What the switches hold where the gate is on, by column.
    switches: HashMap<usize, Fr>,
    /// Rotations of `a` that it reads.
    pub reads: BTreeSet<i32>,
}

/// All constraints of the circuit.
pub struct Checker {
    pub constraints: Vec<Constraint>,
}

/// A row so many rows on.
pub fn at(row: usize, rotation: i32) -> usize {
    let row = row.checked_add_signed(rotation as isize);
    row.expect("a gate reads rows that there are")
}

fn walk(poly: &Expression<Fr>, visit: &mut impl FnMut(&Expression<Fr>)) {
    visit(poly);
    match poly {
        Expression::Negated(a) | Expression::Scaled(a, _) => walk(a, visit),
        Expression::Sum(a, b) | Expression::Product(a, b) => {
            walk(a, visit);
            walk(b, visit);
        }
        _ => {}
    }
}

impl Checker {
    pub fn new() -> Self {
        let mut cs = ConstraintSystem::default();
        let config = RecursionConfig::configure(&mut cs);
        let mut constraints = vec![];
        assert_eq!(cs.gates().len(), GATES.len());
        for (gate, on) in cs.gates().iter().zip(GATES) {
            assert_eq!(gate.name(), format!("{on:?}").to_lowercase());
            let columns = config.switches.map(|column| column.index());
            let switches: HashMap<usize, Fr> = columns.into_iter().zip(on.switches().map(Fr::from)).collect();
            for (i, poly) in gate.polynomials().iter().enumerate() {
                let mut reads = BTreeSet::new();
                walk(poly, &mut |node| {
                    if let Expression::Advice(query) = node {
                        reads.insert(query.rotation().0);
                    }
                });
                constraints.push(Constraint {
                    name: format!("{}: {}", gate.name(), gate.constraint_name(i)),
                    gate: on,
                    poly: poly.clone(),
                    switches: switches.clone(),
                    reads,
                });
            }
        }
        Self { constraints }
    }

    /// Names of all that fails, with the part of the statement it belongs to.
    pub fn failures(&self, sheet: &Sheet, instances: &[Fr]) -> BTreeSet<String> {
        let mut sheet = std::borrow::Cow::Borrowed(sheet);
        if sheet.instances != instances {
            sheet.to_mut().instances = instances.to_vec();
        }
        let sheet = sheet.as_ref();
        let gates = self.constraints.par_iter().flat_map(|constraint| {
            sheet.on[constraint.gate as usize].par_iter().filter_map(|&row| {
                let holds = constraint.holds(sheet, row);
                (!holds).then(|| format!("{} @ {}", constraint.name, part(sheet, row)))
            })
        });
        let digits = sheet.digits.par_iter().filter_map(|(row, next)| {
            let holds = is_digit(sheet, *row, *next);
            (!holds).then(|| format!("digit @ {}", part(sheet, *row)))
        });
        let copies = sheet.copies.par_iter().filter_map(|(a, b, label)| {
            (sheet.advice[*a] != sheet.advice[*b]).then(|| format!("copy @ {label}"))
        });
        gates.chain(digits).chain(copies).collect()
    }
}

impl Constraint {
    /// Whether it holds at a row at which its gate is on.
    pub fn holds(&self, sheet: &Sheet, row: usize) -> bool {
        self.value(sheet, row) == Fr::ZERO
    }

    /// The polynomial's value where its gate is on.
    pub fn value(&self, sheet: &Sheet, row: usize) -> Fr {
        let constant = |row: usize| sheet.added.get(&row).copied().unwrap_or(Fr::ZERO);
        self.poly.evaluate(
            &|constant| constant,
            &|_| Fr::ONE,
            &|query| match self.switches.get(&query.column_index()) {
                Some(value) => *value,
                None => {
                    assert_eq!(query.column_index(), 0, "gates read switches and constants only");
                    constant(at(row, query.rotation().0))
                }
            },
            &|query| sheet.advice[at(row, query.rotation().0)],
            &|query| sheet.instances[at(row, query.rotation().0)],
            &|_| unreachable!("no challenges"),
            &|a| -a,
            &|a, b| a + b,
            &|a, b| a * b,
            &|a, scale| a * scale,
        )
    }
}

fn is_digit(sheet: &Sheet, row: usize, next: bool) -> bool {
    let [digit, chained] = lookup_coefficients(next);
    let looked_up = digit * sheet.advice[row] + chained * sheet.advice[row + CHAIN];
    field::to_integer(&looked_up).bits() <= DIGIT_BITS as u64
}

fn part(sheet: &Sheet, row: usize) -> &'static str {
    let next = sheet.labels.partition_point(|(start, _)| *start <= row);
    next.checked_sub(1).map_or("", |i| sheet.labels[i].1)
}

/// Which constraints read a cell, found fast.
pub struct Incidence<'a> {
    checker: &'a Checker,
    gates: BTreeMap<usize, Vec<Gate>>,
    digits: HashMap<usize, bool>,
    copied: BTreeSet<usize>,
}

impl<'a> Incidence<'a> {
    pub fn new(checker: &'a Checker, sheet: &Sheet) -> Self {
        let mut gates: BTreeMap<usize, Vec<Gate>> = BTreeMap::new();
        for gate in GATES {
            for row in &sheet.on[gate as usize] {
                gates.entry(*row).or_default().push(gate);
            }
        }
        let cells = sheet.copies.iter().flat_map(|(a, b, _)| [a, b]);
        Self {
            checker,
            gates,
            digits: sheet.digits.iter().copied().collect(),
            copied: cells.copied().collect(),
        }
    }

    /// Whether anything reads the cell.
    pub fn reads(&self, row: usize) -> bool {
        self.copied.contains(&row)
            || self.digits_of(row).next().is_some()
            || self.constraints_of(row).next().is_some()
    }

    /// Whether adding `delta` to the cell breaks a copy, a lookup or a gate; `scratch` is left as it was.
    pub fn notices(&self, scratch: &mut Sheet, row: usize, delta: Fr) -> bool {
        if self.copied.contains(&row) {
            return true;
        }
        let kept = scratch.advice[row];
        scratch.advice[row] = kept + delta;
        let noticed = self.digits_of(row).any(|(at, next)| !is_digit(scratch, at, next))
            || self
                .constraints_of(row)
                .any(|(constraint, at)| !constraint.holds(scratch, at));
        scratch.advice[row] = kept;
        noticed
    }

    fn digits_of(&self, row: usize) -> impl Iterator<Item = (usize, bool)> {
        let above = row.wrapping_sub(CHAIN);
        let above = self
            .digits
            .get(&above)
            .filter(|next| **next)
            .map(|next| (above, *next));
        self.digits
            .get(&row)
            .map(|next| (row, *next))
            .into_iter()
            .chain(above)
    }

    fn constraints_of(&self, row: usize) -> impl Iterator<Item = (&'a Constraint, usize)> {
        // No gate reads further.
        let near = row.saturating_sub(add::CELLS)..=row + add::Y_BEFORE;
        self.gates.range(near).flat_map(move |(at, gates)| {
            let rotation = row as i32 - *at as i32;
            let gates = gates.clone();
            self.checker
                .constraints
                .iter()
                .filter(move |constraint| {
                    gates.contains(&constraint.gate) && constraint.reads.contains(&rotation)
                })
                .map(move |constraint| (constraint, *at))
        })
    }
}
