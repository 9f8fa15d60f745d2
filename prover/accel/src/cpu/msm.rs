//! Multi-scalar multiplication: signed windows, points sorted by bucket, buckets summed by trees of affine additions.
//!
//! Every addition of a round is independent of the others, so that they share inversions and fill all lanes. A window
//! costs `n` additions for its buckets and two per bucket to weight and sum them. Precomputed multiples of the bases
//! ([`Bases`]) let several windows share their buckets, which makes wider windows pay. Splitting scalars by the curve's
//! endomorphism would halve the windows and double the points: the same additions, and nothing saved for short scalars.

mod points;
mod sorting;
mod trees;
mod weights;
mod windows;

use super::memory::Aligned;
use super::{Additions, Kernels};
use crate::DeviceError;
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::group::Group;
pub(super) use points::Point;
use rayon::prelude::*;
use sorting::{Sorted, TILE};
use trees::Trees;
pub(super) use trees::{NEGATIVE, Pairs};
pub(super) use windows::Windows;
use windows::{Sample, Table};

/// Points that a task handles where there are enough of them: as many as a second-level cache holds.
const TASK: usize = 1 << 14;

/// Points below which a task is not worth splitting.
const TASK_MIN: usize = 1 << 12;

/// Tasks that there are at least before they grow.
const TASKS: usize = 64;

/// Vectors from this length on are handled one after the other, since each fills the machine and much memory.
const ALONE: usize = 1 << 16;

/// Points prepared for multiplication.
pub(super) struct Bases {
    kernels: Kernels,
    /// `rows` times `len` points; row `r` holds the multiples by `2^(r row_bits)`.
    points: Aligned<Point>,
    len: usize,
    table: Table,
    /// Indices of bases that are the identity, in order.
    identities: Vec<usize>,
}

impl Bases {
    pub(super) fn new(
        kernels: Kernels,
        bases: &[G1Affine],
        table_bytes_max: u64,
    ) -> Result<Self, DeviceError> {
        let len = bases.len();
        let table = match kernels {
            // Without fast doublings, a table would take longer to make than it ever saves.
            Kernels::Portable => Table::NONE,
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(_) => Table::best(len, table_bytes_max),
        };
        let mut points = Aligned::<Point>::zeros("bases", len * table.rows)?;
        let (first, mut rest) = points.split_at_mut(len);
        let pairs = first.par_iter_mut().zip(bases);
        pairs.for_each(|(point, base)| *point = Point::new(kernels, base));
        let identities = (0..len).filter(|at| first[*at].is_none()).collect();
        let mut previous: &[Point] = first;
        while !rest.is_empty() {
            let (row, more) = rest.split_at_mut(len);
            points::double(kernels, previous, table.row_bits, row);
            (previous, rest) = (row, more);
        }
        Ok(Self {
            kernels,
            points,
            len,
            table,
            identities,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// The buckets that `n` random scalars need, to be dropped.
pub(super) fn reserve(bases: &Bases, n: usize) -> Result<impl Sized, DeviceError> {
    let windows = Windows::best(bases.table, &Sample::dense(n));
    Aligned::<Point>::touched("reserve", windows.sets * windows.buckets())
}

/// What a sum of multiples takes.
pub(super) fn additions(bases: &Bases, scalars: &[Fr]) -> Additions {
    let sample = Sample::new(scalars);
    let windows = Windows::best(bases.table, &sample);
    let (entries, buckets) = (windows.entries(&sample), windows.sets * windows.buckets());
    Additions {
        bases: entries,
        // A bucket's first point costs nothing; weighting and summing the buckets takes two for each.
        total: entries + buckets as f64,
    }
}

/// `Σ scalars[j][i] · bases[i]` for every vector, none of which is longer than the bases.
pub(super) fn sums_of_multiples(bases: &Bases, scalars: &[&[Fr]]) -> Result<Vec<G1>, DeviceError> {
    let longest = scalars.iter().map(|scalars| scalars.len()).max().unwrap_or(0);
    if longest >= ALONE {
        return scalars
            .iter()
            .map(|scalars| sum_of_multiples(bases, scalars))
            .collect();
    }
    let vectors = scalars.par_iter();
    vectors.map(|scalars| sum_of_multiples(bases, scalars)).collect()
}

fn sum_of_multiples(bases: &Bases, scalars: &[Fr]) -> Result<G1, DeviceError> {
    let windows = Windows::best(bases.table, &Sample::new(scalars));
    let per_set = windows.buckets();
    let tiles = scalars.par_chunks(TILE).enumerate();
    let tiles: Vec<Sorted> = tiles
        .map_init(Vec::new, |digits, (at, tile)| {
            sorting::sort(
                bases.kernels,
                &windows,
                tile,
                at * TILE,
                &bases.identities,
                digits,
            )
        })
        .collect();
    let mut buckets = Aligned::<Point>::zeros("msm", windows.sets * per_set)?;
    let partition = windows.partition();
    let partitions = buckets.par_chunks_mut(partition).enumerate();
    partitions.for_each_init(
        || Trees::new(bases.kernels),
        |trees, (at, buckets)| {
            let (set, partition) = (at * partition / per_set, at % (per_set / partition));
            fill(bases, &tiles, set, partition, trees, buckets);
        },
    );
    drop(tiles);
    let sets = weights::weighted_sums(bases.kernels, &buckets, windows.sets);
    let mut total = G1::identity();
    for set in sets.iter().rev() {
        for _ in 0..windows.width {
            total = total.double();
        }
        total += set;
    }
    Ok(total)
}

/// Sums the points of one partition's buckets.
fn fill(
    bases: &Bases,
    tiles: &[Sorted],
    set: usize,
    partition: usize,
    trees: &mut Trees,
    buckets: &mut [Point],
) {
    let points =
        |tiles: &[Sorted]| -> usize { tiles.iter().map(|tile| tile.run(set, partition).len()).sum() };
    let total = points(tiles);
    if total <= 4 * TASK {
        let groups = sorting::group(tiles, set, partition, &bases.points, bases.len, buckets.len());
        return trees.sums(&bases.points, &groups, buckets);
    }
    // Many scalars are alike. Their points are summed in parts, the parts in turn.
    let mut parts: Vec<&[Sorted]> = Vec::new();
    let mut rest = tiles;
    while !rest.is_empty() {
        let mut taken = 0;
        let end = rest.iter().position(|tile| {
            let full = taken >= TASK;
            taken += tile.run(set, partition).len();
            full
        });
        let (part, more) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(part);
        rest = more;
    }
    let parts = parts.into_par_iter().map_init(
        || Trees::new(bases.kernels),
        |trees, tiles| {
            let mut sums = vec![Point::NONE; buckets.len()];
            let groups = sorting::group(tiles, set, partition, &bases.points, bases.len, sums.len());
            trees.sums(&bases.points, &groups, &mut sums);
            sums
        },
    );
    let parts: Vec<Point> = parts.collect::<Vec<_>>().concat();
    let groups = trees::columns(&parts, buckets.len());
    trees.sums(&parts, &groups, buckets);
}
