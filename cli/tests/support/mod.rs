//! What the tests of the binary share: running it, waiting, and looking at processes.

// Each test binary uses a part of this module.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rollup-prover");

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
    let child = Command::new(PROGRAM)
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
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    !status
        .lines()
        .any(|line| line.starts_with("State:") && line.contains('Z'))
}

/// A JSON file.
pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
