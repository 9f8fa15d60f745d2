//! Brings proven batches to L1, in their order, one after the other.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::v1::{BatchInfo, BatchStatus, RollupInfo};
use rules::field;
use serde_json::json;
use verifier_contracts::l1::{
    Accepted, Deployment, FeeBounds, L1, L1Error, Limits, Obstacle, ProvenBatch, Sending, Settled,
};
use verifier_contracts::rollup::Rejection;

use super::batch::{check_proven, client, status_name};
use super::rollback::is_in_chain;
use super::wallet::done_json;
use crate::args::SettleArgs;
use crate::client::{Client, Which};
use crate::derived::l1_failure;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::proof_file::{ProofFile, to_hex};
use crate::settlement;
use crate::signals::Signals;
use crate::wallet::keys::{L1_KEY_VARIABLE, Secret};

/// Wei of a gwei.
const GWEI: u128 = 1_000_000_000;
/// Pause between two looks at L1 and the coordinator.
const POLL: Duration = Duration::from_secs(2);
/// How long what may pass is waited for where nobody follows.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same of transactions that are on their way: longer than the client waits for its own.
const MINED_MAX: Duration = Duration::from_secs(1_000);
/// How often in a row L1 must refuse: one node of several behind an endpoint may be behind the others.
const REFUSALS: u32 = 3;
/// Pause before a refusal is looked at again.
const REFUSAL_PAUSE: Duration = Duration::from_millis(300);
/// What is waited for is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Batches that a coordinator is asked for at most.
const BATCHES_MAX: usize = 100_000;

/// Submits a file's batch, or those of a coordinator as far as they are proven.
///
/// # Errors
/// When L1 would not take one, or cannot be reached; when a batch failed; when a signal ends it while something is on its way.
pub async fn run(args: SettleArgs, progress: &Progress) -> Result<()> {
    let key_file = args.l1_key.l1_key_file.as_deref();
    let secret = Secret::find(key_file, "--l1-key-file", L1_KEY_VARIABLE)?;
    let mut signals = Signals::take()?;
    let sending = Sending {
        fees: FeeBounds {
            fee_max: u128::from(args.max_fee_gwei) * GWEI,
            ..FeeBounds::default()
        },
        confirmations: args.confirmations,
        ..Sending::default()
    };
    let l1 = L1::connect_with(&args.rpc, &secret.to_text(), &Limits::default(), sending);
    let mut settler = Settler {
        l1: l1.map_err(l1_failure)?,
        args: &args,
        progress,
        deployment: None,
        open: None,
        last: None,
        said: None,
    };
    tokio::select! {
        outcome = settler.run() => outcome,
        () = signals.either() => settler.interrupted(),
    }
}

/// A batch that is to go to L1.
struct Open {
    number: u64,
    /// Of a coordinator's.
    id: Option<String>,
    batch: ProvenBatch,
}

/// What one look led to.
enum Turn {
    /// A batch is on L1.
    Settled(Box<Settled>),
    /// There is nothing to submit now, and why.
    Nothing(String),
}

/// Why one look led to nothing.
struct Trouble {
    error: anyhow::Error,
    retry: Retry,
}

/// Whether the same may go otherwise.
#[derive(Clone, Copy)]
enum Retry {
    /// Later, by itself: so long at most where nobody follows.
    Later(Duration),
    /// If it was one node of several that said so.
    Again,
    /// So long, whoever follows: a reorganisation may bring back what it took.
    Within(Duration),
    /// No.
    Never,
}

impl Trouble {
    /// L1 does not take the batch of that number.
    fn of(obstacle: Obstacle, number: u64) -> Self {
        let retry = match &obstacle {
            Obstacle::Waiting { .. } => Retry::Later(MINED_MAX),
            obstacle if obstacle.may_pass() => Retry::Later(PATIENCE),
            // It was paid for.
            Obstacle::L1(L1Error::Failed { .. }) => Retry::Never,
            Obstacle::Entry { .. }
            | Obstacle::BeyondTail { .. }
            | Obstacle::L1(L1Error::Rejected(
                Rejection::QueueMismatch { .. } | Rejection::BeyondTail { .. },
            )) => Retry::Within(PATIENCE),
            _ => Retry::Again,
        };
        let error = settlement::failure(obstacle, number);
        Self { error, retry }
    }
}

impl From<L1Error> for Trouble {
    fn from(error: L1Error) -> Self {
        let retry = match error {
            L1Error::Endpoint(_) | L1Error::Refused(_) => Retry::Later(PATIENCE),
            _ => Retry::Again,
        };
        let error = l1_failure(error);
        Self { error, retry }
    }
}

impl From<anyhow::Error> for Trouble {
    /// The coordinator's, whose client has waited itself.
    fn from(error: anyhow::Error) -> Self {
        let exit = error.downcast_ref().map(|failure: &Failure| failure.exit);
        let retry = match exit {
            Some(Exit::Unavailable) => Retry::Later(Duration::ZERO),
            Some(Exit::Refused) => Retry::Again,
            _ => Retry::Never,
        };
        Self { error, retry }
    }
}

/// Brings batches to L1.
struct Settler<'a> {
    l1: L1,
    args: &'a SettleArgs,
    progress: &'a Progress,
    /// The contract, once it has answered.
    deployment: Option<Deployment>,
    /// What was looked at last, and is not known to be on L1.
    open: Option<Open>,
    /// The last batch that L1 took from here.
    last: Option<Accepted>,
    said: Option<(String, Instant)>,
}

impl Settler<'_> {
    async fn run(&mut self) -> Result<()> {
        let coordinator = match &self.args.proof {
            None => Some(client(&self.args.client)?),
            Some(path) => {
                self.open = Some(read(path.clone()).await?);
                None
            }
        };
        let (mut refusals, mut since) = (0, None);
        loop {
            let trouble = match self.turn(coordinator.as_ref()).await {
                Ok(Turn::Settled(settled)) => {
                    self.tell(&settled)?;
                    if coordinator.is_none() {
                        return Ok(());
                    }
                    (refusals, since) = (0, None);
                    continue;
                }
                Ok(Turn::Nothing(reason)) if self.args.follow => {
                    (refusals, since) = (0, None);
                    self.wait(reason).await;
                    continue;
                }
                Ok(Turn::Nothing(reason)) => {
                    self.progress.say(&reason);
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            match trouble.retry {
                Retry::Later(most) if self.args.follow || waited < most => {
                    self.wait(output::sentence(&trouble.error)).await;
                }
                Retry::Within(most) if waited < most => self.wait(output::sentence(&trouble.error)).await,
                Retry::Again if refusals < REFUSALS => {
                    refusals += 1;
                    tokio::time::sleep(REFUSAL_PAUSE).await;
                }
                _ => return Err(trouble.error),
            }
        }
    }

    /// Looks once at what there is to do, and does it.
    async fn turn(&mut self, coordinator: Option<&Client>) -> Result<Turn, Trouble> {
        let deployment = match &self.deployment {
            Some(deployment) => deployment.clone(),
            None => {
                let deployment = Deployment::at(&self.l1, self.args.contract.into()).await?;
                self.deployment.insert(deployment).clone()
            }
        };
        if let Some(coordinator) = coordinator {
            let next = deployment.accepted_batches().await?;
            self.check_last(next).await?;
            // What was sent and not seen to land may be there by now.
            if self.open.as_ref().is_none_or(|open| open.number >= next) {
                match self.find(coordinator, next).await? {
                    Ok(open) => self.open = Some(open),
                    Err(reason) => return Ok(Turn::Nothing(reason)),
                }
            }
        }
        let open = self.open.as_ref().expect("a file's, or one that was found");
        let settled = deployment.settle(&open.batch).await;
        let settled = settled.map_err(|obstacle| {
            if let Obstacle::L1(error @ L1Error::Failed { .. }) = &obstacle {
                tracing::warn!(batch = open.number, "a submission was paid for in vain: {error}");
            }
            Trouble::of(obstacle, open.number)
        })?;
        if let Settled::Now(accepted) = &settled {
            self.last = Some(accepted.clone());
        }
        Ok(Turn::Settled(Box::new(settled)))
    }

    /// That what L1 took is still there, where it waits for a batch that it had: it counts as gone only when another block is in the place
    /// of its block, for a node that is behind takes nothing back.
    async fn check_last(&mut self, next: u64) -> Result<(), Trouble> {
        let Some(last) = self.last.as_ref().filter(|last| next <= last.number) else {
            return Ok(());
        };
        let (number, block) = (last.number, last.block);
        match self.l1.block_hash(block).await? {
            Some(hash) if hash != last.block_hash => {
                self.progress.say(&format!(
                    "a reorganisation of L1 took batch {number} out of block {block}: L1 waits for batch {next} again"
                ));
                (self.last, self.open) = (None, None);
                Ok(())
            }
            _ => {
                let message = format!(
                    "the L1 endpoint waits for batch {next}, and had batch {number} in block {block}: it is behind"
                );
                Err(Trouble {
                    error: Failure::new(Exit::Unavailable, message).into(),
                    retry: Retry::Later(PATIENCE),
                })
            }
        }
    }

    /// The coordinator's batch of that number, if it is proven; else what it waits for.
    async fn find(&self, coordinator: &Client, number: u64) -> Result<Result<Open, String>> {
        let rollups = coordinator.rollups().await?;
        let chain_id = self.l1.chain_id().await.map_err(l1_failure)?;
        let rollup = ours(&rollups, chain_id, &self.args.contract[..])?;
        let info = coordinator.info(&rollup.name).await?;
        let refuse = |message: String| Err(Failure::new(Exit::Refused, message).into());
        if number < info.start_batch_number {
            return refuse(format!(
                "L1 waits for batch {number}, the coordinator's first is batch {}: submit those before it first",
                info.start_batch_number
            ));
        }
        if number > info.next_batch_number {
            return refuse(format!(
                "L1 has {number} batches, the coordinator {}: somebody else has submitted; start a coordinator from a \
                 snapshot that `rollup-prover derive` writes",
                info.next_batch_number
            ));
        }
        if number == info.next_batch_number {
            return Ok(Err(format!(
                "L1 has the coordinator's {number} batches: there is nothing to submit"
            )));
        }
        let is_it = |batch: &BatchInfo| is_in_chain(batch) && batch.batch_number == number;
        let listed = coordinator
            .list(&Which::of(&rollup.name), BATCHES_MAX, |batch| !is_it(batch))
            .await?;
        let Some(found) = listed.into_iter().find(is_it) else {
            return Ok(Err(format!("batch {number} was taken back")));
        };
        match found.status() {
            BatchStatus::Proven => {}
            BatchStatus::Failed if !self.args.follow => check_proven(&found)?,
            status => {
                return Ok(Err(format!(
                    "batch {number} is {}, not proven",
                    status_name(status)
                )));
            }
        }
        let proof = coordinator.proof(&found.batch_id).await?;
        let batch = settlement::of_response(&proof)?;
        anyhow::ensure!(
            batch.submission.number == number,
            "the coordinator's proof of batch {number} is one of batch {}",
            batch.submission.number
        );
        Ok(Ok(Open {
            number,
            id: Some(found.batch_id),
            batch,
        }))
    }

    /// A batch is on L1.
    fn tell(&mut self, settled: &Settled) -> Result<()> {
        let Some(Open { number, id, .. }) = self.open.take() else {
            return Ok(());
        };
        self.said = None;
        let (done, root) = (settled.done(), field::to_hex(&settled.new_root()));
        let before = matches!(settled, Settled::Before(_));
        if self.args.client.json {
            return output::json(&json!({
                "batch_number": number, "batch_id": id, "already_on_l1": before, "transaction": done_json(&done),
                "state_root": root,
            }));
        }
        let how = if before { "is on L1 already" } else { "accepted" };
        output::line(format!(
            "batch {number} {how}: transaction {} in block {}, {} gas, state root {root}",
            done.transaction, done.block, done.gas_used
        ))
    }

    /// Says what is waited for, once and then each minute, and waits.
    async fn wait(&mut self, reason: String) {
        let is_said = |(said, at): &(String, Instant)| *said == reason && at.elapsed() < SAY_AGAIN;
        if !self.said.as_ref().is_some_and(is_said) {
            self.progress.say(&format!("waiting: {reason}"));
            self.said = Some((reason, Instant::now()));
        }
        tokio::time::sleep(POLL).await;
    }

    /// What is said at a signal: what may be on its way.
    fn interrupted(&self) -> Result<()> {
        let unfinished = self.l1.unfinished();
        if unfinished.is_empty() && self.args.follow {
            return Ok(());
        }
        let sent = unfinished.iter().map(|unfinished| {
            let hashes = unfinished.transactions.iter().map(ToString::to_string);
            let hashes: Vec<String> = hashes.collect();
            format!("nonce {}: {}", unfinished.nonce, hashes.join(" or "))
        });
        let sent: Vec<String> = sent.collect();
        let message = match (&self.open, sent.is_empty()) {
            (Some(Open { number, .. }), false) => format!(
                "interrupted while batch {number} is on its way to L1, with {}; the next run goes on from what L1 has by then",
                sent.join(", ")
            ),
            _ => "interrupted; nothing is on its way to L1".to_owned(),
        };
        Err(Failure::new(Exit::Interrupted, message).into())
    }
}

/// The batch of a proof file. A pipe may be long in coming.
async fn read(path: PathBuf) -> Result<Open> {
    let read = tokio::task::spawn_blocking(move || ProofFile::read(&path)).await;
    let file = read.context("reading the proof file panicked")??;
    Ok(Open {
        number: file.batch_number,
        id: None,
        batch: settlement::of_file(&file)?,
    })
}

/// The rollup of a chain and contract, among those of a coordinator.
fn ours<'a>(rollups: &'a [RollupInfo], chain_id: u64, contract: &[u8]) -> Result<&'a RollupInfo> {
    let list = |what: &dyn Fn(&RollupInfo) -> String| {
        let mut all: Vec<String> = rollups.iter().map(what).collect();
        all.dedup();
        match all.is_empty() {
            true => "none".to_owned(),
            false => all.join(", "),
        }
    };
    anyhow::ensure!(
        rollups.iter().any(|rollup| rollup.chain_id == chain_id),
        "the coordinator proves for chain {}, the L1 endpoint is of chain {chain_id}",
        list(&|rollup| rollup.chain_id.to_string())
    );
    let mut ours = rollups.iter();
    let ours = ours.find(|rollup| rollup.chain_id == chain_id && rollup.contract == contract);
    ours.with_context(|| {
        format!(
            "the coordinator proves for the rollup contract {}, it would be submitted to {}",
            list(&|rollup| to_hex(&rollup.contract)),
            to_hex(contract)
        )
    })
}
