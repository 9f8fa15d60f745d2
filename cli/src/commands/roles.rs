//! The long-running roles: coordinator and worker.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use accel::machine;
use anyhow::{Context, Result};
use prover::device::{self, DeviceConfig};
use prover::memory;
use prover::worker::{self, Meters, Place, WorkerConfig, WorkerError};
use rules::PROTOCOL_VERSION;
use rules::operation::RollupId;
use tokio::sync::watch;

use super::keys;
use crate::args::{
    CoordinatorArgs, DeviceArgs, KeyArgs, LogFormat, ProverProcessArgs, ProvingArgs, SrsArgs,
    VerifyingKeyArgs, WorkerArgs,
};
use crate::guard;
use crate::health;
use crate::metrics;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::signals::Signals;
use crate::traces;

/// Most bytes of a snapshot: twice those of as many accounts as one may have.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 30;
/// Longest time that a task may stand still: no phase reported and no processor time used.
const STALL_MAX: Duration = Duration::from_secs(120);
/// Longest time of one phase: the quotient at the largest preset on a slow machine, with room.
const PHASE_MAX: Duration = Duration::from_secs(1800);
/// Longest time of a drain: a task at the largest preset on a slow machine, with room.
const DRAIN_MAX: Duration = Duration::from_secs(3600);
/// How long another worker may have this one's name: longer than a coordinator takes to see that a connection is dead.
const NAME_TAKEN_MAX: Duration = Duration::from_secs(30);

/// Runs a worker until it is drained.
///
/// # Errors
/// When it cannot start, is refused, or its device fails again and again.
pub async fn worker(args: WorkerArgs, log_format: LogFormat, progress: &Progress) -> Result<()> {
    if args.exit_on_stdin_eof {
        guard::exit_on_stdin_eof()?;
    }
    let connector = args.credentials.connector(&args.coordinator)?;
    let shutdown = Signals::take()?.drain();
    tokio::pin!(shutdown);
    let ready = watch::Sender::new(false);
    if let Some(address) = args.health_listen {
        health::serve(address, ready.subscribe()).await?;
    }
    let name = args.name.unwrap_or_else(default_name);
    let (traces, sending) = traces::start(&args.traces, "worker", name.clone())?;
    let meters = Meters::default();
    if let Some(address) = args.metrics_listen {
        metrics::serve(address, meters.clone()).await?;
    }
    let keys = args.keys.clone();
    let manifest = tokio::select! {
        // The keys are not kept: the prover process opens them too.
        keys = open_beside(move |progress| keys::ensured(&keys, progress), progress) => keys?.manifest().clone(),
        () = &mut shutdown => return Ok(()),
    };
    let config = WorkerConfig {
        coordinator: connector,
        name,
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: manifest.shard_vk_digest.0,
        aggregation_vk_digest: manifest.aggregation_vk_digest.0,
        memory_bytes: memory::limit_bytes().unwrap_or(0),
        ahead: args.ahead.map(usize::from),
        stall_max: STALL_MAX,
        phase_max: PHASE_MAX,
        drain_max: DRAIN_MAX,
        name_taken_max: NAME_TAKEN_MAX,
        ready,
        meters,
        traces,
    };
    let process = prover_command(&args.proving, &args.keys, log_format);
    let ended = worker::run(config, Place::Process(process), shutdown).await;
    sending.end().await;
    ended.map_err(|error| match error {
        WorkerError::Refused { .. } => Failure::new(Exit::Refused, error).into(),
        WorkerError::Device(_) | WorkerError::OutOfService(_) => Failure::new(Exit::Device, error).into(),
        error => error.into(),
    })
}

/// The command of a worker's prover process.
fn prover_command(proving: &ProvingArgs, keys: &KeyArgs, log_format: LogFormat) -> Command {
    let device = &proving.device;
    // The file that this process runs, also when an upgrade has put another in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg("prover-process");
    if log_format == LogFormat::Json {
        command.args(["--log-format", "json"]);
    }
    command.args(["--device", &device.device.to_string()]);
    command.args(["--icicle-type", &device.icicle_type]);
    if let Some(directory) = &device.icicle_dir {
        command.arg("--icicle-dir").arg(directory);
    }
    if let Some(mib) = proving.memory_mib {
        command.args(["--memory-mib", &mib.to_string()]);
    }
    if proving.debug_witness {
        command.arg("--debug-witness");
    }
    command.args(["--preset", keys.preset.name]);
    if let Some(directory) = &keys.keys_dir {
        command.arg("--keys-dir").arg(directory);
    }
    let SrsArgs {
        srs,
        insecure_dev_srs,
        srs_digest,
    } = &keys.srs;
    if let Some(file) = srs {
        command.arg("--srs").arg(file);
    }
    if *insecure_dev_srs {
        command.arg("--insecure-dev-srs");
    }
    if let Some(digest) = srs_digest {
        command.args(["--srs-digest", &digest.to_string()]);
    }
    command
}

/// Opens a device and proves on it for the worker that started this process.
///
/// # Errors
/// When the pipes to the worker fail. What is wrong with keys or device is told to the worker.
pub fn prover_process(args: ProverProcessArgs, progress: &Progress) -> Result<()> {
    crate::check_descriptors()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _signals = {
        // Held, not answered: the worker decides when this process ends, also when both are sent a signal.
        let _context = runtime.enter();
        Signals::take()?
    };
    let config = DeviceConfig {
        memory_bytes: args.proving.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
        debug_witness: args.proving.debug_witness,
        ..device_config(&args.proving.device)
    };
    let open = || {
        let keys = keys::from_args(&args.keys, progress).map_err(|error| output::sentence(&error))?;
        device::open(&config, &Arc::new(keys)).map_err(|error| error.to_string())
    };
    worker::serve(open).context("the pipes to the worker fail")
}

/// The device that arguments choose, with all of its memory.
pub fn device_config(args: &DeviceArgs) -> DeviceConfig {
    DeviceConfig {
        choice: args.device,
        icicle_dir: args.icicle_dir.clone(),
        icicle_type: args.icicle_type.clone(),
        memory_bytes: None,
        debug_witness: false,
    }
}

/// Runs the coordinator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or its store fails.
pub async fn coordinator(args: CoordinatorArgs, progress: &Progress) -> Result<()> {
    if args.exit_on_stdin_eof {
        guard::exit_on_stdin_eof()?;
    }
    let mut signals = Signals::take()?;
    let open = move |progress: &Progress| {
        args.snapshot.as_deref().map_or(Ok(()), check_snapshot)?;
        Ok((open_keyring(&args.keys, &args.previous_keys, progress)?, args))
    };
    let (keys, args) = tokio::select! {
        opened = open_beside(open, progress) => opened?,
        () = signals.either() => return Ok(()),
    };
    let rollup_id = args
        .chain_id
        .zip(args.contract)
        .map(|(chain_id, contract)| RollupId { chain_id, contract });
    let postgres = shared(&args)?;
    let mut config = coordinator::Config::new(args.listen, args.data_dir, rollup_id);
    config.postgres = postgres;
    config.snapshot = args.snapshot;
    config.artifacts.location = args
        .artifacts
        .unwrap_or_default()
        .with_variables(variables_of_s3());
    config.artifacts.retention = Duration::from_secs(args.artifact_retention.into());
    config.tls = args.server_tls.files();
    config.access = args.access;
    config.insecure_plaintext = args.insecure_plaintext;
    config.metrics_listen = args.metrics_listen;
    config.status_listen = args.status_listen;
    config.limits.lease_ms = u64::from(args.lease_seconds) * 1000;
    config.limits.progress_ms_max = (u64::from(args.progress_seconds) * 1000).max(config.limits.lease_ms);
    config.limits.rollback_max = u64::from(args.rollback_batches);
    config.time_age_s_max = args.batch_age_seconds;
    let (traces, sending) = traces::start(&args.traces, "coordinator", default_name())?;
    config.traces = traces;
    let ended = coordinator::run(config, keys, async move { signals.either().await }).await;
    sending.end().await;
    Ok(ended?)
}

/// The database that this coordinator shares with others, if it does.
fn shared(args: &CoordinatorArgs) -> Result<Option<coordinator::Postgres>> {
    let Some(url) = args.postgres.clone() else {
        return Ok(None);
    };
    let scheme = if args.server_tls.files().is_some() {
        "https"
    } else {
        "http"
    };
    let advertised = match &args.advertise {
        Some(advertised) => advertised.to_string(),
        None => {
            let reachable = !args.listen.ip().is_unspecified() && args.listen.port() != 0;
            anyhow::ensure!(
                reachable,
                "--advertise is needed: nobody reaches {} under that address, and coordinators tell clients and workers where the one is that leads",
                args.listen
            );
            format!("{scheme}://{}", args.listen)
        }
    };
    Ok(Some(coordinator::Postgres {
        url,
        holder: default_name(),
        advertised,
        lease_ms: args.leader_lease_ms,
    }))
}

/// The variables by which every client of S3 is told where it is and who asks. One that is no text says nothing.
pub(super) fn variables_of_s3() -> impl Iterator<Item = (String, String)> {
    let texts =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let variables = std::env::vars_os().filter_map(texts);
    variables.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
}

/// Looks whether a snapshot is there and not too large, before anything that takes longer. The coordinator reads it.
fn check_snapshot(path: &Path) -> Result<()> {
    let file = path
        .metadata()
        .with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(
        file.len() <= SNAPSHOT_BYTES_MAX,
        "{} is too large: expected at most {SNAPSHOT_BYTES_MAX} bytes, found more",
        path.display()
    );
    Ok(())
}

/// Opens what a role needs beside the async runtime: it takes minutes where keys are to be made, any time while another process
/// makes them, and for ever where a pipe is read that nobody writes. Whoever does not wait for the end leaves it to a thread that ends
/// with the process.
async fn open_beside<T: Send + 'static>(
    open: impl FnOnce(&Progress) -> Result<T> + Send + 'static,
    progress: &Progress,
) -> Result<T> {
    let progress = progress.clone();
    let opened = tokio::task::spawn_blocking(move || open(&progress)).await;
    opened.context("opening keys and snapshot panicked")?
}

/// A coordinator's keys, the earlier ones that it serves too included.
fn open_keyring(
    args: &VerifyingKeyArgs,
    previous: &[PathBuf],
    progress: &Progress,
) -> Result<coordinator::Keys> {
    let previous = previous
        .iter()
        .map(|folder| keys::exported(folder, &args.keys.srs));
    Ok(coordinator::Keys {
        previous: previous.collect::<Result<_>>()?,
        current: keys::verifying(args, progress)?,
    })
}

/// The host's name and the process id.
fn default_name() -> String {
    let host = machine::host_name().unwrap_or_default();
    format!("{host}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command as Subcommand};

    fn worker(arguments: &[&str]) -> WorkerArgs {
        let arguments = [&["rollup-prover", "worker"], arguments].concat();
        match Cli::parse_from(arguments).command {
            Subcommand::Worker(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_workers_prover_process_opens_the_same_keys() {
        let digest = format!("0x{}", "ab".repeat(32));
        let keys = [
            "--preset",
            "tiny",
            "--keys-dir",
            "keys",
            "--srs",
            "ceremony",
            "--insecure-dev-srs",
            "--srs-digest",
            &digest,
        ];
        let worker = worker(&keys);
        let command = prover_command(&worker.proving, &worker.keys, LogFormat::Text);
        let arguments: Vec<&str> = command.get_args().map(|text| text.to_str().unwrap()).collect();
        assert!(arguments.ends_with(&keys), "{arguments:?}");
    }

    #[test]
    fn a_place_for_artifacts_is_of_a_known_form() {
        let coordinator = |artifacts: &str| {
            Cli::try_parse_from([
                "rollup-prover",
                "coordinator",
                "--data-dir",
                "data",
                "--chain-id",
                "1",
                "--contract",
                "0x0000000000000000000000000000000000000001",
                "--artifacts",
                artifacts,
            ])
        };
        for place in ["s3://bucket/prefix", "file:///var/objects"] {
            let Subcommand::Coordinator(arguments) = coordinator(place).expect(place).command else {
                panic!("{place}");
            };
            assert_eq!(arguments.artifacts.expect("it is given").to_string(), place);
        }
        for place in ["", "bucket", "var/objects", "https://bucket.example"] {
            let refused = coordinator(place).expect_err(place).to_string();
            assert!(refused.contains("s3://BUCKET/PREFIX"), "{refused}");
        }
    }
}
