//! Makes a connection, and notes what is wrong with it.
//!
//! HTTP/2 keeps no more of an error than its text, and a client's certificate is refused only after the handshake is over for
//! the client. So what is wrong is noted where the bytes pass.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::codegen::{Service, http::Uri};

use super::fault::Fault;

/// The name of HTTP/2 in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";
/// Bytes of an answer that tell of another protocol.
const BEGINNING_BYTES: usize = 5;

/// What was wrong with the connection that was tried last.
#[derive(Debug, Clone, Default)]
pub(super) struct Noted(Arc<Mutex<Option<Fault>>>);

impl Noted {
    pub(super) fn get(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, fault: Option<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Dials a coordinator.
#[derive(Clone)]
pub(super) struct Dialer {
    pub host: String,
    pub port: u16,
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub noted: Noted,
}

impl Dialer {
    async fn dial(self) -> io::Result<TokioIo<Line>> {
        self.noted.set(None);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let (io, name) = match self.tls {
            None => (Io::Plain(stream, Vec::new()), None),
            Some((config, name)) => {
                let stream = TlsConnector::from(config).connect(name.clone(), stream).await;
                let stream = stream.inspect_err(|error| self.noted.set(Fault::of(error, &name)))?;
                if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
                    self.noted.set(Some(Fault::NoHttp2));
                    return Err(io::Error::other(Fault::NoHttp2));
                }
                (Io::Tls(Box::new(stream)), Some(name))
            }
        };
        Ok(TokioIo::new(Line {
            io,
            name,
            noted: self.noted,
            broken: None,
        }))
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Line>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Line>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

/// The bytes' way; of plain text with the first bytes that came.
enum Io {
    Plain(TcpStream, Vec<u8>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Line {
    io: Io,
    name: Option<ServerName<'static>>,
    noted: Noted,
    /// The error of a write, until the other end's last words are read.
    broken: Option<io::Error>,
}

impl Line {
    fn note(&self, error: &io::Error) {
        let fault = self.name.as_ref().and_then(|name| Fault::of(error, name));
        if fault.is_some() {
            self.noted.set(fault);
        }
    }

    /// Whether a write that failed is over. Whoever closes a connection may have said why before, which is read first: the
    /// connection is broken, so its end comes.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 1 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *self).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }

    /// What a write comes to.
    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = polled {
            self.broken = Some(error);
        } else if self.broken.is_none() {
            return polled;
        }
        std::task::ready!(self.poll_last_words(cx));
        let error = self.broken.take().expect("set above or before");
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = match &mut this.io {
            Io::Tls(io) => Pin::new(io).poll_read(cx, buffer),
            Io::Plain(io, beginning) => {
                let polled = Pin::new(io).poll_read(cx, buffer);
                if beginning.len() < BEGINNING_BYTES {
                    let new = &buffer.filled()[before..];
                    beginning.extend(new.iter().take(BEGINNING_BYTES - beginning.len()));
                    if let Some(fault) = Fault::of_beginning(beginning) {
                        this.noted.set(Some(fault.clone()));
                        return Poll::Ready(Err(io::Error::other(fault)));
                    }
                }
                polled
            }
        };
        if let Poll::Ready(Err(error)) = &polled {
            this.note(error);
        }
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.io {
            Io::Plain(io, _) => Pin::new(io).poll_write(cx, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        };
        this.written(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.io {
            Io::Plain(io, _) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        this.written(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io, _) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
