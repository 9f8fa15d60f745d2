//! The sparse 8-ary Merkle tree of depth 11 (P-3.4).

use crate::account::AccountIndex;
use crate::poseidon::hash8;
use crate::threads;
use halo2curves::bn256::Fr;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Levels between a leaf and the root.
pub const DEPTH: usize = 11;
/// Children of a node.
pub const ARITY: usize = 8;

/// The siblings on the way from a leaf to the root: level 0 first; at each level the seven other children in child
/// order.
pub type Path = [[Fr; ARITY - 1]; DEPTH];

/// The root of the empty subtree of height `height`, `0 … 11` (P-3.4).
///
/// # Panics
/// On a height above [`DEPTH`].
pub fn empty(height: usize) -> Fr {
    static EMPTY: OnceLock<[Fr; DEPTH + 1]> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let mut roots = [Fr::zero(); DEPTH + 1];
        (0..DEPTH).for_each(|height| roots[height + 1] = hash8(&[roots[height]; ARITY]));
        roots
    })[height]
}

/// The child that digit `level` of `index` chooses (P-3.4).
pub fn digit(index: AccountIndex, level: usize) -> usize {
    (index.get() >> (3 * level)) as usize % ARITY
}

/// The root of the tree that has `leaf` at `index` beside the siblings of `path`.
pub fn root_of(index: AccountIndex, leaf: Fr, path: &Path) -> Fr {
    path.iter().enumerate().fold(leaf, |node, (level, siblings)| {
        hash8(&join(siblings, digit(index, level), node))
    })
}

/// The eight children of a node of which one is `own`, at place `digit`.
pub fn join(siblings: &[Fr; ARITY - 1], digit: usize, own: Fr) -> [Fr; ARITY] {
    std::array::from_fn(|child| match child.cmp(&digit) {
        std::cmp::Ordering::Less => siblings[child],
        std::cmp::Ordering::Equal => own,
        std::cmp::Ordering::Greater => siblings[child - 1],
    })
}

fn without(children: &[Fr; ARITY], digit: usize) -> [Fr; ARITY - 1] {
    std::array::from_fn(|child| children[if child < digit { child } else { child + 1 }])
}

/// The children of the nodes of one level, by the node's number: the index without the digits up to the level.
type Level = HashMap<u64, [Fr; ARITY]>;

/// The tree. Only nodes above leaves that were set are kept.
#[derive(Debug, Clone)]
pub struct Tree {
    /// `levels[j]` has the children at level `j`; `levels[0]` has the leaves.
    levels: [Level; DEPTH],
    root: Fr,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            levels: Default::default(),
            root: empty(DEPTH),
        }
    }
}

/// New nodes over a [`Tree`] that is not changed until [`Tree::commit`].
#[derive(Debug)]
pub struct TreeUpdate {
    levels: [Level; DEPTH],
    root: Fr,
}

impl TreeUpdate {
    /// The root after the update.
    pub fn root(&self) -> Fr {
        self.root
    }
}

/// A sequence of updates and what each of them saw.
#[derive(Debug)]
pub struct TracedUpdate {
    /// The new nodes.
    pub update: TreeUpdate,
    /// For each update its path. The update itself changes no sibling, so it is the path before and after.
    pub paths: Vec<Path>,
}

impl Tree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The root.
    pub fn root(&self) -> Fr {
        self.root
    }

    /// The leaf at `index`, 0 if it is empty.
    pub fn get(&self, index: AccountIndex) -> Fr {
        self.children(0, index.get() >> 3)[digit(index, 0)]
    }

    /// The siblings of `index`.
    pub fn path(&self, index: AccountIndex) -> Path {
        std::array::from_fn(|level| {
            without(
                &self.children(level, index.get() >> (3 * (level + 1))),
                digit(index, level),
            )
        })
    }

    /// Sets one leaf.
    pub fn set(&mut self, index: AccountIndex, leaf: Fr) {
        let update = self.update(&[(index, leaf)]);
        self.commit(update);
    }

    /// The nodes that setting all these leaves makes; of a repeated index the last leaf counts. Each node is hashed
    /// once, in parallel.
    pub fn update(&self, leaves: &[(AccountIndex, Fr)]) -> TreeUpdate {
        let mut levels: [Level; DEPTH] = Default::default();
        let mut changed: Vec<(u64, Fr)> = leaves.iter().map(|(index, leaf)| (index.get(), *leaf)).collect();
        for (level, nodes) in levels.iter_mut().enumerate() {
            for (number, value) in changed {
                let parent = nodes
                    .entry(number >> 3)
                    .or_insert_with(|| self.children(level, number >> 3));
                parent[number as usize % ARITY] = value;
            }
            let nodes: Vec<_> = nodes.iter().collect();
            changed = threads::each(nodes.len(), |place| {
                let (number, children) = nodes[place];
                (*number, hash8(children))
            });
        }
        let root = changed.first().map_or(self.root, |(_, root)| *root);
        TreeUpdate { levels, root }
    }

    /// Sets leaves one after the other, update `i` setting `leaf(i)` at `indices[i]`, and records what each update saw.
    ///
    /// It goes level by level: once a level's nodes are known for every update, the hashes above them are
    /// independent of each other and run in parallel. Nodes that nobody sees before they change again are not hashed.
    pub fn trace(&self, indices: &[AccountIndex], leaf: impl Fn(usize) -> Fr + Sync) -> TracedUpdate {
        let seen = seen_nodes(indices);
        let mut levels: [Level; DEPTH] = Default::default();
        let mut paths = vec![[[Fr::zero(); ARITY - 1]; DEPTH]; indices.len()];
        let mut nodes = threads::each(indices.len(), |i| if seen[0][i] { leaf(i) } else { Fr::zero() });
        for (level, overlay) in levels.iter_mut().enumerate() {
            let mut parents = Vec::with_capacity(indices.len());
            for ((index, path), node) in indices.iter().zip(&mut paths).zip(nodes) {
                let parent = index.get() >> (3 * (level + 1));
                let children = overlay
                    .entry(parent)
                    .or_insert_with(|| self.children(level, parent));
                path[level] = without(children, digit(*index, level));
                children[digit(*index, level)] = node;
                parents.push(*children);
            }
            let seen = &seen[level + 1];
            nodes = threads::each(indices.len(), |i| {
                if seen[i] { hash8(&parents[i]) } else { Fr::zero() }
            });
        }
        let root = nodes.last().copied().unwrap_or(self.root);
        TracedUpdate {
            update: TreeUpdate { levels, root },
            paths,
        }
    }

    /// Takes over an update. It must have been made from this tree as it is now.
    pub fn commit(&mut self, update: TreeUpdate) {
        self.root = update.root;
        self.levels
            .iter_mut()
            .zip(update.levels)
            .for_each(|(level, new)| level.extend(new));
    }

    fn children(&self, level: usize, parent: u64) -> [Fr; ARITY] {
        self.levels[level]
            .get(&parent)
            .copied()
            .unwrap_or([empty(level); ARITY])
    }
}

/// For each height and each of a sequence of updates, whether the node of that height above the updated leaf is seen as
/// the update leaves it: in a later path, in the final tree, or in a node above that is seen.
fn seen_nodes(indices: &[AccountIndex]) -> Vec<Vec<bool>> {
    let mut heights = vec![vec![false; indices.len()]; DEPTH + 1];
    if let Some(last) = heights[DEPTH].last_mut() {
        *last = true;
    }
    for level in (0..DEPTH).rev() {
        // By parent, the child that its next update goes through. That update has every other child in its path.
        let mut next_child = HashMap::new();
        for (i, index) in indices.iter().enumerate().rev() {
            let child = digit(*index, level);
            let next = next_child.insert(index.get() >> (3 * (level + 1)), child);
            heights[level][i] = next != Some(child) || heights[level + 1][i];
        }
    }
    heights
}

/// How a [`Path`] is serialized: the 32 big-endian bytes of each sibling, level 0 first.
pub(crate) mod path_bytes {
    use super::{ARITY, DEPTH, Path};
    use crate::field;
    use halo2curves::bn256::Fr;
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    const BYTES: usize = DEPTH * (ARITY - 1) * 32;

    struct PathBytes;

    impl Visitor<'_> for PathBytes {
        type Value = Path;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "the {BYTES} bytes of a path")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Path, E> {
            if bytes.len() != BYTES {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            let mut path = [[Fr::zero(); ARITY - 1]; DEPTH];
            for (sibling, chunk) in path.iter_mut().flatten().zip(bytes.chunks_exact(32)) {
                let word = <&[u8; 32]>::try_from(chunk).map_err(E::custom)?;
                *sibling = field::from_be(word).map_err(E::custom)?;
            }
            Ok(path)
        }
    }

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; BYTES];
        for (chunk, sibling) in bytes.chunks_exact_mut(32).zip(path.iter().flatten()) {
            chunk.copy_from_slice(&field::to_be(sibling));
        }
        serializer.serialize_bytes(&bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Path, D::Error> {
        deserializer.deserialize_bytes(PathBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(value: u64) -> AccountIndex {
        AccountIndex::new(value).unwrap()
    }

    #[test]
    fn paths_lead_to_the_root() {
        let mut tree = Tree::new();
        let places = [0, 1, 7, 8, 65_536, (1 << 33) - 1];
        for (number, place) in places.into_iter().enumerate() {
            tree.set(index(place), Fr::from(number as u64 + 1));
        }
        for (number, place) in places.into_iter().enumerate() {
            let leaf = Fr::from(number as u64 + 1);
            assert_eq!(tree.get(index(place)), leaf);
            let path = tree.path(index(place));
            assert_eq!(root_of(index(place), leaf, &path), tree.root());
            assert_ne!(root_of(index(place), Fr::from(99), &path), tree.root());
        }
        let empty_place = index(12_345_678);
        assert_eq!(
            root_of(empty_place, Fr::zero(), &tree.path(empty_place)),
            tree.root()
        );
    }

    #[test]
    fn one_update_equals_its_sequence() {
        let mut base = Tree::new();
        base.set(index(3), Fr::from(3));
        let leaves: Vec<_> = [(3, 30), (4, 40), (3, 31), (70_000, 5), (4, 0), (70_001, 6)]
            .map(|(place, leaf)| (index(place), Fr::from(leaf)))
            .to_vec();
        let indices: Vec<_> = leaves.iter().map(|(place, _)| *place).collect();
        let traced = base.trace(&indices, |i| leaves[i].1);
        let mut sequence = base.clone();
        for (step, (place, leaf)) in leaves.iter().enumerate() {
            assert_eq!(sequence.path(*place), traced.paths[step]);
            sequence.set(*place, *leaf);
            assert_eq!(sequence.path(*place), traced.paths[step]);
        }
        assert_eq!(base.update(&leaves).root(), sequence.root());
        let mut committed = base.clone();
        committed.commit(traced.update);
        assert_eq!(committed.root(), sequence.root());
        assert_eq!(committed.levels, sequence.levels);
        assert_eq!(committed.path(index(5)), sequence.path(index(5)));
    }

    #[test]
    fn the_empty_tree_is_the_empty_subtree_of_full_height() {
        assert_eq!(Tree::new().root(), empty(DEPTH));
        assert_eq!(Tree::new().update(&[]).root(), empty(DEPTH));
        let mut tree = Tree::new();
        tree.set(index(9), Fr::one());
        tree.set(index(9), Fr::zero());
        assert_eq!(tree.root(), empty(DEPTH));
    }
}
