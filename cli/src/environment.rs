//! Variables of the environment, as this program reads them: an empty one counts as one that is not set.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command};

/// Words that say no to a flag, in any case; with their opposites, what `BoolishValueParser` takes.
const NO: [&str; 6] = ["n", "no", "f", "false", "off", "0"];

/// A variable's value, if there is one.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
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
}
