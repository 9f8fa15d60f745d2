//! One connection. It is closed when it has not begun to speak HTTP/2 in time, when no call was under way for long, when an
//! answer is not taken in time, when whoever made a call over it is not that any more, and when the coordinator stops and no call is
//! under way.
//!
//! The time is looked at whenever the connection is polled, which its own timer causes if nothing else does.

use std::{
    collections::BTreeSet,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::server::access::Peer;

/// Bytes that every HTTP/2 client begins with: the preface and the head of its settings.
const BEGINNING_BYTES: u64 = 24 + 9;

/// Time for a connection without a call to end by itself once the coordinator stops.
const PARTING: Duration = Duration::from_millis(500);

/// What bounds the time of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For the handshake, and for the first bytes of HTTP/2 after it.
    pub begin: Duration,
    /// Without any call under way.
    pub idle: Duration,
}

/// The calls of a connection.
#[derive(Debug)]
pub(crate) struct Activity {
    calls: Mutex<Calls>,
    watches: Arc<Semaphore>,
    closing: CancellationToken,
}

#[derive(Debug)]
struct Calls {
    open: usize,
    /// When there was last one.
    last: Instant,
    /// When answers have to be taken by.
    due: BTreeSet<(Instant, u64)>,
    next: u64,
}

/// A call under way. Its end is its drop.
#[derive(Debug)]
pub(crate) struct Call {
    activity: Arc<Activity>,
    due: Option<(Instant, u64)>,
}

impl Activity {
    pub(crate) fn new(watches_max: usize) -> Self {
        Self {
            calls: Mutex::new(Calls {
                open: 0,
                last: Instant::now(),
                due: BTreeSet::new(),
                next: 0,
            }),
            watches: Arc::new(Semaphore::new(watches_max)),
            closing: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call, which has to end within a time if it is one that can.
    pub(crate) fn begin(self: &Arc<Self>, within: Option<Duration>) -> Call {
        let mut calls = self.lock();
        calls.open += 1;
        calls.next += 1;
        let due = within.map(|within| (Instant::now() + within, calls.next));
        calls.due.extend(due);
        drop(calls);
        Call {
            activity: Arc::clone(self),
            due,
        }
    }

    /// Has the connection closed, whatever is under way on it.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// A place among the connection's watches.
    pub(crate) fn watch(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.watches).try_acquire_owned().ok()
    }

    /// When the connection is to be closed, as it stands.
    fn end(&self, idle: Duration) -> Option<Instant> {
        let calls = self.lock();
        match calls.open {
            0 => Some(calls.last + idle),
            _ => calls.due.first().map(|(at, _)| *at),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.activity.lock();
        calls.open -= 1;
        calls.last = Instant::now();
        if let Some(due) = &self.due {
            calls.due.remove(due);
        }
    }
}

/// What is known of the other end of a connection, at each of its calls.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionInfo {
    pub peer: Peer,
    pub activity: Arc<Activity>,
}

/// The bytes' way.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection<P> {
    io: Io,
    info: ConnectionInfo,
    times: Times,
    opened: Instant,
    /// Bytes that came, until they are enough to be a beginning.
    read: u64,
    timer: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The coordinator's; none once it stops.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Of what bounds the connections.
    _place: P,
}

impl<P> Connection<P> {
    pub(crate) fn new(
        io: Io,
        peer: Peer,
        times: Times,
        activity: Arc<Activity>,
        stopping: CancellationToken,
        place: P,
    ) -> Self {
        let opened = Instant::now();
        Self {
            io,
            stopping: Some(Box::pin(stopping.cancelled_owned())),
            closing: Box::pin(activity.closing.clone().cancelled_owned()),
            info: ConnectionInfo { peer, activity },
            times,
            opened,
            read: 0,
            timer: Box::pin(tokio::time::sleep_until(opened + times.begin.min(times.idle))),
            _place: place,
        }
    }

    /// Fails when the connection's time is over or it is to be closed, and has the task woken when either may be.
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.closing.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            self.stopping = None;
            let Times { begin, idle } = &mut self.times;
            *begin = (*begin).min(self.opened.elapsed() + PARTING);
            *idle = (*idle).min(PARTING);
            self.timer.as_mut().reset(Instant::now() + PARTING);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let end = match self.read < BEGINNING_BYTES {
                true => Some(self.opened + self.times.begin),
                false => self.info.activity.end(self.times.idle),
            };
            if end.is_some_and(|end| end <= now) {
                tracing::debug!(peer = %self.info.peer.address, "a connection's time is over");
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Looked at again when the next of the two could be: a call that begins meanwhile may end sooner.
            let again = now
                + self
                    .times
                    .idle
                    .min(Duration::from_secs(1).max(self.times.idle / 8));
            self.timer.as_mut().reset(end.map_or(again, |end| end.min(again)));
        }
        Ok(())
    }
}

impl<P> Connected for Connection<P> {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl<P: Unpin> AsyncRead for Connection<P> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_time(cx)?;
        let before = buffer.filled().len();
        let polled = match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        };
        this.read = this.read.saturating_add((buffer.filled().len() - before) as u64);
        polled
    }
}

impl<P: Unpin> AsyncWrite for Connection<P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A peer that takes nothing keeps its connection from being read, too.
        this.check_time(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_time(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, buffers),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_time(cx)?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
