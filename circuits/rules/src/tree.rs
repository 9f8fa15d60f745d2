//! The sparse 8-ary Merkle tree of depth 11 (P-3.4).

use crate::account::AccountIndex;
use crate::poseidon::{hash8, hash8_each};
use crate::runs::Runs;
use crate::threads;
use halo2curves::bn256::Fr;
use std::sync::OnceLock;

/// Levels between a leaf and the root.
pub const DEPTH: usize = 11;
/// Children of a node.
pub const ARITY: usize = 8;

/// Nodes of a level that are hashed at once where a whole tree is made.
const BLOCK: usize = 1 << 14;

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

/// The tree. Only nodes above leaves that are not empty are kept.
#[derive(Debug, Clone)]
pub struct Tree {
    /// `levels[j]` has the nodes of height `j` that are no empty subtree's, by their number: the index of a leaf below without its
    /// last `j` digits.
    levels: [Runs<Fr>; DEPTH],
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
    /// `levels[j]` has new nodes of height `j` beside their numbers; of a repeated number the last counts.
    levels: [Vec<(u64, Fr)>; DEPTH],
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

    /// The tree of these leaves, none of which is 0. Each node is hashed once, in parallel.
    pub(crate) fn over(leaves: Runs<Fr>) -> Self {
        let mut tree = Self::default();
        tree.levels[0] = leaves;
        for level in 0..DEPTH {
            let mut above = Runs::default();
            let mut nodes = tree.levels[level].iter().peekable();
            while nodes.peek().is_some() {
                let mut numbers = Vec::new();
                let mut children: Vec<[Fr; ARITY]> = Vec::new();
                while let Some((number, _)) = nodes.peek() {
                    if numbers.last() != Some(&(number >> 3)) {
                        if numbers.len() == BLOCK {
                            break;
                        }
                        numbers.push(number >> 3);
                        children.push([empty(level); ARITY]);
                    }
                    let (number, node) = nodes.next().expect("it was seen");
                    let siblings = children.last_mut().expect("one is there for its number");
                    siblings[number as usize % ARITY] = *node;
                }
                let hashed = hash8_each(&children);
                for (number, node) in numbers.into_iter().zip(hashed) {
                    above.insert(number, node);
                }
            }
            drop(nodes);
            match tree.levels.get_mut(level + 1) {
                Some(place) => *place = above,
                None => tree.root = above.get(0).copied().unwrap_or(empty(DEPTH)),
            }
        }
        tree
    }

    /// The root.
    pub fn root(&self) -> Fr {
        self.root
    }

    /// The leaf at `index`, 0 if it is empty.
    pub fn get(&self, index: AccountIndex) -> Fr {
        self.levels[0].get(index.get()).copied().unwrap_or(empty(0))
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
        let mut levels: [Vec<(u64, Fr)>; DEPTH] = Default::default();
        let mut changed: Vec<(u64, Fr)> = leaves.iter().map(|(index, leaf)| (index.get(), *leaf)).collect();
        changed.sort_by_key(|(number, _)| *number);
        for (level, nodes) in levels.iter_mut().enumerate() {
            let families: Vec<&[(u64, Fr)]> = changed.chunk_by(|(a, _), (b, _)| a >> 3 == b >> 3).collect();
            let children = threads::each(families.len(), |place| {
                let family = families[place];
                let mut children = self.children(level, family[0].0 >> 3);
                for (number, node) in family {
                    children[*number as usize % ARITY] = *node;
                }
                children
            });
            let numbers = families.iter().map(|family| family[0].0 >> 3);
            let above = numbers.zip(hash8_each(&children)).collect();
            *nodes = std::mem::replace(&mut changed, above);
        }
        let root = changed.first().map_or(self.root, |(_, root)| *root);
        TreeUpdate { levels, root }
    }

    /// Sets leaves one after the other, update `i` setting `leaf(i)` at `indices[i]`, and records what each update saw.
    pub fn trace(&self, indices: &[AccountIndex], leaf: impl Fn(usize) -> Fr + Sync) -> TracedUpdate {
        self.trace_leaves(indices, |seen| {
            threads::each(seen.len(), |place| leaf(seen[place]))
        })
    }

    /// The same, where `leaves` is asked once for the leaves of those updates whose leaves somebody sees.
    ///
    /// It goes level by level: once a level's nodes are known for every update, what happens below one parent is independent of
    /// what happens below others, and so are all hashes above. Nodes that nobody sees before they change again are not hashed.
    pub(crate) fn trace_leaves(
        &self,
        indices: &[AccountIndex],
        leaves: impl FnOnce(&[usize]) -> Vec<Fr>,
    ) -> TracedUpdate {
        let families = threads::each(DEPTH, |level| families(indices, level));
        let seen = seen_nodes(indices, &families);
        let mut levels: [Vec<(u64, Fr)>; DEPTH] = Default::default();
        let mut siblings = Vec::with_capacity(DEPTH);
        // By update, the node at this height as it leaves it, where somebody sees that.
        let mut nodes = vec![Fr::zero(); indices.len()];
        let known = places(&seen[0]);
        for (update, leaf) in known.iter().zip(leaves(&known)) {
            nodes[*update] = leaf;
        }
        let mut root = self.root;
        for (level, new) in levels.iter_mut().enumerate() {
            let walks = walks(&families[level]);
            let walked = threads::each(walks.len(), |walk| {
                let seen = [&seen[level], &seen[level + 1]].map(Vec::as_slice);
                self.walk(level, walks[walk], indices, &nodes, seen)
            });
            let mut found = vec![(0, 0); indices.len()];
            for (number, (walk, walked)) in walks.iter().zip(&walked).enumerate() {
                for (place, (_, update)) in walk.iter().enumerate() {
                    found[*update] = (number, place);
                }
                new.extend_from_slice(&walked.new);
                for (update, node) in &walked.above {
                    nodes[*update] = *node;
                    root = *node;
                }
            }
            let walked: Vec<_> = walked.into_iter().map(|walked| walked.siblings).collect();
            siblings.push((found, walked));
        }
        let paths = threads::each(indices.len(), |update| {
            std::array::from_fn(|level| {
                let (found, walked) = &siblings[level];
                let (number, place) = found[update];
                walked[number][place]
            })
        });
        TracedUpdate {
            update: TreeUpdate { levels, root },
            paths,
        }
    }

    /// Makes the updates below some parents, one after the other. `nodes` are the new nodes of height `level`, and `seen` says whose
    /// nodes of this height and of the next somebody sees.
    fn walk(
        &self,
        level: usize,
        updates: &[(u64, usize)],
        indices: &[AccountIndex],
        nodes: &[Fr],
        seen: [&[bool]; 2],
    ) -> Walked {
        let mut walked = Walked::default();
        let mut children = Vec::new();
        for family in updates.chunk_by(|(a, _), (b, _)| a == b) {
            let parent = family[0].0;
            let mut now = self.children(level, parent);
            let mut changed = [false; ARITY];
            for (_, update) in family {
                let digit = digit(indices[*update], level);
                walked.siblings.push(without(&now, digit));
                if seen[0][*update] {
                    now[digit] = nodes[*update];
                    changed[digit] = true;
                }
                if seen[1][*update] {
                    walked.above.push((*update, Fr::zero()));
                    children.push(now);
                }
            }
            let first = parent * ARITY as u64;
            let now = (first..).zip(now).zip(changed);
            walked
                .new
                .extend(now.filter_map(|(node, changed)| changed.then_some(node)));
        }
        for ((_, node), hash) in walked.above.iter_mut().zip(hash8_each(&children)) {
            *node = hash;
        }
        walked
    }

    /// Takes over an update. It must have been made from this tree as it is now.
    pub fn commit(&mut self, update: TreeUpdate) {
        self.root = update.root;
        let levels = self.levels.iter_mut().zip(update.levels).enumerate();
        threads::each_of(levels.collect(), |(height, (level, new))| {
            for (number, node) in new {
                if node == empty(height) {
                    level.remove(number);
                } else {
                    level.insert(number, node);
                }
            }
        });
    }

    fn children(&self, level: usize, parent: u64) -> [Fr; ARITY] {
        let first = parent * ARITY as u64;
        let mut children = [empty(level); ARITY];
        for (number, node) in self.levels[level].range(first..first + ARITY as u64) {
            children[(number - first) as usize] = *node;
        }
        children
    }
}

/// Where it is true.
fn places(flags: &[bool]) -> Vec<usize> {
    let places = flags.iter().enumerate();
    places.filter_map(|(place, flag)| flag.then_some(place)).collect()
}

/// Updates that one walk makes, unless a parent has more.
const WALK: usize = 256;

/// What a walk over some parents' updates finds, in the order of its updates.
#[derive(Default)]
struct Walked {
    /// For each update its siblings.
    siblings: Vec<[Fr; ARITY - 1]>,
    /// The new nodes, as they are in the end.
    new: Vec<(u64, Fr)>,
    /// For the updates whose node above somebody sees, that node.
    above: Vec<(usize, Fr)>,
}

/// The parents of the nodes of height `level` that updates go through, and the numbers of these updates: by parent, and then in
/// the updates' order.
fn families(indices: &[AccountIndex], level: usize) -> Vec<(u64, usize)> {
    let parents = indices.iter().map(|index| index.get() >> (3 * (level + 1)));
    let mut families: Vec<_> = parents.zip(0..).collect();
    families.sort_unstable();
    families
}

/// Cuts families into parts that can be walked side by side.
fn walks(families: &[(u64, usize)]) -> Vec<&[(u64, usize)]> {
    let (mut walks, mut begin, mut end) = (Vec::new(), 0, 0);
    for family in families.chunk_by(|(a, _), (b, _)| a == b) {
        end += family.len();
        if end - begin >= WALK {
            walks.push(&families[begin..end]);
            begin = end;
        }
    }
    if begin < end {
        walks.push(&families[begin..]);
    }
    walks
}

/// For each height and each of a sequence of updates, whether the node of that height above the updated leaf is seen as
/// the update leaves it: in a later path, in the final tree, or in a node above that is seen. `families` are those of each level.
fn seen_nodes(indices: &[AccountIndex], families: &[Vec<(u64, usize)>]) -> Vec<Vec<bool>> {
    let mut heights = vec![vec![false; indices.len()]; DEPTH + 1];
    if let Some(last) = heights[DEPTH].last_mut() {
        *last = true;
    }
    for (level, families) in families.iter().enumerate().rev() {
        let (below, above) = heights.split_at_mut(level + 1);
        for family in families.chunk_by(|(a, _), (b, _)| a == b) {
            // The child that the parent's next update goes through. That update has every other child in its path.
            let mut next = None;
            for (_, update) in family.iter().rev() {
                let child = digit(indices[*update], level);
                below[level][*update] = next != Some(child) || above[0][*update];
                next = Some(child);
            }
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
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;
    use std::collections::BTreeMap;

    fn index(value: u64) -> AccountIndex {
        AccountIndex::new(value).unwrap()
    }

    /// The root of these leaves, by the definition alone.
    fn naive(leaves: &BTreeMap<u64, Fr>, height: usize, number: u64) -> Fr {
        let below = |height: usize, number: u64| (number << (3 * height))..((number + 1) << (3 * height));
        if leaves.range(below(height, number)).next().is_none() {
            return empty(height);
        }
        match height {
            0 => leaves[&number],
            _ => hash8(&std::array::from_fn(|child| {
                naive(leaves, height - 1, number * 8 + child as u64)
            })),
        }
    }

    #[test]
    fn whatever_comes_and_goes_it_is_the_tree_of_what_is_there() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        for round in 0..12 {
            let mut leaves = Vec::new();
            for _ in 0..rng.gen_range(0..60) {
                // Crowded places and lonely ones; every third leaf goes.
                let bits = [4, 10, 33][rng.gen_range(0..3)];
                let place = rng.gen_range(0..1u64 << bits);
                let leaf = Fr::from(if rng.gen_ratio(1, 3) { 0 } else { rng.r#gen() });
                leaves.push((index(place), leaf));
            }
            let before = (tree.clone(), model.clone());
            for (place, leaf) in &leaves {
                match *leaf == Fr::zero() {
                    true => drop(model.remove(&place.get())),
                    false => drop(model.insert(place.get(), *leaf)),
                }
            }
            let update = tree.update(&leaves);
            let indices: Vec<_> = leaves.iter().map(|(place, _)| *place).collect();
            let traced = tree.trace(&indices, |i| leaves[i].1).update;
            assert_eq!(update.root(), traced.root());
            tree.commit(if round % 2 == 0 { update } else { traced });
            assert_eq!(tree.root(), naive(&model, DEPTH, 0), "round {round}");
            let mut runs = Runs::default();
            for (place, leaf) in &model {
                runs.insert(*place, *leaf);
            }
            let made = Tree::over(runs);
            assert_eq!(made.root(), tree.root());
            assert!(made.levels == tree.levels, "it keeps what is no longer there");
            // And back again.
            let undo: Vec<_> = indices
                .iter()
                .map(|place| (*place, before.0.get(*place)))
                .collect();
            let mut undone = tree.clone();
            undone.commit(tree.update(&undo));
            assert!(undone.root() == before.0.root() && undone.levels == before.0.levels);
        }
        assert!(model.len() > 20);
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
        assert!(committed.levels == sequence.levels);
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
