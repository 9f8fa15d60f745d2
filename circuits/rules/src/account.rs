//! Accounts and their leaves (P-3.1 … P-3.5).

use crate::eddsa::PublicKey;
use crate::{encoding, poseidon, threads};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Bits of an account index (P-3.4).
pub const INDEX_BITS: u32 = 33;
/// The first index that is not a fee account's (P-3.5).
pub const USER_INDEX_MIN: u64 = 1 << 16;

/// An account index that has more than 33 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("account index {0} is not below 2^33")]
pub struct IndexRange(pub u64);

/// Where an account is in the state tree: an integer below `2^33`. Index 0 is "no account" (P-3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct AccountIndex(u64);

impl AccountIndex {
    /// "No account".
    pub const NONE: Self = Self(0);

    /// Checks the range.
    ///
    /// # Errors
    /// An index of more than 33 bits.
    pub fn new(index: u64) -> Result<Self, IndexRange> {
        if index >> INDEX_BITS == 0 {
            Ok(Self(index))
        } else {
            Err(IndexRange(index))
        }
    }

    /// The integer.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The fee account of `token` (P-3.5).
    pub fn fee_account(token: TokenId) -> Self {
        Self(u64::from(token.0))
    }
}

impl TryFrom<u64> for AccountIndex {
    type Error = IndexRange;

    fn try_from(index: u64) -> Result<Self, IndexRange> {
        Self::new(index)
    }
}

impl From<AccountIndex> for u64 {
    fn from(index: AccountIndex) -> u64 {
        index.0
    }
}

impl fmt::Display for AccountIndex {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A token's number. Token 0 does not exist (P-3.3); it stands in the dummy transfer of a no-op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u16);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One owner's holding of one token (P-3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The token held.
    pub token: TokenId,
    /// Number of transfers sent so far.
    #[serde(with = "encoding::decimal")]
    pub nonce: u64,
    /// Smallest units of the token.
    #[serde(with = "encoding::decimal")]
    pub balance: u128,
    /// The key that signs for the account.
    pub owner: PublicKey,
    /// The owner's address on L1.
    #[serde(with = "encoding::address")]
    pub l1_address: [u8; 20],
}

impl Account {
    /// The inputs of the leaf's hash, in order (P-3.2).
    pub fn leaf_inputs(&self) -> [Fr; 8] {
        [
            Fr::from(u64::from(self.token.0)),
            Fr::from(self.nonce),
            Fr::from_u128(self.balance),
            self.owner.0.x,
            self.owner.0.y,
            self.l1_address_fr(),
            Fr::zero(),
            poseidon::tag_leaf(),
        ]
    }

    /// The leaf (P-3.2).
    pub fn leaf(&self) -> Fr {
        poseidon::hash8(&self.leaf_inputs())
    }

    /// The L1 address as an integer.
    pub fn l1_address_fr(&self) -> Fr {
        address_to_fr(&self.l1_address)
    }
}

/// An account and its leaf, for those who keep both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// The account.
    pub account: Account,
    /// What [`Account::leaf`] says.
    #[serde(with = "encoding::field_element")]
    pub leaf: Fr,
}

/// Accounts that change, or go, with their leaves, which are hashed in parallel.
pub fn hashed(changes: &[(AccountIndex, Option<Account>)]) -> Vec<(AccountIndex, Option<Hashed>)> {
    let accounts: Vec<_> = changes.iter().map(|(_, account)| account.as_ref()).collect();
    let leaves = leaves_or_empty(&accounts).into_iter();
    let hashed = changes.iter().zip(leaves).map(|((index, account), leaf)| {
        let hashed = account.map(|account| Hashed { account, leaf });
        (*index, hashed)
    });
    hashed.collect()
}

/// The leaf of each, 0 where there is no account. They are hashed in parallel.
pub(crate) fn leaves_or_empty(accounts: &[Option<&Account>]) -> Vec<Fr> {
    let occupied: Vec<&Account> = accounts.iter().copied().flatten().collect();
    let mut leaves = leaves_of(occupied.len(), |place| occupied[place]).into_iter();
    let leaf = |account: &Option<&Account>| match account {
        Some(_) => leaves.next().expect("each account has its leaf"),
        None => Fr::zero(),
    };
    accounts.iter().map(leaf).collect()
}

/// The leaves of accounts, beside their indices.
pub(crate) fn leaves(accounts: &[(AccountIndex, Account)]) -> Vec<(AccountIndex, Fr)> {
    let hashed = leaves_of(accounts.len(), |place| &accounts[place].1);
    let indices = accounts.iter().map(|(index, _)| *index);
    indices.zip(hashed).collect()
}

/// The leaves of so many accounts, in parallel.
pub(crate) fn leaves_of<'a>(count: usize, account: impl Fn(usize) -> &'a Account + Sync) -> Vec<Fr> {
    let inputs = threads::each(count, |place| account(place).leaf_inputs());
    poseidon::hash8_each(&inputs)
}

/// A big-endian 160-bit integer.
pub(crate) fn address_to_fr(address: &[u8; 20]) -> Fr {
    let mut repr = [0; 32];
    repr.iter_mut()
        .zip(address.iter().rev())
        .for_each(|(to, from)| *to = *from);
    Option::from(Fr::from_repr(repr)).expect("160 bits are below the modulus")
}
