//! Refusals that need no proof: encodings and accumulators. prover/tests/aggregation.rs has the real proofs.

use halo2_proofs::poly::commitment::ParamsProver;
use halo2curves::ff::{Field, PrimeField};
use num_bigint::BigUint;

use super::*;
use crate::stand_in::opening_key;
use srs::development;

/// The low 153 bits and those above.
fn limbs(coordinate: Fq) -> [Fr; 2] {
    let integer = BigUint::from_bytes_le(&coordinate.to_repr());
    let low = &integer % (BigUint::from(1u8) << LOW_BITS);
    [low, integer >> LOW_BITS].map(|limb| field::reduce(&limb))
}

/// Instances whose accumulator is `(s·G, G)`: its pairing holds.
fn instances() -> Vec<Fr> {
    let srs = development(2, true, &|_| ()).unwrap();
    let [g, s_g] = [srs.params.get_g()[0], srs.params.get_g()[1]];
    let accumulator = [s_g.x, s_g.y, g.x, g.y].into_iter().flat_map(limbs);
    accumulator.chain((0..9).map(Fr::from)).collect()
}

fn decide(instances: &[Fr]) -> Result<(), VerifyError> {
    decide_accumulator(&opening_key(), instances)
}

/// `2^153`.
fn limb_bound() -> Fr {
    Fr::from(2).pow([LOW_BITS as u64])
}

#[test]
fn an_accumulator_whose_pairing_holds_is_accepted_and_others_are_not() {
    let good = instances();
    assert_eq!(decide(&good), Ok(()));
    let mut swapped = good.clone();
    swapped[..ACCUMULATOR_LIMBS].rotate_left(4);
    assert_eq!(decide(&swapped), Err(VerifyError::Accumulator));
    let g = &good[4..8];
    let both = [g, g, &good[8..]].concat();
    assert_eq!(decide(&both), Err(VerifyError::Accumulator));
}

#[test]
fn a_low_part_of_more_than_153_bits_is_refused() {
    for index in (0..ACCUMULATOR_LIMBS).step_by(2) {
        let mut instances = instances();
        instances[index] += limb_bound();
        assert_eq!(decide(&instances), Err(VerifyError::Limb { index }));
        instances[index] = -Fr::ONE;
        assert_eq!(decide(&instances), Err(VerifyError::Limb { index }));
    }
}

/// The same integer in parts that carry otherwise is a second encoding.
#[test]
fn parts_that_carry_otherwise_are_refused() {
    let mut instances = instances();
    instances[0] += limb_bound();
    instances[1] -= Fr::ONE;
    assert_eq!(decide(&instances), Err(VerifyError::Limb { index: 0 }));
}

#[test]
fn a_coordinate_that_is_not_below_the_modulus_is_refused() {
    for index in (0..ACCUMULATOR_LIMBS).step_by(2) {
        let good = instances();
        let mut aliased = good.clone();
        for (limb, modulus) in limbs(-Fq::ONE).iter().enumerate() {
            aliased[index + limb] += modulus;
        }
        aliased[index] += Fr::ONE;
        // Carried, so that only the coordinate is out of bounds.
        if aliased[index] >= limb_bound() {
            aliased[index] -= limb_bound();
            aliased[index + 1] += Fr::ONE;
        }
        assert_eq!(decide(&aliased), Err(VerifyError::Coordinate { index }));
        for high in [Fr::from(2).pow([103]), -Fr::ONE] {
            let mut instances = good.clone();
            instances[index + 1] = high;
            assert_eq!(decide(&instances), Err(VerifyError::Coordinate { index }));
        }
    }
}

#[test]
fn points_off_the_curve_and_the_identity_are_refused() {
    for index in [0, 4] {
        let mut instances = instances();
        instances[index] += Fr::ONE;
        assert_eq!(decide(&instances), Err(VerifyError::AccumulatorPoint { index }));
        instances[index..index + 4].fill(Fr::ZERO);
        assert_eq!(decide(&instances), Err(VerifyError::AccumulatorPoint { index }));
    }
}

#[test]
fn instances_of_another_number_are_refused() {
    for found in [0, 8, 16, 18] {
        let instances: Vec<Fr> = instances().into_iter().chain([Fr::ZERO]).take(found).collect();
        assert_eq!(
            decide(&instances),
            Err(ProofError::InstanceCount { found, expected: 17 }.into())
        );
    }
}

#[test]
fn encoded_instances_are_canonical() {
    let mut bytes = [0; 64];
    bytes[63] = 5;
    assert_eq!(instances_from_be(&bytes, 2), Ok(vec![Fr::ZERO, Fr::from(5)]));
    let mut modulus = (-Fr::ONE).to_repr();
    modulus[0] += 1;
    modulus.reverse();
    bytes[32..].copy_from_slice(&modulus);
    assert_eq!(
        instances_from_be(&bytes, 2),
        Err(VerifyError::Instance { index: 1 })
    );
    let count = |found| Err(ProofError::InstanceCount { found, expected: 2 }.into());
    assert_eq!(instances_from_be(&bytes[..63], 2), count(2));
    assert_eq!(instances_from_be(&[], 2), count(0));
    assert_eq!(instances_from_be(&[0; 96], 2), count(3));
}
