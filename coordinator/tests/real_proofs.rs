//! The coordinator with real keys and real proofs, over its public interface: what it accepts is what the keys verify, and
//! what it gives out is what L1 gets.

use std::sync::Arc;

use circuits::preset::TINY;
use coordinator::{Config, Coordinator, convert::batch_to_proto};
use prost::Message;
use proto::v1::{
    self, prover_service_client::ProverServiceClient, session_request::Message as FromWorker,
    session_response::Message as ToWorker, worker_service_client::WorkerServiceClient,
};
use prover::fixtures;
use rules::statement::ACCUMULATOR_LIMBS;
use rules::{PROTOCOL_VERSION, field};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

struct Worker {
    sender: mpsc::Sender<v1::SessionRequest>,
    receiver: Streaming<v1::SessionResponse>,
}

impl Worker {
    async fn join(channel: &Channel, hello: v1::Hello) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let mut client = WorkerServiceClient::new(channel.clone());
        let receiver = client
            .session(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        let mut worker = Self { sender, receiver };
        worker.send(FromWorker::Hello(hello)).await;
        assert!(matches!(worker.next().await, ToWorker::Welcome(_)));
        worker
    }

    async fn send(&self, message: FromWorker) {
        self.sender
            .send(v1::SessionRequest {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    async fn next(&mut self) -> ToWorker {
        self.receiver.message().await.unwrap().unwrap().message.unwrap()
    }

    /// A lease and its payload.
    async fn lease(&mut self) -> (v1::Task, Vec<u8>) {
        self.send(FromWorker::LeaseRequest(v1::LeaseRequest { kinds: vec![] }))
            .await;
        let ToWorker::Task(task) = self.next().await else {
            panic!("no task")
        };
        let mut payload = Vec::new();
        while (payload.len() as u64) < task.payload_bytes {
            let ToWorker::TaskChunk(chunk) = self.next().await else {
                panic!("no chunk")
            };
            payload.extend_from_slice(&chunk.data);
        }
        (task, payload)
    }

    async fn complete(&mut self, task: &v1::Task, proof: &[u8], accumulator: &[[u8; 32]]) -> v1::Verdict {
        let complete = v1::Complete {
            task_id: task.task_id.clone(),
            fence: task.fence,
            proof: proof.to_vec().into(),
            accumulator: accumulator.iter().map(|limb| limb.to_vec().into()).collect(),
            prove_ms: 0,
        };
        self.send(FromWorker::Complete(complete)).await;
        match self.next().await {
            ToWorker::Completed(completed) => completed.verdict(),
            other => panic!("{other:?}"),
        }
    }
}

/// The other proofs that a stranger may send: one bit changed at either end, cut short, too long, nothing.
fn spoiled(proof: &[u8]) -> Vec<Vec<u8>> {
    let mut first = proof.to_vec();
    first[1] ^= 1;
    let mut last = proof.to_vec();
    *last.last_mut().unwrap() ^= 1;
    vec![first, last, proof[1..].to_vec(), [proof, &[0]].concat(), vec![]]
}

#[tokio::test(flavor = "multi_thread")]
async fn real_proofs_are_accepted_and_spoiled_ones_are_not() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = tokio::task::spawn_blocking(|| fixtures::root_proof(TINY))
        .await
        .unwrap()
        .unwrap();
    let store = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::new(listen, store.path().into(), fixtures::ROLLUP_ID);
    config.limits.failures_max = 100;
    // The fixture's time is a constant.
    config.time_age_s_max = u64::MAX;
    config.limits.retry_ms_max = 1;
    let coordinator = Coordinator::start(config, Arc::clone(keys.verifying_keys()))
        .await
        .unwrap();
    let channel = Channel::from_shared(format!("http://{}", coordinator.address())).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(coordinator.serve(async { drop(stopped.await) }));
    let channel = channel.connect().await.unwrap();
    let mut client = ProverServiceClient::new(channel.clone());

    let bytes = batch_to_proto(&fixture.batch).encode_to_vec();
    let header = v1::SubmitBatchHeader {
        request_id: "a".into(),
        batch_number: 0,
        total_bytes: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).to_vec().into(),
        ..Default::default()
    };
    use v1::submit_batch_request::Part;
    let parts = [Part::Header(header), Part::Chunk(bytes.into())];
    let parts = parts.map(|part| v1::SubmitBatchRequest { part: Some(part) });
    let submitted = client
        .submit_batch(tokio_stream::iter(parts))
        .await
        .unwrap()
        .into_inner();
    let batch_id = submitted.batch.unwrap().batch_id;

    let manifest = keys.manifest();
    let hello = v1::Hello {
        worker_name: "scripted".into(),
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: manifest.shard_vk_digest.0.to_vec().into(),
        aggregation_vk_digest: manifest.aggregation_vk_digest.0.to_vec().into(),
        capabilities: vec![v1::TaskKind::Shard.into(), v1::TaskKind::Aggregation.into()],
        devices: vec![],
        memory_bytes: 0,
        instance: 1,
    };
    let mut worker = Worker::join(&channel, hello).await;
    for (input, child) in fixture.shard_inputs.iter().zip(&fixture.shard_proofs) {
        for proof in spoiled(&child.proof) {
            let (task, payload) = worker.lease().await;
            assert_eq!(payload, input.to_bytes());
            assert_eq!(worker.complete(&task, &proof, &[]).await, v1::Verdict::Rejected);
        }
        let (task, _) = worker.lease().await;
        assert_eq!(
            worker.complete(&task, &child.proof, &[]).await,
            v1::Verdict::Accepted
        );
    }

    let accumulator: Vec<[u8; 32]> = fixture.instances[..ACCUMULATOR_LIMBS]
        .iter()
        .map(field::to_be)
        .collect();
    for proof in spoiled(&fixture.proof) {
        let (task, _) = worker.lease().await;
        assert_eq!(
            worker.complete(&task, &proof, &accumulator).await,
            v1::Verdict::Rejected
        );
    }
    let (task, _) = worker.lease().await;
    let mut other = accumulator.clone();
    other.swap(0, 3);
    assert_eq!(
        worker.complete(&task, &fixture.proof, &other).await,
        v1::Verdict::Rejected
    );
    let (task, _) = worker.lease().await;
    assert_eq!(
        worker.complete(&task, &fixture.proof, &accumulator).await,
        v1::Verdict::Accepted
    );

    let proof = client
        .get_proof(v1::GetProofRequest { batch_id })
        .await
        .unwrap()
        .into_inner();
    let element = |bytes: &[u8]| field::from_be(bytes.try_into().unwrap()).unwrap();
    let instances: Vec<_> = proof.instances.iter().map(|bytes| element(bytes)).collect();
    assert_eq!(instances, fixture.instances);
    assert_eq!(proof.posted_a, fixture.posted_a);
    assert_eq!(proof.posted_b, fixture.posted_b);
    let stated = keys
        .verifying_keys()
        .verify_root(&instances, &proof.proof)
        .unwrap();
    assert_eq!(
        (element(&proof.old_root), element(&proof.new_root)),
        (stated.old_root, stated.new_root)
    );
    assert_eq!(
        (element(&proof.c_a), element(&proof.c_b)),
        (stated.c_a, stated.c_b)
    );
    assert_eq!(element(&proof.x), stated.x);

    drop((client, worker, channel));
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
