//! The long-running roles: coordinator and worker.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use circuits::genesis::Genesis;
use circuits::manifest::PROTOCOL_VERSION;
use circuits::operation::RollupId;
use prover::engine::{CpuDevice, OwnEngine, OwnOptions};
use prover::memory;
use prover::worker::{self, WorkerConfig, WorkerError};

use super::keys;
use crate::args::{CoordinatorArgs, WorkerArgs};
use crate::guard;
use crate::output::{Exit, Failure};
use crate::progress::Progress;
use crate::signals::Signals;

/// Longest time that a task may stand still: no phase reported and no processor time used.
const STALL_MAX: Duration = Duration::from_secs(120);
/// Longest time of a drain: a task at the largest preset on a slow machine, with room.
const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// Runs a worker until it is drained.
///
/// # Errors
/// When it cannot start, is refused, or stands still.
pub async fn worker(args: WorkerArgs, progress: &Progress) -> Result<()> {
    if args.exit_on_stdin_eof {
        guard::exit_on_stdin_eof()?;
    }
    let shutdown = Signals::take()?.drain();
    let keys = open_keys(args.keys, progress).await?;
    let memory_bytes = args.memory_mib.map(|mib| mib << 20).or_else(memory::limit_bytes);
    let manifest = keys.manifest();
    let config = WorkerConfig {
        coordinator: args.coordinator,
        name: args.name.unwrap_or_else(default_name),
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: manifest.shard_vk_digest.0,
        aggregation_vk_digest: manifest.aggregation_vk_digest.0,
        memory_bytes: memory_bytes.unwrap_or(0),
        stall_max: STALL_MAX,
        drain_max: DRAIN_MAX,
    };
    let options = OwnOptions {
        memory_bytes,
        ..OwnOptions::default()
    };
    let engine = OwnEngine::new(keys, Arc::new(CpuDevice::new()), options);
    worker::run(config, Box::new(engine), shutdown)
        .await
        .map_err(|error| match error {
            WorkerError::Refused { .. } => Failure::new(Exit::Refused, error).into(),
            error => error.into(),
        })
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
    let path = args.genesis.display();
    let text = fs::read_to_string(&args.genesis).with_context(|| format!("cannot read {path}"))?;
    let genesis = Genesis::from_json(&text).with_context(|| format!("{path} is no genesis file"))?;
    let keys = open_keys(args.keys, progress).await?;
    let rollup_id = RollupId {
        chain_id: args.chain_id,
        contract: args.contract,
    };
    let mut config = coordinator::Config::new(args.listen, args.data_dir, rollup_id, genesis);
    config.allow_remote = args.allow_remote;
    config.limits.lease_ms = u64::from(args.lease_seconds) * 1000;
    Ok(coordinator::run(config, keys, async move { signals.either().await }).await?)
}

/// Opens keys beside the async runtime: it takes a second when they are cached, minutes when not.
async fn open_keys(args: crate::args::KeyArgs, progress: &Progress) -> Result<Arc<circuits::keys::KeyStore>> {
    let progress = progress.clone();
    let keys = tokio::task::spawn_blocking(move || keys::from_args(&args, &progress)).await;
    Ok(Arc::new(keys.context("opening the keys panicked")??))
}

/// The host's name and the process id.
fn default_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
