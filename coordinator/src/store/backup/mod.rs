//! A copy of a store in one file: its records as they were at one moment, and every object that they name.
//!
//! The form is the same wherever records and artifacts are, so that a backup is also the way from a folder to a database, and from a
//! folder of artifacts to a bucket. What is written is read again before it counts, and what is restored is compared with the backup:
//! a store that differs loses its identity, without which nothing opens it.

mod file;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::file::{Kind, Reader, Writer};
use super::{
    SCHEMA, StoreError,
    artifacts::{self, ArtifactOptions, Artifacts, ReadError, StoreId, sync_folder},
    disk,
    kept::{Found, Opening},
    postgres::{self, Campaign, Candidate},
    records::{ARTIFACT, Change, Entry, IDENTITY, Records, Room, STORE_ID, decode, encode},
};

/// All kinds of records: any key's first byte but the last.
const ALL: std::ops::RangeInclusive<u8> = 0..=u8::MAX - 1;
/// Bytes of records in one section, about.
const SECTION_BYTES: usize = 1 << 20;
/// Objects that are put at once, and their bytes at most, about.
const PUT_AT_ONCE: usize = 64;
const PUT_BYTES: usize = 64 << 20;
/// For how long a restored store is led after the last word.
const LEASE: Duration = Duration::from_secs(5);

/// Where a store is, or is to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its folder: of its records, unless they are in a database, and of its artifacts, unless they are elsewhere.
    pub folder: PathBuf,
    /// The PostgreSQL database of its records, by its URL.
    pub postgres: Option<String>,
    /// Where its artifacts are.
    pub artifacts: ArtifactOptions,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Objects, which are as many as there are different artifacts.
    pub objects: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// What identifies it: the digest that the file ends with.
    pub sha256: [u8; 32],
    /// The artifacts that are not in it, since they were damaged.
    pub left_out: Vec<String>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is being done.
    pub what: &'static str,
    /// How much of it is.
    pub done: u64,
    /// Of how much; 0 where that is not known.
    pub of: u64,
}

/// Takes what is told of the progress.
pub type Told<'a> = &'a mut dyn FnMut(Step);

/// Why there is no backup, or no store of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store, or where it is to be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// The backup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there.
    #[error("{path} is there already, and is left as it is")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to be copied.
    #[error("there is no store in {place}")]
    NoStore {
        /// Where it was looked for.
        place: String,
    },
    /// There is a store where one is to be put.
    #[error("there is a store in {place}, which is left as it is; restore to an empty place")]
    NotEmpty {
        /// Where.
        place: String,
    },
    /// A coordinator works where a store is to be put.
    #[error("a coordinator uses {place}; stop all that do")]
    InUse {
        /// The database.
        place: String,
    },
    /// An artifact of the store is damaged.
    #[error(
        "artifact {artifact} ({object}) is {found}, so that the backup would not have it; see what `explain` says of its batch, or leave it out (--leave-out-damaged)"
    )]
    Artifact {
        /// Its name.
        artifact: String,
        /// Where it lies.
        object: String,
        /// What it is instead.
        found: String,
    },
    /// The file is something else.
    #[error("{path} is no backup of this program")]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// A part of it is not what was written.
    #[error("the backup {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// It ends too soon.
    #[error(
        "the backup {path} is cut off, or damaged, after {bytes} bytes: {what} should follow or end there"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// Bytes of the file.
        bytes: u64,
    },
    /// What was restored does not read as it was written.
    #[error(
        "{what} of the store that was restored differs from the backup; the store is made unusable. Remove it, and see to the disk"
    )]
    Differs {
        /// What.
        what: String,
    },
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Copies a store into a file that is not there yet. A store in a folder must not be in use; one in a database may be. An artifact that is
/// damaged is refused, or left out.
///
/// # Errors
/// See [`BackupError`]; then there is no file.
pub fn back_up(
    from: &Place,
    file: &Path,
    leave_out_damaged: bool,
    told: Told<'_>,
) -> Result<Summary, BackupError> {
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: file.into() });
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let source = Source::open(from)?;
    let artifacts = Artifacts::open(&from.artifacts, &from.folder)?;
    let writer = Writer::create(&part)?;
    let written = source
        .copy(&artifacts, writer, leave_out_damaged, told)
        .and_then(|()| read(&part, told, |_| Ok(())))
        .and_then(|content| {
            // Never in the place of another.
            fs::hard_link(&part, file).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => BackupError::Exists { path: file.into() },
                _ => BackupError::io(file)(source),
            })?;
            Ok(content.summary)
        });
    let removed = fs::remove_file(&part).map_err(BackupError::io(&part));
    let summary = written?;
    removed?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))?;
    Ok(summary)
}

/// Reads a backup to its end.
///
/// # Errors
/// See [`BackupError`]: what of it is damaged.
pub fn check(file: &Path, told: Told<'_>) -> Result<Summary, BackupError> {
    Ok(read(file, told, |_| Ok(()))?.summary)
}

/// Puts the store of a backup where there is none. All of the backup is read before anything is made. What an interrupted one has left is
/// no store, and the next one goes over it.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(file: &Path, to: &Place, told: Told<'_>) -> Result<Summary, BackupError> {
    let Content {
        owner,
        sha256,
        artifacts: named,
        summary,
        ..
    } = read(file, told, |_| Ok(()))?;
    let artifacts = Arc::new(Artifacts::open(&to.artifacts, &to.folder)?);
    let room = room(to, &artifacts)?;
    // Objects first: the records never name one that is not there.
    artifacts.claim(owner, false)?;
    put_objects(file, &artifacts, told)?;
    let mut failure = None;
    let records = {
        let mut changes = changes(Reader::open(file)?, summary.records, &mut *told, &mut failure);
        room.fill(&mut changes)?
    };
    let restored = failure
        .map_or(Ok(()), Err)
        .and_then(|()| compare(&*records, sha256, &summary))
        .and_then(|()| compare_objects(&artifacts, owner, &named, &summary, told));
    if restored.is_err() {
        records.commit(vec![Change::Remove(vec![IDENTITY])])?;
    }
    restored.map(|()| summary)
}

/// What stands at the end of a backup.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    records: u64,
    objects: u64,
    left_out: Vec<String>,
}

/// An artifact by its name, and the object that it is.
type Named = (String, artifacts::Entry);

/// What records say that a backup needs to know.
#[derive(Debug, Default)]
struct Index {
    records: u64,
    sha256: Sha256,
    schema: Option<u32>,
    owner: Option<StoreId>,
    artifacts: Vec<Named>,
}

impl Index {
    fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.records += 1;
        for part in [key, value] {
            self.sha256.update((part.len() as u64).to_be_bytes());
            self.sha256.update(part);
        }
        match key {
            [IDENTITY] => self.schema = postcard::take_from_bytes(value).map(|(schema, _)| schema).ok(),
            [STORE_ID] => self.owner = Some(decode("the store's id", value)?),
            [ARTIFACT, name @ ..] => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.artifacts.push((name, decode("an artifact's entry", value)?));
            }
            _ => {}
        }
        Ok(())
    }

    /// The objects, each once, those of one epoch together; and what the records are.
    fn finish(mut self, place: &str) -> Result<(StoreId, Vec<Named>, [u8; 32]), StoreError> {
        let stored = match self.schema {
            Some(SCHEMA) => None,
            Some(other) => Some(other.to_string()),
            None => Some("none".into()),
        };
        if let Some(stored) = stored {
            let store = place.into();
            return Err(StoreError::Schema { store, stored });
        }
        let owner = self.owner.ok_or_else(|| StoreError::Corrupt {
            what: "the store's id is missing".into(),
        })?;
        self.artifacts.sort_by_key(|(_, entry)| entry.object.order());
        self.artifacts.dedup_by_key(|(_, entry)| entry.object.order());
        Ok((owner, self.artifacts, self.sha256.finalize().into()))
    }
}

/// Where records are read.
enum Source {
    Folder(String, Box<dyn Records>),
    Postgres(String),
}

impl Source {
    fn open(from: &Place) -> Result<Self, BackupError> {
        if let Some(url) = &from.postgres {
            return Ok(Self::Postgres(url.clone()));
        }
        let place = from.folder.display().to_string();
        match disk::records(&from.folder)? {
            Some(records) => Ok(Self::Folder(place, records)),
            None => Err(BackupError::NoStore { place }),
        }
    }

    /// Shows all records as they are at one moment.
    fn each(&self, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<String, BackupError> {
        match self {
            Self::Folder(place, records) => {
                records.each(ALL, show)?;
                Ok(place.clone())
            }
            Self::Postgres(url) => match postgres::each_at_once(url, show)? {
                (place, true) => Ok(place),
                (place, false) => Err(BackupError::NoStore { place }),
            },
        }
    }

    fn copy(
        &self,
        artifacts: &Artifacts,
        mut writer: Writer,
        leave_out: bool,
        told: Told<'_>,
    ) -> Result<(), BackupError> {
        let mut index = Index::default();
        let mut failure: Option<BackupError> = None;
        let mut some: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let place = self.each(&mut |key, value| {
            if failure.is_some() {
                return;
            }
            bytes += key.len() + value.len();
            some.push((key.to_vec(), value.to_vec()));
            let mut noted = index.note(key, value).map_err(BackupError::from);
            if bytes >= SECTION_BYTES && noted.is_ok() {
                noted = writer.section(Kind::Records, &encode(&std::mem::take(&mut some)));
                bytes = 0;
                told(Step {
                    what: "records",
                    done: index.records,
                    of: 0,
                });
            }
            failure = noted.err();
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        writer.section(Kind::Records, &encode(&some))?;
        let records = index.records;
        let (owner, named, _) = index.finish(&place)?;
        artifacts.check(owner)?;
        let mut left_out = Vec::new();
        for (done, (name, entry)) in named.iter().enumerate() {
            told(Step {
                what: "artifacts",
                done: done as u64,
                of: named.len() as u64,
            });
            match artifacts.read(owner, entry) {
                Ok(bytes) => writer.section(Kind::Object, &bytes)?,
                Err(ReadError::Store(error)) => return Err(error.into()),
                Err(ReadError::Damaged { .. }) if leave_out => {
                    writer.section(Kind::LeftOut, &[])?;
                    left_out.push(name.clone());
                }
                Err(ReadError::Damaged { object, found }) => {
                    let artifact = name.clone();
                    return Err(BackupError::Artifact {
                        artifact,
                        object,
                        found,
                    });
                }
            }
        }
        let objects = (named.len() - left_out.len()) as u64;
        writer.section(
            Kind::End,
            &encode(&End {
                records,
                objects,
                left_out,
            }),
        )?;
        writer.finish()
    }
}

/// The records of a backup, until something is wrong.
fn changes<'a>(
    mut reader: Reader,
    records: u64,
    told: Told<'a>,
    failure: &'a mut Option<BackupError>,
) -> impl Iterator<Item = Change> + 'a {
    let mut done = 0;
    let sections = std::iter::from_fn(move || {
        if done == records {
            return None;
        }
        told(Step {
            what: "records",
            done,
            of: records,
        });
        match section_of_records(&mut reader, done) {
            Ok(Some(some)) => {
                done += some.len() as u64;
                Some(some)
            }
            Ok(None) => {
                *failure = Some(reader.damaged("it has changed meanwhile".into()));
                None
            }
            Err(error) => {
                *failure = Some(error);
                None
            }
        }
    });
    sections.flatten().map(|(key, value)| Change::Insert(key, value))
}

/// The next section, if it is one of records.
fn section_of_records(reader: &mut Reader, done: u64) -> Result<Option<Vec<Entry>>, BackupError> {
    let what = || format!("the records after the first {done}");
    match reader.section(what)? {
        (Kind::Records, bytes) => match postcard::from_bytes(&bytes) {
            Ok(some) => Ok(Some(some)),
            Err(_) => Err(reader.damaged(what())),
        },
        _ => Ok(None),
    }
}

/// What a whole backup has.
struct Content {
    owner: StoreId,
    /// Digest of the records.
    sha256: [u8; 32],
    artifacts: Vec<Named>,
    summary: Summary,
}

/// Reads a backup to its end, and shows its objects: their entries and bytes, some at once.
fn read(
    file: &Path,
    told: Told<'_>,
    mut show: impl FnMut(&[(artifacts::Entry, Vec<u8>)]) -> Result<(), BackupError>,
) -> Result<Content, BackupError> {
    let mut reader = Reader::open(file)?;
    let mut index = Index::default();
    // The first section that is none of records is the next to be looked at.
    let mut next = loop {
        let what = || match index.records {
            0 => "the records".to_owned(),
            some => match index
                .artifacts
                .iter()
                .min_by_key(|(_, entry)| entry.object.order())
            {
                Some((name, artifacts::Entry { object, .. })) => {
                    format!("what follows {some} records: others, or artifact {name} ({object})")
                }
                None => format!("what follows {some} records"),
            },
        };
        let (kind, bytes) = reader.section(what)?;
        if kind != Kind::Records {
            break Some((kind, bytes));
        }
        let some: Vec<Entry> = postcard::from_bytes(&bytes).map_err(|_| reader.damaged(what()))?;
        for (key, value) in some {
            index.note(&key, &value)?;
        }
        told(Step {
            what: "reading the backup",
            done: reader.bytes - reader.left,
            of: reader.bytes,
        });
    };
    let records = index.records;
    let (owner, artifacts, sha256) = index.finish(&file.display().to_string())?;
    let (mut left_out, mut some, mut some_bytes) = (Vec::new(), Vec::new(), 0);
    for (name, entry) in &artifacts {
        let what = || format!("artifact {name} ({})", entry.object);
        let (kind, bytes) = next.take().map_or_else(|| reader.section(what), Ok)?;
        match kind {
            Kind::Object if entry.is_of(&bytes) => {
                some_bytes += bytes.len();
                some.push((*entry, bytes));
            }
            Kind::LeftOut => left_out.push(name.clone()),
            _ => return Err(reader.damaged(what())),
        }
        if some.len() >= PUT_AT_ONCE || some_bytes >= PUT_BYTES {
            show(&std::mem::take(&mut some))?;
            some_bytes = 0;
        }
        told(Step {
            what: "reading the backup",
            done: reader.bytes - reader.left,
            of: reader.bytes,
        });
    }
    show(&some)?;
    let what = || "its end".to_owned();
    let (kind, bytes) = next.take().map_or_else(|| reader.section(what), Ok)?;
    let objects = (artifacts.len() - left_out.len()) as u64;
    let expected = End {
        records,
        objects,
        left_out,
    };
    if kind != Kind::End || postcard::from_bytes::<End>(&bytes).ok().as_ref() != Some(&expected) {
        return Err(reader.damaged(what()));
    }
    if reader.left != 0 {
        return Err(reader.damaged(format!("{} bytes follow its end", reader.left)));
    }
    let summary = Summary {
        records,
        objects,
        bytes: reader.bytes,
        sha256: reader.digest,
        left_out: expected.left_out,
    };
    Ok(Content {
        owner,
        sha256,
        artifacts,
        summary,
    })
}

/// A place without a store.
fn room(to: &Place, artifacts: &Arc<Artifacts>) -> Result<Box<dyn Room>, BackupError> {
    let Some(url) = &to.postgres else {
        let place = to.folder.display().to_string();
        return disk::room(&to.folder)?.ok_or(BackupError::NotEmpty { place });
    };
    let candidate = Candidate::new(url, "rollup-prover restore".into(), String::new(), LEASE)?;
    let place = candidate.name().to_owned();
    match candidate.campaign()? {
        Campaign::Lost(_) => Err(BackupError::InUse { place }),
        Campaign::Won(leadership) => match Opening::lead(leadership, Arc::clone(artifacts))?.records {
            Found::Room(room) => Ok(room),
            Found::Records(_) => Err(BackupError::NotEmpty { place }),
        },
    }
}

fn put_objects(file: &Path, artifacts: &Artifacts, told: Told<'_>) -> Result<(), BackupError> {
    read(file, told, |some| {
        // Under the epochs that their names have.
        for some in some.chunk_by(|(one, _), (other, _)| one.object.epoch() == other.object.epoch()) {
            let bytes: Vec<&[u8]> = some.iter().map(|(_, bytes)| bytes.as_slice()).collect();
            artifacts.put(some[0].0.object.epoch(), &bytes)?.committed();
        }
        Ok(())
    })?;
    Ok(())
}

/// Compares restored records with those of the backup.
fn compare(records: &dyn Records, sha256: [u8; 32], summary: &Summary) -> Result<(), BackupError> {
    let mut index = Index::default();
    let mut failure = None;
    records.each(ALL, &mut |key, value| {
        failure = failure.take().or(index.note(key, value).err());
    })?;
    let same = index.records == summary.records && <[u8; 32]>::from(index.sha256.finalize()) == sha256;
    match (failure, same) {
        (None, true) => Ok(()),
        _ => Err(BackupError::Differs {
            what: "a record".into(),
        }),
    }
}

/// Reads each restored object.
fn compare_objects(
    artifacts: &Artifacts,
    owner: StoreId,
    named: &[Named],
    summary: &Summary,
    told: Told<'_>,
) -> Result<(), BackupError> {
    for (done, (name, entry)) in named.iter().enumerate() {
        told(Step {
            what: "reading what was restored",
            done: done as u64,
            of: named.len() as u64,
        });
        match artifacts.read(owner, entry) {
            Ok(_) => {}
            Err(ReadError::Damaged { .. }) if summary.left_out.contains(name) => {}
            Err(ReadError::Damaged { object, .. }) => return Err(BackupError::Differs { what: object }),
            Err(ReadError::Store(error)) => return Err(error.into()),
        }
    }
    Ok(())
}
