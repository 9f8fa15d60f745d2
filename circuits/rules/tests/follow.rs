//! A follower takes batches back where L1 takes blocks back, and says where it cannot.

use rules::batch;
use rules::derive::{Accepted, Position};
use rules::follow::{Block, Follower, TooDeep};
use rules::operation::RollupId;
use rules::outbox;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::shards;
use rules::state::State;
use rules::witness::Shape;

const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
const SHAPE: Shape = Shape { places: 10, rooms: 2 };

/// The logs of so many batches, and the root after each.
fn logs(count: usize) -> Vec<Accepted> {
    let config = SampleConfig {
        seed: 5,
        users: 3,
        tokens: 1,
    };
    let mut sample = Sample::new(config);
    let (mut state, mut head) = (State::default(), 0);
    let draw = Draw {
        shape: SHAPE,
        queued: 2,
        signed: 8,
        mix: Mix::All,
    };
    let log = |_| {
        let batch = sample.batch(ROLLUP, 1_800_000_000, draw);
        let executed = batch::execute(&mut state, &batch).unwrap();
        let sharded = shards(&batch, &executed, SHAPE, 4).unwrap();
        let owed = outbox::owed(batch.number, &executed.records());
        head += 2;
        Accepted {
            number: batch.number,
            old_root: batch.old_root,
            new_root: batch.new_root,
            head,
            withdrawals_root: outbox::Tree::new(&owed).root(),
            withdrawals: owed.len() as u32,
            data_a: sharded.posted_a,
            data_b: sharded.posted_b,
        }
    };
    (0..count).map(log).collect()
}

fn block(number: u64, fork: u8) -> Block {
    Block {
        number,
        hash: rules::digest::Digest([fork; 32]),
    }
}

#[test]
fn batches_are_taken_back_with_their_blocks() {
    let logs = logs(6);
    let mut follower = Follower::new(State::default(), Position::default(), 3);
    for (number, log) in logs.iter().enumerate() {
        follower.accept(block(number as u64, 0), log).unwrap();
        assert_eq!(follower.state().root(), log.new_root);
    }
    assert_eq!(follower.settle(|_| true), Ok(0));
    // Blocks 4 and 5 are others now, with the same batches in one.
    assert_eq!(follower.settle(|block| block.number < 4), Ok(2));
    assert_eq!(follower.state().root(), logs[3].new_root);
    assert_eq!(follower.position(), Position { number: 4, head: 8 });
    assert!(follower.accept(block(4, 1), &logs[5]).is_err());
    for log in &logs[4..] {
        follower.accept(block(4, 1), log).unwrap();
    }
    assert_eq!(follower.state().root(), logs[5].new_root);
    // Deeper than undo data are kept: blocks 2 and on can be undone, 1 not.
    let verdict = follower.settle(|_| false);
    assert_eq!(
        verdict,
        Err(TooDeep {
            block: block(1, 0),
            depth: 3
        })
    );
    assert_eq!(follower.state().root(), logs[1].new_root);
}
