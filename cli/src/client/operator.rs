//! The operator's calls.

use anyhow::{Context, Result, ensure};
use proto::PAYLOAD_BYTES_MAX;
use proto::v1::get_task_input_response::Part;
use proto::v1::{
    BatchInfo, BatchStatus, CancelBatchRequest, DrainWorkerRequest, ExplainBatchRequest,
    ExplainBatchResponse, GetTaskInputRequest, ListBatchesRequest, ListWorkersRequest, PauseRequest,
    ResumeRequest, RetryBatchRequest, RollbackBatchesRequest, RollbackBatchesResponse, TaskInputHeader,
    WorkerInfo,
};
use sha2::{Digest, Sha256};

use super::{Client, timed};

/// Things of a page.
const PAGE: u32 = 100;

/// Batches that are meant: all where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Name of their rollup.
    pub rollup: String,
    /// Where they are.
    pub statuses: Vec<BatchStatus>,
    /// A label that they have.
    pub label: String,
}

impl Which {
    /// Those of a rollup.
    pub fn of(rollup: &str) -> Self {
        Self {
            rollup: rollup.into(),
            ..Self::default()
        }
    }
}

impl Client {
    /// Up to `limit` batches of those that are meant, newest first, for as long as `wanted` says so of the last one.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn list(
        &self,
        which: &Which,
        limit: usize,
        wanted: impl Fn(&BatchInfo) -> bool,
    ) -> Result<Vec<BatchInfo>> {
        let mut batches: Vec<BatchInfo> = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListBatchesRequest {
                page_size: PAGE,
                page_token,
                rollup: which.rollup.clone(),
                statuses: which.statuses.iter().map(|status| i32::from(*status)).collect(),
                label: which.label.clone(),
            };
            let page = self
                .patiently(|mut service| {
                    let request = timed(request.clone());
                    async move { service.list_batches(request).await }
                })
                .await?;
            batches.extend(page.batches);
            batches.truncate(limit);
            page_token = page.next_page_token;
            // A page may be empty though others follow.
            let goes_on = batches.len() < limit && batches.last().is_none_or(&wanted);
            if page_token.is_empty() || !goes_on {
                return Ok(batches);
            }
        }
    }

    /// Queues a failed batch again.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn retry(&self, batch_id: &str) -> Result<BatchInfo> {
        let request = RetryBatchRequest {
            batch_id: batch_id.into(),
        };
        let response = self
            .patiently(|mut service| {
                let request = timed(request.clone());
                async move { service.retry_batch(request).await }
            })
            .await?;
        response.batch.context("the coordinator's answer names no batch")
    }

    /// Takes the newest batch back, if it is not proven.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn cancel(&self, batch_id: &str) -> Result<BatchInfo> {
        let request = CancelBatchRequest {
            batch_id: batch_id.into(),
        };
        let response = self
            .patiently(|mut service| {
                let request = timed(request.clone());
                async move { service.cancel_batch(request).await }
            })
            .await?;
        response.batch.context("the coordinator's answer names no batch")
    }

    /// Takes batches back from the newest on.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn roll_back(
        &self,
        batch_number: u64,
        newest_batch_id: &str,
    ) -> Result<RollbackBatchesResponse> {
        let request = RollbackBatchesRequest {
            batch_number,
            newest_batch_id: newest_batch_id.into(),
        };
        self.operate(|mut operator| {
            let request = timed(request.clone());
            async move { operator.rollback_batches(request).await }
        })
        .await
    }

    /// What a batch waits for.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn explain(&self, batch_id: &str) -> Result<ExplainBatchResponse> {
        self.operate(|mut operator| {
            let request = timed(ExplainBatchRequest {
                batch_id: batch_id.into(),
            });
            async move { operator.explain_batch(request).await }
        })
        .await
    }

    /// All workers that are connected.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        let mut workers = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListWorkersRequest {
                page_size: PAGE,
                page_token,
            };
            let page = self
                .operate(|mut operator| {
                    let request = timed(request.clone());
                    async move { operator.list_workers(request).await }
                })
                .await?;
            workers.extend(page.workers);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(workers);
            }
        }
    }

    /// Tells workers of that name to end; the tasks that they finish first.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn drain(&self, worker: &str, identity: &str) -> Result<Vec<String>> {
        let request = DrainWorkerRequest {
            worker: worker.into(),
            identity: identity.into(),
        };
        let response = self
            .operate(|mut operator| {
                let request = timed(request.clone());
                async move { operator.drain_worker(request).await }
            })
            .await?;
        Ok(response.task_ids)
    }

    /// Hands out no more tasks, or none of a rollup; those that workers hold.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn pause(&self, rollup: &str) -> Result<Vec<String>> {
        let request = PauseRequest {
            rollup: rollup.into(),
        };
        let response = self
            .operate(|mut operator| {
                let request = timed(request.clone());
                async move { operator.pause(request).await }
            })
            .await?;
        Ok(response.task_ids)
    }

    /// Hands out tasks again.
    ///
    /// # Errors
    /// As [`Client::info`].
    pub async fn resume(&self, rollup: &str) -> Result<()> {
        let request = ResumeRequest {
            rollup: rollup.into(),
        };
        self.operate(|mut operator| {
            let request = timed(request.clone());
            async move { operator.resume(request).await }
        })
        .await
        .map(drop)
    }

    /// A task's input, whole and of the digest that was announced.
    ///
    /// # Errors
    /// As [`Client::info`]; or what came is not what was announced.
    pub async fn task_input(&self, task_id: &str) -> Result<(TaskInputHeader, Vec<u8>)> {
        let mut stream = self
            .operate(|mut operator| {
                let request = timed(GetTaskInputRequest {
                    task_id: task_id.into(),
                });
                async move { operator.get_task_input(request).await }
            })
            .await?;
        let (mut header, mut input) = (None::<TaskInputHeader>, Vec::new());
        while let Some(message) = stream.message().await.map_err(|status| self.failure(&status))? {
            match (message.part, &header) {
                (Some(Part::Header(first)), None) => header = Some(first),
                (Some(Part::Chunk(chunk)), Some(_)) => input.extend_from_slice(&chunk),
                _ => anyhow::bail!("the coordinator sent a task's input that does not begin with one header"),
            }
            ensure!(
                input.len() as u64 <= PAYLOAD_BYTES_MAX,
                "the coordinator sends more than {PAYLOAD_BYTES_MAX} bytes of a task's input"
            );
        }
        let header = header.context("the coordinator sent no header of a task's input")?;
        ensure!(
            input.len() as u64 == header.payload_bytes,
            "the task's input has {} bytes, {} were announced",
            input.len(),
            header.payload_bytes
        );
        ensure!(
            Sha256::digest(&input)[..] == header.payload_sha256[..],
            "the task's input does not have the digest that was announced"
        );
        Ok((header, input))
    }
}
