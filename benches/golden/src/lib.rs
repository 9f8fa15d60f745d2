//! Golden files: what a test makes again and compares, so that a change of it is a line of a commit. For tests alone.
//!
//! A test that fails says how the change is accepted: run it with `ACCEPT_GOLDEN=1`, and look at what git then shows.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// The environment variable with which golden files take the contents of today.
pub const ACCEPT: &str = "ACCEPT_GOLDEN";

/// Compares a file of a crate (`env!("CARGO_MANIFEST_DIR")` is its folder) with what it should hold.
///
/// # Panics
/// When it holds something else; the message has the first line that differs.
pub fn check(crate_folder: &str, file: &str, current: &[u8]) {
    let path = Path::new(crate_folder).join(file);
    if std::env::var_os(ACCEPT).is_some() {
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("the source tree is writable");
        fs::write(&path, current).expect("the source tree is writable");
    }
    compare(file, &fs::read(&path).unwrap_or_default(), current);
}

fn compare(file: &str, stored: &[u8], current: &[u8]) {
    if stored != current {
        let (stored, current) = (String::from_utf8_lossy(stored), String::from_utf8_lossy(current));
        let mut lines = stored.lines().zip(current.lines());
        let first = lines.find(|(stored, current)| stored != current);
        panic!("{file} is outdated, at {first:?}; run with {ACCEPT}=1 to accept the change");
    }
}

/// [`check`] of a JSON file: two spaces deep, with a line end.
///
/// # Panics
/// As [`check`].
pub fn check_json(crate_folder: &str, file: &str, current: &Value) {
    let text = serde_json::to_string_pretty(current).expect("a value is text") + "\n";
    check(crate_folder, file, text.as_bytes());
}

/// Refuses a document of the workspace that does not quote a figure as it is now.
///
/// # Panics
/// When one of the texts does not stand in the document.
pub fn quotes<T: AsRef<str>>(document: &str, texts: impl IntoIterator<Item = T>) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("golden lies in a folder of it");
    let text = fs::read_to_string(workspace.join(document)).expect("a document of the workspace");
    for quoted in texts {
        let quoted = quoted.as_ref();
        assert!(text.contains(quoted), "{document} does not say {quoted:?}");
    }
}

/// A number as documents write it: `4,983,870`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parted_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (20_959, "20,959"),
            (4_983_870, "4,983,870"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn another_content_and_another_figure_are_refused() {
        let refused = |run: fn()| std::panic::catch_unwind(run).is_err();
        compare("a", b"one\ntwo", b"one\ntwo");
        assert!(refused(|| compare("a", b"one\ntwo", b"one\nthree")));
        assert!(refused(|| compare("a", b"", b"some")));
        quotes("benches/golden/Cargo.toml", ["name = \"golden\""]);
        assert!(refused(|| quotes("benches/golden/Cargo.toml", ["brass"])));
    }
}
