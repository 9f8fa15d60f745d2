//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, what they
//! take encodes to what was taken, and what is refused leaves no trace.

use circuits::{
    aggregation::{AggregationInput, ChildProof},
    preset::TINY,
    verify::instances_from_be,
};
use fuzzer::Target;
use rules::statement::root_statement;
use rules::{
    Fr, batch, field,
    operation::RollupId,
    sample::{Draw, Mix, Sample, SampleConfig},
    shards::shards,
};
use std::fmt::Display;

const ROLLUP_ID: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// Memory that serde sets aside for a sequence whose length is claimed: 1 MiB at most, whatever the length. Two may be under
/// way, one in the other.
const CLAIMED: u64 = 2 << 20;

fn refused(error: impl Display) -> String {
    error.to_string()
}

#[test]
fn fuzz_aggregation_input() {
    let mut sample = Sample::new(SampleConfig {
        seed: 1,
        users: 2,
        tokens: 1,
    });
    let mut state = sample.state().clone();
    let draw = Draw {
        shape: TINY.shard.shape,
        queued: 1,
        signed: 0,
        mix: Mix::All,
    };
    let batch = sample.batch(ROLLUP_ID, 1_700_000_000, draw);
    let executed = batch::execute(&mut state, &batch).unwrap();
    let sharded = shards(&batch, &executed, TINY.shard.shape, 2).unwrap();
    let children = sharded.shards.iter().map(|input| ChildProof {
        instances: input.instances(),
        proof: vec![1; 64],
    });
    let input = AggregationInput {
        children: children.collect(),
    };
    target("aggregation-input")
        .seed("two", input.to_bytes())
        .memory(CLAIMED, 64)
        .run(|bytes| {
            let input = AggregationInput::from_bytes(bytes).map_err(refused)?;
            assert_eq!(AggregationInput::from_bytes(&input.to_bytes()).unwrap(), input);
            let instances: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
            root_statement(&instances, 2).map(drop).map_err(refused)
        });
}

#[test]
fn fuzz_instances() {
    let two: Vec<u8> = [Fr::one(), -Fr::one()].iter().flat_map(field::to_be).collect();
    target("instances").seed("two", two).run(|bytes| {
        let instances = instances_from_be(bytes, bytes.len() / 32).map_err(refused)?;
        let encoded: Vec<u8> = instances.iter().flat_map(field::to_be).collect();
        assert_eq!(encoded, bytes, "one encoding");
        Ok(())
    });
}
