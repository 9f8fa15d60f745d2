//! Runs the pinned forge with the pinned compiler in this crate's Foundry project:
//! `cargo run -p verifier-contracts --bin forge -- test`.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use verifier_contracts::tools::Tools;

fn main() -> anyhow::Result<ExitCode> {
    let tools = Tools::ensure(&mut |line| drop(writeln!(io::stderr(), "{line}")))?;
    let mut forge = tools.forge_in(Path::new(env!("CARGO_MANIFEST_DIR")));
    forge.args(env::args().skip(1));
    let status = forge
        .status()
        .with_context(|| format!("running {}", tools.forge().display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
