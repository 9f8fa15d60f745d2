//! What the benchmarks share: a report that names machine, commit and command, and the process's peak memory.

use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A report's frame: what ran, where, from which commit.
pub fn report(results: Value) -> Value {
    json!({
        "command": std::env::args().collect::<Vec<_>>().join(" "),
        "commit": commit(),
        "machine": machine(),
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
        std::fs::write(path, text + "\n")?;
    }
    Ok(())
}

/// The commit that was built, with `-dirty` where the tree had changes.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn machine() -> Value {
    let field = |file: &str, name: &str| -> Option<String> {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "threads": std::thread::available_parallelism().map(|n| n.get()).ok(),
        "memory": field("/proc/meminfo", "MemTotal"),
    })
}

/// The most memory that this process has held, in bytes, where the system tells (`VmHWM`).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
