//! Any process of the service may be killed at any moment of the proving: the batch is proven and accepted all
//! the same. One demo loses a worker in a shard, the coordinator, and a worker in the aggregation.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{kill, log_tail, pid_of, processes, read_json, start_demo, wait_for};

/// Keys are made within this time when the cache is empty.
const START_MAX: Duration = Duration::from_secs(1200);
/// A task is leased, or leased again, within this time.
const LEASE_MAX: Duration = Duration::from_secs(600);

/// Waits until a worker proves a task of this kind that is not in `seen` log lines; returns its name.
fn proving(directory: &Path, kind: &str, seen: [usize; 2], limit: Duration) -> (String, [usize; 2]) {
    let count = |name: &str| {
        let log = fs::read_to_string(directory.join(format!("work/{name}.log"))).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains(" proving ") && line.contains(kind))
            .count()
    };
    let names = ["worker-1", "worker-2"];
    wait_for(&format!("a worker to prove {kind}"), limit, || {
        let counts = names.map(count);
        let at = counts.iter().zip(seen).position(|(now, before)| *now > before)?;
        Some((names[at].to_string(), counts))
    })
}

#[test]
fn killing_any_process_while_it_proves_still_ends_with_the_root_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let mut demo = start_demo(directory.path(), &["--json", report.to_str().unwrap()]);
    let pid = |name: &str| wait_for(name, LEASE_MAX, || pid_of(directory.path(), name));

    let (worker, seen) = proving(directory.path(), "kind=\"shard\"", [0, 0], START_MAX);
    kill(pid(&worker));
    // The shard is leased again, to whichever worker asks first.
    proving(directory.path(), "kind=\"shard\"", seen, LEASE_MAX);
    kill(pid("coordinator"));
    let (worker, seen) = proving(directory.path(), "kind=\"aggregation\"", [0, 0], LEASE_MAX);
    std::thread::sleep(Duration::from_secs(5));
    kill(pid(&worker));
    proving(directory.path(), "kind=\"aggregation\"", seen, LEASE_MAX);

    let log = directory.path().join("demo.log");
    support::expect_success(&mut demo, &log, LEASE_MAX);
    let report = read_json(&report);
    assert_eq!(report["accepted_on_l1"], true, "{}", log_tail(&log));
    assert_eq!(report["tampered_rejected"], true);
    assert_eq!(report["restarts"]["coordinator"], 1, "{report}");
    let restarts = |name: &str| report["restarts"][name].as_u64().unwrap();
    assert_eq!(restarts("worker-1") + restarts("worker-2"), 2, "{report}");
    let processes = processes(directory.path()).unwrap();
    for name in ["coordinator", "worker-1", "worker-2"] {
        assert!(processes[name]["pid"].is_null(), "{name} was stopped");
    }
}
