//! Sums of the sizes and kinds of scalars that proofs have, with and without tables of multiples, compared with the CPU's.
//!
//! What an ICICLE device computes wrongly comes with success, and depends on size, batch and scalars: bits and equal scalars,
//! which gather in few buckets, have shown it.

use crate::step::tell;
use accel::{CpuDevice, Device};
use anyhow::{Result, ensure};
use benches::sample;
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;

/// Columns of `2^k` scalars in turn: random, as a witness has them, bits, small numbers in order, and all alike.
pub struct Columns {
    k: u32,
    points: Vec<G1Affine>,
    columns: Vec<Vec<Fr>>,
    sums: Vec<G1>,
}

/// Vectors that are summed in one call.
const BATCHES: [usize; 3] = [1, 2, 6];

impl Columns {
    /// Columns for the largest batch, and their sums on the CPU.
    pub fn new(k: u32, seed: u64) -> Result<Self> {
        let n = 1 << k;
        let small = |modulus: u64| -> Vec<Fr> {
            let numbers = (0..n as u64).into_par_iter();
            numbers.map(|row| Fr::from(row * modulus / n as u64)).collect()
        };
        let bits = sample::scalars(n, seed + 2).into_par_iter().map(|value| {
            let odd = value.to_bytes()[0] & 1;
            Fr::from(u64::from(odd))
        });
        let columns = vec![
            sample::scalars(n, seed),
            sample::witness(n, seed + 1),
            bits.collect(),
            small(1 << 20),
            vec![-Fr::ONE; n],
            sample::witness(n, seed + 3),
        ];
        let cpu = CpuDevice::new();
        let points = sample::points(n, seed);
        let bases = cpu.bases(&points, 0)?;
        let vectors = columns.iter().map(|column| cpu.upload(column));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        let sums = cpu.msm(&bases, &vectors.iter().collect::<Vec<_>>())?;
        Ok(Self {
            k,
            points,
            columns,
            sums,
        })
    }

    /// Sums on a device with a table of up to `table_bytes_max`; a row for each batch.
    ///
    /// # Errors
    /// A call failed. Wrong sums do not fail: the rows say which.
    pub fn check<D: Device>(&self, device: &D, table_bytes_max: u64) -> Result<Vec<Value>> {
        let bases = device.bases(&self.points, table_bytes_max)?;
        let vectors = self.columns.iter().map(|column| device.upload(column));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::new();
        for batch in BATCHES {
            let mut wrong: Vec<usize> = Vec::new();
            let mut seconds = f64::INFINITY;
            for _ in 0..2 {
                let (start, mut found) = (Instant::now(), Vec::new());
                for vectors in vectors.chunks(batch) {
                    found.extend(device.msm(&bases, &vectors.iter().collect::<Vec<_>>())?);
                }
                seconds = seconds.min(start.elapsed().as_secs_f64());
                ensure!(found.len() == self.sums.len(), "{} sums", found.len());
                let differing = (0..found.len()).filter(|at| found[*at] != self.sums[*at]);
                wrong.extend(differing);
            }
            wrong.sort_unstable();
            wrong.dedup();
            let row = json!({
                "k": self.k,
                "table": table_bytes_max > 0,
                "batch": batch,
                "seconds": seconds,
                "wrong_columns": wrong,
            });
            eprintln!("  {row}");
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Tells all rows, and whether every sum was right.
pub fn conclude(rows: Vec<Value>) -> Result<()> {
    let wrong = |row: &&Value| {
        row["wrong_columns"]
            .as_array()
            .is_none_or(|wrong| !wrong.is_empty())
    };
    let found = rows.iter().filter(wrong).count();
    tell(json!({ "rows": rows }));
    ensure!(found == 0, "wrong sums in {found} of {} cases", rows.len());
    Ok(())
}
