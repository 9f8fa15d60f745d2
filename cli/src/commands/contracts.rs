//! The contracts that keys make: written to files, and compared with what is on a chain.

use anyhow::{Context, Result};
use keys::VerifyingKeys;
use keys::whole_file::{self, Folder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use verifier_contracts::deployed;
use verifier_contracts::l1::{DEFAULT_BATCH_AGE_S_MAX, DEFAULT_VERIFIER_GAS_CAP, L1, L1Error};
use verifier_contracts::rollup;
use verifier_contracts::solc::Code;
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::{self, CompiledVerifier};

use super::keys::{ensured, l1_tools};
use crate::args::{ExportArgs, VerifyDeployedArgs};
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;
use crate::proof_file::to_hex;

/// Writes verifier and rollup contract: sources, compiler's input, interface, code, what their constructors take; and the manifest.
///
/// # Errors
/// When the compiler refuses or a file cannot be written.
pub fn export_verifier(args: &ExportArgs, progress: &Progress) -> Result<()> {
    let keys = ensured(&args.keys, progress)?;
    let tools = l1_tools(args.tools_dir.as_deref(), &mut |line| progress.say(line))?;
    let (verifier, rollup) = compile(&keys, &tools, progress)?;
    let mut files = vec![
        ("RootVerifier.sol".to_owned(), verifier.solidity.clone()),
        ("IVerifier.sol".to_owned(), verifier::INTERFACE.to_owned()),
        (
            "manifest.json".to_owned(),
            serde_json::to_string_pretty(keys.manifest())?,
        ),
    ];
    let sources = rollup::SOURCES
        .iter()
        .filter(|(name, _)| *name != "IVerifier.sol");
    files.extend(sources.map(|(name, source)| ((*name).to_owned(), (*source).to_owned())));
    for (name, code) in [("RootVerifier", &verifier.code), ("Rollup", &rollup)] {
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
        serde_json::to_string_pretty(&constructors(&verifier))?,
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
            "proof_bytes": keys.aggregation().proof_bytes(),
            "runtime_bytes": verifier.code.runtime.len(),
        }));
    }
    output::line(args.out.display())
}

/// What the constructors take, in their order; what only an operator knows is null.
fn constructors(verifier: &CompiledVerifier) -> Value {
    json!({
        "RootVerifier": [],
        "Rollup": [
            { "name": "verifier_", "type": "address", "value": null },
            { "name": "vkDigest_", "type": "bytes32", "value": verifier.vk_digest },
            { "name": "genesisRoot", "type": "uint256", "value": null },
            { "name": "verifierGasCap_", "type": "uint256", "value": DEFAULT_VERIFIER_GAS_CAP },
            { "name": "maxBatchAge_", "type": "uint256", "value": DEFAULT_BATCH_AGE_S_MAX },
        ],
    })
}

/// Compares a deployed rollup contract, and its verifier, with what the keys make.
///
/// # Errors
/// [`Exit::ProofInvalid`] when anything differs; [`Exit::Unavailable`] when the endpoint does not answer.
pub async fn verify_deployed(args: VerifyDeployedArgs, progress: &Progress) -> Result<()> {
    let l1 = L1::reader(&args.rpc)?;
    let keys = ensured(&args.keys, progress)?;
    let tools = l1_tools(args.tools_dir.as_deref(), &mut |line| progress.say(line))?;
    let (verifier, rollup) = compile(&keys, &tools, progress)?;
    let report = deployed::compare(&l1, args.address.into(), &verifier, &rollup)
        .await
        .map_err(|error| match error {
            L1Error::Endpoint(_) => Failure::new(Exit::Unavailable, error).into(),
            error => anyhow::Error::from(error),
        })?;
    if args.json {
        output::json(&json!({ "genuine": report.is_genuine(), "report": &report }))?;
    } else {
        for (name, value) in &report.immutables {
            output::line(format!("{name}: {value:#x}"))?;
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

fn compile(keys: &VerifyingKeys, tools: &Tools, progress: &Progress) -> Result<(CompiledVerifier, Code)> {
    let step = progress.step("compile contracts");
    let verifier = verifier::compile(tools, verifier::render(keys)).context("cannot compile the verifier")?;
    let rollup = rollup::compile(tools).context("cannot compile the rollup contract")?;
    step.finish("");
    Ok((verifier, rollup))
}
