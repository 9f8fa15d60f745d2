//! What is done to a proof and its instances.

use alloy::primitives::U256;
use halo2curves::{
    bn256::{Fq, Fr, G1Affine},
    ff::{Field, PrimeField},
    group::Curve,
};
use rand::{Rng, RngCore};
use rand_chacha::ChaCha20Rng;

use crate::case::Case;

type Mutated = (String, Vec<u8>, Vec<U256>);

/// What is done to a word.
const WORD_CHANGES: usize = 9;
/// What is done to lengths.
const LENGTH_CHANGES: usize = 12;
/// What is done to a point.
const POINT_CHANGES: usize = 4;

fn modulus<F: PrimeField<Repr = [u8; 32]>>() -> U256 {
    U256::from_le_bytes((-F::ONE).to_repr()) + U256::from(1)
}

/// Mutations that are listed, one after another; later ones are random.
pub fn listed(case: &Case) -> usize {
    let words = case.instances.len() + case.proof.len() / 32;
    words * WORD_CHANGES + LENGTH_CHANGES + case.shape.points.total() * POINT_CHANGES
}

/// The mutation of that place.
pub fn mutate(case: &Case, at: usize, rng: &mut ChaCha20Rng) -> Mutated {
    let words = case.instances.len() + case.proof.len() / 32;
    let mut mutated = Words::of(case);
    let lengths = words * WORD_CHANGES;
    let points = lengths + LENGTH_CHANGES;
    let what = if at < lengths {
        mutated.change(at / WORD_CHANGES, at % WORD_CHANGES, rng)
    } else if at < points {
        return of_length(case, at - lengths);
    } else if at < listed(case) {
        let place = at - points;
        mutated.change_point(case, place / POINT_CHANGES, place % POINT_CHANGES, rng)
    } else {
        mutated.at_random(case, rng)
    };
    let (proof, instances) = mutated.finish();
    (what, proof, instances)
}

/// Instances, then the proof's words.
struct Words {
    words: Vec<U256>,
    instances: usize,
}

impl Words {
    fn of(case: &Case) -> Self {
        let proof = case.proof.chunks(32).map(U256::from_be_slice);
        Self {
            words: case.instances.iter().copied().chain(proof).collect(),
            instances: case.instances.len(),
        }
    }

    fn finish(self) -> (Vec<u8>, Vec<U256>) {
        let (instances, proof) = self.words.split_at(self.instances);
        let proof = proof.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
        (proof, instances.to_vec())
    }

    fn change(&mut self, word: usize, change: usize, rng: &mut ChaCha20Rng) -> String {
        let one = U256::from(1);
        let value = &mut self.words[word];
        *value = match change {
            0 => *value ^ one,
            1 => value.wrapping_add(one),
            2 => value.wrapping_add(modulus::<Fr>()),
            3 => value.wrapping_add(modulus::<Fq>()),
            4 => U256::ZERO,
            5 => U256::MAX,
            6 => modulus::<Fr>().wrapping_sub(*value),
            7 => *value ^ (one << rng.gen_range(0..256)),
            _ => U256::from_be_bytes::<32>(rng.r#gen()),
        };
        format!("change {change} of word {word}")
    }

    fn change_point(&mut self, case: &Case, point: usize, change: usize, rng: &mut ChaCha20Rng) -> String {
        let at = self.place(case, point);
        match change {
            // The other point with that x, the identity, another point, x and y swapped.
            0 => self.words[at + 1] = modulus::<Fq>().wrapping_sub(self.words[at + 1]),
            1 => self.words[at..at + 2].fill(U256::ZERO),
            2 => {
                let other = (G1Affine::generator() * Fr::random(rng)).to_affine();
                self.words[at] = U256::from_le_bytes(other.x.to_repr());
                self.words[at + 1] = U256::from_le_bytes(other.y.to_repr());
            }
            _ => self.words.swap(at, at + 1),
        }
        format!("change {change} of point {point}")
    }

    /// Where a point's words begin.
    fn place(&self, case: &Case, point: usize) -> usize {
        let scalars = case.scalars();
        let in_proof = match 2 * point {
            before if before < scalars.start => before,
            after => after + scalars.len(),
        };
        self.instances + in_proof
    }

    fn at_random(&mut self, case: &Case, rng: &mut ChaCha20Rng) -> String {
        let count = self.words.len();
        match rng.gen_range(0..6) {
            0 => {
                let (a, b) = (rng.gen_range(0..count), rng.gen_range(0..count));
                self.words.swap(a, b);
                format!("words {a} and {b} swapped")
            }
            1 => {
                let points = case.shape.points.total();
                let [a, b] = [0, 0].map(|_| self.place(case, rng.gen_range(0..points)));
                self.words.swap(a, b);
                self.words.swap(a + 1, b + 1);
                format!("points at {a} and {b} swapped")
            }
            2 => {
                // A scalar that is any canonical one: all of the equation runs.
                let scalars = case.scalars();
                let word = self.instances + rng.gen_range(scalars);
                self.words[word] = U256::from_le_bytes(Fr::random(rng).to_repr());
                format!("word {word} is any scalar")
            }
            3 => {
                let [word, other] = [0, 0].map(|_| rng.gen_range(0..count));
                let changes = [0, 0].map(|_| rng.gen_range(0..WORD_CHANGES));
                let first = self.change(word, changes[0], rng);
                format!("{first}, {}", self.change(other, changes[1], rng))
            }
            4 => {
                let from = rng.gen_range(0..count);
                let to = (from + rng.gen_range(1..8)).min(count);
                self.words[from..to].rotate_left(1);
                format!("words {from} to {to} rotated")
            }
            _ => {
                let word = rng.gen_range(0..count);
                let mut bytes = self.words[word].to_be_bytes::<32>();
                let byte = rng.gen_range(0..32);
                bytes[byte] = rng.next_u32() as u8;
                self.words[word] = U256::from_be_bytes(bytes);
                format!("byte {byte} of word {word}")
            }
        }
    }
}

fn of_length(case: &Case, change: usize) -> Mutated {
    let (mut proof, mut instances) = (case.proof.clone(), case.instances.clone());
    let (bytes, count) = (proof.len(), instances.len());
    match change {
        0 => proof.clear(),
        1 => proof.truncate(bytes - 1),
        2 => proof.truncate(bytes - 32),
        3 => proof.truncate(32),
        4 => proof.push(0),
        5 => proof.extend([0; 32]),
        6 => proof.extend_from_slice(&case.proof),
        7 => instances.clear(),
        8 => instances.truncate(count - 1),
        9 => instances.push(U256::ZERO),
        10 => instances.rotate_left(1),
        // The same words, cut elsewhere.
        _ => {
            let last = instances.pop().expect("there are instances");
            proof.splice(0..0, last.to_be_bytes::<32>());
        }
    }
    (format!("length change {change}"), proof, instances)
}
