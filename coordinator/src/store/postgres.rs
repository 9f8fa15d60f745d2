//! Records in PostgreSQL, for several coordinators of which one leads.
//!
//! One table has the records. The one row of another says who leads: its term, which grows with each change, until when it leads by the
//! database's clock, and how many commits there were. A commit is one statement that first counts itself in that row, if term and
//! count are what it expects, and otherwise changes nothing. So nothing of a coordinator that was deposed is ever written, however late
//! its statement arrives; and of a statement whose answer was lost, the same one again tells whether it was carried out.

mod lead;
mod link;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{Row as _, postgres::PgRow};

pub use self::lead::{Campaign, Candidate, Leader, Leadership};
pub(super) use self::link::may_pass;
use self::link::{CALL_MAX, Link};
use super::{
    StoreError,
    artifacts::Artifacts,
    kept::{Found, KeptStore, Opening, epoch, owner},
    migrations::{self, check_schema},
    records::{ACCOUNT, Change, Entry, IDENTITY, Records, Room},
};

/// Changes of one statement while a store is made.
const FILL_CHANGES: usize = 1 << 14;
/// Entries that one statement reads.
const PAGE_ENTRIES: i64 = 1 << 14;

const COMMIT: &str = "\
WITH mine AS (
    UPDATE zkrollup_prover.leadership SET commits = commits + 1 WHERE term = $1 AND commits = $2 RETURNING 1
), put AS (
    INSERT INTO zkrollup_prover.records (key, value)
    SELECT * FROM UNNEST($3::bytea[], $4::bytea[]) WHERE EXISTS (SELECT 1 FROM mine)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
), gone AS (
    DELETE FROM zkrollup_prover.records WHERE key = ANY($5::bytea[]) AND EXISTS (SELECT 1 FROM mine)
)
SELECT count(*) FROM mine";
const GET: &str = "SELECT value FROM zkrollup_prover.records WHERE key = $1";
const SOME: &str = "SELECT key, value FROM zkrollup_prover.records WHERE key = ANY($1::bytea[])";
const PAGE: &str =
    "SELECT key, value FROM zkrollup_prover.records WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3";
const LAST: &str =
    "SELECT key, value FROM zkrollup_prover.records WHERE key >= $1 AND key < $2 ORDER BY key DESC LIMIT $3";
const IS_MADE: &str = "SELECT to_regclass('zkrollup_prover.records') IS NOT NULL";
/// All that a transaction reads is of one moment, and a disk that is slow meanwhile does not end it.
const AT_ONCE: [&str; 2] = [
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL idle_in_transaction_session_timeout = '600s'",
];
/// Longest time for all records to be read: a day.
const AT_ONCE_MAX: Duration = Duration::from_secs(86_400);
const ANY: &str = "SELECT key FROM zkrollup_prover.records LIMIT $1";

/// The records, of one term in which this process leads.
#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    leadership: Leadership,
    /// Commits counted so far. Locked for as long as one is made.
    commits: Mutex<i64>,
}

/// The records that another coordinator writes.
#[derive(Debug)]
struct Mirror(Arc<Link>);

/// A database without a store.
#[derive(Debug)]
struct Empty(Shared);

impl Opening {
    /// Takes the store that a leadership is of, whose artifacts are where all coordinators see them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn lead(leadership: Leadership, artifacts: Arc<Artifacts>) -> Result<Self, StoreError> {
        let (link, commits) = (leadership.link(), leadership.commits());
        let name = link.name().to_owned();
        let shared = Shared {
            link,
            leadership,
            commits: Mutex::new(commits),
        };
        let records = match shared.get(&[IDENTITY])? {
            Some(_) => {
                migrations::run(&name, &shared, &artifacts, None)?;
                Found::Records(Box::new(shared))
            }
            None => Found::Room(Box::new(Empty(shared))),
        };
        Ok(Self {
            name,
            records,
            artifacts,
        })
    }
}

/// Shows all records of a database as they are at one moment, whoever leads; its name, and whether there is a store.
pub(super) fn each_at_once(
    url: &str,
    show: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(String, bool), StoreError> {
    let link = Link::new(url)?;
    // Nothing is called over this link before, so that it is done once.
    let show = Mutex::new(show);
    let found = link.call(AT_ONCE_MAX, async |connection| {
        let mut transaction = sqlx::Connection::begin(connection).await?;
        for statement in AT_ONCE {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        if !sqlx::query_scalar(IS_MADE).fetch_one(&mut *transaction).await? {
            return Ok(false);
        }
        let (mut from, mut found) = (vec![0], false);
        loop {
            let page = sqlx::query(PAGE)
                .bind(from)
                .bind(vec![u8::MAX])
                .bind(PAGE_ENTRIES);
            let rows: Vec<PgRow> = page.fetch_all(&mut *transaction).await?;
            let mut show = show.lock().unwrap_or_else(PoisonError::into_inner);
            for row in &rows {
                let key: &[u8] = row.try_get(0)?;
                found |= key == [IDENTITY];
                show(key, row.try_get(1)?);
            }
            match rows.last() {
                Some(row) if rows.len() as i64 == PAGE_ENTRIES => {
                    // The key that follows it.
                    from = [row.try_get(0)?, &[0][..]].concat();
                }
                _ => return Ok(found),
            }
        }
    })?;
    Ok((link.name().to_owned(), found))
}

/// The value of a key.
fn get(link: &Link, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let row = link.call(CALL_MAX, async |connection| {
        sqlx::query(GET).bind(key).fetch_optional(connection).await
    })?;
    row.map(|row| row.try_get(0)).transpose().map_err(link.failed())
}

/// The entries from a key on up to those of a kind, as they were at one moment; at most `limit`, where there is one.
fn page(link: &Link, from: &[u8], kind: u8, limit: Option<i64>) -> Result<Vec<PgRow>, StoreError> {
    link.call(CALL_MAX, async |connection| {
        let page = sqlx::query(PAGE).bind(from).bind(vec![kind + 1]).bind(limit);
        page.fetch_all(connection).await
    })
}

/// Shows the entries that there are of these keys, as many at once as of a page.
fn some(link: &Link, keys: &[Vec<u8>], show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
    for keys in keys.chunks(PAGE_ENTRIES as usize) {
        let rows = link.call(CALL_MAX, async |connection| {
            sqlx::query(SOME).bind(keys).fetch_all(connection).await
        })?;
        link.show(&rows, show)?;
    }
    Ok(())
}

/// Shows all entries of these kinds, page by page, where what comes between two pages does not matter.
fn pages(
    link: &Link,
    kinds: RangeInclusive<u8>,
    show: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let mut from = vec![*kinds.start()];
    loop {
        let rows = page(link, &from, *kinds.end(), Some(PAGE_ENTRIES))?;
        link.show(&rows, show)?;
        match rows.last() {
            Some(row) if rows.len() as i64 == PAGE_ENTRIES => {
                let last: &[u8] = row.try_get(0).map_err(link.failed())?;
                // The key that follows it.
                from = [last, &[0]].concat();
            }
            _ => return Ok(()),
        }
    }
}

/// The last entries of a kind below a key.
fn last(link: &Link, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = link.call(CALL_MAX, async |connection| {
        let last = sqlx::query(LAST).bind(vec![kind]).bind(before).bind(limit);
        last.fetch_all(connection).await
    })?;
    let mut entries = Vec::new();
    link.show(&rows, &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()))
    })?;
    Ok(entries)
}

impl Link {
    fn show(&self, rows: &[PgRow], show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for row in rows {
            let key: &[u8] = row.try_get(0).map_err(self.failed())?;
            show(key, row.try_get(1).map_err(self.failed())?);
        }
        Ok(())
    }
}

impl KeptStore {
    /// The store that another coordinator writes; none before it is made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn mirror(candidate: &Candidate, artifacts: Arc<Artifacts>) -> Result<Option<Self>, StoreError> {
        let mirror = Mirror(candidate.link());
        if mirror.get(&[IDENTITY])?.is_none() {
            return Ok(None);
        }
        check_schema(mirror.0.name(), &mirror)?;
        Ok(Some(Self {
            name: mirror.0.name().into(),
            epoch: epoch(&mirror)?,
            owner: owner(&mirror)?,
            writes: false,
            artifacts,
            records: Box::new(mirror),
        }))
    }
}

impl Records for Mirror {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0, key)
    }

    fn some(&self, keys: &[Vec<u8>], show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        some(&self.0, keys, show)
    }

    fn each(&self, kinds: RangeInclusive<u8>, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        if kinds == (ACCOUNT..=ACCOUNT) {
            // Millions, and each is looked at by itself.
            return pages(&self.0, kinds, show);
        }
        let rows = page(&self.0, &[*kinds.start()], *kinds.end(), None)?;
        self.0.show(&rows, show)
    }

    fn last(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        last(&self.0, kind, before, limit)
    }

    fn commit(&self, _: Vec<Change>) -> Result<(), StoreError> {
        let store = self.0.name().into();
        Err(StoreError::StandsBy { store })
    }

    fn is_current(&self) -> bool {
        false
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.0.forget();
        Ok(())
    }
}

impl Records for Shared {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.link, key)
    }

    fn some(&self, keys: &[Vec<u8>], show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        some(&self.link, keys, show)
    }

    fn each(&self, kinds: RangeInclusive<u8>, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        // Nobody else writes.
        pages(&self.link, kinds, show)
    }

    fn last(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        last(&self.link, kind, before, limit)
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        // A statement changes each key once.
        let mut last = BTreeMap::new();
        for change in changes {
            match change {
                Change::Insert(key, value) => last.insert(key, Some(value)),
                Change::Remove(key) => last.insert(key, None),
            };
        }
        let (mut keys, mut values, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in last {
            match value {
                Some(value) => {
                    keys.push(key);
                    values.push(value);
                }
                None => gone.push(key),
            }
        }
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let term = self.leadership.term();
        let counted: i64 = self.link.call(CALL_MAX, async |connection| {
            let commit = sqlx::query_scalar(COMMIT).bind(term).bind(*commits);
            let commit = commit.bind(&keys).bind(&values).bind(&gone);
            commit.fetch_one(connection).await
        })?;
        if counted == 0 {
            // Only this process writes in its term, one commit at a time: one that is counted already is this one.
            let found = self.leadership.current()?;
            if (found.term, found.commits) != (term, *commits + 1) {
                return Err(self.leadership.deposed(found));
            }
        }
        *commits += 1;
        Ok(())
    }

    fn is_current(&self) -> bool {
        self.leadership.is_certain()
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.link.forget();
        let found = self.leadership.current()?;
        match found.term == self.leadership.term() {
            true => Ok(()),
            false => Err(self.leadership.deposed(found)),
        }
    }
}

impl Room for Empty {
    fn fill(
        self: Box<Self>,
        first: &mut dyn Iterator<Item = Change>,
    ) -> Result<Box<dyn Records>, StoreError> {
        let shared = self.0;
        // Records without an identity are what an interrupted start has left.
        loop {
            let left = shared.link.call(CALL_MAX, async |connection| {
                let some = sqlx::query_scalar::<_, Vec<u8>>(ANY).bind(FILL_CHANGES as i64);
                some.fetch_all(connection).await
            })?;
            if left.is_empty() {
                break;
            }
            shared.commit(left.into_iter().map(Change::Remove).collect())?;
        }
        // The identity comes last: with it the store is one.
        let mut identity = None;
        let mut first = first
            .filter_map(|change| match &change {
                Change::Insert(key, _) if *key == [IDENTITY] => {
                    identity = Some(change);
                    None
                }
                _ => Some(change),
            })
            .peekable();
        while first.peek().is_some() {
            shared.commit(first.by_ref().take(FILL_CHANGES).collect())?;
        }
        drop(first);
        shared.commit(identity.into_iter().collect())?;
        Ok(Box::new(shared))
    }
}
