//! What is said of contracts on the command line.

use std::path::PathBuf;

use clap::Args;
use rules::eddsa::PublicKey;

use super::{ClientArgs, ConsentArgs, KeyArgs, L1KeyArgs, parse_address};
use crate::connection::L1UrlParser;
use crate::wallet::keys::parse_owner;

/// Arguments of `export-verifier`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Directory to write the files to; created if missing.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the files' paths and digests as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Directory of the L1 tools, as for `demo`.
    #[arg(long, env = "ROLLUP_PROVER_TOOLS", value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,
}

/// Arguments of `deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// JSON-RPC endpoint of L1.
    #[arg(long, value_name = "URL", env = "ROLLUP_PROVER_RPC", hide_env_values = true, value_parser = L1UrlParser)]
    pub rpc: String,
    /// Who deploys and pays.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// What the contract fixes for ever.
    #[command(flatten)]
    pub parameters: ParameterArgs,
    /// Keys of the first verifier.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Register a verifier of the verifying keys in this folder too, as `export-keys` wrote it: a small one beside a large one. May be given
    /// several times.
    #[arg(long, value_name = "DIR")]
    pub also: Vec<PathBuf>,
    /// Directory of the L1 tools, as for `demo`.
    #[arg(long, env = "ROLLUP_PROVER_TOOLS", value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// What the rollup's contract fixes for ever (P-17.1). It refuses what is out of range.
#[derive(Debug, Clone, Args)]
pub struct ParameterArgs {
    /// Who submits batches [default: who deploys].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub operator: Option<[u8; 20]>,
    /// L1 address of the fee accounts, which the prices of entries go to as well [default: the operator].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub fee_address: Option<[u8; 20]>,
    /// Key of the fee accounts, as `wallet show` says it.
    #[arg(long, value_name = "KEY", value_parser = parse_owner)]
    pub fee_owner: PublicKey,
    /// Who may add and retire verifiers after a delay [default: nobody, for ever].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub governor: Option<[u8; 20]>,
    /// Who may disable verifiers and pause deposits [default: nobody, for ever].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub guardian: Option<[u8; 20]>,
    /// Seconds after which an entry of the queue is due [default: a day].
    #[arg(long, value_name = "SECONDS")]
    pub due_after: Option<u64>,
    /// Seconds of silence after which anybody submits [default: a day].
    #[arg(long, value_name = "SECONDS")]
    pub silence: Option<u64>,
    /// Seconds from due to freeze [default: 14 days].
    #[arg(long, value_name = "SECONDS")]
    pub freeze_after: Option<u64>,
    /// Due entries that a batch must consume at most [default: 10, or the room of the smallest verifier's batches].
    #[arg(long, value_name = "N")]
    pub consumed_max: Option<u64>,
    /// How old a batch's time may be, in seconds [default: a day].
    #[arg(long, value_name = "SECONDS")]
    pub batch_age: Option<u64>,
    /// Seconds until what the governor announces comes about [default: 46 days].
    #[arg(long, value_name = "SECONDS")]
    pub delay: Option<u64>,
    /// Wei for a token's id, below the 4,096th [default: 0.05 ETH].
    #[arg(long, value_name = "WEI")]
    pub token_price_wei: Option<u128>,
    /// Gas that each verifier is called with [default: 1,000,000].
    #[arg(long, value_name = "GAS")]
    pub verifier_gas_cap: Option<u32>,
}

/// Arguments of `settle`.
#[derive(Debug, Clone, Args)]
pub struct SettleArgs {
    /// JSON-RPC endpoint of L1.
    #[arg(long, value_name = "URL", env = "ROLLUP_PROVER_RPC", hide_env_values = true, value_parser = L1UrlParser)]
    pub rpc: String,
    /// The rollup's contract (0x and 40 hex digits).
    #[arg(long, value_name = "ADDRESS", env = "ROLLUP_PROVER_CONTRACT", value_parser = parse_address)]
    pub contract: [u8; 20],
    /// Who submits and pays: the operator, or anybody once the rollup is enforced.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Submit the batch of this proof file alone, as `proof` writes it; no coordinator is asked.
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Stay, and submit what comes to be proven; SIGTERM and SIGINT end it.
    #[arg(long, conflicts_with = "proof")]
    pub follow: bool,
    /// Blocks that a transaction must have on it, its own included, before the next batch follows.
    #[arg(long, value_name = "BLOCKS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub confirmations: u64,
    /// Most that is paid for one gas, base fee and tip together; where it costs more, it is waited.
    #[arg(long, value_name = "GWEI", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_fee_gwei: u32,
    /// The coordinator.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `verify-deployed`.
#[derive(Debug, Clone, Args)]
pub struct VerifyDeployedArgs {
    /// The chain's JSON-RPC endpoint.
    #[arg(long, value_name = "URL", value_parser = L1UrlParser)]
    pub rpc: String,
    /// The rollup contract (0x and 40 hex digits).
    #[arg(long, value_parser = parse_address)]
    pub address: [u8; 20],
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// The contract has a verifier of the verifying keys in this folder too, as `export-keys` wrote it. May be given several times.
    #[arg(long, value_name = "DIR")]
    pub also: Vec<PathBuf>,
    /// Directory of the L1 tools, as for `demo`.
    #[arg(long, env = "ROLLUP_PROVER_TOOLS", value_name = "DIR")]
    pub tools_dir: Option<PathBuf>,
}
