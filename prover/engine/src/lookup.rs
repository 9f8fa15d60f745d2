//! The permuted columns of a lookup.

use halo2curves::bn256::Fr;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

/// Permutes an input `A` into `A'` and its table `S` into `S'`: like values of `A'` lie together, in the order of the
/// table's first occurrences, and the first of each lies beside the same value of `S'`. The rest of the table fills the
/// gaps of `S'` in order.
///
/// # Errors
/// The first row whose input is not in the table; then both are as they were.
pub(crate) fn permute(input: &mut [Fr], table: &mut [Fr]) -> Result<(), usize> {
    let entries = Entries::new(table);
    let places = entries.places(input)?;
    let uses: Vec<AtomicU32> = entries.values.iter().map(|_| AtomicU32::new(0)).collect();
    places.par_iter().for_each(|place| {
        uses[*place as usize].fetch_add(1, Ordering::Relaxed);
    });
    let uses: Vec<usize> = uses.into_iter().map(|uses| uses.into_inner() as usize).collect();
    let mut unused = entries.values.iter().enumerate().flat_map(|(place, value)| {
        let spare = entries.copies[place] - u32::from(uses[place] > 0);
        std::iter::repeat_n(*value, spare as usize)
    });
    let mut from = 0;
    for (value, uses) in entries.values.iter().zip(&uses).filter(|(_, uses)| **uses > 0) {
        let rows = from..from + uses;
        input[rows.clone()].fill(*value);
        table[from] = *value;
        let gaps = table[rows].iter_mut().skip(1);
        gaps.zip(unused.by_ref()).for_each(|(slot, spare)| *slot = spare);
        from += uses;
    }
    Ok(())
}

/// A table's distinct values in the order of their first occurrence, and how often each occurs.
struct Entries {
    values: Vec<Fr>,
    copies: Vec<u32>,
    places: HashMap<Fr, u32, BuildHasherDefault<LimbHasher>>,
}

impl Entries {
    fn new(table: &[Fr]) -> Self {
        let mut entries = Self {
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
        let (mut input, mut table) = (field(&[3, 1, 3, 3, 7, 1]), field(&[0, 1, 3, 7, 7, 7]));
        permute(&mut input, &mut table).expect("in the table");
        assert_eq!(input, field(&[1, 1, 3, 3, 3, 7]));
        assert_eq!(table, field(&[1, 0, 3, 7, 7, 7]));
    }

    #[test]
    fn the_first_input_that_is_not_in_the_table_is_named() {
        let (mut input, mut table) = (field(&[1, 2, 5, 6]), field(&[1, 2, 3, 4]));
        assert_eq!(permute(&mut input, &mut table), Err(2));
        assert_eq!((input, table), (field(&[1, 2, 5, 6]), field(&[1, 2, 3, 4])));
    }
}
