//! Changes of inputs: of bits and bytes, of the lengths and numbers that formats are made of, and of order.

use rand::Rng;
use rand::seq::SliceRandom;

/// Numbers at which arithmetic and lengths go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    1 << 20,
    (1 << 31) - 1,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// The moduli of BN254's scalar and base field, big endian: the least numbers that are no elements.
const MODULI: [&str; 2] = [
    "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001",
    "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47",
];

/// Most changes that are made at once.
const CHANGES_MAX: u32 = 6;

/// An input of the pool, changed.
pub(crate) fn change(rng: &mut impl Rng, pool: &[Vec<u8>], words: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut input = pool.choose(rng).cloned().unwrap_or_default();
    // Mostly few: a change that is refused hides all others.
    let changes = 1 + rng.gen_range(0..CHANGES_MAX) * rng.gen_range(0..2);
    for _ in 0..changes {
        once(rng, &mut input, pool, words);
        input.truncate(bytes_max);
    }
    input
}

fn once(rng: &mut impl Rng, input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[Vec<u8>]) {
    let at = rng.gen_range(0..=input.len());
    match rng.gen_range(0..13) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.gen_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.r#gen();
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(if rng.r#gen() { 1 } else { 0xff });
            }
        }
        3 => {
            let number = number(rng, input.len() as u64);
            write_over(input, at, &number);
        }
        4 => {
            let number = number(rng, input.len() as u64);
            insert(input, at, &number);
        }
        5 => input.truncate(at),
        6 => {
            let end = (at + length(rng)).min(input.len());
            input.drain(at..end);
        }
        7 => {
            // Once more, so that what may come once comes twice.
            let end = (at + length(rng)).min(input.len());
            let part = input[at..end].to_vec();
            insert(input, at, &part);
        }
        8 => {
            let part: Vec<u8> = (0..length(rng)).map(|_| rng.r#gen()).collect();
            insert(input, at, &part);
        }
        9 => {
            // The beginning of this, the end of another.
            let other = pool.choose(rng).map_or(&[][..], Vec::as_slice);
            input.truncate(at);
            input.extend_from_slice(&other[rng.gen_range(0..=other.len())..]);
        }
        10 => {
            let end = (at + length(rng)).min(input.len());
            input[at..end].fill(if rng.r#gen() { 0 } else { 0xff });
        }
        11 => {
            // Two parts change places.
            let (a, b) = (at.min(input.len() / 2), input.len() / 2);
            let length = length(rng).min(b - a).min(input.len() - b);
            let (low, high) = input.split_at_mut(b);
            low[a..a + length].swap_with_slice(&mut high[..length]);
        }
        _ => {
            let word = word(rng, words);
            if rng.r#gen() {
                write_over(input, at, &word);
            } else {
                insert(input, at, &word);
            }
        }
    }
}

/// Mostly short, and often that of an element.
fn length(rng: &mut impl Rng) -> usize {
    match rng.gen_range(0..4) {
        0 => 1,
        1 => 32,
        2 => rng.gen_range(1..16),
        _ => rng.gen_range(1..256),
    }
}

/// A number as one of the forms that numbers have in bytes, or as text.
fn number(rng: &mut impl Rng, near: u64) -> Vec<u8> {
    let number = match rng.gen_range(0..3) {
        0 => near.wrapping_add(rng.gen_range(0..5)).wrapping_sub(2),
        _ => *NUMBERS.choose(rng).expect("there are some"),
    };
    match rng.gen_range(0..7) {
        0 => vec![number as u8],
        1 => (number as u32).to_le_bytes().to_vec(),
        2 => number.to_le_bytes().to_vec(),
        3 => (number as u32).to_be_bytes().to_vec(),
        4 => number.to_be_bytes().to_vec(),
        5 => number.to_string().into_bytes(),
        _ => varint(number),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn word(rng: &mut impl Rng, words: &[Vec<u8>]) -> Vec<u8> {
    if !words.is_empty() && rng.r#gen() {
        return words.choose(rng).expect("there are some").clone();
    }
    let mut modulus = hex::decode(MODULI[rng.gen_range(0..2)]).expect("hexadecimal");
    // The modulus, or the greatest element.
    modulus[31] -= rng.gen_range(0..2);
    if rng.r#gen() {
        modulus.reverse();
    }
    modulus
}

fn write_over(input: &mut [u8], at: usize, bytes: &[u8]) {
    let length = bytes.len().min(input.len() - at);
    input[at..at + length].copy_from_slice(&bytes[..length]);
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
