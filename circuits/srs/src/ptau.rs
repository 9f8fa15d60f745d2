//! Reads a snarkjs `.ptau` file: the powers of tau of a ceremony, every point and the powers checked.
//!
//! The file is `"ptau"`, a version (1), a number of sections, then sections of `(id: u32, size: u64, bytes)`. Integers
//! are little endian. Section 1 is `(32, base field modulus, power: u32, ceremony power: u32)`; section 2 holds
//! `2^(power+1) - 1` powers in G1, section 3 `2^power` powers in G2, both in Montgomery form, little endian. A file that
//! was prepared for phase 2 has a section 12 with the Lagrange bases of `1, 2, 4, …` points, one after the other.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use halo2_proofs::arithmetic::g_to_lagrange;
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::{Field, PrimeField},
    group::prime::PrimeCurveAffine,
};
use num_bigint::BigUint;

use crate::{
    check::{G1_BYTES, G2_BYTES, check_lagrange, check_powers, parse_g1, parse_g2},
    error::SrsError,
    opening::OpeningKey,
    parameters::{K_MAX, Srs, SrsId, params_from_parts},
};

const FORMAT: &str = "ptau";
/// How a file begins.
pub(crate) const PTAU_MAGIC: [u8; 4] = *b"ptau";
/// Sections that any version of snarkjs writes are fewer than this.
const SECTIONS_MAX: u32 = 32;
/// The modulus of BN254's base field, as section 1 writes it: hexadecimal, big endian.
const MODULUS: &str = "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47";

/// Which SRS the file holds, by its first power in G1 and its first two in G2, each checked to be on its curve.
///
/// # Errors
/// [`SrsError`] when the file cannot be read or is not what it should be.
pub fn ptau_id(path: &Path) -> Result<SrsId, SrsError> {
    Ok(SrsId::new(&Ptau::open(path)?.opening_key()?))
}

/// Log2 of the powers that the file holds.
///
/// # Errors
/// [`SrsError`] when the file cannot be read or is not what it should be.
pub fn ptau_k(path: &Path) -> Result<u32, SrsError> {
    Ptau::open(path).map(|ptau| ptau.power)
}

/// Reads the first `2^k` powers and checks them: points, subgroup, pairing. The Lagrange basis is read and checked
/// likewise if the file was prepared for phase 2, and else computed, which takes minutes above `k = 16`.
///
/// # Errors
/// [`SrsError`] naming the first thing that is wrong.
pub fn read_ptau(path: &Path, k: u32) -> Result<Srs, SrsError> {
    let mut ptau = Ptau::open(path)?;
    if ptau.power < k {
        return Err(SrsError::TooSmall {
            found: ptau.power,
            expected: k,
        });
    }
    let key = ptau.opening_key()?;
    let g = parse_g1("tau_g1", &ptau.read(ptau.tau_g1.start, G1_BYTES << k)?)?;
    check_powers(&g, &key)?;
    let g_lagrange = match ptau.lagrange_g1.clone() {
        Some(section) => {
            let from = section.start + ((1 << k) - 1) * G1_BYTES as u64;
            expect_within("section 12", &section, from + ((G1_BYTES as u64) << k))?;
            let points = in_halo2s_order(k, &parse_g1("lagrange_g1", &ptau.read(from, G1_BYTES << k)?)?);
            check_lagrange(k, &g, &points)?;
            points
        }
        None => g_to_lagrange(g.iter().map(PrimeCurveAffine::to_curve).collect(), k),
    };
    Ok(Srs {
        id: SrsId::new(&key),
        params: params_from_parts(k, g, g_lagrange, key.g2, key.s_g2),
    })
}

/// snarkjs counts the `2^k`-th roots of unity as powers of `5^((r-1)/2^k)`, halo2 as powers of `ω`, another generator of
/// the same group: with `ω = 5^((r-1)/2^k · e)`, halo2's `i`-th Lagrange polynomial is snarkjs' `e·i`-th.
fn in_halo2s_order(k: u32, points: &[G1Affine]) -> Vec<G1Affine> {
    let omega = (k..Fr::S).fold(Fr::ROOT_OF_UNITY, |root, _| root.square());
    let exponent = (BigUint::from_bytes_le(&(-Fr::ONE).to_repr()) >> k).to_u64_digits();
    let inverse = Fr::from(5)
        .pow_vartime(exponent)
        .invert()
        .expect("a root of unity is not zero");
    // The logarithm, bit by bit: a quotient whose power is not 1 has the next bit set.
    let log = (0..k).fold(0_u64, |log, bit| {
        let quotient = omega * inverse.pow_vartime([log]);
        let is_set = quotient.pow_vartime([1 << (k - 1 - bit)]) != Fr::ONE;
        log | u64::from(is_set) << bit
    });
    (0..points.len() as u64)
        .map(|i| points[(log * i) as usize & (points.len() - 1)])
        .collect()
}

/// An open file whose sections have the sizes that its header asks for.
struct Ptau<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    power: u32,
    tau_g1: Range<u64>,
    tau_g2: Range<u64>,
    lagrange_g1: Option<Range<u64>>,
}

impl<'a> Ptau<'a> {
    fn open(path: &'a Path) -> Result<Self, SrsError> {
        let io = SrsError::io(path);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut ptau = Self {
            path,
            file,
            length,
            power: 0,
            tau_g1: 0..0,
            tau_g2: 0..0,
            lagrange_g1: None,
        };
        let sections = ptau.sections()?;
        ptau.power = ptau.read_header(&one(&sections, 1)?)?;
        ptau.tau_g1 = one(&sections, 2)?;
        ptau.tau_g2 = one(&sections, 3)?;
        if sections.iter().any(|(id, _)| *id == 12) {
            ptau.lagrange_g1 = Some(one(&sections, 12)?);
        }
        let powers = 1_u64 << ptau.power;
        expect_length("section 2", &ptau.tau_g1, (2 * powers - 1) * G1_BYTES as u64)?;
        expect_length("section 3", &ptau.tau_g2, powers * G2_BYTES as u64)?;
        Ok(ptau)
    }

    fn sections(&mut self) -> Result<Vec<(u32, Range<u64>)>, SrsError> {
        let start = self.read(0, 12)?;
        if start[..4] != PTAU_MAGIC {
            return Err(SrsError::Format {
                format: FORMAT,
                found: hex::encode(&start[..4]),
            });
        }
        let (version, count) = (u32_at(&start, 4), u32_at(&start, 8));
        if version != 1 || count > SECTIONS_MAX {
            return Err(SrsError::Format {
                format: FORMAT,
                found: format!("version {version}, {count} sections"),
            });
        }
        let mut at = 12;
        let mut sections = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let header = self.read(at, 12)?;
            let size = u64::from_le_bytes(header[4..12].try_into().expect("eight bytes"));
            let end = (at + 12).checked_add(size).filter(|end| *end <= self.length);
            let expected = (at + 12).saturating_add(size);
            let end = end.ok_or(SrsError::Length {
                part: "file",
                found: self.length,
                expected,
            })?;
            sections.push((u32_at(&header, 0), at + 12..end));
            at = end;
        }
        Ok(sections)
    }

    /// Checks section 1; the log2 of the number of powers.
    fn read_header(&mut self, section: &Range<u64>) -> Result<u32, SrsError> {
        expect_length("section 1", section, 44)?;
        let header = self.read(section.start, 44)?;
        let bytes = u32_at(&header, 0);
        if bytes != 32 {
            return Err(SrsError::Curve {
                found: format!("a field of {bytes} bytes"),
            });
        }
        let modulus = format!("{:064x}", BigUint::from_bytes_le(&header[4..36]));
        if modulus != MODULUS {
            return Err(SrsError::Curve { found: modulus });
        }
        let power = u32_at(&header, 36);
        if power > K_MAX {
            return Err(SrsError::Format {
                format: FORMAT,
                found: format!("power {power}"),
            });
        }
        Ok(power)
    }

    fn opening_key(&mut self) -> Result<OpeningKey, SrsError> {
        if self.power == 0 {
            return Err(SrsError::TooSmall {
                found: 0,
                expected: 1,
            });
        }
        let g1 = parse_g1("tau_g1", &self.read(self.tau_g1.start, G1_BYTES)?)?;
        let g2 = parse_g2("tau_g2", &self.read(self.tau_g2.start, 2 * G2_BYTES)?)?;
        Ok(OpeningKey {
            g1: g1[0],
            g2: g2[0],
            s_g2: g2[1],
        })
    }

    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>, SrsError> {
        let expected = from.saturating_add(length as u64);
        if expected > self.length {
            return Err(SrsError::Length {
                part: "file",
                found: self.length,
                expected,
            });
        }
        let io = SrsError::io(self.path);
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(from)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        Ok(bytes)
    }
}

fn one(sections: &[(u32, Range<u64>)], section: u32) -> Result<Range<u64>, SrsError> {
    let found: Vec<_> = sections.iter().filter(|(id, _)| *id == section).collect();
    match found[..] {
        [(_, range)] => Ok(range.clone()),
        _ => Err(SrsError::Section {
            section,
            found: found.len(),
        }),
    }
}

fn expect_length(part: &'static str, section: &Range<u64>, expected: u64) -> Result<(), SrsError> {
    let found = section.end - section.start;
    if found != expected {
        return Err(SrsError::Length {
            part,
            found,
            expected,
        });
    }
    Ok(())
}

fn expect_within(part: &'static str, section: &Range<u64>, end: u64) -> Result<(), SrsError> {
    if end > section.end {
        let (found, expected) = (section.end - section.start, end - section.start);
        return Err(SrsError::Length {
            part,
            found,
            expected,
        });
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
