//! The circuit of a preset: for its keys, and for a batch whose children were checked.

use halo2curves::{bn256::Fr, ff::Field};
use rayon::prelude::*;

use super::{ChildError, RecursionCircuit};
use crate::{
    aggregation::{AggregationInput, ChildProof},
    plonk::{ProofError, Shape, Transcript, VerifyingKey},
    preset::Preset,
};
use rules::statement::{ChainError, root_statement};

/// Why no aggregation circuit was built.
#[derive(Debug, thiserror::Error)]
pub enum AggregationError {
    /// The children do not make one batch.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A child's proof does not verify.
    #[error("child {child}: {source}")]
    Child {
        /// The child's place.
        child: usize,
        /// What is wrong with it.
        source: ProofError,
    },
}

/// The circuit that keys are generated for. Its children prove nothing: they shape no layout.
pub fn keygen_circuit(preset: &Preset, shard: &Shape) -> RecursionCircuit {
    let child = ChildProof {
        instances: vec![Fr::ZERO; shard.instances],
        proof: shard.placeholder(Transcript::Poseidon),
    };
    RecursionCircuit::new(shard, &vec![child; preset.children]).expect("a placeholder has a proof's form")
}

/// The circuit that a root proof is made for; its instances are those of P-8.4.
///
/// # Errors
/// [`AggregationError`] when the children do not chain, or one of them does not verify. Nothing is built before.
pub fn prover_circuit(
    preset: &Preset,
    shard: &VerifyingKey,
    input: &AggregationInput,
) -> Result<RecursionCircuit, AggregationError> {
    let instances: Vec<&[_]> = input.children.iter().map(|child| &child.instances[..]).collect();
    root_statement(&instances, preset.children)?;
    let verify = |(child, ChildProof { instances, proof }): (usize, &ChildProof)| {
        let verified = shard.verify(instances, proof);
        verified.map_err(|source| AggregationError::Child { child, source })
    };
    let verified: Vec<_> = input.children.par_iter().enumerate().map(verify).collect();
    verified.into_iter().collect::<Result<(), _>>()?;
    RecursionCircuit::new(&shard.shape, &input.children)
        .map_err(|ChildError { child, source }| AggregationError::Child { child, source })
}
