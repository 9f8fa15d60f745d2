//! The rollup contract on an L1: deploy, submit, call.

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    rpc::types::TransactionReceipt,
    sol_types::{SolCall, SolEvent, SolValue},
};
use halo2curves::bn256::Fr;
use rules::{digest::Digest, eddsa::PublicKey};

use super::{Call, L1, L1Error, TRANSACTION_GAS_MAX, bounds::rooms};
use crate::{
    events,
    rollup::{Contracts, IRollup, RootSubmission, from_u256, to_u256},
    verifier::CompiledVerifier,
};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

/// Where the contracts of an instance are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The rollup contract.
    pub rollup: Address,
    /// The contract of `H`.
    pub poseidon: Address,
    /// The verifiers, by number.
    pub verifiers: Vec<Address>,
}

/// The addresses of a [`Deployment`] with so many verifiers by `deployer` whose next transaction has `nonce`. The rollup's address is
/// part of every signed message (P-5.2).
pub fn predict_addresses(deployer: Address, nonce: u64, verifiers: usize) -> Addresses {
    let last = nonce + 1 + verifiers as u64;
    Addresses {
        poseidon: deployer.create(nonce),
        verifiers: (nonce + 1..last).map(|nonce| deployer.create(nonce)).collect(),
        rollup: deployer.create(last),
    }
}

/// Gas that a verifier is called with, unless an operator says otherwise: more than twice what those of the presets need.
pub const DEFAULT_VERIFIER_GAS_CAP: u32 = 1_000_000;
/// Entries that a batch must consume at most, unless an operator says otherwise or a verifier has room for fewer.
pub const DEFAULT_CONSUMED_MAX: u64 = 10;

/// What the rollup contract fixes for ever (P-17.1). Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployConfig {
    /// `D`: an entry is due after it.
    pub due_after_s: u64,
    /// `S`: silence after which anybody submits.
    pub silence_s: u64,
    /// `F`: from due to freeze.
    pub freeze_after_s: u64,
    /// `MAX`: entries that a batch must consume at most. None is [`DEFAULT_CONSUMED_MAX`], or the room of the verifier that has least.
    pub consumed_max: Option<u64>,
    /// Oldest that a batch's time may be.
    pub batch_age_s_max: u64,
    /// After it comes about what the governor announced.
    pub delay_s: u64,
    /// Wei for a token id below 4,096.
    pub token_price: U256,
    /// Who submits.
    pub operator: Address,
    /// L1 address of the fee accounts, to which the prices of entries go too.
    pub fee_address: Address,
    /// Owner of the fee accounts.
    pub fee_key: PublicKey,
    /// Who adds and retires verifiers; zero is nobody, for ever.
    pub governor: Address,
    /// Who disables verifiers and pauses deposits; zero is nobody, for ever.
    pub guardian: Address,
    /// Gas that each verifier is called with.
    pub verifier_gas_cap: u32,
}

impl DeployConfig {
    /// The usual values of P-17.1, without governor and guardian.
    pub fn new(operator: Address, fee_address: Address, fee_key: PublicKey) -> Self {
        Self {
            due_after_s: DAY_S,
            silence_s: DAY_S,
            freeze_after_s: 14 * DAY_S,
            consumed_max: None,
            batch_age_s_max: DAY_S,
            delay_s: 46 * DAY_S,
            token_price: U256::from(50_000_000_000_000_000u64),
            operator,
            fee_address,
            fee_key,
            governor: Address::ZERO,
            guardian: Address::ZERO,
            verifier_gas_cap: DEFAULT_VERIFIER_GAS_CAP,
        }
    }

    /// `MAX` over these verifiers.
    pub fn consumed_max(&self, verifiers: &[&CompiledVerifier]) -> u64 {
        self.consumed_max_of(&rooms(verifiers))
    }

    /// The same, over verifiers with such rooms.
    pub(super) fn consumed_max_of(&self, rooms: &[u64]) -> u64 {
        let room = rooms.iter().copied().min();
        let usual = DEFAULT_CONSUMED_MAX.min(room.unwrap_or(DEFAULT_CONSUMED_MAX));
        self.consumed_max.unwrap_or(usual)
    }

    fn parameters(
        &self,
        verifiers: &[&CompiledVerifier],
        parts: &Parts,
        contracts: &Contracts,
    ) -> IRollup::Parameters {
        IRollup::Parameters {
            dueAfter: self.due_after_s,
            silence: self.silence_s,
            freezeAfter: self.freeze_after_s,
            consumedMax: self.consumed_max(verifiers),
            batchAgeMax: self.batch_age_s_max,
            delay: self.delay_s,
            tokenPrice: self.token_price,
            operator: self.operator,
            feeAddress: self.fee_address,
            feeKeyX: to_u256(&self.fee_key.0.x),
            feeKeyY: to_u256(&self.fee_key.0.y),
            governor: self.governor,
            guardian: self.guardian,
            poseidon: parts.poseidon,
            poseidonCodeHash: keccak256(&contracts.poseidon.runtime),
        }
    }

    /// What the rollup contract's constructor takes, encoded: verifiers beside their addresses.
    ///
    /// # Panics
    /// When there are not as many addresses as verifiers.
    pub fn constructor_arguments(
        &self,
        contracts: &Contracts,
        verifiers: &[&CompiledVerifier],
        parts: &Parts,
    ) -> Vec<u8> {
        assert_eq!(
            verifiers.len(),
            parts.verifiers.len(),
            "a verifier has an address"
        );
        let registrations = verifiers.iter().zip(&parts.verifiers);
        let registrations = registrations.map(|(verifier, addr)| IRollup::Registration {
            addr: *addr,
            vkDigest: verifier.vk_digest,
            gasCap: self.verifier_gas_cap,
        });
        let registrations: Vec<_> = registrations.collect();
        (self.parameters(verifiers, parts, contracts), registrations).abi_encode_params()
    }
}

/// What the rollup contract stands on, deployed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The contract of `H`.
    pub poseidon: Address,
    /// The verifiers that are in force at once, one to eight.
    pub verifiers: Vec<Address>,
}

/// What deploying cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployGas {
    /// Gas of the creation of the contract of `H`.
    pub poseidon: u64,
    /// Gas of each verifier's creation.
    pub verifiers: Vec<u64>,
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
    /// That block's hash.
    pub block_hash: B256,
    /// Batch number, as the event has it.
    pub number: u64,
    /// State root before, as the event has it.
    pub old_root: Fr,
    /// State root after, as the event has it.
    pub new_root: Fr,
    /// The queue's head after it.
    pub head: u64,
    /// What L1 owes by it: the number of withdrawals, and the root of their tree.
    pub withdrawals: u32,
    /// None where it owes nothing.
    pub withdrawals_root: Option<Digest>,
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
    /// Deploys the contract of `H`, the verifiers, and the rollup contract, at the addresses of [`L1::predict`].
    ///
    /// # Errors
    /// [`L1Error::Parameter`] before anything is sent; [`L1Error::Rejected`] with the constructor's reason, or the endpoint's.
    pub async fn deploy(
        l1: &L1,
        contracts: &Contracts,
        verifiers: &[&CompiledVerifier],
        config: &DeployConfig,
    ) -> Result<(Self, DeployGas), L1Error> {
        let Addresses { rollup, .. } = l1.predict(verifiers.len()).await?;
        config.check(&rooms(verifiers), rollup)?;
        let (poseidon, poseidon_gas) = create(l1, contracts.poseidon.creation.clone()).await?;
        tracing::info!(%poseidon, gas = poseidon_gas, "contract of the hash deployed");
        let (mut addresses, mut gas) = (Vec::new(), Vec::new());
        for verifier in verifiers {
            let (address, used) = create(l1, verifier.code.creation.clone())
                .await
                .inspect_err(|_| tracing::warn!(%poseidon, verifiers = ?addresses, "deployed, and paid, before what failed"))?;
            addresses.push(address);
            gas.push(used);
        }
        let parts = Parts {
            poseidon,
            verifiers: addresses,
        };
        let paid = parts.clone();
        let (deployment, rollup) = Self::deploy_over(l1, contracts, verifiers, parts, config)
            .await
            .inspect_err(|_| tracing::warn!(?paid, "deployed, and paid, before what failed"))?;
        let gas = DeployGas {
            poseidon: poseidon_gas,
            verifiers: gas,
            rollup,
        };
        Ok((deployment, gas))
    }

    /// Deploys the rollup contract over parts that are on L1 already. Returns the gas of the creation too.
    ///
    /// # Errors
    /// As [`Deployment::deploy`].
    ///
    /// # Panics
    /// When there are not as many addresses as verifiers.
    pub async fn deploy_over(
        l1: &L1,
        contracts: &Contracts,
        verifiers: &[&CompiledVerifier],
        parts: Parts,
        config: &DeployConfig,
    ) -> Result<(Self, u64), L1Error> {
        let arguments = config.constructor_arguments(contracts, verifiers, &parts);
        let code = [contracts.rollup.creation.as_slice(), &arguments].concat();
        let (rollup, gas) = create(l1, code).await?;
        let addresses = Addresses {
            rollup,
            poseidon: parts.poseidon,
            verifiers: parts.verifiers,
        };
        let l1 = l1.clone();
        Ok((Self { l1, addresses }, gas))
    }

    /// A rollup contract that is deployed already.
    ///
    /// # Errors
    /// [`L1Error::Answer`] when there is no such contract at the address, [`L1Error::Chain`] when it is of another chain than the endpoint
    /// says it is: what is signed for that chain might be taken there.
    pub async fn at(l1: &L1, rollup: Address) -> Result<Self, L1Error> {
        let mut deployment = Self {
            l1: l1.clone(),
            addresses: Addresses {
                rollup,
                poseidon: Address::ZERO,
                verifiers: Vec::new(),
            },
        };
        deployment.addresses.poseidon = deployment.read(IRollup::poseidonCall {}).await?;
        let id: U256 = deployment.read(IRollup::rollupIdCall {}).await?;
        let (expected, found) = (id >> 160, l1.chain_id().await?);
        if expected != U256::from(found) {
            return Err(L1Error::Chain {
                rollup,
                expected,
                found,
            });
        }
        let verifiers = deployment.verifiers().await?;
        deployment.addresses.verifiers = verifiers.iter().map(|verifier| verifier.addr).collect();
        Ok(deployment)
    }

    /// Where the contracts are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where the rollup contract is.
    pub fn rollup(&self) -> Address {
        self.addresses.rollup
    }

    /// The contract as it is after this block: what is read of it, is read there.
    pub fn as_of(&self, block: u64) -> Self {
        Self {
            l1: self.l1.as_of(block),
            ..self.clone()
        }
    }

    /// The account and chain that it is used through.
    pub fn l1(&self) -> &L1 {
        &self.l1
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
        self.check(&submission.to_call()).await?;
        self.send_batch(submission).await
    }

    /// Submits a batch that the contract was asked about.
    pub(super) async fn send_batch(&self, submission: &RootSubmission) -> Result<Accepted, L1Error> {
        let data = submission.to_call().abi_encode();
        let calldata_bytes = data.len();
        // An estimate would run the verifier many times, and gas that is not used costs nothing.
        let call = Call::new(self.addresses.rollup, data).with_gas(TRANSACTION_GAS_MAX);
        let receipt = self.l1.transact(call).await?;
        let event: IRollup::BatchAccepted = self.event(&receipt, IRollup::submitBatchCall::SIGNATURE)?;
        Ok(Accepted {
            transaction: receipt.transaction_hash,
            block: receipt.block_number.unwrap_or_default(),
            block_hash: receipt.block_hash.unwrap_or_default(),
            number: event.number,
            old_root: field(IRollup::BatchAccepted::SIGNATURE, &event.oldRoot)?,
            new_root: field(IRollup::BatchAccepted::SIGNATURE, &event.newRoot)?,
            head: event.head.to(),
            withdrawals: event.withdrawals,
            withdrawals_root: events::digest(event.withdrawalsRoot),
            gas_used: receipt.gas_used,
            calldata_bytes,
        })
    }

    /// Calls a function of the contract in a transaction, with so many wei, and waits until L1 has it.
    pub(super) async fn send<C: SolCall>(&self, call: C, value: U256) -> Result<TransactionReceipt, L1Error> {
        let call = Call::new(self.addresses.rollup, call.abi_encode()).with_value(value);
        self.l1.transact(call).await
    }

    /// The contract's event of that kind in a receipt.
    pub(super) fn event<E: SolEvent>(
        &self,
        receipt: &TransactionReceipt,
        call: &'static str,
    ) -> Result<E, L1Error> {
        let logs = receipt.inner.logs().iter();
        let event = logs
            .filter(|log| log.address() == self.addresses.rollup)
            .find_map(|log| E::decode_log(&log.inner).ok());
        let event = event.ok_or_else(|| L1Error::Answer {
            call,
            reason: format!(
                "transaction {} has no event {}",
                receipt.transaction_hash,
                E::SIGNATURE
            ),
        })?;
        Ok(event.data)
    }
}

async fn create(l1: &L1, code: Vec<u8>) -> Result<(Address, u64), L1Error> {
    let receipt = l1.transact(Call::create(code)).await?;
    Ok((created_address(&receipt)?, receipt.gas_used))
}

fn created_address(receipt: &TransactionReceipt) -> Result<Address, L1Error> {
    let missing = || L1Error::Answer {
        call: "contract creation",
        reason: format!("transaction {} created nothing", receipt.transaction_hash),
    };
    receipt.contract_address.ok_or_else(missing)
}

/// A field element that the contract answered.
pub(super) fn field(call: &'static str, value: &U256) -> Result<Fr, L1Error> {
    from_u256(value).ok_or_else(|| L1Error::Answer {
        call,
        reason: format!("{value} is no field element"),
    })
}
