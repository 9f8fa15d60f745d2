//! The proof file: a root proof and all that L1 needs with it, as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use circuits::{Fr, field};
use proto::v1::GetProofResponse;
use serde::{Deserialize, Serialize};

/// A root proof and what L1 needs with it. Bytes are `0x` and hex digits; elements are 32 bytes, big endian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// Number of the batch.
    pub batch_number: u64,
    /// The batch's time T, Unix seconds.
    pub time: u64,
    /// State root before.
    pub old_root: String,
    /// State root after.
    pub new_root: String,
    /// Commitment to stream A.
    pub c_a: String,
    /// Commitment to stream B.
    pub c_b: String,
    /// The point of evaluation; L1 computes it itself.
    pub x: String,
    /// Stream A as posted.
    pub posted_a: String,
    /// Stream B as posted.
    pub posted_b: String,
    /// The 21 root instances in the order of P-8.4.
    pub instances: Vec<String>,
    /// The proof.
    pub proof: String,
    /// Digest of the verifying key that the proof is for.
    pub aggregation_vk_digest: String,
}

impl ProofFile {
    /// The file for what the coordinator answered.
    pub fn from_response(response: &GetProofResponse) -> Self {
        Self {
            batch_number: response.batch_number,
            time: response.time,
            old_root: to_hex(&response.old_root),
            new_root: to_hex(&response.new_root),
            c_a: to_hex(&response.c_a),
            c_b: to_hex(&response.c_b),
            x: to_hex(&response.x),
            posted_a: to_hex(&response.posted_a),
            posted_b: to_hex(&response.posted_b),
            instances: response
                .instances
                .iter()
                .map(|instance| to_hex(instance))
                .collect(),
            proof: to_hex(&response.proof),
            aggregation_vk_digest: to_hex(&response.aggregation_vk_digest),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no proof file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a proof file", path.display()))
    }

    /// Writes the file so that a reader never sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_string_pretty(self).context("cannot encode the proof")?;
        fs::write(&temporary, text + "\n")
            .and_then(|()| fs::rename(&temporary, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The instances as field elements.
    ///
    /// # Errors
    /// When one is not 32 bytes or not below the modulus.
    pub fn instances(&self) -> Result<Vec<Fr>> {
        let parse = |(index, text): (usize, &String)| {
            element(text).with_context(|| format!("instance {index} of the proof file"))
        };
        self.instances.iter().enumerate().map(parse).collect()
    }

    /// The proof's bytes.
    ///
    /// # Errors
    /// When they are no hex digits.
    pub fn proof(&self) -> Result<Vec<u8>> {
        from_hex(&self.proof).context("the proof of the proof file")
    }

    /// Checks that the fields that repeat instances say the same.
    ///
    /// # Errors
    /// Names the field that differs.
    pub fn check_consistent(&self) -> Result<()> {
        let named = [
            ("x", 14, &self.x),
            ("old_root", 15, &self.old_root),
            ("new_root", 16, &self.new_root),
            ("c_a", 17, &self.c_a),
            ("c_b", 19, &self.c_b),
        ];
        for (name, index, text) in named {
            ensure!(
                self.instances.get(index) == Some(text),
                "{name} of the proof file differs from instance {index}"
            );
        }
        Ok(())
    }
}

/// `0x` and hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").context("hex begins with 0x")?).context("not hex digits")
}

fn element(text: &str) -> Result<Fr> {
    let bytes = from_hex(text)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| anyhow::anyhow!("not 32 bytes"))?;
    field::from_be(&bytes).context("not a canonical field element")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ProofFile {
        let word = |n: u8| to_hex(&[&[0; 31][..], &[n]].concat());
        ProofFile {
            batch_number: 1,
            time: 2,
            old_root: word(15),
            new_root: word(16),
            c_a: word(17),
            c_b: word(19),
            x: word(14),
            posted_a: "0x".into(),
            posted_b: "0x01".into(),
            instances: (0..21).map(word).collect(),
            proof: "0x0203".into(),
            aggregation_vk_digest: word(9),
        }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proof.json");
        sample().write(&path).unwrap();
        let read = ProofFile::read(&path).unwrap();
        assert_eq!(read, sample());
        assert_eq!(read.proof().unwrap(), [2, 3]);
        assert_eq!(read.instances().unwrap()[20], Fr::from(20));
        read.check_consistent().unwrap();
    }

    #[test]
    fn an_instance_at_the_modulus_is_refused() {
        let mut file = sample();
        file.instances[3] = "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001".into();
        assert!(file.instances().unwrap_err().to_string().contains("instance 3"));
        file.instances[3] = "0x01".into();
        assert!(file.instances().is_err());
    }

    #[test]
    fn a_field_that_differs_from_its_instance_is_named() {
        let file = ProofFile {
            new_root: sample().old_root,
            ..sample()
        };
        assert!(
            file.check_consistent()
                .unwrap_err()
                .to_string()
                .contains("new_root")
        );
    }
}
