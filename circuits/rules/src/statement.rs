//! What proofs state (sections 7 and 8): the instances of a shard's proof, how those of a batch's shards chain, and what the root
//! proof states. Circuits, native code and Solidity read the lists here.

use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use thiserror::Error;

/// Instances of a shard proof (P-7.3).
pub const SHARD_INSTANCES: usize = 17;
/// The first instance of the running state before: root, `C_A`, `y_A`, `p_A`, `C_B`, `y_B`, `p_B`.
pub const BEFORE: usize = 3;
/// The first instance of the running state after, in the same order.
pub const AFTER: usize = 10;

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
/// The instances of a root proof, in order (P-8.4): the accumulator's coordinates, then what [`RootStatement`] has.
pub const ROOT_INSTANCES: [&str; 17] = [
    "lhs.x low",
    "lhs.x high",
    "lhs.y low",
    "lhs.y high",
    "rhs.x low",
    "rhs.x high",
    "rhs.y low",
    "rhs.y high",
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
/// Instances of a root proof that hold the accumulator: they come first, two for each coordinate.
pub const ACCUMULATOR_LIMBS: usize = 8;
/// Bits of a coordinate in its first instance; the second has the bits above.
pub const LOW_BITS: usize = 153;
/// Bits of a coordinate's two instances together.
pub const COORDINATE_BITS: usize = 255;

/// Instances that all children share: rollup_id, time, x.
pub const SHARED: usize = BEFORE;
/// Elements of a running state.
const RUNNING: usize = AFTER - BEFORE;
/// What the first child's running state begins with, its root aside (P-8.2): `C_A, y_A, p_A, C_B, y_B, p_B`.
pub const START: [Fr; RUNNING - 1] = [Fr::ZERO, Fr::ZERO, Fr::ONE, Fr::ZERO, Fr::ZERO, Fr::ONE];
/// Of the root instances after the accumulator: the instances of the first child, then [`ROOT_FROM_LAST`].
pub const ROOT_FROM_FIRST: [usize; 4] = [0, 1, 2, BEFORE];
/// And those of the last.
pub const ROOT_FROM_LAST: [usize; 5] = [AFTER, AFTER + 1, AFTER + 2, AFTER + 4, AFTER + 5];

/// The root instances after the accumulator's limbs (P-8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootStatement {
    /// The rollup (P-5.2).
    pub rollup_id: Fr,
    /// The batch's time, Unix seconds.
    pub time: Fr,
    /// The evaluation point (P-6.9).
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

/// Too few or too many instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{found} instances, expected {expected}")]
pub struct InstanceCount {
    /// Instances given.
    pub found: usize,
    /// Instances of the proof.
    pub expected: usize,
}

/// Children that do not make one batch (P-8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
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
    /// [`InstanceCount`] when there are not 17.
    pub fn from_instances(instances: &[Fr]) -> Result<Self, InstanceCount> {
        let found = instances.len();
        let expected = ROOT_INSTANCES.len();
        if found != expected {
            return Err(InstanceCount { found, expected });
        }
        let at = |name| {
            let place = ROOT_INSTANCES.iter().position(|other| *other == name);
            instances[place.expect("a root instance")]
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
