//! The rules of operations and their effects on accounts (P-4.4 … P-4.11).

use crate::account::{Account, AccountIndex, TokenId, USER_INDEX_MIN};
use crate::eddsa::{self, PublicKey, Signature, SignatureError};
use crate::operation::{Creation, Signed, SignedCreation, SignedTransfer, SignedWithdrawal};
use crate::operation::{Effect, Expiry, RollupId};
use crate::poseidon;
use crate::record::{Kind, Record};
use crate::state::State;
use crate::threads;
use crate::violation::{Cause, Clause, Violation};
use halo2curves::bn256::Fr;
use std::collections::BTreeMap;

/// The first index that is L1's to give (P-3.5).
pub const L1_INDEX_MIN: u64 = 1 << 32;

/// One account before and after an access; none where the leaf is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub index: AccountIndex,
    /// What was there.
    pub before: Option<Account>,
    /// What is there now.
    pub after: Option<Account>,
}

impl Change {
    /// An access that an operation does not use.
    pub(crate) const IDLE: Self = Self {
        index: AccountIndex::NONE,
        before: None,
        after: None,
    };
}

/// A signature that an operation's validity still hangs on: signatures are verified together.
#[derive(Debug)]
pub(crate) struct Claim {
    key: PublicKey,
    message: [Fr; 8],
    signature: Signature,
}

impl Claim {
    /// The message that has to be signed.
    pub(crate) fn message(&self) -> Fr {
        poseidon::hash8(&self.message)
    }

    /// Verifies each, in parallel.
    pub(crate) fn verify_each(claims: &[Self]) -> Vec<Result<(), SignatureError>> {
        let messages: Vec<_> = claims.iter().map(|claim| claim.message).collect();
        let messages = poseidon::hash8_each(&messages);
        let challenge = |(claim, message): (&Self, &Fr)| {
            eddsa::challenge_inputs(&claim.signature.r8, &claim.key, message)
        };
        let challenges: Vec<_> = claims.iter().zip(&messages).map(challenge).collect();
        let challenges = poseidon::hash5_each(&challenges);
        threads::each(claims.len(), |place| {
            let Self { key, signature, .. } = &claims[place];
            eddsa::verify_challenge(key, signature, || challenges[place])
        })
    }
}

/// What an operation did: its accesses in sequence, and its record.
#[derive(Debug)]
pub(crate) struct Done<const ACCESSES: usize> {
    pub(crate) changes: [Change; ACCESSES],
    pub(crate) record: Option<Record>,
}

/// What signed operations are executed in.
pub(crate) struct Terms<'a> {
    /// The rollup.
    pub(crate) rollup_id: &'a RollupId,
    /// The batch's time.
    pub(crate) time: u64,
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

    pub(crate) fn get(&self, index: AccountIndex) -> Option<Account> {
        self.changed.get(&index).or_else(|| self.base.get(index)).copied()
    }

    /// The changed accounts before and after, by index.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        let changed = self.changed.into_iter();
        let change = changed.map(|(index, after)| Change {
            index,
            before: self.base.get(index).copied(),
            after: Some(after),
        });
        change.collect()
    }

    /// Checks an operation's rules in their order, all but the signature's, and applies it. Its signature is left in `claims` when
    /// the rules before that of the signature hold. After an error the overlay may hold a part of the effect and must be dropped.
    pub(crate) fn execute(
        &mut self,
        signed: &Signed,
        terms: &Terms,
        claims: &mut Vec<Claim>,
    ) -> Result<Done<3>, Violation> {
        match signed {
            Signed::NoOp => Ok(Done {
                changes: [Change::IDLE; 3],
                record: None,
            }),
            Signed::Transfer(signed) => self
                .transfer(signed, terms, claims)
                .map_err(|cause| cause.of(Clause::Transfer)),
            Signed::Withdrawal(signed) => self
                .withdrawal(signed, terms, claims)
                .map_err(|cause| cause.of(Clause::Withdrawal)),
            Signed::Creation(signed) => self
                .creation(signed, terms, claims)
                .map_err(|cause| cause.of(Clause::Creation)),
        }
    }

    fn transfer(
        &mut self,
        signed: &SignedTransfer,
        terms: &Terms,
        claims: &mut Vec<Claim>,
    ) -> Result<Done<3>, Cause> {
        let SignedTransfer { transfer, signature } = signed;
        let (sender, receiver) = self.parties(transfer.from, transfer.to, Some(transfer.token))?;
        timely(&sender, transfer.nonce, transfer.expiry, terms.time)?;
        covers(&sender, transfer.amount.value(), transfer.fee.value())?;
        claims.push(Claim {
            key: sender.owner,
            message: transfer.message_inputs(terms.rollup_id, &receiver),
            signature: *signature,
        });
        let changes = self.move_value(&transfer.effect())?;
        Ok(Done {
            changes,
            record: None,
        })
    }

    fn withdrawal(
        &mut self,
        signed: &SignedWithdrawal,
        terms: &Terms,
        claims: &mut Vec<Claim>,
    ) -> Result<Done<3>, Cause> {
        let SignedWithdrawal {
            withdrawal,
            signature,
        } = signed;
        let sender = self.payer(withdrawal.from, Some(withdrawal.token))?;
        timely(&sender, withdrawal.nonce, withdrawal.expiry, terms.time)?;
        covers(&sender, withdrawal.amount, withdrawal.fee.value())?;
        claims.push(Claim {
            key: sender.owner,
            message: withdrawal.message_inputs(terms.rollup_id, &sender.l1_address),
            signature: *signature,
        });
        let changes = self.burn(withdrawal.from, withdrawal.amount, withdrawal.fee.value())?;
        Ok(Done {
            changes,
            record: Some(withdrawal.record(&sender)),
        })
    }

    fn creation(
        &mut self,
        signed: &SignedCreation,
        terms: &Terms,
        claims: &mut Vec<Claim>,
    ) -> Result<Done<3>, Cause> {
        let SignedCreation { creation, signature } = signed;
        let fee_account = self.vacant(creation.index, creation.token)?;
        claims.push(Claim {
            key: creation.owner,
            message: creation.message_inputs(terms.rollup_id),
            signature: *signature,
        });
        Ok(Done {
            changes: self.create(creation, fee_account),
            record: Some(creation.record()),
        })
    }

    /// Executes an operation of the queue: its code and effect by P-4.11. The record is the one to be posted, with code and executed
    /// amount, whatever those of `record` are.
    ///
    /// # Errors
    /// A balance that reaches `2^128`: not on a state that was reached (P-4.13).
    pub(crate) fn queued(&mut self, record: &Record) -> Result<Done<1>, Violation> {
        let mut record = record.entry();
        let before = self.get(record.index);
        record.code = code(&record, before.as_ref());
        if record.code != 0 {
            let changes = [Change {
                index: record.index,
                before,
                after: before,
            }];
            return Ok(Done {
                changes,
                record: Some(record),
            });
        }
        let after = match (record.kind, before) {
            (Kind::DepositExisting, Some(account)) => {
                let overflow = Cause::ReceiverOverflow {
                    balance: account.balance,
                    amount: record.amount,
                };
                let balance = account.balance.checked_add(record.amount);
                Account {
                    balance: balance.ok_or(overflow.of(Clause::Queue))?,
                    ..account
                }
            }
            (Kind::ForcedExit, Some(account)) => {
                record.amount = account.balance;
                Account {
                    balance: 0,
                    ..account
                }
            }
            (Kind::KeyChange, Some(account)) => Account {
                owner: record.key(),
                ..account
            },
            _ => record.new_account(),
        };
        self.changed.insert(record.index, after);
        Ok(Done {
            changes: [Change {
                index: record.index,
                before,
                after: Some(after),
            }],
            record: Some(record),
        })
    }

    /// Applies what a posted transfer's word says, whose proof has been accepted: only rules without which it has no meaning are
    /// checked.
    pub(crate) fn replay_transfer(&mut self, effect: &Effect) -> Result<(), Violation> {
        let mut apply = || {
            let (sender, _) = self.parties(effect.from, effect.to, None)?;
            covers(&sender, effect.amount.value(), effect.fee.value())?;
            self.move_value(effect)
        };
        apply().map(drop).map_err(|cause| cause.of(Clause::Transfer))
    }

    /// Applies what a posted withdrawal's word and record say. Returns the account that pays, as it was.
    pub(crate) fn replay_withdrawal(
        &mut self,
        from: AccountIndex,
        amount: u128,
        fee: u128,
    ) -> Result<Account, Violation> {
        let mut apply = || {
            let sender = self.payer(from, None)?;
            covers(&sender, amount, fee)?;
            self.burn(from, amount, fee)?;
            Ok(sender)
        };
        apply().map_err(|cause: Cause| cause.of(Clause::Withdrawal))
    }

    /// Applies what a posted creation's word and record say.
    pub(crate) fn replay_creation(&mut self, creation: &Creation) -> Result<(), Violation> {
        let fee_account = self.vacant(creation.index, creation.token);
        let fee_account = fee_account.map_err(|cause| cause.of(Clause::Creation))?;
        self.create(creation, fee_account);
        Ok(())
    }

    /// P-4.4, rules 1 to 4. Returns sender and receiver. Without a token the sender's counts.
    fn parties(
        &self,
        from: AccountIndex,
        to: AccountIndex,
        token: Option<TokenId>,
    ) -> Result<(Account, Account), Cause> {
        let sender = self.get(from).ok_or(Cause::SenderUnknown { index: from })?;
        let receiver = self.get(to).ok_or(Cause::ReceiverUnknown { index: to })?;
        let operation = token.unwrap_or(sender.token);
        if sender.token != operation {
            return Err(Cause::SenderToken {
                operation,
                account: sender.token,
            });
        }
        if receiver.token != operation {
            return Err(Cause::ReceiverToken {
                operation,
                account: receiver.token,
            });
        }
        self.fee_account(operation)?;
        Ok((sender, receiver))
    }

    /// P-4.7, rules 1 to 3. Returns the account that pays. Without a token the account's counts.
    fn payer(&self, from: AccountIndex, token: Option<TokenId>) -> Result<Account, Cause> {
        let sender = self.get(from).ok_or(Cause::SenderUnknown { index: from })?;
        let operation = token.unwrap_or(sender.token);
        if sender.token != operation {
            return Err(Cause::SenderToken {
                operation,
                account: sender.token,
            });
        }
        self.fee_account(operation)?;
        Ok(sender)
    }

    /// P-4.9, rules 1 to 3. Returns the fee account.
    fn vacant(&self, index: AccountIndex, token: TokenId) -> Result<Account, Cause> {
        if !(USER_INDEX_MIN..L1_INDEX_MIN).contains(&index.get()) {
            return Err(Cause::CreationIndex { index });
        }
        if self.get(index).is_some() {
            return Err(Cause::CreationOccupied { index });
        }
        self.fee_account(token)
    }

    fn fee_account(&self, token: TokenId) -> Result<Account, Cause> {
        self.get(AccountIndex::fee_account(token))
            .ok_or(Cause::FeeAccountUnknown { token })
    }

    /// P-4.5, and rule 9 of P-4.4.
    fn move_value(&mut self, effect: &Effect) -> Result<[Change; 3], Cause> {
        let (amount, fee) = (effect.amount.value(), effect.fee.value());
        let sender = self.pay(effect.from, amount, fee)?;
        let receiver = self.credit(effect.to, amount, |balance| Cause::ReceiverOverflow {
            balance,
            amount,
        })?;
        let fee_account = self.credit_fee(&sender, fee)?;
        Ok([sender, receiver, fee_account])
    }

    /// P-4.8, and rule 8 of P-4.7.
    fn burn(&mut self, from: AccountIndex, amount: u128, fee: u128) -> Result<[Change; 3], Cause> {
        let sender = self.pay(from, amount, fee)?;
        let fee_account = self.credit_fee(&sender, fee)?;
        Ok([sender, Change::IDLE, fee_account])
    }

    /// P-4.10. The fee account is read only.
    fn create(&mut self, creation: &Creation, fee_account: Account) -> [Change; 3] {
        let account = creation.account();
        self.changed.insert(creation.index, account);
        let made = Change {
            index: creation.index,
            before: None,
            after: Some(account),
        };
        let read = Change {
            index: AccountIndex::fee_account(creation.token),
            before: Some(fee_account),
            after: Some(fee_account),
        };
        [made, Change::IDLE, read]
    }

    /// The sender's update. Its balance covers the two.
    fn pay(&mut self, index: AccountIndex, amount: u128, fee: u128) -> Result<Change, Cause> {
        self.update(index, |account| {
            Ok(Account {
                nonce: account.nonce.checked_add(1).ok_or(Cause::NonceExhausted)?,
                balance: account.balance - amount - fee,
                ..account
            })
        })
    }

    fn credit_fee(&mut self, sender: &Change, fee: u128) -> Result<Change, Cause> {
        let token = sender.after.expect("the sender was updated").token;
        let index = AccountIndex::fee_account(token);
        self.credit(index, fee, |balance| Cause::FeeOverflow { balance, fee })
    }

    fn credit(
        &mut self,
        index: AccountIndex,
        value: u128,
        overflow: impl FnOnce(u128) -> Cause,
    ) -> Result<Change, Cause> {
        self.update(index, |account| {
            let balance = account.balance.checked_add(value);
            Ok(Account {
                balance: balance.ok_or_else(|| overflow(account.balance))?,
                ..account
            })
        })
    }

    fn update(
        &mut self,
        index: AccountIndex,
        change: impl FnOnce(Account) -> Result<Account, Cause>,
    ) -> Result<Change, Cause> {
        let before = self.get(index).expect("the rules found the account");
        let after = change(before)?;
        self.changed.insert(index, after);
        Ok(Change {
            index,
            before: Some(before),
            after: Some(after),
        })
    }
}

/// The code of an operation of the queue on the account at its index (P-4.11). `u` and `v` count by their residues.
pub fn code(record: &Record, account: Option<&Account>) -> u8 {
    let account = match (record.kind, account) {
        (Kind::DepositNew, Some(_)) => return 1,
        (Kind::DepositNew, None) => return u8::from(record.index == AccountIndex::NONE),
        (_, None) => return 1,
        (_, Some(account)) => account,
    };
    let token = account.token != record.token;
    let conditions = match record.kind {
        Kind::DepositExisting => [
            token,
            account.l1_address_fr() != record.u.to_fr(),
            account.owner.0.y != record.v.to_fr(),
        ],
        Kind::ForcedExit => [token, account.l1_address != record.address, false],
        _ => [false, account.l1_address != record.address, false],
    };
    let first = conditions.into_iter().zip(2..).find(|(holds, _)| *holds);
    first.map_or(0, |(_, code)| code)
}

/// Nonce and expiry.
fn timely(sender: &Account, nonce: u64, expiry: Expiry, time: u64) -> Result<(), Cause> {
    if nonce != sender.nonce {
        return Err(Cause::Nonce {
            expected: sender.nonce,
            found: nonce,
        });
    }
    if nonce == u64::MAX {
        return Err(Cause::NonceExhausted);
    }
    if time > expiry.get() {
        return Err(Cause::Expired { time, expiry });
    }
    Ok(())
}

/// The balance.
fn covers(sender: &Account, amount: u128, fee: u128) -> Result<(), Cause> {
    let rest = sender.balance.checked_sub(amount);
    match rest.and_then(|rest| rest.checked_sub(fee)) {
        Some(_) => Ok(()),
        None => Err(Cause::Balance {
            amount,
            fee,
            available: sender.balance,
        }),
    }
}
