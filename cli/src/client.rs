//! The sequencer's side of the coordinator's interface: submissions and watching that survive its restarts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::v1::prover_service_client::ProverServiceClient;
use proto::v1::submit_batch_request::Part;
use proto::v1::{
    BatchInfo, BatchStatus, GetInfoRequest, GetInfoResponse, GetProofRequest, GetProofResponse,
    SubmitBatchHeader, SubmitBatchRequest, SubmitBatchResponse, WatchBatchRequest,
};
use sha2::{Digest, Sha256};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::output::{Exit, Failure};

/// Pause between two attempts to reach the coordinator.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Longest time for one call that is not a stream; a submission executes its batch within it.
const CALL_MAX: Duration = Duration::from_secs(300);
/// Sign-of-life interval of an idle connection, so that a watcher notices a coordinator that vanished.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A client of one coordinator.
#[derive(Clone)]
pub struct Client {
    service: ProverServiceClient<Channel>,
    url: String,
    /// How long the coordinator may be out of reach before a call is given up.
    patience: Duration,
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// When `url` is none.
    pub fn new(url: &str, patience: Duration) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_string())
            .with_context(|| format!("{url:?} is not a URL of a coordinator"))?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let service = ProverServiceClient::new(endpoint.connect_lazy());
        Ok(Self {
            service,
            url: url.to_string(),
            patience,
        })
    }

    /// What the service proves, and where its chain stands.
    ///
    /// # Errors
    /// When it cannot be reached within the client's patience, or refuses.
    pub async fn info(&self) -> Result<GetInfoResponse> {
        self.patiently(|mut service| async move { service.get_info(timed(GetInfoRequest {})).await })
            .await
    }

    /// Submits an encoded batch. Sent again as often as needed: the request id makes it one batch.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn submit(
        &self,
        request_id: &str,
        batch_number: u64,
        batch: &[u8],
    ) -> Result<SubmitBatchResponse> {
        let header = SubmitBatchHeader {
            request_id: request_id.to_string(),
            batch_number,
            total_bytes: batch.len() as u64,
            sha256: Sha256::digest(batch).to_vec().into(),
        };
        let chunks = batch
            .chunks(proto::CHUNK_BYTES_MAX)
            .map(|chunk| Part::Chunk(chunk.to_vec().into()));
        let parts: Vec<SubmitBatchRequest> = std::iter::once(Part::Header(header))
            .chain(chunks)
            .map(|part| SubmitBatchRequest { part: Some(part) })
            .collect();
        self.patiently(|mut service| {
            let stream = timed(futures::stream::iter(parts.clone()));
            async move { service.submit_batch(stream).await }
        })
        .await
    }

    /// Follows a batch until it is proven, failed or cancelled; `on_change` sees each state that comes.
    ///
    /// # Errors
    /// As [`Client::info`]; the patience begins anew with every state that comes.
    pub async fn watch(&self, batch_id: &str, mut on_change: impl FnMut(&BatchInfo)) -> Result<BatchInfo> {
        let mut after_revision = 0;
        loop {
            let request = WatchBatchRequest {
                batch_id: batch_id.to_string(),
                after_revision,
            };
            let mut stream = self
                .patiently(|mut service| {
                    let request = request.clone();
                    async move { service.watch_batch(request).await }
                })
                .await?;
            loop {
                let batch = match stream.message().await {
                    Ok(Some(response)) => response
                        .batch
                        .context("the coordinator sent a change without a batch")?,
                    Ok(None) => break,
                    Err(status) if is_transient(&status) => break,
                    Err(status) => return Err(self.failure(&status).into()),
                };
                after_revision = batch.revision;
                on_change(&batch);
                if is_final(batch.status()) {
                    return Ok(batch);
                }
            }
            tracing::debug!(batch_id, after_revision, "the watch ended; resuming");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The root proof of a proven batch.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn proof(&self, batch_id: &str) -> Result<GetProofResponse> {
        self.patiently(|mut service| {
            let request = timed(GetProofRequest {
                batch_id: batch_id.to_string(),
            });
            async move { service.get_proof(request).await }
        })
        .await
    }

    /// Calls until the coordinator answers, however that call ended, or patience ends.
    async fn patiently<T, F>(&self, call: impl Fn(ProverServiceClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let started = Instant::now();
        loop {
            match call(self.service.clone()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if is_transient(&status) && started.elapsed() < self.patience => {
                    tracing::debug!(%status, "the coordinator did not answer; trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(status) => return Err(self.failure(&status).into()),
            }
        }
    }

    /// One sentence about a refusal, with the details that the coordinator gave.
    fn failure(&self, status: &Status) -> Failure {
        if is_transient(status) {
            let message = format!(
                "the coordinator at {} cannot be reached: {}",
                self.url,
                status.message()
            );
            return Failure::new(Exit::Unavailable, message);
        }
        let mut message = format!("the coordinator refused: {}", status.message());
        for violation in status
            .get_error_details()
            .bad_request()
            .iter()
            .flat_map(|b| &b.field_violations)
        {
            message.push_str(&format!(" ({}: {})", violation.field, violation.description));
        }
        Failure::new(Exit::Refused, message)
    }
}

/// Whether a batch in this state stays in it unless someone acts.
pub fn is_final(status: BatchStatus) -> bool {
    matches!(
        status,
        BatchStatus::Proven | BatchStatus::Failed | BatchStatus::Cancelled
    )
}

/// Whether the same call may succeed later: the connection broke, or the coordinator is starting or stopping.
fn is_transient(status: &Status) -> bool {
    // A connection that breaks during a call comes as Unknown or Internal from the transport, with a source; the
    // same codes from the coordinator itself have none.
    let broken = std::error::Error::source(status).is_some();
    broken
        || matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
        )
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(is_transient(&Status::unavailable("stopping")));
        assert!(!is_transient(&Status::invalid_argument("no")));
        assert!(!is_transient(&Status::internal("a defect")));
        let broken: Box<dyn std::error::Error + Send + Sync> = "connection reset".into();
        assert!(is_transient(&Status::from_error(broken)));
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_told_as_such() {
        let client = Client::new("http://127.0.0.1:1", Duration::ZERO).unwrap();
        let error = client.info().await.unwrap_err();
        assert_eq!(
            error.downcast_ref::<Failure>().unwrap().exit,
            Exit::Unavailable,
            "{error}"
        );
    }
}
