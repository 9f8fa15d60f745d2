//! Makes keys, and keeps reference strings in the cache. The only place, tests aside, that instantiates halo2's key generation.

use std::{io::Write, path::Path};

use halo2_proofs::{
    SerdeFormat,
    plonk::{Circuit, ProvingKey, keygen_pk2},
    poly::{commitment::Params, kzg::commitment::ParamsKZG},
};
use halo2curves::{
    bn256::{Bn256, Fr, G1Affine},
    serde::SerdeObject,
};
use rayon::prelude::*;
use srs::{G1_BYTES, G2_BYTES, Srs, SrsId, params_from_parts};

use crate::{
    config::KeyError,
    file::{self, FileError, Kind},
};

/// Keys of a circuit. With `compress_selectors`, selectors that exclude each other share fixed columns where the degree
/// allows: fewer commitments for whoever verifies the proofs.
///
/// # Errors
/// [`KeyError::Keygen`] when the circuit does not fit its size.
pub fn generate<C: Circuit<Fr>>(
    params: &ParamsKZG<Bn256>,
    circuit: &C,
    name: &'static str,
    compress_selectors: bool,
) -> Result<ProvingKey<G1Affine>, KeyError> {
    keygen_pk2(params, circuit, compress_selectors).map_err(|error| KeyError::Keygen {
        circuit: name,
        reason: error.to_string(),
    })
}

/// Writes an SRS to the cache: both bases, then the two points in G2, in raw form.
pub(crate) fn write_srs(path: &Path, srs: &Srs) -> Result<(), FileError> {
    file::write(
        path,
        Kind::Srs { k: srs.params.k() },
        srs.id.digest,
        |mut out: &mut dyn Write| srs.params.write_custom(&mut out, SerdeFormat::RawBytesUnchecked),
    )
}

/// Reads an SRS from the cache. Its points were checked when it was written; its digest says that they are the same.
pub(crate) fn read_srs(path: &Path, k: u32, id: SrsId) -> Result<Srs, FileError> {
    let corrupt = FileError::corrupt(path);
    let io = FileError::io(path);
    let mut reader = file::open(path, Kind::Srs { k }, id.digest)?;
    let mut bytes = vec![];
    std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(io)?;
    let basis = G1_BYTES << k;
    if bytes.len() != 4 + 2 * basis + 2 * G2_BYTES || bytes[..4] != k.to_le_bytes() {
        return Err(corrupt("it is of another size"));
    }
    let points = |from: usize| -> Vec<G1Affine> {
        bytes[from..from + basis]
            .par_chunks_exact(G1_BYTES)
            .map(G1Affine::from_raw_bytes_unchecked)
            .collect()
    };
    let (g, g_lagrange) = (points(4), points(4 + basis));
    let g2 = |from: usize| SerdeObject::from_raw_bytes_unchecked(&bytes[from..from + G2_BYTES]);
    let (g2, s_g2) = (g2(4 + 2 * basis), g2(4 + 2 * basis + G2_BYTES));
    let srs = Srs {
        params: params_from_parts(k, g, g_lagrange, g2, s_g2),
        id,
    };
    if SrsId::new(&srs.opening_key()) != id {
        return Err(corrupt("it holds another reference string"));
    }
    Ok(srs)
}
