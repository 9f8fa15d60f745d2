//! `gpu-check` over the reference library: what passes, what it says of devices that compute wrongly, end the process or
//! cannot be opened, and of steps that take too long.

mod installation;

use installation::Installation;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A run's exit status and report.
struct Run {
    code: Option<i32>,
    report: Value,
    messages: String,
}

impl Run {
    fn new(installation: &Path, device: &str, arguments: &[&str]) -> Self {
        let report = installation.join("report.json");
        let output = Command::new(env!("CARGO_BIN_EXE_gpu-check"))
            .args(["--device", device, "--preset", "tiny", "--icicle-dir"])
            .arg(installation)
            .args(["--k-max", "12", "--k-large", "14", "--kernels-k-max", "12"])
            .args(["--tables-k", "8,11", "--warm", "1"])
            .args(arguments)
            .arg("--json")
            .arg(&report)
            .output()
            .expect("a process");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = std::fs::read(&report).unwrap_or_else(|error| panic!("{error}: {messages}"));
        Self {
            code: output.status.code(),
            report: serde_json::from_slice(&text).expect("the report is JSON"),
            messages,
        }
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.report["results"]["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["step"] == name);
        step.unwrap_or_else(|| panic!("no {name} in {}", self.report))
    }

    fn outcome(&self, name: &str) -> &str {
        self.step(name)["outcome"].as_str().expect("an outcome")
    }

    fn error(&self, name: &str) -> &str {
        self.step(name)["error"].as_str().unwrap_or_default()
    }

    /// Demands exit status and verdict of a check that did not pass, with all steps in its report.
    fn has_failed(&self) {
        assert_eq!(self.code, Some(1), "{}", self.messages);
        assert_eq!(self.report["results"]["passed"], false);
        assert_eq!(self.report["results"]["steps"].as_array().map(Vec::len), Some(13));
    }
}

#[test]
fn a_right_device_passes() {
    let installation = Installation::new();
    // The aggregation takes minutes over the reference library.
    let arguments = [
        "--rounds",
        "40",
        "--skip",
        "aggregation,cpu-aggregation,stock-aggregation",
        "--deadline-seconds",
        "4000",
    ];
    let run = Run::new(installation.path(), "icicle-cpu", &arguments);
    assert_eq!(run.code, Some(0), "{}", run.messages);
    assert_eq!(run.report["results"]["passed"], true);
    for step in [
        "doctor",
        "conformance",
        "msm",
        "ntt",
        "tables",
        "keys",
        "shard",
        "kernels",
        "cpu-shard",
        "stock-shard",
    ] {
        assert_eq!(run.outcome(step), "passed", "{step}");
    }
    for step in ["aggregation", "cpu-aggregation", "stock-aggregation"] {
        assert_eq!(run.outcome(step), "skipped");
    }
    for step in ["msm", "ntt"] {
        let details = &run.step(step)["details"];
        assert_eq!(details["rounds_done"], 40);
        assert_eq!(details["mismatches"], 0);
        assert!(details["largest"].as_u64() > Some(1 << 10), "{details}");
    }
    for proof in ["cold", "warm"] {
        let proof = &run.step("shard")["details"][proof];
        assert!(proof["seconds"].as_f64() > Some(0.0), "{proof}");
        assert!(proof["phases_s"]["quotient"].as_f64() > Some(0.0), "{proof}");
        assert!(proof["changed_proofs_refused"].as_u64() > Some(30), "{proof}");
    }
    for ratios in ["ratios_to_cpu", "ratios_to_stock"] {
        assert!(run.report["results"][ratios]["shard"].as_f64() > Some(0.0));
    }
    let book = &run.step("shard")["details"]["warm"]["device"];
    assert!(book["busy_s"].as_f64() > Some(0.0), "{book}");
    assert!(
        book["phases"]["commitments"]["bytes_to_device"].as_f64() > Some(1e6),
        "{book}"
    );
    assert!(book["operations"]["msm"]["calls"].as_u64() > Some(0), "{book}");
    let rows = run.step("tables")["details"]["rows"].as_array().expect("rows");
    assert_eq!(
        rows.len(),
        12,
        "two sizes, with and without a table, three batches"
    );
    let rows = run.step("kernels")["details"]["rows"].as_array().expect("rows");
    assert!(
        rows.iter()
            .any(|row| row["device"] == "icicle CPU:0" && row["kernel"] == "msm")
    );
}

#[test]
fn wrong_results_are_found_and_can_be_repeated() {
    let installation = Installation::new();
    let arguments = ["--rounds", "30", "--only", "doctor,conformance,msm,ntt,kernels"];
    for (device, wrong, right) in [
        ("icicle:WRONG_MSM:1024", "msm", "ntt"),
        ("icicle:WRONG_NTT:1024", "ntt", "msm"),
    ] {
        let run = Run::new(installation.path(), device, &arguments);
        run.has_failed();
        // Opening the device multiplies no more than 1,024 elements, so that its own check passes; what is timed is more.
        assert_eq!(run.step("doctor")["details"]["device_opens"], true);
        assert_eq!(run.outcome("doctor"), "failed");
        assert!(
            run.error("doctor").contains("differs from the CPU's"),
            "{}",
            run.error("doctor")
        );
        assert_eq!(run.outcome("conformance"), "failed");
        assert!(
            run.error("conformance").contains("wrong at"),
            "{}",
            run.error("conformance")
        );
        assert_eq!(run.outcome(right), "passed");
        assert_eq!(run.outcome(wrong), "failed");
        assert_eq!(run.outcome("kernels"), "failed");
        let details = &run.step(wrong)["details"];
        assert_eq!(details["rounds_done"], 30, "a mismatch does not end the step");
        let mismatches = details["mismatches"].as_u64().expect("a number");
        assert!((1..30).contains(&mismatches), "{details}");
        let listed = details["first_mismatches"].as_array().expect("a list");
        assert_eq!(listed.len() as u64, mismatches.min(20));
        let seed = listed[0]["seed"].to_string();
        let again = Run::new(
            installation.path(),
            device,
            &["--rounds", "1", "--seed", &seed, "--only", wrong],
        );
        again.has_failed();
        assert_eq!(again.step(wrong)["details"]["first_mismatches"][0], listed[0]);
    }
}

#[test]
fn a_device_that_fails_its_self_check_is_not_used() {
    let installation = Installation::new();
    let run = Run::new(installation.path(), "icicle:WRONG_MSM:0", &[]);
    run.has_failed();
    assert!(
        run.error("doctor").contains("self-check: msm"),
        "{}",
        run.error("doctor")
    );
    for step in [
        "conformance",
        "msm",
        "ntt",
        "keys",
        "shard",
        "aggregation",
        "kernels",
        "cpu-shard",
    ] {
        assert_eq!(run.outcome(step), "not run", "{step}");
        assert_eq!(run.error(step), "the device cannot be opened");
    }
}

#[test]
fn an_abort_ends_its_step_alone() {
    let installation = Installation::new();
    let arguments = [
        "--rounds",
        "30",
        "--skip",
        "aggregation,cpu-shard,cpu-aggregation,stock-shard,stock-aggregation",
    ];
    let run = Run::new(installation.path(), "icicle:ABORTING:0", &arguments);
    run.has_failed();
    for step in ["doctor", "conformance", "msm", "ntt", "shard", "kernels"] {
        assert_eq!(run.outcome(step), "failed", "{step}");
        assert!(run.error(step).contains("SIGABRT"), "{step}: {}", run.error(step));
    }
    assert_eq!(run.outcome("keys"), "passed");
    // What was under way is known.
    for step in ["msm", "ntt"] {
        assert!(
            run.step(step)["details"]["under_way"]["seed"].is_u64(),
            "{}",
            run.step(step)
        );
    }
    assert_eq!(run.step("shard")["details"]["under_way"]["run"], "cold");
}

#[test]
fn a_failing_call_ends_its_step_with_its_code() {
    let installation = Installation::new();
    let run = Run::new(
        installation.path(),
        "icicle:FAILING:14",
        &["--rounds", "30", "--only", "msm,ntt"],
    );
    run.has_failed();
    for step in ["msm", "ntt"] {
        assert_eq!(run.outcome(step), "failed", "{step}");
        assert!(
            run.error(step).contains("ICICLE gives 14"),
            "{step}: {}",
            run.error(step)
        );
    }
    let details = &run.step("msm")["details"];
    assert!(details["rounds_done"].as_u64() < Some(30), "{details}");
    assert!(
        run.error("msm")
            .contains(&format!("seed {}", details["under_way"]["seed"]))
    );
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let installation = Installation::new();
    let arguments = [
        "--deadline-seconds",
        "2",
        "--rounds",
        "1000000",
        "--only",
        "msm,ntt",
    ];
    let run = Run::new(installation.path(), "icicle-cpu", &arguments);
    run.has_failed();
    for step in ["msm", "ntt"] {
        assert_eq!(run.outcome(step), "failed");
        assert!(
            run.error(step).starts_with("ended after its limit"),
            "{}",
            run.error(step)
        );
    }
}

#[test]
fn nothing_begins_after_the_deadline() {
    let installation = Installation::new();
    let arguments = [
        "--deadline-seconds",
        "1",
        "--rounds",
        "1000000",
        "--skip",
        "doctor,conformance,keys",
    ];
    let run = Run::new(installation.path(), "cpu", &arguments);
    run.has_failed();
    assert_eq!(run.outcome("cpu-aggregation"), "not run");
    assert_eq!(run.error("cpu-aggregation"), "the 1 seconds were over");
}

#[test]
fn a_machine_without_the_library_is_told_so() {
    let empty = tempfile::tempdir().expect("a directory");
    let run = Run::new(empty.path(), "icicle-cpu", &[]);
    run.has_failed();
    assert!(
        run.error("doctor").contains("libicicle_device.so"),
        "{}",
        run.error("doctor")
    );
    assert_eq!(run.outcome("kernels"), "not run");
}
