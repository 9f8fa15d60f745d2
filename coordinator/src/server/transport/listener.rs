//! Takes connections: as many as there are file descriptors for, and as one address may have.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, Io, Times};
use crate::{
    config::Quotas,
    server::access::{Peer, certificate::Certificate, quota::network},
};

/// Connections that have shaken hands and wait to be served.
const READY_MAX: usize = 16;
/// After a connection could not be taken; the peers' connections wait in the system's queue.
const PAUSE: Duration = Duration::from_millis(100);
/// File descriptors that are left to the store, the artifacts and the logs.
const FILES_RESERVED: u64 = 256;
/// Between two lines in the log about connections that are turned away.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The certificates in force; none where TLS is not spoken.
pub(crate) type Tls = Option<watch::Receiver<Arc<ServerConfig>>>;

/// Connections that may be open at once: what is asked for, as far as there are file descriptors.
pub(crate) fn connections_max(asked: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // With very few, the store gets half.
    let left = files.saturating_sub(FILES_RESERVED.min(files / 2));
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(asked);
    if most < asked {
        tracing::warn!(
            most,
            asked,
            "the limit of open files (ulimit -n) allows fewer connections"
        );
    }
    most
}

/// Connections of one address.
#[derive(Debug)]
struct Addresses {
    open: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// A connection's place among those of its address and of all.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
    _of_all: OwnedSemaphorePermit,
}

impl Addresses {
    fn take(self: &Arc<Self>, address: IpAddr, of_all: OwnedSemaphorePermit) -> Option<Place> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place {
            addresses: Arc::clone(self),
            address,
            _of_all: of_all,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What every connection begins with.
#[derive(Clone)]
struct Terms {
    tls: Tls,
    times: Times,
    watches_max: usize,
}

/// Connections, ready to be served. The listener is closed when nobody takes them any more.
pub(crate) fn connections(
    listener: TcpListener,
    tls: Tls,
    quotas: &Quotas,
) -> ReceiverStream<io::Result<Connection<Place>>> {
    let (sender, receiver) = mpsc::channel(READY_MAX);
    let terms = Terms {
        tls,
        times: Times {
            begin: Duration::from_millis(quotas.handshake_ms_max),
            idle: Duration::from_millis(quotas.idle_ms_max),
        },
        watches_max: quotas.connection_watches_max,
    };
    let all = Arc::new(Semaphore::new(connections_max(quotas.connections_max)));
    let addresses = Arc::new(Addresses {
        open: Mutex::default(),
        max: quotas.address_connections_max,
    });
    tokio::spawn(async move {
        let mut told: Option<tokio::time::Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let of_all = Arc::clone(&all).try_acquire_owned().ok();
            let place = of_all.and_then(|of_all| addresses.take(address.ip(), of_all));
            let Some(place) = place else {
                if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    told = Some(tokio::time::Instant::now());
                    tracing::warn!(%address, "connections are turned away: too many are open, or too many of one address");
                }
                continue;
            };
            tokio::spawn(begin(stream, address, terms.clone(), place, sender.clone()));
        }
    });
    ReceiverStream::new(receiver)
}

/// Shakes hands, and hands the connection over.
async fn begin(
    stream: TcpStream,
    address: SocketAddr,
    terms: Terms,
    place: Place,
    sender: mpsc::Sender<io::Result<Connection<Place>>>,
) {
    // Answers are small and awaited.
    let _ = stream.set_nodelay(true);
    let mut peer = Peer {
        address,
        encrypted: terms.tls.is_some(),
        certificate: None,
    };
    let io = match &terms.tls {
        None => Io::Plain(stream),
        Some(tls) => {
            let config = Arc::clone(&tls.borrow());
            let handshake = TlsAcceptor::from(config).accept(stream);
            let stream = match tokio::time::timeout(terms.times.begin, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::info!(peer = %address, %error, "no handshake"),
                Err(_) => return tracing::debug!(peer = %address, "a handshake's time is over"),
            };
            let (_, session) = stream.get_ref();
            let shown = session.peer_certificates().and_then(|chain| chain.first());
            peer.certificate = shown.map(|der| Arc::new(Certificate::read(der)));
            Io::Tls(Box::new(stream))
        }
    };
    let connection = Connection::new(io, peer, terms.times, terms.watches_max, place);
    // Nobody takes it once the coordinator stops.
    let _ = sender.send(Ok(connection)).await;
}
