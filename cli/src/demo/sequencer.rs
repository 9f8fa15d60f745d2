//! The demo's sequencer: it keeps the state, takes the queue from L1's logs, and makes batches. It does for one rollup what an operator does.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use circuits::preset::Preset;
use rules::batch::{self, Batch};
use rules::layout::lay_out;
use rules::operation::{Operation, Queued, RollupId};
use rules::record::Record;
use rules::state::State;
use verifier_contracts::events::Entry;

/// A batch, and what L1 will owe and consume by it.
pub struct Made {
    /// The batch.
    pub batch: Batch,
    /// Its records, in order.
    pub records: Vec<Record>,
    /// Transfers in it.
    pub transfers: u64,
}

/// A rollup's state, and what is to go into batches.
pub struct Sequencer {
    rollup_id: RollupId,
    preset: Preset,
    state: State,
    number: u64,
    /// Of L1's queue, in its order.
    entries: VecDeque<Queued>,
    /// Signed, in the order in which they came.
    operations: VecDeque<Operation>,
}

impl Sequencer {
    /// A rollup's beginning.
    pub fn new(rollup_id: RollupId, preset: Preset) -> Self {
        Self {
            rollup_id,
            preset,
            state: State::default(),
            number: 0,
            entries: VecDeque::new(),
            operations: VecDeque::new(),
        }
    }

    /// The state after the batches made so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// An entry that L1's logs have next.
    ///
    /// # Errors
    /// When no queue has it.
    pub fn enter(&mut self, entry: &Entry) -> Result<()> {
        self.entries.push_back(Queued::new(entry.record)?);
        Ok(())
    }

    /// Signed operations, which come after the entries that wait.
    pub fn add(&mut self, operations: impl IntoIterator<Item = Operation>) {
        self.operations.extend(operations);
    }

    /// Makes the next batch, if there is something to put into one: entries as far as there is room, and when none waits any more, signed
    /// operations.
    ///
    /// # Errors
    /// When an operation is not valid.
    pub fn batch(&mut self, time: u64) -> Result<Option<Made>> {
        let shape = self.preset.shard.shape;
        let room = self.entries.len().min(self.preset.queue_capacity());
        let mut operations: Vec<Operation> = self.entries.drain(..room).map(Operation::from).collect();
        if self.entries.is_empty() {
            let entries = operations.len();
            let places = self.operations.len().min(self.preset.places_max());
            operations.extend(self.operations.drain(..places));
            // Entries begin groups, so fewer places may be left than there are.
            let groups = shape.groups() * self.preset.children;
            while operations.len() > entries && lay_out(&operations, shape)?.len() > groups {
                let last = operations.pop().expect("there is a signed one");
                self.operations.push_front(last);
            }
        }
        if operations.is_empty() {
            return Ok(None);
        }
        let old_root = self.state.root();
        let mut batch = Batch {
            rollup_id: self.rollup_id,
            number: self.number,
            time,
            old_root,
            new_root: old_root,
            operations,
        };
        batch.new_root = batch::new_root(&self.state, &batch)?;
        let executed = batch::execute(&mut self.state, &batch).context("a batch that was just tried")?;
        self.number += 1;
        let is_transfer = |operation: &&Operation| matches!(operation, Operation::Transfer(_));
        let transfers = batch.operations.iter().filter(is_transfer).count() as u64;
        Ok(Some(Made {
            records: executed.records(),
            batch,
            transfers,
        }))
    }
}

#[cfg(test)]
mod tests {
    use circuits::preset::{CI, TINY};
    use rules::account::{AccountIndex, TokenId};
    use rules::eddsa::PrivateKey;
    use rules::operation::{Creation, Expiry, Withdrawal};
    use rules::record::Kind;

    use super::*;

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [0x22; 20],
    };

    fn entry(number: u64, index: u64, amount: u128) -> Entry {
        let key = PrivateKey::from_bytes(&[1; 32]).public();
        Entry {
            number,
            sender: [1; 20].into(),
            record: Record {
                kind: Kind::DepositNew,
                code: 0,
                token: TokenId(1),
                index: AccountIndex::new(index).unwrap(),
                amount,
                address: [1; 20],
                u: key.0.x.into(),
                v: key.0.y.into(),
            },
        }
    }

    fn withdrawal(nonce: u64) -> Operation {
        let withdrawal = Withdrawal {
            from: AccountIndex::new(1 << 32).unwrap(),
            amount: 1,
            fee: rules::amount::Fee::ZERO,
            nonce,
            expiry: Expiry::NEVER,
            token: TokenId(1),
        };
        Operation::Withdrawal(withdrawal.sign(&PrivateKey::from_bytes(&[1; 32]), &ROLLUP, &[1; 20]))
    }

    fn sequencer(preset: Preset, deposits: u64) -> Sequencer {
        let mut sequencer = Sequencer::new(ROLLUP, preset);
        sequencer.enter(&entry(0, 1, 0)).unwrap();
        for deposit in 0..deposits {
            let index = (1 << 32) + deposit;
            sequencer.enter(&entry(1 + deposit, index, 1_000)).unwrap();
        }
        sequencer
    }

    #[test]
    fn entries_come_first_and_what_has_no_room_comes_later() {
        for (preset, deposits, signed) in [(TINY, 2, 9), (CI, 2, 60), (CI, 13, 7)] {
            let mut sequencer = sequencer(preset, deposits);
            sequencer.add((0..signed).map(withdrawal));
            let (mut entries, mut withdrawals, mut root) = (0, 0, State::default().root());
            for number in 0.. {
                let Some(made) = sequencer.batch(7).unwrap() else {
                    break;
                };
                assert_eq!((made.batch.number, made.batch.old_root), (number, root));
                root = made.batch.new_root;
                let slots = lay_out(&made.batch.operations, preset.shard.shape).unwrap();
                assert!(slots.len() <= preset.shard.shape.groups() * preset.children);
                let of = |kind| made.records.iter().filter(|record| record.kind == kind).count() as u64;
                assert!(of(Kind::Withdrawal) == 0 || entries + of(Kind::DepositNew) == deposits + 1);
                assert!(made.records.iter().all(|record| record.code == 0));
                entries += of(Kind::DepositNew);
                withdrawals += of(Kind::Withdrawal);
            }
            assert_eq!((entries, withdrawals), (deposits + 1, signed));
            assert_eq!(sequencer.state().root(), root);
        }
    }

    #[test]
    fn what_is_not_valid_is_told_and_nothing_is_made_of_nothing() {
        let mut sequencer = sequencer(CI, 1);
        assert!(sequencer.batch(7).unwrap().is_some());
        assert!(sequencer.batch(7).unwrap().is_none());
        let creation = Creation {
            index: AccountIndex::new(5).unwrap(),
            token: TokenId(1),
            owner: PrivateKey::from_bytes(&[1; 32]).public(),
            l1_address: [1; 20],
        };
        let signed = creation.sign(&PrivateKey::from_bytes(&[1; 32]), &ROLLUP);
        sequencer.add([Operation::Creation(signed)]);
        let error = sequencer.batch(7).map(drop).unwrap_err().to_string();
        assert!(error.contains("P-4.9, rule 1"), "{error}");
    }
}
