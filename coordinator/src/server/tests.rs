//! The server over real connections on loopback. Proofs are stand-ins: a digest of the instances, which the test's verifier
//! knows; everything else is as in production.

mod artifacts;
mod browser;
pub(super) mod commits;
mod damage;
mod earlier_circuits;
mod every_kind;
mod keys;
mod looking;
mod operator;
mod page;
mod rollback_on_l1;
mod rollups;
mod sessions;
mod start;

use std::{
    path::Path,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use ::keys::manifest::Manifest;
use circuits::{
    aggregation::AggregationInput,
    preset::{Preset, ShardParams},
};
use prost::Message;
use proto::{
    CHUNK_BYTES_MAX,
    v1::{
        self, prover_service_client::ProverServiceClient, session_request::Message as FromWorker,
        session_response::Message as ToWorker, worker_service_client::WorkerServiceClient,
    },
};
use rules::statement::{ACCUMULATOR_LIMBS, root_statement};
use rules::{
    Fr, PROTOCOL_VERSION,
    account::AccountIndex,
    batch::{Batch, execute},
    digest::Digest as KeyDigest,
    field,
    operation::{Operation, RollupId, SignedTransfer},
    sample::{Draw, Mix, Sample, SampleConfig},
    shards::shards,
    state::State,
    witness::{Shape, ShardInput},
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

use start::snapshot_of;

use super::{Coordinator, Error, shell::Shell, status::Unavailable};
use crate::{
    config::{Config, ConfigError, Postgres},
    convert::batch_to_proto,
    core::{
        Limits,
        id::{BatchId, RollupNumber, Tenant},
        record::{ArtifactKey, Wishes},
    },
    execution::Origin,
    keyring::{Circuits, Keyring},
    store::StoreError,
    verifier::Verifier,
};

mod access;
mod cluster;
mod compressed;
mod faults;
mod quotas;
mod revoked;
mod secure;

const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
/// Its number.
pub(super) const MAIN: RollupNumber = RollupNumber(0);
pub(super) const TIME: u64 = 1_700_000_000;
pub(super) const PRESET: Preset = Preset {
    name: "test",
    shard: ShardParams {
        k: 15,
        shape: Shape { places: 5, rooms: 1 },
    },
    children: 2,
    aggregation_k: 20,
};
/// Longer than anything takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn origin(request_id: &str, sha256: [u8; 32]) -> Origin {
    Origin {
        tenant: Tenant::default(),
        request_id: request_id.into(),
        wishes: Wishes::default(),
        sha256,
    }
}

/// Takes the digest of the instances for a proof.
struct DigestVerifier;

fn digest_proof(instances: &[Fr]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    instances
        .iter()
        .for_each(|instance| hasher.update(field::to_be(instance)));
    hasher.finalize().to_vec()
}

impl Verifier for DigestVerifier {
    fn shard(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        if instances.len() == 17 && proof == digest_proof(instances) {
            Ok(())
        } else {
            Err("wrong digest".into())
        }
    }

    fn root(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        if instances.len() == 17 && proof == digest_proof(instances) {
            Ok(())
        } else {
            Err("wrong digest".into())
        }
    }
}

pub(super) fn manifest() -> Manifest {
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
        shard_vk_digest: KeyDigest([3; 32]),
        aggregation_vk_digest: KeyDigest([4; 32]),
        shard_verifying_key_digest: KeyDigest([5; 32]),
        aggregation_verifying_key_digest: KeyDigest([6; 32]),
        aggregation_k: PRESET.aggregation_k,
        aggregation_circuit_digest: KeyDigest([7; 32]),
    }
}

/// Keys of that description, whose verifier takes digests.
pub(super) fn keyring(manifest: Manifest) -> Keyring {
    Keyring {
        preset: PRESET,
        current: Circuits {
            manifest,
            verifier: Box::new(DigestVerifier),
        },
        previous: Vec::new(),
    }
}

pub(super) fn sample() -> Sample {
    Sample::new(SampleConfig {
        seed: 7,
        users: 4,
        tokens: 2,
    })
}

fn draw(queued: usize, signed: usize, mix: Mix) -> Draw {
    Draw {
        shape: PRESET.shard.shape,
        queued,
        signed,
        mix,
    }
}

/// The next batch of a sample, of so many operations: one of the queue, then signed ones.
pub(super) fn batch_of(sample: &mut Sample, time: u64, operations: usize) -> Batch {
    sample.batch(ROLLUP, time, draw(1, operations - 1, Mix::All))
}

/// The first batches of a sample: its tokens' fee accounts, and accounts that have something.
fn founded(sample: &mut Sample) -> Vec<Batch> {
    let batches = (0..3).map(|_| sample.batch(ROLLUP, TIME, draw(2, 0, Mix::All)));
    batches.collect()
}

fn config(store: &Path) -> Config {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = Config::new(listen, store.into(), ROLLUP);
    config.limits = Limits {
        lease_ms: 20_000,
        reconnect_grace_ms: 50,
        retry_ms_min: 1,
        avoid_ms: 1,
        ..Limits::default()
    };
    // The batches' time is a constant.
    config.time_age_s_max = u64::MAX;
    config
}

async fn start(config: Config) -> Result<Coordinator, Error> {
    Coordinator::start_with(config, keyring(manifest())).await
}

/// A coordinator that serves in the background.
struct Service {
    /// Not beyond its stop, after which another takes the store.
    shell: Weak<Shell>,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), Error>>,
}

impl Service {
    async fn start(store: &Path) -> Self {
        Self::with(config(store)).await
    }

    async fn with(config: Config) -> Self {
        Self::of(start(config).await.expect("it starts")).await
    }

    async fn of(coordinator: Coordinator) -> Self {
        let address = format!("http://{}", coordinator.address());
        let shell = Arc::downgrade(&coordinator.shell);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(coordinator.serve(async move { drop(stopped.await) }));
        let channel = Channel::from_shared(address)
            .expect("an address")
            .connect()
            .await
            .expect("it listens");
        Self {
            shell,
            channel,
            stop: Some(stop),
            served,
        }
    }

    fn client(&self) -> ProverServiceClient<Channel> {
        ProverServiceClient::new(self.channel.clone())
    }

    async fn submit(&self, id: &str, batch: &Batch) -> Result<v1::SubmitBatchResponse, Status> {
        self.send(submission(id, batch)).await
    }

    async fn send(&self, messages: Vec<v1::SubmitBatchRequest>) -> Result<v1::SubmitBatchResponse, Status> {
        Ok(self
            .client()
            .submit_batch(tokio_stream::iter(messages))
            .await?
            .into_inner())
    }

    async fn batch(&self, id: &str) -> v1::BatchInfo {
        let request = v1::GetBatchRequest { batch_id: id.into() };
        let response = self
            .client()
            .get_batch(request)
            .await
            .expect("it exists")
            .into_inner();
        response.batch.expect("always set")
    }

    async fn stop(mut self) {
        self.stop
            .take()
            .expect("not stopped before")
            .send(())
            .expect("it serves");
        drop(self.channel);
        let served = tokio::time::timeout(PATIENCE, self.served)
            .await
            .expect("it stops in time");
        served.expect("no panic").expect("no error");
    }
}

fn header(header: v1::SubmitBatchHeader) -> v1::SubmitBatchRequest {
    v1::SubmitBatchRequest {
        part: Some(v1::submit_batch_request::Part::Header(header)),
    }
}

fn chunk(bytes: &[u8]) -> v1::SubmitBatchRequest {
    v1::SubmitBatchRequest {
        part: Some(v1::submit_batch_request::Part::Chunk(bytes.to_vec().into())),
    }
}

fn submission(id: &str, batch: &Batch) -> Vec<v1::SubmitBatchRequest> {
    message_submission(id, &batch_to_proto(batch))
}

fn message_submission(id: &str, batch: &v1::Batch) -> Vec<v1::SubmitBatchRequest> {
    let bytes = batch.encode_to_vec();
    let first = v1::SubmitBatchHeader {
        request_id: id.into(),
        batch_number: batch.number,
        total_bytes: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).to_vec().into(),
        ..Default::default()
    };
    // Small chunks, so that there are several.
    let chunks = bytes.chunks(200).map(chunk);
    [header(first)].into_iter().chain(chunks).collect()
}

fn accepted(response: Result<v1::SubmitBatchResponse, Status>) -> v1::BatchInfo {
    response.expect("it is accepted").batch.expect("always set")
}

/// Expects a refusal: its code, its reason, and the field named, by any of the details.
#[track_caller]
fn refused<T: std::fmt::Debug>(response: Result<T, Status>, code: Code, reason: &str, field: &str) -> Status {
    let status = response.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("prover.zkrollup", reason),
        "{status:?}"
    );
    let fields = details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|v| v.field.as_str()).collect());
    let subjects = details
        .precondition_failure()
        .map(|bad| bad.violations.iter().map(|v| v.subject.as_str()).collect());
    let named: Vec<&str> = fields.or(subjects).unwrap_or_default();
    assert_eq!(named.first().copied().unwrap_or_default(), field, "{status:?}");
    status
}

/// A worker's end of a session.
struct Worker {
    sender: mpsc::Sender<v1::SessionRequest>,
    receiver: Streaming<v1::SessionResponse>,
}

/// A task as a worker gets it.
struct Leased {
    task: v1::Task,
    payload: Vec<u8>,
}

fn hello(name: &str) -> v1::Hello {
    v1::Hello {
        worker_name: name.into(),
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: vec![3; 32].into(),
        aggregation_vk_digest: vec![4; 32].into(),
        capabilities: vec![v1::TaskKind::Shard.into(), v1::TaskKind::Aggregation.into()],
        devices: vec![v1::Device {
            name: "cpu".into(),
            memory_bytes: 0,
        }],
        memory_bytes: 1 << 30,
        instance: 1,
    }
}

impl Worker {
    async fn open(service: &Service, first: FromWorker) -> Self {
        let (sender, receiver) = mpsc::channel(16);
        let mut client = WorkerServiceClient::new(service.channel.clone());
        let receiver = client
            .session(ReceiverStream::new(receiver))
            .await
            .expect("it opens")
            .into_inner();
        let worker = Self { sender, receiver };
        worker.send(first).await;
        worker
    }

    async fn join(service: &Service, name: &str) -> Self {
        let mut worker = Self::open(service, FromWorker::Hello(hello(name))).await;
        assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
        worker
    }

    async fn send(&self, message: FromWorker) {
        self.sender
            .send(v1::SessionRequest {
                message: Some(message),
            })
            .await
            .expect("the session is open");
    }

    async fn next(&mut self) -> Result<ToWorker, Status> {
        let message = tokio::time::timeout(PATIENCE, self.receiver.message())
            .await
            .expect("an answer in time")?;
        Ok(message
            .ok_or_else(|| Status::ok("the session ended"))?
            .message
            .expect("always set"))
    }

    async fn request(&self) {
        self.send(FromWorker::LeaseRequest(v1::LeaseRequest { kinds: vec![] }))
            .await;
    }

    async fn task(&mut self) -> Leased {
        let ToWorker::Task(task) = self.next().await.expect("the session is open") else {
            panic!("no task")
        };
        let mut payload = Vec::new();
        while (payload.len() as u64) < task.payload_bytes {
            let ToWorker::TaskChunk(chunk) = self.next().await.expect("the session is open") else {
                panic!("no chunk")
            };
            assert_eq!(chunk.task_id, task.task_id);
            payload.extend_from_slice(&chunk.data);
        }
        assert_eq!(Sha256::digest(&payload)[..], task.payload_sha256[..]);
        Leased { task, payload }
    }

    async fn lease(&mut self) -> Leased {
        self.request().await;
        self.task().await
    }

    async fn complete(&mut self, complete: v1::Complete) -> v1::Verdict {
        self.send(FromWorker::Complete(complete)).await;
        match self.next().await.expect("the session is open") {
            ToWorker::Completed(completed) => completed.verdict(),
            other => panic!("{other:?}"),
        }
    }
}

impl Leased {
    /// The right answer.
    fn prove(&self) -> v1::Complete {
        let Self { task, payload } = self;
        let (proof, accumulator) = match task.kind() {
            v1::TaskKind::Shard => {
                let input = ShardInput::from_bytes(payload).expect("a shard's input");
                (digest_proof(&input.instances()), vec![])
            }
            _ => {
                let input = AggregationInput::from_bytes(payload).expect("an aggregation's input");
                for child in &input.children {
                    assert!(child.proof.starts_with(&digest_proof(&child.instances)));
                }
                let children: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
                let stated = root_statement(&children, PRESET.children).expect("the shards chain");
                let limbs: Vec<Fr> = (0..ACCUMULATOR_LIMBS as u64).map(Fr::from).collect();
                let instances: Vec<Fr> = limbs.iter().copied().chain(stated.to_instances()).collect();
                let accumulator = limbs
                    .iter()
                    .map(|limb| field::to_be(limb).to_vec().into())
                    .collect();
                (digest_proof(&instances), accumulator)
            }
        };
        v1::Complete {
            task_id: task.task_id.clone(),
            fence: task.fence,
            proof: proof.into(),
            accumulator,
            prove_ms: 1,
        }
    }
}

fn store() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn submitting_twice_is_one_batch_and_other_content_is_refused() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    let batch = batch_of(&mut sample, TIME, 7);
    let first = service.submit("a", &batch).await.expect("it is accepted");
    assert!(!first.already_existed);
    let info = first.batch.clone().expect("always set");
    assert_eq!((info.operations, info.shards_total, info.batch_number), (7, 2, 0));
    assert_eq!(info.status(), v1::BatchStatus::Queued);
    let again = service.submit("a", &batch).await.expect("it is accepted");
    assert!(again.already_existed);
    assert_eq!(again.batch, first.batch);
    let other = batch_of(&mut sample, TIME, 1);
    let status = refused(
        service.submit("a", &other).await,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
        "",
    );
    assert_eq!(
        status.get_error_details().error_info().expect("set").metadata["batch_id"],
        info.batch_id
    );
    // The next batch goes on top of the first, which is not proven yet.
    assert_eq!(accepted(service.submit("b", &other).await).batch_number, 1);
    let at_once = batch_of(&mut sample, TIME, 2);
    let (one, two) = tokio::join!(service.submit("c", &at_once), service.submit("c", &at_once));
    assert_eq!(accepted(one).batch_id, accepted(two).batch_id);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_submission_is_refused_by_what_is_wrong() {
    let store = store();
    let service = Service::start(store.path()).await;
    let batch = batch_of(&mut sample(), TIME, 3);
    let good = submission("a", &batch);
    let Some(v1::submit_batch_request::Part::Header(head)) = good[0].part.clone() else {
        panic!("a header")
    };
    let with = |head: v1::SubmitBatchHeader| [vec![header(head)], good[1..].to_vec()].concat();
    let bad = Code::InvalidArgument;

    refused(service.send(vec![]).await, bad, "HEADER_MISSING", "");
    refused(service.send(good[1..].to_vec()).await, bad, "HEADER_MISSING", "");
    refused(
        service.send([good.clone(), good.clone()].concat()).await,
        bad,
        "CHUNK_MISSING",
        "",
    );
    refused(
        service.send(good[..2].to_vec()).await,
        bad,
        "TOTAL_MISMATCH",
        "header.total_bytes",
    );
    let long = [good.clone(), vec![chunk(b"x")]].concat();
    refused(
        service.send(long).await,
        bad,
        "TOTAL_MISMATCH",
        "header.total_bytes",
    );
    let huge = vec![good[0].clone(), chunk(&vec![0; CHUNK_BYTES_MAX + 1])];
    refused(service.send(huge).await, bad, "CHUNK_SIZE", "chunk");
    refused(
        service.send(vec![good[0].clone(), chunk(b"")]).await,
        bad,
        "CHUNK_SIZE",
        "chunk",
    );
    for id in ["", "a b", "ä", &"x".repeat(129)] {
        let messages = with(v1::SubmitBatchHeader {
            request_id: id.into(),
            ..head.clone()
        });
        refused(
            service.send(messages).await,
            bad,
            "MALFORMED_FIELD",
            "header.request_id",
        );
    }
    for total_bytes in [0, (32 << 20) + 1] {
        let messages = with(v1::SubmitBatchHeader {
            total_bytes,
            ..head.clone()
        });
        refused(
            service.send(messages).await,
            bad,
            "MALFORMED_FIELD",
            "header.total_bytes",
        );
    }
    let messages = with(v1::SubmitBatchHeader {
        sha256: vec![0; 31].into(),
        ..head.clone()
    });
    refused(
        service.send(messages).await,
        bad,
        "MALFORMED_FIELD",
        "header.sha256",
    );
    let messages = with(v1::SubmitBatchHeader {
        sha256: vec![0; 32].into(),
        ..head.clone()
    });
    refused(
        service.send(messages).await,
        bad,
        "DIGEST_MISMATCH",
        "header.sha256",
    );
    let messages = with(v1::SubmitBatchHeader {
        batch_number: 1,
        ..head.clone()
    });
    refused(
        service.send(messages).await,
        bad,
        "HEADER_MISMATCH",
        "header.batch_number",
    );
    let garbage = [0xff; 40];
    let first = v1::SubmitBatchHeader {
        total_bytes: 40,
        sha256: Sha256::digest(garbage).to_vec().into(),
        ..head.clone()
    };
    refused(
        service.send(vec![header(first), chunk(&garbage)]).await,
        bad,
        "MALFORMED_BATCH",
        "",
    );
    let mut message = batch_to_proto(&batch);
    message.operations[1].kind = Some(v1::operation::Kind::Transfer(v1::Transfer::default()));
    let field = "batch.operations[1].transfer.amount";
    let status = refused(
        service.send(message_submission("a", &message)).await,
        bad,
        "MALFORMED_FIELD",
        field,
    );
    assert_eq!(
        status.get_error_details().error_info().expect("set").metadata["operation"],
        "1"
    );

    accepted(service.send(good).await);
    service.stop().await;
}

fn transfer(batch: &mut Batch, place: usize) -> &mut SignedTransfer {
    match &mut batch.operations[place] {
        Operation::Transfer(signed) => signed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_breaks_a_rule_is_refused_and_leaves_no_trace() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    for (number, batch) in founded(&mut sample).iter().enumerate() {
        accepted(service.submit(&format!("f{number}"), batch).await);
    }
    // All places, and a room.
    let good = sample.batch(ROLLUP, TIME, draw(1, 10, Mix::Transfers));
    let submit = async |spoil: &dyn Fn(&mut Batch)| {
        let mut batch = good.clone();
        spoil(&mut batch);
        service.submit("a", &batch).await
    };
    let bad = Code::InvalidArgument;

    let result = submit(&|batch| transfer(batch, 7).signature.s[31] ^= 1).await;
    let status = refused(result, bad, "BAD_SIGNATURE", "batch.operations[7].signature");
    let info = status.get_error_details();
    let metadata = &info.error_info().expect("set").metadata;
    assert_eq!(
        (metadata["operation"].as_str(), metadata["rule"].as_str()),
        ("7", "P-4.4.8")
    );
    let result = submit(&|batch| transfer(batch, 2).transfer.nonce += 9).await;
    let status = refused(result, bad, "NONCE", "batch.operations[2].transfer.nonce");
    assert!(
        status
            .get_error_details()
            .error_info()
            .expect("set")
            .metadata
            .contains_key("expected")
    );
    let nobody = AccountIndex::new((1 << 32) + 999).expect("in range");
    let result = submit(&|batch| transfer(batch, 1).transfer.from = nobody).await;
    refused(result, bad, "SENDER_UNKNOWN", "batch.operations[1].transfer.from");
    let result = submit(&|batch| batch.new_root += Fr::one()).await;
    refused(result, bad, "WRONG_NEW_ROOT", "batch.new_root");
    let result = submit(&|batch| batch.old_root += Fr::one()).await;
    refused(
        result,
        Code::FailedPrecondition,
        "WRONG_OLD_ROOT",
        "batch.old_root",
    );
    let result = submit(&|batch| batch.number += 1).await;
    refused(
        result,
        Code::FailedPrecondition,
        "WRONG_BATCH_NUMBER",
        "batch.number",
    );
    let result = submit(&|batch| batch.rollup_id.chain_id = 1).await;
    refused(result, bad, "WRONG_ROLLUP", "batch.chain_id");
    let result = submit(&|batch| batch.rollup_id.contract[0] = 1).await;
    refused(result, bad, "WRONG_ROLLUP", "batch.contract");
    let result = submit(&|batch| batch.time = 1 << 39).await;
    refused(result, bad, "TIME_AHEAD", "batch.time");
    let result = submit(&|batch| batch.operations.push(Operation::NoOp)).await;
    let status = refused(result, bad, "BATCH_TOO_LARGE", "batch.operations[11]");
    let info = status.get_error_details();
    let metadata = &info.error_info().expect("set").metadata;
    let told = ["operation", "rule", "found"].map(|key| metadata[key].as_str());
    assert_eq!(told, ["11", "P-7.1", "3 groups"]);
    assert!(metadata["expected"].starts_with("at most 2 groups"), "{status}");
    let entry = good.operations[0];
    let result = submit(&|batch| batch.operations = vec![entry; 3]).await;
    let status = refused(result, bad, "BATCH_TOO_LARGE", "batch.operations[2]");
    assert!(
        status.message().contains("at most 2 operations of the queue"),
        "{status}"
    );
    let result = submit(&|batch| batch.operations.resize(13, Operation::NoOp)).await;
    refused(result, bad, "BATCH_TOO_LARGE", "batch.operations");

    accepted(service.submit("a", &good).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_prove_a_batch_and_the_proof_survives_a_restart() {
    let store = store();
    let service = Service::start(store.path()).await;
    let batch = batch_of(&mut sample(), TIME, 7);
    let id = accepted(service.submit("a", &batch).await).batch_id;
    let early = service
        .client()
        .get_proof(v1::GetProofRequest { batch_id: id.clone() })
        .await;
    refused(early, Code::FailedPrecondition, "BATCH_NOT_PROVEN", &id);

    let mut one = Worker::join(&service, "one").await;
    let mut two = Worker::join(&service, "two").await;
    let (first, second) = (one.lease().await, two.lease().await);
    assert_eq!((first.task.index, second.task.index), (0, 1));
    let progress = v1::Progress {
        task_id: first.task.task_id.clone(),
        fence: first.task.fence,
        phase: "witness".into(),
        fraction: 0.25,
    };
    one.send(FromWorker::Progress(progress)).await;
    let renew = v1::Renew {
        task_id: first.task.task_id.clone(),
        fence: first.task.fence,
    };
    one.send(FromWorker::Renew(renew)).await;
    assert!(matches!(one.next().await, Ok(ToWorker::Renewed(_))));
    let task = service.batch(&id).await.tasks[0].clone();
    assert_eq!(
        (task.phase.as_str(), task.fraction, task.worker.as_str()),
        ("witness", 0.25, "one")
    );
    assert_eq!(one.complete(first.prove()).await, v1::Verdict::Accepted);
    assert_eq!(one.complete(first.prove()).await, v1::Verdict::NotNeeded);
    // An open request is answered when there is something again.
    one.request().await;
    assert_eq!(two.complete(second.prove()).await, v1::Verdict::Accepted);
    let aggregation = one.task().await;
    assert_eq!(aggregation.task.kind(), v1::TaskKind::Aggregation);
    assert_eq!(service.batch(&id).await.status(), v1::BatchStatus::Aggregating);
    assert_eq!(one.complete(aggregation.prove()).await, v1::Verdict::Accepted);

    let request = v1::GetProofRequest { batch_id: id.clone() };
    let proof = service
        .client()
        .get_proof(request.clone())
        .await
        .expect("it is proven")
        .into_inner();
    assert_eq!(proof.instances.len(), 17);
    assert_eq!(
        (&proof.instances[11], &proof.instances[12]),
        (&proof.old_root, &proof.new_root)
    );
    assert_eq!(proof.new_root, field::to_be(&batch.new_root).to_vec());
    assert_eq!(
        (&proof.instances[10], &proof.instances[15]),
        (&proof.x, &proof.c_b)
    );
    let executed = execute(&mut State::default(), &batch).expect("the sample holds");
    let cut = shards(&batch, &executed, PRESET.shard.shape, PRESET.children).expect("it fits");
    assert_eq!(
        (&proof.posted_a[..], &proof.posted_b[..]),
        (&cut.posted_a[..], &cut.posted_b[..])
    );
    assert_eq!((proof.posted_a.is_empty(), proof.time), (false, TIME));
    assert_eq!(proof.chain_id, ROLLUP.chain_id);
    assert_eq!(proof.contract, ROLLUP.contract.to_vec());
    let info = service.batch(&id).await;
    assert_eq!((info.status(), info.shards_done), (v1::BatchStatus::Proven, 2));
    drop((one, two));
    service.stop().await;

    let service = Service::start(store.path()).await;
    assert_eq!(
        service
            .client()
            .get_proof(request)
            .await
            .expect("it is kept")
            .into_inner(),
        proof
    );
    assert_eq!(service.batch(&id).await, info);
    let report = service
        .client()
        .get_info(v1::GetInfoRequest::default())
        .await
        .expect("it serves")
        .into_inner();
    assert_eq!((report.next_batch_number, report.batches_open), (1, 0));
    assert_eq!(report.head_root, proof.new_root);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resumes_and_takes_the_proof_of_a_lease_of_before() {
    let store = store();
    let service = Service::start(store.path()).await;
    let batch = batch_of(&mut sample(), TIME, 7);
    let id = accepted(service.submit("a", &batch).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let before = service.batch(&id).await;
    service.stop().await;

    let service = Service::start(store.path()).await;
    let after = service.batch(&id).await;
    assert!(after.revision > before.revision);
    assert_eq!(after.status(), v1::BatchStatus::Proving);
    assert!(service.submit("a", &batch).await.expect("known").already_existed);
    let mut worker = Worker::join(&service, "one").await;
    let renew = v1::Renew {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
    };
    worker.send(FromWorker::Renew(renew)).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Renewed(_))));
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_workers_task_is_leased_again_and_its_late_proof_taken() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await);
    let mut lost = Worker::join(&service, "lost").await;
    let first = lost.lease().await;
    let mut other = Worker::join(&service, "other").await;
    assert_eq!(other.lease().await.task.index, 1);
    other.request().await;
    drop(lost);
    let again = other.task().await;
    assert_eq!(
        (again.task.task_id.as_str(), again.task.fence),
        (first.task.task_id.as_str(), 2)
    );
    let mut back = Worker::join(&service, "lost").await;
    let renew = v1::Renew {
        task_id: first.task.task_id.clone(),
        fence: first.task.fence,
    };
    back.send(FromWorker::Renew(renew)).await;
    assert!(matches!(back.next().await, Ok(ToWorker::LeaseLost(_))));
    assert_eq!(back.complete(first.prove()).await, v1::Verdict::Accepted);
    assert!(
        matches!(other.next().await, Ok(ToWorker::LeaseLost(lost)) if lost.task_id == first.task.task_id)
    );
    assert_eq!(other.complete(again.prove()).await, v1::Verdict::NotNeeded);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_that_do_not_verify_are_rejected_and_the_task_is_tried_again() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let good = lease.prove();
    let wrong = [
        v1::Complete {
            task_id: "b1-s7".into(),
            ..good.clone()
        },
        v1::Complete {
            task_id: "x".repeat(100),
            ..good.clone()
        },
        v1::Complete {
            fence: 9,
            ..good.clone()
        },
        v1::Complete {
            fence: 0,
            ..good.clone()
        },
        v1::Complete {
            proof: vec![0; 32].into(),
            ..good.clone()
        },
    ];
    for complete in wrong {
        assert_eq!(worker.complete(complete).await, v1::Verdict::Rejected);
    }
    let task = service.batch(&id).await.tasks[0].clone();
    assert_eq!(
        (task.failures, task.last_failure.as_str()),
        (1, "the proof does not verify: wrong digest")
    );
    let again = worker.lease().await;
    assert_eq!(
        again.task.fence + u64::from(again.task.index),
        2,
        "the same task again, or the other one first"
    );
    // A proof is its own witness: the first lease's fence still counts.
    assert_eq!(worker.complete(good).await, v1::Verdict::Accepted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_accumulator_is_rejected() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await);
    let mut worker = Worker::join(&service, "one").await;
    for _ in 0..2 {
        let lease = worker.lease().await;
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    }
    let spoils: [fn(&mut v1::Complete); 4] = [
        |complete| complete.accumulator.truncate(7),
        |complete| complete.accumulator[3] = vec![0; 31].into(),
        |complete| complete.accumulator[3] = vec![0xff; 32].into(),
        |complete| complete.accumulator.swap(0, 1),
    ];
    for spoil in spoils {
        let lease = worker.lease().await;
        let mut complete = lease.prove();
        spoil(&mut complete);
        assert_eq!(worker.complete(complete).await, v1::Verdict::Rejected);
    }
    let lease = worker.lease().await;
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_is_tried_again_on_request() {
    let store = store();
    let mut config = config(store.path());
    config.limits.refusals_max = 1;
    let service = Service::with(config).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let fail = v1::Fail {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
        class: v1::FailureClass::Internal.into(),
        message: "panic: index out of bounds".into(),
    };
    let mut watch = watch(&service, &id, 0).await;
    worker.send(FromWorker::Fail(fail.clone())).await;
    let mut last = None;
    while let Some(message) = watch.message().await.expect("the stream is open") {
        last = message.batch;
    }
    let last = last.expect("a watch sends something");
    assert_eq!(last.status(), v1::BatchStatus::Failed);
    assert!(last.failure.contains("index out of bounds"), "{}", last.failure);
    worker.send(FromWorker::Fail(fail)).await;
    assert!(
        matches!(worker.next().await, Ok(ToWorker::LeaseLost(_))),
        "a failure counts once"
    );
    worker.request().await;
    let request = v1::RetryBatchRequest { batch_id: id.clone() };
    let retried = service
        .client()
        .retry_batch(request.clone())
        .await
        .expect("it has failed")
        .into_inner();
    assert_eq!(retried.batch.expect("set").status(), v1::BatchStatus::Proving);
    let again = worker.task().await;
    assert_eq!(worker.complete(again.prove()).await, v1::Verdict::Accepted);
    refused(
        service.client().retry_batch(request).await,
        Code::FailedPrecondition,
        "BATCH_NOT_FAILED",
        &id,
    );
    service.stop().await;
}

async fn watch(service: &Service, id: &str, after_revision: u64) -> Streaming<v1::WatchBatchResponse> {
    let request = v1::WatchBatchRequest {
        batch_id: id.into(),
        after_revision,
    };
    service
        .client()
        .watch_batch(request)
        .await
        .expect("it exists")
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_after_the_revision_it_has_seen() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut first = watch(&service, &id, 0).await;
    let seen = first
        .message()
        .await
        .expect("open")
        .expect("at once")
        .batch
        .expect("set");
    assert_eq!(seen.status(), v1::BatchStatus::Queued);
    drop(first);
    let mut second = watch(&service, &id, seen.revision).await;
    let mut worker = Worker::join(&service, "one").await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    }
    let (mut revision, mut last) = (seen.revision, None);
    while let Some(message) = second.message().await.expect("open") {
        let batch = message.batch.expect("set");
        assert!(batch.revision > revision);
        revision = batch.revision;
        last = Some(batch);
    }
    let last = last.expect("it changed");
    assert_eq!(last.status(), v1::BatchStatus::Proven);
    // Whoever has seen the end sees nothing more; whoever has not sees the end.
    assert_eq!(
        watch(&service, &id, revision)
            .await
            .message()
            .await
            .expect("open"),
        None
    );
    let end = watch(&service, &id, revision - 1)
        .await
        .message()
        .await
        .expect("open");
    assert_eq!(end.and_then(|message| message.batch), Some(last));
    let unknown = v1::WatchBatchRequest {
        batch_id: "b99".into(),
        after_revision: 0,
    };
    let status = service
        .client()
        .watch_batch(unknown)
        .await
        .expect_err("there is none");
    assert_eq!(status.code(), Code::NotFound);
    service.stop().await;
}

/// Calls a method with messages of another kind than its own; returns how that ended.
async fn misspoken<T, U>(service: &Service, method: &'static str, message: T) -> Result<U, Status>
where
    T: Message + Send + Sync + 'static,
    U: Message + Default + Send + Sync + 'static,
{
    let mut grpc = tonic::client::Grpc::new(service.channel.clone());
    grpc.ready().await.expect("connected");
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
    let messages = tonic::Request::new(tokio_stream::once(message));
    let codec = tonic_prost::ProstCodec::<T, U>::default();
    let mut answers = grpc.streaming(messages, path, codec).await?.into_inner();
    let answer = answers.message().await?;
    Ok(answer.expect("an answer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_decode_are_the_callers_fault() {
    let store = store();
    let service = Service::start(store.path()).await;
    // A number where a text or a message should be.
    let wrong = || v1::ListBatchesRequest {
        page_size: 7,
        page_token: String::new(),
        ..Default::default()
    };
    let malformed = |status: Result<v1::GetBatchResponse, Status>| {
        refused(status, Code::InvalidArgument, "MALFORMED_MESSAGE", "");
    };
    malformed(misspoken(&service, "/zkrollup.prover.v1.ProverService/GetBatch", wrong()).await);
    malformed(misspoken(&service, "/zkrollup.prover.v1.ProverService/WatchBatch", wrong()).await);
    malformed(misspoken(&service, "/zkrollup.prover.v1.ProverService/SubmitBatch", wrong()).await);
    malformed(misspoken(&service, "/zkrollup.prover.v1.WorkerService/Session", wrong()).await);
    // The same connection serves what decodes.
    let request = v1::GetBatchRequest {
        batch_id: "b9".into(),
    };
    let unknown = service.client().get_batch(request).await;
    refused(unknown, Code::NotFound, "BATCH_UNKNOWN", "");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_listed_in_pages_and_the_newest_can_be_cancelled() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    let batches: Vec<Batch> = (0..3).map(|_| batch_of(&mut sample, TIME, 2)).collect();
    let mut ids = Vec::new();
    for (batch, request) in batches.iter().zip(["a", "b", "c"]) {
        ids.push(accepted(service.submit(request, batch).await).batch_id);
    }
    let list = async |page_size, page_token: &str| {
        let request = v1::ListBatchesRequest {
            page_size,
            page_token: page_token.into(),
            ..Default::default()
        };
        let page = service.client().list_batches(request).await?.into_inner();
        let found: Vec<String> = page.batches.into_iter().map(|batch| batch.batch_id).collect();
        Ok::<_, Status>((found, page.next_page_token))
    };
    let (page, token) = list(2, "").await.expect("a page");
    assert_eq!(page, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(
        list(2, &token).await.expect("a page"),
        (vec![ids[0].clone()], String::new())
    );
    refused(
        list(101, "").await,
        Code::InvalidArgument,
        "MALFORMED_FIELD",
        "page_size",
    );
    refused(
        list(1, "x").await,
        Code::InvalidArgument,
        "MALFORMED_FIELD",
        "page_token",
    );

    let cancel = async |id: &str| {
        service
            .client()
            .cancel_batch(v1::CancelBatchRequest { batch_id: id.into() })
            .await
    };
    refused(
        cancel(&ids[0]).await,
        Code::FailedPrecondition,
        "BATCH_BUILT_ON",
        &ids[0],
    );
    let cancelled = cancel(&ids[2])
        .await
        .expect("it is the newest")
        .into_inner()
        .batch
        .expect("set");
    assert_eq!(cancelled.status(), v1::BatchStatus::Cancelled);
    cancel(&ids[2]).await.expect("idempotent");
    cancel(&ids[1]).await.expect("it is the newest now");
    // The ledger went back too: the same batches execute again, under the same ids, over a restart.
    service.stop().await;
    let service = Service::start(store.path()).await;
    let again = accepted(service.submit("b", &batches[1]).await);
    assert_ne!(again.batch_id, ids[1]);
    assert_eq!(again.batch_number, 1);
    accepted(service.submit("c", &batches[2]).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_pushes_back() {
    let store = store();
    let mut config = config(store.path());
    config.limits.batches_open_max = 1;
    let service = Service::with(config).await;
    let mut sample = sample();
    accepted(service.submit("a", &batch_of(&mut sample, TIME, 1)).await);
    let next = batch_of(&mut sample, TIME, 1);
    let status = refused(
        service.submit("b", &next).await,
        Code::ResourceExhausted,
        "LIMIT_REACHED",
        "",
    );
    assert!(status.get_error_details().retry_info().is_some());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_work_here_is_refused() {
    let store = store();
    let service = Service::start(store.path()).await;
    let refuse = async |hello: v1::Hello, code, reason, field: &str| {
        let mut worker = Worker::open(&service, FromWorker::Hello(hello)).await;
        refused(worker.next().await, code, reason, field);
    };
    let mismatch = Code::FailedPrecondition;
    let bad = v1::Hello {
        protocol_version: 1,
        ..hello("w")
    };
    refuse(bad, mismatch, "WORKER_MISMATCH", "hello.protocol_version").await;
    let bad = v1::Hello {
        shard_vk_digest: vec![9; 32].into(),
        ..hello("w")
    };
    refuse(bad, mismatch, "WORKER_MISMATCH", "hello.shard_vk_digest").await;
    let bad = v1::Hello {
        aggregation_vk_digest: vec![].into(),
        ..hello("w")
    };
    refuse(bad, mismatch, "WORKER_MISMATCH", "hello.aggregation_vk_digest").await;
    refuse(
        hello(""),
        Code::InvalidArgument,
        "MALFORMED_FIELD",
        "hello.worker_name",
    )
    .await;
    let bad = v1::Hello {
        capabilities: vec![],
        ..hello("w")
    };
    refuse(
        bad,
        Code::InvalidArgument,
        "MALFORMED_FIELD",
        "hello.capabilities",
    )
    .await;
    let bad = v1::Hello {
        capabilities: vec![0],
        ..hello("w")
    };
    refuse(
        bad,
        Code::InvalidArgument,
        "MALFORMED_FIELD",
        "hello.capabilities",
    )
    .await;
    let mut worker = Worker::open(&service, FromWorker::Drain(v1::Drain {})).await;
    refused(worker.next().await, Code::InvalidArgument, "HELLO_MISSING", "");
    let mut worker = Worker::join(&service, "w").await;
    worker.send(FromWorker::Hello(hello("w"))).await;
    refused(worker.next().await, Code::InvalidArgument, "HELLO_REPEATED", "");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_gets_no_more_and_a_stopping_coordinator_says_so() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    worker.send(FromWorker::Drain(v1::Drain {})).await;
    worker.request().await;
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    assert_eq!(service.batch(&id).await.tasks[1].status(), v1::TaskStatus::Ready);
    let mut watching = watch(&service, &id, u64::MAX - 1).await;
    service.stop().await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Drain(_))));
    assert_eq!(
        watching.message().await.expect_err("the service stops").code(),
        Code::Unavailable
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_one_processs_and_one_rollups() {
    let store = store();
    let service = Service::start(store.path()).await;
    let second = start(config(store.path())).await;
    assert!(matches!(second, Err(Error::Store(StoreError::InUse { .. }))));
    service.stop().await;

    let other = Config {
        rollup_id: Some(RollupId {
            chain_id: 1,
            ..ROLLUP
        }),
        ..config(store.path())
    };
    let refused = start(other).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::NoRollup { .. }))));
    let (mut elsewhere, folder) = (sample(), self::store());
    founded(&mut elsewhere);
    let snapshot = snapshot_of(&elsewhere, 3, 6, folder.path());
    let refused = start(Config {
        snapshot: Some(snapshot),
        ..config(store.path())
    })
    .await;
    assert!(matches!(
        refused,
        Err(Error::Store(StoreError::Mismatch {
            field: "first state's root",
            ..
        }))
    ));
    let manifest = Manifest {
        shard_vk_digest: KeyDigest([9; 32]),
        ..manifest()
    };
    let refused = Coordinator::start_with(config(store.path()), keyring(manifest)).await;
    assert!(matches!(
        refused,
        Err(Error::Store(StoreError::Mismatch {
            field: "shard verifying key",
            ..
        }))
    ));
    Service::start(store.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_make_no_sense_are_refused() {
    let store = store();
    let listen = "0.0.0.0:0".parse().expect("an address");
    let refused = start(Config {
        listen,
        ..config(store.path())
    })
    .await;
    assert!(matches!(refused, Err(Error::Config(ConfigError::PlainText(_)))));
    let refused = start(Config {
        watches_max: 0,
        ..config(store.path())
    })
    .await;
    assert!(matches!(
        refused,
        Err(Error::Config(ConfigError::TooSmall {
            name: "watches_max",
            ..
        }))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let store = store();
    let service = Service::start(store.path()).await;
    for name in [
        "zkrollup.prover.v1.ProverService",
        "zkrollup.prover.v1.WorkerService",
    ] {
        let request = HealthCheckRequest { service: name.into() };
        let health = HealthClient::new(service.channel.clone())
            .check(request)
            .await
            .expect("it is known");
        assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(service.channel.clone());
    let answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("it answers");
    let answer = answers
        .into_inner()
        .message()
        .await
        .expect("open")
        .expect("one answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("a list")
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "zkrollup.prover.v1.ProverService")
    );
    // Under the first name too.
    use tonic_reflection::pb::v1alpha as first;
    let request = first::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(first::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut answers = first::server_reflection_client::ServerReflectionClient::new(service.channel.clone())
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("it answers")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    assert!(
        matches!(
            answer.message_response,
            Some(first::server_reflection_response::MessageResponse::ListServicesResponse(_))
        ),
        "{answer:?}"
    );
    drop(answers);
    service.stop().await;
}

/// The state machine's own limit on the wire: a submission that never ends does not hold a place for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_does_not_arrive_in_time_is_ended() {
    let store = store();
    let service = Service::with(Config {
        submission_ms_max: 100,
        ..config(store.path())
    })
    .await;
    let first = submission("a", &batch_of(&mut sample(), TIME, 1))[0].clone();
    let (sender, receiver) = mpsc::channel(1);
    sender.send(first).await.expect("open");
    let mut client = service.client();
    let status = client
        .submit_batch(ReceiverStream::new(receiver))
        .await
        .expect_err("it never ends");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    drop(sender);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_that_stand_still_make_room_soon() {
    let store = store();
    let service = Service::with(Config {
        submissions_max: 2,
        submission_idle_ms_max: 200,
        ..config(store.path())
    })
    .await;
    let batch = batch_of(&mut sample(), TIME, 1);
    let header = submission("a", &batch)[0].clone();
    let mut standing = Vec::new();
    for _ in 0..2 {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(header.clone()).await.expect("open");
        let mut client = service.client();
        let call = tokio::spawn(async move { client.submit_batch(ReceiverStream::new(receiver)).await });
        standing.push((sender, call));
    }
    for (_sender, call) in standing {
        let status = call.await.expect("no panic").expect_err("it stands still");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains("stands still"), "{status}");
    }
    service.submit("b", &batch).await.expect("there is room");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_name_of_megabytes_ends_its_session() {
    let store = store();
    let service = Service::start(store.path()).await;
    let task_id = "b1-".repeat(1 << 18);
    for message in [
        FromWorker::Renew(v1::Renew {
            task_id: task_id.clone(),
            fence: 1,
        }),
        FromWorker::Complete(v1::Complete {
            task_id: task_id.clone(),
            ..v1::Complete::default()
        }),
    ] {
        let mut worker = Worker::join(&service, "hostile").await;
        worker.send(message).await;
        let status = worker.next().await.expect_err("the session ends");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("task_id: "), "{status}");
        assert!(status.message().len() < 200, "it is not repeated");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_counted_before_they_take_memory() {
    let store = store();
    let service = Service::with(config(store.path())).await;
    let bytes = [&[8, 2][..], &[0x4a, 0].repeat(1 << 20)].concat();
    let first = v1::SubmitBatchHeader {
        request_id: "many".into(),
        batch_number: 0,
        total_bytes: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).to_vec().into(),
        ..Default::default()
    };
    let mut messages = vec![header(first)];
    messages.extend(bytes.chunks(CHUNK_BYTES_MAX).map(chunk));
    let refused = service.send(messages).await;
    let status = refused.expect_err("too many operations");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("batch.operations"), "{status}");
    assert!(status.message().contains(&(1 << 20).to_string()), "{status}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_l1_would_call_too_old_is_refused_at_the_door() {
    let store = store();
    let service = Service::with(Config {
        time_age_s_max: 86_400,
        ..config(store.path())
    })
    .await;
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    for time in [0, 1_000, now - 86_460] {
        let batch = batch_of(&mut sample(), time, 1);
        let refused = service.submit("old", &batch).await;
        refused_as(refused, "TIME_TOO_OLD", &time.to_string());
    }
    let batch = batch_of(&mut sample(), now - 86_340, 1);
    service.submit("in-time", &batch).await.expect("L1 takes it");
    service.stop().await;
}

/// INVALID_ARGUMENT with a reason and a text.
fn refused_as<T: std::fmt::Debug>(result: Result<T, Status>, reason: &str, text: &str) {
    let status = result.expect_err("it is refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("set").reason, reason, "{status}");
    assert!(status.message().contains(text), "{status}");
}
