//! The demo's processes: a local L1, the coordinator and two workers, all on loopback with ports of their own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use keys::whole_file::Folder;
use proto::connection::CoordinatorUrl;
use prover::device::DeviceChoice;
use rules::operation::RollupId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use verifier_contracts::anvil::Anvil;
use verifier_contracts::tools::Tools;

use super::children::{ChildSpec, Supervisor};

/// Workers of the demo.
const WORKERS: usize = 2;
/// A lease's time in the demo. A killed worker's task waits no longer than this.
const LEASE_SECONDS: u32 = 10;

/// The local L1.
pub struct Chain {
    /// Kills anvil when the demo is gone and cannot.
    _guard: Child,
    anvil: Anvil,
}

impl Chain {
    /// Starts anvil.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(tools: &Tools) -> Result<Self> {
        let tools = tools.clone();
        let anvil = tokio::task::spawn_blocking(move || Anvil::spawn(&tools))
            .await
            .context("starting anvil panicked")??;
        Ok(Self {
            _guard: guard(anvil.pid())?,
            anvil,
        })
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        self.anvil.url()
    }

    /// anvil's process id.
    pub fn pid(&self) -> u32 {
        self.anvil.pid()
    }
}

/// Starts a process that kills `pid` when this one is gone: its standard input ends then.
fn guard(pid: u32) -> Result<Child> {
    Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(["guard", "--pid", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the guard of anvil")
}

/// Makes the keys of a preset in another process, which shows its progress itself.
///
/// # Errors
/// When it cannot be started or fails; it says why on standard error.
pub async fn make_keys(preset: &str, keys_dir: &Path) -> Result<()> {
    let mut child = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args([
            "keygen",
            "--insecure-dev-srs",
            "--exit-on-stdin-eof",
            "--preset",
            preset,
            "--keys-dir",
        ])
        .arg(keys_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start key generation")?;
    // Its end makes the child exit; `wait` would close it at once.
    let _pipe = child.stdin.take();
    let status = child.wait().await.context("cannot wait for key generation")?;
    anyhow::ensure!(status.success(), "key generation failed ({status})");
    Ok(())
}

/// What the coordinator and the workers share.
pub struct ServiceConfig<'a> {
    /// Directory of logs and data.
    pub directory: &'a Path,
    /// Name of the preset.
    pub preset: &'a str,
    /// Directory of the key cache.
    pub keys_dir: &'a Path,
    /// What the workers prove on.
    pub device: DeviceChoice,
    /// The rollup.
    pub rollup_id: RollupId,
}

/// Where the coordinator is reached.
pub struct Addresses {
    /// By those who call it.
    pub url: CoordinatorUrl,
    /// By those who look at its metrics.
    pub metrics: String,
}

/// Starts the coordinator and the workers; returns where the coordinator is. They may not have come up yet.
///
/// # Errors
/// When a process cannot be started.
pub fn start(config: &ServiceConfig, supervisor: &mut Supervisor) -> Result<Addresses> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let url: CoordinatorUrl = format!("http://{address}").parse()?;
    let metrics = format!("127.0.0.1:{}", free_port()?);

    let mut args = strings([
        "coordinator",
        "--listen",
        &address,
        "--metrics-listen",
        &metrics,
        "--lease-seconds",
        &LEASE_SECONDS.to_string(),
    ]);
    args.extend(strings([
        "--data-dir",
        path(&config.directory.join("coordinator"))?,
    ]));
    args.extend(strings(["--chain-id", &config.rollup_id.chain_id.to_string()]));
    args.extend(strings([
        "--contract",
        &format!("0x{}", hex::encode(config.rollup_id.contract)),
    ]));
    args.extend(shared_args(config)?);
    supervisor.start(ChildSpec {
        name: "coordinator".into(),
        args,
    })?;

    for number in 1..=WORKERS {
        let name = format!("worker-{number}");
        let mut args = strings(["worker", "--coordinator", url.as_str(), "--name", &name]);
        args.extend(strings(["--device", &config.device.to_string()]));
        args.extend(shared_args(config)?);
        supervisor.start(ChildSpec { name, args })?;
    }
    Ok(Addresses { url, metrics })
}

/// Seconds of the coordinator's own work since it started last, by kind.
///
/// # Errors
/// When it does not say.
pub async fn own_seconds(metrics: &str) -> Result<BTreeMap<String, f64>> {
    const REQUEST: &[u8] = b"GET /metrics HTTP/1.0\r\n\r\n";
    const BEGINS: &str = "rollup_prover_own_seconds_sum{work=\"";
    let mut connection = TcpStream::connect(metrics).await?;
    connection.write_all(REQUEST).await?;
    let mut page = String::new();
    connection.read_to_string(&mut page).await?;
    let of_line = |line: &str| {
        let (work, seconds) = line.strip_prefix(BEGINS)?.split_once("\"} ")?;
        Some((work.to_owned(), seconds.parse().ok()?))
    };
    let seconds: BTreeMap<String, f64> = page.lines().filter_map(of_line).collect();
    anyhow::ensure!(!seconds.is_empty(), "its metrics do not have them");
    Ok(seconds)
}

fn shared_args(config: &ServiceConfig) -> Result<Vec<String>> {
    let keys_dir = path(config.keys_dir)?;
    Ok(strings([
        "--preset",
        config.preset,
        "--keys-dir",
        keys_dir,
        "--insecure-dev-srs",
        "--exit-on-stdin-eof",
    ]))
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_string).to_vec()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("the path {} is not UTF-8", path.display()))
}

/// A port that is free now. The coordinator keeps it over restarts, since the workers know it; if another program
/// takes it first, the coordinator says so and the demo fails.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no free port on loopback")?;
    Ok(listener
        .local_addr()
        .context("the system does not say which port is free")?
        .port())
}

/// The directory of the demo's logs and data.
pub enum WorkDir {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    /// Given by the user, and kept.
    Kept {
        /// Where it is.
        path: PathBuf,
        /// Removes it, if it was made for the demo, unless something came in.
        _folder: Folder,
    },
}

impl WorkDir {
    /// The user's directory, which is created if missing, or a new temporary one.
    ///
    /// # Errors
    /// When it cannot be created, or already has a demo's data in it.
    pub fn new(given: Option<&Path>) -> Result<Self> {
        let Some(given) = given else {
            let directory = tempfile::Builder::new().prefix("rollup-prover-demo-").tempdir();
            return Ok(Self::Temporary(
                directory.context("cannot create a temporary directory")?,
            ));
        };
        let folder = Folder::make(given).with_context(|| format!("cannot create {}", given.display()))?;
        anyhow::ensure!(
            !given.join("coordinator").exists(),
            "{} holds the data of an earlier demo; name another directory or remove it",
            given.display()
        );
        Ok(Self::Kept {
            path: given.to_path_buf(),
            _folder: folder,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept { path, .. } => path,
        }
    }

    /// Keeps the directory, for someone to look at the logs; returns where it is.
    pub fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(directory) => directory.keep(),
            Self::Kept { path, .. } => path,
        }
    }
}
