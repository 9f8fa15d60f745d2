//! Everything that users, operators and strangers do with the contract, through the client, on an anvil.

mod world;

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall,
};
use rules::{
    account::{AccountIndex, TokenId},
    amount::{Amount, Fee},
    operation::{Expiry, Operation, Transfer, Withdrawal},
    record::Kind,
};
use verifier_contracts::{
    events::{Event, Role},
    l1::{Call, Deployment, Following, L1, L1Error, Mode},
    replica::{Replica, Step, Watch},
    rollup::{IErc20, IRollup, Rejection},
    verifier::CompiledVerifier,
};
use world::{FEE_ADDRESS, STAND_INS, World, ether, key, queued, wei};

alloy::sol! {
    /// Of the stand-in `Token`.
    function mint(address to, uint256 value) external;
}

const ETH: TokenId = TokenId(1);
const DAY_S: u64 = 86_400;

fn rejection(result: Result<impl std::fmt::Debug, L1Error>) -> Rejection {
    match result.expect_err("L1 must refuse") {
        L1Error::Rejected(rejection) => rejection,
        other => panic!("not refused by the contract: {other}"),
    }
}

async fn balance(token: Address, owner: Address, l1: &L1) -> U256 {
    let call = IErc20::balanceOfCall { owner };
    let answer = l1.call(token, call.abi_encode()).await.expect("a token");
    IErc20::balanceOfCall::abi_decode_returns(&answer).expect("a word")
}

/// A plain token, of which the user has 1,000.
async fn token(world: &World) -> Address {
    let code = CompiledVerifier::stand_in(&world.tools, STAND_INS, "Token").expect("compiles");
    let l1 = world.user.l1();
    let created = l1
        .transact(Call::create(code.code.creation))
        .await
        .expect("it is created");
    let token = created.contract_address.expect("a contract");
    let mint = mintCall {
        to: l1.account(),
        value: U256::from(1_000),
    };
    let minted = l1.transact(Call::new(token, mint.abi_encode())).await;
    minted.expect("it is minted");
    token
}

/// Follows until everything that L1 has now is told; returns the events.
async fn follow(replica: &mut Replica) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match replica.poll().await.expect("it is followed") {
            Some(Step::Event(event)) => events.push(event),
            Some(_) => {}
            None => return events,
        }
    }
}

async fn replica(world: &World, watch: Watch) -> Replica {
    let l1 = L1::reader(world.anvil.url()).expect("connects");
    let following = Following::new(world.operator.rollup(), 0);
    Replica::new(&l1, following, watch).await.expect("a rollup")
}

#[tokio::test]
async fn money_enters_moves_and_leaves() {
    let mut world = World::start().await;
    let (user, account) = (world.user.clone(), world.user.l1().account());
    let mut replica = replica(&world, Watch::Recipients([account].into())).await;
    assert_eq!(user.mode().await.expect("reads"), Mode::Normal);
    assert_eq!(user.queue_bounds().await.expect("reads"), (0, 1));
    assert_eq!(user.price(Kind::DepositNew).await.expect("reads"), U256::ZERO);
    let price = user.price(Kind::ForcedExit).await.expect("reads");
    let base_fee = user.l1().base_fee().await.expect("reads").max(100_000_000);
    assert_eq!(price, U256::from(30_000 * base_fee));
    let refused = rejection(user.price(Kind::Withdrawal).await);
    assert!(matches!(refused, Rejection::NoSuchKind { .. }));

    // ETH.
    let deposited = user
        .deposit_new(ETH, ether(10), &key(2).public())
        .await
        .expect("it enters");
    let mine = AccountIndex::new(1 << 32).expect("33 bits");
    assert_eq!((deposited.entry, deposited.record.index), (1, mine));
    assert_eq!(deposited.record.address, account.into_array());
    assert_eq!(user.escrow(ETH).await.expect("reads"), ether(10));
    let refused = rejection(user.deposit_new(TokenId(2), 5, &key(2).public()).await);
    assert_eq!(refused, Rejection::NoSuchToken { id: 2 });

    // A token.
    let token = token(&world).await;
    assert_eq!(user.token_id(token).await.expect("reads"), None);
    let added = user.add_token(token).await.expect("it enters");
    assert_eq!((added.id, added.entered.entry), (TokenId(2), 2));
    assert_eq!(user.token_at(added.id).await.expect("reads"), token);
    assert_eq!(user.token_id(token).await.expect("reads"), Some(added.id));
    assert_eq!(user.last_token().await.expect("reads"), added.id);
    let refused = rejection(user.add_token(token).await);
    assert_eq!(refused, Rejection::TokenKnown { id: 2 });
    let without_leave = user.deposit_new(added.id, 500, &key(2).public()).await;
    assert!(
        matches!(without_leave, Err(L1Error::Rejected(_))),
        "{without_leave:?}"
    );
    let mut approval = user
        .approval(added.id, 100)
        .await
        .expect("reads")
        .expect("it is needed");
    assert_eq!(user.approve(&approval).await.expect("it is given").len(), 1);
    approval = user
        .approval(added.id, 500)
        .await
        .expect("reads")
        .expect("it is too small");
    assert_eq!(user.approve(&approval).await.expect("it is given").len(), 2);
    assert_eq!(user.approval(added.id, 500).await.expect("reads"), None);
    assert_eq!(user.approval(ETH, ether(1)).await.expect("reads"), None);
    let tokens = user
        .deposit_new(added.id, 500, &key(2).public())
        .await
        .expect("it enters");
    assert_eq!(
        (tokens.record.amount, tokens.record.index.get()),
        (500, (1 << 32) + 1)
    );
    assert_eq!(balance(token, user.rollup(), user.l1()).await, U256::from(500));

    follow(&mut replica).await;
    assert_eq!(replica.waiting().count(), 4);
    let entries = vec![
        world.first_entry(),
        queued(&deposited.record),
        queued(&added.entered.record),
        queued(&tokens.record),
    ];
    world.submit(entries).await;
    assert_eq!(user.queue_bounds().await.expect("reads"), (4, 4));
    follow(&mut replica).await;
    assert_eq!(replica.waiting().count(), 0);
    assert_eq!(replica.state().root(), world.state.root());

    // A withdrawal, whose claim the replica knows; another's, which it does not.
    let fee = Fee::from_integer(20).expect("a fee");
    let transfer = Transfer {
        from: mine,
        to: AccountIndex::new(1).expect("33 bits"),
        amount: Amount::from_integer(1_000).expect("an amount"),
        fee,
        nonce: 0,
        expiry: Expiry::NEVER,
        token: ETH,
    };
    let receiver = *world.state.get(transfer.to).expect("the fee account");
    let transfer = transfer.sign(&key(2), &world.rollup_id, &receiver);
    let withdrawal = |from, nonce, amount, name, to: Address| {
        let withdrawal = Withdrawal {
            from,
            amount,
            fee,
            nonce,
            expiry: Expiry::NEVER,
            token: ETH,
        };
        Operation::Withdrawal(withdrawal.sign(&key(name), &world.rollup_id, &to.into_array()))
    };
    let operations = vec![
        Operation::Transfer(transfer),
        withdrawal(AccountIndex::new(1).expect("33 bits"), 0, 7, 1, FEE_ADDRESS),
        withdrawal(mine, 1, ether(3), 2, account),
    ];
    let accepted = world.submit(operations).await;
    assert_eq!((accepted.number, accepted.withdrawals), (1, 2));
    let root = user.withdrawals_root(1).await.expect("reads");
    assert!(root.is_some() && root == accepted.withdrawals_root);
    assert_eq!(user.withdrawals_root(0).await.expect("reads"), None);
    follow(&mut replica).await;
    let claims: Vec<_> = replica.claims().cloned().collect();
    let [claim] = &claims[..] else {
        panic!("{claims:?}")
    };
    assert_eq!(
        (claim.owed.batch, claim.owed.position, claim.owed.amount),
        (1, 1, ether(3))
    );
    assert!(!user.claimed(1, 1).await.expect("reads"));
    let before = user.l1().balance(account).await.expect("reads");
    let mut more = claim.owed;
    more.amount += 1;
    let refused = rejection(world.operator.claim(&more, &claim.siblings).await);
    assert_eq!(
        refused,
        Rejection::NotInTree {
            batch: 1,
            position: 1
        }
    );
    // Whoever asks, it is paid to its recipient.
    world
        .operator
        .claim(&claim.owed, &claim.siblings)
        .await
        .expect("it is paid");
    let after = user.l1().balance(account).await.expect("reads");
    assert_eq!(after - before, wei(ether(3)));
    assert!(user.claimed(1, 1).await.expect("reads"));
    let refused = rejection(user.claim(&claim.owed, &claim.siblings).await);
    assert_eq!(
        refused,
        Rejection::AlreadyPaid {
            batch: 1,
            position: 1
        }
    );
    follow(&mut replica).await;
    assert_eq!(replica.claims().count(), 0);

    // The account's L1 address alone takes key and money.
    let changed = user.change_key(mine, &key(3).public()).await.expect("it enters");
    let exit = user
        .force_exit(tokens.record.index, added.id)
        .await
        .expect("it enters");
    let stranger = world
        .operator
        .force_exit(mine, ETH)
        .await
        .expect("anybody may ask");
    assert!(world.operator.fees().await.expect("reads") >= price * U256::from(3));
    let entries = [changed, exit, stranger].map(|entered| queued(&entered.record));
    world.submit(entries.to_vec()).await;
    assert_eq!(world.state.get(mine).expect("it is there").owner, key(3).public());
    follow(&mut replica).await;
    let [claim] = &replica.claims().cloned().collect::<Vec<_>>()[..] else {
        panic!("one")
    };
    assert_eq!((claim.owed.token, claim.owed.amount), (added.id, 500));
    user.claim(&claim.owed, &claim.siblings)
        .await
        .expect("it is paid");
    assert_eq!(balance(token, account, user.l1()).await, U256::from(1_000));

    let fees = user.fees().await.expect("reads");
    user.collect_fees().await.expect("they are paid");
    assert_eq!(user.fees().await.expect("reads"), U256::ZERO);
    assert_eq!(user.l1().balance(FEE_ADDRESS).await.expect("reads"), fees);
    assert_eq!(rejection(user.collect_fees().await), Rejection::NothingToPay);
}

#[tokio::test]
async fn a_frozen_rollup_pays_everybody_back() {
    let mut world = World::start().await;
    let (user, account) = (world.user.clone(), world.user.l1().account());
    let mut replica = replica(&world, Watch::Nobody).await;
    let owner = key(2).public();
    let deposited = user.deposit_new(ETH, ether(10), &owner).await.expect("it enters");
    let mine = deposited.record.index;
    world
        .submit(vec![world.first_entry(), queued(&deposited.record)])
        .await;
    // It is never consumed.
    let late = user
        .deposit_to(ETH, ether(5), mine, account, &owner)
        .await
        .expect("it enters");
    let deadlines = user
        .deadlines(late.entry)
        .await
        .expect("reads")
        .expect("it waits");
    assert_eq!(
        user.slot(late.entry).await.expect("reads").time,
        deadlines.entered
    );
    assert_eq!(deadlines.due, deadlines.entered + DAY_S);
    assert_eq!(deadlines.freeze, deadlines.due + 14 * DAY_S);
    assert_eq!(user.deadlines(late.entry + 1).await.expect("reads"), None);
    let state = &world.state;
    let member = *state.get(mine).expect("it is there");
    let path = state.tree().path(mine);
    let refused = rejection(user.exit(mine, &member, &path).await);
    assert_eq!(refused, Rejection::NotFrozen);
    assert_eq!(
        rejection(user.refund(late.entry, &late.record).await),
        Rejection::NotFrozen
    );

    world.operator.l1().anvil_pass(DAY_S).await.expect("time passes");
    assert_eq!(user.mode().await.expect("reads"), Mode::Enforced);
    assert!(matches!(rejection(user.freeze().await), Rejection::NotYet { .. }));
    world
        .operator
        .l1()
        .anvil_pass(14 * DAY_S)
        .await
        .expect("time passes");
    let frozen = user.freeze().await.expect("it freezes");
    assert_eq!((frozen.batches, frozen.head), (1, late.entry));
    assert_eq!(frozen.root, world.state.root());
    assert_eq!(user.mode().await.expect("reads"), Mode::Frozen);
    assert_eq!(rejection(user.force_exit(mine, ETH).await), Rejection::IsFrozen);

    let mut richer = member;
    richer.balance += 1;
    let refused = rejection(user.exit(mine, &richer, &path).await);
    assert!(matches!(refused, Rejection::WrongLeaf { .. }));
    let left = world
        .operator
        .exit(mine, &member, &path)
        .await
        .expect("it leaves");
    assert_eq!((left.amount, left.recipient), (ether(10), account));
    assert!(user.exited(mine).await.expect("reads"));
    let refused = rejection(user.exit(mine, &member, &path).await);
    assert_eq!(refused, Rejection::AlreadyExited { index: mine.get() });

    let entry = late.entry;
    let mut more = late.record;
    more.amount += 1;
    assert_eq!(
        rejection(user.refund(entry, &more).await),
        Rejection::WrongEntry { entry }
    );
    let beyond = 1 << 40;
    let refused = rejection(user.refund(beyond, &late.record).await);
    assert_eq!(refused, Rejection::NotAnEntry { entry: beyond });
    user.refund(entry, &late.record).await.expect("it is paid back");
    assert!(user.refunded(entry).await.expect("reads"));
    let refused = rejection(user.refund(entry, &late.record).await);
    assert_eq!(refused, Rejection::AlreadyRefunded { entry });
    assert_eq!(user.escrow(ETH).await.expect("reads"), 0);

    let events = follow(&mut replica).await;
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Frozen { batches: 1, .. }))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Exited(left) if left.index == mine.get()))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Refunded(back) if back.entry == entry))
    );
}

#[tokio::test]
async fn roles_and_parameters_are_read_and_handed_on() {
    let world = World::start().await;
    let (operator, user) = (&world.operator, &world.user);
    let (first, second) = (operator.l1().account(), user.l1().account());
    let parameters = user.parameters().await.expect("reads");
    assert_eq!((parameters.due_after_s, parameters.silence_s), (DAY_S, DAY_S));
    assert_eq!(
        (parameters.freeze_after_s, parameters.delay_s),
        (14 * DAY_S, 46 * DAY_S)
    );
    assert_eq!((parameters.consumed_max, parameters.batch_age_s_max), (10, DAY_S));
    assert_eq!(parameters.token_price, wei(ether(1) / 2));
    assert_eq!(user.token_price().await.expect("reads"), parameters.token_price);
    assert_eq!(
        (parameters.fee_address, parameters.fee_key),
        (FEE_ADDRESS, key(1).public())
    );

    let refused = rejection(user.transfer_operator(second).await);
    assert_eq!(refused, Rejection::OnlyRole { caller: second });
    operator.transfer_operator(second).await.expect("it is named");
    let roles = user.roles().await.expect("reads");
    assert_eq!((roles.operator, roles.pending_operator), (first, second));
    user.accept_operator().await.expect("it is taken");
    let roles = user.roles().await.expect("reads");
    assert_eq!((roles.operator, roles.pending_operator), (second, Address::ZERO));
    assert_eq!((roles.governor, roles.guardian), (first, first));

    // What the guardian and the governor do has no methods of its own.
    operator
        .act(IRollup::pauseDepositsCall {})
        .await
        .expect("they are paused");
    let until = user.paused_until().await.expect("reads");
    let refused = rejection(user.deposit_new(ETH, 1, &key(2).public()).await);
    assert_eq!(refused, Rejection::DepositsArePaused { until });
    let [verifier] = &user.verifiers().await.expect("reads")[..] else {
        panic!("one")
    };
    let add = IRollup::addVerifierCall {
        addr: verifier.addr,
        vkDigest: verifier.vkDigest,
        gasCap: 500_000,
    };
    operator.act(add).await.expect("it is announced");
    operator
        .act(IRollup::cancelVerifierCall { id: 1 })
        .await
        .expect("it is taken back");
    assert_eq!(
        user.verifier_of(verifier.vkDigest).await.expect("it is in force"),
        0
    );
    operator
        .act(IRollup::disableVerifierCall { id: 0 })
        .await
        .expect("it is disabled");
    let none = user.verifier_of(verifier.vkDigest).await;
    assert!(matches!(none, Err(L1Error::NoVerifier { .. })), "{none:?}");

    let mut replica = replica(&world, Watch::Nobody).await;
    let events = follow(&mut replica).await;
    let role = Role::Operator;
    let (from, to) = (first, second);
    assert!(events.contains(&Event::RoleTransferStarted { role, from, to }));
    assert!(events.contains(&Event::RoleTransferred { role, from, to }));
    assert!(events.contains(&Event::DepositsPaused { until }));
    assert!(events.contains(&Event::VerifierDisabled { id: 0 }));
    let added = |event: &Event| matches!(event, Event::VerifierAdded(added) if added.id == 1 && added.gas_cap == 500_000);
    assert!(events.iter().any(added));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::VerifierRetired { id: 1, .. }))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::TokenAdded { id: TokenId(1), .. }))
    );
    // One who only reads can do nothing.
    let reader = L1::reader(world.anvil.url()).expect("connects");
    let reader = Deployment::at(&reader, user.rollup()).await.expect("it is there");
    let refused = reader.act(IRollup::freezeCall {}).await;
    assert!(matches!(refused, Err(L1Error::NoAccount)), "{refused:?}");
}
