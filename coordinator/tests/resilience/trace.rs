//! Faults of the system under a process, call by call: the process is traced, and at its n-th call of a kind that call fails,
//! is cut short, or is the last thing that the process does.
//!
//! What a kill cannot show is a write that was acknowledged and not synced, since the system outlives the process and keeps it:
//! so the tracer also notes what was written and not synced at the moment of each acknowledgement.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    errno::Errno,
    libc::{self, c_long},
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Calls that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Those that change what is on the disk, and those that make it last: write, truncate, sync, rename, unlink, mkdir, create.
    Changes,
    /// Of these, the ones that a full disk refuses.
    Growth,
    /// Those that need a new file descriptor, but for the few that tokio makes for its runtime, which panics without: the program looks
    /// before whether there are as many.
    Descriptors,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before it.
    Kill,
    /// Half of what it would write is written, then the process is killed.
    Torn,
    /// It fails, and so do the next ones, as many as said in all.
    Fail(Errno, u64),
}

/// Which call, counted from 1, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub calls: Calls,
    pub at: u64,
    pub fault: Fault,
}

/// How a traced process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Calls of the counted kind that it made.
    pub calls: u64,
    /// The call that was hit first, for people.
    pub hit: Option<String>,
    /// Acknowledgements that came before what they acknowledge was synced.
    pub unsynced: Vec<String>,
}

/// How acknowledgements begin that a process writes to files outside of its folder.
pub const ACKNOWLEDGES: &str = "ack ";

/// Runs a process to its end. It must read a line from its standard input before it does anything that counts; calls on
/// files outside of `folder` do not count.
pub fn run(command: &mut Command, folder: &Path, plan: Plan) -> Ended {
    run_telling(command, folder, plan, |_| ())
}

/// The same, and tells the call that is hit first as soon as it is.
pub fn run_telling(command: &mut Command, folder: &Path, plan: Plan, tell: fn(&str)) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
    let mut tracer = Tracer::seize(&mut child, folder, plan, tell);
    let ended = tracer.follow();
    // The tracer has reaped it.
    drop(child);
    ended
}

struct Tracer {
    main: Pid,
    folder: PathBuf,
    plan: Plan,
    calls: u64,
    hit: Option<String>,
    tell: fn(&str),
    /// Threads that are inside of a call, what it does to files, and what its result shall be.
    inside: HashMap<Pid, (Change, After)>,
    /// Files and folders that were changed and not synced, with the last call that did.
    dirty: BTreeMap<PathBuf, &'static str>,
    unsynced: Vec<String>,
    /// Whether it has read its line.
    begun: bool,
}

/// What a call does to files when it succeeds, as far as a loss of power is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Nothing,
    Writes(PathBuf, &'static str),
    /// What is gone need not last.
    Removes(PathBuf),
    Syncs(PathBuf),
    Names(PathBuf),
    Renames(PathBuf, PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Fails(Errno),
    Dies,
}

/// The call that a thread is about to make.
struct Call {
    number: c_long,
    args: [u64; 4],
}

impl Tracer {
    fn seize(child: &mut Child, folder: &Path, plan: Plan, tell: fn(&str)) -> Self {
        let main = Pid::from_raw(child.id() as i32);
        let options =
            Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, options).expect("a child can be traced");
        ptrace::interrupt(main).expect("it waits for its line");
        waitpid(main, Some(WaitPidFlag::__WALL)).expect("it stops");
        ptrace::syscall(main, None).expect("it goes on");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(b"go\n").expect("it reads");
        Self {
            main,
            folder: folder.canonicalize().expect("it exists"),
            plan,
            calls: 0,
            hit: None,
            tell,
            inside: HashMap::new(),
            dirty: BTreeMap::new(),
            unsynced: Vec::new(),
            begun: false,
        }
    }

    fn follow(&mut self) -> Ended {
        loop {
            let status = waitpid(None, Some(WaitPidFlag::__WALL)).expect("there are threads to follow");
            let (thread, signal) = match status {
                WaitStatus::Exited(pid, code) if pid == self.main => return self.ended(Some(code)),
                WaitStatus::Signaled(pid, _, _) if pid == self.main => return self.ended(None),
                WaitStatus::PtraceSyscall(pid) => {
                    self.at_call(pid);
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, _, _) => (pid, None),
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            // It fails where the thread was killed meanwhile.
            let _ = ptrace::syscall(thread, signal);
        }
    }

    fn ended(&mut self, code: Option<i32>) -> Ended {
        Ended {
            code,
            calls: self.calls,
            hit: self.hit.take(),
            unsynced: std::mem::take(&mut self.unsynced),
        }
    }

    fn at_call(&mut self, thread: Pid) {
        if let Some((change, after)) = self.inside.remove(&thread) {
            return self.leave(thread, change, after);
        }
        let Ok(registers) = ptrace::getregs(thread) else {
            return;
        };
        let call = Call {
            number: registers.orig_rax as c_long,
            args: [registers.rdi, registers.rsi, registers.rdx, registers.r10],
        };
        if !self.begun {
            // What the loader does is not the program's.
            self.begun = call.number == libc::SYS_read && call.args[0] == 0;
            self.inside.insert(thread, (Change::Nothing, After::Nothing));
            return;
        }
        let change = self.change(thread, &call);
        let after = self.enter(thread, registers, &call);
        self.inside.insert(thread, (change, after));
    }

    fn enter(&mut self, thread: Pid, mut registers: libc::user_regs_struct, call: &Call) -> After {
        if !self.counts(thread, call) {
            return After::Nothing;
        }
        self.calls += 1;
        let Plan { at, fault, .. } = self.plan;
        let last = match fault {
            Fault::Fail(_, count) => at.saturating_add(count - 1),
            _ => at,
        };
        if self.calls < at || self.calls > last {
            return After::Nothing;
        }
        if self.hit.is_none() {
            let hit = self.describe(thread, call);
            (self.tell)(&hit);
            self.hit = Some(hit);
        }
        match fault {
            Fault::Torn if is_write(call.number) && call.args[2] > 1 => {
                registers.rdx /= 2;
                // Where it fails the thread is dying.
                let _ = ptrace::setregs(thread, registers);
                After::Dies
            }
            Fault::Kill | Fault::Torn => {
                registers.orig_rax = u64::MAX;
                let _ = ptrace::setregs(thread, registers);
                let _ = kill(self.main, Signal::SIGKILL);
                After::Nothing
            }
            Fault::Fail(errno, _) => {
                registers.orig_rax = u64::MAX;
                let _ = ptrace::setregs(thread, registers);
                After::Fails(errno)
            }
        }
    }

    fn leave(&mut self, thread: Pid, change: Change, after: After) {
        let Ok(mut registers) = ptrace::getregs(thread) else {
            return;
        };
        match after {
            After::Nothing if (registers.rax as i64) < 0 => {}
            After::Nothing => self.changed(change),
            After::Fails(errno) => {
                registers.rax = (-(errno as i64)) as u64;
                let _ = ptrace::setregs(thread, registers);
            }
            After::Dies => drop(kill(self.main, Signal::SIGKILL)),
        }
    }

    /// What a call is about to do to files. Notes what it acknowledges too early.
    fn change(&mut self, thread: Pid, call: &Call) -> Change {
        let path = |at: usize| PathBuf::from(text_at(thread, call.args[at]).unwrap_or_default());
        match call.number {
            // A file that is cut shorter, or longer and not yet written, holds nothing that was acknowledged.
            number if is_write(number) => {
                let file = self.file(thread, call);
                if file.starts_with(&self.folder) {
                    return Change::Writes(file, name(number));
                }
                let text = text_at(thread, call.args[1]).unwrap_or_default();
                if text.starts_with(ACKNOWLEDGES) && !self.dirty.is_empty() {
                    self.unsynced.push(format!("{text:?}: {:?}", self.dirty));
                }
                Change::Nothing
            }
            number if is_sync(number) => Change::Syncs(self.file(thread, call)),
            libc::SYS_rename => Change::Renames(path(0), path(1)),
            libc::SYS_renameat | libc::SYS_renameat2 => Change::Renames(path(1), {
                PathBuf::from(text_at(thread, call.args[3]).unwrap_or_default())
            }),
            libc::SYS_unlink => Change::Removes(path(0)),
            libc::SYS_unlinkat => Change::Removes(path(1)),
            libc::SYS_mkdir => Change::Names(path(0)),
            libc::SYS_mkdirat => Change::Names(path(1)),
            libc::SYS_openat if makes_entry(call) && !path(1).exists() => Change::Names(path(1)),
            _ => Change::Nothing,
        }
    }

    fn changed(&mut self, change: Change) {
        let folder_of = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
        match change {
            Change::Writes(file, how) => drop(self.dirty.insert(file, how)),
            Change::Syncs(file) | Change::Removes(file) => drop(self.dirty.remove(&file)),
            Change::Names(path) if path.starts_with(&self.folder) => {
                self.dirty.insert(folder_of(&path), "a new name");
            }
            Change::Renames(from, to) if to.starts_with(&self.folder) => {
                if let Some(how) = self.dirty.remove(&from) {
                    self.dirty.insert(to.clone(), how);
                }
                self.dirty.insert(folder_of(&to), "a rename");
            }
            Change::Names(_) | Change::Renames(..) | Change::Nothing => {}
        }
    }

    fn counts(&self, thread: Pid, call: &Call) -> bool {
        match self.plan.calls {
            Calls::Descriptors => matches!(
                call.number,
                libc::SYS_open
                    | libc::SYS_openat
                    | libc::SYS_dup
                    | libc::SYS_accept4
                    | libc::SYS_socket
                    | libc::SYS_pipe2
            ),
            Calls::Growth => {
                let grows = is_write(call.number) || is_resize(call.number);
                (grows && self.is_ours(thread, call)) || makes_entry(call)
            }
            Calls::Changes => {
                let by_descriptor = is_write(call.number) || is_resize(call.number) || is_sync(call.number);
                (by_descriptor && self.is_ours(thread, call))
                    || makes_entry(call)
                    || matches!(
                        call.number,
                        libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir
                    )
            }
        }
    }

    /// Whether a call's descriptor is of a file in the folder.
    fn is_ours(&self, thread: Pid, call: &Call) -> bool {
        self.file(thread, call).starts_with(&self.folder)
    }

    /// The file of a call's descriptor.
    fn file(&self, thread: Pid, call: &Call) -> PathBuf {
        fs::read_link(format!("/proc/{thread}/fd/{}", call.args[0])).unwrap_or_default()
    }

    fn describe(&self, thread: Pid, call: &Call) -> String {
        let by_descriptor = is_write(call.number) || is_resize(call.number) || is_sync(call.number);
        let subject = if by_descriptor {
            self.file(thread, call).display().to_string()
        } else {
            let at = match call.number {
                libc::SYS_openat | libc::SYS_mkdirat | libc::SYS_unlinkat | libc::SYS_renameat => 1,
                _ => 0,
            };
            text_at(thread, call.args[at]).unwrap_or_default()
        };
        format!("{} {subject} {:?}", name(call.number), &call.args[1..])
    }
}

fn is_write(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev
    )
}

fn is_resize(number: c_long) -> bool {
    matches!(number, libc::SYS_ftruncate | libc::SYS_fallocate)
}

fn is_sync(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync_file_range
    )
}

/// Whether a call puts a name into a folder.
fn makes_entry(call: &Call) -> bool {
    let creates = |flags: u64| flags & libc::O_CREAT as u64 != 0;
    match call.number {
        libc::SYS_openat => creates(call.args[2]),
        libc::SYS_open => creates(call.args[1]),
        number => matches!(
            number,
            libc::SYS_creat
                | libc::SYS_rename
                | libc::SYS_renameat
                | libc::SYS_renameat2
                | libc::SYS_mkdir
                | libc::SYS_mkdirat
                | libc::SYS_link
                | libc::SYS_linkat
        ),
    }
}

/// The text at an address of a process, up to a zero.
fn text_at(thread: Pid, address: u64) -> Option<String> {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = [0; 256];
    let count = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes[..count].iter().position(|byte| *byte == 0).unwrap_or(count);
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn name(number: c_long) -> &'static str {
    match number {
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => "write",
        libc::SYS_ftruncate | libc::SYS_fallocate => "resize",
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync_file_range => "sync",
        libc::SYS_unlink | libc::SYS_unlinkat => "unlink",
        libc::SYS_rmdir => "rmdir",
        libc::SYS_mkdir | libc::SYS_mkdirat => "mkdir",
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => "rename",
        libc::SYS_open | libc::SYS_openat | libc::SYS_creat => "open",
        _ => "call",
    }
}
