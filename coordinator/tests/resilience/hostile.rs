//! Peers that mean harm, among peers that do not: nothing they send stops honest work or makes the coordinator larger than it
//! says. They know the interface's definition and nothing else: bytes on TCP, frames of HTTP/2, messages of `proto/`.
//!
//! They come from another loopback address than the honest peers, as they would from another host.

mod clients;
mod peer;
mod workers;

use std::{process::Command, sync::Arc, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};

use self::{
    clients::*,
    peer::{PATIENCE, Peer},
    workers::*,
};
use crate::{
    client::{Clients, Judge},
    papers::{HOSTILE_TOKEN, Papers, Way},
    processes::{Folder, Programs, Service, this},
    standin,
};

/// Descriptors of the coordinator: what a process has where nobody changed it.
const DESCRIPTORS: u32 = 1_024;
/// Most memory of the coordinator: what ARCHITECTURE.md says that one caller can make it allocate, of connections and calls.
const MEMORY_KB_MAX: u64 = (340 + 2_337) << 10;
/// Most threads: tokio's, of which those that block are at most 512.
const THREADS_MAX: u64 = 600;
/// Codes of gRPC.
const OK: &str = "0";
const RESOURCE_EXHAUSTED: &str = "8";
const UNAUTHENTICATED: &str = "16";
/// Longest time until all honest work is done.
const CALM_MAX: Duration = Duration::from_secs(180);

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
    bombs,
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

/// Runs all attacks at once for a while, beside an honest sequencer, watchers and workers. Where callers must be known, the
/// hostile peers are too, as a sequencer, reader and worker of another tenant; except where they are nobody.
///
/// # Panics
/// When honest work stops, a promise is broken, or the coordinator grows past its bounds or ends; and when anything but health
/// is answered to nobody.
pub async fn run(seed: u64, lasting: Duration, only: Option<&str>, way: Way) {
    println!("hostile peers, {}: seed {seed}", way.name());
    let folder = Folder::new();
    let papers = Papers::write(folder.path(), way);
    let descriptors = DESCRIPTORS;
    let mut service = Service::start(Programs::Limited { descriptors, way }, folder.path(), 2);
    let connector = papers.connector(&service.address);
    let clients = Clients::of(&connector, Judge::StandIn, standin::PRESET, 3);
    clients.start(seed);
    // There is something to watch, and work for whoever asks. Where callers prove nothing, a name is whoever takes it first.
    while clients.history.acknowledged().is_empty() || !service.were_connected() {
        sleep(Duration::from_millis(20)).await;
    }
    let before = service.coordinator.status("VmHWM");
    let coordinator = service.address.parse().expect("an address");
    let peer = |index: u64, until: Instant| Peer {
        coordinator,
        until,
        tls: papers.hostile_tls().map(Arc::new),
        token: way.has_tokens().then_some(HOSTILE_TOKEN),
        rng: ChaCha20Rng::seed_from_u64(seed ^ index),
    };
    let (mut threads, mut descriptors) = (0, 0);
    let mut proven = clients.proven();
    let began = Instant::now();
    loop {
        let until = Instant::now() + lasting;
        let peers = attack(|index| peer(index, until), only);
        let most = watch(peers, &mut service).await;
        (threads, descriptors) = (threads.max(most.0), descriptors.max(most.1));
        // Once more where the machine is so slow that nothing honest came to its end.
        if clients.proven() > proven {
            break;
        }
        assert!(began.elapsed() < CALM_MAX, "no honest work was done meanwhile");
    }
    let nobody = (way == Way::TlsNobody).then(|| peer(0, Instant::now()));
    let meanwhile = clients.proven() - proven;
    proven = clients.end(CALM_MAX).await;
    if let Some(nobody) = nobody {
        only_health_is_answered(&nobody).await;
    }
    service.assert_alive();
    let memory = service.coordinator.status("VmHWM");
    println!(
        "  {meanwhile} honest batches proven meanwhile, {proven} in all; memory {before} kB before, {memory} kB at most; \
         {threads} threads, {descriptors} descriptors"
    );
    assert!(memory < MEMORY_KB_MAX, "{memory} kB");
    assert!(threads < THREADS_MAX, "{threads} threads");
    let log = std::fs::metadata(folder.path().join("coordinator.log"))
        .expect("a log")
        .len();
    println!("  {log} bytes of log");
    service.coordinator.terminate();
}

/// Begins all attacks at once.
fn attack(peer: impl Fn(u64) -> Peer, only: Option<&str>) -> JoinSet<Result<(), Elapsed>> {
    let mut peers = JoinSet::new();
    for (index, (name, attack)) in (0..).zip(ATTACKS) {
        if only.is_none_or(|only| name.contains(only)) {
            let peer = peer(index);
            peers.spawn(timeout_at(peer.until + PATIENCE, attack(peer)));
        }
    }
    peers
}

/// Waits for the end of attacks, and tells the most threads and descriptors that the coordinator had.
async fn watch(mut peers: JoinSet<Result<(), Elapsed>>, service: &mut Service) -> (u64, usize) {
    let (mut threads, mut descriptors) = (0, 0);
    while !peers.is_empty() {
        if let Ok(Some(ended)) = timeout(Duration::from_millis(100), peers.join_next()).await {
            // Whichever still waits for something is left.
            let _ = ended.expect("no hostile peer panics");
        }
        service.assert_alive();
        threads = threads.max(service.coordinator.status("Threads"));
        descriptors = descriptors.max(service.coordinator.descriptors());
    }
    (threads, descriptors)
}

/// Asserts that every method is refused to a peer that is nobody, and health alone is not.
async fn only_health_is_answered(peer: &Peer) {
    let methods = METHODS.map(|method| format!("zkrollup.prover.v1.{method}"));
    let methods = methods.into_iter().map(|method| (method, UNAUTHENTICATED));
    for (method, expected) in methods.chain([("grpc.health.v1.Health/Check".into(), OK)]) {
        // What it did before may have used up what its address may do for a moment.
        let code = timeout(CALM_MAX, async {
            loop {
                let code = async {
                    let http = peer.http().await?;
                    let mut call = peer.call_any(&http, &method).await?;
                    call.send(peer::frame(&[])).await?;
                    call.status().await
                };
                match code.await {
                    Some(code) if code != RESOURCE_EXHAUSTED => return code,
                    _ => sleep(Duration::from_millis(100)).await,
                }
            }
        });
        let code = code.await.unwrap_or_else(|_| panic!("{method} is not answered"));
        assert_eq!(code, expected, "{method}");
    }
}

/// The command of a coordinator that may have so many descriptors open.
pub fn limited(descriptors: u32) -> Command {
    let this = this("coordinator");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
    command.arg(this.get_program()).args(this.get_args());
    command
}
