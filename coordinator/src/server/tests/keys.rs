//! Keys that follow others: an upgrade in which batches of both are proven.

use super::{operator::proof, *};

/// Takes a digest of the instances and this byte for a proof.
struct Salted(u8);

impl Verifier for Salted {
    fn shard(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        let expected = [digest_proof(instances), vec![self.0]].concat();
        (proof == expected)
            .then_some(())
            .ok_or_else(|| "wrong keys".into())
    }

    fn root(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        self.shard(instances, proof)
    }
}

/// Circuits whose keys are all `salt`.
fn circuits(salt: u8) -> Circuits {
    Circuits {
        manifest: Manifest {
            shard_vk_digest: KeyDigest([salt; 32]),
            aggregation_vk_digest: KeyDigest([salt + 100; 32]),
            ..manifest()
        },
        verifier: Box::new(Salted(salt)),
    }
}

async fn start(store: &Path, current: u8, previous: &[u8]) -> Result<Coordinator, Error> {
    let keyring = Keyring {
        preset: PRESET,
        current: circuits(current),
        previous: previous.iter().map(|salt| circuits(*salt)).collect(),
    };
    Coordinator::start_with(config(store), keyring).await
}

async fn serve(store: &Path, current: u8, previous: &[u8]) -> Service {
    Service::of(start(store, current, previous).await.expect("it starts")).await
}

fn hello_with(name: &str, shard: u8, aggregation: u8) -> v1::Hello {
    v1::Hello {
        shard_vk_digest: vec![shard; 32].into(),
        aggregation_vk_digest: vec![aggregation; 32].into(),
        ..hello(name)
    }
}

async fn join(service: &Service, name: &str, salt: u8) -> Worker {
    let hello = hello_with(name, salt, salt + 100);
    let mut worker = Worker::open(service, FromWorker::Hello(hello)).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
    worker
}

fn salted(lease: &Leased, salt: u8) -> v1::Complete {
    let complete = lease.prove();
    v1::Complete {
        proof: [&complete.proof[..], &[salt]].concat().into(),
        ..complete
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_two_key_sets_are_proven_at_once_each_with_its_own() {
    let store = store();
    let mut sample = sample();
    let service = serve(store.path(), 1, &[]).await;
    let old = accepted(service.submit("a", &batch_of(&mut sample, TIME, 2)).await);
    assert_eq!(old.shard_vk_digest, vec![1; 32]);
    service.stop().await;

    let refused_start = start(store.path(), 2, &[]).await.map(drop);
    let other = matches!(
        &refused_start,
        Err(Error::Store(StoreError::Mismatch {
            field: "shard verifying key",
            ..
        }))
    );
    assert!(other, "{refused_start:?}");
    let service = serve(store.path(), 2, &[1]).await;
    let new = accepted(service.submit("b", &batch_of(&mut sample, TIME, 2)).await);
    assert_eq!(new.aggregation_vk_digest, vec![102; 32]);
    let info = service.client().get_info(v1::GetInfoRequest::default()).await;
    let info = info.expect("it serves").into_inner();
    assert_eq!(
        (info.shard_vk_digest, info.previous_keys.len()),
        (vec![2; 32].into(), 1)
    );

    // A worker of neither is refused, and told of both; one that mixes them too.
    for (shard, aggregation, field) in [(3, 103, "shard"), (1, 102, "aggregation")] {
        let hello = FromWorker::Hello(hello_with("stranger", shard, aggregation));
        let refusal = Worker::open(&service, hello).await.next().await;
        let field = format!("hello.{field}_vk_digest");
        let status = refused(refusal, Code::FailedPrecondition, "WORKER_MISMATCH", &field);
        if shard == 3 {
            for served in [[1; 32], [2; 32]] {
                assert!(status.message().contains(&hex::encode(served)), "{status}");
            }
        }
    }

    let mut current = join(&service, "current", 2).await;
    let lease = current.lease().await;
    assert_eq!(lease.task.batch_id, new.batch_id, "the older batch is another's");
    let wrong = current.complete(salted(&lease, 1)).await;
    assert_eq!(wrong, v1::Verdict::Rejected, "each is verified with its own keys");
    let mut earlier = join(&service, "earlier", 1).await;
    for _ in 0..3 {
        let lease = earlier.lease().await;
        assert_eq!(lease.task.batch_id, old.batch_id);
        assert_eq!(earlier.complete(salted(&lease, 1)).await, v1::Verdict::Accepted);
    }
    let root = proof(&service, &old.batch_id).await.expect("it is proven");
    assert_eq!(root.aggregation_vk_digest, vec![101; 32]);
    drop((current, earlier));
    service.stop().await;

    // The old keys are done with, the new ones are not.
    let service = serve(store.path(), 2, &[]).await;
    assert!(proof(&service, &old.batch_id).await.is_ok());
    service.stop().await;
    let needed = start(store.path(), 4, &[2, 1]).await.map(drop);
    assert!(needed.is_ok(), "{needed:?}");
    let needed = start(store.path(), 4, &[]).await.map(drop);
    let needed = needed.expect_err("the second batch needs its keys");
    let Error::Store(StoreError::KeysNeeded { batches: 1, .. }) = &needed else {
        panic!("{needed}")
    };
    let text = needed.to_string();
    assert!(
        text.contains(&hex::encode([2; 32])) && text.contains("--previous-keys"),
        "{text}"
    );
}
