//! The table of presets in ARCHITECTURE.md: what a preset takes, computed from the circuits' shapes where it was not measured.

use circuits::plonk::VerifyingKey;
use circuits::preset::{ALL, CI, Preset, TINY};
use keys::VerifyingKeys;
use prover::device::MemoryNeeds;
use prover::fixtures;
use serde_json::{Value, json};
use std::path::Path;

const SCALAR_BYTES: u64 = 32;
/// Of a point in a reference string, which has `2^k` powers and as many Lagrange points.
const POINT_BYTES: u64 = 64;

/// Bytes of a proving key's file: each column of the key as values and as a polynomial, and three polynomials that select rows.
/// What verifies is below a thousandth of it.
fn proving_key_bytes(key: &VerifyingKey, k: u32) -> u64 {
    let vectors = 2 * key.shape.commitments.len() as u64 + 3;
    (vectors * SCALAR_BYTES) << k
}

/// Bytes of a reference string's file.
fn srs_bytes(k: u32) -> u64 {
    (2 * POINT_BYTES) << k
}

/// Bytes of all files of a preset. A circuit's columns do not depend on its rows, so that any preset's keys tell of them.
fn files_bytes(preset: &Preset, keys: &VerifyingKeys) -> u64 {
    let shard = proving_key_bytes(keys.shard(), preset.shard.k) + srs_bytes(preset.shard.k);
    let aggregation =
        proving_key_bytes(keys.aggregation(), preset.aggregation_k) + srs_bytes(preset.aggregation_k);
    shard + aggregation
}

/// Log2 of the aggregation's rows at `ci` when the demo that is kept was run.
const MEASURED_AGGREGATION_K: u32 = 19;

/// Seconds of a batch's shards and of its aggregation on two cores: as the demo took them at `ci`, by the number of rows.
fn seconds(preset: &Preset) -> [f64; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/results/demo-ci-keys-cached.json");
    let demo: Value = serde_json::from_slice(&std::fs::read(path).expect("a kept result")).expect("JSON");
    let batches = demo["batches"].as_f64().expect("a number of batches");
    let measured = |name: &str| demo["seconds"][name].as_f64().expect("seconds") / batches;
    let scaled = |seconds: f64, k: u32, measured_k: u32| seconds * 2f64.powi(k as i32 - measured_k as i32);
    let shards = measured("shards") * preset.children as f64 / CI.children as f64;
    [
        scaled(shards, preset.shard.k, CI.shard.k),
        scaled(
            measured("aggregation"),
            preset.aggregation_k,
            MEASURED_AGGREGATION_K,
        ),
    ]
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[test]
fn a_proving_key_has_the_size_that_is_computed() {
    let store = fixtures::keys(TINY).expect("keys");
    let keys = store.verifying_keys();
    for (key, k, file) in [
        (keys.shard(), TINY.shard.k, "shard.pk"),
        (keys.aggregation(), TINY.aggregation_k, "aggregation.pk"),
    ] {
        let found = std::fs::metadata(store.folder().join(file)).expect(file).len();
        let computed = proving_key_bytes(key, k);
        assert!(
            found >= computed && found - computed < found / 400,
            "{file} has {found} bytes, computed {computed}"
        );
    }
}

#[test]
fn the_table_of_presets_is_that_of_their_layouts() {
    let store = fixtures::keys(TINY).expect("keys");
    let rows: Vec<(String, Value)> = ALL
        .iter()
        .map(|preset| {
            let needs = MemoryNeeds::estimate(preset);
            let host = needs.of_host();
            let [shards, aggregation] = seconds(preset);
            let files = files_bytes(preset, store.verifying_keys());
            let row = format!(
                "| k = {}, {} and {} | {} | k = {} | {} and {} | {} | {} | {} | {shards:.0} s, {aggregation:.0} s |",
                preset.shard.k,
                preset.shard.shape.places,
                preset.shard.shape.rooms,
                preset.children,
                preset.aggregation_k,
                golden::thousands(preset.places_max() as u64),
                preset.queue_capacity(),
                gigabytes(files),
                gigabytes(host.shard.max(host.aggregation)),
                gigabytes(needs.shard.max(needs.aggregation)),
            );
            let value = json!({
                "preset": preset,
                "places": preset.places_max(),
                "queue_capacity": preset.queue_capacity(),
                "files_bytes": files,
                "host_bytes": host,
                "device_bytes": needs,
            });
            (row, value)
        })
        .collect();
    let (rows, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/presets.json", &json!(values));
    golden::quotes("ARCHITECTURE.md", rows);
}
