//! A coordinator whose artifacts are in a bucket: it serves from there, waits where the bucket is away, and leaves nothing behind.

use std::{fs, time::Duration};

use super::{
    operator::{proof, prove_all},
    *,
};
use crate::store::{
    ArtifactOptions, Location,
    s3_server::{BUCKET, Fault, S3Server, location, location_in},
};

const PREFIX: &str = "rollup";

fn config_of(store: &Path, location: Location, retention: Duration) -> Config {
    let artifacts = ArtifactOptions {
        location,
        retention,
        ..ArtifactOptions::default()
    };
    Config {
        artifacts,
        ..config(store)
    }
}

async fn serve(store: &Path, server: &S3Server) -> Service {
    Service::with(config_of(
        store,
        location(server, PREFIX),
        Duration::from_secs(3_600),
    ))
    .await
}

/// How many objects there are.
fn objects(server: &S3Server) -> usize {
    let folder = server.file(PREFIX, "");
    fs::read_dir(folder).expect("readable").count()
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_proven_and_given_out_from_a_bucket() {
    let (store, server) = (store(), S3Server::start());
    let service = serve(store.path(), &server).await;
    let mut sample = sample();
    accepted(service.submit("a", &batch_of(&mut sample, TIME, 3)).await);
    prove_all(&service).await;
    let before = proof(&service, "b1").await.expect("it is proven");
    accepted(service.submit("b", &batch_of(&mut sample, TIME, 3)).await);
    service.stop().await;
    assert!(
        !store.path().join("objects").exists(),
        "the store's own folder is not needed"
    );
    let service = serve(store.path(), &server).await;
    assert_eq!(proof(&service, "b1").await.expect("it is kept"), before);
    prove_all(&service).await;
    proof(&service, "b2").await.expect("it is proven");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_bucket_is_away_nothing_is_acknowledged_and_nothing_is_lost() {
    let (store, server) = (store(), S3Server::start());
    let service = serve(store.path(), &server).await;
    let mut sample = sample();
    accepted(service.submit("first", &batch_of(&mut sample, TIME, 3)).await);
    let shell = service.shell.upgrade().expect("it serves");
    let faults: [(&str, &dyn Fn()); 4] = [
        ("gone", &|| server.go_away()),
        ("failing", &|| server.set(Fault::Status(503))),
        ("refusing", &|| server.set(Fault::Status(403))),
        ("taking-nothing", &|| server.set(Fault::StatusOf("PUT", 500))),
    ];
    for (fault, begin) in faults {
        begin();
        let batch = batch_of(&mut sample, TIME, 3);
        let refused = service.submit(fault, &batch).await.expect_err(fault);
        assert_eq!(refused.code(), Code::Unavailable, "{fault}: {refused}");
        assert!(*shell.suspensions().borrow(), "{fault}: health follows this");
        let told = shell.suspension().expect("it waits");
        assert!(
            told.contains(&format!("s3://{BUCKET}/{PREFIX}/")),
            "{fault}: {told}"
        );
        // It is tried again, and still away.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(*shell.suspensions().borrow(), "{fault}: it goes on too early");
        if fault == "gone" {
            server.come_back();
        }
        server.set(Fault::None);
        until(fault, || !*shell.suspensions().borrow()).await;
        accepted(service.submit(fault, &batch).await);
    }
    drop(shell);
    prove_all(&service).await;
    for number in 1..=5 {
        proof(&service, &format!("b{number}"))
            .await
            .expect("it is proven");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_fails_no_batch_that_is_read_meanwhile() {
    let (store, server) = (store(), S3Server::start());
    let service = serve(store.path(), &server).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
    prove_all(&service).await;
    let before = proof(&service, "b1").await.expect("it is proven");
    // What says whose it is, is gone with all others: as where a bucket was emptied, or is another.
    let folder = server.file(PREFIX, "");
    let aside = folder.with_file_name("aside");
    fs::rename(&folder, &aside).expect("moved");
    let refused = proof(&service, "b1").await.expect_err("nothing is there");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    fs::rename(&aside, &folder).expect("moved back");
    let shell = service.shell.upgrade().expect("it serves");
    until("the bucket", || !*shell.suspensions().borrow()).await;
    drop(shell);
    assert_eq!(service.batch("b1").await.status(), v1::BatchStatus::Proven);
    assert_eq!(proof(&service, "b1").await.expect("it is back"), before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proven_batch_does_not_need_any_more_leaves_the_bucket() {
    let (store, server) = (store(), S3Server::start());
    let config = config_of(store.path(), location(&server, PREFIX), Duration::from_secs(1));
    let meters = Arc::clone(&config.artifacts.meters);
    let service = Service::with(config).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
    prove_all(&service).await;
    // Whose it is, the statement, the accounts before it, and the root proof.
    until("the collection", || objects(&server) == 4).await;
    proof(&service, "b1").await.expect("it is kept");
    let numbers = meters.numbers();
    assert!(numbers.bytes[0] > 0 && numbers.failures == [0; 4], "{numbers:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_bucket_says_what_is_wrong() {
    let (store, server) = (store(), S3Server::start());
    let hour = Duration::from_secs(3_600);
    let started = async |location: Location| {
        let refused = start(config_of(store.path(), location, hour)).await;
        refused.map(drop).expect_err("it does not start").to_string()
    };
    let told = started(location_in(&server, "nobodys", PREFIX)).await;
    assert!(
        told.contains("s3://nobodys/rollup: there is no such bucket"),
        "{told}"
    );
    server.set(Fault::Status(403));
    let told = started(location(&server, PREFIX)).await;
    assert!(
        told.contains("s3://artifacts/rollup/store") && told.contains("403"),
        "{told}"
    );
    server.set(Fault::None);
    let plain = location(&server, PREFIX)
        .with_variables([("AWS_ENDPOINT_URL".to_owned(), "http://s3.example".to_owned())]);
    let told = started(plain).await;
    assert!(
        told.contains("AWS_ENDPOINT_URL") && told.contains("plain text"),
        "{told}"
    );
    let service = serve(store.path(), &server).await;
    accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
    service.stop().await;
    // The store has artifacts, and they are not there.
    let told = started(location(&server, "elsewhere")).await;
    assert!(
        told.contains("s3://artifacts/elsewhere/store is missing"),
        "{told}"
    );
    // Nor are they another store's.
    let other = tempfile::tempdir().expect("a folder");
    let refused = start(config_of(other.path(), location(&server, PREFIX), hour)).await;
    let told = refused.map(drop).expect_err("it is another's").to_string();
    assert!(told.contains("says whose artifacts are there"), "{told}");
    serve(store.path(), &server).await.stop().await;
}
