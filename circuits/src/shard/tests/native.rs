//! The circuit against its oracle: whatever the native state machine executes, the circuit accepts with the same
//! instances.

use super::checker::Checker;
use super::world::{PARAMS, TIME, rollup};
use crate::preset::{self, ShardParams};
use crate::shard::{ShardCircuit, ShardCircuitError};
use proptest::prelude::*;
use rules::batch::{execute, shards};
use rules::sample::{Sample, SampleConfig};
use rules::witness::ShardInput;

fn satisfied(checker: &Checker, input: &ShardInput) {
    let circuit = ShardCircuit::new(PARAMS, Some(input)).expect("fits");
    let failures = checker.failures(&circuit.sheet, &input.instances());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn sample_shards(seed: u64, transfers: usize) -> Vec<ShardInput> {
    let mut sample = Sample::new(SampleConfig {
        seed,
        users: 5,
        tokens: 3,
    });
    let mut state = sample.genesis().build().expect("a valid genesis");
    let batch = sample.batch(rollup(), TIME, transfers);
    let executed = execute(&mut state, &batch).expect("a valid batch");
    // One shard more than needed: it is all no-ops.
    shards(
        &batch,
        &executed,
        PARAMS.capacity,
        transfers.div_ceil(PARAMS.capacity) + 1,
    )
    .expect("it fits")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn circuit_and_native_agree(seed in any::<u64>(), transfers in 1usize..=12) {
        let checker = Checker::new();
        for input in sample_shards(seed, transfers) {
            satisfied(&checker, &input);
        }
    }
}

#[test]
fn a_padding_shard_is_proven_like_any_other() {
    let padding = &sample_shards(7, 5)[1];
    assert!(padding.steps.iter().all(|step| !step.is_op));
    assert_eq!(padding.before.root, padding.after.root);
    satisfied(&Checker::new(), padding);
}

#[test]
fn sizes_are_refused_by_name() {
    let input = &sample_shards(7, 5)[0];
    let other = |capacity| ShardCircuit::new(ShardParams { capacity, ..PARAMS }, Some(input)).map(|_| ());
    assert_eq!(other(0), Err(ShardCircuitError::Capacity { found: 0 }));
    assert_eq!(other(7), Err(ShardCircuitError::Capacity { found: 7 }));
    assert_eq!(
        other(10),
        Err(ShardCircuitError::Steps {
            expected: 10,
            found: 5
        })
    );
    let small = ShardCircuit::new(ShardParams { k: 14, capacity: 5 }, None).map(|_| ());
    assert!(
        matches!(
            small,
            Err(ShardCircuitError::Rows {
                capacity: 5,
                k: 14,
                ..
            })
        ),
        "{small:?}"
    );
}

#[test]
fn the_operations_of_every_preset_fit_its_shard() {
    for preset in preset::ALL {
        ShardCircuit::new(preset.shard, None).unwrap();
    }
}
