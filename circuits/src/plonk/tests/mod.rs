//! Tests of the verification: transcripts, equation and verifying keys against stock halo2 and snark-verifier.

use halo2_proofs::{
    plonk::verify_proof,
    poly::kzg::{
        commitment::{KZGCommitmentScheme, ParamsKZG},
        multiopen::VerifierSHPLONK,
        strategy::SingleStrategy,
    },
    transcript::{EncodedChallenge, TranscriptRead},
};
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use snark_verifier_sdk::{
    NativeLoader,
    halo2::{POSEIDON_SPEC, PoseidonTranscript},
    snark_verifier::system::halo2::transcript::evm::EvmTranscript,
};

use srs::params_from_parts;

use self::example::{opening_key, vk};
use super::Transcript;

mod equation;
pub(crate) mod example;
mod key;
mod proof;
mod transcript;

/// Parameters of size `k` that can verify, but neither commit nor prove.
fn verifier_params(k: u32) -> ParamsKZG<Bn256> {
    let key = opening_key();
    params_from_parts(k, vec![key.g1], vec![key.g1], key.g2, key.s_g2)
}

/// Stock verification of the example's proofs, which reads no further than a proof goes.
pub(super) fn stock(transcript: Transcript, instances: &[Fr], proof: &[u8]) -> bool {
    match transcript {
        Transcript::Poseidon => accepts(
            instances,
            PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(proof, POSEIDON_SPEC.clone()),
        ),
        Transcript::Evm => accepts(
            instances,
            EvmTranscript::<G1Affine, NativeLoader, &[u8], Vec<u8>>::new(proof),
        ),
    }
}

fn accepts<E: EncodedChallenge<G1Affine>>(
    instances: &[Fr],
    mut proof: impl TranscriptRead<G1Affine, E>,
) -> bool {
    let params = verifier_params(vk().get_domain().k());
    verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<Bn256>, _, _, _>(
        &params,
        vk(),
        SingleStrategy::new(&params),
        &[&[instances]],
        &mut proof,
    )
    .is_ok()
}
