//! The rollup contract as Rust sees it: its interface, what is submitted, and why it refuses.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolInterface,
};
use halo2curves::{bn256::Fr, ff::PrimeField};
use rules::statement::{ACCUMULATOR_LIMBS, ROOT_INSTANCES, RootStatement};
use thiserror::Error;

use crate::{
    solc::{self, Code, CompileError},
    tools::Tools,
};

/// The contract's interface, generated from `contracts/IRollup.sol`.
#[allow(missing_docs)] // Its documentation is the NatSpec of the Solidity source.
pub mod abi {
    alloy::sol!("contracts/IRollup.sol");
    alloy::sol!("contracts/IVerifier.sol");
}

pub use abi::{IRollup, IVerifier};

/// The rollup contract's sources, by name.
pub const SOURCES: [(&str, &str); 3] = [
    ("IRollup.sol", include_str!("../contracts/IRollup.sol")),
    ("IVerifier.sol", include_str!("../contracts/IVerifier.sol")),
    ("Rollup.sol", include_str!("../contracts/Rollup.sol")),
];

/// Compiles `contracts/Rollup.sol`.
///
/// # Errors
/// [`CompileError`] when the compiler cannot be run.
pub fn compile(tools: &Tools) -> Result<Code, CompileError> {
    solc::compile(tools, &SOURCES, "Rollup.sol", "Rollup")
}

/// A root proof with what L1 needs to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSubmission {
    /// Batch number.
    pub number: u64,
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
    /// Posted bytes of stream A: empty in version 1.
    pub data_a: Vec<u8>,
    /// Posted bytes of stream B (P-6.5).
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
    /// What to submit for batch `number`, from the root proof's instances (P-8.4), the posted bytes and the proof.
    /// Rollup id, `x` and the evaluations are left out, since L1 computes them.
    ///
    /// # Errors
    /// [`InstancesError`] for anything but 17 instances with a time of 64 bits.
    pub fn new(
        number: u64,
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
                accumulator: self.accumulator.each_ref().map(to_u256),
            },
            dataA: Bytes::copy_from_slice(&self.data_a),
            dataB: Bytes::copy_from_slice(&self.data_b),
            proof: Bytes::copy_from_slice(&self.proof),
        }
    }
}

/// Why the contract refused. Each variant is the custom error of the same name in `contracts/IRollup.sol`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // The fields are those of the Solidity errors, documented there; the messages name each.
pub enum Rejection {
    /// P-5.2.
    #[error("chain id {chain_id} does not fit 64 bits")]
    ChainIdTooLarge { chain_id: U256 },
    /// P-9.6.
    #[error("there is no code at the verifier's address {verifier}")]
    VerifierHasNoCode { verifier: Address },
    /// P-9.3.
    #[error("instance {instance} is not below the field's modulus: {value}")]
    NotCanonical { instance: U256, value: U256 },
    /// P-9.6.
    #[error("the verifier's gas cap {given} is not between {least} and {most}")]
    GasCapOutOfRange { least: U256, most: U256, given: U256 },
    /// P-9.4.
    #[error("the maximum age of a batch is {given} seconds, at least {least} are needed")]
    MaxBatchAgeTooShort { least: U256, given: U256 },
    /// P-9.2.
    #[error("the next batch is {expected}, not {given}")]
    WrongBatchNumber { expected: u64, given: u64 },
    /// P-9.2.
    #[error("the state root on L1 is {expected:#x}, the batch starts from {given:#x}")]
    WrongOldRoot { expected: U256, given: U256 },
    /// P-7.5.
    #[error("the batch's time {given} does not fit 40 bits")]
    TimeTooLarge { given: u64 },
    /// P-9.4.
    #[error("the batch's time {given} is before the last batch's, {last_batch_time}")]
    TimeBeforeLastBatch { last_batch_time: u64, given: u64 },
    /// P-9.4.
    #[error("the batch's time {given} is after the block's, {block_time}")]
    TimeInFuture { block_time: U256, given: u64 },
    /// P-9.4.
    #[error("the batch's time {given} is too old: the earliest accepted is {earliest}")]
    BatchTooOld { earliest: U256, given: u64 },
    /// P-6.1.
    #[error("stream A must be empty, not {length} bytes")]
    DataANotEmpty { length: U256 },
    /// P-9.8.
    #[error("{length} bytes of data are not a whole number of groups of 62 bytes")]
    DataNotWhole { length: U256 },
    /// P-9.8.
    #[error("the last group of {length} bytes of data is all zero")]
    DataEndsInZeros { length: U256 },
    /// P-9.6.
    #[error("the verifier is made from the verifying key {found}, not {expected}")]
    WrongVerifyingKey { expected: B256, found: B256 },
    /// P-9.6.
    #[error("{left} gas is left for the verifier, {needed} is needed")]
    TooLittleGas { needed: U256, left: U256 },
    /// P-9.6.
    #[error("the verifier rejected the proof")]
    ProofRejected,
    /// P-9.6.
    #[error("the verifier used up its {gas_cap} gas: the cap is too low")]
    VerifierOutOfGas { gas_cap: U256 },
    /// A revert without one of the contract's errors, such as arguments that the ABI decoder refuses.
    #[error("reverted with unknown data 0x{}", hex::encode(data))]
    Other { data: Bytes },
}

impl Rejection {
    /// Reads a revert's data.
    pub fn decode(data: &[u8]) -> Self {
        use IRollup::IRollupErrors as E;
        let Ok(error) = E::abi_decode(data) else {
            return Self::Other {
                data: Bytes::copy_from_slice(data),
            };
        };
        match error {
            E::ChainIdTooLarge(e) => Self::ChainIdTooLarge { chain_id: e.chainId },
            E::VerifierHasNoCode(e) => Self::VerifierHasNoCode { verifier: e.verifier },
            E::NotCanonical(e) => Self::NotCanonical {
                instance: e.instance,
                value: e.value,
            },
            E::GasCapOutOfRange(e) => Self::GasCapOutOfRange {
                least: e.least,
                most: e.most,
                given: e.given,
            },
            E::MaxBatchAgeTooShort(e) => Self::MaxBatchAgeTooShort {
                least: e.least,
                given: e.given,
            },
            E::WrongBatchNumber(e) => Self::WrongBatchNumber {
                expected: e.expected,
                given: e.given,
            },
            E::WrongOldRoot(e) => Self::WrongOldRoot {
                expected: e.expected,
                given: e.given,
            },
            E::TimeTooLarge(e) => Self::TimeTooLarge { given: e.given },
            E::TimeBeforeLastBatch(e) => Self::TimeBeforeLastBatch {
                last_batch_time: e.lastBatchTime,
                given: e.given,
            },
            E::TimeInFuture(e) => Self::TimeInFuture {
                block_time: e.blockTime,
                given: e.given,
            },
            E::BatchTooOld(e) => Self::BatchTooOld {
                earliest: e.earliest,
                given: e.given,
            },
            E::DataANotEmpty(e) => Self::DataANotEmpty { length: e.length },
            E::DataNotWhole(e) => Self::DataNotWhole { length: e.length },
            E::DataEndsInZeros(e) => Self::DataEndsInZeros { length: e.length },
            E::WrongVerifyingKey(e) => Self::WrongVerifyingKey {
                expected: e.expected,
                found: e.found,
            },
            E::TooLittleGas(e) => Self::TooLittleGas {
                needed: e.needed,
                left: e.left,
            },
            E::ProofRejected(_) => Self::ProofRejected,
            E::VerifierOutOfGas(e) => Self::VerifierOutOfGas { gas_cap: e.gasCap },
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
    use alloy::sol_types::SolError;

    fn rows() -> Vec<Fr> {
        (100..117).map(Fr::from).collect()
    }

    #[test]
    fn a_submission_takes_each_row_from_its_place() {
        let submission = RootSubmission::new(7, &rows(), vec![], vec![1; 62], vec![2; 64]).unwrap();
        let header = submission.to_call().header;
        assert_eq!((header.number, header.time), (7, 109));
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
        let make = |rows: &[Fr]| RootSubmission::new(0, rows, vec![], vec![], vec![]);
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
    fn reverts_decode_to_the_error_with_its_arguments() {
        let data = IRollup::WrongBatchNumber {
            expected: 3,
            given: 2,
        }
        .abi_encode();
        assert_eq!(
            Rejection::decode(&data),
            Rejection::WrongBatchNumber {
                expected: 3,
                given: 2
            }
        );
        assert_eq!(
            Rejection::decode(&data[..40]),
            Rejection::Other {
                data: data[..40].to_vec().into()
            }
        );
        assert_eq!(Rejection::decode(&[]), Rejection::Other { data: Bytes::new() });
    }

    #[test]
    fn the_contract_writes_the_root_instances_where_the_list_has_them() {
        let [_, _, (_, source)] = SOURCES;
        let old_root = ROOT_INSTANCES
            .iter()
            .position(|name| *name == "old root")
            .unwrap();
        for (name, number) in [
            ("INSTANCES", ROOT_INSTANCES.len()),
            ("LIMBS", ACCUMULATOR_LIMBS),
            ("OLD_ROOT", old_root),
        ] {
            assert!(source.contains(&format!("constant {name} = {number};")), "{name}");
        }
        let written = [
            ("rollup_id", "rollupId"),
            ("time", "header.time"),
            ("x", "x"),
            ("old root", "header.oldRoot"),
            ("new root", "header.newRoot"),
            ("C_A", "header.commitmentA"),
            ("y_A", "evaluate(dataA, x)"),
            ("C_B", "header.commitmentB"),
            ("y_B", "evaluate(dataB, x)"),
        ];
        assert_eq!(
            written.map(|(name, _)| name)[..],
            ROOT_INSTANCES[ACCUMULATOR_LIMBS..]
        );
        for (row, (name, value)) in (ACCUMULATOR_LIMBS..).zip(written) {
            let row = if name == "old root" {
                "OLD_ROOT"
            } else {
                &row.to_string()
            };
            assert!(source.contains(&format!(" rows[{row}] = {value};")), "row {row}");
        }
        // And the one line that writes the accumulator.
        assert_eq!(source.matches(" rows[").count(), written.len() + 1);
    }
}
