//! Takes connections: as many as there are file descriptors for, and as one address may have.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::pki_types::{CertificateDer, UnixTime},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Activity, Connection, Io, Times},
    tls::InForce,
    vouched::{Entry, Vouched},
};
use crate::{
    config::Quotas,
    server::{
        access::{Peer, certificate::Certificate, quota::network},
        told::Told,
    },
};

/// Connections that have shaken hands and wait to be served.
const READY_MAX: usize = 16;
/// After a connection could not be taken; the peers' connections wait in the system's queue.
const PAUSE: Duration = Duration::from_millis(100);
/// File descriptors that are left to the store, the artifacts and the logs.
const FILES_RESERVED: u64 = 256;
/// Between two lines in the log about connections that are turned away.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Most bytes of the certificates that a peer shows.
pub(crate) const CHAIN_BYTES_MAX: usize = 16 << 10;

/// What connections are begun with where TLS is spoken.
#[derive(Clone)]
pub(crate) struct Tls {
    /// The certificates in force.
    pub in_force: watch::Receiver<Arc<InForce>>,
    /// Where a connection over which a certificate was shown is entered.
    pub vouched: Arc<Vouched>,
}

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

/// What a connection holds as long as it is open.
pub(crate) type Held = (Place, Option<Entry>);

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
    tls: Option<Tls>,
    times: Times,
    watches_max: usize,
    stopping: CancellationToken,
    told: Arc<Told>,
}

/// Connections, ready to be served. The listener is closed when nobody takes them any more.
pub(crate) fn connections(
    listener: TcpListener,
    tls: Option<Tls>,
    quotas: &Quotas,
    stopping: CancellationToken,
) -> ReceiverStream<io::Result<Connection<Held>>> {
    let (sender, receiver) = mpsc::channel(READY_MAX);
    let terms = Terms {
        tls,
        times: Times {
            begin: Duration::from_millis(quotas.handshake_ms_max),
            idle: Duration::from_millis(quotas.idle_ms_max),
        },
        watches_max: quotas.connection_watches_max,
        stopping,
        told: Arc::default(),
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
    sender: mpsc::Sender<io::Result<Connection<Held>>>,
) {
    // Answers are small and awaited.
    let _ = stream.set_nodelay(true);
    let mut peer = Peer {
        address,
        encrypted: terms.tls.is_some(),
        certificate: None,
    };
    let activity = Arc::new(Activity::new(terms.watches_max));
    let (io, entry) = match &terms.tls {
        None => (Io::Plain(stream), None),
        Some(tls) => {
            let in_force = Arc::clone(&tls.in_force.borrow());
            let handshake = TlsAcceptor::from(Arc::clone(&in_force.server)).accept(stream);
            let handshake = tokio::time::timeout(terms.times.begin, handshake).await;
            let refused = |cause: &str| {
                if let Some(more) = terms.told.note(cause, Instant::now()) {
                    tracing::info!(peer = %address, cause, more, "no handshake");
                }
            };
            let stream = match handshake {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return refused(&error.to_string()),
                Err(_) => return refused("it was not over in time"),
            };
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            if chain.iter().map(|der| der.len()).sum::<usize>() > CHAIN_BYTES_MAX {
                return refused("the certificates that are shown are too large");
            }
            peer.certificate = chain.first().map(|der| Arc::new(Certificate::read(der)));
            let entry = (!chain.is_empty()).then(|| tls.vouched.enter(chain, &activity));
            if let Some(problem) = overtaken(tls, &in_force, chain) {
                return refused(&problem);
            }
            (Io::Tls(Box::new(stream)), entry)
        }
    };
    let connection = Connection::new(io, peer, terms.times, activity, terms.stopping, (place, entry));
    // Nobody takes it once the coordinator stops.
    let _ = sender.send(Ok(connection)).await;
}

/// Why certificates that were taken are not any more, where others came into force meanwhile: who looked at the connections
/// then did not see this one.
fn overtaken(tls: &Tls, then: &Arc<InForce>, chain: &[CertificateDer<'_>]) -> Option<String> {
    let now = Arc::clone(&tls.in_force.borrow());
    if chain.is_empty() || Arc::ptr_eq(then, &now) {
        return None;
    }
    let vouched = now.vouches_for(chain, UnixTime::now());
    vouched.err().map(|error| error.to_string())
}
