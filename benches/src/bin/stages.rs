//! Times the stages of a batch: native execution, one shard's proof, the aggregation. Every answer is checked.

use anyhow::{Context, Result, ensure};
use benches::{publish, report};
use circuits::aggregation::{AggregationInput, ChildProof};
use circuits::batch::{execute, replay_words, shards};
use circuits::operation::RollupId;
use circuits::preset::Preset;
use circuits::sample::{Sample, SampleConfig};
use clap::{Parser, ValueEnum};
use prover::engine::{CpuDevice, Engine, OwnEngine, OwnOptions, Phase};
use prover::fixtures;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Time the stages of a batch, and check what they make.
#[derive(Parser)]
struct Args {
    /// Stages to run, in order.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["execute", "shard", "aggregation"])]
    stage: Vec<Stage>,
    /// Sizes of the circuits: tiny, ci or gpu.
    #[arg(long, default_value = "ci")]
    preset: String,
    /// Transfers to execute natively.
    #[arg(long, default_value_t = 10_000)]
    transfers: usize,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    Execute,
    Shard,
    Aggregation,
}

const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [1; 20],
};
const TIME: u64 = 1_800_000_000;

fn main() -> Result<()> {
    let args = Args::parse();
    let preset = Preset::by_name(&args.preset).with_context(|| format!("no preset named {}", args.preset))?;
    let mut results = serde_json::Map::new();
    for stage in &args.stage {
        let (name, result) = match stage {
            Stage::Execute => ("execute", native(args.transfers)?),
            Stage::Shard => ("shard", shard(preset)?),
            Stage::Aggregation => ("aggregation", aggregation(preset)?),
        };
        results.insert(name.to_string(), result);
    }
    publish(&report(Value::Object(results)), args.json.as_deref())
}

/// Executes a batch with every signature checked, then replays its posted words on the genesis state.
fn native(transfers: usize) -> Result<Value> {
    let mut sample = Sample::new(SampleConfig {
        seed: 1,
        users: 1_000,
        tokens: 4,
    });
    let batch = sample.batch(ROLLUP_ID, TIME, transfers);
    let mut state = sample.genesis().build()?;
    let start = Instant::now();
    let executed = execute(&mut state, &batch)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut rebuilt = sample.genesis().build()?;
    replay_words(&mut rebuilt, &executed.posted_b)?;
    ensure!(
        rebuilt.root() == batch.new_root,
        "the posted words lead to another root"
    );
    Ok(json!({
        "transfers": transfers,
        "seconds": seconds,
        "transfers_per_second": transfers as f64 / seconds,
        "data_bytes_per_transfer": executed.posted_b.len() as f64 / transfers as f64,
    }))
}

/// Seconds of each phase of one task.
#[derive(Default)]
struct Phases {
    started: Vec<(Phase, Instant)>,
}

impl Phases {
    fn note(&mut self, phase: Phase) {
        self.started.push((phase, Instant::now()));
    }

    fn seconds(&self) -> Value {
        let ends = self
            .started
            .iter()
            .skip(1)
            .map(|(_, at)| *at)
            .chain([Instant::now()]);
        let mut seconds = serde_json::Map::new();
        for ((phase, from), to) in self.started.iter().zip(ends) {
            // A phase may come more than once.
            let before = seconds.get(phase.name()).and_then(Value::as_f64).unwrap_or(0.0);
            seconds.insert(
                phase.name().to_string(),
                json!(before + (to - *from).as_secs_f64()),
            );
        }
        Value::Object(seconds)
    }
}

/// Proves one full shard. The engine verifies its proof; the coordinator's check is made once more here.
fn shard(preset: Preset) -> Result<Value> {
    let keys = fixtures::keys(preset)?;
    let mut sample = Sample::new(SampleConfig {
        seed: 2,
        users: 50,
        tokens: 3,
    });
    let mut state = sample.genesis().build()?;
    let batch = sample.batch(ROLLUP_ID, TIME, preset.operations_max());
    let executed = execute(&mut state, &batch)?;
    let inputs = shards(&batch, &executed, preset.shard.capacity, preset.children)?;
    let mut engine = OwnEngine::new(keys.clone(), Arc::new(CpuDevice::new()), OwnOptions::default());
    let mut phases = Phases::default();
    let proof = engine.prove_shard(&inputs[0], &mut |phase| phases.note(phase))?;
    let seconds = phases.seconds();
    circuits::verify::verify_shard(&keys, &inputs[0].instances(), &proof)?;
    Ok(json!({
        "k": preset.shard.k,
        "transfers": preset.shard.capacity,
        "seconds": seconds,
        "proof_bytes": proof.len(),
    }))
}

/// Aggregates the fixture's shard proofs.
fn aggregation(preset: Preset) -> Result<Value> {
    let fixture = fixtures::root_proof(preset)?;
    let keys = fixtures::keys(preset)?;
    let children: Vec<ChildProof> = fixture.shard_proofs;
    let mut engine = OwnEngine::new(keys.clone(), Arc::new(CpuDevice::new()), OwnOptions::default());
    let mut phases = Phases::default();
    let root = engine.prove_aggregation(&AggregationInput { children }, &mut |phase| phases.note(phase))?;
    let seconds = phases.seconds();
    let mut instances = fixture.instances;
    instances[..root.accumulator.len()].copy_from_slice(&root.accumulator);
    circuits::verify::verify_root(&keys, &instances, &root.proof)?;
    Ok(json!({
        "k": preset.aggregation_k,
        "children": preset.children,
        "seconds": seconds,
        "proof_bytes": root.proof.len(),
    }))
}
