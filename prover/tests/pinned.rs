//! The `tiny` preset's keys are pinned by digest, and one shard proof and one root proof with their instances: a change
//! of the statement, the layout or the transcript shows here, and is accepted by running with `UPDATE_PINNED=1`.

use circuits::preset::TINY;
use prover::fixtures;
use rules::field;
use serde_json::{Value, json};
use std::path::Path;

fn words(instances: &[rules::Fr]) -> Value {
    instances.iter().map(field::to_hex).collect::<Vec<_>>().into()
}

fn read(pinned: &Value, key: &str) -> (Vec<rules::Fr>, Vec<u8>) {
    let instances = pinned[key]["instances"].as_array().expect("instances");
    let instances = instances
        .iter()
        .map(|word| field::from_hex(word.as_str().expect("text")).expect("canonical"));
    let proof = pinned[key]["proof"].as_str().expect("proof");
    (instances.collect(), hex::decode(proof).expect("hexadecimal"))
}

#[test]
fn keys_and_proofs_are_those_that_were_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pinned.json");
    let keys = fixtures::keys(TINY).expect("keys");
    let manifest = serde_json::to_value(keys.manifest()).expect("a manifest is JSON");
    if std::env::var_os("UPDATE_PINNED").is_some() {
        let fixture = fixtures::root_proof(TINY).expect("proofs");
        let shard = &fixture.shard_proofs[0];
        let pinned = json!({
            "manifest": manifest,
            "shard": { "instances": words(&shard.instances), "proof": hex::encode(&shard.proof) },
            "root": { "instances": words(&fixture.instances), "proof": hex::encode(&fixture.proof) },
        });
        let text = serde_json::to_string_pretty(&pinned).expect("JSON") + "\n";
        std::fs::write(&path, text).expect("the file can be written");
    }
    let pinned: Value = serde_json::from_slice(&std::fs::read(&path).expect("pinned.json")).expect("JSON");
    assert_eq!(
        pinned["manifest"], manifest,
        "UPDATE_PINNED=1 accepts the new keys"
    );

    let (instances, proof) = read(&pinned, "shard");
    let verifying = keys.verifying_keys();
    verifying
        .verify_shard(&instances, &proof)
        .expect("the pinned shard proof");
    let mut other = instances.clone();
    other[0] += rules::Fr::one();
    assert!(verifying.verify_shard(&other, &proof).is_err());

    let (instances, proof) = read(&pinned, "root");
    verifying
        .verify_root(&instances, &proof)
        .expect("the pinned root proof");
    let mut other = instances.clone();
    other[16] += rules::Fr::one();
    assert!(verifying.verify_root(&other, &proof).is_err());
}
