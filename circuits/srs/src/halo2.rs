//! Reads halo2's raw `ParamsKZG` files: `k` (u32, little endian), `2^k` powers, `2^k` Lagrange points, `g2`, `s·g2`,
//! all in Montgomery form. The Lagrange basis of a larger file is of no use for a smaller `k`, so it is made anew there.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use halo2_proofs::arithmetic::g_to_lagrange;
use halo2curves::{bn256::G1Affine, group::prime::PrimeCurveAffine};

use crate::{
    check::{G1_BYTES, G2_BYTES, check_lagrange, check_powers, parse_g1, parse_g2},
    error::SrsError,
    opening::OpeningKey,
    parameters::{K_MAX, Srs, SrsId, params_from_parts},
};

const FORMAT: &str = "raw halo2 parameters";

/// Which SRS the file holds, by its first power and its points in G2, each checked to be on its curve.
///
/// # Errors
/// [`SrsError`] when the file cannot be read or is not what it should be.
pub fn halo2_id(path: &Path) -> Result<SrsId, SrsError> {
    let (mut file, k) = open(path)?;
    let key = read_key(path, &mut file, k)?;
    Ok(SrsId::new(&key))
}

/// Log2 of the powers that the file holds.
///
/// # Errors
/// [`SrsError`] when the file cannot be read or is not what it should be.
pub fn halo2_k(path: &Path) -> Result<u32, SrsError> {
    open(path).map(|(_, k)| k)
}

/// Reads the first `2^k` powers of the file and checks them: points, pairing, and Lagrange basis.
///
/// # Errors
/// [`SrsError`] naming the first thing that is wrong.
pub fn read_halo2(path: &Path, k: u32) -> Result<Srs, SrsError> {
    let (mut file, file_k) = open(path)?;
    if file_k < k {
        return Err(SrsError::TooSmall {
            found: file_k,
            expected: k,
        });
    }
    let key = read_key(path, &mut file, file_k)?;
    let g = parse_g1("g", &read_at(path, &mut file, 4, G1_BYTES << k)?)?;
    check_powers(&g, &key)?;
    let g_lagrange = if file_k == k {
        let bytes = read_at(path, &mut file, 4 + ((G1_BYTES as u64) << k), G1_BYTES << k)?;
        let points = parse_g1("g_lagrange", &bytes)?;
        check_lagrange(k, &g, &points)?;
        points
    } else {
        g_to_lagrange(g.iter().map(PrimeCurveAffine::to_curve).collect(), k)
    };
    Ok(Srs {
        id: SrsId::new(&key),
        params: params_from_parts(k, g, g_lagrange, key.g2, key.s_g2),
    })
}

fn open(path: &Path) -> Result<(File, u32), SrsError> {
    let io = SrsError::io(path);
    let mut file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    let header = read_at(path, &mut file, 0, found.min(4) as usize)?;
    let Ok(k) = header.try_into().map(u32::from_le_bytes) else {
        return Err(SrsError::Length {
            part: "file",
            found,
            expected: 4,
        });
    };
    if k > K_MAX {
        return Err(SrsError::Format {
            format: FORMAT,
            found: format!("k = {k}"),
        });
    }
    let expected = 4 + 2 * ((G1_BYTES as u64) << k) + 2 * G2_BYTES as u64;
    // Compressed points have half the bytes, and are the one form of halo2's that has another length.
    if found == 4 + (expected - 4) / 2 {
        return Err(SrsError::Format {
            format: FORMAT,
            found: format!(
                "halo2's compressed parameters (SerdeFormat::Processed) of k = {k}; write them with SerdeFormat::RawBytes"
            ),
        });
    }
    if found != expected {
        return Err(SrsError::Length {
            part: "file",
            found,
            expected,
        });
    }
    Ok((file, k))
}

fn read_key(path: &Path, file: &mut File, k: u32) -> Result<OpeningKey, SrsError> {
    let g1: Vec<G1Affine> = parse_g1("g", &read_at(path, file, 4, G1_BYTES)?)?;
    let g2 = parse_g2(
        "g2",
        &read_at(path, file, 4 + 2 * ((G1_BYTES as u64) << k), 2 * G2_BYTES)?,
    )?;
    Ok(OpeningKey {
        g1: g1[0],
        g2: g2[0],
        s_g2: g2[1],
    })
}

fn read_at(path: &Path, file: &mut File, from: u64, length: usize) -> Result<Vec<u8>, SrsError> {
    let io = SrsError::io(path);
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}
