//! Operations that owners sign. They are written as JSON (P-4.12); whoever makes batches takes them from there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use keys::whole_file;
use rules::account::TokenId;
use rules::eddsa::PrivateKey;
use rules::operation::Expiry;
use serde_json::json;

use super::token::Token;
use super::{Source, l2_key};
use crate::args::{
    ConsentArgs, CreateAccountArgs, OwnArgs, PaymentArgs, StateArgs, TransferArgs, WithdrawArgs,
};
use crate::commands::batch::now;
use crate::consent;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::wallet::intent::{Ground, Intent, Payment};
use crate::wallet::meant::Meant;

/// Signs a transfer.
///
/// # Errors
/// When an account is not the one that is meant, no batch would take the transfer, or nobody says yes.
pub async fn transfer(args: &TransferArgs, progress: &Progress) -> Result<()> {
    let (own, key) = own(&args.own)?;
    let source = source(&args.state, progress).await?;
    let token = token_of(&source, &own, &args.payment).await?;
    let to = Meant {
        index: args.to,
        owner: args.to_owner,
        l1_address: args.to_address,
    };
    let payment = payment(&args.payment, &token)?;
    let intent = Intent::transfer(ground(&source)?, &own, &to, payment, token.unit)?;
    sign(&intent, &key, &source, &token, &args.consent, args.out.as_deref())
}

/// Signs a withdrawal.
///
/// # Errors
/// As [`transfer`].
pub async fn withdraw(args: &WithdrawArgs, progress: &Progress) -> Result<()> {
    let (own, key) = own(&args.own)?;
    let source = source(&args.state, progress).await?;
    let token = token_of(&source, &own, &args.payment).await?;
    let payment = payment(&args.payment, &token)?;
    let intent = Intent::withdrawal(ground(&source)?, &own, payment, token.unit)?;
    sign(&intent, &key, &source, &token, &args.consent, args.out.as_deref())
}

/// Signs the creation of an account.
///
/// # Errors
/// When there is no such token, or nobody says yes.
pub async fn create_account(args: &CreateAccountArgs, progress: &Progress) -> Result<()> {
    let key = l2_key(&args.key)?.l2();
    let source = source(&args.state, progress).await?;
    // No amount is said, so the decimals do not matter where L1 is not asked.
    let decimals = source
        .deployment()
        .is_none()
        .then_some(0)
        .filter(|_| args.token != 1);
    let token = Token::find(source.deployment(), TokenId(args.token), decimals).await?;
    let intent = Intent::creation(ground(&source)?, token.id, key.public(), args.l1_address)?;
    sign(&intent, &key, &source, &token, &args.consent, args.out.as_deref())
}

/// The state to sign on, of a rollup that still takes batches.
async fn source(args: &StateArgs, progress: &Progress) -> Result<Source> {
    let source = Source::load(args, progress).await?;
    if source.is_frozen().await? {
        let message =
            "the rollup is frozen (P-13.4): no batch will have what is signed; `exit` and `refund` pay";
        return Err(Failure::new(Exit::Refused, message).into());
    }
    Ok(source)
}

fn own(args: &OwnArgs) -> Result<(Meant, PrivateKey)> {
    let key = l2_key(&args.key)?.l2();
    let meant = Meant {
        index: args.account,
        owner: key.public(),
        l1_address: args.l1_address,
    };
    Ok((meant, key))
}

async fn token_of(source: &Source, own: &Meant, args: &PaymentArgs) -> Result<Token> {
    let account = own.find(source.state())?;
    Token::find(source.deployment(), account.token, args.decimals).await
}

fn payment(args: &PaymentArgs, token: &Token) -> Result<Payment> {
    let expiry = match args.valid_for {
        0 => Expiry::NEVER,
        seconds => Expiry::new(now()?.saturating_add(seconds)).context("--valid-for")?,
    };
    Ok(Payment {
        amount: token.unit.parse(&args.amount).context("--amount")?,
        fee: token.unit.parse(&args.fee).context("--fee")?,
        nonce: args.nonce,
        expiry,
    })
}

/// The next batch's time is the last one's at least, and likely the time now.
fn ground(source: &Source) -> Result<Ground<'_>> {
    let header = source.header()?;
    Ok(Ground {
        rollup_id: header.rollup_id,
        state: source.state(),
        time: now()?.max(header.time),
    })
}

fn sign(
    intent: &Intent,
    key: &PrivateKey,
    source: &Source,
    token: &Token,
    consent: &ConsentArgs,
    out: Option<&Path>,
) -> Result<()> {
    let rollup_id = source.header()?.rollup_id;
    let mut lines = intent.lines(&rollup_id, token.unit, &token.name);
    lines.extend(intent.accounts().flat_map(|index| source.waiting(index)));
    consent::ask(consent, "to be signed", &lines)?;
    let operation = intent.sign(key, &rollup_id);
    let text = serde_json::to_string_pretty(&operation)? + "\n";
    match out {
        None => output::json(&operation),
        Some(path) => {
            // It may be the key itself, or an operation that nobody has carried yet.
            ensure!(
                !path.is_file(),
                "{} is there already: name a new file with --out",
                path.display()
            );
            whole_file::write(path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
            match consent.json {
                true => output::json(&json!({ "file": path, "operation": operation })),
                false => output::line(path.display()),
            }
        }
    }
}
