//! Times a device's kernels per size next to halo2curves' own: MSM, NTT, coset NTT and an element-wise program.
//!
//! With the feature `arkworks`, its MSM and NTT are timed too. Every answer is checked. All take turns in each
//! repetition, and times are the least of the repetitions; a
//! ratio of processor times stands beside that of wall times, for machines that have other work too. With `--device cpu`
//! the report says what bounds its kernels ([`benches::bounds`]).

use anyhow::{Result, ensure};
use benches::bounds::Rates;
use benches::device::{DeviceName, OpenDevice};
use benches::kernels::{Measurement, measure};
use benches::{publish, report};
use clap::Parser;
use serde_json::json;
use std::path::PathBuf;

/// Time the kernels of devices against halo2curves, and check what they compute.
#[derive(Parser)]
struct Args {
    /// Devices: cpu, portable (the CPU without its vector kernels), icicle, icicle:N, icicle-cpu, icicle:TYPE:N.
    #[arg(long, value_delimiter = ',', default_values = ["cpu", "portable"])]
    device: Vec<DeviceName>,
    /// Smallest size, as a power of two.
    #[arg(long, default_value_t = 14)]
    k_min: u32,
    /// Largest size.
    #[arg(long, default_value_t = 20)]
    k_max: u32,
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// What multiples of the bases may take in a second measurement of MSM; 0 for none.
    #[arg(long, default_value_t = 1024)]
    table_mib: u64,
    /// ICICLE's installation.
    #[arg(long)]
    icicle_dir: Option<PathBuf>,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.k_min <= args.k_max && args.k_max <= 24,
        "sizes from 2^{} to 2^{}",
        args.k_min,
        args.k_max
    );
    ensure!(args.repeat > 0, "no repetitions");
    let open = |name: &DeviceName| name.open(args.icicle_dir.as_deref(), args.k_max);
    let devices = args.device.iter().map(open).collect::<Result<Vec<_>>>()?;
    let cpu = args.device.iter().zip(&devices).find_map(|pair| match pair {
        (DeviceName::Cpu, OpenDevice::Cpu(device)) => Some(device),
        _ => None,
    });
    let rates = cpu.map(Rates::measure).transpose()?;
    let measurement = Measurement {
        repeat: args.repeat,
        table_mib: args.table_mib,
        rates: rates.as_ref(),
    };
    let mut rows = Vec::new();
    for k in args.k_min..=args.k_max {
        rows.extend(measure(&devices, k, measurement)?);
    }
    let mut report = report(json!(rows));
    report["rates"] = json!(rates.as_ref().map(Rates::json));
    publish(&report, args.json.as_deref())
}
