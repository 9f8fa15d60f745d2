//! The faults of a cluster: at random, and each of them once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use s3server::Fault;
use tokio::time::sleep;

use super::{
    COORDINATORS, Cluster,
    late::{self, Moment},
    until,
};
use crate::kills::Plan;

/// How long a full disk may have room for those who write little.
const ROOM_MAX: Duration = Duration::from_secs(10);
/// Tries until a commit has come late.
const LATE_TRIES: usize = 10;

/// What is wrong with the bucket.
#[derive(Debug, Clone, Copy)]
enum Bucket {
    Away,
    Wrong(Fault),
}

const BUCKET: [Bucket; 5] = [
    Bucket::Away,
    Bucket::Wrong(Fault::Status(503)),
    Bucket::Wrong(Fault::Slow(Duration::from_millis(300))),
    Bucket::Wrong(Fault::Hangs),
    Bucket::Wrong(Fault::CutShort),
];

/// One fault, and the end of it.
pub(super) async fn at_random(plan: &Plan, cluster: &mut Cluster<'_>, rng: &mut ChaCha20Rng) {
    let which = rng.gen_range(0..COORDINATORS);
    let worker = rng.gen_range(0..cluster.workers.len());
    let pause = plan.between_max.mul_f64(rng.r#gen());
    match rng.gen_range(0..30) {
        0..8 => {
            cluster.kill(which, pause).await;
            cluster.did("coordinators killed");
        }
        8..10 => {
            // It is deposed meanwhile, if it led, wherever it was.
            cluster.coordinators[which].send(Signal::SIGSTOP);
            sleep(plan.leader_lease * 2 + pause).await;
            cluster.coordinators[which].send(Signal::SIGCONT);
            cluster.did("coordinators stopped");
        }
        10 => {
            // What it stands on may have refused its last step just now.
            cluster.coordinators[which].terminate_unless(&["postgres://", "s3://"]);
            cluster.coordinators[which] = cluster.coordinator(which);
            cluster.did("coordinators ended");
        }
        11..15 => {
            cluster.workers[worker].kill();
            cluster.workers[worker] = cluster.worker(worker);
            cluster.did("workers killed");
        }
        15..17 => {
            cluster.server.cut();
            cluster.did("connections cut");
        }
        17..19 => {
            cluster.server.kill();
            sleep(pause).await;
            cluster.server.restart();
            cluster.did("databases killed");
        }
        19..25 => {
            let fault = BUCKET[rng.gen_range(0..BUCKET.len())];
            let longest = match rng.gen_range(0..8) {
                0 => plan.away_max,
                _ => plan.between_max * 4,
            };
            let lasting = longest.mul_f64(rng.r#gen());
            let killed = rng.r#gen::<bool>().then_some(which);
            bucket(cluster, fault, lasting, killed).await;
        }
        25..27 => full(cluster, pause).await,
        _ => {
            let moment = Moment::ALL[rng.gen_range(0..Moment::ALL.len())];
            if !late::commit(plan, cluster, moment).await {
                cluster.did("commits that were not late, or never came");
            }
        }
    }
}

/// Every fault that chance may have left out.
pub(super) async fn each_once(plan: &Plan, cluster: &mut Cluster<'_>) {
    for moment in Moment::ALL {
        let mut tries = 1;
        cluster.supervise();
        while !late::commit(plan, cluster, moment).await {
            cluster.did("commits that were not late, or never came");
            assert!(tries < LATE_TRIES, "{moment:?}: no commit came late");
            tries += 1;
        }
    }
    for fault in BUCKET {
        cluster.supervise();
        bucket(cluster, fault, Duration::ZERO, None).await;
    }
    cluster.supervise();
    full(cluster, Duration::ZERO).await;
}

/// The bucket has a fault for so long, and for as long as nobody has met it. A coordinator may be killed meanwhile: whoever leads then
/// begins with a bucket that does not serve.
async fn bucket(cluster: &mut Cluster<'_>, fault: Bucket, lasting: Duration, killed: Option<usize>) {
    let (met, marks) = (cluster.bucket.met(), cluster.marks());
    match fault {
        Bucket::Away => cluster.bucket.go_away(),
        Bucket::Wrong(fault) => cluster.bucket.set(fault),
    }
    sleep(lasting / 2).await;
    if let Some(which) = killed {
        cluster.kill(which, Duration::ZERO).await;
        cluster.did("coordinators killed while the bucket has a fault");
    }
    sleep(lasting / 2).await;
    let what = format!("the bucket: {fault:?}");
    match fault {
        Bucket::Away => {
            let refused = |line: &str| line.contains("s3://") && line.contains("Connection refused");
            until(&what, || cluster.any_said(&marks, refused)).await;
            cluster.bucket.come_back();
        }
        Bucket::Wrong(_) => {
            until(&what, || cluster.bucket.met() > met).await;
            cluster.bucket.set(Fault::None);
        }
    }
    if lasting > Duration::from_secs(30) {
        cluster.did("the bucket: something for more than 30 s");
    }
    cluster.did(&what);
}

/// The database's disk is full until the server says so, and for so long after.
async fn full(cluster: &mut Cluster<'_>, lasting: Duration) {
    if !cluster.has_disk {
        cluster.did("SKIPPED: the database's disk is full");
        return;
    }
    let said = |cluster: &Cluster<'_>| cluster.server.logged().matches("No space left on device").count();
    let before = said(cluster);
    cluster.server.fill_disk();
    let began = Instant::now();
    until("the full disk", || {
        if began.elapsed() > ROOM_MAX {
            cluster.server.use_up_log();
        }
        said(cluster) > before
    })
    .await;
    sleep(lasting).await;
    if cluster.server.make_room() {
        cluster.did("the database's disk is full: its server ended");
    }
    cluster.did("the database's disk is full");
}

impl Cluster<'_> {
    /// How much each coordinator has logged.
    fn marks(&self) -> Vec<usize> {
        self.coordinators
            .iter()
            .map(|process| process.log().len())
            .collect()
    }

    /// Whether one has logged such a line since.
    fn any_said(&self, marks: &[usize], is_such: impl Fn(&str) -> bool) -> bool {
        let since = self.coordinators.iter().zip(marks);
        let mut said = since.map(|(process, mark)| process.log().split_off(*mark));
        said.any(|said| String::from_utf8_lossy(&said).lines().any(&is_such))
    }
}
