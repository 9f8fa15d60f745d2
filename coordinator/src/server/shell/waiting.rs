//! What becomes of a store that refuses: everything waits until it takes what it has refused, and goes on from there.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Inner, Shell, Work};
use crate::{
    core::{Effect, record::Write},
    server::status::Unavailable,
    store::StoreError,
};

/// Between two tries to write what the store has refused.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);
/// One try in as many is told.
const STORE_RETRIES_TOLD: u32 = 60;

/// What the store has refused: a step, or the artifacts of one to come. Nothing of it was acknowledged, and nothing else is done before
/// it is taken.
#[derive(Default)]
pub(super) struct Refused {
    pub writes: Vec<Write>,
    pub artifacts: Vec<Vec<u8>>,
}

/// What is waited for.
pub(super) struct Suspended {
    refused: Arc<Refused>,
    effects: Vec<Effect>,
    error: StoreError,
}

impl Suspended {
    pub(super) fn new(refused: Refused, effects: Vec<Effect>, error: StoreError) -> Self {
        Self {
            refused: Arc::new(refused),
            effects,
            error,
        }
    }

    /// Why it is waited.
    pub(super) fn into_error(self) -> StoreError {
        self.error
    }
}

impl Shell {
    /// Why the store is waited for, if it is.
    pub(in crate::server) fn suspension(&self) -> Option<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .suspended
            .as_ref()
            .map(|suspended| suspended.error.to_string())
    }

    /// Says whether the store is waited for, at each change.
    pub(in crate::server) fn suspensions(&self) -> watch::Receiver<bool> {
        self.suspended.subscribe()
    }

    /// Writes what the store has refused as soon as it takes it, until the coordinator stops.
    pub(in crate::server) async fn keep_store(self: Arc<Self>) {
        let mut suspended = self.suspended.subscribe();
        let mut tries = 0;
        loop {
            let waiting = async {
                // The sender lives as long as the shell.
                let _ = suspended.wait_for(|suspended| *suspended).await;
                tokio::time::sleep(STORE_RETRY).await;
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = waiting => {}
            }
            tries += 1;
            let told = tries % STORE_RETRIES_TOLD == 0;
            if matches!(self.run(move |shell| shell.resume(told)).await, Ok(true)) {
                tries = 0;
            }
        }
    }

    /// Tries to write what the store has refused, and goes on if that succeeds.
    pub(in crate::server) fn resume(&self, told: bool) -> bool {
        let Some(refused) = self.refused() else {
            return true;
        };
        // Artifacts may have a long way. Nothing else changes meanwhile, and whoever looks is not kept waiting.
        let store = self.store();
        let ready = store.recover().and_then(|()| self.put_again(&refused));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ready.and_then(|()| store.commit(&refused.writes)) {
            if told {
                tracing::warn!(%error, "the store still refuses");
            }
            if !error.may_pass() {
                self.stop_for(&mut inner, error);
            }
            return false;
        }
        tracing::info!("the store takes writes again");
        let effects = inner
            .suspended
            .take()
            .map_or(Vec::new(), |suspended| suspended.effects);
        for effect in effects {
            inner.perform(effect);
        }
        self.timer.send_replace(inner.core.next_timer());
        let closing = std::mem::take(&mut inner.closing);
        drop(inner);
        self.suspended.send_replace(false);
        closing
            .into_iter()
            .for_each(|session| self.close_session(session));
        true
    }

    /// What the store has refused, if it has.
    fn refused(&self) -> Option<Arc<Refused>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let suspended = inner.suspended.as_ref();
        suspended.map(|suspended| Arc::clone(&suspended.refused))
    }

    /// Puts the artifacts of what was refused.
    fn put_again(&self, refused: &Refused) -> Result<(), StoreError> {
        let written = refused.writes.iter().filter_map(|write| match write {
            Write::Artifact(_, bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        let artifacts: Vec<&[u8]> = refused
            .artifacts
            .iter()
            .map(Vec::as_slice)
            .chain(written)
            .collect();
        self.store().put(&artifacts)
    }

    /// Puts the artifacts of a step that comes, without holding up others for as long as that takes.
    pub(super) fn put(&self, artifacts: &[&[u8]]) -> Result<(), Unavailable> {
        // Where the store is waited for already, it is not asked.
        drop(self.lock()?);
        let put = self.meters.time(Work::Put, || self.store().put(artifacts));
        put.map_err(|error| self.store_failed(error, artifacts.iter().map(|bytes| bytes.to_vec()).collect()))
    }

    /// Where an artifact lies.
    #[cfg(test)]
    pub(in crate::server) fn location(
        &self,
        key: crate::core::record::ArtifactKey,
    ) -> Result<Option<String>, StoreError> {
        self.store().location(key)
    }

    /// Deletes artifacts that nothing needs, now and then, until the coordinator stops.
    pub(in crate::server) async fn keep_artifacts(self: Arc<Self>, every: Duration) {
        loop {
            if let Ok(Err(error)) = self.run(|shell| shell.collect()).await {
                tracing::warn!(%error, "artifacts that nothing needs are not collected now");
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Only whoever leads collects.
    fn collect(&self) -> Result<(), StoreError> {
        match self.standing.leads() {
            true => self.store().collect(),
            false => Ok(()),
        }
    }

    /// Ends the process for an error of the store that will not pass.
    pub(super) fn stop_for(&self, inner: &mut Inner, error: StoreError) {
        tracing::error!(%error, "the store fails; stopping");
        inner.failure = Some(error);
        self.stopping.cancel();
    }

    pub(super) fn suspend(&self, inner: &mut Inner, suspended: Suspended) {
        tracing::error!(error = %suspended.error, "the store refuses; nothing is done until it takes writes again");
        inner.suspended = Some(suspended);
        self.suspended.send_replace(true);
    }

    /// Stops because the store holds something that it should not, or waits where it cannot be read, or does not take `artifacts`.
    pub(super) fn store_failed(&self, error: StoreError, artifacts: Vec<Vec<u8>>) -> Unavailable {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !error.may_pass() {
            self.stop_for(&mut inner, error);
            return Unavailable::Stopping;
        }
        if inner.suspended.is_none() {
            let refused = Refused {
                artifacts,
                ..Refused::default()
            };
            let suspended = Suspended::new(refused, Vec::new(), error);
            self.suspend(&mut inner, suspended);
        }
        Unavailable::Store
    }
}
