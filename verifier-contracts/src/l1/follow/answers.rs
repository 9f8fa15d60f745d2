//! What is asked of a node to follow a contract, and whether its answer can be right.

use std::{fmt, ops::RangeInclusive};

use alloy::{
    primitives::{Address, B256, Bloom, BloomInput},
    providers::{DynProvider, Provider},
    rpc::{
        client::BatchRequest,
        types::{Filter, Log},
    },
    transports::TransportError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::L1, Following};

/// What is needed of a block.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    #[serde(with = "alloy::serde::quantity")]
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    pub logs_bloom: Bloom,
}

#[derive(Debug, Deserialize)]
struct Receipt {
    logs: Vec<Log>,
}

/// The block before a range, the last of it, and its logs.
type Range = (Option<Header>, Option<Header>, Vec<Log>);

/// The node, and what is asked for.
pub(super) struct Source {
    provider: DynProvider,
    filter: Filter,
    contract: Address,
    events: Vec<B256>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

impl Source {
    pub fn new(l1: &L1, following: &Following) -> Self {
        let mut filter = Filter::new().address(following.contract);
        if !following.events.is_empty() {
            filter = filter.event_signature(following.events.clone());
        }
        Self {
            provider: l1.provider.clone(),
            filter,
            contract: following.contract,
            events: following.events.clone(),
        }
    }

    pub async fn head(&self) -> Result<Option<Header>, TransportError> {
        self.header_at(json!("latest")).await
    }

    pub async fn header(&self, number: u64) -> Result<Option<Header>, TransportError> {
        self.header_at(json!(format!("{number:#x}"))).await
    }

    async fn header_at(&self, number: Value) -> Result<Option<Header>, TransportError> {
        let client = self.provider.client();
        client.request("eth_getBlockByNumber", (number, false)).await
    }

    /// All of one request: what is behind an endpoint answers it by one node.
    pub async fn range(&self, from: u64, to: u64) -> Result<Range, TransportError> {
        let client = self.provider.client();
        let mut batch = BatchRequest::new(client);
        let number = |number: u64| (format!("{number:#x}"), false);
        let before = batch.add_call("eth_getBlockByNumber", &number(from - 1))?;
        let last = batch.add_call("eth_getBlockByNumber", &number(to))?;
        let filter = self.filter.clone().from_block(from).to_block(to);
        let logs = batch.add_call("eth_getLogs", &(filter,))?;
        batch.send().await?;
        Ok((before.await?, last.await?, logs.await?))
    }

    /// A block's logs by its hash; none when the node does not know the block after all.
    pub async fn logs_of(&self, header: &Header) -> Result<Option<Vec<Log>>, TransportError> {
        let client = self.provider.client();
        let filter = self.filter.clone().at_block_hash(header.hash);
        let logs: Option<Vec<Log>> = client.request("eth_getLogs", (filter,)).await?;
        let Some(logs) = logs else { return Ok(None) };
        if !logs.is_empty() || !self.may_have_logged(header) {
            return Ok(Some(logs));
        }
        // The block says that it may have some. That is often so for other contracts' logs, but an endpoint that
        // answers with nothing where it knows nothing would be believed for ever: the receipts decide.
        let receipts: Result<Option<Vec<Receipt>>, _> =
            client.request("eth_getBlockReceipts", (header.hash,)).await;
        match receipts {
            Ok(receipts) => Ok(receipts.map(|all| self.of_receipts(all))),
            // Not every node has that question.
            Err(error) if is_unknown_method(&error) => Ok(Some(logs)),
            Err(error) => Err(error),
        }
    }

    fn may_have_logged(&self, header: &Header) -> bool {
        let has = |bytes: &[u8]| header.logs_bloom.contains_input(BloomInput::Raw(bytes));
        let is_any = self.events.is_empty() || self.events.iter().any(|event| has(event.as_slice()));
        has(self.contract.as_slice()) && is_any
    }

    fn of_receipts(&self, receipts: Vec<Receipt>) -> Vec<Log> {
        let logs = receipts.into_iter().flat_map(|receipt| receipt.logs);
        let is_asked = |log: &Log| {
            let event = log.topic0();
            log.address() == self.contract
                && (self.events.is_empty() || event.is_some_and(|event| self.events.contains(event)))
        };
        logs.filter(is_asked).collect()
    }
}

fn is_unknown_method(error: &TransportError) -> bool {
    const METHOD_NOT_FOUND: i64 = -32601;
    error
        .as_error_resp()
        .is_some_and(|said| said.code == METHOD_NOT_FOUND)
}

/// Whether the logs are the contract's, of these blocks, in order, of one hash for each block, and of the last
/// block's hash where they are its.
pub(super) fn in_order(
    logs: &[Log],
    contract: Address,
    blocks: RangeInclusive<u64>,
    last: &Header,
) -> Result<(), String> {
    if last.number != *blocks.end() {
        return Err(format!("block {} is numbered {}", blocks.end(), last.number));
    }
    let mut before: Option<(u64, B256, u64)> = None;
    for log in logs {
        let (Some(block), Some(hash), Some(index)) = (log.block_number, log.block_hash, log.log_index) else {
            return Err("a log has no block, hash or index".to_owned());
        };
        let at = format!("log {index} of block {block}");
        if log.removed {
            return Err(format!("{at} is removed"));
        }
        if log.address() != contract {
            return Err(format!("{at} is of {}, expected {contract}", log.address()));
        }
        if !blocks.contains(&block) {
            return Err(format!("{at} is not within {blocks:?}"));
        }
        if block == last.number && hash != last.hash {
            return Err(format!("{at} has the block hash {hash}, expected {}", last.hash));
        }
        if let Some((b, h, i)) = before {
            if (block, index) <= (b, i) {
                return Err(format!("{at} comes after log {i} of block {b}"));
            }
            if block == b && hash != h {
                return Err(format!("{at} has the block hash {hash}, log {i} has {h}"));
            }
        }
        before = Some((block, hash, index));
    }
    Ok(())
}
