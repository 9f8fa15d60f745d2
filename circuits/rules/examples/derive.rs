//! How many operations a second are derived from 1,000 batches of 35 transfers (PROTOCOL.md, section 15), from logs in memory:
//! `cargo run --release -p rules --features threads --example derive`.

use rules::derive::{Accepted, Position, derive};
use rules::layout::lay_out;
use rules::operation::RollupId;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::state::State;
use rules::stream;
use rules::witness::Shape;
use std::time::Instant;

const BATCHES: usize = 1_000;
const TRANSFERS: usize = 35;
const SHAPE: Shape = Shape {
    places: 225,
    rooms: 15,
};

fn main() {
    let rollup_id = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };
    let mut sample = Sample::new(SampleConfig {
        seed: 1,
        users: 100,
        tokens: 2,
    });
    let (mut state, mut position) = (State::default(), Position::default());
    // Accounts first, on the way that they have: fee accounts and deposits.
    let accounts = Draw {
        shape: SHAPE,
        queued: 200,
        signed: 0,
        mix: Mix::Transfers,
    };
    let transfers = Draw {
        queued: 0,
        signed: TRANSFERS,
        ..accounts
    };
    let mut head = 0;
    let mut log = |draw: Draw| {
        let before = sample.state().clone();
        let batch = sample.batch(rollup_id, 1_800_000_000, draw);
        let slots = lay_out(&batch.operations, SHAPE).expect("the shape is allowed");
        let groups: Vec<_> = slots.iter().map(|slots| slots.group(&batch.operations)).collect();
        let records = match draw.queued {
            0 => Vec::new(),
            _ => {
                let executed = rules::batch::execute(&mut before.clone(), &batch);
                executed.expect("samples are valid").records()
            }
        };
        head += draw.queued as u64;
        let owed = rules::outbox::owed(batch.number, &records);
        Accepted {
            number: batch.number,
            old_root: batch.old_root,
            new_root: batch.new_root,
            head,
            withdrawals_root: rules::outbox::Tree::new(&owed).root(),
            withdrawals: owed.len() as u32,
            data_a: stream::posted_a(&records),
            data_b: stream::posted_b(&groups),
        }
    };
    let first = log(accounts);
    let logs: Vec<_> = (0..BATCHES).map(|_| log(transfers)).collect();
    derive(&mut state, &mut position, &first).expect("the logs are an accepted batch's");
    let start = Instant::now();
    for log in &logs {
        derive(&mut state, &mut position, log).expect("the logs are an accepted batch's");
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(state.root(), sample.state().root());
    let rate = (BATCHES * TRANSFERS) as f64 / seconds;
    println!("{BATCHES} batches of {TRANSFERS} transfers: {seconds:.2} s, {rate:.0} operations a second");
}
