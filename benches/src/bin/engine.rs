//! Times stock halo2 and the workspace's engine on the same key and witness. Every proof is verified.
//!
//! Each proof is made in a process of its own, so that its peak memory is its own. Processor seconds are given beside
//! wall time: they say more where a machine is shared.

use anyhow::{Context, Result, bail, ensure};
use benches::device::{DeviceName, OpenDevice};
use benches::proving::{Stopwatch, aggregation_input, shard_inputs};
use benches::{peak_memory_bytes, publish, report};
use circuits::aggregation::AggregationInput;
use circuits::preset::{ALL, Preset};
use clap::{Parser, ValueEnum};
use keys::KeyStore;
use prover::engine::{Engine, OwnEngine, OwnOptions, Phase, StockEngine};
use prover::fixtures;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Time stock halo2 and the engine in turn.
#[derive(Parser)]
struct Args {
    /// What to prove.
    #[arg(long, value_enum)]
    circuit: Circuit,
    /// Sizes of the circuits: tiny, ci, server or gpu.
    #[arg(long)]
    preset: Option<String>,
    /// Instead of a preset's name: log2 of the circuit's rows, as some preset has it.
    #[arg(long, conflicts_with = "preset")]
    k: Option<u32>,
    /// The engine's device: cpu, portable (the CPU without its vector kernels), icicle, icicle:N, icicle-cpu, icicle:TYPE:N.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// ICICLE's installation.
    #[arg(long)]
    icicle_dir: Option<PathBuf>,
    /// Proofs by each prover.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Of the device's memory, what multiples of the bases may take, in MiB.
    #[arg(long, default_value_t = 0)]
    table_mib: u64,
    /// Memory that the engine may use, in MiB; default: what is free.
    #[arg(long)]
    memory_mib: Option<u64>,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Make one proof and print what it took. For this program's own use.
    #[arg(long, value_enum, hide = true)]
    prover: Option<Prover>,
    /// The proofs to aggregate. For this program's own use.
    #[arg(long, hide = true)]
    input: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Circuit {
    Shard,
    Aggregation,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Prover {
    Stock,
    Engine,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let preset = args.preset()?;
    if let Some(prover) = args.prover {
        println!("{}", prove(&args, preset, prover)?);
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("engine-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = compare(&args, preset, &folder.join("input"));
    std::fs::remove_dir_all(&folder)?;
    publish(&report(result?), args.json.as_deref())
}

impl Args {
    fn preset(&self) -> Result<Preset> {
        if let Some(name) = &self.preset {
            return Preset::by_name(name).with_context(|| format!("no preset named {name}"));
        }
        let Some(k) = self.k else {
            bail!("one of --preset and --k is needed");
        };
        let rows = |preset: &Preset| match self.circuit {
            Circuit::Shard => preset.shard.k,
            Circuit::Aggregation => preset.aggregation_k,
        };
        let found = ALL.into_iter().find(|preset| rows(preset) == k);
        found.with_context(|| format!("no preset has 2^{k} rows in this circuit"))
    }
}

/// Runs both provers in turn and sums up the fastest of each.
fn compare(args: &Args, preset: Preset, input: &Path) -> Result<Value> {
    if args.circuit == Circuit::Aggregation {
        let children = aggregation_input(fixtures::keys(preset)?)?;
        std::fs::write(input, children.to_bytes())?;
    }
    let mut runs: HashMap<&str, Vec<Value>> = HashMap::new();
    for _ in 0..args.repeat {
        for prover in ["stock", "engine"] {
            let run = child(prover, input)?;
            runs.entry(prover).or_default().push(run);
        }
    }
    let best = |prover: &str| -> &Value {
        let seconds = |run: &&Value| run["seconds"].as_f64().unwrap_or(f64::INFINITY);
        let runs = runs[prover].iter();
        runs.min_by(|a, b| seconds(a).total_cmp(&seconds(b)))
            .expect("each prover ran")
    };
    let (stock, engine) = (best("stock"), best("engine"));
    let number = |run: &Value, key: &str| run[key].as_f64().with_context(|| format!("a run says its {key}"));
    let ratio = |key: &str| -> Result<f64> { Ok(number(stock, key)? / number(engine, key)?) };
    Ok(json!({
        "preset": preset.name,
        "device": args.device.to_string(),
        "k": match args.circuit {
            Circuit::Shard => preset.shard.k,
            Circuit::Aggregation => preset.aggregation_k,
        },
        "stock_s": stock["seconds"],
        "engine_s": engine["seconds"],
        "ratio": ratio("seconds")?,
        "stock_cpu_s": stock["cpu_seconds"],
        "engine_cpu_s": engine["cpu_seconds"],
        "cpu_ratio": ratio("cpu_seconds")?,
        "stock_peak_memory_bytes": stock["peak_memory_bytes"],
        "engine_peak_memory_bytes": engine["peak_memory_bytes"],
        "phases_s": engine["phases_s"],
        "runs": runs,
    }))
}

/// Runs this program once more, for one proof.
fn child(prover: &str, input: &Path) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--prover", prover, "--input"])
        .arg(input)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{prover}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Our engine on the device that was asked for.
fn own(args: &Args, keys: Arc<KeyStore>) -> Result<Box<dyn Engine>> {
    let options = OwnOptions {
        memory_bytes: args.memory_mib.map(|mib| mib << 20),
        table_bytes_max: args.table_mib << 20,
        ..OwnOptions::default()
    };
    let k_max = keys.preset().aggregation_k;
    Ok(match args.device.open(args.icicle_dir.as_deref(), k_max)? {
        OpenDevice::Cpu(device) => Box::new(OwnEngine::new(keys, Arc::new(device), options)),
        OpenDevice::Icicle(device) => Box::new(OwnEngine::new(keys, Arc::new(device), options)),
    })
}

/// Makes one proof, which the prover verifies. Key loading, building the circuit and verifying are not counted.
fn prove(args: &Args, preset: Preset, prover: Prover) -> Result<Value> {
    let keys = fixtures::keys(preset)?;
    let mut engine: Box<dyn Engine> = match prover {
        Prover::Stock => Box::new(StockEngine::new(keys.clone(), None)),
        Prover::Engine => own(args, keys.clone())?,
    };
    let mut stopwatch = Stopwatch::default();
    let mut note = |phase: Phase| stopwatch.enter(phase);
    match args.circuit {
        Circuit::Shard => {
            engine.prove_shard(&shard_inputs(&preset)?[0], &mut note)?;
        }
        Circuit::Aggregation => {
            let path = args.input.as_ref().context("--input is needed")?;
            let input = AggregationInput::from_bytes(&std::fs::read(path)?)?;
            engine.prove_aggregation(&input, &mut note)?;
        }
    }
    let mut result = stopwatch.result();
    result["peak_memory_bytes"] = json!(peak_memory_bytes());
    Ok(result)
}
