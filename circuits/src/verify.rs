//! Verifies shard proofs and root proofs. Nothing that a stranger sends can panic here: instances and proof bytes are
//! taken apart and checked one by one before halo2 sees them.

use halo2_proofs::{
    plonk::{VerifyingKey, verify_proof},
    poly::kzg::{
        commitment::{KZGCommitmentScheme, ParamsKZG},
        multiopen::VerifierSHPLONK,
        strategy::SingleStrategy,
    },
    transcript::{EncodedChallenge, TranscriptRead, TranscriptReadBuffer},
};
use halo2curves::bn256::{Bn256, Fq, Fr, G1Affine};
use snark_verifier_sdk::{
    NativeLoader,
    halo2::{POSEIDON_SPEC, PoseidonTranscript},
    snark_verifier::{
        system::halo2::{Config, compile, transcript::evm::EvmTranscript},
        verifier::plonk::PlonkProtocol,
    },
};

use crate::{
    aggregation::{ACCUMULATOR_LIMBS, LOW_BITS, ROOT_INSTANCES, RootStatement},
    field,
    keys::KeyStore,
    plonk::{
        self, ProofError, Shape, Transcript,
        native::pairs,
        proof::{Layout, field_from_be, field_from_le, proper_point},
    },
    shard::SHARD_INSTANCES,
    srs::OpeningKey,
};

/// Bytes of a scalar.
const SCALAR_BYTES: usize = 32;

/// Why a proof was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Too few or too many instances.
    #[error("{found} instances, expected {expected}")]
    InstanceCount {
        /// Instances given.
        found: usize,
        /// Instances of the circuit.
        expected: usize,
    },
    /// An instance is not a canonical field element (P-1.2).
    #[error("instance {index} is not below r")]
    Instance {
        /// Its place.
        index: usize,
    },
    /// The proof is too short or too long.
    #[error("the proof has {found} bytes, expected {expected}")]
    ProofLength {
        /// Bytes given.
        found: usize,
        /// Bytes of any proof under this key.
        expected: usize,
    },
    /// A point of the proof is not canonical, not on the curve, or the identity.
    #[error("the point at byte {offset} of the proof is not a canonical point of the curve")]
    Point {
        /// Where it begins.
        offset: usize,
    },
    /// A scalar of the proof is not below r.
    #[error("the scalar at byte {offset} of the proof is not below r")]
    Scalar {
        /// Where it begins.
        offset: usize,
    },
    /// The low part of a coordinate of the accumulator has more than 153 bits.
    #[error("accumulator limb {index} has more than {LOW_BITS} bits")]
    Limb {
        /// Its instance.
        index: usize,
    },
    /// The limbs of a coordinate make an integer that is not below the base field's modulus.
    #[error("the accumulator's coordinate at instance {index} is not below the base field's modulus")]
    Coordinate {
        /// Its first instance.
        index: usize,
    },
    /// A point of the accumulator is not on the curve, or the identity.
    #[error("the accumulator's point at instance {index} is not a point of the curve")]
    AccumulatorPoint {
        /// Its first instance.
        index: usize,
    },
    /// The proof does not verify.
    #[error("the proof does not verify")]
    Proof,
    /// The proof verifies, but its accumulator does not: a child's proof is wrong.
    #[error("the accumulator's pairing does not hold")]
    Accumulator,
}

impl From<ProofError> for VerifyError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::InstanceCount { found, expected } => Self::InstanceCount { found, expected },
            ProofError::Length { found, expected } => Self::ProofLength { found, expected },
            ProofError::Point { offset } => Self::Point { offset },
            ProofError::Scalar { offset } => Self::Scalar { offset },
            ProofError::Refused => Self::Proof,
        }
    }
}

/// Verifies proofs of the shard circuit; small, cheap to keep.
#[derive(Clone, Debug)]
pub struct ShardVerifier {
    key: ProofKey,
}

/// Verifies root proofs.
#[derive(Clone, Debug)]
pub struct RootVerifier {
    key: ProofKey,
    opening: OpeningKey,
}

/// Verifies a shard proof under these keys. `instances` are the 17 of P-7.3.
///
/// # Errors
/// [`VerifyError`] says what is wrong; it does not panic on any bytes.
pub fn verify_shard(keys: &KeyStore, instances: &[Fr], proof: &[u8]) -> Result<(), VerifyError> {
    keys.shard_verifier().verify(instances, proof)
}

/// Verifies a root proof under these keys and decides its accumulator. `instances` are the 17 of P-8.4.
///
/// # Errors
/// [`VerifyError`] says what is wrong; it does not panic on any bytes.
pub fn verify_root(keys: &KeyStore, instances: &[Fr], proof: &[u8]) -> Result<RootStatement, VerifyError> {
    keys.root_verifier().verify(instances, proof)
}

/// Verifies a root proof under a key and decides its accumulator.
pub(crate) fn verify_root_under(
    key: &plonk::VerifyingKey,
    instances: &[Fr],
    proof: &[u8],
) -> Result<RootStatement, VerifyError> {
    let statement = RootStatement::from_instances(instances)?;
    let accumulator = accumulator(instances)?;
    key.verify(instances, proof)?;
    decide(&key.opening_key(), &accumulator)?;
    Ok(statement)
}

/// Decides the accumulator that root instances hold, apart from any proof (P-8.5).
///
/// # Errors
/// [`VerifyError`]: the instances hold no accumulator, or one whose pairing fails.
pub fn decide_accumulator(opening: &OpeningKey, instances: &[Fr]) -> Result<(), VerifyError> {
    RootStatement::from_instances(instances)?;
    decide(opening, &accumulator(instances)?)
}

/// Instances from their encoding (P-1.2): 32 bytes each, big endian.
///
/// # Errors
/// [`VerifyError::InstanceCount`] when the bytes are no whole number of elements (`found` is rounded up), and
/// [`VerifyError::Instance`] for one that is not below r.
pub fn instances_from_be(bytes: &[u8], expected: usize) -> Result<Vec<Fr>, VerifyError> {
    if bytes.len() != expected * SCALAR_BYTES {
        return Err(VerifyError::InstanceCount {
            found: bytes.len().div_ceil(SCALAR_BYTES),
            expected,
        });
    }
    bytes
        .chunks_exact(SCALAR_BYTES)
        .enumerate()
        .map(|(index, chunk)| field_from_be::<Fr>(chunk).ok_or(VerifyError::Instance { index }))
        .collect()
}

impl ShardVerifier {
    /// A verifier for a child circuit of 17 instances in one column.
    pub fn new(vk: VerifyingKey<G1Affine>, opening: &OpeningKey) -> Self {
        Self {
            key: ProofKey::new(vk, opening, SHARD_INSTANCES, None),
        }
    }

    /// Verifies one proof.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, instances: &[Fr], proof: &[u8]) -> Result<(), VerifyError> {
        self.key.check_count(instances)?;
        self.key.layout.read(Transcript::Poseidon, proof)?;
        let transcript = PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(proof, POSEIDON_SPEC.clone());
        self.key.verify(instances, transcript)
    }

    /// The verifying key.
    pub fn vk(&self) -> &VerifyingKey<G1Affine> {
        &self.key.vk
    }

    /// What the key fixes about its proofs.
    pub fn shape(&self) -> Shape {
        Shape::new(&self.key.vk, self.key.protocol.num_instance[0])
    }

    /// Bytes of every shard proof.
    pub fn proof_bytes(&self) -> usize {
        self.key.layout.bytes(Transcript::Poseidon)
    }

    /// Something of a proof's form: distinct points and scalars that prove nothing.
    #[cfg(test)]
    pub(crate) fn placeholder(&self) -> crate::aggregation::ChildProof {
        crate::aggregation::ChildProof {
            instances: vec![Fr::default(); SHARD_INSTANCES],
            proof: self.key.layout.placeholder(Transcript::Poseidon),
        }
    }

    #[cfg(test)]
    pub(crate) fn protocol(&self) -> &PlonkProtocol<G1Affine> {
        &self.key.protocol
    }
}

impl RootVerifier {
    /// A verifier for an aggregation circuit's key.
    pub fn new(vk: VerifyingKey<G1Affine>, opening: &OpeningKey) -> Self {
        let accumulator = (0..ACCUMULATOR_LIMBS).map(|index| (0, index)).collect();
        Self {
            key: ProofKey::new(vk, opening, ROOT_INSTANCES.len(), Some(accumulator)),
            opening: *opening,
        }
    }

    /// Verifies one root proof and its accumulator; what it states.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, instances: &[Fr], proof: &[u8]) -> Result<RootStatement, VerifyError> {
        let statement = RootStatement::from_instances(instances)?;
        let accumulator = accumulator(instances)?;
        self.key.layout.read(Transcript::Evm, proof)?;
        let transcript = EvmTranscript::<G1Affine, NativeLoader, &[u8], Vec<u8>>::new(proof);
        self.key.verify(instances, transcript)?;
        decide(&self.opening, &accumulator)?;
        Ok(statement)
    }

    /// The reference string's points that pairings are taken with.
    pub fn opening(&self) -> &OpeningKey {
        &self.opening
    }

    /// The verifying key.
    pub fn vk(&self) -> &VerifyingKey<G1Affine> {
        &self.key.vk
    }

    /// Bytes of every root proof.
    pub fn proof_bytes(&self) -> usize {
        self.key.layout.bytes(Transcript::Evm)
    }
}

/// A verifying key with what is derived from it.
#[derive(Clone, Debug)]
struct ProofKey {
    vk: VerifyingKey<G1Affine>,
    params: ParamsKZG<Bn256>,
    protocol: PlonkProtocol<G1Affine>,
    layout: Layout,
}

impl ProofKey {
    fn new(
        vk: VerifyingKey<G1Affine>,
        opening: &OpeningKey,
        instances: usize,
        accumulator: Option<Vec<(usize, usize)>>,
    ) -> Self {
        let params = opening.verifier_params(vk.get_domain().k());
        let config = Config::kzg()
            .with_num_instance(vec![instances])
            .with_accumulator_indices(accumulator);
        let protocol = compile(&params, &vk, config);
        let layout = Layout {
            points: protocol.num_witness.iter().sum::<usize>() + protocol.quotient.num_chunk(),
            scalars: protocol.evaluations.len(),
        };
        Self {
            vk,
            params,
            protocol,
            layout,
        }
    }

    fn check_count(&self, instances: &[Fr]) -> Result<(), VerifyError> {
        let (found, expected) = (instances.len(), self.protocol.num_instance[0]);
        if found == expected {
            Ok(())
        } else {
            Err(VerifyError::InstanceCount { found, expected })
        }
    }

    fn verify<'a, E, T>(&self, instances: &[Fr], mut transcript: T) -> Result<(), VerifyError>
    where
        E: EncodedChallenge<G1Affine>,
        T: TranscriptRead<G1Affine, E> + TranscriptReadBuffer<&'a [u8], G1Affine, E>,
    {
        verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<Bn256>, E, T, _>(
            &self.params,
            &self.vk,
            SingleStrategy::new(&self.params),
            &[&[instances]],
            &mut transcript,
        )
        .map_err(|_| VerifyError::Proof)
    }
}

/// Decides an accumulator: `e(lhs, g2) = e(rhs, s·g2)`.
pub(crate) fn decide(opening: &OpeningKey, accumulator: &[G1Affine; 2]) -> Result<(), VerifyError> {
    if pairs(opening, accumulator) {
        Ok(())
    } else {
        Err(VerifyError::Accumulator)
    }
}

/// The accumulator's two points from the first 8 instances. The encoding is unique: a low part below `2^153`, every
/// coordinate below the modulus, both points on the curve and none the identity.
fn accumulator(instances: &[Fr]) -> Result<[G1Affine; 2], VerifyError> {
    let coordinate = |index: usize| -> Result<Fq, VerifyError> {
        let [low, high] = [index, index + 1].map(|at| field::to_integer(&instances[at]));
        if low.bits() > LOW_BITS as u64 {
            return Err(VerifyError::Limb { index });
        }
        let bytes = (low + (high << LOW_BITS)).to_bytes_le();
        if bytes.len() > SCALAR_BYTES {
            return Err(VerifyError::Coordinate { index });
        }
        let mut repr = [0; SCALAR_BYTES];
        repr[..bytes.len()].copy_from_slice(&bytes);
        field_from_le(&repr).ok_or(VerifyError::Coordinate { index })
    };
    let point = |index| {
        proper_point(coordinate(index)?, coordinate(index + 2)?)
            .ok_or(VerifyError::AccumulatorPoint { index })
    };
    Ok([point(0)?, point(ACCUMULATOR_LIMBS / 2)?])
}

#[cfg(test)]
mod tests;
