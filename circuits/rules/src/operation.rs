//! Transfers, their words and their signed messages (P-4.1, P-4.3, P-5.2).

use crate::account::{Account, AccountIndex, TokenId, address_to_fr};
use crate::amount::{Amount, AmountError, Fee};
use crate::eddsa::{PrivateKey, Signature};
use crate::{encoding, poseidon};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::OnceLock;
use thiserror::Error;

/// Bits of an expiry and of a batch's time (P-4.1, P-7.5).
pub const TIME_BITS: u32 = 40;
/// Bits of a transfer's word (P-4.3).
pub const WORD_BITS: u32 = 99;

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

/// What a word says (P-4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// The sender.
    pub from: AccountIndex,
    /// The receiver.
    pub to: AccountIndex,
    /// What the receiver gets.
    pub amount: Amount,
    /// What the fee account gets.
    pub fee: Fee,
}

/// An integer that is no transfer's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WordError {
    /// The word has more than 99 bits.
    #[error("the word has more than 99 bits")]
    Range,
    /// The amount or the fee is not canonical.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Effect {
    /// The word `w`, below `2^99` (P-4.3).
    pub fn word(&self) -> u128 {
        u128::from(self.from.get())
            | u128::from(self.amount.mantissa()) << 33
            | u128::from(self.amount.exponent()) << 52
            | u128::from(self.fee.mantissa()) << 57
            | u128::from(self.fee.exponent()) << 61
            | u128::from(self.to.get()) << 66
    }

    /// Reads a word.
    ///
    /// # Errors
    /// A word out of range, or with a float that is not canonical.
    pub fn from_word(word: u128) -> Result<Self, WordError> {
        let part = |bit: u32, bits: u32| (word >> bit) as u64 & ((1 << bits) - 1);
        let index = |bit: u32| AccountIndex::new(part(bit, 33)).map_err(|_| WordError::Range);
        if word >> WORD_BITS != 0 {
            return Err(WordError::Range);
        }
        Ok(Self {
            from: index(0)?,
            to: index(66)?,
            amount: Amount::new(part(33, 19) as u32, part(52, 5) as u8)?,
            fee: Fee::new(part(57, 4) as u32, part(61, 5) as u8)?,
        })
    }
}

/// A transfer (P-4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The sender.
    pub from: AccountIndex,
    /// The receiver.
    pub to: AccountIndex,
    /// What the receiver gets, in smallest units of the token.
    pub amount: Amount,
    /// What the token's fee account gets on top, in smallest units of the token.
    pub fee: Fee,
    /// The sender's nonce before the transfer.
    #[serde(with = "encoding::decimal")]
    pub nonce: u64,
    /// The last batch time at which the transfer is valid.
    pub expiry: Expiry,
    /// The token of both accounts.
    pub token: TokenId,
}

impl Transfer {
    /// The part of the transfer that its word says.
    pub fn effect(&self) -> Effect {
        Effect {
            from: self.from,
            to: self.to,
            amount: self.amount,
            fee: self.fee,
        }
    }

    /// The word `w`, below `2^99` (P-4.3).
    pub fn word(&self) -> u128 {
        self.effect().word()
    }

    /// The inputs of the signed message's hash, in order (P-5.2).
    pub fn message_inputs(&self, rollup_id: &RollupId) -> [Fr; 8] {
        [
            rollup_id.to_fr(),
            Fr::from_u128(self.word()),
            Fr::from(self.nonce),
            Fr::from(self.expiry.get()),
            Fr::from(u64::from(self.token.0)),
            Fr::zero(),
            Fr::zero(),
            poseidon::tag_transfer(),
        ]
    }

    /// The signed message `M` (P-5.2).
    pub fn message(&self, rollup_id: &RollupId) -> Fr {
        poseidon::hash8(&self.message_inputs(rollup_id))
    }

    /// Signs the transfer for one rollup.
    pub fn sign(self, key: &PrivateKey, rollup_id: &RollupId) -> SignedTransfer {
        SignedTransfer {
            transfer: self,
            signature: key.sign(&self.message(rollup_id)),
        }
    }

    /// The transfer that stands in a no-op: word 0, token 0, no expiry.
    pub const DUMMY: Self = Self {
        from: AccountIndex::NONE,
        to: AccountIndex::NONE,
        amount: Amount::ZERO,
        fee: Fee::ZERO,
        nonce: 0,
        expiry: Expiry::NEVER,
        token: TokenId(0),
    };
}

/// A transfer and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTransfer {
    /// What is signed.
    pub transfer: Transfer,
    /// By the sender's owner, over [`Transfer::message`].
    pub signature: Signature,
}

impl SignedTransfer {
    /// [`Transfer::word`].
    pub fn word(&self) -> u128 {
        self.transfer.word()
    }

    /// [`Transfer::message`].
    pub fn message(&self, rollup_id: &RollupId) -> Fr {
        self.transfer.message(rollup_id)
    }

    /// [`Transfer::DUMMY`], signed by [`dummy_key`], so that a no-op satisfies the signature check too (P-4.6).
    pub fn dummy(rollup_id: &RollupId) -> Self {
        Transfer::DUMMY.sign(dummy_key(), rollup_id)
    }
}

/// The published key that signs no-ops. It owns nothing: index 0 is never occupied (P-3.5).
pub fn dummy_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::from_bytes(b"zk-rollup-prover/no-op/dummy-key"))
}

/// The account that a no-op reads and writes, whose leaf counts as 0.
pub fn dummy_account() -> Account {
    Account {
        token: TokenId(0),
        nonce: 0,
        balance: 0,
        owner: dummy_key().public(),
        l1_address: [0; 20],
    }
}
