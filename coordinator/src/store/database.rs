//! The database of a store: one file of redb's with one table, bytes under bytes.
//!
//! A commit is one transaction in two phases, so that nothing that clients choose to write can pass for a commit that is
//! whole, and it is synced when it returns. The checksum of every page is verified at the opening. After a failed write redb
//! refuses all others until the file is opened anew.

use std::{fs::File, ops::RangeInclusive, path::Path};

use redb::{Builder, Error, ReadableDatabase, TableDefinition};

use super::records::{Change, Entry};

/// Memory that redb may use for its cache, bytes.
const CACHE_BYTES: usize = 64 << 20;

/// Changes of one commit while a database is made.
const COMMIT_CHANGES: usize = 1 << 18;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

#[derive(Debug)]
pub(super) struct Database(redb::Database);

impl Database {
    /// Makes a database in a file that is not there yet, with its first entries.
    pub(super) fn create(path: &Path, first: impl IntoIterator<Item = Change>) -> Result<(), Error> {
        File::create_new(path)?;
        let database = Self(builder().create(path)?);
        let mut first = first.into_iter().peekable();
        while first.peek().is_some() {
            // What comes is not all held at once, and nobody looks before it is whole.
            database.commit(first.by_ref().take(COMMIT_CHANGES))?;
        }
        Ok(database.0.close()?)
    }

    /// Opens a file that is one.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self(builder().open(path)?))
    }

    /// Makes all changes or none. When it returns, they survive a loss of power.
    pub(super) fn commit(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_two_phase_commit(true);
        let mut records = transaction.open_table(RECORDS)?;
        for change in changes {
            match change {
                Change::Insert(key, value) => drop(records.insert(key.as_slice(), value.as_slice())?),
                Change::Remove(key) => drop(records.remove(key.as_slice())?),
            }
        }
        drop(records);
        Ok(transaction.commit()?)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let records = self.0.begin_read()?.open_table(RECORDS)?;
        Ok(records.get(key)?.map(|value| value.value().to_vec()))
    }

    /// The last entries whose key is at least `[kind]` and below `before`, the last first; at most `limit`.
    pub(super) fn last(&self, kind: u8, before: &[u8], limit: usize) -> Result<Vec<Entry>, Error> {
        let records = self.0.begin_read()?.open_table(RECORDS)?;
        let first = [kind];
        if before <= first.as_slice() {
            return Ok(Vec::new());
        }
        let entries = records.range(first.as_slice()..before)?.rev().take(limit);
        entries
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            })
            .collect()
    }

    /// Shows all entries whose key begins with one of these bytes, in the order of their keys.
    pub(super) fn each(
        &self,
        kinds: RangeInclusive<u8>,
        mut show: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        let records = self.0.begin_read()?.open_table(RECORDS)?;
        for entry in records.range([*kinds.start()].as_slice()..)? {
            let (key, value) = entry?;
            if key.value().first().is_none_or(|kind| kind > kinds.end()) {
                break;
            }
            show(key.value(), value.value());
        }
        Ok(())
    }
}

/// Whether the file holds what redb did not write.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        Error::Corrupted(_)
        | Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TableDoesNotExist(_) => true,
        _ => false,
    }
}

fn builder() -> Builder {
    let mut builder = redb::Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io,
        sync::{Arc, Mutex},
    };

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;
    use redb::StorageBackend;

    use super::*;

    /// Commits of one run.
    const COMMITS: u64 = 6;
    /// Parts of a write that a loss of power keeps or loses by itself, bytes.
    const SECTOR: usize = 512;

    /// A disk in memory that knows what is on the plates and what is only on its way there.
    #[derive(Debug, Default)]
    struct Disk {
        kept: Vec<u8>,
        seen: Vec<u8>,
        /// Since the last sync, in order.
        unsynced: Vec<Unsynced>,
        calls: u64,
        /// The call at which the power goes.
        ends_at: u64,
    }

    #[derive(Debug)]
    enum Unsynced {
        Write(usize, Vec<u8>),
        Length(usize),
    }

    /// A disk as redb sees it.
    #[derive(Debug, Clone)]
    struct Plugged(Arc<Mutex<Disk>>);

    impl Disk {
        fn call(&mut self) -> io::Result<()> {
            self.calls += 1;
            if self.calls >= self.ends_at {
                return Err(io::Error::other("the power is gone"));
            }
            Ok(())
        }

        /// What is there when the power comes back: of all that was not synced, any part.
        fn restart(&self, rng: &mut ChaCha20Rng) -> Self {
            let mut bytes = self.kept.clone();
            for change in &self.unsynced {
                match change {
                    Unsynced::Length(length) if rng.r#gen() => bytes.resize(*length, 0),
                    Unsynced::Length(_) => {}
                    Unsynced::Write(at, data) => {
                        for (index, part) in data.chunks(SECTOR).enumerate() {
                            let at = at + index * SECTOR;
                            if rng.r#gen() && at + part.len() <= bytes.len() {
                                bytes[at..at + part.len()].copy_from_slice(part);
                            }
                        }
                    }
                }
            }
            Self {
                kept: bytes.clone(),
                seen: bytes,
                ends_at: u64::MAX,
                ..Self::default()
            }
        }
    }

    impl StorageBackend for Plugged {
        fn len(&self) -> Result<u64, io::Error> {
            Ok(self.0.lock().expect("not poisoned").seen.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            let disk = self.0.lock().expect("not poisoned");
            let at = offset as usize;
            let bytes = disk.seen.get(at..at + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            let mut disk = self.0.lock().expect("not poisoned");
            disk.call()?;
            disk.seen.resize(len as usize, 0);
            disk.unsynced.push(Unsynced::Length(len as usize));
            Ok(())
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            let mut disk = self.0.lock().expect("not poisoned");
            disk.call()?;
            disk.kept = disk.seen.clone();
            disk.unsynced.clear();
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            let mut disk = self.0.lock().expect("not poisoned");
            disk.call()?;
            let at = offset as usize;
            disk.seen[at..at + data.len()].copy_from_slice(data);
            disk.unsynced.push(Unsynced::Write(at, data.to_vec()));
            Ok(())
        }
    }

    fn open(disk: &Arc<Mutex<Disk>>) -> Result<Database, Error> {
        let disk = Plugged(Arc::clone(disk));
        Ok(Database(builder().create_with_backend(disk)?))
    }

    /// The changes of a commit.
    fn changes(commit: u64) -> Vec<Change> {
        let mut rng = ChaCha20Rng::seed_from_u64(commit);
        let mut changes = vec![Change::Insert(vec![1], commit.to_be_bytes().to_vec())];
        for _ in 0..rng.gen_range(1..30) {
            let key = vec![2, rng.gen_range(0..100)];
            changes.push(if rng.gen_ratio(1, 4) {
                Change::Remove(key)
            } else {
                let mut value = vec![0; rng.gen_range(0..300)];
                rng.fill(&mut value[..]);
                Change::Insert(key, value)
            });
        }
        changes
    }

    /// What is in the database after so many commits.
    fn after(commits: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut entries = BTreeMap::new();
        for change in (1..=commits).flat_map(changes) {
            match change {
                Change::Insert(key, value) => drop(entries.insert(key, value)),
                Change::Remove(key) => drop(entries.remove(&key)),
            }
        }
        entries
    }

    fn entries(database: &Database) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut entries = BTreeMap::new();
        let mut show = |key: &[u8], value: &[u8]| drop(entries.insert(key.to_vec(), value.to_vec()));
        database.each(1..=2, &mut show).expect("readable");
        entries
    }

    #[test]
    fn what_was_acknowledged_survives_a_loss_of_power_at_any_write() {
        let made = Arc::new(Mutex::new(Disk {
            ends_at: u64::MAX,
            ..Disk::default()
        }));
        open(&made).expect("made").commit(changes(1)).expect("it commits");
        let mut ends_at = 0;
        loop {
            let mut rng = ChaCha20Rng::seed_from_u64(ends_at);
            let mut disk = made.lock().expect("not poisoned").restart(&mut rng);
            ends_at += 1;
            disk.ends_at = ends_at;
            let disk = Arc::new(Mutex::new(disk));
            let mut acknowledged = 1;
            if let Ok(database) = open(&disk) {
                while acknowledged < COMMITS && database.commit(changes(acknowledged + 1)).is_ok() {
                    acknowledged += 1;
                }
            }
            // The power may go again while what it left is put right.
            for again in [rng.gen_range(1..20), u64::MAX] {
                let restarted = disk.lock().expect("not poisoned").restart(&mut rng);
                *disk.lock().expect("not poisoned") = Disk {
                    ends_at: again,
                    ..restarted
                };
                let Ok(database) = open(&disk) else {
                    assert_ne!(again, u64::MAX, "call {ends_at}: it does not open");
                    continue;
                };
                let found = entries(&database);
                let at = acknowledged..=acknowledged + 1;
                let commit = at.clone().find(|commit| found == after(*commit));
                assert!(commit.is_some(), "call {ends_at}: it is none of {at:?}");
            }
            if acknowledged == COMMITS {
                return;
            }
        }
    }
}
