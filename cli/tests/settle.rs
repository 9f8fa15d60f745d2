//! `settle` with real proofs: what a coordinator has proven goes to a real contract on anvil, and what L1 would not take costs nothing.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use circuits::preset::Preset;
use coordinator::convert::batch_to_proto;
use prost::Message as _;
use prover::fixtures;
use rules::batch::{self, Batch};
use rules::eddsa::{PrivateKey, PublicKey};
use rules::operation::{Operation, Queued, RollupId};
use rules::record::{Kind, Record};
use rules::state::State;
use serde_json::{Value, json};
use support::{Running, Service, log_tail, program, run, start, wait_for};
use verifier_contracts::anvil::Anvil;
use verifier_contracts::l1::{ANVIL_KEY, DeployConfig, Deployment, L1};
use verifier_contracts::rollup::{self, Contracts};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::{self, CompiledVerifier};

/// anvil's second account. Everybody knows its key.
const STRANGER: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// A batch is proven within this time, the worker's start included.
const PROVEN_MAX: Duration = Duration::from_secs(240);
/// What L1 is asked for comes about within this time.
const L1_MAX: Duration = Duration::from_secs(60);
/// A signal ends the command within this time.
const END_MAX: Duration = Duration::from_secs(2);

fn fee_key() -> PublicKey {
    PrivateKey::from_bytes(&[1; 32]).public()
}

/// A local L1 with a rollup at the address that the service proves for.
struct Chain {
    anvil: Anvil,
    runtime: tokio::runtime::Runtime,
    rpc: DynProvider,
    deployment: Deployment,
}

impl Chain {
    fn start(tools: &Tools, contracts: &Contracts, verifier: &CompiledVerifier, chain_id: u64) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let anvil = Anvil::spawn(tools).unwrap();
        let rpc = ProviderBuilder::new()
            .connect_http(anvil.url().parse().unwrap())
            .erased();
        let set = rpc.raw_request::<_, Value>("anvil_setChainId".into(), json!([chain_id]));
        runtime.block_on(set).unwrap();
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).unwrap();
        let config = DeployConfig::new(l1.account(), l1.account(), fee_key());
        let deployed = runtime.block_on(Deployment::deploy(&l1, contracts, &[verifier], &config));
        let (deployment, _) = deployed.unwrap();
        assert_eq!(format!("{:?}", deployment.rollup()), support::CONTRACT);
        Self {
            anvil,
            runtime,
            rpc,
            deployment,
        }
    }

    fn ask(&self, method: &'static str, params: Value) -> Value {
        self.runtime
            .block_on(self.rpc.raw_request(method.into(), params))
            .unwrap()
    }

    fn operator(&self) -> Address {
        self.deployment.l1().account()
    }

    /// Transactions that the operator has sent, and those of them that are mined.
    fn nonces(&self) -> (u64, u64) {
        let count = |block: &str| {
            let found = self.ask("eth_getTransactionCount", json!([self.operator(), block]));
            u64::from_str_radix(found.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        (count("pending"), count("latest"))
    }

    fn next(&self) -> u64 {
        self.runtime
            .block_on(self.deployment.next_batch_number())
            .unwrap()
    }

    fn root(&self) -> String {
        rules::field::to_hex(&self.runtime.block_on(self.deployment.state_root()).unwrap())
    }

    /// `settle` at this chain and the usual contract, as the operator.
    fn settle(&self, args: &[&str]) -> Command {
        let mut command = program();
        command
            .args(["settle", "--rpc", self.anvil.url(), "--json"])
            .args(args)
            .env("ROLLUP_PROVER_CONTRACT", support::CONTRACT)
            .env("ROLLUP_PROVER_L1_KEY", format!("0x{ANVIL_KEY}"))
            .env("RUST_LOG", "info");
        command
    }
}

/// Exit code, what is told to programs line by line, and what to people.
fn outcome(command: &mut Command) -> (i32, Vec<Value>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(ANVIL_KEY), "a key is told");
    let out = String::from_utf8(output.stdout).unwrap();
    let lines = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (output.status.code().expect("it ends by itself"), lines, said)
}

#[track_caller]
fn refused(command: &mut Command, code: i32, told: &[&str]) {
    let shown = format!("{command:?}");
    let (found, lines, said) = outcome(command);
    assert_eq!((found, lines.len()), (code, 0), "{shown}: {said}");
    for told in told {
        assert!(said.contains(told), "{told:?} is missing in {said}");
    }
}

#[track_caller]
fn done(command: &mut Command) -> Vec<Value> {
    let (code, lines, said) = outcome(command);
    assert_eq!(code, 0, "{said}");
    lines
}

/// The service, and the batches that are made for it.
struct Proofs<'a> {
    directory: &'a Path,
    service: &'a Service,
    state: State,
    number: u64,
}

impl Proofs<'_> {
    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Makes a batch and hands it over; its id.
    fn submit(&mut self, operations: Vec<Operation>) -> String {
        let old_root = self.state.root();
        let mut contract = [0; 20];
        hex::decode_to_slice(&support::CONTRACT[2..], &mut contract).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut made = Batch {
            rollup_id: RollupId {
                chain_id: 31_337,
                contract,
            },
            number: self.number,
            time: now.unwrap().as_secs(),
            old_root,
            new_root: old_root,
            operations,
        };
        made.new_root = batch::new_root(&self.state, &made).unwrap();
        batch::execute(&mut self.state, &made).unwrap();
        self.number += 1;
        let file = self.path("made.bin");
        fs::write(&file, batch_to_proto(&made).encode_to_vec()).unwrap();
        let out = self.call(&["submit", "--batch", &file]);
        let submitted: Value = serde_json::from_str(&out).unwrap();
        submitted["batch_id"].as_str().unwrap().to_owned()
    }

    fn call(&self, args: &[&str]) -> String {
        let mut command = program();
        command
            .args(args)
            .args(["--json", "--coordinator", &self.service.url]);
        run(&mut command, &log_tail(&self.directory.join("coordinator.log")))
    }

    /// Waits for a batch's proof, and writes it to a file.
    fn proof(&self, id: &str, name: &str) -> String {
        let started = Instant::now();
        self.call(&["watch", id]);
        assert!(started.elapsed() < PROVEN_MAX);
        let file = self.path(name);
        self.call(&["proof", id, "--out", &file]);
        file
    }
}

/// The queue's first entry, which the constructor makes.
fn first_entry(chain: &Chain) -> Operation {
    let key = fee_key();
    let record = Record {
        kind: Kind::DepositNew,
        code: 0,
        token: rules::account::TokenId(1),
        index: rules::account::AccountIndex::new(1).unwrap(),
        amount: 0,
        address: chain.operator().into_array(),
        u: key.0.x.into(),
        v: key.0.y.into(),
    };
    Operation::Queued(Queued::new(record).unwrap())
}

#[test]
fn proven_batches_come_to_l1_in_their_order_and_what_l1_would_not_take_costs_nothing() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
    let keys = fixtures::keys(Preset::by_name("tiny").unwrap()).unwrap();
    let verifier = verifier::compile(&tools, verifier::render(keys.verifying_keys())).unwrap();
    let contracts = rollup::compile(&tools).unwrap();
    let chain = Chain::start(&tools, &contracts, &verifier, 31_337);
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let worker = ["worker", "--coordinator", &service.url, "--device", "cpu"];
    let _worker = start(directory.path(), "worker.log", &worker);
    let mut proofs = Proofs {
        directory: directory.path(),
        service: &service,
        state: State::default(),
        number: 0,
    };
    let other = proofs.submit(vec![Operation::NoOp]);
    let other = proofs.proof(&other, "other.json");
    proofs.call(&["rollback", "--to", "0", "--yes"]);
    proofs.number = 0;
    let first = proofs.submit(vec![first_entry(&chain)]);
    let second = proofs.submit(vec![Operation::NoOp]);
    let first_file = proofs.proof(&first, "first.json");
    let second_file = proofs.proof(&second, "second.json");

    let before = chain.nonces();
    refusals(
        &chain,
        (&tools, &contracts),
        &first_file,
        &second_file,
        directory.path(),
    );
    // The coordinator of the same contract on another chain.
    let source = include_str!("../../verifier-contracts/test/StandIns.sol");
    let stand_in = CompiledVerifier::stand_in(&tools, source, "AcceptsAll").unwrap();
    let elsewhere = Chain::start(&tools, &contracts, &stand_in, 5);
    refused(
        &mut elsewhere.settle(&["--coordinator", &service.url]),
        1,
        &["the coordinator proves for chain 31337, the L1 endpoint is of chain 5"],
    );
    assert_eq!(chain.nonces(), before, "nothing was sent");
    assert_eq!(chain.next(), 0);

    // One file, and the same again.
    let accepted = done(&mut chain.settle(&["--proof", &first_file]));
    let [accepted] = &accepted[..] else {
        panic!("{accepted:?}")
    };
    assert_eq!(
        (&accepted["batch_number"], &accepted["already_on_l1"]),
        (&0.into(), &false.into())
    );
    assert_eq!(accepted["state_root"], chain.root().as_str());
    assert!(accepted["transaction"]["gas_used"].as_u64().unwrap() > 100_000);
    let again = done(&mut chain.settle(&["--proof", &first_file]));
    assert_eq!(again[0]["already_on_l1"], true);
    assert_eq!(again[0]["transaction"], accepted["transaction"]);
    let roots = [&other, &first_file].map(|file| support::read_json(Path::new(file))["new_root"].clone());
    let roots = roots.each_ref().map(|root| root.as_str().unwrap());
    refused(
        &mut chain.settle(&["--proof", &other]),
        3,
        &["L1 has another batch 0", roots[0], roots[1], "rollback --to 0"],
    );

    // The coordinator's, as far as they are proven.
    let at = ["--coordinator", service.url.as_str()];
    let lines = done(&mut chain.settle(&at));
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["batch_number"].as_u64().unwrap(),
                line["batch_id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(numbers, [(1, second.as_str())]);
    assert_eq!(done(&mut chain.settle(&at)).len(), 0, "there is nothing more");

    let third = follow(&chain, &mut proofs);
    interrupted(&chain, &mut proofs);
    assert_ne!(third, "");
}

fn refusals(
    chain: &Chain,
    (tools, contracts): (&Tools, &Contracts),
    first: &str,
    second: &str,
    directory: &Path,
) {
    let file = ["--proof", first];
    refused(
        chain.settle(&file).env_remove("ROLLUP_PROVER_L1_KEY"),
        1,
        &["no key", "--l1-key-file"],
    );
    refused(
        chain.settle(&file).env("ROLLUP_PROVER_L1_KEY", STRANGER),
        3,
        &["is not the operator", "others may submit when", "operator's key"],
    );
    refused(
        &mut chain.settle(&["--proof", second]),
        3,
        &["batch 1 is ahead", "submit batch 0 first"],
    );
    refused(
        &mut chain.settle(&["--proof", first, "--follow"]),
        2,
        &["--follow"],
    );
    // Nobody there: it is tried for a while.
    let mut nobody = program();
    nobody
        .args(["settle", "--rpc", "http://127.0.0.1:1", "--proof", first])
        .args(["--contract", support::CONTRACT])
        .env("ROLLUP_PROVER_L1_KEY", format!("0x{ANVIL_KEY}"));
    refused(&mut nobody, 6, &["the L1 endpoint", "waiting: "]);

    // Another contract of the same chain.
    let stand_in = include_str!("../../verifier-contracts/test/StandIns.sol");
    let stand_in = CompiledVerifier::stand_in(tools, stand_in, "AcceptsAll").unwrap();
    let l1 = L1::connect(chain.anvil.url(), STRANGER).unwrap();
    let config = DeployConfig::new(l1.account(), l1.account(), fee_key());
    let other = chain
        .runtime
        .block_on(Deployment::deploy(&l1, contracts, &[&stand_in], &config));
    let other = format!("{:?}", other.unwrap().0.rollup());
    refused(
        chain.settle(&file).env("ROLLUP_PROVER_CONTRACT", &other),
        1,
        &["was proven for the rollup contract"],
    );
    let nothing = format!("0x{}", "12".repeat(20));
    refused(
        chain.settle(&file).env("ROLLUP_PROVER_CONTRACT", nothing),
        1,
        &["not the rollup contract's"],
    );

    // The same contract on another chain; there, one of another key too.
    let elsewhere = Chain::start(tools, contracts, &stand_in, 31_337);
    refused(
        &mut elsewhere.settle(&file),
        3,
        &["no verifier in force", "verify-deployed"],
    );
    let elsewhere = Chain::start(tools, contracts, &stand_in, 5);
    refused(
        &mut elsewhere.settle(&file),
        1,
        &["was proven for chain 31337, the L1 endpoint is of chain 5"],
    );

    // One byte of the file.
    let honest = support::read_json(Path::new(first));
    let edited = directory.join("edited.json");
    for (field, told) in [
        ("/proof", "the verifier rejected the proof"),
        ("/instances/0", "the verifier rejected the proof"),
        ("/instances/12", "new_root: "),
        ("/new_root", "new_root: "),
        ("/posted_a", "posted_a: "),
        ("/c_b", "c_b: "),
    ] {
        let mut file = honest.clone();
        let value = file.pointer_mut(field).unwrap();
        let mut text = value.as_str().unwrap().to_owned();
        let last = text.pop().unwrap();
        text.push(if last == '0' { '1' } else { '0' });
        *value = text.into();
        fs::write(&edited, file.to_string()).unwrap();
        let edited = ["--proof", edited.to_str().unwrap()];
        refused(&mut chain.settle(&edited), 5, &[told]);
    }
    let mut file = honest.clone();
    file["aggregation_vk_digest"] = format!("0x{}", "11".repeat(32)).into();
    fs::write(&edited, file.to_string()).unwrap();
    let edited = ["--proof", edited.to_str().unwrap()];
    refused(&mut chain.settle(&edited), 3, &["no verifier in force"]);
}

/// Starts `settle` with its output in files.
fn begin(chain: &Chain, args: &[&str], directory: &Path, name: &str) -> Running {
    let file = |kind: &str| fs::File::create(directory.join(format!("{name}.{kind}"))).unwrap();
    let mut command = chain.settle(args);
    command
        .stdin(Stdio::null())
        .stdout(file("out"))
        .stderr(file("log"));
    Running(command.spawn().unwrap())
}

fn lines(directory: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory.join(format!("{name}.out"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn end(running: &mut Running, signal: &str) -> Option<i32> {
    run(
        Command::new("kill").args([signal, &running.0.id().to_string()]),
        "",
    );
    let sent = Instant::now();
    let status = wait_for("the command to end", L1_MAX, || running.0.try_wait().unwrap());
    assert!(sent.elapsed() < END_MAX, "{:?}", sent.elapsed());
    status.code()
}

/// What comes to be proven is submitted, waits while gas is dear, and again when L1 takes it back.
fn follow(chain: &Chain, proofs: &mut Proofs) -> String {
    let directory = proofs.directory.to_owned();
    let log = |text: &str| {
        let log = fs::read_to_string(directory.join("follow.log")).unwrap();
        log.contains(text).then_some(())
    };
    let url = proofs.service.url.clone();
    let args = ["--follow", "--coordinator", &url, "--max-fee-gwei", "3"];
    let mut running = begin(chain, &args, &directory, "follow");
    wait_for("nothing to be there", L1_MAX, || {
        log("L1 has the coordinator's 2 batches")
    });
    chain.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x12a05f200"]));
    chain.ask("evm_mine", json!([]));
    let third = proofs.submit(vec![Operation::NoOp]);
    wait_for("gas to be too dear", PROVEN_MAX, || log("gas costs at least"));
    assert_eq!(lines(&directory, "follow").len(), 0);
    chain.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"]));
    chain.ask("evm_mine", json!([]));
    let accepted = wait_for("the batch to be on L1", L1_MAX, || {
        lines(&directory, "follow").first().cloned()
    });
    assert_eq!(accepted["batch_id"], third.as_str());
    assert_eq!((&accepted["batch_number"], chain.next()), (&2.into(), 3));
    wait_for("nothing to be there", L1_MAX, || {
        log("L1 has the coordinator's 3 batches")
    });

    let depth = chain.ask("eth_blockNumber", json!([]));
    let block = accepted["transaction"]["block"].as_u64().unwrap();
    let head = u64::from_str_radix(&depth.as_str().unwrap()[2..], 16).unwrap();
    let nothing = Vec::<Value>::new();
    chain.ask("anvil_reorg", json!([head - block + 1, nothing]));
    wait_for("the reorganisation to be seen", L1_MAX, || {
        log("a reorganisation of L1 took batch 2")
    });
    let again = wait_for("the batch to be on L1 again", L1_MAX, || {
        lines(&directory, "follow").get(1).cloned()
    });
    assert_eq!(again["batch_number"], 2);
    assert_eq!((&again["state_root"], chain.next()), (&accepted["state_root"], 3));
    let code = end(&mut running, "-TERM");
    assert_eq!(code, Some(0), "{}", log_tail(&directory.join("follow.log")));
    third
}

/// A signal while a transaction is on its way: it is named, and the next run finds what became of it.
fn interrupted(chain: &Chain, proofs: &mut Proofs) {
    let directory = proofs.directory.to_owned();
    let id = proofs.submit(vec![Operation::NoOp]);
    let file = proofs.proof(&id, "fourth.json");
    chain.ask("evm_setAutomine", json!([false]));
    let (sent, mined) = chain.nonces();
    assert_eq!(sent, mined);
    for signal in ["-TERM", "-INT"] {
        let name = format!("interrupted{signal}");
        let mut running = begin(chain, &["--proof", &file], &directory, &name);
        let told = || log_tail(&directory.join(format!("{name}.log")));
        match signal {
            "-TERM" => {
                wait_for("a transaction to be on its way", L1_MAX, || {
                    (chain.nonces().0 > sent).then_some(())
                });
            }
            _ => wait_for("the transaction to be waited for", L1_MAX, || {
                told().contains("are not mined yet").then_some(())
            }),
        }
        assert_eq!(end(&mut running, signal), Some(130), "{}", told());
        let expected = match signal {
            "-TERM" => "while batch 3 is on its way to L1, with nonce",
            _ => "nothing is on its way to L1",
        };
        assert!(told().contains(expected), "{}", told());
        assert_eq!(chain.nonces(), (sent + 1, mined), "one transaction for one batch");
    }
    let mut running = begin(chain, &["--proof", &file], &directory, "after");
    wait_for("the transaction to be waited for", L1_MAX, || {
        let log = fs::read_to_string(directory.join("after.log")).unwrap();
        log.contains("are not mined yet").then_some(())
    });
    chain.ask("evm_mine", json!([]));
    let status = wait_for("the command to end", L1_MAX, || running.0.try_wait().unwrap());
    assert!(status.success(), "{}", log_tail(&directory.join("after.log")));
    let lines = lines(&directory, "after");
    assert_eq!(lines[0]["already_on_l1"], true);
    let hash = lines[0]["transaction"]["hash"].as_str().unwrap();
    let told = log_tail(&directory.join("interrupted-TERM.log"));
    assert!(told.contains(hash), "{told}");
    assert_eq!((chain.next(), chain.nonces()), (4, (sent + 1, sent + 1)));
}
