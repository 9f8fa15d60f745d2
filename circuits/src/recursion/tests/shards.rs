//! Real shard proofs of the smallest preset, and what a child costs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use halo2_proofs::{plonk::ProvingKey, poly::kzg::commitment::ParamsKZG};
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use snark_verifier_sdk::halo2::gen_proof_shplonk;

use super::checker::Checker;
use crate::{
    aggregation::ChildProof,
    plonk::{VerifyingKey, native::accumulate},
    preset::{self, TINY},
    recursion::{RecursionCircuit, circuit::read},
    shard::ShardCircuit,
    stand_in::{opening_key, placeholder, shard_key},
    verify::decide,
};
use halo2_proofs::plonk::keygen_pk2;
use rules::statement::root_statement;
use rules::{
    batch,
    operation::RollupId,
    sample::{Draw, Mix, Sample, SampleConfig},
    shards::shards,
};
use srs::development;

struct Keys {
    params: ParamsKZG<Bn256>,
    pk: ProvingKey<G1Affine>,
    key: VerifyingKey,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let params = development(TINY.shard.k, true, &|_| ()).unwrap().params;
        let circuit = ShardCircuit::new(TINY.shard, None).unwrap();
        let pk = keygen_pk2(&params, &circuit, true).unwrap();
        let key = shard_key(pk.get_vk());
        Keys { params, pk, key }
    })
}

/// The shards of a batch that fills one and a half, after one that made accounts.
fn prove() -> Vec<ChildProof> {
    let config = SampleConfig {
        seed: 3,
        users: 4,
        tokens: 2,
    };
    let rollup_id = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };
    let mut sample = Sample::new(config);
    let draw = Draw {
        shape: TINY.shard.shape,
        queued: 8,
        signed: 0,
        mix: Mix::All,
    };
    sample.batch(rollup_id, 1_800_000_000, draw);
    let mut state = sample.state().clone();
    let draw = Draw {
        queued: 2,
        signed: 7,
        ..draw
    };
    let batch = sample.batch(rollup_id, 1_800_000_000, draw);
    let executed = batch::execute(&mut state, &batch).unwrap();
    let inputs = shards(&batch, &executed, TINY.shard.shape, 2).unwrap().shards;
    let Keys { params, pk, .. } = keys();
    inputs
        .iter()
        .map(|input| {
            let circuit = ShardCircuit::new(TINY.shard, Some(input)).unwrap();
            let instances = input.instances();
            ChildProof {
                proof: gen_proof_shplonk(params, pk, circuit, vec![instances.clone()], None),
                instances,
            }
        })
        .collect()
}

#[test]
fn two_shards_are_accepted() {
    let key = &keys().key;
    let children = prove();
    for child in &children {
        assert_eq!(key.verify(&child.instances, &child.proof), Ok(()));
    }
    let shape = &key.shape;
    let accumulator = accumulate(shape, &read(shape, &children).unwrap()).unwrap();
    assert_eq!(decide(&opening_key(), &accumulator), Ok(()));
    let circuit = RecursionCircuit::new(shape, &children).unwrap();
    let found = Checker::new().failures(&circuit.sheet, circuit.instances());
    assert_eq!(found, BTreeSet::new());
    let instances: Vec<&[Fr]> = children.iter().map(|child| child.instances.as_slice()).collect();
    let statement = root_statement(&instances, 2).unwrap();
    assert_eq!(circuit.instances()[8..], statement.to_instances());
}

/// The parts of ARCHITECTURE.md's table, and the labels of the layout that each adds up.
const PARTS: [(&str, &[&str]); 4] = [
    ("curve and field: lhs", &["P-8.12: lhs"]),
    (
        "curve and field: points, helper, tables, rhs",
        &[
            "P-8.10: a child's points",
            "P-8.12: the helper point",
            "P-8.11: tables of points",
            "P-8.12: rhs",
        ],
    ),
    (
        "transcript and scalars",
        &["P-8.7: a child's equation", "P-8.5: the fold"],
    ),
    (
        "constants, chain, root instances",
        &["constants", "P-8.2: the chain", "P-8.4: root instances"],
    ),
];

/// Rows for blinding, and for the other presets' larger shards.
const SPARE: usize = 256;

/// Cells by part for 1, 2 and 13 children.
#[test]
fn cells_are_within_the_budget() {
    let key = &keys().key;
    let shape = &key.shape;
    let mut costs = serde_json::json!({
        "points_of_a_proof": shape.points.total(),
        "scalars_of_a_proof": shape.scalars,
        "commitments_of_the_key": shape.commitments.len(),
    });
    let mut rows = PARTS.map(|(part, _)| format!("| {part} |"));
    let (mut all, mut each) = ("| all |".to_owned(), "| a child |".to_owned());
    for (children, most) in [(1, 400_000), (2, (1 << 19) - SPARE), (13, 3_000_000)] {
        let circuit = RecursionCircuit::new(shape, &vec![placeholder(key); children]).unwrap();
        let cells = circuit.sheet.row();
        assert!(cells <= most, "{cells} cells for {children} children");
        let by_part: BTreeMap<&str, usize> = circuit.cells().into_iter().collect();
        let mut counted = 0;
        for (row, (_, labels)) in rows.iter_mut().zip(PARTS) {
            let sum = labels.iter().map(|label| by_part[label]).sum::<usize>();
            *row += &format!(" {} |", golden::thousands(sum as u64));
            counted += sum;
        }
        assert_eq!(counted, cells, "every cell has its place in the table");
        all += &format!(" {} |", golden::thousands(cells as u64));
        each += &format!(" {} |", golden::thousands((cells / children) as u64));
        costs[format!("cells_of_{children}_children")] = serde_json::json!(by_part);
    }
    // The other presets' shards have the same proofs, but for their rows.
    for preset in preset::ALL {
        let circuit = RecursionCircuit::new(shape, &vec![placeholder(key); preset.children]).unwrap();
        let (cells, rows) = (circuit.sheet.row(), 1usize << preset.aggregation_k);
        println!("{}: {cells} of {rows} rows", preset.name);
        assert!(cells + SPARE <= rows, "{}: {cells} cells", preset.name);
        assert!(cells > rows / 2, "{}: half the rows would do", preset.name);
    }
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/recursion.json", &costs);
    golden::quotes("ARCHITECTURE.md", rows.into_iter().chain([all, each]));
}
