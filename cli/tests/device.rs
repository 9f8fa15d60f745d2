//! Devices through ICICLE, over the reference library: what `doctor` says of them, and workers on devices that work, compute
//! wrongly, or end their process.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use support::{KEYS, Running, Service, children, is_running, log_tail, program, run, start, wait_for};

/// A proof is made within this time on a busy machine.
const PROOF_MAX: Duration = Duration::from_secs(300);

/// The reference library, laid out like an installation of ICICLE.
fn installation(directory: &Path) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libicicle_reference.so");
    let root = directory.join("icicle");
    fs::create_dir_all(root.join("lib")).unwrap();
    for name in ["device", "field_bn254", "curve_bn254"] {
        symlink(&library, root.join(format!("lib/libicicle_{name}.so"))).unwrap();
    }
    root
}

/// What is said of a GPU where there is no driver. Where there is one, the reference library has no backend for it.
const NO_GPU: &str = "no NVIDIA driver";

fn says(error: &str, text: &str) -> bool {
    error.contains(text) || (text == NO_GPU && error.contains("no device type CUDA"))
}

/// Runs `doctor --json`; returns what it found and its exit code.
fn doctor(args: &[&str]) -> (Value, Option<i32>) {
    let output = program()
        .args(["doctor", "--json", "--sizes", "6,13"])
        .args(args)
        .output()
        .unwrap();
    let found = serde_json::from_slice(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    (found.unwrap_or_else(|_| panic!("{error}")), output.status.code())
}

#[test]
fn doctor_tells_what_each_device_can_do() {
    let directory = tempfile::tempdir().unwrap();
    let icicle = installation(directory.path());
    let at = |kind: &'static str| ["--icicle-dir", icicle.to_str().unwrap(), "--icicle-type", kind];

    let (found, code) = doctor(&[at("CPU").as_slice(), &["--device", "icicle"]].concat());
    assert_eq!(code, Some(0));
    let device = &found["icicle"]["device"];
    assert_eq!(device["name"], "icicle CPU:0");
    for place in [device, &found["cpu"]] {
        for operation in ["msm", "ntt"] {
            let rates = place[operation].as_array().unwrap();
            let sizes: Vec<_> = rates.iter().map(|rate| rate["k"].as_u64().unwrap()).collect();
            assert_eq!(sizes, [6, 13]);
            assert!(rates.iter().all(|rate| rate["seconds"].as_f64().unwrap() > 0.0));
        }
    }
    let tiny = &found["presets"][0];
    assert_eq!(
        (&tiny["preset"], &tiny["fits_cpu"]),
        (&"tiny".into(), &true.into())
    );
    assert!(found["host"]["cpus"].as_u64().unwrap() > 0);

    // A small device: its one MiB holds no circuit.
    let (found, _) = doctor(&[at("LIMITED").as_slice(), &["--device", "icicle:1"]].concat());
    let fits = |preset: &Value| preset["fits_icicle"].as_bool();
    let presets = found["presets"].as_array().unwrap();
    assert!(
        presets.iter().all(|preset| fits(preset) == Some(false)),
        "{found}"
    );

    for (kind, place, text) in [
        ("WRONG_NTT", "/icicle/device/error", "self-check: ntt"),
        ("ABORTING", "/icicle/error", "signal: 6"),
        ("CUDA", "/icicle/device/error", NO_GPU),
    ] {
        let (found, code) = doctor(&[at(kind).as_slice(), &["--device", "icicle"]].concat());
        assert_eq!(code, Some(7), "{kind}");
        let error = found.pointer(place).and_then(Value::as_str).unwrap_or_default();
        assert!(says(error, text), "{kind}: {found}");
        // Not asked for: the CPU is enough then.
        assert_eq!(doctor(&at(kind)).1, Some(0), "{kind}");
    }

    // A driver with a GPU, and no backend for it: not content with the CPU unless told so.
    let driver = directory.path().join("driver");
    fs::create_dir(&driver).unwrap();
    symlink(
        std::env::current_exe()
            .unwrap()
            .with_file_name("libicicle_reference.so"),
        driver.join("libcuda.so.1"),
    )
    .unwrap();
    for (device, expected) in [("auto", 7), ("cpu", 0)] {
        let output = program()
            .env("LD_LIBRARY_PATH", &driver)
            .args(["doctor", "--json", "--sizes", "6", "--device", device])
            .args(at("CUDA"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{device}: {error}");
        assert_eq!(error.contains("no device type CUDA"), expected == 7, "{error}");
    }

    // Right at the self-check's size, wrong above it; and a device that fails above it.
    for (kind, device, text) in [
        ("WRONG_MSM", "icicle:2048", "the result differs"),
        ("WRONG_NTT", "icicle:2048", "the result differs"),
        ("FAILING", "icicle:7", "device failure"),
    ] {
        let (found, code) = doctor(&[at(kind).as_slice(), &["--device", device]].concat());
        assert_eq!(code, Some(7), "{kind}: {found}");
        assert!(
            found["icicle"]["device"].to_string().contains(text),
            "{kind}: {found}"
        );
    }
}

#[test]
fn a_worker_without_its_device_says_why_and_exits() {
    let directory = tempfile::tempdir().unwrap();
    let icicle = installation(directory.path());
    run(program().arg("keygen").args(KEYS), "");
    let worker = |args: &[&str]| -> Output {
        let mut command = program();
        command.args(["worker", "--coordinator", "http://127.0.0.1:1"]);
        command.args(args).args(KEYS).output().unwrap()
    };
    let icicle = icicle.to_str().unwrap();
    for (args, text) in [
        (
            ["--icicle-dir", icicle, "--icicle-type", "WRONG_MSM"].as_slice(),
            "self-check: msm",
        ),
        (&["--icicle-dir", icicle, "--icicle-type", "LIMITED"], "memory"),
        (&["--icicle-dir", icicle], NO_GPU),
        (&["--icicle-dir", "/nowhere"], "libicicle_device.so"),
    ] {
        let output = worker(&[&["--device", "icicle"], args].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{error}");
        let last = error.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: cannot prove here: "), "{last}");
        assert!(says(last, text), "{last}");
    }
    let output = worker(&["--device", "cpu", "--memory-mib", "50"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7));
    assert!(
        error.contains("52428800 bytes of memory for proofs; preset tiny needs"),
        "{error}"
    );
    let output = worker(&["--device", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_device_that_ends_its_process_costs_one_task_and_not_the_batch() {
    let fleet = Fleet::new();
    let aborting = fleet.worker("aborting", "icicle", "ABORTING");
    let batch_id = fleet.submit();
    fleet.wait("aborting", "signal: 6");
    assert!(is_running(aborting.0.id()), "{}", fleet.log("aborting"));

    // One that works takes over: the shard on ICICLE, the aggregation on the processor.
    let working = fleet.worker("working", "icicle", "CPU");
    fleet.wait("working", "proof accepted");
    let pids = children(working.0.id());
    assert_eq!(pids.len(), 1, "the worker's prover process");
    // The worker is killed: its prover process notices, in the middle of the next task or not.
    drop(working);
    wait_for("the prover process to end", PROOF_MAX, || {
        (!is_running(pids[0])).then_some(())
    });
    let _cpu = fleet.worker("cpu", "cpu", "CPU");
    let mut watch = program();
    watch.args(["watch", &batch_id, "--json", "--coordinator", &fleet.service.url]);
    let watched = run(&mut watch, &fleet.log("coordinator"));
    let last: Value = serde_json::from_str(watched.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "proven", "{watched}");
}

#[test]
fn a_device_that_computes_wrongly_is_blamed_and_not_the_batch() {
    let fleet = Fleet::new();
    // Right at the self-check's size, wrong at a shard's.
    let wrong = fleet.worker("wrong", "icicle:2048", "WRONG_MSM");
    fleet.submit();
    fleet.wait("wrong", "the device computed wrongly");
    fleet.wait("coordinator", "class=Infrastructure");
    assert!(is_running(wrong.0.id()), "{}", fleet.log("wrong"));
    let _working = fleet.worker("working", "cpu", "CPU");
    fleet.wait("working", "proof accepted");
}

/// A coordinator, and workers on devices of the reference library.
struct Fleet {
    service: Service,
    icicle: PathBuf,
    directory: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            service: Service::start(directory.path()),
            icicle: installation(directory.path()),
            directory,
        }
    }

    fn worker(&self, name: &str, device: &str, kind: &str) -> Running {
        let mut args = vec!["worker", "--coordinator", &self.service.url, "--name", name];
        args.extend(["--device", device, "--icicle-type", kind, "--ahead", "1"]);
        args.extend(["--icicle-dir", self.icicle.to_str().unwrap()]);
        start(self.directory.path(), &format!("{name}.log"), &args)
    }

    /// Submits the batch, as soon as the coordinator takes it; returns its id.
    fn submit(&self) -> String {
        let mut submit = program();
        submit.args(["submit", "--json", "--batch", &self.service.batch]);
        submit.args(["--coordinator", &self.service.url]);
        let submitted = wait_for("the coordinator", PROOF_MAX, || {
            let output = submit.output().unwrap();
            let submitted = serde_json::from_slice::<Value>(&output.stdout);
            submitted.ok().filter(|_| output.status.success())
        });
        submitted["batch_id"].as_str().unwrap().to_string()
    }

    fn log(&self, name: &str) -> String {
        log_tail(&self.directory.path().join(format!("{name}.log")))
    }

    fn wait(&self, name: &str, text: &str) {
        let what = format!("{text:?} in the log of {name}");
        wait_for(&what, PROOF_MAX, || self.log(name).contains(text).then_some(()));
    }
}
