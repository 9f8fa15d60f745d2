//! Looks at accounts. One is shown only when it has the key and the L1 address that are meant (P-5.8).

use alloy::primitives::Address;
use anyhow::{Context, Result};
use rules::account::{Account, AccountIndex};
use rules::derive::Derived;
use rules::eddsa::PublicKey;
use rules::operation::Word;
use rules::record::{Kind, Record};
use serde_json::{Value, json};
use verifier_contracts::l1::Deployment;
use verifier_contracts::replica::{Step, Watch};

use super::token::Token;
use super::{Source, derive_seeing, is_frozen, l2_key};
use crate::args::{AccountArgs, HistoryArgs, L2KeyArgs};
use crate::derived::l1_failure;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::wallet::meant::Meant;

/// Shows an account, or all of a key and an L1 address.
///
/// # Errors
/// When it is not the one that is meant, there is none, or L1 fails.
pub async fn account(args: &AccountArgs, progress: &Progress) -> Result<()> {
    let owner = owner_of(args.owner, &args.key)?;
    let source = Source::load(&args.state, progress).await?;
    let found = match args.account {
        Some(index) => {
            let meant = Meant {
                index,
                owner,
                l1_address: args.l1_address,
            };
            vec![(index, meant.find(source.state())?)]
        }
        None => Meant::all(source.state(), owner, args.l1_address),
    };
    if found.is_empty() {
        let message = "no account has this key and this L1 address";
        return Err(Failure::new(Exit::Refused, message).into());
    }
    let frozen = source.is_frozen().await?;
    let mut left = Vec::new();
    for (index, _) in &found {
        left.push(frozen && has_left(source.deployment(), *index).await?);
    }
    if args.json {
        let accounts = found
            .iter()
            .zip(&left)
            .map(|((index, account), left)| json!({ "index": index, "account": account, "left": left }));
        let accounts: Vec<Value> = accounts.collect();
        let header = super::super::derive::header_json(&source.header()?);
        return output::json(&json!({ "state": header, "frozen": frozen, "accounts": accounts }));
    }
    for ((index, account), left) in found.iter().zip(left) {
        let balance = match source.deployment() {
            Some(deployment) => Token::shown(deployment, account.token)
                .await?
                .show(account.balance),
            None if account.token == super::token::ETH => Token::find(None, account.token, None)
                .await?
                .show(account.balance),
            None => format!("{} smallest units of token {}", account.balance, account.token),
        };
        output::line(format!(
            "account {index}: {balance}, nonce {}{}",
            account.nonce,
            end_of(frozen, left)
        ))?;
    }
    Ok(())
}

/// Whether L1 paid the account after a freeze.
async fn has_left(deployment: Option<&Deployment>, index: AccountIndex) -> Result<bool> {
    match deployment {
        Some(deployment) => deployment.exited(index).await.map_err(l1_failure),
        None => Ok(false),
    }
}

/// What a freeze makes of a balance.
fn end_of(frozen: bool, left: bool) -> &'static str {
    match (frozen, left) {
        (_, true) => "; the rollup is frozen, and L1 has paid this: the account has left",
        (true, false) => "; the rollup is frozen: `exit` pays this",
        (false, false) => "",
    }
}

fn owner_of(owner: Option<PublicKey>, key: &L2KeyArgs) -> Result<PublicKey> {
    match owner {
        Some(owner) => Ok(owner),
        None => Ok(l2_key(key)
            .context("or name the public key with --owner")?
            .l2()
            .public()),
    }
}

/// What a batch, or the queue, did with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// The batch; none for what waits in the queue.
    batch: Option<(u64, u64)>,
    what: &'static str,
    /// The other account, or the L1 address.
    other: Option<String>,
    amount: Option<u128>,
    fee: Option<u128>,
    /// Why an operation of the queue had no effect.
    code: Option<u8>,
    /// The account's balance after the batch.
    balance: Option<u128>,
}

/// Shows all that happened to an account.
///
/// # Errors
/// As [`account`].
pub async fn history(args: &HistoryArgs, progress: &Progress) -> Result<()> {
    let owner = owner_of(args.owner, &args.key)?;
    let index = args.account;
    let mut items: Vec<Item> = Vec::new();
    let mut next = 0;
    let derivation = derive_seeing(
        &args.rollup,
        args.state.as_deref(),
        Watch::Nobody,
        progress,
        |step| {
            match step {
                Step::Batch(batch) => {
                    let place = (batch.accepted.number, batch.accepted.time);
                    items.extend(of_batch(index, place, &batch.derived));
                    next = batch.accepted.number + 1;
                }
                Step::Undone { batches, .. } => {
                    next -= *batches as u64;
                    items.retain(|item| item.batch.is_some_and(|(batch, _)| batch < next));
                }
                Step::Event(_) | Step::Reached(_) => {}
            }
            Ok(())
        },
    )
    .await?;
    let meant = Meant {
        index,
        owner,
        l1_address: args.l1_address,
    };
    let found = meant.find(derivation.state())?;
    let waiting = derivation.replica().waiting().map(|entry| &entry.record);
    let pending = waiting.filter(|record| record.index == index);
    items.extend(pending.map(|record| Item {
        balance: None,
        ..of_record(record, None)
    }));
    let deployment = derivation.deployment();
    let token = Token::shown(deployment, found.token).await?;
    let frozen = is_frozen(deployment).await?;
    let left = frozen && has_left(Some(deployment), index).await?;
    if args.json {
        let items: Vec<Value> = items.iter().map(Item::json).collect();
        return output::json(&json!({
            "index": index, "account": found, "frozen": frozen, "left": left, "history": items,
        }));
    }
    for item in &items {
        output::line(item.line(&token))?;
    }
    let balance = token.show(found.balance);
    output::line(format!("account {index} has {balance}{}", end_of(frozen, left)))
}

/// What a batch did with an account, in order.
fn of_batch(index: AccountIndex, batch: (u64, u64), derived: &Derived) -> Vec<Item> {
    let change = derived.changes.iter().find(|change| change.index == index);
    let mut records = derived.records.iter();
    let mut items = Vec::new();
    for group in &derived.groups {
        if group.flag {
            let record = records.next().filter(|record| record.index == index);
            items.extend(record.map(|record| of_record(record, Some(batch))));
        }
        for word in group.words {
            // It was read by the rules before.
            let word = Word::from_integer(word).unwrap_or(Word::NoOp);
            items.extend(of_word(index, batch, &word, &mut records));
        }
    }
    let Some(after) = change.and_then(|change| change.after) else {
        return items;
    };
    if items.is_empty() {
        let before = change
            .and_then(|change| change.before)
            .map_or(0, |before: Account| before.balance);
        items.push(Item {
            amount: after.balance.checked_sub(before),
            ..item(Some(batch), "fees")
        });
    }
    if let Some(last) = items.last_mut() {
        last.balance = Some(after.balance);
    }
    items
}

fn item(batch: Option<(u64, u64)>, what: &'static str) -> Item {
    Item {
        batch,
        what,
        other: None,
        amount: None,
        fee: None,
        code: None,
        balance: None,
    }
}

fn of_word<'a>(
    index: AccountIndex,
    batch: (u64, u64),
    word: &Word,
    records: &mut impl Iterator<Item = &'a Record>,
) -> Vec<Item> {
    let mut items = Vec::new();
    match word {
        Word::NoOp => {}
        Word::Transfer(transfer) => {
            let amount = Some(transfer.amount.value());
            if transfer.from == index {
                items.push(Item {
                    other: Some(transfer.to.to_string()),
                    amount,
                    fee: Some(transfer.fee.value()),
                    ..item(Some(batch), "sent")
                });
            }
            if transfer.to == index {
                items.push(Item {
                    other: Some(transfer.from.to_string()),
                    amount,
                    ..item(Some(batch), "received")
                });
            }
        }
        Word::Withdrawal { fee, .. } => {
            let record = records.next().filter(|record| record.index == index);
            items.extend(record.map(|record| Item {
                fee: Some(fee.value()),
                ..of_record(record, Some(batch))
            }));
        }
        Word::Creation { .. } => {
            let record = records.next().filter(|record| record.index == index);
            items.extend(record.map(|record| of_record(record, Some(batch))));
        }
    }
    items
}

fn of_record(record: &Record, batch: Option<(u64, u64)>) -> Item {
    let what = match record.kind {
        Kind::DepositNew | Kind::DepositExisting => "deposit",
        Kind::ForcedExit => "forced exit",
        Kind::KeyChange => "key change",
        Kind::Withdrawal => "withdrawal",
        Kind::Creation => "created",
    };
    let has_amount = !matches!(record.kind, Kind::KeyChange | Kind::Creation);
    Item {
        other: Some(Address::from(record.address).to_string()),
        amount: (has_amount && !(record.kind == Kind::ForcedExit && batch.is_none()))
            .then_some(record.amount),
        code: (record.code != 0).then_some(record.code),
        ..item(batch, what)
    }
}

impl Item {
    fn json(&self) -> Value {
        json!({
            "batch": self.batch.map(|(batch, _)| batch.to_string()),
            "time": self.batch.map(|(_, time)| time.to_string()),
            "what": self.what,
            "other": self.other,
            "amount": self.amount.map(|amount| amount.to_string()),
            "fee": self.fee.map(|fee| fee.to_string()),
            "code": self.code,
            "balance": self.balance.map(|balance| balance.to_string()),
        })
    }

    fn line(&self, token: &Token) -> String {
        let place = match self.batch {
            Some((batch, time)) => format!("batch {batch} ({time})"),
            None => "waits in the queue".to_owned(),
        };
        let mut line = format!("{place}: {}", self.what);
        if let Some(amount) = self.amount {
            line += &format!(" {}", token.show(amount));
        }
        if let Some(other) = &self.other {
            let word = match self.what {
                "sent" | "withdrawal" | "forced exit" => "to",
                "received" | "deposit" => "from",
                _ => "by",
            };
            line += &format!(" {word} {other}");
        }
        if let Some(fee) = self.fee.filter(|fee| *fee != 0) {
            line += &format!(", fee {}", token.show(fee));
        }
        if let Some(code) = self.code {
            line += &format!(", without effect (code {code} of P-4.11)");
        }
        if let Some(balance) = self.balance {
            line += &format!("; has {} then", token.show(balance));
        }
        line
    }
}
