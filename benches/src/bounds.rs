//! What bounds the CPU's kernels: how fast this machine multiplies, copies and gathers, and how much of each a kernel takes.
//!
//! A kernel that did nothing but multiply, with all operands at hand, would take its multiplications divided by the rate at
//! which a chain of them runs in the first-level cache. A kernel that did nothing but read and write would take its bytes
//! divided by the rate of a plain copy. The shares of a measured time that these two explain say which of them to work on;
//! they may overlap, so that they need not add up to one.

use accel::{CpuBases, CpuDevice, CpuVector, Device, Op, Operand, Program};
use anyhow::{Result, ensure};
use halo2curves::bn256::Fr;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// What all threads of this machine do in a second.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Name of the device whose multiplications were timed.
    pub device: String,
    /// Field multiplications, by the kernels of the device.
    pub multiplications: f64,
    /// Bytes read and written by a copy that no cache holds.
    pub bytes: f64,
    /// Cache lines read in random order from 64 MiB, as a sum of 2^20 multiples reads its points.
    pub lines: f64,
    /// Bytes of fresh memory touched for the first time, which the system clears, and which the host of a virtual machine
    /// may have to find first.
    pub fresh_bytes: f64,
}

/// What a kernel takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Field multiplications.
    pub multiplications: f64,
    /// Bytes read and written in order.
    pub bytes: f64,
    /// Cache lines read in random order.
    pub lines: f64,
}

/// Multiplications in the chain that is timed.
const CHAIN: usize = 64;

/// The best of so many repetitions counts.
const REPEAT: usize = 5;

impl Rates {
    /// Measures them; takes some seconds.
    ///
    /// # Errors
    /// The device fails, or computes wrongly.
    pub fn measure(device: &CpuDevice) -> Result<Self> {
        Ok(Self {
            device: device.name(),
            multiplications: multiplications(device)?,
            bytes: bytes(),
            lines: lines(),
            fresh_bytes: fresh_bytes(),
        })
    }

    /// The rates as a report has them.
    pub fn json(&self) -> Value {
        json!({
            "device": self.device,
            "multiplications_per_s": self.multiplications,
            "copied_bytes_per_s": self.bytes,
            "random_lines_per_s": self.lines,
            "fresh_bytes_per_s": self.fresh_bytes,
        })
    }

    /// The shares of `seconds` that multiplications and memory explain.
    pub fn shares(&self, work: Work, seconds: f64) -> Value {
        json!({
            "multiplications": work.multiplications,
            "bytes": work.bytes,
            "random_lines": work.lines,
            "arithmetic": work.multiplications / self.multiplications / seconds,
            "memory": (work.bytes / self.bytes + work.lines / self.lines) / seconds,
        })
    }
}

impl Work {
    /// A transform of `2^k` elements: butterflies but for those of the first stage of either pass and half of the second's,
    /// and two multiplications for an element between the passes; on a coset, one more before. Either pass reads and
    /// writes every element.
    pub fn ntt(k: u32, on_coset: bool) -> Self {
        let n = f64::from(1u32 << k);
        let butterflies = n / 2.0 * (f64::from(k) - 4.0).max(0.0) + 2.0 * n / 4.0;
        Self {
            multiplications: butterflies + n * if on_coset { 3.0 } else { 2.0 },
            bytes: n * 4.0 * 32.0,
            lines: 0.0,
        }
    }

    /// A sum of multiples: six multiplications for an addition, and a base of one cache line for every digit.
    pub fn msm(bases: &CpuBases, scalars: &CpuVector) -> Self {
        let additions = bases.additions(scalars);
        Self {
            multiplications: 6.0 * additions.total,
            // A tree's later rounds, whose points lie in order, stay in the second-level cache.
            bytes: 0.0,
            lines: additions.bases,
        }
    }

    /// A program over `columns` columns of `2^k` elements, with one output and so many multiplications for each element.
    pub fn program(k: u32, columns: usize, multiplications: f64) -> Self {
        let n = f64::from(1u32 << k);
        Self {
            multiplications: n * multiplications,
            bytes: n * (columns + 1) as f64 * 32.0,
            lines: 0.0,
        }
    }
}

/// The least time of several runs, in seconds.
fn least(mut run: impl FnMut()) -> f64 {
    let times = (0..REPEAT).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn multiplications(device: &CpuDevice) -> Result<f64> {
    const LEN: usize = 1 << 18;
    let value = Operand::Input {
        column: 0,
        rotation: 0,
    };
    let power = |at: usize| match at {
        0 => value,
        at => Operand::Result(at as u32 - 1),
    };
    // `x^2` and then always another variable factor, so that nothing is a square or known before.
    let ops = (0..CHAIN).map(|at| Op::Mul(power(at), power(at.saturating_sub(1))));
    let program = Program::new(ops.collect(), vec![Operand::Result(CHAIN as u32 - 1)])?;
    let base = Fr::from(3);
    let input = device.upload(&vec![base; LEN])?;
    let mut output = device.zeros(LEN)?;
    let mut failure = None;
    let seconds = least(|| {
        let done = device.run(&program, &[&input], &[], &mut [&mut output]);
        failure = done.err().or(failure.take());
    });
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    // Every factor is one of the two powers before: `x, x^2, x^3, x^5, …`.
    let (mut before, mut last) = (base, base.square());
    for _ in 1..CHAIN {
        (before, last) = (last, last * before);
    }
    ensure!(device.read(&output, LEN - 1, 1)? == [last], "a wrong product");
    Ok((LEN * CHAIN) as f64 / seconds)
}

fn bytes() -> f64 {
    const LEN: usize = 1 << 25;
    const PART: usize = 1 << 16;
    let (from, mut to) = (vec![1u64; LEN], vec![0u64; LEN]);
    let seconds = least(|| {
        let parts = to.par_chunks_mut(PART).zip(from.par_chunks(PART));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    (2 * LEN * size_of::<u64>()) as f64 / seconds
}

fn fresh_bytes() -> f64 {
    const LEN: usize = 1 << 28;
    const PART: usize = 1 << 18;
    let start = Instant::now();
    let mut bytes = vec![0u64; LEN];
    // A word of every page.
    let parts = bytes.par_chunks_mut(PART);
    parts.for_each(|part| part.iter_mut().step_by(512).for_each(|word| *word = 1));
    black_box(&mut bytes);
    (LEN * size_of::<u64>()) as f64 / start.elapsed().as_secs_f64()
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

fn lines() -> f64 {
    const LINES: usize = 1 << 20;
    const READS: usize = 1 << 24;
    const PART: usize = 1 << 14;
    let lines = vec![Line([1; 8]); LINES];
    let mut order = vec![0u32; READS];
    let parts = order.par_chunks_mut(PART).enumerate();
    parts.for_each(|(part, order)| {
        // A generator of Weyl's kind with a mixer: cheap, and random enough for a cache.
        let mut state = part as u64;
        for at in order {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *at = ((mixed >> 27) % LINES as u64) as u32;
        }
    });
    let seconds = least(|| {
        let sums = order.par_chunks(PART).map(|order| {
            let line = |at: &u32| lines[*at as usize].0;
            order.iter().map(|at| line(at)[0] + line(at)[7]).sum::<u64>()
        });
        black_box(sums.sum::<u64>());
    });
    READS as f64 / seconds
}
