//! Workers' sessions, and watchers beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto::connection::Channel;
use proto::v1;
use proto::v1::prover_service_client::ProverServiceClient;
use proto::v1::session_request::Message as ToCoordinator;
use proto::v1::session_response::Message as FromCoordinator;
use proto::v1::worker_service_client::WorkerServiceClient;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::service::{Papers, Service, Size, hello, prove};
use super::{Args, next, now_s, sample, submit};

/// Sessions that are opened at once.
const OPENING: usize = 200;
/// Batches that wait before the sessions come, and are kept waiting.
const WAITING: u32 = 128;
/// A worker says so often that it is still at work.
const RENEW: Duration = Duration::from_secs(20);

/// What all workers have seen.
#[derive(Default)]
struct Seen {
    /// From a worker's request until the whole task is there, while tasks are ready, microseconds.
    leases: Mutex<Vec<u64>>,
    /// From a proof until its verdict, microseconds.
    verdicts: Mutex<Vec<u64>>,
    proven: AtomicU64,
    ends: AtomicBool,
}

pub async fn measure(args: &Args, papers: &Papers, service: &Service) -> Result<Value> {
    let connector = papers.connector(&service.address)?;
    let seen = Arc::new(Seen::default());
    let mut client = ProverServiceClient::new(connector.connect().await?);
    let feeding = tokio::spawn(feed(client.clone(), Arc::clone(&seen)));
    while open(&mut client).await? < WAITING {
        sleep(Duration::from_millis(100)).await;
    }
    let began = Instant::now();
    let mut workers = JoinSet::new();
    let mut channels = Vec::new();
    for _ in 0..args.sessions.div_ceil(args.sessions_each) {
        channels.push(connector.connect().await?);
    }
    let prove_time = Duration::from_secs(args.prove_seconds);
    for number in 0..args.sessions {
        let channel = channels[number / args.sessions_each].clone();
        let seen = Arc::clone(&seen);
        // Spread over the time of a task, as workers that have been there for long are.
        let first = prove_time.mul_f64(number as f64 / args.sessions as f64);
        workers.spawn(work(channel, format!("w{number}"), first, prove_time, seen));
        if number % OPENING == OPENING - 1 {
            sleep(Duration::from_millis(50)).await;
        }
    }
    while info(&mut client).await?.workers < u32::try_from(args.sessions)? {
        if let Some(ended) = workers.try_join_next() {
            ended??;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let opened = began.elapsed();
    let watched = watch(args, &connector, &mut client).await?;

    // Only what comes from now on counts.
    seen.leases.lock().await.clear();
    seen.verdicts.lock().await.clear();
    let (before, cpu, began) = (
        seen.proven.load(Ordering::Relaxed),
        service.cpu_seconds(),
        Instant::now(),
    );
    sleep(Duration::from_secs(args.seconds)).await;
    let seconds = began.elapsed().as_secs_f64();
    let proven = seen.proven.load(Ordering::Relaxed) - before;
    let cpu = service.cpu_seconds() - cpu;
    let connected = info(&mut client).await?.workers;
    let leases = quantiles(std::mem::take(&mut *seen.leases.lock().await));
    let verdicts = quantiles(std::mem::take(&mut *seen.verdicts.lock().await));
    seen.ends.store(true, Ordering::Relaxed);
    feeding.abort();
    workers.abort_all();
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(ended) => ended?,
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(json!({
        "sessions": args.sessions,
        "connections": channels.len(),
        "sessions_at_the_end": connected,
        "opened_in_seconds": opened.as_secs_f64(),
        "prove_seconds": args.prove_seconds,
        "seconds": seconds,
        "tasks": proven,
        "tasks_per_second": proven as f64 / seconds,
        "lease_ms": leases,
        "verdict_ms": verdicts,
        "coordinator_cores": cpu / seconds,
        "coordinator_peak_bytes": service.peak_bytes(),
        "watchers": watched,
    }))
}

/// Keeps batches waiting, until it is aborted.
async fn feed(mut client: ProverServiceClient<Channel>, seen: Arc<Seen>) -> Result<()> {
    let mut sample = sample();
    let mut queued = 2;
    while !seen.ends.load(Ordering::Relaxed) {
        if open(&mut client).await? >= 2 * WAITING {
            sleep(Duration::from_millis(200)).await;
            continue;
        }
        let signed = if queued == 0 { 4 } else { 0 };
        let batch = next(&mut sample, Size::Small, now_s(), queued, signed);
        submit(&mut client, &batch).await?;
        if batch.number > 1 {
            queued = 0;
        }
    }
    Ok(())
}

async fn info(client: &mut ProverServiceClient<Channel>) -> Result<v1::GetInfoResponse> {
    Ok(client.get_info(v1::GetInfoRequest::default()).await?.into_inner())
}

async fn open(client: &mut ProverServiceClient<Channel>) -> Result<u32> {
    Ok(info(client).await?.batches_open)
}

/// A worker, until it is aborted.
async fn work(
    channel: Channel,
    name: String,
    first: Duration,
    prove_time: Duration,
    seen: Arc<Seen>,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(8);
    let send = async |message| {
        let message = v1::SessionRequest {
            message: Some(message),
        };
        sender.send(message).await.context("the session has ended")
    };
    send(ToCoordinator::Hello(hello(name))).await?;
    let mut client = WorkerServiceClient::new(channel);
    let mut session = client.session(ReceiverStream::new(receiver)).await?.into_inner();
    let FromCoordinator::Welcome(_) = receive(&mut session).await? else {
        bail!("no welcome");
    };
    sleep(first).await;
    loop {
        let asked = Instant::now();
        send(ToCoordinator::LeaseRequest(v1::LeaseRequest::default())).await?;
        let (task, payload) = task(&mut session).await?;
        let took = u64::try_from(asked.elapsed().as_micros())?;
        seen.leases.lock().await.push(took);
        let until = Instant::now() + prove_time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if timeout(left.min(RENEW), session.message()).await.is_ok() {
                // What was renewed is told.
                continue;
            }
            if left > RENEW {
                send(ToCoordinator::Renew(v1::Renew {
                    task_id: task.task_id.clone(),
                    fence: task.fence,
                }))
                .await?;
            }
        }
        let complete = prove(&task, &payload)?;
        let reported = Instant::now();
        send(ToCoordinator::Complete(complete)).await?;
        loop {
            match receive(&mut session).await? {
                FromCoordinator::Completed(completed) => {
                    if completed.verdict() != v1::Verdict::Accepted {
                        bail!("{}: {:?}", task.task_id, completed);
                    }
                    break;
                }
                FromCoordinator::Renewed(_) => {}
                other => bail!("{}: {other:?}", task.task_id),
            }
        }
        let took = u64::try_from(reported.elapsed().as_micros())?;
        seen.verdicts.lock().await.push(took);
        seen.proven.fetch_add(1, Ordering::Relaxed);
    }
}

async fn receive(session: &mut Streaming<v1::SessionResponse>) -> Result<FromCoordinator> {
    let message = session.message().await?.context("the session has ended")?;
    message.message.context("a message is always set")
}

async fn task(session: &mut Streaming<v1::SessionResponse>) -> Result<(v1::Task, Vec<u8>)> {
    let task = loop {
        match receive(session).await? {
            FromCoordinator::Task(task) => break task,
            FromCoordinator::Renewed(_) => {}
            other => bail!("no task: {other:?}"),
        }
    };
    let mut payload = Vec::new();
    while (payload.len() as u64) < task.payload_bytes {
        match receive(session).await? {
            FromCoordinator::TaskChunk(chunk) => payload.extend_from_slice(&chunk.data),
            FromCoordinator::Renewed(_) => {}
            other => bail!("no chunk: {other:?}"),
        }
    }
    Ok((task, payload))
}

/// Watchers of the oldest batch that is open: how long it takes until all have a change, from when the first has it.
async fn watch(
    args: &Args,
    connector: &proto::connection::Connector,
    client: &mut ProverServiceClient<Channel>,
) -> Result<Value> {
    let request = v1::ListBatchesRequest {
        page_size: 100,
        statuses: vec![v1::BatchStatus::Queued.into()],
        ..v1::ListBatchesRequest::default()
    };
    let waiting = client.list_batches(request).await?.into_inner().batches;
    let batch = waiting.last().context("batches wait")?.batch_id.clone();
    let (told, mut changes) = mpsc::unbounded_channel();
    let mut watchers = JoinSet::new();
    let mut channel = connector.connect().await?;
    for number in 0..args.watchers {
        if number % args.sessions_each == 0 {
            channel = connector.connect().await?;
        }
        let request = v1::WatchBatchRequest {
            batch_id: batch.clone(),
            after_revision: 0,
        };
        let mut stream = ProverServiceClient::new(channel.clone())
            .watch_batch(request)
            .await?
            .into_inner();
        let told = told.clone();
        watchers.spawn(async move {
            while let Ok(Some(change)) = stream.message().await {
                let revision = change.batch.map_or(0, |batch| batch.revision);
                if told.send((revision, Instant::now())).is_err() {
                    return;
                }
            }
        });
    }
    drop(told);
    // The last one is final, and nobody misses it: changes between may be merged.
    let mut last = (0, None::<Instant>, Vec::new());
    let collecting = async {
        while let Some((revision, at)) = changes.recv().await {
            if revision > last.0 {
                last = (revision, Some(at), Vec::new());
            }
            if let (true, Some(first)) = (revision == last.0, last.1) {
                last.2.push(at.saturating_duration_since(first));
            }
        }
    };
    let in_time = timeout(Duration::from_secs(600), collecting).await.is_ok();
    watchers.abort_all();
    let micros = last.2.iter().map(|spread| spread.as_micros() as u64);
    Ok(json!({
        "watchers": args.watchers,
        "all_saw_the_end": in_time && last.2.len() == args.watchers,
        "behind_the_first_ms": quantiles(micros.collect()),
    }))
}

/// Median, 99th percentile and the most of some times, in milliseconds.
fn quantiles(mut micros: Vec<u64>) -> Value {
    micros.sort_unstable();
    let at = |part: f64| {
        let place = ((micros.len() as f64 * part) as usize).min(micros.len().saturating_sub(1));
        micros.get(place).map(|micros| *micros as f64 / 1_000.0)
    };
    json!({ "count": micros.len(), "p50": at(0.5), "p99": at(0.99), "most": at(1.0) })
}
