//! A transcript without its type parameters, so that the protocol is compiled once and not for every transcript.

use halo2_proofs::transcript::{EncodedChallenge, TranscriptWrite};
use halo2curves::bn256::{Fr, G1Affine};
use std::io;
use std::marker::PhantomData;

/// Any transcript.
pub(crate) trait Channel {
    /// Takes a scalar in that the proof does not hold.
    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()>;
    fn write_point(&mut self, point: G1Affine) -> io::Result<()>;
    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()>;
    fn challenge(&mut self) -> Fr;
}

/// A transcript of a known type.
pub(crate) struct Typed<'a, T, E>(&'a mut T, PhantomData<E>);

impl<'a, T, E> Typed<'a, T, E> {
    pub fn new(transcript: &'a mut T) -> Self {
        Self(transcript, PhantomData)
    }
}

impl<T, E> Channel for Typed<'_, T, E>
where
    E: EncodedChallenge<G1Affine>,
    T: TranscriptWrite<G1Affine, E>,
{
    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.0.common_scalar(scalar)
    }

    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.0.write_point(point)
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.0.write_scalar(scalar)
    }

    fn challenge(&mut self) -> Fr {
        self.0.squeeze_challenge().get_scalar()
    }
}
