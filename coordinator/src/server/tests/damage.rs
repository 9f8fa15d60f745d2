//! One artifact in the store is changed, cut or gone: its batch alone has to do with it.

use std::{fs, path::PathBuf};

use rules::{
    account::{Account, TokenId},
    eddsa::PrivateKey,
    operation::Queued,
    record::{Kind, Record},
};

use super::{
    operator::{proof, prove_all, roll_back},
    *,
};

/// What becomes of a file.
const DAMAGES: [fn(&Path); 3] = [
    |file| {
        let mut bytes = fs::read(file).expect("it is there");
        *bytes.last_mut().expect("it is not empty") ^= 1;
        fs::write(file, bytes).expect("written");
    },
    |file| {
        let bytes = fs::read(file).expect("it is there");
        fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
    },
    |file| fs::remove_file(file).expect("it is there"),
];

/// The file of an artifact that is stored, by its name.
fn artifact(service: &Service, name: &str) -> PathBuf {
    let parts: Vec<&str> = name.splitn(3, '-').collect();
    let number = |text: &str| text[1..].parse().expect("a letter and a number");
    let batch = BatchId(number(parts[0]));
    let key = match parts[1..] {
        ["statement"] => ArtifactKey::Statement(batch),
        ["undo"] => ArtifactKey::Undo(batch),
        ["root", "proof"] => ArtifactKey::RootProof(batch),
        [shard, "input"] => ArtifactKey::ShardInput(batch, number(shard) as u32),
        [shard, "proof"] => ArtifactKey::ShardProof(batch, number(shard) as u32),
        _ => panic!("{name} is none"),
    };
    assert_eq!(key.to_string(), name);
    let shell = service.shell.upgrade().expect("it is not stopped");
    shell
        .location(key)
        .expect("readable")
        .expect("it is stored")
        .into()
}

async fn retry(service: &Service, id: &str) -> v1::BatchInfo {
    let request = v1::RetryBatchRequest { batch_id: id.into() };
    let response = service.client().retry_batch(request).await;
    let response = response.expect("it has failed").into_inner();
    response.batch.expect("always set")
}

impl Worker {
    /// Asks, and is told that nobody wants the task.
    async fn refused_lease(&mut self, task_id: &str) {
        self.request().await;
        match self.next().await.expect("the session is open") {
            ToWorker::LeaseLost(lost) => assert!(lost.unneeded && lost.task_id == task_id, "{lost:?}"),
            other => panic!("{other:?}"),
        }
    }

    async fn proves(&mut self, task_id: &str) {
        let lease = self.lease().await;
        assert_eq!(lease.task.task_id, task_id);
        assert_eq!(self.complete(lease.prove()).await, v1::Verdict::Accepted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_input_fails_its_batch_alone_until_the_file_is_restored() {
    for damage in DAMAGES {
        let store = store();
        let service = Service::start(store.path()).await;
        let mut sample = sample();
        for id in ["a", "b"] {
            accepted(service.submit(id, &batch_of(&mut sample, TIME, 3)).await);
        }
        let file = artifact(&service, "b1-s1-input");
        let whole = fs::read(&file).expect("it is there");
        damage(&file);
        let mut worker = Worker::join(&service, "one").await;
        worker.proves("b1-s0").await;
        worker.refused_lease("b1-s1").await;
        for task in ["b2-s0", "b2-s1", "b2-a"] {
            worker.proves(task).await;
        }
        let told = |info: v1::BatchInfo| {
            assert_eq!(info.status(), v1::BatchStatus::Failed);
            let remedies = [
                &file.display().to_string(),
                "backup",
                "`rollup-prover retry b1`",
                "`rollup-prover rollback --to 0`",
            ];
            for part in remedies {
                assert!(info.failure.contains(part), "{part}: {}", info.failure);
            }
        };
        told(service.batch("b1").await);
        proof(&service, "b2").await.expect("it is proven");
        drop(worker);
        service.stop().await;

        let service = Service::start(store.path()).await;
        told(service.batch("b1").await);
        let mut worker = Worker::join(&service, "one").await;
        // Nobody restored it.
        retry(&service, "b1").await;
        worker.refused_lease("b1-s1").await;
        told(service.batch("b1").await);
        fs::write(&file, whole).expect("written");
        let again = retry(&service, "b1").await;
        assert_eq!(
            (again.status(), again.failure.as_str()),
            (v1::BatchStatus::Proving, "")
        );
        for task in ["b1-s1", "b1-a"] {
            worker.proves(task).await;
        }
        proof(&service, "b1").await.expect("it is proven");
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_proof_is_damaged_is_proven_again() {
    for damage in DAMAGES {
        let store = store();
        let service = Service::start(store.path()).await;
        accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
        let mut worker = Worker::join(&service, "one").await;
        for task in ["b1-s0", "b1-s1"] {
            worker.proves(task).await;
        }
        damage(&artifact(&service, "b1-s1-proof"));
        worker.refused_lease("b1-a").await;
        let info = service.batch("b1").await;
        assert_eq!((info.status(), info.shards_done), (v1::BatchStatus::Proving, 1));
        drop(worker);
        service.stop().await;

        let service = Service::start(store.path()).await;
        let mut worker = Worker::join(&service, "one").await;
        let lease = worker.lease().await;
        assert_eq!((lease.task.task_id.as_str(), lease.task.fence), ("b1-s1", 2));
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
        let lease = worker.lease().await;
        assert_eq!((lease.task.task_id.as_str(), lease.task.fence), ("b1-a", 2));
        assert_eq!(worker.complete(lease.prove()).await, v1::Verdict::Accepted);
        proof(&service, "b1").await.expect("it is proven");
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_proof_and_input_are_damaged_fails_its_batch() {
    let store = store();
    let service = Service::start(store.path()).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
    let mut worker = Worker::join(&service, "one").await;
    for task in ["b1-s0", "b1-s1"] {
        worker.proves(task).await;
    }
    let [change, _, remove] = DAMAGES;
    change(&artifact(&service, "b1-s0-proof"));
    remove(&artifact(&service, "b1-s0-input"));
    worker.refused_lease("b1-a").await;
    let info = service.batch("b1").await;
    assert_eq!(info.status(), v1::BatchStatus::Failed);
    assert!(
        info.failure.contains("b1-s0-proof") && info.failure.contains("is changed"),
        "{}",
        info.failure
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_statement_follows_from_the_inputs_and_without_them_its_batch_fails() {
    for damage in DAMAGES {
        let store = store();
        let service = Service::start(store.path()).await;
        accepted(service.submit("a", &batch_of(&mut sample(), TIME, 7)).await);
        let file = artifact(&service, "b1-statement");
        let whole = fs::read(&file).expect("it is there");
        damage(&file);
        let mut worker = Worker::join(&service, "one").await;
        worker.proves("b1-s0").await;
        assert_eq!(fs::read(&file).expect("it is there"), whole);
        damage(&file);
        damage(&artifact(&service, "b1-s0-input"));
        let lease = worker.lease().await;
        worker.send(FromWorker::Complete(lease.prove())).await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            answers.push(worker.next().await.expect("the session is open"));
        }
        let not_needed = |answer: &ToWorker| matches!(answer, ToWorker::Completed(completed) if completed.verdict() == v1::Verdict::NotNeeded);
        assert!(answers.iter().any(not_needed), "{answers:?}");
        let info = service.batch("b1").await;
        assert_eq!(info.status(), v1::BatchStatus::Failed);
        assert!(info.failure.contains("b1-statement"), "{}", info.failure);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_proof_is_data_loss_and_all_others_are_given_out() {
    let store = store();
    let mut service = Service::start(store.path()).await;
    let mut sample = sample();
    for id in ["a", "b"] {
        accepted(service.submit(id, &batch_of(&mut sample, TIME, 3)).await);
    }
    prove_all(&service).await;
    let before = proof(&service, "b1").await.expect("it is proven");
    for name in ["b1-root-proof", "b1-statement"] {
        for damage in DAMAGES {
            let file = artifact(&service, name);
            let whole = fs::read(&file).expect("it is there");
            damage(&file);
            for again in [false, true] {
                let lost = refused(
                    proof(&service, "b1").await,
                    Code::DataLoss,
                    "ARTIFACT_DAMAGED",
                    "",
                );
                let text = lost.message();
                let named = text.contains(&file.display().to_string()) && text.contains("backup");
                assert!(
                    named && text.contains("`rollup-prover rollback --to 0`"),
                    "{text}"
                );
                assert_eq!(service.batch("b1").await.status(), v1::BatchStatus::Proven);
                proof(&service, "b2").await.expect("it is proven");
                if !again {
                    service.stop().await;
                    service = Service::start(store.path()).await;
                }
            }
            fs::write(&file, whole).expect("written");
            assert_eq!(proof(&service, "b1").await.expect("restored"), before);
        }
    }
    service.stop().await;
}

/// The key before a change is nowhere but in the inputs and the undo.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_before_a_key_change_are_lost_with_their_file_once_it_is_proven() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    for (number, batch) in founded(&mut sample).iter().enumerate() {
        accepted(service.submit(&format!("f{number}"), batch).await);
    }
    let (index, account) = sample.state().accounts().last().expect("it has accounts");
    let (index, account) = (index, *account);
    let key = PrivateKey::from_bytes(&[5; 32]).public();
    let change = Record {
        kind: Kind::KeyChange,
        code: 0,
        token: TokenId(0),
        index,
        amount: 0,
        address: account.l1_address,
        u: key.0.x.into(),
        v: key.0.y.into(),
    };
    let changed = Account {
        owner: key,
        ..account
    };
    let root = sample.state().root();
    let batch = Batch {
        rollup_id: ROLLUP,
        number: 3,
        time: TIME,
        old_root: root,
        new_root: sample.state().root_with(&[(index, Some(changed))]),
        operations: vec![Queued::new(change).expect("as in the queue").into()],
    };
    let [change, ..] = DAMAGES;
    // From the inputs.
    let id = accepted(service.submit("a", &batch).await).batch_id;
    change(&artifact(&service, &format!("{id}-undo")));
    let cancelled = service
        .client()
        .cancel_batch(v1::CancelBatchRequest { batch_id: id })
        .await;
    cancelled.expect("nothing is built on it");
    let id = accepted(service.submit("a", &batch).await).batch_id;
    prove_all(&service).await;
    let undo = artifact(&service, &format!("{id}-undo"));
    let whole = fs::read(&undo).expect("it is there");
    change(&undo);
    let lost = refused(
        roll_back(&service, 3, &id).await,
        Code::DataLoss,
        "ARTIFACT_DAMAGED",
        "",
    );
    assert!(lost.message().contains("backup"), "{lost}");
    fs::write(&undo, whole).expect("written");
    roll_back(&service, 3, &id).await.expect("it is restored");
    accepted(service.submit("b", &batch).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_before_a_batch_are_derived_from_what_it_posts_where_they_are_damaged() {
    for damage in DAMAGES {
        let store = store();
        let service = Service::start(store.path()).await;
        let mut sample = sample();
        accepted(service.submit("a", &batch_of(&mut sample, TIME, 3)).await);
        let mut other = sample.clone();
        let mut newest = String::new();
        for id in ["b", "c", "d"] {
            // Its entry makes the second token's fee account; a key change no data says backwards.
            let queued = usize::from(id == "b");
            let batch = sample.batch(ROLLUP, TIME, draw(queued, 7 - queued, Mix::All));
            newest = accepted(service.submit(id, &batch).await).batch_id;
        }
        // The newest is cancelled, the one before it lies over one whose accounts are whole.
        damage(&artifact(&service, "b4-undo"));
        damage(&artifact(&service, "b2-undo"));
        let request = v1::CancelBatchRequest { batch_id: newest };
        let cancelled = service.client().cancel_batch(request).await;
        cancelled.expect("nothing is built on it");
        prove_all(&service).await;
        let statement = artifact(&service, "b2-statement");
        let whole = fs::read(&statement).expect("it is there");
        damage(&statement);
        let lost = refused(
            roll_back(&service, 1, "b3").await,
            Code::DataLoss,
            "ARTIFACT_DAMAGED",
            "",
        );
        assert!(lost.message().contains("b2-undo"), "{lost}");
        fs::write(&statement, whole).expect("written");
        let rolled_back = roll_back(&service, 1, "b3").await.expect("it is the newest");
        assert_eq!(rolled_back.batches.len(), 2);
        // Only a ledger that went back takes it.
        accepted(service.submit("e", &batch_of(&mut other, TIME, 5)).await);
        service.stop().await;
        // A start compares the accounts with the end of the chain.
        Service::start(store.path()).await.stop().await;
    }
}
