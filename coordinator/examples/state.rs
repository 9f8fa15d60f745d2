//! What a state of many accounts costs: snapshot, store, start from the store, execution and commit of a batch. Each step is a
//! process of its own, so that its peak memory is its own.
//!
//! `cargo run --release -p coordinator --example state -- FOLDER ACCOUNTS TRANSFERS`

use std::{
    env, fs,
    io::{BufReader, BufWriter, Write as _},
    path::Path,
    process::{Command, exit},
    time::Instant,
};

use coordinator::{
    core::{Head, id::StateRoot, record::Write},
    store::{ArtifactOptions, Identity, KeptStore, Opening, SCHEMA, Store},
};
use rules::{
    PROTOCOL_VERSION,
    account::{Account, AccountIndex, Hashed, TokenId, USER_INDEX_MIN},
    amount::{Amount, Fee},
    batch::{Batch, execute, new_root},
    digest::Digest,
    eddsa::PrivateKey,
    field,
    follow::Block,
    operation::{Expiry, Operation, RollupId, Transfer},
    snapshot::{self, Header},
    state::State,
};

/// Accounts share this many keys, since a key takes longer to make than an account to check.
const KEYS: u64 = 1 << 10;
const TIME: u64 = 1_700_000_000;
const ROLLUP: RollupId = RollupId {
    chain_id: 1,
    contract: [7; 20],
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, accounts, transfers, step @ ..] = arguments.as_slice() else {
        return Err("expected FOLDER ACCOUNTS TRANSFERS".into());
    };
    let (folder, accounts, transfers) = (Path::new(folder), accounts.parse()?, transfers.parse()?);
    match step.first().map(String::as_str) {
        Some("file") => write_snapshot(folder, accounts)?,
        Some("snapshot") => {
            timed("snapshot read, checked, stored", || make(folder))?;
        }
        Some("start") => {
            timed("start from the store", || open(folder))?;
        }
        Some(_) => run(folder, accounts, transfers)?,
        None => {
            fs::create_dir_all(folder)?;
            for step in ["file", "snapshot", "start", "batch"] {
                let mut process = Command::new(env::current_exe()?);
                let status = process.args(&arguments).arg(step).status()?;
                if !status.success() {
                    exit(1);
                }
            }
            return Ok(());
        }
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("  {}", peak.unwrap_or_default());
    Ok(())
}

/// Runs a step and says how long it took, and how much of the processors.
fn timed<T>(what: &str, step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let (begin, before) = (Instant::now(), processor_seconds());
    let done = step()?;
    let (wall, used) = (begin.elapsed().as_secs_f64(), processor_seconds() - before);
    println!("{what}: {wall:.2} s, {used:.2} processor-seconds");
    Ok(done)
}

fn processor_seconds() -> f64 {
    let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    times.tv_sec as f64 + times.tv_nsec as f64 / 1e9
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

fn write_snapshot(folder: &Path, accounts: u64) -> Result<(), Failure> {
    let keys = keys();
    let fee = (AccountIndex::fee_account(TokenId(1)), account(&keys, 0));
    let users = (1..accounts).map(|number| (user(number), account(&keys, number)));
    let state = State::from_accounts([fee].into_iter().chain(users));
    let block = Block {
        number: 1,
        hash: Digest([1; 32]),
    };
    let header = Header {
        root: state.root(),
        ..Header::empty(ROLLUP, block)
    };
    let mut file = BufWriter::new(fs::File::create(folder.join("snapshot.json"))?);
    snapshot::write(&header, &state, &mut file)?;
    Ok(file.flush()?)
}

fn identity(root: [u8; 32]) -> Identity {
    Identity {
        schema: SCHEMA,
        protocol_version: PROTOCOL_VERSION,
        preset: "state".into(),
        srs_digest: [0; 32],
        shard_vk_digest: [0; 32],
        aggregation_vk_digest: [0; 32],
        chain_id: 1,
        contract: [7; 20],
        start: Head {
            root: StateRoot(root),
            next_number: 0,
            time: 0,
            queue_head: 0,
        },
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    let file = fs::File::open(folder.join("snapshot.json"))?;
    let (_, state) = snapshot::read(BufReader::with_capacity(1 << 20, file))?;
    let root = field::to_be(&state.root());
    fs::write(folder.join("root"), root)?;
    KeptStore::open(&folder.join("store"), &identity(root), || state)?;
    Ok(())
}

fn open(folder: &Path) -> Result<(KeptStore, State), Failure> {
    let root: [u8; 32] = fs::read(folder.join("root"))?.as_slice().try_into()?;
    let opening = Opening::begin(&folder.join("store"), &ArtifactOptions::default())?;
    let store = opening.complete(&identity(root), &[], || unreachable!("it is made"), None)?;
    let state = store.state()?;
    if field::to_be(&state.root()) != root {
        return Err("the stored state has another root".into());
    }
    Ok((store, state))
}

fn run(folder: &Path, accounts: u64, transfers: u64) -> Result<(), Failure> {
    let (store, mut state) = open(folder)?;
    let keys = keys();
    let expiry = Expiry::new(TIME + 3600)?;
    let operations = (0..transfers).map(|place| {
        // Senders all over the state, each once; receivers too.
        let from = 1 + place * 7_919 % (accounts - 1);
        let to = 1 + place * 104_729 % (accounts - 1);
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
        Ok::<_, Failure>(Operation::Transfer(signed))
    });
    let mut batch = Batch {
        rollup_id: ROLLUP,
        number: 0,
        time: TIME,
        old_root: state.root(),
        new_root: state.root(),
        operations: operations.collect::<Result<_, _>>()?,
    };
    batch.new_root = new_root(&state, &batch)?;
    let executed = timed("execution of the batch", || Ok(execute(&mut state, &batch)?))?;
    let written = executed.changes.iter().map(|change| {
        let leaf = state.tree().get(change.index);
        let hashed = change.after.map(|account| Hashed { account, leaf });
        (change.index, hashed)
    });
    let writes = [Write::Accounts(written.collect())];
    timed("its accounts stored", || Ok(store.commit(&writes)?))?;
    if store.state()?.root() != state.root() {
        return Err("the stored state has another root".into());
    }
    println!("  of {accounts} accounts, {transfers} transfers; as stored, the root is the batch's");
    Ok(())
}
