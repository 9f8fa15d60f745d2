//! Valid shards satisfy the circuit, for our checker and for halo2's.

use super::checker::Checker;
use super::world::*;
use crate::shard::ShardCircuit;
use crate::shard::config::ShardConfig;
use halo2_proofs::dev::MockProver;
use halo2_proofs::plonk::ConstraintSystem;
use rules::Fr;
use serde_json::json;
use std::collections::BTreeMap;

pub fn valid() -> (crate::shard::sheet::Sheet, Vec<Fr>) {
    let mut world = World::new();
    let root = world.tree.root();
    let steps = vec![
        world.step(&Plan::default()),
        // Both sides at once, and the fee account as receiver, and the far end of the tree.
        world.step(&Plan {
            indices: [BOB, BOB, 1],
            ..Plan::default()
        }),
        world.step(&Plan {
            indices: [CAROL, 1, 1],
            amount: (Fr::from(52_429), 1),
            ..Plan::default()
        }),
        world.step(&Plan {
            indices: [DORA, DORA, 2],
            fee: (Fr::from(15), 3),
            ..Plan::default()
        }),
    ];
    sheet_of(root, steps, &mut world)
}

#[test]
fn a_valid_shard_satisfies_every_constraint() {
    let (sheet, instances) = valid();
    let failures = Checker::new().failures(&sheet, &instances);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn degree_is_five() {
    let mut cs = ConstraintSystem::<Fr>::default();
    ShardConfig::configure(&mut cs);
    let degree = cs
        .gates()
        .iter()
        .flat_map(|g| g.polynomials())
        .map(|p| p.degree())
        .max();
    assert_eq!(degree, Some(5));
    assert_eq!(cs.degree(), 5);
}

#[test]
fn agrees_with_mock_prover() {
    let (sheet, instances) = valid();
    let checker = Checker::new();
    let run = |sheet: &crate::shard::sheet::Sheet, instances: &[Fr]| {
        let circuit = ShardCircuit { sheet: sheet.clone() };
        let prover = MockProver::run(PARAMS.k, &circuit, vec![instances.to_vec()]).expect("runs");
        prover.verify().is_ok()
    };
    assert!(run(&sheet, &instances));
    // One change in each column, and one in an instance.
    for column in 0..5 {
        let mut changed = sheet.clone();
        changed.advice[column][1_000] += Fr::one();
        assert!(
            !checker.failures(&changed, &instances).is_empty(),
            "column {column}"
        );
        assert!(!run(&changed, &instances), "column {column}");
    }
    let mut other = instances.clone();
    other[12] += Fr::one();
    assert!(!checker.failures(&sheet, &other).is_empty());
    assert!(!run(&sheet, &other));
}

#[test]
fn cells_per_transfer_are_within_the_budget() {
    let (sheet, _) = valid();
    let rows = ShardCircuit { sheet: sheet.clone() }.rows();
    let cells = rows.lanes.max(rows.z) * rows.columns / PARAMS.capacity;
    let mut parts = BTreeMap::<&str, usize>::new();
    let ends = sheet
        .labels
        .iter()
        .skip(1)
        .map(|(row, _)| *row)
        .chain([sheet.z_row]);
    for ((start, label), end) in sheet.labels.iter().zip(ends) {
        *parts.entry(label).or_default() += end - start;
    }
    let parts: BTreeMap<&str, f64> = parts
        .into_iter()
        .map(|(label, rows)| (label, rows as f64 / PARAMS.capacity as f64))
        .collect();
    let costs = json!({
        "operations": PARAMS.capacity,
        "columns": rows.columns,
        "rows_of_lanes": rows.lanes,
        "rows_of_z": rows.z,
        "cells_per_operation": cells,
        "rows_of_z_per_operation_by_clause": parts,
    });
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/shard.json", &costs);
    let scalars = parts["P-5.4: double-scalar multiplication"] as u64;
    let quoted = [cells as u64, (cells / rows.columns) as u64, scalars].map(golden::thousands);
    golden::quotes("ARCHITECTURE.md", quoted);
    assert!(cells <= 25_000, "{cells} cells");
}
