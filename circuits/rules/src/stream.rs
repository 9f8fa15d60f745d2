//! Data streams: groups and records as elements and as posted bytes, commitments, evaluation and the point `x` (section 6).

use crate::field;
use crate::operation::RollupId;
use crate::poseidon::{self, hash8};
use crate::record::{RECORD_BYTES, RECORD_ELEMENTS, Record, RecordError};
use crate::witness::RunningState;
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
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

/// How stream B reaches L1 (P-6.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DaMode {
    /// Posted in the submission's calldata.
    Calldata,
}

impl DaMode {
    /// The integer in P-6.9.
    pub fn code(self) -> u64 {
        match self {
            DaMode::Calldata => 0,
        }
    }
}

/// The bit of a group's first element that says that an operation of the queue comes before the group (P-6.2).
pub const FLAG_BIT: u32 = 247;

/// A group of stream B (P-6.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// Whether an operation of the queue is executed before the places: `q_g`.
    pub flag: bool,
    /// The places' words, below `2^99`.
    pub words: [u128; GROUP_WORDS],
}

impl Group {
    /// Whether it is all zero, and so not posted at the end.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The two elements.
    pub fn elements(&self) -> [Fr; GROUP_ELEMENTS] {
        let [first, second] = group_fr(&self.words);
        let flag = Fr::from(u64::from(self.flag)) * Fr::from(2).pow_vartime([u64::from(FLAG_BIT)]);
        [first + flag, second]
    }

    /// The posted bytes.
    ///
    /// # Panics
    /// On words of more than 99 bits.
    pub fn to_bytes(&self) -> [u8; GROUP_BYTES] {
        let mut bytes = [0; GROUP_BYTES];
        let elements = group_elements(&self.words);
        for (chunk, element) in bytes.chunks_exact_mut(ELEMENT_BYTES).zip(elements) {
            let digits = element.to_bytes_be();
            chunk[ELEMENT_BYTES - digits.len()..].copy_from_slice(&digits);
        }
        bytes[0] |= u8::from(self.flag) << 7;
        bytes
    }

    /// Reads [`Group::to_bytes`]: all 496 bits have a meaning.
    pub fn from_bytes(bytes: &[u8; GROUP_BYTES]) -> Self {
        let (first, second) = bytes.split_at(ELEMENT_BYTES);
        let elements = [first, second].map(BigUint::from_bytes_be);
        Self {
            flag: bytes[0] >> 7 == 1,
            words: group_words(&elements),
        }
    }
}

/// A group's two elements (P-6.2), as integers below `2^248`.
///
/// # Panics
/// On words of more than 99 bits.
fn group_elements(words: &[u128; GROUP_WORDS]) -> [BigUint; GROUP_ELEMENTS] {
    assert!(
        words.iter().all(|word| word >> crate::word::WORD_BITS == 0),
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
fn group_words(elements: &[BigUint; GROUP_ELEMENTS]) -> [u128; GROUP_WORDS] {
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

/// A group's two elements in the field.
fn group_fr(words: &[u128; GROUP_WORDS]) -> [Fr; GROUP_ELEMENTS] {
    let two_99 = Fr::from_u128(1 << 99);
    let low = words[2] & ((1 << LOW_BITS) - 1);
    let [w0, w1, lo, hi, w3, w4] =
        [words[0], words[1], low, words[2] >> LOW_BITS, words[3], words[4]].map(Fr::from_u128);
    [
        w0 + two_99 * (w1 + two_99 * lo),
        hi + Fr::from_u128(1 << 50) * (w3 + two_99 * w4),
    ]
}

/// Bytes that are not a stream as it is posted (P-6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PostedError {
    /// Stream A is no whole number of records.
    #[error("stream A: expected whole records of {RECORD_BYTES} bytes, found {bytes} bytes")]
    RecordsNotWhole {
        /// Bytes given.
        bytes: usize,
    },
    /// Stream B is no whole number of groups.
    #[error("stream B: expected whole groups of {GROUP_BYTES} bytes, found {bytes} bytes")]
    GroupsNotWhole {
        /// Bytes given.
        bytes: usize,
    },
    /// The last group of stream B is zero, and so not posted.
    #[error("stream B: expected a last group that is not all zero, found {bytes} bytes that end in zeros")]
    EndsInZeros {
        /// Bytes given.
        bytes: usize,
    },
    /// A record of stream A is none.
    #[error("stream A, record {record}: {reason}")]
    Record {
        /// Place in the stream, from 0.
        record: usize,
        /// What is wrong with it.
        reason: RecordError,
    },
}

/// The posted form of stream A.
pub fn posted_a(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(Record::to_bytes).collect()
}

/// The posted form of stream B: up to the last group that is not all zero.
///
/// # Panics
/// On words of more than 99 bits.
pub fn posted_b(groups: &[Group]) -> Vec<u8> {
    let used = groups.iter().rposition(|group| !group.is_zero());
    let used = used.map_or(0, |last| last + 1);
    groups[..used].iter().flat_map(Group::to_bytes).collect()
}

/// Reads [`posted_a`].
///
/// # Errors
/// [`PostedError`] for bytes that no batch posts.
pub fn records(posted: &[u8]) -> Result<Vec<Record>, PostedError> {
    let (chunks, rest) = posted.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        let bytes = posted.len();
        return Err(PostedError::RecordsNotWhole { bytes });
    }
    let read =
        |(record, bytes)| Record::from_bytes(bytes).map_err(|reason| PostedError::Record { record, reason });
    chunks.iter().enumerate().map(read).collect()
}

/// Reads [`posted_b`].
///
/// # Errors
/// [`PostedError`] for bytes that L1 refuses.
pub fn groups(posted: &[u8]) -> Result<Vec<Group>, PostedError> {
    let bytes = posted.len();
    let (chunks, rest) = posted.as_chunks::<GROUP_BYTES>();
    if !rest.is_empty() {
        return Err(PostedError::GroupsNotWhole { bytes });
    }
    let groups: Vec<Group> = chunks.iter().map(Group::from_bytes).collect();
    match groups.last() {
        Some(last) if last.is_zero() => Err(PostedError::EndsInZeros { bytes }),
        _ => Ok(groups),
    }
}

/// `Σ e_i x^i` over the elements of posted bytes, as L1 evaluates them (P-6.5). Bytes that are no whole element are not read: the
/// posted forms are checked by [`records`] and [`groups`].
pub fn evaluate(posted: &[u8], x: &Fr) -> Fr {
    let elements = posted.chunks_exact(ELEMENT_BYTES);
    elements.rev().fold(Fr::zero(), |y, element| {
        y * x + field::reduce(&BigUint::from_bytes_be(element))
    })
}

/// The commitment that absorbs a record of stream A into `c` (P-6.4).
pub fn commit_record(c: &Fr, elements: &[Fr; RECORD_ELEMENTS]) -> Fr {
    let [a0, a1, a2, a3] = *elements;
    let zero = Fr::zero();
    hash8(&[*c, a0, a1, a2, a3, zero, zero, poseidon::tag_stream_a()])
}

/// The inputs of the hash that absorbs a group of stream B into the commitment `c` (P-6.4).
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

/// The commitment to stream A: `C_A`.
pub fn commitment_a(records: &[Record]) -> Fr {
    let absorb = |c: Fr, record: &Record| commit_record(&c, &record.elements());
    records.iter().fold(Fr::zero(), absorb)
}

/// The commitment to stream B, padding groups included: `C_B`.
pub fn commitment_b(groups: &[Group]) -> Fr {
    let absorb = |c: Fr, group: &Group| commit_group(&c, &group.elements());
    groups.iter().fold(Fr::zero(), absorb)
}

impl RunningState {
    /// Absorbs a record into stream A at the point `x` (P-6.4, P-6.5).
    pub fn absorb_record(&mut self, elements: &[Fr; RECORD_ELEMENTS], x: &Fr) {
        self.c_a = commit_record(&self.c_a, elements);
        (self.y_a, self.p_a) = evaluated(self.y_a, self.p_a, elements, x);
    }

    /// Absorbs a group into stream B at the point `x` (P-6.4, P-6.5).
    pub fn absorb_group(&mut self, elements: &[Fr; GROUP_ELEMENTS], x: &Fr) {
        self.c_b = commit_group(&self.c_b, elements);
        (self.y_b, self.p_b) = evaluated(self.y_b, self.p_b, elements, x);
    }
}

/// `(y, p)` after more elements.
fn evaluated(y: Fr, p: Fr, elements: &[Fr], x: &Fr) -> (Fr, Fr) {
    let add = |(y, p): (Fr, Fr), element: &Fr| (y + p * element, p * x);
    elements.iter().fold((y, p), add)
}

/// What `x` binds beside the rollup (P-6.9).
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The batch's number.
    pub number: u64,
    /// How stream B reaches L1.
    pub mode: DaMode,
    /// `C_A`.
    pub c_a: Fr,
    /// `C_B`.
    pub c_b: Fr,
    /// The posted form of A.
    pub posted_a: &'a [u8],
    /// The posted form of B.
    pub posted_b: &'a [u8],
}

impl Binding<'_> {
    /// The point `x` (P-6.9).
    pub fn x(&self, rollup_id: &RollupId) -> Fr {
        let integer = |value: u64| field::to_be(&Fr::from(value));
        let mut hash = Keccak256::new();
        hash.update(Keccak256::digest(b"zk-rollup-prover/da/v2"));
        hash.update(field::to_be(&rollup_id.to_fr()));
        hash.update(integer(self.number));
        hash.update(integer(self.mode.code()));
        hash.update(field::to_be(&self.c_a));
        hash.update(field::to_be(&self.c_b));
        hash.update(Keccak256::digest(self.posted_a));
        hash.update(Keccak256::digest(self.posted_b));
        field::reduce(&BigUint::from_bytes_be(&hash.finalize()))
    }
}
