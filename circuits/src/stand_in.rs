//! A stand-in for the shard circuit, small enough to aggregate in a test.

use std::sync::OnceLock;

use halo2_proofs::{
    circuit::{Layouter, SimpleFloorPlanner, Value},
    plonk::{self, Advice, Circuit, Column, ConstraintSystem, Error, Instance, Selector},
    poly::Rotation,
};
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::Field,
};

use crate::{
    aggregation::ChildProof,
    plonk::{Transcript, VerifyingKey},
};
use halo2_proofs::plonk::keygen_pk2;
use rules::statement::SHARD_INSTANCES;
use srs::{OpeningKey, development};

/// The smallest child: 17 instances, each equal to an advice cell and squared by a gate.
#[derive(Clone)]
pub(crate) struct Child;

pub(crate) const CHILD_K: u32 = 6;

#[derive(Clone)]
pub(crate) struct ChildConfig {
    advice: [Column<Advice>; 2],
    instance: Column<Instance>,
    selector: Selector,
}

impl Circuit<Fr> for Child {
    type Config = ChildConfig;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = ();

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> ChildConfig {
        let advice = [meta.advice_column(), meta.advice_column()];
        let (instance, selector) = (meta.instance_column(), meta.selector());
        meta.enable_equality(advice[0]);
        meta.enable_equality(instance);
        meta.create_gate("b = a^2", |cells| {
            let [a, b] = advice.map(|column| cells.query_advice(column, Rotation::cur()));
            vec![cells.query_selector(selector) * (a.clone() * a - b)]
        });
        ChildConfig {
            advice,
            instance,
            selector,
        }
    }

    fn synthesize(&self, config: ChildConfig, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        let cells = layouter.assign_region(
            || "child",
            |mut region| {
                (0..SHARD_INSTANCES)
                    .map(|row| {
                        config.selector.enable(&mut region, row)?;
                        region.assign_advice(config.advice[1], row, Value::known(Fr::ZERO));
                        Ok(region
                            .assign_advice(config.advice[0], row, Value::known(Fr::ZERO))
                            .cell())
                    })
                    .collect::<Result<Vec<_>, Error>>()
            },
        )?;
        for (row, cell) in cells.into_iter().enumerate() {
            layouter.constrain_instance(cell, config.instance, row);
        }
        Ok(())
    }
}

pub(crate) fn child_vk() -> &'static plonk::VerifyingKey<G1Affine> {
    static VK: OnceLock<plonk::VerifyingKey<G1Affine>> = OnceLock::new();
    VK.get_or_init(|| {
        let srs = development(CHILD_K, true, &|_| ()).unwrap();
        let pk = keygen_pk2(&srs.params, &Child, false).unwrap();
        pk.get_vk().clone()
    })
}

pub(crate) fn child_key() -> VerifyingKey {
    shard_key(child_vk())
}

/// The key of a circuit that stands where shards do.
pub(crate) fn shard_key(vk: &plonk::VerifyingKey<G1Affine>) -> VerifyingKey {
    VerifyingKey::new(vk, SHARD_INSTANCES, Transcript::Poseidon, &opening_key())
}

/// Something of a proof's form: distinct points and scalars that prove nothing.
pub(crate) fn placeholder(key: &VerifyingKey) -> ChildProof {
    ChildProof {
        instances: vec![Fr::ZERO; key.shape.instances],
        proof: key.shape.placeholder(key.transcript),
    }
}

/// The development SRS' verifying part.
pub(crate) fn opening_key() -> OpeningKey {
    development(1, true, &|_| ()).unwrap().opening_key()
}
