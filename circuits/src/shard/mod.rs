//! The shard circuit: a run of operations from one running state to the next (section 7).
//!
//! | file | what |
//! |---|---|
//! | `config` | columns and gates |
//! | `linear` | Poseidon's partial rounds as a linear recurrence |
//! | `sheet` | the cells, and the arithmetic gadgets on column `z` |
//! | `hash` | Poseidon blocks in the lanes |
//! | `access` | state access: one leaf's update from root to root |
//! | `signature` | EdDSA-Poseidon |
//! | `float` | decimal floats |
//! | `word` | words and their cut |
//! | `context` | what every operation uses |
//! | `transfer` | one operation |
//! | `stream` | the data stream |
//!
//! # Instances (P-7.3), one column
//! `0 rollup_id, 1 T, 2 x, 3…9 before, 10…16 after`, a running state being `(root, C_A, y_A, p_A, C_B, y_B, p_B)`.

pub(crate) mod access;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod float;
pub(crate) mod hash;
mod linear;
pub(crate) mod raw;
pub(crate) mod sheet;
pub(crate) mod signature;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
pub(crate) mod word;

pub use config::ShardConfig;

pub use crate::preset::ShardParams;
use config::GATES;
use context::Context;
use halo2_proofs::arithmetic::Field;
use halo2_proofs::circuit::{Cell as Halo2Cell, Layouter, Region, SimpleFloorPlanner, Value};
use halo2_proofs::plonk::{Any, Circuit, Column, ConstraintSystem, Error};
use raw::RawStep;
use rayon::prelude::*;
use rules::Fr;
use rules::operation::RollupId;
use rules::statement::{AFTER, BEFORE};
use rules::tree::DEPTH;
use rules::witness::{RunningState, ShardInput, StepWitness};
use sheet::{CONSTANT_ROWS, Cell, Place, Sheet, Var};
use stream::{GROUP, Group, Running};
use thiserror::Error as ThisError;

/// Rows that one operation and the stream's share of it take at most, in any column.
const OPERATION_ROWS: usize = 5000;
/// Groups that a thread may lay out before they are appended: enough for every thread to have its share to the end.
const GROUPS_PER_THREAD: usize = 2;

/// Why no shard circuit can be built.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ShardCircuitError {
    /// P-7.1.
    #[error("a shard's capacity is a positive multiple of {GROUP}, found {found}")]
    Capacity {
        /// The capacity given.
        found: usize,
    },
    /// The input has another number of operations than the circuit.
    #[error("the shard input has {found} operations, the circuit {expected}")]
    Steps {
        /// The circuit's capacity.
        expected: usize,
        /// Operations given.
        found: usize,
    },
    /// The operations do not fit.
    #[error("{capacity} operations need {needed} rows, and 2^{k} leave {available}")]
    Rows {
        /// Operations.
        capacity: usize,
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
    /// A capacity that is no multiple of 5, an input of another capacity, or too few rows.
    pub fn new(params: ShardParams, input: Option<&ShardInput>) -> Result<Self, ShardCircuitError> {
        if params.capacity == 0 || !params.capacity.is_multiple_of(GROUP) {
            return Err(ShardCircuitError::Capacity {
                found: params.capacity,
            });
        }
        let blank;
        let input = match input {
            Some(input) => input,
            None => {
                blank = blank_input(params.capacity);
                &blank
            }
        };
        if input.steps.len() != params.capacity {
            return Err(ShardCircuitError::Steps {
                expected: params.capacity,
                found: input.steps.len(),
            });
        }
        let steps: Vec<RawStep> = input.steps.iter().map(RawStep::from).collect();
        let sheet = lay_out(params, &input.instances()[..AFTER], &steps)?;
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
    pub(crate) fn of(sheet: &Sheet) -> Self {
        Self {
            lanes: sheet.lane_row,
            z: sheet.z_row,
            columns: sheet.advice.len(),
        }
    }
}

fn blank_input(capacity: usize) -> ShardInput {
    let rollup_id = RollupId {
        chain_id: 0,
        contract: [0; 20],
    };
    let step = StepWitness::noop(&[[Fr::ZERO; 7]; DEPTH], &rollup_id);
    let state = RunningState::initial(Fr::ZERO);
    ShardInput {
        rollup_id: rollup_id.to_fr(),
        time: 0,
        x: Fr::ZERO,
        before: state,
        after: state,
        steps: vec![step; capacity],
    }
}

/// Lays out a shard from its first ten instances and its steps; the running state after follows from them.
///
/// Every group of operations takes the same rows, so that all groups behind the first are laid out side by side, and only
/// the stream is threaded through them one by one.
fn lay_out(params: ShardParams, instances: &[Fr], steps: &[RawStep]) -> Result<Sheet, ShardCircuitError> {
    let available = available_rows(params.k);
    let check_rows = |needed: usize| {
        let error = ShardCircuitError::Rows {
            capacity: params.capacity,
            needed,
            k: params.k,
            available,
        };
        if needed > available { Err(error) } else { Ok(()) }
    };
    let mut sheet = Sheet::new((1 << params.k) + GROUP * OPERATION_ROWS);
    sheet.label("P-7.3: instances");
    let given: Vec<Var> = instances
        .iter()
        .enumerate()
        .map(|(row, value)| {
            let cell = sheet.witness(*value);
            sheet.equal_instance(cell, row);
            cell
        })
        .collect();
    let context = Context {
        rollup_id: given[0],
        time: given[1],
    };
    let x = given[2];
    let xx = sheet.mul(x, x);
    let stream_a = &given[BEFORE + 1..BEFORE + 4];
    let mut stream_b = Running {
        c: given[BEFORE + 4],
        y: given[BEFORE + 5],
        p: given[BEFORE + 6],
    };

    let begin = (sheet.lane_row, sheet.z_row);
    let (first, rest) = steps.split_at(GROUP);
    let mut group = lay_out_group(&mut sheet, context, given[BEFORE].cell, first);
    let (first_root, operations) = (group.root.cell, sheet.z_row - begin.1);
    stream_b = sheet.group([x, xx], &group, stream_b);
    let (lanes, z) = (sheet.lane_row - begin.0, sheet.z_row - begin.1);
    let groups = steps.len() / GROUP;
    check_rows((begin.0 + groups * lanes).max(begin.1 + groups * z))?;

    // A few groups for each thread at a time: their cells are there twice until they are appended.
    let at_once = GROUPS_PER_THREAD * rayon::current_num_threads();
    for (round, steps) in rest.chunks(at_once * GROUP).enumerate() {
        let parts: Vec<(Sheet, Group)> = steps
            .par_chunks(GROUP)
            .enumerate()
            .map(|(at, steps)| {
                let before = round * at_once + at;
                let mut root = first_root;
                root.row += before * lanes;
                let (lane_row, z_row) = (begin.0 + (before + 1) * lanes, begin.1 + (before + 1) * z);
                let mut part = sheet.part(lane_row, z_row, lanes.max(operations));
                let group = lay_out_group(&mut part, context, root, steps);
                (part, group)
            })
            .collect();
        for (part, laid_out) in parts {
            sheet.append(part);
            group = laid_out;
            stream_b = sheet.group([x, xx], &group, stream_b);
        }
    }
    sheet.label("P-7.3: running state after");
    let after = [
        &[group.root][..],
        stream_a,
        &[stream_b.c, stream_b.y, stream_b.p][..],
    ]
    .concat();
    for (i, var) in after.into_iter().enumerate() {
        // The copy gives `z` a cell of its own, so that an output of the lanes meets the instance column there.
        let cell = sheet.put(var.into());
        sheet.equal_instance(cell, AFTER + i);
    }
    check_rows(sheet.lane_row.max(sheet.z_row))?;
    for column in sheet.advice.iter_mut().chain(&mut sheet.fixed) {
        column.truncate(1 << params.k);
    }
    Ok(sheet)
}

/// Lays out the operations of a group, the first of them from `root`.
fn lay_out_group(sheet: &mut Sheet, context: Context, root: Cell, steps: &[RawStep]) -> Group {
    let mut root = root;
    let mut words = Vec::with_capacity(GROUP);
    let mut last = None;
    for step in steps {
        let (after, word, block) = sheet.operation(context, root, step);
        root = after.cell;
        words.push(word);
        last = Some((after, block));
    }
    let (root, block) = last.expect("a group has operations");
    Group { root, words, block }
}

/// Rows that blinding leaves.
pub(crate) fn available_rows(k: u32) -> usize {
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
pub(crate) fn assign(
    sheet: &Sheet,
    config: &ShardConfig,
    mut layouter: impl Layouter<Fr>,
) -> Result<(), Error> {
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
