//! Makes a bearer token: a file for the client, a digest for the coordinator's access file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use rand::RngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

use crate::args::TokenArgs;
use crate::output;

/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 32;

/// Writes a token to a new file that only its owner reads, and prints its entry of the access file.
///
/// # Errors
/// When the file is there already or cannot be written.
pub fn token(args: &TokenArgs) -> Result<()> {
    let path = args.out.display();
    let mut bytes = [0; TOKEN_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("the system gives no random bytes")?;
    let token = hex::encode(bytes);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.out);
    let written = file.and_then(|mut file| {
        let whole = file
            .write_all(format!("{token}\n").as_bytes())
            .and_then(|()| file.sync_all());
        // Half a token would stand in the way of the next try.
        whole.inspect_err(|_| drop(fs::remove_file(&args.out)))
    });
    written.with_context(|| format!("cannot write {path}"))?;
    output::line(format!(
        "token_sha256 = [\"{}\"]",
        hex::encode(Sha256::digest(token))
    ))
}
