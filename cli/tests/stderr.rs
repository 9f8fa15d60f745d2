//! A standard error that cannot be written, on a full disk or into a pipe that nobody reads: whatever runs goes on, and ends with its
//! own exit code.

mod support;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{CONTRACT, KEYS, Running, Service, program, run, wait_for};

/// Keys are read and a store is opened within this time.
const START_MAX: Duration = Duration::from_secs(60);

/// Standard errors that cannot be written.
fn unwritable() -> [(&'static str, Stdio); 2] {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    [("a full disk", full.into()), ("a closed pipe", writer.into())]
}

/// How a process ends at SIGTERM.
fn terminated(role: &mut Running) -> Option<i32> {
    run(Command::new("kill").args(["-TERM", &role.0.id().to_string()]), "");
    wait_for("the role to end", START_MAX, || role.0.try_wait().unwrap()).code()
}

/// A coordinator on the empty state, beside the one that the service has, with its standard error there.
fn coordinator(directory: &Path, stderr: Stdio) -> (Running, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let data = tempfile::tempdir_in(directory).unwrap().keep();
    let mut command = program();
    command
        .args(["coordinator", "--listen", &address, "--data-dir"])
        .arg(data)
        .args(["--chain-id", "31337"])
        .args(["--contract", CONTRACT])
        .args(KEYS)
        .env("RUST_LOG", "info")
        .stdout(Stdio::null())
        .stderr(stderr);
    (Running(command.spawn().unwrap()), format!("http://{address}"))
}

/// What a command of a client answers.
fn ask(url: &str, args: &[&str]) -> Value {
    let mut command = program();
    command.args(args).args(["--json", "--coordinator", url]);
    serde_json::from_str(&run(&mut command, "")).unwrap()
}

/// That a coordinator takes a batch, lists it and ends in order.
fn serves(mut coordinator: Running, url: &str, batch: &str) {
    let submitted = ask(url, &["submit", "--batch", batch]);
    assert_eq!(submitted["already_existed"], false, "{submitted}");
    let listed = ask(url, &["list"]);
    assert_eq!(
        listed["batches"][0]["batch_id"], submitted["batch_id"],
        "{listed}"
    );
    assert_eq!(terminated(&mut coordinator), Some(0));
}

#[test]
fn a_coordinator_goes_on_without_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let batch = Service::sample(directory.path());
    run(program().arg("keygen").args(KEYS), "");
    for (_, stderr) in unwritable() {
        let (coordinator, url) = coordinator(directory.path(), stderr);
        serves(coordinator, &url, &batch);
    }
    // Its reader leaves later.
    let (mut coordinator, url) = coordinator(directory.path(), Stdio::piped());
    let mut log = BufReader::new(coordinator.0.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("coordinator serves")));
    drop(log);
    serves(coordinator, &url, &batch);
}

#[test]
fn a_worker_goes_on_without_its_log() {
    run(program().arg("keygen").args(KEYS), "");
    for (what, stderr) in unwritable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut command = program();
        command
            .args(["worker", "--device", "cpu", "--coordinator", &url])
            .args(KEYS);
        let mut worker = Running(command.env("RUST_LOG", "info").stderr(stderr).spawn().unwrap());
        listener.set_nonblocking(true).unwrap();
        // It logs each of these.
        for _ in 0..2 {
            wait_for("a connection", START_MAX, || {
                assert_eq!(worker.0.try_wait().unwrap(), None, "{what}");
                listener.accept().ok()
            });
        }
        assert_eq!(terminated(&mut worker), Some(0), "{what}");
    }
}

#[test]
fn a_command_ends_with_its_own_code_where_it_can_tell_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let proof = directory.path().join("proof.json");
    let mut file = json!({
        "rollup_id": { "chain_id": "31337", "contract": CONTRACT },
        "batch_number": 0,
        "time": 0,
        "instances": [],
    });
    for name in ["old_root", "new_root", "c_a", "c_b", "x", "posted_a", "posted_b"] {
        file[name] = json!("0x");
    }
    for name in ["proof", "aggregation_vk_digest"] {
        file[name] = json!("0x");
    }
    fs::write(&proof, file.to_string()).unwrap();
    let verify = ["verify", proof.to_str().unwrap()];
    for (args, code) in [
        ([&verify[..], &KEYS].concat(), 5),
        (vec!["list", "--coordinator", "http://127.0.0.1:1"], 6),
        (vec!["no-such-command"], 2),
    ] {
        // Both at once: one has patience with its coordinator.
        let started = unwritable().map(|(what, stderr)| {
            let mut command = program();
            command.args(&args).stdout(Stdio::null()).stderr(stderr);
            (what, Running(command.spawn().unwrap()))
        });
        for (what, mut running) in started {
            let status = running.0.wait().unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}: {what}");
        }
    }
}
