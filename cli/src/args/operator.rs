//! What operators say on the command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use proto::v1::BatchStatus;

use super::{ClientArgs, KeyArgs, ProvingArgs, parse_address};
use crate::connection::L1UrlParser;

/// Arguments of `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Batches at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Only those that are there: queued, proving, aggregating, proven, failed, cancelled or rolled-back. May be given several times.
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = PossibleValuesParser::new(STATUSES.map(|(name, _)| name)))]
    pub status: Vec<String>,
    /// Only those with this label.
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub rollup: OfAnyArg,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Words for where a batch is.
const STATUSES: [(&str, BatchStatus); 7] = [
    ("queued", BatchStatus::Queued),
    ("proving", BatchStatus::Proving),
    ("aggregating", BatchStatus::Aggregating),
    ("proven", BatchStatus::Proven),
    ("failed", BatchStatus::Failed),
    ("cancelled", BatchStatus::Cancelled),
    ("rolled-back", BatchStatus::RolledBack),
];

impl ListArgs {
    /// The statuses that are meant.
    ///
    /// # Errors
    /// One that there is not.
    pub fn statuses(&self) -> Result<Vec<BatchStatus>> {
        let status = |name: &String| {
            let found = STATUSES.into_iter().find(|(known, _)| known == name);
            found
                .map(|(_, status)| status)
                .with_context(|| format!("no status {name:?}"))
        };
        self.status.iter().map(status).collect()
    }
}

/// Which rollup, of commands that look at all of them too.
#[derive(Debug, Clone, Args)]
pub struct OfAnyArg {
    /// Name of the rollup that is meant, as `rollups list` prints it [default: all].
    #[arg(
        long = "rollup",
        value_name = "NAME",
        env = "ROLLUP_PROVER_ROLLUP",
        default_value = "",
        hide_default_value = true
    )]
    pub name: String,
}

/// Which rollup, of commands that are about one.
#[derive(Debug, Clone, Args)]
pub struct OfOneArg {
    /// Name of the rollup that is meant, as `rollups list` prints it [default: the only one, or the only one of one's own tenant].
    #[arg(
        long = "rollup",
        value_name = "NAME",
        env = "ROLLUP_PROVER_ROLLUP",
        default_value = "",
        hide_default_value = true
    )]
    pub name: String,
}

/// Arguments of `info`.
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// Which rollup.
    #[command(flatten)]
    pub rollup: OfOneArg,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
    /// Name of the rollup that is meant, as `rollups list` prints it [default: the whole service].
    #[arg(
        long,
        value_name = "NAME",
        env = "ROLLUP_PROVER_ROLLUP",
        default_value = "",
        hide_default_value = true
    )]
    pub rollup: String,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What `rollups` does.
#[derive(Debug, Clone, Subcommand)]
pub enum RollupsCommand {
    /// List the rollups whose batches are proven, in the order in which they were created.
    List(ServiceArgs),
    /// Add a rollup: its batches are taken from then on.
    Create(CreateRollupArgs),
    /// Change a rollup's weight or tenant.
    Set(SetRollupArgs),
    /// Delete a rollup that is paused and has nothing to prove, with its state, its batches and their proofs.
    Delete(DeleteRollupArgs),
}

/// Arguments of `rollups create`.
#[derive(Debug, Clone, Args)]
pub struct CreateRollupArgs {
    /// What it is to be called: 1 to 64 of a-z 0-9 -, a letter first.
    pub name: String,
    /// Chain id that signatures and proofs are bound to.
    #[arg(long)]
    pub chain_id: u64,
    /// Address of the rollup contract that signatures and proofs are bound to (0x and 40 hex digits).
    #[arg(long, value_parser = parse_address)]
    pub contract: [u8; 20],
    /// Its part of the workers' time, to the weights of the others.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub weight: u32,
    /// The tenant of the access file whose sequencers submit its batches [default: every tenant].
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Snapshot of the state that the chain here begins with, as `derive` writes it [default: the empty state].
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `rollups set`.
#[derive(Debug, Clone, Args)]
pub struct SetRollupArgs {
    /// The rollup's name.
    pub name: String,
    /// Its part of the workers' time, to the weights of the others.
    #[arg(long, value_name = "N", required_unless_present_any = ["tenant", "every_tenant"], value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub weight: Option<u32>,
    /// The tenant of the access file whose sequencers submit its batches.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Every tenant's sequencers submit its batches.
    #[arg(long, conflicts_with = "tenant")]
    pub every_tenant: bool,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `rollups delete`.
#[derive(Debug, Clone, Args)]
pub struct DeleteRollupArgs {
    /// The rollup's name.
    pub name: String,
    /// Do it. Without this, what would be deleted is shown, and nothing is done.
    #[arg(long)]
    pub yes: bool,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `workers` and `rollups list`.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// The service that is meant, such as zkrollup.prover.v1.ProverService, which waits while the store takes no writes
    /// [default: the process].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub service: String,
    /// Where it is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `top`.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// Look once, and end.
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub interval: u32,
    /// Whose chain and batches.
    #[command(flatten)]
    pub rollup: OfAnyArg,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `explain`, `retry` and `cancel`.
#[derive(Debug, Clone, Args)]
pub struct BatchArgs {
    /// The batch's id, as `submit` and `list` print it.
    pub batch_id: String,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Number of the oldest batch that is taken back, with all that follow it. The next batch has this number.
    #[arg(long, value_name = "NUMBER")]
    pub to: u64,
    /// Do it. Without this, what would be taken back is shown, and nothing is done.
    #[arg(long)]
    pub yes: bool,
    /// JSON-RPC endpoint of L1. The rollup contract is asked first, and nothing is taken back that it has accepted.
    #[arg(long, value_name = "URL", value_parser = L1UrlParser)]
    pub l1: Option<String>,
    /// Whose batches.
    #[command(flatten)]
    pub rollup: OfOneArg,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// The worker's name, as `workers` prints it.
    pub worker: String,
    /// Only the worker of this identity [default: those of that name under every identity].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub identity: String,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The task's id, as `explain` prints it: `b17-s3` for a shard, `b17-a` for the aggregation.
    pub task_id: String,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
    /// How to prove.
    #[command(flatten)]
    pub proving: ProvingArgs,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
}
