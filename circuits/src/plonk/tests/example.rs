//! A circuit small enough to prove in a test: every kind of column, query and argument that a key can have.

use std::sync::OnceLock;

use halo2_proofs::{
    circuit::{Layouter, SimpleFloorPlanner, Value},
    plonk::{
        Advice, Circuit, Column, ConstraintSystem, Error, Fixed, Instance, ProvingKey, Selector, TableColumn,
        VerifyingKey,
    },
    poly::{Rotation, kzg::commitment::ParamsKZG},
};
use halo2curves::{
    bn256::{Bn256, Fr, G1Affine},
    ff::Field,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use snark_verifier_sdk::{evm::gen_evm_proof_shplonk, halo2::gen_proof_shplonk};

use crate::plonk::Shape;
use halo2_proofs::plonk::keygen_pk2;
use srs::{OpeningKey, development};

/// Instances of a proof of [`OURS`].
pub const INSTANCES: usize = 17;

/// Which key: circuits of one constraint system that differ in a fixed column, or in the number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    pub instances: usize,
    /// The fixed column's values are `factor · row + 1`.
    pub factor: u64,
}

/// The key that tests mean unless they say so.
pub const OURS: Variant = Variant {
    instances: INSTANCES,
    factor: 3,
};
/// A key of the same shape, with another commitment.
pub const FOREIGN: Variant = Variant { factor: 5, ..OURS };
/// A key of longer statements.
pub const LONG: Variant = Variant {
    instances: INSTANCES + 8,
    ..OURS
};
const VARIANTS: [Variant; 3] = [OURS, FOREIGN, LONG];

const K: u32 = 6;

/// Instances of any value; `b = a² + f(-1) a(2)`, and the pair `(c, c²)` in a table.
#[derive(Clone)]
pub struct Example {
    pub instances: Vec<Fr>,
    pub factor: u64,
}

#[derive(Clone)]
pub struct ExampleConfig {
    advice: [Column<Advice>; 3],
    fixed: Column<Fixed>,
    table: [TableColumn; 2],
    instance: Column<Instance>,
    gate: Selector,
    lookup: Selector,
}

impl Circuit<Fr> for Example {
    type Config = ExampleConfig;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = ();

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> ExampleConfig {
        let advice = [meta.advice_column(), meta.advice_column(), meta.advice_column()];
        let (fixed, instance) = (meta.fixed_column(), meta.instance_column());
        let table = [meta.lookup_table_column(), meta.lookup_table_column()];
        let (gate, lookup) = (meta.selector(), meta.complex_selector());
        advice.iter().for_each(|column| meta.enable_equality(*column));
        meta.enable_equality(fixed);
        meta.enable_equality(instance);
        let [a, b, c] = advice;
        meta.create_gate("b = a² + f(-1) a(2)", |cells| {
            let selector = cells.query_selector(gate);
            let a0 = cells.query_advice(a, Rotation::cur());
            let a2 = cells.query_advice(a, Rotation(2));
            let f = cells.query_fixed(fixed, Rotation(-1));
            let b = cells.query_advice(b, Rotation::cur());
            vec![selector * (b - a0.clone() * a0 - f * a2)]
        });
        meta.lookup("square", |cells| {
            let selector = cells.query_selector(lookup);
            let c0 = cells.query_advice(c, Rotation::cur());
            let c1 = cells.query_advice(c, Rotation(1));
            vec![(selector.clone() * c0, table[0]), (selector * c1, table[1])]
        });
        // The instance column read away from its own row.
        meta.create_gate("instances", |cells| {
            let selector = cells.query_selector(gate);
            [-1, 1].map(|row| {
                let instance = cells.query_instance(instance, Rotation(row));
                selector.clone() * (instance - cells.query_advice(a, Rotation(row)))
            })
        });
        ExampleConfig {
            advice,
            fixed,
            table,
            instance,
            gate,
            lookup,
        }
    }

    fn synthesize(&self, config: ExampleConfig, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        layouter.assign_table(
            || "squares",
            |mut table| {
                for row in 0..16 {
                    let root = Fr::from(row as u64);
                    for (column, value) in config.table.iter().zip([root, root.square()]) {
                        table.assign_cell(|| "square", *column, row, || Value::known(value))?;
                    }
                }
                Ok(())
            },
        )?;
        let cells = layouter.assign_region(
            || "example",
            |mut region| {
                let [a, b, c] = config.advice;
                let at = |row: usize| self.instances.get(row).copied().unwrap_or(Fr::ZERO);
                let fixed = |row: usize| Fr::from(self.factor * row as u64 + 1);
                let count = self.instances.len();
                let mut cells = vec![];
                for row in 0..count + 2 {
                    cells.push(region.assign_advice(a, row, Value::known(at(row))).cell());
                    region.assign_fixed(config.fixed, row, fixed(row));
                }
                for row in 1..count {
                    config.gate.enable(&mut region, row)?;
                    let value = at(row).square() + fixed(row - 1) * at(row + 2);
                    region.assign_advice(b, row, Value::known(value));
                }
                for row in (0..16).step_by(2) {
                    config.lookup.enable(&mut region, row)?;
                    let value = Fr::from(row as u64 / 2 + 3);
                    region.assign_advice(c, row, Value::known(value));
                    region.assign_advice(c, row + 1, Value::known(value.square()));
                }
                Ok(cells)
            },
        )?;
        for (row, cell) in cells.into_iter().take(self.instances.len()).enumerate() {
            layouter.constrain_instance(cell, config.instance, row);
        }
        Ok(())
    }
}

struct Keys {
    params: ParamsKZG<Bn256>,
    pk: ProvingKey<G1Affine>,
}

fn keys(variant: Variant) -> &'static Keys {
    static KEYS: [OnceLock<Keys>; VARIANTS.len()] = [const { OnceLock::new() }; VARIANTS.len()];
    let place = VARIANTS.iter().position(|other| *other == variant);
    KEYS[place.expect("a variant of the list")].get_or_init(|| {
        let params = development(K, true, &|_| ()).unwrap().params;
        let circuit = Example {
            instances: vec![Fr::ZERO; variant.instances],
            factor: variant.factor,
        };
        let pk = keygen_pk2(&params, &circuit, true).unwrap();
        Keys { params, pk }
    })
}

pub fn vk() -> &'static VerifyingKey<G1Affine> {
    keys(OURS).pk.get_vk()
}

pub fn shape() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(|| shape_of(OURS))
}

pub fn shape_of(variant: Variant) -> Shape {
    Shape::new(keys(variant).pk.get_vk(), variant.instances)
}

pub fn opening_key() -> OpeningKey {
    development(1, true, &|_| ()).unwrap().opening_key()
}

/// A valid proof of these instances for L1.
pub fn prove_evm(instances: &[Fr]) -> Vec<u8> {
    let circuit = Example {
        instances: instances.to_vec(),
        factor: OURS.factor,
    };
    let Keys { params, pk } = keys(OURS);
    gen_evm_proof_shplonk(params, pk, circuit, vec![instances.to_vec()])
}

/// A valid proof of these instances.
pub fn prove(instances: &[Fr]) -> Vec<u8> {
    prove_as(OURS, instances)
}

/// A valid proof under another key.
pub fn prove_as(variant: Variant, instances: &[Fr]) -> Vec<u8> {
    let circuit = Example {
        instances: instances.to_vec(),
        factor: variant.factor,
    };
    let Keys { params, pk } = keys(variant);
    gen_proof_shplonk(params, pk, circuit, vec![instances.to_vec()], None)
}

/// Instances that are all different.
pub fn instances(seed: u64) -> Vec<Fr> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..INSTANCES).map(|_| Fr::random(&mut rng)).collect()
}
