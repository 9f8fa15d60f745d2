//! Signals that end a process.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::Exit;

/// SIGTERM and SIGINT, from the moment this value exists.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the two signals over from the default action.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for either.
    pub async fn either(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// For a process that drains: completes at the first SIGTERM. SIGINT at any time, and a second SIGTERM, exit
    /// at once.
    pub async fn drain(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => exit_at_once(),
        }
        tokio::spawn(async move {
            self.either().await;
            exit_at_once();
        });
    }
}

fn exit_at_once() -> ! {
    tracing::warn!("interrupted; exiting at once");
    std::process::exit(Exit::Interrupted as i32)
}
