//! The driver of the rollup contract on an L1: deploy, submit, read.

use std::{error::Error, time::Duration};

use alloy::{
    eips::BlockId,
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent, SolValue},
    transports::{
        TransportError,
        http::reqwest::{Client, Url},
    },
};
use halo2curves::bn256::Fr;
use thiserror::Error;

use crate::{
    rollup::{IRollup, Rejection, RootSubmission, from_u256, to_u256},
    solc::Code,
    verifier::CompiledVerifier,
};

/// Most gas that one transaction may use since Osaka (EIP-7825).
pub const TRANSACTION_GAS_MAX: u64 = 1 << 24;

/// Longest time for a connection with an endpoint.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest time for one answer of it.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The private key of the first development account of anvil. Everybody knows it: for local chains only.
pub const ANVIL_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Why L1 did not do what was asked.
#[derive(Debug, Error)]
pub enum L1Error {
    /// The private key is not one.
    #[error("the L1 account's private key is not 32 bytes of hexadecimal in the curve's range")]
    Key,
    /// The endpoint's address is none. It is not repeated: a password or a provider's key may be in it.
    #[error(
        "an L1 endpoint's address is a URL that begins with http:// or https://, such as http://127.0.0.1:8545"
    )]
    Url,
    /// The endpoint cannot be reached, or refused the call for a reason of its own.
    #[error("the L1 endpoint: {0}")]
    Endpoint(String),
    /// The contract refused.
    #[error("the rollup contract refused: {0}")]
    Rejected(Rejection),
    /// The transaction was mined and failed, although the same call had succeeded just before.
    #[error("transaction {transaction} failed on L1 with {gas_used} gas used")]
    Failed {
        /// Its hash.
        transaction: B256,
        /// Gas that it used.
        gas_used: u64,
    },
    /// The transaction was sent, but its receipt could not be had.
    #[error("transaction {transaction} was sent, its receipt is not known: {reason}")]
    NoReceipt {
        /// Its hash.
        transaction: B256,
        /// The cause.
        reason: String,
    },
    /// L1 answered something that this contract cannot answer.
    #[error("the answer of L1 to {call} is not the rollup contract's: {reason}")]
    Answer {
        /// What was asked.
        call: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl From<TransportError> for L1Error {
    /// What went wrong, down to its cause, without the endpoint's address.
    fn from(error: TransportError) -> Self {
        let mut told = without_url(&error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let said = without_url(&cause.to_string());
            if !told.contains(&said) {
                told = format!("{told}: {said}");
            }
            source = cause.source();
        }
        Self::Endpoint(told)
    }
}

/// The text without the address that the HTTP client puts into its errors: providers' keys are in it.
fn without_url(text: &str) -> String {
    const BEFORE: &str = " for url (";
    match text.split_once(BEFORE) {
        Some((before, rest)) => {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            format!("{before}{}", without_url(after))
        }
        None => text.to_owned(),
    }
}

/// An endpoint's address.
///
/// # Errors
/// [`L1Error::Url`] unless HTTP can be spoken there.
pub fn endpoint(url: &str) -> Result<Url, L1Error> {
    let parsed: Url = url.parse().map_err(|_| L1Error::Url)?;
    let is_http = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    is_http.then_some(parsed).ok_or(L1Error::Url)
}

/// An HTTP client that waits for no endpoint without end.
fn client(builder: alloy::transports::http::reqwest::ClientBuilder) -> Client {
    let bounded = builder.connect_timeout(CONNECT_MAX).timeout(ANSWER_MAX);
    bounded.build().expect("times alone were set")
}

/// Where a deployer's next two contracts will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The generated verifier.
    pub verifier: Address,
    /// The rollup contract.
    pub rollup: Address,
}

/// The addresses of a [`Deployment`] by `deployer` whose next transaction has `nonce`. The rollup's address is part
/// of every signed message, so it must be known before the first one (P-5.2).
pub fn predict_addresses(deployer: Address, nonce: u64) -> Addresses {
    Addresses {
        verifier: deployer.create(nonce),
        rollup: deployer.create(nonce + 1),
    }
}

/// An account on an L1.
#[derive(Clone, Debug)]
pub struct L1 {
    provider: DynProvider,
    account: Address,
}

impl L1 {
    /// Connects to a JSON-RPC endpoint over HTTP as the account of `private_key` (hexadecimal, with or without `0x`).
    ///
    /// # Errors
    /// [`L1Error::Key`] and [`L1Error::Url`]; nothing is asked of the endpoint yet.
    pub fn connect(url: &str, private_key: &str) -> Result<Self, L1Error> {
        let signer: PrivateKeySigner = private_key.parse().map_err(|_| L1Error::Key)?;
        let account = signer.address();
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .with_reqwest(endpoint(url)?, client)
            .erased();
        Ok(Self { provider, account })
    }

    /// Connects without an account: to read, and to ask what the contract would say.
    ///
    /// # Errors
    /// [`L1Error::Url`]; nothing is asked of the endpoint yet.
    pub fn reader(url: &str) -> Result<Self, L1Error> {
        Ok(Self {
            provider: ProviderBuilder::new()
                .with_reqwest(endpoint(url)?, client)
                .erased(),
            account: Address::ZERO,
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
        let block = self.provider.get_block(BlockId::latest()).await?;
        let missing = || L1Error::Answer {
            call: "eth_getBlockByNumber",
            reason: "no latest block".to_owned(),
        };
        Ok(block.ok_or_else(missing)?.header.timestamp)
    }

    /// The addresses that [`Deployment::deploy`] by this account would use now.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn predict(&self) -> Result<Addresses, L1Error> {
        let nonce = self.provider.get_transaction_count(self.account).await?;
        Ok(predict_addresses(self.account, nonce))
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

    /// Calls without a transaction, with all the gas that one may have.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] when the called contract reverts.
    pub async fn call(&self, to: Address, data: Vec<u8>) -> Result<Bytes, L1Error> {
        let request = self.request(data).with_to(to);
        self.provider.call(request).await.map_err(refusal)
    }

    /// Sends a transaction and waits until it is in a block.
    async fn send(&self, request: TransactionRequest) -> Result<TransactionReceipt, L1Error> {
        let pending = self.provider.send_transaction(request).await.map_err(refusal)?;
        let transaction = *pending.tx_hash();
        let receipt = pending.get_receipt().await;
        let receipt = receipt.map_err(|error| L1Error::NoReceipt {
            transaction,
            reason: error.to_string(),
        })?;
        if !receipt.status() {
            return Err(L1Error::Failed {
                transaction,
                gas_used: receipt.gas_used,
            });
        }
        Ok(receipt)
    }

    async fn create(&self, code: Vec<u8>) -> Result<TransactionReceipt, L1Error> {
        self.send(self.request(Vec::new()).with_deploy_code(code)).await
    }

    /// The limit is fixed: an estimate would run the verifier many times, and what is not used costs nothing.
    fn request(&self, data: Vec<u8>) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(self.account)
            .with_gas_limit(TRANSACTION_GAS_MAX)
            .with_input(data)
    }
}

/// Gas that the verifier is called with at most, unless an operator says otherwise: more than twice what those of the presets need.
pub const DEFAULT_VERIFIER_GAS_CAP: u64 = 1_000_000;

/// The greatest age of a batch, unless an operator says otherwise: a day.
pub const DEFAULT_BATCH_AGE_S_MAX: u64 = 86_400;

/// What the rollup contract is deployed with.
#[derive(Clone, Copy, Debug)]
pub struct DeployConfig {
    /// Root of the genesis state.
    pub genesis_root: Fr,
    /// Most gas that the verifier is called with.
    pub verifier_gas_cap: u64,
    /// Oldest that a batch's time may be, seconds.
    pub batch_age_s_max: u64,
}

impl DeployConfig {
    /// [`DEFAULT_VERIFIER_GAS_CAP`] and [`DEFAULT_BATCH_AGE_S_MAX`].
    pub fn new(genesis_root: Fr) -> Self {
        Self {
            genesis_root,
            verifier_gas_cap: DEFAULT_VERIFIER_GAS_CAP,
            batch_age_s_max: DEFAULT_BATCH_AGE_S_MAX,
        }
    }
}

/// What deploying cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeployGas {
    /// Gas of the verifier's creation.
    pub verifier: u64,
    /// Gas of the rollup contract's creation.
    pub rollup: u64,
}

/// A batch that L1 accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The transaction's hash.
    pub transaction: B256,
    /// Number of the block that has it.
    pub block: u64,
    /// Batch number, as the event has it.
    pub number: u64,
    /// State root before, as the event has it.
    pub old_root: Fr,
    /// State root after, as the event has it.
    pub new_root: Fr,
    /// Gas of the call of the verifier.
    pub verifier_gas: u64,
    /// Gas of the whole transaction.
    pub gas_used: u64,
    /// Bytes of the transaction's calldata.
    pub calldata_bytes: usize,
}

/// A deployed rollup contract.
#[derive(Clone, Debug)]
pub struct Deployment {
    l1: L1,
    addresses: Addresses,
}

impl Deployment {
    /// Deploys the verifier, then the rollup contract, at the addresses of [`L1::predict`].
    ///
    /// # Errors
    /// [`L1Error::Rejected`] with the constructor's reason, or the endpoint's.
    pub async fn deploy(
        l1: &L1,
        verifier: &CompiledVerifier,
        rollup: &Code,
        config: &DeployConfig,
    ) -> Result<(Self, DeployGas), L1Error> {
        let created = l1.create(verifier.code.creation.clone()).await?;
        let verifier_at = created_address(&created)?;
        let (deployment, gas) = Self::deploy_over(l1, verifier_at, verifier, rollup, config).await?;
        Ok((
            deployment,
            DeployGas {
                verifier: created.gas_used,
                rollup: gas,
            },
        ))
    }

    /// Deploys the rollup contract over a verifier that is at `verifier_at` already. Returns the gas of the creation
    /// too.
    ///
    /// # Errors
    /// As [`Deployment::deploy`].
    pub async fn deploy_over(
        l1: &L1,
        verifier_at: Address,
        verifier: &CompiledVerifier,
        rollup: &Code,
        config: &DeployConfig,
    ) -> Result<(Self, u64), L1Error> {
        let arguments = (
            verifier_at,
            verifier.vk_digest,
            to_u256(&config.genesis_root),
            U256::from(config.verifier_gas_cap),
            U256::from(config.batch_age_s_max),
        );
        let code = [rollup.creation.as_slice(), &arguments.abi_encode_params()].concat();
        let probe = l1.request(Vec::new()).with_deploy_code(code.clone());
        l1.provider.call(probe).await.map_err(refusal)?;
        let receipt = l1.create(code).await?;
        let rollup = created_address(&receipt)?;
        Ok((
            Self {
                l1: l1.clone(),
                addresses: Addresses {
                    verifier: verifier_at,
                    rollup,
                },
            },
            receipt.gas_used,
        ))
    }

    /// A rollup contract that is deployed already.
    ///
    /// # Errors
    /// [`L1Error::Answer`] when there is no such contract at the address.
    pub async fn at(l1: &L1, rollup: Address) -> Result<Self, L1Error> {
        let addresses = Addresses {
            verifier: Address::ZERO,
            rollup,
        };
        let mut deployment = Self {
            l1: l1.clone(),
            addresses,
        };
        deployment.addresses.verifier = deployment.read(IRollup::verifierCall {}).await?;
        Ok(deployment)
    }

    /// Where the contracts are.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The account and chain that it is used through.
    pub fn l1(&self) -> &L1 {
        &self.l1
    }

    /// The state root on L1.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for a value that is no field element.
    pub async fn state_root(&self) -> Result<Fr, L1Error> {
        field(
            IRollup::stateRootCall::SIGNATURE,
            &self.read(IRollup::stateRootCall {}).await?,
        )
    }

    /// The number that the next batch must have.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`].
    pub async fn next_batch_number(&self) -> Result<u64, L1Error> {
        self.read(IRollup::nextBatchNumberCall {}).await
    }

    /// Calls a view function of the contract.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] when it reverts, [`L1Error::Answer`] when the answer is not of its type.
    pub async fn read<C: SolCall>(&self, call: C) -> Result<C::Return, L1Error> {
        let data = self.l1.call(self.addresses.rollup, call.abi_encode()).await?;
        C::abi_decode_returns(&data).map_err(|error| L1Error::Answer {
            call: C::SIGNATURE,
            reason: error.to_string(),
        })
    }

    /// Asks whether the contract would accept, without a transaction. It takes the raw call, so that a caller can
    /// try what [`RootSubmission`] cannot express.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] with the contract's reason.
    pub async fn check(&self, call: &IRollup::submitBatchCall) -> Result<(), L1Error> {
        self.l1
            .call(self.addresses.rollup, call.abi_encode())
            .await
            .map(|_| ())
    }

    /// Submits a batch and waits until L1 has it. It is tried without a transaction first: a refused batch costs
    /// nothing and gives the exact reason.
    ///
    /// # Errors
    /// [`L1Error::Rejected`] with the contract's reason, or the endpoint's.
    pub async fn submit_batch(&self, submission: &RootSubmission) -> Result<Accepted, L1Error> {
        let call = submission.to_call();
        self.check(&call).await?;
        let data = call.abi_encode();
        let calldata_bytes = data.len();
        let receipt = self
            .l1
            .send(self.l1.request(data).with_to(self.addresses.rollup))
            .await?;
        let event = receipt
            .inner
            .logs()
            .iter()
            .filter(|log| log.address() == self.addresses.rollup)
            .find_map(|log| IRollup::BatchAccepted::decode_log(&log.inner).ok());
        let event = event.ok_or_else(|| L1Error::Answer {
            call: IRollup::submitBatchCall::SIGNATURE,
            reason: "the transaction has no BatchAccepted event".to_owned(),
        })?;
        Ok(Accepted {
            transaction: receipt.transaction_hash,
            block: receipt.block_number.unwrap_or_default(),
            number: event.number,
            old_root: field(IRollup::BatchAccepted::SIGNATURE, &event.oldRoot)?,
            new_root: field(IRollup::BatchAccepted::SIGNATURE, &event.newRoot)?,
            verifier_gas: event.verifierGas.saturating_to(),
            gas_used: receipt.gas_used,
            calldata_bytes,
        })
    }
}

fn created_address(receipt: &TransactionReceipt) -> Result<Address, L1Error> {
    let missing = || L1Error::Answer {
        call: "contract creation",
        reason: format!("transaction {} created nothing", receipt.transaction_hash),
    };
    receipt.contract_address.ok_or_else(missing)
}

fn field(call: &'static str, value: &U256) -> Result<Fr, L1Error> {
    let reason = || format!("{value} is no field element");
    from_u256(value).ok_or_else(|| L1Error::Answer {
        call,
        reason: reason(),
    })
}

/// A revert becomes the contract's reason, anything else stays the endpoint's.
fn refusal(error: TransportError) -> L1Error {
    match error
        .as_error_resp()
        .and_then(|response| response.as_revert_data())
    {
        Some(data) => L1Error::Rejected(Rejection::decode(&data)),
        None => error.into(),
    }
}
