//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, what they
//! take encodes to what was taken, and what is refused leaves no trace. What is behind files of the key cache is beside it.

use circuits::{
    Fr,
    aggregation::{AggregationInput, ChildProof, root_statement},
    batch::{self, Batch, replay_words, take_back_words},
    eddsa::{PublicKey, Signature},
    field,
    genesis::Genesis,
    manifest::{Digest, Manifest},
    operation::{Effect, RollupId},
    ptau::{ptau_id, ptau_k, read_ptau},
    sample::{Sample, SampleConfig},
    srs::{SrsSource, development, halo2_id, halo2_k, read_halo2},
    stream::{evaluate_posted, posted_bytes, posted_words},
    verify::instances_from_be,
    witness::ShardInput,
};
use fuzzer::{Target, Verdict};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

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
fn fuzz_aggregation_input() {
    let sample = sample();
    let batch = batch_of(1);
    let executed = batch::execute(&mut sample.state().clone(), &batch).unwrap();
    let children = batch::shards(&batch, &executed, 5, 2).unwrap();
    let children = children.iter().map(|input| ChildProof {
        instances: input.instances(),
        proof: vec![1; 64],
    });
    let input = AggregationInput {
        children: children.collect(),
    };
    target("aggregation-input")
        .seed("two", input.to_bytes())
        .memory(CLAIMED, 64)
        .run(|bytes| {
            let input = AggregationInput::from_bytes(bytes).map_err(refused)?;
            assert_eq!(AggregationInput::from_bytes(&input.to_bytes()).unwrap(), input);
            let instances: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
            root_statement(&instances, 2).map(drop).map_err(refused)
        });
}

#[test]
fn fuzz_manifest() {
    let digest = Digest([0xab; 32]);
    let manifest = Manifest {
        protocol_version: 1,
        preset: "tiny".to_string(),
        shard_k: 15,
        shard_capacity: 5,
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
fn fuzz_signatures_keys_and_instances() {
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
            let instances = instances_from_be(bytes, bytes.len() / 32);
            if let Ok(instances) = &instances {
                let encoded: Vec<u8> = instances.iter().flat_map(field::to_be).collect();
                assert_eq!(encoded, bytes, "one encoding");
            }
            first.map_err(|text| format!("{text}, {:?}", instances.map(drop)))
        });
}

#[test]
fn fuzz_ptau() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/snarkjs-7.ptau")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    target("ptau")
        .seed("power-1", of_power_one(&whole))
        .runs(600)
        .memory(1 << 22, 64)
        .run(|bytes| {
            std::fs::write(&path, bytes).unwrap();
            let _ = SrsSource::of_file(&path).and_then(|source| source.k());
            let (id, k) = (ptau_id(&path).map_err(refused)?, ptau_k(&path).map_err(refused)?);
            assert!(bytes.len() as u64 >= 64 << k, "powers that are not there");
            let srs = read_ptau(&path, 1).map_err(refused)?;
            assert_eq!(srs.id, id);
            Ok(())
        });
}

/// The first two powers of a file as a file.
fn of_power_one(whole: &[u8]) -> Vec<u8> {
    let section = |wanted: u32| {
        let mut at = 12;
        loop {
            let size = u64::from_le_bytes(whole[at + 4..at + 12].try_into().unwrap()) as usize;
            let bytes = &whole[at + 12..at + 12 + size];
            if whole[at..at + 4] == wanted.to_le_bytes() {
                return bytes;
            }
            at += 12 + size;
        }
    };
    let mut header = section(1).to_vec();
    header[36..40].copy_from_slice(&1_u32.to_le_bytes());
    let parts = [
        (1_u32, &header[..]),
        (2, &section(2)[..3 * 64]),
        (3, &section(3)[..2 * 128]),
        (12, &section(12)[..3 * 64]),
    ];
    let mut file = [&b"ptau"[..], &1_u32.to_le_bytes(), &4_u32.to_le_bytes()].concat();
    for (id, bytes) in parts {
        file.extend(id.to_le_bytes());
        file.extend((bytes.len() as u64).to_le_bytes());
        file.extend(bytes);
    }
    file
}

#[test]
fn fuzz_halo2_parameters() {
    use halo2_proofs::SerdeFormat;
    let mut raw = Vec::new();
    let srs = development(2, true, &|_| {}).unwrap();
    srs.params.write_custom(&mut raw, SerdeFormat::RawBytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    target("halo2-parameters")
        .seed("development-k-2", raw)
        .runs(600)
        .memory(1 << 22, 64)
        .run(|bytes| {
            std::fs::write(&path, bytes).unwrap();
            let _ = SrsSource::of_file(&path).and_then(|source| source.k());
            let (id, k) = (
                halo2_id(&path).map_err(refused)?,
                halo2_k(&path).map_err(refused)?,
            );
            assert!(bytes.len() as u64 >= 128 << k, "powers that are not there");
            let srs = read_halo2(&path, k.min(2)).map_err(refused)?;
            assert_eq!(srs.id, id);
            Ok(())
        });
}
