//! `rollup-prover`: one binary for every role of the prover service, and for those who use it.

// They panic where the stream cannot be written: `output` writes.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod bounded;
mod client;
mod commands;
mod connection;
mod consent;
mod demo;
mod derived;
mod environment;
#[cfg(test)]
mod fuzz;
mod guard;
mod health;
mod l1_check;
mod metrics;
mod output;
mod processor;
mod progress;
mod proof_file;
mod settlement;
mod signals;
mod traces;
mod wallet;

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use rustix::process::{Resource, getrlimit};

use args::{Cli, Command, LogFormat};
use progress::Progress;

/// File descriptors, beyond those that are open, without which nothing is begun. tokio panics where its runtime gets none; it takes
/// fewer than these.
const DESCRIPTORS_MIN: u64 = 16;

fn main() -> ExitCode {
    accel::signals::ignore_file_size_signal();
    let cli = Cli::read();
    if let Some(lacks) = processor::lacks() {
        return output::report(&anyhow::anyhow!(lacks));
    }
    let progress = Progress::for_stderr();
    if let Err(problem) = start_log(cli.log_format, &cli.command, &progress) {
        Cli::command().error(ErrorKind::InvalidValue, problem).exit();
    }
    if let Err(error) = prover::hashing::install() {
        tracing::warn!(%error, "hashes take several times as long");
    }
    match run(cli.command, cli.log_format, &progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::report(&error),
    }
}

fn run(command: Command, log_format: LogFormat, progress: &Progress) -> Result<()> {
    match command {
        Command::Keygen(args) => commands::keys::keygen(&args, progress),
        Command::Doctor(args) => commands::doctor::run(&args, progress),
        Command::SampleBatch(args) => commands::batch::sample(&args),
        Command::Token(args) => commands::token::token(&args),
        Command::Verify(args) => commands::keys::verify(&args, progress),
        Command::ExportKeys(args) => commands::keys::export_keys(&args, progress),
        Command::ExportVerifier(args) => commands::contracts::export_verifier(&args, progress),
        Command::Deploy(args) => block_on(commands::contracts::deploy(args, progress)),
        Command::VerifyDeployed(args) => block_on(commands::contracts::verify_deployed(args, progress)),
        Command::Backup(args) => commands::store::backup(&args, progress),
        Command::Restore(args) => commands::store::restore(&args, progress),
        Command::Guard(args) => guard::run(args.pid),
        Command::ProverProcess(args) => commands::roles::prover_process(args, progress),
        Command::Demo(args) => block_on(demo::run(&args, progress)),
        Command::Coordinator(args) => block_on(commands::roles::coordinator(args, progress)),
        Command::Worker(args) => block_on(commands::roles::worker(args, log_format, progress)),
        Command::List(args) => block_on(commands::operator::list(&args)),
        Command::Health(args) => block_on(commands::health::run(&args)),
        Command::Rollups(command) => block_on(commands::rollups::run(&command, progress)),
        Command::Info(args) => block_on(commands::operator::info(&args)),
        Command::Explain(args) => block_on(commands::operator::explain(&args)),
        Command::Retry(args) => block_on(commands::operator::retry(&args)),
        Command::Cancel(args) => block_on(commands::operator::cancel(&args)),
        Command::Rollback(args) => block_on(commands::rollback::run(&args)),
        Command::Workers(args) => block_on(commands::operator::workers(&args)),
        Command::Top(args) => block_on(commands::top::run(&args)),
        Command::Drain(args) => block_on(commands::operator::drain(&args)),
        Command::Pause(args) => block_on(commands::operator::pause(&args)),
        Command::Resume(args) => block_on(commands::operator::resume(&args)),
        Command::Replay(args) => block_on(commands::replay::run(args, progress.clone())),
        Command::Derive(args) => block_on(commands::derive::run(&args, progress)),
        Command::Wallet(args) => commands::wallet::wallet(&args),
        Command::Account(args) => block_on(commands::wallet::account(&args, progress)),
        Command::History(args) => block_on(commands::wallet::history(&args, progress)),
        Command::Transfer(args) => block_on(commands::wallet::transfer(&args, progress)),
        Command::Withdraw(args) => block_on(commands::wallet::withdraw(&args, progress)),
        Command::CreateAccount(args) => block_on(commands::wallet::create_account(&args, progress)),
        Command::Deposit(args) => block_on(commands::wallet::deposit(&args, progress)),
        Command::Claim(args) => block_on(commands::wallet::claim(&args, progress)),
        Command::ForceExit(args) => block_on(commands::wallet::force_exit(&args, progress)),
        Command::ChangeKey(args) => block_on(commands::wallet::change_key(&args, progress)),
        Command::AddToken(args) => block_on(commands::wallet::add_token(&args)),
        Command::Freeze(args) => block_on(commands::wallet::freeze(&args)),
        Command::TransferOperator(args) => block_on(commands::wallet::transfer_operator(&args)),
        Command::AcceptOperator(args) => block_on(commands::wallet::accept_operator(&args)),
        Command::CollectFees(args) => block_on(commands::wallet::collect_fees(&args)),
        Command::Exit(args) => block_on(commands::wallet::exit(&args, progress)),
        Command::Refund(args) => block_on(commands::wallet::refund(&args, progress)),
        Command::Submit(args) => block_on(commands::batch::submit(&args, progress)),
        Command::Watch(args) => block_on(commands::batch::watch(&args, progress)),
        Command::Proof(args) => block_on(commands::batch::proof(&args)),
        Command::Settle(args) => block_on(commands::settle::run(args, progress)),
    }
}

/// Runs a command to its end. What it may have left to other threads, such as a key that is being made or a device that is
/// being opened, cannot be stopped, and ends with the process.
fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    check_descriptors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// That there are as many file descriptors as a runtime needs.
///
/// # Errors
/// That of the first which cannot be had.
fn check_descriptors() -> Result<()> {
    let mut opened = Vec::new();
    for missing in (1..=DESCRIPTORS_MIN).rev() {
        let file = File::open("/dev/null").with_context(|| match getrlimit(Resource::Nofile).current {
            Some(limit) => format!(
                "{} file descriptors are needed at least, the limit is {limit}",
                limit.saturating_add(missing)
            ),
            None => format!("{DESCRIPTORS_MIN} more file descriptors are needed at least"),
        })?;
        opened.push(file);
    }
    Ok(())
}

/// Logs go to standard error. Where bars are drawn they say what the demo does, so only warnings are logged there.
///
/// # Errors
/// What is wrong with `RUST_LOG`.
fn start_log(format: LogFormat, command: &Command, progress: &Progress) -> Result<(), String> {
    let quiet = progress.is_drawn() && !command.is_service();
    let default = if quiet { "warn" } else { "info" };
    let log = tracing_subscriber::fmt()
        .with_env_filter(environment::log_filter(default)?)
        // They would be told on standard error, by a macro that panics where it cannot be written.
        .log_internal_errors(false)
        .with_writer(progress.writer());
    match format {
        LogFormat::Text => log.with_ansi(progress.is_drawn()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
