//! ARCHITECTURE.md's table of clauses, gates and tests.

use std::{collections::BTreeSet, fs, path::Path};

/// Where the tests are that the table names.
const SOURCES: [&str; 3] = ["src/recursion/tests", "src/plonk/tests", "rules/tests"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Names of all functions there.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in SOURCES {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(path).unwrap();
                let after = source.split("fn ").skip(1);
                names.extend(
                    after
                        .filter_map(|text| text.split_once('('))
                        .map(|(name, _)| name.to_owned()),
                );
            }
        }
    }
    names
}

#[test]
fn the_table_has_every_clause_of_section_8_and_tests_that_there_are() {
    let (table, protocol) = (read("../ARCHITECTURE.md"), read("../PROTOCOL.md"));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| P-8.") || line.starts_with("| P-10.11 "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let of_section = protocol.lines().filter_map(|line| line.strip_prefix("- **P-8."));
    let clauses: Vec<String> = of_section
        .map(|line| format!("P-8.{}", line.split(['*', ' ']).next().unwrap()))
        .collect();
    let listed: Vec<&str> = rows
        .iter()
        .map(|row| row[1])
        .filter(|clause| clause.starts_with("P-8."))
        .collect();
    assert_eq!(listed, clauses);
    let functions = functions();
    for row in &rows {
        let names: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{}", row[1]);
        for name in names {
            let (start, end) = name.split_once('…').unwrap_or((name, ""));
            let is_it = |function: &String| match name.contains('…') {
                true => function.starts_with(start) && function.ends_with(end),
                false => function == name,
            };
            assert!(
                functions.iter().any(is_it),
                "{}: there is no test `{name}`",
                row[1]
            );
        }
    }
}
