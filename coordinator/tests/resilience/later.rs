//! A coordinator's later starts, on a store with proven and open batches: with a full disk or without descriptors from any call
//! on and for good, and after an artifact was damaged.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Stdio, exit},
    time::{Duration, Instant},
};

use coordinator::{
    core::record::{ArtifactKey, BatchRecord, TaskRecord},
    store::{Identity, KeptStore, SCHEMA, Store},
};
use nix::errno::Errno;
use proto::v1::{self, BatchStatus, prover_service_client::ProverServiceClient};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha20Rng;
use rules::{
    account::{Account, AccountIndex},
    state::State,
};
use tokio::{task::block_in_place, time::sleep};
use tonic::Code;

use crate::{
    client::{Clients, Judge},
    processes::{Folder, Programs, Service, this},
    standin,
    store::copy_folder,
    trace::{self, Calls, Ended, Fault, Plan},
};

/// Batches that are proven at first, and those that are submitted at most after it.
const PROVEN: usize = 4;
const OPEN_MAX: usize = 4;
/// Longest time until all is proven that can be.
const CALM_MAX: Duration = Duration::from_secs(180);
/// How often a store is started while the fault lasts.
const RESTARTS: u32 = 2;
const FOREVER: u64 = u64::MAX;

/// Exit codes of a start.
const REFUSED: i32 = 10;
const DIFFERS: i32 = 11;

const FAULTS: [(&str, Calls, Fault); 3] = [
    ("full disk", Calls::Growth, Fault::Fail(Errno::ENOSPC, FOREVER)),
    ("failing disk", Calls::Changes, Fault::Fail(Errno::EIO, FOREVER)),
    (
        "no descriptors",
        Calls::Descriptors,
        Fault::Fail(Errno::EMFILE, FOREVER),
    ),
];
const NEVER: Plan = Plan {
    calls: Calls::Changes,
    at: FOREVER,
    fault: Fault::Kill,
};

/// Disturbs later starts at `points` calls of every fault, or at each of them, and damages as many artifacts.
///
/// # Panics
/// When a promise is broken: a start that neither succeeds nor is refused as one that may succeed later, or anything that is lost or
/// changed by it; a damaged artifact that others' batches have to do with.
pub async fn disturb(seed: u64, points: Option<usize>) {
    println!("later starts: seed {seed}");
    let folder = Folder::new();
    let mut service = Service::start(Programs::StandIn, folder.path(), 2);
    let clients = Clients::new(&service.address, Judge::StandIn, standin::PRESET, OPEN_MAX);
    clients.start(seed);
    reached("some batches are proven", || clients.proven() >= PROVEN).await;
    service.workers.iter_mut().for_each(|worker| worker.kill());
    // All that were proven by then are known to be.
    let all_open = || clients.history.acknowledged().len() >= clients.proven() + OPEN_MAX;
    reached("as many as may are open", all_open).await;
    service.coordinator.kill();

    let (used, disturbed) = (folder.path().join("store"), folder.path().join("disturbed"));
    let template = folder.path().join("template");
    copy_folder(&used, &template);
    let expected = Contents::of(&used);
    let open = expected
        .batches
        .values()
        .filter(|batch| !batch.is_final())
        .count();
    assert!(
        open > 0 && open < expected.batches.len(),
        "proven and open batches"
    );
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut choose = |mut all: Vec<u64>| {
        all.shuffle(&mut rng);
        all.truncate(points.unwrap_or(usize::MAX));
        all
    };
    for (name, calls, fault) in FAULTS {
        replace(&template, &disturbed);
        let count = start(&disturbed, Plan { calls, ..NEVER }).calls;
        let chosen = choose((1..=count).collect());
        for at in &chosen {
            replace(&template, &disturbed);
            let plan = Plan {
                calls,
                at: *at,
                fault,
            };
            block_in_place(|| scenario(&disturbed, plan, name, &expected));
        }
        println!("  {name}: {} of {count} calls, {open} batches open", chosen.len());
    }
    let artifacts: Vec<u64> = (0..).take(expected.artifacts.len()).collect();
    let damaged = choose(artifacts.clone());
    for (turn, at) in damaged.iter().enumerate() {
        let key = *expected.artifacts.keys().nth(*at as usize).expect("one of them");
        // Of no interest to the clients of the other, which are still there.
        let apart = folder.path().join("apart");
        replace(&template, &apart.join("store"));
        damage(&apart, key, turn, &expected).await;
    }
    println!("  damaged: {} of {} artifacts", damaged.len(), artifacts.len());
    // What was disturbed last goes on to the end.
    replace(&disturbed, &used);
    restart(&mut service);
    let batches = clients.end(CALM_MAX).await;
    assert!(batches >= expected.batches.len());
}

async fn reached(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < CALM_MAX, "{what}: not within {CALM_MAX:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn restart(service: &mut Service) {
    service.restart_coordinator();
    for worker in 0..service.workers.len() {
        service.restart_worker(worker);
    }
}

/// One fault, restarts while it lasts, then one without it.
fn scenario(store: &Path, plan: Plan, name: &str, expected: &Contents) {
    let disturbed = start(store, plan);
    let context = || format!("{name} at {}, {:?}\n{}", plan.at, disturbed.hit, log(store));
    let allowed = |ended: &Ended| assert!([Some(0), Some(REFUSED)].contains(&ended.code), "{}", context());
    allowed(&disturbed);
    for _ in 0..RESTARTS {
        allowed(&start(store, Plan { at: 1, ..plan }));
    }
    let after = start(store, NEVER);
    assert_eq!(after.code, Some(0), "{}", context());
    assert!(
        Contents::of(store) == *expected,
        "something changed: {}",
        context()
    );
}

/// Runs a start of a coordinator under the tracer.
fn start(store: &Path, plan: Plan) -> Ended {
    let log = File::options()
        .append(true)
        .create(true)
        .open(store.with_extension("log"));
    let mut command = this("start");
    command
        .arg(store)
        .stdout(Stdio::null())
        .stderr(log.expect("a log"));
    trace::run(&mut command, store, plan)
}

fn log(store: &Path) -> String {
    fs::read_to_string(store.with_extension("log")).unwrap_or_default()
}

/// The role of a coordinator that starts and ends.
pub fn child(store: &Path) {
    // The tracer is ready by then.
    std::io::stdin().read_line(&mut String::new()).expect("readable");
    let code = match standin::start(store) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            let may_pass = match &error {
                standin::StartError::Runtime(_) => true,
                standin::StartError::Coordinator(coordinator::Error::Store(error)) => error.may_pass(),
                standin::StartError::Coordinator(error) => matches!(error, coordinator::Error::Listen { .. }),
            };
            if may_pass { REFUSED } else { DIFFERS }
        }
    };
    exit(code);
}

/// Damages one artifact and runs the service: the batches of all others are proven, and that one's is too, or says what it
/// lacks. So it is after another start.
async fn damage(folder: &Path, key: ArtifactKey, turn: usize, expected: &Contents) {
    let file = folder.join("store/objects").join(&expected.artifacts[&key]);
    let bytes = fs::read(&file).expect("it is there");
    match turn % 3 {
        0 => fs::write(
            &file,
            [&bytes[..bytes.len() - 1], &[!bytes[bytes.len() - 1]]].concat(),
        ),
        1 => fs::write(&file, &bytes[..bytes.len() / 2]),
        _ => fs::remove_file(&file),
    }
    .expect("damaged");
    let mut service = Service::start(Programs::StandIn, folder, 2);
    for again in [false, true] {
        let connector = standin::connector(&service.address);
        let mut client = ProverServiceClient::new(connector.channel().expect("nothing can be wrong"));
        for batch in expected.batches.values() {
            let ours = batch.id == key.batch();
            let told = format!("{key:?} damaged, again: {again}, batch {}", batch.id);
            match outcome(&mut client, &batch.id.to_string()).await {
                Ok(()) => {}
                Err(text) => assert!(ours && names_file_and_remedy(&text), "{told}: {text}"),
            }
        }
        service.assert_alive();
        service.workers.iter_mut().for_each(|worker| worker.kill());
        service.coordinator.kill();
        restart(&mut service);
    }
}

fn names_file_and_remedy(text: &str) -> bool {
    text.contains("/objects/") && text.contains("backup") && text.contains("rollup-prover rollback --to")
}

/// Waits for a batch's end and fetches its proof; or what is told instead.
async fn outcome(
    client: &mut ProverServiceClient<proto::connection::Channel>,
    id: &str,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < CALM_MAX, "{id} comes to no end");
        sleep(Duration::from_millis(20)).await;
        let request = v1::GetBatchRequest { batch_id: id.into() };
        let Ok(answer) = client.get_batch(request).await else {
            continue;
        };
        let batch = answer.into_inner().batch.expect("always set");
        match batch.status() {
            BatchStatus::Proven => {}
            BatchStatus::Failed => return Err(batch.failure),
            _ => continue,
        }
        let request = v1::GetProofRequest { batch_id: id.into() };
        match client.get_proof(request).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::DataLoss => return Err(status.message().into()),
            Err(_) => {}
        }
    }
}

/// All that a store holds of its rollup.
#[derive(PartialEq)]
struct Contents {
    batches: BTreeMap<u64, BatchRecord>,
    tasks: Vec<TaskRecord>,
    accounts: Vec<(AccountIndex, Account)>,
    /// The artifacts that are whole, and their files.
    artifacts: BTreeMap<ArtifactKey, PathBuf>,
}

impl Contents {
    fn of(store: &Path) -> Self {
        let manifest = standin::manifest();
        let identity = Identity {
            schema: SCHEMA,
            protocol_version: manifest.protocol_version,
            preset: standin::PRESET.name.into(),
            srs_digest: manifest.srs_digest.0,
            shard_vk_digest: manifest.shard_vk_digest.0,
            aggregation_vk_digest: manifest.aggregation_vk_digest.0,
        };
        let first = || Some((standin::rollup(), State::default()));
        let opened = KeptStore::open(store, &identity, first).expect("it opens");
        let snapshot = opened.snapshot().expect("readable");
        let mut artifacts = BTreeMap::new();
        for batch in &snapshot.batches {
            let id = batch.id;
            let mut keys = vec![
                ArtifactKey::Statement(id),
                ArtifactKey::Undo(id),
                ArtifactKey::RootProof(id),
            ];
            for index in 0..batch.shards {
                keys.push(ArtifactKey::ShardInput(id, index));
                keys.push(ArtifactKey::ShardProof(id, index));
            }
            for key in keys {
                if opened.artifact(key).expect("whole").is_some() {
                    let location = opened.location(key).expect("readable").expect("it is listed");
                    let file = Path::new(&location).file_name().expect("a file");
                    artifacts.insert(key, file.into());
                }
            }
        }
        Self {
            batches: snapshot
                .batches
                .into_iter()
                .map(|batch| (batch.number, batch))
                .collect(),
            tasks: snapshot.tasks,
            accounts: opened
                .states()
                .expect("readable")
                .values()
                .flat_map(State::accounts)
                .map(|(index, account)| (index, *account))
                .collect(),
            artifacts,
        }
    }
}

/// Puts a copy in the place of a folder.
fn replace(template: &Path, target: &Path) {
    let _ = fs::remove_dir_all(target);
    let _ = fs::remove_file(target.with_extension("log"));
    copy_folder(template, target);
}
