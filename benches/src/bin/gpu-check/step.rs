//! The steps, as they run in their own processes.

use crate::{Args, proofs, random, tables};
use accel::conformance::{self, Extent};
use accel::icicle::doctor;
use accel::{CpuDevice, Device};
use anyhow::{Result, bail};
use benches::device::{DeviceName, OpenDevice};
use benches::kernels::{Measurement, measure};
use benches::proving::keys;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// A part of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// What the machine has; opens the device, which checks it.
    Doctor,
    /// The conformance suite of all devices.
    Conformance,
    /// Random multiplications against the CPU.
    Msm,
    /// Random transforms against the CPU.
    Ntt,
    /// Sums of the sizes and scalars that proofs have, with and without tables of multiples, against the CPU.
    Tables,
    /// Makes the preset's keys where there are none. Not on the device.
    Keys,
    /// Shard proofs on the device.
    Shard,
    /// Aggregation proofs on the device.
    Aggregation,
    /// Times the kernels per size.
    Kernels,
    /// Shard proofs by the engine on the CPU, to compare with.
    CpuShard,
    /// Aggregation proofs by the engine on the CPU.
    CpuAggregation,
    /// A shard proof by stock halo2 on the CPU.
    StockShard,
    /// An aggregation proof by stock halo2 on the CPU.
    StockAggregation,
}

impl Step {
    /// All, in the order in which they run: what says most about the device comes first.
    pub const ALL: [Step; 13] = [
        Step::Doctor,
        Step::Conformance,
        Step::Msm,
        Step::Ntt,
        Step::Tables,
        Step::Keys,
        Step::Shard,
        Step::Aggregation,
        Step::Kernels,
        Step::CpuShard,
        Step::CpuAggregation,
        Step::StockShard,
        Step::StockAggregation,
    ];

    /// Its name, on the command line and in reports.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no step is hidden");
        value.get_name().to_string()
    }

    /// The part of the whole time that it may take at most, so that one which hangs leaves time for others.
    pub fn share(self) -> f64 {
        match self {
            Step::Doctor => 0.1,
            Step::Conformance | Step::Msm | Step::Ntt | Step::Tables | Step::Kernels => 0.25,
            Step::Keys | Step::Aggregation | Step::CpuAggregation | Step::StockAggregation => 0.5,
            Step::Shard | Step::CpuShard | Step::StockShard => 0.2,
        }
    }

    /// Whether it cannot run without keys.
    pub fn needs_keys(self) -> bool {
        match self {
            Step::Shard | Step::CpuShard | Step::StockShard => true,
            Step::Aggregation | Step::CpuAggregation | Step::StockAggregation => true,
            Step::Doctor | Step::Conformance | Step::Msm | Step::Ntt | Step::Tables => false,
            Step::Keys | Step::Kernels => false,
        }
    }
}

/// Adds to what the parent process knows of this step: the fields of an object. What was told before a fault is kept.
pub fn tell(fields: Value) {
    println!("{fields}");
}

/// Runs a step in this process.
pub fn child(step: Step, args: &Args) -> ExitCode {
    let result = match step {
        Step::Doctor => examine(args),
        Step::Conformance => conform(args),
        Step::Msm | Step::Ntt => compute(step, args),
        Step::Tables => sum_over_tables(args),
        Step::Keys => keys(&args.preset, args.keys_dir()).map(drop),
        Step::Shard => prove(args, &args.device, proofs::Circuit::Shard),
        Step::Aggregation => prove(args, &args.device, proofs::Circuit::Aggregation),
        Step::Kernels => time_kernels(args),
        Step::CpuShard => prove(args, &DeviceName::Cpu, proofs::Circuit::Shard),
        Step::CpuAggregation => prove(args, &DeviceName::Cpu, proofs::Circuit::Aggregation),
        Step::StockShard => prove_by_stock(args, proofs::Circuit::Shard),
        Step::StockAggregation => prove_by_stock(args, proofs::Circuit::Aggregation),
    };
    match result {
        Ok(()) => {
            tell(json!({ "passed": true }));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(json!({ "error": format!("{error:#}") }));
            ExitCode::FAILURE
        }
    }
}

fn examine(args: &Args) -> Result<()> {
    let sizes: &[u32] = if args.device.is_gpu() {
        &[12, 16, 20]
    } else {
        &[12, 14]
    };
    let k_max = sizes.iter().copied().max().unwrap_or(1);
    let Some(config) = args.device.icicle(args.icicle_dir.as_deref(), k_max) else {
        let device = CpuDevice::new();
        let memory = device.memory()?;
        tell(json!({ "device": device.name(), "memory_total": memory.total, "memory_free": memory.free }));
        return Ok(());
    };
    let mut report = doctor(&config, sizes);
    // Where it lies on this machine is nobody's business elsewhere.
    report.directory = config
        .directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    tell(json!({ "report": report, "device_opens": report.device.is_ok() }));
    let Ok(device) = report.device else {
        bail!("{}", report.device.err().unwrap_or_default());
    };
    let failed = device
        .msm
        .iter()
        .chain(&device.ntt)
        .find(|rate| rate.error.is_some());
    match failed {
        None => Ok(()),
        Some(rate) => bail!("2^{}: {}", rate.k, rate.error.as_deref().unwrap_or_default()),
    }
}

fn conform(args: &Args) -> Result<()> {
    let extent = Extent::default();
    tell(json!({ "k_max": extent.k_max, "seed": extent.seed, "threads": extent.threads }));
    match args.device.open(args.icicle_dir.as_deref(), extent.k_max + 1)? {
        OpenDevice::Cpu(device) => conformance::run(&device, extent)?,
        OpenDevice::Icicle(device) => conformance::run(&device, extent)?,
    }
    Ok(())
}

fn compute(step: Step, args: &Args) -> Result<()> {
    let plan = random::Plan {
        rounds: args.rounds,
        seed: args.seed,
        k_max: args.k_max.min(args.k_large),
        k_large: args.k_large,
    };
    let operation = if step == Step::Msm {
        random::Operation::Msm
    } else {
        random::Operation::Ntt
    };
    match args.device.open(args.icicle_dir.as_deref(), args.k_large)? {
        OpenDevice::Cpu(device) => random::check(&device, operation, plan),
        OpenDevice::Icicle(device) => random::check(&device, operation, plan),
    }
}

fn sum_over_tables(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    let k_max = args.tables_k.iter().copied().max().unwrap_or(1);
    let device = args.device.open(args.icicle_dir.as_deref(), k_max)?;
    for k in &args.tables_k {
        tell(json!({ "under_way": { "k": k } }));
        let columns = tables::Columns::new(*k, args.seed)?;
        for table_bytes_max in [0, 1 << 33] {
            let found = match &device {
                OpenDevice::Cpu(device) => columns.check(device, table_bytes_max)?,
                OpenDevice::Icicle(device) => columns.check(device, table_bytes_max)?,
            };
            rows.extend(found);
        }
    }
    tables::conclude(rows)
}

fn prove(args: &Args, device: &DeviceName, circuit: proofs::Circuit) -> Result<()> {
    let keys = keys(&args.preset, args.keys_dir())?;
    let task = proofs::Task::new(circuit, &keys)?;
    let k = circuit.k(&args.preset);
    tell(json!({ "device": device.to_string(), "preset": args.preset.name, "k": k }));
    let (warm, table_bytes_max) = (usize::from(args.warm), args.table_mib << 20);
    match device.open(args.icicle_dir.as_deref(), k)? {
        OpenDevice::Cpu(device) => proofs::check(Arc::new(device), keys, &task, warm, table_bytes_max),
        OpenDevice::Icicle(device) => proofs::check(Arc::new(device), keys, &task, warm, table_bytes_max),
    }
}

fn prove_by_stock(args: &Args, circuit: proofs::Circuit) -> Result<()> {
    let keys = keys(&args.preset, args.keys_dir())?;
    let task = proofs::Task::new(circuit, &keys)?;
    tell(json!({ "prover": "halo2-axiom", "preset": args.preset.name, "k": circuit.k(&args.preset) }));
    proofs::check_stock(&keys, &task)
}

fn time_kernels(args: &Args) -> Result<()> {
    /// Smallest size that is timed, unless the largest is smaller.
    const K_MIN: u32 = 14;
    /// From this size on, halo2curves takes seconds, so that once must do.
    const ONCE_FROM_K: u32 = 21;
    let (start, k_max) = (Instant::now(), args.kernels_k_max());
    let device = args.device.open(args.icicle_dir.as_deref(), k_max)?;
    let devices = match args.device {
        DeviceName::Cpu => vec![device],
        _ => vec![device, OpenDevice::Cpu(CpuDevice::new())],
    };
    let mut rows = Vec::new();
    for k in K_MIN.min(k_max)..=k_max {
        let began = Instant::now();
        let measurement = Measurement {
            repeat: if k < ONCE_FROM_K { 3 } else { 1 },
            table_mib: args.table_mib,
            rates: None,
        };
        rows.extend(measure(&devices, k, measurement)?);
        tell(json!({ "rows": rows }));
        // The next size takes twice as long, and somewhat more for what it takes of the caches.
        let next = 2.5 * began.elapsed().as_secs_f64();
        if k < k_max && start.elapsed().as_secs_f64() + next > args.step_seconds {
            let left: Vec<u32> = (k + 1..=k_max).collect();
            tell(json!({ "sizes_left_out_for_time": left }));
            break;
        }
    }
    Ok(())
}
