//! The input of an aggregation: the shard proofs of a batch. What they state, and how they chain, the crate `rules` says;
//! [`crate::recursion`] is the circuit.

use halo2curves::bn256::Fr;
use rules::format::{Format, FormatError};
use serde::{Deserialize, Serialize};

/// One shard proof and its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildProof {
    /// The 17 instances of P-7.3.
    pub instances: Vec<Fr>,
    /// The proof, with Poseidon as the transcript's hash.
    pub proof: Vec<u8>,
}

/// The input of an aggregation: `N` shard proofs in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregationInput {
    /// The proofs, first shard first.
    pub children: Vec<ChildProof>,
}

/// The encoding of [`AggregationInput`].
const FORMAT: Format = Format {
    name: "aggregation input",
    version: 1,
    bytes_max: 256 << 20,
};

impl AggregationInput {
    /// The version's byte, then postcard.
    pub fn to_bytes(&self) -> Vec<u8> {
        FORMAT.encode(self, 0)
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// Anything else; nothing may follow the input.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        FORMAT.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use halo2curves::ff::PrimeField;

    use super::*;
    use crate::stand_in::{child_key, placeholder};

    #[test]
    fn an_input_survives_its_encoding_and_damaged_bytes_are_refused() {
        let child = |first: u64| ChildProof {
            instances: (first..first + 17).map(Fr::from).collect(),
            ..placeholder(&child_key())
        };
        let input = AggregationInput {
            children: vec![child(1), child(100)],
        };
        let bytes = input.to_bytes();
        assert_eq!(AggregationInput::from_bytes(&bytes).unwrap(), input);
        let error = AggregationInput::from_bytes(&[9, 0]).unwrap_err();
        assert_eq!(error.to_string(), "aggregation input of version 9, expected 1");
        for length in 0..bytes.len() {
            assert!(matches!(
                AggregationInput::from_bytes(&bytes[..length]),
                Err(FormatError::Malformed { .. })
            ));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            AggregationInput::from_bytes(&longer),
            Err(FormatError::Malformed { .. })
        ));
        // An instance at the modulus is not canonical (P-1.2).
        let at = bytes
            .windows(32)
            .position(|window| window == input.children[0].instances[0].to_repr())
            .unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + 32].copy_from_slice(&[0xff; 32]);
        assert!(matches!(
            AggregationInput::from_bytes(&damaged),
            Err(FormatError::Malformed { .. })
        ));
    }
}
