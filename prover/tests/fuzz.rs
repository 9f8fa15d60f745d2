//! Proofs from outside, on any bytes, under real keys: only those that were reviewed verify, and stock halo2's verifier, with
//! snark-verifier's transcripts, agrees.

use circuits::plonk::ProofError;
use circuits::preset::TINY;
use circuits::verify::{VerifyError, instances_from_be};
use fuzzer::Target;
use halo2_proofs::plonk::{VerifyingKey, verify_proof};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::VerifierSHPLONK;
use halo2_proofs::poly::kzg::strategy::SingleStrategy;
use halo2_proofs::transcript::{EncodedChallenge, TranscriptReadBuffer};
use halo2curves::bn256::{Bn256, G1Affine};
use prover::fixtures;
use rules::{Fr, field};
use serde_json::Value;
use snark_verifier_sdk::NativeLoader;
use snark_verifier_sdk::halo2::{POSEIDON_SPEC, PoseidonTranscript};
use snark_verifier_sdk::snark_verifier::system::halo2::transcript::evm::EvmTranscript;
use std::path::Path;

/// Stock halo2's verification. It reads no further than a proof goes.
fn stock<'a, E, T>(
    params: &ParamsKZG<Bn256>,
    vk: &VerifyingKey<G1Affine>,
    instances: &[Fr],
    mut transcript: T,
) -> bool
where
    E: EncodedChallenge<G1Affine>,
    T: TranscriptReadBuffer<&'a [u8], G1Affine, E>,
{
    verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<'_, Bn256>, E, T, _>(
        params,
        vk,
        SingleStrategy::new(params),
        &[&[instances]],
        &mut transcript,
    )
    .is_ok()
}

/// Instances and proof of one of the pinned proofs, one after the other.
fn pinned(key: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pinned.json");
    let pinned: Value = serde_json::from_slice(&std::fs::read(path).expect("pinned.json")).expect("JSON");
    let words = pinned[key]["instances"].as_array().expect("instances").iter();
    let words = words.map(|word| field::from_hex(word.as_str().expect("text")).expect("canonical"));
    let mut bytes: Vec<u8> = words.flat_map(|word| field::to_be(&word)).collect();
    bytes.extend(hex::decode(pinned[key]["proof"].as_str().expect("proof")).expect("hexadecimal"));
    bytes
}

/// Memory of one verification, which is the key's and not the proof's.
const VERIFICATION: u64 = 64 << 20;

fn target(name: &'static str, seed: &[u8]) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
        .seed("pinned", seed)
        // A point at infinity in the form of each proof.
        .word([0; 64])
        .word([[0; 31].as_slice(), &[0x80]].concat())
        .runs(600)
        .memory(VERIFICATION, 64)
}

#[test]
fn fuzz_shard_proofs() {
    let keys = fixtures::keys(TINY).expect("keys");
    let srs = keys.shard_srs().expect("the reference string");
    let seed = pinned("shard");
    target("shard-proof", &seed).run(|bytes| {
        let (instances, proof) = bytes.split_at(bytes.len().min(17 * 32));
        let instances = instances_from_be(instances, 17).map_err(|error| error.to_string())?;
        let verdict = keys.verifying_keys().verify_shard(&instances, proof);
        let transcript = PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(proof, POSEIDON_SPEC.clone());
        let stock = stock(&srs, keys.shard_vk(), &instances, transcript);
        match &verdict {
            Ok(()) => assert!(stock, "stock verification refuses"),
            Err(ProofError::Refused) => assert!(!stock, "stock verification accepts"),
            Err(_) => {}
        }
        assert_eq!(verdict.is_ok(), bytes == seed, "one proof of one statement");
        verdict.map_err(|error| error.to_string())
    });
}

#[test]
fn fuzz_root_proofs() {
    let keys = fixtures::keys(TINY).expect("keys");
    let srs = keys.aggregation_srs().expect("the reference string");
    let seed = pinned("root");
    target("root-proof", &seed).run(|bytes| {
        let (instances, proof) = bytes.split_at(bytes.len().min(17 * 32));
        let instances = instances_from_be(instances, 17).map_err(|error| error.to_string())?;
        let verdict = keys.verifying_keys().verify_root(&instances, proof);
        let transcript = EvmTranscript::<G1Affine, NativeLoader, &[u8], Vec<u8>>::new(proof);
        let stock = stock(&srs, keys.aggregation_vk(), &instances, transcript);
        match &verdict {
            Ok(_) => assert!(stock, "stock verification refuses"),
            Err(VerifyError::Proof(ProofError::Refused)) => assert!(!stock, "stock verification accepts"),
            Err(_) => {}
        }
        assert_eq!(verdict.is_ok(), bytes == seed, "one proof of one statement");
        verdict.map(drop).map_err(|error| error.to_string())
    });
}
