//! Requests that are no messages of the interface: INVALID_ARGUMENT, as for every other malformed request.
//!
//! tonic decodes before a handler sees a request, and says INTERNAL of what it cannot decode, as if the fault were the server's.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::status::bad_stream;

/// What is said of requests that are no messages: what each such error begins with. One is INTERNAL by gRPC's own rule and stays so: a
/// message that says to be compressed in a request that names no compression.
const DECODER_SAYS: [&str; 4] = [
    "failed to decode Protobuf message",
    "protocol error: received message with invalid compression flag",
    "Unexpected EOF decoding stream",
    "Missing request message",
];

/// What its errors about a message beyond the limit begin with.
const TOO_LONG_SAYS: &str = "Error, decoded message length too large";

/// The status of a message that could not be read: the caller's fault if it is too long or did not decode, else unchanged.
pub(super) fn unread(status: Status) -> Status {
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LONG_SAYS) {
        return bad_stream("MESSAGE_TOO_LARGE", status.message());
    }
    if status.code() == Code::Internal && DECODER_SAYS.iter().any(|said| status.message().starts_with(said)) {
        bad_stream("MALFORMED_MESSAGE", status.message())
    } else {
        status
    }
}

/// A service of the interface, with [`unread`] applied to calls that end before their handler begins.
#[derive(Debug, Clone)]
pub(super) struct Reading<S>(pub S);

impl<S: NamedService> NamedService for Reading<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Reading<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // A call that ends without a message has its status among the headers.
            let status = Status::from_header_map(response.headers());
            Ok(match status {
                Some(status) if matches!(status.code(), Code::Internal | Code::OutOfRange) => {
                    unread(status).into_http()
                }
                _ => response,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_decode_is_the_callers_fault() {
        for said in DECODER_SAYS {
            let decoder = Status::internal(format!("{said}: invalid varint"));
            assert_eq!(unread(decoder).code(), Code::InvalidArgument);
        }
        for other in [Status::internal("a defect"), Status::unknown(DECODER_SAYS[0])] {
            let code = other.code();
            assert_eq!(unread(other).code(), code);
        }
    }
}
