//! A transaction between its sending and its confirmations.

use std::time::Duration;

use alloy::{
    eips::BlockId, primitives::B256, providers::Provider, rpc::types::TransactionReceipt,
    transports::TransportError,
};
use tokio::time::Instant;

use super::{
    super::{
        error::{FailReason, L1Error, refusal, told},
        nonces::Reservation,
    },
    Answer, Call, Sender, Signed,
};

/// Most replacements of one transaction: a fee eight times as high.
const REPLACEMENTS_MAX: usize = 18;
/// How often a replacement is raised at once when the endpoint finds it too low.
const RAISES_MAX: usize = 4;
/// How often in a row a nonce must be seen used by nothing of ours until that is believed: one node of several behind
/// an endpoint may know a block of which another does not have the receipts yet.
const DISPLACED_LOOKS: u32 = 4;
/// First pause between two looks. It doubles.
const POLL_MIN: Duration = Duration::from_millis(20);

/// A transaction on its way.
pub(super) struct Flight {
    call: Call,
    gas: u64,
    reservation: Reservation,
    /// What was sent for it, all with one nonce; the latest last. Never empty.
    sent: Vec<Signed>,
    sent_at: Instant,
    /// The block that had it at the last look.
    block: Option<(u64, B256)>,
    displaced: u32,
    /// Whether it was said that the fees can rise no more.
    is_at_cap: bool,
}

/// What a look at L1 found.
enum Seen {
    /// It counts.
    Confirmed(Box<TransactionReceipt>),
    /// It is in a block.
    Included {
        number: u64,
        hash: B256,
        confirmations: u64,
    },
    /// It is not in a block, and can still be.
    Pending { is_known: bool },
    /// It is not in a block, and its nonce is used.
    Displaced { next_nonce: u64 },
}

impl Flight {
    pub fn new(call: Call, gas: u64, reservation: Reservation, signed: Signed) -> Self {
        Self {
            call,
            gas,
            reservation,
            sent: vec![signed],
            sent_at: Instant::now(),
            block: None,
            displaced: 0,
            is_at_cap: false,
        }
    }

    fn nonce(&self) -> u64 {
        self.reservation.nonce()
    }

    fn latest(&self) -> &Signed {
        self.sent.last().expect("the first is put in at the beginning")
    }
}

impl Sender {
    /// Waits until the transaction has its confirmations, and does what there is to do until then.
    pub(super) async fn land(&self, flight: &mut Flight) -> Result<TransactionReceipt, L1Error> {
        let begun = Instant::now();
        let mut pause = POLL_MIN;
        loop {
            let found = match self.look(flight).await {
                Ok(Seen::Confirmed(receipt)) => return self.landed(flight, *receipt).await,
                Ok(seen) => self.act(flight, seen).await?,
                Err(error) => {
                    let found = format!("the endpoint: {}", told(&error));
                    tracing::debug!(transaction = %flight.latest().hash, found, "cannot look at L1");
                    found
                }
            };
            let left = self.sending.wait_max.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(L1Error::Unconfirmed {
                    transaction: flight.latest().hash,
                    nonce: flight.nonce(),
                    confirmations: self.sending.confirmations,
                    waited_s: begun.elapsed().as_secs(),
                    found,
                });
            }
            pause = pause.min(self.sending.poll_max);
            tokio::time::sleep(pause.min(left)).await;
            pause *= 2;
        }
    }

    async fn look(&self, flight: &Flight) -> Result<Seen, TransportError> {
        for signed in flight.sent.iter().rev() {
            let receipt = self.provider.get_transaction_receipt(signed.hash).await?;
            let Some(receipt) = receipt else { continue };
            let (Some(number), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
                continue;
            };
            if self.sending.confirmations <= 1 {
                return Ok(Seen::Confirmed(Box::new(receipt)));
            }
            let head = self.provider.get_block_number().await?;
            let confirmations = head.saturating_sub(number).saturating_add(1);
            if confirmations >= self.sending.confirmations {
                // The receipt may be of a block that is on the chain no more.
                let block = self.provider.get_block(BlockId::number(number)).await?;
                if block.is_some_and(|block| block.header.hash == hash) {
                    return Ok(Seen::Confirmed(Box::new(receipt)));
                }
            }
            return Ok(Seen::Included {
                number,
                hash,
                confirmations,
            });
        }
        let next_nonce = self.provider.get_transaction_count(self.account).await?;
        if next_nonce > flight.nonce() {
            return Ok(Seen::Displaced { next_nonce });
        }
        let is_known = self.is_known(flight.latest().hash).await?;
        Ok(Seen::Pending { is_known })
    }

    /// Does what a look asks for, and says what it found.
    async fn act(&self, flight: &mut Flight, seen: Seen) -> Result<String, L1Error> {
        let transaction = flight.latest().hash;
        let nonce = flight.nonce();
        let before = flight.block.take();
        if !matches!(seen, Seen::Displaced { .. }) {
            flight.displaced = 0;
        }
        match seen {
            Seen::Confirmed(_) => unreachable!("it has landed"),
            Seen::Included {
                number,
                hash,
                confirmations,
            } => {
                flight.block = Some((number, hash));
                if before != flight.block {
                    let moved_from = before.map(|(number, _)| number);
                    tracing::info!(%transaction, nonce, block = number, ?moved_from, "transaction in a block");
                }
                Ok(format!("it is in block {number} with {confirmations} of them"))
            }
            Seen::Displaced { next_nonce } => {
                flight.displaced += 1;
                if flight.displaced < DISPLACED_LOOKS {
                    return Ok(format!("the account's next nonce is {next_nonce}"));
                }
                // Nodes behind one address may differ: one that has the transaction itself lacks its receipt only.
                for hash in flight.sent.iter().map(|signed| signed.hash) {
                    if self.is_known(hash).await? {
                        return Ok(format!("the endpoint has {hash}, and not its receipt"));
                    }
                }
                self.settled_to(nonce);
                Err(L1Error::Displaced {
                    transaction,
                    nonce,
                    next_nonce,
                })
            }
            Seen::Pending { is_known } => {
                if let Some((block, hash)) = before {
                    tracing::warn!(%transaction, nonce, block, %hash, "a reorganisation took the transaction out");
                    // It waits anew.
                    flight.sent_at = Instant::now();
                }
                if flight.sent_at.elapsed() >= self.sending.stuck_after {
                    self.replace(flight).await?;
                } else if !is_known {
                    self.send_again(flight).await;
                }
                Ok(match is_known {
                    true => "the endpoint has it in its pool".to_owned(),
                    false => "the endpoint did not have it any more".to_owned(),
                })
            }
        }
    }

    /// The same bytes once more, for an endpoint that lost them.
    async fn send_again(&self, flight: &Flight) {
        let (transaction, nonce) = (flight.latest().hash, flight.nonce());
        match self.broadcast(flight.latest()).await {
            Answer::Taken => {
                tracing::warn!(%transaction, nonce, "the endpoint lost the transaction, sent again")
            }
            // The next look says what became of it.
            Answer::NonceUsed | Answer::Outbid => {}
            Answer::Unknown(error) | Answer::Refused(error) => {
                let error = told(&error);
                tracing::warn!(%transaction, nonce, error, "the endpoint lost the transaction and does not take it");
            }
        }
    }

    /// The same with higher fees, as far as those may rise.
    async fn replace(&self, flight: &mut Flight) -> Result<(), L1Error> {
        let (stuck, nonce) = (flight.latest().hash, flight.nonce());
        let now = self.fees().await.ok();
        let mut fees = flight.latest().fees;
        for _ in 0..RAISES_MAX {
            let raised = fees.raised(now, &self.sending.fees);
            let Some(raised) = raised.filter(|_| flight.sent.len() <= REPLACEMENTS_MAX) else {
                if !std::mem::replace(&mut flight.is_at_cap, true) {
                    let (fee, tip) = (fees.fee, fees.tip);
                    tracing::warn!(%stuck, nonce, fee, tip, "transaction stuck, its fees may rise no more");
                }
                self.send_again_unless_known(flight).await;
                return Ok(());
            };
            fees = raised;
            let signed = self.sign(&flight.call, flight.gas, nonce, fees).await?;
            let transaction = signed.hash;
            self.note(nonce, transaction);
            match self.broadcast(&signed).await {
                Answer::Outbid => continue,
                // One of those that were sent is mined: the next look finds it.
                Answer::NonceUsed => return Ok(()),
                Answer::Refused(error) => {
                    let error = told(&error);
                    tracing::warn!(%stuck, nonce, error, "transaction stuck, the endpoint takes no other in its place");
                    // It is tried again when as much time has passed.
                    flight.sent_at = Instant::now();
                    return Ok(());
                }
                // Where the answer is lost it may have it all the same.
                Answer::Taken | Answer::Unknown(_) => {
                    let (fee, tip) = (fees.fee, fees.tip);
                    tracing::warn!(%stuck, %transaction, nonce, fee, tip, "transaction stuck, replaced");
                    flight.sent.push(signed);
                    flight.sent_at = Instant::now();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send_again_unless_known(&self, flight: &mut Flight) {
        flight.sent_at = Instant::now();
        if matches!(self.is_known(flight.latest().hash).await, Ok(false)) {
            self.send_again(flight).await;
        }
    }

    async fn landed(
        &self,
        flight: &Flight,
        receipt: TransactionReceipt,
    ) -> Result<TransactionReceipt, L1Error> {
        let (transaction, nonce, gas_used) = (receipt.transaction_hash, flight.nonce(), receipt.gas_used);
        let block = receipt.block_number;
        self.settled_to(nonce);
        if receipt.status() {
            tracing::info!(%transaction, nonce, ?block, gas_used, "transaction confirmed");
            return Ok(receipt);
        }
        let at = receipt.block_hash.map_or(BlockId::latest(), BlockId::hash);
        let again = self.provider.call(flight.call.request(self.account)).block(at);
        let reason = match again.await.map_err(refusal) {
            Ok(_) => FailReason::NotThere,
            Err(L1Error::Rejected(rejection)) => FailReason::Rejected(rejection),
            Err(_) => FailReason::Unknown,
        };
        Err(L1Error::Failed {
            transaction,
            nonce,
            gas_used,
            reason: Box::new(reason),
        })
    }
}
