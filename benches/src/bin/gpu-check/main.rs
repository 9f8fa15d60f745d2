//! The whole check of a device, in one command that needs no Rust on the machine: what is there, the conformance suite,
//! random multiplications and transforms against the CPU, proofs that verify, and how long each takes.
//!
//! Each step runs in a process of its own: an exception in ICICLE or a fault of the GPU ends that step alone, and the
//! report says how it ended and how far it had come. The report is written anew after each step; a table ends it.

mod proofs;
mod random;
mod step;
mod supervisor;
mod table;
mod tables;

use anyhow::{Context, Result, ensure};
use benches::device::DeviceName;
use circuits::preset::{GPU, Preset, TINY};
use clap::Parser;
use keys::default_dir;
use std::path::PathBuf;
use std::process::ExitCode;
use step::Step;

/// Check a device, and time it.
///
/// Exits with 1 when a step failed, or when the time did not suffice for all of them.
#[derive(Clone, Parser)]
struct Args {
    /// The device: icicle (the first NVIDIA GPU), icicle:N, icicle-cpu, cpu, portable, icicle:TYPE:N.
    #[arg(long, default_value = "icicle")]
    device: DeviceName,
    /// ICICLE's installation; default: ICICLE_BACKEND_INSTALL_DIR, else /opt/icicle.
    #[arg(long)]
    icicle_dir: Option<PathBuf>,
    /// Sizes of the circuits: tiny, ci, gpu, or gpu-shard (the shard of gpu alone).
    #[arg(long, default_value = "ci", value_parser = preset)]
    preset: Preset,
    /// Random multiplications, and as many random transforms.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Seed of the first round; the next ones count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most rounds have up to 2^K elements.
    #[arg(long, default_value_t = 16, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=24))]
    k_max: u32,
    /// One round in fifty has up to 2^K elements.
    #[arg(long, default_value_t = 20, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=24))]
    k_large: u32,
    /// Sizes of sums with and without tables of multiples, as powers of two.
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "12,16", value_parser = clap::value_parser!(u32).range(1..=24))]
    tables_k: Vec<u32>,
    /// Proofs of each circuit after the first, of which the fastest is told.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    warm: u16,
    /// Largest size whose kernels are timed; default: 24 on a GPU, 21 elsewhere.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=24))]
    kernels_k_max: Option<u32>,
    /// What multiples of the bases may take of the device's memory, in MiB, when proofs are made and kernels timed.
    #[arg(long, default_value_t = 0)]
    table_mib: u64,
    /// Folder of the keys, which are made if need be; default: as for the prover.
    #[arg(long, env = keys::KEYS_VARIABLE)]
    keys_dir: Option<PathBuf>,
    /// Steps to leave out.
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// The only steps to run.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "skip")]
    only: Vec<Step>,
    /// Seconds for everything. What has not begun by then is reported as not run; a step has a share of it at most.
    #[arg(long, default_value_t = 570)]
    deadline_seconds: u64,
    /// Write the report to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run one step and tell the parent process about it. For this program's own use.
    #[arg(long, value_enum, hide = true)]
    step: Option<Step>,
    /// Seconds that the step may take. For this program's own use.
    #[arg(long, hide = true, default_value_t = 570.0)]
    step_seconds: f64,
}

fn preset(name: &str) -> Result<Preset> {
    // The `gpu` preset's shard above the least aggregation, whose keys take minutes less.
    if name == "gpu-shard" {
        return Ok(Preset {
            name: "gpu-shard",
            shard: GPU.shard,
            ..TINY
        });
    }
    Preset::by_name(name).with_context(|| format!("no preset named {name}"))
}

impl Args {
    fn keys_dir(&self) -> PathBuf {
        self.keys_dir.clone().unwrap_or_else(default_dir)
    }

    fn wants(&self, step: Step) -> bool {
        !self.skip.contains(&step) && (self.only.is_empty() || self.only.contains(&step))
    }

    fn kernels_k_max(&self) -> u32 {
        let default = if self.device.is_gpu() { 24 } else { 21 };
        self.kernels_k_max.unwrap_or(default)
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(step) = args.step {
        return Ok(step::child(step, &args));
    }
    ensure!(args.deadline_seconds > 0, "no time for anything");
    Ok(match supervisor::check(&args)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
