//! What the rollup contract's constructor refuses (P-17.1), said before anything is paid.
//!
//! The rules of `contracts/Bounds.sol` and `contracts/Verifiers.sol` are held natively, so that a refusal says what is wanted. All of the
//! constructor is run too, where the endpoint lends code to an address for one call.

use std::fmt::Display;

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256},
    providers::Provider,
    rpc::types::{
        TransactionRequest,
        state::{AccountOverride, StateOverride},
    },
};
use thiserror::Error;

use super::{
    Addresses, DeployConfig, Deployment, L1, L1Error, Parts, TRANSACTION_GAS_MAX, error::refusal,
    predict_addresses,
};
use crate::{rollup::Contracts, verifier::CompiledVerifier};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// Most entries that a batch may have to consume.
const CONSUMED_MAX: u64 = 1_000;
/// Range of a verifier's gas cap.
const GAS_CAP: (u32, u32) = (250_000, 8_000_000);
/// Verifiers that the constructor registers.
const VERIFIERS: (u64, u64) = (1, 8);
/// A nonce that no account comes to.
const NONCE_NEVER: u64 = 1 << 63;
/// Code that answers the word 1: `PUSH1 1, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN`.
const ANSWERS_ONE: [u8; 10] = [0x60, 1, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];

/// A parameter that the constructor refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: expected {expected}, found {found} (P-17.1)")]
pub struct ParameterError {
    /// Its name in the contract.
    pub name: &'static str,
    /// What the contract takes.
    pub expected: String,
    /// What it would get.
    pub found: String,
}

impl DeployConfig {
    /// Whether the constructor of the rollup contract at that address would take the parameters, with verifiers for batches that have room
    /// for so many entries each.
    ///
    /// # Errors
    /// The first that it refuses, in its order.
    pub fn check(&self, rooms: &[u64], rollup: Address) -> Result<(), ParameterError> {
        let week = (HOUR_S, 7 * DAY_S);
        within("dueAfter", self.due_after_s, week, "seconds")?;
        within("silence", self.silence_s, week, "seconds")?;
        within(
            "freezeAfter",
            self.freeze_after_s,
            (7 * DAY_S, 30 * DAY_S),
            "seconds",
        )?;
        let consumed_max = self.consumed_max_of(rooms);
        within("consumedMax", consumed_max, (1, CONSUMED_MAX), "entries")?;
        within("batchAgeMax", self.batch_age_s_max, week, "seconds")?;
        // Both are at most 30 days by now.
        let least = self.due_after_s + self.freeze_after_s + 30 * DAY_S;
        let unit = "seconds, of which the least is 30 days more than dueAfter and freezeAfter together";
        within("delay", self.delay_s, (least, 365 * DAY_S), unit)?;
        let price_max = (U256::from(1) << 96) - U256::from(1);
        within("tokenPrice", self.token_price, (U256::from(1), price_max), "wei")?;
        for (name, who) in [("operator", self.operator), ("feeAddress", self.fee_address)] {
            if who == Address::ZERO || who == rollup {
                let expected = "an address that is neither zero nor the rollup contract's own";
                return refuse(name, expected, who);
            }
        }
        if let Err(reason) = self.fee_key.validate() {
            let found = format!("one of which {reason}");
            return refuse(
                "feeKey",
                "a key on the curve and not of small order (P-12.5)",
                found,
            );
        }
        within("verifiers", rooms.len() as u64, VERIFIERS, "verifiers")?;
        within("gasCap", self.verifier_gas_cap, GAS_CAP, "gas")?;
        if let Some(room) = rooms.iter().find(|room| **room < consumed_max) {
            let expected = format!("1 to {room} entries, for which a verifier's batches have room");
            return refuse("queueCapacity", expected, consumed_max);
        }
        Ok(())
    }
}

impl Deployment {
    /// Whether a deployment by this account would go through, without a transaction: the parameters are checked, then the constructor is run
    /// on the code of what is deployed before it. False where the endpoint cannot do the latter.
    ///
    /// # Errors
    /// [`L1Error::Parameter`]; [`L1Error::Rejected`] with the constructor's reason; the endpoint's.
    pub async fn rehearse(
        l1: &L1,
        contracts: &Contracts,
        verifiers: &[&CompiledVerifier],
        config: &DeployConfig,
    ) -> Result<bool, L1Error> {
        let Addresses { rollup, .. } = l1.predict(verifiers.len()).await?;
        config.check(&rooms(verifiers), rollup)?;
        // At addresses that no transaction of the account comes to: the constructor itself runs at that of the next one.
        let Addresses {
            poseidon,
            verifiers: places,
            ..
        } = predict_addresses(l1.account(), NONCE_NEVER, verifiers.len());
        if !lends_code(l1, poseidon).await? {
            return Ok(false);
        }
        let codes = verifiers.iter().map(|verifier| &verifier.code.runtime);
        let codes = std::iter::once(&contracts.poseidon.runtime).chain(codes);
        let at = std::iter::once(&poseidon).chain(&places);
        let lent = at.zip(codes).map(|(at, code)| (*at, lent(code.clone().into())));
        let lent: StateOverride = lent.collect();
        let parts = Parts {
            poseidon,
            verifiers: places.clone(),
        };
        let arguments = config.constructor_arguments(contracts, verifiers, &parts);
        let code = [contracts.rollup.creation.as_slice(), &arguments].concat();
        let request = request(l1).with_deploy_code(code);
        let run = l1.provider.call(request).overrides(lent).await;
        run.map(|_| true).map_err(refusal)
    }
}

/// Entries for which the batches of each verifier have room.
pub(super) fn rooms(verifiers: &[&CompiledVerifier]) -> Vec<u64> {
    verifiers.iter().map(|verifier| verifier.queue_capacity).collect()
}

/// Whether the endpoint takes code for an address into a call: some refuse that, and some do not heed it.
async fn lends_code(l1: &L1, at: Address) -> Result<bool, L1Error> {
    let lent = StateOverride::from_iter([(at, lent(ANSWERS_ONE.into()))]);
    match l1.provider.call(request(l1).with_to(at)).overrides(lent).await {
        Ok(answer) => Ok(answer.as_ref() == U256::from(1).to_be_bytes::<32>()),
        Err(error) if error.is_error_resp() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn request(l1: &L1) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(l1.account())
        .with_gas_limit(TRANSACTION_GAS_MAX)
}

fn lent(code: Bytes) -> AccountOverride {
    AccountOverride {
        code: Some(code),
        ..AccountOverride::default()
    }
}

fn within<T: PartialOrd + Display>(
    name: &'static str,
    found: T,
    (least, most): (T, T),
    unit: &str,
) -> Result<(), ParameterError> {
    match found < least || found > most {
        true => refuse(name, format!("{least} to {most} {unit}"), found),
        false => Ok(()),
    }
}

fn refuse(
    name: &'static str,
    expected: impl Into<String>,
    found: impl Display,
) -> Result<(), ParameterError> {
    Err(ParameterError {
        name,
        expected: expected.into(),
        found: found.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use rules::eddsa::{PrivateKey, PublicKey};

    use super::*;

    #[test]
    fn each_refusal_says_what_is_wanted_and_what_was_found() {
        let key = PrivateKey::from_bytes(&[1; 32]).public();
        let usual = DeployConfig::new(Address::repeat_byte(1), Address::repeat_byte(2), key);
        let rollup = Address::repeat_byte(9);
        usual.check(&[10], rollup).expect("the usual values");
        let refused = |config: &DeployConfig, rooms: &[u64]| {
            let error = config.check(rooms, rollup).expect_err("it is refused");
            (error.name, error.to_string())
        };
        let late = DeployConfig {
            due_after_s: 604_801,
            ..usual.clone()
        };
        assert_eq!(
            refused(&late, &[10]).1,
            "dueAfter: expected 3600 to 604800 seconds, found 604801 (P-17.1)"
        );
        let own = DeployConfig {
            operator: rollup,
            ..usual.clone()
        };
        assert_eq!(refused(&own, &[10]).0, "operator");
        let small = DeployConfig {
            fee_key: PublicKey(rules::babyjub::Point::IDENTITY),
            ..usual.clone()
        };
        assert_eq!(refused(&small, &[10]).0, "feeKey");
        let greedy = DeployConfig {
            consumed_max: Some(6),
            ..usual.clone()
        };
        let (name, told) = refused(&greedy, &[10, 5]);
        assert_eq!(name, "queueCapacity");
        assert!(
            told.contains("1 to 5 entries") && told.contains("found 6"),
            "{told}"
        );
        assert_eq!(refused(&usual, &[]).0, "verifiers");
    }
}
