//! What a sequencer does: make, submit and watch batches, and fetch their proofs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use circuits::preset::Preset;
use coordinator::{BATCH_BYTES_MAX, convert::batch_to_proto};
use keys::whole_file;
use prost::Message;
use proto::v1::{Batch, BatchBilling, BatchInfo, BatchStatus, TaskKind, TaskStatus, TokenFees};
use rules::field;
use rules::operation::RollupId;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::args::{ClientArgs, ProofArgs, SampleArgs, SubmitArgs, WatchArgs};
use crate::bounded;
use crate::client::{Client, Wishes};
use crate::output::{self, Exit, Failure};
use crate::progress::{Progress, Step};
use crate::proof_file::{ProofFile, to_hex};

/// How long a command keeps trying to reach the coordinator.
const PATIENCE: Duration = Duration::from_secs(20);

/// Users of a sample rollup.
const SAMPLE_USERS: u32 = 16;

/// Transfers of a batch when nobody says how many: whole groups (P-6.2) of enough for two shards, as far as the preset has as many.
pub fn sample_transfers(preset: &Preset) -> usize {
    (preset.shard.shape.places * 3 / 2 / 5 * 5).min(preset.places_max())
}

/// Writes one of the batches of a sample rollup.
///
/// # Errors
/// When the preset's batches hold fewer operations, or a file cannot be written.
pub fn sample(args: &SampleArgs) -> Result<()> {
    let preset = args.preset;
    let count = |given: Option<u32>, default| given.map_or(default, |given| given as usize);
    let draw = Draw {
        shape: preset.shard.shape,
        queued: count(args.queued, preset.queue_capacity()),
        signed: count(args.transfers, sample_transfers(&preset)),
        mix: if args.all_kinds { Mix::All } else { Mix::Transfers },
    };
    for (what, found, most) in [
        ("transfers", draw.signed, preset.places_max()),
        ("operations of the queue", draw.queued, preset.queue_capacity()),
    ] {
        anyhow::ensure!(
            found <= most,
            "a batch of preset {} holds at most {most} {what}, not {found}; name the coordinator's preset with --preset",
            preset.name
        );
    }
    anyhow::ensure!(
        draw.queued + draw.signed > 0,
        "a batch has at least one operation"
    );
    let rollup_id = RollupId {
        chain_id: args.chain_id,
        contract: args.contract,
    };
    let mut sample = Sample::new(SampleConfig {
        seed: args.seed,
        users: SAMPLE_USERS,
        tokens: args.tokens,
    });
    let time = now()?;
    for _ in 0..args.batch_number {
        // Its operations follow from the seed alone, so the state after it is that of the batch which was written then.
        sample.batch(rollup_id, time, draw);
    }
    let batch = sample.batch(rollup_id, time, draw);
    let path = args.batch.display();
    crate::wallet::keys::spare(&args.batch)?;
    whole_file::write(&args.batch, &batch_to_proto(&batch).encode_to_vec())
        .with_context(|| format!("cannot write {path}"))?;
    output::line(format!(
        "batch {}: {} signed operations and {} of the queue, from {} to {}",
        batch.number,
        draw.signed,
        draw.queued,
        field::to_hex(&batch.old_root),
        field::to_hex(&batch.new_root)
    ))
}

/// Unix seconds.
///
/// # Errors
/// When the clock is before 1970.
pub fn now() -> Result<u64> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs())
}

/// Submits a batch file.
///
/// # Errors
/// When the file is no batch, or the coordinator refuses it or cannot be reached; with `--wait`, when no proof is
/// made.
pub async fn submit(args: &SubmitArgs, progress: &Progress) -> Result<()> {
    let path = args.batch.display();
    let bytes = bounded::read(&args.batch, BATCH_BYTES_MAX)?;
    anyhow::ensure!(
        !bytes.is_empty(),
        "{path} is empty: expected an encoded zkrollup.prover.v1.Batch, as `sample-batch` writes it"
    );
    let batch = Batch::decode(bytes.as_slice()).with_context(|| format!("{path} is not a batch file"))?;
    let request_id = args
        .request_id
        .clone()
        .unwrap_or_else(|| request_id(batch.number, &bytes));
    let client = client(&args.client)?;
    let wishes = Wishes {
        priority: args.priority,
        deadline_unix_ms: match args.deadline_seconds {
            Some(seconds) => (now()? + u64::from(seconds)) * 1_000,
            None => 0,
        },
        labels: args.labels.clone(),
    };
    let response = client.submit(&request_id, batch.number, &bytes, &wishes).await?;
    let info = response
        .batch
        .context("the coordinator accepted the batch without naming it")?;
    if response.already_existed {
        progress.say(&submitted_before(&wishes, &info));
    }
    if !args.client.json {
        output::line(&info.batch_id)?;
    } else if !args.wait {
        let mut value = batch_json(&info);
        value["already_existed"] = json!(response.already_existed);
        output::json(&value)?;
    }
    if args.wait {
        follow(&client, &info.batch_id, args.client.json, progress).await
    } else {
        Ok(())
    }
}

/// That a batch was submitted before, and what it keeps of then that was asked for otherwise now.
fn submitted_before(wishes: &Wishes, info: &BatchInfo) -> String {
    let mut kept = Vec::new();
    if wishes.priority != info.priority {
        kept.push(format!("priority {}", info.priority));
    }
    if wishes.deadline_unix_ms != info.deadline_unix_ms {
        kept.push(match info.deadline_unix_ms {
            0 => "no deadline".to_owned(),
            ms => format!("the deadline {} (Unix seconds)", ms / 1_000),
        });
    }
    if wishes.labels != info.labels {
        kept.push(match info.labels.as_slice() {
            [] => "no labels".to_owned(),
            labels => format!("labels {}", labels.join(" ")),
        });
    }
    match kept.is_empty() {
        true => "the batch had been submitted before".to_owned(),
        false => format!(
            "the batch had been submitted before, and keeps what was said then: {}",
            kept.join(", ")
        ),
    }
}

/// Watches a batch.
///
/// # Errors
/// When it ends without a proof, is unknown, or the coordinator cannot be reached.
pub async fn watch(args: &WatchArgs, progress: &Progress) -> Result<()> {
    follow(&client(&args.client)?, &args.batch_id, args.client.json, progress).await
}

/// Fetches a proof into a file.
///
/// # Errors
/// When there is none, or the coordinator cannot be reached or answers with something else, or the file is not written.
pub async fn proof(args: &ProofArgs) -> Result<()> {
    let response = client(&args.client)?.proof(&args.batch_id).await?;
    ProofFile::from_response(&response)?.write(&args.out)?;
    if args.client.json {
        output::json(&json!({ "file": args.out, "proof_bytes": response.proof.len() }))?;
    }
    Ok(())
}

/// The default request id: the same batch under the same number is the same request.
pub fn request_id(number: u64, batch: &[u8]) -> String {
    format!("batch-{number}-{}", hex::encode(&Sha256::digest(batch)[..16]))
}

/// A client of the coordinator that is named, with these commands' patience.
///
/// # Errors
/// When it is known that no connection can come about.
pub fn client(args: &ClientArgs) -> Result<Client> {
    Client::new(args.credentials.connector(&args.coordinator)?, PATIENCE)
}

async fn follow(client: &Client, batch_id: &str, json: bool, progress: &Progress) -> Result<()> {
    let mut show = Show::new(progress);
    let mut broken_pipe = None;
    let info = client
        .watch(batch_id, |info| {
            if !json {
                show.change(info);
            } else if let Err(error) = output::json(&batch_json(info)) {
                broken_pipe = Some(error);
            }
        })
        .await?;
    if let Some(error) = broken_pipe {
        return Err(error);
    }
    check_proven(&info)
}

/// That a batch that is final is proven.
///
/// # Errors
/// Says why it is not.
pub fn check_proven(info: &BatchInfo) -> Result<()> {
    match info.status() {
        BatchStatus::Proven => Ok(()),
        BatchStatus::Failed => {
            let message = format!("batch {} failed: {}", info.batch_number, info.failure);
            Err(Failure::new(Exit::BatchFailed, message).into())
        }
        status => {
            let message = format!("batch {} ended as {}", info.batch_number, status_name(status));
            Err(Failure::new(Exit::BatchFailed, message).into())
        }
    }
}

/// Shows a batch's progress to a person: a step for the shards, then one for the aggregation.
pub struct Show<'a> {
    progress: &'a Progress,
    shards: Option<Step>,
    aggregation: Option<Step>,
}

impl<'a> Show<'a> {
    /// Shows nothing yet.
    pub fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            shards: None,
            aggregation: None,
        }
    }

    /// The batch changed.
    pub fn change(&mut self, info: &BatchInfo) {
        let (done, total) = (u64::from(info.shards_done), u64::from(info.shards_total));
        if done < total && !crate::client::is_final(info.status()) {
            let step = self
                .shards
                .get_or_insert_with(|| self.progress.counted("prove shards", total));
            step.set(done, busy(info, TaskKind::Shard));
            return;
        }
        if let Some(mut step) = self.shards.take() {
            step.set(done, String::new());
            step.finish("");
        }
        if !crate::client::is_final(info.status()) {
            let step = self
                .aggregation
                .get_or_insert_with(|| self.progress.step("prove aggregation"));
            step.set(0, busy(info, TaskKind::Aggregation));
        } else if let Some(step) = self.aggregation.take() {
            step.finish(status_name(info.status()));
        }
    }
}

/// Who does what: "#0 prove on worker-1, #1 witness on worker-2".
fn busy(info: &BatchInfo, kind: TaskKind) -> String {
    let leased = info
        .tasks
        .iter()
        .filter(|task| task.kind() == kind && task.status() == TaskStatus::Leased);
    let describe = |task: &proto::v1::TaskInfo| {
        let phase = if task.phase.is_empty() {
            "begin"
        } else {
            &task.phase
        };
        match kind {
            TaskKind::Shard => format!("#{} {phase} on {}", task.index, task.worker),
            _ => format!("{phase} on {}", task.worker),
        }
    };
    leased.map(describe).collect::<Vec<_>>().join(", ")
}

/// A word for a status, for people.
pub fn status_name(status: BatchStatus) -> &'static str {
    match status {
        BatchStatus::Unspecified => "unknown",
        BatchStatus::Queued => "queued",
        BatchStatus::Proving => "proving",
        BatchStatus::Aggregating => "aggregating",
        BatchStatus::Proven => "proven",
        BatchStatus::Failed => "failed",
        BatchStatus::Cancelled => "cancelled",
        BatchStatus::RolledBack => "rolled back",
    }
}

/// What programs get for a value of the interface: its name there without what all of its kind begin with, in small letters.
pub fn word(name: &str, beginning: &str) -> String {
    name.strip_prefix(beginning).unwrap_or(name).to_ascii_lowercase()
}

/// What a batch earns and costs on L1, for programs. Amounts are in the tokens' smallest units.
fn billing_json(billing: &BatchBilling) -> Value {
    let fees = billing.fees.iter().map(|fee| {
        json!({
            "token": fee.token,
            "amount": fee_amount(fee).map(|amount| amount.to_string()),
        })
    });
    json!({
        "fees": fees.collect::<Vec<_>>(),
        "fee_tokens": billing.fee_tokens,
        "posted_bytes": billing.posted_bytes,
        "l1_gas_estimate": billing.l1_gas_estimate,
    })
}

/// The sum of a token's fees; none where it is no amount.
pub fn fee_amount(fee: &TokenFees) -> Option<u128> {
    fee.amount[..].try_into().map(u128::from_be_bytes).ok()
}

/// A batch's state, for programs.
pub fn batch_json(info: &BatchInfo) -> Value {
    let tasks: Vec<Value> = info
        .tasks
        .iter()
        .map(|task| {
            json!({
                "task_id": task.task_id,
                "kind": word(task.kind().as_str_name(), "TASK_KIND_"),
                "index": task.index,
                "status": word(task.status().as_str_name(), "TASK_STATUS_"),
                "worker": task.worker,
                "phase": task.phase,
                "fraction": task.fraction,
                "attempts": task.attempts,
                "last_failure": task.last_failure,
            })
        })
        .collect();
    json!({
        "batch_id": info.batch_id,
        "request_id": info.request_id,
        "batch_number": info.batch_number,
        "status": word(info.status().as_str_name(), "BATCH_STATUS_"),
        "revision": info.revision,
        "operations": info.operations,
        "counts": info.counts.map(|counts| json!({
            "transfers": counts.transfers,
            "withdrawals": counts.withdrawals,
            "creations": counts.creations,
            "queued": counts.queued,
            "queued_without_effect": counts.queued_without_effect,
            "no_ops": counts.no_ops,
        })),
        "billing": info.billing.as_ref().map(billing_json),
        "shards_total": info.shards_total,
        "shards_done": info.shards_done,
        "old_root": to_hex(&info.old_root),
        "new_root": to_hex(&info.new_root),
        "failure": info.failure,
        "rollup": info.rollup,
        "priority": info.priority,
        "deadline_unix_ms": info.deadline_unix_ms,
        "labels": info.labels,
        "tasks": tasks,
    })
}
