//! `doctor`: what this machine has to prove with, whether it computes rightly, how fast, and what fits.

use std::fmt::Write;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use accel::DeviceReport;
use accel::icicle::{self, Report};
use accel::machine;
use anyhow::{Context, Result};
use circuits::preset::{ALL, Preset};
use keys::whole_file;
use prover::device::{DeviceChoice, MemoryNeeds, unused_gpus};
use prover::memory;
use serde::Serialize;

use super::roles::device_config;
use crate::args::DoctorArgs;
use crate::guard;
use crate::output::{self, Exit, Failure};
use crate::progress::Progress;

/// Longest time of the look at ICICLE's device: opening it, and the largest sizes.
const LOOK_MAX: Duration = Duration::from_secs(240);

/// All that is found.
#[derive(Serialize)]
struct Findings {
    host: Host,
    /// The CPU, or what it computes wrongly.
    #[serde(with = "accel::outcome")]
    cpu: Result<DeviceReport, String>,
    /// ICICLE with its device, or why the look at it ended early.
    #[serde(with = "accel::outcome")]
    icicle: Result<Report, String>,
    presets: Vec<Fit>,
}

/// The machine.
#[derive(Serialize)]
struct Host {
    cpu_model: Option<String>,
    cpus: usize,
    /// Of the machine or the tightest control group.
    memory_limit: Option<u64>,
    memory_available: Option<u64>,
}

/// What a preset's circuits need, in bytes, and whether devices have as much.
#[derive(Serialize)]
struct Fit {
    preset: &'static str,
    device_bytes: MemoryNeeds,
    /// Whether ICICLE's device has as much free; absent without one.
    fits_icicle: Option<bool>,
    /// Of the host's memory, when the processor proves.
    host_bytes: MemoryNeeds,
    /// Whether the host has as much.
    fits_cpu: Option<bool>,
}

/// Looks at the machine and tells.
///
/// # Errors
/// Nothing can be written; or the CPU, or the device that was named, fails or computes wrongly ([`Exit::Device`]).
pub fn run(args: &DoctorArgs, progress: &Progress) -> Result<()> {
    let index = match args.device.device {
        DeviceChoice::Icicle(index) => index,
        DeviceChoice::Cpu | DeviceChoice::Auto => 0,
    };
    if let Some(path) = &args.icicle_report {
        // Whatever ends the first process, a driver that hangs shall not keep this one, and the GPU with it.
        guard::exit_on_stdin_eof()?;
        let report = icicle::doctor(&icicle_config(args, index), &args.sizes);
        crate::wallet::keys::spare(path)?;
        return whole_file::write(path, &serde_json::to_vec(&report)?).context("cannot write the report");
    }
    let step = progress.step("ICICLE's device");
    let icicle = icicle_in_another_process(args, index);
    step.finish("");
    let step = progress.step("the CPU");
    let cpu = DeviceReport::of_cpu(&args.sizes);
    step.finish("");
    let host = host();
    let free = icicle
        .as_ref()
        .ok()
        .and_then(|report| report.device.as_ref().ok()?.memory_free);
    let findings = Findings {
        presets: ALL
            .iter()
            .map(|preset| fit(preset, host.memory_limit, free))
            .collect(),
        host,
        cpu,
        icicle,
    };
    if args.json {
        output::json(&findings)?;
    } else {
        output::line(text(&findings).trim_end())?;
    }
    let icicle = findings
        .icicle
        .and_then(|report| report.device)
        .and_then(faultless);
    let checked = match args.device.device {
        DeviceChoice::Icicle(_) => icicle.and(findings.cpu),
        // GPUs that nobody can use are no reason to be content with the CPU.
        DeviceChoice::Auto if unused_gpus(&device_config(&args.device)).is_some() => icicle.and(findings.cpu),
        DeviceChoice::Auto | DeviceChoice::Cpu => findings.cpu,
    };
    match checked.and_then(faultless) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Failure::new(Exit::Device, reason).into()),
    }
}

/// The device, if nothing failed that was timed on it.
fn faultless(device: DeviceReport) -> Result<DeviceReport, String> {
    let rates = device.msm.iter().chain(&device.ntt);
    let failure = rates.filter_map(|rate| rate.error.clone()).next();
    failure.map_or(Ok(device), Err)
}

fn icicle_config(args: &DoctorArgs, index: u32) -> accel::IcicleConfig {
    let largest = args.sizes.iter().max();
    let mut config = device_config(&args.device).icicle(index);
    config.domain_k = largest.copied().unwrap_or(1).max(1);
    config
}

/// Has another process of this program look at ICICLE, which may end the process that does.
fn icicle_in_another_process(args: &DoctorArgs, index: u32) -> Result<Report, String> {
    let look = || -> Result<Report> {
        let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
        let path = directory.path().join("icicle.json");
        let sizes: Vec<String> = args.sizes.iter().map(ToString::to_string).collect();
        let mut command = Command::new("/proc/self/exe");
        command.args(["doctor", "--sizes", &sizes.join(","), "--icicle-report"]);
        command.arg(&path);
        command.args(["--device", &DeviceChoice::Icicle(index).to_string()]);
        command.args(["--icicle-type", &args.device.icicle_type]);
        if let Some(directory) = &args.device.icicle_dir {
            command.arg("--icicle-dir").arg(directory);
        }
        // ICICLE may write there, and what is written there is for programs.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let status = wait(child.context("cannot start the look at ICICLE")?)?;
        anyhow::ensure!(status.success(), "the look at ICICLE ended by {status}");
        let report = fs::read(&path).context("the look at ICICLE left no report")?;
        serde_json::from_slice(&report).context("the look at ICICLE left no report")
    };
    look().map_err(|error| output::sentence(&error))
}

/// Waits for a process, and kills it when it takes too long.
fn wait(mut child: Child) -> Result<ExitStatus> {
    let until = Instant::now() + LOOK_MAX;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().context("cannot wait for the look at ICICLE")? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // One that a driver holds cannot be killed, and is not waited for.
    child.kill().context("cannot kill the look at ICICLE")?;
    anyhow::bail!("the look at ICICLE took longer than {LOOK_MAX:?}; a driver may hang")
}

fn host() -> Host {
    Host {
        cpu_model: machine::processor(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_limit: memory::limit_bytes(),
        memory_available: memory::available_bytes(),
    }
}

fn fit(preset: &Preset, host: Option<u64>, device: Option<u64>) -> Fit {
    let device_bytes = MemoryNeeds::estimate(preset);
    let host_bytes = device_bytes.of_host();
    let holds = |needs: MemoryNeeds| move |bytes: u64| bytes >= needs.shard.max(needs.aggregation);
    Fit {
        preset: preset.name,
        fits_icicle: device.map(holds(device_bytes)),
        device_bytes,
        fits_cpu: host.map(holds(host_bytes)),
        host_bytes,
    }
}

/// The findings for a person.
fn text(findings: &Findings) -> String {
    let mut text = String::new();
    let host = &findings.host;
    let line = &mut |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    line(format!(
        "host     {} x {}, {} of memory, {} free",
        host.cpus,
        host.cpu_model.as_deref().unwrap_or("unknown CPU"),
        size(host.memory_limit),
        size(host.memory_available)
    ));
    match &findings.cpu {
        Ok(cpu) => device(line, "cpu", cpu),
        Err(reason) => line(format!("cpu      WRONG: {reason}")),
    }
    match &findings.icicle {
        Ok(report) => icicle_text(line, report),
        Err(reason) => line(format!("icicle   FAILED: {reason}")),
    }
    for fit in &findings.presets {
        let fits = |fits: Option<bool>| match fits {
            Some(true) => "fits",
            Some(false) => "does not fit",
            None => "no device",
        };
        line(format!(
            "preset   {:5} shard {}, aggregation {} on a device ({}); {} and {} on the CPU ({})",
            fit.preset,
            size(Some(fit.device_bytes.shard)),
            size(Some(fit.device_bytes.aggregation)),
            fits(fit.fits_icicle),
            size(Some(fit.host_bytes.shard)),
            size(Some(fit.host_bytes.aggregation)),
            fits(fit.fits_cpu)
        ));
    }
    text
}

fn icicle_text(line: &mut impl FnMut(String), report: &Report) {
    let found = if report.has_icicle_v4 {
        "v4 for BN254"
    } else {
        "none"
    };
    line(format!("icicle   {found} in {}", report.directory));
    match &report.driver {
        Some(Ok(driver)) => line(format!(
            "driver   CUDA {}, {} GPUs",
            driver.cuda_version, driver.devices
        )),
        Some(Err(reason)) => line(format!("driver   {reason}")),
        None => {}
    }
    match &report.device {
        Ok(found) => device(line, "device", found),
        Err(reason) => line(format!("device   not usable: {reason}")),
    }
}

fn device(line: &mut impl FnMut(String), place: &str, report: &DeviceReport) {
    line(format!(
        "{place:8} {}: self-check passed, {} of memory, {} free",
        report.name,
        size(report.memory_total),
        size(report.memory_free)
    ));
    for (operation, rates) in [("MSM", &report.msm), ("NTT", &report.ntt)] {
        for rate in rates {
            let said = match (rate.seconds, &rate.error) {
                (Some(seconds), _) => {
                    let rate = f64::from(rate.k).exp2() / seconds / 1e6;
                    format!("{:10.2} ms {rate:8.2} M elements a second", seconds * 1e3)
                }
                (None, Some(error)) => error.clone(),
                (None, None) => "not measured".into(),
            };
            line(format!("         {operation} 2^{:<2} {said}", rate.k));
        }
    }
}

fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "unknown".into();
    };
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
