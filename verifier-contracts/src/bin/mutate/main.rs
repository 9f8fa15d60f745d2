//! Takes each check of the contracts away, one at a time, and runs their tests: every one must be missed by a test.
//! `cargo run --release -p verifier-contracts --bin mutate -- --help`.

mod explained;
mod find;
mod lexer;
mod project;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, bail, ensure};
use explained::{EXPLAINED, Explained};
use find::{Mutant, mutants};
use project::{Outcome, Project, contracts};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use verifier_contracts::tools::Tools;

const HELP: &str = "\
Takes each check of the contracts away, one at a time, and runs their tests.

Usage: mutate [--only PLACE]… [--sample N [--seed TEXT]] [--jobs N] [--json] [--list]

  --only PLACE  mutants of this file or function, such as Batches.sol or Batches.sol:_verify
  --sample N    N of them, drawn by the seed
  --seed TEXT   what they are drawn by; 0 without it
  --jobs N      so many at once, each in a copy of the project; 1 without it
  --json        a JSON object for each mutant, in place of a line
  --list        name them, test nothing

Exit status: 0 when each mutant was killed, or survived and is explained in explained.rs; else 1.
";

/// What the program is asked for.
struct Arguments {
    only: Vec<String>,
    sample: Option<usize>,
    seed: String,
    jobs: usize,
    json: bool,
    list: bool,
}

impl Arguments {
    /// None where help is asked for.
    fn parse(mut given: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut arguments = Self {
            only: Vec::new(),
            sample: None,
            seed: "0".to_owned(),
            jobs: 1,
            json: false,
            list: false,
        };
        while let Some(name) = given.next() {
            let mut value = || given.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--only" => arguments.only.push(value()?),
                "--sample" => arguments.sample = Some(number(&name, &value()?)?),
                "--seed" => arguments.seed = value()?,
                "--jobs" => arguments.jobs = number(&name, &value()?)?,
                "--json" => arguments.json = true,
                "--list" => arguments.list = true,
                "--help" => return Ok(None),
                _ => bail!("{name} is no option of this program; --help names them"),
            }
        }
        Ok(Some(arguments))
    }
}

fn number(name: &str, value: &str) -> anyhow::Result<usize> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("{name} takes a number from 1 on, not {value:?}"))
}

/// A mutant, with its contract's source and why it survives, if that is known.
struct Case {
    mutant: Mutant,
    source: String,
    explained: Option<&'static Explained>,
}

fn main() -> anyhow::Result<ExitCode> {
    let Some(arguments) = Arguments::parse(env::args().skip(1))? else {
        io::stdout().write_all(HELP.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let cases = cases(&arguments)?;
    if arguments.list {
        for case in &cases {
            writeln!(io::stdout(), "{}", described(&case.mutant))?;
        }
        writeln!(io::stdout(), "{} mutants", cases.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes = test(&cases, &arguments)?;
    summarize(&cases, &outcomes, arguments.json)
}

/// The mutants that are asked for.
fn cases(arguments: &Arguments) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (file, source) in contracts()? {
        for mutant in mutants(&file, &source) {
            let explained = EXPLAINED.iter().find(|one| one.is(&mutant));
            let source = source.clone();
            cases.push(Case {
                mutant,
                source,
                explained,
            });
        }
    }
    for one in EXPLAINED {
        let there = cases.iter().any(|case| one.is(&case.mutant));
        ensure!(
            there,
            "explained.rs has what is no mutant: {}: {} => {}",
            one.file,
            one.before,
            one.after
        );
    }
    for only in &arguments.only {
        let there = cases.iter().any(|case| is_in(&case.mutant, only));
        ensure!(
            there,
            "there is no mutant in {only}: no such place in a contract that is written by hand, or nothing to take away"
        );
    }
    if !arguments.only.is_empty() {
        cases.retain(|case| arguments.only.iter().any(|only| is_in(&case.mutant, only)));
    }
    if let Some(sample) = arguments.sample {
        cases.sort_by_cached_key(|case| place(&arguments.seed, &case.mutant));
        cases.truncate(sample);
    }
    Ok(cases)
}

/// Whether a mutant is in that file, or function of a file.
fn is_in(mutant: &Mutant, place: &str) -> bool {
    let (file, function) = place.split_once(':').unwrap_or((place, &mutant.function));
    (file, function) == (mutant.file.as_str(), mutant.function.as_str())
}

/// Orders mutants by a seed.
fn place(seed: &str, mutant: &Mutant) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [seed, &described(mutant)] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn test(cases: &[Case], arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let tools = Tools::ensure(&mut |line| drop(writeln!(io::stderr(), "{line}")))?;
    let outcomes = Mutex::new(vec![None; cases.len()]);
    let waiting = Mutex::new(cases.iter().enumerate());
    let work = |number: usize| -> anyhow::Result<()> {
        let mut project = Project::copy(&tools, number)?;
        project.test_unchanged()?;
        loop {
            let next = waiting.lock().expect("no holder panics").next();
            let Some((at, case)) = next else { return Ok(()) };
            let outcome = project.test(&case.mutant, &case.source)?;
            let mut outcomes = outcomes.lock().expect("no holder panics");
            outcomes[at] = Some(outcome.clone());
            let done = outcomes.iter().flatten().count();
            report(case, &outcome, &format!("{done}/{}", cases.len()), arguments.json)?;
        }
    };
    thread::scope(|scope| {
        let jobs = 0..arguments.jobs.min(cases.len());
        let jobs: Vec<_> = jobs.map(|number| scope.spawn(move || work(number))).collect();
        let mut ends = jobs.into_iter().map(|job| job.join().expect("no job panics"));
        ends.try_for_each(|end| end)
    })?;
    let outcomes = outcomes.into_inner().expect("no holder panicked").into_iter();
    Ok(outcomes
        .map(|outcome| outcome.expect("each was tested"))
        .collect())
}

/// The verdict on a mutant, and whether it is as it must be.
fn verdict(case: &Case, outcome: &Outcome) -> (&'static str, bool) {
    match (outcome, case.explained) {
        (Outcome::Killed(_), None) => ("killed", true),
        (Outcome::Killed(_), Some(_)) => ("killed, though explained", false),
        (_, Some(_)) => ("explained", true),
        (Outcome::Survived, None) => ("survived", false),
        (Outcome::Refused, None) => ("does not compile", false),
    }
}

fn report(case: &Case, outcome: &Outcome, progress: &str, json: bool) -> io::Result<()> {
    let (verdict, _) = verdict(case, outcome);
    let by = match outcome {
        Outcome::Killed(test) => Some(test.as_str()),
        _ => case.explained.map(|one| one.reason),
    };
    let mutant = &case.mutant;
    if json {
        let line = json!({
            "file": mutant.file, "line": mutant.line, "function": mutant.function, "kind": mutant.kind.name(),
            "before": mutant.before, "after": mutant.after, "outcome": verdict, "by": by,
        });
        return writeln!(io::stdout(), "{line}");
    }
    let by = by.map_or_else(String::new, |by| format!(" ({by})"));
    writeln!(io::stdout(), "[{progress}] {verdict}: {}{by}", described(mutant))
}

fn described(mutant: &Mutant) -> String {
    let after = if mutant.after.is_empty() {
        "nothing"
    } else {
        &mutant.after
    };
    format!(
        "{}:{} {}, {}: {} => {after}",
        mutant.file,
        mutant.line,
        mutant.function,
        mutant.kind.name(),
        mutant.before
    )
}

fn summarize(cases: &[Case], outcomes: &[Outcome], json: bool) -> anyhow::Result<ExitCode> {
    let verdicts = cases
        .iter()
        .zip(outcomes)
        .map(|(case, outcome)| (case, verdict(case, outcome)));
    let wrong: Vec<_> = verdicts.filter(|(_, (_, right))| !right).collect();
    if !json {
        for (case, (verdict, _)) in &wrong {
            writeln!(io::stdout(), "error: {verdict}: {}", described(&case.mutant))?;
        }
        let killed = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Killed(_)))
            .count();
        writeln!(
            io::stdout(),
            "{} mutants: {killed} killed, {} wrong",
            cases.len(),
            wrong.len()
        )?;
    }
    Ok(if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> anyhow::Result<Option<Arguments>> {
        Arguments::parse(arguments.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn arguments_that_are_wrong_are_named() {
        let error = |arguments: &[&str]| parsed(arguments).err().expect("refused").to_string();
        assert_eq!(
            error(&["--all"]),
            "--all is no option of this program; --help names them"
        );
        assert_eq!(error(&["--only"]), "--only needs a value");
        assert_eq!(
            error(&["--sample", "0"]),
            "--sample takes a number from 1 on, not \"0\""
        );
        assert_eq!(
            error(&["--jobs", "two"]),
            "--jobs takes a number from 1 on, not \"two\""
        );
        assert!(parsed(&["--help"]).expect("taken").is_none());
    }

    #[test]
    fn a_sample_is_its_seeds() {
        let drawn = |seed: &str| -> Vec<String> {
            let arguments = parsed(&["--sample", "5", "--seed", seed])
                .expect("taken")
                .expect("no help");
            let cases = cases(&arguments).expect("mutants");
            cases.iter().map(|case| described(&case.mutant)).collect()
        };
        assert_eq!(drawn("a").len(), 5);
        assert_eq!(drawn("a"), drawn("a"));
        assert_ne!(drawn("a"), drawn("b"));
    }

    #[test]
    fn a_place_without_mutants_is_refused() {
        let found = |place: &str| cases(&parsed(&["--only", place]).expect("taken").expect("no help"));
        for place in ["Poseidon.sol", "Batches.sol:claim", "Batches.sol:"] {
            let error = found(place).err().expect("refused").to_string();
            assert!(error.contains(place), "{error}");
        }
        let whole = found("Batches.sol").expect("mutants");
        let part = found("Batches.sol:_verify").expect("mutants");
        assert!(part.iter().all(|case| case.mutant.function == "_verify"));
        assert!(!part.is_empty() && part.len() < whole.len());
    }

    #[test]
    fn what_survives_must_be_explained_and_what_is_explained_must_survive() {
        static EXPLAINED: Explained = Explained {
            file: "",
            function: "",
            before: "",
            after: "",
            reason: "it is the same",
        };
        let (file, source) = contracts()
            .expect("the contracts")
            .into_iter()
            .find(|(file, _)| file == "Vault.sol")
            .expect("it is there");
        let mutant = mutants(&file, &source).remove(0);
        let mut case = Case {
            mutant,
            source,
            explained: None,
        };
        let killed = Outcome::Killed("a test".to_owned());
        let right = |case: &Case| {
            [&killed, &Outcome::Survived, &Outcome::Refused].map(|outcome| verdict(case, outcome).1)
        };
        assert_eq!(right(&case), [true, false, false]);
        case.explained = Some(&EXPLAINED);
        assert_eq!(right(&case), [false, true, true]);
    }
}
