//! What L1 owes after a batch: paying records and the tree that claims are proven in (P-9.12, P-13.1).

use crate::account::TokenId;
use crate::digest::Digest;
use crate::record::Record;
use sha3::{Digest as _, Keccak256};

/// What L1 owes by one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owed {
    /// The batch's number.
    pub batch: u64,
    /// The record's place among the batch's paying records, from 0.
    pub position: u32,
    /// The token.
    pub token: TokenId,
    /// Smallest units of it, not 0.
    pub amount: u128,
    /// Whom it is paid to.
    pub recipient: [u8; 20],
}

impl Owed {
    /// Its leaf.
    pub fn leaf(&self) -> Digest {
        let mut hash = Keccak256::new();
        hash.update([0]);
        hash.update(self.batch.to_be_bytes());
        hash.update(self.position.to_be_bytes());
        hash.update(self.token.0.to_be_bytes());
        hash.update(self.amount.to_be_bytes());
        hash.update(self.recipient);
        Digest(hash.finalize().into())
    }
}

/// What L1 owes by the records of a batch, in their order.
///
/// # Panics
/// On `2^32` paying records, which no transaction has room for.
pub fn owed(batch: u64, records: &[Record]) -> Vec<Owed> {
    let paying = records.iter().filter(|record| record.pays());
    let owed = paying.enumerate().map(|(position, record)| Owed {
        batch,
        position: u32::try_from(position).expect("a batch's records fit a transaction"),
        token: record.token,
        amount: record.amount,
        recipient: record.address,
    });
    owed.collect()
}

/// The tree over leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The leaves first, each level half of the one before, the root last.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over what is owed.
    pub fn new(owed: &[Owed]) -> Self {
        let mut levels = vec![owed.iter().map(Owed::leaf).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks(2).map(|pair| match pair {
                [one, two] => node(one, two),
                alone => alone[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// `withdrawalsRoot[batch]`; none without leaves.
    pub fn root(&self) -> Option<Digest> {
        self.levels.last().and_then(|root| root.first()).copied()
    }

    /// The siblings from the leaf at `position` up to the root; none for a position without leaf. A level where the leaf's
    /// ancestor has no partner gives none.
    pub fn siblings(&self, position: u32) -> Option<Vec<Digest>> {
        let mut place = usize::try_from(position).ok()?;
        self.levels[0].get(place)?;
        let mut siblings = Vec::new();
        for level in &self.levels {
            siblings.extend(level.get(place ^ 1));
            place /= 2;
        }
        Some(siblings)
    }
}

/// The root that a leaf and its siblings lead to.
pub fn root_of(leaf: Digest, siblings: &[Digest]) -> Digest {
    siblings.iter().fold(leaf, |below, sibling| node(&below, sibling))
}

fn node(a: &Digest, b: &Digest) -> Digest {
    let mut hash = Keccak256::new();
    hash.update([1]);
    hash.update(a.min(b).0);
    hash.update(a.max(b).0);
    Digest(hash.finalize().into())
}
