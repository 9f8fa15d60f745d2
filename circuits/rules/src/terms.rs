//! What every signed operation says beside its own fields: until when, and for which rollup (P-4.1, P-5.2).

use crate::account::address_to_fr;
use crate::encoding;
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Bits of an expiry and of a batch's time (P-4.1, P-7.5).
pub const TIME_BITS: u32 = 40;

/// An expiry of more than 40 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expiry {0} is not below 2^40")]
pub struct ExpiryRange(pub u64);

/// The last batch time, in Unix seconds, at which a transfer is valid: an integer below `2^40`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Expiry(u64);

impl Expiry {
    /// A transfer that does not expire.
    pub const NEVER: Self = Self((1 << TIME_BITS) - 1);

    /// Checks the range.
    ///
    /// # Errors
    /// An expiry of more than 40 bits.
    pub fn new(seconds: u64) -> Result<Self, ExpiryRange> {
        if seconds >> TIME_BITS == 0 {
            Ok(Self(seconds))
        } else {
            Err(ExpiryRange(seconds))
        }
    }

    /// Unix seconds.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Expiry {
    type Error = ExpiryRange;

    fn try_from(seconds: u64) -> Result<Self, ExpiryRange> {
        Self::new(seconds)
    }
}

impl From<Expiry> for u64 {
    fn from(expiry: Expiry) -> u64 {
        expiry.0
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The rollup that a signature and a batch are for (P-5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollupId {
    /// L1's chain id.
    #[serde(with = "encoding::decimal")]
    pub chain_id: u64,
    /// The rollup contract's address.
    #[serde(with = "encoding::address")]
    pub contract: [u8; 20],
}

impl RollupId {
    /// `chain_id · 2^160 + contract`.
    pub fn to_fr(&self) -> Fr {
        let two_80 = Fr::from_u128(1 << 80);
        Fr::from(self.chain_id) * two_80 * two_80 + address_to_fr(&self.contract)
    }
}
