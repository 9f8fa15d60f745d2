//! Whether the code on a chain is the code that these sources and keys make.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use serde::Serialize;

use crate::{
    l1::{L1, L1Error},
    solc::Code,
    verifier::CompiledVerifier,
};

/// What was found at an address, and every way in which it is not what it should be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The rollup contract's address.
    pub rollup: Address,
    /// The verifier that it calls.
    pub verifier: Option<Address>,
    /// The rollup contract's immutables, as its code has them.
    pub immutables: BTreeMap<String, U256>,
    /// What differs; empty if all is as it should be.
    pub differences: Vec<Difference>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// There is no code.
    #[error("there is no code of the {contract} contract at {address}")]
    NoCode {
        /// Which contract.
        contract: &'static str,
        /// Where it should be.
        address: Address,
    },
    /// The code has another length.
    #[error("the code of the {contract} contract at {address} has {found} bytes, expected {expected}")]
    Length {
        /// Which contract.
        contract: &'static str,
        /// Where it is.
        address: Address,
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// The code has the right length, but another byte, immutables aside.
    #[error(
        "the code of the {contract} contract at {address} differs in {bytes} bytes, the first at byte {offset}"
    )]
    Code {
        /// Which contract.
        contract: &'static str,
        /// Where it is.
        address: Address,
        /// Place of the first byte that differs.
        offset: usize,
        /// How many differ.
        bytes: usize,
    },
    /// An immutable is written with different values in different places.
    #[error("the immutable {name} has more than one value in the code at {address}")]
    Torn {
        /// Its name.
        name: String,
        /// Where the code is.
        address: Address,
    },
    /// An immutable does not have the value that follows from chain, address and keys.
    #[error("the immutable {name} is {found:#x}, expected {expected:#x}")]
    Immutable {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: U256,
        /// What it is.
        found: U256,
    },
}

/// Compares the rollup contract at `rollup`, and the verifier that it calls, with what these sources and keys make. What an operator
/// chooses, the gas cap and the greatest age, is reported and not judged.
///
/// # Errors
/// [`L1Error`] of the endpoint alone: whatever is on the chain is a [`Report`].
pub async fn compare(
    l1: &L1,
    rollup: Address,
    verifier: &CompiledVerifier,
    rollup_code: &Code,
) -> Result<Report, L1Error> {
    let mut report = Report {
        rollup,
        ..Report::default()
    };
    let found = l1.code(rollup).await?;
    report.judge("rollup", rollup, rollup_code, &found);
    if !report.differences.is_empty() {
        return Ok(report);
    }
    let chain_id = l1.chain_id().await?;
    let rollup_id = U256::from(chain_id) << 160 | U256::from_be_slice(rollup.as_slice());
    report.expect("rollupId", rollup_id);
    report.expect("vkDigest", B256::into(verifier.vk_digest));
    if let Some(word) = report.immutables.get("verifier") {
        let address = Address::from_word(B256::from(*word));
        report.verifier = Some(address);
        let found = l1.code(address).await?;
        report.judge("verifier", address, &verifier.code, &found);
    }
    Ok(report)
}

impl Report {
    /// Whether all is as it should be.
    pub fn is_genuine(&self) -> bool {
        self.differences.is_empty()
    }

    /// Compares runtime code, and reads the immutables out of it.
    fn judge(&mut self, contract: &'static str, address: Address, code: &Code, found: &[u8]) {
        if found.is_empty() {
            self.differences.push(Difference::NoCode { contract, address });
            return;
        }
        let expected = code.runtime.len();
        if found.len() != expected {
            self.differences.push(Difference::Length {
                contract,
                address,
                expected,
                found: found.len(),
            });
            return;
        }
        let mut plain = found.to_vec();
        for (name, places) in &code.immutables {
            let mut values = places
                .iter()
                .map(|place| U256::from_be_slice(&found[place.clone()]));
            let first = values.next().unwrap_or_default();
            if values.any(|other| other != first) {
                let name = name.clone();
                self.differences.push(Difference::Torn { name, address });
            }
            self.immutables.insert(name.clone(), first);
            places.iter().for_each(|place| plain[place.clone()].fill(0));
        }
        let differ: Vec<usize> = (0..expected).filter(|i| plain[*i] != code.runtime[*i]).collect();
        if let Some(offset) = differ.first() {
            self.differences.push(Difference::Code {
                contract,
                address,
                offset: *offset,
                bytes: differ.len(),
            });
        }
    }

    fn expect(&mut self, name: &'static str, expected: U256) {
        let found = self.immutables.get(name).copied().unwrap_or_default();
        if found != expected {
            self.differences.push(Difference::Immutable {
                name,
                expected,
                found,
            });
        }
    }
}
