//! Reference strings from outside: a ceremony's `.ptau` and halo2's raw parameters. Each accepted file has refused twins.

use std::path::{Path, PathBuf};

use halo2_proofs::{
    SerdeFormat,
    poly::{commitment::ParamsProver, kzg::commitment::ParamsKZG},
};
use halo2curves::{
    CurveAffine,
    bn256::{Bn256, Fq, Fq2, Fr, G1Affine, G2Affine},
    ff::Field,
    group::Curve,
    serde::SerdeObject,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use srs::{
    Srs, SrsError, SrsSource, development, development_id, halo2_id, halo2_k, ptau_id, ptau_k, read_halo2,
    read_ptau,
};
use tempfile::TempDir;

const POWER: u32 = 7;
const G1_BYTES: usize = 64;
const G2_BYTES: usize = 128;
/// Bytes of section 1, the first of the file, that hold the power of the ceremony of which this is a part.
const CEREMONY_POWER: std::ops::Range<usize> = 24 + 40..24 + 44;

/// `tests/vectors/README.md` says how it was made.
fn vector() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/snarkjs-7.ptau")
}

/// A file to change.
struct Copy {
    dir: TempDir,
    bytes: Vec<u8>,
}

impl Copy {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            bytes: std::fs::read(vector()).unwrap(),
        }
    }

    fn read(&self, k: u32) -> Result<Srs, SrsError> {
        let path = self.dir.path().join("a.ptau");
        std::fs::write(&path, &self.bytes).unwrap();
        read_ptau(&path, k)
    }

    fn error(&self) -> SrsError {
        self.read(POWER).map(|srs| srs.id).unwrap_err()
    }

    /// Where a section's header begins.
    fn header(&self, section: u32) -> usize {
        let mut at = 12;
        while at < self.bytes.len() {
            if self.bytes[at..at + 4] == section.to_le_bytes() {
                return at;
            }
            at += 12 + u64::from_le_bytes(self.bytes[at + 4..at + 12].try_into().unwrap()) as usize;
        }
        panic!("no section {section}")
    }

    /// Where a section's bytes begin.
    fn section(&self, section: u32) -> usize {
        self.header(section) + 12
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn tau_g1(&self, index: usize) -> usize {
        self.section(2) + index * G1_BYTES
    }

    fn tau_g2(&self, index: usize) -> usize {
        self.section(3) + index * G2_BYTES
    }
}

fn raw_bytes(params: &ParamsKZG<Bn256>) -> Vec<u8> {
    let mut bytes = vec![];
    params.write_custom(&mut bytes, SerdeFormat::RawBytes).unwrap();
    bytes
}

#[test]
fn a_ptau_made_by_snarkjs_is_accepted() {
    for k in [1, 4, POWER] {
        let srs = read_ptau(&vector(), k).unwrap();
        assert_eq!(srs.params.get_g().len(), 1 << k);
        assert!(!srs.id.insecure);
        assert_eq!(
            srs.id,
            ptau_id(&vector()).unwrap(),
            "the size does not change which SRS it is"
        );
    }
}

#[test]
fn snarkjs_own_lagrange_basis_is_what_is_computed_without_it() {
    let mut copy = Copy::new();
    let with = copy.read(POWER).unwrap();
    let header = copy.header(12);
    copy.put(header, &99_u32.to_le_bytes());
    assert_eq!(
        raw_bytes(&copy.read(POWER).unwrap().params),
        raw_bytes(&with.params)
    );
}

#[test]
fn a_flipped_byte_in_a_point_is_refused() {
    let mut copy = Copy::new();
    let at = copy.tau_g1(5);
    copy.bytes[at] ^= 1;
    assert!(matches!(
        copy.error(),
        SrsError::OffCurve {
            part: "tau_g1",
            index: 5
        }
    ));

    let mut copy = Copy::new();
    let at = copy.tau_g2(1);
    copy.bytes[at] ^= 1;
    assert!(matches!(
        copy.error(),
        SrsError::OffCurve {
            part: "tau_g2",
            index: 1
        }
    ));
}

#[test]
fn a_coordinate_at_the_modulus_is_refused() {
    let mut copy = Copy::new();
    let modulus = copy.bytes[copy.section(1) + 4..][..32].to_vec();
    let at = copy.tau_g1(9) + 32;
    copy.put(at, &modulus);
    assert!(matches!(
        copy.error(),
        SrsError::NonCanonical {
            part: "tau_g1",
            index: 9
        }
    ));
}

#[test]
fn the_identity_is_refused() {
    let mut copy = Copy::new();
    let at = copy.tau_g1(3);
    copy.put(at, &[0; G1_BYTES]);
    assert!(matches!(
        copy.error(),
        SrsError::Identity {
            part: "tau_g1",
            index: 3
        }
    ));

    let mut copy = Copy::new();
    let at = copy.tau_g2(1);
    copy.put(at, &[0; G2_BYTES]);
    assert!(matches!(
        copy.error(),
        SrsError::Identity {
            part: "tau_g2",
            index: 1
        }
    ));
}

#[test]
fn a_point_of_g2_outside_the_subgroup_is_refused() {
    let b = Fq2 {
        c0: Fq::ZERO,
        c1: Fq::ZERO,
    } + G2Affine::b();
    let point = (1_u64..)
        .find_map(|x| {
            let x = Fq2 {
                c0: Fq::from(x),
                c1: Fq::ONE,
            };
            Option::<Fq2>::from((x.square() * x + b).sqrt()).map(|y| G2Affine { x, y })
        })
        .unwrap();
    assert!(bool::from(point.is_on_curve()));
    let mut copy = Copy::new();
    let at = copy.tau_g2(1);
    copy.put(at, &point.to_raw_bytes());
    assert!(matches!(
        copy.error(),
        SrsError::Subgroup {
            part: "tau_g2",
            index: 1
        }
    ));
}

#[test]
fn points_that_are_no_geometric_sequence_are_refused() {
    let mut copy = Copy::new();
    let sixth = copy.bytes[copy.tau_g1(6)..][..G1_BYTES].to_vec();
    let at = copy.tau_g1(5);
    copy.put(at, &sixth);
    assert!(matches!(copy.error(), SrsError::Powers));
    assert!(
        copy.read(2).is_ok(),
        "the powers that are used are those that are checked"
    );
}

#[test]
fn powers_of_another_secret_than_g2s_are_refused() {
    let mut copy = Copy::new();
    let other = (G2Affine::generator() * Fr::from(3)).to_affine();
    let at = copy.tau_g2(1);
    copy.put(at, &other.to_raw_bytes());
    assert!(matches!(copy.error(), SrsError::Powers));
}

#[test]
fn a_secret_of_one_is_refused() {
    let mut copy = Copy::new();
    let at = copy.tau_g2(1);
    copy.put(at, &G2Affine::generator().to_raw_bytes());
    assert!(matches!(copy.error(), SrsError::Degenerate));
}

#[test]
fn other_generators_are_refused() {
    let mut copy = Copy::new();
    let at = copy.tau_g1(0);
    copy.put(
        at,
        &(G1Affine::generator() * Fr::from(2)).to_affine().to_raw_bytes(),
    );
    assert!(matches!(copy.error(), SrsError::Generator { part: "g1" }));

    let mut copy = Copy::new();
    let at = copy.tau_g2(0);
    copy.put(
        at,
        &(G2Affine::generator() * Fr::from(2)).to_affine().to_raw_bytes(),
    );
    assert!(matches!(copy.error(), SrsError::Generator { part: "g2" }));
}

#[test]
fn a_lagrange_basis_of_other_powers_is_refused() {
    let mut copy = Copy::new();
    let at = copy.section(12) + ((1 << POWER) - 1 + 3) * G1_BYTES;
    let next = copy.bytes[at + G1_BYTES..][..G1_BYTES].to_vec();
    copy.put(at, &next);
    assert!(matches!(copy.error(), SrsError::Lagrange));
    assert!(copy.read(POWER - 1).is_ok());
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let mut copy = Copy::new();
    let good = copy.bytes.clone();
    let (header, points) = (copy.section(1) + 44, copy.section(2));
    for length in (0..header).chain([points, points + 1, good.len() / 2, good.len() - 1]) {
        copy.bytes = good[..length].to_vec();
        let error = copy.error();
        assert!(
            matches!(error, SrsError::Length { part: "file", .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_section_of_another_size_is_refused() {
    let mut copy = Copy::new();
    let power_at = copy.section(1) + 36;
    copy.put(power_at, &(POWER - 1).to_le_bytes());
    assert!(matches!(
        copy.error(),
        SrsError::Length {
            part: "section 2",
            ..
        }
    ));
}

#[test]
fn another_curve_is_refused() {
    let mut copy = Copy::new();
    let at = copy.section(1) + 4;
    copy.bytes[at] ^= 2;
    assert!(matches!(copy.error(), SrsError::Curve { .. }));

    let mut copy = Copy::new();
    let at = copy.section(1);
    copy.put(at, &48_u32.to_le_bytes());
    assert!(matches!(copy.error(), SrsError::Curve { .. }));
}

#[test]
fn a_missing_or_repeated_section_is_refused() {
    for section in [1, 2, 3] {
        let mut copy = Copy::new();
        let header = copy.header(section);
        copy.put(header, &99_u32.to_le_bytes());
        assert!(matches!(copy.error(), SrsError::Section { section: s, found: 0 } if s == section));

        let mut copy = Copy::new();
        let other = copy.header(4);
        copy.put(other, &section.to_le_bytes());
        assert!(matches!(copy.error(), SrsError::Section { section: s, found: 2 } if s == section));
    }
}

#[test]
fn another_format_or_version_is_refused() {
    let mut copy = Copy::new();
    copy.bytes[0] = b'q';
    assert!(matches!(copy.error(), SrsError::Format { .. }));

    let mut copy = Copy::new();
    copy.put(4, &2_u32.to_le_bytes());
    assert!(matches!(copy.error(), SrsError::Format { .. }));

    let mut copy = Copy::new();
    copy.put(8, &u32::MAX.to_le_bytes());
    assert!(matches!(copy.error(), SrsError::Format { .. }));

    let mut copy = Copy::new();
    let power_at = copy.section(1) + 36;
    copy.put(power_at, &63_u32.to_le_bytes());
    assert!(matches!(copy.error(), SrsError::Format { .. }));
}

#[test]
fn a_ceremony_that_is_too_small_is_refused() {
    let error = read_ptau(&vector(), POWER + 1).map(|srs| srs.id).unwrap_err();
    assert!(matches!(error, SrsError::TooSmall { found: POWER, expected } if expected == POWER + 1));
    assert_eq!(ptau_k(&vector()).unwrap(), POWER);
}

#[test]
fn random_damage_never_panics_and_never_passes() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut copy = Copy::new();
    let good = copy.bytes.clone();
    let used = copy.tau_g1(1 << POWER);
    for _ in 0..300 {
        let at = rng.gen_range(0..used);
        copy.bytes = good.clone();
        copy.bytes[at] ^= rng.gen_range(1..=255_u8);
        // The ceremony's own power is the one thing here that is not read.
        let refused = copy.read(POWER).is_err();
        assert!(refused || CEREMONY_POWER.contains(&at), "byte {at}");
    }
}

/// halo2's own parameters for a secret that this test knows.
fn halo2_file(dir: &TempDir, k: u32, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let params = ParamsKZG::<Bn256>::setup(k, ChaCha20Rng::seed_from_u64(1));
    let mut bytes = raw_bytes(&params);
    change(&mut bytes);
    let path = dir.path().join("params");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn halo2_error(k: u32, change: impl FnOnce(&mut Vec<u8>)) -> SrsError {
    let dir = tempfile::tempdir().unwrap();
    let path = halo2_file(&dir, k, change);
    read_halo2(&path, k).map(|srs| srs.id).unwrap_err()
}

#[test]
fn halo2_parameters_are_accepted_whole_or_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = halo2_file(&dir, 6, |_| ());
    for k in [3, 6] {
        let srs = read_halo2(&path, k).unwrap();
        let expected = ParamsKZG::<Bn256>::setup(k, ChaCha20Rng::seed_from_u64(1));
        assert_eq!(raw_bytes(&srs.params), raw_bytes(&expected));
        assert_eq!(srs.id, halo2_id(&path).unwrap());
    }
    assert_eq!(halo2_k(&path).unwrap(), 6);
    let error = read_halo2(&path, 7).map(|srs| srs.id).unwrap_err();
    assert!(matches!(
        error,
        SrsError::TooSmall {
            found: 6,
            expected: 7
        }
    ));
}

#[test]
fn damaged_halo2_parameters_are_refused() {
    let k = 5;
    let lagrange = 4 + (G1_BYTES << k);
    let g2 = 4 + 2 * (G1_BYTES << k);
    let swap =
        |bytes: &mut Vec<u8>, a: usize, b: usize, n: usize| (0..n).for_each(|i| bytes.swap(a + i, b + i));

    let error = halo2_error(k, |bytes| bytes[4 + 3 * G1_BYTES] ^= 1);
    assert!(matches!(error, SrsError::OffCurve { part: "g", index: 3 }));
    let error = halo2_error(k, |bytes| bytes[4 + 3 * G1_BYTES..][..32].fill(0xff));
    assert!(matches!(error, SrsError::NonCanonical { part: "g", index: 3 }));
    let error = halo2_error(k, |bytes| bytes[4 + 3 * G1_BYTES..][..G1_BYTES].fill(0));
    assert!(matches!(error, SrsError::Identity { part: "g", index: 3 }));
    let error = halo2_error(k, |bytes| {
        swap(bytes, 4 + 3 * G1_BYTES, 4 + 4 * G1_BYTES, G1_BYTES)
    });
    assert!(matches!(error, SrsError::Powers));
    let error = halo2_error(k, |bytes| swap(bytes, lagrange, lagrange + G1_BYTES, G1_BYTES));
    assert!(matches!(error, SrsError::Lagrange));
    let error = halo2_error(k, |bytes| swap(bytes, g2, g2 + G2_BYTES, G2_BYTES));
    assert!(matches!(error, SrsError::Generator { part: "g2" }));
    let error = halo2_error(k, |bytes| bytes[g2 + G2_BYTES] ^= 1);
    assert!(matches!(error, SrsError::OffCurve { part: "g2", index: 1 }));
    let error = halo2_error(k, |bytes| bytes.truncate(100));
    assert!(matches!(
        error,
        SrsError::Length {
            part: "file",
            found: 100,
            ..
        }
    ));
    let error = halo2_error(k, |bytes| bytes.push(0));
    assert!(matches!(error, SrsError::Length { part: "file", .. }));
    let error = halo2_error(k, |bytes| bytes.truncate(3));
    assert!(matches!(
        error,
        SrsError::Length {
            part: "file",
            found: 3,
            expected: 4
        }
    ));
    let error = halo2_error(k, |bytes| bytes[..4].fill(0xff));
    assert!(matches!(error, SrsError::Format { .. }));
}

#[test]
fn halo2s_compressed_parameters_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("params");
    for k in [1, 6] {
        let params = ParamsKZG::<Bn256>::setup(k, ChaCha20Rng::seed_from_u64(1));
        let mut bytes = vec![];
        params.write_custom(&mut bytes, SerdeFormat::Processed).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let error = halo2_id(&path).unwrap_err();
        assert!(
            matches!(&error, SrsError::Format { found, .. } if found.contains("compressed")),
            "{error}"
        );
        bytes.push(0);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            halo2_id(&path),
            Err(SrsError::Length { part: "file", .. })
        ));
    }
}

#[test]
fn a_file_is_judged_by_its_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let misnamed = dir.path().join("params.bin");
    std::fs::copy(vector(), &misnamed).unwrap();
    let source = SrsSource::of_file(&misnamed).unwrap();
    assert_eq!(source, SrsSource::Ptau(misnamed));
    assert_eq!(source.k().unwrap(), POWER);

    let misnamed = dir.path().join("a.ptau");
    std::fs::rename(halo2_file(&dir, 6, |_| ()), &misnamed).unwrap();
    let source = SrsSource::of_file(&misnamed).unwrap();
    assert_eq!(source, SrsSource::Halo2(misnamed.clone()));
    assert_eq!(source.k().unwrap(), 6);

    for (content, expected) in [(&b"zkey\x01"[..], "0x7a6b6579"), (&[29, 0, 0, 0], "0x1d000000")] {
        std::fs::write(&misnamed, content).unwrap();
        let error = SrsSource::of_file(&misnamed).unwrap_err();
        assert!(matches!(error, SrsError::Format { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    for length in 0..4 {
        std::fs::write(&misnamed, &b"ptau"[..length]).unwrap();
        let error = SrsSource::of_file(&misnamed).unwrap_err();
        assert!(
            matches!(error, SrsError::Length { part: "file", found, expected: 4 } if found == length as u64)
        );
    }
    let absent = SrsSource::of_file(Path::new("no such file")).unwrap_err();
    assert!(matches!(absent, SrsError::Io { .. }));
}

#[test]
fn the_development_srs_is_insecure_in_either_form_of_file() {
    let insecure = development_id(true).unwrap();
    let srs = development(POWER, true, &|_| ()).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("params");
    std::fs::write(&path, raw_bytes(&srs.params)).unwrap();
    assert_eq!(halo2_id(&path).unwrap(), insecure);
    assert_eq!(read_halo2(&path, POWER).unwrap().id, insecure);

    let mut copy = Copy::new();
    for (index, point) in srs.params.get_g().iter().enumerate() {
        let at = copy.tau_g1(index);
        copy.put(at, &point.to_raw_bytes());
    }
    let at = copy.tau_g2(1);
    copy.put(at, &srs.params.s_g2().to_raw_bytes());
    let header = copy.header(12);
    copy.put(header, &99_u32.to_le_bytes());
    assert_eq!(copy.read(POWER).unwrap().id, insecure);
    assert_eq!(ptau_id(&copy.dir.path().join("a.ptau")).unwrap(), insecure);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ptau_id(Path::new("no such file")).unwrap_err();
    assert!(matches!(error, SrsError::Io { path, .. } if path == Path::new("no such file")));
}
