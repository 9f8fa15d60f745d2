//! A worker's metrics over HTTP.

use std::future;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use prover::worker::Meters;
use telemetry::listener::Asked;
use telemetry::process::Process;
use telemetry::{Answer, Listener, Page};

/// Serves `/metrics` beside the worker. It ends with the process.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(address: SocketAddr, meters: Meters) -> Result<()> {
    let listener = Listener::bind(address).await.context("no metrics")?;
    let process = Process::begun();
    let answer = move |asked: Asked| future::ready(page(&meters, process, &asked));
    tokio::spawn(listener.serve("metrics are", answer, future::pending()));
    Ok(())
}

fn page(meters: &Meters, process: Process, asked: &Asked) -> Answer {
    if asked.path != "/metrics" {
        return Answer::not_found("only /metrics is here");
    }
    let mut page = Page::default();
    meters.add_to(&mut page);
    process.add_to(&mut page);
    Answer::metrics(page.to_text())
}
