//! The prover process as its worker sees it: started, given tasks, killed when it hangs, replaced when it ends.
//!
//! A device library may abort, and a GPU's fault spoils the process that met it. So a device belongs to a process of
//! its own: what ends that process costs the oldest task that it had, and a new process takes its place. Until that one has
//! proven something it has one task at a time, so that the next loss is surely that task's.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::faults::Faults;
use super::ledger::{Job, LeaseId, Outcome};
use super::proving::{Event, TaskEvent};
use super::wire::{self, FromProver, ToProver};
use super::{DeviceInfo, WorkerError};
use crate::engine::FailureClass;

/// Time to open and check a device. Loading ICICLE and its kernels takes seconds; a disk may be slow.
const START_MAX: Duration = Duration::from_secs(180);
/// Pauses before a new process is tried. A GPU's driver needs a moment after a fault.
const RESTART_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10)];
/// Time for a process to be gone once its output has ended or it was killed.
const END_MAX: Duration = Duration::from_secs(20);
/// Time for a task whose proof is not wanted any more to come to its next phase.
const ABANDON_MAX: Duration = Duration::from_secs(5);
/// Signal number of SIGKILL, which the kernel sends when memory is out.
const SIGKILL: i32 = 9;

/// What the supervising thread is told.
enum Input {
    Job(Job),
    /// The proof of a task is not wanted any more.
    Abandon(LeaseId),
    /// The task at hand made no progress for this long.
    Stalled(Duration),
    /// The worker ends.
    Close,
    /// From the process of that number.
    Said(u64, FromProver),
    /// That process's output ended, or was none (why).
    Ended(u64, Option<String>),
}

/// Gives tasks to a prover process. The process ends with this value.
pub(super) struct Handle {
    inputs: Sender<Input>,
    pid: Arc<AtomicU32>,
}

impl Handle {
    pub(super) fn job(&self, job: Job) {
        // The thread ends only after it said that it is out of service.
        let _ = self.inputs.send(Input::Job(job));
    }

    pub(super) fn abandon(&self, lease: LeaseId) {
        // As above.
        let _ = self.inputs.send(Input::Abandon(lease));
    }

    pub(super) fn stalled(&self, time: Duration) {
        // As above.
        let _ = self.inputs.send(Input::Stalled(time));
    }

    /// Id of the process that was started last.
    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.inputs.send(Input::Close);
    }
}

/// Starts the process and the thread that supervises it. Returns when the device is ready.
///
/// # Errors
/// [`WorkerError::Device`]: the process cannot be started, or its device cannot be used.
pub(super) fn start(
    command: Command,
    events: UnboundedSender<Event>,
) -> Result<(Handle, DeviceInfo), WorkerError> {
    let (inputs, queue) = mpsc::channel();
    let pid = Arc::new(AtomicU32::new(0));
    let mut starter = Starter {
        command,
        inputs: inputs.clone(),
        queue,
        later: VecDeque::new(),
        pid: pid.clone(),
        number: 0,
    };
    let (running, device) = starter
        .start()
        .map_err(|error| WorkerError::Device(error.reason()))?;
    let supervisor = Supervisor {
        starter,
        device: device.clone(),
        running,
        events,
        in_hand: VecDeque::new(),
        given: 0,
        abandoned: Vec::new(),
        front_since: Instant::now(),
        one_by_one: false,
        faults: Faults::default(),
    };
    thread::Builder::new()
        .name("supervising".into())
        .spawn(move || supervisor.supervise())
        .map_err(WorkerError::Thread)?;
    Ok((Handle { inputs, pid }, device))
}

/// A process that runs.
struct Running {
    child: Child,
    /// To the thread that writes to it, since a process that does not read blocks who writes. Its end closes the pipe.
    orders: Sender<ToProver>,
    /// Why and when this side killed it.
    killed: Option<(String, Instant)>,
}

impl Running {
    fn kill(&mut self, why: String) {
        tracing::error!(pid = self.child.id(), reason = %why, "killing the prover process");
        if let Err(error) = self.child.kill() {
            tracing::warn!(%error, "cannot kill the prover process");
        }
        self.killed.get_or_insert((why, Instant::now()));
    }

    /// Waits for the end of a process whose output has ended or that was killed; returns what kind of end it was.
    fn reap(&mut self) -> (FailureClass, String) {
        let mut status = self.wait_for(END_MAX);
        if status.is_none() {
            // Of no effect on one that has ended.
            let _ = self.child.kill();
            status = self.wait_for(END_MAX);
        }
        let killed = self.killed.take().map(|(why, _)| why);
        match status {
            Some(status) => why(killed, status),
            None => {
                let message = "the prover process cannot be killed; a driver holds it".to_string();
                (FailureClass::Infrastructure, message)
            }
        }
    }

    /// Ends the process if it has not ended already.
    fn end(&mut self) {
        let _ = self.child.kill();
        // One that a driver holds is left behind; this process must not wait for it.
        let _ = self.wait_for(END_MAX);
    }

    fn wait_for(&mut self, longest: Duration) -> Option<std::io::Result<ExitStatus>> {
        let until = Instant::now() + longest;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(Ok(status)),
                Err(error) => return Some(Err(error)),
                Ok(None) if Instant::now() > until => return None,
                Ok(None) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why a process did not become ready.
enum Unready {
    /// It said so, or ended.
    Refused(String),
    /// It took too long. Another would too.
    Late,
}

impl Unready {
    fn reason(self) -> String {
        match self {
            Unready::Refused(reason) => reason,
            Unready::Late => format!("the device was not ready after {START_MAX:?}"),
        }
    }
}

/// Starts processes, and hears them.
struct Starter {
    command: Command,
    /// Given to the threads that read processes' output.
    inputs: Sender<Input>,
    queue: Receiver<Input>,
    /// What came while a process was starting.
    later: VecDeque<Input>,
    pid: Arc<AtomicU32>,
    /// Of the last process; what older ones still say does not count.
    number: u64,
}

impl Starter {
    /// Starts a process and waits until its device is ready.
    fn start(&mut self) -> Result<(Running, DeviceInfo), Unready> {
        self.number += 1;
        let number = self.number;
        let refused = |what: &str, error: std::io::Error| Unready::Refused(format!("{what}: {error}"));
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal sends Ctrl-C to its whole group; only the worker should act on it.
            .process_group(0)
            .spawn()
            .map_err(|error| refused("cannot start the prover process", error))?;
        let (pipe, output) = (child.stdin.take(), child.stdout.take());
        self.pid.store(child.id(), Ordering::Relaxed);
        let (orders, queue) = mpsc::channel();
        let mut running = Running {
            child,
            orders,
            killed: None,
        };
        let (Some(pipe), Some(output)) = (pipe, output) else {
            return Err(Unready::Refused("the prover process has no pipes".into()));
        };
        let inputs = self.inputs.clone();
        let named = |name: &str| thread::Builder::new().name(name.into());
        named("prover-input")
            .spawn(move || tell(pipe, &queue))
            .and_then(|_| {
                named("prover-output").spawn(move || listen(number, BufReader::new(output), &inputs))
            })
            .map_err(|error| refused("cannot start a thread", error))?;
        self.await_ready(&mut running).map(|device| (running, device))
    }

    fn await_ready(&mut self, running: &mut Running) -> Result<DeviceInfo, Unready> {
        let (until, number) = (Instant::now() + START_MAX, self.number);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(left) {
                Ok(Input::Said(from, FromProver::Ready(device))) if from == number => return Ok(device),
                Ok(Input::Said(from, FromProver::Refused(reason))) if from == number => {
                    return Err(Unready::Refused(reason));
                }
                Ok(Input::Ended(from, reason)) if from == number => {
                    return Err(Unready::Refused(reason.unwrap_or_else(|| running.reap().1)));
                }
                // Of an older process.
                Ok(Input::Said(..) | Input::Ended(..) | Input::Stalled(_)) => {}
                Ok(other) => self.later.push_back(other),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(Unready::Late),
            }
        }
    }

    /// The next input; none when there is none before `until`.
    fn next(&mut self, until: Option<Instant>) -> Option<Input> {
        if let Some(input) = self.later.pop_front() {
            return Some(input);
        }
        match until {
            // This value holds a sender, so that there always is one.
            None => self.queue.recv().ok(),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.queue.recv_timeout(left).ok()
            }
        }
    }
}

/// Keeps a process running, and its tasks accounted for.
struct Supervisor {
    starter: Starter,
    /// What the first process proved on; another device is not what the worker offered.
    device: DeviceInfo,
    running: Running,
    events: UnboundedSender<Event>,
    /// Tasks that are not over, in the order in which they came.
    in_hand: VecDeque<Job>,
    /// How many of these the process has, the first ones.
    given: usize,
    /// Those of them whose proofs are not wanted any more, and since when.
    abandoned: Vec<(LeaseId, Instant)>,
    /// Since when the first of them is the first.
    front_since: Instant,
    /// A process was lost, and none has proven anything since.
    one_by_one: bool,
    faults: Faults,
}

impl Supervisor {
    fn supervise(mut self) {
        loop {
            let gone_by = self.running.killed.as_ref().map(|(_, at)| *at + END_MAX);
            let goes_on = match self.starter.next(gone_by.or_else(|| self.abandoned_by())) {
                Some(Input::Close) => false,
                Some(Input::Job(job)) => {
                    if self.in_hand.is_empty() {
                        self.front_since = Instant::now();
                    }
                    self.in_hand.push_back(job);
                    self.give();
                    true
                }
                Some(Input::Abandon(lease)) => self.abandon(lease),
                Some(Input::Stalled(time)) => {
                    self.running.kill(format!("no progress for {time:?}"));
                    true
                }
                Some(Input::Said(number, said)) if number == self.starter.number => self.said(said),
                Some(Input::Ended(number, reason)) if number == self.starter.number => self.ended(reason),
                Some(Input::Said(..) | Input::Ended(..)) => true,
                None if gone_by.is_none() => {
                    let reason = "a task that nobody wants any more came to no other phase";
                    self.running.kill(format!("{reason} within {ABANDON_MAX:?}"));
                    true
                }
                // It was killed, and its pipe is still open: it is in the hands of a driver.
                None => self.ended(None),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Ends the work on a task, by the process's death if it does not end by itself.
    fn abandon(&mut self, lease: LeaseId) -> bool {
        let Some(at) = self.in_hand.iter().position(|job| job.lease == lease) else {
            // It was over already.
            return true;
        };
        if at >= self.given {
            self.forget(at);
            return self.tell(abandoned(lease));
        }
        let _ = self.running.orders.send(ToProver::Abandon(lease.clone()));
        self.abandoned.push((lease, Instant::now()));
        true
    }

    /// When the process is killed because the task that it proves is not wanted any more. One that waits for its turn keeps
    /// nobody from anything.
    fn abandoned_by(&self) -> Option<Instant> {
        let front = &self.in_hand.front().filter(|_| self.given > 0)?.lease;
        let (_, since) = self.abandoned.iter().find(|(lease, _)| lease == front)?;
        Some(self.front_since.max(*since) + ABANDON_MAX)
    }

    /// Takes a task out of the books.
    fn forget(&mut self, at: usize) -> Option<(Job, bool)> {
        let job = self.in_hand.remove(at)?;
        let before = self.abandoned.len();
        self.abandoned.retain(|(lease, _)| *lease != job.lease);
        if at == 0 {
            self.front_since = Instant::now();
        }
        Some((job, self.abandoned.len() < before))
    }

    /// Gives the process what it may have.
    fn give(&mut self) {
        let may = if self.one_by_one { 1 } else { self.in_hand.len() };
        for job in self.in_hand.iter().take(may).skip(self.given) {
            // Without a receiver the pipe is closed: the process's end is on its way here.
            let _ = self.running.orders.send(ToProver::Job(job.clone()));
            self.given += 1;
        }
    }

    /// Passes on what the process says of a task. False when nobody listens, or nothing can be proven any more.
    fn said(&mut self, said: FromProver) -> bool {
        let FromProver::Task(event) = said else {
            self.running
                .kill("it said what it may say only at its start".into());
            return true;
        };
        let TaskEvent::Over {
            lease,
            outcome,
            device_fault,
        } = &event
        else {
            return self.tell(event);
        };
        let Some(at) = self
            .in_hand
            .iter()
            .take(self.given)
            .position(|job| job.lease == *lease)
        else {
            self.running
                .kill("it said that a task is over which it did not have".into());
            return true;
        };
        self.forget(at);
        self.given -= 1;
        if *device_fault {
            self.faults.note(Some(&lease.task_id));
            return self.replace(Some(event));
        }
        // A task that failed by itself says nothing about the device.
        if matches!(outcome, Outcome::Proven { .. }) {
            self.faults.clear();
            self.one_by_one = false;
        }
        self.give();
        self.tell(event)
    }

    fn tell(&self, event: TaskEvent) -> bool {
        self.events.send(Event::Task(event)).is_ok()
    }

    /// The process is gone: its oldest task is lost, and another process takes its place.
    fn ended(&mut self, reason: Option<String>) -> bool {
        if let Some(reason) = reason {
            self.running.kill(reason);
        }
        let (class, message) = self.running.reap();
        tracing::error!(reason = %message, "the prover process ended");
        let lost = if self.given > 0 { self.forget(0) } else { None };
        let lost = match lost {
            // That it did not stop at once says nothing of the device.
            Some((job, true)) => Some(abandoned(job.lease)),
            Some((job, false)) => {
                self.faults.note(Some(&job.lease.task_id));
                Some(failed(job.lease, class, message))
            }
            None => {
                self.faults.note(None);
                None
            }
        };
        self.replace(lost)
    }

    /// Starts another process, then tells of the task that the last one lost: told at once, the worker would be given
    /// another task while there is no device for it.
    fn replace(&mut self, lost: Option<TaskEvent>) -> bool {
        (self.given, self.one_by_one) = (0, true);
        // What waited and is not wanted any more needs no other process.
        for (lease, _) in std::mem::take(&mut self.abandoned) {
            self.in_hand.retain(|job| job.lease != lease);
            if !self.tell(abandoned(lease)) {
                return false;
            }
        }
        // Its memory is the next one's.
        self.running.end();
        let refused = match self.faults.verdict() {
            Some(reason) => Some(reason),
            None => self.restart().err(),
        };
        let told = lost.is_none_or(|lost| self.tell(lost));
        match refused {
            None => {
                self.give();
                told
            }
            Some(reason) => {
                tracing::error!(%reason, "the device is out of service");
                // Without a receiver the worker has ended.
                let _ = self.events.send(Event::OutOfService { reason });
                false
            }
        }
    }

    fn restart(&mut self) -> Result<(), String> {
        let mut refused = String::new();
        for pause in RESTART_PAUSES {
            thread::sleep(pause);
            match self.starter.start() {
                Ok((running, device)) if device == self.device => {
                    tracing::warn!(device = %device.name, "another prover process is ready");
                    self.running = running;
                    return Ok(());
                }
                Ok((_, device)) => refused = format!("the device is another than before: {device:?}"),
                Err(Unready::Refused(reason)) => refused = reason,
                Err(late) => return Err(late.reason()),
            }
            tracing::error!(reason = %refused, "no new prover process");
        }
        Err(refused)
    }
}

/// Writes orders to a process until one side ends.
fn tell(mut pipe: ChildStdin, orders: &Receiver<ToProver>) {
    while let Ok(order) = orders.recv() {
        if let Err(error) = wire::write(&mut pipe, &order) {
            // The thread that reads its output sees its end.
            tracing::warn!(%error, "the prover process takes no task");
            return;
        }
    }
}

/// Reads a process's output to its end.
fn listen(number: u64, mut output: impl std::io::Read, inputs: &Sender<Input>) {
    loop {
        let input = match wire::read(&mut output) {
            Ok(Some(said)) => Input::Said(number, said),
            Ok(None) => Input::Ended(number, None),
            // It ended while it wrote.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Input::Ended(number, None),
            Err(error) => Input::Ended(number, Some(format!("what it says is no frame: {error}"))),
        };
        let last = matches!(input, Input::Ended(..));
        if inputs.send(input).is_err() || last {
            return;
        }
    }
}

fn abandoned(lease: LeaseId) -> TaskEvent {
    TaskEvent::Over {
        lease,
        outcome: Outcome::Abandoned,
        device_fault: false,
    }
}

fn failed(lease: LeaseId, class: FailureClass, message: String) -> TaskEvent {
    TaskEvent::Over {
        lease,
        outcome: Outcome::Failed { class, message },
        device_fault: true,
    }
}

/// Why a process ended, and what kind of failure that is.
fn why(killed: Option<String>, status: std::io::Result<ExitStatus>) -> (FailureClass, String) {
    use FailureClass::{Infrastructure, Resource};
    if let Some(killed) = killed {
        return (Infrastructure, format!("the prover process was killed: {killed}"));
    }
    match status {
        Ok(status) if status.signal() == Some(SIGKILL) => (
            Resource,
            "the prover process was killed by SIGKILL, as the system does when memory is out".into(),
        ),
        Ok(status) => (Infrastructure, format!("the prover process ended by {status}")),
        Err(error) => (Infrastructure, format!("the prover process ended: {error}")),
    }
}
