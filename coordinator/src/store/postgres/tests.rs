mod earlier;
mod late;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use pgserver::PgServer;
use tempfile::TempDir;

use super::{super::Store as _, *};
use crate::store::conformance::{artifacts, candidate, first, first_state, identity};

const RECORD: &[u8] = &[99];

fn insert(value: u8) -> Vec<Change> {
    vec![Change::Insert(RECORD.into(), vec![value])]
}

fn won(candidate: &Candidate) -> Leadership {
    match candidate.campaign().expect("it answers") {
        Campaign::Won(leadership) => leadership,
        Campaign::Lost(leader) => panic!("{leader:?} leads"),
    }
}

fn opening(leadership: Leadership, folder: &TempDir) -> KeptStore {
    let opening = Opening::lead(leadership, artifacts(folder.path())).expect("it opens");
    opening.complete(&identity(), &[], first).expect("it opens")
}

fn shared(leadership: Leadership) -> Shared {
    Shared {
        link: leadership.link(),
        commits: Mutex::new(leadership.commits()),
        leadership,
    }
}

/// Ends a lease as time would.
fn expire(server: &PgServer) {
    server.sql(
        "test0",
        "UPDATE zkrollup_prover.leadership SET until = '-infinity'",
    );
}

#[test]
fn one_of_many_leads_and_one_that_resigns_is_followed_at_once() {
    let server = PgServer::start();
    let url = server.database();
    let (winners, artifacts) = (AtomicUsize::new(0), tempfile::tempdir().expect("a folder"));
    let leaderships: Vec<Option<Leadership>> = thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| match candidate(&url).campaign().expect("it answers") {
                    Campaign::Won(leadership) => {
                        winners.fetch_add(1, Ordering::Relaxed);
                        Some(leadership)
                    }
                    Campaign::Lost(leader) => {
                        assert_eq!((leader.term, leader.leads), (1, true));
                        None
                    }
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(winners.load(Ordering::Relaxed), 1);
    drop(leaderships);
    let next = won(&candidate(&url));
    assert_eq!(next.term(), 2);
    let store = opening(next, &artifacts);
    assert_eq!(store.snapshot().expect("readable").epoch, 1);
}

#[test]
fn a_leader_that_lives_keeps_the_lead_beyond_its_lease() {
    let server = PgServer::start();
    let url = server.database();
    let leads = won(&candidate(&url));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert!(matches!(candidate(&url).campaign(), Ok(Campaign::Lost(leader)) if leader.leads));
        thread::sleep(Duration::from_millis(100));
    }
    assert!(!*leads.lost().borrow());
}

#[test]
fn a_deposed_leader_writes_nothing_and_is_told_who_leads() {
    let server = PgServer::start();
    let url = server.database();
    let former = shared(won(&candidate(&url)));
    former.commit(insert(1)).expect("it leads");
    let mut lost = former.leadership.lost();
    expire(&server);
    let leader = shared(won(&candidate(&url)));
    for _ in 0..2 {
        let error = former.commit(insert(2)).expect_err("another leads");
        let told = matches!(&error, StoreError::Deposed { leader, leader_term: 2, .. } if leader == "http://127.0.0.1:1");
        assert!(told && !error.may_pass(), "{error}");
    }
    assert!(matches!(former.recover(), Err(StoreError::Deposed { .. })));
    assert_eq!(leader.get(RECORD).expect("readable"), Some(vec![1]));
    leader.commit(insert(3)).expect("it leads");
    assert!(former.commit(vec![Change::Remove(RECORD.into())]).is_err());
    assert_eq!(leader.get(RECORD).expect("readable"), Some(vec![3]));
    // The one that was deposed hears of it by its next renewal, and ends nothing of the one that leads when it goes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let heard = async {
        tokio::time::timeout(Duration::from_secs(20), lost.wait_for(|lost| *lost))
            .await
            .is_ok()
    };
    assert!(runtime.expect("a runtime").block_on(heard));
    drop(former);
    leader.commit(insert(4)).expect("it leads");
    assert!(matches!(candidate(&url).campaign(), Ok(Campaign::Lost(leader)) if leader.leads));
}

#[test]
fn a_commit_whose_answer_was_lost_is_made_once_and_none_comes_late() {
    let server = PgServer::start();
    let records = shared(won(&candidate(&server.database())));
    let at = |records: &Shared| *records.commits.lock().expect("not poisoned");
    records.commit(insert(1)).expect("it leads");
    // As where the answer to the second was lost, and the same is done again.
    records.commit(insert(2)).expect("it leads");
    *records.commits.lock().expect("not poisoned") -= 1;
    records.commit(insert(2)).expect("it is made already");
    assert_eq!(
        (records.get(RECORD).expect("readable"), at(&records)),
        (Some(vec![2]), 2)
    );
    // The statement of the first try, which comes only now.
    let other = vec![RECORD[0], 1];
    let counted: i64 = records
        .link
        .call(CALL_MAX, async |connection| {
            let late = sqlx::query_scalar(COMMIT).bind(1i64).bind(1i64);
            let late = late.bind(vec![other.clone()]).bind(vec![vec![1u8]]);
            late.bind(vec![RECORD.to_vec()]).fetch_one(connection).await
        })
        .expect("it answers");
    assert_eq!(counted, 0);
    assert_eq!(records.get(RECORD).expect("readable"), Some(vec![2]));
    assert_eq!(records.get(&other).expect("readable"), None);
    records.commit(insert(3)).expect("it leads");
    assert_eq!(records.get(RECORD).expect("readable"), Some(vec![3]));
}

#[test]
fn a_server_that_comes_back_is_used_again_and_cut_connections_are_made_anew() {
    let mut server = PgServer::start();
    let records = shared(won(&candidate(&server.database())));
    records.commit(insert(1)).expect("it leads");
    server.cut();
    records
        .commit(insert(2))
        .expect("it is done over another connection");
    server.kill();
    let error = records.commit(insert(3)).expect_err("nobody answers");
    assert!(error.may_pass(), "{error}");
    assert!(error.to_string().contains("postgres://127.0.0.1:"), "{error}");
    assert!(records.recover().expect_err("nobody answers").may_pass());
    server.restart();
    records.recover().expect("it answers");
    records.commit(insert(3)).expect("it leads");
    assert_eq!(records.get(RECORD).expect("readable"), Some(vec![3]));
}

/// What a server with a full disk says, and one that only reads.
#[test]
fn a_server_that_cannot_write_for_now_is_waited_for() {
    let server = PgServer::start();
    let records = shared(won(&candidate(&server.database())));
    for code in ["53100", "53300", "25006", "57P03"] {
        let refuse = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON zkrollup_prover.records EXECUTE FUNCTION refuse()"
        );
        server.sql("test0", &refuse);
        let before = records.get(RECORD).expect("readable");
        let error = records.commit(insert(7)).expect_err("it is refused");
        assert!(error.may_pass(), "{code}: {error}");
        assert_eq!(records.get(RECORD).expect("readable"), before);
        server.sql("test0", "DROP TRIGGER refuse ON zkrollup_prover.records");
        records.recover().expect("it answers");
        records.commit(insert(7)).expect("it leads");
    }
    server.sql("test0", "DROP TABLE zkrollup_prover.records");
    let error = records.commit(insert(8)).expect_err("it is gone");
    assert!(!error.may_pass(), "{error}");
}

#[test]
fn what_an_interrupted_start_leaves_is_removed() {
    let server = PgServer::start();
    let url = server.database();
    let half = shared(won(&candidate(&url)));
    half.commit(insert(1)).expect("it leads");
    drop(half);
    let folder = tempfile::tempdir().expect("a folder");
    assert!(
        KeptStore::mirror(&candidate(&url), artifacts(folder.path()))
            .expect("it answers")
            .is_none()
    );
    let store = opening(won(&candidate(&url)), &folder);
    assert_eq!(store.records.get(RECORD).expect("readable"), None);
    let states = store.states().expect("readable");
    let roots: Vec<_> = states.values().map(|state| state.root()).collect();
    assert_eq!(roots, [first_state().root()]);
    // Whoever mirrors it sees the same, and writes nothing.
    let mirror = KeptStore::mirror(&candidate(&url), artifacts(folder.path()));
    let mirror = mirror.expect("it answers").expect("it is made");
    mirror.check(&identity(), &[]).expect("it is the same");
    assert_eq!(
        mirror.snapshot().expect("readable"),
        store.snapshot().expect("readable")
    );
    let written = mirror.commit(&[crate::core::record::Write::Paused(true)]);
    assert!(matches!(written, Err(StoreError::StandsBy { .. })), "{written:?}");
    for refused in [mirror.put(&[b"one"]), mirror.collect()] {
        assert!(matches!(refused, Err(StoreError::StandsBy { .. })), "{refused:?}");
    }
}

#[test]
fn a_url_that_names_no_database_is_refused_without_its_password() {
    for url in [
        "",
        "http://a/b",
        "postgres://u:secret@h:x/d",
        "postgres://u:secret@127.0.0.1",
    ] {
        let made = Candidate::new(url, String::new(), String::new(), Duration::from_secs(1));
        let error = made.expect_err(url);
        assert!(matches!(error, StoreError::PostgresUrl { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let nobody = "postgres://u:secret@127.0.0.1:1/d";
    let made = Candidate::new(nobody, String::new(), String::new(), Duration::from_secs(1));
    let error = made.expect_err("nobody listens");
    assert!(
        error.may_pass() && !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}
