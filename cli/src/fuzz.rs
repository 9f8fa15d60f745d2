//! What the command line and other machines give, on any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use clap::CommandFactory;
use fuzzer::Target;
use prost::Message;
use proto::v1::GetProofResponse;

use crate::args::Cli;
use crate::proof_file::ProofFile;
use proto::connection::CoordinatorUrl;

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
