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

fn difference(expected: &Record, found: &Record) -> String {
    match expected.difference(found) {
        Some((field, expected, found)) => format!("{field}: expected {expected}, found {found} (P-9.10)"),
        None => "the records are the same".to_owned(),
    }
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
    #[error("batch {batch}, entry {entry}, {}", difference(.expected, .found))]
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

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{
        account::{AccountIndex, TokenId},
        record::{Coordinate, Kind},
    };

    fn record(kind: Kind, amount: u128) -> Record {
        Record {
            kind,
            code: 0,
            token: TokenId(1),
            index: AccountIndex::new(70_000).expect("33 bits"),
            amount,
            address: [7; 20],
            u: Coordinate::ZERO,
            v: Coordinate::ZERO,
        }
    }

    fn entry(number: u64) -> Entry {
        Entry {
            number,
            sender: Address::ZERO,
            record: record(Kind::DepositNew, u128::from(number)),
        }
    }

    fn books(entries: u64) -> Books {
        let mut books = Books::new(Watch::Everybody, 10);
        (0..entries).for_each(|number| books.enter(number, entry(number)).expect("it is the next"));
        books
    }

    /// The hash over the first entries.
    fn hash(entries: u64) -> QueueHash {
        (0..entries).fold(QueueHash::default(), |hash, number| {
            hash.after(&entry(number).record)
        })
    }

    #[test]
    fn what_is_consumed_is_what_waited_in_its_order() {
        let books = books(3);
        // With what executing them finds, which is not the queue's.
        let mut first = entry(0).record;
        first.code = 1;
        let after = books.after(5, &[first, record(Kind::Withdrawal, 9), entry(1).record]);
        let after = after.expect("they waited");
        assert_eq!((after.head, after.hash, after.all_seen), (2, hash(2), true));
        let swapped = books
            .after(5, &[entry(1).record, entry(0).record])
            .expect_err("another order");
        assert!(
            matches!(
                swapped,
                QueueFault::Record {
                    batch: 5,
                    entry: 0,
                    ..
                }
            ),
            "{swapped}"
        );
        let all = [0, 1, 2, 3].map(|number| entry(number).record);
        let (batch, entry) = (5, 3);
        assert_eq!(books.after(5, &all), Err(QueueFault::Missing { batch, entry }));
    }

    #[test]
    fn entries_enter_one_after_the_other() {
        let mut books = books(2);
        for found in [0, 1, 3] {
            let expected = 2;
            assert_eq!(
                books.enter(9, entry(found)),
                Err(QueueFault::Number { expected, found })
            );
        }
        let mut empty = Books::new(Watch::Nobody, 10);
        let (expected, found) = (0, 1);
        assert_eq!(
            empty.enter(9, entry(1)),
            Err(QueueFault::Number { expected, found })
        );
        books.enter(9, entry(2)).expect("it is the next");
    }

    #[test]
    fn behind_a_snapshot_entries_may_be_unknown_until_the_first_that_is_seen() {
        let mut books = Books::resume(Watch::Nobody, 1, hash(1), 10);
        let unseen = books.after(5, &[entry(1).record]).expect("it may have waited");
        assert_eq!((unseen.hash, unseen.all_seen), (hash(2), false));
        books.enter(3, entry(2)).expect("the first that is seen");
        let all = [entry(1).record, entry(2).record];
        let after = books.after(5, &all).expect("they waited");
        assert_eq!((after.hash, after.all_seen), (hash(3), false));
        books.consume(4, &after);
        assert_eq!(books.after(6, &[]).expect("nothing").head, 3);
        assert!(books.waiting().next().is_none());
    }

    #[test]
    fn everything_is_undone_to_a_block_and_no_further_back_than_is_kept() {
        let mut books = books(3);
        let mut refused = entry(0).record;
        (refused.code, refused.amount) = (1, 8);
        let after = Consumed {
            head: 2,
            hash: hash(2),
            all_seen: true,
        };
        books.consume(5, &after);
        books.owe(5, 0, &[refused, record(Kind::Withdrawal, 9)]);
        assert_eq!(books.claims().count(), 2);
        let claim = books.claims().next().expect("two").clone();
        let root = outbox::Tree::new(&outbox::owed(0, &[refused, record(Kind::Withdrawal, 9)])).root();
        assert_eq!(Some(outbox::root_of(claim.owed.leaf(), &claim.siblings)), root);
        books.pay(6, &claim.owed);
        books.pay(6, &claim.owed);
        assert_eq!(books.claims().count(), 1);
        books.undo(5);
        assert_eq!(books.claims().count(), 2);
        books.undo(4);
        assert_eq!((books.claims().count(), books.waiting().count()), (0, 3));
        assert_eq!(books.after(7, &[]).expect("nothing").hash, hash(0));
        // Entries of blocks 0 to 2: the last is undone.
        books.undo(1);
        assert_eq!(books.waiting().count(), 2);
        books.enter(20, entry(2)).expect("it is the next");
        books.undo(0);
        assert_eq!(
            books.waiting().count(),
            2,
            "what came ten blocks before is settled"
        );
    }

    #[test]
    fn what_nobody_watches_is_not_kept() {
        let records = [record(Kind::Withdrawal, 9)];
        for (watch, kept) in [
            (Watch::Nobody, 0),
            (Watch::Recipients([Address::repeat_byte(8)].into()), 0),
            (Watch::Recipients([Address::repeat_byte(7)].into()), 1),
            (Watch::Everybody, 1),
        ] {
            let mut books = Books::new(watch, 10);
            books.owe(5, 0, &records);
            assert_eq!(books.claims().count(), kept);
        }
    }
}
