//! Groups behind the first are laid out side by side: each must follow the one before it, as if laid out after it.

use super::checker::Checker;
use super::world::{ALICE, BOB, CAROL, Plan, World, sheet_with};
use crate::preset::ShardParams;
use crate::shard::config::Z;
use crate::shard::raw::RawStep;
use crate::shard::sheet::{CONSTANT_ROWS, Cell, Place, Sheet};
use crate::shard::stream::GROUP;
use rayon::ThreadPoolBuilder;
use rules::Fr;

const GROUPS: usize = 5;
const LONG: ShardParams = ShardParams {
    k: 17,
    capacity: GROUPS * GROUP,
};

/// A transfer in each group, at another place of it.
fn steps(world: &mut World) -> Vec<RawStep> {
    (0..LONG.capacity)
        .map(|at| match at % GROUP == at / GROUP {
            true => world.step(&Plan {
                indices: [[ALICE, BOB, 1], [BOB, CAROL, 1]][at % 2],
                ..Plan::default()
            }),
            false => world.noop(),
        })
        .collect()
}

fn valid() -> (Sheet, Vec<Fr>) {
    let mut world = World::new();
    let root = world.tree.root();
    let steps = steps(&mut world);
    sheet_with(LONG, root, &steps)
}

/// Two rounds and a half of one thread, and one of many.
#[test]
fn a_shard_of_several_groups_holds_on_any_number_of_threads() {
    let checker = Checker::new();
    let mut sheets = [1, 16].map(|threads| {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        let (sheet, instances) = pool.install(valid);
        assert!(checker.failures(&sheet, &instances).is_empty());
        sheet
    });
    let [one, many] = &mut sheets;
    assert_eq!(one.advice, many.advice);
    assert_eq!(one.fixed, many.fixed);
    assert_eq!(one.on, many.on);
    assert_eq!(one.copies, many.copies);
    assert_eq!(one.labels, many.labels);
}

#[test]
fn a_group_begins_at_the_root_that_the_one_before_it_left() {
    let checker = Checker::new();
    for border in 1..GROUPS {
        let mut world = World::new();
        let root = world.tree.root();
        let mut forged = steps(&mut world);
        // From here on what happened before never did.
        let mut other = World::new();
        for step in &mut forged[border * GROUP..] {
            *step = other.noop();
        }
        let (sheet, instances) = sheet_with(LONG, root, &forged);
        let found: Vec<String> = checker.failures(&sheet, &instances).into_iter().collect();
        assert_eq!(
            found,
            ["copy @ P-4.5: three updates in sequence"],
            "group {border}"
        );
    }
}

/// The first group is laid out like a shard of its own; all others are constrained as it is, row by row.
#[test]
fn every_group_is_constrained_like_the_first() {
    let (sheet, _) = valid();
    let given = |label: &str| matches!(label, "P-7.3: instances");
    let after = |label: &str| matches!(label, "P-7.3: running state after");
    let groups: Vec<_> = sheet
        .copies
        .iter()
        .filter(|(_, _, label)| !given(label) && !after(label))
        .collect();
    let begin_z = sheet
        .labels
        .iter()
        .find(|(_, label)| !given(label))
        .expect("operations")
        .0;
    let end_z = sheet
        .labels
        .iter()
        .find(|(_, label)| after(label))
        .expect("an end")
        .0;
    let (lanes, z) = (
        (sheet.lane_row - CONSTANT_ROWS) / GROUPS,
        (end_z - begin_z) / GROUPS,
    );
    let moved = |cell: &Cell, by: usize| match cell.place {
        Place::Advice(Z) if cell.row >= begin_z => Cell {
            row: cell.row + by * z,
            ..*cell
        },
        Place::Advice(column) if column != Z => Cell {
            row: cell.row + by * lanes,
            ..*cell
        },
        _ => *cell,
    };
    assert_eq!(groups.len() % GROUPS, 0);
    let group: Vec<_> = groups.chunks(groups.len() / GROUPS).collect();
    for by in 2..GROUPS {
        for ((a, b, label), (found_a, found_b, found)) in group[1].iter().zip(group[by]) {
            let expected = (moved(a, by - 1), moved(b, by - 1), label);
            assert_eq!((*found_a, *found_b, found), expected, "group {by}");
        }
    }
    // The first takes root and stream from the instances, where the second takes them from the first.
    let is_given = |cell: &Cell| cell.place == Place::Advice(Z) && cell.row < begin_z;
    let mut linked = 0;
    for ((a, b, label), (found_a, found_b, found)) in group[0].iter().zip(group[1]) {
        assert_eq!((*found_a, found), (moved(a, 1), label));
        if *found_b != moved(b, 1) {
            assert!(is_given(b) && !is_given(found_b), "{label}");
            linked += 1;
        }
    }
    // Root; commitment; evaluation, and the power in both its uses.
    assert_eq!(linked, 5);
    for rows in &sheet.on {
        let periodic = |begin: usize, step: usize| {
            let rows: Vec<&usize> = rows.iter().filter(|row| **row >= begin).collect();
            let later = rows.iter().skip(rows.len() / GROUPS);
            rows.len().is_multiple_of(GROUPS)
                && rows.iter().zip(later).all(|(row, next)| **row + step == **next)
        };
        assert!(periodic(CONSTANT_ROWS, lanes) || periodic(begin_z, z));
    }
    for column in &sheet.fixed {
        let used = &column[CONSTANT_ROWS..][..GROUPS * lanes];
        assert!(used.chunks(lanes).all(|rows| rows == &used[..lanes]));
    }
}
