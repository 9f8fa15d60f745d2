//! The shard circuit of protocol version 2: a run of operations from one running state to the next (docs/protocol-2.md, section 7).
//! Columns, gates and most gadgets are version 1's ([`crate::shard`]).
//!
//! | file | what |
//! |---|---|
//! | `layout` | groups side by side, the streams through them |
//! | `place` | a transfer, a withdrawal, a creation or a no-op |
//! | `room` | the room for an operation of the queue before a group |
//! | `record` | records of stream A |
//! | `stream` | both streams through a group |
//! | `raw` | the witness without its ranges |
//!
//! # Instances (P2-7.3), one column
//! `0 rollup_id, 1 T, 2 x, 3…9 before, 10…16 after`, a running state being `(root, C_A, y_A, p_A, C_B, y_B, p_B)`.

mod layout;
mod place;
mod raw;
mod record;
mod room;
mod stream;
#[cfg(test)]
mod tests;

pub use crate::shard::{ShardConfig, ShardRows};
pub use rules::v2::witness::Shape;

use crate::shard::assign;
use crate::shard::sheet::Sheet;
use halo2_proofs::arithmetic::Field;
use halo2_proofs::circuit::{Layouter, SimpleFloorPlanner};
use halo2_proofs::plonk::{Circuit, ConstraintSystem, Error};
use layout::lay_out;
use raw::{RawGroup, no_op_signature};
use rules::Fr;
use rules::statement::AFTER;
use rules::stream::GROUP_WORDS;
use rules::tree::DEPTH;
use rules::v2::witness::{GroupWitness, PlaceWitness, RoomWitness, ShardInput};
use thiserror::Error as ThisError;

/// Size of the shard circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardParams {
    /// Log2 of the circuit's rows.
    pub k: u32,
    /// What the shard has room for.
    pub shape: Shape,
}

/// Why no shard circuit can be built.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ShardCircuitError {
    /// P2-7.1.
    #[error("a shard's places are a positive multiple of {GROUP_WORDS}, found {found}")]
    Places {
        /// The places given.
        found: usize,
    },
    /// P2-7.1.
    #[error("a shard has room for 1 to {expected} operations of the queue, found {found}")]
    Rooms {
        /// Its groups.
        expected: usize,
        /// The room given.
        found: usize,
    },
    /// The input has another shape than the circuit.
    #[error(
        "the shard input has {} places and room for {} operations of the queue, the circuit {} and {}",
        found.places, found.rooms, expected.places, expected.rooms
    )]
    Shape {
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

impl ShardCircuit {
    /// Lays out `input`, or no-ops if there is none: the layout is the same.
    ///
    /// # Errors
    /// A shape that no shard has, an input of another shape, or too few rows.
    pub fn new(params: ShardParams, input: Option<&ShardInput>) -> Result<Self, ShardCircuitError> {
        check_shape(params.shape)?;
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

/// P2-7.1.
fn check_shape(shape: Shape) -> Result<(), ShardCircuitError> {
    if shape.places == 0 || !shape.places.is_multiple_of(GROUP_WORDS) {
        return Err(ShardCircuitError::Places { found: shape.places });
    }
    if !(1..=shape.groups()).contains(&shape.rooms) {
        return Err(ShardCircuitError::Rooms {
            expected: shape.groups(),
            found: shape.rooms,
        });
    }
    Ok(())
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
        false => Err(ShardCircuitError::Shape { expected, found }),
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
