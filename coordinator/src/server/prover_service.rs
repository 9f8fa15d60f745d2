//! The sequencer's side: `ProverService`.

use std::{pin::Pin, sync::Arc, time::Duration};

use circuits::preset::Preset;
use keys::manifest::Manifest;
use proto::{CHUNK_BYTES_MAX, v1};
use rules::{batch::Batch, field, operation::RollupId};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    access::{gate::Caller, quota::Meter},
    shell::{Shell, split},
    status::{Unavailable, bad_field, batch_state, no_batch, not_taken, not_yours},
    submission::{Limits, receive},
    view::{batch_info, batch_summary},
};
use crate::{
    config::Config,
    core::{
        Head,
        id::BatchId,
        record::{BatchRecord, BatchStatus},
    },
    execution::Origin,
};

/// Things of a page when the caller does not say.
const PAGE_DEFAULT: usize = 50;
/// Most things of a page.
const PAGE_MAX: u32 = 100;
/// Changes of a batch that may wait for a watcher; later ones are merged.
pub(super) const WATCH_BUFFER: usize = 4;

/// What a service says of itself, and its limits.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub preset: Preset,
    pub manifest: Manifest,
    /// Of the earlier circuits that are served too.
    pub previous: Vec<Manifest>,
    pub rollup_id: RollupId,
    /// What the first batch of the chain here follows.
    pub start: Head,
    pub batch_bytes_max: u64,
    pub submission_ms_max: u64,
    pub submission_idle_ms_max: u64,
    pub time_ahead_s_max: u64,
    pub time_age_s_max: u64,
    pub batches_open_max: usize,
}

pub(super) struct ProverServer {
    shell: Arc<Shell>,
    about: Arc<About>,
    meter: Arc<Meter>,
    /// Longest time for a watcher to take a message.
    write_max: Duration,
}

impl ProverServer {
    pub(super) fn new(shell: Arc<Shell>, about: Arc<About>, meter: Arc<Meter>, config: &Config) -> Self {
        Self {
            shell,
            about,
            meter,
            write_max: Duration::from_millis(config.quotas.stream_write_ms_max),
        }
    }

    async fn batch_info(&self, caller: &Caller, id: BatchId) -> Result<v1::BatchInfo, Status> {
        let seer = caller.clone();
        let info = self
            .shell
            .run(move |shell| {
                shell.read(|core| {
                    core.batch(id)
                        .map(|batch| seen_by(&seer, batch, batch_info(core, batch)))
                })
            })
            .await??;
        info.ok_or_else(|| no_batch(&id.to_string()))
    }

    fn check_target(&self, header: &v1::SubmitBatchHeader, batch: &Batch) -> Result<(), Status> {
        let RollupId { chain_id, contract } = self.about.rollup_id;
        if header.batch_number != batch.number {
            return Err(bad_field(
                "HEADER_MISMATCH",
                "header.batch_number",
                batch.number,
                header.batch_number,
            ));
        }
        if batch.rollup_id.chain_id != chain_id {
            return Err(bad_field(
                "WRONG_ROLLUP",
                "batch.chain_id",
                chain_id,
                batch.rollup_id.chain_id,
            ));
        }
        if batch.rollup_id.contract != contract {
            let text = |address: [u8; 20]| format!("0x{}", hex::encode(address));
            return Err(bad_field(
                "WRONG_ROLLUP",
                "batch.contract",
                text(contract),
                text(batch.rollup_id.contract),
            ));
        }
        let now = self.shell.now_unix_s();
        let oldest = now.saturating_sub(self.about.time_age_s_max);
        if batch.time < oldest {
            // L1 would refuse it (P-9.4), and all that follows it.
            return Err(bad_field(
                "TIME_TOO_OLD",
                "batch.time",
                format!("at least {oldest}, the oldest time that L1 takes now"),
                batch.time,
            ));
        }
        let latest = now.saturating_add(self.about.time_ahead_s_max);
        if batch.time > latest {
            return Err(bad_field(
                "TIME_AHEAD",
                "batch.time",
                format!("at most {latest}"),
                batch.time,
            ));
        }
        Ok(())
    }
}

/// A batch as a caller may see it: what another tenant calls it is that tenant's.
fn seen_by(caller: &Caller, batch: &BatchRecord, mut info: v1::BatchInfo) -> v1::BatchInfo {
    if !caller.identity.owns(batch) {
        info.request_id.clear();
    }
    info
}

/// The digests of keys.
fn about_keys(manifests: &[Manifest]) -> Vec<v1::KeyDigests> {
    let digests = |manifest: &Manifest| v1::KeyDigests {
        preset: manifest.preset.clone(),
        shard_vk_digest: manifest.shard_vk_digest.0.to_vec().into(),
        aggregation_vk_digest: manifest.aggregation_vk_digest.0.to_vec().into(),
    };
    manifests.iter().map(digests).collect()
}

/// Reads a batch's id.
pub(super) fn parse(id: &str) -> Result<BatchId, Status> {
    id.parse().map_err(|_| no_batch(id))
}

/// How many things a page has.
pub(super) fn page_size(asked: u32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(asked as usize),
        _ => Err(bad_field(
            "MALFORMED_FIELD",
            "page_size",
            format!("0 to {PAGE_MAX}"),
            asked,
        )),
    }
}

#[tonic::async_trait]
impl v1::prover_service_server::ProverService for ProverServer {
    async fn submit_batch(
        &self,
        request: Request<Streaming<v1::SubmitBatchRequest>>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let mut stream = request.into_inner();
        let limit = Duration::from_millis(self.about.submission_ms_max);
        let limits = Limits {
            batch_bytes_max: self.about.batch_bytes_max,
            idle: Duration::from_millis(self.about.submission_idle_ms_max),
            meter: &self.meter,
            share: &caller.share,
        };
        let received = tokio::select! {
            () = self.shell.stopping().cancelled() => return Err(Unavailable::Stopping.into()),
            received = tokio::time::timeout(limit, receive(&mut stream, limits)) => {
                received.map_err(|_| Status::deadline_exceeded("the batch did not arrive in time"))??
            }
        };
        let preset = &self.about.preset;
        let operations_max = preset.places_max() + preset.queue_capacity();
        let (header, sha256) = (received.header.clone(), received.sha256);
        // Decoding takes as long as it takes: not where calls are served.
        let batch = self.shell.run(move |_| received.decode(operations_max)).await??;
        self.check_target(&header, &batch)?;
        // From here on the submission is carried through, whether or not the caller still waits.
        let origin = Origin {
            tenant: caller.identity.tenant.clone(),
            request_id: header.request_id,
            sha256,
        };
        let held = Arc::clone(&caller.held);
        let submitted = self
            .shell
            .run(move |shell| {
                let _held = held;
                shell.submit(&batch, origin)
            })
            .await?;
        let (id, already_existed) = submitted.inspect_err(|error| tracing::info!(%error, "batch refused"))?;
        if !already_existed {
            tracing::info!(batch = %id, number = header.batch_number, "batch accepted");
        }
        Ok(Response::new(v1::SubmitBatchResponse {
            batch: Some(self.batch_info(&caller, id).await?),
            already_existed,
        }))
    }

    async fn get_batch(
        &self,
        request: Request<v1::GetBatchRequest>,
    ) -> Result<Response<v1::GetBatchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let id = parse(&request.into_inner().batch_id)?;
        Ok(Response::new(v1::GetBatchResponse {
            batch: Some(self.batch_info(&caller, id).await?),
        }))
    }

    type WatchBatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchBatchResponse, Status>> + Send>>;

    async fn watch_batch(
        &self,
        request: Request<v1::WatchBatchRequest>,
    ) -> Result<Response<Self::WatchBatchStream>, Status> {
        let caller = Caller::of(request.extensions());
        let v1::WatchBatchRequest {
            batch_id,
            after_revision,
        } = request.into_inner();
        let id = parse(&batch_id)?;
        // NOT_FOUND comes before the stream.
        self.batch_info(&caller, id).await?;
        let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
        let (shell, write_max) = (Arc::clone(&self.shell), self.write_max);
        self.shell.tasks().spawn(async move {
            let watcher = Watcher {
                caller,
                sender,
                write_max,
            };
            if let Err(status) = watch(&shell, id, after_revision, &watcher).await {
                // A watcher that has gone, or takes nothing, needs no reason.
                let _ = watcher.sender.try_send(Err(status));
            }
            shell.unwatch(id);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let v1::ListBatchesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = self::page_size(page_size)?;
        let before = match page_token.as_str() {
            "" => BatchId(u64::MAX),
            token => token.parse().map_err(|_| {
                bad_field(
                    "MALFORMED_FIELD",
                    "page_token",
                    "a next_page_token",
                    format!("{} bytes", token.len()),
                )
            })?,
        };
        let mut batches: Vec<v1::BatchInfo> = self
            .shell
            .run(move |shell| {
                shell.read(|core| {
                    core.batches_before(before)
                        .take(size + 1)
                        .map(|batch| seen_by(&caller, batch, batch_summary(batch)))
                        .collect()
                })
            })
            .await??;
        let more = batches.len() > size;
        batches.truncate(size);
        let next_page_token = batches
            .last()
            .filter(|_| more)
            .map(|batch| batch.batch_id.clone())
            .unwrap_or_default();
        Ok(Response::new(v1::ListBatchesResponse {
            batches,
            next_page_token,
        }))
    }

    async fn cancel_batch(
        &self,
        request: Request<v1::CancelBatchRequest>,
    ) -> Result<Response<v1::CancelBatchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let id = parse(&request.into_inner().batch_id)?;
        let identity = caller.identity.clone();
        // A batch's tenant never changes, so what holds now holds in the next step.
        let owned = move |core: &crate::core::Core| core.batch(id).is_none_or(|batch| identity.owns(batch));
        if !self.shell.run(move |shell| shell.read(owned)).await?? {
            return Err(not_yours(id));
        }
        self.shell.run(move |shell| shell.cancel(id)).await??;
        tracing::info!(batch = %id, by = %caller.identity.principal, "batch cancelled");
        Ok(Response::new(v1::CancelBatchResponse {
            batch: Some(self.batch_info(&caller, id).await?),
        }))
    }

    async fn retry_batch(
        &self,
        request: Request<v1::RetryBatchRequest>,
    ) -> Result<Response<v1::RetryBatchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let id = parse(&request.into_inner().batch_id)?;
        self.shell
            .run(move |shell| shell.step(|core, now| split(core.retry(now, id))))
            .await???;
        tracing::info!(batch = %id, by = %caller.identity.principal, "batch is tried again");
        Ok(Response::new(v1::RetryBatchResponse {
            batch: Some(self.batch_info(&caller, id).await?),
        }))
    }

    async fn get_proof(
        &self,
        request: Request<v1::GetProofRequest>,
    ) -> Result<Response<v1::GetProofResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let id = parse(&request.into_inner().batch_id)?;
        let info = self.batch_info(&caller, id).await?;
        if info.status() != v1::BatchStatus::Proven {
            let message = match info.status() {
                v1::BatchStatus::RolledBack => {
                    format!("batch {id} was rolled back; its proof is no part of the chain")
                }
                status => format!("batch {id} is not proven: it is {}", status.as_str_name()),
            };
            return Err(batch_state("BATCH_NOT_PROVEN", id, &message));
        }
        let about = self.about.clone();
        let proof = self
            .shell
            .run(move |shell| shell.proof(id, &info, &about))
            .await??;
        Ok(Response::new(proof))
    }

    async fn get_info(
        &self,
        _request: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        let (head, open, workers, paused) = self
            .shell
            .run(|shell| {
                shell.read(|core| {
                    (
                        core.head(),
                        core.open_batches(),
                        core.session_count(),
                        core.is_paused(),
                    )
                })
            })
            .await??;
        let About {
            preset,
            manifest,
            rollup_id,
            ..
        } = &*self.about;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Response::new(v1::GetInfoResponse {
            protocol_version: manifest.protocol_version,
            preset: preset.name.into(),
            insecure_srs: manifest.insecure_srs,
            srs_digest: manifest.srs_digest.0.to_vec().into(),
            shard_vk_digest: manifest.shard_vk_digest.0.to_vec().into(),
            aggregation_vk_digest: manifest.aggregation_vk_digest.0.to_vec().into(),
            chain_id: rollup_id.chain_id,
            contract: rollup_id.contract.to_vec().into(),
            head_root: head.root.0.to_vec().into(),
            next_batch_number: head.next_number,
            head_time: head.time,
            start_root: self.about.start.root.0.to_vec().into(),
            start_batch_number: self.about.start.next_number,
            queue_head: head.queue_head,
            shard_places: count(preset.shard.shape.places),
            shard_rooms: count(preset.shard.shape.rooms),
            shards_max: count(preset.children),
            places_max: count(preset.places_max()),
            queue_capacity: count(preset.queue_capacity()),
            batch_bytes_max: self.about.batch_bytes_max,
            chunk_bytes_max: count(CHUNK_BYTES_MAX),
            batches_open_max: count(self.about.batches_open_max),
            batches_open: count(open),
            workers: count(workers),
            paused,
            previous_keys: about_keys(&self.about.previous),
        }))
    }
}

/// Where a watch goes.
struct Watcher {
    caller: Caller,
    sender: mpsc::Sender<Result<v1::WatchBatchResponse, Status>>,
    write_max: Duration,
}

/// Sends a batch at every change until it does not change any more or nobody listens.
async fn watch(shell: &Arc<Shell>, id: BatchId, mut after: u64, watcher: &Watcher) -> Result<(), Status> {
    let sender = &watcher.sender;
    let mut changes = shell.run(move |shell| shell.watch(id)).await??;
    loop {
        changes.mark_unchanged();
        let seer = watcher.caller.clone();
        let read = move |core: &crate::core::Core| {
            core.batch(id).map(|batch| {
                let ends = batch.is_final() || batch.status == BatchStatus::Failed;
                (seen_by(&seer, batch, batch_info(core, batch)), ends)
            })
        };
        let (batch, ends) = shell
            .run(move |shell| shell.read(read))
            .await??
            .ok_or_else(|| no_batch(&id.to_string()))?;
        if batch.revision > after {
            after = batch.revision;
            let message = Ok(v1::WatchBatchResponse { batch: Some(batch) });
            match tokio::time::timeout(watcher.write_max, sender.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    watcher.caller.connection.close();
                    return Err(not_taken());
                }
            }
        }
        if ends {
            return Ok(());
        }
        tokio::select! {
            () = shell.stopping().cancelled() => return Err(Unavailable::Stopping.into()),
            () = sender.closed() => return Ok(()),
            changed = changes.changed() => if changed.is_err() { return Err(Unavailable::Stopping.into()) },
        }
    }
}

impl Shell {
    fn proof(
        &self,
        id: BatchId,
        info: &v1::BatchInfo,
        about: &About,
    ) -> Result<v1::GetProofResponse, Status> {
        let (Some(statement), Some(root)) = (self.statement(id)?, self.root_proof(id)?) else {
            return Err(no_batch(&id.to_string()));
        };
        let stated = statement
            .root()
            .map_err(|error| self.statement_failed(id, &error))?;
        let element = |value| field::to_be(&value).to_vec().into();
        Ok(v1::GetProofResponse {
            batch_id: id.to_string(),
            batch_number: info.batch_number,
            time: statement.time,
            proof: root.proof.into(),
            instances: root
                .instances
                .iter()
                .map(|instance| instance.to_vec().into())
                .collect(),
            posted_a: statement.posted_a.into(),
            posted_b: statement.posted_b.into(),
            old_root: info.old_root.clone(),
            new_root: info.new_root.clone(),
            c_a: element(stated.c_a),
            c_b: element(stated.c_b),
            x: element(stated.x),
            aggregation_vk_digest: info.aggregation_vk_digest.clone(),
            chain_id: about.rollup_id.chain_id,
            contract: about.rollup_id.contract.to_vec().into(),
        })
    }
}
