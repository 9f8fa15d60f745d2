//! The under-constraint sweep: every advice cell of a valid sheet is changed, one at a time.

use halo2_proofs::dev::MockProver;
use halo2curves::{bn256::Fr, ff::Field};
use rayon::prelude::*;

use super::{
    checker::{Checker, Incidence},
    circuit::whole,
    curve::every_gate,
};
use crate::recursion::sheet::Sheet;

/// Free are only cells that nothing reads, which are blank.
fn sweep(sheet: &Sheet) {
    let checker = Checker::new();
    let incidence = Incidence::new(&checker, sheet);
    let delta = Fr::from(0x9e37_79b9_7f4a_7c15);
    let rows: Vec<usize> = (0..sheet.row()).collect();
    let missed: Vec<usize> = rows
        .par_chunks(1 << 14)
        .flat_map_iter(|rows| {
            let mut scratch = sheet.clone();
            rows.iter()
                .filter(|row| !incidence.notices(&mut scratch, **row, delta))
                .copied()
                .collect::<Vec<_>>()
        })
        .collect();
    let is_blank = |row: &usize| !incidence.reads(*row) && sheet.advice[*row] == Fr::ZERO;
    let wrong: Vec<&usize> = missed.iter().filter(|row| !is_blank(row)).collect();
    assert!(
        wrong.is_empty(),
        "{} cells, first {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(9)]
    );
    println!(
        "{} cells changed, {} blank cells are free",
        rows.len(),
        missed.len()
    );
}

#[test]
fn a_change_of_any_cell_of_the_gates_is_noticed() {
    sweep(&every_gate());
}

#[test]
fn a_change_of_any_cell_of_a_whole_circuit_is_noticed() {
    sweep(&whole().sheet);
}

#[test]
fn mock_prover_agrees_on_a_whole_circuit() {
    let circuit = whole();
    let run = |circuit, instances: Vec<Fr>| {
        let prover = MockProver::run(19, circuit, vec![instances]).expect("fits 2^19 rows");
        prover.verify().is_ok()
    };
    assert!(run(&circuit, circuit.instances().to_vec()));
    let mut other = circuit.instances().to_vec();
    other[3] += Fr::ONE;
    assert!(!run(&circuit, other));
}
