//! The rules that an operation can break (P-4.4, P-4.7, P-4.9).

use crate::account::{AccountIndex, TokenId};
use crate::eddsa::SignatureError;
use crate::operation::Expiry;
use num_bigint::BigUint;
use std::fmt;
use thiserror::Error;

/// The clause whose rules an operation has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// P-4.4.
    Transfer,
    /// P-4.7.
    Withdrawal,
    /// P-4.9.
    Creation,
    /// P-4.11, which no entry can break on a state that was reached (P-4.13).
    Queue,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Transfer => "P-4.4",
            Self::Withdrawal => "P-4.7",
            Self::Creation => "P-4.9",
            Self::Queue => "P-4.11",
        })
    }
}

/// The first rule of its clause that an operation breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{cause} ({})", self.citation())]
pub struct Violation {
    /// The clause.
    pub clause: Clause,
    /// What breaks it.
    pub cause: Cause,
}

/// What breaks a rule. "Sender" is the account that pays, of a withdrawal too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Cause {
    /// The sender does not exist.
    #[error("sender {index} is not occupied")]
    SenderUnknown {
        /// The operation's `from`.
        index: AccountIndex,
    },
    /// The receiver does not exist.
    #[error("receiver {index} is not occupied")]
    ReceiverUnknown {
        /// The transfer's `to`.
        index: AccountIndex,
    },
    /// The sender has another token.
    #[error("the operation is of token {operation}, the sender's account of token {account}")]
    SenderToken {
        /// The operation's token.
        operation: TokenId,
        /// The sender's token.
        account: TokenId,
    },
    /// The receiver has another token.
    #[error("the operation is of token {operation}, the receiver's account of token {account}")]
    ReceiverToken {
        /// The transfer's token.
        operation: TokenId,
        /// The receiver's token.
        account: TokenId,
    },
    /// The token has no fee account.
    #[error("the fee account of token {token} is not occupied")]
    FeeAccountUnknown {
        /// The operation's token.
        token: TokenId,
    },
    /// The nonce is not the sender's.
    #[error("nonce {found}, expected {expected}")]
    Nonce {
        /// The sender's nonce.
        expected: u64,
        /// The operation's nonce.
        found: u64,
    },
    /// The sender's nonce cannot grow any more (P-3.1). No account lives to see it.
    #[error("the sender's nonce is the largest there is")]
    NonceExhausted,
    /// The operation has expired.
    #[error("expired at {expiry}, the batch's time is {time}")]
    Expired {
        /// The batch's time.
        time: u64,
        /// The operation's expiry.
        expiry: Expiry,
    },
    /// The sender has too little.
    #[error("amount {amount} and fee {fee} are more than the sender has, {available}")]
    Balance {
        /// The operation's amount.
        amount: u128,
        /// Its fee.
        fee: u128,
        /// The sender's balance.
        available: u128,
    },
    /// The signature does not verify.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// The receiver's balance would reach `2^128`.
    #[error("the receiver has {balance}, {amount} more would reach 2^128")]
    ReceiverOverflow {
        /// The receiver's balance.
        balance: u128,
        /// The amount of the transfer, or of the deposit.
        amount: u128,
    },
    /// The fee account's balance would reach `2^128`.
    #[error("the fee account has {balance}, {fee} more would reach 2^128")]
    FeeOverflow {
        /// The fee account's balance.
        balance: u128,
        /// The operation's fee.
        fee: u128,
    },
    /// A creation at an index that is not the operator's to choose.
    #[error("index {index} is not in 65536 … 2^32 - 1")]
    CreationIndex {
        /// The creation's index.
        index: AccountIndex,
    },
    /// A creation where an account is.
    #[error("index {index} is occupied")]
    CreationOccupied {
        /// The creation's index.
        index: AccountIndex,
    },
}

impl Cause {
    /// As a violation of `clause`.
    pub(crate) fn of(self, clause: Clause) -> Violation {
        Violation { clause, cause: self }
    }
}

impl Violation {
    /// The number of the rule in its clause, from 1; none for the queue's operations, whose clause has codes in place of rules.
    pub fn rule(&self) -> Option<u8> {
        // By cause, the rule of a transfer, of a withdrawal, and of a creation.
        let rules: [u8; 3] = match self.cause {
            Cause::SenderUnknown { .. } => [1, 1, 0],
            Cause::ReceiverUnknown { .. } => [2, 0, 0],
            Cause::SenderToken { .. } => [3, 2, 0],
            Cause::ReceiverToken { .. } => [3, 0, 0],
            Cause::FeeAccountUnknown { .. } => [4, 3, 3],
            Cause::Nonce { .. } | Cause::NonceExhausted => [5, 4, 0],
            Cause::Expired { .. } => [6, 5, 0],
            Cause::Balance { .. } => [7, 6, 0],
            Cause::Signature(_) => [8, 7, 4],
            Cause::ReceiverOverflow { .. } => [9, 0, 0],
            Cause::FeeOverflow { .. } => [9, 8, 0],
            Cause::CreationIndex { .. } => [0, 0, 1],
            Cause::CreationOccupied { .. } => [0, 0, 2],
        };
        let rule = match self.clause {
            Clause::Transfer => rules[0],
            Clause::Withdrawal => rules[1],
            Clause::Creation => rules[2],
            Clause::Queue => 0,
        };
        (rule != 0).then_some(rule)
    }

    /// Clause and rule, as errors cite them.
    pub fn citation(&self) -> String {
        match self.rule() {
            Some(rule) => format!("{}, rule {rule}", self.clause),
            None => self.clause.to_string(),
        }
    }

    /// The field of the operation that the rule is about.
    pub fn field(&self) -> &'static str {
        match self.cause {
            Cause::SenderUnknown { .. } => "from",
            Cause::ReceiverUnknown { .. } => "to",
            Cause::SenderToken { .. } | Cause::ReceiverToken { .. } | Cause::FeeAccountUnknown { .. } => {
                "token"
            }
            Cause::Nonce { .. } | Cause::NonceExhausted => "nonce",
            Cause::Expired { .. } => "expiry",
            Cause::Balance { .. } | Cause::ReceiverOverflow { .. } => "amount",
            Cause::Signature(_) => "signature",
            Cause::FeeOverflow { .. } => "fee",
            Cause::CreationIndex { .. } | Cause::CreationOccupied { .. } => "index",
        }
    }

    /// What the rule asks of the field.
    pub fn expected(&self) -> String {
        match self.cause {
            Cause::SenderUnknown { .. } | Cause::ReceiverUnknown { .. } => "an occupied index".to_string(),
            Cause::SenderToken { account, .. } | Cause::ReceiverToken { account, .. } => account.to_string(),
            Cause::FeeAccountUnknown { .. } => "a token with a fee account".to_string(),
            Cause::Nonce { expected, .. } => expected.to_string(),
            Cause::NonceExhausted => format!("below {}", u64::MAX),
            Cause::Expired { time, .. } => format!("at least {time}"),
            Cause::Balance { available, .. } => format!("at most {available} with the fee"),
            Cause::Signature(_) if self.clause == Clause::Creation => {
                "a signature of the new owner".to_string()
            }
            Cause::Signature(_) => "a signature of the sender's owner".to_string(),
            Cause::ReceiverOverflow { balance, .. } | Cause::FeeOverflow { balance, .. } => {
                format!("at most {}", u128::MAX - balance)
            }
            Cause::CreationIndex { .. } => "65536 to 4294967295".to_string(),
            Cause::CreationOccupied { .. } => "an index that is not occupied".to_string(),
        }
    }

    /// What the field has.
    pub fn found(&self) -> String {
        match self.cause {
            Cause::SenderUnknown { index }
            | Cause::ReceiverUnknown { index }
            | Cause::CreationIndex { index }
            | Cause::CreationOccupied { index } => index.to_string(),
            Cause::SenderToken { operation, .. } | Cause::ReceiverToken { operation, .. } => {
                operation.to_string()
            }
            Cause::FeeAccountUnknown { token } => token.to_string(),
            Cause::Nonce { found, .. } => found.to_string(),
            Cause::NonceExhausted => u64::MAX.to_string(),
            Cause::Expired { expiry, .. } => expiry.to_string(),
            Cause::Balance { amount, fee, .. } => (BigUint::from(amount) + fee).to_string(),
            Cause::Signature(reason) => reason.to_string(),
            Cause::ReceiverOverflow { amount, .. } => amount.to_string(),
            Cause::FeeOverflow { fee, .. } => fee.to_string(),
        }
    }
}
