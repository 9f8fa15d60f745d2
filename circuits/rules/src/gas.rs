//! What a batch's submission costs on L1: an estimate from what it posts, for a submission of its own (section 9).
//!
//! The constants are what `submitBatch` was measured to take: `verifier-contracts/GAS.md` has the figures, and
//! `verifier-contracts/tests/gas.rs` makes them again and fails where the estimate is further from one than it says here.

use serde::{Deserialize, Serialize};

use crate::record::RECORD_BYTES;
use crate::stream::{GROUP_BYTES, PostedError, records};

/// How far the estimate was from what a submission was measured to take, at most, in parts of 1,000.
pub const ERROR_PER_MILLE: u64 = 10;

/// Bytes of a root proof.
pub const PROOF_BYTES: u64 = 2_336;
/// One call of the generated verifier: the same for every proof and every preset.
pub const VERIFIER_GAS: u64 = 282_222;

/// What every transaction costs.
const TRANSACTION_GAS: u64 = 21_000;
/// For a token of calldata (EIP-7623): a byte that is zero is one, another is four.
const TOKEN_GAS: u64 = 4;
/// The least that is paid for one, whatever is executed.
const TOKEN_FLOOR_GAS: u64 = 10;
/// Of the call, beside the three byte strings: selector, header of 15 words, three offsets, three lengths.
const AROUND_BYTES: u64 = 4 + 32 * (15 + 3 + 3);
/// Those among them that are zero: of number, time and verifier, offsets and lengths.
const AROUND_ZERO_BYTES: u64 = 285;

/// Execution, the verifier aside: of a batch that posts nothing.
const BATCH_GAS: u64 = 49_217;
/// A group of stream B: evaluated, hashed, emitted.
const GROUP_GAS: u64 = 708;
/// A record of stream A.
const RECORD_GAS: u64 = 2_000;
/// A record that is an entry of the queue, beside that.
const ENTRY_GAS: u64 = 636;
/// Where there is one: the queue's head.
const ENTRIES_GAS: u64 = 4_559;
/// A record by which L1 owes something, beside that.
const PAYMENT_GAS: u64 = 1_173;
/// Where there is one: the root of what is owed.
const PAYMENTS_GAS: u64 = 22_158;

/// What of a batch its gas depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Bytes of both streams as posted.
    pub bytes: u32,
    /// Those among them that are zero.
    pub zero_bytes: u32,
    /// Records of stream A.
    pub records: u32,
    /// Those among them that are entries of the queue.
    pub entries: u32,
    /// Those among them by which L1 owes something.
    pub payments: u32,
}

impl Posted {
    /// That of a batch that posts these streams.
    ///
    /// # Errors
    /// Where stream A is none.
    ///
    /// # Panics
    /// On streams of 4 GiB, which no transaction has room for.
    pub fn of(posted_a: &[u8], posted_b: &[u8]) -> Result<Self, PostedError> {
        let count = |count: usize| u32::try_from(count).expect("a batch fits a transaction");
        let records = records(posted_a)?;
        let zero = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count();
        Ok(Self {
            bytes: count(posted_a.len() + posted_b.len()),
            zero_bytes: count(zero(posted_a) + zero(posted_b)),
            records: count(records.len()),
            entries: count(records.iter().filter(|record| record.kind.is_queued()).count()),
            payments: count(records.iter().filter(|record| record.pays()).count()),
        })
    }

    /// Gas of the transaction that submits it, within [`ERROR_PER_MILLE`] of what is measured. Its posted bytes are in calldata, the one
    /// mode that there is (P-6.9).
    pub fn gas(&self) -> u64 {
        let tokens = self.calldata_tokens();
        let ordinary = TOKEN_GAS * tokens + self.execution_gas() + VERIFIER_GAS;
        TRANSACTION_GAS + ordinary.max(TOKEN_FLOOR_GAS * tokens)
    }

    /// Bytes of streams A and B.
    fn streams(&self) -> [u64; 2] {
        let of_a = u64::from(self.records) * RECORD_BYTES as u64;
        [of_a, u64::from(self.bytes).saturating_sub(of_a)]
    }

    fn calldata_tokens(&self) -> u64 {
        // Each stream is filled up to words of 32 bytes. A proof is whole words, and few of its bytes are zero.
        let filling = self.streams().map(|bytes| bytes.next_multiple_of(32) - bytes);
        let filling: u64 = filling.iter().sum();
        let zero = AROUND_ZERO_BYTES + filling + u64::from(self.zero_bytes);
        let all = AROUND_BYTES + PROOF_BYTES + filling + u64::from(self.bytes);
        zero + 4 * all.saturating_sub(zero)
    }

    fn execution_gas(&self) -> u64 {
        let [_, of_b] = self.streams();
        let some = |count: u32, first: u64, each: u64| match u64::from(count) {
            0 => 0,
            count => first + each * count,
        };
        BATCH_GAS
            + GROUP_GAS * of_b.div_ceil(GROUP_BYTES as u64)
            + some(self.records, 0, RECORD_GAS)
            + some(self.entries, ENTRIES_GAS, ENTRY_GAS)
            + some(self.payments, PAYMENTS_GAS, PAYMENT_GAS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountIndex, TokenId};
    use crate::record::{Coordinate, Kind, Record};
    use crate::stream::{Group, posted_a, posted_b};

    fn record(kind: Kind, code: u8, amount: u128) -> Record {
        Record {
            kind,
            code,
            token: TokenId(1),
            index: AccountIndex::new(1 << 32).expect("33 bits"),
            amount,
            address: [0xab; 20],
            u: Coordinate::ZERO,
            v: Coordinate::ZERO,
        }
    }

    #[test]
    fn what_a_batch_posts_is_counted_by_what_l1_does_with_it() {
        let records = [
            record(Kind::DepositNew, 0, 5),
            // One that had no effect is owed to the depositor (P-12.6).
            record(Kind::DepositExisting, 1, 5),
            record(Kind::ForcedExit, 0, 5),
            record(Kind::ForcedExit, 3, 0),
            record(Kind::KeyChange, 0, 0),
            record(Kind::Withdrawal, 0, 5),
            record(Kind::Withdrawal, 0, 0),
            record(Kind::Creation, 0, 0),
        ];
        let group = Group {
            flag: true,
            words: [u128::MAX >> 29; 5],
        };
        let (a, b) = (posted_a(&records), posted_b(&[group, group]));
        let posted = Posted::of(&a, &b).expect("streams");
        let zero = a.iter().chain(&b).filter(|byte| **byte == 0).count() as u32;
        let expected = Posted {
            bytes: 8 * 124 + 2 * 62,
            zero_bytes: zero,
            records: 8,
            entries: 5,
            payments: 3,
        };
        assert_eq!(posted, expected);
        assert!(zero > 8 * 20, "of stream A");
        assert_eq!(Posted::of(&[], &[]), Ok(Posted::default()));
        assert!(Posted::of(&a[1..], &b).is_err(), "no whole records");
    }

    #[test]
    fn calldata_alone_decides_once_there_is_enough_of_it() {
        let transfers = |groups: u32| Posted {
            bytes: 62 * groups,
            ..Posted::default()
        };
        // What `submitBatch` takes of its calldata is more than the floor of few bytes, and less than that of many.
        let [few, more, many, most] = [100, 101, 2_000, 2_001].map(|groups| transfers(groups).gas());
        assert!(
            (more - few).abs_diff(16 * 62 + GROUP_GAS) <= 16 * 32,
            "{few} {more}"
        );
        assert!((most - many).abs_diff(40 * 62) <= 40 * 32, "{many} {most}");
        // A byte that is zero is dear by a quarter.
        let zeros = Posted {
            zero_bytes: 1_000,
            ..transfers(2_000)
        };
        assert_eq!(many - zeros.gas(), 30 * 1_000);
        // Bytes that no batch has take some number too: a store is no proof of what wrote it.
        let odd = Posted {
            zero_bytes: u32::MAX,
            records: u32::MAX,
            ..Posted::default()
        };
        assert!(odd.gas() > 0);
    }
}
