//! A listener for those who look: it answers GET and HEAD over HTTP/1.1, one request a connection, and takes nothing from anybody.
//!
//! It proves nobody's identity and encrypts nothing, so it belongs on loopback or behind something that does. Whatever a peer does, it
//! holds at most [`CONNECTIONS_MAX`] connections, each with a head of [`HEAD_BYTES_MAX`] bytes and for [`CONNECTION_MAX`], and what an
//! answer takes is made before.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::page::MEDIA_TYPE;

/// Connections at once; others wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 32;
/// Most bytes of a request's head. The least that hyper takes.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Longest time from a connection's beginning until its answer is taken.
pub const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// After a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// What every answer says to a browser: run nothing, be framed by nobody, guess nothing, keep nothing.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
/// The policy of what is no page.
const NO_CONTENT: &str = "default-src 'none'; frame-ancestors 'none'";

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path, as it was sent.
    pub path: String,
    /// What stands behind the question mark.
    pub query: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    media_type: &'static str,
    policy: String,
    body: Bytes,
}

impl Answer {
    /// Of that kind, under the policy that lets a browser run nothing.
    pub fn new(media_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            media_type,
            policy: NO_CONTENT.to_owned(),
            body: body.into(),
        }
    }

    /// Numbers for Prometheus.
    pub fn metrics(text: String) -> Self {
        Self::new(MEDIA_TYPE, text)
    }

    /// A page, under a content security policy.
    pub fn html(body: impl Into<Bytes>, policy: String) -> Self {
        Self {
            policy,
            ..Self::new("text/html; charset=utf-8", body)
        }
    }

    /// There is nothing of that name.
    pub fn not_found(what: &str) -> Self {
        Self::refusal(StatusCode::NOT_FOUND, what)
    }

    /// A refusal in words.
    pub fn refusal(status: StatusCode, why: &str) -> Self {
        Self {
            status,
            ..Self::new("text/plain; charset=utf-8", format!("{why}\n"))
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        // Policies are made of our own words and digests.
        if let Ok(policy) = HeaderValue::try_from(self.policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// Listens, and answers nobody yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    connection_max: Duration,
}

impl Listener {
    /// Begins to listen. Port 0 takes a free one.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            connection_max: CONNECTION_MAX,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers each request by what `answer` makes of it, until `stopping` completes. `what` names it in the log.
    pub async fn serve<F, A>(self, what: &'static str, answer: F, stopping: impl Future<Output = ()>)
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let address = self.address;
        if address.ip().is_loopback() {
            tracing::info!(%address, "{what} served");
        } else {
            tracing::warn!(
                %address,
                "{what} served beyond loopback, in plain text, to whoever reaches the address: nobody proves who looks"
            );
        }
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let answer = Arc::new(answer);
        tokio::pin!(stopping);
        loop {
            let taken = async {
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stopping => return,
                taken = taken => taken,
            };
            let Ok((stream, _)) = accepted else {
                // No descriptors are left; those who wait keep their place in the system's queue.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (answer, within) = (Arc::clone(&answer), self.connection_max);
            tokio::spawn(async move {
                // A peer that stands still or breaks off has itself to thank.
                let _ = tokio::time::timeout(within, converse(stream, address, answer)).await;
                drop(place);
            });
        }
    }
}

/// One connection: a request, an answer.
async fn converse<F, A>(stream: TcpStream, address: SocketAddr, answer: Arc<F>)
where
    F: Fn(Asked) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let asked = asked(&request, address);
        let answer = Arc::clone(&answer);
        async move {
            let answer = match asked {
                Ok(asked) => answer(asked).await,
                Err(refusal) => refusal,
            };
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    // Its errors are the peer's, who has been told what HTTP has to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_MAX)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What a request asks for, or why it is refused.
fn asked<B>(request: &Request<B>, address: SocketAddr) -> Result<Asked, Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Answer::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "here one can only look: GET or HEAD",
        ));
    }
    let host = request.headers().get(header::HOST);
    if address.ip().is_loopback() && !host.is_none_or(|host| names_this_machine(host.as_bytes())) {
        // A page of another site, whose name was made to point here, would read what it likes through a browser on this machine.
        return Err(Answer::refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "on loopback the host is an address or localhost",
        ));
    }
    Ok(Asked {
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    })
}

/// Whether a host header is an address or `localhost`, with a port or without.
fn names_this_machine(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    /// A listener on loopback that answers with the path.
    async fn echo(connection_max: Duration) -> (SocketAddr, oneshot::Sender<()>) {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        listener.connection_max = connection_max;
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let answer = |asked: Asked| async move { Answer::new("text/plain", asked.path + "?" + &asked.query) };
        tokio::spawn(listener.serve("an echo is", answer, async {
            let _ = stopped.await;
        }));
        (address, stop)
    }

    /// What is answered to these bytes, until the other end closes.
    async fn say(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other end may have heard enough before the end.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_path_is_answered_once_and_a_browser_is_told_to_run_nothing() {
        let (address, _stop) = echo(CONNECTION_MAX).await;
        let request = "GET /a/b?c=d HTTP/1.1\r\nHost: localhost:1\r\n\r\n";
        let answer = say(address, request.repeat(2).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "one request a connection");
        assert!(answer.ends_with("\r\n\r\n/a/b?c=d"), "{answer}");
        for header in [
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{header}: {answer}");
        }
        let answer = say(address, b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }

    #[tokio::test]
    async fn what_is_no_look_is_refused() {
        let (address, _stop) = echo(CONNECTION_MAX).await;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "X"] {
            let target = if method == "CONNECT" { "a:1" } else { "/" };
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
            let answer = say(address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
            assert!(answer.contains("allow: GET, HEAD"), "{answer}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "127.0.0.1.evil.example:1",
        ] {
            let answer = say(
                address,
                format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            )
            .await;
            assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
        }
        for host in ["localhost", "LOCALHOST:9", "127.0.0.1:9400", "[::1]:9", "[::1]"] {
            let answer = say(
                address,
                format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            )
            .await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        }
        for nonsense in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET\r\n\r\n",
        ] {
            let answer = say(address, nonsense).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                "{nonsense:?}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (address, _stop) = echo(CONNECTION_MAX).await;
        let large = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(2 * HEAD_BYTES_MAX)
        );
        let many = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS_MAX + 1)
        );
        for request in [large, many] {
            let answer = say(address, request.as_bytes()).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn those_who_say_nothing_lose_their_place() {
        let (address, stop) = echo(Duration::from_millis(100)).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // It waits until their time is over, and is answered then.
        let answer = say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(stop);
        for mut stream in silent {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{rest:?}");
        }
    }
}
