//! How much one caller may take of what there is for all.
//!
//! A caller here is a tenant, or an address where no identity is proven: whoever shares it shares what it may take. What a
//! caller may take is always less than there is, so that no single one leaves nothing to the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{Identity, methods::Kind};
use crate::{
    config::{Config, Quotas},
    core::id::{Principal, Tenant},
    server::status::{exhausted, too_fast},
};

/// Callers that are remembered before those that hold nothing are forgotten.
const CALLERS_MAX: usize = 4_096;
/// Bytes that one permit for bytes stands for.
pub(crate) const BYTES_UNIT: u64 = 1 << 10;

/// Who shares what may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sharers {
    Tenant(Tenant),
    Identity(Principal),
    Address(IpAddr),
}

/// An address as far as it tells peers apart: anybody may have a whole /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        address => address,
    }
}

/// What one caller may take.
#[derive(Debug)]
pub(crate) struct Share {
    calls: Limited,
    bytes: Arc<Semaphore>,
    /// Payloads on their way to the caller's workers.
    pub payloads: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

/// Calls at once, of each kind.
#[derive(Debug)]
struct Limited([Arc<Semaphore>; 5]);

impl Limited {
    fn new(max: impl Fn(Kind) -> usize) -> Self {
        use Kind::{Download, Quick, Session, Submission, Watch};
        Self([Quick, Download, Submission, Watch, Session].map(|kind| Arc::new(Semaphore::new(max(kind)))))
    }

    fn take(&self, kind: Kind) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0[kind as usize]).try_acquire_owned().ok()
    }
}

/// Calls that may be made now; one more after each fraction of a second.
#[derive(Debug)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, quotas: &Quotas, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let most = f64::from(quotas.caller_calls_burst);
        self.calls = (self.calls + passed * f64::from(quotas.caller_calls_per_s)).min(most);
        self.at = now;
        let may = self.calls >= 1.0;
        if may {
            self.calls -= 1.0;
        }
        may
    }
}

/// What a call holds, for as long as anything of it is under way.
#[derive(Debug)]
pub(crate) struct Held {
    of_all: OwnedSemaphorePermit,
    of_caller: OwnedSemaphorePermit,
}

impl Held {
    /// Holds what another of the same caller and kind holds, too.
    pub(crate) fn merge(&mut self, other: Self) {
        self.of_all.merge(other.of_all);
        self.of_caller.merge(other.of_caller);
    }
}

/// What there is, and what each caller has of it.
#[derive(Debug)]
pub(crate) struct Meter {
    quotas: Quotas,
    all: Limited,
    bytes: Arc<Semaphore>,
    shares: Mutex<HashMap<Sharers, Arc<Share>>>,
}

impl Meter {
    pub(crate) fn new(config: &Config) -> Self {
        let quotas = config.quotas.clone();
        let all = Limited::new(|kind| match kind {
            Kind::Quick => quotas.calls_max,
            Kind::Download => quotas.downloads_max,
            Kind::Submission => config.submissions_max,
            Kind::Watch => config.watches_max,
            Kind::Session => config.limits.sessions_max,
        });
        Self {
            all,
            bytes: Arc::new(Semaphore::new(units(config.submissions_bytes_max))),
            shares: Mutex::default(),
            quotas,
        }
    }

    fn share(&self, sharers: Sharers) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= CALLERS_MAX && !shares.contains_key(&sharers) {
            // Whoever is forgotten too early gets a full bucket again.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let quotas = &self.quotas;
        let new = || {
            Arc::new(Share {
                calls: Limited::new(|kind| match kind {
                    Kind::Quick => quotas.caller_calls_max,
                    Kind::Download => quotas.caller_downloads_max,
                    Kind::Submission => quotas.caller_submissions_max,
                    Kind::Watch => quotas.caller_watches_max,
                    Kind::Session => quotas.caller_sessions_max,
                }),
                bytes: Arc::new(Semaphore::new(units(quotas.caller_submissions_bytes_max))),
                payloads: Arc::new(Semaphore::new(quotas.caller_payloads_max)),
                bucket: Mutex::new(Bucket {
                    calls: f64::from(quotas.caller_calls_burst),
                    at: Instant::now(),
                }),
            })
        };
        Arc::clone(shares.entry(sharers).or_insert_with(new))
    }

    /// Counts a call of an identity, or of an address if it has none, whatever becomes of it.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there were too many.
    pub(crate) fn count(&self, identity: Option<&Identity>, address: IpAddr) -> Result<(), Status> {
        let share = self.share(match identity {
            Some(identity) => Sharers::Identity(identity.principal.clone()),
            None => Sharers::Address(network(address)),
        });
        let mut bucket = share.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        match bucket.take(&self.quotas, Instant::now()) {
            true => Ok(()),
            false => Err(too_fast(self.quotas.caller_calls_per_s)),
        }
    }

    /// What a call of a kind takes.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if its caller holds all that one may, or all callers together all that there is.
    pub(crate) fn take(
        &self,
        identity: Option<&Identity>,
        address: IpAddr,
        kind: Kind,
    ) -> Result<(Arc<Share>, Held), Status> {
        let share = self.share(match identity {
            Some(identity) => Sharers::Tenant(identity.tenant.clone()),
            None => Sharers::Address(network(address)),
        });
        let (of_caller, of_all) = subjects(kind);
        let refused = |subject: &str, whose: &str| {
            exhausted(
                subject,
                &format!("{whose} has as many calls of this kind under way as it may"),
            )
        };
        let caller = share.calls.take(kind);
        let caller = caller.ok_or_else(|| refused(of_caller, "this tenant or address"))?;
        let all = self.all.take(kind);
        let all = all.ok_or_else(|| refused(of_all, "the coordinator"))?;
        let held = Held {
            of_all: all,
            of_caller: caller,
        };
        Ok((share, held))
    }

    /// Room for bytes of a submission.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there is none.
    pub(crate) fn take_bytes(&self, share: &Share, bytes: usize) -> Result<Held, Status> {
        let units = u32::try_from((bytes as u64).div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX);
        let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_many_owned(units).ok();
        let refused = |subject: &str, whose: &str| {
            exhausted(
                subject,
                &format!("the submissions under way fill the memory that is set aside for {whose}"),
            )
        };
        let caller = take(&share.bytes);
        let caller =
            caller.ok_or_else(|| refused("caller_submissions_bytes_max", "this tenant or address"))?;
        let all = take(&self.bytes).ok_or_else(|| refused("submissions_bytes_max", "all"))?;
        Ok(Held {
            of_all: all,
            of_caller: caller,
        })
    }
}

fn units(bytes: u64) -> usize {
    let units = usize::try_from(bytes / BYTES_UNIT).unwrap_or(usize::MAX);
    units.min(Semaphore::MAX_PERMITS)
}

/// The limits that a kind of call comes to, of one caller and of all.
fn subjects(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Quick => ("caller_calls_max", "calls_max"),
        Kind::Download => ("caller_downloads_max", "downloads_max"),
        Kind::Submission => ("caller_submissions_max", "submissions_max"),
        Kind::Watch => ("caller_watches_max", "watches_max"),
        Kind::Session => ("caller_sessions_max", "sessions_max"),
    }
}
