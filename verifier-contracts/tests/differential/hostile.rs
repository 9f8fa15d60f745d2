//! What a caller may do besides changing proof and instances: give too little gas, call in another way, or send what is no call.

use alloy::{primitives::U256, sol_types::SolCall};
use revm::bytecode::opcode;
use verifier_contracts::rollup::IVerifier;

use crate::{
    CASES,
    case::{Case, accepts},
    evm,
};

/// More gas than any verification takes.
const PLENTY: u32 = 2_000_000;

/// What the contract says to a call's data: accepted, refused, or a revert, which has no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    Reverted,
}

fn ask(case: &Case, data: Vec<u8>, operation: u8, gas: u32) -> Answer {
    let (succeeded, returned) = evm::call_from_another(&case.code.runtime, data, operation, gas);
    if !succeeded {
        assert!(returned.is_empty(), "a revert without a reason");
        return Answer::Reverted;
    }
    match accepts(&returned) {
        Some(true) => Answer::Accepted,
        Some(false) => Answer::Refused,
        None => panic!("neither 0 nor 1: 0x{}", hex::encode(&returned)),
    }
}

fn call(proof: &[u8], instances: &[U256]) -> Vec<u8> {
    let call = IVerifier::verifyCall {
        proof: proof.to_vec().into(),
        instances: instances.to_vec(),
    };
    call.abi_encode()
}

/// A call's data with tuple offsets of choice.
fn encoded(proof_at: U256, instances_at: U256, tail: &[Vec<u8>]) -> Vec<u8> {
    let mut data = IVerifier::verifyCall::SELECTOR.to_vec();
    data.extend(proof_at.to_be_bytes::<32>());
    data.extend(instances_at.to_be_bytes::<32>());
    data.extend(tail.concat());
    data
}

/// A precompile that lacks gas fails like one that is given no point: neither makes a proof true.
#[test]
fn at_no_gas_is_a_bad_proof_taken_and_a_good_one_only_with_enough() {
    for case in &CASES[..2] {
        let needed = u32::try_from(case.gas).expect("less than a block's");
        // Of what is left a call forwards 63/64, so that the pairing, the last, wants somewhat more than is used.
        let coarse = (0..needed).step_by(4_001);
        let fine = (needed - 4_000..needed + 6_000).step_by(97);
        let mut bad = case.proof.clone();
        bad[32 * case.scalars().start + 31] ^= 1;
        let [good, bad] = [&case.proof, &bad].map(|proof| call(proof, &case.instances));
        let mut least = None;
        for gas in coarse.chain(fine) {
            let answer = ask(case, bad.clone(), opcode::STATICCALL, gas);
            assert_ne!(answer, Answer::Accepted, "{}: {gas} gas", case.name);
            match (ask(case, good.clone(), opcode::STATICCALL, gas), least) {
                (Answer::Accepted, None) => least = Some(gas),
                (Answer::Accepted, Some(_)) => {}
                (answer, least) => assert_eq!(least, None, "{}: {answer:?} with {gas} gas", case.name),
            }
        }
        let least = least.expect("enough gas is among them");
        println!("{}: a call needs {least} gas and takes {needed}", case.name);
        assert!((needed..needed + needed / 63).contains(&least));
    }
}

/// It has no state and knows no caller.
#[test]
fn it_answers_the_same_however_it_is_called() {
    let case = &CASES[0];
    let good = call(&case.proof, &case.instances);
    let mut other = case.instances.clone();
    other[12] ^= U256::from(1);
    let bad = call(&case.proof, &other);
    for operation in [opcode::STATICCALL, opcode::DELEGATECALL] {
        assert_eq!(ask(case, good.clone(), operation, PLENTY), Answer::Accepted);
        assert_eq!(ask(case, bad.clone(), operation, PLENTY), Answer::Refused);
    }
}

/// Data that encodes no proof and instances reverts; none of it is taken, and none burns the gas.
#[test]
fn what_is_no_call_reverts() {
    let case = &CASES[0];
    let good = call(&case.proof, &case.instances);
    assert_eq!(
        ask(case, good.clone(), opcode::STATICCALL, PLENTY),
        Answer::Accepted
    );
    let refuse = |data: Vec<u8>, what: &str| {
        let answer = ask(case, data.clone(), opcode::STATICCALL, PLENTY);
        assert_eq!(answer, Answer::Reverted, "{what}");
        // The floor of the data's own price is in it; burning the gas would be a hundred times as much.
        let gas = evm::call(&case.code.runtime, data).gas;
        assert!(gas < evm::GAS / 100, "{what}: {gas} gas");
    };
    // The last instance's last byte is the data's last.
    for bytes in [
        0,
        1,
        3,
        4,
        5,
        35,
        36,
        67,
        68,
        99,
        100,
        131,
        132,
        good.len() / 2,
        good.len() - 32,
        good.len() - 1,
    ] {
        refuse(good[..bytes].to_vec(), &format!("{bytes} bytes of a call"));
    }
    let mut unknown = good.clone();
    unknown[3] ^= 1;
    refuse(unknown, "another function");
    let large = [
        U256::from(good.len()),
        U256::from(u32::MAX),
        U256::from(u64::MAX),
        U256::from(1) << 64,
        U256::from(1) << 255,
        U256::MAX - U256::from(31),
        U256::MAX,
    ];
    // Offsets of both arguments, then their lengths.
    let proof_length = 4 + 64;
    let instances_length = good.len() - 32 * (case.instances.len() + 1);
    for at in [4, 36, proof_length, instances_length] {
        for value in large {
            let mut data = good.clone();
            data[at..at + 32].copy_from_slice(&value.to_be_bytes::<32>());
            refuse(data, &format!("{value:#x} at byte {at}"));
        }
    }
}

/// Proof and instances have one encoding each; where in the data they lie is the caller's affair.
#[test]
fn arguments_are_read_where_the_data_says_that_they_are() {
    let case = &CASES[0];
    let word = |value: usize| U256::from(value).to_be_bytes::<32>();
    let proof = [&word(case.proof.len())[..], &case.proof].concat();
    let instances = std::iter::once(word(case.instances.len()))
        .chain(case.instances.iter().map(|instance| instance.to_be_bytes::<32>()))
        .collect::<Vec<_>>()
        .concat();
    let [first, gap] = [64, 32].map(U256::from);
    let ask = |data: Vec<u8>| ask(case, data, opcode::STATICCALL, PLENTY);
    let [proof_bytes, instances_bytes] = [&proof, &instances].map(|of| U256::from(of.len()));
    let usual = encoded(first, first + proof_bytes, &[proof.clone(), instances.clone()]);
    assert_eq!(usual, call(&case.proof, &case.instances));
    for (data, what) in [
        (usual.clone(), "as usual"),
        ([usual, vec![1; 33]].concat(), "with more behind it"),
        (
            encoded(
                first + instances_bytes,
                first,
                &[instances.clone(), proof.clone()],
            ),
            "in the other order",
        ),
        (
            encoded(
                first + gap,
                first + gap + proof_bytes,
                &[vec![0xff; 32], proof.clone(), instances.clone()],
            ),
            "behind a gap",
        ),
    ] {
        assert_eq!(ask(data), Answer::Accepted, "{what}");
    }
    // Each in the place of the other, and both in one place.
    for (proof_at, instances_at) in [
        (first + proof_bytes, first),
        (first, first),
        (first + proof_bytes, first + proof_bytes),
    ] {
        let data = encoded(proof_at, instances_at, &[proof.clone(), instances.clone()]);
        assert_ne!(ask(data), Answer::Accepted, "{proof_at} {instances_at}");
    }
}
