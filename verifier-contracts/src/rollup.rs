//! The rollup contract as Rust sees it: its interface, its code, what is submitted, and why it refuses.

mod rejection;

use std::collections::BTreeMap;

use alloy::primitives::{Bytes, U256};
use halo2curves::{bn256::Fr, ff::PrimeField};
use rules::statement::{ACCUMULATOR_LIMBS, ROOT_INSTANCES, RootStatement};
use thiserror::Error;

use crate::{
    libraries,
    solc::{self, Code, CompileError, Runs},
    tools::Tools,
};

/// The contracts' interfaces, generated from `contracts/`.
// Their documentation is the NatSpec of the Solidity sources, which say what a call takes.
#[allow(missing_docs, clippy::too_many_arguments)]
pub mod abi {
    alloy::sol!("contracts/IRollup.sol");
    alloy::sol!("contracts/IVerifier.sol");
    alloy::sol! {
        /// What is asked of a token beside what the rollup asks of it.
        interface IErc20 {
            function allowance(address owner, address spender) external view returns (uint256);
            function approve(address spender, uint256 value) external returns (bool);
            function balanceOf(address owner) external view returns (uint256);
        }
    }
}

pub use abi::{IErc20, IRollup, IVerifier};
pub use rejection::Rejection;

macro_rules! sources {
    ($($name:literal)*) => {
        /// The contracts' own sources, by name: what is beside them is OpenZeppelin's.
        pub const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../contracts/", $name)))),*];
    };
}

sources! {
    "BabyJubJub.sol" "Batches.sol" "Bounds.sol" "Directory.sol" "EntryQueue.sol" "Field.sol" "IPoseidon.sol" "IRollup.sol"
    "IVerifier.sol" "Inbox.sol" "Outbox.sol" "Poseidon.sol" "Records.sol" "Roles.sol" "Rollup.sol" "Streams.sol" "Vault.sol"
    "Verifiers.sol" "Withdrawals.sol"
}

/// The contracts that one instance has beside its verifiers, and the directory of instances.
#[derive(Clone, Debug)]
pub struct Contracts {
    /// The rollup contract.
    pub rollup: Code,
    /// The contract of `H`, which it calls when somebody leaves a frozen rollup (P-14.1).
    pub poseidon: Code,
    /// The directory (P-14.7), which no instance needs.
    pub directory: Code,
}

/// All sources of [`compile`], OpenZeppelin's included, by the names that the compiler knows them by.
///
/// # Errors
/// [`CompileError::Import`].
pub fn sources(tools: &Tools) -> Result<BTreeMap<String, String>, CompileError> {
    let mut sources = libraries::imported(tools, SOURCES)?;
    let own = SOURCES
        .iter()
        .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()));
    sources.extend(own);
    Ok(sources)
}

/// Compiles the contracts of `contracts/`.
///
/// # Errors
/// [`CompileError`] when the compiler cannot be run.
pub fn compile(tools: &Tools) -> Result<Contracts, CompileError> {
    let sources = sources(tools)?;
    let sources: Vec<(&str, &str)> = sources
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect();
    let wanted = [
        ("Rollup.sol", "Rollup"),
        ("Poseidon.sol", "Poseidon"),
        ("Directory.sol", "Directory"),
    ];
    let codes = solc::compile_all(tools, &sources, Runs::Size, &wanted)?;
    let [rollup, poseidon, directory] = codes.try_into().expect("one for each that was asked for");
    Ok(Contracts {
        rollup,
        poseidon,
        directory,
    })
}

/// A root proof with what L1 needs to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSubmission {
    /// Batch number.
    pub number: u64,
    /// The verifier on L1 that is to check the proof, by its number (P-14.4).
    pub verifier: u8,
    /// The batch's time `T`, Unix seconds.
    pub time: u64,
    /// State root before.
    pub old_root: Fr,
    /// State root after.
    pub new_root: Fr,
    /// Commitment to stream A.
    pub commitment_a: Fr,
    /// Commitment to stream B.
    pub commitment_b: Fr,
    /// Limbs of the accumulator: instances 0 to 7.
    pub accumulator: [Fr; ACCUMULATOR_LIMBS],
    /// Posted bytes of stream A (P-6.8).
    pub data_a: Vec<u8>,
    /// Posted bytes of stream B (P-6.8).
    pub data_b: Vec<u8>,
    /// The root proof, without instances.
    pub proof: Vec<u8>,
}

/// Instances that are not those of a root proof.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InstancesError {
    /// Their number is wrong.
    #[error("a root proof has {} instances, not {found}", ROOT_INSTANCES.len())]
    Count {
        /// How many there are.
        found: usize,
    },
    /// The batch's time is not 64 bits.
    #[error("instance 9, the batch's time, does not fit 64 bits: {found:?}")]
    Time {
        /// The instance.
        found: Fr,
    },
}

impl RootSubmission {
    /// What to submit for batch `number` to that verifier, from the root proof's instances (P-8.4), the posted bytes and the proof.
    /// Rollup id, `x` and the evaluations are left out, since L1 computes them.
    ///
    /// # Errors
    /// [`InstancesError`] for anything but 17 instances with a time of 64 bits.
    pub fn new(
        number: u64,
        verifier: u8,
        instances: &[Fr],
        data_a: Vec<u8>,
        data_b: Vec<u8>,
        proof: Vec<u8>,
    ) -> Result<Self, InstancesError> {
        let found = instances.len();
        let statement =
            RootStatement::from_instances(instances).map_err(|_| InstancesError::Count { found })?;
        let found = statement.time;
        let time = u64::try_from(to_u256(&found)).map_err(|_| InstancesError::Time { found })?;
        Ok(Self {
            number,
            verifier,
            time,
            old_root: statement.old_root,
            new_root: statement.new_root,
            commitment_a: statement.c_a,
            commitment_b: statement.c_b,
            accumulator: std::array::from_fn(|limb| instances[limb]),
            data_a,
            data_b,
            proof,
        })
    }

    /// The arguments of the contract's `submitBatch`.
    pub fn to_call(&self) -> IRollup::submitBatchCall {
        IRollup::submitBatchCall {
            header: IRollup::BatchHeader {
                number: self.number,
                time: self.time,
                oldRoot: to_u256(&self.old_root),
                newRoot: to_u256(&self.new_root),
                commitmentA: to_u256(&self.commitment_a),
                commitmentB: to_u256(&self.commitment_b),
                verifier: self.verifier,
                accumulator: self.accumulator.each_ref().map(to_u256),
            },
            dataA: Bytes::copy_from_slice(&self.data_a),
            dataB: Bytes::copy_from_slice(&self.data_b),
            proof: Bytes::copy_from_slice(&self.proof),
        }
    }
}

/// The canonical integer of a field element.
pub fn to_u256(value: &Fr) -> U256 {
    U256::from_le_bytes(value.to_repr())
}

/// The field element of a canonical integer; `None` at or above the modulus.
pub fn from_u256(value: &U256) -> Option<Fr> {
    Fr::from_repr(value.to_le_bytes::<32>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Fr> {
        (100..117).map(Fr::from).collect()
    }

    #[test]
    fn a_submission_takes_each_row_from_its_place() {
        let submission = RootSubmission::new(7, 2, &rows(), vec![], vec![1; 62], vec![2; 64]).unwrap();
        let header = submission.to_call().header;
        assert_eq!((header.number, header.time, header.verifier), (7, 109, 2));
        assert_eq!(
            (header.oldRoot, header.newRoot),
            (U256::from(111), U256::from(112))
        );
        assert_eq!(
            (header.commitmentA, header.commitmentB),
            (U256::from(113), U256::from(115))
        );
        assert_eq!(
            header.accumulator.to_vec(),
            (100..108).map(U256::from).collect::<Vec<_>>()
        );
    }

    #[test]
    fn instances_of_another_shape_are_refused() {
        let make = |rows: &[Fr]| RootSubmission::new(0, 0, rows, vec![], vec![], vec![]);
        assert_eq!(make(&rows()[1..]), Err(InstancesError::Count { found: 16 }));
        let mut late = rows();
        late[9] = -Fr::one();
        assert_eq!(make(&late), Err(InstancesError::Time { found: -Fr::one() }));
    }

    #[test]
    fn field_elements_convert_only_below_the_modulus() {
        let largest = -Fr::one();
        assert_eq!(from_u256(&to_u256(&largest)), Some(largest));
        assert_eq!(from_u256(&(to_u256(&largest) + U256::from(1))), None);
    }

    #[test]
    fn the_contract_writes_the_root_instances_where_the_list_has_them() {
        let (_, source) = SOURCES
            .iter()
            .find(|(name, _)| *name == "Batches.sol")
            .expect("it is a source");
        for (name, number) in [("INSTANCES", ROOT_INSTANCES.len()), ("LIMBS", ACCUMULATOR_LIMBS)] {
            assert!(source.contains(&format!("constant {name} = {number};")), "{name}");
        }
        let written = [
            ("rollup_id", "rollupId"),
            ("time", "header.time"),
            ("x", "x"),
            ("old root", "header.oldRoot"),
            ("new root", "header.newRoot"),
            ("C_A", "header.commitmentA"),
            ("y_A", "Streams.evaluate(dataA, x)"),
            ("C_B", "header.commitmentB"),
            ("y_B", "Streams.evaluate(dataB, x)"),
        ];
        assert_eq!(
            written.map(|(name, _)| name)[..],
            ROOT_INSTANCES[ACCUMULATOR_LIMBS..]
        );
        for (row, (_, value)) in (ACCUMULATOR_LIMBS..).zip(written) {
            assert!(source.contains(&format!(" rows[{row}] = {value};")), "row {row}");
        }
        // And the one line that writes the accumulator.
        assert_eq!(source.matches(" rows[").count(), written.len() + 1);
    }

    #[test]
    fn the_compiler_is_set_as_foundry_sets_it() {
        let settings = include_str!("../foundry.toml");
        let runs = format!("optimizer_runs = {}\n", Runs::Size.number());
        assert!(settings.contains(&runs));
        assert!(settings.contains("evm_version = \"cancun\"\n"));
    }
}
