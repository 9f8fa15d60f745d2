//! Commits that are under way when the lead of their coordinator ends: the loop holds a lock in the database that they wait for, and lets go
//! of it when another leads. Which rows such a commit then changes, a trigger notes.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::sleep;

use super::{Cluster, Tally, until};
use crate::kills::Plan;

/// Where a commit is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// At the row that says who leads, which changes before it goes on.
    AtTheRow,
    /// Before its statement begins, its coordinator stopped. Another takes the lead.
    Before,
    /// When it has counted itself and changes the records, its coordinator stopped for longer than the lease.
    Within,
}

impl Moment {
    pub(super) const ALL: [Self; 3] = [Self::AtTheRow, Self::Before, Self::Within];
}

/// Longest time until one comes.
const COMMIT_MAX: Duration = Duration::from_secs(8);
/// How long a commit is held up at least.
const HELD: Duration = Duration::from_millis(300);
/// Notes which session changes a record, and holds it up before it does where the lock is held.
const NOTES: &str = "\
CREATE SCHEMA trial;
CREATE TABLE trial.changes (pid int NOT NULL);
CREATE FUNCTION trial.note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO trial.changes VALUES (pg_backend_pid()); RETURN NULL; END $$;
CREATE FUNCTION trial.wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;";
const NOTE: &str = "\
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON zkrollup_prover.records FOR EACH ROW EXECUTE FUNCTION trial.note()";
const WAIT: &str = "\
CREATE TRIGGER wait BEFORE INSERT OR UPDATE OR DELETE ON zkrollup_prover.records FOR EACH ROW EXECUTE FUNCTION trial.wait()";
const LEAVE: &str = "\
DROP TRIGGER IF EXISTS note ON zkrollup_prover.records;
DROP TRIGGER IF EXISTS wait ON zkrollup_prover.records";
const WAITING: &str = "\
SELECT pid FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Lock' AND query LIKE 'WITH mine AS%'";
const TERM: &str = "SELECT term FROM zkrollup_prover.leadership";
const CHANGED: &str = "SELECT count(*) FROM trial.changes WHERE pid = $1";
const DEPOSE: &str = "\
UPDATE zkrollup_prover.leadership SET term = term + 1, holder = '', url = '', until = '-infinity'";

/// Makes the database ready for this.
pub(super) fn prepare(cluster: &Cluster<'_>) {
    cluster.server.sql("test0", NOTES);
    let lengths = "ALTER SYSTEM SET log_parameter_max_length = 65536";
    cluster.server.sql("test0", lengths);
}

/// Whether every statement is logged, with what it is given.
fn log_all(cluster: &Cluster<'_>, all: bool) {
    let longer_than_ms = if all { 0 } else { -1 };
    let logged = format!("ALTER SYSTEM SET log_min_duration_statement = {longer_than_ms}");
    cluster.server.sql("test0", &logged);
    cluster.server.sql("test0", "SELECT pg_reload_conf()");
}

/// Has a commit come late, and sees what it changes: nothing, unless it was made before the lead could end. False where it
/// was not late, or never came.
pub(super) async fn commit(plan: &Plan, cluster: &mut Cluster<'_>, moment: Moment) -> bool {
    cluster.led_by_another(None).await;
    log_all(cluster, true);
    cluster.server.sql("test0", NOTE);
    let mut loops = PgConnection::connect(&cluster.url).await.expect("it answers");
    let hold = match moment {
        Moment::AtTheRow => "BEGIN; SELECT term FROM zkrollup_prover.leadership FOR UPDATE",
        Moment::Before => "BEGIN; LOCK TABLE zkrollup_prover.records IN SHARE MODE",
        Moment::Within => "SELECT pg_advisory_lock(42)",
    };
    run(&mut loops, hold).await;
    if moment == Moment::Within {
        cluster.server.sql("test0", WAIT);
    }
    let Some((session, logged)) = waiting(cluster).await else {
        // The lock ends with the connection.
        loops.close().await.expect("it answers");
        cluster.server.sql("test0", LEAVE);
        log_all(cluster, false);
        return false;
    };
    let leader = cluster.holder();
    if moment != Moment::AtTheRow {
        cluster.coordinators[leader].send(Signal::SIGSTOP);
    }
    let go_on = match moment {
        Moment::AtTheRow => {
            run(&mut loops, DEPOSE).await;
            "COMMIT"
        }
        Moment::Before => {
            cluster.led_by_another(Some(leader)).await;
            "COMMIT"
        }
        Moment::Within => {
            sleep(plan.leader_lease + HELD).await;
            assert_eq!(cluster.leader(), None, "the lead ends with the lease");
            "SELECT pg_advisory_unlock(42)"
        }
    };
    run(&mut loops, go_on).await;
    let term = cluster
        .server
        .sql("test0", TERM)
        .parse::<i64>()
        .expect("a number");
    // It may be that the statement was only prepared, and its coordinator has yet to send it.
    sleep(HELD).await;
    if moment == Moment::Before {
        cluster.coordinators[leader].send(Signal::SIGCONT);
    }
    let late = cluster.late_commit(session, logged, moment).await;
    let changed = sqlx::query(CHANGED).bind(session).fetch_one(&mut loops).await;
    let changed: i64 = changed.expect("it answers").get(0);
    cluster
        .led_by_another((moment == Moment::Within).then_some(leader))
        .await;
    cluster.coordinators[leader].send(Signal::SIGCONT);
    cluster.server.sql("test0", LEAVE);
    log_all(cluster, false);
    match late {
        Some(late) if moment == Moment::Within => {
            assert!(changed > 0, "a commit that was counted was not made: {late:?}");
            cluster.did(&format!("late commits of {}", late.kind()));
        }
        Some(late) if late.term < term => {
            assert_eq!(
                changed, 0,
                "{moment:?}: after {term} began there were changes by {late:?}"
            );
            cluster.did(&format!("late commits of {}", late.kind()));
        }
        // Its own coordinator leads now, or heard in time that it does not.
        Some(_) => return false,
        None => {
            assert_eq!(changed, 0, "{moment:?}: changes by a statement that did not end");
            return false;
        }
    }
    cluster.did(&format!("late commits, {moment:?}"));
    true
}

/// A commit, as the database's log has it.
#[derive(Debug)]
struct Late {
    /// In which its coordinator believed to be.
    term: i64,
    /// First bytes of the keys that it changes: their kinds.
    kinds: Vec<u8>,
}

impl Cluster<'_> {
    /// Who led last, whether or not its time is over.
    fn holder(&self) -> usize {
        let url = self
            .server
            .sql("test0", "SELECT url FROM zkrollup_prover.leadership");
        let holder = self.addresses.iter().position(|address| url.ends_with(address));
        holder.expect("one of them has led")
    }

    /// What the commit of a session was that had waited, once it is done; none where the session ended without it.
    async fn late_commit(&self, session: i32, logged: usize, moment: Moment) -> Option<Late> {
        let ended = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {session}");
        let mut late = None;
        until(
            &format!("the late commit of session {session}, {moment:?}"),
            || {
                let is_over = self.server.sql("test0", &ended) == "0";
                late = Late::of(&self.server.logged()[logged..], session);
                late.is_some() || is_over
            },
        )
        .await;
        late
    }
}

impl Late {
    /// The next commit of a session that a log has.
    fn of(log: &str, session: i32) -> Option<Self> {
        let of_session = format!("[{session}] ");
        let timed = format!("{of_session}LOG:  duration: ");
        let commit = log.split(&timed).skip(1).find_map(|executed| {
            let (statement, given) = executed.split_once(&format!("{of_session}DETAIL:  parameters: "))?;
            let is_commit = statement.contains("ms  execute ") && statement.contains("WITH mine AS");
            is_commit.then_some(given)
        });
        let (given, _) = commit?.split_once('\n')?;
        let between = |from: &str, to: &str| {
            let (_, after) = given.split_once(from).unwrap_or_default();
            after.split(to).next().unwrap_or_default().to_owned()
        };
        // $4 has the values, in which anything may be.
        let keys = [between("$3 = '{", "$4 = '{"), between("$5 = '{", "\n")].concat();
        let kinds = keys.split("\\\\x").skip(1);
        Some(Self {
            term: between("$1 = '", "'").parse().expect("a term"),
            kinds: kinds
                .map(|key| u8::from_str_radix(&key[..2], 16).expect("a key has a kind"))
                .collect(),
        })
    }

    /// What it is of.
    fn kind(&self) -> &'static str {
        const IDENTITY: u8 = 0;
        const TASK: u8 = 3;
        const ACCOUNT: u8 = 4;
        const ARTIFACT: u8 = 5;
        let has = |kind| self.kinds.contains(&kind);
        match () {
            () if has(IDENTITY) => "an opening",
            () if has(ACCOUNT) => "a submission",
            () if has(ARTIFACT) => "a proof",
            () if has(TASK) => "leases",
            () => "something else",
        }
    }
}

/// A long form has met every kind of commit that clients and workers cause.
pub(super) fn check_kinds(plan: &Plan, tally: &Tally) {
    if plan.rounds < 1_000 {
        return;
    }
    for kind in ["a submission", "a proof", "leases"] {
        let met = tally.contains_key(&format!("late commits of {kind}"));
        assert!(met, "no commit of {kind} came late: {tally:?}");
    }
}

async fn run(connection: &mut PgConnection, statements: &str) {
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(connection)
        .await;
    done.expect("it answers");
}

/// The session of a commit that waits for the loop, and how much was logged before it goes on. None where no commit comes: whoever led is
/// dead, and the lock keeps others from the lead.
async fn waiting(cluster: &Cluster<'_>) -> Option<(i32, usize)> {
    let began = Instant::now();
    let found = loop {
        let found = cluster.server.sql("test0", WAITING);
        if !found.is_empty() {
            break found;
        }
        if began.elapsed() > COMMIT_MAX {
            return None;
        }
        sleep(Duration::from_millis(10)).await;
    };
    sleep(HELD).await;
    // What it changed before is none of this commit.
    cluster.server.sql("test0", "TRUNCATE trial.changes");
    let first = found.lines().next().expect("it is not empty");
    Some((first.parse().expect("a process"), cluster.server.logged().len()))
}
