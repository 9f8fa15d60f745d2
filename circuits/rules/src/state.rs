//! The rollup's state: accounts and their tree (section 3).

use crate::account::{self, Account, AccountIndex};
use crate::threads;
use crate::tree::{Tree, TreeUpdate};
use halo2curves::bn256::Fr;
use std::collections::BTreeMap;

/// Accounts by index, and the Merkle tree of their leaves.
#[derive(Debug, Clone, Default)]
pub struct State {
    accounts: BTreeMap<AccountIndex, Account>,
    tree: Tree,
}

impl State {
    /// The state of these accounts; of a repeated index the last account counts. Trusts the accounts: a list from
    /// outside is checked by [`crate::genesis::Genesis::build`].
    pub fn from_accounts(accounts: impl IntoIterator<Item = (AccountIndex, Account)>) -> Self {
        let mut state = Self::default();
        let accounts: Vec<_> = accounts.into_iter().collect();
        state.overwrite(&accounts);
        state
    }

    /// Sets accounts without any check, as when a stored state catches up with the accounts that a batch touched.
    pub fn overwrite(&mut self, accounts: &[(AccountIndex, Account)]) {
        let update = self.tree.update(&account::leaves(accounts));
        self.commit(accounts, update);
    }

    /// Sets accounts, and empties the indices that are given none, without any check: as [`State::overwrite`], for what takes
    /// the creation of an account back too. Of a repeated index the last counts.
    pub fn set(&mut self, changes: &[(AccountIndex, Option<Account>)]) {
        let leaves = threads::each(changes.len(), |place| {
            let (index, account) = &changes[place];
            (*index, account.as_ref().map_or(Fr::zero(), Account::leaf))
        });
        let update = self.tree.update(&leaves);
        for (index, account) in changes {
            match account {
                Some(account) => drop(self.accounts.insert(*index, *account)),
                None => drop(self.accounts.remove(index)),
            }
        }
        self.tree.commit(update);
    }

    /// The account at `index`, if it is occupied.
    pub fn get(&self, index: AccountIndex) -> Option<&Account> {
        self.accounts.get(&index)
    }

    /// The state root.
    pub fn root(&self) -> Fr {
        self.tree.root()
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The accounts, by index.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (AccountIndex, &Account)> {
        self.accounts.iter().map(|(index, account)| (*index, account))
    }

    /// Takes over accounts and the tree's update for them.
    pub(crate) fn commit(&mut self, accounts: &[(AccountIndex, Account)], update: TreeUpdate) {
        self.accounts.extend(accounts.iter().copied());
        self.tree.commit(update);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, SampleConfig};

    #[test]
    fn an_account_that_is_set_can_be_taken_away_again() {
        let sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        let before = sample.state();
        let (first, account) = before.accounts().next().expect("it has accounts");
        let account = *account;
        let index = AccountIndex::new(1 << 32).expect("in range");
        assert_eq!(before.get(index), None);
        let mut state = before.clone();
        state.set(&[(index, Some(account)), (first, None)]);
        assert_eq!(state.get(index), Some(&account));
        assert_eq!(state.get(first), None);
        assert_eq!(state.tree().get(index), account.leaf());
        assert_ne!(state.root(), before.root());
        state.set(&[(first, None), (first, Some(account)), (index, None)]);
        assert_eq!(state.root(), before.root());
        assert!(state.accounts().eq(before.accounts()));
    }
}
