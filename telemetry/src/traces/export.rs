//! Spans to a collector: OTLP over HTTP, in JSON. What the collector answers is not believed, but for its status.

use std::fmt;
use std::num::NonZeroU16;
use std::pin::pin;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Context, Span, Traces};

/// Spans of one request.
const SPANS_AT_ONCE: usize = 256;
/// How long a span waits for others to go with it.
const GATHER: Duration = Duration::from_millis(500);
/// Longest time of one request, the connection included.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Between two tries of one request.
const RETRY: Duration = Duration::from_secs(1);
/// Tries of one request.
const TRIES: u32 = 3;
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// Between two log lines that say that a collector does not take spans.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Longest time in which what is left is sent at the end.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// The path of spans below a collector's address.
const PATH: &str = "/v1/traces";

/// Where a collector is: `http://HOST:PORT`, and a path before its own if need be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    authority: Authority,
    path: String,
}

/// A text that names no collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has another form.
    #[error("expected http://HOST:PORT, where a collector takes OTLP over HTTP")]
    Form,
    /// TLS is not spoken here.
    #[error(
        "https is not spoken with a collector: run one on this machine or beside it, which sends on over TLS"
    )]
    Https,
    /// It has a name or a password.
    #[error("a collector's address has no name and no password")]
    Password,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Form)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(EndpointError::Https),
            _ => return Err(EndpointError::Form),
        }
        let authority = uri.authority().ok_or(EndpointError::Form)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Password);
        }
        let has_query = uri.path_and_query().is_some_and(|path| path.query().is_some());
        let is_port = |port: &str| port.parse::<NonZeroU16>().is_ok();
        let has_port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => true,
            rest => rest.and_then(|rest| rest.strip_prefix(':')).is_some_and(is_port),
        };
        if authority.host().is_empty() || !has_port || has_query || text.contains('#') {
            return Err(EndpointError::Form);
        }
        let path = format!("{}{PATH}", uri.path().trim_end_matches('/'));
        path.parse::<PathAndQuery>().map_err(|_| EndpointError::Form)?;
        Ok(Self {
            authority: authority.clone(),
            path,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl Endpoint {
    fn address(&self) -> String {
        let port = self.authority.port_u16().unwrap_or(80);
        format!("{}:{port}", self.authority.host())
    }

    /// Sends one request; why it was not taken.
    async fn post(&self, body: Bytes) -> Result<(), String> {
        let connect = TcpStream::connect(self.address());
        let stream = connect.await.map_err(|error| error.to_string())?;
        let (answers, requests) = stream.into_split();
        let stream = tokio::io::join(answers.take(ANSWER_BYTES_MAX), requests);
        let (mut sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::post(&self.path)
            .header(header::HOST, self.authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        // The body of the answer is not needed, and the connection ends with this call, or before the answer is looked at.
        let mut answer = pin!(sender.send_request(request));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        };
        match answer.map_err(|error| error.to_string())?.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }
}

/// Sends the spans of a queue.
pub struct Exporter {
    endpoint: Endpoint,
    traces: Traces,
    spans: mpsc::Receiver<Span>,
    /// What every span is of: names and values, such as `service.name`.
    resource: Vec<(&'static str, String)>,
    /// What is on its way.
    some: Vec<Span>,
    told: Option<Instant>,
}

impl Exporter {
    /// A queue whose spans go to a collector once this runs; `service` is who tells them, `name` which of several.
    pub fn new(endpoint: Endpoint, service: &'static str, name: String) -> (Traces, Self) {
        let (traces, spans) = Traces::queue();
        let exporter = Self {
            endpoint,
            traces: traces.clone(),
            spans,
            resource: vec![
                ("service.namespace", "rollup-prover".into()),
                ("service.name", service.into()),
                ("service.instance.id", name),
                ("service.version", env!("CARGO_PKG_VERSION").into()),
            ],
            some: Vec::new(),
            told: None,
        };
        (traces, exporter)
    }

    /// Sends what is told until `stopping` completes, and then what is left, for some seconds.
    pub async fn run(mut self, stopping: impl Future<Output = ()>) {
        tracing::info!(collector = %self.endpoint, "traces are sent");
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = self.send_some() => {}
            }
        }
        self.spans.close();
        let rest = async {
            while !(self.some.is_empty() && self.spans.is_empty()) {
                self.send_some().await;
            }
        };
        if tokio::time::timeout(FLUSH_MAX, rest).await.is_err() {
            tracing::warn!("not all spans were taken before the end");
        }
    }

    /// Sends the next spans, as many as come together. Losing the future loses none.
    async fn send_some(&mut self) {
        if self.some.is_empty() {
            self.gather().await;
        }
        let body = Bytes::from(self.encoded().to_string());
        for attempt in 1..=TRIES {
            let posted = tokio::time::timeout(REQUEST_MAX, self.endpoint.post(body.clone()));
            let why = match posted.await {
                Ok(Ok(())) => break,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", REQUEST_MAX.as_secs()),
            };
            if attempt == TRIES {
                self.traces.drop_some(self.some.len() as u64);
                self.tell(&why);
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
        self.some.clear();
    }

    async fn gather(&mut self) {
        if self.spans.recv_many(&mut self.some, SPANS_AT_ONCE).await == 0 {
            return std::future::pending().await;
        }
        let more = async {
            while self.some.len() < SPANS_AT_ONCE {
                match self.spans.recv().await {
                    Some(span) => self.some.push(span),
                    None => return,
                }
            }
        };
        // What is not there by then goes with the next ones.
        let _ = tokio::time::timeout(GATHER, more).await;
    }

    fn tell(&mut self, why: &str) {
        let now = Instant::now();
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < TOLD_EVERY)
        {
            return;
        }
        self.told = Some(now);
        let dropped = self.traces.dropped();
        tracing::warn!(collector = %self.endpoint, why, dropped, "spans are dropped, since the collector does not take them");
    }

    /// The request's message.
    fn encoded(&self) -> Value {
        let resource = self.resource.iter().map(|(name, value)| attribute(name, value));
        json!({ "resourceSpans": [{
            "resource": { "attributes": resource.collect::<Vec<_>>() },
            "scopeSpans": [{
                "scope": { "name": "rollup-prover" },
                "spans": self.some.iter().map(span).collect::<Vec<_>>(),
            }],
        }] })
    }
}

/// A span as OTLP's JSON has it: ids in hexadecimal, times as decimal strings.
fn span(span: &Span) -> Value {
    /// `SPAN_KIND_INTERNAL`.
    const INTERNAL: u8 = 1;
    /// `STATUS_CODE_ERROR`.
    const ERROR: u8 = 2;
    let Context { trace, span: id } = span.context;
    let attributes = span.attributes.iter().map(|(name, value)| attribute(name, value));
    let mut made = json!({
        "traceId": trace.to_string(),
        "spanId": id.to_string(),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": span.began_ns.to_string(),
        "endTimeUnixNano": span.ended_ns.max(span.began_ns).to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        made["parentSpanId"] = parent.to_string().into();
    }
    if let Some(error) = &span.error {
        made["status"] = json!({ "code": ERROR, "message": error });
    }
    made
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::super::{SpanId, TraceId};
    use super::*;

    const WHOLE: Context = Context {
        trace: TraceId([0xab; 16]),
        span: SpanId([0xcd; 8]),
    };

    #[test]
    fn a_collector_is_named_by_a_url() {
        for (text, address, whole) in [
            (
                "http://127.0.0.1:4318",
                "127.0.0.1:4318",
                "http://127.0.0.1:4318/v1/traces",
            ),
            ("http://collector/", "collector:80", "http://collector/v1/traces"),
            ("http://[::1]:1/a/b/", "[::1]:1", "http://[::1]:1/a/b/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.address().as_str(), endpoint.to_string().as_str()),
                (address, whole)
            );
        }
        for (text, error) in [
            ("", EndpointError::Form),
            ("127.0.0.1:4318", EndpointError::Form),
            ("grpc://127.0.0.1:4317", EndpointError::Form),
            ("http://", EndpointError::Form),
            ("http://a/?b=c", EndpointError::Form),
            ("http://a/#b", EndpointError::Form),
            ("http://:4318", EndpointError::Form),
            ("http://a:", EndpointError::Form),
            ("http://a:0", EndpointError::Form),
            ("http://a:65536", EndpointError::Form),
            ("http://[::1]:65536", EndpointError::Form),
            ("https://collector.example", EndpointError::Https),
            ("http://name:secret@collector", EndpointError::Password),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }

    async fn collector() -> (TcpListener, Traces, Exporter) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (traces, exporter) = Exporter::new(endpoint.parse().unwrap(), "test", "one".into());
        (listener, traces, exporter)
    }

    /// One request's head and body.
    async fn request(stream: &mut TcpStream) -> (String, Value) {
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 4096];
            let read = stream.read(&mut some).await.unwrap();
            bytes.extend_from_slice(&some[..read]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str(body)
            {
                return (head.to_owned(), body);
            }
            assert_ne!(read, 0, "{text}");
        }
    }

    #[tokio::test]
    async fn spans_come_as_otlp_has_them() {
        let (listener, traces, exporter) = collector().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(exporter.run(async { drop(stopped.await) }));
        let told = Span::part_of(WHOLE, "attempt", 5, 9)
            .with("task", "b1-s0")
            .failed("memory");
        traces.tell(told.clone());
        let (mut stream, _) = listener.accept().await.unwrap();
        let (head, body) = request(&mut stream).await;
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        let sent = &body["resourceSpans"][0];
        let names = &sent["resource"]["attributes"];
        assert_eq!(
            names[1],
            json!({ "key": "service.name", "value": { "stringValue": "test" } })
        );
        let span = &sent["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "ab".repeat(16));
        assert_eq!(span["parentSpanId"], "cd".repeat(8));
        assert_eq!(span["spanId"], told.context.span.to_string());
        assert_eq!(
            (&span["startTimeUnixNano"], &span["endTimeUnixNano"]),
            (&json!("5"), &json!("9"))
        );
        assert_eq!(span["status"], json!({ "code": 2, "message": "memory" }));
        // What is told at the end is sent too.
        traces.tell(told);
        drop(stop);
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        running.await.unwrap();
        assert_eq!(traces.dropped(), 0);
    }

    #[tokio::test]
    async fn a_collector_that_errs_is_tried_again_and_then_given_up() {
        let (listener, traces, exporter) = collector().await;
        let running = tokio::spawn(exporter.run(std::future::pending()));
        traces.tell(Span::part_of(WHOLE, "x", 1, 2));
        let answers: [&[u8]; 3] = [
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"",
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        let dropped = async {
            while traces.dropped() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), dropped)
            .await
            .expect("it is given up");
        // The next one is told all the same.
        traces.tell(Span::part_of(WHOLE, "y", 1, 2));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(
            request(&mut stream).await.1["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"],
            "y"
        );
        running.abort();
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        for (begin, more, is_taken) in [
            ("", "HTTP/1.1 100 Continue\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n", "x: y\r\n", false),
            ("HTTP/1.1 200 OK\r\nx: ", "y", false),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n",
                "{",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "1\r\n{\r\n",
                true,
            ),
            ("HTTP/1.1 301 Moved\r\nlocation: /\r\n\r\n", "{", false),
        ] {
            let (listener, _, exporter) = collector().await;
            let answering = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                request(&mut stream).await;
                let more = more.repeat(1_000);
                let mut left = stream.write_all(begin.as_bytes()).await;
                while left.is_ok() {
                    left = stream.write_all(more.as_bytes()).await;
                }
            });
            let posted = timeout(REQUEST_MAX, exporter.endpoint.post("{}".into())).await;
            assert_eq!(posted.expect("it ends").is_ok(), is_taken, "{begin}{more}");
            // It is hung up on.
            timeout(REQUEST_MAX, answering).await.expect("it ends").unwrap();
        }
    }

    #[tokio::test]
    async fn a_collector_that_says_nothing_ends_nobodys_stop() {
        let (listener, traces, exporter) = collector().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(exporter.run(async { drop(stopped.await) }));
        for _ in 0..super::super::SPANS_MAX * 2 {
            traces.tell(Span::part_of(WHOLE, "x", 1, 2));
        }
        assert!(traces.dropped() > 0, "nobody waits");
        let (_silent, _) = listener.accept().await.unwrap();
        drop(stop);
        timeout(FLUSH_MAX * 3, running).await.expect("it ends").unwrap();
    }
}
