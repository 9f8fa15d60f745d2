//! Proven batches that the rollup contract refuses as too old, and those that take their place: a real contract on anvil, with a
//! stand-in for the verifier that takes every proof.

use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, DeployConfig, Deployment, L1, L1Error},
    rollup::{self, Rejection, RootSubmission},
    tools::Tools,
    verifier::CompiledVerifier,
};

use rules::record::Record;

use super::{
    operator::{proof, prove_all, roll_back},
    *,
};

/// Oldest that a batch may be on L1, seconds: the least that the contract takes.
const AGE_MAX: u64 = 3_600;

/// The contract on a new anvil, over a verifier that takes every proof of these tests. Its queue begins with this entry, of a fee account.
async fn deploy(tools: &Tools, anvil: &Anvil, entry: &Record) -> Deployment {
    let source = include_str!("../../../../verifier-contracts/test/StandIns.sol");
    let verifier = CompiledVerifier::stand_in(tools, source, "AcceptsAll").expect("it compiles");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("it connects");
    let config = DeployConfig {
        batch_age_s_max: AGE_MAX,
        ..DeployConfig::new(l1.account(), entry.address.into(), entry.key())
    };
    let contracts = rollup::compile(tools).expect("it compiles");
    Deployment::deploy(&l1, &contracts, &[&verifier], &config)
        .await
        .expect("it deploys")
        .0
}

/// What L1 gets for a proven batch.
async fn submission(service: &Service, id: &str) -> RootSubmission {
    let proof = proof(service, id).await.expect("it is proven");
    let element = |bytes: &prost::bytes::Bytes| {
        field::from_be(&bytes[..].try_into().expect("32 bytes")).expect("canonical")
    };
    let instances: Vec<Fr> = proof.instances.iter().map(element).collect();
    let posted = (proof.posted_a.to_vec(), proof.posted_b.to_vec());
    RootSubmission::new(
        proof.batch_number,
        0,
        &instances,
        posted.0,
        posted.1,
        proof.proof.to_vec(),
    )
    .expect("17 instances")
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_l1_calls_too_old_are_rolled_back_and_fresh_ones_accepted() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let mut sample = Sample::new(SampleConfig {
        seed: 7,
        users: 4,
        tokens: 1,
    });
    // The fee account of ETH, which the constructor enters (P-12.9).
    let entry = match sample
        .clone()
        .batch(ROLLUP, TIME, draw(1, 0, Mix::All))
        .operations[..]
    {
        [Operation::Queued(queued)] => *queued.record(),
        ref others => panic!("{others:?}"),
    };
    let deployment = deploy(&tools, &anvil, &entry).await;
    let rollup_id = RollupId {
        chain_id: deployment.l1().chain_id().await.expect("it answers"),
        contract: deployment.addresses().rollup.into_array(),
    };
    let store = store();
    let service = Service::with(Config {
        rollup_id: Some(rollup_id),
        time_ahead_s_max: 10 * AGE_MAX,
        ..config(store.path())
    })
    .await;
    let mut fresh = sample.clone();
    let time = deployment.l1().block_time().await.expect("it answers");
    let draws = [draw(1, 5, Mix::All), draw(0, 3, Mix::All)];
    let [first, second] = draws.map(|draw| sample.batch(rollup_id, time, draw));
    let first = accepted(service.submit("a", &first).await).batch_id;
    let second = accepted(service.submit("b", &second).await).batch_id;
    prove_all(&service).await;

    // L1 gets them too late.
    deployment
        .l1()
        .anvil_pass(2 * AGE_MAX)
        .await
        .expect("it is an anvil");
    let late = deployment.submit_batch(&submission(&service, &first).await).await;
    assert!(
        matches!(&late, Err(L1Error::Rejected(Rejection::BatchTooOld { given, .. })) if *given == time),
        "{late:?}"
    );
    roll_back(&service, 0, &second).await.expect("it is the newest");
    let time = deployment.l1().block_time().await.expect("it answers");
    for (request, draw) in ["a", "b"].into_iter().zip(draws) {
        let batch = fresh.batch(rollup_id, time, draw);
        let id = accepted(service.submit(request, &batch).await).batch_id;
        prove_all(&service).await;
        let taken = deployment.submit_batch(&submission(&service, &id).await).await;
        assert_eq!(taken.expect("it is fresh").new_root, batch.new_root);
    }
    assert_eq!(deployment.next_batch_number().await.expect("it answers"), 2);
    service.stop().await;
}
