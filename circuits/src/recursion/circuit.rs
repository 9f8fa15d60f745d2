//! The recursion circuit: `N` children of one key, their chain (P-8.2), one accumulator (P-8.5), the root instances (P-8.4);
//! levels (P-8.13).

use halo2_proofs::{
    circuit::{Cell as Halo2Cell, Layouter, Region, SimpleFloorPlanner, Value},
    plonk::{Circuit, ConstraintSystem, Error},
};
use halo2curves::{
    bn256::{Fq, Fr, G1Affine},
    ff::Field,
    group::prime::PrimeCurveAffine,
};

use super::{
    config::{CHAIN, GATES, RecursionConfig},
    curve::{INSTANCE_LIMBS, Point, Table, Term},
    modulus::{self, DIGIT_BITS, LIMB_BITS},
    sheet::{CONSTANTS, Sheet, Var},
};
use crate::{
    aggregation::ChildProof,
    plonk::{
        ProofError, Shape, Transcript,
        equation::{Folded, fold, terms},
        proof::{Proof, ProofScalars, proper_point},
    },
};
use rules::field;
use rules::statement::{
    ACCUMULATOR_LIMBS, AFTER, BEFORE, ROOT_FROM_FIRST, ROOT_FROM_LAST, SHARD_INSTANCES, SHARED, START,
};

/// What a recursion's children are (P-8.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// Shards, with the instances of P-7.3.
    Shard,
    /// Recursions of a [`Scope::Segment`]: an accumulator before the instances that a shard has.
    Segment,
}

/// What a recursion's children are together (P-8.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A whole batch: the instances are [`rules::statement::ROOT_INSTANCES`].
    Batch,
    /// Some of a batch's shards in a row: the instances are an accumulator and what a shard has, so that a further
    /// recursion takes the proof as a child.
    Segment,
}

/// A child whose bytes are no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("child {child}: {source}")]
pub struct ChildError {
    /// The child's place.
    pub child: usize,
    /// What is wrong with it.
    pub source: ProofError,
}

/// A recursion with its witness or, for key generation, a layout of children that prove nothing.
#[derive(Clone, Debug)]
pub struct RecursionCircuit {
    pub(super) sheet: Sheet,
}

impl RecursionCircuit {
    /// Lays out the verification of a batch's shards. A child that does not verify, or does not chain, makes a circuit that
    /// no proof can be made of, or an accumulator whose pairing fails.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn new(shape: &Shape, children: &[ChildProof]) -> Result<Self, ChildError> {
        Self::level(shape, ChildKind::Shard, Scope::Batch, children)
    }

    /// The same for a level of several: children of either kind, a whole batch or a segment.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn level(
        shape: &Shape,
        kind: ChildKind,
        scope: Scope,
        children: &[ChildProof],
    ) -> Result<Self, ChildError> {
        let children = read(shape, children)?;
        let instances = ACCUMULATOR_LIMBS
            + match scope {
                Scope::Batch => ROOT_FROM_FIRST.len() + ROOT_FROM_LAST.len(),
                Scope::Segment => SHARD_INSTANCES,
            };
        let room = Sheet::with_room(instances, CONSTANTS);
        let mut sheet = lay_out(shape, kind, scope, &children, room);
        sheet.close_room();
        Ok(Self { sheet })
    }

    /// A circuit of any sheet, without instances.
    #[cfg(test)]
    pub(super) fn of_sheet(sheet: Sheet) -> Self {
        Self { sheet }
    }

    /// The values of the instances: of a batch, [`rules::statement::ROOT_INSTANCES`].
    pub fn instances(&self) -> &[Fr] {
        &self.sheet.instances
    }

    /// The advice column as [synthesis](Circuit::synthesize) fills it: `2^k` rows, or as many as there are cells if those are more.
    pub fn into_column(self, k: u32) -> Vec<Fr> {
        let mut column = self.sheet.advice;
        column.resize(column.len().max(1 << k), Fr::ZERO);
        column
    }

    /// Cells in use, by part of the statement.
    pub fn cells(&self) -> Vec<(&'static str, usize)> {
        let mut parts: Vec<(&'static str, usize)> = vec![];
        let ends = self.sheet.labels.iter().skip(1).map(|(row, _)| *row);
        for ((start, label), end) in self.sheet.labels.iter().zip(ends.chain([self.sheet.row()])) {
            match parts.iter_mut().find(|(other, _)| other == label) {
                Some((_, cells)) => *cells += end - start,
                None => parts.push((label, end - start)),
            }
        }
        parts
    }
}

/// A child in cells: its points, everything as scalars, and the accumulator among its instances.
struct ChildCells {
    points: Vec<Point>,
    scalars: ProofScalars<Var>,
    accumulator: Option<[Point; 2]>,
}

impl ChildCells {
    /// The instances that a shard has.
    fn statement(&self) -> &[Var] {
        let first = self.accumulator.as_ref().map_or(0, |_| ACCUMULATOR_LIMBS);
        &self.scalars.instances[first..]
    }
}

/// Takes children's bytes apart.
pub(super) fn read(shape: &Shape, children: &[ChildProof]) -> Result<Vec<Proof>, ChildError> {
    let read = |(child, ChildProof { instances, proof }): (usize, &ChildProof)| {
        Proof::read(shape, Transcript::Poseidon, instances, proof)
            .map_err(|source| ChildError { child, source })
    };
    children.iter().enumerate().map(read).collect()
}

fn lay_out(shape: &Shape, kind: ChildKind, scope: Scope, children: &[Proof], mut sheet: Sheet) -> Sheet {
    let children: Vec<ChildCells> = children.iter().map(|child| sheet.child(kind, child)).collect();
    sheet.label("P-8.2: the chain");
    sheet.chain(scope, &children);
    sheet.label("P-8.7: a child's equation");
    let read = children
        .iter()
        .map(|child| terms(shape, &mut sheet, &child.scalars))
        .collect();
    sheet.label("P-8.5: the fold");
    let accumulators = children.iter().filter(|child| child.accumulator.is_some());
    let folded = fold(&mut sheet, read, accumulators.count());
    let accumulator = sheet.accumulate(shape, &children, &folded);
    sheet.label("P-8.4: root instances");
    let mut exposed = vec![];
    for point in accumulator {
        let (y, _) = sheet.reduce(&point.y);
        exposed.extend(
            [point.x, y]
                .map(|coordinate| sheet.instance_limbs(&coordinate))
                .concat(),
        );
    }
    let [first, last] = [0, children.len() - 1].map(|child| children[child].statement());
    match scope {
        Scope::Batch => {
            exposed.extend(ROOT_FROM_FIRST.map(|at| first[at]));
            exposed.extend(ROOT_FROM_LAST.map(|at| last[at]));
        }
        Scope::Segment => {
            exposed.extend(&first[..AFTER]);
            exposed.extend(&last[AFTER..]);
        }
    }
    for (row, var) in exposed.iter().enumerate() {
        sheet.equal_instance(var, row);
    }
    sheet.flush_quotients(true);
    // What a gate or a chain of the last cells may reach.
    sheet.skip(CHAIN);
    sheet
}

/// The points that instances of P-8.4 hold, if they are points.
pub(super) fn accumulator_of(instances: &[Fr]) -> Option<[G1Affine; 2]> {
    let coordinate = |at: usize| -> Option<Fq> {
        let [low, high] = [at, at + 1].map(|at| field::to_integer(&instances[at]));
        let is_short = low.bits() <= (LIMB_BITS * INSTANCE_LIMBS[0]) as u64;
        let integer = low + (high << (LIMB_BITS * INSTANCE_LIMBS[0]));
        (is_short && integer < modulus::base_modulus()).then(|| modulus::base_from_integer(&integer))
    };
    let point = |at: usize| proper_point(coordinate(at)?, coordinate(at + 2)?);
    Some([point(0)?, point(ACCUMULATOR_LIMBS / 2)?])
}

impl Sheet {
    /// A child's cells. Its points are on the curve; its scalars are any, and bound by its transcript.
    fn child(&mut self, kind: ChildKind, child: &Proof) -> ChildCells {
        self.label("P-8.10: a child's points");
        let mut points = vec![];
        let mut coordinates = vec![];
        for value in &child.points {
            let (point, elements) = self.point(value);
            points.push(point);
            coordinates.push(elements.map(|element| self.scalar_of(&element)));
        }
        let mut witness = |values: &[Fr]| values.iter().map(|value| self.witness(*value)).collect();
        let scalars = ProofScalars {
            instances: witness(&child.scalars.instances),
            points: coordinates,
            scalars: witness(&child.scalars.scalars),
        };
        let accumulator = (kind == ChildKind::Segment).then(|| self.accumulator(&scalars.instances));
        ChildCells {
            points,
            scalars,
            accumulator,
        }
    }

    /// The accumulator among a child's instances. What is no accumulator has no cells that satisfy it.
    fn accumulator(&mut self, instances: &[Var]) -> [Point; 2] {
        self.label("P-8.13: a child's accumulator");
        let values: Vec<Fr> = instances.iter().map(|var| var.value).collect();
        let values = accumulator_of(&values).unwrap_or([G1Affine::generator(); 2]);
        let mut limbs = instances.iter();
        values.map(|value| {
            let (point, coordinates) = self.point(&value);
            for coordinate in coordinates {
                for limb in self.instance_limbs(&coordinate) {
                    self.equal(&limb, limbs.next().expect("eight limbs"));
                }
            }
            point
        })
    }

    /// P-8.2. A segment begins anywhere in its batch.
    fn chain(&mut self, scope: Scope, children: &[ChildCells]) {
        let instances: Vec<&[Var]> = children.iter().map(ChildCells::statement).collect();
        if scope == Scope::Batch {
            for (cell, start) in instances[0][BEFORE + 1..AFTER].iter().zip(START) {
                let start = self.constant(start);
                self.equal(cell, &start);
            }
        }
        for pair in instances.windows(2) {
            let [left, right] = [pair[0], pair[1]];
            let shared = left[..SHARED].iter().zip(&right[..SHARED]);
            for (left, right) in shared.chain(left[AFTER..].iter().zip(&right[BEFORE..AFTER])) {
                self.equal(left, right);
            }
        }
    }

    /// The two sums.
    fn accumulate(&mut self, shape: &Shape, children: &[ChildCells], folded: &Folded<Var>) -> [Point; 2] {
        self.label("P-8.12: the helper point");
        let helper = self.helper(&folded.seed);
        let generator = G1Affine::generator();
        self.label("P-8.11: tables of points");
        let tables: Vec<Vec<Table>> = children
            .iter()
            .map(|child| {
                child
                    .points
                    .iter()
                    .map(|point| self.table(point, &helper[0]))
                    .collect()
            })
            .collect();
        let accumulators: Vec<[Table; 2]> = children
            .iter()
            .filter_map(|child| child.accumulator.as_ref())
            .map(|sides| [0, 1].map(|side| self.table(&sides[side], &helper[0])))
            .collect();
        let weighted = |side: usize| {
            let tables = accumulators.iter().map(move |sides| &sides[side]);
            let weights = folded.accumulators.iter().copied();
            tables
                .zip(weights)
                .map(|(table, weight)| Term::short(table, weight))
        };
        let bases = shape.commitments.iter().chain([&generator]).zip(&folded.key);
        // A fixed column of zeros is committed to as the identity, which adds nothing.
        let key: Vec<(Table, Var)> = bases
            .filter(|(base, _)| !bool::from(base.is_identity()))
            .map(|(base, scalar)| (self.constant_table(base), *scalar))
            .collect();
        self.label("P-8.12: lhs");
        let proofs = tables
            .iter()
            .flatten()
            .zip(folded.proofs.iter().flatten().copied());
        let terms: Vec<Term<'_>> = proofs
            .chain(key.iter().map(|(table, scalar)| (table, *scalar)))
            .map(|(table, scalar)| Term::whole(table, scalar))
            .chain(weighted(0))
            .collect();
        let lhs = self.sum(&terms, &[], &helper);
        self.label("P-8.12: rhs");
        let last = |child: &ChildCells| child.points[child.points.len() - 1].clone();
        let first = last(&children[0]);
        let points = tables[1..].iter().map(|tables| &tables[tables.len() - 1]);
        let terms: Vec<Term<'_>> = points
            .zip(folded.weights.iter().copied())
            .map(|(table, weight)| Term::short(table, weight))
            .chain(weighted(1))
            .collect();
        let rhs = match terms[..] {
            [] => first,
            _ => self.sum(&terms, &[first], &helper),
        };
        [lhs, rhs]
    }
}

impl Circuit<Fr> for RecursionCircuit {
    type Config = RecursionConfig;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = ();

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> RecursionConfig {
        RecursionConfig::configure(meta)
    }

    fn synthesize(&self, config: RecursionConfig, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        layouter.assign_table(
            || "digits",
            |mut table| {
                (0..1usize << DIGIT_BITS).try_for_each(|digit| {
                    let value = Value::known(Fr::from(digit as u64));
                    table.assign_cell(|| "digit", config.table, digit, || value)
                })
            },
        )?;
        layouter.assign_region(
            || "recursion",
            |mut region| {
                assign(&self.sheet, &config, &mut region);
                Ok(())
            },
        )
    }
}

/// Writes the sheet into halo2's region.
fn assign(sheet: &Sheet, config: &RecursionConfig, region: &mut Region<'_, Fr>) {
    for (row, value) in sheet.advice.iter().enumerate() {
        region.assign_advice(config.a, row, Value::known(*value));
    }
    for (row, value) in &sheet.added {
        region.assign_fixed(config.added, *row, *value);
    }
    for (row, next) in &sheet.digits {
        let [digit, next] = lookup_coefficients(*next);
        region.assign_fixed(config.digit, *row, digit);
        region.assign_fixed(config.next, *row, next);
    }
    let mut taken = vec![false; sheet.row()];
    for gate in GATES {
        for row in &sheet.on[gate as usize] {
            let was_taken = std::mem::replace(&mut taken[*row], true);
            assert!(!was_taken, "two gates at row {row}");
            for (column, value) in config.switches.iter().zip(gate.switches()) {
                region.assign_fixed(*column, *row, Fr::from(value));
            }
        }
    }
    let cell = |row: &usize| Halo2Cell {
        row_offset: *row,
        column: config.a.into(),
    };
    for (a, b, _) in &sheet.copies {
        region.constrain_equal(cell(a), cell(b));
    }
}

/// Of a looked-up digit: what its cell and the chain's next are multiplied by.
pub(super) fn lookup_coefficients(next: bool) -> [Fr; 2] {
    let radix = Fr::from(1 << DIGIT_BITS);
    [Fr::one(), if next { -radix } else { Fr::zero() }]
}
