//! Evaluates every gate and copy of a sheet, and names what fails. `agrees_with_mock_prover` holds it to halo2's own check.

use crate::shard::config::{GATES, Gate, ShardConfig};
use crate::shard::sheet::{Cell, Place, Sheet};
use halo2_proofs::arithmetic::Field;
use halo2_proofs::plonk::{ConstraintSystem, Expression};
use rayon::prelude::*;
use rules::Fr;
use std::collections::{BTreeSet, HashMap};

/// One polynomial of one gate.
pub struct Constraint {
    pub name: String,
    pub gate: Gate,
    poly: Expression<Fr>,
    reads: Vec<(usize, i32)>,
    cost: usize,
}

/// All constraints of the circuit, one entry for each gate that switches a polynomial on.
pub struct Checker {
    pub constraints: Vec<Constraint>,
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
        let config = ShardConfig::configure(&mut cs);
        let gate_of: HashMap<usize, Gate> = GATES
            .iter()
            .map(|gate| (config.selector(*gate).index(), *gate))
            .collect();
        let mut constraints = Vec::new();
        for gate in cs.gates() {
            for (i, poly) in gate.polynomials().iter().enumerate() {
                let (mut on, mut reads, mut cost) = (BTreeSet::new(), BTreeSet::new(), 0);
                walk(poly, &mut |node| {
                    cost += 1;
                    match node {
                        Expression::Selector(selector) => {
                            on.insert(selector.index());
                        }
                        Expression::Advice(query) => {
                            reads.insert((query.column_index(), query.rotation().0));
                        }
                        _ => {}
                    }
                });
                for selector in on {
                    constraints.push(Constraint {
                        name: format!("{}: {}", gate.name(), gate.constraint_name(i)),
                        gate: gate_of[&selector],
                        poly: poly.clone(),
                        reads: reads.iter().copied().collect(),
                        cost,
                    });
                }
            }
        }
        constraints.sort_by_key(|constraint| constraint.cost);
        Self { constraints }
    }

    /// Names of all that fails, with the part of the statement it belongs to.
    pub fn failures(&self, sheet: &Sheet, instances: &[Fr]) -> BTreeSet<String> {
        let gates = self.constraints.par_iter().flat_map(|constraint| {
            sheet.on[constraint.gate as usize].par_iter().filter_map(|&row| {
                let holds = constraint.holds(sheet, row);
                (!holds).then(|| format!("{} @ {}", constraint.name, part(sheet, constraint.gate, row)))
            })
        });
        let copies = sheet.copies.par_iter().filter_map(|(a, b, label)| {
            (value(sheet, instances, a) != value(sheet, instances, b)).then(|| format!("copy @ {label}"))
        });
        gates.chain(copies).collect()
    }
}

impl Constraint {
    /// Advice cells that it reads: column and rotation.
    pub fn reads(&self) -> &[(usize, i32)] {
        &self.reads
    }

    /// Whether it holds at a row at which its gate is on.
    pub fn holds(&self, sheet: &Sheet, row: usize) -> bool {
        self.value(sheet, row) == Fr::ZERO
    }

    /// What is 0 where it holds. The selectors of a sum exclude each other; evaluated as 1 each they scale the polynomial, which
    /// does not matter.
    pub fn value(&self, sheet: &Sheet, row: usize) -> Fr {
        let at = |values: &[Fr], rotation: i32| values[(row as i32 + rotation) as usize];
        self.poly.evaluate(
            &|constant| constant,
            &|_| Fr::ONE,
            &|query| at(&sheet.fixed[query.column_index()], query.rotation().0),
            &|query| at(&sheet.advice[query.column_index()], query.rotation().0),
            &|_| unreachable!("no gate reads the instance column"),
            &|_| unreachable!("no challenges"),
            &|a| -a,
            &|a, b| a + b,
            &|a, b| a * b,
            &|a, scale| a * scale,
        )
    }
}

fn part(sheet: &Sheet, gate: Gate, row: usize) -> &'static str {
    if !matches!(gate, Gate::Arith | Gate::Range | Gate::StepT | Gate::StepU) {
        return "lanes";
    }
    let next = sheet.labels.partition_point(|(start, _)| *start <= row);
    next.checked_sub(1).map_or("", |i| sheet.labels[i].1)
}

fn value(sheet: &Sheet, instances: &[Fr], cell: &Cell) -> Fr {
    match cell.place {
        Place::Advice(column) => sheet.advice[column][cell.row],
        Place::Constant => sheet.fixed[0][cell.row],
        Place::Instance => instances[cell.row],
    }
}

/// Which constraints a change of one advice cell can break, found fast.
pub struct Incidence<'a> {
    checker: &'a Checker,
    sheet: &'a Sheet,
    on: Vec<Vec<bool>>,
    copied: BTreeSet<(usize, usize)>,
}

impl<'a> Incidence<'a> {
    pub fn new(checker: &'a Checker, sheet: &'a Sheet) -> Self {
        let rows = sheet.advice[0].len();
        let mut on = vec![vec![false; rows]; GATES.len()];
        for (gate, enabled) in sheet.on.iter().enumerate() {
            enabled.iter().for_each(|row| on[gate][*row] = true);
        }
        let mut copied = BTreeSet::new();
        for (a, b, _) in &sheet.copies {
            for cell in [a, b] {
                if let Place::Advice(column) = cell.place {
                    copied.insert((column, cell.row));
                }
            }
        }
        Self {
            checker,
            sheet,
            on,
            copied,
        }
    }

    /// Whether adding `delta` to the cell breaks a copy or a gate; `scratch` is a copy of the sheet, left as it was.
    pub fn notices(&self, scratch: &mut Sheet, column: usize, row: usize, delta: Fr) -> bool {
        if self.copied.contains(&(column, row)) {
            return true;
        }
        let kept = scratch.advice[column][row];
        scratch.advice[column][row] = kept + delta;
        let noticed = self.checker.constraints.iter().any(|constraint| {
            constraint
                .reads
                .iter()
                .filter(|(read, _)| *read == column)
                .any(|(_, rotation)| {
                    let at = row as i32 - rotation;
                    let within = at >= 0 && (at as usize) < self.on[0].len();
                    within
                        && self.on[constraint.gate as usize][at as usize]
                        && !constraint.holds(scratch, at as usize)
                })
        });
        scratch.advice[column][row] = kept;
        debug_assert_eq!(self.sheet.advice[column][row], kept);
        noticed
    }
}
