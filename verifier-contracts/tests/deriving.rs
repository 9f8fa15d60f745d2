//! The state derived from L1's logs: through reorganisations, from snapshots, and never past what does not fit.

mod world;

use rules::{Fr, account::TokenId, derive::Fault, operation::Operation, snapshot};
use verifier_contracts::{
    l1::{FollowError, Following, L1},
    replica::{QueueFault, Replica, ReplicaError, Step, Watch},
};
use world::{World, ether, key, queued};

const ETH: TokenId = TokenId(1);

fn following(world: &World) -> Following {
    Following {
        settled_blocks: 3,
        ..Following::new(world.operator.rollup(), 0)
    }
}

async fn replica(world: &World) -> Replica {
    let l1 = L1::reader(world.anvil.url()).expect("connects");
    Replica::new(&l1, following(world), Watch::Everybody)
        .await
        .expect("a rollup")
}

/// Follows until everything that L1 has now is told. Returns how many batches were told and undone.
async fn follow(replica: &mut Replica) -> Result<(usize, usize), ReplicaError> {
    let (mut told, mut undone) = (0, 0);
    while let Some(step) = replica.poll().await? {
        match step {
            Step::Batch(_) => told += 1,
            Step::Undone { batches, .. } => undone += batches,
            Step::Event(_) | Step::Reached(_) => {}
        }
    }
    Ok((told, undone))
}

fn waiting(replica: &Replica) -> Vec<u64> {
    replica.waiting().map(|entry| entry.number).collect()
}

/// A deposit of 1 ETH by the user.
async fn deposit(world: &World) -> Operation {
    let entered = world.user.deposit_new(ETH, ether(10), &key(2).public()).await;
    queued(&entered.expect("it enters").record)
}

#[tokio::test]
async fn what_a_reorganisation_takes_back_is_undone_and_followed_anew() {
    let mut world = World::start().await;
    let mut replica = replica(&world).await;
    let first = deposit(&world).await;
    world.submit(vec![world.first_entry(), first]).await;
    assert_eq!(follow(&mut replica).await.expect("it is followed"), (1, 0));
    let kept = world.state.clone();
    assert_eq!(replica.state().root(), kept.root());

    // A batch that owes: whoever is no L1 address of the account gets the deposit back.
    let owner = key(2).public();
    let stranger = world.user.deposit_to(
        ETH,
        5,
        rules::account::AccountIndex::new(1 << 32).expect("33 bits"),
        alloy::primitives::Address::ZERO,
        &owner,
    );
    let refused = stranger.await.expect("it enters");
    let last = deposit(&world).await;
    world.submit(vec![queued(&refused.record)]).await;
    assert_eq!(follow(&mut replica).await.expect("it is followed"), (1, 0));
    let claims: Vec<_> = replica.claims().cloned().collect();
    assert_eq!(claims.len(), 1, "the deposit is owed to its depositor");
    assert_eq!(waiting(&replica), [3]);
    world
        .user
        .claim(&claims[0].owed, &claims[0].siblings)
        .await
        .expect("it is paid");
    follow(&mut replica).await.expect("it is followed");
    assert_eq!(replica.claims().count(), 0);

    // The payment, then the batch too.
    world.reorganise(1).await;
    assert_eq!(follow(&mut replica).await.expect("it is followed"), (0, 0));
    assert_eq!(replica.claims().cloned().collect::<Vec<_>>(), claims);
    world.reorganise(2).await;
    assert_eq!(follow(&mut replica).await.expect("it is followed"), (0, 1));
    assert_eq!(replica.claims().count(), 0);
    assert_eq!(replica.state().root(), kept.root());
    assert_eq!(replica.position().number, 1);
    assert_eq!(waiting(&replica), [2, 3]);

    // Other batches take their place.
    (world.state, world.batches) = (kept, 1);
    world.submit(vec![queued(&refused.record), last]).await;
    let (told, _) = follow(&mut replica).await.expect("it is followed");
    assert_eq!(told, 1);
    assert_eq!(replica.state().root(), world.state.root());
    assert!(waiting(&replica).is_empty());
}

#[tokio::test]
async fn a_snapshot_is_gone_on_from_and_one_of_something_else_refused() {
    let mut world = World::start().await;
    let mut first = replica(&world).await;
    let deposited = deposit(&world).await;
    world.submit(vec![world.first_entry(), deposited]).await;
    // They wait when the snapshot is taken, so whoever goes on from it did not see them enter.
    let unseen = [deposit(&world).await, deposit(&world).await];
    assert_eq!(first.header(), None, "nothing was reached");
    follow(&mut first).await.expect("it is followed");
    let mut file = Vec::new();
    assert!(first.write_snapshot(&mut file).expect("it is written"));
    let (header, state) = snapshot::read(&file[..]).expect("a snapshot");
    assert_eq!((header.batches, header.head), (1, 2));

    let l1 = L1::reader(world.anvil.url()).expect("connects");
    let resume =
        async |header, state| Replica::resume(&l1, following(&world), Watch::Nobody, (header, state)).await;
    let mut second = resume(header, state.clone()).await.expect("it is of this chain");
    for (field, other) in [
        ("rollup", {
            let mut other = header;
            other.rollup_id.chain_id += 1;
            other
        }),
        ("batches", snapshot::Header { batches: 2, ..header }),
        (
            "root",
            snapshot::Header {
                root: Fr::one(),
                ..header
            },
        ),
    ] {
        let refused = resume(other, state.clone()).await;
        assert!(
            matches!(refused, Err(ReplicaError::Snapshot { field: found, .. }) if found == field),
            "{refused:?}"
        );
    }
    let mut elsewhere = header;
    elsewhere.block.hash.0[0] ^= 1;
    let mut lost = resume(elsewhere, state.clone())
        .await
        .expect("only the chain tells");
    let lost = lost.next().await;
    assert!(
        matches!(lost, Err(ReplicaError::Follow(FollowError::TooDeep { .. }))),
        "{lost:?}"
    );

    let seen = deposit(&world).await;
    let [third, fourth] = unseen;
    world.submit(vec![third]).await;
    world.submit(vec![fourth, seen]).await;
    for replica in [&mut first, &mut second] {
        assert_eq!(follow(replica).await.expect("it is followed"), (2, 0));
        assert_eq!(replica.state().root(), world.state.root());
        assert!(waiting(replica).is_empty());
    }
    assert_eq!(first.header(), second.header());
}

/// The stand-in takes what no proof is of: the replica stops there, and says where.
#[tokio::test]
async fn a_batch_that_does_not_fit_is_never_passed() {
    let mut world = World::start().await;
    let deposited = deposit(&world).await;
    world.submit(vec![world.first_entry(), deposited]).await;
    let mut replica = replica(&world).await;
    assert_eq!(follow(&mut replica).await.expect("it is followed"), (1, 0));
    let root = replica.state().root();

    let mut wrong = world.make(vec![Operation::NoOp]).await;
    wrong.new_root = Fr::from(7);
    world
        .operator
        .submit_batch(&wrong)
        .await
        .expect("the stand-in takes it");
    for _ in 0..2 {
        let error = follow(&mut replica).await.expect_err("it leads elsewhere");
        let ReplicaError::Derive { reason, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(reason.batch, 1);
        assert!(matches!(*reason.fault, Fault::NewRoot { expected, .. } if expected == Fr::from(7)));
        assert_eq!(replica.state().root(), root);
        assert_eq!(replica.position().number, 1);
    }
    assert_eq!(replica.header(), None, "no snapshot of half a block");
}

#[test]
fn what_is_said_of_the_queue_names_batch_and_entry() {
    let fault = QueueFault::Missing { batch: 3, entry: 9 };
    assert_eq!(
        fault.to_string(),
        "batch 3 consumes entry 9, which did not enter (P-9.10)"
    );
}
