//! The rollup's state from L1's logs alone (section 15), up to what the contract has now.
//!
//! Every root that the contract has accepted is compared. A snapshot to begin with is trusted no further: its block must be on the chain,
//! and the contract must go on from its root, or have it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use keys::whole_file;
use rules::snapshot::{self, Header};
use rules::state::State;
use rules::{Fr, field};
use verifier_contracts::l1::{Deployment, FollowError, Following, L1, L1Error};
use verifier_contracts::replica::{Replica, ReplicaError, Step, Watch};

use crate::output::{Exit, Failure};
use crate::wallet::keys::spare;

/// How often the state is compared with the contract's until they must agree: batches may come meanwhile, and nodes be behind.
const LOOKS_MAX: u32 = 20;
/// Pause between two of these.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Where a rollup is followed from.
#[derive(Debug, Clone)]
pub struct Start {
    /// The rollup's contract.
    pub contract: [u8; 20],
    /// The block of the contract's creation, or one before it.
    pub block: u64,
    /// Blocks that a log must have on it, its own included.
    pub confirmations: u64,
}

/// A rollup that is followed.
pub struct Derivation {
    replica: Replica,
}

impl Derivation {
    /// Begins with the empty state, or with a snapshot. What L1 owes is kept for whom is watched.
    ///
    /// # Errors
    /// When the endpoint fails, no rollup is at the address, or the snapshot is of another one.
    pub async fn begin(
        l1: &L1,
        start: &Start,
        watch: Watch,
        snapshot: Option<(Header, State)>,
    ) -> Result<Self> {
        let following = Following {
            confirmations: start.confirmations,
            ..Following::new(start.contract.into(), start.block)
        };
        let replica = match snapshot {
            None => Replica::new(l1, following, watch).await,
            Some(snapshot) => Replica::resume(l1, following, watch, snapshot).await,
        };
        Ok(Self {
            replica: replica.map_err(replica_failure)?,
        })
    }

    /// What is followed: state, waiting entries, claims.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The state.
    pub fn state(&self) -> &State {
        self.replica.state()
    }

    /// The contract.
    pub fn deployment(&self) -> &Deployment {
        self.replica.deployment()
    }

    /// Whose state it is, and which.
    ///
    /// # Errors
    /// Before [`Derivation::catch_up`], and in the midst of a block.
    pub fn header(&self) -> Result<Header> {
        self.replica
            .header()
            .context("the logs of a block are not read to their end")
    }

    /// Follows until the state is the contract's own.
    ///
    /// # Errors
    /// When the endpoint fails or what it says cannot be, or `see` fails.
    pub async fn catch_up(&mut self, mut see: impl FnMut(&Step) -> Result<()>) -> Result<()> {
        let mut looks = 0;
        loop {
            while let Some(step) = self.replica.poll().await.map_err(replica_failure)? {
                see(&step)?;
            }
            match self.compare().await? {
                None => return Ok(()),
                Some(differs) if looks == LOOKS_MAX => {
                    return Err(Failure::new(Exit::Refused, differs).into());
                }
                Some(_) => looks += 1,
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// As [`Derivation::catch_up`].
    pub async fn next(&mut self) -> Result<Step> {
        self.replica.next().await.map_err(replica_failure)
    }

    /// What differs between the contract's state now and the one here; none when nothing does.
    async fn compare(&self) -> Result<Option<String>> {
        let (number, root) = (self.replica.position().number, self.state().root());
        let Some(header) = self.replica.header() else {
            return Ok(Some(
                "the endpoint does not tell of the chain's blocks".to_owned(),
            ));
        };
        let block = header.block.number;
        let then = match standing(&self.deployment().as_of(block)).await {
            // It keeps no state of blocks that old: what is there now must do.
            Err(L1Error::Refused(_)) => standing(self.deployment()).await,
            then => then,
        };
        let (next, found) = then.map_err(l1_failure)?;
        if next != number {
            return Ok(Some(format!(
                "L1 has {next} batches, its logs up to block {block} have {number}: they may be incomplete, or begin after the contract's creation (--start-block)"
            )));
        }
        let differs = || {
            let (found, expected) = (field::to_hex(&found), field::to_hex(&root));
            format!("L1 has the state root {found} after {number} batches, expected {expected}")
        };
        Ok((found != root).then(differs))
    }
}

/// How many batches a contract has, and its state's root.
async fn standing(deployment: &Deployment) -> Result<(u64, Fr), L1Error> {
    Ok((
        deployment.next_batch_number().await?,
        deployment.state_root().await?,
    ))
}

/// Reads a snapshot's file.
///
/// # Errors
/// When it cannot be read, or is no snapshot.
pub fn read_snapshot(path: &Path) -> Result<(Header, State)> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    snapshot::read(BufReader::new(file)).with_context(|| format!("{} is no snapshot", path.display()))
}

/// Writes a state as a snapshot, so that a reader never sees half of it.
///
/// # Errors
/// When it cannot be written.
pub fn write_snapshot(path: &Path, header: &Header, state: &State) -> Result<()> {
    spare(path)?;
    let placed = whole_file::place(path, |file| {
        let mut file = BufWriter::new(file);
        snapshot::write(header, state, &mut file)?;
        file.flush()
    });
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let synced = placed.and_then(|()| whole_file::sync_folder(folder.unwrap_or(Path::new("."))));
    synced.with_context(|| format!("cannot write {}", path.display()))
}

/// An error of L1 with the exit code of its kind.
pub fn l1_failure(error: L1Error) -> anyhow::Error {
    match error {
        L1Error::Endpoint(_) | L1Error::Refused(_) => Failure::new(Exit::Unavailable, error).into(),
        L1Error::Rejected(_) => Failure::new(Exit::Refused, error).into(),
        error => error.into(),
    }
}

fn replica_failure(error: ReplicaError) -> anyhow::Error {
    match error {
        ReplicaError::L1(error) => l1_failure(error),
        ReplicaError::Follow(error @ FollowError::Endpoint { .. }) => {
            Failure::new(Exit::Unavailable, error).into()
        }
        error => error.into(),
    }
}
