//! A contract's logs followed on an anvil that reorganises, behind endpoints that are behind, limited or broken.

mod proxy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    sol_types::{SolCall, SolEvent},
};
use proxy::{Proxy, Verdict};
use serde_json::{Value, json};
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, Call, FollowError, Follower, Following, L1, Position, Saved, Update},
    solc::{self, Runs},
    tools::Tools,
};

const EMITTER: &str = "// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;
contract Emitter {
    event Said(uint256 indexed number);
    event Other();
    uint256 public next;
    function say(uint256 count) external {
        for (uint256 i = 0; i < count; i++) emit Said(next++);
        emit Other();
    }
}";

alloy::sol! {
    event Said(uint256 indexed number);
    function say(uint256 count) external;
}

/// Longest that something is waited for which must come about.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Chain {
    anvil: Anvil,
    rpc: DynProvider,
    l1: L1,
    contract: Address,
}

impl Chain {
    async fn start() -> Self {
        let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
        let anvil = Anvil::spawn(&tools).expect("anvil");
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
        let sources = [("Emitter.sol", EMITTER)];
        let code = solc::compile(&tools, &sources, Runs::Calls, "Emitter.sol", "Emitter").expect("compiles");
        let receipt = l1
            .transact(Call::create(code.creation))
            .await
            .expect("it is created");
        let rpc = ProviderBuilder::new()
            .connect_http(anvil.url().parse().unwrap())
            .erased();
        Self {
            contract: receipt.contract_address.expect("a contract"),
            anvil,
            rpc,
            l1,
        }
    }

    /// A block with so many logs.
    async fn say(&self, count: u64) {
        let data = sayCall {
            count: U256::from(count),
        }
        .abi_encode();
        self.l1
            .transact(Call::new(self.contract, data))
            .await
            .expect("it is mined");
    }

    async fn ask(&self, method: &'static str, params: Value) -> Value {
        let answer = self.rpc.raw_request(method.into(), params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([blocks])).await;
    }

    /// Near the head only the last two blocks; no pause to speak of.
    fn following(&self) -> Following {
        Following {
            events: vec![Said::SIGNATURE_HASH],
            settled_blocks: 2,
            poll: Duration::ZERO,
            ..Following::new(self.contract, 1)
        }
    }

    /// What the chain has now, by the node's own word.
    async fn truth(&self) -> Vec<Told> {
        let filter =
            json!([{"fromBlock": "0x0", "address": self.contract, "topics": [Said::SIGNATURE_HASH]}]);
        let logs = self.ask("eth_getLogs", filter).await;
        let logs: Vec<alloy::rpc::types::Log> = serde_json::from_value(logs).unwrap();
        logs.iter().map(told).collect()
    }
}

type Told = (Position, u64);

fn told(log: &alloy::rpc::types::Log) -> Told {
    let said = Said::decode_log(&log.inner).expect("it was asked for");
    (Position::of(log).expect("it is mined"), said.number.to())
}

/// What a user of the follower keeps: all logs, without those that were undone.
#[derive(Default)]
struct Reader {
    logs: Vec<Told>,
    undone: Vec<Position>,
}

impl Reader {
    fn take(&mut self, update: Update) -> Position {
        match update {
            Update::Logs { logs, to } => {
                self.logs.extend(logs.iter().map(told));
                assert!(self.logs.iter().all(|(at, _)| to.covers(at)));
                to
            }
            Update::Undo { to } => {
                self.logs.retain(|(at, _)| to.covers(at));
                self.undone.push(to);
                to
            }
        }
    }

    /// Follows until a block that was asked for is told.
    async fn until(&mut self, follower: &mut Follower, block: u64) {
        let followed =
            async { while self.take(follower.next().await.expect("it is followed")).block < block {} };
        tokio::time::timeout(WAIT_MAX, followed)
            .await
            .expect("it gets there");
    }
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test]
async fn ten_thousand_logs_come_in_order_through_an_endpoint_that_limits_blocks_and_logs() {
    let chain = Chain::start().await;
    for _ in 0..20 {
        chain.say(500).await;
        chain.mine(10).await;
    }
    chain.say(1).await;
    // Of a range it answers less than one block alone has.
    let proxy = Proxy::start(chain.anvil.url(), |_, question| {
        let Some(batch) = question.as_array() else { return Verdict::Forward };
        let filter = &batch[2]["params"][0];
        if hex(&filter["toBlock"]) - hex(&filter["fromBlock"]) >= 64 {
            return Verdict::Refuse("block range is too wide");
        }
        Verdict::Change(Box::new(|answer| {
            for one in answer.as_array_mut().unwrap() {
                if one["result"].as_array().is_some_and(|logs| logs.len() > 400) {
                    *one = json!({"jsonrpc": "2.0", "id": one["id"], "error": {"code": -32005, "message": "query returned more than 400 results"}});
                }
            }
        }))
    })
    .await;
    let l1 = L1::reader(proxy.url()).unwrap();
    let mut reader = Reader::default();
    let mut follower = Follower::new(&l1, chain.following());
    let last = chain.rpc.get_block_number().await.unwrap();
    reader.until(&mut follower, last).await;
    let numbers: Vec<u64> = reader.logs.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..10_001).collect::<Vec<u64>>());
    assert_eq!(reader.logs, chain.truth().await);
    assert!(reader.undone.is_empty());
}

#[tokio::test]
async fn reorganisations_of_depth_one_and_two_are_undone_and_followed() {
    let chain = Chain::start().await;
    let mut reader = Reader::default();
    let mut follower = Follower::new(&chain.l1, chain.following());
    for depth in [1u64, 2] {
        for count in [2, 3, 4] {
            chain.say(count).await;
        }
        let head = chain.rpc.get_block_number().await.unwrap();
        reader.until(&mut follower, head).await;
        assert_eq!(reader.logs, chain.truth().await);
        chain.ask("anvil_reorg", json!([depth, []])).await;
        assert!(chain.truth().await.len() < reader.logs.len());
        chain.say(1).await;
        reader.until(&mut follower, head + 1).await;
        assert_eq!(reader.logs, chain.truth().await);
        let to = reader.undone.pop().expect("it is undone");
        assert_eq!((to.block, to.log), (head - depth, None));
        assert!(reader.undone.is_empty(), "once");
    }
}

#[tokio::test]
async fn a_saved_position_that_a_reorganisation_removed_is_undone_after_a_restart() {
    let chain = Chain::start().await;
    chain.say(3).await;
    chain.say(3).await;
    let mut reader = Reader::default();
    let mut follower = Follower::new(&chain.l1, chain.following());
    reader.until(&mut follower, 3).await;
    let saved = serde_json::to_string(&follower.saved().unwrap()).unwrap();
    drop(follower);
    chain.ask("anvil_reorg", json!([1, []])).await;
    chain.say(2).await;
    let saved: Saved = serde_json::from_str(&saved).unwrap();
    let mut follower = Follower::resume(&chain.l1, chain.following(), &saved).unwrap();
    reader.until(&mut follower, 4).await;
    assert_eq!(reader.undone.len(), 1);
    assert_eq!(reader.logs, chain.truth().await);

    // Nothing that was kept is on the chain.
    let newest = *saved.positions.last().unwrap();
    let alone = Saved {
        positions: vec![newest],
        ..saved.clone()
    };
    let mut lost = Follower::resume(&chain.l1, chain.following(), &alone).unwrap();
    assert!(matches!(
        lost.next().await,
        Err(FollowError::TooDeep { block, hash }) if (block, hash) == (newest.block, newest.hash)
    ));
    for bad in [
        Saved {
            contract: Address::ZERO,
            ..saved.clone()
        },
        Saved {
            positions: vec![],
            ..saved.clone()
        },
        Saved {
            positions: vec![newest, newest],
            ..saved
        },
    ] {
        let refused = Follower::resume(&chain.l1, chain.following(), &bad);
        assert!(matches!(refused, Err(FollowError::Saved(_))));
    }
}

#[tokio::test]
async fn a_follower_goes_on_in_the_middle_of_a_block() {
    let chain = Chain::start().await;
    chain.say(5).await;
    let (at, _) = chain.truth().await[2];
    let saved = Saved {
        contract: chain.contract,
        positions: vec![at],
    };
    let mut reader = Reader::default();
    let mut follower = Follower::resume(&chain.l1, chain.following(), &saved).unwrap();
    reader.take(follower.next().await.unwrap());
    let numbers: Vec<u64> = reader.logs.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [3, 4]);
}

#[tokio::test]
async fn nodes_that_are_behind_make_no_log_skipped() {
    let chain = Chain::start().await;
    for _ in 0..8 {
        chain.say(2).await;
    }
    // Every third answer or so is of a node that knows nothing of what it is asked for, and says so in the ways that nodes do.
    let asked = AtomicU64::new(0);
    let proxy = Proxy::start(chain.anvil.url(), move |method, question| {
        let turn = asked.fetch_add(1, Ordering::SeqCst);
        // Without a rhythm that the follower's own could fall in with.
        let dice = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        if !dice.is_multiple_of(3) {
            return Verdict::Forward;
        }
        match method {
            "eth_getLogs" if dice % 2 == 1 => Verdict::Answer(json!([])),
            "eth_getLogs" => Verdict::Refuse("unknown block"),
            "eth_getBlockReceipts" => Verdict::Answer(Value::Null),
            "eth_getBlockByNumber" if question["params"][0] != "latest" => Verdict::Answer(Value::Null),
            _ if question.is_array() => Verdict::Change(Box::new(|answer| {
                answer[1]["result"] = Value::Null;
                answer[2]["result"] = json!([]);
            })),
            _ => Verdict::Forward,
        }
    })
    .await;
    let l1 = L1::reader(proxy.url()).unwrap();
    let mut reader = Reader::default();
    let mut follower = Follower::new(&l1, chain.following());
    reader.until(&mut follower, 9).await;
    assert_eq!(reader.logs, chain.truth().await);
    assert!(reader.undone.is_empty());
}

#[tokio::test]
async fn logs_are_told_when_they_have_their_confirmations() {
    let chain = Chain::start().await;
    chain.say(2).await;
    let following = Following {
        confirmations: 3,
        ..chain.following()
    };
    let mut reader = Reader::default();
    let mut follower = Follower::new(&chain.l1, following);
    chain.mine(1).await;
    while let Some(update) = follower.poll().await.unwrap() {
        reader.take(update);
    }
    assert!(reader.logs.is_empty(), "two confirmations of three");
    chain.mine(1).await;
    while let Some(update) = follower.poll().await.unwrap() {
        reader.take(update);
    }
    assert_eq!(reader.logs.len(), 2);
}

#[tokio::test]
async fn waiting_asks_no_more_often_than_configured_and_a_broken_endpoint_is_told_with_patience() {
    let chain = Chain::start().await;
    let asked = Arc::new(AtomicU64::new(0));
    let broken = Arc::new(AtomicU64::new(0));
    let (count, breaks) = (asked.clone(), broken.clone());
    let proxy = Proxy::start(chain.anvil.url(), move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        match breaks.load(Ordering::SeqCst) {
            0 => Verdict::Forward,
            _ => Verdict::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html></h".to_vec()),
        }
    })
    .await;
    let l1 = L1::reader(proxy.url()).unwrap();
    let poll = Duration::from_millis(50);
    let following = Following {
        poll,
        patience: Duration::from_millis(100),
        ..chain.following()
    };
    let mut reader = Reader::default();
    let mut follower = Follower::new(&l1, following);
    reader.until(&mut follower, 1).await;
    let (before, begun) = (asked.load(Ordering::SeqCst), Instant::now());
    let waited = tokio::time::timeout(Duration::from_millis(500), follower.next()).await;
    assert!(waited.is_err(), "there is nothing new");
    let polls = begun.elapsed().as_millis() / poll.as_millis() + 2;
    // Head and last block.
    assert!(u128::from(asked.load(Ordering::SeqCst) - before) <= 2 * polls);

    broken.store(1, Ordering::SeqCst);
    let error = follower.next().await.expect_err("it is broken");
    assert!(matches!(error, FollowError::Endpoint { block: 1, .. }), "{error}");
    broken.store(0, Ordering::SeqCst);
    chain.say(2).await;
    reader.until(&mut follower, 2).await;
    assert_eq!(reader.logs, chain.truth().await);
}
