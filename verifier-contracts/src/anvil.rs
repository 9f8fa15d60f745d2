//! A local L1: one anvil process on a free loopback port.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use thiserror::Error;

use crate::tools::Tools;

/// How long anvil may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);

/// The hard fork that it runs: the latest that the pinned anvil has. Its rules for gas are Osaka's.
const HARD_FORK: &str = "bpo2";

/// Why there is no local L1.
#[derive(Debug, Error)]
pub enum AnvilError {
    /// anvil could not be started.
    #[error("anvil cannot be started: {0}")]
    Start(#[from] io::Error),
    /// anvil ended, or said no address in time.
    #[error("anvil did not listen within {} s; it said: {output}", START_MAX.as_secs())]
    Silent {
        /// What it printed until then.
        output: String,
    },
}

/// A running anvil. Dropping it ends the process.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    url: String,
}

impl Anvil {
    /// Starts anvil with its development accounts, and waits until it listens.
    ///
    /// # Errors
    /// [`AnvilError`] when it does not come up.
    pub fn spawn(tools: &Tools) -> Result<Self, AnvilError> {
        Self::start(Command::new(tools.anvil()))
    }

    /// Starts anvil with a first block of that time, Unix seconds, from which its clock goes on.
    ///
    /// # Errors
    /// [`AnvilError`] when it does not come up.
    pub fn spawn_at(tools: &Tools, time: u64) -> Result<Self, AnvilError> {
        let mut anvil = Command::new(tools.anvil());
        anvil.args(["--timestamp", &time.to_string()]);
        Self::start(anvil)
    }

    fn start(mut anvil: Command) -> Result<Self, AnvilError> {
        let child = anvil
            .args(["--host", "127.0.0.1", "--port", "0", "--hardfork", HARD_FORK])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // From here on the process ends with this value, whatever happens below.
        let mut anvil = Self {
            child,
            url: String::new(),
        };
        let stdout = anvil.child.stdout.take().expect("stdout was piped above");
        let (lines, received) = mpsc::channel();
        // The thread reads to the end: anvil would block on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Once the address is known nobody listens any more.
                let _ = lines.send(line);
            }
        });
        let mut output = String::new();
        while let Ok(line) = received.recv_timeout(START_MAX) {
            if let Some(address) = line.trim().strip_prefix("Listening on ") {
                anvil.url = format!("http://{address}");
                return Ok(anvil);
            }
            output.push_str(&line);
            output.push('\n');
        }
        Err(AnvilError::Silent { output })
    }

    /// Address of its JSON-RPC endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // Both fail only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
