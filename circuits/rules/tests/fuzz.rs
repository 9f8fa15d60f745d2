//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, what they
//! take encodes to what was taken, and what is refused leaves no trace.

use fuzzer::{Target, Verdict};
use rules::{
    Fr,
    batch::{self, Batch, replay_words, take_back_words},
    digest::Digest,
    eddsa::{PublicKey, Signature},
    field,
    genesis::Genesis,
    operation::{Effect, RollupId},
    sample::{Sample, SampleConfig},
    stream::{evaluate_posted, posted_bytes, posted_words},
    witness::ShardInput,
};
use std::collections::BTreeMap;
use std::fmt::Display;

const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// Memory that serde sets aside for a sequence whose length is claimed: 1 MiB at most, whatever the length. Two may be under
/// way, one in the other.
const CLAIMED: u64 = 2 << 20;

fn refused(error: impl Display) -> String {
    error.to_string()
}

fn sample() -> Sample {
    Sample::new(SampleConfig {
        seed: 1,
        users: 2,
        tokens: 1,
    })
}

fn batch_of(transfers: usize) -> Batch {
    sample().batch(ROLLUP_ID, 1_700_000_000, transfers)
}

#[test]
fn fuzz_posted_data() {
    let sample = sample();
    let before = sample.state().root();
    let words = batch_of(7).words();
    target("posted-data")
        .seed("empty", Vec::new())
        .seed("one-group", posted_bytes(&words[..5]))
        .seed("two-groups", posted_bytes(&words))
        .runs(3_000)
        // A replay holds what it changes, and hashes up to the root.
        .memory(CLAIMED, 256)
        .run(|bytes| {
            let taken = posted_words(bytes);
            match &taken {
                Ok(words) => {
                    assert_eq!(posted_bytes(words), bytes, "one encoding");
                    assert!(evaluate_posted(bytes, &Fr::from(3)).is_ok());
                }
                Err(error) => {
                    // L1 leaves the last kind to the proof.
                    let evaluated = evaluate_posted(bytes, &Fr::from(3));
                    assert!(evaluated.is_ok() || evaluated == Err(*error));
                }
            }
            let mut state = sample.state().clone();
            match replay_words(&mut state, bytes) {
                Ok(()) => {
                    assert!(taken.is_ok());
                    let taken_back = take_back_words(&state, BTreeMap::new(), bytes).expect("it led here");
                    let same = |(index, account): &(_, _)| sample.state().get(*index) == Some(account);
                    assert!(taken_back.iter().all(same));
                }
                Err(error) => {
                    assert_eq!(state.root(), before, "a refused replay changes nothing");
                    return Err(refused(error));
                }
            }
            Ok(())
        });
}

#[test]
fn fuzz_words_of_operations() {
    let word = batch_of(1).words()[0];
    target("words").seed("transfer", word.to_be_bytes()).run(|bytes| {
        let mut word = [0; 16];
        let length = bytes.len().min(16);
        word[16 - length..].copy_from_slice(&bytes[..length]);
        let word = u128::from_be_bytes(word);
        let effect = Effect::from_word(word).map_err(refused)?;
        assert_eq!(effect.word(), word);
        Ok(())
    });
}

fn executes(sample: &Sample, batch: &Batch) -> Verdict {
    let mut state = sample.state().clone();
    let executed = batch::execute(&mut state, batch);
    if executed.is_err() {
        assert_eq!(
            state.root(),
            sample.state().root(),
            "a refused batch changes nothing"
        );
    }
    // That it breaks a rule is no fault of the decoder, but another place to begin from.
    executed.map(drop).map_err(refused)
}

#[test]
fn fuzz_batch_bytes() {
    let sample = sample();
    target("batch-bytes")
        .seed("one", batch_of(1).to_bytes())
        .seed("six", batch_of(6).to_bytes())
        .runs(3_000)
        .memory(CLAIMED, 256)
        .run(|bytes| {
            let batch = Batch::from_bytes(bytes).map_err(refused)?;
            assert_eq!(Batch::from_bytes(&batch.to_bytes()), Ok(batch.clone()));
            executes(&sample, &batch)
        });
}

#[test]
fn fuzz_batch_json() {
    target("batch-json")
        .seed("one", batch_of(1).to_json())
        .word("18446744073709551616")
        .word("\"0x\"")
        .word("null")
        .runs(3_000)
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(refused)?;
            let batch = Batch::from_json(text).map_err(refused)?;
            assert_eq!(Batch::from_json(&batch.to_json()), Ok(batch));
            Ok(())
        });
}

#[test]
fn fuzz_genesis() {
    target("genesis")
        .seed("sample", sample().genesis().to_json())
        .word("18446744073709551616")
        .word("0x")
        .word("null")
        .runs(2_000)
        .memory(CLAIMED, 512)
        .run(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(refused)?;
            let genesis = Genesis::from_json(text).map_err(refused)?;
            assert_eq!(Genesis::from_json(&genesis.to_json()), Ok(genesis.clone()));
            genesis.build().map(drop).map_err(refused)
        });
}

#[test]
fn fuzz_shard_input() {
    let sample = sample();
    let batch = batch_of(1);
    let executed = batch::execute(&mut sample.state().clone(), &batch).unwrap();
    let mut shards = batch::shards(&batch, &executed, 5, 1).unwrap();
    let mut input = shards.remove(0);
    // One is enough for a corpus: each holds three paths of 2.5 KB.
    input.steps.truncate(1);
    target("shard-input")
        .seed("transfer", input.to_bytes())
        .runs(3_000)
        .memory(CLAIMED, 64)
        .run(|bytes| {
            let input = ShardInput::from_bytes(bytes).map_err(refused)?;
            assert_eq!(ShardInput::from_bytes(&input.to_bytes()), Ok(input.clone()));
            assert_eq!(input.instances().len(), 17);
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
    let batch = batch_of(1);
    let signature = batch.operations[0].signature;
    let sample = sample();
    let owner = sample.genesis().accounts.last().unwrap().account.owner;
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
