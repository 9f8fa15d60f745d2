//! Why L1 did not do what was asked.

use std::error::Error;

use alloy::{
    primitives::{Address, B256, U256},
    transports::TransportError,
};
use thiserror::Error;

use super::ParameterError;
use crate::rollup::Rejection;

/// Most characters of an endpoint's own words that are told.
const TOLD_CHARS_MAX: usize = 400;

/// Why L1 did not do what was asked.
#[derive(Debug, Error)]
pub enum L1Error {
    /// The private key is not one.
    #[error("the L1 account's private key is not 32 bytes of hexadecimal in the curve's range")]
    Key,
    /// The endpoint's address is none. It is not repeated: a password or a provider's key may be in it.
    #[error(
        "an L1 endpoint's address is a URL that begins with http:// or https://, such as http://127.0.0.1:8545"
    )]
    Url,
    /// A transaction was asked of a connection that only reads.
    #[error("this connection with L1 has no account to pay with")]
    NoAccount,
    /// The endpoint cannot be reached.
    #[error("the L1 endpoint: {0}")]
    Endpoint(String),
    /// The endpoint was reached and answered with an error of its own: it is busy, wants less, or the call takes all its gas.
    #[error("the L1 endpoint: {0}")]
    Refused(String),
    /// The contract refused.
    #[error("the rollup contract refused: {0}")]
    Rejected(Rejection),
    /// The endpoint says that its chain is another than the contract's.
    #[error(
        "the rollup contract {rollup} is of the chain {expected}, the endpoint says that its chain is {found}"
    )]
    Chain {
        /// The contract.
        rollup: Address,
        /// The contract's chain (P-5.2).
        expected: U256,
        /// The endpoint's.
        found: u64,
    },
    /// The constructor would refuse. Nothing was sent.
    #[error("the rollup contract would refuse the parameter {0}; nothing was sent")]
    Parameter(#[from] ParameterError),
    /// No verifier of the contract's that is in force is made from the key.
    #[error("the rollup contract {rollup} has no verifier in force of the key {vk_digest}")]
    NoVerifier {
        /// The contract.
        rollup: Address,
        /// Digest of the key.
        vk_digest: B256,
    },
    /// Gas costs more than may be paid for it. Nothing was sent.
    #[error(
        "gas costs at least {needed} wei on L1 now, more than the {most} that may be paid; nothing was sent"
    )]
    FeesAboveCap {
        /// The next block's base fee and the least tip, wei for one gas.
        needed: u128,
        /// What may be paid, wei for one gas.
        most: u128,
    },
    /// The account cannot pay. Nothing was sent.
    #[error(
        "the account {account} has {found} wei, the transaction with nonce {nonce} may cost {needed}; nothing was sent"
    )]
    Funds {
        /// Who would pay.
        account: Address,
        /// The transaction's nonce.
        nonce: u64,
        /// Most that it may cost, value and fees.
        needed: U256,
        /// What the account has.
        found: U256,
    },
    /// The transaction was mined and failed, although the same call had succeeded just before.
    #[error("transaction {transaction} with nonce {nonce} failed on L1 with {gas_used} gas used: {reason}")]
    Failed {
        /// Its hash.
        transaction: B256,
        /// Its nonce.
        nonce: u64,
        /// Gas that it used.
        gas_used: u64,
        /// What the same call reverts with after that block.
        reason: Box<FailReason>,
    },
    /// Another transaction of the account was mined with this one's nonce: somebody else sends with the same key.
    /// It was not sent again.
    #[error(
        "transaction {transaction} is not found on L1, and the account's next nonce is {next_nonce}: by the endpoint's word nonce {nonce} was used by a transaction of somebody else with the same key; look for it before you send again"
    )]
    Displaced {
        /// The hash that was sent last.
        transaction: B256,
        /// Its nonce.
        nonce: u64,
        /// The account's next nonce.
        next_nonce: u64,
    },
    /// The transaction was sent, but did not have its confirmations in time. It may still be mined.
    #[error(
        "transaction {transaction} with nonce {nonce} was sent and did not have {confirmations} confirmations within {waited_s} s: {found}; it may still be mined"
    )]
    Unconfirmed {
        /// The hash that was sent last.
        transaction: B256,
        /// Its nonce.
        nonce: u64,
        /// Confirmations that it should have.
        confirmations: u64,
        /// How long was waited, seconds.
        waited_s: u64,
        /// What was last known of it.
        found: String,
    },
    /// L1 answered something that this contract cannot answer.
    #[error("the answer of L1 to {call} is not the rollup contract's: {reason}")]
    Answer {
        /// What was asked.
        call: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Why a transaction failed, as far as it can be known: its call is tried again on the state after its block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FailReason {
    /// The contract refuses it there.
    #[error("{0}")]
    Rejected(Rejection),
    /// It does not fail there: out of gas, or something that was so only within the block.
    #[error("the same call succeeds after that block")]
    NotThere,
    /// The endpoint would not say.
    #[error("the reason is not known")]
    Unknown,
}

impl From<TransportError> for L1Error {
    /// What went wrong, down to its cause, without the endpoint's address.
    fn from(error: TransportError) -> Self {
        match error.is_error_resp() {
            true => Self::Refused(told(&error)),
            false => Self::Endpoint(told(&error)),
        }
    }
}

/// What went wrong, down to its cause, without the endpoint's address and not at any length.
pub(super) fn told(error: &TransportError) -> String {
    let mut told = without_url(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let said = without_url(&cause.to_string());
        if !told.contains(&said) {
            told = format!("{told}: {said}");
        }
        source = cause.source();
    }
    shortened(&told)
}

/// At most [`TOLD_CHARS_MAX`] printable characters on one line: the words are an endpoint's, and go into logs.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(TOLD_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(TOLD_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// The text without the address that the HTTP client puts into its errors: providers' keys are in it.
fn without_url(text: &str) -> String {
    const BEFORE: &str = " for url (";
    match text.split_once(BEFORE) {
        Some((before, rest)) => {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            format!("{before}{}", without_url(after))
        }
        None => text.to_owned(),
    }
}

/// A revert becomes the contract's reason, anything else stays the endpoint's.
pub(super) fn refusal(error: TransportError) -> L1Error {
    match error
        .as_error_resp()
        .and_then(|response| response.as_revert_data())
    {
        Some(data) => L1Error::Rejected(Rejection::decode(&data)),
        None => error.into(),
    }
}
