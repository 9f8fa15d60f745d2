//! The key cache on disk, with the `tiny` preset: opened, damaged, raced for. Keys are made once for all test runs, in
//! the default folder; each test works on links to those files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use circuits::{
    fingerprint::vk_digest,
    preset::{CI, TINY},
};
use halo2_proofs::{SerdeFormat, poly::commitment::ParamsProver as _};
use keys::{
    AGGREGATION_KEY_FILE, FileError, KeyConfig, KeyError, KeyPhase, KeyStore, MANIFEST_FILE, SHARD_KEY_FILE,
    VerifyingKeys, default_dir, manifest::Manifest,
};
use rules::{PROTOCOL_VERSION, digest::Digest};
use srs::{SrsError, SrsSource, development};
use tempfile::TempDir;

fn config(dir: &Path) -> KeyConfig {
    KeyConfig {
        dir: dir.to_owned(),
        preset: TINY,
        srs: SrsSource::Development,
        allow_insecure: true,
        srs_digest: None,
    }
}

fn made() -> &'static KeyStore {
    static KEYS: OnceLock<KeyStore> = OnceLock::new();
    KEYS.get_or_init(|| KeyStore::open(config(&default_dir()), &|_, _| ()).unwrap())
}

/// A cache with links to the files that were made. Files are replaced here, never written into.
struct Cache {
    dir: TempDir,
    folder: PathBuf,
}

impl Cache {
    fn new() -> Self {
        let source = made().folder();
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = dir.path().join(source.file_name().unwrap());
        fs::create_dir(&folder).unwrap();
        let links = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
        links.for_each(|path| fs::hard_link(&path, folder.join(path.file_name().unwrap())).unwrap());
        let srs = fs::read_dir(source.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        srs.filter(|path| path.extension().is_some_and(|extension| extension == "srs"))
            .for_each(|path| fs::hard_link(&path, dir.path().join(path.file_name().unwrap())).unwrap());
        Self { dir, folder }
    }

    fn config(&self) -> KeyConfig {
        config(self.dir.path())
    }

    fn replace(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder.join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    /// Opens the keys; the phases that it took.
    fn open(&self) -> (KeyStore, Vec<KeyPhase>) {
        let phases = Mutex::new(vec![]);
        let progress = |phase, _| {
            let mut phases = phases.lock().unwrap();
            if !phases.contains(&phase) {
                phases.push(phase);
            }
        };
        let keys = KeyStore::open(self.config(), &progress).unwrap();
        (keys, phases.into_inner().unwrap())
    }
}

#[test]
fn the_manifest_describes_the_keys() {
    let keys = made();
    let manifest = keys.manifest();
    assert_eq!(manifest.protocol_version, PROTOCOL_VERSION);
    assert_eq!((manifest.preset.as_str(), manifest.children), ("tiny", 1));
    assert_eq!(manifest.shard(), TINY.shard);
    assert_eq!(manifest.queue_capacity(), TINY.queue_capacity());
    assert!(manifest.insecure_srs, "a development key says so");
    assert_eq!(manifest.shard_vk_digest, vk_digest(keys.shard_vk()));
    assert_eq!(manifest.aggregation_vk_digest, vk_digest(keys.aggregation_vk()));
    assert_eq!(manifest.aggregation_k, TINY.aggregation_k);
    let json = fs::read(keys.folder().join("manifest.json")).unwrap();
    assert_eq!(&serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
}

#[test]
fn cached_keys_are_read_and_nothing_is_made() {
    let cache = Cache::new();
    let (keys, phases) = cache.open();
    assert_eq!(phases, []);
    assert_eq!(keys.manifest(), made().manifest());
    assert_eq!(
        KeyStore::load(cache.config()).unwrap().manifest(),
        made().manifest()
    );
    let pk = keys.shard_pk().unwrap();
    assert_eq!(vk_digest(pk.get_vk()), keys.manifest().shard_vk_digest);
    assert_eq!(keys.shard_srs().unwrap().get_g().len(), 1 << TINY.shard.k);
}

/// What a folder of before there were files of verifying keys lacks, and what is damaged, follows from halo2's keys.
#[test]
fn verifying_keys_are_written_where_they_are_missing_and_nothing_is_made() {
    let files = [SHARD_KEY_FILE, AGGREGATION_KEY_FILE, MANIFEST_FILE];
    for spoil in [
        (&|path: &Path| fs::remove_file(path).unwrap()) as &dyn Fn(&Path),
        &|path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        },
    ] {
        let cache = Cache::new();
        for file in files {
            spoil(&cache.folder.join(file));
            assert!(VerifyingKeys::open(&cache.folder).is_err());
            let made_of = |phase, _| panic!("{phase}");
            let keys = KeyStore::ensure(cache.config(), &made_of).unwrap();
            assert_eq!(&keys, made().verifying_keys());
            assert_eq!(VerifyingKeys::open(&cache.folder).unwrap(), *keys);
        }
        // Now they alone are read.
        for file in ["shard.vk", "aggregation.vk"] {
            fs::remove_file(cache.folder.join(file)).unwrap();
        }
        let keys = KeyStore::ensure(cache.config(), &|phase, _| panic!("{phase}")).unwrap();
        assert_eq!(&keys, made().verifying_keys());
    }
}

#[test]
fn keys_that_are_not_there_are_not_made_by_load() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let error = KeyStore::load(config(dir.path())).unwrap_err();
    assert!(
        matches!(error, KeyError::Absent { preset: "tiny", .. }),
        "{error}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let other = KeyConfig {
        preset: CI,
        ..config(Cache::new().dir.path())
    };
    assert!(matches!(
        KeyStore::load(other).unwrap_err(),
        KeyError::Absent { preset: "ci", .. }
    ));
}

#[test]
fn the_development_srs_is_refused_unless_allowed() {
    let refused = KeyConfig {
        allow_insecure: false,
        ..config(&default_dir())
    };
    assert!(matches!(
        KeyStore::load(refused).unwrap_err(),
        KeyError::Srs(SrsError::Insecure)
    ));
}

/// A file of the development SRS, too small to make keys from, but enough to find cached ones by.
fn development_file(dir: &Path) -> SrsSource {
    let path = dir.join("ceremony");
    let file = fs::File::create(&path).unwrap();
    let srs = development(4, true, &|_| ()).unwrap();
    srs.params
        .write_custom(&mut &file, SerdeFormat::RawBytes)
        .unwrap();
    SrsSource::of_file(&path).unwrap()
}

#[test]
fn a_file_of_the_development_srs_is_refused_unless_allowed() {
    let cache = Cache::new();
    let refused = KeyConfig {
        srs: development_file(cache.dir.path()),
        allow_insecure: false,
        ..cache.config()
    };
    let error = KeyStore::load(refused.clone()).unwrap_err();
    let expected = cache.dir.path().join("ceremony");
    assert!(matches!(error, KeyError::Srs(SrsError::InsecureFile { path }) if path == expected));
    let allowed = KeyConfig {
        allow_insecure: true,
        ..refused
    };
    let keys = KeyStore::load(allowed).unwrap();
    assert_eq!(keys.manifest(), made().manifest());
    assert!(keys.manifest().insecure_srs);
}

#[test]
fn another_reference_string_than_the_pinned_one_is_refused() {
    let found = made().manifest().srs_digest;
    let pinned = |digest| KeyConfig {
        srs_digest: Some(digest),
        ..config(&default_dir())
    };
    assert!(KeyStore::load(pinned(found)).is_ok());
    let other = Digest([7; 32]);
    for error in [
        KeyStore::load(pinned(other)).unwrap_err(),
        KeyStore::open(pinned(other), &|_, _| ()).unwrap_err(),
    ] {
        let digests = match error {
            KeyError::Srs(SrsError::Digest { expected, found }) => (expected, found),
            error => panic!("{error}"),
        };
        assert_eq!(digests, (other, found));
    }
}

#[test]
fn a_reference_string_that_is_too_small_is_refused_before_anything_is_made() {
    let source = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("../srs/tests/vectors/snarkjs-7.ptau");
    for (srs, held) in [
        (SrsSource::of_file(&vector).unwrap(), 7),
        (development_file(source.path()), 4),
    ] {
        let small = KeyConfig {
            srs,
            ..config(dir.path())
        };
        let progress = |phase, _| panic!("{phase}");
        let error = KeyStore::open(small, &progress).unwrap_err();
        let sizes = match error {
            KeyError::Srs(SrsError::TooSmall { found, expected }) => (found, expected),
            error => panic!("{error}"),
        };
        assert_eq!(sizes, (held, TINY.aggregation_k));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_damaged_verifying_key_is_made_again_and_is_the_same() {
    let cache = Cache::new();
    cache.replace("shard.vk", |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    assert!(matches!(
        KeyStore::load(cache.config()).unwrap_err(),
        KeyError::Absent { .. }
    ));
    let (keys, phases) = cache.open();
    assert_eq!(phases, [KeyPhase::ShardKeys], "only what was damaged is made");
    assert_eq!(keys.manifest(), made().manifest());
    assert!(KeyStore::load(cache.config()).is_ok());
}

#[test]
fn a_proving_key_cut_short_is_made_again() {
    let cache = Cache::new();
    cache.replace("shard.pk", |bytes| bytes.truncate(1000));
    let (keys, phases) = cache.open();
    assert_eq!(phases, [KeyPhase::ShardKeys]);
    assert!(keys.shard_pk().is_ok());
}

#[test]
fn a_proving_key_with_a_flipped_bit_is_refused_when_it_is_read() {
    let cache = Cache::new();
    cache.replace("shard.pk", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let (keys, _) = cache.open();
    let error = keys.shard_pk().unwrap_err();
    let expected = cache.folder.join("shard.pk");
    assert!(matches!(error, KeyError::File(FileError::Corrupt { path, .. }) if path == expected));
}

#[test]
fn a_damaged_reference_string_is_made_again() {
    let cache = Cache::new();
    cache.replace("shard.vk", |bytes| bytes.clear());
    let srs = fs::read_dir(cache.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.to_string_lossy()
                .ends_with(&format!("-k{}.srs", TINY.shard.k))
        })
        .unwrap();
    let name = format!("../{}", srs.file_name().unwrap().to_string_lossy());
    cache.replace(&name, |bytes| bytes[5000] ^= 1);
    let (keys, phases) = cache.open();
    assert_eq!(phases, [KeyPhase::Srs { k: TINY.shard.k }, KeyPhase::ShardKeys]);
    assert_eq!(keys.manifest(), made().manifest());
}

#[test]
fn of_openers_that_race_one_makes_the_keys() {
    let cache = Cache::new();
    for name in ["shard.pk", "shard.vk"] {
        fs::remove_file(cache.folder.join(name)).unwrap();
    }
    let made_by = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let progress = |phase, fraction| {
                    if (phase, fraction) == (KeyPhase::ShardKeys, 0.0) {
                        made_by.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let keys = KeyStore::open(cache.config(), &progress).unwrap();
                assert_eq!(keys.manifest(), made().manifest());
                assert!(keys.shard_pk().is_ok());
            });
        }
    });
    assert_eq!(made_by.into_inner(), 1);
}

#[test]
fn keys_of_another_place_are_refused() {
    let cache = Cache::new();
    let other = fs::read(cache.folder.join("aggregation.vk")).unwrap();
    cache.replace("shard.vk", |bytes| *bytes = other);
    let error = KeyStore::load(cache.config()).unwrap_err();
    assert!(matches!(error, KeyError::Absent { .. }), "{error}");
}

/// What the `tiny` preset's keys take on disk and in a proof; a change of a circuit's shape shows here in figures.
#[test]
fn sizes_of_keys_and_proofs_are_those_of_the_snapshot() {
    let keys = made();
    let bytes = |path: std::path::PathBuf| fs::metadata(path).unwrap().len();
    let files = ["shard.pk", "shard.vk", "aggregation.pk", "aggregation.vk"];
    let files = files.map(|name| (name.to_string(), bytes(keys.folder().join(name)).into()));
    let costs = serde_json::json!({
        "files_bytes": serde_json::Map::from_iter(files),
        "shard": {
            "k": keys.manifest().shard_k,
            "places": keys.manifest().shard_places,
            "rooms": keys.manifest().shard_rooms,
            "proof_bytes": keys.verifying_keys().shard().proof_bytes(),
            "fixed_commitments": keys.shard_vk().fixed_commitments().len(),
        },
        "aggregation": {
            "k": keys.manifest().aggregation_k,
            "children": keys.manifest().children,
            "proof_bytes": keys.verifying_keys().aggregation().proof_bytes(),
            "fixed_commitments": keys.aggregation_vk().fixed_commitments().len(),
        },
    });
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/tiny.json", &costs);
}
