//! What users of a rollup say on the command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use rules::account::AccountIndex;
use rules::eddsa::PublicKey;

use super::parse_address;
use crate::connection::L1UrlParser;
use crate::wallet::keys::parse_owner;

/// L1 and the rollup's contract there.
#[derive(Debug, Clone, Args)]
pub struct RollupArgs {
    /// JSON-RPC endpoint of L1.
    #[arg(long, value_name = "URL", env = "ROLLUP_PROVER_RPC", hide_env_values = true, value_parser = L1UrlParser)]
    pub rpc: String,
    /// The rollup's contract (0x and 40 hex digits).
    #[arg(long, value_name = "ADDRESS", env = "ROLLUP_PROVER_CONTRACT", value_parser = parse_address)]
    pub contract: [u8; 20],
    /// The block of the contract's creation, or one before it: logs are read from there on.
    #[arg(long, value_name = "BLOCK", default_value_t = 0)]
    pub start_block: u64,
    /// Blocks that a log must have on it, its own included, before it counts.
    #[arg(long, value_name = "BLOCKS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub confirmations: u64,
}

/// Where the rollup's state is from: L1, a snapshot of `derive`, or a snapshot that L1 goes on from.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// JSON-RPC endpoint of L1. Without it the snapshot is taken as it is.
    #[arg(
        long,
        value_name = "URL",
        env = "ROLLUP_PROVER_RPC",
        hide_env_values = true,
        value_parser = L1UrlParser,
        required_unless_present = "state",
        requires = "contract"
    )]
    pub rpc: Option<String>,
    /// The rollup's contract (0x and 40 hex digits).
    #[arg(long, value_name = "ADDRESS", env = "ROLLUP_PROVER_CONTRACT", value_parser = parse_address)]
    pub contract: Option<[u8; 20]>,
    /// A snapshot, as `derive` writes it.
    #[arg(long, value_name = "SNAPSHOT")]
    pub state: Option<PathBuf>,
    /// The block of the contract's creation, or one before it: logs are read from there on.
    #[arg(long, value_name = "BLOCK", default_value_t = 0)]
    pub start_block: u64,
    /// Blocks that a log must have on it, its own included, before it counts.
    #[arg(long, value_name = "BLOCKS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub confirmations: u64,
}

/// Arguments of `derive`.
#[derive(Debug, Clone, Args)]
pub struct DeriveArgs {
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Begin with this snapshot, as `derive` writes it, in place of the empty state.
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Write the state as a snapshot: what `coordinator --snapshot` starts from, and `--state` of other commands takes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Stay, and follow new batches; SIGTERM and SIGINT end it.
    #[arg(long)]
    pub follow: bool,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// The key that signs on the rollup.
#[derive(Debug, Clone, Args)]
pub struct L2KeyArgs {
    /// Key file of the account's owner, as `wallet new` writes it [default: the key in $ROLLUP_PROVER_L2_KEY].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// The key that calls L1.
#[derive(Debug, Clone, Args)]
pub struct L1KeyArgs {
    /// Key file of the L1 account that calls and pays [default: the key in $ROLLUP_PROVER_L1_KEY].
    #[arg(long, value_name = "FILE")]
    pub l1_key_file: Option<PathBuf>,
}

/// What is done before something is signed or sent, and how it is told.
#[derive(Debug, Clone, Args)]
pub struct ConsentArgs {
    /// Do it without asking. What is signed or sent is shown all the same.
    #[arg(long)]
    pub yes: bool,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `wallet`.
#[derive(Debug, Clone, Args)]
pub struct WalletArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: WalletCommand,
}

/// What `wallet` does.
#[derive(Debug, Clone, Subcommand)]
pub enum WalletCommand {
    /// Make a key: a new file that only its owner reads.
    New(WalletNewArgs),
    /// Say the public key of a key file, or of $ROLLUP_PROVER_L2_KEY.
    Show(WalletShowArgs),
}

/// Arguments of `wallet new`.
#[derive(Debug, Clone, Args)]
pub struct WalletNewArgs {
    /// Where to write the key; there must be nothing yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `wallet show`.
#[derive(Debug, Clone, Args)]
pub struct WalletShowArgs {
    /// The key.
    #[command(flatten)]
    pub key: L2KeyArgs,
    /// Say the L1 address of the key in this file instead.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub l1_key_file: Option<PathBuf>,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// An account of the user's own.
#[derive(Debug, Clone, Args)]
pub struct OwnArgs {
    /// Index of the account.
    #[arg(long, value_name = "INDEX", value_parser = parse_index)]
    pub account: AccountIndex,
    /// The L1 address that the account must have. Its key must be the one that signs.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub l1_address: [u8; 20],
    /// The key.
    #[command(flatten)]
    pub key: L2KeyArgs,
}

/// What transfers and withdrawals share.
#[derive(Debug, Clone, Args)]
pub struct PaymentArgs {
    /// How much, in the token's own units: 1.5.
    #[arg(long, value_name = "AMOUNT")]
    pub amount: String,
    /// What the token's fee account gets on top, likewise.
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub fee: String,
    /// Seconds from now until which a batch may take it [default: a day]; 0 is for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub valid_for: u64,
    /// The account's nonce, when operations that are in no batch yet come before this one [default: the state's].
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<u64>,
    /// Decimals of the token [default: 18 for ETH, else those that its contract says].
    #[arg(long, value_name = "N")]
    pub decimals: Option<u8>,
}

/// Arguments of `transfer`.
#[derive(Debug, Clone, Args)]
pub struct TransferArgs {
    /// Who pays.
    #[command(flatten)]
    pub own: OwnArgs,
    /// Index of the receiver.
    #[arg(long, value_name = "INDEX", value_parser = parse_index)]
    pub to: AccountIndex,
    /// The key that the receiver must have, as `wallet show` says it.
    #[arg(long, value_name = "KEY", value_parser = parse_owner)]
    pub to_owner: PublicKey,
    /// The L1 address that the receiver must have.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub to_address: [u8; 20],
    /// How much.
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// Where to write the signed operation (JSON) [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `withdraw`.
#[derive(Debug, Clone, Args)]
pub struct WithdrawArgs {
    /// Whose money leaves, to the account's L1 address.
    #[command(flatten)]
    pub own: OwnArgs,
    /// How much.
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// Where to write the signed operation (JSON) [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `create-account`.
#[derive(Debug, Clone, Args)]
pub struct CreateAccountArgs {
    /// The token that the account holds, by its id; 1 is ETH.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..))]
    pub token: u16,
    /// The L1 address to which the account's money leaves: yours.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub l1_address: [u8; 20],
    /// The key of the new account.
    #[command(flatten)]
    pub key: L2KeyArgs,
    /// Where to write the signed operation (JSON) [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `deposit`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("existing").args(["to"]).requires_all(["to_owner", "to_address"]))]
pub struct DepositArgs {
    /// The token, by its id; 1 is ETH.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..))]
    pub token: u16,
    /// How much, in the token's own units: 1.5.
    #[arg(long, value_name = "AMOUNT")]
    pub amount: String,
    /// Decimals of the token, where its contract does not say them.
    #[arg(long, value_name = "N")]
    pub decimals: Option<u8>,
    /// Index of the account that gets it [default: a new account, of the key below and the L1 account that pays].
    #[arg(long, value_name = "INDEX", value_parser = parse_index)]
    pub to: Option<AccountIndex>,
    /// The key that the account at that index must have, as `wallet show` says it.
    #[arg(long, value_name = "KEY", value_parser = parse_owner, requires = "to")]
    pub to_owner: Option<PublicKey>,
    /// The L1 address that the account at that index must have.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, requires = "to")]
    pub to_address: Option<[u8; 20]>,
    /// Key of the new account.
    #[command(flatten)]
    pub key: L2KeyArgs,
    /// A snapshot to begin with, as `derive` writes it.
    #[arg(long, value_name = "SNAPSHOT")]
    pub state: Option<PathBuf>,
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Who pays.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `force-exit` and `exit`: an account, as its owner on L1 means it.
#[derive(Debug, Clone, Args)]
pub struct LeaveArgs {
    /// Index of the account.
    #[arg(long, value_name = "INDEX", value_parser = parse_index)]
    pub account: AccountIndex,
    /// The key that the account must have, as `wallet show` says it.
    #[arg(long, value_name = "KEY", value_parser = parse_owner)]
    pub owner: PublicKey,
    /// The L1 address that the account must have, and that is paid [default: the L1 account that calls].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub l1_address: Option<[u8; 20]>,
    /// A snapshot to begin with, as `derive` writes it.
    #[arg(long, value_name = "SNAPSHOT")]
    pub state: Option<PathBuf>,
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Who calls.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `change-key`.
#[derive(Debug, Clone, Args)]
pub struct ChangeKeyArgs {
    /// The account. The L1 account that calls must be its L1 address.
    #[command(flatten)]
    pub account: LeaveArgs,
    /// The key that the account is to have, as `wallet show` says it.
    #[arg(long, value_name = "KEY", value_parser = parse_owner)]
    pub new_owner: PublicKey,
}

/// Arguments of `add-token`.
#[derive(Debug, Clone, Args)]
pub struct AddTokenArgs {
    /// The ERC-20 contract (0x and 40 hex digits).
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub token_address: [u8; 20],
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Who calls.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `claim`.
#[derive(Debug, Clone, Args)]
pub struct ClaimArgs {
    /// A snapshot to begin with, as `derive` writes it: what batches before it owe is claimed by --batch.
    #[arg(long, value_name = "FILE", visible_alias = "state")]
    pub snapshot: Option<PathBuf>,
    /// Claim what this batch owes, from the logs of that batch alone. May be given several times; without a snapshot nothing else is read.
    #[arg(long, value_name = "NUMBER")]
    pub batch: Vec<u64>,
    /// Whom L1 owes.
    #[command(flatten)]
    pub owed: OwedArgs,
}

/// Arguments of `refund`, and of `claim` too: whom L1 owes.
#[derive(Debug, Clone, Args)]
pub struct OwedArgs {
    /// Whom L1 owes [default: the L1 account that calls]. Anybody may call; nobody else is paid.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub recipient: Option<[u8; 20]>,
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Who calls.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `transfer-operator`.
#[derive(Debug, Clone, Args)]
pub struct TransferOperatorArgs {
    /// Who is to be operator, once that account accepts it with `accept-operator`.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub to: [u8; 20],
    /// L1, and who calls.
    #[command(flatten)]
    pub call: CallArgs,
}

/// Arguments of what only calls L1: `freeze`, `accept-operator`, `collect-fees`.
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Who calls.
    #[command(flatten)]
    pub l1_key: L1KeyArgs,
    /// Consent.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

/// Arguments of `account` and `history`.
#[derive(Debug, Clone, Args)]
pub struct AccountArgs {
    /// Index of the account [default: all accounts with that key and L1 address].
    #[arg(value_name = "INDEX", value_parser = parse_index)]
    pub account: Option<AccountIndex>,
    /// The key that the account must have, as `wallet show` says it [default: the key file's].
    #[arg(long, value_name = "KEY", value_parser = parse_owner, conflicts_with = "key_file")]
    pub owner: Option<PublicKey>,
    /// The L1 address that the account must have.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub l1_address: [u8; 20],
    /// The key.
    #[command(flatten)]
    pub key: L2KeyArgs,
    /// The state.
    #[command(flatten)]
    pub state: StateArgs,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// Index of the account.
    #[arg(value_name = "INDEX", value_parser = parse_index)]
    pub account: AccountIndex,
    /// The key that the account must have, as `wallet show` says it [default: the key file's].
    #[arg(long, value_name = "KEY", value_parser = parse_owner, conflicts_with = "key_file")]
    pub owner: Option<PublicKey>,
    /// The L1 address that the account must have.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub l1_address: [u8; 20],
    /// The key.
    #[command(flatten)]
    pub key: L2KeyArgs,
    /// A snapshot to begin with, as `derive` writes it: what came before it is not told.
    #[arg(long, value_name = "SNAPSHOT")]
    pub state: Option<PathBuf>,
    /// L1 and the rollup.
    #[command(flatten)]
    pub rollup: RollupArgs,
    /// Write JSON to standard output, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Reads an account's index: 1 to 2^33 - 1.
fn parse_index(text: &str) -> Result<AccountIndex, String> {
    let number: u64 = text.parse().map_err(|error| format!("{error}"))?;
    match AccountIndex::new(number) {
        Ok(AccountIndex::NONE) => Err("no account is at index 0".to_owned()),
        Ok(index) => Ok(index),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_one_of_an_account() {
        assert_eq!(parse_index("65536").map(AccountIndex::get), Ok(65_536));
        for text in ["0", "-1", "8589934592", "1e3", ""] {
            assert!(parse_index(text).is_err(), "{text}");
        }
    }
}
