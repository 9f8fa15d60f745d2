//! What is proved, under which keys, and how long each part of it takes.

use crate::cpu_seconds;
use anyhow::{Context, Result};
use circuits::aggregation::{AggregationInput, ChildProof};
use circuits::preset::Preset;
use keys::{KeyConfig, KeyPhase, KeyStore};
use prover::engine::{CpuDevice, Engine, OwnEngine, OwnOptions, Phase};
use rules::batch::execute;
use rules::operation::RollupId;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::shards;
use rules::stream::GROUP_WORDS;
use rules::witness::{Shape, ShardInput};
use serde_json::{Map, Value, json};
use srs::SrsSource;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The rollup of the sample batches.
pub const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [1; 20],
};
/// The batches' time, Unix seconds.
pub const TIME: u64 = 1_800_000_000;

/// The preset's keys over the development reference string, made where there are none; tells people how far it is.
///
/// # Errors
/// The folder cannot be used, or halo2 refuses a circuit.
pub fn keys(preset: &Preset, dir: PathBuf) -> Result<Arc<KeyStore>> {
    let config = KeyConfig {
        dir,
        preset: *preset,
        srs: SrsSource::Development,
        allow_insecure: true,
        srs_digest: None,
    };
    let said: Mutex<Option<(KeyPhase, Instant)>> = Mutex::new(None);
    let start = Instant::now();
    let progress = |phase: KeyPhase, fraction: f32| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let recently = |(last, at): &(KeyPhase, Instant)| *last == phase && at.elapsed().as_secs() < 2;
        if !said.as_ref().is_some_and(recently) {
            *said = Some((phase, Instant::now()));
            let percent = (fraction * 100.0).round();
            eprintln!(
                "  keys: {phase:?} {percent} %, {:.0} s",
                start.elapsed().as_secs_f64()
            );
        }
    };
    let keys = KeyStore::open(config, &progress).context("the keys")?;
    Ok(Arc::new(keys))
}

/// A sample rollup after a batch of so many operations of the queue, which make its accounts: some three of eight do.
pub fn populated(config: SampleConfig, queued: usize) -> Sample {
    let mut sample = Sample::new(config);
    let shape = Shape {
        places: queued * GROUP_WORDS,
        rooms: queued,
    };
    let draw = Draw {
        shape,
        queued,
        signed: 0,
        mix: Mix::All,
    };
    sample.batch(ROLLUP_ID, TIME, draw);
    sample
}

/// The shards of a sample batch that fills all of the preset's, with operations of every kind.
///
/// # Errors
/// The batch breaks a rule of the protocol.
pub fn shard_inputs(preset: &Preset) -> Result<Vec<ShardInput>> {
    let config = SampleConfig {
        seed: 2,
        users: 50,
        tokens: 3,
    };
    let mut sample = populated(config, 150);
    let mut state = sample.state().clone();
    let shape = preset.shard.shape;
    let draw = Draw {
        shape,
        queued: preset.queue_capacity(),
        signed: preset.places_max(),
        mix: Mix::All,
    };
    let batch = sample.batch(ROLLUP_ID, TIME, draw);
    let executed = execute(&mut state, &batch)?;
    Ok(shards(&batch, &executed, shape, preset.children)?.shards)
}

/// The shard proofs that an aggregation proves: of [`shard_inputs`], made by the engine on the CPU.
///
/// # Errors
/// The keys cannot be read, or a shard cannot be proved.
pub fn aggregation_input(keys: Arc<KeyStore>) -> Result<AggregationInput> {
    let inputs = shard_inputs(keys.preset())?;
    let mut engine = OwnEngine::new(keys, Arc::new(CpuDevice::new()), OwnOptions::default());
    let child = |input: ShardInput| {
        Ok(ChildProof {
            instances: input.instances(),
            proof: engine.prove_shard(&input, &mut |_| {})?,
        })
    };
    let children = inputs.into_iter().map(child).collect::<Result<_>>()?;
    Ok(AggregationInput { children })
}

/// Times the phases of one proof. The last phase that is entered is not timed: it is the proof's verification.
#[derive(Default)]
pub struct Stopwatch {
    /// Each phase with when it began, in wall time and processor seconds.
    entered: Vec<(Phase, Instant, f64)>,
}

impl Stopwatch {
    /// A phase begins.
    pub fn enter(&mut self, phase: Phase) {
        let cpu = cpu_seconds();
        self.entered.push((phase, Instant::now(), cpu));
    }

    /// `seconds` and `cpu_seconds` of proving proper, and `phases_s`, where phases that are not counted say so: reading keys,
    /// and building the circuit with its witness.
    pub fn result(&self) -> Value {
        let (mut seconds, mut cpu) = (0.0, 0.0);
        let mut phases: Map<String, Value> = Map::new();
        for pair in self.entered.windows(2) {
            let (phase, spent) = (pair[0].0, (pair[1].1 - pair[0].1).as_secs_f64());
            let name = match phase {
                Phase::Prove | Phase::Proving(_) => {
                    seconds += spent;
                    cpu += pair[1].2 - pair[0].2;
                    phase.name().to_owned()
                }
                other => format!("{} (not counted)", other.name()),
            };
            let sum = phases.get(&name).and_then(Value::as_f64).unwrap_or(0.0);
            phases.insert(name, json!(sum + spent));
        }
        json!({ "seconds": seconds, "cpu_seconds": cpu, "phases_s": phases })
    }
}
