//! What an operator does: look at batches and workers, try again, take back, pause, drain.

use anyhow::Result;
use proto::v1::{BatchBilling, BatchInfo, GetInfoResponse, KeyDigests, TaskKind, TokenFees, WorkerInfo};
use serde_json::{Value, json};

use super::batch::{batch_json, client, fee_amount, status_name, word};
use crate::args::{BatchArgs, DrainArgs, InfoArgs, ListArgs, PauseArgs, ServiceArgs};
use crate::client::Which;
use crate::output;
use crate::proof_file::to_hex;
use crate::wallet::amounts::{ETH_DECIMALS, Unit};

/// ETH's token id (P-3.3).
const ETH: u32 = 1;

/// Lists batches, newest first.
///
/// # Errors
/// When the coordinator cannot be reached or refuses, as of every command here.
pub async fn list(args: &ListArgs) -> Result<()> {
    let which = Which {
        rollup: args.rollup.name.clone(),
        statuses: args.statuses()?,
        label: args.label.clone().unwrap_or_default(),
    };
    let batches = client(&args.client)?
        .list(&which, args.limit as usize, |_| true)
        .await?;
    if args.client.json {
        let batches: Vec<Value> = batches.iter().map(batch_json).collect();
        return output::json(&json!({ "batches": batches }));
    }
    batches
        .iter()
        .try_for_each(|batch| output::line(batch_line(batch)))
}

/// A batch on one line: `b17  main  number 12  proving  3/4 shards`.
pub fn batch_line(batch: &BatchInfo) -> String {
    let mut line = format!(
        "{:<8} {:<12} number {:<8} {:<12} {}/{} shards  {} operations",
        batch.batch_id,
        batch.rollup,
        batch.batch_number,
        status_name(batch.status()),
        batch.shards_done,
        batch.shards_total,
        batch.operations
    );
    if let Some(billing) = &batch.billing {
        line.push_str(&format!("  {}", billing_text(billing)));
    }
    if !batch.labels.is_empty() {
        line.push_str(&format!("  [{}]", batch.labels.join(" ")));
    }
    if !batch.failure.is_empty() {
        line.push_str(&format!("  {}", batch.failure));
    }
    line
}

/// What a batch costs on L1 and earns, in words: `~419,672 L1 gas, fees 0.0001 ETH and 7 of token 2`.
fn billing_text(billing: &BatchBilling) -> String {
    let eth = Unit {
        decimals: ETH_DECIMALS,
    };
    let fee = |fee: &TokenFees| match fee_amount(fee) {
        Some(amount) if fee.token == ETH => format!("{} ETH", eth.show(amount)),
        Some(amount) => format!("{amount} of token {}", fee.token),
        None => format!("an unknown amount of token {}", fee.token),
    };
    let mut fees: Vec<String> = billing.fees.iter().map(fee).collect();
    let more = (billing.fee_tokens as usize).saturating_sub(fees.len());
    if more > 0 {
        fees.push(format!("{more} more tokens"));
    }
    let fees = match fees.is_empty() {
        true => "no fees".to_owned(),
        false => format!("fees {}", fees.join(" and ")),
    };
    format!("~{} L1 gas, {fees}", billing.l1_gas_estimate)
}

/// Says what the service proves and where its chain stands.
///
/// # Errors
/// See [`list`].
pub async fn info(args: &InfoArgs) -> Result<()> {
    let info = client(&args.client)?.info(&args.rollup.name).await?;
    if args.client.json {
        return output::json(&info_json(&info));
    }
    let handed_out = handed_out(&info);
    for (name, value) in [
        (
            "rollup",
            format!(
                "{}: {} on chain {}",
                info.rollup,
                to_hex(&info.contract),
                info.chain_id
            ),
        ),
        (
            "next batch",
            format!(
                "number {}, time at least {}",
                info.next_batch_number, info.head_time
            ),
        ),
        ("state root", to_hex(&info.head_root)),
        ("queue's head", format!("entry {}", info.queue_head)),
        (
            "open batches",
            format!(
                "{} of at most {}, of one tenant at most {}",
                info.batches_open, info.batches_open_max, info.tenant_batches_open_max
            ),
        ),
        (
            "workers",
            match info.leader {
                None => format!("{}; {handed_out}", info.workers),
                Some(_) => handed_out,
            },
        ),
        (
            "preset",
            format!(
                "{}: a batch has {} shards, {} places of signed operations and room for {} of the queue",
                info.preset, info.shards_max, info.places_max, info.queue_capacity
            ),
        ),
        ("shard key", to_hex(&info.shard_vk_digest)),
        ("aggregation key", to_hex(&info.aggregation_vk_digest)),
        ("reference string", to_hex(&info.srs_digest)),
    ] {
        output::line(format!("{name:<17} {value}"))?;
    }
    for keys in &info.previous_keys {
        output::line(format!(
            "{:<17} shard key {}, aggregation key {}",
            "earlier keys",
            to_hex(&keys.shard_vk_digest),
            to_hex(&keys.aggregation_vk_digest)
        ))?;
    }
    if info.insecure_srs {
        output::line(
            "INSECURE: the secret of these keys' reference string is published, so anyone can forge a proof",
        )?;
    }
    Ok(())
}

/// Whether workers get tasks.
fn handed_out(info: &GetInfoResponse) -> String {
    match (&info.leader, info.paused, info.rollup_paused) {
        (Some(leader), _, _) if leader.is_empty() => {
            "this coordinator stands by, and none leads at present".to_owned()
        }
        (Some(leader), _, _) => format!("this coordinator stands by; {leader} leads, and has them"),
        (None, true, _) => "paused: no tasks are handed out".to_owned(),
        (None, _, true) => "paused: no tasks of this rollup are handed out".to_owned(),
        (None, _, _) => "tasks are handed out".to_owned(),
    }
}

fn info_json(info: &GetInfoResponse) -> Value {
    let earlier = |keys: &KeyDigests| {
        json!({
            "shard_vk_digest": to_hex(&keys.shard_vk_digest),
            "aggregation_vk_digest": to_hex(&keys.aggregation_vk_digest),
        })
    };
    json!({
        "previous_keys": info.previous_keys.iter().map(earlier).collect::<Vec<_>>(),
        "protocol_version": info.protocol_version,
        "preset": info.preset,
        "insecure_srs": info.insecure_srs,
        "srs_digest": to_hex(&info.srs_digest),
        "shard_vk_digest": to_hex(&info.shard_vk_digest),
        "aggregation_vk_digest": to_hex(&info.aggregation_vk_digest),
        // Text, as in a proof file: not every reader of JSON has numbers of 64 bits.
        "chain_id": info.chain_id.to_string(),
        "contract": to_hex(&info.contract),
        "start_root": to_hex(&info.start_root),
        "start_batch_number": info.start_batch_number,
        "head_root": to_hex(&info.head_root),
        "next_batch_number": info.next_batch_number,
        "head_time": info.head_time,
        "queue_head": info.queue_head,
        "shard_places": info.shard_places,
        "shard_rooms": info.shard_rooms,
        "shards_max": info.shards_max,
        "places_max": info.places_max,
        "queue_capacity": info.queue_capacity,
        "batches_open": info.batches_open,
        "batches_open_max": info.batches_open_max,
        "tenant_batches_open_max": info.tenant_batches_open_max,
        "workers": info.workers,
        "paused": info.paused,
        "rollup": info.rollup,
        "rollup_paused": info.rollup_paused,
        "leader": info.leader,
    })
}

/// Says in words what a batch is waiting for.
///
/// # Errors
/// See [`list`].
pub async fn explain(args: &BatchArgs) -> Result<()> {
    let explained = client(&args.client)?.explain(&args.batch_id).await?;
    if args.client.json {
        let reasons: Vec<Value> = explained
            .reasons
            .iter()
            .map(|reason| {
                json!({
                    "code": word(reason.code().as_str_name(), "REASON_CODE_"),
                    "task_id": reason.task_id,
                    "text": reason.text,
                })
            })
            .collect();
        let batch = explained.batch.as_ref().map(batch_json);
        return output::json(&json!({ "batch": batch, "reasons": reasons }));
    }
    if let Some(batch) = &explained.batch {
        output::line(batch_line(&BatchInfo {
            // The reasons say it.
            failure: String::new(),
            ..batch.clone()
        }))?;
    }
    explained
        .reasons
        .iter()
        .try_for_each(|reason| output::line(format!("- {}", reason.text)))
}

/// Queues a failed batch again.
///
/// # Errors
/// See [`list`].
pub async fn retry(args: &BatchArgs) -> Result<()> {
    let batch = client(&args.client)?.retry(&args.batch_id).await?;
    show(&batch, args.client.json)
}

/// Takes the newest batch back, if it is not proven.
///
/// # Errors
/// See [`list`].
pub async fn cancel(args: &BatchArgs) -> Result<()> {
    let batch = client(&args.client)?.cancel(&args.batch_id).await?;
    show(&batch, args.client.json)
}

fn show(batch: &BatchInfo, json: bool) -> Result<()> {
    match json {
        true => output::json(&batch_json(batch)),
        false => output::line(batch_line(batch)),
    }
}

/// Lists the workers that are connected.
///
/// # Errors
/// See [`list`].
pub async fn workers(args: &ServiceArgs) -> Result<()> {
    let workers = client(&args.client)?.workers().await?;
    if args.client.json {
        let workers: Vec<Value> = workers.iter().map(worker_json).collect();
        return output::json(&json!({ "workers": workers }));
    }
    workers
        .iter()
        .try_for_each(|worker| output::line(worker_line(worker)))
}

/// A worker on one line: `one  at work  proves shards and aggregations  b17-s3`.
pub fn worker_line(worker: &WorkerInfo) -> String {
    let state = match (worker.draining, worker.task_ids.is_empty()) {
        (true, _) => "draining",
        (false, true) => "idle",
        (false, false) => "at work",
    };
    let identity = match worker.identity.as_str() {
        "" => String::new(),
        identity => format!(" ({identity})"),
    };
    format!(
        "{}{identity}  {state}  proves {}  {}",
        worker.worker,
        kinds(worker).join(" and "),
        worker.task_ids.join(" ")
    )
    .trim_end()
    .to_owned()
}

fn kinds(worker: &WorkerInfo) -> Vec<&'static str> {
    let name = |kind| match kind {
        TaskKind::Shard => "shards",
        TaskKind::Aggregation => "aggregations",
        TaskKind::Unspecified => "unknown tasks",
    };
    worker.capabilities().map(name).collect()
}

/// A worker, for programs.
pub fn worker_json(worker: &WorkerInfo) -> Value {
    json!({
        "worker": worker.worker,
        "identity": worker.identity,
        "session_id": worker.session_id,
        "capabilities": worker.capabilities().map(|kind| word(kind.as_str_name(), "TASK_KIND_")).collect::<Vec<_>>(),
        "task_ids": worker.task_ids,
        "asking": worker.asking,
        "draining": worker.draining,
    })
}

/// Tells a worker to finish what it holds and to end.
///
/// # Errors
/// See [`list`]; no such worker is connected.
pub async fn drain(args: &DrainArgs) -> Result<()> {
    let held = client(&args.client)?.drain(&args.worker, &args.identity).await?;
    let done = format!("{} takes no more tasks and ends", args.worker);
    tell_held(&args.client.json, "draining", &done, &held)
}

/// Hands out no more tasks.
///
/// # Errors
/// See [`list`].
pub async fn pause(args: &PauseArgs) -> Result<()> {
    let held = client(&args.client)?.pause(&args.rollup).await?;
    let done = match args.rollup.as_str() {
        "" => "paused: no tasks are handed out until `resume`".to_owned(),
        rollup => format!("paused: no tasks of {rollup} are handed out until `resume --rollup {rollup}`"),
    };
    tell_held(&args.client.json, "paused", &done, &held)
}

/// Hands out tasks again.
///
/// # Errors
/// See [`list`].
pub async fn resume(args: &PauseArgs) -> Result<()> {
    client(&args.client)?.resume(&args.rollup).await?;
    match (args.client.json, args.rollup.as_str()) {
        (true, _) => output::json(&json!({ "paused": false })),
        (false, "") => output::line("tasks are handed out"),
        (false, rollup) => output::line(format!("tasks of {rollup} are handed out")),
    }
}

fn tell_held(json: &bool, name: &str, done: &str, held: &[String]) -> Result<()> {
    if *json {
        return output::json(&json!({ name: true, "task_ids": held }));
    }
    match held {
        [] => output::line(done),
        held => output::line(format!("{done}; still at work: {}", held.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_earns_is_said_by_token_and_no_odd_amount_is_a_number() {
        let fees = |token: u32, amount: &[u8]| TokenFees {
            token,
            amount: amount.to_vec().into(),
        };
        let of = |fees: Vec<TokenFees>, fee_tokens: u32| {
            billing_text(&BatchBilling {
                fees,
                fee_tokens,
                posted_bytes: 62,
                l1_gas_estimate: 398_295,
            })
        };
        let eth = 1_500_000_000_000_000u128.to_be_bytes();
        let most = u128::MAX.to_be_bytes();
        assert_eq!(of(vec![], 0), "~398295 L1 gas, no fees");
        assert_eq!(of(vec![fees(1, &eth)], 1), "~398295 L1 gas, fees 0.0015 ETH");
        assert_eq!(
            of(vec![fees(1, &eth), fees(7, &most)], 5),
            format!(
                "~398295 L1 gas, fees 0.0015 ETH and {} of token 7 and 3 more tokens",
                u128::MAX
            )
        );
        assert_eq!(
            of(vec![fees(2, &most[1..])], 1),
            "~398295 L1 gas, fees an unknown amount of token 2"
        );
    }
}
