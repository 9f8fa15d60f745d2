//! A verifying key's file and verification from it alone, held to stock verification over changed proofs of both kinds.

use super::{
    example::{INSTANCES, instances, opening_key, prove, prove_evm, vk},
    stock,
};
use crate::plonk::{KeyError, ProofError, Transcript, VerifyingKey, proof::Layout};
use halo2curves::{
    bn256::{Fq, Fr, G1Affine},
    ff::{Field, PrimeField},
    group::{Curve, prime::PrimeCurveAffine},
};
use num_bigint::BigUint;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use rules::{digest::Digest, field};
use sha2::{Digest as _, Sha256};

const BOTH: [Transcript; 2] = [Transcript::Poseidon, Transcript::Evm];

/// The key as whoever has its file alone has it.
fn key(transcript: Transcript) -> VerifyingKey {
    let key = VerifyingKey::new(vk(), INSTANCES, transcript, &opening_key());
    VerifyingKey::from_bytes(&key.to_bytes()).unwrap()
}

fn good(transcript: Transcript, seed: u64) -> (Vec<Fr>, Vec<u8>) {
    let instances = instances(seed);
    let proof = match transcript {
        Transcript::Poseidon => prove(&instances),
        Transcript::Evm => prove_evm(&instances),
    };
    (instances, proof)
}

#[test]
fn proofs_are_verified_from_the_file_alone() {
    for transcript in BOTH {
        let key = key(transcript);
        for seed in 0..3 {
            let (instances, proof) = good(transcript, seed);
            assert!(stock(transcript, &instances, &proof));
            assert_eq!(proof.len(), key.proof_bytes());
            assert_eq!(key.verify(&instances, &proof), Ok(()));
        }
    }
    let (instances, proof) = good(Transcript::Poseidon, 0);
    assert!(matches!(
        key(Transcript::Evm).verify(&instances, &proof),
        Err(ProofError::Length { .. })
    ));
    // The key of another reference string: here, one whose secret is 1.
    let other = VerifyingKey {
        s_g2: opening_key().g2,
        ..key(Transcript::Poseidon)
    };
    assert_eq!(other.verify(&instances, &proof), Err(ProofError::Refused));
}

/// One change of a proof or its instances; `false` if it is none.
fn change(rng: &mut ChaCha20Rng, key: &VerifyingKey, instances: &mut Vec<Fr>, proof: &mut Vec<u8>) -> bool {
    let (instances_before, proof_before) = (instances.clone(), proof.clone());
    let (layout, transcript) = (Layout::of(&key.shape), key.transcript);
    let word = rng.gen_range(0..proof.len() / 32);
    let at = 32 * word;
    match rng.gen_range(0..14) {
        0 => proof[at + rng.gen_range(0..32usize)] ^= 1 << rng.gen_range(0..8u32),
        1 => rng.fill_bytes(&mut proof[at..at + 32]),
        2 => proof[at..at + 32].fill([0, 0xff][rng.gen_range(0..2usize)]),
        3 | 4 => alias(rng.gen_bool(0.5), transcript, &mut proof[at..at + 32]),
        5 => {
            let other = 32 * rng.gen_range(0..proof.len() / 32);
            for i in 0..32 {
                proof.swap(at + i, other + i);
            }
        }
        6 => proof.truncate(rng.gen_range(0..proof.len())),
        7 => proof.extend((0..rng.gen_range(1..70)).map(|i| i as u8)),
        8..=10 => {
            let bytes = proof.len() - 32 * layout.scalars;
            let point_bytes = bytes / (layout.points + 2);
            let place = rng.gen_range(0..layout.points + 2);
            let tail = if place < layout.points {
                0
            } else {
                32 * layout.scalars
            };
            let from = place * point_bytes + tail;
            let point = match rng.gen_range(0..4) {
                0 => G1Affine::generator(),
                1 => (G1Affine::generator() * Fr::random(&mut *rng)).to_affine(),
                2 => G1Affine::identity(),
                _ => {
                    let other = rng.gen_range(0..layout.points) * point_bytes;
                    proof.copy_within(other..other + point_bytes, from);
                    return *proof != proof_before;
                }
            };
            let mut bytes = vec![];
            transcript.write_point(&mut bytes, &point);
            proof[from..from + point_bytes].copy_from_slice(&bytes);
        }
        11 => {
            let place = rng.gen_range(0..instances.len());
            instances[place] += [Fr::ONE, -Fr::ONE, Fr::random(&mut *rng)][rng.gen_range(0..3usize)];
        }
        12 => {
            let [a, b] = [0, 1].map(|_| rng.gen_range(0..instances.len()));
            instances.swap(a, b);
        }
        _ => match rng.gen_range(0..3) {
            0 => drop(instances.pop()),
            1 => instances.push(Fr::ZERO),
            _ => instances.clear(),
        },
    }
    (instances_before, proof_before) != (instances.clone(), proof.clone())
}

/// Another name for the same element: the modulus of one of the two fields added, where 256 bits hold it.
fn alias(scalar: bool, transcript: Transcript, word: &mut [u8]) {
    let modulus = match scalar {
        true => BigUint::from_bytes_le(&(-Fr::ONE).to_repr()),
        false => BigUint::from_bytes_le(&(-Fq::ONE).to_repr()),
    } + 1u8;
    let little = transcript == Transcript::Poseidon;
    let value = match little {
        true => BigUint::from_bytes_le(word),
        false => BigUint::from_bytes_be(word),
    };
    let mut bytes = (value + modulus).to_bytes_le();
    if bytes.len() <= 32 {
        bytes.resize(32, 0);
        if !little {
            bytes.reverse();
        }
        word.copy_from_slice(&bytes);
    }
}

/// 2,000 changes: accepted or refused as stock verification does, which takes neither bytes that follow nor other numbers of
/// instances into account.
#[test]
fn changed_proofs_are_judged_as_stock_verification_does() {
    for (transcript, seed) in BOTH.into_iter().zip(1u64..) {
        println!("seed {seed}");
        let key = key(transcript);
        let good: Vec<_> = (0..4).map(|seed| good(transcript, 20 + seed)).collect();
        let judged = (0..1_000u64).into_par_iter().map(|round| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed << 32 | round);
            let (mut instances, mut proof) = good[round as usize % good.len()].clone();
            let changed = change(&mut rng, &key, &mut instances, &mut proof);
            let verdict = key.verify(&instances, &proof);
            let expected = proof.len() == key.proof_bytes()
                && instances.len() == INSTANCES
                && stock(transcript, &instances, &proof);
            assert_eq!(verdict.is_ok(), expected, "round {round}: {verdict:?}");
            assert_eq!(
                verdict.is_ok(),
                !changed,
                "round {round}: one proof of one statement"
            );
            verdict.map_err(|error| std::mem::discriminant(&error))
        });
        let judged: std::collections::HashSet<_> = judged.collect();
        assert_eq!(judged.len(), 6, "every verdict was met");
    }
}

#[test]
fn a_file_is_one_sequence_of_bytes() {
    for transcript in BOTH {
        let made = VerifyingKey::new(vk(), INSTANCES, transcript, &opening_key());
        let bytes = made.to_bytes();
        println!("{} bytes", bytes.len());
        let read = VerifyingKey::from_bytes(&bytes).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.digest(), Digest(Sha256::digest(&bytes).into()));
        assert_eq!(read.transcript_digest(), crate::fingerprint::vk_digest(vk()));
        assert_eq!(read.opening_key(), opening_key());
        for length in 0..bytes.len() {
            assert!(VerifyingKey::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            VerifyingKey::from_bytes(&longer),
            Err(KeyError::Trailing { found: 1 })
        );
        let mut others = 0;
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            if let Ok(key) = VerifyingKey::from_bytes(&other) {
                assert_ne!(key, made, "byte {at} counts");
                assert_eq!(key.to_bytes(), other);
                others += 1;
            }
        }
        assert!(others < bytes.len());
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let bytes = key(Transcript::Evm).to_bytes();
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        VerifyingKey::from_bytes(&bytes).unwrap_err().to_string()
    };
    // Magic, version, transcript, s·g2, digest, k, instances, blinding, quotient, advice columns, queries of them.
    let [version, transcript, s_g2, digest, k] = [8, 12, 16, 144, 176];
    let first_query = k + 6 * 4;
    let r = (field::to_integer(&-Fr::ONE) + 1u8).to_bytes_be();
    for (at, with, said) in [
        (0, &b"z"[..], "does not begin with"),
        (version, &[0, 0, 0, 2], "format 2, expected 1"),
        (
            transcript,
            &[0, 0, 0, 2],
            "transcript at byte 12 is 2, expected 0 to 1",
        ),
        (s_g2, &[0xff; 32], "s·g2 at byte 16 is no point of G2"),
        (s_g2, &[0; 128], "s·g2 at byte 16 is no point of G2"),
        (digest, &r, "digest at byte 144 is no element below r"),
        (k, &[0, 0, 0, 29], "k at byte 176 is 29, expected 1 to 28"),
        (k + 12, &[0; 4], "number of quotient pieces at byte 188 is 0"),
        (
            k + 20,
            &[0xff; 4],
            "queries of advice columns at byte 196 is 4294967295",
        ),
        (
            first_query,
            &[0, 0, 0, 9],
            "column at byte 200 is 9, expected below 3",
        ),
        (
            first_query + 4,
            &[0, 0, 0, 32],
            "rotation at byte 204 is 32, expected -31 to 31",
        ),
        (bytes.len() - 64, &[0xff; 64], "is no point of the curve"),
    ] {
        let error = changed(at, with);
        assert!(error.contains(said), "{at}: {error}");
    }
    let mut identity = bytes.clone();
    let last = bytes.len() - 64;
    identity[last..].fill(0);
    assert!(VerifyingKey::from_bytes(&identity).is_ok(), "a column of zeros");
}

/// What is taken is verified with, whatever circuit it describes.
#[test]
fn fuzz_verifying_keys() {
    fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "verifying-key")
        .seed("poseidon", key(Transcript::Poseidon).to_bytes())
        .seed("evm", key(Transcript::Evm).to_bytes())
        .word([0; 64])
        .word([0, 0, 0, 1])
        .word([0xff; 4])
        .runs(3_000)
        .memory(8 << 20, 64)
        .run(|bytes| {
            let key = VerifyingKey::from_bytes(bytes).map_err(|error| error.to_string())?;
            assert_eq!(key.to_bytes(), bytes, "one encoding");
            if key.shape.instances <= 64 {
                let proof = key.shape.placeholder(key.transcript);
                let verdict = key.verify(&vec![Fr::ONE; key.shape.instances], &proof);
                assert_eq!(verdict, Err(ProofError::Refused));
            }
            Ok(())
        });
}
