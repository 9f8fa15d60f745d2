//! No room for files, and no descriptors left: every command ends by itself, says which file and what helps, leaves nothing behind
//! that was not there, and succeeds when there is room again.
//!
//! `ulimit -f` stands for a full disk: the same write fails in the same place, by another number, and nobody needs to be root.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use circuits::preset::TINY;
use keys::{KeyConfig, KeyStore, default_dir};
use srs::SrsSource;
use support::{CONTRACT, KEYS, program, run};

/// Longest time until a role starts or gives up.
const START_MAX: Duration = Duration::from_secs(60);

/// What a coordinator's log says when it serves.
const SERVES: &str = "coordinator serves";

/// The binary under a limit of the shell.
fn limited(limit: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(program().get_program());
    command.env(keys::KEYS_VARIABLE, default_dir());
    command
}

/// Every name below a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(self::names(&path));
        }
        names.push(path.to_str().unwrap().to_owned());
    }
    names.sort();
    names
}

/// That a command ended by an error of its own, with all of these in its text.
fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A cache that lacks what the shard circuit needs, which is made in a second.
fn cache_without_shard_keys(cache: &Path) {
    let config = KeyConfig {
        dir: default_dir(),
        preset: TINY,
        srs: SrsSource::Development,
        allow_insecure: true,
        srs_digest: None,
    };
    let whole = KeyStore::open(config, &|_, _| {}).unwrap().folder();
    let folder = cache.join(whole.file_name().unwrap());
    fs::create_dir_all(&folder).unwrap();
    for name in ["aggregation.pk", "aggregation.vk"] {
        symlink(whole.join(name).canonicalize().unwrap(), folder.join(name)).unwrap();
    }
}

fn keygen(mut command: Command, cache: &Path) -> Output {
    command.arg("keygen").args(KEYS).arg("--keys-dir").arg(cache);
    command.output().unwrap()
}

#[test]
fn keys_that_find_no_room_leave_nothing_and_are_made_when_there_is_some() {
    let directory = tempfile::tempdir().unwrap();
    let told = ["File too large", "`ulimit -f`"];
    // Not even the first file.
    let cache = directory.path().join("new/keys");
    refused(&keygen(limited("-f 64"), &cache), &[".srs", told[0], told[1]]);
    assert!(
        names(directory.path()).is_empty(),
        "{:?}",
        names(directory.path())
    );

    cache_without_shard_keys(&cache);
    let before = names(directory.path());
    refused(&keygen(limited("-f 64"), &cache), &["-k15.srs", told[0], told[1]]);
    assert_eq!(names(directory.path()), before);
    // A whole file stays, for the next run.
    refused(
        &keygen(limited("-f 16000"), &cache),
        &["shard.pk", told[0], told[1]],
    );
    let after = names(directory.path());
    let made: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(made.len() == 1 && made[0].ends_with("-k15.srs"), "{made:?}");

    let output = keygen(program(), &cache);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!cache.join("lock").exists());
}

#[test]
fn keys_that_find_no_descriptors_leave_nothing_and_are_made_when_there_are_some() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("keys");
    cache_without_shard_keys(&cache);
    let before = names(directory.path());
    // The first is the lock's.
    refused(
        &keygen(limited("-n 4"), &cache),
        &["keys", "Too many open files", "`ulimit -n`"],
    );
    assert_eq!(names(directory.path()), before);
    assert!(keygen(program(), &cache).status.success());
}

/// Runs a role until its log says that it started, and then kills it; or until it ends: its log.
fn start(command: &mut Command, started: &str, directory: &Path) -> Result<(), Output> {
    let log = directory.join("role.log");
    let mut role = command
        .args(KEYS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    loop {
        let status = role.try_wait().unwrap();
        let said = fs::read(&log).unwrap();
        if let Some(status) = status {
            return Err(Output {
                status,
                stdout: Vec::new(),
                stderr: said,
            });
        }
        if String::from_utf8_lossy(&said).contains(started) {
            role.kill().unwrap();
            role.wait().unwrap();
            return Ok(());
        }
        assert!(began.elapsed() < START_MAX, "{}", String::from_utf8_lossy(&said));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a role under limits on its descriptors, from few to many, until it starts: before that it ends by itself, and says why.
fn starts_or_says_why(args: &[&str], started: &str, directory: &Path) {
    let mut refusals = 0;
    for limit in (4..64).step_by(3) {
        match start(limited(&format!("-n {limit}")).args(args), started, directory) {
            Ok(()) => return assert!(refusals > 0, "the limits are too generous"),
            Err(mut ended) => {
                // A device that cannot be used has a code of its own.
                if ended.status.code() == Some(7) {
                    ended.status = ExitStatus::from_raw(1 << 8);
                }
                refused(&ended, &["Too many open files", "`ulimit -n`"]);
                refusals += 1;
            }
        }
    }
    panic!("it starts under no limit");
}

#[test]
fn the_number_of_descriptors_that_is_said_to_be_needed_is_enough_and_one_less_is_not() {
    let list = |limit: u64| {
        let mut command = limited(&format!("-n {limit}"));
        command.args(["list", "--coordinator", "http://127.0.0.1:1"]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = list(12);
    assert_eq!(code, Some(1), "{said}");
    let needed = said.strip_prefix("error: ").unwrap().split(' ').next().unwrap();
    let needed: u64 = needed.parse().unwrap();
    assert!(said.contains("the limit is 12"), "{said}");
    let (code, same) = list(needed - 1);
    assert_eq!(code, Some(1), "{same}");
    assert!(same.contains(&format!("{needed} file descriptors")), "{same}");
    assert_eq!(list(needed).0, Some(6), "it cannot be reached");
}

#[test]
fn a_worker_without_descriptors_says_why_and_starts_with_enough() {
    let directory = tempfile::tempdir().unwrap();
    run(program().arg("keygen").args(KEYS), "");
    let args = ["worker", "--device", "cpu", "--coordinator", "http://127.0.0.1:1"];
    starts_or_says_why(&args, "no session with the coordinator", directory.path());
}

#[test]
fn a_coordinator_without_descriptors_says_why_and_starts_with_enough() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = path("data");
    let rollup = ["--chain-id", "31337", "--contract", CONTRACT];
    run(program().arg("keygen").args(KEYS), "");
    let mut args = vec!["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data];
    args.extend(rollup);
    starts_or_says_why(&args, SERVES, directory.path());
}

#[test]
fn a_full_disk_ends_the_start_of_a_coordinator_with_the_file_and_the_next_start_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = path("data");
    let rollup = ["--chain-id", "31337", "--contract", CONTRACT];
    run(program().arg("keygen").args(KEYS), "");
    let mut args = vec!["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data];
    args.extend(rollup);
    let full = start(limited("-f 16").args(&args), SERVES, directory.path());
    refused(
        &full.unwrap_err(),
        &["database.redb", "File too large", "`ulimit -f`"],
    );
    assert!(start(program().args(&args), SERVES, directory.path()).is_ok());
}

#[test]
fn files_that_find_no_room_are_named_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    run(program().arg("keygen").args(KEYS), "");
    let command = |mut command: Command, args: &[&str]| {
        let output = command.args(args).current_dir(&directory).output().unwrap();
        assert!(names(directory.path()).is_empty() || output.status.success());
        output
    };
    let rollup = ["--chain-id", "31337", "--contract", CONTRACT];
    let sample = [["sample-batch", "--batch", "b"].as_slice(), &rollup].concat();
    let export = [["export-verifier", "--out", "out/verifier"].as_slice(), &KEYS].concat();
    for (args, limit, file) in [
        (sample.as_slice(), "-f 0", "cannot write b: "),
        (&["token", "--out", "t"], "-f 0", "cannot write t: "),
        (&export, "-f 4", "cannot write out/verifier/RootVerifier.sol: "),
    ] {
        refused(
            &command(limited(limit), args),
            &[file, "File too large", "`ulimit -f`"],
        );
    }
    for args in [sample.as_slice(), &["token", "--out", "t"], &export] {
        let output = command(program(), args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The most memory that a process has had, kB.
fn memory_max(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// Each message is far below its limit on the wire, and far above the coordinator's memory without it.
#[tokio::test]
async fn messages_that_inflate_are_refused_before_they_are_inflated() {
    use proto::v1::{
        GetBatchRequest, SubmitBatchRequest, prover_service_client::ProverServiceClient,
        submit_batch_request::Part,
    };
    use tonic::codec::CompressionEncoding::Gzip;
    const BOMB_BYTES: usize = 256 << 20;
    const GROWTH_KB_MAX: u64 = 32 << 10;
    let directory = tempfile::tempdir().unwrap();
    let service = support::Service::start(directory.path());
    let connector = proto::connection::Connector::new(service.url.parse().unwrap(), Default::default());
    let connector = connector.unwrap();
    let started = Instant::now();
    let channel = loop {
        match connector.connect().await {
            Ok(channel) => break channel,
            Err(error) => assert!(started.elapsed() < START_MAX, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut client = ProverServiceClient::new(channel).send_compressed(Gzip);
    let batch_id = |bytes: usize| GetBatchRequest {
        batch_id: "b".repeat(bytes),
    };
    let answer = client.get_batch(batch_id(3)).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::NotFound);
    let pid = service.coordinator.0.id();
    let before = memory_max(pid);
    let answer = client.get_batch(batch_id(BOMB_BYTES)).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::ResourceExhausted);
    let part = Some(Part::Chunk(vec![0; BOMB_BYTES].into()));
    let parts = tokio_stream::iter([SubmitBatchRequest { part }]);
    let answer = client.submit_batch(parts).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::InvalidArgument);
    let after = memory_max(pid);
    assert!(
        after - before < GROWTH_KB_MAX,
        "{before} kB before, {after} kB after"
    );
}
