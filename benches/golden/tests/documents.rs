//! What the documents and the sources say of each other: clauses that are cited, files that are linked, tests that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.nth(2).expect("golden lies in a folder of it")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of the workspace whose names end so; no folder that git ignores is entered.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![workspace().to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let ignored =
                name.starts_with('.') || ["target", "node_modules", "cache", "__pycache__"].contains(&name);
            if path.is_dir() && !ignored {
                folders.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found
}

/// A number at the beginning, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// `4.2` or `4.2.7` at the beginning: clause, and rule of the clause.
fn clause(text: &str) -> Option<((u32, u32), Option<u32>)> {
    let (section, rest) = number(text)?;
    let (clause, rest) = number(rest.strip_prefix('.')?)?;
    let rule = rest.strip_prefix('.').and_then(number).map(|(rule, _)| rule);
    Some(((section, clause), rule))
}

/// Clauses that a text cites as `P-4.2`, or a rule of one as `P-4.2.7`.
fn citations(text: &str) -> impl Iterator<Item = ((u32, u32), Option<u32>)> {
    let places = text
        .match_indices("P-")
        .filter(|(at, _)| !text[..*at].ends_with(char::is_alphanumeric));
    places.filter_map(|(at, mark)| clause(&text[at + mark.len()..]))
}

/// PROTOCOL.md by clauses.
fn clauses(protocol: &str) -> BTreeMap<(u32, u32), String> {
    let mut clauses = BTreeMap::new();
    let mut last = None;
    for line in protocol.lines() {
        if let Some((number, rule)) = line.strip_prefix("- **P-").and_then(clause) {
            assert_eq!(rule, None, "{line}");
            assert!(
                clauses.insert(number, String::new()).is_none(),
                "P-{number:?} stands there twice"
            );
            last = Some(number);
        } else if line.starts_with("## ") {
            last = None;
        }
        if let Some(text) = last.and_then(|number| clauses.get_mut(&number)) {
            *text += line;
            *text += " ";
        }
    }
    clauses
}

fn stands(clauses: &BTreeMap<(u32, u32), String>, number: (u32, u32), rule: Option<u32>) -> bool {
    let text = clauses.get(&number);
    text.is_some_and(|text| rule.is_none_or(|rule| text.contains(&format!(" {rule}. "))))
}

#[test]
fn cited_clauses_stand_in_the_protocol() {
    let clauses = clauses(&read(&workspace().join("PROTOCOL.md")));
    let cited = files(&[".rs", ".sol", ".proto", ".md", ".py", ".mjs", ".js"]);
    // But for this file, whose tests have clauses that are not there.
    for path in cited.into_iter().filter(|path| !path.ends_with(file!())) {
        for (number, rule) in citations(&read(&path)) {
            assert!(
                stands(&clauses, number, rule),
                "{} cites a clause that PROTOCOL.md does not have: {number:?}, rule {rule:?}",
                path.display()
            );
        }
    }
}

#[test]
fn a_citation_of_nothing_is_seen() {
    let clauses = clauses(
        "- **P-4.2** A word. 1. rule; 2. rule\n  3. rule\n## 5. More\n4. none\n- **P-5.1 State.** Text.\n",
    );
    let of = |text: &str| {
        citations(text)
            .map(|(number, rule)| stands(&clauses, number, rule))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("P-4.2, (P-4.2.3), `P-5.1`"), [true, true, true]);
    assert_eq!(of("P-4.20 P-4.2.4 P-5.2 P-6.1"), [false; 4]);
    assert!(of("EIP-4.9 P-256 P2-9.9").is_empty());
}

/// Anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let kept = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_' || letter == ' ';
    let anchor = |line: &str| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .replace(|letter| !kept(letter), "")
    };
    headings.map(|line| anchor(line).replace(' ', "-")).collect()
}

#[test]
fn links_of_documents_lead_somewhere() {
    for path in files(&[".md"]) {
        let document = read(&path);
        let targets = document
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in
            targets.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
        {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            assert!(file.exists(), "{}: {target} leads nowhere", path.display());
            let is_there = anchor.is_empty() || anchors(&read(&file)).contains(anchor);
            assert!(is_there, "{}: {target} names no heading", path.display());
        }
    }
}

#[test]
fn readmes_table_of_l1_is_that_of_the_contracts_costs() {
    let costs = |file: &str| -> serde_json::Value {
        let text = read(&workspace().join("verifier-contracts/costs").join(file));
        serde_json::from_str(&text).expect("JSON")
    };
    let (users, tiny) = (costs("transactions.json"), costs("tiny.json"));
    let gas = |name: &str| users[name].as_str().and_then(|gas| gas.parse().ok()).expect(name);
    let of_users = ["depositNew, ETH", "forceExit", "claim, ERC-20, of 500", "exit"].map(gas);
    let verifier = |name: &str| golden::thousands(tiny["verifier"][name].as_u64().expect(name));
    golden::quotes(
        "README.md",
        [
            format!("{} gas", of_users.map(golden::thousands).join(", ")),
            format!("{} bytes, {}", verifier("runtime_bytes"), verifier("call_gas")),
        ],
    );
}

/// Names of all functions of the sources.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&[".rs", ".sol"]) {
        let source = read(&path);
        for mark in ["fn ", "function "] {
            let after = source.split(mark).skip(1);
            names.extend(
                after
                    .filter_map(|text| text.split_once(['(', '<']))
                    .map(|(name, _)| name.to_owned()),
            );
        }
    }
    names
}

/// Whether there is such a test; `…` stands for what is left out of a name.
fn is_there(functions: &BTreeSet<String>, name: &str) -> bool {
    match name.split_once('…') {
        None => functions.contains(name),
        Some((start, end)) => functions
            .iter()
            .any(|function| function.starts_with(start) && function.ends_with(end)),
    }
}

/// What is named between backquotes in the last cell of each of a document's rows that begin so, which are tests. How many there are.
fn named(document: &str, row_begins: &str, functions: &BTreeSet<String>) -> usize {
    let rows = document.lines().filter(|line| line.starts_with(row_begins));
    let names = rows.flat_map(|row| {
        let cell = row
            .trim_end_matches(['|', ' '])
            .rsplit('|')
            .next()
            .expect("a cell");
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test stands against: {row}");
        names
    });
    let count = |name| assert!(is_there(functions, name), "there is no test `{name}`");
    names.map(count).count()
}

#[test]
fn tests_that_documents_name_are_there() {
    let functions = functions();
    let model = read(&workspace().join("docs/security-model.md"));
    let (_, hazards) = model
        .split_once("## Hazards and the tests that reject them")
        .expect("the tables");
    let hazards = hazards.replace("| hazard |", "").replace("|---|---|---|", "");
    assert!(named(&hazards, "| ", &functions) > 50);
    let architecture = read(&workspace().join("ARCHITECTURE.md"));
    assert!(named(&architecture, "| P-", &functions) > 50);
    assert!(
        !is_there(&functions, "a_test_that_nobody_wrote") && !is_there(&functions, "a_test_…_nobody_wrote")
    );
}
