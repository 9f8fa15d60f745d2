//! The rollups of a service: listed, created, changed, deleted.

use std::path::Path;

use anyhow::{Result, ensure};
use proto::v1::{CreateRollupHeader, RollupInfo};
use serde_json::{Value, json};

use super::batch::{client, word};
use crate::args::{CreateRollupArgs, DeleteRollupArgs, RollupsCommand, ServiceArgs, SetRollupArgs};
use crate::client::measure;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::proof_file::to_hex;

/// Bytes of a snapshot after which it is said how far it is.
const TOLD_BYTES: u64 = 64 << 20;

/// Does what is asked for.
///
/// # Errors
/// When the coordinator cannot be reached or refuses, as of every command here.
pub async fn run(command: &RollupsCommand, progress: &Progress) -> Result<()> {
    match command {
        RollupsCommand::List(args) => list(args).await,
        RollupsCommand::Create(args) => create(args, progress).await,
        RollupsCommand::Set(args) => set(args).await,
        RollupsCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: &ServiceArgs) -> Result<()> {
    let rollups = client(&args.client)?.rollups().await?;
    if args.client.json {
        let rollups: Vec<Value> = rollups.iter().map(rollup_json).collect();
        return output::json(&json!({ "rollups": rollups }));
    }
    if rollups.is_empty() {
        return output::line("no rollup yet; `rollups create` adds one");
    }
    rollups
        .iter()
        .try_for_each(|rollup| output::line(rollup_line(rollup)))
}

async fn create(args: &CreateRollupArgs, progress: &Progress) -> Result<()> {
    let mut header = CreateRollupHeader {
        name: args.name.clone(),
        chain_id: args.chain_id,
        contract: args.contract.to_vec().into(),
        weight: args.weight,
        tenant: args.tenant.clone().unwrap_or_default(),
        ..CreateRollupHeader::default()
    };
    let snapshot = args.snapshot.as_deref();
    if let Some(path) = snapshot {
        let (bytes, sha256) = measure(path)?;
        ensure!(
            bytes > 0,
            "{} is empty: expected a snapshot, as `derive` writes it",
            path.display()
        );
        (header.snapshot_bytes, header.snapshot_sha256) = (bytes, sha256.to_vec().into());
    }
    let total = header.snapshot_bytes;
    let progress = progress.clone();
    let sent = move |bytes: u64| {
        if bytes % TOLD_BYTES < proto::CHUNK_BYTES_MAX as u64 || bytes == total {
            let (bytes, total) = (bytes >> 20, total >> 20);
            progress.say(&format!("snapshot: {bytes} of {total} MiB are sent"));
        }
    };
    let created = client(&args.client)?.create_rollup(header, snapshot, sent).await;
    let created = match snapshot {
        Some(path) => created.map_err(|error| naming(path, error))?,
        None => created?,
    };
    show(&created, args.client.json)
}

/// An error with the file that it may be about, and the exit code that it had.
fn naming(path: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) => {
            let message = format!("with the snapshot {}: {}", path.display(), failure.message);
            Failure::new(failure.exit, message).into()
        }
        Err(error) => error,
    }
}

async fn set(args: &SetRollupArgs) -> Result<()> {
    let tenant = match args.every_tenant {
        true => Some(String::new()),
        false => args.tenant.clone(),
    };
    let client = client(&args.client)?;
    let changed = client.update_rollup(&args.name, args.weight, tenant).await?;
    show(&changed, args.client.json)
}

async fn delete(args: &DeleteRollupArgs) -> Result<()> {
    let client = client(&args.client)?;
    let info = client.info(&args.name).await?;
    if !args.yes {
        let batches = info.next_batch_number - info.start_batch_number;
        if args.client.json {
            output::json(&json!({ "deleted": false, "rollup": args.name, "batches": batches }))?;
        }
        let first = match (info.rollup_paused, info.batches_open) {
            (_, open @ 1..) => {
                format!("first its {open} batches that are not proven must be, or be taken back, and then ")
            }
            (false, _) => format!("first `pause --rollup {}`, and then ", args.name),
            (true, 0) => String::new(),
        };
        let what = format!(
            "nothing was done: {first}with `--yes` an operator deletes {}, its state and {batches} batches with their proofs",
            args.name
        );
        return Err(Failure::new(Exit::Refused, what).into());
    }
    client.delete_rollup(&args.name, info.next_batch_number).await?;
    match args.client.json {
        true => output::json(&json!({ "deleted": true, "rollup": args.name })),
        false => output::line(format!("{} is deleted", args.name)),
    }
}

fn show(rollup: &RollupInfo, json: bool) -> Result<()> {
    match json {
        true => output::json(&rollup_json(rollup)),
        false => output::line(rollup_line(rollup)),
    }
}

/// A rollup on one line.
pub fn rollup_line(rollup: &RollupInfo) -> String {
    let state = match (
        rollup.paused,
        word(rollup.status().as_str_name(), "ROLLUP_STATUS_"),
    ) {
        (true, state) if state == "live" => "paused".to_owned(),
        (_, state) => state,
    };
    let tenant = match rollup.tenant.as_str() {
        "" => "every tenant".to_owned(),
        tenant => format!("tenant {tenant}"),
    };
    format!(
        "{:<16} {state:<8} weight {:<5} next batch {:<8} {} open  {} on chain {}  {tenant}",
        rollup.name,
        rollup.weight,
        rollup.next_batch_number,
        rollup.batches_open,
        to_hex(&rollup.contract),
        rollup.chain_id,
    )
}

/// A rollup, for programs.
pub fn rollup_json(rollup: &RollupInfo) -> Value {
    json!({
        "rollup": rollup.name,
        // Text, as in a proof file: not every reader of JSON has numbers of 64 bits.
        "chain_id": rollup.chain_id.to_string(),
        "contract": to_hex(&rollup.contract),
        "status": word(rollup.status().as_str_name(), "ROLLUP_STATUS_"),
        "paused": rollup.paused,
        "weight": rollup.weight,
        "tenant": rollup.tenant,
        "next_batch_number": rollup.next_batch_number,
        "head_root": to_hex(&rollup.head_root),
        "head_time": rollup.head_time,
        "queue_head": rollup.queue_head,
        "batches_open": rollup.batches_open,
        "start_batch_number": rollup.start_batch_number,
        "start_root": to_hex(&rollup.start_root),
        "created_unix_ms": rollup.created_unix_ms,
    })
}
