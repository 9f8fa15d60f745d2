//! Proven batches on their way to L1: what the coordinator's answers and proof files give, and how it is told why L1 would not take one.

use anyhow::{Context, Result};
use proto::v1::GetProofResponse;
use verifier_contracts::l1::{L1Error, Obstacle, ProvenBatch};
use verifier_contracts::rollup::Rejection;

use crate::derived::l1_failure;
use crate::l1_check;
use crate::output::{self, Exit, Failure};
use crate::proof_file::ProofFile;

/// The batch of a coordinator's answer.
///
/// # Errors
/// When the answer is no root proof, or does not agree with itself.
pub fn of_response(response: &GetProofResponse) -> Result<ProvenBatch> {
    of_file(&ProofFile::from_response(response)?).context("the coordinator's answer")
}

/// The batch of a proof file.
///
/// # Errors
/// [`Exit::ProofInvalid`] when its fields do not agree with each other.
pub fn of_file(file: &ProofFile) -> Result<ProvenBatch> {
    let batch = l1_check::submission(file);
    batch.map_err(|error| Failure::new(Exit::ProofInvalid, output::sentence(&error)).into())
}

/// Why L1 would not take the batch of that number, with what to do about it and the exit code of its kind.
pub fn failure(obstacle: Obstacle, number: u64) -> anyhow::Error {
    let told = match remedy(&obstacle, number) {
        Some(remedy) => format!("{obstacle}; {remedy}"),
        None => obstacle.to_string(),
    };
    let exit = match obstacle {
        Obstacle::Chain { .. } | Obstacle::Contract { .. } => return anyhow::anyhow!(told),
        Obstacle::L1(L1Error::Rejected(Rejection::ProofRejected)) => Exit::ProofInvalid,
        ref obstacle if obstacle.may_pass() => Exit::Unavailable,
        Obstacle::L1(L1Error::Failed { .. }) => Exit::Refused,
        Obstacle::L1(error) if !matches!(error, L1Error::Rejected(_)) => return l1_failure(error),
        _ => Exit::Refused,
    };
    Failure::new(exit, told).into()
}

/// What helps, if anything does but waiting.
fn remedy(obstacle: &Obstacle, number: u64) -> Option<String> {
    if obstacle.is_for_ever() {
        return Some(format!(
            "no waiting mends it: take it back with `rollup-prover rollback --to {number}`, and make it anew"
        ));
    }
    match obstacle {
        Obstacle::Ahead { next, .. } => Some(format!("submit batch {next} first")),
        Obstacle::NotOperator { .. } => Some("submit with the operator's key".to_owned()),
        Obstacle::ConsumesNothing { .. } => Some("make a batch with the queue's oldest entry".to_owned()),
        Obstacle::NoVerifier { .. } => Some(
            "the coordinator must run with the keys of one that is; `rollup-prover verify-deployed` compares them"
                .to_owned(),
        ),
        _ => None,
    }
}
