//! Valid shards satisfy the circuit, for our checker and for halo2's, and cost what they may.

use super::checker::Checker;
use super::world::*;
use crate::preset;
use crate::shard::config::ShardConfig;
use crate::shard::raw::RawGroup;
use crate::shard::sheet::Sheet;
use crate::shard::{ShardCircuit, ShardCircuitError, ShardParams};
use halo2_proofs::arithmetic::Field;
use halo2_proofs::dev::MockProver;
use halo2_proofs::plonk::ConstraintSystem;
use num_bigint::BigUint;
use rules::layout::ShapeError;
use rules::witness::{GroupWitness, PlaceWitness, RoomWitness, RunningState, Shape, ShardInput};
use rules::{Fr, field, poseidon};
use serde_json::json;
use std::collections::BTreeMap;

fn groups(world: &mut World) -> Vec<RawGroup> {
    let mut exit = Entry::forced_exit();
    exit.amount = Fr::from(1_006_000);
    vec![
        world.group(
            Some(&Entry::deposit_existing()),
            &[
                Plan::default(),
                withdrawal(),
                creation(),
                Plan {
                    indices: [BOB, BOB, 1],
                    ..Plan::default()
                },
            ],
        ),
        // The fee of the transfer before stays with the exit's account.
        world.group(
            Some(&Entry {
                amount: exit.amount - Fr::from(10),
                ..exit
            }),
            &[],
        ),
        world.group(None, &[Plan::default(), no_op(), creation_at(FREE + 1)]),
        world.group(
            None,
            &[Plan {
                indices: [CAROL, 1, 1],
                ..Plan::default()
            }],
        ),
    ]
}

fn creation_at(index: u64) -> Plan {
    Plan {
        indices: [index, 0, 1],
        ..creation()
    }
}

/// A shard of one group with every kind of place.
pub fn valid() -> (Sheet, Vec<Fr>) {
    let mut world = World::new();
    let root = world.tree.root();
    let group = world.group(
        Some(&Entry::deposit_new()),
        &[Plan::default(), withdrawal(), creation(), no_op()],
    );
    sheet_with(TINY, root, &[group])
}

fn mixed() -> (Sheet, Vec<Fr>) {
    let mut world = World::new();
    let root = world.tree.root();
    let groups = groups(&mut world);
    sheet_with(MIXED, root, &groups)
}

#[test]
fn a_valid_shard_satisfies_every_constraint() {
    let checker = Checker::new();
    for (sheet, instances) in [valid(), mixed()] {
        let failures = checker.failures(&sheet, &instances);
        assert!(failures.is_empty(), "{failures:#?}");
    }
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
fn the_layout_does_not_depend_on_the_witness() {
    for (params, (sheet, _)) in [(TINY, valid()), (MIXED, mixed())] {
        let blank = ShardCircuit::new(params, None).expect("fits").sheet;
        assert_eq!(sheet.on, blank.on);
        assert_eq!(sheet.fixed, blank.fixed);
        assert_eq!(sheet.copies, blank.copies);
    }
}

#[test]
fn agrees_with_mock_prover() {
    let (sheet, instances) = valid();
    let checker = Checker::new();
    let run = |sheet: &Sheet, instances: &[Fr]| {
        let circuit = ShardCircuit { sheet: sheet.clone() };
        let prover = MockProver::run(TINY.k, &circuit, vec![instances.to_vec()]).expect("runs");
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

/// P-6.4 to P-6.7, from the text alone.
#[test]
fn streams_are_those_of_the_text() {
    let (_, instances) = valid();
    let power = |bits: u64| Fr::from(2).pow([bits]);
    let x = instances[2];
    let take = |[c, y, p]: [Fr; 3], elements: &[Fr], tag: Fr| {
        let mut inputs = [Fr::ZERO; 8];
        inputs[0] = c;
        inputs[1..=elements.len()].copy_from_slice(elements);
        inputs[7] = tag;
        let mut next = [poseidon::hash8(&inputs), y, p];
        for element in elements {
            next[1] += next[2] * element;
            next[2] *= x;
        }
        next
    };
    let record = |head: [u64; 4], amount: u64, address: Fr, u: BigUint, v: BigUint| {
        let [kind, code, token, index] = head;
        let head = Fr::from(kind + 8 * code + 64 * token) + Fr::from(index) * power(22);
        let cut = |value: &BigUint, bits: u64| {
            let high = value >> bits;
            [field::reduce(&(value - (&high << bits))), field::reduce(&high)]
        };
        let ([u_low, u_high], [v_low, v_high]) = (cut(&u, 88), cut(&v, 82));
        [
            head + Fr::from(amount) * power(55),
            address + u_low * power(160),
            u_high + v_low * power(166),
            v_high,
        ]
    };
    let new = Entry::deposit_new();
    let alice = account(1, 3);
    let made = fresh(1, 9);
    let zero = BigUint::ZERO;
    let records = [
        record([1, 0, 1, NEXT], 5_000, new.address, new.u, new.v),
        record([5, 0, 1, ALICE], 700_001, alice[5], zero.clone(), zero),
        record(
            [6, 0, 1, FREE],
            0,
            made[5],
            field::to_integer(&made[3]),
            field::to_integer(&made[4]),
        ),
    ];
    let mut a = [instances[4], instances[5], instances[6]];
    for elements in &records {
        a = take(a, elements, poseidon::tag_stream_a());
    }
    assert_eq!(a, instances[11..14]);
    let words = [Plan::default(), withdrawal(), creation()].map(|plan| field::to_integer(&word(&plan)));
    let high = &words[2] >> 49u32;
    let low = &words[2] - (&high << 49u32);
    let first = &words[0] + (&words[1] << 99u32) + (low << 198u32) + (BigUint::from(1u32) << 247u32);
    let b = [instances[7], instances[8], instances[9]];
    let b = take(
        b,
        &[field::reduce(&first), field::reduce(&high)],
        poseidon::tag_stream_b(),
    );
    assert_eq!(b, instances[14..17]);
}

#[test]
fn sizes_are_refused_by_name() {
    let new =
        |k, shape, input: Option<&ShardInput>| ShardCircuit::new(ShardParams { k, shape }, input).map(|_| ());
    for (places, rooms) in [(0, 1), (7, 1), (5, 0), (5, 2)] {
        let shape = Shape { places, rooms };
        let refused = ShardCircuitError::Shape(ShapeError(shape));
        assert_eq!(new(15, shape, None), Err(refused));
    }
    assert!(matches!(
        new(14, TINY.shape, None),
        Err(ShardCircuitError::Rows {
            shape: Shape { places: 5, rooms: 1 },
            k: 14,
            ..
        })
    ));
}

#[test]
fn inputs_of_another_shape_are_refused_by_name() {
    let path = [[Fr::ZERO; 7]; rules::tree::DEPTH];
    let group = |has_room: bool| GroupWitness {
        room: has_room.then(|| RoomWitness::idle(&path)),
        places: std::array::from_fn(|_| PlaceWitness::no_op(&path)),
    };
    let state = RunningState::initial(Fr::ZERO);
    let new = |rooms: &[bool]| {
        let input = ShardInput {
            rollup_id: rollup(),
            time: TIME,
            x: Fr::ZERO,
            before: state,
            after: state,
            groups: rooms.iter().copied().map(group).collect(),
        };
        ShardCircuit::new(MIXED, Some(&input)).map(|_| ())
    };
    let expected = MIXED.shape;
    for (rooms, found) in [
        (vec![], Shape { places: 0, rooms: 0 }),
        (vec![true, true, false], Shape { places: 15, rooms: 2 }),
        (vec![true, false, false, false], Shape { places: 20, rooms: 1 }),
        (vec![true; 4], Shape { places: 20, rooms: 4 }),
    ] {
        let refused = ShardCircuitError::Input { expected, found };
        assert_eq!(new(&rooms), Err(refused));
    }
    let refused = ShardCircuitError::RoomAfterNone { group: 2 };
    assert_eq!(new(&[true, false, true, false]), Err(refused));
}

#[test]
fn the_shapes_of_the_presets_fit() {
    for preset in preset::ALL {
        ShardCircuit::new(preset.shard, None).unwrap();
    }
}

#[test]
fn cells_are_within_the_budget() {
    let rows = |places, rooms| {
        let shape = Shape { places, rooms };
        ShardCircuit::new(ShardParams { k: 17, shape }, None).expect("fits")
    };
    let [one, two] = [rows(10, 1), rows(10, 2)];
    let alone = rows(5, 1);
    let [room, group] = [
        [two.rows().lanes - one.rows().lanes, two.rows().z - one.rows().z],
        [
            one.rows().lanes - alone.rows().lanes,
            one.rows().z - alone.rows().z,
        ],
    ];
    let cells = |[lanes, z]: [usize; 2]| lanes.max(z) * one.rows().columns;
    let sheet = &alone.sheet;
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
    let costs = json!({
        "columns": one.rows().columns,
        "room_rows_of_lanes": room[0],
        "room_rows_of_z": room[1],
        "room_cells": cells(room),
        "group_without_room_rows_of_lanes": group[0],
        "group_without_room_rows_of_z": group[1],
        "place_cells": cells(group) / 5,
        "tiny_rows_of_lanes": alone.rows().lanes,
        "tiny_rows_of_z": alone.rows().z,
        "tiny_rows_of_z_by_clause": parts,
    });
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/shard.json", &costs);
    let scalars = parts["P-5.4: double-scalar multiplication"] / 5;
    let place = cells(group) / 5;
    let quoted = [place, place / one.rows().columns, scalars, cells(room)];
    golden::quotes(
        "ARCHITECTURE.md",
        quoted.map(|number| golden::thousands(number as u64)),
    );
    // P-16.2: what version 1 took for a transfer, and two thirds of it.
    assert!(place <= 22_856, "{group:?}");
    assert!(3 * cells(room) <= 2 * 22_856, "{room:?}");
}
