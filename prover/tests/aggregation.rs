//! Verification of real proofs at the smallest preset: each accepted proof has refused twins.

use std::sync::{Arc, OnceLock};

use circuits::{
    aggregation::AggregationInput,
    plonk::{ProofError, VerifyingKey},
    preset::TINY,
    recursion::{AggregationError, prover_circuit},
    verify::{VerifyError, decide_accumulator, verify_root},
};
use halo2_proofs::poly::commitment::ParamsProver;
use halo2curves::{
    bn256::Fq,
    ff::{Field, PrimeField},
};
use keys::{KeyStore, VerifyingKeys};
use num_bigint::BigUint;
use prover::fixtures::{self, Fixture};
use rules::statement::{ACCUMULATOR_LIMBS, ChainError, LOW_BITS, RootStatement, SHARD_INSTANCE_NAMES};
use rules::{Fr, field};
use srs::OpeningKey;

/// Bytes of a word of a proof: a scalar, a compressed point, or half of an uncompressed one.
const WORD: usize = 32;

/// An error that says no more than that the equation does not hold.
const REFUSED: VerifyError = VerifyError::Proof(ProofError::Refused);

fn store() -> &'static Arc<KeyStore> {
    static KEYS: OnceLock<Arc<KeyStore>> = OnceLock::new();
    KEYS.get_or_init(|| fixtures::keys(TINY).unwrap())
}

fn keys() -> &'static VerifyingKeys {
    store().verifying_keys()
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
    let srs = store().shard_srs().unwrap();
    OpeningKey {
        g1: srs.get_g()[0],
        g2: srs.g2(),
        s_g2: srs.s_g2(),
    }
}

/// The key with two fixed columns' commitments changed.
fn foreign(key: &VerifyingKey) -> VerifyingKey {
    let mut key = key.clone();
    key.shape.commitments.swap(0, 1);
    key
}

#[test]
fn every_changed_word_of_a_shard_proof_is_refused() {
    let (instances, proof) = shard();
    assert_eq!(keys().verify_shard(&instances, &proof), Ok(()));
    for word in 0..proof.len() / WORD {
        let mut changed = proof.clone();
        changed[word * WORD] ^= 1;
        assert!(keys().verify_shard(&instances, &changed).is_err(), "word {word}");
    }
}

#[test]
fn every_changed_instance_of_a_shard_proof_is_refused() {
    let (instances, proof) = shard();
    for (index, name) in SHARD_INSTANCE_NAMES.iter().enumerate() {
        let mut changed = instances.clone();
        changed[index] += Fr::ONE;
        assert_eq!(
            keys().verify_shard(&changed, &proof),
            Err(ProofError::Refused),
            "{name}"
        );
    }
}

#[test]
fn a_shard_proof_of_another_length_is_refused() {
    let (instances, proof) = shard();
    let expected = keys().shard().proof_bytes();
    for found in [0, WORD, expected - 1, expected + 1] {
        let bytes: Vec<u8> = proof.iter().copied().chain([0]).take(found).collect();
        let error = keys().verify_shard(&instances, &bytes);
        assert_eq!(error, Err(ProofError::Length { found, expected }));
    }
}

#[test]
fn a_proof_under_a_foreign_key_is_refused() {
    let (instances, proof) = shard();
    let key = foreign(keys().shard());
    assert_eq!(key.verify(&instances, &proof), Err(ProofError::Refused));
    let (instances, proof) = root();
    let key = foreign(keys().aggregation());
    assert_eq!(verify_root(&key, &instances, &proof), Err(REFUSED));
}

/// Gates, columns and commitments are the same, but another key's digest is the first thing that challenges follow from.
#[test]
fn a_proof_under_a_key_of_another_digest_is_refused() {
    let mut key = keys().shard().clone();
    key.shape.digest += Fr::ONE;
    let (instances, proof) = shard();
    assert_eq!(key.verify(&instances, &proof), Err(ProofError::Refused));
}

#[test]
fn a_proof_over_another_reference_string_is_refused() {
    let mut key = keys().shard().clone();
    key.s_g2 = (opening_key().s_g2 + opening_key().g2).into();
    let (instances, proof) = shard();
    assert_eq!(key.verify(&instances, &proof), Err(ProofError::Refused));
}

#[test]
fn every_changed_word_of_a_root_proof_is_refused() {
    let (instances, proof) = root();
    let statement = RootStatement::from_instances(&instances).unwrap();
    assert_eq!(keys().verify_root(&instances, &proof), Ok(statement));
    for word in 0..proof.len() / WORD {
        let mut changed = proof.clone();
        changed[word * WORD + WORD - 1] ^= 1;
        assert!(keys().verify_root(&instances, &changed).is_err(), "word {word}");
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
        keys().verify_root(&instances, &proof),
        Err(ProofError::Point { offset: 0 }.into())
    );
}

#[test]
fn every_changed_instance_of_a_root_proof_is_refused() {
    let (instances, proof) = root();
    for index in 0..instances.len() {
        let mut changed = instances.clone();
        changed[index] += Fr::ONE;
        let error = keys().verify_root(&changed, &proof).unwrap_err();
        if index < ACCUMULATOR_LIMBS {
            let point = if index < ACCUMULATOR_LIMBS / 2 {
                0
            } else {
                ACCUMULATOR_LIMBS / 2
            };
            assert_eq!(error, VerifyError::AccumulatorPoint { index: point });
        } else {
            assert_eq!(error, REFUSED, "instance {index}");
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
    assert_eq!(keys().verify_root(&instances, &proof), Err(REFUSED));
}

#[test]
fn a_root_proof_of_another_length_is_refused() {
    let (instances, proof) = root();
    let expected = keys().aggregation().proof_bytes();
    assert_eq!(proof.len(), expected);
    for found in [0, WORD, expected - 1, expected + 1] {
        let bytes: Vec<u8> = proof.iter().copied().chain([0]).take(found).collect();
        let error = keys().verify_root(&instances, &bytes);
        assert_eq!(error, Err(ProofError::Length { found, expected }.into()));
    }
}

#[test]
fn an_aggregation_of_valid_children_has_a_valid_accumulator() {
    let input = AggregationInput {
        children: fixture().shard_proofs.clone(),
    };
    let circuit = prover_circuit(&TINY, keys().shard(), &input).unwrap();
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
        prover_circuit(&TINY, keys().shard(), input)
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
                source: ProofError::Refused
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
