//! A reference string in memory, and which one it is.

use halo2_proofs::{
    halo2curves::{
        bn256::{Bn256, G1Affine, G2Affine},
        group::GroupEncoding,
    },
    poly::{commitment::ParamsProver, kzg::commitment::ParamsKZG},
};
use rules::digest::Digest;

use crate::{opening::OpeningKey, secret::development_key};

/// Largest `k` that is ever read: what the largest published ceremonies hold.
pub const K_MAX: u32 = 28;

/// Which SRS it is, whatever its size: the digest covers the generators and the secret's image in G2, which fix all powers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrsId {
    /// BLAKE3 of a domain, the insecure flag, and the compressed `g`, `g2`, `s·g2`.
    pub digest: Digest,
    /// True when the secret is published: that of [`crate::development`] is, in a file too.
    pub insecure: bool,
}

/// An SRS that has been checked, or made here.
#[derive(Clone, Debug)]
pub struct Srs {
    /// The powers, `2^k` of them, and the Lagrange basis.
    pub params: ParamsKZG<Bn256>,
    /// Which SRS it is.
    pub id: SrsId,
}

impl Srs {
    /// The verifier's part.
    pub fn opening_key(&self) -> OpeningKey {
        OpeningKey {
            g1: self.params.get_g()[0],
            g2: self.params.g2(),
            s_g2: self.params.s_g2(),
        }
    }
}

impl SrsId {
    /// The identity of the SRS with these elements. It is insecure when it is the development SRS, wherever it comes
    /// from.
    pub fn new(key: &OpeningKey) -> Self {
        let insecure = key.s_g2 == development_key().s_g2;
        let mut hasher = blake3::Hasher::new_derive_key("zk-rollup-prover/srs/v1");
        hasher.update(&[insecure as u8]);
        hasher.update(key.g1.to_bytes().as_ref());
        hasher.update(key.g2.to_bytes().as_ref());
        hasher.update(key.s_g2.to_bytes().as_ref());
        Self {
            digest: Digest(*hasher.finalize().as_bytes()),
            insecure,
        }
    }
}

/// `ParamsKZG` of these parts. halo2's constructor asks for an instance, which it does not read.
pub fn params_from_parts(
    k: u32,
    g: Vec<G1Affine>,
    g_lagrange: Vec<G1Affine>,
    g2: G2Affine,
    s_g2: G2Affine,
) -> ParamsKZG<Bn256> {
    let unread = ParamsKZG::<Bn256>::setup(0, rand::rngs::mock::StepRng::new(1, 1));
    unread.from_parts(k, g, Some(g_lagrange), g2, s_g2)
}
