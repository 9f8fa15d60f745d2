//! Rollups: whose chains of batches are proven here. Each has a chain and a state of its own; circuits and workers are shared.
//!
//! A rollup whose state comes from a snapshot is [`RollupStatus::Making`] until all its accounts are stored, and one that is deleted
//! [`RollupStatus::Leaving`] until all that was stored of it is gone: neither fits one commit. What stays of it is its number, which is
//! never given again, and the number of the last batch.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use rules::operation::RollupId;
use serde::{Deserialize, Serialize};

use super::{
    Core, Head, Output,
    id::{BatchId, RollupNumber, Tenant, UnixMs},
    record::{ArtifactKey, BatchRecord, BatchStatus, Write},
};

/// Rollups at once.
pub const ROLLUPS_MAX: usize = 256;
/// Most of a rollup's weight.
pub const WEIGHT_MAX: u32 = 1_000;
/// Most characters of a rollup's name.
pub const ROLLUP_NAME_CHARS_MAX: usize = 64;

/// Where a rollup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollupStatus {
    /// Its accounts are being stored.
    Making,
    /// It takes batches.
    Live,
    /// It is deleted, and what was stored of it is being removed.
    Leaving,
    /// Nothing else is left of it.
    Gone,
}

/// What is kept of a rollup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupRecord {
    /// Its number.
    pub number: RollupNumber,
    /// What operators call it.
    pub name: String,
    /// Chain id of its contract's chain.
    pub chain_id: u64,
    /// Its contract.
    pub contract: [u8; 20],
    /// Whose sequencers submit its batches; every sequencer where it is nobody's.
    pub tenant: Tenant,
    /// What its first batch follows.
    pub start: Head,
    /// SHA-256 of the snapshot that it began with, or that it was named with last; none where there was none.
    pub digest: Option<[u8; 32]>,
    /// What the batches follow that the core knows.
    pub floor: Head,
    /// Its part of the workers' time, to those of the others.
    pub weight: u32,
    /// Whether no tasks of it are handed out.
    pub paused: bool,
    /// When it was created.
    pub created: UnixMs,
    /// Where it is.
    pub status: RollupStatus,
    /// Of one that is gone, the last batch that there was then, of any rollup.
    pub last_batch: BatchId,
}

/// What an operator says of a rollup that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollup {
    /// What it is to be called.
    pub name: String,
    /// Chain and contract.
    pub rollup_id: RollupId,
    /// Whose sequencers submit its batches.
    pub tenant: Tenant,
    /// Its part of the workers' time.
    pub weight: u32,
    /// What its first batch follows.
    pub start: Head,
    /// SHA-256 of its snapshot.
    pub digest: Option<[u8; 32]>,
}

/// What an operator changes of a rollup: what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollupChange {
    /// Whose sequencers submit its batches.
    pub tenant: Option<Tenant>,
    /// Its part of the workers' time.
    pub weight: Option<u32>,
    /// Whether no tasks of it are handed out.
    pub paused: Option<bool>,
}

/// In what the rollup that is here is not the one that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct Difference {
    /// The field of the header.
    pub field: &'static str,
    /// What the rollup has.
    pub expected: String,
    /// What is asked for.
    pub found: String,
}

/// Why a rollup is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The name is another's.
    #[error("the name {name:?} is another rollup's: {difference}")]
    NameTaken {
        /// The name.
        name: String,
        /// What of its chain and contract is another.
        difference: Difference,
    },
    /// The contract's rollup is here.
    #[error("the rollup of that contract is here already, as {name:?}: {difference}")]
    IsHere {
        /// Its name.
        name: String,
        /// What of it is another.
        difference: Difference,
    },
    /// One of that name or contract is neither whole nor gone.
    #[error(
        "rollup {0:?}, of that name or contract, is being made, or goes since whoever made it has ended; try again"
    )]
    Unfinished(String),
    /// A name that is none.
    #[error(
        "a rollup's name has 1 to {ROLLUP_NAME_CHARS_MAX} of a-z 0-9 - and begins with a letter, found {0:?}"
    )]
    Name(String),
    /// A weight that is none.
    #[error("a rollup's weight is 1 to {WEIGHT_MAX}, found {0}")]
    Weight(u32),
    /// No contract has the zero address.
    #[error("the contract is the zero address, which no contract has")]
    NoContract,
    /// The limit is reached.
    #[error("there are {0} rollups, the limit")]
    TooMany(usize),
}

/// Why a rollup is not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Its tasks may be handed out.
    #[error("rollup {0:?} is not paused; pause it first")]
    NotPaused(String),
    /// Something of it is to be proven.
    #[error("rollup {name:?} has {open} batches that are not proven; cancel them, or roll them back")]
    Open {
        /// The rollup.
        name: String,
        /// How many.
        open: usize,
    },
    /// The caller knows another end of its chain.
    #[error("the next batch of rollup {name:?} has number {expected}, not {found}")]
    Number {
        /// The rollup.
        name: String,
        /// The next batch's number.
        expected: u64,
        /// What the caller gave.
        found: u64,
    },
}

impl RollupRecord {
    /// What a rollup is when it is created.
    pub fn new(number: RollupNumber, new: NewRollup, now: UnixMs, status: RollupStatus) -> Self {
        Self {
            number,
            name: new.name,
            chain_id: new.rollup_id.chain_id,
            contract: new.rollup_id.contract,
            tenant: new.tenant,
            start: new.start,
            digest: new.digest,
            floor: new.start,
            weight: new.weight,
            paused: false,
            created: now,
            status,
            last_batch: BatchId(0),
        }
    }

    /// Chain and contract.
    pub fn id(&self) -> RollupId {
        RollupId {
            chain_id: self.chain_id,
            contract: self.contract,
        }
    }

    /// Whether batches of it are taken and proven.
    pub fn is_live(&self) -> bool {
        self.status == RollupStatus::Live
    }

    /// Whether its name and contract are its own.
    pub fn is_here(&self) -> bool {
        matches!(self.status, RollupStatus::Making | RollupStatus::Live)
    }

    /// The first thing in which it is not what is asked for.
    fn difference(&self, asked: &NewRollup) -> Option<Difference> {
        let snapshot = |digest: Option<[u8; 32]>| digest.map_or_else(|| "none".to_owned(), hex::encode);
        let tenant = |tenant: &Tenant| match tenant.0.as_str() {
            "" => "every tenant".to_owned(),
            name => format!("{name:?}"),
        };
        let (own, other) = (self.id(), asked.rollup_id);
        [
            ("chain_id", own.chain_id.to_string(), other.chain_id.to_string()),
            ("contract", hex::encode(own.contract), hex::encode(other.contract)),
            ("name", format!("{:?}", self.name), format!("{:?}", asked.name)),
            ("tenant", tenant(&self.tenant), tenant(&asked.tenant)),
            ("weight", self.weight.to_string(), asked.weight.to_string()),
            ("snapshot_sha256", snapshot(self.digest), snapshot(asked.digest)),
        ]
        .into_iter()
        .find(|(_, expected, found)| expected != found)
        .map(|(field, expected, found)| Difference {
            field,
            expected,
            found,
        })
    }
}

impl fmt::Display for RollupRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contract = hex::encode(self.contract);
        write!(
            f,
            "{} (contract 0x{contract} on chain {})",
            self.name, self.chain_id
        )
    }
}

/// That a rollup's name is one.
///
/// # Errors
/// [`CreateError::Name`].
pub fn check_name(name: &str) -> Result<(), CreateError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    match begins && name.len() <= ROLLUP_NAME_CHARS_MAX && name.chars().all(allowed) {
        true => Ok(()),
        false => {
            let shown = name.chars().take(ROLLUP_NAME_CHARS_MAX + 1).collect();
            Err(CreateError::Name(shown))
        }
    }
}

/// That a weight is one.
///
/// # Errors
/// [`CreateError::Weight`].
pub fn check_weight(weight: u32) -> Result<(), CreateError> {
    match (1..=WEIGHT_MAX).contains(&weight) {
        true => Ok(()),
        false => Err(CreateError::Weight(weight)),
    }
}

/// A rollup, and what the core knows of its chain.
#[derive(Debug)]
pub(super) struct Rollup {
    pub record: RollupRecord,
    /// The batches of the chain that the core knows, by number: the newest, and all that are not final.
    pub chain: BTreeMap<u64, BatchId>,
    /// Numbers of the batches of the chain that are not proven.
    pub unproven: BTreeSet<u64>,
    /// Batches that are not final, by tenant.
    pub open: BTreeMap<Tenant, usize>,
    /// The time of workers that it had, by its weight. Of one that had nothing to do, it is what it was then.
    pub served: f64,
    /// Its tasks that are ready or leased.
    pub at_hand: usize,
}

impl Rollup {
    pub fn new(record: RollupRecord) -> Self {
        Self {
            record,
            chain: BTreeMap::new(),
            unproven: BTreeSet::new(),
            open: BTreeMap::new(),
            served: 0.0,
            at_hand: 0,
        }
    }

    /// Batches accepted and not final.
    pub fn open_batches(&self) -> usize {
        self.open.values().sum()
    }
}

impl Core {
    /// The rollups that there are, those that are being made or removed too.
    pub fn rollups(&self) -> impl Iterator<Item = &RollupRecord> {
        let records = self.rollups.values().map(|rollup| &rollup.record);
        records.filter(|record| record.status != RollupStatus::Gone)
    }

    /// A rollup that there is.
    pub fn rollup(&self, number: RollupNumber) -> Option<&RollupRecord> {
        self.rollups.get(&number).map(|rollup| &rollup.record)
    }

    /// The live rollup of a name.
    pub fn rollup_named(&self, name: &str) -> Option<&RollupRecord> {
        self.rollups()
            .find(|record| record.is_live() && record.name == name)
    }

    /// The live rollup of a chain and contract.
    pub fn rollup_of(&self, id: RollupId) -> Option<&RollupRecord> {
        self.rollups()
            .find(|record| record.is_live() && record.id() == id)
    }

    /// Batches of a rollup that are accepted and not final.
    pub fn open_batches_of(&self, number: RollupNumber) -> usize {
        self.rollups.get(&number).map_or(0, Rollup::open_batches)
    }

    /// Begins to make a rollup: its name and contract are its own from now on, and it takes batches once it is live. Idempotent: one that
    /// is here, live and just that, is answered.
    ///
    /// # Errors
    /// See [`CreateError`]; then nothing changes.
    pub fn create_rollup(
        &mut self,
        now: UnixMs,
        new: NewRollup,
    ) -> Result<(RollupNumber, Output), CreateError> {
        if let Some(number) = self.may_create(&new)? {
            return Ok((number, Output::default()));
        }
        let number = self
            .rollups
            .last_key_value()
            .map_or(RollupNumber(0), |(last, _)| RollupNumber(last.0 + 1));
        let record = RollupRecord::new(number, new, now, RollupStatus::Making);
        self.rollups.insert(number, Rollup::new(record));
        let mut output = Output::default();
        self.save_rollup(number, &mut output);
        Ok((number, output))
    }

    /// Whether a rollup may be created, of which the beginning need not be known yet; the one that is live and just that, if it was
    /// created before.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn may_create(&self, new: &NewRollup) -> Result<Option<RollupNumber>, CreateError> {
        check_name(&new.name)?;
        check_weight(new.weight)?;
        let id = new.rollup_id;
        if id.contract == [0; 20] {
            return Err(CreateError::NoContract);
        }
        let mut here = self.rollups().filter(|record| record.is_here());
        if let Some(other) = here.find(|record| record.name == new.name || record.id() == id) {
            let name = other.name.clone();
            if !other.is_live() {
                return Err(CreateError::Unfinished(name));
            }
            let Some(difference) = other.difference(new) else {
                return Ok(Some(other.number));
            };
            return Err(match other.id() == id {
                true => CreateError::IsHere { name, difference },
                false => CreateError::NameTaken { name, difference },
            });
        }
        let all = self.rollups().count();
        let last = self.rollups.last_key_value().map_or(0, |(last, _)| last.0);
        match all >= ROLLUPS_MAX || last + 1 >= RollupNumber::MAX {
            true => Err(CreateError::TooMany(all)),
            false => Ok(None),
        }
    }

    /// All accounts of a rollup are stored: it takes batches.
    pub fn made_rollup(&mut self, number: RollupNumber) -> Output {
        self.set_status(number, RollupStatus::Making, RollupStatus::Live)
    }

    /// A rollup is not to be made after all: what was stored of it is removed.
    pub fn abandon_rollup(&mut self, number: RollupNumber) -> Output {
        self.set_status(number, RollupStatus::Making, RollupStatus::Leaving)
    }

    /// Nothing else of a deleted rollup is stored any more.
    pub fn removed_rollup(&mut self, number: RollupNumber) -> Output {
        let last = self.last_batch;
        if let Some(rollup) = self.rollups.get_mut(&number) {
            rollup.record.last_batch = last;
        }
        self.set_status(number, RollupStatus::Leaving, RollupStatus::Gone)
    }

    fn set_status(&mut self, number: RollupNumber, from: RollupStatus, to: RollupStatus) -> Output {
        let mut output = Output::default();
        if let Some(rollup) = self.rollups.get_mut(&number)
            && rollup.record.status == from
        {
            rollup.record.status = to;
            self.save_rollup(number, &mut output);
        }
        output
    }

    /// Changes what an operator may change of a live rollup. Idempotent.
    pub fn change_rollup(&mut self, now: UnixMs, number: RollupNumber, change: RollupChange) -> Output {
        let mut output = Output::default();
        let Some(rollup) = self.rollups.get_mut(&number) else {
            return output;
        };
        let record = &mut rollup.record;
        let before = record.clone();
        if let Some(tenant) = change.tenant {
            record.tenant = tenant;
        }
        if let Some(weight) = change.weight {
            record.weight = weight;
        }
        if let Some(paused) = change.paused {
            record.paused = paused;
        }
        if *record != before {
            self.save_rollup(number, &mut output);
            self.assign(now, &mut output);
        }
        output
    }

    /// Deletes a rollup that is paused and has nothing to prove. `next_number` is what the caller takes for its next batch's, so that
    /// no chain goes that the caller has not seen. Its batches that the core knows are removed with it; what else is stored of it is
    /// the shell's to remove.
    ///
    /// # Errors
    /// See [`DeleteError`]; then nothing changes.
    pub fn delete_rollup(&mut self, number: RollupNumber, next_number: u64) -> Result<Output, DeleteError> {
        let mut output = Output::default();
        let head = self.head(number);
        let Some(rollup) = self
            .rollups
            .get_mut(&number)
            .filter(|rollup| rollup.record.is_live())
        else {
            return Ok(output);
        };
        let name = rollup.record.name.clone();
        if !rollup.record.paused {
            return Err(DeleteError::NotPaused(name));
        }
        let open = rollup.open_batches();
        if open > 0 {
            return Err(DeleteError::Open { name, open });
        }
        if head.next_number != next_number {
            return Err(DeleteError::Number {
                name,
                expected: head.next_number,
                found: next_number,
            });
        }
        rollup.record.status = RollupStatus::Leaving;
        for id in std::mem::take(&mut rollup.chain).into_values() {
            // Those that are retired are removed with the others that are.
            self.retire(id, &mut output);
        }
        self.save_rollup(number, &mut output);
        Ok(output)
    }

    /// Removes a batch of a deleted rollup that is retired, with all that is stored of it.
    pub fn remove_retired(batch: BatchRecord) -> Vec<Write> {
        let id = batch.id;
        let keys = [
            ArtifactKey::Statement(id),
            ArtifactKey::Undo(id),
            ArtifactKey::RootProof(id),
        ];
        let artifacts = keys.map(Write::RemoveArtifact);
        artifacts
            .into_iter()
            .chain([Write::RemoveRetired(Box::new(batch))])
            .collect()
    }

    /// Lets the batches of a chain go that nothing can happen to any more: they are final, and too old to be rolled back.
    pub(super) fn settle(&mut self, number: RollupNumber, output: &mut Output) {
        let Some(rollup) = self.rollups.get(&number) else {
            return;
        };
        let Some((&newest, _)) = rollup.chain.last_key_value() else {
            return;
        };
        let mut settled = Vec::new();
        for (number, id) in &rollup.chain {
            let is_past = number.saturating_add(self.limits.rollback_max) <= newest;
            if !is_past || !self.batches[id].is_final() {
                break;
            }
            settled.push(*id);
        }
        for id in settled {
            output.writes.push(Write::RemoveArtifact(ArtifactKey::Undo(id)));
            let batch = &self.batches[&id];
            let floor = after(batch);
            let rollup = self.rollups.get_mut(&number).expect("just found");
            rollup.chain.remove(&batch.number);
            rollup.record.floor = floor;
            self.retire(id, output);
            self.save_rollup(number, output);
        }
    }

    /// Lets a final batch go, which is the store's alone from then on.
    pub(super) fn retire(&mut self, id: BatchId, output: &mut Output) {
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        let request = (batch.rollup, batch.tenant.clone(), batch.request_id.clone());
        if batch.status == BatchStatus::Proven {
            self.requests.remove(&request);
        }
        output.writes.push(Write::Retire(Box::new(batch)));
    }

    pub(super) fn save_rollup(&self, number: RollupNumber, output: &mut Output) {
        if let Some(rollup) = self.rollups.get(&number) {
            output.writes.push(Write::Rollup(Box::new(rollup.record.clone())));
        }
    }
}

/// What follows on a batch.
pub(crate) fn after(batch: &BatchRecord) -> Head {
    Head {
        root: batch.new_root,
        next_number: batch.number.saturating_add(1),
        time: batch.time,
        queue_head: batch.queue_head,
    }
}
