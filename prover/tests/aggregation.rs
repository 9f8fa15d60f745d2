//! Verification of real proofs at the smallest preset: each accepted proof has refused twins.

use std::sync::{Arc, OnceLock};

use circuits::{
    Fr,
    aggregation::{
        ACCUMULATOR_LIMBS, AggregationInput, ChainError, LOW_BITS, RootStatement, SHARD_INSTANCE_NAMES,
    },
    field,
    keys::KeyStore,
    preset::TINY,
    recursion::{AggregationError, prover_circuit},
    srs::OpeningKey,
    verify::{RootVerifier, ShardVerifier, VerifyError, decide_accumulator, verify_root, verify_shard},
};
use halo2_proofs::{plonk::VerifyingKey, poly::commitment::ParamsProver};
use halo2curves::{
    bn256::{Fq, G1Affine},
    ff::{Field, PrimeField},
};
use num_bigint::BigUint;
use prover::fixtures::{self, Fixture};

/// Bytes of a word of a proof: a scalar, a compressed point, or half of an uncompressed one.
const WORD: usize = 32;

fn keys() -> &'static Arc<KeyStore> {
    static KEYS: OnceLock<Arc<KeyStore>> = OnceLock::new();
    KEYS.get_or_init(|| fixtures::keys(TINY).unwrap())
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| fixtures::root_proof(TINY).unwrap())
}

fn shard() -> (Vec<Fr>, Vec<u8>) {
    let child = &fixture().shard_proofs[0];
    (child.instances.clone(), child.proof.clone())
}

fn root() -> (Vec<Fr>, Vec<u8>) {
    (fixture().instances.clone(), fixture().proof.clone())
}

fn opening_key() -> OpeningKey {
    let srs = keys().shard_srs().unwrap();
    OpeningKey {
        g1: srs.get_g()[0],
        g2: srs.g2(),
        s_g2: srs.s_g2(),
    }
}

/// The key with one fixed column's commitment changed.
fn foreign(vk: &VerifyingKey<G1Affine>) -> VerifyingKey<G1Affine> {
    let mut fixed = vk.fixed_commitments().clone();
    fixed.swap(0, 1);
    VerifyingKey::from_parts(
        vk.get_domain().clone(),
        fixed,
        vk.permutation().clone(),
        vk.cs().clone(),
        vec![],
        false,
    )
}

#[test]
fn every_changed_word_of_a_shard_proof_is_refused() {
    let (instances, proof) = shard();
    assert_eq!(verify_shard(keys(), &instances, &proof), Ok(()));
    for word in 0..proof.len() / WORD {
        let mut changed = proof.clone();
        changed[word * WORD] ^= 1;
        assert!(verify_shard(keys(), &instances, &changed).is_err(), "word {word}");
    }
}

#[test]
fn every_changed_instance_of_a_shard_proof_is_refused() {
    let (instances, proof) = shard();
    for (index, name) in SHARD_INSTANCE_NAMES.iter().enumerate() {
        let mut changed = instances.clone();
        changed[index] += Fr::ONE;
        assert_eq!(
            verify_shard(keys(), &changed, &proof),
            Err(VerifyError::Proof),
            "{name}"
        );
    }
}

#[test]
fn a_shard_proof_of_another_length_is_refused() {
    let (instances, proof) = shard();
    let expected = keys().shard_verifier().proof_bytes();
    for found in [0, WORD, expected - 1, expected + 1] {
        let bytes: Vec<u8> = proof.iter().copied().chain([0]).take(found).collect();
        let error = verify_shard(keys(), &instances, &bytes);
        assert_eq!(error, Err(VerifyError::ProofLength { found, expected }));
    }
}

#[test]
fn a_proof_under_a_foreign_key_is_refused() {
    let shard_verifier = ShardVerifier::new(foreign(keys().shard_vk()), &opening_key());
    let (instances, proof) = shard();
    assert_eq!(shard_verifier.verify(&instances, &proof), Err(VerifyError::Proof));
    let root_verifier = RootVerifier::new(foreign(keys().aggregation_vk()), &opening_key());
    let (instances, proof) = root();
    assert_eq!(root_verifier.verify(&instances, &proof), Err(VerifyError::Proof));
}

#[test]
fn a_proof_over_another_reference_string_is_refused() {
    let other = OpeningKey {
        s_g2: (opening_key().s_g2 + opening_key().g2).into(),
        ..opening_key()
    };
    let shard_verifier = ShardVerifier::new(keys().shard_vk().clone(), &other);
    let (instances, proof) = shard();
    assert_eq!(shard_verifier.verify(&instances, &proof), Err(VerifyError::Proof));
}

#[test]
fn every_changed_word_of_a_root_proof_is_refused() {
    let (instances, proof) = root();
    let statement = RootStatement::from_instances(&instances).unwrap();
    assert_eq!(verify_root(keys(), &instances, &proof), Ok(statement));
    for word in 0..proof.len() / WORD {
        let mut changed = proof.clone();
        changed[word * WORD + WORD - 1] ^= 1;
        assert!(verify_root(keys(), &instances, &changed).is_err(), "word {word}");
    }
}

#[test]
fn a_coordinate_plus_the_modulus_in_a_root_proof_is_refused() {
    let (instances, mut proof) = root();
    let modulus = BigUint::from_bytes_le(&(-Fq::ONE).to_repr()) + 1_u8;
    let aliased = (BigUint::from_bytes_be(&proof[WORD..2 * WORD]) + modulus).to_bytes_be();
    assert_eq!(aliased.len(), WORD, "twice the modulus fits in a word");
    proof[WORD..2 * WORD].copy_from_slice(&aliased);
    assert_eq!(
        verify_root(keys(), &instances, &proof),
        Err(VerifyError::Point { offset: 0 })
    );
}

#[test]
fn every_changed_instance_of_a_root_proof_is_refused() {
    let (instances, proof) = root();
    for index in 0..instances.len() {
        let mut changed = instances.clone();
        changed[index] += Fr::ONE;
        let error = verify_root(keys(), &changed, &proof).unwrap_err();
        if index < ACCUMULATOR_LIMBS {
            let point = if index < ACCUMULATOR_LIMBS / 2 {
                0
            } else {
                ACCUMULATOR_LIMBS / 2
            };
            assert_eq!(error, VerifyError::AccumulatorPoint { index: point });
        } else {
            assert_eq!(error, VerifyError::Proof, "instance {index}");
        }
    }
}

/// The points of another accumulator whose pairing holds are on the curve, but they are not those that were proven.
#[test]
fn another_valid_accumulator_is_refused() {
    let (mut instances, proof) = root();
    // The negated points: e(-lhs, g2) = e(-rhs, s·g2).
    for y in [2, 6] {
        let [low, high] = [y, y + 1].map(|at| field::to_integer(&instances[at]));
        let modulus = BigUint::from_bytes_le(&(-Fq::ONE).to_repr()) + 1_u8;
        let negated = modulus - (low + (high << LOW_BITS));
        instances[y] = field::reduce(&(&negated % (BigUint::from(1_u8) << LOW_BITS)));
        instances[y + 1] = field::reduce(&(negated >> LOW_BITS));
    }
    assert_eq!(decide_accumulator(&opening_key(), &instances), Ok(()));
    assert_eq!(verify_root(keys(), &instances, &proof), Err(VerifyError::Proof));
}

#[test]
fn a_root_proof_of_another_length_is_refused() {
    let (instances, proof) = root();
    let expected = keys().root_verifier().proof_bytes();
    assert_eq!(proof.len(), expected);
    for found in [0, WORD, expected - 1, expected + 1] {
        let bytes: Vec<u8> = proof.iter().copied().chain([0]).take(found).collect();
        let error = verify_root(keys(), &instances, &bytes);
        assert_eq!(error, Err(VerifyError::ProofLength { found, expected }));
    }
}

#[test]
fn an_aggregation_of_valid_children_has_a_valid_accumulator() {
    let input = AggregationInput {
        children: fixture().shard_proofs.clone(),
    };
    let circuit = prover_circuit(&TINY, keys().shard_verifier(), &input).unwrap();
    let instances = circuit.instances();
    assert_eq!(decide_accumulator(&opening_key(), instances), Ok(()));
    assert_eq!(
        instances[ACCUMULATOR_LIMBS..],
        fixture().instances[ACCUMULATOR_LIMBS..]
    );
}

#[test]
fn an_aggregation_of_a_tampered_child_is_refused() {
    let build = |input: &AggregationInput| {
        prover_circuit(&TINY, keys().shard_verifier(), input)
            .map(|_| ())
            .unwrap_err()
    };
    let good = AggregationInput {
        children: fixture().shard_proofs.clone(),
    };

    let mut tampered = good.clone();
    let last = tampered.children[0].proof.len() - WORD;
    tampered.children[0].proof[last] ^= 1;
    assert!(matches!(
        build(&tampered),
        AggregationError::Child { child: 0, .. }
    ));

    let mut forged = good.clone();
    forged.children[0].instances[10] += Fr::ONE;
    let error = build(&forged);
    assert!(
        matches!(
            error,
            AggregationError::Child {
                child: 0,
                source: VerifyError::Proof
            }
        ),
        "{error}"
    );

    let mut started = good.clone();
    started.children[0].instances[4] += Fr::ONE;
    let error = build(&started);
    assert!(
        matches!(
            error,
            AggregationError::Chain(ChainError::Start {
                name: "C_A before",
                ..
            })
        ),
        "{error}"
    );

    let repeated = AggregationInput {
        children: [good.children.clone(), good.children].concat(),
    };
    let error = build(&repeated);
    assert!(
        matches!(
            error,
            AggregationError::Chain(ChainError::Count {
                found: 2,
                expected: 1
            })
        ),
        "{error}"
    );
}
