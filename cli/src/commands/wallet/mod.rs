//! What users of a rollup do: keys, operations to sign, calls of the contract, and looks at their accounts.

mod key;
mod leave;
mod look;
mod queue;
mod role;
mod sign;
mod token;

pub use key::wallet;
pub use leave::{claim, exit, freeze, refund};
pub use look::{account, history};
pub use queue::{add_token, change_key, deposit, force_exit};
pub use role::{accept_operator, collect_fees, transfer_operator};
pub use sign::{create_account, transfer, withdraw};

use std::path::Path;

use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, bail, ensure};
use rules::account::AccountIndex;
use rules::record::Kind;
use rules::snapshot::Header;
use rules::state::State;
use serde_json::{Value, json};
use verifier_contracts::events::Entry;
use verifier_contracts::l1::{Deployment, Done, L1, Limits, Mode, Sending};
use verifier_contracts::replica::{Step, Watch};

use crate::args::{ConsentArgs, L1KeyArgs, L2KeyArgs, RollupArgs, StateArgs};
use crate::consent;
use crate::derived::{Derivation, l1_failure, read_snapshot};
use crate::progress::Progress;
use crate::wallet::keys::{L1_KEY_VARIABLE, L2_KEY_VARIABLE, Secret};

/// A state, and where it is from.
enum Source {
    /// A snapshot, as it is.
    Snapshot(Box<(Header, State)>),
    /// L1.
    L1(Box<Derivation>),
}

impl Source {
    /// Derives or reads what the arguments name.
    async fn load(args: &StateArgs, progress: &Progress) -> Result<Self> {
        let StateArgs {
            rpc,
            contract,
            state,
            start_block,
            confirmations,
        } = args.clone();
        match (rpc, contract) {
            (Some(rpc), Some(contract)) => {
                let rollup = RollupArgs {
                    rpc,
                    contract,
                    start_block,
                    confirmations,
                };
                Ok(Self::L1(Box::new(
                    derive(&rollup, state.as_deref(), progress).await?,
                )))
            }
            (_, contract) => {
                let path = state.context("name L1 with --rpc and --contract, or a snapshot with --state")?;
                let snapshot = read_snapshot(&path)?;
                let (found, expected) = (snapshot.0.rollup_id.contract, contract);
                if let Some(expected) = expected.filter(|expected| *expected != found) {
                    let (expected, found) = (Address::from(expected), Address::from(found));
                    let path = path.display();
                    bail!("{path}: rollup: expected {expected}, as --contract says, found {found}");
                }
                Ok(Self::Snapshot(Box::new(snapshot)))
            }
        }
    }

    fn state(&self) -> &State {
        match self {
            Self::Snapshot(snapshot) => &snapshot.1,
            Self::L1(derivation) => derivation.state(),
        }
    }

    fn header(&self) -> Result<Header> {
        match self {
            Self::Snapshot(snapshot) => Ok(snapshot.0),
            Self::L1(derivation) => derivation.header(),
        }
    }

    /// Whether L1 is known to have frozen the rollup.
    async fn is_frozen(&self) -> Result<bool> {
        match self {
            Self::Snapshot(_) => Ok(false),
            Self::L1(derivation) => is_frozen(derivation.deployment()).await,
        }
    }

    /// What waits in L1's queue and changes an account before anything that is done now, in words.
    fn waiting(&self, index: AccountIndex) -> Vec<String> {
        match self {
            Self::Snapshot(_) => Vec::new(),
            Self::L1(derivation) => waiting(derivation, index),
        }
    }

    fn deployment(&self) -> Option<&Deployment> {
        match self {
            Self::Snapshot(_) => None,
            Self::L1(derivation) => Some(derivation.deployment()),
        }
    }
}

async fn is_frozen(deployment: &Deployment) -> Result<bool> {
    Ok(deployment.mode().await.map_err(l1_failure)? == Mode::Frozen)
}

/// What waits in L1's queue and changes an account by more than a deposit, in words.
fn waiting(derivation: &Derivation, index: AccountIndex) -> Vec<String> {
    let entries = derivation.replica().waiting();
    let entries = entries.filter(|entry| {
        entry.record.index == index && matches!(entry.record.kind, Kind::ForcedExit | Kind::KeyChange)
    });
    let line = |entry: &Entry| {
        let (number, kind) = (entry.number, entry.record.kind);
        format!("though entry {number} of the queue, a {kind} of account {index}, waits and comes before it")
    };
    entries.map(line).collect()
}

/// Derives the state of a rollup from L1, from the beginning or from a snapshot on.
async fn derive(args: &RollupArgs, snapshot: Option<&Path>, progress: &Progress) -> Result<Derivation> {
    derive_seeing(args, snapshot, Watch::Nobody, progress, |_| Ok(())).await
}

/// The same, looking at each step.
async fn derive_seeing(
    args: &RollupArgs,
    snapshot: Option<&Path>,
    watch: Watch,
    progress: &Progress,
    mut see: impl FnMut(&Step) -> Result<()>,
) -> Result<Derivation> {
    let snapshot = snapshot.map(read_snapshot).transpose()?;
    let l1 = L1::reader(&args.rpc).map_err(l1_failure)?;
    let mut bar = progress.step("derive the state");
    let mut derivation = Derivation::begin(&l1, &args.start(), watch, snapshot).await?;
    let caught_up = derivation.catch_up(|step| {
        if let Step::Batch(batch) = step {
            bar.set(batch.accepted.number, format!("batch {}", batch.accepted.number));
        }
        see(step)
    });
    caught_up.await?;
    bar.finish(&format!("{} batches", derivation.replica().position().number));
    Ok(derivation)
}

/// The key that signs on the rollup.
fn l2_key(args: &L2KeyArgs) -> Result<Secret> {
    Secret::find(args.key_file.as_deref(), "--key-file", L2_KEY_VARIABLE)
}

/// The rollup's contract, called by an account.
struct Caller {
    deployment: Deployment,
    chain_id: u64,
}

impl Caller {
    async fn connect(rollup: &RollupArgs, key: &L1KeyArgs) -> Result<Self> {
        let secret = Secret::find(key.l1_key_file.as_deref(), "--l1-key-file", L1_KEY_VARIABLE)?;
        let sending = Sending {
            confirmations: rollup.confirmations,
            ..Sending::default()
        };
        let connected = L1::connect_with(&rollup.rpc, &secret.to_text(), &Limits::default(), sending);
        let l1 = connected.map_err(l1_failure)?;
        let chain_id = l1.chain_id().await.map_err(l1_failure)?;
        let deployment = Deployment::at(&l1, rollup.contract.into())
            .await
            .map_err(l1_failure)?;
        Ok(Self { deployment, chain_id })
    }

    fn account(&self) -> Address {
        self.deployment.l1().account()
    }

    /// Shows what will be sent, and asks.
    fn ask(&self, consent: &ConsentArgs, mut lines: Vec<String>) -> Result<()> {
        lines.extend([
            format!(
                "by the rollup {} on chain {}",
                self.deployment.rollup(),
                self.chain_id
            ),
            format!("from the L1 account {}, which pays the gas", self.account()),
        ]);
        consent::ask(consent, "to be sent to L1", &lines)
    }
}

/// A transaction, for programs.
pub fn done_json(done: &Done) -> Value {
    json!({ "hash": done.transaction, "block": done.block, "gas_used": done.gas_used })
}

/// Wei as ETH, for people.
pub fn ether(wei: U256) -> String {
    let unit = crate::wallet::amounts::Unit {
        decimals: crate::wallet::amounts::ETH_DECIMALS,
    };
    match u128::try_from(wei) {
        Ok(wei) => format!("{} ETH", unit.show(wei)),
        Err(_) => format!("{wei} wei"),
    }
}

/// That the account which calls is the one whose word counts.
fn check_caller(caller: Address, l1_address: [u8; 20]) -> Result<()> {
    let expected = Address::from(l1_address);
    ensure!(
        caller == expected,
        "the L1 account that calls is {caller}, only the account's own L1 address {expected} can do this"
    );
    Ok(())
}
