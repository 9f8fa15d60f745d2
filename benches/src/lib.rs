//! What the benchmarks share: a report that names machine, commit and command, devices by name, kernels, and proofs.

pub mod bounds;
pub mod device;
pub mod kernels;
pub mod proving;
pub mod sample;

use accel::machine::{self, ProcessMemory};
use anyhow::{Context, Result};
use keys::whole_file;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A report's frame: what ran, where, from which commit.
pub fn report(results: Value) -> Value {
    json!({
        "command": command(),
        "commit": commit(),
        "machine": this_machine(),
        "peak_memory_bytes": peak_memory_bytes(),
        "results": results,
    })
}

/// Prints the report, and writes it to `path` if there is one.
///
/// # Errors
/// The file cannot be written.
pub fn publish(report: &Value, path: Option<&Path>) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    println!("{text}");
    if let Some(path) = path {
        write(path, report)?;
    }
    Ok(())
}

/// Writes the report, so that a reader finds a whole one at any time.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, report: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    whole_file::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// The command as one would type it in a clone: no folder of the machine that ran it.
fn command() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let arguments = arguments.map(|argument| match Path::new(&argument) {
        path if path.is_absolute() => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        _ => argument,
    });
    let features = if cfg!(feature = "arkworks") {
        " --features arkworks"
    } else {
        ""
    };
    format!(
        "cargo run --release -p benches{features} --bin {name} -- {}",
        arguments.collect::<Vec<_>>().join(" ")
    )
}

/// The commit that was built, with `-dirty` where the tree had changes other than kept results. Away from the tree,
/// `BENCHES_COMMIT` says it.
fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("BENCHES_COMMIT") {
        return Some(commit);
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&[
        "status",
        "--porcelain",
        "--",
        ":/",
        ":(exclude,top)benches/results",
    ])?;
    Some(if changes.is_empty() {
        commit
    } else {
        commit + "-dirty"
    })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}

fn this_machine() -> Value {
    json!({
        "cpu": machine::processor(),
        "threads": std::thread::available_parallelism().map(|n| n.get()).ok(),
        "memory": machine::memory_bytes("MemTotal").map(|bytes| format!("{} kB", bytes / 1024)),
    })
}

/// The most memory that this process has held, in bytes, where the system tells (`VmHWM`).
pub fn peak_memory_bytes() -> Option<u64> {
    Some(ProcessMemory::of(std::process::id())?.peak_bytes)
}

/// Processor seconds that this process has used in all threads, those that have ended too: ICICLE's CPU backend starts
/// threads for each call.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
