//! A token as people know it: decimals and symbol, which its contract says.

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use anyhow::{Context, Result, bail, ensure};
use rules::account::TokenId;
use verifier_contracts::l1::{Deployment, L1Error};

use crate::derived::l1_failure;
use crate::wallet::amounts::{ETH_DECIMALS, Unit};

/// ETH's id (P-3.3).
pub const ETH: TokenId = TokenId(1);
/// Most characters of a symbol that are shown: it is a stranger's word.
const SYMBOL_CHARS_MAX: usize = 12;

/// What an ERC-20 contract says of itself, if it does.
#[allow(missing_docs)] // ERC-20 documents it.
mod metadata {
    alloy::sol! {
        interface Metadata {
            function decimals() external view returns (uint8);
            function symbol() external view returns (string);
        }
    }
}

use metadata::Metadata;

/// A token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Its unit.
    pub unit: Unit,
    /// What it is called: its id too, where the word is its contract's own.
    pub name: String,
}

impl Token {
    /// What L1 says of a token. Without L1, or where its contract does not say its decimals, somebody must.
    pub async fn find(deployment: Option<&Deployment>, id: TokenId, decimals: Option<u8>) -> Result<Self> {
        if id == ETH {
            ensure!(
                decimals.is_none_or(|decimals| decimals == ETH_DECIMALS),
                "ETH has {ETH_DECIMALS} decimals"
            );
            return Ok(Self {
                id,
                unit: Unit {
                    decimals: ETH_DECIMALS,
                },
                name: "ETH".to_owned(),
            });
        }
        let Some(deployment) = deployment else {
            let decimals = decimals.with_context(|| {
                format!("the snapshot does not say how many decimals token {id} has: say it with --decimals, or name L1 with --rpc")
            })?;
            return Ok(Self {
                id,
                unit: Unit { decimals },
                name: format!("token {id}"),
            });
        };
        let address = deployment.token_at(id).await.map_err(l1_failure)?;
        ensure!(address != Address::ZERO, "no token has the id {id} (P-3.3)");
        let found = ask(deployment, address, Metadata::decimalsCall {}).await?;
        let decimals = match (decimals, found) {
            (Some(said), Some(found)) if said != found => {
                bail!("token {id} at {address} has {found} decimals by its contract, not {said}")
            }
            (said, found) => said.or(found).with_context(|| {
                format!("the contract of token {id} at {address} does not say its decimals: say them with --decimals")
            })?,
        };
        let symbol = ask(deployment, address, Metadata::symbolCall {})
            .await?
            .unwrap_or_default();
        let symbol: String = symbol
            .chars()
            .filter(|c| c.is_ascii_graphic())
            .take(SYMBOL_CHARS_MAX)
            .collect();
        let name = format!("{symbol} (token {id})").trim_start().to_owned();
        Ok(Self {
            id,
            unit: Unit { decimals },
            name,
        })
    }

    /// What L1 says of a token, to show amounts: in smallest units where its contract does not say its decimals.
    pub async fn shown(deployment: &Deployment, id: TokenId) -> Result<Self> {
        let address = match id {
            ETH => return Self::find(Some(deployment), id, None).await,
            id => deployment.token_at(id).await.map_err(l1_failure)?,
        };
        match ask(deployment, address, Metadata::decimalsCall {}).await? {
            Some(_) => Self::find(Some(deployment), id, None).await,
            None => Ok(Self {
                id,
                unit: Unit { decimals: 0 },
                name: format!("smallest units of token {id}"),
            }),
        }
    }

    /// An amount, for people.
    pub fn show(&self, amount: u128) -> String {
        format!("{} {}", self.unit.show(amount), self.name)
    }
}

/// What a token's contract answers; none where it has no such function, or answers something else.
async fn ask<C: SolCall>(deployment: &Deployment, token: Address, call: C) -> Result<Option<C::Return>> {
    match deployment.l1().call(token, call.abi_encode()).await {
        Ok(answer) => Ok(C::abi_decode_returns_validate(&answer).ok()),
        // It may also take all gas, of which endpoints speak in words of their own.
        Err(L1Error::Rejected(_) | L1Error::Refused(_)) => Ok(None),
        Err(error) => Err(l1_failure(error)),
    }
}
