//! The processes of a service: started, killed, stopped and started again.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{full, hostile, papers::Way, standin, trace::Plan};

/// Longest wait for a process to end.
const END_MAX: Duration = Duration::from_secs(60);

/// Which programs make the service.
#[derive(Clone)]
pub enum Programs {
    /// This one, with a stand-in for proving.
    StandIn,
    /// The released binary, with the keys of preset `tiny`.
    Released(PathBuf),
    /// This one, its coordinator traced.
    Traced(Plan),
    /// This one, its coordinator with so many file descriptors at most, reached in that way with the papers in the folder.
    Limited { descriptors: u32, way: Way },
}

/// A process that is killed when it is dropped.
pub struct Process {
    name: String,
    log: PathBuf,
    /// Bytes of the log that those before it have written.
    before: usize,
    child: Child,
}

/// The processes of one service, in one folder.
pub struct Service {
    pub programs: Programs,
    folder: PathBuf,
    pub address: String,
    pub coordinator: Process,
    pub workers: Vec<Process>,
}

impl Service {
    pub fn start(programs: Programs, folder: &Path, workers: usize) -> Self {
        let address = free_address();
        let coordinator = coordinator(&programs, folder, &address);
        let workers = (0..workers)
            .map(|worker| self::worker(&programs, folder, &address, worker))
            .collect();
        Self {
            programs,
            folder: folder.into(),
            address,
            coordinator,
            workers,
        }
    }

    /// Starts the coordinator again, which has ended.
    pub fn restart_coordinator(&mut self) {
        self.coordinator = coordinator(&self.programs, &self.folder, &self.address);
    }

    /// Starts a worker again, which has ended.
    pub fn restart_worker(&mut self, worker: usize) {
        self.workers[worker] = self::worker(&self.programs, &self.folder, &self.address, worker);
    }

    /// The end of a process's log.
    pub fn log(&self, name: &str) -> String {
        tail(&self.folder.join(format!("{name}.log")))
    }

    /// Whether every worker had a session.
    pub fn were_connected(&self) -> bool {
        self.workers.iter().all(|worker| {
            let log = fs::read(self.folder.join(format!("{}.log", worker.name)));
            String::from_utf8_lossy(&log.unwrap_or_default()).contains("session open")
        })
    }

    /// Asserts that no process has ended by itself.
    pub fn assert_alive(&mut self) {
        for process in self.workers.iter_mut().chain([&mut self.coordinator]) {
            if let Some(status) = process.ended() {
                let log = tail(&self.folder.join(format!("{}.log", process.name)));
                panic!("{} ended by itself: {status}\n{log}", process.name);
            }
        }
    }
}

impl Process {
    pub fn spawn(mut command: Command, folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.log"));
        let log = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .expect("a log");
        let before = log.metadata().expect("a log").len() as usize;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        Self {
            name: name.into(),
            log: path,
            before,
            child: command.spawn().expect("the program starts"),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that it and those before it under its name have logged.
    pub fn log(&self) -> Vec<u8> {
        fs::read(&self.log).expect("its log is there")
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.log()[self.before..]).into_owned()
    }

    pub fn send(&self, signal: Signal) {
        // It may have ended, which is noticed elsewhere.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.send(Signal::SIGKILL);
        self.child.wait().expect("it is ours");
    }

    /// Asks it to end, and asserts that it does.
    pub fn terminate(&mut self) {
        self.terminate_unless(&[]);
    }

    /// The same; one whose last words have one of these excuses may say by its exit code that something went wrong.
    pub fn terminate_unless(&mut self, excuses: &[&str]) {
        self.send(Signal::SIGTERM);
        let began = Instant::now();
        while began.elapsed() < END_MAX {
            if let Some(status) = self.ended() {
                let clean = status.success() || status.signal() == Some(Signal::SIGTERM as i32);
                let said = self.said();
                let last = said.lines().last().unwrap_or_default();
                let is_excused = excuses.iter().any(|excuse| last.contains(excuse));
                assert!(
                    clean || is_excused,
                    "{}: {status}\n{}",
                    self.name,
                    tail(&self.log)
                );
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{} does not end", self.name);
    }

    /// Kills one of the processes that it started, if there is one.
    pub fn kill_child(&self) -> bool {
        let id = self.child.id();
        let tasks = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let other_threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
        let children = other_threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .fold(tasks, |all, some| all + " " + &some);
        let child = children.split_whitespace().find_map(|id| id.parse().ok());
        child.is_some_and(|child| kill(Pid::from_raw(child), Signal::SIGKILL).is_ok())
    }

    /// A number of `/proc/PID/status`, such as `VmHWM` in kB.
    pub fn status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).expect("it runs");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("it runs")
            .count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address that nobody listens on.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// The end of a log, for a failure's message.
pub fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// This program in a role of its own.
pub fn this(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's file"));
    command.arg(role);
    command
}

fn coordinator(programs: &Programs, folder: &Path, address: &str) -> Process {
    let store = folder.join("store");
    let command = match programs {
        Programs::Traced(plan) => {
            let mut command = full::tracer(*plan);
            command.arg(address).arg(store);
            command
        }
        Programs::Limited { descriptors, way } => {
            let mut command = hostile::limited(*descriptors);
            command.arg(address).arg(store);
            command.arg(way.name()).arg(folder);
            command
        }
        Programs::StandIn => {
            let mut command = this("coordinator");
            command.arg(address).arg(store);
            command
        }
        Programs::Released(program) => released(program, address, &store),
    };
    Process::spawn(command, folder, "coordinator")
}

/// How long a released coordinator leads after its last word.
pub const RELEASED_LEADER_LEASE: Duration = Duration::from_secs(3);

/// One of the coordinators that share the database of `url` and a place for artifacts.
pub fn member(programs: &Programs, folder: &Path, address: &str, url: &str, artifacts: &str) -> Command {
    let store = folder.join("store");
    match programs {
        Programs::Released(program) => {
            let mut command = released(program, address, &store);
            command
                .arg("--leader-lease-ms")
                .arg(RELEASED_LEADER_LEASE.as_millis().to_string())
                .args(["--artifacts", artifacts, "--artifact-retention", "60"])
                .env("ROLLUP_PROVER_POSTGRES", url);
            command
        }
        _ => {
            let mut command = this("member");
            command.arg(address).arg(store).args([url, artifacts]);
            command
        }
    }
}

fn released(program: &Path, address: &str, store: &Path) -> Command {
    let contract = format!("0x{}", hex::encode(standin::ROLLUP.contract));
    let chain_id = standin::ROLLUP.chain_id.to_string();
    let mut command = Command::new(program);
    command.args(["coordinator", "--listen", address, "--data-dir"]);
    command.arg(store);
    command.args(["--chain-id", &chain_id, "--contract", &contract]);
    command.args(["--lease-seconds", "15"]).args(KEYS);
    command
}

pub fn worker(programs: &Programs, folder: &Path, address: &str, worker: usize) -> Process {
    let name = format!("worker-{worker}");
    let command = match programs {
        Programs::StandIn | Programs::Traced(_) | Programs::Limited { .. } => {
            let mut command = this("worker");
            command.args([address, &name]);
            if let Programs::Limited { way, .. } = programs {
                command.arg(way.name()).arg(folder);
            }
            command
        }
        Programs::Released(program) => {
            let mut command = Command::new(program);
            let url = address.split(',').map(|address| format!("http://{address}"));
            let url = url.collect::<Vec<_>>().join(",");
            command.args(["worker", "--coordinator", &url, "--name", &name]);
            command.args(["--device", "cpu"]).args(KEYS);
            command
        }
    };
    Process::spawn(command, folder, &name)
}

const KEYS: [&str; 3] = ["--preset", "tiny", "--insecure-dev-srs"];

/// A folder of a loop's own. Where the loop fails it stays, with all logs.
pub struct Folder(TempDir);

impl Folder {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("its logs are in {}", self.path().display());
        }
    }
}
