//! A verifying key: all that a verifier needs, in a file of some kilobytes.

use halo2_proofs::plonk;
use halo2curves::bn256::{Fr, G1Affine, G2Affine};

use super::{
    native::{accumulate, accumulate_evm, pairs},
    proof::{Proof, ProofError, Transcript},
    shape::Shape,
};
use rules::digest::Digest;
use srs::OpeningKey;

/// What a proof is verified with: its shape, how it is written and hashed, and the reference string's secret in G2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    /// How proofs are written and hashed.
    pub transcript: Transcript,
    /// The reference string's secret times the generator of G2.
    pub s_g2: G2Affine,
    /// What the key fixes about its proofs.
    pub shape: Shape,
}

impl VerifyingKey {
    /// The key of a circuit with `instances` values in one instance column. Panics as [`Shape::new`] does.
    pub fn new(
        vk: &plonk::VerifyingKey<G1Affine>,
        instances: usize,
        transcript: Transcript,
        opening: &OpeningKey,
    ) -> Self {
        Self {
            transcript,
            s_g2: opening.s_g2,
            shape: Shape::new(vk, instances),
        }
    }

    /// The digest that every transcript under this key begins with, 32 bytes big endian.
    pub fn transcript_digest(&self) -> Digest {
        Digest(rules::field::to_be(&self.shape.digest))
    }

    /// The verifier's part of the reference string.
    pub fn opening_key(&self) -> OpeningKey {
        OpeningKey::of_secret(self.s_g2)
    }

    /// Bytes of every proof.
    pub fn proof_bytes(&self) -> usize {
        self.shape.proof_bytes(self.transcript)
    }

    /// Verifies a proof.
    ///
    /// # Errors
    /// [`ProofError`] says what is wrong; it does not panic on any bytes.
    pub fn verify(&self, instances: &[Fr], proof: &[u8]) -> Result<(), ProofError> {
        let proof = Proof::read(&self.shape, self.transcript, instances, proof)?;
        let accumulator = match self.transcript {
            Transcript::Poseidon => accumulate(&self.shape, &[proof]),
            Transcript::Evm => accumulate_evm(&self.shape, &proof),
        };
        let accumulator = accumulator.map_err(|_| ProofError::Refused)?;
        if pairs(&self.opening_key(), &accumulator) {
            Ok(())
        } else {
            Err(ProofError::Refused)
        }
    }
}
