//! What a state of many accounts costs: made and stored, written and read as a snapshot, started from the store, a batch of
//! transfers executed on it and stored. Each step is a process of its own, so that its peak memory is its own.

use accel::machine::ProcessMemory;
use anyhow::{Context, Result, bail, ensure};
use benches::{cpu_seconds, peak_memory_bytes, publish, report};
use clap::{Parser, ValueEnum};
use coordinator::core::{
    Head,
    id::{RollupNumber, StateRoot, Tenant, UnixMs},
    record::Write,
    rollup::{NewRollup, RollupRecord, RollupStatus},
};
use coordinator::store::{ArtifactOptions, Identity, KeptStore, Opening, SCHEMA, Store};
use rules::PROTOCOL_VERSION;
use rules::account::{Account, AccountIndex, Hashed, TokenId, USER_INDEX_MIN};
use rules::amount::{Amount, Fee};
use rules::batch::{self, Batch, execute, new_root};
use rules::digest::Digest;
use rules::eddsa::PrivateKey;
use rules::field;
use rules::follow::Block;
use rules::operation::{Expiry, Operation, RollupId, Transfer};
use rules::snapshot::{self, Header};
use rules::state::State;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Accounts share this many keys, since a key takes longer to make than an account to check.
const KEYS: u64 = 1 << 10;
/// The batch's time, Unix seconds.
const TIME: u64 = 1_700_000_000;
const ROLLUP: RollupId = RollupId {
    chain_id: 1,
    contract: [7; 20],
};

const MAIN: RollupNumber = RollupNumber(0);

/// Measure a state of many accounts, and check what comes of it.
#[derive(Parser)]
struct Args {
    /// A folder for store and snapshot, which is left behind; some 600 bytes an account.
    folder: PathBuf,
    /// Accounts of the state.
    #[arg(long, default_value_t = 10_000_000)]
    accounts: u64,
    /// Transfers of the batch.
    #[arg(long, default_value_t = 10_000)]
    transfers: u64,
    /// Times that the batch is executed; each is reported, and the least of each figure counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps to run, in order; later ones need what earlier ones left in the folder.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["store", "snapshot", "start", "batch", "again"])]
    step: Vec<Step>,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run one step in this process and print what it took.
    #[arg(long, hide = true)]
    alone: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Step {
    /// Make the accounts, and a store and a snapshot of them.
    Store,
    /// Read and check the snapshot.
    Snapshot,
    /// Start from the store.
    Start,
    /// Start from the store, execute the batch on the state, store the accounts that it changed.
    Batch,
    /// Start from the store once more: it has the batch's root.
    Again,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.alone {
        let lanes = prover::hashing::install()?;
        let mut result = match args.step.as_slice() {
            [step] => run(&args, *step)?,
            steps => bail!("one step at a time, not {}", steps.len()),
        };
        result["peak_memory_bytes"] = json!(peak_memory_bytes());
        result["vector_lanes"] = json!(lanes);
        println!("{result}");
        return Ok(());
    }
    fs::create_dir_all(&args.folder)?;
    let mut results = Map::new();
    for step in &args.step {
        let value = step.to_possible_value().context("a step has a name")?;
        let name = value.get_name();
        eprintln!("{name} …");
        let result = process(&args, name)?;
        results.insert(name.to_string(), result);
    }
    let results = json!({
        "accounts": args.accounts,
        "transfers": args.transfers,
        "steps": results,
    });
    publish(&report(results), args.json.as_deref())
}

/// Runs a step in a process of its own.
fn process(args: &Args, step: &str) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .arg(&args.folder)
        .args(["--alone", "--step", step])
        .args(["--accounts", &args.accounts.to_string()])
        .args(["--transfers", &args.transfers.to_string()])
        .args(["--rounds", &args.rounds.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "step {step}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("what step {step} says"))
}

fn run(args: &Args, step: Step) -> Result<Value> {
    let folder = &args.folder;
    match step {
        Step::Store => make(folder, args.accounts),
        Step::Snapshot => read_snapshot(folder),
        Step::Start => start(folder, "root", args.accounts),
        Step::Batch => execute_batch(args),
        Step::Again => start(folder, "root-after", args.accounts),
    }
}

/// Runs something; how long it took, how much of the processors, and of that on this thread: while others work for it, it waits. So
/// `caller_cpu_seconds` and an n-th of the rest are what it takes on n cores without anything else to do.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Value)> {
    let (begin, before, alone) = (Instant::now(), cpu_seconds(), thread_cpu_seconds());
    let done = work()?;
    let (wall, used) = (begin.elapsed().as_secs_f64(), cpu_seconds() - before);
    let figures = json!({
        "seconds": wall,
        "cpu_seconds": used,
        "caller_cpu_seconds": thread_cpu_seconds() - alone,
    });
    Ok((done, figures))
}

fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// What the process holds now, bytes.
fn memory_bytes() -> Option<u64> {
    Some(ProcessMemory::of(std::process::id())?.now_bytes)
}

fn keys() -> Vec<PrivateKey> {
    let key = |number: u64| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        PrivateKey::from_bytes(&seed)
    };
    (0..KEYS).map(key).collect()
}

fn user(number: u64) -> AccountIndex {
    AccountIndex::new(USER_INDEX_MIN + number).expect("few enough")
}

fn account(keys: &[PrivateKey], number: u64) -> Account {
    Account {
        token: TokenId(1),
        nonce: 0,
        balance: 1_000_000_000,
        owner: keys[(number % KEYS) as usize].public(),
        l1_address: [1; 20],
    }
}

/// The fee account, and users whose indices are dense.
fn make(folder: &Path, accounts: u64) -> Result<Value> {
    let store = folder.join("store");
    ensure!(!store.exists(), "{} is there already", store.display());
    let keys = keys();
    let (state, hashing) = timed(|| {
        let fee = (AccountIndex::fee_account(TokenId(1)), account(&keys, 0));
        let users = (1..accounts).map(|number| (user(number), account(&keys, number)));
        Ok(State::from_accounts([fee].into_iter().chain(users)))
    })?;
    let memory = memory_bytes();
    let header = Header {
        root: state.root(),
        ..Header::empty(
            ROLLUP,
            Block {
                number: 1,
                hash: Digest([1; 32]),
            },
        )
    };
    let path = folder.join("snapshot.json");
    let ((), writing) = timed(|| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        snapshot::write(&header, &state, &mut file)?;
        Ok(file.flush()?)
    })?;
    let root = field::to_be(&state.root());
    fs::write(folder.join("root"), root)?;
    let (_, storing) = timed(|| {
        Ok(KeptStore::open(&store, &identity(), || {
            Some((rollup(root), state))
        })?)
    })?;
    Ok(json!({
        "hash": hashing,
        "write_snapshot": writing,
        "snapshot_bytes": path.metadata()?.len(),
        "store": storing,
        "store_bytes": store.join("database.redb").metadata()?.len(),
        "state_memory_bytes": memory,
    }))
}

fn read_snapshot(folder: &Path) -> Result<Value> {
    let ((header, state), reading) = timed(|| {
        let file = File::open(folder.join("snapshot.json"))?;
        Ok(snapshot::read(BufReader::with_capacity(1 << 20, file))?)
    })?;
    ensure!(header.root == state.root(), "the snapshot has another root");
    Ok(json!({ "read": reading }))
}

fn identity() -> Identity {
    Identity {
        schema: SCHEMA,
        protocol_version: PROTOCOL_VERSION,
        preset: "state".into(),
        srs_digest: [0; 32],
        shard_vk_digest: [0; 32],
        aggregation_vk_digest: [0; 32],
    }
}

fn rollup(root: [u8; 32]) -> RollupRecord {
    let start = Head {
        root: StateRoot(root),
        next_number: 0,
        time: 0,
        queue_head: 0,
    };
    let new = NewRollup {
        name: "main".into(),
        rollup_id: ROLLUP,
        tenant: Tenant::default(),
        weight: 1,
        start,
        digest: None,
    };
    RollupRecord::new(MAIN, new, UnixMs(0), RollupStatus::Live)
}

fn root(folder: &Path, name: &str) -> Result<[u8; 32]> {
    let bytes = fs::read(folder.join(name)).context("a root that an earlier step leaves")?;
    Ok(bytes.as_slice().try_into()?)
}

/// Opens the store and takes its state, which has to have the root of that name.
fn open(folder: &Path, name: &str) -> Result<(KeptStore, State, Value)> {
    let (opening, checks) = timed(|| {
        Ok(Opening::begin(
            &folder.join("store"),
            &ArtifactOptions::default(),
        )?)
    })?;
    let first = || unreachable!("the store is made");
    let store = opening.complete(&identity(), &[], first)?;
    let (state, reading) = timed(|| {
        let state = store.states()?.remove(&MAIN);
        state.context("the store has no accounts")
    })?;
    ensure!(
        field::to_be(&state.root()) == root(folder, name)?,
        "the stored state has another root"
    );
    Ok((store, state, json!({ "checksums": checks, "state": reading })))
}

fn start(folder: &Path, name: &str, accounts: u64) -> Result<Value> {
    let ((_store, state, parts), mut result) = timed(|| open(folder, name))?;
    ensure!(
        state.accounts().len() as u64 == accounts,
        "another number of accounts"
    );
    result["parts"] = parts;
    result["memory_bytes"] = json!(memory_bytes());
    Ok(result)
}

/// Transfers from accounts all over the state, each once, to others all over it.
fn transfers(args: &Args, state: &State) -> Result<Batch> {
    let keys = keys();
    let expiry = Expiry::new(TIME + 3600)?;
    let operations = (0..args.transfers).map(|place| {
        let from = 1 + place * 7_919 % (args.accounts - 1);
        let to = 1 + place * 104_729 % (args.accounts - 1);
        let transfer = Transfer {
            from: user(from),
            to: user(to),
            amount: Amount::from_integer(5)?,
            fee: Fee::from_integer(1)?,
            nonce: 0,
            expiry,
            token: TokenId(1),
        };
        let receiver = account(&keys, to);
        let signed = transfer.sign(&keys[(from % KEYS) as usize], &ROLLUP, &receiver);
        Ok(Operation::Transfer(signed))
    });
    let mut batch = Batch {
        rollup_id: ROLLUP,
        number: 0,
        time: TIME,
        old_root: state.root(),
        new_root: state.root(),
        operations: operations.collect::<Result<_>>()?,
    };
    batch.new_root = new_root(state, &batch)?;
    Ok(batch)
}

fn execute_batch(args: &Args) -> Result<Value> {
    let folder = &args.folder;
    let (store, mut state, _) = open(folder, "root")?;
    let batch = transfers(args, &state)?;
    let (mut rounds, mut last) = (Vec::new(), None);
    for _ in 0..args.rounds {
        if let Some(executed) = last.take() {
            let executed: batch::Executed = executed;
            state.set(&batch::undo(&executed.changes));
            ensure!(state.root() == batch.old_root, "the undo leads to another root");
        }
        let (executed, round) = timed(|| Ok(execute(&mut state, &batch)?))?;
        rounds.push(round);
        last = Some(executed);
    }
    let executed = last.context("at least one round")?;
    // A batch whose last signature is another's must not pass, however it is hashed and verified.
    refuses_a_wrong_signature(&mut state, &batch, &executed)?;
    let written = executed.changes.iter().map(|change| {
        let leaf = state.tree().get(change.index);
        let hashed = change.after.map(|account| Hashed { account, leaf });
        (change.index, hashed)
    });
    let writes = [Write::Accounts(MAIN, written.collect())];
    let ((), storing) = timed(|| Ok(store.commit(&writes)?))?;
    fs::write(folder.join("root-after"), field::to_be(&state.root()))?;
    let least = |figure: &str| {
        let figures = rounds.iter().filter_map(|round| round[figure].as_f64());
        figures.min_by(f64::total_cmp)
    };
    Ok(json!({
        "seconds": least("seconds"),
        "cpu_seconds": least("cpu_seconds"),
        "caller_cpu_seconds": least("caller_cpu_seconds"),
        "rounds": rounds,
        "store": storing,
    }))
}

fn refuses_a_wrong_signature(state: &mut State, batch: &Batch, executed: &batch::Executed) -> Result<()> {
    state.set(&batch::undo(&executed.changes));
    let mut wrong = batch.clone();
    let signature = match &wrong.operations[0] {
        Operation::Transfer(first) => first.signature,
        _ => bail!("the batch begins with a transfer"),
    };
    let last = wrong.operations.len() - 1;
    match &mut wrong.operations[last] {
        Operation::Transfer(transfer) if last > 0 => transfer.signature = signature,
        _ => bail!("the batch ends with another transfer"),
    }
    match execute(state, &wrong) {
        Err(batch::BatchError::Operation { operation, .. }) if operation == last => {}
        other => bail!(
            "a wrong signature at {last}: {:?}",
            other.map(|executed| executed.new_root)
        ),
    }
    execute(state, batch)?;
    Ok(())
}
