use std::{
    fs::OpenOptions,
    io::{Seek as _, SeekFrom, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use pgserver::PgServer;
use tempfile::TempDir;

use super::{
    super::{
        KeptStore, Location, Store,
        conformance::{artifacts, candidate, first, first_state, identity},
        records::artifact_key,
    },
    *,
};
use crate::core::{
    id::{BatchId, Fence, TaskId},
    record::{ArtifactKey, TaskRecord, Write},
};

/// More than one section of records.
const TASKS: u32 = 60_000;
const INPUT: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 0);
const SAME: ArtifactKey = ArtifactKey::ShardInput(BatchId(1), 1);
const PROOF: ArtifactKey = ArtifactKey::ShardProof(BatchId(2), 0);

fn place(folder: &Path, postgres: Option<&str>) -> Place {
    Place {
        folder: folder.into(),
        postgres: postgres.map(str::to_owned),
        artifacts: ArtifactOptions::default(),
    }
}

fn open(place: &Place) -> KeptStore {
    let opening = match &place.postgres {
        None => Opening::begin(&place.folder, &place.artifacts).expect("it begins"),
        Some(url) => {
            let Campaign::Won(leadership) = candidate(url).campaign().expect("it answers") else {
                panic!("nobody leads");
            };
            Opening::lead(leadership, artifacts(&place.folder)).expect("it opens")
        }
    };
    opening.complete(&identity(), &[], first).expect("it opens")
}

/// Gives a new store something of every kind.
fn fill(place: &Place) {
    let store = open(place);
    let tasks = (0..TASKS).map(|index| Write::Task(TaskRecord::new(TaskId::shard(BatchId(1), index))));
    let mut writes: Vec<Write> = tasks.collect();
    writes.push(Write::Artifact(INPUT, vec![7; 100_000]));
    writes.push(Write::Artifact(SAME, vec![7; 100_000]));
    writes.push(Write::Paused(true));
    store.commit(&writes).expect("it commits");
    drop(store);
    // Under another epoch.
    let proof = Write::Artifact(PROOF, vec![8; 1_000]);
    open(place).commit(&[proof]).expect("it commits");
}

fn no_matter(_: Step) {}

fn back(from: &Place, file: &Path) -> Result<Summary, BackupError> {
    back_up(from, file, false, &mut no_matter)
}

fn put(file: &Path, to: &Place) -> Result<Summary, BackupError> {
    restore(file, to, &mut no_matter)
}

/// Says what is wrong, in words.
#[track_caller]
fn refused(result: Result<Summary, BackupError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[track_caller]
fn same(one: &Place, other: &Place) {
    let (one, other) = (open(one), open(other));
    let (mut ours, theirs) = (
        one.snapshot().expect("readable"),
        other.snapshot().expect("readable"),
    );
    // The first was opened once more meanwhile, or not.
    ours.epoch = theirs.epoch;
    assert_eq!(ours, theirs);
    let roots = |store: &KeptStore| {
        let states = store.states().expect("readable").into_iter();
        states
            .map(|(number, state)| (number, state.root()))
            .collect::<Vec<_>>()
    };
    assert_eq!(roots(&one), roots(&other));
    for key in [INPUT, SAME, PROOF] {
        let read = |store: &KeptStore| store.artifact(key).expect("readable").expect("listed");
        assert_eq!(read(&one), read(&other), "{key}");
    }
}

#[test]
fn a_store_is_the_same_after_backup_and_restore_wherever_it_is() {
    let server = PgServer::start();
    let (from_url, to_url) = (server.database(), server.database());
    let folders: Vec<TempDir> = (0..4).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let at = |index: usize| folders[index].path();
    let ways = [
        (place(at(0), None), place(&at(1).join("a"), None)),
        (place(at(0), None), place(&at(1).join("b"), Some(&to_url))),
        (place(at(2), Some(&from_url)), place(&at(1).join("c"), None)),
    ];
    fill(&ways[0].0);
    fill(&ways[2].0);
    for (number, (from, to)) in ways.iter().enumerate() {
        let file = at(3).join(format!("{number}.backup"));
        let mut steps = Vec::new();
        let made = back_up(from, &file, false, &mut |step| steps.push(step)).expect("it is made");
        // The identity, the epoch, whose it is, the pause, and the rollup; each account; three artifacts, two of which are one.
        let accounts = first_state().accounts().len() as u64;
        assert_eq!(made.records, 5 + accounts + u64::from(TASKS) + 3);
        assert_eq!((made.objects, made.left_out.len()), (2, 0));
        assert_eq!(made.bytes, fs::metadata(&file).expect("it is there").len());
        assert!(steps.iter().any(|step| step.what == "artifacts" && step.of == 2));
        assert_eq!(check(&file, &mut no_matter).expect("it is whole"), made);
        assert_eq!(put(&file, to).expect("there is room"), made);
        same(from, to);
        // It is a store like any other: it takes what comes next.
        open(to).commit(&[Write::Paused(false)]).expect("it commits");
    }
    let left: Vec<_> = fs::read_dir(at(3)).expect("a folder").collect();
    assert_eq!(left.len(), ways.len(), "nothing else is left: {left:?}");
}

#[test]
fn what_is_damaged_or_cut_off_is_named_and_nothing_is_made_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, file) = (
        place(&folder.path().join("from"), None),
        folder.path().join("backup"),
    );
    fill(&from);
    let whole = back(&from, &file).expect("it is made");
    let to = folder.path().join("to");
    let spoiled = |at: u64, cut: bool| {
        let bad = folder.path().join("bad");
        fs::copy(&file, &bad).expect("copied");
        let mut bytes = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&bad)
            .expect("opened");
        match cut {
            true => bytes.set_len(at).expect("cut"),
            false => {
                let was = fs::read(&bad).expect("read")[usize::try_from(at).expect("it fits")];
                bytes.seek(SeekFrom::Start(at)).expect("within");
                bytes.write_all(&[was ^ 1]).expect("written");
            }
        }
        let said = refused(put(&bad, &place(&to, None)));
        assert!(said.contains(&bad.display().to_string()), "{said}");
        assert!(!to.exists(), "{said}");
        said
    };
    let bytes = whole.bytes;
    let artifact = "artifact b1-s0-input (";
    let proof = "artifact b2-s0-proof (";
    for (at, words) in [
        (3, "is no backup"),
        (40, "the records"),
        (1_300_000, "what follows"),
        // From the end: the end's section, the proof's with its head and digest before it, and the input's.
        (bytes - 1, "its end"),
        (bytes - 60, proof),
        (bytes - 600, proof),
        (bytes - 5_000, artifact),
        (bytes - 101_000, artifact),
    ] {
        let said = spoiled(at, false);
        assert!(said.contains(words), "{at}: {said}");
    }
    for (at, words) in [
        (0, "is no backup"),
        (10, "is no backup"),
        (100, "the records"),
        (1_300_000, "what follows"),
        (bytes - 100_500, artifact),
        (bytes - 500, proof),
        (bytes - 1, "its end"),
    ] {
        let said = spoiled(at, true);
        assert!(said.contains(words), "{at}: {said}");
        assert!(at < 23 || said.contains(&format!("after {at} bytes")), "{said}");
    }
    let mut longer = fs::read(&file).expect("read");
    longer.push(0);
    let bad = folder.path().join("longer");
    fs::write(&bad, longer).expect("written");
    assert!(refused(check(&bad, &mut no_matter)).contains("1 bytes follow its end"));
    let absent = refused(check(&folder.path().join("absent"), &mut no_matter));
    assert!(absent.contains("No such file"), "{absent}");
}

#[test]
fn nothing_is_overwritten_and_no_store_in_use_is_copied_or_replaced() {
    let server = PgServer::start();
    let (url, empty) = (server.database(), server.database());
    let folder = tempfile::tempdir().expect("a folder");
    let (from, file) = (
        place(&folder.path().join("from"), None),
        folder.path().join("backup"),
    );
    let there = || fs::read_dir(folder.path()).expect("a folder").count();
    let none = refused(back(&from, &file));
    assert!(none.starts_with("there is no store in "), "{none}");
    let none = refused(back(&place(folder.path(), Some(&empty)), &file));
    assert!(none.starts_with("there is no store in postgres://"), "{none}");
    assert!(!file.exists());
    let store = open(&from);
    let used = refused(back(&from, &file));
    assert!(used.contains("is in use by another process"), "{used}");
    drop(store);
    back(&from, &file).expect("it is made");
    let before = (fs::read(&file).expect("read"), there());
    let again = refused(back(&from, &file));
    assert!(again.contains("is there already"), "{again}");
    // One that was interrupted, or is being made.
    let (other, part) = (folder.path().join("other"), folder.path().join("other.part"));
    fs::write(&part, "half").expect("written");
    let half = refused(back(&from, &other));
    assert!(half.contains("other.part is there already"), "{half}");
    assert_eq!(fs::read(&part).expect("read"), b"half");
    assert_eq!((fs::read(&file).expect("read"), there() - 1), before);

    let full = refused(put(&file, &from));
    assert!(full.starts_with("there is a store in "), "{full}");
    let shared = place(&folder.path().join("shared"), Some(&url));
    let store = open(&shared);
    let used = refused(put(&file, &shared));
    assert!(used.starts_with("a coordinator uses postgres://"), "{used}");
    drop(store);
    let full = refused(put(&file, &shared));
    assert!(full.starts_with("there is a store in postgres://"), "{full}");
    // Another store's artifacts are nobody else's.
    let objects = format!("file://{}", from.folder.join("objects").display());
    let mut beside = place(&folder.path().join("beside"), None);
    beside.artifacts.location = objects.parse::<Location>().expect("a location");
    put(&file, &beside).expect("they are its own");
    let other = place(&folder.path().join("another"), None);
    let (another, more) = (folder.path().join("another.backup"), folder.path().join("more"));
    fill(&other);
    back(&other, &another).expect("it is made");
    beside.folder = more;
    let others = refused(put(&another, &beside));
    assert!(others.contains("says whose artifacts are there"), "{others}");
}

#[test]
fn a_damaged_artifact_is_refused_by_name_or_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, file) = (
        place(&folder.path().join("from"), None),
        folder.path().join("backup"),
    );
    fill(&from);
    let store = open(&from);
    let object = store.location(PROOF).expect("readable").expect("listed");
    drop(store);
    fs::write(&object, vec![9; 1_000]).expect("written");
    let said = refused(back(&from, &file));
    assert!(
        said.starts_with(&format!("artifact {PROOF} ({object}) is changed")),
        "{said}"
    );
    assert!(!file.exists());
    let made = back_up(&from, &file, true, &mut no_matter).expect("it is left out");
    assert_eq!((made.objects, &made.left_out[..]), (1, &[PROOF.to_string()][..]));
    let to = place(&folder.path().join("to"), None);
    assert_eq!(put(&file, &to).expect("there is room"), made);
    let store = open(&to);
    assert!(
        store
            .artifact(PROOF)
            .is_err_and(|error| error.to_string().contains("is missing"))
    );
    assert_eq!(store.artifact(INPUT).expect("readable"), Some(vec![7; 100_000]));
}

#[test]
fn what_an_interrupted_restore_left_is_gone_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, file) = (
        place(&folder.path().join("from"), None),
        folder.path().join("backup"),
    );
    fill(&from);
    back(&from, &file).expect("it is made");
    let to = place(&folder.path().join("to"), None);
    // As far as the objects' place, and into the records.
    fs::create_dir_all(to.folder.join("objects")).expect("made");
    let owner = |place: &Place| place.folder.join("objects").join("store");
    fs::copy(owner(&from), owner(&to)).expect("copied");
    fs::write(to.folder.join("database.redb.new"), "half").expect("written");
    let begun = Opening::begin(&to.folder, &to.artifacts).expect_err("it is no store");
    assert!(
        begun.to_string().contains("restore the store from a backup"),
        "{begun}"
    );
    put(&file, &to).expect("it goes over it");
    same(&from, &to);
}

#[test]
fn a_database_in_use_is_copied_as_it_was_at_one_moment() {
    let server = PgServer::start();
    let url = server.database();
    let folder = tempfile::tempdir().expect("a folder");
    let from = place(&folder.path().join("from"), Some(&url));
    fill(&from);
    let (store, done) = (open(&from), AtomicBool::new(false));
    // The first and the last of the tasks change together, and with them an artifact.
    let ends = [TaskId::shard(BatchId(1), 0), TaskId::shard(BatchId(1), TASKS - 1)];
    let change = |fence: u64| {
        let tasks = ends.map(|id| {
            let mut task = TaskRecord::new(id);
            task.fence = Fence(fence);
            Write::Task(task)
        });
        let artifact = Write::Artifact(PROOF, fence.to_be_bytes().to_vec());
        store
            .commit(&[&tasks[..], &[artifact]].concat())
            .expect("it commits");
    };
    change(1);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut fence = 1;
            while !done.load(Ordering::Relaxed) {
                fence += 1;
                change(fence);
            }
            fence
        });
        for number in 0..5 {
            let file = folder.path().join(format!("{number}.backup"));
            back(&from, &file).expect("it is made");
            let to = place(&folder.path().join(format!("to-{number}")), None);
            put(&file, &to).expect("there is room");
            let restored = open(&to);
            let snapshot = restored.snapshot().expect("readable");
            let fences = ends.map(|id| {
                let task = snapshot.tasks.iter().find(|task| task.id == id);
                task.expect("it is there").fence.0
            });
            let proof = restored.artifact(PROOF).expect("readable").expect("listed");
            assert_eq!(
                [
                    fences[1],
                    u64::from_be_bytes(proof.try_into().expect("eight bytes"))
                ],
                [fences[0]; 2]
            );
        }
        done.store(true, Ordering::Relaxed);
        assert!(writing.join().expect("no panic") > 5, "it wrote all the while");
    });
}

#[test]
fn a_store_that_differs_from_its_backup_opens_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, file) = (
        place(&folder.path().join("from"), None),
        folder.path().join("backup"),
    );
    fill(&from);
    let made = back(&from, &file).expect("it is made");
    let content = read(&file, &mut no_matter, |_| Ok(())).expect("it is whole");
    let records = disk::records(&from.folder)
        .expect("readable")
        .expect("it is there");
    compare(&*records, content.sha256, &made).expect("they are the same");
    records
        .commit(vec![Change::Remove(artifact_key(PROOF))])
        .expect("it commits");
    let said = compare(&*records, content.sha256, &made)
        .expect_err("one is missing")
        .to_string();
    assert!(said.contains("differs from the backup"), "{said}");
    let artifacts = Artifacts::open(&from.artifacts, &from.folder).expect("it opens");
    let compare_all =
        |told: Told<'_>| compare_objects(&artifacts, content.owner, &content.artifacts, &made, told);
    compare_all(&mut no_matter).expect("they are the same");
    let object = artifacts.location(&content.artifacts[0].1);
    fs::write(object, "other").expect("written");
    assert!(compare_all(&mut no_matter).is_err_and(|error| error.to_string().contains("objects/")));
}
