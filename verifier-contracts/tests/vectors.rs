//! Vectors of the native implementation for the Solidity tests, in `test/vectors.json`.

use circuits::{
    Fr, field,
    operation::RollupId,
    stream::{DaMode, derive_x, evaluate_posted, posted_bytes},
};
use serde_json::json;
use std::{env, fs, path::Path};

/// Batches of several sizes on several rollups: no words, one, a whole group, groups of the largest words, many.
fn vectors() -> serde_json::Value {
    let largest = (1u128 << 99) - 1;
    let many: Vec<u128> = (0..83u128)
        .map(|i| (i * i * 0x1234_5678_9abc_def1 + 7) & largest)
        .collect();
    let cases: [(u64, [u8; 20], u64, &[u128]); 6] = [
        (31_337, [0x11; 20], 0, &[]),
        (31_337, [0x22; 20], 1, &[1]),
        (1, [0xff; 20], u64::MAX, &[1, 2, 3, 4, 5]),
        (u64::MAX, [0xfe; 20], 2, &[largest; 10]),
        (10, [0x33; 20], 3, &[0, 0, 0, 0, 0, 9]),
        (7, [0x44; 20], 4_000_000_000, &many),
    ];
    let mut file = serde_json::Map::new();
    let mut push = |key: &str, value: String| {
        file.entry(key)
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .expect("made above")
            .push(json!(value));
    };
    for (seed, (chain_id, contract, number, words)) in cases.into_iter().enumerate() {
        let rollup_id = RollupId { chain_id, contract };
        let c_a = -Fr::from(seed as u64 + 1);
        let c_b = Fr::from(seed as u64).square();
        let posted = posted_bytes(words);
        let x = derive_x(&rollup_id, number, DaMode::Calldata, &c_a, &c_b, &[], &posted);
        let y = evaluate_posted(&posted, &x).expect("posted bytes are whole elements");
        push("chains", chain_id.to_string());
        push("contracts", format!("0x{}", hex::encode(contract)));
        push("numbers", number.to_string());
        push("commitments_a", field::to_hex(&c_a));
        push("commitments_b", field::to_hex(&c_b));
        push("data", format!("0x{}", hex::encode(posted)));
        push("x", field::to_hex(&x));
        push("y", field::to_hex(&y));
    }
    file.into()
}

#[test]
fn vectors_for_solidity_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("test/vectors.json");
    let current = serde_json::to_string_pretty(&vectors()).expect("strings only") + "\n";
    if env::var_os("ACCEPT_GOLDEN").is_some() {
        fs::write(&path, &current).expect("the source tree is writable");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == current,
        "test/vectors.json is outdated; run with ACCEPT_GOLDEN=1 to accept the change"
    );
}
