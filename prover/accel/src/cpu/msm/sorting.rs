//! Sorting digits by bucket: tile by tile into partitions of buckets, then each partition's runs by bucket.

use super::super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::super::ifma;
use super::super::memory::prefetch;
use super::points::Point;
use super::trees::Groups;
use super::windows::{LOCAL_BITS, Windows, recode};
use halo2curves::bn256::Fr;

/// Points that are asked for while they are grouped: those of the first additions.
const PREFETCHED: u32 = 2 * super::TASK as u32;

/// Scalars that are cut and sorted together; their digits stay in the second-level cache.
pub(super) const TILE: usize = 1 << 13;

/// Layout of an entry, from the lowest bit: index in the tile, row, sign, bucket in the partition.
const ROW_SHIFT: u32 = TILE.ilog2();
const SIGN_SHIFT: u32 = ROW_SHIFT + 5;
const LOCAL_SHIFT: u32 = SIGN_SHIFT + 1;
const _: () = assert!(LOCAL_SHIFT + LOCAL_BITS <= 32);

/// A tile's digits that are not zero, sorted by set and partition.
pub(super) struct Sorted {
    /// Index of the tile's first scalar.
    first: usize,
    sets: Vec<Runs>,
}

struct Runs {
    entries: Vec<u32>,
    /// Where each partition's entries start, and where the last one's end.
    starts: Vec<u32>,
}

impl Sorted {
    pub(super) fn run(&self, set: usize, partition: usize) -> &[u32] {
        let runs = &self.sets[set];
        &runs.entries[runs.starts[partition] as usize..runs.starts[partition + 1] as usize]
    }
}

/// Cuts the scalars of a tile that starts at index `first`, and sorts their digits. Identity bases get none. `digits` is room
/// that is used again and again.
pub(super) fn sort(
    kernels: Kernels,
    windows: &Windows,
    scalars: &[Fr],
    first: usize,
    identities: &[usize],
    digits: &mut Vec<i32>,
) -> Sorted {
    digits.resize(windows.all.len() * TILE, 0);
    match kernels {
        Kernels::Portable => recode(windows, scalars, TILE, digits),
        #[cfg(target_arch = "x86_64")]
        Kernels::Ifma(available) => {
            // The kernel takes eight scalars at a time.
            let whole = scalars.len() / 8 * 8;
            ifma::curve::recode(available, windows, &scalars[..whole], TILE, digits);
            recode(windows, &scalars[whole..], TILE, &mut digits[whole..]);
        }
    }
    let from = identities.partition_point(|identity| *identity < first);
    for identity in identities[from..]
        .iter()
        .take_while(|at| **at < first + scalars.len())
    {
        for window in digits.chunks_exact_mut(TILE) {
            window[identity - first] = 0;
        }
    }
    let sets = (0..windows.sets).map(|set| sort_set(windows, set, scalars.len(), digits));
    Sorted {
        first,
        sets: sets.collect(),
    }
}

fn sort_set(windows: &Windows, set: usize, len: usize, digits: &[i32]) -> Runs {
    let local_log2 = windows.partition().ilog2();
    let partitions = windows.buckets() >> local_log2;
    let members = || {
        windows
            .all
            .iter()
            .enumerate()
            .filter(move |(_, window)| window.set == set)
    };
    let mut starts = vec![0u32; partitions + 1];
    for (number, _) in members() {
        for digit in &digits[number * TILE..number * TILE + len] {
            if *digit != 0 {
                starts[((digit.unsigned_abs() - 1) >> local_log2) as usize] += 1;
            }
        }
    }
    // Each start is where its partition ends until the entries below are filled in, from the back.
    let mut end = 0;
    for start in &mut starts {
        end += *start;
        *start = end;
    }
    let mut entries = vec![0; end as usize];
    for (number, window) in members() {
        let row = (window.row as u32) << ROW_SHIFT;
        for (at, digit) in digits[number * TILE..number * TILE + len].iter().enumerate() {
            if *digit != 0 {
                let bucket = digit.unsigned_abs() - 1;
                let local = (bucket & ((1 << local_log2) - 1)) << LOCAL_SHIFT;
                let sign = u32::from(*digit < 0) << SIGN_SHIFT;
                let start = &mut starts[(bucket >> local_log2) as usize];
                *start -= 1;
                entries[*start as usize] = local | sign | row | at as u32;
            }
        }
    }
    Runs { entries, starts }
}

/// The points of a partition's `buckets` buckets, with their signs, from all tiles; `points` has rows of `row_len`.
pub(super) fn group(
    tiles: &[Sorted],
    set: usize,
    partition: usize,
    points: &[Point],
    row_len: usize,
    buckets: usize,
) -> Groups {
    let mut ends = vec![0u32; buckets];
    for tile in tiles {
        for entry in tile.run(set, partition) {
            ends[(entry >> LOCAL_SHIFT) as usize] += 1;
        }
    }
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    let mut members = vec![0u32; end as usize];
    let mut places = ends.clone();
    for tile in tiles {
        for entry in tile.run(set, partition) {
            let row = (entry >> ROW_SHIFT) & 31;
            let point = row as usize * row_len + tile.first + (entry & (TILE as u32 - 1)) as usize;
            let place = &mut places[(entry >> LOCAL_SHIFT) as usize];
            *place -= 1;
            members[*place as usize] = point as u32 | ((entry >> SIGN_SHIFT & 1) << 31);
            if *place < PREFETCHED {
                prefetch(points, point);
            }
        }
    }
    Groups { members, ends }
}
