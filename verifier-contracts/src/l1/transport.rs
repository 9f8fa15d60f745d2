//! JSON-RPC over HTTP with an end to everything: time to connect, time for an answer, bytes of an answer.
//!
//! Nothing of the endpoint's address is ever logged or put into an error: providers' keys are in it.

use std::{task, time::Duration};

use alloy::{
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, ResponsePacket},
    },
    transports::{
        TransportError, TransportErrorKind, TransportFut, TransportResult,
        http::reqwest::{self, Client, Response, StatusCode, Url, header::CONTENT_TYPE},
    },
};
use thiserror::Error;
use tower_service::Service;

use super::error::{L1Error, shortened};

/// Bounds on what an endpoint may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for a connection.
    pub connect_max: Duration,
    /// Longest time for one answer, its last byte included.
    pub answer_max: Duration,
    /// Most bytes of one answer.
    pub answer_bytes_max: usize,
}

impl Default for Limits {
    /// 10 seconds, 60 seconds, 32 MiB: some 40,000 logs of a kilobyte, or 120 transactions of the greatest size.
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            answer_max: Duration::from_secs(60),
            answer_bytes_max: 32 << 20,
        }
    }
}

/// An answer had more bytes than it may have.
#[derive(Debug, Error)]
#[error("the answer has more than the {bytes_max} bytes that it may have")]
struct AnswerTooLarge {
    bytes_max: usize,
}

/// An endpoint's address.
///
/// # Errors
/// [`L1Error::Url`] unless HTTP can be spoken there.
pub fn endpoint(url: &str) -> Result<Url, L1Error> {
    let parsed: Url = url.parse().map_err(|_| L1Error::Url)?;
    let is_http = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    is_http.then_some(parsed).ok_or(L1Error::Url)
}

/// Connects; nothing is asked yet.
pub(super) fn connect(url: &str, limits: &Limits) -> Result<DynProvider, L1Error> {
    let transport = BoundedHttp {
        url: endpoint(url)?,
        client: Client::builder()
            .connect_timeout(limits.connect_max)
            .timeout(limits.answer_max)
            .build()
            .expect("times alone were set"),
        answer_bytes_max: limits.answer_bytes_max,
    };
    // Nothing here polls by itself, so whether the endpoint is near does not matter.
    let client = RpcClient::new(transport, false);
    Ok(ProviderBuilder::default().connect_client(client).erased())
}

#[derive(Clone)]
struct BoundedHttp {
    client: Client,
    url: Url,
    answer_bytes_max: usize,
}

impl BoundedHttp {
    async fn ask(self, packet: RequestPacket) -> TransportResult<ResponsePacket> {
        let body = serde_json::to_vec(&packet).map_err(TransportError::ser_err)?;
        let request = self
            .client
            .post(self.url)
            .headers(packet.headers())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let answer = read(response, self.answer_bytes_max).await?;
        match serde_json::from_slice::<ResponsePacket>(&answer) {
            // Some endpoints say in JSON-RPC what is wrong beside the status, which says less.
            Ok(packet) if status.is_success() || packet.is_error() => Ok(packet),
            Err(error) if status.is_success() => {
                let text = shortened(&String::from_utf8_lossy(&answer));
                Err(TransportError::deser_err(error, text))
            }
            _ => {
                let text = shortened(&String::from_utf8_lossy(&answer));
                Err(TransportErrorKind::http_error(status.as_u16(), text))
            }
        }
    }
}

impl Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), TransportError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(packet))
    }
}

/// The body, part by part: its length is not believed.
async fn read(mut response: Response, bytes_max: usize) -> TransportResult<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if part.len() > bytes_max - answer.len() {
            return Err(TransportErrorKind::custom(AnswerTooLarge { bytes_max }));
        }
        answer.extend_from_slice(&part);
    }
    Ok(answer)
}

fn failed(error: reqwest::Error) -> TransportError {
    TransportErrorKind::custom(error.without_url())
}

/// Whether less might be answered where this much was not: the endpoint refused in its own words, or the answer
/// was too large or came too late. A failing connection, a refused login and a rate limit are not that.
pub(super) fn asked_too_much(error: &TransportError) -> bool {
    if error.is_error_resp() {
        return true;
    }
    let Some(kind) = error.as_transport_err() else {
        return false;
    };
    if let Some(http) = kind.as_http_error() {
        return ![
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .iter()
        .any(|status| status.as_u16() == http.status);
    }
    kind.as_custom().is_some_and(|cause| {
        let late = cause.downcast_ref::<reqwest::Error>();
        cause.is::<AnswerTooLarge>() || late.is_some_and(|error| error.is_timeout() && !error.is_connect())
    })
}
