//! The L1 side of the demo: deployment, tampered submissions, and the true ones.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall as _;
use anyhow::{Context, Result, ensure};
use proto::v1::GetProofResponse;
use rules::Fr;
use rules::state::State;
use verifier_contracts::generator::Rendered;
use verifier_contracts::l1::{Call, DeployConfig, Deployment, L1Error, TRANSACTION_GAS_MAX};
use verifier_contracts::rollup::{self, Contracts, IVerifier, RootSubmission};
use verifier_contracts::solc::{self, Code, Runs};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier::{self, CompiledVerifier};

use super::people::Person;

/// Seconds in an hour and in a day.
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// All that there is of the demo's token, in its smallest units.
pub const TOKEN_SUPPLY: u128 = 1_000_000_000_000;

/// What is deployed.
pub struct Compiled {
    verifier: CompiledVerifier,
    contracts: Contracts,
    token: Code,
}

/// Compiles a generated verifier, the rollup's contracts, and a token.
///
/// # Errors
/// When the compiler refuses.
pub fn compile(tools: &Tools, rendered: Rendered) -> Result<Compiled> {
    let sources = [("DemoToken.sol", include_str!("DemoToken.sol"))];
    Ok(Compiled {
        verifier: verifier::compile(tools, rendered).context("cannot compile the verifier")?,
        contracts: rollup::compile(tools).context("cannot compile the rollup's contracts")?,
        token: solc::compile(tools, &sources, Runs::Size, "DemoToken.sol", "DemoToken")
            .context("cannot compile the token")?,
    })
}

/// What the demo's rollup fixes: deadlines as short as the contract allows, so that little time has to pass.
fn config(operator: &Person) -> DeployConfig {
    let l1_address = operator.l1.account();
    DeployConfig {
        due_after_s: HOUR_S,
        freeze_after_s: 7 * DAY_S,
        // A batch is made by this machine's clock, which does not run ahead with anvil's.
        batch_age_s_max: 7 * DAY_S,
        ..DeployConfig::new(l1_address, l1_address, operator.key.public())
    }
}

/// Deploys the rollup.
///
/// # Errors
/// When L1 refuses.
pub async fn deploy(operator: &Person, compiled: &Compiled) -> Result<Deployment> {
    let verifiers = [&compiled.verifier];
    let deployed = Deployment::deploy(&operator.l1, &compiled.contracts, &verifiers, &config(operator)).await;
    let (deployment, gas) = deployed.context("cannot deploy the contracts")?;
    tracing::info!(?gas, "deployed");
    ensure!(
        deployment.state_root().await? == State::default().root(),
        "the contract does not begin with the empty state"
    );
    Ok(deployment)
}

/// Deploys the token, all of which its maker has.
///
/// # Errors
/// When L1 refuses.
pub async fn deploy_token(maker: &Person, compiled: &Compiled) -> Result<Address> {
    let supply = U256::from(TOKEN_SUPPLY).to_be_bytes::<32>();
    let code = [compiled.token.creation.as_slice(), &supply].concat();
    let receipt = maker
        .l1
        .transact(Call::create(code))
        .await
        .context("cannot deploy the token")?;
    receipt
        .contract_address
        .context("the token's deployment made no contract")
}

/// Gas that the verifier takes for a proof, called by itself: what the transaction takes beside its calldata and the flat part.
///
/// # Errors
/// When it does not accept the proof, or L1 fails.
pub async fn verify_gas(deployment: &Deployment, proof: &GetProofResponse) -> Result<u64> {
    const FLAT: u64 = 21_000;
    const TOKEN_GAS: u64 = 4;
    let verifier = deployment
        .addresses()
        .verifiers
        .first()
        .context("the rollup has no verifier")?;
    let instances = proof.instances.iter().map(|word| U256::from_be_slice(word));
    let call = IVerifier::verifyCall {
        proof: proof.proof.to_vec().into(),
        instances: instances.collect(),
    };
    let data = call.abi_encode();
    let caller = deployment.l1();
    let answer = caller.call(*verifier, data.clone()).await?;
    ensure!(
        answer.as_ref() == U256::from(1).to_be_bytes::<32>(),
        "the verifier does not accept the proof by itself"
    );
    let tokens: u64 = data.iter().map(|byte| if *byte == 0 { 1 } else { 4 }).sum();
    let call = Call::new(*verifier, data).with_gas(TRANSACTION_GAS_MAX);
    let receipt = caller.transact(call).await?;
    Ok(receipt.gas_used.saturating_sub(FLAT + TOKEN_GAS * tokens))
}

/// Asks L1 to take tampered versions of a submission that it would take as it is; returns by which error it
/// refused each.
///
/// # Errors
/// When L1 would take one of them.
pub async fn refuse_tampered(
    deployment: &Deployment,
    submission: &RootSubmission,
) -> Result<BTreeMap<String, String>> {
    let mut errors = BTreeMap::new();
    for (name, tampered) in tampered(submission) {
        let error = refusal(deployment, &tampered).await?;
        let error = error.with_context(|| format!("L1 would accept a batch with {name}"))?;
        errors.insert(name.to_string(), error);
    }
    Ok(errors)
}

/// One version for each thing that a dishonest operator would like to change.
fn tampered(submission: &RootSubmission) -> [(&'static str, RootSubmission); 3] {
    let (mut proof, mut data, mut root) = (submission.clone(), submission.clone(), submission.clone());
    // The last byte of the first scalar that follows the proof's points would do as well; a byte in the middle
    // is a point or a scalar whatever the layout is.
    let middle = proof.proof.len() / 2;
    proof.proof[middle] ^= 1;
    // The last byte of the first element: it stays an element, of another transfer.
    let byte = 30.min(data.data_b.len().saturating_sub(1));
    data.data_b[byte] ^= 1;
    root.new_root += Fr::one();
    [
        ("a tampered proof", proof),
        ("tampered data", data),
        ("a tampered new root", root),
    ]
}

/// By which error L1 refuses a submission; none when it would take it.
///
/// # Errors
/// When L1 cannot be asked.
pub async fn refusal(deployment: &Deployment, submission: &RootSubmission) -> Result<Option<String>> {
    refused(deployment.check(&submission.to_call()).await)
}

/// By which error the contract refused a call; none when it did not.
///
/// # Errors
/// When L1 failed otherwise.
pub fn refused<T>(answer: Result<T, L1Error>) -> Result<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(L1Error::Rejected(rejection)) => {
            let debug = format!("{rejection:?}");
            // The variant's name is the Solidity error's.
            let name = debug
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default();
            Ok(Some(format!("{name}: {rejection}")))
        }
        Err(error) => Err(error).context("cannot ask L1"),
    }
}
