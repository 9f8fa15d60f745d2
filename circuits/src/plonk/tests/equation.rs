//! The equation accepts what stock verification accepts, and refuses what it refuses.

use halo2_proofs::plonk::VerifyingKey;
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::{Field, PrimeField},
    group::{Curve, GroupEncoding},
};
use snark_verifier_sdk::{
    PlonkSuccinctVerifier, SHPLONK,
    halo2::{POSEIDON_SPEC, PoseidonTranscript},
    snark_verifier::{
        loader::native::NativeLoader,
        pcs::kzg::KzgSuccinctVerifyingKey,
        system::halo2::{Config, compile},
        verifier::SnarkVerifier,
    },
};

use super::{
    example::{instances, opening_key, prove, shape, vk},
    verifier_params,
};
use crate::{
    plonk::{
        ProofError, Shape, Transcript,
        arithmetic::{Native, Sponge},
        native::{accumulate, pairs},
        proof::Proof,
    },
    stand_in::{child_key, child_vk, placeholder},
};

/// Instances and a proof's bytes.
type Pair = (Vec<Fr>, Vec<u8>);

fn read(shape: &Shape, pairs: &[Pair]) -> Result<Vec<Proof>, ProofError> {
    let read = |(instances, proof): &Pair| Proof::read(shape, Transcript::Poseidon, instances, proof);
    pairs.iter().map(read).collect()
}

fn accumulator(pairs: &[Pair]) -> [G1Affine; 2] {
    accumulate(shape(), &read(shape(), pairs).unwrap()).unwrap()
}

/// Whether the equation holds for proofs.
fn holds(proofs: &[Pair]) -> bool {
    pairs(&opening_key(), &accumulator(proofs))
}

fn good(seed: u64) -> Pair {
    let instances = instances(seed);
    let proof = prove(&instances);
    (instances, proof)
}

/// Stock verification, which reads no further than a proof goes and wants no instances in particular.
fn stock((instances, proof): &Pair) -> bool {
    super::stock(Transcript::Poseidon, instances, proof)
}

/// snark-verifier's accumulator of one proof.
fn snark_verifiers(vk: &VerifyingKey<G1Affine>, (instances, proof): &Pair) -> [G1Affine; 2] {
    let mut transcript = PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(proof, POSEIDON_SPEC.clone());
    let key = KzgSuccinctVerifyingKey::from(G1Affine::generator());
    let config = Config::kzg().with_num_instance(vec![instances.len()]);
    let protocol = &compile(&verifier_params(vk.get_domain().k()), vk, config);
    let instances = [instances.clone()];
    let proof =
        PlonkSuccinctVerifier::<SHPLONK>::read_proof(&key, protocol, &instances, &mut transcript).unwrap();
    let accumulators = PlonkSuccinctVerifier::<SHPLONK>::verify(&key, protocol, &instances, &proof).unwrap();
    [accumulators[0].lhs, accumulators[0].rhs]
}

#[test]
fn the_sponge_is_snark_verifiers() {
    use snark_verifier_sdk::snark_verifier::util::hash::Poseidon;
    let mut native = Native::default();
    let mut ours = Sponge::new(&mut native);
    let mut theirs = Poseidon::<Fr, Fr, 3, 2>::from_spec(&NativeLoader, POSEIDON_SPEC.clone());
    for (round, count) in [0, 1, 2, 3, 4, 7, 0].into_iter().enumerate() {
        let inputs: Vec<Fr> = (0..count).map(|i| Fr::from(1_000 * round as u64 + i)).collect();
        ours.absorb(&inputs);
        theirs.update(&inputs);
        assert_eq!(ours.squeeze(&mut native), theirs.squeeze());
    }
}

#[test]
fn a_valid_proof_is_accepted_with_snark_verifiers_accumulator() {
    for seed in 0..3 {
        let good = good(seed);
        assert!(stock(&good));
        assert_eq!(
            accumulator(std::slice::from_ref(&good)),
            snark_verifiers(vk(), &good)
        );
        assert!(holds(&[good]));
    }
}

/// The key of the other stand-in has no lookup and two opening sets less.
#[test]
fn another_key_is_another_equation() {
    let other = child_key().shape;
    assert!(read(&other, &[good(0)]).is_err());
    let placeholder = placeholder(&child_key());
    let placeholder = (placeholder.instances, placeholder.proof);
    let proofs = read(&other, std::slice::from_ref(&placeholder)).unwrap();
    let accumulator = accumulate(&other, &proofs).unwrap();
    assert_eq!(accumulator, snark_verifiers(child_vk(), &placeholder));
    assert!(!pairs(&opening_key(), &accumulator));
}

#[test]
fn a_change_of_any_word_or_instance_is_refused() {
    let good = good(1);
    let words = good.1.len() / 32;
    let opening = shape().points.total() - 2;
    let scalars = opening..opening + shape().scalars;
    assert_eq!(words, opening + shape().scalars + 2);
    for word in 0..words {
        let mut bad = good.clone();
        let bytes: &mut [u8; 32] = (&mut bad.1[32 * word..][..32]).try_into().unwrap();
        if scalars.contains(&word) {
            *bytes = (Fr::from_repr(*bytes).unwrap() + Fr::ONE).to_repr();
        } else {
            let mut repr = <G1Affine as GroupEncoding>::Repr::default();
            repr.as_mut().copy_from_slice(bytes);
            let point = G1Affine::from_bytes(&repr).unwrap() + G1Affine::generator();
            bytes.copy_from_slice(point.to_affine().to_bytes().as_ref());
        }
        assert!(!stock(&bad), "word {word}");
        assert!(!holds(&[bad]), "word {word}");
    }
    for instance in 0..good.0.len() {
        let mut bad = good.clone();
        bad.0[instance] += Fr::ONE;
        assert!(!stock(&bad));
        assert!(!holds(&[bad]), "instance {instance}");
    }
}

#[test]
fn bytes_that_are_no_proof_are_refused_as_stock_refuses_them() {
    let good = good(2);
    let refused = |expected: ProofError, change: &dyn Fn(&mut Pair)| {
        let mut bad = good.clone();
        change(&mut bad);
        let found = read(shape(), &[good.clone(), bad.clone()]).unwrap_err();
        assert_eq!(found, expected);
        // Stock verification does not look for what comes after a proof.
        assert_eq!(stock(&bad), bad.1.len() > good.1.len(), "{expected}");
    };
    let (count, bytes) = (good.0.len(), good.1.len());
    let expected = count;
    refused(
        ProofError::InstanceCount {
            found: count - 1,
            expected,
        },
        &|(instances, _)| {
            instances.pop();
        },
    );
    let length = |found| ProofError::Length {
        found,
        expected: bytes,
    };
    refused(length(bytes - 1), &|(_, proof)| {
        proof.pop();
    });
    refused(length(bytes + 1), &|(_, proof)| proof.push(0));
    for byte in [0xff, 0] {
        refused(ProofError::Point { offset: 0 }, &|(_, proof)| {
            proof[..32].fill(byte)
        });
    }
    let offset = 32 * (shape().points.total() - 2);
    refused(ProofError::Scalar { offset }, &|(_, proof)| {
        proof[offset..][..32].fill(0xff)
    });
}

#[test]
fn a_fold_holds_exactly_when_every_proof_does() {
    let good: Vec<Pair> = (0..3).map(|seed| good(10 + seed)).collect();
    for count in 1..=3 {
        assert!(holds(&good[..count]));
    }
    for bad in 0..3 {
        let mut proofs = good.clone();
        proofs[bad].0[3] += Fr::ONE;
        assert!(!holds(&proofs), "proof {bad}");
    }
    // Points exchanged between proofs, and two errors that would cancel without weights.
    let mut proofs = good.clone();
    let (left, right) = proofs.split_at_mut(1);
    left[0].1[..32].swap_with_slice(&mut right[0].1[..32]);
    assert!(!holds(&proofs));
    let mut proofs = good;
    let last = proofs[0].1.len() - 32;
    for (proof, sign) in [(0, Fr::ONE), (1, -Fr::ONE)] {
        let bytes = &mut proofs[proof].1[last..];
        let mut repr = <G1Affine as GroupEncoding>::Repr::default();
        repr.as_mut().copy_from_slice(bytes);
        let point = G1Affine::from_bytes(&repr).unwrap() + G1Affine::generator() * sign;
        bytes.copy_from_slice(point.to_affine().to_bytes().as_ref());
    }
    assert!(!holds(&proofs));
}
