//! Times the stages of a batch: native execution, one shard's proof, the aggregation. Every answer is checked.

use anyhow::{Context, Result, ensure};
use benches::proving::{ROLLUP_ID, Stopwatch, TIME, populated, shard_inputs};
use benches::{publish, report};
use circuits::aggregation::{AggregationInput, ChildProof};
use circuits::preset::Preset;
use clap::{Parser, ValueEnum};
use prover::engine::{CpuDevice, Engine, OwnEngine, OwnOptions};
use prover::fixtures;
use rules::batch::execute;
use rules::derive::replay;
use rules::sample::{Draw, Mix, SampleConfig};
use rules::shards::shards;
use rules::stream::GROUP_WORDS;
use rules::witness::Shape;
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
    /// Sizes of the circuits: tiny, ci, server or gpu.
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

/// Executes a batch with every signature checked, then replays its posted bytes on the state before.
fn native(transfers: usize) -> Result<Value> {
    let config = SampleConfig {
        seed: 1,
        users: 1_000,
        tokens: 4,
    };
    let mut sample = populated(config, 3_000);
    let before = sample.state().clone();
    let shape = Shape {
        places: transfers.next_multiple_of(GROUP_WORDS),
        rooms: 1,
    };
    let shape = shape.check()?;
    let draw = Draw {
        shape,
        queued: 0,
        signed: transfers,
        mix: Mix::Transfers,
    };
    let batch = sample.batch(ROLLUP_ID, TIME, draw);
    let mut state = before.clone();
    let start = Instant::now();
    let executed = execute(&mut state, &batch)?;
    let seconds = start.elapsed().as_secs_f64();
    let posted = shards(&batch, &executed, shape, 1)?;
    let derived = replay(&before, &posted.posted_a, &posted.posted_b)?;
    let changes: Vec<_> = derived
        .changes
        .iter()
        .map(|change| (change.index, change.after))
        .collect();
    ensure!(
        before.root_with(&changes) == batch.new_root,
        "the posted bytes lead to another root"
    );
    Ok(json!({
        "transfers": transfers,
        "seconds": seconds,
        "transfers_per_second": transfers as f64 / seconds,
        "data_bytes_per_transfer": posted.posted_b.len() as f64 / transfers as f64,
    }))
}

/// Proves one full shard. The engine verifies its proof; the coordinator's check is made once more here.
fn shard(preset: Preset) -> Result<Value> {
    let keys = fixtures::keys(preset)?;
    let inputs = shard_inputs(&preset)?;
    let mut engine = OwnEngine::new(keys.clone(), Arc::new(CpuDevice::new()), OwnOptions::default());
    let mut stopwatch = Stopwatch::default();
    let proof = engine.prove_shard(&inputs[0], &mut |phase| stopwatch.enter(phase))?;
    keys.verifying_keys()
        .verify_shard(&inputs[0].instances(), &proof)?;
    let mut result = stopwatch.result();
    result["k"] = json!(preset.shard.k);
    result["places"] = json!(preset.shard.shape.places);
    result["rooms"] = json!(preset.shard.shape.rooms);
    result["proof_bytes"] = json!(proof.len());
    Ok(result)
}

/// Aggregates the fixture's shard proofs.
fn aggregation(preset: Preset) -> Result<Value> {
    let fixture = fixtures::root_proof(preset)?;
    let keys = fixtures::keys(preset)?;
    let children: Vec<ChildProof> = fixture.shard_proofs;
    let mut engine = OwnEngine::new(keys.clone(), Arc::new(CpuDevice::new()), OwnOptions::default());
    let mut stopwatch = Stopwatch::default();
    let root = engine.prove_aggregation(&AggregationInput { children }, &mut |phase| {
        stopwatch.enter(phase);
    })?;
    let mut instances = fixture.instances;
    instances[..root.accumulator.len()].copy_from_slice(&root.accumulator);
    keys.verifying_keys().verify_root(&instances, &root.proof)?;
    let mut result = stopwatch.result();
    result["k"] = json!(preset.aggregation_k);
    result["children"] = json!(preset.children);
    result["proof_bytes"] = json!(root.proof.len());
    Ok(result)
}
