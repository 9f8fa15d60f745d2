//! `gpu-check.sh` in a bundle that is laid out as `gpu-bundle.sh` packs it, with the reference library for ICICLE.

mod installation;

use installation::Installation;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// An unpacked bundle.
struct Bundle {
    folder: TempDir,
    icicle: Installation,
}

/// What the script did.
struct Run {
    code: Option<i32>,
    output: String,
}

impl Bundle {
    fn new() -> Self {
        let bundle = Self {
            folder: tempfile::tempdir().expect("a directory"),
            icicle: Installation::new(),
        };
        symlink(bundle.icicle.path(), bundle.path("icicle")).expect("a link");
        fs::create_dir(bundle.path("bin")).expect("bin");
        symlink(env!("CARGO_BIN_EXE_gpu-check"), bundle.path("bin/gpu-check")).expect("a link");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/gpu-check.sh");
        fs::copy(script, bundle.path("gpu-check.sh")).expect("the script");
        fs::write(bundle.path("bundle.txt"), "commit=0123456789ab\nglibc=2.17\n").expect("a file");
        bundle.seal();
        bundle
    }

    /// Notes the files' digests.
    fn seal(&self) {
        let sealed = Command::new("bash")
            .args(["-c", "sha256sum gpu-check.sh bundle.txt >SHA256SUMS"])
            .current_dir(self.folder.path())
            .status();
        assert!(sealed.expect("a process").success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A peer that is a script of ours.
    fn peer(&self, script: &str) {
        let path = self.path("bin/peer");
        fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = Command::new("bash")
            .arg(self.path("gpu-check.sh"))
            .arg("--out")
            .arg(self.path("results"))
            .args(["--preset", "tiny"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("ROLLUP_PROVER_KEYS", self.path("keys"))
            .output()
            .expect("a process");
        Run {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        }
    }

    fn result(&self, name: &str) -> String {
        let path = self.path("results").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

const STEPS: [&str; 5] = ["--", "--only", "doctor,msm,ntt", "--rounds", "10"];

#[test]
fn a_check_that_passes_leaves_its_results() {
    let bundle = Bundle::new();
    let run = bundle.run(&[&["--device", "icicle-cpu"], &STEPS[..], &["--k-large", "12"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.output);
    assert!(!run.output.contains("lacks: "), "{}", run.output);
    let summary = bundle.result("summary.txt");
    assert!(
        summary.contains("everything passed") && !summary.contains("NOT"),
        "{summary}"
    );
    assert!(summary.contains("10 rounds, 0 mismatches"), "{summary}");
    assert!(summary.contains("peer: not in the bundle"), "{summary}");
    assert!(run.output.contains(&summary), "it is printed too");
    let report = bundle.result("gpu-check.json");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["commit"], "0123456789ab");
    assert!(bundle.result("machine.txt").contains("glibc: "));
    assert!(bundle.result("gpu-check.log").contains("== msm"));
}

#[test]
fn a_failed_check_and_a_failed_peer_are_told() {
    let bundle = Bundle::new();
    // The reference library has no backend for CUDA, whether there is a driver or not.
    for (peer, told) in [
        (
            "echo peer of $4 on $CUDA_VISIBLE_DEVICES as $2",
            "peer of tiny on 3 as aggregation",
        ),
        ("exit 7", "peer shard: failed with status 7"),
    ] {
        bundle.peer(peer);
        let run = bundle.run(&["--device", "icicle:3"]);
        assert_eq!(run.code, Some(1), "{}", run.output);
        let summary = bundle.result("summary.txt");
        assert!(summary.contains("NOT everything passed"), "{summary}");
        assert!(summary.contains(told), "{summary}");
    }
    let run = bundle.run(&["--device", "icicle:3", "--no-peer"]);
    assert_eq!(run.code, Some(1), "{}", run.output);
    assert!(bundle.result("summary.txt").contains("peer: left out"));
}

#[test]
fn what_the_machine_lacks_is_said() {
    let bundle = Bundle::new();
    fs::write(bundle.path("bundle.txt"), "commit=0123456789ab\nglibc=99.1\n").expect("a file");
    fs::remove_file(bundle.path("icicle/lib/libicicle_curve_bn254.so")).expect("a link");
    let run = bundle.run(&[&["--device", "icicle-cpu"], &STEPS[..]].concat());
    assert_eq!(run.code, Some(1), "{}", run.output);
    for lacking in [
        "lacks: files of the bundle as they were packed",
        "lacks: glibc 99.1",
        "lacks: libicicle_curve_bn254.so",
    ] {
        assert!(run.output.contains(lacking), "{lacking}: {}", run.output);
    }
}

#[test]
fn wrong_options_and_folders_are_refused() {
    let bundle = Bundle::new();
    for arguments in [
        &["--devices", "cpu"][..],
        &["--device"],
        &["--seconds", "soon"],
        &["--seconds", "0"],
    ] {
        let run = bundle.run(arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.output);
        assert!(run.output.contains("gpu-check: "), "{}", run.output);
    }
    fs::remove_file(bundle.path("bundle.txt")).expect("the file");
    let run = bundle.run(&[]);
    assert!(run.output.contains("is no bundle"), "{}", run.output);
}
