//! Judges proofs before they are accepted.

use std::sync::Arc;

use keys::VerifyingKeys;
use rules::Fr;

/// Verifies proofs. Blocking; milliseconds.
///
/// The coordinator's own is the verifying keys of a preset ([`crate::Coordinator::start`]); another one is for another proof
/// system, and for tests.
pub trait Verifier: Send + Sync + 'static {
    /// Verifies a shard's proof against its 17 instances.
    ///
    /// # Errors
    /// What is wrong with it.
    fn shard(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String>;

    /// Verifies a root proof against its 17 instances, the pairing of the accumulator included.
    ///
    /// # Errors
    /// What is wrong with it.
    fn root(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String>;
}

/// Verifying keys.
pub(crate) struct KeyVerifier(pub Arc<VerifyingKeys>);

impl Verifier for KeyVerifier {
    fn shard(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        self.0
            .verify_shard(instances, proof)
            .map_err(|error| error.to_string())
    }

    fn root(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        self.0
            .verify_root(instances, proof)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
