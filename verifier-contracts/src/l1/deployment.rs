//! The rollup contract on an L1: deploy, submit, read.

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::TransactionReceipt,
    sol_types::{SolCall, SolEvent, SolValue},
};
use halo2curves::bn256::Fr;

use super::{Call, L1, L1Error, TRANSACTION_GAS_MAX};
use crate::{
    rollup::{IRollup, RootSubmission, from_u256, to_u256},
    solc::Code,
    verifier::CompiledVerifier,
};

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
        let created = l1.transact(Call::create(verifier.code.creation.clone())).await?;
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
        let receipt = l1.transact(Call::create(code)).await?;
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
        // An estimate would run the verifier many times, and gas that is not used costs nothing.
        let call = Call::new(self.addresses.rollup, data).with_gas(TRANSACTION_GAS_MAX);
        let receipt = self.l1.transact(call).await?;
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
