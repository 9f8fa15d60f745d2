//! What L1 checks of a batch (PROTOCOL.md section 9), done natively on a proof file.
//!
//! Left out is what only L1 knows: that the batch is its next one and starts from its root (P-9.2), that the batch's time fits its own
//! (P-9.4), who submits, and through which verifier (P-9.9, P-14.4), and that the records of the queue's operations are those that wait there
//! (P-9.10, P-9.11).

use alloy::primitives::B256;
use anyhow::{Context, Result, anyhow, ensure};
use keys::VerifyingKeys;
use rules::operation::{RollupId, TIME_BITS};
use rules::statement::RootStatement;
use rules::stream::{self, Binding, DaMode};
use rules::{Fr, field};
use verifier_contracts::l1::ProvenBatch;
use verifier_contracts::rollup::RootSubmission;

use crate::proof_file::{ProofFile, bytes, element, to_hex};

/// A proof file whose fields are parsed.
#[derive(Debug, Clone)]
struct Claim {
    rollup_id: RollupId,
    number: u64,
    time: u64,
    old_root: Fr,
    new_root: Fr,
    c_a: Fr,
    c_b: Fr,
    x: Fr,
    posted_a: Vec<u8>,
    posted_b: Vec<u8>,
    instances: Vec<Fr>,
    proof: Vec<u8>,
}

/// Checks that L1 accepts the file's batch, once it is the next one there.
///
/// # Errors
/// Names the field that is wrong, what was expected and what was found.
pub fn check(file: &ProofFile, keys: &VerifyingKeys) -> Result<()> {
    let digest = keys.manifest().aggregation_vk_digest;
    ensure!(
        file.aggregation_vk_digest == digest.to_string(),
        "aggregation_vk_digest: the keys here have {digest}, found {}",
        file.aggregation_vk_digest
    );
    let claim = Claim::parse(file)?;
    // The proof goes first: what its instances say is then what was proven, and the other fields are held to that.
    let proven = keys
        .verify_root(&claim.instances, &claim.proof)
        .context("the proof does not verify")?;
    claim.check_against(&proven)
}

/// What L1 gets of a file whose fields all agree with the proof's instances. Whether the proof verifies, L1's verifier says.
///
/// # Errors
/// As [`check`].
pub fn submission(file: &ProofFile) -> Result<ProvenBatch> {
    let claim = Claim::parse(file)?;
    let stated = RootStatement::from_instances(&claim.instances)
        .map_err(|error| anyhow!("instances: expected {}, found {}", error.expected, error.found))?;
    claim.check_against(&stated)?;
    let digest = bytes("aggregation_vk_digest", &file.aggregation_vk_digest)?;
    let key_digest = B256::try_from(&digest[..])
        .map_err(|_| anyhow!("aggregation_vk_digest: expected 32 bytes, found {}", digest.len()))?;
    let Claim {
        number,
        instances,
        posted_a,
        posted_b,
        proof,
        ..
    } = claim;
    let submission = RootSubmission::new(number, 0, &instances, posted_a, posted_b, proof)?;
    Ok(ProvenBatch {
        rollup_id: file.rollup_id,
        key_digest,
        submission,
    })
}

impl Claim {
    fn parse(file: &ProofFile) -> Result<Self> {
        let instances = file.instances.iter().enumerate();
        Ok(Self {
            rollup_id: file.rollup_id,
            number: file.batch_number,
            time: file.time,
            old_root: element("old_root", &file.old_root)?,
            new_root: element("new_root", &file.new_root)?,
            c_a: element("c_a", &file.c_a)?,
            c_b: element("c_b", &file.c_b)?,
            x: element("x", &file.x)?,
            posted_a: bytes("posted_a", &file.posted_a)?,
            posted_b: bytes("posted_b", &file.posted_b)?,
            instances: instances
                .map(|(index, text)| element(&format!("instance {index}"), text))
                .collect::<Result<_>>()?,
            proof: bytes("proof", &file.proof)?,
        })
    }

    /// Compares every instance that L1 takes from its caller or computes itself with what was proven.
    fn check_against(&self, proven: &RootStatement) -> Result<()> {
        self.check_rollup(proven)?;
        ensure!(
            self.time >> TIME_BITS == 0,
            "time: expected at most {TIME_BITS} bits (P-7.5), found {}",
            self.time
        );
        for (name, expected, found) in [
            ("time", proven.time, Fr::from(self.time)),
            ("old_root", proven.old_root, self.old_root),
            ("new_root", proven.new_root, self.new_root),
            ("c_a", proven.c_a, self.c_a),
            ("c_b", proven.c_b, self.c_b),
            ("x", proven.x, self.x),
        ] {
            ensure!(
                expected == found,
                "{name}: the proof is for {}, found {}",
                field::to_hex(&expected),
                field::to_hex(&found)
            );
        }
        self.check_posted(proven)?;
        self.check_point(proven)
    }

    fn check_rollup(&self, proven: &RootStatement) -> Result<()> {
        let RollupId { chain_id, contract } = self.rollup_id;
        let word = field::to_be(&proven.rollup_id);
        let (expected_chain, expected_contract) = word.split_at(12);
        ensure!(
            expected_chain[..4] == [0; 4] && expected_chain[4..] == chain_id.to_be_bytes(),
            "rollup_id.chain_id: the proof is for {}, found {}",
            to_hex(expected_chain),
            to_hex(&chain_id.to_be_bytes())
        );
        ensure!(
            expected_contract == contract,
            "rollup_id.contract: the proof is for {}, found {}",
            to_hex(expected_contract),
            to_hex(&contract)
        );
        Ok(())
    }

    /// Evaluates the posted data as L1 does (P-9.5, P-9.8), at the point that the proof is for.
    fn check_posted(&self, proven: &RootStatement) -> Result<()> {
        let records = stream::records(&self.posted_a);
        records.map_err(|error| anyhow!("posted_a: {error} (P-9.8, P-9.10)"))?;
        let groups = stream::groups(&self.posted_b);
        groups.map_err(|error| anyhow!("posted_b: {error} (P-9.8)"))?;
        for (name, posted, expected) in [
            ("posted_a", &self.posted_a, proven.y_a),
            ("posted_b", &self.posted_b, proven.y_b),
        ] {
            let found = stream::evaluate(posted, &proven.x);
            ensure!(
                expected == found,
                "{name}: the proof is for data that evaluates to {} at x, found data that evaluates to {} (P-9.5)",
                field::to_hex(&expected),
                field::to_hex(&found)
            );
        }
        Ok(())
    }

    /// Computes `x` as L1 does (P-6.9). Of what it binds, the batch's number is the one thing that nothing else shows.
    fn check_point(&self, proven: &RootStatement) -> Result<()> {
        let binding = Binding {
            number: self.number,
            mode: DaMode::Calldata,
            c_a: self.c_a,
            c_b: self.c_b,
            posted_a: &self.posted_a,
            posted_b: &self.posted_b,
        };
        let found = binding.x(&self.rollup_id);
        ensure!(
            proven.x == found,
            "batch_number: the proof is for the point x {}, found that batch {} with this data has {} (P-6.9)",
            field::to_hex(&proven.x),
            self.number,
            field::to_hex(&found)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rules::account::{AccountIndex, TokenId};
    use rules::record::{Coordinate, Kind, Record};
    use rules::stream::Group;

    use super::*;

    const ROLLUP_ID: RollupId = RollupId {
        chain_id: 31_337,
        contract: [0x22; 20],
    };

    /// A claim as the true proof's would be, and what that proof proves.
    fn honest() -> (Claim, RootStatement) {
        let record = Record {
            kind: Kind::ForcedExit,
            code: 0,
            token: TokenId(1),
            index: AccountIndex::new(70_000).unwrap(),
            amount: 5,
            address: [0x11; 20],
            u: Coordinate::ZERO,
            v: Coordinate::ZERO,
        };
        let group = |flag, words| Group { flag, words };
        let posted_a = stream::posted_a(&[record]);
        let posted_b = stream::posted_b(&[group(true, [1, 2, 3, 4, 5]), group(false, [6, 0, 0, 0, 0])]);
        let (c_a, c_b) = (Fr::from(18), Fr::from(19));
        let binding = Binding {
            number: 7,
            mode: DaMode::Calldata,
            c_a,
            c_b,
            posted_a: &posted_a,
            posted_b: &posted_b,
        };
        let x = binding.x(&ROLLUP_ID);
        let proven = RootStatement {
            rollup_id: ROLLUP_ID.to_fr(),
            time: Fr::from(1_700_000_000),
            x,
            old_root: Fr::from(15),
            new_root: Fr::from(16),
            c_a,
            y_a: stream::evaluate(&posted_a, &x),
            c_b,
            y_b: stream::evaluate(&posted_b, &x),
        };
        let claim = Claim {
            rollup_id: ROLLUP_ID,
            number: 7,
            time: 1_700_000_000,
            old_root: proven.old_root,
            new_root: proven.new_root,
            c_a,
            c_b,
            x,
            posted_a,
            posted_b,
            instances: vec![],
            proof: vec![],
        };
        (claim, proven)
    }

    fn refusal(change: impl FnOnce(&mut Claim)) -> String {
        let (mut claim, proven) = honest();
        change(&mut claim);
        claim.check_against(&proven).unwrap_err().to_string()
    }

    #[test]
    fn what_was_proven_is_accepted() {
        let (claim, proven) = honest();
        claim.check_against(&proven).unwrap();
    }

    #[test]
    fn each_changed_field_is_refused_by_its_name() {
        type Change = fn(&mut Claim);
        let changes: [(&str, Change); 11] = [
            ("rollup_id.chain_id", |claim| claim.rollup_id.chain_id += 1),
            ("rollup_id.contract", |claim| claim.rollup_id.contract[19] ^= 1),
            ("time", |claim| claim.time += 1),
            ("old_root", |claim| claim.old_root += Fr::one()),
            ("new_root", |claim| claim.new_root += Fr::one()),
            ("c_a", |claim| claim.c_a += Fr::one()),
            ("c_b", |claim| claim.c_b += Fr::one()),
            ("x", |claim| claim.x += Fr::one()),
            ("posted_a", |claim| claim.posted_a[29] ^= 1),
            ("posted_b", |claim| claim.posted_b[30] ^= 1),
            ("batch_number", |claim| claim.number += 1),
        ];
        for (name, change) in changes {
            let error = refusal(change);
            assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
            assert!(error.contains("found"), "{error}");
        }
    }

    #[test]
    fn the_expected_and_the_found_value_are_named() {
        let chain = refusal(|claim| claim.rollup_id.chain_id = 5);
        assert!(
            chain.contains(&format!("{:016x}, found 0x{:016x}", 31_337, 5)),
            "{chain}"
        );
        let root = refusal(|claim| claim.new_root = Fr::from(17));
        let expected = [16, 17].map(|root| field::to_hex(&Fr::from(root)));
        assert!(
            root.contains(&expected[0]) && root.contains(&expected[1]),
            "{root}"
        );
    }

    #[test]
    fn data_that_is_not_as_posted_is_refused_though_it_evaluates_alike() {
        for (error, told) in [
            (
                refusal(|claim| claim.posted_b.extend([0; 31])),
                "posted_b: stream B: expected whole groups of 62 bytes, found 155 bytes (P-9.8)",
            ),
            (
                refusal(|claim| claim.posted_b.extend([0; 62])),
                "posted_b: stream B: expected a last group that is not all zero, found 186 bytes that end in zeros (P-9.8)",
            ),
            (
                refusal(|claim| claim.posted_a.extend([0; 31])),
                "posted_a: stream A: expected whole records of 124 bytes, found 155 bytes (P-9.8, P-9.10)",
            ),
            // A record of zeros evaluates to nothing, and has no kind.
            (
                refusal(|claim| claim.posted_a.extend([0; 124])),
                "posted_a: stream A, record 1: kind: expected 1 to 6, found 0 (P-9.8, P-9.10)",
            ),
        ] {
            assert_eq!(error, told);
        }
    }

    #[test]
    fn a_time_of_41_bits_is_refused_even_when_it_was_proven() {
        let (mut claim, mut proven) = honest();
        claim.time = 1 << 40;
        proven.time = Fr::from(claim.time);
        let error = claim.check_against(&proven).unwrap_err().to_string();
        assert_eq!(
            error,
            "time: expected at most 40 bits (P-7.5), found 1099511627776"
        );
    }

    #[test]
    fn a_proven_rollup_id_that_is_no_chains_is_refused() {
        let (claim, mut proven) = honest();
        proven.rollup_id = -Fr::one();
        let error = claim.check_against(&proven).unwrap_err().to_string();
        assert!(error.starts_with("rollup_id.chain_id: "), "{error}");
    }
}
