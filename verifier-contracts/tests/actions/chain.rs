//! A local L1 on which everybody's transactions are sent one by one, at times that the test sets.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
};
use serde::Deserialize;
use serde_json::{Value, json};
use verifier_contracts::{anvil::Anvil, rollup::Rejection, tools::Tools};

/// Gas that each transaction may use.
const GAS: u64 = 1 << 24;

/// The chain.
pub struct Chain {
    provider: DynProvider,
    /// Accounts whose keys anvil has.
    pub people: Vec<Address>,
    /// Time of the last block.
    pub now: u64,
    anvil: Anvil,
}

/// A transaction that is on the chain.
#[derive(Debug)]
pub struct Sent {
    /// Its block.
    pub block: u64,
    /// Its block's hash.
    pub hash: B256,
    /// Its logs.
    pub logs: Vec<Log>,
    /// What it created.
    pub created: Option<Address>,
}

/// A log.
#[derive(Debug, Deserialize)]
pub struct Log {
    /// Topics.
    pub topics: Vec<B256>,
    /// Data.
    pub data: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    status: U256,
    block_number: U256,
    block_hash: B256,
    logs: Vec<Log>,
    contract_address: Option<Address>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    timestamp: U256,
    base_fee_per_gas: U256,
}

/// What is called.
#[derive(Clone, Debug)]
pub struct Tx {
    /// By whom.
    pub from: Address,
    /// Nobody where code is put on the chain.
    pub to: Option<Address>,
    /// Wei with it.
    pub value: U256,
    /// Calldata, or the code.
    pub data: Vec<u8>,
}

impl Tx {
    fn json(&self) -> Value {
        json!({
            "from": self.from, "to": self.to, "value": self.value, "gas": format!("{GAS:#x}"),
            "data": Bytes::copy_from_slice(&self.data),
        })
    }
}

impl Chain {
    /// Starts one.
    pub async fn start(tools: &Tools) -> Self {
        let anvil = Anvil::spawn(tools).expect("anvil starts");
        let url = anvil.url().parse().expect("a URL");
        let provider = ProviderBuilder::new().connect_http(url).erased();
        let mut chain = Self {
            provider,
            people: Vec::new(),
            now: 0,
            anvil,
        };
        chain.people = chain.ask("eth_accounts", json!([])).await;
        chain.now = chain.header("latest").await.timestamp.to();
        chain
    }

    /// Its endpoint.
    #[allow(dead_code, reason = "the example that derives asks it")]
    pub fn url(&self) -> &str {
        self.anvil.url()
    }

    /// Asks the node.
    pub async fn ask<T: serde::de::DeserializeOwned + alloy::rpc::json_rpc::RpcRecv>(
        &self,
        method: &'static str,
        with: Value,
    ) -> T {
        let answer = self.provider.raw_request::<_, T>(method.into(), with).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn header(&self, block: &str) -> Header {
        self.ask("eth_getBlockByNumber", json!([block, false])).await
    }

    /// Sends a transaction, in a block of its own, `after` seconds after the last; why it reverted, if it did.
    pub async fn send(&mut self, tx: &Tx, after: u64) -> Result<Sent, Rejection> {
        let at = self.now + after;
        let _: Value = self.ask("evm_setNextBlockTimestamp", json!([at])).await;
        let receipt: Receipt = self.ask("eth_sendTransactionSync", json!([tx.json()])).await;
        self.now = at;
        if receipt.status.is_zero() {
            // It changed nothing, so that it reverts again.
            return Err(self.refused(tx).await.expect("what reverted reverts again"));
        }
        Ok(Sent {
            block: receipt.block_number.to(),
            hash: receipt.block_hash,
            logs: receipt.logs,
            created: receipt.contract_address,
        })
    }

    /// The base fee of the last block, which has the time that was set.
    pub async fn base_fee(&self) -> u64 {
        let header = self.header("latest").await;
        assert_eq!(header.timestamp.to::<u64>(), self.now);
        header.base_fee_per_gas.to()
    }

    /// Why a call reverts, if it does.
    pub async fn refused(&self, tx: &Tx) -> Option<Rejection> {
        let call = json!([tx.json(), "latest"]);
        let answer = self
            .provider
            .raw_request::<_, Bytes>("eth_call".into(), call)
            .await;
        match answer {
            Ok(_) => None,
            Err(error) => {
                let data = error
                    .as_error_resp()
                    .and_then(|response| response.as_revert_data());
                let data = data.unwrap_or_else(|| panic!("no revert: {error}"));
                Some(Rejection::decode(&data))
            }
        }
    }

    /// What a view answers.
    pub async fn view<C: alloy::sol_types::SolCall>(&self, to: Address, call: C) -> C::Return {
        let data = Bytes::from(call.abi_encode());
        let call = json!([{ "to": to, "data": data, "gas": format!("{GAS:#x}") }, "latest"]);
        let answer: Bytes = self.ask("eth_call", call).await;
        C::abi_decode_returns(&answer).expect("the answer's type")
    }

    /// Wei of an address.
    pub async fn wei(&self, of: Address) -> U256 {
        self.ask("eth_getBalance", json!([of, "latest"])).await
    }

    /// Remembers the chain as it is.
    pub async fn remember(&self) -> U256 {
        self.ask("evm_snapshot", json!([])).await
    }

    /// Takes back what came after.
    pub async fn take_back(&mut self, remembered: U256) {
        let done: bool = self.ask("evm_revert", json!([remembered])).await;
        assert!(done);
        self.now = self.header("latest").await.timestamp.to();
    }
}
