//! The worker against a scripted coordinator: each test plays one course of events over real gRPC on loopback.

use std::net::SocketAddr;
use std::sync::mpsc as sync_mpsc;
use std::time::Duration;

use circuits::Fr;
use circuits::aggregation::AggregationInput;
use circuits::witness::{RunningState, ShardInput};
use proto::v1::session_request::Message as FromWorker;
use proto::v1::session_response::Message as ToWorker;
use proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use proto::v1::{
    Complete, Completed, FailureClass, LeaseLost, SessionRequest, SessionResponse, Task, TaskChunk, TaskKind,
    Verdict, Welcome,
};
use prover::engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task as Proving};
use prover::worker::{self, DeviceInfo, Place, WorkerConfig, WorkerError};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// The worker renews this often.
const RENEW_MS: u64 = 50;

/// What the engine shall do with its next task.
enum Order {
    Prove(&'static [u8]),
    Panic,
    Fail,
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
            Order::Panic => panic!("a defect of the engine"),
            Order::Fail => Err(EngineError::ShardSize {
                found: 0,
                expected: 5,
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

/// The coordinator's end of a session.
struct Peer {
    incoming: Streaming<SessionRequest>,
    outgoing: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl Peer {
    async fn next(&mut self) -> FromWorker {
        let message = tokio::time::timeout(PATIENCE, self.incoming.message())
            .await
            .expect("the worker is silent");
        message
            .expect("the stream is whole")
            .expect("the worker is there")
            .message
            .expect("it says something")
    }

    /// The next message that is none of those that come at any time.
    async fn next_event(&mut self) -> FromWorker {
        loop {
            match self.next().await {
                FromWorker::Renew(_) | FromWorker::Progress(_) => {}
                message => return message,
            }
        }
    }

    async fn expect_ask(&mut self) {
        let message = self.next_event().await;
        assert!(matches!(message, FromWorker::LeaseRequest(_)), "{message:?}");
    }

    async fn expect_complete(&mut self) -> Complete {
        match self.next_event().await {
            FromWorker::Complete(complete) => complete,
            message => panic!("{message:?}"),
        }
    }

    async fn expect_renewal(&mut self, fence: u64) {
        loop {
            if matches!(self.next().await, FromWorker::Renew(renew) if renew.fence == fence) {
                return;
            }
        }
    }

    async fn send(&self, message: ToWorker) {
        let response = SessionResponse {
            message: Some(message),
        };
        self.outgoing
            .send(Ok(response))
            .await
            .expect("the session is open");
    }

    /// Leases a task, its payload in chunks of 1000 bytes.
    async fn lease(&self, fence: u64, kind: TaskKind, payload: Vec<u8>) {
        let task = Task {
            task_id: "task".into(),
            fence,
            lease_ms: 1000,
            kind: kind.into(),
            batch_id: "batch".into(),
            index: 0,
            payload_bytes: payload.len() as u64,
            payload_sha256: Sha256::digest(&payload).to_vec().into(),
        };
        self.send(ToWorker::Task(task)).await;
        for chunk in payload.chunks(1000) {
            let chunk = TaskChunk {
                task_id: "task".into(),
                data: chunk.to_vec().into(),
            };
            self.send(ToWorker::TaskChunk(chunk)).await;
        }
    }

    async fn lease_shard(&self, fence: u64) {
        self.lease(fence, TaskKind::Shard, shard_payload()).await;
    }

    async fn judge(&self, fence: u64, verdict: Verdict) {
        let (verdict, reason) = (verdict.into(), String::new());
        self.send(ToWorker::Completed(Completed {
            task_id: "task".into(),
            fence,
            verdict,
            reason,
        }))
        .await;
    }
}

/// A shard without steps: the scripted engine does not look at it, but it must decode.
fn shard_payload() -> Vec<u8> {
    let state = RunningState::initial(Fr::from(1));
    let input = ShardInput {
        rollup_id: Fr::from(2),
        time: 3,
        x: Fr::from(4),
        before: state,
        after: state,
        steps: Vec::new(),
    };
    input.to_bytes()
}

/// Gives the test each session that a worker opens.
struct Script {
    sessions: mpsc::Sender<Peer>,
    refuse: bool,
}

#[tonic::async_trait]
impl WorkerService for Script {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.refuse {
            return Err(Status::failed_precondition("other verifying keys"));
        }
        let (outgoing, responses) = mpsc::channel(64);
        let peer = Peer {
            incoming: request.into_inner(),
            outgoing,
        };
        self.sessions
            .send(peer)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// A coordinator that does what the test says, and a worker connected to it.
struct Stage {
    address: SocketAddr,
    sessions: mpsc::Receiver<Peer>,
    server: JoinHandle<()>,
    orders: sync_mpsc::Sender<Order>,
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(false, Duration::from_secs(3600)).await
    }

    async fn set_with(refuse: bool, stall_max: Duration) -> Self {
        Self::set_ahead(refuse, stall_max, 0).await
    }

    async fn set_ahead(refuse: bool, stall_max: Duration, ahead: usize) -> Self {
        let (address, sessions, server) = serve("127.0.0.1:0".parse().unwrap(), refuse).await;
        let config = WorkerConfig {
            coordinator: format!("http://{address}"),
            name: "worker".into(),
            protocol_version: 1,
            shard_vk_digest: [1; 32],
            aggregation_vk_digest: [2; 32],
            memory_bytes: 3,
            ahead: Some(ahead),
            stall_max,
            drain_max: PATIENCE,
        };
        let (orders, queue) = sync_mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let device = DeviceInfo {
            name: "scripted".into(),
            memory_bytes: 0,
            proves_shards: true,
            proves_aggregations: true,
        };
        let place = Place::threads(Ordered { orders: queue }, device);
        let worker =
            tokio::spawn(async move { worker::run(config, place, async { drop(stopped.await) }).await });
        Self {
            address,
            sessions,
            server,
            orders,
            stop,
            worker,
        }
    }

    /// The worker's next session, past hello and welcome.
    async fn session(&mut self) -> Peer {
        let session = tokio::time::timeout(PATIENCE, self.sessions.recv()).await;
        let mut peer = session.expect("the worker connects").expect("the server runs");
        let FromWorker::Hello(hello) = peer.next().await else {
            panic!("hello comes first")
        };
        assert_eq!(
            (hello.shard_vk_digest.as_ref(), hello.memory_bytes),
            ([1; 32].as_slice(), 3)
        );
        assert_eq!(hello.capabilities.len(), 2);
        let welcome = Welcome {
            session_id: 1,
            preset: "tiny".into(),
            lease_ms: 1000,
            renew_ms: RENEW_MS,
            reconnect_grace_ms: 1000,
            leases_max: 1,
        };
        peer.send(ToWorker::Welcome(welcome)).await;
        peer
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).expect("the engine is there");
    }

    /// Stops the server with all its connections, and starts another on the same address.
    async fn restart_server(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        (_, self.sessions, self.server) = serve(self.address, false).await;
    }

    async fn drained(self) -> Result<(), WorkerError> {
        let result = tokio::time::timeout(PATIENCE, self.worker)
            .await
            .expect("the worker ends");
        result.expect("the worker does not panic")
    }
}

async fn serve(address: SocketAddr, refuse: bool) -> (SocketAddr, mpsc::Receiver<Peer>, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sessions, receiver) = mpsc::channel(4);
    let service = WorkerServiceServer::new(Script { sessions, refuse });
    let server = tokio::spawn(async move {
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    (address, receiver, server)
}

#[tokio::test]
async fn a_task_is_leased_renewed_proven_and_the_next_asked_for() {
    let mut stage = Stage::set().await;
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
    stage.order(Order::Prove(b"proof")).await;
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
    assert_eq!(complete.accumulator.len(), 12);
    assert_eq!(complete.accumulator[11][31], 11, "big endian");
}

#[tokio::test]
async fn a_proof_finished_while_the_coordinator_is_down_is_reported_until_it_is_judged() {
    let mut stage = Stage::set().await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    drop(peer);
    stage.server.abort();
    stage.order(Order::Prove(b"late")).await;
    stage.restart_server().await;

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
    let mut stage = Stage::set().await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    let lost = LeaseLost {
        task_id: "task".into(),
        fence: 1,
        reason: "silent for too long".into(),
    };
    peer.send(ToWorker::LeaseLost(lost)).await;
    stage.order(Order::Prove(b"first")).await;
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"first");
    peer.judge(1, Verdict::NotNeeded).await;
    peer.expect_ask().await;
}

#[tokio::test]
async fn a_panic_fails_the_task_and_not_the_worker() {
    let mut stage = Stage::set().await;
    let mut peer = stage.session().await;
    for (order, class, text) in [
        (Order::Panic, FailureClass::Internal, "a defect of the engine"),
        (Order::Fail, FailureClass::Input, "the circuit 5"),
    ] {
        peer.expect_ask().await;
        peer.lease_shard(1).await;
        stage.order(order).await;
        let FromWorker::Fail(fail) = peer.next_event().await else {
            panic!("the task failed")
        };
        assert_eq!(fail.class(), class);
        assert!(fail.message.contains(text), "{}", fail.message);
    }
    peer.expect_ask().await;
    peer.lease(2, TaskKind::Shard, b"no shard input".to_vec()).await;
    let FromWorker::Fail(fail) = peer.next_event().await else {
        panic!("the task failed")
    };
    assert_eq!(fail.class(), FailureClass::Input);

    peer.expect_ask().await;
    peer.lease_shard(3).await;
    stage.order(Order::Prove(b"proof")).await;
    assert_eq!(peer.expect_complete().await.fence, 3);
}

#[tokio::test]
async fn a_drain_delivers_the_task_at_hand_and_ends_the_worker() {
    let mut stage = Stage::set().await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    peer.expect_renewal(1).await;
    drop(std::mem::replace(&mut stage.stop, oneshot::channel().0));
    let message = peer.next_event().await;
    assert!(matches!(message, FromWorker::Drain(_)), "{message:?}");
    assert!(!stage.worker.is_finished());
    stage.order(Order::Prove(b"last")).await;
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"last");
    peer.judge(1, Verdict::Accepted).await;
    stage.drained().await.unwrap();
}

#[tokio::test]
async fn a_drain_without_a_task_ends_the_worker_even_without_a_coordinator() {
    let mut stage = Stage::set().await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    drop(peer);
    stage.server.abort();
    drop(std::mem::replace(&mut stage.stop, oneshot::channel().0));
    stage.drained().await.unwrap();
}

#[tokio::test]
async fn a_worker_with_other_keys_is_refused_for_good() {
    let stage = Stage::set_with(true, PATIENCE).await;
    let error = stage.drained().await.unwrap_err();
    assert!(
        matches!(&error, WorkerError::Refused { reason } if reason == "other verifying keys"),
        "{error}"
    );
}

#[tokio::test]
async fn a_worker_that_stands_still_gives_itself_up() {
    let mut stage = Stage::set_with(false, Duration::from_millis(500)).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    peer.lease_shard(1).await;
    // No order comes, and the engine uses no processor time.
    let error = stage.drained().await.unwrap_err();
    assert!(matches!(error, WorkerError::Stalled(_)), "{error}");
}

#[tokio::test]
async fn the_next_task_is_prepared_while_one_is_proven() {
    let mut stage = Stage::set_ahead(false, PATIENCE, 1).await;
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
    stage.order(Order::Prove(b"one")).await;
    assert_eq!(peer.expect_complete().await.fence, 1);
    stage.order(Order::Prove(b"two")).await;
    assert_eq!(peer.expect_complete().await.proof.as_ref(), b"two");
    peer.judge(1, Verdict::Accepted).await;
    peer.expect_ask().await;
    peer.judge(2, Verdict::Accepted).await;
}
