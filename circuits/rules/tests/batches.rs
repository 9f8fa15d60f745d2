//! Batches as a whole: random ones executed, posted, derived, undone and cut into shards; their encodings; the vectors of a batch.

use proptest::prelude::*;
use rules::Fr;
use rules::account::AccountIndex;
use rules::batch::{self, Batch, Executed};
use rules::derive::{self, Accepted, Fault, Position};
use rules::ledger::Ledger;
use rules::operation::RollupId;
use rules::outbox;
use rules::sample::{Draw, Mix, Sample, SampleConfig};
use rules::shards::{Sharded, ShardsError, shards};
use rules::state::State;
use rules::stream;
use rules::witness::{Access, RunningState, Shape, ShardInput};

const TIME: u64 = 1_800_000_000;
const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
const SHAPE: Shape = Shape { places: 10, rooms: 1 };

fn sample(seed: u64) -> Sample {
    Sample::new(SampleConfig {
        seed,
        users: 4,
        tokens: 2,
    })
}

fn draw(queued: usize, signed: usize) -> Draw {
    Draw {
        shape: SHAPE,
        queued,
        signed,
        mix: Mix::All,
    }
}

/// The log of a batch that was proven as `sharded`.
fn accepted(batch: &Batch, executed: &Executed, sharded: &Sharded, head: &mut u64) -> Accepted {
    let records = executed.records();
    *head += records.iter().filter(|record| record.kind.is_queued()).count() as u64;
    let owed = outbox::owed(batch.number, &records);
    Accepted {
        number: batch.number,
        old_root: batch.old_root,
        new_root: batch.new_root,
        head: *head,
        withdrawals_root: outbox::Tree::new(&owed).root(),
        withdrawals: owed.len() as u32,
        data_a: sharded.posted_a.clone(),
        data_b: sharded.posted_b.clone(),
    }
}

fn follow(access: &Access, root: Fr) -> Fr {
    assert_eq!(access.root_before(), root);
    access.root_after()
}

/// Follows every access, record and group of shards from the root before to the end, as the circuit does.
fn check_shards(batch: &Batch, sharded: &Sharded, shape: Shape) {
    let mut running = RunningState::initial(batch.old_root);
    for shard in &sharded.shards {
        assert_eq!((shard.before, shard.shape()), (running, Some(shape)));
        for group in &shard.groups {
            if let Some(room) = &group.room {
                running.root = follow(&room.access, running.root);
            }
            for (place, witness) in group.places.iter().enumerate() {
                assert!(place < 4 || witness.record().is_none(), "P-6.3");
                running.root = witness
                    .accesses
                    .iter()
                    .fold(running.root, |root, access| follow(access, root));
            }
            for record in group.records() {
                running.absorb_record(&record.elements(), &shard.x);
            }
            let words = group.words();
            let flag = group.flag();
            running.absorb_group(&stream::Group { flag, words }.elements(), &shard.x);
        }
        assert_eq!(shard.after, running);
        assert_eq!(shard.instances().len(), 17);
        assert_eq!(ShardInput::from_bytes(&shard.to_bytes()).as_ref(), Ok(shard));
    }
    assert_eq!(running.root, batch.new_root);
    let x = sharded.shards[0].x;
    assert_eq!(stream::evaluate(&sharded.posted_a, &x), running.y_a);
    assert_eq!(stream::evaluate(&sharded.posted_b, &x), running.y_b);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn what_is_executed_is_derived_undone_and_conserves(seed: u64) {
        let mut sample = sample(seed);
        let (mut state, mut derived, mut position) = (State::default(), State::default(), Position::default());
        let (mut ledger, mut head) = (Ledger::default(), 0);
        for (queued, signed) in [(4, 0), (4, 12), (3, 17), (0, 5), (2, 9)] {
            let batch = sample.batch(ROLLUP, TIME, draw(queued, signed));
            let before = state.clone();
            let executed = batch::execute(&mut state, &batch).unwrap();
            prop_assert_eq!(state.root(), sample.state().root());
            for operation in &batch.operations {
                if let rules::operation::Operation::Queued(entry) = operation {
                    ledger.enter(entry.record()).unwrap();
                }
            }
            // After each operation, on the accounts that it wrote.
            let mut after = before.clone();
            for step in &executed.steps {
                let written = step.accesses.iter().filter(|access| access.index != AccountIndex::NONE);
                let written: Vec<_> = written.map(|access| (access.index, access.after)).collect();
                after.set(&written);
                if let Some(record) = &step.record {
                    ledger.accept(record).unwrap();
                }
                ledger.check(&after).unwrap();
            }
            prop_assert_eq!(after.root(), state.root());
            for owed in outbox::owed(batch.number, &executed.records()).iter().take(2) {
                ledger.claim(owed).unwrap();
                ledger.check(&state).unwrap();
            }
            let sharded = shards(&batch, &executed, SHAPE, 4).unwrap();
            check_shards(&batch, &sharded, SHAPE);
            let log = accepted(&batch, &executed, &sharded, &mut head);
            let done = derive::derive(&mut derived, &mut position, &log).unwrap();
            prop_assert_eq!(&done.changes, &executed.changes);
            prop_assert_eq!(done.records, executed.records());
            prop_assert!(derived.accounts().eq(state.accounts()));
            prop_assert_eq!(derived.root(), state.root());
            let mut undone = state.clone();
            undone.set(&batch::undo(&done.changes));
            prop_assert_eq!(undone.root(), before.root());
            prop_assert!(undone.accounts().eq(before.accounts()));
            prop_assert_eq!(Batch::from_bytes(&batch.to_bytes()), Ok(batch.clone()));
            prop_assert_eq!(Batch::from_json(&batch.to_json()), Ok(batch.clone()));
        }
    }

    #[test]
    fn arbitrary_and_changed_data_never_panic_and_are_never_skipped(seed in 0u64..4, flip: prop::sample::Index, bit in 0u8..8) {
        let mut sample = sample(seed);
        let mut state = State::default();
        let (mut position, mut head) = (Position::default(), 0);
        let first = sample.batch(ROLLUP, TIME, draw(4, 0));
        let mut run = |state: &mut State, batch: &Batch| {
            let executed = batch::execute(state, batch).unwrap();
            let sharded = shards(batch, &executed, SHAPE, 4).unwrap();
            accepted(batch, &executed, &sharded, &mut head)
        };
        let mut executed = State::default();
        let log = run(&mut executed, &first);
        derive::derive(&mut state, &mut position, &log).unwrap();
        let second = sample.batch(ROLLUP, TIME, draw(2, 12));
        let log = run(&mut executed, &second);
        let root = state.root();
        // A bit of A or B is another batch, which does not lead to the same root, or is none.
        let mut changed = log.clone();
        let place = flip.index(log.data_a.len() + log.data_b.len());
        match place.checked_sub(log.data_a.len()) {
            None => changed.data_a[place] ^= 1 << bit,
            Some(place) => changed.data_b[place] ^= 1 << bit,
        }
        let before = position;
        if derive::derive(&mut state, &mut position, &changed).is_err() {
            prop_assert_eq!((state.root(), position), (root, before));
            derive::derive(&mut state, &mut position, &log).unwrap();
        } else {
            // The address of a code that is not 0, or a depositor's, is not the state's: L1's queue binds it.
            prop_assert!(place < log.data_a.len());
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = vec![2];
        versioned.extend(&bytes);
        for bytes in [&bytes, &versioned] {
            let _ = Batch::from_bytes(bytes);
            let _ = ShardInput::from_bytes(bytes);
            let _ = derive::replay(&State::default(), bytes, bytes);
        }
        let whole = &bytes[..bytes.len() / 62 * 62];
        if let Ok(groups) = stream::groups(whole) {
            prop_assert_eq!(stream::posted_b(&groups), whole);
        }
        let whole = &bytes[..bytes.len() / 124 * 124];
        if let Ok(records) = stream::records(whole) {
            prop_assert_eq!(stream::posted_a(&records), whole);
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let mut sample = sample(9);
    let batch = sample.batch(ROLLUP, TIME, draw(3, 1));
    let executed = batch::execute(&mut State::default(), &batch).unwrap();
    let cut = |shape, children| shards(&batch, &executed, shape, children);
    assert_eq!(
        cut(SHAPE, 2),
        Err(ShardsError::TooManyShards {
            needed: 3,
            children: 2
        })
    );
    assert_eq!(cut(SHAPE, 3).unwrap().shards.len(), 3);
    for (places, rooms) in [(0, 0), (5, 0), (5, 2), (7, 1), (1 << 20, 1)] {
        assert!(matches!(
            cut(Shape { places, rooms }, 3),
            Err(ShardsError::Shape(_))
        ));
    }
}

#[test]
fn streams_are_read_strictly() {
    let group = stream::Group {
        flag: true,
        words: [0; 5],
    };
    let bytes = stream::posted_b(&[group, stream::Group::default()]);
    assert_eq!(bytes.len(), 62);
    assert_eq!(stream::groups(&bytes), Ok(vec![group]));
    let mut longer = bytes.clone();
    longer.extend([0; 62]);
    assert_eq!(
        stream::groups(&longer),
        Err(stream::PostedError::EndsInZeros { bytes: 124 })
    );
    assert_eq!(
        stream::groups(&bytes[..61]),
        Err(stream::PostedError::GroupsNotWhole { bytes: 61 })
    );
    assert_eq!(
        stream::records(&bytes),
        Err(stream::PostedError::RecordsNotWhole { bytes: 62 })
    );
    assert_eq!(
        derive::replay(&State::default(), &[], &bytes),
        Err(Fault::RecordMissing {
            at: derive::At::Group(0),
            record: 0
        })
    );
    assert!(matches!(
        stream::records(&[0; 124]),
        Err(stream::PostedError::Record { record: 0, .. })
    ));
    assert_eq!(State::default().get(AccountIndex::NONE), None);
}
