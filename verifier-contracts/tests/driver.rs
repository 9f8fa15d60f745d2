//! The L1 driver on a real anvil, with a stand-in for the verifier: what needs no proof.

use std::path::Path;

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    sol_types::SolCall,
};
use rules::{
    Fr,
    account::{AccountIndex, TokenId},
    eddsa::PrivateKey,
    operation::RollupId,
    record::{Coordinate, Kind, Record},
    state::State,
    stream::{Binding, DaMode, GROUP_WORDS, Group, evaluate, posted_a, posted_b},
};
use serde_json::json;
use verifier_contracts::{
    anvil::Anvil,
    l1::{
        ANVIL_KEY, Addresses, Call, DeployConfig, Deployment, L1, L1Error, Parts, TRANSACTION_GAS_MAX,
        predict_addresses,
    },
    rollup::{self, IVerifier, Rejection, RootSubmission, to_u256},
    solc::{self, CompileError, Runs},
    tools::Tools,
    verifier::CompiledVerifier,
};

alloy::sol! {
    /// Of the stand-in `Scripted`.
    function expectOnly(bytes data) external;
}

const STAND_INS: &str = include_str!("../test/StandIns.sol");
const PROOF_BYTES: usize = 64;
const FEE_ADDRESS: Address = Address::repeat_byte(0xfe);

fn tools() -> Tools {
    Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools")
}

fn stand_in(tools: &Tools, contract: &'static str) -> CompiledVerifier {
    CompiledVerifier::stand_in(tools, STAND_INS, contract).expect("compiles")
}

fn config(l1: &L1) -> DeployConfig {
    DeployConfig::new(
        l1.account(),
        FEE_ADDRESS,
        PrivateKey::from_bytes(&[1; 32]).public(),
    )
}

async fn deploy(l1: &L1, tools: &Tools, contract: &'static str) -> Deployment {
    let contracts = rollup::compile(tools).expect("compiles");
    let deployed = Deployment::deploy(l1, &contracts, &[&stand_in(tools, contract)], &config(l1)).await;
    deployed.expect("deploys").0
}

fn groups(words: &[u128]) -> Vec<Group> {
    let group = |words: &[u128]| {
        let mut group = Group {
            flag: false,
            words: [0; GROUP_WORDS],
        };
        group.words[..words.len()].copy_from_slice(words);
        group
    };
    words.chunks(GROUP_WORDS).map(group).collect()
}

/// The root that stands for the state after so many batches.
fn root(batches: u64) -> Fr {
    match batches {
        0 => State::default().root(),
        _ => Fr::from(batches),
    }
}

/// A submission whose instances are counted up, for a verifier that does not look at them.
fn submission(number: u64, time: u64, words: &[u128]) -> RootSubmission {
    let mut rows: Vec<Fr> = (100..117).map(Fr::from).collect();
    rows[9] = Fr::from(time);
    rows[11] = root(number);
    rows[12] = root(number + 1);
    let posted = posted_b(&groups(words));
    RootSubmission::new(number, 0, &rows, vec![], posted, vec![1; PROOF_BYTES]).expect("17 rows")
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
    let predicted = l1.predict(1).await.expect("asks the nonce");
    let deployment = deploy(&l1, &tools, "AcceptsAll").await;
    assert_eq!(*deployment.addresses(), predicted);
    assert_eq!(predicted, predict_addresses(l1.account(), 0, 1));
    assert_eq!(deployment.state_root().await.expect("reads"), root(0));

    let time = l1.block_time().await.expect("asks the block");
    for batch in 0..2u64 {
        let submission = submission(batch, time, &[7; 12]);
        let accepted = deployment.submit_batch(&submission).await.expect("accepts");
        assert_eq!(accepted.number, batch);
        assert_eq!(
            (accepted.old_root, accepted.new_root),
            (submission.old_root, submission.new_root)
        );
        assert_eq!((accepted.head, accepted.withdrawals), (0, 0));
        assert_eq!(accepted.withdrawals_root, None);
        // Selector, header of 15 words, three offsets, three lengths, 6 elements of 31 bytes in 6 words, the proof.
        assert_eq!(accepted.calldata_bytes, 4 + 32 * (15 + 3 + 3 + 6) + PROOF_BYTES);
        assert_eq!(deployment.state_root().await.expect("reads"), submission.new_root);
        assert_eq!(deployment.next_batch_number().await.expect("reads"), batch + 1);
        assert_eq!(deployment.last_batch_time().await.expect("reads"), time);
    }
    let again = Deployment::at(&l1, predicted.rollup).await.expect("is there");
    assert_eq!(*again.addresses(), predicted);
    let elsewhere = Deployment::at(&l1, Address::repeat_byte(0xdd)).await;
    assert!(matches!(elsewhere, Err(L1Error::Answer { .. })), "{elsewhere:?}");
}

/// A stand-in accepts one call alone: that with the instances that native code derives.
#[tokio::test]
async fn the_contract_derives_the_instances_that_native_code_derives() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "Scripted").await;
    let Addresses {
        rollup, verifiers, ..
    } = deployment.addresses();
    let rollup_id = RollupId {
        chain_id: l1.chain_id().await.expect("asks the chain"),
        contract: rollup.into_array(),
    };
    let key = config(&l1).fee_key;
    let first = Record {
        kind: Kind::DepositNew,
        code: 0,
        token: TokenId(1),
        index: AccountIndex::new(1).expect("33 bits"),
        amount: 0,
        address: FEE_ADDRESS.into_array(),
        u: key.0.x.into(),
        v: key.0.y.into(),
    };
    let withdrawal = Record {
        kind: Kind::Withdrawal,
        amount: 12_345,
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
        ..first
    };
    let words: Vec<u128> = (1..23u128).map(|i| (i << 80) + i * i).collect();
    let time = l1.block_time().await.expect("asks the block");
    let submission = RootSubmission {
        data_a: posted_a(&[first, withdrawal]),
        ..submission(0, time, &words)
    };
    let (c_a, c_b) = (submission.commitment_a, submission.commitment_b);
    let binding = Binding {
        number: 0,
        mode: DaMode::Calldata,
        c_a,
        c_b,
        posted_a: &submission.data_a,
        posted_b: &submission.data_b,
    };
    let x = binding.x(&rollup_id);
    let statement = [
        rollup_id.to_fr(),
        Fr::from(time),
        x,
        submission.old_root,
        submission.new_root,
        c_a,
        evaluate(&submission.data_a, &x),
        c_b,
        evaluate(&submission.data_b, &x),
    ];
    let expect = async |rows: &[Fr]| {
        let data = IVerifier::verifyCall {
            proof: Bytes::copy_from_slice(&submission.proof),
            instances: rows.iter().map(to_u256).collect(),
        };
        let data = expectOnlyCall {
            data: data.abi_encode().into(),
        };
        let told = l1.transact(Call::new(verifiers[0], data.abi_encode())).await;
        told.expect("the stand-in is told");
    };
    let rows = [&submission.accumulator[..], &statement].concat();
    for row in 0..rows.len() {
        let mut other = rows.clone();
        other[row] += Fr::one();
        expect(&other).await;
        let refused = rejection(deployment.check(&submission.to_call()).await);
        assert_eq!(refused, Rejection::ProofRejected, "row {row}");
    }
    expect(&rows).await;
    let accepted = deployment.submit_batch(&submission).await.expect("accepts");
    assert_eq!((accepted.head, accepted.withdrawals), (1, 1));
}

#[tokio::test]
async fn refusals_carry_the_contracts_reason() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "RejectsAll").await;
    let time = l1.block_time().await.expect("asks the block");

    let refused = rejection(deployment.submit_batch(&submission(0, time, &[1])).await);
    assert_eq!(refused, Rejection::ProofRejected);
    let refused = rejection(deployment.submit_batch(&submission(1, time, &[1])).await);
    assert_eq!(
        refused,
        Rejection::WrongBatchNumber {
            expected: 0,
            given: 1
        }
    );
    let other = RootSubmission {
        old_root: Fr::from(6),
        ..submission(0, time, &[1])
    };
    let refused = rejection(deployment.submit_batch(&other).await);
    let (expected, given) = (to_u256(&root(0)), U256::from(6));
    assert_eq!(refused, Rejection::WrongOldRoot { expected, given });
    let late = submission(0, time + 3_600, &[1]);
    let refused = rejection(deployment.submit_batch(&late).await);
    assert!(matches!(refused, Rejection::TimeInFuture { given, .. } if given == time + 3_600));
    let other = RootSubmission {
        verifier: 1,
        ..submission(0, time, &[1])
    };
    let refused = rejection(deployment.submit_batch(&other).await);
    assert_eq!(refused, Rejection::NoSuchVerifier { id: 1 });
    assert_eq!(deployment.next_batch_number().await.expect("reads"), 0);
}

#[tokio::test]
async fn a_burning_verifier_costs_no_more_than_its_cap() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let deployment = deploy(&l1, &tools, "BurnsAll").await;
    let time = l1.block_time().await.expect("asks the block");
    let refused = rejection(deployment.submit_batch(&submission(0, time, &[1])).await);
    let gas_cap = U256::from(1_000_000);
    assert_eq!(refused, Rejection::VerifierOutOfGas { gas_cap });
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
        .submit_batch(&submission(0, time, &words))
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
async fn parts_that_are_not_there_or_of_other_keys_are_refused_at_deployment() {
    let tools = tools();
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let contracts = rollup::compile(&tools).expect("compiles");
    let verifier = stand_in(&tools, "AcceptsAll");
    let (deployment, gas) = Deployment::deploy(&l1, &contracts, &[&verifier], &config(&l1))
        .await
        .expect("deploys");
    assert!(gas.poseidon > 0 && gas.verifiers[0] > 0 && gas.rollup < TRANSACTION_GAS_MAX);
    let Addresses {
        poseidon, verifiers, ..
    } = deployment.addresses().clone();
    let nobody = Address::repeat_byte(0xdd);
    let refused = async |parts: (Address, Address), verifier: &CompiledVerifier, config: DeployConfig| {
        let parts = Parts {
            poseidon: parts.0,
            verifiers: vec![parts.1],
        };
        rejection(Deployment::deploy_over(&l1, &contracts, &[verifier], parts, &config).await)
    };
    let bad = |name: &str| Rejection::BadParameter {
        name: name.to_owned(),
    };
    let there = (poseidon, verifiers[0]);
    assert_eq!(
        refused((poseidon, nobody), &verifier, config(&l1)).await,
        bad("verifier")
    );
    assert_eq!(
        refused((nobody, verifiers[0]), &verifier, config(&l1)).await,
        bad("poseidon")
    );
    let other = CompiledVerifier {
        vk_digest: B256::ZERO,
        ..verifier.clone()
    };
    assert_eq!(refused(there, &other, config(&l1)).await, bad("vkDigest"));
    let greedy = DeployConfig {
        consumed_max: Some(1_001),
        ..config(&l1)
    };
    assert_eq!(refused(there, &verifier, greedy).await, bad("consumedMax"));
    let nobodys = DeployConfig {
        operator: Address::ZERO,
        ..config(&l1)
    };
    assert_eq!(refused(there, &verifier, nobodys).await, bad("operator"));
    // Of a key that has room for fewer, fewer must be consumed.
    let small = CompiledVerifier {
        queue_capacity: 3,
        ..verifier.clone()
    };
    assert_eq!(config(&l1).consumed_max(&[&verifier, &small]), 3);
    assert_eq!(config(&l1).consumed_max(&[&verifier]), 10);
}

/// What is read of a revert is all that the contract can say.
#[test]
fn every_error_of_the_contracts_interface_is_known() {
    let contracts = rollup::compile(&tools()).expect("compiles");
    let known: Vec<[u8; 4]> = Rejection::selectors().collect();
    let mut count = 0;
    for item in contracts.rollup.abi.as_array().expect("an interface") {
        if item["type"] != "error" {
            continue;
        }
        count += 1;
        let inputs = item["inputs"].as_array().expect("parameters").iter();
        let types: Vec<&str> = inputs
            .map(|input| input["type"].as_str().expect("a type"))
            .collect();
        let signature = format!("{}({})", item["name"].as_str().expect("a name"), types.join(","));
        let selector = &keccak256(&signature)[..4];
        assert!(known.iter().any(|known| known == selector), "{signature}");
    }
    assert!(count > 45, "{count}");
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
    let compile = |content| solc::compile(&tools, &[("A.sol", content)], Runs::Size, "A.sol", "A");
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
