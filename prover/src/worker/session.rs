//! One session with the coordinator: from the connection until it ends.

use std::error::Error;
use std::time::Duration;

use proto::connection::{ConnectError, Connector};
use proto::v1::session_request::Message as ToCoordinator;
use proto::v1::session_response::Message as FromCoordinator;
use proto::v1::worker_service_client::WorkerServiceClient;
use proto::v1::{Hello, SessionRequest, SessionResponse, Welcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::ledger::Breach;

/// Time for a connection and for the handshake.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time for the coordinator to take what is left and to end the session too.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// Messages that may wait to be sent. Far more than a healthy session ever has waiting.
const OUTGOING_MAX: usize = 256;

/// Why a session could not begin, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the handshake took longer than {CONNECT_MAX:?}")]
    HandshakeTimeout,
    #[error("the coordinator ended the session: {}", .0.message())]
    Status(#[source] Box<tonic::Status>),
    #[error("the coordinator closed the session")]
    Closed,
    #[error("the coordinator is stopping")]
    CoordinatorDrains,
    #[error("the coordinator does not read what is sent to it")]
    Congested,
    #[error("the coordinator breaks the protocol")]
    Breach(#[from] Breach),
    #[error("the coordinator sent no welcome first")]
    NoWelcome,
}

impl Ended {
    /// Whether another worker is connected under the same name.
    pub(super) fn is_name_taken(&self) -> bool {
        matches!(self, Ended::Status(status) if status.code() == tonic::Code::AlreadyExists)
    }

    /// Whether somebody has to change something before a session can come about: a certificate, a token, what the worker may do.
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            Ended::Connect(error) => matches!(error, ConnectError::Fault { .. }),
            Ended::Status(status) => matches!(
                status.code(),
                tonic::Code::Unauthenticated | tonic::Code::PermissionDenied
            ),
            _ => false,
        }
    }

    /// What happened, on one line that says each cause once.
    pub(super) fn told(&self) -> String {
        if let Ended::Status(status) = self
            && let Some(cause) = deepest(status.source())
        {
            // Its own text repeats in full what each layer of HTTP/2 makes of the cause.
            return format!("the connection with the coordinator was lost: {cause}");
        }
        let mut told = self.to_string();
        let mut cause = Error::source(self);
        while let Some(error) = cause {
            // A connection that breaks has a source; the coordinator's own words have none.
            let text = error
                .downcast_ref::<tonic::Status>()
                .map_or_else(|| error.to_string(), |status| status.message().to_owned());
            if !told.contains(&text) {
                told = format!("{told}: {text}");
            }
            cause = error.source();
        }
        told
    }

    /// Whether another attempt would end the same: the coordinator proves with other keys, or knows other rules.
    pub(super) fn is_final(&self) -> bool {
        let Ended::Status(status) = self else { return false };
        matches!(
            status.code(),
            tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument | tonic::Code::Unimplemented
        )
    }
}

/// What an error of the transport came from.
fn deepest<'a>(mut error: Option<&'a (dyn Error + 'static)>) -> Option<&'a (dyn Error + 'static)> {
    while let Some(deeper) = error.and_then(Error::source) {
        error = Some(deeper);
    }
    error
}

/// An open session.
pub(super) struct Session {
    outgoing: mpsc::Sender<SessionRequest>,
    incoming: Streaming<SessionResponse>,
    pub(super) welcome: Welcome,
}

impl Session {
    /// Connects and says hello.
    pub(super) async fn open(connector: &Connector, hello: Hello) -> Result<Self, Ended> {
        let url = connector.url().clone();
        let opened = match tokio::time::timeout(CONNECT_MAX, Self::handshake(connector, hello)).await {
            // A certificate is refused after the connection is there.
            Ok(session) => session.map_err(|ended| connector.fault().map_or(ended, Ended::Connect)),
            Err(_) => Err(Ended::HandshakeTimeout),
        };
        opened.inspect_err(|ended| {
            let said = match ended {
                Ended::Status(status) => Some(&**status),
                _ => None,
            };
            connector.turn_from(&url, said);
        })
    }

    async fn handshake(connector: &Connector, hello: Hello) -> Result<Self, Ended> {
        let channel = connector.connect().await?;
        let (outgoing, requests) = mpsc::channel(OUTGOING_MAX);
        // The server may wait for the hello before it answers the call, so it goes in first.
        let hello = SessionRequest {
            message: Some(ToCoordinator::Hello(hello)),
        };
        outgoing.try_send(hello).map_err(|_| Ended::Congested)?;
        let response = WorkerServiceClient::new(channel)
            .session(ReceiverStream::new(requests))
            .await;
        let mut incoming = response
            .map_err(|status| Ended::Status(Box::new(status)))?
            .into_inner();
        match next(&mut incoming).await? {
            FromCoordinator::Welcome(welcome) => Ok(Self {
                outgoing,
                incoming,
                welcome,
            }),
            _ => Err(Ended::NoWelcome),
        }
    }

    /// Queues messages to be sent. They arrive in order, or the session ends.
    pub(super) fn send(&self, messages: impl IntoIterator<Item = ToCoordinator>) -> Result<(), Ended> {
        for message in messages {
            self.outgoing
                .try_send(SessionRequest {
                    message: Some(message),
                })
                .map_err(|_| Ended::Congested)?;
        }
        Ok(())
    }

    /// Ends the session in order: what was queued arrives. Dropping it may lose that.
    pub(super) async fn finish(self) {
        let Self {
            outgoing,
            mut incoming,
            ..
        } = self;
        drop(outgoing);
        let answers = async { while next(&mut incoming).await.is_ok() {} };
        if tokio::time::timeout(FINISH_MAX, answers).await.is_err() {
            tracing::warn!("the coordinator does not end the session");
        }
    }

    /// The next message. Losing the future loses no message.
    pub(super) async fn next(&mut self) -> Result<FromCoordinator, Ended> {
        next(&mut self.incoming).await
    }
}

async fn next(incoming: &mut Streaming<SessionResponse>) -> Result<FromCoordinator, Ended> {
    loop {
        match incoming.message().await {
            Ok(Some(SessionResponse {
                message: Some(message),
            })) => return Ok(message),
            // A message of a later version of the interface.
            Ok(Some(SessionResponse { message: None })) => {}
            Ok(None) => return Err(Ended::Closed),
            Err(status) => return Err(Ended::Status(Box::new(status))),
        }
    }
}
