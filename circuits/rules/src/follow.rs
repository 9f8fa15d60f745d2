//! A state that follows L1: batches as they are accepted, and taken back where L1 takes blocks back (P-15.4).

use crate::batch::undo;
use crate::derive::{Accepted, DeriveError, Derived, Position, derive};
use crate::digest::Digest;
use crate::encoding;
use crate::state::State;
use crate::transition::Change;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use thiserror::Error;

/// A block of L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Its number.
    #[serde(with = "encoding::decimal")]
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
}

/// L1 took back more than there is undo data for: derive from the beginning, or from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("L1 took block {} back, undo data are kept for {depth} blocks", .block.number)]
pub struct TooDeep {
    /// The oldest block that can be undone to, which is not on the chain any more.
    pub block: Block,
    /// Blocks that undo data are kept for.
    pub depth: u64,
}

/// What undoes a batch.
#[derive(Debug)]
struct Undo {
    block: Block,
    before: Position,
    changes: Vec<Change>,
}

/// A state, the position that it has reached, and what undoes its last batches.
#[derive(Debug)]
pub struct Follower {
    state: State,
    position: Position,
    undo: VecDeque<Undo>,
    /// The block of the last batch whose undo data were dropped.
    settled: Option<Block>,
    depth: u64,
}

impl Follower {
    /// Follows from a state, keeping undo data for so many blocks behind the newest.
    pub fn new(state: State, position: Position, depth: u64) -> Self {
        Self {
            state,
            position,
            undo: VecDeque::new(),
            settled: None,
            depth,
        }
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Moves over the batch that L1 accepted next, in `block`, and drops undo data that are older than the depth.
    ///
    /// # Errors
    /// As [`derive()`]; the state is then as it was.
    pub fn accept(&mut self, block: Block, accepted: &Accepted) -> Result<Derived, DeriveError> {
        let before = self.position;
        let derived = derive(&mut self.state, &mut self.position, accepted)?;
        self.undo.push_back(Undo {
            block,
            before,
            changes: derived.changes.clone(),
        });
        let oldest = block.number.saturating_sub(self.depth);
        while let Some(settled) = self.undo.pop_front_if(|undo| undo.block.number < oldest) {
            self.settled = Some(settled.block);
        }
        Ok(derived)
    }

    /// Undoes the batches of blocks that are not on the chain any more, the last first, until one is. Returns how many.
    ///
    /// # Errors
    /// [`TooDeep`] where none is that undo data lead to; what could be undone is.
    pub fn settle(&mut self, mut is_on_chain: impl FnMut(&Block) -> bool) -> Result<usize, TooDeep> {
        let mut undone = 0;
        while let Some(last) = self.undo.pop_back_if(|undo| !is_on_chain(&undo.block)) {
            self.state.set(&undo(&last.changes));
            self.position = last.before;
            undone += 1;
        }
        match self.settled {
            Some(block) if self.undo.is_empty() && !is_on_chain(&block) => Err(TooDeep {
                block,
                depth: self.depth,
            }),
            _ => Ok(undone),
        }
    }
}
