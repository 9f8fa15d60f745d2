//! The rollup's state, derived from what L1 has (section 15), through reorganisations.
//!
//! [`Replica`] joins [`l1::Follower`](crate::l1::Follower), which reads the contract's logs, with [`rules::follow::Follower`], which
//! executes the batches in them. It believes its endpoint what the chain's logs are (P-15.1), and nothing else.

mod books;

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use alloy::{primitives::Address, rpc::types::Log};
use rules::{
    derive::{self, DeriveError, Derived},
    digest::Digest,
    follow::{self, Block, TooDeep},
    operation::RollupId,
    record::{QueueHash, Record},
    snapshot::{self, Header},
    state::State,
    stream,
};
use thiserror::Error;

use crate::{
    events::{BatchAccepted, Entry, Event, EventError},
    l1::{Deployment, FollowError, Follower, Following, L1, L1Error, Position, Saved, Update},
};
use books::{Books, Consumed};

pub use books::{Claim, QueueFault, Watch};

/// What became of the rollup.
#[derive(Debug)]
pub enum Step {
    /// A batch was accepted, and the state is the one after it.
    Batch(Box<Batch>),
    /// Anything else that the contract told, in the chain's order.
    Event(Event),
    /// L1 took blocks back: so many batches were undone, and entries and payments with them.
    Undone {
        /// The last block that is still on the chain.
        to: Position,
        /// Batches that were undone, the last ones.
        batches: usize,
    },
    /// Everything up to there has been told.
    Reached(Position),
}

/// An accepted batch.
#[derive(Debug)]
pub struct Batch {
    /// Where.
    pub at: Position,
    /// What L1 says of it.
    pub accepted: BatchAccepted,
    /// What it did.
    pub derived: Derived,
}

/// Why the state cannot be followed. Nothing is ever skipped (P-15.3): the replica says the same again.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The chain cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The contract cannot be asked.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// The chain went back further than can be undone.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
    /// A log is none of the contract's.
    #[error("block {}: {reason}", at.block)]
    Event {
        /// Where.
        at: Position,
        /// What is wrong.
        reason: Box<EventError>,
    },
    /// A log has no place on the chain.
    #[error("a log without a place on the chain, in what was asked of the blocks up to {block}")]
    Unplaced {
        /// The block.
        block: u64,
    },
    /// The log behind `BatchAccepted` is not the data of the batch.
    #[error("block {}: expected the data of batch {expected}, found {found}", at.block)]
    Data {
        /// Where.
        at: Position,
        /// The batch.
        expected: u64,
        /// What was found.
        found: String,
    },
    /// A batch cannot have led to the root that L1 has for it.
    #[error("block {}: {reason}", at.block)]
    Derive {
        /// Where.
        at: Position,
        /// Batch, place, rule, expected and found.
        reason: DeriveError,
    },
    /// A batch does not go with the queue.
    #[error("block {}: {reason}", at.block)]
    Queue {
        /// Where.
        at: Position,
        /// Batch, entry, expected and found.
        reason: Box<QueueFault>,
    },
    /// The snapshot is not of what is on this chain.
    #[error("the snapshot's {field}: expected {expected}, found {found} (P-15.4)")]
    Snapshot {
        /// What differs.
        field: &'static str,
        /// On the chain.
        expected: String,
        /// In the snapshot.
        found: String,
    },
}

/// The state that L1's logs lead to, and what is kept beside it.
#[derive(Debug)]
pub struct Replica {
    deployment: Deployment,
    rollup_id: RollupId,
    follower: Follower,
    state: follow::Follower,
    books: Books,
    /// Logs that are not told yet, and where one is when they are.
    logs: VecDeque<Log>,
    reached: Option<Position>,
    to: Option<Position>,
    /// A batch whose data come next.
    open: Option<BatchAccepted>,
    /// The last batch's times, with their blocks, for what can be undone; the first is before all of them.
    times: VecDeque<(u64, u64)>,
    depth: u64,
}

impl Replica {
    /// Begins with the empty state (P-3.6), before the contract's creation: [`Following::start`] is at or before it.
    ///
    /// # Errors
    /// [`ReplicaError::L1`] when there is no rollup contract.
    pub async fn new(l1: &L1, following: Following, watch: Watch) -> Result<Self, ReplicaError> {
        let depth = following.undo_blocks_max;
        let parts = (State::default(), derive::Position::default(), 0);
        let books = Books::new(watch, depth);
        let contract = following.contract;
        let follower = Follower::new(l1, all(following));
        Self::join(l1, contract, follower, parts, books, depth).await
    }

    /// Goes on from a snapshot, which is of this contract and of a block on this chain. Withdrawals of batches before it are not known.
    ///
    /// # Errors
    /// [`ReplicaError::Snapshot`] for one of something else. That its block is on the chain is seen at the first step: if not, that
    /// is [`FollowError::TooDeep`].
    pub async fn resume(
        l1: &L1,
        following: Following,
        watch: Watch,
        (header, state): (Header, State),
    ) -> Result<Self, ReplicaError> {
        let depth = following.undo_blocks_max;
        let deployment = Deployment::at(l1, following.contract).await?;
        check(&deployment, &header).await?;
        let hash = match header.head.checked_sub(1) {
            Some(last) => deployment.slot(last).await?.hash,
            None => QueueHash::default(),
        };
        let saved = Saved {
            contract: following.contract,
            positions: vec![Position {
                block: header.block.number,
                hash: header.block.hash.0.into(),
                log: None,
            }],
        };
        let contract = following.contract;
        let follower = Follower::resume(l1, all(following), &saved)?;
        let position = derive::Position {
            number: header.batches,
            head: header.head,
        };
        let books = Books::resume(watch, header.head, hash, depth);
        let parts = (state, position, header.time);
        let mut replica = Self::join(l1, contract, follower, parts, books, depth).await?;
        // There may be no block after it for a while.
        replica.reached = saved.positions.last().copied();
        Ok(replica)
    }

    async fn join(
        l1: &L1,
        contract: Address,
        follower: Follower,
        (state, position, time): (State, derive::Position, u64),
        books: Books,
        depth: u64,
    ) -> Result<Self, ReplicaError> {
        Ok(Self {
            rollup_id: rollup_id(l1, contract).await?,
            deployment: Deployment::at(l1, contract).await?,
            follower,
            state: follow::Follower::new(state, position, depth),
            books,
            logs: VecDeque::new(),
            reached: None,
            to: None,
            open: None,
            times: VecDeque::from([(0, time)]),
            depth,
        })
    }

    /// The state after the last batch that was told.
    pub fn state(&self) -> &State {
        self.state.state()
    }

    /// The next batch's number, and the queue's head.
    pub fn position(&self) -> derive::Position {
        self.state.position()
    }

    /// The entries that wait in the queue, in their order. Behind a snapshot those are missing that entered before its block.
    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.books.waiting()
    }

    /// The withdrawals of those who are watched that L1 owes and has not paid, by batch and position.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.books.claims()
    }

    /// The contract that is followed.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// What a snapshot of the state says of itself; none while logs of a block are not told yet.
    pub fn header(&self) -> Option<Header> {
        let reached = self
            .reached
            .filter(|_| self.logs.is_empty() && self.to.is_none())?;
        let derive::Position { number, head } = self.position();
        Some(Header {
            rollup_id: self.rollup_id,
            batches: number,
            time: self.times.back().map_or(0, |(_, time)| *time),
            head,
            block: Block {
                number: reached.block,
                hash: Digest(reached.hash.0),
            },
            root: self.state().root(),
        })
    }

    /// Writes a snapshot of what was reached; false while [`Replica::header`] is none.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_snapshot(&self, file: impl Write) -> io::Result<bool> {
        match self.header() {
            Some(header) => snapshot::write(&header, self.state(), file).map(|()| true),
            None => Ok(false),
        }
    }

    /// Waits for the next thing that becomes of the rollup.
    ///
    /// # Errors
    /// [`ReplicaError`]; an endpoint's failure when it has lasted for [`Following::patience`].
    pub async fn next(&mut self) -> Result<Step, ReplicaError> {
        loop {
            if let Some(step) = self.told().await? {
                return Ok(step);
            }
            let update = self.follower.next().await?;
            if let Some(step) = self.take(update)? {
                return Ok(step);
            }
        }
    }

    /// The next thing, if there is one that the endpoint knows; asks at most once.
    ///
    /// # Errors
    /// [`ReplicaError`]; an endpoint's failure at once.
    pub async fn poll(&mut self) -> Result<Option<Step>, ReplicaError> {
        if let Some(step) = self.told().await? {
            return Ok(Some(step));
        }
        let Some(update) = self.follower.poll().await? else {
            return Ok(None);
        };
        match self.take(update)? {
            Some(step) => Ok(Some(step)),
            None => self.told().await,
        }
    }

    /// Takes over what the follower says.
    fn take(&mut self, update: Update) -> Result<Option<Step>, ReplicaError> {
        match update {
            Update::Logs { logs, to } => {
                self.logs.extend(logs);
                self.to = Some(to);
                Ok(None)
            }
            Update::Undo { to } => {
                self.books.undo(to.block);
                while self.times.len() > 1 && self.times.back().is_some_and(|(block, _)| *block > to.block) {
                    self.times.pop_back();
                }
                self.open = None;
                self.reached = Some(to);
                let batches = self.state.settle(|block| block.number <= to.block)?;
                Ok(Some(Step::Undone { to, batches }))
            }
        }
    }

    /// The next step out of the logs that are here. A log that is wrong stays the next.
    async fn told(&mut self) -> Result<Option<Step>, ReplicaError> {
        while let Some(log) = self.logs.front() {
            let block = self.to.map_or(0, |to| to.block);
            let at = Position::of(log).ok_or(ReplicaError::Unplaced { block })?;
            let event = Event::decode(&log.inner).map_err(|reason| ReplicaError::Event {
                at,
                reason: Box::new(reason),
            })?;
            let step = self.event(at, event).await?;
            self.logs.pop_front();
            if step.is_some() {
                return Ok(step);
            }
        }
        let to = self.to.take();
        if let Some(to) = to {
            self.reached = Some(to);
        }
        Ok(to.map(Step::Reached))
    }

    async fn event(&mut self, at: Position, event: Event) -> Result<Option<Step>, ReplicaError> {
        if let Some(open) = self.open.clone() {
            return self.batch(at, open, event).await.map(Some);
        }
        let queue = |reason| ReplicaError::Queue {
            at,
            reason: Box::new(reason),
        };
        match &event {
            Event::BatchAccepted(accepted) => {
                self.open = Some(accepted.clone());
                return Ok(None);
            }
            Event::BatchData(data) => {
                let (expected, found) = (self.position().number, format!("data of {} alone", data.number));
                return Err(ReplicaError::Data { at, expected, found });
            }
            Event::Queued(entry) => self.books.enter(at.block, *entry).map_err(queue)?,
            Event::Claimed(owed) => self.books.pay(at.block, owed),
            _ => {}
        }
        Ok(Some(Step::Event(event)))
    }

    /// The log behind a `BatchAccepted`, which has the batch's data.
    async fn batch(
        &mut self,
        at: Position,
        accepted: BatchAccepted,
        event: Event,
    ) -> Result<Step, ReplicaError> {
        let batch = accepted.number;
        let data = match event {
            Event::BatchData(data) if data.number == batch => data,
            other => {
                return Err(ReplicaError::Data {
                    at,
                    expected: batch,
                    found: other.name().to_owned(),
                });
            }
        };
        // Everything is compared before anything moves. Records that are none are the state's to refuse.
        let records = stream::records(&data.data_a).unwrap_or_default();
        let after = self.queue_after(at, batch, &records).await?;
        let block = Block {
            number: at.block,
            hash: Digest(at.hash.0),
        };
        let derived = self.state.accept(block, &accepted.with(data));
        let derived = derived.map_err(|reason| ReplicaError::Derive { at, reason })?;
        self.books.consume(at.block, &after);
        self.books.owe(at.block, batch, &derived.records);
        self.times.push_back((at.block, accepted.time));
        let oldest = at.block.saturating_sub(self.depth);
        while self.times.get(1).is_some_and(|(block, _)| *block < oldest) {
            self.times.pop_front();
        }
        self.open = None;
        Ok(Step::Batch(Box::new(Batch {
            at,
            accepted,
            derived,
        })))
    }

    /// The queue after a batch, compared with the entries that were seen, and where they were not, with the contract's hash.
    async fn queue_after(
        &self,
        at: Position,
        batch: u64,
        records: &[Record],
    ) -> Result<Consumed, ReplicaError> {
        let queue = |reason| ReplicaError::Queue {
            at,
            reason: Box::new(reason),
        };
        let after = self.books.after(batch, records).map_err(queue)?;
        if after.all_seen {
            return Ok(after);
        }
        let expected = self.deployment.slot(after.head - 1).await?.hash;
        if expected != after.hash {
            return Err(queue(QueueFault::Hash {
                batch,
                head: after.head,
                expected,
                found: after.hash,
            }));
        }
        Ok(after)
    }
}

/// All of the contract's events.
fn all(following: Following) -> Following {
    Following {
        events: Vec::new(),
        ..following
    }
}

async fn rollup_id(l1: &L1, contract: Address) -> Result<RollupId, ReplicaError> {
    Ok(RollupId {
        chain_id: l1.chain_id().await?,
        contract: contract.into_array(),
    })
}

/// Whether a snapshot can be of this contract. Root, time and head are compared now if no batch came after it, else by the
/// first that did: its old root, its time, and the entries that it consumed.
async fn check(deployment: &Deployment, header: &Header) -> Result<(), ReplicaError> {
    let differs = |field, expected: String, found: String| {
        Err(ReplicaError::Snapshot {
            field,
            expected,
            found,
        })
    };
    let expected = rollup_id(deployment.l1(), deployment.rollup()).await?;
    let found = header.rollup_id;
    if expected != found {
        return differs("rollup", format!("{expected:?}"), format!("{found:?}"));
    }
    let mut batches = deployment.next_batch_number().await?;
    if header.batches > batches {
        let found = header.batches.to_string();
        return differs("batches", format!("at most {batches}"), found);
    }
    // A batch may come between two questions; one that came already has what is looked at here behind it.
    while header.batches == batches {
        let (root, time) = (
            deployment.state_root().await?,
            deployment.last_batch_time().await?,
        );
        let (head, _) = deployment.queue_bounds().await?;
        let again = deployment.next_batch_number().await?;
        if again != batches {
            batches = again;
            continue;
        }
        let hex = rules::field::to_hex;
        for (field, expected, found) in [
            ("root", hex(&root), hex(&header.root)),
            ("time", time.to_string(), header.time.to_string()),
            ("head", head.to_string(), header.head.to_string()),
        ] {
            if expected != found {
                return differs(field, expected, found);
            }
        }
        break;
    }
    Ok(())
}
