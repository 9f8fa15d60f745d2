//! The operator's calls over real connections.

use proto::v1::operator_service_client::OperatorServiceClient;

use super::{commits::shell_over, *};
use crate::server::shell::{RollbackFailure, Unread};

pub(super) fn operator(service: &Service) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(service.channel.clone())
}

pub(super) async fn roll_back(
    service: &Service,
    batch_number: u64,
    newest_batch_id: &str,
) -> Result<v1::RollbackBatchesResponse, Status> {
    let request = v1::RollbackBatchesRequest {
        batch_number,
        newest_batch_id: newest_batch_id.into(),
    };
    Ok(operator(service).rollback_batches(request).await?.into_inner())
}

async fn explain(service: &Service, id: &str) -> Vec<(v1::ReasonCode, String)> {
    let request = v1::ExplainBatchRequest { batch_id: id.into() };
    let explained = operator(service).explain_batch(request).await;
    let explained = explained.expect("it exists").into_inner();
    assert_eq!(explained.batch.expect("the store is well").batch_id, id);
    let reasons = explained.reasons.into_iter();
    reasons.map(|reason| (reason.code(), reason.text)).collect()
}

pub(super) async fn proof(service: &Service, id: &str) -> Result<v1::GetProofResponse, Status> {
    let request = v1::GetProofRequest { batch_id: id.into() };
    Ok(service.client().get_proof(request).await?.into_inner())
}

/// Proves all that is open.
pub(super) async fn prove_all(service: &Service) {
    let mut worker = Worker::join(service, "prover").await;
    let open = async || {
        let info = service.client().get_info(v1::GetInfoRequest::default()).await;
        info.expect("it serves").into_inner().batches_open
    };
    while open().await > 0 {
        let lease = worker.lease().await;
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proven_batches_are_rolled_back_with_the_ledger_and_others_take_their_numbers() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    let first = batch_of(&mut sample, TIME, 3);
    let mut other = sample.clone();
    let ids = [
        accepted(service.submit("a", &first).await).batch_id,
        accepted(service.submit("b", &batch_of(&mut sample, TIME, 7)).await).batch_id,
        accepted(service.submit("c", &batch_of(&mut sample, TIME, 2)).await).batch_id,
    ];
    prove_all(&service).await;
    proof(&service, &ids[1]).await.expect("it is proven");
    // One more that is not.
    let last = accepted(service.submit("d", &batch_of(&mut sample, TIME, 1)).await).batch_id;

    let refusal = roll_back(&service, 1, &ids[2]).await;
    refused(
        refusal,
        Code::FailedPrecondition,
        "NOT_NEWEST_BATCH",
        "newest_batch_id",
    );
    let refusal = roll_back(&service, 4, &last).await;
    refused(refusal, Code::InvalidArgument, "NO_SUCH_NUMBER", "batch_number");
    for id in ["b9", "nonsense"] {
        let refusal = roll_back(&service, 1, id).await;
        refused(refusal, Code::NotFound, "BATCH_UNKNOWN", "");
    }

    let rolled_back = roll_back(&service, 1, &last).await.expect("it is the newest");
    let gone: Vec<&str> = rolled_back
        .batches
        .iter()
        .map(|batch| batch.batch_id.as_str())
        .collect();
    assert_eq!(gone, [&last, &ids[2], &ids[1]], "newest first");
    for batch in &rolled_back.batches {
        assert_eq!(batch.status(), v1::BatchStatus::RolledBack);
    }
    let after_first = field::to_be(&first.new_root).to_vec();
    assert_eq!(
        (rolled_back.next_batch_number, &rolled_back.head_root[..]),
        (1, &after_first[..])
    );
    let status = refused(
        proof(&service, &ids[1]).await,
        Code::FailedPrecondition,
        "BATCH_NOT_PROVEN",
        &ids[1],
    );
    assert!(status.message().contains("rolled back"), "{status}");
    assert_eq!(explain(&service, &ids[1]).await[0].0, v1::ReasonCode::Final);
    let again = roll_back(&service, 1, &last).await.expect("idempotent");
    assert!(again.batches.is_empty() && again.next_batch_number == 1);

    // Other transfers under the same number and request id: only a ledger that went back takes them.
    let fresh = batch_of(&mut other, TIME + 1, 5);
    let fresh_id = accepted(service.submit("b", &fresh).await).batch_id;
    prove_all(&service).await;
    let proven = proof(&service, &fresh_id).await.expect("it is proven");
    assert_eq!((proven.batch_number, proven.old_root.to_vec()), (1, after_first));
    service.stop().await;

    // A start compares the accounts with the end of the chain.
    let service = Service::start(store.path()).await;
    assert_eq!(service.batch(&last).await.status(), v1::BatchStatus::RolledBack);
    assert!(proof(&service, &ids[0]).await.is_ok(), "what stayed is given out");
    accepted(service.submit("e", &batch_of(&mut other, TIME + 1, 1)).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_deeper_than_is_kept_is_refused_whole() {
    let store = store();
    let mut config = config(store.path());
    config.limits.rollback_max = 2;
    let service = Service::with(config).await;
    let mut sample = sample();
    let mut newest = String::new();
    for number in 0..3 {
        let batch = batch_of(&mut sample, TIME, 1);
        newest = accepted(service.submit(&format!("r{number}"), &batch).await).batch_id;
        prove_all(&service).await;
    }
    let refusal = roll_back(&service, 0, &newest).await;
    refused(refusal, Code::FailedPrecondition, "UNDO_NOT_KEPT", "batch_number");
    assert_eq!(
        service.batch(&newest).await.status(),
        v1::BatchStatus::Proven,
        "all or none"
    );
    let rolled_back = roll_back(&service, 1, &newest).await.expect("that much is kept");
    assert_eq!(rolled_back.batches.len(), 2);
    service.stop().await;
}

#[test]
fn a_rollback_on_a_full_disk_is_made_when_the_disk_takes_it() {
    let folder = store();
    let mut sample = sample();
    let ledger = sample.state().clone();
    let batches = [batch_of(&mut sample, TIME, 1), batch_of(&mut sample, TIME, 1)];
    let (shell, commits) = shell_over(folder.path(), &ledger, usize::MAX, false);
    shell
        .submit(MAIN, &batches[0], origin("a", [1; 32]))
        .expect("it is taken");
    let (newest, _) = shell
        .submit(MAIN, &batches[1], origin("b", [2; 32]))
        .expect("it is taken");
    commits.store(0, Ordering::Relaxed);
    let waits = shell.roll_back(newest, 0);
    assert!(
        matches!(
            waits,
            Err(RollbackFailure::Unread(Unread::Unavailable(Unavailable::Store)))
        ),
        "{waits:?}"
    );
    assert!(shell.suspension().is_some_and(|error| error.contains("disk")));
    commits.store(usize::MAX, Ordering::Relaxed);
    assert!(shell.resume(false));
    assert!(
        shell.roll_back(newest, 0).is_ok_and(|batches| batches.is_empty()),
        "it was made"
    );
    shell
        .submit(MAIN, &batches[0], origin("a", [1; 32]))
        .expect("the ledger went back with the chain");
    drop(shell);
    let (shell, _) = shell_over(folder.path(), &ledger, 0, false);
    assert_eq!(shell.read(|core| core.open_batches()).expect("it reads"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_lasts_until_it_is_ended_and_is_told() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 7)).await).batch_id;
    assert_eq!(explain(&service, &id).await[0].0, v1::ReasonCode::NoWorker);
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let paused = operator(&service)
        .pause(v1::PauseRequest::default())
        .await
        .expect("it pauses");
    assert_eq!(paused.into_inner().task_ids, [lease.task.task_id.as_str()]);
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    worker.request().await;
    let (code, text) = explain(&service, &id).await.remove(0);
    assert_eq!(code, v1::ReasonCode::Paused);
    assert!(text.contains("resume"), "{text}");
    drop(worker);
    service.stop().await;

    let service = Service::start(store.path()).await;
    let info = service.client().get_info(v1::GetInfoRequest::default()).await;
    assert!(info.expect("it serves").into_inner().paused);
    let mut worker = Worker::join(&service, "one").await;
    worker.request().await;
    operator(&service)
        .resume(v1::ResumeRequest::default())
        .await
        .expect("it resumes");
    assert_eq!(worker.task().await.task.index, 1, "the open request is answered");
    assert_eq!(explain(&service, &id).await[0].0, v1::ReasonCode::AtWork);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_listed_in_pages_and_drained_by_name() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await);
    let mut one = Worker::join(&service, "one").await;
    let two = Worker::join(&service, "two").await;
    let lease = one.lease().await;
    two.request().await;
    let list = async |page_size, page_token: &str| {
        let page_token = page_token.into();
        let request = v1::ListWorkersRequest {
            page_size,
            page_token,
        };
        Ok::<_, Status>(operator(&service).list_workers(request).await?.into_inner())
    };
    let first = list(1, "").await.expect("a page");
    assert_eq!(
        (first.workers.len(), first.workers[0].worker.as_str()),
        (1, "one")
    );
    assert_eq!(first.workers[0].task_ids, [lease.task.task_id.as_str()]);
    assert!(first.workers[0].capabilities().count() == 2 && !first.workers[0].draining);
    let second = list(1, &first.next_page_token).await.expect("a page");
    assert_eq!(second.workers[0].worker, "two");
    assert_eq!(second.next_page_token, "");
    let bad = Code::InvalidArgument;
    refused(list(101, "").await, bad, "MALFORMED_FIELD", "page_size");
    refused(list(1, "two").await, bad, "MALFORMED_FIELD", "page_token");

    let drain = async |worker: &str, identity: &str| {
        let (worker, identity) = (worker.into(), identity.into());
        let request = v1::DrainWorkerRequest { worker, identity };
        Ok::<_, Status>(operator(&service).drain_worker(request).await?.into_inner())
    };
    refused(drain("three", "").await, Code::NotFound, "WORKER_UNKNOWN", "");
    refused(
        drain("one", "somebody").await,
        Code::NotFound,
        "WORKER_UNKNOWN",
        "",
    );
    let held = drain("one", "").await.expect("it is connected");
    assert_eq!(held.task_ids, [lease.task.task_id.as_str()]);
    assert!(matches!(one.next().await, Ok(ToWorker::WorkerDrain(_))));
    assert_eq!(one.complete(lease.prove()).await, v1::Verdict::Accepted);
    assert!(list(1, "").await.expect("a page").workers[0].draining);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_input_is_what_its_worker_gets() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 7)).await);
    let input = async |task_id: &str| {
        use v1::get_task_input_response::Part;
        let task_id = task_id.into();
        let request = v1::GetTaskInputRequest { task_id };
        let mut stream = operator(&service).get_task_input(request).await?.into_inner();
        let mut parts = Vec::new();
        while let Some(message) = stream.message().await? {
            parts.push(message.part.expect("always set"));
        }
        let Part::Header(header) = parts.remove(0) else {
            panic!("a header")
        };
        let bytes: Vec<u8> = parts
            .into_iter()
            .flat_map(|part| match part {
                Part::Chunk(chunk) => chunk.to_vec(),
                Part::Header(_) => panic!("a chunk"),
            })
            .collect();
        Ok::<_, Status>((header, bytes))
    };
    let (header, bytes) = input("b1-s0").await.expect("it is kept");
    assert_eq!(
        (header.kind(), header.vk_digest.to_vec()),
        (v1::TaskKind::Shard, vec![3; 32])
    );
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    assert_eq!(lease.task.fence, 1, "reading it leased nothing");
    assert_eq!(bytes, lease.payload);
    assert_eq!(header.payload_sha256, lease.task.payload_sha256);
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    assert_eq!(
        input("b1-s0").await.expect("kept until the batch is final").1,
        bytes
    );
    for id in ["b1-a", "b2-s0", "nonsense"] {
        refused(input(id).await, Code::NotFound, "TASK_INPUT_UNKNOWN", "");
    }
    let lease = worker.lease().await;
    assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    let (header, _) = input("b1-a").await.expect("every shard is proven");
    assert_eq!(
        (header.kind(), header.vk_digest.to_vec()),
        (v1::TaskKind::Aggregation, vec![4; 32])
    );
    service.stop().await;
}
