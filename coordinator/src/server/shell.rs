//! The core with its store, clock and connections: commits what a step writes, then does what it asks for.
//!
//! Everything here blocks for as long as a disk does, so calls go through [`Shell::run`]. The core may be ahead of the store, but nobody is
//! told what is not stored. Where a commit fails and that may pass (a full disk, no file descriptors left), the shell refuses everything
//! until the store takes the same writes, and goes on from there; otherwise the process ends, to resume from the store.

mod clock;
mod commits;
mod damage;
mod look;
mod meters;
mod proofs;
mod rollback;
mod rollups;
mod traces;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use proto::v1;
use rules::{batch::Batch, field, state::State};
use telemetry::traces::now_ns;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

pub(crate) use self::clock::Clock;
use self::{
    commits::{After, Group, Groups, Outcome},
    traces::{Submitted, Telling},
    waiting::{STORE_RETRY, Suspended},
};
pub(super) use self::{
    damage::Unread,
    look::age_ms,
    meters::{Meters, Work},
    rollback::{CancelFailure, RetryFailure, RollbackFailure},
    rollups::RollupFailure,
};
use super::{standby::Follower, standing::Standing, status::Unavailable, told::Told};
use crate::{
    core::{
        Core, Effect, HEARTBEAT_MS, Output,
        chain::{SubmitError, is_same},
        id::{
            BatchId, Fence, Instance, KeyId, RollupNumber, SessionId, StateRoot, TaskId, TaskKind, UnixMs,
            WorkerId,
        },
        record::BatchRecord,
        rollup::RollupRecord,
        session::SessionRefused,
    },
    execution::{ExecutionError, Origin, decode_undo, prepare},
    keyring::Keyring,
    store::{Store, StoreError},
};

/// Messages that may wait for a session's writer.
pub(super) const OUTBOUND_MAX: usize = 256;

/// Causes of workers' log lines that are told apart: each worker that there may be has one at a time.
const WORKER_CAUSES_MAX: usize = 1_024;
/// Something to be sent to a worker.
#[derive(Debug)]
pub(super) enum Outbound {
    /// As it is.
    Message(v1::session_response::Message),
    /// A task, whose payload is read when its turn comes.
    Grant {
        /// The task.
        task: TaskId,
        /// Of the lease.
        fence: Fence,
    },
}

/// A session, a way to queue messages that ends with the session, and the queue.
pub(super) type SessionQueue = (SessionId, mpsc::WeakSender<Outbound>, mpsc::Receiver<Outbound>);

/// Why a batch was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubmitFailure {
    /// By the chain.
    #[error(transparent)]
    Chain(#[from] SubmitError),
    /// By its execution.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The coordinator is stopping.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

struct Inner {
    core: Core,
    sessions: HashMap<SessionId, mpsc::Sender<Outbound>>,
    watchers: HashMap<BatchId, watch::Sender<()>>,
    /// Steps that are not stored yet.
    groups: Groups,
    failure: Option<StoreError>,
    suspended: Option<Suspended>,
    /// Sessions that ended meanwhile.
    closing: Vec<SessionId>,
}

/// The rollups' states.
pub(super) type Ledgers = BTreeMap<RollupNumber, Arc<Mutex<State>>>;

pub(crate) struct Shell {
    inner: Mutex<Inner>,
    /// Held by whoever has the store take a group of steps. Locked before `inner`.
    committing: Mutex<()>,
    /// The state of each rollup after its last accepted batch. One is locked before `inner`, and for as long as a batch is appended or
    /// taken back.
    ledgers: RwLock<Ledgers>,
    store: RwLock<Arc<dyn Store>>,
    /// Locked for as long as a rollup is being made.
    making: Mutex<()>,
    /// Whether another coordinator leads: then nothing is changed here.
    standing: Arc<Standing>,
    /// What sees what that one writes; none where the store is this one's alone.
    follower: OnceLock<Arc<Follower>>,
    keyring: Arc<Keyring>,
    clock: Clock,
    timer: watch::Sender<Option<UnixMs>>,
    stopping: CancellationToken,
    /// What workers cause log lines by, as often as they like.
    told: Told,
    /// What the work here takes.
    meters: Meters,
    /// Where it is told what comes to pass.
    telling: Telling,
    /// What workers say of their devices, by session. Locked after `inner`.
    devices: Mutex<HashMap<SessionId, String>>,
    /// Whether the store is waited for.
    suspended: watch::Sender<bool>,
    /// Everything that uses the shell beside the server: when it is empty the store can be let go.
    tasks: TaskTracker,
}

impl Shell {
    pub(crate) fn new(
        core: Core,
        states: BTreeMap<RollupNumber, State>,
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        clock: Clock,
    ) -> Self {
        let timer = watch::Sender::new(core.next_timer());
        let inner = Inner {
            core,
            sessions: HashMap::new(),
            watchers: HashMap::new(),
            groups: Groups::default(),
            failure: None,
            suspended: None,
            closing: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
            committing: Mutex::default(),
            ledgers: RwLock::new(ledgers(states)),
            store: RwLock::new(store),
            making: Mutex::default(),
            standing: Arc::default(),
            follower: OnceLock::new(),
            keyring,
            clock,
            timer,
            stopping: CancellationToken::new(),
            told: Told::of(WORKER_CAUSES_MAX),
            meters: Meters::default(),
            telling: Telling::default(),
            devices: Mutex::default(),
            suspended: watch::Sender::new(false),
            tasks: TaskTracker::new(),
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says how to see what another coordinator writes.
    pub(super) fn follow_by(&self, follower: Arc<Follower>) {
        let set = self.follower.set(follower);
        debug_assert!(set.is_ok(), "it is said once");
    }

    /// Whether another coordinator leads.
    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Whether this coordinator leads, and nobody else can by now.
    pub(super) fn certainly_leads(&self) -> bool {
        self.standing.leads() && self.store().is_current()
    }

    /// Takes over what another coordinator has come to, for those who read.
    pub(super) fn mirror(&self, core: Core, store: Arc<dyn Store>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.core = core;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        inner.wake_all();
    }

    /// Begins to lead, with what the store has.
    pub(super) fn lead(&self, core: Core, states: BTreeMap<RollupNumber, State>, store: Arc<dyn Store>) {
        let mut all = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *all = ledgers(states);
        inner.core = core;
        self.follow_core(&mut inner.core);
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.standing.set(None);
        inner.wake_all();
        self.timer.send_replace(inner.core.next_timer());
    }

    /// Ends the process's service, since another coordinator leads, or the store is none that it could lead with.
    pub(super) fn end_with(&self, error: StoreError) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failure.is_none() {
            self.stop_for(&mut inner, error);
        }
    }

    /// Runs something that blocks where it may, to its end even if the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let shell = Arc::clone(self);
        self.tasks
            .spawn_blocking(move || work(&shell))
            .await
            .map_err(|error| {
                tracing::error!(%error, "a request ended in a panic");
                Status::internal("a defect of the coordinator; see its log")
            })
    }

    /// The clock.
    pub(super) fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// What time it is, Unix seconds.
    pub(super) fn now_unix_s(&self) -> u64 {
        self.clock.system_unix_s()
    }

    /// Where tasks that outlive a call are spawned.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Fires when the coordinator begins to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Whether a log line is to be written of what a worker caused, and how often it did so since the last one.
    pub(super) fn told(&self, cause: &str) -> Option<u64> {
        self.told.note(cause, std::time::Instant::now())
    }

    /// Begins to stop: no more work is taken or given out.
    pub(super) fn stop(&self) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.core.stop();
        }
        self.stopping.cancel();
    }

    /// Why the shell had to stop by itself, or why its last step was never stored.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let suspended = inner.suspended.take().map(Suspended::into_error);
        inner.failure.take().or(suspended)
    }

    /// Ends leases as their time comes, until the coordinator stops. A heartbeat tells when it stood still meanwhile.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut timer = self.timer.subscribe();
        let mut alive = self.clock.now();
        loop {
            let heartbeat = alive.after(HEARTBEAT_MS);
            let next = timer
                .borrow_and_update()
                .map_or(heartbeat, |at| at.min(heartbeat));
            let wait = Duration::from_millis(self.clock.now().until(next));
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = timer.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {
                    let tick = self.run(move |shell| shell.step(|core, now| ((), core.heartbeat(alive, now)))).await;
                    match tick {
                        Ok(Ok(())) => alive = self.clock.now(),
                        Ok(Err(Unavailable::Store)) => tokio::time::sleep(STORE_RETRY).await,
                        // It did not stand still; there was nothing for it to do.
                        Ok(Err(Unavailable::StandsBy)) => alive = self.clock.now(),
                        Ok(Err(Unavailable::Stopping)) | Err(_) => return,
                    }
                }
            }
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, Unavailable> {
        match self.inner.lock() {
            Ok(inner) if inner.failure.is_some() || inner.groups.is_lost => Err(Unavailable::Stopping),
            Ok(inner) if inner.suspended.is_some() => Err(Unavailable::Store),
            Ok(inner) => Ok(inner),
            Err(_) => {
                // A step that panicked may have changed the core without writing.
                tracing::error!("a step of the coordinator panicked; stopping");
                self.stopping.cancel();
                Err(Unavailable::Stopping)
            }
        }
    }

    /// A rollup's state; none where another coordinator leads, or there is no such rollup any more.
    fn ledger(&self, rollup: RollupNumber) -> Option<Arc<Mutex<State>>> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        ledgers.get(&rollup).cloned()
    }

    fn lock_ledger<'a>(&self, ledger: &'a Mutex<State>) -> Result<MutexGuard<'a, State>, Unavailable> {
        ledger.lock().map_err(|_| {
            tracing::error!("an execution panicked; stopping");
            self.stopping.cancel();
            Unavailable::Stopping
        })
    }

    /// Reads the core: nothing older than what was acknowledged before, whoever leads.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Core) -> T) -> Result<T, Unavailable> {
        if let Some(follower) = self.follower.get()
            && !self.standing.leads()
        {
            follower.refresh(self).map_err(|error| {
                if let Some(more) = self.told("the shared store") {
                    tracing::warn!(%error, more, "the shared store is not seen; reads are refused");
                }
                Unavailable::Store
            })?;
        } else if !self.store().is_current() {
            return Err(Unavailable::Store);
        }
        let inner = self.lock()?;
        let seen = read(&inner.core);
        Self::settled(inner)?;
        Ok(seen)
    }

    /// A batch, retired or not.
    pub(super) fn batch(&self, id: BatchId) -> Result<Option<BatchRecord>, Unavailable> {
        let (known, may_be) = self.read(|core| (core.batch(id).cloned(), core.was_accepted(id)))?;
        // One that was retired meanwhile is stored as such.
        let found = match known {
            None if may_be => {
                let retired = self.store().retired(id);
                retired.map_err(|error| self.store_failed(error, Vec::new()))?
            }
            known => known,
        };
        let Some(found) = found else { return Ok(None) };
        // One of a rollup that was deleted is nobody's any more, though it may not be removed yet.
        let is_there = |core: &Core| core.rollup(found.rollup).is_some_and(RollupRecord::is_live);
        Ok(self.read(is_there)?.then_some(found))
    }

    /// One step: the core moves, the store commits, together with other steps, and the effects are performed.
    pub(super) fn step<T>(
        &self,
        step: impl FnOnce(&mut Core, UnixMs) -> (T, Output),
    ) -> Result<T, Unavailable> {
        match self.advance(step)? {
            (answer, true) => Ok(answer),
            (_, false) => Err(Unavailable::Store),
        }
    }

    /// The same, for callers who must know that the core has moved though the store did not take it yet (`false`): it will,
    /// before anything else.
    fn advance<T>(
        &self,
        step: impl FnOnce(&mut Core, UnixMs) -> (T, Output),
    ) -> Result<(T, bool), Unavailable> {
        self.advance_with(|inner, now| step(&mut inner.core, now))
    }

    /// The same, of more than the core.
    fn advance_with<T>(
        &self,
        step: impl FnOnce(&mut Inner, UnixMs) -> (T, Output),
    ) -> Result<(T, bool), Unavailable> {
        let mut inner = self.lock()?;
        if !self.standing.leads() {
            return Err(Unavailable::StandsBy);
        }
        let now = self.clock.now();
        inner.core.heed_system_clock(now, self.clock.system_unix_s());
        let (answer, Output { writes, effects }) = step(&mut inner, now);
        let spans = self.spans_of_ended(&mut inner.core);
        self.timer.send_replace(inner.core.next_timer());
        let after = After { effects, spans };
        match self.settle(inner, Group { writes, after }) {
            Outcome::Stored => Ok((answer, true)),
            Outcome::Suspended => Ok((answer, false)),
            Outcome::Stopped => Err(Unavailable::Stopping),
        }
    }

    /// A receiver that wakes at each change of a batch.
    pub(super) fn watch(&self, batch: BatchId) -> Result<watch::Receiver<()>, Unavailable> {
        let mut inner = self.lock()?;
        Ok(inner
            .watchers
            .entry(batch)
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe())
    }

    /// Forgets the senders that nobody listens to.
    pub(super) fn unwatch(&self, batch: BatchId) {
        if let Ok(mut inner) = self.inner.lock()
            && inner
                .watchers
                .get(&batch)
                .is_some_and(|sender| sender.receiver_count() == 0)
        {
            inner.watchers.remove(&batch);
        }
    }

    /// Opens a worker's session: its name, where to queue messages for it, and where they come out.
    pub(super) fn open_session(
        &self,
        worker: WorkerId,
        instance: Option<Instance>,
        capabilities: BTreeSet<TaskKind>,
        keys: KeyId,
    ) -> Result<Result<SessionQueue, SessionRefused>, Unavailable> {
        // Whether what it gave others to do is stored yet does not matter to the session.
        let (opened, _) = self.advance_with(|inner, now| {
            match inner.core.open_session(now, worker, instance, capabilities, keys) {
                Ok((id, output)) => {
                    let (sender, receiver) = mpsc::channel(OUTBOUND_MAX);
                    let queue = sender.downgrade();
                    inner.sessions.insert(id, sender);
                    (Ok((id, queue, receiver)), output)
                }
                Err(error) => (Err(error), Output::default()),
            }
        })?;
        Ok(opened)
    }

    /// Whether a session was not closed for another of the same worker.
    pub(super) fn is_open(&self, id: SessionId) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.core.is_open(id)
    }

    /// Ends a session.
    pub(super) fn close_session(&self, id: SessionId) {
        self.devices().remove(&id);
        if let Ok(mut inner) = self.inner.lock() {
            inner.sessions.remove(&id);
            if inner.suspended.is_some() {
                inner.closing.push(id);
                return;
            }
        }
        // When the coordinator stops, its sessions are forgotten with it.
        let _ = self.step(|core, now| ((), core.close_session(now, id)));
    }

    /// Executes a batch on its rollup's ledger and appends it to the chain. The flag says that it was there already.
    pub(super) fn submit(
        &self,
        rollup: RollupNumber,
        batch: &Batch,
        origin: Origin,
    ) -> Result<(BatchId, bool), SubmitFailure> {
        let began = now_ns();
        let ledger = self.ledger(rollup).ok_or(SubmitError::NoRollup)?;
        let mut ledger = self.lock_ledger(&ledger)?;
        let Origin {
            tenant,
            request_id,
            sha256,
            ..
        } = &origin;
        let known = self.read(|core| core.existing(rollup, tenant, request_id, sha256))??;
        let known = match known {
            Some(id) => Some(id),
            None => {
                let retired = self.store().requested(rollup, tenant, request_id);
                let retired = retired.map_err(|error| self.store_failed(error, Vec::new()))?;
                retired.map(|batch| is_same(&batch, sha256)).transpose()?
            }
        };
        if let Some(id) = known {
            return Ok((id, true));
        }
        let old_root = StateRoot(field::to_be(&batch.old_root));
        self.read(|core| core.admit(rollup, tenant, batch.number, old_root, batch.time))??;
        let current = &self.keyring.current;
        let executing = || {
            prepare(
                &mut ledger,
                &self.keyring.preset,
                batch,
                rollup,
                current.id(),
                origin,
            )
        };
        let executing_ns = now_ns();
        let submission = self.meters.time(Work::Execution, executing)?;
        let executed = now_ns();
        let undo = decode_undo(&submission.undo).expect("it was encoded by the execution");
        if let Err(error) = self.put(&submission.artifacts()) {
            ledger.set(&undo);
            return Err(error.into());
        }
        let committing = now_ns();
        let appended = self.advance(|core, now| match core.submit(now, submission) {
            Ok((id, existed, output)) => (Ok((id, existed)), output),
            Err(error) => (Err(error), Output::default()),
        });
        let refused = match appended {
            Ok((Ok((id, existed)), true)) => {
                if !existed {
                    let executing = executing_ns;
                    self.tell_submission(
                        id,
                        Submitted {
                            began,
                            executing,
                            executed,
                            committing,
                        },
                    );
                }
                return Ok((id, existed));
            }
            // It is in the chain, and acknowledged when the caller asks again.
            Ok((Ok(_), false)) => return Err(Unavailable::Store.into()),
            Ok((Err(error), _)) => error.into(),
            Err(error) => error.into(),
        };
        // The ledger's lock keeps what was admitted admissible, but the core may have come to a stop.
        ledger.set(&undo);
        Err(refused)
    }
}

fn ledgers(states: BTreeMap<RollupNumber, State>) -> Ledgers {
    let locked = |(rollup, state)| (rollup, Arc::new(Mutex::new(state)));
    states.into_iter().map(locked).collect()
}

impl Inner {
    /// Wakes all that watch a batch.
    fn wake_all(&self) {
        for watcher in self.watchers.values() {
            watcher.send_replace(());
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Grant { session, task, fence } => self.send(session, Outbound::Grant { task, fence }),
            Effect::LeaseLost {
                session,
                task,
                fence,
                end,
            } => {
                let lost = v1::LeaseLost {
                    task_id: task.to_string(),
                    fence: fence.0,
                    reason: end.to_string(),
                    unneeded: end.is_unneeded(),
                };
                self.send(
                    session,
                    Outbound::Message(v1::session_response::Message::LeaseLost(lost)),
                );
            }
            // Without a sender its writer ends, and with that the stream.
            Effect::Close(session) => drop(self.sessions.remove(&session)),
            Effect::Drain(session) => {
                let drain = v1::session_response::Message::WorkerDrain(v1::WorkerDrain {});
                self.send(session, Outbound::Message(drain));
            }
            Effect::Changed(batch) => {
                if let Some(sender) = self.watchers.get(&batch) {
                    sender.send_replace(());
                }
            }
        }
    }

    /// Queues a message for a worker. A worker that does not read is cut off: without a sender its writer ends.
    fn send(&mut self, session: SessionId, message: Outbound) {
        if let Some(sender) = self.sessions.get(&session)
            && sender.try_send(message).is_err()
        {
            tracing::warn!(
                session = session.0,
                "a worker does not read its messages; closing"
            );
            self.sessions.remove(&session);
        }
    }
}

/// The answer and the output of a step that may be refused.
pub(super) fn split<E>(result: Result<Output, E>) -> (Result<(), E>, Output) {
    match result {
        Ok(output) => (Ok(()), output),
        Err(error) => (Err(error), Output::default()),
    }
}
