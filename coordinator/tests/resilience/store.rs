//! The store under faults of the system, at every call by which it changes the disk: at its start and in its commits.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use coordinator::{
    core::{
        id::{BatchId, Fence, RollupNumber, TaskId},
        record::{ArtifactKey, TaskRecord, Write},
    },
    store::{ArtifactOptions, Identity, KeptStore, Opening, SCHEMA, Store},
};
use nix::errno::Errno;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha20Rng;
use redb::{ReadableTable, TableDefinition};
use rules::{
    account::{Account, AccountIndex, Hashed, hashed},
    state::State,
};

use crate::{
    processes::{Folder, this},
    standin,
    trace::{self, ACKNOWLEDGES, Calls, Ended, Fault, Plan},
};

/// Commits of a run that is disturbed.
const COMMITS: u64 = 6;
/// Tries of a commit before the process gives up: the disk may stay full.
const TRIES: u32 = 3;
/// A run takes a fraction of a second; one that takes so long stands still, however busy the machine is.
const RUN_MAX: Duration = Duration::from_secs(300);
/// How often a store is started while the fault lasts.
const RESTARTS: u32 = 2;
/// Never.
const FOREVER: u64 = u64::MAX;

/// Exit codes of a run.
const REFUSED: i32 = 10;
const DIFFERS: i32 = 11;
const STANDS_STILL: i32 = 12;

/// The faults, by name.
const FAULTS: [(&str, Calls, Fault); 8] = [
    ("killed", Calls::Changes, Fault::Kill),
    ("killed in the middle", Calls::Changes, Fault::Torn),
    ("EIO once", Calls::Changes, Fault::Fail(Errno::EIO, 1)),
    ("EIO for good", Calls::Changes, Fault::Fail(Errno::EIO, FOREVER)),
    ("ENOSPC for a while", Calls::Growth, Fault::Fail(Errno::ENOSPC, 3)),
    (
        "ENOSPC for good",
        Calls::Growth,
        Fault::Fail(Errno::ENOSPC, FOREVER),
    ),
    (
        "EMFILE for a while",
        Calls::Descriptors,
        Fault::Fail(Errno::EMFILE, 3),
    ),
    (
        "EMFILE for good",
        Calls::Descriptors,
        Fault::Fail(Errno::EMFILE, FOREVER),
    ),
];

/// Disturbs the store's start and commits: at `points` calls of every fault, or at each of them.
///
/// # Panics
/// When something acknowledged is lost, something is acknowledged before it is synced, a later start fails, or the store
/// panics or stands still.
pub fn disturb(seed: u64, points: Option<usize>) {
    println!("store under faults: seed {seed}");
    let folder = Folder::new();
    let empty = folder.path().join("empty/store");
    let used = folder.path().join("used/store");
    for store in [&empty, &used] {
        fs::create_dir_all(store).expect("made");
    }
    let undisturbed = run(&used, NEVER);
    assert_eq!(undisturbed.code, Some(0), "{}", log(&used));
    assert_eq!(undisturbed.unsynced, [""; 0]);
    let earlier = folder.path().join("earlier/store");
    copy_folder(&folder.path().join("used"), &folder.path().join("earlier"));
    to_schema_6(&earlier);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let templates = [
        (&empty, "first start"),
        (&used, "later start"),
        (&earlier, "start on schema 6"),
    ];
    for (template, what) in templates {
        for (name, calls, fault) in FAULTS {
            let counted = copy(template, folder.path());
            let count = run(&counted, Plan { calls, ..NEVER }).calls;
            let mut chosen: Vec<u64> = (1..=count).collect();
            chosen.shuffle(&mut rng);
            chosen.truncate(points.unwrap_or(usize::MAX));
            for at in &chosen {
                let store = copy(template, folder.path());
                scenario(
                    &store,
                    Plan {
                        calls,
                        at: *at,
                        fault,
                    },
                    name,
                );
            }
            println!("  {what}, {name}: {} of {count} calls", chosen.len());
        }
    }
}

/// Makes a store what it was at schema 6: artifacts were files of their batches' names, and the store had no id.
fn to_schema_6(store: &Path) {
    const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
    const IDENTITY: u8 = 0;
    const ARTIFACT: u8 = 5;
    const STORE_ID: u8 = 8;
    const ROLLUP: u8 = 11;
    let (objects, artifacts) = (store.join("objects"), store.join("artifacts"));
    fs::create_dir(&artifacts).expect("made");
    let database = redb::Database::open(store.join("database.redb")).expect("it opens");
    let transaction = database.begin_write().expect("it begins");
    let mut records = transaction.open_table(RECORDS).expect("it is there");
    let entries = records.range([ARTIFACT].as_slice()..[ARTIFACT + 1].as_slice());
    let entries: Vec<(Vec<u8>, Vec<u8>)> = entries
        .expect("readable")
        .map(|entry| entry.expect("readable"))
        .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
        .collect();
    assert_eq!(entries.len(), 2, "those of the last commits");
    for (key, value) in entries {
        let (bytes, sha256, epoch): (u64, [u8; 32], u32) = postcard::from_bytes(&value).expect("an entry");
        let object = objects.join(format!("{}-{epoch}", hex::encode(sha256)));
        let name = std::str::from_utf8(&key[1..]).expect("a name");
        fs::copy(object, artifacts.join(name)).expect("copied");
        let value = postcard::to_stdvec(&(bytes, sha256)).expect("it encodes");
        records.insert(&key[..], &value[..]).expect("replaced");
    }
    let identity = records.remove([IDENTITY].as_slice()).expect("readable");
    let identity = identity.expect("it is there").value().to_vec();
    let (schema, rest): (u32, &[u8]) = postcard::take_from_bytes(&identity).expect("a number");
    assert_eq!(schema, SCHEMA);
    // There was one rollup, in the identity.
    let rollup = standin::rollup();
    let its = postcard::to_stdvec(&(rollup.chain_id, rollup.contract, rollup.start));
    let identity = [&[6], rest, &its.expect("it encodes")].concat();
    let key = [&[ROLLUP], &0u32.to_be_bytes()[..]].concat();
    records.remove(&key[..]).expect("removed").expect("it was there");
    records
        .insert([IDENTITY].as_slice(), &identity[..])
        .expect("replaced");
    records.remove([STORE_ID].as_slice()).expect("removed");
    drop(records);
    transaction.commit().expect("it commits");
    fs::remove_dir_all(&objects).expect("removed");
}

/// Nothing happens.
const NEVER: Plan = Plan {
    calls: Calls::Changes,
    at: FOREVER,
    fault: Fault::Kill,
};

/// One fault, restarts while it lasts, then restarts without it.
fn scenario(store: &Path, plan: Plan, name: &str) {
    let disturbed = run(store, plan);
    let context = |what: &str| format!("{name}, {:?}: {what}\n{}", disturbed.hit, log(store));
    let ends = match plan.fault {
        Fault::Kill | Fault::Torn => [None, Some(0)],
        Fault::Fail(..) => [Some(REFUSED), Some(0)],
    };
    assert!(
        ends.contains(&disturbed.code),
        "{}",
        context(&format!("it ends with {:?}", disturbed.code))
    );
    assert_eq!(disturbed.unsynced, [""; 0], "{}", context("unsynced"));
    if let Fault::Fail(_, FOREVER) = plan.fault {
        for _ in 0..RESTARTS {
            let again = run(store, Plan { at: 1, ..plan });
            assert!(ends.contains(&again.code), "{}", context("a restart"));
        }
    }
    let before = numbers(store, ACKNOWLEDGES);
    for _ in 0..2 {
        let after = run(store, NEVER);
        assert_eq!(after.code, Some(0), "{}", context("a start after it"));
    }
    let found = numbers(store, "at ");
    // The states found grow, and none lies before what was acknowledged when it was found.
    let last_two = &found[found.len() - 2..];
    let acknowledged = before.last().copied().unwrap_or_default();
    assert!(
        last_two[0] >= acknowledged && last_two[1] == last_two[0] + COMMITS,
        "{}",
        context("something acknowledged is lost")
    );
}

/// Runs a process on a store, from whatever state it is in.
fn run(store: &Path, plan: Plan) -> Ended {
    let mut command: Command = this("store-child");
    command.arg(store).stdout(Stdio::null());
    trace::run(&mut command, store, plan)
}

/// The log of a store's runs lies beside it.
fn log_path(store: &Path) -> PathBuf {
    store.with_extension("log")
}

fn log(store: &Path) -> String {
    fs::read_to_string(log_path(store)).unwrap_or_default()
}

/// The numbers of the log's lines that begin so.
fn numbers(store: &Path, begin: &str) -> Vec<u64> {
    let log = log(store);
    let numbers = log.lines().filter_map(|line| line.strip_prefix(begin));
    numbers.map(|number| number.parse().expect("a number")).collect()
}

/// A copy of a store and its log, in place of the last one.
fn copy(template: &Path, folder: &Path) -> PathBuf {
    let target = folder.join("disturbed");
    let _ = fs::remove_dir_all(&target);
    copy_folder(template.parent().expect("it lies in a folder"), &target);
    target.join("store")
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The role of a process that opens a store, checks it, and commits to it.
pub fn child(store: &Path) {
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("the tracer says when");
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(log_path(store));
    // Where even this fails there are no descriptors, for the store neither.
    let Ok(mut log) = log else {
        std::process::exit(REFUSED)
    };
    // In one call, whose text the tracer reads.
    let mut say = move |text: String| log.write_all((text + "\n").as_bytes()).expect("it is written");
    thread::spawn(|| {
        thread::sleep(RUN_MAX);
        std::process::exit(STANDS_STILL);
    });
    // What nothing names any more goes at once.
    let artifacts = ArtifactOptions {
        retention: Duration::ZERO,
        ..ArtifactOptions::default()
    };
    let opening = Opening::begin(store, &artifacts);
    let first = || Some((standin::rollup(), State::from_accounts(accounts())));
    let opened = match opening.and_then(|opening| opening.complete(&identity(), &[], first)) {
        Ok(opened) => opened,
        Err(error) => {
            say(format!("refused: {error}"));
            std::process::exit(if error.may_pass() { REFUSED } else { DIFFERS });
        }
    };
    let contents = match Contents::of(&opened) {
        Ok(contents) => contents,
        Err(error) => {
            say(format!("unreadable: {error}"));
            std::process::exit(if error.may_pass() { REFUSED } else { DIFFERS });
        }
    };
    let at = contents.tasks.get(&marker()).map_or(0, |task| task.fence.0);
    if contents != Contents::after(at) {
        say(format!("not what it was after {at}"));
        std::process::exit(DIFFERS);
    }
    say(format!("at {at}"));
    for commit in at + 1..=at + COMMITS {
        let writes = writes(commit);
        let mut tries = 0;
        while let Err(error) = opened.commit(&writes) {
            say(format!("refused: {error}"));
            tries += 1;
            assert!(error.may_pass());
            if tries == TRIES {
                std::process::exit(REFUSED);
            }
            if let Err(error) = opened.recover() {
                say(format!("not ready: {error}"));
            }
        }
        say(format!("{ACKNOWLEDGES}{commit}"));
        if let Err(error) = opened.collect() {
            say(format!("not collected: {error}"));
            assert!(error.may_pass());
        }
    }
}

/// All that a store holds.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    tasks: BTreeMap<TaskId, TaskRecord>,
    accounts: BTreeMap<AccountIndex, Account>,
    artifacts: HashMap<ArtifactKey, Vec<u8>>,
}

impl Contents {
    fn of(store: &KeptStore) -> Result<Self, coordinator::store::StoreError> {
        let tasks = store.snapshot()?.tasks;
        let tasks: BTreeMap<TaskId, TaskRecord> = tasks.into_iter().map(|task| (task.id, task)).collect();
        let last = tasks.get(&marker()).map_or(0, |task| task.fence.0);
        let mut artifacts = HashMap::new();
        for key in (0..=last).map(artifact) {
            if let Some(bytes) = store.artifact(key)? {
                artifacts.insert(key, bytes);
            }
        }
        Ok(Self {
            tasks,
            accounts: store
                .states()?
                .values()
                .flat_map(State::accounts)
                .map(|(index, account)| (index, *account))
                .collect(),
            artifacts,
        })
    }

    /// What a store holds after so many commits.
    fn after(commits: u64) -> Self {
        let mut contents = Self {
            accounts: accounts().into_iter().collect(),
            ..Self::default()
        };
        for write in (1..=commits).flat_map(writes) {
            match write {
                Write::Task(task) => drop(contents.tasks.insert(task.id, task)),
                Write::RemoveTask(id) => drop(contents.tasks.remove(&id)),
                Write::Artifact(key, bytes) => drop(contents.artifacts.insert(key, bytes)),
                Write::RemoveArtifact(key) => drop(contents.artifacts.remove(&key)),
                Write::Accounts(_, accounts) => {
                    let accounts = accounts.into_iter();
                    let kept = |(index, hashed): (_, Option<Hashed>)| Some((index, hashed?.account));
                    contents.accounts.extend(accounts.filter_map(kept));
                }
                other => unreachable!("no commit here has {other:?}"),
            }
        }
        contents
    }
}

/// The task whose fence says how many commits there were.
fn marker() -> TaskId {
    TaskId::aggregation(BatchId(0))
}

fn artifact(commit: u64) -> ArtifactKey {
    ArtifactKey::ShardInput(BatchId(commit), 0)
}

/// The writes of a commit.
fn writes(commit: u64) -> Vec<Write> {
    let mut rng = ChaCha20Rng::seed_from_u64(commit);
    let mut bytes = vec![0; rng.gen_range(0..40_000)];
    rng.fill(&mut bytes[..]);
    let (index, mut account) = accounts()[rng.gen_range(0..accounts().len())];
    account.nonce = commit;
    let mut marked = TaskRecord::new(marker());
    marked.fence = Fence(commit);
    let mut writes = vec![
        Write::Task(marked),
        Write::Task(TaskRecord::new(TaskId::shard(BatchId(1), rng.gen_range(0..8)))),
        Write::RemoveTask(TaskId::shard(BatchId(1), rng.gen_range(0..8))),
        Write::Artifact(artifact(commit), bytes),
        Write::Accounts(RollupNumber(0), hashed(&[(index, Some(account))])),
    ];
    if commit > 2 {
        writes.push(Write::RemoveArtifact(artifact(commit - 2)));
    }
    writes
}

fn accounts() -> Vec<(AccountIndex, Account)> {
    let mut sample = standin::sample();
    sample.batch(standin::ROLLUP, 1, standin::draw(&standin::PRESET, 2, 0));
    let accounts = sample.state().accounts();
    accounts.map(|(index, account)| (index, *account)).collect()
}

fn identity() -> Identity {
    Identity {
        schema: SCHEMA,
        protocol_version: 2,
        preset: standin::PRESET.name.into(),
        srs_digest: [1; 32],
        shard_vk_digest: [2; 32],
        aggregation_vk_digest: [3; 32],
    }
}
