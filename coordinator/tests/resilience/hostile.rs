//! Peers that mean harm, among peers that do not: nothing they send stops honest work or makes the coordinator larger than it
//! says. They know the interface's definition and nothing else: bytes on TCP, frames of HTTP/2, messages of `proto/`.
//!
//! They come from another loopback address than the honest peers, as they would from another host.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use proto::v1::{self, session_request::Message as FromWorker};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    client::{Clients, Judge},
    lessee::{Leased, hello},
    processes::{Programs, Service, this},
    standin,
};

/// Where the hostile peers come from.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Descriptors of the coordinator: what a process has where nobody changed it.
const DESCRIPTORS: u32 = 1_024;
/// Most memory of the coordinator: what ARCHITECTURE.md says that one caller can make it allocate, of connections and calls.
const MEMORY_KB_MAX: u64 = (208 + 1_538) << 10;
/// Most threads: tokio's, of which those that block are at most 512.
const THREADS_MAX: u64 = 600;
/// Longest time until all honest work is done.
const CALM_MAX: Duration = Duration::from_secs(60);
/// Longest wait of a hostile peer for anything.
const PATIENCE: Duration = Duration::from_secs(2);

const HONEST_TOKEN: &str = "a-token-of-an-honest-peer-0123456789abcdef";
const HOSTILE_TOKEN: &str = "a-token-of-a-hostile-peer-0123456789abcdef";

const METHODS: [&str; 10] = [
    "ProverService/SubmitBatch",
    "ProverService/GetBatch",
    "ProverService/WatchBatch",
    "ProverService/ListBatches",
    "ProverService/CancelBatch",
    "ProverService/RetryBatch",
    "ProverService/GetProof",
    "ProverService/GetInfo",
    "WorkerService/Session",
    "NoService/NoMethod",
];

/// One hostile peer.
#[derive(Clone)]
struct Peer {
    coordinator: SocketAddr,
    until: Instant,
    /// Whether it says who it is.
    known: bool,
    rng: ChaCha20Rng,
}

type Attack = fn(Peer) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |peer| Box::pin($name(peer)))),*]
    };
}

/// What they do, each as often as once at a time.
const ATTACKS: &[(&str, Attack)] = attacks![
    garbage_bytes,
    silent_connections,
    streams_reset,
    frames_of_control,
    endless_headers,
    large_headers,
    malformed_messages,
    lengths_that_lie,
    valid_calls,
    many_watches,
    slow_submissions,
    unfinished_submissions,
    silent_sessions,
    silent_leases,
    sessions_of_one_name,
    proofs_of_others,
    proofs_of_garbage,
    names_that_are_long,
    words_without_work,
    answers_never_read,
];

/// Runs all attacks at once for a while, beside an honest sequencer, watchers and workers. Where callers must be `known`, the
/// hostile peers are too: as a sequencer, reader and worker of another tenant.
///
/// # Panics
/// When honest work stops, a promise is broken, or the coordinator grows past its bounds or ends.
pub async fn run(seed: u64, lasting: Duration, only: Option<&str>, known: bool) {
    println!(
        "hostile peers, {}: seed {seed}",
        if known { "known" } else { "unknown" }
    );
    let folder = tempfile::tempdir().expect("a folder");
    let token = known.then(|| write_access(folder.path()));
    let descriptors = DESCRIPTORS;
    let mut service = Service::start(Programs::Limited { descriptors, known }, folder.path(), 2);
    let clients = Clients::known(&service.address, token, Judge::StandIn, standin::PRESET, 3);
    clients.start(seed);
    // There is something to watch, and work for whoever asks.
    while clients.history.acknowledged().is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let before = service.coordinator.status("VmHWM");
    let mut peers = JoinSet::new();
    let until = Instant::now() + lasting;
    for (index, (name, attack)) in (0..).zip(ATTACKS) {
        if only.is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let peer = Peer {
            coordinator: service.address.parse().expect("an address"),
            until,
            known,
            rng: ChaCha20Rng::seed_from_u64(seed ^ index),
        };
        peers.spawn(timeout_at(until + PATIENCE, attack(peer)));
    }
    let (mut threads, mut descriptors) = (0, 0);
    let mut proven = clients.proven();
    while !peers.is_empty() {
        if let Ok(Some(ended)) = timeout(Duration::from_millis(100), peers.join_next()).await {
            // Whichever still waits for something is left.
            let _ = ended.expect("no hostile peer panics");
        }
        service.assert_alive();
        threads = threads.max(service.coordinator.status("Threads"));
        descriptors = descriptors.max(service.coordinator.descriptors());
    }
    let meanwhile = clients.proven() - proven;
    proven = clients.end(CALM_MAX).await;
    service.assert_alive();
    let memory = service.coordinator.status("VmHWM");
    println!(
        "  {meanwhile} honest batches proven meanwhile, {proven} in all; memory {before} kB before, {memory} kB at most; \
         {threads} threads, {descriptors} descriptors"
    );
    assert!(meanwhile > 0, "no honest work was done meanwhile");
    assert!(memory < MEMORY_KB_MAX, "{memory} kB");
    assert!(threads < THREADS_MAX, "{threads} threads");
    let log = std::fs::metadata(folder.path().join("coordinator.log"))
        .expect("a log")
        .len();
    println!("  {log} bytes of log");
    service.coordinator.terminate();
}

/// Writes an access file that knows an honest and a hostile peer; returns the file of the honest one's token.
fn write_access(folder: &Path) -> PathBuf {
    let identity = |name: &str, token: &str| {
        let digest = hex::encode(Sha256::digest(token));
        format!(
            "[[identity]]\nname = \"{name}\"\nroles = [\"sequencer\", \"worker\", \"reader\"]\n\
             token_sha256 = [\"{digest}\"]\n"
        )
    };
    let access = identity("honest", HONEST_TOKEN) + &identity("hostile", HOSTILE_TOKEN);
    std::fs::write(folder.join("access.toml"), access).expect("written");
    let token = folder.join("honest.token");
    std::fs::write(&token, HONEST_TOKEN).expect("written");
    token
}

/// The command of a coordinator that may have so many descriptors open.
pub fn limited(descriptors: u32) -> Command {
    let this = this("coordinator");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
    command.arg(this.get_program()).args(this.get_args());
    command
}

impl Peer {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    async fn connect(&self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(ADDRESS, 0)).ok()?;
        timeout(PATIENCE, socket.connect(self.coordinator))
            .await
            .ok()?
            .ok()
    }

    /// A connection that speaks HTTP/2.
    async fn http(&self) -> Option<SendRequest<Bytes>> {
        let stream = self.connect().await?;
        let handshake = h2::client::handshake(stream);
        let (sender, connection) = timeout(PATIENCE, handshake).await.ok()?.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    /// A call that is open: what it sends, and what it will get.
    async fn call(&self, http: &SendRequest<Bytes>, method: &str) -> Option<Call> {
        let mut http = timeout(PATIENCE, http.clone().ready()).await.ok()?.ok()?;
        let request = http::Request::post(format!("http://coordinator/zkrollup.prover.v1.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match self.known {
            true => request.header("authorization", format!("Bearer {HOSTILE_TOKEN}")),
            false => request,
        };
        let request = request.body(()).expect("a request");
        let (answer, stream) = http.send_request(request, false).ok()?;
        Some(Call { answer, stream })
    }

    /// A session of a worker that was welcomed, or at least said hello.
    async fn session(&self, http: &SendRequest<Bytes>, name: &str) -> Option<Call> {
        let mut call = self.call(http, "WorkerService/Session").await?;
        call.worker(FromWorker::Hello(hello(name))).await?;
        Some(call)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// One call.
struct Call {
    answer: ResponseFuture,
    stream: h2::SendStream<Bytes>,
}

/// A message as gRPC frames it.
fn frame(bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(bytes.len() as u32);
    frame.put(bytes);
    frame.freeze()
}

impl Call {
    /// Sends bytes as fast as the coordinator takes them; none when the call is over or they are not taken.
    async fn send(&mut self, mut bytes: Bytes) -> Option<()> {
        let until = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|context| self.stream.poll_capacity(context));
            let capacity = timeout_at(until, capacity).await.ok()??.ok()?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.stream.send_data(part, false).ok()?;
        }
        Some(())
    }

    async fn worker(&mut self, message: FromWorker) -> Option<()> {
        let message = Some(message);
        let bytes = v1::SessionRequest { message }.encode_to_vec();
        self.send(frame(&bytes)).await
    }

    fn finish(&mut self) {
        // It may be over.
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    /// The body of the answer, which gives its window back as it is read.
    async fn body(self) -> Option<Body> {
        let answer = timeout(PATIENCE, self.answer).await.ok()?.ok()?;
        Some(Body {
            stream: answer.into_body(),
            bytes: BytesMut::new(),
            sender: self.stream,
        })
    }
}

/// The answers of a call.
struct Body {
    stream: h2::RecvStream,
    bytes: BytesMut,
    sender: h2::SendStream<Bytes>,
}

impl Body {
    async fn message<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.bytes.len() >= 5 {
                let length = u32::from_be_bytes(self.bytes[1..5].try_into().expect("four bytes")) as usize;
                if self.bytes.len() >= 5 + length {
                    let message = self.bytes.split_to(5 + length);
                    return M::decode(&message[5..]).ok();
                }
            }
            let data = timeout(PATIENCE, self.stream.data()).await.ok()??.ok()?;
            let _ = self.stream.flow_control().release_capacity(data.len());
            self.bytes.put(data);
        }
    }

    async fn worker(&mut self, message: FromWorker) -> Option<()> {
        let message = Some(message);
        let bytes = frame(&v1::SessionRequest { message }.encode_to_vec());
        self.sender.reserve_capacity(bytes.len());
        self.sender.send_data(bytes, false).ok()
    }

    /// Asks for a task and takes it.
    async fn lease(&mut self) -> Option<Leased> {
        use v1::session_response::Message as ToWorker;
        self.worker(FromWorker::LeaseRequest(v1::LeaseRequest { kinds: vec![] }))
            .await?;
        let mut leased: Option<Leased> = None;
        loop {
            match self.message::<v1::SessionResponse>().await?.message? {
                ToWorker::Task(task) => {
                    let payload = Vec::new();
                    leased = Some(Leased { task, payload });
                }
                ToWorker::TaskChunk(chunk) => leased.as_mut()?.payload.extend_from_slice(&chunk.data),
                _ => {}
            }
            if let Some(leased) = leased.take_if(|l| l.payload.len() as u64 >= l.task.payload_bytes) {
                return Some(leased);
            }
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
fn http_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A field of a header block, new to the peer's table if `kept`.
fn header_field(name: &str, value: &[u8], kept: bool) -> Vec<u8> {
    let mut field = vec![if kept { 0x40 } else { 0 }];
    for text in [name.as_bytes(), value] {
        // An integer with a prefix of seven bits.
        match text.len() {
            length @ 0..127 => field.push(length as u8),
            length => {
                field.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    field.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                field.push(rest as u8);
            }
        }
        field.extend(text);
    }
    field
}

/// Bytes that are no HTTP/2: none at all, noise, another protocol's beginning, half a preface.
async fn garbage_bytes(mut peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let count = peer.rng.gen_range(1..4_000);
        let bytes = match peer.rng.gen_range(0..5) {
            0 => peer.bytes(count),
            1 => b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            2 => [&b"\x16\x03\x01\x02\x00\x01"[..], &peer.bytes(512)].concat(),
            3 => PREFACE[..10].to_vec(),
            _ => [PREFACE, &peer.bytes(count)].concat(),
        };
        let _ = stream.write_all(&bytes).await;
        let _ = timeout(Duration::from_millis(50), stream.read(&mut [0; 1_000])).await;
    }
}

/// More connections than the coordinator may have, none of which says anything.
async fn silent_connections(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        if held.len() < 2 * DESCRIPTORS as usize {
            match peer.connect().await {
                Some(stream) => held.push(stream),
                None => sleep(Duration::from_millis(100)).await,
            }
        } else {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Calls that are reset as soon as they are open.
async fn streams_reset(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        while peer.goes_on() {
            let method = METHODS[peer.rng.gen_range(0..METHODS.len())];
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            call.stream.send_reset(h2::Reason::CANCEL);
        }
    }
}

/// SETTINGS, PING and WINDOW_UPDATE without end, whose answers are never read.
async fn frames_of_control(mut peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let settings = http_frame(SETTINGS, 0, 0, &[]);
        let ping = http_frame(PING, 0, 0, &[7; 8]);
        let window = http_frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        let _ = stream.write_all(&settings).await;
        while peer.goes_on() {
            let frames = [&settings, &ping, &window][peer.rng.gen_range(0..3)].repeat(200);
            if !matches!(timeout(PATIENCE, stream.write_all(&frames)).await, Ok(Ok(()))) {
                break;
            }
        }
    }
}

/// A header block that goes on in frame after frame.
async fn endless_headers(peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let _ = stream.write_all(&http_frame(SETTINGS, 0, 0, &[])).await;
        let _ = stream
            .write_all(&http_frame(HEADERS, 0, 1, &header_field("a", b"b", false)))
            .await;
        let field = header_field("x", &[b'y'; 8_000], false);
        while peer.goes_on() {
            let frame = http_frame(CONTINUATION, 0, 1, &field);
            if !matches!(timeout(PATIENCE, stream.write_all(&frame)).await, Ok(Ok(()))) {
                break;
            }
        }
    }
}

/// Calls with as many and as large headers as fit in a frame, that fill the table of known ones.
async fn large_headers(mut peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let _ = stream.write_all(&http_frame(SETTINGS, 0, 0, &[])).await;
        let mut id = 1;
        while peer.goes_on() && id < 2_000 {
            let mut block = [
                header_field(":method", b"POST", false),
                header_field(":scheme", b"http", false),
                header_field(":path", b"/zkrollup.prover.v1.ProverService/GetInfo", false),
                header_field(":authority", b"x", false),
            ]
            .concat();
            while block.len() < 15_000 {
                let name = format!("n{}", peer.rng.r#gen::<u32>());
                block.extend(header_field(&name, &[b'v'; 500], true));
            }
            let frame = http_frame(HEADERS, 4, id, &block);
            if !matches!(timeout(PATIENCE, stream.write_all(&frame)).await, Ok(Ok(()))) {
                break;
            }
            id += 2;
        }
    }
}

/// Every method with messages that are none, or were one before bytes of it were changed.
async fn malformed_messages(mut peer: Peer) {
    let batch = standin::sample().batch(standin::ROLLUP, 1, 3);
    let submission = crate::client::submission("hostile", &batch);
    let valid = [
        submission[0].encode_to_vec(),
        submission[1].encode_to_vec(),
        v1::GetBatchRequest {
            batch_id: "b1".into(),
        }
        .encode_to_vec(),
        v1::SessionRequest {
            message: Some(FromWorker::Hello(hello("hostile"))),
        }
        .encode_to_vec(),
        v1::SessionRequest {
            message: Some(FromWorker::Complete(v1::Complete {
                task_id: "b1-s0".into(),
                fence: 1,
                proof: vec![1; 100].into(),
                ..Default::default()
            })),
        }
        .encode_to_vec(),
    ];
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for method in METHODS {
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            for _ in 0..peer.rng.gen_range(1..4) {
                let mut message = valid[peer.rng.gen_range(0..valid.len())].clone();
                for _ in 0..peer.rng.gen_range(0..5) {
                    let at = peer.rng.gen_range(0..message.len());
                    message[at] = peer.rng.r#gen();
                }
                let count = peer.rng.gen_range(0..300);
                let bytes = match peer.rng.gen_range(0..4) {
                    0 => Bytes::from(peer.bytes(count)),
                    1 => frame(&peer.bytes(count)),
                    // A message that says that it is compressed.
                    2 => [&[1], &frame(&message)[1..]].concat().into(),
                    _ => frame(&message),
                };
                if call.send(bytes).await.is_none() {
                    break;
                }
            }
            call.finish();
            let _ = timeout(Duration::from_millis(100), call.answer).await;
        }
    }
}

/// Messages that claim to be large, of which most is sent and the end is not.
async fn lengths_that_lie(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        while peer.goes_on() {
            let method = METHODS[peer.rng.gen_range(0..METHODS.len())];
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            let claimed = [u32::MAX, 4 << 20, 3 << 20, 1 << 20][peer.rng.gen_range(0..4)];
            let mut bytes = BytesMut::new();
            bytes.put_u8(0);
            bytes.put_u32(claimed);
            bytes.put_bytes(0, (claimed.min(4 << 20) - 1) as usize);
            if call.send(bytes.freeze()).await.is_some() {
                held.push(call);
            }
        }
    }
}

/// Calls that are right, as fast as they go.
async fn valid_calls(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        while peer.goes_on() {
            let huge = "9".repeat(peer.rng.gen_range(1..100_000));
            let ids = ["b1".into(), "b99999".into(), huge, "b18446744073709551615".into()];
            let batch_id = ids[peer.rng.gen_range(0..ids.len())].clone();
            let (method, message) = match peer.rng.gen_range(0..4) {
                0 => ("ProverService/GetInfo", vec![]),
                1 => {
                    let page_size = peer.rng.gen_range(0..200);
                    let list = v1::ListBatchesRequest {
                        page_size,
                        ..Default::default()
                    };
                    ("ProverService/ListBatches", list.encode_to_vec())
                }
                2 => (
                    "ProverService/GetBatch",
                    v1::GetBatchRequest { batch_id }.encode_to_vec(),
                ),
                _ => (
                    "ProverService/GetProof",
                    v1::GetProofRequest { batch_id }.encode_to_vec(),
                ),
            };
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            if call.send(frame(&message)).await.is_none() {
                break;
            }
            call.finish();
            // Not waited for: the next one is on its way.
        }
    }
}

/// A thousand watches from one client, over several connections.
async fn many_watches(peer: Peer) {
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.extend(peer.http().await);
    }
    let watch = v1::WatchBatchRequest {
        batch_id: "b1".into(),
        after_revision: u64::MAX,
    };
    let mut held = Vec::new();
    while peer.goes_on() {
        for http in &connections {
            if held.len() < 1_000
                && let Some(mut call) = peer.call(http, "ProverService/WatchBatch").await
                && call.send(frame(&watch.encode_to_vec())).await.is_some()
            {
                call.finish();
                held.push(call);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Submissions that send a byte of their batch in each second.
async fn slow_submissions(peer: Peer) {
    let mut held = Vec::new();
    let Some(http) = peer.http().await else { return };
    for _ in 0..100 {
        let Some(mut call) = peer.call(&http, "ProverService/SubmitBatch").await else {
            break;
        };
        let header = v1::SubmitBatchHeader {
            request_id: "slow".into(),
            batch_number: 0,
            total_bytes: 1 << 20,
            sha256: vec![1; 32].into(),
        };
        let part = Some(v1::submit_batch_request::Part::Header(header));
        let _ = call
            .send(frame(&v1::SubmitBatchRequest { part }.encode_to_vec()))
            .await;
        held.push(call);
    }
    while peer.goes_on() {
        let part = Some(v1::submit_batch_request::Part::Chunk(vec![0].into()));
        let chunk = frame(&v1::SubmitBatchRequest { part }.encode_to_vec());
        for call in &mut held {
            let _ = call.stream.send_data(chunk.clone(), false);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Submissions of as many bytes as one may have, of which the last is never sent.
async fn unfinished_submissions(peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        for _ in 0..16 {
            let Some(mut call) = peer.call(&http, "ProverService/SubmitBatch").await else {
                break;
            };
            let header = v1::SubmitBatchHeader {
                request_id: "unfinished".into(),
                batch_number: 0,
                total_bytes: 32 << 20,
                sha256: vec![1; 32].into(),
            };
            let header = v1::submit_batch_request::Part::Header(header);
            let chunk = v1::submit_batch_request::Part::Chunk(vec![0; 1 << 20].into());
            for part in [header].into_iter().chain(std::iter::repeat_n(chunk, 31)) {
                let part = Some(part);
                let message = v1::SubmitBatchRequest { part }.encode_to_vec();
                if call.send(frame(&message)).await.is_none() {
                    break;
                }
            }
            held.push(call);
        }
    }
}

/// Sessions that never say hello, or nothing after it.
async fn silent_sessions(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for index in 0..200 {
            let call = match index % 2 {
                0 => peer.call(&http, "WorkerService/Session").await,
                _ => peer.session(&http, &format!("silent-{index}")).await,
            };
            held.extend(call);
        }
        sleep(Duration::from_millis(200)).await;
        held.truncate(1_000);
    }
}

/// Sessions that take tasks and do nothing with them.
async fn silent_leases(peer: Peer) {
    let mut held = Vec::new();
    let mut index = 0;
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for _ in 0..4 {
            index += 1;
            if let Some(call) = peer.session(&http, &format!("silent-lessee-{index}")).await
                && let Some(mut body) = call.body().await
            {
                let _ = body.lease().await;
                held.push(body);
            }
        }
        sleep(standin::LEASE).await;
        held.clear();
    }
}

/// Two thousand sessions of one name that all wait for a task.
async fn sessions_of_one_name(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for _ in 0..250 {
            let Some(mut call) = peer.session(&http, "worker-0").await else {
                break;
            };
            let request = v1::LeaseRequest {
                kinds: vec![v1::TaskKind::Aggregation.into()],
            };
            let _ = call.worker(FromWorker::LeaseRequest(request)).await;
            held.push(call);
        }
        sleep(Duration::from_millis(100)).await;
        held.truncate(2_000);
    }
}

/// A worker that hands in what it proved under other tasks' names and old fences, then fails its own task in every way.
async fn proofs_of_others(mut peer: Peer) {
    let mut index = 0;
    while peer.goes_on() {
        index += 1;
        let Some(http) = peer.http().await else { continue };
        let name = format!("mixing-{index}");
        let Some(call) = peer.session(&http, &name).await else {
            continue;
        };
        let Some(mut body) = call.body().await else {
            continue;
        };
        let Some(leased) = body.lease().await else {
            continue;
        };
        let right = leased.prove();
        for (batch, shard) in [(1, 0), (1, 1), (2, 0), (3, 0)] {
            let mixed = v1::Complete {
                task_id: format!("b{batch}-s{shard}"),
                fence: peer.rng.gen_range(0..3),
                ..right.clone()
            };
            let _ = body.worker(FromWorker::Complete(mixed)).await;
        }
        let class = peer.rng.gen_range(-1..8);
        let fail = v1::Fail {
            task_id: right.task_id,
            fence: right.fence,
            class,
            message: "x".repeat(900_000),
        };
        let _ = body.worker(FromWorker::Fail(fail)).await;
        while peer.goes_on() && body.message::<v1::SessionResponse>().await.is_some() {}
    }
}

/// A worker whose every proof is noise.
async fn proofs_of_garbage(mut peer: Peer) {
    let mut index = 0;
    while peer.goes_on() {
        index += 1;
        let Some(http) = peer.http().await else { continue };
        let name = format!("noisy-{}", index % 3);
        let Some(call) = peer.session(&http, &name).await else {
            continue;
        };
        let Some(mut body) = call.body().await else {
            continue;
        };
        while peer.goes_on()
            && let Some(leased) = body.lease().await
        {
            let count = peer.rng.gen_range(0..1 << 20);
            let noise = v1::Complete {
                proof: peer.bytes(count).into(),
                ..leased.prove()
            };
            if body.worker(FromWorker::Complete(noise)).await.is_none() {
                break;
            }
        }
    }
}

/// Names of tasks of many megabytes, which answers would repeat.
async fn names_that_are_long(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let Some(mut call) = peer.session(&http, "verbose").await else {
            continue;
        };
        let task_id = "t".repeat(peer.rng.gen_range(100..4_100_000));
        for _ in 0..100 {
            let complete = v1::Complete {
                task_id: task_id.clone(),
                ..Default::default()
            };
            if call.worker(FromWorker::Complete(complete)).await.is_none() {
                break;
            }
        }
    }
}

/// Renewals and progress of tasks that this worker does not have, as fast as they go.
async fn words_without_work(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let Some(mut call) = peer.session(&http, "busy").await else {
            continue;
        };
        while peer.goes_on() {
            let task_id = format!("b{}-s{}", peer.rng.gen_range(0..9), peer.rng.gen_range(0..3));
            let fence = peer.rng.gen_range(0..4);
            let message = match peer.rng.r#gen() {
                true => FromWorker::Renew(v1::Renew { task_id, fence }),
                false => FromWorker::Progress(v1::Progress {
                    task_id,
                    fence,
                    phase: "p".repeat(1_000),
                    fraction: f64::NAN,
                }),
            };
            if call.worker(message).await.is_none() {
                break;
            }
        }
    }
}

/// Sessions and lists whose answers are never read.
async fn answers_never_read(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        for index in 0..100 {
            let Some(mut call) = peer.session(&http, &format!("deaf-{index}")).await else {
                break;
            };
            for _ in 0..1_000 {
                let task_id = "x".repeat(128);
                let renew = v1::Renew {
                    task_id,
                    fence: peer.rng.r#gen(),
                };
                if call.worker(FromWorker::Renew(renew)).await.is_none() {
                    break;
                }
            }
            held.push(call);
            if !peer.goes_on() {
                break;
            }
        }
    }
}
