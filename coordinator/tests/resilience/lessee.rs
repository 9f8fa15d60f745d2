//! A worker in the middle of the kill loop that notes the fence of every lease it gets, and does with it what workers do:
//! proves it, gives it back, hands in another task's proof, or leaves.

use std::{sync::Arc, time::Duration};

use circuits::aggregation::AggregationInput;
use proto::{
    connection::Channel,
    v1::{
        self, session_request::Message as FromWorker, session_response::Message as ToWorker,
        worker_service_client::WorkerServiceClient,
    },
};
use prover::engine::Task;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rules::{PROTOCOL_VERSION, field, witness::ShardInput};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    client::Clients,
    history::Seen,
    standin::{self, manifest},
};

/// A session that says nothing for this long is left.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// A worker's end of a session.
pub struct Session {
    sender: mpsc::Sender<v1::SessionRequest>,
    receiver: Streaming<v1::SessionResponse>,
}

/// A task as a worker gets it.
#[derive(Debug, Clone)]
pub struct Leased {
    pub task: v1::Task,
    pub payload: Vec<u8>,
}

pub fn hello(name: &str) -> v1::Hello {
    let manifest = manifest();
    v1::Hello {
        worker_name: name.into(),
        protocol_version: PROTOCOL_VERSION,
        shard_vk_digest: manifest.shard_vk_digest.0.to_vec().into(),
        aggregation_vk_digest: manifest.aggregation_vk_digest.0.to_vec().into(),
        capabilities: vec![v1::TaskKind::Shard.into(), v1::TaskKind::Aggregation.into()],
        devices: vec![],
        memory_bytes: 1 << 30,
        instance: 0,
    }
}

impl Session {
    /// Opens a session; none if the coordinator is not there.
    pub async fn open(channel: &Channel, name: &str) -> Option<Self> {
        let (sender, messages) = mpsc::channel(16);
        let mut client = WorkerServiceClient::new(channel.clone());
        let opening = client.session(ReceiverStream::new(messages));
        let receiver = timeout(SILENCE_MAX, opening).await.ok()?.ok()?.into_inner();
        let mut session = Self { sender, receiver };
        session.send(FromWorker::Hello(hello(name))).await?;
        match session.next().await? {
            ToWorker::Welcome(_) => Some(session),
            _ => None,
        }
    }

    pub async fn send(&self, message: FromWorker) -> Option<()> {
        let message = Some(message);
        self.sender.send(v1::SessionRequest { message }).await.ok()
    }

    /// The next message; none if the session is over or silent.
    pub async fn next(&mut self) -> Option<ToWorker> {
        let message = timeout(SILENCE_MAX, self.receiver.message()).await.ok()?;
        message.ok()??.message
    }

    /// Asks for a task and takes it.
    pub async fn lease(&mut self) -> Option<Leased> {
        let request = v1::LeaseRequest { kinds: vec![] };
        self.send(FromWorker::LeaseRequest(request)).await?;
        let task = loop {
            if let ToWorker::Task(task) = self.next().await? {
                break task;
            }
        };
        let mut payload = Vec::new();
        while (payload.len() as u64) < task.payload_bytes {
            match self.next().await? {
                ToWorker::TaskChunk(chunk) => payload.extend_from_slice(&chunk.data),
                _ => continue,
            }
        }
        Some(Leased { task, payload })
    }

    /// Hands a proof in; returns what was said of it.
    pub async fn complete(&mut self, complete: v1::Complete) -> Option<v1::Verdict> {
        let (task, fence) = (complete.task_id.clone(), complete.fence);
        self.send(FromWorker::Complete(complete)).await?;
        loop {
            if let ToWorker::Completed(completed) = self.next().await?
                && (&completed.task_id, completed.fence) == (&task, fence)
            {
                return Some(completed.verdict());
            }
        }
    }
}

impl Leased {
    /// The right answer.
    pub fn prove(&self) -> v1::Complete {
        let task = match self.task.kind() {
            v1::TaskKind::Shard => Task::Shard(Box::new(
                ShardInput::from_bytes(&self.payload).expect("it decodes"),
            )),
            _ => Task::Aggregation(AggregationInput::from_bytes(&self.payload).expect("it decodes")),
        };
        let proof = standin::prove(&task);
        let limbs = proof.accumulator.iter().flatten();
        v1::Complete {
            task_id: self.task.task_id.clone(),
            fence: self.task.fence,
            proof: proof.bytes.into(),
            accumulator: limbs.map(|limb| field::to_be(limb).to_vec().into()).collect(),
            prove_ms: 1,
        }
    }
}

/// Works like that until the process ends.
pub async fn run(address: String, clients: Arc<Clients>, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 2);
    let connector = standin::connector(&address);
    let mut before: Option<v1::Complete> = None;
    loop {
        let url = connector.url().clone();
        let channel = connector.channel().expect("there is no file to read");
        if let Some(mut session) = Session::open(&channel, "lessee").await {
            while work(&mut session, &clients, &mut before, &mut rng)
                .await
                .is_some()
            {}
        }
        connector.turn_from(&url, None);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Takes one task and does something with it; none when the session is over or left.
async fn work(
    session: &mut Session,
    clients: &Clients,
    before: &mut Option<v1::Complete>,
    rng: &mut ChaCha20Rng,
) -> Option<()> {
    let began = clients.history.now();
    let leased = session.lease().await?;
    let v1::Task { task_id, fence, .. } = leased.task.clone();
    let task = task_id.clone();
    let granted = Seen::Granted {
        task: task.clone(),
        fence,
    };
    clients.history.note(began, granted);
    let complete = leased.prove();
    match rng.gen_range(0..8) {
        // Gone without a word.
        0 => return None,
        // Given back.
        1 => {
            let class = v1::FailureClass::Returned.into();
            let message = String::new();
            let fail = v1::Fail {
                task_id,
                fence,
                class,
                message,
            };
            session.send(FromWorker::Fail(fail)).await?;
        }
        // Another task's proof under this task's name, then the right one.
        2 => {
            if let Some(other) = before.take() {
                let mixed = v1::Complete {
                    task_id,
                    fence,
                    ..other.clone()
                };
                let verdict = session.complete(mixed).await?;
                if verdict == v1::Verdict::Accepted && other.proof != complete.proof {
                    clients.fault(format!("the proof of {} was taken for {task}", other.task_id));
                }
            }
            session.complete(complete.clone()).await?;
        }
        // A fence that was never given.
        3 => {
            let future = v1::Complete {
                fence: fence + 1_000,
                ..complete.clone()
            };
            if session.complete(future).await? == v1::Verdict::Accepted {
                clients.fault(format!("{task} was taken with a fence that was never given"));
            }
            session.complete(complete.clone()).await?;
        }
        _ => {
            session.complete(complete.clone()).await?;
        }
    }
    *before = Some(complete);
    Some(())
}
