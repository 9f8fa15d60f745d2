//! The second peer, sppark's sum of multiples over BN254: timed for sums of random points by random scalars, each checked.

#[expect(unsafe_code, reason = "sppark is C++, and its functions are foreign ones")]
mod device;
mod sample;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use device::{Jacobian, Kept, Pinned};
use halo2curves::bn256::G1Affine;
use sample::Sample;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// Let sppark sum multiples of 2^k points of BN254 on the first GPU that it sees.
#[derive(Parser)]
struct Args {
    /// The least k.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=26))]
    k_min: u32,
    /// The greatest k.
    #[arg(long, default_value_t = 23, value_parser = clap::value_parser!(u32).range(1..=26))]
    k_max: u32,
    /// Sums of each kind. The first of a process wakes the device.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Seed of points and scalars.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report to this file; it is printed in any case.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (k_min, k_max) = (args.k_min, args.k_max);
    ensure!(k_min <= k_max, "--k-min {k_min} is above --k-max {k_max}");
    let device = device::name()?;
    let sample = Sample::new(1 << k_max, args.seed);
    let sizes: Result<Vec<Value>> = (k_min..=k_max)
        .map(|k| measure(&sample, k, args.repeat).with_context(|| format!("2^{k} points")))
        .collect();
    let report = json!({
        "peer": "sppark 0.1.16",
        "command": command(),
        "commit": env!("COMMIT"),
        "device": device,
        "seed": args.seed,
        "repeat": args.repeat,
        "sizes": sizes?,
    });
    let text = serde_json::to_string_pretty(&report)?;
    println!("{text}");
    if let Some(path) = args.json {
        fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The program without its folder, and what it was called with.
fn command() -> String {
    let arguments = std::env::args().skip(1);
    let words: Vec<String> = std::iter::once("sppark-msm".to_owned())
        .chain(arguments)
        .collect();
    words.join(" ")
}

/// Sums of 2^k points: as one whole call has them, with the host's memory pinned, with the points kept on the device (and
/// the scalars in pinned memory), and with both kept there.
fn measure(sample: &Sample, k: u32, repeat: u32) -> Result<Value> {
    let n = 1 << k;
    let (points, scalars, expected) = (&sample.points[..n], &sample.scalars[..n], sample.sum(n));
    let times = |what: &str, sum: &mut dyn FnMut() -> Result<Jacobian>| {
        times(n, repeat, &expected, sum).with_context(|| what.to_owned())
    };
    let pageable = times("host memory", &mut || device::sum(points, scalars))?;
    let _pinned = (Pinned::new(points)?, Pinned::new(scalars)?);
    let pinned = times("pinned memory", &mut || device::sum(points, scalars))?;
    let mut kept = Kept::new(points, scalars)?;
    let points_kept = times("points kept", &mut || kept.sum(Some(scalars)))?;
    let both_kept = times("points and scalars kept", &mut || kept.sum(None))?;
    let seconds = |times: &Value| times["seconds"].as_f64().unwrap_or(f64::NAN);
    eprintln!(
        "  k = {k}: {:.5} s, pinned {:.5} s, points kept {:.5} s, both kept {:.5} s",
        seconds(&pageable),
        seconds(&pinned),
        seconds(&points_kept),
        seconds(&both_kept)
    );
    Ok(json!({
        "k": k,
        // Each sum was compared; a wrong one ends the program.
        "right": true,
        "host": pageable,
        "host_pinned": pinned,
        "points_kept": points_kept,
        "both_kept": both_kept,
    }))
}

/// Best and first time of some sums, each of which must be `expected`.
fn times(
    n: usize,
    repeat: u32,
    expected: &G1Affine,
    sum: &mut dyn FnMut() -> Result<Jacobian>,
) -> Result<Value> {
    let mut seconds = Vec::new();
    for run in 0..repeat {
        let start = Instant::now();
        let found = sum()?;
        seconds.push(start.elapsed().as_secs_f64());
        ensure!(sample::affine(&found) == Some(*expected), "sum {run} is wrong");
    }
    let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(json!({
        "seconds": best,
        "first_seconds": seconds.first(),
        "ns_per_element": best * 1e9 / n as f64,
    }))
}
