//! The L1 driver on a real anvil, with a stand-in for the verifier: what needs no proof.

use std::path::Path;

use alloy::primitives::{Address, U256};
use rules::{
    Fr,
    operation::RollupId,
    stream::{DaMode, derive_x, evaluate_posted, posted_bytes},
};
use serde_json::json;
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, DeployConfig, Deployment, L1, L1Error, TRANSACTION_GAS_MAX, predict_addresses},
    rollup::{self, IRollup, Rejection, RootSubmission, from_u256},
    solc::{self, CompileError},
    tools::Tools,
    verifier::CompiledVerifier,
};

const STAND_INS: &str = include_str!("../test/StandIns.sol");
const PROOF_BYTES: usize = 64;

fn tools() -> Tools {
    Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools")
}

fn stand_in(tools: &Tools, contract: &'static str) -> CompiledVerifier {
    CompiledVerifier::stand_in(tools, STAND_INS, contract).expect("compiles")
}

async fn deploy(l1: &L1, tools: &Tools, contract: &'static str) -> Deployment {
    let rollup = rollup::compile(tools).expect("compiles");
    let config = DeployConfig::new(Fr::from(5));
    Deployment::deploy(l1, &stand_in(tools, contract), &rollup, &config)
        .await
        .expect("deploys")
        .0
}

/// A submission whose instances are counted up, for a verifier that does not look at them.
fn submission(number: u64, old: u64, time: u64, words: &[u128]) -> RootSubmission {
    let mut rows: Vec<Fr> = (100..117).map(Fr::from).collect();
    rows[9] = Fr::from(time);
    rows[11] = Fr::from(old);
    rows[12] = Fr::from(old + 1);
    RootSubmission::new(number, &rows, vec![], posted_bytes(words), vec![1; PROOF_BYTES]).expect("17 rows")
}

fn rejection(result: Result<impl std::fmt::Debug, L1Error>) -> Rejection {
    match result.expect_err("L1 must refuse") {
        L1Error::Rejected(rejection) => rejection,
        other => panic!("not refused by the contract: {other}"),
    }
}

#[tokio::test]
async fn accepted_batches_move_the_root_and_report_their_gas() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let predicted = l1.predict().await.expect("asks the nonce");
    let deployment = deploy(&l1, &tools, "AcceptsAll").await;
    assert_eq!(deployment.addresses(), predicted);
    assert_eq!(predicted, predict_addresses(l1.account(), 0));
    assert_eq!(deployment.state_root().await.expect("reads"), Fr::from(5));

    let time = l1.block_time().await.expect("asks the block");
    for batch in 0..2u64 {
        let submission = submission(batch, 5 + batch, time, &[7; 12]);
        let accepted = deployment.submit_batch(&submission).await.expect("accepts");
        assert_eq!(accepted.number, batch);
        assert_eq!(
            (accepted.old_root, accepted.new_root),
            (submission.old_root, submission.new_root)
        );
        assert!(accepted.verifier_gas > 0 && accepted.verifier_gas < accepted.gas_used);
        // Selector, header of 14 words, three offsets, three lengths, 6 elements of 31 bytes in 6 words, the proof.
        assert_eq!(accepted.calldata_bytes, 4 + 32 * (14 + 3 + 3 + 6) + PROOF_BYTES);
        assert_eq!(deployment.state_root().await.expect("reads"), submission.new_root);
        assert_eq!(deployment.next_batch_number().await.expect("reads"), batch + 1);
    }
    let again = Deployment::at(&l1, predicted.rollup).await.expect("is there");
    assert_eq!(again.addresses(), predicted);
}

#[tokio::test]
async fn the_contract_derives_the_instances_that_native_code_derives() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "AcceptsAll").await;
    let rollup_id = RollupId {
        chain_id: l1.chain_id().await.expect("asks the chain"),
        contract: deployment.addresses().rollup.into_array(),
    };
    let words: Vec<u128> = (1..23u128).map(|i| (i << 80) + i * i).collect();
    let submission = submission(3, 5, 1_700_000_000, &words);
    let call = submission.to_call();
    let rows = deployment
        .read(IRollup::instancesCall {
            header: call.header,
            dataA: call.dataA,
            dataB: call.dataB,
        })
        .await
        .expect("a view");
    let rows: Vec<Fr> = rows
        .iter()
        .map(|row| from_u256(row).expect("canonical"))
        .collect();
    let (c_a, c_b) = (submission.commitment_a, submission.commitment_b);
    let x = derive_x(
        &rollup_id,
        3,
        DaMode::Calldata,
        &c_a,
        &c_b,
        &[],
        &submission.data_b,
    );
    let y_b = evaluate_posted(&submission.data_b, &x).expect("whole elements");
    assert_eq!(rows[..8], submission.accumulator);
    let roots = [submission.old_root, submission.new_root];
    let time = Fr::from(submission.time);
    let expected = [
        rollup_id.to_fr(),
        time,
        x,
        roots[0],
        roots[1],
        c_a,
        Fr::zero(),
        c_b,
        y_b,
    ];
    assert_eq!(rows[8..], expected);
}

#[tokio::test]
async fn refusals_carry_the_contracts_reason() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "RejectsAll").await;
    let time = l1.block_time().await.expect("asks the block");

    let refused = rejection(deployment.submit_batch(&submission(0, 5, time, &[1])).await);
    assert_eq!(refused, Rejection::ProofRejected);
    let refused = rejection(deployment.submit_batch(&submission(1, 5, time, &[1])).await);
    assert_eq!(
        refused,
        Rejection::WrongBatchNumber {
            expected: 0,
            given: 1
        }
    );
    let refused = rejection(deployment.submit_batch(&submission(0, 6, time, &[1])).await);
    assert_eq!(
        refused,
        Rejection::WrongOldRoot {
            expected: U256::from(5),
            given: U256::from(6)
        }
    );
    let refused = rejection(
        deployment
            .submit_batch(&submission(0, 5, time + 3_600, &[1]))
            .await,
    );
    assert!(matches!(refused, Rejection::TimeInFuture { given, .. } if given == time + 3_600));
    assert_eq!(deployment.next_batch_number().await.expect("reads"), 0);
}

#[tokio::test]
async fn a_burning_verifier_costs_no_more_than_its_cap() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "BurnsAll").await;
    let time = l1.block_time().await.expect("asks the block");
    let refused = rejection(deployment.submit_batch(&submission(0, 5, time, &[1])).await);
    assert_eq!(
        refused,
        Rejection::VerifierOutOfGas {
            gas_cap: U256::from(1_000_000)
        }
    );
}

/// The largest batch that one ordinary transaction can carry: its calldata, its gas, and what the contract itself
/// takes per transfer.
#[tokio::test]
async fn ten_thousand_transfers_fit_one_transaction() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "AcceptsAll").await;
    let time = l1.block_time().await.expect("asks the block");
    let words: Vec<u128> = (0..10_000u128)
        .map(|i| (u128::MAX - i * i * 0x9e37_79b9_7f4a_7c15) >> 29)
        .collect();
    let accepted = deployment
        .submit_batch(&submission(0, 5, time, &words))
        .await
        .expect("accepts");
    // All but the time are the same in every run. At the floor, a byte that is zero costs 10 gas and another 40.
    let zeros = (time as u32)
        .to_be_bytes()
        .iter()
        .filter(|byte| **byte == 0)
        .count() as u64;
    let gas = accepted.gas_used + 30 * zeros;
    let costs = json!({
        "transfers": words.len(),
        "calldata_bytes": accepted.calldata_bytes,
        "gas_no_zero_byte_in_the_time": gas,
    });
    golden::check_json(
        env!("CARGO_MANIFEST_DIR"),
        "costs/ten-thousand-transfers.json",
        &costs,
    );
    golden::quotes("verifier-contracts/GAS.md", [golden::thousands(gas)]);
    golden::quotes("README.md", [golden::thousands(gas)]);
    // Nodes relay ordinary transactions of up to 128 KiB; signature and fees take less than 300 bytes.
    assert!(accepted.calldata_bytes < 128 * 1024 - 300);
    assert!(accepted.gas_used < TRANSACTION_GAS_MAX);
}

#[tokio::test]
async fn an_absent_verifier_is_refused_at_deployment() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let rollup = rollup::compile(&tools).expect("compiles");
    let nobody = Address::repeat_byte(0xdd);
    let config = DeployConfig::new(Fr::zero());
    let refused = rejection(
        Deployment::deploy_over(&l1, nobody, &stand_in(&tools, "AcceptsAll"), &rollup, &config).await,
    );
    assert_eq!(refused, Rejection::VerifierHasNoCode { verifier: nobody });
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_no_refusal() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let pid = anvil.pid();
    assert!(l1.chain_id().await.is_ok());
    drop(anvil);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "dropping ends the process"
    );
    assert!(matches!(l1.chain_id().await, Err(L1Error::Endpoint(_))));
}

#[test]
fn a_wrong_key_or_address_is_refused_before_anything_is_sent() {
    assert!(matches!(
        L1::connect("http://127.0.0.1:1", "0x12"),
        Err(L1Error::Key)
    ));
    assert!(matches!(
        L1::connect("not an address", ANVIL_KEY),
        Err(L1Error::Url)
    ));
    for (url, taken) in [
        ("http://127.0.0.1:8545", true),
        ("https://l1.example/v3/key", true),
        ("ftp://127.0.0.1", false),
        ("data:text", false),
        ("http://", false),
        ("", false),
    ] {
        assert_eq!(L1::reader(url).is_ok(), taken, "{url}");
    }
}

#[tokio::test]
async fn what_is_said_of_an_endpoint_has_the_cause_and_neither_password_nor_key() {
    // Nobody listens there: the port was free a moment ago, and is not given out again at once.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let l1 = L1::reader(&format!("http://name:password@{port}/v3/secret-key")).unwrap();
    let told = l1.chain_id().await.expect_err("nobody is there").to_string();
    assert!(told.contains("Connection refused"), "{told}");
    for secret in ["password", "secret-key", "http://"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn the_compiler_names_what_it_refuses() {
    let tools = tools();
    let compile = |content| solc::compile(&tools, &[("A.sol", content)], "A.sol", "A");
    let head = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.37;\n";
    let broken = format!("{head}contract A {{ uint256 x = y; }}");
    assert!(
        matches!(compile(&broken), Err(CompileError::Source { messages, .. }) if messages.contains("Undeclared"))
    );
    let other = format!("{head}contract B {{}}");
    assert!(matches!(compile(&other), Err(CompileError::Answer { .. })));
    let newer = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.38;\ncontract A {}";
    assert!(matches!(compile(newer), Err(CompileError::Source { .. })));
    let large = format!(
        "{head}contract A {{ function f() external pure returns (bytes memory) {{ return hex\"{}\"; }} }}",
        "ab".repeat(24_576)
    );
    assert!(matches!(compile(&large), Err(CompileError::TooLarge { found, .. }) if found > 24_576));
}
