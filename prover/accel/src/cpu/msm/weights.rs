//! Sums of buckets with their weights.

use super::super::Kernels;
use super::TASK_MIN;
use super::points::Point;
use super::trees::{Groups, Trees};
use halo2curves::bn256::G1;
use halo2curves::group::Group;
use rayon::prelude::*;

/// `Σ (b + 1) B_b` over the buckets `B_b` of each of `sets` sets, which have a power of two of buckets each.
///
/// With `C_i = B_2i + B_(2i+1)`, `Σ b B_b = 2 Σ i C_i + Σ B_(2i+1)`: halving the buckets level by level leaves one sum per
/// bit, whose additions are as independent as those of the trees.
pub(super) fn weighted_sums(kernels: Kernels, buckets: &[Point], sets: usize) -> Vec<G1> {
    let levels = (buckets.len() / sets).ilog2();
    let mut odd = vec![vec![G1::identity(); sets]; levels as usize];
    let mut halved: Vec<Point>;
    let mut level: &[Point] = buckets;
    for odd in &mut odd {
        let per_set = level.len() / sets;
        let parts = level.par_chunks(TASK_MIN).enumerate().map_init(
            || Trees::new(kernels),
            |trees, (at, part)| halve(trees, part, at * TASK_MIN, per_set),
        );
        let parts: Vec<Halved> = parts.collect();
        let mut next = Vec::with_capacity(level.len() / 2);
        for part in parts {
            next.extend(part.half);
            for (set, sum) in part.odd {
                odd[set] += sum.affine(kernels);
            }
        }
        halved = next;
        level = &halved;
    }
    // What is left of a set are all its points.
    let all = level.iter().map(|all| all.projective(kernels)).enumerate();
    let total = |(set, all)| {
        let odd = odd.iter().rev().map(|level: &Vec<G1>| level[set]);
        all + odd.fold(G1::identity(), |total, odd| total.double() + odd)
    };
    all.map(total).collect()
}

/// A part of a level, halved.
struct Halved {
    /// Sums of neighbours.
    half: Vec<Point>,
    /// Sums of the odd points of each set that the part touches.
    odd: Vec<(usize, Point)>,
}

/// Halves the part of a level that begins at `start`.
fn halve(trees: &mut Trees, part: &[Point], start: usize, per_set: usize) -> Halved {
    let mut groups = Groups {
        members: Vec::with_capacity(part.len() / 2 * 3),
        ends: Vec::new(),
    };
    let mut push = |members: &mut dyn Iterator<Item = usize>| {
        let members = members.filter(|at| !part[*at].is_none());
        groups.members.extend(members.map(|at| at as u32));
        groups.ends.push(groups.members.len() as u32);
    };
    let mut sets = Vec::new();
    for first in (0..part.len()).step_by(per_set) {
        let end = part.len().min(first + per_set);
        push(&mut (first + 1..end).step_by(2));
        sets.push((start + first) / per_set);
    }
    for first in (0..part.len()).step_by(2) {
        push(&mut (first..first + 2));
    }
    let mut sums = vec![Point::NONE; groups.ends.len()];
    trees.sums(part, &groups, &mut sums);
    let half = sums.split_off(sets.len());
    Halved {
        half,
        odd: sets.into_iter().zip(sums).collect(),
    }
}
