//! The workers' side: `WorkerService`.
//!
//! A session is two loops: one reads the worker's messages and makes a step of each, one writes what the steps ask for. Tasks'
//! payloads are read from the store when their turn to be written comes, so a queue of leases holds no payloads.

use std::{num::NonZeroU64, pin::Pin, sync::Arc, time::Duration};

use proto::{
    CHUNK_BYTES_MAX, FAILURE_CHARS_MAX, FailureClass, NAME_CHARS_MAX, PAYLOAD_BYTES_MAX, PHASE_CHARS_MAX,
    PROOF_BYTES_MAX, one_line, v1,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use v1::{session_request::Message as FromWorker, session_response::Message as ToWorker};

use super::{
    access::gate::Caller,
    hello::{check_hello, circuits_of, task_kinds},
    shell::{Outbound, SessionQueue, Shell, Unread},
    status::{Unavailable, bad_field, bad_stream, exhausted, name_taken, not_taken},
    undecodable::unread,
    view::task_kind,
};
use crate::{
    config::Config,
    core::{
        Output,
        id::{Fence, Instance, SessionId, TaskId, WorkerId},
        lease::LeaseLost,
        session::SessionRefused,
    },
    keyring::Keyring,
};

/// Messages that may wait for the connection.
pub(super) const WRITE_BUFFER: usize = 1;
/// How long a new stream may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Renewals that fit in a lease's time.
const RENEWALS_PER_LEASE: u64 = 4;

/// Devices of a worker that a log line names.
const DEVICES_TOLD: usize = 4;
/// Most characters of their names that are remembered.
const DEVICES_CHARS_MAX: usize = 256;

/// Why a session ends that was closed for another.
const REPLACED: &str = "the worker has opened another session, which takes the place of this one";

type Sender = mpsc::Sender<Result<v1::SessionResponse, Status>>;

pub(super) struct WorkerServer {
    shell: Arc<Shell>,
    keyring: Arc<Keyring>,
    welcome: v1::Welcome,
    verifications: Arc<Semaphore>,
    line: Line,
}

/// What bounds the sending to workers.
#[derive(Debug, Clone)]
struct Line {
    /// Payloads in memory, of all workers.
    payloads: Arc<Semaphore>,
    /// The same of one caller's workers.
    own_payloads: Arc<Semaphore>,
    /// Longest time for a payload to be taken.
    payload_max: Duration,
    /// Longest time for a worker to take a message.
    write_max: Duration,
}

impl WorkerServer {
    pub(super) fn new(shell: Arc<Shell>, keyring: Arc<Keyring>, config: &Config) -> Self {
        let limits = &config.limits;
        let welcome = v1::Welcome {
            session_id: 0,
            preset: String::new(),
            lease_ms: limits.lease_ms,
            renew_ms: limits.lease_ms / RENEWALS_PER_LEASE,
            reconnect_grace_ms: limits.reconnect_grace_ms,
            leases_max: u32::try_from(limits.session_leases_max).unwrap_or(u32::MAX),
        };
        Self {
            shell,
            keyring,
            welcome,
            verifications: Arc::new(Semaphore::new(config.verifications_max)),
            line: Line {
                payloads: Arc::new(Semaphore::new(config.quotas.payloads_max)),
                own_payloads: Arc::new(Semaphore::new(config.quotas.caller_payloads_max)),
                payload_max: Duration::from_millis(config.quotas.download_ms_max),
                write_max: Duration::from_millis(config.quotas.stream_write_ms_max),
            },
        }
    }
}

#[tonic::async_trait]
impl v1::worker_service_server::WorkerService for WorkerServer {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = Caller::of(request.extensions());
        let (sender, receiver) = mpsc::channel(WRITE_BUFFER);
        let handler = Handler {
            caller,
            shell: Arc::clone(&self.shell),
            keyring: Arc::clone(&self.keyring),
            welcome: self.welcome.clone(),
            verifications: Arc::clone(&self.verifications),
            line: self.line.clone(),
            incoming: request.into_inner(),
            sender,
        };
        // The answer's headers go out at once, so that a worker may wait for them before it says hello.
        self.shell.tasks().spawn(handler.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct Handler {
    shell: Arc<Shell>,
    keyring: Arc<Keyring>,
    welcome: v1::Welcome,
    verifications: Arc<Semaphore>,
    line: Line,
    /// Held to the end, with what the session takes of what there is.
    caller: Caller,
    incoming: Streaming<v1::SessionRequest>,
    sender: Sender,
}

impl Handler {
    /// Whether a line is to be written of what a worker does, and how often it was not since the last one.
    fn told(&self, what: &str, worker: &str) -> Option<u64> {
        let principal = &self.caller.identity.principal;
        self.shell.told(&format!("{what} {principal} {worker}"))
    }

    async fn run(mut self) {
        let sender = self.sender.clone();
        let ended = match self.greet().await {
            Ok((id, queue, outbound, name)) => {
                let mut writer = tokio::spawn(write(
                    Arc::clone(&self.shell),
                    self.welcome.lease_ms,
                    self.line.of(&self.caller),
                    outbound,
                    sender.clone(),
                ));
                let ended = tokio::select! {
                    ended = self.read(id, &queue, &sender) => ended,
                    _ = &mut writer => match self.shell.is_open(id) {
                        true => {
                            self.caller.connection.close();
                            Err(not_taken())
                        }
                        false => Err(Status::aborted(REPLACED)),
                    },
                };
                // Only the reader's end closes the session; it takes the queue's sender with it, so the writer ends too.
                let _ = self.shell.run(move |shell| shell.close_session(id)).await;
                if !writer.is_finished() {
                    writer.abort();
                    let _ = writer.await;
                }
                if let Some(more) = self.told("left", &name) {
                    tracing::info!(session = id.0, worker = name, more, "worker left");
                }
                ended
            }
            Err(status) => Err(status),
        };
        if let Err(status) = ended {
            // A worker that has gone needs no reason, and one that reads nothing gets none.
            let _ = tokio::time::timeout(self.line.write_max, sender.send(Err(status))).await;
        }
    }

    /// Hears the hello and opens the session.
    async fn greet(
        &mut self,
    ) -> Result<
        (
            SessionId,
            mpsc::WeakSender<Outbound>,
            mpsc::Receiver<Outbound>,
            String,
        ),
        Status,
    > {
        let first = tokio::select! {
            () = self.shell.stopping().cancelled() => return Err(Unavailable::Stopping.into()),
            first = tokio::time::timeout(HELLO_WAIT, self.incoming.message()) => {
                first.map_err(|_| Status::deadline_exceeded("no hello came"))?.map_err(unread)?
            }
        };
        let Some(FromWorker::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(bad_stream("HELLO_MISSING", "the first message must be hello"));
        };
        let capabilities = check_hello(&hello)?;
        let circuits = circuits_of(&hello, &self.keyring)?;
        let (keys, preset) = (circuits.id(), circuits.manifest.preset.clone());
        let name = WorkerId {
            principal: self.caller.identity.principal.clone(),
            name: hello.worker_name.clone(),
        };
        let instance = NonZeroU64::new(hello.instance).map(Instance);
        let opened = self
            .shell
            .run(move |shell| shell.open_session(name, instance, capabilities, keys))
            .await??;
        let (id, queue, outbound): SessionQueue = opened.map_err(|error| match error {
            SessionRefused::TooMany(_) => exhausted("sessions_max", &error.to_string()),
            SessionRefused::NameTaken { .. } => name_taken(&error.to_string()),
            SessionRefused::Stopping => Unavailable::Stopping.into(),
        })?;
        let named = hello.devices.iter().take(DEVICES_TOLD);
        let devices: Vec<&str> = named.map(|device| device.name.as_str()).collect();
        self.shell
            .name_devices(id, one_line(&devices.join(", "), DEVICES_CHARS_MAX));
        if let Some(more) = self.told("joined", &hello.worker_name) {
            tracing::info!(
                session = id.0,
                worker = hello.worker_name,
                identity = %self.caller.identity.principal,
                memory = hello.memory_bytes,
                ?devices,
                more,
                "worker joined"
            );
        }
        let welcome = v1::Welcome {
            session_id: id.0,
            preset,
            ..self.welcome.clone()
        };
        // If this fails the worker has gone, which the reader notices.
        let _ = self.sender.send(Ok(response(ToWorker::Welcome(welcome)))).await;
        Ok((id, queue, outbound, hello.worker_name))
    }

    /// Makes steps of the worker's messages until the stream ends.
    async fn read(
        &mut self,
        id: SessionId,
        queue: &mpsc::WeakSender<Outbound>,
        sender: &Sender,
    ) -> Result<(), Status> {
        loop {
            let message = tokio::select! {
                () = self.shell.stopping().cancelled() => {
                    let _ = sender.send(Ok(response(ToWorker::Drain(v1::CoordinatorDrain {})))).await;
                    return Ok(());
                }
                () = sender.closed() => return Ok(()),
                message = self.incoming.message() => message.map_err(unread)?,
            };
            let Some(message) = message else { return Ok(()) };
            let Some(message) = message.message else {
                return Err(bad_stream("MESSAGE_UNKNOWN", "a message of no known kind"));
            };
            check_task_id(&message)?;
            let answer = self.step(id, message).await?;
            if let Some(answer) = answer {
                let Some(queue) = queue.upgrade() else {
                    return Err(exhausted("session", "the worker did not read its messages"));
                };
                // The writer ends only after this loop, or when the connection is gone.
                let _ = queue.send(Outbound::Message(answer)).await;
            }
        }
    }

    async fn step(&self, id: SessionId, message: FromWorker) -> Result<Option<ToWorker>, Status> {
        match message {
            FromWorker::Hello(_) => Err(bad_stream("HELLO_REPEATED", "hello was said before")),
            FromWorker::LeaseRequest(request) => {
                let kinds = task_kinds("lease_request.kinds", &request.kinds)?;
                self.shell
                    .run(move |shell| shell.step(|core, now| ((), core.request_lease(now, id, kinds))))
                    .await??;
                Ok(None)
            }
            FromWorker::Renew(v1::Renew { task_id, fence }) => {
                let Some(task) = parse(&task_id) else {
                    return Ok(Some(unknown(task_id, fence)));
                };
                let renewed = self
                    .shell
                    .run(move |shell| {
                        shell.step(|core, now| (core.renew(now, id, task, Fence(fence)), Output::default()))
                    })
                    .await??;
                let lease_ms = self.welcome.lease_ms;
                Ok(Some(match renewed {
                    Ok(()) => ToWorker::Renewed(v1::Renewed {
                        task_id,
                        fence,
                        lease_ms,
                    }),
                    Err(error) => lost(task_id, fence, error),
                }))
            }
            FromWorker::Progress(v1::Progress {
                task_id,
                fence,
                phase,
                fraction,
            }) => {
                let Some(task) = parse(&task_id) else {
                    return Ok(Some(unknown(task_id, fence)));
                };
                let phase = one_line(&phase, PHASE_CHARS_MAX);
                let noted = self
                    .shell
                    .run(move |shell| {
                        shell.step(|core, now| {
                            outcome(core.progress(now, id, task, Fence(fence), &phase, fraction))
                        })
                    })
                    .await??;
                Ok(noted.err().map(|error| lost(task_id, fence, error)))
            }
            FromWorker::Complete(complete) => self.complete(id, complete).await.map(Some),
            FromWorker::Fail(fail) => self.fail(id, fail).await,
            FromWorker::Drain(_) => {
                self.shell
                    .run(move |shell| shell.step(|core, now| ((), core.drain(now, id))))
                    .await??;
                Ok(None)
            }
        }
    }

    /// A proof is judged before the next message is read: that is what bounds the proofs that a worker may have waiting.
    async fn complete(&self, id: SessionId, complete: v1::Complete) -> Result<ToWorker, Status> {
        let (task_id, fence) = (complete.task_id.clone(), complete.fence);
        let judged = |verdict: v1::Verdict, reason: String| {
            ToWorker::Completed(v1::Completed {
                task_id: task_id.clone(),
                fence,
                verdict: verdict.into(),
                reason,
            })
        };
        let Some(task) = parse(&task_id) else {
            return Ok(judged(v1::Verdict::Rejected, "no such task".into()));
        };
        if complete.proof.len() > PROOF_BYTES_MAX {
            let reason = format!(
                "a proof of {} bytes, at most {PROOF_BYTES_MAX}",
                complete.proof.len()
            );
            return Ok(judged(v1::Verdict::Rejected, reason));
        }
        let permit = Arc::clone(&self.verifications)
            .acquire_owned()
            .await
            .map_err(|_| Unavailable::Stopping)?;
        let (verdict, reason) = self
            .shell
            .run(move |shell| {
                let _permit = permit;
                shell.complete(id, task, complete)
            })
            .await??;
        Ok(judged(verdict, reason))
    }

    async fn fail(&self, id: SessionId, fail: v1::Fail) -> Result<Option<ToWorker>, Status> {
        let Ok(class) = FailureClass::try_from(fail.class()) else {
            return Err(bad_field(
                "MALFORMED_FIELD",
                "fail.class",
                "a failure class",
                fail.class,
            ));
        };
        let v1::Fail {
            task_id,
            fence,
            message,
            ..
        } = fail;
        let Some(task) = parse(&task_id) else {
            return Ok(Some(unknown(task_id, fence)));
        };
        // It goes into the log too.
        let message = one_line(&message, FAILURE_CHARS_MAX);
        let failed = self
            .shell
            .run(move |shell| {
                let failed = shell
                    .step(|core, now| outcome(core.fail(now, id, task, Fence(fence), class, &message)))?;
                if failed.is_ok()
                    && let Some(more) = shell.told(&format!("gave up {} {task}", id.0))
                {
                    tracing::warn!(%task, fence, ?class, message, more, "a worker gave a task up");
                }
                Ok::<_, Unavailable>(failed)
            })
            .await??;
        Ok(failed.err().map(|error| lost(task_id, fence, error)))
    }
}

/// The answer and the output of a step that a lost lease refuses.
fn outcome(result: Result<Output, LeaseLost>) -> (Result<(), LeaseLost>, Output) {
    super::shell::split(result)
}

/// Writes what is queued for a worker, until the session or the connection ends.
///
/// A worker that takes nothing for long is given up, and its connection with it.
async fn write(
    shell: Arc<Shell>,
    lease_ms: u64,
    line: Line,
    mut outbound: mpsc::Receiver<Outbound>,
    sender: Sender,
) {
    while let Some(message) = outbound.recv().await {
        let written = match message {
            Outbound::Message(message) => line.send(&sender, message).await,
            Outbound::Grant { task, fence } => {
                let granted = grant(&shell, lease_ms, &line, task, fence, &sender);
                tokio::time::timeout(line.payload_max, granted)
                    .await
                    .unwrap_or(Err(()))
            }
        };
        if written.is_err() {
            return;
        }
    }
}

impl Line {
    /// To a worker of a caller.
    fn of(&self, caller: &Caller) -> Self {
        Self {
            own_payloads: Arc::clone(&caller.share.payloads),
            ..self.clone()
        }
    }

    async fn send(&self, sender: &Sender, message: ToWorker) -> Result<(), ()> {
        let sent = tokio::time::timeout(self.write_max, sender.send(Ok(response(message)))).await;
        match sent {
            Ok(sent) => sent.map_err(|_| ()),
            Err(_) => {
                tracing::warn!("a worker does not read its messages");
                Err(())
            }
        }
    }
}

/// Sends a task and its payload.
async fn grant(
    shell: &Arc<Shell>,
    lease_ms: u64,
    line: &Line,
    task: TaskId,
    fence: Fence,
    sender: &Sender,
) -> Result<(), ()> {
    let _own = line.own_payloads.acquire().await.map_err(|_| ())?;
    let _place = line.payloads.acquire().await.map_err(|_| ())?;
    let payload = match shell.run(move |shell| shell.payload(task)).await {
        Ok(Ok(Some(payload))) if payload.len() as u64 <= PAYLOAD_BYTES_MAX => payload,
        // The task was done or cancelled meanwhile, and the worker is told so by a message of its own.
        Ok(Ok(None)) => return Ok(()),
        // Its batch has failed, or waits for a proof, and the worker is told so likewise.
        Ok(Err(Unread::Lost { .. } | Unread::MadeAgain { .. })) => return Ok(()),
        Ok(Ok(Some(payload))) => {
            tracing::error!(%task, bytes = payload.len(), "the payload is too large to be sent");
            return Err(());
        }
        Ok(Err(Unread::Unavailable(_))) | Err(_) => return Err(()),
    };
    let header = v1::Task {
        task_id: task.to_string(),
        fence: fence.0,
        lease_ms,
        kind: task_kind(task.kind).into(),
        batch_id: task.batch.to_string(),
        index: task.index,
        payload_bytes: payload.len() as u64,
        payload_sha256: Sha256::digest(&payload).to_vec().into(),
        traceparent: shell.traceparent(task, fence),
    };
    if let Some(more) = shell.told(&format!("leased {task}")) {
        tracing::info!(%task, fence = fence.0, bytes = payload.len(), more, "task leased");
    }
    line.send(sender, ToWorker::Task(header)).await?;
    for chunk in payload.chunks(CHUNK_BYTES_MAX) {
        let chunk = v1::TaskChunk {
            task_id: task.to_string(),
            data: chunk.to_vec().into(),
        };
        line.send(sender, ToWorker::TaskChunk(chunk)).await?;
    }
    Ok(())
}

/// Refuses a task's name that is none by its length alone: answers repeat it, and wait until the worker reads them.
fn check_task_id(message: &FromWorker) -> Result<(), Status> {
    let task_id = match message {
        FromWorker::Renew(v1::Renew { task_id, .. })
        | FromWorker::Progress(v1::Progress { task_id, .. })
        | FromWorker::Complete(v1::Complete { task_id, .. })
        | FromWorker::Fail(v1::Fail { task_id, .. }) => task_id,
        FromWorker::Hello(_) | FromWorker::LeaseRequest(_) | FromWorker::Drain(_) => return Ok(()),
    };
    if task_id.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    let expected = format!("at most {NAME_CHARS_MAX} bytes");
    Err(bad_field(
        "MALFORMED_FIELD",
        "task_id",
        expected,
        format!("{} bytes", task_id.len()),
    ))
}

fn parse(task_id: &str) -> Option<TaskId> {
    task_id.parse().ok()
}

fn response(message: ToWorker) -> v1::SessionResponse {
    v1::SessionResponse {
        message: Some(message),
    }
}

fn lost(task_id: String, fence: u64, error: LeaseLost) -> ToWorker {
    ToWorker::LeaseLost(v1::LeaseLost {
        task_id,
        fence,
        reason: error.to_string(),
        unneeded: error == LeaseLost::NotNeeded,
    })
}

fn unknown(task_id: String, fence: u64) -> ToWorker {
    lost(task_id, fence, LeaseLost::NotNeeded)
}
