//! Processes that end with the one that started them.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

/// Exits this process when standard input ends: whoever started it held the other end, and is gone.
///
/// # Errors
/// When no thread can be started.
pub fn exit_on_stdin_eof() -> Result<()> {
    thread::Builder::new()
        .name("stdin-eof".into())
        .spawn(|| {
            wait_for_stdin_eof();
            // Nothing is lost: what this process acknowledged is on disk, and the rest is made again.
            std::process::exit(0);
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Kills process `pid` when standard input ends. For a program that does not watch a pipe itself.
///
/// # Errors
/// When `kill` cannot be run.
pub fn run(pid: u32) -> Result<()> {
    wait_for_stdin_eof();
    Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .stdin(Stdio::null())
        // "No such process" is the usual case: it was stopped in order.
        .stderr(Stdio::null())
        .status()
        .context("cannot run kill")?;
    Ok(())
}

fn wait_for_stdin_eof() {
    let mut buffer = [0; 64];
    // An error on the pipe means the same as its end.
    while matches!(std::io::stdin().read(&mut buffer), Ok(n) if n > 0) {}
}
