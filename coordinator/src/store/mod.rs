//! What survives a crash: rollups with their accounts and batches, tasks and artifacts.
//!
//! A store belongs to one set of keys ([`Identity`]), and to one process at a time. Its keys are followed by others only where they are
//! served on ([`Opening::complete`]).

mod artifacts;
pub mod backup;
#[cfg(test)]
mod conformance;
mod database;
mod disk;
mod kept;
mod migrations;
pub mod postgres;
mod records;

use std::{collections::BTreeMap, path::PathBuf};

use rules::{account::AccountIndex, state::State};
use serde::{Deserialize, Serialize};

use crate::core::{
    Head, Snapshot,
    id::{BatchId, KeyId, RollupNumber, Tenant},
    record::{ArtifactKey, BatchRecord, Write},
    rollup::RollupRecord,
};

#[cfg(test)]
pub(crate) use self::artifacts::s3_server;
pub(crate) use self::artifacts::{ArtifactNumbers, CALLS, OBJECTS};
pub use self::{
    artifacts::{ArtifactMeters, ArtifactOptions, Artifacts, Location, LocationError, S3},
    kept::{KeptStore, Opening},
};

/// Version of the store's layout and encodings.
pub const SCHEMA: u32 = 9;

/// What a store is for. It is only opened for the same again, or for keys that follow those it was opened with last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`SCHEMA`] of the code that made it.
    pub schema: u32,
    /// Version of PROTOCOL.md.
    pub protocol_version: u32,
    /// Name of the preset.
    pub preset: String,
    /// Digest of the reference string.
    pub srs_digest: [u8; 32],
    /// Digest of the shard verifying key.
    pub shard_vk_digest: [u8; 32],
    /// Digest of the aggregation verifying key.
    pub aggregation_vk_digest: [u8; 32],
}

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {path} is in use by another process")]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// It is of an earlier or later version, and nothing of it is read.
    #[error(
        "the store {store} has schema {stored}, this version has {SCHEMA}: run the version that made it, or move it away and begin anew, from a snapshot where L1 has batches (--snapshot)"
    )]
    Schema {
        /// The store.
        store: String,
        /// Its schema.
        stored: String,
    },
    /// It was made for something else.
    #[error("the store {store} was made with {field} {stored}, but {found} was asked for")]
    Mismatch {
        /// The store.
        store: String,
        /// The field of [`Identity`].
        field: &'static str,
        /// Its value in the store.
        stored: String,
        /// Its value here.
        found: String,
    },
    /// It has no rollup of that contract.
    #[error(
        "the store {store} has no rollup of {asked}; it has {found}: name one that it has, or none, and create that one while it runs (rollup-prover rollups create)"
    )]
    NoRollup {
        /// The store.
        store: String,
        /// Contract and chain.
        asked: String,
        /// The rollups that there are.
        found: String,
    },
    /// Open batches are to be proven with keys that are not served.
    #[error(
        "{batches} batches of the store {store} are still to be proven with the keys {keys}; serve those too (--previous-keys)"
    )]
    KeysNeeded {
        /// The store.
        store: String,
        /// How many.
        batches: usize,
        /// The keys of the oldest of them.
        keys: KeyId,
    },
    /// Something in it does not read as it was written.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// What does not.
        what: String,
    },
    /// An artifact of one batch is not what was written. All else is as it was.
    #[error("artifact {artifact} ({object}) is {found}")]
    Artifact {
        /// The artifact.
        artifact: ArtifactKey,
        /// The file, or the object's URL.
        object: String,
        /// What it is instead.
        found: String,
    },
    /// The bucket refused, or does not answer.
    #[error("{object}: {cause}")]
    Object {
        /// The object's URL.
        object: String,
        /// Why.
        cause: String,
    },
    /// There is no bucket of that name where it is looked for.
    #[error(
        "{location}: there is no such bucket; make it, or name another (--artifacts), or its endpoint (AWS_ENDPOINT_URL)"
    )]
    NoBucket {
        /// The place in the bucket.
        location: String,
    },
    /// None of the store's artifacts are where they are looked for.
    #[error(
        "{object} is missing, so that the artifacts of this store are not there; name the place where they are (--artifacts), or restore them from a backup"
    )]
    NoArtifacts {
        /// The object that says whose the others are.
        object: String,
    },
    /// The artifacts of another store are where they are looked for.
    #[error(
        "{object} says whose artifacts are there: expected {expected:?}, found {found:?}; name a place of this store's own (--artifacts)"
    )]
    OthersArtifacts {
        /// The object that says it.
        object: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not read.
    #[error(
        "the database {path} is damaged: {source}; restore the store from a backup, or move it away to begin anew"
    )]
    DatabaseDamaged {
        /// The database's file.
        path: PathBuf,
        /// What it says.
        source: Box<redb::Error>,
    },
    /// A PostgreSQL database that is named in no way that is understood.
    #[error("the PostgreSQL database cannot be used: {what}")]
    PostgresUrl {
        /// Why not.
        what: String,
    },
    /// PostgreSQL refused, or was not reached.
    #[error("{store}: {source}")]
    Postgres {
        /// The database.
        store: String,
        /// Why.
        source: Box<sqlx::Error>,
    },
    /// Another coordinator leads, and this one has not led.
    #[error("another coordinator writes {store}")]
    StandsBy {
        /// The database.
        store: String,
    },
    /// Another coordinator leads. Nothing is written any more.
    #[error(
        "another coordinator has taken the lead of {store}: {leader}, in term {leader_term}; what was not acknowledged here was not written"
    )]
    Deposed {
        /// The database.
        store: String,
        /// Where the one that leads is reached.
        leader: String,
        /// Its term.
        leader_term: i64,
    },
    /// The database refused: a full disk, no file descriptors left.
    #[error("the database {path}: {source}")]
    Database {
        /// The database's file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
}

impl StoreError {
    /// Whether the same may succeed once the system has room again, or what is away is back. What is damaged stays so.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Database { .. }
            | Self::Object { .. }
            | Self::NoBucket { .. }
            | Self::NoArtifacts { .. } => true,
            Self::Postgres { source, .. } => postgres::may_pass(source),
            _ => false,
        }
    }
}

/// A place where the coordinator keeps everything that it must not lose.
///
/// [`KeptStore`] is one, over records in a folder or in a database that several coordinators share.
pub trait Store: Send + Sync {
    /// All rollups, the batches that are not retired, all tasks, and how often the store was opened.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// The state of each rollup that has accounts, after the last batch of its chain. Leaves are as they were written; the nodes above
    /// them are hashed.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn states(&self) -> Result<BTreeMap<RollupNumber, State>, StoreError>;

    /// The last accounts that are stored of a rollup, from the greatest index down; at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn accounts_of(&self, rollup: RollupNumber, limit: usize) -> Result<Vec<AccountIndex>, StoreError>;

    /// A batch that is retired.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn retired(&self, id: BatchId) -> Result<Option<BatchRecord>, StoreError>;

    /// The retired batches with an id below `before`, newest first; at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn retired_before(&self, before: BatchId, limit: usize) -> Result<Vec<BatchRecord>, StoreError>;

    /// The retired batch that a request id names.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn requested(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
    ) -> Result<Option<BatchRecord>, StoreError>;

    /// Makes all the changes or none. When it returns, they survive a loss of power.
    ///
    /// # Errors
    /// See [`StoreError`]; then it is not known whether they were made. Making the same changes again, before any others,
    /// settles it.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// Makes the store ready again after a call has failed by an error that may pass.
    ///
    /// # Errors
    /// See [`StoreError`]: it is not ready yet.
    fn recover(&self) -> Result<(), StoreError>;

    /// Whether what this process knows of the store is certainly all that there is: nobody else can have written since.
    fn is_current(&self) -> bool;

    /// A stored byte string, checked by its digest; none where none is listed.
    ///
    /// # Errors
    /// [`StoreError::Artifact`] where it alone cannot be had, and the others.
    fn artifact(&self, key: ArtifactKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts artifacts for a commit that comes soon, which then takes no time for them. When it returns, they survive a loss of power;
    /// nothing names them before that commit.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn put(&self, artifacts: &[&[u8]]) -> Result<(), StoreError>;

    /// Deletes what no artifact is kept in any more, once nobody can be reading it. Only for whoever leads the store.
    ///
    /// # Errors
    /// See [`StoreError`]: something may be left, and is deleted the next time.
    fn collect(&self) -> Result<(), StoreError>;

    /// Where an artifact lies, for people; none where none is listed.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn location(&self, key: ArtifactKey) -> Result<Option<String>, StoreError>;
}

/// Refuses a rollup that a store made with another beginning than `found`.
///
/// # Errors
/// [`StoreError::Mismatch`].
pub(crate) fn check_start(store: &str, rollup: &RollupRecord, found: Head) -> Result<(), StoreError> {
    let fields = |start: Head| {
        [
            ("first state's root", start.root.to_string()),
            ("first batch number", start.next_number.to_string()),
            ("time before its first batch", start.time.to_string()),
            ("queue head before its first batch", start.queue_head.to_string()),
        ]
    };
    let mut pairs = fields(rollup.start).into_iter().zip(fields(found));
    match pairs.find(|(stored, found)| stored != found) {
        None => Ok(()),
        Some(((field, stored), (_, found))) => Err(StoreError::Mismatch {
            store: store.into(),
            field,
            stored,
            found,
        }),
    }
}

impl Identity {
    fn keys(&self) -> KeyId {
        KeyId {
            shard_vk: self.shard_vk_digest,
            aggregation_vk: self.aggregation_vk_digest,
        }
    }

    /// The first field in which `found` differs from `self`, the identity stored.
    fn difference(&self, found: &Self) -> Option<(&'static str, String, String)> {
        let digest = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let fields = |i: &Self| {
            [
                ("schema", i.schema.to_string()),
                ("protocol version", i.protocol_version.to_string()),
                ("preset", i.preset.clone()),
                ("reference string", digest(&i.srs_digest)),
                ("shard verifying key", digest(&i.shard_vk_digest)),
                ("aggregation verifying key", digest(&i.aggregation_vk_digest)),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(found));
        pairs
            .into_iter()
            .find(|(a, b)| a != b)
            .map(|((name, stored), (_, found))| (name, stored, found))
    }
}
