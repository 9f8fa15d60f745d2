//! A task proven here, to see what a worker sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::keys::{KeyStore, VerifyingKeys};
use anyhow::{Context, Result, anyhow, ensure};
use circuits::aggregation::AggregationInput;
use proto::v1::{TaskInputHeader, TaskKind};
use prover::device::{self, DeviceConfig};
use prover::engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task, guarded};
use rules::Fr;
use rules::statement::root_statement;
use rules::witness::ShardInput;
use serde_json::{Value, json};

use super::batch::client;
use super::{keys, roles};
use crate::args::ReplayArgs;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::proof_file::to_hex;

/// Downloads a task's input, proves it on this machine, and verifies the proof.
///
/// # Errors
/// When there is no such input, the keys are others, the device cannot be used, or proving fails: then as a worker would tell it.
pub async fn run(args: ReplayArgs, progress: Progress) -> Result<()> {
    let (header, input) = client(&args.client)?.task_input(&args.task_id).await?;
    progress.say(&format!(
        "{}: {} bytes of input, sha256 {}",
        args.task_id,
        input.len(),
        to_hex(&header.payload_sha256)
    ));
    // It computes for as long as it takes; an interrupt ends the process.
    tokio::task::spawn_blocking(move || replay(&args, &header, &input, &progress))
        .await
        .context("proving panicked")?
}

fn replay(args: &ReplayArgs, header: &TaskInputHeader, input: &[u8], progress: &Progress) -> Result<()> {
    let keys = Arc::new(keys::from_args(&args.keys, progress)?);
    let task = read(header, input, &keys)?;
    let config = DeviceConfig {
        memory_bytes: args.proving.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
        debug_witness: args.proving.debug_witness,
        ..roles::device_config(&args.proving.device)
    };
    let (mut engine, device) =
        device::open(&config, &keys).map_err(|error| Failure::new(Exit::Device, error))?;
    progress.say(&format!("proving on {}", device.name));
    let mut clock = PhaseClock::new(progress);
    let proven = guarded(|| {
        let prepared = engine
            .preparer()
            .prepare(&task, &mut |phase| clock.begin(phase))?;
        engine.prove(prepared, &mut |phase| clock.begin(phase))
    });
    let phases = clock.finish();
    let result = match &proven {
        Ok(proof) => verify(&task, proof, keys.verifying_keys())
            .map_err(|error| Failure::new(Exit::ProofInvalid, format!("{error:#}"))),
        Err(error) => Err(failure(error)),
    };
    report(
        args,
        proven.as_ref().ok(),
        &phases,
        &device.name,
        result.as_ref().err(),
    )?;
    Ok(result?)
}

/// The task, if it is one of these keys' circuits.
fn read(header: &TaskInputHeader, input: &[u8], keys: &KeyStore) -> Result<Task> {
    let manifest = keys.manifest();
    let (digest, task) = match header.kind() {
        TaskKind::Shard => {
            let input = ShardInput::from_bytes(input).context("the task's input is no shard's")?;
            (manifest.shard_vk_digest, Task::Shard(Box::new(input)))
        }
        TaskKind::Aggregation => {
            let input =
                AggregationInput::from_bytes(input).context("the task's input is no aggregation's")?;
            (manifest.aggregation_vk_digest, Task::Aggregation(input))
        }
        TaskKind::Unspecified => return Err(anyhow!("the coordinator names no kind of the task")),
    };
    ensure!(
        digest.0 == header.vk_digest[..],
        "the task is for the verifying key {}, the keys here have {digest}; choose others by --preset, --keys-dir and --srs",
        to_hex(&header.vk_digest)
    );
    Ok(task)
}

/// Verifies a proof as the coordinator does, apart from what made it.
fn verify(task: &Task, proof: &Proof, keys: &VerifyingKeys) -> Result<()> {
    match task {
        Task::Shard(input) => keys.verify_shard(&input.instances(), &proof.bytes)?,
        Task::Aggregation(input) => {
            let children: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
            let stated = root_statement(&children, children.len())?.to_instances();
            let accumulator = proof
                .accumulator
                .context("the proof of an aggregation has no accumulator")?;
            let instances: Vec<Fr> = accumulator.into_iter().chain(stated).collect();
            keys.verify_root(&instances, &proof.bytes)?;
        }
    }
    Ok(())
}

fn failure(error: &EngineError) -> Failure {
    let message = format!("{:?}: {}", error.class(), error.with_causes());
    match error.is_device_fault() {
        true => Failure::new(Exit::Device, message),
        false => Failure::new(Exit::ProofInvalid, message),
    }
}

fn report(
    args: &ReplayArgs,
    proof: Option<&Proof>,
    phases: &[(&str, Duration)],
    device: &str,
    failure: Option<&Failure>,
) -> Result<()> {
    let total: Duration = phases.iter().map(|(_, took)| *took).sum();
    if args.client.json {
        let phases: Vec<Value> = phases
            .iter()
            .map(|(name, took)| json!({ "phase": name, "seconds": took.as_secs_f64() }))
            .collect();
        return output::json(&json!({
            "task_id": args.task_id,
            "device": device,
            "phases": phases,
            "seconds": total.as_secs_f64(),
            "proof_bytes": proof.map(|proof| proof.bytes.len()),
            "verifies": failure.is_none(),
            "failure": failure.map(ToString::to_string),
        }));
    }
    for (name, took) in phases {
        output::line(format!("{name:<14} {:>9.3} s", took.as_secs_f64()))?;
    }
    output::line(format!("{:<14} {:>9.3} s", "all", total.as_secs_f64()))?;
    match (proof, failure) {
        (Some(proof), None) => output::line(format!("{} bytes of proof, which verify", proof.bytes.len())),
        // The error says it.
        _ => Ok(()),
    }
}

/// Times of phases, in the order in which they first began.
struct PhaseClock<'a> {
    progress: &'a Progress,
    phases: Vec<(&'static str, Duration)>,
    running: Option<(&'static str, Instant)>,
}

impl<'a> PhaseClock<'a> {
    fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            phases: Vec::new(),
            running: None,
        }
    }

    fn begin(&mut self, phase: Phase) {
        self.end();
        self.progress.say(&format!("phase: {}", phase.name()));
        self.running = Some((phase.name(), Instant::now()));
    }

    fn end(&mut self) {
        let Some((name, since)) = self.running.take() else {
            return;
        };
        match self.phases.iter_mut().find(|(known, _)| *known == name) {
            Some((_, time)) => *time += since.elapsed(),
            None => self.phases.push((name, since.elapsed())),
        }
    }

    fn finish(mut self) -> Vec<(&'static str, Duration)> {
        self.end();
        self.phases
    }
}
