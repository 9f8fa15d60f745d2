//! What enters L1's queue: deposits, forced exits, key changes, tokens (section 12).

use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use rules::account::TokenId;
use rules::operation::Queued;
use rules::record::Kind;
use serde_json::{Value, json};
use verifier_contracts::l1::Entered;

use super::token::Token;
use super::{Caller, check_caller, derive, done_json, ether, l2_key, waiting};
use crate::args::{AddTokenArgs, ChangeKeyArgs, DepositArgs, LeaveArgs};
use crate::derived::l1_failure;
use crate::output;
use crate::progress::Progress;
use crate::wallet::keys::owner_text;
use crate::wallet::meant::Meant;

/// Deposits to a new account or to one that there is.
///
/// # Errors
/// When the account is not the one that is meant, L1 refuses, or nobody says yes.
pub async fn deposit(args: &DepositArgs, progress: &Progress) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let deployment = &caller.deployment;
    let token = Token::find(Some(deployment), TokenId(args.token), args.decimals).await?;
    let amount = token.unit.parse(&args.amount).context("--amount")?;
    ensure!(amount > 0, "a deposit is of at least one smallest unit");
    let (to, before) = existing(args, &token, progress).await?.unzip();
    let (kind, owner, l1_address, whose) = match &to {
        Some(to) => {
            let whose = format!("to account {}", to.index);
            (
                Kind::DepositExisting,
                to.owner,
                Address::from(to.l1_address),
                whose,
            )
        }
        None => {
            let owner = l2_key(&args.key)?.l2().public();
            (
                Kind::DepositNew,
                owner,
                caller.account(),
                "to a new account".to_owned(),
            )
        }
    };
    let mut lines = vec![
        format!("deposit {}", token.show(amount)),
        whose,
        format!("of the key {}", owner_text(&owner)),
        format!("and the L1 address {l1_address}"),
    ];
    let approval = deployment.approval(token.id, amount).await.map_err(l1_failure)?;
    if let Some(approval) = &approval {
        lines.push(format!(
            "after an approval of as much at the token's contract {}",
            approval.token
        ));
    }
    lines.extend(price_line(deployment.price(kind).await.map_err(l1_failure)?));
    lines.extend(before.unwrap_or_default());
    caller.ask(&args.consent, lines)?;
    if let Some(approval) = &approval {
        deployment.approve(approval).await.map_err(l1_failure)?;
    }
    let entered = match &to {
        None => deployment.deposit_new(token.id, amount, &owner).await,
        Some(to) => {
            deployment
                .deposit_to(token.id, amount, to.index, l1_address, &owner)
                .await
        }
    };
    tell_entry(&entered.map_err(l1_failure)?, Some(&token), args.consent.json)
}

/// The account that a deposit is for, if it is one that there is, and what waits to change it.
async fn existing(
    args: &DepositArgs,
    token: &Token,
    progress: &Progress,
) -> Result<Option<(Meant, Vec<String>)>> {
    let (Some(index), Some(owner), Some(l1_address)) = (args.to, args.to_owner, args.to_address) else {
        return Ok(None);
    };
    let meant = Meant {
        index,
        owner,
        l1_address,
    };
    let derivation = derive(&args.rollup, args.state.as_deref(), progress).await?;
    let account = meant.find(derivation.state())?;
    ensure!(
        account.token == token.id,
        "account {index} has token {}, the deposit is of token {}",
        account.token,
        token.id
    );
    Ok(Some((meant, waiting(&derivation, index))))
}

/// Asks L1 for the whole balance of an account, whatever the operator does.
///
/// # Errors
/// As [`deposit`].
pub async fn force_exit(args: &LeaveArgs, progress: &Progress) -> Result<()> {
    let (caller, meant, token, before) = of_account(args, progress).await?;
    let price = caller
        .deployment
        .price(Kind::ForcedExit)
        .await
        .map_err(l1_failure)?;
    let mut lines = vec![
        format!(
            "force the exit of account {}, all that it has by then",
            meant.index
        ),
        format!("to its L1 address {}", Address::from(meant.l1_address)),
    ];
    lines.extend(price_line(price));
    lines.extend(before);
    caller.ask(&args.consent, lines)?;
    let entered = caller.deployment.force_exit(meant.index, token).await;
    tell_entry(&entered.map_err(l1_failure)?, None, args.consent.json)
}

/// Gives an account another key.
///
/// # Errors
/// As [`deposit`].
pub async fn change_key(args: &ChangeKeyArgs, progress: &Progress) -> Result<()> {
    let (caller, meant, _, before) = of_account(&args.account, progress).await?;
    let price = caller
        .deployment
        .price(Kind::KeyChange)
        .await
        .map_err(l1_failure)?;
    let mut lines = vec![
        format!("give account {} another key", meant.index),
        format!("in the place of {}", owner_text(&meant.owner)),
        format!("this one: {}", owner_text(&args.new_owner)),
    ];
    lines.extend(price_line(price));
    lines.extend(before);
    caller.ask(&args.account.consent, lines)?;
    let entered = caller.deployment.change_key(meant.index, &args.new_owner).await;
    tell_entry(&entered.map_err(l1_failure)?, None, args.account.consent.json)
}

/// The account that is meant, whose L1 address must be the one that calls, its token, and what waits to change it.
async fn of_account(args: &LeaveArgs, progress: &Progress) -> Result<(Caller, Meant, TokenId, Vec<String>)> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let meant = Meant {
        index: args.account,
        owner: args.owner,
        l1_address: args.l1_address.unwrap_or(caller.account().into_array()),
    };
    let derivation = derive(&args.rollup, args.state.as_deref(), progress).await?;
    let account = meant.find(derivation.state())?;
    check_caller(caller.account(), account.l1_address)?;
    let before = waiting(&derivation, meant.index);
    Ok((caller, meant, account.token, before))
}

/// Gives a token an id.
///
/// # Errors
/// When L1 refuses, or nobody says yes.
pub async fn add_token(args: &AddTokenArgs) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let deployment = &caller.deployment;
    let address = Address::from(args.token_address);
    if let Some(id) = deployment.token_id(address).await.map_err(l1_failure)? {
        anyhow::bail!("the token at {address} has the id {id} already (P-12.9)");
    }
    let price = deployment.token_price().await.map_err(l1_failure)?;
    let next = u32::from(deployment.last_token().await.map_err(l1_failure)?.0) + 1;
    let mut lines = vec![
        format!("give the token at {address} an id: {next}, if nobody is faster"),
        format!("paying {} for the id", ether(price)),
    ];
    lines.extend(price_line(
        deployment.price(Kind::DepositNew).await.map_err(l1_failure)?,
    ));
    caller.ask(&args.consent, lines)?;
    let added = deployment.add_token(address).await.map_err(l1_failure)?;
    match args.consent.json {
        true => {
            let mut value = entry_json(&added.entered)?;
            value["token"] = json!(added.id);
            output::json(&value)
        }
        false => output::line(format!("the token at {address} has the id {}", added.id)),
    }
}

fn price_line(price: U256) -> Option<String> {
    let line = || {
        format!(
            "paying {} for the entry; twice as much is sent, and what is too much comes back",
            ether(price)
        )
    };
    (price != U256::ZERO).then(line)
}

/// Says which entry of the queue a call made.
fn tell_entry(entered: &Entered, token: Option<&Token>, json: bool) -> Result<()> {
    if json {
        return output::json(&entry_json(entered)?);
    }
    let Entered { entry, record, .. } = entered;
    let amount = token.map(|token| format!(" of {}", token.show(record.amount)));
    output::line(format!(
        "entry {entry} of the queue: {}{}, account {}",
        record.kind,
        amount.unwrap_or_default(),
        record.index
    ))
}

fn entry_json(entered: &Entered) -> Result<Value> {
    Ok(json!({
        "transaction": done_json(&entered.done),
        "entry": entered.entry,
        "index": entered.record.index,
        "queued": Queued::new(entered.record)?,
    }))
}
