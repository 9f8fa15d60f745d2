//! Traces of a role, sent to a collector beside its work.

use anyhow::{Context as _, Result};
use telemetry::traces::{Endpoint, Exporter, Traces};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::args::TraceArgs;

/// The variable by which other programs are told of a collector. Ours counts before it.
const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What sends traces, until it is ended.
pub struct Sending(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

/// Begins to send the traces of a role, where a collector is named; `name` tells it from others of that role.
///
/// # Errors
/// What is wrong with the standard variable.
pub fn start(args: &TraceArgs, role: &'static str, name: String) -> Result<(Traces, Sending)> {
    let endpoint = match &args.otlp_endpoint {
        Some(endpoint) => Some(endpoint.clone()),
        None => standard()?,
    };
    let Some(endpoint) = endpoint else {
        return Ok((Traces::default(), Sending(None)));
    };
    let (traces, exporter) = Exporter::new(endpoint, role, name);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(exporter.run(async { drop(stopped.await) }));
    Ok((traces, Sending(Some((stop, running)))))
}

fn standard() -> Result<Option<Endpoint>> {
    let Some(text) = std::env::var_os(STANDARD).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let endpoint = text.parse::<Endpoint>().context(STANDARD)?;
    Ok(Some(endpoint))
}

impl Sending {
    /// Sends what is left, for some seconds.
    pub async fn end(self) {
        if let Some((stop, running)) = self.0 {
            drop(stop);
            // It panics nowhere, and ends by itself.
            let _ = running.await;
        }
    }
}
