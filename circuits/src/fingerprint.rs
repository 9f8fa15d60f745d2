//! What circuits and their keys are known by. A circuit's is a digest of everything that fixes it: its constraint system and all that synthesis fixes (selectors, fixed
//! cells, copies). It costs one synthesis, no commitment, so a cache of keys can be trusted to belong to the code that reads it.

use std::fmt::Write as _;

use halo2_proofs::{
    circuit::Value,
    plonk::{
        Advice, Any, Assigned, Assignment, Challenge, Circuit, Column, ConstraintSystem, Error, Fixed,
        FloorPlanner, Instance, Selector, VerifyingKey,
    },
};
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::PrimeField,
};

use rules::digest::Digest;

/// The digest of a circuit of `2^k` rows.
///
/// # Errors
/// What the circuit's synthesis returns.
pub fn fingerprint<C: Circuit<Fr>>(k: u32, circuit: &C) -> Result<Digest, Error> {
    let mut cs = ConstraintSystem::default();
    let config = C::configure_with_params(&mut cs, circuit.params());
    let mut recorder = Recorder {
        hasher: blake3::Hasher::new_derive_key("zk-rollup-prover/circuit/v1"),
        buffer: vec![],
    };
    let mut description = String::new();
    write!(description, "{k} {:?}", cs.pinned()).expect("writing to a string does not fail");
    recorder.record(0, &[description.len() as u64], description.as_bytes());
    C::FloorPlanner::synthesize(&mut recorder, circuit, config, cs.constants().clone())?;
    recorder.hasher.update(&recorder.buffer);
    Ok(Digest(*recorder.hasher.finalize().as_bytes()))
}

/// The digest of a verifying key: the value that halo2 puts first into every transcript under it, 32 bytes big endian.
/// It is a hash of the gates, the columns and all commitments of the key.
pub fn vk_digest(vk: &VerifyingKey<G1Affine>) -> Digest {
    let mut bytes = vk.transcript_repr().to_repr();
    bytes.reverse();
    Digest(bytes)
}

/// Hashes what an assignment fixes; advice is not looked at.
struct Recorder {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

const BUFFER_BYTES: usize = 1 << 16;

impl Recorder {
    /// Each kind of record has a fixed number of `numbers`, and bytes whose length follows from them.
    fn record(&mut self, kind: u8, numbers: &[u64], bytes: &[u8]) {
        self.buffer.push(kind);
        for number in numbers {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn column(column: Column<Any>) -> u64 {
        let kind = match column.column_type() {
            Any::Advice(_) => 0,
            Any::Fixed => 1,
            Any::Instance => 2,
        };
        kind << 32 | column.index() as u64
    }
}

impl Assignment<Fr> for Recorder {
    fn enter_region<NR: Into<String>, N: FnOnce() -> NR>(&mut self, _: N) {}

    fn annotate_column<A: FnOnce() -> AR, AR: Into<String>>(&mut self, _: A, _: Column<Any>) {}

    fn exit_region(&mut self) {}

    fn enable_selector<A: FnOnce() -> AR, AR: Into<String>>(
        &mut self,
        _: A,
        selector: &Selector,
        row: usize,
    ) -> Result<(), Error> {
        // A selector's index shows in its Debug form only.
        let name = format!("{selector:?}");
        self.record(1, &[row as u64, name.len() as u64], name.as_bytes());
        Ok(())
    }

    fn query_instance(&self, _: Column<Instance>, _: usize) -> Result<Value<Fr>, Error> {
        Ok(Value::unknown())
    }

    fn assign_advice<'v>(
        &mut self,
        _: Column<Advice>,
        _: usize,
        _: Value<Assigned<Fr>>,
    ) -> Value<&'v Assigned<Fr>> {
        Value::unknown()
    }

    fn assign_fixed(&mut self, column: Column<Fixed>, row: usize, to: Assigned<Fr>) {
        self.record(2, &[column.index() as u64, row as u64], &to.evaluate().to_repr());
    }

    fn copy(
        &mut self,
        left_column: Column<Any>,
        left_row: usize,
        right_column: Column<Any>,
        right_row: usize,
    ) {
        let ends = [
            Self::column(left_column),
            left_row as u64,
            Self::column(right_column),
            right_row as u64,
        ];
        self.record(3, &ends, &[]);
    }

    fn fill_from_row(
        &mut self,
        column: Column<Fixed>,
        row: usize,
        to: Value<Assigned<Fr>>,
    ) -> Result<(), Error> {
        let mut filler = None;
        to.map(|to| filler = Some(to.evaluate().to_repr()));
        let filler = filler.ok_or(Error::Synthesis)?;
        self.record(4, &[column.index() as u64, row as u64], &filler);
        Ok(())
    }

    fn get_challenge(&self, _: Challenge) -> Value<Fr> {
        Value::unknown()
    }

    fn push_namespace<NR: Into<String>, N: FnOnce() -> NR>(&mut self, _: N) {}

    fn pop_namespace(&mut self, _: Option<String>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2_proofs::{
        circuit::{Layouter, SimpleFloorPlanner},
        plonk::Expression,
        poly::Rotation,
    };

    /// What a circuit of two cells is made of.
    #[derive(Clone, Debug, Default)]
    struct Parts {
        second_gate: bool,
        constant: u64,
        row: usize,
        fixed: u64,
        is_copied: bool,
        witness: u64,
    }

    struct Example(Parts);

    impl Circuit<Fr> for Example {
        type Config = (Column<Advice>, Column<Fixed>, Selector);
        type FloorPlanner = SimpleFloorPlanner;
        type Params = Parts;

        fn params(&self) -> Parts {
            self.0.clone()
        }

        fn without_witnesses(&self) -> Self {
            Self(self.0.clone())
        }

        fn configure_with_params(meta: &mut ConstraintSystem<Fr>, parts: Parts) -> Self::Config {
            let (advice, fixed, selector) = (meta.advice_column(), meta.fixed_column(), meta.selector());
            meta.enable_equality(advice);
            meta.create_gate("first", |meta| {
                let here = meta.query_advice(advice, Rotation::cur());
                let constant = Expression::Constant(Fr::from(parts.constant));
                let product = here * (meta.query_fixed(fixed, Rotation::cur()) - constant);
                vec![meta.query_selector(selector) * product]
            });
            if parts.second_gate {
                meta.create_gate("second", |meta| {
                    vec![meta.query_selector(selector) * meta.query_advice(advice, Rotation::next())]
                });
            }
            (advice, fixed, selector)
        }

        fn configure(meta: &mut ConstraintSystem<Fr>) -> Self::Config {
            Self::configure_with_params(meta, Parts::default())
        }

        fn synthesize(&self, config: Self::Config, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
            let ((advice, fixed, selector), parts) = (config, &self.0);
            layouter.assign_region(
                || "all",
                |mut region| {
                    selector.enable(&mut region, parts.row)?;
                    region.assign_fixed(fixed, 0, Fr::from(parts.fixed));
                    let value = Value::known(Fr::from(parts.witness));
                    let [first, second] = [0, 1].map(|row| region.assign_advice(advice, row, value).cell());
                    if parts.is_copied {
                        region.constrain_equal(first, second);
                    }
                    Ok(())
                },
            )
        }
    }

    /// A key that was made before a constraint came would still prove: its circuit has to have another name.
    #[test]
    fn a_change_of_anything_but_the_witness_is_another_circuit() {
        let of = |k, parts: &Parts| fingerprint(k, &Example(parts.clone())).expect("synthesis has no errors");
        let parts = Parts::default();
        let digest = of(4, &parts);
        let other_witness = Parts {
            witness: 5,
            ..parts.clone()
        };
        assert_eq!(of(4, &other_witness), digest);
        assert_ne!(of(5, &parts), digest, "k");
        for other in [
            Parts {
                second_gate: true,
                ..parts.clone()
            },
            Parts {
                constant: 1,
                ..parts.clone()
            },
            Parts {
                row: 1,
                ..parts.clone()
            },
            Parts {
                fixed: 1,
                ..parts.clone()
            },
            Parts {
                is_copied: true,
                ..parts.clone()
            },
        ] {
            assert_ne!(of(4, &other), digest, "{other:?}");
        }
    }
}
