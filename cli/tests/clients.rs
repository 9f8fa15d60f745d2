//! The clients of other languages, made from the .proto files alone, against the real service over TLS: they find the coordinator that is
//! there among two, submit a batch file, see a refusal, watch over a restart of the coordinator, and fetch a proof that this program verifies.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use prost::Message;
use proto::v1::operation::Kind;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::tls::Papers;
use support::{KEYS, Running, Service, javascript, program, run, start, workspace};

const ADVICE: &str = "This test needs Python 3.11 or later with venv, and pip's access to a package index.";
/// The request id under which both submit the batch.
const REQUEST_ID: &str = "from-both";
/// The batch that both submit: those before it give users what they pay fees with.
const BATCH_NUMBER: u32 = 2;
/// Longest time for a client to say what comes next, a proof included.
const SAY_MAX: Duration = Duration::from_secs(600);

/// A Python with the pinned packages.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(python);

/// Makes it under the target directory; once for each state of the list.
fn python() -> PathBuf {
    let requirements = workspace().join("proto/clients/python/requirements.txt");
    let digest = hex::encode(&Sha256::digest(fs::read(&requirements).unwrap())[..8]);
    let venv = workspace().join(format!("target/python-{digest}"));
    let python = venv.join("bin/python");
    // Programs of an environment have its path in them, so it is made in its place.
    let complete = venv.join("complete");
    if !complete.exists() {
        run(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv),
            ADVICE,
        );
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg("-r")
            .arg(&requirements);
        run(&mut pip, ADVICE);
        fs::write(&complete, "").unwrap();
    }
    python
}

/// The Python client as a user has it after `generate.py`, beside the .proto files; its folder.
fn python_client(python: &Path, directory: &Path) -> PathBuf {
    let client = directory.join("proto/clients/python");
    fs::create_dir_all(&client).unwrap();
    let source = workspace().join("proto");
    symlink(source.join("zkrollup"), directory.join("proto/zkrollup")).unwrap();
    for entry in fs::read_dir(source.join("clients/python")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, client.join(path.file_name().unwrap())).unwrap();
        }
    }
    run(
        Command::new(python).arg("generate.py").current_dir(&client),
        ADVICE,
    );
    client
}

/// A Python that finds the client and its generated code.
fn at(python: &Path, client: &Path) -> Command {
    let mut command = Command::new(python);
    command.current_dir(client).env("PYTHONPATH", "gen");
    command
}

/// A client under way, which says an object a line.
struct Client {
    name: &'static str,
    lines: Receiver<Value>,
    log: PathBuf,
    _process: Running,
}

impl Client {
    fn start(name: &'static str, directory: &Path, mut command: Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap());
        let mut process = Running(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")));
        let out = BufReader::new(process.0.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let said = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Self {
            name,
            lines,
            log,
            _process: process,
        }
    }

    fn next(&self) -> Value {
        let said = self.lines.recv_timeout(SAY_MAX);
        said.unwrap_or_else(|error| {
            panic!(
                "{}: {error}; its log ends:\n{}",
                self.name,
                support::log_tail(&self.log)
            )
        })
    }
}

#[test]
fn the_python_client_has_types_throughout_and_its_own_tests_pass() {
    let directory = tempfile::tempdir().unwrap();
    let python = &*PYTHON;
    let client = python_client(python, directory.path());
    run(at(python, &client).args(["-m", "mypy"]), "");
    // It would see what is wrong.
    let wrong = "from zkrollup_client import Client\nClient('http://127.0.0.1').submit('id', 7)\n";
    fs::write(client.join("wrong.py"), wrong).unwrap();
    let output = at(python, &client).args(["-m", "mypy"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("wrong.py:2: error: Argument 2"),
        "{said}"
    );
    run(at(python, &client).args(["-m", "unittest"]), "");
}

#[test]
fn clients_in_python_and_typescript_watch_a_batch_over_a_restart_and_fetch_a_proof_that_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_string();
    let (python, example) = (&*PYTHON, javascript::client());
    let client = python_client(python, directory);
    let papers = Papers::new(directory);
    // One shows a certificate, the other a token of the same tenant.
    let token = papers.path("typescript.token");
    let entry = run(program().args(["token", "--out", &token]), "");
    let access = fs::read_to_string(papers.path("access.toml")).unwrap();
    let identity = "[[identity]]\nname = \"typescript\"\nroles = [\"sequencer\"]\ntenant = \"sequencer\"\n";
    papers.write("access.toml", &format!("{access}{identity}{entry}"));
    let mut service = Service::start_with_tls(directory, &papers);
    let batch = batch_with_fees(directory, &service.url, &papers);
    // At the first nobody is.
    let urls = format!("https://127.0.0.1:{},{}", support::free_port(), service.url);

    let (python_proof, typescript_proof) = (path("python.json"), path("typescript.json"));
    let mut command = at(python, &client);
    command.args(["service.py", &urls]);
    command.args(["ca.pem", "sequencer.pem", "sequencer.key"].map(|name| papers.path(name)));
    command.args([&batch, REQUEST_ID, &python_proof]);
    let in_python = Client::start("python", directory, command);
    check_refusal(&in_python.next());
    // So that the other's refusal is of the batch after this.
    let watching = in_python.next()["watching"].clone();
    let mut command = Command::new("node");
    command.current_dir(example);
    command.args(["dist/test/service.js", &urls, &papers.path("ca.pem"), &token]);
    command.args([&batch, REQUEST_ID, &typescript_proof]);
    let in_typescript = Client::start("typescript", directory, command);
    check_refusal(&in_typescript.next());
    assert_eq!(in_typescript.next()["watching"], watching);

    service.restart(directory);
    let credentials = papers.client("worker");
    let worker = ["worker", "--coordinator", &service.url].into_iter();
    let worker: Vec<&str> = worker.chain(credentials.iter().map(String::as_str)).collect();
    let _worker = start(directory, "worker.log", &worker);
    let results = [&in_python, &in_typescript].map(|client| (client, client.next()));
    for (client, result) in &results {
        assert_eq!(result["batch_id"], watching, "{}", client.name);
        assert_eq!(result["already_existed"], true);
        assert_eq!(result["listed"], json!([watching]));
        let statuses = result["statuses"].as_array().unwrap();
        assert_eq!(statuses[0], "BATCH_STATUS_QUEUED");
        assert_eq!(statuses.last().unwrap(), "BATCH_STATUS_PROVEN");
        if client.name == "python" {
            assert_eq!(result["operations"], 5);
            assert_eq!(result["counts"]["queued"], 1);
            assert_eq!(result["kinds"], json!({ "queued": 1, "transfer": 4 }));
        }
    }
    check_billing(&batch, results.map(|(_, result)| result));
    let proofs = [&python_proof, &typescript_proof].map(|proof| support::read_json(Path::new(proof)));
    assert_eq!(proofs[0], proofs[1]);
    check_verified(&python_proof, &path("exported-keys"));
    check_cli(
        (&service.url, &papers),
        &batch,
        &watching,
        &path("again.json"),
        &python_proof,
    );
    check_tampered(&python_proof, &path("tampered.json"));
}

/// Has the batches before it accepted; the file of one whose transfers pay fees.
fn batch_with_fees(directory: &Path, url: &str, papers: &Papers) -> String {
    for number in 0..BATCH_NUMBER {
        let batch = Service::sample_of(directory, number);
        let mut submit = program();
        submit
            .args(["submit", "--coordinator", url, "--batch", &batch])
            .args(["--request-id", &format!("before-{number}")])
            .args(papers.client("sequencer"));
        run(&mut submit, "");
    }
    Service::sample_of(directory, BATCH_NUMBER)
}

/// Both say what the batch earns, which is what its operations pay, and what L1 takes for it.
fn check_billing(batch: &str, results: [Value; 2]) {
    let batch = proto::v1::Batch::decode(&fs::read(batch).unwrap()[..]).unwrap();
    let mut fees = BTreeMap::<u32, u128>::new();
    for operation in batch.operations {
        if let Some(Kind::Transfer(transfer)) = operation.kind {
            let fee = transfer.fee.unwrap();
            *fees.entry(transfer.token).or_default() += u128::from(fee.mantissa) * 10u128.pow(fee.exponent);
        }
    }
    fees.retain(|_, sum| *sum > 0);
    assert!(!fees.is_empty(), "the batch's operations pay fees");
    let fees: Vec<_> = fees
        .iter()
        .map(|(token, sum)| json!([token, sum.to_string()]))
        .collect();
    for result in &results {
        assert_eq!(result["fees"], json!(fees));
        // One of five operations is mostly the proof's verification.
        assert!(
            (380_000..450_000).contains(&result["l1_gas"].as_u64().unwrap()),
            "{result}"
        );
    }
}

/// What either client says of the batch that was refused: everything that the error carries, by its type.
fn check_refusal(said: &Value) {
    let refusal = &said["refusal"];
    assert_eq!(refusal["code"], "INVALID_ARGUMENT", "{said}");
    assert_eq!(refusal["reason"], "WRONG_NEW_ROOT");
    assert_eq!(refusal["fields"][0]["field"], "batch.new_root");
    let metadata = &refusal["metadata"];
    assert_eq!(metadata["field"], "batch.new_root");
    let found = metadata["found"].as_str().unwrap();
    assert!(found.contains(&"01".repeat(32)), "{found}");
    assert_ne!(metadata["expected"], metadata["found"]);
    assert_eq!(refusal["retry_ms"], Value::Null);
}

/// The proof is one, by the keys in the cache and by the verifying keys alone.
fn check_verified(proof: &str, exported: &str) {
    let verified = run(program().args(["verify", "--json", proof]).args(KEYS), "");
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["valid"], true);
    assert_eq!(verified["rollup_id"]["chain_id"], "31337");
    assert_eq!(verified["insecure_srs"], true);
    run(program().args(["export-keys", "--out", exported]).args(KEYS), "");
    let from_keys_alone = ["--verifying-keys", exported, "--insecure-dev-srs"];
    for keys in [&KEYS[..], &from_keys_alone] {
        let told = run(program().args(["verify", proof]).args(keys), "");
        assert!(told.starts_with("valid: ") && told.contains("INSECURE"), "{told}");
    }
}

/// The program's own client sees the same.
fn check_cli((url, papers): (&str, &Papers), batch: &str, batch_id: &Value, again: &str, proof: &str) {
    let batch_id = batch_id.as_str().unwrap();
    let credentials = papers.client("sequencer");
    let at = ["--coordinator", url, "--json"];
    let at: Vec<&str> = at
        .into_iter()
        .chain(credentials.iter().map(String::as_str))
        .collect();
    let mut submit = program();
    submit
        .args(["submit", "--request-id", REQUEST_ID, "--batch", batch])
        .args(&at);
    let submitted: Value = serde_json::from_str(&run(&mut submit, "")).unwrap();
    assert_eq!(submitted["already_existed"], true);
    assert_eq!(submitted["batch_id"], batch_id);

    let watched = run(program().args(["watch", batch_id]).args(&at), "");
    let last: Value = serde_json::from_str(watched.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "proven");
    assert_eq!(
        last["billing"]["fee_tokens"],
        last["billing"]["fees"].as_array().unwrap().len()
    );
    assert!(last["billing"]["l1_gas_estimate"].is_u64(), "{last}");
    let at: Vec<&str> = at.into_iter().filter(|arg| *arg != "--json").collect();
    let lines = run(program().arg("list").args(&at), "");
    let gas = format!("~{} L1 gas, ", last["billing"]["l1_gas_estimate"]);
    assert!(lines.contains(&gas), "{lines}");

    run(program().args(["proof", batch_id, "--out", again]).args(&at), "");
    assert_eq!(
        support::read_json(Path::new(again)),
        support::read_json(Path::new(proof))
    );

    let unknown = program()
        .args(["watch", "no-such-batch"])
        .args(at)
        .output()
        .unwrap();
    assert_eq!(
        unknown.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&unknown.stderr)
    );
}

/// Each field changed alone is refused, by its name and with the exit code for that.
fn check_tampered(proof: &str, tampered: &str) {
    type Change = fn(&Value) -> Value;
    let honest = support::read_json(Path::new(proof));
    let other_bit: Change = |value| {
        let mut text = value.as_str().unwrap().to_string();
        let last = text.pop().unwrap();
        text.push(if last == '0' { '1' } else { '0' });
        Value::from(text)
    };
    let next: Change = |value| Value::from(value.as_u64().unwrap() + 1);
    let other_chain: Change = |_| Value::from("1");
    let changes: [(&str, Change, &str); 14] = [
        ("/rollup_id/chain_id", other_chain, "rollup_id.chain_id: "),
        ("/rollup_id/contract", other_bit, "rollup_id.contract: "),
        ("/batch_number", next, "batch_number: "),
        ("/time", next, "time: "),
        ("/old_root", other_bit, "old_root: "),
        ("/new_root", other_bit, "new_root: "),
        ("/c_a", other_bit, "c_a: "),
        ("/c_b", other_bit, "c_b: "),
        ("/x", other_bit, "x: "),
        ("/posted_a", other_bit, "posted_a: "),
        ("/posted_b", other_bit, "posted_b: "),
        ("/instances/16", other_bit, "the proof does not verify"),
        ("/proof", other_bit, "the proof does not verify"),
        ("/aggregation_vk_digest", other_bit, "aggregation_vk_digest: "),
    ];
    for (field, change, reason) in changes {
        let mut file = honest.clone();
        let value = file.pointer_mut(field).unwrap();
        *value = change(value);
        fs::write(tampered, file.to_string()).unwrap();
        let output = program().args(["verify", tampered]).args(KEYS).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{field}: {error}");
        assert!(error.contains(&format!("error: {reason}")), "{field}: {error}");
    }
}
