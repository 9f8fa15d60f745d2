//! An account on an L1, and the rollup contract there: deploy, submit, read, follow.
//!
//! [`L1`] is a connection with an endpoint, bounded in all that an endpoint may take ([`Limits`]). Its transactions
//! are [`Call`]s, paid, awaited and replaced as [`Sending`] says. [`Deployment`] is the rollup contract behind it, [`Follower`] reads any
//! contract's logs as the chain goes on and back.

mod bounds;
mod deployment;
mod entries;
mod error;
mod fees;
mod find;
mod follow;
mod leaving;
mod nonces;
mod send;
mod settle;
mod transport;
mod views;

use std::sync::Arc;

use alloy::{
    eips::BlockId,
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::{Block, TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
};

use send::Sender;

pub use bounds::ParameterError;
pub use deployment::{
    Accepted, Addresses, DEFAULT_CONSUMED_MAX, DEFAULT_VERIFIER_GAS_CAP, DeployConfig, DeployGas, Deployment,
    Parts, predict_addresses,
};
pub use entries::{Approval, Done, Entered, TokenAdded};
pub use error::{FailReason, L1Error};
pub use fees::FeeBounds;
pub use find::OnL1;
pub use follow::{FollowError, Follower, Following, Position, Saved, Update};
pub use leaving::{ExitedAccount, FrozenAt};
pub use send::{Call, Sending, Unfinished};
pub use settle::{Obstacle, ProvenBatch, Settled, Standing};
pub use transport::{Limits, endpoint};
pub use views::{Deadlines, Mode, Parameters, Roles, Slot};

use error::refusal;

/// Most gas that one transaction may use since Osaka (EIP-7825).
pub const TRANSACTION_GAS_MAX: u64 = 1 << 24;

/// The private key of the first development account of anvil. Everybody knows it: for local chains only.
pub const ANVIL_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// An account on an L1. Clones share its nonces.
#[derive(Clone, Debug)]
pub struct L1 {
    provider: DynProvider,
    account: Address,
    sender: Option<Arc<Sender>>,
    /// Where calls without a transaction are made.
    as_of: BlockId,
}

/// The address of the account that a private key (hexadecimal, with or without `0x`) calls from.
///
/// # Errors
/// [`L1Error::Key`].
pub fn account_of(private_key: &str) -> Result<Address, L1Error> {
    let signer: PrivateKeySigner = private_key.parse().map_err(|_| L1Error::Key)?;
    Ok(signer.address())
}

impl L1 {
    /// Connects to a JSON-RPC endpoint over HTTP as the account of `private_key` (hexadecimal, with or without `0x`).
    ///
    /// # Errors
    /// [`L1Error::Key`] and [`L1Error::Url`]; nothing is asked of the endpoint yet.
    pub fn connect(url: &str, private_key: &str) -> Result<Self, L1Error> {
        Self::connect_with(url, private_key, &Limits::default(), Sending::default())
    }

    /// [`L1::connect`] with other bounds than the usual ones.
    ///
    /// # Errors
    /// As [`L1::connect`].
    pub fn connect_with(
        url: &str,
        private_key: &str,
        limits: &Limits,
        sending: Sending,
    ) -> Result<Self, L1Error> {
        let signer: PrivateKeySigner = private_key.parse().map_err(|_| L1Error::Key)?;
        let account = signer.address();
        let provider = transport::connect(url, limits)?;
        let sender = Sender::new(provider.clone(), EthereumWallet::from(signer), account, sending);
        Ok(Self {
            provider,
            account,
            sender: Some(Arc::new(sender)),
            as_of: BlockId::pending(),
        })
    }

    /// Connects without an account: to read, and to ask what the contract would say.
    ///
    /// # Errors
    /// [`L1Error::Url`]; nothing is asked of the endpoint yet.
    pub fn reader(url: &str) -> Result<Self, L1Error> {
        Self::reader_with(url, &Limits::default())
    }

    /// [`L1::reader`] with other bounds than the usual ones.
    ///
    /// # Errors
    /// As [`L1::reader`].
    pub fn reader_with(url: &str, limits: &Limits) -> Result<Self, L1Error> {
        Ok(Self {
            provider: transport::connect(url, limits)?,
            account: Address::ZERO,
            sender: None,
            as_of: BlockId::pending(),
        })
    }

    /// The account that pays; zero of one that only reads.
    pub fn account(&self) -> Address {
        self.account
    }

    /// The chain's id.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn chain_id(&self) -> Result<u64, L1Error> {
        Ok(self.provider.get_chain_id().await?)
    }

    /// Time of the latest block, Unix seconds.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn block_time(&self) -> Result<u64, L1Error> {
        Ok(self.latest().await?.header.timestamp)
    }

    /// The hash of the block with that number; none where the endpoint has none yet.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn block_hash(&self, number: u64) -> Result<Option<B256>, L1Error> {
        let block = self.provider.get_block(BlockId::number(number)).await?;
        Ok(block.map(|block| block.header.hash))
    }

    /// How many transactions of the account wait in the endpoint's pool, this program's or another's.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn waiting(&self) -> Result<u64, L1Error> {
        let mined = self.provider.get_transaction_count(self.account).await?;
        let pending = self.provider.get_transaction_count(self.account).pending();
        Ok(pending.await?.saturating_sub(mined))
    }

    /// What this connection's account sent and has not seen land, by nonce.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        self.sender
            .as_ref()
            .map_or_else(Vec::new, |sender| sender.unfinished())
    }

    /// Base fee of the latest block, wei for one gas; 0 on a chain that has none.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn base_fee(&self) -> Result<u64, L1Error> {
        Ok(self.latest().await?.header.base_fee_per_gas.unwrap_or_default())
    }

    async fn latest(&self) -> Result<Block, L1Error> {
        let block = self.provider.get_block(BlockId::latest()).await?;
        block.ok_or_else(|| L1Error::Answer {
            call: "eth_getBlockByNumber",
            reason: "no latest block".to_owned(),
        })
    }

    /// The addresses that [`Deployment::deploy`] by this account with so many verifiers would use now.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn predict(&self, verifiers: usize) -> Result<Addresses, L1Error> {
        let nonce = self.provider.get_transaction_count(self.account).await?;
        Ok(predict_addresses(self.account, nonce, verifiers))
    }

    /// What an account has, wei.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn balance(&self, account: Address) -> Result<U256, L1Error> {
        Ok(self.provider.get_balance(account).await?)
    }

    /// The hard fork that an anvil runs.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`] on another node.
    pub async fn anvil_hard_fork(&self) -> Result<String, L1Error> {
        let info: serde_json::Value = self.provider.raw_request("anvil_nodeInfo".into(), ()).await?;
        let name = info.get("hardFork").and_then(|name| name.as_str());
        let missing = || L1Error::Answer {
            call: "anvil_nodeInfo",
            reason: info.to_string(),
        };
        name.map(str::to_owned).ok_or_else(missing)
    }

    /// Lets `seconds` pass on an anvil: the next block, which is made now, is so much later.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`] on another node.
    pub async fn anvil_pass(&self, seconds: u64) -> Result<(), L1Error> {
        let _: serde_json::Value = self
            .provider
            .raw_request("evm_increaseTime".into(), (seconds,))
            .await?;
        let _: serde_json::Value = self.provider.raw_request("evm_mine".into(), ()).await?;
        Ok(())
    }

    /// The code at an address; none is empty.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn code(&self, at: Address) -> Result<Bytes, L1Error> {
        Ok(self.provider.get_code_at(at).await?)
    }

    /// The same connection, whose calls without a transaction see the chain as it is after this block. Others see the next block's.
    pub(crate) fn as_of(&self, block: u64) -> Self {
        Self {
            as_of: BlockId::number(block),
            ..self.clone()
        }
    }

    /// Calls without a transaction, with all the gas that one may have.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] when the called contract reverts.
    pub async fn call(&self, to: Address, data: Vec<u8>) -> Result<Bytes, L1Error> {
        let request = TransactionRequest::default()
            .with_from(self.account)
            .with_gas_limit(TRANSACTION_GAS_MAX)
            .with_input(data)
            .with_to(to);
        let call = self.provider.call(request).block(self.as_of);
        call.await.map_err(refusal)
    }

    /// Sends a transaction and waits until it has its confirmations. Several may be on their way at once.
    ///
    /// # Errors
    /// Before anything is sent: [`L1Error::NoAccount`], [`L1Error::Rejected`], [`L1Error::FeesAboveCap`],
    /// [`L1Error::Funds`], or [`L1Error::Endpoint`]. After it: [`L1Error::Failed`], [`L1Error::Displaced`] or
    /// [`L1Error::Unconfirmed`].
    pub async fn transact(&self, call: Call) -> Result<TransactionReceipt, L1Error> {
        let sender = self.sender.as_ref().ok_or(L1Error::NoAccount)?;
        sender.transact(call).await
    }
}
