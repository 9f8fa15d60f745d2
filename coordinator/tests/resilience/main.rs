//! The coordinator and its workers as processes, on machines that fail: killed at any moment, stopped, without room or
//! descriptors, among peers that mean harm. What they promise is checked over the history of what clients saw.
//!
//! This program is also each of the processes: its first argument is then a role. Proving has a stand-in (`standin`), except
//! with `--program`, which runs the released binary.
//!
//! ```sh
//! cargo test --release -p coordinator --test resilience -- kills --rounds 1000 --seed 7
//! cargo test --release -p coordinator --test resilience -- kills --rounds 20 --program target/release/rollup-prover
//! cargo test --release -p coordinator --test resilience -- cluster --rounds 1000 --seed 7
//! cargo test --release -p coordinator --test resilience -- cluster --rounds 20 --program target/release/rollup-prover
//! cargo test --release -p coordinator --test resilience -- store later full --every
//! cargo test --release -p coordinator --test resilience -- hostile --seconds 300
//! ```

mod client;
mod cluster;
mod full;
mod history;
mod hostile;
mod kills;
mod later;
mod lessee;
mod papers;
mod processes;
mod standin;
mod store;
mod trace;

use std::{path::Path, process::exit, time::Duration};

use papers::{Papers, Way};
use processes::Programs;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    let role = first.as_deref().unwrap_or_default();
    if ["coordinator", "member", "worker", "prover"].contains(&role) {
        tracing_subscriber::fmt()
            .with_env_filter("info")
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let mut next = || arguments.next().expect("a role has arguments");
    match role {
        "coordinator" => {
            let (address, store) = (next(), next());
            let papers = papers(arguments);
            let address = address.parse().expect("an address");
            // Where it is traced, the tracer is ready by then.
            std::io::stdin().read_line(&mut String::new()).expect("readable");
            if let Err(error) = standin::coordinator(address, Path::new(&store), papers.as_ref()) {
                tracing::error!(%error, "the coordinator ends");
                exit(1);
            }
        }
        "member" => {
            let (address, store, url, artifacts) = (next(), next(), next(), next());
            let address = address.parse().expect("an address");
            let artifacts = artifacts.parse().expect("a place");
            if let Err(error) = standin::member(address, Path::new(&store), &url, artifacts) {
                tracing::error!(%error, "the coordinator ends");
                exit(1);
            }
        }
        "worker" => {
            let (address, name) = (next(), next());
            let connector = match papers(arguments) {
                Some(papers) => papers.connector(&address),
                None => standin::connector(&address),
            };
            standin::worker(connector, &name);
        }
        "prover" => standin::prover(),
        "start" => later::child(Path::new(&next())),
        "store-child" => store::child(Path::new(&next())),
        "traced" => full::traced(arguments),
        _ => tests(&Options::of(first.into_iter().chain(arguments))),
    }
}

/// The papers that a role is given: a way, and a folder.
fn papers(mut arguments: impl Iterator<Item = String>) -> Option<Papers> {
    let (way, folder) = (arguments.next()?, arguments.next()?);
    Some(Papers {
        way: Way::of(&way),
        folder: folder.into(),
    })
}

/// What the command line says of the tests.
struct Options {
    /// Parts of names; all if there are none.
    only: Vec<String>,
    rounds: u32,
    seed: u64,
    programs: Programs,
    every: bool,
    /// How long hostile peers go on.
    seconds: u64,
    /// The only one of them.
    attack: Option<String>,
    /// The only way in which they come.
    way: Option<Way>,
}

impl Options {
    fn of(arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            only: Vec::new(),
            rounds: 40,
            seed: 1,
            programs: Programs::StandIn,
            every: false,
            seconds: 5,
            attack: None,
            way: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} VALUE"));
            match argument.as_str() {
                "--rounds" => options.rounds = value().parse().expect("a number"),
                "--seed" => options.seed = value().parse().expect("a number"),
                "--program" => {
                    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
                    let program = root.join(value());
                    assert!(
                        program.is_file(),
                        "{}: there is no such program",
                        program.display()
                    );
                    options.programs = Programs::Released(program);
                }
                "--seconds" => options.seconds = value().parse().expect("a number"),
                "--attack" => options.attack = Some(value()),
                "--way" => options.way = Some(Way::of(&value())),
                "--every" => options.every = true,
                // What cargo passes on to every test.
                other if other.starts_with('-') => {}
                _ => options.only.push(argument),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }
}

fn tests(options: &Options) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if options.wants("history") {
        history::test();
    }
    if options.wants("store") {
        store::disturb(options.seed, (!options.every).then_some(3));
    }
    if options.wants("later") {
        runtime.block_on(later::disturb(options.seed, (!options.every).then_some(3)));
    }
    if options.wants("kills") {
        runtime.block_on(kills::run(plan(options)));
    }
    if options.wants("cluster") {
        runtime.block_on(cluster::run(plan(options)));
    }
    if options.wants("full") {
        runtime.block_on(full::disturb(options.seed, if options.every { 40 } else { 2 }));
    }
    if options.wants("hostile") {
        for way in Way::ALL {
            if options.way.is_some_and(|only| only != way) {
                continue;
            }
            let lasting = Duration::from_secs(options.seconds);
            let attack = options.attack.as_deref();
            runtime.block_on(hostile::run(options.seed, lasting, attack, way));
        }
    }
    // What is still spawned works until the process ends.
    println!("resilience: all passed");
    exit(0);
}

fn plan(options: &Options) -> kills::Plan {
    let standing_in = kills::Plan {
        programs: options.programs.clone(),
        seed: options.seed,
        rounds: options.rounds,
        workers: 3,
        open_max: 6,
        between_max: Duration::from_millis(400),
        stopped: standin::LEASE * 3 / 2,
        rounds_until_calm: 20,
        calm_max: Duration::from_secs(60),
        leader_lease: standin::LEADER_LEASE,
        away_max: Duration::from_secs(if options.rounds > 100 { 60 } else { 2 }),
    };
    match options.programs {
        Programs::StandIn | Programs::Traced(_) | Programs::Limited { .. } => standing_in,
        Programs::Released(_) => kills::Plan {
            workers: 2,
            open_max: 2,
            between_max: Duration::from_secs(20),
            stopped: Duration::from_secs(20),
            rounds_until_calm: 10,
            calm_max: Duration::from_secs(900),
            leader_lease: processes::RELEASED_LEADER_LEASE,
            away_max: Duration::from_secs(60),
            ..standing_in
        },
    }
}
