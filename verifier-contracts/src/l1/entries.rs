//! What enters the queue (section 12), and the roles: transactions of users and operators.

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::TransactionReceipt,
    sol_types::SolCall,
};
use rules::{
    account::{AccountIndex, TokenId},
    eddsa::PublicKey,
    record::{Kind, Record},
};

use super::{Call, Deployment, L1Error};
use crate::{
    events::Entry,
    rollup::{IErc20, IRollup, to_u256},
};

/// ETH's id (P-3.3).
const ETH: TokenId = TokenId(1);
/// The price of token ids doubles after so many (P-12.9).
const IDS_A_STEP: u16 = 4_096;

/// A transaction that did what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its hash.
    pub transaction: B256,
    /// Number of the block that has it.
    pub block: u64,
    /// Gas that it used.
    pub gas_used: u64,
}

impl Done {
    pub(super) fn of(receipt: &TransactionReceipt) -> Self {
        Self {
            transaction: receipt.transaction_hash,
            block: receipt.block_number.unwrap_or_default(),
            gas_used: receipt.gas_used,
        }
    }
}

/// An operation that waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The transaction.
    pub done: Done,
    /// The entry's number.
    pub entry: u64,
    /// Its record as the contract packed it: the index that L1 gave, the amount that arrived.
    pub record: Record,
}

/// A token that has an id now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAdded {
    /// Its id.
    pub id: TokenId,
    /// The entry that makes its fee account.
    pub entered: Entered,
}

/// The leave that a token's holder gives the contract before a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The token.
    pub token: Address,
    /// What the contract may take now.
    pub allowed: U256,
    /// What it is to take.
    pub amount: u128,
}

impl Deployment {
    /// Deposits to a new account of this L1 account, owned by `key` (P-12.4). The record has its index. An ERC-20 needs
    /// [`Deployment::approve`] before.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] with the contract's reason, or the endpoint's.
    pub async fn deposit_new(
        &self,
        token: TokenId,
        amount: u128,
        key: &PublicKey,
    ) -> Result<Entered, L1Error> {
        let call = IRollup::depositNewCall {
            token: token.0,
            amount,
            ax: to_u256(&key.0.x),
            ay: to_u256(&key.0.y),
        };
        let value = self.entry_value(Kind::DepositNew).await? + ether(token, amount);
        self.enter(call, value).await
    }

    /// Deposits to an existing account, if it has that L1 address and key when the entry is executed; else this L1 account can claim
    /// the amount (P-12.6). An ERC-20 needs [`Deployment::approve`] before.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn deposit_to(
        &self,
        token: TokenId,
        amount: u128,
        index: AccountIndex,
        l1_address: Address,
        key: &PublicKey,
    ) -> Result<Entered, L1Error> {
        let call = IRollup::depositToCall {
            token: token.0,
            amount,
            index: index.get(),
            l1Address: l1_address,
            ay: to_u256(&key.0.y),
        };
        let value = self.entry_value(Kind::DepositExisting).await? + ether(token, amount);
        self.enter(call, value).await
    }

    /// Makes an account's whole balance a withdrawal, if this L1 account is its L1 address.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn force_exit(&self, index: AccountIndex, token: TokenId) -> Result<Entered, L1Error> {
        let call = IRollup::forceExitCall {
            index: index.get(),
            token: token.0,
        };
        let value = self.entry_value(Kind::ForcedExit).await?;
        self.enter(call, value).await
    }

    /// Gives an account another owner, if this L1 account is its L1 address.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn change_key(&self, index: AccountIndex, key: &PublicKey) -> Result<Entered, L1Error> {
        let call = IRollup::changeKeyCall {
            index: index.get(),
            ax: to_u256(&key.0.x),
            ay: to_u256(&key.0.y),
        };
        let value = self.entry_value(Kind::KeyChange).await?;
        self.enter(call, value).await
    }

    /// Gives a token the next id, for [`Deployment::token_price`].
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn add_token(&self, token: Address) -> Result<TokenAdded, L1Error> {
        let value = self.entry_value(Kind::DepositNew).await? + self.token_price().await?;
        let entered = self.enter(IRollup::addTokenCall { token }, value).await?;
        let id = entered.record.token;
        Ok(TokenAdded { id, entered })
    }

    /// Wei that the next token's id costs beside its entry (P-12.9).
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn token_price(&self) -> Result<U256, L1Error> {
        let price: U256 = self.read(IRollup::tokenPriceCall {}).await?;
        let next = self.last_token().await?.0.saturating_add(1);
        Ok(price << usize::from(next / IDS_A_STEP))
    }

    /// What [`Deployment::approve`] would have to give before a deposit; none for ETH, or where the contract may take so much already.
    ///
    /// # Errors
    /// [`L1Error::Answer`] for a token that does not answer as an ERC-20 does, or that has no id.
    pub async fn approval(&self, token: TokenId, amount: u128) -> Result<Option<Approval>, L1Error> {
        if token == ETH {
            return Ok(None);
        }
        let address = self.token_at(token).await?;
        let call = IErc20::allowanceCall {
            owner: self.l1().account(),
            spender: self.rollup(),
        };
        let answer = self.l1().call(address, call.abi_encode()).await?;
        let allowed = IErc20::allowanceCall::abi_decode_returns(&answer);
        let allowed: U256 = allowed.map_err(|error| L1Error::Answer {
            call: IErc20::allowanceCall::SIGNATURE,
            reason: format!("token {token} at {address}: {error}"),
        })?;
        Ok((allowed < U256::from(amount)).then_some(Approval {
            token: address,
            allowed,
            amount,
        }))
    }

    /// Lets the contract take the amount: a transaction, or two, since some tokens let only an allowance of 0 be changed.
    ///
    /// # Errors
    /// The token's refusal, or the endpoint's.
    pub async fn approve(&self, approval: &Approval) -> Result<Vec<Done>, L1Error> {
        let amounts = [U256::ZERO, U256::from(approval.amount)];
        let first = usize::from(approval.allowed.is_zero());
        let mut done = Vec::new();
        for value in &amounts[first..] {
            let call = IErc20::approveCall {
                spender: self.rollup(),
                value: *value,
            };
            // What it answers is not looked at: some answer nothing, and the deposit says whether it may take the amount.
            let receipt = self
                .l1()
                .transact(Call::new(approval.token, call.abi_encode()))
                .await?;
            done.push(Done::of(&receipt));
        }
        Ok(done)
    }

    /// Pays the prices of entries to the fee address: [`Deployment::fees`].
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn collect_fees(&self) -> Result<Done, L1Error> {
        self.act(IRollup::collectFeesCall {}).await
    }

    /// Names who is to be operator; zero takes it back.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn transfer_operator(&self, to: Address) -> Result<Done, L1Error> {
        self.act(IRollup::transferOperatorCall { to }).await
    }

    /// Takes the role of the operator, which its holder handed on to this L1 account.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn accept_operator(&self) -> Result<Done, L1Error> {
        self.act(IRollup::acceptOperatorCall {}).await
    }

    /// Calls a function that takes no wei. Those that have no method here, the governor's and the guardian's, are called so too.
    ///
    /// # Errors
    /// As [`Deployment::deposit_new`].
    pub async fn act<C: SolCall>(&self, call: C) -> Result<Done, L1Error> {
        Ok(Done::of(&self.send(call, U256::ZERO).await?))
    }

    /// Twice what an entry costs now, since the base fee may rise until the transaction is mined: what is too much, the contract
    /// gives back (P-12.3).
    async fn entry_value(&self, kind: Kind) -> Result<U256, L1Error> {
        Ok(self.price(kind).await?.saturating_mul(U256::from(2)))
    }

    async fn enter<C: SolCall>(&self, call: C, value: U256) -> Result<Entered, L1Error> {
        let receipt = self.send(call, value).await?;
        let event: IRollup::Queued = self.event(&receipt, C::SIGNATURE)?;
        let entry = Entry::of(&event).map_err(|error| L1Error::Answer {
            call: C::SIGNATURE,
            reason: error.to_string(),
        })?;
        Ok(Entered {
            done: Done::of(&receipt),
            entry: entry.number,
            record: entry.record,
        })
    }
}

/// The wei of a deposit.
fn ether(token: TokenId, amount: u128) -> U256 {
    match token {
        ETH => U256::from(amount),
        _ => U256::ZERO,
    }
}
