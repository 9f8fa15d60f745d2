//! A real root proof on a real anvil: accepted as it is, and refused by the exact error when anything differs.
//!
//! Refusals are asked by `eth_call`, acceptance is a transaction.

use std::{ops::Range, sync::LazyLock};

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::{Provider, ProviderBuilder},
    sol_types::SolCall,
};
use circuits::{plonk::Shape, preset::Preset};
use halo2curves::{bn256::Fq, ff::PrimeField};
use prover::fixtures::{self, FEE_ADDRESS, Fixture, ROLLUP_ID, TIME};
use rules::{
    Fr,
    gas::{ERROR_PER_MILLE, Posted},
    record::RECORD_BYTES,
    snapshot,
};
use serde_json::{Value, json};
use verifier_contracts::{
    anvil::Anvil,
    deployed::{self, Difference},
    l1::{self, ANVIL_KEY, Accepted, DeployConfig, Deployment, Following, L1, L1Error, Parts},
    replica::{Replica, Step, Watch},
    rollup::{self, Contracts, IRollup, IVerifier, Rejection, RootSubmission, to_u256},
    solc::{self, RUNTIME_BYTES_MAX},
    tools::Tools,
    verifier::{self, CompiledVerifier},
};

type Call = IRollup::submitBatchCall;

/// The private key of anvil's second account.
const SECOND_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// What takes long and never changes: the proof, and the compiled contracts.
struct Compiled {
    tools: Tools,
    fixture: Fixture,
    verifier: CompiledVerifier,
    contracts: Contracts,
    /// Of the key that the verifier is made from.
    shape: Shape,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let preset = Preset::by_name("tiny").expect("a preset");
    let fixture = fixtures::root_proof(preset).expect("the fixture's proof");
    let keys = fixtures::keys(preset).expect("the fixture's keys");
    let rendered = verifier::render(keys.verifying_keys());
    assert_eq!(
        rendered.proof_bytes,
        keys.verifying_keys().aggregation().proof_bytes()
    );
    let verifier = verifier::compile(&tools, rendered).expect("compiles");
    let contracts = rollup::compile(&tools).expect("compiles");
    Compiled {
        tools,
        fixture,
        verifier,
        contracts,
        shape: keys.verifying_keys().aggregation().shape.clone(),
    }
});

/// What was paid for the verifier's and the rollup contract's creation.
struct Gas {
    verifier: u64,
    rollup: u64,
}

/// A fresh anvil of the fixture's time with the contracts, the rollup at the fixture's address, and the true submission.
struct Stage {
    anvil: Anvil,
    fixture: &'static Fixture,
    verifier: &'static CompiledVerifier,
    deployment: Deployment,
    gas: Gas,
    submission: RootSubmission,
}

impl Stage {
    async fn set() -> Self {
        let Compiled {
            tools,
            fixture,
            verifier,
            contracts,
            ..
        } = &*COMPILED;
        // Some seconds later, for the batch that says it is of the second after its own.
        let anvil = Anvil::spawn_at(tools, TIME + 60).expect("anvil");
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
        // The fixture's contract is the account's second one, so that the verifier is another's.
        let second = L1::connect(anvil.url(), SECOND_KEY).expect("connects");
        let create = async |l1: &L1, code: &[u8]| {
            let created = l1.transact(l1::Call::create(code.to_vec())).await;
            let receipt = created.expect("it is created");
            (receipt.contract_address.expect("a contract"), receipt.gas_used)
        };
        let (poseidon, _) = create(&l1, &contracts.poseidon.creation).await;
        let (verifier_at, verifier_gas) = create(&second, &verifier.code.creation).await;
        let parts = Parts {
            poseidon,
            verifiers: vec![verifier_at],
        };
        let deployed = Deployment::deploy_over(&l1, contracts, &[verifier], parts, &config(&l1)).await;
        let (deployment, rollup_gas) = deployed.expect("deploys");
        assert_eq!(deployment.rollup().into_array(), ROLLUP_ID.contract);
        assert_eq!(l1.chain_id().await.expect("asks the chain"), ROLLUP_ID.chain_id);
        let id = deployment
            .verifier_of(verifier.vk_digest)
            .await
            .expect("it is there");
        let submission = RootSubmission::new(
            fixture.batch.number,
            id,
            &fixture.instances,
            fixture.posted_a.clone(),
            fixture.posted_b.clone(),
            fixture.proof.clone(),
        )
        .expect("17 instances");
        Self {
            anvil,
            fixture,
            verifier,
            deployment,
            gas: Gas {
                verifier: verifier_gas,
                rollup: rollup_gas,
            },
            submission,
        }
    }

    fn parts(&self) -> Parts {
        let addresses = self.deployment.addresses();
        Parts {
            poseidon: addresses.poseidon,
            verifiers: addresses.verifiers.clone(),
        }
    }

    /// The contract's reason to refuse the true submission after a change.
    async fn refusal(&self, change: impl FnOnce(&mut Call)) -> Rejection {
        let mut call = self.submission.to_call();
        change(&mut call);
        refusal(self.deployment.check(&call).await)
    }
}

fn refusal(result: Result<impl std::fmt::Debug, L1Error>) -> Rejection {
    match result.expect_err("L1 must refuse") {
        L1Error::Rejected(rejection) => rejection,
        other => panic!("not refused by the contract: {other}"),
    }
}

/// The first entry of the queue, which the fixture's batch consumes, makes this fee account.
fn config(l1: &L1) -> DeployConfig {
    DeployConfig::new(l1.account(), FEE_ADDRESS.into(), fixtures::fee_key())
}

fn change_word(call: &mut Call, word: usize, change: impl FnOnce(U256) -> U256) {
    let mut proof = call.proof.to_vec();
    let bytes = &mut proof[32 * word..][..32];
    let value = change(U256::from_be_slice(bytes));
    bytes.copy_from_slice(&value.to_be_bytes::<32>());
    call.proof = proof.into();
}

fn modulus() -> U256 {
    to_u256(&-Fr::one()) + U256::from(1)
}

/// Order of the field of the points' coordinates.
fn base_modulus() -> U256 {
    U256::from_le_bytes((-Fq::one()).to_repr()) + U256::from(1)
}

#[tokio::test]
async fn a_real_proof_moves_the_root_once() {
    let stage = Stage::set().await;
    let accepted = stage
        .deployment
        .submit_batch(&stage.submission)
        .await
        .expect("L1 accepts");
    let deployment = &stage.deployment;
    assert_eq!(
        deployment.state_root().await.expect("reads"),
        stage.fixture.batch.new_root
    );
    assert_eq!(deployment.next_batch_number().await.expect("reads"), 1);
    assert_eq!(accepted.new_root, stage.fixture.batch.new_root);
    assert_eq!((accepted.head, accepted.withdrawals), (1, 0));
    stage.check_costs(&accepted).await;
    stage.derive().await;

    // The same again, and the same under the next number.
    let replay = refusal(deployment.submit_batch(&stage.submission).await);
    assert_eq!(
        replay,
        Rejection::WrongBatchNumber {
            expected: 1,
            given: 0
        }
    );
    let expected = to_u256(&stage.fixture.batch.new_root);
    let given = to_u256(&stage.fixture.batch.old_root);
    let renumbered = stage.refusal(|call| call.header.number = 1).await;
    assert_eq!(renumbered, Rejection::WrongOldRoot { expected, given });
}

#[tokio::test]
async fn every_changed_instance_is_refused() {
    let stage = Stage::set().await;
    let one = U256::from(1);
    stage
        .deployment
        .check(&stage.submission.to_call())
        .await
        .expect("the true submission is accepted");
    for limb in 0..8 {
        // The limb stays one, but the point that it is part of leaves the curve.
        let rejection = stage.refusal(|call| call.header.accumulator[limb] ^= one).await;
        assert_eq!(rejection, Rejection::ProofRejected, "limb {limb}");
    }
    // Rollup id, x and evaluations are L1's own. T is bounded by P-9.4 and fixed by the proof; the verifier's number is in no instance.
    let rejection = stage.refusal(|call| call.header.time += 1).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let old = to_u256(&stage.submission.old_root);
    let rejection = stage.refusal(|call| call.header.oldRoot += one).await;
    assert_eq!(
        rejection,
        Rejection::WrongOldRoot {
            expected: old,
            given: old + one
        }
    );
    let rejection = stage.refusal(|call| call.header.newRoot += one).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let rejection = stage.refusal(|call| call.header.commitmentA += one).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let rejection = stage.refusal(|call| call.header.commitmentB += one).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let rejection = stage.refusal(|call| call.header.number += 1).await;
    assert_eq!(
        rejection,
        Rejection::WrongBatchNumber {
            expected: 0,
            given: 1
        }
    );
    let rejection = stage.refusal(|call| call.header.verifier += 1).await;
    assert_eq!(rejection, Rejection::NoSuchVerifier { id: 1 });
}

#[tokio::test]
async fn every_instance_plus_the_modulus_is_refused() {
    let stage = Stage::set().await;
    let r = modulus();
    for limb in 0..8 {
        let rejection = stage.refusal(|call| call.header.accumulator[limb] += r).await;
        assert_eq!(rejection, Rejection::ProofRejected, "limb {limb}");
    }
    let expected = to_u256(&stage.submission.old_root);
    let rejection = stage.refusal(|call| call.header.oldRoot += r).await;
    assert_eq!(
        rejection,
        Rejection::WrongOldRoot {
            expected,
            given: expected + r
        }
    );
    for change in [
        (|call| call.header.newRoot += modulus()) as fn(&mut Call),
        |call| call.header.commitmentA += modulus(),
        |call| call.header.commitmentB += modulus(),
    ] {
        assert_eq!(stage.refusal(change).await, Rejection::ProofRejected);
    }
}

/// It needs no caller that checks anything before.
#[tokio::test]
async fn the_verifier_alone_is_strict() {
    let stage = Stage::set().await;
    let rows: Vec<U256> = stage.fixture.instances.iter().map(to_u256).collect();
    let proof = &stage.fixture.proof;
    assert!(stage.verifies(&rows, proof).await);
    for row in 0..rows.len() {
        let mut changed = rows.clone();
        changed[row] += modulus();
        assert!(
            !stage.verifies(&changed, proof).await,
            "instance {row} plus the modulus"
        );
        changed[row] = rows[row] ^ U256::from(1);
        assert!(!stage.verifies(&changed, proof).await, "instance {row} changed");
    }
    assert!(!stage.verifies(&rows[1..], proof).await);
    assert!(!stage.verifies(&[&rows[..], &[U256::ZERO]].concat(), proof).await);
    assert!(!stage.verifies(&rows, &[&proof[..], &[0]].concat()).await);
    assert!(!stage.verifies(&rows, &[]).await);
}

#[tokio::test]
async fn every_changed_word_of_the_proof_is_refused() {
    let stage = Stage::set().await;
    let words = stage.fixture.proof.len() / 32;
    for word in 0..words {
        let rejection = stage
            .refusal(|call| change_word(call, word, |value| value ^ U256::from(1)))
            .await;
        assert_eq!(rejection, Rejection::ProofRejected, "word {word}");
    }
    println!("{words} words changed, each refused");
}

/// The other representatives of the proof's field elements, which would make a second proof of the same batch.
#[tokio::test]
async fn every_word_of_the_proof_plus_its_modulus_is_refused() {
    let stage = Stage::set().await;
    for word in 0..stage.fixture.proof.len() / 32 {
        let modulus = if stage.is_scalar(word) {
            modulus()
        } else {
            base_modulus()
        };
        let rejection = stage
            .refusal(|call| change_word(call, word, |value| value + modulus))
            .await;
        assert_eq!(rejection, Rejection::ProofRejected, "word {word}");
    }
}

/// Infinity has no coordinates; the precompiles write it as zeros, which the verifier must not take for a point.
#[tokio::test]
async fn a_point_at_infinity_in_the_proof_is_refused() {
    let stage = Stage::set().await;
    let points = stage.points();
    for word in points {
        let rejection = stage
            .refusal(|call| {
                change_word(call, word, |_| U256::ZERO);
                change_word(call, word + 1, |_| U256::ZERO);
            })
            .await;
        assert_eq!(rejection, Rejection::ProofRejected, "word {word}");
    }
}

#[tokio::test]
async fn a_proof_of_another_length_is_refused() {
    let stage = Stage::set().await;
    let length = stage.fixture.proof.len();
    for given in [0, 32, length - 32, length - 1, length + 1, length + 32] {
        let rejection = stage
            .refusal(|call| {
                let mut proof = call.proof.to_vec();
                proof.resize(given, 0);
                call.proof = proof.into();
            })
            .await;
        assert_eq!(rejection, Rejection::ProofRejected, "{given} bytes");
    }
}

#[tokio::test]
async fn other_data_is_refused() {
    let stage = Stage::set().await;
    let posted = stage.submission.data_b.clone();
    assert!(posted.len() >= 62);
    for byte in 0..posted.len() {
        let rejection = stage
            .refusal(|call| {
                let mut data = posted.clone();
                data[byte] ^= 1;
                call.dataB = data.into();
            })
            .await;
        assert_eq!(rejection, Rejection::ProofRejected, "byte {byte}");
    }
    // None, longer, swapped.
    let mut swapped = posted.clone();
    swapped.rotate_left(31);
    for data in [Vec::new(), posted.repeat(2), swapped] {
        let rejection = stage.refusal(|call| call.dataB = data.into()).await;
        assert_eq!(rejection, Rejection::ProofRejected);
    }
    // A byte less, an element less, an element more.
    for data in [&posted[1..], &posted[31..], &[&posted[..], &[0; 31]].concat()] {
        let data = Bytes::copy_from_slice(data);
        let length = U256::from(data.len());
        let rejection = stage.refusal(|call| call.dataB = data).await;
        assert_eq!(rejection, Rejection::DataBNotWhole { length });
    }
    // A group of zeros changes the point of evaluation, but not the polynomial.
    let padded = [&posted[..], &[0; 62]].concat();
    let length = U256::from(padded.len());
    let rejection = stage.refusal(|call| call.dataB = padded.into()).await;
    assert_eq!(rejection, Rejection::DataBEndsInZeros { length });
}

/// Each bit of a record belongs to the queue, to what L1 owes, or to the proof.
#[tokio::test]
async fn other_records_are_refused() {
    let stage = Stage::set().await;
    let posted = stage.submission.data_a.clone();
    assert!(posted.len() > RECORD_BYTES, "one of the queue's, and others");
    let mut found = [0; 3];
    for byte in 0..posted.len() {
        let rejection = stage
            .refusal(|call| {
                let mut data = posted.clone();
                data[byte] ^= 1;
                call.dataA = data.into();
            })
            .await;
        let what = match rejection {
            Rejection::QueueMismatch { .. } if byte < RECORD_BYTES => 0,
            Rejection::NoSuchKind { .. } | Rejection::BeyondTail { .. } => 1,
            Rejection::ProofRejected => 2,
            other => panic!("byte {byte}: {other}"),
        };
        found[what] += 1;
    }
    assert!(found[0] > 100 && found[2] > 200, "{found:?}");
    // Without the entry, without the others, in another order, with one more.
    let (entry, others) = posted.split_at(RECORD_BYTES);
    let rejection = stage.refusal(|call| call.dataA = others.to_vec().into()).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let rejection = stage.refusal(|call| call.dataA = entry.to_vec().into()).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let swapped = [others, entry].concat();
    let rejection = stage.refusal(|call| call.dataA = swapped.into()).await;
    assert_eq!(rejection, Rejection::ProofRejected);
    let twice = [entry, &posted].concat();
    let rejection = stage.refusal(|call| call.dataA = twice.into()).await;
    let (consumed, pending) = (U256::from(2), U256::from(1));
    assert_eq!(rejection, Rejection::BeyondTail { consumed, pending });
    let length = U256::from(posted.len() - 1);
    let rejection = stage
        .refusal(|call| call.dataA = posted[1..].to_vec().into())
        .await;
    assert_eq!(rejection, Rejection::DataANotWhole { length });
    let rejection = stage
        .refusal(|call| std::mem::swap(&mut call.dataA, &mut call.dataB))
        .await;
    let length = U256::from(stage.submission.data_b.len());
    assert_eq!(rejection, Rejection::DataANotWhole { length });
}

/// The contract at another address has another rollup id: the proof is worth nothing there (P-5.2).
#[tokio::test]
async fn the_proof_is_refused_by_another_rollup() {
    let stage = Stage::set().await;
    let contracts = &COMPILED.contracts;
    let l1 = stage.deployment.l1();
    let (other, _) = Deployment::deploy_over(l1, contracts, &[stage.verifier], stage.parts(), &config(l1))
        .await
        .expect("deploys");
    assert_eq!(
        refusal(other.submit_batch(&stage.submission).await),
        Rejection::ProofRejected
    );
    // Nor is it worth anything when it has become old.
    l1.anvil_pass(86_400).await.expect("time passes");
    let rejection = refusal(stage.deployment.submit_batch(&stage.submission).await);
    assert!(matches!(rejection, Rejection::BatchTooOld { given, .. } if given == stage.submission.time));
}

#[tokio::test]
async fn a_foreign_verifier_decides_for_itself_only() {
    let stage = Stage::set().await;
    let Compiled { tools, contracts, .. } = &*COMPILED;
    let l1 = stage.deployment.l1();
    let gas_cap = U256::from(config(l1).verifier_gas_cap);
    for (contract, expected) in [
        ("RejectsAll", Rejection::ProofRejected),
        ("BurnsAll", Rejection::VerifierOutOfGas { gas_cap }),
    ] {
        let source = include_str!("../test/StandIns.sol");
        let foreign = CompiledVerifier::stand_in(tools, source, contract).expect("compiles");
        let (other, _) = Deployment::deploy(l1, contracts, &[&foreign], &config(l1))
            .await
            .expect("deploys");
        assert_eq!(refusal(other.submit_batch(&stage.submission).await), expected);
    }
}

#[tokio::test]
async fn a_verifier_whose_code_is_gone_is_refused() {
    let stage = Stage::set().await;
    let verifier = stage.deployment.addresses().verifiers[0];
    let node = ProviderBuilder::new().connect_http(stage.anvil.url().parse().expect("a URL"));
    let _: () = node
        .raw_request("anvil_setCode".into(), (verifier, Bytes::new()))
        .await
        .expect("anvil does it");
    let rejection = refusal(stage.deployment.submit_batch(&stage.submission).await);
    let expected = keccak256(&stage.verifier.code.runtime);
    let (id, found) = (0, keccak256([]));
    assert_eq!(rejection, Rejection::VerifierChanged { id, expected, found });
}

#[tokio::test]
async fn a_genuine_deployment_is_told_from_every_other() {
    let stage = Stage::set().await;
    let (l1, addresses) = (stage.deployment.l1(), stage.deployment.addresses());
    let verifier_at = addresses.verifiers[0];
    let node = ProviderBuilder::new().connect_http(stage.anvil.url().parse().expect("a URL"));
    let set_code = async |at: Address, code: Vec<u8>| {
        let _: () = node
            .raw_request("anvil_setCode".into(), (at, Bytes::from(code)))
            .await
            .expect("anvil does it");
    };
    let compare_with = async |verifiers: &[&CompiledVerifier]| {
        deployed::compare(l1, addresses.rollup, verifiers, &COMPILED.contracts)
            .await
            .expect("the chain is read")
    };
    let compare = async || compare_with(&[stage.verifier]).await;
    let report = compare().await;
    assert_eq!(report.differences, vec![]);
    assert_eq!(report.verifiers.len(), 1);
    assert_eq!(report.verifiers[0].address, verifier_at);
    let chosen = ["dueAfter", "consumedMax"].map(|name| report.immutables[name]);
    assert_eq!(chosen, [U256::from(86_400), U256::from(1)]);

    // A verifier of other keys is one that those who compare do not know.
    let other = CompiledVerifier {
        vk_digest: B256::repeat_byte(7),
        ..stage.verifier.clone()
    };
    let unknown = Difference::OtherVerifier {
        id: 0,
        address: verifier_at,
        vk_digest: stage.verifier.vk_digest,
    };
    let missing_key = Difference::NoVerifier {
        vk_digest: other.vk_digest,
    };
    assert_eq!(
        compare_with(&[&other]).await.differences,
        vec![unknown, missing_key.clone()]
    );
    assert_eq!(
        compare_with(&[&other, stage.verifier]).await.differences,
        vec![missing_key]
    );

    // A byte of a part, its length, its absence.
    let differs = |contract, address, offset| Difference::Code {
        contract,
        address,
        offset,
        bytes: 1,
    };
    let missing = |contract, address| Difference::NoCode { contract, address };
    for (contract, address) in [("verifier", verifier_at), ("Poseidon", addresses.poseidon)] {
        let code = l1.code(address).await.expect("reads").to_vec();
        let mut other = code.clone();
        other[1_000] ^= 1;
        set_code(address, other).await;
        assert_eq!(
            compare().await.differences,
            vec![differs(contract, address, 1_000)]
        );
        set_code(address, code[1..].to_vec()).await;
        let length = Difference::Length {
            contract,
            address,
            expected: code.len(),
            found: code.len() - 1,
        };
        assert_eq!(compare().await.differences, vec![length]);
        set_code(address, vec![]).await;
        assert_eq!(compare().await.differences, vec![missing(contract, address)]);
        set_code(address, code).await;
    }

    // A byte of the rollup contract, and every immutable that follows from something.
    let rollup = l1.code(addresses.rollup).await.expect("reads").to_vec();
    let mut other = rollup.clone();
    other[20] ^= 1;
    set_code(addresses.rollup, other).await;
    assert_eq!(
        compare().await.differences,
        vec![differs("rollup", addresses.rollup, 20)]
    );
    let places = &COMPILED.contracts.rollup.immutables;
    for name in ["rollupId", "poseidonCodeHash"] {
        let mut other = rollup.clone();
        places[name].iter().for_each(|place| other[place.end - 1] ^= 1);
        set_code(addresses.rollup, other).await;
        let differences = compare().await.differences;
        assert!(
            matches!(differences[..], [Difference::Immutable { name: found, .. }] if found == name),
            "{differences:?}"
        );
    }
    let mut other = rollup.clone();
    assert!(
        places["dueAfter"].len() > 1,
        "an immutable that is read in several places"
    );
    other[places["dueAfter"][0].end - 1] ^= 1;
    set_code(addresses.rollup, other).await;
    let torn =
        |difference: &Difference| matches!(difference, Difference::Torn { name, .. } if name == "dueAfter");
    assert!(compare().await.differences.iter().any(torn));
    set_code(addresses.rollup, vec![]).await;
    assert_eq!(
        compare().await.differences,
        vec![missing("rollup", addresses.rollup)]
    );
}

/// What `export-verifier` writes is all that is needed to make the code again.
#[test]
fn the_compilers_input_makes_the_same_code_again() {
    let Compiled {
        tools,
        verifier,
        contracts,
        ..
    } = &*COMPILED;
    for (code, contract) in [
        (&verifier.code, "RootVerifier"),
        (&contracts.rollup, "Rollup"),
        (&contracts.poseidon, "Poseidon"),
    ] {
        let again = solc::compile_input(tools, code.input.clone(), &format!("{contract}.sol"), contract);
        let again = again.expect("compiles");
        assert_eq!(hex::encode(&again.creation), hex::encode(&code.creation));
        assert_eq!(hex::encode(&again.runtime), hex::encode(&code.runtime));
        assert_eq!(again.immutables, code.immutables);
    }
}

impl Stage {
    /// What a stranger derives from L1's logs alone, and goes on from in a snapshot.
    async fn derive(&self) {
        let l1 = L1::reader(self.anvil.url()).expect("connects");
        let following = Following::new(self.deployment.rollup(), 0);
        let mut replica = Replica::new(&l1, following.clone(), Watch::Everybody)
            .await
            .expect("a rollup");
        let mut batches = 0;
        loop {
            match replica.next().await.expect("it is followed") {
                Step::Batch(batch) => {
                    assert_eq!(batch.accepted.new_root, self.fixture.batch.new_root);
                    batches += 1;
                }
                Step::Reached(_) if batches == 1 => break,
                _ => {}
            }
        }
        assert_eq!(replica.state().root(), self.fixture.batch.new_root);
        assert_eq!((replica.waiting().count(), replica.claims().count()), (0, 0));
        let mut file = Vec::new();
        assert!(replica.write_snapshot(&mut file).expect("memory is written"));
        let snapshot = snapshot::read(&file[..]).expect("a snapshot");
        assert_eq!(
            (snapshot.0.batches, snapshot.0.time, snapshot.0.head),
            (1, TIME, 1)
        );
        let resumed = Replica::resume(&l1, following, Watch::Nobody, snapshot)
            .await
            .expect("it is of this chain");
        assert_eq!(resumed.state().root(), self.fixture.batch.new_root);
    }

    /// Whether a word of the proof is a field element, and not a coordinate.
    fn is_scalar(&self, word: usize) -> bool {
        self.scalars().contains(&word)
    }

    /// The words of the proof that are field elements.
    fn scalars(&self) -> Range<usize> {
        let shape = &COMPILED.shape;
        let first = 2 * (shape.points.total() - shape.points.opening);
        first..first + shape.scalars
    }

    /// The first word of each point of the proof.
    fn points(&self) -> impl Iterator<Item = usize> {
        let scalars = self.scalars();
        let after = (scalars.end..self.fixture.proof.len() / 32).step_by(2);
        (0..scalars.start).step_by(2).chain(after)
    }

    /// Whether the verifier alone accepts. It always answers.
    async fn verifies(&self, rows: &[U256], proof: &[u8]) -> bool {
        let to = self.deployment.addresses().verifiers[0];
        let call = IVerifier::verifyCall {
            proof: Bytes::copy_from_slice(proof),
            instances: rows.to_vec(),
        };
        let answer = self
            .deployment
            .l1()
            .call(to, call.abi_encode())
            .await
            .expect("it answers");
        match IVerifier::verifyCall::abi_decode_returns_validate(&answer).expect("a word") {
            word if word == U256::ZERO => false,
            word if word == U256::from(1) => true,
            word => panic!("neither 0 nor 1: {word}"),
        }
    }

    /// Gas of the verifier's call in a transaction, by the node's own trace.
    async fn verifier_gas(&self, transaction: B256) -> u64 {
        let node = ProviderBuilder::new().connect_http(self.anvil.url().parse().expect("a URL"));
        let options = json!({ "tracer": "callTracer" });
        let trace: Value = node
            .raw_request("debug_traceTransaction".into(), (transaction, options))
            .await
            .expect("anvil traces");
        let gas = trace["calls"][0]["gasUsed"]
            .as_str()
            .expect("the one call is the verifier's");
        u64::from_str_radix(gas.trim_start_matches("0x"), 16).expect("a number")
    }

    /// Compares what everything costs with the snapshot, and that with GAS.md.
    async fn check_costs(&self, accepted: &Accepted) {
        let fork = self.deployment.l1().anvil_hard_fork().await.expect("anvil says");
        let (code, proof) = (self.verifier.code.runtime.len(), self.fixture.proof.len());
        assert!(code <= RUNTIME_BYTES_MAX);
        let calldata = self.submission.to_call().abi_encode();
        assert_eq!(accepted.calldata_bytes, calldata.len());
        // Another proof has other zero bytes, each 12 gas cheaper than the rest. What the verifier computes is the same for all.
        let zeros = calldata.iter().filter(|byte| **byte == 0).count() as u64;
        let gas_max = accepted.gas_used + 12 * zeros;
        let posted = Posted::of(&self.submission.data_a, &self.submission.data_b).expect("streams");
        let apart = accepted.gas_used.abs_diff(posted.gas()) * 1_000;
        assert!(
            apart <= ERROR_PER_MILLE * accepted.gas_used,
            "{}, estimated {}",
            accepted.gas_used,
            posted.gas()
        );
        let verifier_gas = self.verifier_gas(accepted.transaction).await;
        let rollup_bytes = COMPILED.contracts.rollup.runtime.len();
        let costs = json!({
            "hard_fork": fork,
            "verifier": {
                "runtime_bytes": code,
                "deployment_gas": self.gas.verifier,
                "proof_bytes": proof,
                "call_gas": verifier_gas,
            },
            "rollup": {
                "runtime_bytes": rollup_bytes,
                "deployment_gas": self.gas.rollup,
            },
            "submit_batch": {
                "operations": self.fixture.batch.operations.len(),
                "data_bytes": self.submission.data_a.len() + self.submission.data_b.len(),
                "calldata_bytes": accepted.calldata_bytes,
                "gas_no_zero_byte_in_calldata": gas_max,
            },
        });
        golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/tiny.json", &costs);
        let figures = [
            code as u64,
            self.gas.verifier,
            proof as u64,
            verifier_gas,
            rollup_bytes as u64,
            self.gas.rollup,
            accepted.calldata_bytes as u64,
            gas_max,
        ];
        golden::quotes("verifier-contracts/GAS.md", figures.map(golden::thousands));
    }
}
