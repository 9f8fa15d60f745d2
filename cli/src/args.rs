//! The command line: one subcommand for each role, and one for each thing that a user does.

mod contracts;
mod operator;
mod tls;
mod wallet;

pub use contracts::{DeployArgs, ExportArgs, ParameterArgs, SettleArgs, VerifyDeployedArgs};
pub use operator::{
    BatchArgs, CreateRollupArgs, DeleteRollupArgs, DrainArgs, HealthArgs, InfoArgs, ListArgs, PauseArgs,
    ReplayArgs, RollbackArgs, RollupsCommand, ServiceArgs, SetRollupArgs, TopArgs,
};
pub use wallet::*;

pub use tls::{CONNECTION_VARIABLES, CredentialArgs, ServerTlsArgs};

use std::net::SocketAddr;
use std::path::PathBuf;

use alloy::primitives::Address;
use circuits::preset::{self, Preset};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use proto::connection::CoordinatorUrl;
use prover::device::{CUDA, DeviceChoice};
use rules::digest::Digest;
use telemetry::traces::Endpoint;

use crate::connection::{CoordinatorUrlParser, EndpointParser};
use crate::environment;

/// ZK-rollup prover service: a batch of operations goes in, one SNARK that L1 accepts comes out.
#[derive(Debug, Parser)]
#[command(name = "rollup-prover", version, about, propagate_version = true)]
pub struct Cli {
    /// How logs are written to standard error; the filter is read from RUST_LOG (default: info).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line and the environment. Ends the process when they make no sense, or only help is asked for.
    pub fn read() -> Self {
        let mut command = environment::heed(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os());
        let cli = matches.and_then(|matches| Self::from_arg_matches(&matches));
        cli.unwrap_or_else(|error| environment::named(error, command).exit())
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole service on this machine: keys, coordinator, two workers, proofs, a local L1.
    Demo(DemoArgs),
    /// Run the coordinator: it accepts batches, hands out proving tasks and keeps the proofs.
    Coordinator(CoordinatorArgs),
    /// Run a worker: it proves what the coordinator hands out. SIGTERM drains it.
    Worker(WorkerArgs),
    /// Look at this machine's devices: driver, ICICLE, memory, a self-check, speed, and which presets fit.
    Doctor(DoctorArgs),
    /// Make (or check) the proving and verifying keys of a preset.
    Keygen(KeygenArgs),
    /// Write a sample rollup's batch: operations of L1's queue, and signed ones.
    SampleBatch(SampleArgs),
    /// Submit a batch file to a coordinator. Submitting twice under one request id is one batch.
    Submit(SubmitArgs),
    /// Follow a batch until it is proven, failed or cancelled.
    Watch(WatchArgs),
    /// Fetch the root proof of a proven batch.
    Proof(ProofArgs),
    /// Bring proven batches to the rollup's contract on L1, one after the other.
    Settle(SettleArgs),
    /// List batches, newest first.
    List(ListArgs),
    /// Say what the service proves, its limits, and where a rollup's chain stands.
    Info(InfoArgs),
    /// List, create, change or delete the rollups whose batches are proven.
    #[command(subcommand)]
    Rollups(RollupsCommand),
    /// Ask a coordinator, or a worker's `--health-listen`, whether it serves: for probes. Needs no certificate and no token.
    Health(HealthArgs),
    /// Say in words what a batch is waiting for.
    Explain(BatchArgs),
    /// Queue the unfinished tasks of a failed batch again.
    Retry(BatchArgs),
    /// Take the newest batch back, if it is not proven.
    Cancel(BatchArgs),
    /// Take back the newest batches, proven ones included, that L1 has not accepted and will not.
    Rollback(RollbackArgs),
    /// List the workers that are connected.
    Workers(ServiceArgs),
    /// Show what there is to do, who does it and how fast, again and again.
    Top(TopArgs),
    /// Tell a worker to finish what it holds, to take no more, and to end.
    Drain(DrainArgs),
    /// Hand out no more tasks, or none of one rollup, until `resume`, over restarts of the coordinator too.
    Pause(PauseArgs),
    /// Hand out tasks again.
    Resume(PauseArgs),
    /// Fetch a task's input and prove it here: what a worker would do, with the time of each phase.
    Replay(ReplayArgs),
    /// Copy a coordinator's store into one file: records, and batches' artifacts. Of a store in a folder while no coordinator has it,
    /// of one in a database at any time.
    Backup(BackupArgs),
    /// Put the store of a backup where there is none, or only look whether the backup is whole (`--check`).
    Restore(RestoreArgs),
    /// Make a bearer token: its file, and its entry in a coordinator's access file.
    Token(TokenArgs),
    /// Check a root proof file against the keys of its preset, as L1 does: proof, posted data, rollup, batch number.
    Verify(VerifyArgs),
    /// Write the verifying keys of a preset and their manifest: all that a coordinator, or `verify`, needs of the keys.
    ExportKeys(ExportKeysArgs),
    /// Write the contracts of a preset: sources, compiler's input, interfaces, code, constructor values, and the key manifest.
    ExportVerifier(ExportArgs),
    /// Deploy a rollup: the contract of the hash, verifiers of one or several presets' keys, and the rollup's contract.
    Deploy(DeployArgs),
    /// Compare a rollup contract on a chain, and its verifier, with what a preset's keys make.
    VerifyDeployed(VerifyDeployedArgs),
    /// Rebuild every account of a rollup from L1's logs alone, and compare each root.
    Derive(DeriveArgs),
    /// Make a key file, or show a key's public half.
    Wallet(WalletArgs),
    /// Show an account, if it has the key and the L1 address that are meant.
    Account(AccountArgs),
    /// Show all that happened to an account, from L1's logs.
    History(HistoryArgs),
    /// Sign a transfer to an account whose key and L1 address are named.
    Transfer(TransferArgs),
    /// Sign a withdrawal: L1 then owes it to the account's L1 address.
    Withdraw(WithdrawArgs),
    /// Sign the creation of an account of one's own: anyone may carry it, and whoever makes batches puts it in one.
    CreateAccount(CreateAccountArgs),
    /// Deposit ETH or a token on L1, to a new account or to one that there is.
    Deposit(DepositArgs),
    /// Claim on L1 what it owes by withdrawals, forced exits and deposits without effect.
    Claim(ClaimArgs),
    /// Ask L1 for all that an account has: nobody can refuse it.
    ForceExit(LeaveArgs),
    /// Give an account another key, by its L1 address.
    ChangeKey(ChangeKeyArgs),
    /// Give an ERC-20 token an id in the rollup.
    AddToken(AddTokenArgs),
    /// Freeze a rollup whose queue was not served in time.
    Freeze(CallArgs),
    /// Pay an account of a frozen rollup out on L1, by a proof of its leaf.
    Exit(LeaveArgs),
    /// Take back deposits that a frozen rollup never consumed.
    Refund(OwedArgs),
    /// Name who is to be the rollup's operator. Only the operator can.
    TransferOperator(TransferOperatorArgs),
    /// Take the role of the operator over from the one that handed it on.
    AcceptOperator(CallArgs),
    /// Pay the prices of the queue's entries to the rollup's fee address.
    CollectFees(CallArgs),
    /// Prove what a worker sends to standard input (started by the worker, which replaces it when it ends).
    #[command(hide = true)]
    ProverProcess(ProverProcessArgs),
    /// Kill a process when standard input ends (used by the demo for what it cannot supervise).
    #[command(hide = true)]
    Guard(GuardArgs),
}

impl Command {
    /// Whether it runs until it is told to stop, and its log is what there is to see of it.
    pub fn is_service(&self) -> bool {
        match self {
            Self::Coordinator(_) | Self::Worker(_) | Self::ProverProcess(_) => true,
            Self::Settle(args) => args.follow,
            _ => false,
        }
    }
}

/// Which keys.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Circuit sizes: "ci" for two CPU cores, "server" for 8 to 32, "gpu" for a large GPU, "tiny" for tests.
    #[arg(long, env = "ROLLUP_PROVER_PRESET", default_value = "ci", value_parser = presets(), hide_possible_values = true)]
    pub preset: Preset,
    /// Directory of the key cache; several processes may share it
    /// [default: rollup-prover/keys in $XDG_CACHE_HOME, else in ~/.cache].
    #[arg(long, env = "ROLLUP_PROVER_KEYS", value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,
    /// Which structured reference string the keys are made from.
    #[command(flatten)]
    pub srs: SrsArgs,
}

/// Which keys to verify with.
#[derive(Debug, Clone, Args)]
pub struct VerifyingKeyArgs {
    /// Folder of verifying keys, as `export-keys` writes it: no other keys are read or made, and it says itself of which preset and
    /// reference string they are.
    #[arg(long, value_name = "DIR", env = "ROLLUP_PROVER_VERIFYING_KEYS")]
    pub verifying_keys: Option<PathBuf>,
    /// Which keys, where no such folder is named.
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Where the structured reference string comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct SrsArgs {
    /// A snarkjs `.ptau` file or halo2's raw KZG parameters, by whatever name; its points and pairings are checked.
    #[arg(long, value_name = "FILE")]
    pub srs: Option<PathBuf>,
    /// Use a deterministic SRS whose secret everybody knows, or allow the file to hold it. INSECURE: proofs made with it
    /// prove nothing.
    #[arg(long, env = "ROLLUP_PROVER_INSECURE_DEV_SRS", value_parser = environment::yes_or_no)]
    pub insecure_dev_srs: bool,
    /// Refuse any other SRS than the one of this digest: the manifest's `srs_digest`, from a source that you trust.
    #[arg(long, value_name = "HEX", env = "ROLLUP_PROVER_SRS_DIGEST")]
    pub srs_digest: Option<Digest>,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Number of transfers; more than one batch holds become several batches, proven in sequence
    /// [default: enough for two shards].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub transfers: Option<u32>,
    /// Circuit sizes: "ci" for two CPU cores, "server" for 8 to 32, "gpu" for a large GPU, "tiny" for tests.
    #[arg(long, env = "ROLLUP_PROVER_PRESET", default_value = "ci", value_parser = presets(), hide_possible_values = true)]
    pub preset: Preset,
    /// Directory of the key cache, as for the other commands.
    #[arg(long, env = "ROLLUP_PROVER_KEYS", value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,
    /// Directory of the L1 tools (anvil, forge, solc), fetched with npm when they are missing
    /// [default: tools in cargo's target directory, for a program in it; else rollup-prover/tools in the user's cache].
    #[arg(long, env = "ROLLUP_PROVER_TOOLS", value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,
    /// What the two workers prove on, as for `worker`.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
    /// Write what was measured to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Directory for the logs and the data of the processes; kept afterwards [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Seed of the users' keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `coordinator`.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorArgs {
    /// Address to serve gRPC on.
    #[arg(long, default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// TLS: the coordinator's certificate and key, and the authorities of its clients.
    #[command(flatten)]
    pub server_tls: ServerTlsArgs,
    /// Which identity a certificate or a token is, and its roles (TOML; README says how it is written). Read again when it
    /// changes.
    #[arg(long, value_name = "FILE", env = "ROLLUP_PROVER_SERVER_ACCESS")]
    pub access: Option<PathBuf>,
    /// Listen on an address that is not loopback though everything is in plain text there, or nobody proves who calls.
    /// INSECURE: whoever reaches the address can do everything.
    #[arg(long, alias = "allow-remote")]
    pub insecure_plaintext: bool,
    /// Serve metrics for Prometheus over HTTP on this address, under /metrics: in plain text and to whoever reaches it, so on loopback or
    /// behind something that proves who asks [default: not served].
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Serve a page for browsers over HTTP on this address: batches, tasks, workers, failures. In plain text and to whoever reaches it, as
    /// above [default: not served].
    #[arg(long, value_name = "ADDRESS")]
    pub status_listen: Option<SocketAddr>,
    /// Traces.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Directory of the store; created if missing.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Keep records in this PostgreSQL database, postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full: coordinators that share
    /// it, and `--artifacts` or `--data-dir`, which then holds them, follow each other, and one leads. Better named by the variable:
    /// arguments can be seen by others.
    #[arg(
        long,
        value_name = "URL",
        env = "ROLLUP_PROVER_POSTGRES",
        hide_env_values = true
    )]
    pub postgres: Option<String>,
    /// With `--postgres`: the URL by which clients and workers reach this coordinator [default: that of `--listen`].
    #[arg(long, value_name = "URL", requires = "postgres", value_parser = CoordinatorUrlParser)]
    pub advertise: Option<CoordinatorUrl>,
    /// With `--postgres`: how long this coordinator leads after its last word, in milliseconds; then another takes over.
    #[arg(long, value_name = "MILLISECONDS", requires = "postgres", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1_000..=60_000))]
    pub leader_lease_ms: u64,
    /// Where batches' artifacts are kept: s3://BUCKET/PREFIX, reached as the variables AWS_… say, or file:///FOLDER [default: the folder
    /// `objects` in --data-dir].
    #[arg(long, value_name = "URL")]
    pub artifacts: Option<coordinator::store::Location>,
    /// How long artifacts stay that nothing needs any more, in seconds: as long as a backup may take to copy them.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(60..=2_592_000))]
    pub artifact_retention: u32,
    /// Snapshot of the state that the chain here begins with, as `derive` writes it, read when the store is new and compared with it
    /// otherwise [default: the empty state].
    #[arg(long, value_name = "FILE", requires = "chain_id")]
    pub snapshot: Option<PathBuf>,
    /// Chain id of a rollup whose batches are proven: a new store is made with it, and one that is there must have it [default: the
    /// store's rollups, which `rollups create` adds].
    #[arg(long, requires = "contract")]
    pub chain_id: Option<u64>,
    /// Address of that rollup's contract (0x and 40 hex digits).
    #[arg(long, requires = "chain_id", value_parser = parse_address)]
    pub contract: Option<[u8; 20]>,
    /// How long a worker may be silent before its task is leased again, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub lease_seconds: u32,
    /// How long a worker may hold a task without progress, in seconds, however often it renews; workers themselves allow a phase
    /// 1,800.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(60..=604_800))]
    pub progress_seconds: u32,
    /// How old a batch's time may be, in seconds: at most the contract's maxBatchAge, or L1 refuses what was proven.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub batch_age_seconds: u64,
    /// Also serve the verifying keys in this folder, as `export-keys` wrote it, of whatever size and circuits: batches that were
    /// accepted under them are proven by workers that have them. May be given several times.
    #[arg(long, value_name = "DIR")]
    pub previous_keys: Vec<PathBuf>,
    /// The newest batches that can be rolled back: for so many is kept what that takes.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rollback_batches: u32,
    /// Exit when standard input ends, so that no process outlives the one that started it.
    #[arg(long, hide = true)]
    pub exit_on_stdin_eof: bool,
    /// Which keys.
    #[command(flatten)]
    pub keys: VerifyingKeyArgs,
}

/// Arguments of `worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// URL of the coordinator: http://HOST:PORT on this machine, https://HOST:PORT. Where several share a
    /// database, all of theirs, separated by commas: the one that leads is found.
    #[arg(
        long,
        value_name = "URL",
        env = "ROLLUP_PROVER_COORDINATOR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7400",
        value_delimiter = ',',
        value_parser = CoordinatorUrlParser
    )]
    pub coordinator: Vec<CoordinatorUrl>,
    /// What to show it.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Name of this worker in logs and in the coordinator [default: host name and process id].
    #[arg(long)]
    pub name: Option<String>,
    /// Serve gRPC health (grpc.health.v1) on this address: SERVING once the keys and the device are ready and the coordinator has
    /// taken the worker in, until it drains. Nothing else is answered there [default: not served].
    #[arg(long, value_name = "ADDRESS")]
    pub health_listen: Option<SocketAddr>,
    /// Serve metrics for Prometheus over HTTP on this address, under /metrics: in plain text and to whoever reaches it, so on loopback or
    /// behind something that proves who asks [default: not served].
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Traces.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Take this many more tasks while one is proven, to compute their witnesses meanwhile: 0 to 4
    /// [default: 1 on a device with memory of its own, else 0].
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub ahead: Option<u8>,
    /// Exit when standard input ends, so that no process outlives the one that started it.
    #[arg(long, hide = true)]
    pub exit_on_stdin_eof: bool,
    /// How to prove.
    #[command(flatten)]
    pub proving: ProvingArgs,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Which device proves.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// What to prove on: cpu; icicle or icicle:N, the GPU of that index through ICICLE (one worker for each GPU); auto, the
    /// first GPU if there is one, else the CPU.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// ICICLE's installation [default: $ICICLE_BACKEND_INSTALL_DIR, else /opt/icicle].
    #[arg(long, value_name = "DIR")]
    pub icicle_dir: Option<PathBuf>,
    /// ICICLE's name of the type of device.
    #[arg(long, value_name = "TYPE", default_value = CUDA, hide = true)]
    pub icicle_type: String,
}

/// How a worker proves.
#[derive(Debug, Clone, Args)]
pub struct ProvingArgs {
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Memory of the device that proofs may use, in MiB [default: what is free on it; for the CPU, what the machine and
    /// the cgroup allow].
    #[arg(long, value_name = "MIB")]
    pub memory_mib: Option<u64>,
    /// When a witness breaks the circuit, name the gate, lookup or cells in the task's error. Slow.
    #[arg(long)]
    pub debug_witness: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Sizes at which multi-scalar multiplication and transforms are timed, as powers of two.
    #[arg(long, value_name = "K,K,...", value_delimiter = ',', default_values_t = [14, 17, 20],
          value_parser = clap::value_parser!(u32).range(1..=24))]
    pub sizes: Vec<u32>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    /// Look at ICICLE's device alone and write the report to this file: ICICLE may end the process.
    #[arg(long, value_name = "FILE", hide = true)]
    pub icicle_report: Option<PathBuf>,
    /// The device. With icicle or icicle:N, the exit code says whether it can be used (7 if not).
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `prover-process`.
#[derive(Debug, Clone, Args)]
pub struct ProverProcessArgs {
    /// How to prove.
    #[command(flatten)]
    pub proving: ProvingArgs,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Arguments of `keygen`.
#[derive(Debug, Clone, Args)]
pub struct KeygenArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Print the key manifest as JSON on standard output, on one line.
    #[arg(long)]
    pub json: bool,
    /// Exit when standard input ends, so that no process outlives the one that started it.
    #[arg(long, hide = true)]
    pub exit_on_stdin_eof: bool,
}

/// Arguments of `sample-batch`.
#[derive(Debug, Clone, Args)]
pub struct SampleArgs {
    /// Number of signed operations: transfers, or no-ops where nobody has an account yet [default: enough for two shards of the preset, if
    /// it has as many].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub transfers: Option<u32>,
    /// Withdrawals, creations and no-ops among the signed operations.
    #[arg(long)]
    pub all_kinds: bool,
    /// Number of operations of the queue [default: as many as a batch of the preset has room for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub queued: Option<u32>,
    /// Sizes of the coordinator that the batch is for; they bound what a batch holds.
    #[arg(long, env = "ROLLUP_PROVER_PRESET", default_value = "ci", value_parser = presets())]
    pub preset: Preset,
    /// The batch's number. It follows on the batches before it, made with the same seed and numbers, of which the first begins with the empty
    /// state.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub batch_number: u32,
    /// Number of different tokens: the fee account of each is an entry of the queue, before all others.
    #[arg(long, value_name = "T", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub tokens: u16,
    /// Seed of the accounts' keys and of the operations.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Chain id that the signatures are bound to.
    #[arg(long)]
    pub chain_id: u64,
    /// Address of the rollup contract that the signatures are bound to.
    #[arg(long, value_parser = parse_address)]
    pub contract: [u8; 20],
    /// Where to write the batch: one encoded `zkrollup.prover.v1.Batch`.
    #[arg(long, value_name = "FILE")]
    pub batch: PathBuf,
}

/// How to reach a coordinator.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// URL of the coordinator: http://HOST:PORT on this machine, https://HOST:PORT. Where several share a
    /// database, all of theirs, separated by commas: the one that leads is found.
    #[arg(
        long,
        value_name = "URL",
        env = "ROLLUP_PROVER_COORDINATOR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7400",
        value_delimiter = ',',
        value_parser = CoordinatorUrlParser
    )]
    pub coordinator: Vec<CoordinatorUrl>,
    /// What to show it.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `submit`.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The batch file: one encoded `zkrollup.prover.v1.Batch`, as `sample-batch` writes it.
    #[arg(long, value_name = "FILE")]
    pub batch: PathBuf,
    /// Identifies the request: submitting again with the same id and batch is the same batch
    /// [default: derived from the batch's content].
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Stay until the batch is proven, failed or cancelled.
    #[arg(long)]
    pub wait: bool,
    /// Of the batches of a rollup, those of a higher priority are proven first. A batch that was submitted before keeps the priority,
    /// the deadline and the labels that it has.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub priority: u32,
    /// Of these, those that are needed sooner: in so many seconds from now [default: no matter when].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub deadline_seconds: Option<u32>,
    /// A word that `list` can be asked for, and that every tenant sees. May be given up to eight times.
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// The batch's id, as `submit` printed it.
    pub batch_id: String,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `proof`.
#[derive(Debug, Clone, Args)]
pub struct ProofArgs {
    /// The batch's id, as `submit` printed it.
    pub batch_id: String,
    /// Where to write the proof file (JSON: instances, proof, posted data).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Where to write the token; there must be nothing yet. Only the file's owner will be able to read it.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The proof file, as `proof` writes it.
    pub file: PathBuf,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Which keys.
    #[command(flatten)]
    pub keys: VerifyingKeyArgs,
}

/// Arguments of `export-keys`.
#[derive(Debug, Clone, Args)]
pub struct ExportKeysArgs {
    /// Directory to write `shard.verifying-key`, `aggregation.verifying-key` and `manifest.json` to; created if missing.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the manifest as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Where traces go.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Send traces to this collector, http://HOST:PORT, by OpenTelemetry's protocol over HTTP
    /// [default: that of OTEL_EXPORTER_OTLP_ENDPOINT; else none].
    #[arg(long, value_name = "URL", env = "ROLLUP_PROVER_OTLP_ENDPOINT", hide_env_values = true, value_parser = EndpointParser)]
    pub otlp_endpoint: Option<Endpoint>,
}

/// Where a store is, beside its directory.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Its records are in this PostgreSQL database, as for `coordinator`.
    #[arg(
        long,
        value_name = "URL",
        env = "ROLLUP_PROVER_POSTGRES",
        hide_env_values = true
    )]
    pub postgres: Option<String>,
    /// Its artifacts are here, s3://BUCKET/PREFIX or file:///FOLDER, as for `coordinator` [default: the folder `objects` in --data-dir].
    #[arg(long, value_name = "URL")]
    pub artifacts: Option<coordinator::store::Location>,
    /// Reach a bucket beyond loopback in plain text, as for `coordinator`. INSECURE.
    #[arg(long)]
    pub insecure_plaintext: bool,
}

/// Arguments of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where else it is.
    #[command(flatten)]
    pub store: StoreArgs,
    /// File to write, which is not there yet. It has all accounts and batches, unencrypted.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Leave out artifacts that are damaged, instead of refusing: only their batches have to do with it.
    #[arg(long)]
    pub leave_out_damaged: bool,
    /// Print what is in it as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The file that `backup` wrote.
    #[arg(value_name = "FILE")]
    pub backup: PathBuf,
    /// Directory for the store, in which there is none; created if missing.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    pub data_dir: Option<PathBuf>,
    /// Where else it is to be.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only read the backup to its end, and say whether it is whole.
    #[arg(long, conflicts_with = "data_dir")]
    pub check: bool,
    /// Print what is in it as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `guard`.
#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    /// The process to kill.
    #[arg(long)]
    pub pid: u32,
}

/// Reads the name of a preset.
fn presets() -> impl TypedValueParser<Value = Preset> {
    let names = preset::ALL.map(|preset| preset.name);
    PossibleValuesParser::new(names).map(|name| Preset::by_name(&name).expect("one of these names"))
}

/// Reads the address of a contract: `0x` and 40 hex digits, not all zero.
pub fn parse_address(text: &str) -> Result<[u8; 20], String> {
    let digits = text.strip_prefix("0x").ok_or("an address begins with 0x")?;
    let mut address = [0; 20];
    hex::decode_to_slice(digits, &mut address).map_err(|e| format!("not 20 bytes of hex: {e}"))?;
    if address == [0; 20] {
        return Err("no contract has the zero address".into());
    }
    // In one case alone it has no checksum (EIP-55).
    let is_mixed = digits.bytes().any(|byte| byte.is_ascii_uppercase())
        && digits.bytes().any(|byte| byte.is_ascii_lowercase());
    let expected = Address::from(address).to_checksum(None);
    if is_mixed && text != expected {
        return Err(format!(
            "its capitals are not the address's checksum (EIP-55), so a digit may be wrong: expected {expected} if these digits are meant"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_need_prefix_and_length() {
        assert_eq!(parse_address(&format!("0x{}", "ab".repeat(20))), Ok([0xab; 20]));
        assert!(parse_address(&"ab".repeat(20)).is_err());
        assert!(parse_address("0xab").is_err());
        assert!(parse_address(&format!("0x{}", "00".repeat(20))).is_err());
        assert!(parse_address(&format!("0x{}", "zz".repeat(20))).is_err());
    }

    #[test]
    fn capitals_are_a_checksum() {
        // The first of EIP-55's own examples of each kind.
        let right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        let address = parse_address(right).unwrap();
        assert_eq!(parse_address(&right.to_lowercase()), Ok(address));
        assert_eq!(
            parse_address(&format!("0x{}", right[2..].to_uppercase())),
            Ok(address)
        );
        let error = parse_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed").unwrap_err();
        assert!(error.contains(right), "{error}");
    }
}
