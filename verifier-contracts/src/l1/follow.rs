//! A contract's logs in the order of the chain, each once, through reorganisations and past nodes that are behind.
//!
//! What lies well below the head is read in ranges; the block at a range's end is asked for in the same request, so
//! that a node which does not have it yet shows itself. Near the head each block is read by itself and its logs are
//! asked for by its hash, which a node that does not know the block cannot answer; each block's parent must be the one
//! before. A block counts as gone only when another is seen in its place: a node that is behind takes nothing back.

mod answers;

use std::{collections::VecDeque, time::Duration};

use alloy::{
    primitives::{Address, B256},
    rpc::types::Log,
    transports::TransportError,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use super::{L1, error::told, transport::asked_too_much};
use answers::{Header, Source};

/// Least pause between two polls, whatever is configured.
const POLL_MIN: Duration = Duration::from_millis(10);
/// Successes after which a range that was halved grows again, at most.
const GROWTH_WAIT_MAX: u32 = 64;

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct Following {
    /// The contract.
    pub contract: Address,
    /// Its events, by the hashes of their signatures; none for all.
    pub events: Vec<B256>,
    /// The first block that is read: the one of the contract's creation, at the latest.
    pub start: u64,
    /// Blocks that a log must have on it, its own included, before it is told; at least 1.
    pub confirmations: u64,
    /// Most blocks of one range.
    pub range_blocks_max: u64,
    /// Blocks below the head from which on ranges are read.
    pub settled_blocks: u64,
    /// How far a reorganisation can be undone, blocks.
    pub undo_blocks_max: u64,
    /// Pause between two questions for what is new.
    pub poll: Duration,
    /// How long an endpoint may fail in a row until that is told.
    pub patience: Duration,
}

impl Following {
    /// All events of a contract from a block on: one confirmation, ranges of 10,000 blocks up to two epochs below the
    /// head, undone as far as 256 blocks, asked for each 3 seconds, with a minute's patience.
    pub fn new(contract: Address, start: u64) -> Self {
        Self {
            contract,
            events: Vec::new(),
            start,
            confirmations: 1,
            range_blocks_max: 10_000,
            settled_blocks: 64,
            undo_blocks_max: 256,
            poll: Duration::from_secs(3),
            patience: Duration::from_secs(60),
        }
    }
}

/// A place in the chain: everything up to and with it has been told (P-15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the block.
    pub block: u64,
    /// Its hash.
    pub hash: B256,
    /// Index in the block of the last log that was told; none when the whole block was.
    pub log: Option<u64>,
}

impl Position {
    /// The position of a log that a [`Follower`] told.
    pub fn of(log: &Log) -> Option<Self> {
        Some(Self {
            block: log.block_number?,
            hash: log.block_hash?,
            log: Some(log.log_index?),
        })
    }

    /// Whether what is at `other` on the same chain was told by the time of this.
    pub fn covers(&self, other: &Self) -> bool {
        let end = |position: &Self| position.log.unwrap_or(u64::MAX);
        (other.block, end(other)) <= (self.block, end(self))
    }
}

/// What is kept from one run to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The contract.
    pub contract: Address,
    /// Where the follower is, last, and places before it to which it can go back, from the lowest on.
    pub positions: Vec<Position>,
}

/// What became of the chain.
#[derive(Clone, Debug)]
pub enum Update {
    /// It went on.
    Logs {
        /// The contract's logs, in order. There may be none.
        logs: Vec<Log>,
        /// What is told now.
        to: Position,
    },
    /// It went back: whatever was told after `to` is not on it.
    Undo {
        /// What is still told.
        to: Position,
    },
}

/// Why a contract cannot be followed. Asking again goes on where it was.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The endpoint fails.
    #[error("the L1 endpoint, asked for the logs after block {block}: {reason}")]
    Endpoint {
        /// The last block that was told.
        block: u64,
        /// What went wrong.
        reason: String,
    },
    /// The endpoint's logs are not what was asked for.
    #[error("the L1 endpoint's logs after block {block} are not those that were asked for: {reason}")]
    Answer {
        /// The last block that was told.
        block: u64,
        /// What is wrong.
        reason: String,
    },
    /// The chain went back further than can be undone.
    #[error(
        "the chain has another block than {hash} at {block}, the lowest that is known: begin anew, or from a snapshot of an earlier block"
    )]
    TooDeep {
        /// Number of the lowest block known.
        block: u64,
        /// The hash that it had.
        hash: B256,
    },
    /// What was saved cannot be gone on from.
    #[error("the saved position is of no use here: {0}")]
    Saved(String),
}

/// Follows a contract's logs.
#[derive(Debug)]
pub struct Follower {
    source: Source,
    following: Following,
    /// From the lowest on; the last is where this is. Empty only before the first poll.
    positions: VecDeque<Position>,
    range: u64,
    successes: u32,
    growth_wait: u32,
}

impl Follower {
    /// Follows from the start.
    pub fn new(l1: &L1, following: Following) -> Self {
        Self {
            source: Source::new(l1, &following),
            range: following.range_blocks_max.max(1),
            following,
            positions: VecDeque::new(),
            successes: 0,
            growth_wait: 1,
        }
    }

    /// Goes on from where another was. When those blocks are not on the chain any more, the first update undoes them.
    ///
    /// # Errors
    /// [`FollowError::Saved`] when it is of another contract or not in order.
    pub fn resume(l1: &L1, following: Following, saved: &Saved) -> Result<Self, FollowError> {
        let refuse = |reason: String| Err(FollowError::Saved(reason));
        if saved.contract != following.contract {
            return refuse(format!(
                "it is of the contract {}, expected {}",
                saved.contract, following.contract
            ));
        }
        if saved.positions.is_empty() {
            return refuse("it has no position".to_owned());
        }
        let blocks = saved.positions.iter().map(|position| position.block);
        if let Some((below, above)) = blocks.clone().zip(blocks.skip(1)).find(|(a, b)| a >= b) {
            return refuse(format!("block {above} follows block {below}"));
        }
        let mut follower = Self::new(l1, following);
        follower.positions.extend(&saved.positions);
        follower.prune();
        Ok(follower)
    }

    /// What to keep, to [`Follower::resume`] from; none before the first update.
    pub fn saved(&self) -> Option<Saved> {
        (!self.positions.is_empty()).then(|| Saved {
            contract: self.following.contract,
            positions: self.positions.iter().copied().collect(),
        })
    }

    /// Waits until the chain has gone on or back.
    ///
    /// # Errors
    /// [`FollowError::TooDeep`] at once; what an endpoint does wrong when it has done so for
    /// [`Following::patience`].
    pub async fn next(&mut self) -> Result<Update, FollowError> {
        let mut failing_since: Option<Instant> = None;
        loop {
            match self.poll().await {
                Ok(Some(update)) => return Ok(update),
                Ok(None) => failing_since = None,
                Err(error @ (FollowError::TooDeep { .. } | FollowError::Saved(_))) => return Err(error),
                Err(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.following.patience {
                        return Err(error);
                    }
                    tracing::debug!(%error, "asking again");
                }
            }
            tokio::time::sleep(self.following.poll.max(POLL_MIN)).await;
        }
    }

    /// Asks once; none when there is nothing new, or the node is behind or changed its mind meanwhile.
    ///
    /// # Errors
    /// [`FollowError`]; nothing is lost by it.
    pub async fn poll(&mut self) -> Result<Option<Update>, FollowError> {
        let Some(last) = self.positions.back().copied() else {
            return self.begin().await;
        };
        let head = self.source.head().await;
        let head = head
            .map_err(|error| self.failed(&error))?
            .map_or(0, |head| head.number);
        match self.header(last.block).await? {
            None => return Ok(None),
            Some(header) if header.hash != last.hash => return self.undo().await,
            Some(_) => {}
        }
        if let Some(told) = last.log {
            return self.rest_of_block(last, told).await;
        }
        let goal = head.saturating_sub(self.following.confirmations.max(1) - 1);
        let from = last.block.saturating_add(1);
        if from > goal {
            return Ok(None);
        }
        match head.checked_sub(self.following.settled_blocks) {
            Some(settled) if from <= settled => self.range(last, from, settled.min(goal)).await,
            _ => self.block(last, from).await,
        }
    }

    /// Takes the block before the start for a position. No contract logs in the first block of a chain.
    async fn begin(&mut self) -> Result<Option<Update>, FollowError> {
        let block = self.following.start.saturating_sub(1);
        let Some(header) = self.header(block).await? else {
            return Ok(None);
        };
        let logs = Vec::new();
        Ok(Some(self.forward(logs, &header)))
    }

    /// The logs of a block that was told in part.
    async fn rest_of_block(&mut self, last: Position, told: u64) -> Result<Option<Update>, FollowError> {
        let Some(header) = self.header(last.block).await? else {
            return Ok(None);
        };
        if header.hash != last.hash {
            return Ok(None);
        }
        let Some(mut logs) = self.logs_of(&header).await? else {
            return Ok(None);
        };
        logs.retain(|log| log.log_index.is_some_and(|index| index > told));
        self.positions.pop_back();
        Ok(Some(self.forward(logs, &header)))
    }

    /// One block near the head.
    async fn block(&mut self, last: Position, number: u64) -> Result<Option<Update>, FollowError> {
        let Some(header) = self.header(number).await? else {
            return Ok(None);
        };
        if header.parent_hash != last.hash {
            return self.undo().await;
        }
        let Some(logs) = self.logs_of(&header).await? else {
            return Ok(None);
        };
        Ok(Some(self.forward(logs, &header)))
    }

    /// As many blocks from `from` on as the endpoint answers at once, at most up to `most`.
    async fn range(&mut self, last: Position, from: u64, most: u64) -> Result<Option<Update>, FollowError> {
        loop {
            let to = from.saturating_add(self.range - 1).min(most);
            match self.source.range(from, to).await {
                Ok((Some(before), _, _)) if before.hash != last.hash => return self.undo().await,
                Ok((Some(_), Some(header), logs)) => {
                    self.grow();
                    let checked = answers::in_order(&logs, self.following.contract, from..=to, &header);
                    checked.map_err(|reason| self.wrong(reason))?;
                    return Ok(Some(self.forward(logs, &header)));
                }
                // The node that answered is behind.
                Ok(_) => return Ok(None),
                Err(error) if asked_too_much(&error) && from == to => {
                    tracing::debug!(block = from, error = told(&error), "one block alone, by its hash");
                    return self.block(last, from).await;
                }
                Err(error) if asked_too_much(&error) => {
                    self.range = ((to - from).saturating_add(1) / 2).max(1);
                    self.successes = 0;
                    self.growth_wait = (self.growth_wait * 2).min(GROWTH_WAIT_MAX);
                    tracing::debug!(
                        from,
                        to,
                        error = told(&error),
                        blocks = self.range,
                        "a smaller range"
                    );
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// A range that was refused once is tried again ever more rarely: what is dense here may be sparse later.
    fn grow(&mut self) {
        self.successes += 1;
        if self.successes >= self.growth_wait {
            self.successes = 0;
            self.range = self
                .range
                .saturating_mul(2)
                .min(self.following.range_blocks_max.max(1));
        }
    }

    /// Goes back to the highest position that is on the chain.
    async fn undo(&mut self) -> Result<Option<Update>, FollowError> {
        for index in (0..self.positions.len()).rev() {
            let position = self.positions[index];
            let is_newest = index + 1 == self.positions.len();
            let header = self.header(position.block).await?;
            match header {
                Some(header) if header.hash == position.hash => {
                    if is_newest {
                        // Two nodes that are not of one mind: nothing is known to be gone.
                        return Ok(None);
                    }
                    self.positions.truncate(index + 1);
                    tracing::warn!(contract = %self.following.contract, block = position.block, hash = %position.hash, "a reorganisation: back to this block");
                    return Ok(Some(Update::Undo { to: position }));
                }
                None if is_newest => return Ok(None),
                _ => {}
            }
        }
        let lowest = self.positions.front().expect("a position was compared");
        Err(FollowError::TooDeep {
            block: lowest.block,
            hash: lowest.hash,
        })
    }

    /// Notes every block that has a log, and the last one.
    fn forward(&mut self, logs: Vec<Log>, last: &Header) -> Update {
        for log in &logs {
            let Some(Position { block, hash, .. }) = Position::of(log) else {
                continue;
            };
            if self.positions.back().is_none_or(|noted| noted.block < block) {
                let log = None;
                self.positions.push_back(Position { block, hash, log });
            }
        }
        let to = Position {
            block: last.number,
            hash: last.hash,
            log: None,
        };
        if self.positions.back().is_none_or(|noted| noted.block < to.block) {
            self.positions.push_back(to);
        }
        self.prune();
        Update::Logs { logs, to }
    }

    /// Keeps what can be undone, and one position below it.
    fn prune(&mut self) {
        let newest = self.positions.back().map_or(0, |position| position.block);
        let floor = newest.saturating_sub(self.following.undo_blocks_max);
        while self.positions.get(1).is_some_and(|second| second.block <= floor) {
            self.positions.pop_front();
        }
    }

    async fn header(&self, number: u64) -> Result<Option<Header>, FollowError> {
        let header = self.source.header(number).await;
        header.map_err(|error| self.failed(&error))
    }

    /// A block's logs, by its hash; none when the node that was asked does not know it.
    async fn logs_of(&self, header: &Header) -> Result<Option<Vec<Log>>, FollowError> {
        let logs = self.source.logs_of(header).await;
        let Some(logs) = logs.map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let number = header.number;
        let checked = answers::in_order(&logs, self.following.contract, number..=number, header);
        checked.map_err(|reason| self.wrong(reason))?;
        Ok(Some(logs))
    }

    fn told(&self) -> u64 {
        let before = self.following.start.saturating_sub(1);
        self.positions.back().map_or(before, |position| position.block)
    }

    fn failed(&self, error: &TransportError) -> FollowError {
        FollowError::Endpoint {
            block: self.told(),
            reason: told(error),
        }
    }

    fn wrong(&self, reason: String) -> FollowError {
        FollowError::Answer {
            block: self.told(),
            reason,
        }
    }
}
