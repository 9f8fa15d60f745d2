//! What operators say on the command line.

use clap::Args;

use super::{ClientArgs, KeyArgs, ProvingArgs};
use crate::connection::L1UrlParser;

/// Arguments of `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Batches at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `info`, `workers`, `pause` and `resume`.
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
