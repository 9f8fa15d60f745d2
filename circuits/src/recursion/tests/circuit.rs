//! The whole circuit on its cells: two proofs are accepted, and what is wrong with children breaks a constraint or the pairing.

use std::{collections::BTreeSet, sync::OnceLock};

use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::{Field, PrimeField},
};
use num_bigint::BigUint;

use super::checker::Checker;
use crate::{
    aggregation::{AggregationInput, ChildProof},
    fingerprint::fingerprint,
    plonk::{
        ProofError, Shape, Transcript,
        native::accumulate,
        tests::example::{self, instances, shape},
    },
    preset::{Preset, TINY},
    recursion::{
        AggregationError, RecursionCircuit,
        circuit::{accumulator_of, read},
        keygen_circuit, modulus, prover_circuit,
    },
    stand_in::{child_key, opening_key, shard_key},
    verify::decide,
};
use rules::statement::{AFTER, BEFORE, ChainError, ROOT_INSTANCES, START, root_statement};

fn prove(instances: &[Fr]) -> ChildProof {
    ChildProof {
        instances: instances.to_vec(),
        proof: example::prove(instances),
    }
}

/// The accumulator that the plain equation makes of children.
fn expected(children: &[ChildProof]) -> [G1Affine; 2] {
    accumulate(shape(), &read(shape(), children).unwrap()).unwrap()
}

/// Instances that chain.
pub fn chained(count: usize) -> Vec<Vec<Fr>> {
    let shared = &instances(100)[..BEFORE];
    let mut state: Vec<Fr> = std::iter::once(Fr::from(3)).chain(START).collect();
    (0..count as u64)
        .map(|child| {
            let next = instances(101 + child)[..AFTER - BEFORE].to_vec();
            let before = std::mem::replace(&mut state, next.clone());
            [shared.to_vec(), before, next].concat()
        })
        .collect()
}

fn children() -> &'static [ChildProof] {
    static CHILDREN: OnceLock<Vec<ChildProof>> = OnceLock::new();
    CHILDREN.get_or_init(|| chained(2).iter().map(|instances| prove(instances)).collect())
}

pub fn failures(circuit: &RecursionCircuit, instances: &[Fr]) -> BTreeSet<String> {
    Checker::new().failures(&circuit.sheet, instances)
}

/// The accumulator of a circuit's instances.
fn accumulator(instances: &[Fr]) -> [G1Affine; 2] {
    accumulator_of(instances).unwrap()
}

/// A valid circuit of one child.
pub fn whole() -> RecursionCircuit {
    RecursionCircuit::new(shape(), &children()[..1]).unwrap()
}

/// A valid circuit of two.
pub fn two() -> RecursionCircuit {
    RecursionCircuit::new(shape(), children()).unwrap()
}

#[test]
fn two_children_are_accepted() {
    let circuit = two();
    let instances = circuit.instances();
    assert_eq!(instances.len(), ROOT_INSTANCES.len());
    assert_eq!(failures(&circuit, instances), BTreeSet::new());
    let expected = expected(children());
    assert_eq!(accumulator(instances), expected);
    assert_eq!(decide(&opening_key(), &expected), Ok(()));
    let of: Vec<&[Fr]> = children()
        .iter()
        .map(|child| child.instances.as_slice())
        .collect();
    assert_eq!(instances[8..], root_statement(&of, 2).unwrap().to_instances());
    for (label, cells) in circuit.cells() {
        println!("{cells:>9} {label}");
    }
    println!("{:>9} all", circuit.sheet.row());
    // Each root instance changed is another statement.
    for row in 0..instances.len() {
        let mut other = instances.to_vec();
        other[row] += Fr::ONE;
        let found = failures(&circuit, &other);
        assert_eq!(
            found,
            BTreeSet::from(["instance: the cell is the instance @ P-8.4: root instances".to_owned()]),
            "{row}"
        );
    }
}

#[test]
fn the_layout_depends_on_the_number_of_children_alone() {
    let circuit = RecursionCircuit::new(shape(), children()).unwrap();
    let placeholder = ChildProof {
        instances: vec![Fr::ZERO; example::INSTANCES],
        proof: shape().placeholder(Transcript::Poseidon),
    };
    let blank = RecursionCircuit::new(shape(), &vec![placeholder; 2]).unwrap();
    assert_eq!(
        fingerprint(20, &circuit).unwrap(),
        fingerprint(20, &blank).unwrap()
    );
    let one = RecursionCircuit::new(shape(), &children()[..1]).unwrap();
    assert_eq!(failures(&one, one.instances()), BTreeSet::new());
    assert_eq!(accumulator(one.instances()), expected(&children()[..1]));
    assert_ne!(fingerprint(20, &circuit).unwrap(), fingerprint(20, &one).unwrap());
}

#[test]
fn children_that_do_not_chain_break_the_chain() {
    let chain = BTreeSet::from(["copy @ P-8.2: the chain".to_owned()]);
    let swapped = [children()[1].clone(), children()[0].clone()];
    let repeated = [children()[0].clone(), children()[0].clone()];
    let skipped = [children()[1].clone()];
    let missing = [children()[0].clone(), prove(&chained(3)[2])];
    for wrong in [&swapped[..], &repeated, &skipped, &missing] {
        let circuit = RecursionCircuit::new(shape(), wrong).unwrap();
        assert_eq!(failures(&circuit, circuit.instances()), chain);
        // The proofs are valid, so that nothing else is to be seen.
        assert_eq!(decide(&opening_key(), &accumulator(circuit.instances())), Ok(()));
    }
    for at in 0..BEFORE {
        let mut other = chained(2);
        other[1][at] += Fr::ONE;
        let wrong = [children()[0].clone(), prove(&other[1])];
        let circuit = RecursionCircuit::new(shape(), &wrong).unwrap();
        assert_eq!(failures(&circuit, circuit.instances()), chain, "{at}");
    }
}

#[test]
fn a_mutated_child_makes_an_accumulator_that_does_not_pair() {
    let scalar = 32 * (shape().points.total() - 2);
    for (child, at) in [(0, scalar), (1, scalar + 32)] {
        let mut wrong = children().to_vec();
        let bytes: &mut [u8; 32] = (&mut wrong[child].proof[at..][..32]).try_into().unwrap();
        *bytes = (Fr::from_repr(*bytes).unwrap() + Fr::ONE).to_repr();
        let circuit = RecursionCircuit::new(shape(), &wrong).unwrap();
        let instances = circuit.instances();
        assert_eq!(failures(&circuit, instances), BTreeSet::new());
        assert_eq!(accumulator(instances), expected(&wrong));
        assert!(decide(&opening_key(), &accumulator(instances)).is_err());
    }
}

/// A proof under another key of the same shape: its layout is the same, so that only the pairing tells.
#[test]
fn a_child_under_a_foreign_key_makes_an_accumulator_that_does_not_pair() {
    let foreign = example::shape_of(example::FOREIGN);
    let instances = chained(2);
    let theirs = |instances: &Vec<Fr>| ChildProof {
        instances: instances.clone(),
        proof: example::prove_as(example::FOREIGN, instances),
    };
    let all = instances.iter().map(theirs).collect::<Vec<_>>();
    for wrong in [
        vec![theirs(&instances[0]), children()[1].clone()],
        vec![children()[0].clone(), theirs(&instances[1])],
        all.clone(),
    ] {
        let circuit = RecursionCircuit::new(shape(), &wrong).unwrap();
        assert_eq!(failures(&circuit, circuit.instances()), BTreeSet::new());
        assert_eq!(accumulator(circuit.instances()), expected(&wrong));
        assert!(decide(&opening_key(), &accumulator(circuit.instances())).is_err());
    }
    // Under their own key they are accepted, by another circuit.
    let circuit = RecursionCircuit::new(&foreign, &all).unwrap();
    assert_eq!(decide(&opening_key(), &accumulator(circuit.instances())), Ok(()));
    let ours = RecursionCircuit::new(shape(), &all).unwrap();
    assert_ne!(
        fingerprint(20, &circuit).unwrap(),
        fingerprint(20, &ours).unwrap()
    );
}

#[test]
fn a_coordinate_is_exposed_in_full() {
    // 153 and 102 bits hold every coordinate and no more.
    let limbs = (BigUint::from(1u8) << 255usize) - 1u8;
    assert!(modulus::base_modulus() < limbs);
}

#[test]
fn children_are_checked_before_a_circuit_is_built() {
    let preset = Preset {
        children: 2,
        aggregation_k: 20,
        ..TINY
    };
    let shard = shard_key(example::vk());
    let build = |children: Vec<ChildProof>| {
        prover_circuit(&preset, &shard, &AggregationInput { children })
            .map(|circuit| circuit.instances().to_vec())
    };
    let good = children().to_vec();
    let circuit = RecursionCircuit::new(shape(), &good).unwrap();
    assert_eq!(build(good.clone()).unwrap(), circuit.instances());
    let of_child_1 = |source| move |error: &AggregationError| matches!(error, AggregationError::Child { child: 1, source: found } if *found == source);
    let mut wrong = good.clone();
    let last = wrong[1].proof.len() - 32;
    wrong[1].proof.copy_within(last - 32..last, last);
    let error = build(wrong).unwrap_err();
    assert!(of_child_1(ProofError::Refused)(&error), "{error}");
    let mut wrong = good.clone();
    let expected = wrong[1].proof.len();
    wrong[1].proof.pop();
    let error = build(wrong).unwrap_err();
    let found = expected - 1;
    assert!(
        of_child_1(ProofError::Length { found, expected })(&error),
        "{error}"
    );
    let error = build(good[..1].to_vec()).unwrap_err();
    let count = ChainError::Count {
        found: 1,
        expected: 2,
    };
    assert!(
        matches!(error, AggregationError::Chain(found) if found == count),
        "{error}"
    );
}

/// Keys belong to the number of children, to the size, and to the very shard key.
#[test]
fn keys_are_made_for_one_circuit() {
    let preset = Preset {
        aggregation_k: 20,
        ..TINY
    };
    let digest = |preset: &Preset, shard: &Shape| {
        fingerprint(preset.aggregation_k, &keygen_circuit(preset, shard)).unwrap()
    };
    let own = digest(&preset, shape());
    assert_eq!(digest(&preset, shape()), own);
    let more = Preset {
        children: 2,
        ..preset
    };
    assert_ne!(digest(&more, shape()), own);
    let larger = Preset {
        aggregation_k: 21,
        ..preset
    };
    assert_ne!(digest(&larger, shape()), own);
    assert_ne!(digest(&preset, &child_key().shape), own);
    let mut other = shape().clone();
    other.commitments.swap(0, 1);
    assert_ne!(digest(&preset, &other), own);
}
