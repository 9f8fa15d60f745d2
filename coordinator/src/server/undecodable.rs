//! Requests that are no messages of the interface, or become larger than they may: INVALID_ARGUMENT, as for every other malformed
//! request, or RESOURCE_EXHAUSTED.
//!
//! tonic decodes before a handler sees a request, and says INTERNAL of what it cannot decode, as if the fault were the server's.
//! It also inflates what was compressed, up to the limit of a message. Most messages are far smaller than the largest, so there are two.

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

use super::{
    access::{gate::REQUEST_BYTES_MAX, methods},
    status::{bad_stream, too_large},
};

/// What is said of requests that are no messages: what each such error begins with. One is INTERNAL by gRPC's own rule and stays so: a
/// message that says to be compressed in a request that names no compression.
const DECODER_SAYS: [&str; 5] = [
    "failed to decode Protobuf message",
    "protocol error: received message with invalid compression flag",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing request message",
];

/// What its errors about a message beyond the limit begin with: of one that says so, and of one that becomes so when it is inflated.
const TOO_LONG_SAYS: [(Code, &str); 2] = [
    (Code::OutOfRange, "Error, decoded message length too large"),
    (Code::ResourceExhausted, "Error decompressing: size limit"),
];

fn is_too_long(status: &Status) -> bool {
    let said = |(code, text): &(Code, &str)| status.code() == *code && status.message().starts_with(text);
    TOO_LONG_SAYS.iter().any(said)
}

/// The status of a message that could not be read: the caller's fault if it is too long or did not decode, else unchanged.
pub(super) fn unread(status: Status) -> Status {
    if is_too_long(&status) {
        return bad_stream("MESSAGE_TOO_LARGE", status.message());
    }
    if status.code() == Code::Internal && DECODER_SAYS.iter().any(|said| status.message().starts_with(said)) {
        bad_stream("MALFORMED_MESSAGE", status.message())
    } else {
        status
    }
}

/// A generated service, which takes gzip, as a [`Reading`].
macro_rules! reading {
    ($service:expr) => {{
        let service = $service.accept_compressed(::tonic::codec::CompressionEncoding::Gzip);
        let small = $crate::server::access::gate::REQUEST_BYTES_MAX as usize;
        $crate::server::undecodable::Reading {
            small: service.clone().max_decoding_message_size(small),
            large: service.max_decoding_message_size($crate::server::MESSAGE_BYTES_MAX),
        }
    }};
}
pub(super) use reading;

/// A service of the interface, with [`unread`] applied to calls that end before their handler begins.
#[derive(Debug, Clone)]
pub(super) struct Reading<S> {
    /// For calls whose requests are small, with that limit on a message, inflated or not.
    pub small: S,
    /// For calls that send chunks or proofs.
    pub large: S,
}

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
        // Both are the same but for a number, and ready at once.
        std::task::ready!(self.small.poll_ready(context))?;
        self.large.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let small = methods::find(request.uri().path()).is_none_or(|method| method.kind.requests_are_small());
        let answer = match small {
            true => self.small.call(request),
            false => self.large.call(request),
        };
        Box::pin(async move {
            let response = answer.await?;
            // A call that ends without a message has its status among the headers.
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) if small && is_too_long(&status) => too_large(REQUEST_BYTES_MAX).into_http(),
                Some(status) if status.code() == Code::Internal || is_too_long(&status) => {
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
        for (code, said) in TOO_LONG_SAYS {
            let decoder = Status::new(code, format!("{said} of 7 bytes"));
            assert_eq!(unread(decoder).code(), Code::InvalidArgument);
        }
        for other in [
            Status::internal("a defect"),
            Status::unknown(DECODER_SAYS[0]),
            Status::resource_exhausted("a full queue"),
            Status::out_of_range(TOO_LONG_SAYS[1].1),
        ] {
            let code = other.code();
            assert_eq!(unread(other).code(), code);
        }
    }
}
