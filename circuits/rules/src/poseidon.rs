//! Poseidon with circomlib's parameters (P-2.1), and the tags of its uses (P-2.3).
//!
//! [`Spec`] holds the plain per-round constants and the MDS matrix, from which circuits are built. [`permute`]
//! follows that data literally; [`hash8`] and [`hash5`] use an equal schedule whose partial rounds multiply by sparse
//! matrices (Poseidon paper, eprint 2019/458, appendix B). [`hash8_each`] and [`hash5_each`] hash many, in parallel, and in
//! the processor's vector lanes where the program [installed](lanes::install) a hasher that has them.

pub mod lanes;
pub mod partial;

use crate::field;
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use num_bigint::BigUint;
use std::sync::OnceLock;

/// Number of full rounds, half of them before the partial ones.
pub const FULL_ROUNDS: usize = 8;

/// One width of the permutation: `T` field elements.
#[derive(Debug, Clone)]
pub struct Spec<const T: usize> {
    /// Rounds whose S-box is applied to the whole state: 8, four before and four after the partial rounds.
    pub full_rounds: usize,
    /// Rounds whose S-box is applied to element 0 only.
    pub partial_rounds: usize,
    /// The constants added at the beginning of each of the `full_rounds + partial_rounds` rounds.
    pub round_constants: Vec<[Fr; T]>,
    /// The mix of each round: new element `i` is `Σ_j mds[i][j] · old_j`.
    pub mds: [[Fr; T]; T],
    sparse: SparseSchedule<T>,
}

impl<const T: usize> Spec<T> {
    /// Number of all rounds.
    pub fn rounds(&self) -> usize {
        self.full_rounds + self.partial_rounds
    }

    /// Whether the S-box of round `round` is applied to the whole state.
    pub fn is_full_round(&self, round: usize) -> bool {
        let half = self.full_rounds / 2;
        round < half || round >= half + self.partial_rounds
    }

    fn generate(partial_rounds: usize) -> Self {
        let mut grain = Grain::new(T, FULL_ROUNDS, partial_rounds);
        let round_constants: Vec<[Fr; T]> = (0..FULL_ROUNDS + partial_rounds)
            .map(|_| std::array::from_fn(|_| grain.next_below_modulus()))
            .collect();
        let xs: [Fr; T] = std::array::from_fn(|_| grain.next_reduced());
        let ys: [Fr; T] = std::array::from_fn(|_| grain.next_reduced());
        let mds: [[Fr; T]; T] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                Option::from((xs[i] + ys[j]).invert()).expect("the reference script's first matrix exists")
            })
        });
        let sparse = SparseSchedule::new(&round_constants, &mds, partial_rounds);
        Self {
            full_rounds: FULL_ROUNDS,
            partial_rounds,
            round_constants,
            mds,
            sparse,
        }
    }
}

/// The width of `Poseidon_8`: 63 partial rounds.
pub fn spec9() -> &'static Spec<9> {
    static SPEC: OnceLock<Spec<9>> = OnceLock::new();
    SPEC.get_or_init(|| Spec::generate(63))
}

/// The width of `Poseidon_5`: 60 partial rounds.
pub fn spec6() -> &'static Spec<6> {
    static SPEC: OnceLock<Spec<6>> = OnceLock::new();
    SPEC.get_or_init(|| Spec::generate(60))
}

/// The width of a shard proof's transcript, the least: 57 partial rounds.
pub fn spec3() -> &'static Spec<3> {
    static SPEC: OnceLock<Spec<3>> = OnceLock::new();
    SPEC.get_or_init(|| Spec::generate(57))
}

/// The permutation as P-2.1 states it: per round, add the constants, apply the S-box, multiply by the MDS matrix.
pub fn permute<const T: usize>(spec: &Spec<T>, state: &mut [Fr; T]) {
    for (round, constants) in spec.round_constants.iter().enumerate() {
        add(state, constants);
        let boxes = if spec.is_full_round(round) { T } else { 1 };
        state
            .iter_mut()
            .take(boxes)
            .for_each(|element| *element = power5(*element));
        *state = multiply(&spec.mds, state);
    }
}

/// `H = Poseidon_8` (P-2.2).
pub fn hash8(inputs: &[Fr; 8]) -> Fr {
    let mut state = [Fr::zero(); 9];
    state[1..].copy_from_slice(inputs);
    permute_sparse(spec9(), &mut state);
    state[0]
}

/// [`hash8`] of each, in parallel.
pub fn hash8_each(inputs: &[[Fr; 8]]) -> Vec<Fr> {
    lanes::each(inputs, hash8, |lanes, inputs| lanes.hash8_each(inputs))
}

/// `Poseidon_5` (P-2.2).
pub fn hash5(inputs: &[Fr; 5]) -> Fr {
    let mut state = [Fr::zero(); 6];
    state[1..].copy_from_slice(inputs);
    permute_sparse(spec6(), &mut state);
    state[0]
}

/// [`hash5`] of each, in parallel.
pub fn hash5_each(inputs: &[[Fr; 5]]) -> Vec<Fr> {
    lanes::each(inputs, hash5, |lanes, inputs| lanes.hash5_each(inputs))
}

/// The tag `"leaf"` of an account's hash (P-3.2).
pub fn tag_leaf() -> Fr {
    tag("leaf")
}

/// The tag `"transfer"` of a signed message (P-5.2).
pub fn tag_transfer() -> Fr {
    tag("transfer")
}

/// The tag `"withdraw"` of a signed message (P-5.5).
pub fn tag_withdraw() -> Fr {
    tag("withdraw")
}

/// The tag `"create"` of a signed message (P-5.6).
pub fn tag_create() -> Fr {
    tag("create")
}

/// The tag `"stream-a"` of stream A's commitment (P-6.4).
pub fn tag_stream_a() -> Fr {
    tag("stream-a")
}

/// The tag `"stream-b"` of stream B's commitment (P-6.4).
pub fn tag_stream_b() -> Fr {
    tag("stream-b")
}

fn tag(name: &str) -> Fr {
    Fr::from_u128(name.bytes().fold(0, |value, byte| value << 8 | u128::from(byte)))
}

fn power5(x: Fr) -> Fr {
    x.square().square() * x
}

fn add<const T: usize>(state: &mut [Fr; T], constants: &[Fr; T]) {
    state
        .iter_mut()
        .zip(constants)
        .for_each(|(element, constant)| *element += constant);
}

fn multiply<const T: usize>(matrix: &[[Fr; T]; T], vector: &[Fr; T]) -> [Fr; T] {
    std::array::from_fn(|i| dot(&matrix[i], vector))
}

fn dot<const T: usize>(a: &[Fr; T], b: &[Fr; T]) -> Fr {
    a.iter().zip(b).fold(Fr::zero(), |sum, (x, y)| sum + x * y)
}

/// A matrix that is the identity but for its first row and first column.
#[derive(Debug, Clone)]
struct Sparse<const T: usize> {
    row: [Fr; T],
    /// Element 0 is unused: `row[0]` is the corner.
    column: [Fr; T],
}

/// The partial rounds with their linear parts pushed towards the beginning.
///
/// A partial round's S-box leaves elements `1..T` alone, so a linear map that fixes element 0 commutes with it. Each
/// round's dense matrix is split into such a map and a sparse one, and the map joins the round before.
#[derive(Debug, Clone)]
struct SparseSchedule<const T: usize> {
    /// Added before the first partial round.
    entry_constants: [Fr; T],
    /// The dense map after `entry_constants`; it fixes element 0.
    entry_matrix: [[Fr; T]; T],
    /// Added to element 0 after the S-box of each partial round but the last.
    constants: Vec<Fr>,
    /// The mix of each partial round.
    mixes: Vec<Sparse<T>>,
}

impl<const T: usize> SparseSchedule<T> {
    fn new(round_constants: &[[Fr; T]], mds: &[[Fr; T]; T], partial_rounds: usize) -> Self {
        let half = FULL_ROUNDS / 2;
        let inverse = invert(mds);
        // A constant vector added at a round's start is pulled back through the mix before it; there, elements
        // 1..T commute with the S-box and join that round's own constants, and element 0 stays behind the S-box.
        let mut constants = Vec::with_capacity(partial_rounds - 1);
        let mut carried = round_constants[half + partial_rounds - 1];
        for round in (half..half + partial_rounds - 1).rev() {
            let pulled = multiply(&inverse, &carried);
            constants.push(pulled[0]);
            carried = round_constants[round];
            (1..T).for_each(|i| carried[i] += pulled[i]);
        }
        constants.reverse();
        // Backwards: mds · (map carried from the later round) splits into a sparse matrix times a map that fixes element 0.
        let mut mixes = Vec::with_capacity(partial_rounds);
        let mut map = identity::<T>();
        for _ in 0..partial_rounds {
            let dense = product(&map, mds);
            let (mix, rest) = split(&dense);
            mixes.push(mix);
            map = rest;
        }
        mixes.reverse();
        Self {
            entry_constants: carried,
            entry_matrix: map,
            constants,
            mixes,
        }
    }
}

fn permute_sparse<const T: usize>(spec: &Spec<T>, state: &mut [Fr; T]) {
    let half = spec.full_rounds / 2;
    let full = |state: &mut [Fr; T], constants: &[Fr; T]| {
        add(state, constants);
        state.iter_mut().for_each(|element| *element = power5(*element));
        *state = multiply(&spec.mds, state);
    };
    spec.round_constants[..half]
        .iter()
        .for_each(|constants| full(state, constants));
    let schedule = &spec.sparse;
    add(state, &schedule.entry_constants);
    *state = multiply(&schedule.entry_matrix, state);
    for (round, mix) in schedule.mixes.iter().enumerate() {
        state[0] = power5(state[0]);
        if let Some(constant) = schedule.constants.get(round) {
            state[0] += constant;
        }
        let first = state[0];
        state[0] = dot(&mix.row, state);
        (1..T).for_each(|i| state[i] += mix.column[i] * first);
    }
    spec.round_constants[half + spec.partial_rounds..]
        .iter()
        .for_each(|constants| full(state, constants));
}

/// Splits `m` into `sparse · rest`, where `rest` fixes element 0.
///
/// With `m = [a, v; w, n]` by blocks, `rest = [1, 0; 0, n]` and `sparse = [a, v n⁻¹; w, 1]`.
fn split<const T: usize>(m: &[[Fr; T]; T]) -> (Sparse<T>, [[Fr; T]; T]) {
    let mut rest = *m;
    rest[0] = std::array::from_fn(|j| if j == 0 { Fr::one() } else { Fr::zero() });
    (1..T).for_each(|i| rest[i][0] = Fr::zero());
    let inverse = invert(&rest);
    let row = std::array::from_fn(|j| {
        if j == 0 {
            m[0][0]
        } else {
            (1..T).map(|i| m[0][i] * inverse[i][j]).sum()
        }
    });
    let column = std::array::from_fn(|i| m[i][0]);
    (Sparse { row, column }, rest)
}

fn identity<const T: usize>() -> [[Fr; T]; T] {
    std::array::from_fn(|i| std::array::from_fn(|j| if i == j { Fr::one() } else { Fr::zero() }))
}

fn product<const T: usize>(a: &[[Fr; T]; T], b: &[[Fr; T]; T]) -> [[Fr; T]; T] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..T).map(|k| a[i][k] * b[k][j]).sum()))
}

/// Gauss–Jordan elimination.
fn invert<const T: usize>(matrix: &[[Fr; T]; T]) -> [[Fr; T]; T] {
    let mut left = *matrix;
    let mut right = identity::<T>();
    for pivot in 0..T {
        let row = (pivot..T)
            .find(|&row| left[row][pivot] != Fr::zero())
            .expect("MDS minors are invertible");
        left.swap(pivot, row);
        right.swap(pivot, row);
        let scale = Option::<Fr>::from(left[pivot][pivot].invert()).expect("the pivot is not zero");
        (0..T).for_each(|j| {
            left[pivot][j] *= scale;
            right[pivot][j] *= scale;
        });
        for other in (0..T).filter(|&other| other != pivot) {
            let factor = left[other][pivot];
            for j in 0..T {
                let (l, r) = (left[pivot][j] * factor, right[pivot][j] * factor);
                left[other][j] -= l;
                right[other][j] -= r;
            }
        }
    }
    right
}

/// The Grain LFSR of the Poseidon paper's reference script `generate_params_poseidon.sage`.
struct Grain {
    bits: [bool; 80],
    /// Where the oldest bit is.
    head: usize,
}

impl Grain {
    const ELEMENT_BITS: usize = 254;

    fn new(width: usize, full_rounds: usize, partial_rounds: usize) -> Self {
        let mut bits = Vec::with_capacity(80);
        let mut push = |value: usize, count: usize| {
            bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        };
        push(1, 2); // a prime field
        push(0, 4); // the S-box x^alpha
        push(Self::ELEMENT_BITS, 12);
        push(width, 12);
        push(full_rounds, 10);
        push(partial_rounds, 10);
        push((1 << 30) - 1, 30);
        let bits = bits.try_into().expect("the fields above have 80 bits");
        let mut grain = Self { bits, head: 0 };
        (0..160).for_each(|_| {
            grain.clock();
        });
        grain
    }

    fn clock(&mut self) -> bool {
        let new = [62, 51, 38, 23, 13, 0]
            .iter()
            .fold(false, |sum, tap| sum ^ self.bits[(self.head + tap) % 80]);
        self.bits[self.head] = new;
        self.head = (self.head + 1) % 80;
        new
    }

    /// Self-shrinking: of each pair of bits, the second counts when the first is set.
    fn bit(&mut self) -> bool {
        loop {
            let chosen = self.clock();
            let bit = self.clock();
            if chosen {
                return bit;
            }
        }
    }

    fn integer(&mut self) -> BigUint {
        (0..Self::ELEMENT_BITS).fold(BigUint::ZERO, |value, _| (value << 1u8) + u8::from(self.bit()))
    }

    fn next_below_modulus(&mut self) -> Fr {
        let modulus = field::modulus();
        loop {
            let value = self.integer();
            if value < modulus {
                return field::reduce(&value);
            }
        }
    }

    fn next_reduced(&mut self) -> Fr {
        field::reduce(&self.integer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::ff::Field;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn sparse_equals_plain<const T: usize>(spec: &Spec<T>) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let mut plain: [Fr; T] = std::array::from_fn(|_| Fr::random(&mut rng));
            let mut sparse = plain;
            permute(spec, &mut plain);
            permute_sparse(spec, &mut sparse);
            assert_eq!(plain, sparse);
        }
    }

    #[test]
    fn the_sparse_schedule_equals_the_plain_permutation() {
        sparse_equals_plain(spec9());
        sparse_equals_plain(spec6());
        sparse_equals_plain(spec3());
    }

    #[test]
    fn tags_are_the_big_endian_integers_of_their_names() {
        assert_eq!(tag_leaf(), Fr::from(0x6c65_6166));
        assert_ne!(tag_stream_a(), tag_stream_b());
    }
}
