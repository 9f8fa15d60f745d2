//! Transactions: fees, nonces, receipts, and what is done about one that is not mined.
//!
//! A transaction gets a nonce of its own and keeps it. What is sent again for it has that nonce, so at most one of
//! them is ever mined: nothing is done twice. A transaction that can no longer be mined is an error, never sent
//! again with another nonce.

mod flight;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy::{
    eips::{BlockNumberOrTag, eip2718::Encodable2718},
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    transports::TransportError,
};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    TRANSACTION_GAS_MAX,
    error::{L1Error, refusal},
    fees::{FeeBounds, Fees, HISTORY_BLOCKS, TIP_PERCENTILE},
    nonces::{Nonces, Reservation},
};
use flight::Flight;

/// Nonces that are tried for one transaction when others with the same key take them.
const NONCE_TRIES_MAX: u32 = 4;

/// How transactions are paid, awaited and replaced.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// What is offered for gas at most and at least.
    pub fees: FeeBounds,
    /// Blocks that a transaction must have on it, its own included, before it counts; at least 1.
    pub confirmations: u64,
    /// A transaction that is not mined for so long is replaced by the same one with higher fees.
    pub stuck_after: Duration,
    /// A transaction that has not its confirmations by then is given up.
    pub wait_max: Duration,
    /// Longest pause between two looks at a transaction.
    pub poll_max: Duration,
    /// Most transactions on their way at once; more wait for their turn.
    pub in_flight_max: usize,
}

impl Default for Sending {
    /// One confirmation; replaced after 3 blocks of 12 seconds, given up after 15 minutes; as many at once as nodes
    /// promise to keep for one account.
    fn default() -> Self {
        Self {
            fees: FeeBounds::default(),
            confirmations: 1,
            stuck_after: Duration::from_secs(36),
            wait_max: Duration::from_secs(900),
            poll_max: Duration::from_secs(3),
            in_flight_max: 16,
        }
    }
}

/// What a transaction does.
#[derive(Clone, Debug)]
pub struct Call {
    to: Option<Address>,
    data: Bytes,
    value: U256,
    gas: Option<u64>,
}

impl Call {
    /// A call of what is at `to`.
    pub fn new(to: Address, data: impl Into<Bytes>) -> Self {
        Self {
            to: Some(to),
            data: data.into(),
            value: U256::ZERO,
            gas: None,
        }
    }

    /// The creation of a contract.
    pub fn create(code: impl Into<Bytes>) -> Self {
        Self {
            to: None,
            data: code.into(),
            value: U256::ZERO,
            gas: None,
        }
    }

    /// With so many wei.
    pub fn with_value(self, value: U256) -> Self {
        Self { value, ..self }
    }

    /// With this limit of gas, where an estimate and a fifth more would be taken.
    pub fn with_gas(self, gas: u64) -> Self {
        let gas = Some(gas);
        Self { gas, ..self }
    }

    fn request(&self, from: Address) -> TransactionRequest {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_value(self.value);
        match self.to {
            Some(to) => request.with_to(to).with_input(self.data.clone()),
            None => request.with_deploy_code(self.data.clone()),
        }
    }
}

/// What an endpoint said of a transaction that it was given.
enum Answer {
    /// It has it, now or since earlier.
    Taken,
    /// The account has used the nonce.
    NonceUsed,
    /// It has another transaction with the nonce, which this one does not outbid.
    Outbid,
    /// It may have it or not: it answered nothing that can be read.
    Unknown(TransportError),
    /// It does not take it.
    Refused(TransportError),
}

impl Answer {
    fn of(answer: Result<B256, TransportError>) -> Self {
        let error = match answer {
            Ok(_) => return Self::Taken,
            Err(error) => error,
        };
        let Some(said) = error.as_error_resp() else {
            return Self::Unknown(error);
        };
        // Every node says it in words of its own.
        let said = said.message.to_lowercase().replace([' ', '_', '-'], "");
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if says(&[
            "alreadyknown",
            "knowntransaction",
            "alreadyimported",
            "alreadyexists",
        ]) {
            Self::Taken
        } else if says(&["noncetoolow", "oldnonce", "noncehasalreadybeenused"]) {
            Self::NonceUsed
        } else if says(&["replacement", "couldnotreplace", "toolowtoreplace"]) {
            Self::Outbid
        } else {
            Self::Refused(error)
        }
    }
}

/// A signed transaction.
#[derive(Clone, Debug)]
struct Signed {
    hash: B256,
    raw: Bytes,
    fees: Fees,
}

/// A transaction of which it is not known what became of it: it may be on its way, or mined by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its nonce. At most one of its forms is ever mined.
    pub nonce: u64,
    /// The hashes of what was handed to the endpoint for it, the latest last; never empty.
    pub transactions: Vec<B256>,
}

/// Sends one account's transactions.
pub(super) struct Sender {
    provider: DynProvider,
    wallet: EthereumWallet,
    account: Address,
    sending: Sending,
    chain_id: OnceCell<u64>,
    nonces: Nonces,
    room: Semaphore,
    /// What was handed to the endpoint, by nonce. Noted before it is, so that whoever stops waiting knows.
    unfinished: Mutex<BTreeMap<u64, Vec<B256>>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The wallet has the key.
        f.debug_struct("Sender")
            .field("account", &self.account)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub fn new(provider: DynProvider, wallet: EthereumWallet, account: Address, sending: Sending) -> Self {
        Self {
            provider,
            wallet,
            account,
            sending,
            chain_id: OnceCell::new(),
            nonces: Nonces::default(),
            room: Semaphore::new(sending.in_flight_max.max(1)),
            unfinished: Mutex::default(),
        }
    }

    /// What was sent and has not been seen to land, by nonce.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let all = self.noted();
        let all = all.iter().map(|(nonce, transactions)| Unfinished {
            nonce: *nonce,
            transactions: transactions.clone(),
        });
        all.collect()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<B256>>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is about to be sent.
    fn note(&self, nonce: u64, transaction: B256) {
        self.noted().entry(nonce).or_default().push(transaction);
    }

    /// Everything up to a nonce is settled: one transaction of each is in a block.
    fn settled_to(&self, nonce: u64) {
        self.noted().retain(|noted, _| *noted > nonce);
    }

    pub async fn transact(&self, call: Call) -> Result<TransactionReceipt, L1Error> {
        let _room = self.room.acquire().await.expect("it is never closed");
        let gas = self.gas(&call).await?;
        let mut flight = self.launch(call, gas).await?;
        self.land(&mut flight).await
    }

    /// The limit of gas. An estimate says too whether the contract would refuse.
    async fn gas(&self, call: &Call) -> Result<u64, L1Error> {
        if let Some(gas) = call.gas {
            return Ok(gas);
        }
        let request = call.request(self.account);
        let estimate = self.provider.estimate_gas(request).await.map_err(refusal)?;
        Ok(estimate.saturating_add(estimate / 5).min(TRANSACTION_GAS_MAX))
    }

    async fn fees(&self) -> Result<Fees, L1Error> {
        let history =
            self.provider
                .get_fee_history(HISTORY_BLOCKS, BlockNumberOrTag::Latest, &[TIP_PERCENTILE]);
        Fees::estimate(&history.await?, &self.sending.fees)
    }

    /// Gives the transaction a nonce and sends it for the first time.
    async fn launch(&self, call: Call, gas: u64) -> Result<Flight, L1Error> {
        let fees = self.fees().await?;
        let (mut foreign, mut handed) = (BTreeSet::new(), Vec::new());
        let mut tries = 0;
        loop {
            tries += 1;
            let reservation = self.reserve(&foreign).await?;
            let nonce = reservation.nonce();
            let signed = self.sign(&call, gas, nonce, fees).await?;
            self.note(nonce, signed.hash);
            let (refused, last) = match self.broadcast(&signed).await {
                Answer::Taken => return Ok(self.taken(call, gas, reservation, signed, None)),
                Answer::Unknown(error) => {
                    return Ok(self.taken(call, gas, reservation, signed, Some(error.into())));
                }
                // Between the endpoint and here something may have sent it twice.
                Answer::NonceUsed if self.is_known(signed.hash).await? => {
                    return Ok(self.taken(call, gas, reservation, signed, None));
                }
                // What it was given it may keep: another is signed only where its own count says that this one cannot be mined.
                Answer::NonceUsed | Answer::Outbid if self.next_nonce().await? <= nonce => {
                    let hash = signed.hash;
                    return Err(L1Error::Endpoint(format!(
                        "it says that nonce {nonce} is used, and counts that it is not; it was given the transaction {hash}: look for it before you send again"
                    )));
                }
                Answer::NonceUsed => ("the account has used it", tries == NONCE_TRIES_MAX),
                // Not a transaction of ours: those have reservations. It is left alone.
                Answer::Outbid => ("a transaction of somebody else has it", tries == NONCE_TRIES_MAX),
                Answer::Refused(error) if self.is_known(signed.hash).await? => {
                    return Ok(self.taken(call, gas, reservation, signed, Some(error.into())));
                }
                Answer::Refused(error) => {
                    self.noted().remove(&nonce);
                    return Err(self.unsent(&call, gas, nonce, fees, error).await);
                }
            };
            self.noted().remove(&nonce);
            let hash = signed.hash;
            tracing::warn!(account = %self.account, nonce, %hash, reason = refused, "nonce not taken, trying another");
            handed.push(format!("{hash} with nonce {nonce}"));
            if last {
                let handed = handed.join(", ");
                let reason = format!(
                    "no nonce was free in {tries} tries ({refused}); it was given {handed}: look for them before you send again"
                );
                return Err(L1Error::Endpoint(reason));
            }
            foreign.insert(nonce);
        }
    }

    fn taken(
        &self,
        call: Call,
        gas: u64,
        reservation: Reservation,
        signed: Signed,
        doubt: Option<L1Error>,
    ) -> Flight {
        let nonce = reservation.nonce();
        let Fees { fee, tip } = signed.fees;
        let (transaction, account, to) = (signed.hash, self.account, call.to);
        match doubt {
            None => {
                tracing::info!(%transaction, %account, nonce, ?to, gas, fee, tip, "transaction sent");
            }
            Some(error) => {
                tracing::warn!(%transaction, %account, nonce, ?to, %error, "transaction sent, answer not known");
            }
        }
        Flight::new(call, gas, reservation, signed)
    }

    /// The account's next nonce, what waits in the endpoint's pool included.
    async fn next_nonce(&self) -> Result<u64, TransportError> {
        self.provider.get_transaction_count(self.account).pending().await
    }

    /// The lowest nonce that neither the chain, nor the endpoint's pool, nor this program, nor `foreign` has.
    async fn reserve(&self, foreign: &BTreeSet<u64>) -> Result<Reservation, L1Error> {
        let pending = self.next_nonce().await?;
        let least = foreign.last().map_or(pending, |last| pending.max(last + 1));
        Ok(self.nonces.reserve(least))
    }

    async fn sign(&self, call: &Call, gas: u64, nonce: u64, fees: Fees) -> Result<Signed, L1Error> {
        let chain_id = self.chain_id.get_or_try_init(|| self.provider.get_chain_id());
        let request = call
            .request(self.account)
            .with_chain_id(*chain_id.await?)
            .with_gas_limit(gas)
            .with_nonce(nonce)
            .with_max_fee_per_gas(fees.fee)
            .with_max_priority_fee_per_gas(fees.tip);
        let envelope = request.build(&self.wallet).await;
        let envelope = envelope.expect("every field is set, and the wallet has the account's key");
        Ok(Signed {
            hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            fees,
        })
    }

    async fn broadcast(&self, signed: &Signed) -> Answer {
        let raw = (signed.raw.clone(),);
        Answer::of(
            self.provider
                .client()
                .request("eth_sendRawTransaction", raw)
                .await,
        )
    }

    /// Whether the endpoint has the transaction, in a block or in its pool.
    async fn is_known(&self, hash: B256) -> Result<bool, TransportError> {
        let found: Option<serde::de::IgnoredAny> = self
            .provider
            .client()
            .request("eth_getTransactionByHash", (hash,))
            .await?;
        Ok(found.is_some())
    }

    /// Why the endpoint took no first transaction. Words about money are replaced by the amounts.
    async fn unsent(&self, call: &Call, gas: u64, nonce: u64, fees: Fees, error: TransportError) -> L1Error {
        let said = error.as_error_resp().map(|said| said.message.to_lowercase());
        let needed = U256::from(gas)
            .saturating_mul(U256::from(fees.fee))
            .saturating_add(call.value);
        if said.is_some_and(|said| said.contains("insufficient funds"))
            && let Ok(found) = self.provider.get_balance(self.account).await
            && found < needed
        {
            return L1Error::Funds {
                account: self.account,
                nonce,
                needed,
                found,
            };
        }
        refusal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::rpc::json_rpc::ErrorPayload;

    fn answer(message: &'static str) -> Answer {
        Answer::of(Err(TransportError::ErrorResp(ErrorPayload {
            code: -32000,
            message: message.into(),
            data: None,
        })))
    }

    #[test]
    fn the_words_of_common_nodes_are_understood() {
        for known in [
            "already known",
            "AlreadyKnown",
            "Known transaction",
            "transaction already imported",
            "ALREADY_EXISTS: already known",
        ] {
            assert!(matches!(answer(known), Answer::Taken), "{known}");
        }
        for used in [
            "nonce too low: next nonce 5, tx nonce 4",
            "Nonce too low",
            "OldNonce",
        ] {
            assert!(matches!(answer(used), Answer::NonceUsed), "{used}");
        }
        for outbid in [
            "replacement transaction underpriced",
            "REPLACEMENT_UNDERPRICED",
            "ReplacementNotAllowed",
            "could not replace existing tx",
        ] {
            assert!(matches!(answer(outbid), Answer::Outbid), "{outbid}");
        }
        for refused in [
            "transaction underpriced",
            "insufficient funds for gas",
            "exceeds block gas limit",
            "",
        ] {
            assert!(matches!(answer(refused), Answer::Refused(_)), "{refused}");
        }
        let silence = Answer::of(Err(TransportError::NullResp));
        assert!(matches!(silence, Answer::Unknown(_)));
    }
}
