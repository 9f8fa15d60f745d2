//! A scripted coordinator: the tests play its part over real gRPC on loopback.

// Each test binary uses a part of this module.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use proto::connection::{Connector, Credentials};
use proto::v1::session_request::Message as FromWorker;
use proto::v1::session_response::Message as ToWorker;
use proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use proto::v1::{
    Complete, Completed, Fail, Hello, SessionRequest, SessionResponse, Task, TaskChunk, TaskKind, Verdict,
    Welcome,
};
use prover::worker::{self, Place, WorkerConfig, WorkerError};
use rules::Fr;
use rules::witness::{RunningState, ShardInput};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The worker renews this often.
const RENEW_MS: u64 = 50;

/// The coordinator's end of a session.
pub struct Peer {
    incoming: Streaming<SessionRequest>,
    outgoing: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl Peer {
    pub async fn next(&mut self) -> FromWorker {
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
    pub async fn next_event(&mut self) -> FromWorker {
        loop {
            match self.next().await {
                FromWorker::Renew(_) | FromWorker::Progress(_) => {}
                message => return message,
            }
        }
    }

    pub async fn expect_ask(&mut self) {
        let message = self.next_event().await;
        assert!(matches!(message, FromWorker::LeaseRequest(_)), "{message:?}");
    }

    pub async fn expect_complete(&mut self) -> Complete {
        match self.next_event().await {
            FromWorker::Complete(complete) => complete,
            message => panic!("{message:?}"),
        }
    }

    pub async fn expect_fail(&mut self) -> Fail {
        match self.next_event().await {
            FromWorker::Fail(fail) => fail,
            message => panic!("{message:?}"),
        }
    }

    pub async fn expect_renewal(&mut self, fence: u64) {
        loop {
            if matches!(self.next().await, FromWorker::Renew(renew) if renew.fence == fence) {
                return;
            }
        }
    }

    pub async fn send(&self, message: ToWorker) {
        let response = SessionResponse {
            message: Some(message),
        };
        self.outgoing
            .send(Ok(response))
            .await
            .expect("the session is open");
    }

    /// Ends the session.
    pub async fn refuse(self, status: Status) {
        self.outgoing
            .send(Err(status))
            .await
            .expect("the session is open");
    }

    /// Leases a task, its payload in chunks of 1000 bytes.
    pub async fn lease(&self, fence: u64, kind: TaskKind, payload: Vec<u8>) {
        self.lease_as("task", fence, kind, payload).await;
    }

    /// Leases a task of that id.
    pub async fn lease_as(&self, task_id: &str, fence: u64, kind: TaskKind, payload: Vec<u8>) {
        let task = Task {
            task_id: task_id.into(),
            fence,
            lease_ms: 1000,
            kind: kind.into(),
            batch_id: "batch".into(),
            index: 0,
            payload_bytes: payload.len() as u64,
            payload_sha256: Sha256::digest(&payload).to_vec().into(),
            traceparent: String::new(),
        };
        self.send(ToWorker::Task(task)).await;
        for chunk in payload.chunks(1000) {
            let chunk = TaskChunk {
                task_id: task_id.into(),
                data: chunk.to_vec().into(),
            };
            self.send(ToWorker::TaskChunk(chunk)).await;
        }
    }

    pub async fn lease_shard(&self, fence: u64) {
        self.lease(fence, TaskKind::Shard, shard_payload(3)).await;
    }

    pub async fn judge(&self, fence: u64, verdict: Verdict) {
        self.judge_as("task", fence, verdict).await;
    }

    pub async fn judge_as(&self, task_id: &str, fence: u64, verdict: Verdict) {
        let (verdict, reason) = (verdict.into(), String::new());
        self.send(ToWorker::Completed(Completed {
            task_id: task_id.into(),
            fence,
            verdict,
            reason,
        }))
        .await;
    }
}

/// A shard without groups: the scripted engine does not look at it, but it must decode.
pub fn shard_payload(time: u64) -> Vec<u8> {
    let state = RunningState::initial(Fr::from(1));
    let input = ShardInput {
        rollup_id: Fr::from(2),
        time,
        x: Fr::from(4),
        before: state,
        after: state,
        groups: Vec::new(),
    };
    input.to_bytes()
}

/// Gives the test each session that a worker opens.
struct Script {
    sessions: mpsc::Sender<Peer>,
    refuse: Option<Code>,
}

#[tonic::async_trait]
impl WorkerService for Script {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, responses) = mpsc::channel(64);
        let peer = Peer {
            incoming: request.into_inner(),
            outgoing,
        };
        self.sessions
            .send(peer)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        if let Some(code) = self.refuse {
            return Err(Status::new(code, "as the test wants it"));
        }
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// A coordinator that does what the test says, and a worker connected to it.
pub struct Stage {
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Peer>,
    pub server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    pub ready: watch::Receiver<bool>,
    pub worker: JoinHandle<Result<(), WorkerError>>,
}

/// How a stage differs from the usual.
#[derive(Clone, Copy)]
pub struct Scene {
    /// The coordinator refuses every worker.
    pub refuse: Option<Code>,
    pub stall_max: Duration,
    pub name_taken_max: Duration,
    pub ahead: usize,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            refuse: None,
            stall_max: Duration::from_secs(3600),
            name_taken_max: Duration::from_secs(3600),
            ahead: 0,
        }
    }
}

impl Stage {
    pub async fn set(scene: Scene, place: Place) -> Self {
        let (address, sessions, server) = serve("127.0.0.1:0".parse().unwrap(), scene.refuse).await;
        let url = format!("http://{address}").parse().expect("a URL");
        let connector = Connector::new(url, Credentials::default()).expect("nothing can be wrong with it");
        let config = config(connector, scene);
        let ready = config.ready.subscribe();
        let (stop, stopped) = oneshot::channel();
        let worker =
            tokio::spawn(async move { worker::run(config, place, async { drop(stopped.await) }).await });
        Self {
            address,
            sessions,
            server,
            stop,
            ready,
            worker,
        }
    }

    /// The worker's next session, of which nothing has been read yet.
    pub async fn unwelcomed(&mut self) -> Peer {
        let session = tokio::time::timeout(PATIENCE, self.sessions.recv()).await;
        session.expect("the worker connects").expect("the server runs")
    }

    /// The worker's next session, past hello and welcome.
    pub async fn session(&mut self) -> Peer {
        let mut peer = self.unwelcomed().await;
        let FromWorker::Hello(hello) = peer.next().await else {
            panic!("hello comes first")
        };
        check(&hello);
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

    /// Waits until the worker says that it is ready, or is not.
    pub async fn is_ready(&mut self, ready: bool) {
        let told = self.ready.wait_for(|told| *told == ready);
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert!(told.expect("in time").is_ok(), "the worker ended");
    }

    /// Tells the worker to drain.
    pub fn stop(&mut self) {
        drop(std::mem::replace(&mut self.stop, oneshot::channel().0));
    }

    /// Stops the server with all its connections, and starts another on the same address.
    pub async fn restart_server(&mut self, refuse: Option<Code>) {
        self.server.abort();
        let _ = (&mut self.server).await;
        (_, self.sessions, self.server) = serve(self.address, refuse).await;
    }

    pub async fn drained(self) -> Result<(), WorkerError> {
        let result = tokio::time::timeout(PATIENCE, self.worker)
            .await
            .expect("the worker ends");
        result.expect("the worker does not panic")
    }
}

fn check(hello: &Hello) {
    assert_eq!(
        (hello.shard_vk_digest.as_ref(), hello.memory_bytes),
        ([1; 32].as_slice(), 3)
    );
    assert_eq!(hello.capabilities.len(), 2);
    assert_eq!(hello.devices[0].name, "scripted");
}

/// A worker's configuration.
pub fn config(coordinator: Connector, scene: Scene) -> WorkerConfig {
    WorkerConfig {
        coordinator,
        name: "worker".into(),
        protocol_version: 1,
        shard_vk_digest: [1; 32],
        aggregation_vk_digest: [2; 32],
        memory_bytes: 3,
        ahead: Some(scene.ahead),
        stall_max: scene.stall_max,
        phase_max: Duration::from_secs(3600),
        drain_max: PATIENCE,
        name_taken_max: scene.name_taken_max,
        ready: watch::Sender::new(false),
        meters: Default::default(),
        traces: Default::default(),
    }
}

async fn serve(
    address: SocketAddr,
    refuse: Option<Code>,
) -> (SocketAddr, mpsc::Receiver<Peer>, JoinHandle<()>) {
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
