//! The core under random faults in simulated time, against a store that is a map.
//!
//! Each schedule is a seed; a failure prints it. Between any two steps a worker may die, report late or twice, or the
//! coordinator may start again from its store. After every step the invariants of [`World::check`] hold, and once the
//! faults stop, every batch is proven.

mod age;
mod clock_steps;
mod damage;
mod evidence;
mod keys;
mod operator;
mod progress;
mod rollback;
mod rollups;
mod sessions;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU64,
};

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rules::{
    account::{AccountIndex, Hashed},
    operation::RollupId,
};

use super::{
    Core, Effect, HEARTBEAT_MS, Head, LeaseEnd, Limits, Output, STALL_MS, Snapshot,
    chain::{Submission, SubmitError},
    id::{
        BatchId, Fence, Instance, KeyId, Principal, RollupNumber, SessionId, StateRoot, TaskId, TaskKind,
        Tenant, UnixMs, WorkerId,
    },
    lease::{Claim, FailureClass, LeaseLost},
    record::{
        ArtifactKey, BatchRecord, BatchStatus, Billing, Operations, TaskRecord, TaskStatus, Wishes, Write,
    },
    rollup::{NewRollup, RollupRecord, RollupStatus},
    session::SessionRefused,
};

/// What the first batch follows.
const START: Head = Head {
    root: StateRoot([7; 32]),
    next_number: 0,
    time: 0,
    queue_head: 5,
};
/// Entries of the queue in each batch.
const QUEUED: u32 = 2;
/// The rollup of a world that has one.
const MAIN: RollupNumber = RollupNumber(0);
const KEYS: KeyId = KeyId {
    shard_vk: [1; 32],
    aggregation_vk: [2; 32],
};

fn limits() -> Limits {
    Limits {
        batches_open_max: 6,
        tenant_batches_open_max: 4,
        sessions_max: 5,
        session_leases_max: 2,
        lease_ms: 1_000,
        reconnect_grace_ms: 100,
        restart_grace_ms: 300,
        retry_ms_min: 50,
        retry_ms_max: 400,
        avoid_ms: 2_000,
        failures_max: 4,
        deaths_max: 3,
        losses_max: 3,
        refusals_max: 2,
        rollback_max: 4,
        progress_ms_max: 5_000,
        idle_ms: 200,
        time_age_s_max: u64::MAX,
        pause_ms: 5_000,
    }
}

/// A rollup of that number.
pub(crate) fn some_rollup(number: u32, start: Head) -> RollupRecord {
    let mut contract = [7; 20];
    contract[..4].copy_from_slice(&number.to_be_bytes());
    let new = NewRollup {
        name: format!("r{number}"),
        rollup_id: RollupId {
            chain_id: 31_337,
            contract,
        },
        tenant: Tenant::default(),
        weight: 1,
        start,
        digest: None,
    };
    RollupRecord::new(RollupNumber(number), new, UnixMs(0), RollupStatus::Live)
}

/// What a new store has whose rollup begins there.
fn beginning(start: Head) -> Snapshot {
    Snapshot {
        rollups: vec![some_rollup(0, start)],
        ..Snapshot::default()
    }
}

/// A worker that proves no identity.
fn nobody(name: &str) -> WorkerId {
    of("", name)
}

/// A worker of an identity.
fn of(principal: &str, name: &str) -> WorkerId {
    WorkerId {
        principal: Principal(principal.into()),
        name: name.into(),
    }
}

/// Limits that random schedules reach.
fn harsh_limits() -> Limits {
    Limits {
        deaths_max: 2,
        losses_max: 1,
        refusals_max: 1,
        ..limits()
    }
}

/// The store's contents.
#[derive(Debug, Default, Clone)]
pub(crate) struct Disk {
    /// Whether cores are opened with [`harsh_limits`].
    harsh: bool,
    pub(crate) epoch: u32,
    pub(crate) rollups: BTreeMap<RollupNumber, RollupRecord>,
    batches: BTreeMap<BatchId, BatchRecord>,
    pub(crate) retired: BTreeMap<BatchId, BatchRecord>,
    tasks: BTreeMap<TaskId, TaskRecord>,
    pub(crate) artifacts: BTreeMap<ArtifactKey, Vec<u8>>,
    pub(crate) accounts: BTreeMap<(RollupNumber, AccountIndex), Hashed>,
    paused: bool,
}

impl Disk {
    pub(crate) fn commit(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Rollup(record) => drop(self.rollups.insert(record.number, *record)),
                Write::Batch(record) => drop(self.batches.insert(record.id, *record)),
                Write::Retire(record) => {
                    self.batches.remove(&record.id);
                    self.retired.insert(record.id, *record);
                }
                Write::RemoveRetired(record) => drop(self.retired.remove(&record.id)),
                Write::Task(record) => drop(self.tasks.insert(record.id, record)),
                Write::RemoveTask(id) => drop(self.tasks.remove(&id)),
                Write::Artifact(key, bytes) => drop(self.artifacts.insert(key, bytes)),
                Write::RemoveArtifact(key) => drop(self.artifacts.remove(&key)),
                Write::Accounts(rollup, accounts) => {
                    for (index, hashed) in accounts {
                        match hashed {
                            Some(hashed) => self.accounts.insert((rollup, index), hashed),
                            None => self.accounts.remove(&(rollup, index)),
                        };
                    }
                }
                Write::Paused(paused) => self.paused = paused,
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.epoch,
            rollups: self.rollups.values().cloned().collect(),
            last_retired: self.retired.keys().next_back().copied().unwrap_or_default(),
            batches: self.batches.values().cloned().collect(),
            tasks: self.tasks.values().cloned().collect(),
            paused: self.paused,
        }
    }

    /// A batch, retired or not.
    pub(crate) fn batch(&self, id: BatchId) -> Option<&BatchRecord> {
        self.batches.get(&id).or_else(|| self.retired.get(&id))
    }

    /// The retired batch that a request id names.
    pub(crate) fn requested(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
    ) -> Option<&BatchRecord> {
        let named = |batch: &&BatchRecord| {
            batch.status == BatchStatus::Proven
                && batch.rollup == rollup
                && batch.tenant == *tenant
                && batch.request_id == request_id
        };
        self.retired.values().find(named)
    }

    fn open(&mut self, now: UnixMs) -> Core {
        self.epoch += 1;
        if self.rollups.is_empty() {
            self.rollups.insert(MAIN, some_rollup(MAIN.0, START));
        }
        let limits = if self.harsh { harsh_limits() } else { limits() };
        Core::restore(limits, self.snapshot(), now)
    }
}

struct World {
    rng: ChaCha8Rng,
    now: UnixMs,
    disk: Disk,
    core: Core,
    /// Whose batches are submitted and taken back.
    rollup: RollupNumber,
    /// Sessions that are connected.
    sessions: BTreeMap<SessionId, WorkerId>,
    /// Sessions with an open lease request.
    asking: BTreeSet<SessionId>,
    /// Every lease ever given.
    grants: Vec<(TaskId, Fence, WorkerId)>,
    newest: HashMap<TaskId, Fence>,
    /// Proofs under verification.
    verifying: Vec<(SessionId, TaskId, Fence)>,
    accepted: BTreeSet<TaskId>,
    acknowledged: Vec<(Submission, BatchId)>,
    cancelled: BTreeSet<BatchId>,
    rolled_back: BTreeSet<BatchId>,
    revisions: HashMap<BatchId, u64>,
    submitted: u64,
    /// Whether the process may be killed.
    faults: bool,
    /// Whether workers that come by chance prove identities.
    identified: bool,
    /// How often the schedule came to what it is to test.
    seen: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with(seed, Disk::default())
    }

    fn with(seed: u64, mut disk: Disk) -> Self {
        let now = UnixMs(1_000_000);
        let core = disk.open(now);
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now,
            disk,
            core,
            rollup: MAIN,
            sessions: BTreeMap::new(),
            asking: BTreeSet::new(),
            grants: Vec::new(),
            newest: HashMap::new(),
            verifying: Vec::new(),
            accepted: BTreeSet::new(),
            acknowledged: Vec::new(),
            cancelled: BTreeSet::new(),
            rolled_back: BTreeSet::new(),
            revisions: HashMap::new(),
            submitted: 0,
            faults: true,
            identified: seed.is_multiple_of(3),
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Commits and performs, as the shell does, unless the process is killed between the two.
    fn apply(&mut self, output: Output) {
        for write in &output.writes {
            match write {
                Write::Task(task) if task.status == TaskStatus::Quarantined => self.saw("quarantine"),
                Write::Task(task) if task.status == TaskStatus::Failed => self.saw("failed for good"),
                Write::Batch(batch) if batch.status == BatchStatus::Proven => self.saw("proven"),
                _ => {}
            }
        }
        let worth_a_crash = !output.writes.is_empty() && !output.effects.is_empty();
        self.disk.commit(output.writes);
        if self.faults && worth_a_crash && self.rng.gen_bool(0.02) {
            self.saw("killed after a commit");
            return self.restart();
        }
        for effect in output.effects {
            match effect {
                Effect::Grant { session, task, fence } => self.granted(session, task, fence),
                Effect::LeaseLost { task, fence, .. } => {
                    assert!(fence <= self.newest[&task]);
                }
                Effect::Close(session) => {
                    self.saw("session replaced");
                    self.sessions.remove(&session);
                    self.asking.remove(&session);
                }
                Effect::Drain(session) => drop(self.asking.remove(&session)),
                Effect::Changed(batch) => {
                    let revision = self.batch(batch).expect("a changed batch exists").revision;
                    let last = self.revisions.insert(batch, revision).unwrap_or(0);
                    assert!(revision >= last, "revision fell from {last} to {revision}");
                }
            }
        }
    }

    /// A batch, retired or not.
    fn batch(&self, id: BatchId) -> Option<&BatchRecord> {
        self.core.batch(id).or_else(|| self.disk.retired.get(&id))
    }

    fn status(&self, id: BatchId) -> Option<BatchStatus> {
        self.batch(id).map(|batch| batch.status)
    }

    /// Takes back what an operator takes for the end of the chain.
    fn taken_back(
        &mut self,
        newest: BatchId,
        number: u64,
    ) -> Result<(Vec<BatchId>, Output), super::rollback::RollbackError> {
        let unknown = super::rollback::RollbackError::Unknown(newest);
        let newest = self.batch(newest).ok_or(unknown)?.clone();
        self.core.roll_back(self.now, &newest, number, vec![])
    }

    fn head(&self) -> Head {
        self.core.head(self.rollup)
    }

    fn granted(&mut self, session: SessionId, task: TaskId, fence: Fence) {
        let worker = self
            .sessions
            .get(&session)
            .expect("granted to a session that is connected")
            .clone();
        assert!(self.asking.remove(&session), "granted without a request");
        assert!(
            !self.accepted.contains(&task),
            "{task} was granted after it was done"
        );
        let before = self.newest.insert(task, fence);
        assert!(
            before < Some(fence),
            "fence {fence:?} of {task} follows {before:?}"
        );
        assert_eq!(
            self.disk.tasks[&task].fence, fence,
            "a lease is on disk before it is sent"
        );
        if task.kind == TaskKind::Aggregation {
            let shards = self.batch(task.batch).expect("it exists").shards;
            for index in 0..shards {
                assert!(
                    self.disk
                        .artifacts
                        .contains_key(&ArtifactKey::ShardProof(task.batch, index))
                );
            }
        } else {
            assert!(
                self.disk
                    .artifacts
                    .contains_key(&ArtifactKey::ShardInput(task.batch, task.index))
            );
        }
        self.grants.push((task, fence, worker));
    }

    fn submission(&mut self) -> Submission {
        self.submitted += 1;
        let head = self.head();
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.submitted.to_be_bytes());
        Submission {
            rollup: self.rollup,
            wishes: Wishes::default(),
            tenant: Tenant(["", "t0", "t1"][self.submitted as usize % 3].into()),
            request_id: format!("r{}", self.submitted),
            sha256: root,
            number: head.next_number,
            time: head.time + self.rng.gen_range(0..3),
            old_root: head.root,
            new_root: StateRoot(root),
            keys: KEYS,
            operations: Operations {
                transfers: 1,
                queued: QUEUED,
                ..Operations::default()
            },
            billing: Billing::default(),
            shard_inputs: vec![vec![1]; self.rng.gen_range(1..4)],
            statement: vec![2],
            undo: vec![3],
            accounts: vec![],
        }
    }

    fn submit_new(&mut self) {
        let submission = self.submission();
        match self.core.submit(self.now, submission.clone()) {
            Ok((id, existed, output)) => {
                assert!(!existed);
                if self.rng.gen_bool(0.1) {
                    // Killed before the commit: nothing was acknowledged, and the caller sends it again later.
                    self.saw("killed before a commit");
                    return self.restart();
                }
                self.apply(output);
                self.acknowledged.push((submission, id));
            }
            Err(SubmitError::QueueFull { open }) => assert_eq!(open, limits().batches_open_max),
            Err(SubmitError::TenantQueueFull { open }) => {
                self.saw("a tenant's limit");
                assert_eq!(open, limits().tenant_batches_open_max);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn submit_again(&mut self) {
        let Some((mut submission, id)) = self.acknowledged.choose(&mut self.rng).cloned() else {
            return;
        };
        if self.is_taken_back(id) {
            return;
        }
        let changed = self.rng.gen_bool(0.3);
        if changed {
            submission.sha256[31] ^= 1;
        }
        // As the shell does, since the core does not know it.
        let (rollup, tenant) = (submission.rollup, &submission.tenant);
        if let Some(retired) = self.disk.requested(rollup, tenant, &submission.request_id) {
            assert_eq!(retired.id, id);
            assert_eq!(
                super::chain::is_same(retired, &submission.sha256).is_err(),
                changed
            );
            return self.saw("a request of old");
        }
        match self.core.submit(self.now, submission) {
            Ok((found, existed, output)) => {
                assert!(existed && !changed);
                assert_eq!((found, output), (id, Output::default()));
            }
            Err(SubmitError::RequestReused { batch, .. }) => assert!(changed && batch == id),
            Err(error) => panic!("{error}"),
        }
    }

    fn connect(&mut self) {
        // Two names in each of two identities, or four where nobody proves any.
        let (principal, name) = (self.rng.gen_range(0..2), self.rng.gen_range(0..2));
        let worker = match self.identified {
            true => of(&format!("p{principal}"), &format!("w{name}")),
            false => nobody(&format!("w{principal}{name}")),
        };
        let mut kinds = BTreeSet::from([TaskKind::Shard, TaskKind::Aggregation]);
        if self.rng.gen_bool(0.1) {
            kinds.remove(&TaskKind::Aggregation);
        }
        let instance = NonZeroU64::new(self.rng.gen_range(0..3)).map(Instance);
        match self
            .core
            .open_session(self.now, worker.clone(), instance, kinds, KEYS)
        {
            Ok((id, output)) => {
                self.sessions.insert(id, worker);
                self.apply(output);
            }
            Err(SessionRefused::NameTaken { session, .. }) => {
                self.saw("name taken");
                assert_eq!(self.sessions[&session], worker);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn any_session(&mut self) -> Option<SessionId> {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.choose(&mut self.rng).copied()
    }

    fn request(&mut self, id: SessionId) {
        self.asking.insert(id);
        let output = self.core.request_lease(self.now, id, BTreeSet::new());
        self.apply(output);
    }

    fn fails(&mut self, id: SessionId, task: TaskId, fence: Fence, class: FailureClass) {
        let output = self.core.fail(self.now, id, task, fence, class, "as told");
        self.apply(output.expect("held"));
    }

    fn disconnect(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.asking.remove(&id);
        let output = self.core.close_session(self.now, id);
        self.apply(output);
    }

    /// A lease of the past, newer ones rather than older ones.
    fn any_grant(&mut self) -> Option<(TaskId, Fence, WorkerId)> {
        let from = self.grants.len().saturating_sub(12);
        self.grants[from..].choose(&mut self.rng).cloned()
    }

    fn report(&mut self) {
        let (Some((task, fence, worker)), Some(id)) = (self.any_grant(), self.any_session()) else {
            return;
        };
        let is_newest = self.newest[&task] == fence && self.sessions[&id] == worker;
        let (class, message) = match self.rng.gen_range(0..4) {
            0 => (FailureClass::Internal, "panic"),
            _ => (FailureClass::Resource, "out of memory"),
        };
        let outcome = match self.rng.gen_range(0..10) {
            0..=3 => self
                .core
                .renew(self.now, id, task, fence)
                .map(|()| Output::default()),
            4..=6 => {
                let fraction = self.rng.gen_range(-1.0..2.0);
                self.core.progress(self.now, id, task, fence, "phase", fraction)
            }
            _ => self.core.fail(self.now, id, task, fence, class, message),
        };
        match outcome {
            Ok(output) => {
                assert!(
                    is_newest,
                    "a report with an old fence or of another worker counted"
                );
                self.apply(output);
            }
            Err(LeaseLost::Over | LeaseLost::NotNeeded) => {}
        }
    }

    fn complete(&mut self) {
        let (Some((task, fence, _)), Some(id)) = (self.any_grant(), self.any_session()) else {
            return;
        };
        match self.core.claim(task, fence) {
            Claim::Verify => self.verifying.push((id, task, fence)),
            Claim::NotNeeded => {
                // A late proof of the aggregation ends a batch of which a shard is proven again.
                let over = self.batch(task.batch).is_some_and(BatchRecord::is_final);
                assert!(over || self.accepted.contains(&task));
            }
            Claim::Unknown => panic!("{task} {fence:?} was granted"),
        }
    }

    fn verified(&mut self) {
        if self.verifying.is_empty() {
            return;
        }
        let at = self.rng.gen_range(0..self.verifying.len());
        let (id, task, fence) = self.verifying.swap_remove(at);
        if self.rng.gen_bool(0.9) {
            let (won, output) = self.core.accept(self.now, id, task, b"proof".to_vec());
            if self.rng.gen_bool(0.05) {
                self.saw("killed before a commit");
                return self.restart();
            }
            self.apply(output);
            if won {
                if fence < self.newest[&task] {
                    self.saw("late proof");
                }
                assert!(self.accepted.insert(task), "{task} was done twice");
            }
        } else {
            let output = self.core.reject(self.now, id, task, fence, "wrong");
            self.saw("wrong proof");
            self.apply(output);
        }
    }

    fn cancel(&mut self) {
        let Some(&(_, id)) = self.acknowledged.last() else {
            return;
        };
        if self.is_taken_back(id) {
            assert!(self.core.batch(id).is_none(), "it is retired");
        } else if let Ok(output) = self.core.cancel(self.now, id, vec![]) {
            self.apply(output);
            self.saw("cancelled");
            self.cancelled.insert(id);
        }
    }

    fn is_taken_back(&self, id: BatchId) -> bool {
        self.cancelled.contains(&id) || self.rolled_back.contains(&id)
    }

    fn retry(&mut self) {
        let failed = self
            .disk
            .batches
            .values()
            .find(|batch| batch.status == BatchStatus::Failed)
            .map(|batch| batch.id);
        if let Some(id) = failed {
            let output = self.core.retry(self.now, id).expect("it has failed");
            self.saw("tried again");
            self.apply(output);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(ms);
        let output = self.core.tick(self.now);
        self.apply(output);
    }

    /// The process is killed and started again.
    fn restart(&mut self) {
        if self
            .disk
            .tasks
            .values()
            .any(|task| task.status == TaskStatus::Leased)
        {
            self.saw("restart with leases");
        }
        self.sessions.clear();
        self.asking.clear();
        self.verifying.clear();
        if self.faults && self.rng.gen_ratio(1, 4) {
            // The clock was set meanwhile.
            let now = self.now.0;
            self.now = UnixMs(match self.rng.r#gen() {
                true => now + clock_steps::DAY_MS,
                false => now.saturating_sub(clock_steps::DAY_MS),
            });
        }
        self.core = self.disk.open(self.now);
    }

    fn step(&mut self) {
        let rollups: Vec<RollupNumber> = self.disk.rollups.keys().copied().collect();
        self.rollup = *rollups.choose(&mut self.rng).expect("there is one");
        match self.rng.gen_range(0..100) {
            0..=9 => self.submit_new(),
            10..=13 => self.submit_again(),
            14..=21 => self.connect(),
            22..=41 => {
                if let Some(id) = self.any_session() {
                    self.request(id);
                }
            }
            42..=46 => {
                if let Some(id) = self.any_session() {
                    self.disconnect(id);
                }
            }
            47..=58 => self.report(),
            59..=73 => self.complete(),
            74..=86 => self.verified(),
            87 => self.cancel(),
            88 if self.rng.gen_bool(0.3) => self.damage(),
            88 => self.retry(),
            89 if self.rng.gen_bool(0.1) => self.roll_back(),
            89 if self.rng.gen_bool(0.2) => self.pause_for_some_steps(),
            89 => {
                if let Some(id) = self.any_session() {
                    let output = self.core.drain(self.now, id);
                    self.apply(output);
                    self.asking.remove(&id);
                }
            }
            90..=92 => self.restart(),
            _ => {
                let ms = self.rng.gen_range(1..600);
                self.pass(ms);
            }
        }
    }

    fn check(&self) {
        let leased: Vec<TaskId> = self.core.leased().collect();
        assert_eq!(self.core.tally().under_way(), leased, "an attempt for each lease");
        for (number, rollup) in &self.core.rollups {
            assert_eq!(rollup.record, self.disk.rollups[number], "core and store differ");
            let mut head = rollup.record.floor;
            for (number, id) in &rollup.chain {
                let batch = &self.core.batches[id];
                assert_eq!(
                    (batch.number, batch.old_root, batch.rollup),
                    (head.next_number, head.root, rollup.record.number),
                    "the chain is broken at {id}"
                );
                assert_eq!(batch.number, *number);
                assert!(batch.time >= head.time);
                head = super::rollup::after(batch);
                let consumed = (number + 1) * u64::from(QUEUED);
                assert_eq!(batch.queue_head, START.queue_head + consumed, "{id}");
            }
            assert_eq!(head, self.core.head(*number));
        }
        for batch in self.disk.retired.values() {
            assert!(batch.is_final(), "{batch:?}");
            assert!(!self.disk.artifacts.contains_key(&ArtifactKey::Undo(batch.id)));
        }
        self.check_bounds();
        for (submission, id) in &self.acknowledged {
            let batch = self.disk.batch(*id).expect("an acknowledged batch was lost");
            assert_eq!(batch.sha256, submission.sha256);
            for (status, known) in [
                (BatchStatus::Cancelled, &self.cancelled),
                (BatchStatus::RolledBack, &self.rolled_back),
            ] {
                assert_eq!(batch.status == status, known.contains(id));
            }
        }
        for (id, batch) in &self.core.batches {
            let stored = BatchRecord {
                revision: batch.revision,
                ..self.disk.batches[id].clone()
            };
            assert_eq!(*batch, stored, "core and store differ");
            self.check_batch(batch);
        }
        for (id, task) in &self.core.tasks {
            let mut stored = self.disk.tasks[id].clone();
            // A start cuts waits short that only a change of the clock made so long.
            stored.not_before = stored.not_before.min(task.record.not_before);
            stored.avoid_until = stored.avoid_until.min(task.record.avoid_until);
            assert_eq!(task.record, stored, "core and store differ");
            let runs = !matches!(self.core.batches[&id.batch].status, BatchStatus::Failed);
            let is_ready = self.core.ready.contains(&self.core.place(*id));
            assert!(
                !is_ready || (runs && task.record.status == TaskStatus::Ready),
                "{task:?}"
            );
            let has_timer = |at: UnixMs| self.core.timers.contains(&(at, *id));
            match task.record.status {
                TaskStatus::Leased => assert!(has_timer(task.deadline), "a lease without an end: {task:?}"),
                TaskStatus::Ready if runs && !is_ready => {
                    let batch = &self.core.batches[&id.batch];
                    let waits = id.kind == TaskKind::Aggregation && batch.shards_done < batch.shards;
                    assert!(waits || has_timer(task.record.not_before), "{task:?}")
                }
                _ => {}
            }
        }
        assert_eq!(self.core.tasks.len(), self.disk.tasks.len());
        for (number, rollup) in &self.core.rollups {
            let mut open = BTreeMap::<Tenant, usize>::new();
            let its = |batch: &&BatchRecord| batch.rollup == *number && !batch.is_final();
            for batch in self.core.batches.values().filter(its) {
                *open.entry(batch.tenant.clone()).or_default() += 1;
            }
            assert_eq!(rollup.open, open);
            let at_hand = |id: &&TaskId| {
                let leased = self.core.tasks[id].record.status == TaskStatus::Leased;
                let ready = self.core.ready.contains(&self.core.place(**id));
                self.core.batches[&id.batch].rollup == *number && (leased || ready)
            };
            assert_eq!(rollup.at_hand, self.core.tasks.keys().filter(at_hand).count());
            assert!(rollup.served.is_finite());
        }
    }

    /// That what the core remembers does not grow with what was.
    fn check_bounds(&self) {
        for rollup in self.core.rollups.values() {
            let kept = limits().rollback_max as usize + limits().batches_open_max;
            assert!(
                rollup.chain.len() <= kept,
                "{} batches are kept",
                rollup.chain.len()
            );
        }
        let chained: usize = self.core.rollups.values().map(|rollup| rollup.chain.len()).sum();
        assert_eq!(
            self.core.batches.len(),
            chained,
            "one that is in no chain is retired"
        );
        assert_eq!(self.core.requests.len(), chained);
    }

    fn check_batch(&self, batch: &BatchRecord) {
        let tasks: Vec<_> = self.core.tasks_of(batch.id).collect();
        let has = |key| self.disk.artifacts.contains_key(&key);
        if batch.is_final() {
            assert!(tasks.is_empty());
            assert_eq!(
                has(ArtifactKey::RootProof(batch.id)),
                batch.status == BatchStatus::Proven
            );
            assert_eq!(
                has(ArtifactKey::Statement(batch.id)),
                batch.status == BatchStatus::Proven
            );
            let kept = batch.status == BatchStatus::Proven && self.is_undo_kept(batch.rollup, batch.number);
            assert!(has(ArtifactKey::Undo(batch.id)) || !kept, "{batch:?}");
            assert!(!has(ArtifactKey::Undo(batch.id)) || !batch.status.is_taken_back());
            assert!((0..batch.shards).all(|at| !has(ArtifactKey::ShardInput(batch.id, at))));
            return;
        }
        let done = tasks
            .iter()
            .filter(|task| task.record.id.kind == TaskKind::Shard && task.record.status == TaskStatus::Done)
            .count();
        assert_eq!(done, batch.shards_done as usize);
        let aggregation = tasks
            .iter()
            .find(|task| task.record.id.kind == TaskKind::Aggregation);
        match aggregation.map(|task| task.record.status) {
            None => assert!(batch.shards_done < batch.shards, "aggregation after all shards"),
            // A shard is proven again.
            Some(status) if batch.shards_done < batch.shards => {
                assert_ne!(status, TaskStatus::Leased, "{batch:?}")
            }
            Some(_) => {}
        }
        let failed = tasks
            .iter()
            .any(|task| matches!(task.record.status, TaskStatus::Failed | TaskStatus::Quarantined));
        assert_eq!(failed, batch.status == BatchStatus::Failed, "{batch:?}");
    }

    /// A worker that makes no mistakes, until everything is proven.
    fn settle(&mut self) {
        self.faults = false;
        let output = self.core.set_paused(self.now, false);
        self.apply(output);
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.disconnect(id);
        }
        self.verifying.clear();
        self.sessions.clear();
        let all = BTreeSet::from([TaskKind::Shard, TaskKind::Aggregation]);
        let id = self
            .core
            .open_session(self.now, nobody("good"), None, all, KEYS)
            .expect("all others are gone")
            .0;
        self.sessions.insert(id, nobody("good"));
        let mut seen = self.grants.len();
        for _ in 0..2_000 {
            if self.core.open_batches() == 0 {
                return;
            }
            self.retry();
            self.request(id);
            for (task, fence, _) in self.grants.split_off(seen) {
                // A lease may have ended, and been given again, while a timer was waited for.
                if fence < self.newest[&task] {
                    continue;
                }
                assert_eq!(self.core.claim(task, fence), Claim::Verify);
                let (won, output) = self.core.accept(self.now, id, task, b"proof".to_vec());
                assert!(won);
                self.accepted.insert(task);
                self.apply(output);
            }
            seen = seen.min(self.grants.len());
            self.check();
            let wait = self.core.next_timer().map_or(1, |at| self.now.until(at).max(1));
            self.pass(wait);
        }
        panic!("{} batches are still open", self.core.open_batches());
    }
}

#[test]
fn random_fault_schedules_keep_the_invariants_and_end() {
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..300 {
        // Printed only if the test fails.
        println!("seed {seed}");
        let mut disk = Disk {
            harsh: true,
            ..Disk::default()
        };
        for number in 0..=u32::from(seed % 2 == 0) {
            let rollup = RollupRecord {
                weight: 1 + number,
                ..some_rollup(number, START)
            };
            disk.rollups.insert(rollup.number, rollup);
        }
        let mut world = World::with(seed, disk);
        for _ in 0..400 {
            world.step();
            world.check();
        }
        world.settle();
        // Now that everything is proven, some of it is taken back, and the chain goes on.
        world.faults = true;
        for _ in 0..20 {
            world.roll_back();
            world.submit_new();
            world.check();
        }
        world.settle();
        for (what, times) in world.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    let all = [
        "a request of old",
        "cancelled",
        "failed by damage",
        "failed for good",
        "killed after a commit",
        "name taken",
        "session replaced",
        "killed before a commit",
        "late proof",
        "proven",
        "proven again",
        "paused",
        "quarantine",
        "restart with leases",
        "rolled back",
        "rolled back though proven",
        "tried again",
        "wrong proof",
    ];
    for what in all {
        assert!(
            seen.get(what).is_some_and(|times| *times >= 30),
            "the schedules are too tame: {seen:?}"
        );
    }
}

/// One batch of `shards` shards and a worker that can do everything.
fn world_with_batch(shards: usize) -> (World, BatchId, SessionId) {
    let mut world = World::new(0);
    world.faults = false;
    let batch = world.submit_shards(shards);
    let id = world.join("w0");
    (world, batch, id)
}

impl World {
    fn submit_shards(&mut self, shards: usize) -> BatchId {
        let submission = Submission {
            shard_inputs: vec![vec![1]; shards],
            ..self.submission()
        };
        let (batch, _, output) = self
            .core
            .submit(self.now, submission)
            .expect("it is the next batch");
        self.apply(output);
        batch
    }

    fn join(&mut self, worker: &str) -> SessionId {
        self.join_as(nobody(worker))
    }

    fn join_as(&mut self, worker: WorkerId) -> SessionId {
        let all = BTreeSet::from([TaskKind::Shard, TaskKind::Aggregation]);
        let instance = NonZeroU64::new(1).map(Instance);
        let (id, output) = self
            .core
            .open_session(self.now, worker.clone(), instance, all, KEYS)
            .expect("below the limit");
        self.sessions.insert(id, worker);
        self.apply(output);
        id
    }

    /// The lease that the next request brings.
    fn lease(&mut self, id: SessionId) -> Option<(TaskId, Fence)> {
        let before = self.grants.len();
        self.request(id);
        self.grants.get(before).map(|(task, fence, _)| (*task, *fence))
    }

    fn prove(&mut self, id: SessionId, task: TaskId) -> bool {
        let (won, output) = self.core.accept(self.now, id, task, b"proof".to_vec());
        self.apply(output);
        won
    }
}

#[test]
fn aggregation_comes_before_older_and_younger_shards() {
    let (mut world, first, id) = world_with_batch(1);
    let (task, _) = world.lease(id).expect("a shard is ready");
    world.submit_new();
    assert!(world.prove(id, task));
    assert_eq!(
        world.lease(id).map(|(task, _)| task),
        Some(TaskId::aggregation(first))
    );
}

#[test]
fn a_late_proof_wins_against_the_new_holder() {
    let (mut world, batch, slow) = world_with_batch(1);
    let (task, fence) = world.lease(slow).expect("a shard is ready");
    world.pass(limits().lease_ms);
    let fast = world.join("w1");
    let (again, newer) = world.lease(fast).expect("the lease is over");
    assert_eq!((again, newer), (task, Fence(fence.0 + 1)));
    assert_eq!(
        world.core.renew(world.now, slow, task, fence),
        Err(LeaseLost::Over)
    );
    let late = world
        .core
        .fail(world.now, slow, task, fence, FailureClass::Resource, "");
    assert_eq!(late, Err(LeaseLost::Over));
    assert_eq!(world.core.claim(task, fence), Claim::Verify);
    assert!(world.prove(slow, task));
    assert_eq!(world.core.claim(task, newer), Claim::NotNeeded);
    assert!(!world.prove(fast, task));
    assert_eq!(world.core.batch(batch).map(|batch| batch.shards_done), Some(1));
}

#[test]
fn a_fence_that_was_never_given_completes_nothing() {
    let (mut world, batch, id) = world_with_batch(1);
    let task = TaskId::shard(batch, 0);
    assert_eq!(world.core.claim(task, Fence(1)), Claim::Unknown);
    world.lease(id).expect("a shard is ready");
    assert_eq!(world.core.claim(task, Fence(0)), Claim::Unknown);
    assert_eq!(world.core.claim(task, Fence(2)), Claim::Unknown);
    assert_eq!(
        world.core.claim(TaskId::shard(batch, 1), Fence(1)),
        Claim::Unknown
    );
    assert_eq!(
        world.core.claim(TaskId::shard(BatchId(9), 0), Fence(1)),
        Claim::Unknown
    );
}

#[test]
fn a_failed_task_goes_to_another_worker_first() {
    let (mut world, _, first) = world_with_batch(1);
    let (task, fence) = world.lease(first).expect("a shard is ready");
    let output = world
        .core
        .fail(world.now, first, task, fence, FailureClass::Resource, "no memory")
        .expect("held");
    world.apply(output);
    let second = world.join("w1");
    assert_eq!(world.lease(first), None);
    assert_eq!(world.lease(second), None, "nobody gets it yet");
    world.pass(limits().retry_ms_min);
    assert!(world.newest[&task] > fence);
    let holder = world.grants.last().map(|(_, _, worker)| worker.name.as_str());
    assert_eq!(holder, Some("w1"), "though the other asked first");
}

#[test]
fn a_lone_worker_gets_its_failed_task_again_after_the_wait() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    let output = world
        .core
        .fail(world.now, id, task, fence, FailureClass::Infrastructure, "")
        .expect("held");
    world.apply(output);
    assert_eq!(world.lease(id), None);
    world.pass(limits().retry_ms_min);
    assert_eq!(world.newest[&task], Fence(2));
}

#[test]
fn a_task_is_impossible_when_two_workers_say_so_until_it_is_tried_again() {
    let (mut world, batch, id) = world_with_batch(2);
    let status = |world: &World| world.core.batch(batch).map(|b| b.status);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.fails(id, task, fence, FailureClass::Internal);
    assert_eq!(status(&world), Some(BatchStatus::Proving), "one worker's word");
    // The same worker's again, once the wait is over, is no second.
    world.pass(limits().avoid_ms);
    world.lease(id);
    let fence = world.newest[&task];
    world.fails(id, task, fence, FailureClass::Input);
    assert_eq!(status(&world), Some(BatchStatus::Proving));
    world.pass(limits().retry_ms_max);
    let other = world.join("other");
    let (again, fence) = world.lease(other).expect("the task waits for another worker");
    assert_eq!(again, task);
    world.fails(other, task, fence, FailureClass::Execution);
    assert_eq!(status(&world), Some(BatchStatus::Failed));
    assert_eq!(world.lease(id), None, "no task of a failed batch is given out");
    let output = world.core.retry(world.now, batch).expect("it has failed");
    world.apply(output);
    assert!(world.newest[&task] > fence, "the open request is answered");
    world.check();
}

#[test]
fn workers_that_fall_silent_on_a_task_put_it_into_quarantine() {
    let (mut world, batch, _) = world_with_batch(1);
    for at in 0..limits().deaths_max {
        let id = world.join(&format!("victim {at}"));
        world.lease(id).expect("the task is ready");
        world.pass(limits().lease_ms);
    }
    let status = world.core.tasks_of(batch).next().map(|task| task.record.status);
    assert_eq!(status, Some(TaskStatus::Quarantined));
    assert_eq!(
        world.core.batch(batch).map(|b| b.status),
        Some(BatchStatus::Failed)
    );
}

#[test]
fn lost_connections_count_where_many_workers_were_lost_in_one_phase() {
    let (mut world, batch, _) = world_with_batch(1);
    let lose = |world: &mut World, name: &str, phase: &str| {
        let id = world.join(name);
        let (task, fence) = world.lease(id).expect("the task is ready");
        if !phase.is_empty() {
            let output = world
                .core
                .progress(world.now, id, task, fence, phase, 0.5)
                .expect("held");
            world.apply(output);
        }
        world.disconnect(id);
        world.pass(limits().reconnect_grace_ms);
    };
    // Stopped by their operators, one after another; one worker again and again; others in several phases.
    for at in 0..20 {
        lose(&mut world, &format!("stopped {at}"), "");
        lose(&mut world, "again", "quotient");
    }
    for phase in ["witness", "opening"] {
        for at in 1..limits().losses_max {
            lose(&mut world, &format!("victim {at}"), phase);
        }
    }
    let status = |world: &World| world.core.tasks_of(batch).next().map(|task| task.record.status);
    assert_eq!(status(&world), Some(TaskStatus::Ready));
    for at in 1..limits().losses_max {
        lose(&mut world, &format!("victim {at}"), "quotient");
    }
    assert_eq!(status(&world), Some(TaskStatus::Quarantined));
}

#[test]
fn a_task_that_is_given_back_counts_against_nobody() {
    let (mut world, batch, _) = world_with_batch(1);
    for at in 0..3 * limits().failures_max {
        let id = world.join(&format!("stopping {at}"));
        let (task, fence) = world.lease(id).expect("the task is ready at once");
        world.fails(id, task, fence, FailureClass::Returned);
        world.disconnect(id);
    }
    assert_eq!(
        world.core.batch(batch).map(|b| b.status),
        Some(BatchStatus::Proving)
    );
}

#[test]
fn nobody_was_silent_while_the_coordinator_stood_still() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    let late = limits().lease_ms + limits().pause_ms + 1;
    world.now = world.now.after(late);
    let output = world.core.tick(world.now);
    world.apply(output);
    assert_eq!(
        world.core.renew(world.now, id, task, fence),
        Ok(()),
        "the lease is held"
    );
    // The same where the connection did not survive.
    world.now = world.now.after(late);
    let output = world.core.close_session(world.now, id);
    world.apply(output);
    let again = world.join("w0");
    assert_eq!(world.core.renew(world.now, again, task, fence), Ok(()));
    assert_eq!(world.disk.tasks[&task].deaths, 0);
}

#[test]
fn nobody_was_silent_while_the_coordinator_stood_still_for_little_more_than_a_lease() {
    let silent = |stall: u64| {
        let (mut world, _, id) = world_with_batch(1);
        let (task, _) = world.lease(id).expect("a shard is ready");
        let alive = UnixMs(world.now.0 + limits().lease_ms - HEARTBEAT_MS);
        world.now = alive.after(stall);
        let output = world.core.heartbeat(alive, world.now);
        world.apply(output);
        world.disk.tasks[&task].deaths
    };
    assert_eq!(
        silent(HEARTBEAT_MS),
        1,
        "the worker was silent for a lease's time"
    );
    assert_eq!(silent(HEARTBEAT_MS + STALL_MS), 1);
    assert_eq!(silent(HEARTBEAT_MS + STALL_MS + 1), 0);
}

#[test]
fn a_worker_that_reconnects_keeps_its_lease() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.disconnect(id);
    let again = world.join("w0");
    assert_eq!(world.core.renew(world.now, again, task, fence), Ok(()));
    world.pass(limits().reconnect_grace_ms);
    let other = world.join("w1");
    assert_eq!(world.lease(other), None);
}

#[test]
fn a_restart_keeps_leases_and_counts_no_death() {
    let (mut world, _, id) = world_with_batch(1);
    let (task, fence) = world.lease(id).expect("a shard is ready");
    world.restart();
    let other = world.join("w1");
    world.pass(limits().restart_grace_ms - 1);
    assert_eq!(world.lease(other), None, "the lease has its time");
    assert_eq!(world.core.claim(task, fence), Claim::Verify);
    world.pass(1);
    assert_eq!(world.newest[&task], Fence(2));
    assert_eq!(world.disk.tasks[&task].deaths, 0);
}

#[test]
fn only_the_newest_unproven_batch_is_cancelled_and_its_ids_are_free_again() {
    use super::chain::CancelError;
    let (mut world, first, _) = world_with_batch(1);
    world.submit_new();
    let (submission, second) = world.acknowledged[0].clone();
    let refused = world.core.cancel(world.now, first, vec![]);
    assert_eq!(
        refused,
        Err(CancelError::BuiltOn {
            batch: first,
            on_top: second
        })
    );
    let output = world
        .core
        .cancel(world.now, second, vec![])
        .expect("it is the newest");
    world.apply(output);
    assert_eq!(world.status(second), Some(BatchStatus::Cancelled));
    assert!(world.core.batch(second).is_none(), "it is retired");
    let (third, existed, output) = world
        .core
        .submit(world.now, submission)
        .expect("the ids are free");
    world.apply(output);
    assert!(!existed && third != second);
    assert_eq!(
        world.core.cancel(world.now, BatchId(99), vec![]),
        Err(CancelError::Unknown(BatchId(99)))
    );
}

#[test]
fn a_batch_that_is_not_next_is_refused() {
    let (mut world, _, _) = world_with_batch(1);
    let good = Submission {
        time: 5,
        ..world.submission()
    };
    let (_, _, output) = world.core.submit(world.now, good).expect("it is the next batch");
    world.apply(output);
    let next = world.submission();
    let refuse = |world: &mut World, submission| world.core.submit(world.now, submission).map(drop);
    let wrong = Submission {
        number: 9,
        ..next.clone()
    };
    assert_eq!(
        refuse(&mut world, wrong),
        Err(SubmitError::Number {
            expected: 2,
            found: 9
        })
    );
    let wrong = Submission {
        old_root: START.root,
        ..next.clone()
    };
    assert_eq!(
        refuse(&mut world, wrong),
        Err(SubmitError::OldRoot {
            expected: next.old_root,
            found: START.root
        })
    );
    let wrong = Submission {
        time: 4,
        ..next.clone()
    };
    assert_eq!(
        refuse(&mut world, wrong),
        Err(SubmitError::Time { min: 5, found: 4 })
    );
    world.core.stop();
    assert_eq!(refuse(&mut world, next), Err(SubmitError::Stopping));
}

#[test]
fn a_lease_is_the_identitys_whatever_name_another_gives_itself() {
    let (mut world, _, _) = world_with_batch(2);
    let own = world.join_as(of("one", "w"));
    let (task, fence) = world.lease(own).expect("a shard is ready");
    let renewed = |world: &mut World, id| world.core.renew(world.now, id, task, fence);
    // Also after a restart, when the lease is known by what is stored of it.
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        for other in [of("two", "w"), nobody("w"), of("one", "v")] {
            let other = world.join_as(other);
            assert_eq!(renewed(&mut world, other), Err(LeaseLost::Over));
            let progress = world.core.progress(world.now, other, task, fence, "phase", 0.5);
            assert_eq!(progress, Err(LeaseLost::Over));
            let class = FailureClass::Internal;
            let failed = world
                .core
                .fail(world.now, other, task, fence, class, "taken over");
            assert_eq!(failed, Err(LeaseLost::Over));
            let rejected = world.core.reject(world.now, other, task, fence, "garbage");
            assert_eq!(rejected, Output::default());
            world.disconnect(other);
        }
        let own = world.join_as(of("one", "w"));
        assert_eq!(renewed(&mut world, own), Ok(()));
        world.disconnect(own);
    }
    // A proof speaks for itself.
    let other = world.join_as(of("two", "w"));
    assert_eq!(world.core.claim(task, fence), Claim::Verify);
    assert!(world.prove(other, task));
}

#[test]
fn request_ids_and_open_batches_are_each_tenants_own() {
    let mut world = World::new(0);
    world.faults = false;
    let [one, two] = ["one", "two"].map(|name| Tenant(name.into()));
    let submission = |world: &mut World, tenant: &Tenant, request: usize| Submission {
        tenant: tenant.clone(),
        request_id: format!("r{request}"),
        ..world.submission()
    };
    let open_max = limits().tenant_batches_open_max;
    for request in 0..open_max {
        let new = submission(&mut world, &one, request);
        let (_, existed, output) = world.core.submit(world.now, new).expect("below the limit");
        world.apply(output);
        assert!(!existed);
    }
    let more = submission(&mut world, &one, open_max);
    assert_eq!(
        world.core.submit(world.now, more),
        Err(SubmitError::TenantQueueFull { open: open_max })
    );
    // The other tenant is served, and its use of an id says nothing of the first one's.
    let new = submission(&mut world, &two, 0);
    assert_eq!(world.core.existing(MAIN, &two, "r0", &new.sha256), Ok(None));
    let (id, existed, output) = world
        .core
        .submit(world.now, new.clone())
        .expect("it is its first");
    world.apply(output);
    assert!(!existed);
    assert_eq!(world.core.existing(MAIN, &two, "r0", &new.sha256), Ok(Some(id)));
    assert!(world.core.existing(MAIN, &one, "r0", &new.sha256).is_err());
    // Cancelled, its id is free, and the first one's is still taken.
    let output = world
        .core
        .cancel(world.now, id, vec![])
        .expect("it is the newest");
    world.apply(output);
    assert_eq!(world.core.existing(MAIN, &two, "r0", &new.sha256), Ok(None));
    world.restart();
    assert!(world.core.existing(MAIN, &one, "r0", &new.sha256).is_err());
}

#[test]
fn a_task_is_given_ahead_only_when_every_idle_worker_has_one() {
    let (mut world, batch, busy) = world_with_batch(3);
    let idle = world.join("w1");
    assert!(world.lease(busy).is_some());
    // Two shards are left, for two workers: each may have one, whoever asks first, and the best is left for the idle one.
    assert_eq!(
        world.lease(busy).map(|(task, _)| task),
        Some(TaskId::shard(batch, 2))
    );
    assert_eq!(
        world.lease(idle).map(|(task, _)| task),
        Some(TaskId::shard(batch, 1))
    );

    let (mut world, batch, busy) = world_with_batch(2);
    let idle = world.join("w1");
    assert!(world.lease(busy).is_some());
    assert_eq!(
        world.lease(busy),
        None,
        "the last shard is kept for the other worker"
    );
    assert_eq!(
        world.lease(idle).map(|(task, _)| task),
        Some(TaskId::shard(batch, 1))
    );
}

#[test]
fn a_request_ahead_comes_after_those_of_idle_workers_and_is_served_when_idle() {
    let (mut world, batch, busy) = world_with_batch(1);
    let (task, _) = world.lease(busy).expect("a shard is ready");
    assert_eq!(world.lease(busy), None);
    let idle = world.join("w1");
    assert_eq!(world.lease(idle), None);
    assert!(world.prove(busy, task));
    let holders: Vec<_> = world
        .grants
        .iter()
        .map(|(task, _, worker)| (*task, worker.clone()))
        .collect();
    assert_eq!(
        holders[1],
        (TaskId::aggregation(batch), nobody("w0")),
        "both are idle now, and the first asked first"
    );
    // An aggregation and a shard are ready once the first has proven: the best is for the one that is idle then.
    let (mut world, batch, first) = world_with_batch(1);
    let second = world.join("w1");
    let (task, _) = world.lease(first).expect("a shard is ready");
    world.submit_shards(1);
    world.lease(second).expect("a shard of the next batch is ready");
    let third = world.submit_shards(1);
    assert_eq!(world.lease(second), None);
    assert!(world.prove(first, task));
    let ahead = world.grants.last().expect("tasks were given");
    assert_eq!(
        (ahead.0, ahead.2.name.as_str()),
        (TaskId::shard(third, 0), "w1"),
        "the aggregation is left for the idle one"
    );
    assert_eq!(
        world.lease(first).map(|(task, _)| task),
        Some(TaskId::aggregation(batch))
    );

    let (mut world, _, alone) = world_with_batch(2);
    assert!(world.lease(alone).is_some());
    assert!(world.lease(alone).is_some(), "nobody else would take it");
}
