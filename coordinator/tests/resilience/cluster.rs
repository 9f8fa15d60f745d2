//! Three coordinators that share a PostgreSQL database and a bucket, and everything that they stand on killed, stopped, cut, full, slow and
//! away at random. Each fault that the loop makes it also sees: in the server that has it, or in what the coordinators say.

mod faults;
mod late;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use pgserver::PgServer;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use s3server::S3Server;
use tokio::time::sleep;

use crate::{
    client::Clients,
    kills::Plan,
    lessee,
    processes::{self, Folder, Process, Programs, free_address, tail},
};

/// Coordinators of the service.
const COORDINATORS: usize = 3;
/// Longest time until one leads after the one that did is dead, where others stand by: what is promised.
const TAKE_OVER_MAX: Duration = Duration::from_secs(10);
/// Longest time until one leads where all may be starting, with keys to read; and until somebody meets a fault.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Where the artifacts are in the bucket.
const PREFIX: &str = "cluster";
/// The database's disk.
const DISK_BYTES: u64 = 192 << 20;

/// How often a loop did what, and how long that took in all.
type Tally = BTreeMap<String, (u32, Duration)>;

struct Cluster<'a> {
    programs: Programs,
    folder: &'a Path,
    server: PgServer,
    /// Whether the server's disk can be full.
    has_disk: bool,
    bucket: S3Server,
    url: String,
    addresses: Vec<String>,
    coordinators: Vec<Process>,
    workers: Vec<Process>,
    tally: Tally,
    /// Since when it does what it tallies next.
    doing_since: Instant,
}

impl<'a> Cluster<'a> {
    fn start(plan: &Plan, folder: &'a Path) -> Self {
        let (server, has_disk) = match PgServer::start_on_small_disk(DISK_BYTES) {
            Ok(server) => (server, true),
            Err(why) => {
                println!(
                    "  SKIPPED: PostgreSQL's disk is never full, since it can have none of its own here ({why})"
                );
                (PgServer::start(), false)
            }
        };
        let mut cluster = Self {
            programs: plan.programs.clone(),
            folder,
            url: server.database(),
            server,
            has_disk,
            bucket: S3Server::start(),
            addresses: (0..COORDINATORS).map(|_| free_address()).collect(),
            coordinators: Vec::new(),
            workers: Vec::new(),
            tally: Tally::new(),
            doing_since: Instant::now(),
        };
        cluster.coordinators = (0..COORDINATORS)
            .map(|which| cluster.coordinator(which))
            .collect();
        cluster.workers = (0..plan.workers).map(|which| cluster.worker(which)).collect();
        cluster
    }

    fn coordinator(&self, which: usize) -> Process {
        let bucket = self.bucket.url(PREFIX);
        let mut command = processes::member(
            &self.programs,
            self.folder,
            &self.addresses[which],
            &self.url,
            &bucket,
        );
        command.envs(self.bucket.variables());
        Process::spawn(command, self.folder, &format!("coordinator-{which}"))
    }

    fn worker(&self, which: usize) -> Process {
        processes::worker(&self.programs, self.folder, &self.addresses.join(","), which)
    }

    fn did(&mut self, what: &str) {
        let (times, lasted) = self.tally.entry(what.to_owned()).or_default();
        *times += 1;
        *lasted += self.doing_since.elapsed();
        self.doing_since = Instant::now();
    }

    /// Kills a coordinator, and starts it again after a pause.
    async fn kill(&mut self, which: usize, pause: Duration) {
        self.coordinators[which].kill();
        sleep(pause).await;
        self.coordinators[which] = self.coordinator(which);
    }

    /// Asserts that no process has ended by itself. A coordinator that could not begin, since what it stands on was away for too long, has
    /// said so, and is started again as whatever runs it would.
    fn supervise(&mut self) {
        for which in 0..COORDINATORS {
            let Some(status) = self.coordinators[which].ended() else {
                continue;
            };
            let said = self.coordinators[which].said();
            let last = said.lines().last().unwrap_or_default();
            let waited = ["postgres://", "s3://"].iter().any(|away| last.contains(away));
            assert!(
                waited && !said.contains("coordinator serves"),
                "coordinator-{which} ended by itself: {status}\n{}",
                tail(&self.folder.join(format!("coordinator-{which}.log")))
            );
            self.coordinators[which] = self.coordinator(which);
            self.did("a coordinator that gave up its start");
        }
        for worker in &mut self.workers {
            if let Some(status) = worker.ended() {
                let log = tail(&self.folder.join(format!("{}.log", worker.name())));
                panic!("{} ended by itself: {status}\n{log}", worker.name());
            }
        }
    }

    /// Waits until the database is one of coordinators, of which one leads.
    async fn begun(&mut self) {
        let made = "SELECT to_regclass('zkrollup_prover.leadership') IS NOT NULL";
        let began = Instant::now();
        while self.server.sql("test0", made) != "t" {
            self.supervise();
            assert!(began.elapsed() < WAIT_MAX, "there are no tables");
            sleep(Duration::from_millis(50)).await;
        }
        self.led_by_another(None).await;
    }

    /// Who leads, by what the database says.
    fn leader(&self) -> Option<usize> {
        let url = self.server.sql(
            "test0",
            "SELECT url FROM zkrollup_prover.leadership WHERE until > clock_timestamp()",
        );
        self.addresses.iter().position(|address| url.ends_with(address))
    }

    /// Waits until one leads that is another than this one.
    async fn led_by_another(&mut self, than: Option<usize>) -> usize {
        let began = Instant::now();
        loop {
            match self.leader() {
                Some(leader) if than != Some(leader) => return leader,
                _ => assert!(began.elapsed() < WAIT_MAX, "nobody leads"),
            }
            self.supervise();
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WAIT_MAX, "{what}: not within {WAIT_MAX:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a loop.
///
/// # Panics
/// When a promise is broken.
pub async fn run(plan: Plan) {
    println!("cluster: seed {}, {} rounds", plan.seed, plan.rounds);
    let _repeat = plan.repeat("cluster");
    let folder = Folder::new();
    let (judge, preset) = plan.judge().await;
    let mut cluster = Cluster::start(&plan, folder.path());
    let clients = Clients::new(&cluster.addresses.join(","), judge, preset, plan.open_max);
    clients.start(plan.seed);
    if let Programs::StandIn = plan.programs {
        let clients = clients.clone();
        tokio::spawn(lessee::run(cluster.addresses.join(","), clients, plan.seed));
    }
    let mut rng = ChaCha20Rng::seed_from_u64(plan.seed);
    cluster.begun().await;
    late::prepare(&cluster);
    cluster.did("starts");
    for round in 1..=plan.rounds {
        sleep(plan.between_max.mul_f64(rng.r#gen())).await;
        cluster.supervise();
        cluster.did("rounds");
        faults::at_random(&plan, &mut cluster, &mut rng).await;
        if round % plan.rounds_until_calm == 0 {
            calm(&plan, &mut cluster, &clients).await;
            if plan.rounds > 100 {
                println!(
                    "  {round} rounds, {} batches",
                    clients.history.acknowledged().len()
                );
            }
        }
    }
    faults::each_once(&plan, &mut cluster).await;
    calm(&plan, &mut cluster, &clients).await;
    take_over(&mut cluster).await;
    let batches = clients.end(plan.calm_max).await;
    assert!(batches > 0, "no batch was proven");
    late::check_kinds(&plan, &cluster.tally);
    let terms = cluster
        .server
        .sql("test0", "SELECT term FROM zkrollup_prover.leadership");
    println!("  {batches} batches, each proven once, in {terms} terms");
    for (what, (times, lasted)) in &cluster.tally {
        println!("  {times:5} {what}, {:.1} s", lasted.as_secs_f64());
    }
    for process in cluster.workers.iter_mut().chain(&mut cluster.coordinators) {
        process.terminate();
    }
}

/// Lets everything that was acknowledged be proven.
async fn calm(plan: &Plan, cluster: &mut Cluster<'_>, clients: &Clients) {
    let calm = clients.calm(plan.calm_max);
    tokio::pin!(calm);
    loop {
        tokio::select! {
            () = &mut calm => break,
            () = sleep(Duration::from_millis(200)) => cluster.supervise(),
        }
    }
    cluster.did("calms");
}

/// Kills the leader and measures how long nobody leads.
async fn take_over(cluster: &mut Cluster<'_>) {
    let leader = cluster.led_by_another(None).await;
    cluster.coordinators[leader].kill();
    let killed = Instant::now();
    while cluster.leader().is_none_or(|leads| leads == leader) {
        assert!(killed.elapsed() < TAKE_OVER_MAX, "nobody leads");
        sleep(Duration::from_millis(20)).await;
    }
    println!(
        "  taken over {} ms after the leader was killed",
        killed.elapsed().as_millis()
    );
    cluster.coordinators[leader] = cluster.coordinator(leader);
}
