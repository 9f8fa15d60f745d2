//! Rebuilds a rollup's state from L1 alone.

use std::time::{Duration, Instant};

use anyhow::Result;
use rules::derive::Derived;
use rules::field;
use rules::snapshot::Header;
use rules::stream::Group;
use serde_json::{Value, json};
use verifier_contracts::l1::L1;
use verifier_contracts::replica::{Step, Watch};

use crate::args::{DeriveArgs, RollupArgs};
use crate::derived::{Derivation, Start, l1_failure, read_snapshot, write_snapshot};
use crate::output;
use crate::progress::Progress;
use crate::signals::Signals;

/// Shortest time between two snapshots of a state that is followed.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);

impl RollupArgs {
    /// Where following begins.
    pub fn start(&self) -> Start {
        Start {
            contract: self.contract,
            block: self.start_block,
            confirmations: self.confirmations,
        }
    }
}

/// Derives the state, writes it, and with `--follow` goes on.
///
/// # Errors
/// When L1 fails or says what cannot be, or a file cannot be read or written.
pub async fn run(args: &DeriveArgs, progress: &Progress) -> Result<()> {
    let mut signals = Signals::take()?;
    let snapshot = args.snapshot.as_deref().map(read_snapshot).transpose()?;
    let l1 = L1::reader(&args.rollup.rpc).map_err(l1_failure)?;
    let started = Instant::now();
    let mut step = progress.step("derive the state");
    let (mut batches, mut operations) = (0, 0);
    let mut derivation = tokio::select! {
        () = signals.either() => return Ok(()),
        derivation = async {
            let mut derivation = Derivation::begin(&l1, &args.rollup.start(), Watch::Nobody, snapshot).await?;
            let caught_up = derivation.catch_up(|event| {
                if let Step::Batch(batch) = event {
                    batches += 1;
                    operations += operations_of(&batch.derived);
                    step.set(batches, format!("batch {}", batch.accepted.number));
                }
                Ok(())
            });
            caught_up.await?;
            Ok::<_, anyhow::Error>(derivation)
        } => derivation?,
    };
    step.finish(&format!("{batches} batches"));
    write(args, &derivation)?;
    let seconds = started.elapsed().as_secs_f64();
    tell(args, &derivation, batches, operations, seconds)?;
    if !args.follow {
        return Ok(());
    }
    let (mut written, mut is_new) = (Instant::now(), false);
    loop {
        let step = tokio::select! {
            () = signals.either() => break,
            step = derivation.next() => step?,
        };
        is_new |= !matches!(step, Step::Reached(_));
        follow(args, &step, derivation.replica().position().number)?;
        let is_whole = matches!(step, Step::Reached(_));
        if is_whole && is_new && written.elapsed() >= SNAPSHOT_PAUSE {
            write(args, &derivation)?;
            (written, is_new) = (Instant::now(), false);
        }
    }
    // In the midst of a block the snapshot of before stays.
    match is_new && derivation.header().is_ok() {
        true => write(args, &derivation),
        false => Ok(()),
    }
}

fn write(args: &DeriveArgs, derivation: &Derivation) -> Result<()> {
    let Some(path) = &args.out else {
        return Ok(());
    };
    write_snapshot(path, &derivation.header()?, derivation.state())
}

/// Operations of a batch: words that are not no-ops, and operations of the queue.
fn operations_of(derived: &Derived) -> u64 {
    let of = |group: &Group| group.words.iter().filter(|word| **word != 0).count() + usize::from(group.flag);
    derived.groups.iter().map(of).sum::<usize>() as u64
}

fn tell(
    args: &DeriveArgs,
    derivation: &Derivation,
    batches: u64,
    operations: u64,
    seconds: f64,
) -> Result<()> {
    let (header, accounts) = (derivation.header()?, derivation.state().accounts().len());
    if args.json {
        let mut value = header_json(&header);
        value["accounts"] = json!(accounts);
        value["derived"] = json!({ "batches": batches, "operations": operations, "seconds": seconds });
        return output::json(&value);
    }
    output::line(format!(
        "{} batches, {accounts} accounts, root {} at block {}: what the contract has",
        header.batches,
        field::to_hex(&header.root),
        header.block.number
    ))
}

/// A snapshot's header, for programs.
pub fn header_json(header: &Header) -> Value {
    json!({
        "rollup_id": header.rollup_id,
        "batches": header.batches.to_string(),
        "time": header.time.to_string(),
        "head": header.head.to_string(),
        "block": header.block,
        "root": field::to_hex(&header.root),
    })
}

/// What a follower sees. So many batches stand after it.
fn follow(args: &DeriveArgs, step: &Step, batches: u64) -> Result<()> {
    match step {
        Step::Batch(batch) => {
            let (accepted, operations) = (&batch.accepted, operations_of(&batch.derived));
            let (number, root) = (accepted.number, field::to_hex(&accepted.new_root));
            match args.json {
                true => output::json(&json!({
                    "batch": number.to_string(), "time": accepted.time.to_string(), "operations": operations,
                    "withdrawals": accepted.withdrawals, "root": root,
                })),
                false => output::line(format!("batch {number}: {operations} operations, root {root}")),
            }
        }
        Step::Undone { to, .. } => match args.json {
            true => output::json(&json!({ "undone_to_block": to.block, "batches": batches.to_string() })),
            false => output::line(format!(
                "L1 went back to block {}: {batches} batches stay",
                to.block
            )),
        },
        Step::Event(_) | Step::Reached(_) => Ok(()),
    }
}
