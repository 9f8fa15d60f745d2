//! A rollup as an operator announces it: what it is to be, and the snapshot that it begins with, if there is one.
//!
//! A snapshot may have gigabytes. It goes into a file beside the store, and is read from there when all of it has come.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proto::{CHUNK_BYTES_MAX, NAME_CHARS_MAX, one_line, v1};
use rules::{operation::RollupId, state::State};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::{Status, Streaming};

use super::{
    access::Policy,
    shell::Shell,
    status::{bad_field, bad_stream, exhausted, not_kept, shown, some_of},
    undecodable::unread,
};
use crate::{
    core::{
        id::{RollupNumber, Tenant},
        rollup::{CreateError, NewRollup, check_name, check_weight},
    },
    snapshot::{self, Beginning, SnapshotError},
};

/// The file that a snapshot goes into.
const FILE: &str = "snapshot.new";
/// Time that every snapshot has to arrive, and how fast it must come beyond that.
const LANDING_MIN: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND_MIN: u64 = 256 << 10;

/// Where snapshots go that come: one at a time.
#[derive(Debug, Clone)]
pub(super) struct Landing {
    folder: PathBuf,
    /// Longest time between two messages.
    idle: Duration,
    lock: Arc<Mutex<()>>,
}

/// What a stream asks for.
pub(super) enum Asked {
    /// A rollup that is to be made, and the state that it begins with.
    New(NewRollup, Box<State>),
    /// One that is here, and just what is asked for.
    Here(RollupNumber),
}

/// A snapshot's file, which goes when nobody needs it any more.
struct Landed {
    path: PathBuf,
    _lock: OwnedMutexGuard<()>,
}

impl Drop for Landed {
    fn drop(&mut self) {
        // One that cannot be removed is overwritten by the next.
        let _ = fs::remove_file(&self.path);
    }
}

impl Landing {
    pub(super) fn new(folder: &Path, idle: Duration) -> Self {
        Self {
            folder: folder.into(),
            idle,
            lock: Arc::default(),
        }
    }

    /// Reads a stream to its end: the rollup that it announces, and the state that this begins with. Of one that is here it reads the
    /// header alone.
    pub(super) async fn receive(
        &self,
        shell: &Arc<Shell>,
        policy: &Policy,
        mut stream: Streaming<v1::CreateRollupRequest>,
    ) -> Result<Asked, Status> {
        use v1::create_rollup_request::Part;
        let Some(Part::Header(header)) = self.next(&mut stream).await? else {
            return Err(bad_stream(
                "HEADER_MISSING",
                "the first message must be the header",
            ));
        };
        let Announced {
            mut new,
            snapshot_sha256,
        } = check(&header, policy)?;
        // Before gigabytes are taken for it.
        let asked = new.clone();
        let may = shell.run(move |shell| shell.read(|core| core.may_create(&asked)));
        if let Some(number) = may.await??.map_err(super::shell::RollupFailure::from)? {
            return Ok(Asked::Here(number));
        }
        let Some(sha256) = snapshot_sha256 else {
            match self.next(&mut stream).await? {
                None => {}
                Some(Part::Chunk(_)) => return Err(total_mismatch("at least 1", 0)),
                Some(Part::Header(_)) => return Err(second_header()),
            }
            let Beginning { start, state, .. } = Beginning::empty();
            new.start = start;
            return Ok(Asked::New(new, Box::new(state.expect("it was just made"))));
        };
        let longest = LANDING_MIN + Duration::from_secs(header.snapshot_bytes / BYTES_PER_SECOND_MIN);
        let landing = self.land(&mut stream, header.snapshot_bytes, sha256);
        let landed = tokio::time::timeout(longest, landing).await;
        let landed = landed.map_err(|_| {
            Status::deadline_exceeded(format!("the snapshot did not arrive within {longest:?}"))
        })??;
        let id = new.rollup_id;
        let read = move |_: &Shell| snapshot::begin(Some(&landed.path), &id, None);
        let Beginning { start, state, digest } =
            shell.run(read).await?.map_err(|error| no_snapshot(&error))?;
        (new.start, new.digest) = (start, digest);
        let state = state.expect("where nothing is known it was read");
        Ok(Asked::New(new, Box::new(state)))
    }

    /// Takes the chunks of a snapshot.
    async fn land(
        &self,
        stream: &mut Streaming<v1::CreateRollupRequest>,
        total: u64,
        sha256: [u8; 32],
    ) -> Result<Landed, Status> {
        use v1::create_rollup_request::Part;
        let lock = Arc::clone(&self.lock).try_lock_owned();
        let lock = lock.map_err(|_| exhausted("snapshots_max", "another snapshot is being taken"))?;
        let landed = Landed {
            path: self.folder.join(FILE),
            _lock: lock,
        };
        let refused = |error: std::io::Error| {
            tracing::warn!(path = %landed.path.display(), %error, "a snapshot that is sent cannot be kept");
            not_kept(&format!("the coordinator cannot keep the snapshot: {error}"))
        };
        let mut file = File::create(&landed.path).map_err(refused)?;
        let (mut digest, mut bytes) = (Sha256::new(), 0u64);
        while let Some(part) = self.next(stream).await? {
            let Part::Chunk(chunk) = part else {
                return Err(second_header());
            };
            if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
                let expected = format!("1 to {CHUNK_BYTES_MAX} bytes");
                let found = format!("{} bytes", chunk.len());
                return Err(bad_field("CHUNK_SIZE", "chunk", expected, found));
            }
            bytes += chunk.len() as u64;
            if bytes > total {
                return Err(total_mismatch(format!("at least {bytes}"), total));
            }
            // Some milliseconds, and an operator's.
            let wrote = tokio::task::spawn_blocking(move || {
                digest.update(&chunk);
                file.write_all(&chunk).map(|()| (file, digest))
            });
            let wrote = wrote.await.map_err(|error| Status::internal(error.to_string()))?;
            (file, digest) = wrote.map_err(refused)?;
        }
        if bytes != total {
            return Err(total_mismatch(bytes, total));
        }
        let found: [u8; 32] = digest.finalize().into();
        match found == sha256 {
            true => Ok(landed),
            false => Err(bad_field(
                "DIGEST_MISMATCH",
                "header.snapshot_sha256",
                hex::encode(found),
                hex::encode(sha256),
            )),
        }
    }

    /// The next part; none at the end.
    async fn next(
        &self,
        stream: &mut Streaming<v1::CreateRollupRequest>,
    ) -> Result<Option<v1::create_rollup_request::Part>, Status> {
        let message = tokio::time::timeout(self.idle, stream.message()).await;
        let message = message.map_err(|_| Status::deadline_exceeded("the snapshot stands still"))?;
        match message.map_err(unread)? {
            None => Ok(None),
            Some(message) => match message.part {
                Some(part) => Ok(Some(part)),
                None => Err(bad_stream("CHUNK_MISSING", "a message without header or chunk")),
            },
        }
    }
}

fn second_header() -> Status {
    bad_stream("CHUNK_MISSING", "every message after the header must be a chunk")
}

fn total_mismatch(expected: impl ToString, found: u64) -> Status {
    bad_field("TOTAL_MISMATCH", "header.snapshot_bytes", expected, found)
}

/// INVALID_ARGUMENT of a snapshot, without the name of the file here.
fn no_snapshot(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::File { reason, .. } => bad_stream(
            "MALFORMED_SNAPSHOT",
            format!("the chunks are no snapshot: {reason}"),
        ),
        SnapshotError::Rollup { expected, found, .. } => {
            bad_field("WRONG_ROLLUP", "header.contract", found, expected)
        }
        SnapshotError::Unread { source, .. } => not_kept(&format!(
            "the coordinator cannot read the snapshot again: {source}"
        )),
    }
}

/// A header that may be right.
struct Announced {
    /// Its beginning is yet to be found.
    new: NewRollup,
    snapshot_sha256: Option<[u8; 32]>,
}

fn check(header: &v1::CreateRollupHeader, policy: &Policy) -> Result<Announced, Status> {
    let failed = |error: CreateError| Status::from(super::shell::RollupFailure::from(error));
    check_name(&header.name).map_err(failed)?;
    let weight = match header.weight {
        0 => 1,
        weight => weight,
    };
    check_weight(weight).map_err(failed)?;
    let bytes_of = |bytes: &[u8]| format!("{} bytes", bytes.len());
    let contract = header.contract[..].try_into().map_err(|_| {
        bad_field(
            "MALFORMED_FIELD",
            "header.contract",
            "20 bytes",
            bytes_of(&header.contract),
        )
    })?;
    let snapshot_sha256 = match (header.snapshot_bytes, &header.snapshot_sha256[..]) {
        (0, []) => None,
        (0, _) => {
            let expected = "nothing, without a snapshot";
            let found = bytes_of(&header.snapshot_sha256);
            return Err(bad_field(
                "MALFORMED_FIELD",
                "header.snapshot_sha256",
                expected,
                found,
            ));
        }
        (_, digest) => Some(digest.try_into().map_err(|_| {
            bad_field(
                "MALFORMED_FIELD",
                "header.snapshot_sha256",
                "32 bytes",
                bytes_of(digest),
            )
        })?),
    };
    let new = NewRollup {
        name: header.name.clone(),
        rollup_id: RollupId {
            chain_id: header.chain_id,
            contract,
        },
        tenant: tenant("header.tenant", &header.tenant, policy)?,
        weight,
        start: Beginning::empty().start,
        digest: snapshot_sha256,
    };
    Ok(Announced { new, snapshot_sha256 })
}

/// A tenant by its name: one whose sequencers the policy knows, as far as it knows any.
pub(super) fn tenant(field: &str, name: &str, policy: &Policy) -> Result<Tenant, Status> {
    // As in the access file, and nothing that cannot be seen.
    let is_one =
        name.len() <= NAME_CHARS_MAX && name.trim() == name && one_line(name, NAME_CHARS_MAX) == name;
    if !is_one {
        let expected = format!(
            "a tenant of the access file: at most {NAME_CHARS_MAX} bytes, all of them visible, none around it blank"
        );
        return Err(bad_field("MALFORMED_FIELD", field, expected, shown(name)));
    }
    match policy.sequencing_tenants() {
        Some(known) if !name.is_empty() && !known.contains(name) => {
            let known: Vec<&str> = known.into_iter().collect();
            let expected = format!(
                "a tenant that has a sequencer in the access file: {}",
                some_of(&known)
            );
            Err(bad_field("TENANT_UNKNOWN", field, expected, shown(name)))
        }
        _ => Ok(Tenant(name.into())),
    }
}
