//! Decoders of bytes from outside, on any bytes: they neither panic nor take memory that the bytes do not pay for, what they
//! take encodes to what was taken, and what is refused leaves no trace.

use fuzzer::Target;
use srs::{SrsSource, development, halo2_id, halo2_k, ptau_id, ptau_k, read_halo2, read_ptau};
use std::fmt::Display;
use std::path::Path;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

fn refused(error: impl Display) -> String {
    error.to_string()
}

#[test]
fn fuzz_ptau() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/snarkjs-7.ptau")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    target("ptau")
        .seed("power-1", of_power_one(&whole))
        .runs(600)
        .memory(1 << 22, 64)
        .run(|bytes| {
            std::fs::write(&path, bytes).unwrap();
            let _ = SrsSource::of_file(&path).and_then(|source| source.k());
            let (id, k) = (ptau_id(&path).map_err(refused)?, ptau_k(&path).map_err(refused)?);
            assert!(bytes.len() as u64 >= 64 << k, "powers that are not there");
            let srs = read_ptau(&path, 1).map_err(refused)?;
            assert_eq!(srs.id, id);
            Ok(())
        });
}

/// The first two powers of a file as a file.
fn of_power_one(whole: &[u8]) -> Vec<u8> {
    let section = |wanted: u32| {
        let mut at = 12;
        loop {
            let size = u64::from_le_bytes(whole[at + 4..at + 12].try_into().unwrap()) as usize;
            let bytes = &whole[at + 12..at + 12 + size];
            if whole[at..at + 4] == wanted.to_le_bytes() {
                return bytes;
            }
            at += 12 + size;
        }
    };
    let mut header = section(1).to_vec();
    header[36..40].copy_from_slice(&1_u32.to_le_bytes());
    let parts = [
        (1_u32, &header[..]),
        (2, &section(2)[..3 * 64]),
        (3, &section(3)[..2 * 128]),
        (12, &section(12)[..3 * 64]),
    ];
    let mut file = [&b"ptau"[..], &1_u32.to_le_bytes(), &4_u32.to_le_bytes()].concat();
    for (id, bytes) in parts {
        file.extend(id.to_le_bytes());
        file.extend((bytes.len() as u64).to_le_bytes());
        file.extend(bytes);
    }
    file
}

#[test]
fn fuzz_halo2_parameters() {
    use halo2_proofs::SerdeFormat;
    let mut raw = Vec::new();
    let srs = development(2, true, &|_| {}).unwrap();
    srs.params.write_custom(&mut raw, SerdeFormat::RawBytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    target("halo2-parameters")
        .seed("development-k-2", raw)
        .runs(600)
        .memory(1 << 22, 64)
        .run(|bytes| {
            std::fs::write(&path, bytes).unwrap();
            let _ = SrsSource::of_file(&path).and_then(|source| source.k());
            let (id, k) = (
                halo2_id(&path).map_err(refused)?,
                halo2_k(&path).map_err(refused)?,
            );
            assert!(bytes.len() as u64 >= 128 << k, "powers that are not there");
            let srs = read_halo2(&path, k.min(2)).map_err(refused)?;
            assert_eq!(srs.id, id);
            Ok(())
        });
}
