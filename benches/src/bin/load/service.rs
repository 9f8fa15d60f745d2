//! A coordinator in a process of its own, with a keyed digest in the place of a proof, and how it is reached.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use accel::machine::ProcessMemory;
use anyhow::{Context, Result, bail, ensure};
use circuits::aggregation::AggregationInput;
use circuits::preset::{Preset, ShardParams};
use coordinator::{Config, Coordinator, Postgres, TlsFiles, Verifier};
use keys::manifest::Manifest;
use proto::connection::{Connector, Credentials};
use proto::v1;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rules::digest::Digest as KeyDigest;
use rules::operation::RollupId;
use rules::statement::{ACCUMULATOR_LIMBS, root_statement};
use rules::witness::{Shape, ShardInput};
use rules::{Fr, PROTOCOL_VERSION, field};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

pub const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
/// How long a coordinator leads after its last word: the default.
pub const LEADER_LEASE: Duration = Duration::from_secs(5);
/// File descriptors that a process here may need.
const DESCRIPTORS: u64 = 16_384;
/// In which Linux tells times of processes, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
/// Without it no digest is a proof.
const KEY: &[u8] = b"stand-in for a proof";
const SHARD_VK: [u8; 32] = [3; 32];
const AGGREGATION_VK: [u8; 32] = [4; 32];

/// Sizes of the circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Many small tasks.
    Small,
    /// Room for large batches.
    Large,
}

impl Size {
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "Small" => Ok(Self::Small),
            "Large" => Ok(Self::Large),
            other => bail!("no size {other:?}"),
        }
    }

    pub fn preset(self) -> Preset {
        let (places, rooms, children) = match self {
            Self::Small => (5, 1, 64),
            Self::Large => (1_000, 16, 12),
        };
        Preset {
            name: "load",
            shard: ShardParams {
                k: 15,
                shape: Shape { places, rooms },
            },
            children,
            aggregation_k: 20,
        }
    }
}

/// Certificates of an authority, the coordinator and its callers, in a folder.
pub struct Papers(PathBuf);

impl Papers {
    pub fn write(folder: &Path) -> Result<Self> {
        let papers = Self(folder.into());
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        papers.put("ca.pem", &params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        for name in ["coordinator", "caller"] {
            let mut params = CertificateParams::new(vec![name.into()])?;
            params
                .subject_alt_names
                .push(SanType::IpAddress([127, 0, 0, 1].into()));
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?;
            papers.put(&format!("{name}.pem"), &certificate.pem())?;
            papers.put(&format!("{name}.key"), &key.serialize_pem())?;
        }
        Ok(papers)
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.0.join(name), text)?)
    }

    /// How the coordinator at an address is reached.
    pub fn connector(&self, address: &str) -> Result<Connector> {
        let file = |name: &str| self.0.join(name);
        let credentials = Credentials {
            ca: Some(file("ca.pem")),
            identity: Some((file("caller.pem"), file("caller.key"))),
            token: None,
        };
        let url = format!("https://{address}").parse()?;
        Ok(Connector::new(url, credentials)?)
    }
}

/// A coordinator's process; it is killed when this goes.
pub struct Service {
    child: Child,
    pub address: String,
}

impl Service {
    /// Starts one, and waits until it listens.
    pub fn start(papers: &Papers, store: &Path, postgres: Option<&str>, size: Size) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .args([store, &papers.0])
            .arg(postgres.unwrap_or_default())
            .args(["--size", &format!("{size:?}")])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let told = child.stdout.take().context("it is piped")?;
        BufReader::new(told).read_line(&mut address)?;
        let address = address.trim().to_owned();
        ensure!(!address.is_empty(), "the coordinator does not start");
        Ok(Self { child, address })
    }

    pub fn peak_bytes(&self) -> Option<u64> {
        Some(ProcessMemory::of(self.child.id())?.peak_bytes)
    }

    /// Processor time of all its threads.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // After the program's name, which may have spaces, the 12th and 13th are user and system time.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        ticks / TICKS_PER_SECOND
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended by itself has said why.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process have as many descriptors as it needs.
pub fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted.max(limit.current.unwrap_or(wanted))),
            ..limit
        },
    )
    .context("file descriptors")
}

/// The process of a coordinator: serves until it is killed.
pub async fn serve(told: &[String], size: Size) -> Result<()> {
    raise_descriptors()?;
    prover::hashing::install()?;
    let [store, papers, postgres] = told else {
        bail!("expected a store, a folder of certificates and a database");
    };
    let papers = Path::new(papers);
    let mut config = Config::new("127.0.0.1:0".parse()?, store.into(), ROLLUP);
    config.tls = Some(TlsFiles {
        certificate: papers.join("coordinator.pem"),
        key: papers.join("coordinator.key"),
        client_ca: Some(papers.join("ca.pem")),
        client_crl: None,
    });
    // One machine calls for all of them here.
    config.limits.sessions_max = 20_000;
    config.limits.batches_open_max = 1_024;
    config.limits.tenant_batches_open_max = 1_024;
    config.watches_max = 4_000;
    let quotas = &mut config.quotas;
    (quotas.connections_max, quotas.address_connections_max) = (4_000, 4_000);
    (quotas.caller_sessions_max, quotas.caller_watches_max) = (20_000, 4_000);
    (quotas.connection_watches_max, quotas.caller_calls_per_s) = (256, 100_000);
    quotas.caller_calls_burst = 100_000;
    let listener = std::net::TcpListener::bind(config.listen)?;
    config.listen = listener.local_addr()?;
    drop(listener);
    if !postgres.is_empty() {
        config.postgres = Some(Postgres {
            url: postgres.clone(),
            holder: config.listen.to_string(),
            advertised: format!("https://{}", config.listen),
            lease_ms: u64::try_from(LEADER_LEASE.as_millis())?,
        });
    }
    let coordinator =
        Coordinator::start_with_verifier(config, size.preset(), manifest(size), Box::new(DigestVerifier))
            .await?;
    println!("{}", coordinator.address());
    Ok(coordinator.serve(std::future::pending()).await?)
}

fn manifest(size: Size) -> Manifest {
    let preset = size.preset();
    Manifest {
        protocol_version: PROTOCOL_VERSION,
        preset: preset.name.into(),
        shard_k: preset.shard.k,
        shard_places: preset.shard.shape.places,
        shard_rooms: preset.shard.shape.rooms,
        children: preset.children,
        insecure_srs: true,
        srs_digest: KeyDigest([1; 32]),
        shard_circuit_digest: KeyDigest([2; 32]),
        shard_vk_digest: KeyDigest(SHARD_VK),
        aggregation_vk_digest: KeyDigest(AGGREGATION_VK),
        shard_verifying_key_digest: KeyDigest([3; 32]),
        aggregation_verifying_key_digest: KeyDigest([4; 32]),
        aggregation_k: preset.aggregation_k,
        aggregation_circuit_digest: KeyDigest([7; 32]),
    }
}

/// A worker of the coordinator's keys.
pub fn hello(name: String) -> v1::Hello {
    v1::Hello {
        worker_name: name,
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: SHARD_VK.to_vec().into(),
        aggregation_vk_digest: AGGREGATION_VK.to_vec().into(),
        capabilities: vec![v1::TaskKind::Shard.into(), v1::TaskKind::Aggregation.into()],
        devices: vec![],
        memory_bytes: 1 << 30,
        instance: 1,
    }
}

fn proof(instances: &[Fr]) -> Vec<u8> {
    let mut hasher = Sha256::new_with_prefix(KEY);
    instances
        .iter()
        .for_each(|instance| hasher.update(field::to_be(instance)));
    hasher.finalize().to_vec()
}

/// The right answer to a task.
pub fn prove(task: &v1::Task, payload: &[u8]) -> Result<v1::Complete> {
    let (proof, accumulator) = match task.kind() {
        v1::TaskKind::Shard => {
            let input = ShardInput::from_bytes(payload)?;
            (proof(&input.instances()), vec![])
        }
        _ => {
            let input = AggregationInput::from_bytes(payload)?;
            let stated: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
            let stated = root_statement(&stated, stated.len())?;
            let limbs: [Fr; ACCUMULATOR_LIMBS] = std::array::from_fn(|limb| Fr::from(limb as u64));
            let instances: Vec<Fr> = limbs.into_iter().chain(stated.to_instances()).collect();
            let limbs = limbs.iter().map(|limb| field::to_be(limb).to_vec().into());
            (proof(&instances), limbs.collect())
        }
    };
    Ok(v1::Complete {
        task_id: task.task_id.clone(),
        fence: task.fence,
        proof: proof.into(),
        accumulator,
        ..v1::Complete::default()
    })
}

struct DigestVerifier;

impl Verifier for DigestVerifier {
    fn shard(&self, instances: &[Fr], found: &[u8]) -> Result<(), String> {
        check(instances, found)
    }

    fn root(&self, instances: &[Fr], found: &[u8]) -> Result<(), String> {
        check(instances, found)
    }
}

fn check(instances: &[Fr], found: &[u8]) -> Result<(), String> {
    match found == proof(instances) {
        true => Ok(()),
        false => Err("another digest".into()),
    }
}
