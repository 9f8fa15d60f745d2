//! What becomes of a store that refuses: everything waits until it takes what it has refused, and goes on from there.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Inner, Shell, Work, commits::After};
use crate::{core::record::Write, server::status::Unavailable, store::StoreError};

/// Between two tries to write what the store has refused.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);
/// One try in as many is told.
const STORE_RETRIES_TOLD: u32 = 60;

/// What is waited for: what the store has refused. Nothing of it was acknowledged, and nothing else is done before it is taken.
pub(super) struct Suspended {
    /// Of steps to come.
    artifacts: Arc<Vec<Vec<u8>>>,
    /// What steps write. It may be that the first is stored: only the same again, and alone, tells.
    groups: VecDeque<(Arc<Vec<Write>>, After)>,
    error: StoreError,
}

impl Suspended {
    /// Adds what steps write that were made before it was known.
    pub(super) fn refused(&mut self, writes: Vec<Write>, after: After) {
        self.groups.push_back((Arc::new(writes), after));
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
        if !*self.suspended.borrow() {
            return true;
        }
        // Artifacts may have a long way. Nothing else changes meanwhile, and whoever looks is not kept waiting.
        let ready = self.store().recover().and_then(|()| self.put_again());
        let turn = self.turn();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ready.and_then(|()| self.commit_refused(&mut inner)) {
            if told {
                tracing::warn!(%error, "the store still refuses");
            }
            if !error.may_pass() {
                self.stop_for(&mut inner, error);
            }
            return false;
        }
        tracing::info!("the store takes writes again");
        inner.suspended = None;
        self.timer.send_replace(inner.core.next_timer());
        let closing = std::mem::take(&mut inner.closing);
        // While nobody can suspend it anew: what is said last is so.
        self.suspended.send_replace(false);
        drop(inner);
        // Whoever closes a session may have something to commit.
        drop(turn);
        closing
            .into_iter()
            .for_each(|session| self.close_session(session));
        true
    }

    /// Commits what the store has refused, each group by itself.
    fn commit_refused(&self, inner: &mut Inner) -> Result<(), StoreError> {
        while let Some(suspended) = &mut inner.suspended
            && let Some((writes, _)) = suspended.groups.front()
        {
            self.commit(writes)?;
            if let Some((_, after)) = suspended.groups.pop_front() {
                self.perform(inner, after);
            }
        }
        Ok(())
    }

    /// Puts the artifacts of what was refused.
    fn put_again(&self) -> Result<(), StoreError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(suspended) = &inner.suspended else {
            return Ok(());
        };
        let loose = Arc::clone(&suspended.artifacts);
        let groups: Vec<_> = suspended
            .groups
            .iter()
            .map(|(writes, _)| Arc::clone(writes))
            .collect();
        drop(inner);
        let written = groups.iter().flat_map(|writes| writes.iter());
        let written = written.filter_map(|write| match write {
            Write::Artifact(_, bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        let artifacts: Vec<&[u8]> = loose.iter().map(Vec::as_slice).chain(written).collect();
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

    /// Has everything wait until the store takes writes again.
    pub(super) fn suspend(&self, inner: &mut Inner, error: StoreError) {
        self.suspend_with(inner, error, Vec::new());
    }

    fn suspend_with(&self, inner: &mut Inner, error: StoreError, artifacts: Vec<Vec<u8>>) {
        if inner.suspended.is_some() {
            return;
        }
        tracing::error!(%error, "the store refuses; nothing is done until it takes writes again");
        inner.suspended = Some(Suspended {
            artifacts: Arc::new(artifacts),
            groups: VecDeque::new(),
            error,
        });
        self.suspended.send_replace(true);
    }

    /// Stops because the store holds something that it should not, or waits where it cannot be read, or does not take `artifacts`.
    pub(super) fn store_failed(&self, error: StoreError, artifacts: Vec<Vec<u8>>) -> Unavailable {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !error.may_pass() {
            self.stop_for(&mut inner, error);
            return Unavailable::Stopping;
        }
        self.suspend_with(&mut inner, error, artifacts);
        Unavailable::Store
    }
}
