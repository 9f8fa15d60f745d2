//! Levels that stack: segments of a batch, and a recursion whose children are segments.

use std::collections::BTreeSet;

use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::Field,
    group::Curve,
};
use snark_verifier_sdk::halo2::gen_proof_shplonk;

use super::circuit::{chained, failures};
use crate::{
    aggregation::ChildProof,
    plonk::{
        Shape, accumulate_with,
        tests::example::{self, LONG, OURS, Variant},
    },
    recursion::{
        ChildKind, RecursionCircuit, Scope,
        circuit::{accumulator_of, read},
        sheet::Sheet,
    },
    stand_in::opening_key,
    verify::decide,
};
use halo2_proofs::plonk::keygen_pk2;
use rules::statement::{ROOT_INSTANCES, root_statement};
use srs::development;

fn proofs(variant: Variant, statements: &[Vec<Fr>]) -> Vec<ChildProof> {
    let prove = |instances: &Vec<Fr>| ChildProof {
        instances: instances.clone(),
        proof: example::prove_as(variant, instances),
    };
    statements.iter().map(prove).collect()
}

fn segment(shape: &Shape, children: &[ChildProof]) -> RecursionCircuit {
    RecursionCircuit::level(shape, ChildKind::Shard, Scope::Segment, children).unwrap()
}

fn batch(shape: &Shape, children: &[ChildProof]) -> RecursionCircuit {
    RecursionCircuit::level(shape, ChildKind::Segment, Scope::Batch, children).unwrap()
}

fn pairs(accumulator: &[G1Affine; 2]) -> bool {
    decide(&opening_key(), accumulator).is_ok()
}

/// Instances of two segments of two children each, as recursions expose them.
fn segments() -> Vec<Vec<Fr>> {
    let children = proofs(OURS, &chained(4));
    let shape = example::shape();
    children
        .chunks(2)
        .map(|children| {
            let circuit = segment(shape, children);
            let instances = circuit.instances().to_vec();
            assert_eq!(failures(&circuit, &instances), BTreeSet::new());
            assert!(pairs(&accumulator_of(&instances).unwrap()));
            // What a shard has: from before its first child to after its last.
            let [first, last] = [&children[0], &children[1]].map(|child| &child.instances);
            assert_eq!(instances[8..], [&first[..10], &last[10..]].concat());
            for at in 0..instances.len() {
                let mut other = instances.clone();
                other[at] += Fr::ONE;
                assert_ne!(failures(&circuit, &other), BTreeSet::new(), "{at}");
            }
            instances
        })
        .collect()
}

/// The inner proofs are of a stand-in, a circuit with a segment's instances: what a recursion does with a child depends on
/// its key's shape and its instances. `a_recursion_of_a_real_recursion` has real ones.
#[test]
fn a_batch_of_segments_is_accepted_and_what_is_wrong_with_a_segment_is_not() {
    let shape = example::shape_of(LONG);
    let segments = segments();
    let children = proofs(LONG, &segments);
    let circuit = batch(&shape, &children);
    let instances = circuit.instances();
    assert_eq!(instances.len(), ROOT_INSTANCES.len());
    assert_eq!(failures(&circuit, instances), BTreeSet::new());
    let accumulators: Vec<[G1Affine; 2]> = segments
        .iter()
        .map(|instances| accumulator_of(instances).unwrap())
        .collect();
    let expected = accumulate_with(&shape, &read(&shape, &children).unwrap(), &accumulators).unwrap();
    assert_eq!(accumulator_of(instances), Some(expected));
    assert!(pairs(&expected));
    let statements = chained(4);
    let statements: Vec<&[Fr]> = statements.iter().map(Vec::as_slice).collect();
    assert_eq!(
        instances[8..],
        root_statement(&statements, 4).unwrap().to_instances()
    );

    // The second does not follow from the first, or is not of its batch.
    let chain = BTreeSet::from(["copy @ P-8.2: the chain".to_owned()]);
    let swapped = [children[1].clone(), children[0].clone()];
    let repeated = [children[0].clone(), children[0].clone()];
    for wrong in [&swapped[..], &repeated, &children[1..]] {
        let circuit = batch(&shape, wrong);
        assert_eq!(failures(&circuit, circuit.instances()), chain);
    }
    // A segment that begins in a batch's middle is a segment, but no batch.
    let last = RecursionCircuit::level(&shape, ChildKind::Segment, Scope::Segment, &children[1..]).unwrap();
    assert_eq!(failures(&last, last.instances()), BTreeSet::new());

    // An accumulator that does not pair, in a proof that verifies.
    for side in [0, 4] {
        let mut wrong = segments.clone();
        let point = accumulator_of(&wrong[1]).unwrap()[side / 4];
        let other = (point + G1Affine::generator()).to_affine();
        let other = limbs_of(&other);
        wrong[1][side..side + 4].copy_from_slice(&other);
        let circuit = batch(&shape, &proofs(LONG, &wrong));
        assert_eq!(failures(&circuit, circuit.instances()), BTreeSet::new());
        assert!(!pairs(&accumulator_of(circuit.instances()).unwrap()));
    }
    // Limbs that are no point, or another form of one that is too long.
    for at in 0..8 {
        let mut wrong = segments.clone();
        wrong[0][at] += Fr::ONE;
        let circuit = batch(&shape, &proofs(LONG, &wrong));
        let failed = BTreeSet::from(["copy @ P-8.13: a child's accumulator".to_owned()]);
        assert_eq!(failures(&circuit, circuit.instances()), failed, "{at}");
    }
    let mut wrong = segments;
    let carried = Fr::from(2).pow_vartime([153]);
    wrong[0][0] += carried;
    wrong[0][1] -= Fr::ONE;
    assert_eq!(accumulator_of(&wrong[0]), None);
}

/// The four instances of a point.
fn limbs_of(point: &G1Affine) -> [Fr; 4] {
    let mut sheet = Sheet::default();
    let (_, [x, y]) = sheet.point(point);
    let [x, y] = [x, y].map(|coordinate| sheet.instance_limbs(&coordinate));
    [x, y]
        .concat()
        .iter()
        .map(|var| var.value)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

/// A real recursion as a child, its proof made by stock halo2 at k = 19. Seen on two cores: accepted, 240,074 cells of the outer one, in 48 s.
///
/// `cargo test --release -p circuits --lib -- --ignored --nocapture a_recursion_of_a_real_recursion`
#[test]
#[ignore = "proves a recursion with stock halo2, which takes minutes"]
fn a_recursion_of_a_real_recursion() {
    let children = proofs(OURS, &chained(1));
    let inner = segment(example::shape(), &children);
    let instances = inner.instances().to_vec();
    let params = development(19, true, &|_| ()).unwrap().params;
    let pk = keygen_pk2(&params, &inner, true).unwrap();
    let shape = Shape::new(pk.get_vk(), instances.len());
    let child = ChildProof {
        proof: gen_proof_shplonk(&params, &pk, inner, vec![instances.clone()], None),
        instances,
    };
    let outer = batch(&shape, std::slice::from_ref(&child));
    println!(
        "{} cells",
        outer.cells().iter().map(|(_, cells)| cells).sum::<usize>()
    );
    assert_eq!(failures(&outer, outer.instances()), BTreeSet::new());
    assert!(pairs(&accumulator_of(outer.instances()).unwrap()));
    let mut wrong = child;
    wrong.instances[9] += Fr::ONE;
    let outer = batch(&shape, &[wrong]);
    assert!(!pairs(&accumulator_of(outer.instances()).unwrap()));
}
