//! The permuted columns of a lookup.

use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

/// Permutes an input `A` into `A'` and its table `S` into `S'`: like values of `A'` lie together, in the order of the
/// table's first occurrences, and the first of each lies beside the same value of `S'`. The rest of the table fills the
/// gaps of `S'` in order. `S'` is what is given back.
///
/// # Errors
/// The first row whose input is not in the table; then the input is as it was.
pub(crate) fn permute(input: &mut [Fr], table: &Table) -> Result<Vec<Fr>, usize> {
    assert_eq!(input.len(), table.rows, "an input has as many rows as its table");
    let places = table.places(input)?;
    let uses: Vec<AtomicU32> = table.values.par_iter().map(|_| AtomicU32::new(0)).collect();
    places.par_iter().for_each(|place| {
        uses[*place as usize].fetch_add(1, Ordering::Relaxed);
    });
    let uses: Vec<u32> = uses.into_par_iter().map(AtomicU32::into_inner).collect();
    let mut permuted = vec![Fr::ZERO; table.rows];
    let mut unused = vec![Fr::ZERO; table.rows - uses.par_iter().filter(|uses| **uses > 0).count()];
    let blocks = blocks(table, &uses);
    {
        let mut rest = &mut unused[..];
        let parts = blocks.iter().map(|block| (block, cut(&mut rest, block.spare)));
        let parts: Vec<(&Block, &mut [Fr])> = parts.collect();
        parts
            .into_par_iter()
            .for_each(|(block, to)| block.collect_unused(to));
    }
    let (mut inputs, mut rest, mut gaps) = (input, &mut permuted[..], &unused[..]);
    let parts = blocks.iter().map(|block| {
        let (filling, more) = gaps.split_at(block.rows - block.used);
        gaps = more;
        (
            block,
            cut(&mut inputs, block.rows),
            cut(&mut rest, block.rows),
            filling,
        )
    });
    let parts: Vec<_> = parts.collect();
    parts
        .into_par_iter()
        .for_each(|(block, input, permuted, filling)| block.fill(input, permuted, filling));
    Ok(permuted)
}

/// Takes the first `len` elements off.
fn cut<'a>(rest: &mut &'a mut [Fr], len: usize) -> &'a mut [Fr] {
    let (taken, more) = std::mem::take(rest).split_at_mut(len);
    *rest = more;
    taken
}

/// Neighbouring entries of a table, which one task handles.
struct Block<'a> {
    values: &'a [Fr],
    copies: &'a [u32],
    uses: &'a [u32],
    /// Rows of the input that use these entries.
    rows: usize,
    /// Entries that are used.
    used: usize,
    /// Rows of the table that stand beside no first use.
    spare: usize,
}

fn blocks<'a>(table: &'a Table, uses: &'a [u32]) -> Vec<Block<'a>> {
    const ENTRIES: usize = 1 << 14;
    let parts = table.values.par_chunks(ENTRIES);
    let parts = parts
        .zip(table.copies.par_chunks(ENTRIES))
        .zip(uses.par_chunks(ENTRIES));
    parts
        .map(|((values, copies), uses)| {
            let used = uses.iter().filter(|uses| **uses > 0).count();
            let sum = |numbers: &[u32]| numbers.iter().map(|number| *number as usize).sum::<usize>();
            Block {
                values,
                copies,
                uses,
                rows: sum(uses),
                used,
                spare: sum(copies) - used,
            }
        })
        .collect()
}

impl Block<'_> {
    /// Writes the values of the table that stand beside no first use.
    fn collect_unused(&self, mut to: &mut [Fr]) {
        for ((value, copies), uses) in self.values.iter().zip(self.copies).zip(self.uses) {
            let spare = copies - u32::from(*uses > 0);
            cut(&mut to, spare as usize).fill(*value);
        }
    }

    /// Writes the rows of this block's entries, `filling` into the gaps of the table.
    fn fill(&self, mut input: &mut [Fr], mut permuted: &mut [Fr], mut filling: &[Fr]) {
        let used = self.values.iter().zip(self.uses).filter(|(_, uses)| **uses > 0);
        for (value, uses) in used {
            let uses = *uses as usize;
            cut(&mut input, uses).fill(*value);
            let rows = cut(&mut permuted, uses);
            rows[0] = *value;
            let (gaps, more) = filling.split_at(uses - 1);
            rows[1..].copy_from_slice(gaps);
            filling = more;
        }
    }
}

/// A table's distinct values in the order of their first occurrence, and how often each occurs.
pub(crate) struct Table {
    rows: usize,
    values: Vec<Fr>,
    copies: Vec<u32>,
    places: HashMap<Fr, u32, BuildHasherDefault<LimbHasher>>,
}

impl Table {
    pub(crate) fn new(table: &[Fr]) -> Self {
        let mut entries = Self {
            rows: table.len(),
            values: Vec::new(),
            copies: Vec::new(),
            places: HashMap::default(),
        };
        let mut before = None;
        for value in table {
            // Padding repeats: most tables end in a long run of one value.
            let place = match before {
                Some((previous, place)) if previous == *value => place,
                _ => entries.place_or_insert(*value),
            };
            entries.copies[place as usize] += 1;
            before = Some((*value, place));
        }
        entries
    }

    fn place_or_insert(&mut self, value: Fr) -> u32 {
        let next = self.values.len() as u32;
        let place = *self.places.entry(value).or_insert(next);
        if place == next {
            self.values.push(value);
            self.copies.push(0);
        }
        place
    }

    fn places(&self, input: &[Fr]) -> Result<Vec<u32>, usize> {
        const CHUNK: usize = 1 << 12;
        const ABSENT: u32 = u32::MAX;
        let mut places = vec![ABSENT; input.len()];
        let chunks = places.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK));
        chunks.for_each(|(places, input)| {
            let mut before: Option<(Fr, u32)> = None;
            for (slot, value) in places.iter_mut().zip(input) {
                *slot = match before {
                    Some((previous, place)) if previous == *value => place,
                    _ => self.places.get(value).copied().unwrap_or(ABSENT),
                };
                before = Some((*value, *slot));
            }
        });
        match places.par_iter().position_first(|place| *place == ABSENT) {
            Some(row) => Err(row),
            None => Ok(places),
        }
    }
}

/// Mixes the limbs of a field element. Montgomery form spreads small values over all limbs, so little mixing does.
#[derive(Default)]
struct LimbHasher(u64);

impl LimbHasher {
    fn mix(&mut self, word: u64) {
        // 2^64 divided by the golden ratio, as in Fibonacci hashing.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for LimbHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(values: &[u64]) -> Vec<Fr> {
        values.iter().map(|value| Fr::from(*value)).collect()
    }

    #[test]
    fn like_inputs_lie_together_beside_their_table_entry() {
        let (mut input, table) = (field(&[3, 1, 3, 3, 7, 1]), field(&[0, 1, 3, 7, 7, 7]));
        let permuted = permute(&mut input, &Table::new(&table)).expect("in the table");
        assert_eq!(input, field(&[1, 1, 3, 3, 3, 7]));
        assert_eq!(permuted, field(&[1, 0, 3, 7, 7, 7]));
    }

    #[test]
    fn the_first_input_that_is_not_in_the_table_is_named() {
        let (mut input, table) = (field(&[1, 2, 5, 6]), field(&[1, 2, 3, 4]));
        assert_eq!(permute(&mut input, &Table::new(&table)), Err(2));
        assert_eq!(input, field(&[1, 2, 5, 6]));
    }

    /// More entries than one block has, some unused, some repeated in the table.
    #[test]
    fn large_tables_are_permuted_block_by_block() {
        const ROWS: u64 = 100_000;
        let table: Vec<Fr> = (0..ROWS).map(|row| Fr::from(row % 70_001)).collect();
        let mut input: Vec<Fr> = (0..ROWS).map(|row| Fr::from(row * row % 35_003)).collect();
        let counted = |values: &[Fr]| {
            let mut counts: HashMap<Fr, usize> = HashMap::new();
            values
                .iter()
                .for_each(|value| *counts.entry(*value).or_default() += 1);
            counts
        };
        let before = counted(&input);
        let permuted = permute(&mut input, &Table::new(&table)).expect("in the table");
        assert_eq!(counted(&input), before, "the same inputs");
        assert_eq!(counted(&permuted), counted(&table), "the same table");
        for row in 0..input.len() {
            let first = row == 0 || input[row] != input[row - 1];
            assert!(input[row] == permuted[row] || !first, "row {row}");
        }
        let runs = input.chunk_by(|a, b| a == b).count();
        assert_eq!(runs, before.len(), "like values lie together");
    }
}
