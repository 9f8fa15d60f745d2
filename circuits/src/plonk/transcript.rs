//! How challenges are drawn, and the writing of a proof under them: what a prover with halo2's interface is given.

use std::io;

use halo2_proofs::transcript::{self as halo2, EncodedChallenge, TranscriptWrite};
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::PrimeField,
    group::prime::PrimeCurveAffine,
};
use num_bigint::BigUint;
use sha3::{Digest as _, Keccak256};

use super::{
    arithmetic::{Native, Sponge},
    proof::{Transcript, base_to_scalar},
};
use rules::field;

/// L1's hash: what is absorbed before a challenge is hashed behind the hash of what came before; a challenge that
/// follows another at once has a 1 in between.
#[derive(Debug, Default)]
pub(crate) struct Keccak {
    buffer: Vec<u8>,
}

impl Keccak {
    /// Takes an element in, big endian.
    pub fn absorb<F: PrimeField<Repr = [u8; 32]>>(&mut self, element: &F) {
        self.buffer.extend(element.to_repr().iter().rev());
    }

    /// A challenge that depends on everything absorbed so far.
    pub fn squeeze(&mut self) -> Fr {
        if self.buffer.len() == 32 {
            self.buffer.push(1);
        }
        self.buffer = Keccak256::digest(&self.buffer).to_vec();
        field::reduce(&BigUint::from_bytes_be(&self.buffer))
    }
}

/// Writes one proof: hashes what a prover tells it, and keeps the bytes that a verifier reads.
#[derive(Debug)]
pub struct ProofWriter {
    transcript: Transcript,
    hash: Hash,
    proof: Vec<u8>,
}

#[derive(Debug)]
enum Hash {
    Poseidon(Sponge<Fr>),
    Keccak(Keccak),
}

/// A challenge, which is a scalar.
#[derive(Clone, Copy, Debug)]
pub struct Challenge(Fr);

impl ProofWriter {
    /// An empty proof.
    pub fn new(transcript: Transcript) -> Self {
        let hash = match transcript {
            Transcript::Poseidon => Hash::Poseidon(Sponge::new(&mut Native::default())),
            Transcript::Evm => Hash::Keccak(Keccak::default()),
        };
        Self {
            transcript,
            hash,
            proof: vec![],
        }
    }

    /// The proof's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.proof
    }
}

impl halo2::Transcript<G1Affine, Challenge> for ProofWriter {
    fn squeeze_challenge(&mut self) -> Challenge {
        Challenge(match &mut self.hash {
            Hash::Poseidon(sponge) => sponge.squeeze(&mut Native::default()),
            Hash::Keccak(keccak) => keccak.squeeze(),
        })
    }

    fn common_point(&mut self, point: G1Affine) -> io::Result<()> {
        if bool::from(point.is_identity()) {
            return Err(io::Error::other("a proof has no point at infinity"));
        }
        match &mut self.hash {
            Hash::Poseidon(sponge) => sponge.absorb(&[point.x, point.y].map(|at| base_to_scalar(&at))),
            Hash::Keccak(keccak) => {
                keccak.absorb(&point.x);
                keccak.absorb(&point.y);
            }
        }
        Ok(())
    }

    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        match &mut self.hash {
            Hash::Poseidon(sponge) => sponge.absorb(&[scalar]),
            Hash::Keccak(keccak) => keccak.absorb(&scalar),
        }
        Ok(())
    }
}

impl TranscriptWrite<G1Affine, Challenge> for ProofWriter {
    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        halo2::Transcript::common_point(self, point)?;
        self.transcript.write_point(&mut self.proof, &point);
        Ok(())
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        halo2::Transcript::common_scalar(self, scalar)?;
        self.transcript.write_scalar(&mut self.proof, &scalar);
        Ok(())
    }
}

impl EncodedChallenge<G1Affine> for Challenge {
    type Input = Fr;

    fn new(scalar: &Fr) -> Self {
        Self(*scalar)
    }

    fn get_scalar(&self) -> Fr {
        self.0
    }
}
