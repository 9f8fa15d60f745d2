//! Several rollups over real connections: made, shared, paused, deleted; and batches that are history.

use std::{collections::BTreeMap, fs};

use proto::v1::operator_service_client::OperatorServiceClient;

use super::{
    operator::{proof, prove_all, roll_back},
    secure::{Papers, Secure},
    *,
};

const OTHER: RollupId = RollupId {
    chain_id: 31_337,
    contract: [8; 20],
};

fn operator(service: &Service) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(service.channel.clone())
}

fn announced(name: &str, rollup: RollupId) -> v1::CreateRollupHeader {
    v1::CreateRollupHeader {
        name: name.into(),
        chain_id: rollup.chain_id,
        contract: rollup.contract.to_vec().into(),
        ..v1::CreateRollupHeader::default()
    }
}

/// A header and chunks of a snapshot.
fn creation(header: v1::CreateRollupHeader, snapshot: &[u8]) -> Vec<v1::CreateRollupRequest> {
    use v1::create_rollup_request::Part;
    let chunks = snapshot
        .chunks(700)
        .map(|chunk| Part::Chunk(chunk.to_vec().into()));
    let parts = [Part::Header(header)].into_iter().chain(chunks);
    parts
        .map(|part| v1::CreateRollupRequest { part: Some(part) })
        .collect()
}

async fn create(service: &Service, messages: Vec<v1::CreateRollupRequest>) -> Result<v1::RollupInfo, Status> {
    let created = operator(service)
        .create_rollup(tokio_stream::iter(messages))
        .await?;
    Ok(created.into_inner().rollup.expect("always set"))
}

async fn rollups(service: &Service) -> BTreeMap<String, v1::RollupInfo> {
    let list = service.client().list_rollups(v1::ListRollupsRequest {}).await;
    let list = list.expect("it serves").into_inner().rollups;
    list.into_iter().map(|it| (it.name.clone(), it)).collect()
}

async fn info(service: &Service, rollup: &str) -> Result<v1::GetInfoResponse, Status> {
    let request = v1::GetInfoRequest {
        rollup: rollup.into(),
    };
    Ok(service.client().get_info(request).await?.into_inner())
}

async fn pause(service: &Service, rollup: &str) -> Result<Vec<String>, Status> {
    let request = v1::PauseRequest {
        rollup: rollup.into(),
    };
    Ok(operator(service).pause(request).await?.into_inner().task_ids)
}

async fn resume(service: &Service, rollup: &str) {
    let request = v1::ResumeRequest {
        rollup: rollup.into(),
    };
    operator(service).resume(request).await.expect("it is there");
}

async fn delete(service: &Service, name: &str, next_batch_number: u64) -> Result<(), Status> {
    let request = v1::DeleteRollupRequest {
        name: name.into(),
        next_batch_number,
    };
    operator(service).delete_rollup(request).await.map(drop)
}

/// The next batch of a rollup's sample.
fn next(sample: &mut Sample, rollup: RollupId, operations: usize) -> Batch {
    sample.batch(rollup, TIME, draw(1, operations - 1, Mix::All))
}

fn with_wishes(
    id: &str,
    batch: &Batch,
    wish: impl FnOnce(&mut v1::SubmitBatchHeader),
) -> Vec<v1::SubmitBatchRequest> {
    use v1::submit_batch_request::Part;
    let mut messages = submission(id, batch);
    let Some(Part::Header(header)) = &mut messages[0].part else {
        panic!("the header comes first")
    };
    wish(header);
    messages
}

async fn listed(service: &Service, request: v1::ListBatchesRequest) -> Result<Vec<String>, Status> {
    let mut ids = Vec::new();
    let mut request = request;
    for _ in 0..1_000 {
        let page = service.client().list_batches(request.clone()).await?.into_inner();
        ids.extend(page.batches.into_iter().map(|batch| batch.batch_id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        request.page_token = page.next_page_token;
    }
    panic!("the pages do not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rollups_share_two_workers_and_neither_waits_for_the_other() {
    let store = store();
    let service = Service::start(store.path()).await;
    let other = create(&service, creation(announced("other", OTHER), &[])).await;
    assert_eq!(other.expect("it is new").status(), v1::RollupStatus::Live);
    // One has eight batches waiting before the other comes with its first.
    let (mut heavy, mut light) = (sample(), sample());
    for number in 0..8 {
        let batch = next(&mut heavy, ROLLUP, 7);
        accepted(
            service
                .submit(&format!("heavy {number}").replace(' ', "-"), &batch)
                .await,
        );
    }
    let mut workers = [
        Worker::join(&service, "one").await,
        Worker::join(&service, "two").await,
    ];
    let mut order = Vec::new();
    let mut batches = BTreeMap::new();
    for number in 0..2 {
        let batch = next(&mut light, OTHER, 7);
        let id = accepted(service.submit(&format!("light-{number}"), &batch).await).batch_id;
        batches.insert(id, ());
    }
    while info(&service, "other").await.expect("it is there").batches_open > 0 {
        for worker in &mut workers {
            let lease = worker.lease().await;
            let (batch, _) = lease.task.task_id.split_once('-').expect("batch and task");
            order.push(batches.contains_key(batch));
            assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
        }
    }
    // By how much time goes to whom from then on, the core's own tests say, where time is simulated: here it is the machine's.
    assert_eq!(
        order[..2],
        [false, true],
        "the light one does not wait behind eight batches"
    );
    let lights = order.iter().filter(|is_light| **is_light).count();
    assert_eq!(lights, 6, "two batches of two shards and an aggregation");
    prove(&service, "main").await;
    service.stop().await;
}

/// Proves all that is open of a rollup.
async fn prove(service: &Service, rollup: &str) {
    let mut worker = Worker::join(service, "prover").await;
    while info(service, rollup).await.expect("it is there").batches_open > 0 {
        let lease = worker.lease().await;
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_is_created_from_a_snapshot_paused_and_deleted() {
    let (store, folder) = (store(), store());
    let service = Service::start(store.path()).await;
    let (mut first, mut second) = (sample(), sample());
    founded(&mut second);
    let snapshot = fs::read(snapshot_of(&second, 3, 6, folder.path())).expect("it was written");
    let of_snapshot = |name: &str, rollup| v1::CreateRollupHeader {
        snapshot_bytes: snapshot.len() as u64,
        snapshot_sha256: Sha256::digest(&snapshot).to_vec().into(),
        ..announced(name, rollup)
    };
    // The snapshot is of the rollup that is here.
    let taken = create(&service, creation(of_snapshot("second", ROLLUP), &snapshot)).await;
    refused(taken, Code::AlreadyExists, "ROLLUP_EXISTS", "");
    let wrong = create(&service, creation(of_snapshot("second", OTHER), &snapshot)).await;
    refused(wrong, Code::InvalidArgument, "WRONG_ROLLUP", "header.contract");
    assert_eq!(rollups(&service).await.len(), 1, "nothing is left of it");

    // One of its own.
    let header = rules::snapshot::Header {
        rollup_id: OTHER,
        batches: 3,
        time: TIME,
        head: 6,
        block: rules::follow::Block {
            number: 1,
            hash: KeyDigest([1; 32]),
        },
        root: second.state().root(),
    };
    let mut snapshot = Vec::new();
    rules::snapshot::write(&header, second.state(), &mut snapshot).expect("written");
    let header = v1::CreateRollupHeader {
        snapshot_bytes: snapshot.len() as u64,
        snapshot_sha256: Sha256::digest(&snapshot).to_vec().into(),
        weight: 3,
        ..announced("second", OTHER)
    };
    let bad = Code::InvalidArgument;
    let header_of = |change: &dyn Fn(&mut v1::CreateRollupHeader)| {
        let mut header = header.clone();
        change(&mut header);
        header
    };
    for (changed, reason, field) in [
        (
            header_of(&|it| it.name = "Second".into()),
            "MALFORMED_FIELD",
            "header.name",
        ),
        (
            header_of(&|it| it.weight = 1_001),
            "MALFORMED_FIELD",
            "header.weight",
        ),
        (
            header_of(&|it| it.contract = vec![8; 19].into()),
            "MALFORMED_FIELD",
            "header.contract",
        ),
        (
            header_of(&|it| it.contract = vec![0; 20].into()),
            "MALFORMED_FIELD",
            "header.contract",
        ),
        (
            header_of(&|it| it.tenant = "a\nb".into()),
            "MALFORMED_FIELD",
            "header.tenant",
        ),
        (
            header_of(&|it| it.snapshot_sha256 = vec![1; 31].into()),
            "MALFORMED_FIELD",
            "header.snapshot_sha256",
        ),
        (
            header_of(&|it| it.snapshot_sha256 = vec![1; 32].into()),
            "DIGEST_MISMATCH",
            "header.snapshot_sha256",
        ),
        (
            header_of(&|it| it.snapshot_bytes += 1),
            "TOTAL_MISMATCH",
            "header.snapshot_bytes",
        ),
        (
            header_of(&|it| it.snapshot_bytes -= 1),
            "TOTAL_MISMATCH",
            "header.snapshot_bytes",
        ),
        (
            header_of(&|it| it.tenant = "exchange ".into()),
            "MALFORMED_FIELD",
            "header.tenant",
        ),
        (
            header_of(&|it| it.snapshot_bytes = 0),
            "MALFORMED_FIELD",
            "header.snapshot_sha256",
        ),
    ] {
        refused(
            create(&service, creation(changed, &snapshot)).await,
            bad,
            reason,
            field,
        );
    }
    let mut damaged = snapshot.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let header_of_damaged = v1::CreateRollupHeader {
        snapshot_sha256: Sha256::digest(&damaged).to_vec().into(),
        ..header.clone()
    };
    let malformed = create(&service, creation(header_of_damaged, &damaged)).await;
    let status = malformed.expect_err("it is damaged");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(
        !status.message().contains(&*store.path().to_string_lossy()),
        "{status}"
    );

    let made = create(&service, creation(header.clone(), &snapshot))
        .await
        .expect("it is well");
    assert_eq!((made.weight, made.next_batch_number, made.queue_head), (3, 3, 6));
    assert!(!store.path().join("snapshot.new").exists());
    // Whoever did not hear of it asks again, with the snapshot or whatever of it comes.
    for chunks in [&snapshot[..], &[]] {
        let again = create(&service, creation(header.clone(), chunks)).await;
        assert_eq!(again.expect("it is just that"), made);
    }
    let without_snapshot = announced("second", OTHER);
    for (changed, reason, field) in [
        (
            header_of(&|it| it.name = "third".into()),
            "ROLLUP_EXISTS",
            "header.name",
        ),
        (header_of(&|it| it.chain_id += 1), "NAME_TAKEN", "header.chain_id"),
        (
            header_of(&|it| it.contract = vec![9; 20].into()),
            "NAME_TAKEN",
            "header.contract",
        ),
        (
            header_of(&|it| it.tenant = "exchange".into()),
            "ROLLUP_EXISTS",
            "header.tenant",
        ),
        (header_of(&|it| it.weight = 0), "ROLLUP_EXISTS", "header.weight"),
        (
            header_of(&|it| it.snapshot_sha256 = vec![1; 32].into()),
            "ROLLUP_EXISTS",
            "header.snapshot_sha256",
        ),
        (
            v1::CreateRollupHeader {
                weight: 3,
                ..without_snapshot
            },
            "ROLLUP_EXISTS",
            "header.snapshot_sha256",
        ),
    ] {
        let refusal = create(&service, creation(changed, &snapshot)).await;
        let status = refused(refusal, Code::AlreadyExists, reason, "");
        let metadata = status.get_details_error_info().expect("set").metadata;
        assert_eq!(metadata["field"], field, "{status}");
        assert_ne!(metadata["expected"], metadata["found"]);
        let (_, name) = field.split_once('.').expect("of the header");
        assert!(
            status.message().contains(&format!("{name}: expected ")),
            "{status}"
        );
    }
    // Which is meant must be said now.
    let status = info(&service, "").await;
    let status = refused(status, Code::FailedPrecondition, "ROLLUP_NOT_NAMED", "rollup");
    assert!(status.message().contains("main, second"), "{status}");
    refused(
        info(&service, "third").await,
        Code::NotFound,
        "ROLLUP_UNKNOWN",
        "",
    );

    let one = accepted(service.submit("a", &next(&mut first, ROLLUP, 2)).await);
    let two = accepted(service.submit("a", &next(&mut second, OTHER, 2)).await);
    assert_eq!((one.rollup.as_str(), two.rollup.as_str()), ("main", "second"));
    assert_eq!((one.batch_number, two.batch_number), (0, 3));
    let again = create(&service, creation(header, &snapshot)).await;
    assert_eq!(again.expect("it has a batch since").next_batch_number, 4);
    let nowhere = Batch {
        rollup_id: RollupId {
            contract: [9; 20],
            ..OTHER
        },
        ..next(&mut second.clone(), OTHER, 2)
    };
    let refusal = service.submit("b", &nowhere).await;
    refused(refusal, bad, "WRONG_ROLLUP", "batch.contract");

    // A paused rollup does not touch the other, over a restart too.
    assert_eq!(pause(&service, "second").await.expect("it is there"), [""; 0]);
    service.stop().await;
    let service = Service::start(store.path()).await;
    assert!(rollups(&service).await["second"].paused);
    prove(&service, "main").await;
    assert_eq!(
        service.batch(&two.batch_id).await.status(),
        v1::BatchStatus::Queued
    );
    let deleted = delete(&service, "second", 4).await;
    refused(
        deleted,
        Code::FailedPrecondition,
        "ROLLUP_HAS_OPEN_BATCHES",
        "second",
    );
    resume(&service, "second").await;
    let deleted = delete(&service, "second", 4).await;
    refused(deleted, Code::FailedPrecondition, "ROLLUP_NOT_PAUSED", "second");
    prove(&service, "second").await;
    let proven = proof(&service, &two.batch_id).await.expect("it is proven");
    assert_eq!(proven.contract[..], OTHER.contract);
    pause(&service, "second").await.expect("it is there");
    let deleted = delete(&service, "second", 3).await;
    refused(deleted, Code::FailedPrecondition, "WRONG_BATCH_NUMBER", "second");
    delete(&service, "second", 4).await.expect("all is well");
    // It is gone at once, and what was stored of it soon.
    refused(
        info(&service, "second").await,
        Code::NotFound,
        "ROLLUP_UNKNOWN",
        "",
    );
    let refusal = service.submit("c", &next(&mut second, OTHER, 2)).await;
    refused(refusal, bad, "WRONG_ROLLUP", "batch.contract");
    refused(
        proof(&service, &two.batch_id).await,
        Code::NotFound,
        "BATCH_UNKNOWN",
        "",
    );
    let all = listed(&service, v1::ListBatchesRequest::default()).await;
    assert_eq!(all.expect("pages"), std::slice::from_ref(&one.batch_id));
    while rollups(&service).await.contains_key("second") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(
        proof(&service, &two.batch_id).await,
        Code::NotFound,
        "BATCH_UNKNOWN",
        "",
    );
    assert!(proof(&service, &one.batch_id).await.is_ok(), "the other's stays");
    // Its contract may come again, from the beginning.
    let again = create(&service, creation(announced("second", OTHER), &[])).await;
    assert_eq!(again.expect("it is none any more").next_batch_number, 0);
    let fresh = accepted(service.submit("a", &next(&mut sample(), OTHER, 1)).await);
    assert!(fresh.batch_id > two.batch_id, "no batch's id is given again");
    service.stop().await;
    Service::start(store.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_starts_without_a_rollup_and_names_those_it_has() {
    let store = store();
    let without = || Config {
        rollup_id: None,
        ..config(store.path())
    };
    let service = Service::with(without()).await;
    assert!(rollups(&service).await.is_empty());
    let status = info(&service, "").await;
    let status = refused(status, Code::NotFound, "ROLLUP_UNKNOWN", "");
    assert!(status.message().contains("rollups create"), "{status}");
    let nobodys = service.submit("a", &next(&mut sample(), OTHER, 1)).await;
    refused(nobodys, Code::InvalidArgument, "WRONG_ROLLUP", "batch.chain_id");
    create(&service, creation(announced("other", OTHER), &[]))
        .await
        .expect("it is the first");
    assert_eq!(
        info(&service, "").await.expect("it is the only one").rollup,
        "other"
    );
    accepted(service.submit("a", &next(&mut sample(), OTHER, 1)).await);
    service.stop().await;
    // One that is not here is not begun by the way.
    let refusal = start(config(store.path()))
        .await
        .map(drop)
        .expect_err("it is not here");
    let text = refusal.to_string();
    assert!(
        text.contains("rollups create") && text.contains("other (contract 0x0808"),
        "{text}"
    );
    Service::with(without()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_history_are_found_listed_and_not_held_in_memory() {
    let store = store();
    let mut config = config(store.path());
    config.limits.rollback_max = 2;
    let service = Service::with(config.clone()).await;
    let mut sample = sample();
    let batches: Vec<Batch> = (0..6).map(|_| next(&mut sample, ROLLUP, 2)).collect();
    let mut ids = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let labels = vec![format!("n={}", number % 2), "all".to_owned()];
        let messages = with_wishes(&format!("r{number}"), batch, |header| {
            header.labels = labels;
            header.priority = 7;
            header.deadline_unix_ms = 99;
        });
        ids.push(accepted(service.send(messages).await).batch_id);
        prove_all(&service).await;
    }
    let cancelled = accepted(service.submit("c", &next(&mut sample.clone(), ROLLUP, 1)).await).batch_id;
    let request = v1::CancelBatchRequest {
        batch_id: cancelled.clone(),
    };
    let mut client = service.client();
    client
        .cancel_batch(request.clone())
        .await
        .expect("it is the newest");
    let held = |service: &Service| {
        let shell = service.shell.upgrade().expect("it serves");
        shell
            .read(|core| core.batches_before(BatchId(u64::MAX)).count())
            .expect("it reads")
    };
    assert_eq!(
        held(&service),
        1,
        "one of the two that could be rolled back was taken back"
    );
    let check = async |service: &Service| {
        // All of them are found, as they were.
        for (number, id) in ids.iter().enumerate() {
            let batch = service.batch(id).await;
            assert_eq!(
                (batch.batch_number, batch.status()),
                (number as u64, v1::BatchStatus::Proven)
            );
            assert_eq!((batch.priority, batch.deadline_unix_ms), (7, 99));
            assert_eq!(batch.labels, [format!("n={}", number % 2), "all".into()]);
            assert!(proof(service, id).await.is_ok());
            let mut watch = service
                .client()
                .watch_batch(v1::WatchBatchRequest {
                    batch_id: id.clone(),
                    after_revision: 0,
                })
                .await
                .expect("it exists")
                .into_inner();
            let seen = watch.message().await.expect("an answer").expect("one picture");
            assert_eq!(seen.batch.expect("always set").batch_id, *id);
            assert_eq!(watch.message().await.expect("it ends"), None);
        }
        // A request is the same one for ever, and another content is refused.
        let again = service.submit("r0", &batches[0]).await.expect("it was accepted");
        assert!(again.already_existed && again.batch.expect("always set").batch_id == ids[0]);
        let reused = service.submit("r0", &batches[1]).await;
        refused(reused, Code::AlreadyExists, "REQUEST_ID_REUSED", "");
        // Nothing happens to them any more.
        let retried = service
            .client()
            .retry_batch(v1::RetryBatchRequest {
                batch_id: ids[0].clone(),
            })
            .await;
        refused(retried, Code::FailedPrecondition, "BATCH_NOT_FAILED", &ids[0]);
        let proven = v1::CancelBatchRequest {
            batch_id: ids[0].clone(),
        };
        let refusal = service.client().cancel_batch(proven).await;
        refused(refusal, Code::FailedPrecondition, "BATCH_PROVEN", &ids[0]);
        let again = service.client().cancel_batch(request.clone()).await;
        let again = again.expect("idempotent").into_inner().batch.expect("always set");
        assert_eq!(again.status(), v1::BatchStatus::Cancelled);
        let refusal = roll_back(service, 3, &ids[5]).await;
        refused(refusal, Code::FailedPrecondition, "UNDO_NOT_KEPT", "batch_number");
        let refusal = roll_back(service, 0, &ids[0]).await;
        refused(
            refusal,
            Code::FailedPrecondition,
            "NOT_NEWEST_BATCH",
            "newest_batch_id",
        );
        // Lists go over both, in pages of any size.
        let mut all = ids.clone();
        all.push(cancelled.clone());
        all.reverse();
        for page_size in [1, 2, 3, 100] {
            let request = |change: &dyn Fn(&mut v1::ListBatchesRequest)| {
                let mut request = v1::ListBatchesRequest {
                    page_size,
                    ..Default::default()
                };
                change(&mut request);
                request
            };
            let found = listed(service, request(&|_| {})).await.expect("pages");
            assert_eq!(found, all, "{page_size}");
            let odd = listed(service, request(&|it| it.label = "n=1".into())).await;
            assert_eq!(
                odd.expect("pages"),
                [ids[5].clone(), ids[3].clone(), ids[1].clone()]
            );
            let status = v1::BatchStatus::Cancelled.into();
            let taken_back = listed(service, request(&|it| it.statuses = vec![status])).await;
            assert_eq!(taken_back.expect("pages"), std::slice::from_ref(&cancelled));
            let mains = listed(service, request(&|it| it.rollup = "main".into())).await;
            assert_eq!(mains.expect("pages"), all);
            let none = listed(service, request(&|it| it.label = "none".into())).await;
            assert_eq!(none.expect("pages"), [""; 0]);
        }
    };
    check(&service).await;
    service.stop().await;
    let service = Service::with(config).await;
    assert_eq!(held(&service), 1);
    check(&service).await;
    let bad = Code::InvalidArgument;
    for (request, field) in [
        (
            v1::ListBatchesRequest {
                label: "no spaces".into(),
                ..Default::default()
            },
            "label",
        ),
        (
            v1::ListBatchesRequest {
                statuses: vec![4, 99],
                ..Default::default()
            },
            "statuses[1]",
        ),
        (
            v1::ListBatchesRequest {
                statuses: vec![0],
                ..Default::default()
            },
            "statuses[0]",
        ),
    ] {
        refused(listed(&service, request).await, bad, "MALFORMED_FIELD", field);
    }
    let unknown = v1::ListBatchesRequest {
        rollup: "none".into(),
        ..Default::default()
    };
    refused(
        listed(&service, unknown).await,
        Code::NotFound,
        "ROLLUP_UNKNOWN",
        "",
    );
    // The chain goes on from where it is.
    let more = next(&mut sample, ROLLUP, 1);
    for (wish, field) in [
        (
            (|header| header.priority = 1_001) as fn(&mut v1::SubmitBatchHeader),
            "header.priority",
        ),
        (|header| header.labels = vec!["x".into(); 9], "header.labels"),
        (|header| header.labels = vec![String::new()], "header.labels[0]"),
        (
            |header| header.labels = vec!["a".into(), "b c".into()],
            "header.labels[1]",
        ),
    ] {
        let refusal = service.send(with_wishes("x", &more, wish)).await;
        refused(refusal, bad, "MALFORMED_FIELD", field);
    }
    let newest = accepted(service.submit("more", &more).await);
    assert_eq!(newest.batch_number, 6);
    let taken = roll_back(&service, 5, &newest.batch_id)
        .await
        .expect("it is the newest");
    assert_eq!(taken.batches.len(), 2);
    assert_eq!(taken.next_batch_number, 5);
    let told = info(&service, "").await.expect("it is the only one");
    assert_eq!(told.rollback_batch_number_min, 5, "what was kept is taken back");
    let again = roll_back(&service, 5, &newest.batch_id)
        .await
        .expect("idempotent");
    assert!(again.batches.is_empty());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_takes_its_tenants_batches_alone() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let channel = service.connect(papers.certificate("operator")).await;
    let mut operator = OperatorServiceClient::new(channel);
    let header = v1::CreateRollupHeader {
        tenant: "b".into(),
        ..announced("second", OTHER)
    };
    // Nobody could submit its batches.
    let nobodys = v1::CreateRollupHeader {
        tenant: "o".into(),
        ..header.clone()
    };
    let refusal = operator
        .create_rollup(tokio_stream::iter(creation(nobodys, &[])))
        .await;
    let status = refused(refusal, Code::InvalidArgument, "TENANT_UNKNOWN", "header.tenant");
    assert!(status.message().contains("access file: a, b"), "{status}");
    let created = operator
        .create_rollup(tokio_stream::iter(creation(header, &[])))
        .await;
    created.expect("it is new");
    let submit = async |name: &str, batch: &Batch| {
        let mut client = service.prover(papers.certificate(name)).await;
        client
            .submit_batch(tokio_stream::iter(submission("r", batch)))
            .await
    };
    let batch = next(&mut sample(), OTHER, 1);
    let refusal = submit("seq-a", &batch).await;
    refused(refusal, Code::PermissionDenied, "TENANT_MISMATCH", "");
    // Until an operator says so.
    let request = v1::UpdateRollupRequest {
        name: "second".into(),
        weight: Some(5),
        tenant: Some(String::new()),
    };
    let changed = operator
        .update_rollup(request)
        .await
        .expect("it is there")
        .into_inner();
    let changed = changed.rollup.expect("always set");
    assert_eq!((changed.weight, changed.tenant.as_str()), (5, ""));
    submit("seq-a", &batch).await.expect("it is everybody's");
    for (request, reason, field) in [
        (
            v1::UpdateRollupRequest {
                weight: Some(0),
                name: "second".into(),
                ..Default::default()
            },
            "MALFORMED_FIELD",
            "weight",
        ),
        (
            v1::UpdateRollupRequest {
                tenant: Some("B".into()),
                name: "second".into(),
                ..Default::default()
            },
            "TENANT_UNKNOWN",
            "tenant",
        ),
        (
            v1::UpdateRollupRequest {
                tenant: Some("a\u{200b}b".into()),
                name: "second".into(),
                ..Default::default()
            },
            "MALFORMED_FIELD",
            "tenant",
        ),
    ] {
        let refusal = operator.update_rollup(request).await;
        refused(refusal, Code::InvalidArgument, reason, field);
    }
    service.stop().await;
}
