//! What proofs state, and how shards chain; the circuits have tests of their own.

use halo2curves::ff::Field;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use rules::{
    Fr,
    statement::{
        ACCUMULATOR_LIMBS, AFTER, BEFORE, ChainError, InstanceCount, ROOT_INSTANCES, RootStatement,
        SHARD_INSTANCE_NAMES, SHARED, START, root_statement,
    },
};

const CHILDREN: usize = 3;

/// Children that chain, with values that are all different.
fn chained() -> Vec<Vec<Fr>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut random = || Fr::random(&mut rng);
    let shared: Vec<Fr> = (0..SHARED).map(|_| random()).collect();
    let mut state: Vec<Fr> = std::iter::once(random()).chain(START).collect();
    (0..CHILDREN)
        .map(|_| {
            let next: Vec<Fr> = (BEFORE..AFTER).map(|_| random()).collect();
            let before = std::mem::replace(&mut state, next.clone());
            [shared.clone(), before, next].concat()
        })
        .collect()
}

fn statement(children: &[Vec<Fr>]) -> Result<RootStatement, ChainError> {
    let children: Vec<&[Fr]> = children.iter().map(Vec::as_slice).collect();
    root_statement(&children, CHILDREN)
}

/// The chain is refused, and why.
fn assert_refused(children: &[Vec<Fr>], expected: ChainError) {
    assert_eq!(statement(children), Err(expected));
}

#[test]
fn a_chain_makes_its_statement() {
    let children = chained();
    let statement = statement(&children).unwrap();
    let exposed = [
        vec![Fr::ZERO; ACCUMULATOR_LIMBS],
        statement.to_instances().to_vec(),
    ]
    .concat();
    assert_eq!(exposed.len(), ROOT_INSTANCES.len());
    assert_eq!(RootStatement::from_instances(&exposed), Ok(statement));
    for found in [0, 16, 18] {
        let instances = vec![Fr::ONE; found];
        let refused = InstanceCount { found, expected: 17 };
        assert_eq!(RootStatement::from_instances(&instances), Err(refused));
    }
    assert_eq!(statement.old_root, children[0][3]);
    assert_eq!(statement.new_root, children[2][10]);
    assert_eq!([statement.c_a, statement.y_a], [children[2][11], children[2][12]]);
    assert_eq!([statement.c_b, statement.y_b], [children[2][14], children[2][15]]);
}

#[test]
fn another_rollup_time_or_point_is_refused() {
    for at in 0..SHARED {
        for child in 1..CHILDREN {
            let mut children = chained();
            let expected = children[0][at];
            let found = expected + Fr::ONE;
            children[child][at] = found;
            let error = ChainError::Shared {
                child,
                name: SHARD_INSTANCE_NAMES[at],
                found,
                expected,
            };
            assert_refused(&children, error);
        }
    }
}

#[test]
fn a_batch_that_does_not_begin_at_the_start_is_refused() {
    for (at, expected) in (BEFORE + 1..AFTER).zip(START) {
        let mut children = chained();
        let found = expected + Fr::ONE;
        children[0][at] = found;
        let error = ChainError::Start {
            name: SHARD_INSTANCE_NAMES[at],
            found,
            expected,
        };
        assert_refused(&children, error);
    }
}

#[test]
fn a_broken_link_is_refused() {
    for at in BEFORE..AFTER {
        let mut children = chained();
        let expected = children[1][at];
        let found = expected + Fr::ONE;
        children[1][at] = found;
        let error = ChainError::Link {
            child: 1,
            name: SHARD_INSTANCE_NAMES[at],
            found,
            expected,
        };
        assert_refused(&children, error);
    }
}

/// The second shard does not begin at the root that the first left.
fn assert_second_is_refused(children: &[Vec<Fr>]) {
    let (found, expected) = (children[1][BEFORE], children[0][AFTER]);
    let error = ChainError::Link {
        child: 1,
        name: "root before",
        found,
        expected,
    };
    assert_refused(children, error);
}

#[test]
fn swapped_shards_are_refused() {
    let mut children = chained();
    children.swap(1, 2);
    assert_second_is_refused(&children);
}

#[test]
fn a_repeated_shard_is_refused() {
    let mut children = chained();
    children[1] = children[0].clone();
    assert_second_is_refused(&children);
}

#[test]
fn a_batch_without_its_first_shard_is_refused() {
    let mut children = chained();
    children.rotate_left(1);
    let error = statement(&children).unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::Start {
                name: "C_A before",
                ..
            }
        ),
        "{error}"
    );
    assert_refused(&children, error);
}

#[test]
fn missing_shards_and_instances_are_refused() {
    let mut children = chained();
    children.pop();
    assert_eq!(
        statement(&children),
        Err(ChainError::Count {
            found: 2,
            expected: 3
        })
    );
    assert_eq!(
        root_statement(&[], 0),
        Err(ChainError::Count {
            found: 0,
            expected: 0
        })
    );
    let mut children = chained();
    children[1].pop();
    assert_eq!(
        statement(&children),
        Err(ChainError::Instances { child: 1, found: 16 })
    );
}
