//! The chain of batches: what may be appended, taken back, or tried again, and how a batch is finished.

use rules::account::{AccountIndex, Hashed};

use super::{
    Core, Evidence, Head, LeaseEnd, Output, Task,
    id::{BatchId, KeyId, RollupNumber, StateRoot, TaskId, TaskKind, Tenant, UnixMs},
    record::{
        ArtifactKey, BatchRecord, BatchStatus, Billing, Operations, TaskRecord, TaskStatus, Wishes, Write,
    },
};

/// A batch that was executed on the head of the chain and found right.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The rollup that it is of.
    pub rollup: RollupNumber,
    /// How urgent it is, and its labels.
    pub wishes: Wishes,
    /// Who submits it.
    pub tenant: Tenant,
    /// The tenant's id.
    pub request_id: String,
    /// SHA-256 of the encoded batch.
    pub sha256: [u8; 32],
    /// Its number.
    pub number: u64,
    /// T, Unix seconds.
    pub time: u64,
    /// State root before.
    pub old_root: StateRoot,
    /// State root after.
    pub new_root: StateRoot,
    /// The circuits that prove it.
    pub keys: KeyId,
    /// Operations in it.
    pub operations: Operations,
    /// What it earns, and what its cost on L1 follows from.
    pub billing: Billing,
    /// The tasks' inputs, one a shard, padding included.
    pub shard_inputs: Vec<Vec<u8>>,
    /// For [`ArtifactKey::Statement`].
    pub statement: Vec<u8>,
    /// For [`ArtifactKey::Undo`].
    pub undo: Vec<u8>,
    /// The accounts that it changed, as they are after it, with their leaves.
    pub accounts: Vec<(AccountIndex, Option<Hashed>)>,
}

impl Submission {
    /// The bytes of all artifacts that come with it.
    pub fn artifacts(&self) -> Vec<&[u8]> {
        let inputs = self.shard_inputs.iter().map(Vec::as_slice);
        [self.statement.as_slice(), &self.undo]
            .into_iter()
            .chain(inputs)
            .collect()
    }
}

/// Why a batch is not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The request id names other content.
    #[error("request id {request_id:?} was used for batch {batch} with other content")]
    RequestReused {
        /// The id.
        request_id: String,
        /// The batch that it names.
        batch: BatchId,
        /// SHA-256 of that batch.
        sha256: [u8; 32],
    },
    /// The rollup takes no batches.
    #[error("the rollup was deleted")]
    NoRollup,
    /// Too many batches of the rollup are open.
    #[error("{open} batches are accepted and not proven, the limit")]
    QueueFull {
        /// How many.
        open: usize,
    },
    /// Too many batches of the tenant are open.
    #[error("{open} batches of this tenant are accepted and not proven, the limit")]
    TenantQueueFull {
        /// How many.
        open: usize,
    },
    /// Not the next number.
    #[error("batch number {found}, expected {expected}")]
    Number {
        /// The next number.
        expected: u64,
        /// The batch's.
        found: u64,
    },
    /// Does not start from the head.
    #[error("old root {found}, expected {expected}")]
    OldRoot {
        /// The head's root.
        expected: StateRoot,
        /// The batch's.
        found: StateRoot,
    },
    /// Earlier than the batch before (P-9.4).
    #[error("time {found}, expected at least {min}")]
    Time {
        /// The last batch's.
        min: u64,
        /// The batch's.
        found: u64,
    },
    /// The coordinator is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
}

/// Why a batch is not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// No such batch.
    #[error("no batch {0}")]
    Unknown(BatchId),
    /// Its proof is there, and may be on L1.
    #[error("batch {0} is proven")]
    Proven(BatchId),
    /// Another batch starts from its new root.
    #[error("batch {on_top} is built on batch {batch}; cancel that first")]
    BuiltOn {
        /// The batch to be cancelled.
        batch: BatchId,
        /// The batch with the next number.
        on_top: BatchId,
    },
}

/// Why a batch is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// No such batch.
    #[error("no batch {0}")]
    Unknown(BatchId),
    /// It has not failed.
    #[error("batch {batch} has not failed: it is {status}")]
    NotFailed {
        /// The batch.
        batch: BatchId,
        /// Where it is.
        status: BatchStatus,
    },
}

/// The batch that a request id names, if its content is that of `sha256`.
///
/// # Errors
/// [`SubmitError::RequestReused`] if it is not.
pub fn is_same(batch: &BatchRecord, sha256: &[u8; 32]) -> Result<BatchId, SubmitError> {
    match batch.sha256 == *sha256 {
        true => Ok(batch.id),
        false => Err(SubmitError::RequestReused {
            request_id: batch.request_id.clone(),
            batch: batch.id,
            sha256: batch.sha256,
        }),
    }
}

/// What helps a batch that has failed, for the text that says so.
#[derive(Debug, Clone, Copy)]
pub(super) enum Remedy {
    /// Another try may end better.
    Retry,
    /// Another try, once a file is restored.
    Restore,
    /// Only taking back all from that number on.
    Rollback(u64),
}

impl Core {
    /// The batch that a request id already names, if its content is the same. One that is retired is the store's to find.
    ///
    /// # Errors
    /// [`SubmitError::RequestReused`] if the content differs.
    pub fn existing(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        request_id: &str,
        sha256: &[u8; 32],
    ) -> Result<Option<BatchId>, SubmitError> {
        let request = (rollup, tenant.clone(), request_id.to_owned());
        match self.requests.get(&request).and_then(|id| self.batches.get(id)) {
            None => Ok(None),
            Some(batch) => is_same(batch, sha256).map(Some),
        }
    }

    /// Whether a tenant may append a batch of this number, old root and time to a rollup's chain now.
    ///
    /// # Errors
    /// Every [`SubmitError`] but [`SubmitError::RequestReused`].
    pub fn admit(
        &self,
        rollup: RollupNumber,
        tenant: &Tenant,
        number: u64,
        old_root: StateRoot,
        time: u64,
    ) -> Result<(), SubmitError> {
        let taking = self.rollups.get(&rollup).filter(|rollup| rollup.record.is_live());
        let taking = taking.ok_or(SubmitError::NoRollup)?;
        let Head {
            root,
            next_number,
            time: min,
            ..
        } = self.head(rollup);
        if self.stopping {
            return Err(SubmitError::Stopping);
        }
        if number != next_number {
            return Err(SubmitError::Number {
                expected: next_number,
                found: number,
            });
        }
        if old_root != root {
            return Err(SubmitError::OldRoot {
                expected: root,
                found: old_root,
            });
        }
        if time < min {
            return Err(SubmitError::Time { min, found: time });
        }
        let open = taking.open_batches();
        if open >= self.limits.batches_open_max {
            return Err(SubmitError::QueueFull { open });
        }
        let open = taking.open.get(tenant).copied().unwrap_or_default();
        if *tenant != Tenant::default() && open >= self.limits.tenant_batches_open_max {
            return Err(SubmitError::TenantQueueFull { open });
        }
        Ok(())
    }

    /// Appends an executed batch to the chain and queues its shards. Idempotent by request id: the flag says that the
    /// batch was there already.
    ///
    /// # Errors
    /// See [`SubmitError`]; then nothing changes.
    ///
    /// # Panics
    /// If there is no shard: an executed batch has at least one.
    pub fn submit(&mut self, now: UnixMs, new: Submission) -> Result<(BatchId, bool, Output), SubmitError> {
        let number = new.rollup;
        if let Some(id) = self.existing(number, &new.tenant, &new.request_id, &new.sha256)? {
            return Ok((id, true, Output::default()));
        }
        self.admit(number, &new.tenant, new.number, new.old_root, new.time)?;
        assert!(!new.shard_inputs.is_empty(), "an executed batch has a shard");
        let id = BatchId(self.last_batch.0 + 1);
        let record = BatchRecord {
            id,
            rollup: number,
            wishes: new.wishes,
            tenant: new.tenant.clone(),
            request_id: new.request_id.clone(),
            sha256: new.sha256,
            number: new.number,
            keys: new.keys,
            time: new.time,
            old_root: new.old_root,
            new_root: new.new_root,
            operations: new.operations,
            queue_head: self
                .head(number)
                .queue_head
                .saturating_add(new.operations.queued.into()),
            shards: u32::try_from(new.shard_inputs.len()).expect("a preset has few shards"),
            shards_done: 0,
            status: BatchStatus::Queued,
            revision: 0,
            accepted: now,
            started: None,
            shards_done_at: None,
            finished: None,
            failure: None,
            billing: Some(new.billing),
        };
        self.batches.insert(id, record);
        self.last_batch = id;
        self.tally.numbers.batches_accepted += 1;
        let rollup = self.rollups.get_mut(&number).expect("it was just admitted");
        rollup.chain.insert(new.number, id);
        rollup.unproven.insert(new.number);
        *rollup.open.entry(new.tenant.clone()).or_default() += 1;
        self.requests.insert((number, new.tenant, new.request_id), id);

        let mut output = Output::default();
        self.save_batch(id, &mut output);
        output
            .writes
            .push(Write::Artifact(ArtifactKey::Statement(id), new.statement));
        output
            .writes
            .push(Write::Artifact(ArtifactKey::Undo(id), new.undo));
        output.writes.push(Write::Accounts(number, new.accounts));
        self.settle(number, &mut output);
        for (index, input) in (0..).zip(new.shard_inputs) {
            output
                .writes
                .push(Write::Artifact(ArtifactKey::ShardInput(id, index), input));
            self.add_task(TaskId::shard(id, index), now, &mut output);
        }
        self.assign(now, &mut output);
        Ok((id, false, output))
    }

    /// Whether a batch that is not retired may be cancelled: nothing is built on it, and it is not proven.
    ///
    /// # Errors
    /// See [`CancelError`].
    pub fn cancellable(&self, id: BatchId) -> Result<&BatchRecord, CancelError> {
        let batch = self.batches.get(&id).ok_or(CancelError::Unknown(id))?;
        match batch.status {
            BatchStatus::Proven => Err(CancelError::Proven(id)),
            _ => match self.rollups[&batch.rollup].chain.get(&(batch.number + 1)) {
                Some(&on_top) => Err(CancelError::BuiltOn { batch: id, on_top }),
                None => Ok(batch),
            },
        }
    }

    /// Takes the last batch of its chain back. `accounts` are those of its undo.
    ///
    /// # Errors
    /// See [`CancelError`]; then nothing changes.
    pub fn cancel(
        &mut self,
        now: UnixMs,
        id: BatchId,
        accounts: Vec<(AccountIndex, Option<Hashed>)>,
    ) -> Result<Output, CancelError> {
        let mut output = Output::default();
        let rollup = self.cancellable(id)?.rollup;
        output.writes.push(Write::Accounts(rollup, accounts));
        self.take_out(id, &mut output);
        self.finish(now, id, BatchStatus::Cancelled, &mut output);
        self.assign(now, &mut output);
        Ok(output)
    }

    /// Queues the tasks of a failed batch that are not done again, with fresh counters.
    ///
    /// # Errors
    /// See [`RetryError`]; then nothing changes.
    pub fn retry(&mut self, now: UnixMs, id: BatchId) -> Result<Output, RetryError> {
        let batch = self.batches.get(&id).ok_or(RetryError::Unknown(id))?;
        if batch.status != BatchStatus::Failed {
            return Err(RetryError::NotFailed {
                batch: id,
                status: batch.status,
            });
        }
        let mut output = Output::default();
        let tasks: Vec<TaskId> = self.tasks_of(id).map(|task| task.record.id).collect();
        for &task in &tasks {
            let listed = self.tasks.get_mut(&task).expect("just listed");
            let record = &mut listed.record;
            if matches!(record.status, TaskStatus::Failed | TaskStatus::Quarantined) {
                record.status = TaskStatus::Ready;
                record.failures = 0;
                record.deaths = 0;
                record.not_before = now;
                listed.evidence = Evidence::default();
                self.save_task(task, &mut output);
            }
        }
        self.resume_batch(id);
        self.save_batch(id, &mut output);
        for task in tasks {
            self.refresh(task, now);
        }
        self.assign(now, &mut output);
        Ok(output)
    }

    /// Queues a new task.
    pub(super) fn add_task(&mut self, id: TaskId, now: UnixMs, output: &mut Output) {
        self.tasks.insert(id, Task::new(TaskRecord::new(id)));
        self.save_task(id, output);
        self.refresh(id, now);
    }

    /// Stores the verified proof of a task that was not done, and moves its batch on.
    pub(super) fn task_done(&mut self, now: UnixMs, id: TaskId, proof: Vec<u8>, output: &mut Output) {
        self.end_lease(now, id, LeaseEnd::Done, output);
        let task = self.tasks.get_mut(&id).expect("the caller found the task");
        task.record.status = TaskStatus::Done;
        task.fraction = 1.0;
        self.save_task(id, output);
        self.refresh(id, now);
        match id.kind {
            TaskKind::Shard => self.shard_done(now, id, proof, output),
            TaskKind::Aggregation => {
                output
                    .writes
                    .push(Write::Artifact(ArtifactKey::RootProof(id.batch), proof));
                self.finish(now, id.batch, BatchStatus::Proven, output);
            }
        }
    }

    fn shard_done(&mut self, now: UnixMs, id: TaskId, proof: Vec<u8>, output: &mut Output) {
        output.writes.push(Write::Artifact(
            ArtifactKey::ShardProof(id.batch, id.index),
            proof,
        ));
        let batch = self.batches.get_mut(&id.batch).expect("a task has a batch");
        batch.shards_done += 1;
        let all_done = batch.shards_done == batch.shards;
        if all_done {
            batch.shards_done_at = Some(now);
        }
        let was_failed = batch.status == BatchStatus::Failed;
        let still_failed = was_failed
            && self
                .tasks_of(id.batch)
                .any(|task| matches!(task.record.status, TaskStatus::Failed | TaskStatus::Quarantined));
        if !still_failed {
            self.resume_batch(id.batch);
        }
        self.save_batch(id.batch, output);
        let aggregation = TaskId::aggregation(id.batch);
        if all_done && self.tasks.contains_key(&aggregation) {
            self.refresh(aggregation, now);
        } else if all_done {
            self.add_task(aggregation, now, output);
        } else if was_failed && !still_failed {
            let tasks: Vec<TaskId> = self.tasks_of(id.batch).map(|task| task.record.id).collect();
            for task in tasks {
                self.refresh(task, now);
            }
        }
    }

    /// Sets the status of a batch that runs from what is done of it.
    pub(super) fn resume_batch(&mut self, id: BatchId) {
        let batch = self.batches.get_mut(&id).expect("the caller found the batch");
        batch.failure = None;
        batch.status = match batch.started {
            _ if batch.shards_done == batch.shards => BatchStatus::Aggregating,
            Some(_) => BatchStatus::Proving,
            None => BatchStatus::Queued,
        };
    }

    /// Marks a batch as failed because of `task`: none of its tasks is leased until it is tried again.
    pub(super) fn fail_batch(
        &mut self,
        now: UnixMs,
        task: TaskId,
        why: &str,
        remedy: Remedy,
        output: &mut Output,
    ) {
        let batch = self.batches.get_mut(&task.batch).expect("a task has a batch");
        batch.status = BatchStatus::Failed;
        // The remedy goes with it, wherever the text is read.
        let retry = match remedy {
            Remedy::Retry => format!("`rollup-prover retry {}` tries it again, ", batch.id),
            Remedy::Restore => format!(
                "when that file is restored from a backup, `rollup-prover retry {}` tries it again; without one, ",
                batch.id
            ),
            Remedy::Rollback(_) => String::new(),
        };
        let number = match remedy {
            Remedy::Retry | Remedy::Restore => batch.number,
            Remedy::Rollback(number) => number,
        };
        batch.failure = Some(format!(
            "task {task}: {why}; {retry}`rollup-prover rollback --to {number}` takes it back with all that follow"
        ));
        self.save_batch(task.batch, output);
        let tasks: Vec<TaskId> = self.tasks_of(task.batch).map(|task| task.record.id).collect();
        for task in tasks {
            self.refresh(task, now);
        }
    }

    /// Takes a batch out of the chain. Its number and its request id are free again, and what it stated is nobody's.
    pub(super) fn take_out(&mut self, id: BatchId, output: &mut Output) {
        let batch = self.batches.get(&id).expect("the caller found the batch");
        let request = (batch.rollup, batch.tenant.clone(), batch.request_id.clone());
        let rollup = self.rollups.get_mut(&batch.rollup);
        rollup
            .expect("a batch is of a rollup")
            .chain
            .remove(&batch.number);
        self.requests.remove(&request);
        for key in [ArtifactKey::Statement(id), ArtifactKey::Undo(id)] {
            output.writes.push(Write::RemoveArtifact(key));
        }
    }

    /// Fails a batch that L1 would not take any more, or that follows such a one, with all that follow: proving them would be in
    /// vain. False where L1 would take it.
    pub(super) fn fail_too_old(&mut self, now: UnixMs, id: BatchId, output: &mut Output) -> bool {
        let now_s = (now.0 / 1_000).saturating_sub(self.system_behind_s);
        let oldest = now_s.saturating_sub(self.limits.time_age_s_max);
        let BatchRecord { number, rollup, .. } = self.batches[&id];
        let chained = &self.rollups[&rollup];
        // Times never fall along the chain, so that the first unproven batch is the oldest.
        let first = chained.unproven.first().copied().unwrap_or(number);
        let time = self.batches[&chained.chain[&first]].time;
        if time >= oldest || first > number {
            return false;
        }
        let followers = chained.unproven.range(first..);
        let followers: Vec<(u64, BatchId)> =
            followers.map(|number| (*number, chained.chain[number])).collect();
        for (number, id) in followers {
            let (why, first) = match number == first {
                true => (
                    format!("its time {time} is too old for L1, which takes none before {oldest} now"),
                    number,
                ),
                false => (format!("batch number {first} before it is too old for L1"), first),
            };
            if self.batches[&id].status == BatchStatus::Failed {
                continue;
            }
            let task = self.fail_open_tasks(now, id, LeaseEnd::BatchTooOld, &why, output);
            self.fail_batch(now, task, &why, Remedy::Rollback(first), output);
        }
        true
    }

    /// Fails what is not done of a batch that is not proven, and ends its leases. Returns the first such task.
    pub(super) fn fail_open_tasks(
        &mut self,
        now: UnixMs,
        id: BatchId,
        end: LeaseEnd,
        why: &str,
        output: &mut Output,
    ) -> TaskId {
        let open = self.tasks_of(id).map(|task| &task.record);
        let open: Vec<TaskId> = open
            .filter(|record| record.status != TaskStatus::Done)
            .map(|record| record.id)
            .collect();
        for &task in &open {
            self.end_lease(now, task, end, output);
            let task = self.tasks.get_mut(&task).expect("just listed");
            task.phase.clear();
            task.fraction = 0.0;
            task.record.status = TaskStatus::Failed;
            task.record.last_failure = Some(why.to_owned());
        }
        for &task in &open {
            self.save_task(task, output);
        }
        *open
            .first()
            .expect("a batch that is not proven has a task that is not done")
    }

    /// Makes a batch final and drops its tasks with what only they needed.
    pub(super) fn finish(&mut self, now: UnixMs, id: BatchId, status: BatchStatus, output: &mut Output) {
        let batch = self.batches.get_mut(&id).expect("the caller found the batch");
        batch.status = status;
        batch.finished = Some(now);
        batch.failure = None;
        let (shards, number) = (batch.shards, batch.number);
        self.tally.finished(batch);
        let chained = batch.rollup;
        let rollup = self.rollups.get_mut(&chained).expect("a batch is of a rollup");
        rollup.unproven.remove(&number);
        if let Some(open) = rollup.open.get_mut(&batch.tenant) {
            *open -= 1;
        }
        rollup.open.retain(|_, open| *open > 0);
        self.save_batch(id, output);
        let tasks: Vec<TaskId> = self.tasks_of(id).map(|task| task.record.id).collect();
        for task in tasks {
            self.end_lease(now, task, LeaseEnd::BatchFinal, output);
            self.tasks.remove(&task);
            self.refresh(task, now);
            output.writes.push(Write::RemoveTask(task));
        }
        for index in 0..shards {
            output
                .writes
                .push(Write::RemoveArtifact(ArtifactKey::ShardInput(id, index)));
            output
                .writes
                .push(Write::RemoveArtifact(ArtifactKey::ShardProof(id, index)));
        }
        match status.is_taken_back() {
            true => self.retire(id, output),
            false => self.settle(chained, output),
        }
    }

    /// The batches that are not proven, of all chains.
    pub(super) fn unproven(&self) -> impl Iterator<Item = &BatchRecord> {
        let rollups = self.rollups.values();
        rollups.flat_map(|rollup| {
            rollup
                .unproven
                .iter()
                .map(|number| &self.batches[&rollup.chain[number]])
        })
    }

    /// Takes no more batches and sessions, and gives no more work out.
    pub fn stop(&mut self) {
        self.stopping = true;
    }
}
