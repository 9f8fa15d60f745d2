//! Artifacts as objects that are named by what is in them: in a folder, or in a bucket behind S3's interface.
//!
//! Objects are no truth of their own: the database's entries say which artifacts exist and which object each of them is. A commit puts
//! its objects first and names them then, so that the database never names one that is not there; what it does not name is the rest of
//! a commit that never happened, or of an artifact that was removed or replaced, and is collected.
//!
//! An object's name is the SHA-256 of its bytes and the epoch of the store under which it was put. The digest makes it plain what belongs
//! there. The epoch is what makes collecting safe. Whoever opens a store, or comes to lead it, has an epoch that nobody had
//! before, and from then on the commits of those before are refused. So it alone names objects of its epoch, and one of an earlier epoch
//! that the database does not name is never named again. A collector touches no object of an epoch after its own: one that
//! was paused for hours while others took over, and goes on with what it had found, deletes nothing that anybody needs, though
//! the same bytes were put again meanwhile, as those of a batch that was taken back and submitted again. Within one
//! epoch, what commits under way have put is known ([`UnderWay`]). No clock has a part in this.
//!
//! The retention time is for those who look from beside: whoever has copied the database (a backup) finds the objects that it names for
//! so long. A backup is thus the database and then the objects that it names, of whatever back end; they have the same
//! names in all of them, so that a copy of all objects moves a store from one to another.

mod bucket;
mod folder;
mod location;
mod meters;
mod objects;
#[cfg(test)]
pub(crate) mod s3_server;
#[cfg(test)]
mod tests;
mod under_way;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{
    bucket::Bucket,
    folder::Folder,
    meters::Call,
    objects::{Found, Listed, Objects},
    under_way::{Putting, UnderWay},
};
use super::StoreError;

pub(in crate::store) use self::folder::{io_error, make_folder, sync_folder};
pub(crate) use self::meters::{ArtifactNumbers, CALLS, OBJECTS};
pub use self::{
    location::{Location, LocationError, S3},
    meters::ArtifactMeters,
};

/// The artifacts' folder in that of the store, unless they are kept elsewhere.
pub(super) const OWN_FOLDER: &str = "objects";
/// The object that says whose all others are.
const OWNER: &str = "store";
/// How its text begins; the owner's id follows, and a line break.
const OWNER_BEGINS: &str = "rollup-prover store ";
/// How long an object stays that nothing names, unless it is said.
const RETENTION: Duration = Duration::from_secs(3_600);
/// Objects that are deleted at once: as many as S3 takes in one request.
const DELETED_AT_ONCE: usize = 1_000;

/// Where artifacts are kept, and for how long what is not needed any more.
#[derive(Debug, Clone)]
pub struct ArtifactOptions {
    /// Where.
    pub location: Location,
    /// How long an object stays that nothing names.
    pub retention: Duration,
    /// What counts for whoever looks.
    pub meters: Arc<ArtifactMeters>,
}

impl Default for ArtifactOptions {
    /// The store's own folder, and an hour.
    fn default() -> Self {
        Self {
            location: Location::Store,
            retention: RETENTION,
            meters: Arc::default(),
        }
    }
}

/// Whose artifacts they are: drawn when a store is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoreId([u8; 16]);

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ObjectId {
    sha256: [u8; 32],
    epoch: u32,
}

/// What the database knows of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub bytes: u64,
    pub object: ObjectId,
}

/// Why an artifact is not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It alone is not what was put: where it lies, and what it is instead.
    Damaged { object: String, found: String },
    /// The others.
    Store(StoreError),
}

/// What a look at all objects found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Collected {
    /// Objects that were deleted, and their bytes.
    pub deleted: u64,
    pub deleted_bytes: u64,
    /// Objects that the database names and that are missing, or of another length.
    pub damaged: u64,
}

/// The artifacts of a store.
#[derive(Debug)]
pub struct Artifacts {
    objects: Box<dyn Objects>,
    retention: Duration,
    meters: Arc<ArtifactMeters>,
    under_way: UnderWay,
    /// The objects that nothing named at the last look, and since when. None before the first. Locked for as long as one looks.
    waiting: Mutex<Option<HashMap<String, Instant>>>,
}

/// Artifacts that are put and not yet named: until this is dropped nobody collects them.
#[derive(Debug)]
pub(super) struct Put<'a> {
    entries: Vec<Entry>,
    putting: Putting<'a>,
}

impl Artifacts {
    /// Opens a location; `store` is the folder of the store, for one of its own.
    ///
    /// # Errors
    /// Where the folder cannot be made. Whether a bucket is there is seen when a store is opened.
    pub fn open(options: &ArtifactOptions, store: &Path) -> Result<Self, StoreError> {
        let objects: Box<dyn Objects> = match &options.location {
            Location::Store => Box::new(Folder::open(store.join(OWN_FOLDER))?),
            Location::Folder(path) => Box::new(Folder::open(path.clone())?),
            Location::S3(s3) => Box::new(Bucket::open(s3)?),
        };
        Ok(Self {
            objects,
            retention: options.retention,
            meters: Arc::clone(&options.meters),
            under_way: UnderWay::default(),
            waiting: Mutex::default(),
        })
    }

    /// Sees to it that the location is this store's: one that is nobody's becomes so where the store has no artifacts yet.
    ///
    /// # Errors
    /// [`StoreError::OthersArtifacts`], [`StoreError::NoArtifacts`], and whatever keeps it from being read.
    pub(super) fn claim(&self, owner: StoreId, has_artifacts: bool) -> Result<(), StoreError> {
        let checked = self.check(owner);
        if let Err(StoreError::NoArtifacts { .. }) = checked {
            // Whether there is a bucket at all, and whether its objects may be listed, which collecting takes.
            self.meters.time(Call::List, || self.objects.list(&mut |_| {}))?;
        }
        match checked {
            Err(StoreError::NoArtifacts { .. }) if !has_artifacts => {
                let text = owner.to_text();
                let put = [(OWNER.to_owned(), text.as_bytes())];
                self.meters.time(Call::Put, || self.objects.put(&put))?;
                // Somebody else may have been faster.
                self.check(owner)
            }
            checked => checked,
        }
    }

    /// Whether the location answers and is this store's.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub(super) fn check(&self, owner: StoreId) -> Result<(), StoreError> {
        let text = owner.to_text();
        let location = self.objects.location(OWNER);
        match self.read_object(OWNER, text.len() as u64)? {
            Found::Bytes(bytes) if bytes == text.as_bytes() => Ok(()),
            Found::Missing => Err(StoreError::NoArtifacts { object: location }),
            Found::Bytes(bytes) => Err(StoreError::OthersArtifacts {
                object: location,
                found: proto::one_line(&String::from_utf8_lossy(&bytes), text.len()),
                expected: text.trim_end().into(),
            }),
            Found::Changed => Err(StoreError::OthersArtifacts {
                object: location,
                found: "another text".into(),
                expected: text.trim_end().into(),
            }),
            Found::Unreadable(found) => Err(StoreError::OthersArtifacts {
                object: location,
                found,
                expected: text.trim_end().into(),
            }),
        }
    }

    /// Puts artifacts for a commit of this epoch. When this returns, they survive a loss of power; those that were put a short while ago
    /// and not named since are not put again. Their entries are in the order in which they came.
    ///
    /// # Errors
    /// As the back end's, all of which may pass.
    pub(super) fn put(&self, epoch: u32, artifacts: &[&[u8]]) -> Result<Put<'_>, StoreError> {
        let entries: Vec<Entry> = artifacts.iter().map(|bytes| Entry::of(bytes, epoch)).collect();
        let mut putting = self.under_way.begin(entries.iter().map(|entry| entry.object));
        let missing: Vec<(String, &[u8])> = entries
            .iter()
            .zip(artifacts)
            .filter(|(entry, _)| !putting.is_there(entry.object))
            .map(|(entry, bytes)| (entry.object.to_string(), *bytes))
            .collect();
        if !missing.is_empty() {
            self.meters.time(Call::Put, || self.objects.put(&missing))?;
        }
        putting.done();
        Ok(Put { entries, putting })
    }

    /// Reads an artifact, checked by its digest. `owner` is asked for only where it is missing: whether that is so, or all are.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) fn read(&self, owner: StoreId, entry: &Entry) -> Result<Vec<u8>, ReadError> {
        let name = entry.object.to_string();
        let damaged = |found: &str| ReadError::Damaged {
            object: self.objects.location(&name),
            found: found.into(),
        };
        match self.read_object(&name, entry.bytes)? {
            Found::Bytes(bytes) if entry.object.is_of(&bytes) => Ok(bytes),
            Found::Bytes(_) | Found::Changed => Err(damaged("changed")),
            Found::Missing => {
                self.check(owner)?;
                Err(damaged("missing"))
            }
            Found::Unreadable(why) => Err(damaged(&format!("unreadable ({why})"))),
        }
    }

    /// Looks at all objects, and deletes those that nothing has named for the retention time. `named` gives the entries of the
    /// database, and is called after it is known whose location this is; `epoch` is that of whoever collects.
    ///
    /// # Errors
    /// As [`Self::check`]'s, those of `named`, and the back end's.
    pub(super) fn collect(
        &self,
        owner: StoreId,
        epoch: u32,
        named: impl FnOnce() -> Result<Vec<Entry>, StoreError>,
    ) -> Result<Collected, StoreError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(owner)?;
        let look = self.under_way.look();
        let named = named()?;
        let now = Instant::now();
        let since = |listed: &Listed| match &*waiting {
            // Until the last look something named it, or it was not there.
            Some(waiting) => waiting.get(&listed.name).copied().unwrap_or(now),
            None => now.checked_sub(listed.age).unwrap_or(now),
        };
        let found = self.sort(&named, epoch, since)?;
        let is_due = |garbage: &&Garbage| now.duration_since(garbage.since) >= self.retention;
        let due: Vec<&Garbage> = found.garbage.iter().filter(is_due).collect();
        let mut collected = Collected {
            damaged: found.damaged,
            ..Collected::default()
        };
        let remembered = found
            .garbage
            .iter()
            .map(|garbage| (garbage.name.clone(), garbage.since));
        *waiting = Some(remembered.collect());
        for due in due.chunks(DELETED_AT_ONCE) {
            let deleting = look.delete(due.iter().map(|garbage| garbage.object));
            let due = due.iter().filter(|garbage| deleting.has(garbage.object));
            let names: Vec<String> = due.clone().map(|garbage| garbage.name.clone()).collect();
            self.meters.time(Call::Delete, || self.objects.delete(&names))?;
            collected.deleted += names.len() as u64;
            collected.deleted_bytes += due.map(|garbage| garbage.bytes).sum::<u64>();
        }
        let garbage_bytes: u64 = found.garbage.iter().map(|garbage| garbage.bytes).sum();
        self.meters
            .looked(found.kept_bytes, garbage_bytes - collected.deleted_bytes);
        Ok(collected)
    }

    /// Looks at all objects: those that the database names are counted, and what is wrong with them is told; those that it does not,
    /// of this epoch or an earlier one, are listed.
    fn sort(
        &self,
        named: &[Entry],
        epoch: u32,
        since: impl Fn(&Listed) -> Instant + Sync,
    ) -> Result<Looked, StoreError> {
        let mut unseen: HashMap<ObjectId, u64> =
            named.iter().map(|entry| (entry.object, entry.bytes)).collect();
        let mut looked = Looked::default();
        let mut changed = Vec::new();
        let named: HashSet<ObjectId> = unseen.keys().copied().collect();
        self.meters.time(Call::List, || {
            self.objects.list(&mut |listed| {
                let Some((object, is_whole)) = object_of(&listed.name) else {
                    return;
                };
                if is_whole && named.contains(&object) {
                    looked.kept_bytes += listed.bytes;
                    let expected = unseen.remove(&object);
                    if expected.is_some_and(|expected| expected != listed.bytes) {
                        changed.push((listed, expected));
                    }
                } else if object.epoch <= epoch {
                    looked.garbage.push(Garbage {
                        since: since(&listed),
                        name: listed.name,
                        object,
                        bytes: listed.bytes,
                    });
                }
            })
        })?;
        looked.damaged = (unseen.len() + changed.len()) as u64;
        for (Listed { name, bytes, .. }, expected) in changed {
            let object = self.objects.location(&name);
            tracing::error!(
                object,
                bytes,
                expected,
                "an artifact has another length than was stored"
            );
        }
        for (object, bytes) in unseen {
            let object = self.objects.location(&object.to_string());
            tracing::error!(object, bytes, "an artifact is missing");
        }
        Ok(looked)
    }

    /// Where an artifact lies, for people.
    pub(super) fn location(&self, entry: &Entry) -> String {
        self.objects.location(&entry.object.to_string())
    }

    fn read_object(&self, name: &str, bytes: u64) -> Result<Found, StoreError> {
        self.meters.time(Call::Read, || self.objects.read(name, bytes))
    }
}

/// What one look saw.
#[derive(Default)]
struct Looked {
    /// Bytes of the objects that the database names.
    kept_bytes: u64,
    /// Those among them that are missing, or of another length.
    damaged: u64,
    garbage: Vec<Garbage>,
}

/// An object that nothing names.
struct Garbage {
    name: String,
    object: ObjectId,
    bytes: u64,
    since: Instant,
}

impl Put<'_> {
    /// The entries that name what was put.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The database names them now.
    pub(super) fn committed(self) {
        self.putting.named();
    }
}

impl StoreId {
    /// Draws one.
    pub(super) fn draw() -> Self {
        Self(rand::random())
    }

    fn to_text(self) -> String {
        format!("{OWNER_BEGINS}{}\n", hex::encode(self.0))
    }
}

impl Entry {
    /// The entry of these bytes, as they are put under an epoch.
    pub(super) fn of(bytes: &[u8], epoch: u32) -> Self {
        Self::named(bytes.len() as u64, Sha256::digest(bytes).into(), epoch)
    }

    /// Whether it is the entry of these bytes.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.object.is_of(bytes)
    }

    /// The entry of so many bytes of this digest.
    pub(super) fn named(bytes: u64, sha256: [u8; 32], epoch: u32) -> Self {
        Self {
            bytes,
            object: ObjectId { sha256, epoch },
        }
    }
}

impl ObjectId {
    /// The epoch under which it was put.
    pub(super) fn epoch(self) -> u32 {
        self.epoch
    }

    /// In an order in which those of one epoch are together.
    pub(super) fn order(self) -> (u32, [u8; 32]) {
        (self.epoch, self.sha256)
    }

    fn is_of(self, bytes: &[u8]) -> bool {
        self.sha256 == <[u8; 32]>::from(Sha256::digest(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode(self.sha256), self.epoch)
    }
}

impl FromStr for ObjectId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (digest, epoch) = name.split_once('-').ok_or(())?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(digest, &mut sha256).map_err(drop)?;
        let epoch = epoch.parse().map_err(drop)?;
        let object = Self { sha256, epoch };
        // Not in another spelling: two names would be one object.
        (object.to_string() == name).then_some(object).ok_or(())
    }
}

/// The object that a name in the location belongs to, and whether it is that object; else it is what a process that was killed left of
/// writing it. None for a name that is not ours.
fn object_of(name: &str) -> Option<(ObjectId, bool)> {
    if let Ok(object) = name.parse() {
        return Some((object, true));
    }
    let (object, _) = name.strip_prefix('.')?.strip_suffix(".tmp")?.split_once('.')?;
    Some((object.parse().ok()?, false))
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
