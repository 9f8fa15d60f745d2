//! The under-constraint sweep: every advice cell of a valid shard is changed, one at a time.

use super::gates::valid;
use crate::shard::tests::checker::{Checker, Incidence};
use crate::shard::tests::sweep::unread;
use halo2_proofs::arithmetic::Field;
use rayon::prelude::*;
use rules::Fr;

#[test]
fn a_change_of_any_cell_is_noticed() {
    let (sheet, _) = valid();
    let checker = Checker::new();
    let incidence = Incidence::new(&checker, &sheet);
    let delta = Fr::from(0x9e37_79b9_7f4a_7c15);
    let rows = sheet.lane_row.max(sheet.z_row);
    let cells: Vec<(usize, usize)> = (0..5).flat_map(|c| (0..rows).map(move |r| (c, r))).collect();
    let missed: Vec<(usize, usize)> = cells
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
    // Free by design: cells that no gate and no copy reads. They are blank.
    let unread = unread(&checker, &sheet);
    let free = |cell: &&(usize, usize)| unread.contains(cell) && sheet.advice[cell.0][cell.1] == Fr::ZERO;
    let unexpected: Vec<_> = missed.iter().filter(|cell| !free(cell)).collect();
    let names: Vec<_> = unexpected
        .iter()
        .take(9)
        .map(|(column, row)| {
            let next = sheet.labels.partition_point(|(start, _)| start <= row);
            (*column, *row, sheet.labels[next.saturating_sub(1)].1)
        })
        .collect();
    assert!(
        unexpected.is_empty(),
        "{} cells, first {names:?}",
        unexpected.len()
    );
}
