//! Properties of whole batches: value is conserved, paths chain, posted words rebuild the state, shards chain, and
//! encodings round-trip and refuse everything else.

use proptest::prelude::*;
use rules::account::TokenId;
use rules::batch::{self, Batch, BatchError, ReplayError, ShardsError};
use rules::format::FormatError;
use rules::genesis::Genesis;
use rules::operation::{RollupId, SignedTransfer};
use rules::sample::{Sample, SampleConfig};
use rules::state::State;
use rules::stream::{self, PostedError};
use rules::tree::root_of;
use rules::witness::{LeafUpdate, RunningState, ShardInput, StepWitness};
use rules::{Fr, eddsa};
use std::collections::BTreeMap;

const TIME: u64 = 1_800_000_000;
const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};

fn sample(seed: u64) -> Sample {
    Sample::new(SampleConfig {
        seed,
        users: 5,
        tokens: 3,
    })
}

fn supply(state: &State) -> BTreeMap<TokenId, u128> {
    let mut supply = BTreeMap::new();
    for (_, account) in state.accounts() {
        *supply.entry(account.token).or_default() += account.balance;
    }
    supply
}

fn update_root(update: &LeafUpdate, is_op: bool, after: bool) -> Fr {
    let account = if after { update.after } else { update.before };
    let leaf = if is_op { account.leaf() } else { Fr::zero() };
    root_of(update.index, leaf, &update.path)
}

/// Follows the three updates of a step from `root`; returns the root after it.
fn follow(step: &StepWitness, root: Fr) -> Fr {
    [&step.sender, &step.receiver, &step.fee]
        .into_iter()
        .fold(root, |root, update| {
            assert_eq!(update_root(update, step.is_op, false), root);
            update_root(update, step.is_op, true)
        })
}

fn executed(seed: u64, transfers: usize) -> (State, Batch, batch::Executed) {
    let mut sample = sample(seed);
    let mut state = sample.state().clone();
    let batch = sample.batch(ROLLUP, TIME, transfers);
    let executed = batch::execute(&mut state, &batch).expect("sample batches are valid");
    assert_eq!(state.root(), sample.state().root());
    (state, batch, executed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn value_is_conserved_and_paths_chain(seed: u64, transfers in 0usize..24) {
        let genesis = sample(seed).genesis().build().unwrap();
        let (state, batch, executed) = executed(seed, transfers);
        prop_assert_eq!(supply(&state), supply(&genesis));
        let mut root = genesis.root();
        for step in &executed.steps {
            root = follow(step, root);
            prop_assert_eq!(root, step.fee.root_after());
            prop_assert_eq!(step.sender.after.nonce, step.sender.before.nonce + 1);
        }
        prop_assert_eq!(root, batch.new_root);
        for (index, account) in &executed.touched {
            prop_assert_eq!(state.get(*index), Some(account));
        }
        let rebuilt = State::from_accounts(state.accounts().map(|(index, account)| (index, *account)));
        prop_assert_eq!(rebuilt.root(), state.root());
    }

    #[test]
    fn posted_words_alone_rebuild_the_state(seed: u64, transfers in 0usize..24) {
        let mut rebuilt = sample(seed).genesis().build().unwrap();
        let (state, _, executed) = executed(seed, transfers);
        prop_assert_eq!(executed.posted_b.len(), transfers.div_ceil(5) * 62);
        batch::replay_words(&mut rebuilt, &executed.posted_b).unwrap();
        prop_assert_eq!(rebuilt.root(), state.root());
        prop_assert!(rebuilt.accounts().eq(state.accounts()));
    }

    #[test]
    fn posted_words_alone_take_a_batch_back(seed: u64, transfers in 0usize..24) {
        let before = sample(seed).genesis().build().unwrap();
        let (state, _, executed) = executed(seed, transfers);
        let taken_back = batch::take_back_words(&state, BTreeMap::new(), &executed.posted_b).unwrap();
        let indices: Vec<_> = executed.touched.iter().map(|(index, _)| *index).collect();
        prop_assert!(taken_back.iter().map(|(index, _)| *index).eq(indices));
        for (index, account) in &taken_back {
            prop_assert_eq!(before.get(*index), Some(account));
        }
        let mut state = state;
        state.overwrite(&taken_back);
        prop_assert_eq!(state.root(), before.root());
    }

    #[test]
    fn shards_chain_and_pad(seed: u64, transfers in 0usize..24) {
        let (_, batch, executed) = executed(seed, transfers);
        let shards = batch::shards(&batch, &executed, 10, 4).unwrap();
        prop_assert_eq!(shards.len(), 4);
        let mut before = RunningState::initial(batch.old_root);
        let mut operations = 0;
        for shard in &shards {
            prop_assert_eq!(shard.before, before);
            prop_assert_eq!(shard.steps.len(), 10);
            prop_assert_eq!(shard.instances().len(), 17);
            let root = shard.steps.iter().fold(before.root, |root, step| follow(step, root));
            prop_assert_eq!(root, shard.after.root);
            operations += shard.steps.iter().filter(|step| step.is_op).count();
            before = shard.after;
        }
        prop_assert_eq!(operations, transfers);
        prop_assert_eq!(before.root, batch.new_root);
        let (c_a, x) = (before.c_a, shards[0].x);
        prop_assert_eq!((c_a, before.y_a, before.p_a), (Fr::zero(), Fr::zero(), Fr::one()));
        prop_assert_eq!(stream::evaluate_posted(&executed.posted_b, &x), Ok(before.y_b));
        let mode = stream::DaMode::Calldata;
        let derived = stream::derive_x(&ROLLUP, batch.number, mode, &c_a, &before.c_b, &[], &executed.posted_b);
        prop_assert_eq!(derived, x);
    }

    #[test]
    fn arbitrary_bytes_are_no_batch_and_no_shard(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        for bytes in [&bytes, &versioned] {
            let _ = Batch::from_bytes(bytes);
            let _ = ShardInput::from_bytes(bytes);
            let mut state = State::default();
            let _ = batch::replay_words(&mut state, bytes);
        }
    }

    #[test]
    fn changed_encodings_never_panic(position: prop::sample::Index, value: u8, seed in 0u64..4) {
        let (_, batch, executed) = executed(seed, 3);
        let mut bytes = batch.to_bytes();
        let place = position.index(bytes.len());
        bytes[place] = value;
        if let Ok(decoded) = Batch::from_bytes(&bytes) {
            let mut state = sample(seed).genesis().build().unwrap();
            let verdict = batch::execute(&mut state, &decoded);
            // The number, and a time before the expiry, are bound by the proof and by L1, not by execution.
            let unbound = Batch { number: batch.number, time: batch.time, ..decoded };
            prop_assert!(verdict.is_err() || unbound == batch);
        }
        let mut bytes = batch::shards(&batch, &executed, 5, 1).unwrap()[0].to_bytes();
        let place = position.index(bytes.len());
        bytes[place] = value;
        let _ = ShardInput::from_bytes(&bytes);
    }
}

#[test]
fn samples_exercise_what_they_promise() {
    let (_, batch, _) = executed(1, 400);
    let transfers = || batch.operations.iter().map(|operation| operation.transfer);
    assert!(
        transfers()
            .filter(|transfer| transfer.from == transfer.to)
            .count()
            > 20
    );
    assert!(transfers().any(|transfer| transfer.to.get() < 1 << 16));
    assert!(transfers().any(|transfer| transfer.from.get() < 1 << 16));
    assert!((1..=3).all(|token| transfers().any(|transfer| transfer.token == TokenId(token))));
    let mut again = sample(1);
    assert_eq!(again.batch(ROLLUP, TIME, 400), batch);
    let next = again.batch(ROLLUP, TIME + 1, 7);
    assert_eq!((next.number, next.old_root), (1, batch.new_root));
    let account = again.account(4, TokenId(3));
    assert_eq!(
        again.key(account).unwrap().public(),
        again.state().get(account).unwrap().owner
    );
}

#[test]
fn no_ops_satisfy_every_check_but_the_leaf() {
    let (state, ..) = executed(2, 3);
    let path = state.tree().path(rules::account::AccountIndex::NONE);
    let noop = StepWitness::noop(&path, &ROLLUP);
    assert_eq!(noop.operation, SignedTransfer::dummy(&ROLLUP));
    assert_eq!(noop.operation.word(), 0);
    let owner = noop.sender.before.owner;
    let message = noop.operation.message(&ROLLUP);
    assert_eq!(eddsa::verify(&owner, &message, &noop.operation.signature), Ok(()));
    assert_eq!((noop.sender.before.nonce, noop.sender.after.nonce), (0, 1));
    assert_eq!(noop.receiver.before, noop.receiver.after);
    assert_eq!(follow(&noop, state.root()), state.root());
}

#[test]
fn capacities_and_numbers_of_shards_are_checked() {
    let (_, batch, executed) = executed(3, 11);
    for capacity in [0, 3, 1 << 20] {
        let error = ShardsError::Capacity { capacity };
        assert_eq!(batch::shards(&batch, &executed, capacity, 4), Err(error));
    }
    let error = ShardsError::TooManyShards {
        needed: 3,
        children: 2,
    };
    assert_eq!(batch::shards(&batch, &executed, 5, 2), Err(error));
    assert_eq!(batch::shards(&batch, &executed, 5, 3).unwrap().len(), 3);
}

#[test]
fn x_depends_on_everything_it_binds() {
    let (c_a, c_b) = (Fr::from(1), Fr::from(2));
    let mode = stream::DaMode::Calldata;
    let x = |rollup: &RollupId, number, c_a: &Fr, c_b: &Fr, a: &[u8], b: &[u8]| {
        stream::derive_x(rollup, number, mode, c_a, c_b, a, b)
    };
    let other = RollupId {
        chain_id: 1,
        ..ROLLUP
    };
    let points = [
        x(&ROLLUP, 0, &c_a, &c_b, &[], &[]),
        x(&other, 0, &c_a, &c_b, &[], &[]),
        x(&ROLLUP, 1, &c_a, &c_b, &[], &[]),
        x(&ROLLUP, 0, &c_b, &c_b, &[], &[]),
        x(&ROLLUP, 0, &c_a, &c_a, &[], &[]),
        x(&ROLLUP, 0, &c_a, &c_b, &[0], &[]),
        x(&ROLLUP, 0, &c_a, &c_b, &[], &[0]),
    ];
    for (i, a) in points.iter().enumerate() {
        assert!(points[..i].iter().all(|b| a != b));
    }
}

fn version(name: &'static str, found: u8) -> FormatError {
    FormatError::Version {
        name,
        found,
        expected: 1,
    }
}

#[test]
fn batches_round_trip_in_both_encodings() {
    let (_, batch, _) = executed(4, 9);
    let bytes = batch.to_bytes();
    assert_eq!(bytes[0], batch::BATCH_VERSION);
    assert_eq!(Batch::from_bytes(&bytes), Ok(batch.clone()));
    assert_eq!(Batch::from_json(&batch.to_json()), Ok(batch.clone()));
    for end in 0..bytes.len() {
        assert!(
            matches!(
                Batch::from_bytes(&bytes[..end]),
                Err(BatchError::Format(FormatError::Malformed { .. }))
            ),
            "{end}"
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(
        Batch::from_bytes(&longer),
        Err(BatchError::Format(FormatError::Malformed { .. }))
    ));
    let mut other = bytes.clone();
    other[0] = 2;
    assert_eq!(
        Batch::from_bytes(&other),
        Err(BatchError::Format(version("batch", 2)))
    );
    let too_long = vec![1; batch::BATCH_BYTES_MAX + 1];
    assert!(matches!(
        Batch::from_bytes(&too_long),
        Err(BatchError::Format(FormatError::TooLong { .. }))
    ));
}

#[test]
fn json_values_out_of_range_are_refused() {
    let (_, batch, _) = executed(5, 1);
    let text = batch.to_json();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = [
        ("/batch/operations/0/transfer/from", serde_json::json!(1u64 << 33)),
        (
            "/batch/operations/0/transfer/expiry",
            serde_json::json!(1u64 << 40),
        ),
        ("/batch/operations/0/transfer/token", serde_json::json!(1 << 16)),
        ("/batch/operations/0/transfer/amount", serde_json::json!("524289")),
        ("/batch/operations/0/transfer/fee", serde_json::json!("17")),
        (
            "/batch/operations/0/transfer/nonce",
            serde_json::json!("18446744073709551616"),
        ),
        ("/batch/operations/0/transfer/nonce", serde_json::json!("-1")),
        (
            "/batch/operations/0/signature/r8/x",
            serde_json::json!(rules::field::modulus().to_string()),
        ),
        (
            "/batch/operations/0/signature/s",
            serde_json::json!(format!("0x1{}", "0".repeat(64))),
        ),
        ("/batch/rollup_id/contract", serde_json::json!("0x00")),
        ("/batch/old_root", serde_json::json!("0x")),
    ];
    for (pointer, wrong) in cases {
        let right = std::mem::replace(value.pointer_mut(pointer).expect(pointer), wrong);
        let verdict = Batch::from_json(&value.to_string());
        assert!(
            matches!(verdict, Err(BatchError::Format(FormatError::Malformed { .. }))),
            "{pointer}: {verdict:?}"
        );
        *value.pointer_mut(pointer).unwrap() = right;
    }
    assert_eq!(Batch::from_json(&value.to_string()), Ok(batch));
    assert!(matches!(
        Batch::from_json(&text.replacen("\"time\"", "\"tim\"", 1)),
        Err(BatchError::Format(FormatError::Malformed { .. }))
    ));
    let other = text.replacen("\"version\": 1", "\"version\": 9", 1);
    assert_eq!(
        Batch::from_json(&other),
        Err(BatchError::Format(version("batch", 9)))
    );
}

#[test]
fn shard_inputs_round_trip_and_refuse_the_rest() {
    let (_, batch, executed) = executed(6, 7);
    let shards = batch::shards(&batch, &executed, 5, 3).unwrap();
    for shard in &shards {
        assert_eq!(ShardInput::from_bytes(&shard.to_bytes()).as_ref(), Ok(shard));
    }
    let bytes = shards[0].to_bytes();
    for end in (0..bytes.len()).step_by(997) {
        assert!(matches!(
            ShardInput::from_bytes(&bytes[..end]),
            Err(FormatError::Malformed { .. })
        ));
    }
    let mut other = bytes.clone();
    other[0] = 0;
    assert_eq!(ShardInput::from_bytes(&other), Err(version("shard input", 0)));
    other = bytes;
    other.push(0);
    assert!(matches!(
        ShardInput::from_bytes(&other),
        Err(FormatError::Malformed { .. })
    ));
}

#[test]
fn replay_refuses_what_no_batch_posts() {
    let mut state = sample(7).genesis().build().unwrap();
    let root = state.root();
    let unknown = stream::posted_bytes(&[99_999]);
    let verdict = batch::replay_words(&mut state, &unknown);
    assert!(matches!(verdict, Err(ReplayError::Effect { position: 0, .. })));
    let non_canonical = stream::posted_bytes(&[0, 1 << 52]);
    let verdict = batch::replay_words(&mut state, &non_canonical);
    assert!(matches!(verdict, Err(ReplayError::Word { position: 1, .. })));
    assert_eq!(
        batch::replay_words(&mut state, &[0; 31]),
        Err(ReplayError::Posted(PostedError::NotWhole { bytes: 31 }))
    );
    assert_eq!(
        batch::replay_words(&mut state, &[0; 62]),
        Err(ReplayError::Posted(PostedError::EndsInZeros { bytes: 62 }))
    );
    assert_eq!(state.root(), root);
}

#[test]
fn what_cannot_have_led_to_a_state_is_not_taken_back() {
    let genesis = sample(7).genesis().build().unwrap();
    let (_, _, executed) = executed(7, 3);
    let taken_back = |words: &[u8]| batch::take_back_words(&genesis, BTreeMap::new(), words);
    // No account of the genesis has sent anything.
    assert_eq!(
        taken_back(&executed.posted_b),
        Err(ReplayError::NoStateBefore { position: 2 })
    );
    let unknown = taken_back(&stream::posted_bytes(&[99_999]));
    assert_eq!(unknown, Err(ReplayError::NoStateBefore { position: 0 }));
    let non_canonical = taken_back(&stream::posted_bytes(&[0, 1 << 52]));
    assert!(matches!(
        non_canonical,
        Err(ReplayError::Word { position: 1, .. })
    ));
    assert!(matches!(taken_back(&[0; 31]), Err(ReplayError::Posted(_))));
}

#[test]
fn sample_genesis_round_trips() {
    let genesis = sample(8).genesis().clone();
    assert_eq!(Genesis::from_json(&genesis.to_json()), Ok(genesis));
}
