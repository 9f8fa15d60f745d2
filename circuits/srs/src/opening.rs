//! The verifier's part of a reference string.

use halo2_proofs::halo2curves::bn256::{G1Affine, G2Affine};

/// The part of an SRS that a verifier needs. A few hundred bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningKey {
    /// Generator of G1.
    pub g1: G1Affine,
    /// Generator of G2.
    pub g2: G2Affine,
    /// The secret times `g2`.
    pub s_g2: G2Affine,
}

impl OpeningKey {
    /// The key of the generators and the secret's image in G2.
    pub fn of_secret(s_g2: G2Affine) -> Self {
        Self {
            g1: G1Affine::generator(),
            g2: G2Affine::generator(),
            s_g2,
        }
    }
}
