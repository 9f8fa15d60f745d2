//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, what they
//! take encodes to what was taken, and what is refused leaves no trace.

use fuzzer::Target;
use keys::manifest::Manifest;
use rules::digest::Digest;
use std::fmt::Display;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

fn refused(error: impl Display) -> String {
    error.to_string()
}

#[test]
fn fuzz_manifest() {
    let digest = Digest([0xab; 32]);
    let manifest = Manifest {
        protocol_version: 2,
        preset: "tiny".to_string(),
        shard_k: 15,
        shard_places: 5,
        shard_rooms: 1,
        children: 1,
        insecure_srs: true,
        srs_digest: digest,
        shard_circuit_digest: digest,
        shard_vk_digest: digest,
        aggregation_k: 19,
        aggregation_circuit_digest: digest,
        aggregation_vk_digest: digest,
        shard_verifying_key_digest: digest,
        aggregation_verifying_key_digest: digest,
    };
    target("manifest")
        .seed("tiny", serde_json::to_vec(&manifest).unwrap())
        .word("null")
        .word("1e400")
        .run(|bytes| {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(refused)?;
            let text = serde_json::to_vec(&manifest).unwrap();
            let again: Manifest = serde_json::from_slice(&text).map_err(refused)?;
            assert_eq!(again, manifest);
            Ok(())
        });
}
