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
    shell::{RollupFailure, Shell},
    status::{
        Unavailable, bad_field, batch_state, no_batch, not_taken, not_your_rollup, not_yours, shown,
        which_rollup,
    },
    submission::{Limits, receive},
    view::{batch_info, batch_status, batch_summary, rollup_info},
};
use crate::{
    config::Config,
    core::{
        Core,
        id::{BatchId, RollupNumber, UnixMs},
        record::{BatchRecord, BatchStatus, Wishes},
    },
    execution::Origin,
};

/// Things of a page when the caller does not say.
const PAGE_DEFAULT: usize = 50;
/// Most things of a page.
const PAGE_MAX: u32 = 100;
/// Batches that are looked at for one page.
const LOOKED_MAX: usize = 10_000;
/// Highest priority of a batch.
const PRIORITY_MAX: u32 = 1_000;
/// Most labels of a batch.
const LABELS_MAX: usize = 8;
/// Most characters of a label.
const LABEL_CHARS_MAX: usize = 64;
/// Changes of a batch that may wait for a watcher; later ones are merged.
pub(super) const WATCH_BUFFER: usize = 4;

/// What a service says of itself, and its limits.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub preset: Preset,
    pub manifest: Manifest,
    /// Of the earlier circuits that are served too.
    pub previous: Vec<Manifest>,
    pub batch_bytes_max: u64,
    pub submission_ms_max: u64,
    pub submission_idle_ms_max: u64,
    pub time_ahead_s_max: u64,
    pub time_age_s_max: u64,
    pub batches_open_max: usize,
    pub tenant_batches_open_max: usize,
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

    /// Refuses a batch that is another tenant's. A batch's tenant never changes, so what holds now holds in the next step.
    async fn check_owned(&self, caller: &Caller, id: BatchId) -> Result<(), Status> {
        let identity = caller.identity.clone();
        let owned = move |shell: &Shell| Ok(shell.batch(id)?.is_none_or(|batch| identity.owns(&batch)));
        let owned = self.shell.run(owned).await?;
        match owned.map_err(|error: Unavailable| Status::from(error))? {
            true => Ok(()),
            false => Err(not_yours(id)),
        }
    }

    async fn batch_info(&self, caller: &Caller, id: BatchId) -> Result<v1::BatchInfo, Status> {
        let seer = caller.clone();
        let info = self.shell.run(move |shell| shell.look_up(&seer, id)).await??;
        info.map(|(info, _)| info)
            .ok_or_else(|| no_batch(&id.to_string()))
    }

    /// The rollup that a name names to a caller. Without one, it is the only one there is, or that the caller's tenant has.
    async fn rollup(&self, caller: &Caller, name: String) -> Result<v1::RollupInfo, Status> {
        let identity = caller.identity.clone();
        let find = move |core: &Core| match name.as_str() {
            "" => {
                let live = core.rollups().filter(|rollup| rollup.is_live());
                let (own, others): (Vec<_>, Vec<_>) =
                    live.partition(|rollup| rollup.tenant == identity.tenant && !rollup.tenant.0.is_empty());
                match (own.as_slice(), others.as_slice()) {
                    ([rollup], _) | ([], [rollup]) => Ok(rollup_info(core, rollup)),
                    _ => {
                        let all = own.iter().chain(&others);
                        let names: Vec<&str> = all.map(|rollup| rollup.name.as_str()).collect();
                        Err(which_rollup(&names))
                    }
                }
            }
            name => {
                let found = core.rollup_named(name).map(|rollup| rollup_info(core, rollup));
                found.ok_or_else(|| RollupFailure::unknown(name).into())
            }
        };
        self.shell.run(move |shell| shell.read(find)).await??
    }

    /// The rollup that a batch is of, if the caller may submit it.
    async fn rollup_of(&self, caller: &Caller, batch: &Batch) -> Result<RollupNumber, Status> {
        let (id, identity) = (batch.rollup_id, caller.identity.clone());
        let find = move |core: &Core| match core.rollup_of(id) {
            Some(rollup) if identity.sequences(rollup) => Ok(rollup.number),
            Some(rollup) => Err(not_your_rollup(&rollup.name)),
            None => Err(wrong_rollup(core, id)),
        };
        self.shell.run(move |shell| shell.read(find)).await??
    }

    fn check_header(&self, header: &v1::SubmitBatchHeader, batch: &Batch) -> Result<(), Status> {
        if header.batch_number != batch.number {
            return Err(bad_field(
                "HEADER_MISMATCH",
                "header.batch_number",
                batch.number,
                header.batch_number,
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

/// INVALID_ARGUMENT of a batch of a rollup that is not here.
fn wrong_rollup(core: &Core, found: RollupId) -> Status {
    let live: Vec<_> = core.rollups().filter(|rollup| rollup.is_live()).collect();
    let is_chain = live.iter().any(|rollup| rollup.chain_id == found.chain_id);
    let (field, found, all): (_, _, Vec<String>) = match is_chain {
        false => (
            "batch.chain_id",
            found.chain_id.to_string(),
            live.iter().map(|rollup| rollup.chain_id.to_string()).collect(),
        ),
        true => {
            let text = |address: [u8; 20]| format!("0x{}", hex::encode(address));
            let contracts = live
                .iter()
                .filter(|rollup| rollup.chain_id == found.chain_id)
                .map(|rollup| text(rollup.contract));
            ("batch.contract", text(found.contract), contracts.collect())
        }
    };
    let mut all = all;
    all.dedup();
    let expected = match all.is_empty() {
        true => "that of a rollup, of which there is none yet".to_owned(),
        false => all.join(" or "),
    };
    bad_field("WRONG_ROLLUP", field, expected, found)
}

/// What a header wishes of a batch.
fn wishes(header: &v1::SubmitBatchHeader) -> Result<Wishes, Status> {
    if header.priority > PRIORITY_MAX {
        let expected = format!("at most {PRIORITY_MAX}");
        return Err(bad_field(
            "MALFORMED_FIELD",
            "header.priority",
            expected,
            header.priority,
        ));
    }
    if header.labels.len() > LABELS_MAX {
        let expected = format!("at most {LABELS_MAX}");
        return Err(bad_field(
            "MALFORMED_FIELD",
            "header.labels",
            expected,
            header.labels.len(),
        ));
    }
    for (index, label) in header.labels.iter().enumerate() {
        check_label(&format!("header.labels[{index}]"), label)?;
    }
    Ok(Wishes {
        priority: header.priority,
        deadline: (header.deadline_unix_ms > 0).then_some(UnixMs(header.deadline_unix_ms)),
        labels: header.labels.clone(),
    })
}

/// That a text is a label.
fn check_label(field: &str, label: &str) -> Result<(), Status> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-/=".contains(c);
    match !label.is_empty() && label.len() <= LABEL_CHARS_MAX && label.chars().all(allowed) {
        true => Ok(()),
        false => Err(bad_field(
            "MALFORMED_FIELD",
            field,
            format!("1 to {LABEL_CHARS_MAX} of A-Z a-z 0-9 . _ : - / ="),
            shown(label),
        )),
    }
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
        let wishes = wishes(&header)?;
        // Decoding takes as long as it takes: not where calls are served.
        let batch = self.shell.run(move |_| received.decode(operations_max)).await??;
        self.check_header(&header, &batch)?;
        let rollup = self.rollup_of(&caller, &batch).await?;
        // From here on the submission is carried through, whether or not the caller still waits.
        let origin = Origin {
            tenant: caller.identity.tenant.clone(),
            request_id: header.request_id,
            wishes,
            sha256,
        };
        let held = Arc::clone(&caller.held);
        let submitted = self
            .shell
            .run(move |shell| {
                let _held = held;
                shell.submit(rollup, &batch, origin)
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
            rollup,
            statuses,
            label,
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
        if !label.is_empty() {
            check_label("label", &label)?;
        }
        for (index, status) in statuses.iter().enumerate() {
            let known = v1::BatchStatus::try_from(*status).is_ok_and(|it| it != v1::BatchStatus::Unspecified);
            if !known {
                let field = format!("statuses[{index}]");
                return Err(bad_field("MALFORMED_FIELD", &field, "a batch's status", status));
            }
        }
        let rollup = match rollup.is_empty() {
            true => None,
            false => {
                let find = move |core: &Core| match core.rollup_named(&rollup) {
                    Some(found) => Ok(found.number),
                    None => Err(RollupFailure::unknown(&rollup)),
                };
                Some(self.shell.run(move |shell| shell.read(find)).await???)
            }
        };
        let meant = move |batch: &BatchRecord| {
            let status = i32::from(batch_status(batch.status));
            rollup.is_none_or(|rollup| batch.rollup == rollup)
                && (statuses.is_empty() || statuses.contains(&status))
                && (label.is_empty() || batch.wishes.labels.contains(&label))
        };
        let page = move |shell: &Shell| {
            let (batches, next) = shell.page(before, size, LOOKED_MAX, meant)?;
            let summaries = shell.read(|core| {
                let summary = |batch: &BatchRecord| seen_by(&caller, batch, batch_summary(core, batch));
                batches.iter().map(summary).collect()
            })?;
            Ok::<_, Unavailable>((summaries, next))
        };
        let (batches, next) = self.shell.run(page).await??;
        Ok(Response::new(v1::ListBatchesResponse {
            batches,
            next_page_token: next.map_or_else(String::new, |next| next.to_string()),
        }))
    }

    async fn cancel_batch(
        &self,
        request: Request<v1::CancelBatchRequest>,
    ) -> Result<Response<v1::CancelBatchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let id = parse(&request.into_inner().batch_id)?;
        self.check_owned(&caller, id).await?;
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
        self.check_owned(&caller, id).await?;
        self.shell.run(move |shell| shell.retry(id)).await??;
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
                status => {
                    let name = status.as_str_name().trim_start_matches("BATCH_STATUS_");
                    format!("batch {id} is not proven: it is {}", name.to_lowercase())
                }
            };
            return Err(batch_state("BATCH_NOT_PROVEN", id, &message));
        }
        let proof = self.shell.run(move |shell| shell.proof(id, &info)).await??;
        Ok(Response::new(proof))
    }

    async fn get_info(
        &self,
        request: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let rollup = self.rollup(&caller, request.into_inner().rollup).await?;
        let (workers, paused) = self
            .shell
            .run(|shell| shell.read(|core| (core.session_count(), core.is_paused())))
            .await??;
        let About { preset, manifest, .. } = &*self.about;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Response::new(v1::GetInfoResponse {
            protocol_version: manifest.protocol_version,
            preset: preset.name.into(),
            insecure_srs: manifest.insecure_srs,
            srs_digest: manifest.srs_digest.0.to_vec().into(),
            shard_vk_digest: manifest.shard_vk_digest.0.to_vec().into(),
            aggregation_vk_digest: manifest.aggregation_vk_digest.0.to_vec().into(),
            chain_id: rollup.chain_id,
            contract: rollup.contract,
            head_root: rollup.head_root,
            next_batch_number: rollup.next_batch_number,
            head_time: rollup.head_time,
            start_root: rollup.start_root,
            start_batch_number: rollup.start_batch_number,
            queue_head: rollup.queue_head,
            rollup: rollup.name,
            rollup_paused: rollup.paused,
            rollback_batch_number_min: rollup.rollback_batch_number_min,
            shard_places: count(preset.shard.shape.places),
            shard_rooms: count(preset.shard.shape.rooms),
            shards_max: count(preset.children),
            places_max: count(preset.places_max()),
            queue_capacity: count(preset.queue_capacity()),
            batch_bytes_max: self.about.batch_bytes_max,
            chunk_bytes_max: count(CHUNK_BYTES_MAX),
            batches_open_max: count(self.about.batches_open_max),
            tenant_batches_open_max: count(self.about.tenant_batches_open_max),
            batches_open: rollup.batches_open,
            workers: count(workers),
            paused,
            previous_keys: about_keys(&self.about.previous),
            leader: self.shell.standing().other(),
        }))
    }

    async fn list_rollups(
        &self,
        _request: Request<v1::ListRollupsRequest>,
    ) -> Result<Response<v1::ListRollupsResponse>, Status> {
        let list = |core: &Core| core.rollups().map(|rollup| rollup_info(core, rollup)).collect();
        let rollups = self.shell.run(move |shell| shell.read(list)).await??;
        Ok(Response::new(v1::ListRollupsResponse { rollups }))
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
        let (batch, ends) = shell
            .run(move |shell| shell.look_up(&seer, id))
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
    /// A batch as a caller may see it, retired or not, and whether nothing happens to it by itself any more.
    fn look_up(&self, seer: &Caller, id: BatchId) -> Result<Option<(v1::BatchInfo, bool)>, Unavailable> {
        let Some(batch) = self.batch(id)? else {
            return Ok(None);
        };
        self.read(|core| {
            // It may have changed since, and it may be retired.
            let batch = core.batch(id).unwrap_or(&batch);
            let ends = batch.is_final() || batch.status == BatchStatus::Failed;
            Some((seen_by(seer, batch, batch_info(core, batch)), ends))
        })
    }

    fn proof(&self, id: BatchId, info: &v1::BatchInfo) -> Result<v1::GetProofResponse, Status> {
        let rollup = match self.batch(id)? {
            Some(batch) => self.read(|core| core.rollup(batch.rollup).cloned())?,
            None => None,
        };
        let rollup = rollup.ok_or_else(|| no_batch(&id.to_string()))?;
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
            chain_id: rollup.chain_id,
            contract: rollup.contract.to_vec().into(),
        })
    }
}
