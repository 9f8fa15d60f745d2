//! Who of several coordinators leads, by a lease in the database, with the database's clock.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sqlx::Row as _;
use tokio::sync::watch;

use super::{
    super::StoreError,
    link::{CALL_MAX, Link},
};

/// Longest time of a statement that holds a lease.
const RENEWAL_MAX: Duration = Duration::from_secs(2);
/// Renewals in the time of a lease.
const RENEWALS: u32 = 5;

/// One coordinator at a time makes the tables.
const SETUP_LOCK: &str = "SELECT pg_advisory_xact_lock(8214565720323785205)";
const IS_SET_UP: &str = "SELECT to_regclass('zkrollup_prover.leadership') IS NOT NULL";
const SETUP: [&str; 4] = [
    "CREATE SCHEMA IF NOT EXISTS zkrollup_prover",
    "CREATE TABLE IF NOT EXISTS zkrollup_prover.records (key bytea PRIMARY KEY, value bytea NOT NULL)",
    "CREATE TABLE IF NOT EXISTS zkrollup_prover.leadership (
        one boolean PRIMARY KEY DEFAULT true CHECK (one), term bigint NOT NULL, commits bigint NOT NULL,
        holder text NOT NULL, url text NOT NULL, until timestamptz NOT NULL)",
    "INSERT INTO zkrollup_prover.leadership (term, commits, holder, url, until)
        VALUES (0, 0, '', '', '-infinity') ON CONFLICT DO NOTHING",
];
const TAKE: &str = "\
UPDATE zkrollup_prover.leadership
SET term = term + 1, holder = $1, url = $2, until = clock_timestamp() + $3 * interval '1 millisecond'
WHERE until < clock_timestamp() RETURNING term, commits";
const CURRENT: &str = "\
SELECT term, commits, holder, url, until > clock_timestamp() FROM zkrollup_prover.leadership";
const RENEW: &str = "\
UPDATE zkrollup_prover.leadership SET until = clock_timestamp() + $2 * interval '1 millisecond'
WHERE term = $1 RETURNING 1";
const RESIGN: &str = "UPDATE zkrollup_prover.leadership SET until = '-infinity' WHERE term = $1 RETURNING 1";

/// One of the coordinators that share a database.
#[derive(Debug, Clone)]
pub struct Candidate {
    link: Arc<Link>,
    /// What it calls itself, for those who look into the database.
    holder: String,
    /// Where clients and workers reach it.
    url: String,
    lease: Duration,
}

/// Who leads, as the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Number of its term.
    pub term: i64,
    /// Commits of all terms.
    pub commits: i64,
    /// What it calls itself.
    pub holder: String,
    /// Where clients and workers reach it.
    pub url: String,
    /// Whether its time is not over.
    pub leads: bool,
}

/// What became of a candidacy.
#[derive(Debug)]
pub enum Campaign {
    /// This process leads.
    Won(Leadership),
    /// Another does.
    Lost(Leader),
}

/// That this process leads, for as long as this is there and the database does not say otherwise.
pub struct Leadership {
    candidate: Candidate,
    term: i64,
    commits: i64,
    lost: watch::Receiver<bool>,
    /// Until when nobody else can lead, by this process's clock.
    certain: Arc<Mutex<Instant>>,
    /// Dropped to end the renewals.
    stop: Option<mpsc::Sender<()>>,
    renewals: Option<JoinHandle<()>>,
}

impl Candidate {
    /// Calls the database of `url` and makes its tables if need be. Clients and workers reach this coordinator at `advertised`; it leads
    /// for `lease` after its last word.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn new(url: &str, holder: String, advertised: String, lease: Duration) -> Result<Self, StoreError> {
        let link = Arc::new(Link::new(url)?);
        if link.is_plain() {
            tracing::warn!(
                database = link.name(),
                "the database may be spoken with in plain text; see sslmode"
            );
        }
        let is_set_up: bool = link.call(CALL_MAX, async |connection| {
            sqlx::query_scalar(IS_SET_UP).fetch_one(connection).await
        })?;
        if !is_set_up {
            link.call(CALL_MAX, async |connection| {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                sqlx::query(SETUP_LOCK).execute(&mut *transaction).await?;
                for statement in SETUP {
                    sqlx::query(statement).execute(&mut *transaction).await?;
                }
                transaction.commit().await
            })?;
        }
        Ok(Self {
            link,
            holder,
            url: advertised,
            lease,
        })
    }

    /// Takes the lead if nobody has it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn campaign(&self) -> Result<Campaign, StoreError> {
        let asked = Instant::now();
        let lease_ms = self.lease.as_millis() as f64;
        let taken = self.link.call(CALL_MAX, async |connection| {
            let take = sqlx::query(TAKE)
                .bind(&self.holder)
                .bind(&self.url)
                .bind(lease_ms);
            take.fetch_optional(connection).await
        })?;
        let Some(row) = taken else {
            return Ok(Campaign::Lost(self.leader()?));
        };
        let column = |at: usize| row.try_get::<i64, _>(at).map_err(self.link.failed());
        Ok(Campaign::Won(Leadership::begin(
            self.clone(),
            column(0)?,
            column(1)?,
            asked + self.lease,
        )))
    }

    /// Who leads.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn leader(&self) -> Result<Leader, StoreError> {
        let row = self.link.call(CALL_MAX, async |connection| {
            sqlx::query(CURRENT).fetch_one(connection).await
        })?;
        let read = || {
            Ok(Leader {
                term: row.try_get(0)?,
                commits: row.try_get(1)?,
                holder: row.try_get(2)?,
                url: row.try_get(3)?,
                leads: row.try_get(4)?,
            })
        };
        read().map_err(self.link.failed())
    }
}

impl Candidate {
    /// The error of one that has led and does not any more.
    pub fn deposed(&self) -> StoreError {
        let store = self.link.name().into();
        let (leader, leader_term) = match self.leader() {
            Ok(leader) => (leader.url, leader.term),
            Err(_) => (String::new(), 0),
        };
        StoreError::Deposed {
            store,
            leader,
            leader_term,
        }
    }

    /// The database's name in errors.
    pub fn name(&self) -> &str {
        self.link.name()
    }

    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
}

impl Leadership {
    fn begin(candidate: Candidate, term: i64, commits: i64, certain: Instant) -> Self {
        let certain = Arc::new(Mutex::new(certain));
        let (lost_sender, lost) = watch::channel(false);
        let (stop, stopped) = mpsc::channel();
        let renewals = thread::Builder::new().name("leadership".into()).spawn({
            let (candidate, certain) = (candidate.clone(), Arc::clone(&certain));
            move || candidate.renew(term, &stopped, &lost_sender, &certain)
        });
        if let Err(error) = &renewals {
            tracing::error!(%error, "no thread renews the lead; another will take it");
        }
        Self {
            candidate,
            term,
            commits,
            lost,
            certain,
            stop: Some(stop),
            renewals: renewals.ok(),
        }
    }

    /// Number of the term, above those of all who led before.
    pub fn term(&self) -> i64 {
        self.term
    }

    /// Becomes true once another leads.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Whether nobody else can lead at this moment: the lease, counted from when it was last asked for, is not over.
    pub(super) fn is_certain(&self) -> bool {
        Instant::now() < *self.certain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn link(&self) -> Arc<Link> {
        self.candidate.link()
    }

    /// Commits of all terms before.
    pub(super) fn commits(&self) -> i64 {
        self.commits
    }

    pub(super) fn current(&self) -> Result<Leader, StoreError> {
        self.candidate.leader()
    }

    pub(super) fn deposed(&self, leader: Leader) -> StoreError {
        StoreError::Deposed {
            store: self.candidate.link.name().into(),
            leader: leader.url,
            leader_term: leader.term,
        }
    }
}

impl Candidate {
    /// Renews a lease until it is told to stop or another leads. A database that does not answer is asked on: until another could take
    /// the lead it says, the lead is kept.
    fn renew(
        &self,
        term: i64,
        stopped: &mpsc::Receiver<()>,
        lost: &watch::Sender<bool>,
        certain: &Mutex<Instant>,
    ) {
        let lease_ms = self.lease.as_millis() as f64;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(self.lease / RENEWALS) {
            let asked = Instant::now();
            let renewed = self.link.call(RENEWAL_MAX, async |connection| {
                let renew = sqlx::query(RENEW).bind(term).bind(lease_ms);
                renew.fetch_optional(connection).await
            });
            match renewed {
                Ok(Some(_)) => {
                    *certain.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.lease;
                }
                Ok(None) => {
                    tracing::warn!(term, "another coordinator leads");
                    lost.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "the lead is not renewed"),
            }
        }
        // The next one need not wait for the lease to end.
        let resigned = self.link.call(RENEWAL_MAX, async |connection| {
            sqlx::query(RESIGN).bind(term).fetch_optional(connection).await
        });
        if let Err(error) = resigned {
            tracing::warn!(%error, "the lead ends with its lease");
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewals) = self.renewals.take() {
            // It panics nowhere, and ends within the time of a statement.
            let _ = renewals.join();
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}
