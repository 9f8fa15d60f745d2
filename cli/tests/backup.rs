//! A store is copied and put elsewhere, and the service goes on from there.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use support::{Running, Service, program, run, start, wait_for};

/// A proof is made, and a coordinator serves, within this time.
const WORK_MAX: Duration = Duration::from_secs(180);

fn worker(directory: &Path, url: &str, name: &str) -> Running {
    let arguments = ["worker", "--coordinator", url, "--name", name, "--device", "cpu"];
    start(directory, &format!("{name}.log"), &arguments)
}

fn submit(url: &str, batch: &str) -> Value {
    let mut submit = program();
    submit.args([
        "submit",
        "--wait",
        "--json",
        "--batch",
        batch,
        "--coordinator",
        url,
    ]);
    let said = run(&mut submit, "");
    serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
}

fn proof(url: &str, batch: &str, file: &Path) -> Vec<u8> {
    let mut proof = program();
    proof
        .args(["proof", batch, "--coordinator", url, "--out"])
        .arg(file);
    run(&mut proof, "");
    fs::read(file).unwrap()
}

/// The second batch of the sample, of one shard.
fn second(directory: &Path) -> String {
    let file = directory.join("second.bin").to_str().unwrap().to_owned();
    let mut sample = program();
    sample
        .args([
            "sample-batch",
            "--preset",
            "tiny",
            "--tokens",
            "1",
            "--transfers",
            "4",
        ])
        .args(["--batch-number", "1", "--batch", &file])
        .args(["--chain-id", "31337", "--contract", support::CONTRACT]);
    run(&mut sample, "");
    file
}

fn backup(data: &Path, out: &Path) -> Command {
    let mut command = program();
    command
        .arg("backup")
        .arg("--data-dir")
        .arg(data)
        .arg("--out")
        .arg(out);
    command
}

fn restore(file: &Path, data: &Path) -> Command {
    let mut command = program();
    command.arg("restore").arg(file).arg("--data-dir").arg(data);
    command
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_backup_restored_on_an_empty_folder_has_every_proof_and_takes_the_next_batch() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut service = Service::start(directory.path());
    let first = worker(directory.path(), &service.url, "first");
    let batch = submit(&service.url, &service.batch)["batch_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = proof(&service.url, &batch, &at("before.json"));
    drop(first);

    // While the coordinator has it there is no backup.
    let file = at("store.backup");
    let used = backup(&at("data"), &file).output().unwrap();
    refused(&used, &["is in use by another process"]);
    assert!(!file.exists());
    service.coordinator.0.kill().unwrap();
    service.coordinator.0.wait().unwrap();
    let made: Value = serde_json::from_str(&run(backup(&at("data"), &file).arg("--json"), "")).unwrap();
    // The statement, the root proof, and what undoes it.
    assert_eq!(made["artifacts"], 3, "{made}");
    assert_eq!(made["bytes"], fs::metadata(&file).unwrap().len());
    refused(
        &backup(&at("data"), &file).output().unwrap(),
        &["is there already"],
    );
    let mut check = program();
    let whole = run(check.arg("restore").arg("--check").arg(&file), "");
    assert!(whole.contains(made["sha256"].as_str().unwrap()), "{whole}");

    // The machine is lost, and what is restored is in another place.
    fs::remove_dir_all(at("data")).unwrap();
    let restored: Value = serde_json::from_str(&run(restore(&file, &at("data")).arg("--json"), "")).unwrap();
    assert_eq!(restored["sha256"], made["sha256"]);
    refused(
        &restore(&file, &at("data")).output().unwrap(),
        &["there is a store in"],
    );
    service.restart(directory.path());
    let again = wait_for("the coordinator to serve", WORK_MAX, || {
        let mut health = program();
        health.args(["health", "--coordinator", &service.url]);
        let serves = health.output().unwrap().status.success();
        serves.then(|| proof(&service.url, &batch, &at("again.json")))
    });
    assert_eq!(again, before, "the proof is the same");
    let _second = worker(directory.path(), &service.url, "second");
    let next = submit(&service.url, &second(directory.path()));
    assert_eq!(next["batch_number"], 1, "{next}");
}

#[test]
fn a_backup_that_finds_no_room_or_is_damaged_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut service = Service::start(directory.path());
    wait_for("the batch to be accepted", WORK_MAX, || {
        let mut submit = program();
        submit.args(["submit", "--batch", &service.batch, "--coordinator", &service.url]);
        submit.output().unwrap().status.success().then_some(())
    });
    service.coordinator.0.kill().unwrap();
    service.coordinator.0.wait().unwrap();
    let limited = |command: &Command| {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.output().unwrap()
    };
    let file = at("store.backup");
    let full = limited(&backup(&at("data"), &file));
    refused(&full, &["store.backup.part: File too large", "`ulimit -f`"]);
    assert!(!file.exists() && !at("store.backup.part").exists());
    run(&mut backup(&at("data"), &file), "");
    let full = limited(&restore(&file, &at("new")));
    refused(&full, &["File too large", "`ulimit -f`"]);
    // It goes over what that has left.
    run(&mut restore(&file, &at("new")), "");

    let mut bytes = fs::read(&file).unwrap();
    let damaged = at("damaged.backup");
    fs::write(&damaged, &bytes[..bytes.len() - 100]).unwrap();
    let cut = restore(&damaged, &at("other")).output().unwrap();
    refused(&cut, &["damaged.backup is cut off", "should follow or end there"]);
    let middle = bytes.len() - 1_000;
    bytes[middle] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let changed = restore(&damaged, &at("other")).output().unwrap();
    refused(&changed, &["damaged.backup is damaged: ", "artifact b1-"]);
    assert!(!at("other").exists());
}
