//! Where the operations of a batch stand: in which groups and places (P-6.2, P-6.3, P-7.1).
//!
//! The order in which they are given is the order in which they are executed, and is kept: what does not fit where it comes next leaves
//! places to no-ops.

use crate::operation::{Operation, Signed};
use crate::stream::{GROUP_WORDS, Group};
use crate::witness::{SHARD_PLACES_MAX, Shape};
use thiserror::Error;

/// A group: which operation, by its place in the batch, stands where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// The operation of the queue before the places.
    pub queued: Option<usize>,
    /// The operations in the places; no-ops where there is none.
    pub places: [Option<usize>; GROUP_WORDS],
}

impl Slots {
    /// The group's flag and words.
    pub fn group(&self, operations: &[Operation]) -> Group {
        let word = |place: Option<usize>| {
            let signed = place.and_then(|place| operations[place].signed());
            signed.unwrap_or(Signed::NoOp).word().to_integer()
        };
        Group {
            flag: self.queued.is_some(),
            words: self.places.map(word),
        }
    }
}

/// A shape that P-7.1 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "shape of {} places and {} rooms: expected a multiple of 5 up to {SHARD_PLACES_MAX}, and from 1 to a fifth of it",
    .0.places,
    .0.rooms
)]
pub struct ShapeError(pub Shape);

impl Shape {
    /// Checks P-7.1.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn check(self) -> Result<Self, ShapeError> {
        let whole = self.places.is_multiple_of(GROUP_WORDS) && self.places <= SHARD_PLACES_MAX;
        match whole && (1..=self.groups()).contains(&self.rooms) {
            true => Ok(self),
            false => Err(ShapeError(self)),
        }
    }

    /// Whether there is room for an operation of the queue before group `group` of a batch.
    fn has_room(&self, group: usize) -> bool {
        group % self.groups() < self.rooms
    }
}

/// Lays operations out in groups for shards of a shape. Trailing padding is left out.
///
/// # Errors
/// A shape that P-7.1 does not allow.
pub fn lay_out(operations: &[Operation], shape: Shape) -> Result<Vec<Slots>, ShapeError> {
    let shape = shape.check()?;
    let mut groups = Vec::new();
    // The group that is being filled, and its next place.
    let mut place = GROUP_WORDS;
    for (number, operation) in operations.iter().enumerate() {
        let Some(signed) = operation.signed() else {
            groups.push(Slots::default());
            while !shape.has_room(groups.len() - 1) {
                groups.push(Slots::default());
            }
            let group = groups.last_mut().expect("one was pushed");
            (group.queued, place) = (Some(number), 0);
            continue;
        };
        if signed.has_record() && place == GROUP_WORDS - 1 {
            place += 1;
        }
        if place == GROUP_WORDS {
            groups.push(Slots::default());
            place = 0;
        }
        let group = groups.last_mut().expect("one was pushed");
        group.places[place] = Some(number);
        place += 1;
    }
    Ok(groups)
}

/// An order of operations for shards of a shape that lets neither rooms nor places idle where it can: the queue's operations and the
/// signed ones each in their order, an operation of the queue before each group that has room for one.
///
/// # Errors
/// A shape that P-7.1 does not allow.
pub fn interleave(
    queued: impl IntoIterator<Item = Operation>,
    signed: impl IntoIterator<Item = Operation>,
    shape: Shape,
) -> Result<Vec<Operation>, ShapeError> {
    let shape = shape.check()?;
    let (mut queued, mut signed) = (queued.into_iter().peekable(), signed.into_iter().peekable());
    let mut operations = Vec::new();
    for group in 0.. {
        if queued.peek().is_none() && signed.peek().is_none() {
            break;
        }
        if shape.has_room(group) {
            operations.extend(queued.next());
        }
        for place in 0..GROUP_WORDS {
            let fits = |operation: &Operation| {
                let has_record = operation.signed().is_some_and(|signed| signed.has_record());
                place < GROUP_WORDS - 1 || !has_record
            };
            operations.extend(signed.next_if(fits));
        }
    }
    Ok(operations)
}
