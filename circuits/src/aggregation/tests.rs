//! The chaining rules, natively and in the circuit. The circuit is checked cell by cell in the builder, where all of its
//! constraints are: gates, equalities, constants, range lookups. Its children are placeholders: proofs that satisfy
//! every constraint and fail only the pairing, which the circuit leaves to its verifier.

use std::collections::HashMap;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{
    stand_in::{CHILD_K, Child, child_verifier, opening_key},
    *,
};
use crate::{
    keys::{fingerprint, generate, vk_digest},
    srs::development,
    verify::decide_accumulator,
};

const TEST: Preset = Preset {
    name: "test",
    shard: crate::preset::ShardParams {
        k: CHILD_K,
        capacity: 5,
    },
    children: 3,
    aggregation_k: 16,
    lookup_bits: 15,
};

/// Children that chain, with values that are all different.
fn chained() -> Vec<Vec<Fr>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut random = || Fr::random(&mut rng);
    let shared: Vec<Fr> = (0..SHARED).map(|_| random()).collect();
    let mut state: Vec<Fr> = std::iter::once(random()).chain(START).collect();
    (0..TEST.children)
        .map(|_| {
            let next: Vec<Fr> = (0..RUNNING).map(|_| random()).collect();
            let before = std::mem::replace(&mut state, next.clone());
            [shared.clone(), before, next].concat()
        })
        .collect()
}

fn statement(children: &[Vec<Fr>]) -> Result<RootStatement, ChainError> {
    let children: Vec<&[Fr]> = children.iter().map(Vec::as_slice).collect();
    root_statement(&children, TEST.children)
}

fn circuit(children: &[Vec<Fr>]) -> AggregationCircuit {
    circuit_of(child_verifier(), children)
}

fn circuit_of(verifier: &ShardVerifier, children: &[Vec<Fr>]) -> AggregationCircuit {
    let children: Vec<ChildProof> = children
        .iter()
        .map(|instances| ChildProof {
            instances: instances.clone(),
            ..verifier.placeholder()
        })
        .collect();
    let params = AggregationConfigParams {
        degree: TEST.aggregation_k,
        lookup_bits: TEST.lookup_bits,
        ..AggregationConfigParams::default()
    };
    constrain(CircuitBuilderStage::Mock, params, verifier, &children)
}

/// A constraint of the circuit that its witness breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Broken {
    Gate { offset: usize },
    Equal { left: Fr, right: Fr },
    Constant { expected: Fr, found: Fr },
    Range { found: Fr },
}

/// Every constraint of the builder's circuit that does not hold.
fn broken(circuit: &AggregationCircuit) -> Vec<Broken> {
    let builder = &circuit.builder;
    let [phase] = &builder.core().phase_manager[..] else {
        panic!("one phase")
    };
    let evaluate = |value: &halo2_proofs::plonk::Assigned<Fr>| value.evaluate();
    let mut broken = vec![];
    let mut columns = HashMap::new();
    for thread in &phase.threads {
        let advice: Vec<Fr> = thread.advice.iter().map(evaluate).collect();
        for offset in (0..thread.selector.len()).filter(|offset| thread.selector[*offset]) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| advice[offset + i]);
            if a + b * c != d {
                broken.push(Broken::Gate { offset });
            }
        }
        assert!(columns.insert(thread.tag(), advice).is_none());
    }
    let value = |cell: &halo2_base::ContextCell| columns[&(cell.type_id, cell.context_id)][cell.offset];
    let copies = builder.core().copy_manager.lock().unwrap();
    for (left, right) in &copies.advice_equalities {
        let [left, right] = [value(left), value(right)];
        if left != right {
            broken.push(Broken::Equal { left, right });
        }
    }
    for (expected, cell) in &copies.constant_equalities {
        let (expected, found) = (*expected, value(cell));
        if expected != found {
            broken.push(Broken::Constant { expected, found });
        }
    }
    let bound = Fr::from(1 << TEST.lookup_bits);
    for cells in builder.lookup_manager()[0]
        .cells_to_lookup
        .lock()
        .unwrap()
        .values()
    {
        let looked_up = cells
            .iter()
            .map(|[cell]| value(cell.cell.as_ref().expect("a virtual cell")));
        broken.extend(
            looked_up
                .filter(|found| *found >= bound)
                .map(|found| Broken::Range { found }),
        );
    }
    broken
}

/// Changes one instance of one child in an otherwise valid chain; the native rule and the circuit must both notice.
fn assert_refused(children: &[Vec<Fr>], expected: ChainError, pairs: &[(Fr, Fr)]) {
    assert_eq!(statement(children), Err(expected));
    let mut found: Vec<(Fr, Fr)> = broken(&circuit(children))
        .into_iter()
        .map(|broken| match broken {
            Broken::Equal { left, right } => (left.min(right), left.max(right)),
            other => panic!("another constraint broke: {other:?}"),
        })
        .collect();
    let mut pairs: Vec<(Fr, Fr)> = pairs.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
    found.sort();
    pairs.sort();
    assert_eq!(found, pairs);
}

#[test]
fn a_chain_satisfies_the_circuit_which_exposes_its_statement() {
    let children = chained();
    let circuit = circuit(&children);
    assert_eq!(broken(&circuit), []);
    let exposed: Vec<Fr> = circuit.builder.assigned_instances[0]
        .iter()
        .map(|cell| *cell.value())
        .collect();
    assert_eq!(exposed.len(), ROOT_INSTANCES.len());
    let statement = statement(&children).unwrap();
    assert_eq!(RootStatement::from_instances(&exposed), Ok(statement));
    assert_eq!(exposed[ACCUMULATOR_LIMBS..], statement.to_instances());
    assert_eq!(statement.old_root, children[0][3]);
    assert_eq!(statement.new_root, children[2][10]);
    assert_eq!([statement.c_a, statement.y_a], [children[2][11], children[2][12]]);
    assert_eq!([statement.c_b, statement.y_b], [children[2][14], children[2][15]]);
}

/// Placeholders satisfy the circuit, so nothing but the accumulator tells a false child from a true one.
#[test]
fn the_accumulator_of_false_children_is_refused() {
    let circuit = circuit(&chained());
    let exposed: Vec<Fr> = circuit.builder.assigned_instances[0]
        .iter()
        .map(|cell| *cell.value())
        .collect();
    assert_eq!(
        decide_accumulator(&opening_key(), &exposed),
        Err(VerifyError::Accumulator)
    );
}

#[test]
fn another_rollup_time_or_point_is_refused() {
    for at in 0..SHARED {
        for child in 1..TEST.children {
            let mut children = chained();
            let expected = children[0][at];
            let found = expected + Fr::ONE;
            children[child][at] = found;
            let error = ChainError::Shared {
                child,
                name: SHARD_INSTANCE_NAMES[at],
                found,
                expected,
            };
            // The last child has one neighbour, the others two.
            let breaks = if child + 1 < TEST.children { 2 } else { 1 };
            assert_refused(&children, error, &vec![(found, expected); breaks]);
        }
    }
}

#[test]
fn a_batch_that_does_not_begin_at_the_start_is_refused() {
    for (at, expected) in (BEFORE + 1..AFTER).zip(START) {
        let mut children = chained();
        let found = expected + Fr::ONE;
        children[0][at] = found;
        let error = ChainError::Start {
            name: SHARD_INSTANCE_NAMES[at],
            found,
            expected,
        };
        assert_refused(&children, error, &[(found, expected)]);
    }
}

#[test]
fn a_broken_link_is_refused() {
    for at in BEFORE..AFTER {
        let mut children = chained();
        let expected = children[1][at];
        let found = expected + Fr::ONE;
        children[1][at] = found;
        let error = ChainError::Link {
            child: 1,
            name: SHARD_INSTANCE_NAMES[at],
            found,
            expected,
        };
        assert_refused(&children, error, &[(found, expected)]);
    }
}

/// The pairs of cells that the links of these children should make equal and that differ, and those of the start.
fn mismatches(children: &[Vec<Fr>]) -> Vec<(Fr, Fr)> {
    let links = children
        .windows(2)
        .flat_map(|pair| pair[0][AFTER..].iter().zip(&pair[1][BEFORE..AFTER]));
    let start = children[0][BEFORE + 1..AFTER].iter().zip(&START);
    links
        .chain(start)
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (*a, *b))
        .collect()
}

#[test]
fn swapped_shards_are_refused() {
    let mut children = chained();
    children.swap(1, 2);
    let (found, expected) = (children[1][BEFORE], children[0][AFTER]);
    let error = ChainError::Link {
        child: 1,
        name: "root before",
        found,
        expected,
    };
    let pairs = mismatches(&children);
    assert_eq!(pairs.len(), 2 * RUNNING);
    assert_refused(&children, error, &pairs);
}

#[test]
fn a_repeated_shard_is_refused() {
    let mut children = chained();
    children[1] = children[0].clone();
    let (found, expected) = (children[1][BEFORE], children[0][AFTER]);
    let error = ChainError::Link {
        child: 1,
        name: "root before",
        found,
        expected,
    };
    assert_refused(&children, error, &mismatches(&children));
}

#[test]
fn a_batch_without_its_first_shard_is_refused() {
    let mut children = chained();
    children.rotate_left(1);
    let error = statement(&children).unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::Start {
                name: "C_A before",
                ..
            }
        ),
        "{error}"
    );
    assert_refused(&children, error, &mismatches(&children));
}

#[test]
fn missing_shards_and_instances_are_refused() {
    let mut children = chained();
    children.pop();
    assert_eq!(
        statement(&children),
        Err(ChainError::Count {
            found: 2,
            expected: 3
        })
    );
    assert_eq!(
        root_statement(&[], 0),
        Err(ChainError::Count {
            found: 0,
            expected: 0
        })
    );
    let mut children = chained();
    children[1].pop();
    assert_eq!(
        statement(&children),
        Err(ChainError::Instances { child: 1, found: 16 })
    );
}

#[test]
fn a_child_that_does_not_verify_is_refused_before_anything_is_built() {
    let children = chained()
        .into_iter()
        .map(|instances| ChildProof {
            instances,
            ..child_verifier().placeholder()
        })
        .collect();
    let shape = AggregationShape::default();
    let build = |input: &AggregationInput| {
        prover_circuit(&TEST, child_verifier(), &shape, input)
            .map(|_| ())
            .unwrap_err()
    };
    let mut input = AggregationInput { children };
    let error = build(&input);
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
    input.children[0].proof.pop();
    let error = build(&input);
    assert!(matches!(
        error,
        AggregationError::Child {
            child: 0,
            source: VerifyError::ProofLength { .. }
        }
    ));
    input.children.pop();
    assert!(matches!(
        build(&input),
        AggregationError::Chain(ChainError::Count { .. })
    ));
}

#[test]
fn a_changed_witness_breaks_the_circuit() {
    let mut circuit = circuit(&chained());
    let limb = circuit.builder.assigned_instances[0][0];
    limb.debug_prank(circuit.builder.main(0), *limb.value() + Fr::ONE);
    assert!(
        broken(&circuit)
            .iter()
            .any(|broken| matches!(broken, Broken::Gate { .. }))
    );
}

/// The shard key enters as constants, so a proof under another key is checked against this one: the circuits differ.
#[test]
fn a_foreign_verifying_key_makes_another_circuit() {
    let srs = development(CHILD_K, true, &|_| ()).unwrap();
    let own = child_verifier();
    let pk = generate(&srs.params, &Child, "child", true).unwrap();
    let mut fixed = pk.get_vk().fixed_commitments().clone();
    fixed[0] = srs.opening_key().g1;
    let foreign = halo2_proofs::plonk::VerifyingKey::from_parts(
        pk.get_vk().get_domain().clone(),
        fixed,
        pk.get_vk().permutation().clone(),
        own.vk().cs().clone(),
        vec![],
        false,
    );
    let foreign = ShardVerifier::new(foreign, &srs.opening_key());
    let constants = |verifier: &ShardVerifier| {
        let circuit = circuit_of(verifier, &chained());
        let copies = circuit.builder.core().copy_manager.lock().unwrap().clone();
        let mut constants: Vec<Fr> = copies
            .constant_equalities
            .iter()
            .map(|(constant, _)| *constant)
            .collect();
        constants.sort();
        constants.dedup();
        constants
    };
    let (own_constants, foreign_constants) = (constants(own), constants(&foreign));
    let repr = |verifier: &ShardVerifier| verifier.vk().transcript_repr();
    assert!(
        own_constants.contains(&repr(own)),
        "the transcript begins with the key's digest, a constant"
    );
    assert!(foreign_constants.contains(&repr(&foreign)));
    assert!(!own_constants.contains(&repr(&foreign)));
}

/// Pins what the aggregation does with a given child. When it changes, raise `AGGREGATION_REVISION`, which keys the
/// cache, and put the new digests here.
#[test]
fn the_aggregation_circuit_is_pinned() {
    let child = child_verifier();
    let preset = Preset {
        children: 2,
        aggregation_k: 19,
        lookup_bits: 18,
        ..TEST
    };
    let circuit = keygen_circuit(&preset, child);
    let digest = fingerprint(preset.aggregation_k, &circuit).unwrap();
    assert_eq!(crate::keys::AGGREGATION_REVISION, 1);
    let pinned = [vk_digest(child.vk()).to_string(), digest.to_string()];
    assert_eq!(
        pinned,
        [
            "0x1e630d45a8fb37ad386f9955f57ff921584b4e31da089c153f35ff105e66042a",
            "0xb6d2e241c02624bd7df7252e7d0346aff3dcc96fba026aca65446d50fea4123f"
        ]
    );
}

/// The placeholder's values do not shape the circuit: keys made with it fit every proof.
#[test]
fn the_witness_does_not_shape_the_circuit() {
    let preset = Preset {
        aggregation_k: 20,
        lookup_bits: 15,
        ..TEST
    };
    let at_keygen = keygen_circuit(&preset, child_verifier());
    let at_proving = circuit(&chained());
    let form = |circuit: &AggregationCircuit| {
        let lookups = circuit.builder.statistics().total_lookup_advice_per_phase;
        let copies = circuit.builder.core().copy_manager.lock().unwrap();
        let selectors: Vec<_> = circuit.builder.core().phase_manager[0]
            .threads
            .iter()
            .map(|thread| thread.selector.clone())
            .collect();
        (
            copies.advice_equalities.clone(),
            copies.constant_equalities.clone(),
            selectors,
            lookups,
        )
    };
    assert!(form(&at_keygen) == form(&at_proving));
}

#[test]
fn an_input_survives_its_encoding_and_damaged_bytes_are_refused() {
    let children = chained()
        .into_iter()
        .map(|instances| ChildProof {
            instances,
            ..child_verifier().placeholder()
        })
        .collect();
    let input = AggregationInput { children };
    let bytes = input.to_bytes();
    assert_eq!(AggregationInput::from_bytes(&bytes).unwrap(), input);
    assert!(matches!(
        AggregationInput::from_bytes(&[]),
        Err(DecodeError::Version { found: None })
    ));
    assert!(matches!(
        AggregationInput::from_bytes(&[9, 0]),
        Err(DecodeError::Version { found: Some(9) })
    ));
    for length in 1..bytes.len() {
        assert!(matches!(
            AggregationInput::from_bytes(&bytes[..length]),
            Err(DecodeError::Malformed(_))
        ));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        AggregationInput::from_bytes(&longer),
        Err(DecodeError::Malformed(_))
    ));
    // An instance at the modulus is not canonical (P-1.2).
    let at = bytes
        .windows(32)
        .position(|window| window == input.children[0].instances[0].to_bytes())
        .unwrap();
    let mut damaged = bytes.clone();
    damaged[at..at + 32].copy_from_slice(&[0xff; 32]);
    assert!(matches!(
        AggregationInput::from_bytes(&damaged),
        Err(DecodeError::Malformed(_))
    ));
}
