//! The operator's commands against a real coordinator, and `rollback` against a real rollup contract on anvil.

mod support;

use std::path::Path;
use std::time::Duration;

use rules::Fr;
use rules::eddsa::PrivateKey;
use rules::field;
use rules::state::State;
use rules::stream::Group;
use serde_json::Value;
use support::{KEYS, Service, expect_success, program, run, start, wait_for};
use verifier_contracts::anvil::Anvil;
use verifier_contracts::l1::{ANVIL_KEY, DeployConfig, Deployment, L1};
use verifier_contracts::rollup::{self, RootSubmission};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::CompiledVerifier;

/// Keys are read and a device is checked within this time.
const START_MAX: Duration = Duration::from_secs(120);
/// Bytes of what the stand-in for the verifier takes for a proof.
const PROOF_BYTES: usize = 64;

impl Service {
    /// Runs a command; its exit code, standard output and standard error.
    fn call(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = program();
        let output = command
            .args(args)
            .args(["--coordinator", &self.url])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("it ends by itself");
        (code, text(output.stdout), text(output.stderr))
    }

    /// The same, with no more than a space between two words of what it says.
    fn call_in_words(&self, args: &[&str]) -> (i32, String, String) {
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (code, out, error) = self.call(args);
        (code, words(out), words(error))
    }

    /// The JSON of a command that must succeed.
    fn ask(&self, args: &[&str]) -> Value {
        let (code, out, error) = self.call(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {error}");
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}"))
    }

    /// A command that the coordinator must refuse; what it says.
    fn refused(&self, args: &[&str]) -> String {
        let (code, _, error) = self.call(args);
        assert_eq!(code, 3, "{args:?}: {error}");
        error
    }

    /// Submits the batch file.
    fn submit(&self) -> String {
        let id = self.ask(&["submit", "--batch", &self.batch])["batch_id"].clone();
        id.as_str().unwrap().to_owned()
    }

    /// Writes and submits the batch of that number.
    fn submit_next(&self, directory: &Path, number: &str) -> String {
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let batch = path("next.bin");
        let mut sample = program();
        sample
            .args(["sample-batch", "--preset", "tiny", "--tokens", "1"])
            .args(["--transfers", "4", "--batch-number", number, "--batch", &batch])
            .args(["--chain-id", "31337", "--contract", support::CONTRACT]);
        run(&mut sample, "");
        let submitted = self.ask(&["submit", "--batch", &batch]);
        submitted["batch_id"].as_str().unwrap().to_owned()
    }

    fn reason(&self, id: &str) -> String {
        let explained = self.ask(&["explain", id]);
        explained["reasons"][0]["code"].as_str().unwrap().to_owned()
    }
}

#[test]
fn of_several_rollups_all_are_shown_or_the_one_that_is_meant_must_be_named() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let id = service.submit();
    let contract = format!("0x{}", "22".repeat(20));
    let create = ["rollups", "create", "pay", "--chain-id", "31337", "--contract"];
    let create = [&create[..], &[contract.as_str()]].concat();
    let created = service.ask(&create);
    // Whoever did not hear the answer asks again.
    assert_eq!(service.ask(&create), created);
    let error = service.refused(&[&create[..], &["--weight", "3"]].concat());
    assert!(error.contains("weight: expected 1, found 3"), "{error}");

    let top = service.ask(&["top", "--once"]);
    let names = |top: &Value| {
        top["rollups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["rollup"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&top), ["main", "pay"]);
    assert_eq!(top["batches"][0]["batch_id"].as_str(), Some(id.as_str()));
    assert_eq!(
        (&top["batches_open"], &top["rollup"]),
        (&Value::from(1), &Value::Null)
    );
    let top = service.ask(&["top", "--once", "--rollup", "pay"]);
    assert_eq!((names(&top), &top["rollup"]), (vec![], &Value::from("pay")));
    assert_eq!(top["batches"].as_array().map(Vec::len), Some(0));
    let (code, out, error) = service.call(&["top", "--once"]);
    assert!(
        code == 0 && out.contains("\n  pay ") && out.contains(&id),
        "{out}{error}"
    );
    assert_eq!(
        service.ask(&["list"])["batches"].as_array().map(Vec::len),
        Some(1)
    );
    service.ask(&["pause"]);
    service.ask(&["resume"]);
    for command in [&["info"][..], &["rollback", "--to", "0"]] {
        let error = service.refused(command);
        assert!(
            error.contains("main, pay") && error.contains("name it with --rollup"),
            "{error}"
        );
        let (code, help, _) = service.call_in_words(&[command[0], "--help"]);
        assert!(code == 0 && help.contains("[default: the only one"), "{help}");
    }
    for (command, default) in [
        ("top", "all"),
        ("list", "all"),
        ("pause", "the whole service"),
        ("resume", "the whole service"),
    ] {
        let (code, help, _) = service.call_in_words(&[command, "--help"]);
        assert!(
            code == 0 && help.contains(&format!("[default: {default}]")),
            "{help}"
        );
    }
    let info = service.ask(&["info", "--rollup", "main"]);
    assert_eq!(
        (&info["batches_open_max"], &info["tenant_batches_open_max"]),
        (&Value::from(64), &Value::from(32))
    );
    let (_, out, _) = service.call(&["info", "--rollup", "main"]);
    assert!(out.contains("1 of at most 64, of one tenant at most 32"), "{out}");
}

#[test]
fn a_batch_that_is_submitted_again_keeps_its_priority_and_labels_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let submit = ["submit", "--batch", &service.batch, "--label"];
    let call = |more: &[&str]| service.call(&[&submit[..], more].concat());
    let (code, id, error) = call(&["nightly", "--priority", "7"]);
    assert!(code == 0 && !error.contains("submitted before"), "{error}");
    let (code, again, error) = call(&["nightly", "--priority", "7"]);
    assert_eq!((code, &again), (0, &id));
    assert!(
        error.contains("the batch had been submitted before") && !error.contains("keeps"),
        "{error}"
    );
    for more in [
        &["other", "--deadline-seconds", "60"][..],
        &["other", "--deadline-seconds", "60", "--json"],
    ] {
        let (code, _, error) = call(more);
        let kept = "keeps what was said then: priority 7, no deadline, labels nightly";
        assert!(code == 0 && error.contains(kept), "{error}");
    }
}

#[test]
fn an_operator_sees_what_waits_and_why_and_takes_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let id = service.submit();
    let info = service.ask(&["info"]);
    assert_eq!(
        (info["preset"].as_str(), info["next_batch_number"].as_u64()),
        (Some("tiny"), Some(1))
    );
    let top = service.ask(&["top", "--once"]);
    assert_eq!(top["batches"][0]["batch_id"].as_str(), Some(id.as_str()));
    assert_eq!(top["workers"].as_array().map(Vec::len), Some(0));
    let (code, out, error) = service.call(&["top", "--once"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains(&id) && out.contains("none is connected"), "{out}");
    assert!(!out.contains('\u{1b}'), "no terminal, nothing that steers one");
    let (code, _, error) = service.call(&["top", "--once", "--interval", "0"]);
    assert_eq!(code, 2, "{error}");
    assert_eq!(
        info["chain_id"].as_str(),
        Some("31337"),
        "text, as in a proof file"
    );
    let list = service.ask(&["list"]);
    assert_eq!(list["batches"][0]["batch_id"].as_str(), Some(id.as_str()));
    assert_eq!(service.reason(&id), "no_worker");
    service.ask(&["pause"]);
    assert_eq!(service.reason(&id), "paused");
    assert_eq!(service.ask(&["info"])["paused"].as_bool(), Some(true));
    service.ask(&["resume"]);
    assert_eq!(service.reason(&id), "no_worker");
    let (code, words, _) = service.call(&["explain", &id]);
    assert!(code == 0 && words.contains("no worker is connected"), "{words}");
    for command in ["list", "info", "workers"] {
        assert_eq!(service.call(&[command]).0, 0, "{command}");
    }

    let replayed = service.ask(&replay("b1-s0"));
    assert_eq!(replayed["verifies"].as_bool(), Some(true), "{replayed}");
    assert!(replayed["phases"].as_array().unwrap().len() > 3, "{replayed}");
    assert!(service.refused(&replay("b1-a")).contains("no input is kept"));
    for (args, said) in [
        (["retry", &id], "has not failed"),
        (["retry", "b9"], "no batch"),
        (["explain", "b9"], "no batch"),
        (["drain", "nobody"], "no worker \"nobody\""),
    ] {
        let error = service.refused(&args);
        assert!(error.contains(said), "{args:?}: {error}");
    }

    let error = service.refused(&["rollback", "--to", "0"]);
    assert!(error.contains("--yes") && error.contains("--l1"), "{error}");
    assert_eq!(
        service.ask(&["info"])["next_batch_number"].as_u64(),
        Some(1),
        "nothing was done"
    );
    assert!(
        service
            .refused(&["rollback", "--to", "2", "--yes"])
            .contains("no batch number 2")
    );
    let done = service.ask(&["rollback", "--to", "0", "--yes"]);
    assert_eq!(
        (done["done"].as_bool(), done["next_batch_number"].as_u64()),
        (Some(true), Some(0))
    );
    assert_eq!(done["batches"][0]["status"].as_str(), Some("rolled_back"));
    let twice = service.ask(&["rollback", "--to", "0", "--yes"]);
    assert_eq!(twice["done"].as_bool(), Some(true), "an answer that was lost");
    assert_eq!(twice["batches"].as_array().map(Vec::len), Some(0));
    assert_eq!(service.reason(&id), "final");

    let again = service.submit();
    assert_ne!(again, id, "the number and the request id are free");
    assert_eq!(
        service.ask(&["cancel", &again])["status"].as_str(),
        Some("cancelled")
    );
}

#[test]
fn a_worker_that_is_drained_ends() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let arguments = [
        "worker",
        "--coordinator",
        &service.url,
        "--name",
        "one",
        "--device",
        "cpu",
    ];
    let mut worker = start(directory.path(), "worker.log", &arguments);
    let listed = || {
        let (code, out, _) = service.call(&["workers", "--json"]);
        let workers: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
        workers["workers"]
            .as_array()
            .filter(|workers| !workers.is_empty())
            .cloned()
    };
    let workers = wait_for("the worker to join", START_MAX, listed);
    assert_eq!(workers[0]["worker"].as_str(), Some("one"));
    assert_eq!(service.ask(&["drain", "one"])["draining"].as_bool(), Some(true));
    expect_success(&mut worker, &directory.path().join("worker.log"), START_MAX);
}

/// The arguments of `replay` on the processor.
fn replay(task: &str) -> Vec<&str> {
    [&["replay", task, "--device", "cpu"], &KEYS[..]].concat()
}

/// A contract that takes every proof, where the service's batches are to go.
async fn deploy(anvil: &Anvil, tools: &Tools) -> Deployment {
    let source = include_str!("../../verifier-contracts/test/StandIns.sol");
    let verifier = CompiledVerifier::stand_in(tools, source, "AcceptsAll").unwrap();
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).unwrap();
    let contracts = rollup::compile(tools).unwrap();
    let key = PrivateKey::from_bytes(&[1; 32]).public();
    let config = DeployConfig::new(l1.account(), l1.account(), key);
    let deployed = Deployment::deploy(&l1, &contracts, &[&verifier], &config).await;
    let (deployment, _) = deployed.unwrap();
    assert_eq!(format!("{:?}", deployment.rollup()), support::CONTRACT);
    deployment
}

/// The first batch there, from the empty state to a root.
async fn accept_first(deployment: &Deployment, new_root: Fr) {
    let mut rows: Vec<Fr> = (100..117).map(Fr::from).collect();
    rows[9] = Fr::from(deployment.l1().block_time().await.unwrap());
    (rows[11], rows[12]) = (State::default().root(), new_root);
    let group = Group {
        flag: false,
        words: [1, 0, 0, 0, 0],
    };
    let posted = rules::stream::posted_b(&[group]);
    let submission = RootSubmission::new(0, 0, &rows, vec![], posted, vec![1; PROOF_BYTES]).unwrap();
    deployment.submit_batch(&submission).await.unwrap();
}

#[test]
fn nothing_that_l1_has_accepted_is_rolled_back() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    service.submit();
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
    let anvil = Anvil::spawn(&tools).unwrap();
    let rollback = |to, more: &[&str]| {
        let args = ["rollback", "--to", to, "--yes", "--l1", anvil.url()];
        service.call(&[&args, more].concat())
    };
    let (code, _, error) = rollback("0", &[]);
    assert_eq!(code, 1, "there is no contract: {error}");

    let listed = service.ask(&["list"]);
    let root = |name: &str| {
        let text = listed["batches"][0][name].as_str().unwrap();
        field::from_hex(text).unwrap()
    };
    assert_eq!(root("old_root"), State::default().root());
    let deployment = runtime.block_on(deploy(&anvil, &tools));
    runtime.block_on(accept_first(&deployment, root("new_root")));
    let second = service.submit_next(directory.path(), "1");
    let (code, _, error) = rollback("0", &[]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("L1 has accepted batch number 0"), "{error}");
    assert_eq!(
        service.ask(&["info"])["next_batch_number"].as_u64(),
        Some(2),
        "nothing was done"
    );
    let (code, out, error) = rollback("1", &["--json"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains(&format!("\"{second}\"")), "{out}");

    // A contract whose root the chain here does not have.
    service.submit_next(directory.path(), "1");
    let other = Anvil::spawn(&tools).unwrap();
    let deployment = runtime.block_on(self::deploy(&other, &tools));
    runtime.block_on(accept_first(&deployment, Fr::from(5)));
    let args = ["rollback", "--to", "1", "--yes", "--l1", other.url()];
    let error = service.refused(&args);
    assert!(error.contains("is not that of this contract"), "{error}");
}
