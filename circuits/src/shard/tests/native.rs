//! The circuit against its oracle: whatever the native state machine executes, the circuit accepts with the same
//! instances.

use super::checker::Checker;
use super::world::{MIXED, TIME, TINY};
use crate::shard::{ShardCircuit, ShardParams};
use rules::batch::execute;
use rules::operation::RollupId;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::shards;
use rules::witness::ShardInput;

fn satisfied(checker: &Checker, params: ShardParams, input: &ShardInput) {
    let circuit = ShardCircuit::new(params, Some(input)).expect("fits");
    let failures = checker.failures(&circuit.sheet, &input.instances());
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Batches that follow each other, from the empty state on: the first make accounts, the last have every operation.
fn native(seed: u64, params: ShardParams, batches: usize) {
    let checker = Checker::new();
    let rollup_id = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };
    let config = SampleConfig {
        seed,
        users: 3,
        tokens: 2,
    };
    let mut sample = Sample::new(config);
    let mut operations = 0;
    for _ in 0..batches {
        let mut state = sample.state().clone();
        let draw = Draw {
            shape: params.shape,
            queued: params.shape.rooms,
            signed: params.shape.places,
            mix: Mix::All,
        };
        let batch = sample.batch(rollup_id, TIME, draw);
        operations += batch.operations.len();
        let executed = execute(&mut state, &batch).expect("a valid batch");
        // One shard more than is drawn for: what is not needed is padding.
        let sharded = shards(&batch, &executed, params.shape, 3).expect("it fits");
        for input in &sharded.shards {
            satisfied(&checker, params, input);
        }
    }
    assert!(
        operations >= batches * params.shape.places,
        "{operations} operations"
    );
}

#[test]
fn circuit_and_native_agree() {
    for seed in [1, 2] {
        native(seed, TINY, 8);
    }
}

#[test]
fn circuit_and_native_agree_in_shards_of_both_kinds_of_group() {
    native(3, MIXED, 4);
}
