//! What a proof is written with, beside snark-verifier's own transcripts.

use halo2_proofs::transcript::{self as halo2, EncodedChallenge, TranscriptWrite, TranscriptWriterBuffer};
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::Field,
    group::{Curve, prime::PrimeCurveAffine},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use snark_verifier_sdk::{
    NativeLoader,
    halo2::{POSEIDON_SPEC, PoseidonTranscript},
    snark_verifier::system::halo2::transcript::evm::EvmTranscript,
};

use crate::plonk::{ProofWriter, Transcript};

/// Tells a transcript what a prover may tell, in any order; the challenges that it draws.
fn tell<E: EncodedChallenge<G1Affine>>(
    transcript: &mut impl TranscriptWrite<G1Affine, E>,
    seed: u64,
) -> Vec<Fr> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut challenges = vec![];
    for _ in 0..40 {
        let scalar = Fr::random(&mut rng);
        let point = (G1Affine::generator() * scalar).to_affine();
        match rng.gen_range(0..6) {
            0 => transcript.common_point(point).unwrap(),
            1 => transcript.common_scalar(scalar).unwrap(),
            2 => transcript.write_point(point).unwrap(),
            3 => transcript.write_scalar(scalar).unwrap(),
            // Twice as often, so that challenges follow each other.
            _ => challenges.push(halo2::Transcript::squeeze_challenge(transcript).get_scalar()),
        }
    }
    challenges
}

#[test]
fn challenges_and_bytes_are_snark_verifiers() {
    for seed in 0..50 {
        let mut ours = ProofWriter::new(Transcript::Poseidon);
        let mut theirs =
            PoseidonTranscript::<NativeLoader, Vec<u8>>::from_spec(vec![], POSEIDON_SPEC.clone());
        assert_eq!(tell(&mut ours, seed), tell(&mut theirs, seed), "seed {seed}");
        assert_eq!(ours.finish(), theirs.finalize(), "seed {seed}");

        let mut ours = ProofWriter::new(Transcript::Evm);
        let mut theirs = EvmTranscript::<G1Affine, NativeLoader, Vec<u8>, Vec<u8>>::init(vec![]);
        assert_eq!(tell(&mut ours, seed), tell(&mut theirs, seed), "seed {seed}");
        assert_eq!(ours.finish(), theirs.finalize(), "seed {seed}");
    }
}

/// No proof that is read has it, so none may be written.
#[test]
fn the_point_at_infinity_is_not_written() {
    for transcript in [Transcript::Poseidon, Transcript::Evm] {
        let mut writer = ProofWriter::new(transcript);
        let error = writer.write_point(G1Affine::identity()).unwrap_err();
        assert!(error.to_string().contains("infinity"), "{error}");
        assert!(writer.finish().is_empty());
    }
}
