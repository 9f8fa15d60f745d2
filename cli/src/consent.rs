//! What is signed or sent is shown first, and done only by somebody's word.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context, Result};

use crate::args::ConsentArgs;
use crate::output::{self, Exit, Failure};

/// Shows what would be done, and asks a person, unless the arguments say yes already.
///
/// # Errors
/// When the answer is no, or there is nobody to ask.
pub fn ask(args: &ConsentArgs, what: &str, lines: &[String]) -> Result<()> {
    output::tell(format_args!("{what}:"));
    for line in lines {
        output::tell(format_args!("  {line}"));
    }
    if args.yes {
        return Ok(());
    }
    let refuse = |message: &str| Err(Failure::new(Exit::Refused, message).into());
    let input = io::stdin();
    if !input.is_terminal() {
        return refuse("nothing was done: there is nobody to ask; --yes does it without asking");
    }
    let _ = write!(io::stderr(), "Do it? [y/N] ");
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    read.context("cannot read the answer")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => refuse("nothing was done"),
    }
}
