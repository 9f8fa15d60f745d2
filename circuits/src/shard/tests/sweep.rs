//! The under-constraint sweep: every advice cell of a valid shard is changed, one at a time.

use super::checker::{Checker, Incidence};
use super::gates::valid;
use crate::shard::sheet::Sheet;
use halo2_proofs::arithmetic::Field;
use rayon::prelude::*;
use rules::Fr;
use std::collections::BTreeSet;

/// Cells that nothing reads: blank by design, they have no part in the statement.
fn unread(checker: &Checker, sheet: &Sheet) -> BTreeSet<(usize, usize)> {
    let mut read = BTreeSet::new();
    for constraint in &checker.constraints {
        for (column, rotation) in constraint.reads() {
            for row in &sheet.on[constraint.gate as usize] {
                read.insert((*column, (*row as i32 + rotation) as usize));
            }
        }
    }
    let cells = (0..5).flat_map(|column| (0..sheet.lane_row.max(sheet.z_row)).map(move |row| (column, row)));
    cells.filter(|cell| !read.contains(cell)).collect()
}

#[test]
fn a_change_of_any_cell_is_noticed() {
    let (sheet, _) = valid();
    let checker = Checker::new();
    let incidence = Incidence::new(&checker, &sheet);
    let delta = Fr::from(0x9e37_79b9_7f4a_7c15);
    let rows = sheet.lane_row.max(sheet.z_row);
    let cells: Vec<(usize, usize)> = (0..5).flat_map(|c| (0..rows).map(move |r| (c, r))).collect();
    let missed: BTreeSet<(usize, usize)> = cells
        .par_chunks(4_096)
        .flat_map_iter(|chunk| {
            let mut scratch = sheet.clone();
            chunk
                .iter()
                .filter(|(column, row)| !incidence.notices(&mut scratch, *column, *row, delta))
                .copied()
                .collect::<Vec<_>>()
        })
        .collect();
    // Free by design: cells that no gate and no copy reads. They must be blank, or somebody meant them to count.
    let unread = unread(&checker, &sheet);
    let unexpected: Vec<_> = missed.iter().filter(|cell| !unread.contains(cell)).collect();
    let named = unexpected.iter().take(9).map(|(column, row)| {
        let next = sheet.labels.partition_point(|(start, _)| start <= row);
        (*column, *row, sheet.labels[next.saturating_sub(1)].1)
    });
    assert!(
        unexpected.is_empty(),
        "{} cells, first {:?}",
        unexpected.len(),
        named.collect::<Vec<_>>()
    );
    let used: Vec<_> = missed
        .iter()
        .filter(|(column, row)| sheet.advice[*column][*row] != Fr::ZERO)
        .collect();
    assert!(
        used.is_empty(),
        "{} assigned cells are unread, first {:?}",
        used.len(),
        &used[..used.len().min(9)]
    );
    println!(
        "{} cells changed, {} blank cells are free",
        cells.len(),
        missed.len()
    );
}

#[test]
fn every_constraint_can_fail() {
    // For each polynomial, at its first row: some change of a cell that it reads breaks it.
    let (sheet, _) = valid();
    let checker = Checker::new();
    let mut scratch = sheet.clone();
    for constraint in &checker.constraints {
        let row = sheet.on[constraint.gate as usize][0];
        assert!(constraint.holds(&sheet, row), "{}", constraint.name);
        let breaks = constraint.reads().iter().any(|(column, rotation)| {
            let at = (row as i32 + rotation) as usize;
            let kept = scratch.advice[*column][at];
            scratch.advice[*column][at] = kept + Fr::from(5);
            let holds = constraint.holds(&scratch, row);
            scratch.advice[*column][at] = kept;
            !holds
        });
        assert!(breaks, "{}", constraint.name);
    }
    assert_eq!(sheet.advice, scratch.advice);
}
