//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, and what they
//! take encodes to what was taken.

use fuzzer::Target;
use rules::Fr;
use rules::batch::{self, Batch};
use rules::derive;
use rules::digest::Digest;
use rules::eddsa::{PrivateKey, PublicKey, Signature};
use rules::field;
use rules::follow::Block;
use rules::operation::{RollupId, Word};
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::{Sharded, shards};
use rules::snapshot;
use rules::state::State;
use rules::stream;
use rules::witness::{Shape, ShardInput};
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
fn fuzz_posted_streams() {
    let state = State::default();
    target("streams")
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
fn fuzz_words() {
    let (batch, _) = batch_of(3, 12);
    let words = batch.operations.iter().filter_map(|operation| operation.signed());
    let words: Vec<_> = words.map(|signed| signed.word().to_integer()).collect();
    target("words")
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
fn fuzz_batch_bytes() {
    target("batch-bytes")
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
fn fuzz_batch_json() {
    target("batch-json")
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
fn fuzz_shard_input() {
    let mut input = batch_of(1, 2).1.shards.remove(0);
    input.groups.truncate(1);
    let mut empty = input.clone();
    empty.groups.clear();
    target("shard-input")
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

#[test]
fn fuzz_snapshots() {
    let (batch, _) = batch_of(3, 12);
    let mut state = State::default();
    batch::execute(&mut state, &batch).unwrap();
    let block = Block {
        number: 7,
        hash: Digest([9; 32]),
    };
    let header = snapshot::Header {
        batches: 1,
        time: batch.time,
        head: 3,
        root: state.root(),
        ..snapshot::Header::empty(ROLLUP_ID, block)
    };
    let mut text = Vec::new();
    snapshot::write(&header, &state, &mut text).unwrap();
    target("snapshot")
        .seed("sample", text)
        .word("18446744073709551616")
        .word("0x")
        .word("null")
        .runs(2_000)
        .memory(CLAIMED, 512)
        .run(|bytes| {
            let (header, state) = snapshot::read(bytes).map_err(refused)?;
            let mut again = Vec::new();
            snapshot::write(&header, &state, &mut again).unwrap();
            let (same, read) = snapshot::read(again.as_slice()).unwrap();
            assert_eq!((same, read.root()), (header, state.root()));
            Ok(())
        });
}

#[test]
fn fuzz_texts_of_elements_and_digests() {
    target("element-text")
        .seed("zero", "0")
        .seed("hexadecimal", field::to_hex(&-Fr::one()))
        .seed("decimal", field::to_integer(&-Fr::one()).to_string())
        .word("\u{e9}")
        .word("0x")
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(refused)?;
            if let Ok(digest) = text.parse::<Digest>() {
                assert_eq!(digest.to_string().parse(), Ok(digest));
            }
            let value = field::from_hex(text).map_err(refused)?;
            assert_eq!(field::from_hex(&field::to_hex(&value)), Ok(value));
            Ok(())
        });
}

#[test]
fn fuzz_signatures_and_keys() {
    let key = PrivateKey::from_bytes(&[1; 32]);
    let (owner, signature) = (key.public(), key.sign(&Fr::one()));
    target("signature")
        .seed("signature", signature.to_bytes())
        .seed("key", [owner.to_bytes(), owner.to_bytes()].concat())
        .run(|bytes| {
            let mut first = Err("no key");
            if let Some(head) = bytes.first_chunk::<64>()
                && let Ok(key) = PublicKey::from_bytes(head)
            {
                assert_eq!(key.to_bytes(), *head, "one encoding");
                first = key.validate().map_err(|_| "no valid key");
            }
            if let Some(head) = bytes.first_chunk::<96>()
                && let Ok(signature) = Signature::from_bytes(head)
            {
                assert_eq!(signature.to_bytes(), *head, "one encoding");
                first = Ok(());
            }
            first.map_err(String::from)
        });
}
