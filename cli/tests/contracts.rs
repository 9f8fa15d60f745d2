//! `export-verifier` and `verify-deployed`, against contracts on anvil that are made from what was exported.

mod support;

use std::fs;
use std::path::Path;

use circuits::preset::Preset;
use prover::fixtures;
use rules::eddsa::PrivateKey;
use serde_json::Value;
use support::{KEYS, program};
use verifier_contracts::anvil::Anvil;
use verifier_contracts::l1::{ANVIL_KEY, DeployConfig, Deployment, L1};
use verifier_contracts::rollup;
use verifier_contracts::solc;
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::{self, CompiledVerifier};

/// Exit code and standard output of a command with the keys of the tests.
fn call(args: &[&str]) -> (i32, String) {
    let output = program().args(args).args(KEYS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8(output.stdout).unwrap();
    println!("{args:?}: {said}");
    (output.status.code().expect("it ends by itself"), out)
}

fn verify_deployed(anvil: &Anvil, address: &str) -> (i32, Value) {
    let rpc = [
        "verify-deployed",
        "--json",
        "--rpc",
        anvil.url(),
        "--address",
        address,
    ];
    let (code, out) = call(&rpc);
    (code, serde_json::from_str(&out).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_deployment_of_these_keys_is_told_from_a_tampered_one() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
    let anvil = Anvil::spawn(&tools).unwrap();
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).unwrap();
    let keys = fixtures::keys(Preset::by_name("tiny").unwrap()).unwrap();
    let owner = PrivateKey::from_bytes(&[1; 32]).public();
    let config = DeployConfig::new(l1.account(), l1.account(), owner);
    let contracts = rollup::compile(&tools).unwrap();
    let genuine = verifier::compile(&tools, verifier::render(keys.verifying_keys())).unwrap();
    let deployed = Deployment::deploy(&l1, &contracts, &[&genuine], &config).await;
    let address = format!("{:?}", deployed.unwrap().0.rollup());
    let (code, answer) = verify_deployed(&anvil, &address);
    assert_eq!((code, &answer["genuine"]), (0, &true.into()), "{answer}");
    assert_eq!(answer["report"]["verifiers"][0]["id"], 0, "{answer}");

    // A verifier that accepts everything, beside the genuine one and alone.
    let source = include_str!("../../verifier-contracts/test/StandIns.sol");
    let tampered = CompiledVerifier::stand_in(&tools, source, "AcceptsAll").unwrap();
    for (verifiers, expected) in [
        (&[&genuine, &tampered][..], &["other_verifier"][..]),
        (&[&tampered], &["other_verifier", "no_verifier"]),
    ] {
        let deployed = Deployment::deploy(&l1, &contracts, verifiers, &config).await;
        let address = format!("{:?}", deployed.unwrap().0.rollup());
        let (code, answer) = verify_deployed(&anvil, &address);
        assert_eq!((code, &answer["genuine"]), (5, &false.into()), "{answer}");
        let kinds: Vec<&str> = answer["report"]["differences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|difference| difference["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, expected, "{answer}");
    }

    // Nothing there; nobody there.
    let nothing = format!("0x{}", "12".repeat(20));
    let (code, answer) = verify_deployed(&anvil, &nothing);
    assert_eq!(code, 5);
    assert_eq!(answer["report"]["differences"][0]["kind"], "no_code");
    drop(anvil);
    let (code, _) = call(&[
        "verify-deployed",
        "--rpc",
        "http://127.0.0.1:1",
        "--address",
        &nothing,
    ]);
    assert_eq!(code, 6);
}

#[test]
fn what_is_deployed_is_shown_first_and_is_what_the_keys_make() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
    let anvil = Anvil::spawn(&tools).unwrap();
    let owner = format!(
        "0x{}",
        hex::encode(PrivateKey::from_bytes(&[1; 32]).public().to_bytes())
    );
    let deploy = |key: &str, args: &[&str]| {
        let mut command = program();
        command.args(["deploy", "--json", "--rpc", anvil.url(), "--fee-owner", &owner]);
        command.args(args).args(KEYS).env("ROLLUP_PROVER_L1_KEY", key);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let key = format!("0x{ANVIL_KEY}");
    let (code, out, said) = deploy(&key, &[]);
    assert_eq!((code, out.as_str()), (3, ""), "{said}");
    assert!(
        said.contains("an entry is due after 86400 s") && said.contains("--yes"),
        "{said}"
    );
    assert!(
        said.contains("the constructor was run without a transaction"),
        "{said}"
    );
    let sent = || {
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).unwrap();
        runtime.block_on(l1.predict(1)).unwrap()
    };
    let before = sent();
    // The contract's own address: hash and one verifier come before it.
    let own = format!("{:?}", before.rollup);
    let price = (1u128 << 96).to_string();
    for (option, value, told) in [
        (
            "--due-after",
            "3599",
            "expected 3600 to 604800 seconds, found 3599",
        ),
        (
            "--due-after",
            "604801",
            "expected 3600 to 604800 seconds, found 604801",
        ),
        ("--silence", "0", "silence: expected 3600 to"),
        (
            "--freeze-after",
            "2592001",
            "freezeAfter: expected 604800 to 2592000",
        ),
        ("--consumed-max", "0", "consumedMax: expected 1 to 1000"),
        ("--consumed-max", "1001", "consumedMax: expected 1 to 1000"),
        (
            "--consumed-max",
            "999",
            "entries, for which a verifier's batches have room, found 999",
        ),
        ("--batch-age", "1", "batchAgeMax: expected 3600 to"),
        // 30 days more than both others, which are a day and 14 days.
        (
            "--delay",
            "3887999",
            "delay: expected 3888000 to 31536000 seconds",
        ),
        ("--delay", "31536001", "delay: expected"),
        ("--token-price-wei", "0", "tokenPrice: expected 1 to"),
        ("--token-price-wei", &price, "tokenPrice: expected 1 to"),
        (
            "--operator",
            &own,
            "operator: expected an address that is neither zero nor",
        ),
        (
            "--fee-address",
            &own,
            "feeAddress: expected an address that is neither zero nor",
        ),
        (
            "--verifier-gas-cap",
            "249999",
            "gasCap: expected 250000 to 8000000 gas",
        ),
        (
            "--verifier-gas-cap",
            "8000001",
            "gasCap: expected 250000 to 8000000 gas",
        ),
    ] {
        let (code, out, said) = deploy(&key, &["--yes", option, value]);
        assert_eq!((code, out.as_str()), (3, ""), "{option} {value}: {said}");
        let named = said.contains(&format!("error: {option}: ")) && said.contains("nothing was sent");
        assert!(named && said.contains(told), "{option} {value}: {said}");
    }
    // One verifier of the same keys is enough.
    let directory = tempfile::tempdir().unwrap();
    let same = directory.path().join("same");
    let same = same.to_str().unwrap();
    assert_eq!(call(&["export-keys", "--out", same]).0, 0);
    let (code, out, said) = deploy(&key, &["--yes", "--also", same]);
    assert_eq!((code, out.as_str()), (1, ""), "{said}");
    assert!(said.contains("these keys are named already"), "{said}");
    assert_eq!(sent(), before, "nothing was sent");
    let (code, _, said) = deploy("0x12", &["--yes"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ROLLUP_PROVER_L1_KEY has no key"), "{said}");
    let (code, out, said) = deploy(&key, &["--yes", "--silence", "7200"]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(ANVIL_KEY) && !out.contains(ANVIL_KEY));
    let deployed: Value = serde_json::from_str(&out).unwrap();
    let (code, answer) = verify_deployed(&anvil, deployed["rollup"].as_str().unwrap());
    assert_eq!(code, 0, "{answer}");
    assert_eq!(answer["report"]["immutables"]["silence"], "0x1c20", "{answer}");
    let operator = L1::connect(anvil.url(), ANVIL_KEY).unwrap().account();
    assert_eq!(
        answer["roles"]["operator"]["holder"],
        format!("{operator:?}"),
        "{answer}"
    );
    let nobody = format!("0x{}", "00".repeat(20));
    assert_eq!(answer["roles"]["governor"]["holder"], nobody.as_str(), "{answer}");
}

#[test]
fn what_is_exported_makes_the_very_code() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let (code, said) = call(&["export-verifier", "--json", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&said).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).unwrap();
    for contract in ["RootVerifier", "Rollup", "Poseidon", "Directory"] {
        let input = read(&format!("{contract}.input.json"));
        let code = solc::compile_input(&tools, input, &format!("{contract}.sol"), contract).unwrap();
        let written = |suffix: &str| read(&format!("{contract}.{suffix}"));
        assert_eq!(written("bin"), format!("0x{}", hex::encode(&code.creation)));
        assert_eq!(
            written("runtime.bin"),
            format!("0x{}", hex::encode(&code.runtime))
        );
        let abi: Value = serde_json::from_str(&written("abi.json")).unwrap();
        assert_eq!(abi, code.abi);
    }
    let constructors: Value = serde_json::from_str(&read("constructors.json")).unwrap();
    let [parameters, verifiers] = constructors["Rollup"].as_array().unwrap().as_slice() else {
        panic!("{constructors}")
    };
    assert_eq!(verifiers["value"][0]["vkDigest"], said["vk_digest"]);
    let names = |list: &Value| -> Vec<String> {
        let list = list["components"].as_array().unwrap().iter();
        list.map(|part| part["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let abi: Value = serde_json::from_str(&read("Rollup.abi.json")).unwrap();
    let constructor = abi
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["type"] == "constructor");
    assert_eq!(names(parameters), names(&constructor.unwrap()["inputs"][0]));
    let source = read("RootVerifier.sol");
    assert!(source.contains(said["vk_digest"].as_str().unwrap()));
    for name in said["sha256"].as_object().unwrap().keys() {
        assert!(out.join(name).is_file(), "{name}");
    }
    // The same again, byte for byte.
    let again = directory.path().join("again");
    call(&["export-verifier", "--out", again.to_str().unwrap()]);
    let names = |of: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(of)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&out), names(&again));
    for name in names(&out) {
        assert_eq!(
            fs::read(out.join(&name)).unwrap(),
            fs::read(again.join(&name)).unwrap()
        );
    }
}
