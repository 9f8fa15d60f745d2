//! A hostile peer's end of a connection: bytes on TCP or TLS, frames of HTTP/2, calls, messages of `proto/`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use proto::v1::{self, session_request::Message as FromWorker};
use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::lessee::{Leased, hello};

/// Where the hostile peers come from.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Longest wait of a hostile peer for anything.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One hostile peer.
#[derive(Clone)]
pub struct Peer {
    pub coordinator: SocketAddr,
    pub until: Instant,
    /// What it speaks TLS with, if it does; with a certificate or without.
    pub tls: Option<Arc<ClientConfig>>,
    /// What it says of who it is.
    pub token: Option<&'static str>,
    pub rng: ChaCha20Rng,
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Peer {
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// A connection that says nothing yet.
    pub async fn tcp(&self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(ADDRESS, 0)).ok()?;
        timeout(PATIENCE, socket.connect(self.coordinator))
            .await
            .ok()?
            .ok()
    }

    /// A connection as one that means well begins it.
    pub async fn connect(&self) -> Option<Box<dyn Duplex>> {
        let stream = self.tcp().await?;
        let Some(config) = &self.tls else {
            return Some(Box::new(stream));
        };
        let name = ServerName::IpAddress(self.coordinator.ip().into());
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        Some(Box::new(timeout(PATIENCE, handshake).await.ok()?.ok()?))
    }

    /// A connection that speaks HTTP/2.
    pub async fn http(&self) -> Option<SendRequest<Bytes>> {
        let stream = self.connect().await?;
        let handshake = h2::client::handshake(stream);
        let (sender, connection) = timeout(PATIENCE, handshake).await.ok()?.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    /// A call that is open: what it sends, and what it will get.
    pub async fn call(&self, http: &SendRequest<Bytes>, method: &str) -> Option<Call> {
        self.call_any(http, &format!("zkrollup.prover.v1.{method}")).await
    }

    /// The same of any service's method.
    pub async fn call_any(&self, http: &SendRequest<Bytes>, method: &str) -> Option<Call> {
        self.call_in(http, method, None).await
    }

    /// The same of a call that says what its messages are compressed with.
    pub async fn call_in(
        &self,
        http: &SendRequest<Bytes>,
        method: &str,
        encoding: Option<&str>,
    ) -> Option<Call> {
        let mut http = timeout(PATIENCE, http.clone().ready()).await.ok()?.ok()?;
        let request = http::Request::post(format!("http://coordinator/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match encoding {
            Some(encoding) => request.header("grpc-encoding", encoding),
            None => request,
        };
        let request = match self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(()).expect("a request");
        let (answer, stream) = http.send_request(request, false).ok()?;
        Some(Call { answer, stream })
    }

    /// A session of a worker that was welcomed, or at least said hello.
    pub async fn session(&self, http: &SendRequest<Bytes>, name: &str) -> Option<Call> {
        let mut call = self.call(http, "WorkerService/Session").await?;
        call.worker(FromWorker::Hello(hello(name))).await?;
        Some(call)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// One call.
pub struct Call {
    pub answer: ResponseFuture,
    pub stream: h2::SendStream<Bytes>,
}

/// A message as gRPC frames it.
pub fn frame(bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(bytes.len() as u32);
    frame.put(bytes);
    frame.freeze()
}

/// The same of one that says that it is compressed.
pub fn compressed_frame(bytes: &[u8]) -> Bytes {
    [&[1], &frame(bytes)[1..]].concat().into()
}

impl Call {
    /// Sends bytes as fast as the coordinator takes them; none when the call is over or they are not taken.
    pub async fn send(&mut self, mut bytes: Bytes) -> Option<()> {
        let until = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|context| self.stream.poll_capacity(context));
            let capacity = timeout_at(until, capacity).await.ok()??.ok()?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.stream.send_data(part, false).ok()?;
        }
        Some(())
    }

    pub async fn worker(&mut self, message: FromWorker) -> Option<()> {
        let message = Some(message);
        let bytes = v1::SessionRequest { message }.encode_to_vec();
        self.send(frame(&bytes)).await
    }

    /// The code of gRPC that it ends with.
    pub async fn status(mut self) -> Option<String> {
        self.finish();
        let answer = timeout(PATIENCE, self.answer).await.ok()?.ok()?;
        let code = |headers: &http::HeaderMap| Some(headers.get("grpc-status")?.to_str().ok()?.to_owned());
        if let Some(code) = code(answer.headers()) {
            return Some(code);
        }
        let mut body = answer.into_body();
        while timeout(PATIENCE, body.data()).await.ok()?.is_some() {}
        code(&timeout(PATIENCE, body.trailers()).await.ok()?.ok()??)
    }

    pub fn finish(&mut self) {
        // It may be over.
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    /// The body of the answer, which gives its window back as it is read.
    pub async fn body(self) -> Option<Body> {
        let answer = timeout(PATIENCE, self.answer).await.ok()?.ok()?;
        Some(Body {
            stream: answer.into_body(),
            bytes: BytesMut::new(),
            sender: self.stream,
        })
    }
}

/// The answers of a call.
pub struct Body {
    stream: h2::RecvStream,
    bytes: BytesMut,
    sender: h2::SendStream<Bytes>,
}

impl Body {
    pub async fn message<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.bytes.len() >= 5 {
                let length = u32::from_be_bytes(self.bytes[1..5].try_into().expect("four bytes")) as usize;
                if self.bytes.len() >= 5 + length {
                    let message = self.bytes.split_to(5 + length);
                    return M::decode(&message[5..]).ok();
                }
            }
            let data = timeout(PATIENCE, self.stream.data()).await.ok()??.ok()?;
            let _ = self.stream.flow_control().release_capacity(data.len());
            self.bytes.put(data);
        }
    }

    pub async fn worker(&mut self, message: FromWorker) -> Option<()> {
        let message = Some(message);
        let bytes = frame(&v1::SessionRequest { message }.encode_to_vec());
        self.sender.reserve_capacity(bytes.len());
        self.sender.send_data(bytes, false).ok()
    }

    /// Asks for a task and takes it.
    pub async fn lease(&mut self) -> Option<Leased> {
        use v1::session_response::Message as ToWorker;
        self.worker(FromWorker::LeaseRequest(v1::LeaseRequest { kinds: vec![] }))
            .await?;
        let mut leased: Option<Leased> = None;
        loop {
            match self.message::<v1::SessionResponse>().await?.message? {
                ToWorker::Task(task) => {
                    let payload = Vec::new();
                    leased = Some(Leased { task, payload });
                }
                ToWorker::TaskChunk(chunk) => leased.as_mut()?.payload.extend_from_slice(&chunk.data),
                _ => {}
            }
            if let Some(leased) = leased.take_if(|l| l.payload.len() as u64 >= l.task.payload_bytes) {
                return Some(leased);
            }
        }
    }
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
pub fn http_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

pub const HEADERS: u8 = 1;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// A field of a header block, new to the peer's table if `kept`.
pub fn header_field(name: &str, value: &[u8], kept: bool) -> Vec<u8> {
    let mut field = vec![if kept { 0x40 } else { 0 }];
    for text in [name.as_bytes(), value] {
        // An integer with a prefix of seven bits.
        match text.len() {
            length @ 0..127 => field.push(length as u8),
            length => {
                field.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    field.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                field.push(rest as u8);
            }
        }
        field.extend(text);
    }
    field
}
