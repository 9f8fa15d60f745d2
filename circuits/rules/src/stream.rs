//! Data streams: elements, posted bytes, commitment, evaluation and the point `x` (section 6).

use crate::field;
use crate::operation::RollupId;
use crate::poseidon::{self, hash8};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use num_bigint::BigUint;
use sha3::{Digest, Keccak256};
use thiserror::Error;

/// Words in a group of stream B (P-6.2).
pub const GROUP_WORDS: usize = 5;
/// Elements in a group of stream B (P-6.2).
pub const GROUP_ELEMENTS: usize = 2;
/// Bytes of a posted element (P-6.2).
pub const ELEMENT_BYTES: usize = 31;

/// Bytes of a posted group of stream B.
pub const GROUP_BYTES: usize = GROUP_ELEMENTS * ELEMENT_BYTES;

/// Bits of `w_2` that go to a group's first element.
const LOW_BITS: u32 = 49;

/// How a stream reaches L1 (P-6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DaMode {
    /// Posted in the submission's calldata.
    Calldata,
}

impl DaMode {
    /// The integer in P-6.6.
    pub fn code(self) -> u64 {
        match self {
            DaMode::Calldata => 0,
        }
    }
}

/// Bytes that are not a stream as it is posted. The first two are what L1 refuses too (P-9.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PostedError {
    /// They are no whole number of groups.
    #[error("expected whole groups of {GROUP_BYTES} bytes, found {bytes} bytes")]
    NotWhole {
        /// Bytes given.
        bytes: usize,
    },
    /// The last group is zero, and so not posted.
    #[error("expected a last group that is not all zero, found {bytes} bytes that end in zeros")]
    EndsInZeros {
        /// Bytes given.
        bytes: usize,
    },
    /// The first element of a group has a bit that no words give it (P-6.2). L1 refuses it with the proof: no circuit
    /// makes such an element.
    #[error("expected at most 247 bits in the first element of group {group}, found 248")]
    Element {
        /// The group's place in the stream, from 0.
        group: usize,
    },
}

/// A group's two elements (P-6.2), as integers below `2^248`.
///
/// # Panics
/// On words of more than 99 bits.
pub fn group_elements(words: &[u128; GROUP_WORDS]) -> [BigUint; GROUP_ELEMENTS] {
    assert!(
        words.iter().all(|word| word >> crate::operation::WORD_BITS == 0),
        "a word has 99 bits"
    );
    let low = words[2] & ((1 << LOW_BITS) - 1);
    let high = words[2] >> LOW_BITS;
    let at = |word: u128, bit: u32| BigUint::from(word) << bit;
    [
        at(words[0], 0) + at(words[1], 99) + at(low, 198),
        at(high, 0) + at(words[3], 50) + at(words[4], 149),
    ]
}

/// The words of a group: the inverse of [`group_elements`]. What is above the bits that it gives is not read.
pub fn group_words(elements: &[BigUint; GROUP_ELEMENTS]) -> [u128; GROUP_WORDS] {
    let part = |element: &BigUint, bit: u32, bits: u32| -> u128 {
        let mask = (BigUint::from(1u8) << bits) - 1u8;
        u128::try_from((element >> bit) & mask).expect("at most 99 bits are left")
    };
    let [e0, e1] = elements;
    let middle = part(e0, 198, LOW_BITS) | part(e1, 0, 50) << LOW_BITS;
    [
        part(e0, 0, 99),
        part(e0, 99, 99),
        middle,
        part(e1, 50, 99),
        part(e1, 149, 99),
    ]
}

/// The groups of a sequence of words, padded with no-ops to whole groups (P-6.2).
pub fn groups(words: &[u128]) -> impl Iterator<Item = [u128; GROUP_WORDS]> {
    words.chunks(GROUP_WORDS).map(|chunk| {
        let mut group = [0; GROUP_WORDS];
        group[..chunk.len()].copy_from_slice(chunk);
        group
    })
}

/// The posted bytes of stream B (P-6.5).
pub fn posted_bytes(words: &[u128]) -> Vec<u8> {
    let used = words
        .iter()
        .rposition(|word| *word != 0)
        .map_or(0, |last| last + 1);
    groups(&words[..used])
        .flat_map(|group| group_elements(&group))
        .flat_map(|e| element_bytes(&e))
        .collect()
}

/// The words of posted bytes: the inverse of [`posted_bytes`], padding of the last group included.
///
/// # Errors
/// [`PostedError`] for bytes that are no sequence's as posted.
pub fn posted_words(bytes: &[u8]) -> Result<Vec<u128>, PostedError> {
    check_posted(bytes)?;
    let mut words = Vec::with_capacity(bytes.len() / GROUP_BYTES * GROUP_WORDS);
    for (group, bytes) in bytes.chunks_exact(GROUP_BYTES).enumerate() {
        let (e0, e1) = bytes.split_at(ELEMENT_BYTES);
        if e0[0] >> 7 != 0 {
            return Err(PostedError::Element { group });
        }
        words.extend(group_words(&[
            BigUint::from_bytes_be(e0),
            BigUint::from_bytes_be(e1),
        ]));
    }
    Ok(words)
}

/// `Σ e_i x^i` over posted bytes, as L1 evaluates them (P-6.4).
///
/// # Errors
/// [`PostedError`] for bytes that L1 refuses whatever the proof is.
pub fn evaluate_posted(bytes: &[u8], x: &Fr) -> Result<Fr, PostedError> {
    check_posted(bytes)?;
    let elements = bytes.chunks_exact(ELEMENT_BYTES);
    Ok(elements.rev().fold(Fr::zero(), |y, element| {
        y * x + field::reduce(&BigUint::from_bytes_be(element))
    }))
}

/// That bytes have the form in which a stream is posted (P-9.8).
fn check_posted(posted: &[u8]) -> Result<(), PostedError> {
    let bytes = posted.len();
    let groups = posted.chunks_exact(GROUP_BYTES);
    if !groups.remainder().is_empty() {
        return Err(PostedError::NotWhole { bytes });
    }
    match groups.last() {
        Some(last) if last.iter().all(|byte| *byte == 0) => Err(PostedError::EndsInZeros { bytes }),
        _ => Ok(()),
    }
}

/// `(C, y, p)` of one stream while it is absorbed (P-6.3, P-6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningStream {
    /// The commitment so far.
    pub c: Fr,
    /// The evaluation so far.
    pub y: Fr,
    /// The power of `x` of the next element.
    pub p: Fr,
}

impl Default for RunningStream {
    fn default() -> Self {
        Self {
            c: Fr::zero(),
            y: Fr::zero(),
            p: Fr::one(),
        }
    }
}

impl RunningStream {
    /// Absorbs one group of stream B.
    pub fn absorb(&mut self, elements: &[Fr; GROUP_ELEMENTS], x: &Fr) {
        self.advance(elements, commit_group(&self.c, elements), x);
    }

    /// Absorbs one group whose commitment is known already.
    pub(crate) fn advance(&mut self, elements: &[Fr; GROUP_ELEMENTS], c: Fr, x: &Fr) {
        self.c = c;
        self.y += self.p * (elements[0] + x * elements[1]);
        self.p *= x.square();
    }
}

/// The inputs of the hash that absorbs a group of stream B into the commitment `c` (P-6.3).
pub fn commit_group(c: &Fr, elements: &[Fr; GROUP_ELEMENTS]) -> Fr {
    let zero = Fr::zero();
    hash8(&[
        *c,
        elements[0],
        elements[1],
        zero,
        zero,
        zero,
        zero,
        poseidon::tag_stream_b(),
    ])
}

/// A group's two elements in the field.
pub fn group_fr(words: &[u128; GROUP_WORDS]) -> [Fr; GROUP_ELEMENTS] {
    let two_99 = Fr::from_u128(1 << 99);
    let low = words[2] & ((1 << LOW_BITS) - 1);
    let [w0, w1, lo, hi, w3, w4] =
        [words[0], words[1], low, words[2] >> LOW_BITS, words[3], words[4]].map(Fr::from_u128);
    [
        w0 + two_99 * (w1 + two_99 * lo),
        hi + Fr::from_u128(1 << 50) * (w3 + two_99 * w4),
    ]
}

/// The commitment to stream B after each group, from `C = 0` (P-6.3).
pub fn commitments(groups: &[[Fr; GROUP_ELEMENTS]]) -> Vec<Fr> {
    let absorb = |c: &mut Fr, elements: &[Fr; GROUP_ELEMENTS]| {
        *c = commit_group(c, elements);
        Some(*c)
    };
    groups.iter().scan(Fr::zero(), absorb).collect()
}

/// The point `x` (P-6.6).
pub fn derive_x(
    rollup_id: &RollupId,
    batch_number: u64,
    da_mode: DaMode,
    c_a: &Fr,
    c_b: &Fr,
    posted_a: &[u8],
    posted_b: &[u8],
) -> Fr {
    let integer = |value: u64| field::to_be(&Fr::from(value));
    let mut hash = Keccak256::new();
    hash.update(Keccak256::digest(b"zk-rollup-prover/da/v1"));
    hash.update(field::to_be(&rollup_id.to_fr()));
    hash.update(integer(batch_number));
    hash.update(integer(da_mode.code()));
    hash.update(field::to_be(c_a));
    hash.update(field::to_be(c_b));
    hash.update(Keccak256::digest(posted_a));
    hash.update(Keccak256::digest(posted_b));
    field::reduce(&BigUint::from_bytes_be(&hash.finalize()))
}

fn element_bytes(element: &BigUint) -> [u8; ELEMENT_BYTES] {
    let bytes = element.to_bytes_be();
    let mut posted = [0; ELEMENT_BYTES];
    posted[ELEMENT_BYTES - bytes.len()..].copy_from_slice(&bytes);
    posted
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u128 = (1 << 99) - 1;

    #[test]
    fn a_group_is_two_elements_and_back() {
        for words in [
            [0; 5],
            [MAX; 5],
            [1, 2, 3, 4, 5],
            [0, 0, MAX, 0, 0],
            [MAX, 0, 1 << 49, 0, MAX],
        ] {
            let elements = group_elements(&words);
            assert!(elements.iter().all(|element| element.bits() <= 248));
            assert_eq!(group_words(&elements), words);
            assert_eq!(group_fr(&words), elements.map(|element| field::reduce(&element)));
        }
    }

    #[test]
    fn posted_bytes_drop_trailing_zero_groups_only() {
        let mut words = vec![7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let bytes = posted_bytes(&words);
        assert_eq!(bytes.len(), 3 * 62);
        words.resize(40, 0);
        assert_eq!(posted_bytes(&words), bytes);
        assert_eq!(posted_words(&bytes).unwrap(), words[..15]);
        assert!(posted_bytes(&[0; 10]).is_empty());
    }

    #[test]
    fn only_posted_bytes_are_read() {
        let bytes = posted_bytes(&[7, 0, 0, 0, 0, 9]);
        let x = Fr::from(3);
        for length in (0..bytes.len()).filter(|length| length % GROUP_BYTES != 0) {
            let refused = PostedError::NotWhole { bytes: length };
            assert_eq!(posted_words(&bytes[..length]), Err(refused));
            assert_eq!(evaluate_posted(&bytes[..length], &x), Err(refused));
        }
        let padded = [&bytes[..], &[0; GROUP_BYTES]].concat();
        let refused = PostedError::EndsInZeros { bytes: padded.len() };
        assert_eq!(posted_words(&padded), Err(refused));
        assert_eq!(evaluate_posted(&padded, &x), Err(refused));
        assert_eq!(posted_words(&[]), Ok(vec![]));
        assert_eq!(evaluate_posted(&[], &x), Ok(Fr::zero()));
    }

    /// Read as a part of `w_2`, this bit would give other bytes the words of these.
    #[test]
    fn a_bit_that_no_words_give_an_element_is_refused() {
        let mut bytes = posted_bytes(&[1; 10]);
        bytes[GROUP_BYTES] |= 0x80;
        assert_eq!(posted_words(&bytes), Err(PostedError::Element { group: 1 }));
        bytes[GROUP_BYTES] = 0x40;
        let words = posted_words(&bytes).unwrap();
        assert_eq!(posted_bytes(&words), bytes);
    }

    #[test]
    fn evaluation_of_groups_is_horner_over_posted_bytes() {
        let words: Vec<u128> = (1..=12).map(|word| word << 70).collect();
        let x = Fr::from(123_456_789);
        let mut stream = RunningStream::default();
        groups(&words).for_each(|group| stream.absorb(&group_fr(&group), &x));
        assert_eq!(evaluate_posted(&posted_bytes(&words), &x), Ok(stream.y));
        let elements: Vec<_> = groups(&words).map(|group| group_fr(&group)).collect();
        let committed = commitments(&elements).last().copied();
        assert_eq!(committed, Some(stream.c));
        stream.absorb(&[Fr::zero(); 2], &x);
        assert_eq!(evaluate_posted(&posted_bytes(&words), &x), Ok(stream.y));
        assert_ne!(committed, Some(stream.c));
    }
}
