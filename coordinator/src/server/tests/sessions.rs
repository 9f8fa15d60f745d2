//! Sessions over real connections: one a worker.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_a_name_is_refused_and_one_that_comes_again_replaces_itself() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await);
    let open = async |instance| {
        let hello = v1::Hello {
            instance,
            ..hello("one")
        };
        Worker::open(&service, FromWorker::Hello(hello)).await
    };
    let mut first = open(7).await;
    assert!(matches!(first.next().await, Ok(ToWorker::Welcome(_))));
    let lease = first.lease().await;
    for instance in [0, 8] {
        let refusal = open(instance).await.next().await;
        refused(refusal, Code::AlreadyExists, "WORKER_NAME_TAKEN", "");
    }
    let mut again = open(7).await;
    assert!(matches!(again.next().await, Ok(ToWorker::Welcome(_))));
    let ended = first.next().await.expect_err("its place is taken");
    assert_eq!(ended.code(), Code::Aborted, "{ended}");
    let renew = v1::Renew {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
    };
    again.send(FromWorker::Renew(renew)).await;
    assert!(
        matches!(again.next().await, Ok(ToWorker::Renewed(_))),
        "the lease is its own"
    );
    assert_eq!(again.complete(lease.prove()).await, v1::Verdict::Accepted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_when_its_task_is_not_needed_any_more() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let request = v1::CancelBatchRequest { batch_id: id };
    service
        .client()
        .cancel_batch(request)
        .await
        .expect("it is the newest");
    let ToWorker::LeaseLost(lost) = worker.next().await.expect("the session is open") else {
        panic!("the lease is lost")
    };
    assert_eq!((lost.task_id, lost.unneeded), (lease.task.task_id.clone(), true));
    let renew = v1::Renew {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
    };
    worker.send(FromWorker::Renew(renew)).await;
    let answer = worker.next().await;
    assert!(
        matches!(&answer, Ok(ToWorker::LeaseLost(lost)) if lost.unneeded),
        "{answer:?}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_says_is_kept_on_one_line() {
    let store = store();
    let service = Service::start(store.path()).await;
    let id = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await).batch_id;
    let mut worker = Worker::join(&service, "one").await;
    let lease = worker.lease().await;
    let (task_id, fence) = (lease.task.task_id.clone(), lease.task.fence);
    let shown = async || service.batch(&id).await.tasks.remove(0);
    let progress = v1::Progress {
        task_id: task_id.clone(),
        fence,
        phase: "\u{1b}[31mphase\n".to_owned() + &"x".repeat(100),
        fraction: 0.5,
    };
    worker.send(FromWorker::Progress(progress)).await;
    // An answer that comes after it.
    let renew = v1::Renew {
        task_id: task_id.clone(),
        fence,
    };
    worker.send(FromWorker::Renew(renew)).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Renewed(_))));
    let phase = shown().await.phase;
    assert!(phase.starts_with(" [31mphase xxx"), "{phase:?}");
    assert_eq!(phase.chars().count(), proto::PHASE_CHARS_MAX);

    let fail = v1::Fail {
        task_id: task_id.clone(),
        fence,
        class: v1::FailureClass::Resource.into(),
        message: "bad\n2026-01-01T00:00:00Z  INFO batch accepted\u{202e}".into(),
    };
    worker.send(FromWorker::Fail(fail.clone())).await;
    worker.send(FromWorker::Fail(fail)).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::LeaseLost(_))));
    let said = shown().await.last_failure;
    assert_eq!(said, "bad 2026-01-01T00:00:00Z  INFO batch accepted ");
    service.stop().await;
}
