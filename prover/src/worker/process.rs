//! The prover process as its worker sees it: started, given tasks, killed when it hangs, replaced when it ends.
//!
//! A device library may abort, and a GPU's fault spoils the process that met it. So a device belongs to a process of
//! its own: what ends that process costs the one task that was being proven, and a new process takes its place.

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
use super::proving::Event;
use super::wire::{self, FromProver, ToProver};
use super::{DeviceInfo, WorkerError};
use crate::engine::FailureClass;

/// Time to open and check a device. Loading ICICLE and its kernels takes seconds; a disk may be slow.
const START_MAX: Duration = Duration::from_secs(180);
/// Pauses before a new process is tried. A GPU's driver needs a moment after a fault.
const RESTART_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10)];
/// Time for a process whose output ended to end itself: it may be writing its memory to disk.
const END_MAX: Duration = Duration::from_secs(20);
/// Signal number of SIGKILL, which the kernel sends when memory is out.
const SIGKILL: i32 = 9;

/// What the supervising thread is told.
enum Input {
    Job(Job),
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
        // The thread ends only after it said that it is out of service, with all tasks over.
        let _ = self.inputs.send(Input::Job(job));
    }

    pub(super) fn stalled(&self, time: Duration) {
        // As above.
        let _ = self.inputs.send(Input::Stalled(time));
    }

    /// The process's id; 0 while there is none.
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
    let mut supervisor = Supervisor {
        command,
        events,
        inputs: inputs.clone(),
        queue,
        pid: pid.clone(),
        number: 0,
        running: None,
        in_hand: VecDeque::new(),
        later: VecDeque::new(),
        faults: Faults::default(),
    };
    let info = supervisor.spawn().map_err(WorkerError::Device)?;
    thread::Builder::new()
        .name("supervising".into())
        .spawn(move || supervisor.supervise())
        .map_err(WorkerError::Thread)?;
    Ok((Handle { inputs, pid }, info))
}

struct Supervisor {
    command: Command,
    events: UnboundedSender<Event>,
    /// Given to the threads that read processes' output.
    inputs: Sender<Input>,
    queue: Receiver<Input>,
    pid: Arc<AtomicU32>,
    /// Of the process that runs; what older ones still say does not count.
    number: u64,
    running: Option<Running>,
    /// Tasks given to the process and not over, in its order.
    in_hand: VecDeque<Job>,
    /// What came while a process was starting.
    later: VecDeque<Input>,
    faults: Faults,
}

/// A process that runs.
struct Running {
    child: Child,
    pipe: ChildStdin,
    /// Why this side killed it.
    killed: Option<String>,
}

impl Running {
    /// Waits for the end of a process whose output has ended; returns what kind of end it was.
    fn reap(&mut self) -> (FailureClass, String) {
        let until = Instant::now() + END_MAX;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        // Of no effect on one that has ended.
        let _ = self.child.kill();
        why(self.killed.take(), self.child.wait())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Supervisor {
    fn supervise(mut self) {
        while let Some(input) = self.next() {
            let more = match input {
                Input::Close => false,
                Input::Job(job) => {
                    self.give(&job);
                    self.in_hand.push_back(job);
                    true
                }
                Input::Stalled(time) => {
                    self.kill(format!("no progress for {time:?}"));
                    true
                }
                Input::Said(number, said) if number == self.number => self.said(said),
                Input::Ended(number, reason) if number == self.number => self.ended(reason),
                Input::Said(..) | Input::Ended(..) => true,
            };
            if !more {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<Input> {
        self.later.pop_front().or_else(|| self.queue.recv().ok())
    }

    fn give(&mut self, job: &Job) {
        if let Some(running) = &mut self.running
            && let Err(error) = wire::write(&mut running.pipe, &ToProver::Job(job.clone()))
        {
            // Its end is seen by the thread that reads its output, and then the job is given to the next one.
            tracing::warn!(%error, "the prover process takes no task");
        }
    }

    fn kill(&mut self, why: String) {
        if let Some(running) = &mut self.running {
            tracing::error!(pid = running.child.id(), reason = %why, "killing the prover process");
            running.killed = Some(why);
            if let Err(error) = running.child.kill() {
                tracing::warn!(%error, "cannot kill the prover process");
            }
        }
    }

    /// Passes on what the process says of a task. False when nobody listens.
    fn said(&mut self, said: FromProver) -> bool {
        let event = match said {
            FromProver::Event(event) => event,
            FromProver::Ready(_) | FromProver::Refused(_) => {
                self.kill("it said what it may say only at its start".into());
                return true;
            }
        };
        let Event::Over {
            lease, device_fault, ..
        } = &event
        else {
            return self.events.send(event).is_ok();
        };
        self.in_hand.retain(|job| job.lease != *lease);
        if !device_fault {
            // A task that failed by itself says nothing about the device.
            if matches!(
                &event,
                Event::Over {
                    outcome: Outcome::Proven { .. },
                    ..
                }
            ) {
                self.faults.clear();
            }
            return self.events.send(event).is_ok();
        }
        self.faults.note(&lease.task_id);
        self.replace(Some(event))
    }

    /// The process is gone: the task that it was at is lost, and another process takes its place.
    fn ended(&mut self, reason: Option<String>) -> bool {
        if let Some(reason) = reason {
            self.kill(reason);
        }
        let Some(mut running) = self.running.take() else {
            return true;
        };
        let (class, message) = running.reap();
        tracing::error!(reason = %message, "the prover process ended");
        let lost = self.in_hand.pop_front().map(|job| {
            self.faults.note(&job.lease.task_id);
            failed(job.lease, class, message)
        });
        self.replace(lost)
    }

    /// Starts another process, then tells of the task that the last one lost, then gives the others again.
    ///
    /// The task is told to be over last, so that no other is leased while there is no device for it.
    fn replace(&mut self, lost: Option<Event>) -> bool {
        self.running = None;
        let refused = match self.faults.verdict() {
            Some(reason) => Some(reason),
            None => self.respawn().err(),
        };
        let Some(reason) = refused else {
            let told = lost.is_none_or(|lost| self.events.send(lost).is_ok());
            for job in std::mem::take(&mut self.in_hand) {
                self.give(&job);
                self.in_hand.push_back(job);
            }
            return told;
        };
        tracing::error!(%reason, "the device is out of service");
        let left = std::mem::take(&mut self.in_hand);
        let left = left.into_iter().map(|job| {
            let message = format!("the device is out of service: {reason}");
            failed(job.lease, FailureClass::Infrastructure, message)
        });
        for event in lost.into_iter().chain(left).chain([Event::OutOfService {
            reason: reason.clone(),
        }]) {
            // Without a receiver the worker has ended.
            let _ = self.events.send(event);
        }
        false
    }

    fn respawn(&mut self) -> Result<DeviceInfo, String> {
        let mut result = Err(String::new());
        for pause in RESTART_PAUSES {
            thread::sleep(pause);
            result = self.spawn();
            match &result {
                Ok(info) => {
                    tracing::warn!(device = %info.name, "another prover process is ready");
                    break;
                }
                Err(reason) => tracing::error!(%reason, "no new prover process"),
            }
        }
        result
    }

    /// Starts a process and waits until its device is ready.
    fn spawn(&mut self) -> Result<DeviceInfo, String> {
        self.number += 1;
        let number = self.number;
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal sends Ctrl-C to its whole group; only the worker should act on it.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start the prover process: {error}"))?;
        let (Some(pipe), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the prover process has no pipes".into());
        };
        self.pid.store(child.id(), Ordering::Relaxed);
        let mut running = Running {
            child,
            pipe,
            killed: None,
        };
        let inputs = self.inputs.clone();
        thread::Builder::new()
            .name("prover-output".into())
            .spawn(move || listen(number, BufReader::new(output), &inputs))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        match self.await_ready(number) {
            Ok(info) => {
                self.running = Some(running);
                Ok(info)
            }
            Err(Unready::Refused(reason)) => Err(reason),
            Err(Unready::Late) => Err(format!("the device was not ready after {START_MAX:?}")),
            Err(Unready::Ended) => Err(running.reap().1),
        }
    }

    fn await_ready(&mut self, number: u64) -> Result<DeviceInfo, Unready> {
        let until = Instant::now() + START_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(left) {
                Ok(Input::Said(from, FromProver::Ready(info))) if from == number => return Ok(info),
                Ok(Input::Said(from, FromProver::Refused(reason))) if from == number => {
                    return Err(Unready::Refused(reason));
                }
                Ok(Input::Ended(from, reason)) if from == number => {
                    return Err(reason.map_or(Unready::Ended, Unready::Refused));
                }
                // Of an older process.
                Ok(Input::Said(..) | Input::Ended(..) | Input::Stalled(_)) => {}
                Ok(other) => self.later.push_back(other),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(Unready::Late),
            }
        }
    }
}

/// Why a process did not become ready.
enum Unready {
    Refused(String),
    Ended,
    Late,
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

fn failed(lease: LeaseId, class: FailureClass, message: String) -> Event {
    Event::Over {
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
