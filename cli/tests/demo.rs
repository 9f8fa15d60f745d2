//! The demo as a user runs it: what it writes, that it is alone, and that it leaves nothing behind.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{is_running, kill, log_tail, pid_of, read_json, start_demo, wait_for};

/// With keys to be made first, on two cores.
const DEMO_MAX: Duration = Duration::from_secs(1500);

/// The process ids of a running demo's children.
fn children(directory: &std::path::Path) -> Vec<u32> {
    ["coordinator", "worker-1", "worker-2"]
        .map(|name| wait_for(name, DEMO_MAX, || pid_of(directory, name)))
        .to_vec()
}

/// All that descends from process `pid`: anvil, its guard and the prover processes among them.
fn descendants(pid: u32) -> Vec<u32> {
    let mut family = support::children(pid);
    let mut at = 0;
    while at < family.len() {
        family.extend(support::children(family[at]));
        at += 1;
    }
    family
}

#[test]
fn several_batches_are_accepted_and_a_second_demo_is_refused_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    // The tiny preset has five places and room for one operation of the queue a batch: of the first act three batches, the last one
    // padded; of the second four more.
    let arguments = ["--transfers", "8", "--json", path.to_str().unwrap()];
    let mut demo = start_demo(directory.path(), &arguments);
    let pids = children(directory.path());

    let second = support::program()
        .args(["demo", "--preset", "tiny"])
        .env("XDG_RUNTIME_DIR", directory.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let refusal = String::from_utf8(second.stderr).unwrap();
    assert!(
        refusal.contains(&format!("another demo is running (process {})", demo.0.id())),
        "{refusal}"
    );

    let log = directory.path().join("demo.log");
    support::expect_success(&mut demo, &log, DEMO_MAX);
    for pid in pids {
        assert!(!is_running(pid), "process {pid} was left behind");
    }
    check_report(&read_json(&path), &log_tail(&log));
}

fn check_report(report: &Value, log: &str) {
    let number = |name: &str| {
        report[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {report}"))
    };
    assert_eq!(report["accepted_on_l1"], true, "{log}");
    assert_eq!(report["tampered_rejected"], true, "{log}");
    assert_eq!(
        report["tampered_errors"].as_object().unwrap().len(),
        4,
        "{report}"
    );
    for done in [
        "deposit_credited",
        "key_changed",
        "new_account_paid",
        "withdrawal_claimed",
        "forced_exit_served",
        "exit_after_freeze_paid",
        "derived_state_equal",
    ] {
        assert_eq!(report[done], true, "{done}: {report:#}");
    }
    let refused = report["refused"].as_object().unwrap();
    let errors: Vec<&str> = refused
        .values()
        .map(|error| error.as_str().unwrap().split(':').next().unwrap())
        .collect();
    for error in [
        "OnlyOperator",
        "EntryDue",
        "AlreadyPaid",
        "NotYet",
        "AlreadyExited",
        "AlreadyRefunded",
    ] {
        assert!(errors.contains(&error), "{error}: {report:#}");
    }
    // What a first deposit of a token pays more, for storage that is new, is not counted against the bounds of P-16.3.
    for (what, most) in [
        ("deposit of ETH to a new account", 90_000),
        ("deposit of ETH to an account", 70_000),
        ("deposit of a token to a new account", 120_000),
        ("forced exit", 64_000),
        ("key change", 66_000),
        ("claim of a token", 100_000),
        ("exit by a proof", 1_000_000),
    ] {
        let gas = report["gas"][what]
            .as_u64()
            .unwrap_or_else(|| panic!("{what}: {report:#}"));
        println!("{what}: {gas} gas");
        assert!((21_000..=most).contains(&gas), "{what}: {gas}");
    }
    assert_eq!(number("transfers"), 9.0);
    assert_eq!((number("batches"), number("shards")), (8.0, 8.0));
    assert_eq!(number("tokens"), 2.0);
    assert_ne!(report["old_root"], report["new_root"]);
    for name in [
        "proof_bytes",
        "data_bytes",
        "verify_gas",
        "l1_gas",
        "l1_gas_per_transfer",
    ] {
        assert!(number(name) > 0.0, "{name}");
    }
    for name in ["coordinator", "worker-1", "worker-2", "anvil", "demo"] {
        assert!(
            report["peak_memory_bytes"][name].as_u64().unwrap() > 1 << 20,
            "{name}"
        );
    }
    for name in [
        "keys",
        "startup",
        "submit",
        "shards",
        "aggregation",
        "deploy",
        "l1",
        "users",
        "total",
    ] {
        assert!(report["seconds"][name].as_f64().unwrap() >= 0.0, "{name}");
    }
    for name in ["execution", "verification", "commit", "read", "put"] {
        assert!(
            report["coordinator_seconds"][name].as_f64().unwrap() > 0.0,
            "{name}"
        );
    }
    assert!(number("coordinator_share") > 0.0);
    println!("{report:#}");
}

#[test]
fn nothing_outlives_a_demo_that_is_killed_or_interrupted() {
    for signal in ["KILL", "INT", "TERM"] {
        let directory = tempfile::tempdir().unwrap();
        let mut demo = start_demo(directory.path(), &[]);
        children(directory.path());
        // The coordinator, two workers, anvil and its guard, and the workers' prover processes.
        let pids = wait_for("all processes", DEMO_MAX, || {
            Some(descendants(demo.0.id())).filter(|pids| pids.len() >= 7)
        });
        if signal == "KILL" {
            kill(demo.0.id());
        } else {
            let id = demo.0.id().to_string();
            assert!(
                Command::new("kill")
                    .args(["-s", signal, &id])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let status = wait_for("the demo to end", Duration::from_secs(30), || {
            demo.0.try_wait().unwrap()
        });
        if signal != "KILL" {
            assert_eq!(
                status.code(),
                Some(130),
                "{}",
                log_tail(&directory.path().join("demo.log"))
            );
        }
        for pid in pids {
            let gone = || (!is_running(pid)).then_some(());
            wait_for(
                &format!("process {pid} to end after SIG{signal}"),
                Duration::from_secs(120),
                gone,
            );
        }
    }
}
