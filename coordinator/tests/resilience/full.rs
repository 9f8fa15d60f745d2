//! A coordinator whose disk is full, or that has no file descriptors left, while it serves: it refuses or waits, and goes on.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::time::sleep;

use crate::{
    client::{Clients, Judge},
    processes::{Folder, Programs, Service, this},
    standin,
    trace::{self, Calls, Fault, Plan},
};

/// How long batches are submitted for, and then until the fault has hit.
const LOAD: Duration = Duration::from_millis(1_500);
/// Longest time until all is proven.
const CALM_MAX: Duration = Duration::from_secs(180);
/// Workers of a service.
const WORKERS: usize = 2;
/// Batches open at once.
const OPEN_MAX: usize = 3;
/// Scenarios at once.
const AT_ONCE: usize = 4;
/// How the tracer's word begins of the first call that fails.
const HIT: &str = "the first call that fails: ";
/// A fault that lasts: longer than any scenario.
const FOREVER: u64 = u64::MAX;

/// A kind of fault while a coordinator serves.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    calls: Calls,
    errno: Errno,
    /// Calls that fail; the coordinator is killed in the end where they go on for ever.
    count: u64,
    /// Calls of this kind that a scenario makes at least, so that a fault among them hits.
    among: u64,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "full disk",
        calls: Calls::Growth,
        errno: Errno::ENOSPC,
        count: 6,
        among: 200,
    },
    Kind {
        name: "full disk, killed",
        calls: Calls::Growth,
        errno: Errno::ENOSPC,
        count: FOREVER,
        among: 200,
    },
    Kind {
        name: "failing disk",
        calls: Calls::Changes,
        errno: Errno::EIO,
        count: 4,
        among: 300,
    },
    Kind {
        name: "no descriptors",
        calls: Calls::Descriptors,
        errno: Errno::EMFILE,
        count: 12,
        among: 100,
    },
    Kind {
        name: "no descriptors, killed",
        calls: Calls::Descriptors,
        errno: Errno::EMFILE,
        count: FOREVER,
        among: 100,
    },
];

/// Disturbs coordinators at `points` calls of every kind.
///
/// # Panics
/// When a promise is broken, or a coordinator that served ends by itself.
pub async fn disturb(seed: u64, points: usize) {
    println!("coordinator under faults: seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let scenarios: Vec<(Kind, u64)> = KINDS
        .iter()
        .flat_map(|kind| (0..points).map(move |_| kind))
        .map(|kind| (*kind, rng.gen_range(1..=kind.among)))
        .collect();
    for group in scenarios.chunks(AT_ONCE) {
        let running: Vec<_> = group
            .iter()
            .map(|(kind, at)| tokio::spawn(scenario(*kind, *at, seed)))
            .collect();
        for scenario in running {
            scenario.await.expect("no promise is broken");
        }
    }
    for kind in KINDS {
        println!("  {}: {points} calls", kind.name);
    }
}

async fn scenario(kind: Kind, at: u64, seed: u64) {
    let folder = Folder::new();
    let plan = Plan {
        calls: kind.calls,
        at,
        fault: Fault::Fail(kind.errno, kind.count),
    };
    let mut service = Service::start(Programs::Traced(plan), folder.path(), WORKERS);
    let clients = Clients::new(&service.address, Judge::StandIn, standin::PRESET, OPEN_MAX);
    clients.start(seed ^ at);
    sleep(LOAD).await;
    let began = Instant::now();
    while !String::from_utf8_lossy(&service.coordinator.log()).contains(HIT) {
        assert!(
            began.elapsed() < CALM_MAX,
            "{} at {at}: there is no such call",
            kind.name
        );
        sleep(Duration::from_millis(20)).await;
    }
    supervise(&mut service, kind, at);
    if kind.count == FOREVER {
        // The tracer is killed, and the coordinator with it.
        service.coordinator.kill();
    }
    let calm = clients.end(CALM_MAX);
    tokio::pin!(calm);
    loop {
        tokio::select! {
            _ = &mut calm => break,
            () = sleep(Duration::from_millis(50)) => supervise(&mut service, kind, at),
        }
    }
}

/// Starts a coordinator again that could not start, or was killed. One that has served ends only by being told to.
fn supervise(service: &mut Service, kind: Kind, at: u64) {
    let Some(status) = service.coordinator.ended() else {
        return;
    };
    let log = service.log("coordinator");
    assert!(
        kind.count == FOREVER || !log.contains("coordinator serves"),
        "{} at {at}: the coordinator ended with {status}:\n{log}",
        kind.name
    );
    service.programs = Programs::StandIn;
    service.restart_coordinator();
}

/// The role of the tracer of a coordinator: its arguments are a plan's, then the coordinator's.
pub fn traced(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().expect("the plan, the address and the store");
    let calls = match next().as_str() {
        "changes" => Calls::Changes,
        "growth" => Calls::Growth,
        _ => Calls::Descriptors,
    };
    let mut number = || next().parse::<i64>().expect("a number");
    let (at, errno, count) = (number() as u64, Errno::from_raw(number() as i32), number() as u64);
    let fault = Fault::Fail(errno, count);
    let (address, store) = (next(), next());
    std::fs::create_dir_all(&store).expect("made");
    let mut coordinator = this("coordinator");
    coordinator.args([&address, &store]);
    let plan = Plan { calls, at, fault };
    let ended = trace::run_telling(&mut coordinator, Path::new(&store), plan, |hit| {
        println!("{HIT}{hit}")
    });
    println!("{} calls", ended.calls);
    std::process::exit(ended.code.unwrap_or(1));
}

/// The command of that role.
pub fn tracer(plan: Plan) -> Command {
    let Fault::Fail(errno, count) = plan.fault else {
        unreachable!("a coordinator is killed from outside")
    };
    let calls = match plan.calls {
        Calls::Changes => "changes",
        Calls::Growth => "growth",
        Calls::Descriptors => "descriptors",
    };
    let mut command = this("traced");
    command.arg(calls);
    command.args([plan.at as i64, i64::from(errno as i32), count as i64].map(|number| number.to_string()));
    command
}
