//! Signals end every role while it waits for keys, which may take minutes to make: here for ever, since the test holds
//! the key folder's lock.

mod support;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use support::{KEYS, Running, log_tail, program, run, wait_for};

/// A role comes as far as the lock within this time.
const START_MAX: Duration = Duration::from_secs(60);
/// A signal ends a role within this time.
const END_MAX: Duration = Duration::from_secs(2);

/// Starts a role, waits until it waits for keys, and sends it a signal; returns how it ended.
fn end(directory: &Path, args: &[&str], signal: &str) -> ExitStatus {
    let keys = directory.join("keys");
    fs::create_dir_all(&keys).unwrap();
    let lock = File::create(keys.join("lock")).unwrap();
    lock.lock().unwrap();
    let log = directory.join("log");
    let mut command = program();
    command.args(args).args(KEYS).arg("--keys-dir").arg(&keys);
    let child = command
        .env("RUST_LOG", "info")
        .stderr(File::create(&log).unwrap());
    let mut role = Running(child.spawn().unwrap());
    wait_for("the role to wait for keys", START_MAX, || {
        log_tail(&log)
            .contains("waiting for another process")
            .then_some(())
    });
    run(Command::new("kill").args([signal, &role.0.id().to_string()]), "");
    let sent = Instant::now();
    let status = wait_for("the role to end", START_MAX, || role.0.try_wait().unwrap());
    assert!(
        sent.elapsed() < END_MAX,
        "{:?}: {}",
        sent.elapsed(),
        log_tail(&log)
    );
    status
}

#[test]
fn a_worker_that_waits_for_keys_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let worker = ["worker", "--coordinator", "http://127.0.0.1:1"];
    let healthy = [&worker[..], &["--health-listen", "127.0.0.1:0"]].concat();
    for worker in [&worker[..], &healthy] {
        let code = |signal| end(directory.path(), worker, signal).code();
        assert_eq!(code("-TERM"), Some(0), "it has nothing to drain");
        assert_eq!(code("-INT"), Some(130));
    }
}

#[test]
fn a_coordinator_that_waits_for_keys_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let rollup = [
        "--chain-id",
        "31337",
        "--contract",
        &format!("0x{}", "e7".repeat(20)),
    ];
    let data = path("data");
    let mut coordinator = vec!["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data];
    coordinator.extend(rollup);
    for signal in ["-TERM", "-INT"] {
        assert_eq!(end(directory.path(), &coordinator, signal).code(), Some(0));
    }
}

#[test]
fn key_making_that_waits_for_its_turn_ends_by_the_signal() {
    let directory = tempfile::tempdir().unwrap();
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let status = end(directory.path(), &["keygen"], signal);
        assert_eq!(status.signal(), Some(number));
    }
}

#[test]
fn a_coordinator_whose_snapshot_does_not_come_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, data) = (directory.path().join("snapshot"), directory.path().join("data"));
    run(Command::new("mkfifo").arg(&pipe), "");
    for signal in ["-TERM", "-INT"] {
        let mut command = program();
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--chain-id", "1"]);
        command.args(["--contract", support::CONTRACT]).args(KEYS);
        command.arg("--snapshot").arg(&pipe).arg("--data-dir").arg(&data);
        let mut role = Running(command.spawn().unwrap());
        // This waits until the coordinator has the other end.
        let _nothing = File::options().write(true).open(&pipe).unwrap();
        run(Command::new("kill").args([signal, &role.0.id().to_string()]), "");
        let sent = Instant::now();
        let status = wait_for("the role to end", START_MAX, || role.0.try_wait().unwrap());
        assert!(sent.elapsed() < END_MAX, "{:?}", sent.elapsed());
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn a_snapshot_without_an_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let mut command = program();
    command.args([
        "coordinator",
        "--listen",
        "127.0.0.1:0",
        "--chain-id",
        "1",
        "--data-dir",
    ]);
    command
        .arg(directory.path().join("data"))
        .args(["--contract", support::CONTRACT]);
    let output = command.args(KEYS).arg("--snapshot").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("snapshot is too large: expected at most"), "{said}");
}
