//! The shard circuit: a run of operations from one running state to the next (section 7).
//!
//! | file | what |
//! |---|---|
//! | `config` | columns and gates |
//! | `sheet` | the cells, and the arithmetic gadgets on column `z` |
//! | `hash` | Poseidon blocks in the lanes |
//! | `access` | state access: one leaf's update from root to root |
//! | `signature` | EdDSA-Poseidon |
//! | `float` | decimal floats |
//! | `word` | words and their cut |
//! | `context` | what every operation uses |
//! | `layout` | groups side by side, the streams through them |
//! | `place` | a transfer, a withdrawal, a creation or a no-op |
//! | `room` | the room for an operation of the queue before a group |
//! | `record` | records of stream A |
//! | `stream` | both streams through a group |
//! | `raw` | the witness without its ranges |
//!
//! # Instances (P-7.3), one column
//! `0 rollup_id, 1 T, 2 x, 3…9 before, 10…16 after`, a running state being `(root, C_A, y_A, p_A, C_B, y_B, p_B)`.

mod access;
mod config;
mod context;
mod float;
mod hash;
mod layout;
mod place;
mod raw;
mod record;
mod room;
mod sheet;
mod signature;
mod stream;
#[cfg(test)]
mod tests;
mod word;

pub use crate::preset::ShardParams;
pub use config::ShardConfig;

use config::GATES;
use halo2_proofs::arithmetic::Field;
use halo2_proofs::circuit::{Cell as Halo2Cell, Layouter, Region, SimpleFloorPlanner, Value};
use halo2_proofs::plonk::{Any, Circuit, Column, ConstraintSystem, Error};
use layout::lay_out;
use raw::{RawGroup, no_op_signature};
use rules::Fr;
use rules::layout::ShapeError;
use rules::statement::AFTER;
use rules::tree::DEPTH;
use rules::witness::{GroupWitness, PlaceWitness, RoomWitness, Shape, ShardInput};
use sheet::{CONSTANT_ROWS, Place, Sheet};
use thiserror::Error as ThisError;

/// Why no shard circuit can be built.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ShardCircuitError {
    /// No shard has this shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The input has another shape than the circuit.
    #[error(
        "the shard input has {} places and room for {} operations of the queue, the circuit {} and {}",
        found.places, found.rooms, expected.places, expected.rooms
    )]
    Input {
        /// The circuit's.
        expected: Shape,
        /// The input's.
        found: Shape,
    },
    /// The input has room before a group that follows one without.
    #[error("the shard input has room before group {group}, but not before one that precedes it")]
    RoomAfterNone {
        /// The group's place in the shard, from 0.
        group: usize,
    },
    /// The operations do not fit.
    #[error("{} places and room for {} operations of the queue need {needed} rows, and 2^{k} leave {available}", shape.places, shape.rooms)]
    Rows {
        /// The circuit's.
        shape: Shape,
        /// Rows they need.
        needed: usize,
        /// Log2 of the circuit's rows.
        k: u32,
        /// Rows not taken by blinding.
        available: usize,
    },
}

/// The circuit of one shard, with its witness or, for key generation, a layout of no-ops.
#[derive(Clone, Debug)]
pub struct ShardCircuit {
    sheet: Sheet,
}

/// Rows and cells that the circuit uses: see ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRows {
    /// Rows of the hash lanes.
    pub lanes: usize,
    /// Rows of column `z`.
    pub z: usize,
    /// Advice columns.
    pub columns: usize,
}

impl ShardCircuit {
    /// Lays out `input`, or no-ops if there is none: the layout is the same.
    ///
    /// # Errors
    /// A shape that no shard has, an input of another shape, or too few rows.
    pub fn new(params: ShardParams, input: Option<&ShardInput>) -> Result<Self, ShardCircuitError> {
        params.shape.check()?;
        let sheet = match input {
            Some(input) => {
                check_input(params.shape, input)?;
                let no_op = no_op_signature(input.rollup_id);
                let groups: Vec<RawGroup> = input
                    .groups
                    .iter()
                    .map(|group| RawGroup::new(group, &no_op))
                    .collect();
                lay_out(params, &input.instances()[..AFTER], &groups)?
            }
            None => lay_out(params, &[Fr::ZERO; AFTER], &blank_groups(params.shape))?,
        };
        Ok(Self { sheet })
    }

    /// The advice columns, in order, as [synthesis](Circuit::synthesize) fills them.
    pub fn into_columns(self) -> [Vec<Fr>; 5] {
        self.sheet.advice
    }

    /// Rows in use.
    pub fn rows(&self) -> ShardRows {
        ShardRows::of(&self.sheet)
    }
}

impl ShardRows {
    /// Those of a sheet.
    fn of(sheet: &Sheet) -> Self {
        Self {
            lanes: sheet.lane_row,
            z: sheet.z_row,
            columns: sheet.advice.len(),
        }
    }
}

fn check_input(expected: Shape, input: &ShardInput) -> Result<(), ShardCircuitError> {
    let Some(found) = input.shape() else {
        let is_after_none =
            |at: &usize| input.groups[at - 1].room.is_none() && input.groups[*at].room.is_some();
        let group = (1..input.groups.len())
            .find(is_after_none)
            .expect("such an input has no shape");
        return Err(ShardCircuitError::RoomAfterNone { group });
    };
    match found == expected {
        true => Ok(()),
        false => Err(ShardCircuitError::Input { expected, found }),
    }
}

fn blank_groups(shape: Shape) -> Vec<RawGroup> {
    let path = [[Fr::ZERO; 7]; DEPTH];
    let no_op = no_op_signature(Fr::ZERO);
    let blank = |room: Option<RoomWitness>| {
        let group = GroupWitness {
            room,
            places: std::array::from_fn(|_| PlaceWitness::no_op(&path)),
        };
        RawGroup::new(&group, &no_op)
    };
    let (with, without) = (blank(Some(RoomWitness::idle(&path))), blank(None));
    let mut groups = vec![with; shape.rooms];
    groups.resize(shape.groups(), without);
    groups
}

/// Rows that blinding leaves.
fn available_rows(k: u32) -> usize {
    let mut cs = ConstraintSystem::default();
    ShardConfig::configure(&mut cs);
    (1usize << k).saturating_sub(cs.blinding_factors() + 1)
}

fn halo2_cell(column: Column<Any>, row_offset: usize) -> Halo2Cell {
    Halo2Cell { row_offset, column }
}

impl Circuit<Fr> for ShardCircuit {
    type Config = ShardConfig;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = ();

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> ShardConfig {
        ShardConfig::configure(meta)
    }

    fn synthesize(&self, config: ShardConfig, layouter: impl Layouter<Fr>) -> Result<(), Error> {
        assign(&self.sheet, &config, layouter)
    }
}

/// Writes the sheet into halo2's layout.
fn assign(sheet: &Sheet, config: &ShardConfig, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
    let instances =
        layouter.assign_region(|| "shard", |mut region| assign_region(sheet, config, &mut region))?;
    for (cell, row) in instances {
        layouter.constrain_instance(cell, config.instance, row);
    }
    Ok(())
}

/// Writes the sheet into halo2's region. Returns the cells that meet an instance.
fn assign_region(
    sheet: &Sheet,
    config: &ShardConfig,
    region: &mut Region<'_, Fr>,
) -> Result<Vec<(Halo2Cell, usize)>, Error> {
    let used = sheet.lane_row.max(sheet.z_row);
    for (index, values) in sheet.advice.iter().enumerate() {
        for (row, value) in values[..used].iter().enumerate() {
            region.assign_advice(config.advice[index], row, Value::known(*value));
        }
    }
    for (index, values) in sheet.fixed.iter().enumerate() {
        for (row, value) in values[..used].iter().enumerate() {
            if *value != Fr::ZERO || row < CONSTANT_ROWS {
                region.assign_fixed(config.fixed[index], row, *value);
            }
        }
    }
    for gate in GATES {
        for row in &sheet.on[gate as usize] {
            config.selector(gate).enable(region, *row)?;
        }
    }
    let cell_of = |cell: &sheet::Cell| match cell.place {
        Place::Advice(column) => Some(halo2_cell(config.advice[column].into(), cell.row)),
        Place::Constant => Some(halo2_cell(config.fixed[0].into(), cell.row)),
        Place::Instance => None,
    };
    let mut instances = Vec::new();
    for (a, b, _) in &sheet.copies {
        match (cell_of(a), cell_of(b)) {
            (Some(a), Some(b)) => region.constrain_equal(a, b),
            (Some(a), None) => instances.push((a, b.row)),
            _ => unreachable!("an instance stands on the right of a copy"),
        }
    }
    Ok(instances)
}
