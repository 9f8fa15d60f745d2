//! Batches looked at before they are sent: each reason why L1 would not take one is named, and nothing is paid for it. A verifier that accepts
//! everything stands in for proofs.

mod world;

use std::time::Duration;

use alloy::{
    primitives::{Address, B256, Bytes},
    providers::Provider,
};
use rules::{
    Fr,
    account::{AccountIndex, TokenId},
    operation::Operation,
    outbox,
    record::Kind,
    stream,
};
use serde_json::{Value, json};
use verifier_contracts::{
    l1::{Deployment, L1, L1Error, Limits, Obstacle, ProvenBatch, Sending, Settled, Standing},
    rollup::{IRollup, Rejection, RootSubmission},
};
use world::{World, ether, key, queued};

const DAY_S: u64 = 86_400;
/// What the client leaves for a transaction.
const MARGIN_S: u64 = 120;
const ETH: TokenId = TokenId(1);

/// A batch as the coordinator would hand it over.
fn proven(world: &World, submission: RootSubmission) -> ProvenBatch {
    ProvenBatch {
        rollup_id: world.rollup_id,
        // What the stand-in answers, which is in its code.
        key_digest: B256::left_padding_from(&[0x5a, 0xfe]),
        submission,
    }
}

async fn obstacle(deployment: &Deployment, batch: &ProvenBatch) -> Obstacle {
    deployment.examine(batch).await.expect_err("L1 would not take it")
}

/// Which the contract alone finds.
async fn rejection(deployment: &Deployment, batch: &ProvenBatch) -> Rejection {
    match obstacle(deployment, batch).await {
        Obstacle::L1(L1Error::Rejected(rejection)) => rejection,
        other => panic!("{other}"),
    }
}

async fn nonce(deployment: &Deployment, world: &World) -> u64 {
    let account = deployment.l1().account();
    world.rpc().get_transaction_count(account).await.expect("a nonce")
}

async fn ask(world: &World, method: &'static str, params: Value) {
    let _: Value = world
        .rpc()
        .raw_request(method.into(), params)
        .await
        .expect("anvil does it");
}

#[tokio::test]
async fn a_batch_is_taken_once_and_found_again() {
    let mut world = World::start().await;
    let first = world.first_entry();
    let submission = world.make(vec![first]).await;
    let batch = proven(&world, submission);
    let standing = world.operator.examine(&batch).await.expect("it is the next");
    assert_eq!(standing, Standing::Next(Box::new(batch.submission.clone())));
    let settled = world.operator.settle(&batch).await.expect("L1 takes it");
    let Settled::Now(accepted) = &settled else {
        panic!("{settled:?}")
    };
    assert_eq!(settled.new_root(), world.state.root());
    let before = nonce(&world.operator, &world).await;
    let again = world.operator.settle(&batch).await.expect("it is there");
    let Settled::Before(on_l1) = &again else {
        panic!("{again:?}")
    };
    assert_eq!(on_l1.done, settled.done());
    assert_eq!(
        (on_l1.accepted.number, on_l1.accepted.submitter),
        (0, world.operator.l1().account())
    );
    assert_eq!(accepted.transaction, on_l1.done.transaction);
    // Later batches make it no other.
    let next = world.make(vec![Operation::NoOp]).await;
    let next = proven(&world, next);
    world.operator.settle(&next).await.expect("L1 takes it");
    let again = world
        .user
        .settle(&batch)
        .await
        .expect("it is there, whoever asks");
    assert_eq!(again.done(), settled.done());
    assert_eq!(nonce(&world.operator, &world).await, before + 1);

    // Another batch under the number, and one that is ahead.
    let mut other = batch.clone();
    other.submission.new_root += Fr::one();
    let told = obstacle(&world.operator, &other).await;
    let roots =
        [batch.submission.new_root, other.submission.new_root].map(|root| rules::field::to_hex(&root));
    assert!(matches!(told, Obstacle::Other { number: 0, .. }) && told.is_for_ever());
    assert!(roots.iter().all(|root| told.to_string().contains(root)), "{told}");
    let mut ahead = next.clone();
    ahead.submission.number = 3;
    let told = obstacle(&world.operator, &ahead).await;
    assert!(matches!(told, Obstacle::Ahead { number: 3, next: 2 }), "{told}");
    assert!(!told.is_for_ever() && !told.may_pass());
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_named_before_anything_is_sent() {
    let mut world = World::start().await;
    let first = world.first_entry();
    let submission = world.make(vec![first]).await;
    let honest = proven(&world, submission);
    let (operator, user) = (world.operator.clone(), world.user.clone());
    let before = nonce(&operator, &world).await;

    let with = |change: fn(&mut ProvenBatch)| {
        let mut batch = honest.clone();
        change(&mut batch);
        batch
    };
    let chain = obstacle(&operator, &with(|batch| batch.rollup_id.chain_id = 1)).await;
    assert!(
        matches!(
            chain,
            Obstacle::Chain {
                expected: 31_337,
                found: 1
            }
        ),
        "{chain}"
    );
    let contract = obstacle(&operator, &with(|batch| batch.rollup_id.contract = [7; 20])).await;
    assert!(
        matches!(contract, Obstacle::Contract { found, .. } if found == Address::repeat_byte(7)),
        "{contract}"
    );
    let root = obstacle(&operator, &with(|batch| batch.submission.old_root += Fr::one())).await;
    assert!(
        matches!(root, Obstacle::OldRoot { number: 0, .. }) && root.is_for_ever(),
        "{root}"
    );
    let key = obstacle(&operator, &with(|batch| batch.key_digest = B256::repeat_byte(9))).await;
    assert!(
        matches!(&key, Obstacle::NoVerifier { registered: 1, made, .. } if made.is_empty()),
        "{key}"
    );
    let records = obstacle(&operator, &with(|batch| batch.submission.data_a.push(0))).await;
    assert!(matches!(records, Obstacle::DataA(_)), "{records}");
    // The amount of a deposit: its record is not the one that waits.
    let entry = obstacle(
        &operator,
        &with(|batch| {
            let mut records = stream::records(&batch.submission.data_a).expect("it has one");
            records[0].amount = 1;
            batch.submission.data_a = stream::posted_a(&records);
        }),
    )
    .await;
    assert!(
        matches!(entry, Obstacle::Entry { entry: 0, .. }) && entry.is_for_ever(),
        "{entry}"
    );
    let twice = obstacle(
        &operator,
        &with(|batch| {
            let record = batch.submission.data_a.clone();
            batch.submission.data_a.extend(record);
        }),
    )
    .await;
    assert!(
        matches!(
            twice,
            Obstacle::BeyondTail {
                consumed: 2,
                pending: 1
            }
        ),
        "{twice}"
    );
    let proof = obstacle(
        &operator,
        &with(|batch| batch.submission.proof = vec![1; (1 << 14) + 1]),
    )
    .await;
    assert!(matches!(proof, Obstacle::ProofTooLong { .. }), "{proof}");
    // The last group is zero, which only the contract looks at.
    let zeros = rejection(&operator, &with(|batch| batch.submission.data_b = vec![0; 62])).await;
    assert!(matches!(zeros, Rejection::DataBEndsInZeros { .. }), "{zeros}");

    let stranger = obstacle(&user, &honest).await;
    assert!(
        matches!(stranger, Obstacle::NotOperator { account, operator: found, .. }
            if account == user.l1().account() && found == operator.l1().account()),
        "{stranger}"
    );
    assert!(!stranger.is_for_ever() && !stranger.may_pass());

    ask(&world, "evm_setBlockGasLimit", json!(["0xf00000"])).await;
    ask(&world, "evm_mine", json!([])).await;
    let gas = obstacle(&operator, &honest).await;
    assert!(
        matches!(gas, Obstacle::BlockGas { found: 0xf0_0000, .. }),
        "{gas}"
    );
    ask(&world, "evm_setBlockGasLimit", json!(["0x1c9c380"])).await;
    ask(&world, "evm_mine", json!([])).await;

    // A verifier whose code is another now.
    let verifier = operator.addresses().verifiers[0];
    let code = operator.l1().code(verifier).await.expect("code");
    ask(&world, "anvil_setCode", json!([verifier, Bytes::from(vec![0])])).await;
    let changed = rejection(&operator, &honest).await;
    assert!(
        matches!(changed, Rejection::VerifierChanged { id: 0, .. }),
        "{changed}"
    );
    ask(&world, "anvil_setCode", json!([verifier, code])).await;

    assert_eq!(nonce(&operator, &world).await, before, "nothing was sent");
    operator.settle(&honest).await.expect("L1 takes it as it was");
    operator
        .act(IRollup::disableVerifierCall { id: 0 })
        .await
        .expect("the guardian does it");
    let next = world.make(vec![Operation::NoOp]).await;
    let next = proven(&world, next);
    let disabled = obstacle(&operator, &next).await;
    assert!(
        matches!(&disabled, Obstacle::NoVerifier { made, .. } if made == &[0]),
        "{disabled}"
    );
}

#[tokio::test]
async fn a_batch_whose_time_or_entries_are_overdue_is_no_use() {
    let mut world = World::start().await;
    let first = world.first_entry();
    world.submit(vec![first]).await;
    let (operator, user) = (world.operator.clone(), world.user.clone());
    // So that the times below are after the first batch's.
    operator.l1().anvil_pass(1_000).await.expect("time passes");
    user.deposit_new(ETH, ether(1), &key(2).public())
        .await
        .expect("it enters");
    let empty = world.make(vec![Operation::NoOp]).await;
    let empty = proven(&world, empty);
    let mut early = empty.clone();
    early.submission.time = operator.last_batch_time().await.expect("reads") - 1;
    let told = obstacle(&operator, &early).await;
    assert!(
        matches!(told, Obstacle::BeforeLast { .. }) && told.is_for_ever(),
        "{told}"
    );
    let mut late = empty.clone();
    late.submission.time += DAY_S;
    let told = obstacle(&operator, &late).await;
    assert!(
        matches!(
            told,
            Obstacle::L1(L1Error::Rejected(Rejection::TimeInFuture { .. }))
        ) && told.may_pass(),
        "{told}"
    );

    // Up to the margin it is taken, one second later not any more.
    let now = operator.l1().block_time().await.expect("reads");
    operator
        .l1()
        .anvil_pass(empty.submission.time + DAY_S - MARGIN_S - now)
        .await
        .expect("time passes");
    let now = operator.l1().block_time().await.expect("reads");
    let mut at_margin = empty.clone();
    at_margin.submission.time = now + MARGIN_S - DAY_S;
    operator.examine(&at_margin).await.expect("it is young enough");
    at_margin.submission.time -= 1;
    let told = obstacle(&operator, &at_margin).await;
    assert!(
        matches!(told, Obstacle::TooOld { .. }) && told.is_for_ever(),
        "{told}"
    );

    // A day later the entry is due, and others may submit, who must consume it.
    operator.l1().anvil_pass(DAY_S).await.expect("time passes");
    let mut fresh = empty.clone();
    fresh.submission.time = operator.l1().block_time().await.expect("reads");
    let due = rejection(&operator, &fresh).await;
    assert!(matches!(due, Rejection::EntryDue { entry: 1, .. }), "{due}");
    let told = obstacle(&user, &fresh).await;
    assert!(matches!(told, Obstacle::ConsumesNothing { .. }), "{told}");

    let found = user.find_entries(&[0, 1], 0).await.expect("the logs have them");
    assert_eq!(found.iter().map(|entry| entry.number).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(found[1].record.kind, Kind::DepositNew);
    world.batches = 1;
    let serving = world.make(vec![queued(&found[1].record)]).await;
    let serving = proven(&world, serving);
    let settled = user.settle(&serving).await.expect("a stranger's is taken");
    assert!(matches!(settled, Settled::Now(_)));

    operator
        .force_exit(AccountIndex::new(1 << 32).expect("33 bits"), ETH)
        .await
        .expect("it enters");
    operator.l1().anvil_pass(15 * DAY_S).await.expect("time passes");
    user.freeze().await.expect("it freezes");
    let last = world.make(vec![Operation::NoOp]).await;
    let told = obstacle(&operator, &proven(&world, last)).await;
    assert!(matches!(told, Obstacle::Frozen), "{told}");
}

/// What an earlier run sent may be the very batch: another is not sent while it waits.
#[tokio::test]
async fn nothing_is_sent_while_a_transaction_of_the_account_waits() {
    let mut world = World::start().await;
    let first = world.first_entry();
    let submission = world.make(vec![first]).await;
    let batch = proven(&world, submission);
    ask(&world, "evm_setAutomine", json!([false])).await;
    let waiting = {
        let (operator, batch) = (world.operator.clone(), batch.clone());
        tokio::spawn(async move { operator.settle(&batch).await })
    };
    while world.operator.l1().waiting().await.expect("asks") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = world
        .operator
        .settle(&batch)
        .await
        .expect_err("one is on its way");
    assert!(
        matches!(told, Obstacle::Waiting { waiting: 1, .. }) && told.may_pass(),
        "{told}"
    );
    // Whoever stops waiting knows what was sent.
    waiting.abort();
    let _ = waiting.await;
    let unfinished = world.operator.l1().unfinished();
    let [unfinished] = &unfinished[..] else {
        panic!("{unfinished:?}")
    };
    ask(&world, "evm_mine", json!([])).await;
    let settled = world.operator.settle(&batch).await.expect("it is there");
    assert_eq!(unfinished.transactions, [settled.done().transaction]);
    assert!(matches!(settled, Settled::Before(_)));
    ask(&world, "evm_setAutomine", json!([true])).await;
    let next = world.make(vec![Operation::NoOp]).await;
    let next = proven(&world, next);
    world.operator.settle(&next).await.expect("L1 takes it");
    assert_eq!(
        world.operator.l1().unfinished(),
        [],
        "later nonces settle earlier ones"
    );
}

#[tokio::test]
async fn what_is_too_dear_may_pass_and_a_claim_needs_its_own_batch_alone() {
    let mut world = World::start().await;
    let user = world.user.clone();
    let first = world.first_entry();
    let entered = user
        .deposit_new(ETH, ether(10), &key(2).public())
        .await
        .expect("it enters");
    world.submit(vec![first, queued(&entered.record)]).await;
    let left = user
        .force_exit(entered.record.index, ETH)
        .await
        .expect("it enters");
    world.submit(vec![queued(&left.record)]).await;
    world.submit(vec![Operation::NoOp]).await;

    let claims = user.find_claims(1, 0).await.expect("reads").expect("a batch");
    let [claim] = &claims[..] else {
        panic!("{claims:?}")
    };
    assert_eq!((claim.owed.batch, claim.owed.amount), (1, ether(10)));
    let root = outbox::root_of(claim.owed.leaf(), &claim.siblings);
    assert_eq!(user.withdrawals_root(1).await.expect("reads"), Some(root));
    user.claim(&claim.owed, &claim.siblings)
        .await
        .expect("it is paid");
    assert_eq!(user.find_claims(2, 0).await.expect("reads"), Some(vec![]));
    assert_eq!(user.find_claims(3, 0).await.expect("reads"), None);
    assert_eq!(user.find_batch(3, 0).await.expect("reads"), None);

    let mut sending = Sending::default();
    sending.fees.fee_max = 1_000;
    let poor = L1::connect_with(
        world.anvil.url(),
        verifier_contracts::l1::ANVIL_KEY,
        &Limits::default(),
        sending,
    );
    let poor = Deployment::at(&poor.expect("connects"), world.operator.rollup())
        .await
        .expect("it is there");
    let next = world.make(vec![Operation::NoOp]).await;
    let told = poor.settle(&proven(&world, next)).await.expect_err("gas is dear");
    assert!(
        matches!(told, Obstacle::L1(L1Error::FeesAboveCap { .. })) && told.may_pass(),
        "{told}"
    );
}
