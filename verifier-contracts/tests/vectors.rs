//! Vectors of the native implementation for the Solidity tests, in `test/vectors.json`.

use rules::{
    Fr,
    batch::{ReplayError, replay_words},
    field,
    operation::RollupId,
    state::State,
    stream::{DaMode, GROUP_BYTES, PostedError, derive_x, evaluate_posted, posted_bytes, posted_words},
};
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes that are no stream as posted, and why: neither L1 nor whoever rebuilds the state takes them (P-9.8).
fn refused() -> Vec<(Vec<u8>, PostedError)> {
    let not_whole = |bytes: usize| (vec![0x11; bytes], PostedError::NotWhole { bytes });
    let ends_in_zeros = |mut data: Vec<u8>, zeros: usize| {
        data.resize(data.len() + zeros, 0);
        let bytes = data.len();
        (data, PostedError::EndsInZeros { bytes })
    };
    // Half groups of one and three elements, and what is next to no, one, two and three groups.
    let lengths = [1, 30, 31, 32, 61, 63, 93, 123, 125, 155, 185, 187];
    let mut cases: Vec<_> = lengths.map(not_whole).into();
    // Whole elements whose last are zero, though these change no evaluation.
    cases.push((
        [&posted_bytes(&[1])[..], &[0; 31]].concat(),
        PostedError::NotWhole { bytes: 93 },
    ));
    cases.push(ends_in_zeros(vec![], GROUP_BYTES));
    cases.push(ends_in_zeros(posted_bytes(&[1]), GROUP_BYTES));
    cases.push(ends_in_zeros(posted_bytes(&[1; 10]), 2 * GROUP_BYTES));
    cases
}

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
    for (data, reason) in refused() {
        let key = match reason {
            PostedError::NotWhole { .. } => "not_whole",
            PostedError::EndsInZeros { .. } => "ends_in_zeros",
            PostedError::Element { .. } => unreachable!("L1 leaves it to the proof"),
        };
        push(key, format!("0x{}", hex::encode(data)));
    }
    file.into()
}

#[test]
fn what_l1_refuses_to_take_as_posted_stops_a_replay_too() {
    for (data, reason) in refused() {
        assert_eq!(posted_words(&data), Err(reason));
        assert_eq!(evaluate_posted(&data, &Fr::from(3)), Err(reason));
        let replayed = replay_words(&mut State::default(), &data);
        assert_eq!(replayed, Err(ReplayError::Posted(reason)));
    }
}

/// The snapshots of `test/Costs.t.sol`, which forge makes again and compares.
#[test]
fn the_page_quotes_version_2s_snapshots() {
    for file in ["transactions", "execution"] {
        let path = format!("{}/costs/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a snapshot");
        let costs: BTreeMap<String, String> = serde_json::from_str(&text).expect("figures by name");
        let figures = costs
            .values()
            .map(|gas| golden::thousands(gas.parse().expect("a number")));
        golden::quotes("verifier-contracts/GAS.md", figures);
    }
}

#[test]
fn vectors_for_solidity_are_current() {
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "test/vectors.json", &vectors());
}
