//! Variables of the environment, as this program reads them: an empty one counts as one that is not set.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Words that say no to a flag, in any case, and those that say yes.
const NO: [&str; 6] = ["n", "no", "f", "false", "off", "0"];
const YES: [&str; 6] = ["y", "yes", "t", "true", "on", "1"];

/// A variable's value, if there is one.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Which log lines are written, as `RUST_LOG` says, or else of `level` and above.
///
/// # Errors
/// What is wrong with the variable.
pub fn log_filter(level: &str) -> Result<EnvFilter, String> {
    let Some(value) = variable(EnvFilter::DEFAULT_ENV) else {
        // It warns of what a peer does, as often as the peer likes.
        return Ok(EnvFilter::new(format!("{level},h2=error")));
    };
    filter(&value).map_err(|problem| format!("{}: {problem}", EnvFilter::DEFAULT_ENV))
}

fn filter(value: &OsStr) -> Result<EnvFilter, String> {
    let text = value.to_str().ok_or("expected text in UTF-8")?;
    if let Some(word) = text.split(',').map(str::trim).find(|word| is_no_level(word)) {
        // Taken as the name of a part, it would silence all others.
        return Err(format!(
            "{word:?} is no level: expected off, error, warn, info, debug or trace, or several PART=LEVEL, such as info,coordinator=debug"
        ));
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{text:?} does not read: {error}"))
}

/// Whether a part of a filter is a bare word, and none of the levels.
fn is_no_level(word: &str) -> bool {
    let names_a_part = word.is_empty() || word.contains(['=', '[']);
    !names_a_part && word != "off" && word.parse::<LevelFilter>().is_err()
}

/// Reads a flag's variable; empty ones and those that say no were not looked at (see [`heed`]).
///
/// # Errors
/// Says which words are understood.
pub fn yes_or_no(value: &str) -> Result<bool, String> {
    let is_among = |words: [&str; 6]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    match (is_among(YES), is_among(NO)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err("expected yes, true, on or 1, or else no, false, off or 0".to_owned()),
    }
}

/// The variable that an argument's value is from: it is set to that, and the command line does not have the argument.
pub fn source(argument: &Arg, value: &OsStr) -> Option<String> {
    let variable = argument.get_env()?;
    let flag = format!("--{}", argument.get_long()?);
    let is_given = env::args_os().any(|given| {
        let given = given.to_string_lossy();
        given
            .strip_prefix(flag.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    let is_it = !is_given && env::var_os(variable).is_some_and(|set| set == value);
    is_it.then(|| variable.to_string_lossy().into_owned())
}

/// The error with the variable that a refused value is from, in the place of the argument that nobody typed.
pub fn named(mut error: clap::Error, mut command: Command) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (Some(shown), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) else {
        return error;
    };
    // Subcommands that were not called are not complete, and their arguments cannot be shown.
    command.build();
    if let Some(variable) = find(&command, &shown, OsStr::new(&value)) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

/// The variable of the argument that is shown so, of the command or one of its subcommands.
fn find(command: &Command, shown: &str, value: &OsStr) -> Option<String> {
    let mut arguments = command
        .get_arguments()
        .filter(|argument| argument.to_string() == shown);
    let own = arguments.find_map(|argument| source(argument, value));
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|inner| find(inner, shown, value))
    })
}

/// A command line that does not look at variables which say nothing.
///
/// Without this an empty variable would be taken for an empty value, and a flag that a variable says no to would still
/// count as given, and stand against other arguments.
pub fn heed(command: Command) -> Command {
    command.mut_args(heed_argument).mut_subcommands(heed)
}

fn heed_argument(argument: Arg) -> Arg {
    let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
    let value = argument.get_env().and_then(env::var_os);
    if value.is_some_and(|value| says_nothing(&value, is_flag)) {
        argument.env(Resettable::Reset)
    } else {
        argument
    }
}

/// Whether a variable with this value is as good as none.
fn says_nothing(value: &OsStr, is_flag: bool) -> bool {
    let says_no = || NO.iter().any(|no| value.eq_ignore_ascii_case(no));
    value.is_empty() || (is_flag && says_no())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_says_nothing_and_no_says_nothing_to_a_flag_alone() {
        for (value, to_a_flag, to_others) in [
            ("", true, true),
            ("0", true, false),
            ("No", true, false),
            ("FALSE", true, false),
            ("1", false, false),
            ("yes", false, false),
            ("nein", false, false),
        ] {
            let value = OsStr::new(value);
            assert_eq!(says_nothing(value, true), to_a_flag, "{value:?}");
            assert_eq!(says_nothing(value, false), to_others, "{value:?}");
        }
    }

    #[test]
    fn a_log_filter_that_would_silence_everything_by_a_typing_error_is_refused() {
        for value in [
            "info",
            "INFO",
            "off",
            "3",
            "info,coordinator=debug",
            "warn,h2=trace",
            "coordinator[step{task=1}]=trace",
            "info,",
        ] {
            assert!(filter(OsStr::new(value)).is_ok(), "{value}");
        }
        for (value, told) in [
            ("inof", "\"inof\" is no level"),
            ("info,coordinator", "\"coordinator\" is no level"),
            ("info,coordinator=loud", "loud"),
            ("warn, h2=trace", ""),
            ("[[[", ""),
            ("\u{1b}[31m", ""),
        ] {
            let problem = filter(OsStr::new(value)).expect_err(value);
            assert!(problem.contains(told), "{value}: {problem}");
        }
    }
}
