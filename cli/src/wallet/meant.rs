//! Which account is meant (P-5.8): an index, and the key and L1 address that it must have. Anybody can make an account with somebody's key
//! and their own address, and an index can come to stand for another account.

use rules::account::{Account, AccountIndex};
use rules::eddsa::PublicKey;
use rules::state::State;
use thiserror::Error;

use super::keys::owner_text;

/// An account as its user means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meant {
    /// Where it is.
    pub index: AccountIndex,
    /// The key that it must have.
    pub owner: PublicKey,
    /// The L1 address that it must have.
    pub l1_address: [u8; 20],
}

/// The account at an index is not the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotMeant {
    /// There is none.
    #[error("there is no account at index {index}")]
    Empty {
        /// The index.
        index: AccountIndex,
    },
    /// It is of another key.
    #[error("account {index} is somebody else's: its key is {}, expected {}", owner_text(.found), owner_text(.expected))]
    Owner {
        /// The index.
        index: AccountIndex,
        /// The key that is meant.
        expected: Box<PublicKey>,
        /// Its key.
        found: Box<PublicKey>,
    },
    /// Its money leaves to another address.
    #[error(
        "account {index} is somebody else's: its L1 address is 0x{}, expected 0x{}; whoever has that address takes what is in it",
        hex::encode(.found),
        hex::encode(.expected)
    )]
    Address {
        /// The index.
        index: AccountIndex,
        /// The address that is meant.
        expected: [u8; 20],
        /// Its address.
        found: [u8; 20],
    },
}

impl Meant {
    /// The account in a state, if it is the one that is meant.
    ///
    /// # Errors
    /// [`NotMeant`] says what differs.
    pub fn find(&self, state: &State) -> Result<Account, NotMeant> {
        let index = self.index;
        let account = *state.get(index).ok_or(NotMeant::Empty { index })?;
        if account.owner != self.owner {
            return Err(NotMeant::Owner {
                index,
                expected: Box::new(self.owner),
                found: Box::new(account.owner),
            });
        }
        if account.l1_address != self.l1_address {
            return Err(NotMeant::Address {
                index,
                expected: self.l1_address,
                found: account.l1_address,
            });
        }
        Ok(account)
    }

    /// All accounts of a state with a key and an L1 address.
    pub fn all(state: &State, owner: PublicKey, l1_address: [u8; 20]) -> Vec<(AccountIndex, Account)> {
        let own = state
            .accounts()
            .filter(|(_, account)| account.owner == owner && account.l1_address == l1_address);
        own.map(|(index, account)| (index, *account)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rules::account::TokenId;
    use rules::eddsa::PrivateKey;

    use super::*;

    fn key(number: u8) -> PublicKey {
        PrivateKey::from_bytes(&[number; 32]).public()
    }

    #[test]
    fn an_account_is_found_only_with_its_key_and_its_address() {
        let account = |owner, l1_address| Account {
            token: TokenId(1),
            nonce: 0,
            balance: 5,
            owner,
            l1_address,
        };
        let index = |number| AccountIndex::new(number).unwrap();
        let own = account(key(1), [1; 20]);
        // Somebody made one with this key and their address.
        let trap = account(key(1), [2; 20]);
        let state = State::from_accounts([
            (index(70_000), own),
            (index(70_001), trap),
            (index(70_002), account(key(2), [1; 20])),
        ]);
        let meant = |number| Meant {
            index: index(number),
            owner: key(1),
            l1_address: [1; 20],
        };
        assert_eq!(meant(70_000).find(&state), Ok(own));
        assert!(matches!(
            meant(70_001).find(&state),
            Err(NotMeant::Address { found, .. }) if found == [2; 20]
        ));
        assert!(matches!(
            meant(70_002).find(&state),
            Err(NotMeant::Owner { found, .. }) if *found == key(2)
        ));
        assert!(matches!(meant(70_003).find(&state), Err(NotMeant::Empty { .. })));
        assert_eq!(Meant::all(&state, key(1), [1; 20]), [(index(70_000), own)]);
    }
}
