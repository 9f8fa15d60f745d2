//! Single logs of the contract, found by what their event says, without reading all others.

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::{Filter, Log},
    sol_types::SolEvent,
};
use rules::{
    outbox::{self, Owed, Tree},
    stream,
};

use super::{Deployment, Done, L1Error, transport::asked_too_much};
use crate::{
    events::{BatchAccepted, Entry, Event},
    replica::Claim,
    rollup::IRollup,
};

/// Blocks of one question at first; fewer where the endpoint refuses.
const RANGE_BLOCKS: u64 = 10_000;
/// Numbers that one question names at most.
const NUMBERS_MAX: usize = 100;

/// An accepted batch, and the transaction that brought it to L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnL1 {
    /// What L1 says of it.
    pub accepted: BatchAccepted,
    /// The transaction.
    pub done: Done,
}

impl Deployment {
    /// An accepted batch by its number: the newest blocks are looked at first, `start` last. None where no log tells of it.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for a log that is none of the contract's.
    pub async fn find_batch(&self, number: u64, start: u64) -> Result<Option<OnL1>, L1Error> {
        let event = IRollup::BatchAccepted::SIGNATURE_HASH;
        let logs = self.find(event, &[number], start).await?;
        let Some(log) = logs.first() else {
            return Ok(None);
        };
        let Event::BatchAccepted(accepted) = decode(log)? else {
            return Err(answer(
                IRollup::BatchAccepted::SIGNATURE,
                "another event".to_owned(),
            ));
        };
        let hash = log.transaction_hash.unwrap_or_default();
        let receipt = self.l1().provider.get_transaction_receipt(hash).await?;
        let receipt = receipt.ok_or_else(|| {
            // It has the log, so it or another node behind its address is behind.
            L1Error::Endpoint(format!(
                "no receipt of the transaction {hash} of batch {number} yet"
            ))
        })?;
        Ok(Some(OnL1 {
            accepted,
            done: Done::of(&receipt),
        }))
    }

    /// All that a batch owes, with what it takes to claim it (P-13.2), from the data of that batch alone: they are held to the root that
    /// the contract keeps. None where no log has them.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for data that are not the batch's.
    pub async fn find_claims(&self, batch: u64, start: u64) -> Result<Option<Vec<Claim>>, L1Error> {
        let event = IRollup::BatchData::SIGNATURE_HASH;
        let logs = self.find(event, &[batch], start).await?;
        let Some(log) = logs.first() else {
            return Ok(None);
        };
        let wrong = |reason| answer(IRollup::BatchData::SIGNATURE, reason);
        let Event::BatchData(data) = decode(log)? else {
            return Err(wrong("another event".to_owned()));
        };
        let records = stream::records(&data.data_a).map_err(|error| wrong(error.to_string()))?;
        let owed = outbox::owed(batch, &records);
        let tree = Tree::new(&owed);
        let expected = self.withdrawals_root(batch).await?;
        if tree.root() != expected {
            return Err(wrong(format!(
                "the withdrawals of batch {batch} have the root {:?}, the contract has {expected:?}",
                tree.root()
            )));
        }
        let claim = |owed: Owed| Claim {
            siblings: tree.siblings(owed.position).expect("it has a leaf"),
            owed,
        };
        Ok(Some(owed.into_iter().map(claim).collect()))
    }

    /// Entries of the queue by their numbers, in ascending order, held to the hashes that the contract keeps. Fewer where logs are missing.
    ///
    /// # Errors
    /// [`L1Error::Endpoint`], or [`L1Error::Answer`] for a record that is not the entry's.
    pub async fn find_entries(&self, numbers: &[u64], start: u64) -> Result<Vec<Entry>, L1Error> {
        let mut entries = Vec::new();
        for numbers in numbers.chunks(NUMBERS_MAX) {
            for log in self.find(IRollup::Queued::SIGNATURE_HASH, numbers, start).await? {
                match decode(&log)? {
                    Event::Queued(entry) => entries.push(entry),
                    _ => return Err(answer(IRollup::Queued::SIGNATURE, "another event".to_owned())),
                }
            }
        }
        entries.sort_by_key(|entry| entry.number);
        for Entry { number, record, .. } in &entries {
            let before = match number.checked_sub(1) {
                Some(before) => self.slot(before).await?.hash,
                None => Default::default(),
            };
            let (expected, found) = (self.slot(*number).await?.hash, before.after(record));
            if expected != found {
                let reason = format!("entry {number} leads to the hash {found}, the contract has {expected}");
                return Err(answer(IRollup::Queued::SIGNATURE, reason));
            }
        }
        Ok(entries)
    }

    /// The logs of an event whose first parameter is one of these numbers, of which each has one log.
    async fn find(&self, event: B256, numbers: &[u64], start: u64) -> Result<Vec<Log>, L1Error> {
        let provider = &self.l1().provider;
        let topics: Vec<B256> = numbers.iter().map(|number| U256::from(*number).into()).collect();
        let filter = Filter::new().address(self.rollup()).event_signature(event);
        let filter = filter.topic1(topics.clone());
        let (mut to, mut range) = (provider.get_block_number().await?, RANGE_BLOCKS);
        let mut found = Vec::new();
        if start > to {
            return Ok(found);
        }
        loop {
            let from = to.saturating_sub(range - 1).max(start);
            let asked = filter.clone().from_block(from).to_block(to);
            match provider.get_logs(&asked).await {
                Ok(logs) => {
                    found.extend(logs.into_iter().filter(|log| {
                        let topic = log.topics().get(1);
                        log.address() == self.rollup() && topic.is_some_and(|topic| topics.contains(topic))
                    }));
                    if found.len() >= numbers.len() || from <= start {
                        return Ok(found);
                    }
                    to = from - 1;
                    range = range.saturating_mul(2).min(RANGE_BLOCKS);
                }
                Err(error) if asked_too_much(&error) && range > 1 => range /= 2,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn decode(log: &Log) -> Result<Event, L1Error> {
    Event::decode(&log.inner).map_err(|error| answer("eth_getLogs", error.to_string()))
}

fn answer(call: &'static str, reason: String) -> L1Error {
    L1Error::Answer { call, reason }
}
