//! The demo: the whole service on one machine, from keys to a batch that a local L1 accepts.
//!
//! It supervises: a coordinator or worker that dies is started again, and the demo's own calls resume, so killing
//! any of them at any moment delays the batch and no more.

mod children;
mod lock;
mod report;
mod service;
mod settle;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::keys::KeyConfig;
use anyhow::{Context, Result, anyhow};
use circuits::preset::Preset;
use coordinator::convert::batch_to_proto;
use prost::Message;
use proto::connection::{Connector, Credentials};
use proto::v1::BatchInfo;
use rules::operation::RollupId;
use rules::sample::{Sample, SampleConfig};
use rules::{Fr, field};
use srs::SrsSource;
use verifier_contracts::generator::Rendered;
use verifier_contracts::l1::Deployment;
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier;

use crate::args::DemoArgs;
use crate::client::Client;
use crate::commands::batch::{SAMPLE_USERS, Show, check_proven, now, request_id, sample_transfers};
use crate::commands::keys;
use crate::output::{Exit, Failure};
use crate::progress::Progress;
use crate::signals::Signals;
use children::{Failures, Supervisor};
use lock::DemoLock;
use report::{Machine, Report};
use service::{Chain, ServiceConfig, WorkDir};

/// How long the coordinator may be out of reach: it is restarted meanwhile, and executes what it had accepted.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demo.
///
/// # Errors
/// When any part fails, or on SIGINT or SIGTERM. Everything that was started is stopped first.
pub async fn run(args: &DemoArgs, progress: &Progress) -> Result<()> {
    let mut signals = Signals::take()?;
    let preset = args.preset;
    let _lock = DemoLock::take()?;
    let work_dir = WorkDir::new(args.work_dir.as_deref())?;
    let (mut supervisor, mut failures) = Supervisor::new(work_dir.path());
    let outcome = tokio::select! {
        outcome = Demo::new(args, preset, work_dir.path(), progress).run(&mut supervisor) => outcome,
        failure = failed(&mut failures) => Err(failure),
        () = signals.either() => Err(Failure::new(Exit::Interrupted, "interrupted").into()),
    };
    supervisor.stop().await;
    let result = outcome.and_then(|mut report| {
        let restarts = supervisor.records().into_iter();
        report.restarts = restarts.map(|(name, record)| (name, record.restarts)).collect();
        let memory = supervisor.memory();
        report.peak_memory_bytes = memory.each;
        report.peak_memory_together_bytes = memory.together;
        report.derive();
        progress.say(&report.summary());
        args.json.as_deref().map_or(Ok(()), |path| report.write(path))
    });
    if result.is_err() {
        progress.say(&format!("the logs are in {}", work_dir.keep().display()));
    }
    result
}

async fn failed(failures: &mut Failures) -> anyhow::Error {
    anyhow!(
        "a process of the demo cannot be kept running: {}",
        failures.next().await
    )
}

/// One run.
struct Demo<'a> {
    args: &'a DemoArgs,
    preset: Preset,
    directory: &'a Path,
    progress: &'a Progress,
    started: Instant,
    report: Report,
}

/// A batch that the coordinator took, and its proof's submission to L1.
struct Proven {
    info: BatchInfo,
    proof: proto::v1::GetProofResponse,
}

impl<'a> Demo<'a> {
    fn new(args: &'a DemoArgs, preset: Preset, directory: &'a Path, progress: &'a Progress) -> Self {
        let report = Report {
            preset: preset.name.to_string(),
            tokens: args.tokens,
            machine: Machine::here(),
            commit: report::commit(),
            ..Report::default()
        };
        Self {
            args,
            preset,
            directory,
            progress,
            started: Instant::now(),
            report,
        }
    }

    async fn run(mut self, supervisor: &mut Supervisor) -> Result<Report> {
        self.progress.say(
            "this demo uses a development SRS whose secret everybody knows: its proofs show how the service works, \
             and prove nothing",
        );
        let tools = self.tools().await?;
        let (rendered, keys_dir) = self.keys().await?;

        let step = self.progress.step("start L1 and service");
        let chain = Chain::start(&tools).await?;
        let (seed, tokens) = (self.args.seed, self.args.tokens);
        let mut sample = Sample::new(SampleConfig {
            seed,
            users: SAMPLE_USERS,
            tokens,
        });
        let genesis_root = sample.state().root();
        let config = ServiceConfig {
            directory: self.directory,
            preset: self.preset.name,
            keys_dir: &keys_dir,
            device: self.args.device,
            genesis: sample.genesis(),
            rollup_id: chain.rollup_id,
        };
        let url = service::start(&config, supervisor)?;
        supervisor.watch_memory([("anvil", chain.pid()), ("demo", std::process::id())]);
        let client = Client::new(Connector::new(url.clone(), Credentials::default())?, PATIENCE)?;
        client.info().await.context("the coordinator does not come up")?;
        self.report.seconds.startup = step.finish(url.as_str()).as_secs_f64();

        let mut deployment = None;
        let mut remaining = self.transfers();
        self.report.old_root = field::to_hex(&genesis_root);
        while remaining > 0 {
            let size = remaining.min(self.preset.operations_max());
            let proven = self.prove(&client, &mut sample, chain.rollup_id, size).await?;
            let deployment = match &mut deployment {
                Some(deployment) => deployment,
                none => none.insert(
                    self.deploy(&chain, &tools, rendered.clone(), genesis_root)
                        .await?,
                ),
            };
            self.settle(deployment, &proven).await?;
            remaining -= size;
        }
        self.report.seconds.total = self.started.elapsed().as_secs_f64();
        Ok(self.report)
    }

    /// How many transfers, of all batches together.
    fn transfers(&self) -> usize {
        self.args
            .transfers
            .map_or_else(|| sample_transfers(&self.preset), |transfers| transfers as usize)
    }

    async fn tools(&mut self) -> Result<Tools> {
        let mut step = self.progress.step("L1 tools");
        let (notes, mut note) = tokio::sync::mpsc::unbounded_channel();
        let directory = self.args.tools_dir.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Nobody listens once the demo was interrupted.
            keys::l1_tools(directory.as_deref(), &mut |line| {
                drop(notes.send(line.to_string()))
            })
        });
        while let Some(line) = note.recv().await {
            step.set(0, line);
        }
        let tools = work.await.context("fetching the L1 tools panicked")??;
        self.report.seconds.tools = step.finish("").as_secs_f64();
        Ok(tools)
    }

    /// Sees to the keys; returns the source of their verifier, and where they are.
    ///
    /// They are made by another process: the gigabytes that it takes are free again when proving begins.
    async fn keys(&mut self) -> Result<(Rendered, PathBuf)> {
        let started = Instant::now();
        let directory = keys::directory(self.args.keys_dir.as_deref());
        service::make_keys(self.preset.name, &directory).await?;
        let (dir, preset, progress) = (directory.clone(), self.preset, self.progress.clone());
        let work = tokio::task::spawn_blocking(move || -> Result<Rendered> {
            let config = KeyConfig {
                dir,
                preset,
                srs: SrsSource::Development,
                allow_insecure: true,
                srs_digest: None,
            };
            let keys = keys::ensured_of(config, &progress)?;
            Ok(verifier::render(&keys))
        });
        let rendered = work.await.context("rendering the verifier panicked")??;
        self.report.seconds.keys = started.elapsed().as_secs_f64();
        Ok((rendered, directory))
    }

    /// Makes, submits and follows one batch.
    async fn prove(
        &mut self,
        client: &Client,
        sample: &mut Sample,
        rollup_id: RollupId,
        size: usize,
    ) -> Result<Proven> {
        let step = self.progress.step("sign transfers");
        let batch = sample.batch(rollup_id, now()?, size);
        self.report.seconds.sample += step.finish(&format!("{size} transfers")).as_secs_f64();

        let step = self.progress.step("submit batch");
        let bytes = batch_to_proto(&batch).encode_to_vec();
        let submitted = client
            .submit(&request_id(batch.number, &bytes), batch.number, &bytes)
            .await?;
        let info = submitted
            .batch
            .context("the coordinator accepted the batch without naming it")?;
        self.report.seconds.submit += step.finish(&info.batch_id).as_secs_f64();

        let (mut show, watched, mut shards_done) = (Show::new(self.progress), Instant::now(), None);
        let info = client
            .watch(&info.batch_id, |info| {
                if info.shards_done == info.shards_total && shards_done.is_none() {
                    shards_done = Some(watched.elapsed());
                }
                show.change(info);
            })
            .await?;
        check_proven(&info)?;
        let shards = shards_done.unwrap_or_default();
        self.report.seconds.shards += shards.as_secs_f64();
        self.report.seconds.aggregation += (watched.elapsed() - shards).as_secs_f64();
        let proof = client.proof(&info.batch_id).await?;
        Ok(Proven { info, proof })
    }

    async fn deploy(
        &mut self,
        chain: &Chain,
        tools: &Tools,
        rendered: Rendered,
        root: Fr,
    ) -> Result<Deployment> {
        let step = self.progress.step("deploy contracts");
        let deployment = settle::deploy(&chain.l1, tools, rendered, root).await?;
        let rollup = deployment.addresses().rollup;
        anyhow::ensure!(
            rollup.into_array() == chain.rollup_id.contract,
            "the rollup contract is at {rollup}, not where the transfers were signed for"
        );
        self.report.seconds.deploy = step.finish(&rollup.to_string()).as_secs_f64();
        Ok(deployment)
    }

    /// Brings a proven batch to L1. With the first one, tampered versions are tried before it.
    async fn settle(&mut self, deployment: &Deployment, proven: &Proven) -> Result<()> {
        let submission = settle::submission(&proven.proof)?;
        if self.report.batches == 0 {
            self.report.tampered_errors = settle::refuse_tampered(deployment, &submission).await?;
            self.report.tampered_rejected = true;
            for (what, error) in &self.report.tampered_errors {
                self.progress.say(&format!("L1 refuses {what}: {error}"));
            }
        }
        let step = self.progress.step("submit to L1");
        let accepted = settle::settle(deployment, &submission).await?;
        self.report.seconds.l1 += step.finish(&format!("{} gas", accepted.gas_used)).as_secs_f64();
        if let Some(error) = settle::refusal(deployment, &submission).await? {
            self.report
                .tampered_errors
                .insert("the same batch again".into(), error);
        } else {
            return Err(anyhow!("L1 would accept the same batch twice"));
        }

        let report = &mut self.report;
        report.batches += 1;
        report.transfers += u64::from(proven.info.operations);
        report.shards += u64::from(proven.info.operations).div_ceil(self.preset.shard.capacity as u64);
        report.shard_proofs += u64::from(proven.info.shards_total);
        report.proof_bytes = submission.proof.len() as u64;
        report.data_bytes += (submission.data_a.len() + submission.data_b.len()) as u64;
        report.verify_gas = accepted.verifier_gas;
        report.l1_gas += accepted.gas_used;
        report.new_root = field::to_hex(&accepted.new_root);
        report.accepted_on_l1 = true;
        Ok(())
    }
}
