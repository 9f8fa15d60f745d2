//! How money leaves (section 13): claims, and after a freeze exits and refunds.

use alloy::{
    primitives::{Address, B256, U256, aliases::U40},
    sol_types::SolCall,
};
use halo2curves::bn256::Fr;
use rules::{
    account::{Account, AccountIndex},
    digest::Digest,
    outbox::Owed,
    record::{RECORD_ELEMENTS, Record},
    stream::ELEMENT_BYTES,
    tree::Path,
};

use super::{Deployment, L1Error, deployment::field, entries::Done};
use crate::rollup::{IRollup, Rejection, to_u256};

/// A rollup that is frozen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenAt {
    /// The transaction.
    pub done: Done,
    /// Batches that it took.
    pub batches: u64,
    /// Its last state root, which exits are proven against.
    pub root: Fr,
    /// The first entry that was not consumed: deposits from it on can be refunded.
    pub head: u64,
}

/// An account that left a frozen rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitedAccount {
    /// The transaction.
    pub done: Done,
    /// What was paid.
    pub amount: u128,
    /// Whom to: the account's L1 address.
    pub recipient: Address,
}

impl Deployment {
    /// Pays what L1 owes by a batch to its recipient, whoever asks (P-13.2). The siblings are those of [`rules::outbox::Tree`].
    ///
    /// # Errors
    /// [`L1Error::Rejected`] with the contract's reason, or the endpoint's.
    pub async fn claim(&self, owed: &Owed, siblings: &[Digest]) -> Result<Done, L1Error> {
        let call = IRollup::claimCall {
            batch: owed.batch,
            position: owed.position,
            token: owed.token.0,
            amount: owed.amount,
            recipient: Address::from(owed.recipient),
            siblings: siblings.iter().map(|sibling| B256::from(sibling.0)).collect(),
        };
        self.act(call).await
    }

    /// Freezes the rollup for ever, when its oldest entry was not consumed in time (P-13.4).
    ///
    /// # Errors
    /// As [`Deployment::claim`].
    pub async fn freeze(&self) -> Result<FrozenAt, L1Error> {
        let receipt = self.send(IRollup::freezeCall {}, U256::ZERO).await?;
        let event: IRollup::Frozen = self.event(&receipt, IRollup::freezeCall::SIGNATURE)?;
        Ok(FrozenAt {
            done: Done::of(&receipt),
            batches: event.batches,
            root: field(IRollup::freezeCall::SIGNATURE, &event.root)?,
            head: event.head.to(),
        })
    }

    /// Pays an account's balance to its L1 address, whoever asks, once the rollup is frozen (P-13.5). The path is that of the last
    /// state's tree.
    ///
    /// # Errors
    /// As [`Deployment::claim`].
    pub async fn exit(
        &self,
        index: AccountIndex,
        account: &Account,
        path: &Path,
    ) -> Result<ExitedAccount, L1Error> {
        let call = IRollup::exitCall {
            index: index.get(),
            account: IRollup::Account {
                token: account.token.0,
                nonce: account.nonce,
                balance: account.balance,
                ax: to_u256(&account.owner.0.x),
                ay: to_u256(&account.owner.0.y),
                l1Address: Address::from(account.l1_address),
            },
            siblings: path.map(|level| level.map(|sibling| to_u256(&sibling))),
        };
        let receipt = self.send(call, U256::ZERO).await?;
        let event: IRollup::Exited = self.event(&receipt, IRollup::exitCall::SIGNATURE)?;
        Ok(ExitedAccount {
            done: Done::of(&receipt),
            amount: event.amount,
            recipient: event.recipient,
        })
    }

    /// Pays a deposit back that a frozen rollup never consumed, whoever asks (P-13.6). The record is the entry's.
    ///
    /// # Errors
    /// As [`Deployment::claim`].
    pub async fn refund(&self, entry: u64, record: &Record) -> Result<Done, L1Error> {
        let number = U40::try_from(entry);
        // No entry has such a number.
        let entry = number.map_err(|_| L1Error::Rejected(Rejection::NotAnEntry { entry }))?;
        let posted = record.to_bytes();
        let [a0, a1, a2, a3]: [U256; RECORD_ELEMENTS] = std::array::from_fn(|element| {
            let start = element * ELEMENT_BYTES;
            U256::from_be_slice(&posted[start..start + ELEMENT_BYTES])
        });
        self.act(IRollup::refundCall {
            entry,
            a0,
            a1,
            a2,
            a3,
        })
        .await
    }
}
