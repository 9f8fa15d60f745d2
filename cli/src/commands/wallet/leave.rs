//! How money leaves: claims, and after a freeze exits and refunds (section 13). Anybody may send them; only whom L1 owes is paid.

use std::path::Path;

use alloy::primitives::Address;
use anyhow::{Context, Result, ensure};
use rules::account::TokenId;
use rules::field;
use rules::outbox::Owed;
use rules::record::{Kind, Record};
use serde_json::json;
use verifier_contracts::events::Entry;
use verifier_contracts::l1::{Deadlines, Done, L1Error};
use verifier_contracts::replica::{Claim, Watch};

use super::token::Token;
use super::{Caller, derive, derive_seeing, done_json, is_frozen};
use crate::args::{CallArgs, ClaimArgs, LeaveArgs, OwedArgs};
use crate::derived::{l1_failure, read_snapshot};
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::wallet::meant::Meant;

/// Claims what L1 owes somebody and has not paid: all of it, what batches since a snapshot owe, or what named batches do.
///
/// # Errors
/// When it owes nothing, refuses, or nobody says yes.
pub async fn claim(args: &ClaimArgs, progress: &Progress) -> Result<()> {
    let ClaimArgs {
        snapshot,
        batch,
        owed,
    } = args;
    let caller = Caller::connect(&owed.rollup, &owed.l1_key).await?;
    let recipient = owed.recipient.unwrap_or(caller.account().into_array());
    let (mut claims, since) = match (snapshot, batch.is_empty()) {
        (None, false) => (Vec::new(), None),
        _ => {
            let watch = Watch::Recipients([Address::from(recipient)].into());
            let since = snapshot.as_deref().map(first_batch).transpose()?;
            let snapshot = snapshot.as_deref();
            let derivation = derive_seeing(&owed.rollup, snapshot, watch, progress, |_| Ok(())).await?;
            (derivation.replica().claims().cloned().collect(), since)
        }
    };
    for number in batch {
        let is_there = |claim: &Claim| claim.owed.batch == *number;
        if !claims.iter().any(is_there) {
            claims.extend(claims_of(&caller, *number, args).await?);
        }
    }
    claims.retain(|claim| claim.owed.recipient == recipient);
    let mut unpaid = Vec::new();
    for claim in &claims {
        let Owed { batch, position, .. } = claim.owed;
        if !caller
            .deployment
            .claimed(batch, position)
            .await
            .map_err(l1_failure)?
        {
            let token = token_of(&caller, claim.owed.token).await?;
            unpaid.push((claim, token));
        }
    }
    let before = since.filter(|since| *since > 0).map(|since| {
        format!(
            "the snapshot goes on with batch {since}: of those before it only what --batch names is looked at"
        )
    });
    if unpaid.is_empty() {
        let mut message = format!("L1 owes {} nothing that is not paid", Address::from(recipient));
        if since.is_none() && !batch.is_empty() {
            message = format!("{message}, by the batches that --batch names");
        }
        if let Some(before) = before {
            message = format!("{message}; {before}");
        }
        return Err(Failure::new(Exit::Refused, message).into());
    }
    if let Some(before) = before {
        progress.say(&before);
    }
    pay(&caller, owed, &unpaid, recipient, progress).await
}

/// The first batch behind a snapshot.
fn first_batch(path: &Path) -> Result<u64> {
    Ok(read_snapshot(path)?.0.batches)
}

/// All that a batch owes, from its own logs.
async fn claims_of(caller: &Caller, batch: u64, args: &ClaimArgs) -> Result<Vec<Claim>> {
    let deployment = &caller.deployment;
    let next = deployment.next_batch_number().await.map_err(l1_failure)?;
    if batch >= next {
        let message = format!("--batch {batch}: L1 has {next} batches, numbered from 0");
        return Err(Failure::new(Exit::Refused, message).into());
    }
    let found = deployment.find_claims(batch, args.owed.rollup.start_block).await;
    let found = found.map_err(l1_failure)?;
    found.with_context(|| {
        format!(
            "the L1 endpoint has no log with the data of batch {batch}, from block {} on",
            args.owed.rollup.start_block
        )
    })
}

/// Shows what is claimed, asks, and claims it.
async fn pay(
    caller: &Caller,
    args: &OwedArgs,
    unpaid: &[(&Claim, Token)],
    recipient: [u8; 20],
    progress: &Progress,
) -> Result<()> {
    let line = |(claim, token): &(&Claim, Token)| {
        let Owed {
            batch,
            position,
            amount,
            ..
        } = claim.owed;
        format!(
            "claim {}, owed since batch {batch} at position {position}",
            token.show(amount)
        )
    };
    let mut lines: Vec<String> = unpaid.iter().map(line).collect();
    lines.push(format!("for {}", Address::from(recipient)));
    caller.ask(&args.consent, lines)?;
    let mut owed_still = Unpaid::default();
    for (claim, token) in unpaid {
        let Owed {
            batch,
            position,
            amount,
            ..
        } = claim.owed;
        let what = format!("{} of batch {batch} at position {position}", token.show(amount));
        let paid = caller.deployment.claim(&claim.owed, &claim.siblings).await;
        let Some(done) = owed_still.see(paid, &what, progress)? else {
            continue;
        };
        match args.consent.json {
            true => output::json(&json!({
                "transaction": done_json(&done), "batch": batch.to_string(), "position": position, "token": token.id,
                "amount": amount.to_string(), "recipient": Address::from(recipient),
            }))?,
            false => output::line(format!("claimed {what}"))?,
        }
    }
    owed_still.none()
}

/// What L1 did not pay. A token that refuses, a stranger's perhaps, keeps back nothing of the others.
#[derive(Debug, Default)]
struct Unpaid(Vec<String>);

impl Unpaid {
    /// What was done; none where L1 refuses this payment, of which it is said.
    fn see(&mut self, paid: Result<Done, L1Error>, what: &str, progress: &Progress) -> Result<Option<Done>> {
        match paid {
            Ok(done) => Ok(Some(done)),
            Err(error @ (L1Error::Rejected(_) | L1Error::Refused(_) | L1Error::Failed { .. })) => {
                progress.say(&format!("not paid: {what}: {error}"));
                self.0.push(what.to_owned());
                Ok(None)
            }
            Err(error) => Err(l1_failure(error)),
        }
    }

    /// Fails unless all was paid.
    fn none(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let message = format!("L1 still owes {}", self.0.join(", and "));
        Err(Failure::new(Exit::Refused, message).into())
    }
}

/// Freezes the rollup for ever, when an entry of its queue was not consumed in time.
///
/// # Errors
/// When it was, or L1 refuses, or nobody says yes.
pub async fn freeze(args: &CallArgs) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let refuse = |message: String| anyhow::Error::from(Failure::new(Exit::Refused, message));
    let deployment = &caller.deployment;
    if is_frozen(deployment).await? {
        return Err(refuse("the rollup is frozen already".to_owned()));
    }
    let (head, tail) = deployment.queue_bounds().await.map_err(l1_failure)?;
    let deadlines = match head < tail {
        true => deployment.deadlines(head).await.map_err(l1_failure)?,
        false => None,
    };
    let Some(Deadlines { entered, freeze, .. }) = deadlines else {
        return Err(refuse(
            "no entry of the queue waits, so nothing can be overdue".to_owned(),
        ));
    };
    let now = deployment.l1().block_time().await.map_err(l1_failure)?;
    if now < freeze {
        return Err(refuse(format!(
            "entry {head} of the queue waits since {entered}; L1 freezes from {freeze} on, {} seconds after its last block (P-13.4)",
            freeze - now
        )));
    }
    caller.ask(
        &args.consent,
        vec![
            "freeze the rollup for ever: no batch and no entry will be taken any more".to_owned(),
            format!("since entry {head} of the queue waits since {entered}"),
        ],
    )?;
    let frozen = deployment.freeze().await.map_err(l1_failure)?;
    match args.consent.json {
        true => output::json(&json!({
            "transaction": done_json(&frozen.done), "batches": frozen.batches.to_string(), "head": frozen.head,
            "root": field::to_hex(&frozen.root),
        })),
        false => output::line(format!(
            "frozen after {} batches: `exit` and `refund` pay from now on",
            frozen.batches
        )),
    }
}

async fn require_frozen(caller: &Caller, what: &str) -> Result<()> {
    if is_frozen(&caller.deployment).await? {
        return Ok(());
    }
    let message =
        format!("the rollup is not frozen: {what} pays only then; `withdraw` and `force-exit` pay before");
    Err(Failure::new(Exit::Refused, message).into())
}

/// Pays an account of a frozen rollup out, by a proof of its leaf.
///
/// # Errors
/// When the rollup is not frozen, the account is not the one that is meant, has nothing or left, or nobody says yes.
pub async fn exit(args: &LeaveArgs, progress: &Progress) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    require_frozen(&caller, "`exit`").await?;
    let meant = Meant {
        index: args.account,
        owner: args.owner,
        l1_address: args.l1_address.unwrap_or(caller.account().into_array()),
    };
    let derivation = derive(&args.rollup, args.state.as_deref(), progress).await?;
    let account = meant.find(derivation.state())?;
    let (index, recipient) = (meant.index, Address::from(account.l1_address));
    let refuse = |message: String| anyhow::Error::from(Failure::new(Exit::Refused, message));
    if account.balance == 0 {
        return Err(refuse(format!("account {index} has nothing to pay")));
    }
    if caller.deployment.exited(index).await.map_err(l1_failure)? {
        return Err(refuse(format!("account {index} left already")));
    }
    let token = token_of(&caller, account.token).await?;
    caller.ask(
        &args.consent,
        vec![
            format!("exit of account {index} with {}", token.show(account.balance)),
            format!("to its L1 address {recipient}"),
        ],
    )?;
    let path = derivation.state().tree().path(index);
    let exited = caller
        .deployment
        .exit(index, &account, &path)
        .await
        .map_err(l1_failure)?;
    match args.consent.json {
        true => output::json(&json!({
            "transaction": done_json(&exited.done), "index": index, "token": account.token, "amount": account.balance.to_string(),
            "recipient": recipient, "root": field::to_hex(&derivation.state().root()),
        })),
        false => output::line(format!("paid {} to {recipient}", token.show(account.balance))),
    }
}

/// Takes back the deposits that a frozen rollup never consumed.
///
/// # Errors
/// When it is not frozen, there are none, or nobody says yes.
pub async fn refund(args: &OwedArgs, progress: &Progress) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    require_frozen(&caller, "`refund`").await?;
    let depositor = args.recipient.unwrap_or(caller.account().into_array());
    // The entries that wait, by their own logs: a state is not needed for it.
    let (head, tail) = caller.deployment.queue_bounds().await.map_err(l1_failure)?;
    let waiting: Vec<u64> = (head..tail).collect();
    let start = args.rollup.start_block;
    let entries = caller.deployment.find_entries(&waiting, start).await;
    let entries = entries.map_err(l1_failure)?;
    ensure!(
        entries.len() == waiting.len(),
        "the L1 endpoint has the logs of {} entries of the {} that wait, from block {start} on",
        entries.len(),
        waiting.len()
    );
    let mut refunds = Vec::new();
    for Entry { number, record, .. } in &entries {
        let is_deposit = matches!(record.kind, Kind::DepositNew | Kind::DepositExisting) && record.amount > 0;
        if !is_deposit || record.address != depositor {
            continue;
        }
        if !caller.deployment.refunded(*number).await.map_err(l1_failure)? {
            refunds.push((*number, *record, token_of(&caller, record.token).await?));
        }
    }
    if refunds.is_empty() {
        let message = format!(
            "no deposit of {} waits that is not paid back",
            Address::from(depositor)
        );
        return Err(Failure::new(Exit::Refused, message).into());
    }
    let line = |(entry, record, token): &(u64, Record, Token)| {
        format!(
            "refund of entry {entry}, a deposit of {}",
            token.show(record.amount)
        )
    };
    let mut lines: Vec<String> = refunds.iter().map(line).collect();
    lines.push(format!("to its depositor {}", Address::from(depositor)));
    caller.ask(&args.consent, lines)?;
    let mut unpaid = Unpaid::default();
    for (entry, record, token) in refunds {
        let what = format!("{} of entry {entry}", token.show(record.amount));
        let paid = caller.deployment.refund(entry, &record).await;
        let Some(done) = unpaid.see(paid, &what, progress)? else {
            continue;
        };
        match args.consent.json {
            true => output::json(&json!({
                "transaction": done_json(&done), "entry": entry, "token": token.id,
                "amount": record.amount.to_string(), "recipient": Address::from(depositor),
            }))?,
            false => output::line(format!("entry {entry}: {} paid back", token.show(record.amount)))?,
        }
    }
    unpaid.none()
}

/// A token whose contract does not say its decimals must not stand in the way of leaving: its amounts are then in smallest units.
async fn token_of(caller: &Caller, id: TokenId) -> Result<Token> {
    Token::shown(&caller.deployment, id).await
}
