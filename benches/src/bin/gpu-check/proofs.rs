//! Proofs by the workspace's engine, accepted by stock halo2's verifier.

use crate::step::tell;
use accel::{Activity, Calls, Device};
use anyhow::{Context, Result, bail, ensure};
use benches::peak_memory_bytes;
use benches::proving::{Stopwatch, aggregation_input, shard_inputs};
use circuits::aggregation::AggregationInput;
use circuits::preset::Preset;
use circuits::verify::VerifyError;
use keys::KeyStore;
use prover::engine::{Engine, OwnEngine, OwnOptions, Phase, StockEngine};
use rules::Fr;
use rules::statement::root_statement;
use rules::witness::ShardInput;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// One shard.
    Shard,
    /// The aggregation of all shards of a batch.
    Aggregation,
}

impl Circuit {
    /// Log2 of its rows.
    pub fn k(self, preset: &Preset) -> u32 {
        match self {
            Circuit::Shard => preset.shard.k,
            Circuit::Aggregation => preset.aggregation_k,
        }
    }
}

/// A statement with its witness.
pub enum Task {
    /// One shard.
    Shard(Box<ShardInput>),
    /// Shard proofs, made on the CPU.
    Aggregation(AggregationInput),
}

impl Task {
    /// The benchmarks' task of a circuit.
    pub fn new(circuit: Circuit, keys: &Arc<KeyStore>) -> Result<Self> {
        Ok(match circuit {
            Circuit::Shard => {
                let shards = shard_inputs(keys.preset())?;
                Task::Shard(Box::new(
                    shards.into_iter().next().context("a batch without shards")?,
                ))
            }
            Circuit::Aggregation => {
                eprintln!("  the shards' proofs, on the CPU");
                Task::Aggregation(aggregation_input(keys.clone())?)
            }
        })
    }

    /// Makes a proof: it and its instances.
    fn prove(
        &self,
        keys: &KeyStore,
        engine: &mut dyn Engine,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<(Vec<Fr>, Vec<u8>)> {
        let with_causes = |error: prover::engine::EngineError| anyhow::anyhow!(error.with_causes());
        match self {
            Task::Shard(input) => {
                let proof = engine.prove_shard(input, progress).map_err(with_causes)?;
                Ok((input.instances(), proof))
            }
            Task::Aggregation(input) => {
                let root = engine.prove_aggregation(input, progress).map_err(with_causes)?;
                let children = input.children.iter().map(|child| child.instances.as_slice());
                let statement = root_statement(&children.collect::<Vec<_>>(), keys.preset().children)?;
                let mut instances = root.accumulator.to_vec();
                instances.extend(statement.to_instances());
                Ok((instances, root.proof))
            }
        }
    }

    /// Verifies a proof as the coordinator does.
    fn verify(&self, keys: &KeyStore, instances: &[Fr], proof: &[u8]) -> Result<(), VerifyError> {
        match self {
            Task::Shard(_) => Ok(keys.verifying_keys().verify_shard(instances, proof)?),
            Task::Aggregation(_) => keys.verifying_keys().verify_root(instances, proof).map(drop),
        }
    }
}

/// Proves the task: cold (keys are read and put on the device), and then `warm` times, of which the fastest is told. Each
/// proof must verify, and none of its changed copies.
pub fn check<D: Device + 'static>(
    device: Arc<D>,
    keys: Arc<KeyStore>,
    task: &Task,
    warm: usize,
    table_bytes_max: u64,
) -> Result<()> {
    let options = OwnOptions {
        table_bytes_max,
        ..OwnOptions::default()
    };
    let mut engine = OwnEngine::new(keys.clone(), device.clone(), options);
    let watch = MemoryWatch::new(device.clone());
    let mut warm_seconds: Vec<f64> = Vec::new();
    for at in 0..=warm {
        let run = if at == 0 { "cold" } else { "warm" };
        let (start, mut stopwatch) = (Instant::now(), Stopwatch::default());
        let mut book = Book::default();
        let mut progress = |phase: Phase| {
            eprintln!(
                "  {run}: {}, after {:.1} s",
                phase.name(),
                start.elapsed().as_secs_f64()
            );
            // Told before it begins: should the process end, this is where.
            tell(json!({ "under_way": { "run": run, "phase": phase.name() } }));
            book.enter(phase, device.activity());
            stopwatch.enter(phase);
        };
        let (instances, proof) = task.prove(&keys, &mut engine, &mut progress)?;
        let mut result = stopwatch.result();
        result["device"] = book.result();
        result["seconds_with_keys_and_verification"] = json!(start.elapsed().as_secs_f64());
        result["proof_bytes"] = json!(proof.len());
        result["changed_proofs_refused"] = json!(verify(&keys, task, &instances, &proof)?);
        let seconds = result["seconds"].as_f64().context("a proof without a time")?;
        if at > 0 {
            warm_seconds.push(seconds);
        }
        if warm_seconds.iter().all(|other| *other >= seconds) {
            tell(json!({ run: result }));
        }
        tell(json!({
            "warm_seconds": warm_seconds,
            "under_way": null,
            "device_memory_peak_bytes": watch.peak(),
            "host_memory_peak_bytes": peak_memory_bytes(),
        }));
    }
    Ok(())
}

/// Proves the task once by stock halo2. The proof must verify, and none of its changed copies.
pub fn check_stock(keys: &Arc<KeyStore>, task: &Task) -> Result<()> {
    let mut engine = StockEngine::new(keys.clone(), None);
    let mut stopwatch = Stopwatch::default();
    let mut progress = |phase: Phase| stopwatch.enter(phase);
    let (instances, proof) = task.prove(keys, &mut engine, &mut progress)?;
    let mut result = stopwatch.result();
    result["changed_proofs_refused"] = json!(verify(keys, task, &instances, &proof)?);
    tell(json!({ "warm": result, "host_memory_peak_bytes": peak_memory_bytes() }));
    Ok(())
}

/// What a device says that it has done, at the beginning of each phase.
#[derive(Default)]
struct Book {
    entered: Vec<(Phase, Activity)>,
}

impl Book {
    fn enter(&mut self, phase: Phase, activity: Option<Activity>) {
        self.entered.extend(activity.map(|activity| (phase, activity)));
    }

    /// By phase, and in all phases of proving: seconds in which the device was busy, bytes moved, calls by operation. Nothing
    /// of a device that keeps no book.
    fn result(&self) -> Value {
        let mut phases: Map<String, Value> = Map::new();
        let mut proving: Vec<Activity> = Vec::new();
        for pair in self.entered.windows(2) {
            let ((phase, before), (_, after)) = (&pair[0], &pair[1]);
            if matches!(phase, Phase::Proving(_)) {
                let done = after.since(before);
                let sum = phases.entry(phase.name()).or_insert(json!({}));
                for (name, value) in [
                    ("busy_s", done.busy_s),
                    ("bytes_to_device", done.bytes_to_device as f64),
                    ("bytes_to_host", done.bytes_to_host as f64),
                ] {
                    sum[name] = json!(sum[name].as_f64().unwrap_or(0.0) + value);
                }
                proving.push(done);
            }
        }
        let mut operations: BTreeMap<String, Calls> = BTreeMap::new();
        for (name, calls) in proving.iter().flat_map(|done| &done.operations) {
            let sum = operations.entry(name.to_string()).or_default();
            sum.calls += calls.calls;
            sum.seconds += calls.seconds;
        }
        let busy: f64 = proving.iter().map(|done| done.busy_s).sum();
        match proving.is_empty() {
            true => Value::Null,
            false => json!({ "busy_s": busy, "phases": phases, "operations": operations }),
        }
    }
}

/// The proof must be accepted, and its changed copies refused; how many those were.
fn verify(keys: &KeyStore, task: &Task, instances: &[Fr], proof: &[u8]) -> Result<usize> {
    /// Places in the proof where one bit is changed.
    const PLACES: usize = 16;
    let accepted = task.verify(keys, instances, proof);
    accepted.context("verification refuses the proof")?;
    let mut others: Vec<(String, Vec<Fr>, Vec<u8>)> = Vec::new();
    for place in 0..PLACES {
        let (mut changed, at) = (proof.to_vec(), place * proof.len() / PLACES);
        changed[at] ^= 1;
        others.push((format!("a changed bit in byte {at}"), instances.to_vec(), changed));
    }
    for at in 0..instances.len() {
        let mut changed = instances.to_vec();
        changed[at] += Fr::one();
        others.push((format!("instance {at} increased"), changed, proof.to_vec()));
    }
    let short = proof[..proof.len() - 1].to_vec();
    others.push(("a byte less".to_string(), instances.to_vec(), short));
    others.push(("nothing".to_string(), instances.to_vec(), Vec::new()));
    ensure!(!instances.is_empty(), "a statement without instances");
    for (change, instances, proof) in &others {
        if task.verify(keys, instances, proof).is_ok() {
            bail!("verification accepts a proof with {change}");
        }
    }
    Ok(others.len())
}

/// Follows how much of a device's memory is in use, by everybody, from a thread of its own.
struct MemoryWatch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl MemoryWatch {
    fn new<D: Device + 'static>(device: Arc<D>) -> Self {
        /// Between two looks.
        const PAUSE: Duration = Duration::from_millis(20);
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (peak, stop) = (peak.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(memory) = device.memory() {
                        peak.fetch_max(memory.total.saturating_sub(memory.free), Ordering::Relaxed);
                    }
                    thread::sleep(PAUSE);
                }
            }
        });
        Self {
            peak,
            stop,
            thread: Some(thread),
        }
    }

    /// Bytes; none where the device does not tell.
    fn peak(&self) -> Option<u64> {
        Some(self.peak.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the watch is no fault of the proof.
            thread.join().ok();
        }
    }
}
