//! What the command line and other machines give, on any bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory};
use fuzzer::Target;
use prost::Message;
use proto::v1::GetProofResponse;

use crate::args::{Cli, parse_address};
use crate::proof_file::{ProofFile, to_hex};
use crate::wallet::amounts::Unit;
use crate::wallet::keys::{Secret, owner_text, parse_owner};
use proto::connection::CoordinatorUrl;
use prover::device::DeviceChoice;
use rules::eddsa::PrivateKey;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

#[test]
fn fuzz_urls() {
    target("url")
        .seed("loopback", "http://127.0.0.1:7400")
        .seed("name", "http://coordinator:7400/")
        .word("secret@")
        .word("://")
        .word("[::1]")
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let url = text
                .parse::<CoordinatorUrl>()
                .map_err(|error| error.to_string())?;
            assert_eq!(url.to_string().parse(), Ok(url.clone()));
            assert!(
                !url.as_str().contains('@'),
                "a URL that is taken holds no password"
            );
            Ok(())
        });
}

#[test]
fn fuzz_answers_with_a_proof() {
    let response = GetProofResponse {
        contract: vec![1; 20].into(),
        instances: vec![vec![2; 32].into(); 3],
        proof: vec![3; 64].into(),
        ..GetProofResponse::default()
    };
    target("proof-response")
        .seed("short", response.encode_to_vec())
        .run(|bytes| {
            let response = GetProofResponse::decode(bytes).map_err(|error| error.to_string())?;
            ProofFile::from_response(&response)
                .map(drop)
                .map_err(|error| format!("{error:#}"))
        });
}

#[test]
fn fuzz_arguments() {
    // Words are parted by zeros, which no argument holds.
    target("arguments")
        .seed(
            "worker",
            [
                "worker",
                "--coordinator",
                "http://127.0.0.1:1",
                "--device",
                "icicle:0",
            ]
            .join("\0"),
        )
        .seed(
            "export",
            [
                "export-verifier",
                "--insecure-dev-srs",
                "--out",
                "o",
                "--tools-dir",
                "t",
            ]
            .join("\0"),
        )
        .seed("doctor", ["doctor", "--sizes", "12,14"].join("\0"))
        .word("\0")
        .word(["", "--srs-digest", "0x"].join("\0"))
        .runs(1_500)
        .memory(1 << 23, 1 << 10)
        .run(|bytes| {
            let words = bytes.split(|byte| *byte == 0).map(OsStr::from_bytes);
            let words = [OsStr::new("rollup-prover")].into_iter().chain(words);
            let parsed = Cli::command().try_get_matches_from(words);
            parsed.map(drop).map_err(|error| error.kind().to_string())
        });
}

/// The variables of the environment that stand for an argument, with a command that takes its value as the variable's is taken: a
/// flag too has one then.
fn variables() -> Vec<(OsString, String, Command)> {
    let command = Cli::command();
    let of = |command: &Command, argument: &Arg| {
        let (name, long) = (argument.get_env()?.to_owned(), argument.get_long()?.to_owned());
        let valued = command
            .clone()
            .no_binary_name(true)
            .mut_args(|argument| match argument.get_action() {
                ArgAction::SetTrue => argument.action(ArgAction::Set),
                _ => argument,
            });
        Some((name, long, valued))
    };
    let commands = command.get_subcommands();
    commands
        .flat_map(|command| {
            command
                .get_arguments()
                .filter_map(|argument| of(command, argument))
        })
        .collect()
}

#[test]
fn fuzz_values_of_variables() {
    let all = variables();
    let at = |name: &str| {
        let mut all = all.iter();
        let at = all.position(|(variable, ..)| variable == name);
        u8::try_from(at.expect("there is such a variable")).expect("there are few")
    };
    let seed = |name: &str, value: &str| [&[at(name)], value.as_bytes()].concat();
    target("variable")
        .seed("preset", seed("ROLLUP_PROVER_PRESET", "tiny"))
        .seed("flag", seed("ROLLUP_PROVER_INSECURE_DEV_SRS", "yes"))
        .seed(
            "digest",
            seed("ROLLUP_PROVER_SRS_DIGEST", &format!("0x{}", "ab".repeat(32))),
        )
        .seed("url", seed("ROLLUP_PROVER_COORDINATOR", "http://127.0.0.1:7400"))
        .seed("file", seed("ROLLUP_PROVER_TOKEN_FILE", "token"))
        .seed(
            "collector",
            seed("ROLLUP_PROVER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        )
        .word("secret@")
        .runs(1_500)
        .memory(1 << 23, 1 << 10)
        .run(|bytes| {
            let (which, value) = bytes.split_first().ok_or("no bytes")?;
            let (variable, long, command) = &all[usize::from(*which) % all.len()];
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(OsStr::from_bytes(value));
            match command.clone().try_get_matches_from([argument]) {
                Ok(_) => Ok(()),
                // Of others; this one is taken.
                Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
                Err(error) => {
                    let told = error.to_string();
                    let urls = [
                        "ROLLUP_PROVER_COORDINATOR",
                        "ROLLUP_PROVER_OTLP_ENDPOINT",
                        "ROLLUP_PROVER_RPC",
                    ];
                    let is_url = urls.iter().any(|url| variable == url);
                    assert!(!is_url || !told.contains("secret"), "{told}");
                    Err(told)
                }
            }
        });
}

#[test]
fn fuzz_addresses_of_contracts() {
    let address = format!("0x{}", "ab".repeat(20));
    target("address").seed("address", address).run(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let address = parse_address(text)?;
        assert_eq!(parse_address(&to_hex(&address)), Ok(address));
        assert_ne!(address, [0; 20]);
        Ok(())
    });
}

#[test]
fn fuzz_devices() {
    target("device")
        .seed("cpu", "cpu")
        .seed("auto", "auto")
        .seed("gpu", "icicle:1")
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let device = text.parse::<DeviceChoice>().map_err(|error| error.to_string())?;
            assert_eq!(device.to_string().parse(), Ok(device), "one name");
            Ok(())
        });
}

#[test]
fn fuzz_amounts() {
    target("amount")
        .seed("part", "1234.5678")
        .seed("whole", "340282366920938463463")
        .word("0000000000000000000")
        .word(".")
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let unit = Unit { decimals: 18 };
            let value = unit.parse(text).map_err(|error| error.to_string())?;
            assert_eq!(unit.parse(&unit.show(value)), Ok(value));
            // Exactly, or not at all.
            assert!(
                unit.amount(value).is_ok_and(|float| float.value() == value) || unit.amount(value).is_err()
            );
            assert!(unit.fee(value).is_ok_and(|float| float.value() == value) || unit.fee(value).is_err());
            let whole = Unit { decimals: 0 };
            assert!(whole.parse(text).is_err() || whole.parse(text).is_ok_and(|whole| whole <= value));
            Ok(())
        });
}

#[test]
fn fuzz_public_keys() {
    let key = PrivateKey::from_bytes(&[1; 32]).public();
    target("owner")
        .seed("key", owner_text(&key))
        .word("0x")
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let key = parse_owner(text)?;
            assert!(owner_text(&key).eq_ignore_ascii_case(text) && key.validate().is_ok());
            Ok(())
        });
}

#[test]
fn fuzz_key_files() {
    let seed = format!("{{\"version\": 1, \"secret_key\": \"0x{}\"}}", "ab".repeat(32));
    target("key-file")
        .seed("key", seed)
        .word("\"version\"")
        .run(|bytes| {
            let secret = Secret::of_file(bytes).map_err(|error| {
                let told = format!("{error:#}");
                assert!(!told.contains("abab"), "an error does not repeat a key");
                told
            })?;
            assert_eq!(secret.to_text().len(), 66);
            Ok(())
        });
}
