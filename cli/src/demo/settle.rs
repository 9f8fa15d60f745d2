//! The L1 side of the demo: deployment, tampered submissions, and the true ones.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use proto::v1::GetProofResponse;
use rules::{Fr, field};
use verifier_contracts::generator::Rendered;
use verifier_contracts::l1::{Accepted, DeployConfig, Deployment, L1, L1Error};
use verifier_contracts::rollup::{self, RootSubmission};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier;

/// Compiles a generated verifier, and deploys it and the rollup contract.
///
/// # Errors
/// When the compiler or L1 refuses.
pub async fn deploy(l1: &L1, tools: &Tools, rendered: Rendered, genesis_root: Fr) -> Result<Deployment> {
    let tools = tools.clone();
    // The compiler is another process that runs for seconds.
    let compiled = tokio::task::spawn_blocking(move || -> Result<_> {
        let verifier = verifier::compile(&tools, rendered).context("cannot compile the verifier")?;
        let rollup = rollup::compile(&tools).context("cannot compile the rollup contract")?;
        Ok((verifier, rollup))
    });
    let (verifier, rollup) = compiled.await.context("compiling panicked")??;
    let (deployment, gas) = Deployment::deploy(l1, &verifier, &rollup, &DeployConfig::new(genesis_root))
        .await
        .context("cannot deploy the contracts")?;
    tracing::info!(verifier_gas = gas.verifier, rollup_gas = gas.rollup, "deployed");
    ensure!(
        deployment.state_root().await? == genesis_root,
        "the contract does not have the genesis root"
    );
    Ok(deployment)
}

/// What L1 gets for a proven batch.
///
/// # Errors
/// When the coordinator's answer is no root proof.
pub fn submission(proof: &GetProofResponse) -> Result<RootSubmission> {
    let parse = |(index, element): (usize, &bytes::Bytes)| -> Result<Fr> {
        let bytes: &[u8; 32] = element
            .as_ref()
            .try_into()
            .with_context(|| format!("instance {index} is not 32 bytes"))?;
        field::from_be(bytes).with_context(|| format!("instance {index}"))
    };
    let instances = proof
        .instances
        .iter()
        .enumerate()
        .map(parse)
        .collect::<Result<Vec<Fr>>>()?;
    RootSubmission::new(
        proof.batch_number,
        &instances,
        proof.posted_a.to_vec(),
        proof.posted_b.to_vec(),
        proof.proof.to_vec(),
    )
    .context("the coordinator's answer is no root proof")
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

/// Submits a batch that L1 must take.
///
/// # Errors
/// When L1 refuses it, or does not have the new root afterwards.
pub async fn settle(deployment: &Deployment, submission: &RootSubmission) -> Result<Accepted> {
    let accepted = deployment
        .submit_batch(submission)
        .await
        .context("L1 does not take the batch")?;
    ensure!(
        deployment.state_root().await? == submission.new_root && accepted.new_root == submission.new_root,
        "L1 took the batch but does not have its new root"
    );
    Ok(accepted)
}

/// By which error L1 refuses a submission; none when it would take it.
///
/// # Errors
/// When L1 cannot be asked.
pub async fn refusal(deployment: &Deployment, submission: &RootSubmission) -> Result<Option<String>> {
    match deployment.check(&submission.to_call()).await {
        Ok(()) => Ok(None),
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
