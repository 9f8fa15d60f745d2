//! Verifying keys alone: exported, served by a coordinator together with those of an earlier version, refused when they are not
//! what the arguments allow.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use circuits::plonk::VerifyingKey;
use keys::manifest::Manifest;
use keys::{AGGREGATION_KEY_FILE, MANIFEST_FILE, SHARD_KEY_FILE};
use rules::Fr;
use rules::digest::Digest;
use serde_json::Value;
use support::{CONTRACT, KEYS, Service, program, run, wait_for};

const START_MAX: Duration = Duration::from_secs(60);

/// Turns exported keys into those of another circuit, which this program does not have.
fn make_earlier(folder: &Path) -> Manifest {
    let json = fs::read(folder.join(MANIFEST_FILE)).unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&json).unwrap();
    let change = |file: &str| {
        let path = folder.join(file);
        let mut key = VerifyingKey::from_bytes(&fs::read(&path).unwrap()).unwrap();
        key.shape.digest += Fr::one();
        fs::write(&path, key.to_bytes()).unwrap();
        (key.transcript_digest(), key.digest())
    };
    manifest.preset = "earlier".to_owned();
    manifest.children = 7;
    (manifest.shard_vk_digest, manifest.shard_verifying_key_digest) = change(SHARD_KEY_FILE);
    (
        manifest.aggregation_vk_digest,
        manifest.aggregation_verifying_key_digest,
    ) = change(AGGREGATION_KEY_FILE);
    fs::write(folder.join(MANIFEST_FILE), serde_json::to_vec(&manifest).unwrap()).unwrap();
    manifest
}

fn export(folder: &Path) -> Manifest {
    let mut command = program();
    command
        .args(["export-keys", "--json", "--out"])
        .arg(folder)
        .args(KEYS);
    serde_json::from_str(&run(&mut command, "")).unwrap()
}

#[test]
fn a_coordinator_serves_from_exported_keys_and_those_of_an_earlier_circuit() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [current, earlier, cache] = ["current", "earlier", "cache"].map(path);
    let manifest = export(&current);
    assert_eq!(export(&earlier), manifest);
    let before = make_earlier(&earlier);
    let sizes = [SHARD_KEY_FILE, AGGREGATION_KEY_FILE].map(|file| {
        let size = fs::metadata(current.join(file)).unwrap().len();
        println!("{file}: {size} bytes");
        size
    });
    assert!(sizes.iter().all(|size| *size < 1 << 18));

    let folders = [&current, &earlier, &cache].map(|folder| folder.to_str().unwrap());
    let arguments = [
        "--verifying-keys",
        folders[0],
        "--previous-keys",
        folders[1],
        "--keys-dir",
        folders[2],
    ];
    let service = Service::start_with(directory.path(), &arguments.map(str::to_owned));
    let info = wait_for("the coordinator", START_MAX, || {
        let mut info = program();
        info.args(["info", "--json", "--coordinator", &service.url]);
        let output = info.output().unwrap();
        let out = output.status.success().then_some(output.stdout)?;
        serde_json::from_slice::<Value>(&out).ok()
    });
    let digest = |value: &Value| value.as_str().unwrap().parse::<Digest>().unwrap();
    assert_eq!(info["preset"], "tiny");
    assert_eq!(digest(&info["shard_vk_digest"]), manifest.shard_vk_digest);
    let previous = info["previous_keys"].as_array().unwrap();
    assert_eq!(previous.len(), 1);
    assert_eq!(digest(&previous[0]["shard_vk_digest"]), before.shard_vk_digest);
    assert_eq!(
        digest(&previous[0]["aggregation_vk_digest"]),
        before.aggregation_vk_digest
    );
    assert!(!cache.exists(), "no other keys are opened");
}

#[test]
fn keys_that_the_arguments_do_not_allow_are_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (exported, earlier, spoiled) = (path("exported"), path("earlier"), path("spoiled"));
    let later = path("later");
    for folder in [&exported, &earlier, &spoiled] {
        export(Path::new(folder));
    }
    make_earlier(Path::new(&earlier));
    export(Path::new(&later));
    let listed = Path::new(&later).join(MANIFEST_FILE);
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&listed).unwrap()).unwrap();
    manifest.protocol_version += 1;
    fs::write(&listed, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let spoiled_key = Path::new(&spoiled).join(SHARD_KEY_FILE);
    let mut bytes = fs::read(&spoiled_key).unwrap();
    bytes[200] ^= 1;
    fs::write(&spoiled_key, bytes).unwrap();
    let other = format!("0x{}", "ab".repeat(32));
    let insecure = "--insecure-dev-srs";
    for (arguments, said) in [
        (
            &["--verifying-keys", &exported][..],
            "--insecure-dev-srs allows them",
        ),
        (
            &["--verifying-keys", &exported, insecure, "--srs-digest", &other],
            &format!("expected {other}"),
        ),
        (&["--verifying-keys", &path("none"), insecure], "export-keys"),
        (&["--verifying-keys", &spoiled, insecure], "its SHA-256 is"),
        (
            &["--verifying-keys", &later, insecure],
            &format!("are of protocol version {}, expected", manifest.protocol_version),
        ),
        (
            &["--verifying-keys", &earlier, insecure],
            "which this program does not have",
        ),
        (
            &[
                "--verifying-keys",
                &exported,
                "--previous-keys",
                &spoiled,
                insecure,
            ],
            "its SHA-256 is",
        ),
        (
            &["--verifying-keys", &exported, "--previous-keys", "tiny", insecure],
            "no verifying keys in tiny",
        ),
    ] {
        let mut command = program();
        command
            .args([
                "coordinator",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                &path("data"),
            ])
            .args(["--chain-id", "31337"])
            .args(["--contract", CONTRACT])
            .args(arguments);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}
