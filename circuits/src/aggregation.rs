//! N-to-1 aggregation (section 8): verifies the shard proofs of a batch under one fixed key, chains their running
//! states, folds their openings into one accumulator and exposes the root instances.
//!
//! The circuit is snark-verifier's, with the chaining added through equality constraints between the children's
//! instances. The shard key enters as constants ([`VerifierUniversality::None`]), which pins it (P-8.1).

use halo2_base::{AssignedValue, gates::circuit::CircuitBuilderStage};
use halo2curves::{bn256::Fr, ff::Field};
use serde::{Deserialize, Serialize};
use snark_verifier_sdk::{
    SHPLONK, Snark,
    halo2::aggregation::{AggregationCircuit, AggregationConfigParams, VerifierUniversality},
};

use crate::{
    manifest::AggregationShape,
    preset::Preset,
    shard::{AFTER, BEFORE, SHARD_INSTANCES},
    verify::{ShardVerifier, VerifyError},
};

/// The instances of a shard proof, in order (P-7.3).
pub const SHARD_INSTANCE_NAMES: [&str; SHARD_INSTANCES] = [
    "rollup_id",
    "time",
    "x",
    "root before",
    "C_A before",
    "y_A before",
    "p_A before",
    "C_B before",
    "y_B before",
    "p_B before",
    "root after",
    "C_A after",
    "y_A after",
    "p_A after",
    "C_B after",
    "y_B after",
    "p_B after",
];
/// The instances of a root proof, in order (P-8.4).
pub const ROOT_INSTANCES: [&str; 21] = [
    "lhs.x limb 0",
    "lhs.x limb 1",
    "lhs.x limb 2",
    "lhs.y limb 0",
    "lhs.y limb 1",
    "lhs.y limb 2",
    "rhs.x limb 0",
    "rhs.x limb 1",
    "rhs.x limb 2",
    "rhs.y limb 0",
    "rhs.y limb 1",
    "rhs.y limb 2",
    "rollup_id",
    "time",
    "x",
    "old root",
    "new root",
    "C_A",
    "y_A",
    "C_B",
    "y_B",
];
/// Instances of a root proof that hold the accumulator: they come first.
pub const ACCUMULATOR_LIMBS: usize = 12;

/// Instances that all children share: rollup_id, time, x.
pub(crate) const SHARED: usize = BEFORE;
/// Elements of a running state.
const RUNNING: usize = AFTER - BEFORE;
/// What the first child's running state begins with, its root aside (P-8.2): `C_A, y_A, p_A, C_B, y_B, p_B`.
pub(crate) const START: [Fr; RUNNING - 1] = [Fr::ZERO, Fr::ZERO, Fr::ONE, Fr::ZERO, Fr::ZERO, Fr::ONE];
/// Of the root instances after the accumulator: the instances of the first child, then those of the last.
pub(crate) const ROOT_FROM_FIRST: [usize; 4] = [0, 1, 2, BEFORE];
pub(crate) const ROOT_FROM_LAST: [usize; 5] = [AFTER, AFTER + 1, AFTER + 2, AFTER + 4, AFTER + 5];

/// Rows at the end of a column that hold no witness: blinding.
const BLINDING_ROWS: usize = 20;

/// One shard proof and its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildProof {
    /// The 17 instances of P-7.3.
    pub instances: Vec<Fr>,
    /// The proof, with Poseidon as the transcript's hash.
    pub proof: Vec<u8>,
}

/// The input of an aggregation: `N` shard proofs in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregationInput {
    /// The proofs, first shard first.
    pub children: Vec<ChildProof>,
}

/// The root instances after the accumulator's limbs (P-8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootStatement {
    /// The rollup (P-5.2).
    pub rollup_id: Fr,
    /// The batch's time, Unix seconds.
    pub time: Fr,
    /// The evaluation point (P-6.6).
    pub x: Fr,
    /// State root before the batch.
    pub old_root: Fr,
    /// State root after the batch.
    pub new_root: Fr,
    /// Commitment to stream A.
    pub c_a: Fr,
    /// Evaluation of stream A.
    pub y_a: Fr,
    /// Commitment to stream B.
    pub c_b: Fr,
    /// Evaluation of stream B.
    pub y_b: Fr,
}

/// Children that do not make one batch (P-8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not `N` children.
    #[error("{found} children, expected {expected}")]
    Count {
        /// Children given.
        found: usize,
        /// `N` of the preset.
        expected: usize,
    },
    /// A child has not 17 instances.
    #[error("child {child} has {found} instances, expected 17")]
    Instances {
        /// The child's place.
        child: usize,
        /// Its instances.
        found: usize,
    },
    /// A child is of another rollup, time or evaluation point than the first.
    #[error("{name} of child {child} is {found:?}, that of child 0 is {expected:?}")]
    Shared {
        /// The child's place.
        child: usize,
        /// The instance's name.
        name: &'static str,
        /// Its value.
        found: Fr,
        /// The first child's.
        expected: Fr,
    },
    /// The first child does not begin as a batch does.
    #[error("{name} of child 0 is {found:?}, a batch begins with {expected:?}")]
    Start {
        /// The instance's name.
        name: &'static str,
        /// Its value.
        found: Fr,
        /// What P-8.2 asks for.
        expected: Fr,
    },
    /// A child does not begin where its left neighbour ends.
    #[error("{name} of child {child} is {found:?}, its left neighbour ends with {expected:?}")]
    Link {
        /// The child's place.
        child: usize,
        /// The instance's name.
        name: &'static str,
        /// Its value.
        found: Fr,
        /// The left neighbour's.
        expected: Fr,
    },
}

/// Why no aggregation circuit was built.
#[derive(Debug, thiserror::Error)]
pub enum AggregationError {
    /// The children do not make one batch.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A child's proof does not verify.
    #[error("child {child}: {source}")]
    Child {
        /// The child's place.
        child: usize,
        /// What is wrong with it.
        source: VerifyError,
    },
}

/// Bytes that are no [`AggregationInput`].
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first byte names another version.
    #[error("aggregation input of version {found:?}, expected {INPUT_VERSION}")]
    Version {
        /// The first byte, if there is one.
        found: Option<u8>,
    },
    /// The rest does not decode.
    #[error("malformed aggregation input: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Version of the encoding of [`AggregationInput`].
const INPUT_VERSION: u8 = 1;

impl AggregationInput {
    /// A version byte, then postcard.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![INPUT_VERSION]).expect("writing to memory does not fail")
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`DecodeError`]; nothing may follow the input.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&INPUT_VERSION, rest)) => {
                let (input, rest) = postcard::take_from_bytes(rest)?;
                if rest.is_empty() {
                    Ok(input)
                } else {
                    Err(postcard::Error::DeserializeBadEncoding.into())
                }
            }
            found => Err(DecodeError::Version {
                found: found.map(|(version, _)| *version),
            }),
        }
    }
}

impl RootStatement {
    /// The nine values in the order of P-8.4.
    pub fn to_instances(self) -> [Fr; ROOT_INSTANCES.len() - ACCUMULATOR_LIMBS] {
        let Self {
            rollup_id,
            time,
            x,
            old_root,
            new_root,
            c_a,
            y_a,
            c_b,
            y_b,
        } = self;
        [rollup_id, time, x, old_root, new_root, c_a, y_a, c_b, y_b]
    }

    /// The statement of a root proof with these instances.
    ///
    /// # Errors
    /// [`VerifyError::InstanceCount`] when there are not 21.
    pub fn from_instances(instances: &[Fr]) -> Result<Self, VerifyError> {
        let found = instances.len();
        if found != ROOT_INSTANCES.len() {
            return Err(VerifyError::InstanceCount {
                found,
                expected: ROOT_INSTANCES.len(),
            });
        }
        let at = |name| {
            instances[ROOT_INSTANCES
                .iter()
                .position(|other| *other == name)
                .expect("a root instance")]
        };
        Ok(Self {
            rollup_id: at("rollup_id"),
            time: at("time"),
            x: at("x"),
            old_root: at("old root"),
            new_root: at("new root"),
            c_a: at("C_A"),
            y_a: at("y_A"),
            c_b: at("C_B"),
            y_b: at("y_B"),
        })
    }
}

/// The root statement that `children` children with these instances make.
///
/// # Errors
/// [`ChainError`] naming the first child and instance that breaks P-8.2.
pub fn root_statement(instances: &[&[Fr]], children: usize) -> Result<RootStatement, ChainError> {
    if instances.len() != children || children == 0 {
        return Err(ChainError::Count {
            found: instances.len(),
            expected: children,
        });
    }
    for (child, instances) in instances.iter().enumerate() {
        if instances.len() != SHARD_INSTANCES {
            return Err(ChainError::Instances {
                child,
                found: instances.len(),
            });
        }
    }
    check_chain(instances)?;
    let (first, last) = (instances[0], instances[children - 1]);
    let [rollup_id, time, x, old_root] = ROOT_FROM_FIRST.map(|at| first[at]);
    let [new_root, c_a, y_a, c_b, y_b] = ROOT_FROM_LAST.map(|at| last[at]);
    Ok(RootStatement {
        rollup_id,
        time,
        x,
        old_root,
        new_root,
        c_a,
        y_a,
        c_b,
        y_b,
    })
}

fn check_chain(instances: &[&[Fr]]) -> Result<(), ChainError> {
    let first = instances[0];
    for (at, expected) in (BEFORE + 1..).zip(START) {
        let (name, found) = (SHARD_INSTANCE_NAMES[at], first[at]);
        if found != expected {
            return Err(ChainError::Start {
                name,
                found,
                expected,
            });
        }
    }
    for (child, pair) in (1..).zip(instances.windows(2)) {
        let [left, right] = [pair[0], pair[1]];
        for at in 0..SHARED {
            let (name, found, expected) = (SHARD_INSTANCE_NAMES[at], right[at], left[at]);
            if found != expected {
                return Err(ChainError::Shared {
                    child,
                    name,
                    found,
                    expected,
                });
            }
        }
        for at in 0..RUNNING {
            let (name, found, expected) = (
                SHARD_INSTANCE_NAMES[BEFORE + at],
                right[BEFORE + at],
                left[AFTER + at],
            );
            if found != expected {
                return Err(ChainError::Link {
                    child,
                    name,
                    found,
                    expected,
                });
            }
        }
    }
    Ok(())
}

/// The circuit that keys are generated for. Its witness is a stand-in that satisfies all constraints but no pairing.
/// Its columns are chosen by its cells; read them and, after key generation, the break points with [`shape`].
pub fn keygen_circuit(preset: &Preset, shard: &ShardVerifier) -> AggregationCircuit {
    let children = vec![shard.placeholder(); preset.children];
    let params = AggregationConfigParams {
        degree: preset.aggregation_k,
        lookup_bits: preset.lookup_bits,
        ..AggregationConfigParams::default()
    };
    let mut circuit = constrain(CircuitBuilderStage::Keygen, params, shard, &children);
    circuit.calculate_params(Some(BLINDING_ROWS));
    circuit
}

/// The circuit that a root proof is made for, and its 21 instances.
///
/// # Errors
/// [`AggregationError`] when the children do not chain, or one of them does not verify. Nothing is built before.
pub fn prover_circuit(
    preset: &Preset,
    shard: &ShardVerifier,
    shape: &AggregationShape,
    input: &AggregationInput,
) -> Result<(AggregationCircuit, Vec<Fr>), AggregationError> {
    let instances: Vec<&[Fr]> = input
        .children
        .iter()
        .map(|child| child.instances.as_slice())
        .collect();
    root_statement(&instances, preset.children)?;
    for (child, ChildProof { instances, proof }) in input.children.iter().enumerate() {
        shard
            .verify(instances, proof)
            .map_err(|source| AggregationError::Child { child, source })?;
    }
    let circuit = constrain(
        CircuitBuilderStage::Prover,
        config_params(shape),
        shard,
        &input.children,
    )
    .use_break_points(vec![shape.break_points.clone()]);
    let instances = circuit.builder.assigned_instances[0]
        .iter()
        .map(|cell| *cell.value())
        .collect();
    Ok((circuit, instances))
}

/// The shape of a circuit whose keys have been generated.
pub fn shape(circuit: &AggregationCircuit) -> AggregationShape {
    let params = &circuit.builder.config_params;
    AggregationShape {
        k: params.k as u32,
        advice_columns: params.num_advice_per_phase[0],
        lookup_columns: params.num_lookup_advice_per_phase[0],
        fixed_columns: params.num_fixed,
        lookup_bits: params
            .lookup_bits
            .expect("an aggregation circuit has a range table"),
        break_points: circuit.break_points().into_iter().next().expect("one phase"),
    }
}

/// The circuit's parameters for a shape.
pub fn config_params(shape: &AggregationShape) -> AggregationConfigParams {
    AggregationConfigParams {
        degree: shape.k,
        num_advice: shape.advice_columns,
        num_lookup_advice: shape.lookup_columns,
        num_fixed: shape.fixed_columns,
        lookup_bits: shape.lookup_bits,
    }
}

/// Verifies the children in-circuit (P-8.1, P-8.5), chains them (P-8.2) and exposes the root instances (P-8.4).
///
/// Children are neither verified nor compared natively here: what is wrong with them breaks a constraint, or the
/// accumulator's pairing. A proof that does not even decode panics in snark-verifier, so callers verify first.
fn constrain(
    stage: CircuitBuilderStage,
    params: AggregationConfigParams,
    shard: &ShardVerifier,
    children: &[ChildProof],
) -> AggregationCircuit {
    let snarks = children.iter().map(|child| {
        Snark::new(
            shard.protocol().clone(),
            vec![child.instances.clone()],
            child.proof.clone(),
        )
    });
    let none = VerifierUniversality::None;
    let mut circuit = AggregationCircuit::new::<SHPLONK>(stage, params, shard.params(), snarks, none);
    let children: Vec<Vec<AssignedValue<Fr>>> = circuit.previous_instances().clone();
    let ctx = circuit.builder.main(0);
    let first = &children[0];
    for (cell, start) in first[BEFORE + 1..AFTER].iter().zip(START) {
        let start = ctx.load_constant(start);
        ctx.constrain_equal(cell, &start);
    }
    for pair in children.windows(2) {
        let [left, right] = [&pair[0], &pair[1]];
        for (left, right) in left[..SHARED].iter().zip(&right[..SHARED]) {
            ctx.constrain_equal(left, right);
        }
        for (left, right) in left[AFTER..].iter().zip(&right[BEFORE..AFTER]) {
            ctx.constrain_equal(left, right);
        }
    }
    let last = &children[children.len() - 1];
    let exposed = &mut circuit.builder.assigned_instances[0];
    exposed.extend(ROOT_FROM_FIRST.map(|at| first[at]));
    exposed.extend(ROOT_FROM_LAST.map(|at| last[at]));
    circuit
}

#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;
