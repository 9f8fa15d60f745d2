//! Real proofs at the smallest preset: the stock engine's, and the fixture that other crates' tests share.

use circuits::Fr;
use circuits::aggregation::AggregationInput;
use circuits::preset::TINY;
use prover::engine::{Engine, FailureClass, Phase, StockEngine};
use prover::fixtures;

#[test]
fn a_fixture_has_proofs_that_verify_and_is_made_once() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    assert_eq!(fixture.shard_proofs.len(), TINY.children);
    for child in &fixture.shard_proofs {
        keys.shard_verifier()
            .verify(&child.instances, &child.proof)
            .unwrap();
    }
    let statement = keys
        .root_verifier()
        .verify(&fixture.instances, &fixture.proof)
        .unwrap();
    assert_eq!(statement.rollup_id, fixtures::ROLLUP_ID.to_fr());
    assert_eq!(statement.old_root, fixture.batch.old_root);
    assert_eq!(statement.new_root, fixture.batch.new_root);
    assert_eq!(fixture.posted_b.len() % 31, 0);
    // Proofs are not deterministic: the same one came from the cache.
    assert_eq!(fixtures::root_proof(TINY).unwrap().proof, fixture.proof);
}

#[test]
fn a_shard_is_proven_and_a_false_statement_is_not() {
    let keys = fixtures::keys(TINY).unwrap();
    let fixture = fixtures::root_proof(TINY).unwrap();
    let mut engine = StockEngine::new(keys.clone(), Some(1));
    let mut phases = Vec::new();
    let input = &fixture.shard_inputs[0];
    let proof = engine
        .prove_shard(input, &mut |phase| phases.push(phase))
        .unwrap();
    keys.shard_verifier().verify(&input.instances(), &proof).unwrap();
    assert_eq!(
        phases,
        [Phase::LoadKeys, Phase::Witness, Phase::Prove, Phase::Verify]
    );

    let mut forged = input.clone();
    forged.after.root += Fr::one();
    let error = engine.prove_shard(&forged, &mut |_| {}).unwrap_err();
    assert!(
        matches!(error.class(), FailureClass::Execution | FailureClass::Input),
        "{error}"
    );

    let mut short = input.clone();
    short.steps.pop();
    assert_eq!(
        engine.prove_shard(&short, &mut |_| {}).unwrap_err().class(),
        FailureClass::Input
    );

    let mut children = fixture.shard_proofs.clone();
    children[0].proof[0] ^= 1;
    let error = engine
        .prove_aggregation(&AggregationInput { children }, &mut |_| {})
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Execution, "{error}");
    // The engine goes on after failures.
    engine.prove_shard(input, &mut |_| {}).unwrap();
}
