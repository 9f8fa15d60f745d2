//! Stores of earlier schemas are brought to this version's at their opening, from one schema to the next.
//!
//! Until the last commit of a migration, which writes the next schema, the store is as the earlier version left it: that
//! version may still open it, and a migration that was killed begins again. What only the earlier version needed goes after
//! that.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    SCHEMA, StoreError,
    artifacts::{Artifacts, Entry, StoreId, io_error, sync_folder},
    records::{ARTIFACT, Change, IDENTITY, Records, STORE_ID, corrupt, decode, encode},
};

/// The artifacts' folder up to schema 6.
pub(super) const EARLIER_ARTIFACTS: &str = "artifacts";
/// Artifacts that are moved at once: as many are in memory.
const MOVED_AT_ONCE: usize = 16;
/// The epoch under which artifacts of before are put: that of no opening.
const EARLIER_EPOCH: u32 = 0;

/// A store that is brought to the next schema.
struct Migrating<'a> {
    records: &'a dyn Records,
    artifacts: &'a Artifacts,
    /// Where artifacts were up to schema 6.
    earlier: &'a Path,
}

type Migration = fn(&Migrating<'_>) -> Result<(), StoreError>;

/// The migration from each schema to the next.
const MIGRATIONS: [(u32, Migration); 1] = [(6, |store| store.objects_by_content())];
const _: () = assert!(MIGRATIONS[MIGRATIONS.len() - 1].0 + 1 == SCHEMA);

/// Brings a store to this version's schema. Nothing else of it is read before: its identity begins with its schema. `earlier` is where
/// its artifacts were up to schema 6.
///
/// # Errors
/// [`StoreError::Schema`] where it is of a schema that none leads from, and what keeps a migration from going on.
pub(super) fn run(
    name: &str,
    records: &dyn Records,
    artifacts: &Artifacts,
    earlier: &Path,
) -> Result<(), StoreError> {
    let store = Migrating {
        records,
        artifacts,
        earlier,
    };
    let (found, _) = schema(records)?;
    if found != SCHEMA {
        let first = MIGRATIONS.iter().position(|(from, _)| *from == found);
        let first = first.ok_or_else(|| StoreError::Schema {
            store: name.into(),
            stored: found.to_string(),
        })?;
        for (from, migrate) in &MIGRATIONS[first..] {
            tracing::info!(from, to = from + 1, "the store is brought to the next schema");
            migrate(&store)?;
        }
    }
    store.remove_earlier_artifacts();
    Ok(())
}

/// Refuses records of another schema, where none leads from it.
///
/// # Errors
/// [`StoreError::Schema`], and those of reading.
pub(super) fn check_schema(name: &str, records: &dyn Records) -> Result<(), StoreError> {
    match schema(records)? {
        (SCHEMA, _) => Ok(()),
        (found, _) => Err(StoreError::Schema {
            store: name.into(),
            stored: found.to_string(),
        }),
    }
}

/// The schema, and what follows it in the identity.
fn schema(records: &dyn Records) -> Result<(u32, Vec<u8>), StoreError> {
    let identity = records.get(&[IDENTITY])?;
    let identity = identity.ok_or_else(|| corrupt("the identity is missing"))?;
    match postcard::take_from_bytes::<u32>(&identity) {
        Ok((schema, rest)) => Ok((schema, rest.to_vec())),
        Err(_) => Err(corrupt("the identity does not decode")),
    }
}

impl Migrating<'_> {
    /// 6 to 7: artifacts were files named by batch and kind, in a folder of their own. They become objects that are named by their
    /// content, where the store is told to keep them.
    fn objects_by_content(&self) -> Result<(), StoreError> {
        let owner = self.owner()?;
        // Nothing of it counts before it is named.
        self.artifacts.claim(owner, false)?;
        let mut changes = Vec::new();
        let entries = self.records.scan(ARTIFACT)?;
        for some in entries.chunks(MOVED_AT_ONCE) {
            let mut whole = Vec::new();
            for (key, entry) in some {
                let entry: EarlierEntry = decode("an artifact's entry", entry)?;
                let name =
                    std::str::from_utf8(&key[1..]).map_err(|_| corrupt("an artifact's name is no text"))?;
                whole.extend(entry.read(&self.earlier.join(name))?);
                changes.push(Change::Insert(key.clone(), encode(&entry.named())));
            }
            let whole: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
            self.artifacts.put(EARLIER_EPOCH, &whole)?.committed();
        }
        let (_, rest) = schema(self.records)?;
        let identity = [encode(&7u32), rest].concat();
        changes.push(Change::Insert(vec![IDENTITY], identity));
        self.records.commit(changes)
    }

    /// Whose the artifacts are, drawn and stored if need be.
    fn owner(&self) -> Result<StoreId, StoreError> {
        let stored = self.records.get(&[STORE_ID])?;
        if let Some(stored) = stored {
            return decode("the store's id", &stored);
        }
        let owner = StoreId::draw();
        let draw = [Change::Insert(vec![STORE_ID], encode(&owner))];
        self.records.commit(draw.into())?;
        Ok(owner)
    }

    /// Removes the files of schema 6, of which the store has copies. What cannot be removed is in nobody's way, and tried again at the
    /// next opening.
    fn remove_earlier_artifacts(&self) {
        let folder = self.earlier;
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the earlier version's artifacts are left");
            }
            Ok(()) => {
                if let Err(error) = sync_folder(folder.parent().unwrap_or(Path::new("."))) {
                    tracing::warn!(%error, "the earlier version's artifacts may come back after a loss of power");
                }
            }
        }
    }
}

/// What the database knew of an artifact at schema 6.
#[derive(Debug, Deserialize)]
struct EarlierEntry {
    bytes: u64,
    sha256: [u8; 32],
}

impl EarlierEntry {
    /// The artifact's bytes; none, and a line in the log, where they are not there or not what was written. Its batch alone has to
    /// do with that, once it needs them.
    fn read(&self, path: &PathBuf) -> Result<Option<Vec<u8>>, StoreError> {
        let damaged = |found: String| {
            let now = self.named();
            tracing::error!(path = %path.display(), found, object = %now.object, "an artifact is damaged; restored, it is that object");
            Ok(None)
        };
        match fs::read(path) {
            Ok(bytes) if <[u8; 32]>::from(Sha256::digest(&bytes)) == self.sha256 => Ok(Some(bytes)),
            Ok(_) => damaged("changed".into()),
            Err(error) if error.kind() == ErrorKind::NotFound => damaged("missing".into()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::IsADirectory
                ) =>
            {
                damaged(format!("unreadable ({error})"))
            }
            Err(error) => Err(io_error(path)(error)),
        }
    }

    fn named(&self) -> Entry {
        Entry::named(self.bytes, self.sha256, EARLIER_EPOCH)
    }
}
