//! State access: one update of one leaf, from root to root (P-3.2, P-3.4, P-4.5).
//!
//! This is the only gadget that knows how the state is kept. It gives its caller the account's fields before and
//! after, the index, and both roots; a batched access may take its place behind the same surface.

use super::config::{DIGIT_BITS, Gate, INDEX_ABOVE, INDEX_HERE, U, X};
use super::hash::Block9;
use super::raw::RawUpdate;
use super::sheet::{Sheet, Var};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::poseidon;
use rules::tree::DEPTH;

/// The cells of one update. Token and L1 address are the same before and after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub index: Var,
    pub token: Var,
    /// Before and after.
    pub owner: [[Var; 2]; 2],
    /// Before and after.
    pub nonce: [Var; 2],
    /// Before and after.
    pub balance: [Var; 2],
    pub l1_address: Var,
    /// Before and after.
    pub root: [Var; 2],
}

impl Sheet {
    /// Lays out one update. Owner, nonce and balance after are the caller's to constrain, and so is what the index and
    /// token must be. The leaf counts as empty where its bit of `occupied`, before and after, is 0; the bits are the
    /// caller's, too.
    pub fn access(&mut self, occupied: [Var; 2], update: &RawUpdate) -> Access {
        let tag = poseidon::tag_leaf();
        let inputs = [update.before, update.after].map(|fields| {
            let mut inputs = [Fr::ZERO; 8];
            inputs[..6].copy_from_slice(&fields);
            inputs[7] = tag;
            inputs
        });
        self.label("P-3.2: leaf");
        let leaf = self.block9(inputs);
        for lane in 0..2 {
            self.equal_constant(leaf.input(self, lane, 6), Fr::ZERO);
            self.equal_constant(leaf.input(self, lane, 7), tag);
        }
        let both = |sheet: &Self, i: usize| [leaf.input(sheet, 0, i), leaf.input(sheet, 1, i)];
        for unchanged in [0, 5] {
            let [before, after] = both(self, unchanged);
            self.equal(before, after);
        }
        let (nonce, balance) = (both(self, 1), both(self, 2));
        let (token, l1_address) = (leaf.input(self, 0, 0), leaf.input(self, 0, 5));
        let owner = [0, 1].map(|lane| [leaf.input(self, lane, 3), leaf.input(self, lane, 4)]);

        self.label("P-3.2: an empty leaf");
        let children = self.mask(occupied, &leaf);
        self.label("P-3.4: path");
        let (index, root) = self.path(children, update);
        Access {
            index,
            token,
            owner,
            nonce,
            balance,
            l1_address,
            root,
        }
    }

    /// Requires the owner after to be the owner before.
    pub fn owner_stays(&mut self, access: &Access) {
        self.label("P-3.2: leaf");
        let [before, after] = access.owner;
        for (before, after) in before.into_iter().zip(after) {
            self.equal(before, after);
        }
    }

    /// P-10.1: the row after the leaves' hashes holds each times its bit; the bits are copies, beside hash and leaf.
    fn mask(&mut self, occupied: [Var; 2], leaf: &Block9) -> [Fr; 2] {
        let row = self.lane_row;
        self.lane_row += 1;
        self.enable(Gate::Mask, row);
        for (bit, at) in occupied.into_iter().zip([row - 1, row]) {
            let copy = self.set(U[1], at, bit.value);
            self.equal(copy, bit);
        }
        [0, 1].map(|lane| {
            let hash = leaf.out(self, lane);
            self.set(X[lane], row, occupied[lane].value * hash.value).value
        })
    }

    fn path(&mut self, mut children: [Fr; 2], update: &RawUpdate) -> (Var, [Var; 2]) {
        let mut index = None;
        let mut above: Option<Var> = None;
        for level in 0..DEPTH {
            let rest = update.index >> (3 * level);
            let digit = (rest & 7) as usize;
            let inputs = children.map(|child| {
                let siblings = &update.path[level];
                std::array::from_fn(|i| match i.cmp(&digit) {
                    std::cmp::Ordering::Less => siblings[i],
                    std::cmp::Ordering::Equal => child,
                    std::cmp::Ordering::Greater => siblings[i - 1],
                })
            });
            let node = self.block9(inputs);
            self.enable(Gate::Path, node.base());
            for (bit, row) in DIGIT_BITS.into_iter().enumerate() {
                self.set(U[0], node.base() + row, Fr::from((digit >> bit & 1) as u64));
            }
            let here = self.set(U[1], node.base() + INDEX_HERE, Fr::from(rest));
            match above {
                Some(above) => self.equal(here, above),
                None => index = Some(here),
            }
            above = Some(self.set(U[1], node.base() + INDEX_ABOVE, Fr::from(rest >> 3)));
            children = [0, 1].map(|lane| node.out(self, lane).value);
        }
        // P-3.4: nothing of the index lies above the tree's root.
        self.equal_constant(above.expect("the tree has levels"), Fr::ZERO);
        let row = self.lane_row - 1;
        (
            index.expect("the tree has levels"),
            [self.var(X[0], row), self.var(X[1], row)],
        )
    }
}
