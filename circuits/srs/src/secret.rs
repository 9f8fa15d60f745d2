//! The secret of the development SRS, which is published here: whoever reads this file can forge proofs under that SRS.

use std::sync::OnceLock;

use halo2curves::{
    bn256::{Fr, G1Affine, G2Affine},
    ff::FromUniformBytes,
    group::Curve,
};
use sha2::{Digest as _, Sha512};

use crate::opening::OpeningKey;

/// The secret of the development SRS is SHA-512 of this text, reduced modulo r.
pub const DEVELOPMENT_SEED: &str = "zk-rollup-prover/insecure-development-srs/v1";

/// What verifies proofs under the development SRS.
pub(crate) fn development_key() -> OpeningKey {
    static KEY: OnceLock<OpeningKey> = OnceLock::new();
    *KEY.get_or_init(|| {
        let g2 = G2Affine::generator();
        OpeningKey {
            g1: G1Affine::generator(),
            g2,
            s_g2: (g2 * secret()).to_affine(),
        }
    })
}

/// The secret itself.
pub(crate) fn secret() -> Fr {
    Fr::from_uniform_bytes(&Sha512::digest(DEVELOPMENT_SEED).into())
}
