//! What stands in for proving, and nothing else: a proof is a keyed digest of its instances, so that a wrong, mixed-up or
//! old one is noticed as a real one would be, in microseconds.

use std::{net::SocketAddr, path::Path, process::Command, thread, time::Duration};

use circuits::{
    aggregation::AggregationInput,
    preset::{Preset, ShardParams},
};
use coordinator::{
    Config, Coordinator, Verifier,
    core::{
        Head, Limits,
        id::{RollupNumber, StateRoot, Tenant, UnixMs},
        rollup::{NewRollup, RollupRecord, RollupStatus},
    },
    store::Location,
};
use keys::manifest::Manifest;
use proto::connection::{Connector, Credentials};
use prover::{
    engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task},
    worker::{self, DeviceInfo, Place, WorkerConfig},
};
use rules::statement::{ACCUMULATOR_LIMBS, root_statement};
use rules::{
    Fr, PROTOCOL_VERSION,
    digest::Digest as KeyDigest,
    field,
    operation::RollupId,
    sample::{Draw, Mix, Sample, SampleConfig},
    state::State,
    witness::Shape,
};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use crate::papers::Papers;

pub const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
/// Its record, of one that begins with the empty state, as a new store has it.
pub fn rollup() -> RollupRecord {
    let start = Head {
        root: StateRoot(field::to_be(&State::default().root())),
        next_number: 0,
        time: 0,
        queue_head: 0,
    };
    let new = NewRollup {
        name: "main".into(),
        rollup_id: ROLLUP,
        tenant: Tenant::default(),
        weight: 1,
        start,
        digest: None,
    };
    RollupRecord::new(RollupNumber(0), new, UnixMs(0), RollupStatus::Live)
}

pub const PRESET: Preset = Preset {
    name: "test",
    shard: ShardParams {
        k: 15,
        shape: Shape { places: 5, rooms: 1 },
    },
    children: 2,
    aggregation_k: 20,
};
/// Without it no digest is a proof.
const KEY: &[u8] = b"stand-in for a proof";
const SHARD_VK: [u8; 32] = [3; 32];
const AGGREGATION_VK: [u8; 32] = [4; 32];

/// How long a lease lasts here: long against a round trip, short against a test.
pub const LEASE: Duration = Duration::from_millis(1_500);

/// How long a coordinator leads after its last word.
pub const LEADER_LEASE: Duration = Duration::from_secs(1);

pub fn proof(instances: &[Fr]) -> Vec<u8> {
    let mut hasher = Sha256::new_with_prefix(KEY);
    instances
        .iter()
        .for_each(|instance| hasher.update(field::to_be(instance)));
    hasher.finalize().to_vec()
}

/// Takes nothing but those digests for proofs.
pub struct DigestVerifier;

impl Verifier for DigestVerifier {
    fn shard(&self, instances: &[Fr], found: &[u8]) -> Result<(), String> {
        check(instances, found, 17)
    }

    fn root(&self, instances: &[Fr], found: &[u8]) -> Result<(), String> {
        check(instances, found, 17)
    }
}

fn check(instances: &[Fr], found: &[u8], count: usize) -> Result<(), String> {
    if instances.len() == count && found == proof(instances) {
        Ok(())
    } else {
        Err("another digest".into())
    }
}

/// The proof of a task, and its accumulator if it is an aggregation.
pub fn prove(task: &Task) -> Proof {
    match task {
        Task::Shard(input) => Proof {
            bytes: proof(&input.instances()),
            accumulator: None,
        },
        Task::Aggregation(AggregationInput { children }) => {
            for child in children {
                assert_eq!(child.proof, proof(&child.instances), "a child's proof");
            }
            let stated: Vec<&[Fr]> = children.iter().map(|child| &child.instances[..]).collect();
            let stated = root_statement(&stated, PRESET.children).expect("the shards chain");
            let limbs: [Fr; ACCUMULATOR_LIMBS] = std::array::from_fn(|limb| Fr::from(limb as u64));
            let instances: Vec<Fr> = limbs.into_iter().chain(stated.to_instances()).collect();
            Proof {
                bytes: proof(&instances),
                accumulator: Some(limbs),
            }
        }
    }
}

pub fn manifest() -> Manifest {
    Manifest {
        protocol_version: PROTOCOL_VERSION,
        preset: PRESET.name.into(),
        shard_k: PRESET.shard.k,
        shard_places: PRESET.shard.shape.places,
        shard_rooms: PRESET.shard.shape.rooms,
        children: PRESET.children,
        insecure_srs: true,
        srs_digest: KeyDigest([1; 32]),
        shard_circuit_digest: KeyDigest([2; 32]),
        shard_vk_digest: KeyDigest(SHARD_VK),
        aggregation_vk_digest: KeyDigest(AGGREGATION_VK),
        shard_verifying_key_digest: KeyDigest([3; 32]),
        aggregation_verifying_key_digest: KeyDigest([4; 32]),
        aggregation_k: PRESET.aggregation_k,
        aggregation_circuit_digest: KeyDigest([7; 32]),
    }
}

pub fn sample() -> Sample {
    Sample::new(SampleConfig {
        seed: 7,
        users: 4,
        tokens: 2,
    })
}

/// A batch with so many operations of the queue and signed ones.
pub fn draw(preset: &Preset, queued: usize, signed: usize) -> Draw {
    Draw {
        shape: preset.shard.shape,
        queued,
        signed,
        mix: Mix::All,
    }
}

pub fn config(listen: SocketAddr, store: &Path) -> Config {
    let mut config = Config::new(listen, store.into(), ROLLUP);
    // What nothing needs goes as soon as it may, whatever happens meanwhile.
    config.artifacts.retention = Duration::from_secs(1);
    config.limits = Limits {
        lease_ms: LEASE.as_millis() as u64,
        reconnect_grace_ms: 300,
        restart_grace_ms: 500,
        retry_ms_min: 10,
        retry_ms_max: 200,
        avoid_ms: 200,
        pause_ms: 500,
        ..Limits::default()
    };
    config
}

/// The role of a coordinator: the real one, with the verifier of this module.
pub fn coordinator(
    listen: SocketAddr,
    store: &Path,
    papers: Option<&Papers>,
) -> Result<(), coordinator::Error> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut config = config(listen, store);
        if let Some(papers) = papers {
            papers.configure(&mut config);
        }
        let verifier = Box::new(DigestVerifier);
        let coordinator = Coordinator::start_with_verifier(config, PRESET, manifest(), verifier).await?;
        coordinator.serve(terminated()).await
    })
}

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("a runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Coordinator(#[from] coordinator::Error),
}

/// Starts a coordinator, and ends it before it serves.
pub fn start(store: &Path) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let config = config("127.0.0.1:0".parse().expect("an address"), store);
    let verifier = Box::new(DigestVerifier);
    runtime.block_on(Coordinator::start_with_verifier(
        config,
        PRESET,
        manifest(),
        verifier,
    ))?;
    Ok(())
}

/// The role of one of several coordinators that share a database and a place for artifacts, which variables say how to reach.
pub fn member(
    listen: SocketAddr,
    store: &Path,
    url: &str,
    artifacts: Location,
) -> Result<(), coordinator::Error> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut config = config(listen, store);
    config.artifacts.location = artifacts.with_variables(std::env::vars());
    config.postgres = Some(coordinator::Postgres {
        url: url.into(),
        holder: listen.to_string(),
        advertised: format!("http://{listen}"),
        lease_ms: LEADER_LEASE.as_millis() as u64,
    });
    let verifier = Box::new(DigestVerifier);
    let ended = coordinator::run_with_verifier(config, PRESET, manifest(), verifier, terminated());
    runtime.block_on(ended)
}

/// How a coordinator is reached that everybody may call, or several are by addresses with commas between them.
pub fn connector(address: &str) -> Connector {
    let url = |address| format!("http://{address}").parse().expect("a URL");
    let urls = address.split(',').map(url).collect();
    Connector::any(urls, Credentials::default()).expect("nothing can be wrong with it")
}

/// The role of a worker: the real one, whose prover process is [`prover`].
pub fn worker(coordinator: Connector, name: &str) {
    let config = WorkerConfig {
        coordinator,
        name: name.into(),
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: SHARD_VK,
        aggregation_vk_digest: AGGREGATION_VK,
        memory_bytes: 1 << 30,
        ahead: Some(1),
        stall_max: Duration::from_secs(60),
        phase_max: Duration::from_secs(60),
        drain_max: Duration::from_secs(60),
        name_taken_max: Duration::from_secs(30),
        ready: tokio::sync::watch::Sender::new(false),
        meters: Default::default(),
        traces: Default::default(),
    };
    let mut process = Command::new(std::env::current_exe().expect("this program's file"));
    process.arg("prover");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = runtime.block_on(worker::run(config, Place::Process(process), terminated()));
    if let Err(error) = ended {
        tracing::error!(%error, "the worker ends");
        std::process::exit(1);
    }
}

/// The role of a worker's prover process.
pub fn prover() {
    let device = DeviceInfo {
        name: "stand-in".into(),
        memory_bytes: 0,
        proves_shards: true,
        proves_aggregations: true,
    };
    worker::serve(|| Ok((StandIn, device))).expect("the pipes hold");
}

async fn terminated() {
    signal(SignalKind::terminate()).expect("a handler").recv().await;
}

struct StandIn;

impl Pipeline for StandIn {
    type Preparer = Plain;

    fn preparer(&self) -> Plain {
        Plain
    }

    fn prove(&mut self, task: Task, progress: &mut dyn FnMut(Phase)) -> Result<Proof, EngineError> {
        // As long as it takes to be killed in every phase once in a while.
        for phase in [Phase::Witness, Phase::Prove, Phase::Verify] {
            progress(phase);
            thread::sleep(Duration::from_millis(5));
        }
        Ok(prove(&task))
    }

    fn rest(&mut self) {}
}

struct Plain;

impl Prepare for Plain {
    type Prepared = Task;

    fn prepare(&self, task: &Task, _: &mut dyn FnMut(Phase)) -> Result<Task, EngineError> {
        Ok(task.clone())
    }
}
