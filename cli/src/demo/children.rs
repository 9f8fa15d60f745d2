//! Child processes of the demo: started, restarted when they die, stopped with it.
//!
//! A child ends with the demo however the demo ends: it reads a pipe whose other end the demo holds, and exits
//! when that pipe closes (`--exit-on-stdin-eof`). Nothing has to run in the demo for that, so SIGKILL is covered.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accel::machine::{self, Process, ProcessMemory};
use anyhow::{Context, Result, bail};
use keys::whole_file;
use serde::Serialize;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::args::CONNECTION_VARIABLES;
use crate::output;

/// A child that died more often than this is given up: something is wrong that a restart does not mend.
const RESTARTS_MAX: u32 = 5;
/// Pause before a restart, so that a child that cannot start does not spin.
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// How often memory is sampled. The kernel keeps each process's peak, so only its last moments can be missed.
const MEMORY_INTERVAL: Duration = Duration::from_millis(250);
/// How long a child may take to end after it is asked to, before it is killed. A signal ends the demo within two seconds.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// Unique name: "coordinator", "worker-1", ...
    pub name: String,
    /// Arguments of this same program.
    pub args: Vec<String>,
}

/// What is known of a child, through all its restarts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChildRecord {
    /// Process id of the run in progress; none while it is down.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u32,
}

/// How much memory the processes took.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The highest resident memory of each with the processes that it started, of any of its runs, bytes.
    pub each: BTreeMap<String, u64>,
    /// The highest sum of their resident memory at one time, bytes.
    pub together: u64,
}

type Records = Arc<Mutex<BTreeMap<String, ChildRecord>>>;

/// Starts children and restarts those that die.
pub struct Supervisor {
    directory: PathBuf,
    records: Records,
    memory: Arc<Mutex<Memory>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    gave_up: mpsc::UnboundedSender<String>,
}

/// Tells of children that were given up.
pub struct Failures {
    reasons: mpsc::UnboundedReceiver<String>,
}

impl Failures {
    /// Waits until a child is given up; returns why. Waits for ever once the supervisor is gone.
    pub async fn next(&mut self) -> String {
        match self.reasons.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

impl Supervisor {
    /// A supervisor whose children log into `directory`, where `processes.json` also says who runs.
    pub fn new(directory: &Path) -> (Self, Failures) {
        let (gave_up, reasons) = mpsc::unbounded_channel();
        let supervisor = Self {
            directory: directory.to_path_buf(),
            records: Records::default(),
            memory: Arc::default(),
            stop: watch::Sender::new(false),
            tasks: Vec::new(),
            gave_up,
        };
        (supervisor, Failures { reasons })
    }

    /// Starts a child and keeps it running until [`Supervisor::stop`].
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub fn start(&mut self, spec: ChildSpec) -> Result<()> {
        let log = self.directory.join(format!("{}.log", spec.name));
        let first = Run::spawn(&spec, &log)?;
        let keeper = Keeper {
            spec,
            log,
            directory: self.directory.clone(),
            records: self.records.clone(),
            stop: self.stop.subscribe(),
            gave_up: self.gave_up.clone(),
        };
        self.tasks.push(tokio::spawn(keeper.keep(first)));
        Ok(())
    }

    /// What is known of each child.
    pub fn records(&self) -> BTreeMap<String, ChildRecord> {
        self.records
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// Samples the memory of the children and of `others` from now on, until [`Supervisor::stop`].
    pub fn watch_memory<const N: usize>(&mut self, others: [(&'static str, u32); N]) {
        let (records, memory, mut stop) = (self.records.clone(), self.memory.clone(), self.stop.subscribe());
        self.tasks.push(tokio::spawn(async move {
            let mut samples = tokio::time::interval(MEMORY_INTERVAL);
            loop {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = samples.tick() => {}
                }
                let children = records.lock().expect("no holder of this lock panics").clone();
                let children = children
                    .into_iter()
                    .filter_map(|(name, record)| Some((name, record.pid?)));
                let parents = parents();
                let children = children.map(|(name, pid)| (name, family(pid, &parents)));
                // Not the families of these: the demo's are the children.
                let others = others.map(|(name, pid)| (name.to_string(), vec![pid]));
                let mut memory = memory.lock().expect("no holder of this lock panics");
                memory.sample(others.into_iter().chain(children));
            }
        }));
    }

    /// What [`Supervisor::watch_memory`] has seen.
    pub fn memory(&self) -> Memory {
        self.memory.lock().expect("no holder of this lock panics").clone()
    }

    /// Stops every child and waits until all are gone.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a keeper of a child process failed");
            }
        }
    }
}

/// Keeps one child running.
struct Keeper {
    spec: ChildSpec,
    log: PathBuf,
    directory: PathBuf,
    records: Records,
    stop: watch::Receiver<bool>,
    gave_up: mpsc::UnboundedSender<String>,
}

impl Keeper {
    async fn keep(mut self, mut run: Run) {
        loop {
            self.record(|record| record.pid = run.child.id());
            tracing::info!(child = %self.spec.name, pid = run.child.id(), "started");
            let Some(status) = self.wait_for_death(&mut run).await else {
                run.stop().await;
                self.record(|record| record.pid = None);
                return;
            };
            self.record(|record| record.pid = None);
            match self.restart(status).await {
                Ok(Some(next)) => run = next,
                Ok(None) => return,
                Err(error) => {
                    // The receiver lives as long as the supervisor, and without one there is nobody to tell.
                    let _ = self.gave_up.send(output::sentence(&error));
                    return;
                }
            }
        }
    }

    /// Waits until the child dies by itself (its status) or is to be stopped (none).
    async fn wait_for_death(&mut self, run: &mut Run) -> Option<std::io::Result<ExitStatus>> {
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => None,
            status = run.child.wait() => Some(status),
        }
    }

    /// Starts the child again; none when the demo stops meanwhile.
    async fn restart(&mut self, status: std::io::Result<ExitStatus>) -> Result<Option<Run>> {
        let name = self.spec.name.clone();
        let status = status.with_context(|| format!("cannot wait for {name}"))?;
        let restarts = self.record(|record| {
            record.restarts += 1;
            record.restarts
        });
        tracing::warn!(child = %name, %status, restarts, "a child process died");
        if restarts > RESTARTS_MAX {
            bail!(
                "{name} died {restarts} times ({status}); its log ends:\n{}",
                tail(&self.log)
            );
        }
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => return Ok(None),
            () = tokio::time::sleep(RESTART_PAUSE * restarts) => {}
        }
        Run::spawn(&self.spec, &self.log).map(Some)
    }

    /// Changes this child's record and publishes all of them.
    fn record<T>(&self, change: impl FnOnce(&mut ChildRecord) -> T) -> T {
        let mut records = self.records.lock().expect("no holder of this lock panics");
        let result = change(records.entry(self.spec.name.clone()).or_default());
        if let Err(error) = publish(&self.directory, &records) {
            tracing::warn!(%error, "cannot write processes.json");
        }
        result
    }
}

/// One run of a child.
struct Run {
    child: Child,
    /// Its closing asks the child to exit. Held apart from the child, whose `wait` would close it.
    pipe: Option<ChildStdin>,
}

impl Run {
    fn spawn(spec: &ChildSpec, log: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .context("cannot open a log file")?;
        let mut command = Command::new(program);
        // They speak with each other on loopback, whatever the caller uses elsewhere.
        for variable in CONNECTION_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .args(&spec.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().context("cannot share a log file")?))
            .stderr(Stdio::from(log))
            // A terminal sends Ctrl-C to its whole group; only the demo should act on it, in its own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", spec.name))?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Closes the pipe, which asks the child to exit, and kills it if it does not.
    async fn stop(mut self) {
        drop(self.pipe.take());
        if tokio::time::timeout(STOP_GRACE, self.child.wait()).await.is_err()
            && let Err(error) = self.child.kill().await
        {
            tracing::warn!(%error, "cannot kill a child process");
        }
    }
}

/// Writes `processes.json` so that a reader never sees half of it.
fn publish(directory: &Path, records: &BTreeMap<String, ChildRecord>) -> Result<()> {
    let text = serde_json::to_vec_pretty(records)?;
    Ok(whole_file::write(&directory.join("processes.json"), &text)?)
}

impl Memory {
    fn sample(&mut self, processes: impl Iterator<Item = (String, Vec<u32>)>) {
        let mut together = 0;
        for (name, pids) in processes {
            let mut highest = 0;
            for pid in pids {
                // A process that is gone by now takes nothing.
                let Some(memory) = ProcessMemory::of(pid) else {
                    continue;
                };
                highest += memory.peak_bytes;
                together += memory.now_bytes;
            }
            let each = self.each.entry(name).or_default();
            *each = highest.max(*each);
        }
        self.together = self.together.max(together);
    }
}

/// The parent of each process of the machine.
fn parents() -> BTreeMap<u32, u32> {
    let pids = machine::process_ids().into_iter();
    pids.filter_map(|pid| Some((pid, Process::of(pid)?.parent)))
        .collect()
}

/// A process and all that descend from it.
fn family(pid: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| **of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    family
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
