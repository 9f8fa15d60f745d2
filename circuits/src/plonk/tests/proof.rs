//! Refusals that need no true proof: numbers of instances, lengths, and elements that are none.

use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::Field,
    group::{GroupEncoding, prime::PrimeCurveAffine},
};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::{
    plonk::{ProofError, proof::Layout},
    stand_in::{child_key, placeholder},
};

#[test]
fn instances_of_another_number_are_refused() {
    let key = child_key();
    let proof = placeholder(&key).proof;
    for found in [0, 16, 18] {
        let error = key.verify(&vec![Fr::ZERO; found], &proof);
        assert_eq!(error, Err(ProofError::InstanceCount { found, expected: 17 }));
    }
}

#[test]
fn a_proof_of_another_length_is_refused() {
    let key = child_key();
    let proof = placeholder(&key).proof;
    assert_eq!(
        key.verify(&[Fr::ZERO; 17], &proof),
        Err(ProofError::Refused),
        "it proves nothing"
    );
    let expected = proof.len();
    for found in [
        0,
        1,
        31,
        32,
        expected - 32,
        expected - 1,
        expected + 1,
        expected + 32,
    ] {
        let bytes: Vec<u8> = proof.iter().copied().chain([0; 32]).take(found).collect();
        let error = key.verify(&[Fr::ZERO; 17], &bytes);
        assert_eq!(error, Err(ProofError::Length { found, expected }));
    }
}

#[test]
fn an_element_that_is_no_element_is_refused_where_it_stands() {
    let key = child_key();
    let Layout { points, scalars } = Layout::of(&key.shape);
    let good = placeholder(&key).proof;
    for word in 0..good.len() / 32 {
        let offset = 32 * word;
        let is_scalar = (points..points + scalars).contains(&word);
        let expected = if is_scalar {
            ProofError::Scalar { offset }
        } else {
            ProofError::Point { offset }
        };
        let mut proof = good.clone();
        proof[offset..offset + 32].fill(0xff);
        assert_eq!(key.verify(&[Fr::ZERO; 17], &proof), Err(expected.clone()));
        if !is_scalar {
            let identity = G1Affine::identity().to_bytes();
            proof[offset..offset + 32].copy_from_slice(identity.as_ref());
            assert_eq!(key.verify(&[Fr::ZERO; 17], &proof), Err(expected));
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let key = child_key();
    let good = placeholder(&key).proof;
    for _ in 0..500 {
        let mut proof = good.clone();
        let at = rng.gen_range(0..proof.len());
        let length = rng.gen_range(1..=32.min(proof.len() - at));
        rng.fill_bytes(&mut proof[at..at + length]);
        assert!(key.verify(&[Fr::ZERO; 17], &proof).is_err());
    }
}
