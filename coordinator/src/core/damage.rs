//! What was stored of a batch and cannot be read any more: it is made again where that is possible, and else the batch fails, alone.

use super::{
    Core, LeaseEnd, Output,
    chain::Remedy,
    id::{BatchId, TaskId, UnixMs},
    record::{ArtifactKey, BatchStatus, TaskStatus, Write},
};

impl Core {
    /// Fails a batch of which something is lost that its proofs need, until it is tried again. One that has failed or is final stays
    /// as it is.
    pub fn fail_damaged(&mut self, now: UnixMs, id: BatchId, why: &str) -> Output {
        let mut output = Output::default();
        let goes_on = |status| status != BatchStatus::Failed;
        if self
            .batches
            .get(&id)
            .is_some_and(|batch| !batch.is_final() && goes_on(batch.status))
        {
            let task = self.fail_open_tasks(now, id, LeaseEnd::Damaged, why, &mut output);
            self.fail_batch(now, task, why, Remedy::Restore, &mut output);
            self.assign(now, &mut output);
        }
        output
    }

    /// The proof of a shard is lost: it is proven again, and the aggregation waits for it. Nothing happens where the shard is
    /// being proven, or its batch is final.
    pub fn prove_again(&mut self, now: UnixMs, shard: TaskId, why: &str) -> Output {
        let mut output = Output::default();
        let is_done = |task: &super::Task| task.record.status == TaskStatus::Done;
        if !self.tasks.get(&shard).is_some_and(is_done) {
            return output;
        }
        let aggregation = TaskId::aggregation(shard.batch);
        self.end_lease(now, aggregation, LeaseEnd::Damaged, &mut output);
        if let Some(task) = self.tasks.get_mut(&aggregation) {
            task.phase.clear();
            task.fraction = 0.0;
            if task.record.status == TaskStatus::Leased {
                task.record.status = TaskStatus::Ready;
                self.save_task(aggregation, &mut output);
            }
        }
        let task = self.tasks.get_mut(&shard).expect("just found");
        task.phase.clear();
        task.fraction = 0.0;
        task.record.status = TaskStatus::Ready;
        task.record.not_before = now;
        task.record.last_failure = Some(why.to_owned());
        self.save_task(shard, &mut output);
        let key = ArtifactKey::ShardProof(shard.batch, shard.index);
        output.writes.push(Write::RemoveArtifact(key));
        let batch = self.batches.get_mut(&shard.batch).expect("a task has a batch");
        batch.shards_done -= 1;
        batch.shards_done_at = None;
        if batch.status != BatchStatus::Failed {
            self.resume_batch(shard.batch);
        }
        self.save_batch(shard.batch, &mut output);
        for task in [aggregation, shard] {
            self.refresh(task, now);
        }
        self.assign(now, &mut output);
        output
    }
}
