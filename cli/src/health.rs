//! A worker's health over gRPC, for whatever starts and watches it: ready, or not.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

/// Connections' calls at once. Probes make one now and then.
const STREAMS_MAX: u32 = 16;

/// Serves `grpc.health.v1.Health` beside the worker: SERVING while `ready` says so. It ends with the process.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(address: SocketAddr, mut ready: watch::Receiver<bool>) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve health on {address}"))?;
    let address = listener.local_addr().unwrap_or(address);
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::NotServing).await;
    tracing::info!(%address, "health is served");
    tokio::spawn(async move {
        let served = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "health is served no more");
        }
    });
    tokio::spawn(async move {
        // The sender lives as long as the worker.
        while ready.changed().await.is_ok() {
            let status = match *ready.borrow_and_update() {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            reporter.set_service_status("", status).await;
        }
        reporter.set_service_status("", ServingStatus::NotServing).await;
    });
    Ok(())
}
