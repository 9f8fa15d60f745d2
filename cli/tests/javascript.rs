//! The JavaScript example, written from PROTOCOL.md and the .proto files alone: its own tests, its rules against ours, and its batches
//! against the real service, which proves them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use coordinator::convert::batch_to_proto;
use prost::Message;
use rules::account::{AccountIndex, TokenId};
use rules::amount::Amount;
use rules::batch::{self, Batch, BatchError};
use rules::eddsa::PrivateKey;
use rules::operation::{Creation, Expiry, Operation, Queued, RollupId};
use rules::record::{Coordinate, Kind, Record};
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::shards;
use rules::state::State;
use rules::witness::Shape;
use rules::{field, stream};
use serde_json::Value;
use support::javascript::{self, ADVICE};
use support::tls::Papers;
use support::{KEYS, Service, program, run, start};

const ROLLUP: RollupId = RollupId {
    chain_id: 31337,
    contract: [0xe7; 20],
};
const TIME: u64 = 1_800_000_000;
const TOKENS: u16 = 2;
/// Between them they draw every code.
const SEEDS: [u64; 2] = [1, 2];
/// Batches of a stream that follow on each other, with many operations and with few.
const LARGE: u64 = 3;
const SMALL: u64 = 6;
/// What the streams' batches are laid out in.
const SHAPE: Shape = Shape { places: 10, rooms: 1 };
const SHARDS: usize = 24;

fn node(example: &Path, script: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(script).current_dir(example);
    node
}

#[test]
fn the_examples_own_tests_pass() {
    let mut tests = node(&javascript::client(), "--test");
    let told = run(tests.args(["--test-reporter", "tap", "test/"]), ADVICE);
    let passed = told.lines().find_map(|line| line.strip_prefix("# pass "));
    let passed: u32 = passed.unwrap().parse().unwrap();
    assert!(passed >= 23, "{told}");
}

#[test]
fn the_example_has_every_kind_of_operation_proven() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let example = javascript::client();
    let papers = Papers::new(directory.path());
    // It shows a token; the Python client of `clients.rs` shows a certificate.
    let token = papers.path("javascript.token");
    let entry = run(program().args(["token", "--out", &token]), "");
    let access = fs::read_to_string(papers.path("access.toml")).unwrap();
    let identity = format!("[[identity]]\nname = \"javascript\"\nroles = [\"sequencer\"]\n{entry}");
    papers.write("access.toml", &format!("{access}{identity}"));
    let service = Service::start_with_tls(directory.path(), &papers);
    let credentials = papers.client("worker");
    let worker = ["worker", "--coordinator", &service.url];
    let worker: Vec<&str> = worker
        .into_iter()
        .chain(credentials.iter().map(String::as_str))
        .collect();
    let _worker = start(directory.path(), "worker.log", &worker);

    let sequencer = |credentials: &[&str]| {
        let mut main = node(&example, "main.mjs");
        let proofs = directory.path().to_str().unwrap();
        main.args(["--coordinator", &service.url, "--proofs", proofs])
            .args(["--tls-ca", &papers.path("ca.pem")])
            .args(credentials);
        main
    };
    let stranger = sequencer(&[]).output().unwrap();
    assert_eq!(stranger.status.code(), Some(1));
    let said = String::from_utf8_lossy(&stranger.stderr);
    assert!(
        said.contains("error: UNAUTHENTICATED: expected a client certificate or a bearer token"),
        "{said}"
    );

    let logs = || ["coordinator.log", "worker.log"].map(|log| support::log_tail(&directory.path().join(log)));
    let told = run(&mut sequencer(&["--token-file", &token]), &logs().join("\n"));
    let result: Value = serde_json::from_str(&told).unwrap();
    check_refusals(&result["refusals"]);
    check_batches(&result["batches"], &path);
    // What somebody else has begun is not gone on with.
    let again = sequencer(&["--token-file", &token]).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(
        said.contains("error: expected a chain without batches, found batch 6"),
        "{said}"
    );
}

fn check_refusals(refusals: &Value) {
    let root = &refusals["wrong_root"];
    assert_eq!(root["code"], "INVALID_ARGUMENT");
    assert_eq!(root["reason"], "WRONG_NEW_ROOT");
    assert_eq!(root["metadata"]["field"], "batch.new_root");
    let key = &refusals["other_key"];
    let operation = key["expected_operation"].as_u64().unwrap();
    assert_eq!(key["code"], "INVALID_ARGUMENT");
    assert_eq!(key["reason"], "BAD_SIGNATURE");
    assert_eq!(key["metadata"]["operation"], operation.to_string());
    assert_eq!(key["metadata"]["rule"], "P-4.4.8");
    let field = format!("batch.operations[{operation}].signature");
    assert_eq!(key["metadata"]["field"], field);
}

/// Each batch was proven, and its proof verifies here; together they have every kind.
fn check_batches(batches: &Value, path: &impl Fn(&str) -> String) {
    let batches = batches.as_array().unwrap();
    // A batch of preset `tiny` has room for one of the queue's six entries.
    assert_eq!(batches.len(), 6);
    let (mut kinds, mut records) = (BTreeSet::new(), BTreeSet::new());
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch["number"], number);
        let statuses = batch["statuses"].as_array().unwrap();
        assert_eq!(statuses.last().unwrap(), "BATCH_STATUS_PROVEN");
        let operations = batch["operations"].as_array().unwrap().iter();
        kinds.extend(operations.map(|kind| kind.as_str().unwrap()));
        for record in batch["records"].as_array().unwrap() {
            records.insert((record["kind"].as_u64().unwrap(), record["code"].as_u64().unwrap()));
        }
        let proof = path(&format!("proof-{number}.json"));
        let verified = run(program().args(["verify", "--json", &proof]).args(KEYS), "");
        let verified: Value = serde_json::from_str(&verified).unwrap();
        assert_eq!(verified["valid"], true);
        assert_eq!(
            support::read_json(Path::new(&proof))["new_root"],
            batch["new_root"]
        );
    }
    let all = ["creation", "noOp", "queued", "transfer", "withdrawal"];
    assert_eq!(kinds, BTreeSet::from(all));
    let all = [(1, 0), (2, 4), (3, 0), (4, 0), (5, 0), (6, 0)];
    assert_eq!(records, BTreeSet::from(all));
}

/// A stream of batches for the example to replay: files, and what our rules say of each.
struct Stream<'a> {
    directory: &'a Path,
    files: Vec<PathBuf>,
    outcomes: Vec<Value>,
}

impl Stream<'_> {
    /// Adds a batch that follows on the state; a refused one leaves the state as it was.
    fn add(&mut self, state: &mut State, batch: &Batch) {
        let file = self.directory.join(format!("{}.bin", self.files.len()));
        fs::write(&file, batch_to_proto(batch).encode_to_vec()).unwrap();
        self.files.push(file);
        self.outcomes.push(match batch::execute(state, batch) {
            Ok(executed) => {
                let sharded = shards(batch, &executed, SHAPE, SHARDS).unwrap();
                let last = sharded.shards.last().unwrap().after;
                let records = executed.records();
                assert_eq!(stream::commitment_a(&records), last.c_a);
                serde_json::json!({
                    "root": field::to_hex(&batch.new_root),
                    "posted_a": hex::encode(sharded.posted_a),
                    "posted_b": hex::encode(sharded.posted_b),
                    "c_a": field::to_hex(&last.c_a),
                    "c_b": field::to_hex(&last.c_b),
                })
            }
            Err(BatchError::Operation { operation, violation }) => {
                let rule = violation.rule().map(|rule| format!(".{rule}"));
                let rule = format!("{}{}", violation.clause, rule.unwrap_or_default());
                serde_json::json!({ "rule": rule, "operation": operation })
            }
            Err(error) => panic!("{error}"),
        });
    }
}

/// Every way in which one field of an operation can be wrong: another's index, nonce, token, expiry, amount, signature.
fn spoiled(operation: &Operation, other: &Operation) -> Vec<Operation> {
    let nobody = AccountIndex::new((1 << 33) - 1).unwrap();
    let (fee, late) = (
        AccountIndex::fee_account(TokenId(1)),
        Expiry::new(TIME - 1).unwrap(),
    );
    let mut spoiled = Vec::new();
    match *operation {
        Operation::Transfer(valid) => {
            let mut with = |change: &dyn Fn(&mut rules::operation::SignedTransfer)| {
                let mut signed = valid;
                change(&mut signed);
                spoiled.push(Operation::Transfer(signed));
            };
            with(&|signed| signed.transfer.from = nobody);
            with(&|signed| signed.transfer.to = nobody);
            with(&|signed| signed.transfer.to = fee);
            with(&|signed| signed.transfer.token = TokenId(3 - signed.transfer.token.0));
            with(&|signed| signed.transfer.nonce += 1);
            with(&|signed| signed.transfer.expiry = late);
            with(&|signed| signed.transfer.amount = Amount::from_integer(10u128.pow(30)).unwrap());
            with(&|signed| std::mem::swap(&mut signed.signature.r8.x, &mut signed.signature.r8.y));
            if let Operation::Transfer(other) = other {
                with(&|signed| signed.signature = other.signature);
            }
        }
        Operation::Withdrawal(valid) => {
            let mut with = |change: &dyn Fn(&mut rules::operation::SignedWithdrawal)| {
                let mut signed = valid;
                change(&mut signed);
                spoiled.push(Operation::Withdrawal(signed));
            };
            with(&|signed| signed.withdrawal.from = nobody);
            with(&|signed| signed.withdrawal.token = TokenId(3 - signed.withdrawal.token.0));
            with(&|signed| signed.withdrawal.nonce += 1);
            with(&|signed| signed.withdrawal.expiry = late);
            with(&|signed| signed.withdrawal.amount = u128::MAX >> 1);
            with(&|signed| signed.withdrawal.amount ^= 1);
        }
        Operation::Creation(valid) => {
            let mut with = |change: &dyn Fn(&mut rules::operation::SignedCreation)| {
                let mut signed = valid;
                change(&mut signed);
                spoiled.push(Operation::Creation(signed));
            };
            with(&|signed| signed.creation.index = fee);
            with(&|signed| signed.creation.index = AccountIndex::new(1 << 32).unwrap());
            with(&|signed| signed.creation.index = AccountIndex::new(65_536).unwrap());
            with(&|signed| signed.creation.token = TokenId(TOKENS + 1));
            with(&|signed| signed.creation.l1_address[0] ^= 1);
        }
        Operation::NoOp | Operation::Queued(_) => {}
    }
    spoiled
}

/// What the sample does not draw: entries for index 0 and for an account that is there, and a creation with a key of small order.
fn at_the_edges(state: &State, number: u64) -> Batch {
    let key = PrivateKey::from_bytes(&[7; 32]).public();
    let entry = |kind, index, amount| Record {
        kind,
        code: 0,
        token: TokenId(u16::from(kind != Kind::KeyChange)),
        index: AccountIndex::new(index).unwrap(),
        amount,
        address: [9; 20],
        u: if kind == Kind::ForcedExit {
            Coordinate::ZERO
        } else {
            key.0.x.into()
        },
        v: if kind == Kind::ForcedExit {
            Coordinate::ZERO
        } else {
            key.0.y.into()
        },
    };
    let entries = [
        entry(Kind::DepositNew, 1, 0),
        entry(Kind::DepositNew, 1 << 32, 5),
        entry(Kind::DepositNew, (1 << 33) - 2, 5),
        entry(Kind::ForcedExit, 0, 0),
        entry(Kind::KeyChange, 0, 0),
    ];
    let mut batch = Batch {
        rollup_id: ROLLUP,
        number,
        time: TIME,
        old_root: state.root(),
        new_root: state.root(),
        operations: entries.map(|entry| Queued::new(entry).unwrap().into()).to_vec(),
    };
    let creation = Creation {
        index: AccountIndex::new((1 << 32) - 1).unwrap(),
        token: TokenId(TOKENS),
        owner: key,
        l1_address: [0; 20],
    };
    let signed = creation.sign(&PrivateKey::from_bytes(&[7; 32]), &ROLLUP);
    batch.operations.push(Operation::Creation(signed));
    batch.new_root = batch::new_root(state, &batch).unwrap();
    batch
}

#[test]
fn the_example_and_our_rules_agree_on_every_batch() {
    let directory = tempfile::tempdir().unwrap();
    let example = javascript::client();
    let (mut counts, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for seed in SEEDS {
        println!("seed {seed}");
        let folder = directory.path().join(format!("seed-{seed}"));
        fs::create_dir(&folder).unwrap();
        let mut stream = Stream {
            directory: &folder,
            files: Vec::new(),
            outcomes: Vec::new(),
        };
        write(&mut stream, seed);
        let mut replay = node(&example, "replay.mjs");
        replay.args([SHAPE.places, SHAPE.rooms, SHARDS].map(|number| number.to_string()));
        let told = run(replay.args(&stream.files), ADVICE);
        let told: Value = serde_json::from_str(&told).unwrap();
        let batches = told["batches"].as_array().unwrap();
        assert_eq!(batches.len(), stream.outcomes.len());
        for (found, expected) in batches.iter().zip(&stream.outcomes) {
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&found[field], value, "seed {seed}, {field}: {found}");
            }
            rules.extend(expected["rule"].as_str().map(str::to_owned));
        }
        counts.extend(told["counts"].as_object().unwrap().keys().cloned());
    }
    let signed = ["creation", "noOp", "queued", "transfer", "withdrawal"].map(str::to_owned);
    let codes: [(u8, &[u8]); 6] = [
        (1, &[0, 1]),
        (2, &[0, 1, 2, 3, 4]),
        (3, &[0, 1, 2, 3]),
        (4, &[0, 1, 3]),
        (5, &[0]),
        (6, &[0]),
    ];
    let codes = codes.into_iter().flat_map(|(kind, codes)| {
        codes
            .iter()
            .map(move |code| format!("record {kind}, code {code}"))
    });
    assert_eq!(counts, signed.into_iter().chain(codes).collect::<BTreeSet<_>>());
    // Not those that no reached state breaks, and a withdrawal's and transfer's fee account, which is there when theirs is.
    let broken = [
        (4, vec![1, 2, 3, 5, 6, 7, 8]),
        (7, vec![1, 2, 4, 5, 6, 7]),
        (9, vec![1, 2, 3, 4]),
    ];
    let broken = broken
        .into_iter()
        .flat_map(|(clause, rules)| rules.into_iter().map(move |rule| format!("P-4.{clause}.{rule}")));
    assert_eq!(rules, broken.collect::<BTreeSet<_>>());
}

/// Batches of every kind of operation; then small ones, and before each of these its operations spoiled one by one.
fn write(stream: &mut Stream, seed: u64) {
    let mut sample = Sample::new(SampleConfig {
        seed,
        users: 4,
        tokens: TOKENS,
    });
    let large = Draw {
        shape: Shape { places: 5, rooms: 1 },
        queued: 20,
        signed: 30,
        mix: Mix::All,
    };
    let small = Draw {
        queued: 1,
        signed: 4,
        ..large
    };
    let mut state = State::default();
    for number in 0..LARGE {
        let mut batch = sample.batch(ROLLUP, TIME, large);
        if number == LARGE - 1 {
            // Without its no-ops a batch means the same, and its operations stand elsewhere.
            batch.operations.retain(|operation| *operation != Operation::NoOp);
        }
        stream.add(&mut state, &batch);
        assert_eq!(state.root(), batch.new_root);
    }
    for _ in 0..SMALL {
        let batch = sample.batch(ROLLUP, TIME, small);
        for (place, operation) in batch.operations.iter().enumerate() {
            let other = batch.operations[(place + 1) % batch.operations.len()];
            for wrong in spoiled(operation, &other) {
                let mut refused = batch.clone();
                refused.operations[place] = wrong;
                if batch::new_root(&state, &refused).is_err() {
                    stream.add(&mut state, &refused);
                }
            }
        }
        stream.add(&mut state, &batch);
        assert_eq!(state.root(), batch.new_root);
    }
    let last = at_the_edges(&state, LARGE + SMALL);
    stream.add(&mut state, &last);
    assert_eq!(state.root(), last.new_root);
}
