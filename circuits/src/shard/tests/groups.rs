//! Groups behind the first of their kind are laid out side by side: each must follow the one before it, as if laid out after it.

use super::checker::Checker;
use super::world::{ALICE, BOB, CAROL, Entry, Plan, World, sheet_with};
use crate::shard::config::{Gate, Z};
use crate::shard::raw::RawGroup;
use crate::shard::sheet::{CONSTANT_ROWS, Cell, Place, Sheet};
use crate::shard::{ShardCircuit, ShardParams};
use rayon::ThreadPoolBuilder;
use rules::Fr;
use rules::stream::GROUP_WORDS;
use rules::witness::Shape;
use std::ops::Range;

/// Groups of each kind: with room for an operation of the queue, and without.
const GROUPS: usize = 3;
const LONG: ShardParams = ShardParams {
    k: 18,
    shape: Shape {
        places: 2 * GROUPS * GROUP_WORDS,
        rooms: GROUPS,
    },
};

/// A group with a transfer in the place of its number, and before every second one that has room a deposit.
fn group(world: &mut World, at: usize) -> RawGroup {
    let transfer = Plan {
        indices: [[ALICE, BOB, 1], [BOB, CAROL, 1]][at % 2],
        ..Plan::default()
    };
    let mut plans = vec![super::world::no_op(); GROUP_WORDS];
    plans[at % GROUP_WORDS] = transfer;
    let entry = match at % 2 {
        0 => Entry::deposit_existing(),
        _ => Entry::idle(),
    };
    world.group((at < GROUPS).then_some(&entry), &plans)
}

fn idle(world: &mut World, at: usize) -> RawGroup {
    world.group((at < GROUPS).then_some(&Entry::idle()), &[])
}

fn groups(world: &mut World) -> Vec<RawGroup> {
    (0..2 * GROUPS).map(|at| group(world, at)).collect()
}

fn valid() -> (Sheet, Vec<Fr>) {
    let mut world = World::new();
    let root = world.tree.root();
    let groups = groups(&mut world);
    sheet_with(LONG, root, &groups)
}

/// A round and a half of one thread, and one of many.
#[test]
fn a_shard_of_several_groups_holds_on_any_number_of_threads() {
    let checker = Checker::new();
    let sheets = [1, 16].map(|threads| {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        let (sheet, instances) = pool.install(valid);
        assert!(checker.failures(&sheet, &instances).is_empty());
        sheet
    });
    let [one, many] = &sheets;
    assert_eq!(one.advice, many.advice);
    assert_eq!(one.fixed, many.fixed);
    assert_eq!(one.on, many.on);
    assert_eq!(one.copies, many.copies);
    assert_eq!(one.labels, many.labels);
}

#[test]
fn a_group_begins_at_the_root_that_the_one_before_it_left() {
    let checker = Checker::new();
    for border in 1..2 * GROUPS {
        let mut world = World::new();
        let root = world.tree.root();
        let mut forged = groups(&mut world);
        // From here on what happened before never did.
        let mut other = World::new();
        for (at, group) in forged.iter_mut().enumerate().skip(border) {
            *group = idle(&mut other, at);
        }
        let (sheet, instances) = sheet_with(LONG, root, &forged);
        let found: Vec<String> = checker.failures(&sheet, &instances).into_iter().collect();
        let expected = match border < GROUPS {
            true => "copy @ P-6.7: before the group's places",
            false => "copy @ P-4.5: updates in sequence",
        };
        assert_eq!(found, [expected], "group {border}");
    }
}

/// Where the groups of one kind lie.
struct Run {
    /// First rows of the lanes and of `z`.
    begin: [usize; 2],
    /// Rows of a group in the lanes and in `z`.
    rows: [usize; 2],
    /// Copies of a group.
    copies: usize,
    /// Copies of a group that take something from what stands before it.
    links: usize,
}

impl Run {
    fn end(&self) -> [usize; 2] {
        [0, 1].map(|i| self.begin[i] + GROUPS * self.rows[i])
    }

    /// A cell of this run, so many groups further on; one that stands before the run stays.
    fn moved(&self, cell: &Cell, by: usize) -> Cell {
        let part = match cell.place {
            Place::Advice(Z) => 1,
            Place::Advice(_) => 0,
            Place::Constant | Place::Instance => return *cell,
        };
        let by = if cell.row < self.begin[part] { 0 } else { by };
        Cell {
            row: cell.row + by * self.rows[part],
            ..*cell
        }
    }

    fn check(&self, sheet: &Sheet, copies: &[(Cell, Cell, &str)]) {
        let groups: Vec<_> = copies.chunks(self.copies).collect();
        assert_eq!(groups.len(), GROUPS);
        for by in 2..GROUPS {
            for ((a, b, label), found) in groups[1].iter().zip(groups[by]) {
                let expected = (self.moved(a, by - 1), self.moved(b, by - 1), *label);
                assert_eq!(*found, expected, "group {by}");
            }
        }
        // The first takes root and streams from what stands before the run, where the second takes them from the first.
        let mut linked = 0;
        for ((a, b, label), (found_a, found_b, found)) in groups[0].iter().zip(groups[1]) {
            assert_eq!((*found_a, found), (self.moved(a, 1), label));
            if *found_b != self.moved(b, 1) {
                assert_eq!(self.moved(b, 1), *b, "{label}");
                assert_ne!(self.moved(found_b, 1), *found_b, "{label}");
                linked += 1;
            }
        }
        assert_eq!(linked, self.links);
        for (gate, rows) in sheet.on.iter().enumerate() {
            let in_z = [Gate::Arith, Gate::Range, Gate::StepT, Gate::StepU].map(|gate| gate as usize);
            let part = usize::from(in_z.contains(&gate));
            let within: Range<usize> = self.begin[part]..self.end()[part];
            let rows: Vec<usize> = rows.iter().copied().filter(|row| within.contains(row)).collect();
            assert!(rows.len().is_multiple_of(GROUPS));
            let later = rows.iter().skip(rows.len() / GROUPS);
            let mut pairs = rows.iter().zip(later);
            assert!(pairs.all(|(row, next)| row + self.rows[part] == *next));
        }
        for column in &sheet.fixed {
            let used = &column[self.begin[0]..self.end()[0]];
            let mut groups = used.chunks(self.rows[0]);
            assert!(groups.all(|rows| rows == &used[..self.rows[0]]));
        }
    }
}

fn is_of_groups(label: &str) -> bool {
    !matches!(label, "P-7.3: instances" | "P-7.3: running state after")
}

/// Rows and copies of all groups of a sheet, and the row of `z` where they begin.
fn sizes(sheet: &Sheet) -> ([usize; 2], usize, usize) {
    let (mut begin, mut end) = (sheet.z_row, 0);
    for ((row, label), (next, _)) in sheet.labels.iter().zip(&sheet.labels[1..]) {
        if is_of_groups(label) {
            begin = begin.min(*row);
            end = end.max(*next);
        }
    }
    let copies = sheet.copies.iter().filter(|(_, _, label)| is_of_groups(label));
    let lanes = sheet.lane_row - CONSTANT_ROWS;
    ([lanes, end - begin], copies.count(), begin)
}

/// The first group of each kind is laid out like a shard of its own; all others of the kind are constrained as it is, row by row.
#[test]
fn every_group_is_constrained_like_the_first_of_its_kind() {
    let (sheet, _) = valid();
    let alone = ShardParams {
        shape: Shape { places: 5, rooms: 1 },
        ..LONG
    };
    let alone = ShardCircuit::new(alone, None).expect("fits").sheet;
    let (with_room, copies_with, begin) = sizes(&alone);
    let (all, copies, _) = sizes(&sheet);
    assert!(copies.is_multiple_of(GROUPS));
    let first = Run {
        begin: [CONSTANT_ROWS, begin],
        rows: with_room,
        copies: copies_with,
        // Root; of stream A commitment, three times, evaluation, and the power in both its uses; of stream B the same with the
        // commitment once.
        links: 11,
    };
    let without = [0, 1].map(|i| all[i] / GROUPS - with_room[i]);
    let second = Run {
        begin: first.end(),
        rows: without,
        copies: copies / GROUPS - copies_with,
        links: 11,
    };
    let groups: Vec<(Cell, Cell, &str)> = sheet
        .copies
        .iter()
        .filter(|(_, _, label)| is_of_groups(label))
        .copied()
        .collect();
    let (of_first, of_second) = groups.split_at(GROUPS * first.copies);
    first.check(&sheet, of_first);
    second.check(&sheet, of_second);
}
