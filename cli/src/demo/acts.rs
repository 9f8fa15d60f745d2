//! What happens in the demo, act by act, and what is looked at after each step.

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall as _;
use anyhow::{Context, Result, bail, ensure};
use rules::account::{AccountIndex, USER_INDEX_MIN};
use rules::outbox::{Owed, Tree, owed};
use rules::record::{Kind, Record};
use verifier_contracts::l1::{Deployment, L1, Mode};
use verifier_contracts::rollup::{IErc20, RootSubmission};

use super::people::{ETH, People, Person};
use super::settle::{self, Compiled, TOKEN_SUPPLY};
use super::{Demo, Settled, Stage};

/// 0.001 ETH.
const MILLI_ETHER: u128 = 1_000_000_000_000_000;
/// The fee of the demo's operations.
const FEE: u128 = MILLI_ETHER / 1_000;
/// What Alice and Bob deposit.
const DEPOSIT: u128 = 5_000 * MILLI_ETHER;
/// What Bob gives Alice by a deposit to her account.
const GIFT: u128 = 250 * MILLI_ETHER;
/// What Dave is paid.
const WELCOME: u128 = 100 * MILLI_ETHER;
/// What Alice withdraws: no float, since a withdrawal's amount is exact.
const WITHDRAWN: u128 = 1_000 * MILLI_ETHER + 1;
/// The smallest amount of a transfer of the first act: what was deposited pays for far more of them than the demo makes.
const TRANSFER: u128 = 1_000;

/// The first act: deposits enter by L1's queue, and transfers between the accounts are proven and accepted.
pub async fn first(
    demo: &mut Demo<'_>,
    stage: &mut Stage,
    people: &mut People,
    transfers: usize,
) -> Result<()> {
    let step = demo.progress.step("deposit");
    deposit_ether(demo, stage, &mut people.alice).await?;
    // A batch of the smallest preset has room for one entry: there one account has to do.
    let has_room = demo.preset.queue_capacity() > 2;
    if has_room {
        deposit_ether(demo, stage, &mut people.bob).await?;
    }
    stage.take_entries().await?;
    demo.report.seconds.users += step.finish("").as_secs_f64();

    let step = demo.progress.step("sign transfers");
    let rollup_id = stage.rollup_id;
    for number in 0..transfers {
        let amount = TRANSFER * (1 + number as u128 % 9);
        let (alice, bob) = (&mut people.alice, &mut people.bob);
        let signed = match (has_room, number % 2) {
            (true, 0) => alice.pay(bob, amount, 0, &rollup_id)?,
            (true, _) => bob.pay(alice, amount, 0, &rollup_id)?,
            (false, _) => {
                let fee_account = people.operator.account();
                alice.pay_to(
                    AccountIndex::fee_account(ETH),
                    &fee_account,
                    amount,
                    0,
                    &rollup_id,
                )?
            }
        };
        stage.sequencer.add([signed]);
    }
    demo.report.seconds.sample += step.finish(&format!("{transfers} transfers")).as_secs_f64();
    demo.prove_all(stage, &people.operator).await?;
    Ok(())
}

async fn deposit_ether(demo: &mut Demo<'_>, stage: &Stage, person: &mut Person) -> Result<()> {
    let entered = person
        .at(&stage.deployment)
        .await?
        .deposit_new(ETH, DEPOSIT, &person.key.public())
        .await?;
    demo.gas("deposit of ETH to a new account", entered.done.gas_used);
    person.settle(entered.record.index, ETH);
    person.receive(entered.record.amount);
    Ok(())
}

/// The second act: a token and a newcomer come, money leaves, and nobody can be kept in.
pub async fn second(
    demo: &mut Demo<'_>,
    stage: &mut Stage,
    people: &mut People,
    compiled: &Compiled,
) -> Result<()> {
    let token = arrive(demo, stage, people, compiled).await?;
    let settled = demo.prove_all(stage, &people.operator).await?;
    look_at_arrivals(demo, stage, people)?;
    claim_withdrawal(demo, stage, people, &settled).await?;
    force_exit(demo, stage, people, token).await?;
    compare_state(demo, stage).await?;
    leave_frozen(demo, stage, people).await
}

/// A token, deposits of it and to an account that there is, another key for that account, a new account by a signature, a payment to it, and a withdrawal.
async fn arrive(
    demo: &mut Demo<'_>,
    stage: &mut Stage,
    people: &mut People,
    compiled: &Compiled,
) -> Result<Address> {
    let step = demo.progress.step("deposit a token, join");
    let People {
        alice,
        bob,
        carol,
        dave,
        ..
    } = people;
    let token = settle::deploy_token(carol, compiled).await?;
    let by_carol = carol.at(&stage.deployment).await?;
    let added = by_carol.add_token(token).await?;
    demo.gas("token added", added.entered.done.gas_used);
    if let Some(approval) = by_carol.approval(added.id, TOKEN_SUPPLY).await? {
        by_carol.approve(&approval).await?;
    }
    let entered = by_carol
        .deposit_new(added.id, TOKEN_SUPPLY, &carol.key.public())
        .await?;
    demo.gas("deposit of a token to a new account", entered.done.gas_used);
    carol.settle(entered.record.index, added.id);
    carol.receive(entered.record.amount);
    let by_bob = bob.at(&stage.deployment).await?;
    let (index, key) = (alice.index()?, alice.key.public());
    let entered = by_bob
        .deposit_to(ETH, GIFT, index, alice.l1.account(), &key)
        .await?;
    demo.gas("deposit of ETH to an account", entered.done.gas_used);
    alice.receive(entered.record.amount);
    // What Alice signs from here on, she signs with another key than she came with.
    let key = alice.another_key();
    let by_alice = alice.at(&stage.deployment).await?;
    let entered = by_alice.change_key(index, &key.public()).await?;
    demo.gas("key change", entered.done.gas_used);
    alice.key = key;
    stage.take_entries().await?;

    let rollup_id = stage.rollup_id;
    let free = AccountIndex::new(USER_INDEX_MIN)?;
    stage.sequencer.add([
        dave.join(free, ETH, &rollup_id),
        alice.pay(dave, WELCOME, FEE, &rollup_id)?,
        alice.withdraw(WITHDRAWN, FEE, &rollup_id)?,
    ]);
    demo.report.seconds.users += step.finish("").as_secs_f64();
    Ok(token)
}

/// The accounts as L1's logs alone make them are what their owners expect.
fn look_at_arrivals(demo: &mut Demo<'_>, stage: &Stage, people: &People) -> Result<()> {
    let is_there = |person: &Person| -> Result<bool> {
        let found = stage.derivation.state().get(person.index()?);
        Ok(found == Some(&person.account()))
    };
    let alice = stage.derivation.state().get(people.alice.index()?);
    demo.report.key_changed = alice.is_some_and(|account| account.owner == people.alice.key.public());
    demo.report.deposit_credited = is_there(&people.alice)? && is_there(&people.carol)?;
    demo.report.new_account_paid = is_there(&people.dave)? && people.dave.account().balance == WELCOME;
    Ok(())
}

/// Anybody claims what L1 owes Alice. It is paid to her, once.
async fn claim_withdrawal(
    demo: &mut Demo<'_>,
    stage: &Stage,
    people: &People,
    settled: &[Settled],
) -> Result<()> {
    let step = demo.progress.step("claim the withdrawal");
    let alice = people.alice.l1_address();
    let (owed, siblings) = find_owed(settled, |owed| owed.recipient == alice && owed.token == ETH)?;
    let before = people.alice.l1.balance(alice.into()).await?;
    let by_stranger = people.stranger.at(&stage.deployment).await?;
    let done = by_stranger.claim(&owed, &siblings).await?;
    demo.gas("claim of ETH", done.gas_used);
    let paid = people.alice.l1.balance(alice.into()).await? - before;
    let again = demo.refused("the same claim again", by_stranger.claim(&owed, &siblings).await)?;
    demo.report.withdrawal_claimed = paid == U256::from(WITHDRAWN) && again;
    demo.report.seconds.users += step.finish(&format!("{} gas", done.gas_used)).as_secs_f64();
    Ok(())
}

/// What L1 owes by these batches that is asked for, and its proof.
fn find_owed(
    settled: &[Settled],
    is_it: impl Fn(&Owed) -> bool,
) -> Result<(Owed, Vec<rules::digest::Digest>)> {
    for batch in settled {
        let all = owed(batch.number, &batch.records);
        if let Some(found) = all.iter().find(|owed| is_it(owed)) {
            let siblings = Tree::new(&all).siblings(found.position);
            return Ok((*found, siblings.context("it is one of the leaves")?));
        }
    }
    bail!("L1 owes nothing of what it should")
}

/// Carol asks L1 for her tokens, the operator leaves it out, and so a stranger proves and submits the batch.
async fn force_exit(demo: &mut Demo<'_>, stage: &mut Stage, people: &People, token: Address) -> Result<()> {
    let step = demo.progress.step("force an exit");
    let carol = &people.carol;
    let account = carol.account();
    let entered = carol
        .at(&stage.deployment)
        .await?
        .force_exit(carol.index()?, account.token)
        .await?;
    demo.gas("forced exit", entered.done.gas_used);
    stage.take_entries().await?;
    demo.report.seconds.users += step
        .finish(&format!("{} gas", entered.done.gas_used))
        .as_secs_f64();

    let by_stranger = people.stranger.at(&stage.deployment).await?;
    let censoring = stage.empty_batch().await?;
    demo.refused(
        "a stranger's batch while the operator does its duty",
        by_stranger.check(&censoring.to_call()).await,
    )?;
    let parameters = stage.deployment.parameters().await?;
    people.stranger.l1.anvil_pass(parameters.due_after_s).await?;
    let censored = demo.refused(
        "the operator's batch without the entry that is due",
        stage.deployment.check(&censoring.to_call()).await,
    )?;
    ensure!(
        by_stranger.mode().await? == Mode::Enforced,
        "an entry is due, and the rollup is not enforced"
    );
    let settled = demo.prove_all(stage, &people.stranger).await?;

    let step = demo.progress.step("claim the forced exit");
    let (owed, siblings) = find_owed(&settled, |owed| {
        owed.recipient == carol.l1_address() && owed.token == account.token
    })?;
    let served = settled.iter().flat_map(|batch| &batch.records);
    let is_exit = |record: &&Record| record.kind == Kind::ForcedExit && record.code == 0;
    let is_served = served.filter(is_exit).any(|record| record.amount == TOKEN_SUPPLY);
    let done = by_stranger.claim(&owed, &siblings).await?;
    demo.gas("claim of a token", done.gas_used);
    let has = token_balance(&carol.l1, token, carol.l1.account()).await?;
    demo.report.forced_exit_served = censored && is_served && has == U256::from(TOKEN_SUPPLY);
    demo.report.seconds.users += step.finish(&format!("{} gas", done.gas_used)).as_secs_f64();
    Ok(())
}

async fn token_balance(l1: &L1, token: Address, owner: Address) -> Result<U256> {
    let answer = l1
        .call(token, IErc20::balanceOfCall { owner }.abi_encode())
        .await?;
    Ok(IErc20::balanceOfCall::abi_decode_returns(&answer)?)
}

/// The state from L1's logs is the coordinator's, and that is the sequencer's.
async fn compare_state(demo: &mut Demo<'_>, stage: &Stage) -> Result<()> {
    let step = demo.progress.step("compare the derived state");
    let info = stage.client.info("").await?;
    let (header, derived) = (stage.derivation.header()?, stage.derivation.state());
    let is_root = info.head_root[..] == rules::field::to_be(&derived.root());
    let is_next = (info.next_batch_number, info.queue_head) == (header.batches, header.head);
    let same_accounts = derived.accounts().eq(stage.sequencer.state().accounts());
    demo.report.derived_state_equal = is_root && is_next && same_accounts;
    step.finish(&format!("{} accounts", derived.accounts().len()));
    Ok(())
}

/// The operator dies. Bob deposits, nobody serves him, anybody freezes, and everybody leaves with what L1 has.
async fn leave_frozen(demo: &mut Demo<'_>, stage: &mut Stage, people: &People) -> Result<()> {
    let step = demo.progress.step("freeze and leave");
    let People {
        alice, bob, stranger, ..
    } = people;
    let entered = bob
        .at(&stage.deployment)
        .await?
        .deposit_new(ETH, GIFT, &bob.key.public())
        .await?;
    let by_stranger = stranger.at(&stage.deployment).await?;
    demo.refused("a freeze before its time", by_stranger.freeze().await)?;
    let parameters = stage.deployment.parameters().await?;
    stranger
        .l1
        .anvil_pass(parameters.due_after_s + parameters.freeze_after_s)
        .await?;
    let frozen = by_stranger.freeze().await?;
    demo.gas("freeze", frozen.done.gas_used);

    let (index, state) = (alice.index()?, stage.derivation.state());
    let account = *state.get(index).context("Alice has an account")?;
    let path = state.tree().path(index);
    let before = alice.l1.balance(alice.l1.account()).await?;
    let left = by_stranger.exit(index, &account, &path).await?;
    demo.gas("exit by a proof", left.done.gas_used);
    let paid = alice.l1.balance(alice.l1.account()).await? - before;
    let again = demo.refused(
        "the same exit again",
        by_stranger.exit(index, &account, &path).await,
    )?;

    let before = bob.l1.balance(bob.l1.account()).await?;
    let done = by_stranger.refund(entered.entry, &entered.record).await?;
    demo.gas("refund", done.gas_used);
    let refunded = bob.l1.balance(bob.l1.account()).await? - before;
    demo.refused(
        "the same refund again",
        by_stranger.refund(entered.entry, &entered.record).await,
    )?;
    demo.report.exit_after_freeze_paid =
        paid == U256::from(account.balance) && account.balance > 0 && again && refunded == U256::from(GIFT);
    demo.report.seconds.users += step.finish(&format!("{} gas", left.done.gas_used)).as_secs_f64();
    Ok(())
}

impl Stage {
    /// What an operator would submit who consumes nothing. L1 looks at the queue before it looks at a proof, so there need not be one.
    async fn empty_batch(&self) -> Result<RootSubmission> {
        let deployment: &Deployment = &self.deployment;
        let root = deployment.state_root().await?;
        Ok(RootSubmission {
            number: deployment.next_batch_number().await?,
            verifier: self.verifier,
            time: deployment.last_batch_time().await?,
            old_root: root,
            new_root: root,
            commitment_a: rules::Fr::zero(),
            commitment_b: rules::Fr::zero(),
            accumulator: [rules::Fr::zero(); 8],
            data_a: Vec::new(),
            data_b: Vec::new(),
            proof: Vec::new(),
        })
    }
}
