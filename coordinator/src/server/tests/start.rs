//! Chains that begin with a snapshot of what L1 has come to.

use std::{fs, io::BufWriter, path::PathBuf};

use rules::{
    follow::Block,
    snapshot::{self, Header},
};

use super::{
    operator::{prove_all, roll_back},
    *,
};
use crate::snapshot::SnapshotError;

/// Writes the snapshot of a sample after so many batches, which consumed so many entries.
pub(super) fn snapshot_of(sample: &Sample, batches: u64, head: u64, folder: &Path) -> PathBuf {
    let header = Header {
        rollup_id: ROLLUP,
        batches,
        time: TIME,
        head,
        block: Block {
            number: 100,
            hash: KeyDigest([9; 32]),
        },
        root: sample.state().root(),
    };
    let path = folder.join(format!("snapshot-{batches}.json"));
    let file = BufWriter::new(fs::File::create(&path).expect("made"));
    snapshot::write(&header, sample.state(), file).expect("written");
    path
}

async fn info(service: &Service) -> v1::GetInfoResponse {
    let info = service.client().get_info(v1::GetInfoRequest::default()).await;
    info.expect("it serves").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_goes_on_from_a_snapshot_and_no_further_back() {
    let (store, folder) = (store(), store());
    let mut sample = sample();
    let before = founded(&mut sample);
    let path = snapshot_of(&sample, 3, 6, folder.path());
    let with = |snapshot: Option<&Path>| Config {
        snapshot: snapshot.map(Path::to_owned),
        ..config(store.path())
    };
    let service = Service::with(with(Some(&path))).await;
    let root = field::to_be(&sample.state().root()).to_vec();
    let told = info(&service).await;
    assert_eq!(
        (&told.start_root[..], &told.head_root[..]),
        (&root[..], &root[..])
    );
    let numbers = (told.start_batch_number, told.next_batch_number);
    assert_eq!((numbers, told.head_time, told.queue_head), ((3, 3), TIME, 6));

    // What the snapshot has already, and what is older than its last batch.
    let again = service.submit("again", &before[0]).await;
    refused(
        again,
        Code::FailedPrecondition,
        "WRONG_BATCH_NUMBER",
        "batch.number",
    );
    let early = service
        .submit("early", &batch_of(&mut sample.clone(), TIME - 1, 2))
        .await;
    refused(early, Code::FailedPrecondition, "TIME_BEFORE_HEAD", "batch.time");

    let next = batch_of(&mut sample, TIME, 4);
    let id = accepted(service.submit("a", &next).await).batch_id;
    prove_all(&service).await;
    let told = info(&service).await;
    assert_eq!((told.next_batch_number, told.queue_head), (4, 7));
    let refusal = roll_back(&service, 2, &id).await;
    let status = refused(refusal, Code::InvalidArgument, "NO_SUCH_NUMBER", "batch_number");
    assert!(status.message().contains("at least 3"), "{status}");
    roll_back(&service, 3, &id).await.expect("it is the newest");
    let told = info(&service).await;
    assert_eq!((&told.head_root[..], told.head_time), (&root[..], TIME));
    assert_eq!((told.next_batch_number, told.queue_head), (3, 6));
    accepted(service.submit("a", &next).await);
    service.stop().await;

    // Named again or not, and no more needed.
    for snapshot in [Some(path.as_path()), None] {
        let service = Service::with(with(snapshot)).await;
        let told = info(&service).await;
        assert_eq!((&told.start_root[..], told.start_batch_number), (&root[..], 3));
        assert_eq!((told.next_batch_number, told.queue_head), (4, 7));
        service.stop().await;
    }
    let later = snapshot_of(&sample, 4, 7, folder.path());
    let refused = start(with(Some(&later))).await;
    let Err(Error::Store(StoreError::Mismatch { field, .. })) = refused.map(drop) else {
        panic!("another beginning");
    };
    assert_eq!(field, "first state's root");
    fs::remove_file(path).expect("removed");
    Service::with(with(None)).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_store_is_made_with_the_snapshot_of_another_rollup() {
    let (store, folder) = (store(), store());
    let mut sample = sample();
    founded(&mut sample);
    let path = snapshot_of(&sample, 3, 6, folder.path());
    let config = |chain_id| Config {
        snapshot: Some(path.clone()),
        rollup_id: Some(RollupId { chain_id, ..ROLLUP }),
        ..config(store.path())
    };
    let refused = start(config(1)).await.map(drop).expect_err("another chain");
    assert!(
        matches!(&refused, Error::Snapshot(SnapshotError::Rollup { .. })),
        "{refused}"
    );
    Service::with(config(ROLLUP.chain_id)).await.stop().await;
}
