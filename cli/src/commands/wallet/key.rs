//! Key files.

use anyhow::Result;
use serde_json::json;
use verifier_contracts::l1::account_of;

use super::l2_key;
use crate::args::{WalletArgs, WalletCommand, WalletNewArgs, WalletShowArgs};
use crate::output;
use crate::wallet::keys::{Secret, owner_text};

/// Makes a key, or shows its public half.
///
/// # Errors
/// When a file is there already, or cannot be read or written.
pub fn wallet(args: &WalletArgs) -> Result<()> {
    match &args.command {
        WalletCommand::New(args) => new(args),
        WalletCommand::Show(args) => show(args),
    }
}

fn new(args: &WalletNewArgs) -> Result<()> {
    let secret = Secret::random()?;
    secret.write_new(&args.out)?;
    tell(&secret, args.json)
}

fn show(args: &WalletShowArgs) -> Result<()> {
    if let Some(path) = &args.l1_key_file {
        let address = account_of(&Secret::read(path)?.to_text())?;
        return match args.json {
            true => output::json(&json!({ "l1_address": address })),
            false => output::line(address),
        };
    }
    tell(&l2_key(&args.key)?, args.json)
}

fn tell(secret: &Secret, json: bool) -> Result<()> {
    let owner = secret.l2().public();
    match json {
        true => output::json(&json!({ "owner": owner_text(&owner), "key": owner })),
        false => output::line(owner_text(&owner)),
    }
}
