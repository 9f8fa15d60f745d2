//! Proofs and payloads from outside, on any bytes, under real keys: only the proofs that were reviewed verify.

use circuits::field;
use circuits::preset::TINY;
use circuits::verify::instances_from_be;
use fuzzer::Target;
use prover::fixtures;
use serde_json::Value;
use std::path::Path;

/// Instances and proof of one of the pinned proofs, one after the other.
fn pinned(key: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pinned.json");
    let pinned: Value = serde_json::from_slice(&std::fs::read(path).expect("pinned.json")).expect("JSON");
    let words = pinned[key]["instances"].as_array().expect("instances").iter();
    let words = words.map(|word| field::from_hex(word.as_str().expect("text")).expect("canonical"));
    let mut bytes: Vec<u8> = words.flat_map(|word| field::to_be(&word)).collect();
    bytes.extend(hex::decode(pinned[key]["proof"].as_str().expect("proof")).expect("hexadecimal"));
    bytes
}

/// Memory of one verification, which is the key's and not the proof's.
const VERIFICATION: u64 = 64 << 20;

fn target(name: &'static str, seed: &[u8]) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
        .seed("pinned", seed)
        // A point at infinity in the form of each proof.
        .word([0; 64])
        .word([[0; 31].as_slice(), &[0x80]].concat())
        .runs(600)
        .memory(VERIFICATION, 64)
}

#[test]
fn fuzz_shard_proofs() {
    let keys = fixtures::keys(TINY).expect("keys");
    let seed = pinned("shard");
    target("shard-proof", &seed).run(|bytes| {
        let (instances, proof) = bytes.split_at(bytes.len().min(17 * 32));
        let instances = instances_from_be(instances, 17).map_err(|error| error.to_string())?;
        let verdict = keys.shard_verifier().verify(&instances, proof);
        let ours = keys.verifying_keys().verify_shard(&instances, proof);
        assert_eq!(ours, verdict, "stock verification and ours");
        assert_eq!(verdict.is_ok(), bytes == seed, "one proof of one statement");
        verdict.map_err(|error| error.to_string())
    });
}

#[test]
fn fuzz_root_proofs() {
    let keys = fixtures::keys(TINY).expect("keys");
    let seed = pinned("root");
    target("root-proof", &seed).run(|bytes| {
        let (instances, proof) = bytes.split_at(bytes.len().min(17 * 32));
        let instances = instances_from_be(instances, 17).map_err(|error| error.to_string())?;
        let verdict = keys.root_verifier().verify(&instances, proof);
        let ours = keys.verifying_keys().verify_root(&instances, proof);
        assert_eq!(ours, verdict, "stock verification and ours");
        assert_eq!(verdict.is_ok(), bytes == seed, "one proof of one statement");
        verdict.map(drop).map_err(|error| error.to_string())
    });
}
