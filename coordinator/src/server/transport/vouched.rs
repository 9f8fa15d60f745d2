//! Connections whose peers have shown a certificate, which is looked at again for as long as they are open: an authority may be
//! taken out, a certificate be revoked, or its time be over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::{connection::Activity, tls::InForce};

/// The connections.
#[derive(Debug, Default)]
pub(crate) struct Vouched(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    shown: HashMap<u64, (Chain, Arc<Activity>)>,
    next: u64,
}

type Chain = Arc<[CertificateDer<'static>]>;

/// A connection's place among them. Its end is its drop.
#[derive(Debug)]
pub(crate) struct Entry {
    vouched: Arc<Vouched>,
    at: u64,
}

impl Vouched {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection over which a chain of certificates was shown, the peer's own first.
    pub(crate) fn enter(
        self: &Arc<Self>,
        chain: &[CertificateDer<'static>],
        activity: &Arc<Activity>,
    ) -> Entry {
        let mut open = self.lock();
        open.next += 1;
        let at = open.next;
        open.shown.insert(at, (chain.into(), Arc::clone(activity)));
        Entry {
            vouched: Arc::clone(self),
            at,
        }
    }

    /// Closes the connections for whose certificates nobody vouches any more.
    pub(crate) fn look_again(&self, in_force: &InForce) {
        let shown: Vec<_> = self.lock().shown.values().cloned().collect();
        let now = UnixTime::now();
        let mut closed = 0;
        let mut last = None;
        for (chain, activity) in &shown {
            if let Err(error) = in_force.vouches_for(chain, now) {
                activity.close();
                (closed, last) = (closed + 1, Some(error));
            }
        }
        if let Some(reason) = last {
            tracing::info!(closed, %reason, "connections are closed, whose certificates are not taken any more");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.vouched.lock().shown.remove(&self.at);
    }
}
