//! Taking a batch back by what it posts alone, where nothing else of it is left.

use std::collections::BTreeMap;

use rules::{
    account::{Account, AccountIndex},
    operation::Word,
    record::{Kind, Record},
    state::State,
    stream,
};

use super::Undo;

/// The accounts that a batch wrote, as they were before it, from what it posted and the accounts after it: those of `later`, else the
/// ledger's. None where that does not say it: a key change does not post the key before, and what was not posted by a batch on this
/// state leads nowhere.
///
/// Whether they are right, the root before the batch tells.
pub(crate) fn take_back(
    ledger: &State,
    later: &BTreeMap<AccountIndex, Option<Account>>,
    posted_a: &[u8],
    posted_b: &[u8],
) -> Option<Undo> {
    let mut records = stream::records(posted_a).ok()?.into_iter().rev();
    let groups = stream::groups(posted_b).ok()?;
    let mut back = Back {
        ledger,
        later,
        changed: BTreeMap::new(),
    };
    for group in groups.iter().rev() {
        for word in group.words.iter().rev() {
            back.word(Word::from_integer(*word).ok()?, &mut records)?;
        }
        if group.flag {
            back.queued(&records.next()?)?;
        }
    }
    records
        .next()
        .is_none()
        .then(|| back.changed.into_iter().collect())
}

/// The accounts as they were at a moment of the batch.
struct Back<'a> {
    ledger: &'a State,
    later: &'a BTreeMap<AccountIndex, Option<Account>>,
    changed: BTreeMap<AccountIndex, Option<Account>>,
}

impl Back<'_> {
    fn get(&self, index: AccountIndex) -> Option<Account> {
        let known = self.changed.get(&index).or_else(|| self.later.get(&index));
        known.copied().unwrap_or_else(|| self.ledger.get(index).copied())
    }

    fn word(&mut self, word: Word, records: &mut impl Iterator<Item = Record>) -> Option<()> {
        match word {
            Word::NoOp => {}
            Word::Transfer(effect) => {
                let (amount, fee) = (effect.amount.value(), effect.fee.value());
                let fee_account = AccountIndex::fee_account(self.get(effect.from)?.token);
                self.unspend(effect.from, amount.checked_add(fee)?)?;
                self.take(effect.to, amount)?;
                self.take(fee_account, fee)?;
            }
            Word::Withdrawal { from, fee } => {
                let record = records.next()?;
                let fee_account = AccountIndex::fee_account(self.get(from)?.token);
                self.unspend(from, record.amount.checked_add(fee.value())?)?;
                self.take(fee_account, fee.value())?;
            }
            Word::Creation { .. } => self.unmake(&records.next()?)?,
        }
        Some(())
    }

    fn queued(&mut self, record: &Record) -> Option<()> {
        match record.kind {
            _ if record.code != 0 => Some(()),
            Kind::DepositNew => self.unmake(record),
            Kind::DepositExisting => self.take(record.index, record.amount),
            Kind::ForcedExit => self.change(record.index, |account| {
                account.balance = account.balance.checked_add(record.amount)?;
                Some(())
            }),
            Kind::KeyChange | Kind::Withdrawal | Kind::Creation => None,
        }
    }

    /// An account has what it spent, and its nonce, again.
    fn unspend(&mut self, index: AccountIndex, amount: u128) -> Option<()> {
        self.change(index, |account| {
            account.balance = account.balance.checked_add(amount)?;
            account.nonce = account.nonce.checked_sub(1)?;
            Some(())
        })
    }

    /// An account has less by what it was given.
    fn take(&mut self, index: AccountIndex, amount: u128) -> Option<()> {
        self.change(index, |account| {
            account.balance = account.balance.checked_sub(amount)?;
            Some(())
        })
    }

    /// An account is not there yet.
    fn unmake(&mut self, record: &Record) -> Option<()> {
        if self.get(record.index)? != record.new_account() {
            return None;
        }
        self.changed.insert(record.index, None);
        Some(())
    }

    fn change(&mut self, index: AccountIndex, change: impl FnOnce(&mut Account) -> Option<()>) -> Option<()> {
        let mut account = self.get(index)?;
        change(&mut account)?;
        self.changed.insert(index, Some(account));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use rules::{
        batch::{execute, undo},
        operation::RollupId,
        sample::{Draw, Mix, Sample, SampleConfig},
        shards::shards,
        witness::Shape,
    };

    use super::*;

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };
    const SHAPE: Shape = Shape { places: 20, rooms: 4 };

    #[test]
    fn batches_are_taken_back_by_what_they_post_unless_a_key_was_changed() {
        let mut sample = Sample::new(SampleConfig {
            seed: 5,
            users: 3,
            tokens: 2,
        });
        let mut ledger = State::default();
        let (mut known, mut unknown) = (0, 0);
        for number in 0..24 {
            let draw = Draw {
                shape: SHAPE,
                queued: if number == 0 { 8 } else { 1 },
                signed: if number == 0 { 0 } else { 20 },
                mix: Mix::All,
            };
            let before = ledger.clone();
            let batch = sample.batch(ROLLUP, 1_700_000_000, draw);
            let executed = execute(&mut ledger, &batch).expect("the sample holds");
            let cut = shards(&batch, &executed, SHAPE, 2).expect("it fits");
            let changed = |record: &Record| record.kind == Kind::KeyChange && record.code == 0;
            let key_changed = executed.records().iter().any(changed);
            // With the ledger as it is, and as it would be after later batches.
            let changes = undo(&executed.changes);
            let after: BTreeMap<_, _> = executed
                .changes
                .iter()
                .map(|change| (change.index, change.after))
                .collect();
            for (state, later) in [(&ledger, BTreeMap::new()), (&before, after)] {
                let taken = take_back(state, &later, &cut.posted_a, &cut.posted_b);
                if key_changed {
                    assert_eq!(taken, None);
                } else {
                    let taken = taken.expect("what was posted says it");
                    assert_eq!(taken, changes);
                    assert_eq!(state.root_with(&taken), before.root());
                }
            }
            match key_changed {
                true => unknown += 1,
                false => known += 1,
            }
            // What was not posted leads nowhere, and never to the root before.
            let cut_short = cut.posted_a.len().saturating_sub(124);
            let short = take_back(
                &ledger,
                &BTreeMap::new(),
                &cut.posted_a[..cut_short],
                &cut.posted_b,
            );
            assert_eq!(short, None);
            let other = take_back(&State::default(), &BTreeMap::new(), &cut.posted_a, &cut.posted_b);
            assert_eq!(other, None);
        }
        assert!(known > 4 && unknown > 0, "{known} {unknown}");
    }
}
