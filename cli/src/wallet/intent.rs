//! What a user means to sign: made from the state, checked against the protocol's rules before a key is used, and said in words.

use alloy::primitives::Address;
use anyhow::{Context, Result, ensure};
use rules::account::{Account, AccountIndex, TokenId, USER_INDEX_MIN};
use rules::babyjub::Point;
use rules::batch::{self, Batch, BatchError};
use rules::eddsa::{PrivateKey, PublicKey, Signature};
use rules::field;
use rules::operation::{
    Creation, Expiry, Operation, RollupId, SignedCreation, SignedTransfer, SignedWithdrawal, Transfer,
    Withdrawal,
};
use rules::state::State;
use rules::violation::Cause;

use super::amounts::Unit;
use super::keys::owner_text;
use super::meant::Meant;

/// What stands for a signature until there is one.
const UNSIGNED: Signature = Signature {
    r8: Point::IDENTITY,
    s: [0; 32],
};

/// What every operation is made on and for.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The rollup.
    pub rollup_id: RollupId,
    /// Its state.
    pub state: &'a State,
    /// The least time that the batch with the operation can have, Unix seconds.
    pub time: u64,
}

/// What is the same in transfers and withdrawals.
#[derive(Debug, Clone, Copy)]
pub struct Payment {
    /// What is paid, in smallest units.
    pub amount: u128,
    /// What the token's fee account gets on top.
    pub fee: u128,
    /// The account's nonce, where it is another than the state's: operations that are not in a batch yet come before this one.
    pub nonce: Option<u64>,
    /// Until when the operation is valid.
    pub expiry: Expiry,
}

/// An operation that is not signed yet.
#[derive(Debug, Clone, Copy)]
pub enum Intent {
    /// A transfer from an account to another.
    Transfer {
        /// What is signed.
        transfer: Transfer,
        /// The receiver, whose key and L1 address are signed too (P-5.2).
        receiver: Account,
    },
    /// A withdrawal of an account.
    Withdrawal {
        /// What is signed.
        withdrawal: Withdrawal,
        /// Whom L1 will pay (P-5.5).
        l1_address: [u8; 20],
    },
    /// A new account.
    Creation(Creation),
}

impl Intent {
    /// A transfer between accounts that are what their user means.
    ///
    /// # Errors
    /// Another account than is meant, an amount or fee that is no float, and the first rule of P-4.4 that it would break.
    pub fn transfer(ground: Ground, from: &Meant, to: &Meant, payment: Payment, unit: Unit) -> Result<Self> {
        let sender = from.find(ground.state)?;
        let receiver = to
            .find(ground.state)
            .context("the receiver is not who is meant")?;
        let transfer = Transfer {
            from: from.index,
            to: to.index,
            amount: unit.amount(payment.amount)?,
            fee: unit.fee(payment.fee)?,
            nonce: payment.nonce.unwrap_or(sender.nonce),
            expiry: payment.expiry,
            token: sender.token,
        };
        let intent = Self::Transfer { transfer, receiver };
        intent.check(ground, sender.nonce)?;
        Ok(intent)
    }

    /// A withdrawal of an account that is what its user means, to that account's L1 address.
    ///
    /// # Errors
    /// Another account than is meant, a fee that is no float, and the first rule of P-4.7 that it would break.
    pub fn withdrawal(ground: Ground, from: &Meant, payment: Payment, unit: Unit) -> Result<Self> {
        let account = from.find(ground.state)?;
        let withdrawal = Withdrawal {
            from: from.index,
            amount: payment.amount,
            fee: unit.fee(payment.fee)?,
            nonce: payment.nonce.unwrap_or(account.nonce),
            expiry: payment.expiry,
            token: account.token,
        };
        let intent = Self::Withdrawal {
            withdrawal,
            l1_address: account.l1_address,
        };
        intent.check(ground, account.nonce)?;
        Ok(intent)
    }

    /// A new account of an owner, at an index that is free now; whoever makes the batch may take another (P-4.9).
    ///
    /// # Errors
    /// The first rule of P-4.9 that it would break.
    pub fn creation(ground: Ground, token: TokenId, owner: PublicKey, l1_address: [u8; 20]) -> Result<Self> {
        let intent = Self::Creation(Creation {
            index: free_index(ground.state)?,
            token,
            owner,
            l1_address,
        });
        intent.check(ground, 0)?;
        Ok(intent)
    }

    /// Executes it without its signature, by the rules of batches: all of them but the signature's must hold. One that comes after others
    /// which the state does not have yet is not held against it.
    fn check(&self, ground: Ground, nonce: u64) -> Result<()> {
        let ahead = match self {
            Self::Transfer { transfer, .. } => transfer.nonce,
            Self::Withdrawal { withdrawal, .. } => withdrawal.nonce,
            Self::Creation(_) => nonce,
        };
        if ahead > nonce {
            return Ok(());
        }
        let root = ground.state.root();
        let batch = Batch {
            rollup_id: ground.rollup_id,
            number: 0,
            time: ground.time,
            old_root: root,
            new_root: root,
            operations: vec![self.with(UNSIGNED)],
        };
        match batch::new_root(ground.state, &batch) {
            Err(BatchError::Operation { violation, .. })
                if !matches!(violation.cause, Cause::Signature(_)) =>
            {
                Err(violation.into())
            }
            Err(BatchError::Operation { .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => unreachable!("no operation is valid without a signature"),
        }
    }

    /// Signs it.
    pub fn sign(&self, key: &PrivateKey, rollup_id: &RollupId) -> Operation {
        self.with(key.sign(&self.message(rollup_id)))
    }

    /// The message that is signed.
    pub fn message(&self, rollup_id: &RollupId) -> rules::Fr {
        match self {
            Self::Transfer { transfer, receiver } => transfer.message(rollup_id, receiver),
            Self::Withdrawal {
                withdrawal,
                l1_address,
            } => withdrawal.message(rollup_id, l1_address),
            Self::Creation(creation) => creation.message(rollup_id),
        }
    }

    fn with(&self, signature: Signature) -> Operation {
        match *self {
            Self::Transfer { transfer, .. } => Operation::Transfer(SignedTransfer { transfer, signature }),
            Self::Withdrawal { withdrawal, .. } => Operation::Withdrawal(SignedWithdrawal {
                withdrawal,
                signature,
            }),
            Self::Creation(creation) => Operation::Creation(SignedCreation { creation, signature }),
        }
    }

    /// The accounts that are there already, whose state decides what becomes of it.
    pub fn accounts(&self) -> impl Iterator<Item = AccountIndex> {
        let (from, to) = match self {
            Self::Transfer { transfer, .. } => (Some(transfer.from), Some(transfer.to)),
            Self::Withdrawal { withdrawal, .. } => (Some(withdrawal.from), None),
            Self::Creation(_) => (None, None),
        };
        from.into_iter().chain(to)
    }

    /// All that is signed, in words, line by line. `symbol` is the token's.
    pub fn lines(&self, rollup_id: &RollupId, unit: Unit, symbol: &str) -> Vec<String> {
        let address = |address: &[u8; 20]| Address::from(*address).to_string();
        let show = |value: u128| format!("{} {symbol}", unit.show(value));
        let mut lines = vec![format!(
            "for the rollup {} on chain {}",
            address(&rollup_id.contract),
            rollup_id.chain_id
        )];
        match self {
            Self::Transfer { transfer, receiver } => lines.extend([
                format!(
                    "transfer {} from account {}",
                    show(transfer.amount.value()),
                    transfer.from
                ),
                format!(
                    "to account {} of the key {}",
                    transfer.to,
                    owner_text(&receiver.owner)
                ),
                format!("and the L1 address {}", address(&receiver.l1_address)),
                terms(show(transfer.fee.value()), transfer.nonce, transfer.expiry),
            ]),
            Self::Withdrawal {
                withdrawal,
                l1_address,
            } => lines.extend([
                format!(
                    "withdraw {} of account {}",
                    show(withdrawal.amount),
                    withdrawal.from
                ),
                format!("to the L1 address {}", address(l1_address)),
                terms(show(withdrawal.fee.value()), withdrawal.nonce, withdrawal.expiry),
            ]),
            Self::Creation(creation) => lines.extend([
                format!("make an account of token {} ({symbol})", creation.token),
                format!("of the key {}", owner_text(&creation.owner)),
                format!("and the L1 address {}", address(&creation.l1_address)),
                "for whoever has that address takes what is in it; the index is the operator's to choose"
                    .to_owned(),
            ]),
        }
        lines.push(format!("message {}", field::to_hex(&self.message(rollup_id))));
        lines
    }
}

fn terms(fee: String, nonce: u64, expiry: Expiry) -> String {
    let expiry = match expiry {
        Expiry::NEVER => "for ever".to_owned(),
        expiry => format!("in batches until {expiry} (Unix seconds)"),
    };
    format!("fee {fee}, nonce {nonce}, valid {expiry}")
}

/// The lowest index of those that creations have which nobody has.
fn free_index(state: &State) -> Result<AccountIndex> {
    let taken = state.accounts().map(|(index, _)| index.get());
    let mut free = USER_INDEX_MIN;
    for index in taken.skip_while(|index| *index < USER_INDEX_MIN) {
        if index != free {
            break;
        }
        free += 1;
    }
    ensure!(free < 1 << 32, "all indices of created accounts are taken");
    Ok(AccountIndex::new(free)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [0x22; 20],
    };
    const UNIT: Unit = Unit { decimals: 0 };

    fn key(number: u8) -> PrivateKey {
        PrivateKey::from_bytes(&[number; 32])
    }

    fn account(number: u8, token: u16, balance: u128) -> Account {
        Account {
            token: TokenId(token),
            nonce: 0,
            balance,
            owner: key(number).public(),
            l1_address: [number; 20],
        }
    }

    fn meant(index: u64, number: u8) -> Meant {
        Meant {
            index: AccountIndex::new(index).unwrap(),
            owner: key(number).public(),
            l1_address: [number; 20],
        }
    }

    fn state() -> State {
        let index = |number| AccountIndex::new(number).unwrap();
        State::from_accounts([
            (index(1), account(9, 1, 0)),
            (index(65_536), account(1, 1, 1_000)),
            (index(65_537), account(2, 1, 0)),
            (index(1 << 32), account(3, 2, 50)),
        ])
    }

    fn payment(amount: u128, fee: u128) -> Payment {
        Payment {
            amount,
            fee,
            nonce: None,
            expiry: Expiry::NEVER,
        }
    }

    /// Executes signed operations as a batch would.
    fn execute(state: &State, operations: Vec<Operation>) -> Result<rules::Fr, BatchError> {
        let batch = Batch {
            rollup_id: ROLLUP,
            number: 0,
            time: 7,
            old_root: state.root(),
            new_root: state.root(),
            operations,
        };
        batch::new_root(state, &batch)
    }

    #[test]
    fn what_is_signed_is_valid_and_by_another_key_it_is_not() {
        let state = state();
        let ground = Ground {
            rollup_id: ROLLUP,
            state: &state,
            time: 7,
        };
        let transfer = Intent::transfer(
            ground,
            &meant(65_536, 1),
            &meant(65_537, 2),
            payment(900, 20),
            UNIT,
        )
        .unwrap();
        let withdrawal = Intent::withdrawal(ground, &meant(65_536, 1), payment(999, 1), UNIT).unwrap();
        let creation = Intent::creation(ground, TokenId(1), key(1).public(), [7; 20]).unwrap();
        for intent in [transfer, withdrawal, creation] {
            execute(&state, vec![intent.sign(&key(1), &ROLLUP)]).unwrap();
            let forged = execute(&state, vec![intent.sign(&key(2), &ROLLUP)]).unwrap_err();
            assert!(forged.to_string().contains("signature"), "{forged}");
            let other = RollupId {
                chain_id: 1,
                ..ROLLUP
            };
            assert!(execute(&state, vec![intent.sign(&key(1), &other)]).is_err());
        }
        let Intent::Creation(creation) = creation else {
            panic!("{creation:?}")
        };
        assert_eq!(creation.index.get(), 65_538);
        let words = transfer.lines(&ROLLUP, UNIT, "ETH").join("\n");
        for told in [
            "900 ETH",
            "account 65537",
            "0x0202",
            "fee 20 ETH, nonce 0, valid for ever",
            "chain 31337",
        ] {
            assert!(words.contains(told), "{words}");
        }
    }

    #[test]
    fn what_no_batch_would_take_is_refused_before_a_key_is_used() {
        let state = state();
        let ground = Ground {
            rollup_id: ROLLUP,
            state: &state,
            time: 7,
        };
        let transfer = |from: Meant, to: Meant, payment| {
            let made = Intent::transfer(ground, &from, &to, payment, UNIT);
            format!("{:#}", made.unwrap_err())
        };
        let (from, to) = (meant(65_536, 1), meant(65_537, 2));
        for (said, told) in [
            (transfer(meant(65_536, 2), to, payment(1, 0)), "its key is"),
            (
                transfer(from, meant(65_537, 1), payment(1, 0)),
                "the receiver is not who is meant",
            ),
            (
                transfer(from, meant(65_599, 2), payment(1, 0)),
                "no account at index 65599",
            ),
            (
                transfer(
                    from,
                    Meant {
                        l1_address: [9; 20],
                        ..to
                    },
                    payment(1, 0),
                ),
                "its L1 address is",
            ),
            (
                transfer(from, meant(1 << 32, 3), payment(1, 0)),
                "token 2 (P-4.4, rule 3)",
            ),
            (
                transfer(meant(1 << 32, 3), meant(1 << 32, 3), payment(1, 0)),
                "P-4.4, rule 4",
            ),
            (transfer(from, to, payment(1_000, 1)), "P-4.4, rule 7"),
            (transfer(from, to, payment(524_289, 0)), "the nearest are"),
            (transfer(from, to, payment(1, 17)), "the nearest are 15 and 20"),
            (
                transfer(
                    from,
                    to,
                    Payment {
                        expiry: Expiry::new(6).unwrap(),
                        ..payment(1, 0)
                    },
                ),
                "P-4.4, rule 6",
            ),
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
        let too_much = Intent::withdrawal(ground, &from, payment(1_001, 0), UNIT).unwrap_err();
        assert!(too_much.to_string().contains("P-4.7, rule 6"), "{too_much}");
        let no_token = Intent::creation(ground, TokenId(3), key(1).public(), [1; 20]).unwrap_err();
        assert!(no_token.to_string().contains("P-4.9, rule 3"), "{no_token}");
    }

    #[test]
    fn an_operation_after_others_has_the_nonce_that_it_is_given() {
        let state = state();
        let ground = Ground {
            rollup_id: ROLLUP,
            state: &state,
            time: 7,
        };
        let (from, to) = (meant(65_536, 1), meant(65_537, 2));
        let made = |nonce| {
            let payment = Payment {
                nonce,
                ..payment(10, 0)
            };
            Intent::transfer(ground, &from, &to, payment, UNIT)
                .unwrap()
                .sign(&key(1), &ROLLUP)
        };
        let (first, second) = (made(None), made(Some(1)));
        execute(&state, vec![first, second]).unwrap();
        assert!(execute(&state, vec![second]).is_err());
    }
}
