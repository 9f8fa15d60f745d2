//! What those see who look from outside.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Shell;
use crate::{
    core::{
        Core,
        id::{SessionId, UnixMs},
    },
    server::{observed::Observed, status_page::lists},
    store::ArtifactNumbers,
};

impl Shell {
    /// What there is to see now, whether the store is waited for or not.
    pub(in crate::server) fn observe(&self, last: Option<&Observed>, listed: bool) -> Observed {
        // One that may have been followed by another counts nothing that the other counts.
        let leads = self.certainly_leads();
        let mut observed = self.peek(|core, now| Observed {
            at: Instant::now(),
            leader: self.standing.other().or_else(|| (!leads).then(String::new)),
            numbers: core.tally().numbers.clone(),
            load: core.load(now),
            suspended: false,
            accounts: None,
            own: Vec::new(),
            artifacts: ArtifactNumbers::default(),
            lists: Arc::new(match listed {
                true => lists(core, now, |session| self.devices_of(session)),
                false => Value::Null,
            }),
        });
        observed.suspended = *self.suspended.borrow();
        observed.accounts = self.accounts().or(last.and_then(|last| last.accounts));
        observed.own = self.meters.times();
        observed
    }

    /// Accounts of all rollups; none where a batch is being executed.
    fn accounts(&self) -> Option<usize> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        // An execution holds a ledger for long, and what it ends with is seen at the next look.
        let counts = ledgers
            .values()
            .map(|ledger| Some(ledger.try_lock().ok()?.accounts().len()));
        counts.sum()
    }

    /// Reads the core, whether the store is waited for or not.
    pub(in crate::server) fn peek<T>(&self, read: impl FnOnce(&Core, UnixMs) -> T) -> T {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        read(&inner.core, self.clock.now())
    }

    pub(super) fn devices(&self) -> MutexGuard<'_, HashMap<SessionId, String>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a session's worker says of its devices, until the session is closed.
    pub(in crate::server) fn name_devices(&self, session: SessionId, devices: String) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.core.is_open(session) {
            self.devices().insert(session, devices);
        }
    }

    /// What a session's worker has said of its devices.
    pub(in crate::server) fn devices_of(&self, session: SessionId) -> String {
        self.devices().get(&session).cloned().unwrap_or_default()
    }
}

/// How long ago something was, milliseconds.
pub(in crate::server) fn age_ms(since: Instant) -> u64 {
    let age: Duration = since.elapsed();
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
