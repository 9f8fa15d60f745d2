//! A sorted map of integers to small values that takes little more memory than these: keys and values stand in runs, whole
//! ones where keys come in order, and half full at least on an average where they do not.

use std::collections::BTreeMap;
use std::ops::Range;

/// Entries of a run at most.
const RUN: usize = 512;

/// The map.
#[derive(Debug, Clone)]
pub(crate) struct Runs<T> {
    /// By the least key that may stand in each; the first is 0.
    runs: BTreeMap<u64, Run<T>>,
    len: usize,
}

/// Keys in ascending order, and the value of each.
#[derive(Debug, Clone)]
struct Run<T> {
    keys: Vec<u64>,
    values: Vec<T>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<T> Runs<T> {
    /// The value of a key.
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let (_, run) = self.runs.range(..=key).next_back()?;
        let place = run.keys.binary_search(&key).ok()?;
        Some(&run.values[place])
    }

    /// Gives a key a value, and says whether it had none.
    pub(crate) fn insert(&mut self, key: u64, value: T) -> bool {
        if self.runs.is_empty() {
            self.runs.insert(0, Run::new());
        }
        let run = self.runs.range_mut(..=key).next_back();
        let (_, run) = run.expect("the first run's least key is 0");
        match run.keys.binary_search(&key) {
            Ok(place) => {
                run.values[place] = value;
                return false;
            }
            Err(RUN) => {
                // Keys that come in order fill each run.
                let mut next = Run::new();
                next.insert(0, key, value);
                self.runs.insert(key, next);
            }
            Err(place) if run.keys.len() < RUN => run.insert(place, key, value),
            Err(place) => {
                let mut upper = run.split();
                match place.checked_sub(RUN / 2) {
                    Some(place) if place > 0 => upper.insert(place, key, value),
                    _ => run.insert(place, key, value),
                }
                self.runs.insert(upper.keys[0], upper);
            }
        }
        self.len += 1;
        true
    }

    /// Takes a key away, if it is there.
    pub(crate) fn remove(&mut self, key: u64) {
        let Some((least, run)) = self.runs.range_mut(..=key).next_back() else {
            return;
        };
        let least = *least;
        let Ok(place) = run.keys.binary_search(&key) else {
            return;
        };
        run.keys.remove(place);
        run.values.remove(place);
        if run.keys.is_empty() && least > 0 {
            self.runs.remove(&least);
        }
        self.len -= 1;
    }

    /// All entries, in the order of their keys.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        Counted {
            entries: self.runs.values().flat_map(Run::iter),
            left: self.len,
        }
    }

    /// The entries of these keys, in their order.
    pub(crate) fn range(&self, keys: Range<u64>) -> impl Iterator<Item = (u64, &T)> {
        let least = self.runs.range(..=keys.start).next_back();
        let least = least.map_or(0, |(least, _)| *least);
        let runs = self.runs.range(least..keys.end.max(least));
        runs.flat_map(move |(_, run)| {
            let first = run.keys.partition_point(|key| *key < keys.start);
            run.iter().skip(first).take_while(move |(key, _)| *key < keys.end)
        })
    }
}

impl<T: PartialEq> PartialEq for Runs<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T> Run<T> {
    fn new() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    fn insert(&mut self, place: usize, key: u64, value: T) {
        self.keys.insert(place, key);
        self.values.insert(place, value);
    }

    /// Gives up the upper half.
    fn split(&mut self) -> Self {
        Self {
            keys: self.keys.split_off(RUN / 2),
            values: self.values.split_off(RUN / 2),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.keys.iter().copied().zip(&self.values)
    }
}

/// An iterator of so many.
struct Counted<I> {
    entries: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let entry = self.entries.next()?;
        self.left -= 1;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    fn check(runs: &Runs<u64>, model: &BTreeMap<u64, u64>) {
        assert_eq!(runs.iter().len(), model.len());
        assert!(runs.iter().eq(model.iter().map(|(key, value)| (*key, value))));
        assert!(runs.runs.values().all(|run| run.keys.len() <= RUN));
    }

    #[test]
    fn it_is_a_sorted_map_whatever_is_done_to_it() {
        for (seed, keys) in [(1, 50), (2, 3_000), (3, u64::MAX)] {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let (mut runs, mut model) = (Runs::default(), BTreeMap::new());
            for step in 0..20_000 {
                let key = rng.gen_range(0..keys);
                // It grows, and shrinks to nothing.
                if rng.gen_ratio(if step < 10_000 { 3 } else { 1 }, 4) {
                    let new = model.insert(key, step).is_none();
                    assert_eq!(runs.insert(key, step), new);
                } else {
                    let key = model.range(key..).next().map_or(key, |(key, _)| *key);
                    model.remove(&key);
                    runs.remove(key);
                }
                let probe = rng.gen_range(0..keys);
                assert_eq!(runs.get(probe), model.get(&probe));
                let end = probe.saturating_add(rng.gen_range(0..2_000));
                let expected = model.range(probe..end).map(|(key, value)| (*key, value));
                assert!(runs.range(probe..end).eq(expected), "seed {seed}, step {step}");
            }
            check(&runs, &model);
            for key in std::mem::take(&mut model).into_keys() {
                runs.remove(key);
            }
            check(&runs, &model);
        }
    }

    #[test]
    fn keys_in_order_fill_the_runs_and_others_half_of_them() {
        let count = 100 * RUN as u64;
        let mut ascending = Runs::default();
        (0..count).for_each(|key| assert!(ascending.insert(key, key)));
        assert_eq!(ascending.runs.len(), 100);
        let mut scattered = Runs::default();
        (0..count).for_each(|key| assert!(scattered.insert(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key)));
        assert!(scattered.runs.len() <= 200, "{}", scattered.runs.len());
        let mut descending = Runs::default();
        (0..count)
            .rev()
            .for_each(|key| assert!(descending.insert(key, key)));
        assert!(descending.runs.len() <= 200, "{}", descending.runs.len());
        assert!(ascending == descending);
    }
}
