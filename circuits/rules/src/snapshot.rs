//! The state that a rollup begins with (P-3.6).

use crate::account::{self, Account, AccountIndex, Hashed, TokenId, USER_INDEX_MIN};
use crate::eddsa::SignatureError;
use crate::state::{State, StateBuilder};
use crate::threads;
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use thiserror::Error;

mod stream;

/// Accounts of a genesis state at most: what [`State`] keeps of so many is some 2.8 GB.
pub const ACCOUNTS_MAX: usize = 1 << 24;
/// Bytes of a genesis file from the beginning of one account to that of the next at most, when it is read by [`Genesis::read`].
pub const ENTRY_BYTES_MAX: usize = 1 << 16;
/// Accounts that are checked at once.
const BLOCK: usize = 1 << 14;

/// Version of the genesis file.
pub const GENESIS_VERSION: u8 = 1;

/// An account of the genesis state.
///
/// In JSON: `{"index": 65536, "account": {"token": 1, "nonce": "0", "balance": "1000000", "owner": {"x": "0x…",
/// "y": "0x…"}, "l1_address": "0x…"}}`. Integers in text are decimal; field elements may be decimal too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Where.
    pub index: AccountIndex,
    /// What.
    pub account: Account,
}

/// Genesis nonces are below this, so that no number of transfers takes one to the end of its range (P-3.6).
pub const NONCE_BOUND: u64 = 1 << 63;

/// A genesis state as a list of accounts. In JSON: `{"version": 1, "accounts": […]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// [`GENESIS_VERSION`].
    pub version: u8,
    /// Accounts with distinct indices, in any order.
    pub accounts: Vec<GenesisAccount>,
}

/// Why a list of accounts is no genesis state. `position` counts in the list from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// Another version of the file.
    #[error("genesis of version {found}, expected {GENESIS_VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The text is no genesis file.
    #[error("malformed genesis file: {0}")]
    Malformed(String),
    /// The file cannot be read to its end.
    #[error("the genesis file cannot be read: {0}")]
    Unread(String),
    /// More than [`ACCOUNTS_MAX`].
    #[error("more than {ACCOUNTS_MAX} accounts, which are the most that a genesis may have")]
    TooMany,
    /// Index 0 is never occupied (P-3.5).
    #[error("account {position}: index 0 is never occupied (P-3.5)")]
    IndexZero {
        /// Place in the list.
        position: usize,
    },
    /// Two accounts have one index (P-3.6).
    #[error("account {position}: index {index} is taken by an earlier account (P-3.6)")]
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
    /// A fee account has another token than its index says (P-3.6).
    #[error("account {position}: fee account {index} has token {found} (P-3.6)")]
    FeeToken {
        /// Place in the list.
        position: usize,
        /// The account's index, which is the token expected.
        index: AccountIndex,
        /// The account's token.
        found: TokenId,
    },
    /// A nonce so large that transfers could exhaust it (P-3.6).
    #[error("account {position} (index {index}): nonce {found} is not below 2^63 (P-3.6)")]
    Nonce {
        /// Place in the list.
        position: usize,
        /// The account's index.
        index: AccountIndex,
        /// The account's nonce.
        found: u64,
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
}

impl Genesis {
    /// A genesis of the current version.
    pub fn new(accounts: Vec<GenesisAccount>) -> Self {
        Self {
            version: GENESIS_VERSION,
            accounts,
        }
    }

    /// Checks the list by P-3.6 and builds the state.
    ///
    /// # Errors
    /// The first account in the list that breaks a rule.
    pub fn build(&self) -> Result<State, GenesisError> {
        if self.version != GENESIS_VERSION {
            return Err(GenesisError::Version { found: self.version });
        }
        let mut accounts = Accounts::default();
        for entry in &self.accounts {
            accounts.add(*entry)?;
        }
        accounts.build()
    }

    /// Reads a genesis file's state, account by account, and checks its rules: in the memory that the state takes.
    ///
    /// # Errors
    /// The first account in the file that does not read or breaks a rule; what is wrong with the file else.
    pub fn read(file: impl BufRead) -> Result<State, GenesisError> {
        stream::read(file)
    }

    /// The genesis file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("the protocol's types have string keys only")
    }

    /// Reads a genesis file. [`Genesis::build`] checks its rules.
    ///
    /// # Errors
    /// [`GenesisError::Malformed`] and [`GenesisError::Version`].
    pub fn from_json(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self =
            serde_json::from_str(text).map_err(|error| GenesisError::Malformed(error.to_string()))?;
        if genesis.version != GENESIS_VERSION {
            return Err(GenesisError::Version {
                found: genesis.version,
            });
        }
        Ok(genesis)
    }
}

/// Accounts that come one by one, on their way into a state.
#[derive(Default)]
struct Accounts {
    state: StateBuilder,
    /// Those that are not checked yet: it is done with many at once, in parallel.
    block: Vec<GenesisAccount>,
    /// Accounts before the block.
    before: usize,
}

impl Accounts {
    fn add(&mut self, entry: GenesisAccount) -> Result<(), GenesisError> {
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

    fn check(&mut self) -> Result<(), GenesisError> {
        let block = std::mem::take(&mut self.block);
        let owners = threads::each(block.len(), |place| block[place].account.owner.validate());
        let leaves = account::leaves_of(block.len(), |place| &block[place].account);
        for ((entry, owner), leaf) in block.iter().zip(owners).zip(leaves) {
            let position = self.before;
            check(position, entry)?;
            let (index, account) = (entry.index, entry.account);
            owner.map_err(|reason| GenesisError::Owner {
                position,
                index,
                reason,
            })?;
            if position >= ACCOUNTS_MAX {
                return Err(GenesisError::TooMany);
            }
            if !self.state.add(index, Hashed { account, leaf }) {
                return Err(GenesisError::Duplicate { position, index });
            }
            self.before += 1;
        }
        Ok(())
    }

    fn build(mut self) -> Result<State, GenesisError> {
        self.check()?;
        Ok(self.state.build())
    }
}

fn check(position: usize, entry: &GenesisAccount) -> Result<(), GenesisError> {
    let (index, found) = (entry.index, entry.account.token);
    if index == AccountIndex::NONE {
        return Err(GenesisError::IndexZero { position });
    }
    if found == TokenId(0) {
        return Err(GenesisError::TokenZero { position, index });
    }
    if index.get() < USER_INDEX_MIN && AccountIndex::fee_account(found) != index {
        return Err(GenesisError::FeeToken {
            position,
            index,
            found,
        });
    }
    let found = entry.account.nonce;
    if found >= NONCE_BOUND {
        return Err(GenesisError::Nonce {
            position,
            index,
            found,
        });
    }
    Ok(())
}
