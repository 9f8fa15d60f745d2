//! Cutting an executed batch into the shards that it is proven in (section 7).

use crate::batch::{Batch, Executed, Step};
use crate::layout::{ShapeError, Slots, lay_out};
use crate::operation::Operation;
use crate::stream::{self, Binding, DaMode, GROUP_WORDS};
use crate::tree::Path;
use crate::witness::{
    Access, GroupWitness, PLACE_ACCESSES, PlaceWitness, RoomWitness, RunningState, Shape, ShardInput,
};
use halo2curves::bn256::Fr;
use thiserror::Error;

/// Why a batch cannot be cut into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShardsError {
    /// A shape that P-7.1 does not allow.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The batch needs more shards than the aggregation has children.
    #[error("the batch needs {needed} shards, the aggregation has {children}")]
    TooManyShards {
        /// Shards needed.
        needed: usize,
        /// Shards there are.
        children: usize,
    },
}

/// A batch as it is proven and posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharded {
    /// What the shards' proofs are made from. The last one's `after` has the commitments and evaluations of the root proof.
    pub shards: Vec<ShardInput>,
    /// The posted form of stream A.
    pub posted_a: Vec<u8>,
    /// The posted form of stream B.
    pub posted_b: Vec<u8>,
}

/// Cuts an executed batch into exactly `children` shards of a shape, the last ones filled with no-ops.
///
/// The number of shards is needed here since the commitment `C_B`, hence `x` (P-6.9), covers the padding groups too.
///
/// # Errors
/// A shape that P-7.1 does not allow, and batches that do not fit.
pub fn shards(
    batch: &Batch,
    executed: &Executed,
    shape: Shape,
    children: usize,
) -> Result<Sharded, ShardsError> {
    let mut slots = lay_out(&batch.operations, shape)?;
    let needed = slots.len().div_ceil(shape.groups());
    if needed > children {
        return Err(ShardsError::TooManyShards { needed, children });
    }
    slots.resize(shape.groups() * children, Slots::default());
    let groups: Vec<_> = slots.iter().map(|slots| slots.group(&batch.operations)).collect();
    let records = executed.records();
    let (posted_a, posted_b) = (stream::posted_a(&records), stream::posted_b(&groups));
    let binding = Binding {
        number: batch.number,
        mode: DaMode::Calldata,
        c_a: stream::commitment_a(&records),
        c_b: stream::commitment_b(&groups),
        posted_a: &posted_a,
        posted_b: &posted_b,
    };
    let mut cutter = Cutter {
        operations: &batch.operations,
        steps: &executed.steps,
        x: binding.x(&batch.rollup_id),
        running: RunningState::initial(executed.old_root),
        last: None,
        idle_path: &executed.idle_path,
    };
    let mut shards = Vec::with_capacity(children);
    for slots in slots.chunks(shape.groups()) {
        let before = cutter.running;
        let cut = |(place, slots)| cutter.group(slots, place < shape.rooms);
        let groups = slots.iter().enumerate().map(cut).collect();
        cutter.settle();
        shards.push(ShardInput {
            rollup_id: batch.rollup_id.to_fr(),
            time: batch.time,
            x: cutter.x,
            before,
            after: cutter.running,
            groups,
        });
    }
    Ok(Sharded {
        shards,
        posted_a,
        posted_b,
    })
}

/// What follows the groups of a batch.
struct Cutter<'a> {
    operations: &'a [Operation],
    steps: &'a [Step],
    x: Fr,
    /// Its root is that before `last`, until it is settled.
    running: RunningState,
    /// The last access.
    last: Option<&'a Access>,
    /// Index 0's path at this moment.
    idle_path: &'a Path,
}

impl<'a> Cutter<'a> {
    /// What a group is proven from. The running state moves over it.
    fn group(&mut self, slots: &Slots, has_room: bool) -> GroupWitness {
        let room = has_room.then(|| self.room(slots.queued));
        let places: [PlaceWitness; GROUP_WORDS] =
            std::array::from_fn(|place| self.place(slots.places[place]));
        let elements = slots.group(self.operations).elements();
        self.running.absorb_group(&elements, &self.x);
        GroupWitness { room, places }
    }

    fn room(&mut self, queued: Option<usize>) -> RoomWitness {
        let Some(number) = queued else {
            return RoomWitness::idle(self.idle_path);
        };
        let step = self.follow(number);
        RoomWitness {
            record: step.record,
            access: step.accesses[0].clone(),
        }
    }

    fn place(&mut self, place: Option<usize>) -> PlaceWitness {
        let signed = place.and_then(|number| Some((number, self.operations[number].signed()?)));
        let Some((number, operation)) = signed else {
            return PlaceWitness::no_op(self.idle_path);
        };
        let before = self.idle_path;
        let step = self.follow(number);
        let accesses: Option<[Access; PLACE_ACCESSES]> = step.accesses.clone().try_into().ok();
        // A no-op of its own has none.
        match accesses {
            Some(accesses) => PlaceWitness { operation, accesses },
            None => PlaceWitness::no_op(before),
        }
    }

    /// Hashes the root that the accesses so far lead to.
    fn settle(&mut self) {
        if let Some(access) = self.last.take() {
            self.running.root = access.root_after();
        }
    }

    /// Moves over an operation.
    fn follow(&mut self, number: usize) -> &'a Step {
        let step = &self.steps[number];
        self.last = step.accesses.last().or(self.last);
        if let Some(record) = &step.record {
            self.running.absorb_record(&record.elements(), &self.x);
        }
        self.idle_path = &step.idle_path;
        step
    }
}
