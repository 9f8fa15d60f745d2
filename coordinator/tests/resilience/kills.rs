//! The kill loop: a service at work, and processes of it that are killed, stopped and told to end, at random.

use std::{sync::Arc, time::Duration};

use circuits::preset::{Preset, TINY};
use nix::sys::signal::Signal;
use prover::fixtures;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::time::sleep;

use crate::{
    client::{Clients, Judge},
    lessee,
    processes::{Folder, Programs, Service},
    standin,
};

/// How a loop goes.
pub struct Plan {
    pub programs: Programs,
    pub seed: u64,
    /// Processes that are killed.
    pub rounds: u32,
    /// Workers of the service.
    pub workers: usize,
    /// Batches that may be open at once.
    pub open_max: usize,
    /// Longest time between two kills.
    pub between_max: Duration,
    /// How long the service is stopped for when it is: longer than a lease.
    pub stopped: Duration,
    /// Kills until all must be proven.
    pub rounds_until_calm: u32,
    /// Longest time until all is proven.
    pub calm_max: Duration,
    /// How long a coordinator leads after its last word, where there are several.
    pub leader_lease: Duration,
    /// Longest time for which the bucket has a fault, where there is one.
    pub away_max: Duration,
}

/// Says how a loop is repeated, where it ends in a panic.
pub struct Repeat(String);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat it: {}", self.0);
        }
    }
}

impl Plan {
    /// What proofs are held against, and the circuits' sizes.
    pub async fn judge(&self) -> (Judge, Preset) {
        match self.programs {
            Programs::Released(_) => {
                let keys = tokio::task::spawn_blocking(|| fixtures::keys(TINY)).await;
                let keys = keys.expect("no panic").expect("keys");
                (Judge::Keys(keys.verifying_keys().clone()), TINY)
            }
            _ => (Judge::StandIn, standin::PRESET),
        }
    }

    /// How this loop of that name is repeated.
    pub fn repeat(&self, name: &str) -> Repeat {
        let program = match &self.programs {
            Programs::Released(program) => format!(" --program {}", program.display()),
            _ => String::new(),
        };
        Repeat(format!(
            "cargo test --release -p coordinator --test resilience -- {name} --rounds {} --seed {}{program}",
            self.rounds, self.seed
        ))
    }
}

/// What a loop did.
#[derive(Debug, Default)]
struct Tally {
    coordinators: u32,
    workers: u32,
    provers: u32,
    terminations: u32,
    stops: u32,
}

/// Runs a loop.
///
/// # Panics
/// When a promise is broken.
pub async fn run(plan: Plan) {
    println!("kill loop: seed {}, {} rounds", plan.seed, plan.rounds);
    let _repeat = plan.repeat("kills");
    let folder = Folder::new();
    let (judge, preset) = plan.judge().await;
    let mut service = Service::start(plan.programs.clone(), folder.path(), plan.workers);
    let clients = Clients::new(&service.address, judge, preset, plan.open_max);
    clients.start(plan.seed);
    if let Programs::StandIn = plan.programs {
        tokio::spawn(lessee::run(
            service.address.clone(),
            Arc::clone(&clients),
            plan.seed,
        ));
    }
    let mut rng = ChaCha20Rng::seed_from_u64(plan.seed);
    let mut tally = Tally::default();
    for round in 1..=plan.rounds {
        sleep(plan.between_max.mul_f64(rng.r#gen())).await;
        service.assert_alive();
        disturb(&plan, &mut service, &mut rng, &mut tally).await;
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
    let batches = clients.end(plan.calm_max).await;
    assert!(batches > 0, "no batch was proven");
    println!("  {batches} batches, each proven once; {tally:?}");
    for worker in &mut service.workers {
        worker.terminate();
    }
    service.coordinator.terminate();
}

/// Kills one process, and sometimes stops or ends one before.
async fn disturb(plan: &Plan, service: &mut Service, rng: &mut ChaCha20Rng, tally: &mut Tally) {
    let worker = rng.gen_range(0..service.workers.len());
    match rng.gen_range(0..40) {
        0 => {
            let stopped = match rng.r#gen() {
                true => &service.coordinator,
                false => &service.workers[worker],
            };
            stopped.send(Signal::SIGSTOP);
            sleep(plan.stopped).await;
            stopped.send(Signal::SIGCONT);
            tally.stops += 1;
        }
        1 => {
            service.coordinator.terminate();
            service.restart_coordinator();
            tally.terminations += 1;
        }
        2 => {
            // It ends when it has delivered, which needs the coordinator: that is running.
            service.workers[worker].terminate();
            service.restart_worker(worker);
            tally.terminations += 1;
        }
        _ => {}
    }
    match rng.gen_range(0..10) {
        0..5 => {
            service.coordinator.kill();
            tally.coordinators += 1;
            // Not always at once.
            sleep(plan.between_max.mul_f64(rng.r#gen::<f64>() / 4.0)).await;
            service.restart_coordinator();
        }
        5..9 => {
            service.workers[worker].kill();
            service.restart_worker(worker);
            tally.workers += 1;
        }
        _ => {
            // A worker that is just beginning has none yet.
            service.workers[worker].kill_child();
            tally.provers += 1;
        }
    }
}
