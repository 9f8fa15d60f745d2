//! The rules run in browsers, which have no thread, file or clock of the system's. What they depend on is checked by `.ci/run`.

use std::path::Path;

/// Modules of the standard library, and a source of randomness, that a browser lacks.
const LACKING: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time",
    "OsRng",
];

/// Places in a source, its comments aside, that name what a browser lacks, or a thread outside the file that has them.
fn found(file: &str, source: &str) -> Vec<String> {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or(line));
    let mut found = Vec::new();
    for (number, line) in (1..).zip(code) {
        let lacking = LACKING.iter().any(|name| line.contains(name));
        if lacking || (line.contains("rayon") && file != "threads.rs") {
            found.push(format!("{file}:{number}: {line}"));
        }
    }
    found
}

/// What is found in the files of a folder and the folders in it, and how many files they are.
fn found_below(folder: &Path) -> (Vec<String>, usize) {
    let (mut places, mut files) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (more, count) = found_below(&path);
            places.extend(more);
            files += count;
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = std::fs::read_to_string(&path).unwrap();
        places.extend(found(name, &source));
        files += 1;
    }
    (places, files)
}

#[test]
fn the_sources_name_nothing_that_a_browser_lacks() {
    let (places, files) = found_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert_eq!(places, Vec::<String>::new());
    assert!(files > 20, "{files} files");
}

#[test]
fn a_name_of_what_a_browser_lacks_is_found() {
    for line in [
        "use std::fs::File;",
        "std::thread::spawn(|| ());",
        "use rayon::prelude::*;",
    ] {
        assert_eq!(found("tree.rs", line).len(), 1, "{line}");
    }
    assert_eq!(
        found("threads.rs", "use rayon::prelude::*;"),
        Vec::<String>::new()
    );
    assert_eq!(found("tree.rs", "// not std::fs"), Vec::<String>::new());
}
