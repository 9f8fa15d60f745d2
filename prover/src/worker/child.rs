//! The prover process's own side: a device, and the threads that prove on it.

use std::fs::File;
use std::io::{self, BufReader, stderr, stdin, stdout};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc as async_mpsc;

use super::DeviceInfo;
use super::proving::{self, Abandoned, Event};
use super::wire::{self, FromProver, ToProver};
use crate::engine::Pipeline;

/// Serves as a worker's prover process, over standard input and output: opens the device by `open`, then proves what comes
/// until standard input ends. Then the process kills itself, in the middle of a task if need be: nobody wants the proof
/// any more, and a device library's clean-up may hang.
///
/// What else is written to standard output, by a library say, goes to standard error.
///
/// # Errors
/// The pipes fail, or no thread can be started. A device that cannot be opened is told to the worker.
pub fn serve<P: Pipeline>(open: impl FnOnce() -> Result<(P, DeviceInfo), String>) -> io::Result<()> {
    let mut output = File::from(rustix::io::dup(stdout())?);
    rustix::stdio::dup2_stdout(stderr())?;
    let (jobs, queue) = mpsc::channel();
    let abandoned = Abandoned::default();
    let told_abandoned = abandoned.clone();
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut input = BufReader::new(stdin());
        loop {
            match wire::read(&mut input) {
                // The preparing thread ends only with the process.
                Ok(Some(ToProver::Job(job))) => drop(jobs.send(job)),
                Ok(Some(ToProver::Abandon(lease))) => told_abandoned.add(lease),
                Ok(None) => drop(kill_process(getpid(), Signal::KILL)),
                Err(error) => {
                    tracing::error!(%error, "the worker does not keep to the protocol");
                    std::process::abort();
                }
            }
        }
    })?;
    let (pipeline, info) = match open() {
        Ok(opened) => opened,
        Err(reason) => return wire::write(&mut output, &FromProver::Refused(reason)),
    };
    wire::write(&mut output, &FromProver::Ready(info))?;
    let (events, mut told) = async_mpsc::unbounded_channel();
    proving::start(pipeline, queue, &abandoned, events)?;
    while let Some(Event::Task(event)) = told.blocking_recv() {
        wire::write(&mut output, &FromProver::Task(event))?;
    }
    Ok(())
}
