//! Transactions on an anvil that mines when it is told to, and behind endpoints that lose, forget, repeat and invent.

mod proxy;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
};
use proxy::{Proxy, Verdict};
use rules::{Fr, eddsa::PrivateKey, state::State};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, Call, DeployConfig, Deployment, FailReason, FeeBounds, L1, L1Error, Limits, Sending},
    rollup::{self, Rejection, RootSubmission},
    tools::Tools,
    verifier::CompiledVerifier,
};

const STAND_INS: &str = include_str!("../test/StandIns.sol");
/// Nobody's account, which gets 1 wei from each transaction of these tests.
const RECIPIENT: Address = Address::repeat_byte(0xcc);
/// Longest that something is waited for which must come about.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An anvil that mines when it is told to.
struct Chain {
    anvil: Anvil,
    rpc: DynProvider,
}

fn tools() -> Tools {
    Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools")
}

impl Chain {
    async fn start() -> Self {
        let anvil = Anvil::spawn(&tools()).expect("anvil");
        let rpc = ProviderBuilder::new()
            .connect_http(anvil.url().parse().unwrap())
            .erased();
        let chain = Self { anvil, rpc };
        chain.ask("evm_setAutomine", json!([false])).await;
        chain
    }

    async fn ask(&self, method: &'static str, params: Value) -> Value {
        let answer = self.rpc.raw_request(method.into(), params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.ask("evm_mine", json!([])).await;
        }
    }

    /// The pool's transactions that could be mined now, by nonce; without the foreign ones.
    async fn pool(&self) -> Vec<Value> {
        let content = self.ask("txpool_content", json!([])).await;
        let of_sender = content["pending"].as_object().expect("an object").values();
        let mut all: Vec<Value> = of_sender
            .flat_map(|by_nonce| by_nonce.as_object().expect("an object").values().cloned())
            .collect();
        all.sort_by_key(|transaction| number(&transaction["nonce"]));
        all
    }

    /// Waits until the pool is as it should be.
    async fn pool_until(&self, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let looked = async {
            loop {
                let pool = self.pool().await;
                if is_so(&pool) {
                    return pool;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, looked)
            .await
            .expect("the pool becomes so")
    }

    async fn received(&self) -> u64 {
        self.rpc.get_balance(RECIPIENT).await.expect("a balance").to()
    }
}

fn number(value: &Value) -> u64 {
    let digits = value.as_str().expect("a number").trim_start_matches("0x");
    u64::from_str_radix(digits, 16).expect("64 bits")
}

/// Nothing is stuck, unless a test says so.
fn sending() -> Sending {
    Sending {
        stuck_after: Duration::from_secs(3_600),
        poll_max: Duration::from_millis(20),
        ..Sending::default()
    }
}

fn connect(url: &str, sending: Sending) -> L1 {
    L1::connect_with(url, ANVIL_KEY, &Limits::default(), sending).expect("connects")
}

fn one_wei() -> Call {
    Call::new(RECIPIENT, vec![]).with_value(U256::from(1))
}

fn send(l1: &L1) -> JoinHandle<Result<TransactionReceipt, L1Error>> {
    let l1 = l1.clone();
    tokio::spawn(async move { l1.transact(one_wei()).await })
}

async fn result<T>(task: JoinHandle<T>) -> T {
    let ended = tokio::time::timeout(WAIT_MAX, task).await;
    ended.expect("it ends").expect("it does not panic")
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_with_fees_that_are_an_eighth_higher() {
    let chain = Chain::start().await;
    let stuck_after = Duration::from_millis(100);
    let l1 = connect(
        chain.anvil.url(),
        Sending {
            stuck_after,
            ..sending()
        },
    );
    let task = send(&l1);
    let first = chain.pool_until(|pool| pool.len() == 1).await.remove(0);
    // Twice the base fee was offered; now it is thrice.
    let base_fee = 3 * number(&first["maxFeePerGas"]) / 2;
    chain
        .ask(
            "anvil_setNextBlockBaseFeePerGas",
            json!([format!("{base_fee:#x}")]),
        )
        .await;
    chain.mine(1).await;
    assert_eq!(chain.received().await, 0, "the first transaction is too cheap");
    let second = chain
        .pool_until(|pool| pool.iter().any(|sent| number(&sent["maxFeePerGas"]) > base_fee))
        .await
        .remove(0);
    assert_eq!(second["nonce"], first["nonce"]);
    for fee in ["maxFeePerGas", "maxPriorityFeePerGas"] {
        let [before, after] = [&first, &second].map(|sent| number(&sent[fee]));
        assert!(8 * after >= 9 * before, "{fee}: {before}, then {after}");
    }
    chain.mine(1).await;
    let receipt = result(task).await.expect("it is mined");
    assert!(receipt.status());
    chain.mine(1).await;
    assert_eq!(chain.received().await, 1);
    assert!(chain.pool().await.is_empty());
}

#[tokio::test]
async fn a_transaction_whose_fees_may_rise_no_more_is_given_up_by_name_and_not_sent_anew() {
    let chain = Chain::start().await;
    let fees = FeeBounds {
        fee_max: 2_500_000_000,
        ..FeeBounds::default()
    };
    let sending = Sending {
        fees,
        stuck_after: Duration::ZERO,
        wait_max: Duration::from_millis(1_500),
        ..sending()
    };
    let l1 = connect(chain.anvil.url(), sending);
    let given_up = result(send(&l1)).await;
    let pool = chain.pool().await;
    assert_eq!(pool.len(), 1);
    assert!(u128::from(number(&pool[0]["maxFeePerGas"])) <= fees.fee_max);
    match given_up {
        Err(L1Error::Unconfirmed {
            transaction,
            nonce: 0,
            confirmations: 1,
            found,
            ..
        }) => {
            assert_eq!(pool[0]["hash"], json!(transaction));
            assert_eq!(found, "the endpoint has it in its pool");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn several_transactions_are_on_their_way_at_once_with_a_nonce_each() {
    let chain = Chain::start().await;
    let l1 = connect(
        chain.anvil.url(),
        Sending {
            in_flight_max: 5,
            ..sending()
        },
    );
    let tasks: Vec<_> = (0..7).map(|_| send(&l1)).collect();
    let pool = chain.pool_until(|pool| pool.len() == 5).await;
    let nonces: Vec<u64> = pool.iter().map(|sent| number(&sent["nonce"])).collect();
    assert_eq!(nonces, [0, 1, 2, 3, 4], "two wait for their turn");
    chain.mine(1).await;
    chain.pool_until(|pool| pool.len() == 2).await;
    chain.mine(1).await;
    for task in tasks {
        result(task).await.expect("it is mined");
    }
    assert_eq!(chain.received().await, 7);
}

#[tokio::test]
async fn a_transaction_that_the_node_dropped_is_sent_again_as_it_was() {
    let chain = Chain::start().await;
    let l1 = connect(chain.anvil.url(), sending());
    let task = send(&l1);
    let hash = chain.pool_until(|pool| pool.len() == 1).await.remove(0)["hash"].clone();
    chain.ask("anvil_dropTransaction", json!([hash])).await;
    let again = chain.pool_until(|pool| pool.len() == 1).await.remove(0);
    assert_eq!(again["hash"], hash);
    chain.mine(1).await;
    let receipt = result(task).await.expect("it is mined");
    assert_eq!(json!(receipt.transaction_hash), hash);
    assert_eq!(chain.received().await, 1);
}

/// An endpoint that says, by a flag, that it has shown somebody a receipt.
async fn watched(chain: &Chain) -> (Proxy, Arc<AtomicBool>) {
    let shown = Arc::new(AtomicBool::new(false));
    let flag = shown.clone();
    let proxy = Proxy::start(chain.anvil.url(), move |method, _| {
        let flag = flag.clone();
        match method {
            "eth_getTransactionReceipt" => Verdict::Change(Box::new(move |answer| {
                flag.fetch_or(!answer["result"].is_null(), Ordering::SeqCst);
            })),
            _ => Verdict::Forward,
        }
    })
    .await;
    (proxy, shown)
}

async fn until(flag: &AtomicBool) {
    let set = async {
        while !flag.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, set).await.expect("it is shown");
}

#[tokio::test]
async fn a_transaction_that_a_reorganisation_of_depth_two_took_out_is_sent_again() {
    let chain = Chain::start().await;
    let (proxy, shown) = watched(&chain).await;
    let l1 = connect(
        proxy.url(),
        Sending {
            confirmations: 3,
            ..sending()
        },
    );
    let task = send(&l1);
    let hash = chain.pool_until(|pool| pool.len() == 1).await.remove(0)["hash"].clone();
    chain.mine(2).await;
    until(&shown).await;
    assert_eq!(chain.received().await, 1);
    chain.ask("anvil_reorg", json!([2, []])).await;
    assert_eq!(chain.received().await, 0, "the reorganisation took it out");
    let again = chain.pool_until(|pool| pool.len() == 1).await.remove(0);
    assert_eq!(again["hash"], hash);
    chain.mine(2).await;
    assert!(!task.is_finished(), "it has two confirmations of three");
    chain.mine(1).await;
    let receipt = result(task).await.expect("it is mined");
    assert_eq!(json!(receipt.transaction_hash), hash);
    assert_eq!(receipt.block_number, Some(3));
    assert_eq!(chain.received().await, 1);
}

#[tokio::test]
async fn a_transaction_that_a_reorganisation_moved_counts_from_its_new_block() {
    let chain = Chain::start().await;
    let (proxy, shown) = watched(&chain).await;
    let l1 = connect(
        proxy.url(),
        Sending {
            confirmations: 3,
            ..sending()
        },
    );
    let task = send(&l1);
    let hash = chain.pool_until(|pool| pool.len() == 1).await.remove(0)["hash"].clone();
    let raw = chain.ask("eth_getRawTransactionByHash", json!([hash])).await;
    chain.mine(2).await;
    until(&shown).await;
    // From block 1 to block 2.
    chain.ask("anvil_reorg", json!([2, [[raw, 1]]])).await;
    assert_eq!(chain.received().await, 1);
    chain.mine(1).await;
    assert!(!task.is_finished(), "it has two confirmations of three");
    chain.mine(1).await;
    let receipt = result(task).await.expect("it is mined");
    assert_eq!(
        (json!(receipt.transaction_hash), receipt.block_number),
        (hash, Some(2))
    );
}

/// A transaction of somebody else with the same key: of the given nonce, at ten times the usual fees.
async fn foreign(chain: &Chain, nonce: u64) -> B256 {
    let l1 = L1::connect(chain.anvil.url(), ANVIL_KEY).unwrap();
    let request = TransactionRequest {
        from: Some(l1.account()),
        to: Some(Address::repeat_byte(0xdd).into()),
        nonce: Some(nonce),
        gas: Some(21_000),
        max_fee_per_gas: Some(50_000_000_000),
        max_priority_fee_per_gas: Some(40_000_000_000),
        ..TransactionRequest::default()
    };
    // Anvil signs with its development accounts' keys.
    let sent = chain.ask("eth_sendTransaction", json!([request])).await;
    serde_json::from_value(sent).expect("a hash")
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_an_error_and_nothing_is_sent_twice() {
    let chain = Chain::start().await;
    let l1 = connect(chain.anvil.url(), sending());
    let task = send(&l1);
    let ours = chain.pool_until(|pool| pool.len() == 1).await.remove(0)["hash"].clone();
    foreign(&chain, 0).await;
    chain.mine(1).await;
    match result(task).await {
        Err(L1Error::Displaced {
            transaction,
            nonce: 0,
            next_nonce: 1,
        }) => assert_eq!(json!(transaction), ours),
        other => panic!("{other:?}"),
    }
    chain.mine(1).await;
    assert_eq!(chain.received().await, 0);
    // The account is not blocked by it.
    let task = send(&l1);
    chain.pool_until(|pool| pool.len() == 1).await;
    chain.mine(1).await;
    assert_eq!(result(task).await.expect("it is mined").block_number, Some(3));
}

/// An endpoint whose first answer to "which nonce is next" is behind by everything.
async fn forgetful(chain: &Chain) -> Proxy {
    let asked = AtomicU64::new(0);
    Proxy::start(chain.anvil.url(), move |method, question| {
        let is_pending = question["params"][1] == "pending";
        match method {
            "eth_getTransactionCount" if is_pending && asked.fetch_add(1, Ordering::SeqCst) == 0 => {
                Verdict::Answer(json!("0x0"))
            }
            _ => Verdict::Forward,
        }
    })
    .await
}

/// It could keep each, and have all of them mined.
#[tokio::test]
async fn an_endpoint_that_contradicts_itself_is_given_one_transaction() {
    for said in ["nonce too low", "replacement transaction underpriced"] {
        let chain = Chain::start().await;
        let sends = Arc::new(AtomicU64::new(0));
        let count = sends.clone();
        let proxy = Proxy::start(chain.anvil.url(), move |method, _| match method {
            "eth_sendRawTransaction" => {
                count.fetch_add(1, Ordering::SeqCst);
                Verdict::Refuse(said)
            }
            _ => Verdict::Forward,
        })
        .await;
        let refused = result(send(&connect(proxy.url(), sending()))).await;
        let told = refused.expect_err("it is on no chain").to_string();
        assert!(
            told.contains("counts that it is not") && told.contains("0x"),
            "{told}"
        );
        assert_eq!(sends.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn what_is_refused_and_sent_all_the_same_is_awaited() {
    let chain = Chain::start().await;
    let proxy = Proxy::start(chain.anvil.url(), |method, _| match method {
        "eth_sendRawTransaction" => Verdict::Change(Box::new(|answer| {
            let fields = answer.as_object_mut().expect("an answer");
            fields.remove("result");
            let message = "insufficient funds for gas * price + value";
            fields.insert("error".to_owned(), json!({ "code": -32000, "message": message }));
        })),
        _ => Verdict::Forward,
    })
    .await;
    let task = send(&connect(proxy.url(), sending()));
    chain.pool_until(|pool| pool.len() == 1).await;
    chain.mine(1).await;
    result(task).await.expect("it is mined");
    assert_eq!(chain.received().await, 1);
}

#[tokio::test]
async fn a_transaction_whose_receipt_is_late_is_nobody_elses() {
    let chain = Chain::start().await;
    let hidden = Arc::new(AtomicU64::new(0));
    let count = hidden.clone();
    let proxy = Proxy::start(chain.anvil.url(), move |method, _| match method {
        // More often than another's transaction is looked at again.
        "eth_getTransactionReceipt" if count.fetch_add(1, Ordering::SeqCst) < 12 => {
            Verdict::Answer(Value::Null)
        }
        _ => Verdict::Forward,
    })
    .await;
    let task = send(&connect(proxy.url(), sending()));
    chain.pool_until(|pool| pool.len() == 1).await;
    chain.mine(1).await;
    result(task).await.expect("it is mined");
    assert!(hidden.load(Ordering::SeqCst) > 12);
}

#[tokio::test]
async fn nonces_that_are_used_or_in_the_pool_already_are_passed_over() {
    let chain = Chain::start().await;
    let mined = foreign(&chain, 0).await;
    chain.mine(1).await;
    let waiting = foreign(&chain, 1).await;
    let proxy = forgetful(&chain).await;
    let task = send(&connect(proxy.url(), sending()));
    let pool = chain.pool_until(|pool| pool.len() == 2).await;
    assert_eq!(
        pool[0]["hash"],
        json!(waiting),
        "another's transaction is left alone"
    );
    assert_eq!(number(&pool[1]["nonce"]), 2);
    chain.mine(1).await;
    let receipt = result(task).await.expect("it is mined");
    assert_ne!(receipt.transaction_hash, mined);
    assert_eq!(chain.received().await, 1);
}

#[tokio::test]
async fn a_lost_answer_does_not_send_twice() {
    let chain = Chain::start().await;
    let sends = Arc::new(AtomicU64::new(0));
    let count = sends.clone();
    let proxy = Proxy::start(chain.anvil.url(), move |method, _| match method {
        "eth_sendRawTransaction" => match count.fetch_add(1, Ordering::SeqCst) {
            0 => Verdict::Lose,
            _ => Verdict::Forward,
        },
        _ => Verdict::Forward,
    })
    .await;
    let task = send(&connect(proxy.url(), sending()));
    chain.pool_until(|pool| pool.len() == 1).await;
    chain.mine(1).await;
    result(task).await.expect("it is mined");
    assert_eq!(sends.load(Ordering::SeqCst), 1);
    chain.mine(1).await;
    assert_eq!(chain.received().await, 1);
}

#[tokio::test]
async fn a_transaction_that_never_reached_the_node_is_sent_again() {
    let chain = Chain::start().await;
    let sends = Arc::new(AtomicU64::new(0));
    let count = sends.clone();
    let proxy = Proxy::start(chain.anvil.url(), move |method, _| match method {
        // Answered by something that is no node.
        "eth_sendRawTransaction" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
            Verdict::Raw(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_vec())
        }
        _ => Verdict::Forward,
    })
    .await;
    let task = send(&connect(proxy.url(), sending()));
    chain.pool_until(|pool| pool.len() == 1).await;
    assert_eq!(sends.load(Ordering::SeqCst), 3);
    chain.mine(1).await;
    result(task).await.expect("it is mined");
    assert_eq!(chain.received().await, 1);
}

#[tokio::test]
async fn a_transaction_that_fails_says_why() {
    let tools = tools();
    let chain = Chain::start().await;
    chain.ask("evm_setAutomine", json!([true])).await;
    let l1 = connect(chain.anvil.url(), sending());
    let verifier = CompiledVerifier::stand_in(&tools, STAND_INS, "AcceptsAll").expect("compiles");
    let contracts = rollup::compile(&tools).expect("compiles");
    let config = DeployConfig::new(l1.account(), RECIPIENT, PrivateKey::from_bytes(&[1; 32]).public());
    let (deployment, _) = Deployment::deploy(&l1, &contracts, &[&verifier], &config)
        .await
        .expect("deploys");
    let mut rows: Vec<Fr> = (100..117).map(Fr::from).collect();
    rows[9] = Fr::from(l1.block_time().await.expect("a block"));
    rows[11] = State::default().root();
    let submission = RootSubmission::new(0, 0, &rows, vec![], vec![1; 62], vec![1; 64]).expect("17 rows");
    chain.ask("evm_setAutomine", json!([false])).await;
    // Both would be accepted when they are asked for, and only one when they are mined.
    let tasks = [(); 2].map(|()| {
        let (deployment, submission) = (deployment.clone(), submission.clone());
        tokio::spawn(async move { deployment.submit_batch(&submission).await })
    });
    chain.pool_until(|pool| pool.len() == 2).await;
    chain.mine(1).await;
    let mut refused = Vec::new();
    for task in tasks {
        match result(task).await {
            Ok(accepted) => assert_eq!(accepted.number, 0),
            Err(error) => refused.push(error),
        }
    }
    let wrong_number = FailReason::Rejected(Rejection::WrongBatchNumber {
        expected: 1,
        given: 0,
    });
    assert!(
        matches!(&refused[..], [L1Error::Failed { reason, nonce: 4, .. }] if **reason == wrong_number),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_is_sent_when_gas_is_too_dear_or_the_account_is_too_poor() {
    let chain = Chain::start().await;
    let fees = FeeBounds {
        fee_max: 900_000_000,
        ..FeeBounds::default()
    };
    let refused = result(send(&connect(chain.anvil.url(), Sending { fees, ..sending() }))).await;
    assert!(matches!(
        refused,
        Err(L1Error::FeesAboveCap { needed, most: 900_000_000 }) if needed > 900_000_000
    ));

    let poor = format!("{:064x}", 0x90u8);
    let poor = L1::connect_with(chain.anvil.url(), &poor, &Limits::default(), sending()).unwrap();
    let refused = poor.transact(one_wei().with_gas(21_000)).await;
    assert!(
        matches!(
            &refused,
            Err(L1Error::Funds { account, nonce: 0, needed, found })
                if *account == poor.account() && found.is_zero() && *needed > U256::from(21_000)
        ),
        "{refused:?}"
    );
    assert!(matches!(
        L1::reader(chain.anvil.url()).unwrap().transact(one_wei()).await,
        Err(L1Error::NoAccount)
    ));
    assert!(chain.pool().await.is_empty());
}

#[tokio::test]
async fn endpoints_that_answer_nonsense_too_much_or_never_are_told_apart() {
    let raw = |head: &str, body: Vec<u8>| [head.as_bytes(), b"\r\n\r\n", &body].concat();
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 100000000000";
    let limits = Limits {
        answer_max: Duration::from_millis(300),
        answer_bytes_max: 10_000,
        ..Limits::default()
    };
    let long = || format!("{}\u{1b}[2J", "n".repeat(5_000)).into_bytes();
    let cases: [(&str, Verdict); 7] = [
        (
            "EOF while parsing",
            Verdict::Raw(raw(
                "HTTP/1.1 200 OK\r\ncontent-length: 20",
                br#"{"jsonrpc":"2.0","id"#.to_vec(),
            )),
        ),
        (
            "expected value",
            Verdict::Raw(raw("HTTP/1.1 200 OK\r\ncontent-length: 9", b"<html></h".to_vec())),
        ),
        ("before message completed", Verdict::Raw(vec![])),
        (
            "HTTP error 503",
            Verdict::Raw(raw("HTTP/1.1 503 Busy\r\ncontent-length: 5004", long())),
        ),
        (
            "more than the 10000 bytes",
            Verdict::Raw(raw(huge, vec![b' '; 20_000])),
        ),
        ("timed out", Verdict::Hang),
        ("invalid type", Verdict::Answer(json!(["0x1"]))),
    ];
    for (expected, verdict) in cases {
        let verdict = Mutex::new(Some(verdict));
        let proxy = Proxy::start("", move |_, _| {
            verdict.lock().unwrap().take().unwrap_or(Verdict::Hang)
        })
        .await;
        let l1 = L1::reader_with(proxy.url(), &limits).unwrap();
        let error = l1.chain_id().await.expect_err(expected);
        let told = error.to_string();
        assert!(matches!(error, L1Error::Endpoint(_)), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(told.chars().count() < 450 && !told.contains('\u{1b}'), "{told}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn progress_is_logged_with_hash_and_nonce_and_without_key_or_address() {
    let chain = Chain::start().await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of this thread, on which the runtime of this test runs everything.
    let _guard = tracing::subscriber::set_default(subscriber);
    // Anvil answers under no path but its own.
    let proxy = Proxy::start(chain.anvil.url(), |_, _| Verdict::Forward).await;
    let url = proxy.url().replace("http://", "http://name:password@") + "/v3/secret";
    let l1 = connect(
        &url,
        Sending {
            stuck_after: Duration::from_millis(50),
            ..sending()
        },
    );
    let task = send(&l1);
    let first = chain.pool_until(|pool| pool.len() == 1).await.remove(0)["hash"].clone();
    chain
        .pool_until(|pool| pool.iter().any(|sent| sent["hash"] != first))
        .await;
    chain.mine(1).await;
    result(task).await.expect("it is mined");
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for said in [
        "transaction sent",
        "transaction stuck, replaced",
        "transaction confirmed",
        "nonce",
    ] {
        assert!(logged.contains(said), "{said}: {logged}");
    }
    assert!(logged.contains(first.as_str().unwrap()));
    let debug = format!("{l1:?}");
    for secret in [ANVIL_KEY, &ANVIL_KEY.to_uppercase(), "password", "v3/secret"] {
        assert!(!logged.contains(secret) && !debug.contains(secret), "{secret}");
    }
}
