//! What users of a rollup do, command by command, against a real contract on anvil. A verifier that accepts everything stands in for proofs,
//! and the test makes the batches: everything else is what it is.

mod support;

use std::fs;
use std::path::Path;

use alloy::primitives::{Address, U256};
use rules::batch::{self, Batch};
use rules::eddsa::PrivateKey;
use rules::operation::{Operation, Queued, RollupId};
use rules::shards::shards;
use rules::witness::Shape;
use rules::{Fr, field};
use serde_json::Value;
use support::program;
use verifier_contracts::anvil::Anvil;
use verifier_contracts::l1::{ANVIL_KEY, Call, DeployConfig, Deployment, Following, L1};
use verifier_contracts::replica::{Replica, Watch};
use verifier_contracts::rollup::{self, RootSubmission};
use verifier_contracts::solc::{self, Runs};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::CompiledVerifier;

/// anvil's second and third account. Everybody knows these keys.
const ALICE: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const BOB: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const ALICE_ADDRESS: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
const OPERATOR_ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const BOB_ADDRESS: &str = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc";
/// The first account that L1 gives an index.
const FIRST: &str = "4294967296";
/// The first index of accounts that are made by a signature.
const CREATED: &str = "65536";
const SHAPE: Shape = Shape { places: 25, rooms: 5 };
const CHILDREN: usize = 2;

/// A rollup whose operator is the test.
struct Rollup {
    runtime: tokio::runtime::Runtime,
    anvil: Anvil,
    tools: Tools,
    deployment: Deployment,
    replica: Replica,
    rollup_id: RollupId,
    directory: tempfile::TempDir,
}

impl Rollup {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
        let anvil = Anvil::spawn(&tools).unwrap();
        let source = include_str!("../../verifier-contracts/test/StandIns.sol");
        let verifier = CompiledVerifier::stand_in(&tools, source, "AcceptsAll").unwrap();
        let contracts = rollup::compile(&tools).unwrap();
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).unwrap();
        let owner = PrivateKey::from_bytes(&[9; 32]).public();
        let config = DeployConfig {
            due_after_s: 3_600,
            freeze_after_s: 7 * 86_400,
            ..DeployConfig::new(l1.account(), l1.account(), owner)
        };
        let (deployment, replica) = runtime.block_on(async {
            let deployed = Deployment::deploy(&l1, &contracts, &[&verifier], &config).await;
            let (deployment, _) = deployed.unwrap();
            let following = Following::new(deployment.rollup(), 0);
            let replica = Replica::new(&l1, following, Watch::Nobody).await.unwrap();
            (deployment, replica)
        });
        let rollup_id = RollupId {
            chain_id: 31_337,
            contract: deployment.rollup().into_array(),
        };
        Self {
            runtime,
            anvil,
            tools,
            deployment,
            replica,
            rollup_id,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn catch_up(&mut self) {
        let replica = &mut self.replica;
        self.runtime
            .block_on(async { while replica.poll().await.unwrap().is_some() {} });
    }

    /// Makes a batch of all entries that wait and of these operations, and has L1 take it.
    fn batch(&mut self, signed: Vec<Operation>) {
        self.catch_up();
        let waiting = self
            .replica
            .waiting()
            .map(|entry| Queued::new(entry.record).unwrap());
        let operations: Vec<Operation> = waiting.map(Operation::from).chain(signed).collect();
        let (rollup_id, number) = (self.rollup_id, self.replica.position().number);
        let time = self.runtime.block_on(self.deployment.l1().block_time()).unwrap();
        let mut state = self.replica.state().clone();
        let old_root = state.root();
        let mut batch = Batch {
            rollup_id,
            number,
            time,
            old_root,
            new_root: old_root,
            operations,
        };
        batch.new_root = batch::new_root(&state, &batch).unwrap();
        let executed = batch::execute(&mut state, &batch).unwrap();
        let sharded = shards(&batch, &executed, SHAPE, CHILDREN).unwrap();
        let after = sharded.shards.last().unwrap().after;
        let mut rows = vec![Fr::zero(); 17];
        rows[9] = Fr::from(time);
        (rows[11], rows[12]) = (batch.old_root, batch.new_root);
        (rows[13], rows[15]) = (after.c_a, after.c_b);
        let (a, b) = (sharded.posted_a, sharded.posted_b);
        let submission = RootSubmission::new(number, 0, &rows, a, b, vec![1; 64]).unwrap();
        self.runtime
            .block_on(self.deployment.submit_batch(&submission))
            .unwrap();
        self.catch_up();
        assert_eq!(self.replica.state().root(), batch.new_root);
    }

    fn pass(&self, seconds: u64) {
        self.runtime
            .block_on(self.deployment.l1().anvil_pass(seconds))
            .unwrap();
    }

    fn call(&self, l1_key: &str, args: &[&str]) -> (i32, String, String) {
        let contract = format!("{:?}", self.deployment.rollup());
        let mut command = program();
        command.args(args);
        // Where a snapshot is named, L1 is not asked.
        if !args.contains(&"--state") {
            command.env("ROLLUP_PROVER_RPC", self.anvil.url());
            command.env("ROLLUP_PROVER_CONTRACT", contract);
        }
        command
            .env("ROLLUP_PROVER_L1_KEY", l1_key)
            .env("RUST_LOG", "warn");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, said) = (text(output.stdout), text(output.stderr));
        let key = &l1_key[2..];
        assert!(
            key.len() < 9 || !(out.contains(key) || said.contains(key)),
            "a key is told"
        );
        (output.status.code().expect("it ends by itself"), out, said)
    }

    /// What a command that must succeed says in JSON, line by line.
    fn all(&self, l1_key: &str, args: &[&str]) -> Vec<Value> {
        let (code, out, said) = self.call(l1_key, &[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {said}");
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn ask(&self, l1_key: &str, args: &[&str]) -> Value {
        self.all(l1_key, args).remove(0)
    }

    /// A command that must fail with an exit code, and say so.
    #[track_caller]
    fn refused(&self, l1_key: &str, args: &[&str], (code, told): (i32, &str)) {
        let (found, out, said) = self.call(l1_key, args);
        assert_eq!(found, code, "{args:?}: {said}{out}");
        assert!(said.contains(told), "{args:?}: {said}");
        assert_eq!(out, "", "nothing is shown of what is refused");
    }

    /// A signed operation, as a command writes it.
    fn signed(&self, args: &[&str]) -> Operation {
        let value = self.ask("0x", &[args, &["--yes"]].concat());
        serde_json::from_value(value).unwrap()
    }

    /// A new wallet's file and public key.
    fn wallet(&self, name: &str) -> (String, String) {
        let file = self.path(name);
        let made = self.ask("0x", &["wallet", "new", "--out", &file]);
        let owner = made["owner"].as_str().unwrap().to_owned();
        let shown = self.ask("0x", &["wallet", "show", "--key-file", &file]);
        assert_eq!(shown["owner"], owner.as_str());
        (file, owner)
    }

    fn derive(&self, args: &[&str]) -> Value {
        self.ask("0x", &[&["derive"], args].concat())
    }
}

fn edit(path: &str, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn people_enter_pay_and_leave_and_nobody_does_it_for_them() {
    let mut rollup = Rollup::start();
    let (alice, alice_owner) = rollup.wallet("alice.json");
    let (bob, bob_owner) = rollup.wallet("bob.json");
    rollup.refused("0x", &["wallet", "new", "--out", &alice], (1, "cannot write"));

    // Alice comes by L1.
    let deposit = ["deposit", "--token", "1", "--key-file", &alice, "--amount"];
    let with = |amount: &'static str, more: &[&'static str]| -> Vec<&str> {
        [&deposit[..], &[amount], more].concat()
    };
    rollup.refused(ALICE, &with("2.5", &[]), (3, "--yes does it without asking"));
    rollup.refused(
        ALICE,
        &with("0.0000000000000000001", &["--yes"]),
        (1, "has 19 decimals"),
    );
    rollup.refused(ALICE, &with("0", &["--yes"]), (1, "at least one smallest unit"));
    rollup.refused(
        "0x12",
        &with("2.5", &["--yes"]),
        (1, "ROLLUP_PROVER_L1_KEY has no key"),
    );
    let unknown = [
        "deposit",
        "--token",
        "7",
        "--amount",
        "1",
        "--yes",
        "--key-file",
        &alice,
    ];
    rollup.refused(ALICE, &unknown, (1, "no token has the id 7"));
    let entered = rollup.ask(ALICE, &with("2.5", &["--yes"]));
    assert_eq!(
        (&entered["entry"], &entered["index"]),
        (&1.into(), &4_294_967_296u64.into())
    );
    assert_eq!(entered["queued"]["amount"], "2500000000000000000");
    rollup.batch(vec![]);

    let own = ["--l1-address", ALICE_ADDRESS, "--key-file", &alice];
    let found = rollup.ask("0x", &[&["account", FIRST], &own[..]].concat());
    assert_eq!(found["accounts"][0]["account"]["balance"], "2500000000000000000");
    assert_eq!(
        rollup.ask("0x", &[&["account"], &own[..]].concat())["accounts"],
        found["accounts"]
    );
    let others = [
        "account",
        FIRST,
        "--l1-address",
        ALICE_ADDRESS,
        "--owner",
        &bob_owner,
    ];
    rollup.refused("0x", &others, (1, "its key is"));
    let elsewhere = [
        "account",
        FIRST,
        "--l1-address",
        BOB_ADDRESS,
        "--key-file",
        &alice,
    ];
    rollup.refused("0x", &elsewhere, (1, "its L1 address is"));

    // Bob comes by a signature, made offline on a snapshot.
    let snapshot = rollup.path("snapshot.json");
    let derived = rollup.derive(&["--out", &snapshot]);
    assert_eq!(
        (&derived["batches"], &derived["accounts"]),
        (&"1".into(), &2.into())
    );
    assert_eq!(derived["root"], field::to_hex(&rollup.replica.state().root()));
    let create = ["create-account", "--token", "1", "--l1-address", BOB_ADDRESS];
    let offline = ["--key-file", bob.as_str(), "--state", &snapshot];
    let creation = rollup.signed(&[&create[..], &offline].concat());
    let unknown = [
        "create-account",
        "--token",
        "2",
        "--l1-address",
        BOB_ADDRESS,
        "--yes",
    ];
    rollup.refused(
        "0x",
        &[&unknown[..], &["--key-file", &bob]].concat(),
        (1, "no token has the id 2"),
    );

    // Alice pays him and withdraws, once he is there.
    let to = [
        "--to",
        CREATED,
        "--to-owner",
        &bob_owner,
        "--to-address",
        BOB_ADDRESS,
    ];
    let from = [&["transfer", "--account", FIRST], &own[..]].concat();
    let pay = |amount: &'static str| [&from[..], &to, &["--amount", amount, "--fee", "0.001"]].concat();
    rollup.refused(
        "0x",
        &[&pay("0.5")[..], &["--yes"]].concat(),
        (1, "no account at index 65536"),
    );
    rollup.batch(vec![creation]);
    rollup.refused("0x", &pay("0.5"), (3, "--yes does it without asking"));
    rollup.refused(
        "0x",
        &[&pay("1.23456789")[..], &["--yes"]].concat(),
        (1, "the nearest are 1.23456 and 1.23457"),
    );
    rollup.refused(
        "0x",
        &[&pay("2.5")[..], &["--yes"]].concat(),
        (1, "P-4.4, rule 7"),
    );
    for (args, told) in [
        (
            [
                &from[..],
                &[
                    "--to",
                    CREATED,
                    "--to-owner",
                    &bob_owner,
                    "--to-address",
                    ALICE_ADDRESS,
                ],
            ],
            "its L1 address is",
        ),
        (
            [
                &from[..],
                &[
                    "--to",
                    CREATED,
                    "--to-owner",
                    &alice_owner,
                    "--to-address",
                    BOB_ADDRESS,
                ],
            ],
            "its key is",
        ),
        (
            [
                &[
                    "transfer",
                    "--account",
                    FIRST,
                    "--l1-address",
                    ALICE_ADDRESS,
                    "--key-file",
                    &bob,
                ][..],
                &to[..],
            ],
            "its key is",
        ),
    ] {
        let args = [&args.concat()[..], &["--amount", "0.5", "--yes"]].concat();
        rollup.refused("0x", &args, (1, told));
    }
    let transfer = rollup.signed(&[&pay("0.5")[..], &["--valid-for", "0"]].concat());
    let withdraw = [
        &["withdraw", "--account", FIRST, "--amount", "0.300000000000000001"],
        &own[..],
    ]
    .concat();
    let withdrawal = rollup.signed(&[&withdraw[..], &["--nonce", "1", "--valid-for", "0"]].concat());
    rollup.batch(vec![transfer, withdrawal]);

    // A snapshot of before is gone on from; one of after does not have it, and says so; and its batch alone is enough.
    let claim = ["claim", "--recipient", ALICE_ADDRESS, "--yes"];
    let later = rollup.path("later.json");
    rollup.derive(&["--out", &later]);
    let seen = ["claim", "--recipient", ALICE_ADDRESS, "--snapshot", &snapshot];
    rollup.refused(
        BOB,
        &seen,
        (3, "claim 0.300000000000000001 ETH, owed since batch 2"),
    );
    let behind = [&claim[..], &["--snapshot", &later]].concat();
    rollup.refused(BOB, &behind, (3, "the snapshot goes on with batch 3"));
    rollup.refused(BOB, &behind, (3, "--batch names"));
    let ahead = [&claim[..], &["--batch", "3"]].concat();
    rollup.refused(BOB, &ahead, (3, "L1 has 3 batches"));
    let nothing = [&claim[..], &["--batch", "1"]].concat();
    rollup.refused(
        BOB,
        &nothing,
        (3, "nothing that is not paid, by the batches that --batch names"),
    );
    let missing = [&claim[..], &["--batch", "2", "--start-block", "1000000"]].concat();
    rollup.refused(BOB, &missing, (1, "no log with the data of batch 2"));
    for more in [&["--batch", "2"][..], &["--batch", "2", "--snapshot", &later]] {
        let unasked = [&claim[..3], more].concat();
        rollup.refused(
            BOB,
            &unasked,
            (3, "claim 0.300000000000000001 ETH, owed since batch 2"),
        );
    }

    // Anybody claims for her, once.
    rollup.refused(BOB, &["claim", "--yes"], (3, "nothing that is not paid"));
    let before = rollup.balance(ALICE_ADDRESS);
    let claimed = rollup.ask(
        BOB,
        &[&claim[..], &["--batch", "2", "--snapshot", &later]].concat(),
    );
    assert_eq!(claimed["amount"], "300000000000000001");
    assert_eq!(
        rollup.balance(ALICE_ADDRESS) - before,
        U256::from(300_000_000_000_000_001u64)
    );
    rollup.refused(BOB, &claim, (3, "nothing that is not paid"));

    let history = rollup.ask("0x", &[&["history", FIRST], &own[..]].concat());
    let what: Vec<&str> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["deposit", "sent", "withdrawal"], "{history}");
    assert_eq!(history["account"]["balance"], "1698999999999999999");
    assert_eq!(history["history"][2]["balance"], "1698999999999999999");
    let his = [
        "history",
        CREATED,
        "--l1-address",
        BOB_ADDRESS,
        "--key-file",
        &alice,
    ];
    rollup.refused("0x", &his, (1, "its key is"));

    snapshots(&rollup, &snapshot);
    change_key(&mut rollup, &alice_owner, &bob_owner);
    leave(&mut rollup, (&alice, &alice_owner), &bob);
}

impl Rollup {
    fn balance(&self, address: &str) -> U256 {
        let address: Address = address.parse().unwrap();
        self.runtime
            .block_on(self.deployment.l1().balance(address))
            .unwrap()
    }
}

/// A start from a snapshot comes to the same state, and one from a wrong snapshot to none.
fn snapshots(rollup: &Rollup, snapshot: &str) {
    let out = rollup.path("again.json");
    let again = rollup.derive(&["--snapshot", snapshot, "--out", &out]);
    assert_eq!(again["root"], rollup.derive(&[])["root"]);
    assert_eq!(again["derived"]["batches"], 2);
    rollup.derive(&["--snapshot", &out]);
    // Another rollup's, where L1 is not asked.
    let key = rollup.path("bob.key");
    fs::write(&key, format!("{BOB}\n")).unwrap();
    let shown = rollup.ask("0x", &["wallet", "show", "--l1-key-file", &key]);
    assert_eq!(
        shown["l1_address"].as_str().unwrap().to_lowercase(),
        BOB_ADDRESS.to_lowercase()
    );
    let create = [
        "create-account",
        "--token",
        "1",
        "--l1-address",
        BOB_ADDRESS,
        "--key-file",
        &key,
        "--yes",
    ];
    let state = ["--state", out.as_str()];
    let other = format!("0x{}", "12".repeat(20));
    rollup.refused(
        "0x",
        &[&create[..], &state, &["--contract", &other]].concat(),
        (1, "as --contract says"),
    );
    // Nothing is written over, least of all the key.
    rollup.refused(
        "0x",
        &[&create[..], &state, &["--out", &key]].concat(),
        (1, "is there already"),
    );
    rollup.refused("0x", &["derive", "--out", &key], (1, "is a key file"));
    assert_eq!(fs::read_to_string(&key).unwrap(), format!("{BOB}\n"));
    let changed = |change: fn(&mut Value), told| {
        let wrong = rollup.path("wrong.json");
        fs::copy(&out, &wrong).unwrap();
        edit(&wrong, change);
        rollup.refused("0x", &["derive", "--snapshot", &wrong], (1, told));
    };
    changed(
        |value| value["accounts"][1]["account"]["balance"] = "9".into(),
        "root: expected",
    );
    changed(
        |value| value["header"]["rollup_id"]["chain_id"] = "1".into(),
        "the snapshot's rollup",
    );
    changed(
        |value| value["header"]["batches"] = "9".into(),
        "the snapshot's batches",
    );
    changed(
        |value| value["header"]["head"] = "1".into(),
        "the snapshot's head",
    );
    changed(
        |value| value["header"]["time"] = "1".into(),
        "the snapshot's time: expected",
    );
    changed(
        |value| value["header"]["time"] = u64::MAX.to_string().into(),
        "time: expected at most 1099511627775",
    );
    changed(
        |value| value["header"]["block"]["hash"] = format!("0x{}", "11".repeat(32)).into(),
        "has another block than",
    );
    rollup.refused(
        "0x",
        &["derive", "--snapshot", "/dev/null"],
        (1, "is no snapshot"),
    );
    let nowhere = ["derive", "--rpc", "http://127.0.0.1:1"];
    rollup.refused("0x", &nowhere, (6, "the L1 endpoint"));
    let nothing = format!("0x{}", "12".repeat(20));
    rollup.refused(
        "0x",
        &["derive", "--contract", &nothing],
        (1, "not the rollup contract's"),
    );
}

/// A lost key is replaced by the L1 address alone.
fn change_key(rollup: &mut Rollup, alice_owner: &str, bob_owner: &str) {
    let change = ["change-key", "--account", CREATED, "--yes", "--owner", bob_owner];
    let to = ["--l1-address", BOB_ADDRESS, "--new-owner", alice_owner];
    let args = [&change[..], &to].concat();
    rollup.refused(ALICE, &args, (1, "only the account's own L1 address"));
    rollup.ask(BOB, &args);
    // What comes before it is said again, and to whoever would pay the account too.
    let (code, _, said) = rollup.call(BOB, &[&args[..], &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("a key change of account 65536, waits"), "{said}");
    rollup.batch(vec![]);
    rollup.batch(vec![]);
    rollup.refused(BOB, &args, (1, "its key is"));
    let found = [
        "account",
        CREATED,
        "--l1-address",
        BOB_ADDRESS,
        "--owner",
        alice_owner,
    ];
    rollup.ask("0x", &found);
}

/// The operator hands its role on, in two steps, and gets it back.
fn hand_on(rollup: &Rollup) {
    let operator = format!("0x{ANVIL_KEY}");
    let name = |address| ["transfer-operator", "--yes", "--to", address];
    rollup.refused(ALICE, &name(ALICE_ADDRESS), (3, "the operator is"));
    rollup.refused(ALICE, &["accept-operator", "--yes"], (3, "was not named"));
    rollup.refused(&operator, &name("0x12"), (2, "20 bytes"));
    rollup.ask(&operator, &name(ALICE_ADDRESS));
    rollup.refused(BOB, &["accept-operator", "--yes"], (3, "was not named"));
    rollup.ask(ALICE, &["accept-operator", "--yes"]);
    rollup.refused(&operator, &name(BOB_ADDRESS), (3, "the operator is"));
    rollup.ask(ALICE, &name(OPERATOR_ADDRESS));
    rollup.ask(&operator, &["accept-operator", "--yes"]);
}

/// A token comes, a forced exit is served, the operator dies, and everybody leaves.
fn leave(rollup: &mut Rollup, (alice, alice_owner): (&str, &str), bob: &str) {
    hand_on(rollup);
    let token = rollup.token();
    let add = ["add-token", "--token-address", &token, "--yes"];
    assert_eq!(rollup.ask(BOB, &add)["token"], 2);
    rollup.refused(BOB, &add, (1, "has the id 2 already"));
    let deposit = ["deposit", "--token", "2", "--key-file", bob, "--yes", "--amount"];
    rollup.refused(
        BOB,
        &[&deposit[..], &["0.0000001"]].concat(),
        (1, "has 7 decimals"),
    );
    let entered = rollup.ask(BOB, &[&deposit[..], &["1234.5"]].concat());
    assert_eq!(entered["queued"]["amount"], "1234500000");
    rollup.batch(vec![]);
    let index = entered["index"].to_string();
    let hostile = rollup.hostile(bob);
    let owner = rollup.ask("0x", &["wallet", "show", "--key-file", bob])["owner"].clone();
    let force = [
        "force-exit",
        "--yes",
        "--account",
        &index,
        "--owner",
        owner.as_str().unwrap(),
    ];
    rollup.refused(ALICE, &force, (1, "its L1 address is"));
    let mut forced_too = force;
    forced_too[3] = &hostile;
    rollup.ask(BOB, &forced_too);
    rollup.ask(BOB, &force);
    rollup.batch(vec![]);
    // What cannot be paid stands before what can.
    let claim = ["claim", "--recipient", BOB_ADDRESS, "--yes", "--json"];
    let (code, out, said) = rollup.call(ALICE, &claim);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("L1 still owes 7 smallest units of token 3"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'), "{said}");
    let claimed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&claimed["token"], &claimed["amount"]),
        (&2.into(), &"1234500000".into())
    );

    let exit = [
        "exit",
        "--yes",
        "--account",
        FIRST,
        "--owner",
        alice_owner,
        "--l1-address",
        ALICE_ADDRESS,
    ];
    let refund = ["refund", "--yes", "--recipient", ALICE_ADDRESS];
    rollup.refused(BOB, &exit, (3, "the rollup is not frozen"));
    rollup.refused(BOB, &refund, (3, "the rollup is not frozen"));
    rollup.refused(BOB, &["freeze", "--yes"], (3, "no entry of the queue waits"));
    let more = [
        "deposit", "--token", "1", "--amount", "0.25", "--to", FIRST, "--yes",
    ];
    let to = ["--to-owner", alice_owner, "--to-address", ALICE_ADDRESS];
    rollup.refused(
        ALICE,
        &[&more[..], &["--to-owner", alice_owner]].concat(),
        (2, "--to-address"),
    );
    let wrong = ["--to-owner", alice_owner, "--to-address", BOB_ADDRESS];
    rollup.refused(ALICE, &[&more[..], &wrong].concat(), (1, "its L1 address is"));
    rollup.ask(ALICE, &[&more[..], &to].concat());
    rollup.refused(BOB, &["freeze", "--yes"], (3, "L1 freezes from"));
    rollup.pass(3_600 + 7 * 86_400);
    let frozen = rollup.ask(BOB, &["freeze", "--yes"]);
    assert_eq!(frozen["root"], field::to_hex(&rollup.replica.state().root()));
    rollup.refused(BOB, &["freeze", "--yes"], (3, "frozen already"));

    let before = rollup.balance(ALICE_ADDRESS);
    rollup.refused(
        BOB,
        &[&exit[..6], &["--l1-address", BOB_ADDRESS]].concat(),
        (1, "its L1 address is"),
    );
    assert_eq!(rollup.ask(BOB, &exit)["amount"], "1698999999999999999");
    rollup.refused(BOB, &exit, (3, "left already"));
    let account = [
        "account",
        FIRST,
        "--owner",
        alice_owner,
        "--l1-address",
        ALICE_ADDRESS,
    ];
    let shown = rollup.ask("0x", &account);
    assert_eq!(
        (&shown["frozen"], &shown["accounts"][0]["left"]),
        (&true.into(), &true.into())
    );
    let create = [
        "create-account",
        "--token",
        "1",
        "--l1-address",
        BOB_ADDRESS,
        "--key-file",
        bob,
        "--yes",
    ];
    rollup.refused("0x", &create, (3, "the rollup is frozen"));
    assert_eq!(rollup.ask(BOB, &refund)["amount"], "250000000000000000");
    rollup.refused(BOB, &refund, (3, "no deposit of"));
    let paid = U256::from(1_698_999_999_999_999_999u64 + 250_000_000_000_000_000);
    assert_eq!(rollup.balance(ALICE_ADDRESS) - before, paid);
    rollup.refused(
        ALICE,
        &[
            "deposit",
            "--token",
            "1",
            "--amount",
            "1",
            "--yes",
            "--key-file",
            alice,
        ],
        (3, "the rollup is frozen"),
    );
}

impl Rollup {
    /// Deploys a token of six decimals that Bob has.
    fn token(&self) -> String {
        let source = include_str!("../src/demo/DemoToken.sol");
        let supply = U256::from(10_000_000_000u64).to_be_bytes::<32>();
        self.deployed("DemoToken", source, &supply)
    }

    /// An account of Bob's with 7 of a token that pays nobody: its index.
    fn hostile(&mut self, bob: &str) -> String {
        let token = self.deployed("HostileToken", include_str!("HostileToken.sol"), &[]);
        let add = ["add-token", "--token-address", &token, "--yes"];
        assert_eq!(self.ask(BOB, &add)["token"], 3);
        let deposit = [
            "deposit",
            "--token",
            "3",
            "--amount",
            "7",
            "--key-file",
            bob,
            "--yes",
        ];
        self.refused(BOB, &deposit, (1, "does not say its decimals"));
        let entered = self.ask(BOB, &[&deposit[..], &["--decimals", "0"]].concat());
        self.batch(vec![]);
        entered["index"].to_string()
    }

    fn deployed(&self, name: &'static str, source: &'static str, arguments: &[u8]) -> String {
        let file = format!("{name}.sol");
        let sources = [(file.as_str(), source)];
        let code = solc::compile(&self.tools, &sources, Runs::Size, &file, name).unwrap();
        let call = Call::create([code.creation.as_slice(), arguments].concat());
        let bob = L1::connect(self.anvil.url(), BOB).unwrap();
        let receipt = self.runtime.block_on(bob.transact(call)).unwrap();
        format!("{:?}", receipt.contract_address.unwrap())
    }
}

#[test]
fn what_is_no_account_or_key_is_refused_before_anything_is_asked() {
    for (args, told) in [
        (&["account", "0", "--l1-address", ALICE_ADDRESS][..], "index 0"),
        (
            &["account", "8589934592", "--l1-address", ALICE_ADDRESS],
            "below 2^33",
        ),
        (&["account", "65536"], "--l1-address"),
        (&["account", "65536", "--l1-address", "0x12"], "20 bytes"),
        (
            &[
                "account",
                "65536",
                "--l1-address",
                ALICE_ADDRESS,
                "--owner",
                "0x12",
            ],
            "128 hexadecimal digits",
        ),
        (&["account", "65536", "--l1-address", ALICE_ADDRESS], "--rpc"),
        (&["deposit", "--token", "0", "--amount", "1"], "--token"),
        (&["transfer", "--key", "0x12"], "--key"),
    ] {
        let output = program().args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
    let state = Path::new("/nowhere/snapshot.json").to_str().unwrap();
    let args = [
        "account",
        "65536",
        "--l1-address",
        ALICE_ADDRESS,
        "--state",
        state,
    ];
    let output = program().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ROLLUP_PROVER_L2_KEY"), "{said}");
}
