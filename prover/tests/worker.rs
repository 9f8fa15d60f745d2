//! The worker's side of the protocol: each test plays one course of events.

mod stage;

use std::sync::mpsc as sync_mpsc;
use std::time::{Duration, Instant};

use circuits::aggregation::AggregationInput;
use circuits::preset::TINY;
use circuits::shard::ShardCircuitError;
use proto::connection::{Connector, Credentials};
use proto::v1::session_request::Message as FromWorker;
use proto::v1::session_response::Message as ToWorker;
use proto::v1::{FailureClass, LeaseLost, TaskKind, Verdict};
use prover::engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task as Proving};
use prover::worker::{self, DeviceInfo, Place, WorkerError};
use rcgen::{CertificateParams, KeyPair};
use rules::Fr;
use rules::witness::Shape;
use tonic::Code;

use stage::{Scene, Stage};
use tonic::Status;

/// What the engine shall do with its next task.
enum Order {
    Prove(&'static [u8]),
    Panic,
    Fail,
    /// Comes to another phase.
    GoOn,
}

/// An engine that waits for an order for each task.
struct Ordered {
    orders: sync_mpsc::Receiver<Order>,
}

impl Pipeline for Ordered {
    type Preparer = Plain;

    fn preparer(&self) -> Plain {
        Plain
    }

    fn prove(&mut self, task: Proving, progress: &mut dyn FnMut(Phase)) -> Result<Proof, EngineError> {
        if let Proving::Aggregation(_) = task {
            return Ok(Proof {
                bytes: b"root".to_vec(),
                accumulator: Some(std::array::from_fn(|limb| Fr::from(limb as u64))),
            });
        }
        progress(Phase::Prove);
        match self.orders.recv().expect("the test holds the other end") {
            Order::Prove(proof) => Ok(Proof {
                bytes: proof.to_vec(),
                accumulator: None,
            }),
            Order::GoOn => {
                progress(Phase::Verify);
                Ok(Proof {
                    bytes: b"went on".to_vec(),
                    accumulator: None,
                })
            }
            Order::Panic => panic!("a defect of the engine"),
            Order::Fail => Err(EngineError::Shard {
                preset: TINY.name,
                source: ShardCircuitError::Input {
                    expected: TINY.shard.shape,
                    found: Shape { places: 0, rooms: 0 },
                },
            }),
        }
    }

    fn rest(&mut self) {}
}

/// Has nothing to prepare, but says that it did.
struct Plain;

impl Prepare for Plain {
    type Prepared = Proving;

    fn prepare(&self, task: &Proving, progress: &mut dyn FnMut(Phase)) -> Result<Proving, EngineError> {
        progress(Phase::Witness);
        Ok(task.clone())
    }
}

fn device() -> DeviceInfo {
    DeviceInfo {
        name: "scripted".into(),
        memory_bytes: 0,
        proves_shards: true,
        proves_aggregations: true,
    }
}

/// Sets the stage with a worker whose engine waits for the orders.
async fn set(scene: Scene) -> (Stage, sync_mpsc::Sender<Order>) {
    let (orders, queue) = sync_mpsc::channel();
    let place = Place::threads(Ordered { orders: queue }, device());
    (Stage::set(scene, place).await, orders)
}

fn name_taken() -> Status {
    Status::already_exists("another worker has the name")
}

#[tokio::test]
async fn a_worker_whose_name_stays_another_ones_gives_up() {
    let scene = Scene {
        // The first refusal begins the time, and the second comes later than that.
        name_taken_max: Duration::ZERO,
        ..Scene::default()
    };
    let (mut stage, _orders) = set(scene).await;
    for _ in 0..2 {
        stage.unwelcomed().await.refuse(name_taken()).await;
    }
    match stage.drained().await {
        Err(WorkerError::Refused { reason }) => assert!(reason.contains("has the name"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_whose_name_is_free_again_goes_on_and_its_time_begins_anew() {
    let (mut stage, _orders) = set(Scene::default()).await;
    for _ in 0..3 {
        stage.unwelcomed().await.refuse(name_taken()).await;
    }
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    drop(peer);
    stage.stop();
    assert!(stage.drained().await.is_ok());

    let scene = Scene {
        name_taken_max: Duration::ZERO,
        ..Scene::default()
    };
    let (mut stage, _orders) = set(scene).await;
    // Another end between two refusals: the name was free then.
    for status in [name_taken(), Status::unavailable("stopping"), name_taken()] {
        stage.unwelcomed().await.refuse(status).await;
    }
    stage.session().await.expect_ask().await;
    stage.stop();
    assert!(stage.drained().await.is_ok());
}

#[tokio::test]
async fn a_worker_that_waits_for_its_name_ends_when_it_is_told_to() {
    let (mut stage, _orders) = set(Scene::default()).await;
    stage.unwelcomed().await.refuse(name_taken()).await;
    stage.stop();
    assert!(stage.drained().await.is_ok());
}

#[tokio::test]
async fn a_task_is_leased_renewed_proven_and_the_next_asked_for() {
    let (mut stage, orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(5).await;
    loop {
        if let FromWorker::Progress(progress) = peer.next().await {
            assert_eq!(progress.fence, 5);
            if progress.phase == "prove" {
                break;
            }
            assert_eq!(progress.phase, "witness");
        }
    }
    // The engine blocks its thread all the while.
    for _ in 0..5 {
        peer.expect_renewal(5).await;
    }
    orders.send(Order::Prove(b"proof")).unwrap();
    let complete = peer.expect_complete().await;
    assert_eq!(
        (complete.fence, complete.proof.as_ref()),
        (5, b"proof".as_slice())
    );
    assert!(complete.accumulator.is_empty());
    peer.judge(5, Verdict::Accepted).await;
    peer.expect_ask().await;

    let children = AggregationInput { children: Vec::new() };
    peer.lease(6, TaskKind::Aggregation, children.to_bytes()).await;
    let complete = peer.expect_complete().await;
    assert_eq!(complete.proof.as_ref(), b"root");
    assert_eq!(complete.accumulator.len(), 8);
    assert_eq!(complete.accumulator[7][31], 7, "big endian");
}

#[tokio::test]
async fn a_proof_finished_while_the_coordinator_is_down_is_reported_until_it_is_judged() {
    let (mut stage, orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    drop(peer);
    stage.server.abort();
    orders.send(Order::Prove(b"late")).unwrap();
    stage.restart_server(None).await;

    // Its first answer is lost too: the store was down.
    let mut peer = stage.session().await;
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"late");
    drop(peer);
    let mut peer = stage.session().await;
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"late");
    // Not judged on this session either: it is said again, and the lease is kept meanwhile.
    peer.expect_renewal(1).await;
    assert_eq!(peer.expect_complete().await.fence, 1);
    peer.judge(1, Verdict::Accepted).await;
    loop {
        match peer.next_event().await {
            // On its way before the judgement.
            FromWorker::Complete(_) => {}
            FromWorker::LeaseRequest(_) => break,
            message => panic!("{message:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_lease_does_not_lose_the_proof() {
    let (mut stage, orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    let lost = LeaseLost {
        task_id: "task".into(),
        fence: 1,
        reason: "silent for too long".into(),
        unneeded: false,
    };
    peer.send(ToWorker::LeaseLost(lost)).await;
    orders.send(Order::Prove(b"first")).unwrap();
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"first");
    peer.judge(1, Verdict::NotNeeded).await;
    peer.expect_ask().await;
}

#[tokio::test]
async fn a_task_that_nobody_needs_is_given_up_at_its_next_phase() {
    let scene = Scene {
        ahead: 1,
        ..Scene::default()
    };
    let (mut stage, orders) = set(scene).await;
    let mut peer = stage.session().await;
    let lost = |task_id: &str| {
        ToWorker::LeaseLost(LeaseLost {
            task_id: task_id.into(),
            fence: 1,
            reason: "the batch is final".into(),
            unneeded: true,
        })
    };
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_ask().await;
    peer.send(lost("task")).await;
    // Of a task that never came: its answer shows that the first was heard.
    peer.send(lost("another")).await;
    peer.expect_ask().await;
    orders.send(Order::GoOn).unwrap();
    peer.lease_shard(2).await;
    peer.expect_ask().await;
    orders.send(Order::GoOn).unwrap();
    // Neither a proof nor a failure of the first was told.
    let complete = peer.expect_complete().await;
    assert_eq!(
        (complete.fence, complete.proof.as_ref()),
        (2, b"went on".as_slice())
    );
}

#[tokio::test]
async fn a_worker_is_ready_while_a_session_is_open_and_it_does_not_drain() {
    let (mut stage, orders) = set(Scene::default()).await;
    let peer = stage.unwelcomed().await;
    assert!(!*stage.ready.borrow(), "connected, and not taken in");
    drop(peer);
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    stage.is_ready(true).await;
    drop(peer);
    stage.is_ready(false).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    stage.is_ready(true).await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    stage.stop();
    stage.is_ready(false).await;
    let message = peer.next_event().await;
    assert!(matches!(message, FromWorker::Drain(_)), "{message:?}");
    orders.send(Order::Prove(b"last")).unwrap();
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"last");
    peer.judge(1, Verdict::Accepted).await;
    stage.drained().await.unwrap();
}

#[tokio::test]
async fn a_panic_fails_the_task_and_not_the_worker() {
    let (mut stage, orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    for (order, class, text) in [
        (Order::Panic, FailureClass::Internal, "a defect of the engine"),
        (Order::Fail, FailureClass::Input, "the circuit 5"),
    ] {
        peer.expect_ask().await;
        peer.lease_shard(1).await;
        orders.send(order).unwrap();
        let fail = peer.expect_fail().await;
        assert_eq!(fail.class(), class);
        assert!(fail.message.contains(text), "{}", fail.message);
    }
    peer.expect_ask().await;
    peer.lease(2, TaskKind::Shard, b"no shard input".to_vec()).await;
    let fail = peer.expect_fail().await;
    assert_eq!(fail.class(), FailureClass::Input);

    peer.expect_ask().await;
    peer.lease_shard(3).await;
    orders.send(Order::Prove(b"proof")).unwrap();
    assert_eq!(peer.expect_complete().await.fence, 3);
}

#[tokio::test]
async fn a_drain_delivers_the_task_at_hand_and_ends_the_worker() {
    let (mut stage, orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    stage.stop();
    let message = peer.next_event().await;
    assert!(matches!(message, FromWorker::Drain(_)), "{message:?}");
    assert!(!stage.worker.is_finished());
    orders.send(Order::Prove(b"last")).unwrap();
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"last");
    peer.judge(1, Verdict::Accepted).await;
    stage.drained().await.unwrap();
}

#[tokio::test]
async fn a_drain_without_a_task_ends_the_worker_even_without_a_coordinator() {
    let (mut stage, _orders) = set(Scene::default()).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    drop(peer);
    stage.server.abort();
    stage.stop();
    stage.drained().await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_a_worker_whose_coordinator_says_nothing() {
    let (mut stage, _orders) = set(Scene::default()).await;
    let _peer = stage.unwelcomed().await;
    let asked = Instant::now();
    stage.stop();
    stage.drained().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_worker_with_other_keys_is_refused_for_good() {
    let stage = set(Scene {
        refuse: Some(Code::FailedPrecondition),
        ..Scene::default()
    })
    .await
    .0;
    let error = stage.drained().await.unwrap_err();
    assert!(
        matches!(&error, WorkerError::Refused { reason } if reason == "as the test wants it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_worker_that_stands_still_gives_itself_up() {
    let scene = Scene {
        stall_max: Duration::from_millis(500),
        ..Scene::default()
    };
    let (mut stage, _orders) = set(scene).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    // No order comes, and the engine uses no processor time.
    let error = stage.drained().await.unwrap_err();
    assert!(matches!(error, WorkerError::Stalled(_)), "{error}");
}

#[tokio::test]
async fn the_next_task_is_prepared_while_one_is_proven() {
    let scene = Scene {
        ahead: 1,
        ..Scene::default()
    };
    let (mut stage, orders) = set(scene).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_ask().await;
    peer.lease_shard(2).await;
    // The first waits for its order all the while.
    let mut phases = Vec::new();
    while !phases.contains(&(2, "witness".to_string())) {
        if let FromWorker::Progress(progress) = peer.next().await {
            phases.push((progress.fence, progress.phase));
        }
    }
    assert!(!phases.contains(&(2, "prove".to_string())));
    peer.expect_renewal(1).await;
    peer.expect_renewal(2).await;
    orders.send(Order::Prove(b"one")).unwrap();
    assert_eq!(peer.expect_complete().await.fence, 1);
    orders.send(Order::Prove(b"two")).unwrap();
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"two");
    peer.judge(1, Verdict::Accepted).await;
    peer.expect_ask().await;
    peer.judge(2, Verdict::Accepted).await;
}

#[tokio::test]
async fn a_worker_that_nobody_knows_ends_unless_it_was_connected_before() {
    for code in [Code::Unauthenticated, Code::PermissionDenied] {
        let scene = Scene {
            refuse: Some(code),
            ..Scene::default()
        };
        let (stage, _orders) = set(scene).await;
        let ended = stage.drained().await;
        assert!(matches!(ended, Err(WorkerError::Refused { .. })), "{ended:?}");

        let (mut stage, _orders) = set(Scene::default()).await;
        stage.session().await;
        stage.restart_server(Some(code)).await;
        for _ in 0..3 {
            stage.unwelcomed().await;
        }
        stage.restart_server(None).await;
        stage.session().await.expect_ask().await;
        stage.stop();
        stage.drained().await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_whose_connection_cannot_come_about_ends_with_the_reason() {
    let (mut stage, _orders) = set(Scene::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let authority = CertificateParams::new(vec!["ca".into()]).unwrap();
    let authority = authority.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&ca, authority.pem()).unwrap();
    let credentials = Credentials {
        ca: Some(ca),
        ..Credentials::default()
    };
    let url = format!("https://{}", stage.address).parse().unwrap();
    let config = stage::config(Connector::new(url, credentials).unwrap(), Scene::default());
    let (_orders, queue) = sync_mpsc::channel();
    let place = Place::threads(Ordered { orders: queue }, device());
    let ended = tokio::time::timeout(
        stage::PATIENCE,
        worker::run(config, place, std::future::pending()),
    )
    .await;
    let error = ended.expect("it ends").expect_err("no TLS is spoken there");
    assert!(matches!(error, WorkerError::Connection(_)), "{error:?}");
    assert!(error.to_string().contains("begin with http://"), "{error}");
    stage.session().await.expect_ask().await;
}
