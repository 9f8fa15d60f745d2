//! A PostgreSQL server of a test's own: real, in a folder of its own, on a free port of this machine, as an ordinary user.

mod disk;

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use self::disk::SmallDisk;

/// Where Debian keeps the server's programs, by version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Users that a server may run as where the tests are root's, which the server refuses to be.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// Longest time until a server answers or has ended.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The folder of a disk of a server's own.
const DISK: &str = "disk";
/// The superuser of every server here.
const SUPERUSER: &str = "tester";

/// A server, which is killed and whose folder is removed when it is dropped.
#[derive(Debug)]
pub struct PgServer {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    user: Option<(u32, u32)>,
    process: Option<Child>,
    databases: AtomicU32,
    /// What its data lies on, where that is a disk of its own.
    disk: Option<SmallDisk>,
}

impl PgServer {
    /// Makes a cluster and starts its server.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, with what to do; or where it does not start.
    pub fn start() -> Self {
        Self::start_on(None).expect("only a disk of its own is refused")
    }

    /// The same, with its data on a disk of its own of so many bytes, which can be filled.
    ///
    /// # Errors
    /// Why this system has no such disk for this user.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_on_small_disk(bytes: u64) -> Result<Self, String> {
        Self::start_on(Some(bytes))
    }

    fn start_on(disk_bytes: Option<u64>) -> Result<Self, String> {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a folder");
        let user = other_user(folder.path());
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give it away");
        }
        let mut server = Self {
            programs,
            folder,
            port: free_port(),
            user,
            process: None,
            databases: AtomicU32::new(0),
            disk: None,
        };
        if let Some(bytes) = disk_bytes {
            let at = server.folder.path().join(DISK);
            fs::create_dir(&at).expect("made");
            server.disk = Some(SmallDisk::make(&at, bytes, user)?);
        }
        let mut make = server.command("initdb");
        make.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        // Small enough that a full disk is full for them soon.
        make.arg("--wal-segsize=1");
        make.arg(format!("--username={SUPERUSER}"))
            .arg("--pgdata")
            .arg(server.data());
        let made = make.output().expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.restart();
        Ok(server)
    }

    /// Starts the server again, which has ended.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Some(self.spawn());
        let began = Instant::now();
        while self.ask("postgres", "SELECT 1").is_none() {
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(
                began.elapsed() < WAIT_MAX,
                "PostgreSQL does not answer:\n{}",
                log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether a process of the server is there: each works in its data's folder.
    fn is_left(&self) -> bool {
        let processes = fs::read_dir("/proc").expect("it lists the processes");
        let works_in = |entry: fs::DirEntry| fs::read_link(entry.path().join("cwd")).ok();
        processes
            .filter_map(Result::ok)
            .filter_map(works_in)
            .any(|folder| folder == self.data())
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().append(true).create(true).open(self.log());
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        let settings = [
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.folder.path().display()),
            "listen_addresses=127.0.0.1".into(),
            "max_wal_size=16MB".into(),
            "min_wal_size=2MB".into(),
            // These tests kill processes, not machines.
            "fsync=off".into(),
            "max_connections=200".into(),
        ];
        for setting in settings {
            server.arg("-c").arg(setting);
        }
        server.stdout(Stdio::null()).stderr(log.expect("a log"));
        server.spawn().expect("postgres starts")
    }

    /// Ends the server without a warning, and waits until its sessions have noticed.
    ///
    /// # Panics
    /// Where they do not.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        process.kill().expect("it is a child");
        process.wait().expect("it is a child");
        let began = Instant::now();
        while self.is_left() {
            assert!(began.elapsed() < WAIT_MAX, "sessions of a killed server go on");
            sleep(Duration::from_millis(5));
        }
    }

    /// Fills the server's disk to the last byte.
    ///
    /// # Panics
    /// Where it has none of its own.
    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("it has a disk of its own").fill();
    }

    /// Goes on to the next file of the server's log, so that it uses up those that it has in reserve: on a full disk, whoever writes
    /// little would find room for long. A server that does not answer is left alone.
    pub fn use_up_log(&self) {
        let _ = self.ask("postgres", "SELECT pg_switch_wal()");
    }

    /// Makes room on the server's disk again, and waits until it answers. One that has ended without room is started again: then this
    /// is true.
    ///
    /// # Panics
    /// Where it has no disk of its own, or does not answer.
    pub fn make_room(&mut self) -> bool {
        self.disk.as_ref().expect("it has a disk of its own").make_room();
        let began = Instant::now();
        loop {
            let process = self.process.as_mut();
            if process.is_none_or(|process| process.try_wait().expect("it is a child").is_some()) {
                self.restart();
                return true;
            }
            if self.ask("postgres", "SELECT 1").is_some() {
                return false;
            }
            assert!(
                began.elapsed() < WAIT_MAX,
                "PostgreSQL does not answer:\n{}",
                self.logged()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// What the server has logged.
    ///
    /// # Panics
    /// Where its log is not there.
    pub fn logged(&self) -> String {
        let log = fs::read(self.log()).expect("its log is there");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Makes an empty database, and tells its URL.
    ///
    /// # Panics
    /// Where the server does not run.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a statement answers, as text: columns by `|`, rows by lines.
    ///
    /// # Panics
    /// Where it fails.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        self.ask(database, statement)
            .expect("the statement is right and the server runs")
    }

    /// Cuts every connection but the one that says so.
    ///
    /// # Panics
    /// Where the server does not run.
    pub fn cut(&self) {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        self.sql("postgres", others);
    }

    fn ask(&self, database: &str, statement: &str) -> Option<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
        ]);
        psql.arg(self.url(database)).arg("--command").arg(statement);
        let answer = psql.stdin(Stdio::null()).output().expect("psql starts");
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        answer.status.success().then_some(text)
    }

    fn data(&self) -> PathBuf {
        match self.disk {
            Some(_) => self.folder.path().join(DISK).join("data"),
            None => self.folder.path().join("data"),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// A program of the server's, as its user, with the environment of none.
    fn command(&self, name: &str) -> Command {
        let mut command = match &self.disk {
            Some(disk) => disk.enter(self.user),
            None => {
                let mut command = Command::new("setpriv");
                if let Some((uid, gid)) = self.user {
                    command.uid(uid).gid(gid);
                }
                command
            }
        };
        // Where this process is killed, so is the server.
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(self.programs.join(name));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder with the server's programs.
fn programs() -> PathBuf {
    let versions = match fs::read_dir(DEBIAN) {
        Ok(versions) => versions
            .filter_map(Result::ok)
            .map(|version| version.path().join("bin"))
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{DEBIAN}: {error}"),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    versions.into_iter().chain(on_path).find(has_all).unwrap_or_else(|| {
        panic!("PostgreSQL's server is missing (initdb, postgres and psql, in {DEBIAN}/*/bin or on PATH); on Debian: apt-get install postgresql")
    })
}

/// Whom the server runs as, where the tests are root's.
fn other_user(folder: &Path) -> Option<(u32, u32)> {
    if fs::metadata(folder).expect("it was made").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("it lists the users");
    let of = |name: &&str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    Some(USERS.iter().find_map(of).expect("there is an ordinary user"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_what_it_has_over_being_killed() {
        let mut server = PgServer::start();
        let url = server.database();
        let database = url
            .split('/')
            .next_back()
            .and_then(|rest| rest.split('?').next())
            .expect("it is named");
        server.sql(database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)");
        server.restart();
        server.cut();
        assert_eq!(
            server.sql(database, "SELECT a, a + 1 FROM t ORDER BY a"),
            "1|2\n2|3"
        );
    }

    #[test]
    fn a_server_whose_disk_is_full_refuses_to_write_until_there_is_room() {
        let mut server = match PgServer::start_on_small_disk(96 << 20) {
            Ok(server) => server,
            Err(why) => return println!("no disk of a server's own here: {why}"),
        };
        server.database();
        server.sql("test0", "CREATE TABLE t (a text)");
        server.sql("test0", "CREATE TABLE u AS SELECT 1 AS a");
        let more = "INSERT INTO t SELECT repeat(md5(i::text), 20) FROM generate_series(1, 5000) i";
        server.sql("test0", more);
        server.fill_disk();
        for _ in 0..3 {
            assert_eq!(server.ask("test0", more), None, "there is no room");
        }
        assert!(server.logged().contains("No space left on device"));
        server.make_room();
        let began = Instant::now();
        while server.ask("test0", more).is_none() {
            assert!(began.elapsed() < WAIT_MAX, "{}", server.logged());
        }
        assert_eq!(server.sql("test0", "SELECT count(*) FROM t"), "10000");
        // It has no room in reserve for those who write little either.
        server.fill_disk();
        let refused = |server: &PgServer| server.logged().matches("No space left on device").count();
        let (before, began) = (refused(&server), Instant::now());
        while refused(&server) == before {
            server.use_up_log();
            server.ask("test0", "UPDATE u SET a = a + 1");
            assert!(began.elapsed() < WAIT_MAX, "{}", server.logged());
        }
        server.make_room();
        server.restart();
        assert_eq!(server.sql("test0", "SELECT count(*) FROM t"), "10000");
    }
}
