//! Cutting scalars into signed digits, and choosing how.

use super::{TASK, TASK_MIN, TASKS};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;

/// Bits that windows cover. Scalars above half the modulus count as negative, so that magnitudes are below `2^252.6`.
const BITS: u32 = 255;

/// Narrowest window.
const WIDTH_MIN: u32 = 3;

/// Widest window; its buckets take 128 MiB.
const WIDTH_MAX: u32 = 22;

/// Rows that an entry of the sorting has room for.
const ROWS_MAX: usize = 32;

/// Additions that weighting and summing cost per bucket: two, with more inversions than elsewhere.
const ADDITIONS_PER_BUCKET: f64 = 2.6;

/// How much cheaper a table must make a multiplication to be worth its memory.
const TABLE_GAIN: f64 = 0.97;

/// Multiples of the bases that were precomputed: by `2^(r row_bits)` for every row `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) rows: usize,
    pub(super) row_bits: u32,
}

impl Table {
    /// Only the bases themselves.
    pub(super) const NONE: Self = Self {
        rows: 1,
        row_bits: BITS,
    };

    /// The table with which a full multiplication of `n` random scalars is cheapest, within a budget.
    pub(super) fn best(n: usize, bytes_max: u64) -> Self {
        let row_bytes = (n as u64 * 64).max(1);
        // Entries of the trees have 31 bits for a point.
        let rows_max = ((1usize << 31) / n.max(1)).min(ROWS_MAX);
        let rows_max = rows_max.min(usize::try_from(1 + bytes_max / row_bytes).unwrap_or(ROWS_MAX));
        let dense = Sample::dense(n);
        let cost = |table: Self| Windows::best(table, &dense).cost(&dense);
        let mut best = (Self::NONE, cost(Self::NONE) * TABLE_GAIN);
        for width in 4..=WIDTH_MAX {
            for sets in 1..=BITS.div_ceil(width) {
                let row_bits = width * sets;
                let rows = BITS.div_ceil(row_bits) as usize;
                if rows < 2 || rows > rows_max {
                    continue;
                }
                let table = Self { rows, row_bits };
                let cost = cost(table);
                if cost < best.1 {
                    best = (table, cost);
                }
            }
        }
        best.0
    }
}

/// Lengths of some of the scalars of a vector.
pub(super) struct Sample {
    /// Scalars in the vector.
    n: usize,
    /// How many of the sampled scalars have a magnitude of so many bits.
    lengths: [u32; BITS as usize],
    sampled: u32,
}

impl Sample {
    pub(super) fn new(scalars: &[Fr]) -> Self {
        const SAMPLED: usize = 1024;
        let mut sample = Self {
            n: scalars.len(),
            lengths: [0; BITS as usize],
            sampled: 0,
        };
        // A stride that is odd meets both halves of alternating columns.
        let stride = (scalars.len() / SAMPLED) | 1;
        for scalar in scalars.iter().step_by(stride) {
            let (magnitude, _) = magnitude(scalar);
            let bits = (0..4).rev().find(|word| magnitude[*word] != 0);
            let bits = bits.map_or(0, |word| 64 * word as u32 + 64 - magnitude[word].leading_zeros());
            sample.lengths[bits as usize] += 1;
            sample.sampled += 1;
        }
        sample
    }

    /// A sample of random scalars.
    pub(super) fn dense(n: usize) -> Self {
        let mut lengths = [0; BITS as usize];
        lengths[253] = 1;
        Self {
            n,
            lengths,
            sampled: 1,
        }
    }
}

/// One digit of every scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Window {
    /// Row of the table whose points the digit multiplies.
    pub(in crate::cpu) row: usize,
    /// Set of buckets that it belongs to: digits of one set have the same weight in their rows.
    pub(in crate::cpu) set: usize,
    /// Lowest bit.
    pub(in crate::cpu) position: u32,
    /// Bits; the digit is from `-2^(width - 1)` to `2^(width - 1)`.
    pub(in crate::cpu) width: u32,
}

/// How scalars are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Windows {
    pub(in crate::cpu) all: Vec<Window>,
    pub(in crate::cpu) sets: usize,
    /// The widest window's bits, which are the distance between sets too.
    pub(in crate::cpu) width: u32,
    /// `Σ 2^(width - 1) · 2^position`: added to a magnitude, it turns signed digits into plain ones.
    pub(in crate::cpu) bias: [u64; 4],
    /// Buckets of a set that are filled together; a power of two.
    partition: usize,
}

impl Windows {
    /// The cheapest windows for a vector, with the table or with the bases alone.
    pub(super) fn best(table: Table, sample: &Sample) -> Self {
        let widths =
            |table: Table| (WIDTH_MIN..=WIDTH_MAX.min(table.row_bits)).map(move |width| (table, width));
        let mut best: Option<(f64, Self)> = None;
        for (table, width) in widths(table).chain(widths(Table::NONE)) {
            let windows = Self::new(table, width);
            if !windows.covers() {
                continue;
            }
            let cost = windows.cost(sample);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, windows));
            }
        }
        let Some((_, mut windows)) = best else {
            unreachable!("windows of one width cover the scalars");
        };
        windows.divide(sample);
        windows
    }

    fn new(table: Table, width: u32) -> Self {
        let mut all = Vec::new();
        let mut bias = [0u64; 4];
        for row in 0..table.rows {
            let (start, end) = (row as u32 * table.row_bits, (row as u32 + 1) * table.row_bits);
            let end = end.min(BITS);
            for (set, position) in (start..end).step_by(width as usize).enumerate() {
                let width = width.min(end - position);
                let top = position + width - 1;
                bias[top as usize / 64] |= 1 << (top % 64);
                all.push(Window {
                    row,
                    set,
                    position,
                    width,
                });
            }
        }
        Self {
            all,
            sets: table.row_bits.div_ceil(width) as usize,
            width,
            bias,
            partition: 0,
        }
    }

    /// Whether a magnitude and the bias stay below `2^255`: several narrow windows at the top would not leave room.
    fn covers(&self) -> bool {
        const HALF_MODULUS_TOP: u64 = 0x1832_2739_7098_d014;
        self.bias[3] + HALF_MODULUS_TOP + 1 < 1 << 63
    }

    /// Additions that a multiplication takes.
    fn cost(&self, sample: &Sample) -> f64 {
        let buckets = (self.sets << (self.width - 1)) as f64;
        self.entries(sample) + ADDITIONS_PER_BUCKET * buckets
    }

    /// Digits that are not zero.
    pub(super) fn entries(&self, sample: &Sample) -> f64 {
        let digits = |bits: usize| {
            let reached = self
                .all
                .iter()
                .filter(|window| bits > 0 && window.position <= bits as u32);
            reached.count() as f64
        };
        let lengths = sample.lengths.iter().enumerate().filter(|(_, count)| **count > 0);
        let sampled: f64 = lengths
            .map(|(bits, count)| f64::from(*count) * digits(bits))
            .sum();
        sampled * sample.n as f64 / f64::from(sample.sampled.max(1))
    }

    /// Chooses partitions that hold some thousand points on average.
    fn divide(&mut self, sample: &Sample) {
        let entries = self.entries(sample);
        let task = (entries as usize / TASKS).clamp(TASK_MIN, TASK);
        let per_bucket = entries / (self.sets * self.buckets()) as f64;
        let buckets = (task as f64 / per_bucket.max(1e-3)) as usize;
        let least = (self.buckets() >> PARTITIONS_MAX_LOG2).max(1);
        let most = self.buckets().min(1 << LOCAL_BITS);
        self.partition = buckets.next_power_of_two().clamp(least, most);
    }

    /// Buckets of a set.
    pub(super) fn buckets(&self) -> usize {
        1 << (self.width - 1)
    }

    pub(super) fn partition(&self) -> usize {
        self.partition
    }
}

/// Bits of a bucket's number in its partition.
pub(super) const LOCAL_BITS: u32 = 13;

/// Partitions of a set are at most two to this power.
const PARTITIONS_MAX_LOG2: u32 = 12;

/// A scalar as a magnitude and whether it is negative.
fn magnitude(scalar: &Fr) -> ([u64; 4], bool) {
    let words = |scalar: &Fr| {
        let bytes = scalar.to_repr();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        words
    };
    let (plain, opposite) = (words(scalar), words(&-scalar));
    if plain.iter().rev().le(opposite.iter().rev()) {
        (plain, false)
    } else {
        (opposite, true)
    }
}

/// Writes the digits of every scalar: those of window `w` from `w · stride` on.
pub(super) fn recode(windows: &Windows, scalars: &[Fr], stride: usize, digits: &mut [i32]) {
    for (at, scalar) in scalars.iter().enumerate() {
        let (mut words, negative) = magnitude(scalar);
        let mut carry = 0;
        for (word, bias) in words.iter_mut().zip(windows.bias) {
            let sum = u128::from(*word) + u128::from(bias) + carry;
            (*word, carry) = (sum as u64, sum >> 64);
        }
        for (number, window) in windows.all.iter().enumerate() {
            let (word, shift) = (window.position as usize / 64, window.position % 64);
            let high = words.get(word + 1).copied().unwrap_or(0);
            let bits = ((u128::from(high) << 64) | u128::from(words[word])) >> shift;
            let digit = (bits as u32 & ((1 << window.width) - 1)) as i32 - (1 << (window.width - 1));
            digits[number * stride + at] = if negative { -digit } else { digit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample::{Sampler, edges};
    use halo2curves::ff::Field;

    #[test]
    fn digits_make_up_the_scalar() {
        let mut scalars = edges();
        scalars.extend(Sampler::new(3).scalars(50));
        scalars.extend((0..254).map(|bit| Fr::from(2).pow_vartime([bit])));
        let full = |row_bits: u32| Table {
            rows: BITS.div_ceil(row_bits) as usize,
            row_bits,
        };
        for (table, width) in [(Table::NONE, 3), (Table::NONE, 13), (Table::NONE, 22)]
            .into_iter()
            .chain([(full(20), 20), (full(64), 13), (full(17), 5)])
        {
            let windows = Windows::new(table, width);
            assert!(windows.covers());
            let mut digits = vec![0; windows.all.len() * scalars.len()];
            recode(&windows, &scalars, scalars.len(), &mut digits);
            for (at, scalar) in scalars.iter().enumerate() {
                let mut sum = Fr::ZERO;
                for (number, window) in windows.all.iter().enumerate() {
                    let digit = digits[number * scalars.len() + at];
                    assert!(digit.unsigned_abs() <= 1 << (window.width - 1));
                    assert_eq!(
                        window.position,
                        window.row as u32 * table.row_bits + window.set as u32 * width
                    );
                    let magnitude = Fr::from(u64::from(digit.unsigned_abs()));
                    let weight = Fr::from(2).pow_vartime([u64::from(window.position)]);
                    sum += weight * if digit < 0 { -magnitude } else { magnitude };
                }
                assert_eq!(sum, *scalar);
            }
        }
    }

    #[test]
    fn small_magnitudes_have_few_digits() {
        let windows = Windows::new(Table::NONE, 16);
        for scalar in [Fr::ZERO, Fr::from(7), -Fr::from(7)] {
            let mut digits = vec![0; windows.all.len()];
            recode(&windows, &[scalar], 1, &mut digits);
            assert!(digits[1..].iter().all(|digit| *digit == 0));
        }
    }

    #[test]
    fn windows_of_one_width_cover_the_scalars() {
        for width in WIDTH_MIN..=WIDTH_MAX {
            assert!(Windows::new(Table::NONE, width).covers(), "{width}");
        }
    }

    #[test]
    fn tables_stay_within_their_budget() {
        for n in [1usize, 1 << 10, 1 << 17, 1 << 20, 1 << 24] {
            for budget in [0, 1 << 20, 1 << 30, u64::MAX] {
                let table = Table::best(n, budget);
                assert!((table.rows as u64 - 1) * n as u64 * 64 <= budget);
                assert!(table.rows as u32 * table.row_bits >= BITS && table.rows <= ROWS_MAX);
            }
        }
    }
}
