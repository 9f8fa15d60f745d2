//! The key manifest: what a deployment's keys are, by digest (P-10.7). Workers, coordinator and contract are pinned to it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Version of the protocol (PROTOCOL.md) that this crate implements.
pub const PROTOCOL_VERSION: u32 = 1;

/// A 32-byte digest, written as `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is not a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 0x and 64 hexadecimal digits, found {found:?}")]
pub struct DigestError {
    /// The text that was given.
    pub found: String,
}

/// What a set of keys is: JSON beside the keys, and what parties compare before they work together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`PROTOCOL_VERSION`] of the code that made the keys.
    pub protocol_version: u32,
    /// The preset's name.
    pub preset: String,
    /// Log2 of the shard circuit's rows.
    pub shard_k: u32,
    /// Operations per shard.
    pub shard_capacity: usize,
    /// Shard proofs in one aggregation.
    pub children: usize,
    /// True when the trapdoor of the reference string is published: anyone can forge proofs. Development only.
    pub insecure_srs: bool,
    /// Digest of the structured reference string ([`crate::srs::SrsId`]).
    pub srs_digest: Digest,
    /// Digest of everything that fixes the shard circuit: gates, columns, fixed cells, copies.
    pub shard_circuit_digest: Digest,
    /// Digest of the shard verifying key ([`crate::keys::vk_digest`]).
    pub shard_vk_digest: Digest,
    /// Log2 of the aggregation circuit's rows.
    pub aggregation_k: u32,
    /// Digest of everything that fixes the aggregation circuit, the shard key included.
    pub aggregation_circuit_digest: Digest,
    /// Digest of the aggregation verifying key.
    pub aggregation_vk_digest: Digest,
    /// SHA-256 of the shard verifying key's file (P-11.1).
    pub shard_verifying_key_digest: Digest,
    /// SHA-256 of the aggregation verifying key's file.
    pub aggregation_verifying_key_digest: Digest,
}

impl Digest {
    /// Lower-case hexadecimal digits without `0x`.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        text.strip_prefix("0x")
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .map(|()| Digest(bytes))
            .ok_or_else(|| DigestError {
                found: text.to_owned(),
            })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text_and_other_text_is_refused() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for text in [
            "",
            "0x",
            &"ab".repeat(32),
            "0xzz",
            &format!("{digest}0"),
            &digest.to_string()[..65],
        ] {
            assert_eq!(
                text.parse::<Digest>(),
                Err(DigestError {
                    found: text.to_owned()
                })
            );
        }
    }
}
