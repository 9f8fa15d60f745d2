//! Conservation (P-4.13): of each token, what accounts have, what L1 owes and what waits in the queue is what the escrow has.

use crate::account::{Account, TokenId};
use crate::outbox::Owed;
use crate::record::{Kind, Record};
use crate::state::State;
use std::collections::BTreeMap;
use thiserror::Error;

/// L1's side of one token, in smallest units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// `O`: what L1 owes and has not paid.
    pub owed: u128,
    /// `U`: deposits in the queue that are not consumed.
    pub unconsumed: u128,
    /// `E`: the escrow.
    pub escrow: u128,
}

/// L1's side of every token, as the entries and records so far make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    tokens: BTreeMap<TokenId, Sums>,
}

/// A step that takes a sum below 0 or to `2^128`, which none can: some token came from nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{sum} of token {token}: {by} more or less than there is room for")]
pub struct OutOfRange {
    /// The token.
    pub token: TokenId,
    /// Which sum.
    pub sum: &'static str,
    /// By how much it was to change.
    pub by: u128,
}

/// A token whose sums do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "token {token}: accounts have {balances}, L1 owes {}, {} waits in the queue, the escrow has {}",
    .sums.owed,
    .sums.unconsumed,
    .sums.escrow
)]
pub struct Imbalance {
    /// The token.
    pub token: TokenId,
    /// `L`: the sum of the balances; the largest integer where it is more.
    pub balances: u128,
    /// L1's side.
    pub sums: Sums,
}

impl Ledger {
    /// L1's side of a token.
    pub fn sums(&self, token: TokenId) -> Sums {
        self.tokens.get(&token).copied().unwrap_or_default()
    }

    /// An entry comes into the queue.
    ///
    /// # Errors
    /// [`OutOfRange`], for which L1 takes no deposit (P-12.8).
    pub fn enter(&mut self, entry: &Record) -> Result<(), OutOfRange> {
        if !is_deposit(entry) {
            return Ok(());
        }
        self.change(entry.token, entry.amount, |sums, by| {
            sums.escrow = sums.escrow.checked_add(by).ok_or("escrow")?;
            sums.unconsumed = sums.unconsumed.checked_add(by).ok_or("unconsumed")?;
            Ok(())
        })
    }

    /// A record is accepted: an entry is consumed, and what it pays is owed.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn accept(&mut self, record: &Record) -> Result<(), OutOfRange> {
        self.change(record.token, record.amount, |sums, by| {
            if is_deposit(record) {
                sums.unconsumed = sums.unconsumed.checked_sub(by).ok_or("unconsumed")?;
            }
            if record.pays() {
                sums.owed = sums.owed.checked_add(by).ok_or("owed")?;
            }
            Ok(())
        })
    }

    /// What is owed is paid.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn claim(&mut self, owed: &Owed) -> Result<(), OutOfRange> {
        self.change(owed.token, owed.amount, |sums, by| {
            sums.owed = sums.owed.checked_sub(by).ok_or("owed")?;
            sums.escrow = sums.escrow.checked_sub(by).ok_or("escrow")?;
            Ok(())
        })
    }

    /// A deposit that waits is paid back, after the freeze.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn refund(&mut self, entry: &Record) -> Result<(), OutOfRange> {
        self.change(entry.token, entry.amount, |sums, by| {
            sums.unconsumed = sums.unconsumed.checked_sub(by).ok_or("unconsumed")?;
            sums.escrow = sums.escrow.checked_sub(by).ok_or("escrow")?;
            Ok(())
        })
    }

    /// An account leaves with its balance, after the freeze: the state keeps it, but is final.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn exit(&mut self, account: &Account) -> Result<(), OutOfRange> {
        self.change(account.token, account.balance, |sums, by| {
            sums.escrow = sums.escrow.checked_sub(by).ok_or("escrow")?;
            Ok(())
        })
    }

    /// That `L + O + U = E` for every token.
    ///
    /// # Errors
    /// The first token of which it does not hold.
    pub fn check(&self, state: &State) -> Result<(), Imbalance> {
        let mut balances: BTreeMap<TokenId, u128> = self.tokens.keys().map(|token| (*token, 0)).collect();
        for (_, account) in state.accounts() {
            let sum = balances.entry(account.token).or_default();
            *sum = sum.saturating_add(account.balance);
        }
        for (token, balances) in balances {
            let sums = self.sums(token);
            let all = [sums.owed, sums.unconsumed]
                .into_iter()
                .try_fold(balances, u128::checked_add);
            if all != Some(sums.escrow) {
                return Err(Imbalance {
                    token,
                    balances,
                    sums,
                });
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        token: TokenId,
        by: u128,
        change: impl FnOnce(&mut Sums, u128) -> Result<(), &'static str>,
    ) -> Result<(), OutOfRange> {
        let mut sums = self.sums(token);
        change(&mut sums, by).map_err(|sum| OutOfRange { token, sum, by })?;
        self.tokens.insert(token, sums);
        Ok(())
    }
}

fn is_deposit(record: &Record) -> bool {
    matches!(record.kind, Kind::DepositNew | Kind::DepositExisting)
}
