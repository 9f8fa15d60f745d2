//! Three coordinators that share a PostgreSQL database, and everything that they stand on killed, stopped and cut at random.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use circuits::preset::TINY;
use nix::sys::signal::Signal;
use pgserver::PgServer;
use prover::fixtures;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::time::sleep;

use crate::{
    client::{Clients, Judge},
    kills::Plan,
    processes::{self, Process, Programs, free_address, tail},
    standin,
};

/// Coordinators of the service.
const COORDINATORS: usize = 3;
/// Longest time until one leads after the one that did is dead: the lease, a look, and a busy machine.
const TAKE_OVER_MAX: Duration = Duration::from_secs(10);

/// What a loop did.
#[derive(Debug, Default)]
struct Tally {
    coordinators: u32,
    stops: u32,
    terminations: u32,
    workers: u32,
    cuts: u32,
    databases: u32,
}

struct Cluster<'a> {
    programs: Programs,
    folder: &'a Path,
    server: PgServer,
    url: String,
    addresses: Vec<String>,
    coordinators: Vec<Process>,
    workers: Vec<Process>,
}

impl Cluster<'_> {
    fn coordinator(&self, which: usize) -> Process {
        let command = processes::member(&self.programs, self.folder, &self.addresses[which], &self.url);
        Process::spawn(command, self.folder, &format!("coordinator-{which}"))
    }

    fn worker(&self, which: usize) -> Process {
        processes::worker(&self.programs, self.folder, &self.addresses.join(","), which)
    }

    fn assert_alive(&mut self) {
        for process in self.coordinators.iter_mut().chain(&mut self.workers) {
            if let Some(status) = process.ended() {
                let log = tail(&self.folder.join(format!("{}.log", process.name())));
                panic!("{} ended by itself: {status}\n{log}", process.name());
            }
        }
    }

    /// Who leads, by what the database says.
    fn leader(&self) -> Option<usize> {
        let url = self.server.sql(
            "test0",
            "SELECT url FROM zkrollup_prover.leadership WHERE until > clock_timestamp()",
        );
        self.addresses.iter().position(|address| url.ends_with(address))
    }
}

/// Runs a loop.
///
/// # Panics
/// When a promise is broken.
pub async fn run(plan: Plan) {
    println!("cluster: seed {}, {} rounds", plan.seed, plan.rounds);
    let folder = tempfile::tempdir().expect("a folder");
    let (judge, preset) = match plan.programs {
        Programs::Released(_) => {
            let keys = tokio::task::spawn_blocking(|| fixtures::keys(TINY)).await;
            let keys = keys.expect("no panic").expect("keys");
            (Judge::Keys(keys.verifying_keys().clone()), TINY)
        }
        _ => (Judge::StandIn, standin::PRESET),
    };
    let server = PgServer::start();
    let mut cluster = Cluster {
        programs: plan.programs.clone(),
        folder: folder.path(),
        url: server.database(),
        server,
        addresses: (0..COORDINATORS).map(|_| free_address()).collect(),
        coordinators: Vec::new(),
        workers: Vec::new(),
    };
    cluster.coordinators = (0..COORDINATORS)
        .map(|which| cluster.coordinator(which))
        .collect();
    cluster.workers = (0..plan.workers).map(|which| cluster.worker(which)).collect();
    let clients = Clients::new(&cluster.addresses.join(","), judge, preset, plan.open_max);
    clients.start(plan.seed);
    let mut rng = ChaCha20Rng::seed_from_u64(plan.seed);
    let mut tally = Tally::default();
    for round in 1..=plan.rounds {
        sleep(plan.between_max.mul_f64(rng.r#gen())).await;
        cluster.assert_alive();
        disturb(&plan, &mut cluster, &mut rng, &mut tally).await;
        if round % plan.rounds_until_calm == 0 {
            clients.calm(plan.calm_max).await;
            if plan.rounds > 100 {
                println!(
                    "  {round} rounds, {} batches",
                    clients.history.acknowledged().len()
                );
            }
        }
    }
    clients.calm(plan.calm_max).await;
    take_over(&mut cluster).await;
    let batches = clients.end(plan.calm_max).await;
    assert!(batches > 0, "no batch was proven");
    let terms = cluster
        .server
        .sql("test0", "SELECT term FROM zkrollup_prover.leadership");
    println!("  {batches} batches, each proven once, in {terms} terms; {tally:?}");
    for process in cluster.workers.iter_mut().chain(&mut cluster.coordinators) {
        process.terminate();
    }
}

/// Kills the leader and measures how long nobody leads.
async fn take_over(cluster: &mut Cluster<'_>) {
    let began = Instant::now();
    let leader = loop {
        if let Some(leader) = cluster.leader() {
            break leader;
        }
        assert!(began.elapsed() < TAKE_OVER_MAX, "nobody leads");
        sleep(Duration::from_millis(20)).await;
    };
    cluster.coordinators[leader].kill();
    let killed = Instant::now();
    while cluster.leader().is_none_or(|now| now == leader) {
        assert!(killed.elapsed() < TAKE_OVER_MAX, "nobody takes over");
        sleep(Duration::from_millis(20)).await;
    }
    println!(
        "  taken over {} ms after the leader was killed",
        killed.elapsed().as_millis()
    );
    cluster.coordinators[leader] = cluster.coordinator(leader);
}

async fn disturb(plan: &Plan, cluster: &mut Cluster<'_>, rng: &mut ChaCha20Rng, tally: &mut Tally) {
    let which = rng.gen_range(0..COORDINATORS);
    let worker = rng.gen_range(0..cluster.workers.len());
    let pause = plan.between_max.mul_f64(rng.r#gen());
    match rng.gen_range(0..20) {
        0..8 => {
            cluster.coordinators[which].kill();
            sleep(pause).await;
            cluster.coordinators[which] = cluster.coordinator(which);
            tally.coordinators += 1;
        }
        8..10 => {
            // It is deposed meanwhile, if it led, wherever it was.
            cluster.coordinators[which].send(Signal::SIGSTOP);
            sleep(standin::LEADER_LEASE * 2 + pause).await;
            cluster.coordinators[which].send(Signal::SIGCONT);
            tally.stops += 1;
        }
        10 => {
            // The database may have refused its last step just now.
            cluster.coordinators[which].terminate_unless(Some("the coordinator ends error=postgres://"));
            cluster.coordinators[which] = cluster.coordinator(which);
            tally.terminations += 1;
        }
        11..15 => {
            cluster.workers[worker].kill();
            cluster.workers[worker] = cluster.worker(worker);
            tally.workers += 1;
        }
        15..18 => {
            cluster.server.cut();
            tally.cuts += 1;
        }
        _ => {
            cluster.server.kill();
            sleep(pause).await;
            cluster.server.restart();
            tally.databases += 1;
        }
    }
}
