//! Runs the pinned forge with the pinned compiler in this crate's Foundry project:
//! `cargo run -p verifier-contracts --bin forge -- test`.

use std::{
    env,
    io::{self, Write as _},
    process::{Command, ExitCode},
};

use anyhow::Context;
use verifier_contracts::tools::Tools;

fn main() -> anyhow::Result<ExitCode> {
    let tools = Tools::ensure(&mut |line| drop(writeln!(io::stderr(), "{line}")))?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut forge = Command::new(tools.forge());
    forge.args(&arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    // forge reads the compiler's path from the environment too, which unlike `--use` suits every subcommand.
    forge
        .env("FOUNDRY_SOLC", tools.solc())
        .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1");
    let openzeppelin = tools.openzeppelin();
    forge
        .env(
            "FOUNDRY_REMAPPINGS",
            format!("@openzeppelin/contracts/={}/", openzeppelin.display()),
        )
        .env(
            "FOUNDRY_ALLOW_PATHS",
            format!("[{:?}]", openzeppelin.display().to_string()),
        );
    let status = forge
        .status()
        .with_context(|| format!("running {}", tools.forge().display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
