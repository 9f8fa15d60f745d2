//! What programs read: JSON on standard output, exit codes, and how errors are told to a person.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

/// Most characters of an error that are told; those of ours are far shorter.
const ERROR_CHARS_MAX: usize = 4_096;

/// Exit codes beyond 0 (done), 1 (anything else went wrong) and 2 (the command line is wrong).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The coordinator refused the request, and would refuse it again.
    Refused = 3,
    /// The batch ended without a proof: failed or cancelled.
    BatchFailed = 4,
    /// The proof does not verify.
    ProofInvalid = 5,
    /// The coordinator cannot be reached, or is not ready; trying again may help.
    Unavailable = 6,
    /// The device cannot be used, or fails again and again.
    Device = 7,
    /// Interrupted by a signal.
    Interrupted = 130,
}

/// An error that ends the program with its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, a sentence without a full stop.
    pub message: String,
}

impl Failure {
    /// An error with an exit code of its own.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

/// Prints one JSON object on a line of standard output.
///
/// # Errors
/// When standard output is closed.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).context("cannot write to standard output")?;
    writeln!(out)
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints one line on standard output.
///
/// # Errors
/// When standard output is closed.
pub fn line(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    let text = visible(&text.to_string());
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints lines on standard output, on a terminal in the place of those before.
///
/// # Errors
/// When standard output is closed.
pub fn screen(clears: bool, lines: Vec<String>) -> Result<()> {
    /// Cursor home, and all below it blank.
    const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
    let mut text = if clears { CLEAR.to_owned() } else { String::new() };
    for line in lines {
        text.push_str(&visible(&line));
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// The error and its causes in one sentence, which says each cause once: many an error repeats its source in its own text. What
/// the machine lacks is told with what helps.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if sentence.contains(&cause) {
            continue;
        }
        if !sentence.is_empty() {
            sentence.push_str(": ");
        }
        sentence.push_str(&cause);
    }
    if let Some(remedy) = remedy(&sentence).filter(|remedy| !sentence.contains(remedy)) {
        sentence.push_str("; ");
        sentence.push_str(remedy);
    }
    sentence
}

/// What helps where the machine has no room, or no descriptors left. That is seen by the error's number in the text, which stays
/// when an error comes as text, from a worker's prover process for one.
fn remedy(sentence: &str) -> Option<&'static str> {
    /// `ENFILE` and `EMFILE`, which have no kind of their own.
    const DESCRIPTORS: [i32; 2] = [23, 24];
    let (_, number) = sentence.split_once("(os error ")?;
    let code = number.split_once(')')?.0.parse().ok()?;
    match io::Error::from_raw_os_error(code).kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("make room there, or choose another folder, and run it again")
        }
        ErrorKind::FileTooLarge => Some("raise the limit on a file's size (`ulimit -f`) and run it again"),
        _ if DESCRIPTORS.contains(&code) => {
            Some("raise the limit on open files (`ulimit -n`) and run it again")
        }
        _ => None,
    }
}

/// Tells a person a line on standard error. Where that cannot be written, as on a full disk or into a pipe that nobody reads any more,
/// there is nobody to tell so, and the work goes on.
pub fn tell(line: impl Display) {
    let line = format!("{}\n", visible(&line.to_string()));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Every line of the text with nothing in it that steers a terminal: much of what is told are words of coordinators, workers and L1
/// endpoints.
fn visible(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| proto::one_line(line, usize::MAX))
        .collect();
    lines.join("\n")
}

/// Tells the error and its causes on one line of standard error; returns the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    tell(format_args!(
        "error: {}",
        proto::one_line(&sentence(error), ERROR_CHARS_MAX)
    ));
    let exit = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map(|failure| failure.exit);
    ExitCode::from(exit.map_or(1, |exit| exit as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::{FileError, KeyError};

    #[test]
    fn a_cause_is_said_once_however_deep() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let file = FileError::Io {
            path: "keys/lock".into(),
            source,
        };
        let error = anyhow::Error::new(KeyError::from(file)).context("no keys of preset tiny");
        assert_eq!(
            sentence(&error),
            "no keys of preset tiny: key cache: keys/lock: permission denied"
        );
    }

    #[test]
    fn a_cause_within_its_errors_text_is_not_said_again() {
        let source = io::Error::from_raw_os_error(111);
        let error =
            anyhow::Error::new(source).context("no keys: Connection refused (os error 111); make some");
        assert_eq!(
            sentence(&error),
            "no keys: Connection refused (os error 111); make some"
        );
    }

    #[test]
    fn what_the_machine_lacks_is_told_with_the_remedy_once() {
        for (code, remedy) in [
            (28, "make room"),
            (122, "make room"),
            (27, "`ulimit -f`"),
            (24, "`ulimit -n`"),
            (23, "`ulimit -n`"),
        ] {
            let source = io::Error::from_raw_os_error(code);
            let file = FileError::Io {
                path: "keys/shard.pk".into(),
                source,
            };
            let told = sentence(&anyhow::Error::new(KeyError::from(file)));
            assert!(
                told.contains("keys/shard.pk: ") && told.contains(remedy),
                "{told}"
            );
            // As a worker tells what its prover process told.
            let again = sentence(&anyhow::anyhow!(told.clone()).context("cannot prove here"));
            assert_eq!(again, format!("cannot prove here: {told}"));
        }
    }

    #[test]
    fn the_words_of_others_do_not_steer_a_terminal() {
        assert_eq!(visible("one\n\u{1b}[31mtwo\u{202e}\r"), "one\n [31mtwo  ");
    }
}
