//! What the tests of the binary share: running it, waiting, and looking at processes.

// Each test binary uses a part of this module.
#![allow(dead_code)]

pub mod javascript;
pub mod tls;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use accel::machine::{self, Process};
use keys::{KEYS_VARIABLE, default_dir};
use serde_json::Value;

/// The binary under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_rollup-prover");

/// The binary under test, with the key folder of the other crates' tests.
pub fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env(KEYS_VARIABLE, default_dir());
    command
}

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}

/// A process that is killed when the test is over, however it ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `demo` with the directory's lock, log and data of its own.
pub fn start_demo(directory: &Path, args: &[&str]) -> Running {
    let log = fs::File::create(directory.join("demo.log")).unwrap();
    let child = program()
        .args(["demo", "--preset", "tiny", "--work-dir"])
        .arg(directory.join("work"))
        .args(args)
        .env("XDG_RUNTIME_DIR", directory)
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}

/// The end of a log, for a failure's message.
pub fn log_tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Waits for a value; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the process ends and asserts that it succeeded.
pub fn expect_success(running: &mut Running, log: &Path, limit: Duration) {
    let status = wait_for("the demo to end", limit, || running.0.try_wait().unwrap());
    assert!(status.success(), "{status}; the log ends:\n{}", log_tail(log));
}

/// The demo's `processes.json`.
pub fn processes(directory: &Path) -> Option<Value> {
    let text = fs::read_to_string(directory.join("work/processes.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// The process id of a child of the demo, when it runs.
pub fn pid_of(directory: &Path, name: &str) -> Option<u32> {
    processes(directory)?[name]["pid"].as_u64().map(|pid| pid as u32)
}

/// Kills a process as the system would when memory is short.
pub fn kill(pid: u32) {
    let status = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "process {pid} was there");
}

/// Whether a process is there and no zombie.
pub fn is_running(pid: u32) -> bool {
    Process::of(pid).is_some_and(|process| !process.is_zombie)
}

/// The processes that a process started.
pub fn children(pid: u32) -> Vec<u32> {
    let children = machine::process_ids().into_iter();
    children
        .filter(|child| Process::of(*child).is_some_and(|process| process.parent == pid))
        .collect()
}

/// A JSON file.
pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The keys that tests use.
pub const KEYS: [&str; 3] = ["--preset", "tiny", "--insecure-dev-srs"];
/// A rollup contract: the third that the first account of a new anvil deploys, behind the contract of the hash and a verifier.
pub const CONTRACT: &str = "0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0";

/// Runs a command that must succeed; returns its standard output.
pub fn run(command: &mut Command, advice: &str) -> String {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{shown}: {error}. {advice}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{shown}: {}\n{out}{err}\n{advice}",
        output.status
    );
    out.into_owned()
}

/// Starts a role of the service with the tests' keys and a log of its own.
pub fn start(directory: &Path, log: &str, args: &[&str]) -> Running {
    let log = fs::File::create(directory.join(log)).unwrap();
    let mut command = program();
    command
        .args(args)
        .args(KEYS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Running(command.spawn().unwrap())
}

/// A port of loopback at which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A coordinator on the empty state, and a batch that it would accept.
pub struct Service {
    pub address: String,
    pub url: String,
    /// The file of a batch of one shard.
    pub batch: String,
    pub coordinator: Running,
    /// What the coordinator was started with.
    arguments: Vec<String>,
}

impl Service {
    /// Logs and data lie in the directory.
    pub fn start(directory: &Path) -> Self {
        Self::start_as(directory, "http", &[])
    }

    /// The same with TLS, for those that have the right papers.
    pub fn start_with_tls(directory: &Path, papers: &tls::Papers) -> Self {
        Self::start_as(directory, "https", &papers.server())
    }

    /// The same as [`Self::start`], told more.
    pub fn start_with(directory: &Path, arguments: &[String]) -> Self {
        Self::start_as(directory, "http", arguments)
    }

    /// Writes the first batch of a sample rollup, of one shard: an operation of the queue and four signed ones; its file.
    pub fn sample(directory: &Path) -> String {
        Self::sample_of(directory, 0)
    }

    /// The same of the batch of that number.
    pub fn sample_of(directory: &Path, number: u32) -> String {
        let name = match number {
            0 => "batch.bin".to_owned(),
            number => format!("batch-{number}.bin"),
        };
        let batch = directory.join(name).to_str().unwrap().to_string();
        let mut sample = program();
        sample
            .args(["sample-batch", "--preset", "tiny", "--tokens", "1"])
            .args(["--transfers", "4", "--batch", &batch])
            .args(["--batch-number", &number.to_string()])
            .args(["--chain-id", "31337", "--contract", CONTRACT]);
        run(&mut sample, "");
        batch
    }

    fn start_as(directory: &Path, scheme: &str, access: &[String]) -> Self {
        let path = |name: &str| directory.join(name).to_str().unwrap().to_string();
        let data = path("data");
        let rollup = ["--chain-id", "31337", "--contract", CONTRACT];
        let batch = Self::sample(directory);
        // Keys first, and once: the processes would wait for each other's otherwise, within a client's patience.
        run(program().arg("keygen").args(KEYS), "");
        let address = format!("127.0.0.1:{}", free_port());
        let mut arguments = vec!["coordinator", "--listen", &address, "--data-dir", &data];
        arguments.extend(rollup);
        arguments.extend(access.iter().map(String::as_str));
        let coordinator = start(directory, "coordinator.log", &arguments);
        Self {
            url: format!("{scheme}://{address}"),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            address,
            batch,
            coordinator,
        }
    }

    /// Kills the coordinator and starts it again on what it has stored, at the same address.
    pub fn restart(&mut self, directory: &Path) {
        self.coordinator.0.kill().unwrap();
        self.coordinator.0.wait().unwrap();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.coordinator = start(directory, "coordinator-again.log", &arguments);
    }
}
