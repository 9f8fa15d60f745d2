//! The contracts that keys make: written to files, deployed, and compared with what is on a chain.

use std::path::PathBuf;
use std::sync::Arc;

use alloy::primitives::{Address, U256};
use anyhow::{Context, Result};
use keys::VerifyingKeys;
use keys::whole_file::{self, Folder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use verifier_contracts::deployed;
use verifier_contracts::l1::{DeployConfig, Deployment, L1, L1Error};
use verifier_contracts::rollup::{self, Contracts};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::{self, CompiledVerifier};

use super::keys::{ensured, exported, l1_tools};
use super::wallet::ether;
use crate::args::{DeployArgs, ExportArgs, KeyArgs, ParameterArgs, VerifyDeployedArgs};
use crate::consent;
use crate::derived::l1_failure;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::proof_file::to_hex;
use crate::wallet::keys::{L1_KEY_VARIABLE, Secret, owner_text};

/// Writes verifier and rollup contracts: sources, compiler's input, interfaces, code, what their constructors take; and the manifest.
///
/// # Errors
/// When the compiler refuses or a file cannot be written.
pub fn export_verifier(args: &ExportArgs, progress: &Progress) -> Result<()> {
    let keys = ensured(&args.keys, progress)?;
    let tools = l1_tools(args.tools_dir.as_deref(), &mut |line| progress.say(line))?;
    let (verifier, contracts) = compile_one(&keys, &tools, progress)?;
    let mut files = vec![
        ("RootVerifier.sol".to_owned(), verifier.solidity.clone()),
        (
            "manifest.json".to_owned(),
            serde_json::to_string_pretty(keys.manifest())?,
        ),
    ];
    let sources = rollup::SOURCES.iter();
    files.extend(sources.map(|(name, source)| ((*name).to_owned(), (*source).to_owned())));
    for (name, code) in [
        ("RootVerifier", &verifier.code),
        ("Rollup", &contracts.rollup),
        ("Poseidon", &contracts.poseidon),
        ("Directory", &contracts.directory),
    ] {
        let abi = serde_json::to_string_pretty(&code.abi)?;
        files.extend([
            (format!("{name}.input.json"), code.input.clone()),
            (format!("{name}.abi.json"), abi),
            (format!("{name}.bin"), to_hex(&code.creation)),
            (format!("{name}.runtime.bin"), to_hex(&code.runtime)),
        ]);
    }
    files.push((
        "constructors.json".to_owned(),
        serde_json::to_string_pretty(&constructors(&verifier, &contracts))?,
    ));
    let _folder = Folder::make(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let mut digests = serde_json::Map::new();
    for (name, content) in &files {
        let path = args.out.join(name);
        whole_file::write(&path, content.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        digests.insert(name.clone(), to_hex(&Sha256::digest(content)).into());
    }
    if args.json {
        return output::json(&json!({
            "directory": args.out,
            "sha256": digests,
            "vk_digest": verifier.vk_digest,
            "queue_capacity": verifier.queue_capacity,
            "proof_bytes": keys.aggregation().proof_bytes(),
            "runtime_bytes": verifier.code.runtime.len(),
        }));
    }
    output::line(args.out.display())
}

/// What the constructors take, in their order (P-17.1): the usual values, and null for what only an operator knows.
fn constructors(verifier: &CompiledVerifier, contracts: &Contracts) -> Value {
    // Whoever deploys says who these are.
    let nobody = rules::eddsa::PublicKey(rules::babyjub::BASE8);
    let usual = DeployConfig::new(Address::ZERO, Address::ZERO, nobody);
    let number = |name: &str, value: u64| json!({ "name": name, "type": "uint64", "value": value });
    let operators = |name: &str, kind: &str| json!({ "name": name, "type": kind, "value": null });
    json!({
        "Poseidon": [],
        "Directory": null,
        "RootVerifier": [],
        "Rollup": [
            { "name": "p", "type": "tuple", "components": [
                number("dueAfter", usual.due_after_s),
                number("silence", usual.silence_s),
                number("freezeAfter", usual.freeze_after_s),
                number("consumedMax", usual.consumed_max(&[verifier])),
                number("batchAgeMax", usual.batch_age_s_max),
                number("delay", usual.delay_s),
                { "name": "tokenPrice", "type": "uint256", "value": usual.token_price.to_string() },
                operators("operator", "address"),
                operators("feeAddress", "address"),
                operators("feeKeyX", "uint256"),
                operators("feeKeyY", "uint256"),
                { "name": "governor", "type": "address", "value": usual.governor },
                { "name": "guardian", "type": "address", "value": usual.guardian },
                operators("poseidon", "address"),
                { "name": "poseidonCodeHash", "type": "bytes32",
                  "value": alloy::primitives::keccak256(&contracts.poseidon.runtime) },
            ] },
            { "name": "first", "type": "tuple[]", "value": [
                { "addr": null, "vkDigest": verifier.vk_digest, "gasCap": usual.verifier_gas_cap },
            ] },
        ],
    })
}

/// Deploys the contract of `H`, the verifiers and the rollup.
///
/// # Errors
/// When a parameter is out of range, L1 refuses, or nobody says yes.
pub async fn deploy(args: DeployArgs, progress: &Progress) -> Result<()> {
    let secret = Secret::find(
        args.l1_key.l1_key_file.as_deref(),
        "--l1-key-file",
        L1_KEY_VARIABLE,
    )?;
    let l1 = L1::connect(&args.rpc, &secret.to_text()).map_err(l1_failure)?;
    let config = config(&args.parameters, l1.account());
    let all = all_keys(&args.keys, &args.also, progress)?;
    // Before the compiler is asked for anything.
    let rooms = all.iter().map(|keys| keys.manifest().queue_capacity() as u64);
    let rooms: Vec<u64> = rooms.collect();
    let places = l1.predict(rooms.len()).await.map_err(l1_failure)?;
    let checked = config.check(&rooms, places.rollup);
    checked.map_err(|error| deploy_failure(error.into()))?;
    let tools = l1_tools(args.tools_dir.as_deref(), &mut |line| progress.say(line))?;
    let (verifiers, contracts) = compile(&all, &tools, progress)?;
    let verifiers: Vec<&CompiledVerifier> = verifiers.iter().collect();
    let rehearsed = Deployment::rehearse(&l1, &contracts, &verifiers, &config).await;
    let is_rehearsed = rehearsed.map_err(deploy_failure)?;
    let chain_id = l1.chain_id().await.map_err(l1_failure)?;
    let mut lines = lines(&config, &verifiers);
    lines.push(format!(
        "on chain {chain_id}, from the L1 account {}",
        l1.account()
    ));
    lines.push(match is_rehearsed {
        true => "the constructor was run without a transaction, and takes it".to_owned(),
        false => "the parameters are in their ranges; this endpoint cannot run the constructor without a transaction".to_owned(),
    });
    if all.iter().any(|keys| keys.manifest().insecure_srs) {
        lines.push(
            "INSECURE: the secret of these keys' reference string is published, so anyone can forge a proof"
                .to_owned(),
        );
    }
    consent::ask(&args.consent, "to be deployed", &lines)?;
    let step = progress.step("deploy contracts");
    let deployed = Deployment::deploy(&l1, &contracts, &verifiers, &config).await;
    let (deployment, gas) = deployed.map_err(deploy_failure)?;
    let addresses = deployment.addresses();
    step.finish(&addresses.rollup.to_string());
    if args.consent.json {
        return output::json(&json!({
            "chain_id": chain_id.to_string(),
            "rollup": addresses.rollup,
            "poseidon": addresses.poseidon,
            "verifiers": addresses.verifiers,
            "gas": { "rollup": gas.rollup, "poseidon": gas.poseidon, "verifiers": gas.verifiers },
        }));
    }
    output::line(addresses.rollup)
}

/// Why there is no deployment: a parameter by the option that gives it.
fn deploy_failure(error: L1Error) -> anyhow::Error {
    match error {
        L1Error::Parameter(error) => {
            let message = format!("{}: {error}; nothing was sent", option(error.name));
            Failure::new(Exit::Refused, message).into()
        }
        error => l1_failure(error),
    }
}

/// The option that gives a parameter of the constructor's.
fn option(parameter: &str) -> &'static str {
    match parameter {
        "dueAfter" => "--due-after",
        "silence" => "--silence",
        "freezeAfter" => "--freeze-after",
        "consumedMax" | "queueCapacity" => "--consumed-max",
        "batchAgeMax" => "--batch-age",
        "delay" => "--delay",
        "tokenPrice" => "--token-price-wei",
        "operator" => "--operator",
        "feeAddress" => "--fee-address",
        "feeKey" => "--fee-owner",
        "gasCap" => "--verifier-gas-cap",
        _ => "--also",
    }
}

/// The parameters of P-17.1: the usual ones, but for what is said.
fn config(args: &ParameterArgs, deployer: Address) -> DeployConfig {
    let operator = args.operator.map_or(deployer, Address::from);
    let fee_address = args.fee_address.map_or(operator, Address::from);
    let usual = DeployConfig::new(operator, fee_address, args.fee_owner);
    let role = |given: Option<[u8; 20]>| given.map_or(Address::ZERO, Address::from);
    DeployConfig {
        due_after_s: args.due_after.unwrap_or(usual.due_after_s),
        silence_s: args.silence.unwrap_or(usual.silence_s),
        freeze_after_s: args.freeze_after.unwrap_or(usual.freeze_after_s),
        consumed_max: args.consumed_max,
        batch_age_s_max: args.batch_age.unwrap_or(usual.batch_age_s_max),
        delay_s: args.delay.unwrap_or(usual.delay_s),
        token_price: args.token_price_wei.map_or(usual.token_price, U256::from),
        governor: role(args.governor),
        guardian: role(args.guardian),
        verifier_gas_cap: args.verifier_gas_cap.unwrap_or(usual.verifier_gas_cap),
        ..usual
    }
}

fn lines(config: &DeployConfig, verifiers: &[&CompiledVerifier]) -> Vec<String> {
    let mut lines = vec![
        "a rollup of protocol version 2, which nobody can change (P-14.1)".to_owned(),
        format!(
            "an entry is due after {} s, and the rollup freezes {} s later",
            config.due_after_s, config.freeze_after_s
        ),
        format!("anybody submits after {} s of silence", config.silence_s),
        format!(
            "a batch must consume {} due entries at most",
            config.consumed_max(verifiers)
        ),
        format!("a batch's time may be {} s old", config.batch_age_s_max),
        format!("a token's id costs {} at first", ether(config.token_price)),
        format!("operator {}", config.operator),
        format!(
            "fees to {} on L1, and in accounts of the key {}",
            config.fee_address,
            owner_text(&config.fee_key)
        ),
        match config.governor {
            Address::ZERO => "governor nobody, for ever".to_owned(),
            governor => format!("governor {governor}, {} s after an announcement", config.delay_s),
        },
        match config.guardian {
            Address::ZERO => "guardian nobody, for ever".to_owned(),
            guardian => format!("guardian {guardian}"),
        },
    ];
    lines.extend(verifiers.iter().map(|verifier| {
        format!(
            "verifier of the key {} for {} operations of the queue a batch, with {} gas",
            verifier.vk_digest, verifier.queue_capacity, config.verifier_gas_cap
        )
    }));
    lines
}

/// Compares a deployed rollup contract, and its verifiers, with what the keys make.
///
/// # Errors
/// [`Exit::ProofInvalid`] when anything differs; [`Exit::Unavailable`] when the endpoint does not answer.
pub async fn verify_deployed(args: VerifyDeployedArgs, progress: &Progress) -> Result<()> {
    let l1 = L1::reader(&args.rpc)?;
    let keys = all_keys(&args.keys, &args.also, progress)?;
    let tools = l1_tools(args.tools_dir.as_deref(), &mut |line| progress.say(line))?;
    let (verifiers, contracts) = compile(&keys, &tools, progress)?;
    let verifiers: Vec<&CompiledVerifier> = verifiers.iter().collect();
    let report = deployed::compare(&l1, args.address.into(), &verifiers, &contracts).await;
    let report = report.map_err(l1_failure)?;
    // What other code says of them means nothing.
    let roles = match report.is_genuine() {
        true => {
            let deployment = Deployment::at(&l1, args.address.into())
                .await
                .map_err(l1_failure)?;
            Some(deployment.roles().await.map_err(l1_failure)?)
        }
        false => None,
    };
    let holders = roles.iter().flat_map(|roles| {
        [
            ("operator", roles.operator, roles.pending_operator),
            ("governor", roles.governor, roles.pending_governor),
            ("guardian", roles.guardian, roles.pending_guardian),
        ]
    });
    if args.json {
        let roles: serde_json::Map<String, Value> = holders
            .map(|(role, holder, pending)| (role.to_owned(), json!({ "holder": holder, "pending": pending })))
            .collect();
        output::json(&json!({ "genuine": report.is_genuine(), "report": &report, "roles": roles }))?;
    } else {
        for (role, holder, pending) in holders {
            let mut line = match holder {
                Address::ZERO => format!("{role}: nobody, for ever"),
                holder => format!("{role}: {holder}"),
            };
            if pending != Address::ZERO {
                line += &format!(", who offers the role to {pending}");
            }
            output::line(line)?;
        }
        for (name, value) in &report.immutables {
            output::line(format!("{name}: {value:#x}"))?;
        }
        for verifier in &report.verifiers {
            output::line(format!(
                "verifier {}: {} of the key {}",
                verifier.id, verifier.address, verifier.vk_digest
            ))?;
        }
        for difference in &report.differences {
            output::line(difference)?;
        }
    }
    if report.is_genuine() {
        if !args.json {
            output::line("the contracts are those of these sources and keys")?;
        }
        return Ok(());
    }
    let message = "the contracts are not those of these sources and keys";
    Err(Failure::new(Exit::ProofInvalid, message).into())
}

/// The keys that the arguments name, and those of more folders that `export-keys` wrote.
fn all_keys(args: &KeyArgs, also: &[PathBuf], progress: &Progress) -> Result<Vec<Arc<VerifyingKeys>>> {
    let mut keys = vec![ensured(args, progress)?];
    for folder in also {
        let more = exported(folder, &args.srs)?;
        let digest = |keys: &VerifyingKeys| keys.aggregation().digest();
        anyhow::ensure!(
            keys.iter().all(|keys| digest(keys) != digest(&more)),
            "--also {}: these keys are named already, and one verifier of them is enough",
            folder.display()
        );
        keys.push(more);
    }
    Ok(keys)
}

fn compile(
    keys: &[Arc<VerifyingKeys>],
    tools: &Tools,
    progress: &Progress,
) -> Result<(Vec<CompiledVerifier>, Contracts)> {
    let step = progress.step("compile contracts");
    let verifiers = keys
        .iter()
        .map(|keys| verifier::compile(tools, verifier::render(keys)));
    let verifiers = verifiers
        .collect::<Result<_, _>>()
        .context("cannot compile the verifier")?;
    let contracts = rollup::compile(tools).context("cannot compile the rollup's contracts")?;
    step.finish("");
    Ok((verifiers, contracts))
}

fn compile_one(
    keys: &Arc<VerifyingKeys>,
    tools: &Tools,
    progress: &Progress,
) -> Result<(CompiledVerifier, Contracts)> {
    let (mut verifiers, contracts) = compile(std::slice::from_ref(keys), tools, progress)?;
    Ok((verifiers.remove(0), contracts))
}
