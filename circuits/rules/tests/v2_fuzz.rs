//! Version 2's decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, and what they
//! take encodes to what was taken.

use fuzzer::Target;
use rules::operation::RollupId;
use rules::state::State;
use rules::v2::batch::{self, Batch};
use rules::v2::derive;
use rules::v2::operation::Word;
use rules::v2::sample::{Draw, Mix, Sample, SampleConfig};
use rules::v2::shards::{Sharded, shards};
use rules::v2::stream;
use rules::v2::witness::{Shape, ShardInput};
use std::fmt::Display;

const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
const SHAPE: Shape = Shape { places: 5, rooms: 1 };
/// Memory that serde sets aside for a sequence whose length is claimed: 1 MiB at most, whatever the length. Two may be under
/// way, one in the other.
const CLAIMED: u64 = 2 << 20;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

fn refused(error: impl Display) -> String {
    error.to_string()
}

/// A batch on the empty state, of each kind of operation, and how it is proven.
fn batch_of(queued: usize, signed: usize) -> (Batch, Sharded) {
    let config = SampleConfig {
        seed: 3,
        users: 2,
        tokens: 1,
    };
    let draw = Draw {
        shape: SHAPE,
        queued,
        signed,
        mix: Mix::All,
    };
    let batch = Sample::new(config).batch(ROLLUP_ID, 1_700_000_000, draw);
    let executed = batch::execute(&mut State::default(), &batch).unwrap();
    let sharded = shards(&batch, &executed, SHAPE, 8).unwrap();
    (batch, sharded)
}

/// The length of stream A in two bytes, A, and B.
fn both(sharded: &Sharded) -> Vec<u8> {
    let length = (sharded.posted_a.len() as u16).to_be_bytes();
    [&length[..], &sharded.posted_a, &sharded.posted_b].concat()
}

#[test]
fn fuzz_posted_streams_of_version_2() {
    let state = State::default();
    target("v2-streams")
        .seed("token", both(&batch_of(1, 0).1))
        .seed("all", both(&batch_of(3, 12).1))
        .runs(2_000)
        .memory(CLAIMED, 512)
        .run(|bytes| {
            let (length, rest) = bytes.split_first_chunk::<2>().ok_or("no length")?;
            let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
            let (a, b) = rest.split_at(length);
            let records = stream::records(a).map_err(refused);
            let groups = stream::groups(b).map_err(refused);
            if let Ok(records) = &records {
                assert_eq!(stream::posted_a(records), a, "one encoding");
            }
            if let Ok(groups) = &groups {
                assert_eq!(stream::posted_b(groups), b, "one encoding");
            }
            let derived = derive::replay(&state, a, b).map_err(refused)?;
            assert_eq!((Ok(derived.records), Ok(derived.groups)), (records, groups));
            Ok(())
        });
}

#[test]
fn fuzz_words_of_version_2() {
    let (batch, _) = batch_of(3, 12);
    let words = batch.operations.iter().filter_map(|operation| operation.signed());
    let words: Vec<_> = words.map(|signed| signed.word().to_integer()).collect();
    target("v2-words")
        .seed("first", words[0].to_be_bytes())
        .seed("last", words[words.len() - 1].to_be_bytes())
        .run(|bytes| {
            let mut word = [0; 16];
            let length = bytes.len().min(16);
            word[16 - length..].copy_from_slice(&bytes[..length]);
            let word = u128::from_be_bytes(word);
            let read = Word::from_integer(word).map_err(refused)?;
            assert_eq!(read.to_integer(), word);
            Ok(())
        });
}

#[test]
fn fuzz_batch_bytes_of_version_2() {
    target("v2-batch-bytes")
        .seed("all", batch_of(3, 12).0.to_bytes())
        .runs(1_500)
        .memory(CLAIMED, 512)
        .run(|bytes| {
            let batch = Batch::from_bytes(bytes).map_err(refused)?;
            assert_eq!(Batch::from_bytes(&batch.to_bytes()), Ok(batch.clone()));
            let mut state = State::default();
            let root = state.root();
            let executed = batch::execute(&mut state, &batch);
            assert!(
                executed.is_ok() || state.root() == root,
                "a refused batch changes nothing"
            );
            executed.map(drop).map_err(refused)
        });
}

#[test]
fn fuzz_batch_json_of_version_2() {
    target("v2-batch-json")
        .seed("all", batch_of(2, 8).0.to_json())
        .word("18446744073709551616")
        .word("\"no_op\"")
        .word("null")
        .runs(1_500)
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(refused)?;
            let batch = Batch::from_json(text).map_err(refused)?;
            assert_eq!(Batch::from_json(&batch.to_json()), Ok(batch));
            Ok(())
        });
}

#[test]
fn fuzz_shard_input_of_version_2() {
    let mut input = batch_of(1, 2).1.shards.remove(0);
    input.groups.truncate(1);
    let mut empty = input.clone();
    empty.groups.clear();
    target("v2-shard-input")
        .seed("empty", empty.to_bytes())
        .seed("group", input.to_bytes())
        .runs(1_500)
        .memory(CLAIMED, 64)
        .run(|bytes| {
            let input = ShardInput::from_bytes(bytes).map_err(refused)?;
            assert_eq!(ShardInput::from_bytes(&input.to_bytes()), Ok(input.clone()));
            assert_eq!(input.instances().len(), 17);
            let _ = input.shape();
            input
                .groups
                .iter()
                .for_each(|group| assert!(group.records().count() <= 6));
            Ok(())
        });
}
