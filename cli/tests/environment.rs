//! What the environment and the command line say to the program, and where it keeps keys when nothing says where.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::program;

/// A folder of keys that cannot be made, so that a command ends as soon as it has read its arguments.
const NO_FOLDER: &str = "/dev/null/keys";

/// Runs a command that must fail; returns its exit code and what it said.
fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().expect("it ends by itself"), said)
}

#[test]
fn a_variable_says_yes_or_no_to_a_flag_in_every_usual_word() {
    let keygen = |word: &str, args: &[&str]| {
        let mut command = program();
        command.args(["keygen", "--preset", "tiny", "--keys-dir", NO_FOLDER]);
        command.args(args).env("ROLLUP_PROVER_INSECURE_DEV_SRS", word);
        failure(&mut command)
    };
    for yes in ["1", "true", "TRUE", "yes", "Yes", "on"] {
        let (code, said) = keygen(yes, &[]);
        assert_eq!(code, 1, "{yes}: {said}");
        assert!(said.contains(NO_FOLDER), "{yes}: {said}");
    }
    for no in ["", "0", "false", "False", "no", "NO", "off"] {
        let (code, said) = keygen(no, &[]);
        assert_eq!(code, 1, "{no}: {said}");
        assert!(
            said.contains("name the structured reference string"),
            "{no}: {said}"
        );
        let (code, said) = keygen(no, &["--srs", "/nowhere.ptau"]);
        assert_eq!(code, 1, "a refused flag stands against no argument: {said}");
        assert!(said.contains("/nowhere.ptau"), "{no}: {said}");
    }
    let (code, said) = keygen("perhaps", &[]);
    assert_eq!(code, 2, "{said}");
    let told = "invalid value 'perhaps' for 'ROLLUP_PROVER_INSECURE_DEV_SRS': expected yes, true, on or 1, or else no, false, off or 0";
    assert!(said.contains(told), "{said}");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let mut command = program();
    command.args(["keygen", "--insecure-dev-srs", "--keys-dir", NO_FOLDER]);
    let (_, said) = failure(command.env("ROLLUP_PROVER_PRESET", ""));
    assert!(said.contains("no keys of preset ci"), "{said}");
}

#[test]
fn a_variable_with_a_bad_value_is_refused_as_the_argument_is() {
    for (subcommand, variable, argument, value, told) in [
        (
            "keygen",
            "ROLLUP_PROVER_PRESET",
            "--preset",
            "huge",
            "possible values: tiny, ci, server, gpu",
        ),
        (
            "demo",
            "ROLLUP_PROVER_PRESET",
            "--preset",
            "huge",
            "possible values: tiny, ci, server, gpu",
        ),
        (
            "keygen",
            "ROLLUP_PROVER_SRS_DIGEST",
            "--srs-digest",
            "0x12",
            "invalid value",
        ),
        (
            "list",
            "ROLLUP_PROVER_COORDINATOR",
            "--coordinator",
            "coordinator",
            "http://HOST:PORT",
        ),
        (
            "list",
            "ROLLUP_PROVER_TLS_CERT",
            "--tls-cert",
            "cert.pem",
            "--tls-key <FILE>",
        ),
        (
            "list",
            "ROLLUP_PROVER_TLS_KEY",
            "--tls-key",
            "key.pem",
            "--tls-cert <FILE>",
        ),
    ] {
        let by_variable = failure(program().arg(subcommand).env(variable, value));
        let by_argument = failure(program().args([subcommand, argument, value]));
        assert_eq!(by_variable.0, 2, "{variable}: {}", by_variable.1);
        assert!(by_variable.1.contains(told), "{variable}: {}", by_variable.1);
        // What was typed is named as it was typed, and what was not by the variable that it is from.
        if by_argument.1.contains("required arguments") {
            assert_eq!(by_variable, by_argument, "{variable}");
            continue;
        }
        assert!(by_variable.1.contains(variable), "{variable}: {}", by_variable.1);
        let mut both = program();
        both.args([subcommand, argument, value]).env(variable, value);
        for said in [failure(&mut both).1, by_argument.1] {
            assert!(!said.contains(variable), "{said}");
        }
    }
}

#[test]
fn what_cannot_be_a_batch_or_a_contract_is_refused_before_anybody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let batch = directory.path().join("batch.bin");
    fs::write(&batch, "").unwrap();
    let (code, said) = failure(
        program()
            .args(["submit", "--coordinator", "http://127.0.0.1:1", "--batch"])
            .arg(&batch),
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("batch.bin is empty: expected an encoded"), "{said}");
    let zero = format!("0x{}", "0".repeat(40));
    for args in [
        ["sample-batch", "--chain-id", "1", "--batch", "b", "--contract"].as_slice(),
        &["coordinator", "--chain-id", "1", "--data-dir", "d", "--contract"],
    ] {
        let (code, said) = failure(program().current_dir(&directory).args(args).arg(&zero));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("zero address"), "{said}");
    }
}

#[test]
fn keys_lie_in_the_users_cache_wherever_the_program_lies() {
    let directory = tempfile::tempdir().unwrap();
    let keygen = |variable: &str, folder: &Path, expected: &Path| {
        // A file stands where the cache should be, so that no keys are made.
        fs::create_dir_all(folder).unwrap();
        fs::write(expected, "").unwrap();
        let mut command = program();
        command.args(["keygen", "--preset", "tiny", "--insecure-dev-srs"]);
        for other in ["ROLLUP_PROVER_KEYS", "XDG_CACHE_HOME"] {
            command.env(other, "");
        }
        let (_, said) = failure(command.env(variable, folder));
        assert!(said.contains(expected.to_str().unwrap()), "{variable}: {said}");
    };
    let home = directory.path().join("home");
    keygen("HOME", &home, &home.join(".cache"));
    let cache = directory.path().join("cache");
    keygen("XDG_CACHE_HOME", &cache, &cache.join("rollup-prover"));
}

#[test]
fn a_url_that_cannot_be_right_is_refused_before_anything_starts_and_its_password_is_not_repeated() {
    let role = |args: &[&str], url: &str| {
        let (code, said) = failure(program().args(args).args(["--coordinator", url]));
        assert_eq!(code, 2, "{said}");
        assert!(!said.contains("secret"), "{said}");
        said
    };
    for args in [
        ["watch", "b0"].as_slice(),
        &["submit", "--batch", "/nowhere"],
        &["proof", "b0", "--out", "/nowhere"],
        &["worker", "--insecure-dev-srs"],
    ] {
        assert!(role(args, "127.0.0.1:7400").contains("http://HOST:PORT"));
        assert!(role(args, "ftp://127.0.0.1:7400").contains("http:// or https://"));
        assert!(role(args, "https://127.0.0.1:7400/v1").contains("ends with its port"));
        assert!(role(args, "http://name:secret@127.0.0.1:7400").contains("no name and no password"));
    }
    let mut watch = program();
    let url = "http://name:secret@127.0.0.1:7400";
    let output = watch
        .args(["watch", "--help"])
        .env("ROLLUP_PROVER_COORDINATOR", url)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
    let (code, said) = failure(
        program()
            .args(["watch", "b0"])
            .env("ROLLUP_PROVER_COORDINATOR", url),
    );
    assert_eq!(code, 2);
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn without_npm_the_tools_folder_is_named_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let (tools, out) = (directory.path().join("cache/tools"), directory.path().join("out"));
    // A node that runs, and no npm.
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("node")).unwrap();
    let run = |path: &Path| {
        let output = program()
            .args([
                "export-verifier",
                "--preset",
                "tiny",
                "--insecure-dev-srs",
                "--out",
            ])
            .arg(&out)
            .env("ROLLUP_PROVER_TOOLS", &tools)
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = run(&bin);
    let expected = format!("there are no L1 tools in {}, and `npm`", tools.display());
    assert!(text.contains(&expected), "{text}");
    let text = run(&directory.path().join("nothing"));
    assert!(text.contains("`node` is not installed"), "{text}");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "only the node"
    );
}

#[test]
fn a_log_filter_that_does_not_read_is_refused_by_name() {
    for (value, told) in [("inof", "\"inof\" is no level"), ("info,h2=loud", "RUST_LOG: ")] {
        let mut command = program();
        command.args([
            "keygen",
            "--preset",
            "tiny",
            "--insecure-dev-srs",
            "--keys-dir",
            NO_FOLDER,
        ]);
        let (code, said) = failure(command.env("RUST_LOG", value));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("RUST_LOG") && said.contains(told), "{said}");
    }
}

#[test]
fn an_l1_endpoint_that_is_none_is_refused_and_not_repeated() {
    for url in ["", "l1", "ftp://name:password@127.0.0.1"] {
        let mut command = program();
        command.args(["verify-deployed", "--insecure-dev-srs", "--rpc", url]);
        let (code, said) = failure(command.args(["--address", &format!("0x{}", "e7".repeat(20))]));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("begins with http:// or https://"), "{said}");
        assert!(!said.contains("password"), "{said}");
    }
}
