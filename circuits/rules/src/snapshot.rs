//! Snapshots: a state that L1 has come to, and where (P-15.4).
//!
//! A file in JSON: what [`Header`] has, then the accounts. It is written and read account by account, in the memory that the state takes.

use crate::account::{self, Account, AccountIndex, Hashed, TokenId, USER_INDEX_MIN};
use crate::eddsa::SignatureError;
use crate::encoding;
use crate::field;
use crate::follow::Block;
use crate::operation::{RollupId, TIME_BITS};
use crate::state::{State, StateBuilder};
use crate::threads;
use halo2curves::bn256::Fr;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use thiserror::Error;

mod stream;

/// Accounts of a snapshot at most: what [`State`] keeps of so many is some 2.8 GB.
pub const ACCOUNTS_MAX: usize = 1 << 24;
/// Bytes of a snapshot from the beginning of one account to that of the next at most.
pub const ENTRY_BYTES_MAX: usize = 1 << 16;
/// Bits of an entry's number, as the contract counts them (P-12.1).
const ENTRY_BITS: u32 = 40;
/// Accounts that are checked at once.
const BLOCK: usize = 1 << 14;

/// Version of the snapshot file.
pub const SNAPSHOT_VERSION: u8 = 1;

/// Whose state it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The rollup: L1's chain id and the contract there.
    pub rollup_id: RollupId,
    /// Batches that L1 had accepted: the next one's number.
    #[serde(with = "encoding::decimal")]
    pub batches: u64,
    /// The last batch's time `T`, Unix seconds; 0 before the first.
    #[serde(with = "encoding::decimal")]
    pub time: u64,
    /// The first entry of the queue that was not consumed.
    #[serde(with = "encoding::decimal")]
    pub head: u64,
    /// The block of L1 up to which this is so.
    pub block: Block,
    /// The state's root.
    #[serde(with = "encoding::field_element")]
    pub root: Fr,
}

impl Header {
    /// Whether there can be such a rollup: L1 counts so far only.
    fn check(&self) -> Result<(), SnapshotError> {
        for (field, found, most) in [
            // There is a number for the batch after it.
            ("batches", self.batches, u64::MAX - 1),
            ("time", self.time, (1 << TIME_BITS) - 1),
            ("head", self.head, (1 << ENTRY_BITS) - 1),
        ] {
            if found > most {
                return Err(SnapshotError::Header { field, most, found });
            }
        }
        Ok(())
    }

    /// What every rollup begins with (P-3.6), said of a block in which no batch was accepted.
    pub fn empty(rollup_id: RollupId, block: Block) -> Self {
        Self {
            rollup_id,
            batches: 0,
            time: 0,
            head: 0,
            block,
            root: State::default().root(),
        }
    }
}

/// An account of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Where.
    index: AccountIndex,
    /// What.
    account: Account,
}

/// Why a file is no snapshot. `position` counts its accounts from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Another version of the file.
    #[error("snapshot of version {found}, expected {SNAPSHOT_VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The text is no snapshot.
    #[error("malformed snapshot: {0}")]
    Malformed(String),
    /// The file cannot be read to its end.
    #[error("the snapshot cannot be read: {0}")]
    Unread(String),
    /// The header says what no rollup's can.
    #[error("{field}: expected at most {most}, found {found}")]
    Header {
        /// The field.
        field: &'static str,
        /// Most that it may be.
        most: u64,
        /// What it is.
        found: u64,
    },
    /// More than [`ACCOUNTS_MAX`].
    #[error("more than {ACCOUNTS_MAX} accounts, which are the most that a snapshot may have")]
    TooMany,
    /// Index 0 is never occupied (P-3.5).
    #[error("account {position}: index 0 is never occupied (P-3.5)")]
    IndexZero {
        /// Place in the list.
        position: usize,
    },
    /// Two accounts have one index.
    #[error("account {position}: index {index} is taken by an earlier account")]
    Duplicate {
        /// Place in the list of the second one.
        position: usize,
        /// The index of both.
        index: AccountIndex,
    },
    /// Token 0 does not exist (P-3.3).
    #[error("account {position} (index {index}): token 0 does not exist (P-3.3)")]
    TokenZero {
        /// Place in the list.
        position: usize,
        /// The account's index.
        index: AccountIndex,
    },
    /// A fee account has another token than its index says (P-3.5).
    #[error("account {position}: fee account {index} has token {found} (P-3.5)")]
    FeeToken {
        /// Place in the list.
        position: usize,
        /// The account's index, which is the token expected.
        index: AccountIndex,
        /// The account's token.
        found: TokenId,
    },
    /// The owner is no valid public key (P-5.1).
    #[error("account {position} (index {index}): {reason} (P-5.1)")]
    Owner {
        /// Place in the list.
        position: usize,
        /// The account's index.
        index: AccountIndex,
        /// The check that the key failed.
        reason: SignatureError,
    },
    /// The accounts are not those of the root.
    #[error("root: expected {}, as the snapshot says, found {} of its accounts", field::to_hex(.expected), field::to_hex(.found))]
    Root {
        /// What the header says.
        expected: Fr,
        /// The accounts' root.
        found: Fr,
    },
}

/// Reads a snapshot and checks that its accounts have its root and are such as no state lacks (P-3.7, P-5.1). That L1 had this root at
/// this block is for whoever can ask L1.
///
/// # Errors
/// The first account in the file that does not read or breaks a rule; what is wrong with the file else.
pub fn read(file: impl BufRead) -> Result<(Header, State), SnapshotError> {
    let (header, state) = stream::read(file)?;
    header.check()?;
    let (expected, found) = (header.root, state.root());
    if expected != found {
        return Err(SnapshotError::Root { expected, found });
    }
    Ok((header, state))
}

/// Writes a snapshot, an account on a line, in the order of their indices.
///
/// # Errors
/// When `file` cannot be written.
///
/// # Panics
/// When the state has another root than the header says.
pub fn write(header: &Header, state: &State, mut file: impl Write) -> io::Result<()> {
    assert_eq!(header.root, state.root(), "the header is this state's");
    write!(file, "{{\"version\":{SNAPSHOT_VERSION},\"header\":")?;
    serde_json::to_writer(&mut file, header)?;
    file.write_all(b",\"accounts\":[")?;
    for (place, (index, account)) in state.accounts().enumerate() {
        file.write_all(if place == 0 { b"\n" } else { b",\n" })?;
        let account = *account;
        serde_json::to_writer(&mut file, &Entry { index, account })?;
    }
    file.write_all(b"\n]}\n")
}

/// Accounts that come one by one, on their way into a state.
#[derive(Default)]
struct Accounts {
    state: StateBuilder,
    /// Those that are not checked yet: it is done with many at once, in parallel.
    block: Vec<Entry>,
    /// Accounts before the block.
    before: usize,
}

impl Accounts {
    fn add(&mut self, entry: Entry) -> Result<(), SnapshotError> {
        self.block.push(entry);
        if self.block.len() < BLOCK {
            return Ok(());
        }
        self.check()
    }

    /// Number of accounts so far.
    fn len(&self) -> usize {
        self.before + self.block.len()
    }

    fn check(&mut self) -> Result<(), SnapshotError> {
        let block = std::mem::take(&mut self.block);
        let owners = threads::each(block.len(), |place| block[place].account.owner.validate());
        let leaves = account::leaves_of(block.len(), |place| &block[place].account);
        for ((entry, owner), leaf) in block.iter().zip(owners).zip(leaves) {
            let position = self.before;
            check(position, entry)?;
            let (index, account) = (entry.index, entry.account);
            owner.map_err(|reason| SnapshotError::Owner {
                position,
                index,
                reason,
            })?;
            if position >= ACCOUNTS_MAX {
                return Err(SnapshotError::TooMany);
            }
            if !self.state.add(index, Hashed { account, leaf }) {
                return Err(SnapshotError::Duplicate { position, index });
            }
            self.before += 1;
        }
        Ok(())
    }

    fn build(mut self) -> Result<State, SnapshotError> {
        self.check()?;
        Ok(self.state.build())
    }
}

fn check(position: usize, entry: &Entry) -> Result<(), SnapshotError> {
    let (index, found) = (entry.index, entry.account.token);
    if index == AccountIndex::NONE {
        return Err(SnapshotError::IndexZero { position });
    }
    if found == TokenId(0) {
        return Err(SnapshotError::TokenZero { position, index });
    }
    if index.get() < USER_INDEX_MIN && AccountIndex::fee_account(found) != index {
        return Err(SnapshotError::FeeToken {
            position,
            index,
            found,
        });
    }
    Ok(())
}
