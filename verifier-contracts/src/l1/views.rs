//! What the rollup contract says of itself.

use alloy::{
    primitives::{Address, B256, U256, aliases::U40},
    sol_types::SolCall,
};
use halo2curves::bn256::Fr;
use rules::{
    account::{AccountIndex, TokenId},
    babyjub::Point,
    digest::Digest,
    eddsa::PublicKey,
    record::{Kind, QueueHash},
};

use super::{Deployment, L1Error, deployment::field};
use crate::{
    events,
    rollup::{IRollup, Rejection},
};

/// `G`, `s`, `free` and `feeMin` of P-12.3, as `contracts/Inbox.sol` has them.
const ENTRY_GAS: u64 = 30_000;
const PENDING_GAS: u64 = 1_000;
const FREE_PENDING: u64 = 1_024;
const BASE_FEE_MIN: u64 = 100_000_000;
/// Bits of the rolling hash in an entry's slot.
const HASH_BITS: usize = 216;

/// Who may submit, and whether anything is taken at all (P-9.9, P-13.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The operator alone submits.
    Normal,
    /// Anybody submits who consumes an entry.
    Enforced,
    /// Nothing enters or is consumed any more; accounts leave by exits.
    Frozen,
}

/// What the constructor fixed (P-17.1). Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `D`.
    pub due_after_s: u64,
    /// `S`.
    pub silence_s: u64,
    /// `F`.
    pub freeze_after_s: u64,
    /// `MAX`.
    pub consumed_max: u64,
    /// Oldest that a batch's time may be.
    pub batch_age_s_max: u64,
    /// The governor's.
    pub delay_s: u64,
    /// Wei for a token id below 4,096.
    pub token_price: U256,
    /// L1 address of the fee accounts.
    pub fee_address: Address,
    /// Owner of the fee accounts.
    pub fee_key: PublicKey,
}

/// Who has which role, and who was named to follow; zero is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Submits.
    pub operator: Address,
    /// Was named to be operator.
    pub pending_operator: Address,
    /// Adds and retires verifiers.
    pub governor: Address,
    /// Was named to be governor.
    pub pending_governor: Address,
    /// Disables verifiers and pauses deposits.
    pub guardian: Address,
    /// Was named to be guardian.
    pub pending_guardian: Address,
}

/// What the contract keeps of an entry (P-12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The rolling hash over all entries up to it.
    pub hash: QueueHash,
    /// Block time at which it came; 0 where no entry has the number.
    pub time: u64,
}

/// The seconds from which on something may be done about an entry that is not consumed (P-17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// It came.
    pub entered: u64,
    /// It is due: a batch must consume it, and, once it is the oldest, anybody may submit one.
    pub due: u64,
    /// Once it is the oldest, anybody may freeze the rollup.
    pub freeze: u64,
}

impl Deployment {
    /// The state root on L1.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for a value that is no field element.
    pub async fn state_root(&self) -> Result<Fr, L1Error> {
        let root = self.read(IRollup::stateRootCall {}).await?;
        field(IRollup::stateRootCall::SIGNATURE, &root)
    }

    /// The number that the next batch must have: so many were accepted.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn next_batch_number(&self) -> Result<u64, L1Error> {
        self.read(IRollup::nextBatchNumberCall {}).await
    }

    /// How many batches the latest block has: what waits in the endpoint's pool is not counted.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn accepted_batches(&self) -> Result<u64, L1Error> {
        let head = self.l1().latest().await?.header.number;
        self.as_of(head).next_batch_number().await
    }

    /// Time `T` of the last batch, 0 before the first.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn last_batch_time(&self) -> Result<u64, L1Error> {
        self.read(IRollup::lastBatchTimeCall {}).await
    }

    /// Block time of the last acceptance, at first of the deployment.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn accepted_at(&self) -> Result<u64, L1Error> {
        self.read(IRollup::acceptedAtCall {}).await
    }

    /// Who may submit now.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn mode(&self) -> Result<Mode, L1Error> {
        match self.read(IRollup::modeCall {}).await? {
            IRollup::Mode::Normal => Ok(Mode::Normal),
            IRollup::Mode::Enforced => Ok(Mode::Enforced),
            IRollup::Mode::Frozen => Ok(Mode::Frozen),
            _ => Err(L1Error::Answer {
                call: IRollup::modeCall::SIGNATURE,
                reason: "there is no such mode".to_owned(),
            }),
        }
    }

    /// Wei that an entry of that kind costs at the latest block's base fee (P-12.3). It is computed here: nodes disagree on which base
    /// fee a call without a transaction sees.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] for a kind that is not the queue's.
    pub async fn price(&self, kind: Kind) -> Result<U256, L1Error> {
        let (head, tail) = self.queue_bounds().await?;
        if !kind.is_queued() {
            let (record, kind) = (U256::from(tail), U256::from(kind.number()));
            return Err(L1Error::Rejected(Rejection::NoSuchKind { record, kind }));
        }
        let gas = entry_gas(kind, tail.saturating_sub(head));
        let base_fee = self.l1().base_fee().await?.max(BASE_FEE_MIN);
        Ok(U256::from(base_fee).saturating_mul(U256::from(gas)))
    }

    /// The oldest entry that is not consumed, and the number of the next.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn queue_bounds(&self) -> Result<(u64, u64), L1Error> {
        let bounds = self.read(IRollup::queueBoundsCall {}).await?;
        Ok((bounds.head.to(), bounds.tail.to()))
    }

    /// What the contract keeps of an entry.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn slot(&self, entry: u64) -> Result<Slot, L1Error> {
        let entry = U256::from(entry);
        let word: U256 = self.read(IRollup::queueCall { entry }).await?;
        let mut hash = [0; 27];
        hash.copy_from_slice(&word.to_be_bytes::<32>()[5..]);
        Ok(Slot {
            hash: QueueHash(hash),
            time: (word >> HASH_BITS).to(),
        })
    }

    /// An entry's deadlines; none where no entry has the number.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn deadlines(&self, entry: u64) -> Result<Option<Deadlines>, L1Error> {
        let entered = self.slot(entry).await?.time;
        if entered == 0 {
            return Ok(None);
        }
        let due = entered + self.read(IRollup::dueAfterCall {}).await?;
        let freeze = due + self.read(IRollup::freezeAfterCall {}).await?;
        Ok(Some(Deadlines { entered, due, freeze }))
    }

    /// Root of the tree of what a batch owes; none where it owes nothing.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn withdrawals_root(&self, batch: u64) -> Result<Option<Digest>, L1Error> {
        let root = self.read(IRollup::withdrawalsRootCall { batch }).await?;
        Ok(events::digest(root))
    }

    /// The token with an id; zero for ETH, which has id 1, and for none.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn token_at(&self, id: TokenId) -> Result<Address, L1Error> {
        self.read(IRollup::tokenAtCall { id: id.0 }).await
    }

    /// A token's id, if it has one.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn token_id(&self, token: Address) -> Result<Option<TokenId>, L1Error> {
        let id: u16 = self.read(IRollup::tokenIdCall { token }).await?;
        Ok((id != 0).then_some(TokenId(id)))
    }

    /// The last id that was given to a token.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn last_token(&self) -> Result<TokenId, L1Error> {
        Ok(TokenId(self.read(IRollup::tokensCall {}).await?))
    }

    /// What the contract holds of a token for its users.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn escrow(&self, token: TokenId) -> Result<u128, L1Error> {
        let token = token.0;
        self.read(IRollup::escrowCall { token }).await
    }

    /// Wei that [`Deployment::collect_fees`] would pay now: what the contract has beside the escrow of ETH.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn fees(&self) -> Result<U256, L1Error> {
        let held = self.l1().balance(self.rollup()).await?;
        let escrow = self.escrow(TokenId(1)).await?;
        Ok(held.saturating_sub(U256::from(escrow)))
    }

    /// Whether a withdrawal was paid.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn claimed(&self, batch: u64, position: u32) -> Result<bool, L1Error> {
        self.read(IRollup::claimedCall { batch, position }).await
    }

    /// Whether an account left the frozen rollup.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn exited(&self, index: AccountIndex) -> Result<bool, L1Error> {
        let index = index.get();
        self.read(IRollup::exitedCall { index }).await
    }

    /// Whether a deposit was paid back after a freeze.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn refunded(&self, entry: u64) -> Result<bool, L1Error> {
        match U40::try_from(entry) {
            Ok(entry) => self.read(IRollup::refundedCall { entry }).await,
            Err(_) => Ok(false),
        }
    }

    /// Deposits are refused before this second.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn paused_until(&self) -> Result<u64, L1Error> {
        self.read(IRollup::pausedUntilCall {}).await
    }

    /// What the constructor fixed.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for a key that is none.
    pub async fn parameters(&self) -> Result<Parameters, L1Error> {
        let (x, y) = (
            self.read(IRollup::feeKeyXCall {}).await?,
            self.read(IRollup::feeKeyYCall {}).await?,
        );
        let fee_key = PublicKey(Point {
            x: field(IRollup::feeKeyXCall::SIGNATURE, &x)?,
            y: field(IRollup::feeKeyYCall::SIGNATURE, &y)?,
        });
        Ok(Parameters {
            due_after_s: self.read(IRollup::dueAfterCall {}).await?,
            silence_s: self.read(IRollup::silenceCall {}).await?,
            freeze_after_s: self.read(IRollup::freezeAfterCall {}).await?,
            consumed_max: self.read(IRollup::consumedMaxCall {}).await?,
            batch_age_s_max: self.read(IRollup::batchAgeMaxCall {}).await?,
            delay_s: self.read(IRollup::delayCall {}).await?,
            token_price: self.read(IRollup::tokenPriceCall {}).await?,
            fee_address: self.read(IRollup::feeAddressCall {}).await?,
            fee_key,
        })
    }

    /// Who has which role.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn roles(&self) -> Result<Roles, L1Error> {
        Ok(Roles {
            operator: self.read(IRollup::operatorCall {}).await?,
            pending_operator: self.read(IRollup::pendingOperatorCall {}).await?,
            governor: self.read(IRollup::governorCall {}).await?,
            pending_governor: self.read(IRollup::pendingGovernorCall {}).await?,
            guardian: self.read(IRollup::guardianCall {}).await?,
            pending_guardian: self.read(IRollup::pendingGuardianCall {}).await?,
        })
    }

    /// All verifiers that were registered, by number.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for more than there can be.
    pub async fn verifiers(&self) -> Result<Vec<IRollup::Verifier>, L1Error> {
        let count: U256 = self.read(IRollup::verifiersCall {}).await?;
        if count > U256::from(256) {
            return Err(L1Error::Answer {
                call: IRollup::verifiersCall::SIGNATURE,
                reason: format!("{count} verifiers, there are 256 at most"),
            });
        }
        let mut verifiers = Vec::new();
        for id in 0..count.to::<u16>() {
            let id = u8::try_from(id).expect("below 256");
            verifiers.push(self.read(IRollup::verifierCall { id }).await?);
        }
        Ok(verifiers)
    }

    /// The number of a verifier of that key that is in force at the latest block (P-14.4): the last one.
    ///
    /// # Errors
    /// [`L1Error::NoVerifier`].
    pub async fn verifier_of(&self, vk_digest: B256) -> Result<u8, L1Error> {
        let now = self.l1().block_time().await?;
        let verifiers = self.verifiers().await?;
        let found = verifiers.iter().rposition(|verifier| {
            let within = verifier.activeFrom <= now && now < verifier.retiredAt;
            within && !verifier.disabled && verifier.vkDigest == vk_digest
        });
        let none = L1Error::NoVerifier {
            rollup: self.rollup(),
            vk_digest,
        };
        let found = found.ok_or(none)?;
        Ok(u8::try_from(found).expect("there are 256 at most"))
    }
}

/// The gas that an entry's price is of, where so many wait.
fn entry_gas(kind: Kind, pending: u64) -> u64 {
    let own = match kind {
        Kind::DepositNew | Kind::DepositExisting => 0,
        _ => ENTRY_GAS,
    };
    own.saturating_add(PENDING_GAS.saturating_mul(pending.saturating_sub(FREE_PENDING)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrys_price_is_the_contracts() {
        let source = include_str!("../../contracts/Inbox.sol");
        for (name, value) in [
            ("ENTRY_GAS", "30_000"),
            ("PENDING_GAS", "1_000"),
            ("FREE_PENDING", "1_024"),
            ("BASE_FEE_MIN", "10 ** 8"),
        ] {
            assert!(source.contains(&format!("constant {name} = {value};")), "{name}");
        }
        assert_eq!(BASE_FEE_MIN, 10u64.pow(8));
        for (kind, pending, gas) in [
            (Kind::DepositNew, 1_024, 0),
            (Kind::DepositExisting, 1_025, 1_000),
            (Kind::ForcedExit, 0, 30_000),
            (Kind::KeyChange, 1_124, 130_000),
        ] {
            assert_eq!(entry_gas(kind, pending), gas);
        }
    }
}
