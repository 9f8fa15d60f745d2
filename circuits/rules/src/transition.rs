//! The rules of a transfer and its effect on accounts (P-4.4, P-4.5).

use crate::account::{Account, AccountIndex, TokenId};
use crate::eddsa::SignatureError;
use crate::operation::{Effect, Expiry, Transfer};
use crate::state::State;
use std::collections::BTreeMap;
use thiserror::Error;

/// A rule of P-4.4 that a transfer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// Rule 1: the sender does not exist.
    #[error("sender {index} is not occupied")]
    SenderUnknown {
        /// The transfer's `from`.
        index: AccountIndex,
    },
    /// Rule 2: the receiver does not exist.
    #[error("receiver {index} is not occupied")]
    ReceiverUnknown {
        /// The transfer's `to`.
        index: AccountIndex,
    },
    /// Rule 3: the sender has another token.
    #[error("the transfer is of token {transfer}, the sender's account of token {account}")]
    SenderToken {
        /// The transfer's token.
        transfer: TokenId,
        /// The sender's token.
        account: TokenId,
    },
    /// Rule 3: the receiver has another token.
    #[error("the transfer is of token {transfer}, the receiver's account of token {account}")]
    ReceiverToken {
        /// The transfer's token.
        transfer: TokenId,
        /// The receiver's token.
        account: TokenId,
    },
    /// Rule 4: the token has no fee account.
    #[error("the fee account of token {token} is not occupied")]
    FeeAccountUnknown {
        /// The transfer's token.
        token: TokenId,
    },
    /// Rule 5: the nonce is not the sender's.
    #[error("nonce {found}, expected {expected}")]
    Nonce {
        /// The sender's nonce.
        expected: u64,
        /// The transfer's nonce.
        found: u64,
    },
    /// Rule 5: the sender's nonce cannot grow any more (P-3.1). No account lives to see it.
    #[error("the sender's nonce is the largest there is")]
    NonceExhausted,
    /// Rule 6: the transfer has expired.
    #[error("expired at {expiry}, the batch's time is {time}")]
    Expired {
        /// The batch's time.
        time: u64,
        /// The transfer's expiry.
        expiry: Expiry,
    },
    /// Rule 7: the sender has too little.
    #[error("amount and fee are {needed}, the sender has {available}")]
    Balance {
        /// `amount + fee`.
        needed: u128,
        /// The sender's balance.
        available: u128,
    },
    /// Rule 8: the signature does not verify.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// Rule 9: the receiver's balance would reach `2^128`.
    #[error("the receiver has {balance}, {amount} more would reach 2^128")]
    ReceiverOverflow {
        /// The receiver's balance.
        balance: u128,
        /// The transfer's amount.
        amount: u128,
    },
    /// Rule 9: the fee account's balance would reach `2^128`.
    #[error("the fee account has {balance}, {fee} more would reach 2^128")]
    FeeOverflow {
        /// The fee account's balance.
        balance: u128,
        /// The transfer's fee.
        fee: u128,
    },
}

impl Violation {
    /// The number of the rule in P-4.4, from 1.
    pub fn rule(&self) -> u8 {
        match self {
            Self::SenderUnknown { .. } => 1,
            Self::ReceiverUnknown { .. } => 2,
            Self::SenderToken { .. } | Self::ReceiverToken { .. } => 3,
            Self::FeeAccountUnknown { .. } => 4,
            Self::Nonce { .. } | Self::NonceExhausted => 5,
            Self::Expired { .. } => 6,
            Self::Balance { .. } => 7,
            Self::Signature(_) => 8,
            Self::ReceiverOverflow { .. } | Self::FeeOverflow { .. } => 9,
        }
    }

    /// The field of the transfer that the rule is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::SenderUnknown { .. } => "from",
            Self::ReceiverUnknown { .. } => "to",
            Self::SenderToken { .. } | Self::ReceiverToken { .. } | Self::FeeAccountUnknown { .. } => "token",
            Self::Nonce { .. } | Self::NonceExhausted => "nonce",
            Self::Expired { .. } => "expiry",
            Self::Balance { .. } | Self::ReceiverOverflow { .. } => "amount",
            Self::Signature(_) => "signature",
            Self::FeeOverflow { .. } => "fee",
        }
    }

    /// What the rule asks of the field.
    pub fn expected(&self) -> String {
        match self {
            Self::SenderUnknown { .. } | Self::ReceiverUnknown { .. } => "an occupied index".to_string(),
            Self::SenderToken { account, .. } | Self::ReceiverToken { account, .. } => account.to_string(),
            Self::FeeAccountUnknown { .. } => "a token with a fee account".to_string(),
            Self::Nonce { expected, .. } => expected.to_string(),
            Self::NonceExhausted => format!("below {}", u64::MAX),
            Self::Expired { time, .. } => format!("at least {time}"),
            Self::Balance { available, .. } => format!("at most {available} with the fee"),
            Self::Signature(_) => "a signature of the sender's owner".to_string(),
            Self::ReceiverOverflow { balance, .. } | Self::FeeOverflow { balance, .. } => {
                format!("at most {}", u128::MAX - balance)
            }
        }
    }

    /// What the field has.
    pub fn found(&self) -> String {
        match self {
            Self::SenderUnknown { index } | Self::ReceiverUnknown { index } => index.to_string(),
            Self::SenderToken { transfer, .. } | Self::ReceiverToken { transfer, .. } => transfer.to_string(),
            Self::FeeAccountUnknown { token } => token.to_string(),
            Self::Nonce { found, .. } => found.to_string(),
            Self::NonceExhausted => u64::MAX.to_string(),
            Self::Expired { expiry, .. } => expiry.to_string(),
            Self::Balance { needed, .. } => needed.to_string(),
            Self::Signature(reason) => reason.to_string(),
            Self::ReceiverOverflow { amount, .. } => amount.to_string(),
            Self::FeeOverflow { fee, .. } => fee.to_string(),
        }
    }
}

/// One account before and after an update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) index: AccountIndex,
    pub(crate) before: Account,
    pub(crate) after: Account,
}

/// The accounts of a state with changes that the state does not have yet.
pub(crate) struct Overlay<'a> {
    base: &'a State,
    changed: BTreeMap<AccountIndex, Account>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a State) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
        }
    }

    /// The same, with `changed` changed already.
    pub(crate) fn with(base: &'a State, changed: BTreeMap<AccountIndex, Account>) -> Self {
        Self { base, changed }
    }

    pub(crate) fn get(&self, index: AccountIndex) -> Option<Account> {
        self.changed.get(&index).or_else(|| self.base.get(index)).copied()
    }

    /// The changed accounts, by index.
    pub(crate) fn into_changed(self) -> Vec<(AccountIndex, Account)> {
        self.changed.into_iter().collect()
    }

    fn update(
        &mut self,
        index: AccountIndex,
        change: impl FnOnce(Account) -> Result<Account, Violation>,
    ) -> Result<Change, Violation> {
        let before = self.get(index).expect("rules 1, 2 and 4 found the account");
        let after = change(before)?;
        self.changed.insert(index, after);
        Ok(Change { index, before, after })
    }

    /// Checks rules 1 to 8 in their order and applies the transfer, rule 9 included: the changes of sender, receiver
    /// and fee account. After an error the overlay may hold a part of the effect and must be dropped.
    pub(crate) fn transfer(
        &mut self,
        transfer: &Transfer,
        time: u64,
        signature: Result<(), SignatureError>,
    ) -> Result<[Change; 3], Violation> {
        let effect = transfer.effect();
        let sender = self.parties(&effect, transfer.token)?;
        if transfer.nonce != sender.nonce {
            return Err(Violation::Nonce {
                expected: sender.nonce,
                found: transfer.nonce,
            });
        }
        if sender.nonce == u64::MAX {
            return Err(Violation::NonceExhausted);
        }
        if time > transfer.expiry.get() {
            return Err(Violation::Expired {
                time,
                expiry: transfer.expiry,
            });
        }
        covers(&sender, &effect)?;
        signature?;
        self.apply(&effect, transfer.token)
    }

    /// Applies what a posted word says, whose proof has been accepted: only rules without which it has no meaning are
    /// checked.
    pub(crate) fn replay(&mut self, effect: &Effect) -> Result<(), Violation> {
        let sender = self
            .get(effect.from)
            .ok_or(Violation::SenderUnknown { index: effect.from })?;
        self.parties(effect, sender.token)?;
        if sender.nonce == u64::MAX {
            return Err(Violation::NonceExhausted);
        }
        covers(&sender, effect)?;
        self.apply(effect, sender.token).map(|_| ())
    }

    /// Takes back what a word did to the accounts: the inverse of [`Overlay::replay`], last update first. None where the word
    /// cannot have led to them.
    pub(crate) fn take_back(&mut self, effect: &Effect) -> Option<()> {
        let (amount, fee) = (effect.amount.value(), effect.fee.value());
        let token = self.get(effect.from)?.token;
        let mut set = |index, change: &dyn Fn(Account) -> Option<Account>| {
            let before = change(self.get(index)?)?;
            self.changed.insert(index, before);
            Some(())
        };
        let less = |by: u128| {
            move |account: Account| {
                Some(Account {
                    balance: account.balance.checked_sub(by)?,
                    ..account
                })
            }
        };
        set(AccountIndex::fee_account(token), &less(fee))?;
        set(effect.to, &less(amount))?;
        set(effect.from, &|account| {
            Some(Account {
                nonce: account.nonce.checked_sub(1)?,
                balance: account.balance.checked_add(amount + fee)?,
                ..account
            })
        })
    }

    /// Rules 1 to 4. Returns the sender.
    fn parties(&self, effect: &Effect, token: TokenId) -> Result<Account, Violation> {
        let sender = self
            .get(effect.from)
            .ok_or(Violation::SenderUnknown { index: effect.from })?;
        let receiver = self
            .get(effect.to)
            .ok_or(Violation::ReceiverUnknown { index: effect.to })?;
        if sender.token != token {
            return Err(Violation::SenderToken {
                transfer: token,
                account: sender.token,
            });
        }
        if receiver.token != token {
            return Err(Violation::ReceiverToken {
                transfer: token,
                account: receiver.token,
            });
        }
        match self.get(AccountIndex::fee_account(token)) {
            Some(_) => Ok(sender),
            None => Err(Violation::FeeAccountUnknown { token }),
        }
    }

    /// P-4.5, and rule 9.
    fn apply(&mut self, effect: &Effect, token: TokenId) -> Result<[Change; 3], Violation> {
        let (amount, fee) = (effect.amount.value(), effect.fee.value());
        let sender = self.update(effect.from, |account| {
            Ok(Account {
                nonce: account.nonce + 1,
                balance: account.balance - (amount + fee),
                ..account
            })
        })?;
        let receiver = self.update(effect.to, |account| {
            let overflow = Violation::ReceiverOverflow {
                balance: account.balance,
                amount,
            };
            Ok(Account {
                balance: account.balance.checked_add(amount).ok_or(overflow)?,
                ..account
            })
        })?;
        let fee = self.update(AccountIndex::fee_account(token), |account| {
            let overflow = Violation::FeeOverflow {
                balance: account.balance,
                fee,
            };
            Ok(Account {
                balance: account.balance.checked_add(fee).ok_or(overflow)?,
                ..account
            })
        })?;
        Ok([sender, receiver, fee])
    }
}

/// Rule 7. The sum of amount and fee is below `2^123`.
fn covers(sender: &Account, effect: &Effect) -> Result<(), Violation> {
    let needed = effect.amount.value() + effect.fee.value();
    if sender.balance < needed {
        return Err(Violation::Balance {
            needed,
            available: sender.balance,
        });
    }
    Ok(())
}
