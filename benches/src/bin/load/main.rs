//! What one coordinator bears: thousands of worker sessions over TLS, watchers, large batches, and how long another takes to lead. Proofs
//! are digests; all else is as in production. Everything is on loopback.

mod service;
mod workers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::{publish, report};
use clap::{Parser, ValueEnum};
use pgserver::PgServer;
use prost::Message;
use proto::connection::Channel;
use proto::v1;
use proto::v1::prover_service_client::ProverServiceClient;
use rules::batch::Batch;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::service::{Papers, ROLLUP, Service, Size};

/// Measure what a coordinator bears.
#[derive(Parser)]
struct Args {
    /// Where the records are.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["folder", "postgres"])]
    store: Vec<Place>,
    /// Worker sessions.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Sessions of one connection.
    #[arg(long, default_value_t = 100)]
    sessions_each: usize,
    /// Seconds that a worker takes for a task.
    #[arg(long, default_value_t = 60)]
    prove_seconds: u64,
    /// Seconds of the measurement, after all sessions are open.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Watchers of one batch.
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// Transfers of a large batch, and how many such batches are submitted.
    #[arg(long, default_value_t = 10_000)]
    transfers: usize,
    #[arg(long, default_value_t = 5)]
    batches: usize,
    /// Take-overs.
    #[arg(long, default_value_t = 5)]
    takeovers: usize,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Serve in this process, as the hidden arguments say.
    #[arg(long, hide = true, num_args = 3)]
    serve: Option<Vec<String>>,
    #[arg(long, hide = true)]
    size: Option<String>,
}

/// Where records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// In the store's folder.
    Folder,
    /// In PostgreSQL.
    Postgres,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(told) = &args.serve {
        let size = Size::of(args.size.as_deref().unwrap_or_default())?;
        return runtime.block_on(service::serve(told, size));
    }
    service::raise_descriptors()?;
    let mut results = Map::new();
    for place in &args.store {
        let name = format!("{place:?}").to_lowercase();
        eprintln!("{name} …");
        results.insert(name, runtime.block_on(measure(&args, *place))?);
    }
    publish(&report(Value::Object(results)), args.json.as_deref())
}

async fn measure(args: &Args, place: Place) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let papers = Papers::write(folder.path())?;
    let server = (place == Place::Postgres).then(PgServer::start);
    let url = || server.as_ref().map(PgServer::database);

    eprintln!("  sessions …");
    let store = folder.path().join("sessions");
    let service = Service::start(&papers, &store, url().as_deref(), Size::Small)?;
    let sessions = workers::measure(args, &papers, &service).await?;
    drop(service);

    eprintln!("  submissions …");
    let store = folder.path().join("submissions");
    let service = Service::start(&papers, &store, url().as_deref(), Size::Large)?;
    let submissions = submissions(args, &papers, &service).await?;
    drop(service);

    let mut measured = json!({ "sessions": sessions, "submissions": submissions });
    if let Some(url) = url() {
        eprintln!("  take-overs …");
        measured["takeovers"] = takeovers(args, &papers, folder.path().join("shared"), &url).await?;
    }
    Ok(measured)
}

/// The next batch of a sample with so many transfers.
fn next(sample: &mut Sample, size: Size, time: u64, queued: usize, signed: usize) -> Batch {
    let draw = Draw {
        shape: size.preset().shard.shape,
        queued,
        signed,
        mix: Mix::Transfers,
    };
    sample.batch(ROLLUP, time, draw)
}

fn sample() -> Sample {
    Sample::new(SampleConfig {
        seed: 7,
        users: 16,
        tokens: 2,
    })
}

fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// Submits a batch; the service's id of it.
async fn submit(client: &mut ProverServiceClient<Channel>, batch: &Batch) -> Result<String> {
    use v1::submit_batch_request::Part;
    let bytes = coordinator::convert::batch_to_proto(batch).encode_to_vec();
    let header = v1::SubmitBatchHeader {
        request_id: format!("r{}", batch.number),
        batch_number: batch.number,
        total_bytes: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).to_vec().into(),
        ..v1::SubmitBatchHeader::default()
    };
    let chunks = bytes.chunks(proto::CHUNK_BYTES_MAX).map(<[u8]>::to_vec);
    let parts = std::iter::once(Part::Header(header)).chain(chunks.map(|chunk| Part::Chunk(chunk.into())));
    let messages: Vec<_> = parts
        .map(|part| v1::SubmitBatchRequest { part: Some(part) })
        .collect();
    let answer = client
        .submit_batch(tokio_stream::iter(messages))
        .await?
        .into_inner();
    Ok(answer
        .batch
        .context("a batch that was accepted is told")?
        .batch_id)
}

/// Large batches, one after the other, as a sequencer sends them: each is acknowledged when it is executed and stored.
async fn submissions(args: &Args, papers: &Papers, service: &Service) -> Result<Value> {
    let mut client = ProverServiceClient::new(papers.connector(&service.address)?.connect().await?);
    let mut sample = sample();
    let time = now_s();
    // Accounts to pay from.
    for _ in 0..2 {
        let founded = next(
            &mut sample,
            Size::Large,
            time,
            Size::Large.preset().queue_capacity(),
            0,
        );
        submit(&mut client, &founded).await?;
    }
    let mut seconds = Vec::new();
    let mut bytes = 0;
    let cpu = service.cpu_seconds();
    for _ in 0..args.batches {
        let batch = next(&mut sample, Size::Large, time, 0, args.transfers);
        bytes = coordinator::convert::batch_to_proto(&batch).encoded_len();
        let began = Instant::now();
        submit(&mut client, &batch).await?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let whole: f64 = seconds.iter().sum();
    Ok(json!({
        "transfers": args.transfers,
        "bytes": bytes,
        "seconds": seconds,
        "transfers_per_second": (args.transfers * args.batches) as f64 / whole,
        "coordinator_cpu_seconds_each": (service.cpu_seconds() - cpu) / args.batches as f64,
        "coordinator_peak_bytes": service.peak_bytes(),
    }))
}

/// Kills the coordinator that leads, and waits until the other takes a batch.
async fn takeovers(args: &Args, papers: &Papers, store: PathBuf, url: &str) -> Result<Value> {
    let mut leader = Service::start(papers, &store, Some(url), Size::Small)?;
    let mut sample = sample();
    let mut seconds = Vec::new();
    let mut client = ProverServiceClient::new(papers.connector(&leader.address)?.connect().await?);
    submit(&mut client, &next(&mut sample, Size::Small, now_s(), 2, 0)).await?;
    for _ in 0..args.takeovers {
        let other = Service::start(papers, &store, Some(url), Size::Small)?;
        let mut client = ProverServiceClient::new(papers.connector(&other.address)?.connect().await?);
        let batch = next(&mut sample, Size::Small, now_s(), 0, 4);
        let began = Instant::now();
        drop(leader);
        loop {
            match submit(&mut client, &batch).await {
                Ok(_) => break,
                Err(error) => {
                    let waited = began.elapsed();
                    ensure!(waited < Duration::from_secs(60), "nobody leads: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        seconds.push(began.elapsed().as_secs_f64());
        leader = other;
    }
    Ok(json!({ "leader_lease_seconds": service::LEADER_LEASE.as_secs_f64(), "seconds": seconds }))
}
