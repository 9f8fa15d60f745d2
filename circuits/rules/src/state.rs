//! The rollup's state: accounts and their tree (section 3).

use crate::account::{self, Account, AccountIndex, Hashed};
use crate::runs::Runs;
use crate::tree::{Tree, TreeUpdate};
use halo2curves::bn256::Fr;

/// Accounts whose leaves are hashed at once where a state is made.
const BLOCK: usize = 1 << 14;

/// Accounts by index, and the Merkle tree of their leaves. Some 170 bytes an account where indices are dense.
#[derive(Debug, Clone, Default)]
pub struct State {
    accounts: Runs<Account>,
    tree: Tree,
}

impl State {
    /// The state of these accounts; of a repeated index the last account counts. Trusts the accounts: a list from
    /// outside is checked by [`crate::snapshot::read()`].
    pub fn from_accounts(accounts: impl IntoIterator<Item = (AccountIndex, Account)>) -> Self {
        let mut builder = StateBuilder::default();
        let mut accounts = accounts.into_iter();
        loop {
            let block: Vec<_> = accounts.by_ref().take(BLOCK).collect();
            if block.is_empty() {
                return builder.build();
            }
            for ((index, account), (_, leaf)) in block.iter().zip(account::leaves(&block)) {
                let account = *account;
                builder.add(*index, Hashed { account, leaf });
            }
        }
    }

    /// Sets accounts without any check, as when a stored state catches up with the accounts that a batch touched.
    pub fn overwrite(&mut self, accounts: &[(AccountIndex, Account)]) {
        let update = self.tree.update(&account::leaves(accounts));
        self.commit(accounts, update);
    }

    /// Sets accounts, and empties the indices that are given none, without any check: as [`State::overwrite`], for what takes
    /// the creation of an account back too. Of a repeated index the last counts.
    pub fn set(&mut self, changes: &[(AccountIndex, Option<Account>)]) {
        let update = self.tree.update(&leaves(changes));
        for (index, account) in changes {
            match account {
                Some(account) => {
                    self.accounts.insert(index.get(), *account);
                }
                None => self.accounts.remove(index.get()),
            }
        }
        self.tree.commit(update);
    }

    /// The root that [`State::set`] would lead to.
    pub fn root_with(&self, changes: &[(AccountIndex, Option<Account>)]) -> Fr {
        self.tree.update(&leaves(changes)).root()
    }

    /// The account at `index`, if it is occupied.
    pub fn get(&self, index: AccountIndex) -> Option<&Account> {
        self.accounts.get(index.get())
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
        let index = |index| AccountIndex::new(index).expect("it was one's");
        self.accounts
            .iter()
            .map(move |(number, account)| (index(number), account))
    }

    /// The accounts and their leaves, by index.
    pub fn hashed(&self) -> impl ExactSizeIterator<Item = (AccountIndex, Hashed)> {
        self.accounts().map(|(index, account)| {
            let (account, leaf) = (*account, self.tree.get(index));
            (index, Hashed { account, leaf })
        })
    }

    /// Takes over accounts and the tree's update for them.
    pub(crate) fn commit(&mut self, accounts: &[(AccountIndex, Account)], update: TreeUpdate) {
        for (index, account) in accounts {
            self.accounts.insert(index.get(), *account);
        }
        self.tree.commit(update);
    }
}

/// The leaves of changes, beside their indices.
fn leaves(changes: &[(AccountIndex, Option<Account>)]) -> Vec<(AccountIndex, Fr)> {
    let leaf = |hashed: Option<Hashed>| hashed.map_or(Fr::zero(), |hashed| hashed.leaf);
    let hashed = account::hashed(changes).into_iter();
    hashed.map(|(index, hashed)| (index, leaf(hashed))).collect()
}

/// A state of accounts whose leaves are known, which come one by one, best in the order of their indices: the tree is hashed
/// once, when all are there.
#[derive(Debug, Default)]
pub struct StateBuilder {
    accounts: Runs<Account>,
    leaves: Runs<Fr>,
}

impl StateBuilder {
    /// Adds an account and its leaf, which is trusted, in the place of what was at its index. Whether nothing was.
    pub fn add(&mut self, index: AccountIndex, hashed: Hashed) -> bool {
        self.leaves.insert(index.get(), hashed.leaf);
        self.accounts.insert(index.get(), hashed.account)
    }

    /// The state.
    pub fn build(self) -> State {
        State {
            accounts: self.accounts,
            tree: Tree::over(self.leaves),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::TokenId;
    use crate::eddsa::PrivateKey;

    #[test]
    fn an_account_that_is_set_can_be_taken_away_again() {
        let account = Account {
            token: TokenId(1),
            nonce: 2,
            balance: 3,
            owner: PrivateKey::from_bytes(&[1; 32]).public(),
            l1_address: [4; 20],
        };
        let first = AccountIndex::new(1 << 16).expect("in range");
        let before = State::from_accounts([
            (AccountIndex::fee_account(account.token), account),
            (first, account),
        ]);
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
