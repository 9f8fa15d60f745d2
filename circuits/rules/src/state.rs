//! The rollup's state: accounts and their tree (section 3).

use crate::account::{self, Account, AccountIndex};
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
