//! The operator's role, which it hands on itself, in two steps (P-14.2), and its fees.

use alloy::primitives::{Address, U256};
use anyhow::Result;
use serde_json::json;
use verifier_contracts::l1::Done;

use super::{Caller, done_json, ether};
use crate::args::{CallArgs, TransferOperatorArgs};
use crate::derived::l1_failure;
use crate::output::{self, Exit, Failure};

/// Names who is to be operator.
///
/// # Errors
/// When the caller is not the operator, L1 refuses, or nobody says yes.
pub async fn transfer_operator(args: &TransferOperatorArgs) -> Result<()> {
    let call = &args.call;
    let caller = Caller::connect(&call.rollup, &call.l1_key).await?;
    let operator = caller.deployment.roles().await.map_err(l1_failure)?.operator;
    let to = Address::from(args.to);
    if operator != caller.account() {
        let message = format!("the operator is {operator}, not {}", caller.account());
        return Err(Failure::new(Exit::Refused, message).into());
    }
    caller.ask(
        &call.consent,
        vec![format!(
            "name {to} to be operator; {operator} stays it until {to} accepts"
        )],
    )?;
    let done = caller
        .deployment
        .transfer_operator(to)
        .await
        .map_err(l1_failure)?;
    tell(&done, call, &format!("{to} may accept the role of the operator"))
}

/// Takes the role of the operator over.
///
/// # Errors
/// When the caller was not named, L1 refuses, or nobody says yes.
pub async fn accept_operator(args: &CallArgs) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let roles = caller.deployment.roles().await.map_err(l1_failure)?;
    if roles.pending_operator != caller.account() {
        let message = format!("{} was not named to be operator", caller.account());
        return Err(Failure::new(Exit::Refused, message).into());
    }
    caller.ask(
        &args.consent,
        vec![format!("become operator in the place of {}", roles.operator)],
    )?;
    let done = caller.deployment.accept_operator().await.map_err(l1_failure)?;
    tell(&done, args, &format!("{} is operator", caller.account()))
}

/// Pays the entries' prices to the fee address.
///
/// # Errors
/// When there are none, L1 refuses, or nobody says yes.
pub async fn collect_fees(args: &CallArgs) -> Result<()> {
    let caller = Caller::connect(&args.rollup, &args.l1_key).await?;
    let fees = caller.deployment.fees().await.map_err(l1_failure)?;
    let to = caller
        .deployment
        .parameters()
        .await
        .map_err(l1_failure)?
        .fee_address;
    if fees == U256::ZERO {
        let message = "the rollup has taken no fees on L1 that are not paid";
        return Err(Failure::new(Exit::Refused, message).into());
    }
    caller.ask(&args.consent, vec![format!("pay {} to {to}", ether(fees))])?;
    let done = caller.deployment.collect_fees().await.map_err(l1_failure)?;
    tell(&done, args, &format!("paid {} to {to}", ether(fees)))
}

fn tell(done: &Done, args: &CallArgs, words: &str) -> Result<()> {
    match args.consent.json {
        true => output::json(&json!({ "transaction": done_json(done) })),
        false => output::line(words),
    }
}
