//! A real root proof on a real anvil: accepted as it is, and refused by the exact error when anything differs.
//!
//! Refusals are asked by `eth_call`, acceptance is a transaction.

use std::{ops::Range, sync::LazyLock};

use alloy::{
    primitives::{Address, Bytes, U256},
    providers::{Provider, ProviderBuilder},
    sol_types::SolCall,
};
use circuits::{plonk::Shape, preset::Preset};
use halo2curves::{bn256::Fq, ff::PrimeField};
use prover::fixtures::{self, Fixture, ROLLUP_ID};
use rules::Fr;
use serde_json::json;
use verifier_contracts::{
    anvil::Anvil,
    deployed::{self, Difference},
    l1::{ANVIL_KEY, Accepted, DeployConfig, DeployGas, Deployment, L1, L1Error},
    rollup::{self, IRollup, IVerifier, Rejection, RootSubmission, from_u256, to_u256},
    solc::{self, Code, RUNTIME_BYTES_MAX},
    tools::Tools,
    verifier::{self, CompiledVerifier},
};

type Call = IRollup::submitBatchCall;

/// What takes long and never changes: the proof, and the compiled contracts.
struct Compiled {
    tools: Tools,
    fixture: Fixture,
    verifier: CompiledVerifier,
    rollup: Code,
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
    let rollup = rollup::compile(&tools).expect("compiles");
    Compiled {
        tools,
        fixture,
        verifier,
        rollup,
        shape: keys.verifying_keys().aggregation().shape.clone(),
    }
});

/// A fresh anvil with the contracts at the fixture's address, and the true submission.
struct Stage {
    anvil: Anvil,
    fixture: &'static Fixture,
    verifier: &'static CompiledVerifier,
    deployment: Deployment,
    gas: DeployGas,
    submission: RootSubmission,
}

impl Stage {
    async fn set() -> Self {
        let Compiled {
            tools,
            fixture,
            verifier,
            rollup,
            ..
        } = &*COMPILED;
        let anvil = Anvil::spawn(tools).expect("anvil");
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
        let (deployment, gas) = Deployment::deploy(&l1, verifier, rollup, &patient(fixture))
            .await
            .expect("deploys");
        assert_eq!(deployment.addresses().rollup.into_array(), ROLLUP_ID.contract);
        assert_eq!(l1.chain_id().await.expect("asks the chain"), ROLLUP_ID.chain_id);
        let posted = fixture.posted_b.clone();
        let submission = RootSubmission::new(
            fixture.batch.number,
            &fixture.instances,
            vec![],
            posted,
            fixture.proof.clone(),
        )
        .expect("17 instances");
        Self {
            anvil,
            fixture,
            verifier,
            deployment,
            gas,
            submission,
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

/// The fixture's time is fixed, in the past, so its contract allows any age.
fn patient(fixture: &Fixture) -> DeployConfig {
    DeployConfig {
        batch_age_s_max: 1 << 40,
        ..DeployConfig::new(fixture.batch.old_root)
    }
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
    let rows = stage.instances().await;
    assert_eq!(
        rows, stage.fixture.instances,
        "L1 verifies against other instances than the prover"
    );
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
    stage.check_costs(&accepted).await;

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
    // Rollup id, x and evaluations are L1's own. T is bounded by P-9.4 and fixed by the proof.
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
        assert_eq!(rejection, Rejection::DataNotWhole { length });
    }
    // A group of zeros changes the point of evaluation, but not the polynomial.
    let padded = [&posted[..], &[0; 62]].concat();
    let length = U256::from(padded.len());
    let rejection = stage.refusal(|call| call.dataB = padded.into()).await;
    assert_eq!(rejection, Rejection::DataEndsInZeros { length });
    let rejection = stage
        .refusal(|call| std::mem::swap(&mut call.dataA, &mut call.dataB))
        .await;
    assert_eq!(
        rejection,
        Rejection::DataANotEmpty {
            length: U256::from(posted.len())
        }
    );
}

/// The contract at another address has another rollup id: the proof is worth nothing there (P-5.2).
#[tokio::test]
async fn the_proof_is_refused_by_another_rollup() {
    let stage = Stage::set().await;
    let rollup = &COMPILED.rollup;
    let l1 = stage.deployment.l1();
    let config = patient(stage.fixture);
    let verifier = stage.deployment.addresses().verifier;
    let code = stage.verifier;
    let (other, _) = Deployment::deploy_over(l1, verifier, code, rollup, &config)
        .await
        .expect("deploys");
    assert_eq!(
        refusal(other.submit_batch(&stage.submission).await),
        Rejection::ProofRejected
    );

    // And the fixture's age is refused by a contract with the maximum age of production.
    let config = DeployConfig::new(stage.fixture.batch.old_root);
    let (strict, _) = Deployment::deploy_over(l1, verifier, code, rollup, &config)
        .await
        .expect("deploys");
    let rejection = refusal(strict.submit_batch(&stage.submission).await);
    assert!(matches!(rejection, Rejection::BatchTooOld { given, .. } if given == stage.submission.time));
}

#[tokio::test]
async fn a_foreign_verifier_decides_for_itself_only() {
    let stage = Stage::set().await;
    let Compiled { tools, rollup, .. } = &*COMPILED;
    let l1 = stage.deployment.l1();
    let config = patient(stage.fixture);
    let gas_cap = U256::from(config.verifier_gas_cap);
    for (contract, expected) in [
        ("RejectsAll", Rejection::ProofRejected),
        ("RevertsAll", Rejection::ProofRejected),
        ("BurnsAll", Rejection::VerifierOutOfGas { gas_cap }),
    ] {
        let source = include_str!("../test/StandIns.sol");
        let foreign = CompiledVerifier::stand_in(tools, source, contract).expect("compiles");
        let (other, _) = Deployment::deploy(l1, &foreign, rollup, &config)
            .await
            .expect("deploys");
        assert_eq!(refusal(other.submit_batch(&stage.submission).await), expected);
    }
}

#[tokio::test]
async fn a_verifier_whose_code_is_gone_is_refused() {
    let stage = Stage::set().await;
    let verifier = stage.deployment.addresses().verifier;
    let node = ProviderBuilder::new().connect_http(stage.anvil.url().parse().expect("a URL"));
    let _: () = node
        .raw_request("anvil_setCode".into(), (verifier, Bytes::new()))
        .await
        .expect("anvil does it");
    let rejection = refusal(stage.deployment.submit_batch(&stage.submission).await);
    assert_eq!(rejection, Rejection::VerifierHasNoCode { verifier });
}

#[tokio::test]
async fn a_genuine_deployment_is_told_from_every_other() {
    let stage = Stage::set().await;
    let (l1, addresses) = (stage.deployment.l1(), stage.deployment.addresses());
    let node = ProviderBuilder::new().connect_http(stage.anvil.url().parse().expect("a URL"));
    let set_code = async |at: Address, code: Vec<u8>| {
        let _: () = node
            .raw_request("anvil_setCode".into(), (at, Bytes::from(code)))
            .await
            .expect("anvil does it");
    };
    let compare = async || {
        deployed::compare(l1, addresses.rollup, stage.verifier, &COMPILED.rollup)
            .await
            .expect("the chain is read")
    };
    let report = compare().await;
    assert_eq!(report.differences, vec![]);
    assert_eq!(report.verifier, Some(addresses.verifier));
    let chosen = ["verifierGasCap", "maxBatchAge"].map(|name| report.immutables[name]);
    assert_eq!(chosen, [U256::from(1_000_000), U256::from(1u64 << 40)]);

    // A byte of the verifier, its length, its absence.
    let verifier = l1.code(addresses.verifier).await.expect("reads").to_vec();
    let mut other = verifier.clone();
    other[1_000] ^= 1;
    set_code(addresses.verifier, other).await;
    let differs = |contract, address, offset| Difference::Code {
        contract,
        address,
        offset,
        bytes: 1,
    };
    assert_eq!(
        compare().await.differences,
        vec![differs("verifier", addresses.verifier, 1_000)]
    );
    set_code(addresses.verifier, verifier[1..].to_vec()).await;
    let length = Difference::Length {
        contract: "verifier",
        address: addresses.verifier,
        expected: verifier.len(),
        found: verifier.len() - 1,
    };
    assert_eq!(compare().await.differences, vec![length]);
    set_code(addresses.verifier, vec![]).await;
    let missing = |contract, address| Difference::NoCode { contract, address };
    assert_eq!(
        compare().await.differences,
        vec![missing("verifier", addresses.verifier)]
    );
    set_code(addresses.verifier, verifier).await;

    // A byte of the rollup contract, and every immutable that follows from something.
    let rollup = l1.code(addresses.rollup).await.expect("reads").to_vec();
    let mut other = rollup.clone();
    other[20] ^= 1;
    set_code(addresses.rollup, other).await;
    assert_eq!(
        compare().await.differences,
        vec![differs("rollup", addresses.rollup, 20)]
    );
    let places = &COMPILED.rollup.immutables;
    for name in ["rollupId", "vkDigest"] {
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
        places["verifier"].len() > 1,
        "an immutable that is read in several places"
    );
    other[places["verifier"][0].end - 1] ^= 1;
    set_code(addresses.rollup, other).await;
    let torn =
        |difference: &Difference| matches!(difference, Difference::Torn { name, .. } if name == "verifier");
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
        rollup,
        ..
    } = &*COMPILED;
    for (code, contract) in [(&verifier.code, "RootVerifier"), (rollup, "Rollup")] {
        let again = solc::compile_input(tools, code.input.clone(), &format!("{contract}.sol"), contract);
        let again = again.expect("compiles");
        assert_eq!(hex::encode(&again.creation), hex::encode(&code.creation));
        assert_eq!(hex::encode(&again.runtime), hex::encode(&code.runtime));
        assert_eq!(again.immutables, code.immutables);
    }
}

impl Stage {
    /// The instances that L1 derives for the true submission.
    async fn instances(&self) -> Vec<Fr> {
        let Call {
            header, dataA, dataB, ..
        } = self.submission.to_call();
        let rows = self
            .deployment
            .read(IRollup::instancesCall { header, dataA, dataB })
            .await
            .expect("a view");
        rows.iter()
            .map(|row| from_u256(row).expect("canonical"))
            .collect()
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
        let to = self.deployment.addresses().verifier;
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
        IVerifier::verifyCall::abi_decode_returns_validate(&answer).expect("a word that is 0 or 1")
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
        let costs = json!({
            "hard_fork": fork,
            "verifier": {
                "runtime_bytes": code,
                "deployment_gas": self.gas.verifier,
                "proof_bytes": proof,
                "call_gas": accepted.verifier_gas,
            },
            "rollup": {
                "runtime_bytes": COMPILED.rollup.runtime.len(),
                "deployment_gas": self.gas.rollup,
            },
            "submit_batch": {
                "transfers": self.fixture.batch.operations.len(),
                "data_bytes": self.submission.data_b.len(),
                "calldata_bytes": accepted.calldata_bytes,
                "gas_no_zero_byte_in_calldata": gas_max,
            },
        });
        golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/tiny.json", &costs);
        let figures = [
            code as u64,
            self.gas.verifier,
            proof as u64,
            accepted.verifier_gas,
            COMPILED.rollup.runtime.len() as u64,
            self.gas.rollup,
            accepted.calldata_bytes as u64,
            gas_max,
        ];
        golden::quotes("verifier-contracts/GAS.md", figures.map(golden::thousands));
    }
}
