//! A coordinator as its callers see it: submissions and watching that survive its restarts, and the operator's calls.

mod operator;
mod rollups;

pub use operator::Which;
pub use rollups::measure;

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::connection::{Channel, Connector};
use proto::v1::operator_service_client::OperatorServiceClient;
use proto::v1::prover_service_client::ProverServiceClient;
use proto::v1::submit_batch_request::Part;
use proto::v1::{
    BatchInfo, BatchStatus, GetInfoRequest, GetInfoResponse, GetProofRequest, GetProofResponse,
    SubmitBatchHeader, SubmitBatchRequest, SubmitBatchResponse, WatchBatchRequest,
};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::output::{Exit, Failure};

/// Shortest pause between two attempts of a call, and the one where the coordinator names none.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause that is taken over from the coordinator.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a coordinator may be busy before a call is given up. A full queue moves when a batch is proven, which takes minutes.
const BUSY_MAX: Duration = Duration::from_secs(600);
/// Longest time for one call that is not a stream; a submission executes its batch within it.
const CALL_MAX: Duration = Duration::from_secs(300);

/// The reason of a refusal, where several rollups could be meant.
const ROLLUP_NOT_NAMED: &str = "ROLLUP_NOT_NAMED";

/// A client of one coordinator.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    /// The connection in use; another takes its place when it breaks, with the certificates and the token of then.
    channel: Arc<Mutex<Channel>>,
    /// How long the coordinator may be out of reach before a call is given up.
    patience: Duration,
}

/// How urgent a batch is, and by what words it is to be found.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Of the batches of a rollup, those of a higher one are proven first.
    pub priority: u32,
    /// Among these, those that are needed sooner; 0 for no matter when.
    pub deadline_unix_ms: u64,
    /// Words that lists can be asked for.
    pub labels: Vec<String>,
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// When a file of the connector is not what it was when that was made.
    pub fn new(connector: Connector, patience: Duration) -> Result<Self> {
        let channel = Arc::new(Mutex::new(connector.channel()?));
        Ok(Self {
            connector,
            channel,
            patience,
        })
    }

    /// The connection in use.
    fn channel(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects anew; where that cannot be, the connection in use stays.
    fn reconnect(&self) {
        match self.connector.channel() {
            Ok(channel) => *self.channel() = channel,
            Err(error) => tracing::warn!(error = &error as &dyn Error, "the connection stays as it was"),
        }
    }

    /// What the service proves, and where a rollup's chain stands; the only rollup's where none is named.
    ///
    /// # Errors
    /// When it cannot be reached within the client's patience, is busy for too long, or refuses.
    pub async fn info(&self, rollup: &str) -> Result<GetInfoResponse> {
        let request = GetInfoRequest {
            rollup: rollup.into(),
        };
        self.patiently(|mut service| {
            let request = timed(request.clone());
            async move { service.get_info(request).await }
        })
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
        wishes: &Wishes,
    ) -> Result<SubmitBatchResponse> {
        let header = SubmitBatchHeader {
            request_id: request_id.to_string(),
            batch_number,
            total_bytes: batch.len() as u64,
            sha256: Sha256::digest(batch).to_vec().into(),
            priority: wishes.priority,
            deadline_unix_ms: wishes.deadline_unix_ms,
            labels: wishes.labels.clone(),
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
            let pause = loop {
                let batch = match stream.message().await {
                    Ok(Some(response)) => response
                        .batch
                        .context("the coordinator sent a change without a batch")?,
                    Ok(None) => break PAUSE_MIN,
                    Err(status) => match Prospect::of(&status) {
                        Prospect::Unreachable(pause) | Prospect::Busy(pause) => break pause,
                        Prospect::Refused => return Err(self.failure(&status).into()),
                    },
                };
                after_revision = batch.revision;
                on_change(&batch);
                if is_final(batch.status()) {
                    return Ok(batch);
                }
            };
            tracing::debug!(batch_id, after_revision, "the watch ended; resuming");
            tokio::time::sleep(pause).await;
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

    async fn patiently<T, F>(&self, call: impl Fn(ProverServiceClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.try_until(|| call(ProverServiceClient::new(self.channel().clone())))
            .await
    }

    /// The same of the operator's calls.
    async fn operate<T, F>(&self, call: impl Fn(OperatorServiceClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.try_until(|| call(OperatorServiceClient::new(self.channel().clone())))
            .await
    }

    /// Calls until the coordinator answers with more than that it is busy, or patience ends.
    async fn try_until<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let started = Instant::now();
        let mut attempts = Attempts::new(self.patience, self.connector.count());
        loop {
            let url = self.connector.url().clone();
            let status = match call().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let prospect = Prospect::of(&status);
            if matches!(prospect, Prospect::Unreachable(_))
                && !self.connector.has_others()
                && let Some(fault) = self.connector.fault()
            {
                return Err(fault.into());
            }
            let first_busy = matches!(prospect, Prospect::Busy(_)) && !attempts.busy;
            let Some(pause) = attempts.pause(prospect, started.elapsed()) else {
                return Err(self.failure(&status).into());
            };
            if first_busy {
                let reason = status.message();
                tracing::warn!(
                    reason,
                    "the coordinator is busy; trying again for at most {BUSY_MAX:?}"
                );
            }
            tracing::debug!(%status, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            if matches!(prospect, Prospect::Unreachable(_)) {
                self.connector.turn_from(&url, Some(&status));
                self.reconnect();
            }
        }
    }

    /// One sentence about a refusal, with the details that the coordinator gave.
    fn failure(&self, status: &Status) -> Failure {
        let (url, said) = (self.connector.url(), status.message());
        match Prospect::of(status) {
            Prospect::Unreachable(_) => {
                let cause = deepest_cause(status).filter(|cause| !said.contains(cause));
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                let message = format!("the coordinator at {url} cannot be reached: {said}{cause}");
                return Failure::new(Exit::Unavailable, message);
            }
            Prospect::Busy(_) => {
                let message = format!("the coordinator at {url} has been busy for {BUSY_MAX:?}: {said}");
                return Failure::new(Exit::Unavailable, message);
            }
            Prospect::Refused => {}
        }
        if status.code() == Code::NotFound {
            return Failure::new(Exit::Refused, format!("not found at {url}: {said}"));
        }
        let mut message = format!("the coordinator refused: {said}");
        for violation in status
            .get_error_details()
            .bad_request()
            .iter()
            .flat_map(|b| &b.field_violations)
        {
            let told = format!("{}: {}", violation.field, violation.description);
            if !message.contains(&told) {
                message.push_str(&format!(" ({told})"));
            }
        }
        let reason = status.get_details_error_info().map(|info| info.reason);
        if reason.as_deref() == Some(ROLLUP_NOT_NAMED) {
            message.push_str("; name it with --rollup");
        }
        Failure::new(Exit::Refused, message)
    }
}

/// Whether a batch in this state stays in it unless someone acts.
pub fn is_final(status: BatchStatus) -> bool {
    matches!(
        status,
        BatchStatus::Proven | BatchStatus::Failed | BatchStatus::Cancelled | BatchStatus::RolledBack
    )
}

/// Whether the same call may succeed later, and after which pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prospect {
    /// The connection broke, or the coordinator is starting or stopping.
    Unreachable(Duration),
    /// A limit is reached, and the coordinator says that waiting helps.
    Busy(Duration),
    /// It would end the same.
    Refused,
}

impl Prospect {
    fn of(status: &Status) -> Self {
        let named = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let pause = named.unwrap_or(PAUSE_MIN).clamp(PAUSE_MIN, PAUSE_MAX);
        // A connection that breaks during a call comes as Unknown or Internal from the transport, with a source; the
        // same codes from the coordinator itself have none.
        let broken = status.source().is_some();
        match status.code() {
            _ if broken => Self::Unreachable(pause),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unreachable(pause),
            Code::ResourceExhausted if named.is_some() => Self::Busy(pause),
            _ => Self::Refused,
        }
    }
}

/// The attempts of one call. Times are counted from the beginning of the first.
struct Attempts {
    /// How long the coordinator may be out of reach.
    patience: Duration,
    /// When it last answered.
    answered: Duration,
    /// Coordinators that were not tried yet.
    untried: usize,
    /// Whether it ever answered that it is busy.
    busy: bool,
}

impl Attempts {
    fn new(patience: Duration, coordinators: usize) -> Self {
        Self {
            patience,
            untried: coordinators,
            answered: Duration::ZERO,
            busy: false,
        }
    }

    /// The pause before the next attempt, after one that ended at `now`; none when the call is given up.
    fn pause(&mut self, prospect: Prospect, now: Duration) -> Option<Duration> {
        self.untried = self.untried.saturating_sub(1);
        let (pause, left) = match prospect {
            // One that is silent takes longer than patience lasts, and the next may serve.
            Prospect::Unreachable(_) if self.untried > 0 => return Some(PAUSE_MIN),
            Prospect::Unreachable(pause) => (pause, self.patience.saturating_sub(now - self.answered)),
            Prospect::Busy(pause) => {
                (self.answered, self.busy) = (now, true);
                (pause, BUSY_MAX.saturating_sub(now))
            }
            Prospect::Refused => return None,
        };
        // The last attempt is at the limit.
        (!left.is_zero()).then(|| pause.min(left))
    }
}

/// What the transport's error came from: "Connection refused" tells more than "transport error".
fn deepest_cause(status: &Status) -> Option<String> {
    let mut cause = status.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

#[cfg(test)]
mod tests {
    use proto::connection::Credentials;
    use tonic_types::ErrorDetails;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(patience: Duration) -> Client {
        let url = "http://127.0.0.1:1".parse().unwrap();
        let connector = Connector::new(url, Credentials::default()).unwrap();
        Client::new(connector, patience).unwrap()
    }

    fn status(code: Code, delay: Option<Duration>) -> Status {
        Status::with_error_details(code, "said", ErrorDetails::with_retry_info(delay))
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        use Prospect::{Busy, Refused, Unreachable};
        for (status, prospect) in [
            (Status::unavailable("stopping"), Unreachable(PAUSE_MIN)),
            (
                status(Code::Unavailable, Some(5 * SECOND)),
                Unreachable(5 * SECOND),
            ),
            (
                status(Code::ResourceExhausted, Some(5 * SECOND)),
                Busy(5 * SECOND),
            ),
            (
                status(Code::ResourceExhausted, Some(Duration::ZERO)),
                Busy(PAUSE_MIN),
            ),
            (
                status(Code::ResourceExhausted, Some(3600 * SECOND)),
                Busy(PAUSE_MAX),
            ),
            (status(Code::ResourceExhausted, None), Refused),
            (Status::resource_exhausted("too large"), Refused),
            (Status::invalid_argument("no"), Refused),
            (Status::not_found("none"), Refused),
            (Status::internal("a defect"), Refused),
        ] {
            assert_eq!(Prospect::of(&status), prospect, "{status:?}");
        }
        let broken: Box<dyn Error + Send + Sync> = "connection reset".into();
        assert_eq!(Prospect::of(&Status::from_error(broken)), Unreachable(PAUSE_MIN));
    }

    /// Attempts that all end the same and take no time; returns when each was made.
    fn course(patience: Duration, prospect: Prospect) -> Vec<u64> {
        let mut attempts = Attempts::new(patience, 1);
        let mut at = vec![Duration::ZERO];
        while let Some(pause) = attempts.pause(prospect, at[at.len() - 1]) {
            at.push(at[at.len() - 1] + pause);
        }
        at.iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn a_full_queue_is_asked_at_its_own_pace_until_the_limit() {
        let at = course(Duration::ZERO, Prospect::Busy(45 * SECOND));
        assert_eq!(at[..3], [0, 45, 90]);
        assert_eq!(at[at.len() - 2..], [585, 600]);
    }

    #[test]
    fn what_cannot_be_reached_is_tried_as_long_as_patience_lasts_and_what_is_refused_once() {
        assert_eq!(
            course(7 * SECOND, Prospect::Unreachable(3 * SECOND)),
            [0, 3, 6, 7]
        );
        assert_eq!(course(Duration::ZERO, Prospect::Unreachable(SECOND)), [0]);
        assert_eq!(course(60 * SECOND, Prospect::Refused), [0]);
    }

    #[test]
    fn each_of_several_coordinators_is_tried_however_long_the_others_were_silent() {
        let mut attempts = Attempts::new(2 * SECOND, 3);
        let unreachable = Prospect::Unreachable(SECOND);
        assert_eq!(attempts.pause(unreachable, 20 * SECOND), Some(PAUSE_MIN));
        assert_eq!(attempts.pause(unreachable, 40 * SECOND), Some(PAUSE_MIN));
        assert_eq!(attempts.pause(unreachable, 60 * SECOND), None);
        let mut attempts = Attempts::new(2 * SECOND, 3);
        assert_eq!(attempts.pause(Prospect::Refused, SECOND), None);
    }

    #[test]
    fn patience_begins_anew_when_the_coordinator_answers_that_it_is_busy() {
        let mut attempts = Attempts::new(2 * SECOND, 1);
        assert_eq!(attempts.pause(Prospect::Busy(SECOND), 100 * SECOND), Some(SECOND));
        let unreachable = Prospect::Unreachable(SECOND);
        assert_eq!(attempts.pause(unreachable, 101 * SECOND), Some(SECOND));
        assert_eq!(attempts.pause(unreachable, 102 * SECOND), None);
    }

    #[tokio::test]
    async fn a_failure_says_whether_to_come_back() {
        let client = client(Duration::ZERO);
        let busy = client.failure(&status(Code::ResourceExhausted, Some(SECOND)));
        assert_eq!(busy.exit, Exit::Unavailable);
        assert!(busy.message.contains("has been busy for 600s: said"), "{busy}");
        for (refusal, text) in [
            (Status::resource_exhausted("too large"), "refused: too large"),
            (
                Status::not_found("no batch \"b9\""),
                "not found at http://127.0.0.1:1: no batch \"b9\"",
            ),
        ] {
            let failure = client.failure(&refusal);
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains(text), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_told_as_such() {
        let error = client(Duration::ZERO).info("").await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.exit, Exit::Unavailable, "{failure}");
        let told = failure.message.matches("Connection refused").count();
        assert_eq!(told, 1, "{failure}");
    }
}
