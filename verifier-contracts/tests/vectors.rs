//! Vectors of the native implementation for the Solidity tests, in `test/vectors.json`.

use rules::{
    Fr,
    account::{AccountIndex, TokenId},
    derive::{Fault, replay},
    field,
    operation::RollupId,
    record::{Coordinate, Kind, Record},
    state::State,
    stream::{
        Binding, DaMode, GROUP_BYTES, GROUP_WORDS, Group, PostedError, evaluate, groups, posted_a, posted_b,
        records,
    },
};
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes that are no stream B as posted, and why: neither L1 nor whoever derives the state takes them (P-9.8).
fn refused_b() -> Vec<(Vec<u8>, PostedError)> {
    let not_whole = |bytes: usize| (vec![0x11; bytes], PostedError::GroupsNotWhole { bytes });
    let ends_in_zeros = |mut data: Vec<u8>, zeros: usize| {
        data.resize(data.len() + zeros, 0);
        let bytes = data.len();
        (data, PostedError::EndsInZeros { bytes })
    };
    // Half groups of one and three elements, and what is next to no, one, two and three groups.
    let lengths = [1, 30, 31, 32, 61, 63, 93, 123, 125, 155, 185, 187];
    let mut cases: Vec<_> = lengths.map(not_whole).into();
    let one = posted_b(&groups_of(&[1], &[]));
    // Whole elements whose last are zero, though these change no evaluation.
    cases.push((
        [&one[..], &[0; 31]].concat(),
        PostedError::GroupsNotWhole { bytes: 93 },
    ));
    cases.push(ends_in_zeros(vec![], GROUP_BYTES));
    cases.push(ends_in_zeros(one, GROUP_BYTES));
    cases.push(ends_in_zeros(
        posted_b(&groups_of(&[1; 10], &[])),
        2 * GROUP_BYTES,
    ));
    cases
}

/// Bytes that are no stream A as posted.
fn refused_a() -> Vec<(Vec<u8>, PostedError)> {
    let lengths = [1, 31, 62, 93, 123, 125, 247];
    let not_whole = |bytes: usize| (vec![0x11; bytes], PostedError::RecordsNotWhole { bytes });
    lengths.map(not_whole).into()
}

/// Groups of words, those with the numbers in `flagged` after an operation of the queue.
fn groups_of(words: &[u128], flagged: &[usize]) -> Vec<Group> {
    let chunks = words.chunks(GROUP_WORDS).enumerate();
    let groups = chunks.map(|(number, chunk)| {
        let mut words = [0; GROUP_WORDS];
        words[..chunk.len()].copy_from_slice(chunk);
        Group {
            flag: flagged.contains(&number),
            words,
        }
    });
    groups.collect()
}

fn largest(kind: Kind) -> Record {
    let coordinate = Coordinate::new([[0x3f].as_slice(), &[0xff; 31]].concat().try_into().unwrap()).unwrap();
    Record {
        kind,
        code: 7,
        token: TokenId(u16::MAX),
        index: AccountIndex::new((1 << 33) - 1).unwrap(),
        amount: u128::MAX,
        address: [0xff; 20],
        u: coordinate,
        v: coordinate,
    }
}

fn withdrawal(seed: u64) -> Record {
    Record {
        kind: Kind::Withdrawal,
        code: 0,
        token: TokenId(1),
        index: AccountIndex::new(65_536 + seed).unwrap(),
        amount: u128::from(seed) * 1_000_000_007,
        address: [seed as u8; 20],
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
    }
}

/// Batches of several sizes on several rollups: nothing, one, a whole group, groups of the largest words and records, many.
fn vectors() -> serde_json::Value {
    let most = (1u128 << 99) - 1;
    let many: Vec<u128> = (0..83u128)
        .map(|i| (i * i * 0x1234_5678_9abc_def1 + 7) & most)
        .collect();
    let records: Vec<Record> = (0..20).map(withdrawal).collect();
    let all = Kind::ALL.map(largest);
    type Case<'a> = (u64, [u8; 20], u64, &'a [u128], &'a [usize], &'a [Record]);
    let cases: [Case<'_>; 7] = [
        (31_337, [0x11; 20], 0, &[], &[], &[]),
        (31_337, [0x22; 20], 1, &[1], &[], &records[..1]),
        (1, [0xff; 20], u64::MAX, &[1, 2, 3, 4, 5], &[0], &records[1..2]),
        (u64::MAX, [0xfe; 20], 2, &[most; 10], &[0, 1], &all),
        (10, [0x33; 20], 3, &[0, 0, 0, 0, 0, 9], &[0], &[]),
        (7, [0x44; 20], 4_000_000_000, &many, &[3, 9], &records),
        (7, [0x44; 20], 5, &[0; 15], &[2], &all[..1]),
    ];
    let mut file = serde_json::Map::new();
    let mut push = |key: &str, value: String| {
        file.entry(key)
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .expect("made above")
            .push(json!(value));
    };
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    for (seed, (chain_id, contract, number, words, flagged, records)) in cases.into_iter().enumerate() {
        let rollup_id = RollupId { chain_id, contract };
        let binding = Binding {
            number,
            mode: DaMode::Calldata,
            c_a: -Fr::from(seed as u64 + 1),
            c_b: Fr::from(seed as u64).square(),
            posted_a: &posted_a(records),
            posted_b: &posted_b(&groups_of(words, flagged)),
        };
        let x = binding.x(&rollup_id);
        push("rollups", field::to_hex(&rollup_id.to_fr()));
        push("numbers", number.to_string());
        push("commitments_a", field::to_hex(&binding.c_a));
        push("commitments_b", field::to_hex(&binding.c_b));
        push("data_a", hex(binding.posted_a));
        push("data_b", hex(binding.posted_b));
        push("x", field::to_hex(&x));
        push("y_a", field::to_hex(&evaluate(binding.posted_a, &x)));
        push("y_b", field::to_hex(&evaluate(binding.posted_b, &x)));
    }
    for (data, reason) in refused_a().into_iter().chain(refused_b()) {
        let key = match reason {
            PostedError::RecordsNotWhole { .. } => "not_records",
            PostedError::GroupsNotWhole { .. } => "not_whole",
            PostedError::EndsInZeros { .. } => "ends_in_zeros",
            PostedError::Record { .. } => unreachable!("another test has those"),
        };
        push(key, hex(&data));
    }
    file.into()
}

#[test]
fn what_l1_refuses_to_take_as_posted_stops_a_replay_too() {
    let state = State::default();
    for (data, reason) in refused_b() {
        assert_eq!(groups(&data), Err(reason));
        assert_eq!(replay(&state, &[], &data), Err(Fault::Posted(reason)));
    }
    for (data, reason) in refused_a() {
        assert_eq!(records(&data), Err(reason));
        assert_eq!(replay(&state, &data, &[]), Err(Fault::Posted(reason)));
    }
}

/// The snapshots of `test/Costs.t.sol`, which forge makes again and compares.
#[test]
fn the_page_quotes_forges_snapshots() {
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
