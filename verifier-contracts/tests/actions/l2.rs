//! The rules of accounts written once more, from the text: a plain map, without tree, hash or signature.

use std::collections::BTreeMap;

use rules::{
    account::{Account, AccountIndex, TokenId},
    eddsa::PublicKey,
    record::{Coordinate, Kind, Record},
};

/// Accounts by index.
#[derive(Clone, Debug, Default)]
pub struct L2 {
    /// What is occupied.
    pub accounts: BTreeMap<u64, Account>,
}

/// What an owner wants.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// An amount and a fee from an account to another.
    Transfer {
        from: u64,
        to: u64,
        amount: u64,
        fee: u64,
    },
    /// An amount out of an account, and a fee.
    Withdraw { from: u64, amount: u128, fee: u64 },
    /// An account of a user at an index.
    Create { index: u64, token: u16, user: usize },
}

impl L2 {
    /// The account at an index.
    pub fn get(&self, index: u64) -> Option<&Account> {
        self.accounts.get(&index)
    }

    fn at(&mut self, index: u64) -> &mut Account {
        self.accounts.get_mut(&index).expect("it was looked for")
    }

    /// Applies a wish if P-4.4, P-4.7 or P-4.9 take it; says whether they do. `account` is what a creation makes.
    pub fn apply(&mut self, wish: &Wish, account: impl Fn(u16, usize) -> Account) -> bool {
        match *wish {
            Wish::Transfer {
                from,
                to,
                amount,
                fee,
            } => {
                let (Some(sender), Some(receiver)) = (self.get(from), self.get(to)) else {
                    return false;
                };
                let token = sender.token;
                let cost = u128::from(amount) + u128::from(fee);
                if receiver.token != token || !self.has_fees(token) || sender.balance < cost {
                    return false;
                }
                self.at(from).nonce += 1;
                self.at(from).balance -= cost;
                self.at(to).balance += u128::from(amount);
                self.at(token.0.into()).balance += u128::from(fee);
            }
            Wish::Withdraw { from, amount, fee } => {
                let Some(account) = self.get(from) else {
                    return false;
                };
                let token = account.token;
                let cost = amount.saturating_add(fee.into());
                if !self.has_fees(token) || account.balance < cost {
                    return false;
                }
                self.at(from).nonce += 1;
                self.at(from).balance -= cost;
                self.at(token.0.into()).balance += u128::from(fee);
            }
            Wish::Create { index, token, user } => {
                let room = (1 << 16..1 << 32).contains(&index) && self.get(index).is_none();
                if !room || !self.has_fees(TokenId(token)) {
                    return false;
                }
                self.accounts.insert(index, account(token, user));
            }
        }
        true
    }

    fn has_fees(&self, token: TokenId) -> bool {
        token.0 != 0 && self.get(token.0.into()).is_some()
    }

    /// Executes an entry of the queue (P-4.11): its record, with code and amount.
    pub fn execute(&mut self, entry: &Record) -> Record {
        let index = entry.index.get();
        let account = self.get(index).copied();
        let mut record = *entry;
        record.code = match (entry.kind, account) {
            (Kind::DepositNew, account) => u8::from(account.is_some()),
            (_, None) => 1,
            (Kind::DepositExisting, Some(account)) => first_of(&[
                account.token != entry.token,
                Coordinate::from_address(&account.l1_address) != entry.u,
                Coordinate::from(account.owner.0.y) != entry.v,
            ]),
            (Kind::ForcedExit, Some(account)) => {
                first_of(&[account.token != entry.token, account.l1_address != entry.address])
            }
            // There is no code 2.
            (_, Some(account)) => first_of(&[false, account.l1_address != entry.address]),
        };
        if record.code == 0 {
            match entry.kind {
                Kind::DepositNew => {
                    let account = Account {
                        token: entry.token,
                        nonce: 0,
                        balance: entry.amount,
                        owner: key_of(entry),
                        l1_address: entry.address,
                    };
                    self.accounts.insert(index, account);
                }
                Kind::DepositExisting => self.at(index).balance += entry.amount,
                Kind::ForcedExit => record.amount = std::mem::take(&mut self.at(index).balance),
                _ => self.at(index).owner = key_of(entry),
            }
        }
        record
    }

    /// The accounts as the native machine has them.
    pub fn listed(&self) -> impl Iterator<Item = (AccountIndex, Account)> {
        let index = |index: &u64| AccountIndex::new(*index).expect("below 2^33");
        self.accounts
            .iter()
            .map(move |(at, account)| (index(at), *account))
    }
}

/// The code of the first condition that holds, of those from code 2 on.
fn first_of(conditions: &[bool]) -> u8 {
    let first = conditions.iter().position(|holds| *holds);
    first.map_or(0, |place| place as u8 + 2)
}

fn key_of(entry: &Record) -> PublicKey {
    entry.key()
}
