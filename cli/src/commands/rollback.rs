//! Taking back batches that L1 will not accept, proven ones included.

use anyhow::{Context, Result, ensure};
use proto::v1::{BatchInfo, BatchStatus, GetInfoResponse};
use rules::field;
use serde_json::{Value, json};
use verifier_contracts::l1::{Deployment, L1};

use super::batch::{batch_json, client};
use super::operator::batch_line;
use crate::args::RollbackArgs;
use crate::client::Which;
use crate::output::{self, Exit, Failure};
use crate::proof_file::to_hex;

/// Batches that one rollback shows at most: more than a coordinator keeps what it takes for.
const BATCHES_MAX: usize = 100_000;

/// Shows what would be taken back, and with `--yes` takes it back.
///
/// # Errors
/// When there is nothing to take back, L1 has accepted some of it, it is not confirmed, or the coordinator refuses or cannot be reached.
pub async fn run(args: &RollbackArgs) -> Result<()> {
    let client = client(&args.client)?;
    let info = client.info(&args.rollup.name).await?;
    let refuse = |message: String| anyhow::Error::from(Failure::new(Exit::Refused, message));
    if args.to == info.next_batch_number {
        // It was done before, if it had to be.
        return tell(args, "rolled back", &[], args.to, true);
    }
    if args.to > info.next_batch_number {
        return Err(refuse(format!(
            "there is no batch number {} in the chain; the next one has number {}",
            args.to, info.next_batch_number
        )));
    }
    if args.to < info.rollback_batch_number_min {
        return Err(refuse(format!(
            "batch number {} cannot be rolled back any more: what that takes is kept for the newest batches alone \
             (`coordinator --rollback-batches`), from number {} on; to go further back, restore a backup, or begin the rollup anew from \
             what L1 has (`derive`, `rollups create --snapshot`)",
            args.to, info.rollback_batch_number_min
        )));
    }
    // One more than what goes: L1 may stand before it.
    let listed = client
        .list(&Which::of(&info.rollup), BATCHES_MAX, |batch| {
            batch.batch_number.saturating_add(1) > args.to || !is_in_chain(batch)
        })
        .await?;
    let chain: Vec<&BatchInfo> = listed.iter().filter(|batch| is_in_chain(batch)).collect();
    let tail: Vec<&BatchInfo> = chain
        .iter()
        .copied()
        .filter(|batch| batch.batch_number >= args.to)
        .collect();
    let newest = tail
        .first()
        .context("the chain has changed meanwhile; try again")?;
    if let Some(url) = &args.l1 {
        check_l1(url, args.to, &info, &listed).await?;
    }
    if !args.yes {
        tell(
            args,
            "would be rolled back",
            &tail.iter().map(|batch| (*batch).clone()).collect::<Vec<_>>(),
            args.to,
            false,
        )?;
        return Err(refuse(format!(
            "nothing was done: with `--yes` an operator takes back {} batch{}{}",
            tail.len(),
            if tail.len() == 1 { "" } else { "es" },
            if args.l1.is_none() {
                "; make sure that L1 has accepted none of them, or name its endpoint with --l1"
            } else {
                ""
            }
        )));
    }
    let done = client.roll_back(args.to, &newest.batch_id).await?;
    // Empty when an answer was lost and the call made again.
    let batches = match done.batches.is_empty() {
        true => tail.into_iter().cloned().collect(),
        false => done.batches,
    };
    tell(args, "rolled back", &batches, done.next_batch_number, true)
}

fn tell(args: &RollbackArgs, what: &str, batches: &[BatchInfo], next: u64, done: bool) -> Result<()> {
    if args.client.json {
        let batches: Vec<Value> = batches.iter().map(batch_json).collect();
        return output::json(&json!({ "done": done, "batches": batches, "next_batch_number": next }));
    }
    for batch in batches {
        output::line(format!("{what}: {}", batch_line(batch)))?;
    }
    output::line(format!("next batch: number {next}"))
}

/// Whether a batch was not taken back.
pub fn is_in_chain(batch: &BatchInfo) -> bool {
    !matches!(batch.status(), BatchStatus::Cancelled | BatchStatus::RolledBack)
}

/// That the rollup contract has accepted none of the batches from `to` on, and goes on from what stays.
async fn check_l1(url: &str, to: u64, info: &GetInfoResponse, listed: &[BatchInfo]) -> Result<()> {
    let refuse = |message: String| anyhow::Error::from(Failure::new(Exit::Refused, message));
    let l1 = L1::reader(url)?;
    let chain_id = l1.chain_id().await?;
    ensure!(
        chain_id == info.chain_id,
        "the L1 endpoint is of chain {chain_id}, the rollup of chain {}",
        info.chain_id
    );
    let contract: [u8; 20] = info.contract[..]
        .try_into()
        .context("the coordinator's rollup contract is no address")?;
    let deployment = Deployment::at(&l1, contract.into()).await?;
    let next = deployment.next_batch_number().await?;
    if next > to {
        return Err(refuse(format!(
            "L1 has accepted batch number {}: what it has cannot be taken back, only batches from number {next} on",
            next - 1
        )));
    }
    let root = field::to_be(&deployment.state_root().await?);
    // The batch that L1 expects next starts from the root that L1 has.
    let expected = listed
        .iter()
        .find(|batch| is_in_chain(batch) && batch.batch_number == next)
        .map(|batch| batch.old_root.to_vec());
    match expected {
        Some(expected) if expected != root => Err(refuse(format!(
            "L1 has the state root {}, but batch number {next} starts from {}: the coordinator's chain is not that of this contract",
            to_hex(&root),
            to_hex(&expected)
        ))),
        _ => Ok(()),
    }
}
