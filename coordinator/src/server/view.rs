//! Batches and tasks as messages.

use proto::v1;

use crate::core::{
    Core, Task,
    explain::Reason,
    id::TaskKind,
    operator::WorkerView,
    record::{BatchRecord, BatchStatus, Billing, Operations, TaskStatus},
    rollup::{RollupRecord, RollupStatus},
};

/// Tokens whose fees are told of a batch among others.
const FEES_LISTED_MAX: usize = 8;

/// A batch without its tasks, and with no more fees than a list has room for.
pub(super) fn batch_summary(core: &Core, batch: &BatchRecord) -> v1::BatchInfo {
    let moment = |at: Option<crate::core::id::UnixMs>| at.map_or(0, |at| at.0);
    v1::BatchInfo {
        batch_id: batch.id.to_string(),
        request_id: batch.request_id.clone(),
        batch_number: batch.number,
        status: batch_status(batch.status).into(),
        revision: batch.revision,
        operations: batch.operations.total(),
        shards_total: batch.shards,
        shards_done: batch.shards_done,
        old_root: batch.old_root.0.to_vec().into(),
        new_root: batch.new_root.0.to_vec().into(),
        sha256: batch.sha256.to_vec().into(),
        accepted_unix_ms: batch.accepted.0,
        started_unix_ms: moment(batch.started),
        shards_done_unix_ms: moment(batch.shards_done_at),
        finished_unix_ms: moment(batch.finished),
        failure: batch.failure.clone().unwrap_or_default(),
        tasks: Vec::new(),
        shard_vk_digest: batch.keys.shard_vk.to_vec().into(),
        aggregation_vk_digest: batch.keys.aggregation_vk.to_vec().into(),
        counts: Some(counts(batch.operations)),
        rollup: core
            .rollup(batch.rollup)
            .map_or_else(String::new, |rollup| rollup.name.clone()),
        priority: batch.wishes.priority,
        deadline_unix_ms: moment(batch.wishes.deadline),
        labels: batch.wishes.labels.clone(),
        billing: batch
            .billing
            .as_ref()
            .map(|billing| self::billing(billing, FEES_LISTED_MAX)),
    }
}

/// What a batch earns and costs on L1, with the fees of so many tokens at most.
fn billing(billing: &Billing, fees_max: usize) -> v1::BatchBilling {
    let fees = billing.fees.iter().take(fees_max);
    v1::BatchBilling {
        fees: fees
            .map(|(token, amount)| v1::TokenFees {
                token: token.0.into(),
                amount: amount.to_be_bytes().to_vec().into(),
            })
            .collect(),
        fee_tokens: u32::try_from(billing.fees.len()).expect("there are 65,535 tokens"),
        posted_bytes: billing.posted.bytes,
        l1_gas_estimate: billing.posted.gas(),
    }
}

fn counts(operations: Operations) -> v1::OperationCounts {
    v1::OperationCounts {
        transfers: operations.transfers,
        withdrawals: operations.withdrawals,
        creations: operations.creations,
        queued: operations.queued,
        queued_without_effect: operations.queued_without_effect,
        no_ops: operations.no_ops,
    }
}

/// A batch with its tasks and all its fees.
pub(super) fn batch_info(core: &Core, batch: &BatchRecord) -> v1::BatchInfo {
    v1::BatchInfo {
        tasks: core.tasks_of(batch.id).map(task_info).collect(),
        billing: batch
            .billing
            .as_ref()
            .map(|billing| self::billing(billing, usize::MAX)),
        ..batch_summary(core, batch)
    }
}

/// A rollup as a message.
pub(super) fn rollup_info(core: &Core, rollup: &RollupRecord) -> v1::RollupInfo {
    let status = match rollup.status {
        RollupStatus::Making => v1::RollupStatus::Making,
        RollupStatus::Live => v1::RollupStatus::Live,
        RollupStatus::Leaving | RollupStatus::Gone => v1::RollupStatus::Leaving,
    };
    let head = core.head(rollup.number);
    v1::RollupInfo {
        name: rollup.name.clone(),
        chain_id: rollup.chain_id,
        contract: rollup.contract.to_vec().into(),
        status: status.into(),
        paused: rollup.paused,
        weight: rollup.weight,
        tenant: rollup.tenant.0.clone(),
        next_batch_number: head.next_number,
        head_root: head.root.0.to_vec().into(),
        head_time: head.time,
        queue_head: head.queue_head,
        batches_open: u32::try_from(core.open_batches_of(rollup.number)).unwrap_or(u32::MAX),
        start_batch_number: rollup.start.next_number,
        start_root: rollup.start.root.0.to_vec().into(),
        created_unix_ms: rollup.created.0,
        rollback_batch_number_min: rollup.floor.next_number,
    }
}

/// A kind of task as a message.
pub(super) fn task_kind(kind: TaskKind) -> v1::TaskKind {
    match kind {
        TaskKind::Shard => v1::TaskKind::Shard,
        TaskKind::Aggregation => v1::TaskKind::Aggregation,
    }
}

/// A worker as a message.
pub(super) fn worker_info(worker: WorkerView<'_>) -> v1::WorkerInfo {
    v1::WorkerInfo {
        worker: worker.worker.name.clone(),
        identity: worker.worker.principal.0.clone(),
        session_id: worker.session.0,
        capabilities: worker
            .capabilities
            .iter()
            .map(|kind| task_kind(*kind).into())
            .collect(),
        task_ids: worker.leases.iter().map(ToString::to_string).collect(),
        asking: worker.asking,
        draining: worker.draining,
    }
}

/// What a batch waits for, as a message.
pub(super) fn reason(reason: &Reason) -> v1::Reason {
    use v1::ReasonCode as Code;
    let (code, task) = match reason {
        Reason::Final { .. } => (Code::Final, None),
        Reason::Failed {
            task,
            quarantined: true,
            ..
        } => (Code::Quarantined, Some(task)),
        Reason::Failed { task, .. } => (Code::Failed, Some(task)),
        Reason::Paused => (Code::Paused, None),
        Reason::RollupPaused { .. } => (Code::RollupPaused, None),
        Reason::AtWork { task, .. } => (Code::AtWork, Some(task)),
        Reason::WorkerLost { task, .. } => (Code::WorkerLost, Some(task)),
        Reason::NoWorker { .. } => (Code::NoWorker, None),
        Reason::AllBusy { .. } => (Code::AllBusy, None),
        Reason::OneWord { task, .. } => (Code::OneWord, Some(task)),
        Reason::Backoff { task, .. } => (Code::Backoff, Some(task)),
        Reason::Avoided { task, .. } => (Code::Avoided, Some(task)),
    };
    v1::Reason {
        code: code.into(),
        task_id: task.map_or_else(String::new, ToString::to_string),
        text: reason.to_string(),
    }
}

pub(super) fn batch_status(status: BatchStatus) -> v1::BatchStatus {
    match status {
        BatchStatus::Queued => v1::BatchStatus::Queued,
        BatchStatus::Proving => v1::BatchStatus::Proving,
        BatchStatus::Aggregating => v1::BatchStatus::Aggregating,
        BatchStatus::Proven => v1::BatchStatus::Proven,
        BatchStatus::Failed => v1::BatchStatus::Failed,
        BatchStatus::Cancelled => v1::BatchStatus::Cancelled,
        BatchStatus::RolledBack => v1::BatchStatus::RolledBack,
    }
}

fn task_info(task: &Task) -> v1::TaskInfo {
    let record = &task.record;
    let status = match record.status {
        TaskStatus::Ready => v1::TaskStatus::Ready,
        TaskStatus::Leased => v1::TaskStatus::Leased,
        TaskStatus::Done => v1::TaskStatus::Done,
        TaskStatus::Failed => v1::TaskStatus::Failed,
        TaskStatus::Quarantined => v1::TaskStatus::Quarantined,
    };
    v1::TaskInfo {
        task_id: record.id.to_string(),
        kind: task_kind(record.id.kind).into(),
        index: record.id.index,
        status: status.into(),
        // The record keeps who had it last, which is nobody's that waits.
        worker: record
            .worker
            .as_ref()
            .filter(|_| matches!(record.status, TaskStatus::Leased | TaskStatus::Done))
            .map(ToString::to_string)
            .unwrap_or_default(),
        phase: task.phase.clone(),
        fraction: if record.status == TaskStatus::Done {
            1.0
        } else {
            task.fraction
        },
        attempts: u32::try_from(record.fence.0).unwrap_or(u32::MAX),
        failures: record.failures,
        worker_deaths: record.deaths,
        last_failure: record.last_failure.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use rules::account::TokenId;

    use super::*;

    #[test]
    fn a_list_has_the_fees_of_few_tokens_and_says_of_how_many_there_are() {
        let of = |tokens: u16| Billing {
            fees: (1..=tokens).map(|token| (TokenId(token), u128::MAX)).collect(),
            ..Billing::default()
        };
        for (tokens, listed) in [(0, 0), (8, 8), (9, 8), (3_000, 8)] {
            let (all, some) = (
                billing(&of(tokens), usize::MAX),
                billing(&of(tokens), FEES_LISTED_MAX),
            );
            assert_eq!((all.fees.len(), some.fees.len()), (tokens.into(), listed));
            assert_eq!((all.fee_tokens, some.fee_tokens), (tokens.into(), tokens.into()));
            assert_eq!(some.fees[..], all.fees[..listed]);
        }
        let fees = &billing(&of(2), usize::MAX).fees;
        assert_eq!((fees[1].token, &fees[1].amount[..]), (2, &[0xff; 16][..]));
    }
}
