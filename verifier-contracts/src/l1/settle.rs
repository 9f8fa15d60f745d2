//! A proven batch brought to L1: everything that the contract checks is looked at before anything is paid, and named where it does not fit.
//!
//! The contract's own word decides: what passes here is asked of it without a transaction, the proof included, then sent.

mod obstacle;

use alloy::{
    primitives::{Address, B256, keccak256},
    sol_types::SolCall,
};
use halo2curves::bn256::Fr;
use rules::{
    operation::RollupId,
    record::{QueueHash, Record},
    stream,
};

use super::{Accepted, Deployment, Done, L1Error, Mode, OnL1, TRANSACTION_GAS_MAX};
use crate::rollup::{Rejection, RootSubmission};

pub use obstacle::Obstacle;

/// A batch's time must be that much younger than the contract asks, seconds: a transaction takes some blocks to be mined.
pub(super) const AGE_MARGIN_S: u64 = 120;
/// Most bytes of an ordinary transaction that nodes relay.
const TRANSACTION_BYTES_MAX: usize = 128 << 10;
/// More than what a transaction has beside its calldata.
const ENVELOPE_BYTES: usize = 300;
/// `PROOF_BYTES_MAX` of `contracts/Batches.sol`.
const PROOF_BYTES_MAX: usize = 1 << 14;

/// A batch with its root proof, for whichever verifier of the contract is made from the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenBatch {
    /// The rollup that it was proven for.
    pub rollup_id: RollupId,
    /// Digest of the key that the proof is for: what every transcript under it begins with. The contract's digest of a verifier
    /// (P-14.4) is another one, of all that the verifier has of the key.
    pub key_digest: B256,
    /// What is submitted. Its verifier's number is chosen by what the contract has.
    pub submission: RootSubmission,
}

/// Where a batch stands that nothing is wrong with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// L1 would take it now, as it is here.
    Next(Box<RootSubmission>),
    /// L1 has it.
    OnL1(Box<OnL1>),
}

/// A batch that is on L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// By a transaction of now.
    Now(Accepted),
    /// Since before, with the same new state root.
    Before(OnL1),
}

impl Settled {
    /// The transaction.
    pub fn done(&self) -> Done {
        match self {
            Self::Now(accepted) => Done {
                transaction: accepted.transaction,
                block: accepted.block,
                gas_used: accepted.gas_used,
            },
            Self::Before(on_l1) => on_l1.done,
        }
    }

    /// The state root after the batch.
    pub fn new_root(&self) -> Fr {
        match self {
            Self::Now(accepted) => accepted.new_root,
            Self::Before(on_l1) => on_l1.accepted.new_root,
        }
    }
}

impl Deployment {
    /// Looks whether L1 would take a batch now, or has it.
    ///
    /// # Errors
    /// [`Obstacle`], by its cause.
    pub async fn examine(&self, batch: &ProvenBatch) -> Result<Standing, Obstacle> {
        // All of one block, so that it goes together; what waits in a pool is not looked at.
        let head = self.l1().latest().await?.header.number;
        match self.as_of(head).look_at(batch).await? {
            Standing::Next(submission) => {
                self.check(&submission.to_call()).await?;
                Ok(Standing::Next(submission))
            }
            on_l1 @ Standing::OnL1(_) => Ok(on_l1),
        }
    }

    /// All that is looked at without the contract's own word.
    async fn look_at(&self, batch: &ProvenBatch) -> Result<Standing, Obstacle> {
        self.check_rollup(batch).await?;
        if let Some(on_l1) = self.check_number(batch).await? {
            return Ok(Standing::OnL1(Box::new(on_l1)));
        }
        let records = stream::records(&batch.submission.data_a);
        let records = records.map_err(|error| Obstacle::DataA(error.to_string()))?;
        let consumed: Vec<&Record> = records.iter().filter(|record| record.kind.is_queued()).collect();
        self.check_submitter(!consumed.is_empty()).await?;
        self.check_age(batch.submission.time).await?;
        let submission = RootSubmission {
            verifier: self.check_verifier(batch.key_digest).await?,
            ..batch.submission.clone()
        };
        check_size(&submission)?;
        self.check_block_gas().await?;
        self.check_queue(&consumed).await?;
        Ok(Standing::Next(Box::new(submission)))
    }
    /// Brings a batch to L1, if it is not there already, and waits until it is. Nothing is sent while the account has a transaction that is
    /// not mined: it may be the same batch, sent by an earlier run.
    ///
    /// # Errors
    /// As [`Deployment::examine`]; what went wrong with the transaction is [`Obstacle::L1`].
    pub async fn settle(&self, batch: &ProvenBatch) -> Result<Settled, Obstacle> {
        let waiting = self.l1().waiting().await?;
        if waiting > 0 {
            let account = self.l1().account();
            return Err(Obstacle::Waiting { account, waiting });
        }
        let submission = match self.examine(batch).await? {
            Standing::Next(submission) => submission,
            Standing::OnL1(on_l1) => return Ok(Settled::Before(*on_l1)),
        };
        let accepted = self.send_batch(&submission).await?;
        let (expected, found) = (submission.new_root, accepted.new_root);
        if expected != found {
            let number = submission.number;
            return Err(Obstacle::Other {
                number,
                expected: found,
                found: expected,
            });
        }
        Ok(Settled::Now(accepted))
    }

    async fn check_rollup(&self, batch: &ProvenBatch) -> Result<(), Obstacle> {
        let (expected, found) = (self.l1().chain_id().await?, batch.rollup_id.chain_id);
        if expected != found {
            return Err(Obstacle::Chain { expected, found });
        }
        let (expected, found) = (self.rollup(), Address::from(batch.rollup_id.contract));
        if expected != found {
            return Err(Obstacle::Contract { expected, found });
        }
        Ok(())
    }

    /// That the batch is the next, and goes on from the state there; none then.
    async fn check_number(&self, batch: &ProvenBatch) -> Result<Option<OnL1>, Obstacle> {
        let RootSubmission { number, old_root, .. } = batch.submission;
        let next = self.next_batch_number().await?;
        if number > next {
            return Err(Obstacle::Ahead { number, next });
        }
        if number == next {
            let expected = self.state_root().await?;
            if expected == old_root {
                return Ok(None);
            }
            return Err(Obstacle::OldRoot {
                number,
                expected,
                found: old_root,
            });
        }
        let on_l1 = self.find_batch(number, 0).await?;
        let on_l1 = on_l1.ok_or_else(|| L1Error::Answer {
            call: "eth_getLogs",
            reason: format!("batch {number} is on L1, and no log tells of it"),
        })?;
        let (expected, found) = (on_l1.accepted.new_root, batch.submission.new_root);
        if expected != found {
            return Err(Obstacle::Other {
                number,
                expected,
                found,
            });
        }
        Ok(Some(on_l1))
    }

    /// Who may submit (P-9.9).
    async fn check_submitter(&self, consumes: bool) -> Result<(), Obstacle> {
        let mode = self.mode().await?;
        if mode == Mode::Frozen {
            return Err(Obstacle::Frozen);
        }
        let (account, operator) = (self.l1().account(), self.roles().await?.operator);
        if account == operator {
            return Ok(());
        }
        match mode {
            Mode::Enforced if consumes => Ok(()),
            Mode::Enforced => Err(Obstacle::ConsumesNothing { account }),
            _ => {
                let silence_s = self.parameters().await?.silence_s;
                Err(Obstacle::NotOperator {
                    account,
                    operator,
                    from: self.accepted_at().await?.saturating_add(silence_s),
                })
            }
        }
    }

    /// The lower bounds on a batch's time (P-9.4), with room for the transaction. Whether it is in the future the contract says, whose
    /// clock is the next block's.
    async fn check_age(&self, time: u64) -> Result<(), Obstacle> {
        let last = self.last_batch_time().await?;
        if time < last {
            return Err(Obstacle::BeforeLast { last, found: time });
        }
        let age_max_s = self.parameters().await?.batch_age_s_max;
        let age_s = self.l1().block_time().await?.saturating_sub(time);
        if age_s.saturating_add(AGE_MARGIN_S) > age_max_s {
            return Err(Obstacle::TooOld { age_s, age_max_s });
        }
        Ok(())
    }

    /// The contract's verifier that is in force and made from the key, the last one (P-14.4). Each has the key's digest in its code, which
    /// is what was registered (P-9.6).
    async fn check_verifier(&self, key_digest: B256) -> Result<u8, Obstacle> {
        let now = self.l1().block_time().await?;
        let (mut made, mut changed) = (Vec::new(), None);
        let registered = self.verifiers().await?;
        for (place, verifier) in registered.iter().enumerate().rev() {
            let id = u8::try_from(place).expect("there are 256 at most");
            let code = self.l1().code(verifier.addr).await?;
            let (expected, found) = (verifier.codeHash, keccak256(&code));
            let within = verifier.activeFrom <= now && now < verifier.retiredAt;
            let is_in_force = within && !verifier.disabled;
            if expected != found && is_in_force {
                changed = Some(Rejection::VerifierChanged { id, expected, found });
            } else if pushes(&code, key_digest) {
                if is_in_force {
                    return Ok(id);
                }
                made.push(id);
            }
        }
        match changed {
            Some(changed) => Err(L1Error::Rejected(changed).into()),
            None => Err(Obstacle::NoVerifier {
                key_digest,
                registered: registered.len(),
                made,
            }),
        }
    }

    /// That what the batch consumes waits at the queue's head, entry by entry (P-9.10). What is due the contract says.
    async fn check_queue(&self, consumed: &[&Record]) -> Result<(), Obstacle> {
        let (head, tail) = self.queue_bounds().await?;
        if consumed.len() as u64 > tail.saturating_sub(head) {
            return Err(Obstacle::BeyondTail {
                consumed: consumed.len() as u64,
                pending: tail.saturating_sub(head),
            });
        }
        let mut hash = match head.checked_sub(1) {
            Some(last) => self.slot(last).await?.hash,
            None => QueueHash::default(),
        };
        for (entry, record) in (head..).zip(consumed) {
            hash = hash.after(&record.entry());
            let expected = self.slot(entry).await?.hash;
            if hash != expected {
                let found = hash;
                return Err(Obstacle::Entry {
                    entry,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// That a block has room for the gas that a submission is given.
    async fn check_block_gas(&self) -> Result<(), Obstacle> {
        let (needed, found) = (TRANSACTION_GAS_MAX, self.l1().latest().await?.header.gas_limit);
        match found < needed {
            true => Err(Obstacle::BlockGas { needed, found }),
            false => Ok(()),
        }
    }
}

/// Whether code pushes that word onto the stack, as the compiler has it do so: without zeros in front.
fn pushes(code: &[u8], word: B256) -> bool {
    /// `PUSH0`.
    const PUSH: u8 = 0x5f;
    let zeros = word.iter().take_while(|byte| **byte == 0).count();
    let digits = &word[zeros..];
    let length = u8::try_from(digits.len()).expect("32 at most");
    let instruction = [&[PUSH + length], digits].concat();
    code.windows(instruction.len()).any(|found| found == instruction)
}

/// That nodes relay the transaction.
fn check_size(submission: &RootSubmission) -> Result<(), Obstacle> {
    let found = submission.proof.len();
    if found > PROOF_BYTES_MAX {
        let most = PROOF_BYTES_MAX;
        return Err(Obstacle::ProofTooLong { most, found });
    }
    let data = submission.to_call().abi_encode();
    let (most, found) = (TRANSACTION_BYTES_MAX - ENVELOPE_BYTES, data.len());
    if found > most {
        return Err(Obstacle::TooLarge { most, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(data_b: usize, proof: usize) -> RootSubmission {
        RootSubmission {
            number: 1,
            verifier: 0,
            time: 1,
            old_root: Fr::zero(),
            new_root: Fr::zero(),
            commitment_a: Fr::zero(),
            commitment_b: Fr::zero(),
            accumulator: [Fr::zero(); 8],
            data_a: vec![],
            data_b: vec![1; data_b],
            proof: vec![1; proof],
        }
    }

    #[test]
    fn a_word_is_found_where_it_is_pushed() {
        let word = B256::repeat_byte(0x11);
        let code = [&[0x5b, 0x7f], &word[..], &[0x52]].concat();
        assert!(pushes(&code, word));
        assert!(!pushes(&code, B256::repeat_byte(0x12)) && !pushes(&code[2..], word) && !pushes(&[], word));
        let short = B256::left_padding_from(&[0x5a, 0xfe]);
        assert!(pushes(&[0x61, 0x5a, 0xfe], short) && !pushes(&[0x5a, 0xfe], short));
    }

    #[test]
    fn what_no_transaction_has_room_for_is_refused() {
        let source = include_str!("../../contracts/Batches.sol");
        assert!(source.contains("constant PROOF_BYTES_MAX = 2 ** 14;"));
        check_size(&submission(62 * 2_000, 2_336)).expect("10,000 transfers fit");
        check_size(&submission(62, PROOF_BYTES_MAX)).expect("no longer than may be");
        let refused = check_size(&submission(62, PROOF_BYTES_MAX + 1));
        let most = PROOF_BYTES_MAX;
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("the proof has {} bytes, L1 takes {most} at most", most + 1)
        );
        // The words beside the three byte strings: a selector, 15 of the header, three offsets and three lengths.
        let beside = 4 + 32 * (15 + 3 + 3);
        let room = (TRANSACTION_BYTES_MAX - ENVELOPE_BYTES - beside) / 32 * 32;
        check_size(&submission(room, 0)).expect("as much as there is room for");
        let refused = check_size(&submission(room + 1, 0));
        assert!(matches!(refused, Err(Obstacle::TooLarge { .. })), "{refused:?}");
    }
}
