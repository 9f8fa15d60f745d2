//! The operator's side: `OperatorService`.

use std::{pin::Pin, sync::Arc, time::Duration};

use proto::{CHUNK_BYTES_MAX, NAME_CHARS_MAX, PAYLOAD_BYTES_MAX, v1};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, codegen::Bytes};

use super::{
    access::{Access, gate::Caller},
    prover_service::{page_size, parse},
    rollup_creation::{self, Asked, Landing},
    shell::{RollupFailure, Shell, Unread},
    status::{Unavailable, bad_field, exhausted, no_batch, no_task_input, no_worker},
    view::{batch_info, batch_summary, reason, rollup_info, task_kind, worker_info},
};
use crate::{
    config::Config,
    core::{
        Core, Output,
        explain::Reason,
        id::{RollupNumber, SessionId, TaskId, TaskKind, WorkerId},
        rollup::{RollupChange, WEIGHT_MAX, check_weight},
    },
};

/// Inputs of tasks that may be in memory at once for those who ask for them.
const INPUTS_MAX: usize = 2;
/// Messages of an input that may wait for the connection.
const INPUT_BUFFER: usize = 2;

pub(super) struct OperatorServer {
    shell: Arc<Shell>,
    access: Arc<Access>,
    landing: Landing,
    inputs: Arc<Semaphore>,
}

impl OperatorServer {
    pub(super) fn new(shell: Arc<Shell>, access: Arc<Access>, config: &Config) -> Self {
        let idle = Duration::from_millis(config.submission_idle_ms_max);
        Self {
            shell,
            access,
            landing: Landing::new(&config.store, idle),
            inputs: Arc::new(Semaphore::new(INPUTS_MAX)),
        }
    }
}

#[tonic::async_trait]
impl v1::operator_service_server::OperatorService for OperatorServer {
    async fn rollback_batches(
        &self,
        request: Request<v1::RollbackBatchesRequest>,
    ) -> Result<Response<v1::RollbackBatchesResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let v1::RollbackBatchesRequest {
            batch_number,
            newest_batch_id,
        } = request.into_inner();
        let newest = parse(&newest_batch_id)?;
        let rolled_back = self
            .shell
            .run(move |shell| shell.roll_back(newest, batch_number))
            .await??;
        tracing::warn!(
            from = batch_number,
            batches = rolled_back.len(),
            %by,
            "batches rolled back"
        );
        let response = self
            .shell
            .run(move |shell| {
                let newest = shell.batch(newest)?;
                let mut batches = Vec::with_capacity(rolled_back.len());
                for id in rolled_back {
                    batches.extend(shell.batch(id)?);
                }
                shell.read(|core| {
                    let head = newest.map(|newest| core.head(newest.rollup));
                    v1::RollbackBatchesResponse {
                        batches: batches.iter().map(|batch| batch_summary(core, batch)).collect(),
                        head_root: head.map_or_else(Bytes::new, |head| head.root.0.to_vec().into()),
                        next_batch_number: head.map_or(0, |head| head.next_number),
                    }
                })
            })
            .await??;
        Ok(Response::new(response))
    }

    async fn explain_batch(
        &self,
        request: Request<v1::ExplainBatchRequest>,
    ) -> Result<Response<v1::ExplainBatchResponse>, Status> {
        let id = parse(&request.into_inner().batch_id)?;
        let explained = self
            .shell
            .run(move |shell| {
                let now = shell.now();
                let explained = shell.batch(id).and_then(|found| {
                    let Some(found) = found else { return Ok(None) };
                    shell.read(|core| {
                        let reasons = core.explain(now, id).unwrap_or_else(|| {
                            let status = found.status;
                            vec![Reason::Final { batch: id, status }]
                        });
                        let batch = core.batch(id).unwrap_or(&found);
                        Some((batch_info(core, batch), reasons))
                    })
                });
                match explained {
                    Ok(explained) => {
                        explained
                            .ok_or_else(|| no_batch(&id.to_string()))
                            .map(|(batch, reasons)| v1::ExplainBatchResponse {
                                batch: Some(batch),
                                reasons: reasons.iter().map(reason).collect(),
                            })
                    }
                    Err(Unavailable::Store) => Ok(v1::ExplainBatchResponse {
                        batch: None,
                        reasons: vec![store_suspended(shell)],
                    }),
                    Err(stopping) => Err(stopping.into()),
                }
            })
            .await??;
        Ok(Response::new(explained))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let token = &request.page_token;
        let after = match token.as_str() {
            "" => SessionId(0),
            token => SessionId(token.parse().map_err(|_| {
                bad_field(
                    "MALFORMED_FIELD",
                    "page_token",
                    "a next_page_token",
                    format!("{} bytes", token.len()),
                )
            })?),
        };
        let mut workers: Vec<v1::WorkerInfo> = self
            .shell
            .run(move |shell| {
                shell.read(|core| {
                    core.workers_after(after)
                        .take(size + 1)
                        .map(worker_info)
                        .collect()
                })
            })
            .await??;
        let more = workers.len() > size;
        workers.truncate(size);
        let next_page_token = workers.last().filter(|_| more);
        let next_page_token =
            next_page_token.map_or_else(String::new, |worker| worker.session_id.to_string());
        Ok(Response::new(v1::ListWorkersResponse {
            workers,
            next_page_token,
        }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let v1::DrainWorkerRequest { worker, identity } = request.into_inner();
        if worker.len() > NAME_CHARS_MAX {
            let found = format!("{} bytes", worker.len());
            return Err(bad_field("MALFORMED_FIELD", "worker", "at most 128 bytes", found));
        }
        let name = worker.clone();
        let held = self
            .shell
            .run(move |shell| {
                let meant = |worker: &WorkerId| {
                    worker.name == name && (identity.is_empty() || worker.principal.0 == identity)
                };
                shell.step(|core, now| core.drain_workers(now, meant))
            })
            .await??;
        let held = held.ok_or_else(|| no_worker(&worker))?;
        tracing::info!(worker, %by, "worker drains");
        Ok(Response::new(v1::DrainWorkerResponse {
            task_ids: names(held),
        }))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let rollup = request.into_inner().rollup;
        let held = self.set_paused(true, rollup.clone()).await?;
        tracing::warn!(%by, rollup, "paused: no tasks are handed out");
        Ok(Response::new(v1::PauseResponse {
            task_ids: names(held),
        }))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let rollup = request.into_inner().rollup;
        self.set_paused(false, rollup.clone()).await?;
        tracing::warn!(%by, rollup, "resumed: tasks are handed out");
        Ok(Response::new(v1::ResumeResponse {}))
    }

    async fn create_rollup(
        &self,
        request: Request<Streaming<v1::CreateRollupRequest>>,
    ) -> Result<Response<v1::CreateRollupResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let policy = self.access.policy();
        let asked = tokio::select! {
            () = self.shell.stopping().cancelled() => return Err(Unavailable::Stopping.into()),
            received = self.landing.receive(&self.shell, &policy, request.into_inner()) => received?,
        };
        let (new, state) = match asked {
            Asked::New(new, state) => (new, *state),
            Asked::Here(number) => {
                let rollup = Some(self.rollup_info(number).await?);
                return Ok(Response::new(v1::CreateRollupResponse { rollup }));
            }
        };
        // From here on it is carried through, whether or not the caller still waits.
        let held = Arc::clone(&caller.held);
        let created = self.shell.run(move |shell| {
            let _held = held;
            shell.create_rollup(new, state)
        });
        let created = created.await??;
        let by = caller.identity.principal;
        tracing::warn!(%by, rollup = %created, weight = created.weight, "rollup created");
        let rollup = Some(self.rollup_info(created.number).await?);
        Ok(Response::new(v1::CreateRollupResponse { rollup }))
    }

    async fn update_rollup(
        &self,
        request: Request<v1::UpdateRollupRequest>,
    ) -> Result<Response<v1::UpdateRollupResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let v1::UpdateRollupRequest { name, weight, tenant } = request.into_inner();
        if let Some(weight) = weight
            && check_weight(weight).is_err()
        {
            let expected = format!("1 to {WEIGHT_MAX}");
            return Err(bad_field("MALFORMED_FIELD", "weight", expected, weight));
        }
        if weight.is_none() && tenant.is_none() {
            let expected = "a weight or a tenant";
            return Err(bad_field("MALFORMED_FIELD", "weight", expected, "neither"));
        }
        let tenant = tenant
            .map(|name| rollup_creation::tenant("tenant", &name, &self.access.policy()))
            .transpose()?;
        let change = RollupChange {
            weight,
            tenant,
            paused: None,
        };
        let changed = self
            .shell
            .run(move |shell| shell.change_rollup(&name, change))
            .await??;
        tracing::warn!(%by, rollup = %changed, weight = changed.weight, tenant = %changed.tenant, "rollup changed");
        let rollup = Some(self.rollup_info(changed.number).await?);
        Ok(Response::new(v1::UpdateRollupResponse { rollup }))
    }

    async fn delete_rollup(
        &self,
        request: Request<v1::DeleteRollupRequest>,
    ) -> Result<Response<v1::DeleteRollupResponse>, Status> {
        let by = Caller::of(request.extensions()).identity.principal;
        let v1::DeleteRollupRequest {
            name,
            next_batch_number,
        } = request.into_inner();
        let deleted = name.clone();
        self.shell
            .run(move |shell| shell.delete_rollup(&name, next_batch_number))
            .await??;
        tracing::warn!(%by, rollup = deleted, "rollup deleted");
        Ok(Response::new(v1::DeleteRollupResponse {}))
    }

    type GetTaskInputStream = Pin<Box<dyn Stream<Item = Result<v1::GetTaskInputResponse, Status>> + Send>>;

    async fn get_task_input(
        &self,
        request: Request<v1::GetTaskInputRequest>,
    ) -> Result<Response<Self::GetTaskInputStream>, Status> {
        let task_id = request.into_inner().task_id;
        let task: TaskId = task_id.parse().map_err(|_| no_task_input(&task_id))?;
        let permit = Arc::clone(&self.inputs)
            .try_acquire_owned()
            .map_err(|_| exhausted("task_inputs_max", "other inputs of tasks are being sent"))?;
        let read = move |shell: &Shell| {
            let keys = shell.batch(task.batch)?.map(|batch| batch.keys);
            Ok::<_, Unread>(keys.zip(shell.payload(task)?))
        };
        let found = self.shell.run(read).await??;
        let (keys, payload) = found
            .filter(|(_, payload)| payload.len() as u64 <= PAYLOAD_BYTES_MAX)
            .ok_or_else(|| no_task_input(&task_id))?;
        let header = v1::TaskInputHeader {
            task_id,
            kind: task_kind(task.kind).into(),
            payload_bytes: payload.len() as u64,
            payload_sha256: Sha256::digest(&payload).to_vec().into(),
            vk_digest: match task.kind {
                TaskKind::Shard => keys.shard_vk.to_vec().into(),
                TaskKind::Aggregation => keys.aggregation_vk.to_vec().into(),
            },
        };
        let (sender, receiver) = mpsc::channel(INPUT_BUFFER);
        let stopping = self.shell.stopping().clone();
        self.shell.tasks().spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = send_input(permit, header, payload, sender) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl OperatorServer {
    /// A rollup as it is now.
    async fn rollup_info(&self, number: RollupNumber) -> Result<v1::RollupInfo, Status> {
        let find = move |core: &Core| core.rollup(number).map(|rollup| rollup_info(core, rollup));
        let found = self.shell.run(move |shell| shell.read(find)).await??;
        found.ok_or_else(|| RollupFailure::Unknown(String::new()).into())
    }

    /// Pauses or resumes a rollup, or without a name the service; what workers hold of it.
    async fn set_paused(&self, paused: bool, rollup: String) -> Result<Vec<TaskId>, Status> {
        if !rollup.is_empty() {
            let change = RollupChange {
                paused: Some(paused),
                ..RollupChange::default()
            };
            let held = move |shell: &Shell| {
                let number = shell.change_rollup(&rollup, change)?.number;
                let its = |core: &Core| {
                    let leased = core.leased();
                    let its =
                        leased.filter(|task| core.batch(task.batch).is_some_and(|it| it.rollup == number));
                    its.collect()
                };
                Ok::<_, RollupFailure>(shell.read(its)?)
            };
            return Ok(self.shell.run(held).await??);
        }
        let held = self
            .shell
            .run(move |shell| {
                shell.step(|core, now| -> (Vec<TaskId>, Output) {
                    let held = core.leased().collect();
                    (held, core.set_paused(now, paused))
                })
            })
            .await??;
        Ok(held)
    }
}

fn names(tasks: Vec<TaskId>) -> Vec<String> {
    tasks.iter().map(ToString::to_string).collect()
}

fn store_suspended(shell: &Shell) -> v1::Reason {
    let error = shell.suspension().unwrap_or_default();
    v1::Reason {
        code: v1::ReasonCode::StoreSuspended.into(),
        task_id: String::new(),
        text: format!("the coordinator's store takes no writes, so nothing is done until it does: {error}"),
    }
}

/// Sends an input as far as the caller takes it; the permit is held for as long as the input is in memory.
async fn send_input(
    _permit: OwnedSemaphorePermit,
    header: v1::TaskInputHeader,
    payload: Vec<u8>,
    sender: mpsc::Sender<Result<v1::GetTaskInputResponse, Status>>,
) {
    use v1::get_task_input_response::Part;
    let chunks = payload
        .chunks(CHUNK_BYTES_MAX)
        .map(|chunk| Part::Chunk(chunk.to_vec().into()));
    for part in std::iter::once(Part::Header(header)).chain(chunks) {
        let message = v1::GetTaskInputResponse { part: Some(part) };
        if sender.send(Ok(message)).await.is_err() {
            return;
        }
    }
}
