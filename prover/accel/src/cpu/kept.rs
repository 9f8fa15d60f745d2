//! Memory that was used before, kept to be used again. On a virtual machine the first touch of a page costs more than the
//! work on it: a proof takes gigabytes, and each next proof of the same circuit takes the same arrays.

use std::sync::{Mutex, PoisonError};

/// Blocks of whole huge pages: those in use are counted, those that were given back are kept. Kept and used memory
/// together never exceed what was used at once since the last [`Kept::release`].
pub(super) struct Kept(Mutex<Book>);

struct Book {
    /// Start, as an address, and bytes of each kept block; the one given back last is the last.
    blocks: Vec<(usize, usize)>,
    kept: usize,
    used: usize,
    most: usize,
}

impl Kept {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Book {
            blocks: Vec::new(),
            kept: 0,
            used: 0,
            most: 0,
        }))
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.with(|book| book.kept)
    }

    /// A kept block of exactly so many bytes, by its address. If there is none the caller makes one, and unmaps the blocks
    /// that are returned here instead: they have no room beside it.
    pub(super) fn take(&self, bytes: usize) -> Result<usize, Vec<(usize, usize)>> {
        self.with(|book| {
            book.used += bytes;
            book.most = book.most.max(book.used);
            if let Some(at) = book.blocks.iter().rposition(|(_, found)| *found == bytes) {
                book.kept -= bytes;
                return Ok(book.blocks.remove(at).0);
            }
            let mut excess = vec![];
            while book.kept + book.used > book.most {
                // Those that were given back first: rather of a circuit that was proven before.
                let (start, bytes) = book.blocks.remove(0);
                book.kept -= bytes;
                excess.push((start, bytes));
            }
            Err(excess)
        })
    }

    /// Says that the block which [`Kept::take`] counted could not be made.
    pub(super) fn missed(&self, bytes: usize) {
        self.with(|book| book.used -= bytes);
    }

    /// Keeps a block that nothing refers to any more.
    pub(super) fn keep(&self, start: usize, bytes: usize) {
        self.with(|book| {
            book.used -= bytes;
            book.kept += bytes;
            book.blocks.push((start, bytes));
        });
    }

    /// All kept blocks, which the caller unmaps.
    pub(super) fn release(&self) -> Vec<(usize, usize)> {
        self.with(|book| {
            book.kept = 0;
            book.most = book.used;
            std::mem::take(&mut book.blocks)
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        // Nothing in a change panics half way.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_again_by_its_size() {
        let kept = Kept::new();
        assert_eq!(kept.take(10), Err(vec![]));
        assert_eq!(kept.take(20), Err(vec![]));
        kept.keep(1, 10);
        kept.keep(2, 20);
        assert_eq!(kept.bytes(), 30);
        assert_eq!(kept.take(20), Ok(2));
        assert_eq!(kept.take(10), Ok(1));
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn no_more_is_kept_than_was_used_at_once() {
        let kept = Kept::new();
        for _ in 0..3 {
            assert_eq!(kept.take(10), Err(vec![]));
        }
        for start in [1, 2, 3] {
            kept.keep(start, 10);
        }
        // 15 bytes leave room for one block of 10 beside them; the oldest two go.
        assert_eq!(kept.take(15), Err(vec![(1, 10), (2, 10)]));
        assert_eq!(kept.bytes(), 10);
        assert_eq!(kept.take(10), Ok(3));
        // Beyond what was ever used at once nothing may be kept.
        kept.keep(3, 10);
        assert_eq!(kept.take(30), Err(vec![(3, 10)]));
    }

    #[test]
    fn what_could_not_be_made_is_not_counted() {
        let kept = Kept::new();
        assert_eq!(kept.take(1 << 40), Err(vec![]));
        kept.missed(1 << 40);
        assert_eq!(kept.take(10), Err(vec![]));
        kept.keep(1, 10);
        assert_eq!(kept.release(), [(1, 10)]);
        assert_eq!(kept.bytes(), 0);
        // What was used at once counts from here on.
        assert_eq!(kept.take(10), Err(vec![]));
        kept.keep(2, 10);
        assert_eq!(kept.take(20), Err(vec![(2, 10)]));
    }
}
