//! Real proofs at the smallest preset: our engine's beside the stock one's, and the fixture that other crates' tests
//! share.

use circuits::aggregation::AggregationInput;
use circuits::preset::{CI, TINY};
use circuits::recursion::prover_circuit;
use circuits::shard::ShardCircuit;
use engine::{Phase as Proving, Witness};
use prover::device::MemoryNeeds;
use prover::engine::{CpuDevice, Engine, FailureClass, OwnEngine, OwnOptions, Phase, Pipeline, StockEngine};
use prover::fixtures;
use rules::Fr;
use rules::batch::execute;
use rules::operation::Operation;
use rules::record::Kind;
use rules::state::State;
use rules::stream::{groups, records};
use std::sync::Arc;

#[test]
fn a_fixture_has_proofs_that_verify_and_is_made_once() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    assert_eq!(fixture.shard_proofs.len(), TINY.children);
    for child in &fixture.shard_proofs {
        keys.verifying_keys()
            .verify_shard(&child.instances, &child.proof)
            .unwrap();
    }
    let statement = keys
        .verifying_keys()
        .verify_root(&fixture.instances, &fixture.proof)
        .unwrap();
    assert_eq!(statement.rollup_id, fixtures::ROLLUP_ID.to_fr());
    assert_eq!(statement.old_root, fixture.batch.old_root);
    assert_eq!(statement.new_root, fixture.batch.new_root);
    assert_eq!(statement.old_root, State::default().root());
    let [records, groups] = [
        records(&fixture.posted_a).unwrap().len(),
        groups(&fixture.posted_b).unwrap().len(),
    ];
    assert_eq!((records, groups), (3, 1), "an entry, a withdrawal, a creation");
    // Proofs are not deterministic: the same one came from the cache.
    assert_eq!(fixtures::root_proof(TINY).unwrap().proof, fixture.proof);
}

#[test]
fn a_circuit_s_columns_are_those_of_its_synthesis() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    let input = &fixture.shard_inputs[0];
    let circuit = ShardCircuit::new(TINY.shard, Some(input)).unwrap();
    let synthesized = Witness::synthesize(keys.shard_vk(), &circuit, &[&input.instances()]).unwrap();
    assert_eq!(Witness::from_columns(circuit.into_columns().into()), synthesized);

    let children = fixture.shard_proofs.clone();
    let circuit = prover_circuit(
        &TINY,
        keys.verifying_keys().shard(),
        &AggregationInput { children },
    )
    .unwrap();
    let instances = circuit.instances().to_vec();
    let synthesized = Witness::synthesize(keys.aggregation_vk(), &circuit, &[&instances]).unwrap();
    let column = circuit.into_column(TINY.aggregation_k);
    assert_eq!(Witness::from_columns(vec![column]), synthesized);
}

/// Every kind of operation is in a real proof.
#[test]
fn a_fixture_s_batch_has_every_kind_of_operation() {
    for preset in [TINY, CI] {
        let batch = fixtures::batch(&preset).unwrap();
        let count = |is: fn(&Operation) -> bool| batch.operations.iter().filter(|one| is(one)).count();
        let kinds: [fn(&Operation) -> bool; 5] = [
            |one| matches!(one, Operation::NoOp),
            |one| matches!(one, Operation::Transfer(_)),
            |one| matches!(one, Operation::Withdrawal(_)),
            |one| matches!(one, Operation::Creation(_)),
            |one| matches!(one, Operation::Queued(_)),
        ];
        for (number, kind) in kinds.into_iter().enumerate() {
            assert!(count(kind) > 0, "{}: kind {number}", preset.name);
        }
    }
    let entries = fixtures::entries(&CI);
    let mut state = State::default();
    let executed = execute(&mut state, &fixtures::batch(&CI).unwrap()).unwrap();
    let records = executed
        .records()
        .into_iter()
        .filter(|record| record.kind.is_queued());
    let codes: Vec<_> = records.map(|record| (record.kind, record.code)).collect();
    assert_eq!(codes.len(), entries.len());
    for kind in [
        Kind::DepositNew,
        Kind::DepositExisting,
        Kind::ForcedExit,
        Kind::KeyChange,
    ] {
        assert!(codes.contains(&(kind, 0)), "{kind}");
    }
    assert!(codes.contains(&(Kind::ForcedExit, 3)) && codes.contains(&(Kind::KeyChange, 1)));
}

/// What every engine must do, whatever it enters before verification.
fn proves_and_refuses(engine: &mut impl Engine, entered: &[Phase]) {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    let mut phases = Vec::new();
    let input = &fixture.shard_inputs[0];
    let proof = engine
        .prove_shard(input, &mut |phase| phases.push(phase))
        .unwrap();
    keys.verifying_keys()
        .verify_shard(&input.instances(), &proof)
        .unwrap();
    assert_eq!(phases, [entered, &[Phase::Verify]].concat());

    let mut forged = input.clone();
    forged.after.root += Fr::one();
    let error = engine.prove_shard(&forged, &mut |_| {}).unwrap_err();
    assert!(
        matches!(error.class(), FailureClass::Execution | FailureClass::Input),
        "{error}"
    );

    // Of a preset of more places, and of one of more room.
    let mut long = input.clone();
    long.groups.push(input.groups[0].clone());
    let mut without = input.clone();
    without.groups[0].room = None;
    for (other, places, rooms) in [(long, 10, 2), (without, 5, 0)] {
        let error = engine.prove_shard(&other, &mut |_| {}).unwrap_err();
        assert_eq!(error.class(), FailureClass::Input);
        let expected = format!(
            "the shard is not one of preset tiny: the shard input has {places} places and room for {rooms} operations of the \
             queue, the circuit 5 and 1"
        );
        assert_eq!(error.with_causes(), expected);
    }

    let mut children = fixture.shard_proofs.clone();
    children[0].proof[0] ^= 1;
    let error = engine
        .prove_aggregation(&AggregationInput { children }, &mut |_| {})
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Execution, "{error}");
    // The engine goes on after failures.
    engine.prove_shard(input, &mut |_| {}).unwrap();
}

#[test]
fn the_stock_engine_proves_true_statements_only() {
    let mut engine = StockEngine::new(fixtures::keys(TINY).unwrap(), Some(1));
    let entered = [Phase::LoadKeys, Phase::Witness, Phase::Prove];
    proves_and_refuses(&mut engine, &entered);
}

#[test]
fn our_engine_proves_true_statements_only() {
    let keys = fixtures::keys(TINY).unwrap();
    let mut engine = OwnEngine::new(keys, Arc::new(CpuDevice::new()), OwnOptions::default());
    let entered = [
        Phase::Witness,
        Phase::Proving(Proving::Witness),
        Phase::LoadKeys,
        Phase::Proving(Proving::Commitments),
        Phase::Proving(Proving::Lookups),
        Phase::Proving(Proving::Permutation),
        Phase::Proving(Proving::Commitments),
        Phase::Proving(Proving::Quotient),
        Phase::Proving(Proving::Evaluations),
        Phase::Proving(Proving::Opening),
    ];
    proves_and_refuses(&mut engine, &entered);
    // It also goes on after it gave memory back.
    engine.rest();
    let fixture = fixtures::root_proof(TINY).unwrap();
    engine.prove_shard(&fixture.shard_inputs[0], &mut |_| {}).unwrap();
}

#[test]
fn our_engine_asks_for_no_more_than_its_memory() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    let options = OwnOptions {
        memory_bytes: Some(1 << 20),
        ..OwnOptions::default()
    };
    let mut engine = OwnEngine::new(keys, Arc::new(CpuDevice::new()), options);
    let error = engine
        .prove_shard(&fixture.shard_inputs[0], &mut |_| {})
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Resource, "{error}");
}

#[test]
fn the_memory_that_a_preset_needs_is_known_without_its_keys() {
    let keys = fixtures::keys(TINY).unwrap();
    assert_eq!(MemoryNeeds::of(&keys).unwrap(), MemoryNeeds::estimate(&TINY));
}
