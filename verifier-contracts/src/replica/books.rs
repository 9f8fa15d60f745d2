//! What is kept beside the state: the queue's entries that wait, and the withdrawals that are not paid; with what undoes both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy::primitives::Address;
use rules::{
    digest::Digest,
    outbox::{self, Owed},
    record::{QueueHash, Record},
};
use thiserror::Error;

use crate::events::Entry;

/// Whose withdrawals are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Nobody's.
    #[default]
    Nobody,
    /// Those of some recipients, as a wallet needs them.
    Recipients(BTreeSet<Address>),
    /// All: as much memory as is owed.
    Everybody,
}

impl Watch {
    fn has(&self, recipient: &[u8; 20]) -> bool {
        match self {
            Self::Nobody => false,
            Self::Recipients(recipients) => recipients.contains(&Address::from(*recipient)),
            Self::Everybody => true,
        }
    }
}

/// A withdrawal that L1 owes, with what it takes to claim it (P-13.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is owed.
    pub owed: Owed,
    /// The siblings of its leaf.
    pub siblings: Vec<Digest>,
}

/// A batch that does not go with the queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueueFault {
    /// The entry that entered is not the next.
    #[error("an entry entered as number {found}, expected {expected} (P-12.1)")]
    Number {
        /// The next.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// What a batch consumed is not what waited.
    #[error("batch {batch}, entry {entry}: expected {expected:?}, found {found:?} (P-9.10)")]
    Record {
        /// The batch.
        batch: u64,
        /// The entry.
        entry: u64,
        /// As it entered.
        expected: Box<Record>,
        /// As it was consumed, but for code and amount.
        found: Box<Record>,
    },
    /// A batch consumed more than waited.
    #[error("batch {batch} consumes entry {entry}, which did not enter (P-9.10)")]
    Missing {
        /// The batch.
        batch: u64,
        /// The entry.
        entry: u64,
    },
    /// What a batch consumed rolls to another hash than the contract's.
    #[error("batch {batch}, hash of the queue at entry {head}: expected {expected}, found {found} (P-9.10)")]
    Hash {
        /// The batch.
        batch: u64,
        /// The queue's head after it.
        head: u64,
        /// The contract's.
        expected: QueueHash,
        /// By what was consumed.
        found: QueueHash,
    },
}

/// One thing that can be undone.
#[derive(Debug)]
enum Change {
    Entered,
    Consumed {
        entries: Vec<Entry>,
        head: u64,
        hash: QueueHash,
    },
    Owed(u64),
    Paid(Claim),
}

/// What a batch leaves of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consumed {
    /// The first entry that is not consumed.
    pub head: u64,
    /// `Q_head`.
    pub hash: QueueHash,
    /// Whether all that it consumed was seen to enter; else the contract's own hash is to be compared.
    pub all_seen: bool,
}

/// Entries and withdrawals.
#[derive(Debug)]
pub(super) struct Books {
    watch: Watch,
    head: u64,
    /// `Q_head`.
    hash: QueueHash,
    /// Those that were seen to enter, from `head` on; after a snapshot the first ones may be missing.
    waiting: BTreeMap<u64, Entry>,
    claims: BTreeMap<(u64, u32), Claim>,
    changes: VecDeque<(u64, Change)>,
    depth: u64,
    /// Whether it began behind a snapshot, so that entries can wait that were not seen to enter.
    resumed: bool,
}

impl Books {
    /// Begins with the contract.
    pub fn new(watch: Watch, depth: u64) -> Self {
        Self {
            watch,
            head: 0,
            hash: QueueHash::default(),
            resumed: false,
            waiting: BTreeMap::new(),
            claims: BTreeMap::new(),
            changes: VecDeque::new(),
            depth,
        }
    }

    /// Begins behind a snapshot, where `head` is the first entry that is not consumed, and `hash` is `Q_head`.
    pub fn resume(watch: Watch, head: u64, hash: QueueHash, depth: u64) -> Self {
        Self {
            head,
            hash,
            resumed: true,
            ..Self::new(watch, depth)
        }
    }

    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.values()
    }

    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// An entry entered in a block.
    pub fn enter(&mut self, block: u64, entry: Entry) -> Result<(), QueueFault> {
        let next = self.waiting.last_key_value().map(|(last, _)| last + 1);
        // Behind a snapshot any from the head on may be the first that is seen.
        let expected = next.or((!self.resumed).then_some(self.head));
        let found = entry.number;
        match expected {
            Some(expected) if expected != found => return Err(QueueFault::Number { expected, found }),
            _ => {}
        }
        self.waiting.insert(found, entry);
        self.note(block, Change::Entered);
        Ok(())
    }

    /// The queue after a batch with these records, if they are what waits.
    pub fn after(&self, batch: u64, records: &[Record]) -> Result<Consumed, QueueFault> {
        let mut after = Consumed {
            head: self.head,
            hash: self.hash,
            all_seen: true,
        };
        for found in records.iter().filter(|record| record.kind.is_queued()) {
            let (found, entry) = (found.entry(), after.head);
            after.head += 1;
            after.hash = after.hash.after(&found);
            match self.waiting.get(&entry) {
                Some(seen) if seen.record == found => {}
                Some(seen) => {
                    return Err(QueueFault::Record {
                        batch,
                        entry,
                        expected: Box::new(seen.record),
                        found: Box::new(found),
                    });
                }
                None if self.resumed && self.waiting.keys().next().is_none_or(|first| entry < *first) => {
                    after.all_seen = false;
                }
                None => return Err(QueueFault::Missing { batch, entry }),
            }
        }
        Ok(after)
    }

    /// A batch consumed what leads to there.
    pub fn consume(&mut self, block: u64, after: &Consumed) {
        if after.head == self.head {
            return;
        }
        let still = self.waiting.split_off(&after.head);
        let entries = std::mem::replace(&mut self.waiting, still);
        let change = Change::Consumed {
            entries: entries.into_values().collect(),
            head: self.head,
            hash: self.hash,
        };
        (self.head, self.hash) = (after.head, after.hash);
        self.note(block, change);
    }

    /// A batch owes by its paying records.
    pub fn owe(&mut self, block: u64, batch: u64, records: &[Record]) {
        if self.watch == Watch::Nobody {
            return;
        }
        let owed = outbox::owed(batch, records);
        let tree = outbox::Tree::new(&owed);
        let watched = owed.into_iter().filter(|owed| self.watch.has(&owed.recipient));
        let mut any = false;
        for owed in watched {
            let siblings = tree.siblings(owed.position).expect("it has a leaf");
            let key = (batch, owed.position);
            self.claims.insert(key, Claim { owed, siblings });
            any = true;
        }
        if any {
            self.note(block, Change::Owed(batch));
        }
    }

    /// A withdrawal was paid.
    pub fn pay(&mut self, block: u64, owed: &Owed) {
        if let Some(claim) = self.claims.remove(&(owed.batch, owed.position)) {
            self.note(block, Change::Paid(claim));
        }
    }

    /// Undoes what came after a block.
    pub fn undo(&mut self, to: u64) {
        while let Some((_, change)) = self.changes.pop_back_if(|(block, _)| *block > to) {
            match change {
                Change::Entered => drop(self.waiting.pop_last()),
                Change::Consumed { entries, head, hash } => {
                    let entries = entries.into_iter().map(|entry| (entry.number, entry));
                    self.waiting.extend(entries);
                    (self.head, self.hash) = (head, hash);
                }
                Change::Owed(batch) => {
                    let after = self.claims.split_off(&(batch + 1, 0));
                    drop(self.claims.split_off(&(batch, 0)));
                    self.claims.extend(after);
                }
                Change::Paid(claim) => {
                    let Owed { batch, position, .. } = claim.owed;
                    self.claims.insert((batch, position), claim);
                }
            }
        }
    }

    fn note(&mut self, block: u64, change: Change) {
        self.changes.push_back((block, change));
        let oldest = block.saturating_sub(self.depth);
        while self.changes.pop_front_if(|(block, _)| *block < oldest).is_some() {}
    }
}
