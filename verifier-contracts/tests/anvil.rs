//! A real root proof on a real anvil: accepted as it is, and refused by the exact error when anything differs.
//!
//! Refusals are asked by `eth_call`, acceptance is a transaction.

use std::sync::LazyLock;

use alloy::{
    primitives::{Bytes, U256},
    providers::{Provider, ProviderBuilder},
    sol_types::SolCall,
};
use circuits::{Fr, preset::Preset};
use halo2curves::{bn256::Fq, ff::PrimeField};
use prover::fixtures::{self, Fixture, ROLLUP_ID};
use serde_json::json;
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, Accepted, DeployConfig, DeployGas, Deployment, L1, L1Error},
    rollup::{self, IRollup, Rejection, RootSubmission, from_u256, to_u256},
    solc::{self, Code, Optimizer, RUNTIME_BYTES_MAX},
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
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let preset = Preset::by_name("tiny").expect("a preset");
    let fixture = fixtures::root_proof(preset).expect("the fixture's proof");
    let keys = fixtures::keys(preset).expect("the fixture's keys");
    let verifier = verifier::compile(&tools, verifier::render(&keys)).expect("compiles");
    let expected = keys.root_verifier().proof_bytes();
    assert_eq!(
        verifier.proof_bytes, expected,
        "the generated code reads another length"
    );
    let rollup = rollup::compile(&tools).expect("compiles");
    Compiled {
        tools,
        fixture,
        verifier,
        rollup,
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
        .expect("21 instances");
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

/// A proof with a point off the curve: the precompile takes all the gas that it is given.
fn out_of_gas() -> Rejection {
    let gas_cap = DeployConfig::new(Fr::zero()).verifier_gas_cap;
    Rejection::VerifierOutOfGas {
        gas_cap: U256::from(gas_cap),
    }
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
    for limb in 0..12 {
        // The limb stays one, but the point that it is part of leaves the curve.
        let rejection = stage.refusal(|call| call.header.accumulator[limb] ^= one).await;
        assert_eq!(rejection, out_of_gas(), "limb {limb}");
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
    for limb in 0..12 {
        let value = to_u256(&stage.submission.accumulator[limb]) + r;
        let rejection = stage.refusal(|call| call.header.accumulator[limb] = value).await;
        assert_eq!(
            rejection,
            Rejection::NotCanonical {
                instance: U256::from(limb),
                value
            }
        );
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
    let value = to_u256(&stage.submission.new_root) + r;
    let rejection = stage.refusal(|call| call.header.newRoot = value).await;
    assert_eq!(
        rejection,
        Rejection::NotCanonical {
            instance: U256::from(16),
            value
        }
    );
    let value = to_u256(&stage.submission.commitment_a) + r;
    let rejection = stage.refusal(|call| call.header.commitmentA = value).await;
    assert_eq!(
        rejection,
        Rejection::NotCanonical {
            instance: U256::from(17),
            value
        }
    );
    let value = to_u256(&stage.submission.commitment_b) + r;
    let rejection = stage.refusal(|call| call.header.commitmentB = value).await;
    assert_eq!(
        rejection,
        Rejection::NotCanonical {
            instance: U256::from(19),
            value
        }
    );
}

/// The generated verifier alone takes an instance plus the modulus, which is why the contract must not.
#[tokio::test]
async fn the_verifier_alone_takes_a_non_canonical_instance() {
    let stage = Stage::set().await;
    let mut rows: Vec<U256> = stage.fixture.instances.iter().map(to_u256).collect();
    assert!(stage.verifies(&rows, &stage.fixture.proof).await);
    rows[16] += modulus();
    assert!(
        stage.verifies(&rows, &stage.fixture.proof).await,
        "the generator checks now: say so in IRollup.sol"
    );
    rows[16] -= U256::from(1);
    assert!(!stage.verifies(&rows, &stage.fixture.proof).await);
}

#[tokio::test]
async fn every_changed_word_of_the_proof_is_refused() {
    let stage = Stage::set().await;
    let words = stage.verifier.proof_bytes / 32;
    for word in 0..words {
        let rejection = stage
            .refusal(|call| change_word(call, word, |value| value ^ U256::from(1)))
            .await;
        let expected = if stage.is_scalar(word) {
            Rejection::ProofRejected
        } else {
            out_of_gas()
        };
        assert_eq!(rejection, expected, "word {word}");
    }
    println!("{words} words changed, each refused");
}

/// The other representatives of the proof's field elements, which would make a second proof of the same batch.
#[tokio::test]
async fn every_word_of_the_proof_plus_its_modulus_is_refused() {
    let stage = Stage::set().await;
    for word in 0..stage.verifier.proof_bytes / 32 {
        let modulus = if stage.is_scalar(word) {
            modulus()
        } else {
            base_modulus()
        };
        let mut value = U256::ZERO;
        let rejection = stage
            .refusal(|call| {
                change_word(call, word, |before| {
                    value = before + modulus;
                    value
                });
            })
            .await;
        let offset = U256::from(32 * word);
        let expected = match stage.is_scalar(word) {
            true => Rejection::ProofNotCanonical { offset, value },
            false => out_of_gas(),
        };
        assert_eq!(rejection, expected, "word {word}");
    }
}

/// Infinity has no coordinates; the precompiles write it as zeros, which the verifier must not take for a point.
#[tokio::test]
async fn a_point_at_infinity_in_the_proof_is_refused() {
    let stage = Stage::set().await;
    let shape = stage.verifier;
    let before = (0..shape.proof_scalars.start).step_by(64);
    let after = (shape.proof_scalars.end..shape.proof_bytes).step_by(64);
    for word in before.chain(after).map(|offset| offset / 32) {
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
    let length = stage.verifier.proof_bytes;
    assert_eq!(stage.fixture.proof.len(), length);
    for given in [0, 32, length - 32, length - 1, length + 1, length + 32] {
        let rejection = stage
            .refusal(|call| {
                let mut proof = call.proof.to_vec();
                proof.resize(given, 0);
                call.proof = proof.into();
            })
            .await;
        let expected = Rejection::WrongProofLength {
            expected: U256::from(length),
            given: U256::from(given),
        };
        assert_eq!(rejection, expected);
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
    let sources = [("StandIns.sol", include_str!("../test/StandIns.sol"))];
    let l1 = stage.deployment.l1();
    let config = patient(stage.fixture);
    for (contract, expected) in [
        ("RejectsAll", Rejection::ProofRejected),
        ("BurnsAll", out_of_gas()),
    ] {
        let code = solc::compile(tools, &sources, "StandIns.sol", contract, Optimizer::On).expect("compiles");
        let foreign = CompiledVerifier {
            code,
            ..stage.verifier.clone()
        };
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

    /// Whether a word of the proof is a field element, and not a coordinate. The generated code says so.
    fn is_scalar(&self, word: usize) -> bool {
        self.verifier.proof_scalars.contains(&(32 * word))
    }

    /// Whether the verifier alone accepts.
    async fn verifies(&self, rows: &[U256], proof: &[u8]) -> bool {
        let rows: Vec<u8> = rows.iter().flat_map(|row| row.to_be_bytes::<32>()).collect();
        let to = self.deployment.addresses().verifier;
        match self.deployment.l1().call(to, [&rows, proof].concat()).await {
            Ok(answer) => {
                assert!(answer.is_empty());
                true
            }
            Err(L1Error::Rejected(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Compares what everything costs with the snapshot, and that with GAS.md.
    async fn check_costs(&self, accepted: &Accepted) {
        let fork = self.deployment.l1().anvil_hard_fork().await.expect("anvil says");
        let (code, proof) = (self.verifier.code.runtime_bytes, self.verifier.proof_bytes);
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
                "runtime_bytes": COMPILED.rollup.runtime_bytes,
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
            COMPILED.rollup.runtime_bytes as u64,
            self.gas.rollup,
            accepted.calldata_bytes as u64,
            gas_max,
        ];
        golden::quotes("verifier-contracts/GAS.md", figures.map(golden::thousands));
    }
}
