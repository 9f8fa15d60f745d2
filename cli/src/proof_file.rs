//! The proof file: a root proof and all that L1 needs with it, as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use keys::whole_file;
use proto::v1::GetProofResponse;
use rules::operation::RollupId;
use rules::{Fr, field};
use serde::{Deserialize, Serialize};

use crate::bounded;

/// Most bytes of a proof file. The answer that it is written from has at most 4 MiB, and hex doubles them.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A root proof and what L1 needs with it. Bytes are `0x` and hex digits; elements are 32 bytes, big endian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// The rollup that the proof is for.
    pub rollup_id: RollupId,
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
    /// The 17 root instances in the order of P-8.4.
    pub instances: Vec<String>,
    /// The proof.
    pub proof: String,
    /// Digest of the verifying key that the proof is for.
    pub aggregation_vk_digest: String,
}

impl ProofFile {
    /// The file for what the coordinator answered.
    ///
    /// # Errors
    /// When the rollup contract of the answer is no address.
    pub fn from_response(response: &GetProofResponse) -> Result<Self> {
        let contract = response.contract.as_ref().try_into().with_context(|| {
            format!(
                "the coordinator's answer names a rollup contract of {} bytes, expected 20",
                response.contract.len()
            )
        })?;
        Ok(Self {
            rollup_id: RollupId {
                chain_id: response.chain_id,
                contract,
            },
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
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no proof file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = bounded::read(path, FILE_BYTES_MAX)?;
        Self::parse(&text).with_context(|| format!("{} is not a proof file", path.display()))
    }

    fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// Writes the file so that a reader never sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot encode the proof")? + "\n";
        crate::wallet::keys::spare(path)?;
        whole_file::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `0x` and hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// The bytes of a field of a proof file.
///
/// # Errors
/// Names the field, when its text is not `0x` and hex digits.
pub fn bytes(name: &str, text: &str) -> Result<Vec<u8>> {
    let digits = text
        .strip_prefix("0x")
        .with_context(|| format!("{name}: hex begins with 0x"))?;
    hex::decode(digits).with_context(|| format!("{name}: not hex digits"))
}

/// The element that a field of a proof file holds (P-1.2).
///
/// # Errors
/// Names the field, when it is not 32 bytes or not below the modulus.
pub fn element(name: &str, text: &str) -> Result<Fr> {
    let bytes = bytes(name, text)?;
    let found = bytes.len();
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("{name}: an element has 32 bytes, found {found}"))?;
    field::from_be(&bytes).with_context(|| format!("{name}: not a canonical field element"))
}

#[cfg(test)]
mod tests {
    use fuzzer::Target;

    use super::*;

    fn sample() -> ProofFile {
        let word = |n: u8| to_hex(&[&[0; 31][..], &[n]].concat());
        ProofFile {
            rollup_id: RollupId {
                chain_id: u64::MAX,
                contract: [0xab; 20],
            },
            batch_number: 1,
            time: 2,
            old_root: word(15),
            new_root: word(16),
            c_a: word(17),
            c_b: word(19),
            x: word(14),
            posted_a: "0x".into(),
            posted_b: "0x01".into(),
            instances: (0..17).map(word).collect(),
            proof: "0x0203".into(),
            aggregation_vk_digest: word(9),
        }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proof.json");
        sample().write(&path).unwrap();
        assert_eq!(ProofFile::read(&path).unwrap(), sample());
    }

    #[test]
    fn a_file_that_does_not_say_for_which_rollup_it_is_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proof.json");
        let mut file = serde_json::to_value(sample()).unwrap();
        file.as_object_mut().unwrap().remove("rollup_id");
        std::fs::write(&path, file.to_string()).unwrap();
        let error = format!("{:#}", ProofFile::read(&path).unwrap_err());
        assert!(error.contains("missing field `rollup_id`"), "{error}");
    }

    #[test]
    fn a_file_that_finds_no_room_is_named() {
        let error = sample().write(Path::new("/dev/full")).unwrap_err();
        let told = crate::output::sentence(&error);
        assert!(
            told.starts_with("cannot write /dev/full: No space left"),
            "{told}"
        );
        assert!(told.contains("make room"), "{told}");
    }

    #[test]
    fn a_contract_that_is_no_address_is_refused() {
        let response = GetProofResponse {
            contract: vec![1; 19].into(),
            ..GetProofResponse::default()
        };
        let error = ProofFile::from_response(&response).unwrap_err().to_string();
        assert!(error.contains("19 bytes, expected 20"), "{error}");
    }

    #[test]
    fn an_element_at_the_modulus_or_of_another_length_is_refused_by_its_name() {
        let refusal = |text: &str| element("c_b", text).unwrap_err().to_string();
        let modulus = "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";
        assert_eq!(refusal(modulus), "c_b: not a canonical field element");
        assert_eq!(refusal("0x01"), "c_b: an element has 32 bytes, found 1");
        assert_eq!(refusal("01"), "c_b: hex begins with 0x");
        assert_eq!(refusal("0xzz"), "c_b: not hex digits");
        let below = modulus.replace("f0000001", "f0000000");
        assert_eq!(element("c_b", &below).unwrap(), -Fr::one());
    }

    #[test]
    fn fuzz_proof_files() {
        let text = serde_json::to_string(&sample()).unwrap();
        Target::new(env!("CARGO_MANIFEST_DIR"), "proof-file")
            .seed("sample", text)
            .word("\u{e9}")
            .word("0x")
            .run(|text| {
                let file = ProofFile::parse(text).map_err(|error| error.to_string())?;
                let again = ProofFile::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
                assert_eq!(again, file);
                bytes("proof", &file.proof).map_err(|error| format!("{error:#}"))?;
                for instance in &file.instances {
                    let value = element("instance", instance).map_err(|error| format!("{error:#}"))?;
                    assert!(to_hex(&field::to_be(&value)).eq_ignore_ascii_case(instance));
                }
                Ok(())
            });
    }
}
