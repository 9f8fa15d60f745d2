//! Users, operator and strangers act at random on the contract; after every action L1's rules, two machines of L2's rules and the state
//! that follows from L1's logs agree. `ACTIONS_SEED` and `ACTIONS` replay a run, or draw another.

mod chain;
mod l2;
mod world;

use verifier_contracts::tools::Tools;
use world::World;

/// Actions of a run.
const ACTIONS: usize = 10_000;
/// Actions after which the contract's books are read.
const AUDIT: usize = 100;
const SEED: u64 = 1;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[tokio::test]
async fn contract_machine_and_follower_agree_after_every_action() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let seed = number("ACTIONS_SEED").unwrap_or(SEED);
    let actions = number("ACTIONS").map_or(ACTIONS, |actions| actions as usize);
    eprintln!("ACTIONS_SEED={seed} ACTIONS={actions}");
    let mut world = World::new(&tools, seed).await;
    let mut audited = 0;
    while world.actions() < actions {
        world.act().await;
        if world.actions() / AUDIT > audited {
            audited = world.actions() / AUDIT;
            world.audit().await;
        }
    }
    world.end().await;
    eprintln!("{:?}\n{:?}", world.done, world.refusals);
    if actions < ACTIONS {
        return;
    }
    // What the run is for has happened.
    for name in [
        "deposit to a new account",
        "deposit to an account",
        "forced exit",
        "key change",
        "signed operation",
        "impossible operation",
        "batch",
        "batch of a stranger",
        "claim",
        "fees",
        "reorganisation",
        "exit",
        "refund",
        "refused",
    ] {
        assert!(
            world.done.get(name).is_some_and(|count| *count > 3),
            "{name}: {:?}",
            world.done
        );
    }
    for name in [
        "AlreadyPaid",
        "BadIndex",
        "BadKey",
        "EntryDue",
        "NoAmount",
        "NoSuchToken",
        "NotInTree",
        "OnlyOperator",
        "PriceNotPaid",
        "ProofRejected",
        "QueueMismatch",
        "TimeInFuture",
        "WrongBatchNumber",
        "WrongOldRoot",
    ] {
        assert!(world.refusals.contains_key(name), "{name}: {:?}", world.refusals);
    }
}
