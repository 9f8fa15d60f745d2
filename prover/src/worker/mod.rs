//! The worker process: takes tasks from a coordinator, proves them, and hands the proofs back.
//!
//! The session thread has an async runtime of its own that does nothing but the session: what is sent on it, renewals
//! above all, waits for no computation. Proofs are made in a process of their own ([`Place::Process`], [`serve`]), which
//! is replaced when it ends; a watchdog on the session thread looks whether it still works (`watchdog`).

mod child;
mod faults;
mod ledger;
mod meters;
mod process;
mod proving;
mod session;
mod spans;
mod watchdog;
mod wire;

pub use child::serve;
pub use meters::{METRICS, Meters};

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use accel::machine::Process;
use proto::connection::{ConnectError, Connector};
use proto::v1::session_response::Message as FromCoordinator;
use proto::v1::{Device, Hello, TaskKind};
use rand::Rng;
use serde::{Deserialize, Serialize};
use telemetry::traces::Traces;
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::engine::{FailureClass, Pipeline};
use ledger::{Job, LeaseId, Ledger, Outcome};
use proving::{Abandoned, Event, TaskEvent};
use session::{Ended, Session};
use spans::Spans;
use watchdog::Watchdog;

/// First pause before a reconnection; it doubles with each failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause before a reconnection.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest time that a worker without a device goes on to deliver what it owes.
const OUT_OF_SERVICE_MAX: Duration = Duration::from_secs(60);
/// Between two log lines that say the same of why there is no session.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// A proof that was not judged after this many renewal periods is reported again on the same session.
const REMIND_PERIODS: u32 = 5;

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The coordinator. Each session begins with the certificates and the token that lie there then.
    pub coordinator: Connector,
    /// The worker's name, 1 to 128 characters. The same over restarts; different between workers.
    pub name: String,
    /// Version of the protocol that the engine proves.
    pub protocol_version: u32,
    /// Digest of the shard verifying key.
    pub shard_vk_digest: [u8; 32],
    /// Digest of the aggregation verifying key.
    pub aggregation_vk_digest: [u8; 32],
    /// Host memory that tasks may use, bytes.
    pub memory_bytes: u64,
    /// Tasks to hold beside the one that is proven, so that their witnesses are computed meanwhile, one after the other. None:
    /// 1 where the device has memory of its own, else 0, since there the two would compete for the same processors.
    pub ahead: Option<usize>,
    /// Longest time that a task may stand still before its prover process is killed.
    pub stall_max: Duration,
    /// Longest time that a task may stay in one phase, however busy: a device that never answers keeps a core spinning.
    pub phase_max: Duration,
    /// Longest time from the shutdown signal until the last proof is delivered.
    pub drain_max: Duration,
    /// How long another worker may have this one's name before this one ends: longer than a coordinator takes to notice that
    /// the connection of an earlier run is dead.
    pub name_taken_max: Duration,
    /// Told whether the worker is ready: its device passed its checks, a session is open, and it does not drain.
    pub ready: watch::Sender<bool>,
    /// Where it is counted what the worker does.
    pub meters: Meters,
    /// Where it is told what becomes of its tasks, as spans of traces.
    pub traces: Traces,
}

/// A device that passed its checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Such as `cpu` or `CUDA:0`. At most 128 characters.
    pub name: String,
    /// Its own memory in bytes; 0 for a CPU.
    pub memory_bytes: u64,
    /// Whether the shard circuit fits into its memory.
    pub proves_shards: bool,
    /// Whether the aggregation circuit does.
    pub proves_aggregations: bool,
}

/// Where a worker proves.
pub enum Place {
    /// In a process that this command starts, which calls [`serve`].
    Process(Command),
    /// In threads of this process. What ends the process then ends the worker, and a task that hangs cannot be ended alone.
    Threads(DeviceInfo, Starter),
}

/// Starts the threads of [`Place::Threads`].
pub struct Starter(StartThreads);

type StartThreads = Box<
    dyn FnOnce(mpsc::Receiver<Job>, &Abandoned, async_mpsc::UnboundedSender<Event>) -> std::io::Result<()>
        + Send,
>;

impl Place {
    /// In threads of this process.
    pub fn threads(pipeline: impl Pipeline, info: DeviceInfo) -> Self {
        let start = |jobs, abandoned: &Abandoned, events| proving::start(pipeline, jobs, abandoned, events);
        Place::Threads(info, Starter(Box::new(start)))
    }

    fn start(self, events: async_mpsc::UnboundedSender<Event>) -> Result<(Prover, DeviceInfo), WorkerError> {
        match self {
            Place::Process(command) => {
                let (handle, info) = process::start(command, events)?;
                Ok((Prover::Process(handle), info))
            }
            Place::Threads(info, start) => {
                let (jobs, queue) = mpsc::channel();
                let abandoned = Abandoned::default();
                // The threads are not joined: they end when this sender is dropped.
                start.0(queue, &abandoned, events).map_err(WorkerError::Thread)?;
                Ok((Prover::Threads(jobs, abandoned), info))
            }
        }
    }
}

/// Takes the worker's tasks.
enum Prover {
    Process(process::Handle),
    Threads(mpsc::Sender<Job>, Abandoned),
}

impl Prover {
    fn job(&self, job: Job) {
        match self {
            Prover::Process(handle) => handle.job(job),
            // Threads that died of a defect say nothing more, and the watchdog ends the worker.
            Prover::Threads(jobs, _) => drop(jobs.send(job)),
        }
    }

    /// Ends the work on a task at its next phase. A process that comes to none soon is replaced; threads cannot be.
    fn abandon(&self, lease: LeaseId) {
        match self {
            Prover::Process(handle) => handle.abandon(lease),
            Prover::Threads(_, abandoned) => abandoned.add(lease),
        }
    }

    /// The process that proves.
    fn pid(&self) -> u32 {
        match self {
            Prover::Process(handle) => handle.pid(),
            Prover::Threads(..) => std::process::id(),
        }
    }

    /// Processor time that proving has used, in clock ticks.
    fn cpu_ticks(&self) -> Option<u64> {
        Some(Process::of(self.pid())?.cpu_ticks)
    }
}

/// Why a worker ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A thread or its runtime cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The coordinator does not want this worker: it has other keys or rules.
    #[error("the coordinator refuses this worker: {reason}")]
    Refused {
        /// What the coordinator said.
        reason: String,
    },
    /// No connection to the coordinator can come about, and waiting would not change that.
    #[error(transparent)]
    Connection(ConnectError),
    /// The prover process cannot be started, its keys cannot be opened, or its device cannot be used.
    #[error("cannot prove here: {0}")]
    Device(String),
    /// The device failed again and again. What was in hand has been given back.
    #[error("the device is out of service: {0}")]
    OutOfService(String),
    /// The task stood still in a thread of this process; threads that hang cannot be ended.
    #[error("the task in hand has made no progress for {0:?}")]
    Stalled(Duration),
    /// A proof could not be delivered in time after the shutdown signal.
    #[error("the shutdown took longer than {0:?}; what was being proven is lost")]
    DrainTimeout(Duration),
    /// One of the worker's own threads panicked outside a task.
    #[error("a thread of the worker panicked")]
    ThreadDied,
}

/// Works until `shutdown` completes; then finishes and delivers the tasks at hand, takes no more, and returns.
///
/// # Errors
/// When the worker cannot start, is refused, stands still, or its device fails again and again; a failed task is no error
/// of the worker.
pub async fn run(
    config: WorkerConfig,
    place: Place,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    tokio::pin!(shutdown);
    let (event_queue, events) = async_mpsc::unbounded_channel();
    let starting = tokio::task::spawn_blocking(move || place.start(event_queue));
    let (prover, device) = tokio::select! {
        started = starting => started.map_err(|_| WorkerError::ThreadDied)??,
        () = &mut shutdown => return Ok(()),
    };
    tracing::info!(device = %device.name, memory = device.memory_bytes, "the device is ready");
    config.meters.prover(prover.pid());

    let ahead = config.ahead.unwrap_or(usize::from(device.memory_bytes > 0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(WorkerError::Thread)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (done, result) = oneshot::channel();
    let keeper = Keeper {
        watchdog: Watchdog::new(config.stall_max, config.phase_max),
        ledger: Ledger::new(ahead),
        spans: Spans::new(config.traces.clone()),
        config,
        device,
        prover,
        events,
        instance: rand::thread_rng().gen_range(1..=u64::MAX),
        name_taken: None,
        connected: false,
        told: None,
        stop: Some(stopped),
        drain_until: None,
        out_of_service: None,
    };
    thread::Builder::new()
        .name("session".into())
        .spawn(move || {
            // The receiver is gone only when the caller has dropped the future of `run`.
            let _ = done.send(runtime.block_on(keeper.keep()));
        })
        .map_err(WorkerError::Thread)?;

    tokio::pin!(result);
    tokio::select! {
        result = &mut result => return result.map_err(|_| WorkerError::ThreadDied)?,
        () = &mut shutdown => drop(stop),
    }
    result.await.map_err(|_| WorkerError::ThreadDied)?
}

/// The session thread: keeps a session open, and the leases alive on it.
struct Keeper {
    config: WorkerConfig,
    ledger: Ledger,
    spans: Spans,
    watchdog: Watchdog,
    device: DeviceInfo,
    prover: Prover,
    events: async_mpsc::UnboundedReceiver<Event>,
    /// Tells this run of the program from another under the same name.
    instance: u64,
    /// Since when another worker has the name.
    name_taken: Option<Instant>,
    /// Whether there ever was a session.
    connected: bool,
    /// Why there was none when that was logged last, and when.
    told: Option<(String, Instant)>,
    /// Ends (its sender is dropped) when the worker shall drain; taken then.
    stop: Option<oneshot::Receiver<()>>,
    drain_until: Option<Instant>,
    /// Why the device was given up; the worker then delivers what it owes, and ends.
    out_of_service: Option<String>,
}

impl Keeper {
    async fn keep(mut self) -> Result<(), WorkerError> {
        let result = self.keep_sessions().await;
        match self.out_of_service {
            // Whatever else went wrong meanwhile, this is why the worker ends.
            Some(reason) => Err(WorkerError::OutOfService(reason)),
            None => result,
        }
    }

    async fn keep_sessions(&mut self) -> Result<(), WorkerError> {
        let mut failures = 0;
        while !self.is_done() {
            let started = Instant::now();
            let hello = self.hello();
            let opened = tokio::select! {
                opened = Session::open(&self.config.coordinator, hello) => opened,
                () = stopping(&mut self.stop) => {
                    // A worker that owes nothing does not wait for a coordinator that says nothing.
                    self.drain();
                    continue;
                }
            };
            match opened {
                Ok(session) => {
                    tracing::info!(session = session.welcome.session_id, preset = %session.welcome.preset, "session open");
                    (self.connected, self.told) = (true, None);
                    self.config.ready.send_replace(self.drain_until.is_none());
                    self.config.meters.connected(true);
                    let ended = self.serve(session).await;
                    self.config.ready.send_replace(false);
                    self.config.meters.connected(false);
                    let ended = ended?;
                    self.ledger.closed();
                    match ended {
                        None => return Ok(()),
                        Some(ended) => self.check_end(ended)?,
                    }
                }
                Err(ended) => self.check_end(ended)?,
            }
            // A session that ends as soon as it begins is no success to begin the backoff anew with.
            failures = if started.elapsed() > BACKOFF_MAX {
                0
            } else {
                failures + 1
            };
            self.pause(backoff(failures)).await?;
        }
        Ok(())
    }

    /// Logs the end of a session; an end that would repeat itself is the worker's. What somebody has to mend ends a worker that
    /// was never connected; one that was may hold proofs, and waits for it.
    fn check_end(&mut self, ended: Ended) -> Result<(), WorkerError> {
        let now = Instant::now();
        self.name_taken = ended.is_name_taken().then(|| self.name_taken.unwrap_or(now));
        let gives_up = self
            .name_taken
            .is_some_and(|since| now.duration_since(since) > self.config.name_taken_max);
        if ended.is_final() || gives_up || (ended.needs_somebody() && !self.connected) {
            let ended = match ended {
                Ended::Connect(error) => return Err(WorkerError::Connection(error)),
                ended => ended,
            };
            let Ended::Status(status) = ended else {
                unreachable!("only a status or a connection is final")
            };
            return Err(WorkerError::Refused {
                reason: status.message().to_string(),
            });
        }
        let reason = ended.told();
        let said = |(told, at): &(String, Instant)| *told == reason && now.duration_since(*at) < TOLD_EVERY;
        if !self.told.as_ref().is_some_and(said) {
            tracing::warn!(reason, "no session with the coordinator; trying again");
            self.told = Some((reason, now));
        }
        Ok(())
    }

    fn hello(&self) -> Hello {
        let config = &self.config;
        Hello {
            worker_name: config.name.clone(),
            protocol_version: config.protocol_version,
            shard_vk_digest: config.shard_vk_digest.to_vec().into(),
            aggregation_vk_digest: config.aggregation_vk_digest.to_vec().into(),
            capabilities: self.capabilities(),
            devices: vec![Device {
                name: self.device.name.clone(),
                memory_bytes: self.device.memory_bytes,
            }],
            memory_bytes: config.memory_bytes,
            instance: self.instance,
        }
    }

    fn capabilities(&self) -> Vec<i32> {
        let shards = self.device.proves_shards.then_some(TaskKind::Shard.into());
        let aggregations = self
            .device
            .proves_aggregations
            .then_some(TaskKind::Aggregation.into());
        shards.into_iter().chain(aggregations).collect()
    }

    /// One session, until it ends (how) or the worker is done (none).
    async fn serve(&mut self, mut session: Session) -> Result<Option<Ended>, WorkerError> {
        let mut renewals = ticker(Duration::from_millis(session.welcome.renew_ms));
        let mut renewals_since_remind = 0;
        let mut messages = self.ledger.opened();
        loop {
            if let Err(ended) = session.send(std::mem::take(&mut messages)) {
                return Ok(Some(ended));
            }
            if self.is_done() {
                session.finish().await;
                return Ok(None);
            }
            tokio::select! {
                message = session.next() => match message.and_then(|message| self.message(message)) {
                    Ok(answers) => messages = answers,
                    Err(ended) => return Ok(Some(ended)),
                },
                Some(event) = self.events.recv() => messages = self.event(event),
                _ = renewals.tick() => {
                    self.check_time()?;
                    messages = self.ledger.renew();
                    renewals_since_remind += 1;
                    if renewals_since_remind >= REMIND_PERIODS {
                        renewals_since_remind = 0;
                        messages.extend(self.ledger.remind());
                    }
                }
                () = stopping(&mut self.stop) => messages = self.drain(),
            }
        }
    }

    /// Handles a message; returns the answers.
    fn message(
        &mut self,
        message: FromCoordinator,
    ) -> Result<Vec<proto::v1::session_request::Message>, Ended> {
        let (job, answers) = match message {
            FromCoordinator::Task(task) => {
                self.spans.announced(&task);
                self.ledger.task(task)?
            }
            FromCoordinator::TaskChunk(chunk) => self.ledger.chunk(chunk)?,
            FromCoordinator::Completed(completed) => (None, self.ledger.completed(&completed)),
            FromCoordinator::LeaseLost(lost) => {
                let (abandoned, answers) = self.ledger.lease_lost(&lost);
                abandoned.into_iter().for_each(|lease| self.prover.abandon(lease));
                (None, answers)
            }
            FromCoordinator::Drain(_) => return Err(Ended::CoordinatorDrains),
            FromCoordinator::WorkerDrain(_) if self.drain_until.is_none() => {
                tracing::info!("an operator drains this worker");
                (None, self.drain())
            }
            FromCoordinator::WorkerDrain(_) => (None, Vec::new()),
            FromCoordinator::Renewed(_) => (None, Vec::new()),
            FromCoordinator::Welcome(_) => return Err(Ended::NoWelcome),
        };
        if let Some(job) = job {
            let now = Instant::now();
            self.watchdog.begin(now);
            self.config.meters.began(&job.lease, job.kind, now);
            self.spans.began(&job.lease);
            self.prover.job(job);
        }
        Ok(answers)
    }

    /// Handles what is said of the tasks; returns what to tell the coordinator.
    fn event(&mut self, event: Event) -> Vec<proto::v1::session_request::Message> {
        match event {
            Event::Task(TaskEvent::Phase {
                lease,
                name,
                fraction,
            }) => {
                let now = Instant::now();
                self.watchdog.progress(now);
                self.config.meters.phase(&lease, &name, now);
                self.spans.phase(&lease, &name);
                self.config.meters.prover(self.prover.pid());
                let message = self.ledger.progress(&lease, name, fraction);
                message.into_iter().collect()
            }
            Event::Task(TaskEvent::Over { lease, outcome, .. }) => {
                let now = Instant::now();
                self.watchdog.end(now);
                self.config.meters.ended(&lease, &outcome, now);
                self.spans.ended(&lease, &outcome);
                self.ledger.proven(lease, outcome)
            }
            Event::OutOfService { reason } => {
                let mut messages = self
                    .ledger
                    .give_up(&format!("the device is out of service: {reason}"));
                self.spans.gave_up(&Outcome::Failed {
                    class: FailureClass::Returned,
                    message: reason.clone(),
                });
                self.out_of_service = Some(reason);
                self.config.meters.gave_up(Instant::now());
                messages.extend(self.drain());
                // What could not be told by then, the leases' end tells.
                let soon = Instant::now() + OUT_OF_SERVICE_MAX;
                self.drain_until = self.drain_until.map(|until| until.min(soon));
                messages
            }
        }
    }

    fn drain(&mut self) -> Vec<proto::v1::session_request::Message> {
        self.stop = None;
        self.drain_until = Some(Instant::now() + self.config.drain_max);
        self.config.ready.send_replace(false);
        tracing::info!("draining: no more tasks are taken");
        self.ledger.drain()
    }

    fn is_done(&self) -> bool {
        self.drain_until.is_some() && self.ledger.is_idle()
    }

    /// Whether the work stands still, or the shutdown takes too long.
    fn check_time(&mut self) -> Result<(), WorkerError> {
        let now = Instant::now();
        if let Some(time) = self.watchdog.stalled(now, self.prover.cpu_ticks()) {
            match &self.prover {
                // The watch begins anew, so that the next process has its time.
                Prover::Process(handle) => handle.stalled(time),
                Prover::Threads(..) => return Err(WorkerError::Stalled(time)),
            }
            self.watchdog.progress(now);
        }
        match self.drain_until {
            Some(until) if now > until => Err(WorkerError::DrainTimeout(self.config.drain_max)),
            _ => Ok(()),
        }
    }

    /// Waits without a session; what the proving thread says meanwhile is kept for the next one.
    async fn pause(&mut self, pause: Duration) -> Result<(), WorkerError> {
        let sleep = tokio::time::sleep(pause);
        tokio::pin!(sleep);
        loop {
            self.check_time()?;
            if self.is_done() {
                return Ok(());
            }
            tokio::select! {
                () = &mut sleep => return Ok(()),
                Some(event) = self.events.recv() => {
                    let unsent = self.event(event);
                    debug_assert!(unsent.is_empty(), "a ledger without a session keeps everything");
                }
                () = stopping(&mut self.stop) => {
                    self.drain();
                }
            }
        }
    }
}

/// Completes when the worker shall drain; never after that was taken note of.
async fn stopping(stop: &mut Option<oneshot::Receiver<()>>) {
    match stop {
        // The sender is dropped, never used: either way the channel's end is the signal.
        Some(stop) => drop(stop.await),
        None => std::future::pending().await,
    }
}

/// Ticks first after one period.
fn ticker(period: Duration) -> Interval {
    let period = period.max(Duration::from_millis(10));
    let mut ticker = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// The pause after the given number of failures in a row, with a random part so that workers do not come back
/// all at once.
fn backoff(failures: u32) -> Duration {
    let longest = BACKOFF_FIRST
        .saturating_mul(1 << failures.min(10))
        .min(BACKOFF_MAX);
    longest.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
}
