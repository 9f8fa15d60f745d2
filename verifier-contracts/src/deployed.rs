//! Whether the code on a chain is the code that these sources and keys make.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256, keccak256};
use serde::Serialize;

use crate::{
    l1::{Deployment, L1, L1Error},
    rollup::Contracts,
    solc::Code,
    verifier::CompiledVerifier,
};

/// What was found at an address, and every way in which it is not what it should be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The rollup contract's address.
    pub rollup: Address,
    /// The verifiers that it calls, now or later: those that are neither retired nor disabled.
    pub verifiers: Vec<Registered>,
    /// The rollup contract's immutables, as its code has them.
    pub immutables: BTreeMap<String, U256>,
    /// What differs; empty if all is as it should be.
    pub differences: Vec<Difference>,
}

/// A verifier that the contract calls, now or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// Its number.
    pub id: u8,
    /// Its address.
    pub address: Address,
    /// Digest of its key.
    pub vk_digest: B256,
    /// Gas that it is called with.
    pub gas_cap: u32,
    /// Second from which it is in force.
    pub active_from: u64,
    /// Second from which it is no more.
    pub retired_at: u64,
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
    /// The contract calls a verifier of other keys than those that it is compared with.
    #[error("verifier {id} at {address} is of the key {vk_digest}, which none of the given keys has")]
    OtherVerifier {
        /// Its number.
        id: u8,
        /// Its address.
        address: Address,
        /// Digest of its key.
        vk_digest: B256,
    },
    /// The contract calls no verifier of a key.
    #[error("there is no verifier of the key {vk_digest}")]
    NoVerifier {
        /// Digest of the key.
        vk_digest: B256,
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

/// Compares the rollup contract at `rollup`, the contract of `H` and every verifier that it calls, now or later, with what these
/// sources and keys make. What an operator chooses, gas caps and the parameters of P-17.1, is reported and not judged.
///
/// # Errors
/// [`L1Error`] of the endpoint alone: whatever is on the chain is a [`Report`].
pub async fn compare(
    l1: &L1,
    rollup: Address,
    verifiers: &[&CompiledVerifier],
    contracts: &Contracts,
) -> Result<Report, L1Error> {
    let mut report = Report {
        rollup,
        ..Report::default()
    };
    let found = l1.code(rollup).await?;
    report.judge("rollup", rollup, &contracts.rollup, &found);
    if !report.differences.is_empty() {
        return Ok(report);
    }
    let chain_id = l1.chain_id().await?;
    let rollup_id = U256::from(chain_id) << 160 | U256::from_be_slice(rollup.as_slice());
    report.expect("rollupId", rollup_id);
    report.expect("poseidonCodeHash", keccak256(&contracts.poseidon.runtime).into());
    if let Some(word) = report.immutables.get("poseidon") {
        let address = Address::from_word(B256::from(*word));
        let found = l1.code(address).await?;
        report.judge("Poseidon", address, &contracts.poseidon, &found);
    }
    report.verifiers = registered(l1, rollup).await?;
    for registered in report.verifiers.clone() {
        let Registered {
            id,
            address,
            vk_digest,
            ..
        } = registered;
        match verifiers.iter().find(|verifier| verifier.vk_digest == vk_digest) {
            Some(verifier) => {
                let found = l1.code(address).await?;
                report.judge("verifier", address, &verifier.code, &found);
            }
            None => report.differences.push(Difference::OtherVerifier {
                id,
                address,
                vk_digest,
            }),
        }
    }
    for CompiledVerifier { vk_digest, .. } in verifiers {
        let vk_digest = *vk_digest;
        if !report.verifiers.iter().any(|found| found.vk_digest == vk_digest) {
            report.differences.push(Difference::NoVerifier { vk_digest });
        }
    }
    Ok(report)
}

/// The verifiers of a contract whose code is known that are in force or can be.
async fn registered(l1: &L1, rollup: Address) -> Result<Vec<Registered>, L1Error> {
    let now = l1.block_time().await?;
    let all = Deployment::at(l1, rollup).await?.verifiers().await?;
    let usable = (0..=u8::MAX)
        .zip(all)
        .filter(|(_, found)| !found.disabled && found.activeFrom.max(now) < found.retiredAt);
    let registered = usable.map(|(id, found)| Registered {
        id,
        address: found.addr,
        vk_digest: found.vkDigest,
        gas_cap: found.gasCap,
        active_from: found.activeFrom,
        retired_at: found.retiredAt,
    });
    Ok(registered.collect())
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
