//! The state from what L1 accepted and posted, and from nothing else (section 15).
//!
//! Signatures, nonces and expiries are not in the data and not needed: L1 has verified a proof. What else is said there is found anew
//! and compared, and what differs is never skipped.

use crate::account::leaves;
use crate::digest::Digest;
use crate::field;
use crate::operation::{Creation, Word, WordError};
use crate::outbox::{self, owed};
use crate::record::{Kind, Record};
use crate::state::State;
use crate::stream::{self, GROUP_WORDS, Group, PostedError};
use crate::transition::{Change, Overlay};
use crate::violation::Violation;
use halo2curves::bn256::Fr;
use std::fmt;
use thiserror::Error;

/// What L1 says of an accepted batch: the parts of its logs `BatchAccepted` and `BatchData` that the state follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The batch's number.
    pub number: u64,
    /// The root before.
    pub old_root: Fr,
    /// The root after.
    pub new_root: Fr,
    /// The first entry of the queue that is not consumed after it.
    pub head: u64,
    /// The root of the tree of its withdrawals; none where it has none.
    pub withdrawals_root: Option<Digest>,
    /// Its paying records.
    pub withdrawals: u32,
    /// The posted form of stream A.
    pub data_a: Vec<u8>,
    /// The posted form of stream B.
    pub data_b: Vec<u8>,
}

/// Where in a batch something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before the places of a group.
    Group(usize),
    /// In a place.
    Place(usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Group(group) => write!(f, "before group {group}"),
            Self::Place(place) => write!(f, "place {place}"),
        }
    }
}

/// Why a batch that L1 accepted cannot have led from this state to its new root: this program, or what it was told, is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("batch {batch}: {fault}")]
pub struct DeriveError {
    /// The batch's number as L1 says it.
    pub batch: u64,
    /// What does not fit.
    pub fault: Box<Fault>,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Another batch comes next.
    #[error("number: expected {expected}, found {found}")]
    Number {
        /// The next.
        expected: u64,
        /// The batch's.
        found: u64,
    },
    /// It begins from another state.
    #[error("old root: expected {}, found {}", field::to_hex(.expected), field::to_hex(.found))]
    OldRoot {
        /// The state's root.
        expected: Fr,
        /// The batch's.
        found: Fr,
    },
    /// The posted bytes are no streams.
    #[error(transparent)]
    Posted(#[from] PostedError),
    /// A word is none.
    #[error("{at}: {reason} (P-4.3)")]
    Word {
        /// Where.
        at: At,
        /// What is wrong with it.
        reason: WordError,
    },
    /// An operation with a record stands where none may.
    #[error("{at}: expected no operation with a record, found one (P-6.3)")]
    RecordPlace {
        /// Where.
        at: At,
    },
    /// An operation is impossible on this state.
    #[error("{at}: {violation}")]
    Effect {
        /// Where.
        at: At,
        /// The rule broken.
        violation: Violation,
    },
    /// Stream A has fewer records than stream B asks for.
    #[error("{at}: expected record {record}, found none (P-15.2)")]
    RecordMissing {
        /// Where.
        at: At,
        /// The record's place in stream A, from 0.
        record: usize,
    },
    /// A field of a record is not what executing the operation gives.
    #[error("{at}, record {record}, {field}: expected {expected}, found {found} ({clause})")]
    Record {
        /// Where.
        at: At,
        /// The record's place in stream A, from 0.
        record: usize,
        /// The field.
        field: &'static str,
        /// What the rules give.
        expected: String,
        /// What was posted.
        found: String,
        /// The clause that says so.
        clause: &'static str,
    },
    /// Stream A has more records than stream B asks for.
    #[error("expected {expected} records, found {found} (P-15.2)")]
    RecordsLeft {
        /// Records that the groups take.
        expected: usize,
        /// Records posted.
        found: usize,
    },
    /// L1 says that another number of entries is consumed.
    #[error("head of the queue: expected {expected}, found {found} (P-9.10)")]
    Head {
        /// By the records.
        expected: u64,
        /// By L1.
        found: u64,
    },
    /// L1 says that it owes by another number of records.
    #[error("withdrawals: expected {expected}, found {found} (P-9.12)")]
    Withdrawals {
        /// By the records.
        expected: usize,
        /// By L1.
        found: u32,
    },
    /// L1 has another tree of withdrawals.
    #[error("root of the withdrawals: expected {}, found {} (P-13.1)", text(.expected.as_ref()), text(.found.as_ref()))]
    WithdrawalsRoot {
        /// By the records.
        expected: Option<Digest>,
        /// By L1.
        found: Option<Digest>,
    },
    /// The operations lead to another state.
    #[error("new root: expected {}, found {}", field::to_hex(.expected), field::to_hex(.found))]
    NewRoot {
        /// The batch's.
        expected: Fr,
        /// The root that the data lead to.
        found: Fr,
    },
}

/// A digest, where there is one.
fn text(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), Digest::to_string)
}

/// What a batch did, beside the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The accounts written, before and after, by index: what [`crate::batch::undo`] takes.
    pub changes: Vec<Change>,
    /// The records.
    pub records: Vec<Record>,
    /// The groups.
    pub groups: Vec<Group>,
}

/// What is known of the rollup before a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The next batch's number.
    pub number: u64,
    /// The queue's head.
    pub head: u64,
}

/// Moves a state over the batch that L1 accepted next. Nodes are hashed once (P-15.5).
///
/// # Errors
/// The first thing that does not fit (P-15.3). State and position are then as they were.
pub fn derive(
    state: &mut State,
    position: &mut Position,
    accepted: &Accepted,
) -> Result<Derived, DeriveError> {
    let batch = accepted.number;
    let fail = |fault| DeriveError {
        batch,
        fault: Box::new(fault),
    };
    if batch != position.number {
        return Err(fail(Fault::Number {
            expected: position.number,
            found: batch,
        }));
    }
    if accepted.old_root != state.root() {
        return Err(fail(Fault::OldRoot {
            expected: state.root(),
            found: accepted.old_root,
        }));
    }
    let derived = replay(state, &accepted.data_a, &accepted.data_b).map_err(fail)?;
    let head = told(position, accepted, &derived.records).map_err(fail)?;
    let changes = &derived.changes;
    let written: Vec<_> = changes
        .iter()
        .filter_map(|change| Some((change.index, change.after?)))
        .collect();
    let leaves = leaves(&written);
    let update = state.tree().update(&leaves);
    if update.root() != accepted.new_root {
        return Err(fail(Fault::NewRoot {
            expected: accepted.new_root,
            found: update.root(),
        }));
    }
    state.commit(&written, update);
    *position = Position {
        number: batch + 1,
        head,
    };
    Ok(derived)
}

/// Compares what L1 says of queue and withdrawals. Returns the queue's head.
fn told(position: &Position, accepted: &Accepted, records: &[Record]) -> Result<u64, Fault> {
    let consumed = records.iter().filter(|record| record.kind.is_queued()).count();
    let (expected, found) = (position.head + consumed as u64, accepted.head);
    if expected != found {
        return Err(Fault::Head { expected, found });
    }
    let owed = owed(accepted.number, records);
    if usize::try_from(accepted.withdrawals) != Ok(owed.len()) {
        return Err(Fault::Withdrawals {
            expected: owed.len(),
            found: accepted.withdrawals,
        });
    }
    let root = outbox::Tree::new(&owed).root();
    if root != accepted.withdrawals_root {
        return Err(Fault::WithdrawalsRoot {
            expected: root,
            found: accepted.withdrawals_root,
        });
    }
    Ok(expected)
}

/// What posted bytes do to a state, which stays as it is.
///
/// # Errors
/// What does not fit in the data alone.
pub fn replay(state: &State, data_a: &[u8], data_b: &[u8]) -> Result<Derived, Fault> {
    let groups = stream::groups(data_b)?;
    let records = stream::records(data_a)?;
    let mut reader = Reader {
        overlay: Overlay::new(state),
        records: &records,
        used: 0,
    };
    for (number, group) in groups.iter().enumerate() {
        if group.flag {
            reader.queued(At::Group(number))?;
        }
        for (place, word) in group.words.iter().enumerate() {
            reader.place(number * GROUP_WORDS + place, *word)?;
        }
    }
    if reader.used != records.len() {
        return Err(Fault::RecordsLeft {
            expected: reader.used,
            found: records.len(),
        });
    }
    let changes = reader.overlay.into_changes();
    Ok(Derived {
        changes,
        records,
        groups,
    })
}

struct Reader<'a> {
    overlay: Overlay<'a>,
    records: &'a [Record],
    used: usize,
}

impl<'a> Reader<'a> {
    fn queued(&mut self, at: At) -> Result<(), Fault> {
        let (number, record) = self.next(at)?;
        if !record.kind.is_queued() {
            return Err(wrong_kind(at, number, "1 to 4", record.kind));
        }
        let done = self
            .overlay
            .queued(record)
            .map_err(|violation| Fault::Effect { at, violation })?;
        let expected = done.record.expect("the queue's operations have records");
        compare(at, number, &expected, record, "P-4.11")
    }

    fn place(&mut self, place: usize, word: u128) -> Result<(), Fault> {
        let at = At::Place(place);
        let word = Word::from_integer(word).map_err(|reason| Fault::Word { at, reason })?;
        let has_record = matches!(word, Word::Withdrawal { .. } | Word::Creation { .. });
        if has_record && place % GROUP_WORDS == GROUP_WORDS - 1 {
            return Err(Fault::RecordPlace { at });
        }
        let effect = |violation| Fault::Effect { at, violation };
        match word {
            Word::NoOp => Ok(()),
            Word::Transfer(transfer) => self.overlay.replay_transfer(&transfer).map_err(effect),
            Word::Withdrawal { from, fee } => {
                let (number, record) = self.next(at)?;
                if record.kind != Kind::Withdrawal {
                    return Err(wrong_kind(at, number, "5", record.kind));
                }
                let withdrawn = self.overlay.replay_withdrawal(from, record.amount, fee.value());
                let account = withdrawn.map_err(effect)?;
                let expected = Record {
                    token: account.token,
                    address: account.l1_address,
                    ..Record::withdrawal(from, record.amount)
                };
                compare(at, number, &expected, record, "P-4.8")
            }
            Word::Creation { to } => {
                let (number, record) = self.next(at)?;
                if record.kind != Kind::Creation {
                    return Err(wrong_kind(at, number, "6", record.kind));
                }
                let expected = Record {
                    code: 0,
                    index: to,
                    amount: 0,
                    ..*record
                };
                compare(at, number, &expected, record, "P-4.10")?;
                let creation = Creation {
                    index: to,
                    token: record.token,
                    owner: record.key(),
                    l1_address: record.address,
                };
                self.overlay.replay_creation(&creation).map_err(effect)
            }
        }
    }

    /// The next record, and its place.
    fn next(&mut self, at: At) -> Result<(usize, &'a Record), Fault> {
        let number = self.used;
        let record = self.records.get(number);
        self.used += 1;
        let missing = Fault::RecordMissing { at, record: number };
        Ok((number, record.ok_or(missing)?))
    }
}

fn wrong_kind(at: At, record: usize, expected: &str, found: Kind) -> Fault {
    Fault::Record {
        at,
        record,
        field: "kind",
        expected: expected.to_string(),
        found: found.number().to_string(),
        clause: "P-15.2",
    }
}

/// Compares a record with what executing its operation gives, field by field.
fn compare(
    at: At,
    record: usize,
    expected: &Record,
    found: &Record,
    clause: &'static str,
) -> Result<(), Fault> {
    let Some((field, expected, found)) = expected.difference(found) else {
        return Ok(());
    };
    Err(Fault::Record {
        at,
        record,
        field,
        expected,
        found,
        clause,
    })
}
