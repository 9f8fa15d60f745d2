//! A client in another language, made from the .proto files alone, against the real service, all over mutual TLS: it submits
//! a batch file, watches it and fetches a proof that this program verifies.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};
use support::tls::Papers;
use support::{KEYS, Service, program, run, start, workspace};

/// A Python with the pinned packages, under the target directory; made once for each state of the list.
fn python() -> PathBuf {
    let requirements = workspace().join("cli/tests/python/requirements.txt");
    let digest = Sha256::digest(fs::read(&requirements).unwrap());
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let venv = workspace().join(format!("target/python-{digest}"));
    let python = venv.join("bin/python");
    if !python.exists() {
        let partial = workspace().join(format!("target/python-{digest}.{}", std::process::id()));
        let advice = "This test needs Python 3.9 or later with venv, and pip's access to a package index.";
        run(Command::new("python3").args(["-m", "venv"]).arg(&partial), advice);
        let mut pip = Command::new(partial.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&requirements);
        run(&mut pip, advice);
        fs::rename(&partial, &venv).unwrap();
    }
    python
}

/// The stubs that grpcio-tools makes from `proto/`.
fn stubs(python: &Path, directory: &Path) -> PathBuf {
    let (proto, stubs) = (workspace().join("proto"), directory.join("stubs"));
    fs::create_dir(&stubs).unwrap();
    let mut command = Command::new(python);
    command
        .args(["-m", "grpc_tools.protoc"])
        .arg(format!("-I{}", proto.display()));
    for kind in ["--python_out", "--grpc_python_out"] {
        command.arg(format!("{kind}={}", stubs.display()));
    }
    let files = ["batch", "prover_service", "worker_service"];
    command
        .args(files.map(|name| format!("zkrollup/prover/v1/{name}.proto")))
        .current_dir(&proto);
    run(&mut command, "");
    stubs
}

#[test]
fn a_python_client_submits_watches_and_fetches_a_proof_that_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let python = python();
    let stubs = stubs(&python, directory.path());
    let papers = Papers::new(directory.path());
    let proof = path("proof.json");
    let Service {
        address,
        url,
        batch,
        coordinator: _coordinator,
    } = Service::start_with_tls(directory.path(), &papers);
    let credentials = papers.client("worker");
    let worker = ["worker", "--coordinator", &url];
    let worker: Vec<&str> = worker
        .into_iter()
        .chain(credentials.iter().map(String::as_str))
        .collect();
    let _worker = start(directory.path(), "worker.log", &worker);

    let client = workspace().join("cli/tests/python/client.py");
    let mut command = Command::new(&python);
    command.arg(client).arg(stubs).args([&address, &batch, &proof]);
    command.args(["ca.pem", "sequencer.pem", "sequencer.key"].map(|name| papers.path(name)));
    let logs = || ["coordinator.log", "worker.log"].map(|log| support::log_tail(&directory.path().join(log)));
    let result: Value = serde_json::from_str(&run(&mut command, &logs().join("\n"))).unwrap();
    assert_eq!(result["refusal"], "INVALID_ARGUMENT");
    assert_eq!(result["operations"], 5);
    assert_eq!(result["counts"]["queued"], 1);
    assert_eq!(result["kinds"], serde_json::json!({ "queued": 1, "transfer": 4 }));
    assert_eq!(
        result["states"].as_array().unwrap().last().unwrap(),
        "BATCH_STATUS_PROVEN"
    );

    let verified = run(program().args(["verify", "--json", &proof]).args(KEYS), "");
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["valid"], true);
    assert_eq!(verified["rollup_id"]["chain_id"], "31337");
    assert_eq!(verified["insecure_srs"], true);
    let exported = path("exported-keys");
    run(program().args(["export-keys", "--out", &exported]).args(KEYS), "");
    let from_keys_alone = ["--verifying-keys", &exported, "--insecure-dev-srs"];
    for keys in [&KEYS[..], &from_keys_alone] {
        let told = run(program().args(["verify", &proof]).args(keys), "");
        assert!(told.starts_with("valid: ") && told.contains("INSECURE"), "{told}");
    }
    check_cli(
        (&url, &papers),
        &batch,
        &result["batch_id"],
        &path("again.json"),
        &proof,
    );
    check_tampered(&proof, &path("tampered.json"));
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
        .args(["submit", "--request-id", "from-python", "--batch", batch])
        .args(&at);
    let submitted: Value = serde_json::from_str(&run(&mut submit, "")).unwrap();
    assert_eq!(submitted["already_existed"], true);
    assert_eq!(submitted["batch_id"], batch_id);

    let watched = run(program().args(["watch", batch_id]).args(&at), "");
    let last: Value = serde_json::from_str(watched.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "proven");

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
