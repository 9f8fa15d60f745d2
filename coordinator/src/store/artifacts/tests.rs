//! What holds of artifacts in whatever back end: each test runs on all of them.

use std::{
    fs,
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tempfile::TempDir;

use super::{
    s3_server::{Fault, S3Server, location, location_in},
    *,
};

const EPOCH: u32 = 3;
const NOBODY: StoreId = StoreId([0; 16]);
const PREFIX: &str = "rollup/a";

/// A place for artifacts, and where its objects are files.
enum Place {
    Folder(TempDir),
    S3(Box<S3Server>),
}

impl Place {
    fn all() -> [Self; 2] {
        let folder = tempfile::tempdir().expect("a folder");
        [Self::Folder(folder), Self::S3(Box::new(S3Server::start()))]
    }

    fn location(&self) -> Location {
        match self {
            Self::Folder(folder) => Location::Folder(folder.path().join("objects")),
            Self::S3(server) => location(server, PREFIX),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join("objects").join(name),
            Self::S3(server) => server.file(PREFIX, name),
        }
    }

    /// Artifacts here that go at once when nothing names them.
    fn open(&self) -> Artifacts {
        self.open_with(Duration::ZERO)
    }

    fn open_with(&self, retention: Duration) -> Artifacts {
        let options = ArtifactOptions {
            location: self.location(),
            retention,
            ..ArtifactOptions::default()
        };
        let artifacts = Artifacts::open(&options, Path::new("/nowhere")).expect("it opens");
        artifacts.claim(NOBODY, false).expect("it is nobody's");
        artifacts
    }
}

/// Puts artifacts and says that they are named.
fn put(artifacts: &Artifacts, epoch: u32, bytes: &[&[u8]]) -> Vec<Entry> {
    let put = artifacts.put(epoch, bytes).expect("it puts");
    let entries = put.entries().to_vec();
    put.committed();
    entries
}

fn collect(artifacts: &Artifacts, epoch: u32, named: &[Entry]) -> Collected {
    artifacts
        .collect(NOBODY, epoch, || Ok(named.to_vec()))
        .expect("it collects")
}

fn damage(artifacts: &Artifacts, entry: &Entry) -> (String, String) {
    match artifacts.read(NOBODY, entry) {
        Err(ReadError::Damaged { object, found }) => (object, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_put_is_read() {
    for place in Place::all() {
        let artifacts = place.open();
        let large = vec![7; 3_000_000];
        let all: Vec<Vec<u8>> = (0..20u8).map(|byte| vec![byte; 1 + usize::from(byte)]).collect();
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).chain([&large[..], b""]).collect();
        let entries = put(&artifacts, EPOCH, &all);
        for (entry, bytes) in entries.iter().zip(&all) {
            assert_eq!(&artifacts.read(NOBODY, entry).expect("it is there"), bytes);
        }
        // Another opening finds them, and putting the same again changes nothing.
        drop(artifacts);
        let artifacts = place.open();
        assert_eq!(put(&artifacts, EPOCH, &all), entries);
        assert_eq!(artifacts.read(NOBODY, &entries[20]).expect("it is there"), large);
        assert!(put(&artifacts, EPOCH, &[]).is_empty());
    }
}

#[test]
fn an_object_that_is_not_what_was_put_is_not_given_out() {
    for place in Place::all() {
        let artifacts = place.open();
        let entry = put(&artifacts, EPOCH, &[b"whole"])[0];
        let file = place.file(&entry.object.to_string());
        for (bytes, found) in [
            (&b"whOle"[..], "changed"),
            (b"whol", "changed"),
            (b"wholeX", "changed"),
        ] {
            fs::write(&file, bytes).expect("written");
            let (object, told) = damage(&artifacts, &entry);
            assert_eq!(told, found);
            assert!(object.ends_with(&entry.object.to_string()), "{object}");
        }
        fs::remove_file(&file).expect("removed");
        assert_eq!(damage(&artifacts, &entry).1, "missing");
        assert_eq!(put(&artifacts, EPOCH, &[b"whole"])[0], entry);
        assert_eq!(
            artifacts.read(NOBODY, &entry).expect("it is there again"),
            b"whole"
        );
    }
}

#[test]
fn where_all_is_gone_no_artifact_is_called_damaged() {
    for place in Place::all() {
        let artifacts = place.open();
        let entry = put(&artifacts, EPOCH, &[b"whole"])[0];
        for name in [OWNER, &entry.object.to_string()] {
            fs::remove_file(place.file(name)).expect("removed");
        }
        let error = match artifacts.read(NOBODY, &entry) {
            Err(ReadError::Store(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(
            matches!(error, StoreError::NoArtifacts { .. }) && error.may_pass(),
            "{error}"
        );
        let told = error.to_string();
        assert!(told.contains("/store ") && told.contains("--artifacts"), "{told}");
    }
}

#[test]
fn a_place_belongs_to_one_store() {
    for place in Place::all() {
        let artifacts = place.open();
        artifacts.claim(NOBODY, true).expect("it is its own");
        let other = StoreId::draw();
        for has_artifacts in [false, true] {
            let refused = artifacts.claim(other, has_artifacts);
            let error = refused.expect_err("it is another's");
            assert!(!error.may_pass());
            let text = error.to_string();
            assert!(
                text.contains(&hex::encode(other.0)) && text.contains(&hex::encode(NOBODY.0)),
                "{text}"
            );
        }
        assert!(
            artifacts
                .collect(other, EPOCH, || panic!("it is not asked"))
                .is_err()
        );
        fs::write(place.file(OWNER), "something").expect("written");
        assert!(matches!(
            artifacts.check(NOBODY),
            Err(StoreError::OthersArtifacts { .. })
        ));
        fs::remove_file(place.file(OWNER)).expect("removed");
        // A store that has artifacts looks for them, and does not begin elsewhere.
        let lost = artifacts.claim(NOBODY, true);
        assert!(matches!(lost, Err(StoreError::NoArtifacts { .. })), "{lost:?}");
        artifacts.claim(other, false).expect("it is nobody's");
    }
}

#[test]
fn what_nothing_names_is_deleted_and_nothing_else() {
    for place in Place::all() {
        let artifacts = place.open();
        let entries = put(&artifacts, EPOCH, &[b"one", b"two", b"three"]);
        let earlier = put(&artifacts, EPOCH - 1, &[b"one", b"four"]);
        let later = put(&artifacts, EPOCH + 1, &[b"five"])[0];
        let name = entries[0].object.to_string();
        let left = format!(".{}.0123456789abcdef.tmp", &name[..40]);
        let foreign = [
            "notes.txt".to_owned(),
            name.to_uppercase(),
            format!("{}-03", &name[..64]),
            "folder/inner".into(),
        ];
        fs::create_dir_all(place.file("folder")).expect("made");
        for name in foreign.iter().chain([&left]) {
            fs::write(place.file(name), "somebody's").expect("written");
        }
        let named = [entries[0], earlier[1]];
        let collected = collect(&artifacts, EPOCH, &named);
        let bytes = (b"two".len() + b"three".len() + b"one".len()) as u64;
        assert_eq!(
            (collected.deleted, collected.deleted_bytes, collected.damaged),
            (3, bytes, 0)
        );
        for kept in named.iter().chain([&later]) {
            artifacts.read(NOBODY, kept).expect("it is kept");
        }
        for gone in [entries[1], entries[2], earlier[0]] {
            assert_eq!(damage(&artifacts, &gone).1, "missing");
        }
        assert!(foreign.iter().all(|name| place.file(name).exists()));
        artifacts.check(NOBODY).expect("it is still its own");
        assert_eq!(collect(&artifacts, EPOCH, &named), Collected::default());
        let numbers = artifacts.meters.numbers();
        assert_eq!(numbers.bytes, [7, 0]);
    }
}

#[test]
fn a_look_tells_of_what_is_missing_or_cut() {
    for place in Place::all() {
        let artifacts = place.open();
        let entries = put(&artifacts, EPOCH, &[b"one", b"two", b"three"]);
        fs::remove_file(place.file(&entries[0].object.to_string())).expect("removed");
        fs::write(place.file(&entries[1].object.to_string()), "tw").expect("written");
        let collected = collect(&artifacts, EPOCH, &entries);
        assert_eq!((collected.deleted, collected.damaged), (0, 2));
    }
}

#[test]
fn what_was_named_stays_for_the_retention_time() {
    const RETENTION: Duration = Duration::from_millis(600);
    for place in Place::all() {
        let artifacts = place.open_with(RETENTION);
        let entry = put(&artifacts, EPOCH, &[b"whole"])[0];
        collect(&artifacts, EPOCH, &[entry]);
        thread::sleep(RETENTION);
        let removed = Instant::now();
        assert_eq!(
            collect(&artifacts, EPOCH, &[]).deleted,
            0,
            "it was named until now"
        );
        assert_eq!(artifacts.meters.numbers().bytes, [0, 5]);
        while collect(&artifacts, EPOCH, &[]).deleted == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(removed.elapsed() >= RETENTION);
        assert_eq!(artifacts.meters.numbers().bytes, [0, 0]);
    }
}

#[test]
fn the_first_look_goes_by_the_age_of_objects() {
    for place in Place::all() {
        let entry = put(&place.open(), EPOCH, &[b"whole"])[0];
        let patient = place.open_with(Duration::from_secs(3_600));
        assert_eq!(collect(&patient, EPOCH, &[]).deleted, 0, "it is young");
        let file = fs::File::options()
            .write(true)
            .open(place.file(&entry.object.to_string()))
            .expect("it is there");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(7_200);
        file.set_modified(long_ago).expect("set");
        let patient = place.open_with(Duration::from_secs(3_600));
        assert_eq!(collect(&patient, EPOCH, &[]).deleted, 1);
    }
}

#[test]
fn what_a_commit_is_about_to_name_is_not_deleted() {
    for place in Place::all() {
        let artifacts = place.open();
        // Before the commit, and after one that failed, whose writes are tried again.
        let under_way = artifacts.put(EPOCH, &[b"one"]).expect("it puts");
        let failed = artifacts.put(EPOCH, &[b"two"]).expect("it puts");
        let entries = [under_way.entries()[0], failed.entries()[0]];
        drop(failed);
        assert_eq!(collect(&artifacts, EPOCH, &[]).deleted, 0);
        // Begun and ended while it is looked.
        let collected = artifacts.collect(NOBODY, EPOCH, || {
            under_way.committed();
            Ok(vec![])
        });
        assert_eq!(collected.expect("it collects").deleted, 0);
        let third = artifacts.collect(NOBODY, EPOCH, || {
            Ok(vec![put(&artifacts, EPOCH, &[b"one", b"two"])[0]])
        });
        assert_eq!(third.expect("it collects").deleted, 0);
        for entry in &entries {
            artifacts.read(NOBODY, entry).expect("it is kept");
        }
        assert_eq!(
            collect(&artifacts, EPOCH, &[entries[0]]).deleted,
            1,
            "the commit was another's"
        );
    }
}

#[test]
fn what_was_put_a_short_while_ago_is_not_put_again_before_it_is_named() {
    for place in Place::all() {
        let artifacts = place.open();
        let puts = || artifacts.meters.numbers().times[Call::Put as usize].clone();
        drop(artifacts.put(EPOCH, &[b"one"]).expect("it puts"));
        let before = puts();
        put(&artifacts, EPOCH, &[b"one"]);
        assert_eq!(puts(), before);
        // Once it was named it may have been removed and collected since.
        put(&artifacts, EPOCH, &[b"one"]);
        assert_ne!(puts(), before);
    }
}

#[test]
fn an_object_that_is_being_deleted_is_put_after_that() {
    let under_way = UnderWay::default();
    let object = Entry::of(b"one", EPOCH).object;
    let look = under_way.look();
    let deleting = look.delete([object].into_iter());
    assert!(deleting.has(object));
    thread::scope(|scope| {
        let (begun, begins) = mpsc::channel();
        let waiting = &under_way;
        scope.spawn(move || {
            let putting = waiting.begin([object].into_iter());
            begun.send(putting.is_there(object)).expect("it is heard");
        });
        assert!(
            begins.recv_timeout(Duration::from_millis(200)).is_err(),
            "it waits"
        );
        drop(deleting);
        assert!(!begins.recv().expect("it goes on"));
    });
    // From then on this look leaves it.
    assert!(!look.delete([object].into_iter()).has(object));
}

#[test]
fn puts_and_looks_at_once_lose_nothing() {
    for place in Place::all() {
        let artifacts = place.open();
        let named = Mutex::new(HashSet::<[u8; 1]>::new());
        let entry = |byte: &[u8; 1]| Entry::of(byte, EPOCH);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..40 {
                    let names = || Ok(named.lock().expect("not poisoned").iter().map(entry).collect());
                    artifacts.collect(NOBODY, EPOCH, names).expect("it collects");
                }
                is_over.store(true, Ordering::Relaxed);
            });
            for writer in 0..3u8 {
                let (artifacts, named, is_over) = (&artifacts, &named, &is_over);
                scope.spawn(move || {
                    let mut turn = 0u8;
                    while !is_over.load(Ordering::Relaxed) {
                        let byte = [writer * 8 + turn % 8];
                        let put = artifacts.put(EPOCH, &[&byte]).expect("it puts");
                        named.lock().expect("not poisoned").insert(byte);
                        put.committed();
                        let read = artifacts.read(NOBODY, &entry(&byte));
                        assert_eq!(read.expect("it is named"), byte);
                        named.lock().expect("not poisoned").remove(&byte);
                        turn = turn.wrapping_add(1);
                    }
                });
            }
        });
    }
}

#[test]
fn object_names_read_as_they_are_written() {
    let object = Entry::of(b"one", EPOCH).object;
    let name = object.to_string();
    assert_eq!(name.parse(), Ok(object));
    assert_eq!(object_of(&name), Some((object, true)));
    let left = format!(".{name}.0123456789abcdef.tmp");
    assert_eq!(object_of(&left), Some((object, false)));
    for other in [
        "",
        "-",
        "ab-1",
        "store",
        &name[..64],
        &format!("{name}0x"),
        &name.replace("-3", "-4294967296"),
    ] {
        assert_eq!(object_of(other), None, "{other}");
    }
}

/// An open S3 location whose server then becomes `fault`, with one artifact.
fn broken(fault: Fault) -> (Box<S3Server>, Artifacts, Entry) {
    let server = Box::new(S3Server::start());
    let place = Place::S3(server);
    let artifacts = place.open();
    let entry = put(&artifacts, EPOCH, &[b"whole"])[0];
    let Place::S3(server) = place else {
        unreachable!("it is one")
    };
    server.set(fault);
    (server, artifacts, entry)
}

/// Every call fails by an error that may pass, names an object and has one of the causes; none marks an artifact as damaged.
fn all_calls_wait(server: &S3Server, artifacts: &Artifacts, entry: &Entry, causes: &[&str]) {
    let read = match artifacts.read(NOBODY, entry) {
        Err(ReadError::Store(error)) => Err(error),
        other => panic!("{other:?}"),
    };
    let put = artifacts.put(EPOCH, &[b"other"]).map(drop);
    let collected = artifacts.collect(NOBODY, EPOCH, || Ok(vec![*entry])).map(drop);
    for (call, result) in [
        ("read", read),
        ("put", put),
        ("collect", collected),
        ("check", artifacts.check(NOBODY)),
    ] {
        let error: StoreError = result.expect_err(call);
        assert!(error.may_pass(), "{call}: {error}");
        let text = error.to_string();
        assert!(text.contains("s3://artifacts/rollup/a/"), "{call}: {text}");
        assert!(causes.iter().any(|cause| text.contains(cause)), "{call}: {text}");
        assert!(!text.contains("trial-secret"), "{call}: {text}");
    }
    assert!(artifacts.meters.numbers().failures[Call::Put as usize] > 0);
    server.set(Fault::None);
    assert_eq!(artifacts.read(NOBODY, entry).expect("it is back"), b"whole");
    put_again(artifacts);
}

fn put_again(artifacts: &Artifacts) {
    let entry = put(artifacts, EPOCH, &[b"other"])[0];
    assert_eq!(artifacts.read(NOBODY, &entry).expect("it was put"), b"other");
}

#[test]
fn a_server_that_fails_is_waited_for() {
    let (server, artifacts, entry) = broken(Fault::Status(500));
    all_calls_wait(&server, &artifacts, &entry, &["500"]);
}

#[test]
fn a_server_that_refuses_the_credentials_is_waited_for() {
    let (server, artifacts, entry) = broken(Fault::Status(403));
    all_calls_wait(&server, &artifacts, &entry, &["403", "AccessDenied"]);
}

#[test]
fn a_server_that_answers_nothing_is_waited_for_and_not_for_long() {
    let (server, artifacts, entry) = broken(Fault::Hangs);
    let begun = Instant::now();
    all_calls_wait(&server, &artifacts, &entry, &["timed out", "timeout"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_server_that_is_gone_is_waited_for() {
    let (server, artifacts, entry) = broken(Fault::None);
    server.go_away();
    let read = artifacts.read(NOBODY, &entry);
    let Err(ReadError::Store(error)) = read else {
        panic!("{read:?}")
    };
    assert!(
        error.may_pass() && error.to_string().contains("refused"),
        "{error}"
    );
    assert!(
        artifacts
            .put(EPOCH, &[b"other"])
            .is_err_and(|error| error.may_pass())
    );
    server.come_back();
    assert_eq!(artifacts.read(NOBODY, &entry).expect("it is back"), b"whole");
    put_again(&artifacts);
}

#[test]
fn a_slow_server_is_no_failure() {
    let (_server, artifacts, entry) = broken(Fault::Slow(Duration::from_millis(300)));
    assert_eq!(artifacts.read(NOBODY, &entry).expect("it comes"), b"whole");
    put_again(&artifacts);
    assert_eq!(artifacts.meters.numbers().failures, [0; CALLS.len()]);
}

#[test]
fn an_answer_that_is_cut_short_is_asked_for_again() {
    let (server, artifacts, entry) = broken(Fault::CutShort);
    let read = artifacts.read(NOBODY, &entry);
    let Err(ReadError::Store(error)) = read else {
        panic!("{read:?}")
    };
    assert!(error.may_pass(), "{error}");
    server.set(Fault::None);
    assert_eq!(artifacts.read(NOBODY, &entry).expect("it is whole"), b"whole");
}

#[test]
fn a_bucket_that_does_not_exist_is_told() {
    let server = S3Server::start();
    let options = ArtifactOptions {
        location: location_in(&server, "nobodys", PREFIX),
        ..ArtifactOptions::default()
    };
    let artifacts = Artifacts::open(&options, Path::new("/nowhere")).expect("nobody is asked");
    for has_artifacts in [false, true] {
        let error = artifacts.claim(NOBODY, has_artifacts).expect_err("there is none");
        assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");
        assert!(error.to_string().contains("s3://nobodys/rollup/a"), "{error}");
    }
}

#[test]
fn two_places_in_one_bucket_do_not_meet() {
    let server = S3Server::start();
    let open = |prefix: &str| {
        let options = ArtifactOptions {
            location: location(&server, prefix),
            retention: Duration::ZERO,
            ..ArtifactOptions::default()
        };
        let artifacts = Artifacts::open(&options, Path::new("/nowhere")).expect("it opens");
        artifacts.claim(NOBODY, false).expect("it is nobody's");
        artifacts
    };
    let all = ["", "a", "a/b"].map(open);
    let entries: Vec<Entry> = all.iter().map(|place| put(place, EPOCH, &[b"one"])[0]).collect();
    assert_eq!(collect(&all[1], EPOCH, &[]).deleted, 1);
    for (place, entry) in [(&all[0], entries[0]), (&all[2], entries[2])] {
        assert_eq!(place.read(NOBODY, &entry).expect("it is kept"), b"one");
    }
}
