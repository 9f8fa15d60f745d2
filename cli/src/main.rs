//! `rollup-prover`: one binary for every role of the prover service, and for those who use it.

mod args;
mod client;
mod commands;
mod demo;
mod guard;
mod output;
mod progress;
mod proof_file;
mod signals;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command, LogFormat};
use progress::Progress;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let progress = Progress::for_stderr();
    start_log(cli.log_format, &cli.command, &progress);
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
        Command::Verify(args) => commands::keys::verify(&args, progress),
        Command::ExportVerifier(args) => commands::keys::export_verifier(&args, progress),
        Command::Guard(args) => guard::run(args.pid),
        Command::ProverProcess(args) => commands::roles::prover_process(args, progress),
        Command::Demo(args) => {
            let runtime = async_runtime()?;
            let result = runtime.block_on(demo::run(&args, progress));
            // An interrupted demo may leave a computation behind that nothing can stop but the process's end.
            runtime.shutdown_background();
            result
        }
        Command::Coordinator(args) => async_runtime()?.block_on(commands::roles::coordinator(args, progress)),
        Command::Worker(args) => {
            async_runtime()?.block_on(commands::roles::worker(args, log_format, progress))
        }
        Command::Submit(args) => async_runtime()?.block_on(commands::batch::submit(&args, progress)),
        Command::Watch(args) => async_runtime()?.block_on(commands::batch::watch(&args, progress)),
        Command::Proof(args) => async_runtime()?.block_on(commands::batch::proof(&args)),
    }
}

fn async_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Logs go to standard error. Where bars are drawn they say what the demo does, so only warnings are logged there.
fn start_log(format: LogFormat, command: &Command, progress: &Progress) {
    let quiet = progress.is_drawn() && !command.is_service();
    let default = if quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(progress.writer());
    match format {
        LogFormat::Text => log.with_ansi(progress.is_drawn()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
